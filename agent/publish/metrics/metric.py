"""What a metric is, and ways to read its series from a snapshot."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from agent.publish.snapshot import Histogram, ModelStatus, Snapshot

Labels = tuple[str, ...]
Series = Iterator[tuple[Labels, float | Histogram]]
Read = Callable[[Snapshot, float], Series]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. `read(snapshot, now)` yields its series: label values in the order of `labels`."""

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    unit: str
    labels: Labels
    help: str
    read: Read


def keyed(pick: Callable[[ModelStatus], Mapping[Labels, float | Histogram]]) -> Read:
    """Series of a mapping that each model has; the model's name comes before the mapping's key."""

    def read(snapshot: Snapshot, now: float) -> Series:
        for name, status in snapshot.models.items():
            for key, value in pick(status).items():
                yield (name, *key), value

    return read


def single(pick: Callable[[ModelStatus], float | Histogram | None]) -> Read:
    """One series a model, none where there is nothing to say."""

    def read(snapshot: Snapshot, now: float) -> Series:
        for name, status in snapshot.models.items():
            value = pick(status)
            if value is not None:
                yield (name,), value

    return read


def only(pick: Callable[[Snapshot], float]) -> Read:
    """One series without labels."""

    def read(snapshot: Snapshot, now: float) -> Series:
        yield (), float(pick(snapshot))

    return read


def once_restored(read: Read) -> Read:
    """No series while models have yet to be restored from checkpoints.

    A counter that showed 0 until then would jump, and Prometheus take all it ever counted for new.
    """

    def read_if_restored(snapshot: Snapshot, now: float) -> Series:
        if snapshot.is_restored:
            yield from read(snapshot, now)

    return read_if_restored
