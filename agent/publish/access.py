"""Who may ask the HTTP server: who knows a password or a token, or has a client certificate."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from werkzeug.datastructures import Authorization

PROBES = ("/healthz", "/readyz")  # open to all: what starts and stops containers has no password
REALM = "tocsin"


@dataclass(frozen=True, slots=True)
class Access:
    """What a client has to bring. With nothing set, nothing.

    Parameters
    ----------
    basic
        User name and password.
    bearer
        A token; it does in place of name and password.
    certificate
        Whether a client certificate is needed, beside the others if there are any.
    """

    basic: tuple[str, str] | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
    certificate: bool = False

    @property
    def required(self) -> bool:
        """Whether anything is."""
        return self.certificate or self._credentials

    @property
    def _credentials(self) -> bool:
        return self.basic is not None or self.bearer is not None

    @property
    def challenges(self) -> tuple[tuple[str, str], ...]:
        """Headers that say how to authenticate."""
        basic = [f'Basic realm="{REALM}", charset="UTF-8"'] if self.basic is not None else []
        bearer = [f'Bearer realm="{REALM}"'] if self.bearer is not None else []
        return tuple(("WWW-Authenticate", challenge) for challenge in basic + bearer)

    def admits(self, environ: Mapping[str, Any]) -> bool:
        """Whether a WSGI request brings all that is required.

        Takes the same time whichever part is wrong, and however much of it.
        """
        certified = not self.certificate or environ.get("SSL_CLIENT_VERIFY") == "SUCCESS"
        return certified & (not self._credentials or self._known(environ))

    def _known(self, environ: Mapping[str, Any]) -> bool:
        try:
            given = Authorization.from_header(environ.get("HTTP_AUTHORIZATION"))
        except ValueError:  # what is no base64 in ways that it does not expect
            given = None
        if given is None:
            return False
        if given.type == "basic" and self.basic is not None:
            name, password = self.basic
            return _same(given.username, name) & _same(given.password, password)
        if given.type == "bearer" and self.bearer is not None:
            return _same(given.token, self.bearer)
        return False


def _same(given: str | None, known: str) -> bool:
    return hmac.compare_digest((given or "").encode(), known.encode())


OPEN = Access()
