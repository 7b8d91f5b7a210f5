"""A broker in a process of its own."""

from abc import ABC, abstractmethod
from pathlib import Path

from tests.rig.process import Process, answers


class Broker(ABC):
    """One broker that keeps its data, and its port, over stop, kill and restart."""

    start_seconds: float  # that it may take to start

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self._directory = directory
        self._process: Process | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def _command(self) -> list[str]:
        """What to run for it."""

    def start(self) -> None:
        """Return once it takes connections. Does nothing where it runs."""
        if self._process is not None and self._process.running:
            return
        self._process = Process(self._command(), self._directory / "broker.log")
        self._process.wait_until(lambda: answers(self.port), self.start_seconds)

    @property
    def process(self) -> Process:
        """Its process, for those who freeze it."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process

    def stop(self) -> None:
        """Shut down in order. Safe to call twice."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        self.process.kill()

    def restart(self) -> None:
        """Stop, and start again with the same data on the same port."""
        self.stop()
        self.start()
