"""An agent that lives again and again: what it remembers, tells and shows in the end."""

import json
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.checkpoint.directory import Directory
from agent.checkpoint.medium import Medium
from agent.checkpoint.record import CODEC, VERSION
from agent.checkpoint.store import Checkpoints
from agent.intake.kafka import KafkaSettings, KafkaSource, StateTopic
from agent.intake.source import RawBatch
from agent.profile_file import save
from detectors.codec import StateError
from tests.rig.agent import Agent
from tests.rig.kafka import KafkaServer
from tests.rig.stream import Sent
from tests.watched import ALARMS, reference

PARTITIONS = 3
# What tells of the process and of the clock, and not of the stream.
ELSEWHERE = re.compile(
    r"(tocsin_(checkpoint|events_total|missed|pane_seconds|watermark_delay|consumer_lag|build_info"
    r"|blind|config|label_coverage)|process_|python_)"
)


class Life:
    """An agent in a folder, with a group and topics of its own, or shared by those of a name.

    Parameters
    ----------
    folder
        Is made.
    kafka, name, topics, instance, partitions
        The broker, the group, the two topics, the member of the group, their partitions.
    in_directory
        Checkpoints are kept in the folder, not on a topic.
    settings
        More of the section `kafka` of the configuration.
    variables
        More of the environment of the process.
    """

    def __init__(
        self,
        folder: Path,
        kafka: KafkaServer,
        name: str,
        topics: Sequence[str],
        instance: str = "a",
        partitions: int = PARTITIONS,
        in_directory: bool = False,
        settings: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir()
        save(reference(), folder / "credit.profile")
        self.kafka, self.name, self.topics = kafka, name, topics
        self.names = ["credit", *(f"credit:{n}" for n in range(partitions))]
        self.directory = folder / "state" if in_directory else None
        kept = {} if self.directory is None else {"directory": str(self.directory)}
        self.agent = Agent(
            folder,
            {
                "kafka": {
                    "bootstrap_servers": kafka.bootstrap,
                    "group_id": name,
                    "group_instance_id": instance,
                    "session_timeout": "3s",
                    "state_topic": f"{name}.state",
                    "events_topic": f"{name}.events",
                    "panes_topic": f"{name}.panes",
                    **(settings or {}),
                },
                "alerts": ALARMS,
                "pane": "1m",
                "checkpoint": {"interval": "300ms", **kept},
                "models": {
                    "credit": {
                        "task": "binary",
                        "profile": "credit.profile",
                        "predictions": {"topic": topics[0]},
                        "feedback": {"topic": topics[1]},
                    }
                },
            },
            variables=variables,
        )

    @contextmanager
    def medium(self) -> Iterator[Medium]:
        """Where its checkpoints are, for another to look at or to damage."""
        settings = KafkaSettings(self.kafka.bootstrap, group_id=self.name)
        found = (
            StateTopic(settings, f"{self.name}.state")
            if self.directory is None
            else Directory(self.directory)
        )
        try:
            yield found
        finally:
            found.close()

    def payloads(self) -> dict[str, bytes | None]:
        """What would be restored now, by name of the record."""
        with self.medium() as medium:
            found = Checkpoints(_Onlooker(medium)).open(self.names)
        assert found is not None, medium.problem
        return {name: found[name].payload for name in self.names}

    def state(self) -> dict[str, bytes]:
        """What is remembered, decoded, without what only says how it came about."""
        return {name: canonical(name, payload) for name, payload in self.payloads().items()}

    def positions(self) -> dict[tuple[str, int], int]:
        """Of each partition of the topics: the first record that is not remembered.

        What another version of Tocsin remembers does not count.
        """
        found: dict[tuple[str, int], int] = {}
        for name, payload in self.payloads().items():
            _, _, number = name.partition(":")
            if number and payload is not None:
                with suppress(StateError):
                    state = CODEC.decode("fold", VERSION, None, zlib.decompress(payload))
                    found |= {(topic, int(number)): n for topic, n in state.positions.items()}
        return found

    def wait_remembered(self, records: int, timeout: float = 60.0) -> None:
        """Return once so many records of both topics are part of a checkpoint."""
        deadline = time.monotonic() + timeout
        while sum(self.positions().values()) < records:
            assert time.monotonic() < deadline, f"{self.positions()}\n{self.agent.log[-2000:]}"
            time.sleep(0.1)

    def alarms(self) -> tuple[set[str], int]:
        """Ids of all events, and how often one was told."""
        settings = KafkaSettings(self.kafka.bootstrap, group_id=f"{self.name}-look")
        source = KafkaSource(settings, [f"{self.name}.events"])
        told: list[str] = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            batches = [b for b in source.poll(0.5) if isinstance(b, RawBatch)]
            told += [json.loads(v or b"")["id"] for batch in batches for v in batch.values]
            if told and not batches:
                break
        source.close()
        return set(told), len(told)

    def metrics(self) -> list[str]:
        """All lines of /metrics that follow from the stream."""
        return sorted(line for line in self._lines() if not ELSEWHERE.match(line))

    def metric(self, name: str, **labels: str) -> float:
        """The value of one series; 0 where there is none."""
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
        start = f"{name}{{{inside}}} " if labels else f"{name} "
        found = [line for line in self._lines() if line.startswith(start)]
        return float(found[0].removeprefix(start)) if found else 0.0

    def _lines(self) -> list[str]:
        lines = (self.agent.get("/metrics") or "").splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    def records(self) -> dict[str, Any]:
        """What it has counted."""
        found: dict[str, Any] = self.agent.model("credit")["records"]
        return found

    def read_all(self, made: Sequence[Sent], timeout: float = 60.0) -> None:
        """Return once it has read all there is."""
        predictions = sum(topic == self.topics[0] for _, topic, _, _ in made)

        def done(status: dict[str, Any]) -> bool:
            read = sum(status["records"]["predictions"].values())
            return bool(read == predictions and self._lag() == 0)

        self.agent.wait("credit", done, timeout)
        time.sleep(1.2)  # for a snapshot of the same moment

    def _lag(self) -> int | None:
        """Records that it has yet to read; None where it does not know."""
        parts = json.loads(self.agent.get("/api/v1/status") or "{}").get("lag", [])
        known = [p["records"] for p in parts if p["records"] is not None]
        return sum(known) if len(known) == 2 * (len(self.names) - 1) else None

    def finish(
        self, made: Sequence[Sent], timeout: float = 60.0
    ) -> tuple[dict[str, Any], list[str]]:
        """Let it read all there is, and end it; its counts and metrics."""
        self.read_all(made, timeout)
        found = self.records(), self.metrics()
        assert self.agent.stop() == 0
        return found


class _Onlooker:
    """A medium that claims nothing: whoever writes goes on undisturbed."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self.load, self.put, self.close = medium.load, medium.put, medium.close

    @property
    def problem(self) -> str:
        return self._medium.problem

    def claim(self, names: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(names, 0)


def same_as_undisturbed(life: Life, calm: Life, made: Sequence[Sent]) -> None:
    """Its end is that of a life over the same topics that nothing befalls."""
    counts, metrics = life.finish(made)
    calm.agent.start()
    calm_counts, calm_metrics = calm.finish(made)
    assert counts == calm_counts
    assert metrics == calm_metrics
    state, calm_state = life.state(), calm.state()
    assert {n: s == calm_state[n] for n, s in state.items()} == dict.fromkeys(state, True)
    ids, told = calm.alarms()
    assert len(ids) == told >= 2
    assert life.alarms()[0] == ids


def canonical(name: str, payload: bytes | None) -> bytes:
    """A record without what says how it came about: whose hands it went through, its file's hash.

    `facts` are as of the last pane where another agent told them.
    """
    kind = "fold" if ":" in name else "model"
    assert payload is not None, f"nothing is remembered of {name}"
    state = CODEC.decode(kind, VERSION, None, zlib.decompress(payload))
    if kind == "fold":
        return CODEC.encode(kind, 1, "", replace(state, outbox=()))
    remembered, *rest = state
    without = {key: replace(a, configuration="") for key, a in remembered.standing.items()}
    cleared = tuple(replace(a, configuration="") for a in remembered.cleared)
    merge = replace(remembered.merge, facts={})
    remembered = replace(
        remembered,
        merge=merge,
        standing=without,
        cleared=cleared,
        taken=0,
        taken_of=("", 0),
        untold=(),
    )
    return CODEC.encode(kind, 1, "", (remembered, *rest))
