"""The paper's Figures 1, 3, 4 and 5 and its ROC curves, from records and stored arrays alone. Figure 2 is `lib/diagram.py`.

Each function takes the results of one data set and returns the figure, the numbers that it shows, and the small print
under it. It first makes the table of numbers and then draws from that table, so that the csv beside a figure is what the
figure shows. Frames and error maps are pictures already: of these the table has the place (clip, frame) and statistics.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lib import look
from lib.evaluation import PROTOCOLS, frame_auc, frame_roc
from lib.evidence import BOTH_KINDS, MOTION_KINDS, Results, among, choose_clips, choose_frame, rule_for_clips, spread_frames
from lib.scoring import normalise

BINS = 20
RAW = PROTOCOLS["micro, raw scores"]  # for scores that are normalised already, as S of Eq. 9 is
NLLS = {"nll_app": "appearance", "nll_mot": "motion"}
FULL = "app_intensity_mot"


class Picture(NamedTuple):
    """A drawn figure, the numbers in it, and the small print under it."""

    figure: Figure
    table: pd.DataFrame
    caption: str


def nothing(width: float, height: float, why: str, results: Results) -> Picture:
    """A figure of which no part can be drawn, which says why."""
    figure = look.sheet(width, height, results.source)
    look.missing(look.panel(figure, 0.05, 0.05, width - 0.1, height - 0.1), why)
    return Picture(figure, pd.DataFrame({"missing": [why]}), results.source)


NOT_SCORED = "no scores: not run"


# -- error maps --------------------------------------------------------------------------------------------------

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
    row |= {"mean_error": float(error.mean(dtype=np.float64)), "largest_error": float(error.max()), "marked": float(marked.mean())}
    if mask is not None and mask.any():
        row |= {"marked_inside_label": float(marked[mask].mean()), "marked_outside_label": float(marked[~mask].mean())}
    return row


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
        share = [np.histogram(likely[chosen], edges)[0] / max(chosen.sum(), 1) for chosen in (~labels, labels)]
        auc = frame_auc(nll, labels, np.zeros(len(nll), int), RAW) if labels.any() and not labels.all() else None
        rows += [{"panel": f"{panel} {name}", "clip": clip.name, "from": low, "to": high, "normal": normal, "abnormal": abnormal,
                  "auc": auc} for low, high, normal, abnormal in zip(edges[:-1], edges[1:], *share)]
    return rows


def draw_likelihood(axis, table: pd.DataFrame, panel: str, title: str) -> None:
    """One histogram of `likelihood_rows`."""
    part = table[table["panel"] == panel]
    if "from" not in part or part["from"].isna().any():
        look.letter(axis, title)
        return look.missing(axis, "not run")
    look.bars(axis, np.append(part["from"], 1.0), part["normal"].to_numpy(), part["abnormal"].to_numpy())
    auc = part["auc"].iloc[0]
    look.letter(axis, title if pd.isna(auc) else f"{title}, AUC {auc:.2f}")
    axis.set(xlim=(0, 1), ylim=(0, 1.08 * max(part["normal"].max(), part["abnormal"].max())), xticks=(0, 0.5, 1))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")


# -- the figures -------------------------------------------------------------------------------------------------

def fig1(results: Results) -> Picture:
    """An abnormal frame, its error with one path and with two, and the likelihoods of its clip."""
    if results.ranking is None:
        return nothing(look.COLUMN, 2.5, NOT_SCORED, results)
    clip, = choose_clips(results, BOTH_KINDS)
    frame = choose_frame(results, clip)
    errors = {name: error_map(results, name, clip, frame) for name in ("one_path", "two_path")}
    table = pd.DataFrame([about_map(results, name, clip, frame, panel) for name, panel in zip(errors, "bc")]
                         + likelihood_rows(results, clip, "d"))
    caption = (f"{results.title(clip)}. {rule_for_clips(results, BOTH_KINDS)} Frame of median score among {among(results, clip)}. "
               f"(d) 1: the most likely frame of the clip. {results.source}")

    frames, wide = results.data.frames("test"), 1.03
    high = wide * frames.shape[1] / frames.shape[2]
    figure = look.sheet(look.COLUMN, high + 2.14, caption)
    axes = [look.panel(figure, 0.05 + i * (wide + 0.055), 0.18, wide, high) for i in range(3)]
    for axis, title in zip(axes, (f"(a) frame {frame}", "(b) one-path AE", "(c) two-path AE")):
        look.letter(axis, title)
    look.picture(axes[0], frames[clip.start + frame])
    look.outline(axes[0], results.mask(clip, frame))
    largest = max((float(error.max()) for error in errors.values() if error is not None), default=1.0)
    for axis, error in zip(axes[1:], errors.values()):
        if error is None:
            look.missing(axis, "not run")
        else:
            image = look.picture(axis, error, cmap=look.ERROR, vmin=0, vmax=largest)
            look.outline(axis, results.mask(clip, frame))
    if any(error is not None for error in errors.values()):
        bar = look.panel(figure, 0.05 + wide + 0.055, high + 0.25, 2 * wide + 0.055, 0.07)
        figure.colorbar(image, cax=bar, orientation="horizontal").outline.set_linewidth(0.4)
        bar.tick_params(labelsize=look.SMALL, length=2, pad=1.5)
        bar.text(-0.02, 0.4, "error $|I-\\hat{I}|$", transform=bar.transAxes, ha="right", va="center", fontsize=7)
    pair = [look.panel(figure, left, high + 0.73, 1.24, 0.85) for left in (0.40, 2.02)]
    for axis, name in zip(pair, NLLS.values()):
        draw_likelihood(axis, table, f"d {name}", f"(d) {name}")
        axis.set_xlabel("normalised −bits/dim", labelpad=2)
    look.key_of_bars(figure, look.COLUMN / 2, high + 2.1, labelled=results.data.labels is not None)
    pair[0].set_ylabel("% of frames", labelpad=2)
    return Picture(figure, table, caption)


def fig3(results: Results) -> Picture:
    """What one path and two mark in the same abnormal frames; a pixel is marked where its error exceeds the frame's mean."""
    if results.ranking is None:
        return nothing(look.COLUMN, 2.5, NOT_SCORED, results)
    kinds = (MOTION_KINDS, BOTH_KINDS)
    clips = choose_clips(results, *kinds)
    chosen = [(clip, choose_frame(results, clip)) for clip in clips]
    networks = {"one_path": "one-path AE", "two_path": "two-path AE"}
    table = pd.DataFrame([about_map(results, network, *place, panel) for place, panel in zip(chosen, "ab") for network in networks])
    caption = (f"Red, and its share of all pixels (and of those labelled): error above the frame's mean (Park et al. 2020). {rule_for_clips(results, *kinds)} Frames of median score among "
               f"{among(results, *clips)} of their clip. {results.source}")

    frames, wide = results.data.frames("test"), 1.03
    high = wide * frames.shape[1] / frames.shape[2]
    figure = look.sheet(look.COLUMN, 2 * (high + 0.36), caption)
    for i, ((clip, frame), name) in enumerate(zip(chosen, "ab")):
        mask, kinds_shown = results.mask(clip, frame), ", ".join(results.kinds(clip.name)).replace("_", " ")
        axes = [look.panel(figure, 0.05 + j * (wide + 0.055), 0.18 + i * (high + 0.36), wide, high) for j in range(3)]
        look.letter(axes[0], f"({name}) {kinds_shown}")
        look.picture(axes[0], frames[clip.start + frame])
        look.outline(axes[0], mask)
        axes[0].set_xlabel(f"{clip.name}, frame {frame}", fontsize=look.SMALL, labelpad=2)
        for axis, (network, title) in zip(axes[1:], networks.items()):
            look.letter(axis, title)
            error = error_map(results, network, clip, frame)
            if error is None:
                look.missing(axis, "not run")
                continue
            look.picture(axis, look.over(frames[clip.start + frame], above_mean(error)))
            look.outline(axis, mask)
            row = table[(table["panel"] == name) & (table["series"] == network)].iloc[0]
            in_label = f" ({row['marked_inside_label']:.0%} of label)" if pd.notna(row.get("marked_inside_label")) else ""
            axis.set_xlabel(f"{row['marked']:.0%}{in_label}", fontsize=look.SMALL, labelpad=2)
    return Picture(figure, table, caption)


