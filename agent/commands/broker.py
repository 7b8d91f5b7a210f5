"""The demo's embedded broker: noida-db, a small program that speaks Kafka's protocol."""

import contextlib
import importlib.util
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from agent.errors import UnreachableError

START_SECONDS = 15.0
STOP_SECONDS = 5.0
NOT_HERE = "the embedded broker does not start on this machine"


def command(port: int, data: Path) -> list[str]:
    """What to run for one that keeps its data there. UnreachableError where it is not installed."""
    package = importlib.util.find_spec("noida_db")
    if package is None or package.origin is None:
        raise UnreachableError("noida-db is not installed: pip install 'tocsin[demo]'")
    # Its own launcher is left out, which ends at a signal before the program does.
    program = Path(package.origin).with_name("noida-db")
    options = {"--only": "kafka", "--kafka-port": str(port), "--data-dir": str(data)}
    return [str(program), "start", *(word for option in options.items() for word in option)]


class Broker:
    """A broker process on a free port of this machine."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self._process = process
        self.address = f"127.0.0.1:{port}"

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start one that keeps its data in `folder`. UnreachableError where it cannot be had."""
        port = _free_port()
        run = command(port, folder / "data")
        folder.mkdir(parents=True)
        try:
            with (folder / "broker.log").open("wb") as log:
                # In a session of its own: Ctrl-C is for the demo, which then ends it.
                process = subprocess.Popen(
                    run, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        except OSError as error:
            raise UnreachableError(NOT_HERE) from error
        broker = cls(process, port)
        try:
            broker._wait(port)
        except BaseException:
            broker.stop()
            raise
        return broker

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise UnreachableError(NOT_HERE)
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, in order where it does so in time. Safe to call twice."""
        for end in (self._process.terminate, self._process.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
