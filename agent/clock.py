"""A clock that does not jump: panes of silent partitions close by it."""

import time
from collections.abc import Callable

import structlog

JUMP_SECONDS = 2.0  # by which the wall clock may leave a steady course, as it is slewed
PATIENCE = 60.0  # seconds that it must stay there to be believed


def since_boot() -> float:
    """Seconds that also count while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Seconds since the epoch, by a steady course from the wall clock's first word on.

    Where the wall clock jumps, and stays there for PATIENCE, it was right: the course starts anew.
    A jump that is taken back before changes nothing.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._offset = wall() - steady()
        self._jumped: float | None = None  # since when, by the steady one
        self._log = structlog.get_logger("agent.clock")

    def __call__(self) -> float:
        """Now."""
        # Once: the threads that serve ask as well.
        jumped, offset = self._jumped, self._offset
        steady, wall = self._steady(), self._wall()
        off = wall - (steady + offset)
        if abs(off) <= JUMP_SECONDS:
            if jumped is not None:
                self._log.info("the clock is right again")
            self._jumped = None
            self._offset = offset = offset + off  # follows a clock that is slewed
        elif jumped is None:
            self._jumped = steady
            self._log.warning("the clock has jumped", seconds=round(off, 3))
        elif steady - jumped >= PATIENCE:
            self._log.warning("the clock is believed", seconds=round(off, 3))
            self._offset, self._jumped = wall - steady, None
            offset = wall - steady
        return steady + offset
