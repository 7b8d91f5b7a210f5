"""All models: batches are led to them, panes closed, alarms collected."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from agent.config import Config, ModelConfig
from agent.intake.decode import route, rows_of
from agent.intake.source import Places, RawBatch, TableBatch, TopicPartition
from agent.learning import Learner
from agent.model import Model, Recorder
from agent.panes import FOREVER, NEVER
from agent.profile_file import load
from agent.publish.dead_letters import Letters, NoLetters
from agent.publish.snapshot import Alarm
from agent.tally import Tally
from detectors.profile import Profile

SKEW = 60_000  # ms of event time that one partition may be ahead of another, in a backlog
BACKLOG = 600_000  # ms behind the clock from which it is one
AT_END = 5_000  # records yet to read of a partition that is as good as read to its end
OPEN_SHARE = 8  # part of `feedback.memory` that a partition's open panes may take beyond that


class Pipeline:
    """The straight line of every model.

    Parameters
    ----------
    config
        What to watch. Models with a profile start at once; the others learn theirs from traffic.
    only
        Watch this model alone; all others still have their share of the alert budget.
    recorder
        Told of every pane.
    letters
        Told of every record that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        only: str | None = None,
        recorder: Recorder | None = None,
        letters: Letters | None = None,
    ) -> None:
        self.config = config
        self.letters = letters or NoLetters()
        self.models: dict[str, Model | Learner] = {}
        watched = {n: m for n, m in config.models.items() if only is None or n == only}
        self._recorder = recorder
        self._tallies: dict[str, Tally] = {}
        self.is_kept = False  # what partitions close is kept until a checkpoint has it
        self.is_shared = False  # several agents do the work
        for name in watched:
            self.reset(name)
        self.unrouted: Counter[tuple[str, str]] = Counter()  # topic, reason
        self._routed: dict[TopicPartition, int] = {}  # the next record that counts as such
        self._readers: dict[str, list[tuple[str, bool]]] = {}
        for name, model in watched.items():
            self._readers.setdefault(model.predictions.topic, []).append((name, True))
            self._readers.setdefault(model.feedback.topic, []).append((name, False))
        # Models that share a topic with others, watched or not, get only records that name them.
        self._shared = {
            topic: [n for n, m in config.models.items() if topic in _topics(m)]
            for topic in self._readers
        }
        self.uneven = ""  # topics of a model that do not fit together, in one line
        self._arrived: dict[TopicPartition, float] = {}

    @property
    def topics(self) -> list[str]:
        """Every topic that is read."""
        return list(self._readers)

    def take(self, batch: RawBatch | TableBatch, latest: int, now: float) -> None:
        """Take in one batch. Event times after `latest` (ms) are rejected; `now` in seconds."""
        at = (batch.topic, batch.partition)
        self._arrived[at] = now
        readers = self._readers.get(batch.topic, [])
        sharing = self._shared.get(batch.topic, [])
        parts: Mapping[str, RawBatch | TableBatch] = {name: batch for name, _ in readers}
        if len(sharing) > 1:
            parts = self._split(batch, sharing)
        for name, predictions in readers:
            model, part = self.model(name), parts.get(name)
            position = model.position(at)
            if part is not None and position is not None and part.offsets[:1] < position:
                # Another model reads these records again.
                part = part.take(np.flatnonzero(part.offsets >= position).tolist())
            if part is not None and len(part):
                (model.predictions if predictions else model.feedback)(part, latest)
            model.advance(at, int(batch.offsets[-1]) + 1)

    def _split(
        self, batch: RawBatch | TableBatch, names: list[str]
    ) -> Mapping[str, RawBatch | TableBatch]:
        """The records of each of the models that share a topic; others' are counted."""
        path = self.config.models[names[0]].fields.model
        if isinstance(batch, TableBatch):
            return {name: rows_of(batch, path, name) for name in names}
        parts, rejected = route(batch, path, names)
        at = (batch.topic, batch.partition)
        # A model may need records again that others do not: they are told of once.
        known = self._routed.get(at, 0)
        rejected = [r for r in rejected if batch.offsets[r.index] >= known]
        self._routed[at] = max(known, int(batch.offsets[-1]) + 1)
        self.unrouted.update((batch.topic, rejection.reason) for rejection in rejected)
        self.letters.refuse("", batch, rejected)
        return parts

    def keep(self, is_shared: bool = False) -> None:
        """There are checkpoints from now on, and maybe other agents. Before anything is read."""
        self.is_kept, self.is_shared = True, is_shared
        for name in list(self.models):
            self.reset(name)

    def reset(self, name: str) -> Model | Learner:
        """The model as if it had seen nothing; its profile is read again."""
        config, before = self.config.models[name], self.models.get(name)
        if isinstance(before, Model):
            before.tally.told(before.folds)
        if config.profile is not None:
            return self.put(name, *load(config.profile))
        self.models[name] = made = self._equipped(Learner(name, config, self.config))
        return made

    def put(self, name: str, profile: Profile, digest: str) -> Model:
        """A model with this profile, that has seen nothing, in the place of what there was."""
        made = Model(name, self.config.models[name], self.config, profile, digest)
        self.models[name] = self._equipped(made)
        return made

    def _equipped(self, made: Model | Learner) -> Model | Learner:
        made.recorder, made.is_kept = self._recorder, self.is_kept
        if isinstance(made, Model):
            made.is_shared = self.is_shared
        made.refuse = partial(self.letters.refuse, made.name)
        made.tally = self._tallies.setdefault(made.name, made.tally)
        return made

    def topics_of(self, name: str) -> tuple[str, str]:
        """Topics of a model's predictions and feedback."""
        return _topics(self.config.models[name])

    def next_of(self, at: TopicPartition) -> Places:
        """The next record of a partition that each model needs; None of one that has none yet."""
        return [self.model(name).position(at) for name, _ in self._readers.get(at[0], [])]

    def expect(self, counts: Callable[[str], int]) -> None:
        """Wait for every partition of a model's topics; `counts` says how many a topic has."""
        for model in self.started():
            size = max(map(counts, self.topics_of(model.name)))
            if size:  # else it is not known now, which is not to say that there are none
                model.merge.expected = frozenset(range(size))

    def positions(self) -> dict[TopicPartition, int]:
        """Where to read each partition on so that no model misses anything."""
        return {at: position for at in self._arrived if (position := self.needed(at)) is not None}

    def needed(self, at: TopicPartition) -> int | None:
        """The first record of a partition that is needed if what is learned was forgotten."""
        found = [self.model(name).needed(at) for name, _ in self._readers.get(at[0], [])]
        return min((n for n in found if n is not None), default=None)

    def model(self, name: str) -> Model | Learner:
        """The model; one that has finished learning takes its learner's place."""
        model = self.models[name]
        if isinstance(model, Learner) and model.learned is not None:
            model = self.models[name] = model.learned
        return model

    def started(self) -> list[Model]:
        """The models that have a profile by now."""
        found = [self.model(name) for name in self.models]
        return [model for model in found if isinstance(model, Model)]

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Expect these partitions: no pane closes before each of them has been heard.

        A partition that only one of a model's two topics has gets no answer from the other: that
        one's watermark follows. `uneven` says so, since its records can then never be joined.
        """
        numbers: dict[str, set[int]] = {}
        for topic, number in partitions:
            numbers.setdefault(topic, set()).add(number)
            for name, _ in self._readers.get(topic, []):
                self.model(name).clocks(number)
        self.uneven = ""
        for name in self.models:
            topics = _topics(self.config.models[name])
            given = [numbers.get(topic, set()) for topic in topics]
            for number in given[0] ^ given[1]:
                self.model(name).end_of(number in given[1], number, recorded=False)
            if given[0] != given[1] and all(given):
                sizes = ", ".join(f"{t} {len(n)}" for t, n in zip(topics, given, strict=True))
                self.uneven = (
                    f"models.{name}: its topics differ in partitions ({sizes}): predictions and "
                    "feedback cannot all be joined"
                )

    def idle(self, lag: Mapping[TopicPartition, int], now: float) -> None:
        """Let the clock close the panes of partitions read to their end and silent since.

        `now` is in seconds since the epoch. A partition from which nothing came for a pane's width
        and a second is taken to be complete up to that long ago.
        """
        patience = self.config.pane / 1000 + 1
        for at, behind in lag.items():
            arrived = self._arrived.setdefault(at, now)
            if behind != 0 or now - arrived < patience:
                continue
            for name, predictions in self._readers.get(at[0], []):
                until = int((now - patience) * 1000) - self.config.lateness
                self.model(name).silent(predictions, at[1], until)

    def ahead(self, now: float, lag: Mapping[TopicPartition, int]) -> frozenset[TopicPartition]:
        """Partitions read so much further than others, in event time, that they can wait.

        While a backlog is read no partition runs far ahead of one that has more to read. What has
        just happened is read whatever is behind, such as labels that carry the times of what they
        are of; until what is kept of a partition exceeds its bound. `now` is in seconds since the
        epoch, `lag` in records.
        """
        found: set[TopicPartition] = set()
        needed: set[TopicPartition] = set()  # some model waits for it, though another is beyond it
        for name in self.models:
            model = self.model(name)
            most = int(model.config.feedback.memory) // OPEN_SHARE
            watermarks = model.watermarks(self.topics_of(name))
            known = {at: w for at, w in watermarks.items() if w > NEVER}
            to_read = [w for at, w in known.items() if not 0 <= lag.get(at, -1) <= AT_END]
            waited_for = min(to_read, default=FOREVER)
            # One that has never been heard, and is not empty, may be the slowest of all.
            heard = (w for at, w in watermarks.items() if w > NEVER or lag.get(at, -1) != 0)
            slowest = min(heard, default=FOREVER)
            for at, watermark in watermarks.items():
                is_early = waited_for + SKEW < watermark < now * 1000 - BACKLOG
                is_far = slowest + SKEW < watermark and model.kept(at[1]) > most
                if is_early or is_far:
                    found.add(at)
                if watermark in (waited_for, slowest):
                    needed.add(at)
        return frozenset(found - needed)

    @property
    def is_crowded(self) -> bool:
        """Has a partition closed so often since the last checkpoint that another is wanted?"""
        return any(fold.is_crowded for m in self.started() for fold in m.folds.values())

    def close(self) -> list[Alarm]:
        """Close what can be closed; returns alarms raised and cleared, in order."""
        return [alarm for name in self.models for alarm in self.model(name).close()]

    def ended(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions of a recording hold no more records."""
        for topic, number in partitions:
            for name, predictions in self._readers.get(topic, []):
                self.model(name).end_of(predictions, number)

    def finish(self) -> list[Alarm]:
        """The end of all input."""
        alarms: list[Alarm] = []
        for name in self.models:
            alarms += self.model(name).finish()
            self.model(name)
        return alarms


def _topics(model: ModelConfig) -> tuple[str, str]:
    return model.predictions.topic, model.feedback.topic
