"""Figures: the rules for what is shown, csv against drawing, missing runs, and every figure on tiny made-up
runs."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace

import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lib import paths
from lib.config import Figure, resolve
from lib.datasets.prepared import Clip
from lib.errors import ConfigError
from lib.evidence import figure_data
from lib.figures import framework, further_figures, paper_figures, style
from lib.pipeline import records
from lib.pipeline.steps import FIGURES, MODELS, Job, from_name, upstream

MODELS_IN_ORDER = tuple(style.MODELS)
DRAWN = [name for name in FIGURES if name != "fig2"]
T, LENGTH, H, W = 4, 24, 16, 24
KINDS = ("running", "bag", "cart", "bag", "running", "normal")


@dataclass
class Data:
    """As `datasets.Prepared`, in memory."""

    images: np.ndarray
    labels: np.ndarray | None
    masks: np.ndarray | None
    tracks: pd.DataFrame | None
    names: tuple[str, ...]
    subset: bool = False

    def clips(self, split):
        return tuple(Clip(name, split, i * LENGTH, LENGTH) for i, name in enumerate(self.names))

    def frames(self, split):
        return self.images


def made_up(channels=1, known=True):
    """Six clips, the first five abnormal in frames 8 to 15; with masks and kinds, or without both."""
    rng = np.random.default_rng(0)
    names = tuple(f"Test{i + 1:03d}" for i in range(6))
    N = len(names) * LENGTH
    labels = np.tile((np.arange(LENGTH) >= 8) & (np.arange(LENGTH) < 16), len(names))
    labels[5 * LENGTH :] = False
    masks = np.zeros((N, H, W), bool)
    masks[labels, 4:9, 6:12] = True
    rows = [
        (name, frame, 0, kind)
        for name, kind in zip(names, KINDS)
        if kind != "normal"
        for frame in range(8, 16)
    ]
    tracks = pd.DataFrame(rows, columns=["clip", "frame", "track", "kind"])
    images = rng.integers(0, 256, (N, H, W, channels), np.uint8)
    return Data(images, labels, masks if known else None, tracks if known else None, names)


def write_record(job, *, metrics=None, parameters=None, files=()):
    record = {
        "format": records.FORMAT,
        "job": job.name,
        "profile": job.profile,
        "dataset": job.dataset,
        "step": job.step,
        "variant": job.variant,
        "seed": job.seed,
        "status": "complete",
        "inputs": {},
        "code": {},
        "git": {},
        "parameters": parameters or {},
        "metrics": metrics or {},
        "outputs": [{"file": f, "bytes": 0, "sha256": paths.sha256_of(job.folder / f)} for f in files],
    }
    (job.folder / "run.json").write_text(json.dumps(record))


def write_runs(data, dataset="synthetic", seeds=(0,), levels=2, settings=None):
    """A complete set of runs of all models below KIT_REPORTS; returns the inputs that a figure would get."""
    clips, inputs = data.clips("test"), {}
    windows = np.array(
        [(i, clip.start + first) for i, clip in enumerate(clips) for first in range(0, LENGTH - T + 1, 2)]
    )
    for seed in seeds:
        rng = np.random.default_rng(seed + 1)

        def job(step, variant):
            made = Job("quick", dataset, step, variant, seed)
            made.folder.mkdir(parents=True)
            inputs[made.name] = made.folder
            return made

        for network in ("one_path", "two_path"):
            made = job("autoencoder", network)
            history = pd.DataFrame({"step": [40, 80], "loss": rng.random(2) + 0.1})
            history.to_csv(made.folder / "history.csv", index=False)
            write_record(made, parameters={"autoencoder.batch_size": 2})
            made = job("features", network)
            np.save(
                made.folder / "test_error_maps.npy", rng.random((len(data.images), H, W)).astype(np.float16)
            )
            np.save(made.folder / "test_windows.npy", windows)
            for part in ("app", "mot") if network == "two_path" else ():
                np.save(made.folder / f"test_{part}_range.npy", np.tile([0.0, 1.0], (len(windows), 1)))
            along = rng.random((2, len(data.images)))
            if data.labels is not None:
                along[1] = data.labels  # the last weights tell all frames apart
            np.savez(
                made.folder / "test_errors_over_training.npz",
                step=[40, 80],
                **{
                    f"absolute/each/{log_of}/mean/reduce_first": along if log_of == "pixel" else 1 - along
                    for log_of in ("pixel", "mean")
                },
            )
            write_record(made, parameters={"model.T": T})
        for flow in style.FLOWS:
            made = job("flow", flow)
            pd.DataFrame({"step": [10, 20], "loss": rng.random(2)}).to_csv(
                made.folder / "history.csv", index=False
            )
            for split in ("train", "test"):
                p, d = rng.normal(size=(2, len(windows), levels))
                np.savez(
                    made.folder / f"nll_{split}.npz",
                    nll=-(p + d).sum(1),
                    log_p_z=p,
                    log_det=d,
                    dims=np.array(64),
                )
            rows = np.arange(len(windows))
            np.savez(
                made.folder / "nll_over_training.npz",
                step=[20],
                rows=rows,
                nll=[windows[:, 1] % LENGTH < LENGTH // 2],
            )
            write_record(made, parameters={"flow.batch_size": 4})
        for model, (_, flows) in MODELS.items():
            made, N = job("score", model), len(data.images)
            table = pd.DataFrame(
                {
                    "clip": np.repeat(data.names, LENGTH),
                    "R": rng.random(N),
                    "frame": np.tile(np.arange(LENGTH), len(clips)),
                }
            )
            if data.labels is not None:
                table["label"] = data.labels.astype(int)
            for flow in flows:
                table["nll_mot" if flow == "mot" else "nll_app"] = rng.random(N)
            if flows:
                table["L"] = rng.random(N)
            table["S"] = rng.random(N)
            table.to_csv(made.folder / "scores.csv", index=False)
            labelled = data.labels is not None
            by_clip = dict(zip(data.names, (0.5, 0.9, 0.7, 0.4, 0.8, None))) if labelled else {}
            protocols = (
                {name: {"auc": float(rng.random())} for name in ("paper", "macro")} if labelled else {}
            )
            parameters = {
                "score.likelihood_frames": "all",
                "score.lambda_L": 1.0,
                "score.log_of": "pixel",
                "score.reduce": "mean",
                "model.T": T,
            } | (settings or {}).get(seed, {})
            write_record(
                made,
                files=["scores.csv"],
                parameters=parameters,
                metrics={
                    "auc": protocols["paper"]["auc"] if labelled else None,
                    "interval": None,
                    "protocols": protocols,
                    "by_clip": by_clip,
                    "subset": False,
                },
            )
    return inputs


@pytest.fixture(autouse=True)
def reports(tmp_path, monkeypatch):
    """Reports below a temporary folder, and pictures of few pixels."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path))
    monkeypatch.setattr(style, "DPI", dict.fromkeys(style.SIZES, 40))
    with matplotlib.style.context(paths.STYLE):
        yield tmp_path


