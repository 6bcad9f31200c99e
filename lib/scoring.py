"""From reconstructions and likelihoods to frame scores: "Test method", Eq. 7, 8 and 9.

A larger score is more abnormal. Eq. 7 leaves much open; a reading of it is one value for each of these
parameters of `config.Score`:

    error    "absolute": e = |I - I^| as printed; "square": e = (I - I^)^2, a variant that is not the paper's
    colours  "each": Eq. 7 of each colour by itself; "averaged": of the error averaged over the colours
    log_of   "pixel": the logarithm of each pixel's error; "mean": the logarithm of the frame's reduced error
    reduce   "mean": over the frame; "largest_patch_mean"; "mean_patch_maximum": the maximum within each
             patch, averaged over the patches; "largest_pixel"
    order    "reduce_first": the frame's error map in each window is reduced, and the values are averaged over
             the windows that contain the frame; "average_first": the maps are averaged, then reduced

All readings are computed in one pass (`training.eq7`) and stored, so that a choice can be changed without
running the network again. NaN and infinity in an input raise ScoreError.
"""
from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.errors import ScoreError

if TYPE_CHECKING:
    from torch import Tensor  # tables are made without PyTorch

REFERENCE_HEIGHT, REFERENCE_WIDTH = 240, 360  # the UCSD frame, in whose pixels patches are given
ROUNDING = 1e-12  # values whose relative range is below this are constant up to rounding

ERRORS = ("absolute", "square")
COLOURS = ("each", "averaged")
LOGS = ("pixel", "mean")
REDUCTIONS = ("mean", "largest_patch_mean", "mean_patch_maximum", "largest_pixel")
ORDERS = ("reduce_first", "average_first")


# Eq. 7

def eq7(error: Tensor, clamp: float) -> Tensor:
    """-log10(1 - e), with 1 - e at least `clamp`, for a tensor of any shape. Precise for small errors too."""
    return (error.clamp(max=1).neg().log1p() / -math.log(10)).clamp(max=-math.log10(clamp))


def reading_of(score, *, channels: int) -> str:
    """The name of the reading of Eq. 7 that a configuration's group `score` chooses."""
    colours = score.colours if channels > 1 else "each"
    return f"{score.error}/{colours}/{score.log_of}/{score.reduce}/{score.order}"


def readings(channels: int) -> tuple[str, ...]:
    """The names of all readings for frames with `channels` colours,
    "<error>/<colours>/<log_of>/<reduce>/<order>". Grey frames have no reading "averaged"."""
    found = [[f"{error}/{colours}/{log_of}/{reduce}/{order}"
              for colours, error, log_of, reduce in itertools.product(
                  COLOURS[:1 if channels == 1 else 2], ERRORS, LOGS, REDUCTIONS)]
             for order in ORDERS]
    return tuple(found[0] + found[1])


def patch_grid(height: int, width: int, *, patch: int, patch_stride: int) -> tuple:
    """Patches in a frame of height x width: ((height, width) of a patch, its first rows, its first columns).

    `patch` and `patch_stride` are in pixels of a 240x360 frame and are scaled to this frame along each side,
    rounded, at least one pixel. The last patch of a row or column ends at the border, so that every pixel is
    in a patch. Raises ScoreError unless 1 <= patch_stride <= patch.
    """
    if patch < 1 or patch_stride < 1 or patch_stride > patch:
        raise ScoreError(f"patch is {patch} and patch_stride {patch_stride}; needed is 1 <= patch_stride <= "
                         "patch.")
    sides, firsts = [], []
    for size, reference in ((height, REFERENCE_HEIGHT), (width, REFERENCE_WIDTH)):
        side = min(max(round(patch * size / reference), 1), size)
        stride = max(round(patch_stride * size / reference), 1)
        sides.append(side)
        firsts.append(np.append(np.arange(0, size - side, stride), size - side))
    return tuple(sides), *firsts


# Eq. 8: from windows to frames

