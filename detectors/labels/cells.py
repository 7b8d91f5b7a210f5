"""Cells of a pane's `labels` section: how late labels came, and which predictions got one in time.

They are filled where predictions and labels are joined, not from rows.
"""

import numpy as np
from numpy.typing import NDArray

from detectors.sketch import Counts

MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
# Upper bounds of the delay of a joined row, milliseconds; the last bin is open.
BOUNDS = 1000 * np.array(
    [1, 3, 10, 30]
    + [n * MINUTE for n in (1, 2, 5, 10, 30)]
    + [n * HOUR for n in (1, 2, 6, 12)]
    + [n * DAY for n in (1, 2, 4, 7, 14, 30)]
)  # fmt: skip
PARTS = (720, 30, 5, 1)  # a prediction is looked at when it is as old as these parts of the horizon
DELAYS = len(BOUNDS) + 1
SIZE = DELAYS + 2 * len(PARTS)


def ages(horizon: int) -> tuple[int, ...]:
    """Ages, milliseconds, at which it is seen whether a prediction has a label."""
    return tuple(max(horizon // part, 1) for part in PARTS)


def delay_cells(delay: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cell of each delay (n,), milliseconds."""
    return np.searchsorted(BOUNDS, delay, side="left").astype(np.int64)


def by_age(counts: Counts) -> Counts:
    """Predictions with and without a label at each age, (ages, 2), of the section's counts."""
    return counts[DELAYS:].reshape(len(PARTS), 2)


def age_cells(age: NDArray[np.int64], labelled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Cell of each prediction (n,) that has reached an age, by its number, with a label or not."""
    return DELAYS + 2 * age + ~labelled
