"""The alert budget: the only place where evidence becomes an alarm.

A user tolerates b false alarms a second, over everything. Every cell (stream and alternative) has a
weight w, all weights together 1. With elapsed time dt and the pane's e-value e of each cell,

    M <- (M + w b dt) e        alarm when the sum of all M reaches 1; then every M is 0 again

Sum M + (alarms so far) - b t is a supermartingale while nothing has changed, so the expected number
of false alarms by time t is at most b t: in wall-clock time, for any dependence between streams, at
any sample size, with no correction for many tests left to do. It is the Shiryaev-Roberts procedure
(Shiryaev, 1963; Roberts, 1966) with time as its currency, mixed over streams and alternatives.

The stream that holds the largest share at an alarm is latched: it stands, and brings no further
alarm, until its change is gone. Gone means that, over PATIENCE times the exposure in which the
alarm gathered its evidence, and for HOLD at least, none of its alternatives gathered half of that
evidence (LEAST at the least) again. Exposure is counted in the evidence that the least fitting
alternative loses, so that nights without traffic do not count. Then the alarm is cleared and the
stream armed again: a change does not ring twice, and a false alarm leaves no stream deaf.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import Stream

NEAR = 2.0  # nats by which an onset may be less likely than the likeliest
PATIENCE = 6.0  # times the exposure from onset to alarm that a change must be absent
LEAST = 4.0  # nats of evidence that every alarm is taken to have had
HOLD = 600_000  # ms that an alarm must have been without support before it clears
LONGEST_CREDIT = 7 * 86_400_000  # ms of elapsed time that one step may credit
LARGEST = 600.0  # nats in one step: keeps exp finite


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What the budget remembers; c cells, j streams."""

    time: int  # end of the last pane, milliseconds; -1 before the first
    m: NDArray[np.float64]  # (c,) the M of the formula
    cusum: NDArray[np.float64]  # (c,) max(0, cusum + log e): evidence since a possible onset
    since: NDArray[np.int64]  # (c,) when that cusum last left 0, milliseconds
    until: NDArray[np.int64]  # (c,) when it last was at most NEAR, milliseconds
    began: NDArray[np.float64]  # (c,) its stream's exposure then
    credited: NDArray[np.int64]  # (j,) up to when time has been credited, milliseconds
    exposure: NDArray[np.float64]  # (j,) nats that the least fitting alternatives have lost
    latched: NDArray[np.bool_]  # (j,) the stream has rung and still stands
    level: NDArray[np.float64]  # (j,) evidence that rang, nats
    needed: NDArray[np.float64]  # (j,) exposure for which a latched stream must be calm
    calm: NDArray[np.float64]  # (j,) exposure at which it last was not
    relapse: NDArray[np.int64]  # (j,) when it last was not, milliseconds


