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

from detectors.dependence import hour_of
from detectors.ratio import SCALE
from detectors.sketch import Contributions, Counts

Severity = Literal["page", "ticket"]
Kind = Literal["drift", "missing", "invalid", "unseen", "schema", "accuracy", "silence"]
Basis = Literal["exact", "calibrated"]
Source = Literal["inputs", "errors", "ticks"]  # a section of `detectors.pane`, or traffic ticks


@dataclass(frozen=True, slots=True)
class Stream:
    """One question: which detector asks it, of what, and whom it may wake.

    `shares` (one for each alternative, in any unit; equal where empty) say how the stream's part of
    the budget is spread; an alternative with share 0 is not bet on. `basis` says what its e-values
    rest on: `exact` the likelihood ratio's own theorem, `calibrated` a stated property of another
    algorithm.
    """

    detector: str
    target: str
    kind: Kind
    severity: Severity
    alternatives: int
    basis: Basis = "exact"
    shares: tuple[float, ...] = ()

    def spread(self) -> NDArray[np.float64]:
        """Share (alternatives,) of each alternative in the stream's part of the budget; sums 1."""
        share = np.array(self.shares) if self.shares else np.ones(self.alternatives)
        whole = share.sum()
        return np.asarray(share / whole if whole > 0 else np.full(len(share), 1 / len(share)))


@dataclass(frozen=True, slots=True)
class PaneRun:
    """Consecutive closed panes, merged over partitions; k of them. Panes without rows are left out.

    `sections` holds (k, cells) counts by the name of the section (`detectors.pane.PaneCells`);
    `ticks` among them counts the traffic ticks (occupied, empty) that ended with each pane.
    """

    time: NDArray[np.int64]  # (k,) end of each pane, milliseconds
    sections: Mapping[str, Counts]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: slice) -> "PaneRun":
        """Some of the panes."""
        return PaneRun(self.time[rows], {name: c[rows] for name, c in self.sections.items()})


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
        (k, a) evidence of an event in each cell, nats times SCALE; or (24, k, a), one for each hour
        of the day.
    """

    def __init__(
        self, stream: Stream, source: Source, cells: NDArray[np.intp], table: Counts
    ) -> None:
        self.stream = stream
        self.table = table
        self.source: Source = source
        self.cells = cells

    def tempered(self, temper: NDArray[np.float64]) -> "RatioDetector":
        """The same question with each alternative's evidence divided by `temper` (a,)."""
        if (temper <= 1.0).all():
            return self
        table = np.floor(self.table / temper).astype(np.int64)
        stream = replace(self.stream, basis="calibrated")
        return RatioDetector(stream, self.source, self.cells, table)

    def per_event(self, made: Contributions, time: NDArray[np.int64]) -> NDArray[np.float64]:
        """Evidence (n, a) of the n rows that have a cell here, one each, in their order; nats.

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
        return np.asarray(self.table[hour_of(time[made.row[there]]), codes] / SCALE)

    def start(self) -> None:
        """No memory."""

    def step(self, memory: None, run: PaneRun) -> tuple[None, NDArray[np.float64]]:
        """Sum over cells of count times the cell's evidence, exact in integers."""
        counts = run.sections[self.source][:, self.cells]
        if self.table.ndim == 2:
            return None, (counts @ self.table) / SCALE
        hourly = self.table[hour_of(run.time - 1)]  # a pane ends where the next begins
        return None, (counts[:, None, :] @ hourly)[:, 0, :] / SCALE
