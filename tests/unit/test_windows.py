"""Sliding windows against plain sums over the panes they cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.panes import Entries
from agent.windows import BUCKETS, Window

SIZE = 6


def entries(rows):
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Entries(*(np.array(c, dtype=np.int64) for c in columns))


def brute_force(rows, span, last, width):
    """Sum over the buckets that lie in the last `span` panes, as of pane `last`."""
    total = np.zeros(SIZE, dtype=np.int64)
    for pane, bucket, cell, weight in rows:
        inside = (bucket // width) * width > last - span
        if pane <= last and inside:
            total[cell] += weight
    return total


def traffic(data):
    """Rows (pane, bucket, cell, weight) in the order of their panes; some change older buckets."""
    pane, rows = 0, []
    for step, back, cell, weight in data:
        pane += step
        rows.append((pane, max(pane - back, 0), cell, weight))
    return rows


steps = st.tuples(
    st.sampled_from([0, 0, 1, 1, 2, 7, 60]),
    st.sampled_from([0, 0, 0, 1, 5, 30, 200]),
    st.integers(0, SIZE - 1),
    st.integers(-2, 3),
)


@given(
    st.lists(steps, max_size=40),
    st.sampled_from([1, 2, 5, 19, 20, 30, 45, 100]),
    st.lists(st.integers(1, 10), max_size=12),
)
@settings(max_examples=300, deadline=None)
def test_a_window_is_the_sum_of_the_panes_it_covers(data, span, chunks):
    rows = traffic(data)
    window = Window(span, SIZE)
    start = 0
    for n in [*chunks, len(rows)]:
        part = rows[start : start + n]
        start += n
        if not part:
            continue
        # Panes close whole.
        while start < len(rows) and rows[start][0] == part[-1][0]:
            part.append(rows[start])
            start += 1
        last = part[-1][0]
        window.add(entries(part))
        window.slide(last)
        expected = brute_force(rows[:start], span, last, window.width)
        assert window.total.tolist() == expected.tolist()
        by_bucket = sum(
            np.array([window.bucket_sum(b, c, c + 1) for c in range(SIZE)])
            for b in window.bucket_numbers()
        )
        assert np.array_equal(by_bucket if window.buckets else expected, expected)


@pytest.mark.parametrize("span", [1, 6, 20, 30, 360, 8640])
def test_a_window_covers_its_span_to_within_a_bucket(span):
    window = Window(span, 1)
    for pane in range(3 * span):
        window.add(entries([(pane, pane, 0, 1)]))
        window.slide(pane)
        if pane >= span:
            assert span - window.width < window.total[0] <= span
    assert window.width <= max(1, span // BUCKETS)
    assert len(window.buckets) < 2 * BUCKETS


def test_a_correction_reaches_the_bucket_that_holds_the_old_outcome():
    window = Window(40, SIZE)
    window.add(entries([(100, 100, 0, 1)]))
    window.slide(100)
    window.add(entries([(110, 100, 0, -1), (110, 100, 1, 1)]))
    window.slide(110)
    assert window.total.tolist() == [0, 1, 0, 0, 0, 0]
    # Both leave together, although the correction came later.
    window.slide(145)
    assert window.total.tolist() == [0] * SIZE


def test_a_correction_of_what_has_left_is_dropped():
    window = Window(40, SIZE)
    window.add(entries([(100, 100, 0, 1), (150, 150, 0, 1)]))
    window.slide(150)
    window.add(entries([(151, 100, 0, -1), (151, 100, 1, 1)]))
    window.slide(151)
    assert window.total.tolist() == [1, 0, 0, 0, 0, 0]
    window.slide(10_000)
    assert window.total.tolist() == [0] * SIZE


def test_a_full_bucket_turns_dense_and_still_leaves_exactly():
    random = np.random.default_rng(1)
    window, size = Window(20, 64), 64
    rows = [(p, p, int(c), 1) for p in range(20) for c in random.integers(0, size, 200)]
    window.add(entries(rows[: len(rows) // 2]))
    window.add(entries(rows[len(rows) // 2 :]))
    assert any(b.dense is not None for b in window.buckets.values())
    assert window.bucket_sum(3, 0, size) == 200
    window.slide(19 + 20)
    assert not window.total.any()


@pytest.mark.parametrize("span", [1, 20, 30, 39, 45, 360])
def test_the_buckets_of_a_full_window_are_all_numbered(span):
    window = Window(span, 1)
    for pane in range(3 * span):
        window.add(entries([(pane, pane, 0, 1)]))
        window.slide(pane)
    numbers = window.bucket_numbers()
    assert list(numbers) == sorted(window.buckets)
    assert sum(window.bucket_sum(b, 0, 1) for b in numbers) == window.total[0]
