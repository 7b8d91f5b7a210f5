"""What the agent sends to a topic of its own, while that topic and its broker come and go."""

import threading
import time

import pytest
from kafka import KafkaAdminClient, KafkaConsumer

from agent.intake.kafka import KafkaSettings, KafkaSink, ensure_topic
from agent.publish.events import Events, cloud_event
from agent.publish.outbox import Outbox
from tests import samples
from tests.rig.kafka import KafkaServer
from tests.rig.small_broker import SmallBroker

# Records that a broker does not acknowledge in this time have failed, and are sent anew.
IMPATIENT = {"delivery_timeout_ms": 2_000, "request_timeout_ms": 1_000}


@pytest.fixture(
    params=[pytest.param(KafkaServer, marks=pytest.mark.kafka, id="kafka"), SmallBroker]
)
def broker(request, tmp_path):
    broker = request.param(tmp_path / "broker")
    broker.start()
    yield broker
    broker.process.thaw()
    broker.stop()


class Sending:
    """Events of one alarm after another, through a producer to a topic that need not be there."""

    def __init__(self, bootstrap, limit=1_000_000, **options):
        self.settings = KafkaSettings(bootstrap, options={**IMPATIENT, **options})
        self.sink = KafkaSink(self.settings, buffer_bytes=limit)
        self.outbox = Outbox("events", self.sink, self.prepare, limit)
        self.events = Events(self.outbox, logged=False)
        self.sent = []

    def prepare(self):
        ensure_topic(self.settings, "events", timeout=2.0)

    def publish(self, n):
        for _ in range(n):
            event = cloud_event(samples.alarm(id=f"a{len(self.sent)}"), 0.0, "raised")
            self.sent.append(event["id"])
            self.events.publish(event)

    def settled(self, timeout=40.0):
        """Whether all has been acknowledged; waits for a broker that fails meanwhile."""
        deadline = time.monotonic() + timeout
        while self.outbox.waiting and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.outbox.waiting

    def close(self):
        self.outbox.close()
        self.sink.close(1.0)


def ids(bootstrap):
    """Ids of all events on the topic, in order; each once, however often it was sent."""
    import json

    consumer = KafkaConsumer("events", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    found, deadline = {}, time.monotonic() + 20
    while time.monotonic() < deadline:
        records = consumer.poll(1000)
        for batch in records.values():
            found |= {json.loads(record.value)["id"]: None for record in batch}
        if found and not records:
            break
    consumer.close()
    return list(found)


@pytest.mark.slow
def test_events_wait_for_a_broker_that_stops_hangs_and_comes_again(broker):
    sending = Sending(broker.bootstrap)
    try:
        sending.publish(3)
        assert sending.settled()
        broker.stop()
        sending.publish(3)
        time.sleep(IMPATIENT["delivery_timeout_ms"] / 1000 + 1)  # long enough to fail once
        assert sending.outbox.waiting == 3
        broker.start()
        assert sending.settled(), sending.sink.problem
        broker.process.freeze()
        sending.publish(3)
        time.sleep(IMPATIENT["delivery_timeout_ms"] / 1000 + 1)
        assert sending.outbox.waiting == 3
        broker.process.thaw()
        assert sending.settled(), sending.sink.problem
        assert dict(sending.outbox.counts) == {"sent": 9, "refused": 0, "dropped": 0}
        assert sorted(ids(broker.bootstrap)) == sorted(sending.sent)
    finally:
        sending.close()


@pytest.mark.slow
@pytest.mark.kafka
def test_a_topic_that_is_deleted_comes_again_and_what_is_dropped_is_counted(tmp_path):
    broker = KafkaServer(tmp_path / "broker")
    broker.start()
    sending = Sending(broker.bootstrap, limit=20_000)
    try:
        sending.publish(1)
        assert sending.settled()
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.delete_topics(["events"])
        deadline = time.monotonic() + 20
        while "events" in admin.list_topics():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
        before = threading.active_count()
        sending.publish(30)  # of which the limit lets fewer wait
        waiting = sending.outbox.waiting
        dropped = sending.outbox.counts["dropped"]
        assert 0 < waiting < 30 and waiting + dropped == 30
        time.sleep(4)
        assert threading.active_count() <= before + 1, "each attempt leaves something behind"
        ensure_topic(sending.settings, "events")
        assert sending.settled(), sending.sink.problem
        assert sending.outbox.counts["sent"] == 1 + waiting
        admin.close()
        assert sorted(ids(broker.bootstrap)) == sorted(sending.sent[-waiting:])
    finally:
        sending.close()
        broker.stop()
