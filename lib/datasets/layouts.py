"""Inspecting a raw data set: its clips, labels and masks, and how it compares with the official release.

Three layouts are recognised by their folders:

    UCSD     Train/Train001/001.tif, Test/Test001/001.tif, Test/Test001_gt/001.bmp, Test/*.m
             (and Test/tracks.csv)
    Avenue   training_videos/01.avi, testing_videos/01.avi, ground_truth_demo/testing_label_mask/1_label.mat
    folders  {training,testing}/frames/NN/000.jpg or {training,testing}/videos/NN.avi: ShanghaiTech's own
             layout, and that of most repositories since Liu et al. 2018, with several kinds of label files

Nothing is decoded or written here, except to count frames and check masks: `preparation.prepare` does that.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.datasets.contents import Digests, files_below, state
from lib.datasets.decoding import load_npy, mask_volume, read_frames, read_masks, read_mat
from lib.datasets.files import (
    AGAIN,
    Source,
    check_numbers,
    entries,
    image_files,
    listing,
    missing_numbers,
    number,
    read_bytes,
    video_files,
)
from lib.datasets.videos import count_frames
from lib.errors import DataError
from lib.paths import AVENUE_INTERVALS

# The official releases: frames of each clip in the order of their numbers, or only totals for ShanghaiTech.
KNOWN = {
    "ped1": {"train": (200,) * 34, "test": (200,) * 36},
    "ped2": {
        "train": (120, 150, 150, 180, 180, 150, 150, 120, 180, 180, 180, 180, 180, 150, 150, 150),
        "test": (180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180),
        "abnormal": {"masks": 1648, "intervals": 1648},
    },
    "avenue": {
        "train": (1364, 1511, 1487, 1511, 815, 1511, 1099, 1017, 1391, 1223, 781, 145, 366, 510, 353, 244),
        "test": (
            1439,
            1211,
            923,
            947,
            1007,
            1283,
            605,
            36,
            1175,
            841,
            472,
            1271,
            549,
            507,
            1001,
            740,
            426,
            294,
            248,
            273,
            76,
        ),
        "abnormal": {"masks": 3712, "intervals": 3867},
    },
    # Decoders differ by a few frames on its training videos, so their total may differ by half a per cent; a
    # set of sampled frames is still noticed.
    "shanghaitech": {
        "train_clips": 330,
        "train_frames": 274_515,
        "test_clips": 107,
        "test_frames": 40_791,
        "abnormal": {"masks": 17_326, "intervals": 17_326},
    },
}
SHORTEST = 20  # times shorter than the mean: such a clip has lost most of its frames
FOLDERS = {
    "synthetic": ("synthetic",),
    "ped1": ("UCSDped1", "ped1"),
    "ped2": ("UCSDped2", "ped2"),
    "avenue": ("Avenue Dataset", "Avenue_Dataset", "avenue"),
    "shanghaitech": ("shanghaitech",),
}
OWNERS = {
    "ped1": "http://www.svcl.ucsd.edu/projects/anomaly/dataset.htm",
    "ped2": "http://www.svcl.ucsd.edu/projects/anomaly/dataset.htm",
    "avenue": "http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal/dataset.html",
    "shanghaitech": "https://svip-lab.github.io/dataset/campus_dataset.html",
}


@dataclass(frozen=True)
class Raw:
    """A raw data set after inspection."""

    dataset: str
    folder: Path
    layout: str  # "UCSD", "Avenue" or "folders"
    clips: tuple[Source, ...]  # training clips first, each split in natural order
    size: tuple[int, int]  # height and width of its frames
    label_files: tuple[Path, ...] = ()  # files of the labels; none if the labels come from the masks
    missing: tuple[str, ...] = ()  # what an incomplete set lacks, as sentences
    passed_over: tuple[str, ...] = ()  # files there that are not used, as sentences
    tracks: Path | None = None  # a table of the objects' tracks

    def split(self, name: str) -> tuple[Source, ...]:
        return tuple(clip for clip in self.clips if clip.split == name)


class Looker:
    """Stores what was found out about large files: the frames of a video, the abnormal frames of a mask file.

    `memory` is plain JSON, keyed by name and content of the file; the caller may save it and pass it in
    again.
    """

    def __init__(self, memory: dict, progress: Callable[[str], None], digests: Digests | None = None):
        self.memory, self.progress, self.digests = memory, progress, digests or Digests()

    def remembered(self, path: Path, find: Callable):
        key = f"{path.parent.name}/{path.name} {self.digests.of(path)}"
        if key not in self.memory:
            self.progress(f"looking at {path.parent.name}/{path.name}")
            self.memory[key] = find(path)
        return self.memory[key]

    def frames(self, video: Path) -> int:
        return self.remembered(video, count_frames)

    def masks(self, volume: Path) -> dict:
        """{"size": [H, W], "abnormal": "0011..."}, one digit per frame."""
        return self.remembered(volume, look_at_masks)


def look_at_masks(path: Path) -> dict:
    size, abnormal = None, []
    for index, mask in enumerate(mask_volume(path)):
        size = size or list(mask.shape)
        if list(mask.shape) != size:
            raise DataError(
                f"{path}: mask {index + 1} is {shape_text(mask.shape)}, the first one "
                f"{shape_text(size)}. {AGAIN}"
            )
        abnormal.append("1" if mask.any() else "0")
    if size is None or len(size) != 2:
        raise DataError(f"{path} does not hold one mask (height x width) for each frame. {AGAIN}")
    return {"size": size, "abnormal": "".join(abnormal)}


def shape_text(shape) -> str:
    return f"{shape[0]}x{shape[1]} pixels (height x width)" if len(shape) == 2 else f"of shape {tuple(shape)}"


# -- finding a data set --------------------------------------------------------------------------------------


def looks_ucsd(folder: Path) -> bool:
    """Train/ or Test/ with clips. One is enough, so that an error can name what is missing, and for a
    subset."""
    return any(
        re.fullmatch(rf"(?i){top}\d+", path.name)
        for top in ("Train", "Test")
        for path in subfolders(folder / top)
    ) or ((folder / "Train").is_dir() and (folder / "Test").is_dir())


def looks_avenue(folder: Path) -> bool:
    return (folder / "training_videos").is_dir() or (folder / "testing_videos").is_dir()


def looks_folders(folder: Path) -> bool:
    return any(
        (folder / split / kind).is_dir() for split in ("training", "testing") for kind in ("frames", "videos")
    )


def looks_like_a_set(folder: Path) -> bool:
    return looks_ucsd(folder) or looks_avenue(folder) or looks_folders(folder)


def find_raw(dataset: str, data_root: Path) -> Path:
    """The folder of a data set, at most three levels below `data_root`, by the names of its official folders.

    Raises DataError that says what is there, what is missing, and where to get it.
    """
    data_root = Path(data_root)
    names = {name.lower() for name in FOLDERS[dataset]}
    level, seen, sets = [data_root], [], {}
    for _ in range(4):
        for folder in level:
            if folder.name.lower() in names and looks_like_a_set(folder):
                sets.setdefault(folder.resolve(), folder)
            seen += [folder] if folder.name.lower() in names else []
        level = [
            below
            for folder in level
            if folder == data_root or not looks_like_a_set(folder)
            for below in subfolders(folder)
        ]
    if len(sets) > 1:
        raise DataError(
            f"{dataset} is there more than once: {listing(sets.values())}. Take all but one away, or name "
            "the folder of one with --data-root."
        )
    if sets:
        return next(iter(sets.values()))
    if not data_root.is_dir():
        there = f"there is no folder {data_root}"
    elif seen:
        there = (
            f"{seen[-1]} is there, but it has neither Train/ and Test/, nor training_videos/ or "
            "testing_videos/, nor training/ or testing/ with frames/ or videos/ in them"
        )
    else:
        names = [path.name for path in sorted(data_root.iterdir())]
        there = (
            f"{data_root} holds {listing(names) or 'nothing'}, but no folder named "
            f"{' or '.join(FOLDERS[dataset])}"
        )
    if dataset == "synthetic":
        raise DataError(f"The generated data set was not found: {there}. ./run_all.sh generates it.")
    raise DataError(
        f"{dataset} was not found: {there}. Get it with ./run_all.sh --fetch {dataset}, or by hand from "
        f"{OWNERS[dataset]} (data/README.md says how it must lie)."
    )


def raw_state(dataset: str, folder: Path, digests: Digests) -> list:
    """Plain data that change when anything of a raw data set does: its folder, or labels that may be beside
    it."""
    beside = [folder.parent / name for name in mask_folders()] if dataset == "avenue" else []
    labels = [folder.parent / name for name in label_names(dataset)] if looks_folders(folder) else []
    return state(
        [folder, *(path for path in beside if path.is_dir())],
        [path for path in labels if path.is_file()],
        digests,
    )


def mask_folders() -> tuple[str, ...]:
    """Where Avenue's masks can be, in the set's folder or beside it."""
    return "ground_truth_demo/testing_label_mask", "testing_label_mask"


def label_names(dataset: str) -> tuple[str, ...]:
    """The label files of the community's layout, in the set's folder, in testing/ or beside it."""
    return f"{dataset}.mat", f"frame_labels_{dataset}.npy", f"{dataset}.npy", f"UCSD{dataset}.m"


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder; none if it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


# -- labels --------------------------------------------------------------------------------------------------


def read_m_file(path: Path) -> list[list[tuple[int, int]]]:
    """UCSD's labels: the abnormal ranges (first, last) of each test clip, 1-based and inclusive."""
    text = re.sub(r"%.*", "", read_bytes(path).decode("utf-8", errors="replace"))
    clips = []
    for given, line in re.findall(r"(?:\{\s*(\d+)\s*\}\s*\.\s*)?gt_frame\s*=\s*\[([^\]]*)\]", text):
        if given and int(given) != len(clips) + 1:
            raise DataError(
                f"{path}: entry {len(clips) + 1} calls itself {given}. The entries must be in order."
            )
        ranges = [
            re.fullmatch(r"(\d+)(?::(\d+))?", part) for part in re.split(r"[,;\s]+", line.strip()) if part
        ]
        if None in ranges:
            raise DataError(f"{path}: '{line}' is not a list of ranges such as 61:180. {AGAIN}")
        clips.append([(int(found[1]), int(found[2] or found[1])) for found in ranges])
    if not clips:
        raise DataError(f"{path} holds no line such as TestVideoFile{{end+1}}.gt_frame = [61:180]; {AGAIN}")
    return clips


