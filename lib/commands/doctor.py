"""`./run_all.sh --doctor`: the environment and the machine, faster settings for the profile, and the
available data sets."""

from __future__ import annotations

import shutil
import textwrap
import time

import torch

from lib import paths
from lib.config import resolve, values
from lib.datasets import official
from lib.datasets.decoding import read_frames
from lib.datasets.layouts import find_raw, read
from lib.errors import DataError, TrainingError
from lib.losses import reconstruction_loss
from lib.pipeline import pins, records
from lib.settings.values import DATASETS
from lib.training.loop import check_precision
from lib.training.stage1 import build_autoencoder, reconstruct
from lib.training.table1 import layer_table

# raw and prepared, at the paper's size
DISK_GB = {"synthetic": 0.1, "ped1": 2, "ped2": 2, "avenue": 12, "shanghaitech": 90}


def examine(profile: str) -> int:
    """Print what is useful to know before starting a long run."""
    _environment()
    _machine()
    _data()
    _speed(profile)
    return 0


def _environment() -> None:
    different = pins.unmet()
    print(f"Environment: Python {records.versions()['python']}, torch {torch.__version__}")
    print(
        "  ✓ every package has the version in requirements.txt"
        if not different
        else f"  ! {len(different)} packages differ from requirements.txt; numbers may differ in late digits:"
    )
    for line in different[:20]:
        print(f"      {line}")


def _machine() -> None:
    machine = records.hardware()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"GPU: {', '.join(gpus) or 'none'}"
    )
    free = shutil.disk_usage(paths.ROOT).free / 1e9
    print(
        f"Disk: {free:.0f} GB free. Room for: "
        f"{', '.join(name for name, need in DISK_GB.items() if need < free)}"
    )


def _data() -> None:
    print(f"Data sets below {paths.shown(paths.data_root())}:")
    for dataset in DATASETS:
        if dataset == "synthetic":
            print("  ✓ synthetic: generated when it is needed")
            continue
        if dataset == "own":
            print("  ✓ own: your own video, from the folders that --train-videos and --score-videos name")
            continue
        try:
            found = read(
                dataset=dataset,
                raw=find_raw(dataset, paths.data_root()),
                avenue_labels="masks",
                subset=True,
                memory={},
                progress=lambda line: None,
            )
        except DataError as problem:
            print(f"  – {dataset}: {problem}")
            continue
        missing = list(found.missing)
        if missing:
            first = textwrap.shorten(missing[0], 90, placeholder=" ...")
            others = f" and {len(missing) - 1} more differences" if len(missing) > 1 else ""
            print(f"  ! {dataset}: incomplete ({first}{others}); usable with --set data.subset=true")
        else:
            print(f"  ✓ {dataset}: complete")
        if dataset in official.KNOWN:
            print(f"      {_pixels(found)}")


def _pixels(found) -> str:
    """Whether the pixels are the official ones, or the reason if they cannot be read."""
    try:
        return official.verdict(
            {
                f"{clip.split} {clip.name}": official.digest_of_pixels(read_frames(clip))
                for clip in found.clips
            }
        )
    except DataError as problem:
        return str(problem)


def _speed(profile: str) -> None:
    """Time a training step of the profile's autoencoder on Ped2 in each precision and layout."""
    config = resolve(profile, "ped2")
    torch.set_num_threads(config.machine.threads)
    rows = layer_table(
        build_autoencoder(config, two_path=True, seed=0), config.data.height, config.data.width
    )
    flop = 6 * sum(row["multiply_adds"] for row in rows)  # three forward passes, of two operations each
    print(
        f"A training step of profile {profile} on Ped2 ({config.data.height}x{config.data.width}, batch "
        f"{config.autoencoder.batch_size}, "
        f"{flop / 1e9:.1f} GFLOP per window, threads: {config.machine.threads}), beside a matrix product:"
    )
    rates, product = {}, {}
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        try:
            check_precision(resolve(profile, "ped2", {"machine.precision": precision}))
        except TrainingError:
            print(f"  {precision:<9} has no fast instructions on this processor; trainings refuse it")
            continue
        a = torch.ones(2048, 2048, dtype=dtype, device="cuda" if torch.cuda.is_available() else "cpu")
        product[precision] = 2 * 2048**3 / _least(lambda: a @ a)
        print(f"  {precision:<9} matrix product    {product[precision] / 1e9:8.0f} GFLOP/s")
    for precision in product:
        for layout in ("contiguous", "channels_last_3d"):
            rates[precision, layout] = rate = step_rate(profile, precision, layout)
            print(
                f"  {precision:<9} {layout:<17} {rate:6.2f} windows/s, "
                f"{rate * flop / product[precision]:.0%} of the matrix product",
                flush=True,
            )
    best = max(rates, key=rates.get)
    own = (config.machine.precision, config.machine.layout)
    if own not in rates or rates[best] > 1.15 * rates[own]:
        print(
            f"  Faster here than the profile's {own[0]}, {own[1]}: "
            f"--set machine.precision={best[0]} --set machine.layout={best[1]}"
        )
    else:
        print("  The profile's own setting is the fastest here, within the noise.")


def step_rate(profile: str, precision: str, layout: str) -> float:
    """Training windows per second of a profile's autoencoder on Ped2, including loss and gradient: the best
    of three steps."""
    config = resolve(profile, "ped2", {"machine.precision": precision, "machine.layout": layout})
    torch.set_num_threads(config.machine.threads)
    model = build_autoencoder(config, two_path=True, seed=0)
    shape = (
        config.autoencoder.batch_size,
        config.data.channels,
        config.model.T,
        config.data.height,
        config.data.width,
    )
    I = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()).device)

    def step():
        I_hat = reconstruct(model, I, config).reconstruction
        loss, _ = reconstruction_loss(I, I_hat, input_range=config.model.input_range, **values(config.loss))
        loss.backward()

    return config.autoencoder.batch_size / _least(step)


def _least(action, times: int = 3) -> float:
    """Seconds of the fastest of some runs, after one to warm up."""
    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
