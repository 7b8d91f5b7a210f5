"""Metrics of what is read and sent: records, events, labels, latencies."""

from agent.publish.metrics.metric import Metric, Series, keyed, once_restored, single
from agent.publish.snapshot import Snapshot


def _rejected(snapshot: Snapshot, now: float) -> Series:
    """Rejections of each model; the model is empty where a record of a shared topic names none."""
    yield from once_restored(keyed(lambda status: status.told.rejected))(snapshot, now)
    for key, value in snapshot.unrouted.items():
        yield ("", *key), value


def _dead_letters(snapshot: Snapshot, now: float) -> Series:
    for outcome, letters in snapshot.dead_letters.items():
        yield (outcome,), letters


def _events(snapshot: Snapshot, now: float) -> Series:
    for outcome, events in snapshot.events.items():
        if outcome != "waiting":
            yield (outcome,), events


def _events_waiting(snapshot: Snapshot, now: float) -> Series:
    if "waiting" in snapshot.events:
        yield (), snapshot.events["waiting"]


METRICS: tuple[Metric, ...] = (
    Metric(
        "tocsin_predictions_total",
        "counter",
        "records",
        ("model", "version"),
        "Predictions folded, each id once.",
        once_restored(keyed(lambda status: status.told.predictions)),
    ),
    Metric(
        "tocsin_feedback_total",
        "counter",
        "records",
        ("model", "outcome"),
        "Feedback by what became of it; expired came after the horizon.",
        once_restored(keyed(lambda status: status.told.feedback)),
    ),
    Metric(
        "tocsin_rejected_total",
        "counter",
        "records",
        ("model", "topic", "reason"),
        "Records that could not be used.",
        _rejected,
    ),
    Metric(
        "tocsin_dead_letters_total",
        "counter",
        "records",
        ("outcome",),
        "Records that could not be used, by what became of them on the dead-letter topic.",
        _dead_letters,
    ),
    Metric(
        "tocsin_events_total",
        "counter",
        "events",
        ("outcome",),
        "Events for the events topic, by what became of them.",
        _events,
    ),
    Metric(
        "tocsin_events_waiting",
        "gauge",
        "events",
        (),
        "Events that the events topic has not acknowledged yet.",
        _events_waiting,
    ),
    Metric(
        "tocsin_late_total",
        "counter",
        "records",
        ("model", "topic"),
        "Records that came after their pane had closed; they count in the oldest open pane.",
        once_restored(keyed(lambda status: status.told.late)),
    ),
    Metric(
        "tocsin_forgotten_total",
        "counter",
        "predictions",
        ("model",),
        "Predictions that had to be forgotten, for want of memory, before a label could come, and "
        "feedback that waited for its prediction.",
        once_restored(single(lambda status: status.told.forgotten)),
    ),
    Metric(
        "tocsin_label_coverage_ratio",
        "gauge",
        "ratio",
        ("model",),
        "Share of predictions old enough to have a label that have one.",
        single(lambda status: status.label_coverage),
    ),
    Metric(
        "tocsin_label_delay_seconds",
        "histogram",
        "seconds",
        ("model",),
        "Time from a prediction to its label.",
        once_restored(single(lambda status: status.told.label_delay)),
    ),
    Metric(
        "tocsin_prediction_latency_seconds",
        "histogram",
        "seconds",
        ("model", "version"),
        "Time the model took, as its records say.",
        once_restored(
            keyed(lambda status: {(version,): h for version, h in status.told.latency.items()})
        ),
    ),
)
