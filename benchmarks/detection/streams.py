"""Streams with a known change: a latent normal process, and what is made of it.

A numeric stream is the latent process itself, moved by the season; a rate (of a category, of
missing values, of errors) marks the events whose latent value lies in the upper tail. So the same
serial dependence and the same season reach every kind of stream.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri
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

    `form` maps latent values and the number of events since the change to values after it (numeric
    units); `rate` is the share of marked events after it (the others).
    """

    name: str
    unit: str
    form: Callable[[Floats, Floats], Floats] | None = None
    rate: float = 0.0
    over: int = 0  # events that the change takes; 0: at once


RATES = {"category": 0.10, "unseen": 0.0, "missing": 0.01, "error": 0.10}
UNITS = ("numeric", *RATES)

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
    Change("ramp of 1 sd over 10,000", "numeric", _mean(1.0, 10_000), over=10_000),
)
MARKS = (
    Change("category 10% to 20%", "category", rate=0.20),
    Change("unseen category 5%", "unseen", rate=0.05),
    Change("missing 1% to 3%", "missing", rate=0.03),
    Change("error rate 10% to 15%", "error", rate=0.15),
    Change("error rate 10% to 20%", "error", rate=0.20),
)


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


def series(
    unit: str,
    process: Process,
    n: int,
    rng: np.random.Generator,
    start: int = 0,
    change: Change | None = None,
    at: int = 0,
) -> Floats:
    """Values (n,) of events `start`, `start` + 1, ...; `change` begins at position `at`.

    Numbers for the numeric unit, else 1 for a marked event and 0 for another.
    """
    z, season = latent(process, (1, n), rng)[0], wave(process, start, n)
    if unit == "numeric":
        if change is not None and change.form is not None:
            z[at:] = change.form(z[at:], np.arange(1.0, n - at + 1))
        return z + season
    level = (z + season) / np.sqrt(1 + process.season**2 / 2)
    marked = level > threshold(RATES[unit])
    if change is not None:
        marked[at:] = level[at:] > threshold(change.rate)
    return marked.astype(float)
