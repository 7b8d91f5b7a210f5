"""`tocsin demo`: the whole product on one machine with nothing else installed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.status import Status

from agent import profile_file
from agent.commands.broker import Broker
from agent.config import Config
from agent.errors import TocsinError, UnreachableError
from agent.intake.kafka import KafkaSettings, KafkaSink, KafkaSource, ensure_topic
from agent.intake.simulate import CreditTraffic, Record, Script, SimulatedSource, raw_batch
from agent.intake.table import from_chunks
from agent.loop import LiveSource, Loop
from agent.pipeline import Pipeline
from agent.publish.events import Events
from agent.publish.http import HttpServer
from agent.reference import labelled, profile_of
from agent.stopping import Stop
from detectors.profile import Profile

MODEL = "credit"
PER_SECOND = 200
REFERENCE_SECONDS = 100
DRIFT_AFTER, DECAY_AFTER = 25_000, 55_000  # ms


def demo_config(profile: Path, port: int) -> Config:
    """The demo's configuration: short panes and windows, the default alert budget."""
    return Config.model_validate(
        {
            "pane": "1s",
            "windows": ["1m", "5m"],
            "http": {"host": "127.0.0.1", "port": port},
            "models": {
                MODEL: {"task": "binary", "profile": str(profile), "segments": ["region"]},
            },
        }
    )


def run_demo(duration: int | None, port: int, seed: int, in_memory: bool, verbose: bool) -> None:
    """Play the script until it is over, the time is up or Ctrl-C comes; always ends cleanly."""
    console = Console(stderr=False)
    with Stop() as stop, TemporaryDirectory(prefix="tocsin-demo-") as folder:
        rng = np.random.default_rng(seed)
        config = demo_config(Path(folder) / "credit.profile", port)
        console.print("making a profile of the approved model from 20,000 simulated predictions")
        profile_file.save(_profile(config, rng), config.models[MODEL].profile or Path())
        pipeline = Pipeline(config)
        start = time.time()
        script = Script(drift=DRIFT_AFTER, decay=DECAY_AFTER)
        traffic = CreditTraffic(rng, int(start * 1000), PER_SECOND, script)
        with _source(console, traffic, pipeline, Path(folder), in_memory) as source:
            loop = Loop(
                source,
                pipeline,
                Events(logged=verbose),
                time.time,
                lambda line: _ring(console, line),
            )
            server = _serve(config, loop)
            try:
                _announce(console, server.port)
                _play(console, loop, stop, start, duration)
            finally:
                server.stop()
    console.print("the demo has ended")


def _profile(config: Config, rng: np.random.Generator) -> Profile:
    traffic = CreditTraffic(rng, 0, PER_SECOND)
    predictions, feedback = traffic.until(REFERENCE_SECONDS * 1000)
    _, late = traffic.until(10 * REFERENCE_SECONDS * 1000)
    model = config.models[MODEL]
    good = [r for r in predictions if r.value.startswith(b'{"')]
    reference = from_chunks([raw_batch("reference", 0, good, 0)], model.fields)
    outcomes = from_chunks([raw_batch("labels", 0, feedback + late, 0)], model.fields)
    return profile_of(labelled(reference, outcomes), model, config.pane)


@contextmanager
def _source(
    console: Console, traffic: CreditTraffic, pipeline: Pipeline, folder: Path, in_memory: bool
) -> Iterator[LiveSource]:
    """A broker with a producer, or the in-memory source where no broker can be had."""
    topics = pipeline.topics
    simulated = SimulatedSource(traffic, topics[0], topics[1])
    if in_memory:
        yield simulated
        return
    try:
        broker = Broker.start(folder / "broker")
    except TocsinError as error:
        console.print(f"no broker ({error}): the traffic comes from memory instead")
        yield simulated
        return
    console.print(f"embedded Kafka-protocol broker on {broker.address}")
    settings = KafkaSettings(broker.address, group_id="tocsin-demo")
    producer = Producer(settings, traffic, topics)
    source = KafkaSource(settings, topics)
    try:
        for topic in topics:
            ensure_topic(settings, topic, partitions=2, replication=1)
        producer.start()
        yield source
    finally:
        producer.stop()
        source.close()
        broker.stop()


class Producer:
    """Sends simulated traffic to Kafka in step with the clock, from a thread of its own."""

    def __init__(self, settings: KafkaSettings, traffic: CreditTraffic, topics: list[str]) -> None:
        self._settings, self._traffic, self._topics = settings, traffic, topics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End sending; returns when the thread has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        sink = KafkaSink(self._settings)
        while not self._stop.wait(0.2):
            parts = self._traffic.until(int(time.time() * 1000))
            for topic, records in zip(self._topics, parts, strict=True):
                self._send(sink, topic, records)
        sink.close()

    @staticmethod
    def _send(sink: KafkaSink, topic: str, records: list[Record]) -> None:
        for record in records:
            sink.send(topic, record.key, record.value)


def _serve(config: Config, loop: Loop) -> HttpServer:
    """The status page on the wished port, or on a free one where that is taken."""
    for port in (config.http.port, 0):
        server = HttpServer(config.http.host, port, loop.snapshot, submit=loop.commands.submit)
        try:
            server.start()
        except UnreachableError:
            if port == 0:
                raise
        else:
            return server
    raise AssertionError("one of the two ports was free or an error was raised")


def _announce(console: Console, port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    console.print(
        f"status page  {base}/\nmetrics      {base}/metrics\nJSON         {base}/api/v1/status"
    )
    console.print(
        f"script: healthy, then incomes drift after {DRIFT_AFTER // 1000} s, then outcomes turn "
        f"against the model after {DECAY_AFTER // 1000} s; Ctrl-C ends\n"
    )


def _play(console: Console, loop: Loop, stop: Stop, start: float, duration: int | None) -> None:
    def over() -> bool:
        passed = (time.time() - start) * 1000
        return stop.requested() or (duration is not None and passed >= duration)

    with console.status("starting") as line:
        while not over():
            loop.turn()
            _progress(line, loop, time.time() - start)


def _progress(line: Status, loop: Loop, seconds: float) -> None:
    status = loop.snapshot().models[MODEL]
    predictions = int(sum(status.records.predictions.values()))
    joined = int(status.records.feedback.get(("joined",), 0))
    milliseconds = seconds * 1000
    phase = "healthy"
    if milliseconds >= DECAY_AFTER:
        phase = "incomes drifted, outcomes turned"
    elif milliseconds >= DRIFT_AFTER:
        phase = "incomes drifted"
    line.update(
        f"{seconds:4.0f} s  {phase}: {predictions} predictions, {joined} outcomes, "
        f"{len(status.alarms)} alarms standing"
    )


def _ring(console: Console, text: str) -> None:
    style = "bold red" if text.startswith("page") else "yellow"
    console.print(f"{time.strftime('%H:%M:%S')} {text}", style=style, markup=False, soft_wrap=True)
