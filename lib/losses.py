"""The reconstruction loss: Eq. 3 (L2), Eq. 4 (with the gradient loss) and, on UCSD, multi-scale SSIM.

    L_recon = l2_weight * L2 + gradient_weight * L_grad + ms_ssim_weight * (1 - MS-SSIM)

Every term looks at every frame of a window. What the paper leaves open is a keyword here: the meaning of the norm in
Eq. 3, the weights, and the window of MS-SSIM.

Multi-scale SSIM filters frames with a separable Gaussian. Here each of its two passes is one product with a banded
matrix, all the quantities to be filtered being stacked, because a matrix product runs at the full rate of a CPU and a
one-channel convolution does not (`benchmarks/ms_ssim.py`). Variances are differences of near numbers, so MS-SSIM is
computed in float32 at least, whatever the autocast; leave `torch.set_float32_matmul_precision` at "highest".
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of the five scales, Wang et al. 2003, Sec. 3.2
SIGMA = 1.5                                                 # of the Gaussian window, in pixels at every scale
K1, K2 = 0.01, 0.03                                         # stabilising constants of SSIM, Wang et al. 2004


class LossError(ValueError):
    """Frames and parameters that do not fit each other. The text says what to change."""


def l2_loss(I: Tensor, I_hat: Tensor, *, l2: str) -> Tensor:
    """Eq. 3 between I and I_hat, (B, C, T, H, W) each -> ().

    `l2` is "mean_square": the mean of the squared differences over everything, or "norm": the Euclidean norm of each
    frame's difference (all its pixels and channels), averaged over the frames.
    Raises LossError for another `l2`.
    """
    difference = I - I_hat
    if l2 == "mean_square":
        return difference.square().mean()
    if l2 == "norm":
        return torch.linalg.vector_norm(difference, dim=(1, 3, 4)).mean()  # (B, T) -> ()
    raise LossError(f"l2 is {l2!r}; it can be 'mean_square' or 'norm'.")


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
    every scale, used only where it lies wholly inside the frame. `data_range` is the largest possible difference of
    two values: 2 for frames in [-1, 1]. A scale with a negative mean counts as 0.
    Raises LossError if the window does not fit the frame at the coarsest scale.
    """
    B, C, T, H, W = I.shape
    check_window(ms_ssim_window, height=H, width=W)
    with torch.autocast(device_type=I.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(I.dtype, I_hat.dtype), torch.float32)
        x = I.to(dtype).reshape(B * C * T, H, W)
        y = I_hat.to(dtype).reshape(B * C * T, H, W)
        product = None
        for scale, exponent in enumerate(MS_SSIM_WEIGHTS):
            coarsest = scale == len(MS_SSIM_WEIGHTS) - 1
            mean = _similarity(x, y, window=ms_ssim_window, data_range=data_range, luminance=coarsest)  # (B*C*T,)
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
                        data_range: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 4, with MS-SSIM on UCSD: I and I_hat, (B, C, T, H, W) each -> the total, (), and its terms before weighting.

    The terms are named "l2", "gradient" and "ms_ssim" (which is 1 - MS-SSIM, a loss); one with weight 0 is neither
    computed nor named. Half-precision reconstructions are raised to float32 first. `data_range` as in `ms_ssim`.
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
        terms["ms_ssim"] = 1 - ms_ssim(I, I_hat, ms_ssim_window=ms_ssim_window, data_range=data_range).mean()
    total = sum(weights[name] * term for name, term in terms.items())
    return total, terms


def _similarity(x: Tensor, y: Tensor, *, window: int, data_range: float, luminance: bool) -> Tensor:
    """Mean contrast-structure similarity of each frame, times luminance if asked: (N, H, W) twice -> (N,)."""
    C1, C2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    rows = _band(x.shape[-2], window, like=x)
    columns = _band(x.shape[-1], window, like=x)
    # Only the sum of the two variances is needed, so four maps are filtered, not five.
    stacked = torch.stack((x, y, x * x + y * y, x * y))               # (4, N, H, W)
    mu_x, mu_y, squares, cross = rows.T @ (stacked @ columns)         # (N, H - window + 1, W - window + 1) each
    mu_xy, mu_squares = mu_x * mu_y, mu_x * mu_x + mu_y * mu_y
    similarity = (2 * (cross - mu_xy) + C2) / (squares - mu_squares + C2)
    if luminance:
        similarity = similarity * (2 * mu_xy + C1) / (mu_squares + C1)
    return similarity.mean((-2, -1))


def _band(size: int, window: int, *, like: Tensor) -> Tensor:
    """Matrix that filters a row of `size` pixels where the window lies wholly inside: (size, size - window + 1)."""
    offset = torch.arange(window, dtype=torch.float64, device=like.device) - window // 2
    gaussian = torch.exp(-offset ** 2 / (2 * SIGMA ** 2))
    gaussian = gaussian / gaussian.sum()
    inputs = torch.arange(size, device=like.device)[:, None]
    outputs = torch.arange(size - window + 1, device=like.device)[None, :]
    tap = inputs - outputs                                            # which weight joins the input to the output
    inside = (tap >= 0) & (tap < window)
    return torch.where(inside, gaussian[tap.clamp(0, window - 1)], 0.0).to(like.dtype)


def _halve(x: Tensor) -> Tensor:
    """Mean over 2x2 pixels, (N, H, W) -> (N, ceil(H/2), ceil(W/2)).

    An odd side gets a zero at both ends, as in pytorch-msssim, so that values can be compared.
    """
    padding = (x.shape[-2] % 2, x.shape[-1] % 2)
    return F.avg_pool2d(x[:, None], kernel_size=2, padding=padding)[:, 0]
