import csv
import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import UsageError
from agent.intake.decode import FeedbackDecoder, PredictionDecoder
from agent.intake.fields import DefaultFields
from agent.intake.files import FileSource, column_names, count_rows, read_table
from agent.intake.source import RawBatch, TableBatch
from agent.intake.table import as_numbers, from_records, read_reference
from agent.intake.values import hash_id
from agent.intake.vocabulary import Vocabulary
from detectors.batch import CategoricalFeature, NumericFeature, Schema

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NOON = 1_714_996_800_000
SCHEMA = Schema(
    "binary", (NumericFeature("age"),), (CategoricalFeature("region", ("n", "s")),), ("0", "1")
)
HEADER = ["id", "timestamp", "age", "region", "prediction", "score"]


def rows(n: int, step: int = 1000) -> list[list[object]]:
    return [
        [f"r{i}", NOON + i * step, 20 + i, "ns"[i % 2], i % 2, 0.25 + 0.5 * (i % 2)]
        for i in range(n)
    ]


def write_csv(path: Path, header: Sequence[str], data: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *data])
    return path


def write_jsonl(path: Path, header: Sequence[str], data: Iterable[Sequence[object]]) -> Path:
    lines = []
    for row in data:
        record = dict(zip(header, row, strict=True))
        features = {k: record.pop(k) for k in ("age", "region") if k in record}
        lines.append(json.dumps(record | ({"features": features} if features else {})))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_parquet(path: Path, header: Sequence[str], data: Iterable[Sequence[object]]) -> Path:
    columns = list(zip(*data, strict=True))
    pq.write_table(pa.table(dict(zip(header, map(list, columns), strict=True))), path)
    return path


Writer = Callable[[Path, Sequence[str], Iterable[Sequence[object]]], Path]
WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}


def source(
    predictions: Path, feedback: Path | None = None, *, delay: int = 0, **options: int
) -> FileSource:
    return FileSource(predictions, feedback, DefaultFields(), label_delay_ms=delay, **options)


class Everything:
    """All that a source hands over, decoded."""

    def __init__(self, files: FileSource) -> None:
        self.batches: list[RawBatch | TableBatch] = []
        while not files.exhausted:
            self.batches += files.poll(0.0)
        decode = PredictionDecoder(SCHEMA, DefaultFields(), Vocabulary()).decode
        learn = FeedbackDecoder(SCHEMA, DefaultFields()).decode
        self.predictions = [decode(b) for b in self.batches if b.topic == "predictions"]
        self.feedback = [learn(b) for b in self.batches if b.topic == "feedback"]

    def outcomes(self) -> list[tuple[int, int, float]]:
        return [
            (int(i), int(t) - NOON, float(label))
            for decoded in self.feedback
            for i, t, label in zip(
                decoded.rows.id, decoded.rows.time, decoded.rows.label, strict=True
            )
        ]


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_every_format_decodes_to_the_same(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / f"p.{kind}", HEADER, rows(7))
    found = Everything(source(path, batch_rows=3))
    assert [len(b) for b in found.batches] == [3, 3, 1]
    assert np.concatenate([b.offsets for b in found.batches]).tolist() == list(range(7))
    decoded = [d.rows for d in found.predictions]
    assert np.concatenate([d.numeric for d in decoded]).ravel().tolist() == list(range(20, 27))
    assert np.concatenate([d.category for d in decoded]).ravel().tolist() == [0, 1] * 3 + [0]
    assert np.concatenate([d.time for d in decoded]).tolist() == [r[1] for r in rows(7)]
    assert not any(d.rejected for d in found.predictions)
    assert count_rows(path) == 7


def test_compressed_files(tmp_path: Path) -> None:
    for kind in ("csv", "jsonl"):
        plain = WRITERS[kind](tmp_path / f"p.{kind}", HEADER, rows(5))
        packed = tmp_path / f"p.{kind}.gz"
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        assert sum(map(len, read_table(packed))) == 5
        packed.write_bytes(packed.read_bytes()[:-12])
        with pytest.raises(UsageError, match=r"p\..*gz: cannot be read"):
            list(read_table(packed))


