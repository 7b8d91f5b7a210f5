"""river's ADWIN as configured: through the whole pipeline and into the budget."""

import numpy as np

from agent.config import Config
from agent.intake.simulate import CreditTraffic, Script
from agent.replay import replay
from agent.results import results

START = 1_700_000_000_000


def test_adwin_pages_once_errors_rise_and_not_before(tmp_path):
    traffic = CreditTraffic(np.random.default_rng(3), START, 20, Script(decay=900_000))
    predictions, feedback = traffic.until(START + 2_000_000)
    _, late = traffic.until(START + 20_000_000)
    paths = tmp_path / "p.jsonl", tmp_path / "f.jsonl"
    for path, made in zip(paths, (predictions, feedback + late), strict=True):
        path.write_bytes(b"\n".join(r.value for r in made))
    model = {"task": "binary", "warmup": 4000, "river": [{"detector": "drift.ADWIN"}]}
    config = Config.model_validate({"models": {"credit": model}})
    found = results(replay(config, "credit", *paths))["models"]["credit"]["alarms"]
    pages = {a["detector"]: a for a in found if a["severity"] == "page"}
    assert {"error_rate", "adwin"} <= set(pages)
    assert pages["adwin"]["kind"] == "accuracy"
    decayed = np.datetime64(START + 900_000, "ms")
    assert all(np.datetime64(a["raised_at"].rstrip("Z")) > decayed for a in found)
