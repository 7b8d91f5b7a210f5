"""Container and compose file, as far as they can be checked without a container engine."""

import re
from pathlib import Path
from typing import Any

import yaml

from agent.config import load
from tests.rig.requirements import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_the_example_configuration_is_valid_and_fits_the_compose_file() -> None:
    config = load(DEPLOY / "tocsin.yaml", {})
    config.require_kafka()
    broker = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"//{config.kafka.client_options()['bootstrap_servers'][0]}," in broker
    assert f"127.0.0.1:{config.http.port}:{config.http.port}" in SERVICES["tocsin"]["ports"]
    created = SERVICES["topics"]["command"][0]
    for model in config.models.values():
        assert model.predictions.topic in created
        assert model.feedback.topic in created
    assert config.kafka.events_topic in created


def test_what_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            known = source in COMPOSE["volumes"] or (DEPLOY / source).exists()
            assert known, mount


def test_every_image_is_pinned() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", service["image"])
        assert not service["image"].endswith(":latest")


def test_services_that_are_named_exist() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    scraped = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    managers = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert {target.split(":")[0] for target in scraped + managers} <= set(SERVICES)


def test_the_image_holds_what_it_copies_and_does_not_run_as_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [line.split()[1:-1] for line in text.splitlines() if re.match(r"COPY (?!--)", line)]
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for name in (name for names in copied for name in names):
        assert (REPOSITORY / name).exists()
        assert f"!{name}" in ignored
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    assert Path(COMPOSE["services"]["tocsin"]["build"]["dockerfile"]) == Path("deploy/Dockerfile")
