"""One pass of a trained autoencoder over a data set: error values of every frame, features of every window.

Everything later, the flows, the scores, the figures, reads what is written here and never runs the autoencoder again.
Clips stream through: memory does not grow with their length, and a pass that was killed goes on with the next clip.

Written into the run's folder, for both splits:

    {split}_errors.npz            Eq. 7 of each frame in four readings, see `scoring.frame_reductions`     (N,) each
    test_errors_over_training.npz   the readings at the autoencoder's snapshots: step (m,), (m, N) each
    test_error_maps.npy           |I - I^| in [0, 1], mean over all windows with the frame                 (N, H, W) float16
    {split}_windows.npy           index of the clip, first row in the split's array                        (n, 2)
    {split}_app.npy, {split}_mot.npy             pooled features of each window (two paths only)           (n, C, h, w)
    {split}_intensity.npy, {split}_error.npy     extra appearance information (two paths only)             (n, T/tau, h, w)
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import numpy as np
import torch

from lib.config import Config
from lib.datasets.prepared import Clip, Prepared, windows
from lib.features import error_map, intensity, pool
from lib.itae import ITAE
from lib.scoring import WindowMean, absolute_error, foreground, frame_reductions, mog_background
from lib.training.stage1 import data_range, load_windows, reconstruct

BATCH = 4  # windows at once


def extract(model: ITAE, data: Prepared, config: Config, *, folder: Path, identity: str, tick: Callable,
            say: Callable) -> dict[str, list[str]]:
    """Runs the autoencoder over both splits and writes the files above. Returns their names by split.

    `tick(done, total, text)` is called after each batch, `say(line)` after each split. Raises DataError for a clip
    shorter than T and ScoreError where the network's output is not finite.
    """
    strides = {"train": config.features.train_stride, "test": config.features.test_stride}
    plans = {split: windows(data.clips(split), T=config.model.T, stride=min(stride, config.model.T))
             for split, stride in strides.items()}
    total, count = sum(map(len, plans.values())), 0
    journal = folder / f"extracted-{identity[:12]}.json"
    finished = json.loads(journal.read_text()) if journal.exists() else []
    for other in set(folder.glob("extracted-*.json")) - {journal}:
        other.unlink()  # of a pass with other settings, whose arrays this one overwrites
    if finished:
        say(f"continuing after {len(finished)} clips")
    names = {}
    for split, plan in plans.items():
        if len(plan):
            begun = any(f"{split}/{clip.name}" in finished for clip in data.clips(split))
            arrays = _Arrays(folder, split, data, config, model, len(plan), fresh=not begun)
            for index, clip in enumerate(data.clips(split)):
                rows = np.flatnonzero(plan[:, 0] == index)
                if f"{split}/{clip.name}" not in finished:
                    _extract_clip(model, data, config, clip, plan[rows, 1], rows[0], arrays,
                                  lambda done: tick(count + done, total, f"{split} {clip.name}"))
                    arrays.flush()
                    finished.append(f"{split}/{clip.name}")
                    journal.write_text(json.dumps(finished))
                count += len(rows)
            np.save(folder / f"{split}_windows.npy", plan)
            names[split] = [*arrays.finish(), f"{split}_windows.npy"]
            say(f"{split}: {len(plan)} windows of {len(data.clips(split))} clips")
    journal.unlink(missing_ok=True)
    for readings in folder.glob("*_readings.npy"):
        readings.unlink()  # they are in {split}_errors.npz
    return names


@torch.no_grad()
def _extract_clip(model: ITAE, data: Prepared, config: Config, clip: Clip, starts, row: int, arrays: "_Arrays",
                  tick: Callable) -> None:
    """One clip: its windows in batches of BATCH, always cut the same way, so that resuming changes nothing."""
    T, frames = config.model.T, data.frames(clip.split)
    readings, maps = WindowMean(T=T, length=clip.length), WindowMean(T=T, length=clip.length)
    background = _background(frames, clip, config)
    frame = map_frame = clip.start
    for first in range(0, len(starts), BATCH):
        chosen = starts[first:first + BATCH]
        I = load_windows(frames, chosen, T=T, input_range=config.model.input_range)
        out = reconstruct(model, I, config)
        I_hat = out.reconstruction.cpu()
        for start, error, values in _read(I, I_hat, chosen, frames, background, config):
            frame = arrays.put_readings(frame, readings.add(start - clip.start, values))
            if arrays.maps is not None:
                map_frame = arrays.put_maps(map_frame, maps.add(start - clip.start, error))
        if out.x_mot is not None:
            size, tau, at = out.x_app.shape[-2:], config.model.tau, slice(row + first, row + first + len(chosen))
            arrays.features["app"][at] = pool(out.x_app, time=config.features.time).cpu().numpy()
            arrays.features["mot"][at] = pool(out.x_mot, time=config.features.time).cpu().numpy()
            arrays.features["intensity"][at] = intensity(I, tau=tau, size=size).numpy()
            arrays.features["error"][at] = error_map(I, I_hat, tau=tau, size=size).numpy()
        tick(first + len(chosen))
    arrays.put_readings(frame, readings.finish())
    if arrays.maps is not None:
        arrays.put_maps(map_frame, maps.finish())


@torch.no_grad()
def errors_over_training(model: ITAE, snapshots: dict[int, dict], data: Prepared, config: Config, *, folder: Path,
                         tick: Callable) -> str:
    """Writes Eq. 7 of each test frame by the autoencoder as it was after certain steps; returns the file's name.

    `snapshots` are the weights by step; afterwards the network has those of the last. Windows lie end to end here, so a
    frame is in one window (in two near the end of a clip) where `extract` takes every window of `features.test_stride`.
    """
    T, frames, clips = config.model.T, data.frames("test"), data.clips("test")
    plan = windows(clips, T=T, stride=T)
    total, rows = len(snapshots) * len(plan), []
    for n, state in enumerate(snapshots.values()):
        model.load_state_dict(state)
        parts = []
        for index, clip in enumerate(clips):
            readings, background = WindowMean(T=T, length=clip.length), _background(frames, clip, config)
            starts = plan[plan[:, 0] == index, 1]
            for first in range(0, len(starts), BATCH):
                chosen = starts[first:first + BATCH]
                I = load_windows(frames, chosen, T=T, input_range=config.model.input_range)
                I_hat = reconstruct(model, I, config).reconstruction.cpu()
                for start, _, values in _read(I, I_hat, chosen, frames, background, config):
                    parts.append(readings.add(start - clip.start, values))
            parts.append(readings.finish())
            tick(n * len(plan) + int((plan[:, 0] <= index).sum()), total, "along the training")
        rows.append(np.concatenate(parts))
    values = np.reshape(rows, (len(snapshots), len(frames), len(_Arrays.READINGS)))
    name = "test_errors_over_training.npz"
    np.savez(folder / name, step=np.array(list(snapshots), np.int64),
             **{reading: values[..., i] for i, reading in enumerate(_Arrays.READINGS)})
    return name


def _background(frames: np.ndarray, clip: Clip, config: Config) -> np.ndarray | None:
    """A clip's background where it is to be removed, otherwise None."""
    if config.error.background == "none":
        return None
    return mog_background(frames[clip.start:clip.start + clip.length])


