"""Container and compose file, as far as they can be checked without a container engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from agent import healthcheck
from agent.config import load
from agent.config.units import parse_size
from agent.exchange import PARTITIONS
from agent.join import EARLY_SHARE
from agent.pipeline import OPEN_SHARE
from agent.publish.access import Access
from agent.publish.http import HttpServer
from agent.publish.tls import Tls
from tests import samples
from tests.rig.certificates import Authority
from tests.rig.requirements import REPOSITORY, command

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


def test_the_image_runs_as_nobody_in_particular_and_can_write_nowhere() -> None:
    users = re.findall(r"^USER (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert users and users[-1].split(":")[0] not in ("0", "root")
    agents = [name for name, service in SERVICES.items() if "tocsin" in service["image"]]
    assert agents
    for name in agents:
        service = SERVICES[name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service and "cap_add" not in service and "user" not in service
        assert service["tmpfs"] == ["/tmp"]
        assert all(mount.endswith(":ro") for mount in service["volumes"])


def test_ports_are_open_to_this_machine_alone() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port


def test_hadolint_has_nothing_to_say() -> None:
    # Where the virtual environment is not the active one its commands are on no path.
    binary = Path(sys.executable).with_name("hadolint")
    linter = str(binary) if binary.exists() else command("hadolint")
    run = subprocess.run([linter, str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")


def test_the_health_check_knows_a_living_agent_with_and_without_tls(tmp_path: Path) -> None:
    served = re.search(r'CMD \["python", "-m", "(.*)"\]', (DEPLOY / "Dockerfile").read_text())
    assert served is not None and served[1] == healthcheck.__name__
    files = Authority(tmp_path).issue("server")
    guarded = Access(bearer="token")
    for tls in (None, Tls(files.certificate, files.key)):
        server = HttpServer("127.0.0.1", 0, samples.snapshot, tls=tls, access=guarded)
        server.start()
        try:
            assert healthcheck.lives(f"127.0.0.1:{server.port}")
        finally:
            server.stop()
        assert not healthcheck.lives(f"127.0.0.1:{server.port}")


MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "several-agents.yaml").read_text()))


def test_the_manifests_are_what_kubernetes_knows() -> None:
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_the_manifests_fit_together(tmp_path: Path) -> None:
    config_map, service, stateful = MANIFESTS
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    volumes = {v["name"] for v in pod["volumes"]}
    assert set(mounts.values()) == volumes
    (tmp_path / "tocsin.yaml").write_text(config_map["data"]["tocsin.yaml"])
    config = load(tmp_path / "tocsin.yaml", {"POD_NAME": "tocsin-0"})
    config.require_kafka()
    assert config.kafka.several_agents and config.kafka.group_instance_id == "tocsin-0"
    assert {e["name"] for e in container["env"]} == {"POD_NAME"}
    for model in config.models.values():
        assert str(model.profile.parent) in mounts
    file = Path(container["args"][container["args"].index("--config") + 1])
    assert str(file.parent) in mounts and file.name in config_map["data"]
    (port,) = container["ports"]
    assert port["containerPort"] == config.http.port == service["spec"]["ports"][0]["port"]
    # Who writes nothing and is nobody needs no more than that.
    security = pod["securityContext"] | container["securityContext"]
    assert security["runAsNonRoot"] and security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    paths = [container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    assert paths == ["/healthz", "/readyz"]


def test_an_agent_that_is_left_alone_stays_within_its_memory(tmp_path: Path) -> None:
    config_map, _, stateful = MANIFESTS
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    limit = parse_size(container["resources"]["limits"]["memory"] + "B")
    (tmp_path / "tocsin.yaml").write_text(config_map["data"]["tocsin.yaml"])
    config = load(tmp_path / "tocsin.yaml", {"POD_NAME": "tocsin-0"})
    # docs/reliability.md, "What is bounded"
    memories = [int(model.feedback.memory) for model in config.models.values()]
    remembered = sum(m + m // EARLY_SHARE + m // OPEN_SHARE for m in memories)
    assert PARTITIONS * remembered + 2.5 * max(memories) + 250_000_000 < limit
