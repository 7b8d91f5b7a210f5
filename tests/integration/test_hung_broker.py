"""A broker that hangs: it is said, it is no partition read to its end, and no call waits for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from agent.errors import UnreachableError
from agent.intake.kafka import (
    KafkaSettings,
    KafkaSink,
    KafkaSource,
    StateTopic,
    check_topics,
    ensure_topic,
)
from tests.rig.agent import produce
from tests.rig.kafka import KafkaServer
from tests.rig.process import free_port
from tests.rig.silent import SilentServer
from tests.rig.small_broker import SmallBroker

PATIENCE = 25.0  # seconds; a call of the client without a deadline would wait for ever


@pytest.fixture
def broker(tmp_path) -> Iterator[SmallBroker]:
    broker = SmallBroker(tmp_path)
    broker.start()
    produce(broker.bootstrap, "t", [b"1", b"2"], ["a", "b"])
    yield broker
    broker.process.thaw()
    broker.stop()


def wait_for(source, done, seconds):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, (source.lag(), source.problem)
        source.poll(0.2)


def comes_back(call: Callable[[], object]) -> None:
    """Fails where the call does not return, or raises what nobody expects."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(call())
        except UnreachableError as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert ended, "it waits, or it failed with an error that nobody is ready for"


def test_the_lag_of_a_hung_broker_is_unknown(broker, monkeypatch):
    monkeypatch.setattr("agent.intake.kafka.source.SILENT_SECONDS", 4.0)
    source = KafkaSource(KafkaSettings(broker.bootstrap, group_id="g"), ["t"])
    try:
        wait_for(source, lambda: source.lag() == {("t", 0): 0}, 20)
        # An empty partition is answered for as well: its lag stays known.
        for _ in range(30):
            source.poll(0.2)
            assert source.lag() == {("t", 0): 0}
            assert source.problem == ""
        broker.process.freeze()
        wait_for(source, lambda: source.lag() == {("t", 0): -1}, 10)
        wait_for(source, lambda: "has stopped answering" in source.problem, 10)
        broker.process.thaw()
        wait_for(source, lambda: source.lag() == {("t", 0): 0}, 20)
        wait_for(source, lambda: source.problem == "", 20)
    finally:
        broker.process.thaw()
        source.close()


def test_no_call_waits_for_a_broker_that_has_stopped_answering(broker):
    settings = KafkaSettings(broker.bootstrap, group_id="g")
    source = KafkaSource(settings, ["t"], held=True, commit_timeout=0.5)
    sink = KafkaSink(settings, max_block=0.5)
    state = StateTopic(settings, "state", timeout=1.0)
    wait_for(source, source.waiting, 20)
    assert source.place({("t", 0): [0]})
    wait_for(source, lambda: source.lag() == {("t", 0): 0}, 20)
    assert sink.send("t", b"k", b"v") and sink.flush(10.0)
    assert state.claim(["a"]) is not None
    broker.process.freeze()
    comes_back(lambda: source.poll(0.2))
    comes_back(source.lag)
    comes_back(lambda: source.commit({("t", 0): 2}))
    comes_back(lambda: source.place({("t", 0): [1]}))
    comes_back(lambda: sink.send("t", b"k", b"v"))
    comes_back(lambda: sink.send("another-topic", b"k", b"v"))
    comes_back(lambda: sink.flush(0.5))
    comes_back(lambda: state.claim(["a"]))
    comes_back(lambda: state.put([("a/0", b"v")]))
    comes_back(lambda: state.load(["a"]))
    comes_back(lambda: ensure_topic(settings, "new", timeout=0.5))
    comes_back(lambda: check_topics(settings, {"m": ["t"]}, timeout=0.5))
    comes_back(source.close)
    comes_back(lambda: sink.close(0.5))
    comes_back(state.close)


@pytest.mark.kafka
def test_checkpoints_are_written_again_once_a_broker_answers_again(tmp_path):
    """An idempotent producer of kafka-python would never send anything more."""
    broker = KafkaServer(tmp_path / "broker")
    broker.start()
    state = StateTopic(KafkaSettings(broker.bootstrap), "state", timeout=2.0)
    entries = [(f"{name}/1/0/0", b"v") for name in "abcdefgh"]
    try:
        deadline = time.monotonic() + 20
        while not state.put(entries):
            assert time.monotonic() < deadline, state.problem
        broker.process.freeze()
        for _ in range(4):
            assert not state.put(entries)
        broker.process.thaw()
        deadline = time.monotonic() + 10
        while not state.put(entries):
            assert time.monotonic() < deadline, state.problem
    finally:
        broker.process.thaw()
        state.close()
        broker.stop()


def test_no_call_waits_for_a_broker_that_never_answers():
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(SilentServer(port))
        settings = KafkaSettings(f"127.0.0.1:{port}", group_id="g")
        source, sink = KafkaSource(settings, ["t"], held=True), KafkaSink(settings, max_block=0.5)
        state = StateTopic(settings, "state", timeout=1.0)
        comes_back(lambda: source.poll(0.2))
        comes_back(lambda: source.commit({("t", 0): 2}))
        comes_back(lambda: source.place({("t", 0): [1]}))
        comes_back(lambda: sink.send("t", b"k", b"v"))
        comes_back(lambda: sink.flush(0.5))
        comes_back(lambda: state.claim(["a"]))
        comes_back(lambda: state.put([("a/0", b"v")]))
        comes_back(lambda: state.load(["a"]))
        comes_back(lambda: ensure_topic(settings, "new", timeout=0.5))
        comes_back(lambda: check_topics(settings, {"m": ["t"]}, timeout=0.5))
        assert "waiting for Kafka" in source.problem
        comes_back(source.close)
        comes_back(lambda: sink.close(0.5))
        comes_back(state.close)
