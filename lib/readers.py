"""Looking at a raw data set: which clips it has, their frames in order, labels and masks, and what is wrong with it.

A reader only looks: it decodes the first frame of a set, counts, compares with what is known of the official release,
and returns a `Raw`. Decoding everything and writing it down once is `datasets.prepare`.
"""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

IMAGES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"}
JUNK = re.compile(r"(?i)^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX|\.ipynb_checkpoints)$")

# What is known of the official releases. Test clips: frames of each clip in order.
KNOWN = {
    "ped2": {"train_clips": 16, "train_frames": 2550, "test_frames": 2010, "abnormal": 1648,
             "test_lengths": (180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180)},
}
FOLDERS = {"synthetic": ("synthetic",), "ped2": ("UCSDped2", "ped2")}
OWNERS = {"ped2": "http://www.svcl.ucsd.edu/projects/anomaly/dataset.htm"}


class DataError(ValueError):
    """Something is wrong with the data as they lie on the disk. The text says what, where, and what to do."""


@dataclass(frozen=True)
class Source:
    """One clip in a raw data set: image files in order."""

    name: str
    split: str                        # "train" or "test"
    length: int                       # frames
    images: tuple[Path, ...] = ()
    masks: tuple[Path, ...] = ()      # one image a frame, or none
    labels: np.ndarray | None = None  # (length,) bool

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file whose content the prepared clip depends on."""
        return (*self.images, *self.masks)


@dataclass(frozen=True)
class Raw:
    """A raw data set that has been looked at."""

    dataset: str
    folder: Path
    layout: str                       # "UCSD"
    clips: tuple[Source, ...]         # training clips first, each split in natural order
    label_source: str                 # which file or files the labels come from
    missing: tuple[str, ...] = ()     # what an incomplete set lacks, in words
    tracks: Path | None = None        # a table of the objects' tracks

    def split(self, name: str) -> tuple[Source, ...]:
        return tuple(clip for clip in self.clips if clip.split == name)


# -- files and their names ---------------------------------------------------------------------------------------

def natural(path: Path) -> tuple:
    """Sort key: runs of digits count as numbers, so that 2 comes before 10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part.lower())
                 for part in re.split(r"(\d+)", path.name) if part)


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, in natural order, without the files that operating systems leave behind."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    found = sorted((path for path in folder.iterdir() if not JUNK.match(path.name)), key=natural)
    for path in found:
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path} is a symbolic link to {os.readlink(path)}, which does not exist.")
    return found


def number(path: Path) -> int:
    """The number at the end of a file's or folder's name: 7 for 007.tif, frame007.bmp, Test007 and Test007_gt."""
    digits = re.search(r"(\d+)(_gt)?$", path.stem if path.suffix.lower() in IMAGES else path.name)
    if digits is None:
        raise DataError(f"{path} has no number at the end of its name, so its place in the order is unknown.")
    return int(digits.group(1))


def check_numbers(numbers: list[int], what: str, allow_gaps: bool = False) -> tuple[str, ...]:
    """Numbers must count up by one from 0 or 1. Returns what is missing, or raises DataError that names it."""
    for before, after in zip(numbers, numbers[1:]):
        if after == before:
            raise DataError(f"{what}: number {after} is there twice.")
    expected = range(0 if numbers[0] == 0 else 1, numbers[-1] + 1)
    gaps = sorted(set(expected) - set(numbers))
    if gaps and not allow_gaps:
        listed = ", ".join(map(str, gaps[:5])) + (f" and {len(gaps) - 5} more" if len(gaps) > 5 else "")
        raise DataError(f"{what}: the numbering runs from {numbers[0]} to {numbers[-1]} but {listed} "
                        f"{'is' if len(gaps) == 1 else 'are'} missing. Unpack the archive again.")
    return tuple(f"{what}: number {gap} is missing" for gap in gaps)


def image_files(folder: Path) -> tuple[Path, ...]:
    """The images in a folder by their numbers. DataError if there are none, or if a number is missing or doubled."""
    files = sorted((path for path in entries(folder) if path.suffix.lower() in IMAGES), key=number)
    if not files:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(IMAGES))}). Unpack the archive again.")
    check_numbers([number(path) for path in files], str(folder))
    return tuple(files)


# -- decoding ----------------------------------------------------------------------------------------------------

def decode(data: bytes, path: Path) -> np.ndarray:
    """One image from a file's content -> (H, W) or (H, W, 3) BGR uint8. DataError if it is cut off or unreadable."""
    # libjpeg fills what is missing with grey and says nothing. Inside the coded data 0xFF is always escaped, so the
    # last "start of scan" must be followed by an "end of image".
    cut = data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    image = None if cut or not data else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR)
    if image is None:
        raise DataError(f"{path} ({len(data)} bytes) cannot be decoded: it is cut off or no image. "
                        "Unpack or download the archive again.")
    return image


