"""The small broker of the demo extra (noida-db): Kafka's protocol in under a second."""

import importlib.util
import sys
from pathlib import Path

from tests.rig.process import Process, answers, free_port
from tests.rig.requirements import missing


class SmallBroker:
    """One broker that keeps its data, and its port, over stop, kill and restart.

    Unlike Kafka it loses the last seconds when killed and never evicts a dead member.
    """

    def __init__(self, directory: Path) -> None:
        if importlib.util.find_spec("noida_db") is None:
            missing("noida-db (the demo extra; Linux on x86-64 only)")
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._directory = directory
        self._process: Process | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Return once the broker takes connections."""
        # Its command is a wrapper around the real program; the process group holds both.
        wrapper = "from noida_db.cli import main; main()"
        arguments = ["start", "--only", "kafka", "--kafka-port", str(self.port), "--data-dir"]
        self._process = Process(
            [sys.executable, "-c", wrapper, *arguments, str(self._directory / "data")],
            self._directory / "broker.log",
        )
        self._process.wait_until(lambda: answers(self.port), timeout=15)

    @property
    def process(self) -> Process:
        """The broker's process, for those who kill or freeze it."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process

    def stop(self) -> None:
        """Shut down in order. Safe to call twice."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def restart(self) -> None:
        """Stop, and start again with the same data on the same port."""
        self.stop()
        self.start()
