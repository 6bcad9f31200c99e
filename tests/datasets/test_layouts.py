"""Data sets: tiny trees in each official layout, right and broken, and what is written down of them."""

import hashlib
import json
import os
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import torch

from lib.datasets import decoding, files, images, layouts, preparation
from lib.datasets.layouts import find_raw
from lib.datasets.preparation import fit_frame, fit_mask, prepare
from lib.datasets.prepared import Clip, open_prepared, windows
from lib.errors import DataError

SIZE = (32, 48)  # raw frames, H x W
ABNORMAL = {1: (1, 2), 2: (0,)}  # clip -> its abnormal frames, 0-based


# -- tiny trees ----------------------------------------------------------------------------------------------


def frame(split: str, clip: int, index: int, size=SIZE) -> np.ndarray:
    """A frame like no other: a ramp that starts at a level of its own."""
    ramp = np.add.outer(np.arange(size[0]), np.arange(size[1]))
    return (ramp + 100 * (split == "test") + 25 * (clip - 1) + 3 * index).astype(np.uint8)


def mask(clip: int, index: int, size=SIZE) -> np.ndarray:
    image = np.zeros(size, np.uint8)
    if index in ABNORMAL[clip]:
        image[3, 5 + index] = 255
    return image


def labels(lengths) -> np.ndarray:
    return np.concatenate([np.isin(np.arange(n), ABNORMAL[clip]) for clip, n in enumerate(lengths, start=1)])


def save_frames(
    folder: Path, split: str, clip: int, length: int, name="{:03d}.tif", first=1, size=SIZE
) -> None:
    folder.mkdir(parents=True)
    for index in range(length):
        # encoded first, because cv2.imwrite cannot write to every path
        _, data = cv2.imencode(Path(name).suffix, frame(split, clip, index, size))
        (folder / name.format(index + first)).write_bytes(data.tobytes())


def make_ucsd(root: Path, lengths=(5, 4), first=1) -> Path:
    folder = root / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2"
    for clip, length in enumerate(lengths, start=1):
        save_frames(folder / "Train" / f"Train{clip:03d}", "train", clip, length, first=first)
        save_frames(folder / "Test" / f"Test{clip:03d}", "test", clip, length, first=first)
        (folder / "Train" / f"Train{clip:03d}" / "._001.tif").write_bytes(b"junk")
        masks = folder / "Test" / f"Test{clip:03d}_gt"
        masks.mkdir()
        for index in range(length):
            cv2.imwrite(
                str(masks / f"{'frame' if clip == 2 else ''}{index + first:03d}.bmp"), mask(clip, index)
            )
    (folder / "Test" / ".DS_Store").write_bytes(b"junk")
    (folder / "Test" / "UCSDped2.m").write_text(
        "TestVideoFile = {};\n% TestVideoFile{end+1}.gt_frame = [1:2];\n"
        "TestVideoFile{end+1}.gt_frame = [2, 3];\nTestVideoFile{end+1}.gt_frame = [1:1];\n"
    )
    return folder


def save_video(path: Path, split: str, clip: int, length: int, size=SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, size[::-1])
    assert video.isOpened()
    for index in range(length):
        video.write(cv2.cvtColor(frame(split, clip, index, size), cv2.COLOR_GRAY2BGR))
    video.release()


