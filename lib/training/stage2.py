"""Stage 2: a flow learns the density of the features of normal video ("Learning normality distribution"; Eq.
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
from lib.features import statistics
from lib.glow import Glow
from lib.training.flow_windows import FlowInput
from lib.training.loop import device_of, draw, fit, load, load_weights, save_weights, take


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
    """Stage 2, Eq. 6: a flow on the features of the training windows, (n, C, h, w). Returns it and its
    history.

    Writes `flow.pt`, which also holds the training statistics, `snapshots.pt`, `history.csv` and, while it
    runs, a checkpoint into `folder`. The loss is in nats per dimension. Raises TrainingError and GlowError.
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
    """The result and files of `train_flow` from kept weights (in half precision) and their history.

    `snapshots.pt` is empty. Raises TrainingError if the weights do not fit the configuration.
    """
    density = load_flow(kept, config)
    return density, take(density, kept, folder)


def build_flow(config: Config, channels: int, mean: Tensor, std: Tensor, *, seed: int) -> Density:
    """F_app or F_mot for features of `channels` channels, with the initial weights of `seed`."""
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
    """Eq. 2 of every window, in nats, by terms: nll (n,), log_p_z (n, L), log_det (n, L), and the input's
    `dims`.

    `rows`, if given, are the numbers of the windows to compute.
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


def likelihoods_over_training(
    density: Density,
    snapshots: dict[int, dict],
    inputs: FlowInput,
    rows: np.ndarray,
    device: torch.device,
    *,
    tick: Callable,
) -> dict[str, np.ndarray]:
    """NLL of some windows, in nats, by the flow at each snapshot: step (m,), rows (n,) and nll (m, n).

    `snapshots` are weights by step; afterwards the flow has those of the last.
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
