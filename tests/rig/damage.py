"""Checkpoints damaged on purpose, on any medium."""

from collections.abc import Mapping

from agent.checkpoint.medium import Medium
from agent.checkpoint.store import HEADER


def records(medium: Medium, name: str) -> Mapping[str, bytes]:
    """All records of a name, by whole key."""
    found = medium.load([name])
    assert found is not None, medium.problem
    return {f"{name}/{rest}": value for rest, value in found[name].items()}


def newest(medium: Medium, name: str) -> list[str]:
    """Keys of the records of the newest checkpoint of a name: of its highest claim and sequence."""

    def age(item: tuple[str, bytes]) -> tuple[int, int]:
        key, value = item
        return int(key.split("/")[1]), int(HEADER.unpack_from(value)[2])

    found = records(medium, name)
    latest = max(map(age, found.items()))
    return [key for key, value in found.items() if age((key, value)) == latest]
