"""Commands: asked for on other threads, carried out by the loop, bounded, never left hanging."""

import threading
import time
from types import MappingProxyType, SimpleNamespace

import pytest

from agent import orders
from agent.control import BUSY, LATER, STOPPING, WAITING, Accept, Acknowledge, Answer, Commands
from agent.loop import Loop
from agent.pipeline import Pipeline
from tests.watched import FEEDBACK, MINUTE, MOVED, PREDICTIONS, Watched, configuration

COMMAND = Acknowledge("a", "", "")
DONE = Answer(200, {})


class Asking:
    """Requests on threads of their own, as the HTTP server has them."""

    def __init__(self, commands, n, make=lambda i: COMMAND):
        self.answers = [None] * n
        self._threads = [
            threading.Thread(target=self._ask, args=(commands, i, make(i))) for i in range(n)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, commands, i, command):
        self.answers[i] = commands.submit(command)

    def all(self):
        for thread in self._threads:
            thread.join(10)
        return self.answers


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_command_is_carried_out_by_whoever_takes_it_up_and_answered():
    commands, threads = Commands(), []

    def carry_out(command):
        threads.append(threading.current_thread())
        return Answer(200, {"alarm": command.alarm})

    asking = Asking(commands, 2, lambda i: Acknowledge(str(i), "", ""))
    until(lambda: commands.take_up(carry_out) or len(threads) == 2)
    assert [a.body for a in asking.all()] == [{"alarm": "0"}, {"alarm": "1"}]
    assert set(threads) == {threading.current_thread()}
    assert commands.take_up(carry_out) is None and len(threads) == 2, "nothing is done twice"


def test_who_waits_too_long_is_told_that_it_will_be_done_and_it_is():
    commands, done = Commands(patience=0.01), []
    assert commands.submit(COMMAND) == LATER
    commands.take_up(lambda command: done.append(command) or DONE)
    assert done == [COMMAND]


def test_more_than_can_wait_are_refused_at_once():
    commands, done = Commands(patience=0.01), []
    answers = [commands.submit(COMMAND) for _ in range(WAITING + 3)]
    assert answers == [LATER] * WAITING + [BUSY] * 3
    commands.take_up(lambda command: done.append(command) or DONE)
    assert len(done) == WAITING


def test_nobody_is_left_waiting_when_the_loop_has_ended():
    commands = Commands(patience=60)
    asking = Asking(commands, WAITING)
    until(lambda: commands._queue.qsize() == WAITING)
    commands.close()
    assert asking.all() == [STOPPING] * WAITING
    assert commands.submit(COMMAND) == STOPPING


class Source:
    """Hands over what the test puts there."""

    problem = ""

    def __init__(self):
        self.batches, self.committed, self.missed = [], [], {}

    def poll(self, timeout):
        made, self.batches = self.batches, []
        return made

    def assignment(self):
        return frozenset([(PREDICTIONS, 0), (FEEDBACK, 0)])

    has_joined = True

    def waiting(self):
        return frozenset()

    def partitions_of(self, topic):
        return 1

    def pause(self, partitions):
        pass

    def lag(self):
        return dict.fromkeys(self.assignment(), 1)

    def commit(self, offsets):
        self.committed.append(dict(offsets))
        return True

    def close(self):
        pass


class Sink:
    counts = MappingProxyType({})

    def are_told(self):
        return True

    def __init__(self):
        self.events = []

    def publish(self, event):
        self.events.append(event)

    def pump(self):
        pass


class Running:
    """A loop over a model whose `income` has rung; every turn is the test's."""

    def __init__(self, path):
        self.watched = Watched(path)
        self.sink, self.source, self.lines = Sink(), Source(), []
        clock = lambda: self.watched.traffic.now / 1000  # noqa: E731
        pipeline = self.watched.pipeline
        self.loop = Loop(self.source, pipeline, self.sink, clock, self.lines.append)
        self.feed(10 * MINUTE)
        self.feed(40 * MINUTE, income=MOVED)
        (self.alarm,) = self.watched.model.alarms.standing.values()
        self.sink.events.clear()
        self.lines.clear()

    def feed(self, time, **moved):
        self.source.batches = self.watched.traffic.until(time, **moved)
        self.loop.turn()

    def ask(self, command):
        asking = Asking(self.loop.commands, 1, lambda i: command)
        until(lambda: self.loop.turn() or asking.answers[0] is not None)
        return asking.all()[0]

    @property
    def status(self):
        return self.loop.snapshot().models["credit"]


