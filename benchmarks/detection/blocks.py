"""Recorded rows drawn anew in blocks: years of a stream like the recorded one.

A moving-block bootstrap (Kunsch, 1989): blocks of one to two days, so that what depends on the rows
just before it still does, each taken from the same hour of the day and, where the recording holds
eight weeks, from the same day of the week. Rows stay whole, the label with its prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DAY = 86_400_000  # milliseconds
WEEK = 7 * DAY
WEEKS = 8  # whole weeks from which blocks keep the day of the week


@dataclass(frozen=True, slots=True)
class Recording:
    """n rows in the order of time: columns as in the file, and when each row came (ms)."""

    columns: Mapping[str, NDArray[np.object_]]
    time: Ints

    def __len__(self) -> int:
        return len(self.time)

    @property
    def midnight(self) -> int:
        """The first one in it."""
        return -(-int(self.time[0]) // DAY) * DAY

    @property
    def period(self) -> int:
        """Of what blocks keep: a week, or in a short recording a day."""
        return WEEK if self.time[-1] - self.midnight >= WEEKS * WEEK else DAY

    def rows(self, rows: NDArray[np.intp] | slice, time: Ints) -> "Recording":
        """Rows of it, moved to other times."""
        return Recording({name: values[rows] for name, values in self.columns.items()}, time)


def halves(recording: Recording, rng: np.random.Generator) -> tuple[Recording, Recording]:
    """Two random halves of its whole weeks (or days), each put together without gaps."""
    period, start = recording.period, recording.midnight
    whole = int(recording.time[-1] + 1 - start) // period
    order = rng.permutation(whole)
    number = (recording.time - start) // period
    parts = []
    for chosen in (order[: whole // 2], order[whole // 2 : whole // 2 * 2]):
        kept = np.sort(chosen)
        rows = np.flatnonzero(np.isin(number, kept))
        moved = (np.searchsorted(kept, number[rows]) - number[rows]) * period
        parts.append(recording.rows(rows, recording.time[rows] + moved))
    return parts[0], parts[1]


def resampled(
    recording: Recording, span: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Ints]:
    """Rows (m,) of the recording and their new times, over `span` milliseconds."""
    period, now = recording.period, recording.midnight
    end, first, last = now + span, int(recording.time[0]), int(recording.time[-1])
    rows, times = [], []
    while now < end:
        length = min(int(DAY * (1 + rng.random())), end - now)
        earliest = first + (now - first) % period
        source = earliest + period * int(rng.integers((last + 1 - length - earliest) // period + 1))
        part = np.arange(*np.searchsorted(recording.time, [source, source + length]))
        rows.append(part)
        times.append(recording.time[part] + (now - source))
        now += length
    return np.concatenate(rows), np.concatenate(times)
