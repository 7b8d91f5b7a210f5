"""Reference bins of a numeric column.

Bins follow the reference's own quantiles. Real columns are full of repeated values, so a value
that holds a large share of the reference gets a bin of its own: quantile levels that ignore ties
promise probabilities that the data do not have.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LEVELS = np.array(
    [0.002, 0.01, 0.025, *np.arange(0.05, 0.951, 0.05).round(2), 0.975, 0.99, 0.998], dtype=float
)
HEAVY = 0.025  # share of the reference above which a single value gets its own bin
FEWEST = 5  # a bin with fewer reference values is joined with its neighbour


@dataclass(frozen=True, slots=True)
class Bins:
    """Right-open bins (-inf, e0), [e0, e1), ..., [ek, inf) with the reference's counts.

    `centre` is the mean of the reference values in each bin, for distances in the column's unit.
    """

    edges: NDArray[np.float64]  # (k,) strictly increasing
    counts: NDArray[np.int64]  # (k + 1,)
    centre: NDArray[np.float64]  # (k + 1,)

    @property
    def size(self) -> int:
        """Number of bins."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """Number of reference values."""
        return int(self.counts.sum())


def reference_bins(values: NDArray[np.float64], levels: NDArray[np.float64] = LEVELS) -> Bins:
    """Bins of the finite values; NaN is left out. No value at all gives one empty bin."""
    ordered = np.sort(values[np.isfinite(values)])
    n = len(ordered)
    if n == 0:
        return Bins(np.empty(0), np.zeros(1, dtype=np.int64), np.zeros(1))
    distinct, frequency = np.unique(ordered, return_counts=True)
    heavy = distinct[frequency >= max(HEAVY * n, FEWEST)]
    quantiles = ordered[np.minimum((levels * n).astype(np.int64), n - 1)]
    edges = np.unique(np.concatenate([quantiles, heavy, np.nextafter(heavy, np.inf)]))
    edges = _without_sparse(ordered, edges, heavy)
    if len(edges) < 2:
        # Hardly any spread: what lies outside the reference's range has bins of its own.
        edges = np.unique([ordered[0], *edges, np.nextafter(ordered[-1], np.inf)])
    position = np.searchsorted(ordered, edges, side="left")
    bounds = np.concatenate([[0], position, [n]])
    counts = np.diff(bounds).astype(np.int64)
    sums = np.array([ordered[a:b].sum() for a, b in pairwise(bounds)])
    outside = np.where(np.arange(len(counts)) == 0, ordered[0], ordered[-1])
    means = np.clip(sums / np.maximum(counts, 1), ordered[0], ordered[-1])
    centre = np.where(counts > 0, means, outside)
    return Bins(edges, counts, centre)


def _without_sparse(
    ordered: NDArray[np.float64], edges: NDArray[np.float64], heavy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Edges left after joining bins that hold fewer than FEWEST reference values."""
    fixed = set(heavy.tolist())
    kept: list[float] = []
    start = 0
    for edge in edges.tolist():
        position = int(np.searchsorted(ordered, edge, side="left"))
        if position - start >= FEWEST or (edge in fixed and position - start > 0):
            kept.append(edge)
            start = position
    while kept and len(ordered) - int(np.searchsorted(ordered, kept[-1], side="left")) < FEWEST:
        kept.pop()
    return np.array(kept, dtype=float)


def bin_codes(edges: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin number of each value, in [0, len(edges)]; values must not be NaN."""
    return np.searchsorted(edges, values, side="right").astype(np.int64)
