"""Several agents end where one would: whoever dies, comes, stays away, or does not know it yet."""

import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from agent.checkpoint import record
from agent.checkpoint.keeper import Keeper
from agent.checkpoint.medium import Memory
from agent.checkpoint.store import Checkpoints
from agent.closed import Closed, Facts
from agent.exchange import Exchange, messages
from agent.intake.source import RawBatch
from agent.offsets import Ranges
from agent.panes import Entries, summed
from agent.pipeline import Pipeline
from agent.profile_file import save
from agent.results import alarm_result
from tests.recorded import Log
from tests.watched import LATEST, configuration, reference

PARTITIONS, PANES = 12, "tocsin.panes"
PANES_PARTITIONS = 5


class Broker:
    """The recorded topics, and a panes topic that agents write to."""

    def __init__(self):
        self.log = Log(PARTITIONS)
        self.panes = {number: [] for number in range(PANES_PARTITIONS)}
        self.is_away = self.is_slow = False

    @property
    def is_settled(self):
        return not self.is_slow

    def send(self, topic, key, value, *, partition):
        if self.is_away:
            return False
        self.panes[partition].append(value)
        return True

    def flush(self, timeout):
        return not (self.is_away or self.is_slow)

    def read(self, at, start, n):
        if at[0] != PANES:
            return self.log.read(at, start, n)
        values = self.panes[at[1]][start : start + n]
        offsets = np.arange(start, start + len(values))
        return RawBatch(*at, values, offsets, offsets) if values else None

    def share(self, rank, members):
        """What the range assignor hands to a member of that rank."""
        found = []
        for topic, count in [*((t, PARTITIONS) for t in self.topics), (PANES, PANES_PARTITIONS)]:
            numbers = np.array_split(np.arange(count), members)[rank].tolist()
            found += [(topic, number) for number in numbers]
        return frozenset(found)

    @property
    def topics(self):
        return sorted({topic for topic, _ in self.log.topics})


class Member:
    """One agent of the group."""

    def __init__(self, config, broker, medium, batch=200, memory=2**24):
        self.broker, self.batch, self.alarms, self.medium = broker, batch, {}, medium
        self.pipeline = Pipeline(config)
        self.exchange = Exchange(self.pipeline, PANES, broker, lambda: PANES_PARTITIONS, memory)
        checkpoints = Checkpoints(medium)
        self.keeper = Keeper(self.pipeline, checkpoints, lambda: 0.0, 10.0, self.exchange)
        self.at, self.ahead, self.read_again = {}, 0, 0
        self.is_zombie = False  # the group has dropped it, and takes none of its commits

    def assigned(self, share):
        places = self.keeper.place(share).items()
        self.at = {at: min(offset or 0 for offset in offsets) for at, offsets in places}
        self.pipeline.assign([at for at in share if at[0] != PANES])
        self.pipeline.expect(lambda topic: PARTITIONS)
        return self

    def turn(self, save=True):
        """Whether there was anything to read."""
        read = [self.broker.read(at, offset, self.batch) for at, offset in self.at.items()]
        for batch in filter(None, read):
            if batch.topic == PANES:
                self.exchange.take(batch)
            else:
                self.pipeline.take(batch, LATEST, 0.0)
            self.at[batch.topic, batch.partition] = int(batch.offsets[-1]) + 1
        for alarm in self.pipeline.close():
            self.alarms[alarm.id] = alarm_result(alarm)
        self.ahead = max(self.ahead, *(m.merge.ahead() for m in self.pipeline.started()))
        for at, offset in self.exchange.again().items():
            self.exchange.read_again(at)
            self.at[at], self.read_again = offset, self.read_again + 1
        if self.exchange.is_uncertain:
            self.save()
        self.exchange.send()
        if save:
            self.save()
        return any(read)

    def save(self):
        assert self.keeper.save()
        if not self.is_zombie:
            self.keeper.confirm_own()


