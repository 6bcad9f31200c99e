"""Figures beyond the paper's: likelihood terms, likelihood and complexity, training curves, and AUC by
protocol, clip and kind of anomaly.

As in `paper_figures`, the table of numbers is made first and then drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator
from scipy.stats import rankdata

from lib.config import recorded
from lib.evaluation.protocols import PROTOCOLS, bits_per_pixel, frame_auc
from lib.evidence.figure_data import Results
from lib.figures import style
from lib.figures.paper_figures import FULL, NLLS, NOT_SCORED, RAW, Layout, Picture, nothing
from lib.pipeline.steps import MODELS
from lib.scoring import FlowWindows, clip_ids, eq8, reading_of, spread

SAMPLE = 2000  # evenly spaced frames whose complexity is measured, so that a large test set takes seconds


# -- AUC by something ----------------------------------------------------------------------------------------


def protocols(results: Results) -> Picture:
    """The AUC of each model under each protocol, as a heat map: the same scores, different numbers."""
    rows = [
        {
            "protocol": name,
            "definition": str(PROTOCOLS[name]),
            "model": model,
            "seed": result.job.seed,
            "auc": metrics["auc"],
        }
        for model in style.MODELS
        for result in results.alike(model)
        for name, metrics in result.record["metrics"]["protocols"].items()
    ]
    if not rows:
        return nothing("no scores of labelled frames", results)
    caption = (
        "The same scores under each protocol; the first is the paper's as we read it."
        f"{mean_of_seeds(results)} {results.source}"
    )
    return heat_map(results, pd.DataFrame(rows), "protocol", caption)


def clips(results: Results) -> Picture:
    """The AUC of each model within each test clip, as a heat map."""
    rows = [
        {"clip": name, "model": model, "seed": result.job.seed, "auc": auc}
        for model in style.MODELS
        for result in results.alike(model)
        for name, auc in result.record["metrics"]["by_clip"].items()
        if auc is not None
    ]
    if not rows:
        return nothing("no clip with scores of frames of both kinds", results)
    table = pd.DataFrame(rows)
    shown = list(dict.fromkeys(table["clip"]))
    left_out = len(results.data.clips("test")) - len(shown)
    caption = (
        "AUC within each test clip, 0.5 (white) being chance"
        + (f"; {left_out} with frames of one kind alone left out" if left_out else "")
        + f".{mean_of_seeds(results)} {results.source}"
    )
    return heat_map(results, table, "clip", caption)


def mean_of_seeds(results: Results) -> str:
    return " Means over seeds." if len(results.seeds) > 1 else ""


def heat_map(results: Results, table: pd.DataFrame, by: str, caption: str) -> Picture:
    """One row per value of a column, one column per model, from a table with columns model, seed and auc."""
    names = list(dict.fromkeys(table[by]))
    models = [model for model in style.MODELS if model in set(table["model"])]
    means = table.groupby([by, "model"])["auc"].mean().unstack().reindex(index=names, columns=models)
    layout = Layout(results, own=style.PAGE)
    narrow = layout.width <= style.COLUMN  # then names are slanted, and numbers have two decimals
    left, tall = 0.14 + 0.062 * max(map(len, names)), max(0.19 * len(names), 0.6)
    head = 0.9 if narrow else 0.42
    figure = style.sheet(layout.width, head + tall + 0.12, results.small_print(caption))
    axis = style.panel(figure, left, head, layout.width - left - (0.45 if narrow else 0.06), tall)
    style.heat(axis, means, 2 if narrow else 3)
    axis.xaxis.tick_top()
    titles = [style.MODELS[model][0] for model in models]
    if narrow:
        axis.set_xticklabels(titles, rotation=50, ha="left", rotation_mode="anchor")
    else:
        axis.set_xticklabels([title.replace(" (", "\n(") for title in titles])
    axis.tick_params(length=0, pad=2)
    return Picture(figure, table, caption)


def kinds(results: Results) -> Picture:
    """The AUC of each model for each kind of anomaly, if kinds are known, as on the generated set."""
    tracks, labels, rows = results.data.tracks, results.data.labels, []
    if tracks is None or labels is None:
        return nothing("kinds of anomaly are known on the generated set only", results)
    for kind in dict.fromkeys(tracks["kind"]):
        abnormal, usable = frames_of_kind(results, kind)
        if len(np.unique(abnormal[usable])) < 2:
            continue
        for model in style.MODELS:
            for result in results.alike(model):
                S = result.scores["S"].to_numpy()[usable]
                auc = frame_auc(S, abnormal[usable], np.zeros(len(S), int), RAW)
                rows.append(
                    {
                        "kind": kind.replace("_", " "),
                        "model": model,
                        "seed": result.job.seed,
                        "abnormal_frames": int(abnormal.sum()),
                        "auc": auc,
                    }
                )
    if not rows:
        return nothing(NOT_SCORED, results)
    seeds = " A mark for each seed." if len(results.seeds) > 1 else ""
    caption = (
        "Frames of each kind of anomaly against the normal frames of the same clips. Protocol: "
        f"{PROTOCOLS['paper']}.{seeds} {results.source}"
    )
    return strips(results, pd.DataFrame(rows), "kind", caption)


def frames_of_kind(results: Results, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The test frames with a kind of anomaly, and the frames that count in its AUC, (N,) bool each.

    The latter are these frames and the normal frames of the same clips. Frames with other anomalies are left
    out.
    """
    tracks, labels = results.data.tracks, np.asarray(results.data.labels, bool)
    abnormal, same_clip = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for clip in results.data.clips("test"):
        frames = tracks.loc[(tracks["clip"] == clip.name) & (tracks["kind"] == kind), "frame"].unique()
        abnormal[clip.start + frames] = True
        same_clip[results.rows(clip)] = len(frames) > 0
    return abnormal, same_clip & (abnormal | ~labels)


