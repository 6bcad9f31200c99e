"""Preparing a data set once: frames are decoded, resized and written into one memory-mapped array per split.

    raw folder  --layouts.read-->  clips, labels  --prepare-->  train_frames.npy, test_frames.npy,
                                                                test_labels.npy, test_masks.npy, tracks.csv,
                                                                manifest.json

Training and scoring decode no images: they slice windows of T frames from the arrays ("Implementations":
256x256, T = 16; the original 240x360 for UCSD). The raw folder is only read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import adaptive_max_pool2d
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from lib import paths
from lib.datasets import contents, locks, official
from lib.datasets.contents import Digests
from lib.datasets.decoding import read_frames, read_masks
from lib.datasets.files import AGAIN, Source, digest
from lib.datasets.layouts import Raw, official_counts, read
from lib.datasets.own_video import Videos, read_videos
from lib.datasets.prepared import FORMAT, JOURNAL, Prepared, nothing_happens, open_prepared
from lib.errors import DataError

SPLITS = ("train", "test")
LOOKED = "looked.json"  # what was found out about large files, see layouts.Looker
ARRAYS = ("train_frames.npy", "test_frames.npy", "test_labels.npy", "test_masks.npy", "tracks.csv")


# -- one frame, one mask -------------------------------------------------------------------------------------


def fit_frame(image: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    """(h, w) or (h, w, 3) BGR uint8 -> (H, W, C) uint8. Grey by ITU-R 601; resized bilinearly with
    antialiasing."""
    if channels == 1:
        image = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        image = image[..., None]
    else:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    if image.shape[:2] == (height, width):
        return image
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    return (
        resize(tensor, [height, width], InterpolationMode.BILINEAR, antialias=True).permute(1, 2, 0).numpy()
    )


def fit_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) bool -> (H, W) bool: a pixel is abnormal if it covers any abnormal pixel.

    Taking the nearest pixel instead can lose a small object and leave an abnormal frame without an abnormal
    pixel; here mask.any() does not change.
    """
    if mask.shape == (height, width):
        return mask
    pooled = adaptive_max_pool2d(torch.from_numpy(mask)[None].float(), (height, width))
    return (pooled[0] > 0).numpy()


# -- preparing -----------------------------------------------------------------------------------------------


def prepare(
    *,
    dataset: str,
    raw: Path | Videos,
    out: Path,
    height: int,
    width: int,
    channels: int,
    avenue_labels: str,
    subset: bool,
    workers: int,
    progress: Callable[[str], None],
) -> Prepared:
    """Decode and resize a raw data set, or your own videos, into the folder `out`, by clips over `workers`
    threads.

    A killed run continues where it stopped; a folder already prepared from the same files with the same
    parameters is opened as it is. `progress` is called with a line after each clip. Memory does not grow with
    the set: a worker holds one frame. Raises DataError if something is wrong with the raw set or the disk is
    too small.
    """
    out = Path(out)
    for folder in raw.folders if isinstance(raw, Videos) else (Path(raw),):
        if out.resolve().is_relative_to(folder.resolve()):
            raise DataError(
                f"{out} lies inside the raw data set {folder}, which is never written to. Choose another "
                "folder."
            )
    out.mkdir(parents=True, exist_ok=True)
    # two profiles may use the same folder
    with locks.alone(out.with_name(f".{out.name}.lock"), paths.shown(out), progress):
        digests = Digests(out.parent / contents.NAME)
        found = look(dataset, raw, out, avenue_labels, subset, progress, digests)
        odd = next((clip.name for clip in found.clips if not paths.is_utf8(clip.name)), None)
        if odd:
            raise DataError(f"The clip {ascii(odd)} has a name that is not UTF-8. Rename its file or folder.")
        parameters = {"height": height, "width": width, "channels": channels, "avenue_labels": avenue_labels}
        key = fingerprint(found, parameters, digests)
        digests.save()
        if (out / "manifest.json").exists():
            manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
            if manifest.get("key") == key:
                progress(f"{dataset}: prepared already")
                return open_prepared(out)

        shapes = array_shapes(found, height, width, channels)
        done = read_journal(out / JOURNAL, key)
        if done is None or not all((out / name).exists() for name in shapes):
            done = {}
            # Remove and do not overwrite: a process with a map of the old arrays keeps them.
            for name in ("manifest.json", JOURNAL, *ARRAYS):
                (out / name).unlink(missing_ok=True)
            check_space(out, shapes)
            for name, (dtype, shape) in shapes.items():
                np.lib.format.open_memmap(out / name, mode="w+", dtype=dtype, shape=shape)
        else:
            check_space(out, shapes)
        start_journal(out / JOURNAL, key, done)
        fill(found, out, shapes, done, workers, progress)

        labels = [clip.labels for clip in found.split("test")]
        if labels and labels[0] is not None:
            buffer = io.BytesIO()
            np.save(buffer, np.concatenate(labels))
            paths.write_bytes(out / "test_labels.npy", buffer.getvalue())
        if found.tracks is not None:
            scale_tracks(found, height, width).to_csv(out / "tracks.csv", index=False)
        manifest = make_manifest(found, parameters, key, done, out)
        paths.write_json(out / "manifest.json", manifest)
        (out / JOURNAL).unlink()
        return open_prepared(out)