@dataclass(frozen=True, slots=True)
class Ring:
    """An alarm is raised."""

    stream: int
    time: int  # end of the pane that rang, milliseconds
    onset: int  # likeliest beginning of the change, milliseconds
    onset_latest: int  # last beginning that is nearly as likely (within NEAR nats)
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
        their stream's weight as the stream says (`Stream.spread`).
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
        spread = np.concatenate([s.spread() for s in streams]) if streams else np.zeros(0)
        self._credit = self.stream_weight[self._stream] * spread * self.rate

    @property
    def cells(self) -> int:
        """Number of cells: all alternatives of all streams."""
        return len(self._stream)

    def weight(self, stream: Stream) -> float:
        """A stream's share of the budget."""
        return float(self.stream_weight[self.streams.index(stream)])

    def start(self) -> BudgetState:
        """Nothing seen, everything armed."""
        cells, streams = self.cells, len(self.streams)
        return BudgetState(
            time=-1,
            m=np.zeros(cells),
            cusum=np.zeros(cells),
            since=np.zeros(cells, dtype=np.int64),
            until=np.zeros(cells, dtype=np.int64),
            began=np.zeros(cells),
            credited=np.zeros(streams, dtype=np.int64),
            exposure=np.zeros(streams),
            latched=np.zeros(streams, dtype=bool),
            level=np.zeros(streams),
            needed=np.zeros(streams),
            calm=np.zeros(streams),
            relapse=np.zeros(streams, dtype=np.int64),
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
        now = replace(state, **{f.name: getattr(state, f.name).copy() for f in fields(state)[1:]})
        last = state.time
        if last < 0:
            now.credited[:] = times[0]
        for time, pane in zip(times.tolist(), np.clip(log_e, -LARGEST, LARGEST), strict=True):
            start = last if last >= 0 else time
            elapsed = self._elapsed(now, time, pane)
            np.add(now.m, self._credit * elapsed[self._stream], out=now.m)
            np.multiply(now.m, np.exp(pane), out=now.m)
            now.m[now.latched[self._stream]] = 0.0
            self._gather(now, start, time, pane)
            happened += self._clear(now, time)
            if now.m.sum() >= 1.0:
                happened.append(self._ring(now, time))
            last = time
        return replace(now, time=last), happened

    def _elapsed(self, now: BudgetState, time: int, pane: NDArray[np.float64]) -> NDArray[np.int64]:
        """Time (j,) to credit each stream: since its last pane with data, once it has data again.

        A stream that says nothing is not credited, or it would ring in the end on no evidence.
        """
        speaks = np.logical_or.reduceat(pane != 0.0, self._start[:-1])
        elapsed = np.where(speaks, np.clip(time - now.credited, 0, LONGEST_CREDIT), 0)
        now.credited[speaks] = time
        return elapsed

    def _gather(self, now: BudgetState, start: int, time: int, pane: NDArray[np.float64]) -> None:
        """Add a pane from `start` to `time` to evidence and exposure."""
        idle = now.cusum <= 0.0
        now.since[idle] = start
        now.began[idle] = now.exposure[self._stream[idle]]
        np.maximum(now.cusum + pane, 0.0, out=now.cusum)
        now.until[now.cusum <= NEAR] = time
        lost = -np.minimum.reduceat(pane, self._start[:-1])
        np.add(now.exposure, np.maximum(lost, 0.0), out=now.exposure)

    def _clear(self, now: BudgetState, time: int) -> list[Ring | Clear]:
        """Arm latched streams whose change is gone; note for the others that it is not."""
        cleared: list[Ring | Clear] = []
        for stream in np.flatnonzero(now.latched).tolist():
            cells = self._cells(stream)
            if now.cusum[cells].max() >= now.level[stream] / 2:
                now.calm[stream], now.relapse[stream] = now.exposure[stream], time
                now.cusum[cells] = 0.0
                continue
            calm = now.exposure[stream] - now.calm[stream] >= now.needed[stream]
            if calm and time - now.relapse[stream] >= HOLD:
                now.latched[stream] = False
                now.cusum[cells] = 0.0
                cleared.append(Clear(stream, time))
        return cleared

    def _ring(self, now: BudgetState, time: int) -> Ring:
        """Raise an alarm for the stream that holds most, latch it, and start over."""
        stream = int(np.argmax(np.add.reduceat(now.m, self._start[:-1])))
        cells = self._cells(stream)
        cell = cells.start + int(np.argmax(now.m[cells]))
        ring = Ring(
            stream, time, int(now.since[cell]), int(now.until[cell]), float(now.cusum[cell])
        )
        now.latched[stream] = True
        now.level[stream] = max(ring.evidence, LEAST)
        # A change that every alternative fits costs no exposure, however long it lasts.
        gathered = PATIENCE * (now.exposure[stream] - now.began[cell])
        now.needed[stream] = max(gathered, now.level[stream])
        now.calm[stream], now.relapse[stream] = now.exposure[stream], time
        now.cusum[cells] = 0.0
        now.m[:] = 0.0
        return ring

    def share(self, state: BudgetState) -> NDArray[np.float64]:
        """Share (j,) of the way to an alarm, in [0, 1].

        The logarithm of each stream's M against the level where it would rest without evidence:
        0 is that level after an hour (half an alarm, where the budget is that generous), 1 the
        alarm. A latched stream is at 1.
        """
        held = np.array([state.m[self._cells(j)].sum() for j in range(len(self.streams))])
        rest = np.minimum(self.stream_weight * self.rate * 3_600_000, 0.5)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = 1.0 - np.log(held) / np.log(rest)
        return np.where(state.latched, 1.0, np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0))

    def gathered(self, state: BudgetState) -> NDArray[np.float64]:
        """Evidence (j,) that each stream has gathered since its onset, nats.

        Of a latched stream at least what it rang with.
        """
        if not self.streams:
            return np.zeros(0)
        gathered = np.maximum.reduceat(state.cusum, self._start[:-1])
        return np.asarray(np.where(state.latched, np.maximum(gathered, state.level), gathered))

    def _cells(self, stream: int) -> slice:
        return slice(int(self._start[stream]), int(self._start[stream + 1]))
