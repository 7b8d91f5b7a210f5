"""The profile: what the approved model looked like. Aggregates only, no single record."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.acceptance import Acceptance
from detectors.accuracy.reliability import CalibrationProfile, calibration_profile, came_true
from detectors.batch import INVALID, MISSING, UNSEEN, Batch, Schema
from detectors.bins import Bins, bin_codes, reference_bins
from detectors.fairness.groups import AttributeProfile, attribute_profiles
from detectors.pairs import JointProfile, joint_profile
from detectors.rates import rate_seasons
from detectors.ratio import cell_scores
from detectors.season import Season
from detectors.season_fit import score_season
from detectors.traffic.reference import TrafficProfile, traffic_profile


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
    # Variance of the level seen in the whole reference relative to independent events.
    dispersions: dict[str, tuple[float, ...]] = field(default_factory=dict)
    seasons: dict[str, Season] = field(default_factory=dict)  # of rates, see `detectors.rates`
    fairness: tuple[AttributeProfile, ...] = ()  # in the order of `Schema.protected`
    joint: JointProfile | None = None  # None where there is no pair of numeric features to watch
    calibration: CalibrationProfile | None = None  # None without enough labelled rows with a score
    accepted: tuple[Acceptance, ...] = ()  # references replaced since it was made, oldest first

    def temper(self, stream: str, alternatives: int) -> NDArray[np.float64]:
        """What each alternative's evidence is divided by (a,); `stream` is detector/target."""
        return _of_each(self.tempers.get(stream, ()), alternatives)

    def dispersion(self, stream: str, alternatives: int) -> NDArray[np.float64]:
        """Variance (a,) of the reference's levels, relative to independent events."""
        return _of_each(self.dispersions.get(stream, ()), alternatives)

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


def _of_each(stated: tuple[float, ...], alternatives: int) -> NDArray[np.float64]:
    """The stated numbers; the largest for all where they were made for other alternatives."""
    if len(stated) == alternatives:
        return np.array(stated)
    return np.full(alternatives, max(stated, default=1.0))


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
        Width of a pane in milliseconds, the unit in which traffic is counted.
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
        seasons=rate_seasons(schema, batch, _wrong(schema, batch, label)),
        fairness=attribute_profiles(schema, batch, label),
        joint=joint_profile([part.bins for part in numeric], batch.numeric, _in_order(batch)),
        calibration=_calibration(schema, batch, label),
    )


def _in_order(batch: Batch) -> NDArray[np.intp]:
    """Rows in the order of time, those of one time in an order of their own, not the file's."""
    timed = len(batch) > 0 and int(batch.time.min()) >= 0
    return np.lexsort((batch.id, batch.time)) if timed else np.arange(len(batch))


def _calibration(
    schema: Schema, batch: Batch, label: NDArray[np.float64] | None
) -> CalibrationProfile | None:
    if label is None or not schema.score_columns:
        return None
    known = ~np.isnan(label)
    happened = came_true(schema, batch.prediction[known], label[known])
    return calibration_profile(shown_score(schema, batch.score[known]), happened)


def _wrong(
    schema: Schema, batch: Batch, label: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Whether each prediction was wrong (n,), NaN where that is not known; None for numbers."""
    if label is None or schema.task == "regression":
        return None
    return np.where(np.isnan(label), np.nan, error_size(schema, batch.prediction, label))


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
    return score_season(cell_scores(bins.counts / bins.total), codes, time[order])


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