def read_gt_mat(path: Path) -> list[list[tuple[int, int]]]:
    """The community's ped2.mat or avenue.mat: `gt`, for each clip a 2 x k array of first and last frames,
    1-based."""
    clips = []
    for position, entry in enumerate(read_mat(path, "gt").ravel(), start=1):
        ranges = np.asarray(entry)
        here = f"{path}: clip {position}"
        if ranges.size and ranges.dtype.kind not in "iuf":
            raise DataError(f"{here} has labels that are no numbers.")
        if ranges.dtype.kind == "f" and not np.array_equal(ranges, np.trunc(ranges)):
            raise DataError(f"{here} has labels that are no whole numbers. They are first and last frames.")
        ranges = ranges.reshape(2, -1) if ranges.size == 2 else ranges
        if ranges.size and (ranges.ndim != 2 or ranges.shape[0] != 2):
            raise DataError(f"{here} has labels of shape {ranges.shape}, expected (2, ranges).")
        pairs = [(int(first), int(last)) for first, last in ranges.T] if ranges.size else []
        check_order(pairs, here)
        clips.append(pairs)
    return clips


def check_order(ranges: list[tuple[int, int]], here: str) -> None:
    """Raise DataError if ranges overlap or go backwards, as in a transposed array."""
    for before, after in zip(ranges, ranges[1:], strict=False):
        if after[0] <= before[1]:
            raise DataError(
                f"{here} is labelled from frame {before[0]} to {before[1]} and from {after[0]} to "
                f"{after[1]}, which overlap or go backwards. Firsts belong into the first row of the array, "
                "lasts into the second."
            )


