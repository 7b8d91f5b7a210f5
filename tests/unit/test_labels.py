"""Label delay and coverage: learned from the stream, quiet at rest, loud when labels fail."""

import json

import numpy as np
import pytest

from agent.config import Config
from agent.replay import replay
from agent.results import results
from detectors.budget import Budget, Ring
from detectors.contract import step_through
from detectors.evidence import PaneRun
from detectors.labels.cells import BOUNDS, DELAYS, PARTS, SIZE, age_cells, ages, delay_cells
from detectors.labels.coverage import LabelCoverage
from detectors.labels.delay import LabelDelay
from detectors.labels.learned import MOST_BLOCKS, dependence, learn, nothing
from detectors.ratio import rate_table

START = 1_700_006_400_000
HOUR = 3_600_000
DAY = 24 * HOUR
HORIZON = 5 * DAY
PROMISED = 1 / (30 * DAY)


def stream(days, seed, delay=lambda t, d: d, labelled=lambda t: 0.9, per_hour=40, delivered=None):
    """Panes of an hour from the first prediction on: a daily wave, labels after about two hours.

    `delay` changes delays by the prediction's time, `labelled` says which share gets a label, and
    `delivered` when labels that are ready by some time come.
    """
    random = np.random.default_rng(seed)
    hour = np.arange(days * 24) * HOUR
    rate = per_hour * (1 + 0.8 * np.sin(2 * np.pi * hour / DAY))
    n = random.poisson(rate)
    time = np.repeat(hour, n) + random.integers(0, HOUR, n.sum())
    late = delay(time, np.exp(random.normal(np.log(2 * HOUR), 0.8, len(time))))
    comes = time + late.astype(np.int64)
    comes = comes if delivered is None else np.maximum(delivered(comes), time)
    has = random.random(len(time)) < labelled(time)
    end = days * DAY
    counts = np.zeros((days * 24, SIZE), dtype=np.int64)
    seen = has & (comes < end) & (comes - time <= HORIZON)
    np.add.at(counts, (comes[seen] // HOUR, delay_cells((comes - time)[seen])), 1)
    for number, age in enumerate(ages(HORIZON)):
        told = time + age
        now = told < end
        cell = age_cells(np.full(now.sum(), number), (has & (comes < told))[now])
        np.add.at(counts, (told[now] // HOUR, cell), 1)
    return PaneRun(START + hour + HOUR, {"labels": counts})


def rings(run):
    """Days of the alarms of both, which share a tenth of the budget of tickets."""
    detectors = [LabelDelay(HORIZON), LabelCoverage()]
    log_e = np.concatenate([d.step(d.start(), run)[1] for d in detectors], axis=1)
    budget = Budget([d.stream for d in detectors], PROMISED / 10)
    _, happened = budget.step(budget.start(), run.time, log_e)
    found = {"label_delay": [], "label_coverage": []}
    for h in happened:
        if isinstance(h, Ring):
            found[detectors[h.stream].stream.detector].append((h.time - START) / DAY)
    return found


QUIET = {"label_delay": [], "label_coverage": []}


@pytest.mark.parametrize("seed", range(6))
def test_nothing_rings_while_nothing_changes(seed):
    """Ten weeks each, from the very first prediction on: long delays come to light by and by."""
    assert rings(stream(70, seed)) == QUIET


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_come_once_a_day_ring_no_more(seed):
    def delivered(ready):
        return -(-ready // DAY) * DAY + 2 * HOUR

    assert rings(stream(70, seed, delivered=delivered)) == QUIET


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_wait_for_monday_ring_hardly(seed):
    """What a weekend holds up for two days is a part of the week that was learned."""

    def delivered(ready):
        day = ready // DAY % 7
        return np.where(day >= 5, (ready // DAY + 7 - day) * DAY + HOUR, ready)

    found = rings(stream(84, seed, delivered=delivered))
    assert len(found["label_delay"]) + len(found["label_coverage"]) <= 1


@pytest.mark.parametrize("factor", [2.0, 5.0])
def test_later_labels_ring(factor):
    def later(time, delay):
        return np.where(time >= 30 * DAY, factor * delay, delay)

    found = rings(stream(40, 1, later))
    days = [d for alarms in found.values() for d in alarms]
    assert found["label_delay"]
    assert 30 < min(days) < 31.5


def test_earlier_labels_do_not():
    def sooner(time, delay):
        return np.where(time >= 30 * DAY, delay / 3, delay)

    assert rings(stream(40, 1, sooner)) == QUIET


@pytest.mark.parametrize(("share", "within"), [(0.7, 4.0), (0.0, 1.5)])
def test_fewer_labels_ring(share, within):
    def fewer(time):
        return np.where(time >= 30 * DAY, share, 0.9)

    found = rings(stream(40, 2, labelled=fewer))
    assert found["label_coverage"]
    assert 30 < found["label_coverage"][0] < 30 + within
    assert found["label_delay"] == []


def test_more_labels_and_a_trifle_fewer_do_not():
    for share in (0.98, 0.89):
        run = stream(60, 3, labelled=lambda t, s=share: np.where(t >= 20 * DAY, s, 0.9))
        assert rings(run) == QUIET


@pytest.mark.parametrize("detector", [LabelDelay(HORIZON), LabelCoverage()])
def test_what_was_learned_does_not_depend_on_how_it_was_stepped(detector):
    run = stream(16, 4)
    whole, evidence = step_through(detector, run, [])
    parted, parts = step_through(detector, run, [1, 2, 24, 170, 171, 300])
    assert np.array_equal(parts, evidence)
    assert evidence.any()
    states = [s if isinstance(s, tuple) else (s,) for s in (whole, parted)]
    for one, other in zip(*states, strict=True):
        assert (one.first, one.width, one.done) == (other.first, other.width, other.done)
        assert np.array_equal(one.counts, other.counts)
        assert np.array_equal(one.table, other.table)


def test_nothing_is_learned_from_less_than_a_week_or_2000_rows():
    detector = LabelCoverage()
    young, _ = detector.step(detector.start(), stream(7, 1))
    assert not any(known.done for known in young)
    thin, _ = detector.step(detector.start(), stream(20, 1, per_hour=3))
    assert not any(known.done for known in thin)
    enough, _ = detector.step(detector.start(), stream(8, 1))
    assert [known.done for known in enough] == [True, True, False, False]  # the last are older


def test_long_learning_is_bounded():
    """Three years at an event a day: the blocks are joined in pairs, and nothing is lost."""
    days = 1100
    time = START + (np.arange(days) + 1) * DAY
    counts = np.ones((days, 1), dtype=np.int64)
    first = START + DAY - 1
    memories = []
    for cuts in ([], [1, 40, 600, 601]):
        memory = nothing(1, 1)
        memory = type(memory)(first, *(getattr(memory, n) for n in memory.__slots__[1:]))
        for part in np.split(np.arange(days), cuts):
            memory, _ = learn(memory, time[part], counts[part], lambda c: np.zeros((1, 1), int))
        memories.append(memory)
    one, other = memories
    assert len(one.counts) <= MOST_BLOCKS
    assert one.counts.sum() == days
    assert one.width == other.width
    assert np.array_equal(one.counts, other.counts)


def test_dependence_of_blocks():
    random = np.random.default_rng(1)
    table = rate_table(0.4, np.array([0.6]))
    wrong = random.binomial(200, 0.3, 400)
    assert dependence(np.stack([200 - wrong, wrong], 1), table).tolist() == [1.0]
    swings = np.repeat(random.choice([0.1, 0.5], 40), 10)
    wrong = random.binomial(200, swings)
    found = dependence(np.stack([200 - wrong, wrong], 1), table)[0]
    # Ten blocks of 200 swing together: variance .04 of the share against .21 of an event.
    assert 0.3 < found / (2000 * 0.04 / 0.21) < 3


def test_delays_have_bins_of_a_factor_of_two_or_three():
    assert delay_cells(np.array([0, 1000, 1001, 31 * DAY])).tolist() == [0, 0, 1, DELAYS - 1]
    ratio = BOUNDS[1:] / BOUNDS[:-1]
    assert ratio.min() >= 1.7
    assert ratio.max() <= 3.4
    assert len(ages(HORIZON)) == len(PARTS)
    assert ages(HORIZON)[-1] == HORIZON


def records(random, n, minutes, fails):
    """Predictions every so many minutes, and labels within the hour; from `fails` on few."""
    predictions, outcomes = [], []
    for i in range(n):
        time = START + int(i * minutes * 60_000)
        score = round(float(random.random()), 2)
        row = {"id": f"r{i}", "timestamp": time, "features": {"x": float(random.normal())}}
        predictions.append(row | {"score": score})
        if random.random() < (0.3 if i >= fails else 0.95):
            came = time + int(random.integers(1, 50)) * 60_000
            label = int(random.random() < score)
            outcomes.append({"id": f"r{i}", "timestamp": came, "label": label})
    outcomes.sort(key=lambda r: r["timestamp"])
    return predictions, outcomes


@pytest.fixture(scope="module")
def alarms(tmp_path_factory):
    """Of a fortnight and more, in which labels fail on the twelfth day; read in several ways."""
    folder = tmp_path_factory.mktemp("labels")
    n, fails = 6_000, 4_300
    made = records(np.random.default_rng(1), n, 4, fails)
    paths = folder / "p.jsonl", folder / "f.jsonl"
    for path, rows in zip(paths, made, strict=True):
        path.write_text("\n".join(map(json.dumps, rows)))
    model = {"task": "binary", "warmup": 400, "feedback": {"horizon": "1d"}}
    config = Config.model_validate({"models": {"m": model}})
    found = []
    for batch_rows, partitions in ((10_000, 1), (77, 3)):
        pipe = replay(config, "m", *paths, batch_rows=batch_rows, partitions=partitions)
        found.append(results(pipe)["models"]["m"]["alarms"])
    return found, START + fails * 4 * 60_000


def test_through_the_whole_pipeline(alarms):
    (found, again), failed = alarms
    assert found == again
    (alarm,) = (a for a in found if a["kind"] == "labels")
    assert (alarm["detector"], alarm["target"]) == ("label_coverage", "label_coverage")
    assert alarm["severity"] == "ticket"
    raised = np.datetime64(alarm["raised_at"].rstrip("Z")).astype("datetime64[ms]").astype(int)
    assert failed < raised < failed + DAY
    assert alarm["effect"]["measure"] == "label_coverage"
    assert alarm["effect"]["value"] < 0.6 < 0.9 < alarm["effect"]["reference"]
