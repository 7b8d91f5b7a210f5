"""Alert rules: they say what they should when they should, and name only what there is."""

import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from agent.snapshots import BLIND
from detectors.evidence import Kind
from tests.rig.prometheus import promtool
from tests.rig.promql import unknown_names
from tests.rig.requirements import REPOSITORY, command

DEPLOY = REPOSITORY / "deploy"
PROMETHEUS = DEPLOY / "prometheus"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


@pytest.mark.prometheus
def test_promtool_accepts_rules_and_configuration() -> None:
    promtool("check", "rules", str(PROMETHEUS / "rules.yml"))
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


@pytest.mark.prometheus
def test_alerts_fire_when_they_should() -> None:
    promtool("test", "rules", str(PROMETHEUS / "tests.yml"))


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    cases = yaml.safe_load((PROMETHEUS / "tests.yml").read_text())["tests"]
    tried = [(c["alertname"], bool(c["exp_alerts"])) for t in cases for c in t["alert_rule_test"]]
    assert set(tried) == {(name, fires) for name in ALERTS for fires in (True, False)}


@pytest.mark.parametrize("rule", rules(), ids=lambda r: r.get("alert") or r["record"])
def test_rules_name_only_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    assert unknown_names(rule["expr"], RECORDED) == set()


def test_a_wrong_name_would_be_noticed() -> None:
    assert unknown_names('tocsin_alarms{model="a"} + tocsin_blind{why="x"}') == {
        "tocsin_alarms",
        "tocsin_blind{why}",
    }
    assert unknown_names("model:tocsin_nothing:rate5m") == {"model:tocsin_nothing:rate5m"}
    assert unknown_names("rate(tocsin_pane_seconds_bucket[5m])") == set()


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    link = alert["annotations"]["runbook_url"]
    kinds = get_args(Kind) if "{{ $labels.kind }}" in link else ("",)
    for kind in kinds:
        assert (REPOSITORY / link.replace("{{ $labels.kind }}", kind)).is_file()


def test_every_reason_of_blindness_is_in_the_runbook() -> None:
    text = (REPOSITORY / "docs" / "runbooks" / "blind.md").read_text()
    assert [reason for reason in BLIND if f"`{reason}`" not in text] == []


@pytest.mark.prometheus
def test_amtool_accepts_the_alertmanager_configuration() -> None:
    path: Path = DEPLOY / "alertmanager" / "alertmanager.yml"
    check = [command("amtool"), "check-config", str(path)]
    run = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
