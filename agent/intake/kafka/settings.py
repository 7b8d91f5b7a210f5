"""How to reach Kafka and as whom."""

import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, errors
from kafka.net.sasl import SASL_MECHANISMS

from agent.certificates import revoke, show, trust
from agent.errors import UsageError

MEBIBYTE = 1024 * 1024

# kafka-python's idempotent producer sends nothing more, for good and without an error, once records
# have waited too long for a broker: it drops its id and never asks for another. Without one a
# record may come twice, and one request at a time keeps them in order.
LASTING = {"enable_idempotence": False, "max_in_flight_requests_per_connection": 1}
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


# kafka-python logs as whom it has logged in; user names are shown nowhere.
logging.getLogger("kafka.net.connection").addFilter(
    lambda record: "Authenticated as" not in record.getMessage()
)


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
        if self._over_tls:
            tls_context(self.options)

    @property
    def _over_tls(self) -> bool:
        return str(self.options.get("security_protocol")).endswith("SSL")

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
        if self._over_tls:
            common["ssl_context"] = _Contexts(self.options)
        known = client.DEFAULT_CONFIG
        return {k: v for k, v in {**common, **own, **self.options}.items() if k in known}


def tls_context(options: Mapping[str, object]) -> ssl.SSLContext:
    """What the `ssl_*` options say. Raises UsageError where a file cannot be used."""

    def file(name: str) -> Path | None:
        value = options.get(name)
        return None if value is None else Path(str(value))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = bool(options.get("ssl_check_hostname", True))
    if authorities := file("ssl_cafile"):
        trust(context, "kafka.ssl_cafile", authorities)
    else:
        context.load_default_certs()
    if certificate := file("ssl_certfile"):
        password = options.get("ssl_password")
        key = file("ssl_keyfile")
        show(context, "kafka.ssl_", certificate, key, None if password is None else str(password))
    if revoked := file("ssl_crlfile"):
        revoke(context, "kafka.ssl_crlfile", revoked)
    if ciphers := options.get("ssl_ciphers"):
        try:
            context.set_ciphers(str(ciphers))
        except ssl.SSLError:
            raise UsageError(f"kafka.ssl_ciphers: {ciphers} names no cipher") from None
    return context


class _Contexts:
    """Stands for an SSLContext in kafka-python: for each connection a new one.

    So renewed files are taken up. kafka-python, which would do as much by itself, passes over
    `ssl_ciphers`, fails on `ssl_crlfile`, asks for passwords at the terminal, and does not say
    which file is the bad one.
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        self._options = options

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """SSLContext's own. KafkaConnectionError where a file cannot be used for now."""
        try:
            context = tls_context(self._options)
        except UsageError as error:
            raise errors.KafkaConnectionError(str(error)) from None
        return context.wrap_socket(*arguments, **options)
