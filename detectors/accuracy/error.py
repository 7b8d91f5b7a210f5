"""Accuracy: does the model err more often, or more widely, than when it was approved?"""

import numpy as np

from detectors.cells import InputCells
from detectors.dependence import FEWEST_INDEPENDENT
from detectors.evidence import RatioDetector, Stream
from detectors.profile import ErrorProfile, Profile
from detectors.rates import ERROR, rate_evidence
from detectors.ratio import (
    SCALES,
    SHIFTS,
    SPIKE_SHARE,
    shifted,
    spikes,
    table,
    usable,
)

# Alternatives and their relative shares: of the odds of an error, and rates of errors.
FACTORS = {1.25: 0.2, 1.5: 0.3, 2.0: 0.25, 3.0: 0.12, 5.0: 0.05}
RATES = {0.5: 0.04, 0.9: 0.04}
SMALLEST_RISE = 0.002  # an alternative lies so far above the reference rate at least, twice over
IMMATERIAL_RELATIVE = 0.01
IMMATERIAL_ABSOLUTE = 0.0002
IMMATERIAL_SHIFT = 0.01  # standard deviations of the error size's normal scores
FEWEST_REFERENCE = 100


class ErrorRate(RatioDetector):
    """Classification: are predictions wrong more often than on the labelled reference?

    One-sided Bernoulli likelihood ratios, each against a limit of the reference's rate
    (`detectors.rates`) and an immaterial rise, hour by hour if the rate has a season.
    """

    def __init__(self, error: ErrorProfile, profile: Profile) -> None:
        right, wrong = error.counts
        n = right + wrong
        rate = (wrong + 0.5) / (n + 1)
        odds = np.array(list(FACTORS)) * rate / (1 - rate)
        q = np.concatenate([odds / (1 + odds), list(RATES)])
        share = np.array([*FACTORS.values(), *RATES.values()])
        possible = q > rate + 2 * SMALLEST_RISE
        q, share = q[possible], share[possible]
        if not len(q):
            q, share = np.array([(1 + rate) / 2]), np.ones(1)
        season = profile.seasons.get(ERROR)
        made = rate_evidence(
            wrong,
            n,
            q,
            max(IMMATERIAL_RELATIVE * rate, IMMATERIAL_ABSOLUTE),
            dispersion=profile.dispersion("error_rate/error", len(q)),
            season=season,
        )
        stream = Stream(
            "error_rate",
            "error",
            "accuracy",
            "page",
            len(q),
            "exact" if season is None else "calibrated",
            tuple(np.where(made.bet, share, 0.0).tolist()),
        )
        if season is None:
            super().__init__(stream, "errors", np.arange(2), made.table[0])
        else:
            super().__init__(stream, "errors", np.arange(2), made.table, made.slots, made.expected)

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["ErrorRate"]:
        """One for a classifier whose reference is labelled."""
        error = profile.error
        if profile.schema.task == "regression" or error is None or error.rows < FEWEST_REFERENCE:
            return []
        return [cls(error, profile)]


class ErrorSize(RatioDetector):
    """Regression: are absolute errors larger than on the labelled reference?

    Alternatives move the error's normal scores upward, stretch them, or put a fifth of all errors
    into the largest bin.
    """

    def __init__(self, error: ErrorProfile, profile: Profile) -> None:
        counts = np.array(error.counts)
        p = (counts + 0.5) / (counts + 0.5).sum()
        wide = {s: share for s, share in SCALES.items() if s > 1}
        larger = [shifted(p, s) for s in SHIFTS]
        wider = [shifted(p, s / 2, s) for s in wide]
        immaterial = np.array([shifted(p, s) for s in (0.0, IMMATERIAL_SHIFT)])
        alternatives = np.concatenate([larger, wider, spikes(p)[-1:]])
        share = np.array([*SHIFTS.values(), *wide.values(), SPIKE_SHARE])
        size = float(counts.sum()) / profile.dispersion("error_size/error", len(alternatives))
        evidence = table(p, alternatives, size, immaterial)
        known = size >= FEWEST_INDEPENDENT
        share = np.where(known & usable(p, alternatives, evidence), share, 0.0)
        stream = Stream(
            "error_size",
            "error",
            "accuracy",
            "page",
            evidence.shape[1],
            shares=tuple(share.tolist()),
        )
        super().__init__(stream, "errors", np.arange(len(counts)), evidence)

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["ErrorSize"]:
        """One for a regression model whose reference is labelled."""
        error = profile.error
        if profile.schema.task != "regression" or error is None or error.rows < FEWEST_REFERENCE:
            return []
        return [cls(error, profile)]
