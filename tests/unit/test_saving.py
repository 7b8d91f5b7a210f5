"""When the loop writes checkpoints, and how old it says they are."""

from types import SimpleNamespace

import pytest

from agent.checkpoint.keeper import Keeper
from agent.checkpoint.medium import Memory
from agent.checkpoint.store import Checkpoints
from agent.control import Acknowledge
from agent.loop import UNTOLD, Loop
from agent.pipeline import Pipeline
from agent.profile_file import save
from agent.publish.events import Events
from tests.watched import FEEDBACK, MINUTE, PREDICTIONS, START, Traffic, configuration, reference

BOTH = frozenset([(PREDICTIONS, 0), (FEEDBACK, 0)])
INTERVAL = 10.0


class Source:
    """Hands over what has been put into it."""

    def __init__(self):
        self.problem, self.missed = "", {}
        self.has_joined = self.has_caught_up = True
        self.batches, self.placed, self.committed = [], False, []

    def poll(self, timeout):
        batches, self.batches = self.batches, []
        return batches

    def waiting(self):
        return frozenset() if self.placed else BOTH

    def place(self, places):
        self.placed = True
        return True

    def assignment(self):
        return BOTH

    def partitions_of(self, topic):
        return 1

    def lag(self):
        return dict.fromkeys(BOTH, 0)

    def pause(self, partitions):
        pass

    def commit(self, offsets):
        self.committed.append(dict(offsets))
        return True


class Disk(Memory):
    """A medium that can be full."""

    is_full = False

    def put(self, entries):
        return not self.is_full and super().put(entries)


class Agent:
    """A loop whose clock is turned by hand."""

    def __init__(self, folder, disk=None):
        save(reference(), folder / "credit.profile")
        pipeline = Pipeline(configuration(folder / "credit.profile", pane="1m"))
        self.now, self.source, self.disk = START / 1000 + 600, Source(), disk or Disk()
        keeper = Keeper(pipeline, Checkpoints(self.disk), self.clock, INTERVAL)
        self.loop = Loop(self.source, pipeline, Events(logged=False), self.clock, keeper=keeper)
        self.traffic = Traffic()

    def clock(self):
        return self.now

    def turn(self, after=INTERVAL):
        self.now += after
        self.loop.turn()

    def read(self):
        self.source.batches = self.traffic.until(self.traffic.now - START + MINUTE)

    @property
    def age(self):
        return self.now - self.loop.latest.checkpoints.saved_at["credit"]


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path)


def test_a_checkpoint_of_an_agent_that_hears_nothing_does_not_age(agent):
    agent.read()
    for _ in range(100):
        agent.turn()
        assert agent.age <= 2 * INTERVAL
    assert len(agent.source.committed) == 1, "nothing new is to be written"


def test_what_could_not_be_written_ages_and_is_written_when_it_can_be(agent):
    agent.turn()
    agent.read()
    agent.disk.is_full = True
    for _ in range(20):
        agent.turn()
    assert agent.age >= 19 * INTERVAL
    assert agent.loop.latest.checkpoints.failures >= 19
    assert not agent.source.committed
    # No record comes any more.
    agent.disk.is_full = False
    agent.turn()
    agent.turn()
    assert agent.age <= 2 * INTERVAL
    assert agent.source.committed == [dict.fromkeys(BOTH, 120)]


def test_a_clock_that_is_put_back_stops_no_checkpoints(agent):
    agent.turn()
    agent.now -= 3600
    for n in range(1, 4):
        agent.read()
        agent.turn()
        assert len(agent.source.committed) == n


def test_what_is_not_handed_over_is_no_silence(agent):
    """Records are passed over until it is known from where to read: that closes no pane."""
    agent.turn()
    agent.read()
    agent.turn()
    model = agent.loop._pipeline.model("credit")
    closed = model.closed
    agent.source.placed, agent.disk.claim = False, lambda names: None
    for _ in range(10):
        agent.turn(60)
    assert agent.loop._pipeline.model("credit").closed == closed


def test_two_agents_that_do_not_know_of_each_other_write_nothing(agent):
    """As when a new process of one agent comes before the old one goes."""
    agent.source.partitions_of = lambda topic: 2
    for _ in range(3):
        agent.read()
        agent.turn()
    assert not agent.disk.records and not agent.source.committed
    assert "another agent of the group" in agent.loop.latest.ready_reason
    agent.source.partitions_of = lambda topic: 1
    agent.turn()
    assert agent.disk.records and agent.source.committed


def test_a_clock_that_is_put_back_leaves_no_old_picture(agent):
    agent.turn()
    agent.now -= 3600
    agent.turn(0)
    assert agent.loop.latest.taken_at == agent.now


def test_what_is_asked_of_an_agent_that_has_nothing_restored_is_refused(agent):
    agent.disk.claim = lambda names: None
    agent.turn()
    answer = agent.loop._carry_out(Acknowledge("a", "ann", ""))
    assert answer.status == 503 and "checkpoints" in answer.body["error"]


def test_events_to_be_told_again_are_bounded_and_forgotten_when_they_are_told(agent):
    told = []
    sink = SimpleNamespace(
        counts={}, are_told=lambda: told[-1] if told else False, publish=lambda event: None
    )
    agent.loop._events = sink
    agent.turn()
    for n in range(UNTOLD + 20):
        agent.loop._announce([{"data": {"model": "credit"}, "id": str(n)}])
    model = agent.loop._pipeline.model("credit")
    assert len(model.untold) == UNTOLD and b"119" in model.untold[-1]
    told.append(True)
    agent.read()
    agent.turn()
    assert not model.untold


def test_counts_are_told_once_they_are_those_of_before(agent, tmp_path):
    """Or after a minute: what was told before this process had not been read for longer."""
    for _ in range(3):
        agent.read()
        agent.turn()
    after = Agent(tmp_path, agent.disk)
    after.source.has_caught_up = False
    assert not after.loop.latest.is_restored
    for _ in range(5):
        after.turn(10)
        assert not after.loop.latest.is_restored
    after.turn(21)
    assert after.loop.latest.is_restored


def test_who_has_caught_up_tells_counts_at_once(agent, tmp_path):
    agent.read()
    for _ in range(3):
        agent.turn()
    after = Agent(tmp_path, agent.disk)
    assert not after.loop.latest.is_restored
    after.turn(2)
    assert after.loop.latest.is_restored
    after.source.has_caught_up = False  # later records are nobody else's
    after.turn(2)
    assert after.loop.latest.is_restored


def test_where_nothing_is_remembered_counts_are_told_at_once(agent):
    agent.source.has_caught_up = False
    assert not agent.loop.latest.is_restored
    agent.turn(2)
    assert agent.loop.latest.is_restored
