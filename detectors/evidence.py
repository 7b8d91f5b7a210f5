"""What detectors say: evidence, not verdicts.

A stream is one question asked of the data, for instance "has the numeric feature `income` moved?".
Its detector answers each pane with one log e-value for each alternative it considers; an e-value
has a mean of at most 1 while the answer is no (Vovk and Wang, 2021; Ramdas et al., 2023). Only the
budget (`detectors.budget`) turns evidence into alarms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.ratio import SCALE
from detectors.season import slot_of
from detectors.sketch import Contributions, Counts

Severity = Literal["page", "ticket"]
Kind = Literal[
    "drift", "missing", "invalid", "unseen", "schema", "accuracy", "calibration", "fairness",
    "silence", "traffic", "labels",
]  # fmt: skip
Basis = Literal["exact", "calibrated"]
# A section of `detectors.pane`, or traffic ticks.
Source = Literal["inputs", "joint", "errors", "calibration", "selection", "groups", "ticks"]
LEAST_SHARES = 0.1  # of its alternatives on which a stream that can see must bet


@dataclass(frozen=True, slots=True)
class Stream:
    """One question: which detector asks it, of what, and whom it may wake.

    `shares` (one for each alternative, in any unit; equal where empty) say how the stream's part of
    the budget is spread; an alternative with share 0 is not bet on. `parts` names what each of them
    is about, where that is less than the whole target. `basis` says what the e-values rest on:
    `exact` the likelihood ratio's own theorem, `calibrated` a stated property of another algorithm.
    """

    detector: str
    target: str
    kind: Kind
    severity: Severity
    alternatives: int
    basis: Basis = "exact"
    shares: tuple[float, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def is_deaf(self) -> bool:
        """The reference says too little for its alternatives to be worth a bet, or all but a few.

        Shares are about 1 together where it says enough.
        """
        return bool(self.shares) and sum(self.shares) < LEAST_SHARES

    def spread(self) -> NDArray[np.float64]:
        """Share (alternatives,) of each alternative in the stream's part of the budget.

        They sum to 1, or are all 0.
        """
        share = np.array(self.shares) if self.shares else np.ones(self.alternatives)
        return np.asarray(share / (share.sum() or 1.0))


@dataclass(frozen=True, slots=True)
class PaneRun:
    """Consecutive closed panes, merged over partitions; k of them. Panes without rows are left out.

    `sections` holds (k, cells) counts by the name of the section (`detectors.pane.PaneCells`);
    `ticks` among them says of which traffic ticks there is word with each pane: the first, how
    many, and the predictions of the last of them (the others had none).
    """

    time: NDArray[np.int64]  # (k,) end of each pane, milliseconds
    sections: Mapping[str, Counts]
    width: int = 0  # of a pane, milliseconds

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: slice) -> "PaneRun":
        """Some of the panes."""
        sections = {name: c[rows] for name, c in self.sections.items()}
        return PaneRun(self.time[rows], sections, self.width)


class Detector(Protocol):
    """A sequential test. `step` is pure: the same memory and panes give the same answer.

    Stepping over k panes at once equals stepping over each of them in turn.
    """

    @property
    def stream(self) -> Stream:
        """The question it asks."""

    def start(self) -> Any:
        """Memory before the first pane."""

    def step(self, memory: Any, run: PaneRun) -> tuple[Any, NDArray[np.float64]]:
        """The next memory, and the log e-values: (k panes, alternatives)."""


class RatioDetector:
    """Likelihood ratios over some cells of a pane; it needs no memory of its own.

    Parameters
    ----------
    stream
        The question.
    source
        Which counts of a pane it reads.
    cells
        Their numbers, k of them.
    table
        (k, a) evidence of an event in each cell, nats times SCALE; or (m, k, a), several of them.
    slots
        (s,) which of several holds in each of s equal parts of the day or the week
        (`detectors.season.slot_of`); by default the m tables are those parts.
    expected
        (m, a) the evidence, nats, that an event brings on average under each of several tables
        while nothing has changed.
    """

    def __init__(
        self,
        stream: Stream,
        source: Source,
        cells: NDArray[np.intp],
        table: Counts,
        slots: NDArray[np.int64] | None = None,
        expected: NDArray[np.float64] | None = None,
    ) -> None:
        self.stream = stream
        self.table = table
        self.slots = np.arange(len(table)) if slots is None else slots
        none = np.zeros((len(table), table.shape[-1]))
        self.expected = none if expected is None else expected
        self.source: Source = source
        self.cells = cells

    def tempered(self, temper: NDArray[np.float64]) -> "RatioDetector":
        """The same question with each alternative's evidence divided by `temper` (a,)."""
        if (temper <= 1.0).all():
            return self
        table = np.floor(self.table / temper).astype(np.int64)
        stream = replace(self.stream, basis="calibrated")
        expected = self.expected / temper
        return RatioDetector(stream, self.source, self.cells, table, self.slots, expected)

    def per_event(self, made: Contributions, time: NDArray[np.int64]) -> NDArray[np.float64]:
        """Evidence (n, a) of the n rows that have a cell here, one each, in their order; nats.

        Less what is expected at their hours, where these have tables of their own.

        Parameters
        ----------
        made
            What rows add to the section.
        time
            (rows,) their event times, milliseconds.
        """
        position = np.full(int(max(self.cells.max(), made.cell.max(initial=0))) + 1, -1)
        position[self.cells] = np.arange(len(self.cells))
        there = np.flatnonzero((position[made.cell] >= 0) & (made.weight != 0))
        there = there[np.argsort(made.row[there], kind="stable")]
        codes = position[made.cell[there]]
        if self.table.ndim == 2:
            return np.asarray(self.table[codes] / SCALE)
        holds = self.holds(time[made.row[there]])
        return np.asarray(self.table[holds, codes] / SCALE - self.expected[holds])

    def start(self) -> None:
        """No memory."""

    def step(self, memory: None, run: PaneRun) -> tuple[None, NDArray[np.float64]]:
        """Sum over cells of count times the cell's evidence, exact in integers."""
        counts = run.sections[self.source][:, self.cells]
        if self.table.ndim == 2:
            return None, (counts @ self.table) / SCALE
        evidence = np.empty((len(run), self.stream.alternatives))
        holds = self.holds(run.time - max(run.width // 2, 1))  # the middle of the pane
        for i in np.unique(holds):
            evidence[holds == i] = (counts[holds == i] @ self.table[i]) / SCALE
        return None, evidence

    def holds(self, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of several tables holds at each time (milliseconds)."""
        return np.asarray(self.slots[slot_of(time, len(self.slots))])
