"""A person answers alarms of a running agent: acknowledges one, accepts a new normal."""

import json
import time
import urllib.error
import urllib.request

import pytest
from kafka import KafkaConsumer

from agent import profile_file
from tests.rig.agent import Agent, produce, tocsin
from tests.rig.process import free_port
from tests.watched import MINUTE, MOVED, Traffic, reference


class Service:
    """A model's traffic on a broker, an hour or so ago."""

    def __init__(self, bootstrap, predictions, feedback):
        self.bootstrap, self.topics = bootstrap, (predictions, feedback)
        start = (int(time.time() * 1000) - 200 * MINUTE) // MINUTE * MINUTE
        self.traffic = Traffic(start=start)
        self.until(1)

    def until(self, minutes, **moved):
        for topic, batch in zip(
            self.topics, self.traffic.until(minutes * MINUTE, **moved), strict=True
        ):
            keys = [json.loads(value)["id"] for value in batch.values]
            produce(self.bootstrap, topic, batch.values, keys)


def post(agent, path, body):
    """Status and object of the answer."""
    request = urllib.request.Request(
        f"http://{agent.target}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def told(bootstrap, topic, n):
    """The first n events of the topic."""
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    found, deadline = [], time.monotonic() + 30
    while len(found) < n and time.monotonic() < deadline:
        for records in consumer.poll(500).values():
            found += [json.loads(r.value) for r in records]
    consumer.close()
    return found


def judged_until(service):
    """Whether an agent has judged all but the last two panes of what was sent."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(service.traffic.now / 1000 - 121))
    return lambda status: (status["watermark"] or "") >= at


@pytest.mark.slow
def test_acknowledge_then_accept_then_restart(small_broker, fresh, tmp_path):
    bootstrap = small_broker.bootstrap
    predictions, feedback, events = fresh("predictions"), fresh("feedback"), fresh("events")
    model = {
        "task": "binary",
        "profile": "credit.profile",
        "predictions": {"topic": predictions},
        "feedback": {"topic": feedback},
    }
    kafka = {"bootstrap_servers": bootstrap, "group_id": fresh("group"), "events_topic": events}
    alerts = {"page": "1 per 3650d", "ticket": "1 per 3650d"}
    # Long panes, so that the clock closes none of them between two steps of this test.
    settings = {"kafka": kafka, "alerts": alerts, "pane": "1m", "models": {"credit": model}}
    agent = Agent(tmp_path, settings)
    first = profile_file.save(reference(), tmp_path / "credit.profile")
    service = Service(bootstrap, predictions, feedback)

    unreachable = tocsin("accept", cwd=tmp_path)
    assert unreachable.returncode == 3 and "no agent answers" in unreachable.stderr
    assert len(unreachable.stderr.splitlines()) == 1

    agent.start()
    try:
        service.until(10)
        service.until(14, income=MOVED)
        status = agent.wait("credit", lambda s: s["alarms"], timeout=60)
        (alarm,) = status["alarms"]
        assert (alarm["kind"], alarm["target"], alarm["acknowledged_at"]) == (
            "drift",
            "income",
            None,
        )
        assert {o["topic"] for o in alarm["offsets"]} == {predictions, feedback}

        path = f"/api/v1/alarms/{alarm['id']}/acknowledge"
        assert post(agent, "/api/v1/alarms/nope/acknowledge", {})[0] == 404
        assert post(agent, path, {"by": "ann", "comment": "on it"})[0] == 200
        assert post(agent, path, {"by": "bob"})[1]["alarm"]["acknowledged_by"] == "ann"
        (alarm,) = agent.model("credit")["alarms"]
        assert (alarm["acknowledged_by"], alarm["acknowledged_comment"]) == ("ann", "on it")
        metrics = agent.get("/metrics") or ""
        labels = '{kind="drift",model="credit",severity="ticket",target="income"}'
        assert f"tocsin_alarm{labels} 1.0" in metrics
        assert f"tocsin_alarm_acknowledged{labels} 1.0" in metrics

        # Four minutes are too few.
        early = tocsin("accept", "--target", "income", cwd=tmp_path)
        assert early.returncode == 1, early
        assert "1000 are needed" in early.stderr and len(early.stderr.splitlines()) == 1
        wrong = tocsin("accept", "--target", "incme", cwd=tmp_path)
        assert wrong.returncode == 2 and "did you mean 'income'" in wrong.stderr

        service.until(50, income=MOVED)
        agent.wait("credit", judged_until(service), timeout=60)
        arguments = ("--model", "credit", "--target", "income", "--by", "ann", "--comment", "rise")
        done = tocsin("accept", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "income: " in done.stdout and "are the reference now" in done.stdout
        assert "credit.profile" in done.stdout
        status = agent.model("credit")
        assert status["alarms"] == [] and status["cleared"][0]["cleared_reason"] == "accepted"
        accepted = status["profile"]
        assert accepted != first

        shown = tocsin("profile", "--show", "credit.profile", cwd=tmp_path).stdout
        assert accepted in shown and "income: accepted" in shown and "by ann" in shown
        assert first in tocsin("profile", "--show", "credit.profile.1", cwd=tmp_path).stdout

        service.until(80, income=MOVED)
        status = agent.wait("credit", judged_until(service), timeout=60)
        assert status["alarms"] == [], "the new normal is quiet"
        service.until(85)
        status = agent.wait("credit", lambda s: s["alarms"], timeout=60)
        assert status["alarms"][0]["target"] == "income", "the old one is a change"
        second = status["alarms"][0]
        assert second["profile"] == accepted
    finally:
        code = agent.stop()
    assert code == 0
    assert "Traceback" not in agent.log

    found = told(bootstrap, events, 5)
    assert [e["type"].removeprefix("io.tocsin.") for e in found] == [
        "alarm.raised",
        "alarm.acknowledged",
        "reference.accepted",
        "alarm.cleared",
        "alarm.raised",
    ]
    assert [e["id"] for e in found[:2]] == [f"{alarm['id']}.raised", f"{alarm['id']}.acknowledged"]
    assert found[0]["data"]["offsets"] == alarm["offsets"]
    assert found[3]["data"]["reason"] == "accepted"
    assert (found[2]["data"]["profile_before"], found[2]["data"]["profile"]) == (first, accepted)

    agent.start()
    try:
        assert agent.model("credit")["profile"] == accepted, "an acceptance outlives the agent"
    finally:
        agent.stop()


def test_a_url_that_is_none_and_one_that_is_no_agent(tmp_path):
    (tmp_path / "tocsin.yaml").write_text("models: {credit: {task: binary}}\n")
    for url, code in (("ftp://x", 2), (f"http://127.0.0.1:{free_port()}", 3)):
        done = tocsin("accept", "--url", url, cwd=tmp_path)
        assert done.returncode == code and len(done.stderr.splitlines()) == 1, done.stderr
