"""Likelihood-ratio tables: how many nats of evidence one event in a cell brings.

An event falls in cell i with probability p_i under the reference and q_i under an alternative;
log(q_i / p_i) summed over events is the logarithm of an e-value. Two corrections keep its mean at
most 1 when nothing that matters has changed:

- the reference is finite: its p is off by sampling error, so each event pays
  2.33 sqrt(chi2(q, p) / n), an upper 1% limit on what that error adds to E[q / p];
- small changes do not matter: each event pays the largest E[q / p] over changes up to a stated
  size (the materiality), so that the null holds all of them.

Tables are integers (nats times SCALE, rounded down), so that evidence does not depend on the order
of summation.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

SCALE = 2.0**32
CONFIDENCE = 2.33  # standard normal 99% point: one-sided limit for the reference's sampling error
SHIFTS = (0.15, 0.3, 0.6, 1.2, 2.4)  # in standard deviations of the normal scores, either way
SCALES = (0.5, 0.7, 0.83, 1.2, 1.5, 2.0)
TILT = 0.3  # of a change of shape: about .045 nats an event under its own alternative
BLEND = 0.02  # share of the reference mixed into each alternative: bounds what one event can cost
SPIKE = 0.2  # share of all mass that a single-bin alternative adds to its bin

NORMAL = NormalDist()
_cdf = np.vectorize(NORMAL.cdf, otypes=[float])


def shifted(p: NDArray[np.float64], shift: float, scale: float = 1.0) -> NDArray[np.float64]:
    """Cell probabilities (k,) after moving and stretching the column's normal scores.

    The cumulative reference probabilities are mapped to standard normal quantiles z, and cell i
    gets Phi((z_i - shift) / scale) - Phi((z_{i-1} - shift) / scale): a change of location and scale
    laid over the empirical distribution, ties and all.
    """
    cumulative = np.clip(np.cumsum(p)[:-1], 1e-12, 1 - 1e-12)
    z = np.array([NORMAL.inv_cdf(float(c)) for c in cumulative])
    upper = np.concatenate([_cdf((z - shift) / scale) if len(z) else z, [1.0]])
    return np.diff(upper, prepend=0.0)


def location_scale(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alternatives (a, k) to p: shifts and scales."""
    moved = [shifted(p, sign * s) for s in SHIFTS for sign in (-1.0, 1.0)]
    stretched = [shifted(p, 0.0, s) for s in SCALES]
    return np.array(moved + stretched)


def cell_scores(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal score (k,) of the middle of each cell's probability."""
    middle = np.clip(np.cumsum(p) - p / 2, 1e-9, 1 - 1e-9)
    return np.array([NORMAL.inv_cdf(float(m)) for m in middle])


def shapes(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alternatives (4, k) of another shape: skewed either way, with two humps, with heavy tails.

    The probabilities tilted by exp(+-TILT h(z)), h the normalised Hermite polynomial of degree 3 or
    4 at the cell's normal score: location and spread stay about the same.
    """
    z = np.clip(cell_scores(p), -3.0, 3.0)
    polynomials = ((z**3 - 3 * z) / np.sqrt(6), (z**4 - 6 * z**2 + 3) / np.sqrt(24))
    tilted = [p * np.exp(sign * TILT * h) for h in polynomials for sign in (-1.0, 1.0)]
    return np.array([q / q.sum() for q in tilted])


def spikes(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alternatives (k, k) in which one cell takes a fifth of all mass from the others."""
    return (1 - SPIKE) * p[None, :] + SPIKE * np.eye(len(p))


def table(
    p: NDArray[np.float64],
    alternatives: NDArray[np.float64],
    reference_size: float,
    immaterial: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Evidence an event brings: (k cells, a alternatives), nats times SCALE.

    p: (k,) reference probabilities, all positive. alternatives: (a, k). immaterial: (m, k) changes
    that must not count. reference_size: number of independent reference events behind p.
    """
    blended = (1 - BLEND) * alternatives + BLEND * p
    ratio = blended / p  # (a, k)
    chi2 = np.maximum((blended * ratio).sum(axis=1) - 1.0, 0.0)
    tolerated = np.maximum((ratio @ immaterial.T).max(axis=1), 1.0) if len(immaterial) else 1.0
    margin = np.log(tolerated + CONFIDENCE * np.sqrt(chi2 / reference_size))
    return np.asarray(np.floor((np.log(ratio) - margin[:, None]).T * SCALE), dtype=np.int64)


def rate_limit(events: float, trials: float, upper: bool = True, z: float = CONFIDENCE) -> float:
    """Limit, z standard errors off (99% by default), of a rate seen `events` in `trials` times.

    Wilson (1927).
    """
    centre = events + z * z / 2
    spread = z * np.sqrt(events * (trials - events) / max(trials, 1) + z * z / 4)
    limit = (centre + (spread if upper else -spread)) / (trials + z * z)
    return float(np.clip(limit, 0.0, 1.0))


def rate_table(null: float, alternatives: NDArray[np.float64]) -> NDArray[np.int64]:
    """Evidence of an event that (does not, does) happen: (2, a), for rates beyond `null`.

    With q above null the ratio's mean is at most 1 for every true rate up to null, with q below it
    for every rate from null: a one-sided test needs no further margin (monotone likelihood ratio).
    """
    happens = np.log(alternatives / null)
    does_not = np.log((1 - alternatives) / (1 - null))
    return np.asarray(np.floor(np.stack([does_not, happens]) * SCALE), dtype=np.int64)
