"""Real loops share the work and end as one would: whoever dies, sleeps, is cut off or is slow."""

import json
from contextlib import suppress
from functools import cache

import numpy as np
import pytest

from agent.checkpoint import record
from agent.checkpoint.medium import Memory
from agent.config import Config
from agent.pipeline import Pipeline
from agent.profile_file import save
from tests.group import PANES, TOPICS, Died, Group, Member, Records, calm, finish, quiet
from tests.group import remembered as remembered_of
from tests.group import rows as rows_of
from tests.recorded import late_and_twice
from tests.rig.damage import newest
from tests.watched import (
    ALARMS,
    FEEDBACK,
    MINUTE,
    MOVED,
    PREDICTIONS,
    START,
    Traffic,
    configuration,
    reference,
)

PARTITIONS = 6  # the last of which gets nothing
KEYS = PARTITIONS - 1
LONG = 36 * MINUTE
UNTIL = START / 1000 + 46 * 60  # the end of all, by the clock


def after(minutes):
    """Seconds since the epoch."""
    return START / 1000 + 60 * minutes


def ms(minutes):
    return START + round(minutes * MINUTE)


@cache
def traffic():
    """Both topics in partitions: late and repeated feedback, `income` moves, errors rise."""
    made, random = Traffic(), np.random.default_rng(5)
    parts = [made.until(10 * MINUTE), made.until(28 * MINUTE, income=MOVED)]
    parts.append(made.until(LONG, wrong=0.6))
    found = {}
    for topic in TOPICS:
        batches = [batch for pair in parts for batch in pair if batch.topic == topic]
        values = [v for b in batches for v in b.values]
        times = np.concatenate([b.times for b in batches])
        keys = [int(v.split(b'"r-')[1].split(b'"')[0]) % KEYS for v in values]
        whole = Records(values, times, times)
        for number in range(PARTITIONS):
            own = [i for i, key in enumerate(keys) if key == number]
            own = late_and_twice(own, random) if topic == FEEDBACK else own
            taken = whole.take(own)
            found[topic, number] = Records.live(taken.values, taken.times)
    return found


def changed(records, number, change):
    """The same with both topics of a partition changed."""
    return records | {(topic, number): change(records[topic, number]) for topic in TOPICS}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("several") / "credit.profile"
    save(reference(), path)
    return configuration(path, pane="1m")


@pytest.fixture(scope="module")
def layout(config):
    return Pipeline(config).model("credit").layout


def remembered(medium):
    return remembered_of(medium, partitions=PARTITIONS)


def rows(medium, layout):
    return rows_of(medium, layout, partitions=PARTITIONS)


def undisturbed(config, records):
    state, told = calm(config, records, UNTIL, partitions=PARTITIONS)
    assert sum(id.endswith(".raised") for id in told) >= 2
    return state, told


@pytest.fixture(scope="module")
def with_a_gap():
    """Partition 3 is silent for a while, after what was a backlog when the members came."""
    return changed(traffic(), 3, lambda held: held.silent(*GAP))


GAP = ms(26), ms(34)


@pytest.fixture(scope="module")
def one(config, with_a_gap):
    return undisturbed(config, with_a_gap)


def closed_by_the_clock(group, layout):
    """Partitions and panes closed of which no record had said that they are over."""
    found = set()
    for messages in group.panes.values():
        for message in messages:
            _, closed = record.decode_closed(message, {"credit": layout}, "tocsin")
            before = closed.before * MINUTE
            by_gap = closed.partition == 3 and GAP[0] + MINUTE < before < GAP[1] - MINUTE
            if by_gap or closed.partition == KEYS:
                found.add((closed.partition, closed.before))
    return found


CHANGES = ("join",) * 4 + (
    "leave",
    "die",
    "die in the next checkpoint",
    "cut off",
    "cut off in the next checkpoint",
    "come back",
    "lose a place",
    "a broker goes",
    "the broker is back",
    "no space",
    "space",
)


