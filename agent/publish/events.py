"""Alarm events: one CloudEvents record each, on the events topic and in the log."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import structlog

from agent.errors import TocsinError
from agent.publish.snapshot import Alarm
from agent.results import alarm_result, moment

WAITING = 10_000  # events kept while they cannot be sent; beyond it the oldest are dropped


class EventSink(Protocol):
    """Is told of each alarm raised or cleared."""

    def publish(self, alarm: Alarm, now: float) -> None:
        """Tell of an alarm; `now` in seconds since the epoch. Never raises, never blocks long."""

    def pump(self) -> None:
        """Send what is still waiting, as far as that is possible now."""


class Outlet(Protocol):
    """Sends a record to a topic; False where it could not be taken now."""

    def send(self, topic: str, key: bytes | None, value: bytes) -> bool:
        """Whether the record was taken."""


def cloud_event(alarm: Alarm, now: float) -> dict[str, Any]:
    """The CloudEvents 1.0 record of an alarm raised or, if `cleared_at` is set, cleared.

    Its id is that of the alarm and what happened to it: a replay or a restart repeats it.
    """
    what = "raised" if alarm.cleared_at is None else "cleared"
    data = alarm_result(alarm)
    data |= {
        "model": alarm.model,
        "budget": alarm.budget,
        "profile": alarm.profile,
        "configuration": alarm.configuration,
        "runbook": alarm.runbook,
        "onset_interval": [moment(alarm.onset_earliest), moment(alarm.onset_latest)],
        "cleared_at": moment(alarm.cleared_at),
    }
    return {
        "specversion": "1.0",
        "type": f"io.tocsin.alarm.{what}",
        "source": f"tocsin/{alarm.model}",
        "id": f"{alarm.id}.{what}",
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "subject": f"{alarm.kind}/{alarm.target}",
        "datacontenttype": "application/json",
        "data": data,
    }


class Events:
    """Writes events to the log (unless told not to) and, where there is a topic, to Kafka.

    An event that cannot be sent waits, so that none is lost while a broker is away; `dropped`
    counts those that had to give way to newer ones.

    Parameters
    ----------
    topic, outlet
        Where to send; without an outlet events are only logged.
    prepare
        Makes sure, before the first event is sent, that the topic exists; raises TocsinError.
    """

    def __init__(
        self,
        topic: str = "",
        outlet: Outlet | None = None,
        prepare: Callable[[], object] = lambda: None,
        logged: bool = True,
    ) -> None:
        self._topic, self._outlet, self._prepare, self._logged = topic, outlet, prepare, logged
        self._prepared = False
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self.dropped = 0
        self._log = structlog.get_logger("agent.alarm")

    def publish(self, alarm: Alarm, now: float) -> None:
        """Log the event and send it, keyed by model."""
        event = cloud_event(alarm, now)
        if self._logged:
            self._log.warning(event["type"], **{**event["data"], "id": event["id"]})
        if self._outlet is not None:
            if len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append((alarm.model.encode(), msgspec.json.encode(event)))

    def pump(self) -> None:
        """Send what waits, in order, until something cannot be sent."""
        if self._outlet is None or not self._waiting or not self._ready():
            return
        while self._waiting and self._outlet.send(self._topic, *self._waiting[0]):
            self._waiting.popleft()

    def _ready(self) -> bool:
        if not self._prepared:
            try:
                self._prepare()
            except TocsinError as error:
                self._log.warning("events wait", problem=str(error), waiting=len(self._waiting))
                return False
            self._prepared = True
        return True
