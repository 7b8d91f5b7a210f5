"""The real budget over the evidence of a run, part by part."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.streams import Floats
from detectors.budget import Budget, BudgetState, Ring
from detectors.evidence import Stream

STEPS = 50  # panes that the budget judges at once, as those after an alarm are judged again


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the detectors say of k panes, c cells in all."""

    start: int  # when the run, or this part of it, begins, milliseconds
    time: NDArray[np.int64]  # (k,) end of each pane, milliseconds
    event: NDArray[np.int64]  # (k,) events of the run by then
    log_e: Floats  # (k, c)


def whole(parts: Sequence[Evidence]) -> Evidence:
    """The evidence of consecutive parts as one."""
    return Evidence(
        parts[0].start,
        np.concatenate([p.time for p in parts]),
        np.concatenate([p.event for p in parts]),
        np.concatenate([p.log_e for p in parts]),
    )


@dataclass(frozen=True, slots=True)
class Alarm:
    """A stream rang after so many events of a run."""

    event: int
    stream: Stream


class Judge:
    """A budget, and the alarms that it has raised so far.

    Parameters
    ----------
    budget
        False alarms tolerated, and what shares them.
    start
        When watching begins, milliseconds.
    stop_after
        Enough is seen with the first alarm beyond so many events.
    latching
        As in production: what has rung stays latched until its change is gone. Otherwise the
        budget starts anew after each alarm.
    """

    def __init__(
        self,
        budget: Budget,
        start: int,
        stop_after: int | None = None,
        latching: bool = False,
    ) -> None:
        self.budget = budget
        self.latching, self.stop_after = latching, stop_after
        self.alarms: list[Alarm] = []
        self.seconds = 0.0
        self._state = self._fresh(start)

    @property
    def done(self) -> bool:
        """Has it seen enough?"""
        return self.late is not None

    @property
    def late(self) -> Alarm | None:
        """The alarm beyond `stop_after` events."""
        if self.stop_after is None or not self.alarms or self.alarms[-1].event <= self.stop_after:
            return None
        return self.alarms[-1]

    def see(self, part: Evidence) -> None:
        """Judge the next panes of the run."""
        began, at = time.perf_counter(), 0
        while at < len(part.time) and not self.done:
            some = slice(at, at + STEPS)
            state, happened = self.budget.step(self._state, part.time[some], part.log_e[some])
            rings = [h for h in happened if isinstance(h, Ring)]
            if not rings or self.latching:
                self.alarms += [self._alarm(ring, part) for ring in rings]
                self._state, at = state, at + STEPS
                continue
            # The panes of this step that follow the alarm are judged again, by a fresh budget.
            self.alarms.append(self._alarm(rings[0], part))
            self._state = self._fresh(rings[0].time)
            at = int(np.searchsorted(part.time, rings[0].time)) + 1
        self.seconds += time.perf_counter() - began

    def _alarm(self, ring: Ring, part: Evidence) -> Alarm:
        event = part.event[np.searchsorted(part.time, ring.time)]
        return Alarm(int(event), self.budget.streams[ring.stream])

    def _fresh(self, start: int) -> BudgetState:
        """The budget's state when watching begins, its clock set."""
        nothing = np.zeros((1, self.budget.cells))
        return self.budget.step(self.budget.start(), np.array([start]), nothing)[0]
