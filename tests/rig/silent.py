"""A server that accepts connections and never says a word."""

import socket
from typing import Self


class SilentServer:
    """Within its context, the system accepts connections to the port, and nobody answers."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=100)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
