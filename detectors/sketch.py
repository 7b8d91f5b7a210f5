"""Mergeable statistics of a set of rows, all of them vectors of integers.

A state is a flat int64 vector and merging is addition, so every sketch is a commutative group:
rows can be split in any way, merged in any order, and taken back (a corrected label), and the
result is the same to the last bit. What is not a count is kept exactly as integer digits
(`detectors.exact`).
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Rows = TypeVar("Rows", contravariant=True)

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Contributions:
    """What rows add to a state: `weight[i]` to cell `cell[i]` on behalf of row `row[i]`."""

    row: NDArray[np.int64]
    cell: NDArray[np.int64]
    weight: NDArray[np.int64]


class Sketch(Protocol[Rows]):
    """Statistics of rows with a state of `size` integers.

    `contributions` must be linear: those of some rows are the union of each row's own. It is pure,
    vectorised over rows, and keeps no reference to its input.
    """

    @property
    def size(self) -> int:
        """Number of cells of a state."""

    def contributions(self, rows: Rows) -> Contributions:
        """What each row adds to which cell."""


def zero(sketch: Sketch[Rows]) -> Counts:
    """The state of no rows."""
    return np.zeros(sketch.size, dtype=np.int64)


def total(contributions: Contributions, size: int) -> Counts:
    """Sum of contributions over all rows: (size,) int64, exact."""
    state = np.zeros(size, dtype=np.int64)
    np.add.at(state, contributions.cell, contributions.weight)
    return state


def fold(sketch: Sketch[Rows], state: Counts, rows: Rows) -> Counts:
    """The state after some more rows; the given state is left as it was."""
    return state + total(sketch.contributions(rows), sketch.size)


def merge(one: Counts, other: Counts) -> Counts:
    """The state of the rows of both."""
    return one + other
