"""The paper's Figures 1, 3, 4 and 5 and its ROC curves, from records and stored arrays (Figure 2:
`framework`).

Each function takes the results of one data set and returns the figure, its numbers, and the small print under
it. It first makes the table of numbers and then draws from that table, so that the csv beside a figure has
what the figure shows. Of frames and error maps, which are pictures, the table has the position (clip, frame)
and statistics. Frames are counted from 0 within their clip, as in scores.csv.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lib.evaluation.protocols import PROTOCOLS, frame_auc, frame_roc
from lib.evidence import figure_data, names
from lib.evidence.figure_data import BOTH_KINDS, MOTION_KINDS, Results
from lib.figures import style
from lib.pipeline.steps import TABLE3, TABLE4
from lib.scoring import normalise

BINS = 20
# for a single score, or one already normalised such as S of Eq. 9
RAW = PROTOCOLS["micro, raw scores"]
NLLS = {"nll_app": "appearance", "nll_mot": "motion"}
NETWORKS = {model: names.MODELS[model].legend for model in ("one_path", "two_path")}
FULL = "app_intensity_mot"
GAP, EDGE = 0.055, 0.05  # between pictures, and at the edge of the sheet, in inches


class Layout:
    """The positions of panels on a sheet of a certain width, in inches."""

    def __init__(self, results: Results, own: float = style.COLUMN):
        self.width = style.width_for(results.wanted.size, own)
        # width of one of three pictures side by side
        self.picture = (self.width - 2 * EDGE - 2 * GAP) / 3
        self.left = 0.40  # two plots side by side: start of the first, and width
        self.plot = (self.width - self.left - 0.42) / 2
        self.right = self.left + self.plot + 0.38
        self.grow = 1.0 if self.width <= style.COLUMN else 1.5  # factor of the heights of plots

    def lefts(self):
        return self.left, self.right


class Picture(NamedTuple):
    """A drawn figure, the numbers in it, and the small print under it."""

    figure: Figure | None  # None if nothing can be drawn; the caption then says why
    table: pd.DataFrame
    caption: str


def nothing(why: str, results: Results) -> Picture:
    """A placeholder with the reason why nothing of a figure can be drawn."""
    return Picture(None, pd.DataFrame({"missing": [why]}), f"Not drawn: {why}. {results.source}")


NOT_SCORED = "no scores: not run"


# -- pictures ------------------------------------------------------------------------------------------------


def error_map(results: Results, autoencoder: str, clip, frame: int) -> np.ndarray | None:
    """|I - I^| of one frame in [0, 1], the mean over all windows with it: (H, W) float32; None if it was not
    run."""
    maps = results.array("features", autoencoder, "test_error_maps.npy")
    return None if maps is None else np.asarray(maps[clip.start + frame], np.float32)


def above_mean(error: np.ndarray) -> np.ndarray:
    """Pixels whose error exceeds the frame's mean error, as in Park et al. 2020: (H, W) -> (H, W) bool."""
    return error > error.mean(dtype=np.float64)


def about_map(results: Results, autoencoder: str, clip, frame: int, panel: str) -> dict:
    """The row of the table for an error map: its position and statistics."""
    error, mask = error_map(results, autoencoder, clip, frame), results.mask(clip, frame)
    row = {"panel": panel, "series": autoencoder, "clip": clip.name, "frame": frame}
    if error is None:
        return row | {"missing": "not run"}
    marked = above_mean(error)
    row |= {
        "mean_error": float(error.mean(dtype=np.float64)),
        "largest_error": float(error.max()),
        "marked": float(marked.mean()),
    }
    if mask is not None and mask.any():
        row |= {
            "marked_in_label": float(marked[mask].mean()),
            "marked_elsewhere": float(marked[~mask].mean()),
        }
    return row


def row_of_pictures(figure: Figure, results: Results, layout: Layout, top: float) -> list:
    """Three panels side by side, in the shape of the data set's frames."""
    height = height_of_pictures(results, layout)
    step = layout.picture + GAP
    return [style.panel(figure, EDGE + i * step, top, layout.picture, height) for i in range(3)]


def height_of_pictures(results: Results, layout: Layout) -> float:
    _, H, W, _ = results.data.frames("test").shape
    return layout.picture * H / W


def draw_frame(axis, results: Results, clip, frame: int) -> None:
    """A test frame with a line around its labelled pixels."""
    style.picture(axis, results.data.frames("test")[clip.start + frame])
    style.outline(axis, results.mask(clip, frame))


