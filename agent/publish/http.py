"""The HTTP server: metrics for Prometheus, probes for Kubernetes, a status page for people.

It also takes what people ask of the agent (`agent.publish.writes`).
"""

import gzip
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from errno import EADDRINUSE
from typing import Any

import structlog

from agent.errors import UnreachableError
from agent.publish.access import OPEN, PROBES, Access
from agent.publish.connections import Server
from agent.publish.metrics import Exporter
from agent.publish.page import CONTENT_SECURITY_POLICY, status_page
from agent.publish.sharing import Shared
from agent.publish.snapshot import Snapshot
from agent.publish.status import status_json, unready
from agent.publish.tls import Adapter, Tls
from agent.publish.writes import Submit, forbidden, is_write, write

THREADS = 16
BACKLOG = 256  # connections that the system may accept before this server does
QUEUE = 64  # connections that may wait for a thread; more are answered with 503
TIMEOUT = 5  # seconds that a connection may keep a thread waiting
SHARED = 1.0  # seconds for which those who scrape share what was rendered
MAX_HEADER_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024  # refused unseen; what may be written has a smaller bound of its own
GZIP_FROM = 1024  # bytes below which compressing gains nothing

TEXT = "text/plain; charset=utf-8"
STATUS_LINES = {
    200: "200 OK",
    202: "202 Accepted",
    400: "400 Bad Request",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    409: "409 Conflict",
    411: "411 Length Required",
    413: "413 Content Too Large",
    415: "415 Unsupported Media Type",
    500: "500 Internal Server Error",
    503: "503 Service Unavailable",
}
SECURITY_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers."""

    body: bytes
    content_type: str = TEXT
    status: int = 200
    headers: tuple[tuple[str, str], ...] = field(default=())


class HttpServer:
    """Serves the newest snapshot from a few background threads.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one, which `port` then says.
    get_snapshot
        Hands over the newest snapshot. Called from several threads; must be cheap.
    clock
        Seconds since the epoch.
    submit
        Has what people ask for carried out. Without it nothing can be asked for.
    tls
        Serves over TLS, and only so.
    access
        What whoever asks has to bring, for anything but the probes.
    """

    def __init__(
        self,
        host: str,
        port: int,
        get_snapshot: Callable[[], Snapshot],
        clock: Callable[[], float] = time.time,
        submit: Submit | None = None,
        tls: Tls | None = None,
        access: Access = OPEN,
    ) -> None:
        self.host = host
        self.port = port
        self._get_snapshot = get_snapshot
        self._clock = clock
        self._submit = submit
        self._tls, self._access = tls, access
        exporter = Exporter(get_snapshot, clock)
        # By Accept header and by snapshot: what was done a moment ago must show.
        self._rendered: Shared[tuple[str | None, float], tuple[str, bytes]] = Shared(
            lambda key: exporter.render(key[0]), SHARED
        )
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._routes: Mapping[str, Callable[[Mapping[str, Any]], Response]] = {
            "/": self._page,
            "/api/v1/status": self._status,
            "/healthz": self._healthz,
            "/metrics": self._metrics,
            "/readyz": self._readyz,
        }

    def start(self) -> None:
        """Listen, and serve from the background.

        Raises
        ------
        UnreachableError
            The address cannot be listened on.
        UsageError
            A file of `tls` cannot be used.
        """
        adapter = Adapter(self._tls) if self._tls is not None else None
        server = Server(
            (self.host, self.port),
            self._answer,
            numthreads=THREADS,
            max=THREADS,
            server_name="tocsin",
            request_queue_size=BACKLOG,
            timeout=TIMEOUT,
            shutdown_timeout=TIMEOUT,
            accepted_queue_size=QUEUE,
            accepted_queue_timeout=0,
        )
        server.max_request_header_size = MAX_HEADER_BYTES
        server.max_request_body_size = MAX_BODY_BYTES
        server.ssl_adapter = adapter
        server.error_log = _log_from_server  # type: ignore[method-assign]
        try:
            server.prepare()
        except OSError as error:
            # cheroot wraps the cause in words of its own and drops the number.
            used = os.strerror(EADDRINUSE) in str(error)
            why = "the port is already in use" if used else str(error)
            raise UnreachableError(
                f"http: cannot listen on {self.host}:{self.port}: {why}; "
                "set http.host and http.port to a free address"
            ) from error
        self.port = server.bind_addr[1]
        self._server = server
        self._thread = threading.Thread(target=server.serve, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being answered and close; safe to call twice and before `start`."""
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        if server is not None:
            server.stop()
        if thread is not None:
            thread.join(TIMEOUT)

    def _answer(
        self, environ: Mapping[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        try:
            response = self._route(method, path, environ)
        except Exception:
            # Whatever went wrong is for the log; a client learns only that it did.
            log.exception("request failed", path=path)
            response = Response(b"internal error, see the agent's log\n", status=500)
        body, headers = response.body, [*SECURITY_HEADERS, *response.headers]
        headers.append(("Content-Type", response.content_type))
        headers.append(("Vary", "Accept, Accept-Encoding"))
        if len(body) >= GZIP_FROM and _accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            body = gzip.compress(body, compresslevel=3, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        headers.append(("Content-Length", str(len(body))))
        start_response(STATUS_LINES[response.status], headers)
        return [] if method == "HEAD" else [body]

    def _route(self, method: str, path: str, environ: Mapping[str, Any]) -> Response:
        if path not in PROBES and not self._access.admits(environ):
            challenges = self._access.challenges
            return Response(
                b"not authorized\n", status=401 if challenges else 403, headers=challenges
            )
        if self._submit is not None and is_write(path):
            return _written(method, path, environ, self._submit, self._access.required)
        handler = self._routes.get(path)
        if handler is None:
            return Response(b"not found\n", status=404)
        if method not in ("GET", "HEAD"):
            allow = (("Allow", "GET, HEAD"),)
            return Response(b"only GET and HEAD are served here\n", status=405, headers=allow)
        return handler(environ)

    def _metrics(self, environ: Mapping[str, Any]) -> Response:
        accept: str | None = environ.get("HTTP_ACCEPT")
        content_type, body = self._rendered((accept, self._get_snapshot().taken_at))
        return Response(body, content_type)

    def _healthz(self, environ: Mapping[str, Any]) -> Response:
        return Response(b"ok\n")

    def _readyz(self, environ: Mapping[str, Any]) -> Response:
        reason = unready(self._get_snapshot(), self._clock())
        if reason:
            return Response(_encode(" ".join(reason.split()) + "\n"), status=503)
        return Response(b"ready\n")

    def _status(self, environ: Mapping[str, Any]) -> Response:
        status = status_json(self._get_snapshot(), self._clock())
        return Response(json.dumps(status, allow_nan=False).encode(), "application/json")

    def _page(self, environ: Mapping[str, Any]) -> Response:
        writable = self._submit is not None and not forbidden(environ, self._access.required)
        page = status_page(self._get_snapshot(), self._clock(), writable)
        return Response(_encode(page), "text/html; charset=utf-8")


def _written(
    method: str, path: str, environ: Mapping[str, Any], submit: Submit, known: bool
) -> Response:
    if method != "POST":
        return Response(b"only POST is served here\n", status=405, headers=(("Allow", "POST"),))
    answer = write(environ, path, submit, known)
    body = json.dumps(answer.body, allow_nan=False).encode()
    return Response(body, "application/json", answer.status)


def _encode(text: str) -> bytes:
    """As UTF-8; half a surrogate pair, which JSON can bring, is shown by its number."""
    return text.encode("utf-8", "backslashreplace")


def _accepts_gzip(header: str) -> bool:
    for item in header.lower().split(","):
        coding, _, quality = item.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _log_from_server(msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
    """Take cheroot's own complaints, which it would print to standard error."""
    log.log(level, "http server", detail=msg.strip(), exc_info=traceback)
