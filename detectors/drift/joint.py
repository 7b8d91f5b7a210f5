"""Drift of the joint structure: features depend on each other in another way than before.

Each pair of features has cells of its own (`detectors.pairs`), p_ab in the reference. Alternatives
change the correlation of the cells' normal scores s_a, s_b and leave both margins as they are:

    q_ab = p_ab exp(theta s_a s_b) u_a v_b,    theta = rho'/(1 - rho'^2) - rho/(1 - rho^2),

with u and v such that q has the margins of p (iterative proportional fitting: Deming and Stephan,
1940). The exponent is that of a bivariate normal pair whose correlation goes from rho to rho'.

Fixed cells see a move of both features, or of one of a dependent pair, as a change of dependence
too. That is for the features' own streams to say. So for each feature of a pair a CUSUM (Page,
1954) is kept of the evidence that it has moved. While it is above MOVED the pair says nothing, and
in the pane in which it gets there evidence may fall but not rise. The promise does not depend on
this rule: what is known before a pane may silence it, and min(e, 1) <= e.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors import measures
from detectors.batch import Batch
from detectors.cells import InputCells
from detectors.dependence import FEWEST_INDEPENDENT
from detectors.evidence import PaneRun, Source, Stream
from detectors.pairs import (
    CELLS,
    WIDTH,
    JointProfile,
    coarse_codes,
    correlations,
    padded,
    pair_counts,
    smoothed,
    tilted,
)
from detectors.profile import Profile
from detectors.ratio import BLEND, SCALE, cell_scores, shifted, table, usable
from detectors.sketch import Contributions, Counts

Floats = NDArray[np.float64]

# Alternatives and their relative shares: changes of atanh(correlation), either way.
CHANGES = {0.15: 0.25, 0.35: 0.5, 0.8: 0.25}
IMMATERIAL = 0.02  # change of atanh(correlation) that does not count
MOVES = (  # shifts and scales, in normal scores, that tell that a feature has itself moved
    *((sign * s, 1.0) for s in (0.3, 0.7, 1.5) for sign in (-1.0, 1.0)),
    *((0.0, s) for s in (0.8, 1.25)),
)
MOVED = 8.0  # nats of evidence above which it has
KEPT = 32.0  # nats of it at most: a small move must not let the pair speak now and then

Self = TypeVar("Self", bound="JointDrift")


class JointCells:
    """Counts of each watched pair of numeric features; a row that lacks either is left out."""

    def __init__(self, profile: Profile, joint: JointProfile) -> None:
        names = [f.name for f in profile.schema.numeric]
        self.names = tuple(f"{names[i]} x {names[j]}" for i, j in joint.pairs)
        self.reference = np.array(joint.counts, dtype=np.int64).reshape(-1, CELLS)
        watched = sorted({i for pair in joint.pairs for i in pair})
        self._columns = np.array(watched)
        self._edges = padded([joint.edges[i] for i in watched])
        self._pairs = np.searchsorted(watched, np.array(joint.pairs))
        self.size = self.reference.size
        whole = smoothed(self.reference)
        self._scores = np.array(
            [[cell_scores(p.sum(axis=1)), cell_scores(p.sum(axis=0))] for p in whole]
        )

    def contributions(self, rows: Batch) -> Contributions:
        """One for each row and pair of which it has both values."""
        codes = self._codes(rows).T
        first, second = codes[:, self._pairs[:, 0]], codes[:, self._pairs[:, 1]]
        cell = (np.arange(len(self._pairs)) * CELLS) + (first * np.uint8(WIDTH) + second)
        there = (first < WIDTH) & (second < WIDTH)
        row = np.repeat(np.arange(len(rows)), there.sum(axis=1))
        return Contributions(row, cell[there], np.ones(len(row), dtype=np.int64))

    def counts(self, batch: Batch) -> Counts:
        """State of many rows of one pane, the quick way: equal to folding `contributions`."""
        return pair_counts(self._codes(batch), self._pairs).ravel()

    def correlations(self, counts: Counts) -> tuple[Floats, Floats]:
        """Correlation of normal scores (pairs,), of these counts and of the reference."""
        now = counts.reshape(-1, CELLS)
        return correlations(now, self._scores), correlations(self.reference, self._scores)

    def distances(self, counts: Counts) -> dict[str, float]:
        """PSI and Jensen-Shannon distance of the pair that differs most; {} without a row."""
        pairs = list(zip(self.reference, counts.reshape(-1, CELLS), strict=True))
        seen = [(reference, now) for reference, now in pairs if now.any()]
        if not seen:
            return {}
        return {
            "psi": max(measures.psi(*pair) for pair in seen),
            "js": max(measures.js(*pair) for pair in seen),
        }

    def _codes(self, batch: Batch) -> NDArray[np.uint8]:
        values = batch.numeric
        if len(self._columns) < values.shape[1]:
            values = values[:, self._columns]
        return coarse_codes(self._edges, values)


class JointDrift:
    """Has the dependence between the numeric features changed, though they may not have moved?

    For each watched pair the correlation's inverse hyperbolic tangent changes by .15, .35 or .8
    either way. Pairs of which a feature has itself moved are left to that feature's stream.

    `tables` (pairs, CELLS, alternatives of a pair) is the evidence of an event, `moves` (pairs, 2,
    WIDTH, len(MOVES)) that of either feature's having moved, nats times SCALE.
    """

    source: Source = "joint"

    def __init__(self, profile: Profile, joint: JointProfile) -> None:
        whole = smoothed(np.array(joint.counts, dtype=np.int64).reshape(-1, CELLS))
        rows = np.array(joint.counts).sum(axis=1, keepdims=True)
        # Serial dependence makes the reference worth fewer events.
        dispersion = profile.dispersion("joint_drift/joint", len(whole) * 2 * len(CHANGES))
        sizes = rows / dispersion.reshape(len(whole), -1)
        made = [_tables(p, size) for p, size in zip(whole, sizes, strict=True)]
        self.tables = np.array([evidence for evidence, _ in made])
        tempers = [[joint.tempers[i] for i in pair] for pair in joint.pairs]
        self.moves = np.array([_moves(p, t) for p, t in zip(whole, tempers, strict=True)])
        names = np.array(JointCells(profile, joint).names)
        self.stream = Stream(
            "joint_drift",
            "joint",
            "drift",
            "ticket",
            len(joint.pairs) * self.tables.shape[2],
            shares=tuple(np.concatenate([share for _, share in made]).tolist()),
            parts=tuple(np.repeat(names, self.tables.shape[2]).tolist()),
        )

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["JointDrift"]:
        """One, where the profile has pairs."""
        return [] if profile.joint is None else [cls(profile, profile.joint)]

    def tempered(self: Self, temper: Floats) -> Self:
        """The same question with each alternative's evidence divided by `temper` (a,)."""
        if (temper <= 1.0).all():
            return self
        other: Self = object.__new__(type(self))
        pairs, _, alternatives = self.tables.shape
        divided = self.tables / temper.reshape(pairs, 1, alternatives)
        other.tables = np.floor(divided).astype(np.int64)
        other.moves = self.moves
        other.stream = replace(self.stream, basis="calibrated")
        return other

    def per_event(self, made: Contributions, time: NDArray[np.int64]) -> Floats:
        """Evidence (n, a) of the n rows, nats; an alternative has none where its pair lacks one.

        Parameters
        ----------
        made
            What rows add to the section.
        time
            (rows,) their event times, milliseconds.
        """
        pairs, _, alternatives = self.tables.shape
        evidence = np.zeros((len(time), pairs, alternatives))
        pair, cell = made.cell // CELLS, made.cell % CELLS
        evidence[made.row, pair] = self.tables[pair, cell] / SCALE
        return evidence.reshape(len(time), -1)

    def start(self) -> Counts:
        """No feature has moved: evidence (pairs, 2, len(MOVES)) that it has, nats times SCALE."""
        return np.zeros((len(self.moves), 2, len(MOVES)), dtype=np.int64)

    def step(self, memory: Counts, run: PaneRun) -> tuple[Counts, Floats]:
        """Sums over cells of count times evidence, exact in integers; see the module."""
        panes, pairs = len(run), len(self.tables)
        counts = run.sections[self.source].reshape(panes, pairs, WIDTH, WIDTH)
        flat = counts.reshape(panes, pairs, CELLS)
        evidence = np.einsum("kpc,pca->kpa", flat, self.tables)
        margins = np.stack([counts.sum(axis=3), counts.sum(axis=2)], axis=2)
        brought = np.einsum("kpsi,psim->kpsm", margins, self.moves)
        level, most = int(MOVED * SCALE), int(KEPT * SCALE)
        for pane, new in zip(evidence, brought, strict=True):
            pane[memory.max(axis=(1, 2)) > level] = 0
            memory = np.clip(memory + new, 0, most)
            moved = np.flatnonzero(memory.max(axis=(1, 2)) > level)
            pane[moved] = np.minimum(pane[moved], 0)
        return memory, evidence.reshape(panes, self.stream.alternatives) / SCALE


