"""The competitors measured, as they come and tuned, and an alarm clock as control."""

import time

import numpy as np

from benchmarks.detection.competitors import every
from benchmarks.detection.field import Competitor, Rule, tuned
from benchmarks.detection.figures import Delays, Rate, Results
from benchmarks.detection.plan import (
    AT,
    BUDGET,
    CONTROL,
    RIVAL,
    Size,
    changing,
    control_stream,
    occurring,
    recurrence,
)
from benchmarks.detection.streams import INDEPENDENT, Change, Floats, Process


def seen(unit: str, values: Floats) -> Floats:
    """What a competitor is given of a stream: of scores and labels the squared error."""
    return (values[:, 0] - values[:, 1]) ** 2 if unit == "calibration" else values


def rule_delays(
    rules: list[Rule], change: Change, process: Process, runs: int, horizon: int, warm: int = AT
) -> Delays:
    """Delays of a competitor; several rules (with a reference each) take turns."""
    events = []
    for i, run in enumerate(changing(change, process, runs, horizon)):
        skip = max(run.at - warm, 0) if warm < AT else 0
        at = run.at - skip
        alarms = rules[i % len(rules)](seen(change.unit, run.values[skip:]), at)
        late = next((a for a in alarms if a > at), None)
        events.append(np.inf if late is None else float(late - at))
    return Delays(tuple(events))


def in_turn(rules: list[Rule]) -> Rule:
    """Each rule on its part of a series: what a small reference misses, no other shares."""

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        length, found = len(values) // len(rules), []
        for part, rule in enumerate(rules):
            start = part * length
            found += [start + event for event in rule(values[start : start + length], None)]
        return found

    return run


def measure_competitor(
    rival: Competitor, unit: str, process: Process, size: Size, results: Results
) -> None:
    if not rival.runs_on(unit, process.name):
        return
    largest = max(size.references)
    references = [
        seen(unit, control_stream(unit, process, largest, ("reference", d))) for d in range(5)
    ]
    variants = {rival.name: [rival.make(r) for r in references]}
    if rival.tunable is not None and unit != "unseen":
        tunable = rival.tunable
        values = control_stream(
            unit, process, _few(rival, size.tuning, size.tuning_others, rival.tuning), "tuning"
        )
        found = tuned(
            lambda s: in_turn([tunable(r, s) for r in references]), seen(unit, values), 1 / BUDGET
        )
        name = f"{rival.name} tuned"
        results.tuned[unit, process.name, name] = rival.parameter(found)
        variants[name] = [tunable(r, found) for r in references]
    for name, rules in variants.items():
        _rule(name, rules, rival, unit, process, size, results)


def _few(rival: Competitor, usual: int, others: int, most: int | None) -> int:
    """The usual number of something for RIVAL, fewer for the others, and not more than `most`."""
    number = usual if rival.name == RIVAL else others
    return min(number, most or number)


def _rule(
    name: str,
    rules: list[Rule],
    rival: Competitor,
    unit: str,
    process: Process,
    size: Size,
    results: Results,
) -> None:
    """Measure one variant of a competitor."""
    n = min(size.rules, rival.in_control or size.rules) // len(rules)
    found, spent = 0, 0.0
    for part, rule in enumerate(rules):
        values = control_stream(unit, process, n, ("rules", part), max(size.references))
        began = time.perf_counter()
        found += len(rule(seen(unit, values), None))
        spent += time.perf_counter() - began
    results.rates[unit, process.name, name] = Rate(found, n * len(rules))
    results.cost.setdefault(name, spent / (n * len(rules)) * 1e6)
    runs = _few(rival, size.runs, size.runs_others, rival.runs)
    horizon = min(size.horizon, rival.horizon or size.horizon)
    warm = min(AT, rival.warm or AT)
    for change in size.changes_of(unit):
        if rival.changes is not None and change.name not in rival.changes:
            continue
        delays = rule_delays(rules, change, process, runs, horizon, warm)
        results.delays[change.name, process.name, name] = delays
        if change.lasts and rival.runs is None:
            rung = [
                (run.at, rules[i % len(rules)](run.values, None))
                for i, run in enumerate(occurring(change, process, size.recurring))
            ]
            results.recurrences[change.name, process.name, name] = recurrence(change, rung)


def measure_control(unit: str, process: Process, size: Size, results: Results) -> None:
    """The alarm clock, at every phase."""
    phases = range(0, BUDGET, BUDGET // size.runs)
    rules = [every(BUDGET, phase) for phase in phases]
    if unit == "numeric" and process is INDEPENDENT:
        rung = every(BUDGET)(np.zeros(size.rules), None)
        results.rates[unit, process.name, CONTROL] = Rate(len(rung), size.rules)
    for change in size.changes_of(unit):
        delays = rule_delays(rules, change, process, size.runs, size.horizon)
        results.delays[change.name, process.name, CONTROL] = delays
