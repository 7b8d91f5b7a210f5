"""What a partition has closed, on its way to whoever merges and judges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.offsets import Ranges
from agent.panes import ENTRY_BYTES, Entries, summed


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a partition beside its panes, as of now."""

    first_time: int | None  # of predictions
    last_time: int | None
    last_joined: int | None
    remembered: int  # predictions kept for their labels
    labelled: int  # of these, how many have one
    accepted: int  # records of predictions among the most recent that could be used
    rejected: int  # and those that could not


@dataclass(frozen=True, slots=True)
class Closed:
    """What a partition has for the panes below `before` that were not closed already."""

    partition: int
    before: int
    detected: Entries
    shown: Entries
    offsets: tuple[tuple[str, Ranges], ...]  # by topic
    versions: tuple[str, ...]  # names of the partition's codes of versions
    facts: Facts
    piece: int = 0  # of a single pane that comes in several
    pieces: int = 1

    @property
    def bytes(self) -> int:
        """Memory that it takes, about."""
        return ENTRY_BYTES * (len(self.detected) + len(self.shown))

    @property
    def span(self) -> tuple[int, int]:
        """First and last pane that holds something."""
        panes = np.concatenate([self.detected.pane, self.shown.pane])
        return int(panes.min()), int(panes.max())

    def cut(self, entries: int) -> tuple["Closed", ...]:
        """A single pane in pieces of at most so many entries of either kind."""
        most = max(len(self.detected), len(self.shown))
        parts = [slice(at, at + entries) for at in range(0, most, entries)]
        return tuple(
            replace(
                self,
                detected=self.detected.take(part),
                shown=self.shown.take(part),
                offsets=self.offsets if piece == 0 else (),
                piece=piece,
                pieces=len(parts),
            )
            for piece, part in enumerate(parts)
        )

    def split(self, pane: int) -> tuple["Closed", "Closed"]:
        """The panes below that one, and the others."""
        early, late = (
            replace(
                self,
                detected=self.detected.take(self.detected.pane < pane),
                shown=self.shown.take(self.shown.pane < pane),
                offsets=tuple((t, r.take(r.number < pane)) for t, r in self.offsets),
                before=pane,
            ),
            replace(
                self,
                detected=self.detected.take(self.detected.pane >= pane),
                shown=self.shown.take(self.shown.pane >= pane),
                offsets=tuple((t, r.take(r.number >= pane)) for t, r in self.offsets),
            ),
        )
        return early, late


def joined(pieces: Sequence[Closed]) -> Closed:
    """The pane that was cut into these."""
    return replace(
        pieces[0],
        detected=summed([p.detected for p in pieces]),
        shown=summed([p.shown for p in pieces]),
        piece=0,
        pieces=1,
    )


def earliest(times: Sequence[int | None]) -> int | None:
    """The smallest that is known."""
    return min((t for t in times if t is not None), default=None)


def latest(times: Sequence[int | None]) -> int | None:
    """The largest that is known."""
    return max((t for t in times if t is not None), default=None)
