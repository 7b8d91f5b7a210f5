"""Alarm events: one CloudEvents record each, on the events topic and in the log."""

from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import structlog

from agent.publish.snapshot import Alarm
from agent.results import alarm_result, moment


class EventSink(Protocol):
    """Is told of each alarm raised or cleared."""

    def publish(self, alarm: Alarm, now: float) -> None:
        """Tell of an alarm; `now` in seconds since the epoch. Never raises, never blocks long."""


class Topic(Protocol):
    """Sends a record to a topic."""

    def send(self, topic: str, key: bytes | None, value: bytes) -> object: ...


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
    """Writes events to the log (unless told not to) and, where there is a topic, to Kafka."""

    def __init__(self, topic: str = "", sink: Topic | None = None, logged: bool = True) -> None:
        self._topic, self._sink, self._logged = topic, sink, logged
        self._log = structlog.get_logger("agent.alarm")

    def publish(self, alarm: Alarm, now: float) -> None:
        """Log the event and send it, keyed by model."""
        event = cloud_event(alarm, now)
        if self._logged:
            self._log.warning(event["type"], **{**event["data"], "id": event["id"]})
        if self._sink is not None:
            self._sink.send(self._topic, alarm.model.encode(), msgspec.json.encode(event))
