"""What must not be shown anywhere: secrets of the configuration, and what stands in records."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
import yaml

from agent import log
from agent.assembly import kafka_settings
from agent.commands.asking import Client
from agent.commands.serving import access, tls
from agent.config import Config, ConfigError, load
from agent.intake.source import RawBatch
from agent.publish.events import cloud_event
from agent.publish.metrics import Exporter
from agent.publish.page import status_page
from agent.publish.status import status_json
from agent.snapshots import snapshot
from tests.rig.certificates import Authority, Files
from tests.watched import FEEDBACK, LATEST, MINUTE, MOVED, PREDICTIONS, START, Watched

# Where a secret can stand in the file.
PLACES = (
    "kafka.sasl_plain_username",
    "kafka.sasl_plain_password",
    "kafka.ssl_password",
    "kafka.oauth.client_secret",
    "http.tls.password",
    "http.basic.password",
    "http.bearer_token",
)


def secret(place: str) -> str:
    return f"{place.replace('.', '-').replace('_', '-')}-s3cret"


SECRETS = {place: secret(place) for place in PLACES}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    return authority.issue("locked", password=SECRETS["http.tls.password"])


def settings(files: Files, secrets: dict[str, str]) -> dict[str, object]:
    """A configuration with every secret that there is."""
    kafka: dict[str, object] = {
        "bootstrap_servers": "broker:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "oauth": {"token_url": "https://idp.example/token", "client_id": "tocsin"},
    }
    served = {"certfile": str(files.certificate), "keyfile": str(files.key)}
    whole: dict[str, object] = {
        "kafka": kafka,
        "http": {"tls": served, "basic": {"username": "ann"}},
        "models": {"credit": {"task": "binary"}},
    }
    for place, value in secrets.items():
        *way, last = place.split(".")
        section = whole
        for part in way:
            section = section[part]  # type: ignore[assignment]
        section[last] = value
    return whole


def read(folder: Path, content: object, env: dict[str, str] | None = None) -> Config:
    (folder / "tocsin.yaml").write_text(yaml.safe_dump(content))
    return load(folder / "tocsin.yaml", env or {})


def free(text: str, *hidden: str) -> None:
    for value in hidden or SECRETS.values():
        assert value not in text


def test_secrets_are_in_no_representation_and_not_in_the_hash(files: Files, tmp_path: Path) -> None:
    config = read(tmp_path, settings(files, SECRETS))
    client = Client(config)
    shown = [repr(part) for part in (config, config.kafka, config.http, config.kafka.oauth, client)]
    shown += [repr(access(config.http)), repr(tls(config.http)), str(config), str(config.http)]
    shown += [config.model_dump_json(), repr(config.model_dump())]
    free("".join(shown))
    changed = {place: f"{value}-of-tomorrow" for place, value in SECRETS.items()}
    assert Config.model_validate(settings(files, changed)).hash == config.hash


def test_secrets_are_in_no_representation_of_what_reaches_kafka(
    files: Files, tmp_path: Path
) -> None:
    config = read(tmp_path, settings(files, SECRETS))
    kafka = kafka_settings(config)
    free(repr(kafka) + repr(kafka.options["sasl_oauth_token_provider"]))
    assert kafka.options["sasl_plain_password"] == SECRETS["kafka.sasl_plain_password"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["list", "mapping", "section", "stray", "next to a mistake"])
@pytest.mark.parametrize("referred", [False, True])
def test_secrets_are_in_no_error_wherever_they_stand(
    files: Files, tmp_path: Path, place: str, kind: str, referred: bool
) -> None:
    value = "${SECRET}" if referred else SECRETS[place]
    content = settings(files, SECRETS | {place: value})
    *way, last = place.split(".")
    section = content
    for part in way[:-1]:
        section = section[part]  # type: ignore[assignment]
    home: dict[str, object] = section[way[-1]]  # type: ignore[assignment]
    if kind == "list":
        home[last] = [value]
    elif kind == "mapping":
        home[last] = {value: value} if not referred else {"x": value}
    elif kind == "section":
        section[way[-1]] = value
    elif kind == "stray":
        home[f"{last}s"] = home.pop(last)
    else:
        content["windows"] = []
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, content, {"SECRET": SECRETS[place]})
    free(str(caught.value))


# What stands in records

ID, VALUE, NUMBER, LABEL, VERSION = "ID-4711", "VALUE-north", 987654.125, "LABEL-no", "v1"
MARKS = (ID, VALUE, str(NUMBER), LABEL, "MODEL-x", "KEY-x")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged at -v; the set-up of before comes back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    log.configure(verbose=True, stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def records(watched: Watched) -> list[RawBatch]:
    """Good and bad records of both topics, each with something that can be recognized."""
    at = watched.traffic.now

    def prediction(number: int, **other: object) -> bytes:
        features = {"income": NUMBER, "age": 40.5, "region": VALUE}
        row = {"id": f"{ID}-{number}", "timestamp": at, "features": features, "score": 0.5}
        return json.dumps({**row, **other}).encode()

    good = [prediction(i) for i in range(50)]
    bad = [
        prediction(50, score=VALUE),
        prediction(51, score=NUMBER),
        prediction(52, timestamp=VALUE),
        prediction(53, id=None),
        prediction(54, features=VALUE),
        prediction(55)[:-3],
        b"\xff" + VALUE.encode(),
        f"[{NUMBER}]".encode(),
        prediction(1),
    ]
    outcomes = [{"id": f"{ID}-{i}", "timestamp": at, "label": 1} for i in range(50)]
    outcomes += [{"id": f"{ID}-{i}", "timestamp": at, "label": LABEL} for i in range(50, 60)]
    outcomes += [{"id": {"x": ID}, "timestamp": at, "label": 1}]
    batches = []
    for topic, values in (
        (PREDICTIONS, good + bad),
        (FEEDBACK, [json.dumps(row).encode() for row in outcomes]),
    ):
        n = len(values)
        offsets = np.arange(watched.traffic.made, watched.traffic.made + n)
        times, keys = np.full(n, at), [b"KEY-x"] * n
        headers = [[("KEY-x", b"KEY-x")]] * n
        batches.append(RawBatch(topic, 0, values, offsets, times, keys, headers))
    watched.traffic.made += 100  # so that what follows has later offsets
    return batches


class Shown:
    """What a model's traffic leaves where people and machines look."""

    def __init__(self, tmp_path: Path, **more: object) -> None:
        watched = Watched(tmp_path / "credit.profile", **more)
        watched.until(30 * MINUTE)
        for batch in records(watched):
            watched.pipeline.take(batch, LATEST, 0.0)
        watched.until(60 * MINUTE, income=MOVED)
        taken = snapshot(watched.pipeline, {}, START / 1000, 0.0, "")
        model = taken.models["credit"]
        assert (
            sum(model.records.rejected.values()) >= 15
            and sum(model.records.predictions.values()) > 7_000
        )
        self.events = json.dumps([cloud_event(a, 0.0, "raised") for a in watched.alarms])
        assert "alarm.raised" in self.events
        self.metrics = Exporter(lambda: taken, lambda: 0.0).render(None)[1].decode()
        self.page, self.status = status_page(taken), status_json(taken)
        self.rejected = self.status["models"]["credit"]["recent_rejected"]


def test_records_show_at_most_in_the_excerpts_of_rejected_ones(
    tmp_path: Path, logged: io.StringIO
) -> None:
    shown = Shown(tmp_path)
    free(shown.events + shown.metrics + logged.getvalue(), *MARKS)
    assert VALUE in shown.page and ID in shown.page
    assert any(VALUE in record["excerpt"] for record in shown.rejected)
    for record in shown.rejected:
        assert len(record.pop("excerpt")) <= 200
    free(json.dumps(shown.status), *MARKS)


def test_without_samples_records_show_nowhere(tmp_path: Path, logged: io.StringIO) -> None:
    shown = Shown(tmp_path, rejected_samples=False)
    free(shown.events + shown.metrics + logged.getvalue() + shown.page, *MARKS)
    free(json.dumps(shown.status), *MARKS)
    assert len(shown.rejected) >= 15 and {r["excerpt"] for r in shown.rejected} == {""}
    assert all(record["topic"] and record["reason"] for record in shown.rejected)
