"""Subjects of the contract: every sketch and detector there is, with rows to throw at them."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

import detectors
from detectors.accuracy import performance_sketch
from detectors.batch import Batch, CategoricalFeature, NumericFeature, Outcomes, Schema, Task
from detectors.cells import ErrorCells, InputCells
from detectors.drift.river import RiverAdwin
from detectors.evidence import PaneRun
from detectors.pane import PaneCells
from detectors.profile import Profile, build_profile
from detectors.registry import default_detectors

T0 = 1_700_000_000_000
PANE = 10_000
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
CLASSES = {"binary": ("0", "1"), "multiclass": ("a", "b", "c"), "regression": ()}
MOVES = ("none", "income", "age", "region", "missing", "invalid", "unseen", "score", "label")


def schema(task: Task) -> Schema:
    """Two numbers, one of them with ties, and a category."""
    return Schema(
        task,
        (NumericFeature("income"), NumericFeature("age")),
        (CategoricalFeature("region", ("north", "south", "west")),),
        CLASSES[task],
    )


def batch(task: Task, n: int, seed: int, move: str = "none") -> tuple[Batch, np.ndarray]:
    """n predictions ten a second, with their labels; `move` names what has changed."""
    rng = np.random.default_rng(seed)
    numeric = np.stack([rng.normal(size=n), rng.integers(20, 60, n).astype(float)], axis=1)
    if move == "income":
        numeric[:, 0] += 1.0
    if move == "age":
        numeric[:, 1] = np.minimum(numeric[:, 1] + 8, 60)
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
    return Outcomes(rows.time, rows.prediction, rows.score, label, group, np.ones(n, np.int64))


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
    sections["ticks"] = np.zeros((n, 2), dtype=np.int64)
    sections["ticks"][:, 1 if move == "silence" else 0] = 1
    return PaneRun(T0 + (np.arange(n) + 1) * PANE, sections)


def sketches() -> Iterator[tuple[str, object]]:
    """Every sketch with a name."""
    for task in TASKS:
        of = profile(task)
        assert of.error is not None
        yield f"{task}-inputs", InputCells(of)
        yield f"{task}-errors", ErrorCells(of, of.error)
        yield f"{task}-performance", performance_sketch(schema(task), 3)


def every_detector() -> Iterator[tuple[Task, Profile, object]]:
    """Every default detector of each task, and river's."""
    for task in TASKS:
        of = profile(task)
        for detector in default_detectors(of, InputCells(of)):
            yield task, of, detector
        yield task, of, RiverAdwin(1e-4)


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
