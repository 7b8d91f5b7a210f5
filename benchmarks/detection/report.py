"""The tables of docs/detection.md."""

import platform
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TypeVar

from benchmarks.detection.competitors import absent
from benchmarks.detection.figures import Key, Results
from benchmarks.detection.goals import PROMISE, Beside, beside
from benchmarks.detection.own import ALONE, PROMISED, TUNED, tocsin_name
from benchmarks.detection.plan import CONTROL, LONG, OCCURRENCES, RIVAL, Size
from benchmarks.detection.streams import RECURRING
from benchmarks.detection.tables import (
    interval,
    median,
    met,
    rated,
    recurred,
    shown,
    table,
    times,
    wrapped,
)

PAGE = Path(__file__).parents[2] / "docs" / "detection.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SHORT = 10  # any number of events other than LONG names short panes

Figure = TypeVar("Figure")


def tocsins(size: Size, panes: tuple[int, ...] = (LONG, SHORT)) -> list[str]:
    """Names of Tocsin in the order of the columns."""
    return [
        tocsin_name(reference, pane, way)
        for way in (PROMISED, TUNED, ALONE)
        for pane in panes
        for reference in size.references
    ]


def others(figures: Mapping[Key, object]) -> list[str]:
    """Names of the competitors that have figures, in the order of measuring; the control last."""
    names = dict.fromkeys(name for _, _, name in figures)
    found = [n for n in names if n not in ("oracle", CONTROL) and not n.startswith("Tocsin")]
    return found + [CONTROL] * (CONTROL in names)


def crossed(
    figures: Mapping[Key, Figure], names: list[str], text: Callable[[Figure | None], str]
) -> str:
    """A table with a line for each stream or change and process, and a column for each detector."""
    streams = dict.fromkeys((what, process) for what, process, name in figures if name in names)
    rows = [[*key, *(text(figures.get((*key, name))) for name in names)] for key in streams]
    return table(["stream", "process", *names], rows)


def in_control(results: Results) -> tuple[str, str]:
    """The table of Tocsin's false alarms, and how many cells keep the promise."""
    rows, kept, all_of = [], 0, 0
    for (unit, process, name), rate in results.rates.items():
        if not name.startswith("Tocsin"):
            continue
        promised = not name.endswith("tuned")
        keeps = rate.interval[1] < PROMISE
        all_of, kept = all_of + promised, kept + (promised and keeps)
        figures = [f"{rate.events:,}", str(rate.alarms), f"{rate.per_million:,.1f}"]
        verdict = met(keeps) if promised else results.tuned[unit, process, name]
        rows.append([unit, process, name, *figures, interval(rate), verdict])
    head = ["stream", "process", "detector", "events", "false alarms", "per million"]
    summary = (
        f"Budget kept at the promise (upper limit below {PROMISE:.0f} per million): {kept} of "
        f"{all_of} in-control cells."
    )
    return table([*head, "95% interval", "goal, or tuned to"], rows), summary


def counted(what: str, verdicts: list[bool | None]) -> str:
    """A goal, and on how many streams it is met."""
    judged = [v for v in verdicts if v is not None]
    return f"{what}: met on {sum(judged)} of {len(judged)} streams."


def goal_table(results: Results, size: Size) -> tuple[str, list[str]]:
    """The goals on delay, stream by stream, and how many are met."""
    by_reference = {r: list(beside(results, size, r)) for r in size.references}
    largest = max(size.references)
    rows = []
    for lines in zip(*by_reference.values(), strict=True):
        best = lines[size.references.index(largest)]
        rows.append([*_compared(best), *(met(b.not_behind) for b in lines), *_found(best)])
    best_ones = by_reference[largest]
    summary = [
        counted(
            "Ratio to the oracle (1.3 for mean and error rate, 1.6 for variance, reference "
            f"{largest:,})",
            [b.close for b in best_ones],
        ),
        *(
            counted(
                f"Not behind tuned ADWIN, reference {r:,}", [b.not_behind for b in by_reference[r]]
            )
            for r in size.references
        ),
        counted(
            f"Every change found in every run, reference {largest:,}", [b.found for b in best_ones]
        ),
    ]
    head = ["change", "process", "pane", "oracle", "Tocsin at its promise", "ratio", "Tocsin tuned"]
    head += ["ratio", "alone", "ratio", "ratio goal", f"{RIVAL} tuned"]
    head += [f"not behind, reference {r:,}" for r in by_reference]
    return table([*head, "misses", "found", "right stream named"], rows), summary


