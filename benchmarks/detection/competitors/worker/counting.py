"""Statistics of ranks and counts: two of alibi-detect's online detectors and two of frouros'."""

import sys
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

FOREVER = 2**62
WINDOWS = [50, 200]  # events
WINDOW = 100  # where there can be only one
# The longest expected run that alibi-detect's documentation allows with the default number of
# bootstraps: a tenth of it.
RUN = 1_000


class Cvm:
    """Cramer-von Mises over two windows; its thresholds hold for any distribution."""

    def __init__(self, reference: np.ndarray) -> None:
        self.reference = np.sort(reference[:1_000])
        self.before = max(WINDOWS) - 1
        self.thresholds = _cvm_thresholds(len(self.reference))

    def scores(self, values: np.ndarray, since: int) -> np.ndarray:
        """Statistics of a stretch that begins `since` events after the start."""
        from alibi_detect.cd.cvm_online import _normalise_stats

        n, stats = len(self.reference), np.full((len(values), len(WINDOWS)), np.nan)
        below = np.searchsorted(self.reference, values)
        for k, ws in enumerate(WINDOWS):
            if len(values) >= ws:
                r = np.sort(sliding_window_view(below, ws), axis=1).astype(float)
                j = np.arange(1.0, ws + 1)
                of_window = ((r / n - j / ws) ** 2).sum(axis=1)
                # With c = j where r(j) < i <= r(j + 1), the sum over i of (i / n - c / ws) ** 2.
                crossed = (n * (n + 1) - r * (r + 1)).sum(axis=1) / 2
                squared = ((2 * j - 1) * (n - r)).sum(axis=1)
                squares = (n + 1) * (2 * n + 1) / (6 * n)
                of_reference = squares - 2 * crossed / (n * ws) + squared / ws**2
                stats[ws - 1 :, k] = _normalise_stats(of_window + of_reference, n, ws)
        return _largest(stats)


def _cvm_thresholds(n: int) -> np.ndarray:
    """Simulated by the library in some minutes, once for an environment."""
    from alibi_detect.cd import CVMDriftOnline

    windows = "-".join(map(str, WINDOWS))
    kept = Path(sys.prefix) / f"cvm-thresholds-{n}-{RUN}-{windows}.npy"
    if not kept.exists():
        made = CVMDriftOnline(np.arange(n, dtype=float), RUN, WINDOWS, verbose=False)
        np.save(kept, made.thresholds[:, 0])
    return np.load(kept)


class _Hypergeom:
    """scipy's, called once for each count and not for each of millions of events."""

    @staticmethod
    def cdf(k: int, population: int, marked: np.ndarray, drawn: int) -> np.ndarray:
        """P(at most k of `drawn` are marked)."""
        from scipy.stats import hypergeom

        counts, place = np.unique(marked, return_inverse=True)
        return hypergeom.cdf(k, population, counts, drawn)[place].reshape(np.shape(marked))


class Fet:
    """Fisher's exact test over two windows, for rates that rise."""

    def __init__(self, reference: np.ndarray) -> None:
        from alibi_detect.cd import fet_online

        fet_online.hypergeom = _Hypergeom
        self.made = fet_online.FETDriftOnline(reference.astype(int), RUN, WINDOWS, verbose=False)
        self.before = max(WINDOWS) + 3  # for the moving average, whose memory is four events
        self.thresholds = self.made.thresholds[:, 0]
        self.permit = self.made.permit_probs[:, 0]  # chance that a statistic at the limit passes
        n, ones = len(reference), int(reference.sum())
        self.stat = [
            1 - _Hypergeom.cdf(ones, n + ws, ones + np.arange(ws + 1), n) for ws in WINDOWS
        ]

    def scores(self, values: np.ndarray, since: int) -> np.ndarray:
        """Statistics of a stretch that begins `since` events after the start."""
        total = np.concatenate([[0], np.cumsum(values)]).astype(int)
        stats = np.full((len(values), len(WINDOWS)), np.nan)
        for k, ws in enumerate(WINDOWS):
            if len(values) >= ws:
                raw = self.stat[k][total[ws:] - total[:-ws]]
                stats[ws - 1 :, k] = self.made._exp_moving_avg(raw, self.made.lam)
        return _largest(stats.astype(np.float32))


class Stepd:
    """frouros' STEPD: the newest events' share of right ones beside that of all since the start."""

    NEWEST = 30

    def __init__(self, reference: np.ndarray) -> None:
        from scipy.stats import norm

        self.before = FOREVER
        self.thresholds = np.array([norm.isf(0.003)])

    def scores(self, values: np.ndarray, since: int) -> np.ndarray:
        """Statistics of all events since the start."""
        total = np.concatenate([[0.0], np.cumsum(1.0 - values)])
        found = np.full(len(values), np.nan)
        n = np.arange(2 * self.NEWEST, len(values) + 1)
        right, newest = total[n], total[n] - total[n - self.NEWEST]
        share, inverse = right / n, 1 / (n - self.NEWEST) + 1 / self.NEWEST
        gap = np.abs((right - newest) / (n - self.NEWEST) - newest / self.NEWEST)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = (gap - inverse / 2) / np.sqrt(share * (1 - share) * inverse)
        found[n - 1] = np.abs(statistic)
        return found


class IncrementalKs:
    """Kolmogorov-Smirnov distance of a window; the library leaves the level to the user: .05."""

    def __init__(self, reference: np.ndarray) -> None:
        from scipy.stats import kstwo

        self.reference = np.sort(reference[:10_000])
        n = len(self.reference)
        self.before = WINDOW - 1
        self.thresholds = np.array([kstwo.isf(0.05, round(n * WINDOW / (n + WINDOW)))])

    def scores(self, values: np.ndarray, since: int) -> np.ndarray:
        """Statistics of a stretch that begins `since` events after the start."""
        found = np.full(len(values), np.nan)
        if len(values) < WINDOW:
            return found
        windows = np.sort(sliding_window_view(values, WINDOW), axis=1)
        n, steps = len(self.reference), np.arange(WINDOW + 1) / WINDOW
        below = np.searchsorted(self.reference, windows, "left") / n
        upto = np.searchsorted(self.reference, windows, "right") / n
        distance = np.maximum((steps[1:] - below).max(axis=1), (upto - steps[:-1]).max(axis=1))
        found[WINDOW - 1 :] = distance
        return found


def _largest(stats: np.ndarray) -> np.ndarray:
    """Largest statistic (n,) of the windows that are full (n, windows)."""
    for k, ws in enumerate(WINDOWS):
        stats[: ws - 1, k] = -np.inf
    largest = stats.max(axis=1)
    return np.where(np.isneginf(largest), np.nan, largest)
