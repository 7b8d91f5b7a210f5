"""Performance of a binary classifier."""

import numpy as np
from numpy.typing import NDArray

from detectors import exact
from detectors.accuracy import ranking
from detectors.accuracy.performance import Entries, Performance, ratio
from detectors.batch import Outcomes
from detectors.sketch import Contributions, Counts

GRID = ranking.ScoreGrid(per_octave=8, octaves=25)
EPSILON = float(np.finfo(np.float64).eps)

# Counts of one group: the confusion at 2 * label + prediction, unusable rows, and the scores of
# the negatives and of the positives. Sums: log loss, Brier score, scores by calibration bin.
UNUSABLE = 4
SCORES = 5
LOG_LOSS, BRIER, CALIBRATION = 0, 1, 2


class BinaryPerformance(Performance):
    """Confusion, ranking and calibration of a binary classifier, by group of rows.

    Predictions and labels are codes 0 and 1; a row with another one (or NaN) is unusable. A score
    that is not in [0, 1] (or NaN) leaves its row out of the metrics of scores (roc_auc,
    average_precision, log_loss, brier_score, expected_calibration_error) but not of the others.

    Parameters
    ----------
    groups : int
        How many groups rows can be in.
    """

    def __init__(self, groups: int) -> None:
        super().__init__(
            groups,
            counts=SCORES + 2 * GRID.cells,
            sums=CALIBRATION + ranking.CALIBRATION_BINS,
        )

    def contributions(self, rows: Outcomes) -> Contributions:
        """What rows add to the groups they are in; a negative group number means none."""
        label, prediction, score = rows.label, rows.prediction, rows.score[:, 0]
        usable = ((label == 0) | (label == 1)) & ((prediction == 0) | (prediction == 1))
        confusion = np.full(len(rows), UNUSABLE, dtype=np.int64)
        confusion[usable] = (2 * label[usable] + prediction[usable]).astype(np.int64)
        scored = np.flatnonzero(usable & (score >= 0) & (score <= 1))
        label, score = label[scored], score[scored]
        cell = GRID.cell(score)
        # The probability that was given to what came about.
        probability = np.where(label == 1, score, 1.0 - score)
        loss = -exact.log(np.clip(probability, EPSILON, 1.0 - EPSILON))
        calibration = GRID.calibration_bin[cell] * exact.LIMBS + self.sum_cell(CALIBRATION)

        entries = Entries()
        entries.count(np.arange(len(rows)), confusion)
        entries.count(scored, SCORES + label.astype(np.int64) * GRID.cells + cell)
        entries.sum(scored, self.sum_cell(LOG_LOSS), loss)
        entries.sum(scored, self.sum_cell(BRIER), (score - label) * (score - label))
        entries.sum(scored, calibration, score)
        return entries.contributions(rows, self.stride)

    def metrics(self, state: Counts) -> dict[str, float]:
        """Metrics of the state of one group, and `count`, its usable rows.

        As scikit-learn defines them with zero_division=0 and log-loss probabilities clipped to the
        epsilon of float64; balanced accuracy is the mean recall of the classes that occurred.
        """
        if not self.plausible(state):
            return {"count": 0.0}
        tn, fp, fn, tp = state[:UNUSABLE].tolist()
        count = tn + fp + fn + tp
        if not count:
            return {"count": 0.0}
        recalls = [
            right / occurred for right, occurred in ((tn, tn + fp), (tp, tp + fn)) if occurred
        ]
        return {
            "count": float(count),
            "accuracy": (tp + tn) / count,
            "balanced_accuracy": sum(recalls) / len(recalls),
            "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, tp + fn),
            "f1": ratio(2 * tp, 2 * tp + fp + fn),
            **self._score_metrics(state),
        }

    def rank_error(self, state: Counts) -> dict[str, float]:
        """Bounds on how far binning can have moved roc_auc and average_precision of one group.

        See `ScoreGrid.roc_auc_error` and `ScoreGrid.average_precision_error`. They hold for any
        scores, are far wider than what usually happens, and 0 for scores rounded to hundredths.
        """
        negatives, positives = self._histogram(state)
        if not self.plausible(state) or not (negatives.any() or positives.any()):
            return {}
        errors = {"average_precision": GRID.average_precision_error(negatives, positives)}
        area = GRID.roc_auc_error(negatives, positives)
        return errors if area is None else {"roc_auc": area, **errors}

    def _score_metrics(self, state: Counts) -> dict[str, float]:
        negatives, positives = self._histogram(state)
        scored = int(negatives.sum() + positives.sum())
        if not scored:
            return {}
        by_bin = np.zeros(ranking.CALIBRATION_BINS, dtype=np.int64)
        np.add.at(by_bin, GRID.calibration_bin, positives)
        sums = state[self.sum_cell(CALIBRATION) :].reshape(-1, exact.LIMBS)
        area = GRID.roc_auc(negatives, positives)
        return {
            **({} if area is None else {"roc_auc": area}),
            "average_precision": GRID.average_precision(negatives, positives),
            "log_loss": exact.mean(self.sum(state, LOG_LOSS), scored),
            "brier_score": exact.mean(self.sum(state, BRIER), scored),
            "expected_calibration_error": ranking.calibration_error(sums, by_bin, scored),
        }

    @staticmethod
    def _histogram(state: Counts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        scores = state[SCORES : SCORES + 2 * GRID.cells]
        return scores[: GRID.cells], scores[GRID.cells :]