def canonical(payload):
    """A model's record without what depends on how it got there."""
    state = record.decode_model(payload, None).state
    merge = replace(state.merge, facts={})
    return record.CODEC.encode(
        "model", record.VERSION, "", replace(state, merge=merge, taken=0, taken_of=("", 0))
    )


def without_outbox(payload):
    """A fold's record without what it has closed lately, which an agent alone keeps for longer."""
    state = record.CODEC.decode("fold", record.VERSION, None, record._unpacked(payload))
    return record.CODEC.encode("fold", record.VERSION, "", replace(state, outbox=()))


def remembered(medium):
    names = ["credit", *(f"credit:{n}" for n in range(PARTITIONS))]
    found = {n: f.payload for n, f in Checkpoints(medium).open(names).items()}
    model = canonical(found.pop("credit"))
    return {"credit": model, **{n: without_outbox(payload) for n, payload in found.items()}}


@pytest.fixture
def config(tmp_path):
    save(reference(), tmp_path / "credit.profile")
    return configuration(tmp_path / "credit.profile", pane="1m")


@pytest.fixture(scope="module")
def broker():
    return Broker()


@pytest.fixture
def fresh(broker):
    broker.panes = {number: [] for number in range(PANES_PARTITIONS)}
    broker.is_away = broker.is_slow = False
    return broker


@pytest.fixture
def alone(config, broker):
    """One agent with everything in its process: its records and alarms."""
    pipeline, medium = Pipeline(config), Memory()
    keeper = Keeper(pipeline, Checkpoints(medium), lambda: 0.0, 10.0)
    keeper.place(frozenset(broker.log.topics))
    pipeline.assign(broker.log.topics)
    alarms, start = {}, 0
    while read := [b for at in broker.log.topics if (b := broker.log.read(at, start, 700))]:
        for batch in read:
            pipeline.take(batch, LATEST, 0.0)
        alarms |= {a.id: alarm_result(a) for a in pipeline.close()}
        start += 700
    keeper.save()
    keeper.save()  # with nothing left to hand on
    assert len(alarms) >= 2
    return remembered(medium), alarms


def finish(members, rounds=400):
    """Let all of them read to the end."""
    idle = 0
    for _ in range(rounds):
        idle = 0 if any([member.turn() for member in members]) else idle + 1
        if idle == 2:  # what was sent in the first of them has come
            return
    raise AssertionError("they never finish")


@pytest.mark.parametrize("count", [1, 3, 20])
def test_several_agents_end_as_one_does(config, fresh, alone, count):
    """More agents than partitions as well: some of them stand by."""
    medium = Memory()
    members = [
        Member(config, fresh, medium, 150 + 40 * i).assigned(fresh.share(i, count))
        for i in range(count)
    ]
    finish(members)
    state, alarms = alone
    assert remembered(medium) == state
    assert {k: v for member in members for k, v in member.alarms.items()} == alarms


MEMORY = 400_000


def far_apart(config, broker, medium, memory=MEMORY):
    """Three agents that read a backlog, the last of them a tenth as fast as the others."""
    return [
        Member(config, broker, medium, batch, memory).assigned(broker.share(i, 3))
        for i, batch in enumerate((60, 50, 8))
    ]


def test_panes_of_who_is_ahead_wait_in_the_topic(config, fresh, alone):
    medium = Memory()
    members = far_apart(config, fresh, medium)
    judge = next(m for m in members if m.pipeline.model("credit").is_judged)
    one_turn = 100_000  # closed by all partitions of an agent that is waited for
    finish(members)
    assert judge.read_again > 3
    assert judge.ahead < MEMORY + one_turn
    state, alarms = alone
    assert remembered(medium) == state
    assert judge.alarms == alarms


def test_without_a_bound_they_would_wait_in_memory(config, fresh):
    members = far_apart(config, fresh, Memory(), 2**40)
    finish(members)
    assert max(m.ahead for m in members) > 3 * MEMORY
    assert not any(m.read_again for m in members)


