"""Detectors of the river library, run on a pane series and let into the budget.

river is imported only when a configuration names one of its detectors.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import PaneRun, Stream
from detectors.sketch import Counts

SAMPLE = 32  # outcomes of a pane that are handed on


@dataclass(frozen=True, slots=True)
class RiverMemory:
    """A river detector's state: what its class is built from, and its inner state as bytes."""

    state: bytes
    attributes: tuple[tuple[str, float | int | bool], ...]


class RiverAdwin:
    """river's ADWIN on the errors of each pane (Bifet and Gavalda, 2007).

    Of a pane's outcomes at most SAMPLE, evenly spread over its error cells, are handed to ADWIN: 0
    or 1 for a classifier, the rank of the error's bin for a regression. ADWIN promises that a
    window in which nothing changed is cut at a step with probability at most delta. A pane of n
    steps that cuts is therefore worth 1 / (n delta), one that does not nothing: an e-value of mean
    at most 1 if ADWIN's promise holds, hence `calibrated`.

    Parameters
    ----------
    delta
        Probability of a false cut at a step.
    params
        Further arguments of `river.drift.ADWIN`.
    """

    def __init__(self, delta: float, params: Mapping[str, Any] | None = None) -> None:
        self.stream = Stream("adwin", "error", "accuracy", "page", 1, "calibrated")
        self.delta = delta
        self._params = dict(params or {})

    def _build(self) -> Any:
        adwin = importlib.import_module("river.drift").ADWIN
        return adwin(**{"clock": 1, **self._params, "delta": self.delta})

    def start(self) -> RiverMemory:
        """An empty window."""
        return self._memory(self._build())

    def step(self, memory: RiverMemory, run: PaneRun) -> tuple[RiverMemory, NDArray[np.float64]]:
        """Log e-values (k, 1): -log(n delta) at a cut towards more errors, else minus infinity.

        Panes without outcomes say nothing and give 0.
        """
        evidence = np.zeros((len(run), 1))
        errors = run.sections.get("errors")
        if errors is None:
            return memory, evidence
        detector = self._restore(memory)
        for i in np.flatnonzero(errors.sum(axis=1)):
            values = _sample(errors[i])
            worse = self._update(detector, values)
            evidence[i, 0] = -np.log(len(values) * self.delta) if worse else -np.inf
        return self._memory(detector), evidence

    @staticmethod
    def _update(detector: Any, values: list[float]) -> bool:
        """Feed some values; whether the window was cut and holds larger errors than before."""
        worse = False
        for value in values:
            before = detector.estimation
            detector.update(value)
            worse |= detector.drift_detected and detector.estimation > before
        return worse

    @staticmethod
    def _memory(detector: Any) -> RiverMemory:
        return RiverMemory(
            bytes(detector._helper.__getstate__()), (("detected", bool(detector.drift_detected)),)
        )

    def _restore(self, memory: RiverMemory) -> Any:
        detector = self._build()
        detector._helper.__setstate__(memory.state)
        detector._drift_detected = dict(memory.attributes)["detected"]
        return detector


def _sample(counts: Counts) -> list[float]:
    """At most SAMPLE values that stand for a pane's error cells, in a mixed and fixed order."""
    n = int(counts.sum())
    cells = np.repeat(np.arange(len(counts)), counts)
    if n > SAMPLE:
        cells = cells[(np.arange(SAMPLE) * n + n // 2) // SAMPLE]
    # Sorted values would look like a change within the pane; the golden ratio spreads them evenly.
    mixed = np.argsort(np.arange(len(cells)) * 0.6180339887498949 % 1.0, kind="stable")
    return [float(v) for v in cells[mixed] / max(len(counts) - 1, 1)]
