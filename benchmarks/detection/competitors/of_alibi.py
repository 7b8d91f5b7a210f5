"""alibi-detect's online detectors.

As they come they are asked for the longest expected run that their documentation allows with the
default number of bootstraps: 1,000 events, or 100 for those of many features. One for a run of
100,000 would take a million bootstraps; tuned, they have one limit in place of those thresholds.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.detection.competitors.elsewhere import elsewhere
from benchmarks.detection.competitors.knobs import Knob, competitor, scale
from benchmarks.detection.competitors.of_frouros import FEW, SIZES
from benchmarks.detection.field import Competitor


def _online(
    name: str,
    detector: str,
    knob: Knob,
    limit: Callable[[float], float] = float,
    **limits: Any,
) -> Competitor:
    """A detector whose statistic is compared with the limit that the knob's value stands for."""
    sizes = {**SIZES, "warm": 1_000, "horizon": 5_000, "processes": (*FEW, "daily season")}
    return competitor(
        name,
        lambda reference, value: elsewhere(
            detector, None if value is None else limit(value), reference
        ),
        knob,
        **(sizes | limits),
    )


# Setting one of these up takes seconds a reference.
MANY: dict[str, Any] = {
    "units": ("numeric", "correlation"),
    "processes": ("independent",),
    "in_control": 100_000,
}
ALIBI = (
    _online("CVM online", "CVMDriftOnline", scale("limit", 1.0, 1_000.0), units=("numeric",)),
    _online(
        "FET online",
        "FETDriftOnline",
        scale("p below", 0.5, 1e-17),
        lambda p: 1.0 - p,
        units=("category", "missing", "error"),
    ),
)
KERNEL = (
    _online("MMD online", "MMDDriftOnline", scale("limit", 1e-4, 1.0), **MANY),
    _online("LSDD online", "LSDDDriftOnline", scale("limit", 1e-4, 10.0), **MANY),
)
