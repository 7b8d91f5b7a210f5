"""What single values mean, whatever format they came in: numbers, categories, labels and ids.

Two sentinels travel beside ordinary values: `UNSET` for a member or column that is not there
(None is one that is there and empty) and `UNUSABLE` for an object or list where a value should be.
"""

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import Enum
from typing import Final

import numpy as np
import xxhash
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from detectors.batch import INVALID, MISSING, UNSEEN

# Beyond this a number is a mistake, and its square would spoil a sum of squares.
LARGEST: Final = 1e30
LONGEST_ID: Final = 1024  # bytes

NONE: Final = type(None)
_DECIMAL = re.compile(r"(-?(?:0|[1-9][0-9]*))\.([0-9]+)")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


class _Unusable(Enum):
    UNUSABLE = "unusable"


UNUSABLE: Final = _Unusable.UNUSABLE


class Unreadable(str):
    """A table's cell that stands for a row that could not be read; its text is the row's excerpt.

    Every cell of such a row is one, so that looking at any one column finds it.
    """


def canonical(value: object) -> str:
    """The one spelling of a category or class: 1, 1.0, '1' and '1.0' are all '1'.

    Booleans, and strings that spell one in any case, are 'true' and 'false'. Strings with leading
    zeros or exponents are names and stay as they are.
    """
    if isinstance(value, str):
        if len(value) <= 5 and (lower := value.lower()) in ("true", "false"):
            return lower
        if len(value) <= 32 and (match := _DECIMAL.fullmatch(value)):
            whole, fraction = match.groups()
            if fraction.strip("0"):
                return repr(float(value))
            return "0" if whole == "-0" else whole
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e22:
            return str(int(value))
        return repr(float(value))
    if isinstance(value, Decimal):
        return canonical(format(value, "f"))
    return str(value)


def writable(name: str) -> bool:
    """Whether a name can be written down: JSON may bring half a surrogate pair."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def number(value: object, *, text: bool) -> float:
    """A value as a float: NaN if missing, infinite if it is no number.

    With `text` (tables) a string that spells a number is that number.
    """
    if value is None or value is UNSET:
        return math.nan
    if isinstance(value, str):
        if not text:
            return math.inf
        if not value:
            return math.nan
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal | np.number):
        return math.inf
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.inf


def numbers(values: Sequence[object], *, text: bool) -> NDArray[np.float64]:
    """`number` of each value: (n,)."""
    kinds = set(map(type, values))
    try:
        if kinds <= {float, int, NONE}:
            return np.array(values, dtype=np.float64)
        if text and kinds <= {str, NONE}:
            cells = [float(v or "nan") for v in values]  # type: ignore[arg-type]
            return np.array(cells, dtype=np.float64)
    except (ValueError, OverflowError):
        pass
    return np.array([number(v, text=text) for v in values], dtype=np.float64)


def missing(value: object) -> bool:
    """Whether a value of a table or record is not there: None, UNSET, NaN or the empty string."""
    return value is None or value is UNSET or value == "" or value != value


def _spellings(name: str) -> Iterable[object]:
    """Other values that mean the same category as `name`; numbers before booleans."""
    if len(name) <= 400 and _INTEGER.fullmatch(name):
        yield int(name)
        yield f"{name}.0"
        return
    try:
        value = float(name)
    except ValueError:
        return
    if math.isfinite(value) and canonical(value) == name:
        yield value


class CodeTable:
    """Codes of known names, with a cell each for values that are unseen, missing and invalid.

    True and 1 are the same key to Python, so categories '1' and 'true' of one feature cannot be
    told apart in JSON booleans; the number wins.
    """

    def __init__(self, names: Sequence[str], *, unseen: int, missing: int, invalid: int) -> None:
        self._unseen, self._missing, self._invalid = unseen, missing, invalid
        codes: dict[object, int] = {None: missing, UNSET: missing, UNUSABLE: invalid}
        for code, name in enumerate(names):
            codes.setdefault(name, code)
        for code, name in enumerate(names):
            codes.setdefault(canonical(name), code)
        for code, name in enumerate(names):
            for key in _spellings(name):
                codes.setdefault(key, code)
        for text, value in (("true", True), ("false", False)):
            if text in codes:
                for key in (value, text.title(), text.upper()):
                    codes.setdefault(key, codes[text])
        self._codes = codes

    def set(self, value: str, code: int) -> None:
        """Let a value have that code, whatever it had."""
        self._codes[value] = code

    def alias(self, known: str, other: str) -> None:
        """Let `other` mean what `known` means, if that is known and `other` is not."""
        if known in self._codes:
            self._codes.setdefault(other, self._codes[known])

    def code(self, value: object) -> int:
        """The code of one value."""
        if value is None or value is UNSET or value != value:
            return self._missing
        if not isinstance(value, str | int | float | Decimal | np.generic):
            return self._invalid
        known = self._codes.get(value)
        if known is None:
            known = self._codes.get(canonical(value), self._unseen)
        return known

    def codes(self, values: Sequence[object]) -> NDArray[np.int32]:
        """The code of each value: (n,). Values must be hashable."""
        get, unknown = self._codes.get, -(2**31)
        found = np.array([get(v, unknown) for v in values], dtype=np.int32)
        for row in np.flatnonzero(found == unknown).tolist():
            found[row] = self.code(values[row])
        return found


def category_table(categories: Sequence[str]) -> CodeTable:
    """Codes of a categorical feature: K categories, then the cells unseen, missing and invalid.

    The empty string is missing, as a table cannot tell the two apart.
    """
    k = len(categories)
    table = CodeTable(categories, unseen=k + UNSEEN, missing=k + MISSING, invalid=k + INVALID)
    table.set("", k + MISSING)
    return table


CLASS_UNKNOWN, CLASS_MISSING, CLASS_INVALID = -1, -2, -3


def label_table(classes: Sequence[str]) -> CodeTable:
    """Codes of a classifier's labels; negative where a value is no class. '1' and 'true' agree."""
    table = CodeTable(classes, unseen=CLASS_UNKNOWN, missing=CLASS_MISSING, invalid=CLASS_INVALID)
    for digit, word in (("1", "true"), ("0", "false")):
        table.alias(digit, word)
        table.alias(word, digit)
        table.alias(word, f"{digit}.0")
    return table


