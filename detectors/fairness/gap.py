"""Fairness: has the gap between a group and the rest widened since the model was approved?"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.cells import InputCells
from detectors.evidence import PaneRun, RatioDetector, Source, Stream
from detectors.fairness.contingency import LARGEST_GAP, closest, slopes
from detectors.fairness.groups import AttributeProfile, ByGroup, GroupCells, SelectionCells
from detectors.profile import Profile
from detectors.ratio import SCALE, rate_limit
from detectors.sketch import Contributions, Counts

Floats = NDArray[np.float64]

FEWEST_REFERENCE = 200  # rows of the reference that a group needs to be compared
IMMATERIAL = 0.02  # change of a gap that does not count
BEYOND = (0.05, 0.1, 0.2, 0.4)  # alternatives: gaps that lie so far beyond the null, either way
BLOCK = 8  # rows of the group, and of the rest, that evidence is taken from at once
RECENT = 2000  # rows that tell at what level the rates lie


@dataclass(frozen=True, slots=True)
class GapMemory:
    """Rows, and how many of them were events, of c groups; the first is the one watched."""

    waiting: Counts  # (2, c) rows and events in panes since the last block
    recent: Counts  # (2, 2) rows and events of blocks, halved again and again: group, rest


class Gap:
    """Does a rate of one group differ more from that of the rest than in the reference?

    E-values of `detectors.fairness.contingency` on blocks of panes, long enough to hold BLOCK rows
    of either side. The null holds every pair of rates with a gap as in the reference, to the
    accuracy of the reference and to IMMATERIAL: a change that hits all groups alike is part of it.
    The reference's gap is that of its groups in the mix of the block at hand, so that another mix
    of the groups is no change either. Alternatives have a gap BEYOND and are, with that gap,
    closest to the rates of the blocks before.

    Parameters
    ----------
    attribute, number
        The attribute's reference, and which of the attributes it is.
    compared
        (c,) groups that are compared; the first is the one watched.
    profile
        What it says of the serial dependence of this stream: the reference is worth fewer rows.
    """

    detector: ClassVar[str]
    source: ClassVar[Source]
    # What a row in each cell of a group counts as, by the number of cells: 1 an event, 0 none, -1
    # not at all.
    counted: ClassVar[dict[int, tuple[int, ...]]]

    def __init__(
        self,
        cells: ByGroup,
        attribute: AttributeProfile,
        number: int,
        compared: Sequence[int],
        profile: Profile,
    ) -> None:
        target = f"{attribute.name}={attribute.groups[compared[0]]}"
        alternatives = 2 * len(BEYOND)
        self.stream = Stream(self.detector, target, "fairness", "page", alternatives)
        dispersion = profile.dispersion(f"{self.detector}/{target}", alternatives).max()
        start = int(cells.starts[number])
        own = start + np.array(compared)[:, None] * cells.width
        self.cells = own + np.arange(cells.width)  # (c, width)
        self._kind = np.array(self.counted[cells.width])
        reference = np.zeros(cells.size, dtype=np.int64)
        cells.attribute(reference, number)[:] = self.counts_of(attribute)
        self._reference = self._tally(reference[None])[0]
        rows, events = self._reference
        self._rate = events / rows
        worth = zip(events / dispersion, rows / dispersion, strict=True)
        limits = np.array([[rate_limit(y, n, upper) for upper in (False, True)] for y, n in worth])
        self._below, self._above = self._rate - limits[:, 0], limits[:, 1] - self._rate
        self._temper = np.ones(alternatives)

    @classmethod
    def counts_of(cls, attribute: AttributeProfile) -> tuple[tuple[int, ...], ...]:
        """The reference's counts in the cells of each group; none where it has no such counts."""
        return attribute.selected if cls.source == "selection" else attribute.outcomes

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["Gap"]:
        """One for each group with enough reference rows; of two groups the smaller one."""
        schema = profile.schema
        found: list[Gap] = []
        for number, attribute in enumerate(profile.fairness):
            counts = np.array(cls.counts_of(attribute), dtype=np.int64)
            kinds = cls.counted.get(counts.shape[-1]) if counts.ndim == 2 else None
            if kinds is None:
                continue
            rows = counts[:, np.array(kinds) >= 0].sum(axis=1)
            enough = np.flatnonzero(rows >= FEWEST_REFERENCE).tolist()
            # Two groups have one gap between them.
            watched = enough if len(enough) > 2 else sorted(enough, key=lambda g: rows[g])[:1]
            layout = SelectionCells(schema) if cls.source == "selection" else GroupCells(schema)
            for group in watched if len(enough) > 1 else []:
                rest = [g for g in enough if g != group]
                found.append(cls(layout, attribute, number, [group, *rest], profile))
        return found

    def tempered(self, temper: Floats) -> "Gap":
        """The same question with each alternative's evidence divided by `temper` (a,)."""
        if (temper <= 1.0).all():
            return self
        made = copy(self)
        made.stream = replace(self.stream, basis="calibrated")
        made._temper = temper
        return made

    def start(self) -> GapMemory:
        """No block yet; the level is the reference's."""
        recent = np.stack([self._reference[:, 0], self._reference[:, 1:].sum(axis=1)], axis=1)
        return GapMemory(np.zeros_like(self._reference), _halved(recent))

    def step(self, memory: GapMemory, run: PaneRun) -> tuple[GapMemory, Floats]:
        """Log e-values (k, a): of a block in the pane that completes it, else 0."""
        evidence = np.zeros((len(run), self.stream.alternatives))
        if not len(run):
            return memory, evidence
        counts = memory.waiting + np.cumsum(self._tally(run.sections[self.source]), axis=0)
        ends = _complete(counts[:, 0, 0], counts[:, 0, 1:].sum(axis=1))
        before = np.concatenate([np.zeros_like(counts[:1]), counts[ends]])
        blocks = np.diff(before, axis=0)
        sides = np.stack([blocks[:, :, 0], blocks[:, :, 1:].sum(axis=2)], axis=2)
        recent = memory.recent
        known = np.empty((len(ends), 2, 2), dtype=np.int64)
        for i, side in enumerate(sides):
            known[i] = recent
            recent = _halved(recent + side)
        if ends:
            evidence[ends] = self._log_e(blocks, sides, known) / self._temper
        return GapMemory(counts[-1] - before[-1], recent), evidence

    def per_event(self, made: Contributions, time: NDArray[np.int64]) -> Floats:
        """Evidence (n, a) of rows of the reference, in their order and less their group's mean.

        As of a block with the reference's mix and rates; nats. See `RatioDetector.per_event`.
        """
        sides = np.stack([self._reference[:, 0], self._reference[:, 1:].sum(axis=1)], axis=1)
        _, rates = self._rates(self._reference[None], sides[None], self.start().recent[None])
        group, rest = (event[0] - none[0] for none, event in rates)
        weights = [group, *[rest] * (len(self._rate) - 1)]
        there = np.flatnonzero(self._kind >= 0)
        table = np.array(
            [
                np.floor((kind - rate) * weight * SCALE)
                for rate, weight in zip(self._rate, weights, strict=True)
                for kind in self._kind[there]
            ],
            dtype=np.int64,
        )
        cells = self.cells[:, there].ravel()
        return RatioDetector(self.stream, self.source, cells, table).per_event(made, time)

    def effect(self, counts: Counts) -> tuple[float, float]:
        """The gap in some cells of the section (size,), and the reference's in their mix."""
        rows, events = self._tally(counts[None])[0]
        if not rows[0] or not rows[1:].sum():
            return 0.0, 0.0
        gap = events[0] / rows[0] - events[1:].sum() / rows[1:].sum()
        return float(gap), float(self._gap(rows[None, 1:] / rows[1:].sum())[0])

    def _tally(self, section: Counts) -> Counts:
        """Rows and events of each compared group: (k, 2, c)."""
        counts = section[:, self.cells]
        rows = counts[:, :, self._kind >= 0].sum(axis=2)
        return np.stack([rows, counts[:, :, self._kind == 1].sum(axis=2)], axis=1)

    def _gap(self, mix: Floats) -> Floats:
        """The reference's gap (k,) in mixes (k, c - 1) of the other groups."""
        return np.asarray(self._rate[0] - _sum(mix * self._rate[1:]))

    def _log_e(self, blocks: Counts, sides: Counts, known: Counts) -> Floats:
        told, rates = self._rates(blocks, sides, known)
        log_e = np.zeros(told.shape)
        for side, (none, event) in enumerate(rates):
            rows, events = sides[:, 0, side, None], sides[:, 1, side, None]
            log_e += (rows - events) * none + events * event
        return np.where(told, log_e, 0.0)

    def _rates(
        self, blocks: Counts, sides: Counts, known: Counts
    ) -> tuple[NDArray[np.bool_], list[tuple[Floats, Floats]]]:
        """Evidence of a row, no event and event, of the group and of the rest: (k, a) each.

        blocks: (k, 2, c) rows and events by group, of which only the rows matter. sides, known:
        (k, 2, 2) the same of the group and the rest, in the blocks and before them. The limits are
        those of a sum of rates by the method of variance estimates recovery (Zou and Donner, 2008)
        from their Wilson limits. Also says which alternatives there are.
        """
        rows = sides[:, 0].astype(np.float64)
        mix = blocks[:, 0, 1:] / rows[:, 1:]
        gap = self._gap(mix)
        below = np.sqrt(self._below[0] ** 2 + _sum((mix * self._above[1:]) ** 2))
        above = np.sqrt(self._above[0] ** 2 + _sum((mix * self._below[1:]) ** 2))
        beyond = np.array(BEYOND)
        low = gap - np.maximum(below, IMMATERIAL)
        high = gap + np.maximum(above, IMMATERIAL)
        edge = np.repeat(np.stack([high, low], axis=1), len(BEYOND), axis=1)
        wanted = edge + np.concatenate([beyond, -beyond])
        told = np.abs(wanted) <= LARGEST_GAP
        edge, wanted = (np.clip(g, -LARGEST_GAP, LARGEST_GAP) for g in (edge, wanted))
        share = (known[:, 0, :1] + 1) / (known[:, 0].sum(axis=1, keepdims=True) + 2)
        level = (known[:, 1] + 0.5) / (known[:, 0] + 1)
        q = closest(share, level[:, :1], level[:, 1:], wanted)
        p = closest(rows[:, :1] / rows.sum(axis=1, keepdims=True), *q, edge)
        return told, [slopes(*pair) for pair in zip(q, p, strict=True)]


