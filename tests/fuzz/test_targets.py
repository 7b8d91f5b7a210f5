"""A little of the fuzzing in every run of the tests, and what it has found so far."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import configurations, decoders
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import checked, narrowed, targets

TARGETS = targets()
BATCHES = {"decoders": 20, "routing": 20, "pipeline": 8, "learning": 8, "tables": 15}
SOME = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", TARGETS)
def test_payloads_made_from_valid_ones(name: str, tmp_path: Path) -> None:
    target, rng = TARGETS[name], random.Random(name)
    check = target.make(tmp_path)
    made: list[bytes] = []
    for _ in range(BATCHES.get(name, 30)):
        made = target.batch_of(made, rng)
        checked(check, made)


@pytest.mark.parametrize("name", TARGETS)
def test_valid_payloads_pass(name: str, tmp_path: Path) -> None:
    checked(TARGETS[name].make(tmp_path), TARGETS[name].mutator.seeds)


@SOME
@given(st.lists(st.binary(max_size=200), max_size=30), st.sampled_from(sorted(TARGETS)))
def test_any_bytes(tmp_path: Path, payloads: list[bytes], name: str) -> None:
    checked(TARGETS[name].make(tmp_path), payloads)


def changed(seeds: list[bytes], mutator: Mutator) -> st.SearchStrategy[list[bytes]]:
    """Some payloads that Hypothesis can make simpler, one by one, where they fail."""
    one = st.builds(mutator.mutated, st.sampled_from(seeds), st.randoms(use_true_random=False))
    return st.lists(one, min_size=1, max_size=20)


@SOME
@given(changed(decoders.SEEDS, TARGETS["decoders"].mutator))
def test_changed_records(tmp_path: Path, payloads: list[bytes]) -> None:
    for name in ("decoders", "routing"):
        checked(TARGETS[name].make(tmp_path), payloads)


@SOME
@given(changed(configurations.SEEDS, TARGETS["configurations"].mutator))
def test_changed_configurations(tmp_path: Path, payloads: list[bytes]) -> None:
    checked(TARGETS["configurations"].make(tmp_path), payloads)


def record(**more: object) -> bytes:
    """A record in the layout that a lone payload of its length is tried in, or in any."""
    return json.dumps({"id": "a", "timestamp": decoders.NOON, "features": {}, **more}).encode()


FOUND = {
    "infinities of both signs among the scores": record(scores={"a": -np.inf, "b": np.inf}),
}


@pytest.mark.parametrize("payload", FOUND.values(), ids=FOUND)
def test_what_was_found_stays_mended(payload: bytes, tmp_path: Path) -> None:
    check = TARGETS["decoders"].make(tmp_path)
    for more in range(0, 48, 16):  # through all layouts
        checked(check, [payload + b" " * more])


def test_a_profile_is_learned_beside_text_that_cannot_be_written(tmp_path: Path) -> None:
    half = "\ud800"
    payloads = [
        json.dumps(
            {"id": f"p{i}", "timestamp": decoders.NOON + 1000 * i, "prediction": i % 2}
            | {"features": {"region": half if i % 5 == 0 else "north", half: 1}}
        ).encode()
        for i in range(400)
    ]
    checked(TARGETS["learning"].make(tmp_path), payloads)


def parquet(columns: dict[str, object]) -> bytes:
    """A file, as the target of tables takes it."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return b"\x03" + file.getvalue()


def test_cells_that_python_has_no_value_for_cost_no_file(tmp_path: Path) -> None:
    import pyarrow as pa

    offsets, text = pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")
    payload = parquet(
        {
            "id": pa.StringArray.from_buffers(2, offsets, text),
            "timestamp": pa.array([19_849, 10**9], pa.int32()).cast(pa.date32()),
            "prediction": pa.array([1, 0]),
            "age": pa.array([30.0, 40.0]),
        }
    )
    checked(TARGETS["tables"].make(tmp_path), [payload])
    from agent.intake.files import read_table

    (tmp_path / "odd.parquet").write_bytes(payload[1:])
    (chunk,) = read_table(tmp_path / "odd.parquet")
    decoded = decoders.predictions(decoders.SCHEMAS["binary"]).decode(chunk)
    assert decoded.rows.numeric[:, 0].tolist() == [30.0]
    assert decoded.rows.time.tolist() == [decoders.NOON - 12 * 3_600_000]
    assert [(r.index, r.reason) for r in decoded.rejected] == [(1, "bad_id")]


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    payload = parquet({"id": ["a"], "prediction": [1], "x" * 40: [1.0]})
    check = TARGETS["tables"].make(tmp_path)
    name = payload.rindex(b"x" * 40)
    checked(check, [payload[:name] + b"\xf3" + payload[name + 1 :]])
    for at in range(len(payload) - 120, len(payload) - 8):
        checked(check, [payload[:at] + bytes([payload[at] ^ 0x10]) + payload[at + 1 :]])


def test_a_failure_is_found_and_narrowed_down(tmp_path: Path) -> None:
    """The checks can fail: a decoder that loses one record, and one that raises a warning."""

    class Lossy(decoders.Decoders):
        def check(self, payloads):
            assert b"lost" not in payloads
            if b"warn" in payloads:
                np.log(np.zeros(1))
            super().check(payloads)

    check = Lossy(tmp_path)
    payloads = [*decoders.SEEDS, b"lost", *decoders.SEEDS]
    with pytest.raises(AssertionError):
        checked(check, payloads)
    assert narrowed(check, payloads) == [b"lost"]
    assert narrowed(check, [*decoders.SEEDS, b"warn"]) == [b"warn"]
