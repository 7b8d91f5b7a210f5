"""Predictions a second through the whole agent, beside a loop that only polls and decodes.

Thirty numeric features, every default detector, a real Apache Kafka, one process. Both sides read
the same topics through the same source with the same decoder, in turn.
The agent also joins the feedback of every prediction, folds, closes panes, detects and takes
snapshots; it writes no checkpoints, whose cost `benchmarks.checkpoint` has. What counts is the
ratio of each pair: the machine's speed cancels out of it.
"""

import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from agent import profile_file
from agent.config import Config
from agent.intake.decode import FeedbackDecoder, PredictionDecoder
from agent.intake.kafka import KafkaSettings, KafkaSink, KafkaSource, ensure_topic
from agent.intake.source import RawBatch
from agent.intake.vocabulary import Vocabulary
from agent.loop import Loop
from agent.pipeline import Pipeline
from agent.publish.events import Events
from detectors.batch import Batch, NumericFeature, Schema
from detectors.profile import build_profile
from tests.rig.kafka import KafkaServer

FEATURES = 30
PREDICTIONS = 200_000
REFERENCE = 20_000
PARTITIONS = 2
PAIRS = 3
PER_SECOND = 2_000  # in event time
MODEL = "wide"


def columns(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, 30), scores and labels."""
    x = rng.normal(size=(n, FEATURES))
    score = 1 / (1 + np.exp(-x[:, :4].sum(axis=1)))
    return x, score, (rng.random(n) < score).astype(int)


def records(rng: np.random.Generator, n: int, start: int) -> tuple[list[bytes], list[bytes]]:
    """Encoded predictions and their feedback, a second later."""
    x, score, label = columns(rng, n)
    predictions, feedback = [], []
    for i in range(n):
        time_ms = start + i * 1000 // PER_SECOND
        body = {
            "id": f"request-{i:012d}",
            "timestamp": time_ms,
            "version": "1",
            "features": {f"feature_{j:02d}": x[i, j] for j in range(FEATURES)},
            "prediction": int(score[i] >= 0.5),
            "score": score[i],
        }
        predictions.append(msgspec.json.encode(body, enc_hook=float))
        outcome = {"id": body["id"], "timestamp": time_ms + 1000, "label": int(label[i])}
        feedback.append(msgspec.json.encode(outcome))
    return predictions, feedback


def save_profile(path: Path) -> Schema:
    """The approved model, from the same distribution."""
    x, score, label = columns(np.random.default_rng(1), REFERENCE)
    features = tuple(NumericFeature(f"feature_{j:02d}") for j in range(FEATURES))
    schema = Schema("binary", features, (), ("0", "1"))
    n = len(x)
    batch = Batch(
        time=np.arange(n) * 1000 // PER_SECOND,
        id=np.arange(n).astype(np.uint64),
        version=np.zeros(n, dtype=np.int32),
        numeric=x,
        invalid=np.zeros(x.shape, dtype=bool),
        category=np.zeros((n, 0), dtype=np.int32),
        prediction=(score >= 0.5).astype(float),
        score=score[:, None],
        latency=np.full(n, np.nan),
    )
    profile_file.save(build_profile(schema, batch, label.astype(float), 10_000), path)
    return schema


def produce(settings: KafkaSettings, topics: list[str], start: int) -> float:
    """Fill the topics; returns the mean size of a prediction in bytes."""
    for topic in topics:
        ensure_topic(settings, topic, partitions=PARTITIONS, replication=1)
    sink = KafkaSink(settings, buffer_bytes=256 * 2**20, max_block=60.0)
    made = records(np.random.default_rng(2), PREDICTIONS, start)
    for topic, values in zip(topics, made, strict=True):
        for i, value in enumerate(values):
            sink.send(topic, b"%012d" % i, value)
    sink.close(60.0)
    return statistics.mean(map(len, made[0]))


Took = tuple[float, float]  # seconds by the clock, and of the process's own CPU


def now() -> Took:
    return time.perf_counter(), time.process_time()


def since(began: Took | None) -> Took:
    assert began is not None, "nothing was read"
    wall, cpu = now()
    return wall - began[0], cpu - began[1]


def bare(settings: KafkaSettings, config: Config, schema: Schema) -> Took:
    """Time of a loop that polls both topics and decodes them into columns."""
    model = config.models[MODEL]
    decoders = {
        model.predictions.topic: PredictionDecoder(schema, model.fields, Vocabulary()),
        model.feedback.topic: FeedbackDecoder(schema, model.fields),
    }
    source = KafkaSource(settings, list(decoders))
    left, began = 2 * PREDICTIONS, None
    while left:
        for batch in source.poll(0.5):
            began = began or now()
            assert isinstance(batch, RawBatch)
            decoders[batch.topic].decode(batch)
            left -= len(batch)
    took = since(began)
    source.close()
    return took


def agent(settings: KafkaSettings, config: Config) -> Took:
    """Time of the whole agent over the same records; checks that it did its work."""
    pipeline = Pipeline(config)
    source = KafkaSource(settings, pipeline.topics)
    loop = Loop(source, pipeline, Events(logged=False), time.time)
    began = None
    while sum(pipeline.positions().values()) < 2 * PREDICTIONS:
        before = now()
        loop.turn()
        if began is None and pipeline.positions():
            began = before
    took = since(began)
    source.close()
    status = pipeline.models[MODEL]
    joined = sum(join.counts["joined"] for join in status.joins)
    assert joined > 0.99 * PREDICTIONS, f"only {joined} outcomes were joined"
    return took


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        kafka = KafkaServer(Path(folder) / "kafka", memory="1g")
        try:
            kafka.start()
            _measure(kafka.bootstrap, Path(folder))
        finally:
            kafka.stop()


def _measure(bootstrap: str, folder: Path) -> None:
    schema = save_profile(folder / "wide.profile")
    config = Config.model_validate(
        {"models": {MODEL: {"task": "binary", "profile": str(folder / "wide.profile")}}}
    )
    model = config.models[MODEL]
    topics = [model.predictions.topic, model.feedback.topic]
    start = int(time.time() * 1000) - PREDICTIONS * 1000 // PER_SECOND - 60_000
    size = produce(KafkaSettings(bootstrap), topics, start)
    print(f"{PREDICTIONS} predictions of {size:.0f} bytes and as many labels, {FEATURES} features")
    ratios = []
    for pair in range(PAIRS):
        alone = bare(KafkaSettings(bootstrap, group_id=f"bare-{pair}"), config, schema)
        whole = agent(KafkaSettings(bootstrap, group_id=f"agent-{pair}"), config)
        ratios.append((alone[0] / whole[0], alone[1] / whole[1]))
        print(
            f"pair {pair + 1}: bare {PREDICTIONS / alone[0]:,.0f}/s, "
            f"{alone[1] / PREDICTIONS * 1e6:.1f} us CPU a prediction with its label; agent "
            f"{PREDICTIONS / whole[0]:,.0f}/s, {whole[1] / PREDICTIONS * 1e6:.1f} us; "
            f"ratio {ratios[-1][0]:.2f} by the clock, {ratios[-1][1]:.2f} by CPU"
        )
    clock, cpu = (statistics.median(r[i] for r in ratios) for i in (0, 1))
    print(
        f"agent's share of the bare loop's rate: median {clock:.2f} by the clock, {cpu:.2f} by CPU"
    )
