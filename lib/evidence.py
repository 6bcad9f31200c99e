"""What was run, as the figures read it, and the rules by which they choose clips and frames.

A figure shows what a rule picks, never what looks best:

    clip    the clip of median AUC among those with normal and abnormal frames; where two clips are shown, those at the
            lower and upper quartile; on the generated set, among the clips with the paper's kind of event
    frame   the abnormal frame of median score in its clip; where several are shown, abnormal frames evenly spread in time

The AUC of a clip and the score of a frame are the full model's (or, where that was not run, those of the next in RANKING).
Of an even number the lower median is taken. Figures of one run show the lowest seed.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lib import records
from lib.steps import MODELS, STEPS, Job

RANKING = ("app_intensity_mot", "two_path", "app_intensity", "mot", "app_error", "app_none", "one_path")
MOTION_KINDS, BOTH_KINDS = ("running", "jumping"), ("bag",)  # the paper's: a jumping kid, a thrown bag or paper


@dataclass(frozen=True)
class Results:
    """What was run on one data set. `runs` are the folders of the runs; arrays are read when they are asked for."""

    dataset: str
    data: object  # datasets.Prepared
    runs: dict[Job, Path]

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({job.seed for job in self.runs if job.seed is not None}))

    def folder(self, step: str, variant: str, seed: int | None = None) -> Path | None:
        """Of a run, with the lowest seed unless another is named; None if it was not run."""
        seed = self.seeds[0] if seed is None and self.seeds else seed
        return next((folder for job, folder in self.runs.items() if (job.step, job.variant, job.seed) == (step, variant, seed)), None)

    def record(self, step: str, variant: str, seed: int | None = None) -> dict | None:
        folder = self.folder(step, variant, seed)
        return folder and records.read(folder)

    def scores(self, model: str, seed: int | None = None) -> pd.DataFrame | None:
        """A row a test frame, in the order of the arrays; None if it was not run."""
        folder = self.folder("score", model, seed)
        return None if folder is None else pd.read_csv(folder / "scores.csv")

    def array(self, step: str, variant: str, name: str) -> np.ndarray | None:
        """A stored array, mapped from the disk; None if it was not run."""
        folder = self.folder(step, variant)
        return None if folder is None else np.load(folder / name, mmap_mode="r")

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The models with scores, of any seed."""
        return tuple(m for m in MODELS if any(job.step == "score" and job.variant == m for job in self.runs))

    @cached_property
    def ranking(self) -> str | None:
        """The model whose scores choose clips and frames."""
        return next((model for model in RANKING if self.folder("score", model)), None)

    @cached_property
    def clip_auc(self) -> dict[str, float]:
        """AUC of each test clip with frames of both kinds, by the model that ranks."""
        if self.ranking is None:
            return {}
        return {name: auc for name, auc in self.record("score", self.ranking)["metrics"]["by_clip"].items() if auc is not None}

    def rows(self, clip) -> slice:
        """The rows of a clip in the arrays of the test split."""
        return slice(clip.start, clip.start + clip.length)

    def labels(self, clip) -> np.ndarray:
        """(length,) bool, True where abnormal; all False for a set without labels."""
        return np.zeros(clip.length, bool) if self.data.labels is None else np.asarray(self.data.labels[self.rows(clip)], bool)

    def mask(self, clip, frame: int) -> np.ndarray | None:
        """(H, W) bool, or None for a set without pixel masks."""
        return None if self.data.masks is None else self.data.masks[clip.start + frame]

    def kinds(self, name: str) -> tuple[str, ...]:
        """The kinds of anomaly in a clip of the generated set; empty elsewhere."""
        tracks = self.data.tracks
        return () if tracks is None else tuple(dict.fromkeys(tracks.loc[tracks["clip"] == name, "kind"]))

    def title(self, clip) -> str:
        """A clip by name, and what happens in it where that is known."""
        kinds = ", ".join(self.kinds(clip.name)).replace("_", " ")
        return f"{clip.name} ({kinds})" if kinds else clip.name

    @property
    def source(self) -> str:
        """Data set, profile and seed, for the small print."""
        from lib.look import DATASETS
        profile = next(iter(self.runs)).profile
        seeds = f", seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}" if self.seeds else ""
        subset = ", an incomplete copy (subset)" if self.data.subset else ""
        return f"{DATASETS.get(self.dataset, self.dataset).capitalize() if self.dataset == 'synthetic' else DATASETS.get(self.dataset, self.dataset)}{subset}; profile {profile}{seeds}."
