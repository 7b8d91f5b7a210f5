"""Nobody is let in, and no secret gets out: TLS and logins against a real Kafka, and over HTTP."""

import base64
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent import profile_file
from agent.assembly import kafka_settings
from agent.config import Config
from agent.errors import UsageError
from agent.intake.kafka import check_topics
from tests.rig.agent import Agent, produce, tocsin
from tests.rig.certificates import Authority
from tests.rig.secure_kafka import PASSWORD, SECRET, USER, SecureKafka, secure_kafka
from tests.watched import MINUTE, Traffic, reference

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
WRONG = "wr0ng-s3cret"
KEY_PASSWORD = "k3y-s3cret"
WEB_USER, WEB_PASSWORD, TOKEN = "operator", "w3b-s3cret", "t0ken-s3cret"
CONTENT = "record-c0ntent"
SECRETS = (PASSWORD, SECRET, WRONG, KEY_PASSWORD, WEB_PASSWORD, TOKEN)
BASIC = base64.b64encode(f"{WEB_USER}:{WEB_PASSWORD}".encode()).decode()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        for topic in ("credit.predictions", "credit.feedback"):
            produce(kafka.plain, topic, [], [])
        yield kafka


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def configured(path: Path, kafka: Mapping[str, Any]) -> Config:
    return Config.model_validate(configuration(kafka), context={"folder": path.parent})


def configuration(kafka: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"kafka": dict(kafka), "models": {"credit": {"task": "binary"}}, **more}


def free_of_secrets(text: str) -> None:
    for secret in (*SECRETS, USER, "eyJ", BASIC):  # eyJ is how every JWT begins
        assert secret not in text, text


@dataclass(frozen=True, slots=True)
class Case:
    """A `kafka` section and how `tocsin check --connect` ends with it."""

    kafka: dict[str, Any]
    code: int
    said: str
    name: str = field(kw_only=True)


def cases(secured: SecureKafka, stranger: Authority) -> list[Case]:
    def case(name: str, kafka: dict[str, Any], code: int, said: str) -> Case:
        return Case(kafka, code, said, name=name)

    def oauth(**other: str) -> dict[str, Any]:
        options = secured.options("OAUTHBEARER")
        return {**options, "oauth": {**options["oauth"], **other}}

    def mutual(files: Any, **other: Any) -> dict[str, Any]:
        shown = {"ssl_certfile": str(files.certificate), "ssl_keyfile": str(files.key)}
        return secured.over_ssl("MUTUAL", **shown, **other)

    locked = secured.authority.issue("locked", password=KEY_PASSWORD)
    good = [case(m, secured.options(m), 0, "fine (credit") for m in MECHANISMS]
    refused = "refuses: SaslAuthenticationFailedError: Authentication failed"
    bad_login = [
        case(f"bad {m}", secured.options(m, sasl_plain_password=WRONG), 3, refused)
        for m in MECHANISMS[:3]
    ]
    no_one = {"sasl_plain_username": "nobody"}
    untrusted = "cannot be reached: its certificate is not trusted:"
    return [
        *good,
        *bad_login,
        case("nobody", secured.options("SCRAM-SHA-512", **no_one), 3, refused),
        case("other mechanism", secured.options("GSSAPI"), 3, "UnsupportedSaslMechanism"),
        case("client secret", oauth(client_secret=WRONG), 3, "refuses the client: HTTP 401"),
        case("client id", oauth(client_id="nobody"), 3, "refuses the client: HTTP 401"),
        case("stranger's endpoint", oauth(cafile=str(stranger.file)), 3, "no token from"),
        case("mutual", mutual(secured.client), 0, "fine (credit"),
        case("locked", mutual(locked, ssl_password=KEY_PASSWORD), 0, "fine (credit"),
        case("locked out", mutual(locked, ssl_password=WRONG), 2, "the password is wrong"),
        case("no certificate", secured.over_ssl("MUTUAL"), 3, "alert bad certificate"),
        case("stranger", mutual(stranger.issue("client")), 3, "alert certificate unknown"),
        case("expired", secured.over_ssl("EXPIRED"), 3, f"{untrusted} certificate has expired"),
        case("elsewhere", secured.over_ssl("ELSEWHERE"), 3, f"{untrusted} IP address mismatch"),
        case(
            "unchecked", secured.over_ssl("ELSEWHERE", ssl_check_hostname=False), 0, "fine (credit"
        ),
        case(
            "other authority",
            secured.options("PLAIN", ssl_cafile=str(stranger.file)),
            3,
            f"{untrusted} unable to get local issuer",
        ),
        case("no authority", secured.options("PLAIN", ssl_cafile="none"), 2, "cannot be read"),
        case(
            "no TLS",
            secured.options("PLAIN", security_protocol="SASL_PLAINTEXT"),
            3,
            "does it expect another security_protocol?",
        ),
    ]


