"""`tocsin run`: the agent."""

import time

import structlog

from agent.config import Config
from agent.intake.kafka import KafkaSettings, KafkaSink, KafkaSource, ensure_topic
from agent.loop import Loop
from agent.pipeline import Pipeline
from agent.publish.events import Events
from agent.publish.http import HttpServer
from agent.stopping import Stop


def kafka_settings(config: Config) -> KafkaSettings:
    """How to reach Kafka, from the configuration."""
    options = config.kafka.client_options()
    servers = options.pop("bootstrap_servers")
    return KafkaSettings(servers, group_id=config.kafka.group_id, options=options)


def run_agent(config: Config) -> None:
    """Run until SIGTERM or SIGINT. The process is live before Kafka answers."""
    config.require_kafka()
    log = structlog.get_logger("agent.run")
    pipeline = Pipeline(config)
    settings = kafka_settings(config)
    source = KafkaSource(settings, pipeline.topics)
    sink = KafkaSink(settings)
    topic = config.kafka.events_topic
    events = Events(topic, sink, lambda: ensure_topic(settings, topic, timeout=2.0))
    loop = Loop(source, pipeline, events, time.time)
    server = HttpServer(
        config.http.host, config.http.port, loop.snapshot, submit=loop.commands.submit
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
        sink.close()
        server.stop()
    log.info("stopped")
