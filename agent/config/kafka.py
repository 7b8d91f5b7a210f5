"""Section `kafka`: brokers, the consumer group, Tocsin's own topics, and how to log in."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from agent.config.types import (
    FilePath,
    Memory,
    Name,
    Secret,
    Section,
    Server,
    TokenUrl,
    Topic,
    wrong,
)
from agent.config.units import PositiveDurationMs, parse_duration, parse_size


class OAuthConfig(Section):
    """Where a token for OAUTHBEARER is had, and as whom (client credentials grant)."""

    token_url: TokenUrl = Field(description="Token endpoint of the authorization server.")
    client_id: Name = Field(description="Client to log in as.")
    client_secret: Secret = Field(description="Secret of the client; never shown.")
    scope: Name | None = Field(default=None, description="Scope to ask for, if any.")
    cafile: FilePath | None = Field(
        default=None,
        description="Authorities to trust at the token endpoint; none: those of the system.",
    )


def _servers(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Servers = Annotated[
    tuple[Server, ...], BeforeValidator(_servers, json_schema_input_type=str | tuple[Server, ...])
]


class KafkaConfig(Section):
    """Brokers, the consumer group, Tocsin's own topics, and how to log in."""

    bootstrap_servers: Servers = Field(
        default=(),
        description="Brokers to start from, `host:port` as a list or with commas.",
    )
    group_id: Name = Field(default="tocsin", description="Consumer group that all agents share.")
    group_instance_id: Name | None = Field(
        default=None,
        description="Name that is this agent's alone and that it keeps over a restart, such as a "
        "pod's of a StatefulSet: it then comes back to its partitions at once.",
    )
    session_timeout: PositiveDurationMs = Field(
        default=parse_duration("30s"),
        description="Time after which the partitions of an agent that has fallen silent go to the "
        "others of its group.",
    )
    several_agents: bool = Field(
        default=False,
        description="Whether several agents share the group, each with some of the partitions. "
        "Every model then needs a profile.",
    )
    state_topic: Topic = Field(
        default="tocsin.state", description="Compacted topic of checkpoints; created if missing."
    )
    panes_topic: Topic = Field(
        default="tocsin.panes", description="Topic of closed panes; only with several agents."
    )
    events_topic: Topic = Field(
        default="tocsin.events", description="Topic of alarms raised, cleared and acknowledged."
    )
    dead_letter_topic: Topic | None = Field(
        default=None,
        description="Topic for records that cannot be used; none: they are only counted.",
    )
    memory: Memory = Field(
        default=parse_size("16MB"),
        description="Bound on events, and on dead letters, that wait for their topic to take them; "
        "of more the oldest are dropped. With several agents also on panes that wait for agents "
        "that are behind; more are left in their topic.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to talk to brokers."
    )
    sasl_mechanism: (
        Literal["PLAIN", "GSSAPI", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"]
        | None
    ) = Field(default=None, description="How to log in; needed with a SASL protocol.")
    sasl_plain_username: SecretStr | None = Field(
        default=None, description="User for PLAIN and SCRAM; never shown."
    )
    sasl_plain_password: SecretStr | None = Field(
        default=None, description="Password for PLAIN and SCRAM; never shown."
    )
    sasl_kerberos_name: Name | None = Field(
        default=None, description="Principal for GSSAPI; none: made of service and host."
    )
    sasl_kerberos_service_name: Name = Field(
        default="kafka", description="Service name for the GSSAPI handshake."
    )
    sasl_kerberos_domain_name: Name | None = Field(
        default=None, description="Kerberos domain for GSSAPI; none: the broker's host."
    )
    oauth: OAuthConfig | None = Field(
        default=None, description="For OAUTHBEARER: where a token is had, and as whom."
    )
    ssl_check_hostname: bool = Field(
        default=True, description="Whether a broker's certificate must carry its host name."
    )
    ssl_cafile: FilePath | None = Field(
        default=None, description="Certificates of authorities to trust."
    )
    ssl_certfile: FilePath | None = Field(
        default=None, description="Client certificate with its chain."
    )
    ssl_keyfile: FilePath | None = Field(
        default=None, description="Private key of the client certificate."
    )
    ssl_crlfile: FilePath | None = Field(default=None, description="Revoked certificates.")
    ssl_password: SecretStr | None = Field(
        default=None, description="Password of the private key; never shown."
    )
    ssl_ciphers: Name | None = Field(
        default=None, description="Ciphers to allow, as OpenSSL names them."
    )

    @model_validator(mode="after")
    def _login(self) -> Self:
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism is None:
            raise wrong("needs sasl_mechanism beside it", "security_protocol")
        if self.sasl_mechanism == "OAUTHBEARER" and self.oauth is None:
            raise wrong("needs oauth beside it", "sasl_mechanism")
        if self.oauth is not None and self.sasl_mechanism != "OAUTHBEARER":
            raise wrong("is for sasl_mechanism: OAUTHBEARER alone", "oauth")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        topics = self.own_topics()
        for name in topics:
            if list(topics.values()).count(topics[name]) > 1:
                raise wrong("is in use for another of Tocsin's topics: use another name", name)
        return self

    def own_topics(self) -> dict[str, str]:
        """Names of the topics that Tocsin itself writes, by key."""
        keys = ("state_topic", "panes_topic", "events_topic", "dead_letter_topic")
        return {key: topic for key in keys if (topic := getattr(self, key)) is not None}

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for a client of kafka-python: servers and login, secrets in clear."""
        options: dict[str, Any] = {"bootstrap_servers": list(self.bootstrap_servers)}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name.startswith(("security_", "sasl_", "ssl_")) and value is not None:
                secret = isinstance(value, SecretStr)
                value = value.get_secret_value() if secret else value
                options[name] = str(value) if isinstance(value, Path) else value
        options["session_timeout_ms"] = self.session_timeout
        options["heartbeat_interval_ms"] = max(self.session_timeout // 3, 1)
        return options
