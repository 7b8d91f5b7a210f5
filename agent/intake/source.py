"""What every source of records hands over: raw batches, never an object a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TopicPartition = tuple[str, int]
Headers = Sequence[tuple[str, bytes | None]]
Places = Sequence[int | None]  # offsets to read on at; None is where the group was


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Undecoded records of one partition, in the order of their offsets.

    `times` are the record's own timestamps (milliseconds since the epoch, -1 where unknown), used
    where a payload carries none. A value of None is a tombstone. `keys` and `headers` are empty
    where the source was not asked to keep them.
    """

    topic: str
    partition: int
    values: list[bytes | None]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64]
    keys: Sequence[bytes | None] = ()
    headers: Sequence[Headers] = ()

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Sequence[int]) -> "RawBatch":
        """The records at these positions."""
        return replace(
            self,
            values=[self.values[i] for i in rows],
            offsets=self.offsets[rows],
            times=self.times[rows],
            keys=[self.keys[i] for i in rows] if self.keys else (),
            headers=[self.headers[i] for i in rows] if self.headers else (),
        )


@dataclass(frozen=True, slots=True)
class TableBatch:
    """Rows of a table (CSV, Parquet), as columns of Python values; None is an empty cell."""

    topic: str
    partition: int
    columns: Mapping[str, list[object]]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    def take(self, rows: Sequence[int]) -> "TableBatch":
        """The rows at these positions."""
        columns = {name: [cells[i] for i in rows] for name, cells in self.columns.items()}
        return replace(self, columns=columns, offsets=self.offsets[rows])


class Source(Protocol):
    """A stream of batches from assigned partitions."""

    def poll(self, timeout: float) -> list[RawBatch | TableBatch]:
        """Batches that came within `timeout` seconds; empty where none did. Never blocks longer."""

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions this source reads now. Empty until a group has handed them out."""

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records between the position and the end, for each assigned partition (-1: unknown)."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Remember these as the next offsets to read. Only what was processed is ever committed.

        Whether it was done, and the group still knows this reader.
        """

    def close(self) -> None:
        """Leave the group and free everything; safe to call twice."""
