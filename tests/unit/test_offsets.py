"""The records that an alarm rests on: the same however batched, and bounded."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.offsets import OffsetBook, OpenOffsets
from agent.windows import BUCKETS, Window
from tests.watched import FEEDBACK, LATEST, MINUTE, MOVED, PREDICTIONS, Watched

AT = ("t", 0)


def windows(*spans):
    return [Window(span, 1) for span in spans]


def put_into(book, at, pane, offset):
    """Records of a partition that closes their panes at once."""
    partition = OpenOffsets()
    partition.add(at[0], pane, offset)
    for topic, ranges in partition.close(2**62):
        book.add((topic, at[1]), ranges)


records = st.lists(st.integers(0, 300), max_size=80)


@given(records, st.lists(st.integers(0, 80), max_size=4), st.integers(1, 300), st.data())
@settings(max_examples=200, deadline=None)
def test_first_and_last_are_those_of_the_panes_whatever_the_batches(panes, cuts, before, data):
    """Panes of one bucket each: exact. No row is put into a pane that is closed."""
    book, now = OffsetBook(windows(BUCKETS)), 0
    pieces = np.split(np.arange(len(panes)), sorted(c for c in cuts if c <= len(panes)))
    floor = 0
    put = []
    for piece in pieces:
        pane = np.maximum(np.array([panes[i] for i in piece], dtype=np.int64), floor)
        put += list(zip(pane.tolist(), piece.tolist(), strict=True))
        put_into(book, AT, pane, piece.astype(np.int64))
        floor = data.draw(st.integers(floor, max(before, floor)))
        book.advance(floor)
    book.advance(max(before, floor))
    now = max(before, floor)
    since = data.draw(st.integers(now - BUCKETS, now))
    there = [i for pane, i in put if since <= pane < now]
    found = book.since(since, now)
    assert found == ([(AT, min(there), max(there))] if there else [])


def test_older_panes_come_from_the_window_that_reaches_them_in_whole_buckets():
    book = OffsetBook(windows(30, 2000))
    for pane in range(1000):
        put_into(book, AT, np.array([pane]), np.array([10 * pane]))
        put_into(book, ("u", 1), np.array([pane]), np.array([pane]))
    book.advance(1000)
    assert book.since(990, 1000) == [(AT, 9900, 9990), (("u", 1), 990, 999)]
    assert book.since(150, 1000) == [(AT, 1000, 9990), (("u", 1), 100, 999)]
    assert book.since(-(10**9), 1000) == [(AT, 0, 9990), (("u", 1), 0, 999)]


def test_it_is_bounded_however_long_it_runs():
    book, most = OffsetBook(windows(30, 360, 8640)), 0
    for pane in range(20_000):
        put_into(book, AT, np.full(3, pane), np.arange(3 * pane, 3 * pane + 3))
        if pane % 50 == 49:
            book.advance(pane)
            (partition,) = book._partitions.values()
            kept = (*partition.open, *partition.closed.values())
            most = max(most, sum(len(r.number) for r in kept))
    assert most <= 50 + 3 * 2 * BUCKETS


def rung(path, rows_at_once):
    """The alarm on a change of `income`, its records read in pieces."""
    watched = Watched(path)
    parts = [watched.traffic.until(10 * MINUTE), watched.traffic.until(14 * MINUTE, income=MOVED)]
    alarms, values = [], {PREDICTIONS: [], FEEDBACK: []}
    for batches in parts:
        for batch in batches:
            values[batch.topic] += batch.values
        n = len(batches[0])
        for start in range(0, n, rows_at_once):
            for batch in batches:
                part = slice(start, start + rows_at_once)
                piece = type(batch)(
                    batch.topic, 0, batch.values[part], batch.offsets[part], batch.times[part]
                )
                watched.pipeline.take(piece, LATEST, 0.0)
            alarms += watched.pipeline.close()
    return alarms, values


def test_an_alarm_names_the_records_from_its_onset_on(tmp_path):
    (alarm,), values = rung(tmp_path / "a", 10**6)
    assert [(o.topic, o.partition) for o in alarm.offsets] == [(FEEDBACK, 0), (PREDICTIONS, 0)]
    predictions = alarm.offsets[1]
    times = [json.loads(v)["timestamp"] for v in values[PREDICTIONS]]
    inside = [i for i, t in enumerate(times) if alarm.onset <= t < alarm.raised_at]
    assert (predictions.first, predictions.last) == (inside[0], inside[-1])


def test_an_alarm_names_the_same_records_however_they_were_read(tmp_path):
    (whole,), _ = rung(tmp_path / "a", 10**6)
    (parts,), _ = rung(tmp_path / "b", 37)
    assert parts == whole and parts.offsets
