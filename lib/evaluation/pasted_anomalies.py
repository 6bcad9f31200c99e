"""Anomalies pasted into copies of normal clips, so that open choices can be made without any test label.

Every fourth training clip is held out: no network of the selection is trained on it. Three kinds of anomaly
are pasted into copies of these clips:

    fast     a region in which something moves is replayed at two to four times the speed
    foreign  a small object, cut from another clip and squashed, crosses the frame
    both     both at once, with the object inside the region

Edges are feathered, and each anomaly fades in and out, so that no visible cut gives it away. Everything is
determined by a seed. Frames are labelled abnormal from the first to the last frame in which pasting changed
the picture visibly; a mask contains the pixels that changed. The parameters `selection.*` set how hard the
anomalies are: they must not be so easy that all options have an AUC near 1 and cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lib.config import Selection
from lib.errors import EvaluationError
from lib.scoring import REFERENCE_HEIGHT, REFERENCE_WIDTH

KINDS = ("fast", "foreign", "both")
EVERY = 4  # each fourth training clip is held out
VISIBLE = 10  # of 255 grey levels; a pixel that changed by more is part of the anomaly
PROPOSALS = 16  # random places and times for a region; the one with most motion is used
SLOWEST = 2  # smallest speed-up of a fast region
CROSSING = 5.0  # speed of an object in pixels of a 240x360 frame per frame, varied by 20 %
FADE = 4  # frames over which an anomaly fades in, and out
FRAMES = 180  # longest excerpt of a held-out clip
CLIPS = 8  # most held-out clips that are used, evenly spaced
BACKGROUND_FRAMES = 25  # evenly spaced frames of a clip whose median is its background


@dataclass(frozen=True)
class Pasted:
    """A copy of a normal clip with one anomaly in it."""

    kind: str
    source: int  # the number of the clip that was copied
    frames: np.ndarray  # (n, H, W, C) uint8
    masks: np.ndarray  # (n, H, W) bool, where pasting changed the picture visibly
    labels: np.ndarray  # (n,) bool

    @property
    def name(self) -> str:
        return f"{self.kind}-of-{self.source + 1:03d}"


def held_out(count: int) -> tuple[int, ...]:
    """Indices of the held-out clips among `count` training clips: each fourth, or the last if there are
    fewer.

    Raises EvaluationError for fewer than two clips.
    """
    if count < 2:
        raise EvaluationError(
            f"The selection holds out training clips, and there is {count}. Give at least two; a long video "
            "can be cut into several files."
        )
    return tuple(range(EVERY - 1, count, EVERY)) or (count - 1,)


def pasted_copies(clips: Sequence[np.ndarray], *, seed: int, how: Selection) -> Iterator[Pasted]:
    """Copies of the held-out clips with an anomaly of each kind, one after another.

    `clips` are all training clips, (n, H, W, C) uint8 each, which may be memory-mapped. The generator of each
    copy is seeded by the seed, the number of its clip and the kind, so the copies do not depend on one
    another. Raises EvaluationError where `held_out` does, for settings out of range, and for a clip too short
    for any anomaly.
    """
    if not 0 < how.opacity <= 1 or how.fastest < SLOWEST:
        raise EvaluationError(
            f"selection.opacity is {how.opacity} and selection.fastest {how.fastest}; they can be above 0 up "
            f"to 1, and {SLOWEST} or more."
        )
    chosen = held_out(len(clips))
    if len(chosen) > CLIPS:
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, CLIPS).round().astype(int)]
    for source in chosen:
        frames = np.asarray(clips[source][:FRAMES])
        donors = [clip for number, clip in enumerate(clips) if number != source]
        for number, kind in enumerate(KINDS):
            generator = np.random.default_rng([seed, source, number])
            yield paste(frames, donors, kind, generator, how=how, source=source)


def paste(
    frames: np.ndarray,
    donors: Sequence[np.ndarray],
    kind: str,
    generator: np.random.Generator,
    *,
    how: Selection,
    source: int = 0,
) -> Pasted:
    """One copy of a clip, (n, H, W, C) uint8, with an anomaly. Objects are cut from the clips `donors`."""
    if len(frames) < 4 * (SLOWEST + 1):
        raise EvaluationError(
            f"A clip of {len(frames)} frames is too short for an anomaly to be pasted into it."
        )
    place = fast_region(frames, generator, how)
    copy, first, count = np.array(frames), place.first, place.count
    if kind in ("fast", "both"):
        copy = replay(copy, frames, place)
    if kind in ("foreign", "both"):
        if kind == "foreign":
            count = min(how.event, len(frames) // 3)
            first = int(generator.integers(1, len(frames) - count))
        patch, alpha = cut_object(donors, frames.shape[1:3], generator, how)
        copy = cross(copy, patch, alpha, place, first, count, generator, how)
    masks = np.abs(copy.astype(np.int16) - frames).max(-1) > VISIBLE
    seen = np.flatnonzero(masks.any((1, 2)))
    labels = np.zeros(len(frames), bool)
    if len(seen):
        labels[seen[0] : seen[-1] + 1] = True
    return Pasted(kind, source, copy, masks, labels)


# -- a region that is replayed too fast ----------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where and when something is pasted: a box in the frame, the first frame, the number of frames, and the
    speed-up."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    first: int
    count: int
    speed: int


def fast_region(frames: np.ndarray, generator: np.random.Generator, how: Selection) -> Place:
    """Of a few random places, the one that a replay changes most, which means that something moves there."""
    n, H, W, _ = frames.shape
    high, wide = scaled(how.region, H, REFERENCE_HEIGHT), scaled(how.region, W, REFERENCE_WIDTH)
    best, most = None, -1.0
    speed = int(generator.integers(SLOWEST, how.fastest + 1))
    count = max(2, min(how.event, (n - 2) // speed, n // 2))
    for _ in range(PROPOSALS):
        first = int(generator.integers(1, max(2, n - speed * count)))
        row, column = int(generator.integers(H - high + 1)), int(generator.integers(W - wide + 1))
        place = Place((row, row + high), (column, column + wide), first, count, speed)
        box = (slice(*place.rows), slice(*place.columns))
        sampled = range(0, count, max(1, count // 6))
        change = np.mean(
            [
                np.abs(frames[source_of(place, t, n)][box].astype(np.int16) - frames[first + t][box]).mean()
                for t in sampled
            ]
        )
        if change > most:
            best, most = place, change
    return best


def source_of(place: Place, t: int, n: int) -> int:
    """The source of the t-th frame of a replay: `speed` times as far on, at most the clip's last frame."""
    return min(place.first + t * place.speed, n - 1)


