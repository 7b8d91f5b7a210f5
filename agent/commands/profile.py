"""`tocsin profile`: reference data to a profile, with a validation of that data."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from agent import profile_file
from agent.commands.replay import write_json
from agent.commands.terminal import add_row, output, progress_bar, table
from agent.config import Config
from agent.errors import Exit, UsageError
from agent.intake.table import Reference, read_reference
from agent.promise import Promise, as_json, promise
from agent.reference import columns_of, declared_kinds, profile_of
from agent.results import moment
from agent.validation import Comparison, Finding, compare, performance_of, validate
from detectors.profile import CategoricalProfile, NumericProfile, Profile


def make_profile(
    config: Config,
    name: str,
    data: Path,
    test: Path | None,
    out: Path | None,
    json_path: Path | None,
    budget: bool = False,
) -> Exit:
    """Write the profile and print what was found; NOT_PASSED where the data have failures."""
    model = config.models[name]
    target = out or model.profile
    if target is None:
        raise UsageError(
            f"models.{name} has no `profile`, and --out is missing: say where to write it"
        )
    train = _read(config, name, data)
    profile = profile_of(train, model, config.pane)
    findings = validate(train, profile)
    trained = performance_of(profile, *columns_of(train, profile.schema))
    compared: Comparison | None = None
    if test is not None:
        compared = compare(train, _read(config, name, test), profile, model)
        findings += compared.findings
    digest = profile_file.save(profile, target)
    console = output()
    console.print(f"{target}: profile {digest} of {profile.rows} rows of {data}")
    _show(console, profile)
    _show_performance(console, trained, compared)
    promised = promise(name, config, train, profile) if budget else None
    if promised is not None:
        _show_promise(console, promised)
    _show_findings(console, findings)
    if json_path is not None:
        found = _found(profile, digest, trained, findings, compared)
        if promised is not None:
            found["budget"] = as_json(promised)
        write_json(json_path, found)
    failed = any(f.level == "failure" for f in findings)
    return Exit.NOT_PASSED if failed else Exit.OK


def show_profile(path: Path) -> None:
    """Print a profile."""
    profile, digest = profile_file.load(path)
    console = output()
    origin = "learned from traffic" if profile.learned else "made from reference data"
    console.print(f"{path}: profile {digest} of {profile.rows} rows, {origin}")
    _show(console, profile)
    for past in profile.accepted:
        who = f" by {past.by}" if past.by else ""
        why = f": {past.comment}" if past.comment else ""
        console.print(
            f"{past.target}: accepted {moment(past.at)}{who}, {past.rows} rows from "
            f"{moment(past.since)} to {moment(past.until)} in place of {past.rows_before}{why}"
        )


def _read(config: Config, name: str, path: Path) -> Reference:
    model = config.models[name]
    with progress_bar(f"reading {path.name}") as advance:
        reference = read_reference(path, model.fields, declared_kinds(model), progress=advance)
    if not reference.rows:
        raise UsageError(f"{path}: has no rows")
    return reference


def _show(console: Console, profile: Profile) -> None:
    if profile.first_time is not None:
        console.print(f"from {moment(profile.first_time)} to {moment(profile.last_time)}")
    rows = table("feature", "type")
    for heading in ("missing", "invalid", "cells", "mean", "sd", "min", "max"):
        rows.add_column(heading, justify="right")
    rows.add_column("most frequent")
    scores = () if profile.score is None else (profile.score,)
    for part in (*profile.features, *scores, profile.predicted):
        count = _rows(part)
        rates = (f"{part.missing / count:.1%}", f"{part.invalid / count:.1%}")
        if isinstance(part, NumericProfile):
            numbers = (f"{v:.4g}" for v in (part.mean, part.std, part.minimum, part.maximum))
            add_row(rows, part.name, "numeric", *rates, str(len(part.counts)), *numbers, "")
        else:
            ranked = sorted(zip(part.counts, part.categories, strict=True), reverse=True)[:3]
            most = ", ".join(f"{c} {n / count:.0%}" for n, c in ranked)
            known = str(len(part.categories))
            add_row(rows, part.name, "categorical", *rates, known, "", "", "", "", most)
    console.print(rows)


def _rows(part: NumericProfile | CategoricalProfile) -> int:
    """Reference rows of a column: fewer or more than the profile's where it was accepted anew."""
    unseen = part.unseen if isinstance(part, CategoricalProfile) else 0
    return max(sum(part.counts) + part.missing + part.invalid + unseen, 1)


def _show_performance(
    console: Console, trained: dict[str, float], compared: Comparison | None
) -> None:
    if not trained:
        return
    rows = table("metric")
    rows.add_column("reference", justify="right")
    if compared is not None:
        rows.add_column("test", justify="right")
    for metric, value in trained.items():
        row = [f"{value:.4g}"]
        if compared is not None:
            row.append(f"{compared.test[metric]:.4g}" if metric in compared.test else "")
        add_row(rows, metric, *row)
    console.print(rows)


def _show_promise(console: Console, promised: Promise) -> None:
    """What the budget means: delays by stream, the check on held-out rows, and what is open."""
    rows = table("detector", "target", "severity", "basis")
    changes = list(dict.fromkeys(c for s in promised.streams for c in s.delays))
    for heading in ("tempered", *changes):
        rows.add_column(heading, justify="right")
    # The others have nothing to tell but that their evidence is exact.
    telling = [s for s in promised.streams if s.delays or s.basis != "exact"]
    for stream in telling:
        delays = [_events(stream.delays[c]) if c in stream.delays else "" for c in changes]
        basis = f"{stream.basis}, season" if stream.season else stream.basis
        tempered = f"{stream.temper:.3g}" if stream.temper > 1 else ""
        add_row(rows, stream.detector, stream.target, stream.severity, basis, tempered, *delays)
    console.print("events until a change rings, on average, under this budget", style="bold")
    console.print(rows)
    if others := len(promised.streams) - len(telling):
        console.print(f"and {others} more streams, which are exact")
    held = promised.held_out
    if held is not None:
        for severity, tolerated in held.tolerated.items():
            rung = held.rung[severity]
            names = f": {', '.join(rung)}" if rung else ""
            console.print(
                f"held-out reference, {held.rows} rows over {held.days:.1f} days: {len(rung)} "
                f"false {severity}s, {tolerated:.2g} tolerated{names}"
            )
    for line in promised.not_promised:
        console.print(f"not promised: {line}", style="yellow")


def _events(delay: float) -> str:
    return f"{delay:,.0f}" if delay != float("inf") else "never"


def _show_findings(console: Console, findings: list[Finding]) -> None:
    for finding in findings:
        style = "red" if finding.level == "failure" else "yellow"
        console.print(f"{finding.level} {finding.about}: {finding.text}", style=style)
    if not findings:
        console.print("nothing remarkable", style="green")


def _found(
    profile: Profile,
    digest: str,
    trained: dict[str, float],
    findings: list[Finding],
    compared: Comparison | None,
) -> dict[str, Any]:
    return {
        "profile": digest,
        "rows": profile.rows,
        "from": moment(profile.first_time),
        "to": moment(profile.last_time),
        "features": [p.name for p in profile.features],
        "performance": trained,
        "findings": [asdict(f) for f in findings],
        "test": None
        if compared is None
        else {"performance": compared.test, "drift": compared.drift},
    }
