"""Ticks of time: the hour of the week of each, and the predictions of a reference in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOUR = 3_600_000  # milliseconds
DAY = 24 * HOUR
WEEK = 168  # hours
MONDAY = 72  # hours from a Monday's 00:00 UTC to 1970-01-01, a Thursday


def hour_of_week(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hour of the week, UTC, from Monday 00:00, of times in milliseconds."""
    return (time // HOUR + MONDAY) % WEEK


def hour_weights(first: int, stop: int, tick: int) -> NDArray[np.int64]:
    """How many of the ticks [first, stop) begin in each hour of the week: (168,)."""
    if stop <= first:
        return np.zeros(WEEK, dtype=np.int64)
    hours = np.arange(first * tick // HOUR, (stop - 1) * tick // HOUR + 2)
    edges = np.clip(-(-hours * HOUR // tick), first, stop)
    slot = (hours[:-1] + MONDAY) % WEEK
    return np.bincount(slot, np.diff(edges), minlength=WEEK).astype(np.int64)


@dataclass(frozen=True, slots=True)
class TickCounts:
    """The n whole ticks of a reference, without its weeks that have no prediction at all."""

    tick: int
    period: int  # hours after which means are taken to repeat
    count: NDArray[np.int64]  # (n,)
    hours: NDArray[np.int64]  # (n,) hours since a Monday's 00:00

    @property
    def hour(self) -> NDArray[np.int64]:
        """Hour of the week (n,)."""
        return self.hours % WEEK

    @property
    def slot(self) -> NDArray[np.int64]:
        """Hour of the period (n,)."""
        return self.hours % self.period

    @property
    def turn(self) -> NDArray[np.int64]:
        """Which period since the first (n,)."""
        return self.hours // self.period - self.first

    @property
    def first(self) -> int:
        """Number of the first period, counted from a Monday."""
        return int(self.hours[0]) // self.period

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which hours of the week there are (168,)."""
        return np.bincount(self.hour, minlength=WEEK) > 0

    @property
    def weekday(self) -> NDArray[np.float64]:
        """Part of each weekday in a usual day's predictions (7,); 1 where that cannot be told."""
        if self.period != 24 or not self.seen.all():
            return np.ones(7)
        ticks = np.bincount(self.slot, minlength=24)
        usual = (np.bincount(self.slot, self.count, 24) / np.maximum(ticks, 1))[self.slot]
        day = self.hour // 24
        return np.asarray(np.bincount(day, self.count, 7) / np.bincount(day, usual, 7))

    @property
    def summed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predictions, and ticks of a usual weekday: (turns, period), each hour of each period."""
        shape = int(self.turn.max()) + 1, self.period
        cell = self.turn * self.period + self.slot
        counts = np.bincount(cell, self.count, shape[0] * shape[1]).astype(float)
        ticks = np.bincount(cell, self.weekday[self.hour // 24], shape[0] * shape[1])
        return counts.reshape(shape), ticks.reshape(shape).astype(float)

    @property
    def others(self) -> NDArray[np.float64]:
        """Mean of a tick (turns, period) in that hour of all other periods."""
        counts, ticks = self.summed
        left = ticks.sum(axis=0) - ticks
        known = left > 1e-9
        mean = (counts.sum(axis=0) - counts) / np.where(known, left, 1.0)
        return np.asarray(np.where(known, mean, counts.sum() / ticks.sum()))

    @property
    def expected(self) -> NDArray[np.float64]:
        """What the other periods say of each tick: (n,)."""
        return np.asarray(self.others[self.turn, self.slot] * self.weekday[self.hour // 24])


def tick_counts(time: NDArray[np.int64], tick: int) -> TickCounts | None:
    """Ticks of sorted times (milliseconds); None where there is no whole one."""
    first, stop = int(time[0]) // tick + 1, int(time[-1]) // tick  # the ends are seen in part
    if stop <= first:
        return None
    number = time // tick - first
    count = np.bincount(number[(number >= 0) & (number < stop - first)], minlength=stop - first)
    hour = (first + np.arange(stop - first)) * tick // HOUR + MONDAY
    week = hour // WEEK - hour[0] // WEEK
    kept = (np.bincount(week, count) > 0)[week]
    count, hour, week = count[kept], hour[kept], week[kept]
    if not len(count):
        return None
    return TickCounts(tick, period_of(len(count) * tick), count, hour)


def period_of(span: int) -> int:
    """Hours after which means are taken to repeat, in a reference of `span` milliseconds."""
    return WEEK if span >= 14 * DAY else 24 if span >= 2 * DAY else 1
