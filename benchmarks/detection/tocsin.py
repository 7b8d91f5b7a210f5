"""Tocsin's own side: every default detector of the stream's profile, under the real budget."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.judge import Alarm, Evidence, Judge
from benchmarks.detection.streams import MILLISECONDS, Floats, Process, seeded, series
from detectors.batch import UNSEEN, Batch, CategoricalFeature, NumericFeature, Schema
from detectors.budget import Budget
from detectors.evidence import PaneRun, Stream
from detectors.pane import PaneCells, reference_outcomes
from detectors.profile import build_profile
from detectors.registry import calibrated, default_detectors
from detectors.sketch import Contributions, Counts

PANE = 10_000  # ms, for the profile's idea of silence
COARSE, LEAD = 100, 200  # events a pane, at most, until so many events before a change
AT_ONCE = 1_000  # panes of which evidence is made at once
NEXT_TO_NOTHING = 1e-9  # weight of the streams beside one that is alone
OTHERS = 4  # categories beside the one that changes
FEATURES = {"numeric": ("x",), "missing": ("x",), "correlation": ("x", "y")}
WATCHER = {  # which stream, by detector and target, is to name the change
    "numeric": ("numeric_drift", "x"),
    "category": ("categorical_drift", "x"),
    "unseen": ("unseen_rate", "x"),
    "missing": ("missing_rate", "x"),
    "error": ("error_rate", "error"),
    "correlation": ("joint_drift", "joint"),
    "calibration": ("calibration", "score"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """How the budget is set."""

    multiplier: float = 1.0  # times the promise
    alone: bool = False  # all of it is for the stream that is to name the change


def pane_ends(n: int, pane: int, at: int | None = None) -> NDArray[np.int64]:
    """Events by which each pane of a run of n has ended.

    A change at `at` is met in panes of `pane` events; long before it they hold COARSE, as evidence
    is the same however events are cut into panes.
    """
    first = 0 if at is None or pane >= COARSE else max(at - LEAD, 0) // COARSE * COARSE
    coarse = np.arange(COARSE, first + 1, COARSE)
    return np.concatenate([coarse, np.arange(first + pane, n + 1, pane)])


class Watch:
    """A profile of one reference, and what is needed to watch streams like it.

    Parameters
    ----------
    unit, process
        The stream.
    reference
        Number of its events that the profile is made of.
    draw
        Number of the reference, for the seed.
    budget
        Events in which one false alarm is tolerated.
    """

    def __init__(self, unit: str, process: Process, reference: int, draw: int, budget: int) -> None:
        self.unit, self.reference = unit, reference
        numeric = tuple(NumericFeature(name) for name in FEATURES.get(unit, ()))
        names = ("changing", *(f"other {i}" for i in range(OTHERS)))
        categorical = (CategoricalFeature("x", names),) if unit in ("category", "unseen") else ()
        rng = seeded("reference", unit, process.name, reference, draw)
        values = series(unit, process, reference, rng)
        batch, label = self._rows(values, 0, rng)
        schema = Schema("binary", numeric, categorical, ("0", "1"))
        profile = build_profile(schema, batch, label, PANE)
        self.profile = calibrated(profile, batch, label)
        self.cells = PaneCells(self.profile)
        self.detectors = default_detectors(self.profile, self.cells.inputs)
        self.streams = [d.stream for d in self.detectors]
        self.rate = 1 / (budget * MILLISECONDS)
        self.seconds, self.events = 0.0, 0

    def _rows(
        self, values: Floats, start: int, rng: np.random.Generator
    ) -> tuple[Batch, Floats | None]:
        """Predictions and, where the unit has labels, those."""
        n = len(values)
        numeric, category = np.empty((n, 0)), np.empty((n, 0), dtype=np.int32)
        prediction, score = rng.integers(0, 2, n).astype(float), np.full((n, 1), np.nan)
        label = None
        if self.unit in ("numeric", "correlation"):
            numeric = values.reshape(n, -1)
        elif self.unit == "missing":
            numeric = np.where(values > 0, np.nan, rng.standard_normal(n))[:, None]
        elif self.unit in ("category", "unseen"):
            marked = 0 if self.unit == "category" else 1 + OTHERS + UNSEEN
            other = rng.integers(1 if self.unit == "category" else 0, 1 + OTHERS, n)
            category = np.where(values > 0, marked, other).astype(np.int32)[:, None]
        elif self.unit == "error":
            label = np.abs(prediction - values)
        elif self.unit == "calibration":
            score, label = values[:, :1], values[:, 1]
            prediction = (score[:, 0] >= 0.5).astype(float)
        batch = Batch(
            time=(start + np.arange(n)) * MILLISECONDS,
            id=(start + np.arange(n)).astype(np.uint64),
            version=np.zeros(n, dtype=np.int32),
            numeric=numeric,
            invalid=np.zeros(numeric.shape, dtype=bool),
            category=category,
            prediction=prediction,
            score=score,
            latency=np.full(n, np.nan),
        )
        return batch, label

    def _runs(
        self, values: Floats, start: int, ends: NDArray[np.int64], rng: np.random.Generator
    ) -> Iterator[tuple[PaneRun, NDArray[np.int64]]]:
        """The panes that end after so many events, and these numbers; some at once."""
        for first in range(0, len(ends), AT_ONCE):
            before = int(ends[first - 1]) if first else 0
            some = ends[first : first + AT_ONCE]
            batch, label = self._rows(values[before : some[-1]], start + before, rng)
            began = time.perf_counter()
            widths = np.diff(some, prepend=before)
            pane = np.repeat(np.arange(len(some)), widths)
            made = self.cells.by_section(batch)
            if label is not None:
                made |= self.cells.by_section(reference_outcomes(batch, label))
            sections = {
                name: _by_pane(part, pane, len(some), self._size(name))
                for name, part in made.items()
            }
            sections["ticks"] = self._ticks(start, start + before, start + some)
            self.seconds += time.perf_counter() - began
            width = int(widths[-1]) * MILLISECONDS
            yield PaneRun((start + some) * MILLISECONDS, sections, width), some

    def _size(self, section: str) -> int:
        part = self.cells.sections[section]
        return part.stop - part.start

    def _ticks(self, start: int, before: int, ends: NDArray[np.int64]) -> Counts:
        """The newest traffic tick that each pane tells of: its number, 1 (0: none), its events.

        The run begins with event number `start`, in a tick that is seen only in part; panes before
        these end with event `before`. A pane of many ticks leaves the others out.
        """
        told = np.zeros((len(ends), 3), dtype=np.int64)
        if self.profile.traffic is not None:
            tick = self.profile.traffic.tick
            over = np.append(before, ends) * MILLISECONDS // tick  # ticks that are over by then
            newest = over[1:] - 1
            is_new = (np.diff(over) > 0) & (newest * tick >= start * MILLISECONDS)
            events = np.diff(-(-np.stack([newest, newest + 1]) * tick // MILLISECONDS), axis=0)[0]
            told[is_new] = np.stack([newest, np.ones_like(newest), events], axis=1)[is_new]
        return told

    def evidence(
        self, values: Floats, start: int, ends: NDArray[np.int64], rng: np.random.Generator
    ) -> Iterator[Evidence]:
        """Evidence of the panes of a run that begins with event number `start`, part by part."""
        memories, before = [d.start() for d in self.detectors], 0
        for run, some in self._runs(values, start, ends, rng):
            began = time.perf_counter()
            stepped = [d.step(m, run) for d, m in zip(self.detectors, memories, strict=True)]
            memories = [memory for memory, _ in stepped]
            log_e = np.concatenate([made for _, made in stepped], axis=1)
            self.seconds += time.perf_counter() - began
            yield Evidence((start + before) * MILLISECONDS, run.time, some, log_e)
            self.events += int(some[-1]) - before
            before = int(some[-1])

    def judges(
        self,
        start: int,
        settings: tuple[Setting, ...],
        stop_after: int | None = None,
        latching: bool = False,
    ) -> list[Judge]:
        """Budgets with these settings, for a run that begins with event number `start`."""
        began = start * MILLISECONDS
        return [Judge(self.budget(s), began, stop_after, latching) for s in settings]

    def budget(self, setting: Setting) -> Budget:
        """The model's budget, shared alike by its streams or for one of them alone."""
        weights = np.array([1.0 if self._watches(s) else NEXT_TO_NOTHING for s in self.streams])
        return Budget(
            self.streams, self.rate * setting.multiplier, weights if setting.alone else None
        )

    def is_right(self, alarm: Alarm) -> bool:
        """Does it name the stream that changes?"""
        return self._watches(alarm.stream)

    def _watches(self, stream: Stream) -> bool:
        return (stream.detector, stream.target) == WATCHER[self.unit]


def _by_pane(made: Contributions, pane: NDArray[np.int64], panes: int, size: int) -> Counts:
    """Counts (panes, size) of what the rows of a batch, each in its pane, contribute."""
    cell = pane[made.row] * size + made.cell
    counts = np.bincount(cell, made.weight, minlength=panes * size)  # exact below 2^53
    return counts.astype(np.int64).reshape(panes, size)
