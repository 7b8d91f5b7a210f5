"""Everything a pane counts: sections of cells, one after another, as a profile asks for them."""

import numpy as np
from numpy.typing import NDArray

from detectors.accuracy.calibration import CalibrationCells
from detectors.batch import Batch, Outcomes
from detectors.cells import ErrorCells, InputCells
from detectors.drift.joint import JointCells
from detectors.fairness.groups import GroupCells, SelectionCells
from detectors.labels import cells as labels
from detectors.profile import Profile
from detectors.sketch import Contributions, Sketch


class PaneCells:
    """The sections of a pane, each a sketch of its own.

    `of_batches` count predictions, `of_outcomes` joined rows; `sections` says where each one's
    cells lie among the `size` cells of a pane. The first section is `inputs`, the last `labels`,
    which is counted where rows are joined (`detectors.labels.cells`).
    """

    def __init__(self, profile: Profile) -> None:
        self.inputs = InputCells(profile)
        self.selection: SelectionCells | None = None
        self.joint = None if profile.joint is None else JointCells(profile, profile.joint)
        self.of_batches: dict[str, Sketch[Batch]] = {"inputs": self.inputs}
        if self.joint is not None:
            self.of_batches["joint"] = self.joint
        self.of_outcomes: dict[str, Sketch[Outcomes]] = {}
        if profile.error is not None:
            self.of_outcomes["errors"] = ErrorCells(profile, profile.error)
        if profile.calibration is not None:
            self.of_outcomes["calibration"] = CalibrationCells(profile.schema, profile.calibration)
        if profile.schema.protected:
            if profile.schema.task == "binary":
                self.selection = SelectionCells(profile.schema)
                self.of_batches["selection"] = self.selection
            self.of_outcomes["groups"] = GroupCells(profile.schema)
        sizes = {name: sketch.size for name, sketch in self.of_batches.items()}
        sizes |= {name: sketch.size for name, sketch in self.of_outcomes.items()}
        sizes["labels"] = labels.SIZE
        self.size = sum(sizes.values())
        stops = np.cumsum(list(sizes.values())).tolist()
        self.sections = {
            name: slice(stop - size, stop)
            for (name, size), stop in zip(sizes.items(), stops, strict=True)
        }

    def by_section(self, rows: Batch | Outcomes) -> dict[str, Contributions]:
        """What rows add to each section that counts such rows, in the section's own cells."""
        if isinstance(rows, Batch):
            return {name: sketch.contributions(rows) for name, sketch in self.of_batches.items()}
        return {name: sketch.contributions(rows) for name, sketch in self.of_outcomes.items()}


def reference_outcomes(
    batch: Batch, label: NDArray[np.float64], protected: NDArray[np.int32] | None = None
) -> Outcomes:
    """The labelled rows of a reference as if their labels had come with them.

    `protected` (n, a) are their codes as `protected_codes` has them, for all rows.
    """
    known = ~np.isnan(label)
    n = int(known.sum())
    return Outcomes(
        batch.time[known],
        batch.prediction[known],
        batch.score[known],
        label[known],
        np.zeros((n, 1), dtype=np.int32),
        np.ones(n, dtype=np.int64),
        np.zeros((n, 0), dtype=np.int32) if protected is None else protected[known],
    )
