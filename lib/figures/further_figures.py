"""Figures beyond the paper's: what a likelihood is made of and how it goes with the complexity of a frame, how the
networks were trained, and the AUC by protocol and by kind of anomaly. As in `figures.py`, a table comes first, then its
drawing.
"""
from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy.stats import rankdata

from lib.config import recorded
from lib.figures import style
from lib.evaluation.protocols import PROTOCOLS, bits_per_pixel, frame_auc
from lib.evidence import names
from lib.evidence.figure_data import Results
from lib.figures.paper_figures import FULL, NLLS, NOT_SCORED, RAW, Picture, nothing
from lib.pipeline.steps import MODELS
from lib.scoring import clip_ids, reading_of, spread

SAMPLE = 2000  # frames whose complexity is measured, evenly spaced, so that a large test set takes seconds too


# -- AUC by something --------------------------------------------------------------------------------------------

def protocols(results: Results) -> Picture:
    """The AUC of each model by each protocol: the same scores, other numbers."""
    rows = [{"protocol": name, "definition": str(PROTOCOLS[name]), "model": model, "seed": result.job.seed,
             "auc": metrics["auc"]}
            for model in style.MODELS for result in results.alike(model)
            for name, metrics in result.record["metrics"]["protocols"].items()]
    if not rows:
        return nothing(style.COLUMN, 1.2, "no scores of labelled frames", results)
    caption = (f"The same scores under each protocol; the first is the paper's as we read it.{over_seeds(results)} "
               f"{results.source}")
    return dots(pd.DataFrame(rows), "protocol", caption)


def kinds(results: Results) -> Picture:
    """The AUC of each model for each kind of anomaly, where kinds are known: on the generated set."""
    tracks, labels, rows = results.data.tracks, results.data.labels, []
    if tracks is None or labels is None:
        return nothing(style.COLUMN, 1.2, "kinds of anomaly are known\non the generated set only", results)
    for kind in dict.fromkeys(tracks["kind"]):
        abnormal, usable = frames_of_kind(results, kind)
        if len(np.unique(abnormal[usable])) < 2:
            continue
        for model in style.MODELS:
            for result in results.alike(model):
                S = result.scores["S"].to_numpy()[usable]
                auc = frame_auc(S, abnormal[usable], np.zeros(len(S), int), RAW)
                rows.append({"kind": kind.replace("_", " "), "model": model, "seed": result.job.seed,
                             "abnormal_frames": int(abnormal.sum()), "auc": auc})
    if not rows:
        return nothing(style.COLUMN, 1.2, NOT_SCORED, results)
    caption = ("Frames of each kind of anomaly against the normal frames of the same clips. Protocol: "
               f"{PROTOCOLS['paper']}.{over_seeds(results)} {results.source}")
    return dots(pd.DataFrame(rows), "kind", caption)


