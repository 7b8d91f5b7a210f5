"""Data quality: values that are missing, invalid or unseen more often than in the reference."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from detectors.cells import Column, InputCells
from detectors.evidence import Kind, RatioDetector, Severity, Stream
from detectors.profile import Profile
from detectors.rates import rate_evidence

# Alternatives and their relative shares: of the odds, and rates.
FACTORS = {1.5: 0.2, 2.0: 0.25, 3.0: 0.2, 5.0: 0.1}
RATES = {0.02: 0.07, 0.05: 0.07, 0.2: 0.05, 0.5: 0.03, 0.9: 0.03}
BROKEN = {0.5: 0.5, 0.9: 0.5}  # share of unusable values at which a schema is broken
IMMATERIAL_RELATIVE, IMMATERIAL_ABSOLUTE = 0.01, 0.0002  # rise of the null, the larger counts
FEWEST_REFERENCE = 100


class RateRise(RatioDetector):
    """Base: does something happen to this column's values more often than in the reference?

    One-sided Bernoulli likelihood ratios (`detectors.rates`), each against a limit of the reference
    rate and an immaterial rise, or what is tolerated anyway. A column whose rate has a
    season is compared with its own hour.
    """

    kind: Kind
    detector: str
    severity: Severity = "ticket"
    smallest: float = 0.005  # rise below which no evidence gathers, however long it lasts
    tolerated: float = 0.0  # rate up to which it does not count, whatever the reference
    factors: Mapping[float, float] = FACTORS
    rates: Mapping[float, float] = RATES
    events: tuple[str, ...]

    def __init__(self, column: Column, happened: int, rows: int, profile: Profile) -> None:
        rate = (happened + 0.5) / (rows + 1)
        odds = np.array(list(self.factors)) * rate / (1 - rate)
        q = np.concatenate([odds / (1 + odds), list(self.rates)])
        share = np.array([*self.factors.values(), *self.rates.values()])
        above = q > rate + 2 * self.smallest  # a bet gains from about half of its own rise on
        q, share = q[above], share[above]
        if not len(q):
            q, share = np.array([(1 + rate) / 2]), np.ones(1)
        season = None
        if len(self.events) == 1:
            season = profile.seasons.get(f"{column.name}/{self.events[0]}")
        made = rate_evidence(
            happened,
            rows,
            q,
            max(IMMATERIAL_RELATIVE * rate, IMMATERIAL_ABSOLUTE),
            dispersion=profile.dispersion(f"{self.detector}/{column.name}", len(q)),
            season=season,
            tolerated=self.tolerated,
        )
        events = np.array([column.cell(e) for e in self.events])
        cells = np.arange(column.start, column.stop)
        table = made.table[:, np.isin(cells, events).astype(np.int64)]
        stream = Stream(
            self.detector,
            column.name,
            self.kind,
            self.severity,
            len(q),
            "exact" if season is None else "calibrated",
            tuple(np.where(made.bet, share, 0.0).tolist()),
        )
        if season is None:
            super().__init__(stream, "inputs", cells, table[0])
        else:
            super().__init__(stream, "inputs", cells, table, made.slots, made.expected)

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
        return [cls(c, k, n, profile) for c, k, n in references if n >= FEWEST_REFERENCE]


class MissingRate(RateRise):
    """Are more values missing?"""

    detector, kind, events = "missing_rate", "missing", ("missing",)


class InvalidRate(RateRise):
    """Do more values have the wrong type, or lie outside the allowed range?"""

    detector, kind, events = "invalid_rate", "invalid", ("invalid",)
    smallest = 0.002


class UnseenRate(RateRise):
    """Do more values belong to no category of the reference?

    The null is the Good-Turing estimate of the unseen mass: categories that the reference saw once
    count as unseen (Good, 1953).
    """

    detector, kind, events = "unseen_rate", "unseen", ("unseen",)
    smallest = 0.002

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
    smallest, tolerated = 0.1, 0.3
    factors: Mapping[float, float] = MappingProxyType({})
    rates = BROKEN
