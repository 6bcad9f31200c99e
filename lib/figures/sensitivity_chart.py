"""The sensitivity study as a chart: what each open choice does to the AUC."""

from __future__ import annotations

import pandas as pd

from lib.figures import style

KINDS = {
    "scoring": (style.GENERATIVE, ""),
    "evaluation": ("#FFFFFF", "////"),
    "remedy": ("#D9D9D9", "xxxx"),
    "flows": (style.MOTION, "...."),
    "autoencoder": (style.APPEARANCE, "\\\\"),
}


def chart(found: pd.DataFrame, base: float, caption: str):
    """A bar for each choice, from the AUC of the configuration as it is: the largest effect on top."""
    from matplotlib.patches import Patch

    left, height = 2.55, 0.19 * len(found)
    figure = style.sheet(style.PAGE, height + 0.95, caption)
    axis = style.panel(figure, left, 0.42, style.PAGE - left - 0.75, height)
    for i, row in enumerate(found.itertuples()):
        colour, hatch = KINDS[row.kind]
        axis.barh(i, row.change, height=0.68, color=colour, edgecolor=style.INK, linewidth=0.5, hatch=hatch)
        axis.text(1.02, i, f"{row.auc:.3f}", transform=axis.get_yaxis_transform(), va="center", fontsize=7)
    axis.axvline(0, color=style.INK, linewidth=0.8)
    spelt = [
        f"{row.choice} = {row.value:g}" if isinstance(row.value, float) else f"{row.choice} = {row.value}"
        for row in found.itertuples()
    ]
    axis.set(
        ylim=(len(found) - 0.4, -0.6),
        yticks=range(len(found)),
        yticklabels=spelt,
        xlabel=f"change of the AUC from {base:.3f}",
    )
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.text(
        1.02,
        -1.1,
        "AUC",
        transform=axis.get_yaxis_transform(),
        fontsize=style.SMALL,
        color=style.FAINT,
        va="center",
    )
    keys = [
        Patch(facecolor=colour, edgecolor=style.INK, hatch=hatch, linewidth=0.5, label=kind)
        for kind, (colour, hatch) in KINDS.items()
        if kind in set(found["kind"])
    ]
    width, tall = figure.get_size_inches()
    figure.legend(
        handles=keys,
        loc="upper left",
        ncol=len(KINDS),
        borderpad=0,
        borderaxespad=0,
        bbox_to_anchor=(left / width, 1 - 0.08 / tall),
    )
    return figure
