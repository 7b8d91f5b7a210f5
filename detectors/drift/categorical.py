"""Drift of a categorical column: a category has become much more or much less frequent."""

import numpy as np
from numpy.typing import NDArray

from detectors.cells import Column, InputCells
from detectors.evidence import RatioDetector, Stream
from detectors.profile import Profile
from detectors.rates import WATCHED, Evidence, rate_evidence
from detectors.season import QUARTERS
from detectors.sketch import Counts

# Alternatives either way, and their relative shares: of the odds, and shares of the category.
FACTORS = {1.5: 0.3, 2.0: 0.3, 4.0: 0.15}
SHARES = {0.05: 0.05, 0.2: 0.05, 0.5: 0.05, 0.8: 0.05, 0.95: 0.05}
IMMATERIAL = 0.01  # relative change of a share that does not count
FEWEST_REFERENCE = 100
PER_HOUR = QUARTERS // 24


class CategoricalDrift(RatioDetector):
    """Has the mix of a categorical feature, or of the predicted classes, changed?

    For each of the most frequent categories the odds are multiplied and divided by 1.5, 2 and 4,
    and a few shares are tested as well, for categories that were rare or the rule. Each is a
    one-sided test of that category against all others (`detectors.rates`). A category whose share
    has a season is compared with its own hour.
    """

    def __init__(self, column: Column, profile: Profile) -> None:
        assert column.categorical is not None
        counts = np.array([*column.categorical.counts, column.categorical.unseen])
        ranked = np.argsort(-counts[:-1], kind="stable")[:WATCHED].tolist()
        sides = [
            (i, upper, *_alternatives(float(counts[i]), float(counts.sum()), upper))
            for i in ranked
            for upper in (True, False)
        ]
        widths = [len(q) for _, _, q, _ in sides]
        key = f"categorical_drift/{column.name}"
        stops = np.cumsum(widths)[:-1]
        dispersion = np.split(profile.dispersion(key, sum(widths)), stops)
        seasons = [profile.seasons.get(f"{column.name}={c}") for c in column.categorical.categories]
        made = [
            rate_evidence(
                float(counts[i]),
                float(counts.sum()),
                q,
                IMMATERIAL * float(counts[i]) / float(counts.sum()),
                upper,
                d,
                seasons[i],
            )
            for (i, upper, q, _), d in zip(sides, dispersion, strict=True)
        ]
        table, slots, expected = _table([i for i, *_ in sides], made, len(counts))
        shares = np.concatenate([s * m.bet for (*_, s), m in zip(sides, made, strict=True)])
        calibrated = any(seasons[i] is not None for i in ranked)
        stream = Stream(
            "categorical_drift",
            column.name,
            "drift",
            "ticket",
            table.shape[-1],
            "calibrated" if calibrated else "exact",
            tuple(shares.tolist()),
        )
        cells = np.arange(column.start, column.start + column.known + 1)
        super().__init__(stream, "inputs", cells, table, slots, expected)

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["CategoricalDrift"]:
        """One for each categorical column with enough reference values and two categories."""
        return [
            cls(c, profile)
            for c in cells.columns
            if c.categorical is not None
            and c.known > 1
            and sum(c.categorical.counts) >= FEWEST_REFERENCE
        ]


def _alternatives(
    count: float, rows: float, upper: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rates (a,) of a category above, or below, that of the reference, and their shares."""
    share = (count + 0.5) / (rows + 1)
    factors = np.array(list(FACTORS)) if upper else 1 / np.array(list(FACTORS))
    odds = factors * share / (1 - share)
    q = np.concatenate([odds / (1 + odds), list(SHARES)])
    spent = np.array([*FACTORS.values(), *SHARES.values()])
    beyond = q > share if upper else q < share
    return q[beyond], spent[beyond]


def _table(
    categories: list[int], made: list[Evidence], cells: int
) -> tuple[Counts, NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Evidence of an event in each cell, which table holds when, and means; see `RatioDetector`.

    The seasons of several categories meet in their hours.
    """
    longest = max(len(m.slots) for m in made)
    hours = np.stack([np.resize(m.slots, longest)[PER_HOUR // 2 :: PER_HOUR] for m in made], axis=1)
    if longest == 1:
        hours = np.zeros((1, len(made)), dtype=np.int64)
    found, which = np.unique(hours, axis=0, return_inverse=True)
    tables = []
    for levels in found:
        blocks = []
        for category, m, level in zip(categories, made, levels.tolist(), strict=True):
            block = np.repeat(m.table[level, :1], cells, axis=0)
            block[category] = m.table[level, 1]
            blocks.append(block)
        tables.append(np.concatenate(blocks, axis=1))
    if longest == 1:
        return tables[0], None, None
    expected = [
        np.concatenate([m.expected[level] for m, level in zip(made, levels.tolist(), strict=True)])
        for levels in found
    ]
    return np.stack(tables), which.reshape(-1).astype(np.int64), np.stack(expected)
