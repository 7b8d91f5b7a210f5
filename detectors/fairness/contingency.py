"""E-values for a gap between two groups' rates, exact whatever the rates themselves are.

Of n_a rows of one group y_a were events, of n_b rows of another y_b. The null holds every pair of
rates whose gap p_a - p_b lies in [lo, hi]. For an alternative (q_a, q_b) with a gap beyond, let p*
be the pair in the null that is closest to it,

    p* = argmin  w KL(q_a, p_a) + (1 - w) KL(q_b, p_b),    w = n_a / (n_a + n_b).

As the null is convex, w E[q_a/p*_a] + (1 - w) E[q_b/p*_b] <= 1 for every pair in it (E over one row
of each group), and by the inequality of arithmetic and geometric means the likelihood ratio of all
rows, with E[q_a/p*_a]^n_a E[q_b/p*_b]^n_b, has a mean of at most 1. So has it where the rows of a
group differ in their rates and the gap is that of the means, for E is linear in them.

Turner, Ly and Grunwald, "Generic E-variables for exact sequential k-sample tests that allow for
optional stopping" (2024); Turner and Grunwald, "Exact anytime-valid confidence intervals for
contingency tables and beyond" (2023). The rows' groups may come in any mix: all is given the mix.
"""

import numpy as np
from numpy.typing import NDArray

from detectors import exact

Floats = NDArray[np.float64]

HALVINGS, NEWTON = 16, 3  # steps after which p* is off by less than 1e-13
LEAST = 1e-9  # a rate is at least that far from 0 and from 1
LARGEST_GAP = 0.98  # a gap beyond cannot be told


def closest(weight: Floats, q_a: Floats, q_b: Floats, gap: Floats) -> tuple[Floats, Floats]:
    """The rates with this gap that are closest to (q_a, q_b): p_a and p_b = p_a - gap.

    Closest in the Kullback-Leibler divergence of (q_a, q_b) from them, weighted by `weight` and
    1 - `weight`. All arrays broadcast; weights and q lie in (0, 1), gaps within LARGEST_GAP.
    """
    other = 1.0 - weight
    low = np.maximum(np.minimum(q_b, q_a - gap), np.maximum(-gap, 0.0) + LEAST)
    high = np.minimum(np.maximum(q_b, q_a - gap), np.minimum(1.0 - gap, 1.0) - LEAST)
    # The divergence is convex along the line, and its slope changes sign between these.
    b = (low + high) / 2
    for _ in range(HALVINGS):
        a = b + gap
        slope = weight * (a - q_a) * b * (1.0 - b) + other * (b - q_b) * a * (1.0 - a)
        low, high = np.where(slope < 0, b, low), np.where(slope < 0, high, b)
        b = (low + high) / 2
    for _ in range(NEWTON):
        a = b + gap
        of_a, of_b = a * (1.0 - a), b * (1.0 - b)
        slope = weight * (a - q_a) / of_a + other * (b - q_b) / of_b
        bent_a = weight * (of_a + (q_a - a) * (1.0 - 2.0 * a)) / (of_a * of_a)
        bent_b = other * (of_b + (q_b - b) * (1.0 - 2.0 * b)) / (of_b * of_b)
        b = np.minimum(np.maximum(b - slope / (bent_a + bent_b), low), high)
    return b + gap, b


def slopes(q: Floats, p: Floats) -> tuple[Floats, Floats]:
    """What a row adds to the logarithm of q / p: if it is no event, and if it is one."""
    return exact.log((1.0 - q) / (1.0 - p)), exact.log(q / p)
