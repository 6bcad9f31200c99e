"""Windows from the prepared arrays beside decoding and resizing the frames each time; time and memory of
preparing.

    python benchmarks/data_reading.py --dataset ped2 [--profile paper] [--data-root data/raw] [--out
    reading.csv]

Frame size and T are those of the profile for the data set. Both ways read the same random windows,
alternately in one process and with one thread, so that other load falls on both; files and arrays are in the
page cache for both, which favours decoding. Memory is measured in processes of their own: that of preparing
one clip, and that of preparing the same clip many times over.
"""

import argparse
import csv
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lib import config, paths
from lib.datasets import layouts, preparation, prepared  # noqa: E402
from lib.datasets.images import read_image  # noqa: E402
from lib.datasets.layouts import read  # noqa: E402

TARGET = 20  # times as fast


def quiet(line: str) -> None:
    pass


def prepare(dataset: str, raw: Path, out: Path, data, workers: int) -> prepared.Prepared:
    return preparation.prepare(
        dataset=dataset,
        raw=raw,
        out=out,
        workers=workers,
        progress=quiet,
        **{**config.values(data), "subset": True},
    )


def reading(
    dataset: str, raw: Path, prepared: prepared.Prepared, data, T: int, number: int
) -> tuple[float, float]:
    """Median seconds for a window of T frames, uint8 (T, H, W, C): decoded each time, and from the prepared
    array."""
    source = {
        clip.name: clip
        for clip in read(
            dataset=dataset, raw=raw, avenue_labels=data.avenue_labels, subset=True, memory={}, progress=quiet
        ).split("test")
    }
    clips, frames = prepared.clips("test"), prepared.frames("test")
    if not all(clip.images for clip in source.values()):
        sys.exit(f"{dataset}'s test clips are videos; take a set whose test clips are images.")
    table = prepared.windows(clips, T=T, stride=1)
    decoded, mapped = [], []
    for clip, row in np.random.default_rng(0).permutation(table)[:number]:
        start = row - clips[clip].start
        before = time.perf_counter()
        each_time = np.stack(
            [
                preparation.fit_frame(read_image(path), data.height, data.width, data.channels)
                for path in source[clips[clip].name].images[start : start + T]
            ]
        )
        between = time.perf_counter()
        from_array = np.array(frames[row : row + T])
        mapped.append(time.perf_counter() - between)
        decoded.append(between - before)
        assert np.array_equal(each_time, from_array)
    return float(np.median(decoded)), float(np.median(mapped))


def peak_of_preparing(copies: int, raw: Path, data, workers: int) -> float:
    """Peak resident MiB of a fresh process that prepares a set of `copies` times one clip; 0: that only
    imports."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "raw"
        for split in ("training", "testing"):
            (tree / split / "frames").mkdir(parents=True)
        for copy in range(max(copies, 1)):
            (tree / "training" / "frames" / f"{copy:03d}").symlink_to(raw.resolve())
        arguments = [
            sys.executable,
            __file__,
            "--child",
            str(copies),
            str(tree),
            f"{folder}/out",
            str(data.height),
            str(data.width),
            str(data.channels),
            str(workers),
        ]
        return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def child(copies: str, tree: str, out: str, height: str, width: str, channels: str, workers: str) -> None:
    if int(copies):
        preparation.prepare(
            dataset="copies",
            raw=Path(tree),
            out=Path(out),
            height=int(height),
            width=int(width),
            channels=int(channels),
            avenue_labels="masks",
            subset=True,
            workers=int(workers),
            progress=quiet,
        )
    # Not getrusage: its maximum is inherited from the process that started this one. Linux only.
    print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="ped2", choices=[d for d in config.DATASETS if d != "own"])
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--data-root", type=Path, default=paths.data_root())
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--copies", type=int, default=20, help="clips in the larger of the two sets for memory"
    )
    parser.add_argument("--out", type=Path, help="a csv for the numbers")
    arguments = parser.parse_args()
    chosen = config.resolve(arguments.profile, arguments.dataset)
    data, T = chosen.data, chosen.model.T
    torch.set_num_threads(1)
    raw = layouts.find_raw(arguments.dataset, arguments.data_root)
    with tempfile.TemporaryDirectory() as out:
        before = time.perf_counter()
        prepared = prepare(arguments.dataset, raw, Path(out) / "prepared", data, arguments.workers)
        seconds = time.perf_counter() - before
        frames = sum(prepared.manifest["counts"][split]["frames"] for split in ("train", "test"))
        decoded, mapped = reading(arguments.dataset, raw, prepared, data, T, arguments.windows)
    clip = read(
        dataset=arguments.dataset,
        raw=raw,
        avenue_labels=data.avenue_labels,
        subset=True,
        memory={},
        progress=quiet,
    ).split("test")[0]
    imports, one, many = (
        peak_of_preparing(copies, clip.images[0].parent, data, arguments.workers)
        for copies in (0, 1, arguments.copies)
    )
    rows = [
        ("dataset", arguments.dataset + (" (subset)" if prepared.subset else ""), ""),
        ("frame size", f"{data.channels}x{data.height}x{data.width}", "C x H x W"),
        ("frames", frames, ""),
        ("workers", arguments.workers, ""),
        ("preparing", round(seconds, 2), "s"),
        ("a window, decoded each time", round(decoded * 1e3, 3), "ms"),
        ("a window, from the prepared array", round(mapped * 1e3, 3), "ms"),
        ("ratio", round(decoded / mapped, 1), "times as fast"),
        ("peak memory, imports alone", round(imports), "MiB"),
        (f"peak memory, preparing {clip.length} frames", round(one), "MiB"),
        (f"peak memory, preparing {clip.length * arguments.copies} frames", round(many), "MiB"),
    ]
    for quantity, value, unit in rows:
        print(f"{quantity:38s} {value} {unit}")
    print(
        f"target: at least {TARGET} times as fast: "
        f"{'reached' if decoded >= TARGET * mapped else 'NOT reached'}"
    )
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with open(arguments.out, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("quantity", "value", "unit"))
            table.writerows(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
