"""A reference that is learned from the stream itself, since reference data have no delays.

Counts are gathered until there are ROWS of them over WARM_UP of event time; a table of evidence is
made of them, and judges what comes after. It is `calibrated`: the counts of hours, and of longer
stretches up to a day, say by how much events depend on each other, and evidence is divided by that.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.ratio import SCALE
from detectors.sketch import Counts

Floats = NDArray[np.float64]
Fit = Callable[[Counts], Counts]

WARM_UP = 7 * 86_400_000  # ms
ROWS = 2000
BLOCK = 3_600_000  # ms
MOST_BLOCKS = 512  # kept; beyond, they are joined in pairs
FEWEST_BLOCKS = 7
SURE = 3.0  # standard errors by which a variance must exceed independence to count


@dataclass(frozen=True, slots=True)
class Learned:
    """What is remembered of m cells, with a alternatives."""

    first: int  # since when events count, ms; -1: not known yet
    width: int  # of a block, ms
    counts: Counts  # (blocks, m) while learning
    reference: Counts  # (m,) learned; zeros before
    table: Counts  # (m, a) evidence of an event, nats times SCALE; zeros while learning
    done: bool


def nothing(cells: int, alternatives: int) -> Learned:
    """Nothing learned."""
    return Learned(
        first=-1,
        width=BLOCK,
        counts=np.zeros((0, cells), dtype=np.int64),
        reference=np.zeros(cells, dtype=np.int64),
        table=np.zeros((cells, alternatives), dtype=np.int64),
        done=False,
    )


def learn(
    memory: Learned, time: NDArray[np.int64], counts: Counts, fit: Fit
) -> tuple[Learned, Floats]:
    """Take in the panes that end at `time` (k,), with these counts (k, m).

    Returns the next memory and log e-values (k, a): 0 up to the pane that completes the reference.
    """
    if memory.done or not len(time) or memory.first < 0:
        return memory, (counts @ memory.table) / SCALE
    used = time > memory.first
    rows = np.cumsum(np.where(used, counts.sum(axis=1), 0)) + memory.counts.sum()
    complete = np.flatnonzero((time >= memory.first + WARM_UP) & (rows >= ROWS))
    taken = int(complete[0]) + 1 if len(complete) else len(time)
    now = used[:taken] & (counts[:taken].sum(axis=1) > 0)
    memory = _gathered(memory, time[:taken][now], counts[:taken][now])
    if not len(complete):
        return memory, np.zeros((len(time), memory.table.shape[1]))
    reference, cells = memory.counts.sum(axis=0), memory.counts.shape[1]
    memory = replace(
        memory,
        reference=reference,
        table=fit(memory.counts),
        counts=np.zeros((0, cells), dtype=np.int64),
        done=True,
    )
    evidence = (counts @ memory.table) / SCALE
    evidence[:taken] = 0.0
    return memory, evidence


def _gathered(memory: Learned, time: NDArray[np.int64], counts: Counts) -> Learned:
    if not len(time):
        return memory
    width, old = memory.width, memory.counts
    while (int(time[-1]) - 1 - memory.first) // width >= MOST_BLOCKS:
        width *= 2
        even = np.concatenate([old, np.zeros((len(old) % 2, old.shape[1]), dtype=np.int64)])
        old = even[::2] + even[1::2]
    block = (time - 1 - memory.first) // width
    made = np.zeros((max(int(block[-1]) + 1, len(old)), old.shape[1]), dtype=np.int64)
    made[: len(old)] = old
    np.add.at(made, block, counts)
    return replace(memory, width=width, counts=made)


def dependence(counts: Counts, table: Counts) -> Floats:
    """Variance (a,) of blocks' evidence relative to independent events, at least 1.

    The largest that is clear over blocks of 1, 2, 4, ... of the given ones, at its upper limit.

    Parameters
    ----------
    counts
        (blocks, m) in the order of time.
    table
        (m, a) evidence of an event.
    """
    nats, rows = table / SCALE, counts.sum(axis=1).astype(float)
    p = counts.sum(axis=0) / max(rows.sum(), 1.0)
    mean = p @ nats
    variance = p @ nats**2 - mean**2
    excess = counts @ nats - rows[:, None] * mean
    found, length = np.ones(table.shape[1]), 1
    while len(counts) // length >= FEWEST_BLOCKS:
        whole = len(counts) // length * length
        sums = excess[:whole].reshape(-1, length, table.shape[1]).sum(axis=1)
        expected = np.maximum(rows[:whole].sum() * variance, 1e-300)
        ratio = (sums**2).sum(axis=0) / expected
        error = np.sqrt(2 / len(sums))
        clear = ratio > 1 + SURE * error
        found = np.where(clear, np.maximum(found, ratio * (1 + 2 * error)), found)
        length *= 2
    return np.where(variance > 1e-12, found, 1.0).round(3)


def tempered(table: Counts, divisor: Floats) -> Counts:
    """Evidence divided by what it depends on itself."""
    return np.floor(table / divisor).astype(np.int64)
