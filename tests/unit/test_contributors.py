"""Who an alarm says it came from."""

import pytest

from agent.results import alarm_result
from tests.watched import MINUTE, Watched


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path / "credit.profile", model={"segments": ["region"]})


def raised(happened):
    return next(a for a in happened if a.kind == "accuracy" and a.cleared_at is None)


def test_the_segment_that_errs_more_is_named(watched):
    assert not watched.until(60 * MINUTE)
    alarm = raised(watched.until(90 * MINUTE, wrong={"north": 0.1, "south": 0.5}))
    (south,) = [c for c in alarm.contributors if c.segment]
    assert (south.feature, south.segment) == ("region", "region=south")
    assert 0.8 < south.share <= 1.0
    told = alarm_result(alarm)["contributors"]
    assert {"feature": "region", "segment": "region=south"}.items() <= told[-1].items()


def test_errors_spread_evenly_name_about_no_segment(watched):
    watched.until(60 * MINUTE)
    alarm = raised(watched.until(90 * MINUTE, wrong=0.4))
    rows = {"region=north": 0.7, "region=south": 0.3}
    for part in alarm.contributors:
        if part.segment:
            assert part.share < rows[part.segment] + 0.15


def test_drift_names_features_and_no_segments(watched):
    watched.until(60 * MINUTE)
    alarm = next(a for a in watched.until(90 * MINUTE, income=1.5) if a.kind == "drift")
    assert alarm.contributors[0].feature == "income"
    assert alarm.contributors[0].share > 0.7
    assert not any(c.segment for c in alarm.contributors)
