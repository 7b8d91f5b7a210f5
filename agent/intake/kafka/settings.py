"""How to reach Kafka and as whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.net.sasl import SASL_MECHANISMS

from agent.errors import UsageError

MEBIBYTE = 1024 * 1024
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach Kafka and as whom.

    `options` are keyword arguments of kafka-python (security_protocol, sasl_*, ssl_*,
    session_timeout_ms, ...); a client takes those that it knows. They may hold secrets and so
    never show in the representation.
    """

    bootstrap_servers: str | Sequence[str]
    group_id: str = "tocsin"
    group_instance_id: str | None = None
    client_id: str = "tocsin"
    options: Mapping[str, object] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        known = KafkaConsumer.DEFAULT_CONFIG.keys() | KafkaProducer.DEFAULT_CONFIG.keys()
        if unknown := sorted(self.options.keys() - known):
            raise UsageError(f"kafka: {', '.join(unknown)} is not an option of kafka-python")
        protocol = self.options.get("security_protocol", "PLAINTEXT")
        # kafka-python takes a protocol that it does not know for PLAINTEXT.
        if protocol not in SECURITY_PROTOCOLS:
            raise UsageError(f"kafka.security_protocol: use one of {', '.join(SECURITY_PROTOCOLS)}")
        if str(protocol).startswith("SASL_"):
            mechanism = self.options.get("sasl_mechanism")
            if mechanism not in SASL_MECHANISMS:
                raise UsageError(f"kafka.sasl_mechanism: use one of {', '.join(SASL_MECHANISMS)}")

    @property
    def servers(self) -> str:
        """The bootstrap servers as a person writes them."""
        servers = self.bootstrap_servers
        return servers if isinstance(servers, str) else ", ".join(servers)

    def for_client(self, client: Any, **own: object) -> dict[str, Any]:
        """Keyword arguments for a class of kafka-python; `own` gives way to the user's options."""
        common: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "metadata_max_age_ms": 10_000,  # a topic created later is found this fast
            "reconnect_backoff_max_ms": 2_000,
            "metrics_enabled": False,
        }
        known = client.DEFAULT_CONFIG
        return {k: v for k, v in {**common, **own, **self.options}.items() if k in known}
