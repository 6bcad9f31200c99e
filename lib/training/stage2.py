"""Stage 2: a flow learns the density of the features of normal video ("Learning normality distribution", Eq.
5 and 6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.config import Config
from lib.density import Density
from lib.features import app_input, statistics
from lib.glow import Glow
from lib.scoring import FlowWindows, window_nll
from lib.training.loop import device_of, draw, fit, load, load_weights, save_weights, take


def flow_input(folder: Path, split: str, variant: str) -> FlowInput:
    """What F_app or F_mot is trained on or scores: features of all windows of a split, (n, C, h, w), read row
    by row.

    `variant` is "app_none", "app_intensity", "app_error" (Table 4) or "mot".
    """
    if variant == "mot":
        return FlowInput(np.load(folder / f"{split}_mot.npy", mmap_mode="r"), None)
    extra = variant.removeprefix("app_")
    return FlowInput(
        np.load(folder / f"{split}_app.npy", mmap_mode="r"),
        None if extra == "none" else np.load(folder / f"{split}_{extra}.npy", mmap_mode="r"),
    )


class FlowInput:
    """Pooled features and extra information on the disk, joined as they are read. Indexed by windows, like an
    array."""

    def __init__(self, pooled: np.ndarray, extra: np.ndarray | None):
        self.pooled, self.extra = pooled, extra
        self.shape = (
            len(pooled),
            pooled.shape[1] + (0 if extra is None else extra.shape[1]),
            *pooled.shape[2:],
        )

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, rows) -> np.ndarray:
        pooled = torch.from_numpy(np.array(self.pooled[rows]))
        extra = None if self.extra is None else torch.from_numpy(np.array(self.extra[rows]))
        return app_input(pooled, extra).numpy()


def train_flow(
    config: Config,
    features: np.ndarray,
    *,
    seed: int,
    folder: Path,
    identity: str,
    tick: Callable,
    say: Callable,
) -> tuple[Density, list[dict]]:
    """Stage 2: a flow on the features of the training windows, (n, C, h, w), Eq. 6. Returns it and its
    history.

    Writes `flow.pt`, which holds the training statistics too, `snapshots.pt`, `history.csv` and, while it
    runs, a checkpoint. The loss is in nats a dimension. Raises TrainingError and GlowError.
    """
    device, f = device_of(config), config.flow
    batches = (torch.from_numpy(np.array(features[i : i + 256])) for i in range(0, len(features), 256))
    density = build_flow(
        config, features.shape[1], *statistics(batches, standardise=config.features.standardise), seed=seed
    )
    dims = math.prod(features.shape[1:])

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = np.sort(draw(len(features), batch_size=f.batch_size, seed=seed, step=step))
        nll = density.nll(torch.from_numpy(np.array(features[chosen])).to(device)).mean() / dims
        return nll, {"nll": nll}

    history = fit(
        density,
        loss_of=loss_of,
        steps=f.steps,
        epoch_steps=f.epoch_steps,
        lr=f.lr,
        grad_clip=f.grad_clip,
        batch_size=f.batch_size,
        snapshots=f.snapshots,
        cycles=f.cycles,
        folder=folder,
        identity=identity,
        tick=tick,
        say=say,
    )
    save_weights(density, folder / "flow.pt")
    return density, history


def take_flow(config: Config, kept: Path, *, folder: Path) -> tuple[Density, list[dict]]:
    """What `train_flow` returns and writes, from weights that were kept (in half precision) with their
    history.

    `snapshots.pt` is empty then. Raises TrainingError if the weights do not fit the configuration.
    """
    density = load_flow(kept, config)
    return density, take(density, kept, folder)


def build_flow(config: Config, channels: int, mean: Tensor, std: Tensor, *, seed: int) -> Density:
    """F_app or F_mot for features of `channels` channels, with the weights that `seed` gives."""
    f = config.flow
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        glow = Glow(
            channels=channels, K=f.K, L=f.L, hidden=f.hidden, permutation=f.permutation, recompute=f.recompute
        )
    return Density(glow, mean, std).to(device_of(config))


def load_flow(path: Path, config: Config) -> Density:
    """A trained flow with its statistics, in evaluation mode. Raises TrainingError if it does not fit."""
    state = load(path)["model"]
    channels = len(state["mean"])
    density = build_flow(config, channels, state["mean"], state["std"], seed=0)
    load_weights(density, path)
    return density.eval()


@torch.no_grad()
def likelihoods(
    density: Density,
    inputs: FlowInput,
    device: torch.device,
    *,
    tick: Callable,
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Eq. 2 of every window, in nats, term by term: nll (n,), log_p_z (n, L), log_det (n, L), and `dims` of
    the input.

    `rows`, if given, are the windows to look at, by number.
    """
    rows, parts = np.arange(len(inputs)) if rows is None else rows, {"nll": [], "log_p_z": [], "log_det": []}
    for first in range(0, len(rows), 32):
        x = torch.from_numpy(inputs[rows[first : first + 32]]).to(device)
        terms = density.glow.terms(density.standardise(x))
        parts["nll"].append(-(terms.log_p_z.sum(1) + terms.log_det.sum(1)))
        parts["log_p_z"].append(terms.log_p_z)
        parts["log_det"].append(terms.log_det)
        tick(min(first + 32, len(rows)), len(rows), "likelihoods")
    out = {name: torch.cat(values).double().cpu().numpy() for name, values in parts.items()}
    return out | {"dims": np.array(int(np.prod(inputs.shape[1:])))}


def read_windows(features: Path, flow: Path, split: str, score, *, part: str) -> FlowWindows:
    """What Eq. 8 needs of one flow and one split, from the folders of the two runs. `part` is "app" or "mot";
    `score` is the group of parameters of that name."""
    with np.load(flow / f"nll_{split}.npz") as terms:
        nll = window_nll(
            terms, likelihood_scale=score.likelihood_scale, likelihood_unit=score.likelihood_unit
        )
    return FlowWindows(nll, np.load(features / f"{split}_{part}_range.npy"))


def sparse(windows: np.ndarray, *, T: int) -> np.ndarray:
    """As few of some windows as still cover all frames that they cover: (n, 2) clips and first rows -> row
    numbers.

    From the first window of a clip on, always the last that leaves no gap; and a clip's last.
    """
    chosen = []
    for clip in np.unique(windows[:, 0]):
        own = np.flatnonzero(windows[:, 0] == clip)
        starts, at = windows[own, 1], 0
        chosen.append(own[0])
        while at < len(own) - 1:
            at = max(at + 1, int(np.searchsorted(starts, starts[at] + T, side="right")) - 1)
            chosen.append(own[at])
    return np.array(chosen, dtype=np.int64)


def likelihoods_over_training(
    density: Density,
    snapshots: dict[int, dict],
    inputs: FlowInput,
    rows: np.ndarray,
    device: torch.device,
    *,
    tick: Callable,
) -> dict[str, np.ndarray]:
    """NLL of some windows by the flow as it was after certain steps: step (m,), rows (n,) and nll (m, n), in
    nats.

    `snapshots` are the weights by step; afterwards the flow has those of the last.
    """
    nll = []
    for state in snapshots.values():
        density.load_state_dict(state)
        nll.append(likelihoods(density, inputs, device, rows=rows, tick=tick)["nll"])
    return {
        "step": np.array(list(snapshots), np.int64),
        "rows": rows,
        "nll": np.reshape(nll, (len(snapshots), len(rows))),
    }
