"""Traffic with late, duplicate and corrected feedback, sent to Kafka in step with a clock."""

import json
import threading
import time
from collections.abc import Iterator

import numpy as np

from agent.intake.kafka import KafkaSettings, KafkaSink, ensure_topic
from tests.watched import MINUTE, MOVED, Traffic

LATE, AGAIN, CORRECTED, LAST = 0.2, 0.05, 0.05, 600  # shares; most rows that feedback is late by

Sent = tuple[int, str, str, bytes]  # order, topic, key, value


def stream(minutes: int, predictions: str, feedback: str, seed: int = 5) -> list[Sent]:
    """Records of both topics in the order in which they come.

    `income` moves after a third of the time; labels turn against the model in the last tenth.
    """
    traffic, random = Traffic(seed), np.random.default_rng(seed)
    parts = [
        traffic.until(minutes * MINUTE // 3),
        traffic.until(minutes * MINUTE * 9 // 10, income=MOVED),
        traffic.until(minutes * MINUTE, wrong=0.6),
    ]
    made: list[Sent] = []
    values = [[v for pair in parts for v in pair[i].values] for i in (0, 1)]
    for i, (prediction, outcome) in enumerate(zip(*values, strict=True)):
        key = json.loads(prediction)["id"]
        made.append((i, predictions, key, prediction))
        delay = int(random.integers(1, LAST)) if random.random() < LATE else 0
        made.append((i + delay, feedback, key, outcome))
        if random.random() < AGAIN:
            made.append((i + delay + 20, feedback, key, outcome))
        if random.random() < CORRECTED:
            body = json.loads(outcome)
            body["label"] = 1 - body["label"] if random.random() < 0.8 else None
            made.append((i + delay + 40, feedback, key, json.dumps(body).encode()))
    return sorted(made, key=lambda sent: sent[0])


class Sender:
    """Sends a stream over some seconds, from a thread of its own."""

    def __init__(self, bootstrap: str, made: list[Sent], seconds: float, partitions: int) -> None:
        self._made, self._seconds = made, seconds
        settings = KafkaSettings(bootstrap)
        for topic in dict.fromkeys(topic for _, topic, _, _ in made):
            ensure_topic(settings, topic, partitions=partitions, replication=1)
        self._sink = KafkaSink(settings, max_block=30.0)
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self.problem = ""

    def start(self) -> "Sender":
        """Begin."""
        self._thread.start()
        return self

    @property
    def is_done(self) -> bool:
        """Whether all has been sent."""
        return not self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout)
        assert self.is_done and not self.problem, self.problem or "still sending"

    def _run(self) -> None:
        began = time.monotonic()
        for part, share in self._parts():
            time.sleep(max(0.0, began + share * self._seconds - time.monotonic()))
            for _, topic, key, value in part:
                if not self._sink.send(topic, key.encode(), value):
                    self.problem = self._sink.problem
                    return
        if not self._sink.flush(30.0):
            self.problem = self._sink.problem
        self._sink.close()

    def _parts(self, n: int = 50) -> Iterator[tuple[list[Sent], float]]:
        for start in range(0, len(self._made), n):
            yield self._made[start : start + n], start / len(self._made)
