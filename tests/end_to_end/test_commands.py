"""Commands as a person runs them: what they print, how they end, and never a traceback."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from agent.intake.simulate import CreditTraffic, Script
from tests.rig.agent import environment, tocsin
from tests.rig.process import answers, free_port

MODEL = {"models": {"credit": {"task": "binary"}}}


def write(folder: Path, config: object) -> None:
    (folder / "tocsin.yaml").write_text(yaml.safe_dump(config))


def recorded(folder: Path, script: Script | None = None, seconds: int = 100) -> tuple[Path, Path]:
    """Simulated predictions and feedback in files."""
    traffic = CreditTraffic(np.random.default_rng(3), 1_700_000_000_000, 100, script)
    predictions, feedback = traffic.until(1_700_000_000_000 + seconds * 1000)
    _, late = traffic.until(1_700_000_000_000 + 10 * seconds * 1000)
    paths = folder / "predictions.jsonl", folder / "feedback.jsonl"
    for path, made in zip(paths, (predictions, feedback + late), strict=True):
        path.write_bytes(b"\n".join(r.value for r in made) + b"\n")
    return paths


def one_line(done, code: int, *parts: str) -> None:
    """The command ended with this code and one line on standard error that says all this."""
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert len(lines) == 1 and lines[0].startswith("tocsin: "), done.stderr
    for part in parts:
        assert part in lines[0]


def test_profile_then_replay_then_show(tmp_path):
    write(tmp_path, {"models": {"credit": {"task": "binary", "profile": "credit.profile"}}})
    predictions, feedback = recorded(tmp_path)
    rows = [json.loads(v) for v in predictions.read_text().splitlines() if v.endswith("}")]
    labels = {r["id"]: r["label"] for r in map(json.loads, feedback.read_text().splitlines())}
    reference = tmp_path / "train.jsonl"
    reference.write_text("\n".join(json.dumps({**r, "label": labels[r["id"]]}) for r in rows))
    done = tocsin("profile", "--data", "train.jsonl", "--json", "found.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "income" in done.stdout and "nothing remarkable" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["rows"] == len(rows) and found["performance"]["accuracy"] > 0.8
    shown = tocsin("profile", "--show", "credit.profile", cwd=tmp_path)
    assert shown.returncode == 0 and found["profile"] in shown.stdout
    assert "fine" in tocsin("check", cwd=tmp_path).stdout

    recorded(tmp_path, Script(drift=50_000))
    arguments = ("replay", "--predictions", "predictions.jsonl", "--feedback", "feedback.jsonl")
    passed = tocsin(*arguments, "--json", "out.json", cwd=tmp_path)
    assert passed.returncode == 0, passed.stderr
    result = json.loads((tmp_path / "out.json").read_text())["models"]["credit"]
    assert result["alarms"][0]["target"] == "income"
    failed = tocsin(*arguments, "--fail-on", "ticket", cwd=tmp_path)
    assert failed.returncode == 1
    assert "not passed: credit: ticket: drift of income" in failed.stderr


def test_test_data_that_share_ids_with_training_do_not_pass(tmp_path):
    write(tmp_path, {"models": {"credit": {"task": "binary", "profile": "credit.profile"}}})
    recorded(tmp_path)
    name = "predictions.jsonl"
    done = tocsin("profile", "--data", name, "--test", name, cwd=tmp_path)
    assert done.returncode == 1
    assert "the test is not independent" in " ".join(done.stdout.split())


def test_series_hold_every_pane(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    write(tmp_path, {"models": {"credit": {"task": "binary", "warmup": 3000}}})
    recorded(tmp_path)
    arguments = ("--predictions", "predictions.jsonl", "--feedback", "feedback.jsonl")
    done = tocsin("replay", *arguments, "--series", "series.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / "series.parquet")
    assert len(set(table["time"].to_pylist())) >= 10
    assert {"drift", "missing_ratio", "accuracy"} <= set(table["metric"].to_pylist())


@pytest.mark.parametrize(
    ("config", "arguments", "code", "parts"),
    [
        (None, ("check",), 2, ("tocsin.yaml", "does not exist")),
        ({"models": {"a": {"task": "binry"}}}, ("check",), 2, ("task", "binary")),
        (MODEL, ("replay",), 2, ("--predictions",)),
        (MODEL, ("replay", "--predictions", "none.csv"), 2, ("none.csv",)),
        (MODEL, ("replay", "--predictions", "junk.csv"), 2, ("junk.csv",)),
        (MODEL, ("replay", "--model", "b", "--predictions", "x.csv"), 2, ("no model 'b'",)),
        (MODEL, ("run",), 2, ("kafka.bootstrap_servers",)),
        (MODEL, ("profile", "--data", "junk.csv", "--out", "p"), 2, ("junk.csv",)),
        (MODEL, ("profile", "--show", "junk.csv"), 2, ("junk.csv", "not a profile")),
        (MODEL, ("profile", "--show", "none"), 2, ("none", "no such profile")),
        (MODEL, ("profile",), 2, ("--data",)),
        (MODEL, ("unknown",), 2, ("unknown",)),
    ],
)
def test_a_wrong_use_is_one_line_and_its_exit_code(tmp_path, config, arguments, code, parts):
    if config is not None:
        write(tmp_path, config)
    (tmp_path / "junk.csv").write_bytes(bytes(range(256)))
    one_line(tocsin(*arguments, cwd=tmp_path), code, *parts)


def test_check_connect_says_that_no_broker_answers(tmp_path):
    write(tmp_path, {"kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"}, **MODEL})
    done = tocsin("check", "--connect", cwd=tmp_path)
    assert done.returncode == 3 and len(done.stderr.splitlines()) == 1
    assert "127.0.0.1" in done.stderr


def test_schema_is_json(tmp_path):
    done = tocsin("schema", cwd=tmp_path)
    assert json.loads(done.stdout)["properties"]["models"]


@pytest.mark.slow
@pytest.mark.parametrize("source", [(), ("--in-memory",)], ids=["broker", "memory"])
def test_demo_ends_by_itself(tmp_path, source):
    port = str(free_port())
    done = tocsin("demo", "--for", "12s", "--port", port, *source, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{port}/" in done.stdout
    assert ("embedded Kafka-protocol broker" in done.stdout) == (not source)
    assert "ticket:" not in done.stdout and "page:" not in done.stdout, "healthy is quiet"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_demo_rings_for_the_right_feature_then_for_accuracy_and_ends_on_ctrl_c(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "agent.cli", "demo", "--port", str(port)]
    environ = {**environment(), "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        rung = []
        assert demo.stdout is not None
        for line in demo.stdout:
            if "ticket:" in line or "page:" in line:
                rung.append(line)
            if "page: credit: accuracy" in line:
                break
        assert "drift of income" in rung[0]
        assert "page: credit: accuracy" in rung[-1]
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=20)
    finally:
        if demo.poll() is None:
            demo.kill()
    assert demo.returncode == 0, err
    assert "the demo has ended" in out
    assert "Traceback" not in err
    assert not answers(port)


def test_no_command_needs_river_or_pyarrow_until_it_is_asked_for(tmp_path):
    program = "import sys, agent.cli, agent.commands.run, agent.replay; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"river", "pyarrow", "pandas"} & set(done.stdout.split())
