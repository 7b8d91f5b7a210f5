"""Counts of what was read, by what became of it. They run ahead of the panes."""

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.intake.columns import Decoded
from agent.intake.source import RawBatch, TableBatch
from agent.intake.vocabulary import Vocabulary
from agent.publish.snapshot import Rejected
from detectors.batch import Batch, Feedback

Ints = NDArray[np.int64]

LATENCY_BOUNDS = np.array([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
PANE_SECONDS_BOUNDS = np.array([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0])
REJECTED_KEPT = 50
RECENT_BATCHES = 50  # of predictions, over which it is told whether most can be used


@dataclass(slots=True)
class Counters:
    """What has been read, by outcome. They run ahead of the panes."""

    predictions: Counter[int] = field(default_factory=Counter)  # version code
    feedback: int = 0
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)  # topic, reason
    late: Counter[str] = field(default_factory=Counter)  # topic
    alarms: Counter[tuple[str, str]] = field(default_factory=Counter)  # kind, severity
    latency: Ints = field(init=False)  # (versions, bounds + 1)
    latency_sum: NDArray[np.float64] = field(init=False)
    pane_seconds: Ints = field(init=False)
    pane_seconds_sum: float = 0.0
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RECENT_BATCHES))
    recent_rejected: deque[Rejected] = field(default_factory=lambda: deque(maxlen=REJECTED_KEPT))

    def __post_init__(self) -> None:
        self.latency = np.zeros((Vocabulary().limit + 1, len(LATENCY_BOUNDS) + 1), dtype=np.int64)
        self.latency_sum = np.zeros(len(self.latency))
        self.pane_seconds = np.zeros(len(PANE_SECONDS_BOUNDS) + 1, dtype=np.int64)

    def reject(
        self, batch: RawBatch | TableBatch, decoded: Decoded[Batch] | Decoded[Feedback]
    ) -> None:
        """Count rejected records and keep the last few."""
        for rejection in decoded.rejected:
            self.rejected[batch.topic, rejection.reason] += 1
        for rejection in decoded.rejected[-REJECTED_KEPT:]:
            offset = int(batch.offsets[rejection.index])
            self.recent_rejected.append(
                Rejected(batch.topic, batch.partition, offset, rejection.reason, rejection.excerpt)
            )

    def observe_latency(self, version: NDArray[np.int32], latency: NDArray[np.float64]) -> None:
        """Count latencies (seconds, NaN where unknown) by version."""
        known = ~np.isnan(latency)
        if known.any():
            bucket = np.searchsorted(LATENCY_BOUNDS, latency[known], side="left")
            np.add.at(self.latency, (version[known], bucket), 1)
            np.add.at(self.latency_sum, version[known], latency[known])

    def observe_pane(self, seconds: float) -> None:
        """Count the time that closing panes took."""
        self.pane_seconds[np.searchsorted(PANE_SECONDS_BOUNDS, seconds)] += 1
        self.pane_seconds_sum += seconds
