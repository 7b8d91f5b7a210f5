"""Records that kafka-python by itself would stop at for good."""

from contextlib import closing

import pytest
from kafka import KafkaProducer
from kafka.record.default_records import DefaultRecordBatch

from agent.intake.kafka import KafkaSettings, KafkaSource, ensure_topic

pytestmark = pytest.mark.kafka


class NotUnicode(str):
    """A header's name that other clients can send: bytes that are no UTF-8."""

    def encode(self, *_: str) -> bytes:
        return b"caf\xe9"


def test_a_header_whose_name_is_no_text_stops_nothing(kafka, fresh) -> None:
    topic = fresh("topic")
    settings = KafkaSettings(kafka.bootstrap, group_id=fresh("group"))
    ensure_topic(settings, topic, replication=1)
    with KafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        producer.send(topic, b"before", b"k")
        producer.send(topic, b"odd", b"k", headers=[("a", b"1"), (NotUnicode("x"), b"2")])
        producer.send(topic, b"after", b"k", headers=[("b", b"3")])
        producer.flush()
    values: list[bytes | None] = []
    headers: list[object] = []
    with closing(KafkaSource(settings, [topic], whole=True)) as source:
        for _ in range(200):
            for batch in source.poll(0.1):
                values += batch.values
                headers += batch.headers
            if len(values) == 3:
                break
    assert values == [b"before", b"odd", b"after"]
    assert headers == [[], [("a", b"1"), ("caf\\xe9", b"2")], [("b", b"3")]]


def test_a_corrupt_batch_is_a_problem_and_no_endless_loop(kafka, fresh, monkeypatch) -> None:
    topic, other = fresh("topic"), fresh("topic")
    settings = KafkaSettings(kafka.bootstrap, group_id=fresh("group"))
    for name in (topic, other):
        ensure_topic(settings, name, replication=1)
    with KafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=0) as producer:
        for value in (b"before", b"corrupt", b"after"):
            producer.send(topic, value).get(10)
    sound = DefaultRecordBatch.validate_crc
    with monkeypatch.context() as patch, closing(KafkaSource(settings, [topic, other])) as source:
        patch.setattr(
            DefaultRecordBatch,
            "validate_crc",
            lambda batch: batch.base_offset != 1 and sound(batch),
        )
        values = poll(source, 1)
        for _ in range(3):
            assert poll(source, 1, attempts=2) == []
        assert "crc check" in source.problem
        # The partition beside it goes on.
        with KafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            producer.send(other, b"beside").get(10)
        values += poll(source, 1)
        # Another replica may have the batch as it was.
        patch.setattr(DefaultRecordBatch, "validate_crc", sound)
        values += poll(source, 2)
        assert source.problem == ""
    assert values == [b"before", b"beside", b"corrupt", b"after"]


def poll(source: KafkaSource, count: int, attempts: int = 200) -> list[bytes | None]:
    """Values, once there are that many, or after that many polls."""
    values: list[bytes | None] = []
    for _ in range(attempts):
        values += [value for batch in source.poll(0.1) for value in batch.values]
        if len(values) >= count:
            break
    return values
