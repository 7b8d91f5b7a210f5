"""`tocsin profile --budget` says what cannot be promised, and why."""

import json

import numpy as np
import pytest
from scipy.signal import lfilter

from agent.config import Config
from agent.intake.table import from_records
from agent.model import Model
from agent.promise import HeldOut, _broken, promise
from agent.reference import profile_of
from agent.results import blind

START, DAY = 1_700_000_000_000, 86_400_000
CONFIG = Config.model_validate({"models": {"m": {"task": "regression"}}})


def said(values: np.ndarray, per_day: int):
    """The promise for a model with one feature, and the model."""
    rng = np.random.default_rng(1)
    rows = [
        {
            "id": str(i),
            "timestamp": START + i * DAY // per_day,
            "features": {"x": float(v)},
            "prediction": float(rng.normal()),
        }
        for i, v in enumerate(values)
    ]
    settings = CONFIG.models["m"]
    reference = from_records([json.loads(json.dumps(r)) for r in rows], settings.fields, {})
    profile = profile_of(reference, settings, CONFIG.pane)
    return promise("m", CONFIG, reference, profile), Model("m", settings, CONFIG, profile, "")


def test_an_independent_reference_is_worth_its_rows():
    found, model = said(np.random.default_rng(2).normal(size=4_000), 500)
    assert not any("worth" in line or "cannot be promised" in line for line in found.not_promised)
    assert any("less than three weeks" in line for line in found.not_promised)
    assert "too_few" not in blind(model)


def test_a_reference_worth_too_few_independent_rows_is_too_few():
    noise = np.random.default_rng(3).normal(size=2_000)
    found, model = said(lfilter([1.0], [1, -0.95], noise), 1_000)
    (line,) = (line for line in found.not_promised if "worth" in line)
    assert line.startswith("numeric_drift of x: 2000 reference rows are worth ")
    assert int(line.split("worth ")[1].split()[0]) < 150
    assert any("a daily season counts" in line for line in found.not_promised)
    assert "too_few" in blind(model)
    (stream,) = (s for s in found.streams if s.target == "x" and s.detector == "numeric_drift")
    assert stream.basis == "calibrated"
    assert np.isinf(stream.delays["0.25 sd"])


def test_a_reference_that_changes_in_its_last_part_cannot_be_promised():
    values = np.random.default_rng(4).normal(size=6_000)
    values[4_800:] += 2
    found, _ = said(values, 2_000)
    assert found.held_out is not None
    assert found.held_out.rung["ticket"]
    (line,) = (line for line in found.not_promised if "held-out" in line)
    assert "cannot be promised of numeric_drift of x" in line


@pytest.mark.parametrize(
    ("tolerated", "rung", "clearly"),
    [(0.005, 1, True), (0.1, 1, False), (0.1, 2, True), (3.0, 6, False), (3.0, 9, True)],
)
def test_chance_explains_a_few_alarms_but_not_many(tolerated, rung, clearly):
    held = HeldOut(1_000, 10.0, {"page": tolerated}, {"page": ["error_rate of error"] * rung})
    assert bool(_broken(held)) == clearly
