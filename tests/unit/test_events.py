"""Alarm events: what they say, that ids repeat, and that none is lost while a broker is away."""

import json
from dataclasses import replace

from agent.acceptance import Accepted
from agent.errors import UnreachableError
from agent.publish import events
from agent.publish.events import Events, accepted_event, cloud_event
from agent.publish.snapshot import Offsets
from detectors.acceptance import Acceptance
from tests import samples

NOW = 1_700_000_000.0


def raised(**changes):
    return cloud_event(samples.alarm(**changes), NOW, "raised")


class Outlet:
    """Takes records only while it is open."""

    def __init__(self):
        self.open = False
        self.taken = []

    def send(self, topic, key, value):
        if self.open:
            self.taken.append((topic, key, json.loads(value)))
        return self.open


def test_an_event_says_all_that_a_consumer_needs():
    offsets = (Offsets("credit.predictions", 3, 17, 4_711),)
    event = cloud_event(samples.alarm(offsets=offsets), NOW, "raised")
    assert event["specversion"] == "1.0"
    assert event["type"] == "io.tocsin.alarm.raised"
    assert event["time"] == "2023-11-14T22:13:20.000+00:00"
    wanted = {
        *("model", "version", "kind", "target", "severity", "raised_at", "onset", "effect"),
        *("onset_interval", "evidence", "budget", "contributors", "profile", "configuration"),
        *("recommended_action", "runbook", "offsets"),
    }
    assert wanted <= set(event["data"])
    assert event["data"]["offsets"] == [
        {"topic": "credit.predictions", "partition": 3, "first": 17, "last": 4711}
    ]


def test_the_id_is_a_function_of_what_happened():
    alarm = samples.alarm()
    all_ids = set()
    for what in ("raised", "acknowledged", "cleared"):
        event = cloud_event(alarm, NOW, what)
        assert event["type"] == f"io.tocsin.alarm.{what}"
        assert event["id"] == cloud_event(alarm, NOW + 99, what)["id"]
        all_ids.add(event["id"])
    assert len(all_ids) == 3


def test_what_a_person_did_is_said():
    alarm = samples.alarm(acknowledged_at=1_000, acknowledged_by="ann", acknowledged_comment="me")
    data = cloud_event(alarm, NOW, "acknowledged")["data"]
    assert data["acknowledged_at"] == "1970-01-01T00:00:01.000Z"
    assert (data["acknowledged_by"], data["acknowledged_comment"]) == ("ann", "me")
    cleared = replace(alarm, cleared_at=2_000, cleared_reason="accepted")
    assert cloud_event(cleared, NOW, "cleared")["data"]["reason"] == "accepted"


def test_an_acceptance_says_what_became_what():
    made = Accepted(
        model="credit",
        references=(Acceptance("income", 5_000, 50_000, 0, 60_000, 90_000, "ann", "ok", "old"),),
        left={"error": "error: 3 rows"},
        warnings=(),
        cleared=(samples.alarm(),),
        profile_before="old",
        profile="new",
        written=None,
        unwritten="learned",
    )
    event = accepted_event(made, "conf", NOW)
    assert event["type"] == "io.tocsin.reference.accepted"
    assert event["id"] == accepted_event(made, "conf", NOW + 1)["id"]
    assert event["id"] != accepted_event(replace(made, profile="newer"), "conf", NOW)["id"]
    data = event["data"]
    assert (data["by"], data["comment"], data["accepted_at"]) == (
        "ann",
        "ok",
        "1970-01-01T00:01:30.000Z",
    )
    assert (data["profile_before"], data["profile"], data["configuration"]) == (
        "old",
        "new",
        "conf",
    )
    assert data["targets"] == [
        {
            "target": "income",
            "rows": 5000,
            "rows_before": 50_000,
            "from": "1970-01-01T00:00:00.000Z",
            "to": "1970-01-01T00:01:00.000Z",
        }
    ]
    assert data["cleared"] == [samples.alarm().id]
    outlet = Outlet()
    outlet.open = True
    told = Events("topic", outlet, logged=False)
    told.publish(event)
    told.pump()
    assert outlet.taken[0][1] == b"credit"


def test_events_wait_for_the_broker_and_come_in_order():
    outlet = Outlet()
    told = Events("alarms", outlet, logged=False)
    for i in range(3):
        told.publish(raised(id=f"a{i}"))
        told.pump()
    assert outlet.taken == []
    outlet.open = True
    told.pump()
    told.pump()
    assert [value["id"] for _, _, value in outlet.taken] == ["a0.raised", "a1.raised", "a2.raised"]
    assert outlet.taken[0][:2] == ("alarms", samples.alarm().model.encode())


def test_nothing_is_sent_before_the_topic_can_be_had():
    outlet, tries = Outlet(), []
    outlet.open = True

    def prepare():
        tries.append(1)
        if len(tries) < 3:
            raise UnreachableError("no broker")

    told = Events("alarms", outlet, prepare, logged=False)
    told.publish(raised())
    for expected in (0, 0, 1, 1):
        told.pump()
        assert len(outlet.taken) == expected
    assert len(tries) == 3


def test_what_waits_is_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(events, "WAITING", 2)
    outlet = Outlet()
    told = Events("alarms", outlet, logged=False)
    for i in range(5):
        told.publish(raised(id=f"a{i}"))
    outlet.open = True
    told.pump()
    assert [value["id"] for _, _, value in outlet.taken] == ["a3.raised", "a4.raised"]
    assert told.dropped == 3
