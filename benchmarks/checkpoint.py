"""`python -m benchmarks checkpoint`: what it costs to remember, and what it would to read again.

A checkpoint holds the predictions that wait for their labels. Instead of those it could hold the
offset of the oldest: after a restart the records since then would be decoded and joined again.
Measured here is the one and the other, for the same rows, against a real Apache Kafka and a disk;
then what a checkpoint costs where nothing waits, and what of its time the agent spends on them.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agent.checkpoint.directory import Directory
from agent.checkpoint.keeper import Keeper
from agent.checkpoint.medium import Medium
from agent.checkpoint.record import (
    decode_fold,
    decode_model,
    encode_fold,
    encode_model,
    fold_name,
    model_name,
)
from agent.checkpoint.store import Checkpoints
from agent.config import Config
from agent.fold import Fold
from agent.intake.decode import PredictionDecoder
from agent.intake.kafka import KafkaSettings, KafkaSource, StateTopic
from agent.intake.source import RawBatch
from agent.intake.vocabulary import Vocabulary
from agent.loop import Loop
from agent.model import Model
from agent.pipeline import Pipeline
from agent.publish.events import Events
from benchmarks import throughput
from detectors.batch import Batch, protected_codes
from tests.rig.kafka import KafkaServer

PENDING = (10_000, 100_000, 1_000_000, 5_000_000)
BLOCK = 5_000  # rows that are taken in at once
DECODED = 100_000  # records of which the rate of reading again is taken
SHARES = (1.0, 0.01)  # of the records since the oldest, how many still wait
DAY, MINUTE = 86_400_000, 60_000  # milliseconds
INTERVAL = 10.0  # seconds between two checkpoints
REPEATS = 3
START = 1_700_000_000_000 // DAY * DAY


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one checkpoint; the fastest of some, since a machine is only ever slowed by others."""

    encode: float  # seconds to capture and encode
    size: int  # bytes
    write: dict[str, float]  # by medium, seconds until it is durable
    restore: dict[str, float]  # by medium, seconds to read, decode and take over


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The shortest time that the work takes."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def watched(folder: Path, **feedback: str) -> Model:
    """A model of 30 features that has seen nothing."""
    throughput.save_profile(folder / "wide.profile")
    settings = {"task": "binary", "profile": str(folder / "wide.profile"), "feedback": feedback}
    return Pipeline(Config.model_validate({"models": {throughput.MODEL: settings}})).started()[0]


def blocks(total: int, over: int) -> Iterator[Batch]:
    """Decoded predictions, spread over so many milliseconds, each with an id of its own."""
    random = np.random.default_rng(3)
    for start in range(0, total, BLOCK):
        n = min(BLOCK, total - start)
        x, score, _ = throughput.columns(random, n)
        yield Batch(
            time=START + (start + np.arange(n)) * over // total,
            id=random.integers(0, 2**64, n, dtype=np.uint64),
            version=np.zeros(n, dtype=np.int32),
            numeric=x,
            invalid=np.zeros(x.shape, dtype=bool),
            category=np.zeros((n, 0), dtype=np.int32),
            prediction=(score >= 0.5).astype(float),
            score=score[:, None],
            latency=np.full(n, np.nan),
        )


def waiting(model: Model, rows: int) -> Fold:
    """A partition in which so many predictions wait for their labels."""
    fold = Fold(model.layout, 0)
    for batch in blocks(rows, DAY):
        protected = protected_codes(model.profile.schema, batch)
        fold.join.predictions(batch, fold.groups.of(batch), protected)
    assert fold.join.remembered[0] == rows, f"only {fold.join.remembered[0]} are remembered"
    return fold


def cost(
    name: str,
    encode: Callable[[], bytes],
    take: Callable[[bytes], object],
    media: dict[str, Medium],
) -> Cost:
    """What it takes to write such a checkpoint and to have it back."""
    payload = encode()
    write, restore = {}, {}
    for medium_name, medium in media.items():
        checkpoints = Checkpoints(medium)
        assert checkpoints.open([name]) is not None, medium.problem

        def save(checkpoints: Checkpoints = checkpoints) -> None:
            assert checkpoints.save(name, payload), checkpoints.problem

        def have_back(medium: Medium = medium) -> None:
            found = Checkpoints(medium).open([name])
            assert found is not None and found[name].payload == payload
            take(payload)

        write[medium_name] = seconds(save)
        restore[medium_name] = seconds(have_back)
    return Cost(seconds(encode), len(payload), write, restore)


def take_fold(model: Model) -> Callable[[bytes], object]:
    """Decodes the record of a partition and goes on from it."""
    return lambda payload: Fold(model.layout, 0).restore(decode_fold(model.layout, payload))


def reading_again(model: Model) -> float:
    """Records a second that are decoded and joined, and nothing else; polling is not part of it."""
    values, _ = throughput.records(np.random.default_rng(2), DECODED, START)
    at = np.arange(DECODED)
    batches = [
        RawBatch("t", 0, values[i : i + BLOCK], at[i : i + BLOCK], at[i : i + BLOCK])
        for i in range(0, DECODED, BLOCK)
    ]

    def read() -> None:
        fold = Fold(model.layout, 0)
        decoder = PredictionDecoder(model.profile.schema, model.config.fields, Vocabulary())
        for raw in batches:
            rows = decoder.decode(raw).rows
            protected = protected_codes(model.profile.schema, rows)
            fold.join.predictions(rows, fold.groups.of(rows), protected)

    return DECODED / seconds(read)


