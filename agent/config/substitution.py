"""Fills in `${NAME}` and `${file:/path}` in the scalars of a parsed configuration.

It works on the tree and not on the text, so that what is filled in can never become YAML. Whatever
was touched is marked secret, and no message repeats it.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.config.yaml_source import Node, Problem, scalars

MAX_FILE_BYTES = 1_000_000

_REFERENCE = re.compile(r"\$\$|\$\{(?P<inside>[^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Unresolved(Exception):
    """A reference that cannot be filled in; the message names it and nothing else."""


def substitute(root: Node, env: Mapping[str, str], folder: Path) -> list[Problem]:
    """Fill in every reference below `root`, in place; relative files are relative to `folder`."""
    problems = []
    done: set[int] = set()  # a scalar behind aliases is met several times
    for path, node in scalars(root):
        if id(node) in done or not isinstance(node.value, str) or "$" not in node.value:
            continue
        done.add(id(node))
        try:
            node.value, node.secret = _fill(node.value, lambda name: _look_up(name, env, folder))
        except _Unresolved as error:
            node.secret = node.broken = True
            problems.append(Problem(str(error), node.line, path))
    return problems


def _fill(text: str, look_up: Callable[[str], str]) -> tuple[str, bool]:
    """The text with its references filled in, and whether it had any. `$$` is a dollar."""
    filled = False

    def replace(match: re.Match[str]) -> str:
        nonlocal filled
        if match[0] == "$$":
            return "$"
        filled = True
        if not match[0].endswith("}"):
            raise _Unresolved("'${' is not closed by '}': write $$ for a plain dollar")
        return look_up(match["inside"])

    return _REFERENCE.sub(replace, text), filled


def _look_up(name: str, env: Mapping[str, str], folder: Path) -> str:
    if name.startswith("file:"):
        return _read(name.removeprefix("file:"), folder)
    if not _NAME.fullmatch(name):
        raise _Unresolved("'${…}' holds no name: write ${NAME}, ${file:/path} or $$ for a dollar")
    if name not in env:
        raise _Unresolved(f"environment variable {name} is not set: set it")
    value = env[name]
    if not _is_unicode(value):
        raise _Unresolved(f"environment variable {name} is not UTF-8 text")
    return value


def _read(name: str, folder: Path) -> str:
    """The text of a secret file, without the line end that editors add."""
    path = folder / name
    try:
        if not path.is_file():  # a pipe or a device would block or never end
            raise _Unresolved(f"file {name!r} is not a file that exists: mount or write it")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _Unresolved(f"file {name!r} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise _Unresolved(f"file {name!r} is larger than {MAX_FILE_BYTES:,} bytes")
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise _Unresolved(f"file {name!r} is not UTF-8 text") from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
