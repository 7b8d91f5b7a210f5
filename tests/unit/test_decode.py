import json
import math
from dataclasses import fields as dataclass_fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.intake.columns import Decoded
from agent.intake.decode import FeedbackDecoder, PredictionDecoder, route
from agent.intake.fields import DefaultFields
from agent.intake.source import RawBatch, TableBatch
from agent.intake.times import ABSENT, BAD, parse_time, parse_times
from agent.intake.values import canonical, category_table, hash_id, label_table, numbers
from agent.intake.vocabulary import Vocabulary
from detectors.batch import (
    INVALID,
    MISSING,
    UNSEEN,
    Batch,
    CategoricalFeature,
    Feedback,
    NumericFeature,
    Schema,
)

BINARY = Schema(
    "binary",
    (NumericFeature("age", 18, 120), NumericFeature("income")),
    (CategoricalFeature("region", ("north", "1", "true")), CategoricalFeature("plan", ("0.5",))),
    ("0", "1"),
)
MULTICLASS = Schema("multiclass", (NumericFeature("x"),), (), ("a", "b", "1"))
REGRESSION = Schema("regression", (NumericFeature("x"),), ())
SCHEMAS = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}
NOON = 1_714_996_800_000  # 2024-05-06T12:00:00Z

GOOD: dict[str, object] = {
    "id": "a",
    "timestamp": "2024-05-06T12:00:00Z",
    "version": "3",
    "features": {"age": 30, "income": 1e3, "region": "north", "plan": 0.5},
    "prediction": 1,
    "score": 0.75,
    "latency_ms": 12.5,
}
OUTCOME: dict[str, object] = {"id": "a", "timestamp": "2024-05-06T12:00:00Z", "label": 1}


def raw(*values: object, time: int = -1) -> RawBatch:
    encoded = [v if v is None or isinstance(v, bytes) else json.dumps(v).encode() for v in values]
    n = len(encoded)
    return RawBatch("t", 0, encoded, np.arange(n), np.full(n, time, dtype=np.int64))


def table(**columns: list[object]) -> TableBatch:
    return TableBatch("t", 0, columns, np.arange(len(next(iter(columns.values())))))


def predictions(
    batch: RawBatch | TableBatch,
    schema: Schema = BINARY,
    fields: DefaultFields | None = None,
    latest: int | None = None,
    fast: bool = True,
) -> Decoded[Batch]:
    decoder = PredictionDecoder(schema, fields or DefaultFields(), Vocabulary(), fast=fast)
    return decoder.decode(batch, latest)


def feedback(
    batch: RawBatch | TableBatch, schema: Schema = BINARY, fast: bool = True
) -> Decoded[Feedback]:
    return FeedbackDecoder(schema, DefaultFields(), fast=fast).decode(batch)


def reasons(decoded: Decoded[Batch] | Decoded[Feedback]) -> list[str]:
    return [rejection.reason for rejection in decoded.rejected]


def check_same(one: Decoded[Batch], other: Decoded[Batch]) -> None:
    assert one.rejected == other.rejected
    np.testing.assert_array_equal(one.index, other.index)
    for field in dataclass_fields(one.rows):
        left, right = getattr(one.rows, field.name), getattr(other.rows, field.name)
        np.testing.assert_array_equal(left, right, err_msg=field.name)
        assert left.dtype == right.dtype and left.shape == right.shape


def test_a_good_record() -> None:
    decoded = predictions(raw(GOOD))
    rows = decoded.rows
    assert not decoded.rejected and decoded.index.tolist() == [0]
    assert rows.time.tolist() == [NOON]
    assert rows.id.tolist() == [hash_id("a")]
    assert rows.numeric.tolist() == [[30.0, 1000.0]]
    assert not rows.invalid.any()
    assert rows.category.tolist() == [[0, 0]]
    assert rows.prediction.tolist() == [1.0]
    assert rows.score.tolist() == [[0.75]]
    assert rows.latency.tolist() == [0.0125]
    assert rows.numeric.dtype == np.float64 and rows.category.dtype == np.int32
    assert rows.version.dtype == np.int32 and rows.time.dtype == np.int64


