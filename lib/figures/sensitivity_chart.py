"""The sensitivity study as a chart: the effect of each open choice on the AUC."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn

from lib.config import Figure
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
DEFAULT = Figure()
BAND = "#F4F4F4"  # behind every other row


def in_words(choice: str, value) -> str:
    """The name of a row: the choice and its value."""
    name = WORDS.get(choice, choice)
    if choice == "score.likelihood_scale":
        return f"{name} {'all scales' if value == 'all' else 'the last scale'}"
    said = f"{value:g}" if isinstance(value, float) else VALUES.get(value, str(value).replace("_", " "))
    if choice in ("protocol: smoothing", "protocol: smoothed before"):
        return f"{name} {said} frames"
    return f"{name}: {said}"


def chart(found: pd.DataFrame, base: float, caption: str, wanted: Figure = DEFAULT):
    """One point per choice: its change of the AUC with its interval, the largest effect on top.

    `found` has choice, kind, value, auc and change, and low and high if there are enough clips to resample.
    Names are beside the points; in a figure as wide as a column, above them.
    """
    names = [in_words(row.choice, row.value) for row in found.itertuples()]
    widest = max((len(name) for name in names), default=10)
    present = [kind for kind in KINDS if kind in set(found["kind"])]
    width = style.width_for(wanted.size, style.PAGE)
    narrow = width <= style.COLUMN
    left, row, across = (0.16, 0.31, 1) if narrow else (min(0.3 + 0.058 * widest, 3.2), 0.19, 3)
    title = f"One choice changed at a time: what becomes of the AUC of {base:.3f}"
    titles = title.replace(": ", ":\n", 1).split("\n") if narrow else [title]
    head = 0.2 + 0.14 * (len(titles) - 1)
    top = head + (0.12 if narrow else 0.3) + 0.16 * -(-len(present) // across)
    figure = style.sheet(width, top + row * len(found) + 0.5, caption if wanted.caption else "")
    for i, line in enumerate(titles):
        style.write(figure, 0.05, 0.2 + 0.14 * i, line)
    axis = style.panel(figure, left, top, width - left - (0.4 if narrow else 0.6), row * len(found))
    for i in range(0, len(found), 2):
        axis.axhspan(i - 0.5, i + 0.5, color=BAND, linewidth=0, zorder=0)
    axis.axvline(0, color=style.INK, linewidth=0.8, zorder=1)
    rows = np.arange(len(found)) + (0.22 if narrow else 0)
    if {"low", "high"} <= set(found.columns):
        colours = [KINDS[kind][1] for kind in found["kind"]]
        axis.hlines(rows, found["low"], found["high"], colors=colours, linewidth=1.2, gid="intervals")
    drawn = found.assign(row=rows, said=[KINDS[kind][0] for kind in found["kind"]])
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
    beside = axis.get_yaxis_transform()
    for i, choice in enumerate(found.itertuples()):
        axis.text(1.02, rows[i], f"{choice.auc:.3f}", transform=beside, va="center", fontsize=7)
    above = rows[0] - (0.5 if narrow else 1.0) if len(rows) else 0
    axis.text(1.02, above, "AUC", transform=beside, fontsize=style.SMALL, color=style.FAINT, va="center")
    axis.set(ylim=(len(found) - 0.5, -0.5), ylabel="")
    if narrow:
        axis.set(yticks=[])
        for i, name in enumerate(names):  # on the ground of its row, so that the line at 0 does not cross it
            ground = dict(facecolor="white" if i % 2 else BAND, edgecolor="none", pad=0.6)
            axis.text(0.01, i - 0.22, name, transform=beside, va="center", fontsize=7, bbox=ground)
    else:
        axis.set(yticks=range(len(found)), yticklabels=names)
    axis.set_xlabel("change of the AUC", labelpad=2)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    handles, labels = axis.get_legend_handles_labels()
    axis.get_legend().remove()
    tall = figure.get_figheight()
    figure.legend(
        handles,
        labels,
        loc="upper left",
        ncol=across,
        borderpad=0,
        borderaxespad=0,
        bbox_to_anchor=(0.05 / width, 1 - (head + 0.08) / tall),
    )
    return figure
