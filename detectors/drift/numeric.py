"""Drift of a numeric column: location, scale and single-bin changes of its reference bins."""

import numpy as np

from detectors.cells import Column, InputCells
from detectors.evidence import RatioDetector, Stream
from detectors.profile import Profile
from detectors.ratio import location_scale, shifted, spikes, table

IMMATERIAL_SHIFT = 0.05  # standard deviations: smaller moves do not count
IMMATERIAL_SCALE = 0.03  # relative: smaller changes of spread do not count
FEWEST_REFERENCE = 100  # reference values below which nothing can be said


class NumericDrift(RatioDetector):
    """Has this numeric feature, the score or the predicted number moved?

    Alternatives are shifts of .15 to 2.4 standard deviations either way, scales of .5 to 2, and for
    each bin one in which it takes a fifth of all mass (a default value, say), all laid over the
    empirical distribution. Missing and invalid values are left to their own detectors.
    """

    def __init__(self, column: Column) -> None:
        assert column.numeric is not None
        counts = column.numeric.bins.counts
        p = counts / counts.sum()
        alternatives = np.concatenate([location_scale(p), spikes(p)])
        immaterial = np.array(
            [
                shifted(p, shift, scale)
                for shift in (-IMMATERIAL_SHIFT, 0.0, IMMATERIAL_SHIFT)
                for scale in (1 - IMMATERIAL_SCALE, 1.0, 1 + IMMATERIAL_SCALE)
            ]
        )
        super().__init__(
            Stream("numeric_drift", column.name, "drift", "ticket", len(alternatives)),
            "inputs",
            np.arange(column.start, column.start + column.known),
            table(p, alternatives, float(counts.sum()), immaterial),
        )

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["NumericDrift"]:
        """One for each numeric column with enough reference values and at least two bins."""
        return [
            cls(c)
            for c in cells.columns
            if c.numeric is not None and c.known > 1 and sum(c.numeric.counts) >= FEWEST_REFERENCE
        ]
