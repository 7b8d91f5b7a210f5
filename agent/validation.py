"""Validation of reference data: what a quality engineer should know before a model is approved."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agent.config import ModelConfig
from agent.displays import column_drift
from agent.intake.table import Reference
from agent.reference import MOST_CATEGORIES, columns_of
from detectors.accuracy import performance_sketch
from detectors.batch import Batch, Outcomes
from detectors.cells import InputCells
from detectors.profile import CategoricalProfile, NumericProfile, Profile
from detectors.sketch import fold, zero

FEW_ROWS = 1000
MANY_MISSING = 0.2
RARE_CLASS = 0.01
MOVED = 0.1  # PSI between training and test data that is worth a look
GAP = 0.05  # of accuracy or r2 between training and test data


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know. A `failure` means that the data should not be used as they are."""

    level: Literal["failure", "warning"]
    about: str
    text: str


def validate(reference: Reference, profile: Profile) -> list[Finding]:
    """What is remarkable about a data set on its own."""
    return [*_rows(reference, profile), *_features(profile), *_labels(profile)]


def _rows(reference: Reference, profile: Profile) -> Iterator[Finding]:
    if reference.unreadable:
        yield Finding("warning", "rows", f"{reference.unreadable} rows could not be read")
    lost = reference.rows - profile.rows
    if lost:
        yield Finding("warning", "rows", f"{lost} rows have no usable prediction")
    if profile.rows < FEW_ROWS:
        yield Finding(
            "warning", "rows", f"{profile.rows} rows are few: small changes cannot be promised"
        )
    if reference.ids is not None:
        known = reference.ids[reference.ids != 0]
        repeated = len(known) - len(np.unique(known))
        if repeated:
            yield Finding("failure", "id", f"{repeated} ids occur more than once")


def _features(profile: Profile) -> Iterator[Finding]:
    for part in profile.features:
        known = sum(part.counts)
        if known == 0:
            yield Finding("failure", part.name, "has no usable value at all")
            continue
        missing, invalid = part.missing / profile.rows, part.invalid / profile.rows
        if missing > MANY_MISSING:
            yield Finding("warning", part.name, f"{missing:.1%} of its values are missing")
        if invalid > 0:
            yield Finding("warning", part.name, f"{invalid:.1%} of its values are invalid")
        yield from _spread(part)


def _spread(part: NumericProfile | CategoricalProfile) -> Iterator[Finding]:
    if isinstance(part, NumericProfile):
        if part.minimum == part.maximum:
            yield Finding("warning", part.name, f"is always {part.minimum:g}")
        return
    if sum(c > 0 for c in part.counts) == 1 and not part.unseen:
        yield Finding("warning", part.name, f"is always {part.categories[0]!r}")
    if part.unseen:
        yield Finding(
            "warning",
            part.name,
            f"has more than {MOST_CATEGORIES} categories; {part.unseen} rows are in rarer ones: "
            "is it an id or free text?",
        )


def _labels(profile: Profile) -> Iterator[Finding]:
    if profile.error is None:
        yield Finding("warning", "label", "no labels: accuracy cannot be compared with approval")
    elif not profile.error.edges and profile.error.counts[1] == 0 and profile.rows >= FEW_ROWS:
        yield Finding(
            "warning", "label", "the model is never wrong here: does a feature give away the label?"
        )
    if isinstance(profile.predicted, CategoricalProfile):
        for name, count in zip(profile.predicted.categories, profile.predicted.counts, strict=True):
            if count < RARE_CLASS * profile.rows:
                yield Finding("warning", "prediction", f"class {name!r} is predicted {count} times")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Test data beside training data."""

    drift: dict[str, dict[str, float]]
    train: dict[str, float]  # performance
    test: dict[str, float]
    findings: tuple[Finding, ...]


def compare(train: Reference, test: Reference, profile: Profile, model: ModelConfig) -> Comparison:
    """How test data differ from the training data of a profile."""
    batch, label = columns_of(test, profile.schema)
    cells = InputCells(profile)
    counts = cells.counts(batch)
    drift = {
        c.name: found for c in cells.columns if (found := column_drift(c, counts[c.start : c.stop]))
    }
    trained = performance_of(profile, *columns_of(train, profile.schema))
    tested = performance_of(profile, batch, label)
    findings = [
        Finding("warning", name, f"differs between training and test data: PSI {d['psi']:.2f}")
        for name, d in drift.items()
        if d["psi"] > MOVED
    ]
    findings += _unseen(cells, counts, len(batch))
    findings += _shared(train, test)
    for metric in ("accuracy", "r2"):
        if metric in trained and metric in tested and trained[metric] - tested[metric] > GAP:
            findings.append(
                Finding(
                    "warning",
                    metric,
                    f"falls from {trained[metric]:.3f} in training to {tested[metric]:.3f} in "
                    "test: over-fitting?",
                )
            )
    return Comparison(drift, trained, tested, tuple(findings))


def performance_of(
    profile: Profile, batch: Batch, label: "np.typing.NDArray[np.float64] | None"
) -> dict[str, float]:
    """Metrics over the labelled rows; empty without labels."""
    if label is None or np.isnan(label).all():
        return {}
    known = ~np.isnan(label)
    rows = batch.take(known)
    n = len(rows)
    outcomes = Outcomes(
        rows.time,
        rows.prediction,
        rows.score,
        label[known],
        np.zeros((n, 1), dtype=np.int32),
        np.ones(n, dtype=np.int64),
        np.zeros((n, 0), dtype=np.int32),
    )
    sketch = performance_sketch(profile.schema, 1)
    return dict(sketch.metrics(sketch.group(fold(sketch, zero(sketch), outcomes), 0)))


def _unseen(cells: InputCells, counts: "np.typing.NDArray[np.int64]", n: int) -> list[Finding]:
    found = []
    for column in cells.columns[: cells.features]:
        if "unseen" in column.extra and (new := int(counts[column.cell("unseen")])):
            part = column.categorical
            assert part is not None
            if new / n > 2 * (part.unseen + 1) / max(sum(part.counts), 1):
                text = f"{new} test rows have a category that training has not"
                found.append(Finding("warning", column.name, text))
    return found


def _shared(train: Reference, test: Reference) -> list[Finding]:
    if train.ids is None or test.ids is None:
        return []
    shared = len(np.intersect1d(train.ids[train.ids != 0], test.ids[test.ids != 0]))
    text = f"{shared} ids are in both training and test data: the test is not independent"
    return [Finding("failure", "id", text)] if shared else []
