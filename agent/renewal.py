"""Detection that goes on with another profile, or other detectors: what still holds is kept."""

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from agent.detection import SEVERITIES, Detection, DetectionState
from detectors.budget import Budget, BudgetState
from detectors.evidence import Detector, Severity

Named = tuple[str, str]  # detector and target


class Watching(NamedTuple):
    """What a detector's memory is of: one of another cannot take its place."""

    detector: str
    target: str
    severity: Severity
    alternatives: int
    parameters: str = ""  # beside what the profile says

    @property
    def name(self) -> Named:
        """Detector and target."""
        return self.detector, self.target


def watching(detection: Detection) -> tuple[Watching, ...]:
    """What each detector watches, in their order."""
    return tuple(_watching(d) for d in detection.detectors)


def _watching(detector: Detector) -> Watching:
    stream = detector.stream
    parameters = str(getattr(detector, "parameters", ""))
    return Watching(
        stream.detector, stream.target, stream.severity, stream.alternatives, parameters
    )


def carried(
    before: Sequence[Watching],
    state: DetectionState,
    after: Detection,
    anew: Collection[Named] = (),
) -> DetectionState:
    """The state for `after`: that of `before`, but nothing of the streams that start anew.

    A stream that both have, and that is not among `anew`, goes on as if nothing had happened. Any
    other starts with an empty memory, armed, and with the time from now on to its credit.
    """
    known = {w: memory for w, memory in zip(before, state.memories, strict=True)}
    known = {w: memory for w, memory in known.items() if w.name not in anew}
    kept = [
        known[w] if w in known else d.start()
        for w, d in zip(watching(after), after.detectors, strict=True)
    ]
    budgets = tuple(
        _carried_budget(
            [w for w in before if w.severity == severity],
            old,
            [_watching(d) for d in after.of(severity)],
            after.budgets[severity],
            known,
        )
        for severity, old in zip(SEVERITIES, state.budgets, strict=True)
    )
    return replace(state, memories=tuple(kept), budgets=budgets)


def _carried_budget(
    before: Sequence[Watching],
    state: BudgetState,
    after: Sequence[Watching],
    budget: Budget,
    known: Collection[Watching],
) -> BudgetState:
    """Every array of the state holds a value for each stream, or for each of their alternatives."""
    made = replace(budget.start(), time=state.time)
    made.credited[:] = max(state.time, 0)  # no credit for a time before it began
    cells, streams = _cells(before), {w: j for j, w in enumerate(before)}
    by_stream = {"credited", "exposure", "latched", "level", "needed", "calm", "relapse"}
    moved: dict[str, Any] = {}
    for field in fields(made):
        new, old = getattr(made, field.name), getattr(state, field.name)
        if not isinstance(new, np.ndarray):
            continue
        new = new.copy()
        for j, (stream, part) in enumerate(zip(after, _cells(after), strict=True)):
            if stream in known:
                i = streams[stream]
                if field.name in by_stream:
                    new[j] = old[i]
                else:
                    new[part] = old[cells[i]]
        moved[field.name] = new
    return replace(made, **moved)


def _cells(streams: Sequence[Watching]) -> list[slice]:
    edges = accumulate((w.alternatives for w in streams), initial=0)
    return [slice(a, b) for a, b in pairwise(edges)]
