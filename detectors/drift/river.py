"""Detectors of the river library, run on a pane series and let into the budget.

river is imported only when a configuration names one of its detectors.
"""

import importlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibrator import e_of_p, e_of_ring
from detectors.cells import Column
from detectors.evidence import PaneRun, Stream
from detectors.sketch import Counts

SAMPLE = 32  # values of a pane that are handed on


@dataclass(frozen=True, slots=True)
class RiverKind:
    """A class of river, how it is called here, and how it enters.

    `promises`: a parameter of its own bounds false alarms at a step. `has_p`: each test has a
    p-value. Of any other the probability of a false alarm must be stated. `binary`: for 0 and 1.
    """

    name: str
    promises: str = ""
    has_p: bool = False
    binary: bool = False
    settings: tuple[tuple[str, Any], ...] = ()  # unless others are stated


# Two of them are spelled without the underscore by some of its versions.
KINDS = {
    "drift.ADWIN": RiverKind("adwin", promises="delta", settings=(("clock", 1),)),
    # Its own threshold would restart it before a p-value can become small.
    "drift.KSWIN": RiverKind("kswin", has_p=True, settings=(("seed", 1), ("alpha", 0.0))),
    "drift.PageHinkley": RiverKind("page_hinkley"),
    "drift.binary.DDM": RiverKind("ddm", binary=True),
    "drift.binary.EDDM": RiverKind("eddm", binary=True),
    "drift.binary.HDDM_A": RiverKind("hddm_a", binary=True),
    "drift.binary.HDDM_W": RiverKind("hddm_w", binary=True),
}


@dataclass(frozen=True, slots=True)
class RiverMemory:
    """A river detector's state: the attributes of its object, and of those in it, by name."""

    state: dict[str, Any]
    fresh: int  # values since the last p-value was taken


