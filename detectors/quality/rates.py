"""Data quality: values that are missing, invalid or unseen more often than in the reference."""

import numpy as np
from numpy.typing import NDArray

from detectors.cells import Column, InputCells
from detectors.evidence import Kind, RatioDetector, Severity, Stream
from detectors.profile import Profile
from detectors.ratio import rate_limit, rate_table

FACTORS = (1.5, 2.0, 4.0)  # of the odds
RATES = (0.02, 0.05, 0.2, 0.5, 0.9)
BROKEN = (0.5, 0.9)  # share of unusable values at which a schema is broken
FEWEST_REFERENCE = 100


class RateRise(RatioDetector):
    """Base: does something happen to this column's values more often than in the reference?

    A one-sided Bernoulli likelihood ratio. Its null is the 99% Wilson limit of the reference rate
    or, where larger, that rate and the stated immaterial rise, or what is tolerated anyway.
    """

    kind: Kind
    detector: str
    severity: Severity = "ticket"
    immaterial: float = 0.005  # absolute rise that does not count
    tolerated: float = 0.0  # rate up to which it does not count, whatever the reference
    events: tuple[str, ...]

    def __init__(self, column: Column, happened: int, rows: int) -> None:
        rate = happened / rows
        null = max(rate_limit(happened, rows), rate + self.immaterial, self.tolerated)
        q = self.alternatives(rate)
        q = q[(q > null * 1.2) & (q < 1)]
        evidence = rate_table(null, q) if len(q) else np.zeros((2, 1), dtype=np.int64)
        events = np.array([column.cell(e) for e in self.events])
        cells = np.arange(column.start, column.stop)
        super().__init__(
            Stream(self.detector, column.name, self.kind, self.severity, evidence.shape[1]),
            "inputs",
            cells,
            evidence[np.isin(cells, events).astype(np.int64)],
        )

    def alternatives(self, rate: float) -> NDArray[np.float64]:
        """Rates worth testing for."""
        odds = np.array(FACTORS) * rate / max(1 - rate, 1e-9)
        return np.unique(np.concatenate([odds / (1 + odds), RATES]))

    @classmethod
    def reference(cls, column: Column) -> tuple[int, int]:
        """How often it happened among how many reference rows."""
        part = column.numeric or column.categorical
        assert part is not None
        rows = sum(part.counts) + part.missing + part.invalid
        rows += column.categorical.unseen if column.categorical else 0
        return sum(getattr(part, e) for e in cls.events), rows

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["RateRise"]:
        """One for each feature that has such values at all and enough reference rows."""
        columns = [c for c in cells.columns[: cells.features] if set(cls.events) <= set(c.extra)]
        references = [(c, *cls.reference(c)) for c in columns]
        return [cls(c, k, n) for c, k, n in references if n >= FEWEST_REFERENCE]


class MissingRate(RateRise):
    """Are more values missing?"""

    detector, kind, events = "missing_rate", "missing", ("missing",)


class InvalidRate(RateRise):
    """Do more values have the wrong type, or lie outside the allowed range?"""

    detector, kind, events = "invalid_rate", "invalid", ("invalid",)
    immaterial = 0.002


class UnseenRate(RateRise):
    """Do more values belong to no category of the reference?

    The null is the Good-Turing estimate of the unseen mass: categories that the reference saw once
    count as unseen (Good, 1953).
    """

    detector, kind, events = "unseen_rate", "unseen", ("unseen",)
    immaterial = 0.002

    @classmethod
    def reference(cls, column: Column) -> tuple[int, int]:
        """Reference rows of rare categories, those seen once included."""
        unseen, rows = super().reference(column)
        assert column.categorical is not None
        return unseen + sum(c == 1 for c in column.categorical.counts), rows


class BrokenSchema(RateRise):
    """Has a feature stopped arriving: are half of its values or more unusable?"""

    detector, kind, events = "broken_schema", "schema", ("missing", "invalid")
    severity: Severity = "page"
    immaterial, tolerated = 0.1, 0.3

    def alternatives(self, rate: float) -> NDArray[np.float64]:
        """Half of the values, or nearly all."""
        return np.array(BROKEN)
