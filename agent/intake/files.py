"""Recorded predictions and feedback as a source, as if they came from two topics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.intake.decode import Reader
from agent.intake.fields import Fields, Slot
from agent.intake.formats import CHUNK_ROWS, Chunk, Progress, column_names, count_rows, read_table
from agent.intake.source import RawBatch, TableBatch, TopicPartition
from agent.intake.times import ABSENT, parse_times
from agent.intake.values import Unreadable, hash_ids, missing

__all__ = ["FileSource", "column_names", "count_rows", "read_table"]

_UNREAD: Final = -1  # the frontier of a stream before its first row: before every time


@dataclass(frozen=True, slots=True)
class _Keys:
    """What deals rows of a chunk out: (n,) each for its readable rows."""

    index: NDArray[np.intp]  # positions in the chunk
    hash: NDArray[np.uint64]
    identified: NDArray[np.bool_]  # whether the row has a usable id
    time: NDArray[np.int64]  # negative where there is none
    ids: list[object]
    times: list[object]
    labels: list[object]
    unreadable: list[str]  # excerpts of the rows that are not


class _KeyReader:
    """Reads ids, times and labels of chunks."""

    def __init__(self, id_path: str, time_path: str, label_path: str) -> None:
        self.columns = (id_path, time_path, label_path)
        self._reader = Reader([Slot.at(path) for path in self.columns])

    def read(self, chunk: Chunk) -> _Keys:
        picked = self._reader.read(chunk)
        ids, times, labels = (list(column) for column in picked.scalars)
        hashes, absent, bad = hash_ids(ids)
        excerpts = [rejection.excerpt for rejection in picked.rejected]
        usable = ~absent & ~bad
        time = parse_times(times)
        return _Keys(picked.index, hashes, usable, time, ids, times, labels, excerpts)


class _Stream:
    """One topic: chunks of a file dealt out to partitions, and how far they have come in time."""

    def __init__(
        self, topic: str, chunks: Iterator[Chunk], keys: _KeyReader, partitions: int
    ) -> None:
        self.topic = topic
        self.frontier = _UNREAD
        self.ended = False
        self._chunks, self._keys, self._partitions = chunks, keys, partitions

    def read(self) -> list[Chunk]:
        """The next chunk's rows by partition; none at the end."""
        chunk = next(self._chunks, None)
        if chunk is None:
            self.ended = True
            return []
        keys = self._keys.read(chunk)
        if len(keys.time):
            self.frontier = max(self.frontier, int(keys.time.max()))
        if self._partitions == 1:
            return [replace(chunk, topic=self.topic)]
        # Rows without an id are refused later; it does not matter where.
        home = np.zeros(len(chunk), dtype=np.int64)
        home[keys.index] = (keys.hash % np.uint64(self._partitions)).astype(np.int64)
        return [
            _part(chunk, self.topic, partition, np.flatnonzero(home == partition))
            for partition in np.unique(home).tolist()
        ]


