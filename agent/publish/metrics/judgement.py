"""Metrics of what is made of it: data quality, drift, performance, alarms, blindness."""

from agent.publish.metrics.metric import Labels, Metric, keyed, once_restored
from agent.publish.snapshot import ModelStatus


def _alarm_states(status: ModelStatus) -> dict[Labels, float]:
    """1 for what stands; 0 for what has cleared lately, so that alerts on it resolve at once."""
    states: dict[Labels, float] = {}
    for alarms, state in ((status.cleared, 0.0), (status.alarms, 1.0)):
        states |= {(alarm.kind, alarm.target, alarm.severity): state for alarm in alarms}
    return states


def _acknowledged(status: ModelStatus) -> dict[Labels, float]:
    """Of what stands: 1 where somebody looks after each alarm of these labels."""
    states: dict[Labels, float] = {}
    for alarm in status.alarms:
        key = (alarm.kind, alarm.target, alarm.severity)
        states[key] = min(states.get(key, 1.0), float(alarm.acknowledged_at is not None))
    return states


METRICS: tuple[Metric, ...] = (
    Metric(
        "tocsin_missing_ratio",
        "gauge",
        "ratio",
        ("model", "feature", "window"),
        "Share of records in which the feature is missing.",
        keyed(lambda status: status.missing),
    ),
    Metric(
        "tocsin_invalid_ratio",
        "gauge",
        "ratio",
        ("model", "feature", "window"),
        "Share of records in which the feature has a value of the wrong type or out of its range.",
        keyed(lambda status: status.invalid),
    ),
    Metric(
        "tocsin_unseen_ratio",
        "gauge",
        "ratio",
        ("model", "feature", "window"),
        "Share of records in which the feature has a category that the profile does not know.",
        keyed(lambda status: status.unseen),
    ),
    Metric(
        "tocsin_drift",
        "gauge",
        "1",
        ("model", "target", "measure", "window"),
        "Distance of the target's distribution from the profile's.",
        keyed(lambda status: status.drift),
    ),
    Metric(
        "tocsin_evidence_ratio",
        "gauge",
        "ratio",
        ("model", "detector", "target", "severity"),
        "Share of the alarm threshold that the evidence has reached, 0 to 1.",
        once_restored(keyed(lambda status: status.evidence)),
    ),
    Metric(
        "tocsin_alarm",
        "gauge",
        "1",
        ("model", "kind", "target", "severity"),
        "1 while the alarm stands, 0 for a while after it has cleared.",
        keyed(_alarm_states),
    ),
    Metric(
        "tocsin_alarm_acknowledged",
        "gauge",
        "1",
        ("model", "kind", "target", "severity"),
        "1 once somebody has acknowledged the standing alarm, 0 before.",
        keyed(_acknowledged),
    ),
    Metric(
        "tocsin_alarms_total",
        "counter",
        "alarms",
        ("model", "kind", "severity"),
        "Alarms raised.",
        once_restored(keyed(lambda status: status.alarms_total)),
    ),
    Metric(
        "tocsin_performance",
        "gauge",
        "of the metric",
        ("model", "version", "metric", "segment", "window"),
        "Performance on predictions whose label has come.",
        keyed(lambda status: status.performance),
    ),
    Metric(
        "tocsin_fairness",
        "gauge",
        "of the measure",
        ("model", "attribute", "group", "measure", "window"),
        "A group of a protected attribute beside the rest; of all predictions, or of joined rows.",
        keyed(lambda status: status.fairness),
    ),
    Metric(
        "tocsin_blind",
        "gauge",
        "1",
        ("model", "reason"),
        "1 while the model cannot be judged for this reason, else 0.",
        keyed(lambda status: status.blind),
    ),
    Metric(
        "tocsin_detectable_shift",
        "gauge",
        "standard deviations",
        ("model", "target"),
        "Smallest shift of a number that an hour of today's traffic can show under the budget.",
        keyed(lambda status: status.detectable_shift),
    ),
)