def results_of(data, inputs):
    (found,) = figure_data.read("quick", inputs, lambda job: data)
    return found


@pytest.fixture
def fresh(reports):
    """A set like the generated one, with one seed of everything, to be written to."""
    data = made_up()
    return results_of(data, write_runs(data))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The same, for all tests that only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_REPORTS", str(tmp_path_factory.mktemp("results")))
        data = made_up()
        return results_of(data, write_runs(data))


def draw(name, results):
    return getattr(paper_figures if hasattr(paper_figures, name) else further_figures, name)(results)


def words(figure):
    """All that is written in a figure."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible()]


def without(results, *names):
    """The same results after some runs were deleted."""
    return replace(
        results, runs={job: folder for job, folder in results.runs.items() if job.name not in names}
    )


def artist(figure, gid):
    return figure.findobj(lambda a: a.get_gid() == gid)[0]


# The rules


def test_quantiles_are_the_middles_of_equal_parts_and_the_lower_of_two():
    assert figure_data.at_quantiles("abc", 1) == ["b"] and figure_data.at_quantiles("abcd", 1) == ["b"]
    assert figure_data.at_quantiles("abcdefgh", 2) == ["b", "f"] and figure_data.at_quantiles("a", 2) == [
        "a",
        "a",
    ]
    assert figure_data.at_quantiles(range(9), 3) == [1, 4, 7]


def test_the_clip_has_the_median_auc_of_those_with_the_kind(results):
    # AUCs: Test001 .5 running, 002 .9 bag, 003 .7 cart, 004 .4 bag, 005 .8 running; 006 has one class.
    assert [c.name for c in figure_data.choose_clips(results, ())] == ["Test003"]
    assert [c.name for c in figure_data.choose_clips(results, ("running",), ("bag",))] == [
        "Test001",
        "Test004",
    ]
    assert [c.name for c in figure_data.choose_clips(results, ("running", "cart"))] == ["Test003"]
    assert "among those with running and those with bag" in figure_data.rule_for_clips(
        results, ("running",), ("bag",)
    )


def test_without_known_kinds_two_clips_lie_at_the_quartiles(reports):
    data = made_up(known=False)
    results = results_of(data, write_runs(data, dataset="ped2"))
    # In order of AUC: 004 .4, 001 .5, 003 .7, 005 .8, 002 .9; the middles of the halves are the 2nd and the
    # 4th.
    assert [c.name for c in figure_data.choose_clips(results, ("running",), ("bag",))] == [
        "Test001",
        "Test005",
    ]
    assert "quartiles" in figure_data.rule_for_clips(results, ("running",), ("bag",))


def test_where_nothing_is_labelled_the_clip_has_the_median_length(reports):
    data = replace(made_up(known=False), labels=None)
    results = results_of(data, write_runs(data, dataset="own"))
    (clip,) = figure_data.choose_clips(results, ())
    assert clip.name == "Test003" and "median length" in figure_data.rule_for_clips(results, ())
    assert figure_data.spread_frames(results, clip, 3) == [3, 11, 19]
    assert "among all (none is labelled" in figure_data.rule_for_frames(results, clip)


def test_the_frame_is_the_abnormal_one_of_median_score(fresh):
    clip = fresh.data.clips("test")[1]
    path = fresh.folder("score", "app_intensity_mot") / "scores.csv"
    table = pd.read_csv(path)
    S = np.zeros(LENGTH)
    S[8:16] = 5, 1, 8, 2, 7, 3, 6, 4  # the lower median of 1 to 8 is 4, at frame 15
    S[0:8] = 4.1  # normal frames do not count
    table.loc[LENGTH : 2 * LENGTH - 1, "S"] = S
    table.to_csv(path, index=False)
    write_record(Job("quick", "synthetic", "score", "app_intensity_mot", 0), files=["scores.csv"])
    assert figure_data.choose_frame(figure_data.Results("synthetic", fresh.data, fresh.runs), clip) == 15


def test_frames_spread_evenly_over_the_abnormal_ones(results):
    assert figure_data.spread_frames(results, results.data.clips("test")[0], 4) == [8, 10, 12, 14]


def test_without_the_full_model_the_next_one_ranks(results):
    left = without(results, "synthetic/score/app_intensity_mot/seed0")
    assert left.ranking == "two_path" and "by two paths," in figure_data.rule_for_clips(left, ())


def test_nothing_run_is_one_clear_sentence():
    with pytest.raises(
        records.RecordError, match="none yet with profile small.*run_all.sh scores --profile small"
    ):
        figure_data.read("small", {}, None)


# The numbers


def test_a_pixel_is_marked_above_the_mean_of_its_frame():
    np.testing.assert_array_equal(
        paper_figures.above_mean(np.array([[0, 0.25], [0.25, 0.5]], np.float32)),
        [[False, False], [False, True]],
    )


def test_histogram_of_likelihoods_by_hand(fresh):
    clip = fresh.data.clips("test")[0]
    path = fresh.folder("score", "app_intensity_mot") / "scores.csv"
    table = pd.read_csv(path)
    table.loc[: LENGTH - 1, "nll_app"] = np.where(
        np.arange(LENGTH) % 24 < 8, 2.0, 6.0
    )  # frames 0 to 7 are likeliest
    table.to_csv(path, index=False)
    write_record(Job("quick", "synthetic", "score", "app_intensity_mot", 0), files=["scores.csv"])
    rows = pd.DataFrame(
        paper_figures.likelihood_rows(figure_data.Results("synthetic", fresh.data, fresh.runs), clip, "a")
    )
    app = rows[rows["panel"] == "a appearance"]
    # Normal: 8 frames with NLL 2, 8 with 6. Abnormal: 8 with 6. Likelihood 1 is the last bin, 0 the first.
    assert app["normal"].iloc[[0, -1]].tolist() == [0.5, 0.5]
    assert app["abnormal"].iloc[0] == 1 and app["abnormal"].sum() == 1
    assert app["auc"].iloc[0] == pytest.approx(0.75)  # half of the normal frames are below, half tie


def test_auc_of_a_kind_takes_the_normal_frames_of_its_own_clips(results):
    abnormal, usable = further_figures.frames_of_kind(results, "bag")
    in_clips = np.zeros(6 * LENGTH, bool)
    in_clips[LENGTH : 2 * LENGTH] = in_clips[3 * LENGTH : 4 * LENGTH] = True
    np.testing.assert_array_equal(usable, in_clips)
    np.testing.assert_array_equal(abnormal, in_clips & results.data.labels)


def test_terms_of_the_likelihood_add_up_and_become_frames_as_scores_do(results):
    windows = results.array("features", "two_path", "test_windows.npy")
    assert further_figures.to_frames(results, np.ones(len(windows))) == pytest.approx(1)
    values = np.arange(len(windows), dtype=float)
    frames = further_figures.to_frames(results, values)
    assert (
        frames[0] == values[0] and frames[2] == (values[0] + values[1]) / 2
    )  # windows of 4 frames: 0-3, 2-5, ...
    rows = further_figures.term_rows(further_figures.term_values(results, "mot"), "mot", results.data.labels)
    rows = pd.DataFrame(rows)
    assert list(dict.fromkeys(rows["term"]))[-1] == "NLL" and len(rows) == 2 * (2 * 2 + 1)


def test_complexity_grows_with_noise():
    flat, noise = (
        np.zeros((32, 32, 1), np.uint8),
        np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8),
    )
    assert further_figures.bits_per_pixel(flat) < 1.5 < 8 < further_figures.bits_per_pixel(noise)


def test_spearman_by_hand():
    assert further_figures.spearman([1, 2, 3, 4], [1, 4, 9, 100]) == pytest.approx(1)
    assert further_figures.spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert np.isnan(further_figures.spearman([1, 1], [1, 2]))


# What is drawn is what the table says, which is the csv (see below)


def test_lines_show_the_numbers_of_the_table(results):
    figure, table, _ = draw("fig5", results)
    for name in ("R", "L", "S"):
        np.testing.assert_array_equal(artist(figure, name).get_xdata(), table["frame"])
        np.testing.assert_array_equal(artist(figure, name).get_ydata(), table[name])
    figure, table, _ = draw("roc", results)
    for title, models in paper_figures.CURVES.items():
        for model in models:
            drawn = artist(figure, f"{title}/{model}")
            np.testing.assert_array_equal(drawn.get_xdata(), table["false_positive_rate"])
            np.testing.assert_array_equal(drawn.get_ydata(), table[model])
    assert {model for models in paper_figures.CURVES.values() for model in models} == set(MODELS)


def test_bars_show_the_numbers_of_the_table(results):
    figure, table, _ = draw("fig4", results)
    panels = [axis for axis in figure.axes if axis.collections]
    for axis, name in zip(panels, dict.fromkeys(table["panel"]), strict=True):
        part = table[table["panel"] == name]
        for bars, column in zip(axis.collections, ("normal", "abnormal"), strict=True):
            corners = bars.get_paths()[0].vertices
            for left, share in zip(part["from"], part[column]):
                inside = corners[(corners[:, 0] > left - 1e-9) & (corners[:, 0] < left + 0.05 + 1e-9), 1]
                assert np.isclose(inside, share).any(), (name, column, left)


def test_boxes_show_the_numbers_of_the_table(results):
    figure, table, _ = draw("likelihood_terms", results)
    panel = figure.axes[0]
    part = table[table["flow"] == "app_none"]
    for container, kind in zip(panel.containers, ("normal", "abnormal"), strict=True):
        rows = part[part["frames"] == kind]
        for box, median, (_, row) in zip(container.boxes, container.medians, rows.iterrows(), strict=True):
            x = box.get_path().vertices[:, 0]
            np.testing.assert_allclose((x.min(), x.max()), (row["q0.25"], row["q0.75"]))
            np.testing.assert_allclose(median.get_xdata(), row["q0.5"])


@pytest.mark.parametrize("name, by", [("protocols", "protocol"), ("clips", "clip")])
def test_heat_maps_show_the_numbers_of_the_table(results, name, by):
    figure, table, _ = draw(name, results)
    (axis,) = figure.axes
    cells = axis.collections[0].get_array()
    for i, row in enumerate(dict.fromkeys(table[by])):
        for j, model in enumerate(MODELS_IN_ORDER):
            auc = table.loc[(table[by] == row) & (table["model"] == model), "auc"].item()
            assert cells[i, j] == auc and f"{auc:.3f}" in words(figure)


def test_strips_show_a_mark_for_each_row_of_the_table(results):
    figure, table, _ = draw("kinds", results)
    for _, row in table.iterrows():
        marks = artist(figure, f"{row['kind']}/{row['model']}").get_offsets()
        assert row["auc"] in marks[:, 0]


def test_curves_and_points_show_the_numbers_of_the_table(results):
    figure, table, _ = draw("training", results)
    for network, part in table.groupby("network"):
        if network not in further_figures.SUMS:
            np.testing.assert_array_equal(artist(figure, network).get_ydata(), part["loss"])
            np.testing.assert_array_equal(artist(figure, network).get_xdata(), part["windows"])
        np.testing.assert_array_equal(artist(figure, f"{network}/auc").get_ydata(), part["auc"].dropna())
        np.testing.assert_array_equal(
            artist(figure, f"{network}/auc").get_xdata(), part.dropna(subset="auc")["windows"]
        )
    errors = table[table["network"] == "autoencoder/two_path"].set_index("step")["auc"]
    assert errors[80] == 1 and 0 < errors[40] < 1
    likelihoods = table[table["network"] == "flow/mot"].set_index("step")["auc"]
    assert np.isnan(likelihoods[10]) and 0 <= likelihoods[20] <= 1
    figure, table, _ = draw("complexity", results)
    drawn = artist(figure, "motion/abnormal").get_offsets()
    np.testing.assert_array_equal(drawn, table.loc[table["label"] == 1, ["png_bits_per_pixel", "motion"]])


def test_abnormal_ranges_are_shaded_from_their_first_to_their_last_frame():
    np.testing.assert_array_equal(style.ranges(np.array([1, 1, 0, 0, 1, 0, 1])), [[0, 2], [4, 5], [6, 7]])
    figure = style.sheet(2, 2, "")
    axis = style.panel(figure, 0, 0, 2, 2)
    style.shade(axis, np.array([False, True, True, False]))
    assert axis.patches[0].get_x() == 0.5 and axis.patches[0].get_width() == 2


# Missing runs


@pytest.mark.parametrize(
    "name, gone, expected",
    [
        ("fig1", "features/one_path", "not run"),
        ("fig1", "score/app_intensity_mot", "not run"),
        ("fig3", "features/two_path", "not run"),
        ("fig4", "score/app_intensity_mot", "not run"),
        ("fig5", "score/app_intensity_mot", "L: not run"),
        ("roc", "score/mot", "not run"),
        ("roc", "score/app_error", "not run"),
    ],
)
def test_a_deleted_run_shows_as_not_run(results, name, gone, expected):
    complete, lacking = draw(name, results), draw(name, without(results, f"synthetic/{gone}/seed0"))
    assert expected not in words(complete.figure)
    assert expected in words(lacking.figure)
    inside(lacking.figure)


def test_what_was_not_run_is_left_out_of_figures_of_all(results):
    for name, gone, legend in (
        ("training", "flow/app_none", "$F_{app}$ (none)"),
        ("protocols", "score/one_path", "one-path AE"),
        ("kinds", "score/one_path", "one-path AE"),
    ):
        complete, lacking = draw(name, results), draw(name, without(results, f"synthetic/{gone}/seed0"))
        assert legend in words(complete.figure) and legend not in words(lacking.figure)
    lacking = draw("likelihood_terms", without(results, "synthetic/flow/mot/seed0"))
    assert "Not run: $F_{mot}$" in lacking.caption and len(lacking.figure.axes) == 3


def test_a_figure_of_which_nothing_was_run_is_not_drawn_and_says_so(results):
    bare = replace(
        results, runs={job: folder for job, folder in results.runs.items() if job.step == "features"}
    )
    for name in DRAWN:
        picture = draw(name, bare)
        assert picture.figure is None and picture.caption.startswith("Not drawn: no "), name
    assert draw("complexity", without(results, "synthetic/flow/mot/seed0")).figure is None


def test_only_seeds_made_alike_are_averaged_and_what_differs_is_said(reports):
    data = made_up()
    inputs = write_runs(data, seeds=(0, 1, 2), settings={2: {"score.lambda_L": 5.0}})
    results = results_of(data, inputs)
    assert [result.job.seed for result in results.alike("mot")] == [0, 1]
    assert "Not all runs have the same conditions: score.lambda_L is 1.0" in results.source
    picture = draw("protocols", results)
    assert set(picture.table["seed"]) == {0, 1} and "Means over seeds" in picture.caption
    aucs = [result.record["metrics"]["auc"] for result in results.alike("mot")]
    assert f"{np.mean(aucs):.3f} ± {np.std(aucs, ddof=1):.3f}" in words(draw("roc", results).figure)


# Every figure, on a generated and on a real kind of data set

CASES = (
    [(name, "synthetic") for name in DRAWN]
    + [(name, "ped2") for name in DRAWN]
    + [(name, "own") for name in ("fig1", "fig5", "roc")]
)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Runs on a set like the generated one (grey, masks, kinds), one in colour without either, one without
    labels."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_REPORTS", str(tmp_path_factory.mktemp("sets")))
        for dataset, data, levels in (
            ("synthetic", made_up(), 1),
            ("ped2", made_up(channels=3, known=False), 3),
            ("own", replace(made_up(channels=3, known=False), labels=None), 1),
        ):
            data.names = tuple(f"01_00{i:02d}" for i in range(6)) if dataset == "ped2" else data.names
            found[dataset] = results_of(data, write_runs(data, dataset=dataset, levels=levels, seeds=(0, 1)))
    return found


@pytest.mark.parametrize("name, dataset", CASES)
def test_every_figure_is_written_and_nothing_is_cut_off(sets, reports, name, dataset):
    picture = draw(name, sets[dataset])
    if name == "kinds" and dataset != "synthetic" or name == "roc" and dataset == "own":
        assert picture.figure is None and "Not drawn" in picture.caption
        return
    files = style.save(picture.figure, picture.table, reports, f"{name}-{dataset}")
    assert files == [f"{name}-{dataset}.{kind}" for kind in ("svg", "png", "csv")]
    svg = ElementTree.parse(reports / files[0]).getroot()
    width = style.PAGE if name in ("likelihood_terms", "protocols", "clips") else style.COLUMN
    assert float(svg.get("width").removesuffix("pt")) / 72 == pytest.approx(width)
    assert (reports / files[1]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    csv = pd.read_csv(reports / files[2])
    pd.testing.assert_frame_equal(
        csv, picture.table.reset_index(drop=True), check_dtype=False, check_exact=True
    )
    assert "profile quick" in picture.caption
    inside(picture.figure)


def inside(figure):
    """All of a figure lies within its edges, and no word is tiny."""
    (left, bottom), (right, top) = figure.get_tightbbox(
        FigureCanvasAgg(figure).get_renderer()
    ).get_points()  # inches
    width, height = figure.get_size_inches()
    assert min(left, bottom) >= 0 and right <= width and top <= height, (
        left,
        bottom,
        right - width,
        top - height,
    )
    assert min(text.get_fontsize() for text in figure.findobj(matplotlib.text.Text)) >= style.SMALL


def test_at_screen_size_a_figure_is_the_same_but_larger(results, reports):
    picture = draw("fig4", results)
    for size in ("paper", "screen"):
        style.save(picture.figure, picture.table, reports / size, "fig4", size=size)
    paper, screen = (ElementTree.parse(reports / size / "fig4.svg").getroot() for size in ("paper", "screen"))
    for side in ("width", "height"):
        ratio = float(screen.get(side)[:-2]) / float(paper.get(side)[:-2])
        assert ratio == pytest.approx(style.SCREEN, rel=1e-4)
    assert paper.get("viewBox") == screen.get("viewBox")


def test_the_same_runs_give_the_same_drawing(results, reports):
    for folder in ("one", "two"):
        picture = draw("fig5", results)
        style.save(picture.figure, picture.table, reports / folder, "fig5", size="paper")
    assert (reports / "one" / "fig5.svg").read_bytes() == (reports / "two" / "fig5.svg").read_bytes()


# The look


def test_small_print_is_broken_where_it_would_leave_the_page():
    text = "Wide WWWWWWWW WWWWWWWW and 0123456789 0123456789 and narrow iiiiiiii " * 3
    for width in (1.0, 3.2, 6.9):
        lines = style.wrap(text, width)
        assert " ".join(lines) == text.strip()
        figure = style.sheet(width + 0.1, 1, text)
        right = figure.texts[0].get_window_extent(FigureCanvasAgg(figure).get_renderer()).x1 / figure.dpi
        assert 0.6 * width < right <= width + 0.1
    assert style.wrap("", 1) == []


def test_models_differ_in_more_than_colour():
    for what in (1, 3):
        assert len({look[what] for look in style.MODELS.values()}) == len(MODELS)
    assert len({dashes for _, _, dashes, _ in style.MODELS.values()}) >= 6
    assert set(style.MODELS) == set(MODELS)


def contrast(colour, other="#FFFFFF"):
    """Of two colours, as WCAG 2 defines it: 1 to 21."""

    def light(c):
        c = np.array(matplotlib.colors.to_rgb(c))
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ style.BRIGHTNESS

    low, high = sorted((light(colour), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_white_and_from_each_other_in_grey():
    colours = {colour for _, colour, _, _ in style.MODELS.values()} | {style.GENERATIVE, style.ABNORMAL}
    assert min(contrast(colour) for colour in colours) >= 3
    paths = [style.grey(colour)[0] for colour in (style.APPEARANCE, style.MOTION)]
    assert abs(paths[0] - paths[1]) > 0.3 and contrast(style.APPEARANCE, style.MOTION) > 2
    assert colours <= set(style.GREYS)


def test_marked_pixels_are_darker_than_the_same_pixels_unmarked():
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    grey = [style.over(frame, np.full((16, 16), s)) @ [0.2126, 0.7152, 0.0722] for s in (0.0, 1.0)]
    assert (grey[1] < grey[0] - 0.1).all()


# Figure 2


@pytest.mark.parametrize(
    "dataset, settings",
    [
        ("synthetic", {}),
        ("synthetic", {"model.tau": 8}),
        ("synthetic", {"model.tau": 2, "model.T": 8, "data.channels": 3}),
        ("avenue", {"data.height": 64, "data.width": 64}),
    ],
)
def test_figure_2_has_the_shapes_of_the_network(dataset, settings):
    from lib.training.stage1 import build_autoencoder
    from lib.training.table1 import layer_table

    config = resolve("quick", dataset, settings)
    model = build_autoencoder(config, two_path=True, seed=0)
    truth = {
        (row["path"], row["layer"]): row for row in layer_table(model, config.data.height, config.data.width)
    }
    drawn = framework.layers(config)
    assert len(drawn) == len(truth)
    for row in drawn:
        for what in ("kernel", "stride", "output"):
            assert row[what] == tuple(truth[row["path"], row["layer"]][what])


@pytest.mark.parametrize("time", ["stack", "mean"])
def test_figure_2_has_the_shapes_of_the_flows(time):
    import torch

    from lib.features import pool
    from lib.glow import Glow

    config = resolve("quick", "avenue", {"data.height": 64, "data.width": 64, "features.time": time})
    maps = {row["path"]: row["output"] for row in framework.layers(config) if row["layer"] == "Conv4"}
    rows = {(row["path"], row["layer"]): row["output"] for row in framework.flow_layers(config)}
    pooled = pool(torch.zeros(1, *maps["motion"]), time=time)[0]
    assert rows["F_mot", "pooled"] == tuple(pooled.shape)
    glow = Glow(channels=len(pooled), K=1, L=3, hidden=4, permutation="lu", recompute=False)
    latents = glow.latent_shapes(tuple(pooled.shape))
    # After a level but the last, half of its channels leave.
    assert [rows["F_mot", f"level {i}"] for i in (1, 2, 3)] == [
        (c * (1 if i == 2 else 2), h, w) for i, (c, h, w) in enumerate(latents)
    ]
    assert rows["F_app", "intensity"][0] == config.model.T // config.model.tau


@pytest.mark.parametrize("profile, dataset", [("paper", "ped2"), ("quick", "avenue")])
def test_figure_2_is_written_and_nothing_is_cut_off(reports, profile, dataset):
    picture = framework.fig2(resolve(profile, dataset), title="")
    style.save(picture.figure, picture.table, reports, "fig2", size="paper")
    assert len(pd.read_csv(reports / "fig2.csv")) == 16 + 3 + 2 * resolve(profile, dataset).flow.L
    inside(picture.figure)


# What a figure asks the pipeline for


def test_a_figure_asks_for_no_more_than_it_shows():
    scored = [Job("quick", "synthetic", "score", model, seed) for model in MODELS for seed in (1, 0)]
    scored += [Job("quick", "synthetic", "reference", "", 0), Job("quick", "ped2", "score", "two_path", 3)]

    def asked(figure):
        return {job.name for job in upstream(Job("quick", "all", "figure", figure), tuple(scored))}

    assert asked("fig2") == set()
    assert asked("fig4") == {"synthetic/prepare", "synthetic/score/app_intensity_mot/seed0"}
    assert asked("fig3") == {
        "synthetic/prepare",
        "synthetic/score/one_path/seed0",
        "synthetic/features/one_path/seed0",
        "synthetic/score/two_path/seed0",
        "synthetic/features/two_path/seed0",
        "ped2/prepare",
        "ped2/score/two_path/seed3",
        "ped2/features/two_path/seed3",
    }
    assert len([name for name in asked("roc") if "/score/" in name]) == 2 * len(MODELS) + 1
    assert {name for name in asked("training") if "ped2" in name} == {
        "ped2/prepare",
        "ped2/score/two_path/seed3",
        "ped2/autoencoder/two_path/seed3",
        "ped2/features/two_path/seed3",
    }
    assert not any("reference" in name for figure in FIGURES for name in asked(figure))
    assert from_name("quick", "ped2/score/two_path/seed3") in scored


def test_figures_do_without_torch():
    code = (
        "import sys; from lib.evidence import figure_data; from lib.figures import framework, "
        "further_figures, paper_figures, style; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT).returncode == 0


def test_a_chosen_model_is_asked_for_by_figures_of_one_model_alone():
    scored = tuple(Job("quick", "synthetic", "score", model, seed) for model in MODELS for seed in (1, 0))

    def asked(figure, model):
        return {job.name for job in upstream(Job("quick", "all", "figure", figure), scored, model)}

    for figure in ("fig1", "fig3", "fig4", "fig5"):
        assert asked(figure, "mot") - asked(figure, "") == {"synthetic/score/mot/seed0"} - asked(figure, "")
    assert asked("complexity", "mot") == asked("complexity", "") and asked("roc", "mot") == asked("roc", "")


# What is asked for


def ask(results, figure, **wanted):
    (found,) = figure_data.ask([results], figure, Figure(**wanted))
    return found


def test_a_chosen_clip_and_its_frames_are_shown_and_marked_as_chosen(results):
    picture = draw("fig5", ask(results, "fig5", clip="Test002", frames=(1, 9)))
    assert set(picture.table["clip"]) == {"Test002"}
    assert picture.table.loc[picture.table["shown"] == 1, "frame"].tolist() == [1, 9]
    assert "chosen by hand" in picture.caption and "frame of Test002, chosen" in words(picture.figure)
    picture = draw("fig3", ask(results, "fig3", clip="Test005,Test002", frames=(3, 4)))
    assert list(picture.table["clip"]) == ["Test005"] * 2 + ["Test002"] * 2
    assert list(picture.table["frame"]) == [3, 3, 4, 4]
    assert "Test002, frame 4, chosen" in words(picture.figure)
    for name in ("fig1", "fig4"):
        bare = draw(name, ask(results, name, clip="Test001", caption=False)).figure
        assert any("chosen" in text for text in words(bare))
        assert not any("profile quick" in text for text in words(bare))
    assert not any(", chosen" in text for name in DRAWN for text in words(draw(name, results).figure))


def test_a_chosen_model_ranks_and_is_shown(results):
    chosen = ask(results, "fig5", model="mot")
    scores = results.scores("mot")
    (clip,) = figure_data.choose_clips(chosen, ())
    R = scores["R"].to_numpy()[results.rows(clip)]
    table = draw("fig5", chosen).table
    np.testing.assert_allclose(table["R"], (R - R.min()) / (R.max() - R.min()))
    assert "L: no flow" in words(draw("fig5", ask(results, "fig5", model="one_path")).figure)
    panels = words(draw("fig4", ask(results, "fig4", model="mot")).figure)
    assert "no such flow\nin this model" in panels and "mot" in draw("fig4", chosen).caption


@pytest.mark.parametrize(
    "figure, wanted, sentence",
    [
        ("fig5", dict(clip="Test099"), "There is no test clip 'Test099'.*are Test001, Test002.*Test006"),
        ("fig5", dict(clip="Test001,Test002"), "fig5 shows one clip; figure.clip names 2"),
        ("fig5", dict(frames=(1, 2, 3, 4)), "fig5 shows three frames; figure.frames names 4"),
        ("fig3", dict(frames=(1,)), "fig3 shows two frames; figure.frames names 1"),
        (
            "fig1",
            dict(clip="Test001", frames=(24,)),
            "Test001 has the frames 0 to 23; figure.frames names 24",
        ),
        ("fig5", dict(model="both"), "no model 'both'"),
        (
            "fig5",
            dict(dataset="avenue"),
            "figure.dataset is avenue, of which nothing was run; there are synthetic",
        ),
    ],
)
def test_what_is_not_there_is_one_clear_sentence(results, figure, wanted, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ask(results, figure, **wanted)


def test_a_model_that_was_not_run_is_one_clear_sentence(results):
    with pytest.raises(ConfigError, match="there are .*two_path.*run_all.sh mot"):
        ask(without(results, "synthetic/score/mot/seed0"), "fig5", model="mot")


def test_figures_of_all_clips_do_not_read_the_chosen_one(results):
    assert draw("roc", ask(results, "roc", clip="Test099")).caption == draw("roc", results).caption
    assert figure_data.asked_name("roc", Figure(clip="Test099")) == ""


def test_what_was_asked_for_stands_in_the_name_of_the_file():
    assert figure_data.asked_name("fig5", Figure()) == ""
    wanted = Figure(clip="Test004", frames=(3,), size="page", palette="grey", caption=False, model="mot")
    assert figure_data.asked_name("fig5", wanted) == "-Test004-3-mot-page-grey-bare"
    assert figure_data.asked_name("fig5", Figure(formats="pdf")) == "-asked"


@pytest.mark.parametrize("size", ["column", "page", "slide"])
def test_every_size_fits_and_has_the_width_of_its_name(results, reports, size):
    for name in ("fig1", "fig3", "fig5", "roc", "training", "likelihood_terms", "protocols"):
        picture = draw(name, ask(results, name, size=size))
        width = picture.figure.get_figwidth()
        assert width == pytest.approx(style.COLUMN if size == "column" else style.PAGE), name
        inside(picture.figure)
    if size == "slide":
        shown = picture.figure.get_size_inches() * style.enlargement(picture.figure, size)
        assert shown == pytest.approx(np.minimum(shown, style.SLIDE)) and max(
            shown / style.SLIDE
        ) == pytest.approx(1)


def test_formats_are_written_as_asked_for(results, reports):
    picture = draw("fig4", results)
    files = style.save(picture.figure, picture.table, reports, "fig4", formats=("pdf",))
    assert files == ["fig4.pdf", "fig4.csv"] and (reports / "fig4.pdf").read_bytes()[:5] == b"%PDF-"
    assert not (reports / "fig4.png").exists()


def test_a_copy_in_grey_has_no_colour_left(results, reports):
    for name in ("fig1", "fig3", "fig4", "roc", "protocols", "complexity", "likelihood_terms"):
        picture = draw(name, results)
        style.save(picture.figure, picture.table, reports, name, formats=("png",), palette="grey")
        pixels = matplotlib.image.imread(reports / f"{name}.png")[..., :3]
        assert np.ptp(pixels, axis=-1).max() < 0.02, name


def test_small_print_names_what_is_drawn_in_either_palette(results):
    for name in ("fig3", "fig5"):
        in_colour = draw(name, results)
        in_grey = draw(name, ask(results, name, palette="grey"))
        assert "Red" in in_colour.caption and "Dark" in in_grey.caption
    for name in DRAWN:
        caption = draw(name, ask(results, name, palette="grey")).caption.lower()
        assert not re.search(r"\b(red|redder|blue|orange|green|yellow|brown|colou?r)\b", caption), name


def test_figure_2_is_not_drawn_as_narrow_as_a_column():
    with pytest.raises(ConfigError, match="figure.size=page"):
        framework.fig2(resolve("quick", "ped2", {"figure.size": "column"}), title="")


# Planted before: what a figure must not do


def test_scores_of_figure_5_are_normalised_within_its_clip(results):
    table = draw("fig5", results).table
    for name in ("R", "L", "S"):
        assert (table[name].min(), table[name].max()) == (0, 1), name


def test_red_begins_above_the_mean_and_grows_with_the_error():
    error = np.array([[0.0, 0.0, 0.0, 0.1], [0.1, 0.1, 0.25, 1.85]], np.float32)  # mean 0.3, median 0.1
    strength = paper_figures.redness(error)
    assert (strength[error <= 0.3] == 0).all() and strength[1, 3] > 0.8
    np.testing.assert_array_equal(strength > 0, paper_figures.above_mean(error))
    falling = paper_figures.redness(np.array([[8.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]]))[0]
    assert falling[0] > falling[1] > falling[2] > 0 == falling[3]
    assert paper_figures.redness(np.zeros((2, 2))).max() == 0


def test_windows_seen_and_what_comparable_code_sees(results):
    picture = draw("training", results)
    table = picture.table
    one = table[table["network"] == "autoencoder/one_path"]
    assert one["windows"].tolist() == [80, 160]  # 40 and 80 steps of 2 windows
    assert table.loc[table["network"] == "flow/mot", "windows"].tolist() == [40, 80]
    assert set(table["network"]) >= {"L", "S"} and table.loc[table["network"] == "S", "step"].tolist() == [20]
    low, high = further_figures.COMPARABLE
    assert f"{low:,} to {high:,}" in picture.caption and picture.figure.axes[0].get_xlim()[1] > high


def test_S_along_the_training_is_R_of_the_end_and_L_of_the_moment(results):
    table = draw("training", results).table.set_index("network")["auc"]
    # R of the last weights tells all frames apart; L is the same function of the place in each clip for both
    # flows.
    assert table["L"] == pytest.approx(table["flow/mot"].dropna().iloc[0])
    assert table["S"] > table["L"]


def test_notebook_7_draws_R_L_and_S_in_the_colours_of_every_figure():
    """It states them itself: a notebook that imports the figures would be run again when one of them
    changes."""
    source = (paths.NOTEBOOKS / "07_score.ipynb").read_text(encoding="utf-8")
    for colour in (style.TWO_PATH, style.GENERATIVE, style.TOTAL, style.SHADE, style.ABNORMAL):
        assert colour in source
    assert "lib.figures" not in source.replace("lib.figures.you_are_here import", "")
