"""Tokens for SASL OAUTHBEARER, had from a token endpoint with client credentials.

RFC 6749, section 4.4. One POST with a time-out and a few lines of JSON need no more than the
standard library; there is no browser, no refresh token and nothing to sign.
"""

import base64
import json
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote_plus, urlencode

import structlog
from kafka import errors
from kafka.net.sasl.oauth import AbstractTokenProvider

from agent.certificates import trust

PATIENCE = 5.0  # seconds for a token: kafka-python stands still in the meantime
RETRY = 1.0  # seconds for which a failure holds
RENEW = 0.8  # of a token's lifetime after which another is asked for
LIFETIME = 300.0  # seconds, where the endpoint does not say
LARGEST = 64 * 1024  # bytes of an answer

# Another attempt would end the same way, as with a wrong password.
REFUSED = (400, 401, 403)

log = structlog.get_logger(__name__)


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types
    """Hands out one token until it is about to expire. For use by any number of threads.

    Parameters
    ----------
    url
        The token endpoint.
    client_id, client_secret
        Sent in HTTP's basic scheme (RFC 6749, 2.3.1).
    scope
        What to ask for, if anything.
    cafile
        Authorities to trust, in place of the system's. Raises UsageError where it cannot be used.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        scope: str | None = None,
        cafile: str | Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._cafile, self._clock = url, cafile, clock
        both = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        self._login = f"Basic {base64.b64encode(both.encode()).decode()}"
        asked = {"grant_type": "client_credentials"} | ({} if scope is None else {"scope": scope})
        self._body = urlencode(asked).encode()
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = self._expires_at = self._failed_at = float("-inf")
        self._request: Future[tuple[str, float]] | None = None
        self._context()

    def token(self) -> str:
        """A token that is valid now; waits for it up to `PATIENCE` seconds.

        Raises SaslAuthenticationFailedError where the endpoint refuses, and KafkaConnectionError
        where it cannot be reached or says nothing that helps.
        """
        with self._lock:
            now = self._clock()
            if now < self._renew_at:
                return self._token
            request = self._request
            if request is None or (request.done() and now >= self._failed_at + RETRY):
                request = self._request = Future()
                threading.Thread(
                    target=self._run, args=[request], name="kafka-token", daemon=True
                ).start()
        try:
            return request.result(PATIENCE)[0]
        except Exception as error:
            with self._lock:
                if self._clock() < self._expires_at:
                    return self._token  # it will do for a while
            if isinstance(error, errors.KafkaError):
                raise
            raise self._problem(f"no answer within {PATIENCE:g} s") from None

    def _run(self, request: "Future[tuple[str, float]]") -> None:
        try:
            token, lifetime = self._ask()
        except BaseException as error:
            with self._lock:
                self._failed_at = self._clock()
            request.set_exception(self._meaning(error))
            return
        with self._lock:
            now = self._clock()
            self._token = token
            self._renew_at, self._expires_at = now + RENEW * lifetime, now + lifetime
            self._failed_at = float("-inf")
        log.debug("token granted", endpoint=self._url, seconds=lifetime)
        request.set_result((token, lifetime))

    def _ask(self) -> tuple[str, float]:
        """A new token, and for how many seconds it is valid."""
        headers = {"Accept": "application/json", "Authorization": self._login}
        opener = urllib.request.build_opener(
            _Stay, urllib.request.HTTPSHandler(context=self._context())
        )
        request = urllib.request.Request(self._url, self._body, headers, method="POST")
        with opener.open(request, timeout=PATIENCE) as answer:
            content = answer.read(LARGEST)
        found = json.loads(content)
        token, lifetime = found["access_token"], float(found.get("expires_in", LIFETIME))
        # It is sent in a message whose fields a control character would end.
        if not re.fullmatch(r"[\x21-\x7e]+", token) or not lifetime > 0:
            raise ValueError
        return token, lifetime

    def _meaning(self, error: BaseException) -> errors.KafkaError:
        """What went wrong, with nothing in it that could be a secret."""
        if isinstance(error, HTTPError):
            if error.code in REFUSED:
                return errors.SaslAuthenticationFailedError(
                    f"the token endpoint {self._url} refuses the client: HTTP {error.code}"
                )
            return self._problem(f"HTTP {error.code}")
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return self._problem(f"its certificate is not trusted: {reason.verify_message}")
        if isinstance(reason, OSError):
            return self._problem(reason.strerror or str(reason))
        return self._problem("no token is in its answer")

    def _problem(self, why: str) -> errors.KafkaError:
        return errors.KafkaConnectionError(f"no token from {self._url}: {why}")

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._cafile is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trust(context, "kafka.oauth.cafile", self._cafile)
        return context


class _Stay(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: whoever redirects would be sent the secret."""

    def redirect_request(self, *_: Any) -> None:
        """None: the redirection is an error."""
        return None
