"""Builds the Grafana dashboard from the metric definitions: `python -m grafana.build`.

Units and descriptions of panels come from `METRICS`, so that they say what the metrics say.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.publish.metrics import METRICS, Metric

PATH = Path(__file__).with_name("tocsin.json")
COLUMNS = 24  # of Grafana's grid
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
BY_NAME = {metric.name: metric for metric in METRICS}
UNITS = {"ratio": "percentunit", "seconds": "s", "records": "short", "alarms": "short"}

MODEL = 'model=~"$model"'
WINDOW = 'window="$window"'

# What the numbers of the verdict panel stand for.
VERDICTS = {
    0: ("quiet", "green"),
    1: ("blind", "purple"),
    2: ("ticket", "yellow"),
    3: ("page", "red"),
}
VERDICT = f"""3 * max by (model) (tocsin_alarm{{{MODEL}, severity="page"}} == 1)
or 2 * max by (model) (tocsin_alarm{{{MODEL}, severity="ticket"}} == 1)
or max by (model) (tocsin_blind{{{MODEL}}} == 1)
or 0 * max by (model) (tocsin_blind{{{MODEL}}})"""

Json = dict[str, Any]


def query(expression: str, legend: str, instant: bool = False) -> Json:
    """One PromQL query of a panel."""
    shape = {"instant": True, "format": "table"} if instant else {"range": True}
    return {"datasource": DATASOURCE, "expr": expression, "legendFormat": legend, **shape}


def panel(
    kind: str, title: str, about: str, queries: Sequence[Json], width: int, height: int = 8
) -> Json:
    """A panel about one metric, whose unit and help it takes; `dashboard` gives it its place."""
    metric = BY_NAME[about]
    targets = [{**q, "refId": chr(ord("A") + i)} for i, q in enumerate(queries)]
    return {
        "type": kind,
        "title": title,
        "description": metric.help,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit(metric)}, "overrides": []},
        "options": {},
    }


def unit(metric: Metric) -> str:
    """Grafana's name of a metric's unit."""
    return UNITS.get(metric.unit, "short")


def graph(title: str, about: str, queries: Sequence[Json], width: int = 12) -> Json:
    """Lines over time."""
    made = panel("timeseries", title, about, queries, width)
    made["fieldConfig"]["defaults"]["custom"] = {"lineWidth": 1, "fillOpacity": 0}
    made["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return made


def alarms() -> Json:
    """The alarms that stand now."""
    standing = f"max by (severity, model, kind, target) (tocsin_alarm{{{MODEL}}} == 1)"
    made = panel("table", "Alarms standing", "tocsin_alarm", [query(standing, "", True)], 12)
    order = {"severity": 0, "model": 1, "kind": 2, "target": 3}
    hidden = {"Time": True, "Value": True}
    made["transformations"] = [
        {"id": "organize", "options": {"indexByName": order, "excludeByName": hidden}}
    ]
    made["fieldConfig"]["defaults"]["noValue"] = "none"
    return made


def timeline(title: str, about: str, expression: str, legend: str, mappings: Json) -> Json:
    """States over time, one row a series."""
    made = panel("state-timeline", title, about, [query(expression, legend)], 12)
    made["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": mappings}]
    made["options"] = {"showValue": "auto", "mergeValues": True, "legend": {"showLegend": False}}
    return made


def panels() -> list[Json]:
    """Every panel, in reading order."""
    verdicts = {
        str(value): {"text": text, "color": color} for value, (text, color) in VERDICTS.items()
    }
    blind = {"0": {"text": " ", "color": "transparent"}, "1": {"text": "blind", "color": "purple"}}
    verdict = timeline("Verdict", "tocsin_alarm", VERDICT, "{{model}}", verdicts)
    verdict["description"] = (
        "Page or ticket while such an alarm stands; else blind while the model cannot be judged; "
        "else quiet."
    )
    quality = [
        query(f"tocsin_{name}_ratio{{{MODEL}, {WINDOW}}}", f"{{{{model}}}} {{{{feature}}}} {name}")
        for name in ("missing", "invalid", "unseen")
    ]
    return [
        verdict,
        alarms(),
        timeline(
            "Blind because",
            "tocsin_blind",
            f"max by (model, reason) (tocsin_blind{{{MODEL}}})",
            "{{model}} {{reason}}",
            blind,
        ),
        graph(
            "Evidence, the ten largest",
            "tocsin_evidence_ratio",
            [
                query(
                    "topk(10, max by (model, detector, target, severity) "
                    f"(tocsin_evidence_ratio{{{MODEL}}}))",
                    "{{model}} {{target}} ({{detector}}, {{severity}})",
                )
            ],
        ),
        graph(
            "PSI by target",
            "tocsin_drift",
            [query(f'tocsin_drift{{{MODEL}, measure="psi", {WINDOW}}}', "{{model}} {{target}}")],
        ),
        graph(
            "Performance",
            "tocsin_performance",
            [
                query(
                    f'tocsin_performance{{{MODEL}, version="all", segment="all", {WINDOW}}}',
                    "{{model}} {{metric}}",
                )
            ],
        ),
        graph("Values that are missing, invalid or unseen", "tocsin_missing_ratio", quality),
        graph(
            "Label coverage",
            "tocsin_label_coverage_ratio",
            [query(f"tocsin_label_coverage_ratio{{{MODEL}}}", "{{model}}")],
        ),
        graph(
            "Predictions a second",
            "tocsin_predictions_total",
            [
                query(
                    "sum by (model, version) "
                    f"(rate(tocsin_predictions_total{{{MODEL}}}[$__rate_interval]))",
                    "{{model}} {{version}}",
                )
            ],
        ),
        graph(
            "Rejected records a second",
            "tocsin_rejected_total",
            [
                query(
                    "sum by (topic, reason) "
                    f"(rate(tocsin_rejected_total{{{MODEL}}}[$__rate_interval]))",
                    "{{topic}} {{reason}}",
                )
            ],
        ),
        graph(
            "Records not read yet",
            "tocsin_consumer_lag_records",
            [query("sum by (topic) (tocsin_consumer_lag_records)", "{{topic}}")],
        ),
        graph(
            "How late models are judged",
            "tocsin_watermark_delay_seconds",
            [query(f"max by (model) (tocsin_watermark_delay_seconds{{{MODEL}}})", "{{model}}")],
        ),
    ]


def variable(name: str, label: str, expression: str, many: bool) -> Json:
    """A variable whose values are those of a label."""
    made: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": expression, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
    }
    if many:
        made |= {"allValue": ".+", "current": {"text": "All", "value": "$__all"}}
    return made


def dashboard() -> Json:
    """The whole dashboard; panels are numbered and placed from left to right, row by row."""
    placed, x, y = [], 0, 0
    for number, made in enumerate(panels(), start=1):
        width, height = made["gridPos"]["w"], made["gridPos"]["h"]
        if x + width > COLUMNS:
            x, y = 0, y + height
        placed.append({"id": number, **made, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x += width
    source: Json = {"type": "datasource", "name": "datasource", "label": "Data source"}
    return {
        "uid": "tocsin",
        "title": "Tocsin",
        "description": "Generated by grafana/build.py; changes made in Grafana are lost.",
        "tags": ["tocsin"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {**source, "query": "prometheus"},
                variable("model", "Model", "label_values(tocsin_blind, model)", True),
                variable(
                    "window", "Window", f"label_values(tocsin_drift{{{MODEL}}}, window)", False
                ),
            ]
        },
        "panels": placed,
    }


def render() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(render())
