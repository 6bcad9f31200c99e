"""The reconstruction loss: Eq. 3 (L2), Eq. 4 (with the gradient loss) and, on UCSD, multi-scale SSIM.

    L_recon = l2_weight * L2 + gradient_weight * L_grad + ms_ssim_weight * (1 - MS-SSIM)

Every term looks at every frame of a window. What the paper leaves open is a keyword here: the meaning of the norm in
Eq. 3, the weights, and the window of MS-SSIM.

L2 and the gradient loss are of the frames as the network sees them, in [-1, 1] or [0, 1]. MS-SSIM compares intensities,
where 0 is black: its luminance term has no meaning for signed values. So frames in [-1, 1] are mapped to [0, 1] first.

Multi-scale SSIM on every frame would take longer than the rest of a training step if each filter were a convolution
with one channel. Here a filter is a few shifted additions of the flattened frames, a few frames at a time, and the
gradient is computed on the same occasion (`benchmarks/ms_ssim.py`). Its variances are differences of near numbers, so
it is computed in float32 at least.
"""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lib.errors import LossError

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of the five scales, Wang et al. 2003, Sec. 3.2
SIGMA = 1.5                                                 # of the Gaussian window, in pixels at every scale
CACHED_PIXELS = 2 ** 18                                     # of a few frames worked on at once on a CPU; measured
K1, K2 = 0.01, 0.03                                         # stabilising constants of SSIM, Wang et al. 2004


def l2_loss(I: Tensor, I_hat: Tensor, *, l2: str) -> Tensor:
    """Eq. 3 between I and I_hat, (B, C, T, H, W) each -> ().

    `l2` is "window_norm": the Euclidean norm of the difference of a whole window, which is what Eq. 3 prints for "the
    input sequence of frames I", averaged over the batch; "frame_norm": the norm of each frame's difference (all its
    pixels and channels), averaged over the frames; or "mean_square": the mean of the squared differences.
    The gradient of a norm is 0 where there is no difference. Raises LossError for another `l2`.
    """
    difference = I - I_hat
    if l2 == "window_norm":
        return torch.linalg.vector_norm(difference, dim=(1, 2, 3, 4)).mean()  # (B,) -> ()
    if l2 == "frame_norm":
        return torch.linalg.vector_norm(difference, dim=(1, 3, 4)).mean()     # (B, T) -> ()
    if l2 == "mean_square":
        return difference.square().mean()
    raise LossError(f"l2 is {l2!r}; it can be 'window_norm', 'frame_norm' or 'mean_square'.")


def gradient_loss(I: Tensor, I_hat: Tensor) -> Tensor:
    """Gradient loss of Eq. 4 after Liu et al. 2018 between I and I_hat, (B, C, T, H, W) each -> ().

    The mean of ||dI| - |dI^|| over the differences of horizontal neighbours, plus the same of vertical neighbours.
    """
    horizontal = (I.diff(dim=-1).abs() - I_hat.diff(dim=-1).abs()).abs().mean()
    vertical = (I.diff(dim=-2).abs() - I_hat.diff(dim=-2).abs()).abs().mean()
    return horizontal + vertical


def ms_ssim(I: Tensor, I_hat: Tensor, *, ms_ssim_window: int, data_range: float) -> Tensor:
    """Multi-scale SSIM of each frame, (B, C, T, H, W) and the same -> (B, C, T), 1 for equal frames.

    Five scales of Wang et al. 2003; the window is a Gaussian of `ms_ssim_window` pixels a side (odd) and sigma 1.5 at
    every scale, used only where it lies wholly inside the frame. Values are intensities from 0, black, to `data_range`.
    A scale with a negative mean counts as 0.
    No gradient flows to I. Raises LossError if I requires one, or if the window does not fit at the coarsest scale.
    """
    B, C, T, H, W = I.shape
    check_window(ms_ssim_window, height=H, width=W)
    if I.requires_grad:
        raise LossError("MS-SSIM gives a gradient to the reconstruction only; pass the frames themselves first.")
    dtype = torch.promote_types(torch.promote_types(I.dtype, I_hat.dtype), torch.float32)
    x = I.to(dtype).reshape(B * C * T, H, W)
    y = I_hat.to(dtype).reshape(B * C * T, H, W)
    product = None
    for scale, exponent in enumerate(MS_SSIM_WEIGHTS):
        coarsest = scale == len(MS_SSIM_WEIGHTS) - 1
        mean = _Similarity.apply(x, y, ms_ssim_window, data_range, coarsest)     # (B*C*T,)
        factor = mean.relu() ** exponent
        product = factor if product is None else product * factor
        if not coarsest:
            x, y = _halve(x), _halve(y)
    return product.reshape(B, C, T)


def check_window(ms_ssim_window: int, *, height: int, width: int) -> None:
    """Raise LossError unless a window of that side fits frames of height x width after four halvings."""
    side = min(height, width)
    largest = (side - 1) // 16 // 2 * 2 + 1
    if largest < 3:
        raise LossError(f"Frames of {height}x{width} are too small for the five scales of MS-SSIM, which need 33 "
                        "pixels a side or more: set ms_ssim_weight to 0 or use larger frames.")
    if ms_ssim_window < 3 or ms_ssim_window % 2 == 0:
        raise LossError(f"ms_ssim_window is {ms_ssim_window}; it must be odd and at least 3.")
    if ms_ssim_window > largest:
        raise LossError(f"An MS-SSIM window of {ms_ssim_window} does not fit frames of {height}x{width} at the fifth "
                        f"scale: set ms_ssim_window to {largest}, the largest that does, or use larger frames.")


