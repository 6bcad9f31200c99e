"""The paper's Figures 1, 3, 4 and 5 and its ROC curves, from records and stored arrays alone (Figure 2: `diagram.py`).

Each function takes the results of one data set and returns the figure, the numbers that it shows, and the small print
under it. It first makes the table of numbers and then draws from that table, so that the csv beside a figure is what
the figure shows. Frames and error maps are pictures already: of these the table has the place (clip, frame) and
statistics. Frames are counted from 0 within their clip, as in scores.csv.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lib.evaluation.protocols import PROTOCOLS, frame_auc, frame_roc
from lib.evidence import figure_data, names
from lib.evidence.figure_data import BOTH_KINDS, MOTION_KINDS, Results
from lib.figures import style
from lib.scoring import normalise

BINS = 20
RAW = PROTOCOLS[
    "micro, raw scores"
]  # for a single score, or one that is normalised already, as S of Eq. 9 is
NLLS = {"nll_app": "appearance", "nll_mot": "motion"}
NETWORKS = {model: names.MODELS[model].legend for model in ("one_path", "two_path")}
FULL = "app_intensity_mot"
WIDE, GAP, EDGE = 1.03, 0.055, 0.05  # three pictures in a column: width, space between, margin, in inches
LEFT, RIGHT, PLOT = 0.40, 2.02, 1.24  # two plots in a column: where they begin, their width


class Picture(NamedTuple):
    """A drawn figure, the numbers in it, and the small print under it."""

    figure: Figure
    table: pd.DataFrame
    caption: str


def nothing(width: float, height: float, why: str, results: Results) -> Picture:
    """A figure of which no part can be drawn, which says why."""
    figure = style.sheet(width, height, results.source)
    style.missing(style.panel(figure, 0.05, 0.05, width - 0.1, height - 0.1), why)
    return Picture(figure, pd.DataFrame({"missing": [why.replace("\n", " ")]}), results.source)


NOT_SCORED = "no scores: not run"


# -- pictures ----------------------------------------------------------------------------------------------------


def error_map(results: Results, autoencoder: str, clip, frame: int) -> np.ndarray | None:
    """|I - I^| of one frame in [0, 1], the mean over all windows with it: (H, W) float32; None if it was not run."""
    maps = results.array("features", autoencoder, "test_error_maps.npy")
    return None if maps is None else np.asarray(maps[clip.start + frame], np.float32)


def above_mean(error: np.ndarray) -> np.ndarray:
    """Pixels whose error exceeds the frame's mean error, as in Park et al. 2020: (H, W) -> (H, W) bool."""
    return error > error.mean(dtype=np.float64)


def about_map(results: Results, autoencoder: str, clip, frame: int, panel: str) -> dict:
    """The row of a table that stands for an error map: where it is, and what can be said about it in numbers."""
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


def row_of_pictures(figure: Figure, results: Results, top: float) -> list:
    """Three panels beside each other, in the shape of the data set's frames."""
    height = height_of_pictures(results)
    return [style.panel(figure, EDGE + i * (WIDE + GAP), top, WIDE, height) for i in range(3)]


def height_of_pictures(results: Results) -> float:
    _, H, W, _ = results.data.frames("test").shape
    return WIDE * H / W


def draw_frame(axis, results: Results, clip, frame: int) -> None:
    """A test frame, and a line around what is labelled in it."""
    style.picture(axis, results.data.frames("test")[clip.start + frame])
    style.outline(axis, results.mask(clip, frame))


def draw_over(axis, results: Results, clip, frame: int, strength: np.ndarray) -> None:
    """A test frame with red over it, strength (H, W) in [0, 1], and a line around what is labelled in it."""
    style.picture(axis, style.over(results.data.frames("test")[clip.start + frame], strength))
    style.outline(axis, results.mask(clip, frame))


# -- likelihoods within a clip -----------------------------------------------------------------------------------


