"""From the last maps of ITAE to the inputs of the flows ("Learning normality distribution", Table 4).

The maps of each path are pooled along the channel axis, once by their maximum and once by their mean, and the
two are concatenated. The paper does not say what happens to the time axis; by default each time step is a
channel of its own. F_app may get extra information: the intensity of the frames, or the error of their
reconstruction, at the size of the map. Before a flow sees them, features are standardised with statistics of
the training set, which are saved with the flow.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.errors import FeatureError

EXTRAS = ("none", "intensity", "error")  # Table 4: -, Intensity, Error map
CONSTANT = 1e-6  # a feature with a smaller training standard deviation is only centred


def pool(x: Tensor, *, time: str) -> Tensor:
    """Max- and average-pooling along the channel axis: (B, C, T', h, w) -> (B, 2T', h, w), maxima first.

    With time="mean" both are averaged over time: (B, 2, h, w).
    """
    pooled = torch.stack((x.amax(dim=1), x.mean(dim=1)), dim=1)  # (B, 2, T', h, w)
    if time == "mean":
        return pooled.mean(dim=2)
    return pooled.flatten(1, 2)


def intensity(I: Tensor, *, tau: int, size: tuple[int, int]) -> Tensor:
    """The frames that the appearance path saw, in grey, averaged down to `size` = (h, w).

    (B, C, T, H, W) -> (B, T/tau, h, w)
    """
    return F.adaptive_avg_pool2d(I[:, :, ::tau].mean(dim=1), size)


def error_map(I: Tensor, I_hat: Tensor, *, tau: int, size: tuple[int, int]) -> Tensor:
    """|I - I^| of the same frames, mean over colours, averaged down to `size`.

    (B, C, T, H, W) each -> (B, T/tau, h, w)
    """
    return intensity((I - I_hat).abs(), tau=tau, size=size)


def app_input(pooled: Tensor, extra: Tensor | None) -> Tensor:
    """The input of F_app: the pooled appearance map, (B, 2T', h, w), and the extra information, if any, as
    further channels. Raises FeatureError if their sizes differ."""
    if extra is None:
        return pooled
    if extra.shape[-2:] != pooled.shape[-2:] or len(extra) != len(pooled):
        raise FeatureError(f"The extra information {tuple(extra.shape)} does not lie on the map "
                           f"{tuple(pooled.shape)}.")
    return torch.cat((pooled, extra), dim=1)


def statistics(batches, *, standardise: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of training features, for `density.Density`.

    `batches` yields (B, C, h, w). "channel": one pair per channel, (C, 1, 1); "element": one per channel and
    place, (C, h, w); "none": 0 and 1. Sums are in float64. A feature that is constant in training gets
    standard deviation 1. Raises FeatureError if there are no batches.
    """
    # The first batch's mean is subtracted before summing: sums of squares of large, nearly equal values would
    # lose the variance to rounding.
    count, total, squares, shift = 0, 0.0, 0.0, None
    for x in batches:
        if standardise == "none":
            return torch.zeros(x.shape[1], 1, 1), torch.ones(x.shape[1], 1, 1)
        x, axes = x.double(), (0, 2, 3) if standardise == "channel" else (0,)
        shift = x.mean(axes, keepdim=True) if shift is None else shift
        x = x - shift
        count += x.numel() // x.sum(axes).numel()
        total, squares = total + x.sum(axes), squares + x.square().sum(axes)
    if not count:
        raise FeatureError("There are no training features to take statistics from.")
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    mean = mean + shift.reshape(mean.shape)
    std = torch.where(std < CONSTANT, torch.ones_like(std), std)
    shape = (-1, 1, 1) if standardise == "channel" else mean.shape
    return mean.float().reshape(shape), std.float().reshape(shape)
