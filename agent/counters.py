"""Counts of what was read, by what became of it. They run ahead of the panes."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.intake.columns import Decoded
from agent.intake.source import RawBatch, TableBatch
from agent.intake.vocabulary import Vocabulary
from agent.publish.snapshot import Rejected
from detectors.batch import Batch, Feedback

Ints = NDArray[np.int64]
Key = TypeVar("Key", str, tuple[str, str])

LATENCY_BOUNDS = np.array([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
REJECTED_KEPT = 50
RECENT_BATCHES = 50  # of predictions, over which it is told whether most can be used


@dataclass(frozen=True, slots=True)
class CountersState:
    """What outlives a restart: not what is shown of the last few records."""

    predictions: dict[str, int]
    feedback: int
    rejected: dict[tuple[str, str], int]
    late: dict[str, int]
    latency: dict[str, Ints]
    latency_sum: dict[str, int]


@dataclass(slots=True)
class Counters:
    """What has been read, by outcome. They run ahead of the panes."""

    predictions: Counter[str] = field(default_factory=Counter)  # version
    feedback: int = 0
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)  # topic, reason
    late: Counter[str] = field(default_factory=Counter)  # topic
    latency: dict[str, Ints] = field(default_factory=dict)  # version: (bounds + 1,)
    latency_sum: Counter[str] = field(default_factory=Counter)  # version: microseconds
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RECENT_BATCHES))
    recent_rejected: deque[Rejected] = field(default_factory=lambda: deque(maxlen=REJECTED_KEPT))
    samples: bool = True  # whether the beginnings of rejected records may be shown

    def reject(
        self, batch: RawBatch | TableBatch, decoded: Decoded[Batch] | Decoded[Feedback]
    ) -> None:
        """Count rejected records and keep the last few."""
        for rejection in decoded.rejected:
            self.rejected[batch.topic, rejection.reason] += 1
        for rejection in decoded.rejected[-REJECTED_KEPT:]:
            offset = int(batch.offsets[rejection.index])
            excerpt = rejection.excerpt if self.samples else ""
            self.recent_rejected.append(
                Rejected(batch.topic, batch.partition, offset, rejection.reason, excerpt)
            )

    def count(
        self, version: NDArray[np.int32], latency: NDArray[np.float64], names: Vocabulary
    ) -> None:
        """Count predictions of these versions, and their latencies (seconds, NaN: unknown)."""
        known = ~np.isnan(latency)
        bucket = np.searchsorted(LATENCY_BOUNDS, latency, side="left")
        for code in np.flatnonzero(np.bincount(version)).tolist():
            of, name = version == code, names.name(code)
            self.predictions[name] += int(of.sum())
            timed = of & known
            if timed.any():
                counts = np.bincount(bucket[timed], minlength=len(LATENCY_BOUNDS) + 1)
                self.latency[name] = self.latency.get(name, 0) + counts
                # Whole microseconds add up to the same whatever their order.
                self.latency_sum[name] += int(np.rint(latency[timed] * 1e6).sum())

    def capture(self) -> CountersState:
        """What to remember."""
        return CountersState(
            _known(self.predictions),
            self.feedback,
            _known(self.rejected),
            dict(sorted(self.late.items())),
            dict(sorted(self.latency.items())),
            _known(self.latency_sum),
        )

    def restore(self, state: CountersState) -> None:
        """Go on from what `capture` returned."""
        for name in ("predictions", "rejected", "late", "latency_sum"):
            setattr(self, name, Counter(getattr(state, name)))
        self.feedback, self.latency = state.feedback, dict(state.latency)

    def add(self, other: "Counters") -> None:
        """Add those of another partition."""
        for name in ("predictions", "rejected", "late", "latency_sum"):
            getattr(self, name).update(getattr(other, name))
        self.feedback += other.feedback
        for version, counts in other.latency.items():
            self.latency[version] = self.latency.get(version, 0) + counts


def _known(counts: Counter[Key]) -> dict[Key, int]:
    return {key: n for key, n in sorted(counts.items()) if n}


PANE_SECONDS_BOUNDS = np.array([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0])


class PaneSeconds:
    """How long it took to judge panes, as a histogram."""

    def __init__(self) -> None:
        self.counts = np.zeros(len(PANE_SECONDS_BOUNDS) + 1, dtype=np.int64)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one time that panes were judged."""
        self.counts[np.searchsorted(PANE_SECONDS_BOUNDS, seconds)] += 1
        self.sum += seconds
