"""Another configuration without another process: on SIGHUP, and when its file has changed."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import structlog

from agent.config import Config
from agent.errors import TocsinError
from agent.publish.snapshot import ReloadStatus

LOOK_SECONDS = 2.0  # between two looks at the file


class Reload:
    """Within its context: says when there is another configuration that can be used.

    One that cannot be used is refused with the reason, and the old one stays.

    Parameters
    ----------
    path
        The file. A link to another file, as Kubernetes mounts it, is followed.
    load
        Reads it; TocsinError where it cannot be used.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self, path: Path, load: Callable[[Path], Config], clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self._load, self._clock = path, load, clock
        self._log = structlog.get_logger("agent.reload")
        self._asked = False
        self._before: Any = None
        self._seen = self._content()
        self._looked = clock()
        self._next: Config | None = None
        self.status = ReloadStatus(True, clock())

    def __enter__(self) -> Self:
        """Take over SIGHUP."""
        self._before = signal.signal(signal.SIGHUP, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signal back."""
        signal.signal(signal.SIGHUP, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def _content(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:
            return None  # between two files, when one takes the place of another

    def wanted(self) -> bool:
        """Whether there is another configuration to go on with; looks at the file now and then."""
        if self._next is not None:
            return True
        now = self._clock()
        if not self._asked and now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        content = self._content()
        changed = content is not None and content != self._seen
        if not (self._asked or changed):
            return False
        self._asked, self._seen = False, content
        try:
            self._next = self._load(self._path)
        except TocsinError as error:
            self.refused(error)
        return self._next is not None

    def take(self) -> Config:
        """The configuration that is wanted."""
        assert self._next is not None
        found, self._next = self._next, None
        return found

    def applied(self, config: Config) -> None:
        """It is in use."""
        self._log.info("configuration reloaded", config=config.hash)
        self.status = ReloadStatus(True, self._clock())

    def refused(self, error: TocsinError) -> None:
        """It cannot be used, and the old one stays."""
        self._log.error("configuration refused, the old one stays", problem=str(error))
        self.status = ReloadStatus(False, self.status.at, str(error))
