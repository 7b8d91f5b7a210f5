"""What can be seen: how long a change takes to ring, at a given traffic and budget."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import RatioDetector
from detectors.profile import NumericProfile
from detectors.ratio import SCALE, shifted

SHIFTS = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0])


@dataclass(frozen=True, slots=True)
class Power:
    """Evidence that one event brings, on average, after a shift of a numeric column.

    `growth[i]` is that of the best alternative after a shift of SHIFTS[i] standard deviations of
    the normal scores, in the direction in which it is harder to see; nats. `share[i]` is that
    alternative's share of its stream.
    """

    growth: NDArray[np.float64]
    share: NDArray[np.float64]

    def delay(
        self, per_second: float, weight: float, per_millisecond: float
    ) -> NDArray[np.float64]:
        """Expected events (len(SHIFTS),) from a shift to its alarm; infinite where none comes.

        An alternative that gathers g nats an event starts from what the budget credits in the time
        of one nat, and must reach 1.

        Parameters
        ----------
        per_second
            Events a second.
        weight
            Share of the stream in its budget.
        per_millisecond
            False alarms tolerated per millisecond.
        """
        g = np.maximum(self.growth, 1e-12)
        start = weight * self.share * per_millisecond * 1000 / max(per_second, 1e-12) / g
        with np.errstate(divide="ignore"):  # an alternative without a share never rings
            nats = np.maximum(-np.log(np.minimum(start, 0.5)), 0.0)
        return np.where(self.growth > 0, nats / g, np.inf)

    def detectable(self, events: float, per_second: float, weight: float, rate: float) -> float:
        """Smallest shift that rings within so many events; NaN where none of SHIFTS does."""
        seen = np.flatnonzero(self.delay(per_second, weight, rate) <= events)
        return float(SHIFTS[seen[0]]) if len(seen) else float("nan")


def power(detector: RatioDetector, column: NumericProfile) -> Power:
    """The power of a numeric drift detector on its column."""
    counts = column.bins.counts
    whole = counts / counts.sum()
    if column.season is None:
        levels, often = [whole], np.ones(1)
        tables = [detector.table]
    else:
        slots = column.season.levels()[1]
        levels = list(column.season.probabilities(whole))
        often = np.bincount(slots) / len(slots)
        tables = list(detector.table)
    growth, share = np.full(len(SHIFTS), np.inf), np.zeros(len(SHIFTS))
    spread = detector.stream.spread()
    for sign in (-1.0, 1.0):
        brought = np.zeros((len(SHIFTS), detector.stream.alternatives))
        for p, table, share_of_time in zip(levels, tables, often, strict=True):
            moved = np.array([shifted(p, sign * s) for s in SHIFTS])
            brought += share_of_time * (moved @ (table / SCALE))
        brought = np.where(spread > 0, brought, -np.inf)  # what is not bet on cannot ring
        best = brought.argmax(axis=1)
        gathered = brought[np.arange(len(SHIFTS)), best]
        harder = gathered < growth
        growth, share = np.where(harder, gathered, growth), np.where(harder, spread[best], share)
    return Power(growth, share)
