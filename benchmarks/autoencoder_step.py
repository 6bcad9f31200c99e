"""One training step of the autoencoder beside a plain PyTorch one, and the kit's time layer by layer.

    python benchmarks/autoencoder_step.py [--threads 1] [--rounds 3] [--record]

The plain step is what one would write first: the same network and loss in float32, PyTorch's default memory
layout, and multi-scale SSIM by pytorch-msssim. Both run alternately in one process, so that other load falls
on both. What is compared is processor time, which waiting for a core does not lengthen; the table shows the
fastest round of each. `--record` writes benchmarks/autoencoder_step.csv and
benchmarks/autoencoder_layers.csv.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytorch_msssim
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lib import paths
from lib.config import Config, resolve, values
from lib.itae import ITAE
from lib.losses import gradient_loss, l2_loss, reconstruction_loss
from lib.training.stage1 import build_autoencoder, reconstruct
from lib.training.table1 import layer_table

# (name, profile, data set, windows): the sizes of `small` on Ped2, and those of Table 1.
CASES = (("small, Ped2", "small", "ped2", 2), ("Table 1", "paper", "shanghaitech", 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    steps, layers = [], []
    for name, profile, dataset, batch in CASES:
        config = resolve(profile, dataset, {"machine.precision": "float32", "error.background": "none"})
        shape = (batch, config.data.channels, config.model.T, config.data.height, config.data.width)
        torch.manual_seed(0)
        I = torch.rand(shape) * 2 - 1
        steps += compare(name, config, I, arguments.rounds, arguments.threads)
        layers += by_layer(name, config, I, arguments.rounds)
    steps, layers = pd.DataFrame(steps), pd.DataFrame(layers)
    print(steps.to_string(index=False), layers.to_string(index=False), sep="\n\n")
    if arguments.record:
        steps.to_csv(paths.ROOT / "benchmarks" / "autoencoder_step.csv", index=False)
        layers.to_csv(paths.ROOT / "benchmarks" / "autoencoder_layers.csv", index=False)


def compare(name: str, config: Config, I: torch.Tensor, rounds: int, threads: int) -> list[dict]:
    """Seconds of processor time for one training step of both, and how far their losses are apart."""
    ours = build_autoencoder(config, two_path=True, seed=0)
    model_settings = {k: v for k, v in values(config.model).items() if k != "input_range"}
    plain = ITAE(channels=config.data.channels, two_path=True, **model_settings)
    plain.load_state_dict(ours.state_dict())

    def kit_loss() -> torch.Tensor:
        I_hat = reconstruct(ours, I, config).reconstruction
        return reconstruction_loss(I, I_hat, input_range=config.model.input_range, **values(config.loss))[0]

    def plain_loss() -> torch.Tensor:
        I_hat = plain(I).reconstruction
        loss = l2_loss(I, I_hat, l2=config.loss.l2) + gradient_loss(I, I_hat)
        if config.loss.ms_ssim_weight:
            frames = [((x + 1) / 2).transpose(1, 2).flatten(0, 1) for x in (I, I_hat)]
            similarity = pytorch_msssim.ms_ssim(*frames, data_range=1.0, win_size=config.loss.ms_ssim_window)
            loss = loss + config.loss.ms_ssim_weight * (1 - similarity)
        return loss

    contestants = {"kit": (ours, kit_loss), "plain PyTorch": (plain, plain_loss)}
    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    first_loss = {}
    optimisers = {who: torch.optim.Adam(model.parameters(), 1e-4) for who, (model, _) in contestants.items()}
    for _ in range(rounds + 1):  # the first round warms up
        for who, (_, loss_of) in contestants.items():
            seconds[who].append(training_step(loss_of, optimisers[who], first_loss, who))
    difference = abs(first_loss["kit"] - first_loss["plain PyTorch"]) / abs(first_loss["plain PyTorch"])
    assert difference < 1e-4, f"the two steps do not compute the same loss: {first_loss}"
    best = {who: min(times[1:]) for who, times in seconds.items()}
    return [
        {
            "case": name,
            "step": who,
            "threads": threads,
            "seconds": round(best[who], 3),
            "times_as_fast": round(best["plain PyTorch"] / best[who], 2),
            "windows_per_second_and_core": round(len(I) / best[who], 2),
            "torch": torch.__version__,
        }
        for who in contestants
    ]


def training_step(
    loss_of: Callable[[], torch.Tensor], optimiser: torch.optim.Optimizer, first_loss: dict, who: str
) -> float:
    """Runs one step and returns its seconds of processor time."""
    start = time.process_time()
    optimiser.zero_grad(set_to_none=True)
    loss = loss_of()
    loss.backward()
    optimiser.step()
    first_loss.setdefault(who, loss.item())
    return time.process_time() - start


def by_layer(name: str, config: Config, I: torch.Tensor, rounds: int) -> list[dict]:
    """Forward and backward pass of each block by itself, with its share of the network's multiply-adds."""
    model = build_autoencoder(config, two_path=True, seed=0)
    table = layer_table(model, config.data.height, config.data.width)
    blocks = {**{f"appearance Conv{i + 1}": model.app[i] for i in range(4)}}
    blocks |= {f"motion Conv{i + 1}": model.mot[i] for i in range(4)}
    blocks |= {f"lateral Conv{i + 1}": model.lateral[i] for i in range(4)}
    blocks |= {f"decoder DeConv{i + 1}": model.decoder[i] for i in range(4)}
    inputs = {}
    hooks = [
        block.register_forward_hook(lambda _, given, __, key=key: inputs.__setitem__(key, given[0].detach()))
        for key, block in blocks.items()
    ]
    with torch.no_grad():
        reconstruct(model, I, config)
    for hook in hooks:
        hook.remove()
    rows = []
    for key, block in blocks.items():
        best = min(block_seconds(block, inputs[key]) for _ in range(rounds))
        row = next(r for r in table if f"{r['path']} {r['layer']}" == key)
        flop = 6 * row["multiply_adds"] * len(I)
        rows.append(
            {
                "case": name,
                "layer": key,
                "seconds": round(best, 4),
                "GFLOP": round(flop / 1e9, 2),
                "GFLOP_per_second": round(flop / 1e9 / best, 1),
            }
        )
    total = sum(row["seconds"] for row in rows)
    side = 1536
    a, b = torch.rand(side, side), torch.rand(side, side)
    product = min(matrix_product_seconds(a, b) for _ in range(rounds))
    rows.append(
        {
            "case": name,
            "layer": "a matrix product, for comparison",
            "seconds": round(product, 4),
            "GFLOP": round(2 * side**3 / 1e9, 2),
            "GFLOP_per_second": round(2 * side**3 / 1e9 / product, 1),
        }
    )
    return [row | {"share": round(row["seconds"] / total, 3)} for row in rows]


def block_seconds(block: torch.nn.Module, x: torch.Tensor) -> float:
    x = x.clone().requires_grad_()
    start = time.process_time()
    block(x).sum().backward()
    return time.process_time() - start


def matrix_product_seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    start = time.process_time()
    a @ b
    return time.process_time() - start


if __name__ == "__main__":
    main()
