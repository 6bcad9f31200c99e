"""Decoding: the frames and masks of a clip, one after another, from whatever files they are in.

Whatever is wrong with a file raises `DataError` with the file's name, because numbers from a benchmark with a
missing or half-grey frame are worthless.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io

from lib.datasets.files import AGAIN, Source
from lib.datasets.images import read_image, read_mask
from lib.datasets.videos import read_video
from lib.errors import DataError


def read_frames(clip: Source) -> Iterator[np.ndarray]:
    """The frames of a clip in order: (H, W) grey or (H, W, 3) BGR, uint8."""
    for path in clip.images:
        yield read_image(path)
    if clip.video is not None:
        yield from read_video(clip.video, clip.length)


# -- masks ---------------------------------------------------------------------------------------------------


def read_mat(path: Path, variable: str) -> np.ndarray:
    """A variable of a MATLAB file. Raises DataError if the file or the variable cannot be read."""
    try:
        content = scipy.io.loadmat(path, variable_names=[variable])
    except (
        ValueError,
        TypeError,
        NotImplementedError,
        OSError,
        EOFError,
        zlib.error,
        scipy.io.matlab.MatReadError,
    ) as error:
        if isinstance(error, NotImplementedError):
            raise DataError(
                f"{path} is a MATLAB file of version 7.3, which the kit does not read. Save it in MATLAB "
                f"with save('{path.name}', '{variable}', '-v7')."
            ) from error
        raise DataError(f"{path} cannot be read as a MATLAB file ({error}). {AGAIN}") from error
    if variable not in content:
        raise DataError(
            f"{path} has no variable '{variable}', so it is not the label file that was expected."
        )
    return content[variable]


def read_masks(clip: Source) -> Iterator[np.ndarray]:
    """The masks of a clip in order: (H, W) bool, True where abnormal."""
    if len(clip.masks) == 1 and clip.masks[0].suffix.lower() in (".mat", ".npy"):
        yield from mask_volume(clip.masks[0])
    else:
        for path in clip.masks:
            yield read_mask(path)


def mask_volume(path: Path) -> Iterator[np.ndarray]:
    """The masks of all frames of a clip from one file, (H, W) bool each.

    The file is Avenue's .mat (`volLabel`) or ShanghaiTech's .npy (n, H, W). Raises DataError for values that
    are not numbers.
    """
    if path.suffix.lower() == ".mat":
        volume = read_mat(path, "volLabel").ravel()
    else:
        volume = load_npy(path)
    for mask in volume:
        mask = np.asarray(mask)
        if mask.dtype.kind not in "biuf" or not np.isfinite(mask).all():
            raise DataError(f"{path} holds masks with values that are no numbers. {AGAIN}")
        yield mask != 0


def load_npy(path: Path) -> np.ndarray:
    """An .npy file, memory-mapped. Raises DataError if it cannot be read as one."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an .npy file ({error}). {AGAIN}") from error
