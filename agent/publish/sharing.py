"""Results that those who ask at about the same time share."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
KEPT = 4  # results of different keys


@dataclass(slots=True)
class Shared(Generic[Key, Result]):
    """Calls `make` once for all who ask for a key within `fresh` seconds; one call at a time.

    So many clients cost no more processor time and memory than one, however slow they are. Safe
    to call from several threads. An error of `make` is its caller's alone.
    """

    make: Callable[[Key], Result]
    fresh: float
    clock: Callable[[], float] = time.monotonic
    _lock: Lock = field(default_factory=Lock)
    _known: dict[Key, tuple[float, Result]] = field(default_factory=dict)

    def __call__(self, key: Key) -> Result:
        """The result, begun at most `fresh` seconds before this call."""
        asked = self.clock()
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] >= asked - self.fresh:
                return known[1]
            begun = self.clock()
            result = self.make(key)
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = begun, result
            return result
