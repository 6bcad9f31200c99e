"""Figures: the rules for what is shown, csv against drawing, missing runs, and every figure on tiny made-up runs."""

import json
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
from lib.config import resolve
from lib.datasets.prepared import Clip
from lib.evidence import figure_data
from lib.figures import framework, further_figures, paper_figures, style
from lib.pipeline import records
from lib.pipeline.steps import FIGURES, MODELS, Job, from_name, upstream

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
            write_record(made)
            made = job("features", network)
            np.save(
                made.folder / "test_error_maps.npy", rng.random((len(data.images), H, W)).astype(np.float16)
            )
            np.save(made.folder / "test_windows.npy", windows)
            along = rng.random((2, len(data.images)))
            if data.labels is not None:
                along[1] = data.labels  # the last weights tell all frames apart
            np.savez(made.folder / "test_errors_over_training.npz", step=[40, 80], **{
                f"absolute/each/{log_of}/mean/reduce_first": along if log_of == "pixel" else 1 - along for log_of in ("pixel", "mean")})
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
            write_record(made)
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
    monkeypatch.setattr(style, "DPI", {"paper": 40, "screen": 40})
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
    # In order of AUC: 004 .4, 001 .5, 003 .7, 005 .8, 002 .9; the middles of the halves are the 2nd and the 4th.
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
    assert figure_data.among(results, clip).startswith("all")


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
    rows = pd.DataFrame(further_figures.term_rows(results, "mot"))
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
    for name, gids, x in (("fig5", ("R", "L", "S"), "frame"), ("roc", tuple(MODELS), "false_positive_rate")):
        figure, table, _ = draw(name, results)
        for gid in gids:
            np.testing.assert_array_equal(artist(figure, gid).get_xdata(), table[x])
            np.testing.assert_array_equal(artist(figure, gid).get_ydata(), table[gid])


def test_bars_show_the_numbers_of_the_table(results):
    figure, table, _ = draw("fig4", results)
    panels = [axis for axis in figure.axes if axis.patches]
    for axis, name in zip(panels, dict.fromkeys(table["panel"]), strict=True):
        part = table[table["panel"] == name]
        for bars, column in zip(axis.patches, ("normal", "abnormal"), strict=True):
            np.testing.assert_array_equal(bars.get_data().values, part[column])
            np.testing.assert_array_equal(bars.get_data().edges[:-1], part["from"])


@pytest.mark.parametrize("name, by", [("protocols", "protocol"), ("kinds", "kind")])
def test_marks_show_the_numbers_of_the_table(results, name, by):
    figure, table, _ = draw(name, results)
    for _, row in table.iterrows():
        assert artist(figure, f"{row[by]}/{row['model']}").get_xdata()[0] == row["auc"]


def test_curves_and_points_show_the_numbers_of_the_table(results):
    figure, table, _ = draw("training", results)
    for network, part in table.groupby("network"):
        np.testing.assert_array_equal(artist(figure, network).get_ydata(), part["loss"])
        np.testing.assert_array_equal(artist(figure, f"{network}/auc").get_ydata(), part["auc"].dropna())
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
        ("fig5", "score/app_intensity_mot", "generative: not run"),
        ("roc", "score/mot", "not run"),
        ("likelihood_terms", "flow/mot", "not run"),
        ("training", "flow/app_none", "$F_{app}$ (none): not run"),
        ("protocols", "score/one_path", "one-path AE: not run"),
        ("complexity", "flow/mot", paper_figures.NOT_SCORED),
    ],
)
def test_a_deleted_run_shows_as_not_run(results, name, gone, expected):
    complete, lacking = draw(name, results), draw(name, without(results, f"synthetic/{gone}/seed0"))
    assert expected not in words(complete.figure)
    assert expected in words(lacking.figure)
    inside(lacking.figure)


def test_a_figure_of_which_nothing_was_run_says_so(results):
    bare = replace(
        results, runs={job: folder for job, folder in results.runs.items() if job.step == "features"}
    )
    for name in DRAWN:
        text = " ".join(words(draw(name, bare).figure))
        assert "not run" in text or "no scores" in text, name


def test_only_seeds_made_alike_are_averaged_and_what_differs_is_said(reports):
    data = made_up()
    inputs = write_runs(data, seeds=(0, 1, 2), settings={2: {"score.lambda_L": 5.0}})
    results = results_of(data, inputs)
    assert [result.job.seed for result in results.alike("mot")] == [0, 1]
    assert "Not all runs were made alike: score.lambda_L is 1.0" in results.source
    picture = draw("protocols", results)
    assert set(picture.table["seed"]) == {0, 1}
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
    """Runs on a set like the generated one (grey, masks, kinds), one in colour without either, one without labels."""
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
    files = style.save(picture.figure, picture.table, reports, f"{name}-{dataset}", size="paper")
    assert files == [f"{name}-{dataset}.{kind}" for kind in ("svg", "png", "csv")]
    svg = ElementTree.parse(reports / files[0]).getroot()
    width = style.PAGE if name == "likelihood_terms" else style.COLUMN
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
        assert ratio == pytest.approx(style.SCALE["screen"], rel=1e-4)
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
    assert len({dashes for _, colour, dashes, _ in style.MODELS.values() if colour == style.APPEARANCE}) == 3
    assert len({(colour, dashes) for _, colour, dashes, _ in style.MODELS.values()}) == len(MODELS)
    assert len({mark for *_, mark in style.MODELS.values()}) == len(MODELS) and set(style.MODELS) == set(
        MODELS
    )


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
    from lib.itae import layer_table
    from lib.training.stage1 import build_autoencoder

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
        "import sys; from lib.evidence import figure_data; from lib.figures import framework, further_figures, paper_figures, style; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT).returncode == 0
