"""Public data sets through the real thing: profile, Kafka, agent, Prometheus, replay."""

import csv
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn import metrics

from agent.intake.kafka import KafkaSettings, KafkaSource
from tests.rig.agent import Agent, produce, tocsin
from tests.rig.data import DataSet

STRICT = {"page": "1 per 3650d", "ticket": "1 per 3650d"}  # one false alarm in ten years, each
MOVE = 25_000  # row of the car-loan analysis at which `car_value` moves
ROWS = {"timestamp", "y_pred", "y_pred_proba", "repaid", "id", "y_true"}


@dataclass
class Case:
    """A data set with its configuration."""

    name: str
    data: DataSet
    model: dict
    label: str


@pytest.fixture
def case(request) -> Case:
    fields = {"prediction": "y_pred"}
    if request.param == "car_loan":
        fields |= {"score": "y_pred_proba", "label": "repaid"}
        model = {"task": "binary", "fields": fields}
    elif request.param == "multiclass":
        cards = ("prepaid_card", "highstreet_card", "upmarket_card")
        fields |= {"scores": {c: f"y_pred_proba_{c}" for c in cards}, "label": "y_true"}
        model = {"task": "multiclass", "fields": fields}
    else:
        fields |= {"label": "y_true"}
        model = {"task": "regression", "fields": fields}
    return Case(request.param, request.getfixturevalue(request.param), model, fields["label"])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def configuration(case: Case, folder: Path, **more) -> dict:
    model = {**case.model, "profile": "approved.profile"}
    return {
        "alerts": STRICT,
        "windows": ["1h", "7d", "1000d"],
        "models": {case.name: model},
        **more,
    }


def profile(case: Case, folder: Path) -> None:
    (folder / "tocsin.yaml").write_text(yaml.safe_dump(configuration(case, folder)))
    done = tocsin("profile", "--data", str(case.data.reference), cwd=folder)
    assert done.returncode == 0, done.stderr


def replay(case: Case, folder: Path, predictions: Path, feedback: Path) -> dict:
    done = tocsin(
        *("replay", "--predictions", str(predictions), "--feedback", str(feedback)),
        *("--json", "out.json"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "out.json").read_text())
    return result["models"][case.name]


def expected_performance(case: Case) -> tuple[dict[str, float], dict[str, float]]:
    """What scikit-learn gives on the joined rows: exact metrics, and rank metrics."""
    made, truth = rows(case.data.analysis), rows(case.data.analysis_target)
    label_of = {r["id"]: r[case.label] for r in truth}
    y = [label_of[r["id"]] for r in made]
    predicted = [r["y_pred"] for r in made]
    if case.name == "regression":
        y, p = np.array(y, dtype=float), np.array(predicted, dtype=float)
        return {
            "mean_absolute_error": metrics.mean_absolute_error(y, p),
            "root_mean_squared_error": metrics.root_mean_squared_error(y, p),
            "r2": metrics.r2_score(y, p),
            "mean_error": float((p - y).mean()),
            "mean_absolute_percentage_error": metrics.mean_absolute_percentage_error(y, p),
        }, {}
    exact = {
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
    }
    average = "macro"
    if case.name == "car_loan":
        y, predicted = (np.array(v, dtype=float).astype(int) for v in (y, predicted))
        score = np.array([r["y_pred_proba"] for r in made], dtype=float)
        average = "binary"
        exact |= {
            "log_loss": metrics.log_loss(y, score),
            "brier_score": metrics.brier_score_loss(y, score),
        }
        rank = {
            "roc_auc": metrics.roc_auc_score(y, score),
            "average_precision": metrics.average_precision_score(y, score),
        }
    else:
        classes = sorted(set(y))
        score = np.array([[r[f"y_pred_proba_{c}"] for c in classes] for r in made], dtype=float)
        with (
            pytest.warns(UserWarning, match="sum to one")
            if not np.allclose(score.sum(axis=1), 1)
            else _nothing()
        ):
            exact["log_loss"] = metrics.log_loss(y, score, labels=classes)
        rank = {
            "roc_auc": float(
                np.mean(
                    [
                        metrics.roc_auc_score(np.array(y) == c, score[:, i])
                        for i, c in enumerate(classes)
                    ]
                )
            )
        }
    for name, score_of in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        exact[name] = score_of(y, predicted, average=average)
    return exact, rank


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def check_performance(case: Case, shown: dict[str, float]) -> None:
    exact, rank = expected_performance(case)
    for name, value in exact.items():
        assert shown[name] == pytest.approx(value, rel=1e-9), name
    for name, value in rank.items():
        assert shown[name] == pytest.approx(value, abs=1e-3), name


