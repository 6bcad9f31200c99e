"""Eq. 7 of frames from windows and their reconstructions, in all the readings that `scoring` names, on the
network's device.

Sums are in float64, window by window, so that memory does not depend on a clip's length. NaN and infinity
are refused where they enter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib.errors import ScoreError
from lib.scoring import ERRORS, eq7, patch_grid


def absolute_error(I: Tensor, I_hat: Tensor, *, value_range: float) -> Tensor:
    """|I - I^| scaled to [0, 1] of each colour: (..., C, T, H, W) twice -> (..., T, C, H, W) float32.

    `value_range` is the width of the frames' range: 2 for [-1, 1]. An output outside that range (possible
    with a linear last layer) can be off by more than the whole range; its error counts as 1.
    Raises ScoreError for tensors of different shapes, NaN or infinity.
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
    """What is averaged over windows in the order "average_first": errors (..., C, H, W) in [0, 1] -> (...,
    M, H, W).

    M is 4 C, for each colour e, log e, e^2 and log e^2 of all C colours, log e being Eq. 7; with several
    colours, the same four of their mean follow.
    """
    shades = [error] if error.shape[-3] == 1 else [error, error.mean(-3, keepdim=True)]
    return torch.cat([x for e in shades for x in (e, eq7(e, clamp), e * e, eq7(e * e, clamp))], dim=-3)


def readings_of_windows(error: Tensor, *, clamp: float, patch: int, patch_stride: int) -> Tensor:
    """Eq. 7 in the order "reduce_first": errors (..., C, H, W) in [0, 1] -> (..., half the names of
    `readings`), float64.

    Raises ScoreError for NaN, for errors outside [0, 1] and for a clamp outside (0, 1).
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
        highest = patches.maxima(e)  # the largest error has the largest square and the largest logarithm
        for x, x_highest in ((e, highest), (e * e, highest * highest)):
            values += _pixel_and_mean(x, eq7(x, clamp), x_highest, eq7(x_highest, clamp), patches, clamp)
    return torch.stack(values, dim=-1)


def readings_of_means(maps: Tensor, *, clamp: float, patch: int, patch_stride: int) -> Tensor:
    """Eq. 7 in the order "average_first": what `eq7_maps` gave, averaged over windows, (..., M, H, W) ->
    (..., the other half of the names of `readings`), float64."""
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
    """All of LOGS x REDUCTIONS: errors and their logarithms, (..., C, H, W), and their maxima within
    patches, (..., P) -> eight of (...)."""
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
    """The patches of a frame of H x W, see `scoring.patch_grid`: means and maxima within each, over all
    colours."""

    def __init__(self, height: int, width: int, *, patch: int, patch_stride: int):
        (self.rows_in, self.columns_in), rows, columns = patch_grid(
            height, width, patch=patch, patch_stride=patch_stride
        )
        self.rows = torch.from_numpy(rows)[:, None] + torch.arange(self.rows_in)  # (n, rows of each patch)
        self.columns = torch.from_numpy(columns)[:, None] + torch.arange(
            self.columns_in
        )  # (m, columns of each)
        self.down = torch.zeros(len(rows), height, dtype=torch.float64).scatter_(1, self.rows, 1.0)
        self.across = torch.zeros(len(columns), width, dtype=torch.float64).scatter_(1, self.columns, 1.0).T

    def largest_mean(self, x: Tensor) -> Tensor:
        """The largest of the means within patches: (..., C, H, W) -> (...), float64."""
        down, across = self.down.to(x.device), self.across.to(x.device)
        sums = down @ x.mean(-3, dtype=torch.float64) @ across  # (..., n, m)
        return sums.amax((-2, -1)) / (self.rows_in * self.columns_in)

    def maxima(self, x: Tensor) -> Tensor:
        """The maximum within each patch: (..., C, H, W) -> (..., n * m)."""
        x = x.amax(-3)
        x = x[..., self.rows.flatten().to(x.device), :].unflatten(-2, self.rows.shape).amax(-2)  # (..., n, W)
        x = (
            x[..., self.columns.flatten().to(x.device)].unflatten(-1, self.columns.shape).amax(-1)
        )  # (..., n, m)
        return x.flatten(-2)


class WindowMean:
    """Mean over all windows in which a frame appears ("Test method"), for one clip, in the memory of one
    window.

    Windows are added in order of their start. A frame is finished, and handed out, as soon as no later
    window can hold it; so after `add(start, ...)` all frames before `start` are out, and `finish()` hands
    out the rest. All answers together are the clip's frames in order, first and last included.
    """

    def __init__(self, *, T: int, length: int):
        """`length` is the number of frames of the clip. Raises ScoreError if it is below T."""
        if length < T:
            raise ScoreError(f"The clip has {length} frames and a window {T}; a clip needs at least as many.")
        self.T, self.length = T, length
        self.first = 0  # frame of the clip that the first row of the buffers belongs to
        self.start = -1  # of the latest window
        self.sums: Tensor | None = None  # (T, ...), where the values lie
        self.counts = torch.zeros(T, dtype=torch.int64)

    def add(self, start: int, values: Tensor) -> Tensor:
        """Add the window that starts at frame `start`, with values (T, ...) -> the finished frames (n, ...),
        float64.

        Raises ScoreError for a window out of order or outside the clip, for NaN, and for a frame that no
        window holds.
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
        """The frames of the last window -> (n, ...), float64. Raises ScoreError if no window holds the last
        frame."""
        if self.start + self.T != self.length or self.sums is None:
            raise ScoreError(
                f"The last window starts at frame {self.start} and does not reach the end of the clip of "
                f"{self.length} frames; the last window that fits must be among the windows."
            )
        return self._hand_out(self.length)

    def _hand_out(self, stop: int) -> Tensor:
        """Means of the frames before `stop`, which leave the buffers."""
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
            "values); "
            "the network that made it has diverged or its input is damaged."
        )
