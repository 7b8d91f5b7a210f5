"""Kafka, and the only package that knows kafka-python: a source, a sink, and checks of topics."""

from agent.intake.kafka.oauth import ClientCredentials
from agent.intake.kafka.reading import values_from
from agent.intake.kafka.settings import KafkaSettings
from agent.intake.kafka.sink import KafkaSink
from agent.intake.kafka.source import KafkaSource
from agent.intake.kafka.state import StateTopic
from agent.intake.kafka.topics import BROKERS_TIME, check_topics, ensure_topic, partition_counts

__all__ = [
    "BROKERS_TIME",
    "ClientCredentials",
    "KafkaSettings",
    "KafkaSink",
    "KafkaSource",
    "StateTopic",
    "check_topics",
    "ensure_topic",
    "partition_counts",
    "values_from",
]
