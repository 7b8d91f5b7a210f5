"""Every detector of a profile, by family."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.accuracy.error import ErrorRate, ErrorSize
from detectors.batch import Batch
from detectors.cells import InputCells
from detectors.dependence import temper
from detectors.drift.categorical import CategoricalDrift
from detectors.drift.numeric import NumericDrift
from detectors.evidence import Detector, RatioDetector, Stream
from detectors.pane import PaneCells, reference_outcomes
from detectors.profile import Profile
from detectors.quality.rates import BrokenSchema, InvalidRate, MissingRate, UnseenRate
from detectors.traffic.silence import Silence


class Family(Protocol):
    """A kind of detector that knows what of a profile it can watch."""

    def watch(self, profile: Profile, cells: InputCells) -> Sequence[RatioDetector]:
        """One detector for each target; none where the profile has nothing to compare with."""


FAMILIES: tuple[Family, ...] = (
    NumericDrift,
    CategoricalDrift,
    MissingRate,
    InvalidRate,
    UnseenRate,
    BrokenSchema,
    ErrorRate,
    ErrorSize,
    Silence,
)


def default_detectors(profile: Profile, cells: InputCells) -> list[Detector]:
    """The detectors that watch a profile without further configuration, in a fixed order.

    Each is tempered by what the profile says of its stream's serial dependence.
    """
    found: list[Detector] = []
    for detector in _untempered(profile, cells):
        stated = profile.tempers.get(_key(detector.stream))
        if stated is not None and len(stated) == detector.stream.alternatives:
            detector = detector.tempered(np.array(stated))
        found.append(detector)
    return found


def calibrated(profile: Profile, batch: Batch, label: NDArray[np.float64] | None) -> Profile:
    """The profile with the serial dependence of every stream, as its own reference shows it.

    `batch` and `label` (n,) are the reference that the profile was built from; their event times
    say the order. A reference without times is taken to be in order.
    """
    cells = PaneCells(profile)
    # Rows of one time are put in an order of their own, so that the file's does not matter.
    timed = len(batch) > 0 and batch.time.min() >= 0
    order = np.lexsort((batch.id, batch.time)) if timed else np.arange(len(batch))
    rows = batch.take(order)
    made = cells.by_section(rows)
    time = dict.fromkeys(made, rows.time)
    if label is not None:
        outcomes = reference_outcomes(rows, label[order])
        of_outcomes = cells.by_section(outcomes)
        made |= of_outcomes
        time |= dict.fromkeys(of_outcomes, outcomes.time)
    tempers = {}
    for detector in _untempered(profile, cells.inputs):
        if detector.source not in made:
            continue
        found = temper(detector.per_event(made[detector.source], time[detector.source]))
        if (found > 1.0).any():
            tempers[_key(detector.stream)] = tuple(found.round(3).tolist())
    return replace(profile, tempers=tempers)


def _untempered(profile: Profile, cells: InputCells) -> list[RatioDetector]:
    return [d for family in FAMILIES for d in family.watch(profile, cells)]


def _key(stream: Stream) -> str:
    return f"{stream.detector}/{stream.target}"
