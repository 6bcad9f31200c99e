"""The style of every figure: the meaning of each colour, the widths of figures, how they are saved.

The style sheet `kit.mplstyle` has fonts and lines; this module has everything with a meaning. As in the
palette of Okabe and Ito, people with colour-blindness can tell apart the colours that occur in one figure,
and each has a contrast of at least 3:1 with white. No meaning depends on colour alone: each line has its own
dash pattern, each mark its own shape, and the abnormal bars of a histogram are hatched. For copies in grey
each colour has its own grey (`to_grey`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib import collections, lines, patches
from matplotlib import image as images
from matplotlib import text as texts
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import binary_dilation, binary_fill_holes

from lib import paths
from lib.evidence import names

COLUMN, PAGE = 3.3, 7.0  # widths of the paper's column and page, in inches
SLIDE = (13.33, 7.5)  # a slide of 16:9, in inches
# "paper": each figure as wide as the paper would print it, a column or a page. "screen" is the same,
# enlarged; "slide" has the layout of a page, as large as possible.
SIZES = ("paper", "column", "page", "screen", "slide")
SCREEN = 1.6
DPI = {"paper": 300, "column": 300, "page": 300, "screen": 200, "slide": 150}
SMALL = 6  # points; the smallest text in a figure

INK, FAINT = "#222222", "#6B6B6B"
# frames by their label, and ranges of abnormal frames
NORMAL, ABNORMAL, SHADE = ("#A3A3A3", "#8E1B47", "#F3DCE3")
ONE_PATH, TWO_PATH = "#222222", "#009E73"  # autoencoders, and the score R of each
APPEARANCE, MOTION = "#3F9BD8", "#7A4E00"  # the two paths, and F_app and F_mot, which see their features
APP_NONE, APP_ERROR = "#B8559E", "#00707A"  # F_app with nothing added, and with the error map (Table 4)
GENERATIVE, TOTAL = "#0B559F", "#D55E00"  # L of Eq. 8, S of Eq. 9
ERROR = LinearSegmentedColormap.from_list("error", ["#FFFFFF", "#FDD0A2", "#F2704A", "#C8141E", "#4A0007"])
MARK = to_rgb("#D7142A")  # a pixel whose error is marked
AUC = LinearSegmentedColormap.from_list(  # 0.5 is chance
    "auc",
    list(
        zip((0, 0.25, 0.5, 0.65, 0.82, 1), ("#7A3B00", "#E8A95B", "#FFFFFF", "#C9DDEB", "#6FA3C8", "#22577F"))
    ),
)

# Greys for the colours that have a meaning. Other colours get the grey of their brightness.
GREYS = {
    ONE_PATH: "#000000",
    TWO_PATH: "#8C8C8C",
    APPEARANCE: "#9A9A9A",
    MOTION: "#2E2E2E",
    APP_NONE: "#6E6E6E",
    APP_ERROR: "#444444",
    GENERATIVE: "#5C5C5C",
    TOTAL: "#000000",
    ABNORMAL: "#303030",
    SHADE: "#E4E4E4",
}

DASHES = {
    "solid": "solid",
    "dashed": (0, (4, 1.6)),
    "short": (0, (1.8, 1.2)),
    "dotted": (0, (1, 1.2)),
    "dash-dot": (0, (5, 1.4, 1, 1.4)),
    "dash-dot-dot": (0, (5, 1.4, 1, 1.4, 1, 1.4)),
}

# Scored models: name in a legend, colour, dashes, mark. A model has the colour of the part that it adds, the
# full model that of the total.
MODELS = {
    model: (names.MODELS[model].legend, *drawn)
    for model, drawn in {
        "one_path": (ONE_PATH, "dotted", "X"),
        "two_path": (TWO_PATH, "dashed", "s"),
        "app_intensity": (APPEARANCE, "solid", "o"),
        "mot": (MOTION, "short", "^"),
        "app_intensity_mot": (TOTAL, "solid", "D"),
        "app_none": (APP_NONE, "dash-dot", "v"),
        "app_error": (APP_ERROR, "dash-dot-dot", "P"),
    }.items()
}
FLOWS = {flow: name.legend for flow, name in names.FLOWS.items()}


def width_for(size: str, own: float) -> float:
    """The width of a figure's layout at a size, in inches; `own` is the width at which the paper would print
    it."""
    return {"column": COLUMN, "page": PAGE, "slide": PAGE}.get(size, own)


def sheet(width: float, height: float, caption: str) -> Figure:
    """An empty figure of a size in inches, with a caption in small print below.

    Panels are placed on it in inches (`panel`), so that nothing moves if a number gets longer.
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
    """Small print broken into lines of at most `width` inches."""
    font, measure = FontProperties(size=SMALL), TextToPath()
    points = 72 / 1.04  # screens align letters with pixels, which makes lines a little longer
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
    """Axes at a position in inches from the figure's left and top edges."""
    W, H = figure.get_size_inches()
    return figure.add_axes((left / W, 1 - (top + height) / H, width / W, height / H), **options)


