"""Accuracy: does the model err more often, or more widely, than when it was approved?"""

import numpy as np

from detectors.cells import InputCells
from detectors.evidence import RatioDetector, Stream
from detectors.profile import ErrorProfile, Profile
from detectors.ratio import SCALES, SHIFTS, rate_limit, rate_table, shifted, spikes, table

FACTORS = (1.25, 1.5, 2.0, 3.0, 5.0)  # of the odds of an error
IMMATERIAL_RELATIVE = 0.1
IMMATERIAL_ABSOLUTE = 0.002
IMMATERIAL_SHIFT = 0.1  # standard deviations of the error size's normal scores
FEWEST_REFERENCE = 100


class ErrorRate(RatioDetector):
    """Classification: are predictions wrong more often than on the labelled reference?

    A one-sided Bernoulli likelihood ratio against the 99% Wilson limit of the reference's rate, or
    that rate and an immaterial rise where larger.
    """

    def __init__(self, error: ErrorProfile) -> None:
        right, wrong = error.counts
        n = right + wrong
        rate = (wrong + 0.5) / (n + 1)
        tolerated = wrong / n + max(IMMATERIAL_RELATIVE * wrong / n, IMMATERIAL_ABSOLUTE)
        null = max(rate_limit(wrong, n), tolerated)
        odds = np.array(FACTORS) * rate / (1 - rate)
        q = np.unique(np.concatenate([odds / (1 + odds), [0.5, 0.9]]))
        q = q[(q > null * 1.05) & (q < 1)]
        evidence = rate_table(null, q) if len(q) else np.zeros((2, 1), dtype=np.int64)
        stream = Stream("error_rate", "error", "accuracy", "page", evidence.shape[1])
        super().__init__(stream, "errors", np.arange(2), evidence)

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["ErrorRate"]:
        """One for a classifier whose reference is labelled."""
        error = profile.error
        if profile.schema.task == "regression" or error is None or error.rows < FEWEST_REFERENCE:
            return []
        return [cls(error)]


class ErrorSize(RatioDetector):
    """Regression: are absolute errors larger than on the labelled reference?

    Alternatives move the error's normal scores upward, stretch them, or put a fifth of all errors
    into the largest bin.
    """

    def __init__(self, error: ErrorProfile) -> None:
        counts = np.array(error.counts)
        p = (counts + 0.5) / (counts + 0.5).sum()
        larger = [shifted(p, s) for s in SHIFTS]
        wider = [shifted(p, s / 2, s) for s in SCALES if s > 1]
        immaterial = np.array([shifted(p, s) for s in (0.0, IMMATERIAL_SHIFT)])
        largest = spikes(p)[-1:]
        alternatives = np.concatenate([larger, wider, largest])
        evidence = table(p, alternatives, float(counts.sum()), immaterial)
        stream = Stream("error_size", "error", "accuracy", "page", evidence.shape[1])
        super().__init__(stream, "errors", np.arange(len(counts)), evidence)

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["ErrorSize"]:
        """One for a regression model whose reference is labelled."""
        error = profile.error
        if profile.schema.task != "regression" or error is None or error.rows < FEWEST_REFERENCE:
            return []
        return [cls(error)]
