"""`tocsin accept`: asks the running agent to take the new normal as its reference."""

import json
import urllib.error
import urllib.request
from typing import Any

from rich.console import Console

from agent.commands.terminal import output
from agent.config import Config
from agent.errors import Exit, UnreachableError, UsageError

TIMEOUT = 15.0  # seconds; the agent answers within five
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # listened on; asked at


def run_accept(
    config: Config, model: str, target: str | None, by: str, comment: str, url: str | None
) -> Exit:
    """Ask, and print what was done; NOT_PASSED where there are not the data for it."""
    base = (url or address(config)).rstrip("/")
    wanted = {"by": by, "comment": comment} | ({} if target is None else {"target": target})
    status, answer = post(f"{base}/api/v1/models/{model}/accept", wanted)
    console = output()
    if status == 200:
        _show(console, answer)
        return Exit.OK
    if status == 202:
        console.print(str(answer.get("note", "")))
        return Exit.OK
    why = str(answer.get("error", f"HTTP {status}"))
    if status == 409:
        console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        console.print(f"tocsin: not accepted: {why}")
        return Exit.NOT_PASSED
    if status >= 500:
        raise UnreachableError(f"{base}: {why}")
    raise UsageError(f"{base}: {why}")


def address(config: Config) -> str:
    """Where the configured agent listens, as seen from its own machine."""
    host = ANYWHERE.get(config.http.host, config.http.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{config.http.port}"


def post(url: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and object of the answer. UnreachableError, one line, where none comes."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url}: is no http URL")
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    # The agent answers its own machine alone, so that no proxy must stand between.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, content, headers, method="POST")
        try:
            with opener.open(request, timeout=TIMEOUT) as answer:
                return answer.status, _object(answer.read(), url)
        except urllib.error.HTTPError as error:
            return error.code, _object(error.read(), url)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise UnreachableError(f"{url}: no agent answers: {why}") from None


def _object(content: bytes, url: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnreachableError(f"{url}: what answers there is no agent that takes this")
    return found


def _show(console: Console, answer: dict[str, Any]) -> None:
    for part in answer["targets"]:
        console.print(
            f"{part['target']}: {part['rows']} rows from {part['from']} to {part['to']} are the "
            f"reference now, in place of {part['rows_before']}"
        )
    for target, why in answer["left"].items():
        console.print(f"{target}: left as it was: {why.removeprefix(f'{target}: ')}")
    for line in answer["warnings"]:
        console.print(f"warning: {line}", style="yellow")
    if answer["cleared"]:
        console.print(f"cleared: {', '.join(answer['cleared'])}")
    now, before = answer["profile"], answer["profile_before"]
    where = answer["written"] or f"not written: {answer['unwritten']}"
    console.print(f"profile {now} in place of {before}: {where}")
