"""A snapshot as JSON, served at `/api/v1/status`; the status page shows the same object.

Times are RFC 3339 in UTC. A number that is not known is null. Keys are stable: new ones may come,
none changes its meaning. The object:

    version, taken_at, started_at, age_seconds (how old this picture is), stale, ready, ready_reason
    budgets: {page, ticket}            false alarms tolerated
    lag: [{topic, partition, records}]
    models: {NAME: MODEL}

and a MODEL:

    verdict                            ringing, blind, learning or quiet: the first that holds;
                                       elsewhere: judged by another agent
    summary                            the verdict in a line
    blind: [reason]                    reasons that hold, as `tocsin_blind` names them
    alarms, cleared: [ALARM]           standing; passed lately; both newest first
    alarms_total: [{kind, severity, count}]
    task, profile, learned, from, to, watermark, watermark_delay_seconds, panes
    records: {predictions: {version: n}, feedback: {outcome: n}, rejected: [{topic, reason, count}],
              late: {topic: n}}
    recent_rejected: [{topic, partition, offset, reason, excerpt}]
    traffic: {bucket_seconds, counts}  predictions of the last buckets, oldest first
    label_coverage, label_delay_seconds: TIMES, latency_seconds: {version: TIMES}
    evidence: [{detector, target, severity, ratio}]          nearest to its threshold first
    drift: {target: {measure: {window: value}}}
    detectable_shift: {target: standard deviations, null where none can be seen}
    missing, invalid, unseen: {feature: {window: ratio}}
    performance: [{version, segment, metric, windows: {window: value}}]
    fairness: {attribute: {group: {measure: {window: value}}}}

TIMES is {count, mean, p50, p99}. An ALARM is as in the events: id, model, version, kind, detector,
target, severity, raised_at, onset, onset_earliest, onset_latest, cleared_at, cleared_reason
(passed, accepted), acknowledged_at, acknowledged_by, acknowledged_comment, effect {measure, value,
reference}, evidence (a natural logarithm), budget, contributors [{feature, segment, share}],
offsets [{topic, partition, first, last}], profile, recommended_action, runbook.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from agent import __version__
from agent.publish.snapshot import Alarm, Histogram, ModelStatus, Snapshot

Json = dict[str, Any]
Verdict = Literal["ringing", "blind", "learning", "quiet", "elsewhere"]

STALE_AFTER = 60.0  # seconds without a new snapshot after which the pipeline is taken to hang

BLINDNESS: Mapping[str, str] = {
    "no_traffic": "few or no predictions arrive",
    "no_feedback": "no labels arrive, so accuracy cannot be seen",
    "lagging": "the agent is behind, so this is the past",
    "too_few": "too few records to judge by",
    "undecodable": "records cannot be read",
    "stale_reference": "the profile no longer describes the model",
    "learning": "the profile is being learned from traffic",
}
# What a model is bound to lack while its profile is still being learned.
EXPECTED_WHILE_LEARNING = {"learning", "too_few", "no_feedback"}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = -62_135_596_800_000, 253_402_300_799_999  # years 1 and 9999, all RFC 3339 has


def unready(snapshot: Snapshot, now: float) -> str:
    """Why the agent as a whole cannot be relied on now; empty where it can."""
    age = now - snapshot.taken_at
    if age > STALE_AFTER:
        return f"the agent hangs: its last picture is {age:.0f} s old"
    if not snapshot.ready:
        return snapshot.ready_reason or "not ready"
    return ""


def judge(status: ModelStatus, unready: str = "") -> tuple[Verdict, str]:
    """A model's verdict and the line that says why. Quiet needs data: without any it is blind."""
    if not status.is_judged and not unready:
        return "elsewhere", "another agent of the group judges this model"
    blind = [reason for (reason,), holds in status.blind.items() if holds]
    why = [BLINDNESS.get(reason, reason) for reason in blind]
    if unready:
        why.insert(0, unready)
    if status.alarms:
        parts = [f"{a.kind} of {a.target} ({a.severity})" for a in status.alarms[:2]]
        if len(status.alarms) > 2:
            parts.append(f"{len(status.alarms) - 2} more")
        return "ringing", "; ".join([", ".join(parts), *why])
    learning = not status.profile or "learning" in blind
    if unready or set(blind) - (EXPECTED_WHILE_LEARNING if learning else set()):
        return "blind", "; ".join(why)
    if not status.panes or status.first_time is None:
        return "blind", "nothing has been judged yet"
    if learning:
        return "learning", "; ".join(why) or BLINDNESS["learning"]
    ratios = {target: r for (_, target, _), r in _known(status.evidence) if r is not None}
    if not ratios:
        return "blind", "no detector has anything to judge yet"
    nearest = max(ratios, key=lambda target: ratios[target])
    return "quiet", f"nearest to an alarm is {nearest}, at {ratios[nearest]:.0%} of its threshold"


