"""Reference data for a profile: whole columns with their types told from their values."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import UnsetType
from numpy.typing import NDArray

from agent.intake.fields import Fields
from agent.intake.formats import CHUNK_ROWS, Progress, read_table
from agent.intake.frames import Cells, Frame, Layout, Record
from agent.intake.source import RawBatch, TableBatch
from agent.intake.times import ABSENT, parse_times
from agent.intake.values import (
    LARGEST,
    NONE,
    UNUSABLE,
    canonical,
    hash_ids,
    hashable,
    missing,
    numbers,
)
from agent.intake.vocabulary import version_name

Kind = Literal["numeric", "categorical"]
Frames = Callable[[float], Iterable[Frame]]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature over n rows; a value that is missing or invalid is NaN, or None."""

    name: str
    kind: Kind
    values: NDArray[Any]  # (n,) float64, or canonical categories as objects
    invalid: NDArray[np.bool_]  # (n,)


@dataclass(frozen=True, slots=True)
class Reference:
    """n rows of reference data; what no row has is None.

    Predictions and labels are canonical text, None where missing; `as_numbers` makes them the
    numbers of a regression.
    """

    rows: int
    unreadable: int  # rows that could not be read and are not among the n
    features: tuple[Feature, ...]  # in the order of the source
    ids: NDArray[np.uint64] | None  # (n,) hashes; 0 where there is none
    time: NDArray[np.int64] | None  # (n,) milliseconds since the epoch; negative where unknown
    version: NDArray[np.object_] | None  # (n,) text
    prediction: NDArray[np.object_] | None
    label: NDArray[np.object_] | None
    score: NDArray[np.float64] | None  # (n,) NaN where missing or no number
    scores: Mapping[str, NDArray[np.float64]]  # by canonical class; empty where there are none
    latency: NDArray[np.float64] | None  # (n,) seconds


def as_numbers(column: NDArray[np.object_]) -> NDArray[np.float64]:
    """A column of canonical text as numbers; NaN where it is missing or spells none."""
    return _finite(numbers(column.tolist(), text=True))


def read_reference(
    path: Path,
    fields: Fields,
    kinds: Mapping[str, Kind] | None = None,
    *,
    progress: Progress | None = None,
) -> Reference:
    """Reference data from a CSV, JSON lines or Parquet file; a UsageError if it cannot be read.

    A feature is numeric if all its values that are there are numbers (in a table: or spell them);
    booleans and text are categorical; `kinds` overrides that. The file is read twice: for the
    types, then for the values. `progress` is given the share that is done.
    """
    layout = Layout(fields)

    def frames(done: float) -> Iterator[Frame]:
        share = None if progress is None else lambda part: progress(done + part / 2)
        return map(layout.frame, read_table(path, progress=share))

    return _collect(frames, kinds or {})


def from_chunks(
    chunks: Sequence[RawBatch | TableBatch], fields: Fields, kinds: Mapping[str, Kind] | None = None
) -> Reference:
    """Reference data from chunks that were read before, by the same rules."""
    layout = Layout(fields)
    return _collect(lambda done: map(layout.frame, chunks), kinds or {})


def from_records(
    records: Sequence[Record], fields: Fields, kinds: Mapping[str, Kind] | None = None
) -> Reference:
    """Reference data from decoded records, by the same rules."""
    layout = Layout(fields)
    starts = range(0, len(records), CHUNK_ROWS)

    def frames(done: float) -> Iterator[Frame]:
        return (layout.of_records(records[start : start + CHUNK_ROWS]) for start in starts)

    return _collect(frames, kinds or {})


def _collect(frames: Frames, kinds: Mapping[str, Kind]) -> Reference:
    numeric: dict[str, bool] = {}
    classes: dict[str, None] = {}
    for frame in frames(0.0):
        classes |= dict.fromkeys(frame.scores)
        for name, cells in frame.features.items():
            numeric[name] = numeric.get(name, True) and _is_numeric(cells, frame.text)
    types: dict[str, Kind] = {
        name: kinds.get(name, "numeric" if is_number else "categorical")
        for name, is_number in numeric.items()
    }
    builder = _Builder(types, list(classes))
    for frame in frames(0.5):
        builder.add(frame)
    return builder.reference()


