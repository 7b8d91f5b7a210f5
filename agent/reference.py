"""From reference rows to a profile: the schema they imply, and their columns."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.config import ModelConfig
from agent.errors import UsageError
from agent.intake.table import Feature, Kind, Reference, as_numbers
from agent.intake.values import canonical, writable
from detectors.batch import (
    INVALID,
    MISSING,
    UNSEEN,
    Batch,
    CategoricalFeature,
    NumericFeature,
    Schema,
)
from detectors.profile import Profile, build_profile
from detectors.registry import calibrated

# Targets that are no features.
RESERVED = {
    "score", "prediction", "joint", "error", "traffic", "label_delay", "label_coverage"
}  # fmt: skip
MOST_CATEGORIES = 50  # of a feature that are told apart; rarer ones count as unseen


def declared_kinds(model: ModelConfig) -> dict[str, Kind]:
    """Types that the configuration states."""
    return {name: f.type for name, f in model.features.items() if f.type is not None}


def profile_of(
    reference: Reference, model: ModelConfig, pane: int, learned: bool = False
) -> Profile:
    """The profile of reference rows. UsageError where they do not fit the model's task."""
    schema = schema_of(reference, model)
    batch, label = columns_of(reference, schema)
    return calibrated(build_profile(schema, batch, label, pane, learned), batch, label)


def labelled(reference: Reference, outcomes: Reference) -> Reference:
    """The reference with labels that came apart; of several for one id the last one counts."""
    if reference.ids is None or outcomes.ids is None or outcomes.label is None:
        return reference
    known = dict(zip(outcomes.ids.tolist(), outcomes.label.tolist(), strict=True))
    label = np.array([known.get(i) for i in reference.ids.tolist()], dtype=object)
    return replace(reference, label=label)


def schema_of(reference: Reference, model: ModelConfig) -> Schema:
    """What the columns mean: from the rows, and from what the configuration says of them."""
    numeric: list[NumericFeature] = []
    categorical: list[CategoricalFeature] = []
    for feature in _watched(reference, model):
        settings = model.features.get(feature.name)
        if feature.kind == "numeric":
            bounds = (settings.min, settings.max) if settings is not None else (None, None)
            numeric.append(NumericFeature(feature.name, *bounds))
        else:
            categorical.append(CategoricalFeature(feature.name, _categories(feature.values)))
    if taken := sorted(RESERVED & {f.name for f in _watched(reference, model)}):
        raise UsageError(
            f"a feature cannot be called {taken[0]!r}, which is a target of its own: rename it, or "
            f"leave it out with features: {{{taken[0]}: {{ignore: true}}}}"
        )
    if not numeric and not categorical:
        raise UsageError(
            f"the reference has no features: they are looked for at {model.fields.features!r} "
            "(in files: all columns without another part); set `fields` to where they stand"
        )
    classes = _classes(reference, model)
    protected = model.compared()
    if missing := [name for name in protected if name not in {f.name for f in categorical}]:
        raise UsageError(
            f"protected: the reference has no categorical feature {missing[0]!r}; a number is one "
            f"with features: {{{missing[0]}: {{type: categorical}}}}"
        )
    return Schema(
        model.task, tuple(numeric), tuple(categorical), classes, model.threshold, protected
    )


def columns_of(reference: Reference, schema: Schema) -> tuple[Batch, NDArray[np.float64] | None]:
    """The reference as a batch of predictions and its labels (NaN where unknown)."""
    n = reference.rows
    by_name = {f.name: f for f in reference.features}
    numeric, invalid = np.full((n, len(schema.numeric)), np.nan), np.zeros((n, 0), dtype=bool)
    if schema.numeric:
        parts = [_numbers(by_name[f.name], f) for f in schema.numeric]
        numeric = np.stack([values for values, _ in parts], axis=1)
        invalid = np.stack([bad for _, bad in parts], axis=1)
    category = np.zeros((n, len(schema.categorical)), dtype=np.int32)
    for i, feature in enumerate(schema.categorical):
        category[:, i] = _codes(by_name[feature.name], feature.categories)
    score = _scores(reference, schema)
    known = ~np.isnan(prediction := _predictions(reference, schema, score))
    batch = Batch(
        time=reference.time if reference.time is not None else np.full(n, -1, dtype=np.int64),
        id=reference.ids if reference.ids is not None else np.zeros(n, dtype=np.uint64),
        version=np.zeros(n, dtype=np.int32),
        numeric=numeric,
        invalid=invalid,
        category=category,
        prediction=prediction,
        score=score,
        latency=reference.latency if reference.latency is not None else np.full(n, np.nan),
    )
    if not known.any():
        raise UsageError("the reference has no usable prediction: check `fields` and the task")
    label = None if reference.label is None else _outcome(reference.label, schema)[known]
    return batch.take(known), label


