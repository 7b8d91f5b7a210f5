"""Agents that are killed at any instant leave the state that one undisturbed run leaves."""

import json
import time

import numpy as np
import pytest

from tests.rig.life import PARTITIONS, Life, same_as_undisturbed
from tests.rig.stream import Sender, stream

pytestmark = pytest.mark.kafka

KILLS = 50
SLOW = {"latency_ms": 25, "kilobytes_per_second": 300}


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
    same_as_undisturbed(killed, Life(tmp_path / "calm", kafka, fresh("calm"), topics), made)


def test_killed_over_a_slow_link_that_is_cut_at_times_it_ends_likewise(
    kafka, proxy, fresh, tmp_path
):
    topics = fresh("predictions"), fresh("feedback")
    made = stream(60, *topics)
    sender = Sender(kafka.bootstrap, made, 20.0, PARTITIONS)
    random = np.random.default_rng(13)
    through = {"bootstrap_servers": proxy.bootstrap}
    killed = Life(tmp_path / "killed", kafka, fresh("killed"), topics, settings=through)
    proxy.slow(**SLOW)
    sender.start()
    for number in range(5):
        killed.agent.start()
        if number % 2:  # while it restores what is remembered
            time.sleep(float(random.uniform(1.0, 4.0)))
        else:  # while it reads or writes a checkpoint; its link is cut, or just back
            killed.agent.wait_ready()
            time.sleep(float(random.uniform(0.0, 2.0)))
            proxy.cut()
            time.sleep(float(random.uniform(0.0, 1.0)))
            proxy.restore()
            proxy.slow(**SLOW)
            time.sleep(float(random.uniform(0.0, 1.5)))
        killed.agent.process.kill()
    sender.join(60)
    killed.agent.start()
    killed.agent.wait_ready()
    same_as_undisturbed(killed, Life(tmp_path / "calm", kafka, fresh("calm"), topics), made)


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
    ids, calm_ids = late.alarms()[0], calm.alarms()[0]
    assert ids == calm_ids and len(ids) >= 2
