"""Stage 1: ITAE learns to reconstruct windows of normal video ("Overview", Eq. 3 and 4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.config import Config, values
from lib.datasets.background import foreground, mog_background
from lib.datasets.prepared import Prepared, windows
from lib.errors import TrainingError
from lib.itae import ITAE
from lib.losses import reconstruction_loss
from lib.training.loop import (
    check_precision,
    device_of,
    draw,
    draw_clip_first,
    fit,
    load_weights,
    save_weights,
    take,
)


def load_windows(frames: np.ndarray, starts, *, T: int, input_range: str, backgrounds=None) -> Tensor:
    """Windows from the prepared array: (N, H, W, C) uint8 and n first rows -> (n, C, T, H, W) float32.

    `backgrounds`, if given, has one (H, W, C) uint8 for each window; pixels that do not differ from it become
    black.
    """
    pixels = [frames[s : s + T] for s in starts]
    if backgrounds is not None:
        pixels = [
            x * foreground(x, background)[..., None]
            for x, background in zip(pixels, backgrounds, strict=True)
        ]
    batch = torch.from_numpy(np.stack(pixels))  # (n, T, H, W, C)
    return to_range(batch.permute(0, 4, 1, 2, 3), input_range=input_range)


def blackened_backgrounds(config: Config, data: Prepared, split: str) -> list[np.ndarray] | None:
    """The background of each clip of a split if it is blackened in the network's input (`error.background`),
    else None."""
    if config.error.background != "input":
        return None
    frames = data.frames(split)
    return [mog_background(frames[clip.start : clip.start + clip.length]) for clip in data.clips(split)]


def to_range(frames: Tensor, *, input_range: str) -> Tensor:
    """8-bit frames as float32 in [-1, 1] or [0, 1]."""
    scaled = frames.float() / 255
    return scaled * 2 - 1 if input_range == "-1..1" else scaled


def data_range(input_range: str) -> float:
    """The largest possible difference of two pixels: 2 for [-1, 1]."""
    return 2.0 if input_range == "-1..1" else 1.0


def layout_of(config: Config) -> torch.memory_format:
    """PyTorch's name for `machine.layout`."""
    return {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}[
        config.machine.layout
    ]


def build_autoencoder(config: Config, *, two_path: bool, seed: int) -> ITAE:
    """ITAE with the initial weights of `seed`, on its device and in its memory layout."""
    settings = {k: v for k, v in values(config.model).items() if k != "input_range"}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ITAE(channels=config.data.channels, two_path=two_path, **settings)
    return model.to(device_of(config), memory_format=layout_of(config))


def reconstruct(model: ITAE, x: Tensor, config: Config):
    """A forward pass in the configuration's precision and layout: I (B, C, T, H, W) -> `itae.Output`."""
    device = device_of(config)
    x = x.to(device).contiguous(memory_format=layout_of(config))
    with torch.autocast(device.type, torch.bfloat16, enabled=config.machine.precision == "bfloat16"):
        return model(x)


def draw_windows(config: Config, clips: np.ndarray, *, seed: int, step: int) -> np.ndarray:
    """Numbers of the windows of one step, drawn as `autoencoder.windows` says; `clips` (n,) has the clip of
    each window."""
    how = {"batch_size": config.autoencoder.batch_size, "seed": seed, "step": step}
    return draw(len(clips), **how) if config.autoencoder.windows == "pass" else draw_clip_first(clips, **how)


def train_autoencoder(
    config: Config,
    data: Prepared,
    *,
    two_path: bool,
    seed: int,
    folder: Path,
    identity: str,
    tick: Callable,
    say: Callable,
) -> tuple[ITAE, list[dict]]:
    """Stage 1: ITAE on windows of the training clips, Eq. 4. Returns the trained network and its history.

    Writes `autoencoder.pt`, `snapshots.pt`, `history.csv` and, while it runs, a checkpoint into `folder`.
    `tick(done, total, text)` is called at each step, `say(line)` at each epoch. Raises TrainingError,
    DataError, LossError and ModelError.
    """
    model = build_autoencoder(config, two_path=two_path, seed=seed)
    frames, plan = data.frames("train"), windows(data.clips("train"), T=config.model.T, stride=1)
    if not len(plan):
        raise TrainingError(
            f"{data.manifest['dataset']} has no training clips here, so nothing can be learned from it."
        )
    check_precision(config)
    a, input_range, backgrounds = (
        config.autoencoder,
        config.model.input_range,
        blackened_backgrounds(config, data, "train"),
    )

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = plan[draw_windows(config, plan[:, 0], seed=seed, step=step)]
        black = None if backgrounds is None else [backgrounds[clip] for clip in chosen[:, 0]]
        I = load_windows(frames, chosen[:, 1], T=config.model.T, input_range=input_range, backgrounds=black)
        I = I.to(device_of(config))
        I_hat = reconstruct(model, I, config).reconstruction
        return reconstruction_loss(I, I_hat, input_range=input_range, **values(config.loss))

    history = fit(
        model,
        loss_of=loss_of,
        steps=a.steps,
        epoch_steps=a.epoch_steps,
        lr=a.lr,
        grad_clip=math.inf,
        batch_size=a.batch_size,
        snapshots=a.snapshots,
        cycles=a.cycles,
        folder=folder,
        identity=identity,
        tick=tick,
        say=say,
    )
    save_weights(model, folder / "autoencoder.pt")
    return model, history


def take_autoencoder(config: Config, kept: Path, *, two_path: bool, folder: Path) -> tuple[ITAE, list[dict]]:
    """The result and files of `train_autoencoder` from kept weights (in half precision) and their history.

    `snapshots.pt` is empty. Raises TrainingError if the weights do not fit the configuration.
    """
    model = load_autoencoder(kept, config, two_path=two_path)
    return model, take(model, kept, folder)


def load_autoencoder(path: Path, config: Config, *, two_path: bool) -> ITAE:
    """A trained ITAE, in evaluation mode. Raises TrainingError if the file does not fit the configuration."""
    model = build_autoencoder(config, two_path=two_path, seed=0)
    load_weights(model, path)
    return model.eval()
