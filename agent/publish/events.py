"""Events, one CloudEvents record each, on the events topic and in the log."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import msgspec
import structlog

from agent.acceptance import Accepted
from agent.alarms import stable_id
from agent.publish.outbox import Outbox, Record
from agent.publish.snapshot import Alarm
from agent.results import alarm_result, moment

Event = dict[str, Any]  # a CloudEvents 1.0 record
What = Literal["raised", "cleared", "acknowledged"]


class EventSink(Protocol):
    """Is told of each alarm raised, cleared or acknowledged, and of each reference accepted."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Events by what became of them; empty where none are sent."""

    def publish(self, event: Event) -> None:
        """Tell of it. Never raises, never blocks."""

    def are_told(self) -> bool:
        """Whether all that was published has been delivered."""


def cloud_event(alarm: Alarm, now: float, what: What) -> Event:
    """The record of what happened to an alarm; `now` in seconds since the epoch.

    Its id is that of the alarm and what happened to it: a replay or a restart repeats it.
    """
    number, subject = f"{alarm.id}.{what}", f"{alarm.kind}/{alarm.target}"
    return _event(f"alarm.{what}", alarm.model, number, subject, now, alarm_data(alarm))


def accepted_event(made: Accepted, configuration: str, now: float) -> Event:
    """The record of references accepted; its id says which profile became which."""
    number = f"{stable_id(made.model, made.profile_before, made.profile)}.accepted"
    data = acceptance_data(made) | {"configuration": configuration}
    return _event("reference.accepted", made.model, number, "reference", now, data)


def alarm_data(alarm: Alarm) -> dict[str, Any]:
    """All that an event says of an alarm."""
    return alarm_result(alarm) | {
        "model": alarm.model,
        "budget": alarm.budget,
        "profile": alarm.profile,
        "configuration": alarm.configuration,
        "runbook": alarm.runbook,
        "onset_interval": [moment(alarm.onset_earliest), moment(alarm.onset_latest)],
        "offsets": [
            {"topic": o.topic, "partition": o.partition, "first": o.first, "last": o.last}
            for o in alarm.offsets
        ],
        "cleared_at": moment(alarm.cleared_at),
        "reason": alarm.cleared_reason or None,
        "acknowledged_at": moment(alarm.acknowledged_at),
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged_comment": alarm.acknowledged_comment,
    }


def acceptance_data(made: Accepted) -> dict[str, Any]:
    """All that an event, and the answer to the request, say of references accepted."""
    first = made.references[0]
    return {
        "model": made.model,
        "by": first.by,
        "comment": first.comment,
        "accepted_at": moment(first.at),
        "targets": [
            {
                "target": r.target,
                "rows": r.rows,
                "rows_before": r.rows_before,
                "from": moment(r.since),
                "to": moment(r.until),
            }
            for r in made.references
        ],
        "left": dict(made.left),
        "warnings": list(made.warnings),
        "cleared": [alarm.id for alarm in made.cleared],
        "profile": made.profile,
        "profile_before": made.profile_before,
        "written": None if made.written is None else str(made.written),
        "unwritten": made.unwritten,
    }


def _event(
    what: str, model: str, number: str, subject: str, now: float, data: dict[str, Any]
) -> Event:
    return {
        "specversion": "1.0",
        "type": f"io.tocsin.{what}",
        "source": f"tocsin/{model}",
        "id": number,
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    }


class Events:
    """Writes events to the log (unless told not to) and, where there is an outbox, to a topic."""

    def __init__(self, outbox: Outbox | None = None, logged: bool = True) -> None:
        self._outbox, self._logged = outbox, logged
        self._log = structlog.get_logger("agent.alarm")

    @property
    def counts(self) -> Mapping[str, int]:
        """Events by what became of them."""
        if self._outbox is None:
            return {}
        return {**self._outbox.counts, "waiting": self._outbox.waiting}

    def are_told(self) -> bool:
        """Whether all that was published has been delivered."""
        return self._outbox is None or not self._outbox.waiting

    def publish(self, event: Event) -> None:
        """Log the event and send it, keyed by model."""
        if self._logged:
            self._log.warning(event["type"], **{**event["data"], "id": event["id"]})
        if self._outbox is not None:
            key = event["data"]["model"].encode(errors="backslashreplace")
            self._outbox.put([Record(key, _encoded(event))])


def _encoded(event: Event) -> bytes:
    try:
        return msgspec.json.encode(event)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can bring in a version
        return json.dumps(event).encode()