def read_image(path: Path) -> np.ndarray:
    """One image file -> (H, W) or (H, W, 3) BGR uint8."""
    return decode(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """A file's content; DataError instead of the operating system's error."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def read_frames(clip: Source) -> Iterator[tuple[np.ndarray, bytes]]:
    """The frames of a clip in order, each with the bytes of the file that it came from."""
    for path in clip.images:
        data = read_bytes(path)
        yield decode(data, path), data


def read_masks(clip: Source) -> Iterator[np.ndarray]:
    """The masks of a clip in order: (H, W) bool, True where abnormal."""
    for path in clip.masks:
        image = read_image(path)
        yield (image if image.ndim == 2 else image.max(axis=2)) > 0


# -- finding a data set ------------------------------------------------------------------------------------------

def looks_ucsd(folder: Path) -> bool:
    return (folder / "Train").is_dir() and (folder / "Test").is_dir()


def looks_like_a_set(folder: Path) -> bool:
    return looks_ucsd(folder)


def find_raw(dataset: str, data_root: Path) -> Path:
    """The folder of a data set below `data_root`, official archive folder or not, at most three levels deep.

    Raises DataError that says what is there, what is missing, and where to get it.
    """
    data_root = Path(data_root)
    names = {name.lower() for name in FOLDERS[dataset]}
    level, seen = [data_root], []
    for _ in range(4):
        for folder in level:
            if folder.name.lower() in names:
                if looks_like_a_set(folder):
                    return folder
                seen.append(folder)
        level = [path for folder in level if folder.is_dir() for path in entries(folder)
                 if path.is_dir() and (not looks_like_a_set(folder) or folder == data_root)]
    if not data_root.is_dir():
        there = f"there is no folder {data_root}"
    elif seen:
        there = f"{seen[0]} is there but is not laid out as expected (it needs Train/ and Test/)"
    else:
        there = f"{data_root} holds {', '.join(path.name for path in entries(data_root)[:8]) or 'nothing'}"
    if dataset == "synthetic":
        raise DataError(f"The generated data set is missing: {there}. Run ./run_all.sh, which generates it.")
    raise DataError(f"{dataset} was not found: {there}, and no folder named {' or '.join(FOLDERS[dataset])}. "
                    f"Get it with ./run_all.sh --fetch {dataset}, or from {OWNERS[dataset]} by hand.")


# -- UCSD: Train/TrainNNN/NNN.tif, Test/TestNNN/NNN.tif, Test/TestNNN_gt/NNN.bmp, Test/*.m -----------------------

def read_m_file(path: Path) -> list[list[tuple[int, int]]]:
    """The labels of UCSD: for each test clip its abnormal ranges, as (first, last), 1-based and inclusive."""
    text = re.sub(r"%.*", "", read_bytes(path).decode("utf-8", errors="replace"))
    clips = []
    for line in re.findall(r"gt_frame\s*=\s*\[([^\]]*)\]", text):
        parts = [part for part in re.split(r"[,;\s]+", line.strip()) if part]
        ranges = [re.fullmatch(r"(\d+)(?::(\d+))?", part) for part in parts]
        if None in ranges:
            raise DataError(f"{path}: '{line}' is not a list of ranges such as 61:180.")
        clips.append([(int(found[1]), int(found[2] or found[1])) for found in ranges])
    if not clips:
        raise DataError(f"{path} holds no line such as TestVideoFile{{end+1}}.gt_frame = [61:180];")
    return clips


def labels_from_ranges(ranges: list[tuple[int, int]], length: int, what: str) -> np.ndarray:
    """1-based inclusive ranges -> (length,) bool."""
    labels = np.zeros(length, bool)
    for first, last in ranges:
        if not 1 <= first <= last <= length:
            raise DataError(f"{what}: the labels name frames {first} to {last}, but the clip has {length} frames.")
        labels[first - 1:last] = True
    return labels


def ucsd_masks(clip: Source, size: tuple[int, int]) -> tuple[Source, str]:
    """Adds the masks of a test clip if it has any, checked against its frames and labels. Also says how they differ."""
    folder = clip.images[0].parent.parent / f"{clip.name}_gt"
    if not folder.is_dir():
        return clip, ""
    masks = tuple(path for path in image_files(folder))
    if len(masks) != clip.length:
        raise DataError(f"{folder} has {len(masks)} masks, but clip {clip.name} has {clip.length} frames.")
    clip = replace(clip, masks=masks)
    abnormal = np.zeros(clip.length, bool)
    for index, mask in enumerate(read_masks(clip)):
        if mask.shape != size:
            raise DataError(f"{masks[index]} is {mask.shape[0]}x{mask.shape[1]} pixels (height x width), "
                            f"but the frames are {size[0]}x{size[1]}.")
        abnormal[index] = mask.any()
    if clip.labels is None:
        return replace(clip, labels=abnormal), ""
    differing = np.flatnonzero(abnormal != clip.labels)
    if differing.size:
        return clip, (f"{clip.name}: {differing.size} frames (first: {differing[0] + 1}), "
                      f"{abnormal.sum()} abnormal by mask, {clip.labels.sum()} by label")
    return clip, ""


def read_ucsd(dataset: str, folder: Path, subset: bool) -> Raw:
    """UCSD Ped1, Ped2, and the generated data set."""
    missing: list[str] = []
    clips: list[Source] = []
    for split, top in (("train", "Train"), ("test", "Test")):
        folders = [path for path in entries(folder / top)
                   if path.is_dir() and re.fullmatch(rf"(?i){top}\d+", path.name)]
        if not folders:
            raise DataError(f"{folder / top} holds no clips ({top}001, {top}002, ...).")
        missing += check_numbers([number(path) for path in folders], str(folder / top), allow_gaps=subset)
        for path in folders:
            images = image_files(path)
            clips.append(Source(name=path.name, split=split, length=len(images), images=images))
    size = read_image(clips[0].images[0]).shape[:2]

    label_files = [path for path in entries(folder / "Test") if path.suffix.lower() == ".m"]
    if len(label_files) > 1:
        raise DataError(f"{folder / 'Test'} has several label files: {', '.join(path.name for path in label_files)}.")
    if not label_files and not subset:
        raise DataError(f"{folder / 'Test'} has no label file (UCSDped2.m or another .m). Unpack the archive again.")
    ranges = read_m_file(label_files[0]) if label_files else None
    if ranges is None:
        missing.append("label file Test/*.m; labels come from the masks")

    differences: list[str] = []
    for index, clip in enumerate(clips):
        if clip.split == "train":
            continue
        if ranges is not None:
            position = number(clip.images[0].parent)
            if position > len(ranges):
                raise DataError(f"{label_files[0]} labels {len(ranges)} clips, so {clip.name} has no label.")
            labels = labels_from_ranges(ranges[position - 1], clip.length, f"{label_files[0]}, clip {clip.name}")
            clip = replace(clip, labels=labels)
        clips[index], difference = ucsd_masks(clip, size)
        if clips[index].labels is None:
            raise DataError(f"Test clip {clip.name} has neither labels nor masks.")
        differences += [difference] if difference else []
    if differences:
        raise DataError(f"{folder}: masks and {label_files[0].name} disagree. " + "; ".join(differences))
    test = [clip for clip in clips if clip.split == "test"]
    if ranges is not None and number(test[-1].images[0].parent) < len(ranges):
        missing.append(f"{folder / 'Test'}: {label_files[0].name} labels {len(ranges)} clips, "
                       f"the last one here is {test[-1].name}")
    tracks = folder / "Test" / "tracks.csv"
    return Raw(dataset=dataset, folder=folder, layout="UCSD", clips=tuple(clips), missing=tuple(missing),
               label_source=label_files[0].name if label_files else "masks",
               tracks=tracks if tracks.is_file() else None)


# -- all sets ----------------------------------------------------------------------------------------------------

def compare_with_known(raw: Raw) -> tuple[str, ...]:
    """What differs from the official release, one sentence each; nothing for a set without known counts."""
    known = KNOWN.get(raw.dataset)
    if known is None:
        return ()
    train, test = raw.split("train"), raw.split("test")
    found = []
    frames = sum(clip.length for clip in train)
    if (len(train), frames) != (known["train_clips"], known["train_frames"]):
        found.append(f"training: {len(train)} clips with {frames} frames instead of "
                     f"{known['train_clips']} with {known['train_frames']}")
    lengths = dict(enumerate(known["test_lengths"], start=1))
    for clip in test:
        expected = lengths.pop(number(Path(clip.name)), 0)
        if clip.length != expected:
            found.append(f"test clip {clip.name}: {clip.length} frames instead of {expected}")
    found += [f"test clip number {index} is missing ({length} frames)" for index, length in lengths.items()]
    abnormal = sum(int(clip.labels.sum()) for clip in test)
    frames = sum(clip.length for clip in test)
    if (frames, abnormal) != (known["test_frames"], known["abnormal"]):
        found.append(f"test: {abnormal} of {frames} frames abnormal instead of "
                     f"{known['abnormal']} of {known['test_frames']}")
    return tuple(found)


def read(*, dataset: str, raw: Path, avenue_labels: str, subset: bool) -> Raw:
    """Looks at a raw data set.

    Raises DataError where something is wrong with it. What an incomplete set lacks is an error too unless `subset`;
    then it stands in `Raw.missing`.
    """
    found = read_ucsd(dataset, Path(raw), subset)
    missing = found.missing + compare_with_known(found)
    if missing and not subset:
        raise DataError(f"{raw} is not complete: {'; '.join(missing)}. Get the whole set, or accept a part of it with "
                        "--set data.subset=true; every number made from it will then say 'subset'.")
    return replace(found, missing=missing)
