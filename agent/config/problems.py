"""Problems of a configuration as lines for people: where, what is wrong, how to mend it."""

import difflib
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from agent.config.errors import ConfigError
from agent.config.schema import expected, is_secret, known_keys
from agent.config.types import TAGS
from agent.config.yaml_source import Node, Path, Problem

_LONGEST_SHOWN = 60

# Predicates of what pydantic finds: they never hold the value, which `_shown` puts before them.
_PREDICATES = {
    "literal_error": "is not one of {expected}",
    "model_type": "is not a section: write keys below it",
    "dict_type": "is not a mapping: write 'name: value' below it",
    "mapping_type": "is not a mapping: write 'name: value' below it",
    "tuple_type": "is not a list: write [a, b]",
    "string_type": "is not text: write it in quotes",
    "path_type": "is not a path: write it in quotes",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is not a whole number of a usable size",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "greater_than": "is too small: write more than {gt}",
    "greater_than_equal": "is too small: write {ge} or more",
    "less_than": "is too large: write less than {lt}",
    "less_than_equal": "is too large: write {le} or less",
    "too_short": "is empty: write at least {min_length}",
}


def config_error(file: pathlib.Path, problems: Iterable[Problem]) -> ConfigError:
    """All problems of a file in the order of its lines, each once."""
    ordered = sorted(problems, key=lambda p: p.line or 0)
    return ConfigError(dict.fromkeys(_line(file, problem) for problem in ordered))


def explain(error: ValidationError, root: Node) -> list[Problem]:
    """What pydantic found, each at its line. Consequences of what is reported already are left."""
    problems = []
    for found in error.errors(include_url=False, include_input=False):
        ctx = found.get("ctx", {})
        line, path, node = _locate(root, (*found["loc"], *ctx.get("at", ())))
        if found["loc"][-1:] == ("[key]",):  # it is about the name and not about what it names
            node = Node(line, str(path[-1]))
        if node is None or not node.broken:
            problems.append(Problem(_text(found["type"], ctx, path, node), line, path))
    return problems


def _locate(root: Node, loc: Path) -> tuple[int, Path, Node | None]:
    """Line, keys and node of a pydantic location; no node where the file has nothing there."""
    line, node = root.line, root
    path: Path = ()
    for part in loc:
        if isinstance(node.value, dict) and part in node.value:
            entry = node.value[str(part)]
            line, node = entry.line, entry.node
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.line
        elif part in TAGS or not isinstance(node.value, dict | None):
            continue  # a step inside pydantic, not in the file
        else:
            return line, (*path, part), None
        path = (*path, part)
    return line, path, node


def _text(kind: str, ctx: Mapping[str, Any], path: Path, node: Node | None) -> str:
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return f"is missing: add it ({expected(path)})"
    predicate = str(ctx.get("text") or ctx.get("error") or "")
    if not predicate:
        choices = str(ctx.get("expected", "")).replace("'", "").replace(" or ", ", ")
        template = _PREDICATES.get(kind, "is not valid here")
        numbers = {k: f"{v:g}" for k, v in ctx.items() if isinstance(v, float)}
        predicate = template.format_map({**ctx, **numbers, "expected": choices})
    return " ".join(filter(None, (_shown(node, predicate, is_secret(path)), predicate)))


def _unknown_key(path: Path) -> str:
    known = known_keys(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    if near:
        return f"unknown key: did you mean {near[0]}?"
    return f"unknown key: known here are {', '.join(known)}"


def _shown(node: Node | None, predicate: str, secret: bool) -> str:
    """What stands in the file, as the subject of a predicate; nothing where it would not help."""
    if node is None:
        return ""
    value = node.value
    if isinstance(value, dict | list):
        kind = "a mapping" if isinstance(value, dict) else "a list"
        return kind if predicate.startswith("is not a ") else ""
    if node.secret or (secret and value is not None):
        return "'***'"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _line(file: pathlib.Path, problem: Problem) -> str:
    place = str(file) if problem.line is None else f"{file}:{problem.line}"
    key = ""
    for part in problem.path:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    text = ": ".join(part for part in (place, key, problem.text) if part)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
