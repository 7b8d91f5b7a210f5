"""A real Prometheus that scrapes what a test tells it to, and promtool."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.rig.process import Process, free_port
from tests.rig.requirements import command


class Prometheus:
    """One server with a one-second scrape interval; targets and rules can be changed as it runs."""

    def __init__(self, directory: Path) -> None:
        self._binary = command("prometheus")
        self._directory = directory
        self._process: Process | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        self._write([], [], {})

    def start(self) -> None:
        """Return once it is ready."""
        arguments = [
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ]
        self._process = Process([self._binary, *arguments], self._directory / "prometheus.log")
        self._process.wait_until(lambda: self._get("/-/ready") is not None, timeout=30)

    def scrape(self, targets: Sequence[str], rules: Sequence[Path] = (), **job: Any) -> None:
        """From now on scrape these `host:port` and evaluate these rule files, and nothing else.

        `job` has more keys of the scrape configuration.
        """
        self._write(targets, rules, job)
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def _write(self, targets: Sequence[str], rules: Sequence[Path], job: dict[str, Any]) -> None:
        config = {
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": "1s",
            },
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [
                {"job_name": "tocsin", "static_configs": [{"targets": list(targets)}], **job}
            ],
        }
        (self._directory / "prometheus.yml").write_text(yaml.safe_dump(config))

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of a PromQL expression: `{"metric": {...}, "value": [time, text]}`."""
        result: list[dict[str, Any]] = self.api("query", query=expression)["result"]
        return result

    def api(self, path: str, **parameters: str) -> Any:
        """`data` of an answer of /api/v1."""
        answer = self._get(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        if answer is None:
            raise RuntimeError(f"Prometheus did not answer {path} {parameters}")
        return json.loads(answer)["data"]

    def _get(self, path: str) -> bytes | None:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:
                body: bytes = response.read()
                return body
        except OSError:
            return None

    def stop(self) -> None:
        """Shut down. Safe to call twice."""
        if self._process is not None:
            self._process.stop()


def promtool(*arguments: str, stdin: str | None = None) -> str:
    """What promtool says, as in `promtool("check", "rules", path)`; an AssertionError if it fails.

    `promtool("check", "metrics", stdin=exposition)` lints an exposition.
    """
    run = subprocess.run(
        [command("promtool"), *arguments], input=stdin, capture_output=True, text=True, timeout=60
    )
    said = run.stdout + run.stderr
    assert run.returncode == 0, f"promtool {' '.join(arguments)}:\n{said}"
    return said
