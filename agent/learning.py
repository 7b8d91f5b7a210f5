"""Learning a profile from the first traffic, where a model has none."""

from collections import Counter

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.config import Config, ModelConfig
from agent.errors import UsageError
from agent.intake.decode import Reader
from agent.intake.fields import Slot
from agent.intake.records import Rejection
from agent.intake.source import RawBatch, TableBatch, TopicPartition
from agent.intake.table import Reference, from_chunks
from agent.intake.times import ABSENT, parse_times
from agent.layout import Clocks, watermarks
from agent.model import Model, Recorder
from agent.panes import NEVER, PartitionClock
from agent.profile_file import profile_hash
from agent.publish.dead_letters import Refuse, nobody
from agent.publish.snapshot import Alarm
from agent.reference import declared_kinds, labelled, profile_of
from agent.tally import Tally

Raw = RawBatch | TableBatch
UNLEARNABLE = "unlearnable"  # reason of records that had to be given up while learning
MOST_BYTES = 256 * 2**20  # of records kept while learning


class Learner:
    """Keeps the first records of a model until there are enough to make a profile of.

    The reference is all predictions before the first pane edge that `warmup` of them lie before,
    so that it does not depend on how records were batched. Then a `Model` is made and given every
    record that was kept; it judges nothing before that edge.
    """

    def __init__(self, name: str, config: ModelConfig, settings: Config) -> None:
        self.name, self.config, self._settings = name, config, settings
        self.learned: Model | None = None
        self.recorder: Recorder | None = None  # for the model
        self.refuse: Refuse = nobody
        self.tally = Tally()  # for the model
        self._log = structlog.get_logger("agent.learning").bind(model=name)
        self._kept: list[tuple[Raw, bool, int]] = []  # batch, whether predictions, latest
        self._times: list[NDArray[np.int64]] = []  # usable times of each batch of predictions
        self._clocks: dict[int, Clocks] = {}
        self._ended: set[tuple[bool, int]] = set()
        self._bytes = 0
        self.is_kept = False  # for the model
        self.is_judged = True
        self._first: dict[TopicPartition, int] = {}  # first record that is kept
        self._next: dict[TopicPartition, int] = {}  # next record to take in
        self.problem = ""  # why learning failed last
        self.rejected: Counter[tuple[str, str]] = Counter()  # topic, reason

    @property
    def seen(self) -> int:
        """Predictions kept so far."""
        return sum(map(len, self._times))

    def kept(self, number: int) -> int:
        """Nothing but what has a bound of its own."""
        return 0

    def watermarks(self, topics: tuple[str, str]) -> dict[TopicPartition, int]:
        """Watermark of each partition at hand of the topics of predictions and feedback."""
        return watermarks(self._clocks, topics)

    def silent(self, predictions: bool, number: int, until: int) -> None:
        """Nothing before `until` (ms) will come of a topic's partition: its clock is the wall's."""
        clocks = self.clocks(number)
        (clocks.predictions if predictions else clocks.feedback).advance(until)

    def clocks(self, number: int) -> Clocks:
        """Clocks of a partition; they decide when learning is complete."""
        if number not in self._clocks:
            pane, lateness = self._settings.pane, self._settings.lateness
            clocks = (PartitionClock(pane, lateness) for _ in range(2))
            self._clocks[number] = Clocks(*clocks)
        return self._clocks[number]

    def predictions(self, raw: Raw, latest: int) -> None:
        """Keep predictions; they are decoded once it is known what they hold."""
        _, times = self._timed(raw)
        usable = times[(times >= 0) & (times <= latest)]
        self.clocks(raw.partition).predictions.assign(usable)
        self._times.append(usable)
        self._keep(raw, True, latest)

    def feedback(self, raw: Raw, latest: int) -> None:
        """Keep feedback."""
        _, times = self._timed(raw, True)
        self.clocks(raw.partition).feedback.assign(times[(times >= 0) & (times <= latest)])
        self._keep(raw, False, latest)

    def position(self, at: TopicPartition) -> int | None:
        """None: all that is learned from has to be read again after a restart."""
        return None

    def needed(self, at: TopicPartition) -> int | None:
        """First record of a partition that is kept, or the next one to take in."""
        return self._first.get(at, self._next.get(at))

    def advance(self, at: TopicPartition, position: int) -> None:
        """Everything before that position has been taken in."""
        self._next[at] = max(position, self._next.get(at, 0))

    def _keep(self, raw: Raw, predictions: bool, latest: int) -> None:
        self._kept.append((raw, predictions, latest))
        self._first.setdefault((raw.topic, raw.partition), int(raw.offsets[0]))
        if isinstance(raw, RawBatch):
            self._bytes += sum(len(v) for v in raw.values if v is not None)

    def close(self) -> list[Alarm]:
        """Learn if there is enough; returns what the model then has to say."""
        edge = self._edge()
        complete = min((c.watermark for c in self._clocks.values()), default=NEVER)
        if edge is not None and complete >= edge:
            self._learn(edge)
        elif self._bytes >= MOST_BYTES and self.seen:
            self._learn(self._last_edge())
        elif self._bytes >= MOST_BYTES:
            self._give_up("there is no usable prediction among the first records")
        return self.learned.close() if self.learned is not None else []

    def end_of(self, predictions: bool, number: int, recorded: bool = True) -> None:
        """A topic's partition holds no more: its watermark follows the other topic's."""
        if recorded:
            self._ended.add((predictions, number))
        clocks = self.clocks(number).predictions, self.clocks(number).feedback
        ended, other = clocks if predictions else clocks[::-1]
        ended.advance(other.watermark)

    def finish(self) -> list[Alarm]:
        """The end of all input: learn from what there is."""
        if self.learned is None and self.seen:
            self._learn(self._edge() or self._last_edge())
        if self.learned is None:
            problem = self.problem or "there is no usable prediction"
            raise UsageError(f"models.{self.name}: no profile could be learned: {problem}")
        return self.learned.finish()

    def _edge(self) -> int | None:
        """The pane edge before which the reference lies, as far as can be told by now."""
        if self.seen < self.config.warmup:
            return None
        nth = np.partition(np.concatenate(self._times), self.config.warmup - 1)
        pane = self._settings.pane
        return (int(nth[self.config.warmup - 1]) // pane + 1) * pane

    def _last_edge(self) -> int:
        pane = self._settings.pane
        return (max(int(t.max()) for t in self._times if len(t)) // pane + 1) * pane

    def _learn(self, edge: int) -> None:
        try:
            profile = profile_of(self._reference(edge), self.config, self._settings.pane, True)
        except UsageError as error:
            self._give_up(str(error))
            return
        digest = profile_hash(profile)
        model = Model(self.name, self.config, self._settings, profile, digest, edge)
        model.recorder = self.recorder
        model.refuse, model.tally = self.refuse, self.tally
        model.is_kept = self.is_kept
        model.unlearnable.update(self.rejected)
        for raw, predictions, latest in self._kept:
            (model.predictions if predictions else model.feedback)(raw, latest)
        # Only now: no pane is closed yet, so that none of the rows above comes late.
        for number, clocks in self._clocks.items():
            model.clocks(number).predictions.advance(clocks.predictions.floor)
            model.clocks(number).feedback.advance(clocks.feedback.floor)
        for predictions, number in sorted(self._ended):
            model.end_of(predictions, number)
        for at, position in self._next.items():
            model.advance(at, position)
        self._log.info("learned a profile", rows=profile.rows, profile=digest)
        self.learned, self._kept, self._times = model, [], []

    def _give_up(self, problem: str) -> None:
        """Nothing can be learned from these records: say so, and start over with later ones."""
        self._log.error("learning failed", problem=problem)
        self.problem = problem
        for raw, _, _ in self._kept:
            self.rejected[raw.topic, UNLEARNABLE] += len(raw)
            self.refuse(raw, [Rejection(i, UNLEARNABLE, "") for i in range(len(raw))])
        self._kept, self._times, self._bytes, self._first = [], [], 0, {}

    def _reference(self, edge: int) -> Reference:
        """The predictions before the edge, with the labels that were known by then."""
        fields = self.config.fields
        chosen = [self._before(raw, edge) for raw, predictions, _ in self._kept if predictions]
        reference = from_chunks(chosen, fields, declared_kinds(self.config))
        outcomes = [self._before(raw, edge, True) for raw, wanted, _ in self._kept if not wanted]
        as_feedback = fields.model_copy(
            update={"id": fields.feedback_id, "time": fields.feedback_time}
        )
        return labelled(reference, from_chunks(outcomes, as_feedback))

    def _before(self, raw: Raw, edge: int, feedback: bool = False) -> Raw:
        index, times = self._timed(raw, feedback)
        return raw.take(index[(times >= 0) & (times < edge)].tolist())

    def _timed(
        self, raw: Raw, feedback: bool = False
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Positions and event times (negative: unusable) of the records that can be read."""
        fields = self.config.fields
        path = fields.feedback_time if feedback else fields.time
        picked = Reader([Slot.at(path)]).read(raw)
        times = parse_times(picked.scalars[0])
        if isinstance(raw, RawBatch):
            times = np.where(times == ABSENT, raw.times[picked.index], times)
        return picked.index, times
