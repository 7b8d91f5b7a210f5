"""Another configuration is taken when it can be used, and refused with the reason when not."""

import os
import signal

import pytest

from agent.commands.run import usable
from agent.config import load
from agent.errors import UsageError
from agent.reloading import LOOK_SECONDS, Reload

GOOD = "models: {credit: {task: binary}}\n"
OTHER = "alerts: {page: 1 per 30d}\nmodels: {credit: {task: binary}}\n"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tocsin.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def reload(path, clock):
    with Reload(path, lambda p: load(p, {}), clock) as made:
        yield made


def later(clock):
    clock.now += LOOK_SECONDS + 0.1


def test_a_file_that_stays_as_it_is_asks_for_nothing(reload, clock, path):
    later(clock)
    assert not reload.wanted()
    os.utime(path, (1, 1))
    later(clock)
    assert not reload.wanted()
    assert reload.status.is_successful and reload.status.at == 100.0


def test_a_changed_file_is_taken_once(reload, clock, path):
    path.write_text(OTHER)
    assert not reload.wanted()  # too soon to look again
    later(clock)
    assert reload.wanted() and reload.wanted()
    config = reload.take()
    assert str(config.alerts.page) == "1 per 30d"
    later(clock)
    assert not reload.wanted()
    reload.applied(config)
    assert reload.status.at == clock.now


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path, clock):
    """As Kubernetes swaps what is mounted."""
    for name, text in (("one", GOOD), ("two", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tocsin.yaml").write_text(text)
    data = tmp_path / "..data"
    data.symlink_to(tmp_path / "one")
    (tmp_path / "tocsin.yaml").symlink_to(data / "tocsin.yaml")
    reload = Reload(tmp_path / "tocsin.yaml", lambda p: load(p, {}), clock)
    data.unlink()
    later(clock)
    assert not reload.wanted()  # in between there is no file: that says nothing
    data.symlink_to(tmp_path / "two")
    later(clock)
    assert reload.wanted()


def test_sighup_reads_it_again_though_it_has_not_changed(reload):
    os.kill(os.getpid(), signal.SIGHUP)
    assert reload.wanted()
    assert list(reload.take().models) == ["credit"]


def test_what_cannot_be_used_is_refused_with_the_reason_until_it_can(reload, clock, path):
    path.write_text("models: {credit: {task: binray}}\n")
    later(clock)
    assert not reload.wanted()
    assert not reload.status.is_successful and "task" in reload.status.problem
    assert reload.status.at == 100.0
    later(clock)
    assert not reload.wanted()
    path.write_text(OTHER)
    later(clock)
    assert reload.wanted()
    reload.applied(reload.take())
    assert reload.status.is_successful and not reload.status.problem


def test_the_signal_is_given_back(path):
    before = signal.getsignal(signal.SIGHUP)
    with Reload(path, lambda p: load(p, {})):
        assert signal.getsignal(signal.SIGHUP) != before
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_start_that_fails_is_told_as_well(reload):
    reload.refused(UsageError("the port is in use"))
    assert reload.status.problem == "the port is in use"


def test_how_to_reach_kafka_is_tried_before_the_old_configuration_is_given_up(path):
    kafka = "kafka: {bootstrap_servers: 'a:1', security_protocol: SSL, ssl_cafile: /none.pem}\n"
    path.write_text(kafka + GOOD)
    with pytest.raises(UsageError, match="ssl_cafile"):
        usable(path, lambda p: load(p, {}))
