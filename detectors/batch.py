"""Columnar batches: what decoding makes of records, and all that later stages see of them."""

from dataclasses import dataclass, fields
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

Task = Literal["binary", "multiclass", "regression"]

# After the K known categories of a feature come three more cells of its histogram.
UNSEEN, MISSING, INVALID = 0, 1, 2
EXTRA_CELLS = 3


@dataclass(frozen=True, slots=True)
class NumericFeature:
    """A numeric feature; values outside [minimum, maximum] are invalid."""

    name: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class CategoricalFeature:
    """A categorical feature with its known values, in the order of their codes."""

    name: str
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """What the columns of a model's batches mean.

    `classes` are the labels of a classifier in code order (binary: the negative class, then the
    positive one; empty for regression). A binary prediction without a label is the positive class
    where its score is at least `threshold`. `protected` names the categorical features whose groups
    are compared for fairness (classifiers only).
    """

    task: Task
    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    protected: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """Names of all features: the numeric ones, then the categorical ones."""
        return tuple(f.name for f in self.numeric) + tuple(f.name for f in self.categorical)

    @property
    def score_columns(self) -> int:
        """Width of `Batch.score`: binary 1, multiclass one a class, regression none."""
        return {"binary": 1, "multiclass": len(self.classes), "regression": 0}[self.task]


@dataclass(frozen=True, slots=True)
class Columns:
    """Arrays of equal first dimension; rows can be taken and joined, never changed."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Self:
        """The given rows, in the given order."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def concatenate(cls, parts: list[Self]) -> Self:
        """The rows of all parts (at least one), in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class Batch(Columns):
    """Predictions, one row a record. n rows, p numeric and q categorical features, s score columns.

    A missing number is NaN; an invalid one (wrong type, infinite, out of range) is NaN too and
    marked in `invalid`. A category is its code; after the K known ones come the cells K + UNSEEN,
    K + MISSING and K + INVALID.
    """

    time: NDArray[np.int64]  # (n,) event time, milliseconds since the epoch
    id: NDArray[np.uint64]  # (n,) hash of the record's id
    version: NDArray[np.int32]  # (n,) code in the pipeline's version vocabulary
    numeric: NDArray[np.float64]  # (n, p)
    invalid: NDArray[np.bool_]  # (n, p)
    category: NDArray[np.int32]  # (n, q)
    prediction: NDArray[np.float64]  # (n,) class code, or the predicted number
    score: NDArray[np.float64]  # (n, s) probabilities; NaN where the record has none
    latency: NDArray[np.float64]  # (n,) seconds; NaN where the record has none


def protected_codes(schema: Schema, batch: Batch) -> NDArray[np.int32]:
    """Category codes of the protected attributes: (n, a), in the order of `Schema.protected`."""
    names = [f.name for f in schema.categorical]
    return batch.category[:, [names.index(name) for name in schema.protected]]


@dataclass(frozen=True, slots=True)
class Feedback(Columns):
    """Outcomes as they arrive. A label of NaN withdraws the earlier one."""

    time: NDArray[np.int64]  # (n,) event time, milliseconds since the epoch
    id: NDArray[np.uint64]  # (n,)
    label: NDArray[np.float64]  # (n,) class code, or the number


@dataclass(frozen=True, slots=True)
class Outcomes(Columns):
    """Predictions joined with their labels.

    g group memberships a row (segments and version), a protected attributes.
    """

    time: NDArray[np.int64]  # (n,) the later of the prediction's and the feedback's time
    prediction: NDArray[np.float64]  # (n,)
    score: NDArray[np.float64]  # (n, s)
    label: NDArray[np.float64]  # (n,)
    group: NDArray[np.int32]  # (n, g) group numbers, each in [0, groups)
    sign: NDArray[np.int64]  # (n,) +1 adds the row, -1 takes back an earlier one
    protected: NDArray[np.int32]  # (n, a) category codes, as `protected_codes` has them
