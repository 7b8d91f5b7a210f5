"""No alternative of a categorical column may gain on unchanged traffic, however it was drawn."""

import numpy as np
import pytest
from scipy.stats import binom

from detectors import rates
from detectors.batch import Batch, CategoricalFeature, Schema
from detectors.budget import Budget, Ring
from detectors.cells import InputCells
from detectors.drift.categorical import CategoricalDrift
from detectors.evidence import PaneRun
from detectors.profile import build_profile
from detectors.ratio import SCALE

PROFILES = 150
REFERENCES, LENGTH, PANE, PROMISE = 80, 50_000, 500, 100_000  # events


def drawn(categories: int, n: int, rng: np.random.Generator) -> tuple[CategoricalDrift, np.ndarray]:
    """A detector of one drawn reference, and the true probabilities of its cells."""
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
    return detector, np.bincount(code, weights=q, minlength=len(detector.cells))


def growth(categories: int, n: int, rng: np.random.Generator) -> float:
    """Nats an event of unchanged traffic brings the best alternative of one drawn reference."""
    detector, truth = drawn(categories, n, rng)
    gathered = truth @ (detector.table / SCALE)
    return float(gathered[detector.stream.spread() > 0].max())


@pytest.mark.parametrize(("categories", "n"), [(20, 1_000), (20, 3_000), (50, 3_000)])
def test_nothing_gains_on_unchanged_traffic(categories, n):
    rng = np.random.default_rng(1)
    gains = [growth(categories, n, rng) > 0 for _ in range(PROFILES)]
    assert np.mean(gains) <= 0.02


def test_alternatives_next_to_their_null_would_gain(monkeypatch):
    """What the test above guards: bets on every alternative beyond its null."""
    monkeypatch.setattr(rates, "USABLE", 0.0)
    rng = np.random.default_rng(1)
    gains = [growth(20, 1_000, rng) > 0 for _ in range(PROFILES)]
    assert np.mean(gains) > 0.02


def test_no_more_false_alarms_than_promised_on_average_over_references():
    """Alarms of unchanged traffic, whose references were drawn anew each time."""
    rng, found = np.random.default_rng(2), 0
    for _ in range(REFERENCES):
        detector, truth = drawn(20, 2_000, rng)
        counts = rng.multinomial(PANE, truth, LENGTH // PANE)
        ends = np.arange(1, LENGTH // PANE + 1) * PANE
        budget = Budget([detector.stream], 1 / PROMISE)
        log_e = detector.step(None, PaneRun(ends, {"inputs": counts}))[1]
        _, happened = budget.step(budget.start(), ends, log_e)
        found += sum(isinstance(h, Ring) for h in happened)
    assert found <= binom.ppf(0.99, REFERENCES, LENGTH / PROMISE)