def shifted(case: Case, folder: Path) -> tuple[Path, Path]:
    """The analysis rows with their times moved so that the last one was a minute ago."""
    made = rows(case.data.analysis)
    times = [datetime.fromisoformat(r["timestamp"]).replace(tzinfo=UTC) for r in made]
    offset = datetime.now(UTC) - timedelta(minutes=1) - max(times)
    for row, moment in zip(made, times, strict=True):
        row["timestamp"] = (moment + offset).isoformat(timespec="milliseconds")
    predictions, feedback = folder / "predictions.csv", folder / "feedback.csv"
    at = {r["id"]: r["timestamp"] for r in made}
    known = [{**r, "timestamp": at[r["id"]]} for r in rows(case.data.analysis_target)]
    for path, content in ((predictions, made), (feedback, known)):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, content[0].keys())
            writer.writeheader()
            writer.writerows(content)
    return predictions, feedback


def typed(text: str) -> float | str | None:
    """A cell as a JSON producer would write it."""
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return text


def as_records(case: Case, predictions: Path, feedback: Path) -> tuple[list[bytes], list[bytes]]:
    """JSON records; members stand where the configuration's fields say, features in an object."""
    made = []
    for row in rows(predictions):
        body = {k: typed(v) for k, v in row.items() if k not in ("id", "timestamp")}
        scores = {k: body.pop(k) for k in list(body) if k.startswith("y_pred")}
        features = {k: v for k, v in body.items() if k not in ROWS}
        record = {"id": row["id"], "timestamp": row["timestamp"], "features": features, **scores}
        made.append(json.dumps(record).encode())
    known = [
        json.dumps({**row, case.label: typed(row[case.label])}).encode() for row in rows(feedback)
    ]
    return made, known


@pytest.mark.slow
@pytest.mark.parametrize("case", ["car_loan", "multiclass", "regression"], indirect=True)
def test_replay_gives_what_scikit_learn_gives(case, tmp_path):
    profile(case, tmp_path)
    found = replay(case, tmp_path, case.data.analysis, case.data.analysis_target)
    assert found["records"]["joined"] == len(rows(case.data.analysis))
    check_performance(case, found["performance"]["all"])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["car_loan"], indirect=True)
def test_car_value_rings_within_300_rows_of_its_move_and_nothing_before(case, tmp_path):
    profile(case, tmp_path)
    found = replay(case, tmp_path, case.data.analysis, case.data.analysis_target)
    made = rows(case.data.analysis)
    moved, limit = (
        datetime.fromisoformat(made[i]["timestamp"]).replace(tzinfo=UTC)
        for i in (MOVE - 50, MOVE + 300)
    )
    raised = [(datetime.fromisoformat(a["raised_at"]), a["target"]) for a in found["alarms"]]
    assert min(raised)[0] > moved, "nothing rings in the quiet half"
    assert min(raised)[1] == "car_value"
    assert min(raised)[0] < limit
    assert any(a["kind"] == "accuracy" and a["severity"] == "page" for a in found["alarms"])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["car_loan_quality"], indirect=False)
