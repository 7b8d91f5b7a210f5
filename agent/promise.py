"""What the alert budget means for a profile: what is promised, how soon a change would ring."""

from dataclasses import dataclass, replace
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
from detectors.batch import Batch
from detectors.budget import Ring
from detectors.evidence import RatioDetector, Severity
from detectors.pane import PaneCells, reference_outcomes
from detectors.power import SHIFTS, power
from detectors.profile import Profile, build_profile
from detectors.ratio import SCALE
from detectors.registry import calibrated

FITTED = 0.7  # share of the reference that the check on held-out rows is fitted on
SHOWN = (0.25, 0.5, 1.0)  # shifts, standard deviations
FACTORS = (1.5, 2.0)  # of the error rate
ENOUGH = 200  # rows that a part of the reference needs for the check


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
    not_promised: tuple[str, ...]


def promise(name: str, config: Config, reference: Reference, profile: Profile) -> Promise:
    """What the budget of `config` means for a model with this profile."""
    model = Model(name, config.models[name], config, profile, "")
    per_second = profile.traffic.per_second if profile.traffic is not None else None
    streams = [
        _stream(model, detector, severity, per_second or 1.0)
        for severity in model.detection.budgets
        for detector in model.detection.of(severity)
        if isinstance(detector, RatioDetector)
    ]
    batch, label = columns_of(reference, profile.schema)
    return Promise(
        per_second,
        tuple(streams),
        _held_out(model, profile, batch, label),
        tuple(_not_promised(profile)),
    )


def _stream(
    model: Model, detector: RatioDetector, severity: Severity, per_second: float
) -> StreamPromise:
    stream, budget = detector.stream, model.detection.budgets[severity]
    weight = budget.weight(stream)
    delays: dict[str, float] = {}
    season = False
    if stream.detector == "numeric_drift":
        column = model.cells.column(stream.target).numeric
        assert column is not None
        season = column.season is not None
        found = power(detector, column).delay(per_second, weight, budget.rate)
        delays = {f"{s:g} sd": float(found[s == SHIFTS][0]) for s in SHOWN}
    elif stream.detector == "error_rate":
        error = model.profile.error
        assert error is not None
        rate = error.counts[1] / error.rows
        delays = {
            f"errors x{f:g}": _rate_delay(
                detector, min(rate * f, 1.0), weight, budget.rate, per_second
            )
            for f in FACTORS
        }
    tempers = model.profile.tempers.get(f"{stream.detector}/{stream.target}", (1.0,))
    return StreamPromise(
        stream.detector, stream.target, severity, stream.basis, max(tempers), season, delays
    )


def _rate_delay(
    detector: RatioDetector, rate: float, weight: float, tolerated: float, per_second: float
) -> float:
    gathered = np.array([1 - rate, rate]) @ (detector.table / SCALE)
    best = int(gathered.argmax())
    growth, share = float(gathered[best]), float(detector.stream.spread()[best])
    if growth <= 0:
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
    fitted = replace(calibrated(fitted, batch.take(first), known[0]), traffic=None)
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
        entries.append(fold_outcomes(cells, reference_outcomes(rows, label), pane))
    end = (int(rows.time[-1]) // pane + 1) * pane
    _, happened = detection.step(detection.start(), summed(entries), end)
    rung: dict[str, list[str]] = {severity: [] for severity in detection.budgets}
    for h in happened:
        if isinstance(h.what, Ring):
            stream = detection.budgets[h.severity].streams[h.what.stream]
            rung[h.severity].append(f"{stream.detector} of {stream.target}")
    return rung


def _not_promised(profile: Profile) -> list[str]:
    found = []
    if profile.rows < 1000:
        found.append(f"{profile.rows} reference rows are too few to promise anything")
    if profile.first_time is None:
        found.append(
            "without times in the reference, dependence is taken from the order of rows, a daily "
            "season cannot be learned, and silence is not watched"
        )
    elif (profile.last_time or 0) - profile.first_time < 7 * 86_400_000:
        found.append("less than a week of reference: a daily season cannot be learned")
    if profile.error is None:
        found.append("without labels in the reference, accuracy is not watched")
    return found


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
