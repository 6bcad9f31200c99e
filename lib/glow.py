"""Glow, the normalizing flow of F_app and F_mot: "Learning normality distribution", Eq. 1, 2, 5 and 6.

A flow is an invertible map f with a tractable Jacobian, so that (Eq. 2)

    log p(x) = log p_z(f(x)) + sum_i log |det df_i / dh_{i-1}|.

The paper uses Glow (Kingma and Dhariwal 2018) with K steps of flow per level and L levels:

    Glow      L times:  Level, then (but for the last) Split
    Level     Squeeze, then K times FlowStep
    FlowStep  ActNorm, InvertibleConv (1x1), AffineCoupling

Every layer has the same interface: `z, log_det = layer(x)` with log_det of shape (B,), and
`x = layer.inverse(z)`.

Differences from the code of Kingma and Dhariwal:
* Convolutions pad with zeros; theirs add a channel that marks the border.
* The latents of the last scale are standard normal. A learned Gaussian per channel (optional there, off by
  default) would add nothing: the last step's actnorm and 1x1 convolution already shift and scale channels.
* The coupling is affine, as in the papers; their code's default is additive.
* A channel that is constant in the first batch is centred and not scaled; see `ActNorm`.
"""
from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import GlowError
from lib.kernels.coupling_convolutions import ThreeConvs, convolve

EPSILON = 1e-6      # added to actnorm's standard deviations, as in Glow
CONSTANT = 1e-4     # a channel with a smaller standard deviation is constant to actnorm
# Glow's factor on the log scale of zero-initialised convolutions, which learns that much faster
ZERO_CONV_RATE = 3


def bits_per_dimension(nll, dims: int):
    """Negative log-likelihood in bits per dimension: nll / (dims ln 2).

    nll: in nats, tensor, array or number; dims: C * H * W of the flow's input. For features, which are
    continuous, this is a differential entropy rate: it can be negative, and it depends on the scale of the
    features.
    """
    return nll / (dims * math.log(2))


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I), summed over all but the first axis. (B, ...) -> (B,)"""
    return -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)


class ActNorm(nn.Module):
    """Activation normalisation per channel: z = (x + bias) * exp(log_scale). (B, C, H, W) -> same.

    The first batch in training mode sets both so that each channel of z has mean 0 and variance 1 on that
    batch; from then on they are ordinary parameters. `initialised` is saved with the model; otherwise the
    first batch after loading would set them again.

    A channel whose standard deviation on that batch is below CONSTANT keeps scale 1. Dividing by almost 0
    would add up to log(1 / EPSILON) = 13.8 nats for each of its pixels, and dominate the likelihood as soon
    as the channel varies.

    Raises GlowError if it is used before its first batch in training mode, or if that batch is not finite.
    """

    def __init__(self, *, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.initialise_once(x)
        z = (x + self.bias[:, None, None]) * self.log_scale.exp()[:, None, None]
        return z, _per_sample(self.log_det_per_pixel(), x)

    def inverse(self, z: Tensor) -> Tensor:
        self.require_initialised()
        return z * (-self.log_scale).exp()[:, None, None] - self.bias[:, None, None]

    def log_det_per_pixel(self) -> Tensor:
        return self.log_scale.double().sum()

    @torch.no_grad()
    def initialise_once(self, x: Tensor) -> None:
        """Set bias and scale from x, unless they have been set."""
        if self.initialised:
            return
        if not self.training:
            self.require_initialised()
        variance, mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
        if not variance.isfinite().all():
            raise GlowError("The first batch, from which actnorm takes its statistics, holds NaN or "
                            "infinite values.")
        std = variance.sqrt()
        self.bias.copy_(-mean)
        self.log_scale.copy_(torch.where(std < CONSTANT, torch.zeros_like(std), -(std + EPSILON).log()))
        self.initialised.fill_(True)

    def require_initialised(self) -> None:
        if not self.initialised:
            raise GlowError("This flow has not seen any data: actnorm takes its statistics from the first "
                            "batch in training mode. Call train() and pass a batch through it, or load a "
                            "trained state.")


class InvertibleConv(nn.Module):
    """Invertible 1x1 convolution: z = W x at every pixel. (B, C, H, W) -> same.

    W starts as a random rotation. permutation="dense" learns W itself. permutation="lu" learns the factors of

        W = P L (U + diag(s)),

    where P is a fixed permutation, L is lower triangular with ones on the diagonal, U is strictly upper
    triangular and the signs of s are fixed. These are the same matrices up to those signs, and
    log |det W| = sum log |s|. Determinants are computed in float64.
    """

    def __init__(self, *, channels: int, permutation: Literal["lu", "dense"]):
        super().__init__()
        if permutation not in ("lu", "dense"):
            raise GlowError(f"permutation is 'lu' or 'dense', not {permutation!r}.")
        self.permutation = permutation
        rotation = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))[0]
        dtype = torch.get_default_dtype()
        if permutation == "dense":
            self.weight = nn.Parameter(rotation.to(dtype))
        else:
            p, lower, upper = torch.linalg.lu(rotation)
            self.register_buffer("p", p.to(dtype))
            self.register_buffer("sign_s", upper.diagonal().sign().to(dtype))
            self.lower = nn.Parameter(lower.tril(-1).to(dtype))
            self.upper = nn.Parameter(upper.triu(1).to(dtype))
            self.log_s = nn.Parameter(upper.diagonal().abs().log().to(dtype))

    def matrix(self) -> tuple[Tensor, Tensor]:
        """W (C, C), and log |det W| in float64."""
        if self.permutation == "dense":
            return self.weight, torch.linalg.slogdet(self.weight.double()).logabsdet
        lower = self.lower.tril(-1) + torch.eye(len(self.p), dtype=self.p.dtype, device=self.p.device)
        upper = self.upper.triu(1) + (self.sign_s * self.log_s.exp()).diag()
        return self.p @ lower @ upper, self.log_s.double().sum()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight, log_det = self.matrix()
        return F.conv2d(x, weight[:, :, None, None]), _per_sample(log_det, x)

    def inverse(self, z: Tensor) -> Tensor:
        inverse = torch.linalg.inv(self.matrix()[0].double()).to(z.dtype)
        return F.conv2d(z, inverse[:, :, None, None])


class ActNormConv(nn.Module):
    """A convolution with actnorm on its output, as one convolution: the scale is folded into its weights.

    This saves a pass forward and one backward over activations that are many times larger than the weights.
    """

    def __init__(self, *, inputs: int, outputs: int, kernel: int):
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(outputs, inputs, kernel, kernel))
        self.norm = ActNorm(channels=outputs)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution with actnorm folded in."""
        scale = self.norm.log_scale.exp()
        return self.weight * scale[:, None, None, None], self.norm.bias * scale

    def initialise_once(self, x: Tensor) -> None:
        self.norm.initialise_once(convolve(x, self.weight, None))