class FileSource:
    """A prediction file and its feedback, read in step by event time.

    Both are dealt out to partitions by the hash of the id, so that they are co-partitioned. Where
    the predictions carry the label and there is no feedback file, feedback is made of the same
    rows. Feedback without a time arrives `label_delay_ms` after its prediction (or, without a
    prediction, with the last one) and is sorted by time; only then is it held in memory at once.
    A UsageError tells of a file that cannot be read.
    """

    def __init__(
        self,
        predictions: Path,
        feedback: Path | None,
        fields: Fields,
        *,
        prediction_topic: str = "predictions",
        feedback_topic: str = "feedback",
        label_delay_ms: int = 0,
        partitions: int = 1,
        batch_rows: int = CHUNK_ROWS,
        progress: Progress | None = None,
    ) -> None:
        self._predictions, self._fields = predictions, fields
        self._delay, self._rows = label_delay_ms, batch_rows
        self._topics = (prediction_topic, feedback_topic)
        self._partitions = partitions
        self._keys = _KeyReader(fields.id, fields.time, fields.label)
        feedback_keys = _KeyReader(fields.feedback_id, fields.feedback_time, fields.label)
        chunks = read_table(predictions, None, batch_rows, progress=progress)
        self._streams = [_Stream(prediction_topic, chunks, self._keys, partitions)]
        outcomes = (
            self._own_feedback() if feedback is None else self._feedback(feedback, feedback_keys)
        )
        if outcomes is not None:
            self._streams.append(_Stream(feedback_topic, outcomes, feedback_keys, partitions))

    @property
    def exhausted(self) -> bool:
        """Whether everything was handed over."""
        return all(stream.ended for stream in self._streams)

    def poll(self, timeout: float) -> list[RawBatch | TableBatch]:
        """The next rows of the topic that is behind in event time; empty only at the end."""
        while left := [stream for stream in self._streams if not stream.ended]:
            if batches := min(left, key=lambda stream: stream.frontier).read():
                return batches
        return []

    def assignment(self) -> frozenset[TopicPartition]:
        """All partitions of both topics."""
        return frozenset((t, p) for t in self._topics for p in range(self._partitions))

    def lag(self) -> Mapping[TopicPartition, int]:
        """0 for a topic that was read to its end, else unknown (-1)."""
        reading = {stream.topic for stream in self._streams if not stream.ended}
        return {(t, p): -1 if t in reading else 0 for t, p in self.assignment()}

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Do nothing: a file is always read from its start."""
        return True

    def close(self) -> None:
        """Stop reading."""
        for stream in self._streams:
            stream.ended = True

    def _feedback(self, path: Path, keys: _KeyReader) -> Iterator[Chunk]:
        """The chunks of a feedback file, with times where it has none."""
        if all((keys.read(c).time != ABSENT).all() for c in self._scan(path, keys)):
            return read_table(path, None, self._rows)
        return self._timed([keys.read(chunk) for chunk in self._scan(path, keys)])

    def _own_feedback(self) -> Iterator[Chunk] | None:
        """Feedback from the labels of the prediction file; None if it has none."""
        fields, path = self._fields, self._predictions
        if fields.feedback_time != fields.time and self._has(path, fields.feedback_time):
            keys = _KeyReader(fields.id, fields.feedback_time, fields.label)
            return self._timed([_labelled(keys.read(c)) for c in self._scan(path, keys)])
        return self._delayed() if self._has(path, fields.label) else None

    def _has(self, path: Path, member: str) -> bool:
        names = column_names(path)
        if names is not None:
            return member in names
        keys = _KeyReader(self._fields.id, self._fields.time, member)
        first = next(self._scan(path, keys), None)
        return first is not None and not all(map(missing, keys.read(first).labels))

    def _scan(self, path: Path, keys: _KeyReader) -> Iterator[Chunk]:
        return read_table(path, keys.columns, self._rows)

    def _delayed(self) -> Iterator[Chunk]:
        """Feedback of the predictions' own rows, in their order, each later by the delay."""
        start = 0
        for chunk in self._scan(self._predictions, self._keys):
            # Rows that are no usable prediction were refused as such already.
            keys = _labelled(self._keys.read(chunk))
            rows = np.flatnonzero(keys.identified & (keys.time >= 0)).tolist()
            times: list[object] = (keys.time[rows] + self._delay).tolist()
            if rows:
                ids, labels = [keys.ids[i] for i in rows], [keys.labels[i] for i in rows]
                yield self._outcomes(ids, times, labels, start)
                start += len(rows)

    def _timed(self, parts: list[_Keys]) -> Iterator[Chunk]:
        """Feedback in the order of time, where it has none that of its prediction and the delay."""
        if not parts:
            return
        ids = [value for part in parts for value in part.ids]
        times = [value for part in parts for value in part.times]
        labels = [value for part in parts for value in part.labels]
        time = np.concatenate([part.time for part in parts])
        late = np.flatnonzero(time == ABSENT)
        time[late] = self._arrival(np.concatenate([part.hash for part in parts])[late])
        for row in late[time[late] >= 0].tolist():
            times[row] = int(time[row])
        order = np.argsort(time, kind="stable").tolist()
        spoilt: list[object] = [Unreadable(text) for part in parts for text in part.unreadable]
        # Every cell of a spoilt row is spoilt, whatever the column.
        ids, times, labels = (spoilt + [c[i] for i in order] for c in (ids, times, labels))
        for start in range(0, len(ids), self._rows):
            cut = slice(start, start + self._rows)
            yield self._outcomes(ids[cut], times[cut], labels[cut], start)

    def _arrival(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """When feedback with these ids comes: its prediction's time and the delay."""
        known = [
            (keys.hash[good], keys.time[good])
            for chunk in self._scan(self._predictions, self._keys)
            for keys in (self._keys.read(chunk),)
            for good in (keys.identified & (keys.time >= 0),)
        ]
        ids = np.concatenate([hash_ for hash_, _ in known]) if known else np.empty(0, np.uint64)
        if not len(ids):
            return np.full(len(hashes), ABSENT, dtype=np.int64)
        times = np.concatenate([time for _, time in known])
        # Stable, so that the first of several predictions with one id is the one that counts.
        order = np.argsort(ids, kind="stable")
        place = np.minimum(np.searchsorted(ids[order], hashes), len(ids) - 1)
        found = order[place]
        return np.where(ids[found] == hashes, times[found] + self._delay, times.max())

    def _outcomes(
        self, ids: list[object], times: list[object], labels: list[object], start: int
    ) -> TableBatch:
        fields = self._fields
        columns = {fields.feedback_id: ids, fields.feedback_time: times, fields.label: labels}
        offsets = np.arange(start, start + len(ids), dtype=np.int64)
        return TableBatch(self._topics[1], 0, columns, offsets)


def _labelled(keys: _Keys) -> _Keys:
    """The rows that have a label; of the same rows' predictions all others are refused anyway."""
    rows = [i for i, label in enumerate(keys.labels) if not missing(label)]
    return _Keys(
        keys.index[rows],
        keys.hash[rows],
        keys.identified[rows],
        keys.time[rows],
        [keys.ids[i] for i in rows],
        [keys.times[i] for i in rows],
        [keys.labels[i] for i in rows],
        [],
    )


def _part(chunk: Chunk, topic: str, partition: int, rows: NDArray[np.intp]) -> Chunk:
    """Some rows of a chunk as a partition's batch."""
    places = rows.tolist()
    if isinstance(chunk, RawBatch):
        values = [chunk.values[i] for i in places]
        return RawBatch(topic, partition, values, chunk.offsets[rows], chunk.times[rows])
    columns = {name: [column[i] for i in places] for name, column in chunk.columns.items()}
    return TableBatch(topic, partition, columns, chunk.offsets[rows])
