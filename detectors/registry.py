"""Every detector of a profile, by family."""

from collections.abc import Sequence
from typing import Protocol

from detectors.accuracy.error import ErrorRate, ErrorSize
from detectors.cells import InputCells
from detectors.drift.categorical import CategoricalDrift
from detectors.drift.numeric import NumericDrift
from detectors.evidence import Detector
from detectors.profile import Profile
from detectors.quality.rates import BrokenSchema, InvalidRate, MissingRate, UnseenRate
from detectors.traffic.silence import Silence


class Family(Protocol):
    """A kind of detector that knows what of a profile it can watch."""

    def watch(self, profile: Profile, cells: InputCells) -> Sequence[Detector]:
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
    """The detectors that watch a profile without further configuration, in a fixed order."""
    return [d for family in FAMILIES for d in family.watch(profile, cells)]
