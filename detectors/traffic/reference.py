"""How much traffic the reference had: predictions in a tick of time, by the hour of the week.

A tick's count is taken as negative binomial, with a mean m of its hour of the week and variance
m + m^2 / r. A reference of less than two weeks has means by the hour of the day (times the
weekday's part, from a week on), one of less than two days a single mean. Hours of the week that the
reference does not hold are not known.

An hour of the week is seen once a week, so its mean is shrunk towards that of the hour of the day
times that of the weekday, as far as chance explains the difference (empirical Bayes; Efron and
Morris, 1975). What is left of its error, by the spread between weeks, makes its limits.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.ratio import CONFIDENCE
from detectors.traffic.ticks import HOUR, WEEK, TickCounts, hour_weights, period_of, tick_counts

ENOUGH = 20  # predictions that a tick should hold
FEWEST_TICKS = 200  # into which a reference should be cut, so that their dependence shows
LARGEST_DISPERSION = 1e6  # r beyond which counts are as good as Poisson
NEIGHBOUR = 4.0  # times by which hours beside each other count as alike
MEDIAN_SQUARE = 0.455  # median of the square of a standard normal variable
CLEARLY = 3.0  # standard errors by which an hour of the week must stand out to be special


@dataclass(frozen=True, slots=True)
class TrafficProfile:
    """Predictions in a tick of `tick` milliseconds, by hour of the week from Monday 00:00 UTC.

    `low` and `high` are one-sided 99% limits of `mean`, 0 where the hour is not known. They include
    those of the hours beside it: people's clocks change, and traffic rises within an hour.
    """

    tick: int
    ticks: int  # of the reference
    per_second: float
    period: int  # hours after which the means repeat: 168, 24 or 1
    mean: tuple[float, ...]  # (168,)
    low: tuple[float, ...]
    high: tuple[float, ...]
    dispersion: float  # r

    def in_panes(self, pane: int) -> "TrafficProfile":
        """The same for ticks that panes of that width fit into."""
        tick = -(-self.tick // pane) * pane
        if tick == self.tick:
            return self
        longer = tick / self.tick
        mean, low, high = (tuple(m * longer for m in x) for x in (self.mean, self.low, self.high))
        ticks = self.ticks * self.tick // tick
        return replace(self, tick=tick, ticks=ticks, mean=mean, low=low, high=high)

    def expected(self, start: int, stop: int) -> float:
        """Predictions to expect between two times, milliseconds."""
        hours = hour_weights(start, stop, 1)
        return float(hours @ np.array(self.mean)) / self.tick


def traffic_profile(time: NDArray[np.int64], pane: int) -> TrafficProfile | None:
    """Traffic of a reference (times (n,), any order); None where it is too short to tell."""
    ordered = np.sort(time)
    span = int(ordered[-1] - ordered[0])
    if len(ordered) < 2 or span <= 0:
        return None
    made = tick_counts(ordered, _tick(ordered, span, pane))
    if made is None:
        return None
    mean, low, high = _means(made)
    expected = made.expected
    excess = float(((made.count - expected) ** 2 - expected).sum())
    r = float((expected**2).sum()) / max(excess, 1e-300)
    return TrafficProfile(
        tick=made.tick,
        ticks=len(made.count),
        per_second=(len(ordered) - 1) * 1000 / span,
        period=made.period,
        mean=tuple(mean.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        dispersion=min(r, LARGEST_DISPERSION),
    )


def _tick(time: NDArray[np.int64], span: int, pane: int) -> int:
    """A tick's width: enough to hold ENOUGH predictions, an hour at most, of whole panes.

    Where an hour is whole panes, a tick is a whole part of it. Without means by the hour it holds
    the longest gap, so that a night without traffic is no news.
    """
    useful = min(ENOUGH * span / len(time), span / FEWEST_TICKS, HOUR)
    panes = max(int(np.ceil(useful / pane)), 1)
    if HOUR % pane == 0:
        parts = np.arange(1, HOUR // pane + 1)
        parts = parts[HOUR // pane % parts == 0]
        panes = int(parts[np.searchsorted(parts, panes)])
    if period_of(span) == 1:
        panes = max(panes, int(np.diff(time).max()) // pane + 1)
    return panes * pane


def _means(made: TickCounts) -> tuple[NDArray[np.float64], ...]:
    """Mean of a tick and its limits, (168,) each."""
    counts, ticks = made.summed
    spread = _spread(made)
    total, number = counts.sum(axis=0), ticks.sum(axis=0)
    turns = number * made.tick / HOUR  # how often each hour was seen
    own = total / np.maximum(number, 1.0)
    coarse, error = _coarse(total, number, turns, spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        v = 1 / (number * coarse) + spread / turns  # relative variance of `own` about it
        off = own / coarse - 1
        usable = np.isfinite(v) & np.isfinite(off) & (made.period > 1)
        v, off = np.where(usable, v, 1.0), np.where(usable, off, 0.0)
        between = np.median((off**2 / MEDIAN_SQUARE - v - error)[usable]) if usable.any() else 0.0
        special = off**2 > CLEARLY**2 * (v + error)
        far = np.where(special, off**2, max(float(between), 0.0))
        weight = far / (far + v)
    mean = coarse * (1 + weight * off)
    left = np.where(usable, weight * v, 0.0) + (1 - weight) ** 2 * error
    low, high = _limits(mean, left, number)
    weekday = np.repeat(made.weekday, 24)
    mean, low, high = (np.tile(x, WEEK // made.period) for x in (mean, low, high))
    low, high = low * np.minimum(weekday, 1.0), high * np.maximum(weekday, 1.0)
    low, least = _beside(low, made.seen), _beside(1 / high, made.seen)
    return mean * weekday, low, np.where(made.seen, 1 / np.where(made.seen, least, 1.0), 0.0)


def _beside(low: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Lower limits (168,) that hold for the hours beside as well, 0 where an hour was not seen.

    Only down to a part of its own where nothing like it lasts for three hours: then there would be
    no hour left to tell by that it is missing.
    """
    own = np.where(seen, low, np.inf)
    before, after = ([np.roll(own, sign * n) for n in (1, 2)] for sign in (1, -1))
    lowest = np.minimum(own, np.minimum(before[0], after[0]))
    lasts = np.maximum(np.minimum(*before), np.minimum(*after)) >= own / NEIGHBOUR
    lowest = np.where(lasts, lowest, np.maximum(lowest, own / NEIGHBOUR))
    return np.where(seen, lowest, 0.0)


