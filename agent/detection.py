"""From closed panes to alarms: the steps that detectors take, and the two budgets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.panes import NEVER, Entries
from detectors.budget import Budget, BudgetState, Clear, Ring
from detectors.evidence import Detector, PaneRun, Severity
from detectors.sketch import Counts

Ints = NDArray[np.int64]

STEPS_AT_ONCE = 512
TICKS_ONE_BY_ONE = 64  # of a silence; later ones are taken together in ever larger steps
SEVERITIES: tuple[Severity, ...] = ("page", "ticket")


@dataclass(frozen=True, slots=True)
class DetectionState:
    """What detection remembers between panes."""

    memories: tuple[object, ...]  # one a detector
    budgets: tuple[BudgetState, ...]  # page, ticket
    tick: int = NEVER  # first traffic tick that has not been accounted for
    silent: int = 0  # empty ticks in a row before it
    pending: int = 0  # of those, how many no step has told of yet
    occupied: int = NEVER  # newest traffic tick with predictions; it may not be over yet


@dataclass(frozen=True, slots=True)
class Happening:
    """A ring or clearing of one budget.

    `gathered` is, at a ring, the evidence (nats) that each detector and target held in any budget.
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
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.detectors = detectors
        self._sections = dict(sections)
        self._size = max(part.stop for part in self._sections.values())
        self._pane, self._tick = pane, tick
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
        """When to step: at the end of each pane with rows, and of the traffic ticks that tell."""
        panes = np.unique(closed.pane)
        ends = (panes + 1) * self._pane
        if not self._tick:
            return state, ends, np.zeros((len(ends), 2), dtype=np.int64)
        predicted = np.unique(closed.pane[closed.cell < self._sections["inputs"].stop])
        predicted = predicted * self._pane // self._tick
        occupied = np.unique(np.append(predicted, state.occupied))
        newest = int(occupied[-1])
        first = state.tick
        if first == NEVER:
            if newest == NEVER:
                return state, ends, np.zeros((len(ends), 2), dtype=np.int64)
            first = int(predicted[0]) + 1  # the first tick is seen only in part
        # A tick that ended before `until` is over; its rows are in panes that are closed by now.
        last = max(until // self._tick, first)
        told: list[tuple[int, int, int]] = []
        silent, pending, before = state.silent, state.pending, first
        for tick in [*occupied[(occupied >= first) & (occupied < last)].tolist(), last]:
            empty, silent, pending = _silence(before, tick, silent, pending)
            told += empty
            if tick < last:
                told.append((tick, 1, pending))
                silent = pending = 0
            before = tick + 1
        state = replace(state, tick=last, silent=silent, pending=pending, occupied=newest)
        tick_ends = np.array([(t + 1) * self._tick for t, _, _ in told], dtype=np.int64)
        times = np.unique(np.concatenate([ends, tick_ends]))
        ticks = np.zeros((len(times), 2), dtype=np.int64)
        if told:
            ticks[np.searchsorted(times, tick_ends)] = [(o, e) for _, o, e in told]
        return state, times, ticks

    def _run(self, times: Ints, ticks: Counts, closed: Entries) -> PaneRun:
        first, last = times[0] // self._pane - 1, times[-1] // self._pane - 1
        inside = slice(*np.searchsorted(closed.pane, [first, last + 1]).tolist())
        entries = closed.take(inside)
        step = np.searchsorted(times, (entries.pane + 1) * self._pane)
        judged = entries.cell < self._size
        dense = np.zeros((len(times), self._size), dtype=np.int64)
        dense[step[judged], entries.cell[judged]] = entries.weight[judged]
        sections = {name: dense[:, part] for name, part in self._sections.items()}
        return PaneRun(times, {**sections, "ticks": ticks})

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
        return gathered


def _tells(silent: int) -> bool:
    """Whether the n-th empty tick in a row is told of: the first ones, then powers of two."""
    return silent <= TICKS_ONE_BY_ONE or silent & (silent - 1) == 0


def _silence(
    first: int, stop: int, silent: int, pending: int
) -> tuple[list[tuple[int, int, int]], int, int]:
    """Account for empty ticks in [first, stop), which follow `silent` empty ones.

    Returns those that are told of as (tick, occupied, empty), and the new counts of empty ticks in
    a row and of those not told of yet. Years of silence cost a few dozen steps.
    """
    told = []
    tick = first
    while tick < stop:
        silent += 1
        if _tells(silent):
            told.append((tick, 0, pending + 1))
            pending = 0
            tick += 1
        else:
            skipped = min((1 << silent.bit_length()) - silent, stop - tick)
            pending += skipped
            silent += skipped - 1
            tick += skipped
    return told, silent, pending
