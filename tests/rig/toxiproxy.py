"""Toxiproxy: TCP proxies whose connections can be cut, slowed and silenced while in use."""

import json
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.rig.process import Process, free_port
from tests.rig.requirements import CACHE, missing

TOXIPROXY_VERSION = "2.12.0"
BINARY = CACHE / f"toxiproxy-{TOXIPROXY_VERSION}"
DIRECTIONS = ("upstream", "downstream")


class Toxiproxy:
    """One server, whose proxies each lead from a port of this machine to another."""

    def __init__(self, process: Process, port: int) -> None:
        self._process = process
        self._api = f"http://127.0.0.1:{port}"

    @classmethod
    def start(cls, directory: Path) -> Self:
        """Return once it answers; its log goes to `directory`."""
        if not BINARY.exists():
            missing("toxiproxy (Go builds it)")
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        command = [str(BINARY), "-host", "127.0.0.1", "-port", str(port)]
        server = cls(Process(command, directory / "toxiproxy.log"), port)
        server._process.wait_until(server._answers, timeout=15)
        return server

    def proxy(self, upstream: int, listen: int | None = None) -> "Proxy":
        """A way to the port `upstream`, from the port `listen` or a free one."""
        return Proxy(self, upstream, listen or free_port())

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """One request to its API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._api + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    def _answers(self) -> bool:
        try:
            self.call("GET", "/version")
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it and every proxy. Safe to call twice."""
        self._process.stop()


class Proxy:
    """One way through; `restore` ends every fault."""

    def __init__(self, server: Toxiproxy, upstream: int, port: int) -> None:
        self.port = port
        self.bootstrap = f"127.0.0.1:{port}"
        self._server, self._name = server, f"p{port}"
        self._faults: list[str] = []
        listen, target = (f"127.0.0.1:{p}" for p in (port, upstream))
        server.call("POST", "/proxies", {"name": self._name, "listen": listen, "upstream": target})

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        self._enable(False)

    def black_hole(self) -> None:
        """Swallow what is sent either way: connections stay open, and nothing answers any more.

        `restore` closes the connections that were silenced, since what they carried is lost.
        """
        for direction in DIRECTIONS:
            self._add("timeout", direction, timeout=0)

    def slow(self, latency_ms: int, kilobytes_per_second: int) -> None:
        """Delay each way by `latency_ms`, and let no more than so much through a second."""
        for direction in DIRECTIONS:
            self._add("latency", direction, latency=latency_ms, jitter=latency_ms // 4)
            self._add("bandwidth", direction, rate=kilobytes_per_second)

    def restore(self) -> None:
        """Let everything through again."""
        while self._faults:
            self._server.call("DELETE", f"/proxies/{self._name}/toxics/{self._faults.pop()}")
        self._enable(True)

    def close(self) -> None:
        """Take it away."""
        self._server.call("DELETE", f"/proxies/{self._name}")

    def _enable(self, enabled: bool) -> None:
        self._server.call("POST", f"/proxies/{self._name}", {"enabled": enabled})

    def _add(self, kind: str, direction: str, **attributes: int) -> None:
        name = f"{kind}-{direction}"
        toxic = {"name": name, "type": kind, "stream": direction, "attributes": attributes}
        self._server.call("POST", f"/proxies/{self._name}/toxics", toxic)
        self._faults.append(name)
