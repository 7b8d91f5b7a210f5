"""No alternative of a categorical column may gain on unchanged traffic, however it was drawn."""

import numpy as np
import pytest

from detectors.batch import Batch, CategoricalFeature, Schema
from detectors.cells import InputCells
from detectors.drift import categorical
from detectors.drift.categorical import CategoricalDrift
from detectors.profile import build_profile
from detectors.ratio import SCALE

PROFILES = 150


def growth(categories: int, n: int, rng: np.random.Generator) -> float:
    """Nats an event of unchanged traffic brings the best alternative of one drawn reference."""
    q = 1 / np.arange(1, categories + 1)
    q /= q.sum()
    drawn = rng.choice(categories, n, p=q)
    counts = np.bincount(drawn, minlength=categories)
    seen = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    code = np.full(categories, len(seen))
    code[seen] = np.arange(len(seen))
    schema = Schema("regression", (), (CategoricalFeature("c", tuple(str(i) for i in seen)),))
    batch = Batch(
        time=np.full(n, -1, dtype=np.int64),
        id=np.arange(n).astype(np.uint64),
        version=np.zeros(n, dtype=np.int32),
        numeric=np.zeros((n, 0)),
        invalid=np.zeros((n, 0), dtype=bool),
        category=code[drawn][:, None].astype(np.int32),
        prediction=np.zeros(n),
        score=np.zeros((n, 0)),
        latency=np.full(n, np.nan),
    )
    profile = build_profile(schema, batch, None, 10_000)
    (detector,) = CategoricalDrift.watch(profile, InputCells(profile))
    truth = np.bincount(code, weights=q, minlength=len(detector.cells))
    return float((truth @ (detector.table / SCALE)).max())


@pytest.mark.parametrize(("categories", "n"), [(20, 1_000), (20, 3_000), (50, 3_000)])
def test_nothing_gains_on_unchanged_traffic(categories, n):
    rng = np.random.default_rng(1)
    gains = [growth(categories, n, rng) > 0 for _ in range(PROFILES)]
    assert np.mean(gains) <= 0.02


def test_single_limits_and_alternatives_next_to_their_null_would_gain(monkeypatch):
    """What the test above guards: 99% limits, each alone, and alternatives 5% beyond them."""
    monkeypatch.setattr(categorical, "STRICT", 2.33)
    monkeypatch.setattr(categorical, "APART", 1.05)
    rng = np.random.default_rng(1)
    gains = [growth(20, 1_000, rng) > 0 for _ in range(PROFILES)]
    assert np.mean(gains) > 0.02
