"""Targets of intake: decoders, routing by model, tables, and the whole pipeline."""

import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import fields as columns_of
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from agent import profile_file
from agent.config import Config
from agent.errors import UsageError
from agent.intake.columns import Decoded
from agent.intake.decode import FeedbackDecoder, PredictionDecoder, route
from agent.intake.fields import DefaultFields
from agent.intake.files import count_rows, read_table
from agent.intake.source import RawBatch, TableBatch
from agent.intake.table import from_records, read_reference
from agent.intake.values import LARGEST
from agent.intake.vocabulary import Vocabulary
from agent.pipeline import Pipeline
from agent.reference import profile_of
from agent.results import results
from agent.snapshots import snapshot
from detectors.batch import EXTRA_CELLS, Batch, CategoricalFeature, NumericFeature, Schema

NOON = 1_714_996_800_000  # 2024-05-06T12:00:00Z
END = 7_258_118_400_000  # 2200-01-01
MAX_BYTES = 8_192
SCHEMAS = {
    "binary": Schema(
        "binary",
        (NumericFeature("age", 18, 120), NumericFeature("income")),
        (
            CategoricalFeature("region", ("north", "1", "true")),
            CategoricalFeature("plan", ("0.5",)),
        ),
        ("0", "1"),
    ),
    "multiclass": Schema("multiclass", (NumericFeature("age"),), (), ("a", "b", "1")),
    "regression": Schema("regression", (NumericFeature("income"),), ()),
}
FIELDS = (
    DefaultFields(),
    DefaultFields(features=("in.age", "in.income", "in.region"), scores={"a": "p.a", "1": "p.one"}),
    DefaultFields(features="", time="features.when", id="meta.id", feedback_id="meta.id"),
)
REASONS = frozenset(
    {
        *("undecodable", "tombstone", "too_large", "missing_id", "bad_id", "missing_timestamp"),
        *("bad_timestamp", "timestamp_ahead", "missing_prediction", "bad_prediction", "bad_score"),
        *("missing_label", "bad_label", "unknown_label", "unknown_model"),
    }
)
FEATURES = {"age": 30, "income": 1e3, "region": "north", "plan": 0.5}
RECORDS: list[dict[str, Any]] = [
    {
        "id": "a-1",
        "timestamp": "2024-05-06T12:00:00Z",
        "version": "3",
        "model": "binary",
        "features": FEATURES,
        "prediction": 1,
        "score": 0.75,
        "latency_ms": 12.5,
    },
    {
        "id": 4711,
        "timestamp": NOON,
        "model": "multiclass",
        "features": {"age": 3.5},
        "prediction": "a",
        "scores": {"a": 0.5, "b": 0.25, "1": 0.25},
    },
    {
        "id": "r",
        "timestamp": NOON,
        "model": "regression",
        "features": {"income": 1},
        "prediction": 2.5,
    },
    {"meta": {"id": "m"}, "in": FEATURES, "p": {"a": 0.3, "one": 0.7}, "features": {"when": NOON}},
    {"id": "a-1", "timestamp": "2024-05-06T12:00:01Z", "model": "binary", "label": 1},
    {"id": 4711, "timestamp": NOON, "model": "multiclass", "label": None},
]
SEEDS = [json.dumps(record).encode() for record in RECORDS]
# Predictions and their outcomes, near enough to one another to meet.
MEETING = [
    json.dumps(record).encode()
    for i in range(40)
    for record in (
        RECORDS[0] | {"id": f"p{i}", "timestamp": NOON + 7_000 * i, "prediction": i % 2},
        {"id": f"p{i}", "timestamp": NOON + 7_000 * i + 3_600_000 * (i % 3), "label": i // 2 % 2},
    )
]
NAMES = [
    *("id", "timestamp", "version", "model", "features", "prediction", "score", "scores", "label"),
    *(
        "latency_ms",
        "age",
        "income",
        "region",
        "plan",
        "a",
        "b",
        "1",
        "in",
        "p",
        "meta",
        "when",
        "",
    ),
]
TOMBSTONE = b"~"


def raw(payloads: Sequence[bytes], first: int = 0) -> RawBatch:
    """A batch of them; one is a sign for a record without a value."""
    n = len(payloads)
    values = [None if payload == TOMBSTONE else payload for payload in payloads]
    # Some records have no time of their own and the broker's is odd as well.
    times = np.array([(-1, NOON + i, -5, 2**62)[i % 4] for i in range(n)], dtype=np.int64)
    return RawBatch("t", 0, values, np.arange(first, first + n), times)


def check_decoded(decoded: Decoded[Any], n: int, schema: Schema) -> None:
    """Accepted and rejected rows are all rows, and what is accepted is what its type says."""
    rows, index = decoded.rows, decoded.index.tolist()
    assert sorted([*index, *(r.index for r in decoded.rejected)]) == list(range(n))
    assert index == sorted(index) and len(rows) == len(index)
    assert all(r.reason in REASONS and len(r.excerpt) <= 200 for r in decoded.rejected)
    assert all(len(getattr(rows, c.name)) == len(rows) for c in columns_of(rows))
    assert rows.time.dtype == np.int64 and rows.id.dtype == np.uint64
    assert ((rows.time >= 0) & (rows.time < END)).all()
    if not isinstance(rows, Batch):
        label = rows.label[~np.isnan(rows.label)]
        limit = len(schema.classes) - 1 if schema.classes else LARGEST
        assert (np.abs(label) <= limit).all() and label.dtype == np.float64
        return
    assert rows.numeric.shape == rows.invalid.shape == (len(rows), len(schema.numeric))
    assert rows.category.shape == (len(rows), len(schema.categorical))
    assert rows.score.shape == (len(rows), schema.score_columns)
    assert np.isnan(rows.numeric[rows.invalid]).all()
    assert (np.isnan(rows.numeric) | (np.abs(rows.numeric) <= LARGEST)).all()
    for place, feature in enumerate(schema.categorical):
        cells = rows.category[:, place]
        assert ((cells >= 0) & (cells < len(feature.categories) + EXTRA_CELLS)).all()
    assert (np.isnan(rows.score) | ((rows.score >= 0) & (rows.score <= 1))).all()
    if schema.classes:
        assert np.isin(rows.prediction, np.arange(len(schema.classes))).all()
    assert (np.abs(rows.prediction) <= LARGEST).all()
    assert (np.isnan(rows.latency) | ((rows.latency >= 0) & (rows.latency <= LARGEST))).all()
    assert ((rows.version >= 0) & (rows.version <= Vocabulary().limit)).all()


def check_same(one: Decoded[Any], other: Decoded[Any]) -> None:
    """The fast and the patient way say the same."""
    assert one.rejected == other.rejected
    for column in columns_of(one.rows):
        left, right = getattr(one.rows, column.name), getattr(other.rows, column.name)
        np.testing.assert_array_equal(left, right, column.name)


class Decoders:
    """Predictions and feedback of each task in each layout, the fast way and the patient one."""

    def __init__(self, folder: Path) -> None:
        self._pairs = [
            (schema, [make(schema, fields, fast) for fast in (True, False)])
            for schema in SCHEMAS.values()
            for fields in FIELDS
            for make in (predictions, feedback)
        ]

    def check(self, payloads: Sequence[bytes]) -> None:
        """One layout, chosen by what the payloads are, so that each comes up."""
        batch = raw(payloads)
        # By length alone: a change of one byte must not lead somewhere else.
        choice = sum(map(len, payloads)) // 16
        for schema, decoders in self._pairs[choice % 3 :: 3]:
            fast, patient = (decoder.decode(batch, latest=NOON + 10**9) for decoder in decoders)
            check_decoded(fast, len(batch), schema)
            check_same(fast, patient)


def predictions(
    schema: Schema, fields: DefaultFields = FIELDS[0], fast: bool = True
) -> PredictionDecoder:
    return PredictionDecoder(schema, fields, Vocabulary(), max_bytes=MAX_BYTES, fast=fast)


def feedback(
    schema: Schema, fields: DefaultFields = FIELDS[0], fast: bool = True
) -> FeedbackDecoder:
    return FeedbackDecoder(schema, fields, max_bytes=MAX_BYTES, fast=fast)


class Routing:
    """Records of a topic that several models share."""

    def __init__(self, folder: Path) -> None:
        pass

    def check(self, payloads: Sequence[bytes]) -> None:
        """Each record comes to one model or is rejected."""
        batch = raw(payloads)
        for path in ("model", "features.region"):
            parts, rejected = route(batch, path, ("binary", "north", "1"))
            offsets = [i for part in parts.values() for i in part.offsets.tolist()]
            assert sorted([*offsets, *(r.index for r in rejected)]) == list(range(len(batch)))
            assert all(r.reason in REASONS for r in rejected)
            for part in parts.values():
                assert part.values == [batch.values[i] for i in part.offsets.tolist()]


class Pipelines:
    """All the way: decoded, joined, folded, judged, closed and shown."""

    def __init__(self, folder: Path) -> None:
        path = folder / "m.profile"
        settings = Config.model_validate({"models": {"m": MODEL}})
        table = from_records(reference(), settings.models["m"].fields)
        profile_file.save(profile_of(table, settings.models["m"], 10_000), path)
        self.config = Config.model_validate({"models": {"m": {**MODEL, "profile": str(path)}}})

    def check(self, payloads: Sequence[bytes]) -> None:
        """What is read is counted as used or as rejected; a picture and a result can be made."""
        pipe = Pipeline(self.config)
        read = {"m.predictions": 0, "m.feedback": 0}
        for number, topic in enumerate((*read, *read)):
            part = raw(payloads[number::4], first=read[topic])
            if not len(part):
                continue
            moved = replace(part, topic=topic, partition=number // 2)
            pipe.take(moved, NOON + 10**9, 0.0)
            read[topic] += len(part)
            pipe.close()
        try:
            pipe.finish()
        except UsageError as error:
            assert "no profile could be learned" in str(error)
            return
        status = snapshot(pipe, {}, NOON / 1000, 0.0, "").models["m"]
        rejected = dict.fromkeys(read, 0.0)
        for (topic, _), count in status.records.rejected.items():
            rejected[topic] += count
        assert (
            sum(status.records.predictions.values())
            == read["m.predictions"] - rejected["m.predictions"]
        )
        counters = pipe.started()[0].counters
        assert counters.feedback == read["m.feedback"] - rejected["m.feedback"]
        json.dumps(results(pipe), allow_nan=False)


class Learning(Pipelines):
    """The same for a model that has to learn its profile from these very records."""

    def __init__(self, folder: Path) -> None:
        self.config = Config.model_validate({"models": {"m": MODEL}, "warmup": 20})


MODEL = {"task": "binary", "positive": 1, "segments": ["region"], "protected": ["region"]}


def reference() -> list[dict[str, Any]]:
    """Labelled records of the hour before."""
    kinds = ("north", "south", "1")
    return [
        RECORDS[0]
        | {"id": i, "timestamp": NOON - 3_600_000 + i * 1000, "label": i % 2, "score": i % 20 / 20}
        | {"features": FEATURES | {"region": kinds[i % 3], "age": 20 + i % 50, "income": i}}
        for i in range(400)
    ]


class Tables:
    """Files of each kind, and what is decoded from them. The first byte is the kind."""

    KINDS = (".csv", ".jsonl", ".csv.gz", ".parquet")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        schema = SCHEMAS["binary"]
        self._decoders = (
            PredictionDecoder(schema, DefaultFields(), Vocabulary(), max_bytes=MAX_BYTES),
            FeedbackDecoder(schema, DefaultFields(), max_bytes=MAX_BYTES),
        )

    def check(self, payloads: Sequence[bytes]) -> None:
        """Each file is read to its end, every row accounted for, or refused in one line."""
        for payload in payloads:
            self._check(payload)

    def _check(self, payload: bytes) -> None:
        kind = self.KINDS[payload[0] % len(self.KINDS)] if payload else ".csv"
        path = self._folder / f"f{kind}"
        path.write_bytes(payload[1:])
        try:
            count_rows(path)
            for chunk in read_table(path, chunk=7):
                self._check_chunk(chunk)
            read_reference(path, DefaultFields())
        except UsageError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)

    def _check_chunk(self, chunk: RawBatch | TableBatch) -> None:
        for decoder in self._decoders:
            check_decoded(decoder.decode(chunk), len(chunk), SCHEMAS["binary"])


def table_seeds() -> list[bytes]:
    """Small files of each kind, the kind first."""
    csv = b"id,timestamp,age,region,prediction,score,label\n" + b"".join(
        b'%d,2024-05-06T12:00:%02dZ,30,"north",1,0.5,1\n' % (i, i) for i in range(9)
    )
    seeds = [b"\x00" + csv, b"\x01" + b"\n".join(SEEDS)]
    seeds.append(b"\x02" + gzip.compress(csv, mtime=0))
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return seeds
    columns = {
        "id": pa.array(["a", "b", None]),
        "timestamp": pa.array([NOON, NOON + 1, None], pa.timestamp("ms", "UTC")),
        "features": pa.array(
            [{"age": 30.0, "region": "north"}, None, {"age": None, "region": "s"}]
        ),
        "prediction": pa.array([True, False, None]),
        "score": pa.array([0.5, 1.5, None]),
    }
    odd = {
        "id": pa.array([1, 2**63, None], pa.uint64()),
        "timestamp": pa.array([19_849, 10**9, None], pa.int32()).cast(pa.date32()),
        "age": pa.array([2**62, 1, None], pa.int64()).cast(pa.duration("s")),
        "income": pa.array([Decimal("1.5"), Decimal("9" * 30), None]),
        "region": pa.array([b"north", b"\xff", None]),
        "plan": pa.array(["0.5", "x", None]).dictionary_encode(),
        "prediction": pa.array([[1], [], None]),
        "label": pa.array([1.0, float("nan"), None], pa.float32()),
    }
    for table, compression in ((columns, "none"), (columns, "snappy"), (odd, "zstd")):
        file = io.BytesIO()
        pq.write_table(pa.table(table), file, compression=compression)
        seeds.append(b"\x03" + file.getvalue())
    return seeds