def frames_of_kind(results: Results, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Which test frames show a kind of anomaly, and which count in its AUC: these and the normal frames of their clips.

    Frames that are abnormal in another way count for neither side. Two of (N,) bool.
    """
    tracks, labels = results.data.tracks, np.asarray(results.data.labels, bool)
    abnormal, same_clip = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for clip in results.data.clips("test"):
        frames = tracks.loc[(tracks["clip"] == clip.name) & (tracks["kind"] == kind), "frame"].unique()
        abnormal[clip.start + frames] = True
        same_clip[results.rows(clip)] = len(frames) > 0
    return abnormal, same_clip & (abnormal | ~labels)


def over_seeds(results: Results) -> str:
    return " Marks: means over seeds; lines: their range." if len(results.seeds) > 1 else ""


def dots(table: pd.DataFrame, by: str, caption: str) -> Picture:
    """A band for each value of a column, a mark in it for each model, from a table with columns model, seed and auc."""
    names, present = list(dict.fromkeys(table[by])), [m for m in style.MODELS if m in set(table["model"])]
    left, height = 0.12 + 0.058 * max(map(len, names)), 0.36 * len(names)
    figure = style.sheet(style.COLUMN, 1.1 + height, caption)
    axis = style.panel(figure, left, 0.06, style.COLUMN - left - 0.1, height)
    axis.axvline(0.5, color=style.FAINT, linewidth=0.6, linestyle=style.DASHES["dotted"], zorder=1)
    for i, name in enumerate(names):
        axis.axhspan(i - 0.46, i + 0.46, color="#F2F2F2", linewidth=0, zorder=0)
        for j, model in enumerate(present):
            values = table.loc[(table[by] == name) & (table["model"] == model), "auc"]
            _, colour, _, mark = style.MODELS[model]
            at = i + 0.72 * ((j + 0.5) / len(present) - 0.5)
            axis.plot([values.min(), values.max()], [at, at], color=colour, linewidth=0.8)
            axis.plot(values.mean(), at, color=colour, marker=mark, markersize=3.6, gid=f"{name}/{model}")
    axis.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_xlabel("frame-level AUC", labelpad=2)
    style.key_of_marks(figure, 0.45, 0.48 + height, present)
    return Picture(figure, table, caption)


# -- what a likelihood is made of --------------------------------------------------------------------------------

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ROW = 0.3  # height of a term, in inches


def likelihood_terms(results: Results) -> Picture:
    """Negative log-likelihood of normal and abnormal frames, split into -log p(z) and -log|det| of each scale."""
    labels, rows = results.data.labels, []
    if labels is None or labels.all() or not labels.any():
        return nothing(style.PAGE, 1.6, "no labelled frames of both kinds", results)
    for flow in style.FLOWS:
        rows += term_rows(results, flow)
    if not rows:
        return nothing(style.PAGE, 1.6, "no flow: not run", results)
    table = pd.DataFrame(rows)
    names = list(dict.fromkeys(table["term"]))
    caption = ("Box: quartiles; whiskers: 5 to 95 %; each term less its mean over the training windows; scale 1 is the "
               "finest. AUC: of the term alone (raw scores, micro). A window's term belongs to its frames as in the "
               f"score. {results.source}")
    figure = style.sheet(style.PAGE, 0.72 + ROW * len(names), caption)
    for i, (flow, title) in enumerate(style.FLOWS.items()):
        axis = style.panel(figure, 1.02 + i * 1.48, 0.2, 0.98, ROW * len(names))
        style.letter(axis, title)
        draw_terms(axis, table[table["flow"] == flow], names)
        axis.set_yticks(range(len(names)) if i == 0 else [], names if i == 0 else [])
    middle = 3.73
    style.write(figure, middle, 0.5 + ROW * len(names), "bits per dimension, less the training mean", ha="center")
    style.key_of_bars(figure, middle, 0.7 + ROW * len(names))
    return Picture(figure, table, caption)


def draw_terms(axis, part: pd.DataFrame, names: list[str]) -> None:
    """The terms of one flow, a pair of boxes each, with the AUC at the right."""
    if part.empty:
        return style.missing(axis, "not run")
    beside = axis.get_yaxis_transform()
    axis.axvline(0, color=style.FAINT, linewidth=0.6, linestyle=style.DASHES["dotted"])
    axis.text(1.05, -0.62, "AUC", transform=beside, va="center", fontsize=style.SMALL, color=style.FAINT)
    for j, name in enumerate(names):
        rows = part[part["term"] == name]
        for _, row in rows.iterrows():
            abnormal = row["frames"] == "abnormal"
            style.box(axis, j + (0.17 if abnormal else -0.17), [row[f"q{q:g}"] for q in QUANTILES], abnormal=abnormal)
        axis.text(1.05, j, f"{rows['auc'].iloc[0]:.2f}", transform=beside, va="center", fontsize=7)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(MaxNLocator(3))


def term_rows(results: Results, flow: str) -> list[dict]:
    """Quantiles of each term of one flow, for normal and abnormal frames; none if it was not run."""
    folder, labels = results.folder("flow", flow), np.asarray(results.data.labels, bool)
    if folder is None or results.folder("features", "two_path") is None or results.ranking is None:
        return []
    train, test = (np.load(folder / f"nll_{split}.npz") for split in ("train", "test"))
    unit = float(test["dims"]) * np.log(2)
    terms = {}
    for scale in range(test["log_p_z"].shape[1]):
        for name, key in (("−log p(z)", "log_p_z"), ("−log|det|", "log_det")):
            terms[f"{name}, scale {scale + 1}"] = (train[key][:, scale].mean() - test[key][:, scale]) / unit
    terms["NLL"] = (test["nll"] - train["nll"].mean()) / unit
    rows = []
    for name, of_windows in terms.items():
        values = to_frames(results, of_windows)
        auc = frame_auc(values, labels, np.zeros(len(values), int), RAW)
        for kind, chosen in (("normal", ~labels), ("abnormal", labels)):
            quantiles = np.quantile(values[chosen], QUANTILES)
            rows.append({"flow": flow, "term": name, "frames": kind, "auc": auc}
                        | {f"q{q:g}": float(value) for q, value in zip(QUANTILES, quantiles)})
    return rows


def to_frames(results: Results, values: np.ndarray) -> np.ndarray:
    """One value a test window to one a test frame, by the rule that the scores follow: (n,) -> (N,)."""
    windows = results.array("features", "two_path", "test_windows.npy")
    T = results.record("features", "two_path")["parameters"]["model.T"]
    records = [results.record("score", model) for model, (_, flows) in MODELS.items() if flows]
    rule = next(record["parameters"]["score.likelihood_frames"] for record in records if record)
    return spread(values, windows, results.data.clips("test"), T=T, likelihood_frames=rule)


# -- likelihood against complexity -------------------------------------------------------------------------------

MARKS = {0: ("normal", dict(color="#8A8A8A", marker="o", s=5, alpha=0.6, linewidths=0)),
         1: ("abnormal", dict(color=style.ABNORMAL, marker="x", s=5, alpha=0.8, linewidths=0.5))}


def complexity(results: Results) -> Picture:
    """Likelihood of frames against their complexity: the size of the frame as PNG, as in Serrà et al. 2019."""
    scores, labels = results.scores(FULL), results.data.labels
    folders = {"nll_app": results.folder("flow", "app_intensity"), "nll_mot": results.folder("flow", "mot")}
    if scores is None or None in folders.values():
        return nothing(style.COLUMN, 1.8, NOT_SCORED, results)
    rows = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), SAMPLE)).astype(np.int64))
    frames = results.data.frames("test")
    table = scores.loc[rows, ["clip", "frame"]]
    table["label"] = 0 if labels is None else np.asarray(labels)[rows].astype(int)
    table["png_bits_per_pixel"] = [bits_per_pixel(frames[row]) for row in rows]
    unit = results.record("score", FULL)["parameters"].get("score.likelihood_unit", "nats")
    for column, name in NLLS.items():
        dims = int(np.load(folders[column] / "nll_test.npz")["dims"]) if unit == "nats" else 1
        table[name] = scores.loc[rows, column] / (dims * np.log(2))
    sample = f"{len(rows)} of {len(scores)} test frames, evenly spaced. " if len(rows) < len(scores) else ""
    caption = (f"{sample}ρ: Spearman's rank correlation, of normal frames in brackets. Likelihoods are those of the "
               f"full model's flows; complexity is the size of the frame as PNG. {results.source}")

    figure = style.sheet(style.COLUMN, 2.02, caption)
    for left, name in zip((0.55, 2.13), NLLS.values()):
        axis = style.panel(figure, left, 0.2, 1.1, 1.17)
        for label, (kind, drawn) in MARKS.items():
            part = table[table["label"] == label]
            if len(part):
                axis.scatter(part["png_bits_per_pixel"], part[name], label=kind, gid=f"{name}/{kind}", **drawn)
        rho = [spearman(t["png_bits_per_pixel"], t[name]) for t in (table, table[table["label"] == 0])]
        style.letter(axis, f"{name}, ρ {rho[0]:.2f} ({rho[1]:.2f})")
        axis.set_xlabel("PNG, bits per pixel", labelpad=2)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_locator(MaxNLocator(5))
        if left < 1:
            axis.set_ylabel("NLL, bits/dim", labelpad=2)
    figure.legend(*axis.get_legend_handles_labels(), loc="lower center", ncol=2, borderpad=0, borderaxespad=0,
                  markerscale=1.6, bbox_to_anchor=(0.5, 1 - 2.0 / figure.get_figheight()))
    return Picture(figure, table, caption)


def spearman(x, y) -> float:
    """Rank correlation; NaN where one side is constant."""
    x, y = rankdata(x), rankdata(y)
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 1 and np.ptp(x) and np.ptp(y) else float("nan")


# -- training ----------------------------------------------------------------------------------------------------

NETWORKS = {("autoencoder", "one_path"): (names.MODELS["one_path"].legend, style.ONE_PATH, "dotted"),
            ("autoencoder", "two_path"): (names.MODELS["two_path"].legend, style.TWO_PATH, "dashed"),
            ("flow", "app_none"): (style.FLOWS["app_none"], style.APPEARANCE, "dash-dot"),
            ("flow", "app_intensity"): (style.FLOWS["app_intensity"], style.APPEARANCE, "solid"),
            ("flow", "app_error"): (style.FLOWS["app_error"], style.APPEARANCE, "dash-dot-dot"),
            ("flow", "mot"): (style.FLOWS["mot"], style.MOTION, "short")}


def training(results: Results) -> Picture:
    """Training loss of every network, epoch by epoch, and the AUC that its errors or likelihoods alone would have given
    at some of these epochs; a line for each seed."""
    rows = []
    for step, variant in NETWORKS:
        for seed in results.seeds:
            folder = results.folder(step, variant, seed)
            if folder is not None:
                history, aucs = pd.read_csv(folder / "history.csv"), auc_over_training(results, step, variant, seed)
                rows += [{"network": f"{step}/{variant}", "seed": seed, "step": int(at), "loss": loss, "auc": aucs.get(int(at))}
                         for at, loss in zip(history["step"], history["loss"])]
    if not rows:
        return nothing(style.COLUMN, 1.8, "no network: not run", results)
    table = pd.DataFrame(rows).astype({"auc": float})
    caption = ("Above: mean loss over the steps since the point before, on training windows. Below: AUC of R alone and of each "
               "NLL alone, by the paper's protocol, computed afterwards from kept weights, on windows end to end. Nothing "
               f"was chosen by either; the last weights are used. {results.source}")
    figure = style.sheet(style.COLUMN, 3.5, caption)
    for left, step, label in ((0.53, "autoencoder", "reconstruction loss"), (2.12, "flow", "NLL, nats/dim")):
        loss, auc = style.panel(figure, left, 0.06, 1.1, 1.2), style.panel(figure, left, 1.42, 1.1, 1.02)
        for (kind, variant), line in NETWORKS.items():
            if kind == step:
                own = table[table["network"] == f"{kind}/{variant}"]
                draw_history(loss, own, "loss", line, f"{kind}/{variant}")
                draw_history(auc, own.dropna(subset="auc"), "auc", line, f"{kind}/{variant}/auc")
        loss.set_ylabel(label, labelpad=2)
        loss.tick_params(labelbottom=False)
        auc.set_xlabel("training step", labelpad=2)
        auc.set_ylabel("AUC alone", labelpad=2)
        auc.axhline(0.5, color=style.FAINT, linewidth=0.5, zorder=0)
        if step == "autoencoder":
            loss.set_yscale("log")
            loss.yaxis.set_major_locator(MaxNLocator(4))
            loss.yaxis.set_minor_locator(NullLocator())
            loss.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        auc.yaxis.set_major_locator(MaxNLocator(4))
        if table.loc[table["network"].str.startswith(step), "auc"].isna().all():
            auc.cla()
            style.missing(auc, "no weights kept" if results.data.labels is not None else "no labels")
        for axis in (loss, auc):
            axis.set_xlim(0, 1.04 * max([1, *table.loc[table["network"].str.startswith(step), "step"]]))
            axis.xaxis.set_major_locator(MaxNLocator(3))
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 10_000 else f"{value / 1000:g}k")
        auc.legend(*loss.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(-0.1, -0.4), borderaxespad=0,
                   borderpad=0, handlelength=2.6, labelspacing=0.25)
    return Picture(figure, table, caption)


def auc_over_training(results: Results, step: str, variant: str, seed: int) -> dict[int, float]:
    """AUC of R, or of one NLL, alone, by the steps at which weights were kept; empty without labels or such weights."""
    labels, score = results.data.labels, results.record("score", results.ranking, seed) if results.ranking else None
    if labels is None or score is None:
        return {}
    values, clips = score["parameters"], results.data.clips("test")
    if step == "autoencoder":
        folder, name = results.folder("features", variant, seed), "test_errors_over_training.npz"
    else:
        folder, name = results.folder("flow", variant, seed), "nll_over_training.npz"
    if folder is None or not (folder / name).exists():
        return {}
    along = np.load(folder / name)
    if step == "autoencoder":
        channels = results.data.frames("test").shape[-1]
        terms = along[reading_of(recorded(values, "score"), channels=channels)]
    else:
        windows = np.load(results.folder("features", "two_path", seed) / "test_windows.npy")[along["rows"]]
        terms = [spread(nll, windows, clips, T=values["model.T"], likelihood_frames=values["score.likelihood_frames"])
                 for nll in along["nll"]]
    ids = clip_ids(clips)
    return {int(at): frame_auc(term, labels, ids, PROTOCOLS["paper"]) for at, term in zip(along["step"], terms)}


def draw_history(axis, table: pd.DataFrame, column: str, line: tuple[str, str, str], gid: str) -> None:
    """A column of one network over its steps, a line for each seed."""
    name, colour, dashes = line
    how = dict(color=colour, linestyle=style.DASHES[dashes], gid=gid)
    if table.empty:
        axis.plot([], [], label=f"{name}: not run", **how)
    for i, (_, run) in enumerate(table.groupby("seed")):
        only = "." if len(run) == 1 else None  # a line of one point would not be seen
        axis.plot(run["step"], run[column], label=name if i == 0 else None, marker=only, **how)
