"""Streams with a known change: a latent normal process, and what is made of it.

A numeric stream is the latent process itself, moved by the season; a rate (of a category, of
missing values, of errors) marks the events whose latent value lies in the upper tail; a score is
the latent value's probability. So the same serial dependence and the same season reach every kind
of stream. Two correlated features are mixed from two such processes.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import gamma

Floats = NDArray[np.float64]

PER_HOUR = 100
PER_DAY = 24 * PER_HOUR
MILLISECONDS = 3_600_000 // PER_HOUR  # of event time between two events
HUMP = 0.85  # distance of either hump from the mean; the whole keeps mean 0 and variance 1


@dataclass(frozen=True, slots=True)
class Process:
    """Serial dependence of the latent process, and the size of its daily sine."""

    name: str
    rho: float = 0.0
    season: float = 0.0


INDEPENDENT = Process("independent")
AR5 = Process("AR(.5)", rho=0.5)
AR9 = Process("AR(.9)", rho=0.9)
SEASON = Process("daily season", season=0.5 * np.sqrt(2))
PROCESSES = (INDEPENDENT, AR5, AR9, SEASON)


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a unit's stream.

    What there is after it depends on the unit: `form` maps latent values and the number of events
    since the change to values (numeric); `rate` is the share of marked events; `correlation` that
    of two features; `chance` maps scores to the chance of the positive label (calibration).
    """

    name: str
    unit: str
    form: Callable[[Floats, Floats], Floats] | None = None
    rate: float = 0.0
    correlation: float = 0.0
    chance: Callable[[Floats], Floats] | None = None
    over: int = 0  # events that the change takes; 0: at once
    lasts: int = 0  # of every RECURRING events, those in which it is there; 0: all
    horizon: int | None = None  # events after it in a run, where that is not the usual number
    runs: int | None = None  # at most, where runs are long


RATES = {"category": 0.10, "unseen": 0.0, "missing": 0.01, "error": 0.10}
UNITS = ("numeric", *RATES, "correlation", "calibration")
RECURRING = 3_000  # events from one occurrence of a change to the next

_grid = np.linspace(-8, 8, 8001)
_spread = np.sqrt(1 - HUMP**2)
# Either tail from its own side: 1 - p loses its digits where p is tiny.
_skewed = np.where(_grid < 0, gamma.ppf(ndtr(_grid), 4.0), gamma.isf(ndtr(-_grid), 4.0)) / 2 - 2
_wide = np.linspace(-HUMP - 8 * _spread, 0.0, 8001)
_lower = np.interp(
    _grid[:4001],
    ndtri((ndtr((_wide - HUMP) / _spread) + ndtr((_wide + HUMP) / _spread)) / 2),
    _wide,
)
_humps = np.concatenate([_lower, -_lower[-2::-1]])


def _mean(by: float, over: int = 0) -> Callable[[Floats, Floats], Floats]:
    return lambda z, since: z + by * (np.minimum(since / over, 1.0) if over else 1.0)


def recurring(by: float, lasts: int) -> Callable[[Floats, Floats], Floats]:
    """A shift that is there for the first `lasts` of every RECURRING events."""
    return lambda z, since: z + by * ((since - 1) % RECURRING < lasts)


def _stretch(variance: float) -> Callable[[Floats, Floats], Floats]:
    return lambda z, since: z * np.sqrt(variance)


def skew(z: Floats, since: Floats) -> Floats:
    """A gamma distribution of shape 4 (skewness 1) with the same mean and variance."""
    return np.interp(z, _grid, _skewed)


def humps(z: Floats, since: Floats) -> Floats:
    """Two humps at -.85 and .85 with the same mean and variance."""
    return np.interp(z, _grid, _humps)


