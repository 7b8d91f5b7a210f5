"""TLS for the HTTP server: cheroot's own adapter, for clients that cannot be trusted to hurry.

cheroot shakes hands on the thread that accepts connections: one client that connects and says
nothing would keep all others waiting. Here the thread that reads the request does it.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from cheroot.errors import FatalSSLAlert
from cheroot.ssl.builtin import BuiltinSSLAdapter

from agent.certificates import show, trust
from agent.errors import UsageError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of the server's certificate, and of the authorities whose clients are known.

    With `client_cafile` a client's certificate is verified where it shows one; who shows none is
    let in by `agent.publish.access` as far as that goes, since the probes of Kubernetes have none.
    """

    certfile: Path
    keyfile: Path
    password: str | None = field(default=None, repr=False)
    client_cafile: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 and later. Raises UsageError where a file cannot be used."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        show(context, "http.tls.", self.certfile, self.keyfile, self.password)
        if self.client_cafile is not None:
            trust(context, "http.tls.client_cafile", self.client_cafile)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def stamp(self) -> tuple[object, ...]:
        """Differs once a file has been replaced. Raises OSError."""
        paths = (self.certfile, self.keyfile, self.client_cafile)
        stats = [path.stat() for path in paths if path is not None]
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)


class _Socket(ssl.SSLSocket):
    """Shakes hands when first read from."""

    on_handshake: Callable[[], None] | None = None

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        done, self.on_handshake = self.on_handshake, None
        if done is not None:
            try:
                self.do_handshake()
            except OSError as error:
                # For cheroot: the client is gone, and nothing can be said to it.
                raise FatalSSLAlert(*error.args) from error
            done()
        return super().recv_into(*arguments, **options)


class Adapter(BuiltinSSLAdapter):
    """Serves with these files, and with the new ones once they have been renewed."""

    def __init__(self, tls: Tls) -> None:
        """Raises UsageError where a file cannot be used."""
        self._tls = tls
        ready = tls.context()  # says what is wrong in a line; cheroot would not
        super().__init__(tls.certfile, tls.keyfile, private_key_password=tls.password or "")
        self._use(ready)
        self._stamp = tls.stamp()

    def wrap(self, sock: Any) -> tuple[ssl.SSLSocket, dict[str, Any]]:
        """Called on the thread that accepts; the environment is complete after the handshake."""
        self._renew()
        environ: dict[str, Any] = {"wsgi.url_scheme": "https"}
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        assert isinstance(wrapped, _Socket)
        wrapped.on_handshake = lambda: environ.update(self._environ(wrapped))
        return wrapped, environ

    def _environ(self, wrapped: ssl.SSLSocket) -> dict[str, Any]:
        return dict(self.get_environ(wrapped))  # type: ignore[no-untyped-call]

    def _use(self, context: ssl.SSLContext) -> None:
        context.sslsocket_class = _Socket
        self.context = context

    def _renew(self) -> None:
        """Take up files that have been replaced, as soon as they fit together."""
        try:
            stamp = self._tls.stamp()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._use(self._tls.context())
            log.info("certificate renewed")
        except (OSError, UsageError) as error:
            log.warning("certificate not renewed", problem=str(error))