class RiverDetector:
    """A detector of river on the errors, the score or a numeric feature of each pane.

    Of a pane's values at most SAMPLE, evenly spread over its cells, are handed on: 0 or 1 for a
    classifier's errors, else the rank of the value's bin between 0 and 1. On errors only changes
    for the worse count.

    - Where it has p-values, one is taken each time all values of its newer sample are new.
    - Otherwise a pane of n steps in which it rings is worth 1 / (n probability), one in which it
      does not is worth nothing: an e-value of mean at most 1 if each step rings falsely with at
      most that probability, given the past. Of ADWIN that is its own promise (Bifet and Gavalda,
      2007), of others what was stated.

    Either is no theorem of ours, hence `calibrated`.

    Parameters
    ----------
    detector
        A key of KINDS.
    column
        What it watches; None: the errors.
    probability
        Of a false alarm at a step; not used where there are p-values.
    params
        Further arguments of its constructor.
    """

    def __init__(
        self,
        detector: str,
        column: Column | None = None,
        probability: float = 1.0,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind, self.probability = KINDS[detector], probability
        self._path = detector.split(".")[1:]
        self._params = {**dict(self.kind.settings), **(params or {})}
        name = self.kind.name
        if column is None:
            self.stream = Stream(name, "error", "accuracy", "page", 1, "calibrated")
            self._section, self._cells = "errors", slice(None)
        else:
            self.stream = Stream(name, column.name, "drift", "ticket", 1, "calibrated")
            self._section = "inputs"
            self._cells = slice(column.start, column.start + column.known)
        self._one_sided = column is None
        if self._one_sided and name == "page_hinkley":
            self._params.setdefault("mode", "up")
        if self.kind.promises:
            self._params[self.kind.promises] = probability

    @property
    def parameters(self) -> str:
        """What its memory depends on beside its name and what it watches."""
        return repr((sorted(self._params.items()), self.probability))

    def build(self) -> Any:
        """A new object of its class; river's own errors where the parameters do not fit."""
        made: Any = importlib.import_module("river.drift")
        for name in self._path:
            made = getattr(made, name, None) or getattr(made, name.replace("_", ""))
        return made(**self._params)

    def start(self) -> RiverMemory:
        """Nothing seen."""
        return RiverMemory(_attributes(self.build()), 0)

    def step(self, memory: RiverMemory, run: PaneRun) -> tuple[RiverMemory, NDArray[np.float64]]:
        """Log e-values (k, 1). Panes without values say nothing and give 0."""
        evidence = np.zeros((len(run), 1))
        counts = run.sections.get(self._section)
        if counts is None:
            return memory, evidence
        counts = counts[:, self._cells]
        detector = self.build()
        _restore(detector, memory.state)
        fresh = memory.fresh
        for i in np.flatnonzero(counts.sum(axis=1)).tolist():
            values = _sample(counts[i])
            if self.kind.has_p:
                evidence[i], fresh = self._p_values(detector, values, fresh)
            else:
                rang = self._rings(detector, values)
                e = e_of_ring(np.array(rang), min(len(values) * self.probability, 1.0))
                evidence[i] = np.log(e) if rang else -np.inf
        return RiverMemory(_attributes(detector), fresh), evidence

    def _rings(self, detector: Any, values: list[float]) -> bool:
        """Feed some values; whether it rang, on errors for the worse as far as it says so."""
        rang = False
        for value in values:
            before = getattr(detector, "estimation", 0.0)
            detector.update(value)
            better = self._one_sided and getattr(detector, "estimation", 1.0) <= before
            rang |= detector.drift_detected and not better
        return rang

    def _p_values(self, detector: Any, values: list[float], fresh: int) -> tuple[float, int]:
        """Feed some values; the evidence of the p-values taken, and values since the last one."""
        evidence = 0.0
        for value in values:
            fresh += 1
            due = fresh >= detector.stat_size and len(detector.window) + 1 >= detector.window_size
            if not due:  # its test is dear
                detector.window.append(value)
                continue
            detector.update(value)
            fresh = 0
            older, newer = np.split(np.array(detector.window), [-detector.stat_size])
            if self._one_sided and newer.mean() <= older.mean():
                evidence = -np.inf
            else:
                evidence += float(np.log(e_of_p(np.array(detector.p_value))))
        return evidence, fresh


def _attributes(value: Any) -> Any:
    """What an object holds, in types that the codec knows; what can be called is left out."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, deque | list):
        return [_attributes(v) for v in value]
    if isinstance(value, tuple):
        return tuple(_attributes(v) for v in value)
    if hasattr(value, "getstate"):  # a generator of random numbers
        return value.getstate()
    if hasattr(value, "__dict__"):
        return {k: _attributes(v) for k, v in vars(value).items() if not callable(v)}
    return bytes(value.__getstate__())  # an object of compiled code


def _restore(value: Any, state: Any) -> Any:
    """`state` put into a new object of the same kind, or what takes its place."""
    if isinstance(value, deque):
        value.clear()
        value.extend(state)
    elif hasattr(value, "setstate"):
        value.setstate(state)
    elif hasattr(value, "__dict__") and isinstance(state, dict):
        for name, content in state.items():
            setattr(value, name, _restore(getattr(value, name), content))
    elif isinstance(state, bytes) and hasattr(value, "__setstate__"):
        value.__setstate__(state)
    else:
        return state
    return value


def _sample(counts: Counts) -> list[float]:
    """At most SAMPLE values that stand for a pane's cells, in a mixed and fixed order."""
    n = int(counts.sum())
    cells = np.repeat(np.arange(len(counts)), counts)
    if n > SAMPLE:
        cells = cells[(np.arange(SAMPLE) * n + n // 2) // SAMPLE]
    # Sorted values would look like a change within the pane; the golden ratio spreads them evenly.
    mixed = np.argsort(np.arange(len(cells)) * 0.6180339887498949 % 1.0, kind="stable")
    return [float(v) for v in cells[mixed] / max(len(counts) - 1, 1)]
