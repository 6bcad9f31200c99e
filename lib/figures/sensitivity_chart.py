"""The sensitivity study as a chart: the effect of each open choice on the AUC."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn

from lib.figures import style

# Kind of choice -> description, colour and mark.
KINDS = {
    "scoring": ("scoring", style.GENERATIVE, "o"),
    "evaluation": ("evaluation, the model being the same", "#6B6B6B", "s"),
    "remedy": ("other reading of the likelihood", style.APP_NONE, "^"),
    "flows": ("flows trained again", style.MOTION, "D"),
    "autoencoder": ("autoencoder trained again", style.TWO_PATH, "v"),
}
# Descriptions of choices whose names are not clear by themselves. Others are shown by name.
WORDS = {
    "score.log_of": "logarithm (Eq. 7) of",
    "score.reduce": "error of a frame",
    "score.order": "windows and pixels",
    "score.error": "error of a pixel",
    "score.colours": "colours",
    "score.likelihood_frames": "a window's likelihood belongs to",
    "score.likelihood_scale": "likelihood of",
    "score.likelihood_unit": "likelihood in",
    "score.lambda_of": "λ₁, λ₂ (Eq. 8): range of",
    "score.lambda_scope": "λ₁, λ₂ (Eq. 8): range over",
    "score.lambda_L": "λ_L (Eq. 9)",
    "protocol: normalise": "min-max of scores over",
    "protocol: smoothing": "scores smoothed over",
    "protocol: smoothed before": "scores smoothed before min-max, over",
    "protocol: average": "AUC",
    "features.standardise": "features standardised per",
    "features.time": "features: time",
    "flow.K": "steps of flow, K",
    "flow.L": "levels of the flows, L",
    "model.output": "output",
    "model.normalisation": "normalisation",
    "model.activation": "activation",
    "loss.l2": "Eq. 3 as",
    "loss.gradient_weight": "weight of the gradient loss",
    "autoencoder.steps": "steps of the autoencoder",
    "autoencoder.windows": "windows are drawn by",
    "autoencoder.cycles": "cosine cycles of the learning rate",
    "model.input_range": "frames in",
}
VALUES = {
    "pixel": "each pixel",
    "mean": "the mean",
    "patch_max": "largest patch",
    "largest_patch_mean": "largest mean of a patch",
    "mean_patch_maximum": "mean of the patches' maxima",
    "largest_pixel": "largest pixel",
    "reduce_first": "pixels first",
    "average_first": "windows first",
    "all": "all frames",
    "centre": "its centre frame",
    "clip": "each clip",
    "test": "the test set",
    "set": "the test set",
    "train": "the training set",
    "none": "nothing",
    "macro": "mean over clips",
    "per_dimension": "nats per dimension",
    "window_norm": "norm of a window",
    "frame_norm": "norm of each frame",
    "mean_square": "mean square",
    "leaky_relu": "leaky ReLU",
}


def in_words(choice: str, value) -> str:
    """The name of a row: the choice and its value."""
    name = WORDS.get(choice, choice)
    if choice == "score.likelihood_scale":
        return f"{name} {'all scales' if value == 'all' else 'the last scale'}"
    said = f"{value:g}" if isinstance(value, float) else VALUES.get(value, str(value).replace("_", " "))
    if choice in ("protocol: smoothing", "protocol: smoothed before"):
        return f"{name} {said} frames"
    return f"{name}: {said}"


def chart(found: pd.DataFrame, base: float, caption: str):
    """One point per choice: its change of the AUC with its interval, the largest effect on top.

    `found` has choice, kind, value, auc and change, and low and high if there are enough clips to resample.
    """
    names = [in_words(row.choice, row.value) for row in found.itertuples()]
    widest = max((len(name) for name in names), default=10)
    left, height = min(0.3 + 0.058 * widest, 3.2), 0.19 * len(found)
    present = [kind for kind in KINDS if kind in set(found["kind"])]
    top = 0.5 + 0.16 * -(-len(present) // 3)
    figure = style.sheet(style.PAGE, top + height + 0.5, caption)
    style.write(figure, 0.05, 0.2, f"One choice changed at a time: what becomes of the AUC of {base:.3f}")
    axis = style.panel(figure, left, top, style.PAGE - left - 0.6, height)
    for i in range(0, len(found), 2):
        axis.axhspan(i - 0.5, i + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    axis.axvline(0, color=style.INK, linewidth=0.8, zorder=1)
    if {"low", "high"} <= set(found.columns):
        colours = [KINDS[kind][1] for kind in found["kind"]]
        rows = np.arange(len(found))
        axis.hlines(rows, found["low"], found["high"], colors=colours, linewidth=1.2, gid="intervals")
    drawn = found.assign(row=np.arange(len(found)), said=[KINDS[kind][0] for kind in found["kind"]])
    seaborn.scatterplot(
        drawn,
        x="change",
        y="row",
        hue="said",
        style="said",
        hue_order=[KINDS[kind][0] for kind in present],
        style_order=[KINDS[kind][0] for kind in present],
        palette={KINDS[kind][0]: KINDS[kind][1] for kind in present},
        markers={KINDS[kind][0]: KINDS[kind][2] for kind in present},
        s=22,
        linewidth=0.4,
        zorder=3,
        ax=axis,
    )
    for i, row in enumerate(found.itertuples()):
        axis.text(1.02, i, f"{row.auc:.3f}", transform=axis.get_yaxis_transform(), va="center", fontsize=7)
    axis.text(
        1.02,
        -1.0,
        "AUC",
        transform=axis.get_yaxis_transform(),
        fontsize=style.SMALL,
        color=style.FAINT,
        va="center",
    )
    axis.set(ylim=(len(found) - 0.5, -0.5), yticks=range(len(found)), yticklabels=names, ylabel="")
    axis.set_xlabel("change of the AUC", labelpad=2)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    axis.get_legend().remove()
    width, tall = figure.get_size_inches()
    figure.legend(
        handles,
        labels,
        loc="upper left",
        ncol=3,
        borderpad=0,
        borderaxespad=0,
        bbox_to_anchor=(0.05 / width, 1 - 0.28 / tall),
    )
    return figure
