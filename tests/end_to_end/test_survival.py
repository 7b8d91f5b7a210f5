"""Agents that are killed at any instant leave the state that one undisturbed run leaves."""

import json
import re
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest

from agent.checkpoint.record import CODEC
from agent.checkpoint.store import Checkpoints
from agent.intake.kafka import KafkaSettings, KafkaSource, StateTopic
from agent.profile_file import save
from tests.rig.agent import Agent
from tests.rig.stream import Sender, stream
from tests.watched import ALARMS, reference

pytestmark = pytest.mark.kafka

KILLS, PARTITIONS = 50, 3
# What tells of the process and of the clock, and not of the stream.
ELSEWHERE = re.compile(
    r"(tocsin_(checkpoint|events_total|missed|pane_seconds|watermark_delay|consumer_lag|build_info|blind"
    r"|label_coverage)|process_|python_)"
)


class Life:
    """An agent in a folder, with a group and topics of its own, or shared by those of a name."""

    def __init__(
        self, folder, kafka, name, topics, instance="a", partitions=PARTITIONS, settings=None
    ):
        folder.mkdir()
        save(reference(), folder / "credit.profile")
        self.kafka, self.name, self.partitions = kafka, name, partitions
        self.agent = Agent(
            folder,
            {
                "kafka": {
                    "bootstrap_servers": kafka.bootstrap,
                    "group_id": name,
                    "group_instance_id": instance,
                    "session_timeout": "3s",
                    "state_topic": f"{name}.state",
                    "events_topic": f"{name}.events",
                    "panes_topic": f"{name}.panes",
                    **(settings or {}),
                },
                "alerts": ALARMS,
                "pane": "1m",
                "checkpoint": {"interval": "300ms"},
                "models": {
                    "credit": {
                        "task": "binary",
                        "profile": "credit.profile",
                        "predictions": {"topic": topics[0]},
                        "feedback": {"topic": topics[1]},
                    }
                },
            },
        )

    def state(self):
        """What is remembered, decoded, without what only says how it came about."""
        names = ["credit", *(f"credit:{n}" for n in range(self.partitions))]
        medium = StateTopic(KafkaSettings(self.kafka.bootstrap), f"{self.name}.state")
        found = Checkpoints(medium).open(names)
        medium.close()
        return {name: canonical(name, found[name].payload) for name in names}

    def alarms(self):
        """Ids of all events, and how often each was told."""
        settings = KafkaSettings(self.kafka.bootstrap, group_id=f"{self.name}-look")
        source = KafkaSource(settings, [f"{self.name}.events"])
        told, deadline = [], time.monotonic() + 20
        while time.monotonic() < deadline:
            batches = source.poll(0.5)
            told += [json.loads(v)["id"] for batch in batches for v in batch.values]
            if told and not batches:
                break
        source.close()
        return set(told), len(told)

    def metrics(self):
        lines = (self.agent.get("/metrics") or "").splitlines()
        return sorted(
            line
            for line in lines
            if line and not line.startswith("#") and not ELSEWHERE.match(line)
        )


def canonical(name, payload):
    """A record without what says how it came about: whose hands it went through, its file's hash.

    `facts` are as of the last pane where another agent told them.
    """
    kind = "fold" if ":" in name else "model"
    state = CODEC.decode(kind, 1, None, zlib.decompress(payload))
    if kind == "fold":
        return CODEC.encode(kind, 1, "", replace(state, outbox=()))
    remembered, *rest = state
    without = {key: replace(a, configuration="") for key, a in remembered.standing.items()}
    cleared = tuple(replace(a, configuration="") for a in remembered.cleared)
    merge = replace(remembered.merge, facts={})
    remembered = replace(
        remembered, merge=merge, standing=without, cleared=cleared, taken=0, untold=()
    )
    return CODEC.encode(kind, 1, "", (remembered, *rest))


