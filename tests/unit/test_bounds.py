"""Memory is bounded by configuration, whatever the traffic, the backlog or what never comes."""

import numpy as np

from agent.join import EARLY_SHARE, WAITING_BYTES, Join
from agent.pipeline import SKEW, Pipeline
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


def test_a_partition_far_ahead_of_another_waits_for_it(tmp_path):
    save(reference(), tmp_path / "credit.profile")
    pipeline, traffic = Pipeline(configuration(tmp_path / "credit.profile")), Traffic()
    pipeline.assign([(PREDICTIONS, 0), (FEEDBACK, 0)])
    assert pipeline.ahead() == frozenset()
    predictions, feedback = traffic.until(10 * MINUTE)
    pipeline.take(predictions, LATEST, 0.0)
    assert pipeline.ahead() == frozenset()  # nothing is known of the other yet
    pipeline.take(feedback, LATEST, 0.0)
    later, its_feedback = traffic.until(10 * MINUTE + SKEW + MINUTE)
    pipeline.take(later, LATEST, 0.0)
    assert pipeline.ahead() == {(PREDICTIONS, 0)}
    pipeline.take(its_feedback, LATEST, 0.0)
    assert pipeline.ahead() == frozenset()
    # One that is read to its end and silent holds nobody up: the clock moves it.
    much, _ = traffic.until(10 * HOUR)
    pipeline.take(much, LATEST, 0.0)
    assert pipeline.ahead() == {(PREDICTIONS, 0)}
    pipeline.idle({(FEEDBACK, 0): 0}, START / 1000 + 10 * 3600 + 12)
    assert pipeline.ahead() == frozenset()
