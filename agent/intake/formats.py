"""CSV, JSON lines and Parquet files as chunks of rows, in the order of the file."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from agent.errors import UsageError
from agent.intake.source import RawBatch, TableBatch
from agent.intake.values import UNUSABLE, Unreadable

Chunk = RawBatch | TableBatch
Progress = Callable[[float], None]

CHUNK_ROWS: Final = 50_000
_SAMPLE: Final = 1 << 20
_KINDS: Final = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def read_table(
    path: Path,
    columns: Sequence[str] | None = None,
    chunk: int = CHUNK_ROWS,
    *,
    topic: str = "",
    progress: Progress | None = None,
) -> Iterator[Chunk]:
    """Chunks of at most that many rows: tables from CSV and Parquet, raw records from JSON lines.

    The format is told by the file's name; CSV and JSON lines may be compressed (.gz). Of a table
    only `columns` are read, where they are there. Offsets count the rows. A row of a CSV file that
    does not fit its header has `Unreadable` in every cell. `progress` is given the share of the
    file that is read. What is no such file is a UsageError, here or while it is read.
    """
    kind, packed = _kind(path)
    if kind == "parquet":
        return _read_parquet(path, columns, chunk, topic, progress)
    if kind == "jsonl":
        return _read_jsonl(path, packed, chunk, topic, progress)
    return _read_csv(path, packed, columns, chunk, topic, progress)


def column_names(path: Path) -> tuple[str, ...] | None:
    """The columns of a table; None for JSON lines, which have none."""
    kind, packed = _kind(path)
    if kind == "jsonl":
        return None
    if kind == "parquet":
        with _readable(path):
            return tuple(_leaves(_parquet(path).schema_arrow))
    with _readable(path), _opened(path, packed) as (stream, _):
        return tuple(_header(path, csv.reader(_text(stream))))


def count_rows(path: Path) -> int:
    """About how many rows there are: exact for Parquet, else from the length of the first lines."""
    kind, packed = _kind(path)
    with _readable(path):
        if kind == "parquet":
            return int(_parquet(path).metadata.num_rows)
        with _opened(path, packed) as (stream, raw):
            sample = stream.read(_SAMPLE)
            used = raw.tell() if packed else len(sample)
            lines = sample.count(b"\n")
            if stream.read(1) == b"":
                return max(lines + (not sample.endswith(b"\n")) - (kind == "csv"), 0)
            return max(lines * os.path.getsize(path) // max(used, 1), 1)


def _kind(path: Path) -> tuple[str, bool]:
    name = path.name.lower()
    packed = name.endswith(".gz")
    kind = _KINDS.get(Path(name.removesuffix(".gz")).suffix)
    if kind is None or (packed and kind == "parquet"):
        known = ".csv, .jsonl, .ndjson (also with .gz), .parquet or .pq"
        raise UsageError(f"{path}: the file's name should end in {known}")
    if not path.is_file():
        reason = "is not a file" if path.exists() else "there is no such file"
        raise UsageError(f"{path}: {reason}")
    return kind, packed


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what can go wrong with a file into one line."""
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or _line(error)
        raise UsageError(f"{path}: cannot be read: {reason}") from error


