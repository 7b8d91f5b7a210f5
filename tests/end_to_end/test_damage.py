"""Checkpoints damaged, outrun by retention, kept on a full disk; brokers that stop and die."""

import resource
import time
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from agent.checkpoint.record import CODEC, VERSION
from agent.checkpoint.store import FORMAT, Checkpoints
from tests.rig.damage import newest, records
from tests.rig.life import PARTITIONS, Life, same_as_undisturbed
from tests.rig.stream import Sender, stream

pytestmark = pytest.mark.kafka

MINUTES = 60  # of event time, with two predictions a second
MEBIBYTE = 2**20


def cut(made, *shares):
    """The stream in parts that end at these shares of it."""
    ends = [0, *(int(len(made) * share) for share in shares), len(made)]
    return [made[start:end] for start, end in pairwise(ends)]


def send(kafka, part):
    """Send records, and wait until the broker has them."""
    Sender(kafka.bootstrap, part, 0.0, PARTITIONS).start().join(60)


@pytest.fixture
def topics(fresh):
    return fresh("predictions"), fresh("feedback")


@pytest.fixture
def born(kafka, fresh, tmp_path, topics):
    """Makes lives over the two topics."""

    def make(name, **options):
        return Life(tmp_path / name, kafka, fresh(name), topics, **options)

    return make


def test_a_damaged_checkpoint_costs_nothing_while_the_one_before_is_whole(kafka, topics, born):
    made = stream(MINUTES, *topics)
    parts = cut(made, 0.3, 0.5)
    life = born("damaged")
    life.agent.start()
    send(kafka, parts[0])
    life.wait_remembered(len(parts[0]))
    send(kafka, parts[1])
    life.wait_remembered(len(parts[0]) + len(parts[1]))
    life.agent.process.kill()

    before = life.positions()
    with life.medium() as medium:
        for name in life.names:
            assert medium.put([(key, b"rubbish") for key in newest(medium, name)])
    after = life.positions()
    assert len(parts[0]) <= sum(after.values()) < sum(before.values()), "the ones before serve"

    life.agent.start()
    send(kafka, parts[2])
    life.read_all(made)
    assert life.metric("tocsin_checkpoint_restores_total", outcome="damaged") == 1 + PARTITIONS
    assert life.metric("tocsin_checkpoint_restores_total", outcome="restored") == 1 + PARTITIONS
    assert "no checkpoint" in life.agent.log
    same_as_undisturbed(life, born("calm"), made)


def test_where_no_record_can_be_read_its_partition_begins_anew_where_the_group_was(
    kafka, topics, born
):
    """One partition's are rubbish, one's are of a newer format, one's hold a newer version."""
    made = stream(MINUTES, *topics)
    early, late = cut(made, 0.5)
    life = born("ruined")
    life.agent.start()
    send(kafka, early)
    life.wait_remembered(len(early))
    assert life.agent.stop() == 0
    read = life.positions()

    with life.medium() as medium:
        assert medium.put([(key, b"rubbish") for key in records(medium, "credit:0")])
        newer = {
            key: value[:4] + (FORMAT + 1).to_bytes(2, "big") + value[6:]
            for key, value in records(medium, "credit:1").items()
        }
        assert medium.put(list(newer.items()))
        payload = zlib.decompress(life.payloads()["credit:2"])
        state = CODEC.decode("fold", VERSION, None, payload)
        successor = Checkpoints(medium)
        assert successor.open(["credit:2"])
        encoded = CODEC.encode("fold", VERSION + 1, "whatever it will be", state)
        assert successor.save("credit:2", zlib.compress(encoded))

    life.agent.start()
    send(kafka, late)
    life.wait_remembered(len(made))
    life.agent.wait_ready()
    restores = {
        outcome: life.metric("tocsin_checkpoint_restores_total", outcome=outcome)
        for outcome in ("restored", "damaged", "none", "refused")
    }
    assert restores == {"restored": 1, "damaged": 2, "none": 2, "refused": 1}
    assert f"has format {FORMAT + 1}" in life.agent.log
    assert f"state has version {VERSION + 1}" in life.agent.log
    # Each partition has read on from where the group was, and nothing twice.
    left = sum(topic == topics[0] for _, topic, _, _ in made) - sum(
        n for (topic, _), n in read.items() if topic == topics[0]
    )
    life.agent.wait("credit", lambda s: sum(s["records"]["predictions"].values()) == left, 10)
    # The next life finds whole ones again, whatever lies beside them.
    life.agent.process.kill()
    life.agent.start()
    life.agent.wait_ready()
    time.sleep(1.2)  # for a snapshot
    assert life.metric("tocsin_checkpoint_restores_total", outcome="restored") == 1 + PARTITIONS
    assert life.metric("tocsin_checkpoint_restores_total", outcome="refused") == 0
    assert sum(life.records()["predictions"].values()) == left
    assert life.agent.stop() == 0


