"""Preparing: the arrays, their index, resuming, and what each kind of damage is told."""
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.datasets import Clip, DataError, find_raw, open_prepared, prepare, windows

SIZE = (24, 36)  # raw frames, H x W


def frame(split: str, clip: int, index: int, size=SIZE) -> np.ndarray:
    """A frame that nothing else equals: a ramp, its clip and its index."""
    base = np.add.outer(np.arange(size[0]), np.arange(size[1])).astype(np.uint8)
    return base + np.uint8(90 * (split == "test") + 30 * clip + index)


def mask(clip: int, index: int, size=SIZE) -> np.ndarray:
    """Clip 1 is abnormal in frames 1-2 (0-based), clip 2 in frame 0."""
    image = np.zeros(size, np.uint8)
    if (clip, index) in {(1, 1), (1, 2), (2, 0)}:
        image[3, 5 + index] = 255
    return image


def make_ucsd(root: Path, lengths=(5, 4)) -> Path:
    folder = root / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2"
    for split in ("Train", "Test"):
        for clip, length in enumerate(lengths, start=1):
            path = folder / split / f"{split}{clip:03d}"
            path.mkdir(parents=True)
            for index in range(length):
                cv2.imwrite(str(path / f"{index + 1:03d}.tif"), frame(split.lower(), clip, index))
            (path / f"._{1:03d}.tif").write_bytes(b"junk")
    for clip, length in enumerate(lengths, start=1):
        path = folder / "Test" / f"Test{clip:03d}_gt"
        path.mkdir()
        for index in range(length):
            cv2.imwrite(str(path / f"{'frame' if clip == 2 else ''}{index + 1:03d}.bmp"), mask(clip, index))
    (folder / "Test" / ".DS_Store").write_bytes(b"junk")
    (folder / "Test" / "UCSDped2.m").write_text(
        "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:3];\nTestVideoFile{end+1}.gt_frame = [1:1];\n")
    return folder


def run(raw: Path, out: Path, *, dataset="synthetic", height=SIZE[0], width=SIZE[1], channels=1, labels="masks",
        subset=False, workers=2, progress=lambda line: None):
    return prepare(dataset=dataset, raw=raw, out=out, height=height, width=width, channels=channels,
                   avenue_labels=labels, subset=subset, workers=workers, progress=progress)


def test_prepared_arrays_hold_the_frames_in_order(tmp_path):
    prepared = run(make_ucsd(tmp_path), tmp_path / "out")
    assert prepared.clips("test") == (Clip("Test001", "test", 0, 5), Clip("Test002", "test", 5, 4))
    for split in ("train", "test"):
        frames = prepared.frames(split)
        assert frames.shape == (9, *SIZE, 1) and frames.dtype == np.uint8 and isinstance(frames, np.memmap)
        expected = [frame(split, clip, index) for clip, n in ((1, 5), (2, 4)) for index in range(n)]
        assert np.array_equal(frames[..., 0], expected)
    assert prepared.labels.tolist() == [False, True, True, False, False, True, False, False, False]
    assert np.array_equal(prepared.masks, [mask(c, i) > 0 for c, n in ((1, 5), (2, 4)) for i in range(n)])
    assert prepared.tracks is None and not prepared.subset


def test_windows_start_at_the_clip_and_end_at_its_last_frame():
    clips = (Clip("a", "test", 0, 8), Clip("b", "test", 8, 5), Clip("c", "test", 13, 4))
    assert windows(clips, T=4, stride=3).tolist() == [[0, 0], [0, 3], [0, 4], [1, 8], [1, 9], [2, 13]]
    assert windows(clips, T=4, stride=1).shape == (5 + 2 + 1, 2)
    with pytest.raises(DataError, match="Clip c has 4 frames, fewer than a window"):
        windows(clips, T=5, stride=1)
