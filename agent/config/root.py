"""The configuration as a whole: brokers, alert budget, panes, serving, and the models.

JSON Schema, the manual's table and the messages about unknown keys all come from these classes and
those of `agent.config.model`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agent.config.model import ModelConfig
from agent.config.security import BasicConfig, OAuthConfig, TlsConfig
from agent.config.types import (
    Count,
    FilePath,
    Memory,
    ModelName,
    Name,
    Port,
    Section,
    Server,
    Token,
    Topic,
    wrong,
)
from agent.config.units import (
    AlarmRate,
    DurationMs,
    PositiveDurationMs,
    Rate,
    parse_duration,
    parse_size,
)
from agent.errors import UsageError


class ConfigError(UsageError):
    """The configuration cannot be used. `problems` has one line each: where, what, how to mend."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Take lines that are ready to be shown."""
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


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
        "of more the oldest are dropped.",
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


class AlertsConfig(Section):
    """False alarms tolerated, over all models and detectors of this file."""

    page: AlarmRate = Field(default=Rate.parse("1 per 365d"), description="False pages tolerated.")
    ticket: AlarmRate = Field(
        default=Rate.parse("1 per 30d"), description="False tickets tolerated."
    )


class CheckpointConfig(Section):
    """How state outlives a restart."""

    interval: PositiveDurationMs = Field(
        default=parse_duration("10s"),
        description="Time between two checkpoints, at least; longer where writing one takes long.",
    )
    directory: FilePath | None = Field(
        default=None,
        description="Directory to keep them in; none: `kafka.state_topic`. For one agent alone.",
    )


class HttpConfig(Section):
    """Where metrics, health and the status page are served."""

    host: Name = Field(default="0.0.0.0", description="Address to listen on.")
    port: Port = Field(default=9108, description="Port to listen on; 0 takes a free one.")
    tls: TlsConfig | None = Field(default=None, description="Serve over TLS, and only so.")
    basic: BasicConfig | None = Field(
        default=None, description="User name and password that all but the probes need."
    )
    bearer_token: Token | None = Field(
        default=None, description="Token that does in place of name and password; never shown."
    )


