"""From reconstructions and likelihoods to frame scores: "Test method", Eq. 7, 8 and 9. A larger score is more abnormal.

Eq. 7 is read in this order: the error is averaged over the colour channels; the background is removed where that is
asked for; the logarithm is taken of each pixel (or of the reduced error); the frame is reduced to its mean, or to the
largest mean over its patches (UCSD); and last the frame's values are averaged over all the windows that hold it.
Everything that is summed is summed in float64, window by window, so that memory does not depend on a clip's length.
NaN and infinity are refused where they enter.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from lib.errors import ScoreError

REFERENCE_HEIGHT, REFERENCE_WIDTH = 240, 360  # the UCSD frame, for which patches are given ("Implementations")
BACKGROUND_THRESHOLD = 128                    # summed difference of three 8-bit channels, Abati et al. 2019
BACKGROUND_DILATIONS = 5                      # steps of one pixel to the four neighbours, Abati et al. 2019
ROUNDING = 1e-12                              # a relative range below this is rounding, and the values are constant


# Eq. 7: the reconstruction error of a frame

def absolute_error(I: np.ndarray, I_hat: np.ndarray, *, value_range: float) -> np.ndarray:
    """|I - I^| scaled to [0, 1], averaged over the colour channels: (..., C, T, H, W) twice -> (..., T, H, W) float32.

    `value_range` is the width of the frames' range: 2 for [-1, 1]. An output outside that range (possible with a
    linear last layer) can be off by more than the whole range; its error counts as 1.
    Raises ScoreError for arrays of different shapes, NaN or infinity.
    """
    if I.shape != I_hat.shape:
        raise ScoreError(f"The frames have shape {I.shape} and their reconstruction {I_hat.shape}; they must be equal.")
    error = np.abs(np.subtract(I, I_hat, dtype=np.float32))
    error /= np.float32(value_range)
    _check_finite("The reconstruction error", error)
    np.minimum(error, 1, out=error)
    return error.mean(axis=-4)


def frame_reductions(error: np.ndarray, *, clamp: float, patch: int, patch_stride: int,
                     mask: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Every reading of Eq. 7 in one pass: error maps in [0, 1], (..., H, W) -> four arrays (...), float64.

    The keys are "<log_of>/<reduce>": "pixel/mean", "pixel/patch_max", "mean/mean" and "mean/patch_max".
      pixel  -log10(max(1 - e, clamp)) of each pixel, then reduced
      mean   e reduced first, then -log10(max(1 - e, clamp))
      mean       the mean over the frame
      patch_max  the largest of the means over patches (see `patch_grid`)
    `mask` (..., H, W), if given, is the foreground: elsewhere the error is set to 0, and means stay means over all
    pixels. So it is in Abati et al. 2019, where the background is blackened in the frame and still counted; a mean
    over the foreground alone would rate a frame with one far pedestrian like a crowded one.
    Raises ScoreError for NaN, for errors outside [0, 1] and for a clamp outside (0, 1).
    """
    if not 0 < clamp < 1:
        raise ScoreError(f"clamp is {clamp}; it must lie between 0 and 1.")
    _check_finite("The error map", error)
    if error.size and (error.min() < 0 or error.max() > 1 + 1e-6):
        raise ScoreError(f"The error map has values from {error.min():.3g} to {error.max():.3g}; Eq. 7 needs [0, 1].")
    if mask is not None:
        error = np.where(mask, error, 0)
    log = -np.log10(np.maximum(1 - error.astype(np.float64), clamp))
    log_mean, log_patch = _mean_and_patch_max(log, patch=patch, patch_stride=patch_stride)
    mean, patch_max = _mean_and_patch_max(error, patch=patch, patch_stride=patch_stride)
    return {"pixel/mean": log_mean, "pixel/patch_max": log_patch,
            "mean/mean": -np.log10(np.maximum(1 - mean, clamp)),
            "mean/patch_max": -np.log10(np.maximum(1 - patch_max, clamp))}


def reconstruction_score(error: np.ndarray, *, log_of: str, clamp: float, reduce: str, patch: int, patch_stride: int,
                         mask: np.ndarray | None = None) -> np.ndarray:
    """Eq. 7 of each frame by one of the readings of `frame_reductions`: (..., H, W) -> (...), float64."""
    readings = frame_reductions(error, clamp=clamp, patch=patch, patch_stride=patch_stride, mask=mask)
    if f"{log_of}/{reduce}" not in readings:
        raise ScoreError(f"log_of={log_of!r} with reduce={reduce!r} is not one of {', '.join(readings)}.")
    return readings[f"{log_of}/{reduce}"]


