"""Measures every detector on every stream: false alarms in control, and delays after a change."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import chi2

from benchmarks.detection import competitors, oracle
from benchmarks.detection.competitors import Rule
from benchmarks.detection.streams import (
    AR5,
    INDEPENDENT,
    MARKS,
    NUMERIC,
    PROCESSES,
    SEASON,
    Change,
    Floats,
    Process,
    seeded,
    series,
)
from benchmarks.detection.tocsin import Watch

BUDGET = 100_000  # events in which one false alarm is tolerated
AT = 5_000  # the change comes after so many events, and up to WINDOW more
PROCESSES_OF = {
    "numeric": PROCESSES,
    "category": (INDEPENDENT, AR5, SEASON),
    "unseen": (INDEPENDENT,),
    "missing": (INDEPENDENT, AR5, SEASON),
    "error": PROCESSES,
}
KSWIN_ON = ("mean +0.5 sd", "mean +1 sd", "variance x1.5")
KSWIN_WARM = 300  # its window holds 100 events


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated."""

    references: tuple[int, ...] = (5_000, 50_000)
    draws: int = 10  # references of each size
    in_control: int = 100_000  # events for each of them
    in_control_short: int = 40_000  # the same with panes of 10 events
    rules: int = 500_000  # in-control events of a competitor
    kswin: int = 10_000
    tuning: int = 400_000
    runs: int = 100
    runs_short: int = 40  # with panes of 10 events, and of slow competitors
    runs_kswin: int = 8
    horizon: int = 10_000  # events after the change; twice that where it is slow
    oracle_runs: int = 300
    oracle_tuning: tuple[int, int] = (3_000, 1_200)


@dataclass(frozen=True, slots=True)
class Rate:
    """Alarms among in-control events."""

    alarms: int
    events: int

    @property
    def per_million(self) -> float:
        """Alarms in a million events."""
        return self.alarms / self.events * 1e6

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95% Poisson interval of `per_million` (Garwood, 1936)."""
        low = chi2.ppf(0.025, 2 * self.alarms) / 2 if self.alarms else 0.0
        high = chi2.ppf(0.975, 2 * self.alarms + 2) / 2
        return float(low / self.events * 1e6), float(high / self.events * 1e6)


@dataclass(frozen=True, slots=True)
class Delays:
    """Events from change to alarm of each run; infinite where none came."""

    events: tuple[float, ...]
    right: int | None = None  # runs whose alarm named the stream that changed

    def quantile(self, share: float) -> float:
        """The delay that this share of the runs does not exceed; infinite for a miss."""
        return float(np.quantile(self.events, share, method="inverted_cdf"))

    @property
    def misses(self) -> int:
        """Runs without an alarm."""
        return int(np.isinf(self.events).sum())


@dataclass(slots=True)
class Results:
    """All figures, by (unit or change, process, detector)."""

    rates: dict[tuple[str, str, str], Rate] = field(default_factory=dict)
    delays: dict[tuple[str, str, str], Delays] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)  # microseconds an event
    deltas: dict[tuple[str, str], float] = field(default_factory=dict)
    seconds: float = 0.0


def tocsin_name(reference: int, pane: int) -> str:
    """Name of Tocsin with this reference and so many events a pane."""
    return f"Tocsin {reference:,}, panes of {pane}"


def control_stream(unit: str, process: Process, n: int, part: object, start: int = 0) -> Floats:
    """Events without a change."""
    return series(unit, process, n, seeded("in control", unit, process.name, part), start)


def tocsin_rate(watches: list[Watch], process: Process, n: int, pane: int) -> Rate:
    """False alarms of n events for each reference."""
    found = 0
    for draw, watch in enumerate(watches):
        watch.seconds, watch.events = 0.0, 0
        start = watch.reference
        values = control_stream(watch.unit, process, n, (draw, start), start)
        found += len(watch.alarms(values, start, pane, seeded("rest", draw)))
    return Rate(found, len(watches) * n)


@dataclass(frozen=True, slots=True)
class Run:
    """One stream that changes after `at` events."""

    values: Floats
    start: int
    at: int


def changing(change: Change, process: Process, runs: int, horizon: int) -> Iterator[Run]:
    """Runs whose change comes at every phase of pane, window and day."""
    twice = change.over > 1_000 or process.rho > 0.8
    for i in range(runs):
        start, at = 50_000 + 3_700 * i, AT + i * 383 % competitors.WINDOW
        n = at + horizon * (2 if twice else 1)
        rng = seeded("changing", change.name, process.name, i)
        yield Run(series(change.unit, process, n, rng, start, change, at), start, at)


def tocsin_delays(
    watches: list[Watch], change: Change, process: Process, runs: int, horizon: int, pane: int
) -> Delays:
    """Delays of Tocsin; the references take turns."""
    events, right = [], 0
    for i, run in enumerate(changing(change, process, runs, horizon)):
        watch = watches[i % len(watches)]
        rng = seeded("rest of", change.name, process.name, i)
        alarms = watch.alarms(run.values, run.start, pane, rng, stop_after=run.at)
        last = alarms[-1] if alarms and alarms[-1].event > run.at else None
        events.append(np.inf if last is None else float(last.event - run.at))
        right += last is not None and last.right
    return Delays(tuple(events), right)


def rule_delays(
    rules: list[Rule], change: Change, process: Process, runs: int, horizon: int, warm: int = AT
) -> Delays:
    """Delays of a competitor; several rules (with a reference each) take turns."""
    events = []
    for i, run in enumerate(changing(change, process, runs, horizon)):
        skip = max(run.at - warm, 0) if warm < AT else 0
        at = run.at - skip
        alarms = rules[i % len(rules)](run.values[skip:], at)
        late = alarms[-1] if alarms and alarms[-1] > at else None
        events.append(np.inf if late is None else float(late - at))
    return Delays(tuple(events))


def oracle_delays(change: Change, process: Process, size: Size) -> Delays:
    """Delays of the CUSUM that knows all, at Tocsin's promised rate of false alarms."""
    rng = seeded("oracle", change.name, process.name)
    limit = oracle.cusum_limit(change, process, 1 / BUDGET, rng, size.oracle_tuning)
    n = oracle.WARM + size.horizon * (2 if process.rho > 0.8 else 1)
    steps = oracle.simulate(change, process, (size.oracle_runs, n), rng, oracle.WARM)
    return Delays(tuple(oracle.delays(steps, limit, oracle.WARM).tolist()))


