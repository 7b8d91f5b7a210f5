"""The small broker of the demo extra (noida-db): Kafka's protocol in under a second."""

from pathlib import Path

from agent.commands.broker import command
from agent.errors import UnreachableError
from tests.rig.broker import Broker
from tests.rig.process import free_port
from tests.rig.requirements import missing


class SmallBroker(Broker):
    """Unlike Kafka it loses the last seconds when killed and never evicts a dead member."""

    start_seconds = 15.0

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, free_port())
        try:
            self._command()
        except UnreachableError:
            missing("noida-db (the demo extra; Linux on x86-64 only)")

    def _command(self) -> list[str]:
        return command(self.port, self._directory / "data")