def test_what_waits_in_the_topic_outlives_the_judge(config, fresh, alone):
    medium, rung, left_out = Memory(), {}, 0
    for _ in range(6):
        members = far_apart(config, fresh, medium)
        for _ in range(15):
            for member in members:
                member.turn()
        rung |= {k: v for m in members for k, v in m.alarms.items()}
        left_out += any(m.pipeline.model("credit").left_out for m in members)
    assert left_out >= 3
    members = far_apart(config, fresh, medium)
    finish(members)
    state, alarms = alone
    assert remembered(medium) == state
    assert rung | {k: v for m in members for k, v in m.alarms.items()} == alarms


@pytest.mark.parametrize("are_left", [True, False])
def test_one_agent_goes_on_where_several_stopped(config, fresh, alone, are_left):
    """What they had sent and nobody had merged is read from the topic, once."""
    medium, rung, asked = Memory(), {}, []
    members = far_apart(config, fresh, medium)
    for _ in range(40):
        for member in members:
            member.turn()
    rung |= {k: v for m in members for k, v in m.alarms.items()}

    def panes_from(at, offset):
        asked.append(at)
        return fresh.panes[at[1]][offset:] if are_left else []

    for _ in range(2):  # at first it dies before its first checkpoint
        pipeline = Pipeline(config)
        keeper = Keeper(pipeline, Checkpoints(medium), lambda: 0.0, 10.0, panes_from=panes_from)
        places = keeper.place(frozenset(fresh.log.topics))
    pipeline.assign(fresh.log.topics)
    pipeline.expect(lambda topic: PARTITIONS)
    ats = {at: min(offset or 0 for offset in offsets) for at, offsets in places.items()}
    for _ in range(20):
        for at, start in ats.items():
            if batch := fresh.log.read(at, start, 100):
                pipeline.take(batch, LATEST, 0.0)
                ats[at] = start + len(batch)
        rung |= {a.id: alarm_result(a) for a in pipeline.close()}
    for _ in range(2):
        keeper.save()
    keeper.place(frozenset(fresh.log.topics))
    (judged,) = {at for at in asked}
    assert judged[0] == PANES and len(asked) == 2, "once it has a checkpoint it asks no more"
    state, alarms = alone
    assert (remembered(medium) == state) is are_left
    assert not are_left or rung == alarms


@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_dies_comes_or_lingers(config, fresh, alone, seed):
    """Members die without a word, new ones come, and zombies go on for a while after a rebalance:
    folding, saving, sending and judging what is not theirs any more."""
    random, medium, rung = np.random.default_rng(seed), Memory(), {}
    members, zombies = [], []
    for _ in range(12):
        count = int(random.integers(1, 5))
        zombies = [m for m in members if random.random() < 0.3]
        for zombie in zombies:
            zombie.is_zombie = True
        batches = random.integers(30, 300, count)
        members = [
            Member(config, fresh, medium, int(batches[i])).assigned(fresh.share(i, count))
            for i in range(count)
        ]
        for _ in range(int(random.integers(1, 6))):
            for member in random.permutation(np.array([*members, *zombies], dtype=object)):
                member.turn(save=bool(random.random() < 0.5))
        for member in [*members, *zombies]:
            rung |= member.alarms
    last = [Member(config, fresh, medium).assigned(fresh.share(i, 3)) for i in range(3)]
    finish(last)
    state, alarms = alone
    assert remembered(medium) == state
    for member in last:
        rung |= member.alarms
    assert rung == alarms