class ZeroConv(nn.Module):
    """A 3x3 convolution that starts as zero, with a learned log scale. (B, C, H, W) -> (B, C', H, W)"""

    def __init__(self, *, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.log_scale = nn.Parameter(torch.zeros(outputs))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias with the scale folded in."""
        scale = (ZERO_CONV_RATE * self.log_scale).exp()
        return self.weight * scale[:, None, None, None], self.bias * scale

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, *self.folded())


class AffineCoupling(nn.Module):
    """Affine coupling: half of the channels sets shift and scale of the other half. (B, C, H, W) -> same.

    (shift, h) = NN(x1),  z1 = x1,  z2 = (x2 + shift) * sigmoid(h + 2),  log_det = sum log sigmoid(h + 2).

    NN is three convolutions, 3x3 (C/2 -> hidden), 1x1 (hidden -> hidden), 3x3 (hidden -> C). The last one
    starts as zero; the scale starts at sigmoid(2) = 0.88 and stays below 1.

    recompute: compute the hidden maps of NN again in the backward pass instead of keeping them. They are by
    far the largest tensors of a flow: 2 * hidden channels, against about 4 * C for everything else that a
    step keeps.
    """

    def __init__(self, *, channels: int, hidden: int, recompute: bool):
        super().__init__()
        if channels % 2:
            raise GlowError(f"A coupling layer halves its channels; {channels} is odd.")
        self.recompute = recompute
        self.conv1 = ActNormConv(inputs=channels // 2, outputs=hidden, kernel=3)
        self.conv2 = ActNormConv(inputs=hidden, outputs=hidden, kernel=1)
        self.conv3 = ZeroConv(inputs=hidden, outputs=channels)

    @torch.no_grad()
    def initialise_once(self, x1: Tensor) -> None:
        """Set the actnorms of the hidden layers from x1, unless they have been set."""
        if not self.conv2.norm.initialised:
            self.conv1.initialise_once(x1)
            self.conv2.initialise_once(convolve(x1, *self.conv1.folded()).relu())

    def shift_and_log_scale(self, x1: Tensor) -> tuple[Tensor, Tensor]:
        x1 = x1.contiguous(memory_format=torch.channels_last)
        out = ThreeConvs.apply(self.recompute, x1,
                               *self.conv1.folded(), *self.conv2.folded(), *self.conv3.folded())
        shift, h = out.chunk(2, dim=1)
        return shift, F.logsigmoid(h + 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x1, x2 = x.chunk(2, dim=1)
        self.initialise_once(x1)
        shift, log_scale = self.shift_and_log_scale(x1)
        z2 = (x2 + shift) * log_scale.exp()
        return torch.cat([x1, z2], dim=1), log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        self.conv2.norm.require_initialised()       # latents are not data to initialise from
        z1, z2 = z.chunk(2, dim=1)
        shift, log_scale = self.shift_and_log_scale(z1)
        return torch.cat([z1, z2 * (-log_scale).exp() - shift], dim=1)


class Squeeze(nn.Module):
    """Each 2x2 block of pixels becomes four channels: (B, C, H, W) -> (B, 4C, H/2, W/2). log_det is 0."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(z, 2)


class FlowStep(nn.Module):
    """One step of flow: actnorm, invertible 1x1 convolution, affine coupling. (B, C, H, W) -> same.

    The first two are affine at each pixel and computed as one map: W ((x + b) s) = (W s) x + (W s) b.
    """

    def __init__(self, *, channels: int, hidden: int, permutation: str, recompute: bool):
        super().__init__()
        self.actnorm = ActNorm(channels=channels)
        self.conv = InvertibleConv(channels=channels, permutation=permutation)
        self.coupling = AffineCoupling(channels=channels, hidden=hidden, recompute=recompute)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.actnorm.initialise_once(x)
        weight, log_det = self.conv.matrix()
        weight = weight * self.actnorm.log_scale.exp()
        x = F.linear(x.permute(0, 2, 3, 1), weight, weight @ self.actnorm.bias).permute(0, 3, 1, 2)
        z, log_det_coupling = self.coupling(x)
        return z, _per_sample(self.actnorm.log_det_per_pixel() + log_det, x) + log_det_coupling

    def inverse(self, z: Tensor) -> Tensor:
        return self.actnorm.inverse(self.conv.inverse(self.coupling.inverse(z)))


class Level(nn.Module):
    """A squeeze and K steps of flow on one scale: (B, C, H, W) -> (B, 4C, H/2, W/2)."""

    def __init__(self, *, channels: int, K: int, hidden: int, permutation: str, recompute: bool):
        super().__init__()
        self.squeeze = Squeeze()
        self.steps = nn.ModuleList(
            FlowStep(channels=4 * channels, hidden=hidden, permutation=permutation, recompute=recompute)
            for _ in range(K))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.squeeze(x)
        z = z.contiguous(memory_format=torch.channels_last)     # the faster layout for 2-D convolutions
        for step in self.steps:
            z, step_log_det = step(z)
            log_det = log_det + step_log_det
        return z, log_det

    def inverse(self, z: Tensor) -> Tensor:
        for step in reversed(self.steps):
            z = step.inverse(z)
        return self.squeeze.inverse(z)


class Split(nn.Module):
    """The learned prior of the channels that leave the flow between two levels. (B, C, H, W) -> same.

    The first half, x1, goes on to the next level. The second half is Gaussian given x1,
    p(x2 | x1) = N(mean(x1), std(x1)^2). As a layer: z1 = x1 and z2 = (x2 - mean) / std, so all latents of a
    flow are standard normal and log p(x2 | x1) = log N(z2; 0, I) + log_det. Mean and log std come from a
    convolution that starts as zero.
    """

    def __init__(self, *, channels: int):
        super().__init__()
        self.prior = ZeroConv(inputs=channels // 2, outputs=channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x1, x2 = x.chunk(2, dim=1)
        mean, log_std = self.prior(x1).chunk(2, dim=1)
        return torch.cat([x1, (x2 - mean) * (-log_std).exp()], dim=1), -log_std.flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        z1, z2 = z.chunk(2, dim=1)
        mean, log_std = self.prior(z1).chunk(2, dim=1)
        return torch.cat([z1, mean + z2 * log_std.exp()], dim=1)


class Terms(NamedTuple):
    """Eq. 2 term by term, in nats. log_prob = log_p_z.sum(1) + log_det.sum(1)."""

    log_p_z: Tensor     # (B, L): log density, under their prior, of the latents of each level
    log_det: Tensor     # (B, L): log |det| of each level


class Glow(nn.Module):
    """Glow: the density of feature maps x (B, channels, H, W); H and W divisible by 2**L.

    channels: C of x. K: steps of flow per level. L: levels; with L = 1 there is one squeeze and no split.
    hidden: width of the coupling networks. permutation: "lu" or "dense", see `InvertibleConv`.
    recompute: less memory in training for about a quarter more time, same gradients; see `AffineCoupling`.

    `zs, log_det = glow(x)` and `x = glow.inverse(zs)` as for every layer; zs are the latents of each scale,
    finest first, all standard normal under the model. Raises GlowError for other shapes and before the first
    training batch.
    """

    def __init__(self, *, channels: int, K: int, L: int, hidden: int, permutation: Literal["lu", "dense"],
                 recompute: bool):
        super().__init__()
        if min(channels, K, L, hidden) < 1:
            raise GlowError(f"channels, K, L and hidden are at least 1; got {channels}, {K}, {L} and "
                            f"{hidden}.")
        self.channels, self.L = channels, L
        self.levels, self.splits = nn.ModuleList(), nn.ModuleList()
        for i in range(L):
            self.levels.append(Level(channels=channels, K=K, hidden=hidden, permutation=permutation,
                                     recompute=recompute))
            if i < L - 1:
                self.splits.append(Split(channels=4 * channels))
            channels *= 2           # the squeeze multiplies by 4, the split halves

    def _scales(self, x: Tensor):
        """Per level: its latents, its log-determinant, and that of the split after it (0 after the last)."""
        self._check(x.shape[1:])
        for i, level in enumerate(self.levels):
            x, log_det = level(x)
            if i < self.L - 1:
                x, log_det_split = self.splits[i](x)
                x, z = x.chunk(2, dim=1)
            else:
                z, log_det_split = x, torch.zeros_like(log_det)
            yield z, log_det, log_det_split

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        zs, log_dets, log_dets_split = zip(*self._scales(x))
        return list(zs), sum(log_dets) + sum(log_dets_split)

    def inverse(self, zs: list[Tensor]) -> Tensor:
        x = zs[-1]
        for i in reversed(range(self.L)):
            if i < self.L - 1:
                x = self.splits[i].inverse(torch.cat([x, zs[i]], dim=1))
            x = self.levels[i].inverse(x)
        return x

    def terms(self, x: Tensor) -> Terms:
        """log p(x) by level, finest first. The learned prior of a split is counted in log_p_z."""
        parts = [(standard_normal_log_prob(z) + log_det_split, log_det)
                 for z, log_det, log_det_split in self._scales(x)]
        log_p_z, log_det = zip(*parts)
        return Terms(torch.stack(log_p_z, 1), torch.stack(log_det, 1))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, Eq. 2. (B, C, H, W) -> (B,)"""
        log_p_z, log_det = self.terms(x)
        return log_p_z.sum(1) + log_det.sum(1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The latents of each scale, finest first; mix those of two inputs and `decode` to interpolate."""
        return self(x)[0]

    def decode(self, zs: list[Tensor]) -> Tensor:
        """Latents of each scale, finest first, as `encode` gives them -> x (B, C, H, W)."""
        return self.inverse(zs)

    def latent_shapes(self, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """Shapes (c, h, w) of the latents for inputs of shape (C, H, W), finest first."""
        self._check(shape)
        _, height, width = shape
        shapes = [(self.channels * 2 ** i, height >> i, width >> i) for i in range(1, self.L + 1)]
        c, h, w = shapes[-1]
        return [*shapes[:-1], (2 * c, h, w)]

    @torch.no_grad()
    def sample(self, n: int, shape: tuple[int, int, int], temperature: float,
               generator: torch.Generator) -> Tensor:
        """n samples of `shape`, (C, H, W), from latents of standard deviation `temperature`: (n, C, H, W)."""
        like = next(self.parameters())
        zs = [temperature * torch.randn(n, *s, generator=generator, device=generator.device, dtype=like.dtype)
              for s in self.latent_shapes(shape)]
        return self.inverse([z.to(like.device) for z in zs])

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[0] != self.channels:
            raise GlowError(f"This flow takes maps of shape ({self.channels}, H, W); got {tuple(shape)}.")
        factor = 2 ** self.L
        if shape[1] % factor or shape[2] % factor:
            raise GlowError(f"Maps of {shape[1]}x{shape[2]} cannot be halved {self.L} times (L = {self.L}): "
                            f"both sides must be divisible by {factor}. Take a smaller L, or features of "
                            "another size.")


def _per_sample(log_det_per_pixel: Tensor, x: Tensor) -> Tensor:
    """The log-determinant (B,) of a layer that is the same linear map at every pixel of x (B, C, H, W)."""
    return (x.shape[2] * x.shape[3] * log_det_per_pixel).to(x.dtype).expand(len(x))
