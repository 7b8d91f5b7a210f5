"""JSON records to the values of chosen paths: fast where a record is as expected, else patiently.

The fast way is a msgspec decoder generated from the paths; it takes only records whose values have
the expected types. What it refuses goes, record by record, through Python's own JSON reader, which
also understands NaN, Infinity and text with broken encoding. Both give the same values.
"""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from agent.intake.fields import Path
from agent.intake.structs import Extracted, RecordType
from agent.intake.values import UNUSABLE, number

UNDECODABLE: Final = "undecodable"
TOMBSTONE: Final = "tombstone"
TOO_LARGE: Final = "too_large"

MAX_BYTES: Final = 4 * 1024 * 1024
_EXCERPT = 200
# Decoded records that are still in the processor's cache are taken apart in half the time.
_AT_ONCE = 500

Row = tuple[tuple[object, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that cannot be used: its position in the raw batch, why, and how it begins."""

    index: int
    reason: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Picked:
    """The values of m readable records, a column a path, and the records that are not readable.

    `numbers` is NaN where a number is missing and infinite where there is something else instead.
    """

    scalars: list[Sequence[object]]  # each of length m
    numbers: NDArray[np.float64]  # (m, k)
    index: NDArray[np.intp]  # (m,) positions in the raw batch
    rejected: list[Rejection]


@dataclass(frozen=True, slots=True)
class Members:
    """An object whose members are known: the probabilities of classes.

    `code` gives a member's place from its name, negative if it has none. The first numbers of the
    reader are these members in that order; an unknown one makes the first of them unusable.
    """

    path: Path
    code: Callable[[object], int]


def excerpt(value: bytes) -> str:
    """The beginning of a record, as text that can be shown."""
    return value[:_EXCERPT].decode("utf-8", "replace")


def loads(value: bytes) -> object:
    """What a JSON text says, leniently; ValueError or RecursionError if it says nothing."""
    text = value.decode("utf-8-sig", "surrogateescape")
    return json.loads(text, strict=False, parse_int=_integer)


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # more digits than Python converts
        return math.inf


def descend(node: object, path: Path) -> object:
    """What stands at a path: UNSET if nothing does, UNUSABLE if something bars the way."""
    for name in path:
        if node is None or node is UNSET:
            return UNSET
        if not isinstance(node, dict):
            return UNUSABLE
        node = node.get(name, UNSET)
        if node is UNSET:
            return UNSET
    return node


def walk(node: object, path: Path) -> object:
    """The value at a path as `descend` finds it; UNUSABLE if it is an object or a list."""
    found = descend(node, path)
    return UNUSABLE if isinstance(found, dict | list) else found


class JsonReader:
    """Reads the values of some paths from JSON objects.

    `scalars` are paths of strings, numbers, booleans or null; `numbers` those of numbers. The first
    `exact` numbers (the scores) may not be NaN, which for the others means missing.
    """

    def __init__(
        self,
        scalars: Sequence[Path],
        numbers: Sequence[Path] = (),
        *,
        exact: int = 0,
        members: Members | None = None,
        max_bytes: int = MAX_BYTES,
        fast: bool = True,
    ) -> None:
        self._scalars, self._numbers = tuple(scalars), tuple(numbers)
        self._exact, self._members, self._max_bytes = exact, members, max_bytes
        self._fast = None
        if fast:
            # A path that is a value here and an object there leaves only the slow way.
            with suppress(ValueError, TypeError):
                self._fast = RecordType(
                    self._scalars, self._numbers, members.path if members else None
                )

    def read(self, values: Sequence[bytes | None]) -> Picked:
        """The values of each record. Nothing raises, whatever the bytes are."""
        parts = [
            self._read(values[start : start + _AT_ONCE], start)
            for start in range(0, max(len(values), 1), _AT_ONCE)
        ]
        if len(parts) == 1:
            return parts[0]
        return Picked(
            [list(chain.from_iterable(c)) for c in zip(*(p.scalars for p in parts), strict=True)],
            np.concatenate([p.numbers for p in parts]),
            np.concatenate([p.index for p in parts]),
            [rejection for p in parts for rejection in p.rejected],
        )

    def _read(self, values: Sequence[bytes | None], start: int) -> Picked:
        fast = self._fast
        records: list[object] = []
        expected: list[int] = []
        rows: list[Row] = []
        odd: list[int] = []
        rejected: list[Rejection] = []
        for i, value in enumerate(values, start):
            if value is None:
                rejected.append(Rejection(i, TOMBSTONE, ""))
                continue
            if len(value) > self._max_bytes:
                rejected.append(Rejection(i, TOO_LARGE, excerpt(value)))
                continue
            if fast is not None:
                try:
                    records.append(fast.decode(value))
                    expected.append(i)
                    continue
                except (msgspec.MsgspecError, ValueError, RecursionError):
                    pass
            try:
                rows.append(self._patiently(value))
                odd.append(i)
            except (ValueError, RecursionError):
                rejected.append(Rejection(i, UNDECODABLE, excerpt(value)))
        if fast is not None and not odd:
            return Picked(*fast.columns(records), np.array(expected, dtype=np.intp), rejected)
        columns, matrix = self._columns(rows)
        index = np.array(odd, dtype=np.intp)
        if fast is not None and records:
            more, first = fast.columns(records)
            index = np.concatenate([np.array(expected, dtype=np.intp), index])
            order = np.argsort(index)
            index, matrix = index[order], np.concatenate([first, matrix])[order]
            places = order.tolist()
            pairs = zip(more, columns, strict=True)
            columns = [[both[i] for i in places] for both in ([*a, *b] for a, b in pairs)]
        return Picked(columns, matrix, index, rejected)

    def _columns(self, rows: list[Row]) -> Extracted:
        matrix = np.array([numbers for _, numbers in rows], dtype=np.float64)
        columns: list[Sequence[object]] = [
            [scalars[place] for scalars, _ in rows] for place in range(len(self._scalars))
        ]
        return columns, matrix.reshape(len(rows), len(self._numbers))

    def _patiently(self, value: bytes) -> Row:
        record = loads(value)
        if not isinstance(record, dict):
            raise ValueError("not an object")
        numbers: list[float] = []
        if self._members is not None:
            numbers = self._walk_members(record, self._members)
        parent: object = record
        at: Path = ()
        for path in self._numbers[len(numbers) :]:
            if path[:-1] != at:  # most numbers stand in one object
                at = path[:-1]
                parent = descend(record, at)
            found = walk(parent, path[-1:]) if path else None
            if found != found and len(numbers) < self._exact:
                found = UNUSABLE
            numbers.append(found if type(found) is float else number(found, text=False))
        return tuple(walk(record, path) for path in self._scalars), tuple(numbers)

    def _walk_members(self, record: object, members: Members) -> list[float]:
        numbers = [math.nan] * self._exact
        parent = descend(record, members.path)
        if parent is None or parent is UNSET:
            return numbers
        if not isinstance(parent, dict):
            return [math.inf, *numbers[1:]]
        known = True
        for name, value in parent.items():
            place = members.code(name)
            if place < 0:
                known = False
            else:
                numbers[place] = math.inf if value != value else number(value, text=False)
        return numbers if known else [math.inf, *numbers[1:]]
