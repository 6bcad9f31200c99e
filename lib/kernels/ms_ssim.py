"""SSIM of one scale: its mean over a frame and the gradient of that mean, for every frame of a window.

A filter is computed as a few shifted additions of the flattened frames, for a few frames at a time so that
they stay in the cache, and the gradient is computed in the same pass. `benchmarks/ms_ssim.csv` has the speed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SIGMA = 1.5  # of the Gaussian window, in pixels at every scale
CACHED_PIXELS = 2**18  # processed at once on a CPU; measured
K1, K2 = 0.01, 0.03  # stabilising constants of SSIM, Wang et al. 2004


class MeanSimilarity(torch.autograd.Function):
    """Mean contrast-structure similarity of each frame, times luminance if asked for: (N, H, W) each -> (N,).

    The mean of a frame depends on that frame alone, so the gradient with respect to `y` is computed together
    with the mean, a few frames at a time while they are in the cache, and only scaled in the backward pass.
    With the filter G, the means mx = G x and my = G y, S = G(xx + yy) and X = G(xy) (only the sum of the two
    variances is needed):

        cs = (2 (X - mx my) + C2) / (S - mx mx - my my + C2)
        lum = (2 mx my + C1) / (mx mx + my my + C1)
        gradient = G'(d/dmy) + 2 y G'(d/dS) + x G'(d/dX)
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, window: int, data_range: float, luminance: bool) -> Tensor:
        N, H, W = x.shape
        taps = _gaussian(window)
        mean, gradient = x.new_empty(N), torch.empty_like(y)
        chunk = N if x.is_cuda else max(1, CACHED_PIXELS // (H * W))
        for first in range(0, N, chunk):
            frames = slice(first, first + chunk)
            _similarity(
                x[frames],
                y[frames],
                taps,
                data_range,
                luminance,
                mean[frames],
                gradient[frames] if ctx.needs_input_grad[1] else None,
            )
        ctx.save_for_backward(gradient)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (gradient,) = ctx.saved_tensors
        return None, grad[:, None, None] * gradient, None, None, None


def _similarity(
    x: Tensor,
    y: Tensor,
    taps: list[float],
    data_range: float,
    luminance: bool,
    mean: Tensor,
    gradient: Tensor | None,
) -> None:
    """Fill `mean` (n,) and, if given, `gradient` (n, H, W) for frames x and y (n, H, W); see
    `MeanSimilarity`."""
    C1, C2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    n, H, W = x.shape
    h, w = H - len(taps) + 1, W - len(taps) + 1  # positions where the window is inside
    maps = x.new_empty(4, n, H, W)
    maps[0], maps[1] = x, y
    torch.mul(x, x, out=maps[2]).addcmul_(y, y)
    torch.mul(x, y, out=maps[3])
    mx, my, S, X = _filter(_filter(maps, taps, step=W), taps, step=1)  # (n, H, W) each, valid in [:h, :w]
    D = S.addcmul_(mx, mx, value=-1).addcmul_(my, my, value=-1).add_(C2)
    cs = X.addcmul_(mx, my, value=-1).mul_(2).add_(C2).div_(D)
    if luminance:
        E = (mx * mx).addcmul_(my, my).add_(C1)
        lum = (mx * my).mul_(2).add_(C1).div_(E)
    similarity = cs * lum if luminance else cs
    torch.mean(similarity[:, :h, :w], dim=(-2, -1), out=mean)
    if gradient is None:
        return
    dmy, minus_2dS, dX = derivatives = x.new_empty(3, n, H, W)
    torch.div(2 / (h * w), D, out=dX)
    if luminance:
        dX *= lum
    torch.mul(similarity, (2 / (h * w)) / D, out=minus_2dS)
    torch.mul(my, minus_2dS, out=dmy).addcmul_(mx, dX, value=-1)
    if luminance:
        dmy += (mx - my * lum).mul_(cs).mul_(2 / (h * w)).div_(E)
    derivatives[..., h:, :] = 0
    derivatives[..., w:] = 0
    along_my, along_S, along_X = _filter_transposed(
        _filter_transposed(derivatives, taps, step=1), taps, step=W
    )
    gradient.copy_(along_my).addcmul_(y, along_S, value=-1).addcmul_(x, along_X)


def _gaussian(window: int) -> list[float]:
    """The window's weights along one side; they sum to 1."""
    weights = [math.exp(-((i - window // 2) ** 2) / (2 * SIGMA**2)) for i in range(window)]
    return [weight / sum(weights) for weight in weights]


def _filter(maps: Tensor, taps: list[float], *, step: int) -> Tensor:
    """out[i] = sum over k of taps[k] * maps[i + k * step], on the flattened maps; 0 where that index is
    outside.

    Step 1 filters along rows, step W along columns. At the end of a row or column the window runs into the
    next one, so the last len(taps) - 1 columns and rows are invalid.
    """
    out = torch.zeros_like(maps)
    length = maps.numel() - (len(taps) - 1) * step
    source, target = maps.view(-1), out.view(-1)[:length]
    for k, weight in enumerate(taps):
        target.add_(source[k * step : k * step + length], alpha=weight)
    return out


def _filter_transposed(maps: Tensor, taps: list[float], *, step: int) -> Tensor:
    """The transpose of `_filter`, for maps whose last len(taps) - 1 rows and columns are 0."""
    out = torch.zeros_like(maps)
    length = maps.numel() - (len(taps) - 1) * step
    source, target = maps.view(-1)[:length], out.view(-1)
    for k, weight in enumerate(taps):
        target[k * step : k * step + length].add_(source, alpha=weight)
    return out


def halve(x: Tensor) -> Tensor:
    """Mean over 2x2 pixels, (N, H, W) -> (N, ceil(H/2), ceil(W/2)).

    An odd side is padded with a zero at both ends, as in pytorch-msssim, so that values are comparable.
    """
    padding = (x.shape[-2] % 2, x.shape[-1] % 2)
    return F.avg_pool2d(x[:, None], kernel_size=2, padding=padding)[:, 0]
