"""The contract of `detectors.contract`, run over everything that claims to be one of us."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import INVALID, MISSING, UNSEEN, Batch
from detectors.cells import ErrorCells, InputCells
from detectors.codec import Codec
from detectors.contract import check_detector, check_sketch, null_mean, step_through
from detectors.drift.river import KINDS, RiverMemory
from detectors.evidence import PaneRun
from detectors.fairness.gap import GapMemory
from detectors.labels.learned import Learned
from detectors.sketch import fold, zero
from tests.contract import cases

CODEC = Codec([RiverMemory, GapMemory, Learned])
RIVER = {kind.name for kind in KINDS.values()}
SKETCHES = dict(cases.sketches())
DETECTORS = list(cases.every_detector())
NAMES = [f"{task}-{d.stream.detector}-{d.stream.target}" for task, _, d in DETECTORS]


def has_state(cls):
    """A sketch, among classes with contributions, is one with a state size."""
    return hasattr(cls, "size") or "size" in inspect.getsource(cls.__init__)


BASES = {"RatioDetector", "RateRise", "Performance", "Gap"}


def test_every_sketch_is_covered():
    covered = {type(s) for s in SKETCHES.values()}
    found = {c for c in cases.classes_with("contributions") if has_state(c)}
    missing = {c for c in found if c.__name__ not in BASES} - covered
    assert not missing


def test_every_detector_is_covered():
    covered = {type(d) for _, _, d in DETECTORS}
    found = {c for c in cases.classes_with("step") if hasattr(c, "start")}
    missing = {c for c in found if c.__name__ not in BASES | {"Budget"}} - covered
    assert not missing


def rows_for(name, n, seed, move):
    task = name.split("-")[0]
    batch, label = cases.batch(task, n, seed, move)
    return batch if name.endswith("inputs") else cases.outcomes(batch, label, 3)


@pytest.mark.parametrize("name", SKETCHES)
@given(
    n=st.integers(0, 120),
    seed=st.integers(0, 10_000),
    move=st.sampled_from(cases.MOVES),
    cuts=st.lists(st.integers(0, 120), max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_sketch(name, n, seed, move, cuts):
    check_sketch(SKETCHES[name], rows_for(name, n, seed, move), cuts)


@pytest.mark.parametrize("task", cases.TASKS)
@pytest.mark.parametrize("move", cases.MOVES)
def test_input_cells_equal_a_plain_count(task, move):
    of = cases.profile(task)
    cells = InputCells(of)
    batch, _ = cases.batch(task, 300, 7, move)
    expected = zero(cells)
    for row in range(len(batch)):
        for i, part in enumerate(of.numeric):
            column, value = cells.column(part.name), batch.numeric[row, i]
            if batch.invalid[row, i]:
                expected[column.start + column.known + 1] += 1
            elif np.isnan(value):
                expected[column.start + column.known] += 1
            else:
                expected[column.start + sum(e <= value for e in part.edges)] += 1
        column = cells.column("region")
        expected[column.start + batch.category[row, 0]] += 1
        if of.score is not None:
            shown = batch.score[row].max()
            column = cells.columns[cells.features]
            expected[column.start + sum(e <= shown for e in of.score.edges)] += 1
        column = cells.columns[-1]
        if task == "regression":
            bin_number = sum(e <= batch.prediction[row] for e in of.predicted.edges)
            expected[column.start + bin_number] += 1
        else:
            expected[column.start + int(batch.prediction[row])] += 1
    assert np.array_equal(fold(cells, zero(cells), batch), expected)
    assert np.array_equal(cells.counts(batch), expected)


@pytest.mark.parametrize("task", cases.TASKS)
def test_error_cells_equal_a_plain_count(task):
    of = cases.profile(task)
    cells = ErrorCells(of, of.error)
    batch, label = cases.batch(task, 300, 7)
    expected = zero(cells)
    for prediction, truth in zip(batch.prediction, label, strict=True):
        if task == "regression":
            expected[sum(e <= abs(prediction - truth) for e in of.error.edges)] += 1
        else:
            expected[int(prediction != truth)] += 1
    assert np.array_equal(fold(cells, zero(cells), cases.outcomes(batch, label)), expected)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_calibration_cells_equal_a_plain_count(task):
    of = cases.profile(task)
    cells = SKETCHES[f"{task}-calibration"]
    batch, label = cases.batch(task, 300, 7, "score")
    batch.score[3] = np.nan
    batch.score[4] = np.nextafter(of.calibration.edges[0], -1)
    batch.score[5] = of.calibration.edges[-1]
    rows = cases.outcomes(batch, label)
    rows.sign[6] = -1
    expected = zero(cells)
    for i, shown in enumerate(batch.score.max(axis=1)):
        if of.calibration.edges[0] <= shown <= of.calibration.edges[-1] and i != 6:
            right = label[i] == (1 if task == "binary" else batch.prediction[i])
            expected[2 * sum(e <= shown for e in of.calibration.edges[1:-1]) + right] += 1
    assert expected.sum() <= 297
    assert np.array_equal(fold(cells, zero(cells), rows), expected)


def test_a_nan_row_is_a_removed_row_and_one_missing():
    cells = InputCells(cases.profile("binary"))
    batch, _ = cases.batch("binary", 200, 3)
    holed = batch.numeric.copy()
    holed[5, 0] = np.nan
    with_nan = Batch(*(holed if n == "numeric" else getattr(batch, n) for n in Batch.__slots__))
    column = cells.column("income")
    state, removed = cells.counts(with_nan), cells.counts(batch.take(np.arange(200) != 5))
    known = slice(column.start, column.start + column.known)
    assert np.array_equal(state[known], removed[known])
    assert state[column.cell("missing")] == removed[column.cell("missing")] + 1


def test_a_column_of_only_nan_is_quiet():
    of = cases.profile("binary")
    cells = InputCells(of)
    batch, _ = cases.batch("binary", 200, 3)
    empty = np.full_like(batch.numeric, np.nan)
    rows = Batch(*(empty if n == "numeric" else getattr(batch, n) for n in Batch.__slots__))
    inputs = cells.counts(rows)[None]
    run = cases.run("binary", of, 1, 1)
    run = PaneRun(run.time, {**run.sections, "inputs": inputs})
    for task, _, detector in DETECTORS:
        if task == "binary" and detector.stream.detector == "numeric_drift":
            quiet = detector.stream.target in ("income", "age")
            assert not quiet or (detector.step(None, run)[1] == 0).all()


def test_category_cells_keep_their_order():
    assert (UNSEEN, MISSING, INVALID) == (0, 1, 2)
    column = InputCells(cases.profile("binary")).column("region")
    assert column.extra == ("unseen", "missing", "invalid")


@pytest.mark.parametrize(("task", "of", "detector"), DETECTORS, ids=NAMES)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 12),
    move=st.sampled_from((*cases.MOVES, "silence", "traffic", "late", "unlabelled")),
    cuts=st.lists(st.integers(0, 12), max_size=3),
)
@settings(max_examples=5, deadline=None)
def test_detector(task, of, detector, seed, n, move, cuts):
    check_detector(detector, cases.run(task, of, n, seed, move), cuts, CODEC)


@pytest.mark.parametrize(("task", "of", "detector"), DETECTORS, ids=NAMES)
def test_under_the_null_the_mean_of_an_e_value_is_at_most_one(task, of, detector):
    """Averaged over 4,000 panes of 10 rows from the reference's own distribution."""
    run = cases.run(task, of, 4_000, 99, rows=10)
    mean, error = null_mean(step_through(detector, run, [])[1])
    assert (mean <= 1 + 4 * error).all()