def strips(results: Results, table: pd.DataFrame, by: str, caption: str) -> Picture:
    """One band per value of a column, with a strip for each model and a mark for each seed."""
    names = list(dict.fromkeys(table[by]))
    models = [model for model in style.MODELS if model in set(table["model"])]
    layout = Layout(results)
    left, tall = 0.12 + 0.058 * max(map(len, names)), 0.36 * len(names)
    rows = -(-len(models) // 2)
    figure = style.sheet(layout.width, 0.56 + 0.15 * rows + tall, results.small_print(caption))
    axis = style.panel(figure, left, 0.06, layout.width - left - 0.1, tall)
    for i in range(len(names)):
        axis.axhspan(i - 0.46, i + 0.46, color="#F2F2F2", linewidth=0, zorder=0)
    axis.axvline(0.5, color=style.FAINT, linewidth=0.6, linestyle=style.DASHES["dotted"], zorder=1)
    for j, model in enumerate(models):
        _, colour, _, mark = style.MODELS[model]
        before = len(axis.collections)
        seaborn.stripplot(
            table[table["model"] == model],
            x="auc",
            y=by,
            order=names,
            orient="h",
            jitter=False,
            color=colour,
            marker=mark,
            size=4,
            ax=axis,
        )
        down = 0.72 * ((j + 0.5) / len(models) - 0.5)
        for name, drawn in zip(names, axis.collections[before:]):
            drawn.set_offsets(np.asarray(drawn.get_offsets()) + (0, down))
            drawn.set(gid=f"{name}/{model}", clip_on=False)
    axis.set(ylim=(len(names) - 0.5, -0.5), ylabel="")
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_xlabel("frame-level AUC", labelpad=2)
    style.key_of_marks(figure, 0.45, 0.48 + tall, models)
    return Picture(figure, table, caption)


# -- terms of the likelihood ---------------------------------------------------------------------------------

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ROW = 0.3  # height of a term, in inches


def likelihood_terms(results: Results) -> Picture:
    """Negative log-likelihood of normal and abnormal frames, split into -log p(z) and -log|det| of each
    scale."""
    labels = results.data.labels
    if labels is None or labels.all() or not labels.any():
        return nothing("no labelled frames of both kinds", results)
    values = {flow: found for flow in style.FLOWS if (found := term_values(results, flow)) is not None}
    if not values:
        return nothing("no flow: not run", results)
    rows = [row for flow, found in values.items() for row in term_rows(found, flow, labels)]
    table = pd.DataFrame(rows)
    names = list(dict.fromkeys(table["term"]))
    absent = [style.FLOWS[flow] for flow in style.FLOWS if flow not in values]
    caption = (
        "Box: quartiles; whiskers: 5 to 95 %; each term less its mean over the training windows; scale 1 is "
        "the finest. AUC: of the term alone (raw scores, micro). A window's term belongs to its frames as in "
        f"the score. {'Not run: ' + ', '.join(absent) + '. ' if absent else ''}{results.source}"
    )
    layout = Layout(results, own=style.PAGE)
    across = 4 if layout.width > style.COLUMN else 1  # in a column, flows are below each other
    down = -(-len(values) // across)
    wide = (layout.width - 1.02) / min(across, len(values)) - 0.5
    step = ROW * len(names) + 0.42
    figure = style.sheet(layout.width, down * step + 0.3, results.small_print(caption))
    for i, (flow, found) in enumerate(values.items()):
        column, row = i % across, i // across
        axis = style.panel(figure, 1.02 + column * (wide + 0.5), 0.2 + row * step, wide, ROW * len(names))
        style.letter(axis, style.FLOWS[flow])
        draw_terms(axis, found, labels, table[table["flow"] == flow], names)
        axis.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
    middle, bottom = (1.02 + layout.width - 0.5) / 2, down * step + 0.08
    style.write(figure, middle, bottom, "bits per dimension, less the training mean", ha="center")
    style.key_of_bars(figure, middle, bottom + 0.2)
    return Picture(figure, table, caption)


def draw_terms(axis, values: dict[str, np.ndarray], labels, rows: pd.DataFrame, names: list[str]) -> None:
    """The terms of one flow, a pair of boxes each, with the AUC at the right."""
    kinds_of_frames = np.where(labels, "abnormal", "normal")
    tidy = pd.concat(
        [pd.DataFrame({"term": name, "value": of, "frames": kinds_of_frames}) for name, of in values.items()]
    )
    axis.axvline(0, color=style.FAINT, linewidth=0.6, linestyle=style.DASHES["dotted"], zorder=0)
    style.boxes(axis, tidy, names)
    beside = axis.get_yaxis_transform()
    axis.text(1.05, -0.62, "AUC", transform=beside, va="center", fontsize=style.SMALL, color=style.FAINT)
    for j, name in enumerate(names):
        own = rows.loc[rows["term"] == name, "auc"]
        if len(own):
            axis.text(1.05, j, f"{own.iloc[0]:.2f}", transform=beside, va="center", fontsize=7)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(MaxNLocator(3))


def term_values(results: Results, flow: str) -> dict[str, np.ndarray] | None:
    """Each term of a flow's NLL for every test frame, in bits per dimension minus its training mean.

    None if it was not run.
    """
    folder = results.folder("flow", flow)
    if folder is None or results.folder("features", "two_path") is None or results.ranking is None:
        return None
    train, test = (np.load(folder / f"nll_{split}.npz") for split in ("train", "test"))
    unit = float(test["dims"]) * np.log(2)
    terms = {}
    for scale in range(test["log_p_z"].shape[1]):
        for name, key in (("−log p(z)", "log_p_z"), ("−log|det|", "log_det")):
            terms[f"{name}, scale {scale + 1}"] = (train[key][:, scale].mean() - test[key][:, scale]) / unit
    terms["NLL"] = (test["nll"] - train["nll"].mean()) / unit
    return {name: to_frames(results, of_windows) for name, of_windows in terms.items()}


def term_rows(values: dict[str, np.ndarray], flow: str, labels) -> list[dict]:
    """Quantiles of each term, for normal and abnormal frames, and its AUC."""
    labels, rows = np.asarray(labels, bool), []
    for name, of_frames in values.items():
        auc = frame_auc(of_frames, labels, np.zeros(len(of_frames), int), RAW)
        for kind, chosen in (("normal", ~labels), ("abnormal", labels)):
            quantiles = np.quantile(of_frames[chosen], QUANTILES)
            rows.append(
                {"flow": flow, "term": name, "frames": kind, "auc": auc}
                | {f"q{q:g}": float(value) for q, value in zip(QUANTILES, quantiles)}
            )
    return rows


def rule_of_likelihoods(results: Results, seed: int) -> str:
    """`score.likelihood_frames` as models with flows were scored; models without flows have no such
    parameter."""
    records = [results.record("score", model, seed) for model, (_, flows) in MODELS.items() if flows]
    found = next((record["parameters"] for record in records if record), {})
    return recorded(found, "score").likelihood_frames


def to_frames(results: Results, values: np.ndarray) -> np.ndarray:
    """From one value per test window to one per test frame, by the rule of the scores: (n,) -> (N,)."""
    windows = results.array("features", "two_path", "test_windows.npy")
    T = results.record("features", "two_path")["parameters"]["model.T"]
    rule = rule_of_likelihoods(results, results.seeds[0])
    return spread(values, windows, results.data.clips("test"), T=T, likelihood_frames=rule)


# -- likelihood against complexity ---------------------------------------------------------------------------

LOOKS = {
    "normal": dict(facecolor="#8A8A8A", edgecolor="none", marker="o", s=5, alpha=0.55),
    "abnormal": dict(facecolor="none", edgecolor=style.ABNORMAL, marker="o", s=6, linewidth=0.4, alpha=0.55),
}
INSIDE = 0.75  # a line surrounds the densest region with this share of a kind's frames


def complexity(results: Results) -> Picture:
    """Likelihood of frames against their complexity, their size as PNG (Serrà et al. 2019)."""
    scores, labels = results.scores(FULL), results.data.labels
    folders = {"nll_app": results.folder("flow", "app_intensity"), "nll_mot": results.folder("flow", "mot")}
    if scores is None or None in folders.values():
        return nothing(NOT_SCORED, results)
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
    caption = (
        f"{sample}ρ: Spearman's rank correlation, of normal frames in brackets. A line surrounds the densest "
        f"region with {INSIDE:.0%} of the frames of a kind. Likelihoods are those of the full model's flows; "
        f"complexity is the size of the frame as PNG. {results.source}"
    )

    layout = Layout(results)
    wide, tall = (layout.width - 1.1) / 2, 1.17 * layout.grow
    figure = style.sheet(layout.width, 0.85 + tall, results.small_print(caption))
    for left, name in zip((0.55, 1.03 + wide), NLLS.values()):
        axis = style.panel(figure, left, 0.2, wide, tall)
        for label, (kind, look) in enumerate(LOOKS.items()):
            part = table[table["label"] == label]
            if len(part):
                axis.scatter(
                    part["png_bits_per_pixel"],
                    part[name],
                    label=kind,
                    gid=f"{name}/{kind}",
                    zorder=1 + label,
                    **look,
                )
                surround(axis, part["png_bits_per_pixel"], part[name], kind)
        rho = [spearman(t["png_bits_per_pixel"], t[name]) for t in (table, table[table["label"] == 0])]
        style.letter(axis, f"{name}, ρ {rho[0]:.2f} ({rho[1]:.2f})")
        axis.set_xlabel("PNG, bits per pixel", labelpad=2)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_locator(MaxNLocator(5))
        axis.set_ylabel("NLL, bits/dim" if left < 1 else "", labelpad=2)
    figure.legend(
        *axis.get_legend_handles_labels(),
        loc="lower center",
        ncol=2,
        borderpad=0,
        borderaxespad=0,
        markerscale=1.8,
        bbox_to_anchor=(0.5, 1 - (0.83 + tall) / figure.get_figheight()),
    )
    return Picture(figure, table, caption)


def surround(axis, x: pd.Series, y: pd.Series, kind: str) -> None:
    """A line around the densest region of some points; none if they do not vary in both directions."""
    if len(x) < 10 or np.linalg.matrix_rank(np.cov(x, y)) < 2:
        return
    colour, dashes = {"normal": (style.INK, "solid"), "abnormal": (style.ABNORMAL, "dashed")}[kind]
    seaborn.kdeplot(
        x=x,
        y=y,
        levels=[1 - INSIDE],
        color=colour,
        linestyles=[style.DASHES[dashes]],
        linewidths=1.1,
        zorder=4,
        ax=axis,
    )


def spearman(x, y) -> float:
    """Rank correlation; NaN if one side is constant."""
    x, y = rankdata(x), rankdata(y)
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 1 and np.ptp(x) and np.ptp(y) else float("nan")


# -- training ------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """The line style of a network or score along the training."""

    name: str
    colour: str
    dashes: str


NETWORKS = {
    ("autoencoder", "one_path"): Line("R, one-path AE", style.ONE_PATH, "dotted"),
    ("autoencoder", "two_path"): Line("R, two-path AE", style.TWO_PATH, "dashed"),
    ("flow", "app_none"): Line(style.FLOWS["app_none"], style.APP_NONE, "dash-dot"),
    ("flow", "app_intensity"): Line(style.FLOWS["app_intensity"], style.APPEARANCE, "solid"),
    ("flow", "app_error"): Line(style.FLOWS["app_error"], style.APP_ERROR, "dash-dot-dot"),
    ("flow", "mot"): Line(style.FLOWS["mot"], style.MOTION, "short"),
}
SUMS = {
    "L": Line("L, both flows", style.GENERATIVE, "short"),
    "S": Line("S, with R at its end", style.TOTAL, "solid"),
}
# Windows that published reconstruction autoencoders see on Ped2, whose training clips have 2,310 windows of
# 16 frames: from MemAE with lyn1874's 40 epochs to MemAE's own 100; the baselines of LNTRA and STEAL lie
# between.
COMPARABLE = (92_000, 231_000)


def training(results: Results) -> Picture:
    """Training loss of every network, and the AUC of R, L, S or a likelihood alone over the windows seen."""
    rows = []
    for seed in results.seeds:
        for step, variant in NETWORKS:
            rows += network_rows(results, step, variant, seed)
        rows += sum_rows(results, seed)
    if not rows:
        return nothing("no network: not run", results)
    table = pd.DataFrame(rows).astype({"loss": float, "auc": float})
    caption = (
        "Above: mean loss over the steps since the point before, on training windows. Below: AUC on the test "
        "clips of R, of each NLL, of L and of S, by the paper's protocol, computed afterwards from kept "
        "weights, on windows end to end. Nothing was chosen by it; the last weights are used. Band: the "
        f"{COMPARABLE[0]:,} to {COMPARABLE[1]:,} windows that comparable autoencoders see on Ped2. "
        f"{results.source}"
    )
    layout = Layout(results)
    wide, grow = (layout.width - 1.1) / 2, layout.grow
    most = max(sum(step == own for own, _ in NETWORKS) for step in ("autoencoder", "flow")) + len(SUMS)
    figure = style.sheet(layout.width, 0.16 + 2.22 * grow + 0.5 + 0.135 * most, results.small_print(caption))
    for left, step, label in (
        (0.53, "autoencoder", "reconstruction loss"),
        (1.05 + wide, "flow", "NLL, nats/dim"),
    ):
        loss = style.panel(figure, left, 0.06, wide, 1.2 * grow)
        auc = style.panel(figure, left, 0.22 + 1.2 * grow, wide, 1.02 * grow)
        shown = [(f"{kind}/{variant}", line) for (kind, variant), line in NETWORKS.items() if kind == step]
        shown += SUMS.items() if step == "flow" else ()
        for name, line in shown:
            own = table[table["network"] == name]
            draw_history(loss, own.dropna(subset="loss"), "loss", line, name)
            draw_history(auc, own.dropna(subset="auc"), "auc", line, f"{name}/auc")
        among = table[table["network"].isin([name for name, _ in shown])]
        loss.set_ylabel(label, labelpad=2)
        auc.set_ylabel("AUC", labelpad=2)
        loss.tick_params(labelbottom=False)
        auc.set_xlabel("windows seen", labelpad=2)
        auc.axhline(0.5, color=style.FAINT, linewidth=0.5, zorder=0)
        auc.yaxis.set_major_locator(MaxNLocator(4))
        if among["auc"].isna().all():
            auc.text(
                0.5,
                0.5,
                "no weights kept" if results.data.labels is not None else "no labels",
                transform=auc.transAxes,
                ha="center",
                va="center",
                fontsize=7,
                color=style.FAINT,
            )
            auc.set(yticks=[])
        for axis in (loss, auc):
            scale_windows(axis, among["windows"], comparable=step == "autoencoder")
        if step == "autoencoder":
            loss.set_yscale("log")
            loss.yaxis.set_major_locator(MaxNLocator(4))
            loss.yaxis.set_minor_locator(NullLocator())
            loss.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        handles = {
            line.get_label(): line
            for line in (*loss.get_lines(), *auc.get_lines())
            if line.get_label()[0] != "_"
        }
        auc.legend(
            handles.values(),
            handles.keys(),
            loc="upper left",
            bbox_to_anchor=(-0.27 / wide, -0.36 / grow),
            borderaxespad=0,
            borderpad=0,
            handlelength=2.6,
            labelspacing=0.25,
        )
    return Picture(figure, table, caption)


def scale_windows(axis, windows: pd.Series, *, comparable: bool) -> None:
    """The axis of windows seen; logarithmic for autoencoders, with the range of comparable code as a band."""
    least, most = max(1, windows.min() if len(windows) else 1), max(2, windows.max() if len(windows) else 2)
    if comparable:
        axis.axvspan(*COMPARABLE, facecolor="#EDEDED", edgecolor="none", zorder=0)
        axis.set(xscale="log", xlim=(0.8 * least, 1.2 * max(most, COMPARABLE[1])))
        axis.xaxis.set_major_locator(LogLocator(10, numticks=6))
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(0, 1.04 * most)
        axis.xaxis.set_major_locator(MaxNLocator(3))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1000 else f"{value / 1000:g}k")


def network_rows(results: Results, step: str, variant: str, seed: int) -> list[dict]:
    """One row per line of a network's history: step, windows seen, loss, and the AUC if weights were kept."""
    folder = results.folder(step, variant, seed)
    if folder is None:
        return []
    history, aucs = pd.read_csv(folder / "history.csv"), auc_over_training(results, step, variant, seed)
    batch = results.record(step, variant, seed)["parameters"][f"{step}.batch_size"]
    return [
        {
            "network": f"{step}/{variant}",
            "seed": seed,
            "step": int(at),
            "windows": int(at) * batch,
            "loss": loss,
            "auc": aucs.get(int(at)),
        }
        for at, loss in zip(history["step"], history["loss"])
    ]


def sum_rows(results: Results, seed: int) -> list[dict]:
    """L of both flows of the full model (Eq. 8), and S with R of the trained autoencoder (Eq. 9), along the
    training of the flows."""
    along = {
        "app": terms_over_training(results, "flow", "app_intensity", seed),
        "mot": terms_over_training(results, "flow", "mot", seed),
    }
    errors = terms_over_training(results, "autoencoder", "two_path", seed)
    features = results.folder("features", "two_path", seed)
    if not all(along.values()) or not errors:
        return []
    record = results.record("score", FULL, seed)
    if record is None:
        return []
    parameters = record["parameters"]
    score, T, clips = recorded(parameters, "score"), parameters["model.T"], results.data.clips("test")
    stored = {
        name: results.folder("flow", variant, seed)
        for name, variant in (("app", "app_intensity"), ("mot", "mot"))
    }
    ranges = {name: features / f"test_{name}_range.npy" for name in stored}
    # Likelihoods of training windows and of single scales are not stored along the training.
    if score.lambda_scope == "train" or score.likelihood_scale != "all":
        return []
    if not all(path.exists() for path in ranges.values()):
        return []
    windows, kept = np.load(features / "test_windows.npy"), {}
    for name, folder in stored.items():
        file, unit = np.load(folder / "nll_over_training.npz"), 1.0
        if score.likelihood_unit == "per_dimension":
            unit = float(np.load(folder / "nll_test.npz")["dims"])
        kept[name] = (file["rows"], dict(zip(file["step"].tolist(), file["nll"] / unit)))
    batch = results.record("flow", "mot", seed)["parameters"]["flow.batch_size"]
    R, rows = errors[max(errors)], []
    for step in sorted(set(kept["app"][1]) & set(kept["mot"][1])):
        flows = {name: FlowWindows(nll[step], np.load(ranges[name])[at]) for name, (at, nll) in kept.items()}
        L = eq8(flows, windows[kept["mot"][0]], clips, score, T=T)["L"]
        for name, terms in (("L", L), ("S", [(1.0, R), (score.lambda_L, L)])):
            auc = frame_auc(terms, results.data.labels, clip_ids(clips), PROTOCOLS["paper"])
            rows.append(
                {
                    "network": name,
                    "seed": seed,
                    "step": step,
                    "windows": step * batch,
                    "loss": None,
                    "auc": auc,
                }
            )
    return rows


def auc_over_training(results: Results, step: str, variant: str, seed: int) -> dict[int, float]:
    """AUC of R, or of one NLL alone, by the steps at which weights were kept; empty without labels or such
    weights."""
    ids = clip_ids(results.data.clips("test"))
    terms = terms_over_training(results, step, variant, seed)
    return {at: frame_auc(term, results.data.labels, ids, PROTOCOLS["paper"]) for at, term in terms.items()}


def terms_over_training(results: Results, step: str, variant: str, seed: int) -> dict[int, np.ndarray]:
    """R, or one NLL, of each test frame, (N,), by the steps at which weights were kept; empty without labels
    or such weights."""
    labels = results.data.labels
    score = results.record("score", results.ranking, seed) if results.ranking else None
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
        rule = rule_of_likelihoods(results, seed)
        terms = [
            spread(nll, windows, clips, T=values["model.T"], likelihood_frames=rule) for nll in along["nll"]
        ]
    return {int(at): term for at, term in zip(along["step"], terms)}


def draw_history(axis, table: pd.DataFrame, column: str, line: Line, gid: str) -> None:
    """A column of one network over the windows it has seen, one line per seed."""
    how = dict(color=line.colour, linestyle=style.DASHES[line.dashes], gid=gid)
    if line.colour == style.TOTAL:
        how["linewidth"] = 1.6
    for i, (_, run) in enumerate(table.groupby("seed")):
        only = "." if len(run) == 1 else None  # a line of one point would be invisible
        axis.plot(run["windows"], run[column], label=line.name if i == 0 else None, marker=only, **how)
