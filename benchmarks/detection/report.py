"""The tables of docs/detection.md."""

import math
import platform
import textwrap
from collections.abc import Callable
from datetime import date
from pathlib import Path

from benchmarks.detection.harness import (
    BUDGET,
    PROCESSES_OF,
    Delays,
    Results,
    Size,
    measure,
    tocsin_name,
)
from benchmarks.detection.streams import MARKS, NUMERIC

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PROMISE = 1e6 / BUDGET  # false alarms per million events
RATIO_GOALS = {"mean": 1.3, "error": 1.3, "variance": 1.6}
OTHERS = ("ADWIN", "ADWIN tuned", "PageHinkley", "KSWIN", "DDM", "PSI > 0.2", "KS p < .05")
CONTROL = "every 100,000"


def row(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table with its head."""
    return "\n".join([row(*head), row(*["---"] * len(head)), *(row(*r) for r in rows)])


def met(yes: bool) -> str:
    """The word for it."""
    return "met" if yes else "**not met**"


def number(value: float) -> str:
    """Events, or that the alarm did not come."""
    return "never" if math.isinf(value) else f"{value:,.0f}"


def shown(delays: Delays | None) -> str:
    """Median (90th percentile), and the share of runs without an alarm."""
    if delays is None:
        return "·"
    if delays.misses == len(delays.events):
        return "never"
    text = f"{number(delays.quantile(0.5))} ({number(delays.quantile(0.9))})"
    share = delays.misses / len(delays.events)
    return text + (f", {share:.0%} missed" if delays.misses else "")


def in_control(results: Results) -> tuple[str, str]:
    """The table of false alarms, and how many of Tocsin's cells keep the promise."""
    rows, kept, all_of = [], 0, 0
    for (unit, process, name), rate in results.rates.items():
        low, high = rate.interval
        verdict = ""
        if name.startswith("Tocsin"):
            all_of, kept = all_of + 1, kept + (high < PROMISE)
            verdict = met(high < PROMISE)
        figures = [f"{rate.events:,}", str(rate.alarms), f"{rate.per_million:,.1f}"]
        rows.append([unit, process, name, *figures, f"{low:,.1f} to {high:,.1f}", verdict])
    head = ["stream", "process", "detector", "events", "false alarms", "per million"]
    summary = (
        f"Budget kept (upper limit below {PROMISE:.0f} per million): {kept} of {all_of} in-control "
        "cells."
    )
    return table([*head, "95% interval", "goal"], rows), summary


def cells() -> list[tuple[str, str]]:
    """Every (change, process) that is measured."""
    return [
        (change.name, process.name)
        for change in (*NUMERIC, *MARKS)
        for process in PROCESSES_OF[change.unit]
    ]


def finest(results: Results, change: str, process: str, reference: int) -> tuple[int, Delays]:
    """Tocsin's delays with the shortest panes that were measured, and their events."""
    for pane in (10, 100):
        found = results.delays.get((change, process, tocsin_name(reference, pane)))
        if found is not None:
            return pane, found
    raise KeyError((change, process, reference))


def delay_table(results: Results, size: Size) -> str:
    """Delays of everything on everything."""
    tocsins = [tocsin_name(r, p) for p in (100, 10) for r in size.references]
    names = ["oracle", *tocsins, *OTHERS, CONTROL]
    rows = [
        [change, process, *(shown(results.delays.get((change, process, n))) for n in names)]
        for change, process in cells()
    ]
    return table(["change", "process", *names], rows)


def beside(own: Delays, tuned: Delays | None, judge: Callable[[bool], str]) -> str:
    """Is Tocsin's median not behind that of tuned ADWIN, if either finds the change?"""
    if tuned is None:
        return "·"
    mine, theirs = own.quantile(0.5), tuned.quantile(0.5)
    if math.isinf(mine) and math.isinf(theirs):
        return "neither finds it"
    return judge(mine <= theirs)


def goal_table(results: Results, size: Size) -> tuple[str, list[str]]:
    """The goals on delay, cell by cell, and how many are met."""
    largest, rows = max(size.references), []
    counts = {"ratio": [0, 0], **{str(r): [0, 0] for r in size.references}, "found": [0, 0]}

    def judge(key: str, yes: bool) -> str:
        counts[key][0] += yes
        counts[key][1] += 1
        return met(yes)

    for change, process in cells():
        pane, mine = finest(results, change, process, largest)
        line = [change, process, f"{pane}", number(mine.quantile(0.5))]
        oracle = results.delays.get((change, process, "oracle"))
        goal = RATIO_GOALS.get(change.split()[0])
        ratio = mine.quantile(0.5) / oracle.quantile(0.5) if oracle else math.nan
        line.append("·" if oracle is None else ("never" if math.isinf(ratio) else f"{ratio:.2f}"))
        line.append(f"{goal}: {judge('ratio', ratio <= goal)}" if goal and oracle else "·")
        tuned = results.delays.get((change, process, "ADWIN tuned"))
        line.append("·" if tuned is None else number(tuned.quantile(0.5)))
        for reference in size.references:
            _, own = finest(results, change, process, reference)
            line.append(beside(own, tuned, lambda yes, r=reference: judge(str(r), yes)))
        line.append(f"{mine.misses} of {len(mine.events)}")
        line.append(judge("found", mine.misses == 0))
        line.append(f"{mine.right} of {len(mine.events) - mine.misses}")
        rows.append(line)
    head = ["change", "process", "pane", "Tocsin", "ratio to oracle", "ratio goal", "ADWIN tuned"]
    head += [f"not behind, reference {r:,}" for r in size.references]
    summary = [
        "Ratio to the oracle (1.3 for mean and error rate, 1.6 for variance, reference "
        f"{largest:,}): met on {counts['ratio'][0]} of {counts['ratio'][1]} streams.",
        *(
            f"Not behind tuned ADWIN, reference {r:,}: met on {counts[str(r)][0]} of "
            f"{counts[str(r)][1]} streams."
            for r in size.references
        ),
        f"Every change found in every run, reference {largest:,}: met on {counts['found'][0]} of "
        f"{counts['found'][1]} streams.",
    ]
    return table([*head, "misses", "found", "right stream named"], rows), summary


def render(results: Results, size: Size) -> str:
    """All that stands between the markers."""
    rates, kept = in_control(results)
    goals, reached = goal_table(results, size)
    costs = [[name, f"{cost:,.2f}"] for name, cost in results.cost.items()]
    deltas = [[u, p, f"{d:.1e}"] for (u, p), d in results.deltas.items()]
    largest = max(size.references)
    return "\n\n".join(
        [
            f"Measured on {date.today().isoformat()} in {results.seconds / 60:.0f} minutes on one "
            f"core, Python {platform.python_version()}. {size.draws} references of each size; "
            f"{size.runs} runs a cell, {size.runs_short} for panes of 10, PageHinkley and DDM, "
            f"{size.runs_kswin} for KSWIN, {size.oracle_runs} for the oracle.",
            "### Goals, in short",
            "\n".join(f"- {line}" for line in [kept, *reached]),
            "### False alarms while nothing changes",
            rates,
            "### Delay after a change",
            "Median (90th percentile) in events, and the share of runs without an alarm. "
            "`never`: no alarm within the run. `·`: not measured. Numbers after Tocsin are the "
            f"events of its reference; PSI and KS have {largest:,}.",
            delay_table(results, size),
            "### Goals, one by one",
            f"Tocsin with a reference of {largest:,} and the shortest panes that were measured.",
            goals,
            "### Cost",
            "On the independent numeric stream (DDM: on errors), microseconds an event. Tocsin's "
            "is that of counting, evidence and budget for all its detectors, from arrays.",
            table(["detector", "microseconds"], costs),
            "### ADWIN's delta, tuned",
            table(["stream", "process", "delta"], deltas),
        ]
    )


def wrapped(text: str) -> str:
    """The text with lines of 100 characters; tables stay as they are."""
    lines = [
        line
        if line.startswith("|")
        else textwrap.fill(line, 100, subsequent_indent="  " if line.startswith("- ") else "")
        for line in text.splitlines()
    ]
    return "\n".join(lines)


def write(text: str, page: Path = PAGE) -> None:
    """Put the text between the markers of the page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{wrapped(text)}\n\n{END}{rest.split(END)[1]}")


def main() -> None:
    """Measure and write."""
    size = Size()
    write(render(measure(size), size))
    print(f"written to {PAGE}")
