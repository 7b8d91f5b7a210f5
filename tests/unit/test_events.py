"""Alarm events: what they say, that ids repeat, and that none is lost while a broker is away."""

import json
from dataclasses import replace

from agent.errors import UnreachableError
from agent.publish import events
from agent.publish.events import Events, cloud_event
from tests import samples

NOW = 1_700_000_000.0


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
    event = cloud_event(samples.alarm(), NOW)
    assert event["specversion"] == "1.0"
    assert event["type"] == "io.tocsin.alarm.raised"
    assert event["time"] == "2023-11-14T22:13:20.000+00:00"
    wanted = {
        *("model", "version", "kind", "target", "severity", "raised_at", "onset", "effect"),
        *("onset_interval", "evidence", "budget", "contributors", "profile", "configuration"),
        *("recommended_action", "runbook"),
    }
    assert wanted <= set(event["data"])


def test_the_id_is_a_function_of_what_happened():
    alarm = samples.alarm()
    cleared = replace(alarm, cleared_at=alarm.raised_at + 1)
    assert cloud_event(alarm, NOW)["id"] == cloud_event(alarm, NOW + 99)["id"]
    assert cloud_event(cleared, NOW)["id"] != cloud_event(alarm, NOW)["id"]
    assert cloud_event(cleared, NOW)["type"] == "io.tocsin.alarm.cleared"


def test_events_wait_for_the_broker_and_come_in_order():
    outlet = Outlet()
    told = Events("alarms", outlet, logged=False)
    for i in range(3):
        told.publish(replace(samples.alarm(), id=f"a{i}"), NOW)
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
    told.publish(samples.alarm(), NOW)
    for expected in (0, 0, 1, 1):
        told.pump()
        assert len(outlet.taken) == expected
    assert len(tries) == 3


def test_what_waits_is_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(events, "WAITING", 2)
    outlet = Outlet()
    told = Events("alarms", outlet, logged=False)
    for i in range(5):
        told.publish(replace(samples.alarm(), id=f"a{i}"), NOW)
    outlet.open = True
    told.pump()
    assert [value["id"] for _, _, value in outlet.taken] == ["a3.raised", "a4.raised"]
    assert told.dropped == 3
