"""What the alert budget means for a profile: what is promised, how soon a change would ring."""

from dataclasses import dataclass
from math import exp, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.config import Config
from agent.detection import Detection
from agent.folding import fold_batch, fold_outcomes
from agent.intake.table import Reference
from agent.model import Model
from agent.panes import summed
from agent.reference import columns_of
from detectors.accuracy.reliability import FEWEST_ROWS
from detectors.batch import Batch, protected_codes
from detectors.budget import Ring
from detectors.evidence import Detector, RatioDetector, Severity
from detectors.fairness.gap import FEWEST_REFERENCE, Gap
from detectors.pane import PaneCells, reference_outcomes
from detectors.power import SHIFTS, power
from detectors.profile import Profile, build_profile
from detectors.rates import ERROR, hourly_rates
from detectors.ratio import SCALE
from detectors.registry import calibrated
from detectors.season import DAY
from detectors.season_fit import FEWEST_DAYS, WEEK_FROM
from detectors.traffic.volume import FEWEST_TICKS, Traffic

FITTED = 0.7  # share of the reference that the check on held-out rows is fitted on
SHOWN = (0.25, 0.5, 1.0)  # shifts, standard deviations
FACTORS = (1.5, 2.0)  # of the error rate
ENOUGH = 200  # rows that a part of the reference needs for the check
CHANCE = 0.05  # probability of as many false alarms below which the check has failed


@dataclass(frozen=True, slots=True)
class StreamPromise:
    """One stream: what its evidence rests on, and after how many events a change rings.

    `temper` is the largest divisor for serial dependence. `delays` are by change, in events;
    infinite where it would not ring.
    """

    detector: str
    target: str
    severity: Severity
    basis: str
    temper: float
    season: bool
    delays: dict[str, float]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """False alarms on the last part of the reference, judged by a profile of the first part."""

    rows: int
    days: float
    tolerated: dict[str, float]  # by severity, in that time
    rung: dict[str, list[str]]  # detector and target of each alarm, by severity


@dataclass(frozen=True, slots=True)
class Promise:
    """What the budget means for one profile."""

    per_second: float | None
    streams: tuple[StreamPromise, ...]
    held_out: HeldOut | None
    not_promised: tuple[str, ...]  # and why; one line each


def promise(name: str, config: Config, reference: Reference, profile: Profile) -> Promise:
    """What the budget of `config` means for a model with this profile."""
    model = Model(name, config.models[name], config, profile, "")
    per_second = profile.traffic.per_second if profile.traffic is not None else None
    streams = [
        _stream(model, detector, severity, per_second or 1.0)
        for severity in model.detection.budgets
        for detector in model.detection.of(severity)
    ]
    batch, label = columns_of(reference, profile.schema)
    held = _held_out(model, profile, batch, label)
    broken = [] if held is None else _broken(held)
    return Promise(per_second, tuple(streams), held, (*_not_promised(model), *broken))


def _stream(
    model: Model, detector: Detector, severity: Severity, per_second: float
) -> StreamPromise:
    stream, budget = detector.stream, model.detection.budgets[severity]
    weight = budget.weight(stream)
    delays: dict[str, float] = {}
    season = False
    if isinstance(detector, RatioDetector):
        season = detector.table.ndim == 3
        delays = _delays(model, detector, budget.rate, weight, per_second)
    tempers = model.profile.tempers.get(f"{stream.detector}/{stream.target}", (1.0,))
    return StreamPromise(
        stream.detector, stream.target, severity, stream.basis, max(tempers), season, delays
    )


def _delays(
    model: Model, detector: RatioDetector, tolerated: float, weight: float, per_second: float
) -> dict[str, float]:
    """Events until a change rings, by change."""
    stream = detector.stream
    if stream.detector == "numeric_drift":
        column = model.cells.column(stream.target).numeric
        assert column is not None
        found = power(detector, column).delay(per_second, weight, tolerated)
        return {f"{s:g} sd": float(found[s == SHIFTS][0]) for s in SHOWN}
    if stream.detector == "error_rate":
        error = model.profile.error
        assert error is not None
        rates, often = hourly_rates(error.counts[1] / error.rows, model.profile.seasons.get(ERROR))
        return {
            f"errors x{f:g}": _rate_delay(
                detector, np.minimum(rates * f, 1.0), often, weight, tolerated, per_second
            )
            for f in FACTORS
        }
    return {}


def _rate_delay(
    detector: RatioDetector,
    rates: NDArray[np.float64],
    often: NDArray[np.float64],
    weight: float,
    tolerated: float,
    per_second: float,
) -> float:
    """Events until an alarm with these rates (m,), each for its share of the time (m,)."""
    tables = detector.table.reshape(len(rates), 2, -1) / SCALE
    gathered = often @ ((1 - rates)[:, None] * tables[:, 0] + rates[:, None] * tables[:, 1])
    spread = detector.stream.spread()
    best = int(np.where(spread > 0, gathered, -np.inf).argmax())
    growth, share = float(gathered[best]), float(spread[best])
    if growth <= 0 or share <= 0:
        return float("inf")
    start = weight * share * tolerated * 1000 / per_second / growth
    return float(max(-np.log(min(start, 0.5)), 0.0) / growth)


