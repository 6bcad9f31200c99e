"""Figures beyond the paper's: what the likelihood is made of, how it goes with the complexity of a frame, how the networks
were trained, and what the AUC is by protocol and by kind of anomaly. As in `lib/figures.py`, a table first, then its drawing.
"""
from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy.stats import rankdata

from lib import look
from lib.evaluation import PROTOCOLS, frame_auc
from lib.evidence import Results
from lib.figures import FULL, NLLS, NOT_SCORED, RAW, Picture, nothing
from lib.scoring import windows_to_frames

SAMPLE = 2000  # frames whose complexity is measured, evenly spaced, so that a large test set takes seconds too


# -- AUC by something --------------------------------------------------------------------------------------------

def protocols(results: Results) -> Picture:
    """The AUC of each model by each protocol: the same scores, other numbers."""
    rows = [{"protocol": name, "definition": str(PROTOCOLS[name]), "model": model, "seed": result.job.seed, "auc": metrics["auc"]}
            for model in look.MODELS for result in results.alike(model)
            for name, metrics in result.record["metrics"]["protocols"].items()]
    caption = f"The same scores under each protocol; the first is the paper's as we read it.{over_seeds(results)} {results.source}"
    if not rows:
        return nothing(look.COLUMN, 2.5, "no scores with labels", results)
    return dots(pd.DataFrame(rows), "protocol", caption)


def kinds(results: Results) -> Picture:
    """The AUC of each model for each kind of anomaly, where kinds are known: on the generated set."""
    tracks, labels = results.data.tracks, results.data.labels
    if tracks is None or labels is None:
        return nothing(look.COLUMN, 1.2, "kinds of anomaly are known\\non the generated set only", results)
    rows = []
    for kind in dict.fromkeys(tracks["kind"]):
        abnormal, usable = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
        for clip in results.data.clips("test"):
            frames = tracks.loc[(tracks["clip"] == clip.name) & (tracks["kind"] == kind), "frame"].unique()
            abnormal[clip.start + frames] = True
            usable[results.rows(clip)] = len(frames) > 0
        usable &= abnormal | ~labels                  # frames that are abnormal in another way count for neither side
        if len(np.unique(abnormal[usable])) < 2:
            continue
        rows += [{"kind": kind.replace("_", " "), "model": model, "seed": result.job.seed, "frames": int(abnormal.sum()), "auc": frame_auc(
                     result.scores["S"].to_numpy()[usable], abnormal[usable], np.zeros(usable.sum(), int), RAW)}
                 for model in look.MODELS for result in results.alike(model)]
    if not rows:
        return nothing(look.COLUMN, 1.2, NOT_SCORED, results)
    caption = ("Frames of each kind of anomaly against the normal frames of the same clips. Protocol: "
               f"{PROTOCOLS['paper']}.{over_seeds(results)} {results.source}")
    return dots(pd.DataFrame(rows), "kind", caption)


def over_seeds(results: Results) -> str:
    return " Dots: means over seeds; lines: their range." if len(results.seeds) > 1 else ""


def dots(table: pd.DataFrame, by: str, caption: str) -> Picture:
    """A row for each value of a column, a mark for each model, in a table with columns model, seed and auc."""
    names, present = list(dict.fromkeys(table[by])), [m for m in look.MODELS if m in set(table["model"])]
    left = 0.12 + 0.058 * max(map(len, names))
    figure = look.sheet(look.COLUMN, 1.1 + 0.36 * len(names), caption)
    axis = look.panel(figure, left, 0.06, look.COLUMN - left - 0.1, 0.36 * len(names))
    for i in range(len(names)):
        axis.axhspan(i - 0.46, i + 0.46, color="#F2F2F2", linewidth=0, zorder=0)
    axis.axvline(0.5, color=look.FAINT, linewidth=0.6, linestyle=look.DASHES["dotted"], zorder=1)
    for i, name in enumerate(names):
        for j, model in enumerate(present):
            values = table.loc[(table[by] == name) & (table["model"] == model), "auc"]
            _, colour, _, symbol = look.MODELS[model]
            at = i + 0.72 * ((j + 0.5) / len(present) - 0.5)
            axis.plot([values.min(), values.max()], [at, at], color=colour, linewidth=0.8)
            axis.plot(values.mean(), at, color=colour, marker=symbol, markersize=3.6, linestyle="none", gid=f"{name}/{model}")
    axis.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_xlabel("frame-level AUC", labelpad=2)
    look.key_of_marks(figure, 0.45, 0.48 + 0.36 * len(names), present)
    return Picture(figure, table, caption)