BAD_PREDICTIONS = [
    (None, "tombstone"),
    (b"", "undecodable"),
    (b"{", "undecodable"),
    (b"[1]", "undecodable"),
    (b"null", "undecodable"),
    (b"\x00", "undecodable"),
    (b"[" * 100_000, "undecodable"),
    (b'{"x":' * 100_000, "undecodable"),
    (b" " * (5 << 20), "too_large"),
    ({"id": None}, "missing_id"),
    ({"id": ""}, "missing_id"),
    ({"id": 1.5}, "bad_id"),
    ({"id": True}, "bad_id"),
    ({"id": ["a"]}, "bad_id"),
    ({"id": "\ud800"}, "bad_id"),
    ({"id": "a" * 1025}, "bad_id"),
    ({"timestamp": None}, "missing_timestamp"),
    ({"timestamp": "yesterday"}, "bad_timestamp"),
    ({"timestamp": -1}, "bad_timestamp"),
    ({"timestamp": 1e300}, "bad_timestamp"),
    ({"timestamp": 10**30}, "bad_timestamp"),
    ({"timestamp": True}, "bad_timestamp"),
    ({"timestamp": {}}, "bad_timestamp"),
    ({"timestamp": math.nan}, "bad_timestamp"),
    ({"timestamp": "2200-01-01T00:00:00Z"}, "bad_timestamp"),
    ({"timestamp": NOON + 2}, "timestamp_ahead"),
    ({"prediction": None, "score": None}, "missing_prediction"),
    ({"prediction": 2}, "bad_prediction"),
    ({"prediction": []}, "bad_prediction"),
    ({"prediction": math.nan}, "bad_prediction"),
    ({"score": 1.5}, "bad_score"),
    ({"score": -0.1}, "bad_score"),
    ({"score": math.nan}, "bad_score"),
    ({"score": math.inf}, "bad_score"),
    ({"score": "0.5"}, "bad_score"),
    ({"score": True}, "bad_score"),
    ({"score": {}}, "bad_score"),
]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("change", "reason"), BAD_PREDICTIONS)
def test_a_bad_prediction_is_rejected(change: object, reason: str, fast: bool) -> None:
    value = GOOD | change if isinstance(change, dict) else change
    decoded = predictions(raw(GOOD, value, GOOD), latest=NOON + 1, fast=fast)
    assert reasons(decoded) == [reason]
    assert decoded.rejected[0].index == 1
    assert len(decoded.rejected[0].excerpt) <= 200
    assert decoded.index.tolist() == [0, 2]
    assert len(decoded.rows) == 2


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("value", "missing", "invalid"),
    [
        ("30", False, True),
        ("true", False, True),
        ("[30]", False, True),
        ("Infinity", False, True),
        ("-Infinity", False, True),
        ("1e400", False, True),
        ("1" * 5000, False, True),
        ("1e31", False, True),
        ("17", False, True),
        ("121", False, True),
        ('"30"', False, True),
        ("null", True, False),
        ("NaN", True, False),
        ("18", False, False),
    ],
)
def test_numeric_features(value: str, missing: bool, invalid: bool, fast: bool) -> None:
    if value == "30":
        value = '"thirty"'
    text = json.dumps(GOOD).replace('"age": 30', f'"age": {value}').encode()
    rows = predictions(raw(text), fast=fast).rows
    assert np.isnan(rows.numeric[0, 0]) == (missing or invalid)
    assert rows.invalid[0].tolist() == [invalid, False]


def test_categories() -> None:
    values = ["north", 1, 1.0, "1", "1.0", "true", "True", "TRUE", "x", None, "", [], {}, math.nan]
    records = [GOOD | {"id": i, "features": {"region": v}} for i, v in enumerate(values)]
    rows = predictions(raw(*records, GOOD | {"features": None}, GOOD | {"features": 5})).rows
    known = [0, 1, 1, 1, 1, 2, 2, 2]
    missing = 3 + MISSING
    extra = [3 + UNSEEN, missing, missing, 3 + INVALID, 3 + INVALID, missing, missing, 3 + INVALID]
    assert rows.category[:, 0].tolist() == known + extra
    assert rows.invalid[-1].all() and not rows.invalid[-2].any()


