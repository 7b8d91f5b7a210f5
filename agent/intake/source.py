"""What every source of records hands over: raw batches, never an object a record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Undecoded records of one partition, in the order of their offsets.

    `times` are the record's own timestamps (milliseconds since the epoch, -1 where unknown), used
    where a payload carries none. A value of None is a tombstone.
    """

    topic: str
    partition: int
    values: list[bytes | None]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class TableBatch:
    """Rows of a table (CSV, Parquet), as columns of Python values; None is an empty cell."""

    topic: str
    partition: int
    columns: Mapping[str, list[object]]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)


class Source(Protocol):
    """A stream of batches from assigned partitions."""

    def poll(self, timeout: float) -> list[RawBatch | TableBatch]:
        """Batches that came within `timeout` seconds; empty where none did. Never blocks longer."""

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions this source reads now. Empty until a group has handed them out."""

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the position and the end, for each assigned partition (-1: unknown)."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Remember these as the next offsets to read. Only what was processed is ever committed."""

    def close(self) -> None:
        """Leave the group and free everything; safe to call twice."""
