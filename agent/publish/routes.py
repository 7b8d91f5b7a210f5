"""What the HTTP server answers: metrics for Prometheus, probes for Kubernetes, a status page.

It also takes what people ask of the agent (`agent.publish.writes`).
"""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from agent.publish.access import PROBES, Access
from agent.publish.metrics import Exporter
from agent.publish.page import CONTENT_SECURITY_POLICY, status_page
from agent.publish.sharing import Shared
from agent.publish.snapshot import Snapshot
from agent.publish.status import status_json, unready
from agent.publish.writes import Submit, forbidden, is_write, write

SHARED = 1.0  # seconds for which those who scrape share what was rendered
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


class Application:
    """A WSGI application that shows the newest snapshot. The parameters are those of `HttpServer`.

    Called from several threads.
    """

    def __init__(
        self,
        get_snapshot: Callable[[], Snapshot],
        clock: Callable[[], float],
        submit: Submit | None,
        access: Access,
    ) -> None:
        self._get_snapshot, self._clock = get_snapshot, clock
        self._submit, self._access = submit, access
        exporter = Exporter(get_snapshot, clock)
        # By Accept header and by snapshot: what was done a moment ago must show.
        self._rendered: Shared[tuple[str | None, float], tuple[str, bytes]] = Shared(
            lambda key: exporter.render(key[0]), SHARED
        )
        self._routes: Mapping[str, Callable[[Mapping[str, Any]], Response]] = {
            "/": self._page,
            "/api/v1/status": self._status,
            "/healthz": self._healthz,
            "/metrics": self._metrics,
            "/readyz": self._readyz,
        }

    def __call__(
        self, environ: Mapping[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
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
