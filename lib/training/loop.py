"""The training loop of both stages, with checkpoints from which a killed run continues ("Implementations").

In stage 1 ITAE learns to reconstruct windows of normal video (Eq. 4, `stage1`); in stage 2 a flow learns the
density of its features (Eq. 6, `stage2`). Both use Adam with a cosine-annealed learning rate and differ only
in the loss.

The windows of a step follow from the seed and the number of the step alone. No random state has to be stored,
and an interrupted run ends with the same weights as an uninterrupted one, bit for bit on a CPU.
"""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib import paths
from lib.config import Config
from lib.errors import TrainingError

# Slowdown against float32 that is refused; 25 was measured on a processor without bfloat16 instructions.
SLOW_BFLOAT16 = 4


def device_of(config: Config) -> torch.device:
    """The device that `machine.device` names. Raises TrainingError if it is a GPU and there is none."""
    wanted = config.machine.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "machine.device is cuda, but PyTorch sees no GPU here. Use --set machine.device=cpu."
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def check_precision(config: Config) -> None:
    """Raise TrainingError if `machine.precision` is bfloat16 and this processor is many times slower with it.

    A processor without instructions for bfloat16 falls back to plain loops, and a training takes weeks
    instead of hours. This is measured with one small 3-D convolution in both precisions, which takes a
    second; on a GPU nothing is measured.
    """
    if config.machine.precision != "bfloat16" or device_of(config).type != "cpu":
        return
    seconds = {dtype: _convolution_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    times = seconds[torch.bfloat16] / seconds[torch.float32]
    if times > SLOW_BFLOAT16:
        raise TrainingError(
            f"machine.precision is bfloat16, and a small convolution takes this processor {times:.0f} times "
            "as long in it as in float32. Use --set machine.precision=float32."
        )


def _convolution_seconds(dtype: torch.dtype) -> float:
    """The shortest of three times for one small 3-D convolution on the CPU, 32 channels to 32."""
    x = torch.ones(1, 32, 4, 24, 24, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    kernel = torch.ones(32, 32, 3, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last_3d)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        nn.functional.conv3d(x, kernel, padding=1)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def cosine(step: int, *, steps: int, lr: float, cycles: int) -> float:
    """The learning rate at a step of `steps`: half a cosine from `lr` down to 0 (Loshchilov and Hutter 2016).

    With several `cycles`, all of the same length, each starts again at `lr`.
    """
    return lr * 0.5 * (1 + math.cos(math.pi * (step * cycles % steps) / steps))


def draw_clip_first(clips: np.ndarray, *, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Numbers of the windows of one step: for each a random clip, then a random window of that clip.

    `clips` (n,) has the clip of each window, with the windows of a clip next to one another. A window of a
    short clip is drawn more often than one of a long clip, and some windows may never be drawn. Step k does
    not depend on the steps before it.
    """
    generator = np.random.default_rng([seed, step])
    _, first, count = np.unique(clips, return_index=True, return_counts=True)
    chosen = generator.integers(len(first), size=batch_size)
    return first[chosen] + generator.integers(count[chosen])


def draw(count: int, *, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Numbers of the windows of one step: passes over all `count` windows, each in random order, cut into
    batches.

    The order of each pass follows from the seed alone, so step k does not depend on the steps before it.
    """
    first = step * batch_size
    positions = np.arange(first, first + batch_size)
    orders = {n: np.random.default_rng([seed, int(n)]).permutation(count) for n in set(positions // count)}
    return np.array([orders[p // count][p % count] for p in positions])


def fit(
    model: nn.Module,
    *,
    loss_of: Callable,
    steps: int,
    epoch_steps: int,
    lr: float,
    grad_clip: float,
    batch_size: int,
    snapshots: int,
    cycles: int,
    folder: Path,
    identity: str,
    tick: Callable,
    say: Callable,
) -> list[dict]:
    """Adam with cosine annealing on `loss_of(step) -> (total, terms)`. Returns the history, one row per
    epoch.

    A checkpoint is written at the end of each epoch under the name of this run's `identity` (a hash of its
    parameters, inputs and code). A later call with the same identity continues from it; a call with another
    ignores it. `snapshots.pt` gets the weights at `snapshots` epochs, evenly spaced up to the last, by step
    and in half precision: training looks at no test frame, so the course of the AUC can only be computed
    afterwards. Raises TrainingError at the first loss or gradient that is not finite.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    checkpoint = folder / f"checkpoint-{identity[:12]}.pt"
    first, history, kept = 0, [], {}
    if checkpoint.exists():
        state = load(checkpoint)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first, history, kept = state["step"], state["history"], state["snapshots"]
        say(f"continuing from step {first} of {steps}")

    epochs = math.ceil(steps / epoch_steps)
    model.train()
    sums, since = {}, time.perf_counter()
    for step in range(first, steps):
        rate = optimiser.param_groups[0]["lr"] = cosine(step, steps=steps, lr=lr, cycles=cycles)
        loss, terms = loss_of(step)
        check_finite(loss, terms, step=step, rate=rate)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), grad_clip))
        check_finite(loss, terms, step=step, rate=rate, norm=norm)
        optimiser.step()

        for name, term in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach())
        tick(step + 1, steps, f"loss {float(loss.detach()):.4f}")
        done_in_epoch = step % epoch_steps + 1
        if done_in_epoch == epoch_steps or step + 1 == steps:
            seconds = time.perf_counter() - since
            row = {
                "epoch": len(history) + 1,
                "step": step + 1,
                "lr": rate,
                **{name: total / done_in_epoch for name, total in sums.items()},
                "grad_norm": norm,
                "windows_per_second": done_in_epoch * batch_size / seconds,
            }
            history.append(row)
            say(epoch_line(row, steps))
            # n of E epochs, evenly spaced
            if row["epoch"] * snapshots // epochs > (row["epoch"] - 1) * snapshots // epochs:
                kept[step + 1] = half(model.state_dict())
            save(
                checkpoint,
                {
                    "model": model.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step + 1,
                    "history": history,
                    "snapshots": kept,
                },
            )
            write_csv(folder / "history.csv", history)
            sums, since = {}, time.perf_counter()
    # Pickle writes equal strings differently if they are different objects, as they are after reading a
    # checkpoint. Interned names make equal weights equal files.
    save(
        folder / "snapshots.pt",
        {step: {sys.intern(name): value for name, value in state.items()} for step, state in kept.items()},
    )
    return history


def check_finite(
    loss: Tensor, terms: dict[str, Tensor], *, step: int, rate: float, norm: float | None = None
) -> None:
    """Raise TrainingError, naming step, learning rate, gradient norm and term, unless loss and gradient are
    finite."""
    bad = [name for name, term in terms.items() if not math.isfinite(float(term.detach()))]
    if bad or not math.isfinite(float(loss.detach())) or (norm is not None and not math.isfinite(norm)):
        what = (
            f"the term {' and '.join(bad)} is"
            if bad
            else "the loss is"
            if norm is None
            else "the gradient is"
        )
        numbers = ", ".join(f"{name} {float(term.detach()):.4g}" for name, term in terms.items())
        gradient = "not yet computed" if norm is None else f"{norm:.4g}"
        raise TrainingError(
            f"Training diverged at step {step}: {what} not finite ({numbers}; learning rate {rate:.3g}, "
            f"gradient norm {gradient}). Lower the learning rate, or look at the data that it saw."
        )


def epoch_line(row: dict, steps: int) -> str:
    """The line of output for one epoch."""
    terms = "  ".join(
        f"{name} {row[name]:.4f}"
        for name in row
        if name not in ("epoch", "step", "lr", "grad_norm", "windows_per_second")
    )
    return (
        f"step {row['step']:>6} of {steps}  {terms}  lr {row['lr']:.1e}  "
        f"{row['windows_per_second']:.1f} windows/s"
    )


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights of a finished network and nothing else: equal weights make equal files."""
    save(path, {"model": model.state_dict()})


def load_weights(model: nn.Module, path: Path) -> None:
    """Load stored weights into a network. Raises TrainingError, naming the first difference, if they do not
    fit."""
    state, own = load(path)["model"], model.state_dict()
    wrong = sorted(set(state) ^ set(own)) + [
        name for name in state if name in own and state[name].shape != own[name].shape
    ]
    if wrong:
        raise TrainingError(
            f"{path} was made by a network of another configuration: they differ in "
            f"{wrong[0]}{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''}. Use the profile and "
            "settings that it was trained with, or train again."
        )
    model.load_state_dict(state)


def take(model: nn.Module, kept: Path, folder: Path) -> list[dict]:
    """Write the files of a training into `folder` from kept weights instead of training.

    `model` has the weights of the file `kept`; they are written under its name, with the history beside it
    and no snapshots. Returns the history.
    """
    history = read_csv(kept.with_name("history.csv"))
    save_weights(model, folder / kept.name)
    write_csv(folder / "history.csv", history)
    save(folder / "snapshots.pt", {})
    return history


def half(state: dict) -> dict:
    """Weights in half precision, for storage. This changes a flow's likelihoods by less than a hundredth of
    their range."""
    return {
        name: value.detach().to(
            "cpu", torch.float16 if value.dtype == torch.float32 else value.dtype, copy=True
        )
        for name, value in state.items()
    }


def save(path: Path, state: dict) -> None:
    """Write a checkpoint atomically: a killed process leaves either the old one or the new one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load(path: Path) -> dict:
    """Read a checkpoint: weights and plain values only. Raises TrainingError if it is missing or damaged."""
    if not path.exists():
        raise TrainingError(f"{path} is not there: the step that makes it has not finished.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise TrainingError(
            f"{path} cannot be read as a checkpoint ({type(problem).__name__}). Delete it and run again; "
            "only what came after the checkpoint before it is lost."
        ) from problem


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write rows with the same keys as csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def read_csv(path: Path) -> list[dict]:
    """Rows of numbers from a file of `write_csv`; whole numbers as int."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: int(text) if text.isdigit() else float(text) for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically. Raises TrainingError if the disk is full; the old file then stays."""
    try:
        paths.write_bytes(path, content)
    except OSError as problem:
        raise TrainingError(
            f"{path} could not be written ({problem.strerror}). Make room on the disk and run again: "
            "training continues from the last checkpoint."
        ) from problem
