"""A partition that is paused in the middle of what was fetched of it is read on from there."""

import time
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from agent.intake.kafka import KafkaSettings, KafkaSource, ensure_topic
from tests.rig.agent import produce

EACH = 2_000


@pytest.mark.parametrize("resumed", ["while the other is read", "after the other is read"])
def test_a_partition_that_was_paused_is_read_on(small_broker, fresh, resumed):
    topic = fresh("topic")
    ensure_topic(KafkaSettings(small_broker.bootstrap), topic, partitions=2, replication=1)
    values = [b"%d" % i for i in range(2 * EACH)]
    produce(small_broker.bootstrap, topic, values, [str(i) for i in range(len(values))], 2)
    settings = KafkaSettings(small_broker.bootstrap, group_id=fresh("group"))
    found: dict[tuple[str, int], list[bytes | None]] = {}
    with closing(KafkaSource(settings, [topic], max_poll_records=50)) as source:

        def poll() -> int:
            batches = source.poll(0.2)
            for batch in batches:
                assert (batch.topic, batch.partition) not in source_paused
                found.setdefault((batch.topic, batch.partition), []).extend(batch.values)
            return sum(map(len, batches))

        source_paused: frozenset[tuple[str, int]] = frozenset()
        deadline = time.monotonic() + 30
        while not poll():
            assert time.monotonic() < deadline
        source_paused = frozenset(found)  # what the first batch came from
        source.pause(source_paused)
        for _ in range(3):
            poll()
        while resumed.startswith("after") and poll():
            pass
        source_paused = frozenset()
        source.pause(source_paused)
        while sum(map(len, found.values())) < len(values):
            poll()
            counts = {at: len(read) for at, read in found.items()}
            assert time.monotonic() < deadline, counts
    assert sorted(v for read in found.values() for v in read) == sorted(values)
    for read in found.values():
        assert read == sorted(read, key=lambda value: int(value or b""))


def test_what_was_fetched_before_a_pause_is_not_fetched_again(small_broker, fresh):
    topic = fresh("topic")
    ensure_topic(KafkaSettings(small_broker.bootstrap), topic, partitions=3, replication=1)
    values = [b"%d" % i for i in range(3 * EACH)]
    produce(small_broker.bootstrap, topic, values, [str(i) for i in range(len(values))], 3)
    settings = KafkaSettings(small_broker.bootstrap, group_id=fresh("group"))
    counts: Counter[tuple[str, int]] = Counter()
    with closing(KafkaSource(settings, [topic], max_poll_records=50)) as source:
        deadline = time.monotonic() + 30
        answers = None
        while sum(counts.values()) < len(values):
            assert time.monotonic() < deadline, counts
            for batch in source.poll(0.2):
                counts[batch.topic, batch.partition] += len(batch)
            if answers is None and source._consumer is not None:
                answers = fetched(source._consumer._fetcher)
            # As while a backlog is read: what is ahead waits for the rest.
            least = min((counts[at] for at in source.assignment()), default=0)
            source.pause(frozenset(at for at, n in counts.items() if n > least + 100))
    assert answers is not None and len(answers) == len(set(answers)) <= 3


def fetched(fetcher: Any) -> list[tuple[int, int]]:
    """Partition and offset of every answer that holds records, kept up to date."""
    answers: list[tuple[int, int]] = []
    parse = fetcher._parse_fetched_data

    def note(completed: Any) -> Any:
        part = parse(completed)
        if completed.partition_data.records:
            answers.append((completed.topic_partition.partition, completed.fetched_offset))
        return part

    fetcher._parse_fetched_data = note
    return answers
