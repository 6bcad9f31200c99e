"""Eq. 7 from windows and their reconstructions, in all readings of `scoring`, on the network's device.

Windows are summed in float64, one after another, so that memory does not depend on a clip's length. NaN and
infinity in an input raise ScoreError.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib.errors import ScoreError
from lib.scoring import ERRORS, eq7, patch_grid


def absolute_error(I: Tensor, I_hat: Tensor, *, value_range: float) -> Tensor:
    """|I - I^| of each colour, scaled to [0, 1]: (..., C, T, H, W) each -> (..., T, C, H, W) float32.

    `value_range` is the width of the frames' range: 2 for [-1, 1]. Where the output is outside that range
    (possible with a linear last layer), the error can exceed the whole range; it then counts as 1. Raises
    ScoreError for tensors of different shapes, NaN or infinity.
    """
    if I.shape != I_hat.shape:
        raise ScoreError(
            f"The frames have shape {tuple(I.shape)} and their reconstruction {tuple(I_hat.shape)}; "
            "they must be equal."
        )
    error = (I.float() - I_hat.float()).abs() / value_range
    _check_finite("The reconstruction error", error)
    return error.clamp(max=1).transpose(-4, -3)


def eq7_maps(error: Tensor, *, clamp: float) -> Tensor:
    """The maps that "average_first" averages over windows: errors (..., C, H, W) in [0, 1] -> (..., M, H, W).

    With log e for Eq. 7 of e, M = 4C: e, log e, e^2 and log e^2 of all C colours. With several colours, the
    same four maps of their mean error follow.
    """
    shades = [error] if error.shape[-3] == 1 else [error, error.mean(-3, keepdim=True)]
    return torch.cat([x for e in shades for x in (e, eq7(e, clamp), e * e, eq7(e * e, clamp))], dim=-3)


def readings_of_windows(error: Tensor, *, clamp: float, patch: int, patch_stride: int) -> Tensor:
    """Eq. 7 in the order "reduce_first": errors (..., C, H, W) in [0, 1] -> (..., R), float64.

    R is the first half of the names of `readings`. Raises ScoreError for NaN, for errors outside [0, 1] and
    for a clamp outside (0, 1).
    """
    if not 0 < clamp < 1:
        raise ScoreError(f"clamp is {clamp}; it must lie between 0 and 1.")
    _check_finite("The error map", error)
    if error.numel() and (error.min() < 0 or error.max() > 1 + 1e-6):
        raise ScoreError(
            f"The error map has values from {error.min():.3g} to {error.max():.3g}; Eq. 7 needs [0, 1]."
        )
    patches = Patches(*error.shape[-2:], patch=patch, patch_stride=patch_stride)
    values = []
    for e in [error] if error.shape[-3] == 1 else [error, error.mean(-3, keepdim=True)]:
        highest = patches.maxima(e)  # square and logarithm are largest where the error is
        for x, x_highest in ((e, highest), (e * e, highest * highest)):
            values += _pixel_and_mean(x, eq7(x, clamp), x_highest, eq7(x_highest, clamp), patches, clamp)
    return torch.stack(values, dim=-1)


def readings_of_means(maps: Tensor, *, clamp: float, patch: int, patch_stride: int) -> Tensor:
    """Eq. 7 in the order "average_first": maps of `eq7_maps`, averaged over windows, (..., M, H, W) ->
    (..., R), float64. R is the second half of the names of `readings`."""
    patches = Patches(*maps.shape[-2:], patch=patch, patch_stride=patch_stride)
    C = maps.shape[-3] // 4 if maps.shape[-3] == 4 else maps.shape[-3] // 4 - 1
    values, at = [], 0
    for colours in [C] if C == 1 else [C, 1]:
        for _ in ERRORS:
            x, log = maps[..., at : at + colours, :, :], maps[..., at + colours : at + 2 * colours, :, :]
            values += _pixel_and_mean(x, log, patches.maxima(x), patches.maxima(log), patches, clamp)
            at += 2 * colours
    return torch.stack(values, dim=-1)


def _pixel_and_mean(
    x: Tensor, log: Tensor, highest: Tensor, highest_log: Tensor, patches: Patches, clamp: float
) -> list[Tensor]:
    """All of LOGS x REDUCTIONS, eight values of shape (...).

    From errors and their logarithms, (..., C, H, W), and their maxima within patches, (..., P).
    """
    of_pixels, of_means = (
        [
            values.mean((-3, -2, -1), dtype=torch.float64),
            patches.largest_mean(values),
            top.mean(-1, dtype=torch.float64),
            top.amax(-1).double(),
        ]
        for values, top in ((log, highest_log), (x, highest))
    )
    return of_pixels + [eq7(mean, clamp) for mean in of_means]


class Patches:
    """The patches of a frame of H x W (`scoring.patch_grid`): means and maxima of each patch over all
    colours."""

    def __init__(self, height: int, width: int, *, patch: int, patch_stride: int):
        (self.rows_in, self.columns_in), rows, columns = patch_grid(
            height, width, patch=patch, patch_stride=patch_stride
        )
        self.rows = torch.from_numpy(rows)[:, None] + torch.arange(self.rows_in)  # (n, rows of each patch)
        # (m, columns of each)
        self.columns = torch.from_numpy(columns)[:, None] + torch.arange(self.columns_in)
        self.down = torch.zeros(len(rows), height, dtype=torch.float64).scatter_(1, self.rows, 1.0)
        self.across = torch.zeros(len(columns), width, dtype=torch.float64).scatter_(1, self.columns, 1.0).T

    def largest_mean(self, x: Tensor) -> Tensor:
        """The largest mean of a patch: (..., C, H, W) -> (...), float64."""
        down, across = self.down.to(x.device), self.across.to(x.device)
        sums = down @ x.mean(-3, dtype=torch.float64) @ across  # (..., n, m)
        return sums.amax((-2, -1)) / (self.rows_in * self.columns_in)

    def maxima(self, x: Tensor) -> Tensor:
        """The maximum within each patch: (..., C, H, W) -> (..., n * m)."""
        x = x.amax(-3)
        x = x[..., self.rows.flatten().to(x.device), :].unflatten(-2, self.rows.shape).amax(-2)  # (..., n, W)
        # (..., n, m)
        x = x[..., self.columns.flatten().to(x.device)].unflatten(-1, self.columns.shape).amax(-1)
        return x.flatten(-2)


class WindowMean:
    """Mean over all windows in which a frame appears ("Test method"), for one clip, in the memory of one
    window.

    Windows are added in order of their start. A frame is finished, and returned, as soon as no later window
    can contain it: `add(start, ...)` returns the frames before `start` that are new, `finish()` the rest.
    Together they are all frames of the clip in order.
    """

    def __init__(self, *, T: int, length: int):
        """`length` is the number of frames of the clip. Raises ScoreError if it is below T."""
        if length < T:
            raise ScoreError(f"The clip has {length} frames and a window {T}; a clip needs at least as many.")
        self.T, self.length = T, length
        self.first = 0  # the clip's frame in the first row of the buffers
        self.start = -1  # of the latest window
        self.sums: Tensor | None = None  # (T, ...), on the device of the values
        self.counts = torch.zeros(T, dtype=torch.int64)

    def add(self, start: int, values: Tensor) -> Tensor:
        """Add the window that starts at frame `start`, with values (T, ...) -> the finished frames (n, ...),
        float64.

        Raises ScoreError for a window out of order or outside the clip, for NaN, and for a frame that is in
        no window.
        """
        if not self.start < start <= self.length - self.T:
            raise ScoreError(
                f"The window at frame {start} cannot follow the {self.first} frames that are out in a "
                f"clip of {self.length}: windows must come in order, each once, and lie inside the clip."
            )
        if len(values) != self.T:
            raise ScoreError(f"A window of {len(values)} values was added where T is {self.T}.")
        _check_finite(f"The window at frame {start}", values)
        if self.sums is None:
            self.sums = torch.zeros_like(values, dtype=torch.float64)
        finished = self._hand_out(start)
        self.sums += values
        self.counts += 1
        self.start = start
        return finished

    def finish(self) -> Tensor:
        """The frames of the last window -> (n, ...), float64. Raises ScoreError if the last frame is in no
        window."""
        if self.start + self.T != self.length or self.sums is None:
            raise ScoreError(
                f"The last window starts at frame {self.start} and does not reach the end of the clip of "
                f"{self.length} frames; the last window that fits must be among the windows."
            )
        return self._hand_out(self.length)

    def _hand_out(self, stop: int) -> Tensor:
        """Means of the frames before `stop`, which are removed from the buffers."""
        n = stop - self.first
        if n > self.T or (self.counts[:n] == 0).any():
            missing = self.first + (self.T if self.counts.all() else 0)
            raise ScoreError(
                f"Frame {missing} of the clip lies in no window; the stride must be at most T = {self.T}, "
                "and the first window must start at frame 0."
            )
        counts = self.counts[:n].reshape(-1, *[1] * (self.sums.ndim - 1))
        finished = self.sums[:n] / counts.to(self.sums.device)
        for buffer in (self.sums, self.counts):
            buffer[: self.T - n] = buffer[n:].clone()
            buffer[self.T - n :] = 0
        self.first = stop
        return finished


def _check_finite(name: str, values: Tensor) -> None:
    finite = torch.isfinite(values)
    if not finite.all():
        raise ScoreError(
            f"{name} holds NaN or infinity ({finite.numel() - int(finite.sum())} of {finite.numel()} "
            "values); the network that made it has diverged or its input is damaged."
        )
