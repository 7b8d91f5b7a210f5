"""The Kafka source, sink and topic checks, against real brokers."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import MemberToRemove
from kafka.structs import TopicPartition

from agent.errors import UnreachableError, UsageError
from agent.intake.kafka import KafkaSettings, KafkaSink, KafkaSource, check_topics, ensure_topic
from tests.rig.kafka import KafkaServer
from tests.rig.process import free_port
from tests.rig.small_broker import SmallBroker
from tests.rig.toxiproxy import Proxy

Broker = KafkaServer | SmallBroker
Fresh = Callable[[str], str]
Read = dict[tuple[str, int], list[bytes | None]]

REAL = pytest.param(KafkaServer, marks=pytest.mark.kafka, id="kafka")
SMALL = pytest.param(SmallBroker, id="small_broker")


@pytest.fixture(params=["kafka", "small_broker"])
def broker(request: pytest.FixtureRequest) -> Broker:
    shared: Broker = request.getfixturevalue(request.param)
    return shared


@pytest.fixture
def settings(broker: Broker, fresh: Fresh) -> KafkaSettings:
    return KafkaSettings(broker.bootstrap, group_id=fresh("group"))


@pytest.fixture(params=[REAL, SMALL])
def stopped_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    broker: Broker = request.param(tmp_path / "broker")
    yield broker
    broker.stop()


def read(source: KafkaSource, count: int, timeout: float = 30.0) -> Read:
    """Poll until `count` records have come, then once more: no more may come."""
    records: Read = defaultdict(list)
    deadline = time.monotonic() + timeout
    while sum(map(len, records.values())) < count:
        assert time.monotonic() < deadline, f"{source.problem}: {dict(records)!r:.500}"
        _collect(source, 0.2, records)
    _collect(source, 0.3, records)
    assert sum(map(len, records.values())) == count
    return records


def _collect(source: KafkaSource, timeout: float, records: Read) -> None:
    for batch in source.poll(timeout):
        known = records[batch.topic, batch.partition]
        assert len(batch.offsets) == len(batch.times) == len(batch)
        known.extend(batch.values)


def send(settings: KafkaSettings, topic: str, values: Sequence[bytes | None]) -> None:
    with closing(KafkaSink(settings, max_block=10.0, max_record_bytes=12_000_000)) as sink:
        for number, value in enumerate(values):
            assert sink.send(topic, str(number).encode(), value), sink.problem
        assert sink.flush(30.0)


def numbers(start: int, stop: int) -> list[bytes | None]:
    return [b"%d" % number for number in range(start, stop)]


def test_records_come_in_order_with_offsets_and_times(
    settings: KafkaSettings, fresh: Fresh
) -> None:
    topic = fresh("topic")
    ensure_topic(settings, topic)
    before = time.time() * 1000
    values: list[bytes | None] = [*numbers(0, 12_000), None, b""]
    send(settings, topic, values)
    with closing(KafkaSource(settings, [topic])) as source:
        batches = []
        while sum(map(len, batches)) < len(values):
            batches.extend(source.poll(0.5))
        assert source.assignment() == {(topic, 0)}
        assert source.lag() == {(topic, 0): 0}
        assert source.problem == ""
    assert [value for batch in batches for value in batch.values] == values
    assert max(map(len, batches)) <= 5_000
    offsets = np.concatenate([batch.offsets for batch in batches])
    times = np.concatenate([batch.times for batch in batches])
    assert offsets.dtype == times.dtype == np.int64
    assert offsets.tolist() == list(range(len(values)))
    assert (before - 1_000 <= times).all() and (times <= time.time() * 1000 + 1_000).all()


def test_a_record_larger_than_any_fetch_size_comes_through(
    settings: KafkaSettings, fresh: Fresh
) -> None:
    topic = fresh("topic")
    ensure_topic(settings, topic, configs={"max.message.bytes": "12000000"})
    large = bytes(range(256)) * 40_000
    send(settings, topic, [b"before", large, b"after"])
    with closing(KafkaSource(settings, [topic], partition_bytes=100_000)) as source:
        assert read(source, 3) == {(topic, 0): [b"before", large, b"after"]}


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_topics(settings: KafkaSettings, fresh: Fresh, compression: str) -> None:
    topic = fresh("topic")
    ensure_topic(settings, topic)
    values = [b"x" * 1_000 + b"%d" % number for number in range(500)]
    with closing(KafkaSink(settings, max_block=10.0, compression=compression)) as sink:
        for value in values:
            assert sink.send(topic, None, value)
        assert sink.flush(30.0)
    with closing(KafkaSource(settings, [topic])) as source:
        assert read(source, 500) == {(topic, 0): values}


def test_what_was_committed_is_not_read_again(settings: KafkaSettings, fresh: Fresh) -> None:
    topic = fresh("topic")
    ensure_topic(settings, topic)
    send(settings, topic, numbers(0, 100))
    with closing(KafkaSource(settings, [topic])) as source:
        read(source, 100)
        source.commit({(topic, 0): 60, ("not ours", 7): 5})
        assert source.problem == ""
    with closing(KafkaSource(settings, [topic])) as source:
        assert read(source, 40) == {(topic, 0): numbers(60, 100)}


def test_nothing_is_committed_without_being_asked(settings: KafkaSettings, fresh: Fresh) -> None:
    topic = fresh("topic")
    ensure_topic(settings, topic)
    send(settings, topic, numbers(0, 10))
    for _ in range(2):
        with closing(KafkaSource(settings, [topic])) as source:
            read(source, 10)


def test_partitions_come_apart_each_in_its_order(settings: KafkaSettings, fresh: Fresh) -> None:
    topic = fresh("topic")
    ensure_topic(settings, topic, partitions=2)
    send(settings, topic, numbers(0, 1_000))
    with closing(KafkaSource(settings, [topic], max_poll_records=50)) as source:
        while not source.poll(0.5):
            pass
        lag = source.lag()
        assert lag.keys() == {(topic, 0), (topic, 1)}
        assert sum(lag.values()) <= 950
        records = read(source, 950)
        assert source.lag() == {(topic, 0): 0, (topic, 1): 0}
    assert records.keys() == {(topic, 0), (topic, 1)}
    for values in records.values():
        assert values == sorted(values, key=lambda value: int(value or b""))


def test_the_source_is_there_before_the_broker_and_outlives_it(stopped_broker: Broker) -> None:
    settings = KafkaSettings(stopped_broker.bootstrap, group_id="group")
    started = time.monotonic()
    with closing(KafkaSource(settings, ["topic"])) as source:
        assert time.monotonic() - started < 0.5
        for _ in range(5):
            started = time.monotonic()
            assert source.poll(0.1) == []
            assert time.monotonic() - started < 0.5
        assert stopped_broker.bootstrap in source.problem
        assert "connection refused" in source.problem
        assert source.assignment() == frozenset()
        assert source.lag() == {}
        source.commit({("topic", 0): 1})

        stopped_broker.start()
        ensure_topic(settings, "topic")
        send(settings, "topic", numbers(0, 10))
        read(source, 10)
        source.commit({("topic", 0): 10})
        assert source.problem == ""

        stopped_broker.stop()
        deadline = time.monotonic() + 15
        while not source.problem:
            assert time.monotonic() < deadline
            started = time.monotonic()
            assert source.poll(0.2) == []
            assert time.monotonic() - started < 1.0
        assert stopped_broker.bootstrap in source.problem

        stopped_broker.start()
        send(settings, "topic", numbers(10, 20))
        assert read(source, 10) == {("topic", 0): numbers(10, 20)}
        assert source.problem == ""


def test_a_topic_created_later_is_read_and_never_created_by_reading(
    settings: KafkaSettings, fresh: Fresh
) -> None:
    topic = fresh("topic")
    with closing(KafkaSource(settings, [topic])) as source:
        deadline = time.monotonic() + 10
        while topic not in source.problem:
            assert time.monotonic() < deadline
            assert source.poll(0.2) == []
        assert "does not exist" in check_topics(settings, {"credit": [topic]})[0]
        assert ensure_topic(settings, topic, partitions=2)
        send(settings, topic, numbers(0, 10))
        read(source, 10)
        assert source.assignment() == {(topic, 0), (topic, 1)}
        assert source.problem == ""


@pytest.mark.parametrize("attempt", range(3))
def test_a_join_outlasts_the_polls_that_it_began_in(
    settings: KafkaSettings, fresh: Fresh, attempt: int
) -> None:
    topic = fresh("topic")
    ensure_topic(settings, topic)
    send(settings, topic, numbers(0, 1))
    with closing(KafkaSource(settings, [topic])) as source:
        deadline = time.monotonic() + 20
        while not source.poll(0.002):
            assert time.monotonic() < deadline


def test_topics_are_checked(settings: KafkaSettings, fresh: Fresh) -> None:
    two, three, absent = fresh("two"), fresh("three"), fresh("absent")
    assert ensure_topic(settings, two, partitions=2)
    assert not ensure_topic(settings, two, partitions=2)
    assert ensure_topic(settings, three, partitions=3)
    problems = check_topics(
        settings, {"good": [two, two], "absent": [two, absent], "uneven": [two, three]}
    )
    assert len(problems) == 2
    assert "models.absent" in problems[0] and absent in problems[0]
    assert "models.uneven" in problems[1]
    assert f"{two} has 2" in problems[1] and f"{three} has 3" in problems[1]


def test_an_absent_broker_is_one_line() -> None:
    settings = KafkaSettings(f"127.0.0.1:{free_port()}")
    (problem,) = check_topics(settings, {"credit": ["topic"]}, timeout=0.5)
    assert settings.servers in problem and "connection refused" in problem


def test_a_name_that_does_not_resolve_is_said() -> None:
    with closing(KafkaSource(KafkaSettings("no-such-host.invalid:9092"), ["topic"])) as source:
        source.poll(2.0)
        assert "does not resolve" in source.problem


def test_a_sink_without_a_broker_never_blocks_for_long() -> None:
    with closing(KafkaSink(KafkaSettings(f"127.0.0.1:{free_port()}"), max_block=0.4)) as sink:
        started = time.monotonic()
        assert not sink.send("topic", b"key", b"value")
        assert time.monotonic() - started < 0.8
        assert "connection refused" in sink.problem
        assert sink.flush(0.1)


def test_a_sink_is_bounded_while_the_broker_is_silent(
    stopped_broker: Broker, tmp_path: Path
) -> None:
    stopped_broker.start()
    settings = KafkaSettings(stopped_broker.bootstrap)
    ensure_topic(settings, "topic")
    sink = KafkaSink(settings, max_block=0.4, buffer_bytes=100_000)
    assert sink.send("topic", None, b"first")
    assert sink.flush(10.0)
    stopped_broker.process.freeze()
    taken = 0
    while taken < 1_000 and sink.send("topic", None, b"x" * 10_000):
        taken += 1
    assert 1 <= taken <= 10
    assert not sink.flush(0.2)
    stopped_broker.process.thaw()
    assert sink.flush(10.0)
    assert sink.send("topic", None, b"last", headers=[("type", b"test")])
    with pytest.raises(ValueError, match="topic"):
        sink.send("topic", None, b"x" * 2_000_000)
    sink.close()
    with closing(KafkaSource(settings, ["topic"])) as source:
        read(source, taken + 2)


def test_options_are_checked_and_secrets_do_not_show() -> None:
    with pytest.raises(UsageError, match="sasl_pasword"):
        KafkaSettings("a:1", options={"sasl_pasword": "hunter2"})
    with pytest.raises(UsageError, match="PLAINTEXT"):
        KafkaSettings("a:1", options={"security_protocol": "TLS"})
    with pytest.raises(UsageError, match="SCRAM-SHA-512"):
        KafkaSettings("a:1", options={"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM"})
    assert "hunter2" not in repr(KafkaSettings("a:1", options={"sasl_plain_password": "hunter2"}))


# What only a real Kafka does.


@pytest.fixture
def on_kafka(kafka: KafkaServer, fresh: Fresh) -> KafkaSettings:
    options = {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 500}
    return KafkaSettings(kafka.bootstrap, group_id=fresh("group"), options=options)


@pytest.mark.kafka
def test_two_members_share_equal_partitions_of_both_topics(
    on_kafka: KafkaSettings, fresh: Fresh
) -> None:
    topics = [fresh("predictions"), fresh("feedback")]
    for topic in topics:
        ensure_topic(on_kafka, topic, partitions=4)
        send(on_kafka, topic, numbers(0, 40))
    with closing(KafkaSource(on_kafka, topics)) as first:
        read(first, 80)
        with closing(KafkaSource(on_kafka, topics)) as second:
            deadline = time.monotonic() + 20
            while len(first.assignment()) != 4 or len(second.assignment()) != 4:
                assert time.monotonic() < deadline
                first.poll(0.1)
                second.poll(0.1)
            assert not first.assignment() & second.assignment()
            for source in (first, second):
                shares = [{p for t, p in source.assignment() if t == topic} for topic in topics]
                assert shares[0] == shares[1]
            first.commit({(topic, number): 10 for topic in topics for number in range(4)})
            assert first.problem == ""
        deadline = time.monotonic() + 20
        while len(first.assignment()) != 8:
            assert time.monotonic() < deadline
            first.poll(0.1)


@pytest.mark.kafka
def test_a_static_member_comes_back_to_its_partitions(
    on_kafka: KafkaSettings, fresh: Fresh
) -> None:
    topic = fresh("topic")
    ensure_topic(on_kafka, topic)
    send(on_kafka, topic, numbers(0, 10))
    static = KafkaSettings(on_kafka.bootstrap_servers, on_kafka.group_id, "agent-0")
    first = KafkaSource(static, [topic])
    read(first, 10)
    with closing(KafkaSource(static, [topic])) as second:
        read(second, 10)
        # kafka-python lets the replaced member read on; its commit is what the broker refuses.
        with pytest.raises(UnreachableError, match="FencedInstanceId"):
            first.commit({(topic, 0): 10})
        second.commit({(topic, 0): 10})
        assert second.problem == ""
    first.close()


@pytest.mark.kafka
def test_aborted_transactions_are_not_seen(on_kafka: KafkaSettings, fresh: Fresh) -> None:
    topic = fresh("topic")
    ensure_topic(on_kafka, topic)
    producer = KafkaProducer(
        bootstrap_servers=on_kafka.bootstrap_servers, transactional_id=fresh("transaction")
    )
    producer.init_transactions()
    for value, end in ((b"kept", "commit_transaction"), (b"aborted", "abort_transaction")):
        producer.begin_transaction()
        producer.send(topic, value=value)
        producer.flush()
        getattr(producer, end)()
    producer.close()
    with closing(KafkaSource(on_kafka, [topic])) as source:
        assert read(source, 1) == {(topic, 0): [b"kept"]}
        assert source.lag() == {(topic, 0): 0}


@pytest.mark.kafka
def test_where_retention_has_passed_the_commit_reading_starts_at_the_earliest(
    on_kafka: KafkaSettings, fresh: Fresh
) -> None:
    topic = fresh("topic")
    ensure_topic(on_kafka, topic)
    send(on_kafka, topic, numbers(0, 100))
    with closing(KafkaSource(on_kafka, [topic])) as source:
        read(source, 100)
        source.commit({(topic, 0): 10})
    admin = KafkaAdminClient(bootstrap_servers=on_kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(topic, 0): 50})
    admin.close()
    with closing(KafkaSource(on_kafka, [topic])) as source:
        assert read(source, 50) == {(topic, 0): numbers(50, 100)}


@pytest.mark.kafka
def test_what_retention_deletes_under_a_reader_is_counted(
    on_kafka: KafkaSettings, fresh: Fresh
) -> None:
    topic = fresh("topic")
    ensure_topic(on_kafka, topic)
    send(on_kafka, topic, numbers(0, 100))
    with closing(KafkaSource(on_kafka, [topic])) as source:
        read(source, 100)
        source.pause(frozenset({(topic, 0)}))
        source.poll(1.0)  # until no request for it is under way
        send(on_kafka, topic, numbers(100, 200))
        admin = KafkaAdminClient(bootstrap_servers=on_kafka.bootstrap_servers)
        admin.delete_records({TopicPartition(topic, 0): 130})
        admin.close()
        source.pause(frozenset())
        assert read(source, 70) == {(topic, 0): numbers(130, 200)}
        assert source.missed == {topic: 30}


@pytest.mark.kafka
def test_credentials(tmp_path: Path) -> None:
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    server = KafkaServer(
        tmp_path / "kafka",
        properties={
            "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.plaintext.plain.sasl.jaas.config": (
                f'{login} username="broker" password="b" user_broker="b" user_tocsin="hunter2";'
            ),
        },
    )

    def as_user(password: str, mechanism: str = "PLAIN") -> KafkaSettings:
        return KafkaSettings(
            server.bootstrap,
            options={
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": mechanism,
                "sasl_plain_username": "tocsin",
                "sasl_plain_password": password,
            },
        )

    try:
        server.start()
        good = as_user("hunter2")
        ensure_topic(good, "topic", timeout=30.0)
        send(good, "topic", numbers(0, 5))
        with closing(KafkaSource(good, ["topic"])) as source:
            read(source, 5)
        for bad, reason in (
            (as_user("hunter3"), "Invalid username or password"),
            (as_user("hunter2", "SCRAM-SHA-256"), "UnsupportedSaslMechanism"),
        ):
            with closing(KafkaSource(bad, ["topic"])) as source:
                with pytest.raises(UnreachableError, match=reason) as caught:
                    source.poll(10.0)
                assert "hunter" not in str(caught.value)
            (problem,) = check_topics(bad, {"credit": ["topic"]})
            assert reason in problem
        (problem,) = check_topics(KafkaSettings(server.bootstrap), {"credit": ["topic"]}, timeout=1)
        assert "security_protocol" in problem
    finally:
        server.stop()


@pytest.mark.kafka
def test_a_topic_that_ends_before_what_is_remembered_of_it_is_told(
    kafka: KafkaServer, fresh: Fresh
) -> None:
    """It was made anew, say: what comes must not be taken for what was read."""
    settings, topic = KafkaSettings(kafka.bootstrap, group_id=fresh("group")), fresh("topic")
    ensure_topic(settings, topic)
    send(settings, topic, numbers(0, 10))
    with closing(KafkaSource(settings, [topic], held=True)) as source:
        deadline = time.monotonic() + 30
        while not source.waiting():
            assert not source.poll(0.2) and time.monotonic() < deadline
        assert not source.place({(topic, 0): [11]})
        assert "ends before what is remembered of it (partition 0: 10 < 11)" in source.problem
        assert not source.poll(0.5) and source.waiting()
        assert source.place({(topic, 0): [4]})
        assert source.problem == ""
        assert read(source, 6) == {(topic, 0): numbers(4, 10)}
        assert source.missed == {topic: 0}


@pytest.mark.kafka
def test_what_was_handed_over_and_is_not_remembered_comes_again_after_a_rebalance(
    kafka: KafkaServer, fresh: Fresh
) -> None:
    """kafka-python itself goes on from what it has fetched of a partition that stays."""
    settings, topic = KafkaSettings(kafka.bootstrap, group_id=fresh("group")), fresh("topic")
    ensure_topic(settings, topic, partitions=2)
    send(settings, topic, numbers(0, 40))

    def placed(sources: list[KafkaSource]) -> None:
        deadline = time.monotonic() + 60
        counts = {len(source.assignment()) for source in sources}
        while counts != {2 // len(sources)} or not all(s.waiting() for s in sources):
            assert time.monotonic() < deadline
            for source in sources:
                assert source.poll(0.2) == []
            counts = {len(source.assignment()) for source in sources}
        for source in sources:
            assert source.place({at: [None] for at in source.assignment()})

    with closing(KafkaSource(settings, [topic], held=True)) as first:
        placed([first])
        before = read(first, 40)
        with closing(KafkaSource(settings, [topic], held=True)) as second:
            deadline = time.monotonic() + 60
            while len(first.assignment()) != 1 or not second.assignment():
                assert time.monotonic() < deadline
                first.poll(0.1)
                second.poll(0.1)
            placed([first, second])
            (own,), (other,) = first.assignment(), second.assignment()
            assert read(first, len(before[own])) == {own: before[own]}
            assert read(second, len(before[other])) == {other: before[other]}


def waiting(source: KafkaSource) -> None:
    """Poll until partitions wait for their place."""
    deadline = time.monotonic() + 30
    while not source.waiting():
        assert not source.poll(0.2) and time.monotonic() < deadline


@pytest.mark.kafka
def test_a_partition_is_read_on_at_the_first_of_its_places(
    on_kafka: KafkaSettings, fresh: Fresh
) -> None:
    """Models that share it were not read equally far."""
    topic = fresh("topic")
    ensure_topic(on_kafka, topic)
    send(on_kafka, topic, numbers(0, 10))
    with closing(KafkaSource(on_kafka, [topic], held=True)) as source:
        waiting(source)
        assert source.place({(topic, 0): [6]})
        assert read(source, 4) == {(topic, 0): numbers(6, 10)}
        assert source.commit({(topic, 0): 6})
        for places, first in (([8, None], 6), ([None, 3], 3), ([8], 8), ([None], 6)):
            assert source.place({(topic, 0): places})
            assert read(source, 10 - first) == {(topic, 0): numbers(first, 10)}


@pytest.mark.kafka
def test_who_is_no_member_any_more_has_committed_nothing(
    on_kafka: KafkaSettings, fresh: Fresh
) -> None:
    """What it has read since is another's to tell."""
    topic, group = fresh("topic"), on_kafka.group_id
    ensure_topic(on_kafka, topic)
    send(on_kafka, topic, numbers(0, 10))
    with closing(KafkaSource(on_kafka, [topic], held=True)) as source:
        assert not source.commit({(topic, 0): 1})
        waiting(source)
        assert source.place({(topic, 0): [None]})
        assert source.commit({}), "though it has read nothing yet"
        admin = KafkaAdminClient(bootstrap_servers=on_kafka.bootstrap_servers)
        assert source._consumer is not None
        member = source._consumer._coordinator._generation.member_id
        assert admin.remove_group_members(group, [MemberToRemove(member_id=member)])
        admin.close()
        assert not source.commit({(topic, 0): 5})
        assert source.problem == ""


@pytest.mark.kafka
def test_of_a_partition_that_is_placed_at_its_end_it_is_known_that_it_is_read(
    kafka: KafkaServer, proxy: Proxy, fresh: Fresh
) -> None:
    """What is on its way when it is placed is dropped, and a broker tells of an end only once."""
    topic = fresh("topic")
    near = KafkaSettings(kafka.bootstrap, group_id=fresh("group"))
    ensure_topic(near, topic)
    send(near, topic, numbers(0, 10))
    proxy.slow(latency_ms=100, kilobytes_per_second=10_000)
    far = KafkaSettings(proxy.bootstrap, group_id=near.group_id)
    with closing(KafkaSource(far, [topic], held=True)) as source:
        deadline = time.monotonic() + 20
        while source._consumer is None or not source._consumer._fetcher.in_flight_fetches():
            assert time.monotonic() < deadline, source.problem
            source.poll(0.01)
        assert source.place({(topic, 0): [10]})
        while source.lag() != {(topic, 0): 0}:
            assert time.monotonic() < deadline, source.lag()
            source.poll(0.1)
