"""Performance sketches against scikit-learn on the same rows."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from detectors.accuracy import METRICS, Performance, performance_sketch
from detectors.accuracy.ranking import ScoreGrid
from detectors.batch import Outcomes, Schema, Task
from detectors.sketch import total

Floats = NDArray[np.float64]

GROUPS = 5
CLASSES = 4
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
RANK = {"roc_auc", "average_precision"}

pytestmark = pytest.mark.filterwarnings("error")


def sketch_of(task: Task, groups: int = GROUPS) -> Performance:
    names = {"binary": 2, "multiclass": CLASSES, "regression": 0}
    classes = tuple("abcdef"[: names[task]])
    return performance_sketch(Schema(task, (), (), classes), groups)


def outcomes(
    label: Floats,
    prediction: Floats,
    score: Floats | None = None,
    group: NDArray[np.int32] | None = None,
    sign: NDArray[np.int64] | None = None,
) -> Outcomes:
    n = len(label)
    return Outcomes(
        time=np.zeros(n, dtype=np.int64),
        prediction=prediction,
        score=np.empty((n, 0)) if score is None else score if score.ndim == 2 else score[:, None],
        label=label,
        group=np.zeros((n, 1), dtype=np.int32) if group is None else group,
        sign=np.ones(n, dtype=np.int64) if sign is None else sign,
        protected=np.zeros((n, 0), dtype=np.int32),
    )


def rows_of(task: Task, seed: int, n: int, hundredths: bool = False) -> Outcomes:
    """Seeded rows in random groups; scores in hundredths, so that they tie, if asked."""
    random = np.random.default_rng(seed)
    group = random.integers(0, GROUPS, (n, 2)).astype(np.int32)
    if task == "regression":
        label = random.normal(50, 10, n)
        return outcomes(label, label + random.normal(0.3, 4, n), group=group)
    if task == "binary":
        score = random.beta(0.6, 1.7, n)
        label = (random.random(n) < score).astype(np.float64)
        score = score.round(2) if hundredths else score
        return outcomes(label, (score >= 0.5).astype(np.float64), score, group)
    score = random.dirichlet(np.full(CLASSES, 0.7), n)
    label = (random.random((n, 1)) > score.cumsum(axis=1)).sum(axis=1).clip(0, CLASSES - 1) * 1.0
    score = random.multinomial(100, score) / 100 if hundredths else score
    return outcomes(label, score.argmax(axis=1) * 1.0, score, group)


def metrics_of(rows: Outcomes, task: Task) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics and rank errors of rows that are all in group 0."""
    sketch = sketch_of(task, 1)
    alone = replace(rows, group=rows.group[:, :1] * 0)
    state = total(sketch.contributions(alone), sketch.size)
    return sketch.metrics(state), sketch.rank_error(state)


def calibration_oracle(score: Floats, right: Floats) -> float:
    cell = np.searchsorted(np.array([k / 10 for k in range(1, 10)]), score, side="right")
    gaps = [abs((score - right)[cell == b].sum()) for b in range(10)]
    return float(sum(gaps) / len(score))


def oracle(rows: Outcomes, task: Task) -> dict[str, float]:
    """What scikit-learn gives on the rows that have scores (regression: on all)."""
    y, p = rows.label, rows.prediction
    if task == "regression":
        return {
            "mean_absolute_error": sk.mean_absolute_error(y, p),
            "root_mean_squared_error": sk.root_mean_squared_error(y, p),
            "r2": sk.r2_score(y, p),
            "mean_error": float((p - y).mean()),
            "mean_absolute_percentage_error": sk.mean_absolute_percentage_error(y, p),
        }
    average = "binary" if task == "binary" else "macro"
    result = {
        "accuracy": sk.accuracy_score(y, p),
        "balanced_accuracy": sk.balanced_accuracy_score(y, p),
        "precision": sk.precision_score(y, p, average=average, zero_division=0),
        "recall": sk.recall_score(y, p, average=average, zero_division=0),
        "f1": sk.f1_score(y, p, average=average, zero_division=0),
    }
    if task == "binary":
        s = rows.score[:, 0]
        if len(np.unique(y)) == 2:
            result["roc_auc"] = sk.roc_auc_score(y, s)
        result["average_precision"] = sk.average_precision_score(y, s)
        result["log_loss"] = sk.log_loss(y, s, labels=[0, 1])
        result["brier_score"] = float(((s - y) ** 2).mean())
        result["expected_calibration_error"] = calibration_oracle(s, y)
        return result
    if len(np.unique(y)) == CLASSES:
        result["roc_auc"] = sk.roc_auc_score(y, rows.score, multi_class="ovr")
    result["log_loss"] = sk.log_loss(y, rows.score, labels=range(CLASSES))
    right = (rows.score.argmax(axis=1) == y).astype(np.float64)
    result["expected_calibration_error"] = calibration_oracle(rows.score.max(axis=1), right)
    return result


