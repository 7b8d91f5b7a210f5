"""A restore over a slow link takes longer than a silent broker is given."""

import pytest

from agent.intake.kafka import KafkaSettings, StateTopic

pytestmark = pytest.mark.kafka


def test_bytes_that_are_on_their_way_are_an_answer(kafka, proxy, fresh):
    """Else an agent behind such a link would never be ready."""
    topic, kept = fresh("state"), bytes(2**19)
    near = StateTopic(KafkaSettings(kafka.bootstrap), topic)
    assert near.claim(["m"]) is not None
    assert near.put([(f"m/1/0/{chunk}", kept) for chunk in range(3)])
    near.close()
    proxy.slow(latency_ms=5, kilobytes_per_second=500)
    far = StateTopic(KafkaSettings(proxy.bootstrap), topic, timeout=1.0)
    found = far.load(["m"])
    assert found == {"m": {f"1/0/{chunk}": kept for chunk in range(3)}}, far.problem
    proxy.restore()
    proxy.black_hole()
    assert far.load(["m"]) is None
    far.close()
