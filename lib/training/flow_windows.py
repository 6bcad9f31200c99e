"""The input of the flows and the stored likelihoods, window by window, read from the disk.

This is not part of `stage2`, so that scoring, which reads stored likelihoods, does not depend on Glow's code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lib.features import app_input
from lib.scoring import FlowWindows, window_nll


def flow_input(folder: Path, split: str, variant: str) -> FlowInput:
    """The input of F_app or F_mot: features of all windows of a split, (n, C, h, w), read row by row.

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
    """Pooled features and extra information on the disk, joined when they are read. Indexed by windows, like
    an array."""

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


def read_windows(features: Path, flow: Path, split: str, score, *, part: str) -> FlowWindows:
    """What Eq. 8 needs of one flow and one split, from the folders of the two runs. `part` is "app" or "mot";
    `score` is the group of parameters of that name."""
    with np.load(flow / f"nll_{split}.npz") as terms:
        nll = window_nll(
            terms, likelihood_scale=score.likelihood_scale, likelihood_unit=score.likelihood_unit
        )
    return FlowWindows(nll, np.load(features / f"{split}_{part}_range.npy"))


def sparse(windows: np.ndarray, *, T: int) -> np.ndarray:
    """The fewest windows that cover the same frames: (n, 2) clips and first rows -> row numbers.

    In each clip: the first window, then always the last one that leaves no gap, and the clip's last window.
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
