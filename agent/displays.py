"""Numbers for people: what windows and totals say, computed when they are shown."""

from collections.abc import Iterator, Mapping

import numpy as np

from agent.alarms import reference_counts
from agent.model import Model
from detectors import measures
from detectors.cells import Column
from detectors.fairness.measures import outcome_measures, selection_measures
from detectors.sketch import Counts

RATIOS = ("missing", "invalid", "unseen")


def drift(model: Model, counts: Counts) -> dict[str, dict[str, float]]:
    """Distances between counts and the reference: {target: {psi, js, ks, wasserstein}}.

    Columns without a value in either are left out; ks and wasserstein are for numbers only. Those
    of `joint` are of the pair of features that differs most.
    """
    found = {}
    for column in model.cells.columns:
        distances = column_drift(column, counts[column.start : column.stop])
        if distances:
            found[column.name] = distances
    joint = model.pane_cells.joint
    if joint is not None:
        distances = joint.distances(counts[model.pane_cells.sections["joint"]])
        if distances:
            found["joint"] = distances
    return found


def column_drift(column: Column, current: Counts) -> dict[str, float]:
    """Distances of one column's cells; empty where there is nothing to compare."""
    known = column.known + ("unseen" in column.extra)
    reference, now = reference_counts(column)[:known], current[:known]
    if known < 2 or not reference.sum() or not now.sum():
        return {}
    found = {"psi": measures.psi(reference, now), "js": measures.js(reference, now)}
    if column.numeric is not None:
        centre = np.array(column.numeric.centre)
        found["ks"] = measures.ks(reference, now)
        found["wasserstein"] = measures.wasserstein(reference, now, centre)
    return found


def ratios(model: Model, counts: Counts) -> dict[str, dict[str, float]]:
    """Shares of unusable values: {missing, invalid, unseen: {feature: ratio}}."""
    found: dict[str, dict[str, float]] = {name: {} for name in RATIOS}
    for column in model.cells.columns[: model.cells.features]:
        rows = counts[column.start : column.stop].sum()
        for name in column.extra:
            if rows:
                found[name][column.name] = float(counts[column.cell(name)] / rows)
    return found


def performance(model: Model, counts: Counts) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """(version, segment, metrics) of every group that has joined rows."""
    for number, version, segment in model.groups.names():
        state = model.performance.group(counts, number)
        if state.any():
            yield version, segment, model.performance.metrics(state)


def fairness(
    model: Model, detected: Counts, shown: Counts
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """(attribute, group, measures) of every group of a binary model that has predictions.

    Measures of what was predicted are of all predictions (`detected`), those of what came true of
    joined rows (`shown`).
    """
    cells = model.pane_cells.selection
    if cells is None:
        return
    predicted = detected[model.pane_cells.sections["selection"]]
    joined = shown[model.performance.size :]
    for number, attribute in enumerate(cells.attributes):
        selected = cells.attribute(predicted, number)
        outcomes = model.by_group.attribute(joined, number)
        for group, name in enumerate(attribute.categories):
            if selected[group].any() or outcomes[group].any():
                measured = selection_measures(selected, group) | outcome_measures(outcomes, group)
                yield attribute.name, name, measured
