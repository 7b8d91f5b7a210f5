"""Record types generated from paths, whose values are taken out a column at a time.

Decoding straight into a type that has nothing but the members asked for is what makes intake fast;
the loops over its records run in C.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from agent.intake.fields import Path

Scalar = str | int | float | bool | None | UnsetType
Number = float | None
Extracted = tuple[list[Sequence[object]], NDArray[np.float64]]


class RecordType:
    """A type made from paths; ValueError or TypeError where msgspec cannot express them.

    The object at the path `closed` may have no members but those asked for.
    """

    def __init__(
        self, scalars: Sequence[Path], numbers: Sequence[Path], closed: Path | None
    ) -> None:
        tree: dict[str, Any] = {}
        for paths, kind in ((scalars, Scalar), (numbers, Number)):
            for path in paths:
                _place(tree, path, kind)
        self.decode = msgspec.json.Decoder(_struct(tree, (), closed)).decode
        self._scalars = [_getter(tree, path) for path in scalars]
        # Numbers that stand in one object are taken out together.
        groups = groupby(numbers, key=lambda path: path[:-1])
        self._numbers = [
            _Group(tree, parent, [path[-1] for path in group]) for parent, group in groups
        ]

    def columns(self, records: list[object]) -> Extracted:
        """The scalars and the numbers of records."""
        matrices = [group.matrix(records) for group in self._numbers]
        matrix = np.hstack(matrices) if matrices else np.empty((len(records), 0))
        return [list(map(get, records)) for get in self._scalars], matrix


class _Group:
    """Numbers that are members of one object."""

    def __init__(self, tree: dict[str, Any], parent: Path, names: list[str]) -> None:
        self._width = len(names)
        self._steps: list[Callable[[Any], Any]] = [_getter(tree, parent)] if parent else []
        for name in parent:
            tree = tree[name]
        members = list(tree)
        start, end = members.index(names[0]), members.index(names[0]) + len(names)
        if len(names) > 1 and members[start:end] == names and 2 * len(names) >= len(members):
            # Most of an object: all of it at once costs less than each member by name.
            self._steps += [msgspec.structs.astuple, itemgetter(slice(start, end))]
        else:
            self._steps.append(attrgetter(*(f"f{members.index(name)}" for name in names)))

    def matrix(self, records: list[object]) -> NDArray[np.float64]:
        """The numbers of records: (n, width)."""
        try:
            flat = self._rows(records)
            if self._width > 1:
                flat = chain.from_iterable(flat)
            numbers = np.fromiter(flat, np.float64, len(records) * self._width)
        except TypeError:  # a null, which only the slower way takes
            numbers = np.array(list(self._rows(records)), dtype=np.float64)
        return numbers.reshape(-1, self._width)

    def _rows(self, records: Iterable[Any]) -> Iterable[Any]:
        for step in self._steps:
            records = map(step, records)
        return records


def _place(tree: dict[str, Any], path: Path, kind: Any) -> None:
    """Put a leaf of that type into the tree of paths; ValueError if another use forbids it."""
    if not path:
        raise ValueError("no path")
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ValueError("a value and an object at once")
    if tree.setdefault(path[-1], kind) is not kind:
        raise ValueError("two types at once")


def _struct(tree: dict[str, Any], path: Path, closed: Path | None) -> type[msgspec.Struct]:
    """The type of the objects at a path. Fields are f0, f1 ..., whatever the members' names."""
    fields: list[Any] = []
    for i, (name, kind) in enumerate(tree.items()):
        if isinstance(kind, dict):
            child = _struct(kind, (*path, name), closed)
            fields.append((f"f{i}", child, msgspec.field(default_factory=child, name=name)))
        else:
            default = UNSET if kind is Scalar else math.nan
            fields.append((f"f{i}", kind, msgspec.field(default=default, name=name)))
    return msgspec.defstruct("Record", fields, gc=False, forbid_unknown_fields=path == closed)


def _getter(tree: dict[str, Any], path: Path) -> Callable[[object], Any]:
    """A function from a generated struct to what stands at a path."""
    places: list[str] = []
    for name in path:
        places.append(f"f{list(tree).index(name)}")
        tree = tree[name]
    return attrgetter(".".join(places))
