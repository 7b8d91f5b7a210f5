"""frouros' detectors that take one event after the other; after an alarm each starts anew."""

from collections.abc import Callable

import numpy as np
from frouros.detectors import concept_drift as cd


def _cusum(limit: float | None) -> cd.CUSUM:
    return cd.CUSUM(None if limit is None else cd.CUSUMConfig(lambda_=limit))


def _moving_average(limit: float | None) -> cd.GeometricMovingAverage:
    config = None if limit is None else cd.GeometricMovingAverageConfig(lambda_=limit)
    return cd.GeometricMovingAverage(config)


def _rddm(drift: float | None) -> cd.RDDM:
    # The warning keeps its share of the drift level.
    config = None
    if drift is not None:
        config = cd.RDDMConfig(warning_level=drift * 1.773 / 2.258, drift_level=drift)
    return cd.RDDM(config)


def _ecdd(limit: float | None) -> cd.ECDDWT:
    # The library knows the control limits of three run lengths, of at most 1,000 events.
    config = cd.ECDDWTConfig()
    if limit is not None:
        config.control_limit_func = lambda p: limit
    return cd.ECDDWT(config)


MAKERS: dict[str, Callable] = {
    "CUSUM": _cusum,
    "GeometricMovingAverage": _moving_average,
    "RDDM": _rddm,
    "ECDDWT": _ecdd,
}


def alarms(
    name: str, parameter: float | None, values: np.ndarray, stop_after: int | None
) -> list[int]:
    """Events seen at each alarm; ends at the first beyond `stop_after`."""
    detector, found = MAKERS[name](parameter), []
    for i, value in enumerate(values.tolist(), start=1):
        detector.update(value=value)
        if detector.drift:
            found.append(i)
            if stop_after is not None and i > stop_after:
                break
            detector.reset()
    return found
