"""Performance of a classifier of several classes."""

import math
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from detectors import exact
from detectors.accuracy import ranking
from detectors.accuracy.performance import Entries, Performance, ratio
from detectors.batch import Outcomes
from detectors.sketch import Contributions, Counts

GRID = ranking.ScoreGrid(per_octave=4, octaves=19)
EPSILON = float(np.finfo(np.float64).eps)

# Sums of one group.
LOG_LOSS, CALIBRATION = 0, 1


class MulticlassPerformance(Performance):
    """Confusion, one-versus-rest ranking and top-label calibration, by group of rows.

    Predictions and labels are class codes; a row with another one (or NaN) is unusable. A row
    whose scores are not all in [0, 1] is left out of the metrics of scores (roc_auc, log_loss,
    expected_calibration_error) but not of the others. Scores are taken as they are: like
    scikit-learn's log_loss, nothing is done to make them sum to one.

    A group takes classes**2 + 700 * classes integers and a bit.

    Parameters
    ----------
    classes : int
        How many classes there are.
    groups : int
        How many groups rows can be in.
    """

    def __init__(self, classes: int, groups: int) -> None:
        # Counts of one group: the confusion at label * classes + prediction, unusable rows, for
        # each class its scores among the others' rows and among its own, for each calibration bin
        # the rows whose top class was wrong and those where it was right.
        self.classes = classes
        self._unusable = classes * classes
        self._scores = self._unusable + 1
        self._tops = self._scores + classes * 2 * GRID.cells
        super().__init__(
            groups,
            counts=self._tops + 2 * ranking.CALIBRATION_BINS,
            sums=CALIBRATION + ranking.CALIBRATION_BINS,
        )

    def contributions(self, rows: Outcomes) -> Contributions:
        """What rows add to the groups they are in; a negative group number means none."""
        usable = self._is_class(rows.label) & self._is_class(rows.prediction)
        confusion = np.full(len(rows), self._unusable, dtype=np.int64)
        pair = rows.label[usable] * self.classes + rows.prediction[usable]
        confusion[usable] = pair.astype(np.int64)

        scored = np.flatnonzero(usable & ((rows.score >= 0) & (rows.score <= 1)).all(axis=1))
        label, score = rows.label[scored].astype(np.int64), rows.score[scored]
        line = np.arange(len(scored))
        cell = GRID.cell(score)
        classes = np.arange(self.classes)
        histogram = 2 * classes + (label[:, np.newaxis] == classes)
        loss = -exact.log(np.clip(score[line, label], EPSILON, 1.0 - EPSILON))
        top = score.argmax(axis=1)
        top_bin = GRID.calibration_bin[cell[line, top]]

        entries = Entries()
        entries.count(np.arange(len(rows)), confusion)
        entries.count(
            np.repeat(scored, self.classes),
            (self._scores + histogram * GRID.cells + cell).reshape(-1),
        )
        entries.count(scored, self._tops + 2 * top_bin + (top == label))
        entries.sum(scored, self.sum_cell(LOG_LOSS), loss)
        entries.sum(scored, self.sum_cell(CALIBRATION) + top_bin * exact.LIMBS, score[line, top])
        return entries.contributions(rows, self.stride)

    def metrics(self, state: Counts) -> dict[str, float]:
        """Metrics of the state of one group, and `count`, its usable rows.

        As scikit-learn defines them with zero_division=0: precision, recall and f1 are means over
        the classes that occurred or were predicted, balanced accuracy over those that occurred,
        roc_auc over all classes, one versus rest, and absent while one of them has not occurred.
        """
        if not self.plausible(state):
            return {"count": 0.0}
        confusion = state[: self._unusable].reshape(self.classes, self.classes)
        count = int(confusion.sum())
        if not count:
            return {"count": 0.0}
        right = confusion.diagonal().tolist()
        occurred, predicted = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
        seen = [c for c in range(self.classes) if occurred[c] or predicted[c]]
        return {
            "count": float(count),
            "accuracy": sum(right) / count,
            "balanced_accuracy": _mean([right[c] / occurred[c] for c in seen if occurred[c]]),
            "precision": _mean([ratio(right[c], predicted[c]) for c in seen]),
            "recall": _mean([ratio(right[c], occurred[c]) for c in seen]),
            "f1": _mean([2 * right[c] / (occurred[c] + predicted[c]) for c in seen]),
            **self._score_metrics(state),
        }

    def rank_error(self, state: Counts) -> dict[str, float]:
        """A bound on how far binning can have moved roc_auc of one group: the classes' mean bound.

        See `ScoreGrid.roc_auc_error`.
        """
        if not self.plausible(state):
            return {}
        errors = list(starmap(GRID.roc_auc_error, self._histograms(state)))
        known = [error for error in errors if error is not None]
        return {"roc_auc": _mean(known)} if len(known) == self.classes else {}

    def _score_metrics(self, state: Counts) -> dict[str, float]:
        wrong, right = state[self._tops : self.counts].reshape(-1, 2).T
        scored = int(wrong.sum() + right.sum())
        if not scored:
            return {}
        areas = list(starmap(GRID.roc_auc, self._histograms(state)))
        known = [area for area in areas if area is not None]
        sums = state[self.sum_cell(CALIBRATION) :].reshape(-1, exact.LIMBS)
        return {
            **({"roc_auc": _mean(known)} if len(known) == self.classes else {}),
            "log_loss": exact.mean(self.sum(state, LOG_LOSS), scored),
            "expected_calibration_error": ranking.calibration_error(sums, right, scored),
        }

    def _histograms(self, state: Counts) -> NDArray[np.int64]:
        """Of each class the scores of the others' rows and of its own: (classes, 2, cells)."""
        return state[self._scores : self._tops].reshape(self.classes, 2, GRID.cells)

    def _is_class(self, code: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.isin(code, np.arange(self.classes))


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
