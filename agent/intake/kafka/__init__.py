"""Kafka, and the only package that knows kafka-python: a source, a sink, and checks of topics."""

from agent.intake.kafka.settings import KafkaSettings
from agent.intake.kafka.sink import KafkaSink
from agent.intake.kafka.source import KafkaSource
from agent.intake.kafka.topics import check_topics, ensure_topic, partition_counts

__all__ = [
    "KafkaSettings",
    "KafkaSink",
    "KafkaSource",
    "check_topics",
    "ensure_topic",
    "partition_counts",
]
