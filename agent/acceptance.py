"""Taking the new normal as the reference, when a person says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from agent import profile_file
from agent.errors import TocsinError, UsageError
from agent.panes import NEVER
from agent.publish.snapshot import Alarm
from agent.renewal import Named
from agent.results import moment
from detectors.acceptance import Acceptance
from detectors.profile import Profile
from detectors.renewal import (
    Recent,
    counts_of,
    cycle,
    reference_rows,
    renewable,
    renewed,
    rows_of,
    streams_of,
)
from detectors.sketch import Counts

if TYPE_CHECKING:
    from agent.model import Model

ENOUGH = 1000  # rows without which nothing is accepted
DAY = 86_400_000  # milliseconds
WHOLE = 0.9  # of a season's day or week that must have been seen: its window is a bucket short
PAIRS = ("joint_drift", "joint")  # the stream of the numbers' dependence on each other
CROWDED = 0.5  # share of a number's rows in its lowest or highest bin that is worth a word


class Refused(TocsinError):
    """What a person asked for cannot be done as things are. The text says why."""


class Unknown(Refused):
    """There is no such target, or none that can be accepted."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was done."""

    model: str
    references: tuple[Acceptance, ...]
    left: Mapping[str, str]  # targets that were not accepted, and why
    warnings: tuple[str, ...]
    cleared: tuple[Alarm, ...]
    profile_before: str
    profile: str
    written: Path | None
    unwritten: str  # why the profile was not written


@dataclass(frozen=True, slots=True)
class _Found:
    """Recent counts of all cells, since when (event time, milliseconds), and a target's rows."""

    counts: Counts
    since: int
    rows: int


def accept(model: Model, target: str | None, by: str, comment: str, at: int) -> Accepted:
    """Make recent traffic the reference of a target, or of all targets that have enough of it.

    Counts are those since the onset of the target's standing alarm, otherwise those of the longest
    window. `at` is the time, milliseconds since the epoch. Refused, with nothing changed, where
    there is nothing to accept.
    """
    if model.learning or model.closed == NEVER:
        raise Refused(f"{model.name}: the first traffic is not over yet")
    known = renewable(model.profile, model.pane_cells)
    if target is not None and target not in known:
        raise Unknown(_unknown(model, target, known))
    recent: dict[str, _Found] = {}
    left: dict[str, str] = {}
    for name in known if target is None else (target,):
        found = _recent(model, name)
        why = _too_little(model, name, found)
        if why:
            left[name] = why
        else:
            recent[name] = found
    if not recent:
        named = left[target] if target is not None else next(iter(left.values()))
        raise Refused(f"{model.name}: {named}")
    if target is None:
        streams = {s for name in known for s in _streams(model, name)}
        left |= {
            other: "its reference cannot be replaced by counts: make a new profile"
            for _, detector, other in model.alarms.standing
            if (detector, other) not in streams
        }
    return _renew(model, recent, left, by, comment, at)


def _streams(model: Model, target: str) -> set[Named]:
    """Detector and target of the streams that compare with the target's reference."""
    streams = [d.stream for d in model.detection.detectors]
    return {(s.detector, s.target) for s in streams_of(model.pane_cells, target, streams)}


