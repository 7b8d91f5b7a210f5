"""Traffic as a broker keeps it: two topics in partitions, with late and repeated feedback."""

import numpy as np

from agent.intake.source import RawBatch
from tests.watched import FEEDBACK, MINUTE, MOVED, PREDICTIONS, Traffic


class Log:
    """Records of both topics in partitions, as a broker keeps them."""

    def __init__(self, partitions):
        traffic = Traffic()
        parts = [traffic.until(20 * MINUTE), traffic.until(60 * MINUTE, income=MOVED)]
        parts.append(traffic.until(70 * MINUTE, wrong=0.6))
        self.topics = {}
        random = np.random.default_rng(5)
        for topic in (PREDICTIONS, FEEDBACK):
            batches = [batch for pair in parts for batch in pair if batch.topic == topic]
            values = [v for b in batches for v in b.values]
            times = np.concatenate([b.times for b in batches])
            keys = [int(v.split(b'"r-')[1].split(b'"')[0]) % partitions for v in values]
            for number in range(partitions):
                rows = [i for i, key in enumerate(keys) if key == number]
                if topic == FEEDBACK:
                    rows = late_and_twice(rows, random)
                self.topics[topic, number] = [values[i] for i in rows], times[rows]

    def read(self, at, start, n):
        values, times = self.topics[at]
        rows = slice(start, start + n)
        offsets = np.arange(start, start + len(values[rows]))
        batch = RawBatch(*at, values[rows], offsets, times[rows])
        return batch if len(batch) else None


def late_and_twice(rows, random):
    """Some feedback comes later than others, some comes again."""
    again = [i for i in rows if random.random() < 0.05]
    moved = sorted(rows, key=lambda i: i + (40 if random.random() < 0.2 else 0))
    return [*moved, *again]
