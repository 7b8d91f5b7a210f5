"""Traffic by hour of the week: what is usual, what rings, and what a silence costs."""

from dataclasses import replace

import numpy as np
import pytest

from agent import profile_file
from agent.config import Config
from agent.intake.table import read_reference
from agent.promise import promise
from agent.reference import declared_kinds, profile_of
from agent.replay import replay
from detectors.budget import Budget, Ring
from detectors.contract import step_through
from detectors.dependence import temper
from detectors.evidence import PaneRun
from detectors.profile import Profile
from detectors.traffic.reference import TrafficProfile, traffic_profile
from detectors.traffic.ticks import DAY, HOUR, hour_of_week, hour_weights, tick_counts
from detectors.traffic.volume import Traffic

MONDAY = 1_699_833_600_000  # 2023-11-13 00:00 UTC
LATER = MONDAY + 70 * DAY
PANE, MINUTE = 10_000, 60_000
PROMISED = {"page": 1 / (365 * DAY), "ticket": 1 / (30 * DAY)}


def office(hour):
    """Predictions a second by hour of the week: at work, hardly any at night, none at weekends."""
    day, hour = np.divmod(hour, 24)
    return np.where(day >= 5, 0.0, np.where((hour >= 8) & (hour < 18), 0.1, 0.002))


def people(hour):
    """A wave by the hour of the day, half as high at weekends."""
    day, hour = np.divmod(hour, 24)
    return (0.1 + 0.07 * np.sin(2 * np.pi * (hour - 8) / 24)) * np.where(day >= 5, 0.5, 1.0)


def sparse(hour):
    return np.full(len(hour), 1 / 540)


SHAPES = {"office": office, "people": people, "sparse": sparse}


def times(shape, days, seed, start=MONDAY, factor=lambda t: 1.0, noise=0.0):
    """Sorted times; each minute's mean is lognormal about what the hour of the week says."""
    random = np.random.default_rng(seed)
    minute = start + np.arange(int(days * DAY / MINUTE)) * MINUTE
    mean = shape((minute - MONDAY) % (7 * DAY) / HOUR) * 60 * factor(minute)
    mean *= np.exp(noise * random.normal(size=len(minute)) - noise**2 / 2)
    count = random.poisson(mean)
    return np.sort(np.repeat(minute, count) + random.integers(0, MINUTE, count.sum()))


def watching(time, pane=PANE):
    """Detectors of a reference with these times, tempered as its ticks depend on each other."""
    profile = object.__new__(Profile)
    object.__setattr__(profile, "traffic", traffic_profile(time, pane))
    found = Traffic.watch(profile, None)
    return {d.stream.detector: d.tempered(temper(d.per_event(None, np.sort(time)))) for d in found}


def run(detector, time, until):
    """One word a tick, from the first whole one on."""
    tick = detector.traffic.tick
    first, stop = int(time[0]) // tick + 1, until // tick
    number = time // tick - first
    count = np.bincount(number[(number >= 0) & (number < stop - first)], minlength=stop - first)
    each = first + np.arange(stop - first)
    return PaneRun((each + 1) * tick, {"ticks": np.stack([each, np.ones_like(each), count], 1)})


def rings(detectors, time, until):
    """Times of the alarms of each detector, which has a tenth of its budget to itself."""
    found = {}
    for name, detector in detectors.items():
        panes = run(detector, time, until)
        budget = Budget([detector.stream], PROMISED[detector.stream.severity] / 10)
        _, happened = budget.step(budget.start(), panes.time, detector.step(None, panes)[1])
        found[name] = [h.time for h in happened if isinstance(h, Ring)]
    return found


