"""One look for every figure: what each colour means, how wide a figure is, how it is saved.

The style sheet `kit.mplstyle` has fonts and lines; here is what has a meaning. The colours are Okabe and Ito's, which
people with colour-blindness can tell apart, and a dark red for what is abnormal. No meaning rests on colour alone: each
line has a dash pattern of its own and the abnormal bars of a histogram are hatched, so that a copy in grey can be read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import binary_dilation, binary_fill_holes

from lib import paths
from lib.evidence import names

COLUMN, PAGE = 3.3, 7.0  # widths of the paper's column and page, in inches
SCALE = {"paper": 1.0, "screen": 1.6}  # the same drawing, larger
DPI = {"paper": 300, "screen": 200}
SMALL = 6  # points; nothing in a figure is smaller

INK, FAINT = "#222222", "#6B6B6B"
NORMAL, ABNORMAL, SHADE = (
    "#A3A3A3",
    "#8E1B47",
    "#F3DCE3",
)  # frames by their label, and ranges of abnormal frames
ONE_PATH, TWO_PATH = "#222222", "#009E73"  # autoencoders, and the score R of each
APPEARANCE, MOTION = "#56B4E9", "#E69F00"  # F_app and F_mot, and the paths whose features they see
GENERATIVE, TOTAL = "#0072B2", "#D55E00"  # L of Eq. 8, S of Eq. 9
ERROR = LinearSegmentedColormap.from_list("error", ["#FFFFFF", "#FDD0A2", "#F2704A", "#C8141E", "#4A0007"])
MARK = to_rgb("#D7142A")  # a pixel whose error is marked

DASHES = {
    "solid": "solid",
    "dashed": (0, (4, 1.6)),
    "short": (0, (1.8, 1.2)),
    "dotted": (0, (1, 1.2)),
    "dash-dot": (0, (5, 1.4, 1, 1.4)),
    "dash-dot-dot": (0, (5, 1.4, 1, 1.4, 1, 1.4)),
}

# Scored models: name in a legend, colour, dashes, mark. What a model adds has its colour; both together are the total.
MODELS = {
    model: (names.MODELS[model].legend, *drawn)
    for model, drawn in {
        "one_path": (ONE_PATH, "dotted", "x"),
        "two_path": (TWO_PATH, "dashed", "s"),
        "app_intensity": (APPEARANCE, "solid", "o"),
        "mot": (MOTION, "short", "^"),
        "app_intensity_mot": (TOTAL, "solid", "D"),
        "app_none": (APPEARANCE, "dash-dot", "v"),
        "app_error": (APPEARANCE, "dash-dot-dot", "P"),
    }.items()
}
FLOWS = {flow: name.legend for flow, name in names.FLOWS.items()}


def sheet(width: float, height: float, caption: str) -> Figure:
    """An empty figure of so many inches, and below them, in small print, how its clips and frames were chosen.

    Panels are placed on it in inches (`panel`), so that nothing moves when a number gets longer.
    """
    lines = wrap(caption, width - 0.1)
    below = (len(lines) * SMALL * 1.35 + 7) / 72 if lines else 0.0
    figure = Figure(figsize=(width, height + below))
    figure.text(
        0.05 / width,
        0.04 / (height + below),
        "\n".join(lines),
        va="bottom",
        fontsize=SMALL,
        color=FAINT,
        linespacing=1.3,
    )
    return figure


def wrap(text: str, width: float) -> list[str]:
    """Small print broken into lines of at most so many inches."""
    font, measure = FontProperties(size=SMALL), TextToPath()
    points = 72 / 1.04  # on screens letters are fitted to pixels, which makes lines a little longer
    inches = {
        word: measure.get_text_width_height_descent(word, font, False)[0] / points
        for word in (*text.split(" "), " ")
    }
    lines, used = [], width
    for word in filter(None, text.split(" ")):
        if used + inches[" "] + inches[word] > width:
            lines.append(word)
            used = inches[word]
        else:
            lines[-1] += " " + word
            used += inches[" "] + inches[word]
    return lines


def panel(figure: Figure, left: float, top: float, width: float, height: float, **options):
    """Axes at a place in inches, counted from the figure's left and top edges."""
    W, H = figure.get_size_inches()
    return figure.add_axes((left / W, 1 - (top + height) / H, width / W, height / H), **options)