def replay(copy: np.ndarray, frames: np.ndarray, place: Place) -> np.ndarray:
    """Replay a region faster than the rest of the clip: (n, H, W, C) uint8 -> the same shape."""
    edges = feathered(frames.shape[1:3], place)
    for t, weight in enumerate(fades(place.count, FADE)):
        alpha = weight * edges[..., None]
        faster = frames[source_of(place, t, len(frames))]
        copy[place.first + t] = np.rint((1 - alpha) * copy[place.first + t] + alpha * faster)
    return copy


def feathered(size: tuple[int, int], place: Place) -> np.ndarray:
    """A weight for each pixel, (H, W): 1 inside a box, falling to 0 at its border over a sixth of its
    side."""
    sides = []
    for length, (start, stop) in zip(size, (place.rows, place.columns), strict=True):
        inside = np.minimum(np.arange(length) - start + 1, stop - np.arange(length))
        sides.append(np.clip(inside / max(1.0, (stop - start) / 6), 0, 1))
    return sides[0][:, None] * sides[1]


def fades(count: int, fade: int) -> np.ndarray:
    """The weight of each frame of an anomaly, (count,): rising over `fade` frames, then 1, then falling
    again."""
    steps = np.arange(1, count + 1)
    return np.minimum(1.0, np.minimum(steps, steps[::-1]) / (fade + 1))


# -- an object that does not belong --------------------------------------------------------------------------


