"""The HTTP server goes on from one configuration to the next, and back where that cannot be."""

import socket

import pytest

from agent.commands.serving import Front
from agent.config import HttpConfig
from agent.errors import TocsinError
from tests.rig.certificates import Authority
from tests.rig.process import answers, free_port

NO_LOOP = object()  # none is looked at: nobody asks for what it knows


@pytest.fixture
def front():
    with Front() as made:
        yield made


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield HttpConfig(host="127.0.0.1", port=other.getsockname()[1])


def test_what_cannot_be_served_leaves_what_was(front, taken):
    before = HttpConfig(host="127.0.0.1", port=free_port())
    front.show(before, NO_LOOP)
    with pytest.raises(TocsinError, match="already in use"):
        front.check(taken)
    assert front.port == before.port and answers(before.port)


def test_where_there_is_no_way_back_either_it_is_tried_again_and_said(front, taken, tmp_path):
    """An agent that goes on and is not seen by anyone would be worse than one that ends."""
    files = Authority(tmp_path).issue("localhost")
    tls = {"certfile": files.certificate, "keyfile": files.key}
    before = HttpConfig(host="127.0.0.1", port=free_port(), tls=tls)
    front.show(before, NO_LOOP)
    key = files.key.read_bytes()
    files.key.unlink()
    with pytest.raises(TocsinError):
        front.check(taken)
    assert not answers(before.port)
    with pytest.raises(TocsinError, match="key"):
        front.show(before, NO_LOOP)
    files.key.write_bytes(key)
    front.show(before, NO_LOOP)
    assert answers(before.port)


def test_nothing_is_served_after_its_end():
    with Front() as made:
        made.show(HttpConfig(host="127.0.0.1", port=0), NO_LOOP)
        port = made.port
        assert answers(port)
    assert not answers(port)
