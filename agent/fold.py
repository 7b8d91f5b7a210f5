"""One partition of a model: decoded, joined, and folded into panes until they close.

All of it depends on the records of that partition alone, and on the wall clock only where the
partition is read to its end and silent. What its closed panes hold is handed on as `Closed`, to the
model in this process or, where several agents share the work, by way of a topic.
"""

from collections import deque
from dataclasses import dataclass, replace

from agent.ages import Ages
from agent.closed import Closed, Facts
from agent.counters import Counters, CountersState
from agent.folding import fold_batch, fold_labels, fold_outcomes, fold_shown, fold_versions
from agent.groups import Groups
from agent.intake.columns import TIMESTAMP_AHEAD, Decoded
from agent.intake.decode import FeedbackDecoder, PredictionDecoder
from agent.intake.source import RawBatch, TableBatch
from agent.intake.vocabulary import Vocabulary
from agent.join import Corrections, Join, JoinState
from agent.layout import Clocks, Layout
from agent.offsets import OpenOffsets, Ranges
from agent.panes import NEVER, Entries, OpenPanes, PartitionClock
from agent.publish.dead_letters import Refuse, nobody
from agent.publish.snapshot import Rejected
from detectors.batch import Batch, Feedback, Outcomes, protected_codes
from detectors.labels import cells as labels

OUTBOX = 500  # times that panes were closed, of which it is remembered what was in them


@dataclass(frozen=True, slots=True)
class FoldState:
    """All that a fold remembers, and where to read on; the same however records were batched."""

    positions: dict[str, int]
    clocks: tuple[int, int, int, int]  # newest and floor, of predictions and of feedback
    closed: int
    join: JoinState
    detected: Entries
    shown: Entries
    offsets: dict[str, Ranges]
    versions: tuple[str, ...]
    counters: CountersState
    times: tuple[int | None, int | None, int | None]  # first, last, last joined
    outbox: tuple[Closed, ...]


