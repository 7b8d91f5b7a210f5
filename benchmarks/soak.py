"""`python -m benchmarks soak [--events N]`: does the agent's memory grow, or an event's cost?

The whole agent, `tocsin run` in a process of its own, reads hours of traffic from a real Apache
Kafka in one go (`benchmarks.traffic`). Nothing changes in it, so nothing should ring.
"""

import argparse
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent import profile_file
from agent.config import Config
from agent.intake.kafka import KafkaSettings, ensure_topic
from agent.intake.source import RawBatch
from agent.intake.table import from_chunks
from agent.reference import labelled, profile_of
from benchmarks.traffic import PARTITIONS, PER_SECOND, Filler, Traffic
from tests.rig.agent import Agent
from tests.rig.kafka import KafkaServer

EVENTS = 10_000_000
REFERENCE = 50_000  # predictions
BLOCK = 100_000  # predictions made at a time
MODEL, PREDICTIONS, FEEDBACK = "credit", "credit.predictions", "credit.feedback"
# Everything that the agent remembers for a time it has seen the end of in a fifth of the run.
MODEL_SETTINGS = {"task": "binary", "feedback": {"horizon": "15m", "corrections": "10m"}}
SETTINGS = {"windows": ["1m", "10m", "30m"], "checkpoint": {"interval": "10s"}}
WARM = 0.25  # share of the run after which memory should stay as it is


@dataclass(frozen=True, slots=True)
class Sample:
    """The agent's process at one moment."""

    events: int
    seconds: float
    cpu: float  # seconds
    resident: float  # MB


def sample(agent: Agent, began: float) -> tuple[Sample, dict[str, float]]:
    """A sample, and all metrics by name with labels."""
    text = agent.get("/metrics") or ""
    metrics = {k: float(v) for k, v in re.findall(r"^(tocsin_\S+) (\S+)$", text, re.MULTILINE)}
    pid = agent.process.pid
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    cpu = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    resident = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Sample(events(metrics), time.monotonic() - began, cpu, resident), metrics


def events(metrics: dict[str, float]) -> int:
    """Records of both topics that have been taken in, rejected ones included."""
    names = ("tocsin_predictions_total{", "tocsin_feedback_total{", "tocsin_rejected_total{")
    counted = {k: v for k, v in metrics.items() if k.startswith(names)}
    return int(sum(v for k, v in counted.items() if 'outcome="expired"' not in k))


def watch(agent: Agent, total: int) -> Iterator[Sample]:
    """A sample a second until all is read and the agent rests."""
    began, last, since = time.monotonic(), -1, time.monotonic()
    while True:
        taken, _ = sample(agent, began)
        yield taken
        if taken.events != last:
            last, since = taken.events, time.monotonic()
        elif time.monotonic() - since > (10 if taken.events >= total else 60):
            return
        time.sleep(1.0)


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    total = parser.parse_args(arguments).events
    with tempfile.TemporaryDirectory() as folder:
        kafka = KafkaServer(Path(folder) / "kafka", memory="1g")
        try:
            kafka.start()
            soak(kafka.bootstrap, Path(folder) / "agent", total)
        finally:
            kafka.stop()


def soak(bootstrap: str, folder: Path, total: int) -> None:
    """Fill the topics, run the agent over them, and print what was seen."""
    folder.mkdir()
    config = Config.model_validate({"models": {MODEL: MODEL_SETTINGS}})
    parts = Traffic(start=0, seed=2).block(REFERENCE, spoilt=False)
    chunks = [
        RawBatch(topic, 0, values, np.arange(len(values)), times)
        for topic, (_, times, values) in zip((PREDICTIONS, FEEDBACK), parts, strict=True)
    ]
    fields = config.models[MODEL].fields
    rows = labelled(from_chunks(chunks[:1], fields), from_chunks(chunks[1:], fields))
    profile_file.save(profile_of(rows, config.models[MODEL], config.pane), folder / "m.profile")
    for topic in (PREDICTIONS, FEEDBACK):
        ensure_topic(KafkaSettings(bootstrap), topic, partitions=PARTITIONS, replication=1)
    began, filler, made = time.monotonic(), Filler(bootstrap), 0
    seconds = total // 2 // PER_SECOND
    traffic = Traffic(start=int(time.time() * 1000) - seconds * 1000 - 600_000)
    while made < total:
        for topic, records in zip((PREDICTIONS, FEEDBACK), traffic.block(BLOCK), strict=True):
            filler.fill(topic, records)
            made += len(records[2])
    filler.close()
    print(f"{made:,} events made in {time.monotonic() - began:.0f} s", flush=True)
    model = {**MODEL_SETTINGS, "profile": "m.profile"}
    settings = {"kafka": {"bootstrap_servers": bootstrap}, "models": {MODEL: model}, **SETTINGS}
    agent = Agent(folder, settings).start()
    try:
        samples = list(watch(agent, made))
        _, metrics = sample(agent, 0.0)
    finally:
        code = agent.stop()
    report(samples, metrics, made, code)


def report(samples: list[Sample], metrics: dict[str, float], made: int, code: int) -> None:
    """The table, and what it comes to."""
    marks, step = [samples[0]], made / 10
    print("| events | seconds | events/s | CPU µs an event | resident MB |\n" + "| ---: " * 5 + "|")
    for taken in samples:
        if taken.events >= len(marks) * step * 0.9999:
            before = marks[-1]
            n = max(taken.events - before.events, 1)
            rate, cost = n / (taken.seconds - before.seconds), (taken.cpu - before.cpu) / n * 1e6
            print(
                f"| {taken.events:,} | {taken.seconds:.0f} | {rate:,.0f} | {cost:.1f} "
                f"| {taken.resident:.0f} |"
            )
            marks.append(taken)
    warm = [s for s in samples if WARM * made < s.events < made]
    x, y = np.array([s.events for s in warm]) / 1e6, np.array([s.resident for s in warm])
    half = len(y) // 2
    print(
        f"resident memory after {WARM:.0%} of the run: {y.min():.0f} to {y.max():.0f} MB, mean of "
        f"its halves {y[:half].mean():.1f} and {y[half:].mean():.1f}, "
        f"trend {np.polyfit(x, y, 1)[0]:+.2f} MB a million events"
    )
    kinds = ("predictions", "feedback", "rejected", "late", "alarms", "events", "checkpoint")
    for name, value in sorted(metrics.items()):
        if name.startswith(tuple(f"tocsin_{kind}_" for kind in kinds)) and "_bucket" not in name:
            print(f"{name} {value:.0f}")
    print(f"exit code {code}")
