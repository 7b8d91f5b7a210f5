"""A false alarm leaves no stream deaf, and what is accepted as the new normal is the reference."""

from dataclasses import replace

import numpy as np
import pytest

from agent import profile_file
from agent.acceptance import ENOUGH, Refused, Unknown, accept
from agent.errors import UsageError
from agent.learning import Learner
from agent.pipeline import Pipeline
from agent.renewal import carried, watching
from detectors.budget import BudgetState
from detectors.codec import Codec
from detectors.labels.learned import Learned
from detectors.renewal import Recent, counts_of, renewable, renewed
from detectors.season import Season
from tests.watched import (
    DAY,
    FEEDBACK,
    LATEST,
    MINUTE,
    MOVED,
    PREDICTIONS,
    SECOND,
    START,
    Traffic,
    Watched,
    configuration,
    reference,
)


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path / "credit.profile")


def said(alarms):
    return [(a.kind, a.target, a.cleared_at is not None) for a in alarms]


RUNG, PASSED = ("drift", "income", False), ("drift", "income", True)


def test_an_alarm_that_has_passed_leaves_its_stream_able_to_hear(watched):
    """What rang for two minutes clears, and a real change of the same feature rings again."""
    assert said(watched.until(10 * MINUTE)) == []
    assert said(watched.until(12 * MINUTE, income=MOVED)) == [RUNG]
    assert said(watched.until(60 * MINUTE)) == [PASSED]
    assert watched.alarms[-1].cleared_reason == "passed"
    again = watched.until(70 * MINUTE, income=MOVED)
    assert said(again) == [RUNG]
    assert 60 * MINUTE <= again[0].onset - START < again[0].raised_at - START < 63 * MINUTE
    assert again[0].id != watched.alarms[0].id


def test_the_accepted_level_is_normal_and_the_old_one_rings(watched):
    watched.until(10 * MINUTE)
    assert said(watched.until(40 * MINUTE, income=MOVED)) == [RUNG]
    made = watched.accept("income", comment="pay rise")
    assert [r.target for r in made.references] == ["income"]
    assert said(made.cleared) == [PASSED] and made.cleared[0].cleared_reason == "accepted"
    assert watched.model.alarms.standing == {}
    assert list(watched.model.alarms.cleared) == list(made.cleared)
    assert said(watched.until(120 * MINUTE, income=MOVED)) == [], "the new normal is quiet"
    assert said(watched.until(130 * MINUTE)) == [RUNG], "and the old one is a change"
    assert watched.alarms[-1].profile == made.profile


def test_only_rows_since_the_onset_are_accepted(watched):
    watched.until(30 * MINUTE)
    watched.until(60 * MINUTE, income=MOVED)
    (reference,) = watched.accept("income").references
    alarm = watched.alarms[0]
    assert reference.since >= alarm.onset_latest
    assert ENOUGH <= reference.rows <= 2 * (reference.until - reference.since) / SECOND
    assert reference.rows_before == 8_000
    income = watched.model.profile.numeric[0]
    assert income.mean == pytest.approx(MOVED, abs=0.1), "nothing of the old level is in it"
    assert sum(income.counts) == reference.rows


def test_without_an_alarm_the_longest_window_counts(watched):
    watched.until(40 * MINUTE)
    (reference,) = watched.accept("region").references
    assert reference.rows == 2 * 60 * 40 - 20  # the last pane is open
    assert sum(watched.model.profile.categorical[0].counts) == reference.rows


def test_too_few_rows_change_nothing_and_say_how_many(watched):
    watched.until(10 * MINUTE)
    watched.until(13 * MINUTE, income=MOVED)
    before, state = watched.model.profile_hash, watched.model.state
    with pytest.raises(Refused, match=r"income: \d+ rows have come since .*Z, 1000 are needed"):
        watched.accept("income")
    assert watched.model.profile_hash == before and watched.model.state is state
    assert len(watched.model.alarms.standing) == 1
    assert not list(watched.path.parent.glob("*.1"))


