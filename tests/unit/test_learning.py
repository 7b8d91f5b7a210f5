"""A model without a profile learns one from its first traffic, however that traffic came."""

import json

import numpy as np
import pytest

from agent.config import Config
from agent.errors import UsageError
from agent.intake.source import RawBatch
from agent.learning import Learner
from agent.model import Model
from agent.pipeline import Pipeline

START, SECOND, PANE = 1_700_000_000_000, 1000, 10_000
LATEST = START + 10**10
PREDICTIONS, FEEDBACK = "credit.predictions", "credit.feedback"


def pipeline(warmup=200):
    model = {"task": "binary", "warmup": warmup}
    return Pipeline(Config.model_validate({"models": {"credit": model}}))


def records(n, first=0, seed=1, bad=()):
    """Predictions one a second, as JSON with their times."""
    random = np.random.default_rng([seed, first])
    made = []
    for i in range(first, first + n):
        score = round(float(random.random()), 2)
        body = {
            "id": f"r-{i}",
            "timestamp": START + i * SECOND,
            "features": {"x": float(random.normal()), "k": str(random.choice(["a", "b"]))},
            "score": score,
        }
        made.append(b"{" if i in bad else json.dumps(body).encode())
    return made


def labels(rows, time=None):
    """Feedback for (number, label); it comes half a second after the prediction or at `time`."""
    made = []
    for i, label in rows:
        at = START + i * SECOND + 500 if time is None else time
        made.append(json.dumps({"id": f"r-{i}", "timestamp": at, "label": label}).encode())
    return made


def raw(topic, values, partition=0):
    n = len(values)
    return RawBatch(topic, partition, values, np.arange(n), np.full(n, START))


def take(pipe, topic, values, partition=0):
    pipe.take(raw(topic, values, partition), LATEST, 0.0)


def model_of(pipe):
    pipe.close()
    return pipe.model("credit")


def test_it_learns_when_all_before_the_edge_has_come_from_both_topics():
    pipe = pipeline()
    take(pipe, PREDICTIONS, records(220))
    take(pipe, FEEDBACK, labels((i, i % 2) for i in range(100)))
    assert isinstance(model_of(pipe), Learner)  # labels that were known by then are still to come
    take(pipe, FEEDBACK, labels((i, i % 2) for i in range(100, 215)))
    model = model_of(pipe)
    assert isinstance(model, Model)
    assert model.profile.learned
    assert model.profile.rows == 200
    assert model.profile.error.rows == 200


def test_the_reference_does_not_depend_on_when_it_is_looked_at():
    hashes = set()
    for first in (150, 211, 400):
        pipe = pipeline()
        take(pipe, PREDICTIONS, records(400)[:first])
        take(pipe, FEEDBACK, labels((i, 1) for i in range(first)))
        pipe.close()
        take(pipe, PREDICTIONS, records(400)[first:] or records(1, 400))
        take(pipe, FEEDBACK, labels((i, 1) for i in range(first, 401)))
        hashes.add(model_of(pipe).profile_hash)
    assert len(hashes) == 1


def test_later_corrections_and_withdrawals_before_the_edge_count():
    pipe = pipeline()
    take(pipe, PREDICTIONS, records(220))
    take(pipe, FEEDBACK, labels((i, 1) for i in range(200)))
    take(pipe, FEEDBACK, labels([(0, None), (1, 0)], START + 199 * SECOND + 600))
    take(pipe, FEEDBACK, labels((i, 1) for i in range(200, 220)))
    right, wrong = model_of(pipe).profile.error.counts
    assert right + wrong == 199


def test_records_kept_while_learning_are_not_late_although_the_clock_moved_on():
    """A partition read to its end has its panes closed by the clock; those kept came before."""
    pipe = pipeline()
    pipe.assign([(PREDICTIONS, 0), (FEEDBACK, 0)])
    take(pipe, PREDICTIONS, records(150))
    now = START / 1000 + 150
    for later in (30, 60):
        pipe.idle({(PREDICTIONS, 0): 0, (FEEDBACK, 0): 0}, now + later)
    take(pipe, PREDICTIONS, records(100, 200))
    for later in (300, 600):
        pipe.idle({(PREDICTIONS, 0): 0, (FEEDBACK, 0): 0}, now + later)
    model = model_of(pipe)
    assert isinstance(model, Model)
    assert model.counters.late[PREDICTIONS] == 0
    assert (model.first_time, model.last_time) == (START, START + 299 * SECOND)
    assert model.panes == 25


def test_what_it_learned_from_is_shown_and_not_judged():
    pipe = pipeline()
    take(pipe, PREDICTIONS, records(400))
    take(pipe, FEEDBACK, labels((i, 1) for i in range(400)))
    model = model_of(pipe)
    edge = START + 200 * SECOND
    assert sum(model.counters.predictions.values()) == 400
    assert model.detected_total[model.cells.columns[0].start :].sum() > 0
    assert all(budget.time > edge for budget in model.state.budgets)
    assert not model.learning


def test_unusable_records_teach_nothing():
    pipe = pipeline()
    take(pipe, PREDICTIONS, records(400, bad=range(0, 400, 2)))
    take(pipe, FEEDBACK, labels((i, 1) for i in range(401)))
    assert isinstance(model_of(pipe), Learner)
    take(pipe, PREDICTIONS, records(30, 400))
    take(pipe, FEEDBACK, labels((i, 1) for i in range(401, 431)))
    pipe.finish()
    model = pipe.models["credit"]
    assert model.counters.rejected.total() == 200
    assert model.profile.rows == 200


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_end_of_a_recording_teaches_the_same(partitions):
    """Warmup ends so near the end that no watermark passes its edge."""
    pipe = pipeline(warmup=215)
    made = records(220)
    for number in range(partitions):
        take(pipe, PREDICTIONS, made[number::partitions], number)
    pipe.close()
    pipe.finish()
    model = pipe.models["credit"]
    assert model.profile.rows == 220
    assert model.panes == 22


def test_too_little_is_learned_from_at_the_end():
    pipe = pipeline(warmup=10_000)
    take(pipe, PREDICTIONS, records(50))
    pipe.finish()
    assert pipe.models["credit"].profile.rows == 50
    assert pipe.models["credit"].learning is False


def test_nothing_at_all_is_survived():
    pipe = pipeline()
    assert pipe.close() == []
    take(pipe, PREDICTIONS, [b"{", b"[]"])
    assert pipe.close() == []
    with pytest.raises(UsageError, match="no profile could be learned"):
        pipe.finish()


def test_garbage_without_end_is_given_up_and_counted(monkeypatch):
    monkeypatch.setattr("agent.learning.MOST_BYTES", 1_000)
    pipe = pipeline()
    for _ in range(40):
        take(pipe, PREDICTIONS, [b"{ no json at all"] * 10)
        assert pipe.close() == []
    (learner,) = pipe.models.values()
    assert learner.rejected[PREDICTIONS, "unlearnable"] >= 300
    assert "no usable prediction" in learner.problem
