"""Localisation: RBDC and TBDC (Ramachandra & Jones, "Street Scene", WACV 2020), from error maps.

A frame-level AUC does not say where in the frame a method found something. Here the regions of an error map
above a threshold are compared with the labelled regions, over all thresholds. The paper reports neither
number.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from lib.errors import EvaluationError
from lib.scoring import by_clip, patch_grid

ALPHA = BETA = 0.1  # smallest share of a track and overlap of a region, from Ramachandra & Jones
LEVELS = 32  # thresholds
SAMPLE = 200  # evenly spaced frames from whose maps the thresholds are taken


def localise(
    maps,
    masks: np.ndarray,
    *,
    patch: int,
    tracks: Sequence[tuple[np.ndarray, Sequence[Hashable]] | None] | None = None,
) -> RegionRates:
    """RBDC and TBDC of error maps: a sequence of N maps (H, W), read one at a time, and masks (N, H, W) bool.

    Each map is first averaged over the patches of Eq. 7 (`smooth`), so that regions come from the same values
    as the frame's score; the thresholds are those of `thresholds`. The true regions of a frame are the
    connected parts of its mask or, if `tracks` has boxes (m, 4) with the track of each for a frame, these.
    Raises EvaluationError if no frame has a true region.
    """
    levels = thresholds(maps, patch=patch)

    def frames():
        for index, error in enumerate(maps):
            mask = np.asarray(masks[index])
            truth, names = regions(mask), None
            if tracks is not None:
                truth, names = tracks[index] if tracks[index] is not None else (np.empty((0, 4)), ())
            yield detect(smooth(error, patch=patch), levels, min_area=1), truth, names

    return region_rates(frames())


def smooth(error: np.ndarray, *, patch: int) -> np.ndarray:
    """The mean of an error map over the patch around each pixel, with the map reflected at its border.

    (H, W) -> (H, W) float32. `patch` is in pixels of a 240x360 frame, as in Eq. 7.
    """
    (side_h, side_w), _, _ = patch_grid(*error.shape, patch=patch, patch_stride=1)
    return cv2.blur(np.asarray(error, dtype=np.float32), (side_w, side_h), borderType=cv2.BORDER_REFLECT_101)


def thresholds(maps, *, patch: int) -> np.ndarray:
    """Thresholds for smoothed maps, ascending, LEVELS or a few less.

    Half of them are evenly spaced from 0 to the largest value, half evenly spaced in rank among the largest
    values of the frames, where false positives begin. At most SAMPLE maps are read, evenly spaced. Labels are
    not used.
    """
    chosen = np.unique(np.linspace(0, len(maps) - 1, min(len(maps), SAMPLE)).astype(np.int64))
    peaks = [smooth(maps[i], patch=patch).max() for i in chosen]
    steps = np.linspace(0, 1, LEVELS // 2, endpoint=False)
    return np.unique(np.concatenate((steps * max(peaks), np.quantile(peaks, steps))))


class FrameDifferences:
    """|I_t - I_{t-1}|, mean over colours, of frames (N, H, W, C) uint8: indexed like N maps (H, W) float32.

    These are the maps of the reference scorer "mean frame difference"; a clip's first frame gets the map of
    its second. The frames may be memory-mapped.
    """

    def __init__(self, frames: np.ndarray, clip_ids: np.ndarray):
        self.frames, self.before = frames, np.arange(len(clip_ids)) - 1
        for rows in by_clip(clip_ids):
            self.before[rows[0]] = rows[min(1, len(rows) - 1)]

    def __len__(self) -> int:
        return len(self.before)

    def __getitem__(self, index: int) -> np.ndarray:
        if index >= len(self):
            raise IndexError(index)
        one, other = (np.asarray(self.frames[i], dtype=np.float32) for i in (index, self.before[index]))
        return np.abs(one - other).mean(axis=-1)


def tracks_of(table: pd.DataFrame | None, clips) -> list[tuple[np.ndarray, list] | None] | None:
    """The boxes and tracks of each test frame, from `datasets.Prepared.tracks` and `clips("test")`.

    None for a frame without any; None instead of the list for a data set without tracks.
    """
    if table is None:
        return None
    found: list[tuple[np.ndarray, list] | None] = [None] * sum(clip.length for clip in clips)
    starts = {clip.name: clip.start for clip in clips}
    for (clip, frame), own in table.groupby(["clip", "frame"], sort=False):
        found[starts[clip] + frame] = (
            own[["x0", "y0", "x1", "y1"]].to_numpy(),
            [(clip, t) for t in own["track"]],
        )
    return found


def regions(mask: np.ndarray, *, min_area: int = 1) -> np.ndarray:
    """Boxes around the connected parts of a mask, with diagonal neighbours: (H, W) bool -> (n, 4), x0 y0 x1
    y1.

    x1 and y1 are exclusive. Parts of fewer than `min_area` pixels are left out.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask, dtype=np.uint8), connectivity=8
    )
    stats = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= min_area]
    x, y, width, height = stats[:, :4].T
    return np.stack((x, y, x + width, y + height), axis=1)


