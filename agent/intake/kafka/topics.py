"""Topics: which there are, whether they fit together, and creating what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, errors

from agent.errors import TocsinError, UnreachableError
from agent.intake.kafka.network import Network, unreachable
from agent.intake.kafka.settings import KafkaSettings


@contextmanager
def admin_of(settings: KafkaSettings, timeout: float) -> Iterator[Any]:
    """An admin client for a while. Raises UnreachableError."""
    options = settings.for_client(KafkaAdminClient, request_timeout_ms=int(timeout * 1000))
    network = Network(settings, options)
    try:
        if not network.wait(timeout):
            raise UnreachableError(network.problem)
        yield KafkaAdminClient(kafka_client=network.client, **options)
    except errors.KafkaError as error:
        raise unreachable(settings, error) from error
    finally:
        network.close()


def partition_counts(settings: KafkaSettings, timeout: float = 10.0) -> dict[str, int]:
    """Each topic's number of partitions. Raises UnreachableError."""
    with admin_of(settings, timeout) as admin:
        return {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}


def check_topics(
    settings: KafkaSettings, topics: Mapping[str, Sequence[str]], timeout: float = 10.0
) -> list[str]:
    """Problems with the topics of each model, one line each; empty where all is well.

    The topics of one model must have equally many partitions, or else its predictions and their
    feedback may come to different agents and never meet.
    """
    try:
        counts = partition_counts(settings, timeout)
    except TocsinError as error:
        return [str(error)]
    return [line for model, names in topics.items() for line in _check(model, names, counts)]


def _check(model: str, topics: Sequence[str], counts: Mapping[str, int]) -> Iterator[str]:
    for topic in topics:
        if topic not in counts:
            yield f"models.{model}: topic {topic} does not exist; create it or correct its name"
    present = [topic for topic in topics if topic in counts]
    if len({counts[topic] for topic in present}) > 1:
        sizes = ", ".join(f"{topic} has {counts[topic]}" for topic in present)
        yield (
            f"models.{model}: its topics differ in partitions ({sizes}); give them equally many "
            "and the same key, or predictions and feedback cannot be joined"
        )


def ensure_topic(
    settings: KafkaSettings,
    topic: str,
    *,
    partitions: int = 1,
    replication: int = -1,
    configs: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> bool:
    """Create a topic where it is missing and wait until it can be used; whether it was created.

    `replication` -1 is the cluster's default. An existing topic is left as it is. Raises
    UnreachableError.
    """
    wanted = {
        "num_partitions": partitions,
        "replication_factor": replication,
        "configs": dict(configs or {}),
    }
    with admin_of(settings, timeout) as admin:
        try:
            admin.create_topics({topic: wanted}, timeout_ms=int(timeout * 1000))
        except errors.TopicAlreadyExistsError:
            return False
        admin.wait_for_topics([topic], timeout_ms=timeout * 1000)
        return True
