"""Drawings for the notebook on Glow: the affine coupling, squeeze and split, and the levels of a flow."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from lib.figures import style
from lib.figures.framework import tint


def coupling():
    """One affine coupling, forward and inverse: half of the channels pass unchanged and determine how the
    other half is changed."""
    figure, axis = _sheet(style.PAGE, 1.9)
    for left, title, inverse in ((0.1, "forward: z = f(x)", False), (3.6, "backward: x = f⁻¹(z)", True)):
        given, made = ("z", "x") if inverse else ("x", "z")
        axis.text(left, 1.78, title, fontsize=8, fontweight="bold", va="top")
        _box(axis, left, 1.05, 0.55, 0.38, f"${given}_1$", style.APPEARANCE)
        _box(axis, left, 0.25, 0.55, 0.38, f"${given}_2$", style.MOTION)
        _box(axis, left + 0.95, 0.65, 0.95, 0.38, "network:\nshift, log-scale", "#888888")
        operation = "÷ scale, − shift" if inverse else "+ shift, × scale"
        _box(axis, left + 1.15, 0.12, 0.95, 0.38, operation, style.MOTION)
        _box(axis, left + 2.55, 1.05, 0.55, 0.38, f"${made}_1 = {given}_1$", style.APPEARANCE)
        _box(axis, left + 2.55, 0.25, 0.55, 0.38, f"${made}_2$", style.MOTION)
        _arrow(axis, (left + 0.55, 1.24), (left + 2.55, 1.24))
        _arrow(axis, (left + 0.75, 1.24), (left + 1.25, 1.03))
        _arrow(axis, (left + 1.55, 0.65), (left + 1.60, 0.50))
        _arrow(axis, (left + 0.55, 0.38), (left + 1.15, 0.33))
        _arrow(axis, (left + 2.10, 0.33), (left + 2.55, 0.40))
    return figure


def squeeze_and_split():
    """A squeeze of a 4x4 map, whose 2x2 neighbourhoods become channels, and a split, by which half of these
    leave the flow."""
    figure, axis = _sheet(style.PAGE, 1.75)
    colours = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7")
    cell = 0.24
    for row in range(4):
        for column in range(4):
            colour = colours[2 * (row % 2) + column % 2]
            _cell(axis, 0.25 + column * cell, 1.15 - row * cell, cell, colour, f"{4 * row + column + 1}")
    axis.text(0.25, 1.55, "C = 1, 4×4", fontsize=7)
    _arrow(axis, (1.35, 0.85), (1.85, 0.85), "squeeze")
    numbers = np.arange(1, 17).reshape(4, 4)
    for channel in range(4):
        left = 2.0 + channel * 0.62
        part = numbers[channel // 2 :: 2, channel % 2 :: 2]
        for row in range(2):
            for column in range(2):
                at = (left + column * cell, 0.92 - row * cell)
                _cell(axis, *at, cell, colours[channel], f"{part[row, column]}")
    axis.text(2.0, 1.55, "C = 4, 2×2: the same numbers", fontsize=7)
    _arrow(axis, (4.5, 0.95), (5.0, 1.15), "split")
    _arrow(axis, (4.5, 0.75), (5.0, 0.5))
    axis.text(5.08, 1.15, "half goes on to the next level", fontsize=7, va="center")
    axis.text(5.08, 0.5, "half is z of this level:\nit is scored, and leaves", fontsize=7, va="center")
    return figure


def levels(L: int, K: int):
    """The levels of a flow with L levels of K steps: the input of each, and what leaves after it."""
    figure, axis = _sheet(style.PAGE, 1.5)
    width = min(1.55, (style.PAGE - 1.2) / L - 0.3)
    _box(axis, 0.05, 0.72, 0.42, 0.4, "x", "#888888")
    for level in range(L):
        left = 0.75 + level * (width + 0.3)
        _arrow(axis, (left - 0.28, 0.92), (left, 0.92))
        _box(
            axis, left, 0.72, width, 0.4, f"level {level + 1}: squeeze,\n{K} steps of flow", style.APPEARANCE
        )
        last = level == L - 1
        at = left + width / 2
        _arrow(axis, (at, 0.72), (at, 0.38))
        axis.text(
            at,
            0.3,
            f"$z_{level + 1}$" + (": all that is left" if last else ": half"),
            fontsize=7,
            ha="center",
            va="top",
        )
    axis.text(
        0.05, 1.36, "log p(x) = the sum, over levels, of log p(z) and of the log-determinants", fontsize=7
    )
    return figure


def _sheet(width: float, height: float):
    figure = style.sheet(width, height, "")
    axis = style.panel(figure, 0, 0, width, height)
    axis.set(xlim=(0, width), ylim=(0, height))
    axis.axis("off")
    return figure, axis


def _box(axis, left: float, bottom: float, width: float, height: float, text: str, colour) -> None:
    box = FancyBboxPatch((left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.05")
    box.set(facecolor=tint(colour, 0.25), edgecolor=colour, linewidth=0.9)
    axis.add_patch(box)
    axis.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=6.5)


def _cell(axis, left: float, bottom: float, side: float, colour, text: str) -> None:
    axis.add_patch(
        Rectangle((left, bottom), side, side, facecolor=tint(colour, 0.25), edgecolor=colour, linewidth=0.8)
    )
    axis.text(left + side / 2, bottom + side / 2, text, ha="center", va="center", fontsize=6.5)


def _arrow(axis, start, end, text: str = "") -> None:
    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=7, shrinkA=1, shrinkB=1)
    arrow.set(color=style.INK, linewidth=0.8)
    axis.add_patch(arrow)
    if text:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.06)
        axis.text(*middle, text, fontsize=7, ha="center", va="bottom")
