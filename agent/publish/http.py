"""The HTTP server: where it listens, and what it puts up with from its clients.

What it answers is in `agent.publish.routes`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from errno import EADDRINUSE

import structlog

from agent.errors import UnreachableError
from agent.publish.access import OPEN, Access
from agent.publish.connections import Server
from agent.publish.routes import Application
from agent.publish.snapshot import Snapshot
from agent.publish.tls import Adapter, Tls
from agent.publish.writes import Submit

THREADS = 16
BACKLOG = 256  # connections that the system may accept before this server does
QUEUE = 64  # connections that may wait for a thread; more are answered with 503
TIMEOUT = 5  # seconds that a connection may keep a thread waiting
MAX_HEADER_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024  # refused unseen; what may be written has a smaller bound of its own

log = structlog.get_logger(__name__)


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
        self._tls = tls
        self._application = Application(get_snapshot, clock, submit, access)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

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
            self._application,
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


def _log_from_server(msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
    """Take cheroot's own complaints, which it would print to standard error."""
    log.log(level, "http server", detail=msg.strip(), exc_info=traceback)
