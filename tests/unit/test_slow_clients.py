"""Clients that dawdle over the HTTP server keep nobody else waiting, and cost a bounded share."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace

import pytest

from agent.publish import connections
from agent.publish.http import THREADS, HttpServer
from tests import samples

PROMPTLY = 5.0  # seconds; the time-outs that are tested here are shorter, those of cheroot longer


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a server with so many models: one, unless the test says otherwise."""
    monkeypatch.setattr(connections, "ASKING", 0.5)
    monkeypatch.setattr(connections, "ANSWERED", 1.5)
    models = (
        replace(samples.credit(), model=f"credit-{i}") for i in range(getattr(request, "param", 1))
    )
    snapshot = samples.snapshot(*models)
    server = HttpServer("127.0.0.1", 0, lambda: snapshot)
    server.start()
    yield server.port
    server.stop()


def connect(port: int, receive: int | None = None) -> socket.socket:
    """A connection, with so many bytes for what is received and not yet read."""
    client = socket.socket()
    if receive is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    return client


def answered(port: int) -> None:
    """Fails unless somebody who asks properly gets all metrics promptly."""
    for path in ("/healthz", "/metrics"):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PROMPTLY)) as client:
            client.request("GET", path)
            assert client.getresponse().status == 200


def ended(client: socket.socket) -> bool:
    """Whether the server has closed the connection; waits for it."""
    with suppress(ConnectionError):
        while client.recv(1 << 20):
            pass
    return True


def test_connections_that_say_nothing_hold_no_thread_and_only_so_many_stay(port: int) -> None:
    beyond = 3 * THREADS
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(port)) for _ in range(connections.SILENT + beyond)]
        answered(port)
        assert all(ended(client) for client in silent[:beyond])
        # One of those that may stay is served as soon as it speaks.
        silent[-1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert silent[-1].recv(100).startswith(b"HTTP/1.1 200")


def test_a_request_that_drips_in_is_given_up(port: int) -> None:
    over = threading.Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in range(2 * THREADS)]

        def drip() -> None:
            while not over.wait(0.1):
                for client in clients:
                    with suppress(OSError):
                        client.sendall(b"G")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            time.sleep(0.3)
            answered(port)
            assert all(ended(client) for client in clients)
        finally:
            over.set()
            dripping.join()


# The metrics of so many are more than the system takes into its own buffers.
@pytest.mark.parametrize("port", [100], indirect=True)
def test_an_answer_that_is_not_taken_is_given_up(port: int) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(port, 4096)) for _ in range(THREADS + 4)]
        for client in clients:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        over = threading.Event()

        def sip() -> None:
            while not over.wait(0.1):
                for client in clients[::2]:
                    with suppress(OSError):
                        client.recv(4096)

        sipping = threading.Thread(target=sip)
        sipping.start()
        try:
            answered(port)
        finally:
            over.set()
            sipping.join()
        assert all(ended(client) for client in clients)


def test_a_connection_serves_more_than_one_request(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PROMPTLY)) as client:
        for _ in range(3):
            client.request("GET", "/healthz")
            assert client.getresponse().read() == b"ok\n"
            assert client.sock is not None, "it was closed in between"
