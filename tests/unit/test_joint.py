"""Joint structure: pairs of features depend on each other in another way, the features stay."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import poisson
from sklearn.metrics import mutual_info_score

from agent import profile_file
from agent.errors import UsageError
from detectors import pairs
from detectors.batch import Batch, NumericFeature, Schema
from detectors.bins import reference_bins
from detectors.budget import Budget, Ring
from detectors.drift.joint import JointCells, JointDrift
from detectors.evidence import PaneRun
from detectors.pairs import (
    CELLS,
    PAIRS,
    WIDTH,
    chosen_pairs,
    coarse_edges,
    joint_profile,
    smoothed,
    tilted,
)
from detectors.pane import PaneCells
from detectors.profile import build_profile
from detectors.registry import calibrated, default_detectors
from tests.watched import MINUTE, MOVED, Watched

SECOND, PANE, PER_ALARM = 1000, 100, 100_000  # an event a second, events a pane and an alarm


def correlated(p, *changed):
    """Correlations (p, p) of independent features, but for some pairs (i, j, correlation)."""
    matrix = np.eye(p)
    for i, j, rho in changed:
        matrix[i, j] = matrix[j, i] = rho
    return matrix


def values(random, n, matrix, follows=0.0):
    """Normal features (n, p); each is an autoregression with the coefficient `follows`."""
    noise = random.normal(size=(n, len(matrix)))
    latent = lfilter([np.sqrt(1 - follows**2)], [1, -follows], noise, axis=0)
    return latent @ np.linalg.cholesky(matrix).T


def batch(numeric, first=0):
    """Predictions, one a second."""
    n = len(numeric)
    return Batch(
        (first + np.arange(n)) * SECOND,
        np.arange(n).astype(np.uint64),
        np.zeros(n, dtype=np.int32),
        numeric,
        np.zeros(numeric.shape, dtype=bool),
        np.zeros((n, 0), dtype=np.int32),
        np.zeros(n),
        np.zeros((n, 0)),
        np.full(n, np.nan),
    )


def profiled(numeric):
    schema = Schema("regression", tuple(map(NumericFeature, features(numeric.shape[1]))), ())
    rows = batch(numeric)
    return calibrated(build_profile(schema, rows, None, 10_000), rows, None)


def features(p):
    return [f"f{i}" for i in range(p)]


def watching(of):
    """Detectors of the features and of what is between them."""
    every = default_detectors(of, PaneCells(of).inputs)
    return [d for d in every if d.stream.kind == "drift" and d.stream.target != "prediction"]


def joint_of(of):
    return next(d for d in watching(of) if isinstance(d, JointDrift))


def panes(of, numeric, first=0):
    cells = PaneCells(of)
    rows = batch(numeric, first)
    parts = [rows.take(slice(i, i + PANE)) for i in range(0, len(rows), PANE)]
    sections = {
        name: np.stack([cells.of_batches[name].counts(part) for part in parts])
        for name in ("inputs", "joint")
    }
    return PaneRun((first + np.arange(1, len(parts) + 1) * PANE) * SECOND, sections)


def rings(detectors, *runs):
    """(event, target) of each alarm over the runs in turn."""
    budget = Budget([d.stream for d in detectors], 1 / (PER_ALARM * SECOND))
    state, memories, found = budget.start(), [d.start() for d in detectors], []
    for run in runs:
        stepped = [d.step(m, run) for d, m in zip(detectors, memories, strict=True)]
        memories = [memory for memory, _ in stepped]
        state, happened = budget.step(state, run.time, np.hstack([e for _, e in stepped]))
        rung = [h for h in happened if isinstance(h, Ring)]
        found += [(r.time // SECOND, budget.streams[r.stream].target) for r in rung]
    return found


def alarms(detector, *runs):
    """How many there are if the budget starts anew after each: one that stands hides the next."""
    memory, budget = detector.start(), Budget([detector.stream], 1 / (PER_ALARM * SECOND))
    state, number = budget.start(), 0
    for run in runs:
        memory, evidence = detector.step(memory, run)
        for time, pane in zip(run.time[:, None], evidence[:, None], strict=True):
            state, happened = budget.step(state, time, pane)
            if happened:
                state, number = budget.start(), number + 1
    return number


def test_all_pairs_of_few_features_are_watched():
    assert chosen_pairs(np.eye(4)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert len(chosen_pairs(np.eye(8))) == 28


def test_of_many_features_the_strongest_pairs_and_every_feature():
    strong = [(i, j, -0.5) for i in range(6) for j in range(i)]
    chosen = chosen_pairs(correlated(30, *strong))
    assert len(set(chosen)) == PAIRS and all(i < j for i, j in chosen)
    assert {(j, i) for i, j, _ in strong} <= set(chosen)
    assert {i for pair in chosen for i in pair} == set(range(30))


def test_edges_lie_at_the_levels_and_between_repeated_values():
    random = np.random.default_rng(1)
    smooth = reference_bins(random.normal(size=10_000))
    assert coarse_edges(smooth) == pytest.approx([-1.28, -0.385, 0.385, 1.28], abs=0.05)
    flag = reference_bins((random.random(10_000) < 0.3).astype(float))
    assert len(coarse_edges(flag)) == 1 and 0 < coarse_edges(flag)[0] <= 1
    assert coarse_edges(reference_bins(np.ones(10_000))) == ()
    assert coarse_edges(reference_bins(random.normal(size=pairs.FEWEST_REFERENCE - 1))) == ()


def test_without_two_features_that_vary_there_is_nothing_to_watch():
    random = np.random.default_rng(2)
    one = np.stack([random.normal(size=500), np.full(500, 3.0)], axis=1)
    of = profiled(one)
    assert of.joint is None and "joint" not in PaneCells(of).sections
    assert not any(d.stream.target == "joint" for d in default_detectors(of, PaneCells(of).inputs))


def test_counts_are_those_of_rows_that_have_both_values():
    random = np.random.default_rng(3)
    of = profiled(values(random, 2_000, np.eye(3)))
    numeric = values(random, 400, np.eye(3))
    numeric[random.random(numeric.shape) < 0.1] = np.nan
    cells, expected = JointCells(of, of.joint), np.zeros((3, WIDTH, WIDTH), dtype=np.int64)
    for row in numeric:
        for number, (i, j) in enumerate(of.joint.pairs):
            if not np.isnan(row[[i, j]]).any():
                cell = [sum(e <= row[k] for e in of.joint.edges[k]) for k in (i, j)]
                expected[number, cell[0], cell[1]] += 1
    assert 0 < expected.sum() < 3 * 400
    made = cells.contributions(batch(numeric))
    assert np.array_equal(np.bincount(made.cell, made.weight, cells.size), expected.ravel())
    assert np.array_equal(cells.counts(batch(numeric)), expected.ravel())


def test_the_reference_does_not_depend_on_the_order_of_rows_of_one_time():
    numeric = values(np.random.default_rng(4), 3_000, correlated(12, (0, 1, 0.4)))
    columns = [reference_bins(column) for column in numeric.T]
    one = joint_profile(columns, numeric, np.arange(3_000))
    other = joint_profile(columns, numeric[::-1], np.arange(3_000)[::-1])
    assert one == other and len(one.pairs) == PAIRS
    assert all(sum(counts) == 3_000 for counts in one.counts)


def test_alternatives_keep_the_margins_and_change_the_dependence():
    of = profiled(values(np.random.default_rng(5), 5_000, correlated(2, (0, 1, 0.6))))
    cells = JointCells(of, of.joint)
    p = smoothed(cells.reference)[0]
    made = tilted(p, np.array([-0.7, 0.0, 0.3]))
    for q in made:
        assert q.sum(axis=0) == pytest.approx(p.sum(axis=0), abs=1e-9)
        assert q.sum(axis=1) == pytest.approx(p.sum(axis=1), abs=1e-9)
    assert made[1] == pytest.approx(p, abs=1e-9)
    whole = np.round(made.reshape(3, 1, CELLS) * 1e9).astype(np.int64)
    correlation = [cells.correlations(q)[0][0] for q in whole]
    now = np.arctanh(correlation[1])
    assert now == pytest.approx(np.arctanh(0.55), abs=0.05)
    assert correlation[0] == pytest.approx(np.tanh(now - 0.7), abs=0.07)
    assert correlation[2] == pytest.approx(np.tanh(now + 0.3), abs=0.07)


CHANGES = {
    "0 to .3": (correlated(5), correlated(5, (1, 3, 0.3))),
    "0 to .5": (correlated(5), correlated(5, (1, 3, 0.5))),
    ".6 to .2": (correlated(5, (0, 1, 0.6)), correlated(5, (0, 1, 0.2))),
    "all independent": (correlated(5, (0, 1, 0.6), (2, 3, -0.6)), correlated(5)),
    "a copy": (correlated(5), correlated(5, (1, 3, 0.9999))),
}
WITHIN = {"0 to .3": 1_000, "0 to .5": 400, ".6 to .2": 400, "all independent": 300, "a copy": 200}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_dependence_rings_and_is_called_joint(change):
    before, after = CHANGES[change]
    delays = []
    for seed in range(3):
        random = np.random.default_rng([6, seed])
        of = profiled(values(random, 5_000, before))
        stream = np.concatenate([values(random, 2_000, before), values(random, 4_000, after)])
        (event, target), *others = rings(watching(of), panes(of, stream))
        assert target == "joint" and event > 2_000
        assert not [t for _, t in others if t != "joint"]
        delays.append(event - 2_000)
    assert np.median(delays) <= WITHIN[change]


MOVES = {
    "one of a dependent pair": lambda x: x + np.array([1.0, 0, 0, 0]),
    "both of a dependent pair": lambda x: x + np.array([1.0, 1.0, 0, 0]),
    "two independent ones": lambda x: x + np.array([1.0, 0, 1.0, 0]),
    "all a little": lambda x: x + 0.3,
    "all wider": lambda x: x * 1.3,
}


@pytest.mark.parametrize("move", MOVES)
def test_features_that_move_are_not_called_a_change_of_dependence(move):
    matrix, rung = correlated(4, (0, 1, 0.6)), []
    for seed in range(3):
        random = np.random.default_rng([7, seed])
        of = profiled(values(random, 5_000, matrix))
        stream = values(random, 2_000, matrix), MOVES[move](values(random, 4_000, matrix))
        run = panes(of, np.concatenate(stream))
        found = rings(watching(of), run)
        assert found and not [t for _, t in found if t == "joint"]
        assert not rings([joint_of(of)], run)  # not even where the features have no streams
        blind = joint_of(of)
        blind.moves = np.zeros_like(blind.moves)
        rung += rings([blind], run)
    assert rung  # it would ring if it did not look whether features have moved


def test_no_more_alarms_than_promised_while_nothing_changes():
    """A million events against a budget of one alarm in 100,000."""
    events = rung = twice = 0
    for seed in range(10):
        random = np.random.default_rng([8, seed])
        matrix = correlated(4, (0, 1, 0.6))
        of = profiled(values(random, 5_000, matrix))
        runs = [panes(of, values(random, 25_000, matrix), 25_000 * i) for i in range(4)]
        rung += alarms(joint_of(of), *runs)
        doubled = [PaneRun(r.time, {"joint": 2 * r.sections["joint"]}) for r in runs]
        twice += alarms(joint_of(of), *doubled)
        events += 100_000
    assert events == 1_000_000
    assert rung <= poisson.ppf(0.99, events / PER_ALARM)
    assert twice > poisson.ppf(0.9999, events / PER_ALARM)  # rows that count twice would be seen


def test_serial_dependence_is_learned_and_keeps_the_promise():
    matrix, rung, naive = correlated(3, (0, 1, 0.6)), 0, 0
    for seed in range(4):
        random = np.random.default_rng([9, seed])
        of = profiled(values(random, 5_000, matrix, follows=0.8))
        run = panes(of, values(random, 50_000, matrix, follows=0.8))
        detector = joint_of(of)
        assert detector.stream.basis == "calibrated"
        rung += alarms(detector, run)
        naive += alarms(JointDrift(of, of.joint), run)
    assert rung <= poisson.ppf(0.99, 2) < naive


def test_a_pair_says_nothing_while_a_feature_has_moved():
    of = profiled(values(np.random.default_rng(10), 5_000, np.eye(2)))
    detector = joint_of(of)
    moved = panes(of, values(np.random.default_rng(11), 500, correlated(2, (0, 1, 0.9))) + 1.0)
    memory, evidence = detector.step(detector.start(), moved)
    free = JointDrift(of, of.joint)
    free.moves = np.zeros_like(free.moves)
    assert (free.step(free.start(), moved)[1] > 10).any()
    first, later = free.step(free.start(), moved)[1][0], evidence[1:]
    assert np.array_equal(evidence[0], np.minimum(first, 0.0)) and (evidence[0] < 0).any()
    assert (later == 0).all()
    back = panes(of, values(np.random.default_rng(12), 3_000, np.eye(2)))
    memory, _ = detector.step(memory, back)
    broken = panes(of, values(np.random.default_rng(13), 500, correlated(2, (0, 1, 0.9))))
    assert (detector.step(memory, broken)[1] > 10).any()


def test_correlation_and_distances_are_of_the_pair_that_differs():
    random = np.random.default_rng(14)
    of = profiled(values(random, 20_000, correlated(3, (0, 1, 0.6))))
    cells = JointCells(of, of.joint)
    assert cells.names == ("f0 x f1", "f0 x f2", "f1 x f2")
    counts = cells.counts(batch(values(random, 20_000, correlated(3, (1, 2, 0.5)))))
    now, then = cells.correlations(counts)
    assert now == pytest.approx([0.0, 0.0, 0.46], abs=0.03)
    assert then == pytest.approx([0.55, 0.0, 0.0], abs=0.03)
    assert cells.distances(counts)["psi"] > 0.2 > cells.distances(cells.reference.ravel())["psi"]
    assert cells.distances(np.zeros(cells.size, dtype=np.int64)) == {}


def test_cells_keep_most_of_what_a_normal_pair_tells():
    """Four fifths of the mutual information, as `detectors.pairs` has it."""
    random = np.random.default_rng(15)
    of = profiled(values(random, 20_000, np.eye(2)))
    drawn = values(random, 400_000, correlated(2, (0, 1, 0.5)))
    a, b = pairs.coarse_codes(pairs.padded(of.joint.edges), drawn)
    assert mutual_info_score(a, b) > 0.8 * -0.5 * np.log(1 - 0.5**2)


def test_a_profile_keeps_its_pairs_and_a_damaged_one_is_refused(tmp_path):
    of = profiled(values(np.random.default_rng(16), 1_000, np.eye(3)))
    path = tmp_path / "m.profile"
    profile_file.save(of, path)
    assert profile_file.load(path)[0].joint == of.joint
    for damage in (
        {"pairs": of.joint.pairs[:2]},
        {"pairs": ((0, 1), (0, 2), (1, 3))},
        {"edges": of.joint.edges[:2]},
        {"counts": (*of.joint.counts[:2], (1, 2))},
    ):
        profile_file.save(replace(of, joint=replace(of.joint, **damage)), path)
        with pytest.raises(UsageError, match="pairs and counts do not fit"):
            profile_file.load(path)


def test_an_alarm_names_the_pair_and_its_correlation(tmp_path):
    watched = Watched(tmp_path / "credit.profile")
    assert not watched.until(30 * MINUTE)
    (alarm,) = watched.until(50 * MINUTE, tied=0.6)
    assert (alarm.detector, alarm.target, alarm.kind) == ("joint_drift", "joint", "drift")
    assert alarm.severity == "ticket"
    assert alarm.contributors[0].feature == "income x age"
    assert "joint" not in {c.feature for c in alarm.contributors}
    assert alarm.effect.measure == "correlation"
    assert alarm.effect.value == pytest.approx(0.55, abs=0.1)
    assert alarm.effect.reference == pytest.approx(0.0, abs=0.05)


def test_an_alarm_of_a_feature_that_moved_names_no_pair(tmp_path):
    watched = Watched(tmp_path / "credit.profile")
    watched.until(30 * MINUTE)
    (alarm,) = watched.until(50 * MINUTE, income=MOVED)
    assert alarm.target == "income" and "income" in {c.feature for c in alarm.contributors}
    assert not [c.feature for c in alarm.contributors if " x " in c.feature]
