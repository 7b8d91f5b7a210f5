"""Pairs of numeric features: in which coarse cells their dependence is counted, and which pairs.

Five cells a feature, cut near the 10%, 35%, 65% and 90% quantiles of the reference, keep four
fifths of the evidence that a bivariate normal pair has about its correlation. Of many features not
all pairs are watched: half of PAIRS are those most correlated in the reference, since these are the
ones that can break; the others are spread so that every feature takes part as often as can be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from detectors.bins import Bins
from detectors.dependence import temper
from detectors.ratio import cell_scores
from detectors.sketch import Counts

Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]

LEVELS = (0.1, 0.35, 0.65, 0.9)
WIDTH = len(LEVELS) + 1  # cells of a feature
CELLS = WIDTH**2  # of a pair
LEAST_SHARE = 0.02  # of the reference that lies on either side of every edge
PAIRS = 30  # watched at most: all of eight features, and some
FEWEST_REFERENCE = 100  # values of a feature below which nothing can be said of it
LARGEST = 0.98  # correlation that one of the reference counts as at most
ROUNDS = 100  # of fitting both margins
MOVE = 0.3  # standard deviations: nats that a score of 1 brings for such a move of a feature
UNIT = 1000  # whole numbers that a normal score of 1 is written in
AT_ONCE = 10_000  # rows, to bound memory


@dataclass(frozen=True, slots=True)
class JointProfile:
    """Reference of the dependence between numeric features.

    `edges` and `tempers` are by numeric feature of the schema: up to WIDTH - 1 edges, none for a
    feature that is not watched, and the divisor for serial dependence of its normal scores. `pairs`
    are positions in the schema; `counts` of each pair has WIDTH cells of the first feature, each
    with WIDTH of the second, rows that lack either left out.
    """

    edges: tuple[tuple[float, ...], ...]
    tempers: tuple[float, ...]
    pairs: tuple[tuple[int, int], ...]
    counts: tuple[tuple[int, ...], ...]


def joint_profile(
    columns: Sequence[Bins], values: Floats, order: NDArray[np.intp]
) -> JointProfile | None:
    """Reference of the pairs of numeric features; None where there is no pair to watch.

    Parameters
    ----------
    columns
        Reference bins of the p numeric features.
    values
        (n, p) the reference; NaN is missing.
    order
        (n,) rows in the order of time.
    """
    edges = tuple(coarse_edges(bins) for bins in columns)
    watched = [i for i, e in enumerate(edges) if e]
    if len(watched) < 2:
        return None
    codes = coarse_codes(padded([edges[i] for i in watched]), values[order][:, watched])
    scores = np.stack([_scores(c) for c in codes])
    pairs = chosen_pairs(_correlations(codes, scores))
    tempers = [1.0] * len(edges)
    for i, row, score in zip(watched, codes, scores, strict=True):
        tempers[i] = float(temper(score[row][:, None] * (MOVE / UNIT))[0].round(3))
    counts = pair_counts(codes, np.array(pairs))
    return JointProfile(
        edges,
        tuple(tempers),
        tuple((watched[i], watched[j]) for i, j in pairs),
        tuple(tuple(c) for c in counts.tolist()),
    )


def coarse_edges(bins: Bins) -> tuple[float, ...]:
    """The edges of a column's bins that are nearest to LEVELS; none where it has too little."""
    if bins.total < FEWEST_REFERENCE or not len(bins.edges):
        return ()
    below = np.cumsum(bins.counts)[:-1] / bins.total
    nearest = np.unique(np.abs(below[:, None] - LEVELS).argmin(axis=0))
    inside = (below[nearest] >= LEAST_SHARE) & (below[nearest] <= 1 - LEAST_SHARE)
    return tuple(bins.edges[nearest[inside]].tolist())


def padded(edges: Sequence[tuple[float, ...]]) -> Floats:
    """Edges of p features as an array (WIDTH - 1, p), filled up with what no value reaches."""
    filled = np.full((WIDTH - 1, len(edges)), np.inf)
    for i, own in enumerate(edges):
        filled[: len(own), i] = own
    return filled


def coarse_codes(edges: Floats, values: Floats) -> Codes:
    """Cell of each value (p, n), WIDTH where it is missing; edges as `padded`, values (n, p)."""
    codes = np.where(np.isnan(values), np.uint8(WIDTH), np.uint8(0))
    for edge in edges:
        codes += values >= edge
    return np.ascontiguousarray(codes.T)


def pair_counts(codes: Codes, pairs: NDArray[np.intp]) -> Counts:
    """Rows in each cell (pairs, WIDTH^2) of pairs (pairs, 2) of rows of `codes` (p, n)."""
    wide = WIDTH + 1  # with the cell of what is missing, which is cut off at last
    cells = codes[pairs[:, 0]] * np.uint8(wide) + codes[pairs[:, 1]]
    flat = cells + (np.arange(len(pairs)) * wide**2)[:, None]
    counts = np.bincount(flat.ravel(), minlength=len(pairs) * wide**2)
    counts = counts.reshape(len(pairs), wide, wide)[:, :WIDTH, :WIDTH]
    return counts.reshape(len(pairs), CELLS).astype(np.int64)