def detect(error: np.ndarray, levels: np.ndarray, *, min_area: int) -> list[np.ndarray]:
    """The regions where an error map (H, W) exceeds each threshold: one array (n, 4) per level."""
    return [regions(error > level, min_area=min_area) for level in levels]


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes: (n, 4) and (m, 4) -> (n, m)."""
    a, b = (
        np.asarray(a, dtype=np.float64).reshape(-1, 1, 4),
        np.asarray(b, dtype=np.float64).reshape(1, -1, 4),
    )
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (a, b)]
    return common / (areas[0] + areas[1] - common)


@dataclass(frozen=True)
class RegionRates:
    """At each level, (K,): false positive regions per frame, share of true regions found, share of tracks
    found or None."""

    false_positives: np.ndarray
    regions_found: np.ndarray
    tracks_found: np.ndarray | None

    def __str__(self) -> str:
        return f"RBDC {self.rbdc:.3f}" + ("" if self.tbdc is None else f", TBDC {self.tbdc:.3f}")

    @property
    def rbdc(self) -> float:
        """Region-based detection criterion: area under the rate of regions found, up to one false positive
        per frame."""
        return area_to_one(self.false_positives, self.regions_found)

    @property
    def tbdc(self) -> float | None:
        """Track-based detection criterion: the same for tracks; None without tracks."""
        return None if self.tracks_found is None else area_to_one(self.false_positives, self.tracks_found)


def region_rates(
    frames: Iterable[tuple[list[np.ndarray], np.ndarray, Sequence[Hashable] | None]],
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
) -> RegionRates:
    """Rates over all test frames, each given once as (detections, truth, tracks), in any order.

    `detections` has one array (n, 4) per level, as from `detect`; `truth` the boxes (m, 4) of the true
    regions, possibly none; `tracks` the track of each, unique over the set, or None for all frames. A true
    region is found if a detection overlaps it with IoU >= beta; a track, if at least the share alpha of its
    regions is found; a detection that overlaps no true region that much is a false positive. Raises
    EvaluationError if there is no frame or no true region.
    """
    n_frames, n_regions = 0, 0
    false_positives = found = 0
    sizes: dict[Hashable, int] = {}
    found_of: dict[Hashable, np.ndarray] = {}
    for detections, truth, tracks in frames:
        hit = np.zeros((len(detections), len(truth)), dtype=bool)
        false = np.zeros(len(detections))
        for level, boxes in enumerate(detections):
            matches = overlap(boxes, truth) >= beta  # (n, m)
            hit[level] = matches.any(axis=0)
            false[level] = np.count_nonzero(~matches.any(axis=1))
        n_frames, n_regions = n_frames + 1, n_regions + len(truth)
        false_positives, found = false_positives + false, found + hit.sum(axis=1)
        for index, track in enumerate(tracks if tracks is not None else ()):
            sizes[track] = sizes.get(track, 0) + 1
            found_of[track] = found_of.get(track, 0) + hit[:, index]
    if not n_regions:
        raise EvaluationError("There is no true region in these frames, so no region can be found.")
    tracks_found = (
        np.mean([found_of[track] / sizes[track] >= alpha for track in sizes], axis=0) if sizes else None
    )
    return RegionRates(false_positives / n_frames, found / n_regions, tracks_found)


def area_to_one(false_positives: np.ndarray, rate: np.ndarray) -> float:
    """Area under a rate over the false positives per frame, from 0 to 1.

    Connected regions merge as the threshold falls, so neither axis is monotone: at each abscissa the best
    rate of all levels with no more false positives counts. The curve is linear between levels and constant
    after the last. It starts at the origin unless some level has no false positive.
    """
    order = np.lexsort((rate, false_positives))
    x = np.concatenate(([0.0], np.asarray(false_positives, dtype=np.float64)[order]))
    y = np.maximum.accumulate(np.concatenate(([0.0], np.asarray(rate, dtype=np.float64)[order])))
    best = np.append(np.diff(x) > 0, True)  # of levels with equally many, the last is the best
    x, y = x[best], y[best]
    at_one = np.interp(1.0, x, y)
    x, y = np.append(x[x < 1], 1.0), np.append(y[x < 1], at_one)
    return float(np.trapezoid(y, x))
