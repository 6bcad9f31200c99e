"""The background of a clip and the foreground in it: ShanghaiTech's "MOG-based approach following (Abati et
al. 2019)"."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from lib.errors import ScoreError

BACKGROUND_THRESHOLD = 128  # summed difference of three 8-bit channels, Abati et al. 2019
BACKGROUND_DILATIONS = 5  # steps of one pixel to the four neighbours, Abati et al. 2019


def mog_background(frames: Iterable[np.ndarray]) -> np.ndarray:
    """The background of a clip from a mixture of Gaussians after its last frame: (H, W, C) uint8 each -> one.

    OpenCV's MOG2 with its default parameters, as in Abati et al. 2019. `frames` is read once, one frame at a
    time. Raises ScoreError for a clip without frames.
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

    A pixel is foreground if the absolute differences of its three channels sum to more than 128 (for a grey
    frame, three times its one difference), or if such a pixel is within five steps between direct neighbours
    (Abati et al. 2019).
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    masks = np.empty(frames.shape[:-1], dtype=bool)
    for frame, mask in zip(frames, masks):
        difference = np.abs(frame.astype(np.int32) - background).sum(axis=-1) * 3  # (H, W)
        moving = (difference > BACKGROUND_THRESHOLD * frame.shape[-1]).astype(np.uint8)
        mask[:] = cv2.dilate(moving, cross, iterations=BACKGROUND_DILATIONS)
    return masks
