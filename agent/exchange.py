"""Several agents: what partitions close goes to a topic, and to the agent that judges the model.

Each agent folds the partitions that it has been handed. What they close is sent to the partition of
the panes topic that belongs to the model; whoever has been handed that one merges and judges. A
message may come twice, or from two agents: a partition's panes are numbered, and what is known
already is dropped (`agent.merge`).

Sent is only what would be closed in just the same way after a crash: what follows from the records
alone, and what a checkpoint remembers. A clock that was moved because its partition had fallen
silent follows from neither, until there is a checkpoint of it.
"""

import time
import zlib
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from agent.checkpoint.record import decode_closed, encode_closed
from agent.closed import Closed
from agent.errors import TocsinError
from agent.fold import Fold
from agent.intake.source import RawBatch, TableBatch, TopicPartition
from agent.model import Model
from agent.panes import FOREVER, NEVER
from agent.pipeline import Pipeline

PARTITIONS = 12  # of a panes topic that is created: so many agents can judge side by side
LARGEST = 512 * 1024  # bytes of a message, before a single pane is cut
ENTRIES = 50_000  # of a piece of a pane that is cut: below what a broker takes by default
SECONDS = 1.0  # that a turn waits for the broker's word that it has what was sent


class Outlet(Protocol):
    """Sends records to a partition of a topic."""

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, *, partition: int | None = None
    ) -> bool:
        """Whether the record was taken."""

    def flush(self, timeout: float) -> bool:
        """Whether all that was taken has been delivered."""

    @property
    def is_settled(self) -> bool:
        """Is nothing under way any more, delivered or not?"""


