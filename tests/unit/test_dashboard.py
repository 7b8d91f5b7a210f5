"""The Grafana dashboard: built from the metrics, and its queries are PromQL over what there is."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana import build
from tests.rig.promql import check_expressions, unknown_names
from tests.rig.requirements import REPOSITORY

PANELS: list[dict[str, Any]] = build.dashboard()["panels"]
VARIABLES: list[dict[str, Any]] = build.dashboard()["templating"]["list"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
BUILT_IN = {"__rate_interval"}


def test_the_file_is_what_is_built() -> None:
    assert build.PATH.read_text() == build.render(), "run: python -m grafana.build"


@pytest.mark.prometheus
def test_every_query_is_promql(tmp_path: Path) -> None:
    plain = [e.replace("$__rate_interval", "5m").replace("$window", "1h") for e in EXPRESSIONS]
    check_expressions(plain, tmp_path)


@pytest.mark.parametrize("panel", PANELS, ids=lambda p: p["title"])
def test_panels_name_only_what_exists(panel: dict[str, Any]) -> None:
    known = {v["name"] for v in VARIABLES} | BUILT_IN
    for target in panel["targets"]:
        assert unknown_names(target["expr"]) == set()
        assert set(re.findall(r"\$\{?(\w+)", target["expr"])) <= known
        legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        labels = {label for metric in build.METRICS for label in metric.labels}
        assert legend <= labels
    assert panel["description"]


def test_variables_name_only_what_exists() -> None:
    queries = [v["query"]["query"] for v in VARIABLES if v["type"] == "query"]
    assert len(queries) == 2
    assert [unknown_names(q) for q in queries] == [set(), set()]


def test_panels_lie_in_the_grid_and_not_on_each_other() -> None:
    places = [p["gridPos"] for p in PANELS]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= build.COLUMNS for p in places)
    for a, b in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above
    assert len({p["id"] for p in PANELS}) == len(PANELS)


def test_provisioning_finds_the_data_source_and_the_dashboard() -> None:
    provisioning = REPOSITORY / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())
    assert [s["type"] for s in source["datasources"]] == ["prometheus"]
    provider = yaml.safe_load((provisioning / "dashboards" / "tocsin.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    compose = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())
    mounts = compose["services"]["grafana"]["volumes"]
    assert f"../grafana/tocsin.json:{folder}/tocsin.json:ro" in mounts
    assert json.loads(build.PATH.read_text())["uid"] == "tocsin"