def at_rest(folder: Path) -> Model:
    """A model that has seen a day of traffic, with full windows and nothing that waits."""
    model = watched(folder, horizon="1m", corrections="0s", early="0s")
    for batch in blocks(100_000, DAY):
        values = [
            msgspec.json.encode(
                {
                    "id": str(number),
                    "timestamp": int(moment),
                    "features": {f"feature_{j:02d}": x for j, x in enumerate(row)},
                    "score": score,
                }
            )
            for number, moment, row, score in zip(
                batch.id.tolist(),
                batch.time.tolist(),
                batch.numeric.tolist(),
                batch.score[:, 0].tolist(),
                strict=True,
            )
        ]
        at = np.arange(len(values))
        model.predictions(RawBatch("p", 0, values, at, at), latest=START + 2 * DAY)
        model.end_of(False, 0, recorded=False)
        model.close()
    return model


def under_load(bootstrap: str, config: Config, medium: Medium) -> tuple[float, float, list[float]]:
    """Reads all predictions with their labels as fast as it can: seconds, records, checkpoints."""
    pipeline = Pipeline(config)
    source = KafkaSource(KafkaSettings(bootstrap, group_id="load"), pipeline.topics, held=True)
    keeper = Keeper(pipeline, Checkpoints(medium), time.time, INTERVAL)
    loop = Loop(source, pipeline, Events(logged=False), time.time, keeper=keeper)
    save, taken = keeper.save, []

    def timed() -> bool:
        began = time.perf_counter()
        done = save()
        taken.append(time.perf_counter() - began)
        return done

    keeper.save = timed  # type: ignore[method-assign]
    total, began = 2 * throughput.PREDICTIONS, 0.0
    while (read := sum(pipeline.positions().values())) < total:
        before = time.perf_counter()
        loop.turn()
        began = began or (before if read else 0.0)
    timed()
    source.close()
    return time.perf_counter() - began, total, taken


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        kafka = KafkaServer(Path(folder) / "kafka", memory="1g")
        try:
            kafka.start()
            _measure(kafka.bootstrap, Path(folder))
        finally:
            kafka.stop()


def _measure(bootstrap: str, folder: Path) -> None:
    media: dict[str, Medium] = {
        "topic": StateTopic(KafkaSettings(bootstrap), "tocsin.state", timeout=120.0),
        "directory": Directory(folder / "state"),
    }
    model = watched(folder, memory="1GB")
    rate = reading_again(model)
    print(f"Read again: {rate:,.0f} records a second, decoded and joined, polling not counted.")
    heads = ["encode", "MB", "to topic", "to disk", "from topic", "from disk"]
    heads += [f"read again, {share:.0%} wait" for share in SHARES]
    print(_line(["waiting", *heads]))
    for rows in PENDING:
        fold = waiting(model, rows)
        name = fold_name(model.name, rows)
        made = cost(name, lambda fold=fold: encode_fold(fold), take_fold(model), media)
        again = [f"{rows / share / rate:.1f} s" for share in SHARES]
        print(_line([f"{rows:,}", *_cells(made), *again]), flush=True)
    rest = at_rest(folder)
    of_model = cost(
        model_name(rest.name),
        lambda: encode_model(rest),
        lambda payload: decode_model(payload, rest.layout),
        media,
    )
    of_fold = cost(
        fold_name(rest.name, 0), lambda: encode_fold(rest.folds[0]), take_fold(rest), media
    )
    for what, made in (("model", of_model), ("partition", of_fold)):
        print(_line([f"a {what} where nothing waits", *_cells(made, 1000), "", ""]))
    _load(bootstrap, folder, media["topic"])


def _load(bootstrap: str, folder: Path, medium: Medium) -> None:
    settings = {"task": "binary", "profile": str(folder / "wide.profile")}
    config = Config.model_validate({"models": {throughput.MODEL: settings}})
    model = config.models[throughput.MODEL]
    start = int(time.time() * 1000) - throughput.PREDICTIONS * 1000 // throughput.PER_SECOND
    topics = [model.predictions.topic, model.feedback.topic]
    throughput.produce(KafkaSettings(bootstrap), topics, start - MINUTE)
    whole, records, taken = under_load(bootstrap, config, medium)
    each = ", ".join(f"{t:.2f}" for t in taken)
    print(
        f"Under load: {records:,} records in {whole:.1f} s, all predictions remembered; "
        f"checkpoints took {each} s, the last one of {throughput.PREDICTIONS:,} predictions: "
        f"{max(taken) / max(INTERVAL, 11 * max(taken)):.1%} of the loop's time at that size"
    )


def _cells(made: Cost, unit: float = 1.0) -> list[str]:
    name = "s" if unit == 1.0 else "ms"
    taken = [made.encode, *made.write.values(), *made.restore.values()]
    cells = [f"{t * unit:.2f} {name}" for t in taken]
    return [cells[0], f"{made.size / 1e6:.3f}", *cells[1:]]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
