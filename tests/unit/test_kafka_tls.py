"""What the `ssl_*` keys come to, against a TLS server of any kind."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.intake.kafka.settings import KafkaSettings, tls_context
from agent.publish.http import HttpServer
from agent.publish.tls import Tls
from tests import samples
from tests.rig.certificates import Authority, Files


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> Files:
    return authority.issue("server")


@pytest.fixture(scope="module")
def port(files: Files) -> Iterator[int]:
    server = HttpServer("127.0.0.1", 0, samples.snapshot, tls=Tls(files.certificate, files.key))
    server.start()
    yield server.port
    server.stop()


def cipher(port: int, **options: object) -> str:
    """The cipher that was agreed on."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        context = tls_context(options)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            agreed = connection.cipher()
            assert agreed is not None and connection.version() in ("TLSv1.2", "TLSv1.3")
            return agreed[0]


def test_a_certificate_of_a_known_authority_is_trusted(authority: Authority, port: int) -> None:
    assert cipher(port, ssl_cafile=authority.file)


def test_one_of_no_authority_that_the_system_knows_is_not(port: int) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        cipher(port)


def test_a_revoked_certificate_is_refused(authority: Authority, files: Files, port: int) -> None:
    others = authority.revoked(authority.issue("other"))
    assert cipher(port, ssl_cafile=authority.file, ssl_crlfile=others)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        cipher(port, ssl_cafile=authority.file, ssl_crlfile=authority.revoked(files))


def test_ciphers_are_those_that_are_named(authority: Authority, port: int) -> None:
    wanted = "ECDHE-ECDSA-CHACHA20-POLY1305"
    context = tls_context({"ssl_cafile": authority.file, "ssl_ciphers": wanted})
    assert wanted in [found["name"] for found in context.get_ciphers()]
    assert "ECDHE-ECDSA-AES128-SHA" not in [found["name"] for found in context.get_ciphers()]
    with pytest.raises(UsageError, match=r"kafka\.ssl_ciphers: NONESUCH names no cipher"):
        cipher(port, ssl_ciphers="NONESUCH")


@pytest.mark.parametrize("key", ["ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"])
@pytest.mark.parametrize("content", [None, "junk"])
def test_a_file_that_cannot_be_used_is_named_at_once(
    files: Files, tmp_path: Path, key: str, content: str | None
) -> None:
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content)
    options: dict[str, object] = {"ssl_certfile": files.certificate, "ssl_keyfile": files.key}
    with pytest.raises(UsageError) as caught:
        KafkaSettings("b:1", options={"security_protocol": "SSL", **options, key: str(bad)})
    text = str(caught.value)
    assert f"kafka.{key}: {bad} " in text and "\n" not in text
    # Without TLS nobody reads it.
    KafkaSettings("b:1", options={**options, key: str(bad)})
