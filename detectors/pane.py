"""Everything a pane counts: sections of cells, one after another, as a profile asks for them."""

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Batch, Outcomes
from detectors.cells import ErrorCells, InputCells
from detectors.profile import Profile
from detectors.sketch import Contributions, Sketch


class PaneCells:
    """The sections of a pane, each a sketch of its own.

    `of_batches` count predictions, `of_outcomes` joined rows; `sections` says where each one's
    cells lie among the `size` cells of a pane. The first section is `inputs`.
    """

    def __init__(self, profile: Profile) -> None:
        self.inputs = InputCells(profile)
        self.of_batches: dict[str, Sketch[Batch]] = {"inputs": self.inputs}
        self.of_outcomes: dict[str, Sketch[Outcomes]] = {}
        if profile.error is not None:
            self.of_outcomes["errors"] = ErrorCells(profile, profile.error)
        sizes = {name: sketch.size for name, sketch in self.of_batches.items()}
        sizes |= {name: sketch.size for name, sketch in self.of_outcomes.items()}
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


def reference_outcomes(batch: Batch, label: NDArray[np.float64]) -> Outcomes:
    """The labelled rows of a reference as if their labels had come with them."""
    known = ~np.isnan(label)
    n = int(known.sum())
    return Outcomes(
        batch.time[known],
        batch.prediction[known],
        batch.score[known],
        label[known],
        np.zeros((n, 1), dtype=np.int32),
        np.ones(n, dtype=np.int64),
    )
