"""Rates: how often something happens, against how often it happened in the reference.

What missing values, errors and categories have in common: one-sided Bernoulli likelihood ratios
whose nulls are limits of the reference rate. The serial dependence of the reference widens the
limits, and a season moves null and alternative together, in log-odds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.batch import INVALID, MISSING, UNSEEN, Batch, Schema
from detectors.dependence import FEWEST_INDEPENDENT
from detectors.ratio import SCALE, USABLE, rate_nulls, rate_table
from detectors.season import ODDS_STEP, Season
from detectors.season_fit import rate_season
from detectors.sketch import Counts

Floats = NDArray[np.float64]
FEWEST_HAPPENED = 50  # times that something must have, and have not, for a season to show
WATCHED = 20  # categories of a column, the most frequent ones
ERROR = "error"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What it is worth that an event does not, or does, happen.

    Parameters
    ----------
    table
        (m, 2, a) nats times SCALE for each level of the season; m is 1 without one.
    slots
        (s,) the level in each quarter of an hour of the day or the week.
    expected
        (m, a) mean nats of an event at the reference rate.
    bet
        (a,) whether the alternative lies far enough beyond its null to be worth a bet.
    """

    table: Counts
    slots: NDArray[np.int64]
    expected: Floats
    bet: NDArray[np.bool_]


def rate_evidence(
    happened: float,
    trials: float,
    alternatives: Floats,
    immaterial: float,
    upper: bool = True,
    dispersion: Floats | float = 1.0,
    season: Season | None = None,
    tolerated: float = 0.0,
) -> Evidence:
    """Evidence for rates beyond that of the reference.

    Parameters
    ----------
    happened, trials
        How often it happened in the reference.
    alternatives
        (a,) rates in (0, 1), all above the reference rate (`upper`) or all below it.
    immaterial
        Change of the rate that does not count.
    dispersion
        (a,) variance of the reference's count relative to independent events.
    season
        Of the rate, if it has one.
    tolerated
        Rate up to which nothing counts.
    """
    q = alternatives
    rate = (happened + 0.5) / (trials + 1)
    spread = np.broadcast_to(np.asarray(dispersion, dtype=np.float64), q.shape)
    levels, slots = (np.zeros(1), np.zeros(1, dtype=np.int64))
    if season is not None:
        levels, slots = season.levels(ODDS_STEP)
        spread = trials / season.effective(trials, _divergence(q, rate), spread)
    null = rate_nulls(happened, trials, q, upper, spread) + immaterial * (1 if upper else -1)
    null = np.clip(np.maximum(null, tolerated), 1e-9, 1 - 1e-9)
    beyond = (q > null) if upper else (q < null)
    beyond &= trials / np.asarray(dispersion) >= FEWEST_INDEPENDENT
    # As for other alternatives (`detectors.ratio.usable`).
    bet = beyond & (_divergence(q, null) > USABLE * _divergence(q, rate))
    made = [
        rate_table(_rate(_log_odds(null) + level), _rate(_log_odds(q) + level)) for level in levels
    ]
    table = np.where(bet, np.stack(made), 0)
    happens = _rate(_log_odds(np.array([rate])) + levels)[:, None]
    expected = ((1 - happens) * table[:, 0] + happens * table[:, 1]) / SCALE
    return Evidence(table, slots, expected, bet)


def hourly_rates(rate: float, season: Season | None) -> tuple[Floats, Floats]:
    """A rate at each level of its season, in the order of `Evidence.table`, and how often (m,)."""
    if season is None:
        return np.array([rate]), np.ones(1)
    levels, slots = season.levels(ODDS_STEP)
    return _rate(_log_odds(np.array([rate])) + levels), np.bincount(slots) / len(slots)


def rate_seasons(schema: Schema, batch: Batch, wrong: Floats | None) -> dict[str, Season]:
    """Seasons of everything about the reference that is a rate; only those that there are.

    By `column/missing`, `column/invalid`, `column/unseen`, `column=category` and `error`.

    Parameters
    ----------
    batch
        The reference (n rows).
    wrong
        (n,) whether a prediction was wrong, NaN where its label is not known; None for a number.
    """
    if not len(batch) or batch.time.min() < 0:
        return {}
    rates: dict[str, NDArray[np.bool_]] = {}
    for i, number in enumerate(schema.numeric):
        rates[f"{number.name}/missing"] = np.isnan(batch.numeric[:, i]) & ~batch.invalid[:, i]
        rates[f"{number.name}/invalid"] = batch.invalid[:, i]
    columns = [
        (f.name, f.categories, batch.category[:, i]) for i, f in enumerate(schema.categorical)
    ]
    for name, categories, codes in columns:
        for extra, offset in (("unseen", UNSEEN), ("missing", MISSING), ("invalid", INVALID)):
            rates[f"{name}/{extra}"] = codes == len(categories) + offset
    if schema.task != "regression":
        columns.append(("prediction", schema.classes, batch.prediction.astype(np.int32)))
    found = {key: _of(happened, batch.time) for key, happened in rates.items()}
    for name, categories, codes in columns:
        known = codes < len(categories) + UNSEEN + 1
        counts = np.bincount(codes[known], minlength=len(categories))[: len(categories)]
        for i in np.argsort(-counts, kind="stable")[:WATCHED]:
            found[f"{name}={categories[i]}"] = _of(codes[known] == i, batch.time[known])
    if wrong is not None:
        labelled = ~np.isnan(wrong)
        found[ERROR] = _of(wrong[labelled] > 0, batch.time[labelled])
    return {key: season for key, season in found.items() if season is not None}


def _of(happened: NDArray[np.bool_], time: NDArray[np.int64]) -> Season | None:
    often = int(happened.sum())
    if min(often, len(happened) - often) < FEWEST_HAPPENED:
        return None
    return rate_season(happened, time)


def _divergence(q: Floats, p: Floats | float) -> Floats:
    """Kullback-Leibler divergence (a,) of rates q from rates p, nats an event."""
    return np.asarray(q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)))


def _log_odds(rate: Floats) -> Floats:
    return np.asarray(np.log(rate / (1 - rate)))


def _rate(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