class Schedule:
    """What happens to a group, at random."""

    def __init__(self, seed, config, records):
        self.random, self.loss = np.random.default_rng(seed), np.random.default_rng(seed)
        self.config, self.group, self.medium = config, Group(records, after(22)), Memory()
        self.members, self.busy = [], []
        self.zombies = {}  # how many turns each has left
        self.left_out = 0  # turns with panes that waited in their topic

    def join(self):
        memory, batch = self.random.choice([5_000, 2**24]), self.random.choice([8, 40, 200])
        made = Member(
            self.group,
            self.config,
            self.medium,
            int(batch),
            int(memory),
            confirms=lambda: self.loss.random() < 0.95,
        )
        self.members.append(made)

    def die(self, member):
        member.die()
        if member in self.members:
            self.members.remove(member)
        self.zombies.pop(member, None)

    def cut_off(self, member):
        if member in self.members:
            self.members.remove(member)
            self.zombies[member] = int(self.random.integers(3, 9))
            member.die()  # to the group
            if self.random.random() < 0.5:
                member.source.fall_asleep()

    def cut_off_while_it_writes(self, member):
        member.disk.before = lambda: None
        self.cut_off(member)
        for _ in range(2):
            self.turns()

    def change(self, what):
        if len(self.members) < 2 or what == "join":
            self.join()
            return
        member = self.members[int(self.random.integers(len(self.members)))]
        match what:
            case "leave":
                with suppress(Died):
                    member.leave()
                self.die(member)
            case "die":
                self.die(member)
            case "die in the next checkpoint":
                member.disk.left = int(self.random.integers(0, 5))
            case "cut off":
                self.cut_off(member)
            case "cut off in the next checkpoint":
                member.disk.before = lambda: self.cut_off_while_it_writes(member)
            case "lose a place":
                own = sorted(member.source.assignment())
                if own:
                    member.source.lose_place(own[int(self.random.integers(len(own)))])
            case "a broker goes":
                ats = sorted(self.group.records)
                self.group.away = frozenset([ats[int(self.random.integers(len(ats)))]])
            case "the broker is back":
                self.group.away = frozenset()
            case "no space":
                member.disk.is_full = True
            case "space":
                self.make_space()
            case "come back" if self.zombies:
                back, _ = self.zombies.popitem()
                back.source.wake_up()
                self.group.join(back.source)
                self.members.append(back)

    def make_space(self):
        for member in [*self.members, *self.zombies]:
            member.disk.is_full = False

    def turns(self):
        everybody = [*self.members, *self.zombies]
        for at in self.random.permutation(len(everybody)).tolist():
            member = everybody[at]
            is_there = member in self.members or member in self.zombies
            if is_there and member not in self.busy and self.random.random() < 0.8:
                self.turn(member)

    def turn(self, member):
        self.busy.append(member)
        try:
            member.turn()
        except Died:
            self.die(member)
        self.busy.remove(member)
        model = member.pipeline.model("credit")
        self.left_out += bool(model.is_judged and model.left_out)
        if member in self.zombies:
            self.zombies[member] -= 1
            if not self.zombies[member]:
                del self.zombies[member]

    def run(self, until):
        turn, changes = 0, []
        while self.group.now < until:
            if turn % 3 == 0:
                changes = changes or self.random.permutation(CHANGES).tolist()
                self.change(changes.pop())
            self.turns()
            turn += 1
            self.group.now += float(self.random.choice([1, 5, 25]))
        self.group.away = frozenset()
        self.make_space()
        for member in self.members:
            member.disk.left, member.disk.before = None, lambda: None


@pytest.mark.parametrize("seed", [1, 6, 9])
def test_whatever_happens_they_end_as_one_does(config, layout, with_a_gap, one, seed):
    """Members of different speeds come, leave, die without a word (some while they write), are cut
    off, and go on as zombies that fold, save, send and judge, until they end or come back. Brokers
    do not answer, disks are full, and places are lost."""
    schedule = Schedule(seed, config, with_a_gap)
    schedule.run(after(40))
    group, medium = schedule.group, schedule.medium
    assert group.generation >= 15
    assert schedule.left_out
    assert {number for number, _ in closed_by_the_clock(group, layout)} == {3, KEYS}
    finish(group, schedule.members, UNTIL)
    judged, counted = rows(medium, layout)
    assert judged == counted
    assert remembered(medium) == one[0]
    assert group.told == one[1]


def silent_partition(until):
    """Partition 3 stands still at 20 minutes, and brings the rest no sooner than that."""
    return changed(traffic(), 3, lambda held: held.delayed(ms(20), round(until * 1000)))


@pytest.fixture(scope="module")
def at_once(config):
    """Of one agent, where no partition is ever silent before the end."""
    return undisturbed(config, traffic())


def begun(config, records, *batches):
    """Members that have read all that there is after 22 minutes, and have saved it."""
    group, medium = Group(records, after(22)), Memory()
    members = [Member(group, config, medium, batch) for batch in batches]
    quiet(members)
    group.now += 11
    quiet(members)
    assert group.committed
    return group, medium, members


