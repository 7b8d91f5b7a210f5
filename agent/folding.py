"""From rows to the cells of their panes: the hot path between the join and the open panes."""

import numpy as np
from numpy.typing import NDArray

from agent.join import Corrections
from agent.panes import NO_ENTRIES, Entries, summed
from detectors.batch import Batch, Outcomes
from detectors.cells import InputCells
from detectors.drift.joint import JointCells
from detectors.pane import PaneCells
from detectors.sketch import Contributions, Sketch

# Rows of a pane from which counting beats listing each row's cells: of columns, and of pairs.
DENSE, DENSE_PAIRS = 200, 50


def _counted(cells: InputCells | JointCells, batch: Batch, pane: int, dense: int) -> list[Entries]:
    """Cells of predictions, by pane: counted where it has `dense` rows or more, else listed."""
    number = batch.time // pane
    order = np.argsort(number, kind="stable")
    distinct, start = np.unique(number[order], return_index=True)
    stop = np.append(start[1:], len(order))
    large = stop - start >= dense
    parts = []
    for i in np.flatnonzero(large).tolist():
        rows = order[start[i] : stop[i]]
        counts = cells.counts(batch if len(rows) == len(batch) else batch.take(rows))
        parts.append(_entries(np.flatnonzero(counts), counts, int(distinct[i])))
    small = order[np.repeat(~large, stop - start)]
    if len(small):
        part = batch.take(small)
        parts.append(_by_pane(cells.contributions(part), part.time // pane))
    return parts


def fold_versions(batch: Batch, pane: int, offset: int) -> Entries:
    """Rows by version, by pane; `offset` is the first version's cell."""
    number = batch.time // pane
    ones = np.ones(len(batch), dtype=np.int64)
    return summed([Entries(number, number, offset + batch.version.astype(np.int64), ones)])


def fold_batch(cells: PaneCells, batch: Batch, pane: int) -> Entries:
    """Cells of every section that counts predictions, by pane (its width in milliseconds)."""
    if not len(batch):
        return NO_ENTRIES
    parts = []
    for name, sketch in cells.of_batches.items():
        if isinstance(sketch, InputCells | JointCells):
            dense = DENSE if isinstance(sketch, InputCells) else DENSE_PAIRS
            start = cells.sections[name].start
            parts += [_moved(part, start) for part in _counted(sketch, batch, pane, dense)]
        else:
            parts.append(_section(cells, name, sketch.contributions(batch), batch.time // pane))
    return summed(parts)


def fold_outcomes(cells: PaneCells, outcomes: Outcomes, pane: int) -> Entries:
    """Cells of every section that counts joined rows, by pane."""
    if not len(outcomes):
        return NO_ENTRIES
    number = outcomes.time // pane
    made = cells.by_section(outcomes)
    return summed([_section(cells, name, part, number) for name, part in made.items()])


def fold_labels(
    cells: PaneCells, time: NDArray[np.int64], cell: NDArray[np.int64], pane: int
) -> Entries:
    """Events (n,) in these cells of the section `labels`, by pane."""
    number, ones = time // pane, np.ones(len(time), dtype=np.int64)
    return summed([Entries(number, number, cells.sections["labels"].start + cell, ones)])


def _section(
    cells: PaneCells, name: str, made: Contributions, number: NDArray[np.int64]
) -> Entries:
    return _moved(_by_pane(made, number), cells.sections[name].start)


def _moved(entries: Entries, start: int) -> Entries:
    """The same entries in the cells from `start` on."""
    return Entries(entries.pane, entries.bucket, entries.cell + start, entries.weight)


def fold_shown(
    sketch: Sketch[Outcomes], outcomes: Outcomes, corrections: Corrections, pane: int, first: int
) -> Entries:
    """Cells of a sketch, from `first` on, of what is shown of joined rows.

    A correction takes effect in its own pane, on the row's old bucket.
    """
    parts = []
    if len(outcomes):
        parts.append(_by_pane(sketch.contributions(outcomes), outcomes.time // pane))
    if len(corrections):
        made = sketch.contributions(corrections.rows)
        effective = np.maximum(corrections.effective, corrections.rows.time) // pane
        bucket = corrections.rows.time // pane
        parts.append(Entries(effective[made.row], bucket[made.row], made.cell, made.weight))
    shown = summed(parts)
    return Entries(shown.pane, shown.bucket, shown.cell + first, shown.weight)


def _by_pane(made: Contributions, number: NDArray[np.int64]) -> Entries:
    pane = number[made.row]
    return Entries(pane, pane, made.cell, made.weight)


def _entries(cell: NDArray[np.intp], counts: NDArray[np.int64], pane: int) -> Entries:
    number = np.full(len(cell), pane, dtype=np.int64)
    return Entries(number, number, cell.astype(np.int64), counts[cell])
