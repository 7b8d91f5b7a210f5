"""Protected attributes from configuration to alarm, and measures equal to plain counting."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from agent import profile_file
from agent.config import Config
from agent.errors import UsageError
from agent.fitting import check_profile
from agent.intake.table import read_reference
from agent.promise import promise
from agent.reference import declared_kinds, profile_of
from agent.replay import replay
from agent.results import results
from agent.snapshots import status
from detectors.fairness.measures import MEASURES

START = 1_700_000_000_000
ROWS = 12_000  # one a second
SECOND, MINUTE, DAY = 1000, 60_000, 86_400_000


def recording(seed, first, widens):
    """Predictions, feedback, and (sex, prediction, last label) of each row.

    Half way women with a good outcome are turned down more often, where it `widens`.
    """
    rng = np.random.default_rng(seed)
    predictions, feedback, rows = [], [], []
    for i in range(ROWS):
        sex = ("m", "f", "d", None)[rng.choice(4, p=[0.55, 0.38, 0.02, 0.05])]
        label = int(rng.random() < 0.4)
        score = rng.random() ** (0.5 if label else 2)
        if sex == "f" and label and widens and i > ROWS / 2 and rng.random() < 0.5:
            score *= 0.4
        score, time = round(score, 3), first + i * SECOND
        row = {"id": f"r-{i}", "timestamp": time, "sex": sex, "age": int(rng.integers(20, 60))}
        predictions.append({**row, "score": score})
        known = rng.random() < 0.8
        if known:
            feedback.append({"id": f"r-{i}", "timestamp": time + MINUTE, "label": label})
        if known and i % 20 == 0:
            label = 1 - label
            feedback.append({"id": f"r-{i}", "timestamp": time + 5 * MINUTE, "label": label})
        rows.append((sex, int(score >= 0.5), label if known else None))
    return predictions, sorted(feedback, key=lambda f: f["timestamp"]), rows


def settings(profile=None, **model):
    model = {"task": "binary", "protected": ["sex"], **model}
    if profile is not None:
        model["profile"] = str(profile)
    windows = {"windows": ["10m", "1d"], "alerts": {"page": "1 per 1d", "ticket": "1 per 1d"}}
    return Config.model_validate({**windows, "models": {"credit": model}})


def write(path, rows):
    nested = [{**r, "features": {k: r.pop(k) for k in ("sex", "age") if k in r}} for r in rows]
    path.write_text("".join(json.dumps(r) + "\n" for r in nested))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a recording and the profile of an earlier one; and the recording's rows."""
    folder = tmp_path_factory.mktemp("fairness")
    predictions, feedback, _ = recording(1, START - 7 * DAY, False)
    labels = {f["id"]: f["label"] for f in feedback}
    reference = [p | {"label": labels.get(p["id"])} for p in predictions]
    model = settings().models["credit"]
    path = write(folder / "reference.jsonl", reference)
    data = read_reference(path, model.fields, declared_kinds(model))
    profile_file.save(profile_of(data, model, 10_000), folder / "credit.profile")
    predictions, feedback, rows = recording(2, START, True)
    write(folder / "predictions.jsonl", predictions)
    write(folder / "feedback.jsonl", feedback)
    return folder, rows


def played(files, **options):
    folder, _ = files
    of = settings(folder / "credit.profile")
    return replay(of, "credit", folder / "predictions.jsonl", folder / "feedback.jsonl", **options)


@pytest.fixture(scope="module")
def pipeline(files):
    return played(files)


def share(events):
    return float(np.mean(events))


def expected(rows, group):
    """Measures of a group beside the others with a known value, from plain arrays."""
    rows = [r for r in rows if r[0] is not None]
    own = np.array([r[0] == group for r in rows])
    predicted = np.array([r[1] for r in rows])
    joined = np.array([r[2] is not None for r in rows])
    label = np.array([-1 if r[2] is None else r[2] for r in rows])
    yes, no, chosen = joined & (label == 1), joined & (label == 0), joined & (predicted == 1)
    selected, other = share(predicted[own]), share(predicted[~own])
    recall = share(predicted[own & yes]) - share(predicted[~own & yes])
    false_alarms = share(predicted[own & no]) - share(predicted[~own & no])
    return {
        "statistical_parity_difference": selected - other,
        "disparate_impact": selected / other,
        "equal_opportunity_difference": recall,
        "equalized_odds_difference": max(abs(recall), abs(false_alarms)),
        "predictive_parity_difference": share(label[own & chosen]) - share(label[~own & chosen]),
    }


