"""Whatever a topic holds is counted by reason, kept as a dead letter, and never stops the agent."""

import json
import time

import pytest
from kafka import KafkaConsumer

from tests.rig.agent import Agent, produce, tocsin

GOOD = 400


def good(i: int, at: int, **more) -> bytes:
    body = {
        "id": f"good-{i}",
        "timestamp": at,
        "model": "credit",
        "features": {"income": float(i % 50), "region": "north" if i % 3 else "south"},
        "score": (i % 100) / 100,
        **more,
    }
    return json.dumps(body).encode()


def bad(at: int) -> dict[str, bytes]:
    """Bad records, and the reason each is counted by."""
    return {
        "not json": b"{half a record",
        "empty": b"",
        "no object": b"[1, 2, 3]",
        "no id": json.dumps({"timestamp": at, "model": "credit", "score": 0.5}).encode(),
        "wrong types": good(9001, at, score="high"),
        "nan score": good(9002, at).replace(b'"score": 0.02', b'"score": NaN'),
        "score out of range": good(9003, at, score=7),
        "far future": good(9004, at + 10**11),
        "no time": good(9005, 0, timestamp="yesterday"),
        "too large": good(9006, at, blob="x" * 10_000_000),
        "other model": good(9007, at, model="churn"),
        "duplicate": good(1, at),
        "deep": b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    }


# Records that name their model and so reach it; the others are refused before.
REASONS = {
    "missing_id": 1,
    "bad_score": 3,
    "timestamp_ahead": 1,
    "bad_timestamp": 1,
    "duplicate": 1,
}


@pytest.mark.slow
@pytest.mark.kafka
def test_bad_records_are_counted_and_the_agent_goes_on(kafka, fresh, tmp_path):
    at = int(time.time() * 1000) - 60_000
    topic, feedback = fresh("predictions"), fresh("feedback")
    model = {
        "task": "binary",
        "predictions": {"topic": topic},
        "feedback": {"topic": feedback},
        "profile": "credit.profile",
    }
    other = {**model, "feedback": {"topic": fresh("feedback")}}
    reference = [good(i, at + i, label=i % 2) for i in range(3000)]
    (tmp_path / "train.jsonl").write_bytes(b"\n".join(reference))
    config = {
        "kafka": {
            "bootstrap_servers": kafka.bootstrap,
            "group_id": fresh("group"),
            "dead_letter_topic": fresh("dead"),
        },
        "models": {"credit": model, "other": other},
    }
    agent = Agent(tmp_path, config)
    done = tocsin("profile", "--model", "credit", "--data", "train.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    records = [good(i, at + i) for i in range(GOOD)]
    # Values that are odd, and still a record: each is counted in its feature.
    records += [
        good(GOOD, at + 500, features={"income": None, "region": "mars"}),
        good(GOOD + 1, at + 500).replace(b'"income": 1.0', b'"income": Infinity'),
        good(GOOD + 2, at + 500).replace(b'"income": 2.0', b'"income": NaN'),
        good(GOOD + 3, at + 500, features={"income": "rich", "region": ["a"]}),
    ]
    odd = len(records)
    broken = bad(at + 600)
    values = [*records, *broken.values(), good(GOOD + 4, at + 700)]
    admin = {"max.message.bytes": "20000000"}
    from agent.intake.kafka import KafkaSettings, ensure_topic

    settings = KafkaSettings(kafka.bootstrap)
    ensure_topic(settings, topic, partitions=1, replication=1, configs=admin)
    produce(kafka.bootstrap, topic, values, ["same"] * len(values))
    produce(kafka.bootstrap, feedback, [b"{", b'{"id": "good-1", "label": 1}'], ["a", "a"])
    produce(kafka.bootstrap, other["feedback"]["topic"], [b'{"id": "x", "label": 0}'], ["a"])
    agent.start()
    try:
        status = agent.wait(
            "credit",
            lambda s: (
                sum(s["records"]["predictions"].values()) == odd + 1
                and s["records"]["feedback"]["joined"] == 1
            ),
            timeout=60,
        )
        counted = {
            r["reason"]: r["count"] for r in status["records"]["rejected"] if r["topic"] == topic
        }
        metrics = agent.get("/metrics") or ""
        assert agent.get("/healthz") is not None
    finally:
        code = agent.stop()
    assert code == 0
    assert counted == REASONS
    # Records that cannot be told apart from other models' are refused before they reach a model.
    unrouted = samples(metrics, 'tocsin_rejected_total{model="",')
    assert unrouted == [1, 1, 4]  # unknown_model, too_large, undecodable
    assert sum(counted.values()) + sum(unrouted) == len(broken)
    assert "Traceback" not in agent.log

    # All but the duplicate, the one that is too large for any topic, and the one of feedback.
    assert samples(metrics, "tocsin_dead_letters_total{") == [0, 1, len(broken) - 1]
    letters = consume(kafka.bootstrap, config["kafka"]["dead_letter_topic"], len(broken) - 1)
    expected = {
        (topic, odd + i): value
        for i, (what, value) in enumerate(broken.items())
        if what not in ("duplicate", "too large")
    }
    expected[feedback, 0] = b"{"
    found = {}
    for letter in letters:
        headers = dict(letter.headers)
        origin = headers["tocsin.topic"].decode(), int(headers["tocsin.offset"])
        found[origin] = letter.value
        assert letter.key == (b"same" if origin[0] == topic else b"a")
        assert headers["tocsin.partition"] == b"0" and headers["tocsin.reason"]
    assert found == expected


def samples(metrics: str, start: str) -> list[float]:
    """The values of the series that start like that, in ascending order."""
    return sorted(float(x.split()[-1]) for x in metrics.splitlines() if x.startswith(start))


def consume(bootstrap: str, topic: str, count: int) -> list:
    """That many records of a topic, and no more within a second."""
    with KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as reader:
        records: list = []
        deadline = time.monotonic() + 30
        while len(records) < count:
            assert time.monotonic() < deadline, records
            records += [r for batch in reader.poll(timeout_ms=500).values() for r in batch]
        records += [r for batch in reader.poll(timeout_ms=1000).values() for r in batch]
    assert len(records) == count
    return records