def draw_over(axis, results: Results, clip, frame: int, strength: np.ndarray) -> None:
    """A test frame with red on it, strength (H, W) in [0, 1], and a line around its labelled pixels."""
    style.picture(axis, style.over(results.data.frames("test")[clip.start + frame], strength))
    style.outline(axis, results.mask(clip, frame))


# -- likelihoods within a clip -------------------------------------------------------------------------------


def likelihood_rows(results: Results, clip, panel: str) -> list[dict]:
    """Histograms of the normalised negative bits per dimension of a clip's frames, for F_app and F_mot.

    Bits per dimension are NLL / (dims ln 2). Min-max normalisation removes the divisor, so the values are 1 -
    norm(NLL), 1 being the most likely frame of the clip. One row per bin, with the share of each kind of
    frame.
    """
    scores, labels, rows = results.scores(results.model), results.labels(clip), []
    edges = np.linspace(0, 1, BINS + 1)
    for column, name in NLLS.items():
        if scores is None or column not in scores:
            why = "not run" if scores is None else "no such flow in this model"
            rows.append({"panel": f"{panel} {name}", "missing": why})
            continue
        nll = scores[column].to_numpy()[results.rows(clip)]
        likely = 1 - normalise(nll)
        share = [
            np.histogram(likely[chosen], edges)[0] / max(chosen.sum(), 1) for chosen in (~labels, labels)
        ]
        one_class = labels.all() or not labels.any()
        auc = None if one_class else frame_auc(nll, labels, np.zeros(len(nll), int), RAW)
        rows += [
            {
                "panel": f"{panel} {name}",
                "clip": clip.name,
                "from": low,
                "to": high,
                "normal": normal,
                "abnormal": abnormal,
                "auc": auc,
            }
            for low, high, normal, abnormal in zip(edges[:-1], edges[1:], *share)
        ]
    return rows


def draw_likelihood(axis, table: pd.DataFrame, panel: str, title: str) -> None:
    """One histogram of `likelihood_rows`."""
    part = table[table["panel"] == panel]
    if "missing" in part and part["missing"].notna().any():
        style.letter(axis, title)
        return style.missing(axis, part["missing"].iloc[0].replace("flow in", "flow\nin"))
    style.bars(axis, np.append(part["from"], 1.0), part["normal"].to_numpy(), part["abnormal"].to_numpy())
    auc = part["auc"].iloc[0]
    style.letter(axis, title if pd.isna(auc) else f"{title}, AUC {auc:.2f}")
    axis.set(
        xlim=(0, 1), ylim=(0, 1.08 * max(part["normal"].max(), part["abnormal"].max())), xticks=(0, 0.5, 1)
    )
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")


# -- the figures ---------------------------------------------------------------------------------------------


def fig1(results: Results) -> Picture:
    """An abnormal frame, its error with one path and with two, and the likelihoods of its clip."""
    if results.ranking is None:
        return nothing(NOT_SCORED, results)
    (clip,) = figure_data.choose_clips(results, BOTH_KINDS)
    frame = figure_data.choose_frame(results, clip)
    table = pd.DataFrame(
        [about_map(results, network, clip, frame, panel) for network, panel in zip(NETWORKS, "bc")]
        + likelihood_rows(results, clip, "d")
    )
    caption = (
        f"{results.title(clip)}. {figure_data.rule_for_clips(results, BOTH_KINDS)} "
        f"{figure_data.rule_for_frames(results, clip)} (d) 1: the most likely frame of the clip. "
        f"{results.source}"
    )

    layout = Layout(results)
    below, tall = 0.18 + height_of_pictures(results, layout), 0.85 * layout.grow
    figure = style.sheet(layout.width, below + 1.11 + tall, results.small_print(caption))
    first, *others = row_of_pictures(figure, results, layout, 0.18)
    draw_frame(first, results, clip, frame)
    style.letter(first, results.marked(f"(a) frame {frame}"))
    errors = [error_map(results, network, clip, frame) for network in NETWORKS]
    largest = max((float(error.max()) for error in errors if error is not None), default=1.0)
    image = None
    for axis, error, title, panel in zip(others, errors, NETWORKS.values(), "bc"):
        style.letter(axis, f"({panel}) {title}")
        if error is None:
            style.missing(axis, "not run")
            continue
        image = style.picture(axis, error, cmap=style.ERROR, norm=PowerNorm(0.6, 0, largest))
        style.outline(axis, results.mask(clip, frame))
    if image is not None:
        bar = style.panel(figure, EDGE + layout.picture + GAP, below + 0.07, 2 * layout.picture + GAP, 0.07)
        style.colours(bar, image, "error $|I-\\hat{I}|$")
    for left, name in zip(layout.lefts(), NLLS.values()):
        axis = style.panel(figure, left, below + 0.55, layout.plot, tall)
        draw_likelihood(axis, table, f"d {name}", f"(d) {name}")
        axis.set_xlabel("normalised −bits/dim", labelpad=2)
        if left == layout.left:
            axis.set_ylabel("% of frames", labelpad=2)
    style.key_of_bars(figure, layout.width / 2, below + 1.07 + tall, labelled=results.data.labels is not None)
    return Picture(figure, table, caption)