def test_a_csv_file_is_read_leniently(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    good = b"r%d,2024-05-06T12:00:00Z,30,n,1,0.5\n"
    lines = [b"\xef\xbb\xbf" + ",".join(HEADER).encode() + b"\r\n", good % 0, b"\n", b"r1,too\n"]
    lines += [b"r2,2024-05-06T12:00:00Z,30,n,1,0.5,9\n", good.replace(b"n", b"\xff") % 3]
    lines += [b'"' + b"x" * 200_000 + b'",1,1,1,1,1\n', good % 5]
    path.write_bytes(b"".join(lines))
    found = Everything(source(path))
    (decoded,) = found.predictions
    assert [(r.index, r.reason) for r in decoded.rejected] == [
        (1, "undecodable"),
        (2, "undecodable"),
        (4, "undecodable"),
    ]
    assert decoded.rejected[0].excerpt == "r1,too"
    assert decoded.rows.category.ravel().tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"x", "name should end in"),
        ("p.parquet.gz", b"x", "name should end in"),
        ("p.csv", b"", "is empty"),
        ("p.jsonl", b"", "is empty"),
        ("p.parquet", b"", "is empty"),
        ("p.parquet", b"junk", "is not a Parquet file"),
        ("p.csv", b"\x89PNG\r\n\x00\x01", "is not a CSV file"),
        ("p.csv", b"\n\n", "is not a CSV file"),
        ("p.csv", b"a;b\n1;2\n", "separated by ';'"),
        ("p.csv", b"a,a\n1,2\n", "two columns are called 'a'"),
        ("p.jsonl", b"\x00\x01\n", "is not text"),
        ("p.jsonl", b"[{}]", "is a JSON array"),
        ("p.csv.gz", b"a,b\n", "cannot be read"),
        ("none.csv", None, "there is no such file"),
    ],
)
def test_what_is_no_table_is_told_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        list(read_table(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        source(path).poll(0.0)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.sampled_from(["csv", "jsonl", "parquet", "csv.gz"]))
def test_junk_is_a_usage_error_or_rejected_rows(tmp_path: Path, junk: bytes, kind: str) -> None:
    path = tmp_path / f"junk.{kind}"
    path.write_bytes(b"id,label\n" + junk if kind == "csv" else junk)
    try:
        found = Everything(source(path))
        count_rows(path)
    except UsageError:
        return
    for batch, decoded in zip(found.batches, found.predictions, strict=False):
        assert len(decoded.rows) + len(decoded.rejected) == len(batch)


def test_parquet_structs_and_times(tmp_path: Path) -> None:
    times = pa.array([NOON * 1_000_000 + 5], pa.timestamp("ns", "UTC"))
    inner = pa.array([{"age": 30, "region": "s"}])
    columns = {"id": [1], "timestamp": times, "features": inner, "prediction": [True]}
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table(columns), path)
    assert column_names(path) == (
        "id",
        "timestamp",
        "features.age",
        "features.region",
        "prediction",
    )
    (decoded,) = Everything(source(path)).predictions
    assert decoded.rows.time.tolist() == [NOON]
    assert decoded.rows.numeric.tolist() == [[30.0]] and decoded.rows.category.tolist() == [[1]]
    reference = read_reference(path, DefaultFields())
    assert [f.name for f in reference.features] == ["age", "region"]
    (part,) = read_table(path, ["id"])
    assert isinstance(part, TableBatch) and list(part.columns) == ["id"]


