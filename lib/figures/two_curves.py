"""The scores of one clip from two sets of runs, one above the other (`./run_all.sh compare`)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lib.evidence import names
from lib.evidence.comparison import Curves, Side
from lib.figures import style


def draw(found: Curves, first: Side, second: Side) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers: frame, label, and the score of each side."""
    caption = (
        f"{names.DATASETS[found.dataset]}, {found.clip}: score per frame, "
        f"{names.MODELS[found.model].sentence}. Shaded: abnormal. "
        f'The clip of median AUC on the side "{first.name}".'
    )
    figure = style.sheet(style.PAGE, 3.2, caption)
    for i, (side, scores, auc) in enumerate(zip((first, second), found.scores, found.aucs, strict=True)):
        axis = style.panel(figure, 0.6, 0.3 + 1.45 * i, style.PAGE - 0.8, 1.0)
        style.shade(axis, found.labels)
        axis.plot(scores, color=style.TOTAL, linewidth=1.1)
        within = "" if auc is None else f", AUC within the clip {auc:.3f}"
        axis.set_title(f"{side.name}{within}", fontsize=8, loc="left")
        axis.set(xlim=(-0.5, len(scores) - 0.5), ylabel="S")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("frame")
    table = pd.DataFrame(
        {
            "frame": range(len(found.labels)),
            "label": found.labels.astype(int),
            "first": found.scores[0],
            "second": found.scores[1],
        }
    )
    return figure, table
