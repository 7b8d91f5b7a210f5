"""From closed panes to alarms: the steps that detectors take, and the two budgets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.panes import Entries
from agent.ticks import Ticks, TickState
from detectors.budget import Budget, BudgetState, Clear, Ring
from detectors.evidence import Detector, Kind, PaneRun, Severity, Stream
from detectors.sketch import Counts

Ints = NDArray[np.int64]

STEPS_AT_ONCE = 512
SEVERITIES: tuple[Severity, ...] = ("page", "ticket")
QUALITY: tuple[Kind, ...] = ("missing", "invalid", "unseen", "schema")  # may have nowhere to rise


@dataclass(frozen=True, slots=True)
class DetectionState:
    """What detection remembers between panes."""

    memories: tuple[object, ...]  # one a detector
    budgets: tuple[BudgetState, ...]  # page, ticket
    ticks: TickState = field(default_factory=TickState)


@dataclass(frozen=True, slots=True)
class Happening:
    """A ring or clearing of one budget.

    `gathered` is, at a ring, the evidence (nats) that each detector and target held in any budget,
    and each detector and part of a target.
    """

    severity: Severity
    what: Ring | Clear
    gathered: Mapping[tuple[str, str], float] = field(default_factory=dict)


class Detection:
    """Steps every detector over closed panes and lets the budgets judge.

    Parameters
    ----------
    detectors
        In a fixed order.
    sections
        Which cells of a pane each section has (`detectors.pane.PaneCells`).
    pane, tick
        Width of a pane and of a traffic tick (0: traffic is not watched), milliseconds.
    per_millisecond
        False alarms tolerated, by severity.
    counted
        Cells of which every prediction has exactly one.
    weights
        Share of a detector, or of a target, in its budget beside the others; 1 where absent.
    """

    def __init__(
        self,
        detectors: list[Detector],
        sections: Mapping[str, slice],
        pane: int,
        tick: int,
        per_millisecond: dict[Severity, float],
        counted: slice = slice(0),
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.detectors = detectors
        self._sections = dict(sections)
        self._size = max(part.stop for part in self._sections.values())
        self._pane, self._counted = pane, counted
        self._ticks = Ticks(pane, tick) if tick else None
        self._of = {
            s: [i for i, d in enumerate(detectors) if d.stream.severity == s] for s in SEVERITIES
        }
        share = [
            (weights or {}).get(d.stream.detector, 1.0) * (weights or {}).get(d.stream.target, 1.0)
            for d in detectors
        ]
        self.budgets = {
            s: Budget(
                [detectors[i].stream for i in self._of[s]],
                per_millisecond[s],
                np.array([share[i] for i in self._of[s]]),
            )
            for s in SEVERITIES
        }

    @property
    def deaf(self) -> list[Stream]:
        """Streams about drift and harm for which the reference says too little: they cannot ring.

        Its rows are too few, or its dependence is so strong that they are worth too few.
        """
        streams = [d.stream for d in self.detectors]
        return [s for s in streams if s.is_deaf and s.kind not in QUALITY]

    def of(self, severity: Severity) -> list[Detector]:
        """The detectors that share the budget of a severity, in its order."""
        return [self.detectors[i] for i in self._of[severity]]

    def start(self) -> DetectionState:
        """Nothing seen."""
        return DetectionState(
            tuple(d.start() for d in self.detectors),
            tuple(self.budgets[s].start() for s in SEVERITIES),
        )

    def step(
        self, state: DetectionState, closed: Entries, until: int
    ) -> tuple[DetectionState, list[Happening]]:
        """Account for all closed panes, and for traffic ticks that end by `until` (ms)."""
        state, times, ticks = self._times(state, closed, until)
        happened: list[Happening] = []
        for start in range(0, len(times), STEPS_AT_ONCE):
            part = slice(start, start + STEPS_AT_ONCE)
            run = self._run(times[part], ticks[part], closed)
            state, new = self._judge(state, run)
            happened += new
        return state, happened

    def _times(
        self, state: DetectionState, closed: Entries, until: int
    ) -> tuple[DetectionState, Ints, Ints]:
        """When to step: at the end of each pane with rows, and when there is word of ticks."""
        panes = np.unique(closed.pane)
        ends = (panes + 1) * self._pane
        if self._ticks is None:
            return state, ends, np.zeros((len(ends), 3), dtype=np.int64)
        counted = (closed.cell >= self._counted.start) & (closed.cell < self._counted.stop)
        rows = closed.take(counted)
        after, told, word = self._ticks.tell(state.ticks, rows.pane, rows.weight, until)
        times = np.union1d(ends, told)
        ticks = np.zeros((len(times), 3), dtype=np.int64)
        ticks[np.searchsorted(times, told)] = word
        return replace(state, ticks=after), times, ticks

    def _run(self, times: Ints, ticks: Counts, closed: Entries) -> PaneRun:
        first, last = times[0] // self._pane - 1, times[-1] // self._pane - 1
        inside = slice(*np.searchsorted(closed.pane, [first, last + 1]).tolist())
        entries = closed.take(inside)
        step = np.searchsorted(times, (entries.pane + 1) * self._pane)
        judged = entries.cell < self._size
        dense = np.zeros((len(times), self._size), dtype=np.int64)
        dense[step[judged], entries.cell[judged]] = entries.weight[judged]
        sections = {name: dense[:, part] for name, part in self._sections.items()}
        return PaneRun(times, {**sections, "ticks": ticks}, self._pane)

    def _judge(self, state: DetectionState, run: PaneRun) -> tuple[DetectionState, list[Happening]]:
        stepped = [
            d.step(memory, run) for d, memory in zip(self.detectors, state.memories, strict=True)
        ]
        log_e = [self._evidence(severity, stepped, len(run)) for severity in SEVERITIES]
        budgets: list[BudgetState] = []
        happened: list[Happening] = []
        for severity, before, evidence in zip(SEVERITIES, state.budgets, log_e, strict=True):
            after, what = self.budgets[severity].step(before, run.time, evidence)
            budgets.append(after)
            for w in what:
                gathered = self._gathered(state, run, log_e, w) if isinstance(w, Ring) else {}
                happened.append(Happening(severity, w, gathered))
        happened.sort(key=lambda h: h.what.time)
        memories = tuple(memory for memory, _ in stepped)
        return replace(state, memories=memories, budgets=tuple(budgets)), happened

    def _evidence(
        self, severity: Severity, stepped: list[tuple[Any, NDArray[np.float64]]], panes: int
    ) -> NDArray[np.float64]:
        parts = [stepped[i][1] for i in self._of[severity]]
        return np.concatenate(parts, axis=1) if parts else np.zeros((panes, 0))

    def _gathered(
        self, state: DetectionState, run: PaneRun, log_e: list[NDArray[np.float64]], ring: Ring
    ) -> dict[tuple[str, str], float]:
        """What every stream knew when this one rang: the panes of the run are stepped again."""
        steps = int(np.searchsorted(run.time, ring.time, side="right"))
        gathered = {}
        for severity, before, evidence in zip(SEVERITIES, state.budgets, log_e, strict=True):
            budget = self.budgets[severity]
            after, _ = budget.step(before, run.time[:steps], evidence[:steps])
            for stream, nats in zip(budget.streams, budget.gathered(after).tolist(), strict=True):
                gathered[stream.detector, stream.target] = nats
            gathered |= _by_part(budget, before, run.time[:steps], evidence[:steps])
        return gathered


def _by_part(
    budget: Budget, before: BudgetState, times: Ints, evidence: NDArray[np.float64]
) -> dict[tuple[str, str], float]:
    """Evidence (nats) of each part of the streams that have parts, by detector and part.

    It is that of the last of these panes, before a stream that rings there has spent it.
    """
    found: dict[tuple[str, str], float] = {}
    if not any(stream.parts for stream in budget.streams):
        return found
    held, _ = budget.step(before, times[:-1], evidence[:-1])
    nats = np.maximum(held.cusum + evidence[-1], 0.0).tolist()
    names = [(s.detector, p) for s in budget.streams for p in s.parts or ("",) * s.alternatives]
    for (detector, part), value in zip(names, nats, strict=True):
        if part:
            found[detector, part] = max(found.get((detector, part), 0.0), value)
    return found
