"""What the harness must know of a competitor to run it, and how its strictness is tuned."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.detection.streams import Floats

# A rule maps a series to its alarms, the position of an alarm being the number of events seen by
# then. `stop_after` ends the run at the first alarm beyond that many events.
Rule = Callable[[Floats, int | None], list[int]]

# Of `calibration` these see the squared error of each score, a series too.
SERIES_UNITS = ("numeric", "category", "unseen", "missing", "error", "calibration")


@dataclass(frozen=True, slots=True)
class Competitor:
    """A detector of others.

    `make` gives its rule as it comes, from a reference of that stream. `tunable` gives it with a
    strictness in [0, 1], 0 ringing most and 1 least; `parameter` says what that is in its own
    terms. `units`, `processes` and `changes` limit what it is run on; the numbers, where its cost
    demands, how much: runs of a change, events in control and for tuning, and events before and
    after a change.
    """

    name: str
    make: Callable[[Floats], Rule]
    units: tuple[str, ...] = SERIES_UNITS
    tunable: Callable[[Floats, float], Rule] | None = None
    parameter: Callable[[float], str] = "strictness {:.3f}".format
    processes: tuple[str, ...] | None = None
    changes: tuple[str, ...] | None = None
    runs: int | None = None
    in_control: int | None = None
    tuning: int | None = None
    warm: int | None = None
    horizon: int | None = None

    def runs_on(self, unit: str, process: str) -> bool:
        """Can it read this unit's streams, and is it run on this process?"""
        return unit in self.units and (self.processes is None or process in self.processes)


def tuned(
    make: Callable[[float], Rule],
    values: Floats,
    rate: float,
    low: float = 0.0,
    high: float = 1.0,
    steps: int = 8,
) -> float:
    """The least strictness, to the accuracy of so many halvings, that rings seldom enough.

    Seldom enough are at most `rate` alarms an event on `values`, which have no change; `high` is
    given where nothing below it is.
    """
    allowed = int(rate * len(values))
    for _ in range(steps):
        middle = (low + high) / 2
        if _rings_more_than(make(middle), values, allowed):
            low = middle
        else:
            high = middle
    return high


def _rings_more_than(rule: Rule, values: Floats, allowed: int, parts: int = 8) -> bool:
    """Whether a rule rings so often; looks at an eighth first, where most are told apart."""
    first = values[: len(values) // parts]
    return len(rule(first, None)) > allowed or len(rule(values, None)) > allowed
