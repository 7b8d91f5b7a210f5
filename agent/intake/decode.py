"""Raw batches to columns: JSON records as they come from Kafka or a file, and rows of tables."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import UNSET

from agent.intake.columns import Assembler, Context, Decoded
from agent.intake.fields import Fields, Slot, feature_slot, score_slots
from agent.intake.records import (
    MAX_BYTES,
    UNDECODABLE,
    JsonReader,
    Members,
    Picked,
    Rejection,
    excerpt,
)
from agent.intake.source import RawBatch, TableBatch
from agent.intake.values import UNUSABLE, Unreadable, hashable, label_table, numbers
from agent.intake.vocabulary import Vocabulary
from detectors.batch import Batch, Feedback, Schema

UNKNOWN_MODEL: Final = "unknown_model"


class Reader:
    """Picks the same values from JSON records and from rows of a table."""

    def __init__(
        self,
        scalars: Sequence[Slot],
        numbers: Sequence[Slot] = (),
        *,
        exact: int = 0,
        members: Members | None = None,
        max_bytes: int = MAX_BYTES,
        fast: bool = True,
    ) -> None:
        self._scalars, self._numbers = tuple(scalars), tuple(numbers)
        self._json = JsonReader(
            [slot.path for slot in scalars],
            [slot.path for slot in numbers],
            exact=exact,
            members=members,
            max_bytes=max_bytes,
            fast=fast,
        )

    def read(self, batch: RawBatch | TableBatch) -> Picked:
        """The values of the batch's records."""
        if isinstance(batch, RawBatch):
            return self._json.read(batch.values)
        columns, index, rejected = _readable(batch)
        n = len(index)
        scalars = [hashable(_column(columns, slot, n)) for slot in self._scalars]
        matrix = np.full((n, len(self._numbers)), np.nan)
        for place, slot in enumerate(self._numbers):
            column = _find(columns, slot)
            if column is not None:
                matrix[:, place] = numbers(column, text=True)
        return Picked(scalars, matrix, index, rejected)


class PredictionDecoder:
    """Decodes the predictions of one model. Versions are learned into `versions`."""

    def __init__(
        self,
        schema: Schema,
        fields: Fields,
        versions: Vocabulary,
        *,
        max_bytes: int = MAX_BYTES,
        fast: bool = True,
    ) -> None:
        scores: list[Slot] = []
        members = None
        if schema.task == "binary":
            scores = [Slot.at(fields.score)]
        elif schema.task == "multiclass":
            scores = score_slots(fields, schema.classes)
            if isinstance(fields.scores, str):
                members = Members(tuple(fields.scores.split(".")), label_table(schema.classes).code)
        self._assembler = Assembler(schema, versions)
        self._reader = Reader(
            [
                Slot.at(fields.id),
                Slot.at(fields.time),
                Slot.at(fields.version),
                Slot.at(fields.prediction),
                *(feature_slot(fields, f.name) for f in schema.categorical),
            ],
            [
                *scores,
                Slot.at(fields.latency_ms),
                *(feature_slot(fields, f.name) for f in schema.numeric),
            ],
            exact=len(scores),
            members=members,
            max_bytes=max_bytes,
            fast=fast,
        )

    def decode(self, batch: RawBatch | TableBatch, latest: int | None = None) -> Decoded[Batch]:
        """The usable predictions of a batch, none later than `latest` (milliseconds)."""
        return self._assembler.predictions(self._reader.read(batch), _context(batch, latest))


class FeedbackDecoder:
    """Decodes the feedback of one model."""

    def __init__(
        self, schema: Schema, fields: Fields, *, max_bytes: int = MAX_BYTES, fast: bool = True
    ) -> None:
        self._assembler = Assembler(schema)
        self._reader = Reader(
            [Slot.at(fields.feedback_id), Slot.at(fields.feedback_time), Slot.at(fields.label)],
            max_bytes=max_bytes,
            fast=fast,
        )

    def decode(self, batch: RawBatch | TableBatch, latest: int | None = None) -> Decoded[Feedback]:
        """The usable feedback of a batch, none later than `latest` (milliseconds)."""
        return self._assembler.feedback(self._reader.read(batch), _context(batch, latest))


def route(
    batch: RawBatch, path: str, names: Sequence[str]
) -> tuple[dict[str, RawBatch], list[Rejection]]:
    """The records of each model of a shared topic, by the name at a dotted path.

    Records of no known model are rejected. The index of a rejection is a position in `batch`.
    """
    picked = JsonReader([Slot.at(path).path]).read(batch.values)
    rows: dict[object, list[int]] = {name: [] for name in names}
    rejected = picked.rejected
    for index, name in zip(picked.index.tolist(), picked.scalars[0], strict=True):
        # Only text is a name; a number would meet its equals among the keys.
        if isinstance(name, str) and name in rows:
            rows[name].append(index)
        else:
            value = batch.values[index] or b""
            rejected.append(Rejection(index, UNKNOWN_MODEL, excerpt(value)))
    rejected.sort(key=lambda rejection: rejection.index)
    return {name: batch.take(rows[name]) for name in names if rows[name]}, rejected


def rows_of(batch: TableBatch, path: str, name: str) -> TableBatch:
    """The rows of a shared table that name this model; all rows where no column names one."""
    column = _find(batch.columns, Slot.at(path))
    if column is None:
        return batch
    return batch.take([i for i, cell in enumerate(column) if cell == name])


def _find(columns: Mapping[str, list[object]], slot: Slot) -> list[object] | None:
    return next((columns[name] for name in slot.names if name in columns), None)


def _column(columns: Mapping[str, list[object]], slot: Slot, n: int) -> Sequence[object]:
    column = _find(columns, slot)
    return [UNSET] * n if column is None else column


def _readable(
    batch: TableBatch,
) -> "tuple[Mapping[str, list[object]], np.typing.NDArray[np.intp], list[Rejection]]":
    """A table's columns without the rows that could not be read, and those rows as rejections."""
    index = np.arange(len(batch), dtype=np.intp)
    first = next(iter(batch.columns.values()), [])
    if Unreadable not in set(map(type, first)):
        return batch.columns, index, []
    bad = {i: str(cell) for i, cell in enumerate(first) if type(cell) is Unreadable}
    index = np.array([i for i in range(len(batch)) if i not in bad], dtype=np.intp)
    kept = index.tolist()
    columns = {name: [column[i] for i in kept] for name, column in batch.columns.items()}
    return columns, index, [Rejection(i, UNDECODABLE, text) for i, text in bad.items()]


def _context(batch: RawBatch | TableBatch, latest: int | None) -> Context:
    if isinstance(batch, RawBatch):
        values = batch.values
        return Context(batch.times, latest, False, lambda i: excerpt(values[i] or b""))
    columns = batch.columns

    def show(row: int) -> str:
        cells = {name: column[row] for name, column in columns.items()}
        shown = {name: cell for name, cell in cells.items() if cell not in (UNSET, UNUSABLE)}
        return json.dumps(shown, default=str)[:200]

    return Context(None, latest, True, show)
