"""Performance of a model on rows whose label is known: sketches that merge without error."""

from dataclasses import dataclass

from detectors.accuracy.binary import BinaryPerformance
from detectors.accuracy.multiclass import MulticlassPerformance
from detectors.accuracy.performance import Performance
from detectors.accuracy.regression import RegressionPerformance
from detectors.batch import Schema, Task

__all__ = [
    "METRICS",
    "BinaryPerformance",
    "Metric",
    "MulticlassPerformance",
    "Performance",
    "RegressionPerformance",
    "performance_sketch",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """A performance metric; `higher_is_better` is None where the best value is 0 from both sides.

    A `score_based` one needs the model's probabilities.
    """

    name: str
    description: str
    higher_is_better: bool | None
    score_based: bool = False


_ACCURACY = Metric("accuracy", "Share of predictions that were right.", True)
_BALANCED = Metric("balanced_accuracy", "Mean recall of the classes that occurred.", True)
_ROC_AUC = "Probability that a positive scores above a negative, ties counted half"
_LOG_LOSS = Metric(
    "log_loss", "Mean of -log(probability given to the label), natural logarithm.", False, True
)
_TEN_BINS = "mean over ten bins of |mean probability - observed share|, weighted by rows."

METRICS: dict[Task, tuple[Metric, ...]] = {
    "binary": (
        _ACCURACY,
        _BALANCED,
        Metric("precision", "Share of predicted positives that were positive.", True),
        Metric("recall", "Share of positives that were predicted positive.", True),
        Metric("f1", "Harmonic mean of precision and recall.", True),
        Metric("roc_auc", f"{_ROC_AUC}.", True, True),
        Metric("average_precision", "Precision averaged over the steps in recall.", True, True),
        _LOG_LOSS,
        Metric("brier_score", "Mean squared difference of probability and label.", False, True),
        Metric("expected_calibration_error", f"Calibration: {_TEN_BINS}", False, True),
    ),
    "multiclass": (
        _ACCURACY,
        _BALANCED,
        Metric("precision", "Precision of each class, averaged over classes.", True),
        Metric("recall", "Recall of each class, averaged over classes.", True),
        Metric("f1", "F1 of each class, averaged over classes.", True),
        Metric("roc_auc", f"{_ROC_AUC}; each class against the rest, averaged.", True, True),
        _LOG_LOSS,
        Metric(
            "expected_calibration_error",
            f"Calibration of the likeliest class: {_TEN_BINS}",
            False,
            True,
        ),
    ),
    "regression": (
        Metric("mean_absolute_error", "Mean of |prediction - label|.", False),
        Metric("root_mean_squared_error", "Root of the mean of (prediction - label)^2.", False),
        Metric("r2", "Share of the labels' variance that the model explains.", True),
        Metric("mean_error", "Mean of prediction - label: the bias.", None),
        Metric("mean_absolute_percentage_error", "Mean of |prediction - label| / |label|.", False),
    ),
}


def performance_sketch(schema: Schema, groups: int) -> Performance:
    """The performance sketch of a model's task, over a number of groups of rows."""
    match schema.task:
        case "binary":
            return BinaryPerformance(groups)
        case "multiclass":
            return MulticlassPerformance(len(schema.classes), groups)
        case "regression":
            return RegressionPerformance(groups)
