"""The goals of detection, and which of them the figures meet."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.detection.figures import Delays, Results
from benchmarks.detection.own import ALONE, PROMISED, TUNED, tocsin_name
from benchmarks.detection.plan import BUDGET, LONG, RIVAL, Size, short_pane

PROMISE = 1e6 / BUDGET  # false alarms per million events
RATIO_GOALS = {"mean": 1.3, "error": 1.3, "variance": 1.6}  # of medians, to the oracle's


@dataclass(frozen=True, slots=True)
class Beside:
    """Tocsin on one stream, tuned to the same false-alarm rate as those it stands beside."""

    change: str
    process: str
    reference: int
    pane: int
    promised: Delays
    shared: Delays  # tuned, with the budget shared by all streams of the model
    tuned: Delays  # tuned, with all of it for this stream, as the others look at one series
    oracle: Delays | None
    rival: Delays | None

    @property
    def goal(self) -> float | None:
        """The largest ratio to the oracle; None where there is no goal or no oracle."""
        return None if self.oracle is None else RATIO_GOALS.get(self.change.split()[0])

    def ratio(self, own: Delays) -> float:
        """Median delay against the oracle's; not a number where there is none."""
        return own.quantile(0.5) / self.oracle.quantile(0.5) if self.oracle else math.nan

    @property
    def close(self) -> bool | None:
        """Is the ratio's goal met? None where there is none."""
        return None if self.goal is None else self.ratio(self.tuned) <= self.goal

    @property
    def not_behind(self) -> bool | None:
        """Is the median not behind tuned ADWIN's? None where neither finds the change."""
        if self.rival is None:
            return None
        mine, theirs = self.tuned.quantile(0.5), self.rival.quantile(0.5)
        return None if math.isinf(mine) and math.isinf(theirs) else mine <= theirs

    @property
    def found(self) -> bool:
        """Is the change found in every run?"""
        return self.tuned.misses == 0


def beside(
    results: Results, size: Size, reference: int, longest: int | None = None
) -> Iterator[Beside]:
    """Tocsin with this reference on every stream, by default with the shortest panes there are."""
    for unit, process in size.streams():
        for change in size.changes_of(unit):
            key = change.name, process.name
            pane = longest or (short_pane(unit, process) if change.runs is None else LONG)
            promised, shared, tuned = (
                results.delays[*key, tocsin_name(reference, pane, way)]
                for way in (PROMISED, TUNED, ALONE)
            )
            oracle = results.delays.get((*key, "oracle"))
            rival = results.delays.get((*key, f"{RIVAL} tuned"))
            yield Beside(*key, reference, pane, promised, shared, tuned, oracle, rival)