def fig4(results: Results) -> Picture:
    """Likelihoods of the frames of two clips, one abnormal in motion, one in motion and appearance."""
    if results.ranking is None:
        return nothing(look.COLUMN, 2.5, NOT_SCORED, results)
    kinds = (MOTION_KINDS, BOTH_KINDS)
    clips = choose_clips(results, *kinds)
    table = pd.DataFrame([row for clip, panel in zip(clips, "ab") for row in likelihood_rows(results, clip, panel)])
    caption = (f"{rule_for_clips(results, *kinds)} 1: the most likely frame of the clip, 0: the least. AUC: of the likelihood alone, "
               f"within the clip. {results.source}")
    figure = look.sheet(look.COLUMN, 3.06, caption)
    for i, (clip, letter) in enumerate(zip(clips, "ab")):
        top = 0.36 + i * 1.4
        figure.text(0.05 / look.COLUMN, 1 - (top - 0.21) / figure.get_figheight(), f"({letter}) {results.title(clip)}", fontsize=7.5)
        for left, name in zip((0.40, 2.02), NLLS.values()):
            axis = look.panel(figure, left, top, 1.24, 0.8)
            draw_likelihood(axis, table, f"{letter} {name}", name)
            if left < 1:
                axis.set_ylabel("% of frames", labelpad=2)
            if i == 1:
                axis.set_xlabel("normalised −bits/dim", labelpad=2)
    look.key_of_bars(figure, look.COLUMN / 2, 3.04, labelled=results.data.labels is not None)
    return Picture(figure, table, caption)


SERIES = {"R": ("two-path AE", look.TWO_PATH, "dashed"), "L": ("generative", look.GENERATIVE, "short"),
          "S": ("total", look.TOTAL, "solid")}