def _watched(reference: Reference, model: ModelConfig) -> list[Feature]:
    ignored = {name for name, f in model.features.items() if f.ignore}
    return [f for f in reference.features if f.name not in ignored and writable(f.name)]


def _categories(values: NDArray[np.object_] | NDArray[np.float64]) -> tuple[str, ...]:
    counts = Counter(v for v in values.tolist() if v is not None and writable(v))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(name for name, _ in ranked[:MOST_CATEGORIES])


def _classes(reference: Reference, model: ModelConfig) -> tuple[str, ...]:
    if model.task == "regression":
        return ()
    columns = [c for c in (reference.label, reference.prediction) if c is not None]
    found = {str(v) for c in columns for v in set(c.tolist()) if v is not None}
    if model.task == "multiclass":
        found |= set(reference.scores)
    found = set(filter(writable, found))
    if model.task == "multiclass":
        if len(found) < 2:
            raise UsageError(
                f"multiclass needs two classes or more, the reference has {_some(found)}"
            )
        return tuple(sorted(found))
    positive = canonical(model.positive)
    others = sorted(found - {positive})
    if len(others) > 1:
        raise UsageError(
            f"binary: the reference has the labels {_some(found)}: only the positive "
            f"one ({positive}) and one other can be; is the task multiclass?"
        )
    return (others[0] if others else ("0" if positive != "0" else "1"), positive)


def _some(names: set[str]) -> str:
    """A few of them, cut short: they come with the data."""
    shown = [name if len(name) <= 40 else f"{name[:40]}…" for name in sorted(names)[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"


def _numbers(
    feature: Feature, limits: NumericFeature
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = feature.values.astype(np.float64)
    low = -np.inf if limits.minimum is None else limits.minimum
    high = np.inf if limits.maximum is None else limits.maximum
    invalid = feature.invalid | (values < low) | (values > high)
    return np.where(invalid, np.nan, values), invalid


def _codes(feature: Feature, categories: Sequence[str]) -> NDArray[np.int32]:
    known = len(categories)
    table = {name: i for i, name in enumerate(categories)} | {None: known + MISSING}
    codes = np.array([table.get(v, known + UNSEEN) for v in feature.values.tolist()], np.int32)
    codes[feature.invalid] = known + INVALID
    return codes


def _scores(reference: Reference, schema: Schema) -> NDArray[np.float64]:
    if schema.task == "binary":
        if reference.score is None:
            return np.full((reference.rows, 1), np.nan)
        usable = (reference.score >= 0) & (reference.score <= 1)
        return np.where(usable, reference.score, np.nan)[:, None]
    nothing = np.full(reference.rows, np.nan)
    columns = [reference.scores.get(name, nothing) for name in schema.classes]
    return np.stack(columns, axis=1) if schema.score_columns else np.zeros((reference.rows, 0))


def _predictions(
    reference: Reference, schema: Schema, score: NDArray[np.float64]
) -> NDArray[np.float64]:
    if reference.prediction is not None:
        given = _outcome(reference.prediction, schema)
    else:
        given = np.full(reference.rows, np.nan)
    if schema.task == "binary":
        derived = np.where(np.isnan(score[:, 0]), np.nan, score[:, 0] >= schema.threshold)
    elif schema.task == "multiclass":
        complete = ~np.isnan(score).any(axis=1)
        derived = np.where(complete, np.nan_to_num(score).argmax(axis=1), np.nan)
    else:
        derived = given
    return np.where(np.isnan(given), derived, given)


def _outcome(column: NDArray[np.object_], schema: Schema) -> NDArray[np.float64]:
    if schema.task == "regression":
        return as_numbers(column)
    table = {name: float(i) for i, name in enumerate(schema.classes)}
    return np.array([table.get(v, np.nan) for v in column.tolist()])
