"""What kafka-python's consumer knows, and does not tell or forgets."""

from collections.abc import Callable
from typing import Any

from kafka.structs import TopicPartition as KafkaTopicPartition

from agent.clock import since_boot
from agent.intake.source import TopicPartition


def complete_every_join(coordinator: Any) -> None:
    """Keep the coordinator at a join that it has begun until that has ended.

    A join begun because topics changed is forgotten by kafka-python where a poll's time runs out
    between the leader's assignment and the broker's answer to it: the member then stays without
    partitions, without heartbeats and without an error for good.
    """
    wanted = coordinator.need_rejoin
    coordinator.need_rejoin = lambda: coordinator.rejoining or wanted()


def listen(fetcher: Any) -> dict[TopicPartition, float]:
    """When each partition was last answered for, empty answers included; kept up to date."""
    heard: dict[TopicPartition, float] = {}
    handle = fetcher._handle_fetch_response

    def note(node_id: object, fetch_offsets: Any, *rest: Any) -> Any:
        now = since_boot()  # what was heard before the machine slept is old
        heard.update({(tp.topic, tp.partition): now for tp in fetch_offsets})
        return handle(node_id, fetch_offsets, *rest)

    fetcher._handle_fetch_response = note
    return heard


def tell_of_resets(fetcher: Any, tell: Callable[[TopicPartition, int], None]) -> None:
    """Have it told where reading goes on when the records that follow have been deleted."""
    reset = fetcher._reset_offset_if_needed

    def note(partition: KafkaTopicPartition, timestamp: Any, offset: int) -> None:
        reset(partition, timestamp, offset)
        tell((partition.topic, partition.partition), offset)

    fetcher._reset_offset_if_needed = note


def lag_of(state: Any) -> int:
    """Records to the end of a partition, as the last fetch has told; -1: not known."""
    if state is None or state.position is None or state.highwater is None:
        return -1
    return max(0, int(state.highwater) - int(state.position.offset))
