"""Calibration: what a score means, apart from how scores are distributed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm, poisson

from agent import profile_file
from agent.config import Config
from agent.errors import UsageError
from agent.intake.source import RawBatch
from agent.intake.table import from_records
from agent.pipeline import Pipeline
from agent.reference import profile_of
from agent.results import results
from detectors.accuracy import reliability
from detectors.accuracy.calibration import Calibration, CalibrationCells, calibration_error
from detectors.accuracy.reliability import (
    FEWEST_ROWS,
    CalibrationProfile,
    calibration_profile,
    chance,
    curve,
    log_odds,
)
from detectors.batch import Batch, Outcomes, Schema
from detectors.budget import Budget
from detectors.cells import InputCells
from detectors.evidence import PaneRun
from detectors.pane import PaneCells
from detectors.profile import build_profile
from detectors.ratio import SCALE
from detectors.registry import calibrated, default_detectors

BINARY, MULTICLASS = (
    Schema("binary", (), (), ("0", "1")),
    Schema("multiclass", (), (), ("a", "b", "c")),
)
SECOND, PANE, PER_ALARM = 1000, 100, 100_000  # an event a second, events a pane and an alarm
REFERENCE = 50_000


def as_it_says(score):
    return score


def labelled(random, n, chances=as_it_says, score=None):
    """Scores (uniform unless given) and labels that are true with the chance of their score."""
    score = random.random(n) if score is None else score
    return score, random.random(n) < chances(score)


def reference(seed, n=REFERENCE, chances=as_it_says):
    made = calibration_profile(*labelled(np.random.default_rng(seed), n, chances))
    assert made is not None
    return made


def panes(of, score, label, first=0):
    """Full panes of events, one a second."""
    n = len(score)
    rows = Outcomes(
        np.arange(n),
        np.zeros(n),
        score[:, None],
        label.astype(float),
        np.zeros((n, 1), dtype=np.int32),
        np.ones(n, dtype=np.int64),
        np.zeros((n, 0), dtype=np.int32),
    )
    cells = CalibrationCells(BINARY, of)
    made = cells.contributions(rows)
    flat = np.bincount(made.row // PANE * cells.size + made.cell, minlength=n // PANE * cells.size)
    time = (first + 1 + np.arange(n // PANE)) * PANE * SECOND
    return PaneRun(time, {"calibration": flat.astype(np.int64).reshape(-1, cells.size)})


def rings(detector, of, parts):
    """Times, in events, at which it rings over the parts of a stream.

    Its budget starts anew after each alarm: one that stands would hide the next.
    """
    budget = Budget([detector.stream], 1 / (PER_ALARM * SECOND))
    zero, first, rung = np.zeros((1, budget.cells)), 0, []
    state, _ = budget.step(budget.start(), np.array([0]), zero)
    for score, label in parts:
        run = panes(of, score, label, first)
        evidence, at = detector.step(None, run)[1], 0
        first += len(run)
        while at < len(run):
            part = slice(at, at + 100)
            state, happened = budget.step(state, run.time[part], evidence[part])
            at += 100
            if happened:
                rung.append(happened[0].time // SECOND)
                at = int(np.searchsorted(run.time, happened[0].time)) + 1
                state, _ = budget.step(budget.start(), np.array([happened[0].time]), zero)
    return rung


@pytest.mark.parametrize(
    ("change", "within"),
    [
        (lambda s: expit(1.5 * logit(s)), 2_500),
        (lambda s: expit(0.5 * logit(s)), 1_500),
        (lambda s: expit(logit(s) + 0.4), 3_500),
        (lambda s: expit(logit(s) - 0.4), 3_500),
        (lambda s: np.where(s > 0.9, 0.6, s), 2_500),
    ],
    ids=["over-confident", "under-confident", "odds up", "odds down", "one tenth"],
)
def test_a_score_that_means_something_else_rings(change, within):
    of = reference(1)
    random = np.random.default_rng(2)
    parts = [labelled(random, 5_000), labelled(random, 10_000, change)]
    rung = rings(Calibration(of), of, parts)
    assert 5_000 < rung[0] <= 5_000 + within


DRIFTS = {
    "lower": lambda random, n: random.beta(2, 5, n),
    "to both ends": lambda random, n: random.beta(0.4, 0.4, n),
    "nearly all the same": lambda random, n: random.normal(0.305, 0.004, n).clip(0, 1),
    "certain": lambda random, n: random.beta(30, 1, n),
    "beyond the reference": lambda random, n: (3 * random.random(n) - 1).clip(0, 1),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_drift_of_the_scores_alone_is_none_of_its_business(drift):
    of = reference(3)
    random = np.random.default_rng(4)
    n = 300_000
    evidence = Calibration(of).step(
        None, panes(of, *labelled(random, n, score=DRIFTS[drift](random, n)))
    )[1]
    assert evidence.any()
    assert np.cumsum(evidence, axis=0).max() < 8  # nats; seven are worth a thousand to one


@pytest.mark.parametrize("n", [1_000, 5_000, 50_000])
@pytest.mark.parametrize("seed", range(2))
def test_given_any_score_the_mean_of_an_e_value_is_at_most_one_up_to_the_limits(n, seed):
    """So it is for any distribution of scores."""
    of = reference(seed, n, lambda s: s**2)
    limits, detector = curve(of), Calibration(of)
    fails, happens = np.exp(detector.table[0::2] / SCALE), np.exp(detector.table[1::2] / SCALE)
    for share in (0.0, 0.5, 1.0):
        rate = (limits.lower + share * (limits.upper - limits.lower))[:, None]
        assert ((1 - rate) * fails + rate * happens <= 1 + 1e-9).all()
    assert (limits.lower < limits.rate).all() and (limits.rate < limits.upper).all()
    beyond = chance(log_odds(limits.upper) + 1)[:, None]
    mean = ((1 - beyond) * fails + beyond * happens).max(axis=1)
    assert (mean > 1.01).mean() > 0.8, "and it is more beyond them"


CURVES = {
    "calibrated": as_it_says,
    "over-confident": lambda s: expit(0.4 * logit(np.clip(s, 1e-9, 1 - 1e-9))),
    "of no use": lambda s: np.full(len(s), 0.3),
    "square root": np.sqrt,
    "rare": lambda s: s / 50,
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("n", [1_000, 20_000])
def test_the_true_rates_lie_within_the_limits(name, n):
    """A limit is one of 99%: of most cells always, of nearly all on average."""
    outside = []
    for seed in range(6):
        random = np.random.default_rng([seed, n])
        score = random.beta(0.5, 0.8, n)
        of = calibration_profile(*labelled(random, n, CURVES[name], score))
        score = random.beta(0.5, 0.8, 50_000).clip(of.edges[0], of.edges[-1])
        cell = np.searchsorted(of.edges[1:-1], score, side="right")
        true = np.bincount(cell, CURVES[name](score)) / np.bincount(cell)
        found = curve(of)
        outside.append(((true < found.lower) | (true > found.upper)).mean())
    assert max(outside) < 0.25
    assert np.mean(outside) < 0.05


def in_control(references, events):
    """Alarms on streams without a change, over several references."""
    found = 0
    for seed in range(references):
        of = reference([7, seed], FEWEST_ROWS)
        random = np.random.default_rng([8, seed])
        parts = (labelled(random, 100_000) for _ in range(events // references // 100_000))
        found += len(rings(Calibration(of), of, parts))
    return found


EVENTS = 2_000_000
MOST = int(poisson.ppf(0.975, EVENTS / PER_ALARM))  # alarms that the promise allows by chance


@pytest.mark.parametrize("margin", [True, False])
def test_in_control_it_rings_no_more_often_than_promised(margin, monkeypatch):
    """And it would without the limits of the reference's own error: this test can tell."""
    if not margin:
        for name, value in {"CONFIDENCE": 0, "IMMATERIAL": 0, "CONTRADICTS": 99}.items():
            monkeypatch.setattr(reliability, name, value)
    assert (in_control(10, EVENTS) <= MOST) == margin


