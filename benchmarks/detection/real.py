"""False alarms on real traffic: `python -m benchmarks detection-real`.

The quiet halves of three public data sets go through the agent's own model, from rows of a table to
alarms, for ten simulated years each, with the alert budget that a configuration has by default.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np

from agent.config import Config
from agent.intake.formats import read_table
from agent.intake.source import TableBatch
from agent.intake.table import from_chunks
from agent.intake.times import parse_times
from agent.model import Model
from agent.reference import profile_of
from agent.replay import LATEST
from benchmarks.detection.blocks import DAY, Ints, Recording, halves, resampled
from benchmarks.detection.figures import Rate
from benchmarks.detection.streams import seeded
from benchmarks.detection.tables import met, table, wrapped
from detectors.profile import Profile

DATA = Path(__file__).parents[2] / ".cache" / "data"
PAGE = Path(__file__).parents[2] / "docs" / "detection.md"
BEGIN, END = "<!-- real data: begin -->", "<!-- real data: end -->"
YEARS = 10
YEAR = 365  # days
CHUNK = 50_000  # rows at once
TOLERATED = {"page": 1 / 365, "ticket": 1 / 30}  # a day, as the configuration has it by default


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set of nannyml's: its files, how to read it, and where its quiet half ends.

    Up to row `quiet` of the analysis set no column, score or error differs from the reference by
    more than chance: Kolmogorov-Smirnov and chi-squared statistics of every 2,500 rows are what
    they are within the reference, and leap two rows or so after it.
    """

    name: str
    files: tuple[str, str, str]  # reference, analysis, labels of the analysis
    model: dict[str, object]
    label: str
    quiet: int
    pane: str  # the shorter, the more panes a year of its traffic fills


CARDS = ("prepaid_card", "highstreet_card", "upmarket_card")
SETS = (
    DataSet(
        "car loan",
        tuple(
            f"synthetic_car_loan_{part}.csv"
            for part in ("reference", "analysis", "analysis_target")
        ),
        {
            "task": "binary",
            "fields": {"prediction": "y_pred", "score": "y_pred_proba", "label": "repaid"},
        },
        "repaid",
        25_000,
        "10s",
    ),
    DataSet(
        "multiclass",
        ("mc_reference.csv", "mc_analysis.csv", "mc_analysis_gt.csv"),
        {
            "task": "multiclass",
            "fields": {
                "prediction": "y_pred",
                "label": "y_true",
                "scores": {card: f"y_pred_proba_{card}" for card in CARDS},
            },
        },
        "y_true",
        30_000,
        "1h",
    ),
    DataSet(
        "regression",
        tuple(
            f"regression_synthetic_{part}.csv"
            for part in ("reference", "analysis", "analysis_targets")
        ),
        {"task": "regression", "fields": {"prediction": "y_pred", "label": "y_true"}},
        "y_true",
        30_000,
        "1h",
    ),
)


@dataclass(slots=True)
class Found:
    """What a run of one model gave."""

    data: DataSet
    stream: str
    rows: int
    days: float
    rung: dict[str, Counter[str]] = field(
        default_factory=lambda: {severity: Counter() for severity in TOLERATED}
    )

    def rate(self, severity: str) -> Rate:
        """Alarms, with the time tolerated for one as the unit: a million of them."""
        tolerated = self.days * TOLERATED[severity]
        return Rate(self.rung[severity].total(), round(tolerated * 1e6))


def configuration(data: DataSet) -> Config:
    """The defaults, but for fields and, where there are many rows a year, panes and windows."""
    shown = {} if data.pane == "10s" else {"windows": ["1h", "1d", "7d"]}
    return Config.model_validate({"pane": data.pane, "models": {"real": data.model}, **shown})


def recording(path: Path, labels: Path | None = None, label: str = "") -> Recording:
    """The rows of a file, with their labels from another by id."""
    chunks = list(read_table(path, None, CHUNK))
    columns = {
        name: np.array([cell for chunk in chunks for cell in chunk.columns[name]], dtype=object)
        for name in chunks[0].columns
    }
    if labels is not None:
        known: dict[object, object] = {}
        for chunk in read_table(labels, None, CHUNK):
            known |= zip(chunk.columns["id"], chunk.columns[label], strict=True)
        columns[label] = np.array([known[i] for i in columns["id"].tolist()], dtype=object)
    return Recording(columns, parse_times(columns.pop("timestamp").tolist()))


