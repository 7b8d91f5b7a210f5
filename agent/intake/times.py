"""Event times: RFC 3339 text or epoch milliseconds to whole milliseconds since the epoch (UTC)."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

# Not times: the value is not there; it is there and no time between 1970 and 2200.
ABSENT: Final = -1
BAD: Final = -2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_END = (datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND

# Where the usual text has punctuation: YYYY-MM-DDThh:mm:ss
_DIGITS = [i for i in range(19) if i not in (4, 7, 10, 13, 16)]


def parse_time(value: object) -> int:
    """One time in milliseconds, rounded down; ABSENT or BAD.

    Text without a zone is UTC. A string of digits is epoch milliseconds, unless it has just eight
    (a date).
    """
    if value is None or value is UNSET:
        return ABSENT
    if isinstance(value, str):
        return _parse_text(value) if value else ABSENT
    if isinstance(value, datetime):
        return _from_datetime(value)
    if isinstance(value, date):
        return _from_datetime(datetime(value.year, value.month, value.day))
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | np.number):
        return BAD
    return _in_range(value)


def _in_range(value: Any) -> int:
    try:
        time = math.floor(value)
    except (ValueError, OverflowError, ArithmeticError):
        return BAD
    return time if 0 <= time < _END else BAD


def _parse_text(text: str) -> int:
    if len(text) != 8:
        try:
            return _in_range(float(text) if not text.isdecimal() else int(text))
        except ValueError:
            pass
    try:
        return _from_datetime(datetime.fromisoformat(text))
    except ValueError:
        pass
    # RFC 3339 also allows lower case and leap seconds, which Python does not read.
    text, leap = text.upper(), text[17:19] == "60"
    if leap:
        text = text[:17] + "59" + text[19:]
    try:
        time = _from_datetime(datetime.fromisoformat(text))
    except ValueError:
        return BAD
    return time + 1000 if leap and time >= 0 else time


def _from_datetime(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return _in_range((moment - _EPOCH) // _MILLISECOND)
    except OverflowError:
        return BAD


def parse_times(values: Sequence[object]) -> NDArray[np.int64]:
    """`parse_time` of each value: (n,)."""
    kinds = set(map(type, values))
    times: NDArray[np.int64] | None = None
    if kinds == {int}:
        try:
            times = np.array(values, dtype=np.int64)
        except OverflowError:
            times = None
    elif kinds == {str}:
        times = _parse_uniform(values)  # type: ignore[arg-type]
    if times is None:
        return np.array([parse_time(v) for v in values], dtype=np.int64)
    times[(times < 0) | (times >= _END)] = BAD
    return times


def _parse_uniform(values: Sequence[str]) -> NDArray[np.int64] | None:
    """Times of text that is all laid out like the first, in UTC; None if it is not.

    Five times as fast as one by one, for what nearly all producers send.
    """
    first = values[0]
    zone = next((z for z in ("Z", "+00:00") if first.endswith(z)), "")
    width, end = len(first), len(first) - len(zone)
    fraction = end - 20
    if end < 19 or fraction == 0 or width > 40 or set(map(len, values)) != {width}:
        return None
    try:
        text = np.frombuffer("".join(values).encode("ascii"), np.uint8).reshape(-1, width)
    except ValueError:
        return None
    digits = _DIGITS + list(range(20, end))
    separator = text[:, 10]
    regular = (
        ((text[:, digits] - ord("0")) <= 9).all()
        and (text[:, [4, 7]] == ord("-")).all()
        and (text[:, [13, 16]] == ord(":")).all()
        and ((separator == ord("T")) | (separator == ord(" "))).all()
        and (fraction < 0 or (text[:, 19] == ord(".")).all())
        and (text[:, end:] == np.frombuffer(zone.encode(), np.uint8)).all()
    )
    if not regular:
        return None
    length = min(end, 23)  # whole milliseconds
    cut = np.ascontiguousarray(text[:, :length]).view(f"S{length}").ravel()
    try:
        return cut.astype("datetime64[ms]").astype(np.int64)
    except ValueError:
        return None
