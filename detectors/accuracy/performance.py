"""What the performance sketches of all tasks share: groups, exact sums, entries of rows."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from detectors import exact
from detectors.batch import Outcomes
from detectors.sketch import Contributions, Counts

Indices = NDArray[np.intp] | NDArray[np.int64]


class Performance(ABC):
    """Performance of a model in each of `groups` groups of rows (segments, versions).

    The state holds one block of `stride` integers a group: `counts` plain counts, then `sums` exact
    sums of `exact.LIMBS` digits each. Rows whose prediction or label cannot be used add one to a
    count of their own and to nothing else.
    """

    def __init__(self, groups: int, counts: int, sums: int) -> None:
        self.groups = groups
        self.counts = counts
        self.sums = sums

    @property
    def stride(self) -> int:
        """Integers in the state of one group."""
        return self.counts + self.sums * exact.LIMBS

    @property
    def size(self) -> int:
        """Integers in the state of all groups."""
        return self.groups * self.stride

    def group(self, state: Counts, number: int) -> Counts:
        """The state of one group: (stride,) view of a (size,) state."""
        return state[number * self.stride : (number + 1) * self.stride]

    def canonical(self, state: Counts) -> Counts:
        """The same state of any number of groups with its exact sums normalised.

        To be called on states that live long: between two calls there is room for 2**30 rows.
        """
        blocks = state.reshape(-1, self.stride).copy()
        sums = blocks[:, self.counts :].reshape(-1, self.sums, exact.LIMBS)
        blocks[:, self.counts :] = exact.normalise(sums).reshape(len(blocks), -1)
        return blocks.reshape(-1)

    def sum(self, state: Counts, number: int) -> NDArray[np.int64]:
        """Digits of one exact sum in the state of one group: (LIMBS,) view."""
        return state[self.sum_cell(number) : self.sum_cell(number + 1)]

    def sum_cell(self, number: int) -> int:
        """The cell at which an exact sum begins."""
        return self.counts + number * exact.LIMBS

    def plausible(self, state: Counts) -> bool:
        """Whether the state of one group is that of some rows: no count is negative."""
        return int(state[: self.counts].min()) >= 0

    @abstractmethod
    def contributions(self, rows: Outcomes) -> Contributions:
        """What rows add to the groups they are in; a negative group number means none."""

    @abstractmethod
    def metrics(self, state: Counts) -> dict[str, float]:
        """Metrics of the state of one group, and `count`, its usable rows.

        A metric that is not defined on these rows is absent. So are all where rows were taken back
        that were never added.
        """

    @abstractmethod
    def rank_error(self, state: Counts) -> dict[str, float]:
        """Bounds on how far binning can have moved the rank metrics of one group's state."""


class Entries:
    """Collects what rows add to the state of one group, then spreads it over their groups."""

    def __init__(self) -> None:
        self._row: list[NDArray[np.int64]] = []
        self._cell: list[NDArray[np.int64]] = []
        self._weight: list[NDArray[np.int64]] = []

    def count(self, row: Indices, cell: NDArray[np.int64]) -> None:
        """Each row adds one to its cell."""
        self._row.append(row)
        self._cell.append(cell)
        self._weight.append(np.ones(len(row), dtype=np.int64))

    def sum(self, row: Indices, cell: int | NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Each row adds its value to the exact sum that begins at its cell."""
        limbs, weights = exact.digits(values)
        limbs += np.reshape(cell, (-1, 1))
        # Most values leave one of their three digits alone.
        touched = np.flatnonzero(weights)
        self._row.append(row[touched // exact.PARTS])
        self._cell.append(limbs.reshape(-1)[touched])
        self._weight.append(weights.reshape(-1)[touched])

    def contributions(self, rows: Outcomes, stride: int) -> Contributions:
        """All entries, signed, once for each group that their row is in."""
        row = np.concatenate(self._row)
        cell = np.concatenate(self._cell)
        weight = np.concatenate(self._weight) * rows.sign[row]
        start = (rows.group.astype(np.int64) * stride).take(row, axis=0)
        width = start.shape[1]
        everywhere = Contributions(
            row=np.repeat(row, width),
            cell=(start + cell[:, np.newaxis]).reshape(-1),
            weight=np.repeat(weight, width),
        )
        if rows.group.size == 0 or rows.group.min() >= 0:
            return everywhere
        member = start.reshape(-1) >= 0
        return Contributions(
            everywhere.row[member], everywhere.cell[member], everywhere.weight[member]
        )


def ratio(numerator: int, denominator: int) -> float:
    """Quotient rounded once; 0 where the denominator is 0, as scikit-learn's zero_division=0."""
    return numerator / denominator if denominator else 0.0
