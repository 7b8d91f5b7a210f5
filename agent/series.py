"""Every pane's values over time, for `tocsin replay --series`."""

from pathlib import Path
from typing import Any

from agent import displays
from agent.config.units import format_duration
from agent.errors import UsageError
from agent.model import Model

COLUMNS = ("time", "model", "metric", "version", "target", "segment", "measure", "window", "value")


class Recorder:
    """Collects, for each pane with rows, what the metrics of the same names would show then."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows: dict[str, list[Any]] = {column: [] for column in COLUMNS}

    def record(self, model: Model, pane: int) -> None:
        """Note the windows' values at the end of a pane."""
        time = (pane + 1) * model.pane
        for width, window in model.detected.items():
            label = format_duration(width)
            for target, found in displays.drift(model, window.total).items():
                for measure, value in found.items():
                    self._add(time, "drift", value, label, target=target, measure=measure)
            for name, found in displays.ratios(model, window.total).items():
                for feature, value in found.items():
                    self._add(time, f"{name}_ratio", value, label, target=feature)
        for width, window in model.shown.items():
            label = format_duration(width)
            for version, segment, metrics in displays.performance(model, window.total):
                for metric, value in metrics.items():
                    self._add(time, metric, value, label, version=version, segment=segment)

    def _add(self, time: int, metric: str, value: float, window: str, **labels: str) -> None:
        row = {"time": time, "model": self._name, "metric": metric, "value": value, **labels}
        row["window"] = window
        for column, cells in self._rows.items():
            cells.append(row.get(column, ""))

    def write(self, path: Path) -> None:
        """Write a Parquet file; UsageError where that cannot be done."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise UsageError("--series needs pyarrow: pip install 'tocsin[parquet]'") from None
        columns: dict[str, Any] = dict(self._rows)
        columns["time"] = pa.array(self._rows["time"], type=pa.timestamp("ms", tz="UTC"))
        try:
            pq.write_table(pa.table(columns), path, compression="zstd")
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
