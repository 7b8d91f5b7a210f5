"""What is measured: false alarms, delays, and what of a change that comes and goes is found."""

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import chi2

Key = tuple[str, str, str]  # unit or change, process, detector


@dataclass(frozen=True, slots=True)
class Rate:
    """Alarms among in-control events."""

    alarms: int
    events: int

    @property
    def per_million(self) -> float:
        """Alarms in a million events."""
        return self.alarms / self.events * 1e6

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95% Poisson interval of `per_million` (Garwood, 1936)."""
        low = chi2.ppf(0.025, 2 * self.alarms) / 2 if self.alarms else 0.0
        high = chi2.ppf(0.975, 2 * self.alarms + 2) / 2
        return float(low / self.events * 1e6), float(high / self.events * 1e6)


@dataclass(frozen=True, slots=True)
class Delays:
    """Events from change to alarm of each run; infinite where none came."""

    events: tuple[float, ...]
    right: int | None = None  # runs whose alarm named the stream that changed

    def quantile(self, share: float) -> float:
        """The delay that this share of the runs does not exceed; infinite for a miss."""
        return float(np.quantile(self.events, share, method="inverted_cdf"))

    @property
    def misses(self) -> int:
        """Runs without an alarm."""
        return int(np.isinf(self.events).sum())


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A change that came and went: alarms (runs, occurrences) while it was there, and others."""

    alarms: tuple[tuple[int, ...], ...]
    others: int

    def found(self, occurrences: slice) -> float:
        """Share of these occurrences with an alarm while they lasted."""
        return float((np.array(self.alarms)[:, occurrences] > 0).mean())

    @property
    def per_occurrence(self) -> float:
        """Alarms while the change was there, for each time it was."""
        return float(np.mean(self.alarms))


@dataclass(slots=True)
class Results:
    """All figures."""

    rates: dict[Key, Rate] = field(default_factory=dict)
    delays: dict[Key, Delays] = field(default_factory=dict)
    recurrences: dict[Key, Recurrence] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)  # microseconds an event
    tuned: dict[Key, str] = field(default_factory=dict)  # by unit, process, detector
    seconds: float = 0.0