def likelihood_rows(results: Results, clip, panel: str) -> list[dict]:
    """Histograms of the normalised negative bits per dimension of a clip's frames, for F_app and F_mot.

    Bits per dimension are NLL / (dims ln 2), and a minimum-maximum normalisation does not see the divisor; so the
    values are 1 - norm(NLL), 1 being the most likely frame of the clip. A row a bin, in shares of each kind of frame.
    """
    scores, labels, rows = results.scores(FULL), results.labels(clip), []
    if scores is None:
        return [{"panel": f"{panel} {name}", "missing": "not run"} for name in NLLS.values()]
    edges = np.linspace(0, 1, BINS + 1)
    for column, name in NLLS.items():
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
    if "from" not in part or part["from"].isna().any():
        style.letter(axis, title)
        return style.missing(axis, "not run")
    style.bars(axis, np.append(part["from"], 1.0), part["normal"].to_numpy(), part["abnormal"].to_numpy())
    auc = part["auc"].iloc[0]
    style.letter(axis, title if pd.isna(auc) else f"{title}, AUC {auc:.2f}")
    axis.set(
        xlim=(0, 1), ylim=(0, 1.08 * max(part["normal"].max(), part["abnormal"].max())), xticks=(0, 0.5, 1)
    )
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")


# -- the figures -------------------------------------------------------------------------------------------------


def fig1(results: Results) -> Picture:
    """An abnormal frame, its error with one path and with two, and the likelihoods of its clip."""
    if results.ranking is None:
        return nothing(style.COLUMN, 2.5, NOT_SCORED, results)
    (clip,) = figure_data.choose_clips(results, BOTH_KINDS)
    frame = figure_data.choose_frame(results, clip)
    table = pd.DataFrame(
        [about_map(results, network, clip, frame, panel) for network, panel in zip(NETWORKS, "bc")]
        + likelihood_rows(results, clip, "d")
    )
    caption = (
        f"{results.title(clip)}. {figure_data.rule_for_clips(results, BOTH_KINDS)} Frame of median score among "
        f"{figure_data.among(results, clip)}. (d) 1: the most likely frame of the clip. {results.source}"
    )

    below = 0.18 + height_of_pictures(results)
    figure = style.sheet(style.COLUMN, below + 1.96, caption)
    first, *others = row_of_pictures(figure, results, 0.18)
    draw_frame(first, results, clip, frame)
    style.letter(first, f"(a) frame {frame}")
    errors = [error_map(results, network, clip, frame) for network in NETWORKS]
    largest = max((float(error.max()) for error in errors if error is not None), default=1.0)
    image = None
    for axis, error, title, panel in zip(others, errors, NETWORKS.values(), "bc"):
        style.letter(axis, f"({panel}) {title}")
        if error is None:
            style.missing(axis, "not run")
            continue
        image = style.picture(axis, error, cmap=style.ERROR, vmin=0, vmax=largest)
        style.outline(axis, results.mask(clip, frame))
    if image is not None:
        bar = style.panel(figure, EDGE + WIDE + GAP, below + 0.07, 2 * WIDE + GAP, 0.07)
        style.colours(bar, image, "error $|I-\\hat{I}|$")
    for left, name in zip((LEFT, RIGHT), NLLS.values()):
        axis = style.panel(figure, left, below + 0.55, PLOT, 0.85)
        draw_likelihood(axis, table, f"d {name}", f"(d) {name}")
        axis.set_xlabel("normalised −bits/dim", labelpad=2)
        if left == LEFT:
            axis.set_ylabel("% of frames", labelpad=2)
    style.key_of_bars(figure, style.COLUMN / 2, below + 1.92, labelled=results.data.labels is not None)
    return Picture(figure, table, caption)


