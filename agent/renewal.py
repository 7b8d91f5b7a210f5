"""Detection that goes on with another profile: what streams remember, as far as it still holds."""

from collections.abc import Collection
from dataclasses import fields, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from agent.detection import SEVERITIES, Detection, DetectionState
from detectors.budget import Budget, BudgetState
from detectors.evidence import Stream

Named = tuple[str, str]  # detector and target


def carried(
    before: Detection, state: DetectionState, after: Detection, anew: Collection[Named]
) -> DetectionState:
    """The state for `after`: that of `before`, but nothing of the streams that start anew.

    A stream that both have, and that is not among `anew`, goes on as if nothing had happened. Any
    other starts with an empty memory, armed, and with the time from now on to its credit.
    """
    known = {_name(d.stream): m for d, m in zip(before.detectors, state.memories, strict=True)}
    kept = [
        known[_name(d.stream)] if _goes_on(d.stream, known, anew) else d.start()
        for d in after.detectors
    ]
    budgets = tuple(
        _carried_budget(before.budgets[severity], old, after.budgets[severity], anew)
        for severity, old in zip(SEVERITIES, state.budgets, strict=True)
    )
    return replace(state, memories=tuple(kept), budgets=budgets)


def _carried_budget(
    before: Budget, state: BudgetState, after: Budget, anew: Collection[Named]
) -> BudgetState:
    """Every array of the state holds a value for each stream, or for each of their alternatives."""
    made = replace(after.start(), time=state.time)
    made.credited[:] = max(state.time, 0)  # no credit for a time before it began
    cells, streams = _cells(before), {_name(s): j for j, s in enumerate(before.streams)}
    moved: dict[str, Any] = {}
    for field in fields(made):
        new, old = getattr(made, field.name), getattr(state, field.name)
        if not isinstance(new, np.ndarray):
            continue
        by_stream = len(new) == len(after.streams) and len(old) == len(before.streams)
        new = new.copy()
        for j, (stream, part) in enumerate(zip(after.streams, _cells(after), strict=True)):
            if _goes_on(stream, streams, anew):
                i = streams[_name(stream)]
                if by_stream:
                    new[j] = old[i]
                else:
                    new[part] = old[cells[i]]
        moved[field.name] = new
    return replace(made, **moved)


def _goes_on(stream: Stream, known: Collection[Named], anew: Collection[Named]) -> bool:
    return _name(stream) in known and _name(stream) not in anew


def _cells(budget: Budget) -> list[slice]:
    edges = accumulate((s.alternatives for s in budget.streams), initial=0)
    return [slice(a, b) for a, b in pairwise(edges)]


def _name(stream: Stream) -> Named:
    return stream.detector, stream.target
