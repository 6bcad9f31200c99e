"""The reconstruction loss: Eq. 3 (L2), Eq. 4 (with the gradient loss) and, on UCSD, multi-scale SSIM.

    L_recon = l2_weight * L2 + gradient_weight * L_grad + ms_ssim_weight * (1 - MS-SSIM)

Every term covers every frame of a window. What the paper leaves open is a keyword here: the meaning of the
norm in Eq. 3, the weights, and the window of MS-SSIM.

L2 and the gradient loss are computed on the frames as the network sees them, in [-1, 1] or [0, 1]. MS-SSIM
compares intensities, where 0 is black, because its luminance term has no meaning for signed values: frames
in [-1, 1] are mapped to [0, 1] first.

The similarity of one scale is in `kernels.ms_ssim`: written as convolutions, it would take longer than the
rest of a training step. Its variances are differences of nearly equal numbers, so float32 is the minimum.
"""
from __future__ import annotations

import torch
from torch import Tensor

from lib.errors import LossError
from lib.kernels.ms_ssim import MeanSimilarity, halve

# exponents of the five scales, Wang et al. 2003, Sec. 3.2
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def l2_loss(I: Tensor, I_hat: Tensor, *, l2: str) -> Tensor:
    """Eq. 3 between I and I_hat, (B, C, T, H, W) each -> ().

    `l2` is "window_norm": the Euclidean norm of the difference of a whole window, which is what Eq. 3 prints
    for "the input sequence of frames I", averaged over the batch; "frame_norm": the norm of each frame's
    difference (all its pixels and channels), averaged over the frames; or "mean_square": the mean of the
    squared differences. The gradient of a norm is 0 where there is no difference. Raises LossError for
    another `l2`.
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

    The mean of ||dI| - |dI^|| over the differences of horizontal neighbours, plus the same of vertical
    neighbours.
    """
    horizontal = (I.diff(dim=-1).abs() - I_hat.diff(dim=-1).abs()).abs().mean()
    vertical = (I.diff(dim=-2).abs() - I_hat.diff(dim=-2).abs()).abs().mean()
    return horizontal + vertical


def ms_ssim(I: Tensor, I_hat: Tensor, *, ms_ssim_window: int, data_range: float) -> Tensor:
    """Multi-scale SSIM of each frame, (B, C, T, H, W) and the same -> (B, C, T), 1 for equal frames.

    Five scales of Wang et al. 2003; at every scale the window is a Gaussian with sides of `ms_ssim_window`
    pixels (odd) and sigma 1.5, used only where it lies wholly inside the frame. Values are intensities from 0
    (black) to `data_range`. A scale with a negative mean counts as 0. No gradient flows to I. Raises
    LossError if I requires one, or if the window does not fit at the coarsest scale.
    """
    B, C, T, H, W = I.shape
    check_window(ms_ssim_window, height=H, width=W)
    if I.requires_grad:
        raise LossError("MS-SSIM gives a gradient to the reconstruction only; pass the frames themselves "
                        "first.")
    dtype = torch.promote_types(torch.promote_types(I.dtype, I_hat.dtype), torch.float32)
    x = I.to(dtype).reshape(B * C * T, H, W)
    y = I_hat.to(dtype).reshape(B * C * T, H, W)
    product = None
    for scale, exponent in enumerate(MS_SSIM_WEIGHTS):
        coarsest = scale == len(MS_SSIM_WEIGHTS) - 1
        mean = MeanSimilarity.apply(x, y, ms_ssim_window, data_range, coarsest)     # (B*C*T,)
        factor = mean.relu() ** exponent
        product = factor if product is None else product * factor
        if not coarsest:
            x, y = halve(x), halve(y)
    return product.reshape(B, C, T)


def check_window(ms_ssim_window: int, *, height: int, width: int) -> None:
    """Raise LossError unless a window of this side fits frames of height x width after four halvings."""
    side = min(height, width)
    largest = (side - 1) // 16 // 2 * 2 + 1
    if largest < 3:
        raise LossError(f"Frames of {height}x{width} are too small for the five scales of MS-SSIM, which "
                        "need 33 pixels a side or more: set ms_ssim_weight to 0 or use larger frames.")
    if ms_ssim_window < 3 or ms_ssim_window % 2 == 0:
        raise LossError(f"ms_ssim_window is {ms_ssim_window}; it must be odd and at least 3.")
    if ms_ssim_window > largest:
        raise LossError(f"An MS-SSIM window of {ms_ssim_window} does not fit frames of {height}x{width} at "
                        f"the fifth scale: set ms_ssim_window to {largest}, the largest that does, or use "
                        "larger frames.")


def reconstruction_loss(I: Tensor, I_hat: Tensor, *, l2: str, l2_weight: float, gradient_weight: float,
                        ms_ssim_weight: float, ms_ssim_window: int,
                        input_range: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 4, with MS-SSIM on UCSD: I and I_hat, (B, C, T, H, W) each -> the total, (), and its terms before
    weighting, () each.

    The terms are named "l2", "gradient" and "ms_ssim" (which is 1 - MS-SSIM, a loss); one with weight 0 is
    neither computed nor returned. Half-precision reconstructions are raised to float32 first. `input_range`
    is that of the frames, "-1..1" or "0..1"; MS-SSIM is of intensities in [0, 1] for both. Raises LossError
    for frames of different shapes, an unknown `l2`, no positive weight, or a window that does not fit.
    """
    if I.shape != I_hat.shape:
        raise LossError(f"The frames have shape {tuple(I.shape)} and their reconstruction "
                        f"{tuple(I_hat.shape)}; they must be equal.")
    weights = {"l2": l2_weight, "gradient": gradient_weight, "ms_ssim": ms_ssim_weight}
    if min(weights.values()) < 0 or max(weights.values()) <= 0:
        raise LossError(f"The weights of the loss are {weights}; none may be negative and one must be "
                        "positive.")
    I = I.to(torch.promote_types(I.dtype, torch.float32))
    I_hat = I_hat.to(torch.promote_types(I_hat.dtype, torch.float32))
    terms = {}
    if l2_weight:
        terms["l2"] = l2_loss(I, I_hat, l2=l2)
    if gradient_weight:
        terms["gradient"] = gradient_loss(I, I_hat)
    if ms_ssim_weight:
        bright, bright_hat = ((x + 1) / 2 if input_range == "-1..1" else x for x in (I, I_hat))
        terms["ms_ssim"] = 1 - ms_ssim(bright, bright_hat, ms_ssim_window=ms_ssim_window,
                                       data_range=1.0).mean()
    total = sum(weights[name] * term for name, term in terms.items())
    return total, terms