def test_what_retention_has_deleted_is_counted_and_the_rest_is_read(kafka, topics, born):
    made = stream(MINUTES, *topics)
    early, late = cut(made, 0.4)
    life = born("outrun")
    life.agent.start()
    send(kafka, early)
    life.wait_remembered(len(early))
    life.agent.process.kill()
    read = life.positions()
    send(kafka, late)
    lost = {(topics[0], 1): 700, (topics[0], 2): 1, (topics[1], 1): 900}
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    # Of the other partitions only what has been read goes.
    beginnings = {TopicPartition(*at): read[at] + lost.get(at, 0) for at in read}
    admin.delete_records(beginnings)
    admin.close()

    life.agent.start()
    life.wait_remembered(len(made))
    life.agent.wait_ready()
    time.sleep(1.2)  # for a snapshot
    missed = {topic: life.metric("tocsin_missed_records_total", topic=topic) for topic in topics}
    assert missed == {topics[0]: 701, topics[1]: 900}
    predictions = sum(topic == topics[0] for _, topic, _, _ in made)
    assert sum(life.records()["predictions"].values()) == predictions - 701
    assert life.agent.stop() == 0


def memory_of(life):
    """Resident bytes of the agent's process."""
    status = Path(f"/proc/{life.agent.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_a_directory_does_as_well_and_a_full_disk_stops_nothing(kafka, topics, born):
    """Killed again and again, and then with a full disk for a while.

    It is full in that the kernel refuses the process every further byte of a file. That needs no
    rights to mount one, and hits the log too, as a full disk does.
    """
    made, random, unlimited = stream(MINUTES, *topics), np.random.default_rng(3), -1
    early, middle, late = cut(made, 0.4, 0.8)
    life = born("full", in_directory=True)
    sender = Sender(kafka.bootstrap, early, 4.0, PARTITIONS).start()
    for _ in range(4):
        life.agent.start()
        time.sleep(float(random.uniform(0.2, 1.5)))
        life.agent.process.kill()
    life.agent.start()
    sender.join(60)
    life.wait_remembered(len(early))

    pid, before = life.agent.process.pid, life.positions()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited))
    send(kafka, middle)
    predictions = sum(topic == topics[0] for _, topic, _, _ in early + middle)
    life.agent.wait(
        "credit", lambda s: sum(s["records"]["predictions"].values()) == predictions, 30
    )
    failures, memory = life.metric("tocsin_checkpoint_failures_total"), memory_of(life)
    time.sleep(4)
    assert life.metric("tocsin_checkpoint_failures_total") > failures > 0
    assert life.metric("tocsin_checkpoint_age_seconds", model="credit") > 4
    assert memory_of(life) < memory + MEBIBYTE
    assert life.positions() == before, "the last whole one stays"
    life.agent.wait_ready()

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    # No record need come for what is missing to be written.
    life.wait_remembered(len(early) + len(middle), 20)
    life.agent.process.kill()
    life.agent.start()
    send(kafka, late)
    same_as_undisturbed(life, born("calm"), made)


def test_agents_and_brokers_that_die_together_lose_nothing(kafka, topics, born):
    made, seconds = stream(MINUTES, *topics), 10.0
    sender = Sender(kafka.bootstrap, made, seconds, PARTITIONS).start()
    random = np.random.default_rng(8)
    life = born("beset")
    for end in (kafka.kill, kafka.stop):
        life.agent.start()
        time.sleep(float(random.uniform(1.0, 2.0)))
        end()
        time.sleep(float(random.uniform(0.0, 1.0)))
        life.agent.process.kill()
        life.agent.start()
        kafka.start()
        time.sleep(float(random.uniform(0.5, 1.5)))
        life.agent.process.kill()
    sender.join(60)
    life.agent.start()
    same_as_undisturbed(life, born("calm"), made)