def test_partitions_agree_between_the_topics(tmp_path: Path) -> None:
    predictions = write_jsonl(tmp_path / "p.jsonl", HEADER, rows(50))
    outcomes = [[f"r{i}", NOON + i, 1] for i in range(50)]
    feedback = write_csv(tmp_path / "f.csv", ["id", "timestamp", "label"], outcomes)
    found = Everything(source(predictions, feedback, partitions=3, batch_rows=20))
    home: dict[int, int] = {}
    kinds = zip(found.batches, [*found.predictions, *found.feedback], strict=False)
    assert {b.topic for b, _ in kinds} == {"predictions", "feedback"}
    for topic, parts in (("predictions", found.predictions), ("feedback", found.feedback)):
        batches = [b for b in found.batches if b.topic == topic]
        assert sum(map(len, batches)) == 50
        for batch, decoded in zip(batches, parts, strict=True):
            for i in decoded.rows.id.tolist():
                assert home.setdefault(i, batch.partition) == batch.partition
    assert set(home.values()) == {0, 1, 2}


def test_topics_are_read_in_step(tmp_path: Path) -> None:
    predictions = write_csv(tmp_path / "p.csv", HEADER, rows(100))
    outcomes = [[f"r{i}", NOON + i * 1000 + 20_000, 1] for i in range(100)]
    feedback = write_csv(tmp_path / "f.csv", ["id", "timestamp", "label"], outcomes)
    files = source(predictions, feedback, batch_rows=10)
    assert set(files.lag().values()) == {-1}
    frontier = {"predictions": 0, "feedback": 0}
    while not files.exhausted:
        for batch in files.poll(0.0):
            assert isinstance(batch, TableBatch)
            frontier[batch.topic] = int(str(batch.columns["timestamp"][-1]))
            if all(frontier.values()):
                # One topic's batch is at most a batch ahead of the other.
                assert abs(frontier["predictions"] - frontier["feedback"]) <= 20_000
    assert set(files.lag().values()) == {0}
    assert files.poll(0.0) == []
    assert files.assignment() == {("predictions", 0), ("feedback", 0)}


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_feedback_without_time_comes_after_its_prediction(tmp_path: Path, kind: str) -> None:
    predictions = WRITERS[kind](tmp_path / f"p.{kind}", HEADER, rows(5))
    outcomes = [["r3", 1], ["r0", 0], ["stranger", 1], ["r3", 0]]
    feedback = WRITERS[kind](tmp_path / f"f.{kind}", ["id", "label"], outcomes)
    found = Everything(source(predictions, feedback, delay=500, batch_rows=2))
    r0, r3, stranger = (hash_id(i) for i in ("r0", "r3", "stranger"))
    assert found.outcomes() == [(r0, 500, 0), (r3, 3500, 1), (r3, 3500, 0), (stranger, 4000, 1)]
    assert not any(d.rejected for d in found.feedback)


def test_bad_feedback_without_time_is_still_counted(tmp_path: Path) -> None:
    predictions = write_csv(tmp_path / "p.csv", HEADER, rows(2))
    feedback = tmp_path / "f.jsonl"
    feedback.write_bytes(b'{"id": "r1", "label": null}\n{\n{"id": "r0"}\n{"label": 1}\n')
    (decoded,) = Everything(source(predictions, feedback)).feedback
    assert sorted(r.reason for r in decoded.rejected) == [
        "missing_id",
        "missing_label",
        "undecodable",
    ]
    assert decoded.rows.id.tolist() == [hash_id("r1")] and np.isnan(decoded.rows.label).all()


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_labels_in_the_prediction_file(tmp_path: Path, kind: str) -> None:
    labels = [1, None, 0, 1]
    data = [[*row, label] for row, label in zip(rows(4), labels, strict=True)]
    path = WRITERS[kind](tmp_path / f"p.{kind}", [*HEADER, "label"], data)
    found = Everything(source(path, delay=7, batch_rows=2))
    ids = [hash_id(f"r{i}") for i in range(4)]
    assert found.outcomes() == [(ids[0], 7, 1), (ids[2], 2007, 0), (ids[3], 3007, 1)]
    assert sum(len(d.rows) for d in found.predictions) == 4


def test_labels_with_a_time_of_their_own(tmp_path: Path) -> None:
    fields = DefaultFields(feedback_time="known")
    data = [[*row, 1, NOON + 100 - i] for i, row in enumerate(rows(3))]
    path = write_csv(tmp_path / "p.csv", [*HEADER, "label", "known"], data)
    files = FileSource(path, None, fields)
    batches = []
    while not files.exhausted:
        batches += [b for b in files.poll(0.0) if b.topic == "feedback"]
    rows_ = FeedbackDecoder(SCHEMA, fields).decode(batches[0]).rows
    assert (rows_.time - NOON).tolist() == [98, 99, 100]


