"""One pass over a data set against the same done window by window and frame by frame, and what a killed pass
leaves."""

import json
import os
import time
import tracemalloc

import cv2
import numpy as np
import pytest
import slow_eq7
import torch

from lib.config import resolve
from lib.datasets.prepared import Prepared
from lib.training import extraction
from lib.training.stage1 import build_autoencoder

T, TAU, H, W = 8, 4, 32, 48
MEAN = "absolute/averaged/pixel/mean/reduce_first"  # one of the readings of Eq. 7
PATCH, PATCH_STRIDE = 8, 2  # 60 and 15 pixels of a 240x360 frame
LENGTHS = {"train": (9, 11), "test": (24, 8, 13)}
# clip and first row; strides 5 and 3, and the last that fits
STARTS = {
    "train": [(0, 0), (0, 1), (1, 9), (1, 12)],
    "test": [(0, 0), (0, 3), (0, 6), (0, 9), (0, 12), (0, 15), (0, 16), (1, 24), (2, 32), (2, 35), (2, 37)],
}
SETTINGS = {
    "data.height": H,
    "data.width": W,
    "data.channels": 3,
    "model.T": T,
    "model.tau": TAU,
    "model.app_channels": (4, 4, 6, 6),
    "model.mot_channels": (2, 2, 4, 4),
    "features.train_stride": 5,
    "features.test_stride": 3,
}


def films(lengths, *, seed):
    """Clips of a noisy background, each its own, and a bright square that moves: (N, H, W, 3) uint8."""
    generator = np.random.default_rng(seed)
    clips = []
    for length in lengths:
        film = generator.integers(40, 160, (1, H, W, 3)) + generator.integers(-3, 4, (length, H, W, 3))
        for t in range(length):
            film[t, 10:15, 4 * (t % 11) : 4 * (t % 11) + 5] = (250, 200, 220)
        clips.append(film)
    return np.concatenate(clips).astype(np.uint8)


def prepared(folder, lengths=LENGTHS):
    """A prepared data set of such clips."""
    folder.mkdir(exist_ok=True)
    clips = {}
    for seed, split in enumerate(lengths):
        np.save(folder / f"{split}_frames.npy", films(lengths[split], seed=seed))
        ends = np.cumsum(lengths[split])
        clips[split] = [
            {"name": f"{split}{i}", "start": int(end - n), "length": n}
            for i, (n, end) in enumerate(zip(lengths[split], ends))
        ]
    return Prepared(folder, {"dataset": "synthetic", "clips": clips, "subset": False})


