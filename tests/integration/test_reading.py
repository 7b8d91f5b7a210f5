"""Partitions read once to their end, from a real Kafka."""

import time

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from agent.errors import UnreachableError
from agent.intake.kafka import KafkaSettings, KafkaSink, ensure_topic, values_from
from tests.rig.process import free_port

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka):
    return KafkaSettings(kafka.bootstrap)


@pytest.fixture
def topic(settings, fresh):
    """Thirty records in the second of two partitions."""
    name = fresh("topic")
    ensure_topic(settings, name, partitions=2)
    sink = KafkaSink(settings, max_block=10.0)
    for n in range(30):
        assert sink.send(name, None, b"%d" % n, partition=1)
    assert sink.flush(30.0)
    sink.close(1.0)
    return name


def test_a_partition_is_read_from_there_to_its_end(settings, topic):
    values = [b"%d" % n for n in range(30)]
    assert values_from(settings, (topic, 1), 0, 10.0) == values
    assert values_from(settings, (topic, 1), 12, 10.0) == values[12:]
    assert values_from(settings, (topic, 1), 30, 10.0) == []
    assert values_from(settings, (topic, 0), 0, 10.0) == []


def test_what_is_gone_is_passed_over(settings, topic):
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    admin.delete_records({TopicPartition(topic, 1): 20})
    admin.close()
    assert values_from(settings, (topic, 1), 5, 10.0) == [b"%d" % n for n in range(20, 30)]


def test_a_topic_that_is_not_there_holds_nothing(settings, fresh):
    assert values_from(settings, (fresh("topic"), 0), 7, 10.0) == []


def test_a_broker_that_cannot_be_reached_is_an_error_in_time():
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="cannot be read"):
        values_from(KafkaSettings(f"127.0.0.1:{free_port()}"), ("topic", 0), 0, 1.0)
    assert time.monotonic() - began < 8
