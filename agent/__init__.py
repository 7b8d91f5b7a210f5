"""Tocsin's agent: Kafka and files in, Prometheus, events and a status page out."""

__version__ = "0.1.0"
