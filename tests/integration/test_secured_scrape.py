"""A real Prometheus scrapes an agent that serves over TLS and asks who comes."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.publish.access import Access
from agent.publish.http import HttpServer
from agent.publish.tls import Tls
from tests import samples
from tests.rig.certificates import Authority
from tests.rig.prometheus import Prometheus
from tests.rig.requirements import REPOSITORY

PASSWORD, TOKEN = "a pass: word", "t0ken"


@pytest.mark.prometheus
def test_the_scrape_configuration_of_deploy_is_let_in_and_a_wrong_one_is_not(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    text = (REPOSITORY / "deploy" / "prometheus" / "secured.yml").read_text()
    (job,) = yaml.safe_load(text.replace("/etc/prometheus/", f"{tmp_path}/"))["scrape_configs"]
    del job["static_configs"]
    authority = Authority(tmp_path, "tocsin-ca")
    files = authority.issue("server")
    for name, content in (("tocsin-password", PASSWORD), ("wrong", "wrong"), ("token", TOKEN)):
        (tmp_path / name).write_text(content)
    access = Access((job["basic_auth"]["username"], PASSWORD), TOKEN)
    server = HttpServer(
        "127.0.0.1",
        0,
        samples.snapshot,
        tls=Tls(files.certificate, files.key),
        access=access,
    )
    server.start()

    def scraped(**changed: Any) -> str:
        """What the next scrape with this configuration comes to: `up`."""
        wanted = {key: value for key, value in {**job, **changed}.items() if value is not None}
        prometheus.scrape([f"127.0.0.1:{server.port}"], **wanted)
        since, deadline = time.time(), time.monotonic() + 20
        while not (rows := prometheus.query(f"up and timestamp(up) > {since}")):
            assert time.monotonic() < deadline, "it did not scrape"
            time.sleep(0.2)
        value: str = rows[0]["value"][1]
        return value

    try:
        assert scraped() == "1"
        assert prometheus.query('tocsin_predictions_total{model="credit"}')
        wrong = {"username": "prometheus", "password_file": str(tmp_path / "wrong")}
        assert scraped(basic_auth=wrong) == "0"
        token = {"credentials_file": str(tmp_path / "token")}
        assert scraped(basic_auth=None, authorization=token) == "1"
    finally:
        server.stop()
        prometheus.scrape([])
