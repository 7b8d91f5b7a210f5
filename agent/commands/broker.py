"""The demo's embedded broker: noida-db, a small program that speaks Kafka's protocol."""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from agent.errors import UnreachableError

START_SECONDS = 15.0
STOP_SECONDS = 5.0
WRAPPER = "from noida_db.cli import main; main()"


class Broker:
    """A broker process on a free port of this machine, ended with its whole process group."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self._process = process
        self.address = f"127.0.0.1:{port}"

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start one that keeps its data in `folder`. UnreachableError where it cannot be had."""
        if importlib.util.find_spec("noida_db") is None:
            raise UnreachableError("noida-db is not installed: pip install 'tocsin[demo]'")
        folder.mkdir(parents=True)
        port = _free_port()
        arguments = ["start", "--only", "kafka", "--kafka-port", str(port)]
        with (folder / "broker.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", WRAPPER, *arguments, "--data-dir", str(folder / "data")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        broker = cls(process, port)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                broker.stop()
                raise UnreachableError("the embedded broker does not start on this machine")
            time.sleep(0.05)
        return broker

    def stop(self) -> None:
        """End it and all its children. Safe to call twice."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            # The group outlives the wrapper, which ends before its child.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
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
