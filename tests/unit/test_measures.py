"""Displayed distances against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from detectors import measures

cells = st.integers(2, 30).flatmap(
    lambda k: st.tuples(*[st.lists(st.integers(0, 500), min_size=k, max_size=k)] * 2)
)


def counts(pair):
    return (np.array(side) for side in pair)


@given(cells)
def test_jensen_shannon_is_scipys_on_smoothed_shares(pair):
    reference, current = counts(pair)
    expected = jensenshannon(reference + 0.5, current + 0.5, base=2)
    assert measures.js(reference, current) == pytest.approx(expected, abs=1e-7)
    assert 0 <= measures.js(reference, current) <= 1


@given(cells)
def test_psi_is_its_formula(pair):
    reference, current = counts(pair)
    r = (reference + 0.5) / (reference + 0.5).sum()
    c = (current + 0.5) / (current + 0.5).sum()
    expected = sum((b - a) * np.log(b / a) for a, b in zip(r, c, strict=True))
    assert measures.psi(reference, current) == pytest.approx(expected, abs=1e-12)
    assert measures.psi(reference, current) >= 0


@given(cells)
def test_kolmogorov_smirnov_is_scipys_on_the_cells(pair):
    reference, current = counts(pair)
    if reference.sum() and current.sum():
        numbers = np.arange(len(reference))
        samples = np.repeat(numbers, reference), np.repeat(numbers, current)
        expected = ks_2samp(*samples, method="asymp").statistic
        assert measures.ks(reference, current) == pytest.approx(expected, abs=1e-12)


@given(cells, st.integers(0, 1000))
def test_wasserstein_is_scipys_with_each_cell_at_its_centre(pair, seed):
    reference, current = counts(pair)
    if reference.sum() and current.sum():
        centre = np.sort(np.random.default_rng(seed).normal(size=len(reference)))
        expected = wasserstein_distance(centre, centre, reference, current)
        got = measures.wasserstein(reference, current, centre)
        assert got == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("measure", [measures.psi, measures.js, measures.ks])
def test_no_change_is_no_distance(measure):
    reference = np.array([10, 20, 30, 0])
    assert measure(reference, reference) == pytest.approx(0, abs=1e-7)
    assert measure(reference, reference[::-1]) > 0.1
