"""What each choice that the paper leaves open does to the AUC: one choice changed at a time, everything else as it was.

Choices of scoring and of evaluation are applied again to stored errors and likelihoods, which takes seconds; choices of the
flows need the flows trained again. Nothing here is used to choose anything: the reasons for the values that the kit uses
stand in `config`, and were there before this was computed.
"""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib import look, scoring
from lib.config import Config, values
from lib.evaluation import Protocol, frame_auc

# The other values of each open choice. Of lambda_L, which may be any number, half and twice, and a fifth and five times.
SCORING = {"score.log_of": ("pixel", "mean"), "score.reduce": ("mean", "patch_max"), "score.likelihood_frames": ("all", "centre"),
           "score.lambda_scope": ("clip", "test", "train"), "score.lambda_L": (0.2, 0.5, 2.0, 5.0)}
EVALUATION = {"normalise": ("clip", "set", "train", "none"), "smoothing": (20.0,), "average": ("macro",)}
TRAINING = {"features.standardise": ("channel", "element", "none")}


@dataclass(frozen=True)
class Stored:
    """What the scores of one full model are made of: errors of frames by reading, likelihoods of windows, per split."""

    errors: dict[str, dict[str, np.ndarray]]  # split -> "<log_of>/<reduce>" -> (N,)
    windows: dict[str, np.ndarray]            # split -> (n, 2)
    nll: dict[str, dict[str, np.ndarray]]     # split -> "app" or "mot" -> (n,)
    clips: dict[str, tuple]                   # split -> its clips
    labels: np.ndarray                        # (N_test,) bool
    T: int

    @staticmethod
    def read(data, features: Path, flows: dict[str, Path], T: int) -> "Stored":
        """From the folders of the runs: `flows` are those of "app" and "mot"."""
        splits = [split for split in ("train", "test") if data.clips(split)]
        return Stored({split: dict(np.load(features / f"{split}_errors.npz")) for split in splits},
                      {split: np.load(features / f"{split}_windows.npy") for split in splits},
                      {split: {name: np.load(folder / f"nll_{split}.npz")["nll"] for name, folder in flows.items()}
                       for split in splits}, {split: data.clips(split) for split in splits}, data.labels, T)

    def ids(self, split: str) -> np.ndarray:
        """The index of the clip of each frame."""
        return np.repeat(np.arange(len(self.clips[split])), [clip.length for clip in self.clips[split]])

    def terms(self, config: Config, split: str = "test") -> list[tuple[float, np.ndarray]]:
        """The weighted terms of Eq. 9, R and L, of the frames of a split."""
        s, rows = config.score, self.windows[split]
        spread = {name: scoring.spread(nll, rows, self.clips[split], T=self.T, likelihood_frames=s.likelihood_frames)
                  for name, nll in self.nll[split].items()}
        train = self.nll.get("train", {})
        L = scoring.likelihood_score(spread["app"], spread["mot"], self.ids(split), lambda_scope=s.lambda_scope,
                                     train_nll_app=train.get("app"), train_nll_mot=train.get("mot"))
        return [(1.0, self.errors[split][f"{s.log_of}/{s.reduce}"]), (s.lambda_L, L)]

    def auc(self, config: Config, protocol: Protocol) -> float:
        """Frame-level AUC under a configuration and a protocol."""
        extremes = None
        if protocol.normalise == "train":
            extremes = [[values.min(), values.max()] for _, values in self.terms(config, "train")]
        return frame_auc(self.terms(config), self.labels, self.ids("test"), protocol, extremes)


def changed(config: Config, name: str, value) -> Config:
    """A configuration with one parameter changed, by its full name."""
    group, short = name.split(".")
    return dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **{short: value})})


def value_of(config: Config, name: str):
    """The value of a parameter, by its full name."""
    group, short = name.split(".")
    return values(getattr(config, group))[short]


def rescored(stored: Stored, config: Config, protocol: Protocol) -> list[dict]:
    """A row for each other value of each choice of scoring and evaluation: choice, kind, value, of, auc."""
    rows = []
    for name, others in SCORING.items():
        of = value_of(config, name)
        for value in others:
            usable = "train" in stored.nll or value != "train"
            if value != of and usable:
                rows.append({"choice": name, "kind": "scoring", "value": value, "of": of,
                             "auc": stored.auc(changed(config, name, value), protocol)})
    for name, others in EVALUATION.items():
        of = getattr(protocol, name)
        for value in others:
            if value != of and ("train" in stored.nll or value != "train"):
                other = dataclasses.replace(protocol, name="other", **{name: value})
                rows.append({"choice": f"protocol: {name}", "kind": "evaluation", "value": value, "of": of,
                             "auc": stored.auc(config, other)})
    return rows


def retrainings(config: Config) -> list[tuple[str, object]]:
    """The choices for which flows have to be trained again, (name, value); half as deep a flow too."""
    found = [(name, value) for name, others in TRAINING.items() for value in others if value != value_of(config, name)]
    return found + [("flow.K", max(1, config.flow.K // 2))]


def table(rows: list[dict], base: float) -> pd.DataFrame:
    """All rows, the largest effect first: choice, kind, value, of, auc, change."""
    found = pd.DataFrame(rows)
    found["change"] = found["auc"] - base
    return found.reindex(found["change"].abs().sort_values(ascending=False, kind="stable").index).reset_index(drop=True)


KINDS = {"scoring": (look.GENERATIVE, ""), "evaluation": ("#FFFFFF", "////"), "training": (look.MOTION, "....")}


def chart(found: pd.DataFrame, base: float, caption: str):
    """A bar for each choice, from the AUC of the configuration as it is: the largest effect on top."""
    from matplotlib.patches import Patch
    left, height = 2.55, 0.19 * len(found)
    figure = look.sheet(look.PAGE, height + 0.95, caption)
    axis = look.panel(figure, left, 0.42, look.PAGE - left - 0.75, height)
    for i, row in enumerate(found.itertuples()):
        colour, hatch = KINDS[row.kind]
        axis.barh(i, row.change, height=0.68, color=colour, edgecolor=look.INK, linewidth=0.5, hatch=hatch)
        axis.text(1.02, i, f"{row.auc:.3f}", transform=axis.get_yaxis_transform(), va="center", fontsize=7)
    axis.axvline(0, color=look.INK, linewidth=0.8)
    spelt = [f"{row.choice} = {row.value:g}" if isinstance(row.value, float) else f"{row.choice} = {row.value}"
             for row in found.itertuples()]
    axis.set(ylim=(len(found) - 0.4, -0.6), yticks=range(len(found)), yticklabels=spelt,
             xlabel=f"change of the AUC from {base:.3f}")
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.text(1.02, -1.1, "AUC", transform=axis.get_yaxis_transform(), fontsize=look.SMALL, color=look.FAINT, va="center")
    keys = [Patch(facecolor=colour, edgecolor=look.INK, hatch=hatch, linewidth=0.5, label=kind)
            for kind, (colour, hatch) in KINDS.items() if kind in set(found["kind"])]
    width, tall = figure.get_size_inches()
    figure.legend(handles=keys, loc="upper left", ncol=3, borderpad=0, borderaxespad=0,
                  bbox_to_anchor=(left / width, 1 - 0.08 / tall))
    return figure
