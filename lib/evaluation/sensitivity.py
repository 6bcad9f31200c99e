"""The effect of each open choice on the AUC: one choice is changed at a time, everything else stays.

Choices of scoring and of evaluation are applied to stored errors and likelihoods, which takes seconds;
choices of the flows need the flows trained again, those of the autoencoder everything. Beside the choices
there are remedies: proposals by others for misleading likelihoods, used in place of the paper's own. Nothing
here is used to choose anything: the reasons for the kit's values are in `config` and were written before this
was computed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from lib import scoring
from lib.config import Config, changed, value_of
from lib.evaluation.protocols import Protocol, bits_per_pixel, bootstrap_change, frame_auc, protocol_scores

# The other values of each open choice. lambda_L, which may be any number, is halved and doubled, and divided
# and multiplied by five.
SCORING = {
    "score.error": ("absolute", "square"),
    "score.colours": ("each", "averaged"),
    "score.log_of": ("pixel", "mean"),
    "score.reduce": ("mean", "largest_patch_mean", "mean_patch_maximum", "largest_pixel"),
    "score.order": ("reduce_first", "average_first"),
    "score.likelihood_frames": ("all", "centre"),
    "score.likelihood_scale": ("all", "last"),
    "score.likelihood_unit": ("nats", "per_dimension"),
    "score.lambda_of": ("features", "likelihoods"),
    "score.lambda_scope": ("clip", "test", "train"),
    "score.lambda_L": (0.2, 0.5, 2.0, 5.0),
}
EVALUATION = {
    "normalise": ("clip", "set", "train", "none"),
    "smoothing": (20.0,),
    "smoothed before": (20.0,),
    "average": ("macro",),
}
FLOW = {"features.standardise": ("channel", "element", "none")}
AUTOENCODER = {
    "features.time": ("mean",),
    "model.output": ("linear",),
    "model.normalisation": ("group",),
    "model.activation": ("leaky_relu",),
    "model.input_range": ("0..1",),
    "loss.l2": ("window_norm", "frame_norm", "mean_square"),
    "loss.gradient_weight": (0.0, 1.0),
    "autoencoder.windows": ("clip_first",),
    "autoencoder.cycles": (4,),
}
# not a choice; its effect is what another change has to exceed to mean anything
ANOTHER_SEED = "another seed"


@dataclass(frozen=True)
class Stored:
    """The stored parts of one full model's scores, by split: errors of frames by reading, likelihoods of
    windows."""

    errors: dict[str, dict[str, np.ndarray]]  # split -> name of a reading -> (N,)
    windows: dict[str, np.ndarray]  # split -> (n, 2)
    nll: dict[str, dict[str, dict]]  # split -> "app" or "mot" -> result of `stage2.likelihoods`
    ranges: dict[str, dict[str, np.ndarray]]  # split -> "app" or "mot" -> smallest and largest feature (n, 2)
    clips: dict[str, tuple]  # split -> its clips
    labels: np.ndarray  # (N_test,) bool
    T: int

    @staticmethod
    def read(data, features: Path, flows: dict[str, Path], T: int) -> Stored:
        """Read from the folders of the runs: `features`, and `flows` for "app" and "mot"."""
        splits = [split for split in ("train", "test") if data.clips(split)]
        return Stored(
            {split: dict(np.load(features / f"{split}_errors.npz")) for split in splits},
            {split: np.load(features / f"{split}_windows.npy") for split in splits},
            {
                split: {name: dict(np.load(folder / f"nll_{split}.npz")) for name, folder in flows.items()}
                for split in splits
            },
            {
                split: {name: np.load(features / f"{split}_{name}_range.npy") for name in flows}
                for split in splits
            },
            {split: data.clips(split) for split in splits},
            data.labels,
            T,
        )

    def with_likelihoods(self, nll: dict[str, dict[str, np.ndarray]]) -> Stored:
        """A copy with other values in place of the likelihoods: split -> "app" or "mot" -> (n,)."""
        return dataclasses.replace(
            self,
            nll={
                split: {
                    name: {
                        "nll": values,
                        "log_p_z": -values[:, None],
                        "log_det": np.zeros((len(values), 1)),
                        "dims": self.nll[split][name]["dims"],
                    }
                    for name, values in of_flows.items()
                }
                for split, of_flows in nll.items()
            },
        )

    def ids(self, split: str) -> np.ndarray:
        """The index of the clip of each frame, (N,)."""
        return scoring.clip_ids(self.clips[split])

    def of_flows(self, config: Config, split: str) -> dict[str, scoring.FlowWindows]:
        """What Eq. 8 needs of the windows of a split, by flow."""
        how = {
            "likelihood_scale": config.score.likelihood_scale,
            "likelihood_unit": config.score.likelihood_unit,
        }
        return {
            name: scoring.FlowWindows(scoring.window_nll(terms, **how), self.ranges[split][name])
            for name, terms in self.nll.get(split, {}).items()
        }

    def scores(self, config: Config, split: str = "test") -> scoring.FrameScores:
        """R, L and S of the frames of a split under a configuration."""
        return scoring.frame_scores(
            self.errors[split],
            self.of_flows(config, split),
            self.windows[split],
            self.clips[split],
            config.score,
            channels=config.data.channels,
            T=self.T,
            train=self.of_flows(config, "train"),
        )

    def judged(self, config: Config, protocol: Protocol) -> np.ndarray:
        """The scores of the test frames behind the ROC curve, under a configuration and a protocol, (N,)."""
        extremes, scope = None, {"set": "test", "none": "test", "train": "train"}.get(protocol.normalise)
        if scope:  # see `protocols.column_of_likelihood`
            config = changed(config, "score.lambda_scope", scope)
        if protocol.normalise == "train":
            extremes = [[values.min(), values.max()] for _, values in self.scores(config, "train").terms]
        return protocol_scores(self.scores(config).terms, self.ids("test"), protocol, extremes)

    def auc(self, config: Config, protocol: Protocol) -> float:
        """Frame-level AUC under a configuration and a protocol."""
        return frame_auc(self.judged(config, protocol), self.labels, self.ids("test"), as_they_are(protocol))

    def measured(self, config: Config, protocol: Protocol, base: Base) -> dict[str, float]:
        """AUC, and the 95 % interval of its change from the base: auc, low, high; NaN if there are too few
        clips."""
        found = bootstrap_change(
            self.judged(config, protocol),
            protocol,
            base.scores,
            base.protocol,
            self.labels,
            self.ids("test"),
            resamples=config.evaluate.resamples,
        )
        low, high = (np.nan, np.nan) if found is None else (found.low, found.high)
        return {"auc": self.auc(config, protocol), "low": low, "high": high}


class Base(NamedTuple):
    """The unchanged model, with which every change is compared: the scores behind its ROC curve, and the
    protocol."""

    scores: np.ndarray
    protocol: Protocol


def as_they_are(protocol: Protocol) -> Protocol:
    """The protocol for scores to which `protocol` has already been applied: no normalisation, no
    smoothing."""
    return dataclasses.replace(protocol, normalise="none", smoothing=0.0)


def rescored(stored: Stored, config: Config, protocol: Protocol) -> list[dict]:
    """One row per other value of each choice of scoring and evaluation.

    Each has choice, kind, value, of, auc, and low and high, the interval of its change.
    """
    rows, base = [], Base(stored.judged(config, protocol), protocol)
    alike = {"score.colours"} if config.data.channels == 1 else set()  # no difference in these cases
    alike |= {"score.likelihood_scale"} if config.flow.L == 1 else set()
    for name, value in others(SCORING, config):
        if name not in alike and ("train" in stored.nll or value != "train"):
            rows.append(
                {
                    "choice": name,
                    "kind": "scoring",
                    "value": value,
                    "of": value_of(config, name),
                    **stored.measured(changed(config, name, value), protocol, base),
                }
            )
    for name, possible in EVALUATION.items():
        before = name == "smoothed before"
        of = protocol.smoothing if before else getattr(protocol, name)
        for value in possible:
            if value != of and ("train" in stored.nll or value != "train"):
                change = {"smoothing": value, "smooth": "before"} if before else {name: value}
                other = dataclasses.replace(protocol, name="other", **change)
                rows.append(
                    {
                        "choice": f"protocol: {name}",
                        "kind": "evaluation",
                        "value": value,
                        "of": of,
                        **stored.measured(config, other, base),
                    }
                )
    return rows


def others(choices: dict, config: Config) -> list[tuple[str, object]]:
    """The values of some choices that differ from the configuration's, (name, value)."""
    return [
        (name, value)
        for name, values_ in choices.items()
        for value in values_
        if value != value_of(config, name)
    ]