def fig3(results: Results) -> Picture:
    """What one path and two mark in the same abnormal frames: pixels whose error exceeds the frame's mean error."""
    if results.ranking is None:
        return nothing(style.COLUMN, 2.5, NOT_SCORED, results)
    clips = figure_data.choose_clips(results, MOTION_KINDS, BOTH_KINDS)
    chosen = [(clip, figure_data.choose_frame(results, clip)) for clip in clips]
    table = pd.DataFrame(
        [
            about_map(results, network, clip, frame, panel)
            for (clip, frame), panel in zip(chosen, "ab")
            for network in NETWORKS
        ]
    )
    caption = (
        "Red, and its share of all pixels (and of those labelled): error above the frame's mean (Park et al. "
        f"2020). {figure_data.rule_for_clips(results, MOTION_KINDS, BOTH_KINDS)} Frames of median score among "
        f"{figure_data.among(results, *clips)} of their clip. {results.source}"
    )

    step = height_of_pictures(results) + 0.36
    figure = style.sheet(style.COLUMN, 2 * step, caption)
    for i, ((clip, frame), panel) in enumerate(zip(chosen, "ab")):
        first, *others = row_of_pictures(figure, results, 0.18 + i * step)
        draw_frame(first, results, clip, frame)
        style.letter(first, f"({panel}) {', '.join(results.kinds(clip.name)).replace('_', ' ')}")
        style.under(first, f"{clip.name}, frame {frame}")
        for axis, (network, title) in zip(others, NETWORKS.items()):
            style.letter(axis, title)
            error = error_map(results, network, clip, frame)
            if error is None:
                style.missing(axis, "not run")
                continue
            draw_over(axis, results, clip, frame, above_mean(error))
            row = table[(table["panel"] == panel) & (table["series"] == network)].iloc[0]
            share = row.get("marked_in_label", np.nan)
            style.under(
                axis, f"{row['marked']:.0%}" + (f" ({share:.0%} of label)" if pd.notna(share) else "")
            )
    return Picture(figure, table, caption)


def fig4(results: Results) -> Picture:
    """Likelihoods of the frames of two clips, one abnormal in motion, one in motion and appearance."""
    if results.ranking is None:
        return nothing(style.COLUMN, 2.5, NOT_SCORED, results)
    clips = figure_data.choose_clips(results, MOTION_KINDS, BOTH_KINDS)
    table = pd.DataFrame(
        [row for clip, panel in zip(clips, "ab") for row in likelihood_rows(results, clip, panel)]
    )
    caption = (
        f"{figure_data.rule_for_clips(results, MOTION_KINDS, BOTH_KINDS)} 1: the most likely frame of the clip, "
        f"0: the least. AUC: of the likelihood alone, within the clip. {results.source}"
    )

    figure = style.sheet(style.COLUMN, 3.06, caption)
    for i, (clip, panel) in enumerate(zip(clips, "ab")):
        top = 0.36 + i * 1.4
        style.write(figure, 0.05, top - 0.21, f"({panel}) {results.title(clip)}")
        for left, name in zip((LEFT, RIGHT), NLLS.values()):
            axis = style.panel(figure, left, top, PLOT, 0.8)
            draw_likelihood(axis, table, f"{panel} {name}", name)
            if left == LEFT:
                axis.set_ylabel("% of frames", labelpad=2)
            if i == 1:
                axis.set_xlabel("normalised −bits/dim", labelpad=2)
    style.key_of_bars(figure, style.COLUMN / 2, 3.04, labelled=results.data.labels is not None)
    return Picture(figure, table, caption)


SERIES = {
    "R": (NETWORKS["two_path"], style.TWO_PATH, "dashed"),
    "L": ("generative", style.GENERATIVE, "short"),
    "S": ("total", style.TOTAL, "solid"),
}


