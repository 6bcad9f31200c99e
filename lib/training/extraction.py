"""One pass of a trained autoencoder over a data set: errors of every frame, features of every window.

All later steps (flows, scores, figures) read the files written here and never run the autoencoder again. One
clip is processed at a time, so memory does not grow with the data set; a killed pass continues with the next
clip.

The files in the run's folder, {split} being train and test; N frames, n windows:

    {split}_errors.npz
        Eq. 7 of each frame in all readings, see `scoring.readings`: (N,) each
    test_errors_over_training.npz
        the readings at the autoencoder's snapshots: step (m,), readings (m, N) each
    test_error_maps.npy
        |I - I^| in [0, 1], mean over all windows with the frame: (N, H, W) float16
    test_reconstructions.npy
        I^ as 8-bit frames, mean over the same windows, for viewing: (N, H, W, C) uint8
    {split}_windows.npy
        index of the clip, first row in the split's array: (n, 2)

and with two paths also:

    {split}_app.npy, {split}_mot.npy
        pooled features of each window: (n, C, h, w)
    {split}_app_range.npy, {split}_mot_range.npy
        their smallest and largest value, for Eq. 8: (n, 2)
    {split}_intensity.npy, {split}_error.npy
        extra appearance information: (n, T/tau, h, w)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lib.config import Config
from lib.datasets.background import foreground, mog_background
from lib.datasets.prepared import Clip, Prepared, windows
from lib.features import error_map, intensity, pool
from lib.itae import ITAE
from lib.scoring import readings
from lib.training.eq7 import WindowMean, absolute_error, eq7_maps, readings_of_means, readings_of_windows
from lib.training.loop import check_precision
from lib.training.stage1 import data_range, load_windows, reconstruct

BATCH = 4  # windows per forward pass


def extract(
    model: ITAE, data: Prepared, config: Config, *, folder: Path, identity: str, tick: Callable, say: Callable
) -> dict[str, list[str]]:
    """Run the autoencoder over both splits and write the files listed above. Returns their names by split.

    `tick(done, total, text)` is called after each batch, `say(line)` after each split. Raises DataError for a
    clip shorter than T and ScoreError if the network's output is not finite.
    """
    check_precision(config)
    strides = {"train": config.features.train_stride, "test": config.features.test_stride}
    plans = {
        split: windows(data.clips(split), T=config.model.T, stride=min(stride, config.model.T))
        for split, stride in strides.items()
    }
    total, count = sum(map(len, plans.values())), 0
    journal = folder / f"extracted-{identity[:12]}.json"
    finished = json.loads(journal.read_text()) if journal.exists() else []
    for other in set(folder.glob("extracted-*.json")) - {journal}:
        other.unlink()  # left by a pass with other settings, whose arrays are overwritten
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
                    _extract_clip(
                        model,
                        data,
                        config,
                        clip,
                        plan[rows, 1],
                        rows[0],
                        arrays,
                        lambda done: tick(count + done, total, f"{split} {clip.name}"),
                    )
                    arrays.flush()
                    finished.append(f"{split}/{clip.name}")
                    journal.write_text(json.dumps(finished))
                count += len(rows)
            np.save(folder / f"{split}_windows.npy", plan)
            names[split] = [*arrays.finish(), f"{split}_windows.npy"]
            say(f"{split}: {len(plan)} windows of {len(data.clips(split))} clips")
    journal.unlink(missing_ok=True)
    for unpacked in folder.glob("*_readings.npy"):
        unpacked.unlink()  # now in {split}_errors.npz
    return names


@torch.no_grad()
def _extract_clip(
    model: ITAE, data: Prepared, config: Config, clip: Clip, starts, row: int, arrays: _Arrays, tick: Callable
) -> None:
    """One clip: its windows in batches of BATCH, always divided in the same way, so that resuming does not
    change results."""
    passing, at_frame = _Pass(model, data, config, clip, pictures=clip.split == "test"), clip.start
    for first in range(0, len(starts), BATCH):
        chosen = starts[first : first + BATCH]
        I, out, finished = passing.batch(chosen)
        at_frame = arrays.put_frames(at_frame, *finished)
        if out.x_mot is not None:
            size, tau, at = (
                out.x_app.shape[-2:],
                config.model.tau,
                slice(row + first, row + first + len(chosen)),
            )
            for name, x in (("app", out.x_app), ("mot", out.x_mot)):
                pooled = pool(x, time=config.features.time)
                arrays.features[name][at] = pooled.cpu().numpy()
                arrays.features[f"{name}_range"][at] = (
                    torch.stack(pooled.flatten(1).aminmax(dim=1), dim=1).cpu().numpy()
                )
            I_hat = out.reconstruction
            arrays.features["intensity"][at] = intensity(I, tau=tau, size=size).cpu().numpy()
            arrays.features["error"][at] = error_map(I, I_hat, tau=tau, size=size).cpu().numpy()
        tick(first + len(chosen))
    arrays.put_frames(at_frame, *passing.finish())


@torch.no_grad()
def errors_over_training(
    model: ITAE, snapshots: dict[int, dict], data: Prepared, config: Config, *, folder: Path, tick: Callable
) -> str:
    """Write Eq. 7 of each test frame by the autoencoder at each of its snapshots; returns the file's name.

    `snapshots` are weights by step; afterwards the network has those of the last. To save time, only as many
    windows are used as cover every frame, and each frame is read from the first window that contains it,
    whereas `extract` averages over all windows at `features.test_stride`. With one window per frame both
    orders of averaging give the same number.
    """
    clips, names = data.clips("test"), readings(config.data.channels)
    plan = windows(clips, T=config.model.T, stride=config.model.T)
    total, rows = len(snapshots) * len(plan), []
    for n, state in enumerate(snapshots.values()):
        model.load_state_dict(state)
        parts = []
        for index, clip in enumerate(clips):
            passing, starts, at = _Pass(model, data, config, clip), plan[plan[:, 0] == index, 1], clip.start
            for first in range(0, len(starts), BATCH):
                chosen = starts[first : first + BATCH]
                for start, error in zip(chosen, passing.errors(chosen)[2]):
                    values = readings_of_windows(error, **passing.eq7).cpu()
                    parts.append(values[at - start :])
                    at = start + len(values)
            tick(n * len(plan) + int((plan[:, 0] <= index).sum()), total, "along the training")
        rows.append(torch.cat(parts).repeat(1, 2).numpy())
    values = np.reshape(rows, (len(snapshots), len(data.frames("test")), len(names)))
    name = "test_errors_over_training.npz"
    np.savez(
        folder / name,
        step=np.array(list(snapshots), np.int64),
        **{reading: values[..., i] for i, reading in enumerate(names)},
    )
    return name


class _Pass:
    """A network's pass over the windows of one clip. Gives readings and error maps of frames as they are
    finished, and with `pictures` their reconstructions."""

    def __init__(self, model: ITAE, data: Prepared, config: Config, clip: Clip, *, pictures: bool = False):
        self.model, self.config, self.frames = model, config, data.frames(clip.split)
        self.clip, self.background = clip, None
        if config.error.background != "none":
            self.background = mog_background(self.frames[clip.start : clip.start + clip.length])
        self.eq7 = {
            "clamp": config.error.clamp,
            "patch": config.error.patch,
            "patch_stride": config.error.patch_stride,
        }
        self.readings, self.maps = (WindowMean(T=config.model.T, length=clip.length) for _ in range(2))
        self.seen = WindowMean(T=config.model.T, length=clip.length) if pictures else None

    def errors(self, starts):
        """Windows by their first rows -> I, the network's output, and the errors |I - I^| (n, T, C, H, W),
        all on its device."""
        model = self.config.model
        black = [self.background] * len(starts) if self.config.error.background == "input" else None
        I = load_windows(self.frames, starts, T=model.T, input_range=model.input_range, backgrounds=black)
        out = reconstruct(self.model, I, self.config)
        I = I.to(out.reconstruction.device)
        errors = absolute_error(I, out.reconstruction, value_range=data_range(model.input_range))
        if self.config.error.background == "error":
            kept = [foreground(np.asarray(self.frames[s : s + model.T]), self.background) for s in starts]
            errors = errors * torch.from_numpy(np.stack(kept))[:, :, None].to(errors.device)
        return I, out, errors

    def batch(self, starts):
        """Windows by their first rows -> I and the network's output, both on its device, and the finished
        frames.

        These are their readings (n, R), error maps (n, H, W) and, with `pictures`, reconstructions
        (n, H, W, C) uint8, as arrays.
        """
        I, out, errors = self.errors(starts)
        finished = []
        for error, I_hat, start in zip(errors, out.reconstruction, starts):
            at = int(start) - self.clip.start
            reduced = self.readings.add(at, readings_of_windows(error, **self.eq7).cpu())
            maps = self.maps.add(at, eq7_maps(error, clamp=self.eq7["clamp"]))
            seen = self.seen.add(at, I_hat.transpose(0, 1).float()) if self.seen else None
            finished.append(self._arrays(reduced, maps, seen))
        return I, out, tuple(np.concatenate(part) for part in zip(*finished))

    def finish(self):
        """The same arrays for the remaining frames of the clip."""
        return self._arrays(
            self.readings.finish(), self.maps.finish(), self.seen.finish() if self.seen else None
        )

    def _arrays(self, reduced, maps, seen):
        """Arrays of finished frames: all readings, (n, R), |I - I^| averaged over the colours, (n, H, W), and
        with `pictures` I^ as 8-bit frames, (n, H, W, C)."""
        values = torch.cat((reduced, readings_of_means(maps, **self.eq7).cpu()), dim=-1)
        arrays = values.numpy(), maps[:, : self.config.data.channels].mean(1).cpu().numpy()
        return (
            arrays if seen is None else (*arrays, as_frames(seen, input_range=self.config.model.input_range))
        )


def as_frames(I_hat: torch.Tensor, *, input_range: str) -> np.ndarray:
    """Reconstructed frames (n, C, H, W) in the network's range -> 8-bit frames (n, H, W, C). Values outside
    the range are clipped."""
    scaled = (I_hat + 1) / 2 if input_range == "-1..1" else I_hat
    return (scaled.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


class _Arrays:
    """The arrays of one split on the disk, opened for writing."""

    def __init__(
        self, folder: Path, split: str, data: Prepared, config: Config, model: ITAE, count: int, fresh: bool
    ):
        self.folder, self.split, self.names = folder, split, readings(config.data.channels)
        N, H, W, C = data.frames(split).shape
        self.readings = self._open(f"{split}_readings.npy", (N, len(self.names)), np.float64, fresh)
        self.maps = self.seen = None
        if split == "test":
            self.maps = self._open("test_error_maps.npy", (N, H, W), np.float16, fresh)
            self.seen = self._open("test_reconstructions.npy", (N, H, W, C), np.uint8, fresh)
        self.features = {}
        if model.two_path:
            stacked = {"stack": 1, "mean": 0}[config.features.time]
            slow, fast = config.model.T // config.model.tau, config.model.T
            size = (H // model.shrink, W // model.shrink)
            shapes = {
                "app": (2 * (slow if stacked else 1), *size),
                "mot": (2 * (fast if stacked else 1), *size),
                "app_range": (2,),
                "mot_range": (2,),
                "intensity": (slow, *size),
                "error": (slow, *size),
            }
            self.features = {
                name: self._open(f"{split}_{name}.npy", (count, *shape), np.float32, fresh)
                for name, shape in shapes.items()
            }

    def _open(self, name: str, shape: tuple, dtype, fresh: bool):
        path = self.folder / name
        if fresh:
            return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        return np.lib.format.open_memmap(path, mode="r+")

    def put_frames(
        self, at: int, values: np.ndarray, maps: np.ndarray, seen: np.ndarray | None = None
    ) -> int:
        """Write readings, error maps and reconstructions of frames from row `at` on; returns the row after
        them."""
        self.readings[at : at + len(values)] = values
        if self.maps is not None:
            self.maps[at : at + len(maps)] = maps
            self.seen[at : at + len(maps)] = seen
        return at + len(values)

    def flush(self) -> None:
        for array in (
            self.readings,
            *([] if self.maps is None else [self.maps, self.seen]),
            *self.features.values(),
        ):
            array.flush()

    def finish(self) -> list[str]:
        """Combine the readings in one file and return the names of all files."""
        np.savez(
            self.folder / f"{self.split}_errors.npz",
            **{n: self.readings[:, i] for i, n in enumerate(self.names)},
        )
        maps = [] if self.maps is None else ["test_error_maps.npy", "test_reconstructions.npy"]
        return [f"{self.split}_errors.npz", *maps, *(f"{self.split}_{name}.npy" for name in self.features)]
