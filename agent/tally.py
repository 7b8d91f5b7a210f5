"""Counts of a model's records as a process tells them: they never fall while it lives.

What a partition has counted is part of its state: it goes to another agent with the partition, and
back to the last checkpoint where that is restored. Whoever computes rates takes a count that falls
for one that has begun anew, and all of it for new. Here partitions that have gone keep what was
counted, what others have counted is left out, and what is read again is not counted before it
exceeds what was told.

Without others, counts are those of the state, from before this process as well.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from agent.fold import Fold

Key = tuple[str, ...]  # what is counted, and of which version, topic, outcome or bucket
Numbers = Counter[Key]


def numbers(fold: Fold) -> Numbers:
    """All that a partition has counted."""
    counters, join = fold.counters, fold.join
    found: Numbers = Counter()
    for name in ("predictions", "late", "latency_sum"):
        found.update({(name, key): n for key, n in getattr(counters, name).items()})
    found.update({("rejected", *key): n for key, n in counters.rejected.items()})
    found.update({("feedback", outcome): n for outcome, n in join.counts.items()})
    found.update({("delay", str(b)): n for b, n in enumerate(join.delays.tolist())})
    found["delay_sum",] = join.delay_sum
    for version, counts in counters.latency.items():
        found.update({("latency", version, str(b)): n for b, n in enumerate(counts.tolist())})
    return found


def total(parts: Iterable[Numbers]) -> Numbers:
    """All of them together."""
    found: Numbers = Counter()
    for counts in parts:
        found.update(counts)
    return found


def part(counts: Numbers, name: str) -> dict[Key, int]:
    """Of what is counted under that name: by the rest of the key."""
    return {key[1:]: n for key, n in counts.items() if key[0] == name}


class Tally:
    """What one process tells of one model, whichever of its partitions are at hand."""

    def __init__(self) -> None:
        self._told: dict[int, Numbers] = {}
        self._base: dict[int, Numbers] = {}  # of what a partition has counted: not told here
        self._last: dict[int, Numbers] = {}
        self._saved: dict[int, Numbers] = {}  # told when there was a checkpoint last
        self._held: set[int] = set()  # at hand when it was last told

    def place(self, folds: Mapping[int, Fold], held: Iterable[int], is_shared: bool) -> None:
        """These partitions are at hand from now on; `folds` has the state of those that have one.

        Where the work `is_shared`, others have counted what a state says that comes from elsewhere.
        """
        for number in held:
            raw = numbers(folds[number]) if number in folds else Counter()
            base = self._base.setdefault(number, raw.copy() if is_shared else Counter())
            if not +raw:  # nothing is remembered: what comes follows the last checkpoint there was
                saved = self._saved.get(number, Counter())
                self._base[number] = Counter({key: -n for key, n in saved.items()})
            elif is_shared and number in self._last:
                base.update(raw - self._last[number])  # counted elsewhere since it was last here

    def told(self, folds: Mapping[int, Fold]) -> Numbers:
        """What is to be told now, of all partitions together."""
        self._held = set(folds)
        for number, fold in folds.items():
            self._last[number] = raw = numbers(fold)
            new = raw.copy()
            new.subtract(self._base.get(number, {}))
            self._told[number] = self._told.get(number, Counter()) | new
        return total(self._told.values())

    def saved(self) -> None:
        """There is a checkpoint of what was last told."""
        self._saved |= {number: self._told[number] for number in self._held & self._told.keys()}
