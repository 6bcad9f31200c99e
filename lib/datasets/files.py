"""The files of a raw data set: names, order and content as bytes. Nothing here depends on a particular data
set.

Whatever is wrong with a file raises `DataError` with the file's name.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.errors import DataError

IMAGES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"}
VIDEOS = {
    *(
        ".avi",
        ".divx",
        ".mp4",
        ".m4v",
        ".mov",
        ".qt",
        ".3gp",
        ".3g2",
        ".mkv",
        ".webm",
        ".wmv",
        ".asf",
        ".flv",
        ".f4v",
    ),
    *(
        ".mpg",
        ".mpeg",
        ".mpe",
        ".m2v",
        ".vob",
        ".dv",
        ".ts",
        ".mts",
        ".m2ts",
        ".mxf",
        ".nut",
        ".ogv",
        ".ogg",
        ".rm",
    ),
    *(".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".y4m", ".gif"),
}
JUNK = re.compile(
    r"(?i)^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX|\.ipynb_checkpoints|@eaDir|#recycle|\$RECYCLE\.BIN|"
    r"System Volume Information|lost\+found|\.Trash.*)$"
)
AGAIN = "Unpack the archive again, or fetch it again if that does not help."


@dataclass(frozen=True)
class Source:
    """One clip of a raw data set: image files in order, or one video."""

    name: str
    split: str  # "train" or "test"
    length: int  # frames
    images: tuple[Path, ...] = ()
    video: Path | None = None
    masks: tuple[Path, ...] = ()  # one image per frame, or one file (.mat, .npy) with all masks, or none
    labels: np.ndarray | None = None  # (length,) bool, True where abnormal

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file from which the prepared clip is made, in order."""
        return self.images + ((self.video,) if self.video else ()) + self.masks

    def where(self, index: int) -> str:
        """The file or position of a frame, for error messages."""
        return str(self.images[index]) if self.images else f"{self.video}, frame {index + 1},"


# -- names and order -----------------------------------------------------------------------------------------


def natural(path: Path) -> tuple:
    """Sort key for natural order: runs of digits count as numbers, so that 2 comes before 10."""
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part.lower())
        for part in re.split(r"(\d+)", path.name)
        if part
    )


def entries(folder: Path) -> list[Path]:
    """The entries of a folder in natural order, without the files that operating systems leave there."""
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
    """The number at the end of a name: 7 for 007.tif, frame007.bmp, Test007, Test007_gt, 07.avi and
    7_label.mat."""
    stem = path.stem if path.suffix.lower() in IMAGES | VIDEOS | {".mat", ".npy"} else path.name
    digits = re.search(r"(\d+)(_gt|_label)?$", stem)
    if digits is None:
        raise DataError(
            f"{path} has no number at the end of its name, so its place in the order is unknown. "
            "Name it by its number, or take it out of the folder."
        )
    return int(digits.group(1))


def check_numbers(numbers: list[int], what: str) -> None:
    """Raise DataError, naming what is missing or double, unless the numbers increase by one from 0 or 1."""
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
    """The numbers that are missing in a sequence from 0 or 1 in steps of one."""
    return sorted(set(range(0 if numbers[0] == 0 else 1, numbers[-1] + 1)) - set(numbers))


def listing(things, most: int = 6) -> str:
    """A list of things as text: 'a, b, c and 4 more'."""
    things = [str(thing) for thing in things]
    rest = len(things) - most
    return ", ".join(things[:most]) + (f" and {rest} more" if rest > 0 else "")


def image_files(folder: Path) -> tuple[Path, ...]:
    """The images in a folder, ordered by number. Raises DataError if there are none, or if a number is
    missing or double."""
    files = sorted((path for path in entries(folder) if path.suffix.lower() in IMAGES), key=number)
    if not files:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(IMAGES))}). {AGAIN}")
    check_numbers([number(path) for path in files], str(folder))
    return tuple(files)


def video_files(folder: Path) -> tuple[Path, ...]:
    """The videos in a folder, in natural order."""
    return tuple(path for path in entries(folder) if path.suffix.lower() in VIDEOS)


# -- bytes ---------------------------------------------------------------------------------------------------


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def digest(paths) -> tuple[int, str]:
    """Size in bytes and sha256 of the contents of some files, read one after another."""
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
