"""Reference bins, and the evidence tables that are made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from detectors.bins import FEWEST, HEAVY, bin_codes, reference_bins
from detectors.drift.numeric import IMMATERIAL_SCALE, IMMATERIAL_SHIFT
from detectors.rates import rate_evidence
from detectors.ratio import (
    BLEND,
    CONFIDENCE,
    NATS,
    SCALE,
    location_scale,
    rate_limit,
    rate_nulls,
    rate_table,
    shifted,
    spikes,
    strictness,
    table,
    usable,
)

values = st.lists(
    st.one_of(
        st.integers(-3, 3).map(float),
        st.sampled_from([0.1, 0.5, 1e9, -1e-9, np.nan, np.inf, -0.0]),
        st.floats(-5, 5),
    ),
    max_size=300,
)


@given(values)
@settings(max_examples=300, deadline=None)
def test_bins_hold_every_reference_value_and_none_within_its_range_is_empty(made):
    column = np.array(made, dtype=float)
    finite = column[np.isfinite(column)]
    bins = reference_bins(column)
    assert (np.diff(bins.edges) > 0).all()
    assert bins.size == len(bins.edges) + 1 == len(bins.centre)
    assert bins.total == len(finite)
    codes = bin_codes(bins.edges, finite)
    assert np.array_equal(np.bincount(codes, minlength=bins.size), bins.counts)
    if len(finite):
        # Only what lies outside the range of a column with hardly any spread may be empty.
        assert (bins.counts[1:-1] > 0).all()
        assert (bins.counts > 0).all() or bins.size <= 4
        full = np.flatnonzero(bins.counts)
        means = [finite[codes == i].mean() for i in full]
        assert bins.centre[full] == pytest.approx(np.array(means), rel=1e-9, abs=1e-9)
        assert (np.diff(bins.centre) >= 0).all()


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(200, 2_000))
@settings(max_examples=60, deadline=None)
def test_heavy_values_have_bins_of_their_own(seed, ties, n):
    random = np.random.default_rng(seed)
    column = random.normal(size=n)
    heavy = random.normal(size=ties)
    for i, value in enumerate(heavy):
        column[random.random(n) < 0.1 + 0.01 * i] = value
    frequent = [v for v in heavy if (column == v).sum() >= max(HEAVY * n, FEWEST)]
    bins = reference_bins(column)
    for value in frequent:
        code = bin_codes(bins.edges, np.array([value]))[0]
        inside = column[bin_codes(bins.edges, column) == code]
        assert set(inside) == {value} or (inside != value).sum() < FEWEST


def test_bins_follow_quantiles_where_there_are_no_ties():
    bins = reference_bins(np.random.default_rng(1).normal(size=10_000))
    assert 20 <= bins.size <= 30
    assert (bins.counts >= 10).all() and bins.counts.max() <= 600


def test_a_value_on_an_edge_belongs_to_the_bin_above():
    assert bin_codes(np.array([1.0, 2.0]), np.array([0.9, 1.0, 1.9, 2.0, 9.0])).tolist() == [
        0, 1, 1, 2, 2,
    ]  # fmt: skip


def probabilities(kind, seed=1):
    """Reference counts as probabilities, none of them 0."""
    random = np.random.default_rng(seed)
    column = {
        "normal": random.normal(size=5_000),
        "whole": random.integers(0, 40, 5_000).astype(float),
        "hundredths": random.beta(0.5, 2, 5_000).round(2),
        "two": (random.random(5_000) < 0.3).astype(float),
        "skewed": np.where(random.random(5_000) < 0.95, 0.0, random.exponential(size=5_000)),
    }[kind]
    counts = reference_bins(column).counts
    return (counts + 0.5) / (counts + 0.5).sum()


KINDS = ("normal", "whole", "hundredths", "two", "skewed")


def immaterial(p):
    return np.array(
        [
            shifted(p, s, c)
            for s in (-IMMATERIAL_SHIFT, 0.0, IMMATERIAL_SHIFT)
            for c in (1 - IMMATERIAL_SCALE, 1.0, 1 + IMMATERIAL_SCALE)
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_alternatives_are_distributions(kind):
    p = probabilities(kind)
    for alternative in (*location_scale(p), *spikes(p), *immaterial(p)):
        assert alternative.sum() == pytest.approx(1)
        assert (alternative >= 0).all()
    assert shifted(p, 0.0) == pytest.approx(p)


def test_a_shift_is_that_many_standard_deviations():
    edges = np.linspace(-3, 3, 25)
    p = np.diff(norm.cdf(edges), prepend=0, append=1)
    moved = np.diff(norm.cdf((edges - 0.6) / 1.5), prepend=0, append=1)
    assert shifted(p, 0.6, 1.5) == pytest.approx(moved, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [100, 5_000, 10**9])
def test_evidence_is_an_e_value_whatever_immaterial_change_there_is(kind, n):
    p = probabilities(kind)
    alternatives = np.concatenate([location_scale(p), spikes(p)])
    evidence = table(p, alternatives, n, immaterial(p))
    assert evidence.dtype == np.int64 and evidence.shape == (len(p), len(alternatives))
    e = np.exp(evidence / SCALE)
    for null in (p, *immaterial(p)):
        assert (null @ e <= 1 + 1e-12).all()
    # What one event can cost is bounded by the blend, the margin aside.
    ratio = ((1 - BLEND) * alternatives + BLEND * p) / p
    chi2 = (ratio**2 @ p) - 1
    nats = (ratio * p * np.log(ratio)).sum(axis=1)
    expected = 1 + strictness(chi2, nats, n) * np.sqrt(chi2 / n)
    assert (p @ e <= 1 / expected + 1e-9).all()


@pytest.mark.parametrize("kind", ["normal", "hundredths"])
def test_evidence_grows_under_its_own_alternative(kind):
    p = probabilities(kind)
    alternatives = location_scale(p)
    evidence = table(p, alternatives, 5_000, immaterial(p)) / SCALE
    gained = np.einsum("ak,ka->a", alternatives, evidence)
    assert (gained > 0).all()
    assert usable(p, alternatives, table(p, alternatives, 5_000, immaterial(p)))[2:].all()
    assert not usable(p, alternatives, table(p, alternatives, 300, immaterial(p)))[:2].any()


def test_the_margin_covers_the_references_own_error():
    """Over the events that an alarm takes, averaged over references, an e-value does not grow."""
    random = np.random.default_rng(8)
    truth, n, grown = probabilities("normal"), 20_000, []
    nothing = np.empty((0, len(truth)))
    for _ in range(2_000):
        p = random.multinomial(n, truth) / n
        alternatives = location_scale(p)
        evidence = table(p, alternatives, n, nothing)
        blended = (1 - BLEND) * alternatives + BLEND * p
        events = NATS / (blended * np.log(blended / p)).sum(axis=1)
        grown.append((truth @ np.exp(evidence / SCALE)) ** events)
    mean, error = np.mean(grown, axis=0), np.std(grown, axis=0) / np.sqrt(len(grown))
    assert (mean < 1.1 + 4 * error).all()  # a tenth over: the error of chi2 itself
    assert (mean > 0.8 - 4 * error).all()  # and it is not needlessly wide
    # Without the margin it grows, or this test could not fail.
    assert max(np.mean(grown, axis=0)) < 1.5 < _without_margin(truth, n, random)


def _without_margin(truth, n, random):
    grown = []
    for _ in range(500):
        p = random.multinomial(n, truth) / n
        q = location_scale(p)[:1]
        blended = (1 - BLEND) * q + BLEND * p
        events = NATS / (blended * np.log(blended / p)).sum()
        grown.append((truth @ (blended / p)[0]) ** events)
    return np.mean(grown)


@pytest.mark.parametrize(("n", "rates"), [(1_000, (0.2, 0.3, 0.5)), (50_000, (0.12, 0.15, 0.2))])
def test_rate_nulls_cover_the_references_own_error(n, rates):
    """The same for rates; nearer ones would be at the largest margin."""
    random = np.random.default_rng(9)
    q, truth = np.array(rates), 0.1
    grown = []
    for k in random.binomial(n, truth, 4_000):
        p = (k + 0.5) / (n + 1)
        null = rate_nulls(k, n, q)
        events = NATS / (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)))
        e = np.exp(rate_table(null, q) / SCALE)
        grown.append(((1 - truth) * e[0] + truth * e[1]) ** events)
    mean, error = np.mean(grown, axis=0), np.std(grown, axis=0) / np.sqrt(len(grown))
    assert (mean < 1.1 + 4 * error).all()
    assert (mean > 0.5).all()


@pytest.mark.parametrize("trials", [20, 100, 5_000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.97, 1.0])
def test_rate_limits_are_wilsons(share, trials):
    events = round(share * trials)
    confidence = 1 - 2 * norm.sf(CONFIDENCE)
    interval = binomtest(events, trials).proportion_ci(confidence, method="wilson")
    assert rate_limit(events, trials) == pytest.approx(interval.high, abs=1e-12)
    assert rate_limit(events, trials, upper=False) == pytest.approx(interval.low, abs=1e-12)
    assert confidence == pytest.approx(0.98, abs=0.001)


def test_without_trials_every_rate_is_possible():
    assert rate_limit(0, 0) == pytest.approx(1.0)
    assert rate_limit(0, 0, upper=False) == pytest.approx(0.0)


@given(st.floats(0.001, 0.9), st.floats(1.01, 3.0), st.floats(0, 1))
def test_a_rise_is_an_e_value_for_every_rate_up_to_the_null(null, factor, part):
    q = np.array([min(null * factor, 0.999)])
    e = np.exp(rate_table(null, q)[:, 0] / SCALE)
    true = null * part
    assert (1 - true) * e[0] + true * e[1] <= 1 + 1e-9
    # And it gains where the alternative holds, apart from rounding.
    gained = (1 - q) * np.log(e[0]) + q * np.log(e[1])
    assert gained[0] >= -1e-9


@given(st.floats(0.05, 0.999), st.floats(0.1, 0.99), st.floats(0, 1))
def test_a_fall_is_an_e_value_for_every_rate_from_the_null(null, factor, part):
    e = np.exp(rate_table(null, np.array([null * factor]))[:, 0] / SCALE)
    true = null + part * (1 - null)
    assert (1 - true) * e[0] + true * e[1] <= 1 + 1e-9


@given(st.integers(100, 100_000), st.floats(0, 1), st.booleans(), st.floats(1, 30))
def test_a_rate_within_what_is_immaterial_is_no_evidence(trials, share, upper, dispersion):
    happened = round(share * trials)
    rate = (happened + 0.5) / (trials + 1)
    odds = np.array([1.05, 1.5, 4.0]) ** (1 if upper else -1) * rate / (1 - rate)
    q = odds / (1 + odds)
    made = rate_evidence(happened, trials, q, 0.01 * rate, upper, dispersion)
    e = np.exp(made.table[0] / SCALE)
    for true in (rate, rate * (1.0099 if upper else 0.9901)):
        assert ((1 - true) * e[0] + true * e[1] <= 1 + 1e-9).all() or true > 1
    assert (made.table[:, :, ~made.bet] == 0).all()


def test_a_rise_far_beyond_the_reference_is_bet_on_and_one_next_to_it_is_not():
    made = rate_evidence(500, 5_000, np.array([0.101, 0.2]), 0.001)
    assert made.bet.tolist() == [False, True]
    assert rate_evidence(500, 5_000, np.array([0.101, 0.2]), 0.001, dispersion=60.0).bet.sum() == 0
