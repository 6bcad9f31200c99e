"""Training steps of `lib.glow` beside normflows' Glow blocks: time and peak memory.

    python benchmarks/flow_step.py [--threads 1 2] [--rounds 5] [--hidden 256 512] [--out
    benchmarks/flow_step.csv]

Both are the flow of the paper at L = 1: a squeeze and K = 32 steps of actnorm, invertible 1x1 convolution
(LU) and affine coupling (sigmoid scale, three convolutions, actnorm on the hidden ones), in float32, on maps
of the shapes of the appearance features (Table 1: 2 pooled maps x 4 frames, 32x32, or 60x90 on UCSD). A
training step is forward, backward and Adam.

Time: the models alternate in one process, so that other load falls on all of them. The table shows medians
over the rounds of the time passed and of the processor time used, and of normflows' times divided by ours in
the same round. The last row is no model: it is the convolutions of the coupling networks alone, forward and
backward, in the layout in which they are fastest, on maps that lie in the cache. Both models need them, so it
bounds what any other can reach. On a machine that is busy with other things read the processor times of one
thread: threads that wait for one another use processor time too. Memory: each model runs two steps in a
process of its own; the table shows the peak of the whole process, Python and torch included, which the first
line gives apart.
"""

import argparse
import csv
import itertools
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lib.glow import Glow, standard_normal_log_prob  # noqa: E402
from lib.kernels.coupling_convolutions import convolve, convolve_backward  # noqa: E402
from lib.pipeline.records import hardware  # noqa: E402

MODELS = ("normflows", "lib.glow", "lib.glow recompute")
CONVOLUTIONS = "convolutions alone"


class NormflowsGlow(nn.Module):
    """The same flow from normflows' parts; its `inverse` is the direction from data to latents."""

    def __init__(self, channels: int, K: int, hidden: int):
        super().__init__()
        import normflows as nf

        self.squeeze = nf.flows.Squeeze()
        self.blocks = nn.ModuleList(
            nf.flows.GlowBlock(4 * channels, hidden, scale_map="sigmoid", use_lu=True, net_actnorm=True)
            for _ in range(K)
        )

    def log_prob(self, x):
        z, total = self.squeeze.inverse(x)
        for block in self.blocks:
            z, log_det = block.inverse(z)
            total = total + log_det
        return standard_normal_log_prob(z) + total


class Contestant:
    """A model, its optimizer and its data."""

    def __init__(self, name: str, shape: tuple[int, ...], K: int, hidden: int):
        torch.manual_seed(0)
        self.x = torch.randn(shape)
        if name == "normflows":
            self.model = NormflowsGlow(shape[1], K, hidden)
        else:
            self.model = Glow(
                channels=shape[1],
                K=K,
                L=1,
                hidden=hidden,
                permutation="lu",
                recompute=name.endswith("recompute"),
            )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def step(self) -> tuple[float, float]:
        """One training step; seconds passed, and seconds of processor time."""
        start = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad()
        loss = -self.model.log_prob(self.x).mean()
        loss.backward()
        self.optimizer.step()
        return time.perf_counter() - start[0], time.process_time() - start[1]


class Convolutions:
    """The convolutions of one training step of K coupling networks, and nothing else."""

    def __init__(self, shape: tuple[int, ...], K: int, hidden: int):
        batch, channels, height, width = shape
        widths = (
            2 * channels,
            hidden,
            hidden,
            4 * channels,
        )  # after the squeeze; a coupling network sees half the channels
        self.K, self.layers = K, []
        for inputs, outputs, kernel in zip(widths, widths[1:], (3, 1, 3)):
            x, grad = (
                torch.randn(batch, c, height // 2, width // 2).contiguous(memory_format=torch.channels_last)
                for c in (inputs, outputs)
            )
            self.layers.append((x, torch.randn(outputs, inputs, kernel, kernel), torch.randn(outputs), grad))

    def step(self) -> tuple[float, float]:
        start = time.perf_counter(), time.process_time()
        for _ in range(self.K):
            for x, weight, bias, grad in self.layers:
                convolve(x, weight, bias)
                convolve_backward(grad, x, weight)
        return time.perf_counter() - start[0], time.process_time() - start[1]


def peak_memory(name: str, shape: tuple[int, ...], K: int, hidden: int, threads: int) -> float:
    """Peak resident memory in MB of a process that trains this model for two steps."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        "--only",
        name,
        "--shape",
        "x".join(map(str, shape)),
        "--K",
        str(K),
        "--hidden",
        str(hidden),
        "--threads",
        str(threads),
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_of_this_process() -> float:
    """Peak resident memory in MB. On Linux from /proc, because there the peak that getrusage gives of a
    process that was started by a large one is that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return (
            int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
            * 1024
            / 1e6
        )
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    )