def test_booleans_match_their_names() -> None:
    table = category_table(("false", "true"))
    assert table.codes([True, False, "True", "FALSE", "tRue"]).tolist() == [1, 0, 1, 0, 1]
    labels = label_table(("0", "1"))
    assert labels.codes([1, 1.0, "1", "1.0", True, "true", "True"]).tolist() == [1] * 7
    assert labels.codes([0, "0.0", False, "false", -0.0]).tolist() == [0] * 5
    assert label_table(("false", "true")).codes(["1", 1, True, "0.0"]).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "true"),
        ("FALSE", "false"),
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        (-0.0, "0"),
        ("-0.0", "0"),
        ("0.50", "0.5"),
        (0.5, "0.5"),
        ("007", "007"),
        ("1e5", "1e5"),
        ("12345678901234567890.0", "12345678901234567890"),
        ("1_0", "1_0"),
        ("north", "north"),
    ],
)
def test_canonical(value: object, name: str) -> None:
    assert canonical(value) == name


@given(st.text() | st.floats(allow_nan=False) | st.integers() | st.booleans())
def test_canonical_is_idempotent_and_finds_its_code(value: object) -> None:
    name = canonical(value)
    assert canonical(name) == name
    if name:
        assert category_table((name,)).codes([value]).tolist() == [0]


def test_ids_agree_between_numbers_and_text() -> None:
    rows = predictions(raw(GOOD | {"id": 5}, GOOD | {"id": "5"}, GOOD | {"id": 2**70})).rows
    assert rows.id[0] == rows.id[1]
    assert rows.id[2] == hash_id(str(2**70))


def test_the_broker_time_stands_in() -> None:
    record = {k: v for k, v in GOOD.items() if k != "timestamp"}
    assert predictions(raw(record, time=77)).rows.time.tolist() == [77]
    assert reasons(predictions(raw(record))) == ["missing_timestamp"]
    assert reasons(predictions(raw(record, time=-5))) == ["bad_timestamp"]


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2024-05-06T12:00:00Z", NOON),
        ("2024-05-06 12:00:00", NOON),
        ("2024-05-06t12:00:00z", NOON),
        ("2024-05-06T14:00:00+02:00", NOON),
        ("2024-05-06T12:00:00.1239Z", NOON + 123),
        ("2024-05-06T11:59:60Z", NOON),
        ("2024-05-06", NOON - 12 * 3_600_000),
        ("20240506", NOON - 12 * 3_600_000),
        (NOON, NOON),
        (NOON + 0.9, NOON),
        (str(NOON), NOON),
        ("1712051300000", 1_712_051_300_000),
        (f"{NOON}.0", NOON),
        (None, ABSENT),
        ("2024-02-30T12:00:00Z", BAD),
        ("2024-05-06T12:00:00+99:00", BAD),
        ("9" * 5000, BAD),
        ("nan", BAD),
        ("é" * 20, BAD),
    ],
)
def test_times(value: object, time: int) -> None:
    assert parse_time(value) == time
    assert parse_times([value, value]).tolist() == [time, time]


TIMES = st.datetimes().map(str) | st.from_regex(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?"
    r"(Z|\+00:00|\+01:00|)",
    fullmatch=True,
)


@given(st.lists(TIMES | st.integers() | st.floats() | st.text(), max_size=3), TIMES)
@settings(max_examples=300)
def test_times_together_are_the_times_one_by_one(values: list[object], one: str) -> None:
    assert parse_times(values).tolist() == [parse_time(v) for v in values]
    assert parse_times([one]).tolist() == [parse_time(one)]