def has_oracle(change: Change, process: Process) -> bool:
    """Is its recursion exact: no ramp, no rate with dependence, something to compare with?"""
    if change.form is None:
        return process is INDEPENDENT and change.unit != "unseen"
    return not change.over


def competing(unit: str, process: Process, size: Size, results: Results) -> dict[str, list[Rule]]:
    """The competitors on a stream, tuned where they are."""
    found: dict[str, list[Rule]] = {"ADWIN": [competitors.adwin()]}
    if unit != "unseen":
        values = control_stream(unit, process, size.tuning, "tuning")
        delta = competitors.tuned_delta(values, 1 / BUDGET)
        results.deltas[unit, process.name] = delta
        found["ADWIN tuned"] = [competitors.adwin(delta)]
    found["PageHinkley"] = [competitors.page_hinkley()]
    if unit == "error":
        found["DDM"] = [competitors.ddm()]
    largest = max(size.references)
    references = [control_stream(unit, process, largest, ("reference", d)) for d in range(5)]
    found["PSI > 0.2"] = [competitors.psi(r) for r in references]
    if unit == "numeric":
        found["KS p < .05"] = [competitors.kolmogorov_smirnov(r) for r in references]
    found["every 100,000"] = [
        competitors.every(BUDGET, phase) for phase in range(0, BUDGET, BUDGET // size.runs)
    ]
    return found


def measure(size: Size) -> Results:
    """Everything, in some minutes."""
    began, results = time.perf_counter(), Results()
    for unit, processes in PROCESSES_OF.items():
        changes = [c for c in (*NUMERIC, *MARKS) if c.unit == unit]
        for process in processes:
            _tocsin(unit, process, changes, size, results)
            _rules(unit, process, changes, size, results)
            for change in changes:
                if has_oracle(change, process):
                    key = change.name, process.name, "oracle"
                    # Season is what the oracle takes out: what is left is independent.
                    law = INDEPENDENT if process is SEASON else process
                    known = results.delays.get((change.name, law.name, "oracle"))
                    results.delays[key] = known or oracle_delays(change, law, size)
            spent = time.perf_counter() - began
            print(f"{unit}, {process.name}: {spent:.0f} s", flush=True)
    results.seconds = time.perf_counter() - began
    return results


def _tocsin(
    unit: str, process: Process, changes: list[Change], size: Size, results: Results
) -> None:
    for reference in size.references:
        watches = [Watch(unit, process, reference, d, BUDGET) for d in range(size.draws)]
        name = tocsin_name(reference, 100)
        rate = tocsin_rate(watches, process, size.in_control, 100)
        results.rates[unit, process.name, name] = rate
        _cost(results, unit, process, watches, name)
        for change in changes:
            found = tocsin_delays(watches, change, process, size.runs, size.horizon, 100)
            results.delays[change.name, process.name, name] = found
        name, goals = tocsin_name(reference, 10), ("mean", "variance", "error")
        largest = reference == max(size.references)
        if process is INDEPENDENT or (process is SEASON and largest):
            rate = tocsin_rate(watches, process, size.in_control_short, 10)
            results.rates[unit, process.name, name] = rate
            _cost(results, unit, process, watches, name)
        # Where delays are long, short panes gain little; here they tell.
        if not (process is INDEPENDENT or (process is SEASON and largest)):
            continue
        for change in changes:
            if unit != "numeric" or change.name.startswith(goals):
                found = tocsin_delays(watches, change, process, size.runs_short, size.horizon, 10)
                results.delays[change.name, process.name, name] = found


def _cost(results: Results, unit: str, process: Process, watches: list[Watch], name: str) -> None:
    """Note the cost of the run in control that the watches have just made."""
    seconds, events = sum(w.seconds for w in watches), sum(w.events for w in watches)
    if unit == "numeric" and process is INDEPENDENT:
        results.cost[name] = seconds / events * 1e6


def _rules(
    unit: str, process: Process, changes: list[Change], size: Size, results: Results
) -> None:
    for name, rules in competing(unit, process, size, results).items():
        found, share = 0, size.rules // len(rules)
        if name == "every 100,000":
            rules_in_control, share = rules[:1], size.rules
        else:
            rules_in_control = rules
        began = time.perf_counter()
        made = 0.0
        for part, rule in enumerate(rules_in_control):
            before = time.perf_counter()
            values = control_stream(unit, process, share, ("rules", part), max(size.references))
            made += time.perf_counter() - before
            found += len(rule(values, None))
        events = share * len(rules_in_control)
        if name != "every 100,000" or (unit == "numeric" and process is INDEPENDENT):
            results.rates[unit, process.name, name] = Rate(found, events)
        if process is INDEPENDENT and unit == ("error" if name == "DDM" else "numeric"):
            results.cost[name] = (time.perf_counter() - began - made) / events * 1e6
        slow = name in ("PageHinkley", "DDM")
        for change in changes:
            runs = size.runs_short if slow else size.runs
            found_delays = rule_delays(rules, change, process, runs, size.horizon)
            results.delays[change.name, process.name, name] = found_delays
    if unit == "numeric" and process is INDEPENDENT:
        _kswin(changes, size, results)


def _kswin(changes: list[Change], size: Size, results: Results) -> None:
    """KSWIN costs nearly a millisecond an event, so few events and few streams."""
    rule, began = competitors.kswin(), time.perf_counter()
    found = len(rule(control_stream("numeric", INDEPENDENT, size.kswin, "kswin"), None))
    results.cost["KSWIN"] = (time.perf_counter() - began) / size.kswin * 1e6
    results.rates["numeric", INDEPENDENT.name, "KSWIN"] = Rate(found, size.kswin)
    for change in changes:
        if change.name in KSWIN_ON:
            key = change.name, INDEPENDENT.name, "KSWIN"
            horizon = size.horizon // 10
            results.delays[key] = rule_delays(
                [rule], change, INDEPENDENT, size.runs_kswin, horizon, KSWIN_WARM
            )
