"""The demo's broker: what is started is ended, however its start goes."""

import os

import pytest

from agent.commands import broker
from agent.commands.broker import Broker
from agent.errors import UnreachableError
from tests.rig.process import answers
from tests.rig.requirements import missing

SILENT = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


@pytest.fixture
def silent(monkeypatch):
    """One that never listens, and says its process id."""
    monkeypatch.setattr(broker, "command", lambda port, data: ["python3", "-c", SILENT])


def is_running(folder):
    number = int((folder / "broker.log").read_text())
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def said(folder):
    return (folder / "broker.log").read_text().endswith("\n")


def test_it_takes_connections_until_it_is_stopped(tmp_path):
    try:
        running = Broker.start(tmp_path / "broker")
    except UnreachableError as error:
        missing(str(error))
    port = int(running.address.rpartition(":")[2])
    assert answers(port)
    running.stop()
    assert not answers(port)
    running.stop()


def test_one_that_never_answers_is_ended(tmp_path, silent, monkeypatch):
    monkeypatch.setattr(broker, "START_SECONDS", 1.0)
    with pytest.raises(UnreachableError, match="does not start"):
        Broker.start(tmp_path / "broker")
    assert not is_running(tmp_path / "broker")


def test_who_is_interrupted_while_it_starts_leaves_none_behind(tmp_path, silent, monkeypatch):
    def interrupted(port):
        if said(tmp_path / "broker"):
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(broker, "_answers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Broker.start(tmp_path / "broker")
    assert not is_running(tmp_path / "broker")


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(broker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreachableError, match="pip install"):
        Broker.start(tmp_path / "broker")


def test_one_that_the_machine_cannot_run_is_said_to_be_so(tmp_path, monkeypatch):
    monkeypatch.setattr(broker, "command", lambda port, data: [str(tmp_path / "none")])
    with pytest.raises(UnreachableError, match="does not start"):
        Broker.start(tmp_path / "broker")