def test_binary_without_a_prediction_takes_the_threshold() -> None:
    low, high = GOOD | {"prediction": None, "score": 0.49}, GOOD | {"score": 0.5}
    del high["prediction"]
    assert predictions(raw(low, high)).rows.prediction.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("fast", [True, False])
def test_multiclass_scores(fast: bool) -> None:
    base = {"id": "a", "timestamp": NOON, "features": {"x": 1}}
    good = [
        base | {"scores": {"a": 0.2, "b": 0.5, "1": 0.3}},
        base | {"scores": {"a": 0.2, "b": 0.1, "1.0": 0.7}},
        base | {"scores": {"a": 0.4, "b": 0.6}},
        base | {"prediction": "a"},
        base | {"prediction": 1.0, "scores": None},
    ]
    bad = [
        base | {"scores": {"a": 0.4, "b": 0.4}},
        base | {"scores": {"a": 0.4, "b": 0.5, "1": 0.1, "z": 0.0}},
        base | {"scores": {"a": 0.4, "b": 1.5, "1": 0.1}},
        base | {"scores": [1]},
        base | {"prediction": "z"},
        base,
    ]
    decoded = predictions(raw(*good, *bad), MULTICLASS, fast=fast)
    assert decoded.rows.prediction.tolist() == [1.0, 2.0, 1.0, 0.0, 2.0]
    nan = [math.nan] * 3
    expected = [[0.2, 0.5, 0.3], [0.2, 0.1, 0.7], [0.4, 0.6, 0.0], nan, nan]
    np.testing.assert_array_equal(decoded.rows.score, expected)
    assert reasons(decoded) == ["bad_score"] * 4 + ["bad_prediction", "missing_prediction"]


def test_scores_by_path_and_features_by_path() -> None:
    fields = DefaultFields(scores={"a": "p.a", "b": "p.b", "1": "one"}, features=["in.x"])
    schema = Schema("multiclass", (NumericFeature("in.x"),), (), ("a", "b", "1"))
    record = {"id": 1, "timestamp": NOON, "p": {"a": 0.1, "b": 0.2}, "one": 0.7, "in": {"x": 4}}
    rows = predictions(raw(record), schema, fields).rows
    assert rows.prediction.tolist() == [2.0]
    assert rows.numeric.tolist() == [[4.0]]


def test_regression() -> None:
    base = {"id": "a", "timestamp": NOON}
    values = [1, -2.5, None, "3", True, math.inf, math.nan, 1e31]
    decoded = predictions(raw(*(base | {"prediction": v} for v in values)), REGRESSION)
    assert decoded.rows.prediction.tolist() == [1.0, -2.5]
    assert decoded.rows.score.shape == (2, 0)
    assert reasons(decoded) == ["missing_prediction"] + ["bad_prediction"] * 5


@pytest.mark.parametrize("fast", [True, False])
def test_feedback(fast: bool) -> None:
    labels = [1, "1.0", True, None, 2, "x", [], {}, math.nan, ""]
    records = [OUTCOME | {"label": label} for label in labels]
    decoded = feedback(raw(*records, {"id": "a", "timestamp": NOON}), fast=fast)
    np.testing.assert_array_equal(decoded.rows.label, [1, 1, 1, math.nan])
    assert reasons(decoded) == [
        *["unknown_label"] * 2,
        *["bad_label"] * 3,
        "unknown_label",
        "missing_label",
    ]
    numeric = feedback(raw(*records, {"id": "a", "timestamp": NOON}), REGRESSION, fast)
    np.testing.assert_array_equal(numeric.rows.label, [1, math.nan, 2])
    assert reasons(numeric) == ["bad_label"] * 7 + ["missing_label"]


def test_versions_and_latency_are_never_a_reason_to_reject() -> None:
    records = [GOOD | {"version": v} for v in ["b", 3, 3.0, "3", None, [], True, "\ud800"]]
    versions = Vocabulary()
    rows = PredictionDecoder(BINARY, DefaultFields(), versions).decode(raw(*records)).rows
    assert [versions.name(c) for c in rows.version] == ["b", "3", "3", "3", "", "", "", "?"]
    latencies = [GOOD | {"latency_ms": v} for v in [-1, "5", None, math.inf, 5]]
    got = predictions(raw(*latencies)).rows.latency
    np.testing.assert_array_equal(got, [math.nan] * 4 + [0.005])