def retrainings(config: Config, seed: int) -> list[tuple[str, str, object]]:
    """The retrainings that `sensitivity.retrain` asks for, as (kind, name, value).

    These are the flows (also half as deep), and the autoencoder under them, for its own choices and for half
    its training.
    """
    if config.sensitivity.retrain == "nothing":
        return []
    flow = [*others(FLOW, config), ("flow.K", max(1, config.flow.K // 2)), (ANOTHER_SEED, seed + 1)]
    found = [("flows", *choice) for choice in flow]
    if config.sensitivity.retrain == "autoencoder":
        autoencoder = [
            *others(AUTOENCODER, config),
            ("autoencoder.steps", config.autoencoder.steps // 2),
            (ANOTHER_SEED, seed + 1),
        ]
        found += [("autoencoder", *choice) for choice in autoencoder if choice[1]]
    return found


# -- remedies ------------------------------------------------------------------------------------------------


def remedies(
    terms: dict[str, dict[str, dict]], complexity: dict[str, np.ndarray]
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Other readings of the flows' likelihoods, one value per window, larger if less normal.

    Returns name -> split -> flow -> (n,). `terms`: split -> flow -> result of `stage2.likelihoods`.
    `complexity`: split -> bits of each window's frames as PNG. The mean and the regression line are fitted on
    training windows; without these the first two remedies are left out.

        two-sided typicality    |NLL - its mean in training|, Nalisnick et al. 2019
        less complexity         NLL minus its regression line on complexity in training, after Serra et al.
                                2019, who subtract the bits themselves
        last scale alone        the terms of the coarsest level, Schirrmeister et al. 2020
        -log p(z) alone, -log|det| alone
    """

    def each(reading, splits=tuple(terms)):
        return {
            split: {flow: reading(flow, split, t) for flow, t in terms[split].items()} for split in splits
        }

    found = {
        "−log p(z) alone": each(lambda flow, split, t: -t["log_p_z"].sum(1)),
        "−log|det| alone": each(lambda flow, split, t: -t["log_det"].sum(1)),
    }
    if next(iter(terms["test"].values()))["log_p_z"].shape[1] > 1:
        found["last scale alone"] = each(lambda flow, split, t: -(t["log_p_z"] + t["log_det"])[:, -1])
    if "train" in terms:
        mean = {flow: t["nll"].mean() for flow, t in terms["train"].items()}
        line = {
            flow: np.polynomial.Polynomial.fit(complexity["train"], t["nll"], 1)
            for flow, t in terms["train"].items()
        }
        found["two-sided typicality"] = each(lambda flow, split, t: np.abs(t["nll"] - mean[flow]))
        found["less complexity"] = each(lambda flow, split, t: t["nll"] - line[flow](complexity[split]))
    return found


def complexity_of(frames: np.ndarray, windows: np.ndarray, T: int) -> np.ndarray:
    """Bits as PNG of the middle frame of each window: frames (N, H, W, C) uint8, windows (n, 2) -> (n,)."""
    return (
        np.array([bits_per_pixel(frames[start + T // 2]) for start in windows[:, 1]]) * frames[0, ..., 0].size
    )


def alone(stored: Stored, config: Config, protocol: Protocol) -> dict[str, float]:
    """AUC of the likelihoods alone, for each flow and for both (Eq. 8), and of the full score (Eq. 9)."""
    names = {"nll_app": "app", "nll_mot": "mot", "L": "both"}
    found = stored.scores(config)
    aucs = {
        names[term]: frame_auc(values, stored.labels, stored.ids("test"), protocol)
        for term, values in (found.nll | {"L": found.L}).items()
    }
    return aucs | {"with R": stored.auc(config, protocol)}


def by_clip(stored: Stored, config: Config) -> pd.DataFrame:
    """AUC of R and of each likelihood within each test clip that has frames of both kinds: one row per clip,
    columns R, app, mot."""
    ids, found, rows = stored.ids("test"), stored.scores(config), []
    columns = {"R": found.R, "app": found.nll["nll_app"], "mot": found.nll["nll_mot"]}
    for index, clip in enumerate(stored.clips["test"]):
        own = ids == index
        if stored.labels[own].any() and not stored.labels[own].all():
            rows.append(
                {"clip": clip.name}
                | {name: roc_auc_score(stored.labels[own], values[own]) for name, values in columns.items()}
            )
    return pd.DataFrame(rows, columns=["clip", *columns])


def table(rows: list[dict], base: float) -> pd.DataFrame:
    """All rows, the largest effect first: choice, kind, value, of, auc, low, high, change."""
    found = pd.DataFrame(rows)
    found["change"] = found["auc"] - base
    return found.reindex(found["change"].abs().sort_values(ascending=False, kind="stable").index).reset_index(
        drop=True
    )