# -- what a likelihood is made of --------------------------------------------------------------------------------

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def likelihood_terms(results: Results) -> Picture:
    """Negative log-likelihood of normal and abnormal frames, split into -log p(z) and -log|det| of each scale."""
    labels, rows = results.data.labels, []
    for flow in look.FLOWS:
        rows += term_rows(results, flow, labels) if labels is not None and labels.any() and not labels.all() else []
    if not rows:
        return nothing(look.PAGE, 1.6, "no flow with labelled frames", results)
    table = pd.DataFrame(rows)
    names = list(dict.fromkeys(table["term"]))
    caption = ("Box: quartiles; whiskers: 5 to 95 %; each term less its mean over the training windows; scale 1 is the finest. "
               "AUC: of the term alone (raw scores, micro). A window's term belongs to its frames as in the score. "
               f"{results.source}")
    figure, wide, left = look.sheet(look.PAGE, 0.72 + 0.3 * len(names), caption), 1.28, 1.02
    for i, (flow, title) in enumerate(look.FLOWS.items()):
        axis = look.panel(figure, left + i * (wide + 0.2), 0.2, wide - 0.3, 0.3 * len(names))
        look.letter(axis, title)
        part = table[table["flow"] == flow]
        if part.empty:
            look.missing(axis, "not run")
            continue
        axis.axvline(0, color=look.FAINT, linewidth=0.6, linestyle=look.DASHES["dotted"])
        axis.text(1.05, -0.62, "AUC", transform=axis.get_yaxis_transform(), va="center", fontsize=look.SMALL, color=look.FAINT)
        for j, name in enumerate(names):
            for _, row in part[part["term"] == name].iterrows():
                look.box(axis, j + (0.17 if row["frames"] == "abnormal" else -0.17), [row[f"q{q:g}"] for q in QUANTILES],
                         abnormal=row["frames"] == "abnormal")
            axis.text(1.05, j, f"{part.loc[part['term'] == name, 'auc'].iloc[0]:.2f}", transform=axis.get_yaxis_transform(), va="center",
                      fontsize=7)
        axis.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names if i == 0 else [])
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(3))
    middle = left + 2 * (wide + 0.2) - 0.25
    figure.text(middle / look.PAGE, 1 - (0.5 + 0.3 * len(names)) / figure.get_figheight(), "bits per dimension, less the training mean",
                ha="center", fontsize=8)
    look.key_of_bars(figure, middle, 0.7 + 0.3 * len(names))
    return Picture(figure, table, caption)


def term_rows(results: Results, flow: str, labels: np.ndarray) -> list[dict]:
    """Quantiles of each term of one flow, for normal and abnormal frames; none if it was not run."""
    if results.folder("flow", flow) is None or results.folder("features", "two_path") is None:
        return []
    split = {name: np.load(results.folder("flow", flow) / f"nll_{name}.npz") for name in ("train", "test")}
    terms, unit = {}, float(split["test"]["dims"]) * np.log(2)
    for level in range(split["test"]["log_p_z"].shape[1]):
        for name, key in (("−log p(z)", "log_p_z"), ("−log|det|", "log_det")):
            terms[f"{name}, scale {level + 1}"] = [-split[s][key][:, level] / unit for s in ("train", "test")]
    terms["NLL"] = [split[s]["nll"] / unit for s in ("train", "test")]
    rows = []
    for name, (train, test) in terms.items():
        values = to_frames(results, test - train.mean())
        auc = frame_auc(values, labels, np.zeros(len(values), int), RAW)
        for kind, chosen in (("normal", ~labels), ("abnormal", labels)):
            rows.append({"flow": flow, "term": name, "frames": kind, "auc": auc,
                         **{f"q{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values[chosen], QUANTILES))}})
    return rows


def to_frames(results: Results, values: np.ndarray) -> np.ndarray:
    """One value a test window to one a test frame, by the rule that the scores follow: (n,) -> (N,)."""
    windows = results.array("features", "two_path", "test_windows.npy")
    T = results.record("features", "two_path")["parameters"]["model.T"]
    rule = results.record("score", results.ranking)["parameters"]["score.likelihood_frames"]
    return np.concatenate([windows_to_frames(values[windows[:, 0] == i], windows[windows[:, 0] == i, 1] - clip.start, T=T,
                                             length=clip.length, likelihood_frames=rule)
                           for i, clip in enumerate(results.data.clips("test"))])


# -- likelihood against complexity -------------------------------------------------------------------------------

def complexity(results: Results) -> Picture:
    """Likelihood of frames against their complexity, the size of their lossless compression (after Serrà et al. 2019)."""
    scores, labels = results.scores(FULL), results.data.labels
    flows = {name: results.folder("flow", flow) for name, flow in (("appearance", "app_intensity"), ("motion", "mot"))}
    if scores is None or None in flows.values():
        return nothing(look.COLUMN, 1.8, NOT_SCORED, results)
    dims = {name: int(np.load(folder / "nll_test.npz")["dims"]) for name, folder in flows.items()}
    rows = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), SAMPLE)).astype(np.int64))
    frames = results.data.frames("test")
    table = scores.loc[rows, ["clip", "frame"]].assign(
        label=0 if labels is None else labels[rows].astype(int), png_bits_per_pixel=[bits_per_pixel(frames[row]) for row in rows],
        **{name: scores.loc[rows, column] / (dims[name] * np.log(2)) for column, name in NLLS.items()})
    sample = f"{len(rows)} of {len(scores)} test frames, evenly spaced. " if len(rows) < len(scores) else ""
    caption = (f"{sample}ρ: Spearman's rank correlation, of normal frames in brackets. Likelihoods are those of the full model's "
               f"flows; complexity is the size of the frame as PNG. {results.source}")
    figure = look.sheet(look.COLUMN, 2.02, caption)
    normal = table[table["label"] == 0]
    for left, name in zip((0.47, 2.08), NLLS.values()):
        axis = look.panel(figure, left, 0.2, 1.17, 1.17)
        for flag, style in ((0, dict(color="#8A8A8A", marker="o", s=5, alpha=0.6)), (1, dict(color=look.ABNORMAL, marker="x", s=5, linewidths=0.5, alpha=0.8))):
            part = table[table["label"] == flag]
            axis.scatter(part["png_bits_per_pixel"], part[name], **(dict(linewidths=0) | style), rasterized=True,
                         label=("normal", "abnormal")[flag])
        rho = [spearman(t["png_bits_per_pixel"], t[name]) for t in (table, normal)]
        look.letter(axis, f"{name}, ρ {rho[0]:.2f} ({rho[1]:.2f})")
        axis.set_xlabel("PNG, bits per pixel", labelpad=2)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_locator(MaxNLocator(5))
        if left < 1:
            axis.set_ylabel("NLL, bits/dim", labelpad=2)
    figure.legend(*axis.get_legend_handles_labels(), loc="lower center", bbox_to_anchor=(0.5, 1 - 2.0 / figure.get_figheight()), ncol=2,
                  borderpad=0, borderaxespad=0, markerscale=1.6)
    return Picture(figure, table, caption)