def status_json(snapshot: Snapshot, now: float | None = None) -> Json:
    """The snapshot as plain JSON values; `now` in seconds since the epoch (default: taken_at)."""
    now = snapshot.taken_at if now is None else now
    reason = unready(snapshot, now)
    return {
        "version": __version__,
        "taken_at": rfc3339(snapshot.taken_at * 1000),
        "started_at": rfc3339(snapshot.started_at * 1000),
        "age_seconds": round(max(0.0, now - snapshot.taken_at), 3),
        "stale": now - snapshot.taken_at > STALE_AFTER,
        "ready": not reason,
        "ready_reason": reason,
        "budgets": {"page": snapshot.page_budget, "ticket": snapshot.ticket_budget},
        "lag": [
            {"topic": topic, "partition": partition, "records": records if records >= 0 else None}
            for (topic, partition), records in sorted(snapshot.lag.items())
        ],
        "models": {name: _model(status, reason, now) for name, status in snapshot.models.items()},
    }


def rfc3339(milliseconds: float | None) -> str | None:
    """A time as RFC 3339; what lies beyond its years is shown as the nearest it can say."""
    if milliseconds is None:
        return None
    within = min(max(round(milliseconds), _EARLIEST), _LATEST)
    time = _EPOCH + timedelta(milliseconds=within)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _model(status: ModelStatus, unready: str, now: float) -> Json:
    verdict, summary = judge(status, unready)
    evidence = [
        {"detector": detector, "target": target, "severity": severity, "ratio": ratio}
        for (detector, target, severity), ratio in _known(status.evidence)
    ]
    performance: dict[tuple[str, str, str], Json] = {}
    for (version, metric, segment, window), value in _known(status.performance):
        performance.setdefault((version, segment, metric), {})[window] = value
    delay = None if status.watermark is None else max(0.0, now - status.watermark / 1000)
    return {
        "verdict": verdict,
        "summary": summary,
        "blind": [reason for (reason,), holds in status.blind.items() if holds],
        "alarms": [_alarm(alarm) for alarm in status.alarms],
        "cleared": [_alarm(alarm) for alarm in status.cleared],
        "alarms_total": [
            {"kind": kind, "severity": severity, "count": count}
            for (kind, severity), count in _known(status.alarms_total)
        ],
        "task": status.task,
        "profile": status.profile,
        "learned": status.learned,
        "from": rfc3339(status.first_time),
        "to": rfc3339(status.last_time),
        "watermark": rfc3339(status.watermark),
        "watermark_delay_seconds": delay,
        "panes": status.panes,
        "records": {
            "predictions": _nested(status.records.predictions),
            "feedback": _nested(status.records.feedback),
            "rejected": [
                {"topic": topic, "reason": reason, "count": count}
                for (topic, reason), count in _known(status.records.rejected)
            ],
            "late": _nested(status.records.late),
        },
        "recent_rejected": [
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "reason": record.reason,
                "excerpt": record.excerpt,
            }
            for record in status.recent_rejected
        ],
        "traffic": {
            "bucket_seconds": status.traffic_bucket / 1000 or None,
            "counts": [_finite(count) for count in status.traffic],
        },
        "label_coverage": _finite(status.label_coverage),
        "label_delay_seconds": _times(status.records.label_delay),
        "latency_seconds": {version: _times(h) for version, h in status.records.latency.items()},
        "evidence": sorted(evidence, key=lambda entry: -(entry["ratio"] or 0.0)),
        "drift": _nested(status.drift),
        "detectable_shift": {
            target: None if math.isnan(shift) else shift
            for (target,), shift in status.detectable_shift.items()
        },
        "missing": _nested(status.missing),
        "invalid": _nested(status.invalid),
        "unseen": _nested(status.unseen),
        "performance": [
            {"version": version, "segment": segment, "metric": metric, "windows": windows}
            for (version, segment, metric), windows in performance.items()
        ],
        "fairness": _nested(status.fairness),
    }