def windows_to_frames(values: np.ndarray, starts: np.ndarray, *, T: int, length: int,
                      likelihood_frames: str) -> np.ndarray:
    """From one value per window of a clip to one per frame.

    Values (n,), starts (n,) ascending -> (length,) float64.
    `likelihood_frames` is "all": a frame gets the mean over all windows that contain it, as in Eq. 7; or
    "centre": a window's value belongs to its frame T // 2, and every frame gets the value of the nearest such
    frame (the earlier of two), so the first and last T / 2 frames of the clip repeat its first and last
    value. Raises ScoreError for NaN, windows out of order or outside the clip, and a frame in no window.
    """
    values, starts = np.asarray(values, dtype=np.float64), np.asarray(starts, dtype=np.int64)
    _check_finite("A window's likelihood", values)
    if len(starts) == 0 or len(starts) != len(values) or (np.diff(starts) <= 0).any():
        raise ScoreError(f"{len(values)} values came for {len(starts)} windows; there must be one for each, "
                         "in order.")
    if starts[0] < 0 or starts[-1] + T > length:
        raise ScoreError(f"Windows on frames {starts[0]} to {starts[-1] + T - 1} do not lie in a clip of "
                         f"{length}.")
    if starts[0] != 0 or starts[-1] + T != length or (len(starts) > 1 and np.diff(starts).max() > T):
        raise ScoreError(f"Some frame of the clip of {length} lies in no window; the stride must be at most "
                         f"T = {T}, and the first and the last window that fits must be among the windows.")
    if likelihood_frames == "all":
        sums, counts = np.zeros(length), np.zeros(length)
        for offset in range(T):
            sums[starts + offset] += values
            counts[starts + offset] += 1
        return sums / counts
    if likelihood_frames == "centre":
        centres = starts + T // 2
        # a frame on a border belongs to the earlier centre
        borders = (centres[:-1] + centres[1:]) / 2
        return values[np.searchsorted(borders, np.arange(length), side="left")]
    raise ScoreError(f"likelihood_frames is {likelihood_frames!r}; it can be 'all' or 'centre'.")


def spread(values: np.ndarray, windows: np.ndarray, clips, *, T: int, likelihood_frames: str) -> np.ndarray:
    """`windows_to_frames` for each clip: values (n,), windows (n, 2) as `datasets.prepared.windows` gives
    them, and the clips that they index -> one value per frame of all clips, (N,) float64."""
    of_clip = [windows[:, 0] == index for index in range(len(clips))]
    return np.concatenate([
        windows_to_frames(values[own], windows[own, 1] - clip.start, T=T, length=clip.length,
                          likelihood_frames=likelihood_frames) for own, clip in zip(of_clip, clips)])


# Eq. 8 and 9

def clip_ids(clips) -> np.ndarray:
    """The index of the clip of each frame, (N,), for clips that follow one another."""
    return np.repeat(np.arange(len(clips)), [clip.length for clip in clips])