def ranges(flags: np.ndarray) -> np.ndarray:
    """Runs of true frames, (n, 2): the first frame of each, and the frame after its last."""
    return np.flatnonzero(np.diff(np.asarray(flags).astype(int), prepend=0, append=0)).reshape(-1, 2)


def shade(axis, flags: np.ndarray) -> None:
    """Shades the ranges of abnormal frames, each frame from half a step before it to half a step after it."""
    for first, end in ranges(flags):
        axis.axvspan(first - 0.5, end - 0.5, facecolor=SHADE, edgecolor=ABNORMAL, linewidth=0.4, zorder=0)


def missing(axis, why: str) -> None:
    """Says in an empty panel why it is empty: "not run", for the most part."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, color="#C8C8C8", linestyle=DASHES["dashed"])
    axis.text(0.5, 0.5, why, transform=axis.transAxes, ha="center", va="center", fontsize=7, color=FAINT)


def picture(axis, image: np.ndarray, **options):
    """A frame or a map without ticks: (H, W), (H, W, 1) or (H, W, 3). Grey is 0 to 255 unless `options` differ."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    grey = {} if image.ndim == 3 or options else dict(cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, linewidth=0.4, color=FAINT)
    return axis.imshow(image, **grey, **options, interpolation="nearest")


def outline(axis, mask: np.ndarray | None) -> None:
    """A line around the labelled pixels of a frame, if there are any: dark on light, so that it is seen on anything.

    It keeps a little distance, so that a small object is not hidden by its own outline.
    """
    if mask is not None and mask.any():
        room = binary_dilation(
            binary_fill_holes(np.pad(mask, 1)), iterations=max(1, round(min(mask.shape) / 40))
        )
        for width, colour in ((1.5, "white"), (0.8, ABNORMAL)):
            axis.contour(
                np.arange(-1, mask.shape[1] + 1),
                np.arange(-1, mask.shape[0] + 1),
                room.astype(float),
                levels=[0.5],
                colors=[colour],
                linewidths=width,
            )
        axis.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))