class Exchange:
    """Sends what this agent's partitions close, and takes in what is for its models.

    Parameters
    ----------
    pipeline
        The models.
    topic
        The panes topic.
    outlet
        Sends to it.
    prepare
        Makes sure that it exists and returns its number of partitions; raises TocsinError.
    memory
        Bytes of panes that may wait here for partitions that are behind.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        topic: str,
        outlet: Outlet,
        prepare: Callable[[], int],
        memory: int,
    ) -> None:
        self._pipeline, self.topic, self._outlet = pipeline, topic, outlet
        self._prepare, self._memory = prepare, memory
        self.partitions = 0  # not known yet
        self.problem = ""
        self.refused = 0  # messages that fit no model here
        self._under_way: list[Fold] = []  # the first of whose outbox has been sent
        self._log = structlog.get_logger("agent.exchange")

    def is_prepared(self) -> bool:
        """Whether the topic exists; tries to see to it that it does."""
        if not self.partitions:
            try:
                self.partitions = self._prepare()
                self.problem = ""
            except TocsinError as error:
                self.problem = f"topic {self.topic} cannot be had: {error}"
        return self.partitions > 0

    def partition_of(self, model: str) -> int:
        """The partition of the panes topic that a model's panes go to."""
        return zlib.crc32(model.encode()) % self.partitions

    def judged(self, assigned: Iterable[TopicPartition]) -> frozenset[str]:
        """The models that whoever has been handed these partitions judges."""
        own = {number for topic, number in assigned if topic == self.topic}
        return frozenset(n for n in self._pipeline.models if self.partition_of(n) in own)

    @property
    def is_stuck(self) -> bool:
        """Is the panes topic not taking what is to be sent?"""
        return any(f.is_stuck for m in self._pipeline.started() for f in m.folds.values())

    @property
    def is_uncertain(self) -> bool:
        """Is there anything to send that needs a checkpoint first?"""
        folds = [fold for model in self._pipeline.started() for fold in model.folds.values()]
        return any(fold.outbox and not fold.is_certain for fold in folds)

    def send(self) -> None:
        """Send what has been closed; what the broker does not confirm is sent again.

        Not while it may still do so: a slow one would only be slower. And of each partition nothing
        before what it closed earlier is confirmed: whoever judges drops what comes after later.
        """
        deadline = time.monotonic() + SECONDS
        while self._under_way or self._hand_over():
            is_confirmed = self._outlet.flush(max(deadline - time.monotonic(), 0.0))
            if not is_confirmed and not self._outlet.is_settled:
                return
            for fold in self._under_way if is_confirmed else ():
                fold.handed_on(1)
            self._under_way = []
            if not is_confirmed or time.monotonic() >= deadline:
                return

    def _hand_over(self) -> bool:
        """Give the outlet the first of each outbox, as far as it takes them; is there any?"""
        folds = [(m, f) for m in self._pipeline.started() for _, f in sorted(m.folds.items())]
        for model, fold in folds if self.partitions else ():
            if fold.is_certain and fold.outbox:
                if not self._is_taken(model, fold.outbox[0]):
                    break  # nor would it take the next: each would have to wait
                self._under_way.append(fold)
        return bool(self._under_way)

    def _is_taken(self, model: Model, closed: Closed) -> bool:
        key, number = model.name.encode(), self.partition_of(model.name)
        return all(
            self._outlet.send(self.topic, key, message, partition=number)
            for message in messages(model, closed)
        )

    def take(self, batch: RawBatch | TableBatch) -> None:
        """Take in messages of the panes topic, those of models that are judged here."""
        assert isinstance(batch, RawBatch)
        models = {
            model.name: model
            for model in self._pipeline.started()
            if model.is_judged and self.partition_of(model.name) == batch.partition
        }
        layouts = {name: model.layout for name, model in models.items()}
        group = self._pipeline.config.kafka.group_id
        for value, offset in zip(batch.values, batch.offsets.tolist(), strict=True):
            try:
                name, closed = decode_closed(value or b"", layouts, group)
                if closed is not None and offset >= self._taken(models[name]):
                    self._merge(models[name], closed, offset)
            except Exception as error:  # whatever it says: others may write to the topic, too
                self.refused += 1
                self._log.warning("panes do not fit", offset=offset, problem=str(error))
        for model in models.values():
            following = min([int(batch.offsets[-1]) + 1, *model.left_out.values()])
            model.taken = max(self._taken(model), following)
            model.taken_of = (batch.topic, batch.partition)

    def _merge(self, model: Model, closed: Closed, offset: int) -> None:
        """Take in what a partition has closed, or leave it where it is until others have come."""
        number, merge = closed.partition, model.merge
        if closed.before <= merge.frontier.get(number, NEVER):
            return  # known
        is_left_out = number in model.left_out  # what follows would hide it: see `Merge`
        if is_left_out or (not merge.waits_for(number) and self._is_full(model)):
            model.left_out.setdefault(number, offset)
        else:
            merge.take(closed)

    def _is_full(self, model: Model) -> bool:
        """Do too many panes wait, and more than its share of this model's?"""
        judged = [m for m in self._pipeline.started() if m.is_judged]
        ahead = model.merge.ahead()
        if ahead <= self._memory / len(judged):
            return False
        return ahead > self._memory or sum(m.merge.ahead() for m in judged) > self._memory

    def again(self) -> dict[TopicPartition, int]:
        """Partitions of the panes topic to read again, and from where: what was left out is due.

        Nothing is asked for twice where `read_again` is told that it was done.
        """
        found: dict[TopicPartition, int] = {}
        for model in self._due():
            at = (self.topic, self.partition_of(model.name))
            found[at] = min([found.get(at, FOREVER), *model.left_out.values()])
        return found

    def _due(self) -> list[Model]:
        """Models that wait for what was left out of them."""
        judged = (m for m in self._pipeline.started() if m.is_judged)
        return [m for m in judged if any(map(m.merge.waits_for, m.left_out))]

    def read_again(self, at: TopicPartition) -> None:
        """All that is due of a partition of the panes topic comes once more."""
        for model in self._due():
            if self.partition_of(model.name) == at[1]:
                model.left_out.clear()

    def _taken(self, model: Model) -> int:
        """The next message that it needs; what it knows of another partition is of no use."""
        own = (self.topic, self.partition_of(model.name))
        return model.taken if model.taken_of == own else 0

    def positions(self) -> dict[TopicPartition, int]:
        """Where to read each partition on that models here are judged by."""
        if not self.partitions:
            return {}
        numbers = {self.partition_of(m.name) for m in self._pipeline.started() if m.is_judged}
        ats = [(self.topic, number) for number in numbers]
        return {at: position for at in ats if (position := self.position(at)) is not None}

    def position(self, at: TopicPartition) -> int | None:
        """The next message of a partition of the panes topic that some model here needs."""
        taken = [
            self._taken(model)
            for model in self._pipeline.started()
            if model.is_judged and self.partition_of(model.name) == at[1]
        ]
        return min(taken) if taken and min(taken) > 0 else None


def messages(model: Model, closed: Closed) -> list[bytes]:
    """What was closed as messages, of several panes each unless they are large."""
    message = encode_closed(model, closed)
    if len(message) <= LARGEST or len(closed.detected) + len(closed.shown) == 0:
        return [message]
    first, last = closed.span
    if last > first:
        parts = closed.split((first + last + 1) // 2)
    elif closed.before > last + 1:
        parts = closed.split(last + 1)
    else:
        return [encode_closed(model, piece) for piece in closed.cut(ENTRIES)]
    return [m for part in parts for m in messages(model, part)]