def test_what_the_configuration_does_not_fit_changes_nothing(tmp_path):
    """Its weights name a detector that the new reference leaves without a target."""
    weights = {"detectors": {"weights": {"missing_rate": 2.0, "numeric_drift": 2.0}}}
    watched = Watched(tmp_path / "p", model=weights)
    watched.until(40 * MINUTE)
    model, before = watched.model, watched.model.profile

    def renew(*_):
        raise UsageError("models.credit.detectors.weights: no detector or target 'x'")

    model._detection = renew
    with pytest.raises(Refused, match="no detector or target"):
        watched.accept("income")
    assert model.profile is before and not list(tmp_path.glob("*.1"))


def test_before_any_pane_has_closed_nothing_is_accepted(watched):
    with pytest.raises(Refused, match="first traffic"):
        watched.accept()


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("incme", "did you mean 'income'"),
        ("xyz", "there are income, age, region"),
        ("", "there are"),
    ],
)
def test_an_unknown_target_is_named(watched, target, hint):
    watched.until(20 * MINUTE)
    with pytest.raises(Unknown, match=hint):
        watched.accept(target)


def test_error_is_accepted_too(watched):
    watched.until(10 * MINUTE)
    both = [("accuracy", "error", False), ("calibration", "score", False)]
    assert sorted(said(watched.until(60 * MINUTE, wrong=0.3))) == both
    assert watched.accept("score").cleared == (), "calibration is a target of its own"
    made = watched.accept("error")
    right, wrong = watched.model.profile.error.counts
    assert wrong / (right + wrong) == pytest.approx(0.3, abs=0.03)
    assert said(made.cleared) == [("accuracy", "error", True)]
    assert said(watched.accept("calibration").cleared) == [("calibration", "score", True)]
    assert said(watched.until(120 * MINUTE, wrong=0.3)) == []
    assert sorted(said(watched.until(160 * MINUTE, wrong=0.6))) == both


def test_without_a_target_all_that_have_enough_are_accepted(watched):
    watched.until(30 * MINUTE)
    watched.until(35 * MINUTE, income=MOVED)
    made = watched.accept()
    assert [r.target for r in made.references] == [
        *("age", "region", "score", "prediction", "error", "calibration", "joint")
    ]
    assert list(made.left) == ["income"] and "1000 are needed" in made.left["income"]
    assert made.cleared == () and len(watched.model.alarms.standing) == 1
    watched.until(60 * MINUTE, income=MOVED)
    made = watched.accept()
    assert made.references[0].target == "income"
    assert watched.model.alarms.standing == {}


def test_the_other_streams_go_on_as_if_nothing_had_happened(watched, tmp_path):
    """Accepting `region` neither delays nor hastens what `income` is about to say."""
    other = Watched(tmp_path / "other.profile")
    for one in (watched, other):
        one.until(30 * MINUTE)
        one.until(31 * MINUTE, income=0.4)
    other.accept("region")
    for one in (watched, other):
        one.until(60 * MINUTE, income=0.4)
    assert said(watched.alarms) == [RUNG]
    mine, its = watched.alarms[0], other.alarms[0]
    assert (its.raised_at, its.onset, its.evidence) == (mine.raised_at, mine.onset, mine.evidence)


def test_a_state_is_carried_whole_where_nothing_starts_anew(watched):
    watched.until(10 * MINUTE)
    watched.until(20 * MINUTE, income=MOVED)
    model = watched.model
    codec = Codec([type(model.state), type(model.state.ticks), BudgetState, Learned])
    same = carried(watching(model.detection), model.state, model.detection, ())
    assert codec.encode("s", 1, "", same) == codec.encode("s", 1, "", model.state)
    income = {("numeric_drift", "income")}
    anew = carried(watching(model.detection), model.state, model.detection, income)
    tickets = model.detection.budgets["ticket"]
    i = next(j for j, s in enumerate(tickets.streams) if s.detector == "numeric_drift")
    assert model.state.budgets[1].latched[i] and not anew.budgets[1].latched[i]
    assert anew.budgets[1].credited[i] == model.state.budgets[1].time
    cells = np.cumsum([0, *(s.alternatives for s in tickets.streams)])
    assert not anew.budgets[1].m[cells[i] : cells[i + 1]].any()