def _spread(made: TickCounts) -> float:
    """Squared relative standard deviation of an hour's predictions between periods, beyond chance.

    By the method of moments, each period against the mean of the others.
    """
    counts, ticks = made.summed
    expected = made.others * ticks
    excess = ((counts - expected) ** 2 - expected).sum()
    return float(max(excess, 0.0) / max((expected**2).sum(), 1e-300))


def _coarse(
    total: NDArray[np.float64],
    number: NDArray[np.float64],
    turns: NDArray[np.float64],
    spread: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What an hour is shrunk towards (period,), and that one's squared relative error."""

    def error(axis: int, shape: tuple[int, int]) -> NDArray[np.float64]:
        events, seen = (x.reshape(shape).sum(axis=axis) for x in (total, turns))
        return np.asarray(1 / np.maximum(events, 1.0) + spread / np.maximum(seen, 1e-300))

    if len(total) < WEEK:
        everything = np.full(len(total), total.sum() / number.sum())
        return everything, np.full(len(total), error(1, (1, len(total)))[0])
    shape = 7, 24
    hourly = (total.reshape(shape).sum(axis=0)) / number.reshape(shape).sum(axis=0)
    usual = (number.reshape(shape) * hourly).sum(axis=1)
    daily = total.reshape(shape).sum(axis=1) / np.maximum(usual, 1e-300)
    errors = error(1, shape)[:, None] + error(0, shape)[None, :]
    return (daily[:, None] * hourly[None, :]).ravel(), errors.ravel()


def _limits(
    mean: NDArray[np.float64], error: NDArray[np.float64], number: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One-sided limits of means with that squared relative error, as of a Poisson count.

    The score interval: an error e is that of 1 / e events. Where none was seen in `number` ticks,
    the upper limit is that of none.
    """
    z2 = CONFIDENCE**2
    some = mean > 0
    events = 1 / np.maximum(error, 1e-12)
    half = CONFIDENCE * np.sqrt(events + z2 / 4)
    low = np.where(some, mean * (events + z2 / 2 - half) / events, 0.0)
    high = np.where(some, mean * (events + z2 / 2 + half) / events, z2 / np.maximum(number, 1.0))
    return low, high
