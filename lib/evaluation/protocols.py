"""From frame scores to numbers: ROC under a named protocol, intervals, and reference scorers.

The protocol alone can move the AUC of the same scores from 0.70 to 0.98, so every function here takes a
`Protocol`, and every number has one. `PROTOCOLS["paper"]` is this kit's reading of the paper; it says
"average area under curve", which leaves open whether frames are pooled (micro) or clips averaged (macro).

Intervals come from resampling clips, because the frames of a clip are not independent. All methods and seeds
are resampled alike, so that intervals of differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from lib.errors import EvaluationError
from lib.scoring import by_clip, total_score

MIN_CLIPS = 8  # with fewer, resampling clips is meaningless, and no interval is given
# reference scorers: feature maps are averaged to at most this many cells per side
CELLS = 8
DIMENSIONS = 64  # and projected to at most this many principal components of the training features
TRAINING_WINDOWS = 10_000  # at most this many training windows, evenly spaced, are used
NEIGHBOURS = 5  # nearest training windows, over whose distances the mean is taken

# One score per frame, (N,); or the weighted terms of a sum like Eq. 9, [(1, R), (lambda_L, L)], each of which
# is normalised separately.
Scores = np.ndarray | Sequence[tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Protocol:
    """How frame scores become one number. `str(protocol)` describes it in one line for captions.

    normalise     norm(.) of Eq. 9: min-max over each "clip" (the paper), over the test "set", by the training
                  set's extremes ("train"), or "none". For a single score the last three differ only in scale
                  and give the same micro AUC; for a sum of terms they do not.
    average       "micro": all frames pooled; "macro": the mean over clips
    single_class  for macro, clips that are wholly normal or wholly abnormal: "skip" them, or "pad" every clip
                  with a normal frame below its lowest score and an abnormal frame above its highest
    smoothing     standard deviation in frames of a Gaussian filter over the scores of a clip, which is
                  reflected at its ends (scipy's mode "reflect"); 0: none
    smooth        "after": the normalised and added scores are smoothed; "before": each term is smoothed and
                  then normalised
    """

    name: str
    normalise: str
    average: str
    single_class: str
    smoothing: float
    smooth: str = "after"

    def __post_init__(self):
        for field, allowed in (
            ("normalise", ("clip", "set", "train", "none")),
            ("average", ("micro", "macro")),
            ("single_class", ("skip", "pad")),
            ("smooth", ("before", "after")),
        ):
            if getattr(self, field) not in allowed:
                raise EvaluationError(
                    f"{field} of a protocol is {getattr(self, field)!r}; it can be {allowed}."
                )
        if not self.smoothing >= 0:
            raise EvaluationError(
                f"smoothing of a protocol is {self.smoothing}; it must be 0 or more frames."
            )

    def __str__(self) -> str:
        average = {
            "micro": "micro",
            "macro": "macro, clips of one class " + {"skip": "left out", "pad": "padded"}[self.single_class],
        }[self.average]
        scale = {
            "clip": "min-max per clip",
            "set": "min-max over the test set",
            "train": "min-max of the training set",
            "none": "raw scores",
        }[self.normalise]
        smoothing = (
            f"Gaussian smoothing of {self.smoothing:g} frames {self.smooth} it"
            if self.smoothing
            else "no smoothing"
        )
        return f"{average}; {scale}; {smoothing}"


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("paper", normalise="clip", average="micro", single_class="skip", smoothing=0.0),
        Protocol("micro, raw scores", normalise="none", average="micro", single_class="skip", smoothing=0.0),
        Protocol("micro, set-wide", normalise="set", average="micro", single_class="skip", smoothing=0.0),
        Protocol(
            "micro, training extremes", normalise="train", average="micro", single_class="skip", smoothing=0.0
        ),
        Protocol(
            "micro, smoothed after min-max",
            normalise="clip",
            average="micro",
            single_class="skip",
            smoothing=20.0,
        ),
        Protocol(
            "micro, smoothed before min-max",
            normalise="clip",
            average="micro",
            single_class="skip",
            smoothing=20.0,
            smooth="before",
        ),
        Protocol("macro", normalise="clip", average="macro", single_class="skip", smoothing=0.0),
        Protocol("macro, padded", normalise="clip", average="macro", single_class="pad", smoothing=0.0),
    )
}


def column_of_likelihood(protocol: Protocol) -> str:
    """The L of Eq. 8 that a protocol uses: "L", "L_test" or "L_train".

    Its lambdas have the configuration's scope, the whole test set, or the training windows. With lambdas of
    each clip by itself L jumps between clips, because the means of the two likelihoods differ widely; only
    normalisation within each clip removes that.
    """
    return {"clip": "L", "set": "L_test", "none": "L_test", "train": "L_train"}[protocol.normalise]


# Frame-level metrics


def protocol_scores(scores: Scores, clip_ids: np.ndarray, protocol: Protocol, train_stats=None) -> np.ndarray:
    """The scores behind the ROC curve: terms normalised, weighted, added, and smoothed if asked for -> (N,)
    float64.

    The terms of `scoring.total_score` are normalised here: pass them and not their sum, or use normalise
    "none". For "train", `train_stats` is the (min, max) of the score on the training set, or a list with one
    pair per term. Raises ScoreError for NaN, lengths that differ, or training extremes that are missing or no
    range.
    """
    clips = by_clip(clip_ids)
    terms = [(1.0, scores)] if isinstance(scores, np.ndarray) else list(scores)
    if protocol.smooth == "before":
        terms = [(weight, _smoothed(values, clips, protocol.smoothing)) for weight, values in terms]
    total = total_score(terms, clip_ids, normalise_over=protocol.normalise, train_extremes=train_stats)
    return _smoothed(total, clips, protocol.smoothing) if protocol.smooth == "after" else total


def _smoothed(values: np.ndarray, clips: list[np.ndarray], smoothing: float) -> np.ndarray:
    """A Gaussian filter within each clip, (N,) -> (N,); `clips` as from `by_clip`."""
    values = np.asarray(values, dtype=np.float64)
    if not smoothing:
        return values
    smooth = np.empty_like(values)
    for frames in clips:
        smooth[frames] = gaussian_filter1d(values[frames], smoothing, mode="reflect")
    return smooth


def frame_metrics(
    scores: Scores, labels: np.ndarray, clip_ids: np.ndarray, protocol: Protocol, train_stats=None
) -> dict[str, float]:
    """{"auc", "eer", "average_precision"} of frame scores; labels (N,) are true for abnormal frames, clip_ids
    (N,).

    With macro averaging each is the mean over clips. Raises EvaluationError if there are no frames of both
    kinds.
    """
    parts = _parts(protocol_scores(scores, clip_ids, protocol, train_stats), labels, clip_ids, protocol)
    metrics = {"auc": roc_auc_score, "eer": equal_error_rate, "average_precision": average_precision_score}
    return {
        name: float(np.mean([metric(truth, values) for values, truth in parts]))
        for name, metric in metrics.items()
    }


def frame_auc(
    scores: Scores, labels: np.ndarray, clip_ids: np.ndarray, protocol: Protocol, train_stats=None
) -> float:
    """Frame-level ROC AUC under a protocol; arguments and errors as for `frame_metrics`."""
    parts = _parts(protocol_scores(scores, clip_ids, protocol, train_stats), labels, clip_ids, protocol)
    return float(np.mean([roc_auc_score(truth, values) for values, truth in parts]))


def frame_roc(scores: Scores, labels: np.ndarray, clip_ids: np.ndarray, protocol: Protocol, train_stats=None):
    """The ROC curve of all frames pooled: false positive rates, true positive rates, thresholds, (n,)
    each."""
    values = protocol_scores(scores, clip_ids, protocol, train_stats)
    labels = _check_labels(labels, len(values))
    if labels.all() or not labels.any():
        raise EvaluationError("All frames have the same label, so there is no ROC curve.")
    return roc_curve(labels, values)


def equal_error_rate(labels: np.ndarray, values: np.ndarray) -> float:
    """The rate at which false positive and false negative rate are equal, by linear interpolation of the ROC
    curve."""
    fpr, tpr, _ = roc_curve(labels, values, drop_intermediate=False)
    return float(np.interp(0.0, fpr + tpr - 1, fpr))


def _parts(
    values: np.ndarray, labels: np.ndarray, clip_ids: np.ndarray, protocol: Protocol
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The sets of frames that are evaluated and then averaged: all frames (micro), or each clip that counts
    (macro)."""
    labels = _check_labels(labels, len(values))
    if protocol.average == "micro":
        parts = [(values, labels)]
    else:
        parts = [(values[frames], labels[frames]) for frames in by_clip(clip_ids)]
        if protocol.single_class == "pad":
            parts = [
                (np.append(clip, (clip.min() - 1, clip.max() + 1)), np.append(truth, (False, True)))
                for clip, truth in parts
            ]
    parts = [(part, truth) for part, truth in parts if truth.any() and not truth.all()]
    if not parts:
        raise EvaluationError(
            "Neither the set nor any clip has both normal and abnormal frames: no AUC can be given."
        )
    return parts


def _check_labels(labels: np.ndarray, n: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (n,) or not np.isin(labels, (0, 1)).all():
        raise EvaluationError(
            f"Labels must be 0 or 1 for each of {n} frames; they have shape {labels.shape}."
        )
    return labels.astype(bool)


# Intervals by resampling clips


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; `resamples` is the number of resamples used, of `clips` clips
    each."""

    estimate: float
    low: float
    high: float
    resamples: int
    clips: int

    @property
    def contains_zero(self) -> bool:
        return self.low <= 0 <= self.high


def bootstrap_auc(
    runs: Sequence[Scores],
    labels: np.ndarray,
    clip_ids: np.ndarray,
    protocol: Protocol,
    *,
    resamples: int,
    train_stats=None,
    draw: int = 0,
) -> Interval | None:
    """95 % interval of a method's AUC, the mean over its runs (seeds): percentiles over resampled test clips.

    Scores are normalised once, on the whole set. Resamples in which the AUC is not defined (only one class)
    are left out; they are the same for all methods, since they depend on labels alone. None for fewer than
    eight clips, or if half of the resamples are left out. `train_stats` has one entry per run, as in
    `protocol_scores`. Another `draw` gives other resamples, which shows how much the interval depends on
    chance (`benchmarks/interval_stability.py`).
    """
    return _interval(
        _mean_over_runs(runs, labels, clip_ids, protocol, resamples, train_stats, draw), clip_ids
    )


def bootstrap_difference(
    runs: Sequence[Scores],
    runs_of_baseline: Sequence[Scores],
    labels: np.ndarray,
    clip_ids: np.ndarray,
    protocol: Protocol,
    *,
    resamples: int,
    train_stats=None,
    train_stats_of_baseline=None,
) -> Interval | None:
    """95 % interval of the AUC of one method minus that of another, paired: both use the same resamples."""
    ours = _mean_over_runs(runs, labels, clip_ids, protocol, resamples, train_stats)
    baseline = _mean_over_runs(
        runs_of_baseline, labels, clip_ids, protocol, resamples, train_stats_of_baseline
    )
    return _interval(ours - baseline, clip_ids)


def bootstrap_change(
    scores: np.ndarray,
    protocol: Protocol,
    baseline: np.ndarray,
    protocol_of_baseline: Protocol,
    labels: np.ndarray,
    clip_ids: np.ndarray,
    *,
    resamples: int,
) -> Interval | None:
    """95 % interval of one AUC minus another that may have another protocol, paired: both use the same
    resamples.

    Both are results of `protocol_scores`; of the protocols only the averaging is applied.
    """
    ours, theirs = (
        _resampled(np.asarray(values), labels, clip_ids, of, resamples)
        for values, of in ((scores, protocol), (baseline, protocol_of_baseline))
    )
    return _interval(ours - theirs, clip_ids)


def _mean_over_runs(runs, labels, clip_ids, protocol, resamples, train_stats, draw=0) -> np.ndarray:
    if not len(runs) or isinstance(runs, np.ndarray) and runs.ndim == 1:
        raise EvaluationError("runs must be a list with the scores of each run, of one at least.")
    stats = [None] * len(runs) if train_stats is None else train_stats
    return np.mean(
        [
            _resampled(
                protocol_scores(scores, clip_ids, protocol, own), labels, clip_ids, protocol, resamples, draw
            )
            for scores, own in zip(runs, stats, strict=True)
        ],
        axis=0,
    )


def _resampled(
    values: np.ndarray,
    labels: np.ndarray,
    clip_ids: np.ndarray,
    protocol: Protocol,
    resamples: int,
    draw: int = 0,
) -> np.ndarray:
    """AUC on the whole set and on each resample of its clips: (1 + resamples,), NaN where it is not defined.

    A pooled AUC counts pairs of an abnormal frame of clip c and a normal frame of clip d. If each clip is
    taken w times, the AUC is w' U w / (w' P)(w' N), where U counts the pairs won (ties half), P abnormal and
    N normal frames. So U is computed once, and a resample costs two products.
    """
    labels = _check_labels(labels, len(values))
    clips = by_clip(clip_ids)
    n = len(clips)
    # the same draws for all methods with the same number of clips
    generator = np.random.default_rng((n, resamples, draw))
    weights = np.vstack((np.ones(n), generator.multinomial(n, np.full(n, 1 / n), size=resamples)))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no pair to compare
        if protocol.average == "macro":
            aucs = np.array(
                [_auc_or_nan(values[frames], labels[frames], clip_ids[frames], protocol) for frames in clips]
            )
            counts = np.isfinite(aucs)
            return weights @ np.where(counts, aucs, 0) / (weights @ counts)
        clip_of = np.empty(len(values), dtype=np.int64)
        for index, frames in enumerate(clips):
            clip_of[frames] = index
        abnormal, clip_of_abnormal = values[labels], clip_of[labels]
        wins = np.zeros((n, n))
        for index, frames in enumerate(clips):
            normal = np.sort(values[frames][~labels[frames]])
            beaten = (
                np.searchsorted(normal, abnormal, "left") + np.searchsorted(normal, abnormal, "right")
            ) / 2
            wins[:, index] = np.bincount(clip_of_abnormal, weights=beaten, minlength=n)
        P, N = (np.bincount(clip_of[chosen], minlength=n) for chosen in (labels, ~labels))
        return ((weights @ wins) * weights).sum(axis=1) / ((weights @ P) * (weights @ N))


def _auc_or_nan(values, labels, clip_ids, protocol) -> float:
    if protocol.single_class == "skip" and (labels.all() or not labels.any()):
        return np.nan
    ((values, labels),) = _parts(values, labels, clip_ids, protocol)
    return roc_auc_score(labels, values)


def _interval(values: np.ndarray, clip_ids: np.ndarray) -> Interval | None:
    estimate, draws = values[0], values[1:]
    clips, used = len(np.unique(clip_ids)), np.isfinite(draws)
    if clips < MIN_CLIPS or used.sum() * 2 < len(draws) or not len(draws) or not np.isfinite(estimate):
        return None
    low, high = np.quantile(draws[used], (0.025, 0.975))
    return Interval(float(estimate), float(low), float(high), resamples=int(used.sum()), clips=clips)


# Reference scorers that use nothing, or only raw pixels


def trivial_scorers(
    frames: np.ndarray, clip_ids: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Scores that a method has to beat: frames (N, H, W, C) uint8, read once, possibly memory-mapped -> (N,)
    each.

    "frame position": relative position in the clip, 0 to 1; "constant": 0; "random": uniform; "mean
    intensity": over the pixels; "largest frame difference" and "mean frame difference": over the pixels'
    absolute differences to the previous frame. A clip's first frame gets the value of its second.
    """
    n = len(clip_ids)
    scores = {
        name: np.zeros(n)
        for name in (
            "frame position",
            "constant",
            "mean intensity",
            "largest frame difference",
            "mean frame difference",
        )
    }
    scores["random"] = generator.random(n)
    for rows in by_clip(clip_ids):
        scores["frame position"][rows] = np.linspace(0, 1, len(rows))
        before = None
        for row in rows:
            frame = np.asarray(frames[row])
            scores["mean intensity"][row] = frame.mean()
            if before is not None:
                difference = cv2.absdiff(frame, before)
                scores["largest frame difference"][row] = difference.max()
                scores["mean frame difference"][row] = difference.mean()
            before = frame
        for name in ("largest frame difference", "mean frame difference"):
            if len(rows) > 1:
                scores[name][rows[0]] = scores[name][rows[1]]
    return scores


def bits_per_pixel(frame: np.ndarray) -> float:
    """Complexity of a frame (H, W, C) uint8 after Serrà et al. 2019: its size as PNG."""
    return 8 * len(cv2.imencode(".png", np.ascontiguousarray(frame))[1]) / (frame.shape[0] * frame.shape[1])


# Reference scorers on the features of the flows


def feature_scorers(train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Classical densities on the flows' inputs: train (n, C, h, w), test (m, C, h, w) -> a score per test
    window, (m,).

    Maps are averaged to at most 8x8 cells and projected to at most 64 principal components of the training
    features. "Mahalanobis distance": to the training mean, with the Ledoit-Wolf shrinkage covariance;
    "nearest neighbours": the mean Euclidean distance to the five nearest training windows. Everything is
    fitted on training windows alone, at most 10,000 of them, evenly spaced. Raises EvaluationError for fewer
    than two training windows, maps of different shapes, or NaN.
    """
    if len(train) < 2:
        raise EvaluationError(
            f"The reference scorers need two training windows or more and got {len(train)}."
        )
    if train.shape[1:] != test.shape[1:]:
        raise EvaluationError(
            f"Training features are {train.shape[1:]} a window and test features {test.shape[1:]}."
        )
    chosen = np.unique(np.linspace(0, len(train) - 1, min(len(train), TRAINING_WINDOWS)).astype(np.int64))
    train, test = _cells(train, chosen), _cells(test, np.arange(len(test)))
    n, D = train.shape
    pca = PCA(n_components=min(DIMENSIONS, n - 1, D), svd_solver="full" if n < D else "covariance_eigh")
    train, test = pca.fit_transform(train), pca.transform(test)
    neighbours = NearestNeighbors(n_neighbors=min(NEIGHBOURS, n), algorithm="brute").fit(train)
    return {
        "Mahalanobis distance": np.sqrt(LedoitWolf().fit(train).mahalanobis(test)),
        "nearest neighbours": neighbours.kneighbors(test)[0].mean(axis=1),
    }


def _cells(features: np.ndarray, chosen: np.ndarray, chunk: int = 256) -> np.ndarray:
    """Maps averaged over cells and flattened, a few windows at a time: (n, C, h, w) -> (len(chosen),
    C * cells)."""
    h, w = features.shape[-2:]
    rows, columns = (np.linspace(0, size, min(size, CELLS) + 1).astype(np.int64) for size in (h, w))
    areas = np.diff(rows)[:, None] * np.diff(columns)
    out = []
    for first in range(0, len(chosen), chunk):
        maps = np.asarray(features[chosen[first : first + chunk]], dtype=np.float64)
        sums = np.add.reduceat(np.add.reduceat(maps, rows[:-1], axis=-2), columns[:-1], axis=-1)
        out.append((sums / areas).reshape(len(maps), -1))
    out = np.concatenate(out)
    if not np.isfinite(out).all():
        raise EvaluationError("The features hold NaN or infinity; the network that made them has diverged.")
    return out
