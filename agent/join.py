"""Joining predictions with the outcomes that follow, or precede, them.

Nothing here depends on how the two topics happened to interleave: what is joined with what is
decided by event times alone, and feedback of one id is applied in the order of its partition.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.ages import Aged, Ages
from agent.pending import Blocks, Pending
from detectors.batch import Batch, Columns, Feedback, Outcomes

Ints = NDArray[np.int64]
Indices = NDArray[np.intp]

# Upper bounds of the label delay histogram, milliseconds; the last bucket is open.
DELAY_BOUNDS = np.array([1, 10, 60, 600, 3600, 21_600, 86_400, 604_800, 2_592_000]) * 1000

EARLY_SHARE = 4  # of the memory for predictions, so much less is there for early feedback
WAITING_BYTES = 24  # of a row of it


@dataclass(frozen=True, slots=True)
class Corrections(Columns):
    """Outcomes to add to, or take from, the pane of an earlier joined row (`Outcomes.time`)."""

    effective: Ints  # event time of the feedback that corrects
    rows: Outcomes

    def __len__(self) -> int:
        return len(self.effective)


@dataclass(frozen=True, slots=True)
class JoinState:
    """All that a join remembers; the same however its rows came in batches."""

    pending: Pending | None  # by id and time; None: nothing
    waiting: Feedback
    counts: dict[str, int]
    delays: Ints
    delay_sum: int
    told: int  # of the ages
    limit: int


@dataclass(slots=True)
class Join:
    """Remembers predictions and early feedback of one partition, bounded in bytes and time.

    Parameters
    ----------
    horizon
        How long after its prediction a label may come, milliseconds.
    corrections
        How long after the joined row it may still be corrected.
    early
        How long before its prediction feedback may come.
    memory
        Bytes of remembered predictions; beyond it the oldest are forgotten and counted. Feedback
        that waits for a prediction has a quarter of that beside it.
    ages
        At which ages it is noted whether a prediction has a label.
    """

    horizon: int
    corrections: int
    early: int
    memory: int
    ages: Ages = field(default_factory=Ages)
    blocks: Blocks = field(init=False)
    waiting: list[Feedback] = field(default_factory=list)  # feedback without a prediction, in order
    counts: Counter[str] = field(default_factory=Counter)
    delays: Ints = field(default_factory=lambda: np.zeros(len(DELAY_BOUNDS) + 1, dtype=np.int64))
    delay_sum: int = 0  # milliseconds, over joined rows
    _delayed: list[tuple[Ints, Ints]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks = Blocks(self.memory)

    @property
    def waiting_bytes(self) -> int:
        """Memory of feedback that waits for its prediction."""
        return WAITING_BYTES * sum(map(len, self.waiting))

    def predictions(
        self, batch: Batch, group: NDArray[np.int32], protected: NDArray[np.int32]
    ) -> tuple[NDArray[np.bool_], Outcomes, Corrections]:
        """Remember predictions; returns which are new, and what early feedback makes of them.

        A prediction whose id was seen within the horizon is a duplicate: not new. `group` and
        `protected` are columns of `Outcomes`.
        """
        new = np.zeros(len(batch), dtype=bool)
        widths = batch.score.shape[1], group.shape[1], protected.shape[1]
        made = [self._apply(_NO_FEEDBACK, *widths)]
        left = np.arange(len(batch))
        while len(left):  # once, unless a batch holds an id twice, a horizon apart
            rows, left = self._new(batch, left)
            new[rows] = True
            fresh = batch.take(rows)
            self.blocks.insert(Pending.unlabelled(fresh, group[rows], protected[rows]))
            made.append(self._apply(self._recall(fresh.id), *widths))
        self._bound()
        outcomes = Outcomes.concatenate([o for o, _ in made])
        return new, outcomes, _corrections([c for _, c in made])

    def feedback(
        self, rows: Feedback, scores: int, groups: int, protected: int
    ) -> tuple[Outcomes, Corrections]:
        """Outcomes that this feedback makes, and changes to earlier ones.

        `scores`, `groups` and `protected` are the widths of the columns of those names.
        """
        made = self._apply(rows, scores, groups, protected)
        self._bound()
        return made

    def delayed(self) -> tuple[Ints, Ints]:
        """Times and delays of the rows joined since this was last asked."""
        made, self._delayed = self._delayed, []
        nothing = np.zeros(0, dtype=np.int64)
        time, delay = zip((nothing, nothing), *made, strict=True)
        return np.concatenate(time), np.concatenate(delay)

    def aged(self, until: int) -> Aged:
        """Predictions that reach an age by `until` (`Ages.reached`)."""
        return self.ages.reached(self.blocks.parts, until)

    def expire(self, predictions: int, everything: int) -> None:
        """Forget what no later row can touch.

        Parameters
        ----------
        predictions
            No prediction before this time can come: feedback that waited for one is an orphan.
        everything
            Nor can feedback before this time.
        """
        if self.waiting:
            waiting = Feedback.concatenate(self.waiting)
            orphan = waiting.time + self.early < predictions
            self.counts["orphan"] += int(orphan.sum())
            self.waiting = [waiting.take(~orphan)] if not orphan.all() else []
        kept = self.horizon + max(self.corrections, *self.ages.stretches, 0)
        self.blocks.expire(everything - kept)
        self._bound()

    def _bound(self) -> None:
        """Forget the oldest beyond the memory that there is for each, and count it."""
        self.counts["forgotten"] += self.blocks.bound()
        waiting = sum(map(len, self.waiting))
        most = self.memory // EARLY_SHARE // WAITING_BYTES
        if waiting > most:
            everything = Feedback.concatenate(self.waiting)
            newest = np.sort(np.argsort(everything.time, kind="stable")[waiting - most :])
            self.waiting = [everything.take(newest)]
            self.counts["forgotten"] += waiting - most

    def finish(self) -> None:
        """The end of all input: feedback that still waits is orphaned."""
        self.counts["orphan"] += sum(map(len, self.waiting))
        self.waiting = []

    @property
    def remembered(self) -> tuple[int, int]:
        """How many predictions are remembered, and how many of them have a label."""
        return self.blocks.remembered()

    def capture(self) -> JoinState:
        """What to remember; `expire` has been called, and `delayed`."""
        return JoinState(
            self.blocks.capture(),
            Feedback.concatenate([_NO_FEEDBACK, *self.waiting]),
            {name: n for name, n in sorted(self.counts.items()) if n},
            self.delays.copy(),
            self.delay_sum,
            self.ages.told,
            self.blocks.limit,
        )

    def restore(self, state: JoinState) -> None:
        """Remember what `capture` returned, and nothing else."""
        self.blocks.restore(state.pending, state.limit)
        self.waiting = [state.waiting] if len(state.waiting) else []
        self.counts = Counter(state.counts)
        self.delays, self.delay_sum = state.delays.copy(), state.delay_sum
        self.ages.told = state.told

    def _new(self, batch: Batch, rows: Indices) -> tuple[Indices, Indices]:
        """Which of these rows are new, at most one of an id, by id; and those left to judge."""
        ids, time = batch.id[rows], batch.time[rows]
        block, position = self.blocks.newest(ids)
        new = block < 0
        for i, pending in enumerate(self.blocks.parts):
            here = np.flatnonzero(block == i)
            new[here] = np.abs(time[here] - pending.time[position[here]]) > self.horizon
        found, at = np.unique(ids[new], return_index=True)
        first = rows[new][at]
        if len(found) == len(rows):
            return first, rows[:0]
        at = np.minimum(np.searchsorted(found, ids), max(len(found) - 1, 0))
        later = (found[at] == ids) & (rows > first[at]) if len(found) else np.zeros_like(new)
        return first, rows[later]

    def _recall(self, ids: NDArray[np.uint64]) -> Feedback:
        """Take out waiting feedback of these ids (sorted), in the order it came."""
        if not self.waiting or not len(ids):
            return _NO_FEEDBACK
        waiting = Feedback.concatenate(self.waiting)
        at = np.minimum(np.searchsorted(ids, waiting.id), len(ids) - 1)
        called = ids[at] == waiting.id
        self.waiting = [waiting.take(~called)] if not called.all() else []
        return waiting.take(called)

    def _apply(self, rows: Feedback, *widths: int) -> tuple[Outcomes, Corrections]:
        """Apply feedback in the order of its rows; what fits no prediction waits for one."""
        nothing = _no_outcomes(*widths)
        outcomes = [nothing]
        corrections = [Corrections(nothing.time, nothing)]
        block, position = self.blocks.match(rows, self.early, self.horizon + self.corrections)
        if (block < 0).any():
            self.waiting.append(rows.take(block < 0))
        for part in _rounds(block, position):
            for i in np.unique(block[part]).tolist():
                here = part[block[part] == i]
                made, changed = self._label(self.blocks.parts[i], position[here], rows.take(here))
                outcomes.append(made)
                corrections.append(changed)
        return Outcomes.concatenate(outcomes), _corrections(corrections)

    def _label(self, pending: Pending, at: Ints, rows: Feedback) -> tuple[Outcomes, Corrections]:
        """Apply feedback to predictions at these positions of a block."""
        old, joined = pending.label[at], pending.joined[at]
        labelled, withdraws = ~np.isnan(old), np.isnan(rows.label)
        first = ~labelled & ~withdraws
        in_time = rows.time - pending.time[at] <= self.horizon
        differs = labelled & (withdraws | (old != rows.label))
        changes = differs & (rows.time - joined <= self.corrections)
        self.counts["joined"] += int((first & in_time).sum())
        self.counts["expired"] += int((first & ~in_time).sum())
        self.counts["duplicate"] += int((labelled & ~differs).sum())
        self.counts["corrected"] += int((differs & ~withdraws).sum())
        self.counts["withdrawn"] += int(withdraws.sum())

        made = first & in_time
        time = np.maximum(pending.time[at], rows.time)
        outcomes = pending.outcomes(at[made], time[made], rows.label[made], 1)
        taken = pending.outcomes(at[changes], joined[changes], old[changes], -1)
        given = changes & ~withdraws
        put = pending.outcomes(at[given], joined[given], rows.label[given], 1)
        delay = time[made] - pending.time[at[made]]
        bucket = np.searchsorted(DELAY_BOUNDS, delay, side="left")
        self.delays += np.bincount(bucket, minlength=len(self.delays))
        self.delay_sum += int(delay.sum())
        pending.joined[at[made]] = time[made]
        pending.label[at[made | changes]] = rows.label[made | changes]
        self._delayed.append((time[made], delay))
        pending.timely[at] = self.ages.noted(
            pending.timely[at], rows.time - pending.time[at], ~np.isnan(pending.label[at])
        )
        effective = np.concatenate([rows.time[changes], rows.time[given]])
        return outcomes, Corrections(effective, Outcomes.concatenate([taken, put]))


def _no_outcomes(scores: int, groups: int, protected: int) -> Outcomes:
    nothing = np.zeros(0)
    return Outcomes(
        nothing.astype(np.int64),
        nothing,
        np.zeros((0, scores)),
        nothing,
        np.zeros((0, groups), dtype=np.int32),
        nothing.astype(np.int64),
        np.zeros((0, protected), dtype=np.int32),
    )


def _corrections(parts: list[Corrections]) -> Corrections:
    return Corrections(
        np.concatenate([c.effective for c in parts]),
        Outcomes.concatenate([c.rows for c in parts]),
    )


_NO_FEEDBACK = Feedback(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64), np.zeros(0))


def _rounds(block: Ints, position: Ints) -> list[Indices]:
    """Rows with a block in parts: the first of each prediction, the second of each, and so on."""
    known = np.flatnonzero(block >= 0)
    if not len(known):
        return []
    order = known[np.lexsort((position[known], block[known]))]
    start = np.ones(len(order), dtype=bool)
    start[1:] = (np.diff(block[order]) != 0) | (np.diff(position[order]) != 0)
    number = np.arange(len(order))
    turn = number - np.maximum.accumulate(np.where(start, number, 0))
    return np.split(order[np.argsort(turn, kind="stable")], np.cumsum(np.bincount(turn))[:-1])