@contextmanager
def _opened(path: Path, packed: bool) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The bytes of a file, uncompressed, and the file as it is."""
    with path.open("rb") as raw:
        stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        if not stream.peek(1):
            raise UsageError(f"{path}: is empty")
        yield stream, raw


def _text(stream: BinaryIO) -> io.TextIOWrapper:
    # One badly encoded cell must not cost the file, so its bytes go through as they are.
    return io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")


def _header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    try:
        header = next((row for row in reader if row), [])
        "".join(header).encode()
    except (csv.Error, UnicodeEncodeError):
        header = ["\0"]
    if not header or any("\0" in name for name in header):
        raise UsageError(f"{path}: is not a CSV file (its first line names no columns)")
    if len(header) == 1 and (other := next((c for c in ";\t|" if c in header[0]), None)):
        raise UsageError(f"{path}: its columns are separated by {other!r}; a comma is expected")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise UsageError(f"{path}: two columns are called {twice!r}; rename one")
    return header


def _read_csv(
    path: Path,
    packed: bool,
    columns: Sequence[str] | None,
    chunk: int,
    topic: str,
    progress: Progress | None,
) -> Iterator[Chunk]:
    with _readable(path), _opened(path, packed) as (stream, raw):
        size = os.path.getsize(path)
        reader = csv.reader(_text(stream))
        header = _header(path, reader)
        wanted = [i for i, name in enumerate(header) if columns is None or name in columns]
        start = 0
        while rows := _take(reader, chunk, len(header)):
            cells = list(zip(*rows, strict=True))
            table: dict[str, list[object]] = {header[i]: list(cells[i]) for i in wanted}
            offsets = np.arange(start, start + len(rows), dtype=np.int64)
            start += len(rows)
            if progress is not None:
                progress(min(raw.tell() / size, 1.0))
            yield TableBatch(topic, 0, table, offsets)


def _take(reader: Iterator[list[str]], count: int, width: int) -> list[list[str]]:
    """The next rows, each of that width; fewer than `count` only at the end. Skips empty lines."""
    rows: list[list[str]] = []
    while len(rows) < count:
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            rows.append([Unreadable(f"({error})")] * width)
            continue
        if len(row) == width:
            rows.append(row)
        elif row:
            rows.append([Unreadable(",".join(row)[:200])] * width)
    return rows


def _read_jsonl(
    path: Path, packed: bool, chunk: int, topic: str, progress: Progress | None
) -> Iterator[Chunk]:
    with _readable(path), _opened(path, packed) as (stream, raw):
        size = os.path.getsize(path)
        start = 0
        lines: list[bytes | None] = []
        for line in stream:
            if not (line := line.strip()):
                continue
            if not start and not lines:
                _check_first(path, line)
            lines.append(line)
            if len(lines) == chunk:
                yield _raw(lines, topic, start)
                start += len(lines)
                lines = []
                if progress is not None:
                    progress(min(raw.tell() / size, 1.0))
        if lines:
            if progress is not None:
                progress(1.0)
            yield _raw(lines, topic, start)


def _check_first(path: Path, line: bytes) -> None:
    if b"\0" in line:
        raise UsageError(f"{path}: is not text; JSON lines are expected")
    if line.startswith(b"["):
        raise UsageError(f"{path}: is a JSON array; one object a line is expected")


def _raw(lines: list[bytes | None], topic: str, start: int) -> RawBatch:
    offsets = np.arange(start, start + len(lines), dtype=np.int64)
    return RawBatch(topic, 0, lines, offsets, np.full(len(lines), -1, dtype=np.int64))


def _parquet(path: Path) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UsageError(
            f"{path}: reading Parquet needs pyarrow: pip install 'tocsin[parquet]'"
        ) from error
    if not path.stat().st_size:
        raise UsageError(f"{path}: is empty")
    try:
        return ParquetFile(path)
    except (ArrowException, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not a Parquet file: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _leaves(schema: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of a schema's columns, structs taken apart."""
    import pyarrow as pa

    for field in schema:
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def _read_parquet(
    path: Path,
    columns: Sequence[str] | None,
    chunk: int,
    topic: str,
    progress: Progress | None,
) -> Iterator[Chunk]:
    with _readable(path):
        file = _parquet(path)
        import pyarrow as pa

        names = [n for n in _leaves(file.schema_arrow) if columns is None or n in columns]
        total, start = max(file.metadata.num_rows, 1), 0
        try:
            for batch in file.iter_batches(batch_size=chunk, columns=names):
                table = pa.Table.from_batches([batch])
                while any(pa.types.is_struct(field.type) for field in table.schema):
                    table = table.flatten()
                values = {n: _cells(table.column(n)) for n in table.column_names}
                offsets = np.arange(start, start + len(table), dtype=np.int64)
                start += len(table)
                if progress is not None:
                    progress(start / total)
                if len(table):
                    yield TableBatch(topic, 0, values, offsets)
        except pa.ArrowException as error:
            raise UsageError(f"{path}: cannot be read: {_line(error)}") from error


def _cells(column: Any) -> list[object]:
    """A column as Python values; times as milliseconds, which is what they are read to anyway.

    A date is text, as in a CSV file.
    """
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        milliseconds = pa.timestamp("ms", column.type.tz)
        column = column.cast(milliseconds, safe=False).cast(pa.int64())
    elif pa.types.is_date(column.type):
        column = column.cast(pa.string())
    try:
        cells: list[object] = column.to_pylist()
    except (ValueError, OverflowError):  # text that is no UTF-8, a span of time beyond Python's
        cells = [_cell(scalar) for scalar in column]
    return cells


def _cell(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return UNUSABLE
