"""How a p-value, or another algorithm's alarm, becomes an e-value (Vovk and Wang, 2021).

Either holds given the past: the p-value of a step is at most x with probability at most x whatever
came before, or the step rings falsely with at most the stated probability. A detector that reuses
old values fulfils that only about, and what rests on it is called `calibrated`.
"""

import numpy as np
from numpy.typing import NDArray

SMALLEST = 1e-300  # p-values below it are taken as this


def e_of_p(p: NDArray[np.float64], kappa: float | None = None) -> NDArray[np.float64]:
    """E-values of p-values (any shape): f(p) with an integral of 1 over [0, 1].

    Parameters
    ----------
    p
        In [0, 1]. ValueError where one is not.
    kappa
        In (0, 1): f(p) = kappa p^(kappa - 1). None: the mixture of them all over kappa,
        (1 - p + p log p) / (p (log p)^2), which needs no choice. It is 1/2 at p = 1.
    """
    p = np.asarray(p, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a p-value lies between 0 and 1")
    p = np.maximum(p, SMALLEST)
    if kappa is not None:
        if not 0 < kappa < 1:
            raise ValueError("kappa lies between 0 and 1")
        return np.asarray(kappa * p ** (kappa - 1))
    u = -np.log(p)  # f is (exp(u) - 1 - u) / u^2, whose series is 1/2 + u/6 + u^2/24 + ...
    near = u < 1e-3
    far = np.where(near, 1.0, u)
    return np.where(near, 0.5 + u / 6 + u**2 / 24, (np.expm1(far) - far) / far**2)


def e_of_ring(rang: NDArray[np.bool_], probability: float) -> NDArray[np.float64]:
    """E-values of steps that rang or not: 1 / probability where it rang, 0 elsewhere.

    `probability` bounds that of a false ring in a step, given the past.
    """
    if not 0 < probability <= 1:
        raise ValueError("the probability of a false alarm lies between 0 and 1")
    return np.where(rang, 1.0 / probability, 0.0)
