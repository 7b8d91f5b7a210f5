"""Dead letters: what they say, and which records become one."""

import json

import numpy as np
import pytest

from agent import profile_file
from agent.config import Config
from agent.intake.records import Rejection
from agent.intake.source import RawBatch, TableBatch
from agent.intake.table import from_records
from agent.learning import UNLEARNABLE
from agent.pipeline import Pipeline
from agent.publish.dead_letters import DeadLetters, NoLetters
from agent.publish.outbox import Outbox
from agent.reference import profile_of
from agent.snapshots import snapshot
from tests.outlet import Outlet

START = 1_700_000_000_000


class Sent:
    """Dead letters on their way to an outlet that takes all."""

    def __init__(self):
        self.outlet = Outlet()
        self.outbox = Outbox("dead", self.outlet)
        self.letters = DeadLetters(self.outbox)

    def taken(self):
        """All that was sent, in order."""
        assert self.letters.settle(5.0)
        self.outbox.close()
        return self.outlet.taken


def raw(values, topic="m.predictions", whole=True, first=0):
    n = len(values)
    more = {}
    if whole:
        more["keys"] = [f"k{i}".encode() for i in range(n)]
        more["headers"] = [[("trace", b"%d" % i), ("empty", None)] for i in range(n)]
    return RawBatch(topic, 3, values, np.arange(first, first + n), START + np.arange(n), **more)


def test_a_letter_is_the_record_with_reason_and_origin():
    sent = Sent()
    sent.letters.refuse("credit", raw([b"a", b"b", None]), [Rejection(1, "undecodable", "b")])
    assert sent.taken() == [
        (
            "dead",
            b"k1",
            b"b",
            [
                ("trace", b"1"),
                ("empty", b""),
                ("tocsin.reason", b"undecodable"),
                ("tocsin.model", b"credit"),
                ("tocsin.topic", b"m.predictions"),
                ("tocsin.partition", b"3"),
                ("tocsin.offset", b"1"),
                ("tocsin.timestamp", b"%d" % (START + 1)),
            ],
        )
    ]
    assert sent.letters.counts == {"sent": 1, "refused": 0, "dropped": 0}


def test_a_tombstone_stays_one_where_it_has_a_key():
    sent = Sent()
    sent.letters.refuse("", raw([None]), [Rejection(0, "tombstone", "")])
    sent.letters.refuse("", raw([None], whole=False), [Rejection(0, "tombstone", "")])
    assert [letter[1:3] for letter in sent.taken()] == [(b"k0", None), (None, b"")]


def test_rows_of_tables_are_no_records():
    sent = Sent()
    table = TableBatch("t", 0, {"id": [1]}, np.arange(1))
    sent.letters.refuse("m", table, [Rejection(0, "bad_id", "")])
    assert sent.taken() == []


# From the pipeline


class Kept(NoLetters):
    """Keeps what it is told."""

    def __init__(self):
        self.letters = []

    def refuse(self, model, batch, rejected):
        self.letters += [
            (model, batch.topic, int(batch.offsets[r.index]), batch.values[r.index], r.reason)
            for r in rejected
        ]


def record(i, **more):
    body = {"id": f"r{i}", "timestamp": START + i, "features": {"x": i % 7}, "score": i % 10 / 10}
    return json.dumps({**body, **more}).encode()


def profiled(tmp_path, **models):
    """A configuration in which each model has the same small profile."""
    settings = Config.model_validate({"models": {"m": {"task": "binary"}}})
    rows = [json.loads(record(i, label=i % 2)) for i in range(300)]
    of = profile_of(from_records(rows, settings.models["m"].fields), settings.models["m"], 10_000)
    profile_file.save(of, tmp_path / "m.profile")
    profile = {"profile": str(tmp_path / "m.profile")}
    made = {name: {"task": "binary", **profile, **more} for name, more in models.items()}
    return Config.model_validate({"models": made})


def test_what_decoders_and_routing_reject_is_handed_over_once(tmp_path):
    config = profiled(
        tmp_path,
        a={"predictions": {"topic": "p"}, "feedback": {"topic": "f"}},
        b={"predictions": {"topic": "p"}, "feedback": {"topic": "b.f"}},
    )
    kept = Kept()
    pipe = Pipeline(config, letters=kept)
    values = [
        record(0, model="a"),
        b"{",
        record(1, model="b", score=7),
        record(2, model="c"),
        record(0, model="a"),  # a duplicate is no dead letter
        record(3, model="a", id=None),
    ]
    pipe.take(raw(values, "p", first=10), START + 10**6, 0.0)
    pipe.take(raw([b'{"id": "r0"}', b'{"id": "r0", "label": 1}'], "f"), START + 10**6, 0.0)
    assert sorted(kept.letters) == [
        ("", "p", 11, values[1], "undecodable"),
        ("", "p", 13, values[3], "unknown_model"),
        ("a", "f", 0, b'{"id": "r0"}', "missing_label"),
        ("a", "p", 15, values[5], "missing_id"),
        ("b", "p", 12, values[2], "bad_score"),
    ]
    picture = snapshot(pipe, {}, 0.0, 0.0, "")
    counted = [picture.unrouted, *(status.told.rejected for status in picture.models.values())]
    reasons = {key: n for counts in counted for key, n in counts.items()}
    assert reasons.pop(("p", "duplicate")) == 1
    assert sum(reasons.values()) == len(kept.letters)
    assert reasons["p", "undecodable"] == reasons["p", "unknown_model"] == 1
    # A model may need records again that another has.
    pipe.take(raw(values[:4], "p", first=10), START + 10**6, 0.0)
    assert snapshot(pipe, {}, 0.0, 0.0, "").unrouted == picture.unrouted
    assert len(kept.letters) == 5
    pipe.take(raw([b"{"], "p", first=16), START + 10**6, 0.0)
    assert pipe.unrouted["p", "undecodable"] == 2


def test_keys_and_headers_follow_their_record_through_a_shared_topic(tmp_path):
    config = profiled(
        tmp_path, a={"predictions": {"topic": "p"}}, b={"predictions": {"topic": "p"}}
    )
    sent = Sent()
    pipe = Pipeline(config, letters=sent.letters)
    values = [record(0, model="a"), record(1, model="b"), record(2, model="b", score=7)]
    pipe.take(raw(values, "p"), START + 10**6, 0.0)
    ((_, key, value, headers),) = sent.taken()
    assert (key, value, headers[0]) == (b"k2", values[2], ("trace", b"2"))
    assert snapshot(pipe, {}, 0.0, 0.0, "").dead_letters["sent"] == 1


@pytest.mark.parametrize("learns", [True, False])
def test_while_learning_letters_wait_for_the_outcome(learns, monkeypatch):
    kept = Kept()
    config = Config.model_validate({"models": {"m": {"task": "binary"}}, "warmup": 200})
    pipe = Pipeline(config, letters=kept)
    if learns:
        values = [b"{", *(record(i, timestamp=START + i * 1000) for i in range(400))]
        pipe.take(raw(values), START + 10**9, 0.0)
        pipe.ended([("m.feedback", 3)])
    else:
        monkeypatch.setattr("agent.learning.MOST_BYTES", 2)
        values = [b"{", b"[1]"]
        pipe.take(raw(values), START + 10**9, 0.0)
    assert kept.letters == []
    pipe.close()
    reasons = [(offset, reason) for _, _, offset, _, reason in kept.letters]
    assert reasons == ([(0, "undecodable")] if learns else [(0, UNLEARNABLE), (1, UNLEARNABLE)])