@pytest.fixture(scope="module")
def as_the_zombie_has_it(config):
    """Of one agent that takes the partition to be silent before the rest of it comes."""
    group, medium = Group(silent_partition(after(22) + 86), after(22)), Memory()
    member = Member(group, config, medium, 400, is_alone=True)
    quiet([member])
    group.now = after(22) + 85
    quiet([member])
    finish(group, [member], UNTIL)
    return remembered(medium), group.told


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("first", ["owner", "zombie"])
def test_what_a_zombie_has_the_clock_close_is_told_by_nobody_else(
    config, layout, at_once, as_the_zombie_has_it, first, is_full
):
    """It writes after the next owner has found what there was, who dies soon.

    Only where he could not write either is it what the one after that goes on from.
    """
    group, medium, (zombie,) = begun(config, silent_partition(after(22) + 30), 200)
    group.now = after(22) + 20
    zombie.source.fall_asleep()
    zombie.die()
    group.now += 20
    owner = Member(group, config, medium)
    owner.disk.is_full = is_full
    group.away = frozenset(group.records)
    owner.turns(2)  # joins, and finds what is remembered; nothing has come yet
    group.away = frozenset()
    assert not owner.source.waiting()
    if first == "owner":
        quiet([owner])
    group.now = after(22) + 85
    before, committed = len(zombie.disk.writes), dict(group.committed)
    zombie.turns(3)
    assert len(zombie.disk.writes) > before and group.committed == committed
    assert zombie.pipeline.model("credit").folds[3].closed == ms(22) // MINUTE
    if first == "zombie":
        group.now = after(22) + 41  # all the same, to who has not looked at the clock meanwhile
        quiet([owner])
        group.now = after(22) + 86
    owner.die()
    finish(group, [Member(group, config, medium)], UNTIL)
    judged, counted = rows(medium, layout)
    assert judged == counted
    assert (remembered(medium), group.told) == (as_the_zombie_has_it if is_full else at_once)


@pytest.mark.parametrize("is_full", ["from the start", "later"])
def test_what_is_not_saved_is_neither_committed_nor_closed_by_the_clock(
    config, layout, at_once, is_full
):
    records = silent_partition(after(22) + 100)
    if is_full == "later":
        group, medium, (member,) = begun(config, records, 200)
    else:
        group, medium = Group(records, after(22)), Memory()
        member = Member(group, config, medium)
    member.disk.is_full = True
    committed = dict(group.committed)
    for _ in range(8):
        group.now += 11
        quiet([member])
    assert after(22) + 80 < group.now < after(22) + 100
    assert group.committed == committed
    assert member.pipeline.model("credit").folds[3].closed == ms(22) // MINUTE
    member.die()
    group.now = after(22) + 110
    finish(group, [Member(group, config, medium), Member(group, config, medium, 40)], UNTIL)
    judged, counted = rows(medium, layout)
    assert judged == counted
    assert remembered(medium) == at_once[0]
    assert group.told == at_once[1]


def test_who_has_nothing_left_stands_by(config, at_once):
    """As many come as there are partitions, and are handed all of them."""
    group, medium, (member,) = begun(config, traffic(), 200)
    before = member.pipeline.model("credit")
    assert before.folds and before.is_judged
    others = [Member(group, config, medium, 400, rank=0) for _ in range(PARTITIONS)]
    quiet([member, *others])
    left = member.pipeline.model("credit")
    assert not member.source.assignment() and not left.folds and not left.is_judged
    assert sum(other.judges() for other in others) == 1
    group.now += 2
    member.turn()
    assert member.loop.latest.ready
    finish(group, [member, *others], UNTIL, 600)
    assert remembered(medium) == at_once[0]
    assert group.told == at_once[1]


FAR = after(110)  # when the clock has passed what was an hour ahead


def with_one_ahead(topic):
    """One record that is ahead of the clock by an hour and 10 seconds, until that has gone on."""
    held = traffic()[topic, 0]
    at, time = 140, round((after(22) + 11 + 3_600 + 10) * 1000)
    row = json.loads(held.values[at])
    values = [*held.values[:at], json.dumps(row | {"id": "r-x", "timestamp": time}).encode()]
    times, there = (np.insert(part, at, part[at]) for part in (held.times, held.there))
    return traffic() | {(topic, 0): Records([*values, *held.values[at:]], times, there)}


@pytest.fixture(scope="module")
def either_way(config):
    """Of one agent that has refused the record, and of one that has not."""

    @cache
    def found(topic):
        ends = []
        for start in (after(22) + 11, after(22) + 30):
            group, medium = Group(with_one_ahead(topic), start), Memory()
            member = Member(group, config, medium, 400, is_alone=True)
            member.turns(5)
            finish(group, [member], FAR, 600)
            ends.append((remembered(medium), group.told))
        assert ends[0] != ends[1]
        return ends

    return found


