"""The agent is live before Kafka answers, says what it waits for, and ends when it is told to."""

from contextlib import ExitStack

import pytest

from agent import profile_file
from tests.rig.agent import Agent, produce
from tests.rig.process import free_port
from tests.rig.silent import SilentServer
from tests.rig.small_broker import SmallBroker
from tests.watched import Traffic, reference

MODELS = 20


def agent_for(bootstrap, folder, **kafka):
    """An agent that watches one model."""
    profile_file.save(reference(), folder / "credit.profile")
    model = {"task": "binary", "profile": "credit.profile"}
    settings = {"bootstrap_servers": bootstrap, "group_id": "startup", **kafka}
    return Agent(folder, {"kafka": settings, "models": {"credit": model}})


def ended(agent):
    """The exit code after SIGTERM; what it wrote holds no traceback."""
    code = agent.stop()
    assert "Traceback" not in agent.log
    return code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broker", "reason"),
    [
        ("refuses", "connection refused"),
        ("silent", "waiting for Kafka at"),
        ("unknown", "its name does not resolve"),
    ],
)
def test_without_a_broker_the_agent_is_live_and_ends_in_order(broker, reason, tmp_path):
    port = free_port()
    host = "no-such-host.invalid" if broker == "unknown" else "127.0.0.1"
    with ExitStack() as stack:
        if broker == "silent":
            stack.enter_context(SilentServer(port))
        agent = agent_for(f"{host}:{port}", tmp_path, dead_letter_topic="dead").start()
        try:
            assert agent.get("/healthz") == "ok\n"
            assert "tocsin_build_info{" in (agent.get("/metrics") or "")
            assert "credit" in (agent.get("/") or "")
            said = agent.wait_ready(False)
            while "starting" in said:  # before the first turn
                said = agent.wait_ready(False)
            assert f"{host}:{port}" in said and reason in said
            assert said.count("\n") == 1
        finally:
            assert ended(agent) == 0


@pytest.mark.slow
@pytest.mark.parametrize("before", ["refuses", "silent"])
def test_an_agent_that_was_there_first_becomes_ready_once_the_broker_is(before, tmp_path):
    broker = SmallBroker(tmp_path / "broker")
    agent = agent_for(broker.bootstrap, tmp_path)
    with ExitStack() as stack:
        if before == "silent":
            silent = stack.enter_context(SilentServer(broker.port))
        agent.start()
        stack.callback(agent.process.kill)
        assert agent.wait_ready(False)
        if before == "silent":
            silent.__exit__(None, None, None)
        stack.callback(broker.stop)
        broker.start()
        for topic in ("credit.predictions", "credit.feedback"):
            produce(broker.bootstrap, topic, [b"{}"], ["a"])
        agent.wait_ready()
        agent.wait("credit", lambda s: sum(r["count"] for r in s["records"]["rejected"]) == 2, 30)
        assert ended(agent) == 0


@pytest.mark.slow
@pytest.mark.kafka
def test_sigterm_ends_it_while_the_broker_hangs(kafka, fresh, tmp_path):
    """Many models, each with what it has not yet remembered, and letters on their way."""
    names, each = [f"m{n}" for n in range(MODELS)], 300
    profile_file.save(reference(), tmp_path / "credit.profile")
    topics = [{"topic": fresh(what)} for what in ("predictions", "feedback")]
    settings = {
        "bootstrap_servers": kafka.bootstrap,
        "dead_letter_topic": fresh("dead"),
        **{f"{what}_topic": fresh(what) for what in ("state", "events")},
        "group_id": fresh("group"),
    }
    model = {"task": "binary", "profile": "credit.profile", "predictions": topics[0]}
    models = {name: {**model, "feedback": topics[1]} for name in names}
    agent = Agent(tmp_path, {"kafka": settings, "models": models, "pane": "1m"})
    traffic = Traffic()

    def send(times):
        values = traffic.until(times * each * 500)[0].values
        rows = [b'{"model":"%s",%s' % (name.encode(), v[1:]) for v in values for name in names]
        rubbish = [b'{"model":"%s"}' % name.encode() for name in names for _ in range(20)]
        produce(kafka.bootstrap, topics[0]["topic"], rows + rubbish, ["a"] * len(rows + rubbish))

    def read(times):
        for name in names:
            agent.wait(
                name, lambda s: sum(s["records"]["predictions"].values()) == times * each, 30
            )

    produce(kafka.bootstrap, topics[1]["topic"], [b"{}"], ["a"])
    send(1)
    with ExitStack() as stack:
        agent.start()
        stack.callback(agent.process.kill)
        agent.wait_ready()
        read(1)
        send(2)
        read(2)
        kafka.process.freeze()
        stack.callback(kafka.process.thaw)
        assert agent.get("/healthz") == "ok\n"
        assert ended(agent) == 0
