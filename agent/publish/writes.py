"""Requests that ask the agent to do something: who may, what they must look like, what they mean.

Where nobody has to authenticate, only processes of the same machine may write. No browser may do it
for a strange site: what it sends is JSON, from a page of this very server, and without
authentication to a name of this machine.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from agent.control import Accept, Acknowledge, Answer, Command

LARGEST = 4096  # bytes of a body
PROXIED = ("FORWARDED", "X_FORWARDED_FOR", "X_REAL_IP", "VIA")  # headers of those who pass it on
Environ = Mapping[str, Any]


class Submit(Protocol):
    """Has a command carried out and returns the answer."""

    def __call__(self, command: Command) -> Answer:
        """Called from several threads; waits, but not for ever."""


class _Acknowledgement(msgspec.Struct, forbid_unknown_fields=True):
    by: Annotated[str, msgspec.Meta(max_length=100)] = ""
    comment: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class _Acceptance(_Acknowledgement, forbid_unknown_fields=True):
    target: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)] | None = None


@dataclass(frozen=True, slots=True)
class _Write:
    """A path with one name in it, and the command that a body makes of it."""

    path: re.Pattern[str]
    body: type[_Acknowledgement]
    command: Callable[[str, Any], Command]


WRITES = (
    _Write(
        re.compile(r"/api/v1/alarms/([^/]{1,200})/acknowledge"),
        _Acknowledgement,
        lambda name, body: Acknowledge(name, body.by, body.comment),
    ),
    _Write(
        re.compile(r"/api/v1/models/([^/]{1,200})/accept"),
        _Acceptance,
        lambda name, body: Accept(name, body.target, body.by, body.comment),
    ),
)


def is_write(path: str) -> bool:
    """Whether something can be asked for there."""
    return any(write.path.fullmatch(path) for write in WRITES)


def write(environ: Environ, path: str, submit: Submit, known: bool) -> Answer:
    """Answer a POST to a path of which `is_write` holds; `known`: from who has authenticated."""
    found = next((w, m) for w in WRITES if (m := w.path.fullmatch(path)))
    kind, name = found[0], found[1].group(1)
    why = forbidden(environ, known)
    if why:
        return _error(403, why)
    body = _body(environ, kind.body)
    return body if isinstance(body, Answer) else submit(kind.command(name, body))


def forbidden(environ: Environ, known: bool) -> str:
    """Why this client may not write; empty where it may. `known`: it has authenticated."""
    host = environ.get("HTTP_HOST", "")
    why = "" if known else _elsewhere(environ, host)
    if why:
        return why
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and _netloc(origin) != host:
        return "not from another site's page"
    return ""


def _elsewhere(environ: Environ, host: str) -> str:
    """What shows that a request may come from another machine; empty where nothing does."""
    if not _is_loopback(environ.get("REMOTE_ADDR", "")):
        return "without authentication only the agent's own machine may do that"
    if any(environ.get(f"HTTP_{h}") for h in PROXIED):
        return "without authentication only the agent's own machine may do that, and no proxy"
    # A strange site can have its own name lead to this machine.
    if not _is_loopback(_hostname(f"//{host}")):
        return "without authentication, address the agent as localhost or 127.0.0.1"
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _netloc(url: str) -> str | None:
    """Host and port as they stand in a URL; None where that is none, as `null` is."""
    try:
        return urlsplit(url).netloc or None
    except ValueError:
        return None


def _body(environ: Environ, kind: type[_Acknowledgement]) -> _Acknowledgement | Answer:
    """What the body says, or the answer to one that cannot be used. None at all is fine."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return _error(411, "send the body whole, with its Content-Length")
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length < 0:
        return _error(400, "a negative Content-Length")
    if length > LARGEST:
        return _error(413, f"the body is longer than {LARGEST} bytes")
    # Pages of other sites cannot send this type unasked, not even without a body.
    if environ.get("CONTENT_TYPE", "").split(";")[0].strip().lower() != "application/json":
        return _error(415, "send Content-Type: application/json")
    content = environ["wsgi.input"].read(length)
    try:
        return msgspec.json.decode(content, type=kind) if content.strip() else kind()
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _error(400, " ".join(str(error).split()))


def _error(status: int, why: str) -> Answer:
    return Answer(status, {"error": why})
