"""A real Apache Kafka that is reached over TLS alone, with every way to log in."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from tests.rig.certificates import Authority, Files
from tests.rig.kafka import KafkaServer
from tests.rig.process import free_port
from tests.rig.tokens import AUDIENCE, ISSUER, TokenEndpoint

USER, PASSWORD = "k4fka-user", "k4fka-s3cret"
CLIENT, SECRET = "tocsin-client", "0auth-s3cret"

_SECURITY = "org.apache.kafka.common.security"
_LOGIN = {
    "plain": f'plain.PlainLoginModule required user_{USER}="{PASSWORD}"',
    "scram-sha-256": "scram.ScramLoginModule required",
    "scram-sha-512": "scram.ScramLoginModule required",
    "oauthbearer": "oauthbearer.OAuthBearerLoginModule required",
}


@dataclass(frozen=True, slots=True)
class SecureKafka:
    """Where it listens: the name of a listener says what is right or wrong with it."""

    authority: Authority
    tokens: TokenEndpoint
    client: Files
    plain: str  # without any security, for the test's own records
    listeners: dict[str, str] = field(repr=False)

    def options(self, mechanism: str | None, **other: Any) -> dict[str, Any]:
        """The `kafka` section that logs in like this, at the listener where all is well."""
        right: dict[str, Any] = {
            "bootstrap_servers": self.listeners["SECURED"],
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": mechanism,
            "ssl_cafile": str(self.authority.file),
        }
        if mechanism == "OAUTHBEARER":
            right["oauth"] = {
                "token_url": self.tokens.url,
                "client_id": CLIENT,
                "client_secret": SECRET,
                "scope": "events",
                "cafile": str(self.authority.file),
            }
        else:
            right |= {"sasl_plain_username": USER, "sasl_plain_password": PASSWORD}
        return right | other

    def over_ssl(self, listener: str, **other: Any) -> dict[str, Any]:
        """The `kafka` section that talks to a listener without logging in."""
        return {
            "bootstrap_servers": self.listeners[listener],
            "security_protocol": "SSL",
            "ssl_cafile": str(self.authority.file),
            **other,
        }


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """One broker, started once, and its token endpoint."""
    authority = Authority(folder / "certificates")
    good = authority.issue("broker")
    certificates = {
        "SECURED": good,
        "MUTUAL": good,
        "EXPIRED": authority.issue("expired", expired=True),
        "ELSEWHERE": authority.issue("elsewhere", "kafka.example"),
    }
    ports = {name: free_port() for name in ("PLAINTEXT", *certificates, "CONTROLLER")}
    tokens = TokenEndpoint(good, CLIENT, SECRET)
    key_set = folder / "keys.json"
    tokens.keys(key_set)
    properties = _properties(ports, certificates, authority, key_set)
    # Kafka reads key sets only from where it is told that it may.
    allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{key_set}"
    before = os.environ.get("JDK_JAVA_OPTIONS")
    os.environ["JDK_JAVA_OPTIONS"] = allowed
    try:
        server = KafkaServer(folder / "kafka", port=ports["PLAINTEXT"], properties=properties)
        server.start()
    finally:
        if before is None:
            del os.environ["JDK_JAVA_OPTIONS"]
        else:
            os.environ["JDK_JAVA_OPTIONS"] = before
    try:
        with closing(KafkaAdminClient(bootstrap_servers=server.bootstrap)) as admin:
            for kind in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                wanted = UserScramCredentialUpsertion(USER, kind, PASSWORD)
                assert admin.alter_user_scram_credentials([wanted]) == {USER: None}
        reached = {name: f"127.0.0.1:{ports[name]}" for name in certificates}
        yield SecureKafka(authority, tokens, authority.issue("client"), server.bootstrap, reached)
    finally:
        server.stop()
        tokens.stop()


def _properties(
    ports: dict[str, int], certificates: dict[str, Files], authority: Authority, key_set: Path
) -> dict[str, str]:
    open_ports = [name for name in ports if name != "CONTROLLER"]
    protocols = dict.fromkeys(ports, "SSL") | {
        "PLAINTEXT": "PLAINTEXT",
        "CONTROLLER": "PLAINTEXT",
        "SECURED": "SASL_SSL",
    }
    lines = {
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{ports['CONTROLLER']}",
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
        "advertised.listeners": ",".join(
            f"{name}://127.0.0.1:{ports[name]}" for name in open_ports
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}" for name, protocol in protocols.items()
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": ",".join(name.upper() for name in _LOGIN),
        "sasl.oauthbearer.jwks.endpoint.url": f"file://{key_set}",
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": ISSUER,
        # Tokens and passwords alike are asked for again as the session ends (KIP-368).
        "connections.max.reauth.ms": "3600000",
        "listener.name.mutual.ssl.client.auth": "required",
    }
    for mechanism, login in _LOGIN.items():
        at = f"listener.name.secured.{mechanism}"
        lines[f"{at}.sasl.jaas.config"] = f"{_SECURITY}.{login};"
    lines["listener.name.secured.oauthbearer.sasl.server.callback.handler.class"] = (
        f"{_SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler"
    )
    for name, files in certificates.items():
        at = f"listener.name.{name.lower()}.ssl"
        lines[f"{at}.keystore.type"] = lines[f"{at}.truststore.type"] = "PEM"
        lines[f"{at}.keystore.location"] = str(files.both)
        lines[f"{at}.truststore.location"] = str(authority.file)
    return lines
