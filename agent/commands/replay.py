"""`tocsin replay`: recorded files through the pipeline."""

import json
from pathlib import Path
from typing import Any

import click

from agent.commands.terminal import add_row, output, progress_bar, table
from agent.config import Config
from agent.errors import Exit, UsageError
from agent.loop import describe
from agent.replay import replay
from agent.results import alarm_result, failing, results

SHOWN_METRICS = 6


def run_replay(
    config: Config,
    name: str,
    predictions: Path,
    feedback: Path | None,
    json_path: Path | None,
    series: Path | None,
    fail_on: str | None,
    **options: int,
) -> Exit:
    """Replay one model; prints a summary, writes the result, says whether it passed."""
    with progress_bar(f"replaying {name}") as advance:
        recorder = None
        if series is not None:
            from agent.series import Recorder

            recorder = Recorder(name)
        pipeline = replay(
            config,
            name,
            predictions,
            feedback,
            progress=advance,
            on_alarm=lambda a: click.echo(
                describe(alarm_result(a), a.model, a.cleared_at is not None), err=True
            ),
            recorder=recorder,
            **options,
        )
    if recorder is not None and series is not None:
        recorder.write(series)
    for line in config.unused():
        click.echo(f"note: {line}", err=True)
    result = results(pipeline)
    if json_path is not None:
        write_json(json_path, result)
    for model, found in result["models"].items():
        _show(model, found)
    failed = failing(result, fail_on)
    for line in failed:
        click.echo(f"not passed: {line}", err=True)
    return Exit.NOT_PASSED if failed else Exit.OK


def write_json(path: Path, content: Any) -> None:
    """Write JSON; UsageError where the file cannot be written."""
    try:
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def _show(model: str, found: dict[str, Any]) -> None:
    console = output()
    records = found["records"]
    console.print(
        f"{model} {found['from']} to {found['to']}: "
        f"{records['predictions']} predictions, {records['joined']} joined, "
        f"{sum(records['rejected'].values())} rejected, {len(found['alarms'])} alarms"
    )
    if found["blind"]:
        console.print(f"blind: {', '.join(found['blind'])}")
    performance = table("segment")
    metrics = [m for m in found["performance"].get("all", {}) if m != "count"][:SHOWN_METRICS]
    for metric in ("count", *metrics):
        performance.add_column(metric, justify="right")
    for segment, values in found["performance"].items():
        cells = [f"{values[m]:.4g}" if m in values else "" for m in metrics]
        add_row(performance, segment, f"{values['count']:.0f}", *cells)
    if found["performance"]:
        console.print(performance)
    drift = table("target")
    for measure in ("psi", "js", "ks", "wasserstein"):
        drift.add_column(measure, justify="right")
    for target, values in sorted(found["drift"].items(), key=lambda item: -item[1]["psi"]):
        cells = [f"{values[m]:.4g}" if m in values else "" for m in ("psi", "js", "ks")]
        wasserstein = f"{values['wasserstein']:.4g}" if "wasserstein" in values else ""
        add_row(drift, target, *cells, wasserstein)
    if found["drift"]:
        console.print(drift)