def test_vocabulary_is_bounded_and_starts_again() -> None:
    vocabulary = Vocabulary(limit=2)
    assert vocabulary.codes(["a", "b", "c", "a", "other", ""]).tolist() == [0, 1, 2, 0, 2, 2]
    assert vocabulary.names == ("a", "b")
    assert vocabulary.name(2) == "other"
    assert Vocabulary(vocabulary.names, limit=2).codes(["b", "a"]).tolist() == [1, 0]


def test_rejected_records_take_no_version() -> None:
    versions = Vocabulary()
    decoder = PredictionDecoder(BINARY, DefaultFields(), versions)
    decoder.decode(raw(GOOD | {"version": "x", "id": None}, GOOD))
    assert versions.names == ("3",)


def test_odd_bytes() -> None:
    text = json.dumps(GOOD).encode()
    bom = b"\xef\xbb\xbf" + text
    latin = text.replace(b'"version": "3"', b'"version": "3", "name": "J\xf6rg"')
    twice = text.replace(b'"id": "a"', b'"id": "first", "id": "a"')
    rows = predictions(raw(text, bom, latin, twice)).rows
    assert rows.id.tolist() == [hash_id("a")] * 4


def test_a_path_used_twice() -> None:
    """The score may be a feature too, and even the id; the fast way may not be able to."""
    for path in ("score", "id"):
        schema = Schema("binary", (NumericFeature(path),), (), ("0", "1"))
        fields = DefaultFields(features=[path])
        one = predictions(raw(GOOD), schema, fields)
        check_same(one, predictions(raw(GOOD), schema, fields, fast=False))
        assert len(one.rows) == 1


def test_a_table() -> None:
    decoded = predictions(
        table(
            id=["a", "b", "", "d"],
            timestamp=["2024-05-06 12:00:00"] * 3 + [""],
            age=["30", "", "1", "1"],
            income=["x", "nan", "1", "1"],
            region=["1.0", "", "north", "north"],
            prediction=["1", "", "1", "1"],
            score=["0.5", "0.25", "0.5", "0.5"],
        )
    )
    rows = decoded.rows
    assert reasons(decoded) == ["missing_id", "missing_timestamp"]
    np.testing.assert_array_equal(rows.numeric, [[30, math.nan], [math.nan, math.nan]])
    assert rows.invalid.tolist() == [[False, True], [False, False]]
    assert rows.category.tolist() == [[1, 1 + MISSING], [3 + MISSING, 1 + MISSING]]
    assert rows.prediction.tolist() == [1.0, 0.0]
    assert np.isnan(rows.latency).all()
    python = table(id=[1, 2], timestamp=[NOON, float(NOON)], label=[1.0, math.nan])
    np.testing.assert_array_equal(feedback(python).rows.label, [1.0, math.nan])
    assert reasons(feedback(table(id=["a"], timestamp=["0"]))) == ["missing_label"]


@given(st.lists(st.none() | st.text() | st.floats() | st.integers() | st.booleans()))
def test_numbers_together_are_the_numbers_one_by_one(values: list[object]) -> None:
    for text in (True, False):
        together = numbers(values, text=text)
        alone = [numbers([v], text=text)[0] for v in values]
        np.testing.assert_array_equal(together, alone)


def test_route() -> None:
    records = [{"model": m, "id": i} for i, m in enumerate(["a", "b", "a", "c", 1, None])]
    parts, rejected = route(raw(*records, b"{", None, {}), "model", ["a", "b", "1"])
    assert {name: part.offsets.tolist() for name, part in parts.items()} == {"a": [0, 2], "b": [1]}
    assert [(r.index, r.reason) for r in rejected] == [
        (3, "unknown_model"),
        (4, "unknown_model"),
        (5, "unknown_model"),
        (6, "undecodable"),
        (7, "tombstone"),
        (8, "unknown_model"),
    ]


