"""Figures as Markdown."""

import math
import textwrap

from benchmarks.detection.figures import Delays, Rate, Recurrence


def row(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table with its head."""
    return "\n".join([row(*head), row(*["---"] * len(head)), *(row(*r) for r in rows)])


def met(yes: bool | None) -> str:
    """The word for a goal that is met, or is not; a dot where there is none."""
    return "·" if yes is None else ("met" if yes else "**not met**")


def number(value: float) -> str:
    """Events, or that the alarm did not come."""
    return "never" if math.isinf(value) else f"{value:,.0f}"


def times(ratio: float) -> str:
    """A ratio of delays."""
    return "·" if math.isnan(ratio) else ("never" if math.isinf(ratio) else f"{ratio:.2f}")


def median(delays: Delays | None) -> str:
    """The median delay."""
    return "·" if delays is None else number(delays.quantile(0.5))


def shown(delays: Delays | None) -> str:
    """Median (90th percentile), and the share of runs without an alarm."""
    if delays is None:
        return "·"
    if delays.misses == len(delays.events):
        return "never"
    text = f"{number(delays.quantile(0.5))} ({number(delays.quantile(0.9))})"
    share = delays.misses / len(delays.events)
    return text + (f", {share:.0%} missed" if delays.misses else "")


def interval(rate: Rate) -> str:
    """The 95% interval of alarms per million events."""
    low, high = rate.interval
    return f"{low:,.1f} to {high:,.1f}"


def rated(rate: Rate | None) -> str:
    """Alarms per million events (their interval)."""
    return "·" if rate is None else f"{rate.per_million:,.1f} ({interval(rate)})"


def recurred(found: Recurrence | None) -> str:
    """Shares of first and later occurrences that were found, and alarms for each."""
    if found is None:
        return "·"
    first, later = found.found(slice(0, 1)), found.found(slice(1, None))
    return f"{first:.0%}, {later:.0%}, {found.per_occurrence:.1f}"


def wrapped(text: str) -> str:
    """The text with lines of 100 characters; tables stay as they are."""
    lines = [
        line
        if line.startswith("|")
        else textwrap.fill(line, 100, subsequent_indent="  " if line.startswith("- ") else "")
        for line in text.splitlines()
    ]
    return "\n".join(lines)