# How an error drawn over a frame looks.
MARKED = {"colour": ("Red", "redder"), "grey": ("Dark", "darker")}
DOUBLINGS = 3  # of the mean error, for the full red of Fig. 3


def redness(error: np.ndarray) -> np.ndarray:
    """The strength of red in Fig. 3 at each pixel, (H, W) -> (H, W) in [0, 1]: from 0 at the mean error to 1
    at eight times the mean.

    The paper marks all errors above the mean. These are a quarter of all pixels, so here a pixel is redder
    the more often its error doubles the mean.
    """
    doublings = np.log2(np.maximum(error, 1e-12) / max(error.mean(dtype=np.float64), 1e-12))
    return np.where(above_mean(error), np.clip(0.1 + 0.9 * doublings / DOUBLINGS, 0, 1), 0.0)


def fig3(results: Results) -> Picture:
    """Pixels that one path and two mark in the same abnormal frames: those whose error exceeds the frame's
    mean."""
    if results.ranking is None:
        return nothing(NOT_SCORED, results)
    clips = figure_data.choose_clips(results, MOTION_KINDS, BOTH_KINDS)
    chosen = [(clip, figure_data.choose_frame(results, clip, i)) for i, clip in enumerate(clips)]
    table = pd.DataFrame(
        [
            about_map(results, network, clip, frame, panel)
            for (clip, frame), panel in zip(chosen, "ab")
            for network in NETWORKS
        ]
    )
    look, more = MARKED[results.wanted.palette]
    caption = (
        f"{look}, and its share of all pixels (and of those labelled): error above the frame's mean (Park et "
        f"al. 2020), the {more} the larger. {figure_data.rule_for_clips(results, MOTION_KINDS, BOTH_KINDS)} "
        f"{figure_data.rule_for_frames(results, *clips)} {results.source}"
    )

    layout = Layout(results)
    step = height_of_pictures(results, layout) + 0.36
    figure = style.sheet(layout.width, len(chosen) * step + 0.28, results.small_print(caption))
    for i, ((clip, frame), panel) in enumerate(zip(chosen, "ab")):
        first, *others = row_of_pictures(figure, results, layout, 0.18 + i * step)
        draw_frame(first, results, clip, frame)
        style.letter(first, f"({panel}) {', '.join(results.kinds(clip.name)).replace('_', ' ')}")
        style.under(first, results.marked(f"{clip.name}, frame {frame}"))
        for axis, (network, title) in zip(others, NETWORKS.items()):
            style.letter(axis, title)
            error = error_map(results, network, clip, frame)
            if error is None:
                style.missing(axis, "not run")
                continue
            draw_over(axis, results, clip, frame, redness(error))
            row = table[(table["panel"] == panel) & (table["series"] == network)].iloc[0]
            share = row.get("marked_in_label", np.nan)
            style.under(
                axis, f"{row['marked']:.0%}" + (f" ({share:.0%} of label)" if pd.notna(share) else "")
            )
    key_of_redness(figure, layout, len(chosen) * step + 0.06)
    return Picture(figure, table, caption)