def fig5(results: Results) -> Picture:
    """Scores over one clip, and some of its abnormal frames with their errors in red."""
    if results.ranking is None:
        return nothing(look.COLUMN, 2.5, NOT_SCORED, results)
    clip, = choose_clips(results, ())
    marked = spread_frames(results, clip, 3)
    full, two_path = results.scores(FULL), results.scores("two_path")
    sources = {"R": two_path if full is None else full, "L": full, "S": full}
    drawn = {name: normalise(scores[name].to_numpy()[results.rows(clip)]) for name, scores in sources.items() if scores is not None}
    table = pd.DataFrame({"clip": clip.name, "frame": np.arange(clip.length), "label": results.labels(clip).astype(int), **drawn,
                          "shown": np.isin(np.arange(clip.length), marked).astype(int)})
    caption = (f"{results.title(clip)}. {rule_for_clips(results, ())} Scores are normalised within the clip; abnormal frames are "
               f"shaded. Frames evenly spread over {among(results, clip)}; red: error of the two-path AE. {results.source}")

    frames, wide = results.data.frames("test"), 1.03
    high = wide * frames.shape[1] / frames.shape[2]
    figure = look.sheet(look.COLUMN, high + 1.84, caption)
    errors = [error_map(results, "two_path", clip, frame) for frame in marked]
    largest = max((float(error.max()) for error in errors if error is not None), default=1.0)
    for i, (frame, error) in enumerate(zip(marked, errors)):
        axis = look.panel(figure, 0.05 + i * (wide + 0.055), 0.18, wide, high)
        look.letter(axis, f"({'abc'[i]}) frame {frame}")
        if error is None:
            look.missing(axis, "not run")
            continue
        look.picture(axis, look.over(frames[clip.start + frame], error / largest))
        look.outline(axis, results.mask(clip, frame))
    axis = look.panel(figure, 0.45, high + 0.46, 2.80, 0.88)
    look.shade(axis, table["label"].to_numpy())
    for name, (title, colour, dashes) in SERIES.items():
        if name in table:
            axis.plot(table["frame"], table[name], color=colour, linestyle=look.DASHES[dashes], label=title)
        else:
            axis.plot([], [], color=colour, linestyle=look.DASHES[dashes], label=f"{title}: not run")
    for frame, name in zip(marked, "abc"):
        axis.annotate(name, (frame, 1.04), ha="center", va="bottom", fontsize=7, annotation_clip=False)
        axis.plot([frame] * 2, [0, 1.04], color=look.FAINT, linewidth=0.5, zorder=1, clip_on=False)
    axis.set(xlim=(-0.5, clip.length - 0.5), ylim=(0, 1.04), yticks=(0, 0.5, 1))
    axis.set_xlabel(f"frame of {clip.name}", labelpad=2)
    axis.set_ylabel("normalised score", labelpad=2)
    figure.legend(*axis.get_legend_handles_labels(), loc="lower center", ncol=3, borderpad=0, borderaxespad=0, columnspacing=1.4,
                  bbox_to_anchor=(0.5, 1 - (high + 1.82) / figure.get_figheight()), handlelength=2.4)
    return Picture(figure, table, caption)


def roc(results: Results) -> Picture:
    """ROC curves of all models; with several seeds the mean curve at each false positive rate."""
    if not any(result.labelled for result in results.scored):
        return nothing(look.COLUMN, 3.0, "no scores of labelled frames", results)
    grid = np.linspace(0, 1, 501)
    curves, names = {"false_positive_rate": grid}, {}
    for model in look.MODELS:
        runs = [result for result in results.alike(model) if result.labelled]
        names[model] = in_figures([result.record["metrics"] for result in runs]) if runs else "not run"
        if runs:
            rates = [frame_roc(result.terms, result.labels, result.clips, PROTOCOLS["paper"])[:2] for result in runs]
            curves[model] = np.mean([np.interp(grid, *rate) for rate in rates], axis=0)
    table = pd.DataFrame(curves)
    seeds = "mean ± standard deviation over seeds" if len(results.seeds) > 1 else "in brackets its 95 % interval by resampling clips"
    caption = f"AUC, {seeds}. Protocol: {PROTOCOLS['paper']}. {results.source}"

    figure = look.sheet(look.COLUMN, 3.3 + 0.15 * len(names), caption)
    axis = look.panel(figure, 0.45, 0.08, 2.75, 2.75)
    axis.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.7)
    for model in set(names) & set(table):
        axis.plot(grid, table[model], gid=model, **look.line(model), zorder=3 if model == FULL else 2)
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
    axis.set_xlabel("false positive rate", labelpad=2)
    axis.set_ylabel("true positive rate", labelpad=2)
    look.key_of_models(figure, 0.45, 3.22, names)
    return Picture(figure, table, caption)


def in_figures(metrics: list[dict]) -> str:
    """AUC of one model: of one run with its interval, of several as mean and standard deviation."""
    aucs = [m["auc"] for m in metrics]
    if len(aucs) > 1:
        return f"{np.mean(aucs):.3f} ± {np.std(aucs, ddof=1):.3f}"
    interval = metrics[0]["interval"]
    return f"{aucs[0]:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
