"""What Tocsin is compared with: river's detectors, rules of thumb, and an alarm clock as control.

Each is a function from a series to its alarms, the position of an alarm being the number of events
seen by then. `stop_after` ends the run at the first alarm beyond that many events. A detector that
has rung goes on as its library has it: ADWIN drops what it cut off, PageHinkley and DDM start anew.
"""

from collections.abc import Callable

import numpy as np
from river import drift
from river.drift import binary
from scipy.stats import kstwo

from benchmarks.detection.streams import Floats

Rule = Callable[[Floats, int | None], list[int]]
WINDOW = 1_000
PSI_LIMIT = 0.2
KS_LEVEL = 0.05
DECILES = np.arange(0.1, 0.95, 0.1)


def of_river(make: Callable[[], object], whole: bool = False) -> Rule:
    """The alarms of one of river's detectors; `whole` where it wants truth values."""

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        detector, found = make(), []
        items = (values > 0).tolist() if whole else values.tolist()
        for i, value in enumerate(items, start=1):
            detector.update(value)  # type: ignore[attr-defined]
            if detector.drift_detected:  # type: ignore[attr-defined]
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


def page_hinkley() -> Rule:
    """PageHinkley as it comes."""
    return of_river(drift.PageHinkley)


def kswin() -> Rule:
    """KSWIN as it comes, with a seed."""
    return of_river(lambda: drift.KSWIN(seed=1))


def ddm() -> Rule:
    """DDM as it comes, on errors."""
    return of_river(binary.DDM, whole=True)


def tuned_delta(values: Floats, rate: float, steps: int = 8) -> float:
    """ADWIN's delta for at most `rate` alarms an event on this stream without a change.

    Halves an interval of log10(-log10(delta)), from a delta of .9 down to 1e-100.
    """
    low, high = np.log10(-np.log10(0.9)), 2.0
    for _ in range(steps):
        middle = (low + high) / 2
        if len(adwin(10.0 ** -(10.0**middle))(values, None)) > rate * len(values):
            low = middle
        else:
            high = middle
    return float(10.0 ** -(10.0**high))


def _windows(values: Floats) -> Floats:
    k = len(values) // WINDOW
    return values[: k * WINDOW].reshape(k, WINDOW)


def _ends(rings: np.ndarray, stop_after: int | None) -> list[int]:
    ends = ((np.flatnonzero(rings) + 1) * WINDOW).tolist()
    late = [e for e in ends if stop_after is not None and e > stop_after]
    return [e for e in ends if not late or e <= late[0]]


def psi(reference: Floats) -> Rule:
    """Windows whose population stability index over the reference's deciles exceeds 0.2."""
    binary_values = len(np.unique(reference)) <= 2
    edges = np.array([0.5]) if binary_values else np.quantile(reference, DECILES)
    cells = len(edges) + 1
    least = 1e-4  # the usual stand-in for an empty cell
    p = np.bincount(np.searchsorted(edges, reference, "right"), minlength=cells) / len(reference)
    p = np.maximum(p, least)

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        windows = _windows(values)
        codes = np.searchsorted(edges, windows, "right")
        q = np.stack([(codes == c).mean(axis=1) for c in range(cells)], axis=1)
        q = np.maximum(q, least)
        return _ends(((q - p) * np.log(q / p)).sum(axis=1) > PSI_LIMIT, stop_after)

    return run


def kolmogorov_smirnov(reference: Floats) -> Rule:
    """Windows that a two-sample Kolmogorov-Smirnov test tells from the reference at p < .05."""
    ordered, n = np.sort(reference), len(reference)
    limit = float(kstwo.isf(KS_LEVEL, round(n * WINDOW / (n + WINDOW))))
    steps = np.arange(WINDOW + 1) / WINDOW

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        windows = np.sort(_windows(values), axis=1)
        below = np.searchsorted(ordered, windows, "left") / n
        upto = np.searchsorted(ordered, windows, "right") / n
        distance = np.maximum((steps[1:] - below).max(axis=1), (upto - steps[:-1]).max(axis=1))
        return _ends(distance > limit, stop_after)

    return run


def every(period: int, phase: int = 0) -> Rule:
    """An alarm every `period` events, whatever they are."""

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        ends = list(range(period - phase, len(values) + 1, period))
        late = [e for e in ends if stop_after is not None and e > stop_after]
        return [e for e in ends if not late or e <= late[0]]

    return run
