"""Exact sums against Fraction and math.fsum."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors import exact

numbers = st.floats(-1e60, 1e60, allow_subnormal=True)
columns = st.lists(numbers, max_size=40)


def accumulate(values: list[float], sign: int = 1) -> NDArray[np.int64]:
    """Digits of the sum of values."""
    limbs, weights = exact.digits(np.array(values, dtype=np.float64))
    state = np.zeros(exact.LIMBS, dtype=np.int64)
    np.add.at(state, limbs, sign * weights)
    return state


def oracle(values: list[float]) -> Fraction:
    """The sum of values, each cut off below 2**-160."""
    return sum(
        (Fraction(math.trunc(Fraction(v) * exact.UNIT), exact.UNIT) for v in values), Fraction()
    )


@given(columns)
def test_sum_is_exact(values: list[float]) -> None:
    state = accumulate(values)
    assert exact.value(state) == oracle(values)
    assert exact.units(state) == oracle(values) * exact.UNIT


@given(st.lists(st.floats(-1e60, 1e60).filter(lambda v: v == 0 or abs(v) > 1e-32), max_size=40))
def test_float_is_correctly_rounded(values: list[float]) -> None:
    state = accumulate(values)
    assert exact.to_float(state) == math.fsum(values)
    if values:
        mean = sum(map(Fraction, values), Fraction()) / len(values)
        assert exact.mean(state, len(values)) == float(mean)


@given(columns, st.integers(0, 40))
def test_any_split_and_subtraction_give_the_same_state(values: list[float], cut: int) -> None:
    state = accumulate(values)
    np.testing.assert_array_equal(accumulate(values[:cut]) + accumulate(values[cut:]), state)
    np.testing.assert_array_equal(accumulate(values[::-1]), state)
    np.testing.assert_array_equal(state + accumulate(values[cut:], -1), accumulate(values[:cut]))
    assert not (state + accumulate(values, -1)).any()


@given(columns, columns, st.integers(0, 2**20))
def test_canonical_digits_are_unique(one: list[float], other: list[float], times: int) -> None:
    state, rest = accumulate(one) * times, accumulate(other)
    canonical = exact.normalise(state)
    assert exact.value(canonical) == exact.value(state)
    assert canonical[:-1].min() >= 0
    assert canonical[:-1].max() < 2**exact.LIMB_BITS
    both = np.stack([state + rest, canonical + rest])
    np.testing.assert_array_equal(*exact.normalise(both))


@given(columns)
def test_a_row_adds_less_than_a_digit(values: list[float]) -> None:
    limbs, weights = exact.digits(np.array(values, dtype=np.float64))
    assert limbs.shape == weights.shape == (len(values), 3)
    assert (np.abs(weights) < 2**exact.LIMB_BITS).all()
    assert (np.diff(limbs) == 1).all()
    assert ((limbs >= 0) & (limbs < exact.LIMBS)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**212, -1e300])
def test_out_of_range(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        exact.digits(np.array([1.0, value]))


@pytest.mark.parametrize(
    "value", [math.nextafter(2.0**212, 0), 2.0**-160, -(2.0**-107), 5e-324, 2.0**-161, 0.0, -0.0]
)
def test_edges_of_the_range(value: float) -> None:
    assert exact.value(accumulate([value])) == oracle([value])


@given(st.lists(st.floats(-1e30, 1e30), max_size=40))
def test_square_is_exact(values: list[float]) -> None:
    grid = [math.ldexp(round(math.ldexp(v, 80)), -80) for v in values]
    high, low = exact.square(np.array(grid, dtype=np.float64))
    for v, h, e in zip(grid, high.tolist(), low.tolist(), strict=True):
        assert Fraction(h) + Fraction(e) == Fraction(v) ** 2


@given(st.lists(st.floats(2.3e-308, 1.7e308), min_size=1, max_size=40))
def test_log_is_within_one_unit_in_the_last_place(values: list[float]) -> None:
    for computed, v in zip(exact.log(np.array(values)).tolist(), values, strict=True):
        assert abs(computed - math.log(v)) <= math.ulp(math.log(v))


def test_log_of_one_is_zero_and_close_by_it_stays_precise() -> None:
    near = np.array([1.0, 1.0 - 2.0**-52, 1.0 + 2.0**-52, 2.0])
    assert exact.log(near).tolist() == [math.log(v) for v in near.tolist()]
