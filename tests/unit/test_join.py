"""The join against a slow and obvious dictionary of the same rules."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.join import DELAY_BOUNDS, Join
from agent.panes import PartitionClock
from detectors.batch import Batch, Feedback

PANE, LATENESS = 10, 15
PLENTY = 2**40


def predictions(rows):
    """A batch of (id, time, serial number): the serial number stands in as the prediction."""
    n = len(rows)
    ids, times, serials = zip(*rows, strict=True) if rows else ((), (), ())
    serial = np.array(serials, dtype=float)
    return Batch(
        np.array(times, dtype=np.int64),
        np.array(ids, dtype=np.uint64),
        np.zeros(n, dtype=np.int32),
        np.zeros((n, 0)),
        np.zeros((n, 0), dtype=bool),
        np.zeros((n, 0), dtype=np.int32),
        serial,
        serial[:, None] / 1000,
        np.full(n, np.nan),
    )


def groups_of(batch):
    return np.stack([np.zeros(len(batch)), batch.prediction], axis=1).astype(np.int32)


def protected_of(batch):
    return batch.prediction[:, None].astype(np.int32) % 1000


def feedback(rows):
    ids, times, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Feedback(
        np.array(times, dtype=np.int64),
        np.array(ids, dtype=np.uint64),
        np.array([np.nan if v is None else v for v in labels], dtype=float),
    )


def rows_of(outcomes):
    """Joined rows as (time, serial number, label, sign); the columns must belong together."""
    assert np.array_equal(outcomes.score[:, 0], outcomes.prediction / 1000)
    assert np.array_equal(outcomes.group[:, 1], outcomes.prediction)
    assert np.array_equal(outcomes.protected[:, 0], outcomes.prediction % 1000)
    columns = (outcomes.time, outcomes.prediction, outcomes.label, outcomes.sign)
    return list(zip(*(c.tolist() for c in columns), strict=True))


@dataclass
class Result:
    """All that a join does, over its whole life."""

    new: list = field(default_factory=list)
    joined: Counter = field(default_factory=Counter)
    corrections: Counter = field(default_factory=Counter)
    counts: Counter = field(default_factory=Counter)
    delays: list = field(default_factory=list)

    def add(self, outcomes, corrections):
        self.joined.update(rows_of(outcomes))
        effective = corrections.effective.tolist()
        rows = rows_of(corrections.rows)
        self.corrections.update(zip(effective, rows, strict=True))


@dataclass
class Remembered:
    time: int
    serial: int
    label: float | None = None
    joined: int | None = None


def oracle(horizon, corrections, early, predicted, outcomes):
    """The rules, one record at a time: all predictions first, then all feedback."""
    result = Result()
    known = {}
    for id_, time, serial in predicted:
        of = known.setdefault(id_, [])
        new = not of or abs(time - of[-1].time) > horizon
        result.new.append(new)
        if new:
            of.append(Remembered(time, serial))
    delays = []
    for id_, time, label in outcomes:
        fits = [p for p in known.get(id_, []) if -early <= time - p.time <= horizon + corrections]
        if not fits:
            result.counts["orphan"] += 1
            continue
        p = fits[0]
        in_time = time - p.time <= horizon
        if label is None:
            result.counts["withdrawn"] += 1
        elif p.label is None:
            result.counts["joined" if in_time else "expired"] += 1
            if in_time:
                p.label, p.joined = label, max(time, p.time)
                result.joined[p.joined, p.serial, label, 1] += 1
                delays.append(p.joined - p.time)
            continue
        elif p.label == label:
            result.counts["duplicate"] += 1
            continue
        else:
            result.counts["corrected"] += 1
        if p.label is not None and time - p.joined <= corrections:
            result.corrections[time, (p.joined, p.serial, p.label, -1)] += 1
            if label is not None:
                result.corrections[time, (p.joined, p.serial, label, 1)] += 1
            p.label = label
    edges = [-1, *DELAY_BOUNDS.tolist(), float("inf")]
    result.delays = [sum(a < d <= b for d in delays) for a, b in pairwise(edges)]
    return result


def assigned(times):
    """Times as a partition's clock puts them into panes."""
    return PartitionClock(PANE, LATENESS).assign(np.array(times, dtype=np.int64))[0].tolist()


