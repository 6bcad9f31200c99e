"""The files of a raw data set: their names and order, decoding images and videos, masks. Nothing here knows a data set.

Everything that is wrong with a file is a `DataError` with the file's name: a benchmark is worth nothing with a grey
half frame or a missing one in it, and OpenCV alone reports such things, if at all, as `None`.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from lib.errors import DataError

IMAGES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"}
VIDEOS = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"}
JUNK = re.compile(
    r"(?i)^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX|\.ipynb_checkpoints|@eaDir|#recycle|\$RECYCLE\.BIN|"
    r"System Volume Information|lost\+found|\.Trash.*)$"
)
AGAIN = "Unpack the archive again, or fetch it again if that does not help."
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: what is wrong with a video is said here, once


@dataclass(frozen=True)
class Source:
    """One clip of a raw data set: image files in order, or one video."""

    name: str
    split: str  # "train" or "test"
    length: int  # frames
    images: tuple[Path, ...] = ()
    video: Path | None = None
    masks: tuple[
        Path, ...
    ] = ()  # one image a frame; or one file (.mat, .npy) with those of all frames; or none
    labels: np.ndarray | None = None  # (length,) bool, True where abnormal

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file whose content the prepared clip is made of, in order."""
        return self.images + ((self.video,) if self.video else ()) + self.masks

    def where(self, index: int) -> str:
        """The place of a frame, for a person."""
        return str(self.images[index]) if self.images else f"{self.video}, frame {index + 1},"


# -- names and order ---------------------------------------------------------------------------------------------


def natural(path: Path) -> tuple:
    """Sort key: runs of digits count as numbers, so that 2 comes before 10."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part.lower())
        for part in re.split(r"(\d+)", path.name)
        if part
    )


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, in natural order, without the files that operating systems leave behind."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. {AGAIN}")
    found = sorted((path for path in folder.iterdir() if not JUNK.match(path.name)), key=natural)
    for path in found:
        if path.is_symlink() and not path.exists():
            raise DataError(
                f"{path} is a symbolic link to {os.readlink(path)}, which does not exist. "
                "Mend the link, or put the data in its place."
            )
    return found


def number(path: Path) -> int:
    """The number at the end of a name: 7 for 007.tif, frame007.bmp, Test007, Test007_gt, 07.avi and 7_label.mat."""
    stem = path.stem if path.suffix.lower() in IMAGES | VIDEOS | {".mat", ".npy"} else path.name
    digits = re.search(r"(\d+)(_gt|_label)?$", stem)
    if digits is None:
        raise DataError(
            f"{path} has no number at the end of its name, so its place in the order is unknown. "
            "Name it by its number, or take it out of the folder."
        )
    return int(digits.group(1))


def check_numbers(numbers: list[int], what: str) -> None:
    """Numbers in order must go up by one from 0 or 1. Raises DataError that names what is missing or double."""
    for before, after in zip(numbers, numbers[1:]):
        if after == before:
            raise DataError(f"{what}: number {after} is there twice. Take one of the two away.")
    gaps = missing_numbers(numbers)
    if gaps:
        raise DataError(
            f"{what}: the numbers run from {numbers[0]} to {numbers[-1]}, but {listing(gaps)} "
            f"{'is' if len(gaps) == 1 else 'are'} missing. {AGAIN}"
        )


def missing_numbers(numbers: list[int]) -> list[int]:
    """What lacks for the numbers to go up by one from 0 or 1."""
    return sorted(set(range(0 if numbers[0] == 0 else 1, numbers[-1] + 1)) - set(numbers))


def listing(things, most: int = 6) -> str:
    """Some things as text: 'a, b, c and 4 more'."""
    things = [str(thing) for thing in things]
    rest = len(things) - most
    return ", ".join(things[:most]) + (f" and {rest} more" if rest > 0 else "")


def image_files(folder: Path) -> tuple[Path, ...]:
    """The images in a folder by their numbers. DataError if there are none, or if a number is missing or double."""
    files = sorted((path for path in entries(folder) if path.suffix.lower() in IMAGES), key=number)
    if not files:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(IMAGES))}). {AGAIN}")
    check_numbers([number(path) for path in files], str(folder))
    return tuple(files)


def video_files(folder: Path) -> tuple[Path, ...]:
    """The videos in a folder, in natural order."""
    return tuple(path for path in entries(folder) if path.suffix.lower() in VIDEOS)


# -- content -----------------------------------------------------------------------------------------------------


def read_bytes(path: Path) -> bytes:
    """A file's content; DataError instead of the operating system's error."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def digest(paths) -> tuple[int, str]:
    """Size in bytes and sha256 of the contents of some files, one after the other."""
    size, sha = 0, hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    size += len(block)
                    sha.update(block)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    return size, sha.hexdigest()


def read_image(path: Path) -> np.ndarray:
    """One image file -> (H, W) grey or (H, W, 3) BGR, uint8. DataError if it is cut off or no image."""
    data = read_bytes(path)  # not cv2.imread, which fails on some paths that are not ASCII
    # Some builds of libjpeg fill what is missing with grey. Inside the coded data 0xFF is always escaped, so in a
    # whole file an "end of image" follows the last "start of scan".
    cut = data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    image = None if cut or not data else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR)
    if image is None:
        raise DataError(
            f"{path} ({len(data)} bytes) cannot be decoded: it is cut off, or not an image. {AGAIN}"
        )
    return image


def open_video(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise DataError(
            f"{path} cannot be opened as a video: it is cut off, or of a kind that OpenCV cannot decode. "
            f"{AGAIN}"
        )
    return capture


def count_frames(path: Path) -> int:
    """Frames of a video, by going through it: what containers declare can be wrong by a factor of two."""
    capture, count = open_video(path), 0
    while capture.grab():
        count += 1
    if count == 0:
        raise DataError(f"{path} opens as a video, but not one frame of it can be decoded. {AGAIN}")
    return count


def read_frames(clip: Source) -> Iterator[np.ndarray]:
    """The frames of a clip in order: (H, W) grey or (H, W, 3) BGR, uint8."""
    for path in clip.images:
        yield read_image(path)
    if clip.video is not None:
        capture, count = open_video(clip.video), 0
        while count < clip.length:
            ok, frame = capture.read()
            if not ok:
                raise DataError(
                    f"{clip.video}: decoding stopped after {count} of {clip.length} frames. {AGAIN}"
                )
            yield frame
            count += 1


# -- masks -------------------------------------------------------------------------------------------------------


def read_mat(path: Path, variable: str) -> np.ndarray:
    """A variable of a MATLAB file; DataError if the file or the variable cannot be read."""
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
            image = read_image(path)
            yield (image if image.ndim == 2 else image.max(axis=2)) > 0


def mask_volume(path: Path) -> Iterator[np.ndarray]:
    """The masks of all frames of a clip from one file: Avenue's .mat (`volLabel`) or ShanghaiTech's .npy (n, H, W)."""
    if path.suffix.lower() == ".mat":
        volume = read_mat(path, "volLabel").ravel()
    else:
        volume = load_npy(path)
    for mask in volume:
        yield np.asarray(mask) > 0


def load_npy(path: Path) -> np.ndarray:
    """An .npy file, mapped; DataError if it is none."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an .npy file ({error}). {AGAIN}") from error