def test_a_panes_topic_that_is_away_loses_nothing_and_stops_the_reading(config, fresh, alone):
    medium = Memory()
    members = [Member(config, fresh, medium).assigned(fresh.share(i, 2)) for i in range(2)]
    fresh.is_away = True
    for _ in range(8):
        for member in members:
            member.turn()
    folds = [f for m in members for f in m.pipeline.model("credit").folds.values()]
    assert all(fold.outbox for fold in folds)
    assert not fresh.panes[members[0].exchange.partition_of("credit")]
    # Whoever takes over finds what was not sent.
    again = [Member(config, fresh, medium).assigned(fresh.share(i, 3)) for i in range(3)]
    fresh.is_away = False
    finish(again)
    assert remembered(medium) == alone[0]


def test_reading_stops_where_nobody_takes_what_is_closed(config, fresh, monkeypatch):
    monkeypatch.setattr("agent.fold.OUTBOX", 3)
    member = Member(config, fresh, Memory(), 60).assigned(fresh.share(0, 1))
    fresh.is_away = True
    turns = 0
    while not member.exchange.is_stuck:
        member.turn()
        turns += 1
    assert turns > 3
    fresh.is_away = False
    member.exchange.send()
    assert not member.exchange.is_stuck


def test_what_a_slow_broker_may_still_confirm_is_not_sent_again(config, fresh):
    member = Member(config, fresh, Memory(), 300).assigned(fresh.share(0, 1))
    folds = member.pipeline.model("credit").folds
    fresh.is_slow = True
    for _ in range(5):
        member.turn()
    sent = sum(map(len, fresh.panes.values()))
    closed = {n: len(fold.outbox) for n, fold in folds.items()}
    assert sent == PARTITIONS and max(closed.values()) > 2
    fresh.is_slow = False
    member.exchange.send()
    assert sum(map(len, fresh.panes.values())) == sum(closed.values())
    assert not any(fold.outbox for fold in folds.values())


def test_nothing_is_sent_before_what_was_closed_earlier_is_confirmed(config, fresh):
    """Else a message that is lost, and one after it that is not, would leave a gap for good."""
    member = Member(config, fresh, Memory(), 300).assigned(fresh.share(0, 1))
    fresh.is_away = True
    for _ in range(5):
        member.turn()
    folds = member.pipeline.model("credit").folds
    closed = {n: len(fold.outbox) for n, fold in folds.items()}
    rounds, layout = [[]], folds[0].layout

    def send(topic, key, value, *, partition):
        rounds[-1].append(record.decode_closed(value, {"credit": layout}, "tocsin")[1])
        return True

    def flush(timeout):
        rounds.append([])
        return len(rounds) > 2  # the first one fails

    member.exchange._outlet = SimpleNamespace(send=send, flush=flush, is_settled=True)
    member.exchange.send()
    assert {n: len(fold.outbox) for n, fold in folds.items()} == closed
    member.exchange.send()
    assert not any(fold.outbox for fold in folds.values())
    assert len(rounds) - 2 == max(closed.values()) > 2
    for sent in rounds:
        assert len({c.partition for c in sent}) == len(sent)
    assert [c.before for c in rounds[0]] == [c.before for c in rounds[1]]


def test_a_topic_that_takes_nothing_is_tried_once_a_turn(config, fresh):
    member = Member(config, fresh, Memory(), 900).assigned(fresh.share(0, 1))
    tried = []
    member.exchange._outlet = SimpleNamespace(send=lambda *a, **more: tried.append(a))
    member.turn()
    assert len(tried) == 1


def test_nothing_is_judged_before_it_is_known_which_partitions_there_are(config, fresh):
    medium = Memory()
    members = [Member(config, fresh, medium).assigned(fresh.share(i, 2)) for i in range(2)]
    for member in members:
        member.pipeline.model("credit").merge.expected = frozenset()
        member.pipeline.expect(lambda topic: 0)
    for _ in range(5):
        members[0].turn()
        (judge,) = [m for m in members if m.pipeline.model("credit").is_judged]
        judge.turn()
    model = judge.pipeline.model("credit")
    assert model.merge.frontier and not model.panes
    judge.pipeline.expect(lambda topic: PARTITIONS)
    assert model.merge.expected == frozenset(range(PARTITIONS))
    judge.pipeline.expect(lambda topic: 0)
    assert model.merge.expected == frozenset(range(PARTITIONS))


