"""Which records a stretch of event time rests on: first and last offset of each partition."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.intake.source import TopicPartition
from agent.windows import Window

Ints = NDArray[np.int64]

COMPACT_AFTER = 64  # pieces before they are merged
RANGE_BYTES = 24  # of number, first and last


@dataclass(frozen=True, slots=True)
class Ranges:
    """For each of some panes or buckets, in order: the first and last offset of its records."""

    number: Ints
    first: Ints
    last: Ints

    def take(self, rows: slice | NDArray[np.bool_]) -> "Ranges":
        """Some of them."""
        return Ranges(self.number[rows], self.first[rows], self.last[rows])


NOTHING = Ranges(*(np.zeros(0, dtype=np.int64) for _ in range(3)))


def merged(parts: list[Ranges]) -> Ranges:
    """All parts, those of the same number as one: the same however they were cut."""
    number, first, last = (
        np.concatenate([getattr(p, name) for p in (NOTHING, *parts)])
        for name in ("number", "first", "last")
    )
    if not len(number):
        return NOTHING
    order = np.argsort(number, kind="stable")
    distinct, start = np.unique(number[order], return_index=True)
    return Ranges(
        distinct,
        np.minimum.reduceat(first[order], start),
        np.maximum.reduceat(last[order], start),
    )


@dataclass(frozen=True, slots=True)
class OffsetState:
    """Of one partition of a topic: panes that wait for others, and buckets by span of a window."""

    topic: str
    partition: int
    open: Ranges
    closed: dict[int, Ranges]


class OpenOffsets:
    """Offsets by pane of one partition, of each topic, while panes are open."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Ranges]] = {}

    def add(self, topic: str, pane: Ints, offset: Ints) -> None:
        """Records (n,): the pane each was put into, and its offset."""
        if len(pane):
            self.put(topic, merged([Ranges(pane, offset, offset)]))

    def put(self, topic: str, ranges: Ranges) -> None:
        """Records of some panes."""
        if not len(ranges.number):
            return
        parts = self.parts.setdefault(topic, [])
        parts.append(ranges)
        if len(parts) > COMPACT_AFTER:
            self.parts[topic] = [merged(parts)]

    def bytes_from(self, pane: int) -> int:
        """Memory of the panes from that one on."""
        held = (ranges for parts in self.parts.values() for ranges in parts)
        return RANGE_BYTES * sum(int((ranges.number >= pane).sum()) for ranges in held)

    def capture(self) -> dict[str, Ranges]:
        """What is held, by topic."""
        held = {topic: merged(parts) for topic, parts in sorted(self.parts.items())}
        return {topic: ranges for topic, ranges in held.items() if len(ranges.number)}

    def restore(self, held: dict[str, Ranges]) -> None:
        """Hold what `capture` returned, and nothing else."""
        self.parts = {topic: [ranges] for topic, ranges in held.items()}

    def close(self, before: int) -> tuple[tuple[str, Ranges], ...]:
        """Take out the panes below `before`, by topic."""
        taken = []
        for topic, parts in sorted(self.parts.items()):
            everything = merged(parts)
            now = int(np.searchsorted(everything.number, before))
            self.parts[topic] = [everything.take(slice(now, None))]
            taken.append((topic, everything.take(slice(now))))
        return tuple(taken)


@dataclass(slots=True)
class _Partition:
    """One partition: panes that still wait for others, and buckets of the rest for each window."""

    open: list[Ranges] = field(default_factory=list)
    closed: dict[int, Ranges] = field(default_factory=dict)  # by the window's span


class OffsetBook:
    """Offsets by pane while others are waited for, then by bucket of each window: bounded alike.

    Parameters
    ----------
    windows
        Their spans and buckets are used; several of one span count once.
    """

    def __init__(self, windows: Iterable[Window]) -> None:
        self._width = {w.span: w.width for w in windows}
        self._partitions: dict[TopicPartition, _Partition] = {}

    def add(self, at: TopicPartition, ranges: Ranges) -> None:
        """Panes of one partition that it has closed."""
        if not len(ranges.number):
            return
        partition = self._partitions.setdefault(at, _Partition())
        partition.open.append(ranges)
        if len(partition.open) > COMPACT_AFTER:
            partition.open = [merged(partition.open)]

    def advance(self, before: int) -> None:
        """Panes below `before` are closed; what has left every window is forgotten."""
        for partition in self._partitions.values():
            everything = merged(partition.open)
            now = int(np.searchsorted(everything.number, before))
            partition.open = [everything.take(slice(now, None))]
            part = everything.take(slice(now))
            for span, width in self._width.items():
                new = Ranges(part.number // width, part.first, part.last)
                whole = merged([partition.closed.get(span, NOTHING), new])
                oldest = (before - 1 - span) // width + 1
                partition.closed[span] = whole.take(whole.number >= oldest)

    def capture(self) -> tuple[OffsetState, ...]:
        """What to remember."""
        return tuple(
            OffsetState(*at, merged(p.open), {s: r for s, r in p.closed.items() if len(r.number)})
            for at, p in sorted(self._partitions.items())
        )

    def restore(self, states: Iterable[OffsetState]) -> None:
        """Remember what `capture` returned, and nothing else."""
        self._partitions = {
            (s.topic, s.partition): _Partition([s.open], dict(s.closed)) for s in states
        }

    def since(self, pane: int, before: int) -> list[tuple[TopicPartition, int, int]]:
        """Partition, first and last offset of what lies in the panes [pane, before).

        `before` is what `advance` was last called with. Taken from the shortest window that
        reaches back that far, in whole buckets.
        """
        reaching = [span for span in self._width if span >= before - pane]
        span = min(reaching) if reaching else max(self._width)
        found = []
        for at, partition in sorted(self._partitions.items()):
            ranges = partition.closed.get(span, NOTHING)
            ranges = ranges.take(ranges.number >= pane // self._width[span])
            if len(ranges.number):
                found.append((at, int(ranges.first.min()), int(ranges.last.max())))
        return found
