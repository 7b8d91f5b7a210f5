"""The configuration changes under a running agent: nothing it knows is lost."""

import json
import os
import signal
import time

import pytest
import yaml

from agent.profile_file import save
from tests.rig.agent import Agent
from tests.rig.process import free_port
from tests.rig.stream import Sender, stream
from tests.watched import ALARMS, reference

pytestmark = pytest.mark.kafka


@pytest.fixture
def agent(kafka, fresh, tmp_path):
    topics = fresh("predictions"), fresh("feedback")
    save(reference(), tmp_path / "credit.profile")
    model = {
        "task": "binary",
        "profile": "credit.profile",
        "predictions": {"topic": topics[0]},
        "feedback": {"topic": topics[1]},
    }
    made = Agent(
        tmp_path,
        {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap,
                "group_id": fresh("group"),
                "group_instance_id": "a",
                "state_topic": fresh("state"),
                "events_topic": fresh("events"),
            },
            "alerts": ALARMS,
            "pane": "1m",
            "windows": ["5m", "1h"],
            "models": {"credit": model},
        },
    )
    made.topics, made.path = topics, tmp_path / "tocsin.yaml"
    yield made
    made.process.kill()


def predictions(status):
    return sum(status["records"]["predictions"].values())


def changed(agent, **keys):
    config = yaml.safe_load(agent.path.read_text())
    agent.path.write_text(yaml.safe_dump(config | keys))


def successful(agent):
    text = agent.get("/metrics") or ""
    return [line[-3:] for line in text.splitlines() if "last_reload_successful " in line][-1:]


def until(done, timeout=30.0):
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_valid_changes_apply_and_invalid_ones_are_refused(agent, kafka):
    made = stream(60, *agent.topics)
    half = len(made) // 2
    Sender(kafka.bootstrap, made[:half], 0.1, 2).start().join(30)
    agent.start()
    first = sum(topic == agent.topics[0] for _, topic, _, _ in made[:half])
    agent.wait("credit", lambda s: predictions(s) == first, 30)
    until(lambda: json.loads(agent.get("/api/v1/status"))["models"]["credit"]["panes"] > 10)
    before = agent.model("credit")

    # A change of the file: it applies by itself, and what was known still is.
    changed(agent, windows=["5m", "1h", "2h"], alerts={"page": "1 per 100d", "ticket": "1 per 9d"})
    until(lambda: "1 per 100d" in (agent.get("/api/v1/status") or ""))
    status = agent.wait("credit", lambda s: predictions(s) == first, 30)
    assert status["panes"] == before["panes"]
    assert status["alarms"] == before["alarms"]
    assert status["drift"] == before["drift"]

    # One that cannot be used changes nothing, and says why.
    good = agent.path.read_text()
    changed(agent, windows=["7s"])
    until(lambda: successful(agent) == ["0.0"])
    assert "windows" in agent.log.rsplit("configuration refused", 1)[1] or (
        "windows" in agent.log.rsplit("configuration refused", 1)[0][-500:]
    )
    assert predictions(agent.model("credit")) == first

    # A signal reads it again.
    agent.path.write_text(good)
    until(lambda: successful(agent) == ["1.0"])
    reloads = agent.log.count("configuration reloaded")
    os.kill(agent.process.pid, signal.SIGHUP)
    until(lambda: agent.log.count("configuration reloaded") > reloads)

    # Another port is served, the old one no more.
    old, agent.port = agent.port, free_port()
    changed(agent, http={"host": "127.0.0.1", "port": agent.port})
    agent.target = f"127.0.0.1:{agent.port}"
    until(lambda: agent.get("/healthz") is not None)
    agent.target = f"127.0.0.1:{old}"
    assert agent.get("/healthz") is None
    agent.target = f"127.0.0.1:{agent.port}"

    # And everything that came since is counted once.
    Sender(kafka.bootstrap, made[half:], 0.1, 2).start().join(30)
    total = sum(topic == agent.topics[0] for _, topic, _, _ in made)
    status = agent.wait("credit", lambda s: predictions(s) == total, 30)
    assert {"5m", "1h", "2h"} == status["drift"]["income"]["psi"].keys()
    assert agent.stop() == 0