def key_of_redness(figure: Figure, layout: Layout, top: float) -> None:
    """The colour scale of Fig. 3, below its last two pictures."""
    error = 2 ** np.linspace(0, DOUBLINGS, 200)
    strength = np.clip(0.1 + 0.9 * np.log2(error) / DOUBLINGS, 0, 1)
    ground = np.full((1, len(error), 1), 140, np.uint8)
    axis = style.panel(figure, EDGE + layout.picture + GAP, top, 2 * layout.picture + GAP, 0.07)
    axis.imshow(style.over(ground, strength[None]), aspect="auto", extent=(0, DOUBLINGS, 0, 1))
    axis.set(yticks=[], xticks=range(DOUBLINGS + 1))
    axis.set_xticklabels([f"{2**i}×" for i in range(DOUBLINGS)] + [f"≥ {2**DOUBLINGS}×"])
    for label, side in ((axis.get_xticklabels()[0], "left"), (axis.get_xticklabels()[-1], "right")):
        label.set_ha(side)
    axis.spines[:].set(visible=True, linewidth=0.4)
    axis.tick_params(labelsize=style.SMALL, length=2, pad=1.5)
    axis.text(-0.02, 0.4, "error ÷ its mean", transform=axis.transAxes, ha="right", va="center", fontsize=7)


def fig4(results: Results) -> Picture:
    """Likelihoods of the frames of two clips, one abnormal in motion, one in motion and appearance."""
    if results.ranking is None:
        return nothing(NOT_SCORED, results)
    clips = figure_data.choose_clips(results, MOTION_KINDS, BOTH_KINDS)
    table = pd.DataFrame(
        [row for clip, panel in zip(clips, "ab") for row in likelihood_rows(results, clip, panel)]
    )
    caption = (
        f"{figure_data.rule_for_clips(results, MOTION_KINDS, BOTH_KINDS)} 1: the most likely frame of the "
        f"clip, 0: the least. AUC: of the likelihood alone, within the clip. {results.source}"
    )

    layout = Layout(results)
    tall = 0.8 * layout.grow
    bottom = 0.36 + len(clips) * (tall + 0.6) - 0.1
    figure = style.sheet(layout.width, bottom, results.small_print(caption))
    for i, (clip, panel) in enumerate(zip(clips, "ab")):
        top = 0.36 + i * (tall + 0.6)
        style.write(figure, 0.05, top - 0.21, f"({panel}) {results.title(clip)}")
        for left, name in zip(layout.lefts(), NLLS.values()):
            axis = style.panel(figure, left, top, layout.plot, tall)
            draw_likelihood(axis, table, f"{panel} {name}", name)
            if left == layout.left:
                axis.set_ylabel("% of frames", labelpad=2)
            if i == len(clips) - 1:
                axis.set_xlabel("normalised −bits/dim", labelpad=2)
    style.key_of_bars(figure, layout.width / 2, bottom - 0.02, labelled=results.data.labels is not None)
    return Picture(figure, table, caption)


SERIES = {
    "R": ("R, two-path AE", style.TWO_PATH, "dashed"),
    "L": ("L, generative", style.GENERATIVE, "short"),
    "S": ("S, total", style.TOTAL, "solid"),
}


def fig5(results: Results) -> Picture:
    """Scores over one clip, and some of its abnormal frames with their errors in red."""
    if results.ranking is None:
        return nothing(NOT_SCORED, results)
    (clip,) = figure_data.choose_clips(results, ())
    marked = figure_data.spread_frames(results, clip, 3)
    full, two_path = results.scores(results.model), results.scores("two_path")
    stored = {"R": two_path if full is None else full, "L": full, "S": full}
    table = pd.DataFrame({"clip": clip.name, "frame": np.arange(clip.length)})
    table["label"] = results.labels(clip).astype(int)
    for name, scores in stored.items():
        if scores is not None and name in scores:
            table[name] = normalise(scores[name].to_numpy()[results.rows(clip)])
    table["shown"] = np.isin(table["frame"], marked).astype(int)
    network = "one_path" if results.model == "one_path" else "two_path"
    caption = (
        f"{results.title(clip)}. {figure_data.rule_for_clips(results, ())} Scores are normalised within the "
        "clip; abnormal frames are shaded. "
        f"{figure_data.rule_for_frames(results, clip, spread=True)} "
        f"{MARKED[results.wanted.palette][0]}: error of the {NETWORKS[network]}. {results.source}"
    )

    layout = Layout(results)
    below, tall = 0.18 + height_of_pictures(results, layout), 0.88 * layout.grow
    figure = style.sheet(layout.width, below + 0.78 + tall, results.small_print(caption))
    errors = [error_map(results, network, clip, frame) for frame in marked]
    largest = max((float(error.max()) for error in errors if error is not None), default=1.0)
    panels = row_of_pictures(figure, results, layout, 0.18)
    for axis, frame, error, panel in zip(panels, marked, errors, "abc"):
        style.letter(axis, f"({panel}) frame {frame}")
        if error is None:
            style.missing(axis, "not run")
        else:
            draw_over(axis, results, clip, frame, error / largest)
    for axis in panels[len(marked) :]:
        axis.remove()
    scores = style.panel(figure, 0.45, below + 0.28, layout.width - 0.5, tall)
    draw_scores(scores, table, marked, results.marked(f"frame of {clip.name}"))
    figure.legend(
        *scores.get_legend_handles_labels(),
        loc="lower center",
        ncol=3,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.9,
        columnspacing=0.9,
        handletextpad=0.5,
        bbox_to_anchor=(0.5, 1 - (below + 0.76 + tall) / figure.get_figheight()),
    )
    return Picture(figure, table, caption)


