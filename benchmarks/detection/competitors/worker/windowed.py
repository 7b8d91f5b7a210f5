"""Detectors that judge sliding windows: those of alibi-detect, and two of frouros.

The libraries take one event at a time, in 50 to 350 microseconds. Here their own objects are made
and configured, and their statistic is computed for whole stretches of events from what these hold.
The figures are the same (tested). After an alarm a detector starts anew, with empty windows or,
where it has it so, with windows full of its reference.
"""

import numpy as np
from counting import Cvm, Fet, IncrementalKs, Stepd
from kernels import Lsdd, Mmd

STRETCH = 1_000  # events whose statistics are computed at once

MAKERS = {
    "CVMDriftOnline": Cvm,
    "FETDriftOnline": Fet,
    "STEPD": Stepd,
    "IncrementalKSTest": IncrementalKs,
    "MMDDriftOnline": Mmd,
    "LSDDDriftOnline": Lsdd,
}
_made: dict[tuple[str, bytes], object] = {}


def detector(name: str, reference: np.ndarray):
    """The configured detector; the same for the same reference."""
    key = (name, reference.tobytes())
    if key not in _made:
        np.random.seed(1)  # noqa: NPY002  alibi-detect draws from the global generator
        _made[key] = MAKERS[name](reference)
    return _made[key]


def alarms(
    name: str,
    limit: float | None,
    values: np.ndarray,
    stop_after: int | None,
    reference: np.ndarray,
) -> list[int]:
    """Events seen at each alarm; ends at the first beyond `stop_after`."""
    judge, found, start, at = detector(name, reference), [], 0, 0
    chance = np.random.default_rng(1)
    thresholds = judge.thresholds if limit is None else np.array([limit])
    while at < len(values):
        first, stop = max(start, at - judge.before), min(at + STRETCH, len(values))
        scores = judge.scores(values[first:stop], first - start)[at - first :]
        since = np.arange(at - start, stop - start)
        place = np.minimum(since, len(thresholds) - 1)
        rings = scores > thresholds[place]
        if limit is None and hasattr(judge, "permit"):
            rings |= (scores == thresholds[place]) & (
                chance.random(len(scores)) > judge.permit[place]
            )
        if not rings.any():
            at = stop
            continue
        start = at = at + int(rings.argmax()) + 1
        found.append(start)
        if stop_after is not None and start > stop_after:
            break
    return found
