"""Traffic: have predictions stopped coming?"""

import numpy as np

from detectors.cells import InputCells
from detectors.evidence import RatioDetector, Stream
from detectors.profile import Profile, TrafficProfile
from detectors.ratio import rate_limit, rate_table

FEWEST_TICKS = 20
SHORTEST = 86_400_000  # ms of reference: a few hours do not tell what a night is like


class Silence(RatioDetector):
    """Are ticks without a prediction more frequent than in the reference?

    A tick is long enough to hold the longest gap of the reference, so that a silent night is no
    news and its length in daytime is. A one-sided Bernoulli likelihood ratio on empty ticks.
    """

    def __init__(self, traffic: TrafficProfile) -> None:
        null = rate_limit(traffic.empty, traffic.ticks)
        q = np.array([0.5, 0.9])
        evidence = rate_table(null, q[q > null])
        stream = Stream("silence", "traffic", "silence", "page", evidence.shape[1])
        super().__init__(stream, "ticks", np.arange(2), evidence)

    @classmethod
    def watch(cls, profile: Profile, cells: InputCells) -> list["Silence"]:
        """One where the reference has times and is long enough to tell what silence is."""
        traffic = profile.traffic
        if traffic is None or traffic.ticks < FEWEST_TICKS:
            return []
        return [cls(traffic)] if traffic.ticks * traffic.tick >= SHORTEST else []