def fig5(results: Results) -> Picture:
    """Scores over one clip, and some of its abnormal frames with their errors in red."""
    if results.ranking is None:
        return nothing(style.COLUMN, 2.5, NOT_SCORED, results)
    (clip,) = figure_data.choose_clips(results, ())
    marked = figure_data.spread_frames(results, clip, 3)
    full, two_path = results.scores(FULL), results.scores("two_path")
    stored = {"R": two_path if full is None else full, "L": full, "S": full}
    table = pd.DataFrame({"clip": clip.name, "frame": np.arange(clip.length)})
    table["label"] = results.labels(clip).astype(int)
    for name, scores in stored.items():
        if scores is not None:
            table[name] = normalise(scores[name].to_numpy()[results.rows(clip)])
    table["shown"] = np.isin(table["frame"], marked).astype(int)
    caption = (
        f"{results.title(clip)}. {figure_data.rule_for_clips(results, ())} Scores are normalised within the clip; "
        f"abnormal frames are shaded. Frames evenly spread over {figure_data.among(results, clip)}; red: error of "
        f"the two-path AE. {results.source}"
    )

    below = 0.18 + height_of_pictures(results)
    figure = style.sheet(style.COLUMN, below + 1.66, caption)
    errors = [error_map(results, "two_path", clip, frame) for frame in marked]
    largest = max((float(error.max()) for error in errors if error is not None), default=1.0)
    for axis, frame, error, panel in zip(row_of_pictures(figure, results, 0.18), marked, errors, "abc"):
        style.letter(axis, f"({panel}) frame {frame}")
        if error is None:
            style.missing(axis, "not run")
        else:
            draw_over(axis, results, clip, frame, error / largest)
    draw_scores(style.panel(figure, 0.45, below + 0.28, 2.80, 0.88), table, marked)
    figure.legend(
        *figure.axes[-1].get_legend_handles_labels(),
        loc="lower center",
        ncol=3,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.9,
        columnspacing=0.9,
        handletextpad=0.5,
        bbox_to_anchor=(0.5, 1 - (below + 1.64) / figure.get_figheight()),
    )
    return Picture(figure, table, caption)


def draw_scores(axis, table: pd.DataFrame, marked: list[int]) -> None:
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
            axis.plot([], [], color=colour, linestyle=style.DASHES[dashes], label=f"{title}: not run")
    for frame, name in zip(marked, "abc"):
        axis.annotate(name, (frame, 1.04), ha="center", va="bottom", fontsize=7, annotation_clip=False)
        axis.plot([frame, frame], [0, 1.04], color=style.FAINT, linewidth=0.5, zorder=1, clip_on=False)
    axis.set(xlim=(-0.5, len(table) - 0.5), ylim=(0, 1.04), yticks=(0, 0.5, 1))
    axis.set_xlabel(f"frame of {table['clip'].iloc[0]}", labelpad=2)
    axis.set_ylabel("normalised score", labelpad=2)


def roc(results: Results) -> Picture:
    """ROC curves of all models; with several seeds the mean curve at each false positive rate."""
    if not any(result.labelled for result in results.scored):
        return nothing(style.COLUMN, 3.0, "no scores of labelled frames", results)
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
        "mean ± standard deviation over seeds"
        if len(results.seeds) > 1
        else "in brackets its 95 % interval by resampling clips"
    )
    caption = f"AUC, {spread}. Protocol: {PROTOCOLS['paper']}. {results.source}"

    figure = style.sheet(style.COLUMN, 3.3 + 0.15 * len(numbers), caption)
    axis = style.panel(figure, 0.45, 0.08, 2.75, 2.75)
    axis.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.7)
    for model in numbers:
        if model in table:
            axis.plot(grid, table[model], gid=model, **style.line(model), zorder=3 if model == FULL else 2)
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
    axis.set_xlabel("false positive rate", labelpad=2)
    axis.set_ylabel("true positive rate", labelpad=2)
    style.key_of_models(figure, 0.45, 3.22, numbers)
    return Picture(figure, table, caption)


def auc_in_words(metrics: list[dict]) -> str:
    """AUC of one model: of one run with its interval, of several as mean and standard deviation."""
    aucs = [m["auc"] for m in metrics]
    if len(aucs) > 1:
        return f"{np.mean(aucs):.3f} ± {np.std(aucs, ddof=1):.3f}"
    interval = metrics[0]["interval"]
    return f"{aucs[0]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
