"""The profile: what the approved model looked like. Aggregates only, no single record."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.batch import INVALID, MISSING, UNSEEN, Batch, Schema
from detectors.bins import Bins, bin_codes, reference_bins
from detectors.dependence import Season, season


@dataclass(frozen=True, slots=True)
class NumericProfile:
    """Reference of a numeric column: bin edges and counts, and what did not fall in a bin."""

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    centre: tuple[float, ...]
    missing: int
    invalid: int
    minimum: float
    maximum: float
    mean: float
    std: float
    season: Season | None = None

    @property
    def bins(self) -> Bins:
        """The bins as arrays."""
        return Bins(np.array(self.edges), np.array(self.counts), np.array(self.centre))


@dataclass(frozen=True, slots=True)
class CategoricalProfile:
    """Reference of a categorical column: counts of the known categories, and of the rest."""

    name: str
    categories: tuple[str, ...]
    counts: tuple[int, ...]
    unseen: int  # reference rows whose category is not among the known ones (too rare to keep)
    missing: int
    invalid: int


@dataclass(frozen=True, slots=True)
class ErrorProfile:
    """The approved model's errors on labelled reference rows.

    Classification: counts of (right, wrong), no edges. Regression: counts of |prediction - label|
    in bins with these edges.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Number of labelled reference rows."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class TrafficProfile:
    """How silent the reference's traffic was.

    Event time is cut into ticks of `tick` milliseconds, long enough to hold the longest gap;
    `empty` of the `ticks` held no prediction.
    """

    tick: int
    ticks: int
    empty: int
    per_second: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything detectors know of the approved model."""

    schema: Schema
    rows: int
    numeric: tuple[NumericProfile, ...]
    categorical: tuple[CategoricalProfile, ...]
    score: NumericProfile | None  # binary: the score; multiclass: the largest probability
    predicted: CategoricalProfile | NumericProfile
    error: ErrorProfile | None
    traffic: TrafficProfile | None
    first_time: int | None
    last_time: int | None
    learned: bool = False
    # By "detector/target": what each alternative's evidence is divided by, for serial dependence.
    tempers: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def features(self) -> tuple[NumericProfile | CategoricalProfile, ...]:
        """The features' profiles: the numeric ones, then the categorical ones."""
        return (*self.numeric, *self.categorical)


def shown_score(schema: Schema, score: NDArray[np.float64]) -> NDArray[np.float64]:
    """The column (n,) watched as `score`: binary the score, multiclass the largest probability."""
    column = score[:, 0] if schema.task == "binary" else np.max(score, axis=1)
    return column.astype(np.float64)


