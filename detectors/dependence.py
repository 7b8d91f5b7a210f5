"""Serial dependence: what a reference's own order says about how events follow each other.

Likelihood ratios multiply over independent events. Real traffic is not independent: neighbouring
events resemble each other, so sums vary more, and naive alarms ring without a change, hundreds of
times too often. With D the variance of summed evidence relative to what independent events would
have, evidence divided by D is a valid bet again, to the accuracy of a normal approximation:
exp(L / D) with L of mean -v/2 and variance D v has mean at most 1.

D is the long-run variance. Over blocks of l events the relative variance is V(l) = D - c / l once l
is long against the dependence, so 2 V(2l) - V(l) is D without that bias: the flat-top lag window of
Politis and Romano (1995). The block length is the first beyond which V no longer rises clearly
(Lepski, 1991), and an upper confidence limit counts, since an underestimate breaks the promise.

Events that come in bursts are not normal: a block holds none, or a great many. So the mean of
exp(L / D) is then taken over the reference's moving blocks, and D grows until it is at most 1.

The same dependence makes the reference itself worth fewer events: n / D for its margins. Where the
levels of its quarters differ by more than D explains, it was not at rest, and that counts instead.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEWEST_BLOCKS = 16  # of the longest blocks; they overlap, so that they tell as much as 24
STARTS = 16  # of blocks in the length of one: as good as a start at each event, nearly
LEVELS = 4  # blocks whose levels are compared at last
CLEARLY = 3.0  # normal quantile by which V must rise to count
UPPER = 1.0  # that of the upper limit of D
MOVING = (2, 8)  # lengths of moving blocks, in blocks of the chosen length
GROWS = 1.25  # factor by which D grows until the moving blocks' mean is at most 1
LARGEST_TEMPER = 1000.0
FEWEST_INDEPENDENT = 100  # events that a reference must be worth, or nothing can be promised
SHOWS = 0.125  # share of the alternatives whose block length holds for all
AT_ONCE = 16  # alternatives, to bound memory


def dependence(evidence: Floats) -> tuple[Floats, Floats]:
    """What each alternative's evidence is divided by (a,), and its dispersion (a,).

    The dispersion is the variance of a level seen in the reference relative to independent events;
    both are at least 1.

    Parameters
    ----------
    evidence
        (n, a) what each reference event brings, in the order of time; nats, up to a constant.
    """
    n, alternatives = evidence.shape
    if n < 2 * FEWEST_BLOCKS or not alternatives:
        return np.ones(alternatives), np.ones(alternatives)
    lengths = 2 ** np.arange(int(np.log2(n / FEWEST_BLOCKS)) + 1)
    parts = [
        _moments(evidence[:, i : i + AT_ONCE], lengths) for i in range(0, alternatives, AT_ONCE)
    ]
    ratio, kurtosis = (np.concatenate(found, axis=1) for found in zip(*parts, strict=True))
    chosen, every = np.zeros(alternatives, dtype=np.intp), np.arange(alternatives)
    for i, length in enumerate(lengths[1:], start=1):
        rises = ratio[i] > ratio[chosen, every] * _quantile(1.5 * n / length, CLEARLY)
        chosen[rises] = i
    # Alternatives about rare events show little by themselves: they follow those that show more.
    chosen = np.maximum(chosen, np.quantile(chosen, 1 - SHOWS, method="lower").astype(np.intp))
    longer = np.minimum(chosen + 1, len(lengths) - 1)
    shorter = ratio[chosen, every]
    long_run = np.maximum(np.maximum(2 * ratio[longer, every] - shorter, shorter), 1.0)
    # The flat-top window's variance is four times that of blocks of the chosen length, and more
    # where few of them hold most of it: where rare events come in clusters.
    degrees = 0.375 * n / lengths[chosen] * 2 / (np.maximum(kurtosis[chosen, every], 3.0) - 1)
    upper = long_run / _quantile(degrees, -UPPER)
    varies = (chosen > 0) & (ratio[0] > 0)
    tempers, long_run = (np.where(varies, x, 1.0) for x in (upper, long_run))
    for i in np.flatnonzero(varies).tolist():
        tempers[i] = _until_no_gain(evidence[:, i], int(lengths[chosen[i]]), float(tempers[i]))
    tempers = np.minimum(tempers, LARGEST_TEMPER)
    return tempers, np.maximum(long_run, _unrest(evidence, tempers))


def temper(evidence: Floats) -> Floats:
    """What each alternative's evidence is divided by (a,); see `dependence`."""
    return dependence(evidence)[0]