def look(
    dataset: str,
    raw: Path | Videos,
    out: Path,
    avenue_labels: str,
    subset: bool,
    progress: Callable[[str], None],
    digests: Digests,
) -> Raw:
    """The result of `layouts.read` or `read_videos`, with what was found out about large files stored in
    `out` for the next time."""
    path = out / LOOKED
    memory = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    before = len(memory)
    try:
        if isinstance(raw, Videos):
            return read_videos(raw, memory, progress, digests)
        return read(
            dataset=dataset,
            raw=raw,
            avenue_labels=avenue_labels,
            subset=subset,
            memory=memory,
            progress=progress,
            digests=digests,
        )
    finally:
        if len(memory) > before:
            paths.write_text(path, json.dumps(memory))


def scale_tracks(found: Raw, height: int, width: int) -> pd.DataFrame:
    """The raw set's tracks with boxes in pixels of the prepared frames."""
    tracks = pd.read_csv(found.tracks)
    for axis, scale in (("x", width / found.size[1]), ("y", height / found.size[0])):
        tracks[[f"{axis}0", f"{axis}1"]] *= scale
    return tracks


def fingerprint(found: Raw, parameters: dict, digests: Digests) -> str:
    """A hash that changes if the parameters or the raw files (names, contents) change."""
    sha = hashlib.sha256(json.dumps([FORMAT, found.dataset, parameters], sort_keys=True).encode())
    files = [(clip.name, path) for clip in found.clips for path in clip.files]
    files += [("labels", path) for path in found.label_files] + (
        [("tracks", found.tracks)] if found.tracks else []
    )
    for name, path in files:
        sha.update(json.dumps([name, path.name, digests.of(path)]).encode())
    for clip in found.split("test"):
        sha.update(b"-" if clip.labels is None else np.packbits(clip.labels).tobytes())
    return sha.hexdigest()