def test_the_profile_is_written_the_old_one_is_kept_and_history_is_told(watched):
    watched.until(40 * MINUTE)
    first, before = watched.path.read_bytes(), watched.model.profile_hash
    made = watched.accept("income", comment="checked", at=START + DAY)
    assert made.written == watched.path and made.profile_before == before
    assert watched.path.with_name("credit.profile.1").read_bytes() == first
    stored, digest = profile_file.load(watched.path)
    assert digest == made.profile == watched.model.profile_hash != before
    (past,) = stored.accepted
    assert (past.target, past.by, past.comment, past.at) == (
        "income",
        "ann",
        "checked",
        START + DAY,
    )
    assert past.profile == before
    second = watched.path.read_bytes()
    watched.accept("score")
    assert watched.path.with_name("credit.profile.2").read_bytes() == second
    assert [p.target for p in profile_file.load(watched.path)[0].accepted] == ["income", "score"]


def test_a_profile_that_cannot_be_written_is_kept_in_memory_and_that_is_said(watched, monkeypatch):
    watched.until(40 * MINUTE)
    content = watched.path.read_bytes()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(profile_file.os, "replace", refuse)
    made = watched.accept("income")
    assert made.written is None
    assert [p.name for p in watched.path.parent.iterdir()] == [watched.path.name]
    assert "Permission denied" in made.unwritten and "lost when the agent ends" in made.unwritten
    assert watched.path.read_bytes() == content
    assert watched.model.profile_hash == made.profile


def test_a_profile_that_was_changed_meanwhile_is_not_overwritten(watched):
    watched.until(40 * MINUTE)
    profile_file.save(replace(reference(), rows=7), watched.path)
    content = watched.path.read_bytes()
    made = watched.accept("income")
    assert made.written is None and "another profile has been put there" in made.unwritten
    assert watched.path.read_bytes() == content
    assert not list(watched.path.parent.glob("*.1"))


def test_a_learned_profile_is_accepted_in_memory():
    pipeline = Pipeline(configuration(model={"warmup": 1000}))
    pipeline.assign([(PREDICTIONS, 0), (FEEDBACK, 0)])
    traffic = Traffic()
    for time in (20 * MINUTE, 40 * MINUTE):
        for batch in traffic.until(time):
            pipeline.take(batch, LATEST, 0.0)
        pipeline.close()
    model = pipeline.model("credit")
    assert not isinstance(model, Learner)
    made = accept(model, "income", "", "", START)
    assert made.written is None and "learned from traffic" in made.unwritten


def renew(model, target, profile=None, days=1.0):
    new = {target: Recent(model.detected[DAY].total, days)}
    streams = [d.stream for d in model.detection.detectors]
    return renewed(profile or model.profile, model.pane_cells, new, streams)


@pytest.mark.parametrize(("week", "needed", "days"), [("same", "1d", 1), ("weekend", "7d", 7)])
@pytest.mark.parametrize("of", ["numbers", "rate"])
def test_a_season_is_replaced_by_whole_days_alone(tmp_path, of, week, needed, days):
    season = Season(2, week, (0.0,) * (5 if week == "same" else 10), 1.0, 30.0)
    income = replace(reference().numeric[0], season=season)
    seasonal = replace(reference(), numeric=(income, reference().numeric[1]))
    if of == "rate":
        seasonal = replace(reference(), seasons={"income/missing": season, "region=north": season})
    watched = Watched(tmp_path / "p", seasonal)
    watched.until(40 * MINUTE)
    with pytest.raises(Refused, match=f"{needed} of traffic are needed"):
        watched.accept("income")
    watched.accept("score")
    model = watched.model
    made = renew(model, "income", days=2.0 * days)
    if of == "rate":
        assert made.seasons["income/missing"] == replace(season, cycles=2.0)
        assert made.seasons["region=north"] == season
    else:
        assert made.numeric[0].season == replace(season, cycles=2.0)


