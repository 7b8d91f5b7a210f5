"""Tokens with client credentials: when one is asked for, and what is said when none is had."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import errors

from agent.errors import UsageError
from agent.intake.kafka import ClientCredentials, oauth
from tests.rig.certificates import Authority
from tests.rig.process import free_port
from tests.rig.tokens import TokenEndpoint

CLIENT, SECRET = "tocsin: monitor", "s3cret/+ ü:"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def endpoint(authority: Authority) -> Iterator[TokenEndpoint]:
    endpoint = TokenEndpoint(authority.issue("endpoint"), CLIENT, SECRET)
    yield endpoint
    endpoint.stop()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(endpoint: TokenEndpoint, authority: Authority, clock: Clock) -> ClientCredentials:
    return ClientCredentials(endpoint.url, CLIENT, SECRET, "a b", authority.file, clock)


def test_a_token_is_asked_for_once_until_shortly_before_it_expires(
    tokens: ClientCredentials, endpoint: TokenEndpoint, clock: Clock
) -> None:
    endpoint.lifetime = 100
    first = tokens.token()
    clock.now += 79
    assert [tokens.token() for _ in range(5)] == [first] * 5
    assert endpoint.requests == [{"grant_type": ["client_credentials"], "scope": ["a b"]}]
    clock.now += 2
    endpoint.lifetime = 200
    assert tokens.token() != first
    assert len(endpoint.requests) == 2


def test_many_threads_ask_once(tokens: ClientCredentials, endpoint: TokenEndpoint) -> None:
    endpoint.silent.clear()
    had: list[str] = []
    threads = [threading.Thread(target=lambda: had.append(tokens.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    while not endpoint.requests:
        time.sleep(0.01)
    endpoint.silent.set()
    for thread in threads:
        thread.join()
    assert len(had) == 8 and len(set(had)) == 1 and len(endpoint.requests) == 1


def test_an_old_token_does_while_no_new_one_is_had_and_not_longer(
    tokens: ClientCredentials, endpoint: TokenEndpoint, clock: Clock
) -> None:
    endpoint.lifetime = 100
    first = tokens.token()
    endpoint.answer = 503, b""
    clock.now += 99
    assert tokens.token() == first
    clock.now += 1
    with pytest.raises(errors.KafkaConnectionError, match="HTTP 503"):
        tokens.token()
    asked = len(endpoint.requests)
    with pytest.raises(errors.KafkaConnectionError, match="HTTP 503"):
        tokens.token()  # at once again: nobody is asked
    assert len(endpoint.requests) == asked
    endpoint.answer = None
    clock.now += oauth.RETRY
    assert tokens.token()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((401, b'{"error": "invalid_client"}'), errors.SaslAuthenticationFailedError, "HTTP 401"),
        ((400, b"{}"), errors.SaslAuthenticationFailedError, "HTTP 400"),
        ((500, b"s3cret"), errors.KafkaConnectionError, "HTTP 500"),
        ((302, b"https://evil.example/"), errors.KafkaConnectionError, "HTTP 302"),
        ((307, b"https://evil.example/"), errors.KafkaConnectionError, "HTTP 307"),
        ((200, b""), errors.KafkaConnectionError, "no token is in its answer"),
        ((200, b"[]"), errors.KafkaConnectionError, "no token is in its answer"),
        ((200, b"\xff"), errors.KafkaConnectionError, "no token is in its answer"),
        ((200, b"[" * 60_000), errors.KafkaConnectionError, "no token is in its answer"),
        ((200, b'{"access_token": 7}'), errors.KafkaConnectionError, "no token is in"),
        ((200, b'{"access_token": ""}'), errors.KafkaConnectionError, "no token is in"),
        ((200, b'{"access_token": "a\\u0001auth=b"}'), errors.KafkaConnectionError, "no token"),
        ((200, b'{"access_token": "a", "expires_in": -1}'), errors.KafkaConnectionError, "no "),
        ((200, b'{"access_token": "a", "expires_in": "x"}'), errors.KafkaConnectionError, "no "),
    ],
)
def test_an_answer_without_a_token_is_one_line_without_secrets(
    tokens: ClientCredentials,
    endpoint: TokenEndpoint,
    answer: tuple[int, bytes],
    error: type[Exception],
    said: str,
) -> None:
    endpoint.answer = answer
    with pytest.raises(error) as caught:
        tokens.token()
    text = str(caught.value)
    assert said in text and endpoint.url in text and "\n" not in text
    assert "s3cret" not in text and "evil" not in text


def test_a_wrong_secret_is_refused(endpoint: TokenEndpoint, authority: Authority) -> None:
    tokens = ClientCredentials(endpoint.url, CLIENT, "wr0ng", None, authority.file)
    with pytest.raises(errors.SaslAuthenticationFailedError, match="refuses the client") as caught:
        tokens.token()
    assert "wr0ng" not in str(caught.value)


def test_an_endpoint_that_is_silent_has_a_deadline(
    tokens: ClientCredentials, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "PATIENCE", 0.3)
    endpoint.silent.clear()
    with pytest.raises(errors.KafkaConnectionError, match=r"no answer within 0\.3 s|timed out"):
        tokens.token()


def test_one_that_cannot_be_reached_or_trusted_says_why(
    endpoint: TokenEndpoint, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    nobody = f"https://127.0.0.1:{free_port()}/token"
    for url, cafile, why in (
        (nobody, authority.file, "Connection refused"),
        ("https://no-such-host.invalid/", authority.file, "no token from"),
        (endpoint.url, stranger.file, "its certificate is not trusted: unable to get local issuer"),
        (endpoint.url.replace("127.0.0.1", "localhost"), authority.file, "not valid for"),
    ):
        with pytest.raises(errors.KafkaConnectionError) as caught:
            ClientCredentials(url, CLIENT, SECRET, None, cafile).token()
        assert why in str(caught.value)
    assert endpoint.requests == []


def test_a_file_of_authorities_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"kafka\.oauth\.cafile: .*none cannot be read"):
        ClientCredentials("https://x/", CLIENT, SECRET, None, tmp_path / "none")