def said_by_check(folder: Path, case: Case) -> tuple[int, str]:
    """The exit code of `tocsin check --connect -v`, and the one line that is for a person."""
    (folder / "tocsin.yaml").write_text(yaml.safe_dump(configuration(case.kafka)))
    done = tocsin("check", "--connect", "-v", cwd=folder)
    free_of_secrets(done.stdout + done.stderr)
    assert "Traceback" not in done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    (said,) = [line for line in lines if not line.startswith("{")]  # the others are logged
    return done.returncode, said


def test_good_credentials_connect_and_bad_ones_are_one_readable_line(
    secured: SecureKafka, stranger: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "tocsin.yaml"
    topics = {"credit": ("credit.predictions", "credit.feedback")}

    def connect(case: Case) -> tuple[int, str]:
        try:
            settings = kafka_settings(configured(path, case.kafka))
        except UsageError as error:
            return 2, str(error)
        problems = check_topics(settings, topics, 4.0)
        return (3 if problems else 0), "; ".join(problems) or "fine (credit"

    wanted = cases(secured, stranger)
    # What cannot be reached is tried until the time is over: all of it at the same time.
    with ThreadPoolExecutor(len(wanted)) as pool:
        found = list(pool.map(connect, wanted))
    for case, (code, said) in zip(wanted, found, strict=True):
        assert (code, case.said in said) == (case.code, True), (case.name, said)
        assert "\n" not in said
        free_of_secrets(said)
    assert "Handshake failed" in caplog.text  # what kafka-python says at -v is heard
    free_of_secrets(caplog.text)


@pytest.mark.parametrize("name", ["SCRAM-SHA-512", "bad PLAIN", "client secret", "locked out"])
def test_check_says_so_as_well(
    secured: SecureKafka, stranger: Authority, tmp_path: Path, name: str
) -> None:
    (case,) = [case for case in cases(secured, stranger) if case.name == name]
    code, said = said_by_check(tmp_path, case)
    assert (code, case.said in said) == (case.code, True), said


def test_the_agent_waits_for_a_token_renews_it_and_lets_in_who_knows_the_password(
    secured: SecureKafka, tmp_path: Path
) -> None:
    tokens = secured.tokens
    tokens.lifetime = 8  # seconds, so that one has to be renewed while this test looks
    tokens.silent.clear()
    files = secured.authority.issue("agent")
    http = {
        "tls": {"certfile": str(files.certificate), "keyfile": str(files.key)},
        "basic": {"username": WEB_USER, "password": WEB_PASSWORD},
        "bearer_token": TOKEN,
    }
    profile_file.save(reference(), tmp_path / "credit.profile")
    settings = configuration(secured.options("OAUTHBEARER", group_id="tokens"), http=http)
    settings["rejected_samples"] = False
    settings["models"]["credit"]["profile"] = "credit.profile"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    agent = Agent(tmp_path, settings, "-v", tls=secured.authority.client(), headers=headers)
    try:
        agent.start()
        waits_for(agent, "no token from")
        tokens.silent.set()
        agent.wait_ready()

        # `accept` knows credentials and certificate from the same file.
        done = tocsin("accept", "--model", "credit", cwd=tmp_path)
        assert (done.returncode, "not accepted" in done.stderr) == (1, True), done.stderr
        text = (tmp_path / "tocsin.yaml").read_text()
        (tmp_path / "wrong.yaml").write_text(text.replace(WEB_PASSWORD, WRONG))
        refused = tocsin("accept", "--config", "wrong.yaml", cwd=tmp_path)
        assert (refused.returncode, "not authorized" in refused.stderr) == (2, True)

        deadline = time.monotonic() + 20
        while len(tokens.requests) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        traffic = Traffic(start=(int(time.time() * 1000) - 10 * MINUTE) // MINUTE * MINUTE)
        for batch in traffic.until(MINUTE):
            values = [*batch.values, f'{{"id": "{CONTENT}", "score": "{CONTENT}"'.encode()]
            produce(secured.plain, batch.topic, values, ["k"] * len(values))
        agent.wait("credit", lambda m: sum(m["records"]["predictions"].values()) == 120, 20)
        agent.wait("credit", lambda m: len(m["recent_rejected"]) == 2, 20)
        assert agent.ask("/readyz") == (200, "ready\n")

        shown = "".join(agent.get(path) or "" for path in ("/", "/metrics", "/api/v1/status"))
        assert 'tocsin_predictions_total{model="credit"' in shown and "<html" in shown
        headers["Authorization"] = f"Basic {BASIC}"
        assert other(agent, headers).ask("/metrics")[0] == 200
        for wrong in ({}, {"Authorization": f"Bearer {WRONG}"}):
            assert other(agent, wrong).ask("/metrics") == (401, "not authorized\n")
        free_of_secrets(agent.log + done.stderr + refused.stderr + shown)
        assert CONTENT not in agent.log + shown and "undecodable" in shown
        assert "Traceback" not in agent.log
        assert agent.stop() == 0
    finally:
        tokens.silent.set()
        tokens.lifetime = 300
        agent.process.kill()


def waits_for(agent: Agent, what: str) -> str:
    """What readiness says once it names what the agent waits for."""
    deadline = time.monotonic() + 20
    while what not in (why := agent.wait_ready(False)):
        assert time.monotonic() < deadline, why
        time.sleep(0.1)
    return why


def other(agent: Agent, headers: Mapping[str, str]) -> Agent:
    """The same agent, asked by somebody else."""
    somebody = copy(agent)
    somebody.headers = dict(headers)
    return somebody


def test_run_ends_on_a_wrong_password_and_waits_on_a_wrong_certificate(
    secured: SecureKafka, stranger: Authority, tmp_path: Path
) -> None:
    wrong = configuration(secured.options("PLAIN", sasl_plain_password=WRONG))
    (tmp_path / "tocsin.yaml").write_text(yaml.safe_dump({**wrong, "http": {"port": 0}}))
    done = tocsin("run", cwd=tmp_path)
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith("tocsin: ") and "Invalid username or password" in last
    untrusting = secured.options("PLAIN", ssl_cafile=str(stranger.file))
    agent = Agent(tmp_path, configuration(untrusting), "-v")
    try:
        agent.start()
        why = waits_for(agent, "its certificate is not trusted")
        free_of_secrets(done.stderr + agent.log + why)
        assert "Traceback" not in done.stderr + agent.log
        assert agent.stop() == 0
    finally:
        agent.process.kill()


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_certificate_that_is_none_is_one_line_before_anything_starts(
    tmp_path: Path, command: str
) -> None:
    served = {"port": 0, "tls": {"certfile": "junk.pem", "keyfile": "junk.pem"}}
    nobody = {"bootstrap_servers": "127.0.0.1:1"}
    (tmp_path / "tocsin.yaml").write_text(yaml.safe_dump(configuration(nobody, http=served)))
    (tmp_path / "junk.pem").write_text("junk")
    done = tocsin(command, cwd=tmp_path)
    (said,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "http.tls.certfile: " in said and "holds no certificate in PEM format" in said
