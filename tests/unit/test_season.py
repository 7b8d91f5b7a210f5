"""Seasons of numbers and of rates: found in time, told from noise, and taken out of evidence."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.special import expit
from scipy.stats import binom

from detectors.batch import Batch, CategoricalFeature, NumericFeature, Schema
from detectors.budget import Budget, Ring
from detectors.cells import InputCells
from detectors.evidence import PaneRun, RatioDetector, Stream
from detectors.pane import PaneCells, reference_outcomes
from detectors.profile import build_profile
from detectors.ratio import cell_scores
from detectors.registry import calibrated, default_detectors
from detectors.season import DAY, slot_of
from detectors.season_fit import rate_season, score_season

PER_DAY = 4_800
EVENT = DAY // PER_DAY  # milliseconds
PANE = 50  # events, a quarter of an hour
PROMISE = 100_000  # events a false alarm is tolerated in
CELLS = np.full(20, 0.05)


def times(days: float, first: float = 0.0) -> np.ndarray:
    return (int(first * PER_DAY) + np.arange(int(days * PER_DAY))) * EVENT


def weekend(time: np.ndarray) -> np.ndarray:
    """The epoch was a Thursday."""
    return np.isin(time // DAY % 7, (2, 3))


def wave(time: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * time / DAY)


def of_scores(score: np.ndarray, time: np.ndarray):
    """The season of a numeric column in twenty cells of these normal scores."""
    codes = np.searchsorted(np.quantile(score, np.arange(1, 20) / 20), score, side="right")
    return score_season(cell_scores(CELLS), codes, time)


def test_a_season_is_found_in_its_hours_and_not_in_noise():
    time, rng = times(20), np.random.default_rng(5)
    score, happened = rng.normal(size=len(time)), rng.random(len(time)) < 0.1
    assert of_scores(score, time) is None
    assert rate_season(happened, time) is None
    afternoon = np.isin(slot_of(time, 24), [12, 13, 14, 15, 16, 17])
    found = of_scores(score + afternoon, time)
    assert found is not None
    assert found.week == "same"
    assert 12 <= int(np.argmax(found.curve())) // 4 <= 17
    found = rate_season(happened | (afternoon & (rng.random(len(time)) < 0.1)), time)
    assert found is not None
    assert 12 <= int(np.argmax(found.curve())) // 4 <= 17


@pytest.mark.parametrize("days", [2, 3, 10, 30])
def test_slow_noise_is_no_season(days):
    """Hours that resemble their neighbours, in 40 references, but not those of other days."""
    time, found = times(days), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        hours = lfilter([0.3], [1, -0.95], rng.normal(size=days * 24))
        score = rng.normal(size=len(time)) + hours[time * 24 // DAY]
        found += of_scores(score, time) is not None
    assert found <= 2


@pytest.mark.parametrize("days", [2, 5, 10, 30])
def test_a_daily_rate_is_followed_closely(days):
    time, rng = times(days), np.random.default_rng(1)
    log_odds = -2 + 1.2 * wave(time)
    found = rate_season(rng.random(len(time)) < expit(log_odds), time)
    assert found is not None
    whole = expit(log_odds).mean()
    told = found.curve()[slot_of(time, len(found.curve()))] + np.log(whole / (1 - whole))
    assert np.abs(told - log_odds).mean() < 0.25


@pytest.mark.parametrize("days", [0.9, 1.4])
def test_less_than_two_days_show_no_season(days):
    time = times(days)
    assert of_scores(wave(time), time) is None
    assert rate_season(wave(time) > 0, time) is None


def test_a_weekend_is_found_in_six_weeks_and_not_in_two():
    time, rng = times(42), np.random.default_rng(12)
    score = rng.normal(size=len(time)) + weekend(time)
    found = of_scores(score, time)
    assert found is not None
    curve = found.curve().reshape(7, -1).mean(axis=1)
    assert set(np.argsort(curve)[-2:].tolist()) == {2, 3}
    assert curve[2:4].min() - np.delete(curve, [2, 3]).max() > 0.7
    short = time < 14 * DAY
    early = of_scores(score[short], time[short])
    assert early is None or early.week == "same"


def test_sparse_traffic_shows_a_season_too():
    rng = np.random.default_rng(2)
    time = np.sort(rng.integers(0, 365 * DAY, 20_000))
    found = rate_season(rng.random(len(time)) < expit(-1 + wave(time)), time)
    assert found is not None
    assert np.corrcoef(found.curve()[: 24 * 4], wave(np.arange(96) * DAY // 96))[0, 1] > 0.9


def test_a_season_has_the_shape_of_its_hours():
    """Skewed by day and not at night: the probabilities of the levels are those of such hours."""
    time, rng = times(30), np.random.default_rng(3)
    high = wave(time) > 0
    score = np.where(high, 1 + rng.exponential(size=len(time)) - 1, rng.normal(size=len(time)) - 1)
    edges = np.quantile(score, np.arange(1, 20) / 20)
    codes = np.searchsorted(edges, score, side="right")
    found = score_season(cell_scores(CELLS), codes, time)
    assert found is not None
    _, slots = found.levels()
    told = found.probabilities(CELLS)[slots]
    noon, night = told[20:28].mean(axis=0), told[68:76].mean(axis=0)
    for here, part in ((noon, high), (night, ~high)):
        seen = np.bincount(codes[part], minlength=20) / part.sum()
        assert np.abs(here - seen).max() < 0.03
    uniform = found.probabilities(CELLS)[slots].mean(axis=0)
    assert np.abs(uniform - CELLS).max() < 0.01


def test_slots_are_counted_from_the_epoch():
    time = np.array([0, DAY // 2, DAY, 7 * DAY, 8 * DAY + 1])
    assert slot_of(time, 24).tolist() == [0, 12, 0, 0, 0]
    assert slot_of(time, 96).tolist() == [0, 48, 0, 0, 0]
    assert slot_of(time, 168).tolist() == [0, 12, 24, 0, 24]
    assert slot_of(time, 672).tolist() == [0, 48, 96, 0, 96]


def test_each_pane_is_judged_by_its_own_hour_however_many_are_judged_at_once():
    rng = np.random.default_rng(4)
    table, slots = rng.integers(-(10**9), 10**9, (5, 3, 2)), rng.integers(0, 5, 672)
    stream = Stream("numeric_drift", "x", "drift", "ticket", 2)
    detector = RatioDetector(stream, "inputs", np.arange(3), table, slots)
    width = DAY // 96
    ends = np.sort(rng.integers(0, 10**12, 50))
    counts = rng.integers(0, 9, (50, 3))
    run = PaneRun(ends, {"inputs": counts}, width)
    _, whole = detector.step(None, run)
    for i in range(50):
        held = table[slots[slot_of(ends[i : i + 1] - width // 2, 672)[0]]]
        assert np.allclose(whole[i], counts[i] @ held / 2**32, rtol=0, atol=1e-12)
        assert (detector.step(None, run.take(slice(i, i + 1)))[1][0] == whole[i]).all()


class Seen:
    """A profile of a stream with its detectors, and a budget over one of them."""

    def __init__(self, kind: str, marked: np.ndarray, time: np.ndarray, seasons: bool = True):
        self.kind = kind
        batch, label = self.rows(marked, time)
        number = (NumericFeature("x"),) if kind in ("number", "missing") else ()
        category = (CategoricalFeature("x", ("a", "b", "c")),) if kind == "category" else ()
        schema = Schema("binary", number, category, ("0", "1"))
        profile = build_profile(schema, batch, label, 10_000)
        if not seasons:
            numeric = tuple(replace(n, season=None) for n in profile.numeric)
            profile = replace(profile, numeric=numeric, seasons={})
        self.profile = calibrated(profile, batch, label)
        self.cells = PaneCells(self.profile)
        name = {"number": "numeric_drift", "error": "error_rate"}.get(kind)
        name = name or {"missing": "missing_rate", "category": "categorical_drift"}[kind]
        detectors = default_detectors(self.profile, InputCells(self.profile))
        self.detector = next(
            d for d in detectors if d.stream.detector == name and d.stream.target != "prediction"
        )

    def rows(self, value: np.ndarray, time: np.ndarray):
        """Rows whose number, or whose mark, is this."""
        n, rng = len(value), np.random.default_rng(len(value))
        numeric, category = np.zeros((n, 0)), np.zeros((n, 0), dtype=np.int32)
        label = None
        if self.kind == "number":
            numeric = value[:, None]
        elif self.kind == "missing":
            numeric = np.where(value > 0, np.nan, rng.normal(size=n))[:, None]
        elif self.kind == "category":
            category = np.where(value > 0, 0, rng.integers(1, 3, n)).astype(np.int32)[:, None]
        else:
            label = (value > 0).astype(float)
        batch = Batch(
            time=time,
            id=np.arange(n).astype(np.uint64),
            version=np.zeros(n, dtype=np.int32),
            numeric=numeric,
            invalid=np.zeros(numeric.shape, dtype=bool),
            category=category,
            prediction=np.zeros(n),
            score=np.full((n, 1), np.nan),
            latency=np.full(n, np.nan),
        )
        return batch, label

    def alarms(self, value: np.ndarray, time: np.ndarray) -> list[int]:
        """Events until each alarm; the budget starts anew after each."""
        batch, label = self.rows(value, time)
        made = self.cells.by_section(batch)
        if label is not None:
            made |= self.cells.by_section(reference_outcomes(batch, label))
        source = self.detector.source
        part, panes = self.cells.sections[source], len(value) // PANE
        counts = np.zeros((panes, part.stop - part.start), dtype=np.int64)
        rows = made[source]
        np.add.at(counts, (rows.row // PANE, rows.cell), rows.weight)
        ends = time[PANE - 1 :: PANE] + EVENT
        log_e = self.detector.step(None, PaneRun(ends, {source: counts}, PANE * EVENT))[1]
        found, at = [], 0
        budget = Budget([self.detector.stream], 1 / (PROMISE * EVENT))
        while at < panes:
            clock = np.append(ends[at] - PANE * EVENT, ends[at:])
            quiet = np.zeros((1, log_e.shape[1]))
            _, happened = budget.step(budget.start(), clock, np.concatenate([quiet, log_e[at:]]))
            ring = next((h for h in happened if isinstance(h, Ring)), None)
            if ring is None:
                break
            at = int(np.searchsorted(ends, ring.time)) + 1
            found.append(at * PANE)
        return found


# Log-odds of what is marked, and how much they rise; numbers move by half a standard deviation.
RATES = {"error": (-2.2, 0.8), "missing": (-3.5, 1.2), "category": (-2.2, 0.8)}


def stream(kind: str, time: np.ndarray, rng: np.random.Generator, changed: bool) -> np.ndarray:
    if kind == "number":
        return rng.normal(size=len(time)) + wave(time) + 0.5 * changed
    level, rise = RATES[kind]
    return (rng.random(len(time)) < expit(level + wave(time) + rise * changed)).astype(float)


@pytest.mark.parametrize("kind", ["number", "error", "missing", "category"])
def test_a_season_costs_neither_false_alarms_nor_much_delay(kind):
    """Compared with what it is without: the same stream, whose season passes for dependence."""
    rng = np.random.default_rng(6)
    reference = times(10)
    value = stream(kind, reference, rng, False)
    seen = Seen(kind, value, reference)
    control = times(60, 10)
    most = binom.ppf(0.99, len(control), 1 / PROMISE)
    assert len(seen.alarms(stream(kind, control, rng, False), control)) <= most
    blurred = Seen(kind, value, reference, seasons=False)
    delays, without = [], []
    for i in range(12):
        time = times(2, 100 + i * 3.3)
        value = stream(kind, time, rng, True)
        delays.append(next(iter(seen.alarms(value, time)), len(time)))
        without.append(next(iter(blurred.alarms(value, time)), len(time)))
    assert np.quantile(delays, 0.8) < 3_000
    assert np.median(delays) < 0.4 * np.median(without)


def test_a_weekend_does_not_ring_and_a_change_on_it_does():
    rng = np.random.default_rng(7)

    def numbers(time: np.ndarray, there: bool = True) -> np.ndarray:
        return rng.normal(size=len(time)) + 1.0 * (weekend(time) & there)

    reference = times(28)
    seen = Seen("number", numbers(reference), reference)
    assert seen.profile.numeric[0].season.week != "same"
    control = times(56, 28)
    assert len(seen.alarms(numbers(control), control)) <= binom.ppf(0.99, len(control), 1 / PROMISE)
    saturday = times(2, 28 + 2)
    (first, *_) = seen.alarms(numbers(saturday, there=False), saturday)
    assert first < 300
    # Without the week the weekend is told from weekdays by nothing.
    daily = Seen("number", numbers(reference), reference, seasons=False)
    assert not daily.alarms(numbers(saturday, there=False), saturday)


def test_seasons_of_a_profile_do_not_depend_on_the_order_of_its_rows():
    rng, time = np.random.default_rng(8), times(8)
    value = stream("number", time, rng, False)
    shuffled = rng.permutation(len(time))
    assert (
        Seen("number", value, time).profile.numeric
        == Seen("number", value[shuffled], time[shuffled]).profile.numeric
    )
