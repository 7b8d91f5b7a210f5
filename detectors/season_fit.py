"""How a season is found in a reference, and told from chance.

The candidates range from two harmonics of the day to each hour of the week by itself. Each is
fitted to sums by hour, on every other day (every other week from three weeks on, and only then
weekly ones), and judged by the log-likelihood that it gains on the rest, day by day; the best one
counts if that gain is clearly positive over the days. Slow noise gains on one day and loses on the
next, so it is not taken for a season.

Of a reference of less than a week each day must repeat what the others say, in two harmonics.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detectors.season import (
    DAY,
    DAYS,
    GROUPS,
    HOURS,
    RICH,
    SIMPLE,
    Design,
    Floats,
    Season,
    constant,
    hourly,
    slot_of,
)

HOUR = DAY // HOURS
WEEK_FROM = 21  # days of reference from which a week can be told from chance
FEWEST_DAYS = 7  # of reference from which a season is told by its gain; fewer must repeat it
REPEATED = 0.5  # share of how the hours of a day differ that fewer days may leave unexplained
SURE = 3.0  # standard errors by which the gain on held-out days must exceed 0
NOTABLE = 5e-4  # nats an event that it must gain: a wave of .05 standard deviations
BETTER = 2.0  # nats by which a richer curve must beat a simpler one
STEPS = 20  # of Newton's method, at most
ENOUGH = 1e-6  # log-odds: smaller steps end it
LARGEST_STEP = 2.0  # log-odds that one of them may move
RIDGE = 1.0  # prior precision of log-odds, in units of an event's information
# Heights of a numeric season at which its cells are counted: so many, of so many events each.
FEWEST_LEVELS, MOST_LEVELS, PER_LEVEL = 4, 12, 200

Scale = Literal["score", "odds"]


def rate_season(happened: NDArray[np.bool_], time: NDArray[np.int64]) -> Season | None:
    """The season of a rate; None where there is none that can be relied on.

    `happened` and `time` (n,) say of each reference event whether it did, and when (milliseconds).
    """
    return _season(happened.astype(np.float64), time, "odds")


def score_season(
    scores: Floats, codes: NDArray[np.int64], time: NDArray[np.int64]
) -> Season | None:
    """The season of a numeric column; None where there is none that can be relied on.

    Parameters
    ----------
    scores
        (k,) normal score of each of its cells.
    codes, time
        (n,) cell and time (milliseconds) of each reference event.
    """
    found = _season(scores[codes], time, "score")
    if found is None:
        return None
    curve = found.curve()
    at = curve[slot_of(time, len(curve))]
    groups = min(max(len(time) // PER_LEVEL, FEWEST_LEVELS), MOST_LEVELS)
    edges = np.quantile(at, np.arange(1, groups) / groups)
    group = np.searchsorted(edges, at, side="right")
    held = np.unique(group)
    width = len(scores)
    counts = np.bincount(group * width + codes, minlength=groups * width).reshape(groups, width)
    centres = [round(float(at[group == g].mean()), 6) for g in held]
    kept = tuple(tuple(row) for row in counts[held].tolist())
    return replace(found, centres=tuple(centres), counts=kept)


def _season(values: Floats, time: NDArray[np.int64], scale: Scale) -> Season | None:
    if not len(time) or time.min() < 0 or values.min() == values.max():
        return None
    first = int(time.min()) // DAY
    days = int(time.max()) // DAY - first + 1
    if days < 2 or days > len(time):
        return None
    cell = (time // HOUR) - first * HOURS
    counted = np.bincount(cell, minlength=days * HOURS).reshape(days, HOURS)
    events: Floats = np.asarray(counted, dtype=np.float64)
    summed = np.bincount(cell, values, days * HOURS).reshape(days, HOURS)
    sums: Floats = np.asarray(summed, dtype=np.float64)
    day = first + np.arange(days)
    seen = events.sum(axis=1) > 0
    if seen.sum() < FEWEST_DAYS:
        whole_days = (events > 0).sum(axis=1) >= HOURS // 2
        if not _repeats(day[whole_days], events[whole_days], sums[whole_days], scale):
            return None
        return _fitted(SIMPLE[0], day, events, sums, values, scale)
    weekly = days >= WEEK_FROM
    fold = (day // DAYS if weekly else day) % 2
    if seen[fold == 0].sum() < 2 or seen[fold == 1].sum() < 2:
        return None
    variance = max(float(values.var()), 1e-12)
    folds = [(fold != held, fold == held) for held in (0, 1)]
    level = [_fit((-1, "same"), day[fit], events[fit], sums[fit], scale)[0] for fit, _ in folds]

    def gained(design: Design) -> float:
        """Log-likelihood that the design gains on days it was not fitted on; 0 if not clearly."""
        gain = np.zeros(days)
        for (fit, test), whole in zip(folds, level, strict=True):
            at = hourly(design, day[test]) @ _fit(design, day[fit], events[fit], sums[fit], scale)
            gain[test] = _gain(at, whole, events[test], sums[test], variance, scale)
        spread = gain[seen].std(ddof=1) * np.sqrt(seen.sum())
        total = float(gain.sum())
        return total if total > max(SURE * spread, NOTABLE * len(values)) else 0.0

    best, most = None, 0.0
    for designs in (SIMPLE, RICH):
        for design in designs:
            if design[1] == "same" or weekly:
                total = gained(design)
                # A richer curve must be better by more than chance could make it.
                if total > most + BETTER:
                    best, most = design, total
        if best is None:
            return None
    assert best is not None
    return _fitted(best, day, events, sums, values, scale)


def _repeats(day: NDArray[np.int64], events: Floats, sums: Floats, scale: Scale) -> bool:
    """Is each of few days (days, 24) what the others say, in half of how its hours differ at least?

    Slow noise looks like that in less than 0.5% of references of two days, and hardly ever in more.
    """
    for i in range(len(day)):
        rest = np.arange(len(day)) != i
        if not rest.any():
            return False
        at = hourly(SIMPLE[0], day[:1])[0] @ _fit(
            SIMPLE[0], day[rest], events[rest], sums[rest], scale
        )
        told = at if scale == "score" else 1 / (1 + np.exp(-at))
        mean = sums[i] / np.maximum(events[i], 1)
        level = sums[rest].sum() / events[rest].sum()
        if (events[i] * (mean - told) ** 2).sum() > REPEATED * (
            events[i] * (mean - level) ** 2
        ).sum():
            return False
    return len(day) > 1


def _fitted(
    design: Design,
    day: NDArray[np.int64],
    events: Floats,
    sums: Floats,
    values: Floats,
    scale: Scale,
) -> Season:
    """The season with a design, fitted to all days."""
    weights = _fit(design, day, events, sums, scale)
    rest = 1.0
    if scale == "score":
        at = hourly(design, day) @ weights
        explained = (at * (2 * sums - events * at)).sum() / len(values)
        rest = float(np.sqrt(max((values**2).mean() - explained, 1e-12)))
    else:
        overall = values.mean()
        weights = weights.copy()
        offset = np.log(overall / (1 - overall))
        # Every design has columns that sum to a constant: what it says is relative to the whole.
        weights -= offset * constant(design)
    cycles = len(day) / (1 if design[1] == "same" else DAYS)
    return Season(*design, tuple(weights.round(6).tolist()), round(rest, 6), cycles)


def _gain(
    at: Floats, level: float, events: Floats, sums: Floats, variance: float, scale: Scale
) -> Floats:
    """Log-likelihood (days,) gained by values `at` (days, 24) over one level."""
    if scale == "score":
        return np.asarray(
            (sums * (at - level) - events * (at**2 - level**2) / 2).sum(axis=1) / variance
        )
    return np.asarray(
        (sums * (at - level) - events * (np.logaddexp(0, at) - np.logaddexp(0, level))).sum(axis=1)
    )


def _fit(
    design: Design, day: NDArray[np.int64], events: Floats, sums: Floats, scale: Scale
) -> Floats:
    """Coefficients of a design: least squares, or Newton's method for the log-odds.

    Both have a weak prior towards the whole, so that an hour without events has its level.
    """
    week = day % DAYS
    n = np.stack([events[week == d].sum(axis=0) for d in range(DAYS)])
    k = np.stack([sums[week == d].sum(axis=0) for d in range(DAYS)])
    harmonics, kind = design
    if kind in GROUPS:  # a curve for each group of days
        n, k = GROUPS[kind].T @ n, GROUPS[kind].T @ k
        basis, kept = hourly((harmonics, "same"), np.zeros(1, int))[0], (harmonics, "same")
    else:
        n, k = n.reshape(1, -1), k.reshape(1, -1)
        basis, kept = hourly(design, np.arange(DAYS)).reshape(DAYS * HOURS, -1), design
    one = constant(kept)
    ridge = RIDGE * np.eye(len(one))
    if scale == "score":
        level = k.sum() / n.sum()
        gram = np.einsum("gs,sp,sq->gpq", n, basis, basis, optimize=True) + ridge
        slope = (k - n * level) @ basis
        return np.asarray((level * one + np.linalg.solve(gram, slope[..., None])[..., 0]).ravel())
    whole = (k.sum() + 0.5) / (n.sum() + 1)
    prior = np.log(whole / (1 - whole)) * one
    weights = np.tile(prior, (len(n), 1))
    for _ in range(STEPS):
        rate = 1 / (1 + np.exp(-(weights @ basis.T)))
        spread = n * rate * (1 - rate)
        information = np.einsum("gs,sp,sq->gpq", spread, basis, basis, optimize=True) + ridge
        slope = (k - n * rate) @ basis - RIDGE * (weights - prior)
        step = np.linalg.solve(information, slope[..., None])[..., 0]
        weights = weights + np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        if np.abs(step).max() < ENOUGH:
            break
    return np.asarray(weights.ravel())
