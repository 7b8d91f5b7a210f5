"""Topics: which there are, whether they fit together, and creating what is missing."""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, errors

from agent.errors import TocsinError, UnreachableError
from agent.intake.kafka.network import Network, reason_of, unreachable
from agent.intake.kafka.settings import KafkaSettings

# Of Tocsin's own topics. A broker refuses records whose producer's clock is an hour ahead of its
# own, and deletes too early what comes from one that is behind.
BROKERS_TIME = {"message.timestamp.type": "LogAppendTime"}


@contextmanager
def admin_of(settings: KafkaSettings, timeout: float) -> Iterator[Any]:
    """An admin client for a while. Raises UnreachableError."""
    options = settings.for_client(KafkaAdminClient, request_timeout_ms=int(timeout * 1000))
    network = Network(settings, options)
    try:
        if not network.wait(timeout):
            raise UnreachableError(network.problem)
        yield KafkaAdminClient(kafka_client=network.client, **options)
    except (errors.KafkaError, RuntimeError) as error:  # that one where no controller is found
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
    wanted = sorted({name for names in topics.values() for name in names})
    try:
        with admin_of(settings, timeout) as admin:
            found = {topic["name"]: topic for topic in admin.describe_topics(wanted)}
    except TocsinError as error:
        return [str(error)]
    present = {n: len(topic["partitions"]) for n, topic in found.items() if topic["partitions"]}
    hidden = {
        name
        for name, topic in found.items()
        if issubclass(errors.for_code(topic["error_code"]), errors.AuthorizationError)
    }
    return [
        line for model, names in topics.items() for line in _check(model, names, present, hidden)
    ]


def _check(
    model: str, topics: Sequence[str], counts: Mapping[str, int], hidden: Set[str]
) -> Iterator[str]:
    for topic in topics:
        if topic in hidden:
            yield f"models.{model}: DESCRIBE on topic {topic} is not granted"
        elif topic not in counts:
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

    `replication` -1 is the cluster's default. An existing topic is left as it is, and needs no
    right to create it. Raises UnreachableError.
    """
    wanted = {
        "num_partitions": partitions,
        "replication_factor": replication,
        "configs": dict(configs or {}),
    }
    with admin_of(settings, timeout) as admin:
        # An error would hold the whole request and answer; these have the broker's own words.
        answer = admin.create_topics(
            {topic: wanted}, timeout_ms=int(timeout * 1000), raise_errors=False
        )["topics"][0]
        error = errors.for_code(answer["error_code"])
        # Brokers ask for the right before they look whether the topic is there.
        if issubclass(error, errors.AuthorizationError):
            if lacking := _not_had(admin, topic):
                raise UnreachableError(f"Kafka at {settings.servers} refuses: {lacking}")
            return False
        if error is errors.TopicAlreadyExistsError:
            return False
        if error is not errors.NoError:
            raise error(f"topic {topic}: {answer.get('error_message') or error.description}")
        admin.wait_for_topics([topic], timeout_ms=timeout * 1000)
        return True


def _not_had(admin: Any, topic: str) -> str:
    """Why a topic that may not be created cannot be had; empty where it exists."""
    (found,) = admin.describe_topics([topic])
    error = errors.for_code(found["error_code"])
    if error is errors.UnknownTopicOrPartitionError:
        return f"topic {topic} does not exist, and CREATE on it is not granted"
    if issubclass(error, errors.AuthorizationError):
        return f"DESCRIBE on {topic} is not granted (and CREATE, should it not exist)"
    return ""


def refusal(error: BaseException, topic: str, right: str) -> str:
    """What an error means, in a person's words, where that right on that topic was needed."""
    if isinstance(error, errors.TopicAuthorizationFailedError):
        return f"{right} on {topic} is not granted"
    return reason_of(error)
