"""ITAE, the implicit two-path autoencoder ("Implicit two-path AE", Table 1, Fig. 2).

Two encoders look at the same T frames. The appearance path sees every tau-th frame with wide channels and
kernels that are mostly spatial; the motion path sees all T frames with an eighth of the channels and longer
temporal kernels. After each of Conv1-3 a lateral connection brings the motion features into the appearance
path; after Conv4 the two maps are joined in the same way and a single decoder, without skip connections,
reconstructs all T frames.

What the paper leaves open is a keyword here, explained in `config.Model`. Two things follow from its text:
the lateral connection is SlowFast's (C -> 2C channels, kernel (5,1,1), temporal stride tau, batch norm,
ReLU), and the two final maps are joined "in the same way as the lateral connection".
"""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib.errors import ModelError

APP_KERNELS = ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))  # Table 1, appearance, Conv1-4
MOT_KERNELS = ((5, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))  # Table 1, motion, Conv1-4
LATERAL_KERNEL = (5, 1, 1)  # "Two-path encoder"
GROUPS = 4  # of group normalisation, an option; divides every channel count of Table 1


class Output(NamedTuple):
    """The result of one forward pass; `x_mot` is None for the one-path autoencoder."""

    reconstruction: Tensor  # I^: (B, C, T, H, W)
    x_app: Tensor  # last map of the appearance path: (B, C_app, T/tau, h, w)
    x_mot: Tensor | None  # last map of the motion path: (B, C_mot, T, h, w)


def _normalise_and_activate(channels: int, normalisation: str, activation: str) -> list[nn.Module]:
    norms = {"batch": lambda: [nn.BatchNorm3d(channels)], "group": lambda: [nn.GroupNorm(GROUPS, channels)],
             "none": lambda: []}
    activations = {"relu": lambda: nn.ReLU(inplace=True),
                   "leaky_relu": lambda: nn.LeakyReLU(0.2, inplace=True)}
    return [*norms[normalisation](), activations[activation]()]