def ranges(flags: np.ndarray) -> np.ndarray:
    """Runs of true frames, (n, 2): the first frame of each, and the frame after its last."""
    return np.flatnonzero(np.diff(np.asarray(flags).astype(int), prepend=0, append=0)).reshape(-1, 2)


def shade(axis, flags: np.ndarray) -> None:
    """Shade the ranges of abnormal frames, from half a frame before the first to half a frame after the
    last."""
    for first, end in ranges(flags):
        axis.axvspan(first - 0.5, end - 0.5, facecolor=SHADE, edgecolor=ABNORMAL, linewidth=0.4, zorder=0)


def missing(axis, why: str) -> None:
    """Write into a panel without a picture why it has none, usually "not run"."""
    axis.set(xticks=[], yticks=[], facecolor="#F6F6F6")
    axis.spines[:].set_visible(False)
    axis.text(0.5, 0.5, why, transform=axis.transAxes, ha="center", va="center", fontsize=7, color=FAINT)


def picture(axis, image: np.ndarray, **options):
    """A frame or map without ticks: (H, W), (H, W, 1) or (H, W, 3). Grey is 0 to 255 unless `options`
    differ."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    grey = {} if image.ndim == 3 or options else dict(cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, linewidth=0.4, color=FAINT)
    return axis.imshow(image, **grey, **options, interpolation="nearest")


def outline(axis, mask: np.ndarray | None) -> None:
    """A line around the labelled pixels of a frame, if there are any, dark on light to be visible on any
    ground.

    It keeps a small distance, so that it does not hide a small object.
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
    """A frame with red on it: (H, W, C) uint8 and strength (H, W) in [0, 1] -> (H, W, 3) in [0, 1].

    The frame is grey and brightened, so that red is darker than what it covers and visible in a copy in grey.
    """
    grey = np.asarray(frame, float).mean(axis=-1, keepdims=True) / 255
    light = 0.30 + 0.70 * grey  # (H, W, 1)
    red = np.array(MARK) * (0.35 + 0.65 * grey)
    strength = np.clip(strength, 0, 1)[..., None]
    return light * (1 - strength) + red * strength


def bars(axis, edges: np.ndarray, normal: np.ndarray, abnormal: np.ndarray) -> None:
    """Two histograms in one panel from shares of frames per bin: normal frames filled, abnormal frames
    hatched."""
    middles = (edges[:-1] + edges[1:]) / 2
    for shares, look in (
        (normal, dict(color=NORMAL, alpha=0.75, linewidth=0)),
        (abnormal, dict(facecolor=(1, 1, 1, 0), edgecolor=ABNORMAL, hatch="//////", linewidth=0.9)),
    ):
        seaborn.histplot(x=middles, weights=shares, bins=list(edges), element="step", ax=axis, **look)
    axis.set(xlabel="", ylabel="")


