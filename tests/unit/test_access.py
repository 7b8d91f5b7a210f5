"""TLS and authentication of the HTTP server, as clients of each kind meet it."""

import base64
import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control import Acknowledge, Answer, Command
from agent.errors import UsageError
from agent.publish.access import OPEN, PROBES, Access
from agent.publish.http import HttpServer
from agent.publish.tls import Tls
from tests import samples
from tests.rig.certificates import Authority, Files

USER, PASSWORD, TOKEN = "ann", "päss: wörd", "tok-en._~+/=="
BOTH = Access((USER, PASSWORD), TOKEN)
ACKNOWLEDGE = "/api/v1/alarms/0f3c/acknowledge"
GUARDED = ("/", "/metrics", "/api/v1/status", "/nope", ACKNOWLEDGE)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


GOOD = (basic(USER, PASSWORD), f"Bearer {TOKEN}", f"bearer  {TOKEN}")
BAD = (
    None,
    "",
    "Basic",
    "Basic ",
    "Basic !!!",
    "Basic \u00e9\u00e9",
    "Bearer",
    "Bearer ",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer a={TOKEN}",
    f"Token {TOKEN}",
    f"Digest username={USER}",
    TOKEN,
    basic(USER, ""),
    basic("", PASSWORD),
    basic("", ""),
    basic("eve", PASSWORD),
    basic(USER, PASSWORD + " "),
    basic(USER, TOKEN),
    basic(USER, PASSWORD).replace("Basic", "Bearer"),
)