def test_many_batches_are_one() -> None:
    records = [GOOD | {"id": i, "score": None if i % 7 else math.nan} for i in range(1203)]
    whole = predictions(raw(*records))
    assert len(whole.rows) + len(whole.rejected) == 1203
    assert whole.rejected[1].index == 7
    check_same(whole, predictions(raw(*records), fast=False))
    assert len(predictions(raw()).rows) == 0
    assert len(predictions(raw(None)).rows) == 0


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text()
    | st.sampled_from(["a", "1", "1.0", "true", "north", "2024-05-06T12:00:00Z", NOON, 0.5, 1]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "1", "1.0", "z"]), inner, max_size=3)
    ),
    max_leaves=4,
)
FEATURES = st.dictionaries(st.sampled_from(["age", "income", "region", "plan", "x", "z"]), JSON)
RECORDS = st.builds(
    lambda base, changes, dropped: {k: v for k, v in (base | changes).items() if k not in dropped},
    st.sampled_from([GOOD, GOOD | {"prediction": "a", "scores": {"a": 0.25, "b": 0.5, "1": 0.25}}]),
    st.fixed_dictionaries(
        {},
        optional={
            **{
                name: JSON
                for name in ("id", "timestamp", "version", "prediction", "score", "latency_ms")
            },
            "features": FEATURES | JSON,
            "scores": st.dictionaries(st.sampled_from(["a", "b", "1"]), st.floats(0, 1)) | JSON,
            "label": JSON,
            "unknown": JSON,
        },
    ),
    st.sets(st.sampled_from(["id", "timestamp", "prediction", "score", "scores"]), max_size=1),
)


@given(st.lists(RECORDS, max_size=6), st.sampled_from(sorted(SCHEMAS)))
@settings(max_examples=400, deadline=None)
def test_fast_and_slow_agree(records: list[object], task: str) -> None:
    batch = raw(*records)
    fast = predictions(batch, SCHEMAS[task])
    check_same(fast, predictions(batch, SCHEMAS[task], fast=False))
    assert len(fast.rows) + len(fast.rejected) == len(batch)
    one, other = feedback(batch, SCHEMAS[task]), feedback(batch, SCHEMAS[task], fast=False)
    assert one.rejected == other.rejected
    np.testing.assert_array_equal(one.rows.label, other.rows.label)
    assert len(one.rows) + len(one.rejected) == len(batch)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    text = bytearray(json.dumps(draw(RECORDS)).encode())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(text)


@given(st.lists(st.none() | st.binary() | mutated(), max_size=6), st.sampled_from(sorted(SCHEMAS)))
@settings(max_examples=400, deadline=None)
def test_nothing_raises_whatever_the_bytes_are(values: list[object], task: str) -> None:
    batch = raw(*values)
    check_same(predictions(batch, SCHEMAS[task]), predictions(batch, SCHEMAS[task], fast=False))
    for decoded in (predictions(batch, SCHEMAS[task]), feedback(batch, SCHEMAS[task])):
        found = [*decoded.index.tolist(), *(rejection.index for rejection in decoded.rejected)]
        assert sorted(found) == list(range(len(batch)))
        assert len(decoded.rows) == len(decoded.index)
    parts, rejected = route(batch, "id", ["a"])
    assert sum(map(len, parts.values())) + len(rejected) == len(batch)


@given(
    st.dictionaries(
        st.sampled_from(["id", "timestamp", "age", "region", "prediction", "score", "label"]),
        st.lists(JSON | st.text(), min_size=3, max_size=3),
        min_size=1,
    )
)
@settings(max_examples=200, deadline=None)
def test_no_table_raises(columns: dict[str, list[object]]) -> None:
    for schema in SCHEMAS.values():
        for decoded in (predictions(table(**columns), schema), feedback(table(**columns), schema)):
            assert len(decoded.rows) + len(decoded.rejected) == 3