class Config(Section):
    """The whole file."""

    kafka: KafkaConfig = Field(
        default_factory=KafkaConfig, description="Brokers, group, topics and login."
    )
    alerts: AlertsConfig = Field(
        default_factory=AlertsConfig,
        description="False alarms tolerated, over all models and detectors of this file.",
    )
    pane: PositiveDurationMs = Field(
        default=parse_duration("10s"), description="Event time that one evaluation covers."
    )
    lateness: DurationMs = Field(
        default=parse_duration("1s"),
        description="Disorder a partition may show before a row counts as late.",
    )
    ahead: DurationMs = Field(
        default=parse_duration("1h"), description="How far in the future a timestamp may lie."
    )
    windows: tuple[PositiveDurationMs, ...] = Field(
        default=tuple(parse_duration(w) for w in ("5m", "1h", "1d")),
        description="Over which values are shown; multiples of `pane`.",
    )
    warmup: Count = Field(
        default=10_000, description="Predictions to learn from where a model has no profile."
    )
    checkpoint: CheckpointConfig = Field(
        default_factory=CheckpointConfig, description="How state outlives a restart."
    )
    http: HttpConfig = Field(default_factory=HttpConfig, description="Where to serve, and to whom.")
    rejected_samples: bool = Field(
        default=True,
        description="Whether the beginnings of the last rejected records are shown.",
    )
    models: Annotated[Mapping[ModelName, ModelConfig], Field(min_length=1)] = Field(
        description="The monitored models by name."
    )

    _file: Path = PrivateAttr(Path("tocsin.yaml"))

    @field_validator("windows")
    @classmethod
    def _multiples(cls, windows: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if not windows:
            raise wrong("is empty: write at least one window")
        pane = info.data.get("pane")
        for index, window in enumerate(windows):
            if pane is not None and window % pane:
                raise wrong("is not a multiple of pane", index)
        return tuple(sorted(set(windows)))

    @field_validator("models")
    @classmethod
    def _filled_in(
        cls, models: Mapping[str, ModelConfig], info: ValidationInfo
    ) -> Mapping[str, ModelConfig]:
        warmup = info.data.get("warmup", 0)
        filled = {name: _fill_in(name, model, warmup) for name, model in models.items()}
        _check_topics(filled, info.data.get("kafka"))
        _check_criteria(filled, info.data.get("pane"))
        return filled

    @model_validator(mode="after")
    def _several_agents(self) -> Self:
        """What several agents cannot do together."""
        if self.kafka.several_agents:
            for name, model in self.models.items():
                if model.profile is None:
                    text = "is needed with kafka.several_agents: none of them sees all traffic"
                    raise wrong(text, "models", name, "profile")
            if self.checkpoint.directory is not None:
                text = "is for one agent alone: leave it out with kafka.several_agents"
                raise wrong(text, "checkpoint", "directory")
        return self

    @model_validator(mode="after")
    def _default_windows(self) -> Self:
        """Check what the validator of `windows` does not see: its default."""
        if any(window % self.pane for window in self.windows):
            raise wrong("does not divide the default windows: write windows as well", "pane")
        return self

    def model_post_init(self, context: Any) -> None:
        """Remember the file, for messages."""
        self._file = (context or {}).get("file", self._file)

    @property
    def hash(self) -> str:
        """Short SHA-256 of the effective configuration, without secrets and places of files."""
        files = {name for name in KafkaConfig.model_fields if name.endswith("file")}
        without: Any = {
            "kafka": {**dict.fromkeys(files, True), "oauth": {"cafile"}},
            "http": {"tls", "basic", "bearer_token"},
            "checkpoint": {"directory"},
            "models": {"__all__": {"profile"}},
        }
        effective = self.model_dump(mode="json", exclude=without)
        text = json.dumps(effective, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def require_kafka(self) -> None:
        """Raise ConfigError where no broker is named."""
        if not self.kafka.bootstrap_servers:
            raise ConfigError(
                (f"{self._file}: kafka.bootstrap_servers: is missing: write host:port of a broker",)
            )

    def unused(self) -> list[str]:
        """What is set and validated, and not acted on by this version; one line each."""
        names: list[str] = []
        for name, model in self.models.items():
            keys = ("criteria", "champion")
            names += [f"models.{name}.{key}" for key in keys if getattr(model, key)]
            if model.protected and not model.compared():
                names.append(f"models.{name}.protected")
        return [f"{name}: accepted, not yet evaluated by this version" for name in names]

    def __repr__(self) -> str:
        """Names and hash; values could be secrets that were filled in."""
        return f"Config(models={list(self.models)}, hash={self.hash!r})"

    __str__ = __repr__


def _fill_in(name: str, model: ModelConfig, warmup: int) -> ModelConfig:
    """The model with what depends on its name or on the whole file."""
    predictions, feedback = model.predictions, model.feedback
    update = {
        "predictions": predictions.model_copy(
            update={"topic": predictions.topic or f"{name}.predictions"}
        ),
        "feedback": feedback.model_copy(update={"topic": feedback.topic or f"{name}.feedback"}),
        "warmup": model.warmup or warmup,
    }
    return model.model_copy(update=update)


def _check_topics(models: Mapping[str, ModelConfig], kafka: KafkaConfig | None) -> None:
    """No topic may hold two kinds of records, which could not be told apart."""
    kinds: dict[str, str] = {}
    if kafka is not None:
        kinds = {topic: key for key, topic in kafka.own_topics().items()}
    for name, model in models.items():
        for kind, topic in (
            ("predictions", model.predictions.topic),
            ("feedback", model.feedback.topic),
        ):
            other = kinds.setdefault(topic, kind)
            if other != kind:
                raise wrong(
                    f"is in use for {other} as well: use another topic", name, kind, "topic"
                )


def _check_criteria(models: Mapping[str, ModelConfig], pane: int | None) -> None:
    for name, model in models.items():
        for index, criterion in enumerate(model.criteria):
            if pane is not None and criterion.window % pane:
                text = "is not a multiple of pane"
                raise wrong(text, name, "criteria", index, "window")
