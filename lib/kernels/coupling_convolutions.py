"""The three convolutions of Glow's coupling network, with an explicit backward pass.

The arithmetic is that of `torch.nn.functional.conv2d` and `relu`; `benchmarks/flow_step.py` measures the
speed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class ThreeConvs(torch.autograd.Function):
    """conv3(relu(conv2(relu(conv1(x))))), the coupling network, with an explicit backward pass.

    A flow spends nearly all its time and memory here. The explicit backward pass keeps only the two hidden
    maps, and both rectifiers work in place, forward and backward. With `recompute` the hidden maps are not
    kept either: they are computed again from x, by the same operations on the same numbers, so that the
    gradients are exactly the same.
    """

    @staticmethod
    def hidden(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
        h1 = convolve(x, w1, b1).relu_()
        return h1, convolve(h1, w2, b2).relu_()

    @staticmethod
    def forward(ctx, recompute: bool, x, w1, b1, w2, b2, w3, b3) -> Tensor:
        h1, h2 = ThreeConvs.hidden(x, w1, b1, w2, b2)
        ctx.save_for_backward(x, w1, b1, w2, b2, w3, *(() if recompute else (h1, h2)))
        return convolve(h2, w3, b3)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, w1, b1, w2, b2, w3, *kept = ctx.saved_tensors
        h1, h2 = kept or ThreeConvs.hidden(x, w1, b1, w2, b2)
        grad, grad_w3, grad_b3 = convolve_backward(grad, h2, w3)
        grad, grad_w2, grad_b2 = convolve_backward(_relu_backward_(grad, h2), h1, w2)
        grad, grad_w1, grad_b1 = convolve_backward(_relu_backward_(grad, h1), x, w1)
        return None, grad, grad_w1, grad_b1, grad_w2, grad_b2, grad_w3, grad_b3


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolution that keeps the size, padded with zeros: (B, C, H, W) -> (B, C', H, W)."""
    if weight.shape[-1] == 1 and len(x) < 16:
        return _from_strips(F.conv2d(_strips(x), weight, bias), x.shape)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def convolve_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `convolve` for x, weight and bias. On a CPU the sum is several times as fast as the bias
    gradient of torch's convolution."""
    shape, padding = x.shape, weight.shape[-1] // 2
    if weight.shape[-1] == 1 and len(x) < 16:
        grad, x = _strips(grad), _strips(x)
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], [padding, padding], [1, 1], False, [0, 0], 1, [True, True, False]
    )
    return _from_strips(grad_x, shape), grad_weight, grad.sum((0, 2, 3))


def _strips(x: Tensor) -> Tensor:
    """The pixels of all images of x (B, C, H, W) as n images of one row: (n, C, 1, B*H*W/n), n from 16 to 63.

    A 1x1 convolution treats all pixels alike. On one thread of a CPU torch uses a slower kernel for fewer
    than 16 images: 7.1 ms instead of 3.3 for 4x256x30x45. If no such n divides the pixels, they stay one
    image. In the layout channels_last nothing is copied.
    """
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    n = next((n for n in range(16, 64) if len(pixels) % n == 0), 1)
    return pixels.unflatten(0, (n, 1, -1)).permute(0, 3, 1, 2)


def _from_strips(strips: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Back to B images of H x W pixels, with `shape` (B, ., H, W). Leaves such images unchanged."""
    return strips.permute(0, 2, 3, 1).reshape(shape[0], *shape[2:], -1).permute(0, 3, 1, 2)


def _relu_backward_(grad: Tensor, h: Tensor) -> Tensor:
    """Set grad to zero, in place, where h = relu(.) is zero."""
    return torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)
