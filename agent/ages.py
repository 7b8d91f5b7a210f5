"""Which predictions have a label when they reach certain ages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bits = NDArray[np.uint8]

STRETCHES = 32  # in an age: so often in it predictions that reach it are told of


class Block(Protocol):
    """Predictions: their times, and bit k where one had a label at age k."""

    @property
    def time(self) -> Ints:
        """(n,) milliseconds."""

    @property
    def timely(self) -> Bits:
        """(n,)."""


@dataclass(frozen=True, slots=True)
class Aged:
    """Predictions that have reached an age: when that is told, which, and with a label or without.

    It is told at the end of a stretch of time in which many do.
    """

    time: Ints
    age: Ints  # its number
    labelled: NDArray[np.bool_]


@dataclass(slots=True)
class Ages:
    """Looks at predictions when they reach an age.

    Parameters
    ----------
    ages
        At most eight, none beyond the horizon of labels, milliseconds.
    pane
        Width of a pane: stretches are whole panes.
    """

    ages: tuple[int, ...] = ()
    pane: int = 1
    told: int = -(2**62)  # up to when predictions that reach an age have been told of

    @property
    def stretches(self) -> tuple[int, ...]:
        """Width of the stretches of each age, milliseconds."""
        return tuple(max(age // STRETCHES // self.pane, 1) * self.pane for age in self.ages)

    def noted(self, timely: Bits, delay: Ints, labelled: NDArray[np.bool_]) -> Bits:
        """The bits (n,) after feedback that came so long after its prediction.

        `labelled` says whether there is a label after it. Only ages that it came before change.
        """
        for number, age in enumerate(self.ages):
            bit = np.uint8(1 << number)
            changed = np.where(labelled, timely | bit, timely & ~bit)
            timely = np.where(delay < age, changed, timely)
        return timely

    def reached(self, blocks: Iterable[Block], until: int) -> Aged:
        """Predictions that reach an age by `until`, and had not by when this was last asked.

        No feedback, and no prediction, from before `until` may come any more, so the answer does
        not depend on how they came. A withdrawn label is none.
        """
        nothing = np.zeros(0, dtype=np.int64)
        time, ages, labelled = [nothing], [nothing], [nothing.astype(bool)]
        for number, (age, stretch) in enumerate(zip(self.ages, self.stretches, strict=True)):
            if until // stretch == self.told // stretch:
                continue  # looking through all predictions is dear
            for block in blocks:
                near = (block.time > self.told - age - stretch) & (block.time <= until - age)
                now = np.flatnonzero(near)
                due = -(-(block.time[now] + age) // stretch) * stretch
                told = (due > self.told) & (due <= until)
                now, due = now[told], due[told]
                time.append(due - 1)
                ages.append(np.full(len(now), number))
                labelled.append((block.timely[now] >> number & 1).astype(bool))
        self.told = until
        return Aged(np.concatenate(time), np.concatenate(ages), np.concatenate(labelled))
