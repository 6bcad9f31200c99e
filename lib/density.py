"""F_app and F_mot: the density of a path's features ("Learning normality distribution", Eq. 2, 5 and 6).

Both have the same form and differ in their features: a standardisation with statistics of the training
windows, which the paper leaves open, followed by Glow.
"""
from __future__ import annotations

from torch import Tensor, nn

from lib.glow import Glow


class Density(nn.Module):
    """F_app or F_mot: standardisation with training statistics, then Glow. The statistics are saved with it.

    `nll(x)`: -log p of the standardised features in nats (Eq. 6), (B, C, h, w) -> (B,). The log-determinant
    of the standardisation, the same constant for every window, is left out, so that one unit means the same
    on each data set.
    """

    def __init__(self, glow: Glow, mean: Tensor, std: Tensor):
        super().__init__()
        self.glow = glow
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def standardise(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> same shape, in units of training standard deviations."""
        return (x - self.mean) / self.std

    def nll(self, x: Tensor) -> Tensor:
        """Negative log-likelihood of each window's features, in nats: (B, C, h, w) -> (B,)."""
        return -self.glow.log_prob(self.standardise(x))
