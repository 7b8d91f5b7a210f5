"""Kafka, and the only module that knows kafka-python: a source, a sink, and checks of topics.

kafka-python's own constructors wait for a broker and leave a thread behind when none answers.
Here each client stands on a `_Network`, which connects in the background and keeps the reason why
it cannot, so that the agent starts before Kafka does and says in one line what it waits for.
"""

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.sasl import SASL_MECHANISMS
from kafka.net.selector import NetworkSelector
from kafka.structs import OffsetAndMetadata
from kafka.structs import TopicPartition as KafkaTopicPartition

from agent.errors import TocsinError, UnreachableError, UsageError
from agent.intake.source import RawBatch, TableBatch, TopicPartition

MEBIBYTE = 1024 * 1024
CLOSED = "the broker closed the connection"
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

# Another attempt would end the same way: somebody has to change the configuration.
_FATAL = (
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
# The partitions went to another member, which reads on from the last commit: nothing is lost.
_REBALANCED = (
    errors.CommitFailedError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
)


# A broker answers a fetch within half a second even where there is nothing to fetch.
STALE_SECONDS = 3.0


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


# --- connection -----------------------------------------------------------------------------------


class _WatchedManager(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python has no types
    """kafka-python's connections, remembering for each node why the last one failed."""

    def __init__(self, net: NetworkSelector, changed: threading.Event, **config: Any) -> None:
        super().__init__(net, **config)
        self.failures: dict[object, BaseException] = {}
        self._changed = changed
        # The manager does not pass this option on. A monitor that creates the topic it was told
        # to watch would hide a wrong name and give it the wrong number of partitions.
        self.cluster.config["allow_auto_create_topics"] = False

    def get_connection(self, node_id: object, *args: Any, **kwargs: Any) -> Any:
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


class _Network:
    """The connections of one client, being made in the background from the start."""

    def __init__(self, settings: KafkaSettings, options: Mapping[str, Any]) -> None:
        """Returns at once; raises UsageError where the servers cannot be read as host:port."""
        self._settings = settings
        self._changed = threading.Event()
        self._net = NetworkSelector(**options)
        try:
            self._manager = _WatchedManager(self._net, self._changed, **options)
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
            if _is_fatal(error):
                raise _unreachable(self._settings, error) from None

    @property
    def problem(self) -> str:
        """Which broker cannot be reached and why; empty where all answer."""
        failures = dict(self._manager.failures)
        connected = self._bootstrap.succeeded()
        nodes = {broker.node_id: broker for broker in self._manager.cluster.brokers()}
        for node, error in failures.items():
            if not connected:
                reason = _reason(error)
                if reason == CLOSED:
                    reason += "; does it expect another security_protocol or sasl_mechanism?"
                return f"Kafka at {self._settings.servers} cannot be reached: {reason}"
            if node in nodes:
                broker = nodes[node]
                return f"Kafka at {broker.host}:{broker.port} cannot be reached: {_reason(error)}"
        return "" if connected else f"waiting for Kafka at {self._settings.servers}"

    def topic_known(self, topic: str) -> bool:
        """Whether the metadata at hand lists the topic."""
        return self._manager.cluster.partitions_for_topic(topic) is not None

    def hand_over(self) -> None:
        """Stop driving the connections: a producer's own thread does from now on."""
        self._net.stop()

    def close(self) -> None:
        self._manager.close()
        self._net.close()


def _is_fatal(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.filename is not None  # a certificate that cannot be read; else the network
    return isinstance(error, _FATAL) or not isinstance(error, errors.KafkaError)


def _reason(error: BaseException) -> str:
    """What a library's error means, in a person's words."""
    text = str(error.args[0]) if error.args else type(error).__name__
    if text in ("socket disconnected", "KafkaConnectionError"):
        return CLOSED
    if code := re.search(r"\b(\d+) (E[A-Z]+)\b", text):
        if getattr(errno, code[2], None) == int(code[1]):
            text = os.strerror(int(code[1])).lower()
    elif "DNS" in text:
        text = "its name does not resolve"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror.lower()}: {error.filename}" if error.filename else error.strerror
    return " ".join(text.split())


def _unreachable(settings: KafkaSettings, error: BaseException) -> TocsinError:
    name = type(error).__name__.removesuffix("Error")
    return UnreachableError(f"Kafka at {settings.servers} refuses: {_reason(error)} ({name})")


# --- source ---------------------------------------------------------------------------------------


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """What the group has handed to this member. Called on kafka-python's own thread."""

    def __init__(self) -> None:
        self.joined = False
        self.partitions: frozenset[TopicPartition] = frozenset()

    def on_partitions_assigned(self, assigned: set[KafkaTopicPartition]) -> None:
        self.joined = True
        self.partitions |= {(p.topic, p.partition) for p in assigned}

    def on_partitions_revoked(self, revoked: set[KafkaTopicPartition]) -> None:
        self.partitions -= {(p.topic, p.partition) for p in revoked}

    def on_partitions_lost(self, lost: set[KafkaTopicPartition]) -> None:
        self.on_partitions_revoked(lost)


class KafkaSource:
    """A member of a consumer group, as an `agent.intake.source.Source`.

    A partition is read from its committed offset, or from its earliest record where nothing is
    committed or retention has passed it. Equal partition numbers of topics with equally many
    partitions come to the same member (range assignor), which the join rests on. Not thread-safe.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        *,
        max_poll_records: int = 5_000,
        partition_bytes: int = 8 * MEBIBYTE,
        fetch_bytes: int = 64 * MEBIBYTE,
        commit_timeout: float = 5.0,
    ) -> None:
        """Returns at once, whether or not a broker answers; the group is joined in `poll`."""
        self._settings = settings
        self._topics = tuple(dict.fromkeys(topics))
        self._commit_timeout = commit_timeout
        self._options = settings.for_client(
            KafkaConsumer,
            group_id=settings.group_id,
            group_instance_id=settings.group_instance_id,
            max_poll_records=max_poll_records,
            max_partition_fetch_bytes=partition_bytes,
            fetch_max_bytes=fetch_bytes,
            receive_message_max_bytes=max(100_000_000, fetch_bytes + partition_bytes),
        ) | {
            # What the pipeline's guarantees rest on is not the user's to change.
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "partition_assignment_strategy": (RangePartitionAssignor,),
        }
        self._assigned = _Assignment()
        self._consumer: Any = None
        self._heard: dict[TopicPartition, float] = {}
        self._poll_problem = ""
        self._commit_problem = ""
        self._network = _Network(settings, self._options)

    @property
    def problem(self) -> str:
        """What keeps records from coming or commits from being kept, in one line; else empty."""
        return (
            self._network.problem
            or self._poll_problem
            or self._commit_problem
            or self._missing_topics()
        )

    def _missing_topics(self) -> str:
        # Before the group is joined, metadata may simply not have come yet.
        if not self._assigned.joined:
            return ""
        missing = [topic for topic in self._topics if not self._network.topic_known(topic)]
        return f"waiting for topics that do not exist: {', '.join(missing)}" if missing else ""

    def poll(self, timeout: float) -> list[RawBatch | TableBatch]:
        """Batches that came within `timeout` seconds; empty where none did. Never blocks longer.

        An unreachable broker is `problem`, not an error. Raises UnreachableError where only a
        person can help: credentials, permissions, settings that the broker refuses.
        """
        deadline = time.monotonic() + timeout
        consumer = self._connected(timeout)
        if consumer is None:
            return []
        try:
            polled = consumer.poll(timeout_ms=max(0.0, deadline - time.monotonic()) * 1000)
        except _FATAL as error:
            raise _unreachable(self._settings, error) from error
        except errors.KafkaError as error:
            self._poll_problem = f"reading from Kafka: {_reason(error)}"
            # Some errors come back at once, for as long as their cause lasts.
            time.sleep(max(0.0, min(0.2, deadline - time.monotonic())))
            return []
        except Exception as error:
            raise UnreachableError(f"the Kafka client failed: {error!r}") from error
        self._poll_problem = ""
        return [_raw_batch(partition, records) for partition, records in polled.items()]

    def _connected(self, timeout: float) -> Any:
        if self._consumer is None and self._network.wait(timeout):
            try:
                consumer = KafkaConsumer(kafka_client=self._network.client, **self._options)
                _complete_every_join(consumer._coordinator)
                self._heard = _listen(consumer._fetcher)
                consumer.subscribe(self._topics, listener=self._assigned)
            except (errors.KafkaError, ValueError) as error:
                raise _unreachable(self._settings, error) from error
            self._consumer = consumer
        return self._consumer

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions this source reads now. Empty while the group hands them out."""
        return self._assigned.partitions

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the position and the end, for each assigned partition (-1: unknown).

        Known from what the last fetch said: no request is sent. A broker that has stopped answering
        says nothing of where its partitions end.
        """
        if self._consumer is None:
            return {}
        # The public position() may ask the broker; the state behind it never does.
        states = self._consumer._subscription.assignment
        return {
            partition: _lag(states.get(KafkaTopicPartition(*partition)))
            if time.monotonic() - self._heard.get(partition, 0.0) < STALE_SECONDS
            else -1
            for partition in self._assigned.partitions
        }

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember these as the next offsets to read. Blocks for at most `commit_timeout` seconds.

        Partitions that have gone to another member are left out. A commit that fails is `problem`
        until a later one succeeds: it costs reading records again, and loses none. Raises
        UnreachableError as `poll` does; another agent that took over this one's
        `group_instance_id` shows only here.
        """
        owned = {
            KafkaTopicPartition(*partition): OffsetAndMetadata(int(offset))
            for partition, offset in offsets.items()
            if partition in self._assigned.partitions
        }
        if self._consumer is None or not owned:
            return
        try:
            self._consumer.commit(owned, timeout_ms=self._commit_timeout * 1000)
        except _FATAL as error:
            raise _unreachable(self._settings, error) from error
        except _REBALANCED:
            self._commit_problem = ""
        except errors.KafkaError as error:
            self._commit_problem = f"committing to Kafka: {_reason(error)}"
        else:
            self._commit_problem = ""

    def close(self) -> None:
        """Leave the group and free everything; safe to call twice. Commits nothing."""
        consumer, self._consumer = self._consumer, None
        try:
            if consumer is not None:
                consumer.close(autocommit=False, timeout_ms=3_000)
        except errors.KafkaError:
            pass  # the broker is gone: it will notice by itself that this member has left
        finally:
            self._assigned.partitions = frozenset()
            self._network.close()


def _complete_every_join(coordinator: Any) -> None:
    """Keep the coordinator at a join that it has begun until that has ended.

    A join begun because topics changed is forgotten by kafka-python where a poll's time runs out
    between the leader's assignment and the broker's answer to it: the member then stays without
    partitions, without heartbeats and without an error for good.
    """
    wanted = coordinator.need_rejoin
    coordinator.need_rejoin = lambda: coordinator.rejoining or wanted()


def _listen(fetcher: Any) -> dict[TopicPartition, float]:
    """When each partition was last answered for, empty answers included; kept up to date."""
    heard: dict[TopicPartition, float] = {}
    handle = fetcher._handle_fetch_response

    def note(node_id: object, fetch_offsets: Any, *rest: Any) -> Any:
        now = time.monotonic()
        heard.update({(tp.topic, tp.partition): now for tp in fetch_offsets})
        return handle(node_id, fetch_offsets, *rest)

    fetcher._handle_fetch_response = note
    return heard


def _raw_batch(partition: KafkaTopicPartition, records: list[Any]) -> RawBatch:
    count = len(records)
    return RawBatch(
        topic=partition.topic,
        partition=partition.partition,
        values=[record.value for record in records],
        offsets=np.fromiter((record.offset for record in records), np.int64, count),
        times=np.fromiter((record.timestamp for record in records), np.int64, count),
    )


def _lag(state: Any) -> int:
    if state is None or state.position is None or state.highwater is None:
        return -1
    return max(0, int(state.highwater) - int(state.position.offset))


# --- sink -----------------------------------------------------------------------------------------


class KafkaSink:
    """Sends records, each in the order given within its partition, acknowledged by all replicas.

    kafka-python's own buffer has no bound, so this one counts the bytes it has not yet seen
    acknowledged. For use by one thread.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        max_block: float = 1.0,
        buffer_bytes: int = 16 * MEBIBYTE,
        max_record_bytes: int = MEBIBYTE,
        compression: str | None = None,
        linger: float = 0.005,
    ) -> None:
        """Returns at once, whether or not a broker answers. `compression`: gzip, snappy, ..."""
        self._settings = settings
        # One half for the connection and room, the other for the metadata of a new topic.
        self._patience = max_block / 2
        self._buffer_bytes = buffer_bytes
        self._options = settings.for_client(
            KafkaProducer,
            compression_type=compression,
            linger_ms=int(linger * 1000),
            batch_size=64 * 1024,
            max_request_size=max_record_bytes,
            max_block_ms=int(self._patience * 1000),
        )
        self._producer: Any = None
        self._changed = threading.Condition()
        self._pending = 0
        self._failed_since_flush = False
        self._problem = ""
        self._network = _Network(settings, self._options)

    @property
    def problem(self) -> str:
        """What keeps records from being delivered, in one line; empty where nothing does."""
        return self._network.problem or self._problem

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> bool:
        """Take a record into the buffer; False where that was not possible within `max_block`.

        Raises ValueError for a record over `max_record_bytes` or without both key and value.
        """
        deadline = time.monotonic() + self._patience
        size = 100 + len(key or b"") + len(value or b"")
        if not (self._connected(self._patience) and self._reserve(size, deadline)):
            return False
        try:
            future = self._producer.send(topic, value=value, key=key, headers=list(headers))
        except BaseException as error:
            self._release(size)
            if isinstance(error, errors.MessageSizeTooLargeError):
                raise ValueError(f"record for {topic}: {_reason(error)}") from None
            if isinstance(error, errors.KafkaError):
                self._problem = f"sending to topic {topic}: {_reason(error)}"
                return False
            raise
        future.add_callback(lambda _: self._delivered(size))
        future.add_errback(lambda error: self._failed(size, topic, error))
        return True

    def _connected(self, timeout: float) -> bool:
        if self._producer is None and self._network.wait(timeout):
            self._network.hand_over()
            try:
                self._producer = KafkaProducer(kafka_client=self._network.client, **self._options)
            except (errors.KafkaError, ValueError, RuntimeError) as error:
                raise _unreachable(self._settings, error) from error
        return self._producer is not None

    def _reserve(self, size: int, deadline: float) -> bool:
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._pending == 0 or self._pending + size <= self._buffer_bytes,
                timeout=max(0.0, deadline - time.monotonic()),
            )
            if room:
                self._pending += size
            return room

    def _release(self, size: int) -> None:
        with self._changed:
            self._pending -= size
            self._changed.notify_all()

    def _delivered(self, size: int) -> None:
        self._problem = ""
        self._release(size)

    def _failed(self, size: int, topic: str, error: BaseException) -> None:
        self._problem = f"sending to topic {topic}: {_reason(error)}"
        self._failed_since_flush = True
        self._release(size)

    def flush(self, timeout: float) -> bool:
        """Whether all that was taken since the last flush has been delivered, waiting for it."""
        if self._producer is None:
            return True
        deadline = time.monotonic() + timeout
        try:
            self._producer.flush(timeout)
        except errors.KafkaTimeoutError:
            return False
        with self._changed:
            settled = self._changed.wait_for(
                lambda: self._pending == 0, timeout=max(0.0, deadline - time.monotonic())
            )
            failed, self._failed_since_flush = self._failed_since_flush, False
        return settled and not failed

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what can be within `timeout` seconds and free everything; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is None:
            self._network.close()
            return
        try:
            producer.close(timeout)
        except errors.KafkaTimeoutError:
            # kafka-python leaves its thread running here.
            producer._sender.force_close()


# --- topics ---------------------------------------------------------------------------------------


@contextmanager
def _admin(settings: KafkaSettings, timeout: float) -> Iterator[Any]:
    options = settings.for_client(KafkaAdminClient, request_timeout_ms=int(timeout * 1000))
    network = _Network(settings, options)
    try:
        if not network.wait(timeout):
            raise UnreachableError(network.problem)
        yield KafkaAdminClient(kafka_client=network.client, **options)
    except errors.KafkaError as error:
        raise _unreachable(settings, error) from error
    finally:
        network.close()


def partition_counts(settings: KafkaSettings, timeout: float = 10.0) -> dict[str, int]:
    """Each topic's number of partitions. Raises UnreachableError."""
    with _admin(settings, timeout) as admin:
        return {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}


def check_topics(
    settings: KafkaSettings, topics: Mapping[str, Sequence[str]], timeout: float = 10.0
) -> list[str]:
    """Problems with the topics of each model, one line each; empty where all is well.

    The topics of one model must have equally many partitions, or else its predictions and their
    feedback may come to different agents and never meet.
    """
    try:
        counts = partition_counts(settings, timeout)
    except TocsinError as error:
        return [str(error)]
    return [line for model, names in topics.items() for line in _check(model, names, counts)]


def _check(model: str, topics: Sequence[str], counts: Mapping[str, int]) -> Iterator[str]:
    for topic in topics:
        if topic not in counts:
            yield f"models.{model}: topic {topic} does not exist; create it or correct its name"
    present = [topic for topic in topics if topic in counts]
    if len({counts[topic] for topic in present}) > 1:
        sizes = ", ".join(f"{topic} has {counts[topic]}" for topic in present)
        yield (
            f"models.{model}: its topics differ in partitions ({sizes}); give them equally many "
            "and the same key, or predictions and feedback cannot be joined"
        )


def ensure_topic(
    settings: KafkaSettings,
    topic: str,
    *,
    partitions: int = 1,
    replication: int = -1,
    configs: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> bool:
    """Create a topic where it is missing and wait until it can be used; whether it was created.

    `replication` -1 is the cluster's default. An existing topic is left as it is. Raises
    UnreachableError.
    """
    wanted = {
        "num_partitions": partitions,
        "replication_factor": replication,
        "configs": dict(configs or {}),
    }
    with _admin(settings, timeout) as admin:
        try:
            admin.create_topics({topic: wanted}, timeout_ms=int(timeout * 1000))
        except errors.TopicAlreadyExistsError:
            return False
        admin.wait_for_topics([topic], timeout_ms=timeout * 1000)
        return True
