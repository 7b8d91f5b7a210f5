"""How the configuration says to serve: over TLS or not, and to whom."""

from typing import Self

from agent.config import HttpConfig
from agent.errors import TocsinError
from agent.loop import Loop
from agent.publish.access import Access
from agent.publish.http import HttpServer
from agent.publish.tls import Tls


def tls(http: HttpConfig) -> Tls | None:
    """Certificate and key to serve with, if any. Raises UsageError where they cannot be used."""
    files = http.tls
    if files is None:
        return None
    password = files.password.get_secret_value() if files.password is not None else None
    found = Tls(files.certfile, files.keyfile, password, files.client_cafile)
    found.context()
    return found


def access(http: HttpConfig) -> Access:
    """What a client has to bring."""
    basic, bearer = http.basic, http.bearer_token
    return Access(
        None if basic is None else (basic.username, basic.password.get_secret_value()),
        None if bearer is None else bearer.get_secret_value(),
        http.tls is not None and http.tls.client_cafile is not None,
    )


class Front:
    """The HTTP server, which outlives the loop that it shows."""

    def __init__(self) -> None:
        self._loop: Loop | None = None
        self._server: HttpServer | None = None
        self._http: HttpConfig | None = None

    def __enter__(self) -> Self:
        """Nothing is served yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.stop()

    @property
    def port(self) -> int:
        """Where it is served."""
        return self._server.port if self._server is not None else 0

    def show(self, http: HttpConfig, loop: Loop) -> None:
        """Serve what this loop knows. Raises TocsinError where nothing can be served there."""
        self._loop = loop
        self.check(http)

    def check(self, http: HttpConfig) -> None:
        """Serve there from now on; TocsinError where that cannot be, and then as before."""
        if http == self._http:
            return
        before, self._http = self._http, None  # what is served: nothing, if there is no way back
        if self._server is not None:
            self._server.stop()
        try:
            self._server = self._started(http)
        except TocsinError:
            if before is not None:
                self._server, self._http = self._started(before), before
            raise
        self._http = http

    def _started(self, http: HttpConfig) -> HttpServer:
        server = HttpServer(
            http.host,
            http.port,
            lambda: self._shown.snapshot(),
            lambda: self._shown.clock(),
            submit=lambda command: self._shown.commands.submit(command),
            tls=tls(http),
            access=access(http),
        )
        server.start()
        return server

    @property
    def _shown(self) -> Loop:
        assert self._loop is not None
        return self._loop
