"""An agent with the permissions that docs/security.md lists, and what is said of one that lacks."""

import json
import time
from dataclasses import replace

import pytest
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from agent import profile_file
from agent.assembly import exchange_of, kafka_settings, outbox
from agent.checkpoint.store import Checkpoints
from agent.config import Config
from agent.errors import UnreachableError
from agent.intake.kafka import (
    KafkaSettings,
    KafkaSource,
    StateTopic,
    check_topics,
    ensure_topic,
    values_from,
)
from agent.publish.events import Events, cloud_event
from tests import samples
from tests.rig.agent import Agent, produce
from tests.rig.guarded_kafka import guarded_kafka
from tests.watched import MINUTE, Traffic, reference

pytestmark = pytest.mark.kafka

# As in docs/security.md, "Permissions".
MODEL = ("READ", "DESCRIBE")
STATE = PANES = ("READ", "WRITE", "DESCRIBE")
OUT = ("WRITE", "DESCRIBE")  # events, dead letters


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with guarded_kafka(tmp_path_factory.mktemp("guarded")) as kafka:
        yield kafka


@pytest.fixture
def settings(kafka):
    options = kafka.options()
    return KafkaSettings(options.pop("bootstrap_servers"), options=options)


@pytest.fixture
def topic(kafka, fresh):
    """One that exists, and that the user may do nothing with."""
    name = fresh("permitted")
    ensure_topic(KafkaSettings(kafka.open), name, partitions=2)
    return name


def problem_of(settings, topic):
    """What is said of a state topic that cannot be had, claimed or loaded."""
    medium = StateTopic(settings, topic, 5.0)
    assert Checkpoints(medium).open(["credit"]) is None
    medium.close()
    assert "Request" not in medium.problem and "\n" not in medium.problem
    return medium.problem


def test_a_state_topic_that_exists_needs_no_right_to_create(kafka, settings, topic):
    kafka.grant("TOPIC", topic, *STATE)
    medium = StateTopic(settings, topic, 5.0)
    checkpoints = Checkpoints(medium)
    assert checkpoints.open(["credit"]) is not None, medium.problem
    assert checkpoints.save("credit", b"state"), medium.problem
    medium.close()
    other = StateTopic(settings, topic, 5.0)
    found = Checkpoints(other).open(["credit"])
    other.close()
    assert found is not None and found["credit"].payload == b"state"


def test_a_topic_that_does_not_exist_needs_it(kafka, settings, fresh):
    name = fresh("missing")
    kafka.grant("TOPIC", name, *STATE)
    assert "does not exist, and CREATE on it is not granted" in problem_of(settings, name)
    kafka.grant("TOPIC", name, "CREATE")
    assert ensure_topic(settings, name)
    assert not ensure_topic(settings, name)


def test_the_right_that_is_missing_is_named(kafka, settings, topic):
    assert f"DESCRIBE on {topic} is not granted" in problem_of(settings, topic)
    kafka.grant("TOPIC", topic, "DESCRIBE")
    assert f"WRITE on {topic} is not granted" in problem_of(settings, topic)
    kafka.grant("TOPIC", topic, "WRITE")
    assert f"READ on {topic} is not granted" in problem_of(settings, topic)
    with pytest.raises(UnreachableError, match=f"READ on {topic} is not granted"):
        produce(kafka.open, topic, [b"1"], ["k"])
        values_from(settings, (topic, 0), 0, 5.0) + values_from(settings, (topic, 1), 0, 5.0)


def test_check_tells_a_hidden_topic_from_one_that_is_missing(kafka, settings, topic, fresh):
    missing = fresh("missing")
    kafka.grant("TOPIC", missing, "DESCRIBE")
    assert check_topics(settings, {"credit": [topic, missing]}) == [
        f"models.credit: DESCRIBE on topic {topic} is not granted",
        f"models.credit: topic {missing} does not exist; create it or correct its name",
    ]
    kafka.grant("TOPIC", topic, "DESCRIBE")
    assert check_topics(settings, {"credit": [topic]}) == []


