"""Counts by group of a protected attribute: of predictions, and of what came true.

A row belongs to the group that its attribute's category names. Rows whose attribute is missing,
invalid or unseen belong to none and are left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Batch, CategoricalFeature, Outcomes, Schema, protected_codes
from detectors.sketch import Contributions, Counts, total

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AttributeProfile:
    """Reference of a protected attribute: counts of each of its groups, in the groups' order.

    `selected` counts (predicted negative, predicted positive), binary models only. `outcomes`
    counts labelled rows: binary (true negative, false positive, false negative, true positive),
    multiclass (right, wrong). Either is empty where there is nothing to count.
    """

    name: str
    groups: tuple[str, ...]
    selected: tuple[tuple[int, ...], ...]
    outcomes: tuple[tuple[int, ...], ...]


class ByGroup:
    """Cells by attribute, group and what became of a row: `width` of the latter, side by side."""

    def __init__(self, schema: Schema, width: int) -> None:
        by_name = {f.name: f for f in schema.categorical}
        self.schema = schema
        self.width = width
        self.attributes: tuple[CategoricalFeature, ...] = tuple(
            by_name[name] for name in schema.protected
        )
        self._known = np.array([len(a.categories) for a in self.attributes], dtype=np.int64)
        stops = np.cumsum(self._known) * width
        self.starts = stops - self._known * width

    @property
    def size(self) -> int:
        """Number of cells."""
        return int(self._known.sum()) * self.width

    def attribute(self, state: Counts, number: int) -> Counts:
        """The cells of one attribute: (groups, width)."""
        start = int(self.starts[number])
        known = int(self._known[number])
        return state[start : start + known * self.width].reshape(known, self.width)

    def spread(self, codes: NDArray[np.int32], kind: Ints, weight: Ints) -> Contributions:
        """What rows add: one for each attribute that has a group for the row.

        Parameters
        ----------
        codes
            (n, a) category of each attribute.
        kind
            (n,) what became of the row, in [0, width); -1 leaves it out.
        weight
            (n,) what it adds.
        """
        row, attribute = np.nonzero((codes < self._known) & (kind >= 0)[:, None])
        cell = self.starts[attribute] + codes[row, attribute] * self.width + kind[row]
        return Contributions(row.astype(np.int64), cell, weight[row])


class SelectionCells(ByGroup):
    """Predictions of a binary model by group: (negative, positive) of each."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema, 2)

    def contributions(self, rows: Batch) -> Contributions:
        """One for each row and attribute."""
        kind = rows.prediction.astype(np.int64)
        return self.spread(protected_codes(self.schema, rows), kind, np.ones(len(rows), np.int64))


class GroupCells(ByGroup):
    """Joined rows of a classifier by group, as `AttributeProfile.outcomes` has them."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema, 4 if schema.task == "binary" else 2)

    def contributions(self, rows: Outcomes) -> Contributions:
        """One for each row and attribute; a row taken back counts -1."""
        return self.spread(rows.protected, self.kind(rows.prediction, rows.label), rows.sign)

    def kind(self, prediction: NDArray[np.float64], label: NDArray[np.float64]) -> Ints:
        """What became of each row (n,), -1 where its label is none."""
        if self.schema.task != "binary":
            kind = (prediction != label).astype(np.int64)
            return np.where(np.isnan(label), -1, kind)
        usable = (label == 0) | (label == 1)
        return np.where(usable, 2 * np.where(usable, label, 0) + prediction, -1).astype(np.int64)


def attribute_profiles(
    schema: Schema, batch: Batch, label: NDArray[np.float64] | None
) -> tuple[AttributeProfile, ...]:
    """The reference of each protected attribute; none where there is nothing to judge.

    `label` (n,) is NaN where unknown, None where there are no labels.
    """
    if not schema.protected:
        return ()
    groups, selection = GroupCells(schema), SelectionCells(schema)
    outcomes = np.zeros(0, dtype=np.int64)
    if label is not None and not np.isnan(label).all():
        kind = groups.kind(batch.prediction, label)
        ones = np.ones(len(batch), dtype=np.int64)
        made = groups.spread(protected_codes(schema, batch), kind, ones)
        outcomes = total(made, groups.size)
    selected = np.zeros(0, dtype=np.int64)
    if schema.task == "binary":
        selected = total(selection.contributions(batch), selection.size)
    return tuple(
        AttributeProfile(
            attribute.name,
            attribute.categories,
            _rows(selection.attribute(selected, i)) if len(selected) else (),
            _rows(groups.attribute(outcomes, i)) if len(outcomes) else (),
        )
        for i, attribute in enumerate(groups.attributes)
    )


def _rows(counts: Counts) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in counts.tolist())
