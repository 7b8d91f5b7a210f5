"""An agent whose network and broker fail: every record is counted once, and it says what is wrong.

The agent reads through a proxy while its link is cut, slowed and silenced and its broker is killed
and stopped; what it ends with is what an agent has that was never disturbed.
"""

import json
import time

import pytest
from kafka import KafkaConsumer

from agent import profile_file
from tests.rig.agent import Agent, produce
from tests.watched import MINUTE, MOVED, Traffic, reference

# Of the status: what depends on when one looks, and not on what was read.
FLEETING = ("traffic", "watermark_delay")


class Service:
    """A model's traffic on a broker, some hours ago."""

    def __init__(self, bootstrap, topics):
        self.bootstrap, self.topics = bootstrap, topics
        self.traffic = Traffic(start=(int(time.time() * 1000) - 300 * MINUTE) // MINUTE * MINUTE)
        self.sent = 0

    def until(self, minutes, **moved):
        for topic, batch in zip(
            self.topics, self.traffic.until(minutes * MINUTE, **moved), strict=True
        ):
            keys = [json.loads(value)["id"] for value in batch.values]
            produce(self.bootstrap, topic, batch.values, keys)
        self.sent += len(keys)


def watching(bootstrap, folder, topics, group, events):
    folder.mkdir()
    profile_file.save(reference(), folder / "credit.profile")
    model = {
        "task": "binary",
        "profile": "credit.profile",
        "predictions": {"topic": topics[0]},
        "feedback": {"topic": topics[1]},
    }
    kafka = {
        "bootstrap_servers": bootstrap,
        "group_id": group,
        "events_topic": events,
        "state_topic": f"state-{group}",
    }
    alerts = {"page": "1 per 3650d", "ticket": "1 per 3650d"}
    # Long panes, so that the clock closes none of them while the link is down.
    return Agent(
        folder, {"kafka": kafka, "alerts": alerts, "pane": "5m", "models": {"credit": model}}
    )


def read_all(agent, service, timeout=90):
    """The status once all that was sent has been read, and joined."""
    return agent.wait(
        "credit",
        lambda s: (
            sum(s["records"]["predictions"].values()) >= service.sent
            and s["records"]["feedback"]["joined"] >= service.sent
        ),
        timeout,
    )


def lasting(status):
    """A status without what depends on when one looks."""
    if isinstance(status, dict):
        return {k: lasting(v) for k, v in status.items() if not k.startswith(FLEETING)}
    return [lasting(v) for v in status] if isinstance(status, list) else status


def told(bootstrap, topic, timeout=30):
    """Ids of all events on the topic, sorted; waits for the first."""
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    found, deadline = [], time.monotonic() + timeout
    while time.monotonic() < deadline:
        records = [r for batch in consumer.poll(1000).values() for r in batch]
        found += [json.loads(record.value)["id"] for record in records]
        if found and not records:
            break
    consumer.close()
    return sorted(found)


@pytest.mark.slow
@pytest.mark.kafka
def test_a_disturbed_agent_ends_with_what_an_undisturbed_one_has(kafka, proxy, fresh, tmp_path):
    topics = fresh("predictions"), fresh("feedback")
    service = Service(kafka.bootstrap, topics)
    service.until(20)
    events = fresh("events")
    agent = watching(proxy.bootstrap, tmp_path / "disturbed", topics, fresh("group"), events)
    agent.start()
    try:
        agent.wait_ready()
        read_all(agent, service)

        proxy.cut()
        service.until(40)
        assert "cannot be reached" in agent.wait_ready(False)
        proxy.restore()
        read_all(agent, service)
        agent.wait_ready()

        proxy.slow(latency_ms=100, kilobytes_per_second=100)
        service.until(60, income=MOVED)
        read_all(agent, service)
        agent.wait_ready()
        proxy.restore()

        proxy.black_hole()
        service.until(80, income=MOVED)
        assert "stopped answering" in agent.wait_ready(False)
        assert agent.get("/healthz") == "ok\n"
        proxy.restore()
        read_all(agent, service)
        agent.wait_ready()

        kafka.kill()
        assert "cannot be reached" in agent.wait_ready(False)
        kafka.start()
        service.until(110)
        read_all(agent, service)

        kafka.stop()
        kafka.start()
        service.until(140)
        disturbed = read_all(agent, service)
        agent.wait_ready()
    finally:
        code = agent.stop()
        kafka.start()  # where it stopped in between
    assert code == 0
    assert "Traceback" not in agent.log

    others = fresh("events")
    other = watching(kafka.bootstrap, tmp_path / "undisturbed", topics, fresh("group"), others)
    other.start()
    try:
        undisturbed = read_all(other, service)
    finally:
        other.stop()
    assert undisturbed["alarms"] or undisturbed["cleared"]
    assert lasting(disturbed) == lasting(undisturbed)
    assert told(kafka.bootstrap, events) == told(kafka.bootstrap, others)