def _unrest(evidence: Floats, tempers: Floats) -> Floats:
    """Variance (a,) of the levels of the reference's quarters, where that is clearly more; or 1."""
    length = len(evidence) // LEVELS
    quarters = evidence[: LEVELS * length].reshape(LEVELS, length, -1).mean(axis=1)
    ratio = length * quarters.var(axis=0, ddof=1) / np.maximum(evidence.var(axis=0), 1e-300)
    return np.where(ratio > tempers * _quantile(LEVELS - 1, CLEARLY), ratio, 1.0)


def _moments(evidence: Floats, lengths: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Of the sums of moving blocks of these lengths (lengths, a): variance, and kurtosis.

    The variance is relative to that of independent events.
    """
    sums, variance = _cumulated(np.ascontiguousarray(evidence.T))
    ratios, kurtoses = [], []
    for length in lengths.tolist():
        blocks = _blocks(sums, length)
        blocks *= blocks
        square = blocks.mean(axis=-1)
        blocks *= blocks
        kurtoses.append(blocks.mean(axis=-1) / np.maximum(square, 1e-150) ** 2)
        # The mean was taken out, which takes length / n of a block's variance with it.
        square = square / (1 - length / len(evidence))
        ratios.append(square / np.maximum(length * variance, 1e-300))
    return np.stack(ratios), np.stack(kurtoses)


def _cumulated(evidence: Floats) -> tuple[Floats, Floats]:
    """Sums (..., n + 1) of centred evidence (..., n), and its variance (...)."""
    sums = np.zeros((*evidence.shape[:-1], evidence.shape[-1] + 1))
    centred = evidence - evidence.mean(axis=-1, keepdims=True)
    np.cumsum(centred, axis=-1, out=sums[..., 1:])
    return sums, (centred * centred).mean(axis=-1)


def _until_no_gain(evidence: Floats, length: int, divisor: float) -> float:
    """The divisor of evidence (n,), grown until moving blocks of MOVING lengths gain nothing."""
    longest = len(evidence) // FEWEST_BLOCKS
    lengths = [min(m * length, longest) for m in MOVING]
    sums, _ = _cumulated(evidence)
    # What an event loses on average, from its own mean of exp: nats.
    loss = float(np.log(np.exp(evidence - evidence.mean()).mean()))
    blocks = [_blocks(sums, m) - loss * m for m in lengths]
    while divisor < LARGEST_TEMPER and any(_gains(b, divisor) for b in blocks):
        divisor *= GROWS
    return divisor


def _blocks(sums: Floats, length: int) -> Floats:
    """Sums (..., b) of moving blocks, from cumulated ones (..., n + 1)."""
    step = max(length // STARTS, 1)
    return np.asarray(sums[..., length::step] - sums[..., :-length:step])


def _gains(blocks: Floats, by: float) -> bool:
    """Is the mean of exp(L / `by`) over moving blocks (b,) above 1?"""
    return bool(np.exp(np.minimum(blocks / by, 50.0)).mean() > 1.0)


def _quantile(degrees: Floats | float, z: float) -> Floats:
    """Quantile of chi-squared / degrees at the normal quantile z (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * np.asarray(degrees, dtype=np.float64))
    return np.asarray(np.maximum(1 - spread + z * np.sqrt(spread), 0.05) ** 3)