def play(join, predicted, outcomes, order, expire=True):
    """Run both topics through a join: `order` lists (of predictions?, rows to take)."""
    result = Result()
    clocks = {True: PartitionClock(PANE, LATENESS), False: PartitionClock(PANE, LATENESS)}
    left = {True: list(predicted), False: list(outcomes)}
    for first, n in [*order, (True, 10**6), (False, 10**6)]:
        part, left[first] = left[first][:n], left[first][n:]
        # The times have been assigned already: this only moves the watermark.
        clocks[first].assign(np.array([t for _, t, _ in part], dtype=np.int64))
        if first:
            batch = predictions(part)
            new, *made = join.predictions(batch, groups_of(batch), protected_of(batch))
            result.new += new.tolist()
        else:
            made = join.feedback(feedback(part), 1, 2, 1)
        result.add(*made)
        if expire:
            both = min(clock.open_from for clock in clocks.values())
            join.expire(clocks[True].open_from, both)
    join.finish()
    result.counts = +join.counts
    result.delays = join.delays.tolist()
    return result


ids = st.integers(0, 3)
steps = st.integers(-20, 60)  # between one record and the next: some are late, some far later


@st.composite
def topics(draw):
    """Predictions and feedback of few ids in the order of their topics, times roughly rising."""
    horizon = draw(st.sampled_from([20, 100]))
    corrections = draw(st.sampled_from([0, 15, 60]))
    early = draw(st.sampled_from([0, 12, 50]))

    def times(n):
        now, made = 1000, []
        for _ in range(n):
            now = max(now + draw(steps), 0)
            made.append(now)
        return made

    n, m = draw(st.integers(0, 12)), draw(st.integers(0, 14))
    predicted = [(draw(ids), t, i) for i, t in enumerate(assigned(times(n)))]
    labels = st.sampled_from([None, 0.0, 1.0])
    outcomes = [(draw(ids), t, draw(labels)) for t in assigned(times(m))]
    return (horizon, corrections, early), predicted, outcomes


orders = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=14)

# An id that comes again a horizon later, in one batch and in two.
AGAIN = ((20, 0, 0), [(1, 1000, 0), (1, 1030, 1)], [(1, 1005, 1.0), (1, 1035, 0.0)])
# A prediction that is put into a pane which the watermark has entered, but not left.
IN_OPEN_PANE = ((100, 0, 0), [(0, 1016, 0), (1, 1000, 1)], [(1, 1000, 1.0)])


@given(topics(), orders)
@example(AGAIN, [])
@example(AGAIN, [(True, 2), (False, 1)])
@example(AGAIN, [(True, 1), (False, 1), (True, 1)])
@example(IN_OPEN_PANE, [(False, 1), (True, 1), (True, 1)])
@settings(max_examples=600, deadline=None)
def test_any_interleaving_and_batching_gives_what_the_rules_say(made, order):
    parameters, predicted, outcomes = made
    got = play(Join(*parameters, PLENTY), predicted, outcomes, order)
    want = oracle(*parameters, predicted, outcomes)
    assert got.new == want.new
    assert got.joined == want.joined
    assert got.corrections == want.corrections
    assert got.counts == +want.counts
    assert got.delays == want.delays


