"""What people ask of a running agent: commands that wait for the loop to take them up.

Requests come in on other threads than the one that judges. They never touch live state: a command
is put on a short queue, the loop takes it up between two polls, and the request waits for the
answer.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event
from typing import Any

WAITING = 4  # commands that may wait; beyond it they are refused, so that reading goes on
PATIENCE = 5.0  # seconds that a request waits for its answer


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Somebody looks after an alarm."""

    alarm: str  # its id
    by: str
    comment: str


@dataclass(frozen=True, slots=True)
class Accept:
    """The new normal of a target, or of all targets of a model, becomes the reference."""

    model: str
    target: str | None
    by: str
    comment: str


Command = Acknowledge | Accept


@dataclass(frozen=True, slots=True)
class Answer:
    """A status as HTTP numbers them, and an object for JSON."""

    status: int
    body: dict[str, Any]


BUSY = Answer(503, {"error": "too many requests wait already: try again"})
STOPPING = Answer(503, {"error": "the agent is stopping"})
LATER = Answer(202, {"note": "the agent is busy: it will be done, see /api/v1/status and the log"})


class Commands:
    """A bounded queue between the threads that serve requests and the loop."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._queue: Queue[tuple[Command, Future[Answer]]] = Queue(WAITING)
        self._closed = Event()

    def submit(self, command: Command) -> Answer:
        """Have a command carried out; waits for the answer, but not for ever. From any thread."""
        if self._closed.is_set():
            return STOPPING
        future: Future[Answer] = Future()
        try:
            self._queue.put_nowait((command, future))
        except Full:
            return BUSY
        if self._closed.is_set():  # in the meantime
            self.close()
        try:
            return future.result(self._patience)
        except TimeoutError:
            return LATER

    def take_up(self, carry_out: Callable[[Command], Answer]) -> None:
        """Carry out what waits, in order. By the loop alone."""
        while True:
            try:
                command, future = self._queue.get_nowait()
            except Empty:
                return
            future.set_result(STOPPING if self._closed.is_set() else carry_out(command))

    def close(self) -> None:
        """Refuse what waits and what comes; the loop has ended."""
        self._closed.set()
        self.take_up(lambda command: STOPPING)
