"""Event time cut into panes: watermarks of partitions, and the open panes' cells."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NEVER = -(2**62)  # before every event
FOREVER = 2**62  # after every event
COMPACT_AFTER = 64  # pieces of a store before it sums them up
ENTRY_BYTES = 32  # of pane, bucket, cell and weight


@dataclass(slots=True)
class PartitionClock:
    """Watermark of one partition: no more rows are expected from before it.

    It depends on that partition's records alone (and, once the partition is read to its end, on the
    wall clock), so panes do not depend on how records were batched.

    Parameters
    ----------
    pane, lateness
        Width of a pane, and disorder allowed before a row counts as late, milliseconds.
    """

    pane: int
    lateness: int
    newest: int = NEVER  # latest event time seen
    floor: int = NEVER  # watermark set from outside: an idle partition, the end of a file

    @property
    def watermark(self) -> int:
        """Event time up to which everything is here, milliseconds."""
        return max(self.newest - self.lateness, self.floor)

    @property
    def open_from(self) -> int:
        """Start of the oldest open pane: no row is put before it, however late it is."""
        return self.watermark // self.pane * self.pane

    def assign(self, times: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Times (n,) by which rows are put into panes, and which rows are late.

        A row whose pane the watermark had passed when it came is late: it goes to the oldest pane
        that was still open.
        """
        if len(times) == 0:
            return times, np.zeros(0, dtype=bool)
        newest = np.maximum.accumulate(np.concatenate([[self.newest], times]))
        open_from = np.maximum(newest[:-1] - self.lateness, self.floor) // self.pane * self.pane
        self.newest = int(newest[-1])
        return np.maximum(times, open_from), times < open_from

    def advance(self, to: int) -> None:
        """Promise that nothing before `to` will come."""
        self.floor = max(self.floor, to)


@dataclass(frozen=True, slots=True)
class Entries:
    """Cells of some panes: to `cell` of the pane that ends bucket `bucket`, `weight` is added.

    `pane` is the pane in which the addition takes effect. It differs from `bucket` only where a
    correction changes what an earlier pane holds.
    """

    pane: Ints
    bucket: Ints
    cell: Ints
    weight: Ints

    def __len__(self) -> int:
        return len(self.pane)

    def take(self, rows: NDArray[np.bool_] | slice) -> "Entries":
        """Some of the entries."""
        return Entries(self.pane[rows], self.bucket[rows], self.cell[rows], self.weight[rows])


NO_ENTRIES = Entries(*(np.zeros(0, dtype=np.int64) for _ in range(4)))


def summed(parts: list[Entries]) -> Entries:
    """All entries of the parts, those of the same pane, bucket and cell added up, in order.

    The result is the same however the entries were spread over the parts.
    """
    parts = [p for p in parts if len(p)]
    if not parts:
        return NO_ENTRIES
    pane, bucket, cell, weight = (
        np.concatenate([getattr(p, name) for p in parts])
        for name in ("pane", "bucket", "cell", "weight")
    )
    order, new = _sorted(pane, bucket, cell)
    start = np.flatnonzero(new)
    total = np.add.reduceat(weight[order], start)
    kept = total != 0
    found = order[start[kept]]
    return Entries(pane[found], bucket[found], cell[found], total[kept])


def _sorted(pane: Ints, bucket: Ints, cell: Ints) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The order by pane, bucket and cell, and where in it these are others than just before."""
    first, width = pane.min(), cell.max() + 1
    if np.array_equal(pane, bucket) and pane.max() - first < FOREVER // width:
        # One key instead of three takes a fifth of the time.
        key = (pane - first) * width + cell
        order = np.argsort(key, kind="stable")
        changes = np.diff(key[order]) != 0
    else:
        order = np.lexsort((cell, bucket, pane))
        changes = np.logical_or.reduce([np.diff(k[order]) != 0 for k in (pane, bucket, cell)])
    return order, np.concatenate([[True], changes])


@dataclass(slots=True)
class OpenPanes:
    """The cells of all panes that are still open, sparse: an empty pane costs nothing."""

    parts: list[Entries] = field(default_factory=list)

    def add(self, entries: Entries) -> None:
        """Add to open panes."""
        if len(entries):
            self.parts.append(entries)
            if len(self.parts) > COMPACT_AFTER:
                self.parts = [summed(self.parts)]

    @property
    def bytes(self) -> int:
        """Memory of all that is held."""
        return ENTRY_BYTES * sum(map(len, self.parts))

    def bytes_from(self, pane: int) -> int:
        """Memory of the panes from that one on."""
        return ENTRY_BYTES * sum(int((part.pane >= pane).sum()) for part in self.parts)

    def capture(self) -> Entries:
        """All that is held, in order."""
        return summed(self.parts)

    def restore(self, held: Entries) -> None:
        """Hold what `capture` returned, and nothing else."""
        self.parts = [held] if len(held) else []

    def close(self, before: int) -> Entries:
        """Take out all panes with a number below `before`, in order."""
        everything = summed(self.parts)
        closed = int(np.searchsorted(everything.pane, before, side="left"))
        rest = everything.take(slice(closed, None))
        self.parts = [rest] if len(rest) else []
        return everything.take(slice(closed))
