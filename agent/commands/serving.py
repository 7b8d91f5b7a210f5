"""How the configuration says to serve: over TLS or not, and to whom."""

from agent.config import HttpConfig
from agent.publish.access import Access
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