def _held_out(
    model: Model, profile: Profile, batch: Batch, label: NDArray[np.float64] | None
) -> HeldOut | None:
    """Rows in the order of time; None without times or where a part would be too small."""
    if not len(batch) or batch.time.min() < 0:
        return None
    order = np.lexsort((batch.id, batch.time))
    cut = int(len(order) * FITTED)
    first, last = order[:cut], order[cut:]
    if min(len(first), len(last)) < ENOUGH:
        return None
    known = (None, None) if label is None else (label[first], label[last])
    fitted = build_profile(profile.schema, batch.take(first), known[0], model.pane)
    fitted = calibrated(fitted, batch.take(first), known[0])
    judge = Model(model.name, model.config, model.settings, fitted, "")
    rows = batch.take(last)
    rung = _rings(judge.detection, fitted, rows, known[1], model.pane)
    span = int(rows.time[-1] - rows.time[0])
    tolerated: dict[str, float] = {s: b.rate * span for s, b in judge.detection.budgets.items()}
    return HeldOut(len(rows), span / 86_400_000, tolerated, rung)


def _rings(
    detection: Detection,
    profile: Profile,
    rows: Batch,
    label: NDArray[np.float64] | None,
    pane: int,
) -> dict[str, list[str]]:
    cells = PaneCells(profile)
    entries = [fold_batch(cells, rows, pane)]
    if label is not None:
        outcomes = reference_outcomes(rows, label, protected_codes(profile.schema, rows))
        entries.append(fold_outcomes(cells, outcomes, pane))
    end = (int(rows.time[-1]) // pane + 1) * pane
    _, happened = detection.step(detection.start(), summed(entries), end)
    rung: dict[str, list[str]] = {severity: [] for severity in detection.budgets}
    for h in happened:
        if isinstance(h.what, Ring):
            stream = detection.budgets[h.severity].streams[h.what.stream]
            rung[h.severity].append(f"{stream.detector} of {stream.target}")
    return rung


def _broken(held: HeldOut) -> list[str]:
    """Where the held-out rows rang more often than chance explains (Poisson, 5%)."""
    found = []
    for severity, tolerated in held.tolerated.items():
        rung = len(held.rung[severity])
        fewer = sum(exp(-tolerated) * tolerated**k / factorial(k) for k in range(rung))
        if rung and 1 - fewer < CHANCE:
            found.append(
                f"{severity}s: held-out reference rang {rung} times where {tolerated:.2g} are "
                "tolerated, so the reference was not at rest, or has a pattern longer than itself: "
                f"cannot be promised of {', '.join(held.rung[severity])}"
            )
    return found


def _not_promised(model: Model) -> list[str]:
    found, profile = [], model.profile
    if profile.rows < 1000:
        found.append(f"{profile.rows} reference rows are too few to promise anything")
    for stream in model.detection.deaf:
        key = f"{stream.detector}/{stream.target}"
        worth = profile.rows / profile.dispersion(key, stream.alternatives).max()
        found.append(
            f"{stream.detector} of {stream.target}: {profile.rows} reference rows are worth "
            f"{worth:.0f} independent ones, too few to tell any change by"
        )
    if profile.first_time is None:
        found.append(
            "without times in the reference, dependence is taken from the order of rows, seasons "
            "cannot be learned, and traffic is not watched"
        )
    elif (days := _days(profile)) < FEWEST_DAYS:
        found.append(
            "less than a week of reference: a daily season counts only where each of two whole "
            "days or more repeats it"
        )
    elif days < WEEK_FROM:
        found.append("less than three weeks of reference: days of the week cannot be told apart")
    if profile.first_time is not None:
        found += _traffic_not_watched(model)
    gaps = [d.stream.target for d in model.detection.detectors if isinstance(d, Gap)]
    for attribute in profile.schema.protected:
        if not any(target.startswith(f"{attribute}=") for target in gaps):
            few = f"fewer than two groups have {FEWEST_REFERENCE} reference rows to be compared by"
            found.append(f"fairness of {attribute}: {few}")
    if profile.error is None:
        found.append("without labels in the reference, accuracy is not watched")
    elif profile.calibration is None and profile.schema.score_columns:
        found.append(
            f"fewer than {FEWEST_ROWS:,} labelled rows with a score: calibration is not watched"
        )
    return found


def _traffic_not_watched(model: Model) -> list[str]:
    watched = next((d.traffic for d in model.detection.detectors if isinstance(d, Traffic)), None)
    if watched is None:
        return [
            f"traffic is not watched: the reference is shorter than a day, or than {FEWEST_TICKS} "
            "of its longest gaps"
        ]
    unknown = sum(high == 0 for high in watched.high)
    if unknown:
        return [f"traffic is not watched in the {unknown} hours of a week that the reference lacks"]
    return []


def _days(profile: Profile) -> int:
    """Calendar days (UTC) over which the reference's times reach."""
    return (profile.last_time or 0) // DAY - (profile.first_time or 0) // DAY + 1


def as_json(found: Promise) -> dict[str, Any]:
    """For `--json`; an infinite delay is null."""
    return {
        "per_second": found.per_second,
        "streams": [
            {
                "detector": s.detector,
                "target": s.target,
                "severity": s.severity,
                "basis": s.basis,
                "temper": s.temper,
                "season": s.season,
                "delay_events": {k: v if np.isfinite(v) else None for k, v in s.delays.items()},
            }
            for s in found.streams
        ],
        "held_out": None
        if found.held_out is None
        else {
            "rows": found.held_out.rows,
            "days": found.held_out.days,
            "tolerated": found.held_out.tolerated,
            "rung": found.held_out.rung,
        },
        "not_promised": list(found.not_promised),
    }