def array_shapes(
    found: Raw, height: int, width: int, channels: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The large arrays: file name -> dtype and shape. Masks only if every test clip has them."""
    rows = {split: sum(clip.length for clip in found.split(split)) for split in SPLITS}
    shapes = {f"{split}_frames.npy": ("uint8", (rows[split], height, width, channels)) for split in SPLITS}
    if found.split("test") and all(clip.masks for clip in found.split("test")):
        shapes["test_masks.npy"] = ("bool", (rows["test"], height, width))
    return shapes


def check_space(out: Path, shapes: dict) -> None:
    """Raise DataError if the part of the arrays that is not written yet does not fit on the disk."""
    needed = sum(int(np.prod(shape)) for _, shape in shapes.values())
    there = sum((out / name).stat().st_blocks * 512 for name in shapes if (out / name).exists())
    free = shutil.disk_usage(out).free
    if needed - there > free:
        raise DataError(
            f"The prepared arrays need {(needed - there) / 1e9:.1f} GB, but the disk of {out} has "
            f"{free / 1e9:.1f} GB free. Make room, or prepare smaller frames (--set data.height=...)."
        )


def fill(
    found: Raw, out: Path, shapes: dict, done: dict[str, dict], workers: int, progress: Callable[[str], None]
) -> None:
    """Write the clips that are not `done`, and record each in the journal and in `done`."""
    jobs, start = [], {"train": 0, "test": 0}
    for clip in found.clips:
        if f"{clip.split}/{clip.name}" not in done:
            jobs.append((clip, start[clip.split]))
        start[clip.split] += clip.length
    if done:
        progress(f"{found.dataset}: continuing, {len(done)} of {len(found.clips)} clips are done")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # parallel over clips instead
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        known = found.dataset in official.KNOWN
        futures = {
            pool.submit(write_clip, clip, row, out, shapes, found.size, known): clip for clip, row in jobs
        }
        for future in as_completed(futures):
            clip, record = futures[future], future.result()
            append_line(out / JOURNAL, {"clip": f"{clip.split}/{clip.name}", **record})
            done[f"{clip.split}/{clip.name}"] = record
            progress(
                f"{clip.split} {clip.name}: {clip.length} frames ({len(done)} of {len(found.clips)} clips)"
            )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)


def write_clip(
    clip: Source, row: int, out: Path, shapes: dict, size: tuple[int, int], pixels: bool = False
) -> dict:
    """Decode one clip into its rows. Returns number, size and sha256 of its files and, with `pixels`, the
    sha256 of its decoded frames."""
    of_pixels = hashlib.sha256()
    name = f"{clip.split}_frames.npy"
    _, (_, height, width, channels) = shapes[name]
    count, sha = digest(clip.files)
    with open_at(out / name, row) as file:
        for index, image in enumerate(read_frames(clip)):
            if image.shape[:2] != size:
                raise DataError(
                    f"{clip.where(index)} is {image.shape[0]}x{image.shape[1]} pixels (height x width), "
                    f"but the set's first frame is {size[0]}x{size[1]}. {AGAIN}"
                )
            if pixels:
                official.update(of_pixels, image)
            file.write(np.ascontiguousarray(fit_frame(image, height, width, channels)))
        file.flush()
        os.fsync(file.fileno())
    if clip.split == "test" and "test_masks.npy" in shapes:
        with open_at(out / "test_masks.npy", row) as file:
            for mask in read_masks(clip):
                file.write(np.ascontiguousarray(fit_mask(mask, height, width)))
            file.flush()
            os.fsync(file.fileno())
    record = {"files": len(clip.files), "bytes": count, "sha256": sha}
    return record | ({"pixels": of_pixels.hexdigest()} if pixels else {})


def open_at(path: Path, row: int):
    """Open an .npy file for writing at one row of its array. Unlike a memory map, a file keeps resident
    memory small."""
    array = np.load(path, mmap_mode="r")
    file = open(path, "r+b")  # noqa: SIM115  closed by the caller
    file.seek(array.offset + row * int(np.prod(array.shape[1:])) * array.itemsize)
    return file


def read_journal(path: Path, key: str) -> dict[str, dict] | None:
    """The clips written by an earlier, unfinished run with the same key; None if there was no such run."""
    if not path.exists():
        return None
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break  # incomplete: the run was killed here
    if not lines or lines[0].get("key") != key:
        return None
    return {line.pop("clip"): line for line in lines[1:]}


def start_journal(path: Path, key: str, done: dict[str, dict]) -> None:
    """Rewrite the journal without the incomplete last line that a killed run may have left."""
    lines = [{"key": key}, *({"clip": name, **record} for name, record in done.items())]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    paths.write_text(path, text)


def append_line(path: Path, line: dict) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def make_manifest(found: Raw, parameters: dict, key: str, done: dict[str, dict], out: Path) -> dict:
    """What was prepared, from which files, and how it compares with the official release."""
    clips: dict[str, list] = {split: [] for split in SPLITS}
    pixels: dict[str, str] = {}
    start = {split: 0 for split in SPLITS}
    for clip in found.clips:
        record = {"name": clip.name, "start": start[clip.split], "length": clip.length}
        if clip.labels is not None:
            record["abnormal"] = int(clip.labels.sum())
        written = dict(done[f"{clip.split}/{clip.name}"])
        if "pixels" in written:
            pixels[f"{clip.split} {clip.name}"] = written.pop("pixels")
        clips[clip.split].append({**record, **written})
        start[clip.split] += clip.length
    counts = {split: {"clips": len(clips[split]), "frames": start[split]} for split in SPLITS}
    counts["test"]["abnormal"] = sum(clip.get("abnormal", 0) for clip in clips["test"])
    arrays = {path.name: path.stat().st_size for path in (out / name for name in ARRAYS) if path.exists()}
    frames = np.load(out / "test_frames.npy", mmap_mode="r")
    labels = [
        dict(zip(("name", "bytes", "sha256"), (path.name, *digest([path])))) for path in found.label_files
    ]
    return {
        "format": FORMAT,
        "dataset": found.dataset,
        "layout": found.layout,
        "subset": bool(found.missing),
        "missing": list(found.missing),
        "parameters": parameters,
        "raw_size": list(found.size),
        "counts": counts,
        "official": official_counts(found.dataset, parameters["avenue_labels"]),
        "label_files": labels,
        "passed_over": list(found.passed_over),
        "pixels": official.verdict(pixels) if pixels else None,
        "nothing_happens": {
            clip["name"]: reason
            for clip in clips["test"]
            if (reason := nothing_happens(frames[clip["start"] : clip["start"] + clip["length"]]))
        },
        "clips": clips,
        "arrays": arrays,
        "key": key,
    }
