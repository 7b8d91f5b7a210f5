"""Traffic ticks: when predictions are counted, and when a silence is told of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.panes import NEVER

Ints = NDArray[np.int64]

ONE_BY_ONE = 64  # empty ticks of a silence that are each told of
HOUR = 3_600_000  # milliseconds
HOURLY = 168  # hours of a silence within which it is told of every hour; later at powers of two


@dataclass(frozen=True, slots=True)
class TickState:
    """What is remembered between steps."""

    next: int = NEVER  # first tick that has not been accounted for
    silent: int = 0  # empty ticks in a row before it
    pending: int = 0  # of those, how many nothing has been told of yet
    open: tuple[tuple[int, int], ...] = ()  # later ticks and their predictions so far


class Ticks:
    """Counts predictions by tick; a silence of years costs a few hundred words.

    Parameters
    ----------
    pane, width
        Width of a pane and of a tick, a multiple of it, milliseconds.
    """

    def __init__(self, pane: int, width: int) -> None:
        self._pane, self._width = pane, width
        self._hour = max(HOUR // width, 1)  # ticks

    def tell(
        self, state: TickState, pane: Ints, count: Ints, until: int
    ) -> tuple[TickState, Ints, Ints]:
        """Account for newly closed panes with predictions, and for ticks that end by `until` (ms).

        Returns what is told of: the times (m,) at which, and for each (first tick, ticks,
        predictions), (m, 3). All of the predictions are in the last of those ticks.
        """
        number, at = np.unique(
            np.append(pane * self._pane // self._width, [n for n, _ in state.open]),
            return_inverse=True,
        )
        counts = np.zeros(len(number), dtype=np.int64)
        np.add.at(counts, at, np.append(count, [c for _, c in state.open]).astype(np.int64))
        occupied = list(zip(number.astype(np.int64).tolist(), counts.tolist(), strict=True))
        first = state.next
        if first == NEVER:
            if not occupied:
                return state, np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.int64)
            first = occupied[0][0] + 1  # the first tick is seen only in part
        # A tick that ended before `until` is over; its rows are in panes that are closed by now.
        last = max(until // self._width, first)
        told: list[tuple[int, int, int]] = []
        silent, pending = state.silent, state.pending
        for tick, predictions in [*((t, c) for t, c in occupied if first <= t < last), (last, 0)]:
            empty, silent, pending = self._silence(first, tick, silent, pending)
            told += empty
            if tick < last:
                told.append((tick - pending, pending + 1, predictions))
                silent = pending = 0
            first = tick + 1
        later = tuple((t, c) for t, c in occupied if t >= last)
        made = np.array(told, dtype=np.int64).reshape(len(told), 3)
        times = (made[:, 0] + made[:, 1]) * self._width
        return TickState(last, silent, pending, later), times, made

    def _silence(
        self, first: int, stop: int, silent: int, pending: int
    ) -> tuple[list[tuple[int, int, int]], int, int]:
        """Account for empty ticks in [first, stop), which follow `silent` empty ones.

        Returns what is told of, and the new counts of empty ticks in a row and of those not told of
        yet.
        """
        told = []
        while first < stop:
            step = min(self._next(silent) - silent, stop - first)
            first, silent, pending = first + step, silent + step, pending + step
            if self._next(silent - 1) == silent:
                told.append((first - pending, pending, 0))
                pending = 0
        return told, silent, pending

    def _next(self, silent: int) -> int:
        """The length of silence, in ticks, at which it is told of next."""
        if silent < ONE_BY_ONE:
            return silent + 1
        doubled: int = 1 << silent.bit_length()
        hour = (silent // self._hour + 1) * self._hour
        return min(hour, doubled) if hour <= HOURLY * self._hour else doubled
