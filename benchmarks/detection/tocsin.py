"""Tocsin's own side: every default detector of the stream's profile, under the real budget."""

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.detection.streams import MILLISECONDS, Floats, Process, seeded, series
from detectors.batch import UNSEEN, Batch, CategoricalFeature, NumericFeature, Schema
from detectors.budget import Budget, BudgetState, Ring
from detectors.cells import InputCells
from detectors.evidence import PaneRun
from detectors.profile import build_profile
from detectors.registry import calibrated, default_detectors

PANE = 10_000  # ms, for the profile's idea of silence
CHUNK = 200  # panes in one step
OTHERS = 4  # categories beside the one that changes
WATCHER = {  # which stream is to name the change
    "numeric": "numeric_drift",
    "category": "categorical_drift",
    "unseen": "unseen_rate",
    "missing": "missing_rate",
    "error": "error_rate",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm after so many events of a run; `right` if it names the stream that changes."""

    event: int
    right: bool


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
        features = (NumericFeature("x"),) if unit in ("numeric", "missing") else ()
        names = ("changing", *(f"other {i}" for i in range(OTHERS)))
        categorical = (CategoricalFeature("x", names),) if unit in ("category", "unseen") else ()
        self.schema = Schema("binary", features, categorical, ("0", "1"))
        rng = seeded("reference", unit, process.name, reference, draw)
        values = series(unit, process, reference, rng)
        batch = self._batch(values, 0, rng)
        label = self._label(batch, values) if unit == "error" else None
        profile = build_profile(self.schema, batch, label, PANE)
        self.profile = calibrated(profile, batch, label)
        self.cells = InputCells(self.profile)
        self.detectors = default_detectors(self.profile, self.cells)
        self.streams = [d.stream for d in self.detectors]
        self.budget = Budget(self.streams, 1 / (budget * MILLISECONDS))
        self.seconds, self.events = 0.0, 0

    def _batch(self, values: Floats, start: int, rng: np.random.Generator) -> Batch:
        n = len(values)
        numeric, category = np.empty((n, 0)), np.empty((n, 0), dtype=np.int32)
        if self.unit == "numeric":
            numeric = values[:, None]
        elif self.unit == "missing":
            numeric = np.where(values > 0, np.nan, rng.standard_normal(n))[:, None]
        elif self.unit in ("category", "unseen"):
            marked = 0 if self.unit == "category" else 1 + OTHERS + UNSEEN
            other = rng.integers(1 if self.unit == "category" else 0, 1 + OTHERS, n)
            category = np.where(values > 0, marked, other).astype(np.int32)[:, None]
        return Batch(
            time=(start + np.arange(n)) * MILLISECONDS,
            id=(start + np.arange(n)).astype(np.uint64),
            version=np.zeros(n, dtype=np.int32),
            numeric=numeric,
            invalid=np.zeros(numeric.shape, dtype=bool),
            category=category,
            prediction=rng.integers(0, 2, n).astype(float),
            score=np.full((n, 1), np.nan),
            latency=np.full(n, np.nan),
        )

    @staticmethod
    def _label(batch: Batch, values: Floats) -> Floats:
        return np.abs(batch.prediction - values)

    def panes(self, values: Floats, start: int, pane: int, rng: np.random.Generator) -> PaneRun:
        """Panes of `pane` events each; events that do not fill one are left out."""
        k = len(values) // pane
        values = values[: k * pane]
        batch = self._batch(values, start, rng)
        began = time.perf_counter()
        number = np.repeat(np.arange(k), pane)[:, None]
        flat = number * self.cells.size + self.cells.codes(batch)
        counts = np.bincount(flat.ravel(), minlength=k * self.cells.size)
        sections = {"inputs": counts.reshape(k, self.cells.size)}
        if self.unit == "error":
            wrong = values.reshape(k, pane).sum(axis=1).astype(np.int64)
            sections["errors"] = np.stack([pane - wrong, wrong], axis=1)
        ends = (start + pane * np.arange(1, k + 1)) * MILLISECONDS
        ticks = np.zeros((k, 2), dtype=np.int64)
        if self.profile.traffic is not None:
            ticks[:, 0] = np.diff(ends // self.profile.traffic.tick, prepend=0)
            ticks[0, 0] = 0
        self.seconds += time.perf_counter() - began
        return PaneRun(ends, {**sections, "ticks": ticks})

    def alarms(
        self,
        values: Floats,
        start: int,
        pane: int,
        rng: np.random.Generator,
        stop_after: int | None = None,
    ) -> list[Alarm]:
        """Alarms over a run of events; the budget starts anew after each.

        Stops at the first alarm beyond `stop_after` events.
        """
        run = self.panes(values, start, pane, rng)
        began = time.perf_counter()
        found: list[Alarm] = []
        state, at = self._fresh(start), 0
        while at < len(run):
            part = run.take(slice(at, at + (CHUNK if stop_after is None else CHUNK // 4)))
            evidence = np.concatenate([d.step(d.start(), part)[1] for d in self.detectors], axis=1)
            state, happened = self.budget.step(state, part.time, evidence)
            ring = next((h for h in happened if isinstance(h, Ring)), None)
            if ring is None:
                at += len(part)
                continue
            event = ring.time // MILLISECONDS - start
            stream = self.streams[ring.stream]
            right = stream.detector == WATCHER[self.unit] and stream.target in ("x", "error")
            found.append(Alarm(event, right))
            if stop_after is not None and event > stop_after:
                break
            at, state = event // pane, self._fresh(start + event)
        self.seconds += time.perf_counter() - began
        self.events += len(run) * pane
        return found

    def _fresh(self, start: int) -> BudgetState:
        """The budget's state when watching begins, its clock set."""
        nothing = np.zeros((1, self.budget.cells))
        return self.budget.step(self.budget.start(), np.array([start * MILLISECONDS]), nothing)[0]
