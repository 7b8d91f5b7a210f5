"""How much larger a budget could be before Tocsin rings as often as the tuned competitors.

The panes' evidence does not depend on the budget, so it is made once. What is tried then many
times is the budget's recursion alone, for several streams side by side: what `Budget.step` does for
one, up to an alarm after which it starts anew (a test holds the two together).
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.detection.judge import Evidence
from benchmarks.detection.streams import Floats
from detectors.budget import LARGEST, LONGEST_CREDIT, Budget

LOWEST, HIGHEST = 1e-2, 1e4  # multiples of the budget between which is looked


def credit(budget: Budget) -> Floats:
    """What a millisecond adds to the M of each cell (c,)."""
    # Next to no evidence, since a stream that says nothing is not credited.
    log_e = np.full((2, budget.cells), 1e-300)
    return budget.step(budget.start(), np.array([1, 2]), log_e)[0].m


class Trial:
    """In-control evidence of several streams of equally many panes, and their budgets."""

    def __init__(self, budgets: Sequence[Budget], evidence: Sequence[Evidence]) -> None:
        k, d = len(evidence[0].time), len(evidence)
        cells = max(b.cells for b in budgets)
        streams = max(len(b.streams) for b in budgets)
        self.e = np.ones((k, d, cells))
        self.speaks = np.zeros((k, d, streams), dtype=bool)
        self.credit = np.zeros((d, cells))
        self.stream = np.zeros((d, cells), dtype=np.intp)
        self.time = np.stack([made.time for made in evidence], axis=1)  # (k, d)
        self.start = np.array([made.start for made in evidence])
        self.panes = k * d
        for i, (budget, made) in enumerate(zip(budgets, evidence, strict=True)):
            width = [s.alternatives for s in budget.streams]
            self.e[:, i, : budget.cells] = np.exp(np.clip(made.log_e, -LARGEST, LARGEST))
            first = np.concatenate([[0], np.cumsum(width)[:-1]])
            spoken = np.logical_or.reduceat(made.log_e != 0.0, first, axis=1)
            self.speaks[:, i, : len(width)] = spoken
            self.credit[i, : budget.cells] = credit(budget)
            self.stream[i, : budget.cells] = np.repeat(np.arange(len(width)), width)

    def alarms(self, multiplier: float, enough: int | None = None) -> int:
        """False alarms with a budget so many times larger; counting ends beyond `enough`."""
        credit, found = self.credit * multiplier, 0
        m = np.zeros_like(credit)
        d, streams = self.speaks.shape[1:]
        credited = np.repeat(self.start[:, None], streams, axis=1)
        rows = np.arange(d)[:, None]
        for time, e, speaks in zip(self.time[:, :, None], self.e, self.speaks, strict=True):
            elapsed = np.where(speaks, np.minimum(time - credited, LONGEST_CREDIT), 0)
            credited = np.where(speaks, time, credited)
            m += credit * elapsed[rows, self.stream]
            m *= e
            rings = m.sum(axis=1) >= 1.0
            if rings.any():
                found += int(rings.sum())
                m[rings] = 0.0
                credited[rings] = time[rings]
                if enough is not None and found > enough:
                    break
        return found


def multiplier(trial: Trial, allowed: int, halvings: int = 8) -> float:
    """The largest multiple of the budget with at most so many false alarms in the trial.

    Halves the interval of its logarithm.
    """
    low, high = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(halvings):
        middle = (low + high) / 2
        if trial.alarms(float(np.exp(middle)), allowed) > allowed:
            high = middle
        else:
            low = middle
    return float(np.exp(low))
