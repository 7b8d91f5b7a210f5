"""The agent as a user runs it: a process with a configuration, watched over HTTP."""

import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.rig.process import Process, free_port

GRACE = 30.0  # seconds that Kubernetes gives a pod to end in


_started: list[Process] = []


def end_all() -> None:
    """End every agent that is still running: a test that fails leaves its own behind."""
    while _started:
        process = _started.pop()
        if process.running:
            process.kill()


def tocsin(*arguments: str, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """Of a process that finds this checkout."""
    import os

    from tests.rig.requirements import REPOSITORY

    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}


class Agent:
    """`tocsin run` in a folder, with this configuration (its HTTP port is added).

    With `tls` it is asked over TLS, as the agent then has to serve; `headers` go with each request,
    `variables` into its environment.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        *options: str,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._options, self._tls, self.headers = options, tls, dict(headers or {})
        self._variables = dict(variables or {})
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self._folder = folder
        config = {**config, "http": {**config.get("http", {}), "host": "127.0.0.1"}}
        config["http"]["port"] = self.port
        (folder / "tocsin.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        self._process: Process | None = None

    def start(self) -> "Agent":
        """Return once it is live."""
        own = {"PYTHONPATH": environment()["PYTHONPATH"], **self._variables}
        environ = [f"{name}={value}" for name, value in own.items()]
        command = ["env", *environ, sys.executable, "-m", "agent.cli", "run", *self._options]
        self._process = Process(command, self._folder / "agent.log")
        _started.append(self._process)
        self._process.wait_until(lambda: self.get("/healthz") is not None, timeout=30)
        return self

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return (self._folder / "agent.log").read_text(errors="replace")

    def get(self, path: str) -> str | None:
        """The body of an answer; None where there is none, or not 200."""
        status, body = self.ask(path)
        return body if status == 200 else None

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of an answer; status 0 where there is none."""
        scheme = "http" if self._tls is None else "https"
        request = urllib.request.Request(f"{scheme}://{self.target}{path}", headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._tls) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, ready: bool = True, timeout: float = 60.0) -> str:
        """What /readyz says once it is as wanted."""
        deadline = time.monotonic() + timeout
        while (answer := self.ask("/readyz"))[0] != (200 if ready else 503):
            assert time.monotonic() < deadline, f"{answer} after {timeout} s\n{self.log[-2000:]}"
            time.sleep(0.1)
        return answer[1]

    def model(self, name: str) -> dict[str, Any]:
        """The model's part of /api/v1/status."""
        body = self.get("/api/v1/status")
        assert body is not None, f"no status:\n{self.log[-2000:]}"
        models = json.loads(body)["models"]
        found: dict[str, Any] = (
            models[name]
            if isinstance(models, dict)
            else next(m for m in models if m["model"] == name)
        )
        return found

    def wait(self, name: str, done: Callable[[dict[str, Any]], bool], timeout: float) -> Any:
        """The model's status once it is `done`."""
        deadline = time.monotonic() + timeout
        while not done(status := self.model(name)):
            assert time.monotonic() < deadline, f"not done in {timeout} s: {status}\n{self.log}"
            time.sleep(0.2)
        return status

    def stop(self) -> int:
        """SIGTERM; the exit code, which is that of SIGKILL where it has not ended in its grace."""
        self.process.stop(GRACE)
        return self.process.wait()


def produce(
    bootstrap: str, topic: str, values: Sequence[bytes], keys: Sequence[str], partitions: int = 1
) -> None:
    """Create a topic and fill it, in order within each key."""
    from agent.intake.kafka import KafkaSettings, KafkaSink, ensure_topic

    settings = KafkaSettings(bootstrap)
    ensure_topic(settings, topic, partitions=partitions, replication=1)
    large = 32 * 2**20
    sink = KafkaSink(settings, buffer_bytes=8 * large, max_block=30.0, max_record_bytes=large)
    for key, value in zip(keys, values, strict=True):
        assert sink.send(topic, key.encode(), value)
    assert sink.flush(60.0)
    sink.close()
