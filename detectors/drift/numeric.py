"""Drift of a numeric column: location, scale and single-bin changes of its reference bins."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.cells import Column, InputCells
from detectors.dependence import FEWEST_INDEPENDENT
from detectors.evidence import RatioDetector, Stream
from detectors.profile import Profile
from detectors.ratio import (
    BLEND,
    SCALE,
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
from detectors.season import Season
from detectors.sketch import Counts

IMMATERIAL_SHIFT = 0.01  # standard deviations: smaller moves do not count
IMMATERIAL_SCALE = 0.005  # relative: smaller changes of spread do not count
SEASONAL_SHIFT, SEASONAL_SCALE = 0.03, 0.02  # the same by the hour, known less well
FEWEST_REFERENCE = 100  # reference values below which nothing can be said


def _table(
    p: NDArray[np.float64],
    rows: float,
    season: Season | None,
    dispersion_of: Callable[[int], NDArray[np.float64]],
) -> tuple[Counts, NDArray[np.float64]]:
    """Evidence (k, a) of an event in each cell against probabilities p (k,), and shares (a,)."""
    shift = SEASONAL_SHIFT if season else IMMATERIAL_SHIFT
    scale = SEASONAL_SCALE if season else IMMATERIAL_SCALE
    immaterial = np.array(
        [shifted(p, a, b) for a in (-shift, 0.0, shift) for b in (1 - scale, 1.0, 1 + scale)]
    )
    parts = (
        (location_scale(p), location_scale_shares()),
        (shapes(p), np.full(4, SHAPE_SHARE / 4)),
        (spikes(p), np.full(len(p), SPIKE_SHARE / len(p))),
    )
    alternatives = np.concatenate([a for a, _ in parts])
    dispersion = dispersion_of(len(alternatives))
    reference_size = rows / dispersion
    if season is not None:
        blended = (1 - BLEND) * alternatives + BLEND * p
        nats = (blended * np.log(blended / p)).sum(axis=1)
        reference_size = season.effective(rows, nats, dispersion)
    evidence = table(p, alternatives, reference_size, immaterial)
    share = np.concatenate([s for _, s in parts])
    known = rows / dispersion >= FEWEST_INDEPENDENT
    return evidence, np.where(known & usable(p, alternatives, evidence), share, 0.0)


class NumericDrift(RatioDetector):
    """Has this numeric feature, the score or the predicted number moved?

    Alternatives are shifts of .12 to 2 standard deviations either way, scales of .5 to 2, skewed,
    two-humped and heavy-tailed shapes, and for each bin one in which it takes a fifth of all mass
    (a default value, say), all laid over the empirical distribution. A column with a season is
    compared with its own hour. Missing and invalid values are left to their own detectors.
    """

    def __init__(self, column: Column, profile: Profile | None = None) -> None:
        assert column.numeric is not None
        counts = column.numeric.bins.counts
        p = (counts + 0.5) / (counts + 0.5).sum()  # an empty bin is not impossible
        rows = float(counts.sum())

        def dispersion_of(alternatives: int) -> NDArray[np.float64]:
            if profile is None:
                return np.ones(alternatives)
            return profile.dispersion(f"numeric_drift/{column.name}", alternatives)

        season, slots, expected = column.numeric.season, None, None
        if season is None:
            evidence, share = _table(p, rows, None, dispersion_of)
        else:
            slots, hours = season.levels()[1], season.probabilities(p)
            made = [_table(h, rows, season, dispersion_of) for h in hours]
            evidence = np.stack([e for e, _ in made])
            expected = np.stack([h @ (e / SCALE) for h, e in zip(hours, evidence, strict=True)])
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
            slots,
            expected,
        )

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["NumericDrift"]:
        """One for each numeric column with enough reference values and at least two bins."""
        return [
            cls(c, profile)
            for c in cells.columns
            if c.numeric is not None and c.known > 1 and sum(c.numeric.counts) >= FEWEST_REFERENCE
        ]
