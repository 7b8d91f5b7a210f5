"""Checkpoints on a compacted topic of a real Kafka: the same suite as for every other medium."""

import random
import threading
import time

import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition

from agent.checkpoint.store import CHUNK_BYTES, Checkpoints
from agent.intake.kafka import KafkaSettings, StateTopic, ensure_topic, partition_counts
from tests.rig.process import free_port
from tests.unit.test_checkpoints import (  # noqa: F401  # collected here too, on this medium
    test_a_crash_in_the_middle_leaves_the_one_before,
    test_a_damaged_record_is_told_and_the_one_before_serves,
    test_a_save_that_fails_does_not_mix_with_the_next,
    test_a_zombie_writes_in_vain,
    test_names_are_not_confused,
    test_saves_that_fail_again_and_again_leave_the_last_whole_one,
    test_what_older_claims_left_is_removed,
    test_what_was_saved_is_found_by_the_next,
    test_where_all_is_damaged_nothing_is_found_and_a_new_one_can_be_written,
)

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="session")
def topic(kafka):
    """Made once; tests use names of their own by way of `Renamed`."""
    medium = StateTopic(KafkaSettings(kafka.bootstrap), "tocsin.state")
    yield medium
    medium.close()


class Renamed:
    """The medium with every name prefixed: so that tests share a topic and not its records."""

    def __init__(self, medium, prefix):
        self._medium, self._prefix = medium, prefix

    @property
    def problem(self):
        return self._medium.problem

    def claim(self, names):
        return self._back(self._medium.claim([self._prefix + n for n in names]))

    def load(self, names):
        return self._back(self._medium.load([self._prefix + n for n in names]))

    def put(self, entries):
        return self._medium.put([(self._prefix + key, value) for key, value in entries])

    def _back(self, found):
        return found and {n.removeprefix(self._prefix): v for n, v in found.items()}


@pytest.fixture
def medium(topic, fresh):
    return Renamed(topic, fresh("test") + "%")


def test_the_topic_is_made_compacted(kafka, topic):
    assert topic.claim(["anything"])
    assert partition_counts(KafkaSettings(kafka.bootstrap))["tocsin.state"] == 12


def test_a_large_one_comes_back_whole(medium):
    payload = bytes(range(256)) * 40_000  # 10 MB
    checkpoints = Checkpoints(medium)
    checkpoints.open(["large"])
    assert checkpoints.save("large", payload)
    assert Checkpoints(medium).open(["large"])["large"].payload == payload


def test_without_a_broker_it_says_so_in_time():
    medium = StateTopic(KafkaSettings(f"127.0.0.1:{free_port()}"), "tocsin.state", timeout=1.0)
    began = time.monotonic()
    assert medium.claim(["credit"]) is None
    assert medium.load(["credit"]) is None
    assert not medium.put([("credit/1/0/0", b"x")])
    assert time.monotonic() - began < 8
    assert "cannot be reached" in medium.problem
    medium.close()


def test_a_topic_that_a_broker_does_not_know_now_is_not_an_empty_one(kafka):
    medium = StateTopic(KafkaSettings(kafka.bootstrap), "tocsin.state.elsewhere", 5.0)
    assert medium.load(["credit"]) is None
    assert "its partitions are not known now" in medium.problem
    medium.close()


def test_groups_that_share_a_topic_do_not_see_each_other(kafka):
    first, second = (
        StateTopic(KafkaSettings(kafka.bootstrap, group_id=group), "tocsin.state")
        for group in ("risk", "risk|x")
    )
    checkpoints = Checkpoints(first)
    checkpoints.open(["credit"])
    assert checkpoints.save("credit", b"risk's")
    assert Checkpoints(second).open(["credit"])["credit"].payload is None
    assert Checkpoints(first).open(["credit"])["credit"].payload == b"risk's"
    first.close()
    second.close()


LARGE = np.random.default_rng(1).bytes(20_000_000)


@pytest.fixture
def far(proxy, fresh):
    """Checkpoints, opened, of a topic that is reached through a proxy, and the topic's name."""
    name = fresh("state")
    medium = StateTopic(KafkaSettings(proxy.bootstrap), name, timeout=5.0)
    checkpoints = Checkpoints(medium)
    assert checkpoints.open(["large"]) is not None, medium.problem
    yield checkpoints, name
    medium.close()


def records_on(kafka, topic):
    """How many there are, of all partitions, those compacted away included."""
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap)
    partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)]
    try:
        return sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close()


@pytest.mark.slow
def test_a_link_may_take_longer_than_the_timeout_as_long_as_it_goes_on(far, proxy):
    checkpoints, _ = far
    proxy.slow(5, 2_000)
    began = time.monotonic()
    assert checkpoints.save("large", LARGE), checkpoints.problem
    assert time.monotonic() - began > 6, "the link was not slow"
    found = Checkpoints(checkpoints.medium).open(["large"])
    assert found is not None, checkpoints.problem
    assert found["large"].payload == LARGE


@pytest.mark.slow
def test_a_slow_link_is_not_waited_for_without_end(kafka, proxy, fresh):
    medium = StateTopic(KafkaSettings(proxy.bootstrap), fresh("state"), timeout=5.0, longest=3.0)
    checkpoints = Checkpoints(medium)
    assert checkpoints.open(["large"]) is not None, medium.problem
    proxy.slow(5, 2_000)
    began = time.monotonic()
    assert not checkpoints.save("large", LARGE)
    assert 2.9 < time.monotonic() - began < 4
    assert "records were acknowledged within 3 s" in medium.problem
    medium.close()


@pytest.mark.slow
def test_what_was_given_up_is_not_sent_later(far, kafka, proxy):
    checkpoints, topic = far
    assert checkpoints.save("large", b"before")
    proxy.slow(5, 2_000)
    silence = threading.Timer(3.0, proxy.black_hole)
    silence.start()
    began = time.monotonic()
    assert not checkpoints.save("large", LARGE)
    assert 5 < time.monotonic() - began < 3 + 5 + 1
    assert "nothing was acknowledged for 5 s" in checkpoints.problem
    for _ in range(3):
        assert not checkpoints.save("large", LARGE)
    proxy.restore()
    deadline = time.monotonic() + 20
    while not checkpoints.save("large", b"after"):
        assert time.monotonic() < deadline, checkpoints.problem
    found = Checkpoints(checkpoints.medium).open(["large"])
    assert found is not None and found["large"].payload == b"after"
    # A third of the first came through, and of all others what was under way at most.
    assert records_on(kafka, topic) < len(LARGE) // CHUNK_BYTES


def test_what_is_too_large_for_the_topic_is_told_and_the_one_before_serves(kafka, fresh):
    """Who made the topic allows records of a tenth of a megabyte only."""
    settings, topic = KafkaSettings(kafka.bootstrap), fresh("state")
    configs = {"cleanup.policy": "compact", "max.message.bytes": "100000"}
    ensure_topic(settings, topic, configs=configs)
    medium = StateTopic(settings, topic, 5.0)
    checkpoints = Checkpoints(medium)
    checkpoints.open(["credit"])
    assert checkpoints.save("credit", b"small")
    began = time.monotonic()
    assert not checkpoints.save("credit", random.Random(1).randbytes(400_000))
    assert time.monotonic() - began < 5
    assert topic in medium.problem and "too large" in medium.problem.lower()
    assert Checkpoints(medium).open(["credit"])["credit"].payload == b"small"
    medium.close()