def _tables(p: Floats, sizes: Floats) -> tuple[Counts, Floats]:
    """Evidence (CELLS, alternatives) of an event in each cell of a pair, and their shares.

    `sizes` is how many independent events the reference is worth, to each alternative.
    """
    changes = np.array([sign * c for c in CHANGES for sign in (1.0, -1.0)])
    share = np.repeat(list(CHANGES.values()), 2) / 2
    evidence = np.zeros((WIDTH, WIDTH, len(changes)), dtype=np.int64)
    rows, columns = np.flatnonzero(p.any(axis=1)), np.flatnonzero(p.any(axis=0))
    if len(rows) < 2 or len(columns) < 2:
        return evidence.reshape(CELLS, -1), np.zeros(len(changes))
    there = p[np.ix_(rows, columns)]
    alternatives = tilted(there, changes).reshape(len(changes), -1)
    immaterial = tilted(there, np.array([-IMMATERIAL, 0.0, IMMATERIAL])).reshape(3, -1)
    made = table(there.ravel(), alternatives, sizes, immaterial)
    known = (sizes >= FEWEST_INDEPENDENT) & usable(there.ravel(), alternatives, made)
    evidence[np.ix_(rows, columns)] = made.reshape(len(rows), len(columns), -1)
    return evidence.reshape(CELLS, -1), np.where(known, share, 0.0)


def _moves(p: Floats, tempers: list[float]) -> Counts:
    """Evidence (2, WIDTH, len(MOVES)) of either feature's having moved."""
    made = np.zeros((2, WIDTH, len(MOVES)), dtype=np.int64)
    for side, temper in enumerate(tempers):
        margin = p.sum(axis=1 - side)
        there = margin[margin > 0]
        if len(there) < 2:
            continue
        moved = np.array([shifted(there, *move) for move in MOVES])
        ratio = ((1 - BLEND) * moved + BLEND * there) / there
        made[side, margin > 0] = np.floor(np.log(ratio).T / temper * SCALE)
    return made