def compare(shape: tuple[int, ...], K: int, hidden: int, threads: int, rounds: int) -> list[dict]:
    """One row a model."""
    memory = {name: peak_memory(name, shape, K, hidden, threads) for name in MODELS}
    contestants = {name: Contestant(name, shape, K, hidden) for name in MODELS}
    contestants[CONVOLUTIONS] = Convolutions(shape, K, hidden)
    seconds = {name: [] for name in contestants}
    for round_ in range(rounds + 1):  # the first one warms up, and sets the actnorms
        for name, contestant in contestants.items():
            measured = contestant.step()
            if round_:
                seconds[name].append(measured)

    def median(clock: int, name: str) -> float:
        return statistics.median(s[clock] for s in seconds[name])

    def times_as_fast(clock: int, name: str) -> float:
        return statistics.median(a[clock] / b[clock] for a, b in zip(seconds["normflows"], seconds[name]))

    return [
        {
            "shape": "x".join(map(str, shape)),
            "K": K,
            "hidden": hidden,
            "model": name,
            "step_s": median(0, name),
            "times_as_fast": times_as_fast(0, name),
            "cpu_s": median(1, name),
            "times_as_fast_cpu": times_as_fast(1, name),
            "peak_mb": memory.get(name, math.nan),
            "peak_ratio": memory.get(name, math.nan) / memory["normflows"],
            "threads": threads,
            "processor": hardware()["processor"],
            "torch": torch.__version__,
        }
        for name in contestants
    ]


def as_shape(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split("x"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape",
        type=as_shape,
        nargs="+",
        default=[(16, 8, 32, 32), (4, 8, 60, 90)],
        metavar="BxCxHxW",
        help="inputs before the squeeze",
    )
    parser.add_argument("--K", type=int, default=32)
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the table as csv")
    parser.add_argument(
        "--only", choices=MODELS, help=argparse.SUPPRESS
    )  # the child process of `peak_memory`
    arguments = parser.parse_args()

    if arguments.only:
        torch.set_num_threads(arguments.threads[0])
        contestant = Contestant(arguments.only, arguments.shape[0], arguments.K, arguments.hidden[0])
        for _ in range(2):
            contestant.step()
        print(peak_of_this_process())
        return

    baseline = peak_memory("lib.glow", (1, 1, 2, 2), 1, 1, 1)
    print(
        f"Training step of K = {arguments.K} steps of flow, L = 1, float32, torch {torch.__version__}, "
        f"{arguments.rounds} "
        f"alternating rounds; Python and torch alone take {baseline:.0f} MB\n"
    )
    print(
        f"{'threads':>7} {'input':>12} {'hidden':>6}  {'model':<18} {'s':>8} {'times as fast':>13} "
        f"{'CPU s':>8} "
        f"{'times as fast':>13} {'peak MB':>8} {'of normflows':>12}"
    )
    rows = []
    for threads, shape, hidden in itertools.product(arguments.threads, arguments.shape, arguments.hidden):
        torch.set_num_threads(threads)
        for row in compare(shape, arguments.K, hidden, threads, arguments.rounds):
            rows.append({**row, "python_and_torch_mb": baseline})
            print(
                f"{threads:>7} {row['shape']:>12} {row['hidden']:>6}  {row['model']:<18} "
                f"{row['step_s']:>8.3f} "
                f"{row['times_as_fast']:>13.2f} {row['cpu_s']:>8.3f} {row['times_as_fast_cpu']:>13.2f} "
                f"{row['peak_mb']:>8.0f} {row['peak_ratio']:>12.2f}",
                flush=True,
            )
    if arguments.out:
        with arguments.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            for row in rows:
                numbers = {name: f"{value:.4g}" for name, value in row.items() if isinstance(value, float)}
                writer.writerow(
                    {name: "" if value == "nan" else value for name, value in (row | numbers).items()}
                )


if __name__ == "__main__":
    main()