@pytest.mark.parametrize(("task", "of", "detector"), DETECTORS, ids=NAMES)
def test_a_change_is_seen(task, of, detector):
    """The stream's own change brings at least twenty nats within 100 panes of 50 rows."""
    stream = detector.stream
    learned = isinstance(detector, cases.WarmDelay | cases.WarmCoverage)
    move = {
        "numeric_drift": {"income": "income", "age": "age", "score": "score"},
        "categorical_drift": {"region": "region", "prediction": "score"},
        "joint_drift": {"joint": "joint"},
        "missing_rate": {"income": "missing", "age": "missing"},
        "invalid_rate": {"income": "invalid", "age": "invalid"},
        "unseen_rate": {"region": "unseen"},
        "error_rate": {"error": "label"},
        "error_size": {"error": "label"},
        "calibration": {"score": "label"},
        **{name: {"error": "label", "income": "income"} for name in RIVER},
        "label_delay": {"label_delay": "late"} if learned else {},
        "label_coverage": {"label_coverage": "unlabelled"} if learned else {},
        "silence": {"traffic": "silence"},
        "traffic_volume": {"traffic": "traffic"},
        "selection_gap": {"region=north": "gap", "region=south": "gap"},
        "error_gap": {"region=north": "gap", "region=south": "gap"},
        "opportunity_gap": {"region=north": "gap", "region=south": "gap"},
    }.get(stream.detector, {}).get(stream.target)
    if move is None:
        # Not moved by any of the scripted changes: then it must stay quiet instead.
        evidence = step_through(detector, cases.run(task, of, 100, 5), [])[1]
        assert evidence.sum(axis=0).max() < 20
        return
    before = cases.run(task, of, 100, 4)
    after = cases.run(task, of, 100, 5, move)
    memory, _ = detector.step(detector.start(), before)
    _, evidence = detector.step(memory, after)
    gathered = evidence.max() if stream.detector in RIVER else evidence.sum(axis=0).max()
    assert gathered > (5 if stream.detector in RIVER else 20)
