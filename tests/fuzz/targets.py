"""What can be fuzzed, by name: valid payloads, how to change them, and what must hold."""

import json
import logging
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from tests.fuzz import configurations, decoders
from tests.fuzz.mutate import Mutator

SEPARATOR = b"\x1e"  # between the payloads of one input of the fuzzer


class Check(Protocol):
    """What must hold."""

    def check(self, payloads: Sequence[bytes]) -> None:
        """AssertionError, or whatever else is raised, where something does not."""


@dataclass(frozen=True)
class Target:
    """Something to throw payloads at."""

    make: Callable[[Path], Check]  # given a folder to work in
    mutator: Mutator
    batch: int  # payloads of one input

    def batch_of(self, known: Sequence[bytes], rng: random.Random) -> list[bytes]:
        """Payloads, each like one of those that are known, or of the seeds."""
        known = known or self.mutator.seeds
        return [self.mutator.mutated(rng.choice(known), rng) for _ in range(self.batch)]


def _table(payload: bytes) -> object:
    """A file of JSON lines as the list of its records."""
    if payload[:1] != b"\x01":
        raise ValueError
    return [json.loads(line) for line in payload[1:].split(b"\n")]


def _lines(tree: object, rng: random.Random) -> bytes:
    if not isinstance(tree, list):
        raise ValueError
    return b"\x01" + b"\n".join(json.dumps(record).encode() for record in tree)


def targets() -> dict[str, Target]:
    """All of them."""
    records = Mutator([*decoders.SEEDS, decoders.TOMBSTONE], decoders.NAMES)
    meeting = Mutator(decoders.MEETING, decoders.NAMES)
    cells = (b",", b'"', b"\n", b"\r", b";", b"nan", b"1e999", b",,,,,,", b"\x00" * 9, b"PAR1")
    tables = Mutator(
        decoders.table_seeds(),
        decoders.NAMES,
        loads=_table,
        dumps=_lines,
        fragments=cells,
    )
    files = Mutator(
        configurations.SEEDS,
        configurations.NAMES,
        configurations.VALUES_OF_CONFIG,
        configurations.loads,
        configurations.dumps,
        configurations.FRAGMENTS,
    )
    return {
        "decoders": Target(decoders.Decoders, records, 200),
        "routing": Target(decoders.Routing, records, 200),
        "pipeline": Target(decoders.Pipelines, meeting, 200),
        "learning": Target(decoders.Learning, meeting, 200),
        "tables": Target(decoders.Tables, tables, 20),
        "configurations": Target(configurations.Configurations, files, 10),
    }


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for a target, in memory where that can be; what the agent logs is dropped."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tocsin-fuzz-", dir=memory) as folder:
        yield Path(folder)


def checked(check: Check, payloads: Sequence[bytes]) -> None:
    """Check; what would only be a warning in the agent's log fails as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check.check(payloads)


def narrowed(check: Check, payloads: Sequence[bytes]) -> list[bytes]:
    """The fewest payloads, found by leaving out, with which the check still fails."""
    kept = list(payloads)
    size = len(kept) // 2
    while size:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            try:
                checked(check, fewer)
                start += size
            except Exception:
                kept = fewer
        size //= 2
    return kept
