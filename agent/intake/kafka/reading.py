"""Topics read once, from some place to the end they have at the time; no group knows of it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, errors
from kafka.structs import TopicPartition as KafkaTopicPartition

from agent.errors import UnreachableError
from agent.intake.kafka.network import Network
from agent.intake.kafka.settings import MEBIBYTE, KafkaSettings
from agent.intake.kafka.topics import refusal
from agent.intake.source import TopicPartition

# A slow link must bring all of a fetch within the 30 s of a request. It ends with a piece of a
# record, which comes again: a bit more than two of those of a checkpoint.
FETCH_BYTES = MEBIBYTE + 64 * 1024

STUCK_SECONDS = 60.0  # without a record, whatever else comes


@contextmanager
def reader(settings: KafkaSettings, timeout: float) -> Iterator[Any]:
    """A consumer for `to_end`, for a while. Raises KafkaError or TocsinError."""
    options = settings.for_client(
        KafkaConsumer,
        receive_message_max_bytes=100_000_000,
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=FETCH_BYTES,
    ) | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_uncommitted",
    }
    network = Network(settings, options)
    consumer = None
    try:
        if not network.wait(timeout):
            raise errors.KafkaTimeoutError(network.problem)
        consumer = KafkaConsumer(kafka_client=network.client, **options)
        yield consumer
    finally:
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=1_000)
        network.close()


def to_end(
    consumer: Any, starts: Mapping[KafkaTopicPartition, int], timeout: float
) -> Iterator[Any]:
    """Records of these partitions from there on (or the first there is), to their present ends.

    Raises KafkaError, also where nothing is heard for `timeout` seconds. An answer that is on its
    way over a slow link is heard.
    """
    milliseconds = timeout * 1000
    ends = consumer.end_offsets(list(starts), timeout_ms=milliseconds)
    consumer.assign(list(starts))
    for partition, offset in starts.items():
        consumer.seek(partition, offset)
    left = {p for p, end in ends.items() if end > starts[p]}
    came = time.monotonic()
    while left:
        for partition, records in consumer.poll(timeout_ms=200).items():
            came = time.monotonic()
            yield from records
            if records[-1].offset + 1 >= ends[partition]:
                left.discard(partition)
        # Of a partition whose last records are compacted away no record tells that it is over.
        left -= {p for p in left if consumer.position(p, timeout_ms=milliseconds) >= ends[p]}
        now = time.monotonic()
        if now - max(came, _last_read(consumer)) > timeout or now - came > STUCK_SECONDS:
            raise errors.KafkaTimeoutError("the broker has stopped answering")


def _last_read(consumer: Any) -> float:
    """When anything last came from a broker."""
    transports = [c.transport for c in list(consumer._client._manager._conns.values())]
    return max((t.last_read for t in transports if t is not None), default=0.0)


def values_from(
    settings: KafkaSettings, at: TopicPartition, offset: int, timeout: float
) -> list[bytes]:
    """The values of a partition from that offset on; none where the topic does not exist.

    Raises UnreachableError.
    """
    try:
        with reader(settings, timeout) as consumer:
            if at[1] not in (consumer.partitions_for_topic(at[0]) or ()):
                return []
            records = to_end(consumer, {KafkaTopicPartition(*at): offset}, timeout)
            return [record.value for record in records if record.value is not None]
    except errors.KafkaError as error:
        reason = refusal(error, at[0], "READ")
        raise UnreachableError(f"topic {at[0]} cannot be read: {reason}") from error
