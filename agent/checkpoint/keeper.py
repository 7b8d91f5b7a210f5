"""Remembers what the pipeline knows, and lets it go on from there.

Each model has a record for every partition and one for itself. The partitions' are written first:
what they have closed since the model was last written but one is part of them (`Fold.outbox`), so
that neither a crash between the two nor a damaged record leaves anything out, and the model drops
what it has already.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import structlog

from agent.checkpoint.record import (
    ModelRecord,
    decode_closed,
    decode_fold,
    decode_model,
    decode_profile,
    encode_fold,
    encode_model,
    fold_name,
    model_name,
)
from agent.checkpoint.store import Checkpoints, Found
from agent.errors import TocsinError
from agent.exchange import Exchange
from agent.fold import Fold
from agent.intake.source import Places, TopicPartition
from agent.learning import Learner
from agent.model import Model
from agent.pipeline import Pipeline
from agent.publish.snapshot import CheckpointStatus
from detectors.codec import StateError

RESTORED, NONE, REFUSED, DAMAGED = "restored", "none", "refused", "damaged"
LONGEST = 60.0  # seconds of writing a checkpoint that count for when the next one is due
PATIENCE = 10  # a checkpoint that takes so long is written that many times more seldom

Part = tuple[str, Model | Fold]  # of the model of that name


class Unkept:
    """A keeper that remembers nothing: what was read is read, and a restart begins with nothing."""

    due = may_save = True
    problem = ""
    status = CheckpointStatus()

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.safe: dict[TopicPartition, int] = {}

    def place(self, assigned: frozenset[TopicPartition]) -> Mapping[TopicPartition, Places] | None:
        """Read on where the group was."""
        return {at: [None] for at in assigned}

    def save(self) -> bool:
        """Nothing is kept."""
        self.safe = self._pipeline.positions()
        return True

    def confirm(self) -> None:
        """Nothing is kept."""

    def confirm_own(self) -> None:
        """Nothing is kept."""

    def stand_by(self) -> None:
        """Nothing is kept."""


class Keeper:
    """Restores and saves the models of a pipeline.

    Parameters
    ----------
    pipeline
        Whose state it is.
    checkpoints
        Where it is kept.
    clock
        Seconds since the epoch.
    interval
        Seconds between two checkpoints, at least.
    exchange
        Where several agents do the work: how panes go from one to another.
    panes_from
        Where several agents did it before: the messages of a partition of the panes topic from an
        offset on. Raises TocsinError.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        checkpoints: Checkpoints,
        clock: Callable[[], float],
        interval: float,
        exchange: Exchange | None = None,
        panes_from: Callable[[TopicPartition, int], Iterable[bytes]] = lambda at, offset: (),
    ) -> None:
        self._panes_from = panes_from
        self._pipeline, self._checkpoints = pipeline, checkpoints
        self._clock, self._interval = clock, interval
        self._exchange = exchange
        self._done, self._next = 0.0, 0.0  # when there was one, and when the next one is due
        self._patience = 0.0  # seconds from one to the next, at least
        self._log = structlog.get_logger("agent.checkpoint")
        self.outcomes: Counter[str] = Counter()  # of looking for the record of a model or partition
        self.saved_at: dict[str, float] = {}  # by model: when it was last durable
        self.failures = 0  # checkpoints that could not be written
        self.bytes = 0  # of the last checkpoint of all models together
        self.safe: dict[TopicPartition, int] = {}  # what was read before these is remembered
        self.problem = ""
        pipeline.keep(is_shared=exchange is not None)

    def place(self, assigned: frozenset[TopicPartition]) -> Mapping[TopicPartition, Places] | None:
        """Restore all models from what is remembered of these partitions.

        Returns where to read each partition on, or None where what is remembered cannot be had now.
        """
        judged = frozenset(self._pipeline.models)
        if self._exchange is not None:
            if not self._exchange.is_prepared():
                self.problem = self._exchange.problem
                return None
            judged = self._exchange.judged(assigned)
        numbers = {
            name: sorted({n for topic, n in assigned if topic in self._pipeline.topics_of(name)})
            for name in self._pipeline.models
        }
        names = [model_name(name) for name in numbers if name in judged]
        names += [fold_name(name, n) for name, ns in numbers.items() for n in ns]
        found = self._checkpoints.open(names)
        if found is None:
            self.problem = f"waiting for checkpoints: {self._checkpoints.problem}"
            return None
        self.problem, self.saved_at = "", {}
        for name, own in numbers.items():
            self._pipeline.reset(name).is_judged = name in judged
            if name in judged or own:
                self._restore(name, own, found, name in judged)
        if self._exchange is None:
            try:
                self._merge_closed()
            except TocsinError as error:
                self.problem = str(error)
                return None
        self._wait(self._interval)
        return {at: self._next_of(at) for at in assigned}

    def _next_of(self, at: TopicPartition) -> Places:
        if self._exchange is not None and at[0] == self._exchange.topic:
            return [self._exchange.position(at)]
        return self._pipeline.next_of(at)

    def _restore(
        self, name: str, numbers: Sequence[int], found: Mapping[str, Found], is_judged: bool
    ) -> None:
        log = self._log.bind(model=name)
        record = self._looked_up(found[model_name(name)], log) if is_judged else None
        if record is not None:
            try:
                self._restore_model(name, record, log)
                self.outcomes[RESTORED] += 1
            except Exception as error:  # whatever it says: others may write to the topic, too
                self._pipeline.reset(name)
                self._refused(log, "model", error)
        model = self._pipeline.model(name)
        for number in numbers:
            record = self._looked_up(found[fold_name(name, number)], log)
            if record is None or isinstance(model, Learner):
                continue
            try:
                fold = model.partition(number)
                fold.restore(decode_fold(model.layout, record))
            except Exception as error:
                model.folds.pop(number, None)
                self._refused(log, f"partition {number}", error)
                continue
            self.outcomes[RESTORED] += 1
        model.is_judged = is_judged
        if isinstance(model, Model):  # while learning there is nothing to save, and no age
            model.tally.place(model.folds, numbers, model.is_shared)
            self.saved_at[name] = self._clock()

    def _merge_closed(self) -> None:
        """Merge what partitions have closed; first what several agents had sent and not merged."""
        group = self._pipeline.config.kafka.group_id
        for model in self._pipeline.started():
            if model.taken_of[0]:
                for message in self._panes_from(model.taken_of, model.taken):
                    with suppress(Exception):  # others may write to the topic, too
                        _, closed = decode_closed(message, {model.name: model.layout}, group)
                        if closed is not None:
                            model.merge.take(closed)
                model.taken, model.taken_of = 0, ("", 0)
            for _, fold in sorted(model.folds.items()):
                for closed in fold.outbox:
                    model.merge.take(closed)

    def _looked_up(self, found: Found, log: "structlog.stdlib.BoundLogger") -> bytes | None:
        if found.problems:
            self.outcomes[DAMAGED] += 1
            log.warning(
                "a checkpoint is damaged",
                problems=list(found.problems[:5]),
                instead="an older one" if found.payload is not None else "none",
            )
        if found.payload is None:
            self.outcomes[NONE] += 1
        return found.payload

    def _refused(self, log: "structlog.stdlib.BoundLogger", what: str, error: Exception) -> None:
        self.outcomes[REFUSED] += 1
        log.warning("a checkpoint does not fit: starting anew", of=what, problem=str(error))

    def _restore_model(
        self, name: str, payload: bytes, log: "structlog.stdlib.BoundLogger"
    ) -> None:
        model = self._pipeline.model(name)
        record = decode_model(payload, None if isinstance(model, Learner) else model.layout)
        file = "" if isinstance(model, Learner) else model.file_hash
        if record.profile and record.file == file:
            model = self._with_profile(name, record)
            decode_model(payload, model.layout)
        elif isinstance(model, Learner):
            raise StateError("it was made with a profile, and the model has none now")
        same = record.profile_hash == model.profile_hash
        kept = model.restore(record.state, record.watching if same else ())
        anew = len(model.detection.detectors) - kept
        if anew:
            why = "detectors have changed" if same else "the profile has changed"
            log.warning("detection starts anew", because=why, streams=anew)

    def _with_profile(self, name: str, record: ModelRecord) -> Model:
        """The model with the profile that is remembered, in its place."""
        profile = decode_profile(record)
        return self._pipeline.put(name, profile, record.profile_hash)

    @property
    def status(self) -> CheckpointStatus:
        """How well it goes."""
        return CheckpointStatus(dict(self.saved_at), self.failures, self.bytes, dict(self.outcomes))

    @property
    def due(self) -> bool:
        """Is it time for a checkpoint?"""
        return not self._done <= self._clock() < self._next  # a clock can be put back

    @property
    def may_save(self) -> bool:
        """Would one before its time leave enough for the rest of the work?"""
        return not self._done <= self._clock() < self._done + self._patience

    def save(self) -> bool:
        """Write a checkpoint of every model; whether all are durable."""
        began = self._clock()
        self.bytes = 0
        models = self._pipeline.started()
        first, then = self._parts(models)
        done = all(self._checkpoints.save_all(self._encoded(parts)) for parts in (first, then))
        if done:
            self._remembered(models)
            self.safe = self._pipeline.positions()
            if self._exchange is not None:
                self.safe |= self._exchange.positions()
        else:
            self.failures += 1
        self.problem = "" if done else self._checkpoints.problem
        # The clock may have been set meanwhile: that must not put off the next one for hours.
        self._patience = PATIENCE * min(max(self._clock() - began, 0.0), LONGEST)
        self._wait(max(self._interval, self._patience))
        return done

    def confirm(self) -> None:
        """Nothing has happened since the last checkpoint: it is as good as a new one."""
        self.saved_at = dict.fromkeys(self.saved_at, self._clock())
        self._wait(self._interval)

    def confirm_own(self) -> None:
        """What was just saved is what whoever has these partitions next goes on from."""
        for model in self._pipeline.started():
            for fold in model.folds.values():
                fold.is_certain = True

    def stand_by(self) -> None:
        """Nothing is this agent's any more, neither to fold nor to judge."""
        if any(model.is_judged or model.folds for model in self._pipeline.started()):
            for name in list(self._pipeline.models):
                self._pipeline.reset(name).is_judged = False
            self.saved_at = {}

    def _wait(self, seconds: float) -> None:
        self._done = self._clock()
        self._next = self._done + seconds

    def _parts(self, models: Iterable[Model]) -> tuple[list[Part], list[Part]]:
        """What is to be written, and what only once that is durable."""
        first: list[Part] = []
        then: list[Part] = []
        for model in models:
            folds = [(model.name, fold) for _, fold in sorted(model.folds.items())]
            own = [(model.name, model)] if model.is_judged else []
            # A partition that had to leave something out of its outbox follows the model: it will
            # close the same panes again.
            whole = all(fold.is_whole for _, fold in folds)
            first += folds if whole else own
            then += own if whole else folds
        return first, then

    def _encoded(self, parts: Iterable[Part]) -> Iterator[tuple[str, bytes]]:
        for model, part in parts:
            if isinstance(part, Fold):
                name, payload = fold_name(model, part.number), encode_fold(part)
            else:
                name, payload = model_name(model), encode_model(part)
            self.bytes += len(payload)
            yield name, payload

    def _remembered(self, models: Iterable[Model]) -> None:
        for model in models:
            model.tally.told(model.folds)
            model.tally.saved()
            for fold in model.folds.values():
                if self._exchange is None:
                    fold.remembered()
            if model.folds or model.is_judged:
                self.saved_at[model.name] = self._clock()