def patch_grid(height: int, width: int, *, patch: int, patch_stride: int) -> tuple:
    """Patches in a frame of height x width: ((height, width) of each, their first rows (n,), their first columns (m,)).

    `patch` and `patch_stride` are given in pixels of a 240x360 frame and scaled to this frame along each side, rounded,
    at least one pixel. The last patch of a row or column always ends at the border, so that no pixel is left out.
    """
    if patch < 1 or patch_stride < 1 or patch_stride > patch:
        raise ScoreError(f"patch is {patch} and patch_stride {patch_stride}; needed is 1 <= patch_stride <= patch.")
    sides, firsts = [], []
    for size, reference in ((height, REFERENCE_HEIGHT), (width, REFERENCE_WIDTH)):
        side = min(max(round(patch * size / reference), 1), size)
        stride = max(round(patch_stride * size / reference), 1)
        sides.append(side)
        firsts.append(np.append(np.arange(0, size - side, stride), size - side))
    return tuple(sides), *firsts


def _mean_and_patch_max(values: np.ndarray, *, patch: int, patch_stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each frame, and its largest patch mean, both from one summed-area table: (..., H, W) -> (...) twice."""
    *frames, H, W = values.shape
    (side_h, side_w), rows, columns = patch_grid(H, W, patch=patch, patch_stride=patch_stride)
    table = np.zeros((*frames, H + 1, W + 1))
    np.cumsum(values, axis=-2, dtype=np.float64, out=table[..., 1:, 1:])
    np.cumsum(table[..., 1:, 1:], axis=-1, out=table[..., 1:, 1:])
    strips = table[..., rows + side_h, :] - table[..., rows, :]       # (..., patches down, W + 1)
    sums = strips[..., columns + side_w] - strips[..., columns]       # (..., patches down, patches across)
    return table[..., -1, -1] / (H * W), sums.max(axis=(-2, -1)) / (side_h * side_w)


# The background of a clip (ShanghaiTech)

def mog_background(frames: Iterable[np.ndarray]) -> np.ndarray:
    """The background of a clip as a mixture of Gaussians sees it after the last frame: (H, W, C) uint8 each -> one.

    OpenCV's MOG2 with its default parameters, as in Abati et al. 2019. `frames` is read once, one at a time.
    """
    subtractor = cv2.createBackgroundSubtractorMOG2()
    frame = None
    for frame in frames:
        subtractor.apply(np.ascontiguousarray(frame))
    if frame is None:
        raise ScoreError("The clip has no frames, so it has no background.")
    return subtractor.getBackgroundImage().reshape(frame.shape)


def foreground(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Where frames differ from the background: (n, H, W, C) uint8 and (H, W, C) uint8 -> (n, H, W) bool.

    A pixel is foreground where the absolute differences of its three channels sum to more than 128 (of a grey frame:
    where three times the difference does), or within five steps to the four neighbours of such a pixel (Abati et al.
    2019).
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    masks = np.empty(frames.shape[:-1], dtype=bool)
    for frame, mask in zip(frames, masks):
        difference = np.abs(frame.astype(np.int32) - background).sum(axis=-1) * 3   # (H, W)
        moving = (difference > BACKGROUND_THRESHOLD * frame.shape[-1]).astype(np.uint8)
        mask[:] = cv2.dilate(moving, cross, iterations=BACKGROUND_DILATIONS)
    return masks


def mog_foreground(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Foreground masks of a clip, one a frame: (length, H, W, C) uint8, memory-mapped or not -> (H, W) bool each.

    Two passes over the clip, the first for its background; neither holds more than one frame.
    """
    background = mog_background(frames)
    for index in range(len(frames)):
        yield foreground(frames[index:index + 1], background)[0]


# From windows to frames

class WindowMean:
    """Mean over all windows in which a frame appears ("Test method"), for one clip, in the memory of one window.

    Windows are added in order of their start. A frame is finished, and handed out, as soon as no later window can hold
    it; so after `add(start, ...)` all frames before `start` are out, and `finish()` hands out the rest. All answers
    together are the clip's frames in order, first and last included.
    """

    def __init__(self, *, T: int, length: int):
        """`length` is the number of frames of the clip. Raises ScoreError if it is below T."""
        if length < T:
            raise ScoreError(f"The clip has {length} frames and a window {T}; a clip needs at least as many.")
        self.T, self.length = T, length
        self.first = 0                    # frame of the clip that the first row of the buffers belongs to
        self.start = -1                   # of the latest window
        self.sums: np.ndarray | None = None      # (T, ...)
        self.counts = np.zeros(T, dtype=np.int64)

    def add(self, start: int, values: np.ndarray) -> np.ndarray:
        """Add the window that starts at frame `start`, with values (T, ...) -> the finished frames (n, ...), float64.

        Raises ScoreError for a window out of order or outside the clip, for NaN, and for a frame that no window holds.
        """
        values = np.asarray(values, dtype=np.float64)
        if not self.start < start <= self.length - self.T:
            raise ScoreError(f"The window at frame {start} cannot follow the {self.first} frames that are out in a "
                             f"clip of {self.length}: windows must come in order, each once, and lie inside the clip.")
        if len(values) != self.T:
            raise ScoreError(f"A window of {len(values)} values was added where T is {self.T}.")
        _check_finite(f"The window at frame {start}", values)
        if self.sums is None:
            self.sums = np.zeros(values.shape)
        finished = self._hand_out(start)
        self.sums += values
        self.counts += 1
        self.start = start
        return finished

    def finish(self) -> np.ndarray:
        """The frames of the last window -> (n, ...), float64. Raises ScoreError if no window holds the last frame."""
        if self.start + self.T != self.length or self.sums is None:
            raise ScoreError(f"The last window starts at frame {self.start} and does not reach the end of the clip of "
                             f"{self.length} frames; the last window that fits must be among the windows.")
        return self._hand_out(self.length)

    def _hand_out(self, stop: int) -> np.ndarray:
        """Means of the frames before `stop`, which leave the buffers."""
        n = stop - self.first
        if n > self.T or (self.counts[:n] == 0).any():
            missing = self.first + (self.T if self.counts.all() else 0)
            raise ScoreError(f"Frame {missing} of the clip lies in no window; the stride must be at most T = {self.T}, "
                             "and the first window must start at frame 0.")
        counts = self.counts[:n].reshape(-1, *[1] * (self.sums.ndim - 1))
        finished = self.sums[:n] / counts
        for buffer in (self.sums, self.counts):
            buffer[:self.T - n] = buffer[n:].copy()
            buffer[self.T - n:] = 0
        self.first = stop
        return finished


def windows_to_frames(values: np.ndarray, starts: np.ndarray, *, T: int, length: int,
                      likelihood_frames: str) -> np.ndarray:
    """One value a window to one a frame, for a clip: values (n,), starts (n,) ascending -> (length,) float64.

    `likelihood_frames` is "all": a frame gets the mean over all windows that hold it, as in Eq. 7; or "centre": a
    window's value belongs to its frame T // 2, and every frame takes the value of the nearest such frame (the earlier
    of two), so the clip's first and last T / 2 frames repeat its first and last value.
    Raises ScoreError for NaN, windows out of order or outside the clip, and a frame in no window.
    """
    values, starts = np.asarray(values, dtype=np.float64), np.asarray(starts, dtype=np.int64)
    _check_finite("A window's likelihood", values)
    if len(starts) == 0 or len(starts) != len(values) or (np.diff(starts) <= 0).any():
        raise ScoreError(f"{len(values)} values came for {len(starts)} windows; there must be one for each, in order.")
    if starts[0] < 0 or starts[-1] + T > length:
        raise ScoreError(f"Windows on frames {starts[0]} to {starts[-1] + T - 1} do not lie in a clip of {length}.")
    if starts[0] != 0 or starts[-1] + T != length or (len(starts) > 1 and np.diff(starts).max() > T):
        raise ScoreError(f"Some frame of the clip of {length} lies in no window; the stride must be at most T = {T}, "
                         "and the first and the last window that fits must be among the windows.")
    if likelihood_frames == "all":
        sums, counts = np.zeros(length), np.zeros(length)
        for offset in range(T):
            sums[starts + offset] += values
            counts[starts + offset] += 1
        return sums / counts
    if likelihood_frames == "centre":
        centres = starts + T // 2
        borders = (centres[:-1] + centres[1:]) / 2      # up to its border a frame belongs to the earlier centre
        return values[np.searchsorted(borders, np.arange(length), side="left")]
    raise ScoreError(f"likelihood_frames is {likelihood_frames!r}; it can be 'all' or 'centre'.")


def spread(values: np.ndarray, windows: np.ndarray, clips, *, T: int, likelihood_frames: str) -> np.ndarray:
    """`windows_to_frames` clip by clip: values (n,), windows (n, 2) as `datasets.windows` gives them, and the clips they
    index -> a value a frame of all clips, (N,) float64."""
    of_clip = [windows[:, 0] == index for index in range(len(clips))]
    return np.concatenate([windows_to_frames(values[own], windows[own, 1] - clip.start, T=T, length=clip.length,
                                             likelihood_frames=likelihood_frames) for own, clip in zip(of_clip, clips)])


# Eq. 8 and 9

def by_clip(clip_ids: np.ndarray) -> list[np.ndarray]:
    """The frames of each clip: ids (N,) of any kind -> index arrays, clips in order of first appearance."""
    _, first, inverse = np.unique(clip_ids, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    return [groups[clip] for clip in np.argsort(first)]


def normalise(values: np.ndarray) -> np.ndarray:
    """norm(.) of Eq. 9: (values - min) / (max - min), of any shape, float64.

    Equal values (up to rounding: a range of at most 1e-12 of the largest magnitude) become zeros: a clip in which
    nothing stands out gets the score of its most normal frame, and noise is not blown up to the whole range.
    """
    values = np.asarray(values, dtype=np.float64)
    _check_finite("The scores", values)
    low, high = values.min(), values.max()
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        return np.zeros_like(values)
    return (values - low) / (high - low)


def normalise_clips(values: np.ndarray, clip_ids: np.ndarray) -> np.ndarray:
    """`normalise` within each clip: values (N,) and the clip of each frame (N,) -> (N,) float64."""
    _check_same_length(values=values, clip_ids=clip_ids)
    out = np.empty(len(values))
    for frames in by_clip(clip_ids):
        out[frames] = normalise(np.asarray(values)[frames])
    return out


def likelihood_score(nll_app: np.ndarray | None, nll_mot: np.ndarray | None, clip_ids: np.ndarray, *,
                     lambda_scope: str, train_nll_app: np.ndarray | None = None,
                     train_nll_mot: np.ndarray | None = None) -> np.ndarray:
    """Eq. 8: L of each frame from the negative log-likelihoods of F_app and F_mot, (N,) each -> (N,) float64.

    lambda_1 and lambda_2 are the ranges (max - min) of the two NLLs over the frame's clip, over all test frames, or
    over the training windows (`train_nll_*`), by `lambda_scope` "clip", "test" or "train". Where both are 0, L is the
    plain mean, which is what equal lambdas give. With one flow only (the other None), L is its NLL.
    Raises ScoreError for NaN, no flow, or training values missing.
    """
    given = {name: np.asarray(nll, dtype=np.float64)
             for name, nll in (("nll_app", nll_app), ("nll_mot", nll_mot)) if nll is not None}
    for name, nll in given.items():
        _check_finite(name, nll)
    _check_same_length(clip_ids=clip_ids, **given)
    if not given:
        raise ScoreError("Eq. 8 needs the likelihoods of at least one flow.")
    if lambda_scope not in ("clip", "test", "train"):
        raise ScoreError(f"lambda_scope is {lambda_scope!r}; it can be 'clip', 'test' or 'train'.")
    if len(given) == 1:
        return next(iter(given.values())).copy()
    app, mot = given["nll_app"], given["nll_mot"]
    if lambda_scope == "train":
        if train_nll_app is None or train_nll_mot is None:
            raise ScoreError("lambda_scope 'train' needs the likelihoods of the training windows.")
        _check_finite("The training likelihoods", np.concatenate((train_nll_app, train_nll_mot)))
        return _weighted(app, mot, np.ptp(train_nll_app), np.ptp(train_nll_mot))
    L = np.empty(len(app))
    for frames in by_clip(clip_ids) if lambda_scope == "clip" else [np.arange(len(app))]:
        L[frames] = _weighted(app[frames], mot[frames], np.ptp(app[frames]), np.ptp(mot[frames]))
    return L


def _weighted(app: np.ndarray, mot: np.ndarray, lambda_1: float, lambda_2: float) -> np.ndarray:
    if lambda_1 + lambda_2 == 0:
        lambda_1 = lambda_2 = 1.0
    return (lambda_1 * app + lambda_2 * mot) / (lambda_1 + lambda_2)


def total_score(R: np.ndarray | None, L: np.ndarray | None, clip_ids: np.ndarray, *, lambda_L: float) -> np.ndarray:
    """Eq. 9: S = norm(R) + lambda_L * norm(L), norm within a clip; (N,) each -> (N,) float64.

    A variant without flows has L None and S = norm(R); one without reconstruction has R None and S = norm(L).
    """
    if R is None and L is None:
        raise ScoreError("Eq. 9 needs R or L.")
    if L is None:
        return normalise_clips(R, clip_ids)
    if R is None:
        return normalise_clips(L, clip_ids)
    return normalise_clips(R, clip_ids) + lambda_L * normalise_clips(L, clip_ids)


def _check_finite(name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ScoreError(f"{name} holds NaN or infinity ({np.count_nonzero(~np.isfinite(values))} of {np.size(values)} "
                         "values); the network that made it has diverged or its input is damaged.")


def _check_same_length(**arrays: np.ndarray) -> None:
    if len({len(array) for array in arrays.values()}) > 1:
        raise ScoreError("These must have one value a frame each, but have different lengths: "
                         + ", ".join(f"{name} {len(array)}" for name, array in arrays.items()) + ".")
