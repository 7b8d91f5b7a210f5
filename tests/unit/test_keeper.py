"""What is remembered is all there is: runs that were cut off anywhere end as one that was not."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from agent.checkpoint import record
from agent.checkpoint.keeper import Keeper
from agent.checkpoint.medium import Memory
from agent.checkpoint.store import Checkpoints
from agent.learning import Learner
from agent.pipeline import Pipeline
from agent.profile_file import save
from agent.results import alarm_result, result
from detectors.codec import StateError
from tests.recorded import Log
from tests.unit.test_checkpoints import Dying
from tests.watched import (
    LATEST,
    configuration,
    reference,
)

PARTITIONS = 3


@pytest.fixture(scope="module")
def log():
    return Log(PARTITIONS)


@pytest.fixture
def config(tmp_path):
    save(reference(), tmp_path / "credit.profile")
    return configuration(tmp_path / "credit.profile", pane="1m")


class Agent:
    """One life of an agent over the log."""

    def __init__(self, config, log, medium, batch=400):
        self.log, self.batch, self.alarms = log, batch, []
        self.pipeline = Pipeline(config)
        self.clock = 0.0
        self.keeper = Keeper(self.pipeline, Checkpoints(medium), lambda: self.clock, 10.0)
        assigned = frozenset(log.topics)
        places = self.keeper.place(assigned)
        self.at = {at: min(o or 0 for o in offsets) for at, offsets in places.items()}
        self.pipeline.assign(assigned)

    def turn(self, save=False):
        """Whether there was anything left to read."""
        read = [self.log.read(at, offset, self.batch) for at, offset in self.at.items()]
        for batch in filter(None, read):
            self.pipeline.take(batch, LATEST, 0.0)
            self.at[batch.topic, batch.partition] = int(batch.offsets[-1]) + 1
        self.alarms += [alarm_result(a) for a in self.pipeline.close()]
        if save:
            assert self.keeper.save()
        return any(read)

    def run(self, until=10**9, every=3):
        turns = 0
        while turns < until and self.turn(save=turns % every == every - 1):
            turns += 1
        return self

    def state(self):
        model = self.pipeline.model("credit")
        for fold in model.folds.values():
            fold.handed_on()
        return {
            "model": record.encode_model(model),
            **{n: record.encode_fold(fold) for n, fold in sorted(model.folds.items())},
        }


@pytest.fixture
def undisturbed(config, log):
    agent = Agent(config, log, Memory()).run()
    assert len(agent.alarms) >= 2
    return agent


def counts(agent):
    found = result(agent.pipeline.model("credit"))
    return found["records"], found["panes"], found["performance"], found["from"], found["to"]


@pytest.mark.parametrize(("seed", "every"), [(1, 1), (2, 3), (3, 7)])
def test_killed_again_and_again_it_ends_in_the_same_state(config, log, undisturbed, seed, every):
    random, medium, rung = np.random.default_rng(seed), Memory(), {}
    for _ in range(40):
        batch = int(random.integers(50, 900))
        agent = Agent(config, log, medium, batch)
        agent.run(until=int(random.integers(1, 9)), every=every)
        rung |= {a["id"]: a for a in agent.alarms}
    agent = Agent(config, log, medium, 313).run(every=every)
    rung |= {a["id"]: a for a in agent.alarms}
    assert agent.state() == undisturbed.state()
    assert counts(agent) == counts(undisturbed)
    assert rung == {a["id"]: a for a in undisturbed.alarms}
    assert agent.keeper.outcomes["restored"] == PARTITIONS + 1


@pytest.mark.parametrize("records", range(0, 40, 3))
def test_killed_while_it_writes_it_ends_in_the_same_state(config, log, undisturbed, records):
    medium = Memory()
    agent = Agent(config, log, medium, 500)
    agent.run(until=4, every=2)
    agent.keeper._checkpoints.medium = Dying(medium, records)
    for _ in range(8):
        agent.turn()
        agent.keeper.save()
    again = Agent(config, log, medium, 211).run()
    assert again.state() == undisturbed.state()
    assert counts(again) == counts(undisturbed)


def test_an_outbox_that_overflows_is_made_good(config, log, undisturbed, monkeypatch):
    monkeypatch.setattr("agent.fold.OUTBOX", 5)
    medium = Memory()
    agent = Agent(config, log, medium, 500)
    agent.run(until=12, every=100)
    assert not all(f.is_whole for f in agent.pipeline.model("credit").folds.values())
    agent.keeper.save()
    assert all(f.is_whole for f in agent.pipeline.model("credit").folds.values())
    again = Agent(config, log, medium, 211).run()
    assert again.state() == undisturbed.state()


def test_a_learned_profile_is_remembered(log):
    config = configuration(pane="1m", warmup=2_000)
    whole = Agent(config, log, Memory()).run()
    medium = Memory()
    agent = Agent(config, log, medium, 300)
    agent.run(until=2, every=1)
    assert agent.keeper.safe == dict.fromkeys(log.topics, 0)
    assert not agent.keeper.status.saved_at  # no age grows while it learns
    agent.run(until=12, every=1)
    digest = agent.pipeline.model("credit").profile_hash
    assert agent.pipeline.model("credit").profile.learned
    again = Agent(config, log, medium, 600).run()
    assert again.pipeline.model("credit").profile_hash == digest
    assert again.state() == whole.state()


def test_another_layout_is_refused_and_another_profile_starts_detection_anew(config, log, tmp_path):
    medium = Memory()
    Agent(config, log, medium).run(until=15)
    wider = configuration(tmp_path / "credit.profile", pane="2m", windows=["10m", "1h", "1d"])
    refused = Agent(wider, log, medium)
    assert refused.keeper.outcomes["refused"] == PARTITIONS + 1
    assert set(refused.at.values()) == {0}
    assert not refused.pipeline.model("credit").panes

    medium = Memory()
    before = Agent(config, log, medium).run(until=15)
    changed = replace(reference(), rows=reference().rows + 1)
    save(changed, tmp_path / "credit.profile")
    after = Agent(config, log, medium)
    model = after.pipeline.model("credit")
    assert after.keeper.outcomes == {"restored": PARTITIONS + 1}
    assert model.panes == before.pipeline.model("credit").panes > 0
    assert model.state.budgets[0].time == -1
    assert after.at == before.keeper.safe


def test_where_what_was_learned_is_refused_it_is_learned_again(log):
    medium = Memory()
    Agent(configuration(pane="1m", warmup=2_000), log, medium, 300).run(until=12, every=1)
    wider = configuration(pane="2m", warmup=2_000, windows=["10m", "1h", "1d"])
    agent = Agent(wider, log, medium)
    assert agent.keeper.outcomes["refused"] == 1
    assert isinstance(agent.pipeline.model("credit"), Learner)


@pytest.mark.parametrize("content", [5, {"a": 1}, (None,) * 5])
def test_what_somebody_else_has_written_is_refused(config, log, content):
    medium = Memory()
    layout = Agent(config, log, medium).pipeline.model("credit").layout
    checkpoints = Checkpoints(medium)
    names = ["credit", "credit:0"]
    checkpoints.open(names)
    for name, kind in zip(names, (record.MODEL, record.FOLD), strict=True):
        data = record.CODEC.encode(kind, record.VERSION, record.layout_hash(layout), content)
        checkpoints.save(name, zlib.compress(data))
    agent = Agent(config, log, medium)
    assert agent.keeper.outcomes["refused"] == 2
    assert agent.run(until=3).keeper.safe


def test_a_state_of_a_newer_version_is_refused(config, log, monkeypatch):
    medium = Memory()
    with monkeypatch.context() as patch:
        patch.setattr(record, "VERSION", 99)
        Agent(config, log, medium).run(until=6)
    agent = Agent(config, log, medium)
    assert agent.keeper.outcomes["refused"] == PARTITIONS + 1


def test_what_cannot_be_had_now_is_asked_for_again(config, log):
    class Away(Memory):
        def claim(self, names):
            self.problem = "away"

    pipeline = Pipeline(config)
    keeper = Keeper(pipeline, Checkpoints(Away()), lambda: 0.0, 10.0)
    assert keeper.place(frozenset(log.topics)) is None
    assert keeper.problem == "waiting for checkpoints: away"


def test_what_cannot_be_written_costs_nothing_but_its_age(config, log, undisturbed):
    class Full(Memory):
        def put(self, entries):
            return False

    agent = Agent(config, log, Full())
    while agent.turn():
        assert not agent.keeper.save()
    assert agent.keeper.failures > 5 and agent.keeper.safe == {}
    assert agent.state() == undisturbed.state()


def test_other_detectors_leave_those_that_stay_as_they_were(config, log, tmp_path):
    medium = Memory()
    before = Agent(config, log, medium).run(until=15).pipeline.model("credit")
    assert before.alarms.standing
    more = configuration(
        tmp_path / "credit.profile",
        pane="1m",
        model={"river": [{"detector": "drift.ADWIN", "on": "age"}]},
    )
    after = Agent(more, log, medium).pipeline.model("credit")
    assert len(after.detection.detectors) == len(before.detection.detectors) + 1
    assert after.alarms.standing == before.alarms.standing
    for severity, old, new in zip(
        ("page", "ticket"), before.state.budgets, after.state.budgets, strict=True
    ):
        known = before.detection.budgets[severity].streams
        own = after.detection.budgets[severity]
        held = dict(zip(known, before.detection.budgets[severity].share(old), strict=True))
        for stream, share in zip(own.streams, own.share(new), strict=True):
            assert share == held.get(stream, 0.0)
        for name in ("m", "cusum", "exposure", "latched"):
            assert np.isin(getattr(old, name), getattr(new, name)).all()
        assert (old.exposure > 0).any() and (old.cusum > 0).any()
    assert after.state.budgets[1].latched.sum() == before.state.budgets[1].latched.sum() > 0
    # And back again: what is no more is left.
    back = Agent(config, log, medium).pipeline.model("credit")
    assert back.alarms.standing == before.alarms.standing


def test_what_unpacks_to_more_than_any_state_is_refused():
    bomb = zlib.compress(bytes(2**24), 9)
    with pytest.raises(StateError, match="larger than any"):
        record._unpacked(bomb, 2**20)
    assert record._unpacked(bomb) == bytes(2**24)
    for damaged in (bomb[:-3], b"rubbish", b""):
        with pytest.raises(StateError):
            record._unpacked(damaged)