@given(st.integers(0, 10_000), st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_many_rows_in_many_blocks_equal_the_rules(seed, batch):
    """Enough rows for blocks to be merged, searched and forgotten."""
    random = np.random.default_rng(seed)
    n = 600
    drawn = random.integers(0, 400, n)
    predicted = [(int(i), 1000 + 7 * k, k) for k, i in enumerate(drawn)]
    rows = [
        (int(i), 1000 + 7 * k + int(random.integers(-20, 900)), float(random.integers(0, 3)))
        for k, i in enumerate(drawn)
        for _ in range(random.integers(0, 3))
    ]
    rows = [(i, t, None if v == 2 else v) for i, t, v in sorted(rows, key=lambda r: r[1])]
    outcomes = [
        (i, t, v) for (i, _, v), t in zip(rows, assigned([r[1] for r in rows]), strict=True)
    ]
    order = [(bool(random.random() < 0.5), int(k)) for k in random.integers(1, batch + 1, 60)]
    got = play(Join(700, 300, 30, PLENTY), predicted, outcomes, order)
    want = oracle(700, 300, 30, predicted, outcomes)
    assert (got.new, got.joined, got.corrections) == (want.new, want.joined, want.corrections)
    assert got.counts == +want.counts


def test_memory_is_bounded_and_what_is_forgotten_is_counted():
    join = Join(10**9, 0, 0, 100_000)
    for start in range(0, 20_000, 500):
        batch = predictions([(i, 1000 + i, i) for i in range(start, start + 500)])
        join.predictions(batch, groups_of(batch), protected_of(batch))
        join.expire(0, 0)
        assert join.blocks.bytes <= 100_000
    kept = join.remembered[0]
    assert join.counts["forgotten"] == 20_000 - kept
    assert kept > 1000
    # The newest are still there, the oldest are not.
    outcomes, _ = join.feedback(feedback([(19_999, 30_000, 1.0), (0, 30_000, 1.0)]), 1, 2, 1)
    assert rows_of(outcomes) == [(30_000, 19_999.0, 1.0, 1)]
    join.finish()
    assert join.counts["orphan"] == 1


def test_what_no_label_can_reach_is_forgotten_silently():
    join = Join(100, 50, 0, PLENTY)
    batch = predictions([(i, 1000 + i, i) for i in range(10)])
    join.predictions(batch, groups_of(batch), protected_of(batch))
    join.expire(1159, 1159)
    assert join.remembered == (1, 0)  # the last one may be labelled until 1159
    join.expire(1160, 1160)
    assert join.remembered == (0, 0)
    assert join.counts["forgotten"] == 0


def test_feedback_waits_for_its_prediction_as_long_as_it_may_come_early():
    join = Join(100, 0, 50, PLENTY)
    join.feedback(feedback([(1, 1000, 1.0), (2, 1000, 1.0)]), 1, 2, 1)
    join.expire(1050, 0)
    assert join.counts["orphan"] == 0
    batch = predictions([(1, 1050, 7)])
    _, outcomes, _ = join.predictions(batch, groups_of(batch), protected_of(batch))
    assert rows_of(outcomes) == [(1050, 7.0, 1.0, 1)]
    join.expire(1051, 0)
    assert join.counts["orphan"] == 1
    assert join.waiting == []


def test_labels_known_are_counted():
    join = Join(100, 50, 0, PLENTY)
    batch = predictions([(i, 1000, i) for i in range(4)])
    join.predictions(batch, groups_of(batch), protected_of(batch))
    join.feedback(feedback([(0, 1001, 1.0), (1, 1001, 0.0), (1, 1002, None)]), 1, 2, 1)
    assert join.remembered == (4, 1)


@pytest.mark.parametrize("known", [True, False])
def test_one_id_on_every_record_is_no_catastrophe(known):
    """A producer that sends the same id for ever costs time in proportion to its records."""
    join = Join(10**6, 0, 0, PLENTY)
    batch = predictions([(1, 1000, k) for k in range(20_000 if known else 0)])
    new, *_ = join.predictions(batch, groups_of(batch), protected_of(batch))
    assert new.sum() == known
    outcomes, _ = join.feedback(feedback([(1, 1000, 1.0)] * 5_000), 1, 2, 1)
    assert len(outcomes) == known
    assert join.counts["duplicate"] == (4_999 if known else 0)
