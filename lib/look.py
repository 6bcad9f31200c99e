"""One look for every figure: what each colour means, how wide a figure is, how it is saved.

The style sheet `kit.mplstyle` has fonts and lines; here is what has a meaning. The colours are Okabe and Ito's, which
people with colour-blindness can tell apart, and a dark red for what is abnormal. No meaning rests on colour alone: each
line has a dash pattern of its own and the abnormal bars of a histogram are hatched, so that a copy in grey can be read.
"""
from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 7.0             # widths of the paper's column and page, in inches
SCALE = {"paper": 1.0, "screen": 1.6}  # the same drawing, larger
DPI = {"paper": 300, "screen": 200}
SMALL = 6                           # points; nothing in a figure is smaller

INK, FAINT = "#222222", "#6B6B6B"
NORMAL, ABNORMAL, SHADE = "#A3A3A3", "#8E1B47", "#F3DCE3"  # frames by their label, and ranges of abnormal frames
ONE_PATH, TWO_PATH = "#222222", "#009E73"   # autoencoders, and the score R of each
APPEARANCE, MOTION = "#56B4E9", "#E69F00"   # F_app and F_mot, and the paths whose features they see
GENERATIVE, TOTAL = "#0072B2", "#D55E00"    # L of Eq. 8, S of Eq. 9
ERROR = LinearSegmentedColormap.from_list("error", ["#FFFFFF", "#FDD0A2", "#F2704A", "#C8141E", "#4A0007"])
MARK = to_rgb("#D7142A")                    # a pixel whose error is marked

DASHES = {"solid": "solid", "dashed": (0, (4, 1.6)), "short": (0, (1.8, 1.2)), "dotted": (0, (1, 1.2)),
          "dash-dot": (0, (5, 1.4, 1, 1.4)), "dash-dot-dot": (0, (5, 1.4, 1, 1.4, 1, 1.4))}

# Scored models: name in a legend, colour, dashes, marker. What a model adds has its colour; both together are the total.
MODELS = {
    "one_path": ("one-path AE", ONE_PATH, "dotted", "x"),
    "two_path": ("two-path AE", TWO_PATH, "dashed", "s"),
    "app_intensity": ("+ $F_{app}$ (intensity)", APPEARANCE, "solid", "o"),
    "mot": ("+ $F_{mot}$", MOTION, "short", "^"),
    "app_intensity_mot": ("+ both", TOTAL, "solid", "D"),
    "app_none": ("+ $F_{app}$ (none)", APPEARANCE, "dash-dot", "v"),
    "app_error": ("+ $F_{app}$ (error map)", APPEARANCE, "dash-dot-dot", "P"),
}
FLOWS = {"app_none": "$F_{app}$ (none)", "app_intensity": "$F_{app}$ (intensity)", "app_error": "$F_{app}$ (error map)",
         "mot": "$F_{mot}$"}
DATASETS = {"synthetic": "generated set", "ped2": "UCSD Ped2", "avenue": "CUHK Avenue", "shanghaitech": "ShanghaiTech"}


def new(width: float, height: float) -> Figure:
    """An empty figure of so many inches whose parts keep clear of each other."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.04)
    return figure


def note(figure: Figure, text: str) -> None:
    """Small print under a figure: the rule by which its clips and frames were chosen, and what it was made from."""
    letters = int(figure.get_figwidth() * 72 / (0.50 * SMALL))  # a letter is about half as wide as the font is high
    figure.supxlabel(textwrap.fill(text, letters), x=0.01, ha="left", fontsize=SMALL, color=FAINT, linespacing=1.25)


def ranges(flags: np.ndarray) -> np.ndarray:
    """Runs of true frames, (n, 2): the first frame of each, and the frame after its last."""
    return np.flatnonzero(np.diff(np.asarray(flags).astype(int), prepend=0, append=0)).reshape(-1, 2)


def shade(axis, flags: np.ndarray) -> None:
    """Shades the ranges of abnormal frames, each frame from half a step before it to half a step after it."""
    for first, end in ranges(flags):
        axis.axvspan(first - 0.5, end - 0.5, facecolor=SHADE, edgecolor=ABNORMAL, linewidth=0.4, zorder=0)


def not_run(axis, what: str = "") -> None:
    """Says in an empty panel that what belongs there has not been run."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, color="#C8C8C8", linestyle=DASHES["dashed"])
    axis.text(0.5, 0.5, f"{what}\nnot run".strip(), transform=axis.transAxes, ha="center", va="center", fontsize=7, color=FAINT)


def picture(axis, image: np.ndarray, **options):
    """A frame or a map without ticks: (H, W), (H, W, 1) or (H, W, 3). Grey is 0 to 255 unless `options` say otherwise."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    grey = {} if image.ndim == 3 or options else dict(cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, linewidth=0.4, color=FAINT)
    return axis.imshow(image, **grey, **options, interpolation="nearest")


def outline(axis, mask: np.ndarray | None) -> None:
    """The edge of the labelled pixels of a frame, if there are any: dark on light, so that it is seen on anything."""
    if mask is not None and mask.any():
        for width, colour in ((1.5, "white"), (0.7, ABNORMAL)):
            axis.contour(np.asarray(mask, float), levels=[0.5], colors=[colour], linewidths=width)


def over(frame: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """A frame with red over it: (H, W, C) uint8 and (H, W) in [0, 1] -> (H, W, 3) in [0, 1].

    The frame is grey and brightened, so that red is darker than what it covers and shows in a copy in grey too.
    """
    grey = np.asarray(frame, float).mean(axis=-1, keepdims=True) / 255
    light = 0.30 + 0.70 * grey                                          # (H, W, 1)
    red = np.array(MARK) * (0.35 + 0.65 * grey)
    strength = np.clip(strength, 0, 1)[..., None]
    return light * (1 - strength) + red * strength


def bars(axis, edges: np.ndarray, normal: np.ndarray, abnormal: np.ndarray) -> None:
    """Two histograms in one panel: the normal frames filled, the abnormal ones hatched."""
    axis.stairs(normal, edges, fill=True, facecolor=NORMAL, alpha=0.75, edgecolor="none", label="normal")
    axis.stairs(abnormal, edges, fill=True, facecolor=(1, 1, 1, 0), edgecolor=ABNORMAL, hatch="//////", linewidth=0.9,
                label="abnormal")


def letter(axis, text: str) -> None:
    """(a), (b), ... and what is shown, above a panel."""
    axis.set_title(text, loc="left", fontsize=7, pad=3)


def save(figure: Figure, table: pd.DataFrame, folder: Path, name: str, *, size: str) -> list[str]:
    """Writes a figure as svg and png, and the numbers that it shows as csv, into a folder. Returns the files' names."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    if SCALE[size] != 1:
        enlarge(folder / f"{name}.svg", SCALE[size])
    figure.savefig(folder / f"{name}.png", dpi=DPI[size] * SCALE[size], facecolor="white", metadata={"Software": None})
    table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    return [f"{name}.{kind}" for kind in ("svg", "png", "csv")]


def enlarge(path: Path, scale: float) -> None:
    """Makes a drawing larger when shown; what is in it stays as it is."""
    head, mark, rest = path.read_text(encoding="utf-8").partition("<svg ")
    tag, close, body = rest.partition(">")
    parts = [f'{key}="{float(value[:-2]) * scale:g}pt"' if key in ("width", "height") else f'{key}="{value}"'
             for key, value in (part.split('="') for part in tag.rstrip().rstrip('"').split('" '))]
    path.write_text(head + mark + " ".join(parts) + close + body, encoding="utf-8")