def error_size(
    schema: Schema, prediction: NDArray[np.float64], label: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What an outcome's error is (n,): 0 or 1 for a class, the absolute difference for a number."""
    if schema.task == "regression":
        return np.abs(prediction - label, dtype=np.float64)
    return np.not_equal(prediction, label).astype(np.float64)


def build_profile(
    schema: Schema,
    batch: Batch,
    label: NDArray[np.float64] | None,
    pane: int,
    learned: bool = False,
) -> Profile:
    """Profile of reference predictions.

    Parameters
    ----------
    schema
        What the columns mean.
    batch
        The reference predictions, n rows in any order.
    label
        (n,) outcomes as in `Outcomes.label`, NaN where unknown; None where there are none.
    pane
        Width of a pane in milliseconds, the unit in which silence is measured.
    learned
        The reference is the first traffic seen rather than a chosen data set.
    """
    numeric = tuple(
        _numeric(f.name, batch.numeric[:, i], batch.invalid[:, i], batch.time)
        for i, f in enumerate(schema.numeric)
    )
    categorical = tuple(
        _categorical(f.name, f.categories, batch.category[:, i])
        for i, f in enumerate(schema.categorical)
    )
    nothing = np.zeros(len(batch), dtype=bool)
    score = None
    if schema.score_columns and not np.isnan(batch.score).all():
        score = _numeric("score", shown_score(schema, batch.score), nothing, batch.time)
    predicted: CategoricalProfile | NumericProfile
    if schema.task == "regression":
        predicted = _numeric("prediction", batch.prediction, nothing, batch.time)
    else:
        predicted = _categorical("prediction", schema.classes, batch.prediction.astype(np.int32))
    timed = len(batch) > 0 and int(batch.time.min()) >= 0
    return Profile(
        schema=schema,
        rows=len(batch),
        numeric=numeric,
        categorical=categorical,
        score=score,
        predicted=predicted,
        error=None if label is None else error_profile(schema, batch.prediction, label),
        traffic=traffic_profile(batch.time, pane) if timed else None,
        first_time=int(batch.time.min()) if timed else None,
        last_time=int(batch.time.max()) if timed else None,
        learned=learned,
    )


def error_profile(
    schema: Schema, prediction: NDArray[np.float64], label: NDArray[np.float64]
) -> ErrorProfile | None:
    """Errors of the rows whose label is known; None where no label is."""
    known = ~np.isnan(label)
    if not known.any():
        return None
    size = error_size(schema, prediction[known], label[known])
    if schema.task == "regression":
        bins = reference_bins(size)
        return ErrorProfile(tuple(bins.edges.tolist()), tuple(bins.counts.tolist()))
    wrong = int(size.sum())
    return ErrorProfile((), (len(size) - wrong, wrong))


def traffic_profile(time: NDArray[np.int64], pane: int) -> TrafficProfile | None:
    """Silence of the reference (times (n,), any order); None where it is too short to tell."""
    ordered = np.sort(time)
    span = int(ordered[-1] - ordered[0])
    if len(ordered) < 2 or span <= 0:
        return None
    longest = int(np.diff(ordered).max())
    tick = pane * (longest // pane + 1)
    occupied = np.unique(ordered // tick)
    ticks = int(occupied[-1] - occupied[0]) - 1  # the first and last are seen only in part
    if ticks < 1:
        return None
    empty = ticks - max(len(occupied) - 2, 0)
    return TrafficProfile(tick, ticks, empty, (len(ordered) - 1) * 1000 / span)


def _numeric(
    name: str, values: NDArray[np.float64], invalid: NDArray[np.bool_], time: NDArray[np.int64]
) -> NumericProfile:
    bins = reference_bins(values)
    there = np.isfinite(values)
    finite = values[there]
    # Sorted first, so that rows in another order give the same sums to the last bit.
    ordered = np.sort(finite)
    return NumericProfile(
        name=name,
        edges=tuple(bins.edges.tolist()),
        counts=tuple(bins.counts.tolist()),
        centre=tuple(bins.centre.tolist()),
        missing=int(len(values) - len(finite) - invalid.sum()),
        invalid=int(invalid.sum()),
        minimum=float(ordered[0]) if len(ordered) else 0.0,
        maximum=float(ordered[-1]) if len(ordered) else 0.0,
        mean=float(ordered.mean()) if len(ordered) else 0.0,
        std=float(ordered.std()) if len(ordered) else 0.0,
        season=_season(bins, finite, time[there]),
    )


def _season(bins: Bins, values: NDArray[np.float64], time: NDArray[np.int64]) -> Season | None:
    if bins.size < 2 or not len(time) or time.min() < 0:
        return None
    # In a fixed order, so that rows in another order give the same sums to the last bit.
    order = np.lexsort((values, time))
    codes = bin_codes(bins.edges, values[order])
    return season(bins.counts / bins.total, codes, time[order])


def _categorical(
    name: str, categories: tuple[str, ...], codes: NDArray[np.int32]
) -> CategoricalProfile:
    known = len(categories)
    counts = np.bincount(codes, minlength=known + 3)
    return CategoricalProfile(
        name=name,
        categories=categories,
        counts=tuple(counts[:known].tolist()),
        unseen=int(counts[known + UNSEEN]),
        missing=int(counts[known + MISSING]),
        invalid=int(counts[known + INVALID]),
    )


def error_codes(error: ErrorProfile, size: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cell (n,) of each error size in the error profile's counts."""
    if not error.edges:
        return size.astype(np.int64)
    return bin_codes(np.array(error.edges), size)
