"""Panes: watermarks of partitions, and the cells of open panes."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.panes import FOREVER, NEVER, Entries, OpenPanes, PartitionClock, summed

PANE, LATENESS = 10, 7

times = st.lists(st.integers(0, 400), max_size=30)
cuts = st.lists(st.integers(0, 30), max_size=5)


def parts(rows, cuts):
    edges = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    return [rows[a:b] for a, b in pairwise(edges)]


def assign(clock, rows):
    assigned, late = clock.assign(np.array(rows, dtype=np.int64))
    return list(zip(assigned.tolist(), late.tolist(), strict=True))


def by_hand(rows):
    """One row at a time: where it goes depends on the rows before it alone."""
    newest, made = None, []
    for time in rows:
        oldest_open = None if newest is None else (newest - LATENESS) // PANE * PANE
        late = oldest_open is not None and time < oldest_open
        made.append((oldest_open if late else time, late))
        newest = time if newest is None else max(newest, time)
    return made


@given(times, cuts)
@settings(deadline=None)
def test_any_batching_puts_rows_into_the_same_panes(rows, cuts):
    clock = PartitionClock(PANE, LATENESS)
    made = [row for part in parts(rows, cuts) for row in assign(clock, part)]
    assert made == by_hand(rows)
    if rows:
        assert clock.watermark == max(rows) - LATENESS
        assert all(time >= clock.open_from for time, _ in made if time > clock.watermark)


def test_disorder_within_the_lateness_is_not_late():
    clock = PartitionClock(PANE, LATENESS)
    assert not any(late for _, late in assign(clock, [100, 93, 107, 100]))
    assert assign(clock, [90]) == [(100, True)]  # the pane from 90 closed at 107 - 7
    assert assign(clock, [100]) == [(100, False)]


def test_a_row_from_the_far_future_closes_every_pane_before_it():
    # That is why times too far ahead are rejected before they come here.
    clock = PartitionClock(PANE, LATENESS)
    assign(clock, [100, 10**12])
    assert assign(clock, [101]) == [((10**12 - LATENESS) // PANE * PANE, True)]


def test_a_promise_from_outside_moves_the_watermark_and_never_back():
    clock = PartitionClock(PANE, LATENESS)
    assert clock.watermark < 0 and clock.open_from < 0
    clock.advance(205)
    clock.advance(100)
    assert (clock.watermark, clock.open_from) == (205, 200)
    assert assign(clock, [203, 199]) == [(203, False), (200, True)]
    clock.advance(FOREVER)
    assert clock.watermark == FOREVER


def test_no_rows_change_nothing():
    clock = PartitionClock(PANE, LATENESS)
    assert assign(clock, []) == []
    assert clock.newest == NEVER


def entries(rows):
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Entries(*(np.array(c, dtype=np.int64) for c in columns))


def listed(made):
    columns = (made.pane, made.bucket, made.cell, made.weight)
    return list(zip(*(c.tolist() for c in columns), strict=True))


small = st.integers(0, 4)
rows = st.lists(st.tuples(small, small, small, st.integers(-2, 2)), max_size=30)


def added_up(rows):
    total = {}
    for pane, bucket, cell, weight in rows:
        total[pane, bucket, cell] = total.get((pane, bucket, cell), 0) + weight
    return [(*key, total[key]) for key in sorted(total) if total[key]]


@given(rows, cuts)
@settings(deadline=None)
def test_entries_add_up_however_they_are_spread(rows, cuts):
    assert listed(summed([entries(part) for part in parts(rows, cuts)])) == added_up(rows)


@given(rows, cuts, st.lists(st.integers(0, 6), max_size=4))
@settings(deadline=None)
def test_open_panes_hand_over_each_pane_once(rows, cuts, closes):
    panes = OpenPanes()
    for part in parts(rows, cuts):
        panes.add(entries(part))
    closed = []
    for before in [*sorted(closes), 99]:
        got = listed(panes.close(before))
        assert all(pane < before for pane, *_ in got)
        closed += got
    assert closed == added_up(rows)
    assert len(panes.close(FOREVER)) == 0


def test_open_panes_stay_small_however_many_batches_come():
    panes = OpenPanes()
    for _ in range(1000):
        panes.add(entries([(1, 1, 1, 1)]))
        assert sum(map(len, panes.parts)) < 100
    assert listed(panes.close(2)) == [(1, 1, 1, 1000)]