class Served:
    """A server, and clients of it."""

    def __init__(self, access: Access = OPEN, tls: Tls | None = None) -> None:
        self.commands: list[Command] = []
        self.tls = tls
        self.server = HttpServer(
            "127.0.0.1",
            0,
            samples.snapshot,
            lambda: samples.NOW + 1,
            self.submit,
            tls=tls,
            access=access,
        )

    def submit(self, command: Command) -> Answer:
        self.commands.append(command)
        return Answer(200, {"done": True})

    def connect(self, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        where = ("127.0.0.1", self.server.port)
        if context is None:
            return http.client.HTTPConnection(*where, timeout=10)
        return http.client.HTTPSConnection(*where, timeout=10, context=context)

    def ask(
        self,
        path: str,
        authorization: str | None = None,
        method: str = "GET",
        context: ssl.SSLContext | None = None,
        **headers: str,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization is not None:
            names["Authorization"] = authorization
        with closing(self.connect(context)) as connection:
            connection.request(method, path, headers=names)
            response = connection.getresponse()
            return response.status, response.headers, response.read()


@contextmanager
def serving(access: Access = OPEN, tls: Tls | None = None) -> Iterator[Served]:
    served = Served(access, tls)
    served.server.start()
    try:
        yield served
    finally:
        served.server.stop()


@pytest.fixture(scope="module")
def both() -> Iterator[Served]:
    with serving(BOTH) as served:
        yield served


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> Files:
    return authority.issue("server")


@pytest.mark.parametrize("authorization", BAD)
def test_who_brings_nothing_or_something_wrong_learns_nothing(
    both: Served, authorization: str | None
) -> None:
    answers = set()
    for path in GUARDED:
        for method in ("GET", "POST"):
            status, headers, body = both.ask(path, authorization, method)
            assert status == 401
            assert headers.get_all("WWW-Authenticate") == [
                'Basic realm="tocsin", charset="UTF-8"',
                'Bearer realm="tocsin"',
            ]
            answers.add(body)
    assert answers == {b"not authorized\n"}
    assert both.commands == []


@pytest.mark.parametrize("authorization", GOOD)
def test_name_and_password_or_token_open_everything(both: Served, authorization: str) -> None:
    for path, status in (("/", 200), ("/metrics", 200), ("/api/v1/status", 200), ("/nope", 404)):
        assert both.ask(path, authorization)[0] == status
    assert b"<button" in both.ask("/", authorization)[2]


def test_probes_are_open(both: Served) -> None:
    for path in PROBES:
        for authorization in (None, "Basic !!!", GOOD[0]):
            assert both.ask(path, authorization)[0] == 200
        assert both.ask(path, None, "POST")[0] == 405


def test_each_way_alone_does_not_open_the_other() -> None:
    for access, good, bad, challenge in (
        (Access((USER, PASSWORD)), GOOD[0], GOOD[1], "Basic"),
        (Access(bearer=TOKEN), GOOD[1], GOOD[0], "Bearer"),
    ):
        with serving(access) as served:
            assert served.ask("/metrics", good)[0] == 200
            status, headers, _ = served.ask("/metrics", bad)
            assert status == 401
            (offered,) = headers.get_all("WWW-Authenticate") or [""]
            assert offered.startswith(challenge)


def test_authenticated_writes_come_from_anywhere_but_not_from_another_sites_page(
    both: Served,
) -> None:
    json_type, far = "application/json", {"Host": "tocsin.example:9108", "Via": "1.1 proxy"}

    def write(**headers: str) -> int:
        both.commands.clear()
        return both.ask(ACKNOWLEDGE, GOOD[0], "POST", **headers)[0]

    assert write(Content_Type=json_type, **far) == 200
    assert both.commands == [Acknowledge("0f3c", "", "")]
    assert write(Content_Type=json_type, Origin="https://tocsin.example:9108", **far) == 200
    for origin in ("https://evil.example", "null", "https://tocsin.example", "http://[", ""):
        assert write(Content_Type=json_type, Origin=origin, **far) == 403, origin
        assert both.commands == []
    for other in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert write(Content_Type=other, **far) == 415
        assert both.commands == []


@given(st.text(st.characters(max_codepoint=255)))
def test_whatever_stands_in_the_header_is_an_answer(header: str) -> None:
    admitted = BOTH.admits({"HTTP_AUTHORIZATION": header})
    assert admitted == (header in GOOD)


def test_secrets_do_not_show_in_representations() -> None:
    shown = repr(BOTH) + repr(Tls(Path("a"), Path("b"), "s3cret"))
    assert PASSWORD not in shown and TOKEN not in shown and "s3cret" not in shown


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_serves_those_who_trust_it_and_no_others(
    authority: Authority, files: Files, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    with serving(BOTH, Tls(files.certificate, files.key)) as served:
        assert served.ask("/healthz", context=authority.client())[0] == 200
        assert served.ask("/metrics", GOOD[0], context=authority.client())[0] == 200
        assert served.ask("/metrics", context=authority.client())[0] == 401
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            served.ask("/healthz", context=stranger.client())
        with pytest.raises((http.client.HTTPException, OSError)):
            served.ask("/healthz")  # without TLS
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError):
            served.ask("/healthz", context=old)
        # Its own page may write over TLS too.
        host = f"127.0.0.1:{served.server.port}"
        headers = {"Content_Type": "application/json", "Origin": f"https://{host}"}
        status, _, body = served.ask(ACKNOWLEDGE, GOOD[0], "POST", authority.client(), **headers)
        assert (status, json.loads(body)) == (200, {"done": True})


@pytest.mark.parametrize(
    ("name", "why"), [("expired", "has expired"), ("elsewhere", "not valid for '127.0.0.1'")]
)
def test_clients_refuse_a_certificate_that_is_expired_or_another_hosts(
    authority: Authority, name: str, why: str
) -> None:
    host = "tocsin.example" if name == "elsewhere" else "127.0.0.1"
    bad = authority.issue(name, host, expired=name == "expired")
    with (
        serving(tls=Tls(bad.certificate, bad.key)) as served,
        pytest.raises(ssl.SSLCertVerificationError, match=why),
    ):
        served.ask("/healthz", context=authority.client())


def test_a_client_certificate_is_asked_of_all_but_probes(
    authority: Authority, files: Files, tmp_path: Path
) -> None:
    known, expired = authority.issue("client"), authority.issue("old-client", expired=True)
    stranger = Authority(tmp_path, "stranger").issue("client")
    tls = Tls(files.certificate, files.key, None, authority.file)
    with serving(Access(certificate=True), tls) as served:
        shown = authority.client(known)
        assert served.ask("/metrics", context=shown)[0] == 200
        assert served.ask("/healthz", context=authority.client())[0] == 200
        status, headers, body = served.ask("/metrics", context=authority.client())
        assert (status, body, headers["WWW-Authenticate"]) == (403, b"not authorized\n", None)
        for bad in (expired, stranger):
            with pytest.raises(OSError):
                served.ask("/healthz", context=authority.client(bad))
        headers_sent = {"Content_Type": "application/json", "Host": "tocsin.example"}
        assert served.ask(ACKNOWLEDGE, None, "POST", shown, **headers_sent)[0] == 200
        assert served.ask(ACKNOWLEDGE, None, "POST", authority.client(), **headers_sent)[0] == 403
    with serving(Access((USER, PASSWORD), certificate=True), tls) as served:
        assert served.ask("/metrics", GOOD[0], context=shown)[0] == 200
        assert served.ask("/metrics", context=shown)[0] == 401
        assert served.ask("/metrics", GOOD[0], context=authority.client())[0] == 401


def test_who_connects_and_says_nothing_keeps_nobody_waiting(
    authority: Authority, files: Files
) -> None:
    with serving(tls=Tls(files.certificate, files.key)) as served:
        where = ("127.0.0.1", served.server.port)
        silent = [socket.create_connection(where, timeout=10) for _ in range(20)]
        for half in silent[:10]:
            half.sendall(b"\x16\x03\x01\x02\x00")  # a handshake that never goes on
        try:
            with closing(served.connect(authority.client())) as connection:
                connection.timeout = 2
                connection.request("GET", "/healthz")
                assert connection.getresponse().status == 200
        finally:
            for client in silent:
                client.close()


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(
    authority: Authority, tmp_path: Path
) -> None:
    now, later = authority.issue("now"), authority.issue("later")
    for old, name in ((now.certificate, "crt"), (now.key, "key")):
        (tmp_path / name).write_bytes(old.read_bytes())
    tls = Tls(tmp_path / "crt", tmp_path / "key")
    with serving(tls=tls) as served:

        def presented() -> str:
            with closing(served.connect(authority.client())) as connection:
                connection.connect()
                return ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(True)).strip()

        assert presented() in now.certificate.read_text()
        os.replace(later.certificate, tmp_path / "crt")  # and its key has not come yet
        assert presented() in now.certificate.read_text()
        os.replace(later.key, tmp_path / "key")
        assert presented() in (tmp_path / "crt").read_text()


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("absent", "http.tls.certfile: {folder}/none cannot be read: No such file or directory"),
        ("no key", "http.tls.keyfile: {folder}/none cannot be read: No such file or directory"),
        ("folder", "http.tls.certfile: {folder} cannot be read: Is a directory"),
        ("junk", "http.tls.certfile: {folder}/junk holds no certificate in PEM format"),
        ("junk key", "http.tls.keyfile: {folder}/junk holds no private key that can be read"),
        ("strangers", "http.tls.keyfile: {other} is not the key of {certificate}"),
        ("no password", "http.tls.keyfile: {locked} holds no private key that can be read; set"),
        ("bad password", "{locked} holds no private key that can be read; the password is wrong"),
        ("no clients", "http.tls.client_cafile: {folder}/junk holds no certificate in PEM format"),
    ],
)
def test_files_that_cannot_be_used_are_one_readable_line(
    authority: Authority, files: Files, tmp_path: Path, which: str, said: str
) -> None:
    junk, none = tmp_path / "junk", tmp_path / "none"
    junk.write_text("junk")
    other, locked = authority.issue("other"), authority.issue("locked", password="s3cret")
    tls = {
        "absent": Tls(none, files.key),
        "no key": Tls(files.certificate, none),
        "folder": Tls(tmp_path, files.key),
        "junk": Tls(junk, files.key),
        "junk key": Tls(files.certificate, junk),
        "strangers": Tls(files.certificate, other.key),
        "no password": Tls(locked.certificate, locked.key),
        "bad password": Tls(locked.certificate, locked.key, "s3cret?"),
        "no clients": Tls(files.certificate, files.key, None, junk),
    }[which]
    served = Served(tls=tls)
    with pytest.raises(UsageError) as caught:
        served.server.start()
    served.server.stop()
    places = {"folder": tmp_path, "other": other.key, "locked": locked.key}
    assert said.format(**places, certificate=files.certificate) in str(caught.value)
    assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value)


def test_a_locked_key_opens_with_its_password(authority: Authority) -> None:
    locked = authority.issue("locked", password="s3cret")
    with serving(tls=Tls(locked.certificate, locked.key, "s3cret")) as served:
        assert served.ask("/healthz", context=authority.client())[0] == 200
