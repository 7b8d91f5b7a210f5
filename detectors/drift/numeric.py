"""Drift of a numeric column: location, scale and single-bin changes of its reference bins."""

import numpy as np
from numpy.typing import NDArray

from detectors.cells import Column, InputCells
from detectors.evidence import RatioDetector, Stream
from detectors.profile import Profile
from detectors.ratio import (
    SHAPE_SHARE,
    SPIKE_SHARE,
    location_scale,
    location_scale_shares,
    shapes,
    shifted,
    spikes,
    table,
    usable,
)
from detectors.sketch import Counts

IMMATERIAL_SHIFT = 0.01  # standard deviations: smaller moves do not count
IMMATERIAL_SCALE = 0.005  # relative: smaller changes of spread do not count
SEASONAL_SHIFT, SEASONAL_SCALE = 0.05, 0.03  # the same by the hour, known less well
FEWEST_REFERENCE = 100  # reference values below which nothing can be said


LEAST_SHARE = 1e-4  # of a cell at any hour of a seasonal column


def _table(
    p: NDArray[np.float64], reference_size: float, seasonal: bool
) -> tuple[Counts, NDArray[np.float64]]:
    """Evidence (k, a) of an event in each cell against probabilities p (k,), and shares (a,)."""
    shift = SEASONAL_SHIFT if seasonal else IMMATERIAL_SHIFT
    scale = SEASONAL_SCALE if seasonal else IMMATERIAL_SCALE
    immaterial = np.array(
        [shifted(p, a, b) for a in (-shift, 0.0, shift) for b in (1 - scale, 1.0, 1 + scale)]
    )
    # A season is fitted as one of location: the shape of an hour is not known well enough to test.
    parts = [(location_scale(p), location_scale_shares())]
    if not seasonal:
        parts.append((shapes(p), np.full(4, SHAPE_SHARE / 4)))
    parts.append((spikes(p), np.full(len(p), SPIKE_SHARE / len(p))))
    alternatives = np.concatenate([a for a, _ in parts])
    evidence = table(p, alternatives, reference_size, immaterial)
    share = np.concatenate([s for _, s in parts])
    return evidence, np.where(usable(p, alternatives, evidence), share, 0.0)


class NumericDrift(RatioDetector):
    """Has this numeric feature, the score or the predicted number moved?

    Alternatives are shifts of .12 to 2 standard deviations either way, scales of .5 to 2, skewed,
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
            evidence, share = _table(p, float(counts.sum()), seasonal=False)
        else:
            hours = [shifted(p, mean, season.scale) for mean in season.mean]
            hours = [np.maximum(h, LEAST_SHARE) / np.maximum(h, LEAST_SHARE).sum() for h in hours]
            made = [_table(h, float(counts.sum()), seasonal=True) for h in hours]
            evidence = np.stack([e for e, _ in made])
            share = np.min([s for _, s in made], axis=0)
        super().__init__(
            Stream(
                "numeric_drift",
                column.name,
                "drift",
                "ticket",
                evidence.shape[-1],
                "exact" if season is None else "calibrated",
                tuple(share.tolist()),
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
