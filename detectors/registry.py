"""Every detector of a profile, by family."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.accuracy.calibration import Calibration
from detectors.accuracy.error import ErrorRate, ErrorSize
from detectors.batch import Batch, protected_codes
from detectors.cells import InputCells
from detectors.dependence import dependence
from detectors.drift.categorical import CategoricalDrift
from detectors.drift.joint import JointDrift
from detectors.drift.numeric import NumericDrift
from detectors.evidence import Detector, RatioDetector, Source, Stream
from detectors.fairness.gap import ErrorGap, OpportunityGap, SelectionGap
from detectors.pane import PaneCells, reference_outcomes
from detectors.profile import Profile
from detectors.quality.rates import BrokenSchema, InvalidRate, MissingRate, UnseenRate
from detectors.ratio import SCALE
from detectors.sketch import Contributions
from detectors.traffic.volume import Traffic

NOTHING = Contributions(*(np.zeros(0, dtype=np.int64) for _ in range(3)))


class Temperable(Detector, Protocol):
    """A detector whose serial dependence can be told from its reference."""

    @property
    def source(self) -> Source:
        """Which counts of a pane it reads."""

    def per_event(self, made: Contributions, time: NDArray[np.int64]) -> NDArray[np.float64]:
        """Evidence (n, a) of each row that it counts; see `RatioDetector`."""

    def tempered(self, temper: NDArray[np.float64]) -> "Temperable":
        """The same question with each alternative's evidence divided by `temper` (a,)."""


class Family(Protocol):
    """A kind of detector that knows what of a profile it can watch."""

    def watch(self, profile: Profile, cells: InputCells) -> Sequence[Temperable]:
        """One detector for each target; none where the profile has nothing to compare with."""


FAMILIES: tuple[Family, ...] = (
    NumericDrift,
    CategoricalDrift,
    JointDrift,
    MissingRate,
    InvalidRate,
    UnseenRate,
    BrokenSchema,
    ErrorRate,
    ErrorSize,
    Calibration,
    SelectionGap,
    ErrorGap,
    OpportunityGap,
    Traffic,
)


def default_detectors(profile: Profile, cells: InputCells) -> list[Detector]:
    """The detectors that watch a profile without further configuration, in a fixed order.

    Each is tempered by what the profile says of its stream's serial dependence.
    """
    found: list[Detector] = []
    for detector in _untempered(profile, cells):
        stream = detector.stream
        found.append(detector.tempered(profile.temper(_key(stream), stream.alternatives)))
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
        codes = protected_codes(profile.schema, rows)
        outcomes = reference_outcomes(rows, label[order], codes)
        of_outcomes = cells.by_section(outcomes)
        made |= of_outcomes
        time |= dict.fromkeys(of_outcomes, outcomes.time)
    if timed:
        made["ticks"], time["ticks"] = NOTHING, rows.time  # they are counted from the times
    tempers: dict[str, tuple[float, ...]] = {}
    dispersions: dict[str, tuple[float, ...]] = {}
    for detector in _untempered(profile, cells.inputs):
        if detector.source not in made:
            continue
        few, like = _unlike(detector)
        evidence = few.per_event(made[detector.source], time[detector.source])
        for stated, found in zip((tempers, dispersions), dependence(evidence), strict=True):
            if (found > 1.0).any():
                stated[_key(detector.stream)] = tuple(found[like].round(3).tolist())
    return replace(profile, tempers=tempers, dispersions=dispersions)


def _unlike(detector: Temperable) -> tuple[Temperable, NDArray[np.intp]]:
    """The detector with those alternatives alone that differ by more than a factor.

    Those that differ by one have the same dependence: all of a rate, or of a category. Returned
    beside it is which of them each alternative (a,) is like; of several the strongest is taken.
    """
    if not isinstance(detector, RatioDetector) or (
        type(detector).per_event is not RatioDetector.per_event
    ):
        return detector, np.arange(detector.stream.alternatives)
    table = detector.table / SCALE
    centre = table.mean(axis=0) if table.ndim == 2 else detector.expected[:, None, :]
    pattern = (table - centre).reshape(-1, table.shape[-1])
    size = np.abs(pattern).max(axis=0)
    scaled = pattern / np.maximum(size, 1e-12)
    _, like = np.unique(scaled.round(4), axis=1, return_inverse=True)
    like = like.reshape(-1)
    order = np.lexsort((-size, like))
    first = order[np.concatenate([[True], np.diff(like[order]) > 0])]
    stream = replace(detector.stream, alternatives=len(first), shares=(), parts=())
    kept = RatioDetector(
        stream,
        detector.source,
        detector.cells,
        detector.table[..., first],
        detector.slots,
        detector.expected[:, first],
    )
    return kept, like


def _untempered(profile: Profile, cells: InputCells) -> list[Temperable]:
    return [d for family in FAMILIES for d in family.watch(profile, cells)]


def _key(stream: Stream) -> str:
    return f"{stream.detector}/{stream.target}"
