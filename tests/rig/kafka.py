"""A real Apache Kafka of one node (KRaft), on free loopback ports.

`python -m tests.rig.kafka` runs one for a person on localhost:9092, in the foreground.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.rig.broker import Broker
from tests.rig.process import free_port
from tests.rig.requirements import CACHE, command, missing

KAFKA_VERSION = "4.3.1"
JARS = CACHE / f"kafka-{KAFKA_VERSION}"


def kafka_jars() -> Path:
    """The folder of Kafka's jars, which `tests/rig/setup.py` fetches."""
    if not JARS.exists():
        missing("Apache Kafka's jars (Java and Maven fetch them)")
    return JARS


class KafkaServer(Broker):
    """A broker on ports of its own.

    With `proxy_port` it listens on `proxied_port` as well, and tells whoever comes there to go on
    talking to `proxy_port`: that of a proxy which leads to `proxied_port`.
    """

    start_seconds = 60.0

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        proxy_port: int | None = None,
        properties: Mapping[str, str] | None = None,
        memory: str = "512m",
    ) -> None:
        super().__init__(directory, port or free_port())
        self._memory = memory
        self._config = directory / "server.properties"
        self.proxy_port, self.proxied_port = proxy_port, free_port()
        ports = {"PLAINTEXT": (self.port, self.port)}
        if proxy_port is not None:
            ports["PROXIED"] = (self.proxied_port, proxy_port)
        self._config.write_text(_properties(directory, ports, properties or {}))
        self._format()

    def _java(self, main: str, *arguments: str, memory: str = "128m") -> list[str]:
        java = command("java")
        options = [f"-Xmx{memory}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [java, *options, "-cp", f"{kafka_jars()}/*", main, *arguments]

    def _format(self) -> None:
        # Any 16 bytes in URL-safe base64 name a cluster.
        arguments = ["format", "--standalone", "-t", "dG9jc2luLXRlc3RzLTAwMQ", "-c"]
        subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments, str(self._config)),
            check=True,
            capture_output=True,
            timeout=60,
        )

    def _command(self) -> list[str]:
        return self._java("kafka.Kafka", str(self._config), memory=self._memory)


def _properties(
    directory: Path, ports: Mapping[str, tuple[int, int]], extra: Mapping[str, str]
) -> str:
    """`ports`: by listener, where it listens and what it tells its clients to connect to."""
    controller = free_port()

    def listeners(which: int) -> str:
        return ",".join(f"{name}://127.0.0.1:{port[which]}" for name, port in ports.items())

    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listeners": f"{listeners(0)},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners(1),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": ",".join(
            f"{name}:PLAINTEXT" for name in (*ports, "CONTROLLER")
        ),
        "log.dirs": str(directory / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "log.cleaner.backoff.ms": "500",
        "log.cleaner.dedupe.buffer.size": "8388608",
        "num.network.threads": "2",
        "num.io.threads": "2",
        **extra,
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def main() -> None:
    """Serve until interrupted, with fresh data that goes away at the end."""
    if shutil.which("java") is None or not JARS.exists():
        sys.exit("Kafka needs Java, and Maven to fetch it: install both and try again")
    directory = Path(tempfile.mkdtemp(prefix="tocsin-kafka-"))
    properties = {"auto.create.topics.enable": "true"}
    server = KafkaServer(directory, port=9092, properties=properties, memory="1g")
    try:
        server.start()
        print(f"Kafka listens on {server.bootstrap}; Ctrl-C ends it.", flush=True)
        server.process.wait()
    except KeyboardInterrupt:
        print()
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
