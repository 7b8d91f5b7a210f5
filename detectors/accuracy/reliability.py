"""How often what a score announces came true on the labelled reference, as a function of the score.

Scores are counted in up to a hundred cells, so narrow that a drift of the scores alone hardly
changes the rate within one. A cell's few rows would say little about its rate, so that it is
estimated from many cells around, by local logistic regression on the score's log-odds (Loader,
*Local Regression and Likelihood*, 1999): exact for a calibrated model, and for one that is over- or
under-confident.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Schema
from detectors.bins import bin_codes, reference_bins
from detectors.ratio import CONFIDENCE

Floats = NDArray[np.float64]

FEWEST_ROWS = 1_000  # reference rows with score and label below which nothing can be said
LEVELS = np.arange(1, 100) / 100
SPARSE = 0.005  # share of the rows below which a cell is joined with its neighbour
SPANS = (0.3, 0.15, 0.07, 0.03, 0.0)  # shares of the rows for one estimate; 0: the cell alone
CONTRADICTS = 1.5  # standard errors by which a narrower estimate must be off to count
IMMATERIAL = 0.05  # change of the log-odds that does not matter
LARGEST = 14.0  # log-odds that are told from certainty
SLOPES = 10.0  # standard deviation of a slope before any row is seen: keeps a fit finite
NEWTON = 20  # steps, each of at most 1: a fit takes fewer than twelve


@dataclass(frozen=True, slots=True)
class CalibrationProfile:
    """Labelled reference rows by score: f cells between the smallest score and the largest.

    Cell i holds scores in [edges[i], edges[i + 1]), the last one its upper edge too. Scores beyond
    have no cell: the reference does not say what to expect of them.
    """

    edges: tuple[float, ...]  # (f + 1,) ascending
    counts: tuple[tuple[int, int], ...]  # (f, 2) rows in which it did not, and did, come true
    score: tuple[float, ...]  # (f,) mean score

    @property
    def rows(self) -> int:
        """Number of reference rows."""
        return sum(a + b for a, b in self.counts)


@dataclass(frozen=True, slots=True)
class Curve:
    """Reference rate of each cell (f,), and the least and largest one that are no change."""

    rate: Floats
    lower: Floats
    upper: Floats


def came_true(schema: Schema, prediction: Floats, label: Floats) -> NDArray[np.bool_]:
    """What a score is the probability of (n,): binary the positive class, else to be right."""
    return np.equal(label, 1.0 if schema.task == "binary" else prediction)


def calibration_profile(score: Floats, happened: NDArray[np.bool_]) -> CalibrationProfile | None:
    """Reference of scores (n,), NaN where unknown, and of what came true (n,).

    None with fewer than FEWEST_ROWS known scores.
    """
    known = ~np.isnan(score)
    values, n = score[known], int(known.sum())
    if n < FEWEST_ROWS:
        return None
    ordered = np.sort(values)
    kept: list[float] = []
    start = 0
    for edge in reference_bins(ordered, LEVELS).edges.tolist():
        position = int(np.searchsorted(ordered, edge, side="left"))
        if min(position - start, n - position) >= SPARSE * n:
            kept.append(edge)
            start = position
    inner = np.array(kept, dtype=float)
    cell = 2 * bin_codes(inner, values) + happened[known]
    counts = np.bincount(cell, minlength=2 * len(inner) + 2).reshape(-1, 2)
    # Summed in order, so that rows in another order give the same sums to the last bit.
    sums = np.add.reduceat(ordered, np.searchsorted(ordered, [ordered[0], *kept], side="left"))
    mean = np.clip(sums / counts.sum(axis=1), ordered[0], ordered[-1])
    return CalibrationProfile(
        edges=(float(ordered[0]), *kept, float(ordered[-1])),
        counts=tuple((int(a), int(b)) for a, b in counts),
        score=tuple(mean.tolist()),
    )


def curve(reference: CalibrationProfile, dispersion: float = 1.0) -> Curve:
    """The reference's rates with what sampling error and trifles leave open.

    `dispersion` is the variance of sums of its labels, given their scores, relative to independent
    ones.

    No change is any rate that

    - lies within a 99% limit of the estimate over the widest of SPANS, and what the rate varies
      within the cell;
    - or within IMMATERIAL and a 99% limit of the log-odds of all cells together;
    - or between that estimate and the limit of a narrower one, should that contradict it: where
      the log-odds are no smooth function of the score's, the wide one is wrong.
    """
    counts = np.array(reference.counts, dtype=float) / dispersion
    score, edges = log_odds(np.array(reference.score)), log_odds(np.array(reference.edges))
    fit, slope, error = _local_logistic(score, counts, SPANS[0])
    to_edges = slope * np.stack([edges[:-1] - score, edges[1:] - score])
    lower = fit - CONFIDENCE * error + np.minimum(to_edges.min(axis=0), 0.0)
    upper = fit + CONFIDENCE * error + np.maximum(to_edges.max(axis=0), 0.0)
    for span in SPANS[1:]:
        narrow, _, error = _local_logistic(score, counts, span)
        lower = np.minimum(lower, narrow + CONTRADICTS * error)
        upper = np.maximum(upper, narrow - CONTRADICTS * error)
    rate = chance(fit)
    trifle = IMMATERIAL + CONFIDENCE / np.sqrt((counts.sum(axis=1) * rate * (1 - rate)).sum())
    return Curve(
        rate, chance(np.minimum(lower, fit - trifle)), chance(np.maximum(upper, fit + trifle))
    )


def chance(log_odds: Floats) -> Floats:
    """Rates of log-odds, which are cut off at LARGEST: neither 0 nor 1."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -LARGEST, LARGEST))))


