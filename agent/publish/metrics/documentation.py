"""The page `docs/metrics.md`, from the table of metrics."""

from agent.publish.metrics.table import LABELS, METRICS


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
            "`METRICS` in `agent/publish/metrics/`.",
            "",
            "| metric | type | unit | labels | meaning |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            "A histogram has the series `_bucket`, `_sum` and `_count`. A value that is not known "
            "is absent, never 0 or NaN. Beside these stand the process's own metrics (`process_*`, "
            "`python_info`).",
            "",
            "Counters and histograms of a model, and its evidence, go on after a restart from the "
            "checkpoint. They are absent until it is restored and what was there by then is read "
            "(for a minute at most): Prometheus would take a count that falls for a reset, and all "
            "that comes back for new. With `kafka.several_agents` those of records begin at 0 with "
            "each process and never fall, whatever partitions come and go: rates are right, and so "
            "are their sums over agents. All other counters begin at 0 with each process.",
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
