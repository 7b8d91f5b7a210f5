"""frouros' streaming detectors that river does not have.

Left out: those that river has too; BOCD, whose memory and time an event grow with the events seen
(3,000 take 24 seconds); and MMDStreaming, which gives a distance and no rule (alibi-detect has it
with one).
"""

from typing import Any

from scipy.stats import norm

from benchmarks.detection.competitors.elsewhere import elsewhere
from benchmarks.detection.competitors.knobs import Knob, competitor, level, scale
from benchmarks.detection.field import Competitor
from benchmarks.detection.streams import CHANGES

SHORT = tuple(c.name for c in CHANGES if (c.horizon or 0) <= 20_000)
SIZES: dict[str, Any] = {
    "tuning": 400_000,
    "in_control": 200_000,
    "runs": 20,
    "changes": SHORT,
}
FEW = ("independent", "AR(.5)")  # processes, for those that cost most


def _stepwise(name: str, detector: str, knob: Knob, **limits: Any) -> Competitor:
    return competitor(
        name,
        lambda reference, value: elsewhere(detector, value),
        knob,
        processes=FEW,
        **SIZES,
        **limits,
    )


WITH_NUMBERS: dict[str, Any] = {"units": ("numeric", "error", "calibration")}
ERRORS: dict[str, Any] = {"units": ("error",)}
FROUROS = (
    _stepwise("CUSUM", "CUSUM", scale("lambda", 0.5, 5_000.0), **WITH_NUMBERS),
    _stepwise("GMA", "GeometricMovingAverage", scale("lambda", 1e-3, 10.0), **WITH_NUMBERS),
    _stepwise("RDDM", "RDDM", scale("level", 1.0, 100.0), **ERRORS),
    _stepwise("ECDD-WT", "ECDDWT", scale("limit", 0.5, 50.0), **ERRORS),
    competitor(
        "STEPD",
        lambda reference, p: elsewhere("STEPD", None if p is None else float(norm.isf(p))),
        level("alpha"),
        processes=FEW,
        **SIZES,
        **ERRORS,
    ),
    competitor(
        "IKS p < .05",
        lambda reference, value: elsewhere("IncrementalKSTest", value, reference),
        Knob("distance", float),
        units=("numeric",),
        processes=(*FEW, "daily season"),
        warm=1_000,
        horizon=5_000,
        **SIZES,
    ),
)