def draw_scores(axis, table: pd.DataFrame, marked: list[int], label: str) -> None:
    """The scores of a clip's frames, with the abnormal ranges shaded and some frames marked a, b, c."""
    style.shade(axis, table["label"].to_numpy())
    for name, (title, colour, dashes) in SERIES.items():
        if name in table:
            axis.plot(
                table["frame"],
                table[name],
                color=colour,
                linestyle=style.DASHES[dashes],
                label=title,
                gid=name,
                linewidth=1.5 if name == "S" else 1.0,
            )
        else:
            axis.plot(
                [],
                [],
                color=colour,
                linestyle=style.DASHES[dashes],
                label=f"{name}: {'no flow' if 'S' in table else 'not run'}",
            )
    for frame, name in zip(marked, "abc"):
        axis.annotate(name, (frame, 1.04), ha="center", va="bottom", fontsize=7, annotation_clip=False)
        axis.plot([frame, frame], [0, 1.04], color=style.FAINT, linewidth=0.5, zorder=1, clip_on=False)
    axis.set(xlim=(-0.5, len(table) - 0.5), ylim=(0, 1.04), yticks=(0, 0.5, 1))
    axis.set_xlabel(label, labelpad=2)
    axis.set_ylabel("normalised score", labelpad=2)


# the two panels of the ROC curves
CURVES = {"paths and flows": TABLE3, "what $F_{app}$ sees": ("two_path", *TABLE4)}


def roc(results: Results) -> Picture:
    """ROC curves of all models, in panels for Table 3 and Table 4; with several seeds the mean curve."""
    if not any(result.labelled for result in results.scored):
        return nothing("no scores of labelled frames", results)
    grid = np.linspace(0, 1, 501)
    curves, numbers = {"false_positive_rate": grid}, {}
    for model in style.MODELS:
        runs = [result for result in results.alike(model) if result.labelled]
        numbers[model] = auc_in_words([result.record["metrics"] for result in runs]) if runs else "not run"
        if runs:
            rates = [frame_roc(run.terms, run.labels, run.clips, PROTOCOLS["paper"])[:2] for run in runs]
            curves[model] = np.mean([np.interp(grid, *rate) for rate in rates], axis=0)
    table = pd.DataFrame(curves)
    spread = (
        "mean ± standard deviation over seeds, and the mean curve"
        if len(results.seeds) > 1
        else "in brackets its 95 % interval by resampling clips"
    )
    caption = f"AUC, {spread}. Protocol: {PROTOCOLS['paper']}. {results.source}"

    layout = Layout(results)
    side = layout.plot
    figure = style.sheet(layout.width, 0.66 + side + 0.15 * len(numbers), results.small_print(caption))
    for left, (title, models) in zip(layout.lefts(), CURVES.items()):
        axis = style.panel(figure, left, 0.2, side, side)
        style.letter(axis, title)
        axis.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.7)
        for model in models:
            if model in table:
                axis.plot(grid, table[model], gid=f"{title}/{model}", **style.line(model))
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel("false positive rate", labelpad=2)
        if left == layout.left:
            axis.set_ylabel("true positive rate", labelpad=1)
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        else:
            axis.tick_params(labelleft=False)
    style.key_of_models(figure, layout.left, 0.62 + side, numbers)
    return Picture(figure, table, caption)


def auc_in_words(metrics: list[dict]) -> str:
    """The AUC of one model: of one run with its interval, of several as mean and standard deviation."""
    aucs = [m["auc"] for m in metrics]
    if len(aucs) > 1:
        return f"{np.mean(aucs):.3f} ± {np.std(aucs, ddof=1):.3f}"
    interval = metrics[0]["interval"]
    return f"{aucs[0]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