def batch(rows: Recording, first: int = 0) -> TableBatch:
    """The rows as they come from a table; `first` is the number of the first, its id and offset."""
    number = np.arange(first, first + len(rows))
    columns = {name: values.tolist() for name, values in rows.columns.items()}
    columns |= {"id": number.tolist(), "timestamp": rows.time.tolist()}
    return TableBatch("", 0, columns, number)


def profile(data: DataSet, rows: Recording) -> Profile:
    """What `tocsin profile` makes of a file with these rows."""
    config = configuration(data)
    model = config.models["real"]
    return profile_of(from_chunks([batch(rows)], model.fields), model, int(config.pane))


def run(
    data: DataSet, judge: Profile, stream: str, source: Recording, rows: np.ndarray, times: Ints
) -> Found:
    """Alarms of a model with this profile on these rows; each label comes with its prediction."""
    config = configuration(data)
    model = Model("real", config.models["real"], config, judge, "")
    found = Found(data, stream, len(rows), float(times[-1] - times[0]) / DAY)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        made = batch(source.rows(rows[part], times[part]), start)
        known = {name: made.columns[name] for name in ("id", "timestamp", data.label)}
        features = {name: cells for name, cells in made.columns.items() if name != data.label}
        model.predictions(TableBatch("", 0, features, made.offsets), LATEST)
        model.feedback(TableBatch("", 0, known, made.offsets), LATEST)
        for alarm in model.close():
            if alarm.cleared_at is None:
                found.rung[alarm.severity][f"{alarm.detector} of {alarm.target}"] += 1
    joined = sum(p.join.counts["joined"] for p in model.partitions.values())
    assert joined > 0.99 * len(rows), f"{data.name}: only {joined} labels were joined"
    return found


def measure(data: DataSet, years: int = YEARS) -> list[Found]:
    """The quiet half as it is, then years of it, then years of half of the reference."""
    reference, analysis, labels = (DATA / name for name in data.files)
    known, later = recording(reference), recording(analysis, labels, data.label)
    quiet = later.rows(slice(data.quiet), later.time[: data.quiet])
    span, judge = years * YEAR * DAY, profile(data, known)
    everything = np.arange(len(quiet))
    found = [run(data, judge, "quiet half, as it is", quiet, everything, quiet.time)]
    rng = seeded("real", data.name)
    rows, times = resampled(quiet, span, rng)
    found.append(run(data, judge, "quiet half, in blocks", quiet, rows, times))
    one, other = halves(known, rng)
    rows, times = resampled(other, span, rng)
    made = profile(data, one)
    found.append(run(data, made, "half of the reference, judged by the other", other, rows, times))
    return found


def _cells(found: Found, severity: str) -> list[str]:
    rate = found.rate(severity)
    (low, high), tolerated = rate.interval, rate.events / 1e6
    kept = met(high < 1) if found.days > YEAR else "·"
    return [
        f"{rate.alarms} ({low * tolerated:.1f} to {high * tolerated:.1f})",
        f"{tolerated:.1f}",
        kept,
    ]


def render(results: list[Found], seconds: float) -> str:
    """What stands between the markers."""
    rows = [
        [
            f.data.name,
            f.stream,
            f"{f.rows:,}",
            f"{f.days / YEAR:.2f}",
            *(cell for severity in TOLERATED for cell in _cells(f, severity)),
            "; ".join(
                f"{name} ({count})"
                for severity in TOLERATED
                for name, count in f.rung[severity].most_common()
            )
            or "none",
        ]
        for f in results
    ]
    head = ["data", "stream", "predictions", "years"]
    for severity in TOLERATED:
        head += [f"false {severity}s (95% interval)", "tolerated", "budget kept"]
    when = (
        f"Measured on {date.today().isoformat()}, in {seconds / 60:.0f} minutes of processor time."
    )
    return f"{when}\n\n{table([*head, 'what rang'], rows)}"


def write(text: str, page: Path = PAGE) -> None:
    """Put the text between the markers of the page."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{wrapped(text)}\n\n{END}{rest.split(END)[1]}")


def main() -> None:
    """Measure and write."""
    if missing := [n for s in SETS for n in s.files if not (DATA / n).exists()]:
        raise SystemExit(f"{DATA} lacks {missing[0]}: `make test` gets it")
    results = []
    for data in SETS:
        results += measure(data)
        print(f"{data.name}: {time.process_time():.0f} s", flush=True)
    write(render(results, time.process_time()))
    print(f"written to {PAGE}")