def read_interval_table() -> list[list[tuple[int, int]]]:
    """The Avenue intervals that come with the kit, in the form of `read_gt_mat`."""
    clips: list[list[tuple[int, int]]] = [[] for _ in KNOWN["avenue"]["test"]]
    with open(AVENUE_INTERVALS, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            clips[int(row["clip"]) - 1].append((int(row["first"]), int(row["last"])))
    return clips


def label_by_ranges(clips: list[Source], ranges: list[list[tuple[int, int]]], path: Path) -> list[Source]:
    """Labels from ranges; the clip with number k gets the k-th entry."""
    labelled, taken = [], {}
    for clip in clips:
        position = number(Path(clip.name))
        if position in taken:
            raise DataError(
                f"Test clips {taken[position]} and {clip.name} both have number {position}, so both would "
                f"take entry {position} of {path}. Rename one, or take it away."
            )
        taken[position] = clip.name
        if not 1 <= position <= len(ranges):
            raise DataError(f"{path} labels clips 1 to {len(ranges)}, so test clip {clip.name} has no label.")
        labels = np.zeros(clip.length, bool)
        for first, last in ranges[position - 1]:
            if not 1 <= first <= last <= clip.length:
                raise DataError(
                    f"{path}: clip {clip.name} is labelled abnormal from frame {first} to {last}, but it "
                    f"has {clip.length} frames. {AGAIN}"
                )
            labels[first - 1 : last] = True
        labelled.append(replace(clip, labels=labels))
    return labelled


def label_by_arrays(clips: list[Source], folder: Path) -> list[Source]:
    """ShanghaiTech's test_frame_mask/SS_CCCC.npy, one 0 or 1 for each frame."""
    labelled = []
    for clip in clips:
        path = folder / f"{clip.name}.npy"
        if not path.is_file():
            raise DataError(f"Test clip {clip.name} has no label: there is no {path}. {AGAIN}")
        labels = zeros_and_ones(path)
        if len(labels) != clip.length:
            raise DataError(
                f"{path} labels {len(labels)} frames, but test clip {clip.name} has {clip.length}. {AGAIN}"
            )
        labelled.append(replace(clip, labels=labels.astype(bool)))
    return labelled


def label_by_flat_array(clips: list[Source], path: Path) -> list[Source]:
    """frame_labels_ped2.npy and similar: one 0 or 1 for each frame of all test clips, in order."""
    labels = zeros_and_ones(path)
    if len(labels) != sum(clip.length for clip in clips):
        raise DataError(
            f"{path} labels {len(labels)} frames, but the test clips have "
            f"{sum(clip.length for clip in clips)} in all. It needs every clip of the set."
        )
    ends = np.cumsum([clip.length for clip in clips])[:-1]
    return [replace(clip, labels=part > 0) for clip, part in zip(clips, np.split(labels, ends))]


def zeros_and_ones(path: Path) -> np.ndarray:
    """The labels in an .npy file, (n,): one 0 or 1 for each frame, in a row or a column. Raises DataError
    otherwise."""
    labels = np.asarray(load_npy(path))
    if labels.size != max(labels.shape, default=0):
        raise DataError(f"{path} is of shape {labels.shape}; labels are one 0 or 1 for each frame.")
    labels = labels.ravel()
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        odd = "" if labels.dtype.kind not in "iuf" else f", such as {labels[~np.isin(labels, (0, 1))][0]}"
        raise DataError(f"{path} holds other values than 0 and 1{odd}. These are not the labels of frames.")
    return labels


def with_masks(
    clip: Source, masks: tuple[Path, ...], size: tuple[int, int], look: Looker
) -> tuple[Source, np.ndarray]:
    """A test clip with its masks, checked against its frames, and which of its frames have an abnormal pixel,
    (n,)."""
    if masks[0].suffix.lower() in (".mat", ".npy"):
        found = look.masks(masks[0])
        mask_sizes, abnormal = (
            [tuple(found["size"])],
            np.array([digit == "1" for digit in found["abnormal"]], bool),
        )
        names = [masks[0]]
    else:
        looks = [(mask.shape, mask.any()) for mask in read_masks(replace(clip, masks=masks))]
        mask_sizes, abnormal = [size for size, _ in looks], np.array([has_any for _, has_any in looks])
        names = list(masks)
    if len(abnormal) != clip.length:
        where = masks[0] if len(masks) == 1 else masks[0].parent
        raise DataError(
            f"{where} has {len(abnormal)} masks, but test clip {clip.name} has {clip.length} frames. {AGAIN}"
        )
    for name, mask_size in zip(names, mask_sizes):
        if mask_size != size:
            raise DataError(
                f"{name} is {shape_text(mask_size)}, but the frames are {shape_text(size)}. {AGAIN}"
            )
    return replace(clip, masks=masks), abnormal


def frame_size(clips: list[Source]) -> tuple[int, int]:
    """Height and width of the set's first frame, which every other frame and mask must have."""
    return next(read_frames(clips[0])).shape[:2]


# -- UCSD ----------------------------------------------------------------------------------------------------


def read_ucsd(dataset: str, folder: Path, subset: bool, look: Looker) -> Raw:
    """UCSD Ped1, Ped2, and the generated data set. Labels come from the .m file; masks, if there are any,
    must agree."""
    missing: list[str] = []
    clips: dict[str, list[Source]] = {}
    for split, top in (("train", "Train"), ("test", "Test")):
        if not (folder / top).is_dir():
            clips[split] = []
            missing.append(f"the folder {top}/ is missing")
            continue
        folders = [
            path
            for path in entries(folder / top)
            if path.is_dir() and re.fullmatch(rf"(?i){top}\d+", path.name)
        ]
        if not folders:
            raise DataError(f"{folder / top} holds no clips ({top}001, {top}002, ...). {AGAIN}")
        numbers = [number(path) for path in folders]
        if subset:
            missing += [f"{split} clip {top}{gap:03d} is missing" for gap in missing_numbers(numbers)]
        else:
            check_numbers(numbers, str(folder / top))
        found = [(path, image_files(path)) for path in folders]
        clips[split] = [
            Source(name=path.name, split=split, length=len(images), images=images) for path, images in found
        ]
    size = frame_size(clips["train"] + clips["test"])
    if not clips["test"]:
        return Raw(
            dataset=dataset,
            folder=folder,
            layout="UCSD",
            clips=tuple(clips["train"]),
            size=size,
            missing=tuple(missing),
        )

    label_files = tuple(path for path in entries(folder / "Test") if path.suffix.lower() == ".m")
    if len(label_files) > 1:
        raise DataError(
            f"{folder / 'Test'} has several label files ({listing(path.name for path in label_files)}): "
            "leave the right one there."
        )
    if label_files:
        ranges = read_m_file(label_files[0])
        clips["test"] = label_by_ranges(clips["test"], ranges, label_files[0])
        last = number(Path(clips["test"][-1].name))
        missing += [
            f"test clip Test{position:03d} is missing, {label_files[0].name} labels it"
            for position in range(last + 1, len(ranges) + 1)
        ]
    elif subset:
        missing.append("the label file Test/*.m is missing; labels are those of the masks")
    else:
        raise DataError(f"{folder / 'Test'} has no label file (such as UCSDped2.m). {AGAIN}")

    differences = []
    for index, clip in enumerate(clips["test"]):
        gt = folder / "Test" / f"{clip.name}_gt"
        if gt.is_dir():
            clip, abnormal = with_masks(clip, image_files(gt), size, look)
            clip = clip if clip.labels is not None else replace(clip, labels=abnormal)
            clips["test"][index] = clip
            differing = np.flatnonzero(abnormal != clip.labels)
            if differing.size:
                differences.append(
                    f"{clip.name}: {differing.size} frames, the first is frame {differing[0] + 1} "
                    f"({abnormal.sum()} abnormal by mask, {clip.labels.sum()} by label)"
                )
        elif clip.labels is None:
            raise DataError(f"Test clip {clip.name} has neither labels nor masks. {AGAIN}")
    if differences:
        raise DataError(
            f"{folder}: the masks and {label_files[0].name} disagree. {'; '.join(differences)}. {AGAIN}"
        )
    tracks = folder / "Test" / "tracks.csv"
    return Raw(
        dataset=dataset,
        folder=folder,
        layout="UCSD",
        clips=tuple(clips["train"] + clips["test"]),
        size=size,
        label_files=label_files,
        missing=tuple(missing),
        tracks=tracks if tracks.is_file() else None,
    )


# -- Avenue --------------------------------------------------------------------------------------------------


def read_avenue(dataset: str, folder: Path, avenue_labels: str, look: Looker) -> Raw:
    """CUHK Avenue as published: videos, with the masks of ground_truth_demo in the folder or beside it."""
    clips = {}
    for split, top in (("train", "training_videos"), ("test", "testing_videos")):
        videos = video_files(folder / top) if (folder / top).is_dir() else ()
        clips[split] = [
            Source(name=path.stem, split=split, length=look.frames(path), video=path)
            for path in sorted(videos, key=number)
        ]
    if not clips["train"] + clips["test"]:
        raise DataError(f"{folder} holds no videos (avi, mp4, mkv and what else FFmpeg decodes). {AGAIN}")
    size = frame_size(clips["train"] + clips["test"])
    test, label_files = label_avenue(clips["test"], folder, avenue_labels, size, look)
    return Raw(
        dataset=dataset,
        folder=folder,
        layout="Avenue",
        clips=tuple(clips["train"] + test),
        size=size,
        label_files=label_files,
    )


def label_avenue(
    test: list[Source], folder: Path, avenue_labels: str, size: tuple[int, int], look: Looker
) -> tuple[list[Source], tuple[Path, ...]]:
    """Labels of Avenue, from the official masks or the intervals; with the masks in both cases if they
    exist."""
    places = [place / below for place in (folder, folder.parent) for below in mask_folders()]
    masks = next((place for place in places if place.is_dir()), None)
    if masks is None and avenue_labels == "masks" and test:
        raise DataError(
            f"Avenue's masks are missing: there is no {places[0]} and no {places[2]}. Unpack "
            "ground_truth_demo.zip there (./run_all.sh --fetch avenue does it), or take the intervals of "
            "Hasan et al., which come with the kit: --set data.avenue_labels=intervals"
        )
    by_number: dict[int, Path] = {}
    for path in entries(masks) if masks else []:
        if path.suffix == ".mat":
            other = by_number.setdefault(number(path), path)
            if other != path:
                raise DataError(
                    f"{masks} has two mask files of number {number(path)}: {other.name} and {path.name}."
                )
    for index, clip in enumerate(test):
        path = by_number.get(number(Path(clip.name)))
        if path is None and avenue_labels == "masks":
            raise DataError(
                f"Test clip {clip.name} has no mask file: there is no "
                f"{masks / str(number(Path(clip.name)))}_label.mat. {AGAIN}"
            )
        if path is not None:
            clip, abnormal = with_masks(clip, (path,), size, look)
            test[index] = replace(clip, labels=abnormal)
    if avenue_labels == "masks":
        return test, ()
    own = folder / "avenue.mat"
    ranges = read_gt_mat(own) if own.is_file() else read_interval_table()
    path = own if own.is_file() else AVENUE_INTERVALS
    return label_by_ranges(test, ranges, path), (path,)


# -- folders: ShanghaiTech's own layout, and the community's for all sets ------------------------------------


def read_folders(dataset: str, folder: Path, avenue_labels: str, look: Looker) -> Raw:
    """{training,testing}/frames/<clip>/<number>.jpg or {training,testing}/videos/<clip>.avi."""
    clips = {}
    for split, top in (("train", "training"), ("test", "testing")):
        clips[split] = []
        if (folder / top / "frames").is_dir():
            for path in entries(folder / top / "frames"):
                if path.is_dir():
                    images = image_files(path)
                    clips[split].append(
                        Source(name=path.name, split=split, length=len(images), images=images)
                    )
        if not clips[split] and (folder / top / "videos").is_dir():
            clips[split] = [
                Source(name=path.stem, split=split, length=look.frames(path), video=path)
                for path in video_files(folder / top / "videos")
            ]
    if not clips["train"] + clips["test"]:
        raise DataError(f"{folder} holds no clips in training/ or testing/, frames/ or videos/. {AGAIN}")
    size = frame_size(clips["train"] + clips["test"])
    if not clips["test"]:
        return Raw(dataset=dataset, folder=folder, layout="folders", clips=tuple(clips["train"]), size=size)
    if dataset == "avenue":
        test, label_files = label_avenue(clips["test"], folder, avenue_labels, size, look)
    else:
        test, label_files = label_folders(dataset, clips["test"], folder)
    pixel_masks = folder / "testing" / "test_pixel_mask"
    if pixel_masks.is_dir():
        for index, clip in enumerate(test):
            path = pixel_masks / f"{clip.name}.npy"
            if path.is_file():
                try:
                    test[index], _ = with_masks(clip, (path,), size, look)
                except DataError as error:
                    raise DataError(
                        f"{error} Or take {pixel_masks} away: the labels do not need it."
                    ) from error
    labelled = {path.stem for path in label_files} if len(label_files) > 1 else set()
    lacking = sorted(labelled - {clip.name for clip in test})
    missing = (
        (
            f"{len(lacking)} of {len(labelled)} test clips that have labels are missing: "
            f"{listing(lacking, most=len(lacking))}",
        )
        if lacking
        else ()
    )
    return Raw(
        dataset=dataset,
        folder=folder,
        layout="folders",
        clips=tuple(clips["train"] + test),
        size=size,
        label_files=label_files,
        missing=missing,
    )


def label_folders(dataset: str, test: list[Source], folder: Path) -> tuple[list[Source], tuple[Path, ...]]:
    """Labels in any of the known forms: per-clip arrays, a `gt` .mat, a flat array, or UCSD's .m file."""
    for place in (folder / "testing" / "test_frame_mask", folder / "test_frame_mask"):
        if place.is_dir():
            files = tuple(path for path in entries(place) if path.suffix == ".npy")
            return label_by_arrays(test, place), files
    for place in (folder, folder.parent, folder / "testing"):
        for name in label_names(dataset):
            path = place / name
            if path.is_file() and path.suffix == ".npy":
                return label_by_flat_array(test, path), (path,)
            if path.is_file():
                ranges = read_gt_mat(path) if path.suffix == ".mat" else read_m_file(path)
                return label_by_ranges(test, ranges, path), (path,)
    raise DataError(
        f"{folder} has no labels: put the folder test_frame_mask/ (one .npy a clip), {dataset}.mat, "
        f"frame_labels_{dataset}.npy or, for UCSD, UCSD{dataset}.m into it."
    )


# -- all sets ------------------------------------------------------------------------------------------------


def official_counts(dataset: str, avenue_labels: str) -> dict | None:
    """Clips, frames and abnormal frames of the official release; None for a set without one."""
    known = KNOWN.get(dataset)
    if known is None:
        return None
    counts = {
        split: {
            "clips": len(known[split]) if split in known else known[f"{split}_clips"],
            "frames": sum(known[split]) if split in known else known[f"{split}_frames"],
        }
        for split in ("train", "test")
    }
    if "abnormal" in known:
        counts["test"]["abnormal"] = known["abnormal"][avenue_labels]
    return counts


def compare_with_official(raw: Raw, avenue_labels: str) -> tuple[str, ...]:
    """The differences from the official release as sentences, clip by clip if the lengths are known."""
    official = official_counts(raw.dataset, avenue_labels)
    if official is None:
        return ()
    found = []
    for split in ("train", "test"):
        clips = raw.split(split)
        if split in KNOWN[raw.dataset]:
            lengths = dict(enumerate(KNOWN[raw.dataset][split], start=1))
            for clip in clips:
                expected = lengths.pop(number(Path(clip.name)), None)
                if expected is None:
                    found.append(f"{split} clip {clip.name} is not in the official release")
                elif clip.length != expected:
                    found.append(f"{split} clip {clip.name} has {clip.length} frames instead of {expected}")
            if lengths:
                found.append(
                    f"{len(lengths)} of {official[split]['clips']} {split} clips are missing: "
                    f"{listing(lengths, most=len(lengths))}"
                )
        else:
            frames, expected = sum(clip.length for clip in clips), official[split]["frames"]
            usual = expected / official[split]["clips"]
            found += [
                f"{split} clip {clip.name} has only {clip.length} frames, where the official ones have "
                f"{usual:.0f} on average"
                for clip in clips
                if clip.length < usual / SHORTEST
            ]
            tolerance = 0.005 * expected if split == "train" else 0
            if len(clips) != official[split]["clips"] or abs(frames - expected) > tolerance:
                found.append(
                    f"{split}: {len(clips)} clips with {frames} frames instead of "
                    f"{official[split]['clips']} with {expected}"
                )
    test = raw.split("test")
    if "abnormal" in official["test"] and all(clip.labels is not None for clip in test):
        abnormal, frames = sum(int(clip.labels.sum()) for clip in test), sum(clip.length for clip in test)
        if abnormal != official["test"]["abnormal"]:
            found.append(
                f"test: {abnormal} of {frames} frames are abnormal instead of "
                f"{official['test']['abnormal']} of {official['test']['frames']}"
            )
    return tuple(found)


def read(
    *,
    dataset: str,
    raw: Path,
    avenue_labels: str,
    subset: bool,
    memory: dict,
    progress: Callable[[str], None],
    digests: Digests | None = None,
) -> Raw:
    """Inspect a raw data set. `memory`: see `Looker`; `digests`: the known contents of files.

    Raises DataError if something is wrong with it. Differences from the official release are an error too,
    unless `subset`: then they are listed in `Raw.missing`.
    """
    folder, look = Path(raw), Looker(memory, progress, digests)
    if looks_ucsd(folder):
        found = read_ucsd(dataset, folder, subset, look)
    elif looks_avenue(folder):
        found = read_avenue(dataset, folder, avenue_labels, look)
    elif looks_folders(folder):
        found = read_folders(dataset, folder, avenue_labels, look)
    else:
        raise DataError(
            f"{folder} is not laid out as a data set: it needs Train/ and Test/, or training_videos/ and "
            "testing_videos/, or training/ and testing/ with frames/ in them (data/README.md)."
        )
    missing = found.missing + compare_with_official(found, avenue_labels)
    if not found.split("train") and not any("train" in sentence for sentence in missing):
        missing += ("there are no training clips",)
    if not found.split("test") and not any("test" in sentence for sentence in missing):
        missing += ("there are no test clips",)
    if missing and not subset:
        short = "; ".join(
            sentence if len(sentence) < 160 else sentence[:150] + " ..." for sentence in missing[:8]
        )
        more = f"; and {len(missing) - 8} more differences" if len(missing) > 8 else ""
        raise DataError(
            f"{folder} is not the whole {dataset} data set: {short}{more}. Get the whole set, or accept "
            "a part of it with --set data.subset=true; every number made from it then says 'subset'."
        )
    return replace(found, missing=missing, passed_over=not_taken(found))


def not_taken(found: Raw) -> tuple[str, ...]:
    """The files in a set's folder that are not used, one sentence per folder; nothing for the generated
    set."""
    if found.dataset == "synthetic":
        return ()
    taken = {path for clip in found.clips for path in clip.files} | {*found.label_files, found.tracks}
    places: dict[Path, list[str]] = {}
    for path in files_below(found.folder):
        if path not in taken:
            places.setdefault(path.parent, []).append(path.name)
    return tuple(
        f"{place.relative_to(found.folder.parent)}/: {listing(names)} {'is' if len(names) == 1 else 'are'} "
        "not taken"
        for place, names in places.items()
    )
