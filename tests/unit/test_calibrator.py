"""Calibrators: whatever enters through them has a mean of at most 1 under the null."""

import numpy as np
import pytest

from detectors.calibrator import e_of_p, e_of_ring


def integral(f):
    """Of a function over p from exp(-600) to 1, by the midpoint rule in log p."""
    u = (np.arange(600_000) + 0.5) / 1000
    return float((f(np.exp(-u)) * np.exp(-u)).sum() / 1000)


@pytest.mark.parametrize("kappa", [0.1, 0.5, 0.9])
def test_a_calibrator_integrates_to_one(kappa):
    assert integral(lambda p: e_of_p(p, kappa)) == pytest.approx(1.0, abs=1e-3)


def test_the_mixture_is_the_mean_of_the_calibrators():
    kappa = (np.arange(200_000) + 0.5) / 200_000
    for p in (1e-12, 1e-6, 0.01, 0.2, 0.5, 0.9, 0.999, 0.9999, 1.0):
        mean = float((kappa * p ** (kappa - 1)).mean())
        assert float(e_of_p(np.array(p))) == pytest.approx(mean, rel=1e-4)
    # What is left lies below exp(-600): about the integral of 1 / u^2 from there.
    assert integral(e_of_p) == pytest.approx(1 - 1 / 600, abs=1e-4)


def test_the_mixture_falls_without_a_break():
    p = np.linspace(0.99, 1.0, 10_001)
    e = e_of_p(p)
    assert (np.diff(e) <= 1e-12).all()
    assert e[-1] == 0.5


def test_a_p_value_of_zero_is_finite():
    assert np.isfinite(np.log(e_of_p(np.array([0.0, 1e-320])))).all()


@pytest.mark.parametrize("p", [-0.1, 1.1, np.nan])
def test_what_is_no_p_value_is_refused(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        e_of_p(np.array([0.5, p]))


def test_kappa_lies_inside():
    with pytest.raises(ValueError, match="kappa"):
        e_of_p(np.array([0.5]), 1.0)


def test_a_ring_is_worth_what_it_is_rare():
    e = e_of_ring(np.array([False, True]), 0.01)
    assert e.tolist() == [0.0, 100.0]
    assert 0.99 * e[0] + 0.01 * e[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="probability"):
        e_of_ring(np.array([True]), 0.0)