def _conv(c_in: int, c_out: int, kernel, stride, normalisation: str, activation: str) -> nn.Sequential:
    """Convolution whose output size is the input size divided by the stride: padding is half the kernel."""
    conv = nn.Conv3d(c_in, c_out, kernel, stride=stride, padding=[k // 2 for k in kernel],
                     bias=normalisation == "none")
    return nn.Sequential(conv, *_normalise_and_activate(c_out, normalisation, activation))


def _deconv(c_in: int, c_out: int, stride, bias: bool) -> nn.ConvTranspose3d:
    """Transposed convolution of kernel (3, 3^2) that multiplies each size by its stride exactly."""
    return nn.ConvTranspose3d(c_in, c_out, 3, stride=stride, padding=1,
                              output_padding=[s - 1 for s in stride], bias=bias)


def temporal_strides(tau: int) -> tuple[int, int, int, int]:
    """Temporal strides of DeConv1-4, which bring T/tau frames back to T.

    Table 1 has (1, 2, 2, 1) for tau = 4: one doubling in DeConv2, one in DeConv3. Other powers of two up to 8
    use the same places in order (DeConv2, DeConv3, then DeConv1).

    Raises ModelError for another tau.
    """
    places = {1: (1, 1, 1, 1), 2: (1, 2, 1, 1), 4: (1, 2, 2, 1), 8: (2, 2, 2, 1)}
    if tau not in places:
        raise ModelError(f"tau = {tau}: the decoder doubles the frame rate up to three times, so tau must "
                         "be 1, 2, 4 or 8.")
    return places[tau]


class ITAE(nn.Module):
    """The autoencoder of Table 1; with `two_path=False`, the appearance path and the same decoder alone (Fig.
    3).

    Input: I, (B, C, T, H, W), in the range that the caller chose for 8-bit frames. Output: `Output`.
    Raises ModelError for settings that do not fit together.
    """

    def __init__(self, *, channels: int, two_path: bool, T: int, tau: int,
                 app_channels, mot_channels, spatial_strides, decoder_strides,
                 normalisation: str, activation: str, output: str, one_path_frames: str):
        super().__init__()
        for name, value in (("app_channels", app_channels), ("mot_channels", mot_channels),
                            ("spatial_strides", spatial_strides), ("decoder_strides", decoder_strides)):
            if len(value) != 4:
                raise ModelError(f"{name} has {len(value)} entries; each path and the decoder have four "
                                 "layers.")
        if T % tau:
            raise ModelError(f"T = {T} is not a multiple of tau = {tau}: the appearance path would not see "
                             "whole steps.")
        if torch.tensor(spatial_strides).prod() != torch.tensor(decoder_strides).prod():
            raise ModelError("The encoder divides the frame size by the product of "
                             f"{tuple(spatial_strides)}, the decoder multiplies it by that of "
                             f"{tuple(decoder_strides)}: the two must be equal.")
        self.T, self.channels, self.two_path = T, channels, two_path
        # The one-path autoencoder may be given all T frames; its maps then keep all T, and the decoder does
        # not restore the frame rate.
        self.tau = 1 if not two_path and one_path_frames == "T" else tau
        self.shrink = int(torch.tensor(spatial_strides).prod())
        layer = dict(normalisation=normalisation, activation=activation)

        self.app, self.mot, self.lateral = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        app_in, mot_in = channels, channels
        for i, stride in enumerate(spatial_strides):
            self.app.append(_conv(app_in, app_channels[i], APP_KERNELS[i], (1, stride, stride), **layer))
            app_in, mot_out = app_channels[i], mot_channels[i]
            if two_path:
                self.mot.append(_conv(mot_in, mot_out, MOT_KERNELS[i], (1, stride, stride), **layer))
                self.lateral.append(_conv(mot_out, 2 * mot_out, LATERAL_KERNEL, (tau, 1, 1), **layer))
                mot_in = mot_out
                app_in += 2 * mot_out  # channels of the input of the next layer or of the decoder

        # DeConv1-4: Table 1 has 256, 128, 96 and the frame's own channels, the appearance path's widths in
        # reverse.
        widths = (app_channels[2], app_channels[1], app_channels[0], channels)
        self.decoder = nn.ModuleList()
        for i, (time, space) in enumerate(zip(temporal_strides(self.tau), decoder_strides)):
            last = i == 3
            deconv = _deconv(app_in, widths[i], (time, space, space), bias=last or normalisation == "none")
            after = [] if last else _normalise_and_activate(widths[i], **layer)
            self.decoder.append(nn.Sequential(deconv, *after))
            app_in = widths[i]
        self.output = {"linear": nn.Identity, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[output]()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """I (B, C, T, H, W) -> x_app (B, C_app, T/tau, h, w), x_mot (B, C_mot, T, h, w) or None, and the
        decoder's input.

        Raises ModelError if I has another number of frames or channels, or a size that the strides do not
        divide.
        """
        B, C, T, H, W = x.shape
        if (self.channels, self.T) != (C, T):
            raise ModelError(f"The network takes windows of {self.T} frames of {self.channels} channel(s); "
                             f"it was given {T} frames of {C}.")
        if H % self.shrink or W % self.shrink:
            raise ModelError(f"Frames of {H}x{W} cannot be halved down to 1/{self.shrink}: "
                             f"height and width must be multiples of {self.shrink}.")
        app, mot = x[:, :, :: self.tau], x
        for i in range(4):
            app = x_app = self.app[i](app)
            if self.two_path:
                mot = self.mot[i](mot)
                app = torch.cat((x_app, self.lateral[i](mot)), dim=1)  # (B, C_app + 2 C_mot, T/tau, ., .)
        return x_app, mot if self.two_path else None, app

    def forward(self, x: Tensor) -> Output:
        x_app, x_mot, joined = self.encode(x)
        for layer in self.decoder:
            joined = layer(joined)
        return Output(self.output(joined.float()), x_app.float(), None if x_mot is None else x_mot.float())
