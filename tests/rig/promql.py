"""What PromQL expressions name, checked against the metrics that the agent serves."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from agent.publish.metrics import METRICS
from tests.rig.prometheus import promtool

_NAME = re.compile(r"(?<![\w:])([a-zA-Z_:][\w:]*:)?(tocsin_\w+)(:[\w:]+)?")
_SELECTOR = re.compile(r"(tocsin_\w+)\{([^}]*)\}")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_HISTOGRAM = ("_bucket", "_sum", "_count")
_OF_THE_SCRAPE = {"job", "instance", "le"}


def unknown_names(expression: str, recorded: Iterable[str] = ()) -> set[str]:
    """Metrics, and labels as `metric{label}`, that neither the agent nor a rule has."""
    metrics = {m.name: set(m.labels) for m in METRICS}
    for metric in METRICS:
        if metric.type == "histogram":
            metrics |= {metric.name + end: set(metric.labels) for end in _HISTOGRAM}
    found = {"".join(part or "" for part in m.groups()) for m in _NAME.finditer(expression)}
    unknown = found - metrics.keys() - set(recorded)
    for name, matchers in _SELECTOR.findall(expression):
        labels = set(_LABEL.findall(matchers)) - _OF_THE_SCRAPE
        unknown |= {f"{name}{{{label}}}" for label in labels - metrics.get(name, labels)}
    return unknown


def check_expressions(expressions: Iterable[str], folder: Path) -> None:
    """An AssertionError, with promtool's words, where an expression is no PromQL."""
    rules = [{"record": f"e{i}", "expr": text} for i, text in enumerate(expressions)]
    path = folder / "expressions.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": rules}]}))
    promtool("check", "rules", str(path))
