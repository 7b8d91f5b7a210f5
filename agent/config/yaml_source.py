"""YAML text to a tree that remembers its lines, read by the rules of YAML 1.2's core schema.

PyYAML's loaders follow YAML 1.1, in which `no` is false and `1:30` is ninety; a label or a name
must not change its meaning like that. So its parser is used and its loaders are not: here only
`true` and `false` are booleans, keys are always text, tags and merge keys are refused, and aliases
are expanded within a bound.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 50_000  # with aliases expanded

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(slots=True)
class Node:
    """A value and the line it starts on."""

    line: int
    value: "Scalar | list[Node] | dict[str, Entry]"
    size: int = 1  # nodes from here down, this one included, aliases expanded
    height: int = 0  # levels below
    secret: bool = False  # something was filled in: must never be shown
    broken: bool = False  # a problem is reported already: no second one because of it


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping: the line of the key, and its value."""

    line: int
    node: Node


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: a line of the file and the keys that lead there, where known."""

    text: str
    line: int | None = None
    path: Path = ()


class UnreadableYaml(Exception):
    """The text cannot be read at all; there is one problem and no tree."""

    def __init__(self, text: str, line: int | None = None, path: Path = ()) -> None:
        """Keep the problem that ended the reading."""
        super().__init__(text)
        self.problem = Problem(text, line, path)


def parse(data: bytes) -> tuple[Node, list[Problem]]:
    """The tree of the first document, and what is wrong with it. Raises UnreadableYaml."""
    if len(data) > MAX_BYTES:
        raise UnreadableYaml(f"is larger than {MAX_BYTES:,} bytes: is it a configuration?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableYaml("is not UTF-8 text: is it a configuration?") from None
    try:
        return _Builder(_events(text)).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        line = None if mark is None else mark.line + 1
        raise UnreadableYaml(f"is not YAML: {what}: look at indents and quotes", line) from None
    except (ValueError, OverflowError):  # an escape beyond Unicode, in PyYAML's own scanner
        raise UnreadableYaml("is not YAML: a character escape is out of range") from None


def plain(node: Node) -> object:
    """The bare value: dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def scalars(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every scalar with the path to it. One behind several aliases comes once for each."""
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            yield from scalars(entry.node, (*path, key))
    elif isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from scalars(item, (*path, index))
    else:
        yield path, node


def _events(text: str) -> Iterator[Any]:
    # libyaml is some thirty times faster, and part of every PyYAML wheel.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yield from yaml.parse(text, Loader=loader)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


@dataclass(slots=True)
class _Builder:
    """Builds the tree from parser events; problems that leave a tree are collected on the way."""

    events: Iterator[Any]
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    nodes: int = 0

    def document(self) -> tuple[Node, list[Problem]]:
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            raise UnreadableYaml("is empty: write at least models and their tasks")
        root = self.node(next(self.events), ())
        next(self.events)  # end of the document
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            text = "a second YAML document starts here: keep one a file"
            self.problems.append(Problem(text, _line(after)))
        return root, self.problems

    def node(self, event: Any, path: Path) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path)
        self.bound(1, len(path), event)
        broken = self.has_tag(event, path)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(_line(event), _resolve(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self.sequence(_line(event), path)
        else:
            node = self.mapping(_line(event), path)
        node.broken = broken
        if event.anchor is not None:  # known only once complete, so nothing can contain itself
            self.anchors[event.anchor] = node
        return node

    def sequence(self, line: int, path: Path) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, (*path, len(items))))
        return _parent(line, items, items)

    def mapping(self, line: int, path: Path) -> Node:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event, path)
            value = self.node(next(self.events), path if key is None else (*path, key))
            if key is None:
                continue
            if key in entries:
                text = f"appears again (first on line {entries[key].line}): keep one"
                self.problems.append(Problem(text, _line(event), (*path, key)))
            else:
                entries[key] = Entry(_line(event), value)
        return _parent(line, entries, [entry.node for entry in entries.values()])

    def key(self, event: Any, path: Path) -> str | None:
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            text = "merge keys (<<) are not supported: use an alias for a whole value"
        elif isinstance(event, yaml.ScalarEvent):
            self.has_tag(event, path)
            return str(event.value)
        else:
            self.node(event, path)
            text = "has a key that is not plain text: write 'key: value'"
        self.problems.append(Problem(text, _line(event), path))
        return None

    def alias(self, event: Any, path: Path) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            text = f"alias *{event.anchor} has no complete anchor before it"
            self.problems.append(Problem(text, _line(event), path))
            return Node(_line(event), None, broken=True)
        self.bound(node.size, len(path) + node.height, event)
        return node

    def bound(self, nodes: int, depth: int, event: Any) -> None:
        """Count what is added to the tree, and end where it grows too large or too deep."""
        if depth > MAX_DEPTH:
            raise UnreadableYaml(f"is nested deeper than {MAX_DEPTH} levels", _line(event))
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            text = f"has more than {MAX_NODES:,} values with aliases expanded"
            raise UnreadableYaml(text, _line(event))

    def has_tag(self, event: Any, path: Path) -> bool:
        if event.tag in (None, "!", "tag:yaml.org,2002:str"):
            return False
        self.problems.append(Problem("tags are not supported: remove it", _line(event), path))
        return True


def _parent(line: int, value: "list[Node] | dict[str, Entry]", below: list[Node]) -> Node:
    size = 1 + sum(node.size for node in below)
    return Node(line, value, size, 1 + max((node.height for node in below), default=0))


def _resolve(event: Any) -> Scalar:
    text = str(event.value)
    if not event.implicit[0] or event.style not in (None, ""):  # quoted, a block, or tagged
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
