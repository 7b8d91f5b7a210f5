"""Renders metrics for Prometheus. The only module that knows prometheus_client."""

import math
import time
from collections.abc import Callable, Iterable, Iterator

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

from agent.publish.metrics.metric import Labels, Metric
from agent.publish.metrics.table import METRICS
from agent.publish.snapshot import Histogram, Snapshot


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
