"""Figure 2 with the parts highlighted that a notebook is about."""

from __future__ import annotations

from matplotlib.patches import Rectangle

from lib.config import Config
from lib.errors import ModelError
from lib.figures import framework, style

TOP = framework.HEIGHT
# The parts of Figure 2 as rectangles in inches: left, bottom, width, height. Together they cover the drawing.
PARTS = {
    "frames": ((0.0, 0.0, 0.74, TOP),),
    "appearance path": ((0.74, 1.90, 2.66, TOP - 1.90),),
    "motion path": ((0.74, 0.0, 2.66, 1.90),),
    "decoder": ((3.40, 0.80, 2.60, 1.90),),
    "pooling": ((3.40, 2.70, 0.75, TOP - 2.70), (3.40, 0.0, 0.75, 0.80)),
    "F_app": ((4.15, 2.70, 1.85, TOP - 2.70),),
    "F_mot": ((4.15, 0.0, 1.85, 0.80),),
    "score": ((6.00, 0.0, style.PAGE - 6.00, TOP),),
}
NETWORK = ("appearance path", "motion path", "decoder")
FLOWS = ("F_app", "F_mot")


def you_are_here(config: Config, *parts: str):
    """Figure 2 as a matplotlib figure, faded except for the named parts; not faded if none is named.

    `parts` are names in PARTS. Raises KeyError for another name.
    """
    figure = style.sheet(style.PAGE, TOP, "")
    axis = style.panel(figure, 0, 0, style.PAGE, TOP)
    axis.set(xlim=(0, style.PAGE), ylim=(0, TOP))
    axis.axis("off")
    try:
        framework.Drawing(axis, config).all()
    except ModelError as problem:  # shown here; raised where the network is built
        axis.text(0.1, TOP / 2, f"These settings describe no network. {problem}", fontsize=7)
        return figure
    lit = [PARTS[part] for part in parts]
    for rectangles in PARTS.values():
        if parts and rectangles not in lit:
            for left, bottom, width, height in rectangles:
                veil = Rectangle((left, bottom), width, height)
                veil.set(facecolor="white", alpha=0.82, linewidth=0, zorder=50)
                axis.add_patch(veil)
    return figure