def assert_as_scikit_learn(rows: Outcomes, task: Task, rank: float = 1e-12) -> None:
    computed, errors = metrics_of(rows, task)
    assert computed.pop("count") == len(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle(rows, task)
    assert computed.keys() == expected.keys()
    assert errors.keys() == RANK & expected.keys()
    for name, value in expected.items():
        if name in RANK:
            assert abs(computed[name] - value) <= min(errors[name], rank) + 1e-12, name
        else:
            assert computed[name] == pytest.approx(value, rel=1e-12, abs=1e-15), name


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(task: Task, seed: int) -> None:
    assert_as_scikit_learn(rows_of(task, seed, 20_000), task, rank=1e-3)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("seed", range(5))
def test_scores_in_hundredths_are_ranked_without_error(task: Task, seed: int) -> None:
    rows = rows_of(task, seed, 5_000, hundredths=True)
    assert_as_scikit_learn(rows, task)
    assert not any(metrics_of(rows, task)[1].values())


@pytest.mark.parametrize("base", [1e-2, 1e-4, 1e-6])
def test_scores_crowded_at_either_end_still_resolve(base: float) -> None:
    random = np.random.default_rng(7)
    label = (random.random(20_000) < 0.2).astype(np.float64)
    odds = base * np.exp(random.normal(label, 1.0))
    for score, y in ((odds / (1 + odds), label), (1 / (1 + odds), 1 - label)):
        rows = outcomes(y, (score >= 0.5).astype(np.float64), score)
        assert_as_scikit_learn(rows, "binary", rank=1e-3)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 1) | st.floats(0.4, 0.402) | st.floats(0, 1e-3)),
        min_size=1,
        max_size=60,
    )
)
def test_rank_metrics_stay_within_their_bounds(pairs: list[tuple[bool, float]]) -> None:
    label, score = np.array(pairs, dtype=np.float64).T
    rows = outcomes(label, (score >= 0.5).astype(np.float64), score)
    assert_as_scikit_learn(rows, "binary", rank=1.0)


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("prediction", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 3])
def test_one_class_and_one_row(label: float, prediction: float, n: int) -> None:
    score = np.linspace(0, 1, n)
    binary = outcomes(np.full(n, label), np.full(n, prediction), score)
    assert_as_scikit_learn(binary, "binary")
    scores = np.tile([0.5, 0.25, 0.125, 0.125], (n, 1))
    assert_as_scikit_learn(
        outcomes(np.full(n, label), np.full(n, prediction), scores), "multiclass"
    )


def test_a_multiclass_metric_needs_every_class_for_ranking_only() -> None:
    rows = rows_of("multiclass", 3, 200)
    rows = rows.take(rows.label != 2)
    assert_as_scikit_learn(rows, "multiclass", rank=1e-2)
    assert "roc_auc" not in metrics_of(rows, "multiclass")[0]


