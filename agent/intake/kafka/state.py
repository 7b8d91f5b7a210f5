"""Checkpoints on a compacted topic."""

import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer, errors
from kafka.structs import TopicPartition as KafkaTopicPartition

from agent.errors import TocsinError
from agent.intake.kafka.network import Network, unreachable
from agent.intake.kafka.reading import reader, to_end
from agent.intake.kafka.settings import LASTING, MEBIBYTE, KafkaSettings
from agent.intake.kafka.topics import BROKERS_TIME, ensure_topic, refusal

PARTITIONS = 12  # of a topic that is created here: so many agents can restore side by side
CONFIGS = {
    "cleanup.policy": "compact",
    "segment.ms": "3600000",  # what is closed can be compacted: an active segment is not
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": "86400000",
    **BROKERS_TIME,
}
CLAIM = "claim"
LONGEST = 60.0  # seconds that writing takes at most: nothing is read meanwhile


class StateTopic:
    """A `agent.checkpoint.medium.Medium` of records: GROUP|NAME/CLAIM/SLOT/CHUNK is the key.

    All keys of a name are in one partition, in the order in which they were written. A claim is the
    offset of a record written for it, so that it is larger than any before.

    Parameters
    ----------
    settings, topic
        Where; the topic is created where it is missing.
    timeout
        Seconds without a sign of the broker after which what was asked of it has failed.
    longest
        Seconds after which writing has failed, however it goes on.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        timeout: float = 10.0,
        longest: float = LONGEST,
    ) -> None:
        self._settings, self._topic = settings, topic
        self._timeout, self._longest = timeout, longest
        self._options = settings.for_client(
            KafkaProducer,
            compression_type=None,  # what comes is packed already
            linger_ms=5,
            max_request_size=MEBIBYTE,
            max_block_ms=int(timeout * 1000),
            delivery_timeout_ms=int((longest + timeout) * 1000),  # `_send` gives up before
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
        try:
            producer = self._connected()
            partitions = producer.partitions_for(self._topic)
            if not partitions:
                raise errors.UnknownTopicOrPartitionError(f"{self._topic} does not exist")
            patience = _Patience(self._timeout, self._longest)
            sent = [
                producer.send(
                    self._topic,
                    key=key.encode(),
                    value=value,
                    partition=_partition(key, len(partitions)),
                ).add_callback(patience.heard)
                for key, value in entries
            ]
            made = patience.offsets(sent)
        except (errors.KafkaError, TocsinError, TimeoutError) as error:
            self._give_up()
            self.problem = self._failed("written", error, "WRITE")
            return None
        self.problem = ""
        return made

    def _give_up(self) -> None:
        """Take back what has not been sent: it would come before all that follows.

        What is under way may still be written, before all that follows: as after a crash.
        """
        if self._producer is not None:
            with suppress(ValueError):  # what the producer's thread is giving up itself
                self._producer._accumulator.abort_undrained_batches(errors.KafkaTimeoutError())

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
            self.problem = self._failed("read", error, "READ")
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

    def _failed(self, what: str, error: Exception, right: str) -> str:
        is_told = isinstance(error, TocsinError)
        reason = str(error) if is_told else refusal(error, self._topic, right)
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


class _Patience:
    """Waits for records to be acknowledged for as long as some are, within bounds."""

    def __init__(self, timeout: float, longest: float) -> None:
        self._timeout, self._longest = timeout, longest
        self._began = self._heard = time.monotonic()

    def heard(self, _: object) -> None:
        """A record has been acknowledged. Called on the producer's thread."""
        self._heard = time.monotonic()

    def offsets(self, sent: Sequence[Any]) -> list[int]:
        """The offsets of all of these records. Raises KafkaError or TimeoutError."""
        made = []
        for future in sent:
            while not future.is_done:
                with suppress(errors.KafkaTimeoutError):  # of this wait; what has failed is done
                    future.get(self._left(sent))
            made.append(future.get().offset)
        return made

    def _left(self, sent: Sequence[Any]) -> float:
        now = time.monotonic()
        if now - self._heard >= self._timeout:
            raise TimeoutError(f"nothing was acknowledged for {self._timeout:g} s")
        if now - self._began >= self._longest:
            done = sum(future.succeeded() for future in sent)
            raise TimeoutError(
                f"{done} of {len(sent)} records were acknowledged within {self._longest:g} s"
            )
        return min(self._heard + self._timeout, self._began + self._longest) - now


def _partition(key: str, partitions: int) -> int:
    """Where a name's records are: the same for every agent."""
    return zlib.crc32(key.partition("/")[0].encode()) % partitions
