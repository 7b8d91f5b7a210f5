"""Subjects of the contract: every sketch and detector there is, with rows to throw at them."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

import detectors
from detectors.accuracy import performance_sketch
from detectors.accuracy.calibration import CalibrationCells
from detectors.batch import Batch, CategoricalFeature, NumericFeature, Outcomes, Schema, Task
from detectors.cells import ErrorCells, InputCells
from detectors.drift.joint import JointCells
from detectors.drift.river import RiverDetector
from detectors.evidence import PaneRun
from detectors.fairness.groups import GroupCells, SelectionCells
from detectors.labels.cells import DELAYS, PARTS
from detectors.labels.coverage import LabelCoverage
from detectors.labels.delay import LabelDelay
from detectors.labels.learned import Learned
from detectors.pane import PaneCells
from detectors.profile import Profile, build_profile
from detectors.registry import default_detectors
from detectors.traffic.ticks import hour_of_week

T0 = 1_700_000_000_000
PANE = 10_000
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
CLASSES = {"binary": ("0", "1"), "multiclass": ("a", "b", "c"), "regression": ()}
MOVES = (
    "none", "income", "age", "region", "missing", "invalid", "unseen", "score", "label", "gap",
    "joint",
)  # fmt: skip


def schema(task: Task) -> Schema:
    """Two numbers, one of them with ties, and a category."""
    return Schema(
        task,
        (NumericFeature("income"), NumericFeature("age")),
        (CategoricalFeature("region", ("north", "south", "west")),),
        CLASSES[task],
        protected=() if task == "regression" else ("region",),
    )


def batch(task: Task, n: int, seed: int, move: str = "none") -> tuple[Batch, np.ndarray]:
    """n predictions ten a second, with their labels; `move` names what has changed."""
    rng = np.random.default_rng(seed)
    numeric = np.stack([rng.normal(size=n), rng.integers(20, 60, n).astype(float)], axis=1)
    if move == "income":
        numeric[:, 0] += 1.0
    if move == "age":
        numeric[:, 1] = np.minimum(numeric[:, 1] + 8, 60)
    if move == "joint":
        # The same values, but income rises with age.
        rank = np.argsort(np.argsort(numeric[:, 1] + 12 * rng.normal(size=n)))
        numeric[:, 0] = np.sort(numeric[:, 0])[rank]
    invalid = np.zeros((n, 2), dtype=bool)
    bad = rng.random((n, 2))
    numeric[bad < (0.3 if move == "missing" else 0.02)] = np.nan
    if move == "invalid":
        invalid = rng.random((n, 2)) < 0.2
        numeric[invalid] = np.nan
    p = [0.1, 0.8, 0.1] if move == "region" else [0.6, 0.3, 0.1]
    category = rng.choice(3, size=(n, 1), p=p).astype(np.int32)
    category[rng.random((n, 1)) < 0.01] = 4
    if move == "unseen":
        category[rng.random((n, 1)) < 0.2] = 3
    raw = rng.random((n, 3))
    raw[:, 0] **= 4 if move == "score" else 1
    if task == "binary":
        score = np.round(raw[:, :1], 2)
        prediction = (score[:, 0] >= 0.5).astype(float)
        label = (rng.random(n) < score[:, 0]).astype(float)
    elif task == "multiclass":
        score = raw / raw.sum(axis=1, keepdims=True)
        prediction = score.argmax(axis=1).astype(float)
        label = np.where(rng.random(n) < 0.8, prediction, rng.integers(0, 3, n))
    else:
        score = np.zeros((n, 0))
        prediction = raw[:, 0] * 10
        label = prediction + rng.normal(size=n)
    if move == "gap" and task != "regression":
        # Four of five in the north get the answer no, or the next class.
        other = np.where(prediction < 2, prediction + 1, 0) if task == "multiclass" else 0.0
        hit = (category[:, 0] == 0) & (rng.random(n) < 0.8)
        prediction = np.where(hit, other, prediction)
    if move == "label":
        flip = rng.random(n) < 0.5
        label = np.where(flip, (label + 1) % max(len(CLASSES[task]), 1), label)
        label = label + 3 * flip if task == "regression" else label
    rows = Batch(
        T0 + np.arange(n) * 100,
        np.arange(n).astype(np.uint64),
        np.zeros(n, dtype=np.int32),
        numeric,
        invalid,
        category,
        prediction,
        score,
        np.full(n, np.nan),
    )
    return rows, label


def profile(task: Task, n: int = 5000, seed: int = 1) -> Profile:
    """The profile of n reference rows."""
    rows, label = batch(task, n, seed)
    # Spread over more than a day, without which nothing is said of silence.
    rows = replace(rows, time=T0 + np.arange(n) * 20_000)
    return build_profile(schema(task), rows, label, PANE)


def outcomes(rows: Batch, label: np.ndarray, groups: int = 2) -> Outcomes:
    """Joined rows, each in group 0 and in one other."""
    n = len(rows)
    group = np.stack([np.zeros(n), 1 + np.arange(n) % (groups - 1)], axis=1).astype(np.int32)
    protected = rows.category[:, :1]
    sign = np.ones(n, np.int64)
    return Outcomes(rows.time, rows.prediction, rows.score, label, group, sign, protected)


def run(task: Task, of: Profile, n: int, seed: int, move: str = "none", rows: int = 50) -> PaneRun:
    """n panes of some rows each."""
    made, label = batch(task, n * rows, seed, move)
    joined = outcomes(made, label)
    cells = PaneCells(of)
    pane = np.arange(len(made)) // rows
    sections = {}
    for name, c in (cells.by_section(made) | cells.by_section(joined)).items():
        part = cells.sections[name]
        sections[name] = np.zeros((n, part.stop - part.start), dtype=np.int64)
        np.add.at(sections[name], (pane[c.row], c.cell), c.weight)
    sections["ticks"] = ticks(of, n, seed, move)
    sections["labels"] = labels(n, seed, move, rows)
    return PaneRun(T0 + (np.arange(n) + 1) * PANE, sections)


def ticks(of: Profile, n: int, seed: int, move: str) -> np.ndarray:
    """A tick with each of n panes, at hours that the reference has."""
    assert of.traffic is not None
    first = T0 // of.traffic.tick + 1 + np.arange(n) % 100
    factor = {"silence": 0.0, "traffic": 3.0}.get(move, 1.0)
    mean = np.array(of.traffic.mean)[hour_of_week(first * of.traffic.tick)]
    count = np.random.default_rng(seed).poisson(factor * mean)
    return np.stack([first, np.ones(n, dtype=np.int64), count], axis=1)


def labels(n: int, seed: int, move: str, rows: int) -> np.ndarray:
    """Delays of hours, and nine of ten predictions with a label by an hour's age and later."""
    rng = np.random.default_rng(seed)
    late = {"late": 2, "unlabelled": 0}.get(move, 0)
    p = np.roll(np.array([0.0] * 8 + [0.1, 0.4, 0.3, 0.2] + [0.0] * (DELAYS - 12)), late)
    delays = rng.multinomial(rows, p, size=n)
    labelled = rng.binomial(rows, 0.6 if move == "unlabelled" else 0.9, size=(n, len(PARTS)))
    aged = np.stack([labelled, rows - labelled], axis=2).reshape(n, -1)
    return np.concatenate([delays, aged], axis=1)


