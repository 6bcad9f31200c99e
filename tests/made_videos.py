"""Tiny videos that tests write."""

from pathlib import Path

import cv2
import numpy as np

SIZE = (32, 48)  # H x W


def frame(level: int, index: int, size=SIZE) -> np.ndarray:
    """A ramp that starts at a level of its own."""
    return (np.add.outer(np.arange(size[0]), np.arange(size[1])) + level + 3 * index).astype(np.uint8)


def save_video(path: Path, level: int, length: int, size=SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, size[::-1])
    assert writer.isOpened()
    for index in range(length):
        writer.write(cv2.cvtColor(frame(level, index, size), cv2.COLOR_GRAY2BGR))
    writer.release()