@pytest.mark.parametrize("task", TASKS)
def test_no_rows(task: Task) -> None:
    rows = rows_of(task, 0, 0)
    assert metrics_of(rows, task) == ({"count": 0.0}, {})
    assert len(sketch_of(task).contributions(rows).cell) == 0


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_rows_without_scores_count_for_labels_alone(task: Task) -> None:
    rows = rows_of(task, 1, 400)
    some = rows.score.copy()
    some[::2, 0] = np.nan
    some[1::4, -1] = 1.5
    mixed, _ = metrics_of(outcomes(rows.label, rows.prediction, some), task)
    every, _ = metrics_of(rows, task)
    scored, _ = metrics_of(rows.take(slice(3, None, 4)), task)
    none, errors = metrics_of(outcomes(rows.label, rows.prediction, some * np.nan), task)
    of_scores = {m.name for m in METRICS[task] if m.score_based}
    for name, value in mixed.items():
        assert value == (scored if name in of_scores else every)[name]
    assert none == {k: v for k, v in every.items() if k not in of_scores}
    assert errors == {}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e300])
def test_an_unusable_row_equals_a_removed_one_and_one_count(task: Task, bad: float) -> None:
    rows = rows_of(task, 2, 50)
    sketch = sketch_of(task)
    changed = rows.label.copy()
    changed[::5] = bad
    spoilt = replace(rows, label=changed)
    state = total(sketch.contributions(spoilt), sketch.size)
    kept = rows.take(np.arange(50) % 5 != 0)
    difference = state - total(sketch.contributions(kept), sketch.size)
    assert difference.sum() == rows.group[::5].size
    assert np.count_nonzero(difference) <= GROUPS


@pytest.mark.parametrize("task", TASKS)
def test_extremes_of_scores_and_numbers(task: Task) -> None:
    if task == "binary":
        rows = outcomes(
            np.array([1.0, 0, 1, 0]), np.array([0.0, 1, 1, 0]), np.array([0.0, 1, 1, 0])
        )
    elif task == "multiclass":
        rows = outcomes(np.arange(4.0), np.arange(4.0)[::-1].copy(), np.eye(4)[::-1].copy())
    else:
        rows = outcomes(np.array([1e30, -1e30, 0.0, 1e-30]), np.array([-1e30, 1e30, 1.0, 0.0]))
    assert_as_scikit_learn(rows, task)


def test_r2_does_not_cancel() -> None:
    random = np.random.default_rng(5)
    small = random.integers(-8, 9, 1000) / 8
    label, prediction = small + 2.0**40, small + 2.0**40 + random.integers(-1, 2, 1000) / 8
    shifted, _ = metrics_of(outcomes(label, prediction), "regression")
    centred, _ = metrics_of(outcomes(small, prediction - 2.0**40), "regression")
    assert shifted["r2"] == centred["r2"]


@pytest.mark.parametrize("value", [0.0, 3.1, 1e-25, -7e20])
def test_constant_labels(value: float) -> None:
    label = np.full(3, value)
    assert metrics_of(outcomes(label, label), "regression")[0]["r2"] == 1.0
    assert metrics_of(outcomes(label, 2 * label + 1), "regression")[0]["r2"] == 0.0


@pytest.mark.parametrize("task", TASKS)
def test_rows_taken_back_leave_nothing(task: Task) -> None:
    rows = rows_of(task, 4, 300)
    back = replace(rows, sign=-rows.sign)
    sketch = sketch_of(task)
    order = np.random.default_rng(0).permutation(600)
    both = Outcomes.concatenate([rows, back]).take(order)
    assert not total(sketch.contributions(both), sketch.size).any()
    alone = total(sketch.contributions(back), sketch.size)
    for number in range(GROUPS):
        assert sketch.metrics(sketch.group(alone, number)) == {"count": 0.0}
        assert sketch.rank_error(sketch.group(alone, number)) == {}