def test_who_has_nothing_left_neither_folds_nor_judges(config, fresh):
    member = Member(config, fresh, Memory(), 900).assigned(fresh.share(0, 1))
    member.turn()
    member.keeper.stand_by()
    model = member.pipeline.model("credit")
    assert not model.folds and not model.is_judged and not member.keeper.saved_at
    member.keeper.stand_by()
    assert member.pipeline.model("credit") is model


@pytest.mark.parametrize("content", [5, (["credit"], None), ("credit", 7), ("credit", {"a": 1})])
def test_a_message_that_somebody_else_has_written_is_refused(config, fresh, content):
    member = Member(config, fresh, Memory()).assigned(fresh.share(0, 1))
    layout = member.pipeline.model("credit").layout
    number = member.exchange.partition_of("credit")
    data = record.CODEC.encode(record.PANES, record.VERSION, record.layout_hash(layout), content)
    fresh.panes[number].append(zlib.compress(data))
    member.exchange.take(fresh.read((PANES, number), 0, 1))
    assert member.exchange.refused == 1


def test_what_a_silent_partition_closes_waits_for_a_checkpoint(config, fresh):
    member = Member(config, fresh, Memory(), 3_000).assigned(fresh.share(0, 1))
    member.turn(save=False)
    sent = sum(map(len, fresh.panes.values()))
    model = member.pipeline.model("credit")
    fold = model.folds[3]
    late = max(f.clocks.predictions.newest for f in model.folds.values()) + 600_000
    member.pipeline._arrived[("credit.predictions", 3)] = 0.0
    for predictions in (True, False):
        model.silent(predictions, 3, late)
    member.pipeline.close()
    assert fold.outbox and not fold.is_certain and member.exchange.is_uncertain
    member.exchange.send()
    assert sum(map(len, fresh.panes.values())) == sent
    assert member.keeper.save()
    member.exchange.send()
    # A zombie has saved, too: not before the group is known to know it.
    assert sum(map(len, fresh.panes.values())) == sent
    member.keeper.confirm_own()
    member.exchange.send()
    assert not fold.outbox
    assert sum(map(len, fresh.panes.values())) == sent + 1


def test_large_messages_are_cut(config, fresh, monkeypatch):
    member = Member(config, fresh, Memory(), 5_000).assigned(fresh.share(0, 1))
    for batch in filter(None, [fresh.read(at, 0, 5_000) for at in fresh.log.topics]):
        member.pipeline.take(batch, LATEST, 0.0)
    member.pipeline.close()
    model = member.pipeline.model("credit")
    closed = model.folds[0].outbox[0]
    monkeypatch.setattr("agent.exchange.LARGEST", 5_000)
    cut = [
        record.decode_closed(m, {"credit": model.layout}, "tocsin") for m in messages(model, closed)
    ]
    assert len(cut) > 3
    befores = [part.before for _, part in cut]
    assert befores == sorted(set(befores)) and befores[-1] == closed.before
    for name in ("detected", "shown"):
        parts = [getattr(part, name) for _, part in cut]
        for column in ("pane", "bucket", "cell", "weight"):
            whole = getattr(getattr(closed, name), column)
            assert np.array_equal(np.concatenate([getattr(p, column) for p in parts]), whole)


def test_a_message_for_other_cells_is_refused_and_counted(config, fresh, tmp_path):
    wider = configuration(tmp_path / "credit.profile", pane="2m", windows=["10m", "1h"])
    other = Member(wider, fresh, Memory(), 3_000).assigned(fresh.share(0, 1))
    other.turn()
    member = Member(config, fresh, Memory()).assigned(fresh.share(0, 1))
    number = member.exchange.partition_of("credit")
    fresh.panes[number].append(b"rubbish")
    member.exchange.take(fresh.read((PANES, number), 0, 10_000))
    assert member.exchange.refused == len(fresh.panes[number]) > 1
    assert not member.pipeline.model("credit").merge.frontier


