"""Takes the immutable picture of a model that publishers read."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from agent import displays
from agent.closed import Facts
from agent.config.units import format_duration
from agent.counters import LATENCY_BOUNDS, PANE_SECONDS_BOUNDS
from agent.detection import SEVERITIES
from agent.intake.source import TopicPartition
from agent.join import DELAY_BOUNDS
from agent.learning import Learner
from agent.model import Model
from agent.panes import NEVER
from agent.pipeline import Pipeline
from agent.publish.snapshot import (
    CheckpointStatus,
    Histogram,
    ModelStatus,
    Records,
    ReloadStatus,
    Snapshot,
)
from agent.tally import Numbers, numbers, part, total

OUTCOMES = ("joined", "orphan", "duplicate", "corrected", "withdrawn", "expired")
BLIND = (
    "no_traffic",
    "no_feedback",
    "lagging",
    "too_few",
    "undecodable",
    "stale_reference",
    "learning",
)
NO_CHECKPOINTS, NEVER_RELOADED = CheckpointStatus(), ReloadStatus()
LAGGING = 300_000  # ms that the watermark may be behind the clock while records wait
FEW_LABELS = 100  # predictions old enough for a label before their absence is called blindness
LABELS_BY = 86_400_000  # ms of traffic after which a first label is missed, or the horizon
FEW_REFERENCE = 1000  # reference rows below which little can be promised


def snapshot(
    pipeline: Pipeline,
    lag: Mapping[TopicPartition, int],
    now: float,
    started_at: float,
    not_ready: str,
    checkpoints: CheckpointStatus = NO_CHECKPOINTS,
    events: Mapping[str, int] = MappingProxyType({}),
    reload: ReloadStatus = NEVER_RELOADED,
    is_restored: bool = True,
    panes_refused: int = 0,
) -> Snapshot:
    """Everything at one moment.

    `not_ready` says why the agent is not ready, or nothing. `is_restored`: the models have what
    checkpoints hold of them. `panes_refused` counts messages of the panes topic that fit no model.
    """
    return Snapshot(
        taken_at=now,
        started_at=started_at,
        ready=not not_ready,
        ready_reason=not_ready,
        is_restored=is_restored,
        models={name: status(model, lag, now) for name, model in pipeline.models.items()},
        lag=dict(lag),
        checkpoints=checkpoints,
        reload=reload,
        unrouted={key: n for key, n in pipeline.unrouted.items()},
        dead_letters=dict(pipeline.letters.counts),
        events=dict(events),
        panes_refused=panes_refused,
        page_budget=str(pipeline.config.alerts.page),
        ticket_budget=str(pipeline.config.alerts.ticket),
    )


def status(model: Model | Learner, lag: Mapping[TopicPartition, int], now: float) -> ModelStatus:
    """One model's numbers: what its partitions here have counted, and what is judged here."""
    if isinstance(model, Learner):
        return _learning(model)
    folded = ModelStatus(
        model=model.name,
        task=model.profile.schema.task,
        profile=model.profile_hash,
        learned=model.profile.learned,
        first_time=model.first_time,
        last_time=model.last_time,
        watermark=None,
        panes=model.panes,
        is_judged=model.is_judged,
        records=_records(total(numbers(fold) for fold in model.folds.values()), model),
        told=_records(model.tally.told(model.folds), model),
        recent_rejected=tuple(reversed(model.recent_rejected)),
    )
    return _judged(folded, model, lag, now) if model.is_judged else folded


def _records(counts: Numbers, model: Model) -> Records:
    feedback, rejected = part(counts, "feedback"), Counter(part(counts, "rejected"))
    rejected.update({key: n for key, n in model.unlearnable.items()})
    return Records(
        predictions=part(counts, "predictions"),
        feedback={(outcome,): feedback.get((outcome,), 0) for outcome in OUTCOMES},
        rejected=rejected,
        forgotten=float(feedback.get(("forgotten",), 0)),
        late=part(counts, "late"),
        label_delay=_label_delay(counts) if counts or model.folds else None,
        latency={v: _latency(counts, v) for v in {key[0]: () for key in part(counts, "latency")}},
    )