def cut_object(
    donors: Sequence[np.ndarray], size: tuple[int, int], generator: np.random.Generator, how: Selection
) -> tuple[np.ndarray, np.ndarray]:
    """Something that moved in another clip, squashed: (h, w, C) float32, and its soft outline (h, w) in
    [0, 1].

    From a clip in which nothing moves, an elliptic piece of the scene.
    """
    H, W = size
    donor = donors[int(generator.integers(len(donors)))]
    background = background_of(donor)
    patch = outline = None
    for index in generator.permutation(len(donor))[:12]:
        frame = np.asarray(donor[index])
        difference = np.abs(frame.astype(np.int16) - background).max(-1).astype(np.uint8)
        moving = (cv2.GaussianBlur(difference, (5, 5), 0) > 25).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(moving)
        areas = stats[1:, cv2.CC_STAT_AREA] / (H * W)
        fitting = 1 + np.flatnonzero((areas > 0.001) & (areas < 0.03))
        if len(fitting):
            number = int(generator.choice(fitting))
            left, top, wide, high = stats[number, :4]
            box = (slice(top, top + high), slice(left, left + wide))
            patch, outline = frame[box], (labels[box] == number).astype(np.float32)
            break
    if patch is None:
        high, wide = max(2, H // 8), max(2, W // 12)
        top, left = int(generator.integers(H - high + 1)), int(generator.integers(W - wide + 1))
        patch = np.asarray(donor[0])[top : top + high, left : left + wide]
        down, across = np.ogrid[-1 : 1 : high * 1j, -1 : 1 : wide * 1j]
        outline = (down**2 + across**2 <= 1).astype(np.float32)
    high = scaled(how.object, H, REFERENCE_HEIGHT)
    wide = max(2, round(high * generator.uniform(1.2, 1.8)))  # wider than tall, unlike a person
    patch = cv2.resize(patch.astype(np.float32), (wide, high), interpolation=cv2.INTER_AREA)
    outline = cv2.resize(np.pad(outline, 1), (wide, high), interpolation=cv2.INTER_AREA)
    return patch.reshape(high, wide, -1), cv2.GaussianBlur(outline, (3, 3), 0)


def background_of(frames: np.ndarray) -> np.ndarray:
    """The median of a few evenly spaced frames of a clip: (n, H, W, C) uint8 -> (H, W, C) uint8."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, BACKGROUND_FRAMES).round().astype(int))
    return np.median(np.stack([frames[i] for i in chosen]), axis=0).astype(np.uint8)


def cross(
    copy: np.ndarray,
    patch: np.ndarray,
    outline: np.ndarray,
    place: Place,
    first: int,
    count: int,
    generator: np.random.Generator,
    how: Selection,
) -> np.ndarray:
    """Paste an object that moves left or right along a row, at the height of a place where things move."""
    n, H, W, C = copy.shape
    high, wide = outline.shape
    speed = CROSSING * W / REFERENCE_WIDTH * generator.uniform(0.8, 1.2)
    count = max(2, min(count, int((W - wide - 1) / speed)))
    room = W - wide - 1 - speed * (count - 1)
    if (place.first, place.count) == (first, count):  # inside the region if the frame is wide enough
        middle = (place.columns[0] + place.columns[1] - wide - speed * count) / 2
        start = float(np.clip(middle, 0, room))
    else:
        start = float(generator.uniform(0, max(room, 0)))
    row = int(np.clip(generator.integers(*place.rows), 0, H - high))
    to_the_left = bool(generator.integers(2))
    for t, weight in enumerate(fades(count, FADE)):
        column = start + speed * (count - 1 - t if to_the_left else t)
        shift = np.float32([[1, 0, column], [0, 1, row]])  # subpixel, for smooth motion
        alpha = weight * how.opacity * cv2.warpAffine(outline, shift, (W, H))[..., None]
        object_ = cv2.warpAffine(patch, shift, (W, H), borderMode=cv2.BORDER_REPLICATE).reshape(H, W, C)
        copy[first + t] = np.rint((1 - alpha) * copy[first + t] + alpha * object_)
    return copy


def scaled(pixels: float, size: int, reference: int) -> int:
    """A length in pixels of a 240x360 frame as pixels of this frame, at least 2 and at most the frame's
    side."""
    return int(np.clip(round(pixels * size / reference), 2, size))
