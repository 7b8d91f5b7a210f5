"""Alarm events: what they say, and that ids repeat."""

import json
from dataclasses import replace

from agent.acceptance import Accepted
from agent.publish.events import Events, accepted_event, cloud_event
from agent.publish.outbox import Outbox
from agent.publish.snapshot import Offsets
from detectors.acceptance import Acceptance
from tests import samples
from tests.outlet import Outlet

NOW = 1_700_000_000.0


def raised(**changes):
    return cloud_event(samples.alarm(**changes), NOW, "raised")


def sent(*all_events):
    """Key and object of each record that these events become."""
    outlet = Outlet()
    outbox = Outbox("alarms", outlet)
    told = Events(outbox, logged=False)
    for event in all_events:
        told.publish(event)
    assert outbox.settle(5.0)
    outbox.close()
    assert told.counts == {"sent": len(all_events), "refused": 0, "dropped": 0, "waiting": 0}
    assert {topic for topic, *_ in outlet.taken} == {"alarms"}
    return [(key, json.loads(value)) for _, key, value, _ in outlet.taken]


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
    assert sent(event) == [(b"credit", event)]


def test_events_are_sent_in_order_keyed_by_model():
    made = [raised(id=f"a{i}") for i in range(3)]
    found = sent(*made)
    assert [key for key, _ in found] == [samples.alarm().model.encode()] * 3
    assert [event["id"] for _, event in found] == ["a0.raised", "a1.raised", "a2.raised"]


def test_a_name_that_is_no_unicode_is_sent_all_the_same():
    ((key, _),) = sent(raised(model="half \ud800"))
    assert key == b"half \\ud800"


def test_without_a_topic_events_are_only_logged():
    told = Events(logged=False)
    told.publish(raised())
    assert told.counts == {}
