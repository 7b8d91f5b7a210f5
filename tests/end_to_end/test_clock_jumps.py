"""The machine's clock is put forward and back under an agent: it ends as if it never had been.

No jump lasts the minute after which it is believed. Event times are years old, so that an agent
that believed one would close all panes of a silent partition, and what follows would be late.
"""

import json
import time

import pytest
from kafka.partitioner.default import murmur2

from agent.intake.kafka import KafkaSettings, ensure_topic
from tests.rig.life import PARTITIONS, Life, same_as_undisturbed
from tests.rig.stream import Sender, Sent, stream
from tests.rig.wall_clock import WallClock

pytestmark = pytest.mark.kafka

HOUR = 3600.0
YEAR = 365 * 24 * HOUR
JUMPS = (3 * HOUR, -5 * HOUR, YEAR, -YEAR, 1.5 * HOUR, -0.1 * HOUR)


def partition(sent: Sent) -> int:
    """Where a producer puts it."""
    number: int = (murmur2(sent[2].encode()) & 0x7FFFFFFF) % PARTITIONS
    return number


class Jumping:
    """An agent whose clock jumps, and what it is sent."""

    def __init__(self, life: Life, wall: WallClock) -> None:
        self.life, self.wall, self.sent = life, wall, 0

    def send(self, part: list[Sent], seconds: float) -> Sender:
        self.sent += len(part)
        return Sender(self.life.kafka.bootstrap, part, seconds, PARTITIONS).start()

    def jump(self, seconds: float) -> None:
        """Return once it has noticed: by way of the right clock alone it tells two apart."""
        before = self._noticed()
        self.wall.jump(seconds)
        self._wait(lambda: self._noticed() > before)

    def turn(self) -> None:
        """Return once its loop has gone round: it looks at what is silent, and takes a picture."""
        for _ in range(2):
            before = self._picture()
            self._wait(lambda before=before: self._picture() != before)

    def _noticed(self) -> int:
        log = self.life.agent.log
        return sum(log.count(f"the clock {what}") for what in ("has jumped", "is right again"))

    def _picture(self) -> str:
        taken: str = json.loads(self.life.agent.get("/api/v1/status") or "{}").get("taken_at", "")
        return taken

    def _wait(self, done) -> None:
        deadline = time.monotonic() + 15
        while not done():
            assert time.monotonic() < deadline, self.life.agent.log[-2000:]
            time.sleep(0.02)

    def begin(self) -> None:
        self.life.agent.start()
        self.life.agent.wait_ready()


def test_jumps_of_the_clock_change_nothing(kafka, fresh, tmp_path):
    topics = fresh("predictions"), fresh("feedback")
    made = stream(240, *topics)
    size = len(made) // 4
    first, second, third = (made[n * size : (n + 1) * size] for n in range(3))
    fourth = made[3 * size :]
    wall = WallClock(tmp_path / "wall")
    life = Life(tmp_path / "jumping", kafka, fresh("jumping"), topics, variables=wall.variables)
    agent = Jumping(life, wall)
    # Made by somebody else, so with the producer's times: those of an hour ahead are refused.
    ensure_topic(KafkaSettings(kafka.bootstrap), f"{life.name}.events", replication=1)

    # While records come: it stays ready, and checkpoints go on.
    sending = agent.send(first, 6.0)
    agent.begin()
    for seconds in JUMPS:
        agent.jump(seconds)
        assert life.agent.ask("/readyz")[0] == 200
        agent.jump(0.0)
    agent.jump(3 * HOUR)
    sending.join(30)
    life.wait_remembered(agent.sent, 45)
    agent.jump(0.0)

    # While all partitions are read to their ends, and silent.
    half = size // 2
    for seconds, part in ((YEAR, second[:half]), (-YEAR, second[half:])):
        agent.jump(seconds)
        agent.turn()
        agent.send(part, 1.0).join(30)
        life.wait_remembered(agent.sent, 45)
        agent.jump(0.0)
        agent.turn()

    # While one partition is silent, and the others go on until they are too far ahead of it.
    sending = agent.send([sent for sent in third if partition(sent) != 0], 3.0)
    agent.jump(YEAR)
    sending.join(30)
    agent.turn()
    agent.jump(0.0)
    agent.send([sent for sent in third if partition(sent) == 0], 1.0).join(30)

    # Killed while it is wrong and started with the right one, and the other way round.
    sending = agent.send(fourth, 5.0)
    agent.jump(2 * HOUR)
    life.agent.process.kill()
    wall.jump(0.0)
    agent.begin()
    life.agent.process.kill()
    wall.jump(-YEAR)
    agent.begin()
    agent.jump(0.0)
    sending.join(30)
    same_as_undisturbed(life, Life(tmp_path / "calm", kafka, fresh("calm"), topics), made)