def _compared(b: Beside) -> list[str]:
    return [
        b.change,
        b.process,
        f"{b.pane}",
        median(b.oracle),
        median(b.promised),
        times(b.ratio(b.promised)),
        median(b.shared),
        times(b.ratio(b.shared)),
        median(b.tuned),
        times(b.ratio(b.tuned)),
        "·" if b.goal is None else f"{b.goal}: {met(b.close)}",
        median(b.rival),
    ]


def _found(b: Beside) -> list[str]:
    runs = len(b.tuned.events)
    return [
        f"{b.tuned.misses} of {runs}",
        met(b.found),
        f"{b.tuned.right} of {runs - b.tuned.misses}",
    ]


def quick(results: Results, size: Size) -> str:
    """The goals on delay in short, for work on the detectors."""
    rows = [
        _compared(b)
        for reference in size.references
        for longest in (LONG, None)
        for b in beside(results, size, reference, longest)
    ]
    head = ["change", "process", "pane", "oracle", "promise", "ratio", "tuned", "ratio"]
    head += ["alone", "ratio", "goal"]
    return "\n\n".join([in_control(results)[0], table([*head, f"{RIVAL} tuned"], rows)])


def came_and_went(results: Results, size: Size) -> list[str]:
    """The part on what recurs, if it was measured."""
    if not results.recurrences:
        return []
    names = [*tocsins(size, (LONG,)), *others(results.recurrences)]
    return [
        "### A change that comes and goes",
        f"A shift of 0.5 sd in 1,000 of every {RECURRING:,} events, {OCCURRENCES} times: the share "
        "of first occurrences with an alarm while they lasted, that of later ones, and alarms an "
        "occurrence. Tocsin's budget latches as in production.",
        crossed(results.recurrences, names, recurred),
    ]


def render(results: Results, size: Size) -> str:
    """All that stands between the markers."""
    rates, kept = in_control(results)
    goals, reached = goal_table(results, size)
    costs = [[name, f"{cost:,.2f}"] for name, cost in results.cost.items()]
    tuned = [[*key, text] for key, text in results.tuned.items() if "Tocsin" not in key[2]]
    largest = max(size.references)
    rivals = others(results.delays)
    return "\n\n".join(
        [
            f"Measured on {date.today().isoformat()} in {results.seconds / 60:.0f} minutes on one "
            f"core, Python {platform.python_version()}. {size.draws} references of each size; "
            f"{size.runs} runs a change, {size.runs_others} with panes of 10 and of others than "
            f"{RIVAL}, 20 of the slowest ramp, {size.oracle_runs} of the oracle. {absent()}",
            "### Goals, in short",
            "\n".join(f"- {line}" for line in [kept, *reached]),
            "### False alarms while nothing changes",
            rates,
            "The others, per million events, with the 95% interval.",
            crossed(results.rates, others(results.rates), rated),
            "### Delay after a change",
            "Median (90th percentile) in events, and the share of runs without an alarm. "
            "`never`: no alarm within the run. `·`: not measured. Numbers after Tocsin are the "
            "events of its reference; short panes hold 1 event (numeric and error, independent) or "
            "10.",
            crossed(results.delays, ["oracle", *tocsins(size)], shown),
            f"The others; those that have a reference have {largest:,} events.",
            crossed(results.delays, rivals, shown),
            "### Goals, one by one",
            f"Tocsin with a reference of {largest:,} and the shortest panes that were measured. "
            "The goals are on Tocsin with its budget for that stream alone, tuned to as many false "
            "alarms as the oracle and the tuned ADWIN have, which look at nothing else either.",
            goals,
            *came_and_went(results, size),
            "### Cost",
            "On the independent numeric stream (what reads errors alone: on these), microseconds "
            "an event. Tocsin's is that of counting, evidence and budget for all its detectors, "
            "from arrays.",
            table(["detector", "microseconds"], costs),
            "### What the others were tuned to",
            table(["stream", "process", "detector", "parameter"], tuned),
        ]
    )


def write(text: str, page: Path = PAGE) -> None:
    """Put the text between the markers of the page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{wrapped(text)}\n\n{END}{rest.split(END)[1]}")