def _read(I, I_hat, starts, frames: np.ndarray, background: np.ndarray | None, config: Config):
    """Of each window of a batch: its first row, its error map (T, H, W), and its readings of Eq. 7 (T, 4)."""
    errors = absolute_error(I.numpy(), I_hat.numpy(), value_range=data_range(config.model.input_range))  # (n, T, H, W)
    for error, start in zip(errors, starts):
        mask = None if background is None else foreground(np.asarray(frames[start:start + config.model.T]), background)
        values = frame_reductions(error, clamp=config.error.clamp, patch=config.error.patch,
                                  patch_stride=config.error.patch_stride, mask=mask)
        yield start, error if mask is None else np.where(mask, error, 0), np.stack(list(values.values()), 1)


class _Arrays:
    """The arrays of one split on the disk, opened for writing."""

    READINGS = ("pixel/mean", "pixel/patch_max", "mean/mean", "mean/patch_max")

    def __init__(self, folder: Path, split: str, data: Prepared, config: Config, model: ITAE, count: int, fresh: bool):
        self.folder, self.split = folder, split
        N, H, W, _ = data.frames(split).shape
        self.readings = self._open(f"{split}_readings.npy", (N, 4), np.float64, fresh)
        self.maps = self._open("test_error_maps.npy", (N, H, W), np.float16, fresh) if split == "test" else None
        self.features = {}
        if model.two_path:
            stacked = {"stack": 1, "mean": 0}[config.features.time]
            slow, fast = config.model.T // config.model.tau, config.model.T
            channels = {"app": 2 * (slow if stacked else 1), "mot": 2 * (fast if stacked else 1), "intensity": slow, "error": slow}
            size = (H // model.shrink, W // model.shrink)
            self.features = {name: self._open(f"{split}_{name}.npy", (count, C, *size), np.float32, fresh)
                             for name, C in channels.items()}

    def _open(self, name: str, shape: tuple, dtype, fresh: bool):
        path = self.folder / name
        if fresh:
            return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        return np.lib.format.open_memmap(path, mode="r+")

    def put_readings(self, at: int, values: np.ndarray) -> int:
        self.readings[at:at + len(values)] = values
        return at + len(values)

    def put_maps(self, at: int, values: np.ndarray) -> int:
        self.maps[at:at + len(values)] = values
        return at + len(values)

    def flush(self) -> None:
        for array in (self.readings, *([] if self.maps is None else [self.maps]), *self.features.values()):
            array.flush()

    def finish(self) -> list[str]:
        """Names of the files, the readings having been put together as one."""
        np.savez(self.folder / f"{self.split}_errors.npz", **{n: self.readings[:, i] for i, n in enumerate(self.READINGS)})
        maps = [] if self.maps is None else ["test_error_maps.npy"]
        return [f"{self.split}_errors.npz", *maps, *(f"{self.split}_{name}.npy" for name in self.features)]
