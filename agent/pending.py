"""Predictions that are remembered for their labels: found again by id, forgotten by age."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Batch, Columns, Feedback, Outcomes

Ints = NDArray[np.int64]

UNLABELLED = -(2**62)  # `joined` of a prediction that has no label yet


@dataclass(frozen=True, slots=True)
class Pending(Columns):
    """Predictions remembered for their labels, sorted by id within a block."""

    id: NDArray[np.uint64]
    time: Ints
    prediction: NDArray[np.float64]
    score: NDArray[np.float64]
    group: NDArray[np.int32]
    protected: NDArray[np.int32]
    label: NDArray[np.float64]  # NaN: none, or withdrawn. Changes in place.
    joined: Ints  # time of the joined row, UNLABELLED before. Changes in place.
    timely: NDArray[np.uint8]  # bit k: had a label when it reached age k. Changes in place.

    @classmethod
    def unlabelled(
        cls, batch: Batch, group: NDArray[np.int32], protected: NDArray[np.int32]
    ) -> Self:
        """Predictions of a batch before any label; `group` and `protected` as in `Outcomes`."""
        return cls(
            batch.id,
            batch.time,
            batch.prediction,
            batch.score,
            group,
            protected,
            np.full(len(batch), np.nan),
            np.full(len(batch), UNLABELLED, dtype=np.int64),
            np.zeros(len(batch), dtype=np.uint8),
        )

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return sum(getattr(self, name).nbytes for name in self.__slots__)

    def outcomes(self, at: Ints, time: Ints, label: NDArray[np.float64], sign: int) -> Outcomes:
        """The predictions at these positions, joined at these times with these labels."""
        return Outcomes(
            time,
            self.prediction[at],
            self.score[at],
            label,
            self.group[at],
            np.full(len(at), sign, dtype=np.int64),
            self.protected[at],
        )


@dataclass(slots=True)
class Blocks:
    """Predictions in sorted blocks, bounded in bytes.

    A place in it is a block's number and a position in that block, and holds until the next call
    that changes anything.

    Parameters
    ----------
    memory
        Bytes; beyond it the oldest are forgotten.
    """

    memory: int
    parts: list[Pending] = field(default_factory=list)  # oldest first; sizes fall
    limit: int = UNLABELLED  # predictions from before it are of no use any more, milliseconds

    @property
    def bytes(self) -> int:
        """Memory of all blocks."""
        return sum(part.bytes for part in self.parts)

    def _largest(self, rows: Pending) -> int:
        """How many such rows a block may hold."""
        return max(self.memory // 16 // max(rows.bytes // len(rows), 1), 1)

    def insert(self, rows: Pending) -> None:
        """Add a sorted block; blocks of like size are merged, so that few have to be searched."""
        if not len(rows):
            return
        largest = self._largest(rows)
        while self.parts and len(self.parts[-1]) < 2 * len(rows):
            if len(self.parts[-1]) + len(rows) > largest:
                break
            rows = Pending.concatenate([self.parts.pop(), rows])
            rows = rows.take(np.argsort(rows.id, kind="stable"))  # the oldest of an id first
        self.parts.append(rows)

    def newest(self, ids: NDArray[np.uint64]) -> tuple[Ints, Ints]:
        """Block and position of the newest prediction of each id; -1 where none is known."""
        block = np.full(len(ids), -1, dtype=np.int64)
        position = np.full(len(ids), -1, dtype=np.int64)
        order = np.argsort(ids)
        for i in range(len(self.parts) - 1, -1, -1):
            known = self.parts[i].id
            at = np.searchsorted(known, ids[order], side="right") - 1
            hit = (at >= 0) & (known[at] == ids[order])
            block[order[hit]], position[order[hit]] = i, at[hit]
            order = order[~hit]
        return block, position

    def match(self, rows: Feedback, early: int, latest: int) -> tuple[Ints, Ints]:
        """Block and position of the oldest prediction whose time fits each row; -1: none does.

        It fits where the row comes at most `early` before it and at most `latest` after it. The
        oldest, since feedback must not go elsewhere because a later prediction of its id happened
        to be read first.
        """
        block = np.full(len(rows), -1, dtype=np.int64)
        position = np.full(len(rows), -1, dtype=np.int64)
        order = np.argsort(rows.id)
        for i, pending in enumerate(self.parts):
            left = order[block[order] < 0]
            at = np.searchsorted(pending.id, rows.id[left])
            while len(left):
                same = at < len(pending)
                same[same] = pending.id[at[same]] == rows.id[left[same]]
                left, at = left[same], at[same]
                delay = rows.time[left] - pending.time[at]
                near = (delay >= -early) & (delay <= latest)
                block[left[near]], position[left[near]] = i, at[near]
                left, at = left[~near], at[~near] + 1
        return block, position

    def expire(self, limit: int) -> None:
        """Predictions from before `limit` are of no use any more."""
        self.limit = limit
        self.parts = [b for b in self.parts if int(b.time.max()) >= limit]

    def bound(self) -> int:
        """Forget the oldest beyond the memory; how many that were."""
        forgotten = 0
        while len(self.parts) > 1 and self.bytes > self.memory:
            oldest = min(range(len(self.parts)), key=lambda i: int(self.parts[i].time.max()))
            forgotten += len(self.parts.pop(oldest))
        return forgotten

    def remembered(self) -> tuple[int, int]:
        """How many predictions are of use, and how many of them have a label."""
        useful = [b.time >= self.limit for b in self.parts]
        labelled = sum(
            int((~np.isnan(b.label) & u).sum()) for b, u in zip(self.parts, useful, strict=True)
        )
        return sum(int(u.sum()) for u in useful), labelled

    def capture(self) -> Pending | None:
        """What is of use, by id and time; None: nothing."""
        if not self.parts:
            return None
        pending = Pending.concatenate(self.parts)
        useful = np.flatnonzero(pending.time >= self.limit)
        order = np.lexsort((pending.time[useful], pending.id[useful]))
        return pending.take(useful[order]) if len(useful) else None

    def restore(self, pending: Pending | None, limit: int) -> None:
        """Remember what `capture` returned, and nothing else."""
        self.parts, self.limit = [], limit
        if pending is not None:
            order = np.argsort(pending.time, kind="stable")
            largest = self._largest(pending)
            for rows in np.split(order, range(largest, len(order), largest)):
                # Rows of one block are sorted by id, the oldest of an id first.
                self.parts.append(pending.take(np.sort(rows)))
