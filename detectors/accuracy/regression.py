"""Performance of a regression model."""

import math

import numpy as np

from detectors import exact
from detectors.accuracy.performance import Entries, Performance
from detectors.batch import Outcomes
from detectors.sketch import Contributions, Counts

LARGEST = 1e30
EPSILON = float(np.finfo(np.float64).eps)
LABEL_BITS = 80

# Counts and sums of one group.
USABLE, UNUSABLE = 0, 1
ERROR, ABSOLUTE, SQUARED, PERCENTAGE, LABEL, LABEL_SQUARED = range(6)


class RegressionPerformance(Performance):
    """Errors of a regression model and the spread of its labels, by group of rows.

    A row whose prediction or label is not finite or beyond 1e30 is unusable.

    Parameters
    ----------
    groups : int
        How many groups rows can be in.
    """

    def __init__(self, groups: int) -> None:
        super().__init__(groups, counts=2, sums=6)

    def contributions(self, rows: Outcomes) -> Contributions:
        """What rows add to the groups they are in; a negative group number means none."""
        usable = (np.abs(rows.label) <= LARGEST) & (np.abs(rows.prediction) <= LARGEST)
        used = np.flatnonzero(usable)
        label = rows.label[used]
        error = rows.prediction[used] - label
        absolute = np.abs(error)
        percentage = absolute / np.maximum(np.abs(label), EPSILON)
        # r2 needs squares without rounding, or a small spread about a large mean would drown.
        label = np.ldexp(np.rint(np.ldexp(label, LABEL_BITS)), -LABEL_BITS)
        square, rest = exact.square(label)

        entries = Entries()
        entries.count(np.arange(len(rows)), np.where(usable, np.int64(USABLE), np.int64(UNUSABLE)))
        entries.sum(used, self.sum_cell(ERROR), error)
        entries.sum(used, self.sum_cell(ABSOLUTE), absolute)
        entries.sum(used, self.sum_cell(SQUARED), error * error)
        entries.sum(used, self.sum_cell(PERCENTAGE), percentage)
        entries.sum(used, self.sum_cell(LABEL), label)
        entries.sum(used, self.sum_cell(LABEL_SQUARED), square)
        entries.sum(used, self.sum_cell(LABEL_SQUARED), rest)
        return entries.contributions(rows, self.stride)

    def metrics(self, state: Counts) -> dict[str, float]:
        """Metrics of the state of one group, and `count`, its usable rows.

        Errors are prediction - label, in the label's unit. r2 = 1 - sum of squared errors / sum of
        squared deviations of the labels from their mean, from exact integers; absent with fewer
        than two rows; with constant labels 1 if all errors are 0, else 0 (as scikit-learn's
        force_finite). Labels are told apart for it down to 2**-80. The mean absolute percentage
        error is a ratio, not a percentage: mean of |error| / max(|label|, epsilon of float64).
        """
        if not self.plausible(state):
            return {"count": 0.0}
        count = int(state[USABLE])
        if not count:
            return {"count": 0.0}
        metrics = {
            "count": float(count),
            "mean_absolute_error": exact.mean(self.sum(state, ABSOLUTE), count),
            "root_mean_squared_error": math.sqrt(exact.mean(self.sum(state, SQUARED), count)),
            "mean_error": exact.mean(self.sum(state, ERROR), count),
            "mean_absolute_percentage_error": exact.mean(self.sum(state, PERCENTAGE), count),
        }
        if count > 1:
            metrics["r2"] = self._r2(state, count)
        return metrics

    def rank_error(self, state: Counts) -> dict[str, float]:
        """Nothing is binned here."""
        return {}

    def _r2(self, state: Counts, count: int) -> float:
        label = exact.units(self.sum(state, LABEL))
        # Both over count, in units of units.
        residual = count * exact.units(self.sum(state, SQUARED)) * exact.UNIT
        spread = count * exact.units(self.sum(state, LABEL_SQUARED)) * exact.UNIT - label * label
        if spread == 0:
            return 0.0 if residual else 1.0
        return (spread - residual) / spread