def test_measures_equal_plain_counting_over_the_whole_replay(files, pipeline):
    found = results(pipeline)["models"]["credit"]["fairness"]
    assert list(found) == ["sex"] and set(found["sex"]) == {"m", "f", "d"}
    for group, measured in found["sex"].items():
        assert set(measured) == set(MEASURES)
        assert measured == pytest.approx(expected(files[1], group), abs=1e-11)


def test_measures_of_a_window_are_of_its_rows_alone(files, pipeline):
    model = pipeline.models["credit"]
    found = status(model, {}, 0.0).fairness
    window = model.detected[10 * MINUTE]
    first = (window.oldest * window.width * model.pane - START) // SECOND
    assert 0 < first < ROWS
    late = expected(files[1][first:], "f")["statistical_parity_difference"]
    assert found["sex", "f", "statistical_parity_difference", "10m"] == pytest.approx(late)
    assert found["sex", "f", "disparate_impact", "1d"] == pytest.approx(
        expected(files[1], "f")["disparate_impact"]
    )
    assert not any(map(math.isnan, found.values()))


def test_a_widened_gap_pages_with_its_size(files, pipeline):
    alarms = results(pipeline)["models"]["credit"]["alarms"]
    (alarm,) = [a for a in alarms if a["detector"] == "opportunity_gap"]
    assert (alarm["kind"], alarm["target"], alarm["severity"]) == ("fairness", "sex=f", "page")
    assert alarm["effect"]["measure"] == "opportunity_gap"
    assert alarm["effect"]["value"] < -0.2
    assert alarm["effect"]["reference"] == pytest.approx(0, abs=0.05)
    raised = pipeline.models["credit"].alarms.history[alarms.index(alarm)].raised_at
    assert ROWS / 2 < (raised - START) / SECOND < 0.65 * ROWS


@pytest.mark.parametrize(("batch_rows", "partitions"), [(701, 1), (50_000, 4)])
def test_the_same_files_give_the_same_bytes(files, pipeline, batch_rows, partitions):
    again = results(played(files, batch_rows=batch_rows, partitions=partitions))
    assert json.dumps(again) == json.dumps(results(pipeline))


def test_what_is_promised_of_fairness_is_told(files):
    of = settings(files[0] / "credit.profile")
    model = of.models["credit"]
    data = read_reference(files[0] / "reference.jsonl", model.fields, declared_kinds(model))
    profile, _ = profile_file.load(files[0] / "credit.profile")
    found = promise("credit", of, data, profile)
    told = {(s.detector, s.target): s.basis for s in found.streams if s.target == "sex=f"}
    kinds = ("selection_gap", "error_gap", "opportunity_gap")
    assert told == {(kind, "sex=f"): "exact" for kind in kinds}
    assert not any("fairness" in line for line in found.not_promised)
    (attribute,) = profile.fairness
    few = replace(attribute, selected=((9, 9),) * 3, outcomes=((9, 9, 9, 9),) * 3)
    found = promise("credit", of, data, replace(profile, fairness=(few,)))
    assert any(line.startswith("fairness of sex") for line in found.not_promised)


def test_a_profile_survives_its_file(files):
    profile, _ = profile_file.load(files[0] / "credit.profile")
    assert profile.schema.protected == ("sex",)
    (attribute,) = profile.fairness
    assert attribute.groups == ("m", "f", "d")
    assert sum(map(sum, attribute.selected)) == profile.rows - profile.categorical[0].missing


WRONG = {
    "the profile was made with sex": {"protected": []},
    "did you mean 'sex'": {"protected": ["sexe"]},
    "age is numeric in the profile": {"protected": ["age"]},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_configuration_that_contradicts_the_profile_is_refused(files, message):
    profile, _ = profile_file.load(files[0] / "credit.profile")
    model = settings(**WRONG[message]).models["credit"]
    with pytest.raises(UsageError, match=message):
        check_profile("credit", model, profile)
    schema = replace(profile.schema, protected=())
    with pytest.raises(UsageError, match="made without any"):
        check_profile("credit", settings().models["credit"], replace(profile, schema=schema))


def test_an_attribute_that_the_reference_does_not_have_is_refused(files):
    model = settings(protected=["age"]).models["credit"]
    data = read_reference(files[0] / "reference.jsonl", model.fields, declared_kinds(model))
    with pytest.raises(UsageError, match="no categorical feature 'age'"):
        profile_of(data, model, 10_000)


def test_a_regression_has_nobody_to_compare(files):
    of = settings(task="regression")
    assert of.unused() == ["models.credit.protected: accepted, not yet evaluated by this version"]
    assert settings().unused() == []