def boxes(axis, values: pd.DataFrame, order: list[str]) -> None:
    """A pair of horizontal boxes per term, normal frames above abnormal ones: columns term, value, frames.

    A box ends at the quartiles, a whisker at 5 and 95 %; values further out are not drawn.
    """
    seaborn.boxplot(
        values,
        x="value",
        y="term",
        hue="frames",
        order=order,
        hue_order=["normal", "abnormal"],
        orient="h",
        whis=(5, 95),
        showfliers=False,
        showcaps=False,
        width=0.68,
        gap=0.12,
        legend=False,
        ax=axis,
        palette={"normal": NORMAL, "abnormal": "#FFFFFF"},
        saturation=1,
        linewidth=0.8,
        linecolor=FAINT,
        medianprops=dict(color=INK, linewidth=1.4),
    )
    for container, colour in zip(axis.containers, (FAINT, ABNORMAL), strict=False):
        for drawn in (*container.boxes, *container.whiskers):
            drawn.set(**({"edgecolor": colour} if isinstance(drawn, Patch) else {"color": colour}))
        if colour == ABNORMAL:
            for box in container.boxes:
                box.set_hatch("//////")
    axis.set(xlabel="", ylabel="")


def key_of_bars(figure: Figure, middle: float, bottom: float, *, labelled: bool = True) -> None:
    """The legend of `bars`, centred at a position in inches from the left and top."""
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
    """The line style of a model."""
    _, colour, dashes, _ = MODELS[model]
    return dict(color=colour, linestyle=DASHES[dashes], linewidth=1.6 if colour == TOTAL else 1.1)


def key_of_models(figure: Figure, left: float, top: float, numbers: dict[str, str]) -> None:
    """A legend of lines, one row per model, with its text from `numbers` beside its name."""
    axis = panel(figure, left, top, 2.8, 0.15 * len(numbers))
    axis.set(xlim=(0, 2.8), ylim=(len(numbers) - 0.5, -0.5))
    axis.axis("off")
    for i, (model, number) in enumerate(numbers.items()):
        axis.plot([0, 0.34], [i, i], **line(model))
        axis.text(0.42, i, MODELS[model][0], va="center", fontsize=7)
        axis.text(1.5, i, number, va="center", fontsize=7)