@pytest.mark.parametrize("task", TASKS)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), n=st.integers(0, 60), cut=st.integers(0, 60))
def test_any_split_gives_the_same_state(task: Task, seed: int, n: int, cut: int) -> None:
    rows = rows_of(task, seed, n)
    sketch = sketch_of(task)

    def state(part: Outcomes) -> NDArray[np.int64]:
        return total(sketch.contributions(part), sketch.size)

    whole = state(rows)
    parts = state(rows.take(slice(0, cut))), state(rows.take(slice(cut, None)))
    np.testing.assert_array_equal(parts[0] + parts[1], whole)
    np.testing.assert_array_equal(state(rows.take(slice(None, None, -1))), whole)
    alone = sum((state(rows.take(slice(i, i + 1))) for i in range(n)), np.zeros_like(whole))
    np.testing.assert_array_equal(alone, whole)
    canonical = sketch.canonical(whole)
    np.testing.assert_array_equal(
        sketch.canonical(sketch.canonical(parts[0]) + parts[1]), canonical
    )
    for number in range(GROUPS):
        one, other = sketch.group(whole, number), sketch.group(canonical, number)
        assert sketch.metrics(one) == sketch.metrics(other)
        np.testing.assert_array_equal(sketch.canonical(one), other)


@pytest.mark.parametrize("task", TASKS)
def test_each_group_holds_its_own_rows(task: Task) -> None:
    rows = rows_of(task, 6, 500)
    group = np.column_stack([rows.group[:, 0], np.full(500, 4), np.full(500, -1)])
    group[:, 0] %= 3
    grouped = outcomes(rows.label, rows.prediction, rows.score, group.astype(np.int32))
    sketch = sketch_of(task)
    state = total(sketch.contributions(grouped), sketch.size)
    assert state.shape == (GROUPS * sketch.stride,)
    for number in range(3):
        expected, errors = metrics_of(rows.take(group[:, 0] == number), task)
        assert sketch.metrics(sketch.group(state, number)) == expected
        assert sketch.rank_error(sketch.group(state, number)) == errors
    assert sketch.metrics(sketch.group(state, 3)) == {"count": 0.0}
    assert sketch.metrics(sketch.group(state, 4)) == metrics_of(rows, task)[0]


@pytest.mark.parametrize("task", TASKS)
def test_contributions_belong_to_their_rows_and_leave_the_input_alone(task: Task) -> None:
    rows = rows_of(task, 8, 40)
    before = Outcomes.concatenate([rows, rows.take(slice(0, 0))])
    sketch = sketch_of(task)
    whole = sketch.contributions(rows)
    for name in ("label", "prediction", "score", "group", "sign"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(before, name))
    for i in range(40):
        mine = whole.row == i
        state = np.zeros(sketch.size, dtype=np.int64)
        np.add.at(state, whole.cell[mine], whole.weight[mine])
        alone = sketch.contributions(rows.take(slice(i, i + 1)))
        np.testing.assert_array_equal(state, total(alone, sketch.size))


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_is_described(task: Task) -> None:
    computed, _ = metrics_of(rows_of(task, 0, 1000), task)
    assert {m.name for m in METRICS[task]} == computed.keys() - {"count"}
    assert all(m.description.endswith(".") for m in METRICS[task])


@pytest.mark.parametrize(("per_octave", "octaves"), [(8, 25), (4, 19)])
def test_each_hundredth_has_a_cell_and_calibration_bins_begin_with_one(
    per_octave: int, octaves: int
) -> None:
    grid = ScoreGrid(per_octave, octaves)
    hundredths = np.array([k / 100 for k in range(101)])
    cells = grid.cell(hundredths)
    assert (cells[0], cells[-1]) == (0, grid.cells - 1)
    assert (grid.cell(np.nextafter(hundredths[1:], 0.0)) == cells[1:] - 1).all()
    assert (grid.cell(np.nextafter(hundredths[:-1], 1.0)) == cells[:-1] + 1).all()
    np.testing.assert_array_equal(np.flatnonzero(~grid.interval), cells)
    assert grid.calibration_bin[cells[:-1]].tolist() == [k // 10 for k in range(100)]
    width = np.diff(grid.edges)
    middle = grid.edges[:-1] + width / 2
    assert (width <= 0.01).all()
    inside = np.minimum(grid.edges[:-1], 1 - grid.edges[1:]) >= 2.0 ** -(octaves + 1)
    assert (width <= np.minimum(middle, 1 - middle) / per_octave * 1.001)[inside].all()