def hash_id(value: object) -> int | None:
    """The 64-bit hash of an id, a string or a whole number; None if it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
        return None
    try:
        encoded = str(value).encode()
    except ValueError:  # a lone surrogate, or digits without end
        return None
    return xxhash.xxh3_64_intdigest(encoded) if len(encoded) <= LONGEST_ID else None


def hash_ids(
    values: Sequence[object],
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Hashes of ids, and which of them are missing (none or empty) and which are no id: (n,) each.

    5 and '5' are the same id. A hash where there is no id is 0.
    """
    n, digest = len(values), xxhash.xxh3_64_intdigest
    if set(map(type, values)) == {str}:
        lengths = np.fromiter(map(len, values), np.int64, n)  # type: ignore[arg-type]
        if lengths.min() > 0 and lengths.max() * 4 <= LONGEST_ID:
            try:
                hashes = np.array([digest(v.encode()) for v in values], np.uint64)  # type: ignore[attr-defined]
            except UnicodeEncodeError:
                pass
            else:
                return hashes, np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    absent = np.array([v is None or v is UNSET or v == "" for v in values], dtype=np.bool_)
    found = [hash_id(v) for v in values]
    bad = np.array([h is None for h in found], dtype=np.bool_) & ~absent
    hashes = np.array([h or 0 for h in found], dtype=np.uint64)
    hashes[absent] = 0
    return hashes, absent, bad


def hashable(values: Sequence[object]) -> Sequence[object]:
    """The values of a table's column as codes and times want them: '' is None, lists unusable."""
    kinds = set(map(type, values))
    if kinds <= {str, NONE}:
        return [v or None for v in values]
    if kinds <= {int, float, bool, NONE}:
        return values
    allowed = (str, int, float, Decimal, np.generic, UnsetType, NONE)
    return [
        None if type(v) is str and not v else v if isinstance(v, allowed) else UNUSABLE
        for v in values
    ]
