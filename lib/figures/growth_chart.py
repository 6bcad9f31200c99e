"""The growth of the AUC with the windows that the autoencoder has seen, as a chart."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from lib.figures import style

SCORES = {
    "R": ("R (Eq. 7)", style.TWO_PATH, "dashed", "s"),
    "L": ("L (Eq. 8)", style.GENERATIVE, "solid", "^"),
    "S": ("S (Eq. 9)", style.TOTAL, "solid", "D"),
}
PANELS = {"held out": "held-out clips, pasted anomalies", "test": "test clips"}
# Windows of UCSD Ped2 seen in published trainings of comparable autoencoders: epochs times windows per epoch,
# from their code.
COMPARABLE = {"AE-Conv3D": 138_000, "MemAE": 231_000}


def chart(points: pd.DataFrame, caption: str, *, comparable: bool):
    """A panel per set of clips, a line per score: AUC over windows seen, on a logarithmic axis.

    `points` has `windows`, `clips` and the columns R, L and S. With `comparable`, vertical lines mark the
    windows seen in published trainings, for comparison.
    """
    wide, height = style.PAGE, 1.9
    present = [name for name in PANELS if name in set(points["clips"])]
    figure = style.sheet(wide, height + 0.95, caption)
    room = (wide - 0.45 - 0.15) / len(present)
    ends = [points["windows"].min(), points["windows"].max()]
    if comparable:
        ends.append(max(COMPARABLE.values()))
    lowest = points[list(SCORES)].min().min()
    for column, name in enumerate(present):
        axis = style.panel(figure, 0.45 + column * room, 0.5, room - 0.25, height)
        own = points[points["clips"] == name].sort_values("windows")
        for score, (label, colour, dashes, mark) in SCORES.items():
            axis.plot(
                own["windows"],
                own[score],
                color=colour,
                linestyle=style.DASHES[dashes],
                marker=mark,
                markersize=3.2,
                linewidth=1.2,
                label=label,
            )
        axis.set_xscale("log")
        axis.set(xlim=(0.85 * min(ends), 1.25 * max(ends)), ylim=(min(0.5, lowest - 0.02), 1.005))
        ticks = [t for t in (10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5) if min(ends) <= t <= max(ends)]
        axis.xaxis.set_major_locator(FixedLocator(ticks or [min(ends)]))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("windows seen by the autoencoder", labelpad=2)
        axis.set_title(PANELS[name], fontsize=7, pad=3)
        if column == 0:
            axis.set_ylabel("AUC", labelpad=2)
        for code, seen in COMPARABLE.items() if comparable else ():
            axis.axvline(seen, color=style.FAINT, linewidth=0.7, linestyle=style.DASHES["dotted"])
            axis.text(
                seen,
                0.03,
                f" {code} ",
                transform=axis.get_xaxis_transform(),
                rotation=90,
                va="bottom",
                ha="right",
                fontsize=style.SMALL,
                color=style.FAINT,
            )
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper left",
        ncol=3,
        borderpad=0,
        borderaxespad=0,
        bbox_to_anchor=(0.45 / wide, 1 - 0.08 / figure.get_size_inches()[1]),
    )
    return figure