def key_of_marks(figure: Figure, left: float, top: float, models) -> None:
    """A legend of marks for some models, in two columns."""
    models = list(models)
    rows = -(-len(models) // 2)
    axis = panel(figure, left, top, 2.8, 0.15 * rows)
    axis.set(xlim=(0, 2.8), ylim=(rows - 0.5, -0.5))
    axis.axis("off")
    for i, model in enumerate(models):
        name, colour, _, symbol = MODELS[model]
        x, y = 1.3 * (i // rows), i % rows
        axis.plot([x + 0.05], [y], color=colour, marker=symbol, markersize=4, linestyle="none")
        axis.text(x + 0.16, y, name, va="center", fontsize=7)


def heat(axis, table: pd.DataFrame, digits: int) -> None:
    """A table of AUCs as a heat map, 0.5 white and 1 dark, with the numbers in it; missing values stay
    empty."""
    seaborn.heatmap(
        table,
        vmin=0.0,
        vmax=1.0,
        cmap=AUC,
        annot=True,
        fmt=f".{digits}f",
        annot_kws=dict(fontsize=7),
        cbar=False,
        linewidths=0.8,
        linecolor="white",
        ax=axis,
    )
    axis.set(xlabel="", ylabel="")
    axis.tick_params(length=0, rotation=0)


def colours(axis, image, title: str) -> None:
    """A horizontal colour bar for an image, with its title at the left."""
    bar = axis.figure.colorbar(image, cax=axis, orientation="horizontal", ticks=MaxNLocator(5, prune="upper"))
    bar.outline.set_linewidth(0.4)
    axis.tick_params(labelsize=SMALL, length=2, pad=1.5)
    axis.text(-0.02, 0.4, title, transform=axis.transAxes, ha="right", va="center", fontsize=7)


def letter(axis, text: str) -> None:
    """(a), (b), ... and a title, above a panel."""
    axis.set_title(text, loc="left", fontsize=7, pad=3)


def under(axis, text: str) -> None:
    """A few words below a picture."""
    axis.set_xlabel(text, fontsize=SMALL, labelpad=2)


def write(figure: Figure, left: float, top: float, text: str, *, ha: str = "left") -> None:
    """A line of text whose baseline is at a position in inches from the left and top."""
    W, H = figure.get_size_inches()
    figure.text(left / W, 1 - top / H, text, ha=ha, fontsize=8)


def save(
    figure: Figure,
    table: pd.DataFrame,
    folder: Path,
    name: str,
    *,
    size: str = "paper",
    formats: tuple[str, ...] = ("svg", "png"),
    palette: str = "colour",
) -> list[str]:
    """Write a figure, and its numbers as csv, into a folder. Returns the names of the files.

    `formats` are of svg, png and pdf. A drawing is enlarged for a screen or a slide; a pdf keeps the print
    size, because it is scaled where it is used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if palette == "grey":
        to_grey(figure)
    scale = enlargement(figure, size)
    for kind in formats:
        path = folder / f"{name}.{kind}"
        if kind == "svg":
            figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
            if scale != 1:
                enlarge(path, scale)
        elif kind == "png":
            figure.savefig(path, dpi=DPI[size] * scale, facecolor="white", metadata={"Software": None})
        else:
            figure.savefig(path, metadata={"CreationDate": None}, facecolor="white")
    table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    return [f"{name}.{kind}" for kind in (*formats, "csv")]


def enlargement(figure: Figure, size: str) -> float:
    """The scale at which a figure is shown, relative to its layout."""
    if size == "slide":
        width, height = figure.get_size_inches()
        return min(SLIDE[0] / width, SLIDE[1] / height)
    return SCREEN if size == "screen" else 1.0


def to_grey(figure: Figure) -> None:
    """Give everything in a figure its grey: colours with a meaning from GREYS, others by brightness."""
    for artist in figure.findobj():
        if isinstance(artist, lines.Line2D):
            artist.set(
                markerfacecolor=grey(artist.get_markerfacecolor()),
                markeredgecolor=grey(artist.get_markeredgecolor()),
            )
            artist.set_color(grey(artist.get_color()))
        elif isinstance(artist, texts.Text):
            artist.set_color(grey(artist.get_color()))
        elif isinstance(artist, patches.Patch):
            artist.set(facecolor=grey(artist.get_facecolor()), edgecolor=grey(artist.get_edgecolor()))
        elif isinstance(artist, (collections.Collection, images.AxesImage)):
            if artist.get_array() is None:
                artist.set_facecolor([grey(colour) for colour in artist.get_facecolor()])
                artist.set_edgecolor([grey(colour) for colour in artist.get_edgecolor()])
            elif isinstance(artist, images.AxesImage) and artist.get_array().ndim == 3:
                artist.set_data(np.repeat((artist.get_array()[..., :3] @ BRIGHTNESS)[..., None], 3, axis=-1))
            else:
                steps = artist.get_cmap()(np.linspace(0, 1, 256))
                artist.set_cmap(LinearSegmentedColormap.from_list("grey", [grey(colour) for colour in steps]))


BRIGHTNESS = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue


def grey(colour):
    """The grey of a colour, with the same opacity; "none" stays."""
    if isinstance(colour, str) and colour.lower() == "none":
        return colour
    known = GREYS.get(to_hex(colour).upper())
    opacity = to_rgba(colour)[3]
    level = to_rgb(known)[0] if known else float(np.array(to_rgb(colour)) @ BRIGHTNESS)
    return (level, level, level, opacity)


def enlarge(path: Path, scale: float) -> None:
    """Scale the displayed size of a drawing; its content stays unchanged."""
    head, mark, rest = path.read_text(encoding="utf-8").partition("<svg ")
    tag, close, body = rest.partition(">")
    parts = [
        f'{key}="{float(value[:-2]) * scale:g}pt"' if key in ("width", "height") else f'{key}="{value}"'
        for key, value in (part.split('="') for part in tag.rstrip().rstrip('"').split('" '))
    ]
    paths.write_text(path, head + mark + " ".join(parts) + close + body)