@pytest.mark.parametrize(
    ("topic", "left"),
    [(PREDICTIONS, None), (PREDICTIONS, 0), (PREDICTIONS, 2), (FEEDBACK, None)],
)
def test_what_was_too_far_ahead_once_and_is_not_when_read_again(
    config, layout, either_way, topic, left
):
    """The member that has refused it dies, maybe in the middle of its next checkpoint."""
    group, medium = Group(with_one_ahead(topic), after(22)), Memory()
    members = [Member(group, config, medium, 20) for _ in range(2)]
    for _ in range(6):
        for member in members:
            member.turn()
    group.now += 11
    for member in members:
        member.turn()
    members[0].disk.left = left
    try:
        for _ in range(5):
            for member in members:
                member.turn()
    except Died:
        pass
    members[0].die()
    group.now = after(22) + 30
    members[0] = Member(group, config, medium, 40)
    finish(group, members, FAR, 600)
    judged, counted = rows(medium, layout)
    assert judged == counted
    assert (remembered(medium), group.told) in either_way(topic)


def test_slow_checkpoints_take_a_tenth_of_the_time_in_a_silence(tmp_path):
    """Labels are silent, so that each pane is closed by the clock, and wants a checkpoint."""
    save(reference(), tmp_path / "credit.profile")
    config = configuration(tmp_path / "credit.profile", pane="10s")
    records = dict(traffic())
    for number in range(PARTITIONS):
        records[FEEDBACK, number] = records[FEEDBACK, number].silent(ms(20), ms(40))
    group = Group(records, after(20))
    member = Member(group, config, Memory(), 400)
    quiet([member])
    began, behind = group.now, []
    member.disk.seconds = 3.0  # partitions first, and then the model
    while group.now < began + 600:
        group.now += 1
        member.turn()
        if group.now > began + 120:
            behind.append(group.now - member.pipeline.model("credit").closed * 10)
    assert member.disk.spent <= 0.1 * (group.now - began) + 6
    assert max(behind) < 120, "and yet all is judged"


@pytest.mark.parametrize("is_alone", [True, False])
def test_newest_record_damaged_after_more_closings_than_are_kept(
    config, at_once, monkeypatch, is_alone
):
    monkeypatch.setattr("agent.fold.OUTBOX", 2)
    group, medium = Group(traffic(), after(22)), Memory()
    member = Member(group, config, medium, 40, is_alone=is_alone)
    for _ in range(3):
        member.turn()
        group.now += 11
    closed = set()
    for _ in range(6):
        member.turn()
        closed.add(member.pipeline.model("credit").folds[1].closed)
    assert len(closed) > 3
    group.now += 11
    member.turn()
    medium.put([(key, b"rubbish") for key in newest(medium, "credit")])
    member.die()
    finish(group, [Member(group, config, medium, is_alone=is_alone)], UNTIL)
    assert remembered(medium) == at_once[0]
    assert group.told == at_once[1]


@pytest.fixture
def two_models(tmp_path):
    path = tmp_path / "p.profile"
    save(reference(), path)
    models = {
        name: {
            "task": "binary",
            "profile": str(path),
            "predictions": {"topic": f"{name}.predictions"},
            "feedback": {"topic": f"{name}.feedback"},
        }
        for name in ("a", "b")
    }
    settings = {"alerts": ALARMS, "windows": ["5m", "1h", "1d"], "pane": "1m", "models": models}
    return Config.model_validate(settings)


def test_a_model_that_is_held_up_lets_the_other_go_on(two_models):
    """Both judged by the panes of one partition; the broker of a partition of one is away."""
    records = {
        (topic.replace("credit", name), number): held
        for (topic, number), held in traffic().items()
        for name in ("a", "b")
        if number < KEYS
    }
    group, medium = Group(records, after(30), panes=1), Memory()
    away = frozenset({("a.predictions", 0), ("a.feedback", 0)})
    group.away = away | {at for at in records if at[0].startswith("b.")}
    members = [Member(group, two_models, medium, batch, 200_000) for batch in (40, 20)]
    quiet(members)
    (judge,) = [m for m in members if m.judges("a")]
    before = len(group.panes[0])
    assert before > 50 and judge.pipeline.model("a").left_out
    assert judge.source.read[PANES] == before
    group.away = away
    quiet(members)
    assert judge.pipeline.model("a").panes == 0
    assert judge.pipeline.model("b").closed == ms(29) // MINUTE
    sent, read = len(group.panes[0]) - before, judge.source.read[PANES] - before
    assert read <= 3 * sent
    group.away = frozenset()
    finish(group, members, UNTIL)
    state, told = calm(two_models, records, UNTIL, ("a", "b"), KEYS)
    assert remembered_of(medium, ("a", "b"), KEYS) == state
    assert group.told == told
