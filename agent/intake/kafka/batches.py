"""Three things in which kafka-python would stop the reading of a partition for good.

Other clients may write headers whose names are no UTF-8: kafka-python takes the record for corrupt.
Of a batch that is corrupt it tells once; a later poll then turns in a circle without end. And what
it has fetched of a partition that is then paused it sets aside, and does not take up again after
the partition is resumed while, or once, others have been read.
"""

from collections.abc import Iterable
from typing import Any, SupportsIndex

from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch


class _AnyNames(bytearray):
    """Bytes in which every text can be read, if need be with escapes."""

    def __getitem__(self, place: SupportsIndex | slice) -> Any:
        part = super().__getitem__(place)
        return _AnyNames(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "") -> str:
        return super().decode(encoding, "backslashreplace")


_read_strictly = DefaultRecordBatch._read_msg


def _read(batch: Any) -> Any:
    """kafka-python's own, and once more with patience where a name is no text."""
    try:
        return _read_strictly(batch)
    except UnicodeDecodeError:
        # The position moves on only where a record has been read.
        batch._buffer = _AnyNames(batch._buffer)
        return _read_strictly(batch)


DefaultRecordBatch._read_msg = _read


_take_strictly = Fetcher.PartitionRecords.take


def _take(part: Any, n: int | None = None) -> Any:
    """kafka-python's own; what cannot be read is dropped, and asked for again by a later poll."""
    try:
        return _take_strictly(part, n)
    except Exception:
        part.drain()
        raise


Fetcher.PartitionRecords.take = _take


def take_up(fetcher: Any) -> None:
    """Hand over next what was set aside of a partition that is not paused any more, each in turn.

    kafka-python itself waits until there is nothing else in hand, which a partition that has been
    read to the end of what was fetched still is.
    """
    aside = fetcher._paused_partition_records
    is_paused = fetcher._subscriptions.is_paused
    turn = next((partition for partition in aside if not is_paused(partition)), None)
    if turn is not None:
        part, current = aside.pop(turn), fetcher._next_partition_records
        if current:
            aside[current.topic_partition] = current
        fetcher._next_partition_records = part


def drop(fetcher: Any, partitions: Iterable[Any]) -> None:
    """Drop what was set aside of these partitions: the next poll asks for it again."""
    for partition in partitions:
        part = fetcher._paused_partition_records.pop(partition, None)
        if part is not None:
            part.drain()
