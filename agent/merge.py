"""The panes of a model's partitions, merged once all of them have closed them.

What a partition sends is numbered by the panes it closes: what comes twice is dropped, so that a
partition may send again what it is not sure to have sent. The result does not depend on the order
in which partitions come.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent.closed import Closed, Facts, joined
from agent.intake.source import TopicPartition
from agent.intake.vocabulary import Vocabulary
from agent.layout import Layout
from agent.offsets import OpenOffsets, Ranges
from agent.panes import NEVER, Entries, OpenPanes, summed

Ints = NDArray[np.int64]

UNKNOWN = (NEVER - 1, 0)  # no pane that is ever asked for


@dataclass(slots=True)
class Pending:
    """What one partition has closed and others have not."""

    versions: tuple[str, ...] = ()
    detected: OpenPanes = field(default_factory=OpenPanes)
    shown: OpenPanes = field(default_factory=OpenPanes)
    offsets: OpenOffsets = field(default_factory=OpenOffsets)


@dataclass(frozen=True, slots=True)
class PendingState:
    """`Pending` as remembered."""

    versions: tuple[str, ...]
    detected: Entries
    shown: Entries
    offsets: dict[str, Ranges]


@dataclass(frozen=True, slots=True)
class MergeState:
    """All that a merge remembers, by partition."""

    closed: int
    versions: tuple[str, ...]  # of the model
    frontier: dict[int, int]
    facts: dict[int, Facts]
    pending: dict[int, PendingState]
    begun: dict[int, tuple[Closed, ...]]  # pieces of a pane of which others are to come


class Merge:
    """Collects `Closed` of all partitions of one model.

    Parameters
    ----------
    layout
        The model's cells.
    topics
        Of predictions and of feedback.
    versions
        The model's own codes of versions; names are added here alone.
    """

    def __init__(self, layout: Layout, topics: tuple[str, str], versions: Vocabulary) -> None:
        self._layout, self._versions = layout, versions
        self.expected: frozenset[int] = frozenset()  # all partitions there are; none: not known yet
        self.frontier: dict[int, int] = {}  # first pane that each partition has not closed
        self.facts: dict[int, Facts] = {}
        self.pending: dict[int, Pending] = {}
        self.begun: dict[int, tuple[Closed, ...]] = {}
        self.closed = NEVER
        self._ahead = UNKNOWN  # a pane, and the bytes of what waits from there on

    def take(self, closed: Closed) -> None:
        """Take what a partition has closed, if it is new."""
        number, known = closed.partition, self.frontier.get(closed.partition, NEVER)
        if closed.before <= known:
            return
        if closed.pieces > 1:
            pieces = self._collected(closed)
            if len(pieces) < closed.pieces:
                return
            closed = joined(pieces)
        self.begun.pop(number, None)
        pending = self.pending.setdefault(number, Pending())
        for store, entries in ((pending.detected, closed.detected), (pending.shown, closed.shown)):
            store.add(self._in_time(entries.take(entries.pane >= known)))
        for topic, ranges in closed.offsets:
            pending.offsets.put(topic, ranges.take(ranges.number >= known))
        self._ahead = self._ahead[0], self._ahead[1] + closed.bytes
        pending.versions = closed.versions
        self.frontier[number] = closed.before
        self.facts[number] = closed.facts

    def _collected(self, closed: Closed) -> tuple[Closed, ...]:
        """The pieces of that pane there are by now; one that comes twice is dropped."""
        pieces = self.begun.get(closed.partition, ())
        if pieces and (pieces[0].before, pieces[0].pieces) != (closed.before, closed.pieces):
            pieces = ()
        if closed.piece == len(pieces):
            pieces = (*pieces, closed)
        self.begun[closed.partition] = pieces
        return pieces

    def _in_time(self, entries: Entries) -> Entries:
        """A partition that comes late has what it brings put into the oldest pane still open."""
        if not len(entries) or entries.pane[0] >= self.closed:
            return entries
        pane = np.maximum(entries.pane, self.closed)
        moved = entries.bucket == entries.pane
        bucket = np.where(moved, pane, entries.bucket)
        return Entries(pane, bucket, entries.cell, entries.weight)

    def complete(self, at_hand: Iterable[int] = ()) -> int:
        """First pane that not every partition has closed.

        Where it is known which partitions there are, what is remembered of others holds nobody up.
        """
        waited = {*at_hand, *(self.expected or self.frontier)}
        return min((self.frontier.get(number, NEVER) for number in waited), default=NEVER)

    def waits_for(self, number: int) -> bool:
        """Has no partition closed less than that one?"""
        return self.frontier.get(number, NEVER) <= self.complete()

    def ahead(self) -> int:
        """Bytes of panes that wait for a partition that is behind."""
        complete = self.complete()
        if complete != self._ahead[0]:
            held = self.pending.values()
            stores = (s for p in held for s in (p.detected, p.shown, p.offsets))
            self._ahead = complete, sum(store.bytes_from(complete) for store in stores)
        return self._ahead[1] + sum(c.bytes for pieces in self.begun.values() for c in pieces)

    def waiting(self, number: int) -> int:
        """Bytes of one partition's panes that others have not closed."""
        pending = self.pending.get(number)
        return pending.detected.bytes + pending.shown.bytes if pending is not None else 0

    def close(self, before: int) -> tuple[Entries, Entries, list[tuple[TopicPartition, Ranges]]]:
        """Take out all panes below `before`, of all partitions together: detected and shown.

        Also which records they rest on.
        """
        taken = {
            number: (pending.detected.close(before), pending.shown.close(before))
            for number, pending in sorted(self.pending.items())
        }
        self._name({n: parts[0] for n, parts in taken.items()})
        detected, shown, offsets = [], [], []
        for number, parts in taken.items():
            codes = self._codes(self.pending[number].versions)
            detected.append(self._renamed(parts[0], codes, self._layout.first_version_cell, 1))
            performance, first = self._layout.performance, self._layout.groups.first_version
            shown.append(
                self._renamed(parts[1], codes, first * performance.stride, performance.stride)
            )
            closed = self.pending[number].offsets.close(before)
            offsets += [((topic, number), ranges) for topic, ranges in closed]
        self.closed = before
        return summed(detected), summed(shown), offsets

    def capture(self) -> MergeState:
        """What to remember."""
        pending = {
            number: PendingState(
                p.versions, p.detected.capture(), p.shown.capture(), p.offsets.capture()
            )
            for number, p in sorted(self.pending.items())
        }
        return MergeState(
            self.closed,
            self._versions.names,
            dict(sorted(self.frontier.items())),
            # What the last few batches held is of no account later.
            {n: replace(f, accepted=0, rejected=0) for n, f in sorted(self.facts.items())},
            pending,
            dict(sorted(self.begun.items())),
        )

    def restore(self, state: MergeState) -> None:
        """Go on from what `capture` returned."""
        self.closed, self.frontier, self.facts = (
            state.closed,
            dict(state.frontier),
            dict(state.facts),
        )
        for name in state.versions:
            self._versions.code(name)
        self.begun, self._ahead = dict(state.begun), UNKNOWN
        self.pending = {}
        for number, held in state.pending.items():
            pending = self.pending[number] = Pending(held.versions)
            pending.detected.restore(held.detected)
            pending.shown.restore(held.shown)
            pending.offsets.restore(held.offsets)

    def _name(self, detected: Mapping[int, Entries]) -> None:
        """Learn new versions, in the order of the panes in which they first occur."""
        first: dict[str, int] = {}
        start = self._layout.first_version_cell
        for number, entries in detected.items():
            names = self.pending[number].versions
            marked = entries.cell >= start
            codes, at = np.unique(entries.cell[marked] - start, return_index=True)
            panes = entries.pane[marked][at]
            for code, pane in zip(codes.tolist(), panes.tolist(), strict=True):
                if code < len(names):
                    first[names[code]] = min(pane, first.get(names[code], pane))
        for name in sorted(first, key=lambda n: (first[n], n)):
            self._versions.code(name)

    def _codes(self, names: tuple[str, ...]) -> Ints:
        """The model's code of each of a partition's codes."""
        limit = self._versions.limit
        found = [self._versions.code(name) for name in names]
        return np.array(found + [limit] * (limit + 1 - len(found)), dtype=np.int64)

    def _renamed(self, entries: Entries, codes: Ints, start: int, stride: int) -> Entries:
        """The same entries in the cells of the model's versions, `stride` cells of each."""
        stop = start + len(codes) * stride
        own = (entries.cell >= start) & (entries.cell < stop)
        if not own.any() or np.array_equal(codes, np.arange(len(codes))):
            return entries
        cell = entries.cell.copy()
        code, rest = np.divmod(cell[own] - start, stride)
        cell[own] = start + codes[code] * stride + rest
        return Entries(entries.pane, entries.bucket, cell, entries.weight)
