"""Every metric, defined once: name, type, unit, labels, help, and where its numbers come from.

The only module that knows prometheus_client. `docs/metrics.md` is `documentation()`, and whatever
else needs names (rules, dashboards) reads `METRICS`.
"""

import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from agent import __version__
from agent.publish.snapshot import Histogram, ModelStatus, Snapshot

Labels = tuple[str, ...]
Series = Iterator[tuple[Labels, float | Histogram]]
Read = Callable[[Snapshot, float], Series]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. `read(snapshot, now)` yields its series: label values in the order of `labels`."""

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    unit: str
    labels: Labels
    help: str
    read: Read


def _keyed(pick: Callable[[ModelStatus], Mapping[Labels, float | Histogram]]) -> Read:
    """Series of a mapping that each model has; the model's name comes before the mapping's key."""

    def read(snapshot: Snapshot, now: float) -> Series:
        for name, status in snapshot.models.items():
            for key, value in pick(status).items():
                yield (name, *key), value

    return read


def _rejected(snapshot: Snapshot, now: float) -> Series:
    """Rejections of each model; the model is empty where a record of a shared topic names none."""
    yield from _keyed(lambda status: status.rejected)(snapshot, now)
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


def _single(pick: Callable[[ModelStatus], float | Histogram | None]) -> Read:
    """One series a model, none where there is nothing to say."""

    def read(snapshot: Snapshot, now: float) -> Series:
        for name, status in snapshot.models.items():
            value = pick(status)
            if value is not None:
                yield (name,), value

    return read


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


def _watermark_delay(snapshot: Snapshot, now: float) -> Series:
    # Against the clock of the scrape and not of the snapshot: a hung pipeline must show.
    for name, status in snapshot.models.items():
        if status.watermark is not None:
            yield (name,), max(0.0, now - status.watermark / 1000)


def _only(pick: Callable[[Snapshot], float]) -> Read:
    """One series without labels."""

    def read(snapshot: Snapshot, now: float) -> Series:
        yield (), float(pick(snapshot))

    return read


def _checkpoint_age(snapshot: Snapshot, now: float) -> Series:
    for name, saved_at in snapshot.checkpoints.saved_at.items():
        yield (name,), max(0.0, now - saved_at)


def _restores(snapshot: Snapshot, now: float) -> Series:
    for outcome, records in snapshot.checkpoints.restores.items():
        yield (outcome,), records


def _missed(snapshot: Snapshot, now: float) -> Series:
    for topic, records in snapshot.checkpoints.missed.items():
        yield (topic,), records


def _lag(snapshot: Snapshot, now: float) -> Series:
    for (topic, partition), records in snapshot.lag.items():
        if records >= 0:  # -1: not known
            yield (topic, str(partition)), float(records)


def _pane_seconds(snapshot: Snapshot, now: float) -> Series:
    histograms = [s.pane_seconds for s in snapshot.models.values() if s.pane_seconds is not None]
    if histograms:
        counts = zip(*(h.counts for h in histograms), strict=True)
        total = Histogram(
            histograms[0].bounds, tuple(map(sum, counts)), sum(h.sum for h in histograms)
        )
        yield (), total


def _build_info(snapshot: Snapshot, now: float) -> Series:
    yield (__version__, platform.python_version()), 1.0


METRICS: tuple[Metric, ...] = (
    Metric(
        "tocsin_predictions_total",
        "counter",
        "records",
        ("model", "version"),
        "Predictions folded, each id once.",
        _keyed(lambda status: status.predictions),
    ),
    Metric(
        "tocsin_feedback_total",
        "counter",
        "records",
        ("model", "outcome"),
        "Feedback by what became of it, and predictions whose label never came (expired).",
        _keyed(lambda status: status.feedback),
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
        _keyed(lambda status: status.late),
    ),
    Metric(
        "tocsin_forgotten_total",
        "counter",
        "predictions",
        ("model",),
        "Predictions that had to be forgotten, for want of memory, before a label could come, and "
        "feedback that waited for its prediction.",
        _single(lambda status: status.forgotten),
    ),
    Metric(
        "tocsin_label_coverage_ratio",
        "gauge",
        "ratio",
        ("model",),
        "Share of predictions old enough to have a label that have one.",
        _single(lambda status: status.label_coverage),
    ),
    Metric(
        "tocsin_label_delay_seconds",
        "histogram",
        "seconds",
        ("model",),
        "Time from a prediction to its label.",
        _single(lambda status: status.label_delay),
    ),
    Metric(
        "tocsin_prediction_latency_seconds",
        "histogram",
        "seconds",
        ("model", "version"),
        "Time the model took, as its records say.",
        _keyed(lambda status: {(version,): h for version, h in status.latency.items()}),
    ),
    Metric(
        "tocsin_missing_ratio",
        "gauge",
        "ratio",
        ("model", "feature", "window"),
        "Share of records in which the feature is missing.",
        _keyed(lambda status: status.missing),
    ),
    Metric(
        "tocsin_invalid_ratio",
        "gauge",
        "ratio",
        ("model", "feature", "window"),
        "Share of records in which the feature has a value of the wrong type or out of its range.",
        _keyed(lambda status: status.invalid),
    ),
    Metric(
        "tocsin_unseen_ratio",
        "gauge",
        "ratio",
        ("model", "feature", "window"),
        "Share of records in which the feature has a category that the profile does not know.",
        _keyed(lambda status: status.unseen),
    ),
    Metric(
        "tocsin_drift",
        "gauge",
        "1",
        ("model", "target", "measure", "window"),
        "Distance of the target's distribution from the profile's.",
        _keyed(lambda status: status.drift),
    ),
    Metric(
        "tocsin_evidence_ratio",
        "gauge",
        "ratio",
        ("model", "detector", "target", "severity"),
        "Share of the alarm threshold that the evidence has reached, 0 to 1.",
        _keyed(lambda status: status.evidence),
    ),
    Metric(
        "tocsin_alarm",
        "gauge",
        "1",
        ("model", "kind", "target", "severity"),
        "1 while the alarm stands, 0 for a while after it has cleared.",
        _keyed(_alarm_states),
    ),
    Metric(
        "tocsin_alarm_acknowledged",
        "gauge",
        "1",
        ("model", "kind", "target", "severity"),
        "1 once somebody has acknowledged the standing alarm, 0 before.",
        _keyed(_acknowledged),
    ),
    Metric(
        "tocsin_alarms_total",
        "counter",
        "alarms",
        ("model", "kind", "severity"),
        "Alarms raised.",
        _keyed(lambda status: status.alarms_total),
    ),
    Metric(
        "tocsin_performance",
        "gauge",
        "of the metric",
        ("model", "version", "metric", "segment", "window"),
        "Performance on predictions whose label has come.",
        _keyed(lambda status: status.performance),
    ),
    Metric(
        "tocsin_fairness",
        "gauge",
        "of the measure",
        ("model", "attribute", "group", "measure", "window"),
        "A group of a protected attribute beside the rest; of all predictions, or of joined rows.",
        _keyed(lambda status: status.fairness),
    ),
    Metric(
        "tocsin_blind",
        "gauge",
        "1",
        ("model", "reason"),
        "1 while the model cannot be judged for this reason, else 0.",
        _keyed(lambda status: status.blind),
    ),
    Metric(
        "tocsin_detectable_shift",
        "gauge",
        "standard deviations",
        ("model", "target"),
        "Smallest shift of a number that an hour of today's traffic can show under the budget.",
        _keyed(lambda status: status.detectable_shift),
    ),
    Metric(
        "tocsin_consumer_lag_records",
        "gauge",
        "records",
        ("topic", "partition"),
        "Records of an assigned partition that are not read yet.",
        _lag,
    ),
    Metric(
        "tocsin_watermark_delay_seconds",
        "gauge",
        "seconds",
        ("model",),
        "How far what has been judged lies behind the clock; grows when the agent hangs.",
        _watermark_delay,
    ),
    Metric(
        "tocsin_checkpoint_age_seconds",
        "gauge",
        "seconds",
        ("model",),
        "Time since all that the agent knows of the model was last written down; after a crash it "
        "is read again from there.",
        _checkpoint_age,
    ),
    Metric(
        "tocsin_checkpoint_failures_total",
        "counter",
        "1",
        (),
        "Checkpoints that could not be written.",
        _only(lambda s: s.checkpoints.failures),
    ),
    Metric(
        "tocsin_checkpoint_bytes",
        "gauge",
        "bytes",
        (),
        "Size of the last checkpoint, of all models together.",
        _only(lambda s: s.checkpoints.size),
    ),
    Metric(
        "tocsin_checkpoint_restores_total",
        "counter",
        "1",
        ("outcome",),
        "Checkpoints looked for, of models and of their partitions.",
        _restores,
    ),
    Metric(
        "tocsin_missed_records_total",
        "counter",
        "1",
        ("topic",),
        "Records that retention had deleted before they could be read.",
        _missed,
    ),
    Metric(
        "tocsin_config_last_reload_successful",
        "gauge",
        "1",
        (),
        "1 where the newest configuration file is in use, 0 where it was refused.",
        _only(lambda s: float(s.reload.is_successful)),
    ),
    Metric(
        "tocsin_config_last_reload_timestamp_seconds",
        "gauge",
        "seconds",
        (),
        "When the configuration in use was read.",
        _only(lambda s: s.reload.at or s.started_at),
    ),
    Metric(
        "tocsin_pane_seconds",
        "histogram",
        "seconds",
        (),
        "Time to merge and judge one closed pane.",
        _pane_seconds,
    ),
    Metric(
        "tocsin_build_info",
        "info",
        "1",
        ("version", "python"),
        "Always 1; Tocsin's version and Python's as labels.",
        _build_info,
    ),
)

LABELS: Mapping[str, str] = {
    "model": "a model's name in the configuration",
    "version": "a model's version as its records say, capped (the rest is `other`); "
    "of `tocsin_build_info`, Tocsin's version",
    "outcome": "of `tocsin_feedback_total`, `joined`, `orphan`, `duplicate`, `corrected`, "
    "`withdrawn` or `expired`; of `tocsin_checkpoint_restores_total`, `restored`, `none` (there is "
    "none), `damaged` (an older one serves, if there is one) or `refused` (made for another "
    "profile, configuration or version); of `tocsin_events_total` and `tocsin_dead_letters_total`, "
    "`sent`, `refused` (too large for the topic) or `dropped` (gave way to newer ones while the "
    "topic took none)",
    "topic": "a topic of the configuration",
    "partition": "a partition's number",
    "reason": "of `tocsin_rejected_total`, why the record was refused; of `tocsin_blind`, "
    "`no_traffic`, `no_feedback`, `lagging`, `too_few`, `undecodable`, `stale_reference` "
    "or `learning`",
    "feature": "a feature of the profile",
    "window": "a window of the configuration, as written there (`5m`, `1h`, `1d`)",
    "target": "what is watched: a feature, `score`, `prediction`, `joint`, or another part",
    "measure": "of `tocsin_drift`, `psi`, `js`, `ks` or `wasserstein`; of `tocsin_fairness`, "
    "`statistical_parity_difference`, `disparate_impact`, `equal_opportunity_difference`, "
    "`equalized_odds_difference` or `predictive_parity_difference`",
    "attribute": "a protected attribute of the configuration",
    "group": "a category of the attribute that the profile knows",
    "detector": "a detector's name",
    "severity": "`page` or `ticket`",
    "kind": "an alarm's kind, such as `drift`",
    "metric": "a performance metric, named as scikit-learn names it",
    "segment": "`all`, or a segment of the configuration such as `region=north`",
    "python": "Python's version",
}


def _text(value: str) -> str:
    """A label value that UTF-8 can carry: JSON may bring half a surrogate pair in a version."""
    return value.encode("utf-8", "backslashreplace").decode()


def _family(metric: Metric, series: Iterable[tuple[Labels, float | Histogram]]) -> Family:
    """What prometheus_client renders. NaN is left out: it says nothing and upsets alert rules."""
    # OpenMetrics wants a unit to be the end of the name, and has none for plain numbers.
    unit = metric.unit if metric.name.endswith("_" + metric.unit) else ""
    if metric.type == "info":
        info = InfoMetricFamily(metric.name.removesuffix("_info"), metric.help)
        for key, _ in series:
            info.add_metric([], dict(zip(metric.labels, map(_text, key), strict=True)))
        return info
    if metric.type == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels, unit=unit)
        for key, value in series:
            if isinstance(value, Histogram):
                bounds = map(floatToGoString, value.bounds)
                buckets = list(zip(bounds, value.counts, strict=True))
                histogram.add_metric([_text(part) for part in key], buckets, value.sum)
        return histogram
    family = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    plain = family(metric.name, metric.help, labels=metric.labels, unit=unit)
    for key, value in series:
        if not isinstance(value, Histogram) and not math.isnan(value):
            plain.add_metric([_text(part) for part in key], value)
    return plain


class _SnapshotCollector(Collector):
    """Renders the newest snapshot; metrics without a series are left out."""

    def __init__(self, get_snapshot: Callable[[], Snapshot], clock: Callable[[], float]) -> None:
        self._get_snapshot = get_snapshot
        self._clock = clock

    def collect(self) -> Iterator[Family]:
        snapshot, now = self._get_snapshot(), self._clock()
        for metric in METRICS:
            family = _family(metric, metric.read(snapshot, now))
            if family.samples:
                yield family


class Exporter:
    """Renders snapshots and the process's own numbers. Safe to call from several threads.

    Parameters
    ----------
    get_snapshot
        Hands over the newest snapshot; called once a scrape.
    clock
        Seconds since the epoch.
    process
        Whether to add metrics of this process and its Python.
    """

    def __init__(
        self,
        get_snapshot: Callable[[], Snapshot],
        clock: Callable[[], float] = time.time,
        process: bool = True,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_SnapshotCollector(get_snapshot, clock))
        if process:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)

    def render(self, accept: str | None = None) -> tuple[str, bytes]:
        """Content type and body in the format that an Accept header asks for, text by default."""
        try:
            encode, content_type = choose_encoder(accept or "")
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        return content_type, encode(self._registry)


def documentation() -> str:
    """The page `docs/metrics.md`."""
    rows = [
        f"| `{m.name}` | {m.type} | {m.unit} | {', '.join(m.labels) or '-'} | {m.help} |"
        for m in METRICS
    ]
    labels = [f"| `{name}` | {meaning} |" for name, meaning in LABELS.items()]
    return "\n".join(
        [
            "# Metrics",
            "",
            "Served at `/metrics`, as Prometheus text or OpenMetrics. This page is generated from "
            "`METRICS` in `agent/publish/metrics.py`.",
            "",
            "| metric | type | unit | labels | meaning |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            "A histogram has the series `_bucket`, `_sum` and `_count`. A value that is not known "
            "is absent, never 0 or NaN. Beside these stand the process's own metrics (`process_*`, "
            "`python_info`).",
            "",
            "## Labels",
            "",
            "A label's values come from the configuration or the profile, or are capped. "
            "No record id ever becomes a label, and of feature values only those of "
            "segments and protected attributes that the profile knows.",
            "",
            "| label | values |",
            "| --- | --- |",
            *labels,
            "",
        ]
    )
