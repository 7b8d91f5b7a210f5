"""Fixtures that every test can ask for."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.rig import agent, data
from tests.rig.kafka import KafkaServer
from tests.rig.process import free_port
from tests.rig.prometheus import Prometheus
from tests.rig.small_broker import SmallBroker
from tests.rig.toxiproxy import Proxy, Toxiproxy


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A real Apache Kafka, shared by the session: use fresh topics and groups.

    Whoever stops it starts it again. It can also be reached through a proxy (`proxy`).
    """
    server = KafkaServer(tmp_path_factory.mktemp("kafka"), proxy_port=free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def small_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallBroker]:
    """The demo's broker, shared by the session: use fresh topics and groups."""
    broker = SmallBroker(tmp_path_factory.mktemp("small_broker"))
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def toxiproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toxiproxy]:
    """A server of proxies, shared by the session."""
    server = Toxiproxy.start(tmp_path_factory.mktemp("toxiproxy"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def proxy(kafka: KafkaServer, toxiproxy: Toxiproxy) -> Iterator[Proxy]:
    """A way to the session's Kafka that can be cut, slowed and silenced."""
    proxy = toxiproxy.proxy(kafka.proxied_port, kafka.proxy_port)
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus, shared by the session; `scrape` says what it watches from then on."""
    server = Prometheus(tmp_path_factory.mktemp("prometheus"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


_numbers = itertools.count(1)


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Names that no other test of the session uses: `fresh("topic")`."""
    return lambda prefix: f"{prefix}-{next(_numbers)}"


@pytest.fixture(scope="session")
def car_loan() -> data.DataSet:
    """Binary, drifting at about row 25,000."""
    return data.car_loan()


@pytest.fixture(scope="session")
def car_loan_quality() -> data.DataSet:
    """Binary, its data breaking at about row 25,000."""
    return data.car_loan_quality()


@pytest.fixture(scope="session")
def multiclass() -> data.DataSet:
    """Three classes with a score each."""
    return data.multiclass()


@pytest.fixture(scope="session")
def regression() -> data.DataSet:
    """A price."""
    return data.regression()


@pytest.fixture(autouse=True)
def no_agent_outlives_its_test() -> Iterator[None]:
    """Whatever becomes of the test."""
    yield
    agent.end_all()