class WarmDelay(LabelDelay):
    """One that has learned from a fortnight."""

    def start(self) -> Learned:
        return self.step(super().start(), fortnight())[0]


class WarmCoverage(LabelCoverage):
    """One that has learned from a fortnight."""

    def start(self) -> tuple[Learned, ...]:
        return self.step(super().start(), fortnight())[0]


def fortnight() -> PaneRun:
    """A pane an hour."""
    end = T0 - (336 - 1 - np.arange(336)) * 3_600_000
    return PaneRun(end, {"labels": labels(336, 3, "none", 50)})


def sketches() -> Iterator[tuple[str, object]]:
    """Every sketch with a name."""
    for task in TASKS:
        of = profile(task)
        assert of.error is not None
        yield f"{task}-inputs", InputCells(of)
        assert of.joint is not None
        yield f"{task}-joint-inputs", JointCells(of, of.joint)
        yield f"{task}-errors", ErrorCells(of, of.error)
        yield f"{task}-performance", performance_sketch(schema(task), 3)
        if task == "binary":
            yield f"{task}-selection-inputs", SelectionCells(schema(task))
        if task != "regression":
            yield f"{task}-groups", GroupCells(schema(task))
            assert of.calibration is not None
            yield f"{task}-calibration", CalibrationCells(schema(task), of.calibration)


def every_detector() -> Iterator[tuple[Task, Profile, object]]:
    """Every default detector of each task, and river's."""
    for task in TASKS:
        of = profile(task)
        for detector in default_detectors(of, InputCells(of)):
            yield task, of, detector
        yield task, of, RiverDetector("drift.ADWIN", None, 1e-4)
    horizon = 30 * 86_400_000
    for made in (LabelDelay(horizon), WarmDelay(horizon // 5), LabelCoverage(), WarmCoverage()):
        yield "binary", profile("binary"), made
    for detector in of_river(profile("binary")):
        yield "binary", profile("binary"), detector


def of_river(of: Profile) -> Iterator[RiverDetector]:
    """The others of river, so strict that none rings in a hundred thousand values in control."""
    income = InputCells(of).column("income")
    yield RiverDetector("drift.ADWIN", income, 1e-4)
    yield RiverDetector("drift.KSWIN", income, 1.0, {"window_size": 400, "stat_size": 100})
    yield RiverDetector("drift.PageHinkley", income, 1e-4, {"threshold": 100.0, "alpha": 1.0})
    for name, params in (
        ("DDM", {"warm_start": 1000, "drift_threshold": 6.0}),
        ("EDDM", {"warm_start": 500, "alpha": 0.85, "beta": 0.8}),
        ("HDDM_A", {"drift_confidence": 1e-12}),
        ("HDDM_W", {"drift_confidence": 1e-8, "lambda_val": 0.005}),
    ):
        yield RiverDetector(f"drift.binary.{name}", None, 1e-4, params)


def classes_with(method: str) -> set[type]:
    """Every concrete class of the package that has this method: what discovery must cover."""
    found: set[type] = set()
    for module in pkgutil.walk_packages(detectors.__path__, "detectors."):
        loaded = importlib.import_module(module.name)
        for _, cls in inspect.getmembers(loaded, inspect.isclass):
            ours = cls.__module__.startswith("detectors.") and method in dir(cls)
            if ours and not getattr(cls, "_is_protocol", False):
                found.add(cls)
    return found
