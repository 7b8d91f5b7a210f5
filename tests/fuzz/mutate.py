"""Payloads made from valid ones: trees of values changed as trees, then sometimes as bytes."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

Place = tuple[Any, Any]  # a list or dict, and the index or key in it

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -0.0, 1, -1, 0.5, 1.5, 7, 1e-300, 1e30, 1.1e30, 1e31, 1e308),
    *(float("nan"), float("inf"), float("-inf"), 2**31, 2**53 + 1, 2**63, 2**64, -(2**70), 10**400),
    *(
        "",
        "0",
        "1",
        "1.0",
        "true",
        "False",
        "NaN",
        "null",
        "a",
        "north",
        "é",
        "\ud800",
        "\x00",
        "\n",
    ),
    *(
        "a" * 300,
        "9" * 5000,
        "2024-05-06T12:00:00Z",
        "2024-02-30T12:00:00Z",
        "2024-12-31T23:59:60Z",
    ),
    *("2024-05-06", "20240506", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"),
    *(1_714_996_800_000, 1_714_996_800, 4_102_444_800_000, 253_402_300_800_000, "1714996800000"),
    *([], {}, [1], [[]], {"a": 1}, {"": None}),
)
BYTES = (
    *(b"", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\", b"\\ud800", b'"'),
    *(b"{", b"}", b"[", b"]", b",", b":", b"-", b"1e999", b"0" * 400, b"[" * 3000, b'{"a":' * 3000),
    *(b"NaN", b"Infinity", b"nul", b"/*", b"\n", b"\r\n", b"\t", b"  ", b'"a":1,'),
)


def places(tree: Any) -> list[Place]:
    """Everything below the root."""
    found: list[Place] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        keys = node.keys() if isinstance(node, dict) else range(len(node))
        for key in keys:
            found.append((node, key))
            if isinstance(node[key], dict | list):
                stack.append(node[key])
    return found


class Mutator:
    """Changes payloads; the same seed makes the same of them.

    Parameters
    ----------
    seeds
        Valid payloads.
    names
        Names that members may be given.
    values
        Values that may take the place of others.
    loads, dumps
        The text of a tree, there and back; ValueError where there is none.
    fragments
        Bytes that may be put anywhere.
    """

    def __init__(
        self,
        seeds: Sequence[bytes],
        names: Sequence[str],
        values: Sequence[Any] = VALUES,
        loads: Callable[[bytes], Any] = json.loads,
        dumps: Callable[[Any, random.Random], bytes] | None = None,
        fragments: Sequence[bytes] = BYTES,
    ) -> None:
        self.seeds, self._names, self._values = seeds, names, values
        self._loads, self._dumps = loads, dumps or _json
        self._fragments = fragments

    def mutated(self, payload: bytes, rng: random.Random) -> bytes:
        """A payload like this one."""
        if rng.random() < 0.1:
            payload = rng.choice(self.seeds)
        if rng.random() < 0.8:
            try:
                tree = self._loads(payload)
            except (ValueError, RecursionError):
                tree = None
            if isinstance(tree, dict | list) and tree:
                tree = copy.deepcopy(tree)
                for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
                    self._change(tree, rng)
                with suppress(ValueError, RecursionError):
                    payload = self._dumps(tree, rng)
        if rng.random() < 0.3:
            payload = self._spoilt(payload, rng)
        return payload

    def _change(self, tree: Any, rng: random.Random) -> None:
        found = places(tree)
        if not found:
            return
        node, key = rng.choice(found)
        action = rng.randrange(9)
        if action < 4:
            node[key] = copy.deepcopy(rng.choice(self._values))
        elif action == 4:
            del node[key]
        elif action == 5:
            other, its = rng.choice(found)
            if not isinstance(node[key], dict | list):
                other[its] = node[key]
        elif action == 6 and isinstance(node, dict):
            node[rng.choice(self._names)] = node.pop(key)
        elif action == 7 and isinstance(node, dict):
            node[rng.choice(self._names)] = copy.deepcopy(rng.choice(self._values))
        elif isinstance(node[key], int | float) and abs(node[key]) < 1e300:
            node[key] = rng.choice((node[key] + 1, -node[key], node[key] * 1000, node[key] - 0.5))
        elif isinstance(node[key], str):
            text = node[key]
            at = rng.randint(0, len(text))
            node[key] = text[:at] + rng.choice(("", "0", ".", "Z", " ", "é", "-")) + text[at + 1 :]
        else:
            node[key] = rng.choice(([node[key]], {"a": node[key]}))

    def _spoilt(self, payload: bytes, rng: random.Random) -> bytes:
        spoilt = bytearray(payload)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at, action = rng.randint(0, len(spoilt)), rng.randrange(4)
            if action == 0:
                spoilt[at:at] = rng.choice(self._fragments)
            elif action == 1:
                del spoilt[at : at + rng.randint(1, 8)]
            elif action == 2 and at < len(spoilt):
                spoilt[at] ^= 1 << rng.randrange(8)
            else:
                end = rng.randint(at, min(len(spoilt), at + 40))
                spoilt[at:at] = spoilt[at:end]
        return bytes(spoilt)


def _json(tree: Any, rng: random.Random) -> bytes:
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.7)
    return text.encode("utf-8", "surrogatepass")
