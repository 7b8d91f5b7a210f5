"""Do labels come later than they used to?"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import PaneRun, Stream
from detectors.labels.cells import BOUNDS, ages
from detectors.labels.learned import Learned, dependence, learn, nothing, tempered
from detectors.ratio import table, usable
from detectors.sketch import Counts

LATER = (0.5, 1.0, 2.0, 4.0, 8.0)  # bins of delay: one is a factor of two or three
IMMATERIAL = 0.1  # bins


class LabelDelay:
    """Likelihood ratios of the delays of joined rows, in the pane in which they were joined.

    Alternatives move the learned histogram to longer delays. Delays of more than a fifth of the
    horizon are left to coverage, and for as long after the start nothing is learned: late labels
    come only once the predictions they belong to have been seen for long enough.

    Parameters
    ----------
    horizon
        How long after its prediction a label may come, milliseconds.
    """

    def __init__(self, horizon: int) -> None:
        self._wait = ages(horizon)[2]
        self.cells = np.flatnonzero(self._wait >= BOUNDS)
        self.stream = Stream(
            "label_delay", "label_delay", "labels", "ticket", len(LATER), "calibrated"
        )

    def start(self) -> Learned:
        """Nothing learned."""
        return nothing(len(self.cells), len(LATER))

    def step(self, memory: Learned, run: PaneRun) -> tuple[Learned, NDArray[np.float64]]:
        """Log e-values (k, alternatives); 0 while learning."""
        if memory.first < 0 and len(run):
            memory = replace(memory, first=int(run.time[0]) + self._wait)
        return learn(memory, run.time, run.sections["labels"][:, self.cells], _fit)


def _fit(counts: Counts) -> Counts:
    """Evidence (m, a) of a delay, from learned counts (blocks, m).

    The null is the immaterial delay: beside it a bin that was never seen weighs less. What was
    learned itself is tolerated.
    """
    total = counts.sum(axis=0)
    p = (total + 0.5) / (total + 0.5).sum()
    null = _later(p, IMMATERIAL)
    alternatives = np.stack([_later(p, bins) for bins in LATER])
    divisor = dependence(counts, table(null, alternatives, float(total.sum()), p[None]))
    made = table(null, alternatives, total.sum() / divisor, p[None])
    made[:, ~usable(null, alternatives, made)] = 0
    return tempered(made, divisor)


def _later(p: NDArray[np.float64], bins: float) -> NDArray[np.float64]:
    """Probabilities (m,) moved so many bins up; what would leave stays in the last one."""
    whole = int(bins)
    return (1 - bins + whole) * _moved(p, whole) + (bins - whole) * _moved(p, whole + 1)


def _moved(p: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    moved = np.zeros(len(p))
    np.add.at(moved, np.minimum(np.arange(len(p)) + bins, len(p) - 1), p)
    return moved
