"""How much is simulated, and the runs that every detector gets alike."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.detection.figures import Recurrence
from benchmarks.detection.streams import (
    AR5,
    CHANGES,
    INDEPENDENT,
    PROCESSES,
    RECURRING,
    SEASON,
    Change,
    Floats,
    Process,
    seeded,
    series,
)

BUDGET = 100_000  # events in which one false alarm is tolerated
AT = 5_000  # the change comes after so many events, and up to PHASES more
PHASES = 1_000
LONG = 100  # events a pane
OCCURRENCES = 10  # of a change that comes and goes, one after another
PROCESSES_OF = {
    "numeric": PROCESSES,
    "category": (INDEPENDENT, AR5, SEASON),
    "unseen": (INDEPENDENT,),
    "missing": (INDEPENDENT, AR5, SEASON),
    "error": PROCESSES,
    "correlation": (INDEPENDENT, AR5),
    "calibration": (INDEPENDENT, AR5),
}
CONTROL = "every 100,000"
RIVAL = "ADWIN"  # the competitor that goals are on, measured as thoroughly as Tocsin


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated, and of what."""

    references: tuple[int, ...] = (5_000, 50_000)
    draws: int = 20  # references of each size: some ring more than others
    in_control: int = 50_000  # events for each of them
    in_control_short: int = 40_000  # the same, once tuned, with panes of 1
    tuning: int = 2_000_000  # in-control events on which Tocsin and RIVAL are tuned
    tuning_others: int = 400_000  # and on which the other competitors are
    rules: int = 500_000  # in-control events of a competitor
    runs: int = 100
    runs_others: int = 40  # of the other competitors, and of Tocsin with panes of 10
    horizon: int = 10_000  # events after the change; twice that where it is slow
    recurring: int = 20  # runs of OCCURRENCES each
    oracle_runs: int = 300
    oracle_tuning: tuple[int, int] = (3_000, 1_200)
    units: tuple[str, ...] = tuple(PROCESSES_OF)
    processes: tuple[str, ...] = tuple(p.name for p in PROCESSES)
    changes: tuple[str, ...] = tuple(c.name for c in CHANGES)
    rivals: tuple[str, ...] | None = None  # competitors that are measured; None: all

    def changes_of(self, unit: str) -> list[Change]:
        """The changes of a unit's streams that are measured."""
        return [c for c in CHANGES if c.unit == unit and c.name in self.changes]

    def streams(self) -> Iterator[tuple[str, Process]]:
        """The streams that are measured."""
        for unit in self.units:
            for process in PROCESSES_OF[unit]:
                if process.name in self.processes:
                    yield unit, process


def short_pane(unit: str, process: Process) -> int:
    """Events in a short pane: few enough to compare with what looks at every event."""
    return 1 if process is INDEPENDENT and unit in ("numeric", "error") else 10


def control_stream(unit: str, process: Process, n: int, part: object, start: int = 0) -> Floats:
    """Events without a change."""
    return series(unit, process, n, seeded("in control", unit, process.name, part), start)


@dataclass(frozen=True, slots=True)
class Run:
    """One stream that changes after `at` events."""

    values: Floats
    start: int
    at: int


def changing(change: Change, process: Process, runs: int, horizon: int) -> Iterator[Run]:
    """Runs whose change comes at every phase of pane, window and day."""
    after = change.horizon or horizon * (2 if process.rho > 0.8 else 1)
    for i in range(min(runs, change.runs or runs)):
        start, at = 50_000 + 3_700 * i, AT + i * 383 % PHASES
        rng = seeded("changing", change.name, process.name, i)
        values = series(change.unit, process, at + after, rng, start, change, at)
        yield Run(values, start, at)


def occurring(change: Change, process: Process, runs: int) -> Iterator[Run]:
    """Runs in which the change comes and goes OCCURRENCES times."""
    once = replace(change, name=f"{change.name}, again and again", runs=runs)
    yield from changing(replace(once, horizon=OCCURRENCES * RECURRING), process, runs, 0)


def recurrence(change: Change, alarms: list[tuple[int, list[int]]]) -> Recurrence:
    """What runs (when the change first came, and all alarms) found of each occurrence."""
    rows, others = [], 0
    for at, rung in alarms:
        since = np.array([a - at for a in rung if a > at], dtype=int) - 1
        there = since % RECURRING < change.lasts
        counts = np.bincount(since[there] // RECURRING, minlength=OCCURRENCES)
        rows.append(tuple(counts.tolist()))
        others += int((~there).sum())
    return Recurrence(tuple(rows), others)
