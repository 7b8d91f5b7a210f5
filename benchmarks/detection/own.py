"""Tocsin measured: at its promise, and tuned to as many false alarms as its rivals."""

from dataclasses import replace

import numpy as np

from benchmarks.detection.figures import Delays, Rate, Recurrence, Results
from benchmarks.detection.judge import Alarm, whole
from benchmarks.detection.plan import (
    BUDGET,
    LONG,
    Size,
    changing,
    control_stream,
    occurring,
    recurrence,
    short_pane,
)
from benchmarks.detection.streams import INDEPENDENT, Change, Process, seeded
from benchmarks.detection.tocsin import Setting, Watch, pane_ends
from benchmarks.detection.tuning import Trial, multiplier

PROMISED, TUNED, ALONE = "", ", tuned", ", alone tuned"  # ways to set the budget


def tocsin_name(reference: int, pane: int, way: str = PROMISED) -> str:
    """Name of Tocsin with this reference, so many events a pane and the budget set this way."""
    panes = f"panes of {pane}" if pane == LONG else "short panes"
    return f"Tocsin {reference:,}, {panes}{way}"


def tune(
    watches: list[Watch],
    process: Process,
    events: int,
    pane: int,
    often: int = BUDGET,
    ways: tuple[bool, ...] = (False,),
) -> list[Setting]:
    """Settings, alone or not, with which Tocsin rings once in `often` in-control events."""
    n = events // len(watches)
    evidence = []
    for draw, watch in enumerate(watches):
        start = watch.reference
        values = control_stream(watch.unit, process, n, ("tocsin tuning", draw), start)
        rng = seeded("rest of tuning", draw)
        evidence.append(whole(list(watch.evidence(values, start, pane_ends(n, pane), rng))))
    found = []
    for alone in ways:
        budgets = [watch.budget(Setting(alone=alone)) for watch in watches]
        times = multiplier(Trial(budgets, evidence), n * len(watches) // often)
        found.append(Setting(times, alone))
    return found


def tocsin_rates(
    watches: list[Watch], process: Process, n: int, pane: int, settings: tuple[Setting, ...]
) -> tuple[list[Rate], float]:
    """False alarms of n events for each reference, with these settings of the budget.

    Also seconds an event that one of them takes.
    """
    found, spent = np.zeros(len(settings), dtype=int), 0.0
    for draw, watch in enumerate(watches):
        start, watch.seconds = watch.reference, 0.0
        values = control_stream(watch.unit, process, n, (draw, start), start)
        judges = watch.judges(start, settings)
        for part in watch.evidence(values, start, pane_ends(n, pane), seeded("rest", draw)):
            for judge in judges:
                judge.see(part)
        found += [len(judge.alarms) for judge in judges]
        spent += watch.seconds + judges[0].seconds
    events = len(watches) * n
    return [Rate(int(f), events) for f in found], spent / events


def tocsin_delays(
    watches: list[Watch],
    change: Change,
    process: Process,
    size: Size,
    pane: int,
    settings: tuple[Setting, ...] = (Setting(),),
) -> list[Delays]:
    """Delays of Tocsin with these settings of the budget; the references take turns."""
    late: list[list[Alarm | None]] = [[] for _ in settings]
    ats = []
    for i, run in enumerate(changing(change, process, size.runs, size.horizon)):
        watch, rng = watches[i % len(watches)], seeded("rest of", change.name, process.name, i)
        judges = watch.judges(run.start, settings, stop_after=run.at)
        ends = pane_ends(len(run.values), pane, run.at)
        for part in watch.evidence(run.values, run.start, ends, rng):
            for judge in judges:
                judge.see(part)
            if all(judge.done for judge in judges):
                break
        for found, judge in zip(late, judges, strict=True):
            found.append(judge.late)
        ats.append(run.at)
    return [
        Delays(
            tuple(
                np.inf if a is None else float(a.event - at) for a, at in zip(one, ats, strict=True)
            ),
            sum(a is not None and watches[0].is_right(a) for a in one),
        )
        for one in late
    ]


def tocsin_recurrences(
    watches: list[Watch],
    change: Change,
    process: Process,
    runs: int,
    settings: tuple[Setting, ...],
) -> list[Recurrence]:
    """The same of Tocsin, with the budget latching as in production."""
    found: list[list[tuple[int, list[int]]]] = [[] for _ in settings]
    for i, run in enumerate(occurring(change, process, runs)):
        watch, rng = watches[i % len(watches)], seeded("rest of", change.name, process.name, i)
        judges = watch.judges(run.start, settings, latching=True)
        for part in watch.evidence(run.values, run.start, pane_ends(len(run.values), LONG), rng):
            for judge in judges:
                judge.see(part)
        for one, judge in zip(found, judges, strict=True):
            one.append((run.at, [a.event for a in judge.alarms if watch.is_right(a)]))
    return [recurrence(change, one) for one in found]


def measure_tocsin(
    unit: str, process: Process, reference: int, size: Size, results: Results
) -> None:
    """Everything of Tocsin with references of this size."""
    watches = [Watch(unit, process, reference, d, BUDGET) for d in range(size.draws)]
    for pane in (LONG, short_pane(unit, process)):
        _with_panes(watches, process, pane, size, results)


def _with_panes(
    watches: list[Watch], process: Process, pane: int, size: Size, results: Results
) -> None:
    """Measure Tocsin at its promise and tuned, with panes of so many events."""
    unit, reference = watches[0].unit, watches[0].reference
    names = [tocsin_name(reference, pane, way) for way in (PROMISED, TUNED, ALONE)]
    # Long panes are cheap to try, so that they are tuned on more.
    events = size.tuning * (2 if pane == LONG else 1)
    settings = (Setting(), *tune(watches, process, events, pane, ways=(False, True)))
    for name, setting in zip(names[1:], settings[1:], strict=True):
        results.tuned[unit, process.name, name] = f"budget x{setting.multiplier:.3g}"
    rates, cost = tocsin_rates(watches, process, size.in_control, pane, settings[:1])
    n = size.in_control_short if pane == 1 else size.in_control
    rates += tocsin_rates(watches, process, n, pane, settings[1:])[0]
    if unit == "numeric" and process is INDEPENDENT:
        results.cost[f"Tocsin {reference:,}, panes of {pane}"] = cost * 1e6
    for name, rate in zip(names, rates, strict=True):
        results.rates[unit, process.name, name] = rate
    runs = size.runs_others if pane == 10 else size.runs
    for change in size.changes_of(unit):
        if change.runs is None or pane == LONG:
            few = replace(size, runs=runs)
            made = tocsin_delays(watches, change, process, few, pane, settings)
            for name, delays in zip(names, made, strict=True):
                results.delays[change.name, process.name, name] = delays
        if change.lasts and pane == LONG:
            found = tocsin_recurrences(watches, change, process, size.recurring, settings)
            for name, one in zip(names, found, strict=True):
                results.recurrences[change.name, process.name, name] = one
