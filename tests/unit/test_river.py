"""Detectors of river as configured: through the whole pipeline and into the budget."""

import numpy as np
import pytest

from agent.config import Config
from agent.intake.simulate import CreditTraffic, Script
from agent.replay import replay
from agent.results import results
from detectors.codec import Codec
from detectors.drift.river import KINDS, RiverDetector, RiverMemory
from detectors.evidence import PaneRun

START = 1_700_000_000_000
CODEC = Codec([RiverMemory])


def replayed(folder, script, river):
    traffic = CreditTraffic(np.random.default_rng(3), START, 20, script)
    predictions, feedback = traffic.until(START + 2_000_000)
    _, late = traffic.until(START + 20_000_000)
    paths = folder / "p.jsonl", folder / "f.jsonl"
    for path, made in zip(paths, (predictions, feedback + late), strict=True):
        path.write_bytes(b"\n".join(r.value for r in made))
    model = {"task": "binary", "warmup": 4000, "river": river}
    config = Config.model_validate({"models": {"credit": model}})
    return results(replay(config, "credit", *paths))["models"]["credit"]["alarms"]


def test_adwin_pages_once_errors_rise_and_not_before(tmp_path):
    found = replayed(tmp_path, Script(decay=900_000), [{"detector": "drift.ADWIN"}])
    pages = {a["detector"]: a for a in found if a["severity"] == "page"}
    assert {"error_rate", "adwin"} <= set(pages)
    assert pages["adwin"]["kind"] == "accuracy"
    decayed = np.datetime64(START + 900_000, "ms")
    assert all(np.datetime64(a["raised_at"].rstrip("Z")) > decayed for a in found)


def test_on_a_feature_a_detector_of_river_opens_a_ticket(tmp_path):
    kswin = {"detector": "drift.KSWIN", "params": {"window_size": 600, "stat_size": 150}}
    river = [{**kswin, "on": "income"}, {"detector": "drift.ADWIN", "on": "score"}]
    found = replayed(tmp_path, Script(drift=900_000, shift=2.0), river)
    (alarm,) = (a for a in found if a["detector"] == "kswin")
    assert (alarm["target"], alarm["kind"], alarm["severity"]) == ("income", "drift", "ticket")
    assert np.datetime64(alarm["raised_at"].rstrip("Z")) > np.datetime64(START + 900_000, "ms")


def panes(rates, rows=32, seed=1):
    """Panes of so many outcomes, wrong with these probabilities."""
    wrong = np.random.default_rng(seed).binomial(rows, rates)
    counts = np.stack([rows - wrong, wrong], axis=1).astype(np.int64)
    return PaneRun((np.arange(len(counts)) + 1) * 10_000, {"errors": counts})


@pytest.mark.parametrize("name", KINDS)
def test_fewer_errors_are_no_alarm(name):
    """From 40% to 5%: whatever rings on errors rings for the worse alone."""
    detector = RiverDetector(name, None, 1e-6)
    before, after = panes(np.full(200, 0.4)), panes(np.full(100, 0.05), seed=2)
    memory, _ = detector.step(detector.start(), before)
    _, evidence = detector.step(memory, after)
    assert evidence.max() < (5 if name == "drift.KSWIN" else 0.1)


@pytest.mark.parametrize("name", KINDS)
def test_a_state_survives_as_bytes_without_the_library_noticing(name):
    """Also right after an alarm, when the library starts over."""
    detector = RiverDetector(name, None, 1e-6)
    run = panes(np.repeat([0.1, 0.7, 0.1], 60))
    whole, evidence = detector.step(detector.start(), run)
    memory, parts = detector.start(), []
    for i in range(len(run)):
        data = CODEC.encode("m", 1, "p", memory)
        memory, made = detector.step(CODEC.decode("m", 1, "p", data), run.take(slice(i, i + 1)))
        parts.append(made)
    assert np.array_equal(np.concatenate(parts), evidence)
    assert CODEC.encode("m", 1, "p", memory) == CODEC.encode("m", 1, "p", whole)
    rang = evidence.max() > 5
    assert rang or name in ("drift.KSWIN", "drift.PageHinkley")


def test_p_values_of_kswin_keep_the_budget():
    """As many values as 2,000 tests have: no more rings than one in two hundred tests."""
    detector = RiverDetector("drift.KSWIN", None)
    run = panes(np.full(1900, 0.3))
    _, evidence = detector.step(detector.start(), run)
    held, rings = 0.0, 0
    for log_e in evidence[:, 0]:
        held = (held + 32 / 30 / 200) * np.exp(log_e)
        if held >= 1:
            held, rings = 0.0, rings + 1
    assert rings <= 17  # 10 expected at most; 1% of Poisson