def test_dependence_is_kept_at_its_largest(watched):
    model = watched.model
    watched.until(20 * MINUTE)
    fixed = {"numeric_drift/income": (1.0, 3.0), "missing_rate/region": (5.0, 1.0)}
    other = {"missing_rate/income": (1.0, 3.0, 2.0)}
    profile = replace(model.profile, tempers=fixed | other, dispersions=fixed | other)
    made = renew(model, "income", profile)
    for stated in (made.tempers, made.dispersions):
        assert stated == fixed | {"missing_rate/income": (3.0,)}
    assert made.temper("missing_rate/income", 9).tolist() == [3.0] * 9


PARTS = ("numeric", "categorical", "score", "predicted", "error", "calibration", "joint")
NAMES = {"predicted": "prediction"}


def parts(profile):
    """By target: every part of the reference."""
    columns = {p.name: p for p in profile.features}
    return columns | {NAMES.get(n, n): getattr(profile, n) for n in PARTS[2:]}


@pytest.mark.parametrize(
    "target", ["income", "age", "region", "score", "prediction", "error", "calibration", "joint"]
)
def test_every_target_can_be_renewed_and_nothing_else_changes(watched, target):
    watched.until(20 * MINUTE)
    model = watched.model
    assert target in renewable(model.profile, model.pane_cells)
    made, before = parts(renew(model, target)), parts(model.profile)
    # A number's pairs are renewed with it.
    expected = {target, "joint"} if target in ("income", "age") else {target}
    assert {name for name in made if made[name] != before[name]} == expected
    counts = counts_of(model.pane_cells, target, model.detected[DAY].total).tolist()
    part = made[target]
    if target in ("calibration", "joint"):
        assert [n for row in part.counts for n in row] == counts
    else:
        extra = [getattr(part, e) for e in ("unseen", "missing", "invalid") if hasattr(part, e)]
        assert [*part.counts, *extra] == counts


def test_the_dependence_of_numbers_is_heard_again_after_one_was_accepted(watched):
    """While a number has moved, its pairs are not judged: its new place must become theirs."""
    watched.until(10 * MINUTE)
    watched.until(40 * MINUTE, income=MOVED)
    watched.accept("income")
    assert said(watched.until(60 * MINUTE, income=MOVED)) == []
    assert said(watched.until(90 * MINUTE, income=MOVED, tied=0.6)) == [("drift", "joint", False)]


def test_a_change_of_dependence_is_accepted(watched):
    watched.until(10 * MINUTE)
    assert said(watched.until(50 * MINUTE, tied=0.6)) == [("drift", "joint", False)]
    assert said(watched.accept("joint").cleared) == [("drift", "joint", True)]
    assert said(watched.until(100 * MINUTE, tied=0.6)) == []
    assert said(watched.until(130 * MINUTE)) == [("drift", "joint", False)]


def test_a_change_of_dependence_is_not_accepted_with_a_number(watched):
    watched.until(10 * MINUTE)
    assert said(watched.until(50 * MINUTE, tied=0.6)) == [("drift", "joint", False)]
    joint = watched.model.profile.joint
    made = watched.accept("age")
    assert made.cleared == () and watched.model.profile.joint == joint
    assert "accept it as well" in made.warnings[0]
    assert said(watched.until(110 * MINUTE, tied=0.6)) == [], "it does not ring a second time"
    assert [key[1] for key in watched.model.alarms.standing] == ["joint_drift"]
    assert watched.accept("joint").warnings == ()
    assert watched.model.profile.joint != joint


def test_most_values_beyond_the_old_bins_are_worth_a_word(watched):
    watched.until(10 * MINUTE)
    watched.until(40 * MINUTE, income=9.0)
    (warning,) = watched.accept("income").warnings
    assert "lowest or highest bin" in warning
