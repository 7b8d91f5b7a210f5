"""What is sent: that none is lost in silence, and that no topic ever holds anybody up."""

import time

import pytest

from agent.errors import UnreachableError
from agent.publish.outbox import Outbox, Record
from tests.outlet import Outlet


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("agent.publish.outbox.RETRY_SECONDS", 0.01)


def test_a_topic_that_is_away_costs_the_oldest_records_and_no_time():
    outlet = Outlet(open_=False)
    outbox = Outbox("topic", outlet, limit=100_000)
    outbox.put(Record(None, b"%04d" % i) for i in range(1000))
    assert outlet.busy.wait(5.0)
    assert not outbox.settle(60.0), "it would wait for a minute"
    dropped = outbox.counts["dropped"]
    assert 800 <= dropped < 1000
    outlet.open = True
    while not outbox.settle(0.1):
        time.sleep(0.01)
    outbox.close()
    sent = [value for _, _, value, _ in outlet.taken]
    assert outbox.counts == {"sent": 1000 - dropped, "refused": 0, "dropped": dropped}
    assert sent == [b"%04d" % i for i in range(dropped, 1000)]


def test_a_broker_that_never_answers_is_waited_for_once():
    outbox = Outbox("topic", Outlet(fate=lambda number: None))
    outbox.put([Record(b"k", b"a")])
    assert not outbox.settle(0.05)
    assert not outbox.settle(60.0), "it would wait for a minute"
    outbox.close()
    assert outbox.counts == {"sent": 0, "refused": 0, "dropped": 1}


def test_what_fails_is_sent_again_and_what_is_refused_is_not():
    fates = {1: "failed", 2: "failed", 4: "refused"}
    outlet = Outlet(fate=lambda number: fates.get(number, "delivered"))
    outbox = Outbox("topic", outlet)
    outbox.put(Record(None, value) for value in (b"a", b"b", b"c"))
    while not outbox.settle(0.1):
        time.sleep(0.01)
    outbox.close()
    assert outbox.counts == {"sent": 2, "refused": 1, "dropped": 0}
    assert outlet.tried == 5


def test_a_record_that_is_too_large_is_counted_and_the_next_one_goes():
    outlet = Outlet(largest=1000)
    outbox = Outbox("topic", outlet)
    outbox.put([Record(b"k", b"x" * 2000), Record(b"k", b"b")])
    assert outbox.settle(5.0)
    outbox.close()
    assert outbox.counts == {"sent": 1, "refused": 1, "dropped": 0}
    assert outlet.taken[0][2] == b"b"


def test_a_topic_that_cannot_be_made_yet_is_tried_again():
    attempts = []

    def prepare():
        attempts.append(1)
        if len(attempts) < 3:
            raise UnreachableError("nobody there")

    outbox = Outbox("topic", Outlet(), prepare)
    outbox.put([Record(b"k", b"a")])
    while not outbox.settle(0.1):
        time.sleep(0.01)
    outbox.close()
    assert len(attempts) == 3 and outbox.counts["sent"] == 1


def test_a_client_that_takes_records_and_loses_them_is_not_asked_without_a_pause(monkeypatch):
    monkeypatch.setattr("agent.publish.outbox.RETRY_SECONDS", 60.0)
    outlet = Outlet(fate=lambda number: "failed")
    outbox = Outbox("topic", outlet)
    outbox.put([Record(b"k", b"a")])
    assert outlet.busy.wait(5.0)
    assert not outbox.settle(60.0), "it would wait for a minute"
    time.sleep(0.2)
    outbox.close()
    assert outlet.tried == 1
    assert outbox.counts == {"sent": 0, "refused": 0, "dropped": 1}
