"""When the loop writes checkpoints, and how old it says they are."""

import pytest

from agent.checkpoint.keeper import Keeper
from agent.checkpoint.medium import Memory
from agent.checkpoint.store import Checkpoints
from agent.loop import Loop
from agent.pipeline import Pipeline
from agent.profile_file import save
from agent.publish.events import Events
from tests.watched import FEEDBACK, MINUTE, PREDICTIONS, START, Traffic, configuration, reference

BOTH = frozenset([(PREDICTIONS, 0), (FEEDBACK, 0)])
INTERVAL = 10.0


class Source:
    """Hands over what has been put into it."""

    def __init__(self):
        self.problem, self.missed, self.has_joined = "", {}, True
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


class Disk(Memory):
    """A medium that can be full."""

    is_full = False

    def put(self, entries):
        return not self.is_full and super().put(entries)


class Agent:
    """A loop whose clock is turned by hand."""

    def __init__(self, folder):
        save(reference(), folder / "credit.profile")
        pipeline = Pipeline(configuration(folder / "credit.profile", pane="1m"))
        self.now, self.source, self.disk = START / 1000 + 600, Source(), Disk()
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
