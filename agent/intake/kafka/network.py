"""Connections that are made in the background and keep the reason why they cannot be.

kafka-python's own constructors wait for a broker and leave a thread behind when none answers.
Each client here stands on a `Network`, so that the agent starts before Kafka does and says in one
line what it waits for.
"""

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from agent.errors import TocsinError, UnreachableError, UsageError
from agent.intake.kafka.settings import KafkaSettings

CLOSED = "the broker closed the connection"
NOT_KAFKA = "what answers there is not Kafka's protocol"

# Another attempt would end the same way: somebody has to change the configuration.
FATAL = (
    errors.AuthorizationError,
    errors.FencedInstanceIdError,
    errors.IllegalSaslStateError,
    errors.InconsistentGroupProtocolError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
    errors.InvalidTopicError,
    errors.KafkaConfigurationError,
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.UnsupportedVersionError,
)


class WatchedManager(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's connections, remembering for each node why the last one failed."""

    def __init__(self, net: NetworkSelector, changed: threading.Event, **config: Any) -> None:
        super().__init__(net, **config)
        self.failures: dict[object, BaseException] = {}
        self._changed = changed
        # The manager does not pass this option on. A monitor that creates the topic it was told
        # to watch would hide a wrong name and give it the wrong number of partitions.
        self.cluster.config["allow_auto_create_topics"] = False

    def get_connection(self, node_id: object, *args: Any, **kwargs: Any) -> Any:
        """kafka-python's own, watched."""
        known = self._conns.get(node_id)
        connection = super().get_connection(node_id, *args, **kwargs)
        if connection is not known:
            connection.init_future.add_callback(lambda _: self.failures.pop(node_id, None))
            connection.init_future.add_errback(lambda error: self._failed(node_id, error))
            connection.close_future.add_errback(lambda error: self._failed(node_id, error))
        return connection

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        transport._sock_recv = _last_words_first(transport._sock_recv)
        return transport

    def _failed(self, node_id: object, error: BaseException) -> None:
        if not self.closed:
            self.failures[node_id] = error
            self._changed.set()


def _last_words_first(receive: Callable[[], tuple[bytes, Any]]) -> Callable[[], tuple[bytes, Any]]:
    """Hand over data that came together with the end of a connection; the next call meets the end.

    kafka-python drops such data, and with it the reason why a broker refuses credentials.
    """

    def received() -> tuple[bytes, Any]:
        data, error = receive()
        return (data, None) if data else (data, error)

    return received


class Network:
    """The connections of one client, being made in the background from the start."""

    def __init__(self, settings: KafkaSettings, options: Mapping[str, Any]) -> None:
        """Returns at once; raises UsageError where the servers cannot be read as host:port."""
        self._settings = settings
        self._changed = threading.Event()
        self._net = NetworkSelector(**options)
        try:
            self._manager = WatchedManager(self._net, self._changed, **options)
        except ValueError:
            self._net.close()
            raise UsageError(
                f"kafka.bootstrap_servers: {settings.servers} is not host:port[,host:port...]"
            ) from None
        self._client = KafkaNetClient(net=self._net, manager=self._manager, **options)
        self._net.start()
        self._bootstrap = self._manager.bootstrap_async(timeout_ms=None, refresh=False)
        self._bootstrap.add_both(lambda _: self._changed.set())

    def client(self, **_: object) -> KafkaNetClient:
        """What kafka-python calls to have a network; valid once connected."""
        return self._client

    def wait(self, timeout: float) -> bool:
        """Whether a broker has answered, waiting for one up to `timeout` seconds.

        Raises UnreachableError where waiting is in vain (credentials, mechanism, certificate).
        """
        deadline = time.monotonic() + timeout
        while not self._bootstrap.succeeded():
            self._changed.clear()
            self._raise_if_fatal()
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self._bootstrap.succeeded():
                break
            self._changed.wait(remaining)
        return bool(self._bootstrap.succeeded())

    def _raise_if_fatal(self) -> None:
        failures = list(self._manager.failures.values())
        if self._bootstrap.failed():
            failures.append(self._bootstrap.exception)
        for error in failures:
            if is_fatal(error):
                raise unreachable(self._settings, error) from None

    @property
    def problem(self) -> str:
        """Which broker cannot be reached and why; empty where all answer."""
        failures = dict(self._manager.failures)
        connected = self._bootstrap.succeeded()
        nodes = {broker.node_id: broker for broker in self._manager.cluster.brokers()}
        for node, error in failures.items():
            if not connected:
                reason = reason_of(error)
                if reason == CLOSED:
                    reason += "; does it expect another security_protocol or sasl_mechanism?"
                return f"Kafka at {self._settings.servers} cannot be reached: {reason}"
            if node in nodes:
                broker = nodes[node]
                return f"Kafka at {broker.host}:{broker.port} cannot be reached: {reason_of(error)}"
        return "" if connected else f"waiting for Kafka at {self._settings.servers}"

    def topic_known(self, topic: str) -> bool:
        """Whether the metadata at hand lists the topic."""
        return self._manager.cluster.partitions_for_topic(topic) is not None

    def partitions_of(self, topic: str) -> int:
        """Number of the topic's partitions in the metadata at hand; 0 where it is not there."""
        return len(self._manager.cluster.partitions_for_topic(topic) or ())

    def hand_over(self) -> None:
        """Stop driving the connections: a producer's own thread does from now on."""
        self._net.stop()

    def close(self) -> None:
        """Close all connections."""
        self._manager.close()
        self._net.close()


def is_fatal(error: BaseException) -> bool:
    """Whether another attempt would end the same way."""
    if isinstance(error, OSError):
        return error.filename is not None  # a certificate that cannot be read; else the network
    return isinstance(error, FATAL) or not isinstance(error, errors.KafkaError)


def reason_of(error: BaseException) -> str:
    """What a library's error means, in a person's words."""
    name = type(error).__name__
    text = str(error.args[0]) if error.args and error.args[0] is not None else name
    if text == name and isinstance(error, errors.BrokerResponseError):
        # What a broker answers with no more than a number: `MessageSizeTooLarge`.
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Error")).lower()
    if isinstance(error, errors.GroupAuthorizationFailedError):
        return f"READ on group {text} is not granted"
    if isinstance(error, errors.TopicAuthorizationFailedError):
        topics = error.args[0] if error.args else ()
        if isinstance(topics, set):  # of a consumer
            return f"READ or DESCRIBE on {', '.join(sorted(topics))} is not granted"
    if text in ("socket disconnected", "KafkaConnectionError"):
        return CLOSED
    if text.startswith("Invalid frame length"):
        return f"{NOT_KAFKA}; does it expect another security_protocol?"
    if tls := re.search(r"\[SSL: \w+\] (.+) \(_ssl\.c:\d+\)", text):
        return tls[1].replace("certificate verify failed", "its certificate is not trusted")
    if code := re.search(r"\b(\d+) (E[A-Z]+)\b", text):
        if getattr(errno, code[2], None) == int(code[1]):
            text = os.strerror(int(code[1])).lower()
    elif "DNS" in text:
        text = "its name does not resolve"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror.lower()}: {error.filename}" if error.filename else error.strerror
    return " ".join(text.split())


def unreachable(settings: KafkaSettings, error: BaseException) -> TocsinError:
    """The error that a person reads."""
    name = type(error).__name__.removesuffix("Error")
    return UnreachableError(f"Kafka at {settings.servers} refuses: {reason_of(error)} ({name})")
