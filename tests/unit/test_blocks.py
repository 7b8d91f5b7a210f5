"""Rows drawn anew in blocks keep what blocks promise to keep; halves share nothing."""

import numpy as np

from benchmarks.detection.blocks import DAY, WEEK, Recording, halves, resampled
from benchmarks.detection.real import SETS, Found

MINUTE = 60_000
MONDAY = 4 * DAY  # 5 January 1970


def every(gap: int, span: int, start: int = MONDAY + 7 * 3_600_000) -> Recording:
    time = np.arange(start, start + span, gap, dtype=np.int64)
    number = np.array([str(i) for i in range(len(time))], dtype=object)
    return Recording({"number": number}, time)


def test_blocks_keep_the_hour_and_in_a_long_recording_the_day_of_the_week() -> None:
    for days, period in ((12, DAY), (70, WEEK)):
        source = every(7 * MINUTE, days * DAY)
        rows, times = resampled(source, 300 * DAY, np.random.default_rng(1))
        assert source.period == period
        assert ((times - source.time[rows]) % period == 0).all()
        assert times.min() >= source.midnight and times.max() < source.midnight + 300 * DAY
        assert (np.diff(times) >= 0).all()


def test_blocks_are_of_a_day_or_two_and_come_from_everywhere() -> None:
    source = every(7 * MINUTE, 30 * DAY)
    rows, times = resampled(source, 1_000 * DAY, np.random.default_rng(1))
    joints = np.flatnonzero(np.diff(rows) != 1)
    lengths = np.diff(times[joints + 1])
    # A block that happens to go on where the last one ended counts as one with it.
    assert lengths.min() > DAY - 15 * MINUTE
    assert np.median(lengths) < 1.7 * DAY
    # Every hour sees a joint: these are moving blocks, not whole days.
    assert len(np.unique(times[joints] % DAY // 3_600_000)) == 24
    assert len(np.unique(rows)) > 0.99 * len(source)


def test_resampled_traffic_is_as_dense_as_the_recorded() -> None:
    source = every(7 * MINUTE, 30 * DAY)
    rows, times = resampled(source, 1_000 * DAY, np.random.default_rng(1))
    assert abs(len(rows) / (1_000 * DAY / (7 * MINUTE)) - 1) < 0.01
    assert np.diff(times).max() <= 14 * MINUTE


def test_halves_are_whole_periods_without_gaps_that_share_no_row() -> None:
    for days, period in ((12, DAY), (70, WEEK)):
        source = every(7 * MINUTE, days * DAY)
        one, other = halves(source, np.random.default_rng(1))
        taken = [set(part.columns["number"].tolist()) for part in (one, other)]
        assert not taken[0] & taken[1]
        for part in (one, other):
            number = part.columns["number"].astype(int)
            assert ((part.time - source.time[number]) % period == 0).all()
            assert np.diff(part.time).max() <= 14 * MINUTE
            assert part.time[0] - source.midnight < period
        assert abs(len(one) - len(other)) < 10
        assert len(one) + len(other) > len(source) - 3 * period // (7 * MINUTE)


def test_the_promise_is_the_unit_of_the_count() -> None:
    found = Found(SETS[0], "", 1, days=3_650.0)
    found.rung["ticket"]["some"] = 10
    pages, tickets = found.rate("page"), found.rate("ticket")
    assert pages.alarms == 0 and abs(pages.interval[1] - 0.369) < 0.001  # of ten that are tolerated
    assert abs(tickets.per_million - 10 / (3_650 / 30)) < 1e-4
