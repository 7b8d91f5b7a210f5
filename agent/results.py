"""A replay's result: one object that says what was read, how the model did, and what rang."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agent import displays
from agent.model import Model
from agent.pipeline import Pipeline
from agent.publish.snapshot import Alarm

DIGITS = 12  # significant digits of a result: below them floating point is noise


def results(pipeline: Pipeline) -> dict[str, Any]:
    """The result of all models. The same input gives the same result, however it was batched."""
    return {
        "models": {
            name: result(model)
            for name, model in pipeline.models.items()
            if isinstance(model, Model)
        }
    }


def result(model: Model) -> dict[str, Any]:
    """One model's result; INTERFACE of `tocsin replay --json`."""
    performance: dict[str, dict[str, float]] = {}
    groups = displays.performance(model, model.shown_total)
    # Versions by name: they are numbered in the order in which they happened to be read.
    for version, segment, metrics in sorted(groups, key=lambda g: (g[0] != "all", g[0])):
        name = segment if version == "all" else f"version={version}"
        performance[name] = {k: _rounded(v) for k, v in metrics.items()}
    return {
        "records": _records(model),
        "from": moment(model.first_time),
        "to": moment(model.last_time),
        "panes": model.panes,
        "profile": model.profile_hash,
        "performance": performance,
        "drift": {
            target: {k: _rounded(v) for k, v in found.items()}
            for target, found in displays.drift(model, model.detected_total).items()
        },
        "fairness": fairness(model),
        "quality": {
            name: {feature: _rounded(v) for feature, v in found.items()}
            for name, found in displays.ratios(model, model.detected_total).items()
        },
        "alarms": [alarm_result(alarm) for alarm in model.alarms.history],
        "blind": blind(model),
    }


def fairness(model: Model) -> dict[str, dict[str, dict[str, float]]]:
    """{attribute: {group: {measure: value}}} over the whole replay."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    groups = displays.fairness(model, model.detected_total, model.shown_total)
    for attribute, group, measured in groups:
        rounded = {k: _rounded(v) for k, v in measured.items()}
        found.setdefault(attribute, {})[group] = rounded
    return found


def blind(model: Model) -> list[str]:
    """What could not be judged over the whole replay."""
    joined = sum(join.counts["joined"] for join in model.joins)
    reasons = []
    if model.first_time is None:
        reasons.append("no_traffic")
    if not joined:
        reasons.append("no_feedback")
    if model.learning:
        reasons.append("learning")
    if model.profile.rows < 1000 or model.detection.deaf:
        reasons.append("too_few")
    return reasons


def _records(model: Model) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for join in model.joins:
        counts.update(join.counts)
    rejected: Counter[str] = Counter()
    counters = model.counters
    for (_, reason), n in counters.rejected.items():
        rejected[reason] += n
    outcomes = ("joined", "orphan", "duplicate", "corrected", "withdrawn", "expired")
    return {
        "predictions": sum(counters.predictions.values()),
        "feedback": counters.feedback,
        **{name: counts[name] for name in outcomes},
        "forgotten": counts["forgotten"],
        "late": sum(counters.late.values()),
        "rejected": dict(sorted(rejected.items())),
    }


def alarm_result(alarm: Alarm) -> dict[str, Any]:
    """An alarm as people and programs read it."""
    return {
        "id": alarm.id,
        "kind": alarm.kind,
        "detector": alarm.detector,
        "target": alarm.target,
        "severity": alarm.severity,
        "version": alarm.version,
        "raised_at": moment(alarm.raised_at),
        "onset": moment(alarm.onset),
        "effect": {
            "measure": alarm.effect.measure,
            "value": _rounded(alarm.effect.value),
            "reference": _rounded(alarm.effect.reference),
        },
        "evidence": _rounded(alarm.evidence),
        "contributors": [
            {"feature": c.feature, "segment": c.segment or None, "share": _rounded(c.share)}
            for c in alarm.contributors
        ],
        "recommended_action": alarm.recommended_action,
    }


def moment(milliseconds: int | None) -> str | None:
    """RFC 3339 in UTC with milliseconds."""
    if milliseconds is None:
        return None
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def failing(result: Mapping[str, Any], severity: str | None) -> list[str]:
    """Alarms, one line each, for which a replay must not pass."""
    if severity is None:
        return []
    wanted = ("page",) if severity == "page" else ("page", "ticket")
    return [
        f"{name}: {a['severity']}: {a['kind']} of {a['target']} raised at {a['raised_at']}"
        for name, model in result["models"].items()
        for a in model["alarms"]
        if a["severity"] in wanted
    ]
