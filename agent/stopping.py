"""Ending in an orderly way on SIGINT and SIGTERM."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Stop:
    """Within its context, the first signal only asks to stop; a second one interrupts."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take over the signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()

    def requested(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()
