"""river's detectors, as they come and with one parameter tuned.

After an alarm each goes on as the library has it: ADWIN drops what it cut off, the others start
anew. All but ADWIN, KSWIN and PageHinkley are for errors alone.
"""

from collections.abc import Callable
from typing import Any

from river import drift
from river.drift import binary

from benchmarks.detection.competitors.knobs import competitor, level, scale
from benchmarks.detection.competitors.kswin import ALPHA, kswin
from benchmarks.detection.field import Competitor, Rule
from benchmarks.detection.streams import Floats


def of_river(make: Callable[[], Any], whole: bool = False) -> Rule:
    """The alarms of one of river's detectors; `whole` where it wants truth values."""

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        detector, found = make(), []
        items = (values > 0).tolist() if whole else values.tolist()
        for i, value in enumerate(items, start=1):
            detector.update(value)
            if detector.drift_detected:
                found.append(i)
                if stop_after is not None and i > stop_after:
                    break
        return found

    return run


def adwin(delta: float | None = None) -> Rule:
    """ADWIN (Bifet and Gavalda, 2007) as it comes, or with this delta and a look at every event."""
    if delta is None:
        return of_river(drift.ADWIN)
    return of_river(lambda: drift.ADWIN(delta=delta, clock=1))


def page_hinkley(threshold: float | None = None) -> Rule:
    """PageHinkley (Page, 1954) as it comes, or with this threshold."""
    return of_river(lambda: drift.PageHinkley(**_given(threshold=threshold)))


def ddm(threshold: float | None = None) -> Rule:
    """DDM (Gama et al., 2004), its threshold in standard deviations."""
    return of_river(lambda: binary.DDM(**_given(drift_threshold=threshold)), whole=True)


def eddm(beta: float | None = None) -> Rule:
    """EDDM (Baena-Garcia et al., 2006): alarm where the distance of errors falls to that share."""
    more = {} if beta is None else {"alpha": 0.95, "beta": beta}
    return of_river(lambda: binary.EDDM(**more), whole=True)


def hddm(kind: type, confidence: float | None = None) -> Rule:
    """HDDM_A or HDDM_W (Frias-Blanco et al., 2015) at this level."""
    more = {}
    if confidence is not None:
        more = {"drift_confidence": confidence, "warning_confidence": max(0.005, confidence)}
    return of_river(lambda: kind(**more), whole=True)


def _given(**parameters: float | None) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _stepwise(name: str, make: Callable[..., Rule], *arguments: Any, **more: Any) -> Competitor:
    return competitor(name, lambda reference, value: make(value), *arguments, **more)


ERRORS: dict[str, Any] = {"units": ("error",)}
SLOWER = {**ERRORS, "tuning": 400_000, "runs": 40}
RIVER = (
    _stepwise("ADWIN", adwin, level("delta")),
    _stepwise("PageHinkley", page_hinkley, scale("threshold", 0.5, 5_000.0)),
    _stepwise(
        "KSWIN",
        lambda alpha: kswin(ALPHA if alpha is None else alpha),
        level("alpha"),
        units=("numeric",),
    ),
    _stepwise("DDM", ddm, scale("threshold", 1.0, 100.0), **ERRORS),
    _stepwise("EDDM", eddm, scale("beta", 0.95, 0.0095), **ERRORS),
    _stepwise("HDDM_A", lambda c: hddm(binary.HDDMA, c), level("confidence"), **SLOWER),
    _stepwise("HDDM_W", lambda c: hddm(binary.HDDMW, c), level("confidence"), **SLOWER),
)
