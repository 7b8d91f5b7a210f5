"""Asks the running agent something over HTTP, as whom its own configuration knows."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from agent.certificates import show, trust_one
from agent.config import Config, HttpConfig
from agent.errors import UnreachableError, UsageError

TIMEOUT = 15.0  # seconds; the agent answers within five
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # listened on; asked at


class Client:
    """Speaks to the agent of a configuration, with the credentials that stand there.

    Parameters
    ----------
    config
        Of the running agent.
    url
        Where it is; None: on this machine, as configured. Then its own certificate is trusted and
        no other; elsewhere those are that the system trusts, and it as well, for its host name.
    """

    def __init__(self, config: Config, url: str | None = None) -> None:
        """Raises UsageError where no such agent can be asked."""
        self.base = (url or address(config)).rstrip("/")
        if not self.base.startswith(("http://", "https://")):
            raise UsageError(f"{self.base}: is no http URL")
        self._http = config.http
        handlers: list[urllib.request.BaseHandler] = [
            # The agent may answer its own machine alone, so that no proxy must stand between.
            urllib.request.ProxyHandler({})
        ]
        if self.base.startswith("https://"):
            context = _context(config.http, pinned=url is None)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and object of the answer. UnreachableError, one line, where none comes."""
        url = f"{self.base}{path}"
        content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(url, content, headers, method="POST")
            if credentials := _credentials(self._http):
                # Whoever redirects us to another place does not have them passed on there.
                request.add_unredirected_header("Authorization", credentials)
            try:
                with self._opener.open(request, timeout=TIMEOUT) as answer:
                    return answer.status, _object(answer.read(), url)
            except urllib.error.HTTPError as error:
                said = error.headers.get_content_type()
                if error.code in (401, 403) and said != "application/json":
                    raise UsageError(
                        f"{url}: not authorized: is http of the configuration as the agent has it?"
                    ) from None
                return error.code, _object(error.read(), url)
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise UnreachableError(f"{url}: no agent answers: {why}") from None


def address(config: Config) -> str:
    """Where the configured agent listens, as seen from its own machine."""
    host = ANYWHERE.get(config.http.host, config.http.host)
    scheme = "http" if config.http.tls is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.http.port}"


def _credentials(http: HttpConfig) -> str:
    if http.basic is not None:
        both = f"{http.basic.username}:{http.basic.password.get_secret_value()}"
        return f"Basic {base64.b64encode(both.encode()).decode()}"
    return "" if http.bearer_token is None else f"Bearer {http.bearer_token.get_secret_value()}"


def _context(http: HttpConfig, pinned: bool) -> ssl.SSLContext:
    """`pinned`: trust the agent's own certificate alone, whatever host it was made out to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if pinned:
        context.check_hostname = False
    else:
        context.load_default_certs()
    files = http.tls
    if files is not None:
        trust_one(context, "http.tls.certfile", files.certfile)
    if files is not None and files.client_cafile is not None:
        password = files.password.get_secret_value() if files.password is not None else None
        show(context, "http.tls.", files.certfile, files.keyfile, password)
    return context


def _object(content: bytes, url: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnreachableError(f"{url}: what answers there is no agent that takes this")
    return found
