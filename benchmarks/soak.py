"""`python -m benchmarks soak [--events N]`: does the agent's memory grow, or an event's cost?

The whole agent, `tocsin run` in a process of its own, reads hours of traffic from a real Apache
Kafka in one go (`benchmarks.traffic`): a warm-up, and N events after it, predictions and feedback
in the same mix throughout. Nothing changes in it, so nothing should ring.
"""

import argparse
import csv
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from agent import profile_file
from agent.config import Config
from agent.intake.kafka import KafkaSettings, ensure_topic
from agent.intake.source import RawBatch
from agent.intake.table import from_chunks
from agent.reference import labelled, profile_of
from benchmarks.traffic import PARTITIONS, PER_SECOND, Filler, Traffic
from tests.rig.agent import Agent
from tests.rig.kafka import KafkaServer

EVENTS = 10_000_000  # after the warm-up
# 50 minutes of event time (1,000 events a second): the longest window is full after 30, predictions
# are kept for 25 (horizon and corrections), and in blocks that are let go as a whole.
WARM = 3_000_000
REST = 300_000  # events after the last that counts: the end of the topics is no part of it
REFERENCE = 50_000  # predictions
BLOCK = 100_000  # predictions made at a time
MODEL, PREDICTIONS, FEEDBACK = "credit", "credit.predictions", "credit.feedback"
MODEL_SETTINGS = {"task": "binary", "feedback": {"horizon": "15m", "corrections": "10m"}}
SETTINGS = {"windows": ["1m", "10m", "30m"], "checkpoint": {"interval": "10s"}}
MILLION, PARTS = 1_000_000, 10  # an event's cost is told of each million, and of its tenths
TREND_BLOCK = 500_000  # events whose mean memory is one point of the trend
LOOK_SECONDS = 0.25  # a quarter of the time between two pictures that the agent makes of itself

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """The agent's process at one moment."""

    events: int
    predictions: int
    seconds: float
    cpu: float  # seconds
    resident: float  # MB


def sample(agent: Agent, began: float) -> Sample:
    """What it says that it has read, and what the system says of it."""
    records = agent.model(MODEL)["records"]
    rejected: Counter[str] = Counter()
    for reason in records["rejected"]:
        rejected[reason["topic"]] += reason["count"]
    predictions = sum(records["predictions"].values()) + rejected[PREDICTIONS]
    feedback = sum(n for outcome, n in records["feedback"].items() if outcome != "expired")
    pid = agent.process.pid
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Sample(
        int(predictions + feedback + rejected[FEEDBACK]),
        int(predictions),
        time.monotonic() - began,
        sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
    )


def watch(agent: Agent, total: int) -> Iterator[Sample]:
    """A sample of each picture that the agent makes of itself, until it has read all and rests."""
    began, last, since = time.monotonic(), -1, time.monotonic()
    while True:
        taken = sample(agent, began)
        if taken.events != last:
            yield taken
            last, since = taken.events, time.monotonic()
        elif time.monotonic() - since > (10 if taken.events >= total else 60):
            return
        time.sleep(LOOK_SECONDS)


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="after the warm-up")
    parser.add_argument("--warm", type=int, default=WARM, help="events of the warm-up")
    parser.add_argument("--samples", type=Path, help="write every sample there, as CSV")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        kafka = KafkaServer(Path(folder) / "kafka", memory="1g")
        try:
            kafka.start()
            samples = soak(kafka.bootstrap, Path(folder) / "agent", options.warm, options.events)
        finally:
            kafka.stop()
    if options.samples:
        with options.samples.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(f.name for f in fields(Sample))
            rows.writerows(map(astuple, samples))


