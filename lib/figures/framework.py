"""Figure 2: the framework, drawn from a configuration with the shapes of its maps. It needs no results.

The layers come from the network itself, built without memory for its weights (on torch's meta device). Every
map is a row of slabs, one per time step: few on the appearance path (T/tau steps), many on the motion path (T
steps). Their height follows the size of the map. Coordinates are in inches.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from lib.config import Config, values
from lib.errors import ConfigError
from lib.figures import style


@functools.lru_cache(maxsize=16)
def layers(config: Config) -> list[dict]:
    """One row per layer of the two-path autoencoder: path, layer, kernel, stride and output (C, T, H, W), as
    in Table 1."""
    from lib.itae import ITAE  # imported here, so that the other figures work without torch
    from lib.training.table1 import layer_table

    settings = {name: value for name, value in values(config.model).items() if name != "input_range"}
    network = ITAE(channels=config.data.channels, two_path=True, **settings).to("meta")
    return layer_table(network, config.data.height, config.data.width)


def flow_layers(config: Config, extra: str = "intensity") -> list[dict]:
    """One row for the pooled maps, the extra information and each level of F_app and F_mot: shapes
    (C, H, W)."""
    model, rows = config.model, []
    last = {row["path"]: row["output"] for row in layers(config) if row["layer"] == "Conv4"}
    for path, flow in (("appearance", "F_app"), ("motion", "F_mot")):
        _, T, H, W = last[path]
        C = 2 * (T if config.features.time == "stack" else 1)
        rows.append({"path": flow, "layer": "pooled", "output": (C, H, W)})
        if flow == "F_app" and extra != "none":
            rows.append({"path": flow, "layer": extra, "output": (model.T // model.tau, H, W)})
            C += model.T // model.tau
        for level in range(1, config.flow.L + 1):
            H, W = H // 2, W // 2
            rows.append({"path": flow, "layer": f"level {level}", "output": (4 * C, H, W)})
            C *= 2
    return rows


# -- drawing -------------------------------------------------------------------------------------------------


def fig2(config: Config, *, title: str):
    """The framework with the shapes of a configuration. Raises ConfigError at the width of a column."""
    from lib.figures.paper_figures import Picture

    if config.figure.size == "column":
        raise ConfigError(
            "Figure 2 is drawn across a page; as wide as a column it could not be read. Set figure.size=page."
        )

    rows = (*layers(config), *flow_layers(config))
    table = pd.DataFrame(
        [
            {"path": row["path"], "layer": row["layer"]}
            | {name: "×".join(map(str, row.get(name, ()))) for name in ("kernel", "stride", "output")}
            for row in rows
        ]
    )
    lateral = next(row for row in layers(config) if row["path"] == "lateral")
    caption = (
        "Shapes are channels × frames, then height × width; slabs are time steps. ⊕: concatenation; on the "
        f"way from the motion path a convolution {kernel(lateral['kernel'])} with stride "
        f"{kernel(lateral['stride'])} matches the frames. {title}"
    )
    figure = style.sheet(style.PAGE, HEIGHT, caption if config.figure.caption else "")
    axis = style.panel(figure, 0, 0, style.PAGE, HEIGHT)
    axis.set(xlim=(0, style.PAGE), ylim=(0, HEIGHT))
    axis.axis("off")
    Drawing(axis, config).all()
    return Picture(figure, table, caption)


HEIGHT = 3.48
APP, MOT, DEC, F_APP, F_MOT = 2.44, 1.12, 1.78, 3.14, 0.36  # y of the lanes
CONV = (0.90, 1.56, 2.22, 2.88)  # x of the encoders' maps
DECONV = (3.94, 4.51, 5.08, 5.65)  # x of the decoder's
FRAMES = "#CFCFCF"  # light, so that sampled ones stand out in grey as well
SPAN = 0.29  # a map's length in time


class Drawing:
    """Figure 2 on an axis whose unit is the inch."""

    def __init__(self, axis, config: Config):
        self.axis, self.config = axis, config
        self.maps = {
            (row["path"], row["layer"]): row["output"] for row in (*layers(config), *flow_layers(config))
        }
        self.kernels = {(row["path"], row["layer"]): row["kernel"] for row in layers(config)}

    def all(self) -> None:
        self.encoders()
        self.decoder()
        self.flows()
        self.score()

    # parts

    def encoders(self) -> None:
        model, data = self.config.model, self.config.data
        frames = (data.channels, model.T, data.height, data.width)
        self.stack(0.12, DEC, frames, FRAMES, every=model.tau)
        self.label(0.12, DEC, frames, "$I$")
        self.words(CONV[0], APP + 0.42, "appearance path", style.APPEARANCE, ha="left", weight="bold")
        self.words(CONV[0], MOT - 0.74, "motion path", style.MOTION, ha="left", weight="bold")
        for y, side, colour, text in (
            (APP, 1, style.APPEARANCE, f"every {ordinal(model.tau)}\nframe"),
            (MOT, -1, style.MOTION, f"all {model.T}\nframes"),
        ):
            self.arrow((0.56, DEC + side * 0.12), (CONV[0] - 0.05, y - side * 0.04), colour)
            self.words(0.56, y - (0.02 if side > 0 else 0.13), text, style.FAINT)
        for i, x in enumerate(CONV):
            layer = f"Conv{i + 1}"
            for path, y, colour in (("appearance", APP, style.APPEARANCE), ("motion", MOT, style.MOTION)):
                shape = self.maps[path, layer]
                self.stack(x, y, shape, colour)
                self.label(x, y, shape, f"{layer}  {kernel(self.kernels[path, layer])}")
            join = x + SPAN + 0.20
            if i < 3:
                self.arrow((x + SPAN + 0.09, APP), (CONV[i + 1] - 0.03, APP), style.APPEARANCE)
                self.arrow((x + SPAN + 0.09, MOT), (CONV[i + 1] - 0.03, MOT), style.MOTION)
                self.arrow((join, MOT), (join, APP - 0.055), style.MOTION, dashed=True)
                self.plus(join, APP)
                self.words(
                    join + 0.03, MOT + 0.42, f"+{self.maps['lateral', layer][0]}", style.INK, ha="left"
                )
        x = CONV[3]
        self.arrow((x + SPAN + 0.09, APP), (3.62, DEC + 0.06), style.APPEARANCE)
        self.arrow((x + SPAN + 0.09, MOT), (3.62, DEC - 0.06), style.MOTION, dashed=True)
        self.plus(3.66, DEC)
        self.words(3.57, DEC - 0.02, f"+{self.maps['lateral', 'Conv4'][0]}", style.INK, ha="right")

    def decoder(self) -> None:
        before = 3.72
        for i, x in enumerate(DECONV):
            shape = self.maps["decoder", f"DeConv{i + 1}"]
            self.arrow((before, DEC), (x - 0.03, DEC), style.TWO_PATH)
            self.stack(x, DEC, shape, FRAMES if i == 3 else style.TWO_PATH)
            self.label(x, DEC, shape, "$\\hat{I}$" if i == 3 else f"DeConv{i + 1}")
            before = x + SPAN + 0.08
        kernels = dict.fromkeys(kernel(k) for (path, _), k in self.kernels.items() if path == "decoder")
        text = f"decoder, every kernel {', '.join(kernels)}"
        self.words(4.85, DEC + 0.46, text, style.TWO_PATH, weight="bold")

    def flows(self) -> None:
        K = self.config.flow.K
        for flow, y, lane, colour, name, side in (
            ("F_app", F_APP, APP, style.APPEARANCE, "$F_{app}$", 1),
            ("F_mot", F_MOT, MOT, style.MOTION, "$F_{mot}$", -1),
        ):
            C, h, w = self.maps[flow, "pooled"]
            x = CONV[3] + 0.2
            self.arrow((x, lane + 0.2 if side > 0 else lane - 0.63), (3.42, y), colour, bend=(x, y))
            self.box(3.74, y, 0.62, 0.34, f"max | mean\n{C}×{size(h, w)}", colour)
            last = 4.05
            if (flow, "intensity") in self.maps:
                self.plus(4.20, y)
                self.arrow((last, y), (4.15, y), colour)
                self.arrow((4.20, y - 0.24), (4.20, y - 0.05), style.FAINT)
                more = self.maps[flow, "intensity"][0]
                self.words(4.24, y - 0.21, f"intensity {more}×{size(h, w)}", style.FAINT, ha="left")
                last = 4.25
            left, right = 4.42, 6.02
            self.arrow((last, y), (left, y), colour)
            self.box((left + right) / 2, y, right - left, 0.30, "", colour)
            L = self.config.flow.L
            for level in range(L):
                c, h, w = self.maps[flow, f"level {level + 1}"]
                self.words(left + (level + 0.5) * (right - left) / L, y, f"{c}×{size(h, w)}", style.INK)
                if level:
                    at = left + level * (right - left) / L
                    self.axis.plot([at, at], [y - 0.15, y + 0.15], color=colour, linewidth=0.8)
            what = f"{name}: Glow, {L} level{'s' * (L > 1)} of {K} steps"
            self.words((left + right) / 2, y + 0.235 if side > 0 else y - 0.235, what, style.INK)

    def score(self) -> None:
        x = 6.62
        for y, name, side in ((F_APP, "$NLL(x^a)$", 1), (F_MOT, "$NLL(x^m)$", -1)):
            self.arrow((6.02, y), (x, DEC + side * 0.30), style.GENERATIVE, bend=(x, y))
            self.words(6.36, y + side * 0.09, name, style.GENERATIVE)
        self.words(x + 0.05, DEC + 0.95, "$L$\nEq. 8", style.GENERATIVE, ha="left")
        self.arrow((DECONV[3] + SPAN + 0.13, DEC), (6.31, DEC), style.TWO_PATH)
        self.words(6.17, DEC + 0.10, "$R$", style.TWO_PATH)
        self.words(6.17, DEC - 0.10, "Eq. 7", style.TWO_PATH)
        self.box(x, DEC, 0.60, 0.54, "score $S$\nnorm$(R)$ +\n$\\lambda_L$ norm$(L)$", style.TOTAL)

    # strokes

    def stack(self, x: float, y: float, shape, colour: str, every: int = 0) -> None:
        """A map: one slab per time step from x on, with its middle at y. One in `every` is marked as
        sampled."""
        _, T, H, _ = shape
        height = 0.52 * (H / self.config.data.height) ** 0.42
        depth = 0.17 * height / 0.52
        pitch = SPAN / T
        thick = 0.8 * pitch
        into = np.array([depth * 0.55, depth * 0.45])
        faces, fills, edges = [], [], []
        for t in range(T):
            left, bottom = x + t * pitch, y - height / 2 - 0.03
            face = style.APPEARANCE if every and t % every == 0 else colour
            a, b, c, d = np.array(
                [
                    (left, bottom),
                    (left + thick, bottom),
                    (left + thick, bottom + height),
                    (left, bottom + height),
                ]
            )
            for corners, strength in (
                ((b, c, c + into, b + into), 0.55),
                ((d, c, c + into, d + into), 0.35),
                ((a, b, c, d), 1.0),
            ):
                faces.append(corners)
                fills.append(tint(face, strength))
                edges.append(tint(face, 1.35))
        self.axis.add_collection(
            PolyCollection(faces, facecolors=fills, edgecolors=edges, linewidths=0.25, joinstyle="round")
        )

    def label(self, x: float, y: float, shape, name: str) -> None:
        C, T, H, W = shape
        self.words(x + SPAN / 2 + 0.03, y - 0.46, f"{name}\n{C}×{T}\n{size(H, W)}", style.INK)

    def words(
        self, x: float, y: float, text: str, colour: str, *, ha: str = "center", weight: str = "normal"
    ) -> None:
        self.axis.text(
            x,
            y,
            text,
            ha=ha,
            va="center",
            fontsize=style.SMALL,
            color=darker(colour),
            linespacing=1.15,
            fontweight=weight,
        )

    def box(self, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
        self.axis.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                facecolor=tint(colour, 0.25),
                boxstyle="round,pad=0,rounding_size=0.05",
                edgecolor=colour,
                linewidth=0.8,
            )
        )
        self.words(x, y, text, style.INK)

    def plus(self, x: float, y: float) -> None:
        """Concatenation."""
        self.axis.add_patch(
            Circle((x, y), 0.05, facecolor="white", edgecolor=style.INK, linewidth=0.7, zorder=5)
        )
        self.axis.plot(
            [x - 0.03, x + 0.03, None, x, x],
            [y, y, None, y - 0.03, y + 0.03],
            color=style.INK,
            linewidth=0.7,
            zorder=6,
        )

    def arrow(self, start, end, colour: str, *, dashed: bool = False, bend=None) -> None:
        """A straight arrow, or one that turns a corner at `bend`."""
        how = dict(color=colour, linewidth=1.0)
        if bend is not None:
            self.axis.plot([start[0], bend[0]], [start[1], bend[1]], solid_capstyle="round", **how)
            start = bend
        head = "-|>,head_length=2.4,head_width=1.4"
        self.axis.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle=head,
                mutation_scale=1,
                shrinkA=0,
                shrinkB=0,
                linestyle=style.DASHES["short"] if dashed else "solid",
                **how,
            )
        )


def tint(colour: str, strength: float) -> tuple:
    """A colour mixed with white (strength below 1) or with black (above)."""
    rgb = np.array(to_rgb(colour))
    return tuple(1 - strength * (1 - rgb) if strength <= 1 else rgb * (2 - strength))


def darker(colour: str) -> tuple:
    """A colour dark enough to be read as text."""
    return tint(colour, 1.0 if colour in (style.INK, style.FAINT) else 1.25)


def size(H: int, W: int) -> str:
    """32² or 60×90."""
    return f"{H}²" if H == W else f"{H}×{W}"


def kernel(k: tuple[int, int, int]) -> str:
    return f"{k[0]}×{k[1]}²"


def ordinal(n: int) -> str:
    return {1: "single", 2: "2nd", 3: "3rd"}.get(n, f"{n}th")
