"""Histograms of a pane: each row falls in one cell of each column.

`InputCells` covers features, score and prediction of a batch of predictions; `ErrorCells` the
errors of joined rows. Both are sketches (`detectors.sketch`); detectors read their cells.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Batch, Outcomes
from detectors.bins import bin_codes
from detectors.profile import (
    CategoricalProfile,
    ErrorProfile,
    NumericProfile,
    Profile,
    error_codes,
    error_size,
    shown_score,
)
from detectors.sketch import Contributions, Counts


@dataclass(frozen=True, slots=True)
class Column:
    """Where a column's cells lie: `known` bins or categories, then those named by `extra`."""

    name: str
    start: int
    known: int
    extra: tuple[str, ...]
    numeric: NumericProfile | None = None
    categorical: CategoricalProfile | None = None

    @property
    def stop(self) -> int:
        """First cell after this column's."""
        return self.start + self.known + len(self.extra)

    def cell(self, extra: str) -> int:
        """The cell of `missing`, `invalid` or `unseen`."""
        return self.start + self.known + self.extra.index(extra)


NUMERIC_EXTRA = ("missing", "invalid")
CATEGORICAL_EXTRA = ("unseen", "missing", "invalid")


class InputCells:
    """Cells of all columns of a batch of predictions, one after another.

    The order is: numeric features, categorical features, `score` (if the model gives one),
    `prediction`.
    """

    def __init__(self, profile: Profile) -> None:
        self._schema = profile.schema
        columns: list[Column] = []
        parts = list(profile.features)
        self.features = len(parts)
        self.has_score = profile.score is not None
        if profile.score is not None:
            parts.append(profile.score)
        parts.append(profile.predicted)
        start = 0
        for part in parts:
            if isinstance(part, NumericProfile):
                column = Column(part.name, start, len(part.counts), NUMERIC_EXTRA, numeric=part)
            else:
                column = Column(
                    part.name, start, len(part.categories), CATEGORICAL_EXTRA, categorical=part
                )
            columns.append(column)
            start = column.stop
        self.columns = tuple(columns)
        self.size = start
        self._edges = [
            np.array(c.numeric.edges) if c.numeric is not None else None for c in columns
        ]

    def column(self, name: str) -> Column:
        """The column of that name. Features come before `score` and `prediction`."""
        return next(c for c in self.columns if c.name == name)

    def codes(self, batch: Batch) -> NDArray[np.int64]:
        """Cell of each row in each column: (n, columns)."""
        codes = np.empty((len(batch), len(self.columns)), dtype=np.int64)
        for i, (column, edges) in enumerate(zip(self.columns, self._edges, strict=True)):
            if edges is None:
                codes[:, i] = column.start + self._category(i, batch)
            else:
                values, invalid = self._values(i, batch)
                code = column.start + bin_codes(edges, values)
                code[np.isnan(values)] = column.cell("missing")
                code[invalid] = column.cell("invalid")
                codes[:, i] = code
        return codes

    def contributions(self, rows: Batch) -> Contributions:
        """One for each row and column."""
        codes = self.codes(rows)
        row = np.repeat(np.arange(len(rows)), codes.shape[1])
        return Contributions(row, codes.ravel(), np.ones(codes.size, dtype=np.int64))

    def counts(self, batch: Batch) -> Counts:
        """State of many rows of one pane, the quick way: equal to folding `contributions`.

        Each numeric column is sorted once and the few edges are looked up in it, which costs a
        tenth of looking up each value among the edges.
        """
        state = np.zeros(self.size, dtype=np.int64)
        for i, (column, edges) in enumerate(zip(self.columns, self._edges, strict=True)):
            if edges is None:
                width = column.stop - column.start
                counts = np.bincount(self._category(i, batch), minlength=width)
                state[column.start : column.stop] = counts
                continue
            values, invalid = self._values(i, batch)
            ordered = np.sort(values)  # NaN last
            present = int(np.searchsorted(ordered, np.inf, side="right"))
            below = np.searchsorted(ordered[:present], edges, side="left")
            bad = int(np.count_nonzero(invalid))
            state[column.start : column.start + column.known] = np.diff(
                below, prepend=0, append=present
            )
            state[column.cell("missing")] = len(batch) - present - bad
            state[column.cell("invalid")] = bad
        return state

    def _values(self, i: int, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        numeric = len(self._schema.numeric)
        if i < numeric:
            return batch.numeric[:, i], batch.invalid[:, i]
        nothing = np.zeros(len(batch), dtype=bool)
        if self.has_score and i == self.features:
            return shown_score(self._schema, batch.score), nothing
        return batch.prediction, nothing

    def _category(self, i: int, batch: Batch) -> NDArray[np.int64]:
        if i < self.features:
            return batch.category[:, i - len(self._schema.numeric)].astype(np.int64)
        return batch.prediction.astype(np.int64)


class ErrorCells:
    """Errors of joined rows: (right, wrong), or bins of the absolute error.

    Rows with a negative sign (an earlier outcome taken back) are left out: a detector never
    un-sees.
    """

    def __init__(self, profile: Profile, error: ErrorProfile) -> None:
        self._schema = profile.schema
        self._error = error
        self.size = len(error.counts)

    def contributions(self, rows: Outcomes) -> Contributions:
        """One for each row."""
        size = error_size(self._schema, rows.prediction, rows.label)
        return Contributions(
            np.arange(len(rows)),
            error_codes(self._error, size),
            (rows.sign > 0).astype(np.int64),
        )
