"""Public data sets with known drift: files that the wheel of nannyml 0.13.1 (Apache-2.0) carries.

Each has a reference set with labels, an analysis set without, and the labels apart.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.rig.requirements import CACHE, missing

DATA = CACHE / "data"


@dataclass(frozen=True, slots=True)
class DataSet:
    """CSV files of one model."""

    reference: Path
    analysis: Path
    analysis_target: Path


def _data_set(*names: str) -> DataSet:
    paths = [DATA / name for name in names]
    if not all(path.exists() for path in paths):
        missing("the nannyml data files (pip downloads them)")
    return DataSet(*paths)


def car_loan() -> DataSet:
    """Binary: 50,000 + 50,000 rows; at about row 25,000 of analysis `car_value` moves."""
    stem = "synthetic_car_loan"
    return _data_set(f"{stem}_reference.csv", f"{stem}_analysis.csv", f"{stem}_analysis_target.csv")


def car_loan_quality() -> DataSet:
    """The same, its data breaking at about row 25,000: missing values and an unseen category."""
    stem = "synthetic_car_loan_dq"
    return _data_set(
        f"{stem}_reference.csv", f"{stem}_analysis.csv", "synthetic_car_loan_analysis_target.csv"
    )


def multiclass() -> DataSet:
    """Three classes with a score each."""
    return _data_set("mc_reference.csv", "mc_analysis.csv", "mc_analysis_gt.csv")


def regression() -> DataSet:
    """A price."""
    stem = "regression_synthetic"
    return _data_set(
        f"{stem}_reference.csv", f"{stem}_analysis.csv", f"{stem}_analysis_targets.csv"
    )
