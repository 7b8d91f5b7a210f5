"""Simulated traffic: a credit model whose world changes by a script.

It feeds the demo, tests and benchmarks. Randomness and time come from outside, so the same seed and
times give the same records.
"""

import time as wall
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.intake.source import Places, RawBatch, TableBatch, TopicPartition

REGIONS = ("north", "south", "east", "west")
CHANNELS = ("web", "branch", "partner")
MODEL_VERSION = "3"
BAD_SHARE = 0.001  # records that are not JSON, as real topics have them
MISSING_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Script:
    """When the world changes, in milliseconds after the start; None: never.

    `drift`: incomes rise by `shift` standard deviations (an inflation, say). `decay`: a share of
    the outcomes turns out the other way than the model was made for.
    """

    drift: int | None = None
    decay: int | None = None
    shift: float = 0.8
    flipped: float = 0.25


@dataclass(frozen=True, slots=True)
class Record:
    """An encoded record, its key, and its event time in milliseconds."""

    key: bytes
    value: bytes
    time: int


class CreditTraffic:
    """Predictions of a credit model at a constant rate, and the outcomes that follow them.

    Parameters
    ----------
    rng
        Source of randomness.
    start
        Event time of the first prediction, milliseconds since the epoch.
    per_second
        Predictions a second.
    script
        When the world changes.
    delay
        Mean time until an outcome is known, milliseconds; exponentially distributed.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        start: int,
        per_second: float,
        script: Script | None = None,
        delay: float = 2000.0,
    ) -> None:
        self._rng, self._start, self._delay = rng, start, delay
        self._gap = 1000.0 / per_second
        self._script = script or Script()
        self._made = 0
        self._due: list[tuple[int, str, int]] = []  # time, id, label

    def until(self, time: int) -> tuple[list[Record], list[Record]]:
        """Predictions and feedback that came to be since the last call and before `time`."""
        n = int((time - self._start) / self._gap) - self._made
        predictions = self._predictions(n) if n > 0 else []
        due = sorted(d for d in self._due if d[0] < time)
        self._due = [d for d in self._due if d[0] >= time]
        return predictions, [_feedback(*d) for d in due]

    def _predictions(self, n: int) -> list[Record]:
        rng, first = self._rng, self._made
        self._made += n
        number = np.arange(first, first + n)
        times = (self._start + number * self._gap).astype(np.int64)
        since = times - self._start
        drifted = since >= self._script.drift if self._script.drift is not None else since < 0
        decayed = since >= self._script.decay if self._script.decay is not None else since < 0
        z = rng.normal(size=(n, 4))
        z[:, 0] += self._script.shift * drifted
        columns: dict[str, NDArray[np.floating[Any]]] = {
            "income": np.round(np.exp(10.4 + 0.4 * z[:, 0]), -1),
            "debt_ratio": np.round(1 / (1 + np.exp(-(z[:, 1] - 0.8))), 3),
            "age": np.clip(np.round(42 + 12 * z[:, 2]), 18, 90),
            "amount": np.round(np.exp(9 + 0.6 * z[:, 3]), -2),
            "years_employed": np.round(rng.exponential(6, n), 1),
            "open_accounts": rng.poisson(3, n).astype(float),
        }
        region = rng.choice(REGIONS, size=n, p=[0.4, 0.3, 0.2, 0.1])
        channel = rng.choice(CHANNELS, size=n, p=[0.6, 0.3, 0.1])
        logit = 1.2 * z[:, 0] - 1.1 * z[:, 1] + 0.3 * z[:, 2] - 0.5 * z[:, 3] + 1.5
        score = np.round(1 / (1 + np.exp(-1.6 * logit)), 3)
        repaid = rng.random(n) < score
        repaid ^= decayed & (rng.random(n) < self._script.flipped)
        delay = rng.exponential(self._delay, n).astype(np.int64)
        missing = rng.random(n) < MISSING_SHARE
        bad = rng.random(n) < BAD_SHARE
        latency = np.round(rng.gamma(4, 3, n), 1)
        records = []
        for i in range(n):
            key = f"loan-{first + i}"
            features: dict[str, object] = {name: float(c[i]) for name, c in columns.items()}
            if missing[i]:
                features["years_employed"] = None
            features |= {"region": str(region[i]), "channel": str(channel[i])}
            body = {
                "id": key,
                "timestamp": int(times[i]),
                "version": MODEL_VERSION,
                "features": features,
                "prediction": int(score[i] >= 0.5),
                "score": float(score[i]),
                "latency_ms": float(latency[i]),
            }
            value = b"{half a record" if bad[i] else msgspec.json.encode(body)
            records.append(Record(key.encode(), value, int(times[i])))
            if not bad[i]:
                self._due.append((int(times[i] + delay[i]), key, int(repaid[i])))
        return records


def _feedback(time: int, key: str, label: int) -> Record:
    body = {"id": key, "timestamp": time, "label": label}
    return Record(key.encode(), msgspec.json.encode(body), time)


class SimulatedSource:
    """Simulated traffic as a source of one partition, in step with a clock.

    Parameters
    ----------
    traffic
        What to play.
    predictions, feedback
        Topic names.
    clock
        Seconds since the epoch.
    sleep
        Waits that many seconds.
    """

    def __init__(
        self,
        traffic: CreditTraffic,
        predictions: str,
        feedback: str,
        clock: Callable[[], float] = wall.time,
        sleep: Callable[[float], None] = wall.sleep,
    ) -> None:
        self._traffic, self._topics = traffic, (predictions, feedback)
        self._clock, self._sleep = clock, sleep
        self._offsets = {predictions: 0, feedback: 0}
        self.problem = ""
        self.missed: dict[str, int] = {}

    def poll(self, timeout: float) -> list[RawBatch | TableBatch]:
        """What came to be by now; waits a little first."""
        self._sleep(min(timeout, 0.2))
        parts = self._traffic.until(int(self._clock() * 1000))
        return [
            raw_batch(topic, 0, records, self._advance(topic, len(records)))
            for topic, records in zip(self._topics, parts, strict=True)
            if records
        ]

    def _advance(self, topic: str, n: int) -> int:
        first = self._offsets[topic]
        self._offsets[topic] += n
        return first

    def assignment(self) -> frozenset[TopicPartition]:
        """One partition of each topic."""
        return frozenset((topic, 0) for topic in self._topics)

    @property
    def has_joined(self) -> bool:
        """There is no group."""
        return True

    def partitions_of(self, topic: str) -> int:
        """One."""
        return 1

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Nothing runs ahead."""

    has_caught_up = True

    def waiting(self) -> frozenset[TopicPartition]:
        """None: it is read from its beginning."""
        return frozenset()

    def place(self, places: Mapping[TopicPartition, Places]) -> bool:
        """Nowhere to go back to."""
        return True

    def lag(self) -> Mapping[TopicPartition, int]:
        """Never behind."""
        return {(topic, 0): 0 for topic in self._topics}

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Nothing to remember."""
        return True

    def close(self) -> None:
        """Nothing to free."""


def raw_batch(topic: str, partition: int, records: list[Record], first: int) -> RawBatch:
    """Records as a source hands them over, the first one at offset `first`."""
    times: NDArray[np.int64] = np.array([r.time for r in records], dtype=np.int64)
    offsets = np.arange(first, first + len(records), dtype=np.int64)
    return RawBatch(topic, partition, [r.value for r in records], offsets, times)
