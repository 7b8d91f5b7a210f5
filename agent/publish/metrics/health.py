"""Metrics of the agent itself: how far it has read, what it keeps, its configuration."""

import platform

from agent import __version__
from agent.publish.metrics.metric import Metric, Series, only
from agent.publish.snapshot import Histogram, Snapshot


def _lag(snapshot: Snapshot, now: float) -> Series:
    for (topic, partition), records in snapshot.lag.items():
        if records >= 0:  # -1: not known
            yield (topic, str(partition)), float(records)


def _watermark_delay(snapshot: Snapshot, now: float) -> Series:
    # Against the clock of the scrape and not of the snapshot: a hung pipeline must show.
    for name, status in snapshot.models.items():
        if status.watermark is not None:
            yield (name,), max(0.0, now - status.watermark / 1000)


def _checkpoint_age(snapshot: Snapshot, now: float) -> Series:
    for name, saved_at in snapshot.checkpoints.saved_at.items():
        yield (name,), max(0.0, now - saved_at)


def _restores(snapshot: Snapshot, now: float) -> Series:
    for outcome, records in snapshot.checkpoints.restores.items():
        yield (outcome,), records


def _missed(snapshot: Snapshot, now: float) -> Series:
    for topic, records in snapshot.checkpoints.missed.items():
        yield (topic,), records


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
        only(lambda s: s.checkpoints.failures),
    ),
    Metric(
        "tocsin_checkpoint_bytes",
        "gauge",
        "bytes",
        (),
        "Size of the last checkpoint, of all models together.",
        only(lambda s: s.checkpoints.size),
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
        "tocsin_panes_refused_total",
        "counter",
        "messages",
        (),
        "Messages of the panes topic that fit no model of this agent.",
        only(lambda s: s.panes_refused),
    ),
    Metric(
        "tocsin_config_last_reload_successful",
        "gauge",
        "1",
        (),
        "1 where the newest configuration file is in use, 0 where it was refused.",
        only(lambda s: float(s.reload.is_successful)),
    ),
    Metric(
        "tocsin_config_last_reload_timestamp_seconds",
        "gauge",
        "seconds",
        (),
        "When the configuration in use was read.",
        only(lambda s: s.reload.at or s.started_at),
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