def test_a_panes_topic_that_is_there_and_not_shown_is_waited_for(kafka, topic):
    """As where another agent has just made it, and this broker does not know of it yet."""
    kafka.grant("TOPIC", topic, "CREATE")
    config = Config.model_validate(
        {
            "kafka": kafka.options() | {"panes_topic": topic},
            "models": {"credit": {"task": "binary"}},
        }
    )
    exchange = exchange_of(config, kafka_settings(config), None, None)
    assert not exchange.is_prepared()
    assert "does not show it" in exchange.problem


def test_what_is_missing_for_reading_is_named(kafka, settings, topic, fresh):
    group = fresh("group")

    def refused():
        source = KafkaSource(replace(settings, group_id=group), [topic])
        deadline = time.monotonic() + 20
        try:
            while time.monotonic() < deadline:
                source.poll(0.2)
        except UnreachableError as error:
            return str(error)
        finally:
            source.close()

    kafka.grant("TOPIC", topic, "DESCRIBE")
    assert f"READ on group {group} is not granted" in refused()
    kafka.grant("GROUP", group, "READ")
    assert f"READ or DESCRIBE on {topic} is not granted" in refused()


def records(kafka, topic):
    """Values of all records of a topic of one partition, once there are any."""
    consumer = KafkaConsumer(bootstrap_servers=kafka.open, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    found, deadline = [], time.monotonic() + 20
    while not found:
        assert time.monotonic() < deadline, f"nothing on {topic}"
        for batch in consumer.poll(500).values():
            found += [record.value for record in batch]
    consumer.close()
    return found


@pytest.mark.slow
def test_an_agent_with_these_rights_alone(kafka, tmp_path, fresh):
    own = {n: fresh(n) for n in ("state_topic", "panes_topic", "events_topic", "dead_letter_topic")}
    read, group = {n: fresh(n) for n in ("predictions", "feedback")}, fresh("group")
    for name in own.values():
        ensure_topic(KafkaSettings(kafka.open), name)
    traffic = Traffic(start=(int(time.time() * 1000) - 10 * MINUTE) // MINUTE * MINUTE)
    for batch in traffic.until(MINUTE):
        name = read[batch.topic.removeprefix("credit.")]
        produce(kafka.open, name, [*batch.values, b"bad"], ["k"] * (len(batch.values) + 1))
    profile_file.save(reference(), tmp_path / "credit.profile")
    for name in read.values():
        kafka.grant("TOPIC", name, *MODEL)
    kafka.grant("GROUP", group, "READ")
    kafka.grant("TOPIC", own["panes_topic"], *PANES)
    kafka.grant("TOPIC", own["events_topic"], *OUT)
    kafka.grant("TOPIC", own["dead_letter_topic"], *OUT)
    config = {
        "kafka": kafka.options() | own | {"several_agents": True, "group_id": group},
        "checkpoint": {"interval": "1s"},
        "models": {
            "credit": {
                "task": "binary",
                "profile": "credit.profile",
                "predictions": {"topic": read["predictions"]},
                "feedback": {"topic": read["feedback"]},
            }
        },
    }
    agent = Agent(tmp_path, config).start()
    lacking = f"DESCRIBE on {own['state_topic']} is not granted"
    deadline = time.monotonic() + 60
    while lacking not in agent.ask("/readyz")[1]:
        assert time.monotonic() < deadline, agent.log
        time.sleep(0.2)
    kafka.grant("TOPIC", own["state_topic"], *STATE)
    agent.wait_ready(timeout=60)
    agent.wait("credit", lambda m: sum(m["records"]["predictions"].values()) == 120, 20)
    assert records(kafka, own["dead_letter_topic"])
    assert records(kafka, own["panes_topic"]) and records(kafka, own["state_topic"])
    assert agent.stop() == 0

    checked = Config.model_validate(config, context={"folder": tmp_path})
    with outbox(own["events_topic"], kafka_settings(checked), 1_000_000) as box:
        Events(box, logged=False).publish(cloud_event(samples.alarm(id="a"), 0.0, "raised"))
        assert box.settle(20.0)
        assert box.counts["sent"] == 1
    assert json.loads(records(kafka, own["events_topic"])[0])["id"]
