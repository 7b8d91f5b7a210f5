"""Measures every detector on every stream: false alarms in control, and delays after a change."""

import time

from benchmarks.detection import oracle
from benchmarks.detection.competitors import COMPETITORS, absent
from benchmarks.detection.figures import Delays, Results
from benchmarks.detection.others import measure_competitor, measure_control
from benchmarks.detection.own import measure_tocsin
from benchmarks.detection.plan import BUDGET, Size
from benchmarks.detection.streams import INDEPENDENT, SEASON, Change, Process, seeded


def oracle_delays(change: Change, process: Process, size: Size) -> Delays:
    """Delays of the CUSUM that knows all, at Tocsin's promised rate of false alarms."""
    rng = seeded("oracle", change.name, process.name)
    limit = oracle.cusum_limit(change, process, 1 / BUDGET, rng, size.oracle_tuning)
    n = oracle.WARM + size.horizon * (2 if process.rho > 0.8 else 1)
    steps = oracle.simulate(change, process, (size.oracle_runs, n), rng, oracle.WARM)
    return Delays(tuple(oracle.delays(steps, limit, oracle.WARM).tolist()))


def has_oracle(change: Change, process: Process) -> bool:
    """Is its recursion exact: no ramp, no rate with dependence, something to compare with?"""
    if change.rate:
        return process is INDEPENDENT and change.unit != "unseen"
    return not change.over and not change.lasts


def measure(size: Size) -> Results:
    """Everything, in some minutes."""
    began, results = time.perf_counter(), Results()
    print(absent() or "all competitors are installed", flush=True)
    for unit, process in size.streams():
        for reference in size.references:
            measure_tocsin(unit, process, reference, size, results)
        told = time.perf_counter()
        for rival in COMPETITORS:
            if size.rivals is None or rival.name in size.rivals:
                measure_competitor(rival, unit, process, size, results)
        if size.rivals is None:
            measure_control(unit, process, size, results)
        for change in size.changes_of(unit):
            if has_oracle(change, process):
                key = change.name, process.name, "oracle"
                # Season is what the oracle takes out: what is left is independent.
                law = INDEPENDENT if process is SEASON else process
                known = results.delays.get((change.name, law.name, "oracle"))
                results.delays[key] = known or oracle_delays(change, law, size)
        now = time.perf_counter()
        print(
            f"{unit}, {process.name}: {now - began:.0f} s, others {now - told:.0f} of them",
            flush=True,
        )
    results.seconds = time.perf_counter() - began
    return results
