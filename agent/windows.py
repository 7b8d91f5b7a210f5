"""Sliding windows over closed panes, each a ring of merged buckets."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.panes import Entries

Ints = NDArray[np.int64]

BUCKETS = 20  # buckets a window slides by, at the most


@dataclass(slots=True)
class Bucket:
    """Cells of the panes of one bucket, sparse until that costs more than dense."""

    cells: list[Ints] = field(default_factory=list)
    weights: list[Ints] = field(default_factory=list)
    dense: Ints | None = None

    def add(self, cells: Ints, weights: Ints, size: int) -> None:
        """Add to the bucket; `size` is the number of cells there are."""
        if self.dense is None:
            self.cells.append(cells)
            self.weights.append(weights)
            if sum(map(len, self.cells)) <= size // 4:
                return
            cells, weights = np.concatenate(self.cells), np.concatenate(self.weights)
            self.cells, self.weights = [], []
            self.dense = np.zeros(size, dtype=np.int64)
        np.add.at(self.dense, cells, weights)

    def sum(self, start: int, stop: int) -> int:
        """Sum of the cells [start, stop)."""
        found = int(self.dense[start:stop].sum()) if self.dense is not None else 0
        for cells, weights in zip(self.cells, self.weights, strict=True):
            found += int(weights[(cells >= start) & (cells < stop)].sum())
        return found

    def add_to(self, total: Ints, sign: int = 1) -> None:
        """Add this bucket to a total, or with sign -1 take it out."""
        if self.dense is not None:
            total += sign * self.dense
        for cells, weights in zip(self.cells, self.weights, strict=True):
            np.add.at(total, cells, sign * weights)


@dataclass(frozen=True, slots=True)
class WindowState:
    """The buckets of a window, their cells in order."""

    oldest: int
    number: Ints  # (n,) bucket
    cell: Ints
    weight: Ints


@dataclass(slots=True)
class Window:
    """Sum of the cells over the last `span` panes, sliding by buckets.

    Integers can be taken back exactly, so the total is kept and only the buckets that leave are
    subtracted.

    Parameters
    ----------
    span
        Panes in the window.
    size
        Number of cells.
    """

    span: int
    size: int
    total: Ints = field(init=False)
    buckets: dict[int, Bucket] = field(default_factory=dict)
    oldest: int = -(2**62)  # first bucket that still counts

    def __post_init__(self) -> None:
        self.total = np.zeros(self.size, dtype=np.int64)

    @property
    def width(self) -> int:
        """Panes in a bucket."""
        return max(1, self.span // BUCKETS)

    def bucket_numbers(self) -> range:
        """Numbers of the buckets that lie in the window, oldest first."""
        newest = max(self.buckets, default=self.oldest - 1)
        first = max(self.oldest, newest - self.span // self.width)
        return range(first, newest + 1) if self.buckets else range(0)

    def bucket_sum(self, number: int, start: int, stop: int) -> int:
        """Sum of the cells [start, stop) of one bucket."""
        bucket = self.buckets.get(number)
        return bucket.sum(start, stop) if bucket is not None else 0

    def since(self, pane: int) -> Ints:
        """Sum of the buckets from the given pane on: the first whole bucket after it, if any."""
        first = -(-pane // self.width)
        if not any(number >= first for number in self.buckets):
            first = pane // self.width
        return self._from(first)

    def wholly_since(self, pane: int) -> tuple[Ints, int]:
        """Sum of the buckets that begin at the given pane or later, and where they begin."""
        first = max(-(-pane // self.width), self.oldest)
        return self._from(first), first * self.width

    def _from(self, first: int) -> Ints:
        total = np.zeros(self.size, dtype=np.int64)
        for number, bucket in self.buckets.items():
            if number >= first:
                bucket.add_to(total)
        return total

    def add(self, entries: Entries) -> None:
        """Add closed panes; what belongs to a bucket that has left is dropped."""
        number = entries.bucket // self.width
        kept = number >= self.oldest
        number, cells, weights = number[kept], entries.cell[kept], entries.weight[kept]
        np.add.at(self.total, cells, weights)
        order = np.argsort(number, kind="stable")
        distinct, start = np.unique(number[order], return_index=True)
        for bucket, rows in zip(
            distinct.tolist(), np.split(order, start[1:]) if len(distinct) else [], strict=True
        ):
            self.buckets.setdefault(bucket, Bucket()).add(cells[rows], weights[rows], self.size)

    def capture(self) -> WindowState:
        """What to remember; the same however panes were added."""
        parts = []
        for number in sorted(self.buckets):
            counts = np.zeros(self.size, dtype=np.int64)
            self.buckets[number].add_to(counts)
            cell = np.flatnonzero(counts)
            parts.append(np.stack([np.full(len(cell), number), cell, counts[cell]]))
        held = np.concatenate([np.zeros((3, 0), dtype=np.int64), *parts], axis=1)
        return WindowState(self.oldest, *held)

    def restore(self, state: WindowState) -> None:
        """Hold what `capture` returned, and nothing else."""
        self.total, self.buckets = np.zeros(self.size, dtype=np.int64), {}
        self.oldest = state.oldest
        pane = state.number * self.width
        self.add(Entries(pane, pane, state.cell, state.weight))

    def slide(self, pane: int) -> None:
        """Let the window end with the given pane: subtract what is older than it."""
        oldest = (pane - self.span) // self.width + 1
        if oldest <= self.oldest:
            return
        self.oldest = oldest
        for bucket in [b for b in self.buckets if b < oldest]:
            self.buckets.pop(bucket).add_to(self.total, -1)
