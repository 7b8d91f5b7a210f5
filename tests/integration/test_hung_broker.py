"""A broker that hangs is not a partition read to its end."""

import time

from agent.intake.kafka import KafkaSettings, KafkaSource
from tests.rig.agent import produce
from tests.rig.small_broker import SmallBroker


def wait_for(source, done, seconds):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, source.lag()
        source.poll(0.2)


def test_the_lag_of_a_hung_broker_is_unknown(tmp_path):
    broker = SmallBroker(tmp_path)
    broker.start()
    source = None
    try:
        produce(broker.bootstrap, "t", [b"1", b"2"], ["a", "b"])
        source = KafkaSource(KafkaSettings(broker.bootstrap, group_id="g"), ["t"])
        wait_for(source, lambda: source.lag() == {("t", 0): 0}, 20)
        # An empty partition is answered for as well: its lag stays known.
        for _ in range(20):
            source.poll(0.2)
            assert source.lag() == {("t", 0): 0}
        broker.process.freeze()
        wait_for(source, lambda: source.lag() == {("t", 0): -1}, 10)
        broker.process.thaw()
        wait_for(source, lambda: source.lag() == {("t", 0): 0}, 20)
    finally:
        broker.process.thaw()
        if source is not None:
            source.close()
        broker.stop()