def _renew(
    model: Model, recent: dict[str, _Found], left: dict[str, str], by: str, comment: str, at: int
) -> Accepted:
    before, cells = model.profile_hash, model.pane_cells
    streams = {stream for name in recent for stream in _streams(model, name)}
    until = model.closed * model.pane
    accepted = tuple(
        Acceptance(
            name,
            found.rows,
            reference_rows(model.profile, cells, name),
            found.since,
            until,
            at,
            by,
            comment,
            before,
        )
        for name, found in recent.items()
    )
    new = {name: Recent(r.counts, (until - r.since) / DAY) for name, r in recent.items()}
    # Dependence that has changed is not accepted with a number: it is a target of its own.
    pairs = PAIRS in streams or ("ticket", *PAIRS) not in model.alarms.standing
    watching = [d.stream for d in model.detection.detectors]
    profile = renewed(model.profile, cells, new, watching, pairs)
    profile = replace(profile, accepted=(*profile.accepted, *accepted))
    deaf_before = set(model.detection.deaf)
    # What the pairs' stream gathered was against a reference that may have changed.
    anew = streams if profile.joint == model.profile.joint else {*streams, PAIRS}
    try:
        model.renew(profile, profile_file.profile_hash(profile), anew)
    except UsageError as error:
        raise Refused(str(error)) from None
    warnings = [w for name, r in recent.items() if (w := _warning(model, name, r.counts))]
    warnings += [
        f"{stream.target}: the new reference says too little for {stream.detector} to ring"
        for stream in model.detection.deaf
        if (stream.detector, stream.target) in streams and stream not in deaf_before
    ]
    if not pairs and set(recent) & {f.name for f in profile.schema.numeric}:
        warnings.append(
            "joint: its alarm stands, so that it keeps its reference; accept it as well, or pairs "
            "with what has moved are not judged"
        )
    written, unwritten = _write(model, profile, before)
    if written is not None:
        model.file_hash = model.profile_hash
    cleared = model.alarms.accepted(streams, until)
    return Accepted(
        model.name,
        accepted,
        left,
        tuple(warnings),
        tuple(cleared),
        before,
        model.profile_hash,
        written,
        unwritten,
    )


def _recent(model: Model, target: str) -> _Found:
    """The largest of the windows' sums over whole buckets that hold nothing of the old normal."""
    streams, cells = _streams(model, target), model.pane_cells
    standing = [a for key, a in model.alarms.standing.items() if key[1:] in streams]
    # The last beginning that is nearly as likely, so that little of the old normal gets in.
    onset = max((a.onset_latest for a in standing), default=NEVER)
    found = []
    for window in model.detected.values():
        counts, first = window.wholly_since(-(-onset // model.pane))
        since = max(first * model.pane, onset, model.first_time or 0)
        found.append(_Found(counts, since, rows_of(cells, target, counts)))
    return max(found, key=lambda f: f.rows)


def _too_little(model: Model, target: str, recent: _Found) -> str:
    """Why that is not enough to be a reference; empty where it is."""
    seen = model.closed * model.pane - recent.since
    if recent.rows < ENOUGH:
        return (
            f"{target}: {recent.rows} rows have come since {moment(recent.since)}, {ENOUGH} are "
            "needed: try again later"
        )
    days = cycle(model.profile, model.pane_cells, target)
    if seen < WHOLE * days * DAY:
        name, length = ("weekly", "7d") if days == 7 else ("daily", "1d")
        return (
            f"{target}: has a {name} season, so that {length} of traffic are needed, and as long a "
            f"window; {max(seen, 0) / 3_600_000:.1f} h have come since {moment(recent.since)}"
        )
    return ""


def _warning(model: Model, target: str, counts: Counts) -> str:
    """What the new reference will not show; empty where nothing is remarkable."""
    column = next((c for c in model.cells.columns if c.name == target), None)
    if column is None:
        return ""
    counts = counts_of(model.pane_cells, target, counts)
    known, again = counts[: column.known], "a new profile would have cells for them"
    if column.numeric is not None and max(known[0], known[-1]) > CROWDED * max(known.sum(), 1):
        return f"{target}: most values lie in the profile's lowest or highest bin: {again}"
    if column.categorical is not None and counts[column.known] > CROWDED * counts.sum():
        return f"{target}: most values are categories that the profile does not know: {again}"
    return ""


def _write(model: Model, profile: Profile, before: str) -> tuple[Path | None, str]:
    """Where the profile was written, in the place of that with hash `before`, or why not."""
    if model.is_shared:
        return None, "several agents share the model: kept in its checkpoint"
    path, lost = model.config.profile, "kept in memory alone, and lost when the agent ends"
    if path is None:
        return None, f"the profile was learned from traffic: {lost}"
    try:
        profile_file.supersede(profile, path, before)
    except UsageError as error:
        return None, f"{error}: {lost}"
    return path, ""


def _unknown(model: Model, target: str, known: tuple[str, ...]) -> str:
    targets = {d.stream.target for d in model.detection.detectors}
    if target in targets:
        return (
            f"{model.name}: the reference of {target!r} cannot be replaced by counts: make a new "
            "profile with `tocsin profile`"
        )
    near = get_close_matches(target, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"{model.name}: no target {target!r}: {hint}"