def autoencoder(config, *, two_path=True, seed=0):
    """A network whose output depends on the whole window: its weights are larger than at the start."""
    model = build_autoencoder(config, two_path=two_path, seed=seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(2.5)
    return model.eval()


def extract(model, data, config, folder, *, identity="one", tick=lambda *_: None, say=lambda _: None):
    folder.mkdir(exist_ok=True)
    return extraction.extract(model, data, config, folder=folder, identity=identity, tick=tick, say=say)


def content(folder):
    """All arrays in a folder by name."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".npz":
            found |= {f"{path.name}:{key}": value for key, value in np.load(path).items()}
        else:
            assert path.suffix == ".npy", path.name
            found[path.name] = np.load(path)
    return found


@pytest.fixture(scope="module")
def config():
    return resolve("quick", "synthetic", SETTINGS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def whole(config, data, tmp_path_factory):
    """The two-path network, what its uninterrupted pass wrote, and the names that it returned."""
    folder, model = tmp_path_factory.mktemp("whole"), autoencoder(config)
    names = extract(model, data, config, folder)
    return model, content(folder), names


# -- by brute force ------------------------------------------------------------------------------------------


def run_window(model, frames, start, masks=None):
    """One window alone: I (3, T, H, W) in [-1, 1], I^, and the two last maps, as arrays. Where a mask is
    false, I is black."""
    window = np.array(frames[start : start + T], dtype=np.float32)
    if masks is not None:
        window[~masks[start : start + T]] = 0
    I = torch.from_numpy(window).permute(3, 0, 1, 2) / 255 * 2 - 1
    with torch.no_grad():
        out = model(I[None])
    return I.numpy(), *(None if a is None else a[0].numpy() for a in out)


def frame_by_frame(model, frames, windows, count, masks=None):
    """For each frame every reading over all windows that hold it, the mean of its error maps, and how windows
    differ."""
    maps = [[] for _ in range(count)]
    for _, start in windows:
        I, I_hat, *_ = run_window(model, frames, start, masks)
        error = np.abs(I - I_hat).swapaxes(0, 1) / 2  # (T, C, H, W)
        for t in range(T):
            maps[start + t].append(error[t])
    firsts = range(0, H - PATCH + 1, PATCH_STRIDE), range(0, W - PATCH + 1, PATCH_STRIDE)
    readings = [slow_eq7.readings(own, clamp=1e-3, side=(PATCH, PATCH), firsts=firsts) for own in maps]
    spread = max(np.ptp([e.mean() for e in own]) for own in maps)
    means = {name: np.array([r[name] for r in readings]) for name in readings[0]}
    return means, np.array([np.mean(own, axis=0).mean(0) for own in maps]), spread


def test_windows_and_files_are_those_of_both_splits(whole):
    _, found, names = whole
    assert {split: found[f"{split}_windows.npy"].tolist() for split in STARTS} == {
        split: [list(row) for row in rows] for split, rows in STARTS.items()
    }
    listed = [name for split in names.values() for name in split]
    assert sorted(listed) == sorted({name.split(":")[0] for name in found})
    assert all(name.startswith(split) for split, own in names.items() for name in own)
    for split in STARTS:
        n = len(STARTS[split])
        channels = {"app": 2 * T // TAU, "mot": 2 * T, "intensity": T // TAU, "error": T // TAU}
        assert {k: found[f"{split}_{k}.npy"].shape for k in channels} == {
            k: (n, C, 8, 12) for k, C in channels.items()
        }
        for name in ("app", "mot"):
            x = found[f"{split}_{name}.npy"].reshape(n, -1)
            np.testing.assert_array_equal(
                found[f"{split}_{name}_range.npy"], np.stack((x.min(1), x.max(1)), axis=1)
            )


@pytest.mark.parametrize("split", ["train", "test"])
def test_errors_of_each_frame_are_the_mean_over_its_windows(whole, data, split):
    model, found, _ = whole
    expected, maps, spread = frame_by_frame(model, data.frames(split), STARTS[split], sum(LENGTHS[split]))
    # a frame's windows differ in it, so that a mean matters
    assert spread > 1e-3
    assert {n for n in found if n.startswith(f"{split}_errors")} == {
        f"{split}_errors.npz:{n}" for n in expected
    }
    assert len(expected) == 64
    for name, values in expected.items():
        np.testing.assert_allclose(found[f"{split}_errors.npz:{name}"], values, rtol=2e-5)
    if split == "test":
        stored = found["test_error_maps.npy"]
        assert stored.dtype == np.float16
        np.testing.assert_allclose(stored.astype(float), maps, atol=1e-3)


def test_reconstructions_are_the_mean_over_windows_as_frames(whole, data):
    model, found, _ = whole
    frames, stored = data.frames("test"), found["test_reconstructions.npy"]
    sums, counts = np.zeros(frames.shape), np.zeros((len(frames), 1, 1, 1))
    for _, start in STARTS["test"]:
        I_hat = run_window(model, frames, start)[1]
        sums[start : start + T] += I_hat.transpose(1, 2, 3, 0)  # (C, T, H, W) -> (T, H, W, C)
        counts[start : start + T] += 1
    expected = (sums / counts + 1) / 2 * 255
    assert stored.shape == frames.shape and stored.dtype == np.uint8 and expected.std() > 5
    assert np.abs(stored - expected).max() <= 0.51


def test_what_lies_outside_the_range_of_grey_is_cut_off():
    for input_range, values in (("-1..1", (-1.2, -1.0, 0.0, 1.0, 1.7)), ("0..1", (-0.1, 0.0, 0.5, 1.0, 1.4))):
        got = extraction.as_frames(torch.tensor(values).reshape(1, 1, 1, 5), input_range=input_range)
        assert got.shape == (1, 1, 5, 1) and got.ravel().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_of_the_features_belong_to_their_windows(whole, data, split):
    model, found, _ = whole
    for row, (_, start) in enumerate(STARTS[split]):
        I, I_hat, x_app, x_mot = run_window(model, data.frames(split), start)
        expected = {
            "app": np.concatenate((x_app.max(axis=0), x_app.mean(axis=0))),
            "mot": np.concatenate((x_mot.max(axis=0), x_mot.mean(axis=0))),
        }
        for name, x in (("intensity", I), ("error", np.abs(I - I_hat))):
            expected[name] = x[:, [0, 4]].mean(axis=0).reshape(2, 8, 4, 12, 4).mean(axis=(2, 4))
        for name, values in expected.items():
            np.testing.assert_allclose(
                found[f"{split}_{name}.npy"][row], values, atol=2e-5, err_msg=f"{name}, {row}"
            )


def test_time_may_be_averaged(data, tmp_path, whole):
    model, stacked, _ = whole
    extract(model, data, resolve("quick", "synthetic", SETTINGS | {"features.time": "mean"}), tmp_path)
    for name, frames in (("app", T // TAU), ("mot", T)):
        got = np.load(tmp_path / f"test_{name}.npy")
        expected = stacked[f"test_{name}.npy"].reshape(-1, 2, frames, 8, 12).mean(axis=2)
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_one_path_has_errors_and_no_features(config, data, tmp_path):
    model = autoencoder(config, two_path=False)
    names = extract(model, data, config, tmp_path)
    assert names == {
        "train": ["train_errors.npz", "train_windows.npy"],
        "test": ["test_errors.npz", "test_error_maps.npy", "test_reconstructions.npy", "test_windows.npy"],
    }
    expected, maps, _ = frame_by_frame(model, data.frames("test"), STARTS["test"], sum(LENGTHS["test"]))
    np.testing.assert_allclose(np.load(tmp_path / "test_errors.npz")[MEAN], expected[MEAN], rtol=2e-5)
    np.testing.assert_allclose(np.load(tmp_path / "test_error_maps.npy").astype(float), maps, atol=1e-3)


def moving(frames):
    """What moves in each clip of the test split by OpenCV's own means, clip by clip: (N, H, W) bool."""
    masks, first = [], 0
    for length in LENGTHS["test"]:
        clip, subtractor = np.array(frames[first : first + length]), cv2.createBackgroundSubtractorMOG2()
        for frame in clip:
            subtractor.apply(frame)
        difference = np.abs(clip.astype(int) - subtractor.getBackgroundImage()).sum(axis=-1)
        cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
        masks += [cv2.dilate((d > 128).astype(np.uint8), cross, iterations=5) > 0 for d in difference]
        first += length
    masks = np.array(masks)
    assert 0.05 < masks.mean() < 0.7
    return masks


def test_the_background_of_each_clip_counts_as_no_error(data, tmp_path, whole):
    config = resolve("quick", "synthetic", SETTINGS | {"error.background": "error"})
    extract(autoencoder(config), data, config, tmp_path)
    masks, stored = moving(data.frames("test")), np.load(tmp_path / "test_error_maps.npy")
    unmasked = whole[1]["test_error_maps.npy"]
    np.testing.assert_allclose(stored.astype(float), np.where(masks, unmasked, 0), atol=1e-3)
    assert stored[~masks].max() == 0
    got = np.load(tmp_path / "test_errors.npz")["absolute/averaged/mean/mean/average_first"]
    # still a mean over all pixels
    expected = -np.log10(1 - np.where(masks, unmasked, 0).astype(float).mean((1, 2)))
    np.testing.assert_allclose(got, expected, rtol=5e-3)
    # the network saw it all
    np.testing.assert_array_equal(np.load(tmp_path / "test_app.npy"), whole[1]["test_app.npy"])


def test_the_background_is_black_in_what_the_network_sees_and_gives_back(data, tmp_path):
    config = resolve("quick", "synthetic", SETTINGS | {"error.background": "input"})
    model, frames = autoencoder(config), data.frames("test")
    extract(model, data, config, tmp_path)
    masks = moving(frames)
    expected, maps, _ = frame_by_frame(model, frames, STARTS["test"], len(frames), masks)
    got = np.load(tmp_path / "test_errors.npz")
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=5e-5, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(np.load(tmp_path / "test_error_maps.npy").astype(float), maps, atol=1e-3)
    I, _, x_app, _ = run_window(model, frames, STARTS["test"][3][1], masks)
    np.testing.assert_allclose(np.load(tmp_path / "test_app.npy")[3][:2], x_app.max(axis=0), atol=2e-5)
    np.testing.assert_allclose(
        np.load(tmp_path / "test_intensity.npy")[3],
        I[:, [0, 4]].mean(axis=0).reshape(2, 8, 4, 12, 4).mean(axis=(2, 4)),
        atol=2e-5,
    )


def test_a_stride_beyond_T_leaves_no_frame_out(data, tmp_path, whole):
    """Windows of T frames side by side, and the last one that fits: every frame has an error."""
    model = whole[0]
    extract(model, data, resolve("quick", "synthetic", SETTINGS | {"features.test_stride": 100}), tmp_path)
    assert np.load(tmp_path / "test_windows.npy").tolist() == [
        [0, 0],
        [0, 8],
        [0, 16],
        [1, 24],
        [2, 32],
        [2, 37],
    ]
    assert (np.load(tmp_path / "test_errors.npz")[MEAN] > 0).all()


def test_the_network_stays_as_it_was_and_no_label_is_read(config, data, tmp_path, whole):
    """Nothing of the test split reaches the weights or the running statistics."""
    assert not (data.folder / "test_labels.npy").exists()
    model = autoencoder(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    extract(model, data, config, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# -- interrupted ---------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def kill_at(clip, done):
    """A tick that ends the pass in the middle of a clip."""

    def tick(count, total, text):
        assert total == len(STARTS["train"]) + len(STARTS["test"])
        if text == clip and count >= done:
            raise Killed

    return tick


@pytest.mark.parametrize(("clip", "done"), [("train train1", 4), ("test test0", 8), ("test test2", 15)])
def test_a_killed_pass_goes_on_and_ends_the_same(config, data, tmp_path, whole, clip, done):
    model, expected, names = whole
    with pytest.raises(Killed):
        extract(model, data, config, tmp_path, tick=kill_at(clip, done))
    finished = json.loads(next(tmp_path.glob("extracted-*.json")).read_text())
    seen, lines = [], []
    again = extract(
        model, data, config, tmp_path, tick=lambda count, total, text: seen.append(text), say=lines.append
    )
    assert f"continuing after {len(finished)} clips" in lines
    assert seen[0] == clip and not {text.replace(" ", "/") for text in seen} & set(finished)
    assert again == names
    got = content(tmp_path)
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)


def test_progress_counts_every_window_once(config, data, tmp_path, whole):
    counts = []
    extract(whole[0], data, config, tmp_path, tick=lambda count, total, _: counts.append((count, total)))
    assert [total for _, total in counts] == len(counts) * [15]
    assert counts[-1][0] == 15 and all(a < b for (a, _), (b, _) in zip(counts, counts[1:]))


@pytest.mark.parametrize("clip", ["train train1", "test test1"])
def test_a_pass_of_another_identity_is_not_continued(config, data, tmp_path, whole, clip):
    """Other weights, other strides: what a killed pass has left behind changes nothing, killed again or
    not."""
    other = resolve("quick", "synthetic", SETTINGS | {"features.test_stride": 8, "features.train_stride": 2})
    with pytest.raises(Killed):
        extract(whole[0], data, config, tmp_path / "here", identity="one", tick=kill_at("test test1", 12))
    model = autoencoder(other, seed=3)
    with pytest.raises(Killed):
        extract(
            model,
            data,
            other,
            tmp_path / "here",
            identity="two",
            tick=lambda *progress: stop(progress[2] == clip),
        )
    extract(model, data, other, tmp_path / "here", identity="two")
    assert not list((tmp_path / "here").glob("extracted-*"))
    extract(model, data, other, tmp_path / "new", identity="two")
    got, expected = content(tmp_path / "here"), content(tmp_path / "new")
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)


def stop(now):
    if now:
        raise Killed


# -- streaming -----------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_a_clip_and_time_grows_in_proportion(config, tmp_path):
    """A ten times longer clip: peak memory at most 10 % higher, time in proportion (processor time, the best
    of two).

    Arrays of NumPy are counted by tracemalloc; tensors by the process' own memory, without what is mapped
    from files.
    """
    model = autoencoder(config)
    tests = {
        name: prepared(tmp_path / name, {"train": (), "test": (length,)} | ({"train": (8,)}))
        for name, length in (("short", 60), ("long", 600))
    }

    def own_memory():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

    def peak_of_arrays(name):
        tracemalloc.start()
        extract(model, tests[name], config, tmp_path / f"{name}-out")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    def growth_and_seconds(name):
        before, most, start = own_memory(), [0], time.process_time()
        extract(
            model, tests[name], config, tmp_path / f"{name}-out", tick=lambda *_: most.append(own_memory())
        )
        return max(most) - before, time.process_time() - start

    extract(model, tests["short"], config, tmp_path / "short-out")
    assert peak_of_arrays("long") < 1.1 * peak_of_arrays("short")
    if not os.path.exists("/proc/self/status"):
        pytest.skip("finds the memory of the process in /proc")
    short, long = ([growth_and_seconds(name) for _ in range(2)] for name in ("short", "long"))
    one_window_each = 200 * 3 * T * H * W * 4  # what keeping every reconstruction would take
    assert min(g for g, _ in long) - min(g for g, _ in short) < one_window_each / 4
    assert min(s for _, s in long) < 15 * min(s for _, s in short)
