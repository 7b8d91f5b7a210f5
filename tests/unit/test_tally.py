"""What a process tells of its records never falls, and all processes together tell of each once."""

from collections import Counter

import pytest

from agent.checkpoint.medium import Memory
from agent.checkpoint.store import Checkpoints
from agent.snapshots import snapshot
from tests.unit.test_exchange import (  # noqa: F401  # fixtures
    PARTITIONS,
    Keeper,
    Member,
    Pipeline,
    broker,
    config,
    fresh,
)
from tests.watched import LATEST

MODEL = "credit"


def counts(pipeline):
    """All counters of the model."""
    status = snapshot(pipeline, {}, 0.0, 0.0, "").models[MODEL].told
    found = Counter({("predictions", *key): n for key, n in status.predictions.items()})
    found.update({("feedback", *key): n for key, n in status.feedback.items()})
    found.update({("rejected", *key): n for key, n in status.rejected.items()})
    found.update({("late", *key): n for key, n in status.late.items()})
    if status.label_delay is not None:
        found["delay",] = status.label_delay.counts[-1]
        found["delay_sum",] = round(status.label_delay.sum * 1000)
    for version, histogram in status.latency.items():
        found["latency", version] = histogram.counts[-1]
    return +found


class Told:
    """What each member tells, which must never fall."""

    def __init__(self, members):
        self.members = members
        self.last = {id(member): Counter() for member in members}

    def check(self):
        for member in self.members:
            now, before = counts(member.pipeline), self.last[id(member)]
            assert not before - now, before - now
            self.last[id(member)] = now

    def total(self):
        return sum(self.last.values(), Counter())


def of_the_state(medium, config):  # noqa: F811
    """What the partitions have counted, all in one place."""
    pipeline = Pipeline(config)
    keeper = Keeper(pipeline, Checkpoints(medium), lambda: 0.0, 10.0)
    assert keeper.place(frozenset((t, n) for t in pipeline.topics for n in range(PARTITIONS)))
    return counts(pipeline)


def test_partitions_that_come_and_go_are_told_of_once(config, fresh):  # noqa: F811
    """They come back, too, when another has counted meanwhile."""
    medium = Memory()
    members = [Member(config, fresh, medium, 60) for _ in range(3)]
    told = Told(members)
    for present in ([0], [0, 1, 2], [0, 2], [1], [2, 1, 0], [0, 1, 2]):
        for rank, i in enumerate(present):
            members[i].assigned(fresh.share(rank, len(present)))
        for i in {0, 1, 2} - set(present):
            members[i].keeper.stand_by()
        for _ in range(4):
            told.check()
            for i in present:
                members[i].turn()
    told.check()
    assert told.total() == of_the_state(medium, config)
    assert told.total()["predictions", ""] > 5_000


@pytest.mark.parametrize("saved", [1, 3])
def test_what_is_read_again_is_not_told_again(config, fresh, saved):  # noqa: F811
    """A partition that stays goes back to the last checkpoint."""
    medium = Memory()
    member = Member(config, fresh, medium, 60).assigned(fresh.share(0, 1))
    told = Told([member])
    for turn in range(6):
        member.turn(save=turn < saved)
        told.check()
    before = told.total()
    member.assigned(fresh.share(0, 1))
    told.check()
    assert told.total() == before
    for _ in range(6 - saved):
        member.turn(save=False)
        told.check()
        assert told.total() == before
    member.turn()
    told.check()
    assert told.total() == of_the_state(medium, config) != before


def test_who_slept_while_another_counted_does_not_tell_of_it(config, fresh):  # noqa: F811
    """It gets the same partitions back, and never knew that they were gone."""
    medium = Memory()
    sleeper, other = (Member(config, fresh, medium, 100) for _ in range(2))
    told = Told([sleeper, other])
    sleeper.assigned(fresh.share(0, 1)).turn()
    other.assigned(fresh.share(0, 1))
    for _ in range(3):
        other.turn()
    sleeper.assigned(fresh.share(0, 1)).turn()
    told.check()
    assert told.total() == of_the_state(medium, config)


def test_what_a_process_of_several_tells_begins_at_nothing(config, fresh):  # noqa: F811
    medium = Memory()
    first = Member(config, fresh, medium, 100).assigned(fresh.share(0, 1))
    for _ in range(3):
        first.turn()
    second = Member(config, fresh, medium, 100).assigned(fresh.share(0, 1))
    assert not counts(second.pipeline)
    second.turn()
    assert 0 < sum(counts(second.pipeline).values()) < sum(counts(first.pipeline).values())


def test_without_others_counts_go_on_from_before_this_process(config, broker):  # noqa: F811
    medium = Memory()

    def life():
        pipeline = Pipeline(config)
        keeper = Keeper(pipeline, Checkpoints(medium), lambda: 0.0, 10.0)
        keeper.place(frozenset(broker.log.topics))
        pipeline.assign(broker.log.topics)
        return pipeline, keeper

    pipeline, keeper = life()
    for at in broker.log.topics:
        pipeline.take(broker.log.read(at, 0, 300), LATEST, 0.0)
    keeper.save()
    assert sum(counts(pipeline).values()) > 5_000
    assert counts(life()[0]) == counts(pipeline)


def test_what_is_lost_with_a_damaged_checkpoint_does_not_hold_counts_up(config, fresh):  # noqa: F811
    medium = Memory()
    member = Member(config, fresh, medium, 60).assigned(fresh.share(0, 1))
    told = Told([member])
    for _ in range(3):
        member.turn()
    told.check()
    before = told.total()
    at = dict(member.at)
    medium.records = {k: b"?" for k in medium.records}
    member.assigned(fresh.share(0, 1))
    member.at |= {k: n for k, n in at.items() if k[0] != "tocsin.panes"}  # what was committed
    member.turn()
    told.check()
    grown = told.total() - before
    assert sum(n for key, n in grown.items() if key[0] == "predictions") > 0
