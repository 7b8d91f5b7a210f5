"""Drift of a categorical column: a category has become much more or much less frequent."""

import numpy as np

from detectors.cells import Column, InputCells
from detectors.evidence import RatioDetector, Stream
from detectors.profile import Profile
from detectors.ratio import rate_limit, rate_table
from detectors.sketch import Counts

FACTORS = (1.5, 2.0, 4.0)  # of the odds, up and down
IMMATERIAL = 0.1  # relative change of a share that does not count
SHARES = (0.05, 0.2, 0.5, 0.8, 0.95)  # tested as well, for categories that were rare or the rule
APART = 1.15  # least ratio of odds between an alternative and its null
STRICT = 3.5  # standard errors of a limit: 1% over the forty limits of a column together
WATCHED = 20  # the most frequent categories
FEWEST_REFERENCE = 100


class CategoricalDrift(RatioDetector):
    """Has the mix of a categorical feature, or of the predicted classes, changed?

    For each of the most frequent categories the odds are multiplied and divided by 1.5, 2 and 4.
    Each alternative is a one-sided test of that category against all others, its null a 99% limit
    of the reference share widened by what does not matter.
    """

    def __init__(self, column: Column) -> None:
        assert column.categorical is not None
        counts = np.array([*column.categorical.counts, column.categorical.unseen])
        columns = [self._category(counts, int(i)) for i in np.argsort(-counts[:-1], kind="stable")]
        evidence = np.concatenate(
            [c for c in columns[:WATCHED] if c.size]
            or [np.zeros((len(counts), 1), dtype=np.int64)],
            axis=1,
        )
        super().__init__(
            Stream("categorical_drift", column.name, "drift", "ticket", evidence.shape[1]),
            "inputs",
            np.arange(column.start, column.start + column.known + 1),
            evidence,
        )

    @staticmethod
    def _category(counts: Counts, i: int) -> Counts:
        n = float(counts.sum())
        share = (counts[i] + 0.5) / (n + 1)
        above = max(rate_limit(counts[i], n, z=STRICT), share * (1 + IMMATERIAL))
        below = min(rate_limit(counts[i], n, upper=False, z=STRICT), share * (1 - IMMATERIAL))
        parts = []
        for null, up in ((above, True), (below, False)):
            factors = np.array(FACTORS) if up else 1 / np.array(FACTORS)
            moved = factors * share / (1 - share)
            q = np.unique(np.concatenate([moved / (1 + moved), SHARES]))
            odds = q / (1 - q) / max(null / max(1 - null, 1e-9), 1e-9)  # relative to the null's
            q = q[(odds > APART) if up else (odds < 1 / APART)]
            if 0 < null < 1 and len(q):
                is_it, is_not = rate_table(null, q)[1], rate_table(null, q)[0]
                block = np.repeat(is_not[None, :], len(counts), axis=0)
                block[i] = is_it
                parts.append(block)
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(counts), 0), np.int64)

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["CategoricalDrift"]:
        """One for each categorical column with enough reference values and two categories."""
        return [
            cls(c)
            for c in cells.columns
            if c.categorical is not None
            and c.known > 1
            and sum(c.categorical.counts) >= FEWEST_REFERENCE
        ]
