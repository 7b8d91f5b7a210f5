"""Puts the agent together, from a configuration to a loop that can be run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from agent.checkpoint.directory import Directory
from agent.checkpoint.keeper import Keeper
from agent.checkpoint.medium import Medium
from agent.checkpoint.store import Checkpoints
from agent.clock import SteadyClock
from agent.config import Config
from agent.errors import UnreachableError
from agent.exchange import PARTITIONS, Exchange
from agent.intake.kafka import (
    BROKERS_TIME,
    ClientCredentials,
    KafkaSettings,
    KafkaSink,
    KafkaSource,
    StateTopic,
    ensure_topic,
    partition_counts,
    values_from,
)
from agent.intake.source import TopicPartition
from agent.loop import Loop
from agent.pipeline import Pipeline
from agent.publish.dead_letters import DeadLetters, Letters, NoLetters
from agent.publish.events import Events
from agent.publish.outbox import Outbox

STATE_SECONDS = 5.0  # that a checkpoint waits for a broker: a stop has to fit its grace
PANES_KEPT = 7 * 86_400_000  # ms that the panes topic keeps what nobody has judged
LARGEST_PANE = 16 * 2**20  # bytes: corrections of a whole day may come in a single one


def kafka_settings(config: Config) -> KafkaSettings:
    """How to reach Kafka, from the configuration."""
    options = config.kafka.client_options()
    servers = options.pop("bootstrap_servers")
    oauth = config.kafka.oauth
    if oauth is not None:
        secret = oauth.client_secret.get_secret_value()
        options["sasl_oauth_token_provider"] = ClientCredentials(
            oauth.token_url, oauth.client_id, secret, oauth.scope, oauth.cafile
        )
    return KafkaSettings(
        servers,
        group_id=config.kafka.group_id,
        group_instance_id=config.kafka.group_instance_id,
        options=options,
    )


def medium_of(config: Config, settings: KafkaSettings) -> Medium:
    """Where checkpoints are kept."""
    if config.checkpoint.directory is not None:
        return Directory(config.checkpoint.directory)
    return StateTopic(settings, config.kafka.state_topic, STATE_SECONDS)


def exchange_of(
    config: Config, settings: KafkaSettings, pipeline: Pipeline, sink: KafkaSink
) -> Exchange:
    """How panes go from one agent to another."""
    topic = config.kafka.panes_topic

    def prepare() -> int:
        configs = {
            "retention.ms": str(PANES_KEPT),
            "max.message.bytes": str(LARGEST_PANE),
            **BROKERS_TIME,
        }
        ensure_topic(settings, topic, partitions=PARTITIONS, configs=configs, timeout=2.0)
        counts = partition_counts(settings, timeout=2.0)
        if topic not in counts:  # another agent has just made it, or the right to see it is missing
            raise UnreachableError("it exists, and the broker does not show it (yet)")
        return counts[topic]

    return Exchange(pipeline, topic, sink, prepare, int(config.kafka.memory))


@contextmanager
def outbox(topic: str, settings: KafkaSettings, memory: int) -> Iterator[Outbox]:
    """The way to one of Tocsin's own topics, which is created where it is missing."""
    sink = KafkaSink(settings, buffer_bytes=memory)
    box = Outbox(
        topic,
        sink,
        lambda: ensure_topic(settings, topic, configs=BROKERS_TIME, timeout=2.0),
        memory,
    )
    try:
        yield box
    finally:
        box.close()
        sink.close(1.0)


@contextmanager
def assembled(config: Config) -> Iterator[Loop]:
    """The agent's loop; everything it needs is closed at the end.

    Returns before Kafka answers. Raises TocsinError where the configuration cannot be used.
    """
    settings, kafka = kafka_settings(config), config.kafka
    with ExitStack() as stack:
        events = Events(stack.enter_context(outbox(kafka.events_topic, settings, kafka.memory)))
        letters: Letters = NoLetters()
        if kafka.dead_letter_topic is not None:
            box = outbox(kafka.dead_letter_topic, settings, kafka.memory)
            letters = DeadLetters(stack.enter_context(box))
        pipeline = Pipeline(config, letters=letters)
        topics, exchange = list(pipeline.topics), None
        if kafka.several_agents:
            topics.append(kafka.panes_topic)
            sink = KafkaSink(settings, max_record_bytes=LARGEST_PANE)
            stack.callback(sink.close, 1.0)
            exchange = exchange_of(config, settings, pipeline, sink)
        whole = kafka.dead_letter_topic is not None
        source = KafkaSource(settings, topics, whole=whole, held=True)
        stack.callback(source.close)
        medium = medium_of(config, settings)
        stack.callback(medium.close)
        interval = config.checkpoint.interval / 1000

        def panes_from(at: TopicPartition, offset: int) -> list[bytes]:
            return values_from(settings, at, offset, STATE_SECONDS)

        clock, checkpoints = SteadyClock(), Checkpoints(medium)
        keeper = Keeper(pipeline, checkpoints, clock, interval, exchange, panes_from)
        yield Loop(source, pipeline, events, clock, keeper=keeper, exchange=exchange)
