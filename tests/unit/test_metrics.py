"""The exposition: what Prometheus reads, byte for byte, and what it must never contain."""

import math
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from agent.publish.metrics import LABELS, METRICS, Exporter, documentation
from agent.publish.snapshot import Records, Snapshot
from tests import samples
from tests.rig.requirements import command

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
GOLDEN = Path(__file__).parents[1] / "golden" / "metrics.txt"
COUNTED = ("counter", "histogram")
HOSTILE = 'a"b\\c\nd <script>é\N{SNOWMAN}'


def exposition(snapshot: Snapshot, accept: str = "", process: bool = False) -> str:
    exporter = Exporter(lambda: snapshot, clock=lambda: samples.NOW, process=process)
    return exporter.render(accept)[1].decode()


def series(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples by name and labels; fails where a series occurs twice."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    return series(text)[name, tuple(sorted(labels.items()))]


def family_of(name: str) -> str:
    """The metric that a series belongs to."""
    for end in ("_bucket", "_sum", "_count"):
        name = name.removesuffix(end)
    return name


def test_exposition_is_the_golden_one() -> None:
    # To accept a change: write exposition(samples.snapshot()) to GOLDEN, without build_info.
    text = exposition(samples.snapshot())
    stable = [line for line in text.splitlines() if not line.startswith("tocsin_build_info{")]
    assert stable == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_all_metrics_are_fed_and_declare_themselves_as_in_the_table() -> None:
    families = {family.name: family for family in parse(exposition(samples.snapshot()))}
    for metric in METRICS:
        family = families.pop(metric.name.removesuffix("_total"))
        assert family.documentation == metric.help
        assert family.type == {"info": "gauge"}.get(metric.type, metric.type)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert not families


def test_values_come_from_the_snapshot() -> None:
    text = exposition(samples.snapshot())
    assert value(text, "tocsin_predictions_total", model="credit", version="3") == 11_284_003
    assert value(text, "tocsin_watermark_delay_seconds", model="credit") == 12
    assert value(text, "tocsin_blind", model="churn", reason="learning") == 1
    delay = value(text, "tocsin_label_delay_seconds_bucket", model="credit", le="86400.0")
    assert delay == 812 + 5_630 + 24_019
    assert value(text, "tocsin_label_delay_seconds_count", model="credit") == 99_573
    assert "_created" not in text


def test_values_that_are_not_known_are_left_out() -> None:
    text = exposition(samples.snapshot())
    assert not any(map(math.isnan, series(text).values()))
    assert ("tocsin_label_coverage_ratio", (("model", "churn"),)) not in series(text)
    assert 'topic="churn.predictions"' not in text  # its lag is not known


def test_what_checkpoints_bring_is_absent_until_it_is_restored() -> None:
    shown = series(exposition(samples.snapshot()))
    waiting = series(exposition(replace(samples.snapshot(), is_restored=False)))
    assert waiting.items() <= shown.items()
    of_models = {m.name for m in METRICS if m.type in COUNTED and "model" in m.labels}
    hidden = {family_of(name) for name, _ in shown.keys() - waiting.keys()}
    assert hidden == of_models | {"tocsin_evidence_ratio"}
    assert hidden.isdisjoint(family_of(name) for name, _ in waiting)


def test_what_the_process_counts_does_not_wait_for_a_restore() -> None:
    unrouted = {("shared", "unknown_model"): 3.0}
    waiting = replace(samples.snapshot(), is_restored=False, unrouted=unrouted)
    text = exposition(waiting)
    labels = {"model": "", "topic": "shared", "reason": "unknown_model"}
    assert value(text, "tocsin_rejected_total", **labels) == 3
    counted = {m.name for m in METRICS if m.type in COUNTED and "model" not in m.labels}
    assert counted <= {family_of(name) for name, _ in series(text)}
    assert value(text, "tocsin_blind", model="churn", reason="too_few") == 1


def test_a_cleared_alarm_falls_to_zero_unless_it_stands_again() -> None:
    text = exposition(samples.snapshot())
    labels = {"model": "credit", "severity": "ticket"}
    assert value(text, "tocsin_alarm", kind="drift", target="income", **labels) == 1
    assert value(text, "tocsin_alarm", kind="quality", target="device", **labels) == 0
    again = replace(samples.credit(), cleared=(samples.alarm(cleared_at=samples.ago(60)),))
    text = exposition(samples.snapshot(again))
    assert value(text, "tocsin_alarm", kind="drift", target="income", **labels) == 1


def test_panes_of_all_models_are_one_histogram() -> None:
    models = samples.credit(), replace(samples.credit(), model="twin")
    text = exposition(samples.snapshot(*models))
    assert value(text, "tocsin_pane_seconds_count") == 2 * 77_758
    assert value(text, "tocsin_pane_seconds_bucket", le="0.001") == 4


def test_the_delay_of_a_hung_agent_grows() -> None:
    exporter = Exporter(lambda: samples.snapshot(), clock=lambda: samples.NOW + 600)
    assert (
        value(exporter.render()[1].decode(), "tocsin_watermark_delay_seconds", model="credit")
        == 612
    )


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text; version=what", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_format_follows_the_accept_header(accept: str | None, content_type: str) -> None:
    assert Exporter(samples.snapshot).render(accept)[0].startswith(content_type)


def test_openmetrics_is_well_formed_and_has_units() -> None:
    text = exposition(samples.snapshot(), OPENMETRICS, process=True)
    families = {family.name: family for family in parse_openmetrics(text)}
    assert families["tocsin_label_delay_seconds"].unit == "seconds"
    assert families["tocsin_missing_ratio"].unit == "ratio"
    assert text.endswith("# EOF\n")


def test_promtool_has_no_complaint() -> None:
    promtool = command("promtool")
    text = exposition(samples.snapshot(), process=True)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, text=True, capture_output=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_hostile_names_survive_the_round_trip() -> None:
    told = Records(predictions={(HOSTILE,): 7.0})
    model = replace(samples.credit(), model=HOSTILE, told=told)
    text = exposition(samples.snapshot(model))
    assert value(text, "tocsin_predictions_total", model=HOSTILE, version=HOSTILE) == 7
    openmetrics = exposition(samples.snapshot(model), OPENMETRICS)
    family = next(f for f in parse_openmetrics(openmetrics) if f.name == "tocsin_predictions")
    assert family.samples[0].labels == {"model": HOSTILE, "version": HOSTILE}


def test_half_a_surrogate_pair_does_not_break_the_scrape() -> None:
    model = replace(samples.credit(), told=Records(predictions={("\ud83d",): 1.0}))
    assert value(
        exposition(samples.snapshot(model)),
        "tocsin_predictions_total", model="credit", version="\\ud83d",
    ) == 1  # fmt: skip


def test_no_id_and_no_value_becomes_a_label() -> None:
    text = exposition(samples.snapshot())
    for alarm in (*samples.credit().alarms, *samples.credit().cleared):
        assert alarm.id not in text
    for rejected in samples.credit().recent_rejected:
        assert rejected.excerpt[:9] not in text
        assert str(rejected.offset) not in text
    assert set(LABELS) == {label for metric in METRICS for label in metric.labels}


def test_a_scrape_of_ten_thousand_series() -> None:
    drift = {
        (f"feature_{i}", measure, window): i / 7
        for i in range(840)
        for measure in ("psi", "js", "ks", "wasserstein")
        for window in ("5m", "1h", "1d")
    }
    exporter = Exporter(lambda: samples.snapshot(replace(samples.credit(), drift=drift)))
    started = time.perf_counter()
    text = exporter.render()[1].decode()
    assert time.perf_counter() - started < 2  # a tenth of a second on an idle machine
    assert text.count("\ntocsin_drift{") == 10_080


def test_a_snapshot_of_nothing_renders() -> None:
    empty = replace(samples.snapshot(), models={}, lag={})
    assert "tocsin_build_info" in exposition(empty)


def test_documentation_is_up_to_date() -> None:
    # To accept a change: write documentation() to the file.
    path = Path(__file__).parents[2] / "docs" / "metrics.md"
    text = path.read_text(encoding="utf-8")
    assert text == documentation()
    for metric in METRICS:
        assert f"`{metric.name}`" in text
