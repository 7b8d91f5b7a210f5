"""The oracle: a CUSUM (Page, 1954) that knows the stream's law, season and the change to come.

It sums the log likelihood ratio of each event given the past, which no detector can do that must
learn the law from a reference and does not know the change. Its threshold is found by simulation.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.streams import (
    RATES,
    Change,
    Floats,
    Process,
    correlated,
    latent,
    score,
    threshold,
)

WARM = 1_000  # events before the change, so that the sum is where it usually is
FLOOR = -50.0  # nats: what an impossible event costs

_grid = np.linspace(-8, 8, 8001)


def ratios(change: Change, process: Process, z: Floats) -> Floats:
    """Log likelihood ratio (rows, n) of each event of streams z, against the past.

    z are values for a numeric change (season taken out), latent values for a rate.
    """
    if change.form is None:
        raise ValueError("rates have `rate_ratios`")
    moved = change.form(_grid, np.full(len(_grid), np.inf))
    back = np.interp(z, moved, _grid)
    slope = np.gradient(moved, _grid)
    stretch = np.log(np.maximum(np.interp(back, _grid, slope), 1e-12))
    spread2 = 1 - process.rho**2

    def innovation(values: Floats) -> Floats:
        left = values.copy()
        left[:, 1:] -= process.rho * values[:, :-1]
        return left**2 / (2 * spread2)

    ratio = innovation(z) - innovation(back) - stretch
    impossible = (z < moved[0]) | (z > moved[-1])  # beyond the support after the change
    return np.where(impossible, FLOOR, np.maximum(ratio, FLOOR))


def rate_ratios(change: Change, marked: Floats) -> Floats:
    """The same for marked events that are independent."""
    before, after = max(RATES[change.unit], 1e-12), change.rate
    yes, no = np.log(after / before), np.log((1 - after) / (1 - before))
    return np.where(marked > 0, yes, no)


def pair_ratios(correlation: float, process: Process, x: Floats, y: Floats) -> Floats:
    """The same for two features that become correlated."""

    def innovation(z: Floats) -> Floats:
        left = z.copy()
        left[:, 1:] -= process.rho * z[:, :-1]
        return left / np.sqrt(1 - process.rho**2)

    a, b = innovation(x), innovation(y)
    rest = 1 - correlation**2
    apart = (a**2 - 2 * correlation * a * b + b**2) / rest
    return (a**2 + b**2 - apart - np.log(rest)) / 2


def label_ratios(before: Floats, after: Floats, label: NDArray[np.bool_]) -> Floats:
    """The same for labels whose chance, given the score, was one and becomes another."""
    return np.where(label, np.log(after / before), np.log((1 - after) / (1 - before)))


def simulate(
    change: Change,
    process: Process,
    shape: tuple[int, int],
    rng: np.random.Generator,
    at: int | None = None,
) -> Floats:
    """Log likelihood ratios of streams that change at position `at`, or never."""
    z = latent(process, shape, rng)
    at = shape[1] if at is None else at
    if change.form is not None:
        since = np.arange(1.0, shape[1] - at + 1)
        z[:, at:] = change.form(z[:, at:], since)
        return ratios(change, process, z)
    if change.correlation:
        other = latent(process, shape, rng)
        other[:, at:] = correlated(z[:, at:], other[:, at:], change.correlation)
        return pair_ratios(change.correlation, process, z, other)
    if change.chance is not None:
        before = score(z)
        after = change.chance(before)
        chance = before.copy()
        chance[:, at:] = after[:, at:]
        return label_ratios(before, after, rng.random(shape) < chance)
    marked = z > threshold(RATES[change.unit])
    marked[:, at:] = z[:, at:] > threshold(change.rate)
    return rate_ratios(change, marked)


def alarms(steps: Floats, limit: float) -> int:
    """Alarms over all rows, each starting anew after every one of its own."""
    total, found = np.zeros(len(steps)), 0
    for step in np.ascontiguousarray(steps.T):
        np.maximum(total, 0.0, out=total)
        total += step
        rings = total >= limit
        if rings.any():
            found += int(rings.sum())
            total[rings] = 0.0
    return found


def tuned_limit(steps: Floats, rate: float, halvings: int = 11) -> float:
    """Threshold at which there are about `rate` alarms an event on these streams in control."""
    low, high = 0.0, 25.0
    for _ in range(halvings):
        middle = (low + high) / 2
        if alarms(steps, middle) > rate * steps.size:
            low = middle
        else:
            high = middle
    return high


def delays(steps: Floats, limit: float, at: int) -> Floats:
    """Events (rows,) from position `at` to the first alarm after it; infinite where none comes."""
    total, found = np.zeros(len(steps)), np.full(len(steps), np.inf)
    for i, step in enumerate(np.ascontiguousarray(steps.T)):
        np.maximum(total, 0.0, out=total)
        total += step
        rings = total >= limit
        if rings.any():
            total[rings] = 0.0
            if i >= at:
                found[rings & np.isinf(found)] = i - at + 1
                if np.isfinite(found).all():
                    break
    return found


def cusum_limit(
    change: Change,
    process: Process,
    rate: float,
    rng: np.random.Generator,
    shape: tuple[int, int] = (4_000, 1_500),
) -> float:
    """The oracle's threshold for `rate` false alarms an event."""
    return tuned_limit(simulate(change, process, shape, rng), rate)
