"""Displayed distances between a window and the reference. They are shown, never alarmed on.

All take counts over the same cells. PSI, for one, exceeds 0.1 in a third of windows of 100 events
when nothing has changed, so a threshold on it promises nothing.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64] | NDArray[np.float64]


def _shares(counts: Array) -> NDArray[np.float64]:
    """Cell shares with half an event added to each cell, so that no logarithm is infinite."""
    smoothed = counts + 0.5
    return np.asarray(smoothed / smoothed.sum(), dtype=float)


def psi(reference: Array, current: Array) -> float:
    """Population stability index: sum of (c - r) log(c / r) over cells (Siddiqi, 2006)."""
    r, c = _shares(reference), _shares(current)
    return float(((c - r) * np.log(c / r)).sum())


def js(reference: Array, current: Array) -> float:
    """Jensen-Shannon distance with base 2 logarithms, in [0, 1] (Endres and Schindelin, 2003)."""
    r, c = _shares(reference), _shares(current)
    m = (r + c) / 2
    divergence = (r * np.log2(r / m)).sum() / 2 + (c * np.log2(c / m)).sum() / 2
    return float(np.sqrt(max(divergence, 0.0)))


def ks(reference: Array, current: Array) -> float:
    """Kolmogorov-Smirnov distance at the cell edges: the largest gap between the two cdfs."""
    gap = np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum()
    return float(np.abs(gap).max())


def wasserstein(reference: Array, current: Array, centre: NDArray[np.float64]) -> float:
    """First Wasserstein distance in the column's unit, each cell's mass put at its centre."""
    gap = np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum()
    return float((np.abs(gap[:-1]) * np.diff(centre)).sum())
