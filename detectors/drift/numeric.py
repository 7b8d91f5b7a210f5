"""Drift of a numeric column: location, scale and single-bin changes of its reference bins."""

import numpy as np
from numpy.typing import NDArray

from detectors.cells import Column, InputCells
from detectors.evidence import RatioDetector, Stream
from detectors.profile import Profile
from detectors.ratio import location_scale, shapes, shifted, spikes, table
from detectors.sketch import Counts

IMMATERIAL_SHIFT = 0.02  # standard deviations: smaller moves do not count
IMMATERIAL_SCALE = 0.02  # relative: smaller changes of spread do not count
SEASONAL_SHIFT, SEASONAL_SCALE = 0.05, 0.03  # the same by the hour, known less well
FEWEST_REFERENCE = 100  # reference values below which nothing can be said


LEAST_SHARE = 1e-4  # of a cell at any hour of a seasonal column


def _table(p: NDArray[np.float64], reference_size: float, seasonal: bool) -> Counts:
    """Evidence of an event in each cell, against probabilities p."""
    shift = SEASONAL_SHIFT if seasonal else IMMATERIAL_SHIFT
    scale = SEASONAL_SCALE if seasonal else IMMATERIAL_SCALE
    immaterial = np.array(
        [shifted(p, a, b) for a in (-shift, 0.0, shift) for b in (1 - scale, 1.0, 1 + scale)]
    )
    # A season is fitted as one of location: the shape of an hour is not known well enough to test.
    other = spikes(p) if seasonal else np.concatenate([shapes(p), spikes(p)])
    alternatives = np.concatenate([location_scale(p), other])
    return table(p, alternatives, reference_size, immaterial)


class NumericDrift(RatioDetector):
    """Has this numeric feature, the score or the predicted number moved?

    Alternatives are shifts of .15 to 2.4 standard deviations either way, scales of .5 to 2, skewed,
    two-humped and heavy-tailed shapes, and for each bin one in which it takes a fifth of all mass
    (a default value, say), all laid over the empirical distribution. A column with a daily season
    is compared with its own hour, shapes apart. Missing and invalid values are left to their own
    detectors.
    """

    def __init__(self, column: Column) -> None:
        assert column.numeric is not None
        counts = column.numeric.bins.counts
        p = (counts + 0.5) / (counts + 0.5).sum()  # an empty bin is not impossible
        season = column.numeric.season
        if season is None:
            evidence = _table(p, float(counts.sum()), seasonal=False)
        else:
            hours = [shifted(p, mean, season.scale) for mean in season.mean]
            hours = [np.maximum(h, LEAST_SHARE) / np.maximum(h, LEAST_SHARE).sum() for h in hours]
            evidence = np.stack([_table(h, float(counts.sum()), seasonal=True) for h in hours])
        super().__init__(
            Stream(
                "numeric_drift",
                column.name,
                "drift",
                "ticket",
                evidence.shape[-1],
                "exact" if season is None else "calibrated",
            ),
            "inputs",
            np.arange(column.start, column.start + column.known),
            evidence,
        )

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["NumericDrift"]:
        """One for each numeric column with enough reference values and at least two bins."""
        return [
            cls(c)
            for c in cells.columns
            if c.numeric is not None and c.known > 1 and sum(c.numeric.counts) >= FEWEST_REFERENCE
        ]
