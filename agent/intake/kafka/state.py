"""Checkpoints on a compacted topic."""

import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaProducer, errors
from kafka.structs import TopicPartition as KafkaTopicPartition

from agent.errors import TocsinError
from agent.intake.kafka.network import Network, reason_of, unreachable
from agent.intake.kafka.reading import reader, to_end
from agent.intake.kafka.settings import LASTING, MEBIBYTE, KafkaSettings
from agent.intake.kafka.topics import ensure_topic

PARTITIONS = 12  # of a topic that is created here: so many agents can restore side by side
CONFIGS = {
    "cleanup.policy": "compact",
    "segment.ms": "3600000",  # what is closed can be compacted: an active segment is not
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": "86400000",
}
CLAIM = "claim"


class StateTopic:
    """A `agent.checkpoint.medium.Medium` of records: GROUP|NAME/CLAIM/SLOT/CHUNK is the key.

    All keys of a name are in one partition, in the order in which they were written. A claim is the
    offset of a record written for it, so that it is larger than any before.

    Parameters
    ----------
    settings, topic
        Where; the topic is created where it is missing.
    timeout
        Seconds after which anything that is asked of it has failed.
    """

    def __init__(self, settings: KafkaSettings, topic: str, timeout: float = 10.0) -> None:
        self._settings, self._topic, self._timeout = settings, topic, timeout
        self._options = settings.for_client(
            KafkaProducer,
            compression_type=None,  # what comes is packed already
            linger_ms=5,
            max_request_size=MEBIBYTE,
            max_block_ms=int(timeout * 1000),
            delivery_timeout_ms=int(timeout * 1000),
            request_timeout_ms=int(timeout * 500),
            **LASTING,
        )
        # Groups may share a topic, and have models of the same name.
        self._group = settings.group_id.replace("/", "%2F") + "|"
        self._network: Network | None = None
        self._producer: Any = None
        self.problem = ""

    def claim(self, names: Sequence[str]) -> Mapping[str, int] | None:
        """See `Medium`."""
        sent = self._send([(f"{self._group}{name}/{CLAIM}", b"") for name in names])
        if sent is None:
            return None
        return dict(zip(names, sent, strict=True))

    def put(self, entries: Sequence[tuple[str, bytes | None]]) -> bool:
        """See `Medium`."""
        return self._send([(self._group + key, value) for key, value in entries]) is not None

    def _send(self, entries: Sequence[tuple[str, bytes | None]]) -> list[int] | None:
        """Write records; their offsets, once all of them are acknowledged."""
        deadline = time.monotonic() + self._timeout
        try:
            producer = self._connected()
            partitions = producer.partitions_for(self._topic)
            if not partitions:
                raise errors.UnknownTopicOrPartitionError(f"{self._topic} does not exist")
            sent = [
                producer.send(
                    self._topic,
                    key=key.encode(),
                    value=value,
                    partition=_partition(key, len(partitions)),
                )
                for key, value in entries
            ]
            made = [f.get(max(deadline - time.monotonic(), 0.001)).offset for f in sent]
        except (errors.KafkaError, TocsinError, TimeoutError) as error:
            self.problem = self._failed("written", error)
            return None
        self.problem = ""
        return made

    def _connected(self) -> Any:
        if self._producer is None:
            ensure_topic(
                self._settings,
                self._topic,
                partitions=PARTITIONS,
                configs=CONFIGS,
                timeout=self._timeout,
            )
            if self._network is None:
                self._network = Network(self._settings, self._options)
            if not self._network.wait(self._timeout):
                raise errors.KafkaTimeoutError(self._network.problem)
            self._network.hand_over()
            try:
                client = self._network.client
                self._producer = KafkaProducer(kafka_client=client, **self._options)
            except (ValueError, RuntimeError) as error:
                raise unreachable(self._settings, error) from error
        return self._producer

    def load(self, names: Sequence[str]) -> Mapping[str, Mapping[str, bytes]] | None:
        """See `Medium`. Reads the partitions of these names to their ends."""
        found: dict[str, dict[str, bytes]] = {name: {} for name in names}
        try:
            with reader(self._settings, self._timeout) as consumer:
                known = consumer.partitions_for_topic(self._topic)
                if not known:
                    # A broker that does not know the topic now; not a topic that holds nothing.
                    raise errors.UnknownTopicOrPartitionError("its partitions are not known now")
                wanted = {_partition(f"{self._group}{name}/", len(known)) for name in names}
                starts = {KafkaTopicPartition(self._topic, n): 0 for n in sorted(wanted)}
                for record in to_end(consumer, starts, self._timeout):
                    self._note(record, found)
        except (errors.KafkaError, TocsinError) as error:
            self.problem = self._failed("read", error)
            return None
        self.problem = ""
        return found

    def _note(self, record: Any, found: dict[str, dict[str, bytes]]) -> None:
        key = (record.key or b"").decode(errors="replace")
        name, _, rest = key.removeprefix(self._group).partition("/")
        if name not in found or rest == CLAIM or not key.startswith(self._group):
            return
        if record.value is None:
            found[name].pop(rest, None)
        else:
            found[name][rest] = record.value

    def _failed(self, what: str, error: Exception) -> str:
        reason = str(error) if isinstance(error, TocsinError) else reason_of(error)
        return f"topic {self._topic}: checkpoints cannot be {what}: {reason}"

    def close(self) -> None:
        """See `Medium`."""
        producer, self._producer = self._producer, None
        network, self._network = self._network, None
        if producer is not None:
            try:
                producer.close(1.0)
            except errors.KafkaTimeoutError:
                producer._sender.force_close()
        elif network is not None:
            network.close()


def _partition(key: str, partitions: int) -> int:
    """Where a name's records are: the same for every agent."""
    return zlib.crc32(key.partition("/")[0].encode()) % partitions