def finish(life, made, topics, timeout=60.0):
    """Let it read all there is, and end it; its counts and metrics."""
    predictions = sum(topic == topics[0] for _, topic, _, _ in made)

    def done(status):
        lag = [p["records"] for p in json.loads(life.agent.get("/api/v1/status"))["lag"]]
        read = sum(status["records"]["predictions"].values())
        return read == predictions and lag == [0] * (2 * PARTITIONS)

    life.agent.wait("credit", done, timeout)
    time.sleep(1.2)  # for a snapshot of the same moment
    counts, metrics = life.agent.model("credit")["records"], life.metrics()
    assert life.agent.stop() == 0
    return counts, metrics


def test_killed_fifty_times_it_ends_as_if_nothing_had_happened(kafka, fresh, tmp_path):
    topics = fresh("predictions"), fresh("feedback")
    made = stream(240, *topics)
    sender = Sender(kafka.bootstrap, made, KILLS * 1.9, PARTITIONS)
    random = np.random.default_rng(11)
    killed = Life(tmp_path / "killed", kafka, fresh("killed"), topics)
    sender.start()
    for _ in range(KILLS):
        killed.agent.start()
        time.sleep(float(random.uniform(0.0, 2.0)))
        killed.agent.process.kill()
    sender.join(60)
    killed.agent.start()
    counts, metrics = finish(killed, made, topics)

    calm = Life(tmp_path / "calm", kafka, fresh("calm"), topics)
    calm.agent.start()
    calm_counts, calm_metrics = finish(calm, made, topics)

    assert counts == calm_counts
    assert metrics == calm_metrics
    state, calm_state = killed.state(), calm.state()
    assert {n: s == calm_state[n] for n, s in state.items()} == dict.fromkeys(state, True)
    ids, _ = killed.alarms()
    calm_ids, calm_told = calm.alarms()
    assert len(calm_ids) == calm_told >= 2
    assert ids == calm_ids


def read_by(agents):
    """Predictions that these agents have counted together, and records that they have yet to read.

    None where one of them does not know yet.
    """
    predictions, lags = 0, []
    for life in agents:
        status = json.loads(life.agent.get("/api/v1/status"))
        predictions += sum(status["models"]["credit"]["records"]["predictions"].values())
        lags += [p["records"] for p in status["lag"]]
    return predictions, None if None in lags else sum(lags)


def test_agents_that_come_and_go_end_as_one_that_stays(kafka, fresh, tmp_path):
    """Three agents over twelve partitions: one killed, one added, then each restarted in turn."""
    topics, name, seconds = (fresh("predictions"), fresh("feedback")), fresh("several"), 45.0
    made = stream(240, *topics)
    sender = Sender(kafka.bootstrap, made, seconds, 12)
    several = {"several_agents": True}
    lives = {
        instance: Life(tmp_path / instance, kafka, name, topics, instance, 12, settings=several)
        for instance in "abcd"
    }
    running = dict(lives)
    late = running.pop("d")
    for life in running.values():
        life.agent.start()
    sender.start()
    time.sleep(seconds * 0.3)
    running.pop("a").agent.process.kill()
    time.sleep(seconds * 0.2)
    running["d"] = late
    late.agent.start()
    for life in list(running.values()):
        time.sleep(seconds * 0.1)
        assert life.agent.stop() == 0
        life.agent.start()
    sender.join(60)

    predictions = sum(topic == topics[0] for _, topic, _, _ in made)
    deadline = time.monotonic() + 60
    while (found := read_by(running.values())) != (predictions, 0):
        assert time.monotonic() < deadline, f"{found} of {predictions}"
        time.sleep(0.3)
    time.sleep(2.5)  # until the last panes have been sent, merged and judged
    for life in running.values():
        assert life.agent.stop() == 0

    calm = Life(tmp_path / "calm", kafka, fresh("calm"), topics, partitions=12)
    calm.agent.start()
    while read_by([calm]) != (predictions, 0):
        time.sleep(0.3)
    assert calm.agent.stop() == 0

    state, calm_state = late.state(), calm.state()
    assert {n: s == calm_state[n] for n, s in state.items()} == dict.fromkeys(state, True)
    assert late.alarms()[0] == calm.alarms()[0]
