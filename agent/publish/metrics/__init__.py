"""Every metric, defined once: name, type, unit, labels, help, and where its numbers come from.

`docs/metrics.md` is `documentation()`, and whatever else needs names (rules, dashboards) reads
`METRICS`.
"""

from agent.publish.metrics.documentation import documentation
from agent.publish.metrics.exposition import Exporter
from agent.publish.metrics.metric import Metric
from agent.publish.metrics.table import LABELS, METRICS

__all__ = ["LABELS", "METRICS", "Exporter", "Metric", "documentation"]
