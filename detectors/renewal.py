"""A profile whose reference of some targets is replaced by the counts of newer traffic.

The cells stay what they are, so that counts, windows and detectors go on without a break: a column
keeps its bins or categories. What cannot be told from counts stays too (smallest and largest value,
centres of bins, mean scores); mean and standard deviation are then those of the bins' centres.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from detectors.cells import Column
from detectors.evidence import Stream
from detectors.pairs import CELLS, JointProfile
from detectors.pane import PaneCells
from detectors.profile import CategoricalProfile, NumericProfile, Profile
from detectors.season import Season
from detectors.sketch import Counts

Part = TypeVar("Part", NumericProfile, CategoricalProfile)

ERROR, CALIBRATION, JOINT = "error", "calibration", "joint"
SECTIONS = {ERROR: "errors", CALIBRATION: "calibration", JOINT: "joint"}
# Detectors whose alternatives do not depend on the reference's counts, so that what was learned of
# each one's dependence still holds of it.
FIXED = ("numeric_drift", "error_size", "joint_drift")


@dataclass(frozen=True, slots=True)
class Recent:
    """What has come: counts of all cells of a pane, over how many days."""

    counts: Counts
    days: float


def renewable(profile: Profile, cells: PaneCells) -> tuple[str, ...]:
    """Targets whose reference is counts of cells.

    Features, `score`, `prediction`, and as far as the profile has them `error`, `calibration` and
    `joint`.
    """
    columns = tuple(c.name for c in cells.inputs.columns)
    others = [t for t, name in SECTIONS.items() if name in cells.sections and t not in columns]
    return (*columns, *others)


def streams_of(cells: PaneCells, target: str, streams: Iterable[Stream]) -> list[Stream]:
    """The streams that compare with the reference of a target."""
    if _column(cells, target) is not None:
        return [s for s in streams if s.target == target and s.detector != CALIBRATION]
    if target == CALIBRATION:
        return [s for s in streams if s.detector == CALIBRATION]
    return [s for s in streams if s.target == target]


def counts_of(cells: PaneCells, target: str, counts: Counts) -> Counts:
    """A target's own among all counts of a pane or window."""
    column = _column(cells, target)
    if column is None:
        return counts[cells.sections[SECTIONS[target]]]
    return counts[cells.sections["inputs"]][column.start : column.stop]


def rows_of(cells: PaneCells, target: str, counts: Counts) -> int:
    """Rows among all counts of a pane or window that the target's reference could be made of."""
    own = counts_of(cells, target, counts)
    if target == JOINT and _column(cells, target) is None:
        return int(own.reshape(-1, CELLS).sum(axis=1).max())
    return int(own.sum())


def reference_rows(profile: Profile, cells: PaneCells, target: str) -> int:
    """Rows that the target's reference rests on."""
    column = _column(cells, target)
    if column is not None:
        part = _part(column)
        lost: list[int] = [getattr(part, name) for name in column.extra]
        return sum(part.counts) + sum(lost)
    if target == JOINT:
        return 0 if profile.joint is None else max(map(sum, profile.joint.counts))
    reference = profile.error if target == ERROR else profile.calibration
    return 0 if reference is None else reference.rows


def cycle(profile: Profile, cells: PaneCells, target: str) -> int:
    """Days over which its reference goes in a circle: 0, 1 or 7. Only whole ones can replace it."""
    seasons = [*_rate_seasons(profile, target).values()]
    column = _column(cells, target)
    if column is not None and column.numeric is not None and column.numeric.season is not None:
        seasons.append(column.numeric.season)
    return max(map(_days, seasons), default=0)


def renewed(
    profile: Profile,
    cells: PaneCells,
    new: Mapping[str, Recent],
    streams: Iterable[Stream],
    pairs: bool = True,
) -> Profile:
    """The profile with new reference counts of some targets; `streams` are those that watch it.

    What was learned of a stream's serial dependence is kept: where its alternatives may be others
    now, the largest divisor for all of them. Seasons are kept too, as known from the new cycles
    alone. A number's pairs are renewed with it, unless `pairs` is False, or its old place would
    hide them for ever.
    """
    seasons = dict(profile.seasons)
    changed = [s for target in new for s in streams_of(cells, target, streams)]
    keys = {f"{s.detector}/{s.target}" for s in changed if s.detector not in FIXED}
    for target, recent in new.items():
        for key, season in _rate_seasons(profile, target).items():
            seasons[key] = _known_from(season, recent)
        profile = _with(profile, cells, target, recent, pairs)
    return replace(
        profile,
        seasons=seasons,
        tempers={k: (max(v),) if k in keys else v for k, v in profile.tempers.items()},
        dispersions={k: (max(v),) if k in keys else v for k, v in profile.dispersions.items()},
    )