class Fold:
    """One partition of a model's two topics.

    Parameters
    ----------
    layout
        The model's cells.
    number
        The partition.
    closed
        First pane that is not closed: older rows are late.
    recent_rejected
        Where to keep the last rejected records; all partitions of a model have one.
    refuse
        Told of all rejected records.
    """

    def __init__(
        self,
        layout: Layout,
        number: int,
        closed: int = NEVER,
        recent_rejected: deque[Rejected] | None = None,
        refuse: Refuse = nobody,
    ) -> None:
        config, settings, schema = layout.config, layout.settings, layout.profile.schema
        self.layout, self.number, self.closed = layout, number, closed
        self.is_shared = False  # what it closes goes to another agent, maybe
        self._refuse = refuse
        lateness, feedback = int(settings.lateness), config.feedback
        self.clocks = Clocks(*(PartitionClock(layout.pane, lateness) for _ in range(2)))
        if closed > NEVER:
            self.clocks.predictions.advance(closed * layout.pane)
            self.clocks.feedback.advance(closed * layout.pane)
        self.join = Join(
            int(feedback.horizon),
            int(feedback.corrections),
            int(feedback.early),
            int(feedback.memory),
            Ages(labels.ages(int(feedback.horizon)), layout.pane),
        )
        self.versions = Vocabulary()
        self.groups = Groups(schema, config.segments, self.versions)
        self._decode_predictions = PredictionDecoder(schema, config.fields, self.versions)
        self._decode_feedback = FeedbackDecoder(schema, config.fields)
        self.detected = OpenPanes()  # input, error and label cells
        self.shown = OpenPanes()  # cells of performance and by group
        self.offsets = OpenOffsets()
        self.counters = Counters(samples=settings.rejected_samples)
        if recent_rejected is not None:
            self.counters.recent_rejected = recent_rejected
        self.positions: dict[str, int] = {}  # by topic: the next offset to take in
        self.outbox: list[Closed] = []  # closed, and not known to be remembered elsewhere
        self._remembered = 0  # of these: remembered once
        self.is_whole = True  # nothing had to be left out of it
        self.is_certain = True  # what it holds follows from records and the last checkpoint
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.last_joined: int | None = None

    @property
    def watermark(self) -> int:
        """Event time that both topics have passed."""
        return self.clocks.watermark

    def predictions(self, raw: RawBatch | TableBatch, latest: int) -> None:
        """Take in a batch of predictions; times after `latest` (milliseconds) are rejected."""
        decoded = self._decode_predictions.decode(raw, latest=latest)
        self._reject(raw, decoded)
        self.counters.recent.append((len(decoded.rows), len(decoded.rejected)))
        batch = decoded.rows
        if not len(batch):
            return
        times, late = self.clocks.predictions.assign(batch.time)
        self.counters.late[raw.topic] += int(late.sum())
        batch = replace(batch, time=times)
        self.offsets.add(raw.topic, times // self.layout.pane, raw.offsets[decoded.index])
        new, outcomes, corrections = self.join.predictions(
            batch, self.groups.of(batch), protected_codes(self.layout.profile.schema, batch)
        )
        if not new.all():
            self.counters.rejected[raw.topic, "duplicate"] += int((~new).sum())
            batch = batch.take(new)
        self._saw(batch)
        cells, pane = self.layout.pane_cells, self.layout.pane
        self.detected.add(fold_batch(cells, batch, pane))
        self.detected.add(fold_versions(batch, pane, self.layout.first_version_cell))
        self._fold(outcomes, corrections)

    def feedback(self, raw: RawBatch | TableBatch, latest: int) -> None:
        """Take in a batch of feedback; times after `latest` (milliseconds) are rejected."""
        decoded = self._decode_feedback.decode(raw, latest=latest)
        self._reject(raw, decoded)
        rows, schema = decoded.rows, self.layout.profile.schema
        times, late = self.clocks.feedback.assign(rows.time)
        self.counters.late[raw.topic] += int(late.sum())
        self.counters.feedback += len(rows)
        self.offsets.add(raw.topic, times // self.layout.pane, raw.offsets[decoded.index])
        outcomes, corrections = self.join.feedback(
            replace(rows, time=times),
            schema.score_columns,
            self.groups.memberships,
            len(schema.protected),
        )
        self._fold(outcomes, corrections)

    def _reject(
        self, raw: RawBatch | TableBatch, decoded: Decoded[Batch] | Decoded[Feedback]
    ) -> None:
        self.counters.reject(raw, decoded)
        self._refuse(raw, decoded.rejected)
        # The clock has said so: later it would say something else of the same record.
        self.is_certain &= all(r.reason != TIMESTAMP_AHEAD for r in decoded.rejected)

    def _saw(self, batch: Batch) -> None:
        self.counters.count(batch.version, batch.latency, self.versions)
        if len(batch):
            first, last = int(batch.time.min()), int(batch.time.max())
            self.first_time = first if self.first_time is None else min(first, self.first_time)
            self.last_time = last if self.last_time is None else max(last, self.last_time)

    def _fold(self, outcomes: Outcomes, corrections: Corrections) -> None:
        layout, pane = self.layout, self.layout.pane
        self.detected.add(fold_outcomes(layout.pane_cells, outcomes, pane))
        time, delay = self.join.delayed()
        self.detected.add(fold_labels(layout.pane_cells, time, labels.delay_cells(delay), pane))
        if len(outcomes):
            self.last_joined = max(self.last_joined or NEVER, int(outcomes.time.max()))
        for sketch, first in ((layout.performance, 0), (layout.by_group, layout.performance.size)):
            self.shown.add(fold_shown(sketch, outcomes, corrections, pane, first))

    def close(self) -> Closed | None:
        """Close all panes that the watermark has passed; None where there are none."""
        before = self.watermark // self.layout.pane
        if self.watermark <= NEVER or before <= self.closed:
            return None
        until = before * self.layout.pane
        aged = self.join.aged(until)
        cell = labels.age_cells(aged.age, aged.labelled)
        self.detected.add(fold_labels(self.layout.pane_cells, aged.time, cell, self.layout.pane))
        detected, shown = self.detected.close(before), self.shown.close(before)
        self.closed = before
        self.settle()
        offsets = self.offsets.close(before)
        return Closed(
            self.number, before, detected, shown, offsets, self.versions.names, self.facts()
        )

    def keep(self, closed: Closed) -> None:
        """Remember what was closed until others have it; not for ever, if that never comes."""
        self.outbox.append(closed)
        if len(self.outbox) - self._remembered > OUTBOX and not self.is_shared:
            self.outbox, self._remembered, self.is_whole = [], 0, False

    @property
    def is_stuck(self) -> bool:
        """Is nobody taking what it closes?"""
        return len(self.outbox) > OUTBOX

    @property
    def is_crowded(self) -> bool:
        """Would it soon have to leave out what it has closed since it was last remembered?"""
        return len(self.outbox) - self._remembered >= OUTBOX and not self.is_shared

    @property
    def bytes(self) -> int:
        """Memory of panes that are open, and of feedback that waits for its prediction."""
        return self.detected.bytes + self.shown.bytes + self.join.waiting_bytes

    def advance(self, predictions: bool, to: int) -> None:
        """The clock says that nothing before `to` (ms) will come; of one topic or the other."""
        clock = self.clocks.predictions if predictions else self.clocks.feedback
        self.is_certain &= to <= clock.watermark
        clock.advance(to)

    def handed_on(self, count: int | None = None) -> None:
        """What was closed is another's; the first so many of it, or all."""
        del self.outbox[:count]
        self._remembered, self.is_whole = 0, True

    def remembered(self) -> None:
        """A checkpoint of the model has what was closed.

        It is kept until another has it too: should the newest be damaged, the one before serves.
        """
        self.outbox = self.outbox[self._remembered :]
        self._remembered, self.is_whole = len(self.outbox), True

    def settle(self) -> None:
        """Forget what no later row can touch."""
        self.join.expire(self.clocks.predictions.open_from, self.closed * self.layout.pane)

    def capture(self) -> FoldState:
        """What to remember."""
        self.settle()
        clocks = self.clocks.predictions, self.clocks.feedback
        return FoldState(
            dict(sorted(self.positions.items())),
            (clocks[0].newest, clocks[0].floor, clocks[1].newest, clocks[1].floor),
            self.closed,
            self.join.capture(),
            self.detected.capture(),
            self.shown.capture(),
            self.offsets.capture(),
            self.versions.names,
            self.counters.capture(),
            (self.first_time, self.last_time, self.last_joined),
            tuple(self.outbox),
        )

    def restore(self, state: FoldState) -> None:
        """Go on from what `capture` returned; of a fold that has seen nothing."""
        clocks = self.clocks.predictions, self.clocks.feedback
        clocks[0].newest, clocks[0].floor, clocks[1].newest, clocks[1].floor = state.clocks
        self.positions, self.closed = dict(state.positions), state.closed
        self.join.restore(state.join)
        self.detected.restore(state.detected)
        self.shown.restore(state.shown)
        self.offsets.restore(state.offsets)
        for name in state.versions:
            self.versions.code(name)
        self.counters.restore(state.counters)
        self.first_time, self.last_time, self.last_joined = state.times
        self.outbox = list(state.outbox)

    def facts(self) -> Facts:
        """What is known beside panes."""
        accepted, rejected = (sum(n[i] for n in self.counters.recent) for i in (0, 1))
        times = self.first_time, self.last_time, self.last_joined
        return Facts(*times, *self.join.remembered, accepted, rejected)
