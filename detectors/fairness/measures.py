"""Fairness measures of a group beside all other groups of its attribute, from counts."""

import numpy as np

from detectors.sketch import Counts

SELECTION = {
    "statistical_parity_difference": "Share predicted positive, less that of the rest.",
    "disparate_impact": "Share predicted positive, divided by that of the rest.",
}
OUTCOME = {
    "equal_opportunity_difference": "Recall, less that of the rest.",
    "equalized_odds_difference": "The larger of the absolute differences, from the rest, of the "
    "recall and of the share of negatives that are predicted positive.",
    "predictive_parity_difference": "Precision, less that of the rest.",
}
MEASURES = SELECTION | OUTCOME


def selection_measures(counts: Counts, group: int) -> dict[str, float]:
    """Measures of one group from (groups, 2) counts of negative and positive predictions.

    One that is not defined (a group without rows, a rest without positives) is absent.
    """
    own, rest = counts[group], counts.sum(axis=0) - counts[group]
    rate, other = _share(own[1], own[0]), _share(rest[1], rest[0])
    return _known(
        statistical_parity_difference=rate - other,
        disparate_impact=rate / other if other > 0 else np.nan,
    )


def outcome_measures(counts: Counts, group: int) -> dict[str, float]:
    """Measures of one group from (groups, 4) counts: (tn, fp, fn, tp) of each.

    One that is not defined is absent; so are all where rows were taken back that are not there.
    """
    if counts.min(initial=0) < 0:
        return {}
    tn, fp, fn, tp = counts[group]
    other_tn, other_fp, other_fn, other_tp = counts.sum(axis=0) - counts[group]
    recall = _share(tp, fn) - _share(other_tp, other_fn)
    false_alarms = _share(fp, tn) - _share(other_fp, other_tn)
    return _known(
        equal_opportunity_difference=recall,
        equalized_odds_difference=max(abs(recall), abs(false_alarms))
        if np.isfinite(recall + false_alarms)
        else np.nan,
        predictive_parity_difference=_share(tp, fp) - _share(other_tp, other_fp),
    )


def _share(events: int, others: int) -> float:
    """Share of the events among all; NaN where there are none of either."""
    rows = int(events) + int(others)
    return int(events) / rows if rows else float("nan")


def _known(**values: float) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if not np.isnan(value)}