def test_missing_values_and_an_unseen_category_ring(case, car_loan_quality, tmp_path):
    model = {
        "task": "binary",
        "fields": {"prediction": "y_pred", "score": "y_pred_proba", "label": "repaid"},
    }
    quality = Case(case, car_loan_quality, model, "repaid")
    profile(quality, tmp_path)
    found = replay(quality, tmp_path, quality.data.analysis, quality.data.analysis_target)
    made = rows(quality.data.analysis)
    moved = datetime.fromisoformat(made[MOVE - 50]["timestamp"]).replace(tzinfo=UTC)
    early = [a for a in found["alarms"] if datetime.fromisoformat(a["raised_at"]) < moved]
    late = [a for a in found["alarms"] if a not in early]
    # One category is new from the first analysis row on: that rings at once, and only once.
    assert [(a["kind"], a["target"]) for a in early] == [("unseen", "size_of_downpayment")]
    assert {a["target"] for a in late if a["kind"] == "missing"} == {
        "salary_range",
        "driver_tenure",
    }
    assert not any(a["kind"] in ("schema", "unseen") for a in late)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.prometheus
@pytest.mark.parametrize("case", ["car_loan", "multiclass", "regression"], indirect=True)
def test_run_through_kafka_equals_replay_of_the_files(case, kafka, prometheus, fresh, tmp_path):
    profile(case, tmp_path)
    predictions, feedback = shifted(case, tmp_path)
    expected = replay(case, tmp_path, predictions, feedback)

    topics = fresh("predictions"), fresh("feedback")
    made = as_records(case, predictions, feedback)
    for topic, values, path in zip(topics, made, (predictions, feedback), strict=True):
        produce(kafka.bootstrap, topic, values, [r["id"] for r in rows(path)], partitions=2)
    events = fresh("events")
    config = configuration(
        case,
        tmp_path,
        kafka={
            "bootstrap_servers": kafka.bootstrap,
            "group_id": fresh("group"),
            "events_topic": events,
        },
    )
    config["models"][case.name] |= {
        "predictions": {"topic": topics[0]},
        "feedback": {"topic": topics[1]},
    }
    # In a record the label and the scores stand at the top, as in the file.
    agent = Agent(tmp_path, config).start()
    try:
        last = expected["to"]
        status = agent.wait(
            case.name,
            lambda s: (
                (s["watermark"] or "") > last
                and s["records"]["feedback"]["joined"] == expected["records"]["joined"]
            ),
            timeout=120,
        )
        assert sum(status["records"]["predictions"].values()) == len(made[0])
        assert status["records"]["rejected"] == []
        over_all = {
            p["metric"]: p["windows"]["1000d"]
            for p in status["performance"]
            if p["segment"] == "all" and p["version"] == "all"
        }
        check_performance(case, over_all)
        for metric, value in expected["performance"]["all"].items():
            assert over_all[metric] == pytest.approx(value, rel=1e-9), metric
        assert told(kafka.bootstrap, events, len(expected["alarms"])) == [
            (a["id"], a["target"], a["raised_at"]) for a in expected["alarms"]
        ]
        standing = {(a["kind"], a["target"]) for a in status["alarms"]}
        if case.name == "car_loan":
            assert ("drift", "car_value") in standing
            prometheus.scrape([agent.target])
            assert seen(prometheus, 'tocsin_alarm{target="car_value",severity="ticket"} == 1')
    finally:
        code = agent.stop()
    assert code == 0, agent.log[-2000:]
    assert "Traceback" not in agent.log


def told(bootstrap: str, topic: str, count: int) -> list[tuple[str, str, str]]:
    """Alarms raised on the events topic, in order."""
    source = KafkaSource(KafkaSettings(bootstrap, group_id=f"reader-{topic}"), [topic])
    found, deadline = [], time.monotonic() + 30
    try:
        while len(found) < count and time.monotonic() < deadline:
            for batch in source.poll(0.5):
                for value in batch.values:
                    event = json.loads(value)
                    if event["type"] == "io.tocsin.alarm.raised":
                        data = event["data"]
                        found.append((data["id"], data["target"], data["raised_at"]))
    finally:
        source.close()
    return found[:count]


def seen(prometheus, expression: str) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if prometheus.query(expression):
            return True
        time.sleep(0.5)
    return False