def reconstruction_loss(I: Tensor, I_hat: Tensor, *, l2: str, l2_weight: float, gradient_weight: float,
                        ms_ssim_weight: float, ms_ssim_window: int,
                        input_range: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 4, with MS-SSIM on UCSD: I and I_hat, (B, C, T, H, W) each -> the total, (), and its terms before weighting.

    The terms are named "l2", "gradient" and "ms_ssim" (which is 1 - MS-SSIM, a loss); one with weight 0 is neither
    computed nor named. Half-precision reconstructions are raised to float32 first. `input_range` is that of the frames,
    "-1..1" or "0..1"; MS-SSIM is of intensities in [0, 1] for both.
    Raises LossError for frames of different shapes, an unknown `l2`, no positive weight, or a window that does not fit.
    """
    if I.shape != I_hat.shape:
        raise LossError(f"The frames have shape {tuple(I.shape)} and their reconstruction {tuple(I_hat.shape)}; "
                        "they must be equal.")
    weights = {"l2": l2_weight, "gradient": gradient_weight, "ms_ssim": ms_ssim_weight}
    if min(weights.values()) < 0 or max(weights.values()) <= 0:
        raise LossError(f"The weights of the loss are {weights}; none may be negative and one must be positive.")
    I = I.to(torch.promote_types(I.dtype, torch.float32))
    I_hat = I_hat.to(torch.promote_types(I_hat.dtype, torch.float32))
    terms = {}
    if l2_weight:
        terms["l2"] = l2_loss(I, I_hat, l2=l2)
    if gradient_weight:
        terms["gradient"] = gradient_loss(I, I_hat)
    if ms_ssim_weight:
        bright, bright_hat = ((x + 1) / 2 if input_range == "-1..1" else x for x in (I, I_hat))
        terms["ms_ssim"] = 1 - ms_ssim(bright, bright_hat, ms_ssim_window=ms_ssim_window, data_range=1.0).mean()
    total = sum(weights[name] * term for name, term in terms.items())
    return total, terms


class _Similarity(torch.autograd.Function):
    """Mean contrast-structure similarity of each frame, times luminance if asked: (N, H, W) twice -> (N,).

    A frame's mean depends on that frame alone, so the gradient with respect to `y` is computed along with the mean, a
    few frames at a time while they are in the cache, and only scaled in the backward pass. With G the filter, the
    means mx = G x and my = G y, S = G(xx + yy) and X = G(xy) (only the sum of the two variances is ever needed):
        cs = (2 (X - mx my) + C2) / (S - mx mx - my my + C2),  lum = (2 mx my + C1) / (mx mx + my my + C1)
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
            _similarity(x[frames], y[frames], taps, data_range, luminance, mean[frames],
                        gradient[frames] if ctx.needs_input_grad[1] else None)
        ctx.save_for_backward(gradient)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        gradient, = ctx.saved_tensors
        return None, grad[:, None, None] * gradient, None, None, None


def _similarity(x: Tensor, y: Tensor, taps: list[float], data_range: float, luminance: bool, mean: Tensor,
                gradient: Tensor | None) -> None:
    """Fill `mean` (n,) and, if given, `gradient` (n, H, W) for frames x and y (n, H, W); see `_Similarity`."""
    C1, C2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    n, H, W = x.shape
    h, w = H - len(taps) + 1, W - len(taps) + 1               # where the window lies wholly inside
    maps = x.new_empty(4, n, H, W)
    maps[0], maps[1] = x, y
    torch.mul(x, x, out=maps[2]).addcmul_(y, y)
    torch.mul(x, y, out=maps[3])
    mx, my, S, X = _filter(_filter(maps, taps, step=W), taps, step=1)      # (n, H, W) each, of use in [:h, :w]
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
    along_my, along_S, along_X = _filter_transposed(_filter_transposed(derivatives, taps, step=1), taps, step=W)
    gradient.copy_(along_my).addcmul_(y, along_S, value=-1).addcmul_(x, along_X)


def _gaussian(window: int) -> list[float]:
    """The window's weights along one side; they sum to 1."""
    weights = [math.exp(-(i - window // 2) ** 2 / (2 * SIGMA ** 2)) for i in range(window)]
    return [weight / sum(weights) for weight in weights]


def _filter(maps: Tensor, taps: list[float], *, step: int) -> Tensor:
    """out[i] = sum over k of taps[k] * maps[i + k * step], of the flattened maps; 0 where that ends outside.

    With step 1 that filters along rows, with step W along columns. Where the window runs over the end of a row or of a
    column it mixes in what follows, so the last len(taps) - 1 columns and rows are of no use.
    """
    out = torch.zeros_like(maps)
    length = maps.numel() - (len(taps) - 1) * step
    source, target = maps.view(-1), out.view(-1)[:length]
    for k, weight in enumerate(taps):
        target.add_(source[k * step:k * step + length], alpha=weight)
    return out


def _filter_transposed(maps: Tensor, taps: list[float], *, step: int) -> Tensor:
    """The transpose of `_filter`, for maps whose last len(taps) - 1 rows and columns are 0."""
    out = torch.zeros_like(maps)
    length = maps.numel() - (len(taps) - 1) * step
    source, target = maps.view(-1)[:length], out.view(-1)
    for k, weight in enumerate(taps):
        target[k * step:k * step + length].add_(source, alpha=weight)
    return out


def _halve(x: Tensor) -> Tensor:
    """Mean over 2x2 pixels, (N, H, W) -> (N, ceil(H/2), ceil(W/2)).

    An odd side gets a zero at both ends, as in pytorch-msssim, so that values can be compared.
    """
    padding = (x.shape[-2] % 2, x.shape[-1] % 2)
    return F.avg_pool2d(x[:, None], kernel_size=2, padding=padding)[:, 0]
