"""`tocsin run`: the agent."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog

from agent.checkpoint.directory import Directory
from agent.checkpoint.keeper import Keeper
from agent.checkpoint.medium import Medium
from agent.checkpoint.store import Checkpoints
from agent.commands.serving import access, tls
from agent.config import Config
from agent.exchange import PARTITIONS, Exchange
from agent.intake.kafka import (
    ClientCredentials,
    KafkaSettings,
    KafkaSink,
    KafkaSource,
    StateTopic,
    ensure_topic,
    partition_counts,
)
from agent.loop import Loop
from agent.pipeline import Pipeline
from agent.publish.dead_letters import DeadLetters, Letters, NoLetters
from agent.publish.events import Events
from agent.publish.http import HttpServer
from agent.publish.outbox import Outbox
from agent.stopping import Stop


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
    return StateTopic(settings, config.kafka.state_topic)


def exchange_of(
    config: Config, settings: KafkaSettings, pipeline: Pipeline, sink: KafkaSink
) -> Exchange:
    """How panes go from one agent to another."""
    topic = config.kafka.panes_topic

    def prepare() -> int:
        configs = {"retention.ms": str(7 * 86_400_000)}
        ensure_topic(settings, topic, partitions=PARTITIONS, configs=configs, timeout=2.0)
        return partition_counts(settings, timeout=2.0)[topic]

    return Exchange(pipeline, topic, sink, prepare)


@contextmanager
def outbox(topic: str, settings: KafkaSettings, memory: int) -> Iterator[Outbox]:
    """The way to one of Tocsin's own topics, which is created where it is missing."""
    sink = KafkaSink(settings, buffer_bytes=memory)
    box = Outbox(topic, sink, lambda: ensure_topic(settings, topic, timeout=2.0), memory)
    try:
        yield box
    finally:
        box.close()
        sink.close(1.0)


def run_agent(config: Config) -> None:
    """Run until SIGTERM or SIGINT. The process is live before Kafka answers."""
    config.require_kafka()
    tls(config.http)  # what is wrong with its files is said before anything starts
    settings = kafka_settings(config)
    kafka = config.kafka
    with ExitStack() as stack:
        events = Events(stack.enter_context(outbox(kafka.events_topic, settings, kafka.memory)))
        letters: Letters = NoLetters()
        if kafka.dead_letter_topic is not None:
            box = outbox(kafka.dead_letter_topic, settings, kafka.memory)
            letters = DeadLetters(stack.enter_context(box))
        _run(config, settings, events, letters)


def _run(config: Config, settings: KafkaSettings, events: Events, letters: Letters) -> None:
    log = structlog.get_logger("agent.run")
    pipeline = Pipeline(config, letters=letters)
    whole = config.kafka.dead_letter_topic is not None
    topics, exchange, panes = list(pipeline.topics), None, None
    if config.kafka.several_agents:
        topics.append(config.kafka.panes_topic)
        panes = KafkaSink(settings)
        exchange = exchange_of(config, settings, pipeline, panes)
    source = KafkaSource(settings, topics, whole=whole, held=True)
    medium = medium_of(config, settings)
    interval = config.checkpoint.interval / 1000
    keeper = Keeper(pipeline, Checkpoints(medium), time.time, interval, exchange)
    loop = Loop(source, pipeline, events, time.time, keeper=keeper, exchange=exchange)
    server = HttpServer(
        config.http.host,
        config.http.port,
        loop.snapshot,
        submit=loop.commands.submit,
        tls=tls(config.http),
        access=access(config.http),
    )
    server.start()
    log.info("listening", port=server.port, models=list(config.models), config=config.hash)
    for line in config.unused():
        log.warning("not in use", key=line)
    try:
        with Stop() as stop:
            loop.run(stop.requested)
    finally:
        source.close()
        medium.close()
        if panes is not None:
            panes.close(1.0)
        server.stop()
    log.info("stopped")