def chosen_pairs(correlation: Floats) -> list[tuple[int, int]]:
    """The pairs (i < j) to watch, in order, by the correlations (p, p) in the reference."""
    every = list(combinations(range(len(correlation)), 2))
    if len(every) <= PAIRS:
        return every
    strength = np.array([abs(correlation[pair]) for pair in every])
    strongest = np.argsort(-strength, kind="stable")[: PAIRS // 2]
    chosen = {every[i] for i in strongest.tolist()}
    used = np.bincount(np.array(list(chosen)).ravel(), minlength=len(correlation))
    while len(chosen) < PAIRS:
        ranked = np.argsort(used, kind="stable").tolist()
        pair = next(
            pair
            for i, j in combinations(ranked, 2)
            if (pair := (min(i, j), max(i, j))) not in chosen
        )
        chosen.add(pair)
        used[list(pair)] += 1
    return sorted(chosen)


def correlations(counts: Counts, scores: Floats) -> Floats:
    """Correlation (pairs,) of the scores (pairs, 2, WIDTH) of cells with counts (pairs, WIDTH^2).

    0 where either feature does not vary.
    """
    share = counts.reshape(-1, WIDTH, WIDTH) / np.maximum(counts.sum(axis=1), 1)[:, None, None]
    first, second = share.sum(axis=2), share.sum(axis=1)
    a = scores[:, 0] - (first * scores[:, 0]).sum(axis=1, keepdims=True)
    b = scores[:, 1] - (second * scores[:, 1]).sum(axis=1, keepdims=True)
    spread = np.sqrt((first * a**2).sum(axis=1) * (second * b**2).sum(axis=1))
    covariance = np.einsum("pij,pi,pj->p", share, a, b)
    return np.where(spread > 0, covariance / np.where(spread > 0, spread, 1.0), 0.0)


def _scores(code: Codes) -> NDArray[np.int64]:
    """Normal score (WIDTH + 1,) of each cell of a feature, in UNIT; 0 for missing values."""
    share = np.bincount(code, minlength=WIDTH + 1)[:WIDTH] / max(int((code < WIDTH).sum()), 1)
    return np.append(np.round(UNIT * cell_scores(share)), 0).astype(np.int64)


def _correlations(codes: Codes, scores: NDArray[np.int64]) -> Floats:
    """Correlations (p, p) of normal scores: whole numbers, so that the order does not matter."""
    p, n = codes.shape
    gram = np.zeros((p, p))
    for start in range(0, n, AT_ONCE):
        part = np.take_along_axis(scores, codes[:, start : start + AT_ONCE].astype(np.intp), axis=1)
        gram += (whole := part.astype(float)) @ whole.T
    spread = np.sqrt(np.maximum(np.diag(gram), 1.0))
    return np.asarray(gram / np.outer(spread, spread))


def smoothed(counts: Counts) -> Floats:
    """Shares (pairs, WIDTH, WIDTH) with half an event in each cell that there can be."""
    shaped = counts.reshape(-1, WIDTH, WIDTH)
    possible = shaped.sum(axis=2)[:, :, None] * shaped.sum(axis=1)[:, None, :] > 0
    filled = shaped + 0.5 * possible
    return np.asarray(filled / np.maximum(filled.sum(axis=(1, 2), keepdims=True), 0.5))


def tilted(p: Floats, changes: Floats) -> Floats:
    """Shares (len(changes), i, j) with the margins of p (i, j), all positive, and other dependence.

    `changes` are those of atanh(correlation).
    """
    first, second = p.sum(axis=1), p.sum(axis=0)
    a, b = _standard(first), _standard(second)
    rho = np.clip((p * np.outer(a, b)).sum(), -LARGEST, LARGEST)
    new = np.tanh(np.arctanh(rho) + changes)
    theta = new / (1 - new**2) - rho / (1 - rho**2)
    exponent = theta[:, None, None] * np.outer(a, b)
    q = p * np.exp(exponent - exponent.max(axis=(1, 2), keepdims=True))
    for _ in range(ROUNDS):
        q *= (first / q.sum(axis=2))[:, :, None]
        q *= (second / q.sum(axis=1))[:, None, :]
    return np.asarray(q)


def _standard(p: Floats) -> Floats:
    """Normal scores of cells, of mean 0 and variance 1 under p."""
    scores = cell_scores(p)
    scores = scores - (p * scores).sum()
    return np.asarray(scores / max(np.sqrt((p * scores**2).sum()), 1e-9))
