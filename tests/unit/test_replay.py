"""Replays of recorded files: the same bytes however they are read, equal to scikit-learn."""

import csv
import json
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from sklearn import metrics as sk

from agent import profile_file
from agent.config import Config
from agent.intake.table import read_reference
from agent.reference import declared_kinds, profile_of
from agent.replay import replay
from agent.results import results

START = 1_700_000_000_000
SECOND, MINUTE = 1000, 60_000
ROWS = 2_400  # one a second
HORIZON, CORRECTIONS, EARLY = 30 * MINUTE, 10 * MINUTE, MINUTE
REGIONS = ("north", "south", "other", "")
SEGMENTS = ("region", {"age": [30, 50]})
FORMATS = ("csv", "jsonl")


@dataclass(frozen=True)
class Recording:
    """Predictions and feedback, as records in the order in which they came."""

    predictions: list
    feedback: list


def features(random, drifted):
    """Features, score and label of one prediction."""
    income = round(float(random.normal(1.5 * drifted, 1)), 3)
    age = int(random.integers(18, 80))
    region = REGIONS[random.choice(4, p=[0.5, 0.3, 0.15, 0.05])]
    score = round(float(1 / (1 + np.exp(-income - random.normal()))), 2)
    label = int(random.random() < (1 - score if drifted and random.random() < 0.5 else score))
    values = {"income": income, "age": age, "region": region or None}
    if random.random() < 0.02:
        values["income"] = None
    return values, score, label


@cache
def recording(seed=1, drifts=True, n=ROWS, first=START):
    """A model whose world changes half way, with all the feedback that real topics show."""
    random = np.random.default_rng(seed)
    predictions, feedback = [], []
    for i in range(n):
        time = first + i * SECOND + int(random.integers(0, 900))
        values, score, label = features(random, drifts and i > n / 2)
        version = str(random.choice(["4", "3"] if i < n / 2 else ["5", "3"]))
        row = {"id": f"r-{i}", "timestamp": time, "version": version, **values, "score": score}
        predictions.append(row)
        if random.random() < 0.02:
            predictions.append({**row, "timestamp": time + 3 * SECOND, "score": 0.5})  # sent twice
        kind = random.choice(
            ["once", "none", "early", "expired", "twice", "corrected", "withdrawn", "too late"],
            p=[0.7, 0.08, 0.05, 0.03, 0.03, 0.05, 0.03, 0.03],
        )
        delay = int(random.exponential(4 * MINUTE))
        delay = {"early": -20 * SECOND, "expired": HORIZON + MINUTE}.get(kind, delay % HORIZON)
        if kind != "none":
            feedback.append((time + delay, row["id"], label))
        second = {"twice": label, "corrected": 1 - label, "withdrawn": None, "too late": 1 - label}
        if kind in second:
            later = CORRECTIONS + MINUTE if kind == "too late" else 2 * MINUTE
            feedback.append((time + delay + later, row["id"], second[kind]))
    # Unknown ids; the last one hours after the last prediction.
    feedback += [(first + n * SECOND + 4 * 60 * MINUTE, "unknown-0", 1), (first, "unknown-1", 1)]
    feedback.sort(key=lambda f: f[0])
    # Disorder within the lateness.
    predictions.sort(key=lambda p: p["timestamp"] + int(random.integers(0, 900)))
    outcomes = [{"id": i, "timestamp": t, "label": label} for t, i, label in feedback]
    return Recording(predictions, outcomes)


def write(path, rows):
    """Rows as CSV, or as JSON lines with nested features."""
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path
    names = {"income", "age", "region"}
    lines = []
    for row in rows:
        record = {k: v for k, v in row.items() if k not in names}
        if names <= set(row):
            record["features"] = {k: row[k] for k in names}
        lines.append(json.dumps(record))
    path.write_text("\n".join(lines) + "\n")
    return path


