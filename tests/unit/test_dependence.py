"""Serial dependence and season, learned from the reference, keep the promise on real traffic."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from detectors.batch import Batch, NumericFeature, Schema
from detectors.budget import Budget, Ring
from detectors.cells import InputCells
from detectors.dependence import hour_of, season, temper
from detectors.evidence import PaneRun
from detectors.power import SHIFTS, power
from detectors.profile import build_profile
from detectors.registry import calibrated, default_detectors

SCHEMA = Schema("binary", (NumericFeature("x"),), (), ("0", "1"))
PER_DAY = 2_000
DAY = 86_400_000
PANE = 100  # events
REFERENCE = 20_000
SEGMENTS, LENGTH = 60, 10_000
PROMISE = 50_000  # events a false alarm is tolerated in
EVENT = 10_000  # milliseconds from one event to the next, as the budget counts them


def series(kind: str, n: int, rng: np.random.Generator, first: int = 0) -> np.ndarray:
    """Standard normal values, autocorrelated or with a daily wave of .7 standard deviations."""
    x = rng.normal(size=n)
    if "ar" in kind:
        rho = 0.9 if "ar9" in kind else 0.5
        x = lfilter([np.sqrt(1 - rho**2)], [1, -rho], x)
    if "season" in kind:
        x = x + np.sin(2 * np.pi * np.arange(first, first + n) / PER_DAY)
    return x


def batch(x: np.ndarray, first: int = 0) -> Batch:
    n = len(x)
    return Batch(
        time=(first + np.arange(n)) * DAY // PER_DAY,
        id=np.arange(n).astype(np.uint64),
        version=np.zeros(n, dtype=np.int32),
        numeric=x[:, None],
        invalid=np.zeros((n, 1), dtype=bool),
        category=np.zeros((n, 0), dtype=np.int32),
        prediction=np.zeros(n),
        score=np.full((n, 1), np.nan),
        latency=np.full(n, np.nan),
    )


def drift_detector(profile):
    detectors = default_detectors(profile, InputCells(profile))
    return next(d for d in detectors if d.stream.target == "x" and d.stream.kind == "drift")


def rings(profile, x: np.ndarray, first: int) -> list[Ring]:
    """Alarms over a series, one false alarm tolerated in PROMISE events."""
    cells, rows = InputCells(profile), batch(x, first)
    codes, panes = cells.codes(rows)[:, 0], len(x) // PANE
    counts = np.zeros((panes, cells.size), dtype=np.int64)
    np.add.at(counts, (np.arange(panes * PANE) // PANE, codes[: panes * PANE]), 1)
    run = PaneRun(rows.time[PANE - 1 :: PANE] + 1, {"inputs": counts})
    detector = drift_detector(profile)
    budget = Budget([detector.stream], 1 / (PROMISE * EVENT))
    ends = np.arange(1, panes + 1) * PANE * EVENT
    _, happened = budget.step(budget.start(), ends, detector.step(detector.start(), run)[1])
    return [h for h in happened if isinstance(h, Ring)]


def profile(kind: str, rng: np.random.Generator):
    reference = batch(series(kind, REFERENCE, rng))
    return calibrated(build_profile(SCHEMA, reference, None, 10_000), reference, None)


def false_alarms(of, kind: str, rng: np.random.Generator) -> int:
    """How many of SEGMENTS fresh starts ring, each over LENGTH events in control."""
    x = series(kind, SEGMENTS * LENGTH, rng, REFERENCE)
    starts = range(0, len(x), LENGTH)
    return sum(bool(rings(of, x[s : s + LENGTH], REFERENCE + s)) for s in starts)


# At most LENGTH / PROMISE of the fresh starts may ring on average (Markov on the expected number).
MOST = binom.ppf(0.99, SEGMENTS, LENGTH / PROMISE)


@pytest.mark.parametrize("kind", ["independent", "ar5", "ar9", "season", "season ar5"])
def test_dependent_traffic_rings_no_more_often_than_promised(kind):
    rng = np.random.default_rng(11)
    of = profile(kind, rng)
    assert false_alarms(of, kind, rng) <= MOST
    shifted = series(kind, 40_000, rng, REFERENCE) + 0.5
    assert rings(of, shifted, REFERENCE), "and a shift of half a standard deviation still rings"


@pytest.mark.parametrize("kind", ["ar9", "season"])
def test_without_what_the_reference_says_of_time_the_promise_breaks(kind):
    """What the test above guards: the same streams, judged as if events were independent."""
    rng = np.random.default_rng(11)
    of = profile(kind, rng)
    naive = replace(of, tempers={}, numeric=tuple(replace(n, season=None) for n in of.numeric))
    assert false_alarms(naive, kind, rng) > MOST


def test_independent_events_are_hardly_tempered():
    evidence = np.random.default_rng(3).normal(size=(50_000, 40))
    assert (temper(evidence) == 1.0).mean() > 0.9
    assert temper(evidence).max() < 1.6


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_autocorrelation_is_tempered_by_its_long_run_variance(rho):
    noise = np.random.default_rng(4).normal(size=(100_000, 5))
    found = temper(lfilter([1.0], [1, -rho], noise, axis=0))
    expected = (1 + rho) / (1 - rho)
    assert (found > 0.8 * expected).all()
    assert (found < 3 * expected).all()


def test_too_few_events_say_nothing_of_dependence():
    assert (temper(np.ones((10, 3))) == 1.0).all()


def test_a_season_is_found_in_its_hours_and_not_in_noise():
    n = 20 * PER_DAY
    time = np.arange(n) * DAY // PER_DAY
    rng = np.random.default_rng(5)
    p = np.full(20, 0.05)
    codes = rng.integers(0, 20, n)
    assert season(p, codes, time) is None
    afternoon = np.isin(hour_of(time), [12, 13, 14, 15, 16, 17])
    codes = np.where(afternoon, np.minimum(codes + 5, 19), codes)
    counts = np.bincount(codes, minlength=20)
    found = season(counts / n, codes, time)
    assert found is not None
    assert 12 <= int(np.argmax(found.mean)) <= 17
    assert found.scale < 1


def test_six_days_are_too_few_for_a_season():
    n = 6 * PER_DAY
    time = np.arange(n) * DAY // PER_DAY
    codes = hour_of(time) // 6
    assert season(np.full(4, 0.25), codes, time) is None


def test_an_independent_stream_is_exact_and_a_dependent_one_calibrated():
    rng = np.random.default_rng(6)
    assert drift_detector(profile("ar9", rng)).stream.basis == "calibrated"
    assert drift_detector(profile("season", rng)).stream.basis == "calibrated"


@pytest.mark.parametrize("shift", [0.3, 0.5, 1.0])
def test_power_predicts_the_delay(shift):
    """Within a factor of two of the median delay seen."""
    rng = np.random.default_rng(8)
    of = profile("independent", rng)
    detector = drift_detector(of)
    made = power(detector, of.numeric[0])
    weight = 1 / detector.stream.alternatives
    predicted = made.delay(1000 / EVENT, weight, 1 / (PROMISE * EVENT))[shift == SHIFTS][0]
    delays = [
        rings(of, rng.normal(size=20_000) + shift, REFERENCE)[0].time / EVENT - PANE / 2
        for _ in range(15)
    ]
    assert np.median(delays) / 2 - PANE < predicted < 2 * np.median(delays)


def test_a_larger_shift_is_seen_sooner_and_more_traffic_shows_smaller_ones():
    of = profile("independent", np.random.default_rng(9))
    made = power(drift_detector(of), of.numeric[0])
    assert (np.diff(made.delay(1.0, 0.01, 1e-9)[4:]) < 0).all()
    seen = [made.detectable(n, n / 3600, 0.01, 1e-10) for n in (100, 1_000, 100_000)]
    assert seen == sorted(seen, reverse=True)
    assert np.isnan(made.detectable(1, 1 / 3600, 0.01, 1e-10))
