"""What is worked around in the Kafka client, with its own fetcher and no broker."""

import signal
from collections import deque
from typing import Any, NamedTuple

import pytest
from kafka import errors
from kafka.consumer.fetcher import Fetcher
from kafka.consumer.subscription_state import SubscriptionState
from kafka.structs import TopicPartition

from agent.intake.kafka.batches import take_up

GOOD, CORRUPT, PAUSED = (TopicPartition("topic", number) for number in range(3))


class Fetched(NamedTuple):
    topic_partition: TopicPartition
    fetched_offset: int = 0


class Record(NamedTuple):
    offset: int


def part(partition: TopicPartition, count: int, is_corrupt: bool = False) -> Any:
    """Records of a partition as they are parsed, one after the other."""
    made = Fetcher.PartitionRecords(0, partition, None)

    def records() -> Any:
        for offset in range(count):
            made.next_fetch_offset = offset + 1
            yield Record(offset)
        if is_corrupt:
            raise errors.CorruptRecordError("checksum")
        made.drain()

    made.record_iterator = records()
    return made


@pytest.fixture
def fetcher() -> Any:
    """Good and corrupt records have been fetched, and of a paused partition some are set aside."""
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user([GOOD, CORRUPT, PAUSED])
    for partition in (GOOD, CORRUPT, PAUSED):
        subscriptions.seek(partition, 0)
    subscriptions.pause(PAUSED)
    fetcher = object.__new__(Fetcher)
    fetcher._subscriptions, fetcher.config = subscriptions, {"max_poll_records": 5_000}
    fetcher._sensors = fetcher._next_in_line_exception_metadata = None
    fetcher._next_partition_records = None
    fetcher._paused_completed_fetches = {}
    fetcher._paused_partition_records = {PAUSED: part(PAUSED, 12_000)}
    fetcher._completed_fetches = deque([Fetched(GOOD), Fetched(CORRUPT)])
    parsed = {GOOD: part(GOOD, 10), CORRUPT: part(CORRUPT, 0, is_corrupt=True)}
    fetcher._parse_fetched_data = lambda fetched: parsed[fetched.topic_partition]
    return fetcher


def stuck(signum: int, frame: object) -> None:
    raise AssertionError("the client turns in a circle")


def test_a_batch_that_cannot_be_read_ends_no_reading_of_others(fetcher: Any) -> None:
    """What is set aside is taken up in between."""
    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(20)
    told, counts = [], dict.fromkeys((GOOD, CORRUPT, PAUSED), 0)
    try:
        for _ in range(7):
            take_up(fetcher)
            try:
                records, _ = fetcher.fetched_records()
            except errors.KafkaError as error:
                told.append(error)
                continue
            finally:
                fetcher._subscriptions.resume(PAUSED)
            for partition, found in records.items():
                counts[partition] += len(found)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert counts == {GOOD: 10, CORRUPT: 0, PAUSED: 12_000}
    assert [type(error) for error in told] == [errors.CorruptRecordError]