def _rate_seasons(profile: Profile, target: str) -> dict[str, Season]:
    """Of the target's rates, by the keys that `detectors.rates` states."""
    own = (f"{target}/", f"{target}=")
    return {k: s for k, s in profile.seasons.items() if k == target or k.startswith(own)}


def _known_from(season: Season, recent: Recent) -> Season:
    return replace(season, cycles=max(recent.days / _days(season), 1.0))


def _days(season: Season) -> int:
    return 1 if season.week == "same" else 7


def _with(profile: Profile, cells: PaneCells, target: str, recent: Recent, pairs: bool) -> Profile:
    counts = counts_of(cells, target, recent.counts)
    column = _column(cells, target)
    if column is not None:
        position = cells.inputs.columns.index(column)
        if pairs and profile.joint is not None and position < len(profile.numeric):
            paired = recent.counts[cells.sections["joint"]]
            profile = replace(profile, joint=_paired(profile.joint, [position], paired))
        return _with_column(profile, position, column, replace(recent, counts=counts))
    if target == JOINT:
        assert profile.joint is not None
        return replace(
            profile, joint=_paired(profile.joint, range(len(profile.schema.numeric)), counts)
        )
    if target == CALIBRATION:
        assert profile.calibration is not None
        by_score = tuple((int(a), int(b)) for a, b in counts.reshape(-1, 2))
        return replace(profile, calibration=replace(profile.calibration, counts=by_score))
    assert profile.error is not None
    return replace(profile, error=replace(profile.error, counts=_whole(counts)))


def _with_column(profile: Profile, position: int, column: Column, recent: Recent) -> Profile:
    numeric, features = len(profile.numeric), len(profile.features)
    if position < numeric:
        return replace(profile, numeric=_replaced(profile.numeric, position, column, recent))
    if position < features:
        position -= numeric
        categorical = _replaced(profile.categorical, position, column, recent)
        return replace(profile, categorical=categorical)
    if profile.score is not None and position == features:
        return replace(profile, score=_recounted(profile.score, column, recent))
    if isinstance(profile.predicted, NumericProfile):
        return replace(profile, predicted=_recounted(profile.predicted, column, recent))
    return replace(profile, predicted=_recounted(profile.predicted, column, recent))


def _paired(joint: JointProfile, features: Iterable[int], counts: Counts) -> JointProfile:
    """With new counts of the pairs that one of the features is in; a pair without rows is kept."""
    of = set(features)
    made = zip(joint.pairs, joint.counts, counts.reshape(-1, CELLS), strict=True)
    new = tuple(_whole(now) if of & {*p} and now.any() else then for p, then, now in made)
    return replace(joint, counts=new)


def _replaced(
    parts: tuple[Part, ...], position: int, column: Column, recent: Recent
) -> tuple[Part, ...]:
    new = _recounted(parts[position], column, recent)
    return tuple(new if i == position else part for i, part in enumerate(parts))


def _recounted(part: Part, column: Column, recent: Recent) -> Part:
    known, extra = recent.counts[: column.known], recent.counts[column.known :]
    lost: dict[str, Any] = dict(zip(column.extra, _whole(extra), strict=True))
    new = replace(part, counts=_whole(known), **lost)
    if isinstance(new, NumericProfile) and new.season is not None:
        new = replace(new, season=_known_from(new.season, recent))
    if isinstance(new, NumericProfile) and known.sum():
        centre = np.array(new.centre)
        mean = float((known * centre).sum() / known.sum())
        spread = float((known * (centre - mean) ** 2).sum() / known.sum())
        new = replace(new, mean=mean, std=spread**0.5)
    return new


def _column(cells: PaneCells, target: str) -> Column | None:
    return next((c for c in cells.inputs.columns if c.name == target), None)


def _part(column: Column) -> NumericProfile | CategoricalProfile:
    part = column.numeric or column.categorical
    assert part is not None
    return part


def _whole(counts: Counts) -> tuple[int, ...]:
    return tuple(counts.tolist())
