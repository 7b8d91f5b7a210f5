"""Serial dependence and season, learned from the reference, keep the promise on real traffic."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from detectors.batch import Batch, NumericFeature, Schema
from detectors.budget import Budget, Ring
from detectors.cells import InputCells
from detectors.dependence import dependence, temper
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


def rings(profile, x: np.ndarray, first: int, promise=PROMISE, detector=None) -> list[Ring]:
    """Alarms over a series, one false alarm tolerated in so many events."""
    cells, rows = InputCells(profile), batch(x, first)
    codes, panes = cells.codes(rows)[:, 0], len(x) // PANE
    counts = np.zeros((panes, cells.size), dtype=np.int64)
    np.add.at(counts, (np.arange(panes * PANE) // PANE, codes[: panes * PANE]), 1)
    run = PaneRun(rows.time[PANE - 1 :: PANE] + 1, {"inputs": counts}, PANE * DAY // PER_DAY)
    detector = detector or drift_detector(profile)
    budget = Budget([detector.stream], 1 / (promise * EVENT))
    ends = np.arange(1, panes + 1) * PANE * EVENT
    _, happened = budget.step(budget.start(), ends, detector.step(detector.start(), run)[1])
    return [h for h in happened if isinstance(h, Ring)]


def profile(kind: str, rng: np.random.Generator, n: int = REFERENCE):
    reference = batch(series(kind, n, rng))
    return calibrated(build_profile(SCHEMA, reference, None, 10_000), reference, None)


def false_alarms(of, kind: str, rng: np.random.Generator) -> int:
    """How many of SEGMENTS fresh starts ring, each over LENGTH events in control."""
    x = series(kind, SEGMENTS * LENGTH, rng, REFERENCE)
    detector, found = drift_detector(of), 0
    for s in range(0, len(x), LENGTH):
        found += bool(rings(of, x[s : s + LENGTH], REFERENCE + s, detector=detector))
    return found


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


def short_references(margin: bool) -> int:
    """How many of 300 fresh starts ring, ten for each of 30 references of 2,000 events, AR(.9)."""
    rng, found = np.random.default_rng(5), 0
    for _ in range(30):
        of = profile("ar9", rng, 2_000)
        of = of if margin else replace(of, dispersions={})
        x, detector = series("ar9", 10 * LENGTH, rng, REFERENCE), drift_detector(of)
        for s in range(0, len(x), LENGTH):
            found += bool(rings(of, x[s : s + LENGTH], REFERENCE + s, 4 * PROMISE, detector))
    return found


def test_dependence_counts_in_the_margin_of_a_short_reference():
    """Its 2,000 events are worth a hundred: a margin for 2,000 independent ones is not enough."""
    most = binom.ppf(0.95, 300, LENGTH / (4 * PROMISE))
    assert short_references(margin=True) <= most / 2
    assert short_references(margin=False) > most


def test_where_the_reference_is_worth_too_few_events_nothing_is_bet_on():
    of = profile("ar9", np.random.default_rng(7), 300)
    assert drift_detector(of).stream.is_deaf
    assert not drift_detector(profile("ar9", np.random.default_rng(7))).stream.is_deaf
    assert not drift_detector(profile("independent", np.random.default_rng(7), 300)).stream.is_deaf


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


@pytest.mark.parametrize(("rho", "n"), [(0.5, 5_000), (0.9, 5_000), (0.9, 2_000)])
def test_a_short_reference_seldom_underestimates_the_long_run_variance(rho, n):
    """The upper limit is for one in six; the bias of short blocks alone would be half of all."""
    noise = np.random.default_rng(21).normal(size=(n + 200, 200))
    x = lfilter([1.0], [1, -rho], noise, axis=0)[200:]
    alone = np.concatenate([temper(x[:, i : i + 1]) for i in range(200)])
    assert (alone < (1 + rho) / (1 - rho)).mean() <= 0.17
    assert np.median(alone) < 2 * (1 + rho) / (1 - rho)


def test_rare_events_follow_what_common_ones_show_of_dependence():
    """In 1,000 events a tail is too rare to always show by itself that it clusters."""
    latent = lfilter([1.0], [1, -0.9], np.random.default_rng(22).normal(size=(1_200, 60)), axis=0)
    latent = latent[200:] * np.sqrt(0.19)
    alone, together = [], []
    for x in latent.T:
        tail, common = (x > 2.2).astype(float)[:, None], x[:, None] * np.linspace(0.5, 1, 4)
        if tail.any():
            alone.append(float(temper(tail)[0]))
            together.append(float(temper(np.concatenate([common, tail], axis=1))[-1]))
    expected = 5.0  # about the variance of sums of such a tail
    assert np.mean(np.array(alone) < expected) > 1.3 * np.mean(np.array(together) < expected)


def test_bursts_are_tempered_until_moving_blocks_gain_nothing():
    """Bursts of geometric length: the variance alone lets a long one pay for many short ones."""
    rng = np.random.default_rng(0)
    happens = np.zeros(50_000)
    for start in np.flatnonzero(rng.random(50_000) < 0.002):
        happens[start : start + rng.geometric(0.1)] = 1
    rate = happens.mean()
    evidence = np.where(happens > 0, np.log(0.1 / rate), np.log(0.9 / (1 - rate)))[:, None]
    found = temper(evidence)[0]
    block = evidence.reshape(-1, 250).sum(axis=1) / found
    assert np.exp(block).mean() <= 1.02
    assert 19 < found < 40  # its long-run variance is 19


def test_a_reference_whose_level_moves_is_worth_little():
    rng = np.random.default_rng(23)
    evidence = rng.normal(size=(20_000, 3))
    assert (dependence(evidence)[1] < 1.5).all()
    evidence[10_000:, 0] += 0.3
    _, dispersion = dependence(evidence)
    assert dispersion[0] > 20
    assert (dispersion[1:] < 1.5).all()


def test_too_few_events_say_nothing_of_dependence():
    assert (temper(np.ones((10, 3))) == 1.0).all()


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