def _judged(
    folded: ModelStatus, model: Model, lag: Mapping[TopicPartition, int], now: float
) -> ModelStatus:
    facts = model.facts
    known, labelled = (sum(getattr(f, n) for f in facts) for n in ("remembered", "labelled"))
    names = {w: format_duration(w) for w in model.detected}
    ratios = {names[w]: displays.ratios(model, d.total) for w, d in model.detected.items()}
    return replace(
        folded,
        watermark=model.watermark if model.watermark > NEVER else None,
        label_coverage=labelled / known if known else None,
        missing=_by_window(ratios, "missing"),
        invalid=_by_window(ratios, "invalid"),
        unseen=_by_window(ratios, "unseen"),
        drift={
            (target, measure, names[w]): value
            for w, window in model.detected.items()
            for target, found in displays.drift(model, window.total).items()
            for measure, value in found.items()
        },
        evidence=_evidence(model),
        performance={
            (version, metric, segment, names[w]): value
            for w, window in model.shown.items()
            for version, segment, metrics in displays.performance(model, window.total)
            for metric, value in metrics.items()
        },
        fairness={
            (attribute, group, measure, names[w]): value
            for w, window in model.detected.items()
            for attribute, group, measured in displays.fairness(
                model, window.total, model.shown[w].total
            )
            for measure, value in measured.items()
        },
        detectable_shift={(t,): shift for t, shift in model.detectable_shifts().items()},
        blind=_blind(model, lag, now, facts),
        alarms=tuple(sorted(model.alarms.standing.values(), key=lambda a: -a.raised_at)),
        cleared=tuple(model.alarms.cleared),
        alarms_total={key: n for key, n in model.alarm_counts.items()},
        pane_seconds=_histogram(
            PANE_SECONDS_BOUNDS, model.pane_seconds.counts, model.pane_seconds.sum
        ),
        traffic=model.traffic(),
        traffic_bucket=model.traffic_bucket,
    )


def _learning(learner: Learner) -> ModelStatus:
    records = Records(rejected={key: n for key, n in learner.rejected.items()})
    return ModelStatus(
        model=learner.name,
        task=learner.config.task,
        profile="",
        learned=True,
        first_time=None,
        last_time=None,
        watermark=None,
        panes=0,
        records=records,
        told=records,
        blind={(reason,): float(reason == "learning") for reason in BLIND},
        learning=(learner.seen, learner.config.warmup),
    )


def _label_delay(told: Numbers) -> Histogram:
    counts = [told["delay", str(bucket)] for bucket in range(len(DELAY_BOUNDS) + 1)]
    return _histogram(DELAY_BOUNDS / 1000, counts, told["delay_sum",] / 1000)


def _latency(told: Numbers, version: str) -> Histogram:
    counts = [told["latency", version, str(bucket)] for bucket in range(len(LATENCY_BOUNDS) + 1)]
    return _histogram(LATENCY_BOUNDS, counts, told["latency_sum", version] / 1e6)


def _by_window(
    ratios: Mapping[str, Mapping[str, Mapping[str, float]]], name: str
) -> dict[tuple[str, ...], float]:
    return {
        (feature, window): value
        for window, found in ratios.items()
        for feature, value in found[name].items()
    }


def _evidence(model: Model) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for severity, state in zip(SEVERITIES, model.state.budgets, strict=True):
        budget = model.detection.budgets[severity]
        for stream, share in zip(budget.streams, budget.share(state).tolist(), strict=True):
            found[stream.detector, stream.target, severity] = share
    return found


def _blind(
    model: Model, lag: Mapping[TopicPartition, int], now: float, facts: list[Facts]
) -> dict[tuple[str, ...], float]:
    """Each way of not seeing, and whether it holds: green never means that there are no data."""
    topics = (model.config.predictions.topic, model.config.feedback.topic)
    waiting = any(n > 0 for (topic, _), n in lag.items() if topic in topics)
    latest = model.detected[max(model.detected)].total
    first = model.cells.columns[0]
    rows = int(latest[first.start : first.stop].sum())
    unlabelled = sum(f.remembered - f.labelled for f in facts)
    accepted, rejected = (sum(getattr(f, n) for f in facts) for n in ("accepted", "rejected"))
    patience = min(model.config.feedback.horizon, LABELS_BY)
    since_label = model.watermark - (model.last_joined or model.first_time or model.watermark)
    holds = {
        "no_traffic": rows == 0 or any(a.kind == "silence" for a in model.alarms.standing.values()),
        "no_feedback": unlabelled >= FEW_LABELS and since_label >= patience,
        "lagging": waiting and model.watermark < now * 1000 - LAGGING,
        "too_few": model.profile.rows < FEW_REFERENCE or bool(model.detection.deaf),
        "undecodable": rejected > accepted,
        "stale_reference": False,
        "learning": model.learning,
    }
    return {(reason,): float(holds[reason]) for reason in BLIND}


def _histogram(bounds: ArrayLike, counts: ArrayLike, total: float) -> Histogram:
    upper = (*np.asarray(bounds, dtype=float).tolist(), float("inf"))
    return Histogram(upper, tuple(np.cumsum(counts).tolist()), float(total))
