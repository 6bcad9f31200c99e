"""A prepared data set: one memory-mapped array of frames per split, labels, masks, and a manifest that
describes them.

`preparation.prepare` writes it once from the raw files. Training and scoring decode no images: they slice
windows of T frames from the arrays ("Implementations": 256x256, T = 16; the original 240x360 for UCSD).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lib.errors import DataError

FORMAT = 1  # of the prepared folder; a folder of another format has to be prepared again
JOURNAL = "preparing.jsonl"  # clips that an unfinished preparation has written


@dataclass(frozen=True)
class Clip:
    """A clip in the arrays of its split."""

    name: str
    split: str  # "train" or "test"
    start: int  # first row in the split's arrays
    length: int  # frames


@dataclass(frozen=True)
class Prepared:
    """A prepared data set. Arrays are memory-mapped, so opening one costs nothing."""

    folder: Path
    manifest: dict

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of "train" or "test", in natural order."""
        return tuple(
            Clip(name=clip["name"], split=split, start=clip["start"], length=clip["length"])
            for clip in self.manifest["clips"][split]
        )

    def frames(self, split: str) -> np.memmap:
        """(N, H, W, C) uint8, all clips of the split one after another; RGB or grey."""
        return np.load(self.folder / f"{split}_frames.npy", mmap_mode="r")

    @property
    def labels(self) -> np.ndarray | None:
        """(N_test,) bool, True for abnormal frames; None for a set without labels."""
        path = self.folder / "test_labels.npy"
        return np.load(path) if path.exists() else None

    @property
    def masks(self) -> np.memmap | None:
        """(N_test, H, W) bool, True for abnormal pixels; None for a set without pixel masks."""
        path = self.folder / "test_masks.npy"
        return np.load(path, mmap_mode="r") if path.exists() else None

    @property
    def tracks(self) -> pd.DataFrame | None:
        """One row per anomalous object and frame: clip, frame, track, kind, x0, y0, x1, y1. None for a set
        without tracks.

        `frame` is 0-based in the clip; the box is in pixels of the prepared frames, x1 and y1 exclusive.
        """
        path = self.folder / "tracks.csv"
        return pd.read_csv(path) if path.exists() else None

    @property
    def nothing_happens(self) -> dict[str, str]:
        """The test clips in which nothing happens, by name, with the reason.

        Their scores are meaningless: stretched from 0 to 1 within the clip, noise looks like an event.
        """
        return self.manifest.get("nothing_happens", {})

    @property
    def subset(self) -> bool:
        """Whether something of the official release is missing."""
        return self.manifest["subset"]


def nothing_happens(frames: np.ndarray) -> str:
    """Why nothing happens in a clip (n, H, W, C) uint8: nine of ten frames are black, without contrast, or
    frozen.

    Returns the reason, or "". Frames are equal if no pixel changes by more than two of 255 levels.
    """
    black = flat = frozen = 0
    before = None
    for frame in frames:
        # averages out the camera's noise
        small = cv2.resize(np.asarray(frame), (16, 16), interpolation=cv2.INTER_AREA)
        flat += small.std(axis=(0, 1)).max() < 3
        black += small.std(axis=(0, 1)).max() < 3 and small.mean() < 16
        frozen += before is not None and cv2.norm(frame, before, cv2.NORM_INF) <= 2
        before = frame
    if black >= 0.9 * len(frames):
        return "black"
    if flat >= 0.9 * len(frames):
        return "without contrast, as with a covered lens"
    return "frozen" if len(frames) > 1 and frozen >= 0.9 * (len(frames) - 1) else ""


def windows(clips: tuple[Clip, ...], *, T: int, stride: int) -> np.ndarray:
    """Windows of T frames within one clip -> (n, 2) int64: index of the clip, first row in its split's
    arrays.

    They start at the clip's first frame and then every `stride` frames. The last window that fits is always
    included, so that every frame is in a window if stride <= T. Raises DataError for a clip shorter than T.
    """
    rows = []
    for index, clip in enumerate(clips):
        last = clip.length - T
        if last < 0:
            raise DataError(f"Clip {clip.name} has {clip.length} frames, fewer than a window (T = {T}).")
        starts = sorted({*range(0, last + 1, stride), last})
        rows += [(index, clip.start + start) for start in starts]
    return np.array(rows, np.int64).reshape(-1, 2)


def open_prepared(out: Path) -> Prepared:
    """Open a prepared folder. Raises DataError if it is missing, unfinished, or of another format."""
    path = Path(out) / "manifest.json"
    if not path.exists():
        state = "was begun but not finished" if (Path(out) / JOURNAL).exists() else "is not there"
        raise DataError(f"The prepared data set {out} {state}. Prepare it: ./run_all.sh prepare")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{out} was prepared in another format ({manifest.get('format')} instead of {FORMAT}). "
            "Prepare it again: ./run_all.sh prepare"
        )
    return Prepared(folder=Path(out), manifest=manifest)
