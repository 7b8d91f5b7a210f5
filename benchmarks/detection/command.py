"""`python -m benchmarks detection [OPTIONS]`."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks.detection import report
from benchmarks.detection.harness import measure
from benchmarks.detection.plan import PROCESSES_OF, Size
from benchmarks.detection.streams import CHANGES, PROCESSES
from benchmarks.detection.tables import wrapped

QUICK = Size(
    references=(50_000,),
    in_control=40_000,
    in_control_short=20_000,
    tuning=500_000,
    rules=300_000,
    changes=(
        *(f"mean +{by} sd" for by in ("0.25", "0.5", "1")),
        *(f"variance x{by}" for by in ("0.5", "1.5", "2.25")),
        *(f"error rate 10% to {to}%" for to in (15, 20)),
    ),
    rivals=("ADWIN",),
)


def listed(known: Iterable[str] | None = None) -> Callable[[str], tuple[str, ...]]:
    """Reads names between commas, of those that are known."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(part.strip() for part in text.split(","))
        unknown = [n for n in names if known is not None and n not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"not known: {', '.join(unknown)}")
        return names

    return read


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    made = argparse.ArgumentParser("python -m benchmarks detection", description=__doc__)
    processes, changes = [p.name for p in PROCESSES], [c.name for c in CHANGES]
    for option, known, names in (
        ("--only", list(PROCESSES_OF), "UNITS"),
        ("--process", processes, "NAMES"),
        ("--changes", changes, "NAMES"),
    ):
        made.add_argument(
            option,
            type=listed(known),
            metavar=names,
            help=f"of {', '.join(known)}".replace("%", "%%"),
        )
    made.add_argument("--references", type=listed(), metavar="EVENTS", help="as in 5000,50000")
    made.add_argument(
        "--quick", action="store_true", help="changes with a goal, oracle and ADWIN alone, in short"
    )
    made.add_argument("--out", type=Path, metavar="FILE", help="instead of docs/detection.md")
    return made


def main(arguments: list[str]) -> None:
    """Measure and write."""
    told = parser().parse_args(arguments)
    size = QUICK if told.quick else Size()
    size = replace(
        size,
        units=told.only or size.units,
        processes=told.process or size.processes,
        changes=told.changes or size.changes,
        references=tuple(int(r) for r in told.references or size.references),
    )
    if size != Size() and told.out is None:
        raise SystemExit("a part of the benchmark needs `--out FILE`")
    results = measure(size)
    text = report.quick(results, size) if told.quick else report.render(results, size)
    if told.out is None:
        report.write(text)
    else:
        told.out.write_text(wrapped(text) + "\n")
    print(f"written to {told.out or report.PAGE}")