def config(profile=None, **model):
    feedback = {"horizon": HORIZON, "corrections": CORRECTIONS, "early": EARLY}
    columns = {"features": ["income", "age", "region"]}
    return Config.model_validate(
        {
            "alerts": {"page": "1 per 1d", "ticket": "1 per 6h"},
            "windows": ["5m", "1h"],
            "models": {
                "credit": {
                    "task": "binary",
                    "feedback": {k: f"{v}ms" for k, v in feedback.items()},
                    "segments": SEGMENTS,
                    "warmup": 900,
                    **({} if profile is None else {"profile": str(profile)}),
                    **({} if model.pop("nested", False) else {"fields": columns}),
                    **model,
                }
            },
        }
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder with both recordings in both formats, and a profile of an earlier time."""
    folder = tmp_path_factory.mktemp("replay")
    made = recording()
    for kind in FORMATS:
        write(folder / f"predictions.{kind}", made.predictions)
        write(folder / f"feedback.{kind}", made.feedback)
    past = recording(2, False, 3_000, START - 7 * 86_400_000)
    labels = {f["id"]: f["label"] for f in past.feedback}
    reference = [p | {"label": labels.get(p["id"])} for p in past.predictions]
    path = write(folder / "reference.csv", reference)
    model = config().models["credit"]
    data = read_reference(path, model.fields, declared_kinds(model))
    profile_file.save(profile_of(data, model, 10_000), folder / "credit.profile")
    return folder


def played(files, kind="csv", learned=False, recorder=None, **options):
    profile = None if learned else files / "credit.profile"
    settings = config(profile, nested=kind == "jsonl")
    return replay(
        settings,
        "credit",
        files / f"predictions.{kind}",
        files / f"feedback.{kind}",
        recorder=recorder,
        **options,
    )


def written(pipeline):
    return json.dumps(results(pipeline), indent=2, allow_nan=False)


WAYS = [(1, 1), (7, 1), (50_000, 1), (1, 4), (500, 4), (50_000, 4)]


@pytest.fixture(scope="module", params=["profile", "learned"])
def reading(request, files):
    """The result of one way of reading, with and without a profile."""
    learned = request.param == "learned"
    return learned, written(played(files, learned=learned, batch_rows=500))


def test_there_is_something_to_compare(reading):
    found = json.loads(reading[1])["models"]["credit"]
    assert {a["kind"] for a in found["alarms"]} >= {"drift", "accuracy"}
    assert all(found["records"][k] > 0 for k in ("joined", "orphan", "duplicate", "corrected"))
    assert all(found["records"][k] > 0 for k in ("withdrawn", "expired"))
    assert found["records"]["late"] == 0
    groups = {"all", "region=north", "region=other", "age=30..50", "version=5"}
    assert groups <= set(found["performance"])
    assert "learning" not in found["blind"]
    assert "no_traffic" not in found["blind"]
    # The recording ends: that is no silence.
    assert "silence" not in {a["kind"] for a in found["alarms"]}


@pytest.mark.parametrize(("batch_rows", "partitions"), WAYS)
def test_the_same_files_give_the_same_bytes(reading, files, batch_rows, partitions):
    learned, expected = reading
    pipeline = played(files, learned=learned, batch_rows=batch_rows, partitions=partitions)
    assert written(pipeline) == expected


@pytest.mark.parametrize("partitions", [1, 4])
def test_json_lines_say_the_same_as_a_table(reading, files, partitions):
    learned, expected = reading
    pipeline = played(files, "jsonl", learned, batch_rows=300, partitions=partitions)
    found, want = json.loads(written(pipeline)), json.loads(expected)
    if learned:  # features come in another order, and the profile's hash says so
        for result in (found, want):
            result["models"]["credit"].pop("profile")
    assert found == want


def joined_by_hand(made):
    """Rows as the rules of the join leave them: (prediction, label)."""
    seen, outcome, joined, counts = {}, {}, {}, {}
    for p in made.predictions:
        seen.setdefault(p["id"], p)
    for f in made.feedback:
        p, label = seen.get(f["id"]), f["label"]
        if p is None:
            continue
        delay = f["timestamp"] - p["timestamp"]
        if f["id"] not in outcome:
            if label is not None and delay <= HORIZON:
                outcome[f["id"]], joined[f["id"]] = label, max(f["timestamp"], p["timestamp"])
                counts["joined"] = counts.get("joined", 0) + 1
        elif outcome[f["id"]] != label and f["timestamp"] - joined[f["id"]] <= CORRECTIONS:
            outcome[f["id"]] = label
    return [(seen[i], label) for i, label in outcome.items() if label is not None], counts


def test_performance_equals_scikit_learn_on_the_joined_rows(reading):
    """Scores are hundredths, of which each has a cell of its own: rank metrics are exact too."""
    made = recording()
    rows, counts = joined_by_hand(made)
    found = json.loads(reading[1])["models"]["credit"]
    assert found["records"]["joined"] == counts["joined"]
    assert found["records"]["predictions"] == ROWS

    def band(age):
        return "<30" if age < 30 else "30..50" if age < 50 else ">=50"

    groups = {
        "all": rows,
        **{f"region={r}": [x for x in rows if x[0]["region"] == r] for r in REGIONS[:3]},
        **{f"age={b}": [x for x in rows if band(x[0]["age"]) == b] for b in ("<30", "30..50")},
        **{f"version={v}": [x for x in rows if x[0]["version"] == v] for v in "345"},
    }
    for name, group in groups.items():
        score = np.array([p["score"] for p, _ in group])
        label = np.array([v for _, v in group])
        predicted = (score >= 0.5).astype(int)
        expected = {
            "count": len(group),
            "accuracy": sk.accuracy_score(label, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(label, predicted),
            "precision": sk.precision_score(label, predicted),
            "recall": sk.recall_score(label, predicted),
            "f1": sk.f1_score(label, predicted),
            "roc_auc": sk.roc_auc_score(label, score),
            "average_precision": sk.average_precision_score(label, score),
            "log_loss": sk.log_loss(label, score),
            "brier_score": sk.brier_score_loss(label, score),
        }
        got = found["performance"][name]
        assert {k: got[k] for k in expected} == pytest.approx(expected, rel=1e-9), name


class Notes:
    """A recorder that notes which panes it was told of, and what the windows held."""

    def __init__(self):
        self.seen = []

    def record(self, model, pane):
        windows = [int(w.total.sum()) for w in (*model.detected.values(), *model.shown.values())]
        self.seen.append((pane, windows))


@pytest.mark.parametrize("learned", [False, True])
def test_a_recorder_sees_every_pane_once(files, learned):
    seen = []
    for options in ({"batch_rows": 50_000}, {"batch_rows": 40, "partitions": 3}):
        notes = Notes()
        pipeline = played(files, learned=learned, recorder=notes, **options)
        panes = [pane for pane, _ in notes.seen]
        assert panes == sorted(set(panes))
        first = pipeline.models["credit"].first_time // 10_000
        assert panes[0] == first
        times = [p["timestamp"] for p in recording().predictions]
        assert set(panes) >= {t // 10_000 for t in times}
        seen.append(notes.seen)
    assert seen[0] == seen[1]


def test_alarms_are_told_of_as_they_come(files):
    told = []
    pipeline = played(files, batch_rows=500, on_alarm=told.append)
    raised = [a for a in told if a.cleared_at is None]
    assert raised == pipeline.models["credit"].alarms.history
    assert [a.raised_at for a in raised] == sorted(a.raised_at for a in raised)


def test_labels_in_the_prediction_file_come_after_the_delay(tmp_path, files):
    once = {}
    for p in recording().predictions[:500]:
        once.setdefault(p["id"], p | {"label": int(p["score"] >= 0.5)})
    rows = list(once.values())
    path = write(tmp_path / "labelled.csv", rows)
    texts = set()
    for batch_rows, partitions in ((50_000, 1), (13, 4)):
        pipeline = replay(
            config(files / "credit.profile"),
            "credit",
            path,
            None,
            label_delay=7 * MINUTE,
            batch_rows=batch_rows,
            partitions=partitions,
        )
        texts.add(written(pipeline))
    assert len(texts) == 1
    found = json.loads(texts.pop())["models"]["credit"]
    assert found["performance"]["all"]["accuracy"] == 1.0
    assert found["records"]["joined"] == len(rows)
    # Scores of .6 that always come true are no chances any more; else nothing has changed.
    assert [a["kind"] for a in found["alarms"]] == ["calibration"]


def test_feedback_waits_while_its_prediction_can_still_be_put_into_an_open_pane(tmp_path, files):
    """More disorder than promised, but within the pane: the prediction is not late."""
    row = {"version": "3", "income": 0.1, "age": 30, "region": "north", "score": 0.7}
    times = {"a": START + 16_000, "b": START + 14_300, "c": START + 40_000}
    rows = [{"id": i, "timestamp": t, **row} for i, t in times.items()]
    outcomes = [{"id": i, "timestamp": t, "label": 1} for i, t in (("b", START + 14_500),)]
    outcomes.append({"id": "c", "timestamp": START + 50_000, "label": 1})
    paths = write(tmp_path / "p.csv", rows), write(tmp_path / "f.csv", outcomes)
    settings = config(files / "credit.profile", feedback={"early": "0s"})
    for batch_rows in (1, 2, 3):
        pipeline = replay(settings, "credit", *paths, batch_rows=batch_rows)
        records = results(pipeline)["models"]["credit"]["records"]
        assert (records["joined"], records["orphan"], records["late"]) == (2, 0, 0)
