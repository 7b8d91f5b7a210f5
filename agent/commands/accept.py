"""`tocsin accept`: asks the running agent to take the new normal as its reference."""

from typing import Any

from rich.console import Console

from agent.commands.asking import Client
from agent.commands.terminal import output
from agent.config import Config
from agent.errors import Exit, UnreachableError, UsageError


def run_accept(
    config: Config, model: str, target: str | None, by: str, comment: str, url: str | None
) -> Exit:
    """Ask, and print what was done; NOT_PASSED where there are not the data for it."""
    agent = Client(config, url)
    wanted = {"by": by, "comment": comment} | ({} if target is None else {"target": target})
    status, answer = agent.post(f"/api/v1/models/{model}/accept", wanted)
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
        raise UnreachableError(f"{agent.base}: {why}")
    raise UsageError(f"{agent.base}: {why}")


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