def test_a_file_of_only_a_header(tmp_path: Path) -> None:
    predictions = write_csv(tmp_path / "p.csv", HEADER, rows(2))
    for header in (["id", "label"], ["id", "timestamp", "label"]):
        feedback = write_csv(tmp_path / "f.csv", header, [])
        assert Everything(source(predictions, feedback)).outcomes() == []
    empty = write_csv(tmp_path / "e.csv", [*HEADER, "label"], [])
    assert Everything(source(empty)).batches == []
    assert read_reference(empty, DefaultFields()).rows == 0


def test_progress_and_counts(tmp_path: Path) -> None:
    for kind, write in WRITERS.items():
        path = write(tmp_path / f"p.{kind}", HEADER, rows(40_000))
        done: list[float] = []
        total = sum(map(len, read_table(path, chunk=9_000, progress=done.append)))
        assert done == sorted(done) and done[-1] == 1.0 and total == 40_000
        assert abs(count_rows(path) - 40_000) < 2_000


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_reference_data(tmp_path: Path, kind: str) -> None:
    header = [*HEADER, "label", "version"]
    data = [[*row, i % 2, "1.10"] for i, row in enumerate(rows(4))]
    data[1][2] = None
    path = WRITERS[kind](tmp_path / f"train.{kind}", header, data)
    done: list[float] = []
    reference = read_reference(path, DefaultFields(), progress=done.append)
    assert reference.rows == 4 and reference.unreadable == 0 and done[-1] == 1.0
    age, region = reference.features
    assert (age.name, age.kind, region.name, region.kind) == (
        "age",
        "numeric",
        "region",
        "categorical",
    )
    np.testing.assert_array_equal(age.values, [20, np.nan, 22, 23])
    assert not age.invalid.any()
    assert region.values.tolist() == ["n", "s", "n", "s"]
    assert reference.label is not None and reference.label.tolist() == ["0", "1", "0", "1"]
    assert as_numbers(reference.label).tolist() == [0.0, 1.0, 0.0, 1.0]
    assert reference.version is not None and reference.version[0] == "1.10"
    assert reference.time is not None and reference.time[0] == NOON
    assert reference.ids is not None and reference.ids[0] == hash_id("r0")
    assert reference.latency is None and reference.scores == {}
    forced = read_reference(path, DefaultFields(), {"age": "categorical", "region": "numeric"})
    assert forced.features[0].values.tolist() == ["20", None, "22", "23"]
    assert forced.features[1].invalid.all()


def test_reference_from_records() -> None:
    records = [
        {"features": {"a": 1, "b": True, "c": "7"}, "scores": {"x": 0.5, "1.0": 0.5}},
        {"features": {"a": None, "b": 1, "d": [1]}, "scores": {"x": 1}, "label": "x"},
        {"features": {"a": float("inf")}, "latency_ms": 5},
    ]
    reference = from_records(records, DefaultFields())
    kinds = {f.name: f.kind for f in reference.features}
    assert kinds == {"a": "numeric", "b": "categorical", "c": "categorical", "d": "categorical"}
    a, b, _, d = reference.features
    assert a.invalid.tolist() == [False, False, True]
    assert b.values.tolist() == ["true", "1", None]
    assert d.invalid.tolist() == [False, True, False]
    assert list(reference.scores) == ["x", "1"]
    assert reference.label is not None and reference.label.tolist() == [None, "x", None]
    assert reference.time is None and reference.ids is None
    listed = from_records(records, DefaultFields(features=["features.a", "label"]))
    assert [f.name for f in listed.features] == ["features.a", "label"]


def test_a_missing_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "p.parquet", HEADER, rows(1))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'tocsin\[parquet\]'"):
        list(read_table(path))