NUMERIC = (
    Change("mean +0.25 sd", "numeric", _mean(0.25)),
    Change("mean +0.5 sd", "numeric", _mean(0.5)),
    Change("mean +1 sd", "numeric", _mean(1.0)),
    Change("variance x0.5", "numeric", _stretch(0.5)),
    Change("variance x1.5", "numeric", _stretch(1.5)),
    Change("variance x2.25", "numeric", _stretch(2.25)),
    Change("skew", "numeric", skew),
    Change("two humps", "numeric", humps),
    Change("ramp of 1 sd over 1,000", "numeric", _mean(1.0, 1_000), over=1_000),
    Change("ramp of 1 sd over 10,000", "numeric", _mean(1.0, 10_000), over=10_000, horizon=20_000),
    Change(
        "ramp of 1 sd over 100,000",
        "numeric",
        _mean(1.0, 100_000),
        over=100_000,
        horizon=120_000,
        runs=20,
    ),
    Change("recurring +0.5 sd", "numeric", recurring(0.5, 1_000), lasts=1_000),
)
MARKS = (
    Change("category 10% to 20%", "category", rate=0.20),
    Change("unseen category 5%", "unseen", rate=0.05),
    Change("missing 1% to 3%", "missing", rate=0.03),
    Change("error rate 10% to 15%", "error", rate=0.15),
    Change("error rate 10% to 20%", "error", rate=0.20),
)
PAIRS = (
    Change("correlation 0 to .3", "correlation", correlation=0.3),
    Change("correlation 0 to .5", "correlation", correlation=0.5),
    Change("calibration: logit x1.5", "calibration", chance=lambda s: expit(1.5 * logit(s))),
    Change("calibration: logit +0.4", "calibration", chance=lambda s: expit(logit(s) + 0.4)),
)
CHANGES = (*NUMERIC, *MARKS, *PAIRS)


def seeded(*parts: object) -> np.random.Generator:
    """A generator for this cell of the benchmark, the same in every run."""
    return np.random.default_rng([zlib.crc32(repr(p).encode()) for p in parts])


def latent(process: Process, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Rows of a stationary process with unit variance."""
    noise = rng.standard_normal(shape)
    if process.rho == 0.0:
        return noise
    before = process.rho * rng.standard_normal((shape[0], 1))
    made, _ = lfilter([np.sqrt(1 - process.rho**2)], [1.0, -process.rho], noise, zi=before)
    return np.asarray(made)


def wave(process: Process, start: int, n: int) -> Floats:
    """The season's part of n events from number `start` on."""
    return process.season * np.sin(2 * np.pi * (start + np.arange(n)) / PER_DAY)


def threshold(rate: float) -> float:
    """Latent value above which an event is marked."""
    return float(ndtri(1.0 - rate))


def correlated(x: Floats, w: Floats, correlation: float) -> Floats:
    """A feature of variance 1 with this correlation with x, if w has none with it."""
    return correlation * x + np.sqrt(1 - correlation**2) * w


def score(z: Floats) -> Floats:
    """Scores, uniform on (0, 1), of latent values."""
    return ndtr(np.clip(z, -5, 5))


def series(
    unit: str,
    process: Process,
    n: int,
    rng: np.random.Generator,
    start: int = 0,
    change: Change | None = None,
    at: int = 0,
) -> Floats:
    """Events `start`, `start` + 1, ...; `change` begins at position `at`.

    (n,) numbers for the numeric unit; (n, 2) both features for `correlation`, score and label for
    `calibration`; for the others (n,) 1 for a marked event and 0 for another.
    """
    z, season = latent(process, (1, n), rng)[0], wave(process, start, n)
    if unit == "numeric":
        if change is not None and change.form is not None:
            z[at:] = change.form(z[at:], np.arange(1.0, n - at + 1))
        return z + season
    if unit == "correlation":
        other = latent(process, (1, n), rng)[0]
        if change is not None:
            other[at:] = correlated(z[at:], other[at:], change.correlation)
        return np.stack([z, other], axis=1) + season[:, None]
    level = (z + season) / np.sqrt(1 + process.season**2 / 2)
    if unit == "calibration":
        scores = score(level)
        chance = scores.copy()
        if change is not None and change.chance is not None:
            chance[at:] = change.chance(scores[at:])
        return np.stack([scores, rng.random(n) < chance], axis=1)
    marked = level > threshold(RATES[unit])
    if change is not None:
        marked[at:] = level[at:] > threshold(change.rate)
    return marked.astype(float)
