"""What the agent sends to a topic of its own, while that topic and its broker come and go."""

import json
import threading
import time
from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaConsumer

from agent.intake.kafka import KafkaSettings, KafkaSink, ensure_topic
from agent.publish.events import Events, cloud_event
from agent.publish.outbox import Outbox
from tests import samples

# Records that a broker does not acknowledge in this time have failed, and are sent anew.
IMPATIENT = {"delivery_timeout_ms": 2_000, "request_timeout_ms": 1_000}


class Sending:
    """Events of one alarm after another, through a producer to a topic that need not be there."""

    def __init__(self, bootstrap, topic, limit=1_000_000):
        self.settings = KafkaSettings(bootstrap, options=IMPATIENT)
        self.topic = topic
        self.sink = KafkaSink(self.settings, buffer_bytes=limit)
        self.outbox = Outbox(topic, self.sink, self.prepare, limit)
        self.events = Events(self.outbox, logged=False)
        self.sent = []

    def prepare(self):
        ensure_topic(self.settings, self.topic, timeout=2.0)

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


def ids(bootstrap, topic):
    """Ids of all events on the topic, sorted; each once, however often it was sent."""
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    found, deadline = {}, time.monotonic() + 20
    while time.monotonic() < deadline:
        records = consumer.poll(1000)
        for batch in records.values():
            found |= {json.loads(record.value)["id"]: None for record in batch}
        if found and not records:
            break
    consumer.close()
    return sorted(found)


@pytest.mark.slow
@pytest.mark.kafka
def test_events_wait_while_their_broker_is_out_of_reach(kafka, proxy, fresh):
    sending = Sending(proxy.bootstrap, fresh("events"))
    try:
        sending.publish(3)
        assert sending.settled()
        for fault in (proxy.cut, proxy.black_hole):
            fault()
            sending.publish(3)
            time.sleep(IMPATIENT["delivery_timeout_ms"] / 1000 + 1)  # long enough to fail once
            assert sending.outbox.waiting == 3
            proxy.restore()
            assert sending.settled(), sending.sink.problem
        assert sending.outbox.counts == {"sent": 9, "refused": 0, "dropped": 0}
        assert ids(kafka.bootstrap, sending.topic) == sorted(sending.sent)
    finally:
        sending.close()


@pytest.mark.slow
@pytest.mark.kafka
def test_a_topic_that_is_deleted_comes_again_and_what_is_dropped_is_counted(kafka, proxy, fresh):
    sending = Sending(proxy.bootstrap, fresh("events"), limit=20_000)
    try:
        sending.publish(1)
        assert sending.settled()
        with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap)) as admin:
            admin.delete_topics([sending.topic])
        proxy.cut()
        before = threading.active_count()
        sending.publish(30)  # of which the limit lets fewer wait
        waiting, dropped = sending.outbox.waiting, sending.outbox.counts["dropped"]
        assert 0 < waiting < 30 and waiting + dropped == 30
        time.sleep(4)
        assert threading.active_count() <= before + 1, "each attempt leaves something behind"
        proxy.restore()
        assert sending.settled(), sending.sink.problem
        assert sending.outbox.counts["sent"] == 1 + waiting
        assert ids(kafka.bootstrap, sending.topic) == sorted(sending.sent[-waiting:])
    finally:
        sending.close()
