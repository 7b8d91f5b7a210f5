"""The alert budget: the only place where evidence becomes an alarm.

A user tolerates b false alarms a second, over everything. Every cell (stream and alternative) has a
weight w, all weights together 1. With elapsed time dt and the pane's e-value e of each cell,

    M <- (M + w b dt) e        alarm when the sum of all M reaches 1; then every M is 0 again

Sum M + (alarms so far) - b t is a supermartingale while nothing has changed, so the expected number
of false alarms by time t is at most b t: in wall-clock time, for any dependence between streams, at
any sample size, with no correction for many tests left to do. It is the Shiryaev-Roberts procedure
(Shiryaev, 1963; Roberts, 1966) with time as its currency, mixed over streams and alternatives.

The stream that holds the largest share at an alarm is latched: it stands, and gathers nothing more,
until the evidence for every one of its alternatives has run backwards by CLEAR nats (a CUSUM of the
opposite sign) and for HOLD without a relapse. Then the alarm is cleared and the stream armed again,
so that a change does not ring twice and a false alarm leaves no stream deaf.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import Stream

CLEAR = 7.0  # nats of evidence against each alternative: odds of a thousand to one
HOLD = 600_000  # ms that an alarm must have been without support before it clears
LONGEST_CREDIT = 7 * 86_400_000  # ms of elapsed time that one step may credit
LARGEST = 600.0  # nats in one step: keeps exp finite


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What the budget remembers; c cells, j streams."""

    time: int  # end of the last pane, milliseconds; -1 before the first
    m: NDArray[np.float64]  # (c,) the M of the formula
    cusum: NDArray[np.float64]  # (c,) max(0, cusum + log e): for onset and contributors
    since: NDArray[np.int64]  # (c,) when that cusum last left 0, milliseconds
    latched: NDArray[np.bool_]  # (j,) the stream has rung and still stands
    back: NDArray[np.float64]  # (c,) evidence against a latched stream's alternatives, nats
    relapse: NDArray[np.int64]  # (j,) when a latched stream last had support, milliseconds


@dataclass(frozen=True, slots=True)
class Ring:
    """An alarm is raised."""

    stream: int
    time: int  # end of the pane that rang, milliseconds
    onset: int  # estimate of when the change began, milliseconds
    evidence: float  # nats gathered by the alternative that rang


@dataclass(frozen=True, slots=True)
class Clear:
    """An alarm has passed."""

    stream: int
    time: int


class Budget:
    """One budget over some streams.

    Parameters
    ----------
    streams
        The questions that share this budget.
    per_millisecond
        False alarms tolerated per millisecond of event time.
    weights
        (j,) positive weights of the streams, scaled to sum 1; equal by default. Alternatives share
        their stream's weight equally.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        per_millisecond: float,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.streams = tuple(streams)
        self.rate = per_millisecond
        width = np.array([s.alternatives for s in streams], dtype=np.int64)
        share = np.ones(len(width)) if weights is None else np.asarray(weights, dtype=float)
        self.stream_weight = share / share.sum() if len(share) else share
        self._stream = np.repeat(np.arange(len(width)), width)
        self._start = np.concatenate([[0], np.cumsum(width)]).astype(np.int64)
        self._credit = (self.stream_weight / np.maximum(width, 1))[self._stream] * self.rate

    @property
    def cells(self) -> int:
        """Number of cells: all alternatives of all streams."""
        return len(self._stream)

    def start(self) -> BudgetState:
        """Nothing seen, everything armed."""
        return BudgetState(
            -1,
            np.zeros(self.cells),
            np.zeros(self.cells),
            np.zeros(self.cells, dtype=np.int64),
            np.zeros(len(self.streams), dtype=bool),
            np.zeros(self.cells),
            np.zeros(len(self.streams), dtype=np.int64),
        )

    def step(
        self, state: BudgetState, times: NDArray[np.int64], log_e: NDArray[np.float64]
    ) -> tuple[BudgetState, list[Ring | Clear]]:
        """Account for k panes in turn.

        Parameters
        ----------
        times
            (k,) end of each pane, increasing, milliseconds.
        log_e
            (k, c) log e-values of each pane's cells, in the order of the streams.
        """
        happened: list[Ring | Clear] = []
        if len(times) == 0 or not self.streams:
            return state, happened
        m, cusum, since = state.m.copy(), state.cusum.copy(), state.since.copy()
        latched, back, relapse = state.latched.copy(), state.back.copy(), state.relapse.copy()
        last = state.time
        armed = ~latched[self._stream]
        for time, pane in zip(times.tolist(), np.minimum(log_e, LARGEST), strict=True):
            start = last if last >= 0 else time
            m += self._credit * min(time - start, LONGEST_CREDIT)
            m *= np.exp(pane)
            m *= armed
            since[cusum <= 0.0] = start
            np.maximum(cusum + pane, 0.0, out=cusum)
            if latched.any():
                back = np.clip(back - pane, 0.0, LARGEST)
                for stream in np.flatnonzero(latched).tolist():
                    support = back[self._cells(stream)].min()
                    if support <= 0.0:
                        relapse[stream] = time
                    elif support >= CLEAR and time - relapse[stream] >= HOLD:
                        latched[stream] = False
                        cusum[self._cells(stream)] = 0.0
                        happened.append(Clear(stream, time))
                armed = ~latched[self._stream]
            if m.sum() >= 1.0:
                ring = self._ring(time, m, cusum, since)
                latched[ring.stream] = True
                back[self._cells(ring.stream)] = 0.0
                relapse[ring.stream] = time
                m[:] = 0.0
                armed = ~latched[self._stream]
                happened.append(ring)
            last = time
        return BudgetState(last, m, cusum, since, latched, back, relapse), happened

    def share(self, state: BudgetState) -> NDArray[np.float64]:
        """Share (j,) of the way to an alarm, in [0, 1].

        The logarithm of each stream's M against the level where it would rest without evidence:
        0 is that level after an hour, 1 the alarm. A latched stream is at 1.
        """
        held = np.array([state.m[self._cells(j)].sum() for j in range(len(self.streams))])
        rest = self.stream_weight * self.rate * 3_600_000
        with np.errstate(divide="ignore", invalid="ignore"):
            share = 1.0 - np.log(held) / np.log(rest)
        return np.where(state.latched, 1.0, np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0))

    def gathered(self, state: BudgetState) -> NDArray[np.float64]:
        """Evidence (j,) that each stream has gathered since its onset, nats."""
        if not self.streams:
            return np.zeros(0)
        return np.asarray(np.maximum.reduceat(state.cusum, self._start[:-1]))

    def _cells(self, stream: int) -> slice:
        return slice(int(self._start[stream]), int(self._start[stream + 1]))

    def _ring(
        self,
        time: int,
        m: NDArray[np.float64],
        cusum: NDArray[np.float64],
        since: NDArray[np.int64],
    ) -> Ring:
        held = np.add.reduceat(m, self._start[:-1])
        stream = int(np.argmax(held))
        cells = self._cells(stream)
        cell = cells.start + int(np.argmax(m[cells]))
        return Ring(stream, time, int(since[cell]), float(cusum[cell]))
