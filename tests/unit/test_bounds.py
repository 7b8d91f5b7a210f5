"""Memory is bounded by configuration, whatever the traffic, the backlog or what never comes."""

import numpy as np
import pytest

from agent.config import Config
from agent.join import EARLY_SHARE, WAITING_BYTES, Join
from agent.pipeline import OPEN_SHARE, SKEW, Pipeline
from agent.profile_file import save
from detectors.batch import Feedback
from tests.watched import (
    FEEDBACK,
    LATEST,
    MINUTE,
    PREDICTIONS,
    START,
    Traffic,
    configuration,
    reference,
)

HOUR = 60 * MINUTE


def early(first, n):
    ids = np.arange(first, first + n)
    return Feedback(ids.astype(np.int64) * 10, ids.astype(np.uint64), np.ones(n))


def test_feedback_for_predictions_that_never_come_is_bounded_and_counted():
    join = Join(HOUR, 0, 10**15, 240_000)
    most = 240_000 // EARLY_SHARE // WAITING_BYTES
    for start in range(0, 20_000, 700):
        join.feedback(early(start, 700), 1, 2, 0)
        assert sum(map(len, join.waiting)) <= most
    made = 700 * len(range(0, 20_000, 700))
    assert join.counts["forgotten"] == made - most
    # The newest are kept, in the order in which they came.
    (kept,) = join.waiting
    assert kept.id.tolist() == list(range(made - most, made))


def test_predictions_are_bounded_though_no_pane_ever_closes(tmp_path):
    """The feedback topic is stuck: nothing closes, and nothing grows."""
    save(reference(), tmp_path / "credit.profile")
    config = configuration(
        tmp_path / "credit.profile", model={"feedback": {"memory": "1MiB", "horizon": "30d"}}
    )
    pipeline, traffic = Pipeline(config), Traffic()
    pipeline.assign([(PREDICTIONS, 0), (FEEDBACK, 0)])
    for hour in range(1, 9):
        pipeline.take(traffic.until(hour * HOUR)[0], LATEST, 0.0)
        (join,) = pipeline.model("credit").joins
        assert join.blocks.bytes <= 2**20
    assert join.counts["forgotten"] > 10_000
    assert not pipeline.close()


LATER, BACKLOG = START / 1000 + 30 * 3600, {}  # the clock; nothing is known to be read to its end


@pytest.fixture
def watched(tmp_path, request):
    save(reference(), tmp_path / "credit.profile")
    model = {"feedback": {"memory": getattr(request, "param", "256MB")}}
    pipeline = Pipeline(configuration(tmp_path / "credit.profile", model=model))
    pipeline.assign([(PREDICTIONS, 0), (FEEDBACK, 0)])
    return pipeline, Traffic()


def test_a_partition_far_ahead_of_another_waits_for_it(watched):
    pipeline, traffic = watched
    assert pipeline.ahead(LATER, BACKLOG) == frozenset()
    predictions, feedback = traffic.until(10 * MINUTE)
    pipeline.take(predictions, LATEST, 0.0)
    assert pipeline.ahead(LATER, BACKLOG) == frozenset()  # nothing is known of the other yet
    pipeline.take(feedback, LATEST, 0.0)
    later, its_feedback = traffic.until(10 * MINUTE + SKEW + MINUTE)
    pipeline.take(later, LATEST, 0.0)
    assert pipeline.ahead(LATER, BACKLOG) == {(PREDICTIONS, 0)}
    pipeline.take(its_feedback, LATEST, 0.0)
    assert pipeline.ahead(LATER, BACKLOG) == frozenset()
    # One that is read to its end and silent holds nobody up: the clock moves it.
    much, _ = traffic.until(10 * HOUR)
    pipeline.take(much, LATEST, 0.0)
    assert pipeline.ahead(LATER, BACKLOG) == {(PREDICTIONS, 0)}
    pipeline.idle({(FEEDBACK, 0): 0}, START / 1000 + 10 * 3600 + 12)
    assert pipeline.ahead(LATER, BACKLOG) == frozenset()


