"""The HTTP server as a client sees it."""

import gzip
import http.client
import io
import json
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from agent import log
from agent.control import Accept, Acknowledge, Answer, Command
from agent.errors import UnreachableError
from agent.publish.http import MAX_BODY_BYTES, MAX_HEADER_BYTES, HttpServer
from agent.publish.snapshot import Snapshot
from agent.publish.writes import forbidden
from tests import samples


class Served:
    """A server whose snapshot and clock the test sets."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | Exception = samples.snapshot()
        self.now = samples.NOW + 1
        self.commands: list[Command] = []
        self.answer = Answer(200, {"done": True})
        self.server = HttpServer(
            "127.0.0.1", 0, self.newest, clock=lambda: self.now, submit=self.submit
        )

    def submit(self, command: Command) -> Answer:
        self.commands.append(command)
        return self.answer

    def newest(self) -> Snapshot:
        if isinstance(self.snapshot, Exception):
            raise self.snapshot
        return self.snapshot

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        return self.send(path, method, None, headers)

    def post(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, object]:
        """Status and the answer's object; sends JSON unless told otherwise."""
        status, found, content = self.send(
            path, "POST", body, {"Content_Type": "application/json", **headers}
        )
        assert found["Content-Type"] == "application/json"
        return status, json.loads(content)

    def send(
        self, path: str, method: str, content: bytes | None, headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        names = {name.replace("_", "-"): value for name, value in headers.items() if value}
        connection.request(method, path, content, headers=names)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, response.headers, body


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    served.server.start()
    yield served
    served.server.stop()


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged, as JSON lines; the set-up of before comes back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    log.configure(stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("path", "content_type", "part"),
    [
        ("/", "text/html; charset=utf-8", b"credit is ringing"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", b"tocsin_alarm{"),
        ("/healthz", "text/plain; charset=utf-8", b"ok\n"),
        ("/readyz", "text/plain; charset=utf-8", b"ready\n"),
        ("/api/v1/status", "application/json", b'"ringing"'),
        ("/healthz?verbose=1", "text/plain; charset=utf-8", b"ok\n"),
    ],
)
def test_routes(served: Served, path: str, content_type: str, part: bytes) -> None:
    status, headers, body = served.ask(path)
    assert (status, headers["Content-Type"]) == (200, content_type)
    assert part in body
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert headers["Server"] == "tocsin"
    status, head, nothing = served.ask(path, "HEAD")
    assert (status, nothing) == (200, b"")
    if path not in ("/metrics",):  # whose process metrics change length
        assert head["Content-Length"] == headers["Content-Length"]


@pytest.mark.parametrize("path", ["/nope", "/metrics/", "/../etc/passwd", "/%3Cscript%3E"])
def test_an_unknown_path_is_one_plain_line(served: Served, path: str) -> None:
    status, headers, body = served.ask(path)
    assert (status, body) == (404, b"not found\n")
    assert headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(served: Served, method: str) -> None:
    status, headers, body = served.ask("/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert body.count(b"\n") == 1


def test_metrics_are_compressed_where_that_is_accepted(served: Served) -> None:
    _, headers, body = served.ask("/metrics", Accept_Encoding="deflate, gzip;q=0.9")
    assert headers["Content-Encoding"] == "gzip"
    assert b"tocsin_alarm{" in gzip.decompress(body)
    for refusal in ("gzip;q=0", "gzip; q=0.0", "br", ""):
        assert served.ask("/metrics", Accept_Encoding=refusal)[1]["Content-Encoding"] is None


def test_metrics_speak_openmetrics(served: Served) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    _, headers, body = served.ask("/metrics", Accept=accept)
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_not_ready_says_why_in_one_line(served: Served) -> None:
    served.snapshot = replace(samples.snapshot(), ready=False, ready_reason="restoring\nstate")
    assert served.ask("/readyz")[::2] == (503, b"restoring state\n")
    assert served.ask("/healthz")[0] == 200


def test_an_agent_that_hangs_is_not_ready(served: Served) -> None:
    served.now = samples.NOW + 300
    assert served.ask("/readyz")[::2] == (503, b"the agent hangs: its last picture is 300 s old\n")


def test_a_failure_is_logged_and_not_shown(served: Served, logged: io.StringIO) -> None:
    served.snapshot = ValueError("secret detail")
    for path in ("/", "/metrics", "/api/v1/status", "/readyz"):
        status, _, body = served.ask(path)
        assert (status, body) == (500, b"internal error, see the agent's log\n")
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [line["path"] for line in lines] == ["/", "/metrics", "/api/v1/status", "/readyz"]
    assert lines[0]["error"] == "ValueError: secret detail"
    assert "Traceback" not in logged.getvalue()


def test_a_port_in_use_is_one_readable_line(served: Served) -> None:
    port = served.server.port
    with pytest.raises(UnreachableError) as caught:
        HttpServer("127.0.0.1", port, samples.snapshot).start()
    assert str(caught.value) == (
        f"http: cannot listen on 127.0.0.1:{port}: the port is already in use; "
        "set http.host and http.port to a free address"
    )


def test_a_huge_header_is_refused_and_the_server_lives_on(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as raw:
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (2 * MAX_HEADER_BYTES) + b"\r\n\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    assert served.ask("/healthz")[0] == 200


ACKNOWLEDGE, ACCEPT = "/api/v1/alarms/0f3c/acknowledge", "/api/v1/models/credit/accept"


@pytest.mark.parametrize(
    ("path", "body", "command"),
    [
        (ACKNOWLEDGE, None, Acknowledge("0f3c", "", "")),
        (ACKNOWLEDGE, b"", Acknowledge("0f3c", "", "")),
        (ACKNOWLEDGE, b'{"by": "ann", "comment": "on it"}', Acknowledge("0f3c", "ann", "on it")),
        (ACCEPT, b"{}", Accept("credit", None, "", "")),
        (ACCEPT, b'{"target": "income", "by": "ann"}', Accept("credit", "income", "ann", "")),
        ("/api/v1/models/a.b-c_1/accept", None, Accept("a.b-c_1", None, "", "")),
    ],
)
def test_a_write_becomes_a_command(
    served: Served, path: str, body: bytes | None, command: Command
) -> None:
    assert served.post(path, body) == (200, {"done": True})
    assert served.commands == [command]


@pytest.mark.parametrize("status", [202, 404, 409, 500, 503])
def test_the_answer_of_the_agent_is_passed_on(served: Served, status: int) -> None:
    served.answer = Answer(status, {"error": "because"})
    assert served.post(ACKNOWLEDGE) == (status, {"error": "because"})


@pytest.mark.parametrize(
    ("body", "headers", "status", "why"),
    [
        (b"{", {}, 400, "truncated"),
        (b"[]", {}, 400, "Expected `object`"),
        (b'{"by": 7}', {}, 400, "$.by"),
        (b'{"target": "x"}', {}, 400, "unknown field `target`"),
        (b'{"by": "%s"}' % (b"x" * 101), {}, 400, "length <= 100"),
        (b'{"by": "\xff"}', {}, 400, ""),
        (b"[" * 4000, {}, 400, ""),
        (b" " * 4097, {}, 413, "longer than 4096 bytes"),
        (b"{}", {"Content_Type": "text/plain"}, 415, "application/json"),
        (b"by=ann", {"Content_Type": "application/x-www-form-urlencoded"}, 415, "json"),
        (None, {"Content_Type": ""}, 415, "application/json"),
        (None, {"Host": "evil.example"}, 403, "localhost"),
        (None, {"Host": "evil.example:9108", "Origin": "http://evil.example:9108"}, 403, ""),
        (None, {"Origin": "https://evil.example"}, 403, "another site"),
        (None, {"Origin": "null"}, 403, "another site"),
        (None, {"X_Forwarded_For": "10.0.0.7"}, 403, "own machine"),
        (None, {"Forwarded": "for=10.0.0.7"}, 403, "own machine"),
    ],
)
def test_a_write_that_is_not_as_it_should_be_is_refused_and_says_why(
    served: Served, body: bytes | None, headers: dict[str, str], status: int, why: str
) -> None:
    found, answer = served.post(ACKNOWLEDGE, body, **headers)
    assert found == status
    assert isinstance(answer, dict) and why in answer["error"] and "\n" not in answer["error"]
    assert served.commands == []
    assert served.ask("/healthz")[0] == 200


def test_this_servers_own_page_may_write(served: Served) -> None:
    for host in (f"localhost:{served.server.port}", f"127.0.0.1:{served.server.port}"):
        assert served.post(ACKNOWLEDGE, Host=host, Origin=f"http://{host}")[0] == 200
    assert len(served.commands) == 2


def test_a_body_beyond_all_bounds_and_one_in_chunks_are_refused(served: Served) -> None:
    large = b" " * (MAX_BODY_BYTES + 1)
    assert served.send(ACKNOWLEDGE, "POST", large, {"Content_Type": "application/json"})[0] == 413
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as raw:
        raw.sendall(
            f"POST {ACKNOWLEDGE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".encode()
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 411")
    assert served.commands == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [ACKNOWLEDGE, ACCEPT])
def test_a_write_is_a_post(served: Served, method: str, path: str) -> None:
    status, headers, _ = served.ask(path, method)
    assert (status, headers["Allow"]) == (405, "POST")
    assert headers["Access-Control-Allow-Origin"] is None
    assert served.commands == []


def test_only_this_machine_may_write() -> None:
    for address, allowed in (
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.7", False),
        ("::ffff:10.0.0.7", False),
        ("192.168.1.2", False),
        ("", False),
    ):
        environ = {"REMOTE_ADDR": address, "HTTP_HOST": "localhost:9108"}
        assert (forbidden(environ, known=False) == "") == allowed, address


def test_without_an_agent_behind_it_nothing_can_be_asked_for() -> None:
    server = HttpServer("127.0.0.1", 0, samples.snapshot)
    server.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("POST", ACKNOWLEDGE)
        assert connection.getresponse().status == 404
        connection.close()
    finally:
        server.stop()


def test_the_page_has_a_button_for_who_may_use_it(served: Served) -> None:
    assert b"<button" in served.ask("/")[2]
    assert b"<button" not in served.ask("/", Host="metrics.example")[2]
    taken = samples.alarm(acknowledged_at=samples.ago(3), acknowledged_by="<b>ann")
    served.snapshot = samples.snapshot(replace(samples.credit(), alarms=(taken,)))
    page = served.ask("/")[2]
    assert b"<button" not in page
    assert b"Acknowledged 3 min ago by <bdi>&lt;b&gt;ann</bdi>" in page


def test_stopping_frees_the_port_and_may_be_repeated() -> None:
    first = HttpServer("127.0.0.1", 0, samples.snapshot)
    first.stop()
    first.start()
    first.stop()
    first.stop()
    second = HttpServer("127.0.0.1", first.port, samples.snapshot)
    second.start()
    second.stop()


def test_libraries_log_through_the_same_format(logged: io.StringIO) -> None:
    logging.getLogger("kafka.client").error("one of many retries")
    logging.getLogger("cheroot").info("chatter")
    logging.getLogger("cheroot").warning("broker %s\nis gone", "b:9092")
    structlog.get_logger("agent.pipeline").info("started", model="credit")
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "broker b:9092\nis gone"),
        ("info", "started"),
    ]
    assert lines[0]["logger"] == "cheroot"
    assert lines[1]["timestamp"].endswith("Z")


def test_a_terminal_gets_readable_lines_that_nothing_can_forge(logged: io.StringIO) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    log.configure(verbose=True, stream=terminal)
    logging.getLogger("kafka.client").info("a\nforged line \x1b[2J")
    structlog.get_logger("agent.x").debug("seen", path="/\nforged \x1b[2J")
    assert terminal.getvalue().count("\n") == 2
    assert "\x1b[2J" not in terminal.getvalue()
