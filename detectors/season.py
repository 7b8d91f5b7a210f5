"""Seasons: how a column's mean score, or the rate of something, follows the hours of the week.

A season is a curve over the day or the week: of the mean normal score of a numeric column, or of
the log-odds of a rate. `detectors.season_fit` says how it is found in a reference.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from detectors.ratio import NATS, shifted

Floats = NDArray[np.float64]
HOURS, DAYS = 24, 7
DAY = 86_400_000  # milliseconds
QUARTERS = 96  # of an hour, in a day: the resolution at which a season is applied
STEP = 0.04  # of a numeric season's levels, standard deviations
ODDS_STEP = 0.04  # of a rate's, log-odds
LEAST_SHARE = 1e-4  # of a cell at any hour

Design = tuple[int, str]
# Harmonics of the day (0: each hour by itself), and how the days of the week differ: not at all,
# in level, weekdays from weekends (UTC), each from each.
SIMPLE: tuple[Design, ...] = (
    (2, "same"),
    (4, "same"),
    (0, "same"),
    (2, "level"),
    (2, "weekend"),
)
RICH: tuple[Design, ...] = (  # tried where a simple one is good for anything
    (4, "level"),
    (0, "level"),
    (4, "weekend"),
    (0, "weekend"),
    (2, "each"),
    (4, "each"),
    (0, "each"),
)


# Which days have a curve in common (7, groups); the epoch was a Thursday.
WEEKEND = np.isin(np.arange(DAYS), (2, 3))
GROUPS = {"weekend": np.stack([~WEEKEND, WEEKEND], axis=1).astype(float), "each": np.eye(DAYS)}


@dataclass(frozen=True, slots=True)
class Season:
    """A curve over the day or the week.

    Parameters
    ----------
    harmonics, week
        The design (`SIMPLE`, `RICH`).
    weights
        Its coefficients: normal scores of a numeric column; log-odds, relative to the whole
        reference, of a rate.
    scale
        Standard deviation of the normal scores around the curve; 1 for a rate.
    cycles
        How many days, or weeks if those matter, the reference held.
    centres, counts
        Of a numeric column: how its cells are filled where the curve is about as high as each of g
        centres (g,), as counts (g, k) of the reference.
    """

    harmonics: int
    week: str
    weights: tuple[float, ...]
    scale: float
    cycles: float
    centres: tuple[float, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()

    @property
    def parameters(self) -> int:
        """How many of its parts have to share the reference's events."""
        return max(len(self.weights), len(self.counts))

    def curve(self) -> Floats:
        """Its value in each quarter of an hour of the day (96,) or of the week (672,).

        A week begins with that of the epoch, Thursday 00:00 UTC.
        """
        weekly = self.week != "same"
        quarter = np.arange(QUARTERS * (DAYS if weekly else 1))
        middle = (quarter % QUARTERS).astype(np.float64) + 0.5
        basis = _basis(self.harmonics, self.week, quarter // QUARTERS, middle)
        return np.asarray(basis @ np.array(self.weights))

    def levels(self, step: float = STEP) -> tuple[Floats, NDArray[np.int64]]:
        """The curve rounded to steps: the m levels that occur, and the number of each quarter's."""
        found, which = np.unique(np.rint(self.curve() / step), return_inverse=True)
        return found * step, which.astype(np.int64)

    def probabilities(self, p: Floats) -> Floats:
        """Cell probabilities (m, k) of a numeric column at each of the `levels`.

        Those of the whole (`p`, (k,)) take the shape that they have in the reference where the
        curve is nearest, moved by the rest of the way. Without counts they are moved and narrowed.
        """
        levels = self.levels()[0].tolist()
        if not self.counts:
            return np.array([_bounded(shifted(p, level, self.scale)) for level in levels])
        counts = np.array(self.counts) + 0.5
        shape = counts / counts.sum(axis=1, keepdims=True) / (counts.sum(axis=0) / counts.sum())
        centres = np.array(self.centres)
        found = []
        for level in levels:
            near = int(np.abs(centres - level).argmin())
            here = p * shape[near] / (p * shape[near]).sum()
            found.append(_bounded(shifted(here, (level - self.centres[near]) / self.scale)))
        return np.array(found)

    def effective(self, n: float, nats: Floats, dispersion: Floats) -> Floats:
        """Number (a,) of independent reference events to which the curve's level is known.

        An hour's own level is known from a part of the reference alone, but an alarm that takes
        longer than an hour averages over the errors of several: over a cycle they cancel.

        Parameters
        ----------
        n
            Reference events.
        nats
            (a,) evidence that an event of each alternative brings.
        dispersion
            (a,) variance of sums relative to independent events, by which evidence is divided.
        """
        cycle = n / self.cycles * nats / (NATS * dispersion)  # a cycle's events, in alarms' lengths
        return np.asarray(n / dispersion / np.clip(cycle, 1.0, self.parameters))


def _bounded(p: Floats) -> Floats:
    """Probabilities (k,) of which none is all but impossible."""
    q = np.maximum(p, LEAST_SHARE)
    return np.asarray(q / q.sum())


def slot_of(time: NDArray[np.int64], slots: int) -> NDArray[np.int64]:
    """Which of equal slots of the day (at most 96), or of the week (more), holds each time."""
    cycle = DAY if slots in (HOURS, QUARTERS) else DAYS * DAY
    return time % cycle * slots // cycle


def hourly(design: Design, day: NDArray[np.int64]) -> Floats:
    """The basis (days, 24, p) in the middle of each hour."""
    return _week(design)[day % DAYS]


@cache
def _week(design: Design) -> Floats:
    """The basis (7, 24, p) of a week."""
    days, hours = np.repeat(np.arange(DAYS), HOURS), np.tile(np.arange(HOURS), DAYS)
    return _basis(*design, days, (hours + 0.5) * QUARTERS / HOURS).reshape(DAYS, HOURS, -1)


@cache
def constant(design: Design) -> Floats:
    """Coefficients (p,) with which a design is 1 everywhere."""
    basis = hourly(design, np.arange(DAYS)).reshape(DAYS * HOURS, -1)
    return np.asarray(np.rint(np.linalg.lstsq(basis, np.ones(len(basis)), rcond=None)[0] * 8) / 8)


def _basis(harmonics: int, week: str, day: NDArray[np.int64], quarter: Floats) -> Floats:
    """Columns of a design (n, p) at quarters (n,) of hours of days (n,) since the epoch."""
    if harmonics < 0:
        daily = np.ones((len(day), 1))
    elif harmonics == 0:
        daily = np.eye(HOURS)[(quarter // 4).astype(np.int64)]
    else:
        angle = 2 * np.pi * quarter / QUARTERS
        waves = [f(k * angle) for k in range(1, harmonics + 1) for f in (np.sin, np.cos)]
        daily = np.stack([np.ones(len(angle)), *waves], axis=1)
    if week == "same":
        return daily
    if week == "level":  # the last day's level is in the others
        return np.concatenate([daily, np.eye(DAYS)[day % DAYS][:, :-1]], axis=1)
    groups = GROUPS[week][day % DAYS]
    return np.asarray((groups[:, :, None] * daily[:, None, :]).reshape(len(day), -1))
