"""A model watched by hand: traffic whose `income` or errors can be moved, and what rings."""

import json
from functools import cache

import numpy as np

from agent import profile_file
from agent.acceptance import accept
from agent.config import Config
from agent.intake.source import RawBatch
from agent.intake.table import from_chunks
from agent.model import Model
from agent.pipeline import Pipeline
from agent.reference import labelled, profile_of

SECOND, MINUTE, DAY = 1000, 60_000, 86_400_000
START = 1_700_000_000_000 // DAY * DAY
LATEST = START + 100 * DAY
ALARMS = {"page": "1 per 3650d", "ticket": "1 per 3650d"}
PREDICTIONS, FEEDBACK = "credit.predictions", "credit.feedback"
NORMAL, MOVED = 0.0, 1.5  # means of `income`


class Traffic:
    """Two predictions a second with a label each.

    The mean of `income`, its correlation with `age` and the error rate (of all, or by region) can
    be moved.
    """

    def __init__(self, seed=1, start=START):
        self.random, self.start = np.random.default_rng(seed), start
        self.now, self.made = start, 0

    def until(self, time, income=NORMAL, tied=0.0, wrong=0.1):
        """Raw batches of what comes until then (milliseconds after the start)."""
        n = (self.start + time - self.now) // 500
        times = self.now + 500 * np.arange(n)
        values, scores = self.random.normal(0, 1, n), self.random.random(n)
        ages = tied * values + (1 - tied**2) ** 0.5 * self.random.normal(0, 1, n)
        values += income
        regions = self.random.choice(["north", "south"], n, p=[0.7, 0.3])
        often = [wrong[r] for r in regions] if isinstance(wrong, dict) else wrong
        flips = self.random.random(n) < often
        predictions, feedback = [], []
        for i in range(n):
            number = f"r-{self.made + i}"
            at, score = int(times[i]), round(float(scores[i]), 3)
            features = {"income": round(float(values[i]), 3), "age": round(float(ages[i]), 3)}
            features["region"] = str(regions[i])
            row = {"id": number, "timestamp": at, "features": features, "score": score}
            label = int(score >= 0.5) ^ int(flips[i])
            predictions.append(json.dumps(row).encode())
            feedback.append(json.dumps({"id": number, "timestamp": at, "label": label}).encode())
        offsets = np.arange(self.made, self.made + n)
        self.now, self.made = int(self.now + 500 * n), self.made + n
        return [
            RawBatch(topic, 0, values, offsets, times)
            for topic, values in ((PREDICTIONS, predictions), (FEEDBACK, feedback))
        ]


def configuration(path=None, **more):
    model = {"task": "binary"} | ({"profile": str(path)} if path is not None else {})
    model |= more.pop("model", {})
    settings = {"alerts": ALARMS, "windows": ["5m", "1h", "1d"], **more}
    return Config.model_validate(settings | {"models": {"credit": model}})


@cache
def reference():
    """A profile of 8,000 normal rows."""
    config = configuration()
    fields = config.models["credit"].fields
    batches = Traffic(seed=99).until(4_000 * SECOND)
    rows = labelled(from_chunks(batches[:1], fields), from_chunks(batches[1:], fields))
    return profile_of(rows, config.models["credit"], config.pane)


class Watched:
    """A model with its traffic."""

    def __init__(self, path, profile=None, **more):
        self.path = path
        profile_file.save(profile or reference(), path)
        self.pipeline = Pipeline(configuration(path, **more))
        self.pipeline.assign([(PREDICTIONS, 0), (FEEDBACK, 0)])
        self.traffic = Traffic()
        self.alarms = []

    @property
    def model(self) -> Model:
        return self.pipeline.model("credit")

    def until(self, time, **moved):
        """Alarms raised and cleared."""
        happened = []
        for batch in self.traffic.until(time, **moved):
            self.pipeline.take(batch, LATEST, 0.0)
        happened += self.pipeline.close()
        self.alarms += happened
        return happened

    def accept(self, target=None, **more):
        return accept(self.model, target, **{"by": "ann", "comment": "", "at": START, **more})
