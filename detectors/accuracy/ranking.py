"""Probabilities in fixed cells, and what the counts of positives and negatives there tell."""

import math
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from detectors import exact
from detectors.sketch import Counts

CALIBRATION_BINS = 10
_BLOCKS = 16  # into how many blocks the positives of a cell are cut to average their precision


class ScoreGrid:
    """Cells that cut [0, 1]: some hold one value, the others are intervals.

    Each hundredth has a cell of its own, since scores that are rounded, or certain, pile up there:
    the order within such a cell is known (there is none). The intervals between them are cut again
    at `per_octave` equal steps between a power of two and the next, from one half down to
    2**-(octaves + 1) and the same mirrored towards 1, so that scores that crowd near 0 or 1 still
    resolve: a cell is never wider than its distance from there over `per_octave`. The ten bins of
    the calibration error are unions of cells. All edges are the same numbers on every machine.

    Negatives and positives are (cells,) counts of the rows of either class, lowest scores first.
    """

    def __init__(self, per_octave: int, octaves: int) -> None:
        hundredths = np.array([k / 100 for k in range(101)])
        low = np.array(
            [
                (1.0 + step / per_octave) / 2.0 ** (octave + 1)
                for octave in range(1, octaves + 1)
                for step in range(per_octave)
            ]
        )
        after = np.nextafter(hundredths, 2.0)[:-1]
        starts = np.unique(np.concatenate([hundredths, after, low, 1.0 - low]))
        tenths = np.array([k / CALIBRATION_BINS for k in range(1, CALIBRATION_BINS)])
        self.cells = len(starts)
        self.edges: NDArray[np.float64] = starts[1:]
        self.interval: NDArray[np.bool_] = ~np.isin(starts, hundredths)
        self.calibration_bin = np.searchsorted(tenths, starts, side="right").astype(np.int64)

    def cell(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """The cell of each score in [0, 1], same shape."""
        return np.searchsorted(self.edges, scores, side="right").astype(np.int64)

    def roc_auc(self, negatives: Counts, positives: Counts) -> float | None:
        """Area under the ROC curve; None where one class is missing.

        The share of pairs (positive, negative) in the right order (Mann and Whitney, 1947), those
        of one cell counted half.
        """
        pairs = _pairs(negatives, positives)
        below = accumulate(negatives.tolist(), initial=0)
        twice = sum(
            p * (2 * b + n)
            for p, n, b in zip(positives.tolist(), negatives.tolist(), below, strict=False)
        )
        return twice / (2 * pairs) if pairs else None

    def roc_auc_error(self, negatives: Counts, positives: Counts) -> float | None:
        """How far `roc_auc` can be from that of the scores themselves.

        Only the order within an interval is unknown: half the share of pairs that lie in the same.
        """
        pairs = _pairs(negatives, positives)
        n, p = negatives[self.interval].tolist(), positives[self.interval].tolist()
        same = sum(a * b for a, b in zip(n, p, strict=True))
        return same / (2 * pairs) if pairs else None

    def average_precision(self, negatives: Counts, positives: Counts) -> float:
        """Mean over positives of the precision at their score; 0 without positives.

        That is scikit-learn's sum of steps in recall times precision. The positives of a
        single-value cell share one threshold. Those of an interval are taken to be evenly spread
        among its negatives: the j-th of p has j n / (p + 1) of the n before it.
        """
        terms, total = self._precisions(negatives, positives)[0], int(positives.sum())
        return math.fsum(terms.tolist()) / total if total else 0.0

    def average_precision_error(self, negatives: Counts, positives: Counts) -> float:
        """How far `average_precision` can be from that of the scores themselves.

        Let an interval hold p positives and n negatives, and the cells above it T and F. At best
        its positives come first and together, each at precision (T + p) / (T + p + F). At worst
        they come last and one by one, at (T + j) / (T + j + a) with a = F + n. As 1 / x is convex,
        these sum to at least p - a log((T + a + p + 1/2) / (T + a + 1/2)).
        """
        terms, p, n, above, false = self._precisions(negatives, positives)
        best = p * (above + p) / (above + p + false)
        after = above + false + n + 0.5
        worst = p - (false + n) * exact.log((after + p) / after)
        interval = self.interval[::-1][positives[::-1] > 0]
        up = math.fsum((best - terms)[interval].tolist())
        down = math.fsum((terms - worst)[interval].tolist())
        total = int(positives.sum())
        return max(up, down) / total if total else 0.0

    def _precisions(self, negatives: Counts, positives: Counts) -> tuple[NDArray[np.float64], ...]:
        """Of each cell with positives, highest first: the sum of the precisions at its positives.

        And what it comes from: p, n, T and F as in `average_precision_error`.
        """
        filled = positives[::-1] > 0
        p, n = (counts[::-1][filled].astype(np.float64) for counts in (positives, negatives))
        true, false = (
            (counts[::-1].cumsum() - counts[::-1])[filled].astype(np.float64)
            for counts in (positives, negatives)
        )
        single = ~self.interval[::-1][filled]
        # Up to 16 positives of an interval are taken one by one, more of them in 16 blocks, each at
        # the place of its middle. Those of a single value all have the place of the last.
        blocks = np.where(single, 1.0, np.minimum(p, _BLOCKS))
        block = np.arange(_BLOCKS)[:, np.newaxis]
        middle = (block + 0.5) * (p / blocks) + 0.5
        place = np.where(single, p, middle)
        before = np.where(single, n, middle * (n / (p + 1.0)))
        precision = (true + place) / (true + place + false + before)
        terms = np.where(block < blocks, precision, 0.0).sum(axis=0) * (p / blocks)
        return terms, p, n, true, false


def calibration_error(sums: Counts, positives: Counts, count: int) -> float:
    """Expected calibration error over `count` > 0 rows in equal bins of probability.

    sum over bins of |sum of probabilities - positives| / count, which is the usual mean of
    |mean probability - share of positives| weighted by the bins' sizes (Naeini, Cooper and
    Hauskrecht, 2015). Bins are [k/10, (k+1)/10), the last one closed.

    Parameters
    ----------
    sums : (bins, exact.LIMBS) digits of the sums of probabilities
    positives : (bins,) counts
    """
    gap = 0
    for digits, positive in zip(sums, positives.tolist(), strict=True):
        gap += abs(exact.units(digits) - int(positive) * exact.UNIT)
    return gap / (count * exact.UNIT)


def _pairs(negatives: Counts, positives: Counts) -> int:
    return int(negatives.sum()) * int(positives.sum())