def save_volume(path: Path, masks: list) -> None:
    """A mask file of Avenue: a cell array with one mask for each frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.empty((1, len(masks)), object)
    for index, one in enumerate(masks):
        cells[0, index] = one
    scipy.io.savemat(path, {"volLabel": cells}, do_compression=True)


def make_avenue(root: Path, lengths=(5, 4)) -> Path:
    for clip, length in enumerate(lengths, start=1):
        save_video(root / "Avenue Dataset" / "training_videos" / f"{clip:02d}.avi", "train", clip, length)
        save_video(root / "Avenue Dataset" / "testing_videos" / f"{clip:02d}.avi", "test", clip, length)
        save_volume(
            root / "ground_truth_demo" / "testing_label_mask" / f"{clip}_label.mat",
            [mask(clip, index) // 255 for index in range(length)],
        )
    return root / "Avenue Dataset"


def make_shanghaitech(root: Path, lengths=(5, 4)) -> Path:
    folder = root / "shanghaitech"
    (folder / "testing" / "test_frame_mask").mkdir(parents=True)
    (folder / "testing" / "test_pixel_mask").mkdir(parents=True)
    for clip, length in enumerate(lengths, start=1):
        name = f"0{clip}_00{clip}4"
        save_video(folder / "training" / "videos" / f"0{clip}_00{clip}.avi", "train", clip, length)
        save_frames(folder / "testing" / "frames" / name, "test", clip, length, name="{:03d}.png", first=0)
        np.save(
            folder / "testing" / "test_frame_mask" / f"{name}.npy",
            np.isin(np.arange(length), ABNORMAL[clip]).astype(np.uint8),
        )
        np.save(
            folder / "testing" / "test_pixel_mask" / f"{name}.npy",
            np.stack([mask(clip, index) // 255 for index in range(length)]),
        )
    return folder


def make_community(root: Path, name="ped2", lengths=(5, 4)) -> Path:
    folder = root / name
    for clip, length in enumerate(lengths, start=1):
        save_frames(
            folder / "training" / "frames" / f"{clip:02d}", "train", clip, length, name="{:03d}.png", first=0
        )
        save_frames(
            folder / "testing" / "frames" / f"{clip:02d}", "test", clip, length, name="{:03d}.png", first=0
        )
    return folder


def save_gt_mat(path: Path, clips) -> None:
    cells = np.empty((1, len(clips)), object)
    for index, ranges in enumerate(clips):
        cells[0, index] = np.array(ranges).T  # 2 x k: firsts, lasts
    scipy.io.savemat(path, {"gt": cells})


@pytest.fixture
def tiny(monkeypatch):
    """The official releases, as small as the trees here."""
    counts = {"train": (5, 4), "test": (5, 4), "abnormal": {"masks": 3, "intervals": 3}}
    shanghaitech = {
        "train_clips": 2,
        "train_frames": 9,
        "test_clips": 2,
        "test_frames": 9,
        "abnormal": {"masks": 3, "intervals": 3},
    }
    of_ped1 = {"train": (5, 4), "test": (5, 4)}
    monkeypatch.setattr(
        layouts, "KNOWN", {"ped1": of_ped1, "ped2": counts, "avenue": counts, "shanghaitech": shanghaitech}
    )


def run(
    raw: Path,
    out: Path,
    *,
    dataset="synthetic",
    height=SIZE[0],
    width=SIZE[1],
    channels=1,
    labels="masks",
    subset=False,
    workers=2,
    progress=lambda line: None,
):
    return prepare(
        dataset=dataset,
        raw=raw,
        out=out,
        height=height,
        width=width,
        channels=channels,
        avenue_labels=labels,
        subset=subset,
        workers=workers,
        progress=progress,
    )


def check_content(prepared, lengths=(5, 4), tolerance=0) -> None:
    """Frames in order, labels and masks, as the trees above have them."""
    for split in ("train", "test"):
        found = prepared.frames(split)
        assert (
            found.shape == (sum(lengths), *SIZE, 1)
            and found.dtype == np.uint8
            and isinstance(found, np.memmap)
        )
        expected = [
            frame(split, clip, index) for clip, n in enumerate(lengths, start=1) for index in range(n)
        ]
        difference = found[..., 0].astype(int) - np.array(expected)
        assert np.abs(difference).mean() <= tolerance
    assert prepared.labels.dtype == bool and prepared.labels.tolist() == labels(lengths).tolist()
    if prepared.masks is not None:
        expected = [mask(clip, index) > 0 for clip, n in enumerate(lengths, start=1) for index in range(n)]
        assert prepared.masks.dtype == bool and np.array_equal(prepared.masks, expected)


# -- each layout, right --------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1, 0])
def test_ucsd(tmp_path, tiny, first):
    make_ucsd(tmp_path, first=first)
    prepared = run(find_raw("ped2", tmp_path), tmp_path / "out", dataset="ped2")
    check_content(prepared)
    assert prepared.clips("test") == (Clip("Test001", "test", 0, 5), Clip("Test002", "test", 5, 4))
    assert prepared.masks is not None and prepared.tracks is None and not prepared.subset


def test_ped1_has_ped2s_form(tmp_path, tiny):
    """Of its abnormal frames no official count is known, so there is none to be held to."""
    make_ucsd(tmp_path).rename(tmp_path / "UCSDped1")
    prepared = run(find_raw("ped1", tmp_path), tmp_path / "out", dataset="ped1")
    check_content(prepared)
    assert not prepared.subset and prepared.manifest["dataset"] == "ped1"


def test_avenue_by_masks_and_by_intervals(tmp_path, tiny, monkeypatch):
    raw = make_avenue(tmp_path)
    prepared = run(find_raw("avenue", tmp_path), tmp_path / "out", dataset="avenue")
    check_content(prepared, tolerance=1.5)  # the videos are JPEGs
    assert prepared.masks is not None
    assert [clip.name for clip in prepared.clips("train")] == ["01", "02"]

    table = tmp_path / "intervals.csv"
    table.write_text("clip,first,last\n01,4,5\n02,1,1\n")
    monkeypatch.setattr(layouts, "AVENUE_INTERVALS", table)
    prepared = run(raw, tmp_path / "out2", dataset="avenue", labels="intervals")
    assert prepared.labels.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert prepared.manifest["label_files"][0]["name"] == "intervals.csv" and prepared.masks is not None
    save_gt_mat(raw / "avenue.mat", [[(1, 1), (5, 5)], [(2, 2)]])  # a file of one's own is preferred
    prepared = run(raw, tmp_path / "out3", dataset="avenue", labels="intervals")
    assert prepared.labels.tolist() == [1, 0, 0, 0, 1, 0, 1, 0, 0]
    assert [file["name"] for file in prepared.manifest["label_files"]] == ["avenue.mat"]


def test_shanghaitech_with_pixel_masks(tmp_path, tiny):
    make_shanghaitech(tmp_path)
    prepared = run(find_raw("shanghaitech", tmp_path), tmp_path / "out", dataset="shanghaitech")
    check_content(prepared, tolerance=1.5)
    assert [clip.name for clip in prepared.clips("test")] == ["01_0014", "02_0024"]
    assert prepared.masks is not None and len(prepared.manifest["label_files"]) == 2


@pytest.mark.parametrize("kind", ["gt.mat", "flat.npy", "UCSD.m", "test_frame_mask"])
def test_community_layout_with_each_kind_of_labels(tmp_path, tiny, kind):
    folder = make_community(tmp_path)
    if kind == "gt.mat":
        save_gt_mat(folder / "ped2.mat", [[(2, 3)], [(1, 1)]])
    elif kind == "flat.npy":
        np.save(folder / "frame_labels_ped2.npy", labels((5, 4))[None].astype(np.uint8))
    elif kind == "UCSD.m":
        (folder / "UCSDped2.m").write_text("V{end+1}.gt_frame = [2:3];\nV{end+1}.gt_frame = [1];\n")
    else:
        (folder / "test_frame_mask").mkdir()
        for clip, part in enumerate(np.split(labels((5, 4)), [5]), start=1):
            np.save(folder / "test_frame_mask" / f"{clip:02d}.npy", part)
    prepared = run(find_raw("ped2", tmp_path), tmp_path / "out", dataset="ped2")
    check_content(prepared)
    assert prepared.masks is None and prepared.manifest["layout"] == "folders"


def test_clips_and_frames_are_in_natural_order(tmp_path):
    folder = make_ucsd(tmp_path)
    for path in (folder / "Train").iterdir():
        shutil.rmtree(path)
    for clip in range(1, 12):
        save_frames(folder / "Train" / f"Train{clip}", "train", 1, 11, name="frame{}.png")
    prepared = run(folder, tmp_path / "out")
    assert [clip.name for clip in prepared.clips("train")] == [f"Train{clip}" for clip in range(1, 12)]
    expected = [frame("train", 1, index) for index in range(11)]
    assert np.array_equal(prepared.frames("train")[11:22, ..., 0], expected)


def test_paths_that_are_not_ascii_and_symbolic_links(tmp_path):
    folder = make_ucsd(tmp_path / "Bänke 视频")
    shutil.move(folder / "Train" / "Train002", tmp_path / "elsewhere")
    (folder / "Train" / "Train002").symlink_to(tmp_path / "elsewhere")
    check_content(run(folder, tmp_path / "aus é"))
    videos = make_avenue(tmp_path / "Straße")
    assert run(videos, tmp_path / "out", dataset="avenue", subset=True).frames("test").shape[0] == 9


def test_the_kits_own_interval_table():
    ranges = layouts.read_interval_table()
    lengths = layouts.KNOWN["avenue"]["test"]
    per_clip = [sum(last - first + 1 for first, last in clip) for clip in ranges]
    assert len(ranges) == 21 and sum(len(clip) for clip in ranges) == 47 and sum(per_clip) == 3867
    assert all(0 < n < length for n, length in zip(per_clip, lengths))  # no clip is wholly abnormal
    assert sum(lengths) == 15324 and sum(layouts.KNOWN["avenue"]["train"]) == 15328
    assert sum(layouts.KNOWN["ped2"]["train"]) == 2550 and sum(layouts.KNOWN["ped2"]["test"]) == 2010


# -- broken, and the sentence for it -------------------------------------------------------------------------


def cut(path: Path, share=0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def lose_clip(folder):
    shutil.rmtree(folder / "Train" / "Train001")


def lose_last_test_clip(folder):
    shutil.rmtree(folder / "Test" / "Test002")


def lose_labels(folder):
    (folder / "Test" / "UCSDped2.m").unlink()


def lose_one_label(folder):
    (folder / "Test" / "UCSDped2.m").write_text("TestVideoFile{end+1}.gt_frame = [2:3];\n")


def label_too_far(folder):
    (folder / "Test" / "UCSDped2.m").write_text("V{end+1}.gt_frame = [2:6];\nV{end+1}.gt_frame = [1:1];\n")


def other_labels(folder):
    (folder / "Test" / "UCSDped2.m").write_text("V{end+1}.gt_frame = [2:4];\nV{end+1}.gt_frame = [1:1];\n")


def odd_labels(folder):
    (folder / "Test" / "UCSDped2.m").write_text("V{end+1}.gt_frame = [two];\n")


def no_label_lines(folder):
    (folder / "Test" / "UCSDped2.m").write_text("<html>not found</html>")


def gap(folder):
    (folder / "Test" / "Test001" / "003.tif").unlink()


def double(folder):
    shutil.copy(folder / "Test" / "Test001" / "003.tif", folder / "Test" / "Test001" / "3.tif")


def no_number(folder):
    shutil.copy(folder / "Test" / "Test001" / "003.tif", folder / "Test" / "Test001" / "cover.tif")


def truncated_frame(folder):
    cut(folder / "Train" / "Train002" / "002.tif")


def empty_frame(folder):
    (folder / "Train" / "Train002" / "002.tif").write_bytes(b"")


def no_image(folder):
    (folder / "Train" / "Train002" / "002.tif").write_text("<html>not found</html>")


def odd_frame(folder):
    cv2.imwrite(str(folder / "Test" / "Test002" / "004.tif"), np.zeros((32, 40), np.uint8))


def odd_mask(folder):
    cv2.imwrite(str(folder / "Test" / "Test002_gt" / "frame004.bmp"), np.zeros((16, 48), np.uint8))


def mask_gone(folder):
    (folder / "Test" / "Test002_gt" / "frame004.bmp").unlink()


def empty_folder(folder):
    for path in (folder / "Test" / "Test002").iterdir():
        path.unlink()


def no_clips(folder):
    for path in (folder / "Train").iterdir():
        shutil.rmtree(path)


def unreadable(folder):
    (folder / "Train" / "Train002" / "002.tif").unlink()
    (folder / "Train" / "Train002" / "002.tif").mkdir()


def dead_link(folder):
    (folder / "Train" / "Train002" / "002.tif").unlink()
    (folder / "Train" / "Train002" / "002.tif").symlink_to("gone.tif")


BROKEN_UCSD = {
    lose_clip: r"UCSDped2/Train: the numbers run from 2 to 2, but 1 is missing\. Unpack the archive again",
    lose_last_test_clip: (
        r"test clip Test002 is missing, UCSDped2\.m labels it\. Get .*"
        r"--set data\.subset=true"
    ),
    lose_labels: r"UCSDped2/Test has no label file \(such as UCSDped2\.m\)",
    lose_one_label: r"UCSDped2\.m labels clips 1 to 1, so test clip Test002 has no label",
    label_too_far: r"clip Test001 is labelled abnormal from frame 2 to 6, but it has 5 frames",
    other_labels: (
        r"masks and UCSDped2\.m disagree\. Test001: 1 frames, the first is frame 4 "
        r"\(2 abnormal by mask, 3 "
    ),
    odd_labels: r"'two' is not a list of ranges such as 61:180",
    no_label_lines: r"UCSDped2\.m holds no line such as TestVideoFile\{end\+1\}\.gt_frame",
    gap: r"Test/Test001: the numbers run from 1 to 5, but 3 is missing",
    double: r"Test/Test001: number 3 is there twice",
    no_number: r"cover\.tif has no number at the end of its name",
    truncated_frame: (
        r"Train/Train002/002\.tif \(\d+ bytes\) cannot be decoded: "
        r"it is damaged, cut off, or not an image"
    ),
    empty_frame: r"Train002/002\.tif \(0 bytes\) cannot be decoded",
    no_image: r"Train002/002\.tif \(22 bytes\) cannot be decoded",
    odd_frame: r"Test002/004\.tif is 32x40 pixels \(height x width\), but the set's first frame is 32x48",
    odd_mask: r"Test002_gt/frame004\.bmp is 16x48 pixels \(height x width\), but the frames are 32x48",
    mask_gone: r"Test002_gt has 3 masks, but test clip Test002 has 4 frames",
    empty_folder: r"Test/Test002 holds no images",
    no_clips: r"UCSDped2/Train holds no clips \(Train001, Train002, \.\.\.\)",
    unreadable: r"Train002/002\.tif cannot be read: Is a directory",
    dead_link: r"Train002/002\.tif is a symbolic link to gone\.tif, which does not exist",
}


@pytest.mark.parametrize("damage", BROKEN_UCSD, ids=lambda damage: damage.__name__)
def test_broken_ucsd(tmp_path, damage):
    folder = make_ucsd(tmp_path)
    damage(folder)
    with pytest.raises(DataError, match=BROKEN_UCSD[damage]):
        run(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["tif", "png", "jpg", "bmp"])
@pytest.mark.parametrize("share", [0.6, 0.97])
def test_truncated_images_of_every_kind(tmp_path, kind, share):
    path = tmp_path / f"001.{kind}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    cv2.imwrite(str(path), noise)
    assert images.read_image(path).shape[:2] == (64, 64)
    cut(path, share)
    with pytest.raises(DataError, match=rf"001\.{kind} \(\d+ bytes\) cannot be decoded"):
        images.read_image(path)


def masks_of(root):
    return root / "ground_truth_demo" / "testing_label_mask"


def video_too_short(root):
    save_video(root / "Avenue Dataset" / "testing_videos" / "01.avi", "test", 1, 3)


def no_video(root):
    (root / "Avenue Dataset" / "testing_videos" / "01.avi").write_bytes(b"RIFF nothing")


def video_of_other_size(root):
    save_video(root / "Avenue Dataset" / "training_videos" / "02.avi", "train", 2, 4, size=(48, 64))


def one_mask_file_gone(root):
    (masks_of(root) / "2_label.mat").unlink()


def all_mask_files_gone(root):
    shutil.rmtree(root / "ground_truth_demo")


def masks_of_other_size(root):
    save_volume(masks_of(root) / "2_label.mat", [np.zeros((8, 8), np.uint8)] * 4)


def masks_of_two_sizes(root):
    save_volume(masks_of(root) / "2_label.mat", [np.zeros(SIZE, np.uint8)] * 3 + [np.zeros((8, 8), np.uint8)])


def mask_file_cut(root):
    cut(masks_of(root) / "2_label.mat", 0.6)


def mask_file_of_something_else(root):
    scipy.io.savemat(masks_of(root) / "2_label.mat", {"other": 1})


def no_videos(root):
    for folder in ("training_videos", "testing_videos"):
        shutil.rmtree(root / "Avenue Dataset" / folder)
        (root / "Avenue Dataset" / folder).mkdir()


def training_video_gone(root):
    (root / "Avenue Dataset" / "training_videos" / "02.avi").unlink()


BROKEN_AVENUE = {
    video_too_short: r"1_label\.mat has 5 masks, but test clip 01 has 3 frames",
    no_video: r"01\.avi cannot be opened as a video: it is cut off, or of a kind that cannot be decoded",
    video_of_other_size: r"02\.avi, frame 1, is 48x64 pixels .*, but the set's first frame is 32x48",
    one_mask_file_gone: r"Test clip 02 has no mask file: there is no .*2_label\.mat",
    all_mask_files_gone: (
        r"Avenue's masks are missing: .*ground_truth_demo.zip.*"
        r"--set data\.avenue_labels=intervals"
    ),
    masks_of_other_size: r"2_label\.mat is 8x8 pixels \(height x width\), but the frames are 32x48",
    masks_of_two_sizes: r"2_label\.mat: mask 4 is 8x8 pixels .*, the first one 32x48",
    mask_file_cut: r"2_label\.mat cannot be read as a MATLAB file",
    mask_file_of_something_else: r"2_label\.mat has no variable 'volLabel'",
    no_videos: r"Avenue Dataset holds no videos",
    training_video_gone: r"1 of 2 train clips are missing: 2\. Get the whole set",
}


@pytest.mark.parametrize("damage", BROKEN_AVENUE, ids=lambda damage: damage.__name__)
def test_broken_avenue(tmp_path, tiny, damage):
    folder = make_avenue(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=BROKEN_AVENUE[damage]):
        run(folder, tmp_path / "out", dataset="avenue")


def label_of_other_length(folder):
    np.save(folder / "testing" / "test_frame_mask" / "02_0024.npy", np.ones(6, np.uint8))


def label_gone(folder):
    (folder / "testing" / "test_frame_mask" / "02_0024.npy").unlink()


def label_values(folder):
    np.save(folder / "testing" / "test_frame_mask" / "02_0024.npy", np.full(4, 7, np.uint8))


def label_cut(folder):
    cut(folder / "testing" / "test_frame_mask" / "02_0024.npy")


def all_labels_gone(folder):
    shutil.rmtree(folder / "testing" / "test_frame_mask")


def clip_gone(folder):
    shutil.rmtree(folder / "testing" / "frames" / "02_0024")


def sampled(folder):
    save_video(folder / "training" / "videos" / "01_001.avi", "train", 1, 1)


def pixel_masks_of_other_length(folder):
    np.save(folder / "testing" / "test_pixel_mask" / "02_0024.npy", np.zeros((5, *SIZE), np.uint8))


BROKEN_SHANGHAITECH = {
    label_of_other_length: r"02_0024\.npy labels 6 frames, but test clip 02_0024 has 4",
    label_gone: r"Test clip 02_0024 has no label: there is no .*02_0024\.npy",
    label_values: r"02_0024\.npy holds other values than 0 and 1",
    label_cut: r"02_0024\.npy cannot be read as an \.npy file",
    all_labels_gone: r"shanghaitech has no labels: put the folder test_frame_mask/",
    clip_gone: (
        r"1 of 2 test clips that have labels are missing: 02_0024; "
        r"test: 1 clips with 5 frames instead of 2 "
    ),
    sampled: r"train: 2 clips with 5 frames instead of 2 with 9",
    pixel_masks_of_other_length: r"02_0024\.npy has 5 masks, but test clip 02_0024 has 4 frames",
}


@pytest.mark.parametrize("damage", BROKEN_SHANGHAITECH, ids=lambda damage: damage.__name__)
def test_broken_shanghaitech(tmp_path, tiny, damage):
    folder = make_shanghaitech(tmp_path)
    damage(folder)
    with pytest.raises(DataError, match=BROKEN_SHANGHAITECH[damage]):
        run(folder, tmp_path / "out", dataset="shanghaitech")


def test_counts_other_than_the_official_ones_are_told_clip_by_clip(tmp_path, tiny):
    folder = make_ucsd(tmp_path)
    shutil.rmtree(folder / "Test" / "Test001_gt")
    (folder / "Test" / "Test001" / "005.tif").unlink()
    with pytest.raises(DataError, match="test clip Test001 has 4 frames instead of 5. Get the whole set"):
        run(folder, tmp_path / "out", dataset="ped2")


def test_a_video_that_stops_early_when_it_is_decoded(tmp_path):
    save_video(tmp_path / "01.avi", "train", 1, 4)
    clip = files.Source(name="01", split="train", length=6, video=tmp_path / "01.avi")
    with pytest.raises(DataError, match="01.avi: decoding stopped after 4 of 6 frames"):
        list(decoding.read_frames(clip))


# -- subsets -------------------------------------------------------------------------------------------------


def test_a_part_of_a_set_is_taken_on_purpose_only_and_says_so(tmp_path, tiny):
    folder = make_shanghaitech(tmp_path)
    shutil.rmtree(folder / "training")
    shutil.rmtree(folder / "testing" / "frames" / "01_0014")
    with pytest.raises(DataError, match="not the whole shanghaitech data set.*--set data.subset=true"):
        run(folder, tmp_path / "out", dataset="shanghaitech")
    prepared = run(folder, tmp_path / "out", dataset="shanghaitech", subset=True)
    assert prepared.subset and prepared.frames("train").shape == (0, *SIZE, 1)
    assert prepared.clips("train") == () and prepared.clips("test") == (Clip("02_0024", "test", 0, 4),)
    assert prepared.labels.tolist() == [True, False, False, False]
    assert prepared.manifest["missing"] == [
        "1 of 2 test clips that have labels are missing: 01_0014",
        "train: 0 clips with 0 frames instead of 2 with 9",
        "test: 1 clips with 4 frames instead of 2 with 9",
        "test: 1 of 4 frames are abnormal instead of 3 of 9",
    ]


def test_a_training_video_that_was_encoded_anew_after_most_of_it_was_lost(tmp_path, tiny, monkeypatch):
    """Its file is sound, and half a per cent of the total hides it: its length alone gives it away."""
    known = {"train_clips": 2, "train_frames": 82, "test_clips": 2, "test_frames": 82}
    monkeypatch.setitem(layouts.KNOWN, "shanghaitech", known | {"abnormal": {"masks": 3, "intervals": 3}})
    folder = make_shanghaitech(tmp_path, lengths=(80, 2))
    with pytest.raises(DataError, match="train clip 02_002 has only 2 frames, where .* 41 on average"):
        run(folder, tmp_path / "out", dataset="shanghaitech")


def test_a_part_of_ucsd_keeps_each_clips_own_labels(tmp_path, tiny):
    folder = make_ucsd(tmp_path)
    shutil.rmtree(folder / "Test" / "Test001")
    shutil.rmtree(folder / "Test" / "Test001_gt")
    prepared = run(folder, tmp_path / "out", dataset="ped2", subset=True)
    assert prepared.subset and prepared.labels.tolist() == [True, False, False, False]
    (folder / "Test" / "UCSDped2.m").unlink()
    prepared = run(folder, tmp_path / "out", dataset="ped2", subset=True)
    assert prepared.labels.tolist() == [True, False, False, False]
    assert "the label file Test/*.m is missing; labels are those of the masks" in prepared.manifest["missing"]


def test_a_whole_set_is_no_subset_even_if_one_is_accepted(tmp_path, tiny):
    assert not run(make_ucsd(tmp_path), tmp_path / "out", dataset="ped2", subset=True).subset


# -- frames and masks ----------------------------------------------------------------------------------------


def test_frames_are_resized_as_an_antialiased_bilinear_interpolation():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(
        rgb, size=(24, 32), mode="bilinear", antialias=True, align_corners=False
    )
    found = fit_frame(image, 24, 32, 3)
    assert found.shape == (24, 32, 3)
    assert np.abs(found.astype(float) - expected[0].permute(1, 2, 0).numpy()).max() <= 1.0
    plain = torch.nn.functional.interpolate(rgb, size=(24, 32), mode="bilinear", align_corners=False)
    assert (
        np.abs(found.astype(float) - plain[0].permute(1, 2, 0).numpy()).max() > 20
    )  # it is not without antialiasing


def test_grey_is_itu_r_601_and_colour_is_rgb():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)  # BGR, as OpenCV decodes
    grey = 0.299 * image[..., 2] + 0.587 * image[..., 1] + 0.114 * image[..., 0]
    assert np.abs(fit_frame(image, 8, 8, 1)[..., 0] - grey).max() <= 0.51
    assert np.array_equal(fit_frame(image, 8, 8, 3), image[..., ::-1])
    assert np.array_equal(fit_frame(image[..., 0], 8, 8, 3), np.repeat(image[..., :1], 3, axis=2))
    assert np.array_equal(fit_frame(image[..., 0], 8, 8, 1), image[..., :1])


def test_a_mask_keeps_the_smallest_object_and_never_invents_one():
    rng = np.random.default_rng(0)
    for _ in range(50):
        one = np.zeros((24, 36), bool)
        y, x = rng.integers(24), rng.integers(36)
        one[y, x] = True
        for height, width in ((10, 10), (13, 17), (24, 36), (48, 50)):
            found = fit_mask(one, height, width)
            rows, columns = np.nonzero(found)
            # exactly the pixels whose area overlaps that of the one abnormal pixel
            assert set(rows) == {
                i for i in range(height) if i * 24 < (y + 1) * height and (i + 1) * 24 > y * height
            }
            assert set(columns) == {
                i for i in range(width) if i * 36 < (x + 1) * width and (i + 1) * 36 > x * width
            }
    assert not fit_mask(np.zeros((24, 36), bool), 10, 10).any()


def test_tracks_are_in_pixels_of_the_prepared_frames(tmp_path):
    folder = make_ucsd(tmp_path)
    (folder / "Test" / "tracks.csv").write_text(
        "clip,frame,track,kind,x0,y0,x1,y1\nTest001,1,0,cart,6,4,12,8\n"
    )
    tracks = run(folder, tmp_path / "out", height=16, width=72).tracks
    assert tracks.loc[0, ["x0", "y0", "x1", "y1"]].tolist() == [9, 2, 18, 4]
    assert tracks.loc[0, ["clip", "frame", "kind"]].tolist() == ["Test001", 1, "cart"]


# -- windows -------------------------------------------------------------------------------------------------


def test_windows_start_at_the_clip_and_end_at_its_last_frame():
    clips = (Clip("a", "test", 0, 8), Clip("b", "test", 8, 5), Clip("c", "test", 13, 4))
    found = windows(clips, T=4, stride=3)
    assert found.dtype == np.int64
    assert found.tolist() == [[0, 0], [0, 3], [0, 4], [1, 8], [1, 9], [2, 13]]
    assert windows(clips, T=4, stride=1).tolist() == [[0, k] for k in range(5)] + [[1, 8], [1, 9], [2, 13]]
    assert windows((), T=4, stride=1).shape == (0, 2)
    with pytest.raises(DataError, match="Clip c has 4 frames, fewer than a window"):
        windows(clips, T=5, stride=1)


# -- preparing: resuming, the manifest, the raw folder -------------------------------------------------------


def snapshot(folder: Path) -> dict:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def decoded(monkeypatch) -> list:
    """The names of the files that are decoded from now on."""
    names, read_image = [], decoding.read_image
    monkeypatch.setattr(
        decoding, "read_image", lambda path: names.append(path.parent.name) or read_image(path)
    )
    return names


def test_a_killed_run_continues_and_does_not_decode_finished_clips_again(tmp_path, decoded):
    folder = make_ucsd(tmp_path)
    before = snapshot(folder)
    whole = run(folder, tmp_path / "whole")

    class Killed(BaseException):
        pass

    def kill(line):
        if "2 of 4 clips" in line:
            raise Killed

    with pytest.raises(Killed):
        run(folder, tmp_path / "out", workers=1, progress=kill)
    with pytest.raises(DataError, match="was begun but not finished"):
        open_prepared(tmp_path / "out")
    journal = tmp_path / "out" / preparation.JOURNAL
    journal.write_bytes(journal.read_bytes() + b'{"clip": "test/Te')  # and its last line was cut off
    decoded.clear()
    lines = []
    prepared = run(folder, tmp_path / "out", workers=1, progress=lines.append)
    assert lines[0] == "synthetic: continuing, 2 of 4 clips are done"
    assert "Train002" not in decoded and decoded.count("Test001") == 5 and decoded.count("Test002") == 4
    for split in ("train", "test"):
        assert np.array_equal(prepared.frames(split), whole.frames(split))
    assert np.array_equal(prepared.masks, whole.masks) and prepared.manifest == whole.manifest
    assert snapshot(folder) == before  # the raw data are never touched
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "test_frames.npy",
        "test_labels.npy",
        "test_masks.npy",
        "train_frames.npy",
    ]


def test_what_is_prepared_is_not_prepared_again_until_something_changes(tmp_path, decoded):
    folder = make_ucsd(tmp_path)
    run(folder, tmp_path / "out")
    decoded.clear()
    lines = []
    run(folder, tmp_path / "out", progress=lines.append)
    assert (
        lines == ["synthetic: prepared already"] and decoded.count("Train001") == 1
    )  # for the size of the frames
    path = folder / "Train" / "Train001" / "001.tif"
    path.write_bytes((folder / "Train" / "Train001" / "002.tif").read_bytes())
    os.utime(path, ns=(1, 1))
    assert np.array_equal(run(folder, tmp_path / "out").frames("train")[0, ..., 0], frame("train", 1, 1))
    assert run(folder, tmp_path / "out", height=16).frames("test").shape == (9, 16, 48, 1)


def test_two_that_prepare_one_folder_at_once_prepare_it_once(tmp_path, decoded):
    """Two checkouts may share a data folder: the second waits, and takes what the first made."""
    folder, lines = make_ucsd(tmp_path), []

    def one(_):
        return run(folder, tmp_path / "out", progress=lines.append)

    with ThreadPoolExecutor(2) as pool:
        for prepared in pool.map(one, range(2)):
            check_content(prepared)
    assert lines.count("synthetic: prepared already") == 1 and decoded.count("Test001") == 5
    assert [line for line in lines if "being made by another process" in line]


def test_an_unfinished_run_with_other_parameters_is_not_continued(tmp_path):
    folder = make_ucsd(tmp_path)

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out", workers=1, progress=stop)
    prepared = run(folder, tmp_path / "out", height=64, width=24)
    assert np.array_equal(
        prepared.frames("train"), run(folder, tmp_path / "new", height=64, width=24).frames("train")
    )


def test_a_large_file_is_looked_through_once(tmp_path, tiny, monkeypatch):
    folder = make_avenue(tmp_path)
    counted = []
    count = layouts.count_frames
    monkeypatch.setattr(layouts, "count_frames", lambda path: counted.append(path.name) or count(path))
    run(folder, tmp_path / "out", dataset="avenue")
    run(folder, tmp_path / "out", dataset="avenue", height=16)
    assert sorted(counted) == ["01.avi", "01.avi", "02.avi", "02.avi"]


def test_the_manifest_says_what_was_prepared_from_what(tmp_path, tiny):
    folder = make_ucsd(tmp_path)
    manifest = run(folder, tmp_path / "out", dataset="ped2").manifest
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
    assert (
        manifest["counts"]
        == manifest["official"]
        == {"train": {"clips": 2, "frames": 9}, "test": {"clips": 2, "frames": 9, "abnormal": 3}}
    )
    assert manifest["raw_size"] == list(SIZE) and manifest["missing"] == []
    content = b"".join((folder / "Train" / "Train002" / f"00{i}.tif").read_bytes() for i in range(1, 5))
    assert manifest["clips"]["train"][1] == {
        "name": "Train002",
        "start": 5,
        "length": 4,
        "files": 4,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert [clip["abnormal"] for clip in manifest["clips"]["test"]] == [2, 1]
    assert (
        manifest["label_files"][0]["sha256"]
        == hashlib.sha256((folder / "Test" / "UCSDped2.m").read_bytes()).hexdigest()
    )
    assert manifest["arrays"] == {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.npy")}


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path, monkeypatch):
    folder = make_ucsd(tmp_path)
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(
        DataError, match=r"arrays need 0\.0 GB, but the disk of .* has 0\.0 GB free. Make room"
    ):
        run(folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.npy"))


def test_the_raw_folder_is_no_place_for_prepared_arrays(tmp_path):
    folder = make_ucsd(tmp_path)
    with pytest.raises(DataError, match="lies inside the raw data set .*, which is never written to"):
        run(folder, folder / "prepared")


def test_opening_what_is_not_there_or_of_another_format(tmp_path):
    with pytest.raises(DataError, match="is not there. Prepare it: ./run_all.sh prepare"):
        open_prepared(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 0}')
    with pytest.raises(DataError, match="in another format"):
        open_prepared(tmp_path)


def test_memory_does_not_grow_with_a_clip(tmp_path):
    """Ten times as many frames, (almost) the same peak: a worker holds one frame."""
    folder = make_ucsd(tmp_path, lengths=(12, 4))
    peaks = []
    for length in (12, 120):
        shutil.rmtree(folder / "Train" / "Train001")
        save_frames(folder / "Train" / "Train001", "train", 1, length, name="{:03d}.png", size=SIZE)
        run(folder, tmp_path / f"warm{length}", height=256, width=256, workers=1)
        tracemalloc.start()
        run(folder, tmp_path / f"out{length}", height=256, width=256, workers=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 5 * 256 * 256  # of 108 further frames of 256 x 256 bytes


# -- finding -------------------------------------------------------------------------------------------------


def test_find_raw_looks_by_name_and_layout_and_says_what_it_found(tmp_path):
    with pytest.raises(DataError, match="there is no folder .*nowhere.*--fetch ped2"):
        find_raw("ped2", tmp_path / "nowhere")
    (tmp_path / "a").mkdir()
    with pytest.raises(
        DataError, match="holds a, but no folder named UCSDped2 or ped2. Get it .*svcl.ucsd.edu"
    ):
        find_raw("ped2", tmp_path)
    (tmp_path / "UCSDped2" / "frames").mkdir(parents=True)
    with pytest.raises(DataError, match=r"UCSDped2 is there, but it has neither Train/ and Test/"):
        find_raw("ped2", tmp_path)
    with pytest.raises(DataError, match="The generated data set was not found.*run_all.sh generates it"):
        find_raw("synthetic", tmp_path)
    deep = make_ucsd(tmp_path / "a")
    assert find_raw("ped2", tmp_path) == find_raw("ped2", tmp_path / "a") == find_raw("ped2", deep) == deep
    (tmp_path / "dangling").symlink_to("gone")
    assert find_raw("avenue", make_avenue(tmp_path).parent) == tmp_path / "Avenue Dataset"
    assert find_raw("shanghaitech", make_shanghaitech(tmp_path).parent) == tmp_path / "shanghaitech"


def test_a_folder_in_no_known_layout(tmp_path):
    with pytest.raises(DataError, match="is not laid out as a data set: it needs Train/ and Test/"):
        run(tmp_path, tmp_path.parent / "out")


# -- the real sets, where they are at hand -------------------------------------------------------------------


def real(dataset: str) -> Path:
    root = os.environ.get("KIT_REAL_DATA")
    if not root:
        pytest.skip("KIT_REAL_DATA does not name a folder with the real data sets")
    try:
        return find_raw(dataset, Path(root))
    except DataError as error:
        pytest.skip(str(error))


def test_real_ped2(tmp_path):
    prepared = run(real("ped2"), tmp_path / "out", dataset="ped2", height=24, width=36)
    assert not prepared.subset and prepared.manifest["counts"] == prepared.manifest["official"]
    assert prepared.labels.sum() == 1648 and np.array_equal(prepared.masks.any((1, 2)), prepared.labels)
    whole = [
        clip["name"] for clip in prepared.manifest["clips"]["test"] if clip["abnormal"] == clip["length"]
    ]
    assert whole == ["Test008", "Test009", "Test010", "Test011"]


@pytest.mark.parametrize("dataset", ["avenue", "shanghaitech"])
def test_real_sets_of_which_a_part_may_be_there(tmp_path, dataset):
    prepared = run(
        real(dataset), tmp_path / "out", dataset=dataset, height=24, width=36, channels=3, subset=True
    )
    counts, official = prepared.manifest["counts"], prepared.manifest["official"]
    assert prepared.subset == (counts != official)
    assert len(prepared.labels) == counts["test"]["frames"] == len(prepared.frames("test"))
    assert prepared.frames("test")[::100].std() > 10


def test_real_avenue_masks_against_the_intervals():
    raw = real("avenue")
    folder = next(
        place / "ground_truth_demo" / "testing_label_mask"
        for place in (raw, raw.parent)
        if (place / "ground_truth_demo").is_dir()
    )
    lengths, total, differing, clips = layouts.KNOWN["avenue"]["test"], 0, 0, 0
    for position, ranges in enumerate(layouts.read_interval_table(), start=1):
        digits = layouts.look_at_masks(folder / f"{position}_label.mat")["abnormal"]
        by_mask = np.array([digit == "1" for digit in digits])
        by_interval = np.zeros(lengths[position - 1], bool)
        for first, last in ranges:
            by_interval[first - 1 : last] = True
        total += by_mask.sum()
        differing += (by_mask != by_interval).sum()
        clips += (by_mask != by_interval).any()
    assert (total, differing, clips) == (3712, 441, 15)


def test_real_shanghaitech_labels():
    masks = real("shanghaitech") / "testing" / "test_frame_mask"
    arrays = [np.load(path) for path in sorted(masks.glob("*.npy"))]
    assert len(arrays) == 107 and sum(map(len, arrays)) == 40_791 and sum(map(np.sum, arrays)) == 17_326
