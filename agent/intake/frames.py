"""Rows of any source as named columns: the features, the scores by class, and the other parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.intake.fields import Fields
from agent.intake.records import descend, loads, walk
from agent.intake.source import RawBatch, TableBatch
from agent.intake.values import Unreadable, canonical

Cells = Sequence[object]
Record = Mapping[str, object]

PARTS: Final = ("id", "time", "version", "prediction", "label", "score", "latency_ms")


@dataclass(frozen=True, slots=True)
class Frame:
    """n rows by column. What a source does not have is left out."""

    rows: int
    unreadable: int  # rows that could not be read and are not among the n
    text: bool  # whether numbers may be spelled as text (tables)
    features: Mapping[str, Cells]  # in the order of the source
    scores: Mapping[str, Cells]  # by canonical class
    parts: Mapping[str, Cells]  # of `PARTS`


class Layout:
    """Tells which columns of a table, or members of a record, are what.

    Features are the columns of a table that have no other part, the members of a record's
    `features` object, or the listed paths.
    """

    def __init__(self, fields: Fields) -> None:
        self._parts: dict[str, str] = {part: getattr(fields, part) for part in PARTS}
        self._features = fields.features
        self._scores = fields.scores
        scores = [fields.scores] if isinstance(fields.scores, str) else fields.scores.values()
        others = (fields.feedback_id, fields.feedback_time, fields.model)
        self._taken = {*self._parts.values(), *others, *scores}

    def frame(self, chunk: RawBatch | TableBatch) -> Frame:
        """The rows of a batch."""
        if isinstance(chunk, TableBatch):
            return self._of_table(chunk.columns)
        records = [record for value in chunk.values if (record := _record(value)) is not None]
        return self.of_records(records, len(chunk) - len(records))

    def of_records(self, records: Sequence[Record], unreadable: int = 0) -> Frame:
        """The rows of decoded records."""
        parts = {part: _column(records, path) for part, path in self._parts.items()}
        if isinstance(self._scores, str):
            scores = _members(records, self._scores)
        else:
            scores = {name: _column(records, path) for name, path in self._scores.items()}
        if not isinstance(self._features, str):
            features = {path: _column(records, path) for path in self._features}
        else:
            features = _members(records, self._features)
            if not self._features:
                roots = {path.split(".")[0] for path in self._taken}
                features = {name: cells for name, cells in features.items() if name not in roots}
        scores = {canonical(name): cells for name, cells in scores.items()}
        return Frame(len(records), unreadable, False, features, scores, parts)

    def _of_table(self, columns: Mapping[str, list[object]]) -> Frame:
        first = next(iter(columns.values()), [])
        good = [i for i, cell in enumerate(first) if type(cell) is not Unreadable]
        if len(good) < len(first):
            columns = {name: [column[i] for i in good] for name, column in columns.items()}
        if isinstance(self._scores, str):
            prefix = f"{self._scores}."
            names = {c.removeprefix(prefix): c for c in columns if c.startswith(prefix)}
        else:
            names = {name: c for name, c in self._scores.items() if c in columns}
        if isinstance(self._features, str):
            taken = self._taken | set(names.values())
            prefix = f"{self._features}."
            features = {c.removeprefix(prefix): columns[c] for c in columns if c not in taken}
        else:
            features = {c: columns[c] for c in self._features if c in columns}
        return Frame(
            len(good),
            len(first) - len(good),
            True,
            features,
            {canonical(name): columns[c] for name, c in names.items()},
            {part: columns[c] for part, c in self._parts.items() if c in columns},
        )


def _record(value: bytes | None) -> Record | None:
    try:
        record = loads(value or b"")
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _column(records: Sequence[Record], path: str) -> list[object]:
    place = tuple(path.split("."))
    return [walk(record, place) for record in records]


def _members(records: Sequence[Record], path: str) -> dict[str, list[object]]:
    """The members of the object at a path as columns, in the order of their first appearance."""
    place = tuple(path.split(".")) if path else ()
    found = [descend(record, place) for record in records]
    objects: list[Record] = [node if isinstance(node, dict) else {} for node in found]
    names = dict.fromkeys(name for members in objects for name in members)
    return {name: [walk(members, (name,)) for members in objects] for name in names}
