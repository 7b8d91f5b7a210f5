"""Traffic: do as many predictions come as in the reference?"""

import numpy as np
from numpy.typing import NDArray

from detectors.cells import InputCells
from detectors.evidence import Kind, PaneRun, RatioDetector, Severity, Stream
from detectors.profile import Profile
from detectors.ratio import SCALE
from detectors.sketch import Contributions, Counts
from detectors.traffic.reference import TrafficProfile
from detectors.traffic.ticks import DAY, hour_of_week, hour_weights, tick_counts

FEWEST_TICKS = 20
IMMATERIAL = 0.1  # share by which an hour's mean may change without mattering
BEYOND = 0.15  # share by which an alternative's mean lies beyond the null's at least
QUESTIONS: tuple[tuple[str, Kind, Severity, tuple[float, ...]], ...] = (
    ("silence", "silence", "page", (0.01, 0.25, 0.5)),  # it stopped, or collapsed
    ("traffic_volume", "traffic", "ticket", (0.7, 1.5, 2.0, 4.0)),  # it changed
)


class Traffic(RatioDetector):
    """Negative binomial likelihood ratios of the predictions in each tick.

    An alternative multiplies the mean of every hour of the week by its factor. The null of a drop
    is the hours' lower limits less IMMATERIAL, that of a rise their upper limits and as much more:
    at a given dispersion r the likelihood ratio is monotone in the mean, so that its own mean is at
    most 1 for every mean beyond. The logarithm is linear in predictions and in ticks, hence a
    silence of any length is told in one step. `calibrated`: r and the limits are estimates.

    Parameters
    ----------
    stream
        The question.
    traffic
        The reference.
    table
        (168, 2, a) evidence of a tick, and of a prediction, by hour of the week; nats times SCALE.
    """

    def __init__(self, stream: Stream, traffic: TrafficProfile, table: Counts) -> None:
        super().__init__(stream, "ticks", np.arange(3), table)
        self.traffic = traffic

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["Traffic"]:
        """Both questions, where the reference has times and is long enough to tell."""
        traffic = profile.traffic
        if traffic is None or traffic.ticks < FEWEST_TICKS or traffic.ticks * traffic.tick < DAY:
            return []
        found = []
        for name, kind, severity, factors in QUESTIONS:
            stream = Stream(name, "traffic", kind, severity, len(factors), "calibrated")
            found.append(cls(stream, traffic, traffic_table(traffic, factors)))
        return found

    def tempered(self, temper: NDArray[np.float64]) -> "Traffic":
        """The same question with each alternative's evidence divided by `temper` (a,)."""
        table = np.floor(self.table / np.maximum(temper, 1.0)).astype(np.int64)
        return Traffic(self.stream, self.traffic, table)

    def per_event(self, made: Contributions, time: NDArray[np.int64]) -> NDArray[np.float64]:
        """Evidence (ticks, a) of each tick of sorted times (n,), less what its hour explains."""
        counts = tick_counts(time, self.traffic.tick)
        if counts is None:
            return np.zeros((0, self.stream.alternatives))
        slope = self.table[:, 1] / SCALE
        return (counts.count - counts.expected)[:, None] * slope[counts.hour]

    def step(self, memory: None, run: PaneRun) -> tuple[None, NDArray[np.float64]]:
        """Evidence of the ticks that each pane tells of, exact in integers."""
        first, number, count = run.sections["ticks"].T
        tick = self.traffic.tick
        hour = hour_of_week((first + number - 1) * tick)
        one = self.table[hour, 0] + count[:, None] * self.table[hour, 1]
        log_e = np.where(number[:, None] > 0, one / SCALE, 0.0)
        for i in np.flatnonzero(number > 1).tolist():
            hours = hour_weights(int(first[i]), int(first[i] + number[i]) - 1, tick)
            before = hours.astype(object) @ self.table[:, 0].astype(object)  # of any size
            log_e[i] = (before + one[i]) / SCALE
        return None, log_e


def traffic_table(traffic: TrafficProfile, factors: tuple[float, ...]) -> Counts:
    """Evidence (168, 2, a) of a tick and of a prediction against such changes; nats times SCALE.

    Of y predictions with null mean m and alternative mean q: y log(q (r + m) / (m (r + q)))
    - r log((r + q) / (r + m)).
    """
    mean, low, high = (np.array(x) for x in (traffic.mean, traffic.low, traffic.high))
    r = traffic.dispersion
    made = []
    for factor in factors:
        if factor < 1:
            null = low * (1 - IMMATERIAL)
            q = np.minimum(factor * mean, (1 - BEYOND) * null)
        else:
            null = high * (1 + IMMATERIAL)
            q = np.maximum(factor * mean, (1 + BEYOND) * null)
        known = null > 0  # where nothing comes, nothing can be missed
        null, q = np.where(known, null, 1.0), np.where(known, q, 1.0)
        more = np.log1p(q / r) - np.log1p(null / r)
        made.append(np.stack([-r * more, np.log(q / null) - more], axis=1))
    return np.floor(np.stack(made, axis=-1) * SCALE).astype(np.int64)
