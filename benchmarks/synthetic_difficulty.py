"""How hard the generated data set is: scorers that learn nothing must fail, one that learns a little must
not.

    python benchmarks/synthetic_difficulty.py [--seeds 0 1 2 3 4] [--height 64] [--width 96] [--out
    difficulty.csv]

For each seed the set is generated anew, with the default numbers of clips and frames, and read by the kit's
own reader. Printed is the frame-level AUC by the paper's protocol (scores normalised within a clip, one ROC
curve over all frames), the mean over the seeds and each; and, for the clips of each kind, the mean of their
own AUCs. Bounds on the means:

    frame position, mean intensity, random                             0.40 to 0.60 mean or largest frame
    difference, over pixels or over patches      0.30 to 0.70 principal components of space-time patches,
    fitted on training     at least 0.75, and each kind at least 0.60

(Below one half counts too: a scorer can be turned round.) The last scorer is no competitor: it stands for
"something that learns from the training clips". A patch of 6 frames and 10x10 pixels of a 64x96 frame, with
the median training frame taken off, is reconstructed from the 64 main components of the training patches in
the same row of patches (people of one row have one size and one direction). A frame's score is the largest
error of a patch, as the mean over the windows of six frames that show it. Exits with 1 if a bound does not
hold.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lib import config
from lib.datasets import layouts, synthetic
from lib.datasets.decoding import read_frames  # noqa: E402
from lib.evaluation import protocols  # noqa: E402

BOUNDS = {
    "frame position": (0.40, 0.60),
    "mean intensity": (0.40, 0.60),
    "random": (0.40, 0.60),
    "mean frame difference": (0.30, 0.70),
    "largest frame difference": (0.30, 0.70),
    "largest patch difference, 4": (0.30, 0.70),
    "largest patch difference, 8": (0.30, 0.70),
    "largest patch difference, 16": (0.30, 0.70),
    "principal components": (0.75, 1),
}
LEAST_OF_A_KIND = 0.60
FRAMES, SIDE, COMPONENTS = 6, 10, 64


def load(folder: Path):
    """Training clips and test clips (T, H, W) uint8, and the test clips' labels (T,), by the kit's reader."""
    raw = layouts.read(
        dataset="synthetic",
        raw=folder,
        avenue_labels="masks",
        subset=False,
        memory={},
        progress=lambda line: None,
    )
    train, test = (
        [np.stack([frame.reshape(raw.size) for frame in read_frames(source)]) for source in raw.split(split)]
        for split in ("train", "test")
    )
    return train, test, [source.labels for source in raw.split("test")]


def patch_differences(test, side: int) -> list[np.ndarray]:
    """For each clip the largest mean difference to the frame before over square patches, (T,)."""
    scores = []
    for clip in test:
        change = np.abs(np.diff(clip.astype(np.float32), axis=0))
        values = [cv2.blur(frame, (side, side), borderType=cv2.BORDER_REFLECT).max() for frame in change]
        scores.append(np.array(values[:1] + values))
    return scores


def patches(clip, *, top: int, side: int, step: int):
    """Patches of one row of patches, (windows, places, FRAMES * side * side)."""
    view = np.lib.stride_tricks.sliding_window_view(clip[:, top : top + side], (FRAMES, side, side))[
        :, 0, ::step
    ]
    return view.reshape(*view.shape[:2], -1)


def principal_components(train, test) -> list[np.ndarray]:
    """The scorer of the docstring: for each test clip (T,)."""
    height = train[0].shape[1]
    unit = height / 64
    side, step, rows = round(SIDE * unit), max(2, round(3 * unit)), max(2, round(4 * unit))
    usual = np.median(np.concatenate([clip[::5] for clip in train]), axis=0).astype(np.float32)

    def still(clip):  # without the background and the changes of light
        clip = clip.astype(np.float32)
        return clip / np.median(clip / np.maximum(usual, 1), axis=(1, 2), keepdims=True) - usual

    train, test = [still(clip) for clip in train], [still(clip) for clip in test]
    largest = [np.zeros(len(clip) - FRAMES + 1) for clip in test]
    for top in range(round(0.25 * height), height - side + 1, rows):
        samples = np.concatenate([patches(clip, top=top, side=side, step=step)[::3] for clip in train])
        samples = samples.reshape(-1, samples.shape[-1])
        _, basis = np.linalg.eigh(samples.T @ samples)
        basis = basis[:, -COMPONENTS:]

        def error(x):
            return (x**2).sum(-1) - ((x @ basis) ** 2).sum(-1)

        usual_error = np.quantile(error(samples), 0.99)  # rows differ in how large people are
        for clip, scores in zip(test, largest):
            np.maximum(
                scores, error(patches(clip, top=top, side=side, step=2)).max(1) / usual_error, out=scores
            )
    window = np.ones(FRAMES)
    return [np.convolve(scores, window) / np.convolve(np.ones_like(scores), window) for scores in largest]


def auc(scores: list[np.ndarray], labels: list[np.ndarray], protocol: str = "paper") -> float:
    clip_ids = np.repeat(np.arange(len(labels)), [len(part) for part in labels])
    protocol = protocols.PROTOCOLS[protocol]
    return protocols.frame_auc(np.concatenate(scores), np.concatenate(labels), clip_ids, protocol)


def measure(folder: Path, seed: int) -> tuple[dict, dict]:
    """AUC by scorer, and by scorer and kind of anomaly."""
    train, test, labels = load(folder)
    ends = np.cumsum([len(clip) for clip in test])[:-1]
    clip_ids = np.repeat(np.arange(len(test)), [len(clip) for clip in test])
    flat = protocols.trivial_scorers(np.concatenate(test)[..., None], clip_ids, np.random.default_rng(seed))
    scorers = {name: np.split(scores, ends) for name, scores in flat.items() if name in BOUNDS}
    for side in (4, 8, 16):
        scorers[f"largest patch difference, {side}"] = patch_differences(
            test, round(side * test[0].shape[1] / 64)
        )
    scorers["principal components"] = principal_components(train, test)
    by_kind = {}
    for kind in dict.fromkeys(synthetic.KINDS):
        chosen = [
            i
            for i, part in enumerate(labels)
            if synthetic.KINDS[i % len(synthetic.KINDS)] == kind and 0 < part.mean() < 1
        ]
        for name, scores in scorers.items() if chosen else ():
            by_kind[name, kind] = auc([scores[i] for i in chosen], [labels[i] for i in chosen], "macro")
    aucs = {name: auc(scores, labels) for name, scores in scorers.items()}
    return aucs | {"share of abnormal frames": np.concatenate(labels).mean()}, by_kind


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--out", type=Path, help="the table as csv")
    options = parser.parse_args()
    amounts = config.values(config.Synthetic())
    found, kinds = [], []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            size = {"height": options.height, "width": options.width}
            synthetic.generate(Path(folder) / "synthetic", **{**amounts, "seed": seed}, **size)
            result = measure(Path(folder) / "synthetic", seed)
        found.append(result[0])
        kinds.append(result[1])
    names = list(dict.fromkeys(kind for result in kinds for _, kind in result))
    rows, held = [["scorer", "mean", *(f"seed {seed}" for seed in options.seeds), *names]], True
    for name in ("share of abnormal frames", *BOUNDS):
        values = [result[name] for result in found]
        parts = [
            np.mean([result[name, kind] for result in kinds if (name, kind) in result])
            for kind in names
            if name in BOUNDS
        ]
        lowest, highest = BOUNDS.get(name, (0, 1))
        learns = name == "principal components"
        held &= bool(lowest <= np.mean(values) <= highest and (not learns or min(parts) >= LEAST_OF_A_KIND))
        rows.append([name, *(f"{value:.3f}" for value in (np.mean(values), *values, *parts))])
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print("all bounds hold" if held else "A BOUND DOES NOT HOLD: see --help")
    if options.out:
        with options.out.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
