"""Nobody is let in, and no secret gets out: TLS and logins against a real Kafka, and over HTTP."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rig.agent import Agent, produce, tocsin
from tests.rig.certificates import Authority
from tests.rig.secure_kafka import PASSWORD, SECRET, USER, SecureKafka, secure_kafka

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
WRONG = "wr0ng-s3cret"
KEY_PASSWORD = "k3y-s3cret"
WEB_USER, WEB_PASSWORD, TOKEN = "operator", "w3b-s3cret", "t0ken-s3cret"
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


def configuration(kafka: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"kafka": dict(kafka), "models": {"credit": {"task": "binary"}}, **more}


def free_of_secrets(text: str) -> None:
    for secret in (*SECRETS, USER + '"', "eyJ", BASIC):  # eyJ is how every JWT begins
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


def test_check_connects_with_good_credentials_and_says_what_is_wrong_with_bad_ones(
    secured: SecureKafka, stranger: Authority, tmp_path: Path
) -> None:
    def check(numbered: tuple[int, Case]) -> str:
        number, case = numbered
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "tocsin.yaml").write_text(yaml.safe_dump(configuration(case.kafka)))
        done = tocsin("check", "--connect", "-v", cwd=folder)
        free_of_secrets(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr, case.name
        logged = [line for line in done.stderr.splitlines() if line.startswith("{")]
        said = [line for line in done.stderr.splitlines() if line not in logged]
        said += done.stdout.splitlines()
        assert (done.returncode, len(said)) == (case.code, 1), (case.name, said)
        assert case.said in said[0], (case.name, said)
        return case.name

    wanted = cases(secured, stranger)
    # What cannot be reached is tried for ten seconds: all of them at the same time.
    with ThreadPoolExecutor(len(wanted)) as pool:
        assert list(pool.map(check, enumerate(wanted))) == [case.name for case in wanted]


def test_the_agent_runs_with_tokens_that_expire_and_waits_for_their_endpoint(
    secured: SecureKafka, tmp_path: Path
) -> None:
    secured.tokens.lifetime = 4
    secured.tokens.silent.clear()
    files = secured.authority.issue("agent")
    http = {
        "tls": {"certfile": str(files.certificate), "keyfile": str(files.key)},
        "basic": {"username": WEB_USER, "password": WEB_PASSWORD},
        "bearer_token": TOKEN,
    }
    settings = configuration(secured.options("OAUTHBEARER", group_id="tokens"), http=http)
    agent = Agent(
        tmp_path,
        settings,
        "-v",
        tls=secured.authority.client(),
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    try:
        agent.start()
        deadline = time.monotonic() + 20
        while "no token from" not in (why := agent.wait_ready(False)):
            assert time.monotonic() < deadline, why
            time.sleep(0.1)
        secured.tokens.silent.set()
        agent.wait_ready()
        asked = len(secured.tokens.requests)
        at = int(time.time() * 1000)
        rows = [{"id": f"r{i}", "timestamp": at, "score": 0.5} for i in range(9)]
        bodies = [json.dumps(row).encode() for row in rows]
        deadline = time.monotonic() + 20
        while len(secured.tokens.requests) < asked + 2:  # several tokens have had to be renewed
            assert time.monotonic() < deadline
            time.sleep(0.2)
        produce(secured.plain, "credit.predictions", bodies, ["k"] * 9)
        agent.wait("credit", lambda m: sum(m["records"]["predictions"].values()) == 9, 20)
        assert agent.ask("/readyz") == (200, "ready\n")

        known = dict(agent._headers)
        agent._headers.clear()
        for path in ("/", "/metrics", "/api/v1/status"):
            assert agent.ask(path) == (401, "not authorized\n")
        agent._headers["Authorization"] = f"Basic {BASIC}"
        assert "tocsin_predictions_total{" in (agent.get("/metrics") or "")
        agent._headers.update(known)

        # `accept` knows credentials and certificate from the same file; 409: too few rows.
        done = tocsin("accept", "--model", "credit", cwd=tmp_path)
        assert (done.returncode, "not accepted" in done.stderr) == (1, True), done.stderr
        text = (tmp_path / "tocsin.yaml").read_text()
        (tmp_path / "wrong.yaml").write_text(text.replace(WEB_PASSWORD, WRONG))
        refused = tocsin("accept", "--config", "wrong.yaml", "--model", "credit", cwd=tmp_path)
        assert (refused.returncode, "not authorized" in refused.stderr) == (2, True)
        everything = agent.log + done.stderr + refused.stderr
        everything += "".join(agent.get(p) or "" for p in ("/", "/metrics", "/api/v1/status"))
        free_of_secrets(everything)
        assert "Traceback" not in agent.log
        assert agent.stop() == 0
    finally:
        secured.tokens.silent.set()
        secured.tokens.lifetime = 300
        agent.process.kill()


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
        deadline = time.monotonic() + 20
        while "its certificate is not trusted" not in (why := agent.wait_ready(False)):
            assert time.monotonic() < deadline, why
            time.sleep(0.1)
        free_of_secrets(done.stderr + agent.log + why)
        assert "Traceback" not in done.stderr + agent.log
        assert agent.stop() == 0
    finally:
        agent.process.kill()
