"""Changes that are easy to miss, and states that must not make the agent deaf, blind or wrong."""

import json

import numpy as np
import pytest

from agent import profile_file
from agent.config import Config
from agent.errors import UsageError
from agent.intake.source import RawBatch
from agent.intake.table import from_records
from agent.pipeline import Pipeline
from agent.reference import profile_of
from agent.results import results
from agent.snapshots import snapshot

START = 1_700_000_000_000
LATEST = START + 10**12


def record(i, at, **more):
    body = {"id": f"r{i}", "timestamp": at, "features": {"x": 1.0, "c": "a"}, "prediction": 0}
    return json.dumps({**body, **more}).encode()


def raw(topic, values, partition=0, first=0):
    n = len(values)
    return RawBatch(topic, partition, values, np.arange(first, first + n), np.full(n, -1))


def pipeline(tmp_path, reference, model=None, **config):
    """A pipeline whose one model `m` has a profile of these records."""
    settings = Config.model_validate(
        {"models": {"m": {"task": "binary", **(model or {})}}, **config}
    )
    of = profile_of(
        from_records(reference, settings.models["m"].fields), settings.models["m"], 10_000
    )
    profile_file.save(of, tmp_path / "m.profile")
    raised = settings.model_dump(mode="json")["models"]["m"] | {
        "profile": str(tmp_path / "m.profile")
    }
    return Pipeline(Config.model_validate({"models": {"m": raised}, **config}))


def play(pipe, values, partition=0, step=200):
    for start in range(0, len(values), step):
        part = values[start : start + step]
        pipe.take(raw("m.predictions", part, partition, start), LATEST, 0.0)
        pipe.ended([("m.feedback", partition)])
        pipe.close()
    return pipe


def alarms(pipe):
    pipe.finish()
    return [(a["kind"], a["target"]) for a in results(pipe)["models"]["m"]["alarms"]]


def reference(n=3_000, **more):
    return [
        {
            "id": f"ref{i}",
            "timestamp": START - (n - i) * 1000,
            "features": {"x": 1.0, "c": "ab"[i % 2]},
            "prediction": 0,
            **more,
        }
        for i in range(n)
    ]