def batch_of(score, prediction):
    n = len(score)
    return Batch(
        np.arange(n) * SECOND,
        np.arange(n).astype(np.uint64),
        np.zeros(n, dtype=np.int32),
        np.empty((n, 0)),
        np.empty((n, 0), dtype=bool),
        np.empty((n, 0), dtype=np.int32),
        prediction,
        score,
        np.full(n, np.nan),
    )


def binary_profile(score, label):
    batch = batch_of(score[:, None], (score >= 0.5).astype(float))
    return build_profile(BINARY, batch, label.astype(float), 10_000), batch


def watched(profile):
    cells = InputCells(profile)
    streams = [d.stream for d in default_detectors(profile, cells)]
    return "calibration" in {s.detector for s in streams}, "calibration" in PaneCells(
        profile
    ).sections


def test_too_little_is_not_watched():
    score, label = labelled(np.random.default_rng(5), FEWEST_ROWS)
    profile, _ = binary_profile(score, label)
    assert watched(profile) == (True, True)
    assert profile.calibration.rows == FEWEST_ROWS
    unlabelled = np.where(np.arange(FEWEST_ROWS) == 7, np.nan, label)
    assert watched(binary_profile(score, unlabelled)[0]) == (False, False)
    unscored = np.where(np.arange(FEWEST_ROWS) == 7, np.nan, score)
    assert watched(binary_profile(unscored, label)[0]) == (False, False)
    batch = batch_of(np.empty((2_000, 0)), np.zeros(2_000))
    regression = build_profile(Schema("regression", (), ()), batch, np.zeros(2_000), 10_000)
    assert watched(regression) == (False, False)


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("score", ["one", "two", "many"])
def test_a_reference_without_any_variety_makes_a_detector_that_can_be_run(label, score):
    random = np.random.default_rng(6)
    made = {"one": np.full(2_000, 0.5), "two": random.integers(0, 2, 2_000), "many": None}[score]
    made = random.random(2_000) if made is None else made.astype(float)
    of = calibration_profile(made, np.full(2_000, label == 1.0))
    evidence = Calibration(of).step(None, panes(of, made, np.full(2_000, label)))[1]
    assert np.isfinite(evidence).all()
    assert evidence.sum(axis=0).max() < 0.1


