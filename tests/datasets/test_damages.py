"""A hundred random damages of valid inputs: each ends in the right result or in one sentence, never in a
traceback.

A video and a table are damaged in turn: bytes flipped, zeroed, doubled, lost, the end cut off, the file
renamed. What is right is known from the undamaged input: a video that is accepted has all its frames, in
their order; a table that is accepted labels what a reader of its text, written here for the purpose, finds in
it.
"""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.datasets import own_video
from lib.datasets.files import Source
from lib.datasets.images import read_image
from lib.datasets.videos import count_frames, read_video
from lib.errors import DataError

SIZE, LENGTH = (32, 96), 40


def flip(data: bytearray, rng) -> None:
    for at in rng.integers(0, len(data), 4):
        data[at] ^= 1 << int(rng.integers(8))


def zero(data: bytearray, rng) -> None:
    at = int(rng.integers(len(data)))
    data[at : at + len(data) // 8] = bytes(len(data[at : at + len(data) // 8]))


def double(data: bytearray, rng) -> None:
    at = int(rng.integers(len(data)))
    data[at:at] = data[at : at + len(data) // 8]


def lose(data: bytearray, rng) -> None:
    at = int(rng.integers(len(data)))
    del data[at : at + len(data) // 8]


def cut(data: bytearray, rng) -> None:
    del data[int(rng.integers(len(data))) :]


DAMAGES = (flip, zero, double, lose, cut)


def damaged(path: Path, seed: int) -> bytes:
    """Writes a damaged copy in the place of the file, and returns it."""
    rng, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    DAMAGES[seed % len(DAMAGES)](data, rng)
    path.write_bytes(data)
    return bytes(data)


def numbered(index: int) -> np.ndarray:
    """A frame whose number stands in it as six black or white bars."""
    bars = [255 * (index >> bit & 1) for bit in range(6)]
    return np.repeat(np.repeat(np.array(bars, np.uint8)[None], SIZE[0], 0), SIZE[1] // 6, 1)


def number_in(frame: np.ndarray) -> int:
    bars = frame.reshape(SIZE[0], 6, -1, 3).mean(axis=(0, 2, 3))
    return sum(1 << bit for bit in range(6) if bars[bit] > 127)


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_video(tmp_path, seed, capfd):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, SIZE[::-1])
    for index in range(LENGTH):
        writer.write(cv2.cvtColor(numbered(index), cv2.COLOR_GRAY2BGR))
    writer.release()
    damaged(path, seed)
    try:
        frames = list(read_video(path, count_frames(path)))
    except DataError as problem:
        assert str(path) in str(problem) and "\n" not in str(problem)
    else:
        assert len(frames) == LENGTH
        others = [index for index, frame in enumerate(frames) if number_in(frame) != index]
        assert len(others) <= 4, (
            others
        )  # a flipped bit that still decodes spoils its own frame, and moves no other
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["png", "tif", "jpg"])
@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_image(tmp_path, kind, seed, capfd):
    path = tmp_path / f"001.{kind}"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **({"compression": "tiff_lzw"} if kind == "tif" else {}))
    whole = read_image(path)
    damaged(path, seed)
    try:
        found = read_image(path)
    except DataError as problem:
        assert str(path) in str(problem) and "\n" not in str(problem)
    else:
        assert found.dtype == np.uint8 and found.ndim in (2, 3)
        assert kind != "png" or np.array_equal(found, whole)  # png has checksums
    assert capfd.readouterr() == ("", "")


TABLE = "clip,first,last,label,note\na,0,4,0,quiet\na,5,10,1,a person falls\nb,20,30,1,bike\nb,31,59,0,\n"


def meant(text: str) -> dict[str, list[int]] | None:
    """The abnormal frames of a plain table in this form; None where a line is in no such form."""
    lines = re.split(r"\r\n|\r|\n", text)
    columns = lines[0].split(",")
    found = {"a": set(), "b": set()}
    for line in lines[1:]:
        if not line.strip(", "):
            continue
        row = dict(zip(columns, (cell.strip() for cell in line.split(",")), strict=False))
        if row["label"] == "1":
            found[row["clip"]] |= set(range(int(row["first"]), int(row["last"]) + 1))
    return {name: sorted(frames) for name, frames in found.items()}


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_table(tmp_path, seed):
    path = tmp_path / "labels.csv"
    path.write_text(TABLE)
    data = damaged(path, seed)
    clips = [Source(name=name, split="test", length=60) for name in "ab"]
    try:
        labelled = own_video.label(clips, path)
    except DataError as problem:
        assert str(path) in str(problem) and "\n" not in str(problem)
    else:
        assert {clip.name: np.flatnonzero(clip.labels).tolist() for clip in labelled} == meant(data.decode())


@pytest.mark.parametrize("name", ["a", "a.txt", "a.MP4", "ä.avi", "a b.avi", "%03d.avi", "x:y.avi", "-a.avi"])
def test_a_renamed_video_is_read_by_what_is_in_it(tmp_path, name):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, SIZE[::-1])
    for index in range(LENGTH):
        writer.write(cv2.cvtColor(numbered(index), cv2.COLOR_GRAY2BGR))
    writer.release()
    (tmp_path / "a.avi").rename(tmp_path / name)
    frames = list(read_video(tmp_path / name, count_frames(tmp_path / name)))
    assert [number_in(frame) for frame in frames] == list(range(LENGTH))