@pytest.fixture(scope="module")
def references():
    return {name: watching(times(shape, 28, 1, noise=0.3)) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("days", [3, 10, 15, 28])
def test_nothing_rings_while_nothing_changes(shape, days):
    """Eight weeks, nights and weekends; with three days of reference the weekend is unknown."""
    detectors = watching(times(SHAPES[shape], days, 2, noise=0.3))
    assert set(detectors) == {"silence", "traffic_volume"}
    live = times(SHAPES[shape], 56, 3, LATER, noise=0.3)
    assert rings(detectors, live, LATER + 56 * DAY) == {"silence": [], "traffic_volume": []}


@pytest.mark.parametrize("shape", ["office", "people"])
def test_half_the_traffic_on_a_monday_morning_rings(references, shape):
    def halved(t):
        return np.where(t >= LATER + 9 * HOUR, 0.5, 1.0)

    live = times(SHAPES[shape], 1, 4, LATER, halved, 0.3)
    found = rings(references[shape], live, LATER + 16 * HOUR)
    assert 0 < found["silence"][0] - (LATER + 9 * HOUR) < 4 * HOUR


@pytest.mark.parametrize(("shape", "within"), [("office", 60), ("people", 60), ("sparse", 420)])
def test_silence_rings(references, shape, within):
    """In minutes: sooner where more is expected."""

    def stops(t):
        return np.where(t >= LATER + 12 * HOUR, 0.0, 1.0)

    live = times(SHAPES[shape], 2, 5, LATER, stops, 0.3)
    found = rings(references[shape], live, LATER + 20 * HOUR)
    assert 0 < found["silence"][0] - (LATER + 12 * HOUR) <= within * MINUTE


def test_doubled_traffic_is_a_ticket_and_no_page(references):
    def doubled(t):
        return np.where(t >= LATER + 12 * HOUR, 2.0, 1.0)

    live = times(people, 2, 6, LATER, doubled, 0.3)
    found = rings(references["people"], live, LATER + 2 * DAY)
    assert found["silence"] == []
    assert 0 < found["traffic_volume"][0] - (LATER + 12 * HOUR) < HOUR


@pytest.mark.parametrize("factor", [0.93, 1.07])
def test_a_trifle_is_none_however_busy(factor):
    detectors = watching(times(lambda h: 20 * people(h), 21, 1))
    live = times(lambda h: 20 * people(h), 7, 7, LATER, lambda t: np.full(len(t), factor))
    assert rings(detectors, live, LATER + 7 * DAY) == {"silence": [], "traffic_volume": []}


def test_clocks_that_change_do_not_page(references):
    """Everybody comes an hour later from one week to the next."""
    live = times(lambda h: office((h - 1) % 168), 14, 8, LATER, noise=0.3)
    assert rings(references["office"], live, LATER + 14 * DAY)["silence"] == []


def test_a_nightly_batch_that_does_not_come_rings():
    def batch(hour):
        return np.where(hour % 24 // 1 == 3, 0.1, 0.0)

    detectors = watching(times(batch, 21, 1))
    assert rings(detectors, times(batch, 21, 2, LATER), LATER + 21 * DAY)["silence"] == []

    def fails(t):
        return np.where(t >= LATER + 4 * DAY, 0.0, 1.0)

    live = times(batch, 7, 3, LATER, fails)
    found = rings(detectors, live, LATER + 4 * DAY + 12 * HOUR)["silence"]
    assert LATER + 4 * DAY + 3 * HOUR < found[0] <= LATER + 4 * DAY + 4 * HOUR


def test_bursts_make_it_patient():
    """Traffic that comes in swells of half an hour: its own dependence keeps the promise."""

    def swelling(seed, days, start):
        random = np.random.default_rng(seed)
        swells = np.exp(0.8 * random.normal(size=days * 48) - 0.32)
        return times(people, days, seed, start, lambda t: swells[(t - start) // (30 * MINUTE)], 0.0)

    detectors = watching(swelling(1, 28, MONDAY))
    live = swelling(2, 84, LATER)
    found = rings(detectors, live, LATER + 84 * DAY)
    assert len(found["silence"]) <= 1
    assert len(found["traffic_volume"]) <= 1


def test_a_silence_told_at_once_says_what_it_says_tick_by_tick(references):
    for detector in references["office"].values():
        panes = run(detector, np.array([LATER]), LATER + 17 * DAY)
        each = panes.sections["ticks"]
        at_once = np.array([[each[0, 0], len(each), 0]])
        one_by_one = step_through(detector, panes, [5, 1000])[1].sum(axis=0)
        whole = detector.step(None, PaneRun(panes.time[-1:], {"ticks": at_once}))[1][0]
        np.testing.assert_allclose(whole, one_by_one, rtol=1e-9)
        assert whole.min() > 0 or detector.stream.detector != "silence"


def test_no_silence_is_too_long_for_the_arithmetic():
    busy = TrafficProfile(1000, 10**6, 1e6, 1, (1e6,) * 168, (1e6,) * 168, (1e6,) * 168, 1e6)
    profile = object.__new__(Profile)
    object.__setattr__(profile, "traffic", busy)
    for detector in Traffic.watch(profile, None):
        years = np.array([[10**9, 10**9, 0]])
        said = detector.step(None, PaneRun(np.array([2 * 10**12]), {"ticks": years}))[1]
        assert np.isfinite(said).all()
        assert (said > 0).any()


@pytest.mark.parametrize("tick", [10_000, 70_000, HOUR, 5 * HOUR])
def test_ticks_of_a_stretch_by_hour_of_the_week(tick):
    for first, stop in ((0, 1), (12_345, 12_345 + 2_000), (7, 7)):
        start = np.arange(first, stop) * tick
        expected = np.bincount(hour_of_week(start), minlength=168)
        assert np.array_equal(hour_weights(first, stop, tick), expected)
    assert hour_of_week(np.array([MONDAY, MONDAY - 1, MONDAY + 5 * HOUR])).tolist() == [0, 167, 5]


def test_means_are_those_of_the_hours_and_near_the_truth(references):
    traffic = references["people"]["silence"].traffic
    assert traffic.period == 168
    truth = people(np.arange(168) + 0.5) * traffic.tick / 1000
    mean, low, high = (np.array(x) for x in (traffic.mean, traffic.low, traffic.high))
    assert np.abs(mean / truth - 1).max() < 0.15
    assert ((low < truth) & (truth < high)).mean() > 0.98


@pytest.mark.parametrize("peak", [0.0, 1.0])
def test_hours_borrow_strength_and_a_special_one_keeps_its_own(peak):
    """Wednesday at three: a weekly batch, or nothing special."""

    def shape(hour):
        return 0.02 + np.where((hour >= 51) & (hour < 52), peak, 0.0)

    traffic = traffic_profile(times(shape, 21, 1), PANE)
    mean = np.array(traffic.mean) * HOUR / traffic.tick
    expected = 72 + 3600 * peak
    assert abs(mean[51] - expected) < 3 * np.sqrt(expected / 3)
    raw = np.sqrt(72 / 3)  # what the error of an hour's own mean would be
    error = np.sqrt(((np.delete(mean, 51) - 72) ** 2).mean())
    assert error < (0.6 if peak == 0 else 1.1) * raw


def test_a_profile_does_not_depend_on_the_order_of_rows():
    time = times(people, 15, 1)
    mixed = np.random.default_rng(1).permutation(time)
    assert traffic_profile(mixed, PANE) == traffic_profile(time, PANE)


def test_what_is_too_short_or_has_no_span_is_not_watched():
    assert traffic_profile(np.array([5, 5, 5]), PANE) is None
    assert traffic_profile(np.array([5]), PANE) is None
    assert watching(times(people, 0.9, 1)) == {}
    assert set(watching(times(people, 1.2, 1))) == {"silence", "traffic_volume"}
    # A day and a half of which a night had nothing: too few ticks as long as that night.
    nights = times(office, 1.9, 1)
    awake = nights[(nights % DAY >= 8 * HOUR) & (nights % DAY < 18 * HOUR)]
    assert watching(awake) == {}


def test_a_gap_of_weeks_in_the_reference_is_no_silence():
    """January and June: the months between are not part of it."""
    parts = times(people, 14, 1), times(people, 14, 2, MONDAY + 140 * DAY)
    whole = traffic_profile(np.concatenate(parts), PANE)
    mean = np.array(traffic_profile(times(people, 28, 1), whole.tick).mean)
    np.testing.assert_allclose(np.array(whole.mean), mean * whole.tick / whole.tick, rtol=0.25)


def test_ticks_are_whole_panes_and_parts_of_an_hour():
    for pane in (10_000, 7_000, 60_000, 2 * HOUR):
        for rate in (5.0, 0.1, 0.01):
            time = times(lambda hour, rate=rate: np.full(len(hour), rate), 3, 1)
            tick = traffic_profile(time, pane).tick
            assert tick % pane == 0
            assert tick == pane or tick <= HOUR
            assert HOUR % pane or HOUR % tick == 0


def test_a_profile_made_for_other_panes_still_fits():
    traffic = traffic_profile(times(people, 15, 1), 10_000)
    other = traffic.in_panes(70_000)
    assert other.tick % 70_000 == 0
    assert other.expected(LATER, LATER + 7 * DAY) == pytest.approx(
        traffic.expected(LATER, LATER + 7 * DAY)
    )
    assert traffic.in_panes(traffic.tick) is traffic


def test_expected_counts_hours_in_part():
    traffic = traffic_profile(times(people, 28, 1), PANE)
    whole = traffic.expected(LATER, LATER + HOUR)
    assert traffic.expected(LATER, LATER + HOUR // 4) == pytest.approx(whole / 4)
    assert traffic.expected(LATER, LATER) == 0.0


def test_only_whole_ticks_are_counted():
    made = tick_counts(np.array([5, 12, 13, 29, 31]), 10)
    assert made.count.tolist() == [2, 1]
    assert tick_counts(np.array([5, 12]), 10) is None


def written(path, time):
    """Predictions at these times as a file."""
    random = np.random.default_rng(1)
    lines = ["id,timestamp,x,score,label"]
    for i, t in enumerate(time.tolist()):
        score = random.random()
        lines.append(f"{path.stem}-{i},{t},{random.normal():.2f},{score:.2f},{int(score > 0.5)}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """A configuration with a profile of three days, Monday to Wednesday."""
    folder = tmp_path_factory.mktemp("traffic")
    settings = {"task": "binary", "fields": {"features": ["x"]}}
    model = Config.model_validate({"models": {"m": settings}}).models["m"]
    path = written(folder / "reference.csv", times(lambda h: 0.4 * people(h), 3, 1))
    reference = read_reference(path, model.fields, declared_kinds(model))
    profile = profile_of(reference, model, PANE)
    profile_file.save(profile, folder / "m.profile")
    settings["profile"] = str(folder / "m.profile")
    config = Config.model_validate({"models": {"m": settings}})
    return folder, config, reference, profile


def test_an_outage_through_the_whole_pipeline(configured):
    folder, config, _, profile = configured
    out = LATER + DAY + 10 * HOUR, LATER + DAY + 16 * HOUR

    def fails(t):
        return np.where((t >= out[0]) & (t < out[1]), 0.0, 1.0)

    path = written(folder / "live.csv", times(lambda h: 0.4 * people(h), 3, 2, LATER, fails))
    found = []
    for options in ({}, {"batch_rows": 60, "partitions": 3}):
        pipe = replay(config, "m", path, None, **options)
        alarms = pipe.models["m"].alarms.cleared
        found.append([replace(a, offsets=()) for a in alarms if a.target == "traffic"])
    assert found[0] == found[1]
    alarm = next(a for a in found[0] if a.kind == "silence")
    assert out[0] < alarm.raised_at < out[0] + 2 * HOUR
    assert abs(alarm.onset - out[0]) < HOUR
    assert out[1] < alarm.cleared_at < LATER + 3 * DAY
    assert alarm.effect.measure == "predictions_per_hour"
    expected = profile.traffic.expected(out[0], out[1]) / 6
    assert alarm.effect.value < 0.1 * expected
    assert alarm.effect.reference == pytest.approx(expected, rel=0.2)


def test_hours_that_are_not_in_the_reference_are_said(configured):
    _, config, reference, profile = configured
    said = promise("m", config, reference, profile)
    assert any("in the 96 hours of a week that the reference lacks" in s for s in said.not_promised)
    streams = {s.detector: s.basis for s in said.streams if s.target == "traffic"}
    assert streams == {"silence": "calibrated", "traffic_volume": "calibrated"}


def test_a_reference_that_is_too_short_is_said(configured):
    _, config, reference, profile = configured
    short = replace(profile, traffic=replace(profile.traffic, ticks=10))
    said = promise("m", config, reference, short).not_promised
    assert any("traffic is not watched: the reference is shorter" in s for s in said)