def test_equal_scores_are_never_parted():
    random = np.random.default_rng(9)
    score = random.choice([0.1, 0.2, 0.25, 0.9], 3_000)
    of = calibration_profile(*labelled(random, 3_000, score=score))
    assert of.score == pytest.approx((0.1, 0.2, 0.25, 0.9))
    assert len(of.counts) == 4
    assert [sum(c) for c in of.counts] == [int((score == v).sum()) for v in (0.1, 0.2, 0.25, 0.9)]


def test_the_order_of_rows_does_not_matter():
    score, label = labelled(np.random.default_rng(10), 5_000)
    other = np.random.default_rng(11).permutation(5_000)
    assert calibration_profile(score, label) == calibration_profile(score[other], label[other])


def test_a_classifier_of_many_classes_is_judged_by_the_confidence_in_its_answer():
    random = np.random.default_rng(12)
    n = 20_000
    score = random.dirichlet([1.0, 1.0, 1.0], n)
    prediction = score.argmax(axis=1).astype(float)
    right = random.random(n) < score.max(axis=1)
    label = np.where(right, prediction, (prediction + 1) % 3)
    profile = build_profile(MULTICLASS, batch_of(score, prediction), label, 10_000)
    of = profile.calibration
    assert of.edges[0] >= 1 / 3 and of.rows == n
    assert sum(c[1] for c in of.counts) == right.sum()
    assert curve(of).rate == pytest.approx(np.array(of.score), abs=0.03)


def autoregressive(random, n, rho):
    z = random.standard_normal(n)
    for i in range(1, n):
        z[i] = rho * z[i - 1] + np.sqrt(1 - rho**2) * z[i]
    return z


@pytest.mark.parametrize("dependent", [False, True])
def test_only_dependence_of_the_labels_tempers(dependent):
    """Scores may follow each other as they like, as long as labels do not, given their scores."""
    random = np.random.default_rng(13)
    n = 20_000
    score = norm.cdf(autoregressive(random, n, 0.95))
    chances = norm.cdf(autoregressive(random, n, 0.9)) if dependent else random.random(n)
    profile, batch = binary_profile(score, chances < score)
    tempers = calibrated(profile, batch, (chances < score).astype(float)).tempers
    assert ("calibration/score" in tempers) == dependent
    if dependent:
        assert max(tempers["calibration/score"]) > 3


def test_a_dependent_reference_is_worth_fewer_rows():
    of = reference(14, 20_000)
    one, ten = curve(of), curve(of, 10.0)
    assert ten.rate == pytest.approx(one.rate, abs=1e-3)
    assert (ten.upper - ten.lower > 1.5 * (one.upper - one.lower)).mean() > 0.9


