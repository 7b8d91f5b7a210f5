"""Do fewer predictions get a label than used to?"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import PaneRun, Stream
from detectors.labels.cells import DELAYS, PARTS
from detectors.labels.learned import Learned, dependence, learn, nothing, tempered
from detectors.ratio import rate_limit, rate_table
from detectors.sketch import Counts

FACTORS = (1.5, 2.0, 4.0)  # of the odds of having no label
RATES = (0.5, 0.9)  # share without a label
ALTERNATIVES = len(FACTORS) + len(RATES)
IMMATERIAL = 0.02  # rise of the share without a label
BEYOND = 0.02  # by which an alternative's share exceeds the null's at least


class LabelCoverage:
    """One-sided likelihood ratios of the share of predictions without a label at each age.

    A prediction is looked at when it reaches each of some ages, so that a missing label is noticed
    as soon as labels of that age are missed. Each age learns its own share.
    """

    def __init__(self) -> None:
        self.stream = Stream(
            "label_coverage",
            "label_coverage",
            "labels",
            "ticket",
            len(PARTS) * ALTERNATIVES,
            "calibrated",
        )

    def start(self) -> tuple[Learned, ...]:
        """Nothing learned of any age."""
        return tuple(nothing(2, ALTERNATIVES) for _ in PARTS)

    def step(
        self, memory: tuple[Learned, ...], run: PaneRun
    ) -> tuple[tuple[Learned, ...], NDArray[np.float64]]:
        """Log e-values (k, alternatives of each age in turn); 0 while learning."""
        after, evidence = [], []
        for i, known in enumerate(memory):
            counts = run.sections["labels"][:, DELAYS + 2 * i : DELAYS + 2 * i + 2]
            seen = np.flatnonzero(counts.any(axis=1))
            if known.first < 0 and len(seen):
                known = replace(known, first=int(run.time[seen[0]]) - 1)
            known, made = learn(known, run.time, counts, _fit)
            after.append(known)
            evidence.append(made)
        return tuple(after), np.concatenate(evidence, axis=1)


def _fit(counts: Counts) -> Counts:
    """Evidence (2, a) of a prediction with a label and of one without, from (blocks, 2) counts."""
    rows, without = int(counts.sum()), int(counts[:, 1].sum())
    rate = (without + 0.5) / (rows + 1)
    odds = np.array(FACTORS) * rate / (1 - rate)
    q = np.concatenate([odds / (1 + odds), RATES])
    # The evidence of either cell is a line in the count: any table shows the same dependence.
    divisor = float(dependence(counts, rate_table(0.4, np.array([0.6])))[0])
    null = max(rate_limit(without / divisor, rows / divisor), rate + IMMATERIAL)
    bet = q > null + BEYOND
    made = rate_table(min(null, 0.99), np.where(bet, q, 0.995))
    made[:, ~bet] = 0
    return tempered(made, np.full(len(q), divisor))
