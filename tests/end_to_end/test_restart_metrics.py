"""A restart as Prometheus sees it: no counter falls, and what comes back is not taken for new."""

import time

import pytest

from agent import profile_file
from tests.rig.agent import Agent, produce
from tests.rig.small_broker import SmallBroker
from tests.watched import FEEDBACK, MINUTE, PREDICTIONS, Traffic, reference

# All that a model counts: counters, and the series of histograms.
COUNTED = '{__name__=~"tocsin_.+_(total|bucket|sum|count)",model="credit"}'
READ = 'sum(tocsin_predictions_total{model="credit"})'


def wait(prometheus, expression, seconds=30):
    """The value of an expression, once it has one."""
    deadline = time.monotonic() + seconds
    while not (found := prometheus.query(expression)):
        assert time.monotonic() < deadline, f"{expression}: nothing in {seconds} s"
        time.sleep(0.2)
    return float(found[0]["value"][1])


@pytest.mark.slow
@pytest.mark.prometheus
def test_what_was_counted_before_a_restart_is_not_counted_again(prometheus, tmp_path):
    broker = SmallBroker(tmp_path / "broker")
    broker.start()
    profile_file.save(reference(), tmp_path / "credit.profile")
    config = {
        "kafka": {"bootstrap_servers": broker.bootstrap, "group_id": "restart"},
        "checkpoint": {"directory": str(tmp_path / "state"), "interval": "1s"},
        "models": {"credit": {"task": "binary", "profile": "credit.profile"}},
    }
    agent = Agent(tmp_path, config)
    try:
        batches = Traffic().until(10 * MINUTE)
        assert [batch.topic for batch in batches] == [PREDICTIONS, FEEDBACK]
        for batch in batches:
            produce(broker.bootstrap, batch.topic, batch.values, ["a"] * len(batch.values))
        agent.start()
        prometheus.scrape([agent.target])
        made = len(batches[0].values)
        wait(prometheus, f"{READ} == {made}")
        names = {row["metric"]["__name__"] for row in prometheus.query(COUNTED)}
        assert len(names) > 4

        assert agent.stop() == 0
        broker.process.freeze()
        ended = time.time()
        agent.start()
        # It serves, and there is no telling yet what it has to restore.
        wait(prometheus, f"tocsin_config_last_reload_timestamp_seconds > {ended}")
        assert wait(prometheus, 'tocsin_blind{model="credit",reason="no_traffic"}') == 1
        assert prometheus.query(COUNTED) == []
        broker.process.thaw()

        assert wait(prometheus, READ) == made
        fallen = {name: wait(prometheus, f"max(resets({name}[5m]))") for name in names}
        assert fallen == dict.fromkeys(names, 0)
    finally:
        prometheus.scrape([])
        broker.process.thaw()
        agent.process.kill()
        broker.stop()