def test_an_accepted_reference_may_have_no_rows_where_scores_no_longer_come():
    of = reference(16, 5_000)
    counts = np.array(of.counts)
    counts[:30] = counts[60:] = 0
    renewed = replace(of, counts=tuple((int(a), int(b)) for a, b in counts))
    found = curve(renewed)
    assert np.isfinite([found.rate, found.lower, found.upper]).all()
    assert found.rate[30:60] == pytest.approx(np.array(of.score[30:60]), abs=0.08)
    assert (found.lower[0], found.upper[-1]) == pytest.approx((0.0, 1.0), abs=0.05)
    assert np.isfinite(Calibration(renewed).table).all()


def test_the_calibration_error_is_the_mean_distance_of_score_and_share_over_tenths():
    of = CalibrationProfile((0.0, 0.5, 1.0), ((75, 25), (25, 75)), (0.25, 0.75))
    assert calibration_error(of, np.array([75, 25, 25, 75])) == 0.0
    assert calibration_error(of, np.array([50, 50, 25, 75])) == pytest.approx(0.25 / 2)
    assert calibration_error(of, np.array([50, 50, 50, 50])) == pytest.approx(0.25)
    assert calibration_error(of, np.zeros(4, dtype=np.int64)) == 0.0


def test_a_profile_with_calibration_is_kept_in_its_file_and_refused_when_damaged(tmp_path):
    profile, _ = binary_profile(*labelled(np.random.default_rng(15), 2_000))
    profile_file.save(profile, tmp_path / "p")
    assert profile_file.load(tmp_path / "p")[0] == profile
    of = profile.calibration
    for broken in (
        replace(of, edges=of.edges[:-1]),
        replace(of, score=of.score[1:]),
        replace(of, edges=of.edges[::-1]),
    ):
        profile_file.save(replace(profile, calibration=broken), tmp_path / "q")
        with pytest.raises(UsageError, match="calibration: edges"):
            profile_file.load(tmp_path / "q")


def test_the_alarm_is_a_page_that_says_how_far_scores_and_outcomes_are_apart(tmp_path):
    random = np.random.default_rng(17)
    start, n = 1_700_000_000_000, 6_000
    score, label = labelled(random, n)
    at = start + (np.arange(2 * n) - n) * SECOND
    rows = [
        {
            "id": f"r{i}",
            "timestamp": int(at[i]),
            "features": {"x": 1.0},
            "score": s,
            "label": int(y),
        }
        for i, (s, y) in enumerate(zip(score.tolist(), label.tolist(), strict=True))
    ]
    plain = Config.model_validate({"models": {"m": {"task": "binary"}}})
    table = from_records(rows, plain.models["m"].fields)
    profile_file.save(profile_of(table, plain.models["m"], 10_000), tmp_path / "m.profile")
    settings = {"task": "binary", "profile": str(tmp_path / "m.profile")}
    pipe = Pipeline(Config.model_validate({"models": {"m": settings}}))
    score, label = labelled(random, n, lambda s: 0.5 + (s - 0.5) / 4)
    for i in range(0, n, 500):
        part = [
            {**rows[k], "timestamp": int(at[n + k]), "score": score[k]} for k in range(i, i + 500)
        ]
        outcomes = [
            {"id": row["id"], "timestamp": row["timestamp"], "label": int(label[k])}
            for k, row in enumerate(part, start=i)
        ]
        for row in part:
            del row["label"]
        for topic, values in (("m.predictions", part), ("m.feedback", outcomes)):
            raw = [json.dumps(v).encode() for v in values]
            none = np.full(len(raw), -1)
            pipe.take(RawBatch(topic, 0, raw, i + np.arange(len(raw)), none), start + 10**12, 0.0)
        pipe.close()
    pipe.finish()
    alarms = results(pipe)["models"]["m"]["alarms"]
    (page,) = [a for a in alarms if a["kind"] == "calibration"]
    assert (page["detector"], page["target"], page["severity"]) == ("calibration", "score", "page")
    assert page["effect"]["measure"] == "expected_calibration_error"
    assert page["effect"]["reference"] < 0.05 < 0.1 < page["effect"]["value"] < 0.3
    assert "score" not in [c["target"] for c in page["contributors"]]