@pytest.fixture
def running(tmp_path):
    return Running(tmp_path / "credit.profile")


def test_an_acknowledged_alarm_stands_and_says_who(running):
    answer = running.ask(Acknowledge(running.alarm.id, "ann", "on it"))
    assert answer.status == 200 and answer.body["alarm"]["acknowledged_by"] == "ann"
    (alarm,) = running.status.alarms
    assert (alarm.id, alarm.acknowledged_by) == (running.alarm.id, "ann")
    assert alarm.acknowledged_comment == "on it"
    assert alarm.acknowledged_at == running.watched.traffic.now
    (event,) = running.sink.events
    assert event["type"] == "io.tocsin.alarm.acknowledged"
    assert event["id"] == f"{alarm.id}.acknowledged"
    assert event["data"]["acknowledged_by"] == "ann"


def test_acknowledging_twice_keeps_the_first_and_tells_once(running):
    running.ask(Acknowledge(running.alarm.id, "ann", ""))
    again = running.ask(Acknowledge(running.alarm.id, "bob", ""))
    assert again.status == 200 and again.body["alarm"]["acknowledged_by"] == "ann"
    assert len(running.sink.events) == 1


def test_what_does_not_stand_cannot_be_acknowledged(running):
    assert running.ask(Acknowledge("nope", "", "")).status == 404
    running.feed(120 * MINUTE)
    assert running.watched.model.alarms.standing == {}
    answer = running.ask(Acknowledge(running.alarm.id, "", ""))
    assert answer.status == 409 and "has cleared" in answer.body["error"]


def test_an_acknowledged_alarm_still_clears(running):
    running.ask(Acknowledge(running.alarm.id, "ann", ""))
    running.feed(120 * MINUTE)
    (alarm,) = running.status.cleared
    assert alarm.acknowledged_by == "ann" and alarm.cleared_reason == "passed"


def test_acceptance_is_answered_and_told(running):
    answer = running.ask(Accept("credit", "income", "ann", "ok"))
    assert answer.status == 200, answer
    assert [t["target"] for t in answer.body["targets"]] == ["income"]
    assert answer.body["cleared"] == [running.alarm.id]
    assert [e["type"] for e in running.sink.events] == [
        "io.tocsin.reference.accepted",
        "io.tocsin.alarm.cleared",
    ]
    assert running.sink.events[1]["data"]["reason"] == "accepted"
    assert running.lines == ["cleared: credit: drift of income"]
    assert running.status.alarms == () and running.status.profile == answer.body["profile"]


@pytest.mark.parametrize(
    ("command", "status", "why"),
    [
        (Accept("churn", None, "", ""), 404, "no model 'churn': there are credit"),
        (Accept("credit", "incme", "", ""), 404, "did you mean 'income'"),
        (Accept("credit", "traffic", "", ""), 404, "no target 'traffic'"),
    ],
)
def test_what_cannot_be_accepted_is_named(running, command, status, why):
    answer = running.ask(command)
    assert answer.status == status and why in answer.body["error"]
    assert running.sink.events == []


def test_a_model_that_learns_accepts_nothing():
    pipeline = Pipeline(configuration(model={"warmup": 1000}))
    done = orders.carry_out(Accept("credit", None, "", ""), pipeline, 0.0)
    assert done.answer.status == 409 and "being learned" in done.answer.body["error"]


def test_a_fault_in_a_command_does_not_stop_the_loop(running, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(orders, "accept", fail)
    assert running.ask(Accept("credit", None, "", "")).status == 500
    assert running.status.alarms == (running.alarm,)


def test_commands_are_refused_once_the_loop_has_ended(running):
    turns = SimpleNamespace(left=2)

    def stop():
        turns.left -= 1
        return turns.left < 0

    running.loop.run(stop)
    assert running.loop.commands.submit(COMMAND) == STOPPING