def soak(bootstrap: str, folder: Path, warm: int, total: int) -> list[Sample]:
    """Fill the topics, run the agent over them, and print what was seen."""
    folder.mkdir()
    config = Config.model_validate({"models": {MODEL: MODEL_SETTINGS}})
    parts = Traffic(start=0, seed=2).block(REFERENCE, spoilt=False)
    chunks = [
        RawBatch(topic, 0, values, np.arange(len(values)), times)
        for topic, (_, times, values) in zip((PREDICTIONS, FEEDBACK), parts, strict=True)
    ]
    columns = config.models[MODEL].fields
    rows = labelled(from_chunks(chunks[:1], columns), from_chunks(chunks[1:], columns))
    profile_file.save(profile_of(rows, config.models[MODEL], config.pane), folder / "m.profile")
    for topic in (PREDICTIONS, FEEDBACK):
        ensure_topic(KafkaSettings(bootstrap), topic, partitions=PARTITIONS, replication=1)
    began, filler, made = time.monotonic(), Filler(bootstrap), 0
    seconds = (warm + total + REST) // 2 // PER_SECOND
    traffic = Traffic(start=int(time.time() * 1000) - seconds * 1000 - 900_000)
    while made < warm + total + REST:
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
        records, text = agent.model(MODEL)["records"], agent.get("/metrics") or ""
    finally:
        code = agent.stop()
        if code:
            print(agent.log[-2000:])
    print(f"records: {records}")
    print("\n".join(re.findall(r"^tocsin_(?:alarms|checkpoint|forgotten)_\S+ \S+$", text, re.M)))
    print(f"exit code {code}", flush=True)
    report(samples, warm, total)
    return samples


def report(samples: Sequence[Sample], warm: int, total: int) -> None:
    """The table, and what it comes to."""
    series = {
        f.name: np.array([getattr(s, f.name) for s in samples], float) for f in fields(Sample)
    }
    events = series["events"]

    def at(name: str, marks: Floats) -> Floats:
        return np.interp(marks, events, series[name])

    print(
        "| million | predictions | seconds | events/s | CPU us an event "
        "| resident MB, mean | most |\n| --- " + "| ---: " * 6 + "|"
    )
    costs = {}
    for first in range(0, warm + total, MILLION):
        marks = np.linspace(first, first + MILLION, PARTS + 1)
        marks[0] = max(marks[0], events[0])
        cost = np.diff(at("cpu", marks)) / np.diff(marks) * 1e6
        costs[first] = float(cost.mean()), float(cost.std(ddof=1) / PARTS**0.5)
        within = series["resident"][(events >= first) & (events < first + MILLION)]
        seconds = float(np.diff(at("seconds", marks[[0, -1]]))[0])
        share = float(np.diff(at("predictions", marks[[0, -1]]))[0]) / (marks[-1] - marks[0])
        print(
            f"| {first // MILLION + 1}{' (warm-up)' if first < warm else ''} | {share:.1%} "
            f"| {seconds:.1f} | {MILLION / seconds:,.0f} | {costs[first][0]:.2f} "
            f"+- {costs[first][1]:.2f} | {within.mean():.0f} | {within.max():.0f} |"
        )
    one, last = costs[warm], costs[warm + total - MILLION]
    print(
        f"cost of the last million less that of the first after the warm-up: "
        f"{last[0] - one[0]:+.2f} +- {(one[1] ** 2 + last[1] ** 2) ** 0.5:.2f} us an event "
        f"({last[0] / one[0] - 1:+.1%})"
    )
    millions = np.arange(warm, warm + total, MILLION)
    slope, error, _ = trend(millions / 1e6, np.array([costs[m][0] for m in millions.tolist()]))
    print(f"trend of the cost: {slope:+.3f} +- {error:.3f} us an event a million events")
    blocks = np.arange(warm, warm + total, TREND_BLOCK)
    means = np.array(
        [
            series["resident"][(events >= b) & (events < b + TREND_BLOCK)].mean()
            for b in blocks.tolist()
        ]
    )
    slope, error, correlation = trend(blocks / 1e6, means)
    limit = slope + float(stats.t.ppf(0.95, len(blocks) - 2)) * error
    print(
        f"resident memory after the warm-up: {means.min():.0f} to {means.max():.0f} MB (means of "
        f"{TREND_BLOCK:,} events), trend {slope:+.2f} +- {error:.2f} MB a million events, at most "
        f"{limit:+.2f} with 95%; correlation of neighbouring residuals {correlation:+.2f}"
    )


def trend(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Slope, its standard error, and the correlation of neighbouring residuals.

    The error is widened for that correlation, as for a series in which each deviation carries over
    to the next.
    """
    design = np.stack([x - x.mean(), np.ones(len(x))], axis=1)
    (slope, _), *_ = np.linalg.lstsq(design, y, rcond=None)
    left = y - design @ np.array([slope, y.mean()])
    variance = (left**2).sum() / (len(x) - 2)
    correlation = float((left[1:] * left[:-1]).sum() / max((left**2).sum(), 1e-12))
    carried = min(max(correlation, 0.0), 0.9)
    widened = variance / (design[:, 0] ** 2).sum() * (1 + carried) / (1 - carried)
    return float(slope), float(widened**0.5), correlation
