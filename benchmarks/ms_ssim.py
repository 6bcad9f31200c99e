"""Multi-scale SSIM of `lib.losses` beside pytorch-msssim: time of forward and backward, and agreement.

    python benchmarks/ms_ssim.py [--threads 1] [--rounds 5] [--record]

The default is one training batch of the `small` profile: 2 windows of 16 frames of 128x192, window 7, every
frame counted. Both run alternately in one process, so that other load falls on both; what is compared is
processor time of the fastest round. `--record` writes benchmarks/ms_ssim.csv.
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pytorch_msssim  # noqa: E402

from lib import losses  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape", type=int, nargs=5, default=(2, 1, 16, 128, 192), metavar=("B", "C", "T", "H", "W")
    )
    parser.add_argument("--window", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    B, C, T, H, W = arguments.shape
    torch.manual_seed(0)
    I = torch.nn.functional.interpolate(
        torch.rand(B * C * T, 1, H // 8, W // 8), size=(H, W), mode="bilinear"
    )
    I = I.reshape(B, C, T, H, W)
    I_hat = (I + 0.1 * torch.randn_like(I)).clamp(0, 1)

    def ours(x, y):
        return losses.ms_ssim(x, y, ms_ssim_window=arguments.window, data_range=1.0).mean()

    def package(x, y):
        flat = [v.transpose(1, 2).reshape(B * T, C, H, W) for v in (x, y)]
        return pytorch_msssim.ms_ssim(*flat, data_range=1.0, win_size=arguments.window)

    contestants = {"lib.losses": ours, "pytorch-msssim": package}
    seconds = {name: [] for name in contestants}
    results = {}
    for _ in range(arguments.rounds + 1):  # the first round warms up
        for name, function in contestants.items():
            leaf = I_hat.clone().requires_grad_()
            start = time.process_time()
            value = function(I, leaf)
            value.backward()
            seconds[name].append(time.process_time() - start)
            results[name] = value.item(), leaf.grad

    print(
        f"{B * T} frames of {C}x{H}x{W}, window {arguments.window}, {arguments.threads} threads, "
        f"torch {torch.__version__}: forward and backward"
    )
    best = {name: min(times[1:]) for name, times in seconds.items()}
    for name in contestants:
        print(f"  {name:15s} {best[name]:7.3f} s   MS-SSIM {results[name][0]:.7f}")
    (value, gradient), (value_package, gradient_package) = results["lib.losses"], results["pytorch-msssim"]
    print(
        f"  {best['pytorch-msssim'] / best['lib.losses']:.1f} times as fast; values differ by "
        f"{abs(value - value_package):.1e}, gradients by a relative "
        f"{((gradient - gradient_package).norm() / gradient_package.norm()).item():.1e}"
    )
    if arguments.record:
        rows = [
            {
                "who": name,
                "shape": "x".join(map(str, arguments.shape)),
                "threads": arguments.threads,
                "seconds": round(best[name], 4),
                "times_as_fast": round(best["pytorch-msssim"] / best[name], 2),
                "ms_ssim": results[name][0],
                "torch": torch.__version__,
            }
            for name in contestants
        ]
        pd.DataFrame(rows).to_csv(Path(__file__).with_suffix(".csv"), index=False)


if __name__ == "__main__":
    main()