def test_labels_with_the_times_of_what_they_are_of_hold_nobody_up(watched):
    """They come five minutes late and never cease: neither now nor after a backlog."""
    pipeline, traffic = watched
    predictions, _ = traffic.until(10 * MINUTE)
    later, _ = traffic.until(15 * MINUTE)
    labels = Traffic().until(10 * MINUTE)[1]
    for batch in (predictions, later, labels):
        pipeline.take(batch, LATEST, 0.0)
    now = START / 1000 + 15 * 60
    assert pipeline.ahead(now, BACKLOG) == frozenset(), "it has just happened"
    assert pipeline.ahead(LATER, BACKLOG) == {(PREDICTIONS, 0)}
    read = {(FEEDBACK, 0): 40, (PREDICTIONS, 0): 100_000}
    assert pipeline.ahead(LATER, read) == frozenset(), "there are no other labels yet"
    assert pipeline.ahead(LATER, {(FEEDBACK, 0): 40_000}) == {(PREDICTIONS, 0)}


@pytest.mark.parametrize("watched", ["1MiB"], indirect=True)
def test_what_is_kept_for_a_topic_that_is_behind_is_bounded(watched):
    """Predictions have just happened, and labels are hours behind though read to their end."""
    pipeline, traffic = watched
    pipeline.take(Traffic().until(MINUTE)[1], LATEST, 0.0)
    kept = []
    for minute in range(1, 600):
        now, lag = START / 1000 + minute * 60, {(FEEDBACK, 0): 1, (PREDICTIONS, 0): 1}
        pipeline.take(traffic.until(minute * MINUTE)[0], LATEST, 0.0)
        kept.append(pipeline.model("credit").kept(0))
        if pipeline.ahead(now, lag):
            break
    assert pipeline.ahead(now, lag) == {(PREDICTIONS, 0)}
    assert 2**20 / OPEN_SHARE < kept[-1] < 2 * 2**20 / OPEN_SHARE
    assert len(kept) > 5
    pipeline.take(Traffic().until(minute * MINUTE)[1], LATEST, 0.0)
    pipeline.close()
    assert pipeline.ahead(now, lag) == frozenset()


def test_models_that_share_topics_never_all_wait_for_each_other(tmp_path):
    """Each has other partitions to wait for: read on is what any of them needs."""
    save(reference(), tmp_path / "p")
    models = {
        name: {"task": "binary", "profile": str(tmp_path / "p"), "predictions": {"topic": "shared"},
               "feedback": {"topic": "shared.f"}}
        for name in ("a", "b")
    }  # fmt: skip
    pipeline = Pipeline(Config.model_validate({"models": models, "windows": ["5m"]}))
    ats = [(topic, n) for topic in ("shared", "shared.f") for n in range(2)]
    pipeline.assign(ats)
    for name, minutes in (("a", (10, 90)), ("b", (90, 10))):
        for n, minute in enumerate(minutes):
            for predictions in (True, False):
                pipeline.model(name).silent(predictions, n, START + minute * MINUTE)
    # Of either, one partition is far ahead of the other; it is the other's slowest.
    assert pipeline.ahead(LATER, BACKLOG) == frozenset()


@pytest.mark.parametrize("watched", ["1MiB"], indirect=True)
def test_what_is_kept_for_a_topic_that_was_never_heard_is_bounded(watched):
    pipeline, traffic = watched
    for minute in range(1, 600):
        pipeline.take(traffic.until(minute * MINUTE)[0], LATEST, 0.0)
        now = START / 1000 + minute * 60
        if pipeline.ahead(now, {(PREDICTIONS, 0): 1}):
            break
    assert pipeline.ahead(now, {(PREDICTIONS, 0): 1}) == {(PREDICTIONS, 0)}
    assert pipeline.model("credit").kept(0) < 2 * 2**20 / OPEN_SHARE
    # One that is read to its end is about to be moved by the clock.
    assert pipeline.ahead(now, {(PREDICTIONS, 0): 1, (FEEDBACK, 0): 0}) == frozenset()