class Corrected:
    """A pane in which many earlier ones are corrected: too much for one message."""

    def __init__(self, entries, before=1_000, extra=0):
        random = np.random.default_rng(7)
        made = []
        for size in (entries, entries // 3):
            bucket, cell = random.integers(0, 900, size), random.integers(0, 40, size)
            pane = np.full(size, before - 1)
            made.append(summed([Entries(pane, bucket, cell, random.integers(1, 9, size))]))
        ranges = Ranges(np.array([before - 1]), np.array([5]), np.array([9]))
        facts = Facts(1, 2, 3, 4, 5, 6, 7)
        self.closed = Closed(
            0, before + extra, *made, (("credit.feedback", ranges),), ("a",), facts
        )


@pytest.fixture
def judge(config, fresh, monkeypatch):
    monkeypatch.setattr("agent.exchange.LARGEST", 20_000)
    monkeypatch.setattr("agent.exchange.ENTRIES", 1_000)
    return Member(config, fresh, Memory()).assigned(fresh.share(0, 1))


def arrive(judge, *messages):
    number = judge.exchange.partition_of("credit")
    topic = judge.broker.panes[number]
    start = len(topic)
    topic.extend(messages)
    judge.exchange.take(judge.broker.read((PANES, number), start, len(messages)))
    return judge.pipeline.model("credit").merge


def held(merge):
    pending = merge.pending[0]
    return [
        [getattr(store.capture(), name).tolist() for name in ("pane", "bucket", "cell", "weight")]
        for store in (pending.detected, pending.shown)
    ], pending.offsets.capture()


@pytest.mark.parametrize("extra", [0, 30])
def test_a_pane_too_large_for_a_message_comes_in_pieces(judge, extra):
    model, closed = judge.pipeline.model("credit"), Corrected(6_500, extra=extra).closed
    pieces = messages(model, closed)
    assert len(pieces) == 6 + (extra > 0) and max(map(len, pieces)) < 20_000
    merge = arrive(judge, *pieces[:3])
    assert 0 not in merge.frontier and not merge.pending
    merge = arrive(judge, *pieces[1:2], *pieces[:5], *pieces[3:])  # sent again by another
    assert merge.frontier[0] == closed.before
    assert held(merge)[0] == [
        [getattr(e, name).tolist() for name in ("pane", "bucket", "cell", "weight")]
        for e in (closed.detected, closed.shown)
    ]
    assert held(merge)[1]["credit.feedback"].last.tolist() == [9]
    before = held(merge)
    assert held(arrive(judge, *pieces)) == before
    assert judge.exchange.refused == 0


def test_pieces_of_a_pane_outlive_the_judge(judge, config, fresh):
    pieces = messages(judge.pipeline.model("credit"), Corrected(6_500).closed)
    arrive(judge, *pieces[:4])
    judge.save()
    next_one = Member(config, fresh, judge.medium).assigned(fresh.share(0, 1))
    at = (PANES, next_one.exchange.partition_of("credit"))
    assert next_one.at[at] == 4
    merge = arrive(next_one, *pieces[4:])
    assert held(merge) == held(arrive(judge, *pieces[4:]))


def test_pieces_of_a_pane_that_is_closed_otherwise_later_count_once(judge):
    """Whoever sent some of them died, and the next one closed more at once."""
    model = judge.pipeline.model("credit")
    first, whole = Corrected(6_500).closed, Corrected(2_900, before=1_001).closed
    arrive(judge, *messages(model, first)[:4])
    merge = arrive(judge, *messages(model, whole))
    assert merge.frontier[0] == 1_001 and not merge.begun
    assert held(merge)[0][0][3] == whole.detected.weight.tolist()
