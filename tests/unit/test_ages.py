"""Whether predictions have a label at each age: however they came, exactly once."""

from collections import Counter

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.ages import Ages
from agent.join import Join
from agent.panes import PartitionClock
from tests.unit.test_join import (
    AGAIN,
    IN_OPEN_PANE,
    LATENESS,
    PANE,
    PLENTY,
    feedback,
    groups_of,
    orders,
    predictions,
    topics,
)

PARTS = (10, 3, 1)


def ages_of(horizon):
    return tuple(horizon // part for part in PARTS)


def protected_of(batch):
    return np.zeros((len(batch), 0), dtype=np.int32)


def oracle(horizon, corrections, early, predicted, outcomes, until):
    """The rules, one prediction and one record at a time, up to a time that all have passed."""
    known, kept = {}, []
    for id_, time, serial in predicted:
        if id_ not in known or abs(time - known[id_][-1]) > horizon:
            known.setdefault(id_, []).append(time)
            kept.append((id_, time, serial))
    found = Counter()
    for id_, time, _ in kept:
        mine = []  # feedback goes to the oldest prediction of its id whose time fits
        for other, came, label in outcomes:
            if other == id_:
                fits = [t for t in known[id_] if -early <= came - t <= horizon + corrections]
                if fits and fits[0] == time:
                    mine.append((came, label))
        for number, age in enumerate(ages_of(horizon)):
            label, joined = None, None
            for came, value in (m for m in mine if m[0] - time < age):
                if value is not None and label is None:
                    label, joined = value, max(came, time)
                elif label is not None and value != label and came - joined <= corrections:
                    label = value
            due = -(-(time + age) // PANE) * PANE  # such ages have stretches of one pane
            if due <= until:
                found[due - 1, number, label is not None] += 1
    return found


def play(join, predicted, outcomes, order):
    """Run both topics through a join, and ask it whenever a pane can be closed."""
    told, asked = Counter(), 0
    clocks = {True: PartitionClock(PANE, LATENESS), False: PartitionClock(PANE, LATENESS)}
    left = {True: list(predicted), False: list(outcomes)}

    def ask(until):
        nonlocal asked
        aged = join.aged(until)
        assert (aged.time >= asked).all()  # its pane is not closed yet
        assert (aged.time < until).all()
        told.update(zip(aged.time.tolist(), aged.age.tolist(), aged.labelled.tolist(), strict=True))
        asked = max(asked, until)

    for first, n in [*order, (True, 10**6), (False, 10**6)]:
        part, left[first] = left[first][:n], left[first][n:]
        clocks[first].assign(np.array([t for _, t, _ in part], dtype=np.int64))
        if first:
            batch = predictions(part)
            join.predictions(batch, groups_of(batch), protected_of(batch))
        else:
            join.feedback(feedback(part), 1, 2, 0)
        until = min(clock.open_from for clock in clocks.values())
        if until > asked:
            ask(until)
            join.expire(clocks[True].open_from, until)
    end = max(clock.newest for clock in clocks.values()) // PANE * PANE + PANE
    ask(max(end, asked))
    return told, max(end, asked)


@given(topics(), orders)
@example(AGAIN, [])
@example(AGAIN, [(True, 1), (False, 1), (True, 1)])
@example(IN_OPEN_PANE, [(False, 1), (True, 1), (True, 1)])
# Withdrawn, and given again, before and after an age.
@example(
    ((100, 60, 0), [(1, 1000, 0)], [(1, 1003, 1.0), (1, 1020, None), (1, 1050, 0.0)]),
    [(True, 1), (False, 3)],
)
@settings(max_examples=600, deadline=None)
def test_any_interleaving_and_batching_tells_the_same(made, order):
    (horizon, corrections, early), predicted, outcomes = made
    if not predicted and not outcomes:
        return
    join = Join(horizon, corrections, early, PLENTY, Ages(ages_of(horizon), PANE))
    told, until = play(join, predicted, outcomes, order)
    assert told == oracle(horizon, corrections, early, predicted, outcomes, until)


def test_there_is_something_to_tell():
    """What the rules say of a prediction that is labelled, withdrawn and labelled again."""
    outcomes = [(1, 1003, 1.0), (1, 1020, None), (1, 1050, 0.0)]
    found = oracle(100, 60, 0, [(1, 1000, 0), (2, 1000, 1)], outcomes, 2000)
    assert found == {
        (1009, 0, True): 1,
        (1009, 0, False): 1,
        (1039, 1, False): 2,
        (1099, 2, True): 1,
        (1099, 2, False): 1,
    }


@given(st.integers(0, 1000), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_long_ages_are_told_of_in_stretches(seed, step):
    """Each prediction once, at the end of the stretch in which it reaches the age."""
    random = np.random.default_rng(seed)
    ages = Ages((64_000, 640_000), PANE)
    assert ages.stretches == (2_000, 20_000)
    rows = [(i, int(t), i) for i, t in enumerate(np.sort(random.integers(0, 100_000, 300)))]
    join = Join(640_000, 0, 0, PLENTY, ages)
    batch = predictions(rows)
    join.predictions(batch, groups_of(batch), protected_of(batch))
    told = Counter()
    for until in range(0, 800_000, step * 1000 // PANE * PANE):
        aged = join.aged(until)
        told.update(zip(aged.time.tolist(), aged.age.tolist(), strict=True))
    aged = join.aged(800_000)
    told.update(zip(aged.time.tolist(), aged.age.tolist(), strict=True))
    expected = Counter()
    for _, time, _ in rows:
        for number, (age, stretch) in enumerate(zip(ages.ages, ages.stretches, strict=True)):
            expected[-(-(time + age) // stretch) * stretch - 1, number] += 1
    assert told == expected
