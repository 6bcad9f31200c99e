"""Table 1 of a given network: its layers, their sizes and their cost."""

from __future__ import annotations

import torch
from torch import nn

from lib.itae import ITAE


def layer_table(model: ITAE, height: int, width: int) -> list[dict]:
    """Table 1 for this network: one row per layer with path, kernel, stride, output size, parameters,
    multiply-adds.

    Sizes are those of one window of `height` x `width` pixels. The network runs once, on zeros, in evaluation
    mode, and is left unchanged. Parameters include those of the normalisation; multiply-adds are those of the
    convolutions alone.
    """
    rows, hooks = [], []

    def watch(path: str, name: str, block: nn.Sequential):
        def note(_, inputs, out):
            conv, (_, C, T, H, W) = block[0], out.shape
            # The kernel is applied at each input position of a transposed convolution, and at each output
            # position of an ordinary one.
            positions = inputs[0][0, 0].numel() if isinstance(conv, nn.ConvTranspose3d) else T * H * W
            rows.append(
                {
                    "path": path,
                    "layer": name,
                    "kernel": conv.kernel_size,
                    "stride": conv.stride,
                    "output": (C, T, H, W),
                    "parameters": sum(p.numel() for p in block.parameters()),
                    "multiply_adds": positions * conv.weight.numel(),
                }
            )

        hooks.append(block.register_forward_hook(note))

    for i in range(4):
        watch("appearance", f"Conv{i + 1}", model.app[i])
        if model.two_path:
            watch("motion", f"Conv{i + 1}", model.mot[i])
            watch("lateral", f"Conv{i + 1}", model.lateral[i])
    for i in range(4):
        watch("decoder", f"DeConv{i + 1}", model.decoder[i])
    training = model.training
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, model.channels, model.T, height, width, device=device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return rows