class SelectionGap(Gap):
    """Binary: the share of positive predictions. It needs no labels."""

    detector, source, counted = "selection_gap", "selection", {2: (0, 1)}


class ErrorGap(Gap):
    """Classification: the share of wrong predictions among joined rows."""

    detector, source, counted = "error_gap", "groups", {4: (0, 1, 1, 0), 2: (0, 1)}


class OpportunityGap(Gap):
    """Binary: the share of positive predictions among rows labelled positive (the recall)."""

    detector, source, counted = "opportunity_gap", "groups", {4: (-1, -1, 0, 1)}


def _complete(group: Counts, rest: Counts) -> list[int]:
    """Panes that complete a block, from rows so far (k,): BLOCK of either side since the last."""
    ends, done, done_rest = [], 0, 0
    for i, (n, m) in enumerate(zip(group.tolist(), rest.tolist(), strict=True)):
        if min(n - done, m - done_rest) >= BLOCK:
            ends.append(i)
            done, done_rest = n, m
    return ends


def _halved(recent: Counts) -> Counts:
    """Counts of at most RECENT rows."""
    while int(recent[0].sum()) > RECENT:
        recent = recent // 2
    return recent


def _sum(values: Floats) -> Floats:
    """Sum over the last axis, in order: the same however many panes there are at once."""
    return np.asarray(np.cumsum(values, axis=1)[:, -1])