def _alarm(alarm: Alarm) -> Json:
    return {
        "id": alarm.id,
        "model": alarm.model,
        "version": alarm.version,
        "kind": alarm.kind,
        "detector": alarm.detector,
        "target": alarm.target,
        "severity": alarm.severity,
        "raised_at": rfc3339(alarm.raised_at),
        "onset": rfc3339(alarm.onset),
        "onset_earliest": rfc3339(alarm.onset_earliest),
        "onset_latest": rfc3339(alarm.onset_latest),
        "cleared_at": rfc3339(alarm.cleared_at),
        "cleared_reason": alarm.cleared_reason,
        "acknowledged_at": rfc3339(alarm.acknowledged_at),
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged_comment": alarm.acknowledged_comment,
        "effect": {
            "measure": alarm.effect.measure,
            "value": _finite(alarm.effect.value),
            "reference": _finite(alarm.effect.reference),
        },
        "evidence": _finite(alarm.evidence),
        "budget": alarm.budget,
        "contributors": [
            {
                "feature": part.feature,
                "segment": part.segment or None,
                "share": _finite(part.share),
            }
            for part in alarm.contributors
        ],
        "offsets": [
            {"topic": o.topic, "partition": o.partition, "first": o.first, "last": o.last}
            for o in alarm.offsets
        ],
        "profile": alarm.profile,
        "recommended_action": alarm.recommended_action,
        "runbook": alarm.runbook,
    }


def _times(histogram: Histogram | None) -> Json | None:
    """A histogram in four numbers; None where nothing was observed."""
    if histogram is None or not histogram.counts[-1]:
        return None
    count = histogram.counts[-1]
    return {
        "count": count,
        "mean": _finite(histogram.sum / count),
        "p50": _quantile(histogram, 0.5),
        "p99": _quantile(histogram, 0.99),
    }


def _quantile(histogram: Histogram, q: float) -> float | None:
    """As PromQL's histogram_quantile: linear within a bucket, the last finite bound at most."""
    rank = q * histogram.counts[-1]
    index = next(i for i, count in enumerate(histogram.counts) if count >= rank)
    upper = histogram.bounds[index]
    lower, below = (histogram.bounds[index - 1], histogram.counts[index - 1]) if index else (0.0, 0)
    if math.isinf(upper):
        return _finite(lower)
    inside = histogram.counts[index] - below
    return lower + (upper - lower) * (rank - below) / inside if inside else upper


def _nested(values: Mapping[tuple[str, ...], float]) -> Json:
    """A mapping by tuples as mappings in mappings, in the same order."""
    tree: Json = {}
    for key, value in _known(values):
        branch = tree
        for part in key[:-1]:
            branch = branch.setdefault(part, {})
        branch[key[-1]] = value
    return tree


def _known(
    values: Mapping[tuple[str, ...], float],
) -> list[tuple[tuple[str, ...], float | int | None]]:
    return [(key, _finite(value)) for key, value in values.items()]


def _finite(value: float | None) -> float | int | None:
    """JSON has neither NaN nor infinity; counts that came as floats are shown whole."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else value