def _is_numeric(values: Cells, text: bool) -> bool:
    """Whether all values that are there are numbers; in tables, or text that spells them."""
    kinds = set(map(type, values)) - {NONE, UnsetType}
    if text and str in kinds:
        kinds.discard(str)
        try:
            for value in values:
                if value and isinstance(value, str):
                    float(value)
        except ValueError:
            return False
    return all(issubclass(kind, int | float | Decimal) and kind is not bool for kind in kinds)


class _Builder:
    """Typed columns, put together frame by frame."""

    def __init__(self, types: Mapping[str, Kind], classes: Sequence[str]) -> None:
        self._types, self._classes = types, classes
        self._rows = self._unreadable = 0
        self._columns: dict[str, list[NDArray[Any]]] = {}
        self._spelling: dict[tuple[type, object], str] = {}

    def add(self, frame: Frame) -> None:
        """Append the rows of a frame; each column grows by as many rows, there or not."""
        self._rows += frame.rows
        self._unreadable += frame.unreadable
        nothing = [None] * frame.rows
        for name, kind in self._types.items():
            cells = frame.features.get(name, nothing)
            if kind == "numeric":
                values = numbers(cells, text=frame.text)
                invalid = ~(np.abs(values) <= LARGEST) & ~np.isnan(values)
                self._append(f"feature {name}", np.where(invalid, np.nan, values))
            else:
                cells = hashable(cells)
                invalid = np.array([cell is UNUSABLE for cell in cells], dtype=np.bool_)
                self._append(f"feature {name}", self._texts(cells))
            self._append(f"invalid {name}", invalid)
        for name in self._classes:
            values = numbers(frame.scores.get(name, nothing), text=frame.text)
            self._append(f"scores {name}", _finite(values))
        versions = frame.parts.get("version", nothing)
        names = np.array([version_name(v) or None for v in versions], dtype=object)
        self._append("version", names)
        for part in ("prediction", "label"):
            self._append(part, self._texts(hashable(frame.parts.get(part, nothing))))
        for part in ("score", "latency_ms"):
            values = numbers(frame.parts.get(part, nothing), text=frame.text)
            self._append(part, _finite(values))
        self._append("time", parse_times(hashable(frame.parts.get("time", nothing))))
        self._append("id", hash_ids(hashable(frame.parts.get("id", nothing)))[0])

    def reference(self) -> Reference:
        """All rows so far."""
        features = [
            Feature(name, kind, self._column(f"feature {name}"), self._column(f"invalid {name}"))
            for name, kind in self._types.items()
        ]
        time, ids = self._column("time"), self._column("id")
        latency = self._numbers("latency_ms")
        return Reference(
            self._rows,
            self._unreadable,
            tuple(features),
            ids if ids.any() else None,
            time if (time != ABSENT).any() else None,
            self._text("version"),
            self._text("prediction"),
            self._text("label"),
            self._numbers("score"),
            {name: self._column(f"scores {name}") for name in self._classes},
            None if latency is None else np.where(latency >= 0, latency / 1000.0, np.nan),
        )

    def _append(self, name: str, values: NDArray[Any]) -> None:
        self._columns.setdefault(name, []).append(values)

    def _column(self, name: str) -> NDArray[Any]:
        parts = self._columns.get(name)
        return np.concatenate(parts) if parts else np.empty(0)

    def _numbers(self, name: str) -> NDArray[np.float64] | None:
        values = self._column(name)
        return None if np.isnan(values).all() else values

    def _text(self, name: str) -> NDArray[np.object_] | None:
        values = self._column(name)
        return None if all(value is None for value in values.tolist()) else values

    def _texts(self, values: Cells) -> NDArray[np.object_]:
        """Canonical text, None where missing or unusable; equal texts are one object."""
        texts = np.empty(len(values), dtype=object)
        spelling = self._spelling
        for row, value in enumerate(values):
            if missing(value) or value is UNUSABLE:
                continue
            # 1 and True are equal, but not the same category.
            key = (type(value), value)
            if (text := spelling.get(key)) is None:
                text = spelling.setdefault(key, canonical(value))
            texts[row] = text
        return texts


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.nan)
