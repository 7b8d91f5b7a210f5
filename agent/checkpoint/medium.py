"""Where checkpoints are kept: keys and values, durable once `put` says so."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Medium(Protocol):
    """A store of records by key. None of its methods raises; each is bounded in time.

    A key is NAME/CLAIM/SLOT/CHUNK; NAME may be anything without a slash.
    """

    @property
    def problem(self) -> str:
        """Why it did not do what it was last asked, in one line; empty where it did."""

    def claim(self, names: Sequence[str]) -> Mapping[str, int] | None:
        """A number for each name, larger than any that was given out for it before, by anybody.

        None where that is not possible now.
        """

    def load(self, names: Sequence[str]) -> Mapping[str, Mapping[str, bytes]] | None:
        """Of each name: the rest of the keys that it has, and their values; None as above."""

    def put(self, entries: Sequence[tuple[str, bytes | None]]) -> bool:
        """Write records in this order, None deletes; whether all of them are durable."""

    def close(self) -> None:
        """Free everything; safe to call twice."""


class Memory:
    """A medium that ends with the process, for tests and for trying things out."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self._claims: dict[str, int] = {}
        self.problem = ""

    def claim(self, names: Sequence[str]) -> dict[str, int]:
        """See `Medium`."""
        for name in names:
            self._claims[name] = self._claims.get(name, 0) + 1
        return {name: self._claims[name] for name in names}

    def load(self, names: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """See `Medium`."""
        found: dict[str, dict[str, bytes]] = {name: {} for name in names}
        for key, value in self.records.items():
            name, _, rest = key.partition("/")
            if name in found:
                found[name][rest] = value
        return found

    def put(self, entries: Sequence[tuple[str, bytes | None]]) -> bool:
        """See `Medium`."""
        for key, value in entries:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        return True

    def close(self) -> None:
        """See `Medium`."""
