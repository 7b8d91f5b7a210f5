"""What a reference's own order says about time: serial dependence, and the hours of the day.

Likelihood ratios multiply over independent events. Real traffic is not independent: neighbouring
events resemble each other, and noon differs from midnight. Both make naive alarms ring without a
change, hundreds of times too often.

*Serial dependence.* With D the variance of a block's summed evidence relative to what independent
events would have, evidence divided by D is a valid bet again, to the accuracy of a normal
approximation: exp(L / D) with L of mean -v/2 and variance D v has mean at most 1. D is estimated
over blocks of several lengths (Politis and Romano, 1994, on why blocks), and the largest counts.

*Season.* The mean normal score of a column by hour of the day, as two harmonics; each hour then has
cell probabilities of its own: those of the reference, moved by the hour's mean and narrowed by what
the hours explain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.ratio import cell_scores

HOURS = 24
HOUR = 3_600_000  # milliseconds
HARMONICS = 2
FEWEST_DAYS = 7  # of reference before a daily season can be told from chance
NOTABLE = 0.02  # share of a column's variance that hours must explain to count as a season
FEWEST_BLOCKS = 20
SURE = 3.0  # standard errors by which a block variance must exceed independence to count
LARGEST_TEMPER = 1000.0


def temper(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each alternative's evidence must be divided by (a,), at least 1.

    Parameters
    ----------
    evidence
        (n, a) what each reference event brings, in the order of time; any unit.
    """
    n, alternatives = evidence.shape
    found = np.ones(alternatives)
    if n < 2 * FEWEST_BLOCKS:
        return found
    centred = evidence - evidence.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    sums = np.concatenate([np.zeros((1, alternatives)), np.cumsum(centred, axis=0)])
    length = 2
    while n // length >= FEWEST_BLOCKS:
        blocks = np.diff(sums[::length], axis=0)
        ratio = (blocks**2).mean(axis=0) / np.maximum(length * variance, 1e-300)
        error = np.sqrt(2 / len(blocks))
        found = np.where(
            ratio > 1 + SURE * error, np.maximum(found, ratio * (1 + 2 * error)), found
        )
        length *= 2
    return np.minimum(np.where(variance > 0, found, 1.0), LARGEST_TEMPER)


def hour_of(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hour of the day, UTC, of times in milliseconds."""
    return time // HOUR % HOURS


@dataclass(frozen=True, slots=True)
class Season:
    """A daily season in normal scores: the mean of each hour of the day, UTC, and the rest's sd."""

    mean: tuple[float, ...]
    scale: float


def season(
    p: NDArray[np.float64], codes: NDArray[np.int64], time: NDArray[np.int64]
) -> Season | None:
    """The daily season of a numeric column, None where there is none that can be relied on.

    Fitted on every other day it must explain NOTABLE of the variance on the days between.

    Parameters
    ----------
    p
        (k,) cell probabilities of the whole reference.
    codes, time
        (n,) cell and event time (milliseconds) of each reference event.
    """
    day = time // (HOUR * HOURS)
    if len(codes) == 0 or len(np.unique(day)) < FEWEST_DAYS:
        return None
    score, design = cell_scores(p)[codes], _waves(time % (HOUR * HOURS) / (HOUR * HOURS))
    even = day % 2 == 0
    if not even.any() or even.all():
        return None
    tried = np.linalg.lstsq(design[even], score[even], rcond=None)[0]
    left, whole = score[~even] - design[~even] @ tried, score[~even] - score[even].mean()
    if 1 - (left**2).sum() / max((whole**2).sum(), 1e-300) < NOTABLE:
        return None
    weights = np.linalg.lstsq(design, score, rcond=None)[0]
    mean = _waves((np.arange(HOURS) + 0.5) / HOURS) @ weights
    rest = float((score - design @ weights).std())
    return Season(tuple(mean.tolist()), rest)


def _waves(day: NDArray[np.float64]) -> NDArray[np.float64]:
    """A constant and the harmonics (n, 1 + 2 HARMONICS) at the given shares of a day."""
    angle = 2 * np.pi * day
    waves = [f(k * angle) for k in range(1, HARMONICS + 1) for f in (np.sin, np.cos)]
    return np.stack([np.ones(len(angle)), *waves], axis=1)
