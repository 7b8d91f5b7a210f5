"""river's KSWIN, a chunk of events at a time.

KSWIN (Raab, Heusinger and Schleif, 2020) compares at each event the newest 30 of 100 values with 30
drawn from the other 70. river does that with a Python list and a call of scipy: nearly a
millisecond. Here the same draws are made, many events are compared at once and the p-value is
looked up, since there are only 31 of them. The alarms are the same (tested).
"""

import random
import warnings
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import ks_2samp

from benchmarks.detection.field import Rule
from benchmarks.detection.streams import Floats

WINDOW, NEWEST = 100, 30  # river's defaults, as the next two
ALPHA = 0.005
LEAST = 3  # of NEWEST: a distance of no more never rings
SEED = 1
CHUNK, SHORTEST = 4_096, 128  # events compared at once; the latter after an alarm


class _Draws:
    """The positions that river's generator draws after a start, made as they are needed."""

    def __init__(self) -> None:
        self._random = random.Random(SEED)
        self._made = np.empty((0, NEWEST), dtype=np.int64)

    def upto(self, n: int) -> np.ndarray:
        """The first n draws (n, NEWEST)."""
        if n > len(self._made):
            missing = max(n - len(self._made), CHUNK)
            older = range(WINDOW - NEWEST)
            new = [self._random.sample(older, NEWEST) for _ in range(missing)]
            self._made = np.concatenate([self._made, np.array(new)])
        return self._made[:n]


_draws = _Draws()


@cache
def p_values() -> Floats:
    """p (NEWEST + 1,) of a distance of k/NEWEST between two samples of that size."""
    values = np.arange(float(NEWEST))
    with warnings.catch_warnings():
        # Where the exact p is not to be had, scipy (and so river) takes another, and says so.
        warnings.simplefilter("ignore", category=RuntimeWarning)
        found = [ks_2samp(values, values + k - 0.5).pvalue for k in range(NEWEST + 1)]
    return np.array(found)


def distances(drawn: Floats, newest: Floats) -> np.ndarray:
    """Kolmogorov-Smirnov distance, in units of 1/NEWEST, between the rows of two tables."""
    order = np.argsort(np.concatenate([drawn, newest], axis=1), axis=1)
    return np.abs(np.cumsum(np.where(order < NEWEST, 1, -1), axis=1)).max(axis=1)


def kswin(alpha: float = ALPHA) -> Rule:
    """KSWIN at this level; for values without ties."""
    least = max(int(np.searchsorted(-p_values(), -alpha)), LEAST + 1)

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        found: list[int] = []
        start, at, chunk = 0, WINDOW - 1, CHUNK  # where it began anew; the next event to compare
        while at < len(values):
            stop = min(at + chunk, len(values))
            first = at - WINDOW + 1
            windows = sliding_window_view(values[first:stop], WINDOW)
            draws = _draws.upto(stop - start - WINDOW + 1)[first - start :]
            drawn = np.take_along_axis(windows, draws, axis=1)
            rings = np.flatnonzero(distances(drawn, windows[:, -NEWEST:]) >= least)
            if not len(rings):
                at, chunk = stop, min(2 * chunk, CHUNK)
                continue
            found.append(at + int(rings[0]) + 1)
            if stop_after is not None and found[-1] > stop_after:
                break
            start = found[-1]
            at, chunk = start + WINDOW - 1, SHORTEST
        return found

    return run
