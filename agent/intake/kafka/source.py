"""A member of a consumer group that reads raw batches."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from kafka import KafkaConsumer, errors
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata
from kafka.structs import TopicPartition as KafkaTopicPartition

from agent.clock import since_boot
from agent.errors import UnreachableError
from agent.intake.kafka.batches import drop, take_up
from agent.intake.kafka.listening import complete_every_join, lag_of, listen, tell_of_resets
from agent.intake.kafka.network import FATAL, Network, reason_of, unreachable
from agent.intake.kafka.settings import MEBIBYTE, KafkaSettings
from agent.intake.source import Places, RawBatch, TableBatch, TopicPartition

# The partitions went to another member, which reads on from the last commit: nothing is lost.
REBALANCED = (
    errors.CommitFailedError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
)

# A broker answers a fetch within half a second even where there is nothing to fetch.
STALE_SECONDS = 3.0
BUSY_MS = 900_000  # without a poll, while large checkpoints go over a slow link
SILENT_SECONDS = 10.0  # of polling without any answer, from which a broker is said to hang


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """What the group has handed to this member. Called on kafka-python's own thread."""

    def __init__(self) -> None:
        self.joined = False
        self.partitions: frozenset[TopicPartition] = frozenset()
        self.placed: frozenset[TopicPartition] = frozenset()  # of these: may be read

    def on_partitions_assigned(self, assigned: set[KafkaTopicPartition]) -> None:
        self.joined = True
        self.partitions |= {(p.topic, p.partition) for p in assigned}

    def on_partitions_revoked(self, revoked: set[KafkaTopicPartition]) -> None:
        self.joined = False
        gone = {(p.topic, p.partition) for p in revoked}
        self.partitions -= gone
        self.placed -= gone

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
        fetch_bytes: int = 16 * MEBIBYTE,  # which a slow link must bring within a request's time
        commit_timeout: float = 5.0,
        whole: bool = False,
        held: bool = False,
    ) -> None:
        """Returns at once, whether or not a broker answers; the group is joined in `poll`.

        With `whole` the batches have keys and headers as well. With `held` a partition is not read
        before `place` says from where.
        """
        self._held = held
        self._next: dict[TopicPartition, int] = {}  # the record that follows what was handed over
        self._placed_at: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}  # of partitions when they were placed
        self._whole = whole
        self._settings = settings
        self._topics = tuple(dict.fromkeys(topics))
        # By topic: records that were gone before they could be read.
        self.missed: dict[str, int] = dict.fromkeys(self._topics, 0)
        self._commit_timeout = commit_timeout
        self._options = settings.for_client(
            KafkaConsumer,
            group_id=settings.group_id,
            group_instance_id=settings.group_instance_id,
            max_poll_records=max_poll_records,
            max_poll_interval_ms=BUSY_MS,
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
        self._unanswered = 0.0  # seconds of polling since a broker answered for a partition
        self._poll_problem = ""
        self._commit_problem = ""
        self._place_problem = ""
        self._network = Network(settings, self._options)

    @property
    def problem(self) -> str:
        """What keeps records from coming or commits from being kept, in one line; else empty."""
        return (
            self._network.problem
            or self._poll_problem
            or self._commit_problem
            or self._place_problem
            or self._missing_topics()
            or self._silence()
        )

    def _silence(self) -> str:
        # Connections that are open and dead fail only after half a minute.
        if not self._assigned.partitions or self._unanswered < SILENT_SECONDS:
            return ""
        return f"Kafka at {self._settings.servers} has stopped answering"

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
        began, asked = time.monotonic(), since_boot()
        deadline = began + timeout
        consumer = self._connected(timeout)
        if consumer is None:
            return []
        try:
            take_up(consumer._fetcher)
            polled = consumer.poll(timeout_ms=max(0.0, deadline - time.monotonic()) * 1000)
        except FATAL as error:
            raise unreachable(self._settings, error) from error
        except errors.KafkaError as error:
            self._poll_problem = f"reading from Kafka: {reason_of(error)}"
            # Some errors come back at once, for as long as their cause lasts.
            time.sleep(max(0.0, min(0.2, deadline - time.monotonic())))
            return []
        except Exception as error:
            raise UnreachableError(f"the Kafka client failed: {error!r}") from error
        self._poll_problem = ""
        heard = polled or max(self._heard.values(), default=0.0) >= asked
        self._unanswered = 0.0 if heard else self._unanswered + time.monotonic() - began
        batches = [_raw_batch(at, records, self._whole) for at, records in polled.items()]
        return [batch for batch in batches if self._may_be_read(batch)]

    def _may_be_read(self, batch: RawBatch) -> bool:
        at = (batch.topic, batch.partition)
        if not self._held or at in self._assigned.placed:
            self._next[at] = int(batch.offsets[-1]) + 1
            return True
        return False

    def waiting(self) -> frozenset[TopicPartition]:
        """Assigned partitions that are not read before `place` says from where."""
        assigned = self._assigned
        return assigned.partitions - assigned.placed if self._held else frozenset()

    def place(self, places: Mapping[TopicPartition, Places]) -> bool:
        """Read each of these partitions on at the first of its places.

        Records before the first that the broker still has are `missed`. Whether it could be done.
        """
        if self._consumer is None:
            return False
        wanted = {
            KafkaTopicPartition(*at): offsets
            for at, offsets in places.items()
            if at in self._assigned.partitions
        }
        if not wanted:
            return True
        try:
            first = self._consumer.beginning_offsets(list(wanted), timeout_ms=5_000)
            ends = self._consumer.end_offsets(list(wanted), timeout_ms=5_000)
            self._place_problem = _beyond(wanted, ends)
            if self._place_problem:
                return False
            # Asked for, and not left to the consumer: that goes on from what it has fetched of a
            # partition it had before, though nobody remembers what it handed over.
            unknown = [p for p, offsets in wanted.items() if None in offsets]
            committed = self._consumer._coordinator.fetch_committed_offsets(unknown, 5_000)
            for partition, offsets in wanted.items():
                at, begins = (partition.topic, partition.partition), first[partition]
                group = committed[partition].offset if partition in committed else begins
                offset = min(group if o is None else o for o in offsets)
                self._next[at] = self._placed_at[at] = offset
                self._ends[at] = ends[partition]
                self._passed(at, begins)
                self._consumer.seek(partition, max(offset, begins))
                # What the fetch that is on its way says of the end is dropped, and not said again.
                state = self._consumer._subscription.assignment.get(partition)
                if state is not None:
                    state.highwater = ends[partition]
            # What was set aside before is not what follows now.
            drop(self._consumer._fetcher, wanted)
        except (errors.KafkaError, AssertionError) as error:
            # Partitions that went to somebody else meanwhile cannot be sought.
            self._poll_problem = f"reading from Kafka: {reason_of(error)}"
            return False
        self._assigned.placed |= self._assigned.partitions & places.keys()
        return True

    def _passed(self, at: TopicPartition, begins: int) -> None:
        """The first record that there still is of a partition: what is missing has been missed."""
        following = self._next.get(at, begins)
        if begins < following:  # it has lost its end, or was made anew: `place` will say
            self._assigned.placed -= {at}
        if begins > following:
            self.missed[at[0]] += begins - following
            self._next[at] = begins

    @property
    def has_caught_up(self) -> bool:
        """Whether all that there was when partitions were placed has been handed over."""
        placed = self._assigned.placed
        return all(self._next.get(at, 0) >= end for at, end in self._ends.items() if at in placed)

    @property
    def has_joined(self) -> bool:
        """Whether the group has handed out partitions, be it none to this member."""
        return self._assigned.joined

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has, as far as is known; 0: not known yet."""
        return self._network.partitions_of(topic)

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Read these partitions no further until the next call, and all others."""
        if self._consumer is None:
            return
        wanted = {KafkaTopicPartition(*at) for at in partitions & self._assigned.partitions}
        # Asked of the consumer, since a partition that is handed out anew is not paused any more.
        paused = set(self._consumer.paused())
        if wanted - paused:
            self._consumer.pause(*(wanted - paused))
        if paused - wanted:
            self._consumer.resume(*(paused - wanted))

    def _connected(self, timeout: float) -> Any:
        if self._consumer is None and self._network.wait(timeout):
            try:
                consumer = KafkaConsumer(kafka_client=self._network.client, **self._options)
                complete_every_join(consumer._coordinator)
                self._heard = listen(consumer._fetcher)
                tell_of_resets(consumer._fetcher, self._passed)
                consumer.subscribe(self._topics, listener=self._assigned)
            except (errors.KafkaError, ValueError) as error:
                raise unreachable(self._settings, error) from error
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
            partition: lag_of(states.get(KafkaTopicPartition(*partition)))
            if since_boot() - self._heard.get(partition, 0.0) < STALE_SECONDS
            else -1
            for partition in self._assigned.partitions
        }

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Remember these as the next offsets to read. Blocks for at most `commit_timeout` seconds.

        Partitions that have gone to another member are left out; of others that were placed and not
        mentioned, it is remembered where. A commit that fails is `problem` until a later one
        succeeds: it costs reading records again, and loses none. Whether this agent was still a
        member of the group. Raises UnreachableError as `poll` does; another agent that took over
        this one's `group_instance_id` shows only here.
        """
        placed = {at: self._placed_at[at] for at in self._assigned.placed if at in self._placed_at}
        owned = {
            KafkaTopicPartition(*partition): OffsetAndMetadata(int(offset))
            for partition, offset in (placed | dict(offsets)).items()
            if partition in self._assigned.partitions
        }
        if self._consumer is None or not owned:
            return False
        try:
            self._consumer.commit(owned, timeout_ms=self._commit_timeout * 1000)
        except FATAL as error:
            raise unreachable(self._settings, error) from error
        except REBALANCED:
            self._commit_problem = ""
        except errors.KafkaError as error:
            self._commit_problem = f"committing to Kafka: {reason_of(error)}"
        else:
            self._commit_problem = ""
            return True
        return False

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


def _beyond(
    wanted: Mapping[KafkaTopicPartition, Places], ends: Mapping[KafkaTopicPartition, int]
) -> str:
    """That a partition ends before where it is to be read on; empty where none does."""
    for partition, end in ends.items():
        offset = max((o for o in wanted[partition] if o is not None), default=0)
        if offset > end:
            return (
                f"topic {partition.topic} ends before what is remembered of it (partition "
                f"{partition.partition}: {end} < {offset}): was it made anew? Then give the agent "
                "another kafka.group_id"
            )
    return ""


def _raw_batch(partition: KafkaTopicPartition, records: list[Any], whole: bool) -> RawBatch:
    count = len(records)
    return RawBatch(
        topic=partition.topic,
        partition=partition.partition,
        values=[record.value for record in records],
        offsets=np.fromiter((record.offset for record in records), np.int64, count),
        times=np.fromiter((record.timestamp for record in records), np.int64, count),
        keys=[record.key for record in records] if whole else (),
        headers=[record.headers for record in records] if whole else (),
    )