def bits_per_pixel(frame: np.ndarray) -> float:
    """Size of a frame as PNG: (H, W, C) uint8."""
    return 8 * len(cv2.imencode(".png", np.ascontiguousarray(frame))[1]) / (frame.shape[0] * frame.shape[1])


def spearman(x, y) -> float:
    """Rank correlation; NaN where one side is constant."""
    x, y = rankdata(x), rankdata(y)
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 1 and np.ptp(x) and np.ptp(y) else float("nan")


# -- training ----------------------------------------------------------------------------------------------------

NETWORKS = {("autoencoder", "one_path"): ("one-path AE", look.ONE_PATH, "dotted"),
            ("autoencoder", "two_path"): ("two-path AE", look.TWO_PATH, "dashed"),
            ("flow", "app_none"): (look.FLOWS["app_none"], look.APPEARANCE, "dash-dot"),
            ("flow", "app_intensity"): (look.FLOWS["app_intensity"], look.APPEARANCE, "solid"),
            ("flow", "app_error"): (look.FLOWS["app_error"], look.APPEARANCE, "dash-dot-dot"),
            ("flow", "mot"): (look.FLOWS["mot"], look.MOTION, "short")}


def training(results: Results) -> Picture:
    """Training loss of every network, epoch by epoch; a line for each seed."""
    rows = []
    for (step, variant), _ in NETWORKS.items():
        for seed in results.seeds:
            if results.folder(step, variant, seed) is None:
                continue
            history = pd.read_csv(results.folder(step, variant, seed) / "history.csv")
            rows += [{"network": f"{step}/{variant}", "seed": seed, "step": int(at), "loss": loss}
                     for at, loss in zip(history["step"], history["loss"])]
    if not rows:
        return nothing(look.COLUMN, 1.8, "no network: not run", results)
    table = pd.DataFrame(rows)
    caption = ("Mean loss over the steps since the point before, on training windows; nothing was chosen by it, the last weights are "
               f"used. {results.source}")
    figure = look.sheet(look.COLUMN, 2.32, caption)
    for left, step, label in ((0.46, "autoencoder", "reconstruction loss"), (2.1, "flow", "NLL, nats/dim")):
        axis = look.panel(figure, left, 0.06, 1.15, 1.2)
        for (kind, variant), (name, colour, dashes) in NETWORKS.items():
            if kind != step:
                continue
            runs = table[table["network"] == f"{kind}/{variant}"].groupby("seed")
            for i, (_, run) in enumerate(runs):
                axis.plot(run["step"], run["loss"], color=colour, linestyle=look.DASHES[dashes], label=name if i == 0 else None,
                          gid=f"{kind}/{variant}", marker="." if len(run) == 1 else None)
            if not len(runs):
                axis.plot([], [], color=colour, linestyle=look.DASHES[dashes], label=f"{name}: not run")
        axis.set_xlabel("training step", labelpad=2)
        axis.set_ylabel(label, labelpad=2)
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 10_000 else f"{value / 1000:g}k")
        if step == "autoencoder":
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.yaxis.set_minor_locator(NullLocator())
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.34), borderaxespad=0, borderpad=0, handlelength=2.6, labelspacing=0.25)
    return Picture(figure, table, caption)
