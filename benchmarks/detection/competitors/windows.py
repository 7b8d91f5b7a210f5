"""Rules that practitioners write, and the alarm clock that anything must beat.

The two rules judge windows of WINDOW events against a reference, one after the other.
"""

import numpy as np
from scipy.stats import kstwo

from benchmarks.detection.competitors.knobs import competitor, level, scale
from benchmarks.detection.field import Rule
from benchmarks.detection.streams import Floats

WINDOW = 1_000
PSI_LIMIT = 0.2
KS_LEVEL = 0.05
DECILES = np.arange(0.1, 0.95, 0.1)
LEAST = 1e-4  # the usual stand-in for the share of an empty cell


def psi(reference: Floats, limit: float | None = None) -> Rule:
    """Windows whose population stability index over the reference's deciles exceeds a limit."""
    most = PSI_LIMIT if limit is None else limit
    two_values = len(np.unique(reference)) <= 2
    edges = np.array([0.5]) if two_values else np.quantile(reference, DECILES)
    cells = len(edges) + 1
    p = np.bincount(np.searchsorted(edges, reference, "right"), minlength=cells) / len(reference)
    p = np.maximum(p, LEAST)

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        codes = np.searchsorted(edges, _windows(values), "right")
        q = np.stack([(codes == c).mean(axis=1) for c in range(cells)], axis=1)
        q = np.maximum(q, LEAST)
        return _ends(((q - p) * np.log(q / p)).sum(axis=1) > most, stop_after)

    return run


def kolmogorov_smirnov(reference: Floats, at: float | None = None) -> Rule:
    """Windows that a two-sample Kolmogorov-Smirnov test tells from the reference at that level."""
    ordered, n = np.sort(reference), len(reference)
    limit = _distance(KS_LEVEL if at is None else at, round(n * WINDOW / (n + WINDOW)))
    steps = np.arange(WINDOW + 1) / WINDOW

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        windows = np.sort(_windows(values), axis=1)
        below = np.searchsorted(ordered, windows, "left") / n
        upto = np.searchsorted(ordered, windows, "right") / n
        distance = np.maximum((steps[1:] - below).max(axis=1), (upto - steps[:-1]).max(axis=1))
        return _ends(distance > limit, stop_after)

    return run


def every(period: int, phase: int = 0) -> Rule:
    """An alarm every `period` events, whatever they are."""

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        return _upto(list(range(period - phase, len(values) + 1, period)), stop_after)

    return run


def _distance(p: float, n: int) -> float:
    """The distance that a sample of n exceeds with chance p."""
    if p > 1e-6:
        return float(kstwo.isf(p, n))
    return float(np.sqrt(np.log(2 / p) / (2 * n)))  # first term of Kolmogorov's series


def _windows(values: Floats) -> Floats:
    k = len(values) // WINDOW
    return values[: k * WINDOW].reshape(k, WINDOW)


def _ends(rings: np.ndarray, stop_after: int | None) -> list[int]:
    return _upto(((np.flatnonzero(rings) + 1) * WINDOW).tolist(), stop_after)


def _upto(ends: list[int], stop_after: int | None) -> list[int]:
    late = [e for e in ends if stop_after is not None and e > stop_after]
    return [e for e in ends if not late or e <= late[0]]


RULES = (
    competitor("PSI > 0.2", psi, scale("limit", 1e-3, 10.0)),
    competitor("KS p < .05", kolmogorov_smirnov, level("p below"), units=("numeric",)),
)
