"""Names that come with the data, such as model versions, as a bounded set of codes."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from agent.intake.values import canonical

OTHER: Final = "other"
_LONGEST = 128  # characters of a name that are kept


class Vocabulary:
    """Codes of names, first come first served; beyond `limit` names every new one is 'other'.

    The code of 'other' is `limit`, so that codes are less than limit + 1. No name (absent, or no
    string or number) is the name ''. Started again with `names`, it gives the same codes.
    """

    def __init__(self, names: Iterable[str] = (), limit: int = 15) -> None:
        self.limit = limit
        self._codes: dict[str, int] = {OTHER: limit}
        self._names: list[str] = []
        for name in names:
            self.code(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that have a code of their own, in code order."""
        return tuple(self._names)

    def name(self, code: int) -> str:
        """The name of a code."""
        return OTHER if code == self.limit else self._names[code]

    def code(self, value: object) -> int:
        """The code of one value, which is learned if there is room."""
        name = version_name(value)
        known = self._codes.get(name)
        if known is not None:
            return known
        if len(self._names) >= self.limit:
            return self.limit
        self._codes[name] = len(self._names)
        self._names.append(name)
        return self._codes[name]

    def codes(self, values: Sequence[object]) -> NDArray[np.int32]:
        """The code of each value, learned in their order: (n,). Values must be hashable."""
        get = self._codes.get
        # The keys are all strings, so that no number can be taken for a name here.
        found = np.array([get(v, -1) for v in values], dtype=np.int32)  # type: ignore[call-overload]
        for row in np.flatnonzero(found < 0).tolist():
            found[row] = self.code(values[row])
        return found


def version_name(value: object) -> str:
    """The name that a value is: text as it is, a number in its canonical spelling, else ''."""
    if isinstance(value, str):
        # A label of a metric has to be text that can be encoded.
        return value[:_LONGEST].encode(errors="replace").decode()
    if value is None or value is UNSET or isinstance(value, bool) or value != value:
        return ""
    return canonical(value)[:_LONGEST] if isinstance(value, int | float) else ""