def test_a_constant_number_that_starts_to_vary_rings(tmp_path):
    pipe = pipeline(tmp_path, reference())
    values = [
        record(i, START + i * 1000, features={"x": float(i % 2), "c": "ab"[i // 2 % 2]})
        for i in range(400)
    ]
    assert ("drift", "x") in alarms(play(pipe, values))


def test_a_class_that_was_never_predicted_rings(tmp_path):
    rows = reference()
    for i, row in enumerate(rows):
        row["label"] = i % 2
    pipe = pipeline(tmp_path, rows)
    values = [
        record(i, START + i * 1000, prediction=1, features={"x": 1.0, "c": "ab"[i % 2]})
        for i in range(200)
    ]
    assert ("drift", "prediction") in alarms(play(pipe, values))


def test_perfect_regression_that_starts_to_err_rings(tmp_path):
    rows = [{**row, "prediction": float(i), "label": float(i)} for i, row in enumerate(reference())]
    pipe = pipeline(tmp_path, rows, {"task": "regression"})
    pages = []
    for i in range(300):
        at = START + i * 1000
        pipe.take(raw("m.predictions", [record(i, at, prediction=float(i))], 0, i), LATEST, 0.0)
        outcome = json.dumps({"id": f"r{i}", "timestamp": at, "label": i + 1e6}).encode()
        pipe.take(raw("m.feedback", [outcome], 0, i), LATEST, 0.0)
        pages += pipe.close()
    assert ("accuracy", "error") in [(a.kind, a.target) for a in pages] or (
        "accuracy",
        "error",
    ) in alarms(pipe)


def test_a_partition_that_comes_late_with_old_rows_leaves_nothing_deaf(tmp_path):
    pipe = pipeline(tmp_path, reference())
    play(pipe, [record(i, START + i * 1000) for i in range(300)])
    old = [record(10_000 + i, START - 86_400_000 + i * 1000) for i in range(100)]
    play(pipe, old, partition=1)
    model = pipe.models["m"]
    assert all((budget.m >= 0).all() for budget in model.state.budgets)
    assert sum(model.counters.late.values()) == 100
    at = START + 400_000
    moved = [
        record(i, at + i * 1000, features={"x": 5.0, "c": "ab"[i % 2]}) for i in range(500, 900)
    ]
    play(pipe, moved)
    play(pipe, [record(20_000, at + 10**6)], partition=1)
    assert ("drift", "x") in alarms(pipe)


def test_a_topic_with_fewer_partitions_is_told_and_blocks_nothing(tmp_path):
    pipe = pipeline(tmp_path, reference())
    pipe.assign([("m.predictions", 0), ("m.predictions", 1), ("m.feedback", 0)])
    assert "differ in partitions (m.predictions 2, m.feedback 1)" in pipe.uneven
    values = [record(i, START + i * 1000) for i in range(200)]
    pipe.take(raw("m.predictions", values, 1), LATEST, 0.0)
    pipe.take(raw("m.predictions", values[-1:], 0), LATEST, 0.0)
    pipe.take(
        raw("m.feedback", [b'{"id": "r1", "timestamp": %d, "label": 1}' % (START + 190_000)]),
        LATEST,
        0.0,
    )
    pipe.assign([("m.predictions", 0), ("m.predictions", 1), ("m.feedback", 0)])
    pipe.close()
    assert pipe.models["m"].panes > 0


def test_blindness_follows_what_happens_now(tmp_path):
    pipe = pipeline(tmp_path, reference())

    def blind(name):
        found = snapshot(pipe, {}, START / 1000, 0.0, "").models["m"].blind
        return found[(name,)] == 1.0

    hour, per_day = 3_600_000, 24
    n = 0
    for i in range(5 * per_day):
        at = START + i * hour
        pipe.take(raw("m.predictions", [record(n + k, at + k) for k in range(10)], 0, n), LATEST, 0)
        if i < 2 * per_day:
            outcome = {"id": f"r{n}", "timestamp": at + 10, "label": 0}
            pipe.take(raw("m.feedback", [json.dumps(outcome).encode()], 0, i), LATEST, 0.0)
        else:
            pipe.ended([("m.feedback", 0)])
        n += 10
        pipe.close()
        if i == 2 * per_day - 1:
            assert not blind("no_feedback")
    assert blind("no_feedback"), "labels stopped three days ago"
    assert not blind("undecodable")
    for i in range(60):
        pipe.take(raw("m.predictions", [b"{"] * 10, 0, n + 10 * i), LATEST, 0.0)
    assert blind("undecodable"), "for some time nothing could be read"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"positive": 0}, "positive: the profile was made for '1'"),
        ({"threshold": 0.9}, "threshold: the profile was made for 0.5"),
        ({"features": {"xx": {"min": 0}}}, "did you mean 'x'?"),
        ({"features": {"x": {"type": "categorical"}}}, "it is numeric in the profile"),
        ({"segments": ["nope"]}, "no feature 'nope'"),
        ({"detectors": {"weights": {"nope": 2}}}, "no detector or target 'nope'"),
        ({"river": [{"detector": "anomaly.HalfSpaceTrees"}]}, "is not supported: there are"),
        ({"river": [{"detector": "drift.PageHinkley"}]}, "state false_alarm_probability"),
        (
            {"river": [{"detector": "drift.PageHinkley", "false_alarm_probability": 0.01}]},
            "something stricter",
        ),
        (
            {"river": [{"detector": "drift.KSWIN", "false_alarm_probability": 0.01}]},
            "p-values of its own",
        ),
        ({"river": [{"detector": "drift.KSWIN", "on": "y"}]}, "no numeric column 'y'"),
        ({"river": [{"detector": "drift.KSWIN"}, {"detector": "drift.KSWIN"}]}, "named twice"),
        ({"river": [{"detector": "drift.KSWIN", "params": {"size": 3}}]}, "refuses its params"),
        ({"river": [{"detector": "drift.binary.DDM", "on": "x"}]}, "only `on: error`"),
        ({"river": [{"detector": "drift.ADWIN", "params": {"delta": 0.1}}]}, "follows from"),
        (
            {"river": [{"detector": "drift.ADWIN", "false_alarm_probability": 0.1}]},
            "could never ring",
        ),
    ],
)
def test_profile_and_configuration_must_fit(tmp_path, model, says):
    rows = [{**row, "score": i % 100 / 100, "label": i % 2} for i, row in enumerate(reference())]
    pipeline(tmp_path, rows)
    settings = {"task": "binary", "profile": str(tmp_path / "m.profile"), **model}
    with pytest.raises(UsageError) as caught:
        Pipeline(Config.model_validate({"models": {"m": settings}}))
    assert says in str(caught.value)


def test_a_regression_profile_does_not_serve_a_classifier(tmp_path):
    pipeline(tmp_path, reference())
    settings = {"task": "regression", "profile": str(tmp_path / "m.profile")}
    with pytest.raises(UsageError, match="the profile was made for binary"):
        Pipeline(Config.model_validate({"models": {"m": settings}}))