def by_clip(clip_ids: np.ndarray) -> list[np.ndarray]:
    """The frames of each clip: ids (N,) of any type -> index arrays, clips in order of first appearance."""
    _, first, inverse = np.unique(clip_ids, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    return [groups[clip] for clip in np.argsort(first)]


def normalise(values: np.ndarray) -> np.ndarray:
    """norm(.) of Eq. 9: (values - min) / (max - min), of any shape, float64.

    Values that are equal up to rounding (a range of at most 1e-12 of the largest magnitude) become zeros, so
    that rounding noise is not stretched to the whole range.
    """
    values = np.asarray(values, dtype=np.float64)
    _check_finite("The scores", values)
    low, high = values.min(), values.max()
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        return np.zeros_like(values)
    return (values - low) / (high - low)


def window_nll(terms: dict[str, np.ndarray], *, likelihood_scale: str, likelihood_unit: str) -> np.ndarray:
    """The negative log-likelihood of each window, from the terms of `stage2.likelihoods` -> (n,) float64.

    `likelihood_scale` "all": of all levels of the flow, which is Eq. 2; "last": of the coarsest level alone.
    `likelihood_unit` "nats", or "per_dimension": divided by the number of dimensions of that likelihood.
    """
    nll, dims = terms["nll"], float(terms["dims"])
    if likelihood_scale == "last":
        nll = -(terms["log_p_z"] + terms["log_det"])[:, -1]
        # half of the dimensions leave after each level but the last
        dims /= 2 ** (terms["log_p_z"].shape[1] - 1)
    return nll / dims if likelihood_unit == "per_dimension" else nll


def span(low: np.ndarray, high: np.ndarray, ids: np.ndarray, clip_ids: np.ndarray, *,
         lambda_scope: str) -> np.ndarray:
    """The range max - min of Eq. 8 for each frame: (N,) float64.

    `low` and `high` (n,) are the smallest and largest value of each of n windows (or frames), `ids` (n,) the
    clip of each, `clip_ids` (N,) the clip of each frame. The range is over the frame's clip for the scope
    "clip", otherwise over all values. Raises ScoreError for NaN.
    """
    low, high, ids = np.asarray(low, np.float64), np.asarray(high, np.float64), np.asarray(ids)
    _check_finite("What a lambda is the range of", np.concatenate((low, high)))
    if lambda_scope != "clip":
        return np.full(len(clip_ids), high.max() - low.min())
    spans = {clip: high[ids == clip].max() - low[ids == clip].min() for clip in np.unique(ids)}
    return np.array([spans[clip] for clip in clip_ids])


def likelihood_score(nll_app: np.ndarray | None, nll_mot: np.ndarray | None, *,
                     lambda_1=None, lambda_2=None) -> np.ndarray:
    """Eq. 8: L of each frame from the negative log-likelihoods of F_app and F_mot, (N,) each -> (N,) float64.

    lambda_1 and lambda_2, (N,) each, are the ranges from `span`. Where both are 0, L is the plain mean, as
    for any equal lambdas. With one flow only (the other None), L is its NLL. Raises ScoreError for NaN, no
    flow, or lengths that differ.
    """
    given = {name: np.asarray(nll, dtype=np.float64)
             for name, nll in (("nll_app", nll_app), ("nll_mot", nll_mot)) if nll is not None}
    for name, nll in given.items():
        _check_finite(name, nll)
    if not given:
        raise ScoreError("Eq. 8 needs the likelihoods of at least one flow.")
    if len(given) == 1:
        return next(iter(given.values())).copy()
    lambda_1, lambda_2 = np.array(lambda_1, np.float64), np.array(lambda_2, np.float64)
    _check_same_length(**given, lambda_1=lambda_1, lambda_2=lambda_2)
    none = lambda_1 + lambda_2 == 0
    lambda_1[none] = lambda_2[none] = 1.0
    return (lambda_1 * given["nll_app"] + lambda_2 * given["nll_mot"]) / (lambda_1 + lambda_2)


@dataclass(frozen=True)
class FlowWindows:
    """What Eq. 8 needs of one flow: the NLL of each window, (n,), and the range of its features, (n, 2).

    The features are x^a or x^m after pooling, before standardisation and without extra information.
    """

    nll: np.ndarray
    ranges: np.ndarray


def eq8(flows: dict[str, FlowWindows], windows: np.ndarray, clips, score, *, T: int,
        train: dict[str, FlowWindows] | None = None) -> dict[str, np.ndarray]:
    """Eq. 8 for the frames of a split: {"nll_app", "nll_mot", "L"} of the given flows, (N,) float64 each.

    `flows` has "app", "mot" or both; `windows` (n, 2) and `clips` as for `spread`; `score` is the group of
    parameters of that name. lambda_1 and lambda_2 are ranges of the features (as printed) or of the
    likelihoods (`lambda_of`), over the frame's clip, the whole split or the training windows `train`
    (`lambda_scope`). Raises ScoreError for unknown settings or a missing `train`, and as its parts do.
    """
    if (score.lambda_scope not in ("clip", "test", "train")
            or score.lambda_of not in ("features", "likelihoods")):
        raise ScoreError(f"lambda_scope is {score.lambda_scope!r} and lambda_of {score.lambda_of!r}; they "
                         "can be 'clip', 'test' or 'train', and 'features' or 'likelihoods'.")
    ids_of_frames = clip_ids(clips)
    nll = {name: spread(flow.nll, windows, clips, T=T, likelihood_frames=score.likelihood_frames)
           for name, flow in flows.items()}
    lambdas = {}
    for name in flows if len(flows) == 2 else ():
        if score.lambda_scope == "train" and not train:
            raise ScoreError("lambda_scope 'train' needs the likelihoods and features of the training "
                             "windows.")
        own = train[name] if score.lambda_scope == "train" else flows[name]
        low, high = own.ranges.T if score.lambda_of == "features" else (own.nll, own.nll)
        ids = windows[:, 0] if own is flows[name] else np.zeros(len(low))
        if score.lambda_of == "likelihoods" and own is flows[name]:
            low, high, ids = nll[name], nll[name], ids_of_frames  # per frame, as in Eq. 8
        lambdas[name] = span(low, high, ids, ids_of_frames, lambda_scope=score.lambda_scope)
    L = likelihood_score(nll.get("app"), nll.get("mot"),
                         lambda_1=lambdas.get("app"), lambda_2=lambdas.get("mot"))
    return {f"nll_{name}": values for name, values in nll.items()} | {"L": L}


def total_score(terms, clip_ids: np.ndarray, *, normalise_over: str = "clip",
                train_extremes=None) -> np.ndarray:
    """Eq. 9: S = norm(R) + lambda_L norm(L) -> (N,) float64. Scores are normalised and added here only.

    `terms` are pairs of a weight and values (N,): [(1, R), (lambda_L, L)], or one pair. norm(.) is
    `normalise` within each "clip" (the paper) or over the whole "set", or uses the training extremes of each
    term ("train", `train_extremes` of shape (terms, 2)), or does nothing ("none"). Raises ScoreError for no
    term, NaN, lengths that differ, or training extremes without a range.
    """
    if not terms:
        raise ScoreError("Eq. 9 needs R or L.")
    S = np.zeros(len(clip_ids))
    frames_of_clips = by_clip(clip_ids)
    for index, (weight, values) in enumerate(terms):
        values = np.asarray(values, dtype=np.float64)
        _check_same_length(clip_ids=clip_ids, values=values)
        _check_finite("The scores", values)
        if normalise_over == "clip":
            for frames in frames_of_clips:
                S[frames] += weight * normalise(values[frames])
        elif normalise_over == "set":
            S += weight * normalise(values)
        elif normalise_over == "train":
            S += weight * _by_training_extremes(values, train_extremes, index)
        elif normalise_over == "none":
            S += weight * values
        else:
            raise ScoreError(f"normalise_over is {normalise_over!r}; it can be 'clip', 'set', 'train' or "
                             "'none'.")
    return S


def _by_training_extremes(values: np.ndarray, train_extremes, index: int) -> np.ndarray:
    if train_extremes is None:
        raise ScoreError("The normalisation 'train' needs the extremes of each term on the training set.")
    low, high = np.reshape(train_extremes, (-1, 2))[index]
    if not low < high:
        raise ScoreError(f"The scores of the training set span {low} to {high}, which is no range.")
    return (values - low) / (high - low)


# R, L and S of a model

@dataclass(frozen=True)
class FrameScores:
    """R, L and S of the frames of a split, (N,) float64 each; without flows `nll` is empty and L is None.

    `terms` are the weights and terms of Eq. 9, which `total_score` normalises and adds.
    """

    R: np.ndarray
    nll: dict[str, np.ndarray]  # "nll_app", "nll_mot"
    L: np.ndarray | None
    S: np.ndarray
    terms: tuple[tuple[float, np.ndarray], ...]


def frame_scores(errors: dict[str, np.ndarray], flows: dict[str, FlowWindows], windows: np.ndarray, clips,
                 score, *, channels: int, T: int, train: dict[str, FlowWindows] | None = None) -> FrameScores:
    """R (Eq. 7), L (Eq. 8) and S (Eq. 9) of a model on a split. All code gets them from here.

    `errors` maps names of `readings` to values per frame, (N,) each; `score` chooses one of them. `flows`,
    `windows`, `clips`, `T` and `train` are those of `eq8`; `channels` is the number of colours. Raises
    ScoreError.
    """
    R = np.asarray(errors[reading_of(score, channels=channels)], dtype=np.float64)
    likelihood = eq8(flows, windows, clips, score, T=T, train=train) if flows else {}
    L = likelihood.pop("L", None)
    terms = ((1.0, R),) if L is None else ((1.0, R), (score.lambda_L, L))
    return FrameScores(R=R, nll=likelihood, L=L, S=total_score(terms, clip_ids(clips)), terms=terms)


def _check_finite(name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ScoreError(f"{name} holds NaN or infinity ({np.count_nonzero(~np.isfinite(values))} of "
                         f"{np.size(values)} values); the network that made it has diverged or its input "
                         "is damaged.")


def _check_same_length(**arrays: np.ndarray) -> None:
    if len({len(array) for array in arrays.values()}) > 1:
        raise ScoreError("These must have one value a frame each, but have different lengths: "
                         + ", ".join(f"{name} {len(array)}" for name, array in arrays.items()) + ".")
