"""Statistics of kernels: alibi-detect's online detectors of many features, with PyTorch."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

WINDOW = 100  # events
RUN = 100  # the longest expected run that its documentation allows with 1,000 bootstraps


class _Kernel:
    """What MMD and LSDD have in common: one window, at the start full of reference rows."""

    kind = ""

    def __init__(self, reference: np.ndarray) -> None:
        import torch
        from alibi_detect import cd

        torch.manual_seed(1)
        torch.set_num_threads(1)
        rows = reference[: self.rows].reshape(min(len(reference), self.rows), -1)
        make = getattr(cd, f"{self.kind}DriftOnline")
        kwargs = {"backend": "pytorch", "verbose": False}
        made = make(rows.astype(np.float32), RUN, WINDOW, **kwargs)._detector
        self.before = WINDOW - 1
        # The library looks up an event's threshold one place on.
        self.thresholds = np.array([float(t) for t in made.thresholds])[1:]
        self.made = made
        self.gamma = 1 / (2 * float(made.kernel.sigma) ** 2)
        self.configure(made)

    def kernel(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """k of every row of x (n, p) with every one of y (m, p)."""
        distance = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :] - 2 * x @ y.T
        return np.exp(-self.gamma * np.maximum(distance, 0.0))

    def scores(self, values: np.ndarray, since: int) -> np.ndarray:
        """Statistics of a stretch that begins `since` events after the start."""
        rows = self.normal(values.reshape(len(values), -1))
        if since == 0:
            rows = np.concatenate([self.first, rows])
        found = np.full(len(values), np.nan)
        made = self.statistics(rows)  # of the windows that end at rows WINDOW - 1, ...
        ends = np.arange(WINDOW - 1, len(rows)) - (len(rows) - len(values))
        found[ends[ends >= 0]] = made[ends >= 0]
        return found


def _means(rows: np.ndarray) -> np.ndarray:
    """Means of every WINDOW consecutive rows."""
    total = np.concatenate([np.zeros((1, *rows.shape[1:])), np.cumsum(rows, axis=0)])
    return (total[WINDOW:] - total[:-WINDOW]) / WINDOW


class Mmd(_Kernel):
    """Maximum mean discrepancy."""

    kind, rows = "MMD", 500

    def configure(self, made) -> None:
        """Take what its statistic needs."""
        self.known = made.x_ref[made.ref_inds].numpy().astype(float)
        self.first = made.x_ref[made.init_test_inds].numpy().astype(float)
        self.within = float(made.k_xx_sub_sum)

    def normal(self, rows: np.ndarray) -> np.ndarray:
        """Rows as the kernel sees them."""
        return rows

    def statistics(self, rows: np.ndarray) -> np.ndarray:
        """Squared MMD of every window."""
        across = _means(self.kernel(rows, self.known).mean(axis=1))
        # Sum over pairs within a window: each row with those before it, cumulated over rows, less
        # the rows that have left with those after them.
        lagged = sliding_window_view(rows, WINDOW, axis=0)  # (windows, p, WINDOW), newest last
        with_newest = self._sums(lagged, lagged[:, :, -1:]) - 1
        with_oldest = self._sums(lagged, lagged[:, :, :1]) - 1
        start = self.kernel(rows[:WINDOW], rows[:WINDOW]).sum() - WINDOW
        steps = 2 * (with_newest[1:] - with_oldest[:-1])
        pairs = np.concatenate([[start], start + np.cumsum(steps)])
        return self.within + pairs / (WINDOW * (WINDOW - 1)) - 2 * across

    def _sums(self, windows: np.ndarray, one: np.ndarray) -> np.ndarray:
        return np.exp(-self.gamma * ((windows - one) ** 2).sum(axis=1)).sum(axis=1)


class Lsdd(_Kernel):
    """Least-squares density difference."""

    kind, rows = "LSDD", 500

    def configure(self, made) -> None:
        """Take what its statistic needs."""
        features = made.x_ref.shape[1]
        self.shift = made._unnormalize(np.zeros((1, features)))
        self.factor = made._unnormalize(np.ones((1, features))) - self.shift
        self.centers = made.kernel_centers.numpy().astype(float)
        self.first = made.x_ref_eff[made.init_test_inds].numpy().astype(float)
        self.inverse = made.H_lam_inv.numpy().astype(float)
        self.known = made.c2s.numpy().astype(float)

    def normal(self, rows: np.ndarray) -> np.ndarray:
        """Rows as the kernel sees them."""
        return (rows - self.shift) / self.factor

    def statistics(self, rows: np.ndarray) -> np.ndarray:
        """LSDD of every window."""
        h = self.known - _means(self.kernel(rows, self.centers))
        return np.einsum("ij,jk,ik->i", h, self.inverse, h, optimize=True)
