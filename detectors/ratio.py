"""Likelihood-ratio tables: how many nats of evidence one event in a cell brings.

An event falls in cell i with probability p_i under the reference and q_i under an alternative;
log(q_i / p_i) summed over events is the logarithm of an e-value. Two corrections keep its mean at
most 1 when nothing that matters has changed:

- the reference is finite, so its p is off by sampling error. That error adds d to E[q / p], about
  normal with standard deviation s = sqrt(chi2(q, p) / n), the same d for every event. An
  alternative gathers KL(q, p) nats an event, so an alarm needs about T = NATS / KL events, over
  which the e-value grows by exp(T d). Its mean over references is exp(T^2 s^2 / 2), so each event
  pays a margin of T s^2 / 2 (that is z s with z = T s / 2), and never more than the upper 1% limit
  of d;
- small changes do not matter: each event pays the largest E[q / p] over changes up to a stated
  size (the materiality), so that the null holds all of them.

Tables are integers (nats times SCALE, rounded down), so that evidence does not depend on the order
of summation.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

SCALE = 2.0**32
CONFIDENCE = 2.33  # standard normal 99% point: the most that the reference's sampling error costs
NATS = 16.0  # evidence that an alarm takes: log of budget, streams and alternatives
# Alternatives and their relative shares: moderate changes are the likeliest.
SHIFTS = {
    0.12: 0.06,
    0.25: 0.25,
    0.5: 0.18,
    1.0: 0.21,
    2.0: 0.02,
}  # standard deviations, either way
SCALES = {0.5: 0.02, 0.7: 0.04, 0.83: 0.02, 1.2: 0.1, 1.5: 0.045, 2.0: 0.02}
SHAPE_SHARE = 0.02  # of all shapes together
SPIKE_SHARE = 0.02  # of all spikes together
USABLE = 0.4  # share of its own nats an event that must be left to an alternative after its margin
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


def location_scale_shares() -> NDArray[np.float64]:
    """Share (a,) of each alternative of `location_scale` beside the others."""
    return np.array([s / 2 for s in SHIFTS.values() for _ in range(2)] + list(SCALES.values()))


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
    reference_size: NDArray[np.float64] | float,
    immaterial: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Evidence an event brings: (k cells, a alternatives), nats times SCALE.

    p: (k,) reference probabilities, all positive. alternatives: (a, k). immaterial: (m, k) changes
    that must not count. reference_size: number of independent reference events behind p, one for
    all or (a,).
    """
    blended = (1 - BLEND) * alternatives + BLEND * p
    ratio = blended / p  # (a, k)
    chi2 = np.maximum((blended * ratio).sum(axis=1) - 1.0, 0.0)
    tolerated = np.maximum((ratio @ immaterial.T).max(axis=1), 1.0) if len(immaterial) else 1.0
    z = strictness(chi2, (blended * np.log(ratio)).sum(axis=1), reference_size)
    margin = np.log(tolerated + z * np.sqrt(chi2 / reference_size))
    return np.asarray(np.floor((np.log(ratio) - margin[:, None]).T * SCALE), dtype=np.int64)


def strictness(
    chi2: NDArray[np.float64],
    nats: NDArray[np.float64],
    reference_size: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """Standard errors z (a,) of the reference by which each alternative's null is moved.

    With them the mean over references of an alarm's e-value is at most 1 (see the module).

    Parameters
    ----------
    chi2, nats
        (a,) chi-squared and Kullback-Leibler divergence of each alternative from the reference.
    reference_size
        Number of independent reference events; (a,) or one for all.
    """
    needed = NATS / np.maximum(nats, 1e-12)
    return np.minimum(needed * np.sqrt(chi2 / reference_size) / 2, CONFIDENCE)


def usable(
    p: NDArray[np.float64], alternatives: NDArray[np.float64], evidence: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which alternatives (a,) are worth betting on: their margins leave USABLE of their evidence.

    p: (k,), alternatives: (a, k), evidence: (k, a) as `table` makes it.
    """
    blended = (1 - BLEND) * alternatives + BLEND * p
    gathered = (blended * (evidence.T / SCALE)).sum(axis=1)
    return np.asarray(gathered > USABLE * (blended * np.log(blended / p)).sum(axis=1))


def rate_limit(events: float, trials: float, upper: bool = True, z: float = CONFIDENCE) -> float:
    """Limit, z standard errors off (99% by default), of a rate seen `events` in `trials` times.

    Wilson (1927).
    """
    centre = events + z * z / 2
    spread = z * np.sqrt(events * (trials - events) / max(trials, 1) + z * z / 4)
    limit = (centre + (spread if upper else -spread)) / (trials + z * z)
    return float(np.clip(limit, 0.0, 1.0))


def rate_nulls(
    events: float,
    trials: float,
    alternatives: NDArray[np.float64],
    upper: bool = True,
    dispersion: NDArray[np.float64] | float = 1.0,
) -> NDArray[np.float64]:
    """Null rate (a,) against which each alternative rate is tested, one-sidedly.

    A Wilson limit of the reference rate, at as many standard errors as the module's text says.

    Parameters
    ----------
    events, trials
        How often it happened in the reference.
    alternatives
        (a,) rates, all above the reference rate (`upper`) or all below it.
    dispersion
        Variance of the reference's count relative to independent events; (a,) or one for all.
    """
    spread = np.broadcast_to(np.asarray(dispersion, dtype=np.float64), alternatives.shape)
    p = (events / spread + 0.5) / (trials / spread + 1)
    chi2 = (alternatives - p) ** 2 / (p * (1 - p))
    nats = alternatives * np.log(alternatives / p)
    nats += (1 - alternatives) * np.log((1 - alternatives) / (1 - p))
    z = strictness(chi2, nats, np.maximum(trials / spread, 1.0))
    return np.array(
        [rate_limit(events / d, trials / d, upper, s) for s, d in zip(z, spread, strict=True)]
    )


def rate_table(
    null: float | NDArray[np.float64], alternatives: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Evidence of an event that (does not, does) happen: (2, a), for rates beyond `null`.

    `null` is one rate, or one for each alternative.

    With q above null the ratio's mean is at most 1 for every true rate up to null, with q below it
    for every rate from null: a one-sided test needs no further margin (monotone likelihood ratio).
    """
    happens = np.log(alternatives / null)
    does_not = np.log((1 - alternatives) / (1 - null))
    return np.asarray(np.floor(np.stack([does_not, happens]) * SCALE), dtype=np.int64)
