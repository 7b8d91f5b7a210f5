"""cheroot's server, on which clients that dawdle cannot keep others waiting.

cheroot gives a thread to a connection as soon as it is there, and lets a client that sends or takes
a byte now and then keep it for hours. Here a connection gets a thread when it has something to say,
and the thread is its own for a bounded time.
"""

import socket
from contextlib import suppress
from threading import Timer
from typing import Any

from cheroot import wsgi
from cheroot.server import HTTPConnection, HTTPRequest

ASKING = 3.0  # seconds in which a request must have come whole, but for its body
ANSWERED = 10.0  # seconds after which a request must be answered, its answer taken included
SILENT = 256  # connections on which nothing has come; of more, the oldest are closed


class _Request(HTTPRequest):
    def parse_request(self) -> None:
        """Cheroot's own, within `ASKING` seconds."""
        with _cut_after(ASKING, self.conn.socket):
            super().parse_request()


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request
    has_waited = False

    def communicate(self) -> bool:
        """Cheroot's own, within `ANSWERED` seconds."""
        with _cut_after(ANSWERED, self.socket):
            return bool(super().communicate())  # type: ignore[no-untyped-call]


class _cut_after:
    """Ends a connection, both ways, that is not done with its context in time.

    What blocks on the socket then returns at once; the thread that waits there closes it.
    """

    def __init__(self, seconds: float, connection: socket.socket) -> None:
        self._timer = Timer(seconds, _cut, [connection])
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        # The method of the plain socket: that of a TLS socket would also drop its state.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class Server(wsgi.Server):
    """A WSGI server for clients that cannot be trusted to hurry."""

    ConnectionClass = _Connection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._silent: dict[_Connection, None] = {}  # oldest first; some may have ended by now

    def process_conn(self, conn: _Connection) -> None:
        """Have a connection wait for its first byte, and give it a thread from then on."""
        if conn.has_waited:
            self._silent.pop(conn, None)
            super().process_conn(conn)
            return
        conn.has_waited = True
        self._silent[conn] = None
        while len(self._silent) > SILENT:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            _cut(oldest.socket)  # which wakes it up: it is then closed like any that has ended
        self.put_conn(conn)
