"""`tocsin accept` asks an agent over TLS, with the credentials of its configuration."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.commands.asking import Client, address
from agent.commands.serving import access, tls
from agent.config import Config
from agent.control import Answer
from agent.errors import UnreachableError, UsageError
from agent.publish.http import HttpServer
from tests import samples
from tests.rig.certificates import Authority, Files

PATH, DONE = "/api/v1/models/credit/accept", {"done": True}
BASIC = {"username": "ann", "password": "s3cret: ü"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> Files:
    # Made out to a name that is not the one at which the agent's own machine asks.
    return authority.issue("agent", "tocsin.example")


def settings(files: Files | None, port: int = 0, **more: Any) -> Config:
    http: dict[str, Any] = {"host": "0.0.0.0", "port": port}
    if files is not None:
        http["tls"] = {"certfile": str(files.certificate), "keyfile": str(files.key)}
        http["tls"] |= more.pop("tls", {})
    return Config.model_validate({"models": {"credit": {"task": "binary"}}, "http": http | more})


@contextmanager
def serving(files: Files | None, **more: Any) -> Iterator[Config]:
    """A server; the configuration with which it is asked, its port in it."""
    config = settings(files, **more)
    server = HttpServer(
        "127.0.0.1",
        0,
        samples.snapshot,
        submit=lambda command: Answer(200, DONE),
        tls=tls(config.http),
        access=access(config.http),
    )
    server.start()
    try:
        yield settings(files, server.port, **more)
    finally:
        server.stop()


@pytest.mark.parametrize(
    "more", [{}, {"basic": BASIC}, {"bearer_token": "t0ken"}, {"basic": BASIC, "bearer_token": "x"}]
)
@pytest.mark.parametrize("secured", [False, True])
def test_it_is_let_in_as_its_configuration_says(
    files: Files, secured: bool, more: dict[str, Any]
) -> None:
    with serving(files if secured else None, **more) as config:
        assert address(config).startswith("https://127.0.0.1:" if secured else "http://127.0.0.1:")
        assert Client(config).post(PATH, {}) == (200, DONE)


def test_other_credentials_are_one_line_without_them(files: Files) -> None:
    with serving(files, basic=BASIC) as config:
        for other in ({"basic": {**BASIC, "password": "wr0ng"}}, {"bearer_token": "wr0ng"}, {}):
            asked = settings(files, config.http.port, **other)
            with pytest.raises(UsageError, match=f"{PATH}: not authorized") as caught:
                Client(asked).post(PATH, {})
            assert "wr0ng" not in str(caught.value)


def test_on_its_own_machine_it_trusts_its_own_certificate_alone(
    authority: Authority, files: Files
) -> None:
    twin = authority.issue("twin", "tocsin.example")  # of the same authority, for the same host
    refused = pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED")
    with serving(twin, basic=BASIC) as config, refused:
        Client(settings(files, config.http.port, basic=BASIC)).post(PATH, {})
    old = authority.issue("old", expired=True)
    with serving(old) as config, pytest.raises(UnreachableError, match="expired"):
        Client(config).post(PATH, {})


def test_elsewhere_the_name_has_to_be_right(authority: Authority, files: Files) -> None:
    here = authority.issue("here", "127.0.0.1")
    for shown, said in ((here, ""), (files, "not valid for '127.0.0.1'")):
        with serving(shown, basic=BASIC) as config:
            client = Client(config, f"https://127.0.0.1:{config.http.port}")
            if not said:
                assert client.post(PATH, {}) == (200, DONE)
                continue
            with pytest.raises(UnreachableError, match=said):
                client.post(PATH, {})


def test_it_shows_its_own_certificate_where_clients_need_one(authority: Authority) -> None:
    known = authority.issue("known")
    asked_for = {"client_cafile": str(authority.file)}
    with serving(known, tls=asked_for) as config:
        assert Client(config).post(PATH, {}) == (200, DONE)
        without = settings(known, config.http.port)
        with pytest.raises(UsageError, match="not authorized"):
            Client(without).post(PATH, {})


def test_a_certificate_that_is_none_is_one_line(files: Files, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_text("junk")
    broken = settings(Files(junk, files.key, junk), 1)
    with pytest.raises(UsageError, match=r"http\.tls\.certfile: .*junk holds no certificate"):
        Client(broken)
    with pytest.raises(UsageError, match="is no http URL"):
        Client(broken, "ftp://agent/")


def test_credentials_do_not_follow_a_redirection() -> None:
    seen: list[str | None] = []

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Redirecting)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        with pytest.raises(UnreachableError):
            Client(settings(None, server.server_port, bearer_token="t0ken")).post(PATH, {})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert seen == ["Bearer t0ken", None]
