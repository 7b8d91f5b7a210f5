"""Values with a unit: durations, rates of alarms, sizes. Each is parsed from text and prints back.

Errors are predicates without the value (`is not a duration: ...`), so that whoever shows one can
decide whether the value may be seen at all.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

_MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
# Weeks are read and not written: labels and documents say 7d.
_WRITTEN = ("d", "h", "m", "s", "ms")
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "Ki": 2**10,
    "KiB": 2**10,
    "Mi": 2**20,
    "MiB": 2**20,
    "Gi": 2**30,
    "GiB": 2**30,
}
_LONGEST = 100 * 366 * _MILLISECONDS["d"]
_LARGEST = 2**50

DURATION = r"[0-9]{1,15}(ms|s|m|h|d|w)"
RATE = rf"[0-9]{{1,9}}(\.[0-9]{{1,9}})? per {DURATION}"
SIZE = r"[0-9]{1,15}(B|kB|KB|MB|GB|Ki|KiB|Mi|MiB|Gi|GiB)"


def parse_duration(value: object) -> int:
    """Milliseconds of a duration such as `500ms`, `10s`, `5m`, `1h`, `30d` or `2w`.

    Raises ValueError where it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("has no unit: write 10s, 5m, 1h or 30d")
    if not isinstance(value, str) or not re.fullmatch(DURATION, value):
        raise ValueError("is not a duration: write a number and its unit, as in 10s, 5m, 1h or 30d")
    number = value.rstrip("mshdw")
    milliseconds = int(number) * _MILLISECONDS[value[len(number) :]]
    if milliseconds > _LONGEST:
        raise ValueError("is longer than a hundred years")
    return milliseconds


def format_duration(milliseconds: int) -> str:
    """The shortest text that reads back as this many milliseconds: 300000 gives `5m`."""
    if milliseconds == 0:
        return "0s"
    unit = next(u for u in _WRITTEN if milliseconds % _MILLISECONDS[u] == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


def parse_size(value: object) -> int:
    """Bytes of a size such as `256MB` (10**6) or `256MiB` (2**20). Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("has no unit: write 256MB or 1GiB")
    if not isinstance(value, str) or not re.fullmatch(SIZE, value):
        raise ValueError("is not a size: write a number and its unit, as in 256MB or 1GiB")
    number = value.rstrip("BkKMGi")
    size = int(number) * _BYTES[value[len(number) :]]
    if size > _LARGEST:
        raise ValueError("is larger than a pebibyte")
    return size


def format_size(size: int) -> str:
    """The shortest text that reads back as this many bytes: 256000000 gives `256MB`."""
    units = ("GB", "GiB", "MB", "MiB", "kB", "KiB", "B")
    unit = min((u for u in units if size % _BYTES[u] == 0), key=lambda u: size // _BYTES[u])
    return f"{size // _BYTES[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something may happen: `count` times in every period."""

    count: float
    period_seconds: float

    @classmethod
    def parse(cls, value: object) -> "Rate":
        """The rate that a text such as `1 per 365d` says. Raises ValueError."""
        if isinstance(value, Rate):
            return value
        if not isinstance(value, str) or not re.fullmatch(RATE, value):
            raise ValueError("is not a rate: write 1 per 30d")
        count, period = value.split(" per ")
        rate = cls(float(count), parse_duration(period) / 1000)
        if rate.count <= 0 or rate.period_seconds <= 0:
            raise ValueError("must be more than nothing, in more than no time: write 1 per 30d")
        return rate

    @property
    def per_second(self) -> float:
        """Expected number in a second."""
        return self.count / self.period_seconds

    def __str__(self) -> str:
        """The text that reads back as this rate."""
        count = f"{Decimal(repr(self.count)):f}"
        count = count.rstrip("0").rstrip(".") if "." in count else count
        return f"{count} per {format_duration(round(self.period_seconds * 1000))}"


def _positive(value: int) -> int:
    if value <= 0:
        raise ValueError("must be longer than nothing")
    return value


DurationMs = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "x-kind": "duration", "pattern": f"^{DURATION}$"}),
]
"""Milliseconds, written `5m` in a file; may be nothing (`0s`)."""

PositiveDurationMs = Annotated[DurationMs, AfterValidator(_positive)]
"""Milliseconds, written `5m` in a file; more than nothing."""

SizeBytes = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "x-kind": "size", "pattern": f"^{SIZE}$"}),
]
"""Bytes, written `256MB` in a file."""

AlarmRate = Annotated[
    Rate,
    PlainValidator(Rate.parse),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "x-kind": "rate", "pattern": f"^{RATE}$"}),
]
"""A `Rate`, written `1 per 30d` in a file."""
