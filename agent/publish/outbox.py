"""Records on their way to a topic that may be away, slow or forbidden for a while."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol

import structlog

from agent.errors import TocsinError

LIMIT: Final = 16 * 2**20  # bytes kept until they are acknowledged
_OVERHEAD = 500  # bytes of a record beside its parts, about
RETRY_SECONDS = 1.0  # from a failure to the next attempt

Delivery = Literal["delivered", "refused", "failed"]
"""What became of a record: the broker has it, will never take it, or may take it another time."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be sent."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()

    @property
    def size(self) -> int:
        """About how many bytes it keeps."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.value or b"") + len(self.key or b"") + headers + _OVERHEAD


class Outlet(Protocol):
    """Sends a record to a topic; `done` is called later, on any thread, with what became of it."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        done: Callable[[Delivery], None],
    ) -> bool:
        """Whether the record was taken. ValueError where it never will be."""


class Outbox:
    """Sends records until it is closed, each one until the broker has acknowledged it.

    A thread of its own sends, so that nobody else is held up. What has not been acknowledged is
    bounded in bytes: beyond that the oldest give way.

    Parameters
    ----------
    topic, outlet
        Where to send; the outlet is used by this object's thread alone.
    prepare
        Makes sure, before the first record is sent and after each failure, that the topic exists;
        raises TocsinError.
    limit
        Bytes that may wait for their acknowledgement.
    """

    def __init__(
        self,
        topic: str,
        outlet: Outlet,
        prepare: Callable[[], object] = lambda: None,
        limit: int = LIMIT,
    ) -> None:
        self._topic, self._outlet, self._prepare, self._limit = topic, outlet, prepare, limit
        self._log = structlog.get_logger("agent.outbox")
        self._changed = threading.Condition()
        self._waiting: deque[Record] = deque()
        self._under_way = 0  # records handed to the outlet
        self._bytes = 0  # of both
        self._counts: Counter[str] = Counter(sent=0, refused=0, dropped=0)
        self._problem = ""
        self._failed = False  # since the last attempt
        self._prepared = False
        self._stopping = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"to-{topic}", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Mapping[str, int]:
        """Records by what became of them.

        `sent`, `refused` (too large, or nothing that the broker takes) and `dropped` (gave way to
        newer ones, or was left at the end).
        """
        with self._changed:
            return dict(self._counts)

    @property
    def waiting(self) -> int:
        """Records that are not acknowledged yet."""
        with self._changed:
            return len(self._waiting) + self._under_way

    def put(self, records: Iterable[Record]) -> None:
        """Take records on, to be sent in this order. Never blocks."""
        with self._changed:
            for record in records:
                self._waiting.append(record)
                self._bytes += record.size
                while self._bytes > self._limit and self._waiting:
                    self._end(self._waiting.popleft(), "dropped")
            self._changed.notify_all()

    def settle(self, timeout: float) -> bool:
        """Whether every record has come to its end, waiting for that up to `timeout` seconds.

        Waits for a topic that takes records, and not at all while it takes none.
        """
        with self._changed:
            settled = self._changed.wait_for(
                lambda: self._problem or not (self._waiting or self._under_way), timeout
            )
            if not settled:
                self._trouble(f"no acknowledgement within {timeout:g} s")
            return not (self._waiting or self._under_way)

    def close(self, timeout: float = 2.0) -> None:
        """Send what can be within `timeout` seconds; what is left is lost, and counted."""
        self.settle(timeout)
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            left = 0 if self._closed else len(self._waiting) + self._under_way
            self._counts["dropped"] += left
            self._closed = True
        if left:
            self._log.error("lost", topic=self._topic, records=left, problem=self._problem)

    def _run(self) -> None:
        while (record := self._next()) is not None:
            try:
                if not self._prepared:
                    self._prepare()
                    self._prepared = True
                taken = self._outlet.send(
                    self._topic,
                    record.key,
                    record.value,
                    record.headers,
                    partial(self._done, record),
                )
                problem = "" if taken else "not taken"
            except TocsinError as error:
                taken, problem = False, str(error)
            except Exception as error:  # this record alone: the next one may be another matter
                self._log.warning("refused", topic=self._topic, problem=repr(error))
                self._done(record, "refused")
                continue
            if not taken:
                self._again(record, problem)

    def _next(self) -> Record | None:
        """The oldest record, once there is one and it may be tried; None at the end."""
        with self._changed:
            if self._failed:
                self._changed.wait_for(self._stopping.is_set, RETRY_SECONDS)
                self._failed = self._prepared = False  # the topic may have been deleted
            self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
            if self._stopping.is_set():
                return None
            self._under_way += 1
            return self._waiting.popleft()

    def _done(self, record: Record, delivery: Delivery) -> None:
        if delivery == "failed":
            self._again(record, "delivery failed")
            return
        with self._changed:
            if self._closed:
                return
            self._under_way -= 1
            self._end(record, "sent" if delivery == "delivered" else "refused")
            if delivery == "delivered":
                self._problem = ""
            self._changed.notify_all()

    def _again(self, record: Record, problem: str) -> None:
        with self._changed:
            if self._closed:
                return
            self._under_way -= 1
            self._waiting.appendleft(record)
            self._failed = True
            self._trouble(problem)
            self._changed.notify_all()

    def _end(self, record: Record, outcome: str) -> None:
        self._bytes -= record.size
        self._counts[outcome] += 1

    def _trouble(self, problem: str) -> None:
        if not self._problem:  # once for as long as it lasts
            self._log.warning("records wait", topic=self._topic, problem=problem)
        self._problem = problem