def log_odds(rate: Floats) -> Floats:
    """Log-odds of rates, cut off at LARGEST."""
    inside = np.clip(rate, 1e-9, 1 - 1e-9)
    return np.asarray(np.clip(np.log(inside / (1 - inside)), -LARGEST, LARGEST))


def _local_logistic(score: Floats, counts: Floats, span: float) -> tuple[Floats, Floats, Floats]:
    """Log-odds of each cell's rate, how they grow with the score's, and their standard error.

    A logistic curve is fitted, by Newton's method, to the cells whose ranks are nearest to each
    cell's, `span` of all rows for each. Half a row that came true and half a row that did not are
    added to each fit, or a window without either would be taken for certain.

    Parameters
    ----------
    score
        (f,) log-odds of each cell's mean score.
    counts
        (f, 2) rows that did not, and did, come true.
    """
    n = counts.sum(axis=1)
    rank = (np.cumsum(n) - n / 2) / n.sum()
    near = np.abs(rank - np.clip(rank, span / 2, 1 - span / 2)[:, None]) <= span / 2
    np.fill_diagonal(near, True)
    seen = (near * n).sum(axis=1, keepdims=True)
    added = np.where(seen > 0, n / np.maximum(seen, 1e-300), np.eye(len(n)))
    rows, happened = near * (n + added), near * (counts[:, 1] + added / 2)
    mean = (rows * score).sum(axis=1) / rows.sum(axis=1)
    off = score - mean[:, None]

    share = happened.sum(axis=1) / rows.sum(axis=1)
    level, slope = np.log(share / (1 - share)), np.zeros(len(n))
    for _ in range(NEWTON):
        p = chance(level[:, None] + slope[:, None] * off)
        a, b, c = _information(rows * p * (1 - p), off)
        left = happened - rows * p
        up, along = left.sum(axis=1), (left * off).sum(axis=1) - slope / SLOPES**2
        level = level + np.clip((c * up - b * along) / (a * c - b * b), -1.0, 1.0)
        slope = slope + np.clip((a * along - b * up) / (a * c - b * b), -1.0, 1.0)
    p = chance(level[:, None] + slope[:, None] * off)
    a, b, c = _information(rows * p * (1 - p), off)
    own = score - mean
    error = np.sqrt((c - 2 * b * own + a * own**2) / (a * c - b * b))
    return level + slope * own, slope, error


def _information(weight: Floats, off: Floats) -> tuple[Floats, Floats, Floats]:
    """Fisher information (f,) of the levels, mixed, and of the slopes."""
    mixed, slopes = (weight * off).sum(axis=1), (weight * off**2).sum(axis=1)
    return weight.sum(axis=1), mixed, slopes + 1 / SLOPES**2
