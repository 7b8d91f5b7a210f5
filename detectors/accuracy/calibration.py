"""Calibration: does a score still mean what it meant on the labelled reference?

Evidence is the likelihood ratio of a label given its score, so that a drift of the scores alone
brings none: a page is for a model that promises too much or too little.
"""

import numpy as np
from numpy.typing import NDArray

from detectors.accuracy.reliability import (
    CalibrationProfile,
    Curve,
    came_true,
    chance,
    curve,
    log_odds,
)
from detectors.batch import Outcomes, Schema
from detectors.bins import bin_codes
from detectors.cells import InputCells
from detectors.evidence import RatioDetector, Stream
from detectors.profile import Profile, shown_score
from detectors.ratio import SCALE
from detectors.sketch import Contributions, Counts

# Alternatives and their relative shares. Changes of the log-odds, either way; factors of their
# distance from the mean; for each tenth of the scores its log-odds beyond the null, either way.
SHIFTS = {0.2: 0.1, 0.4: 0.15, 0.8: 0.15, 1.6: 0.1}
SLOPES = {0.5: 0.07, 0.67: 0.06, 1.5: 0.06, 2.0: 0.06}
PARTS, BEYOND, PART_SHARE = 10, 1.0, 0.25
LARGEST = 2.0  # change of the log-odds that a slope makes at most
LEAST_GROWTH = 1e-4  # nats an event that an alternative must bring, if it is true, to be bet on


class CalibrationCells:
    """Cells (score, did not or did come true) of joined rows.

    Rows without a score, with one outside the reference's range, and rows taken back (negative
    sign) are left out: the first two say nothing, and a detector never un-sees.
    """

    def __init__(self, schema: Schema, reference: CalibrationProfile) -> None:
        self._schema = schema
        self._edges = np.array(reference.edges)
        self.size = 2 * len(reference.counts)

    def contributions(self, rows: Outcomes) -> Contributions:
        """At most one for each row."""
        score = shown_score(self._schema, rows.score)
        inside = (score >= self._edges[0]) & (score <= self._edges[-1]) & (rows.sign > 0)
        happened = came_true(self._schema, rows.prediction, rows.label)[inside]
        cell = 2 * bin_codes(self._edges[1:-1], score[inside]) + happened
        return Contributions(np.flatnonzero(inside), cell, np.ones(len(cell), dtype=np.int64))


class Calibration(RatioDetector):
    """Is P(label | score), or of a multiclass model P(right | confidence), what it was?

    In each cell of scores the null is an interval of rates (`reliability.curve`), and an
    alternative's rate q is tested against the closest rate r in it: log q/r for a label that came
    true, log (1 - q)/(1 - r) for another. A one-sided Bernoulli likelihood ratio has a mean of at
    most 1 for every rate in the interval, so it has in any mixture of cells: whatever the scores
    do. Where q lies in the interval, nothing is bet.

    Alternatives: all log-odds moved; stretched or narrowed around their mean (over- and
    under-confidence); one tenth of the scores moved beyond the null.
    """

    def __init__(self, reference: CalibrationProfile, dispersion: float = 1.0) -> None:
        n = np.array(reference.counts, dtype=float).sum(axis=1)
        self._curve = curve(reference, dispersion)
        q, shares = _alternatives(n / n.sum(), self._curve)
        null = np.clip(q, self._curve.lower, self._curve.upper)
        fails, happens = np.log((1 - q) / (1 - null)), np.log(q / null)
        growth = ((1 - q) * fails + q * happens) @ (n / n.sum())
        shares = np.where(growth >= LEAST_GROWTH, shares, 0.0)
        both = np.stack([fails, happens], axis=2).reshape(len(q), -1)
        evidence = np.floor(both.T * SCALE).astype(np.int64)
        stream = Stream(
            "calibration", "score", "calibration", "page", len(q), shares=tuple(shares.tolist())
        )
        super().__init__(stream, "calibration", np.arange(len(evidence)), evidence)

    def per_event(self, made: Contributions, time: NDArray[np.int64]) -> NDArray[np.float64]:
        """As `RatioDetector.per_event`, less what is expected of the row's score.

        Scores may depend on one another as they like; only labels, given them, must not.
        """
        rate = np.stack([1 - self._curve.rate, self._curve.rate], axis=1)[:, :, None]
        by_cell = self.table.reshape(len(rate), 2, -1)
        expected = (by_cell * rate).sum(axis=1, keepdims=True)
        centred: Counts = np.rint(by_cell - expected).astype(np.int64).reshape(self.table.shape)
        return RatioDetector(self.stream, self.source, self.cells, centred).per_event(made, time)

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["Calibration"]:
        """One for a classifier with scores and enough labelled reference rows."""
        if profile.calibration is None:
            return []
        dispersion = float(profile.dispersion("calibration/score", 1)[0])
        return [cls(profile.calibration, dispersion)]


def _alternatives(
    share: NDArray[np.float64], reference: Curve
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rates (a, f) of the alternatives, and their shares (a,) of the stream's budget.

    `share` (f,) is the share of the reference's rows in each cell.
    """
    level = log_odds(reference.rate)
    off = level - share @ level
    part = _parts(share)
    shifts = [level + sign * s for s in SHIFTS for sign in (-1.0, 1.0)]
    slopes = [level + np.clip((c - 1) * off, -LARGEST, LARGEST) for c in SLOPES]
    alone = [
        np.where(part == p, beyond, level)
        for p in np.unique(part)
        for beyond in (log_odds(reference.lower) - BEYOND, log_odds(reference.upper) + BEYOND)
    ]
    each = [s / 2 for s in SHIFTS.values() for _ in range(2)]
    shares = [*each, *SLOPES.values(), *(PART_SHARE / len(alone) for _ in alone)]
    return chance(np.array([*shifts, *slopes, *alone])), np.array(shares)


def _parts(share: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which tenth of the reference's scores each cell (f,) is in; `share` of its rows."""
    middle = np.cumsum(share) - share / 2
    return np.minimum(middle * PARTS, PARTS - 1).astype(np.int64)


def calibration_error(reference: CalibrationProfile, counts: Counts) -> float:
    """Expected calibration error of counts (2 f,), over tenths of the reference's scores.

    The mean of |mean score - share that came true|, weighted by rows, each row with the mean score
    of its cell; 0 without rows.
    """
    n = np.array(reference.counts, dtype=float).sum(axis=1)
    seen = counts.reshape(-1, 2)
    off = seen[:, 1] - seen.sum(axis=1) * np.array(reference.score)
    return float(np.abs(np.bincount(_parts(n / n.sum()), off)).sum() / max(int(seen.sum()), 1))