def over(frame: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """A frame with red over it: (H, W, C) uint8 and (H, W) in [0, 1] -> (H, W, 3) in [0, 1].

    The frame is grey and brightened, so that red is darker than what it covers and shows in a copy in grey too.
    """
    grey = np.asarray(frame, float).mean(axis=-1, keepdims=True) / 255
    light = 0.30 + 0.70 * grey  # (H, W, 1)
    red = np.array(MARK) * (0.35 + 0.65 * grey)
    strength = np.clip(strength, 0, 1)[..., None]
    return light * (1 - strength) + red * strength


def bars(axis, edges: np.ndarray, normal: np.ndarray, abnormal: np.ndarray) -> None:
    """Two histograms in one panel: the normal frames filled, the abnormal ones hatched."""
    axis.stairs(normal, edges, fill=True, facecolor=NORMAL, alpha=0.75, edgecolor="none", label="normal")
    axis.stairs(
        abnormal,
        edges,
        fill=True,
        facecolor=(1, 1, 1, 0),
        edgecolor=ABNORMAL,
        hatch="//////",
        linewidth=0.9,
        label="abnormal",
    )


def box(axis, at: float, quantiles, *, abnormal: bool) -> None:
    """A horizontal box: the first and last quantile are whiskers, the middle one is the median."""
    low, first, median, third, high = quantiles
    colour, fill = (ABNORMAL, (1, 1, 1, 0)) if abnormal else (FAINT, NORMAL)
    axis.plot([low, first, None, third, high], [at, at, None, at, at], color=colour, linewidth=0.8)
    axis.add_patch(
        Rectangle(
            (first, at - 0.13),
            third - first,
            0.26,
            facecolor=fill,
            edgecolor=colour,
            linewidth=0.7,
            hatch="//////" if abnormal else None,
        )
    )
    axis.plot([median, median], [at - 0.13, at + 0.13], color=INK, linewidth=1.2)


def key_of_bars(figure: Figure, middle: float, bottom: float, *, labelled: bool = True) -> None:
    """The legend of `bars`, centred at a place in inches from the left and top."""
    W, H = figure.get_size_inches()
    keys = [Patch(facecolor=NORMAL, alpha=0.75, label="normal" if labelled else "all frames (no labels)")]
    if labelled:
        keys.append(
            Patch(facecolor=(1, 1, 1, 0), edgecolor=ABNORMAL, hatch="//////", linewidth=0.9, label="abnormal")
        )
    figure.legend(
        handles=keys,
        loc="lower center",
        bbox_to_anchor=(middle / W, 1 - bottom / H),
        ncol=2,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.8,
    )


def line(model: str) -> dict:
    """How a model's line is drawn."""
    _, colour, dashes, _ = MODELS[model]
    return dict(color=colour, linestyle=DASHES[dashes], linewidth=1.6 if colour == TOTAL else 1.1)


def key_of_models(figure: Figure, left: float, top: float, numbers: dict[str, str]) -> None:
    """A legend of lines, a row for each model, with what `numbers` says of it beside its name."""
    axis = panel(figure, left, top, 2.8, 0.15 * len(numbers))
    axis.set(xlim=(0, 2.8), ylim=(len(numbers) - 0.5, -0.5))
    axis.axis("off")
    for i, (model, number) in enumerate(numbers.items()):
        axis.plot([0, 0.34], [i, i], **line(model))
        axis.text(0.42, i, MODELS[model][0], va="center", fontsize=7)
        axis.text(1.5, i, number, va="center", fontsize=7)


def key_of_marks(figure: Figure, left: float, top: float, present) -> None:
    """A legend of marks for all models in two columns; of those that are not present it says so."""
    rows = -(-len(MODELS) // 2)
    axis = panel(figure, left, top, 2.8, 0.15 * rows)
    axis.set(xlim=(0, 2.8), ylim=(rows - 0.5, -0.5))
    axis.axis("off")
    for i, (model, (name, colour, _, symbol)) in enumerate(MODELS.items()):
        x, y = 1.3 * (i // rows), i % rows
        axis.plot([x + 0.05], [y], color=colour, marker=symbol, markersize=4, linestyle="none")
        axis.text(x + 0.16, y, name if model in present else f"{name}: not run", va="center", fontsize=7)


def colours(axis, image, title: str) -> None:
    """A horizontal scale of colours for an image, with its title at the left."""
    bar = axis.figure.colorbar(image, cax=axis, orientation="horizontal", ticks=MaxNLocator(5, prune="upper"))
    bar.outline.set_linewidth(0.4)
    axis.tick_params(labelsize=SMALL, length=2, pad=1.5)
    axis.text(-0.02, 0.4, title, transform=axis.transAxes, ha="right", va="center", fontsize=7)


def letter(axis, text: str) -> None:
    """(a), (b), ... and what is shown, above a panel."""
    axis.set_title(text, loc="left", fontsize=7, pad=3)


def under(axis, text: str) -> None:
    """A few words below a picture."""
    axis.set_xlabel(text, fontsize=SMALL, labelpad=2)


def write(figure: Figure, left: float, top: float, text: str, *, ha: str = "left") -> None:
    """A line of text whose base is at a place in inches from the left and top."""
    W, H = figure.get_size_inches()
    figure.text(left / W, 1 - top / H, text, ha=ha, fontsize=8)


def save(figure: Figure, table: pd.DataFrame, folder: Path, name: str, *, size: str) -> list[str]:
    """Writes a figure as svg and png, and the numbers that it shows as csv, into a folder. Returns the files' names."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    if SCALE[size] != 1:
        enlarge(folder / f"{name}.svg", SCALE[size])
    figure.savefig(
        folder / f"{name}.png", dpi=DPI[size] * SCALE[size], facecolor="white", metadata={"Software": None}
    )
    table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    return [f"{name}.{kind}" for kind in ("svg", "png", "csv")]


def enlarge(path: Path, scale: float) -> None:
    """Makes a drawing larger when shown; what is in it stays as it is."""
    head, mark, rest = path.read_text(encoding="utf-8").partition("<svg ")
    tag, close, body = rest.partition(">")
    parts = [
        f'{key}="{float(value[:-2]) * scale:g}pt"' if key in ("width", "height") else f'{key}="{value}"'
        for key, value in (part.split('="') for part in tag.rstrip().rstrip('"').split('" '))
    ]
    paths.write_text(path, head + mark + " ".join(parts) + close + body)
