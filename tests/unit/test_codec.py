"""State to bytes and back: the same state, the same bytes, or a reason."""

from collections import Counter, namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detectors.codec import MAGIC, Codec, StateError, parameter_hash


@dataclass(frozen=True, slots=True)
class Inner:
    values: np.ndarray
    name: str = ""


@dataclass(slots=True)
class Outer:
    inner: tuple[Inner, ...]
    made: int = field(init=False, default=3)


@dataclass
class Unknown:
    value: int = 1


CODEC = Codec([Inner, Outer])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(),
    st.binary(max_size=20),
)
dtypes = st.one_of(
    hnp.integer_dtypes(), hnp.floating_dtypes(), hnp.boolean_dtypes(), hnp.unsigned_integer_dtypes()
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
states = st.recursive(
    scalars | arrays,
    lambda inside: st.one_of(
        st.lists(inside, max_size=4),
        st.lists(inside, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=3) | st.integers(), inside, max_size=3),
        st.builds(Inner, arrays, st.text(max_size=3)),
    ),
    max_leaves=8,
)


def same(a, b):
    if isinstance(a, np.ndarray):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a.hex() == b.hex()
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, Inner):
        return same(a.values, b.values) and a.name == b.name
    return a == b


@given(states)
def test_a_state_comes_back_as_it_was(state):
    data = CODEC.encode("kind", 2, "hash", state)
    assert data == CODEC.encode("kind", 2, "hash", state)
    back = CODEC.decode("kind", 2, "hash", data)
    assert same(state, back)
    assert CODEC.encode("kind", 2, "hash", back) == data


def test_dataclasses_counters_and_orders_of_arrays_come_back():
    state = Outer((Inner(np.arange(6).reshape(2, 3).T, "a"), Inner(np.zeros(0)[::-1])))
    back = CODEC.decode("k", 1, "p", CODEC.encode("k", 1, "p", (state, Counter(a=2))))
    assert back[0].inner[0].values.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert back[0].made == 3
    assert isinstance(back[1], Counter) and back[1]["never seen"] == 0
    back[0].inner[0].values[0, 0] = 9  # a state can be worked on


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (("other", 1, "p"), "kind 'kind', expected 'other'"),
        (("kind", 2, "p"), "version 1, expected 2"),
        (("kind", 1, "q"), "parameters 'p', expected 'q'"),
    ],
)
def test_a_state_of_something_else_is_refused_with_the_reason(expected, reason):
    data = CODEC.encode("kind", 1, "p", (1, 2))
    with pytest.raises(StateError, match=reason):
        CODEC.decode(*expected, data)


@given(st.data())
def test_damage_is_noticed(data):
    good = CODEC.encode("kind", 1, "p", Inner(np.arange(20), "name"))
    at = data.draw(st.integers(0, len(good) - 1))
    flipped = bytes([good[at] ^ data.draw(st.integers(1, 255))])
    cut = data.draw(st.integers(0, len(good) - 1))
    for bad in (good[:at] + flipped + good[at + 1 :], good[:cut], good + b"x"):
        with pytest.raises(StateError):
            CODEC.decode("kind", 1, "p", bad)


@pytest.mark.parametrize("data", [b"", b"x", MAGIC, MAGIC + bytes(12), bytes(100)])
def test_what_is_no_state_is_refused(data):
    with pytest.raises(StateError):
        CODEC.decode("kind", 1, "p", data)


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "state",
    [
        Unknown(),
        object(),
        {1, 2},
        np.int64(3),
        np.array([None, "a"], dtype=object),
        np.zeros(2, dtype=[("a", int), ("b", float)]),
        Pair(1, 2),
    ],
    ids=lambda s: type(s).__name__,
)
def test_what_would_not_come_back_is_refused_at_once(state):
    with pytest.raises(StateError, match="cannot be part of a state"):
        CODEC.encode("kind", 1, "p", [state])


def test_a_dataclass_with_other_fields_is_refused():
    data = CODEC.encode("k", 1, "p", Inner(np.zeros(1)))

    @dataclass(frozen=True)
    class Changed:
        values: np.ndarray

    Changed.__name__ = "Inner"
    with pytest.raises(StateError, match="other fields"):
        Codec([Changed]).decode("k", 1, "p", data)
    with pytest.raises(StateError):
        Codec([]).decode("k", 1, "p", data)


def test_parameters_are_told_apart():
    zeros = np.zeros(2)
    different = [
        (),
        (1,),
        (1.0,),
        ("1",),
        (1, 2),
        ((1, 2),),
        ((1,), 2),
        (zeros,),
        (zeros.astype(int),),
        (zeros.reshape(1, 2),),
        (None,),
        (True,),
    ]
    assert len({parameter_hash(*p) for p in different}) == len(different)
    assert parameter_hash([1, zeros]) == parameter_hash((1, np.zeros(2)))
