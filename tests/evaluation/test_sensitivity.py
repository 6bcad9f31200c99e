"""What one changed choice does: against scores made directly."""

import matplotlib.style
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Text

from lib import paths
from lib.config import Figure, parameters, resolve
from lib.datasets.prepared import Clip
from lib.evaluation import protocols, sensitivity
from lib.evaluation.protocols import PROTOCOLS, frame_auc
from lib.figures import sensitivity_chart, style
from lib.scoring import likelihood_score, readings

PAPER, T = PROTOCOLS["paper"], 16


@pytest.fixture
def stored():
    generator = np.random.default_rng(0)
    clips = {
        split: tuple(Clip(str(i), split, 40 * i, 40) for i in range(n))
        for split, n in (("train", 3), ("test", 4))
    }
    windows = {
        split: np.array([(i, c.start + s) for i, c in enumerate(clips[split]) for s in (0, 12, 24)])
        for split in clips
    }
    count = {split: 40 * len(clips[split]) for split in clips}
    labels = np.tile(np.arange(40) >= 25, 4)
    errors = {
        split: {
            name: generator.random(n) + (i + 1) * 0.05 * (labels if split == "test" else 0)
            for i, name in enumerate(readings(1))
        }
        for split, n in count.items()
    }
    nll = {
        split: {
            name: terms_of(generator, len(windows[split]), 1) | {"dims": np.array(dims)}
            for name, dims in (("app", 40), ("mot", 160))
        }
        for split in clips
    }
    ranges = {
        split: {name: np.sort(generator.normal(size=(len(windows[split]), 2))) for name in ("app", "mot")}
        for split in clips
    }
    return sensitivity.Stored(errors, windows, nll, ranges, clips, labels, T)


CONFIG = resolve("quick", "synthetic")


def test_unchanged_it_is_the_score_of_the_paper(stored):
    """Eq. 8 and 9 by hand: windows 0, 12 and 24 of a clip of 40 frames cover 0-15, 12-27 and 24-39."""
    spread = {}
    for name, nll in stored.nll["test"].items():
        frames = np.full((3, 40), np.nan)
        spread[name] = []
        for clip in range(4):
            for row, start in enumerate((0, 12, 24)):
                frames[row, start : start + T] = nll["nll"][3 * clip + row]
            spread[name].append(np.nanmean(frames, axis=0))
    lambdas = [
        np.repeat([own[:, 1].max() - own[:, 0].min() for own in np.split(stored.ranges["test"][name], 4)], 40)
        for name in ("app", "mot")
    ]
    L = likelihood_score(
        np.concatenate(spread["app"]), np.concatenate(spread["mot"]), lambda_1=lambdas[0], lambda_2=lambdas[1]
    )
    R = stored.errors["test"]["absolute/each/pixel/largest_patch_mean/reduce_first"]
    assert stored.auc(CONFIG, PAPER) == pytest.approx(
        frame_auc([(1.0, R), (1.0, L)], stored.labels, stored.ids("test"), PAPER)
    )


def test_every_other_value_has_one_row(stored):
    rows = sensitivity.rescored(stored, CONFIG, PAPER)
    told = {(row["choice"], row["value"]) for row in rows}
    assert len(told) == len(rows)
    assert {
        ("score.log_of", "mean"),
        ("score.reduce", "mean"),
        ("score.likelihood_frames", "centre"),
        ("score.lambda_scope", "test"),
        ("score.lambda_scope", "train"),
        ("score.lambda_L", 5.0),
        ("protocol: normalise", "set"),
        ("protocol: normalise", "train"),
        ("score.error", "square"),
        ("score.order", "average_first"),
        ("score.reduce", "largest_pixel"),
        ("score.lambda_of", "likelihoods"),
        ("score.likelihood_unit", "per_dimension"),
        ("protocol: smoothing", 20.0),
        ("protocol: average", "macro"),
    } <= told
    assert not any(row["value"] == row["of"] for row in rows)
    # one colour, one level
    assert not {"score.colours", "score.likelihood_scale"} & {row["choice"] for row in rows}
    direct = stored.auc(sensitivity.changed(CONFIG, "score.reduce", "mean"), PAPER)
    assert (
        next(row["auc"] for row in rows if row["choice"] == "score.reduce")
        == direct
        != stored.auc(CONFIG, PAPER)
    )


def test_without_training_clips_nothing_is_asked_of_them(stored):
    only = sensitivity.Stored(
        *(
            {"test": part["test"]}
            for part in (stored.errors, stored.windows, stored.nll, stored.ranges, stored.clips)
        ),
        stored.labels,
        T,
    )
    rows = sensitivity.rescored(only, CONFIG, PAPER)
    assert rows and not any(row["value"] == "train" for row in rows)


def test_networks_are_trained_again_for_what_only_training_shows():
    again = sensitivity.retrainings(CONFIG, 5)
    assert ("flows", "features.standardise", "none") in again and (
        "flows",
        "flow.K",
        CONFIG.flow.K // 2,
    ) in again
    assert ("flows", sensitivity.ANOTHER_SEED, 6) in again and {kind for kind, _, _ in again} == {"flows"}
    everything = sensitivity.retrainings(
        resolve("quick", "synthetic", {"sensitivity.retrain": "autoencoder"}), 5
    )
    assert everything[: len(again)] == again and ("autoencoder", "model.output", "linear") in everything
    assert ("autoencoder", "autoencoder.steps", CONFIG.autoencoder.steps // 2) in everything
    assert sensitivity.retrainings(resolve("quick", "synthetic", {"sensitivity.retrain": "nothing"}), 5) == []
    for _, name, value in everything:
        if name != sensitivity.ANOTHER_SEED:
            assert (
                sensitivity.value_of(sensitivity.changed(CONFIG, name, value), name)
                == value
                != sensitivity.value_of(CONFIG, name)
            )


def terms_of(generator, n, scales, shift=0.0):
    log_p_z, log_det = generator.normal(size=(2, n, scales)) - shift
    return {"nll": -(log_p_z + log_det).sum(1), "log_p_z": log_p_z, "log_det": log_det}


def test_remedies_by_hand():
    generator = np.random.default_rng(1)
    terms = {
        split: {flow: terms_of(generator, n, 2, shift) for flow in ("app", "mot")}
        for split, n, shift in (("train", 50, 0.0), ("test", 7, 2.0))
    }
    bits = {"train": np.linspace(10, 20, 50), "test": np.linspace(5, 30, 7)}
    terms["train"]["app"]["nll"] = 3 * bits["train"] + 1  # all of it is complexity
    found = sensitivity.remedies(terms, bits)
    app = terms["test"]["app"]
    np.testing.assert_allclose(
        found["less complexity"]["test"]["app"], app["nll"] - (3 * bits["test"] + 1), atol=1e-9
    )
    np.testing.assert_allclose(found["less complexity"]["train"]["app"], 0, atol=1e-9)
    np.testing.assert_allclose(found["two-sided typicality"]["test"]["app"], abs(app["nll"] - 46))
    np.testing.assert_allclose(
        found["last scale alone"]["test"]["app"], -app["log_p_z"][:, 1] - app["log_det"][:, 1]
    )
    np.testing.assert_allclose(
        found["−log p(z) alone"]["test"]["mot"] + found["−log|det| alone"]["test"]["mot"],
        terms["test"]["mot"]["nll"],
    )
    one_scale = {"test": {flow: terms_of(generator, 7, 1) for flow in ("app", "mot")}}
    assert set(sensitivity.remedies(one_scale, bits)) == {"−log p(z) alone", "−log|det| alone"}


def test_other_values_take_the_place_of_likelihoods(stored):
    values = {
        split: {name: -3 * terms["nll"] for name, terms in flows.items()}
        for split, flows in stored.nll.items()
    }
    other = stored.with_likelihoods(values)
    np.testing.assert_allclose(other.scores(CONFIG).nll["nll_mot"], -3 * stored.scores(CONFIG).nll["nll_mot"])
    per_dimension = sensitivity.changed(CONFIG, "score.likelihood_unit", "per_dimension")
    np.testing.assert_allclose(
        other.scores(per_dimension).nll["nll_mot"], -3 * stored.scores(CONFIG).nll["nll_mot"] / 160
    )


def test_complexity_is_that_of_the_middle_frame():
    frames = np.zeros((40, 8, 8, 1), np.uint8)
    frames[8] = np.random.default_rng(0).integers(0, 256, (8, 8, 1))
    bits = sensitivity.complexity_of(frames, np.array([[0, 0], [0, 1], [0, 20]]), T)
    assert bits[0] > bits[1] + 400 and bits[1] == bits[2]


def test_a_change_has_the_interval_of_paired_resamples(stored, monkeypatch):
    base, other = (
        sensitivity.Base(stored.judged(CONFIG, PAPER), PAPER),
        sensitivity.changed(CONFIG, "score.lambda_L", 0.0),
    )
    assert np.isnan(stored.measured(other, PAPER, base)["low"]), "four clips are too few"
    monkeypatch.setattr(protocols, "MIN_CLIPS", 4)
    found = stored.measured(other, PAPER, base)
    assert found["auc"] == stored.auc(other, PAPER)
    assert (
        found["low"] <= found["auc"] - stored.auc(CONFIG, PAPER) <= found["high"]
        and found["low"] < found["high"]
    )
    same = stored.measured(CONFIG, PAPER, base)
    assert (same["low"], same["high"]) == (0, 0)


def test_the_chart_says_choices_in_words():
    assert sensitivity_chart.in_words("score.likelihood_frames", "centre") == (
        "a window's likelihood belongs to: its centre frame"
    )
    assert sensitivity_chart.in_words("score.lambda_L", 0.2) == "λ_L (Eq. 9): 0.2"
    assert sensitivity_chart.in_words("protocol: smoothing", 20.0) == "scores smoothed over 20 frames"
    assert sensitivity_chart.in_words("another seed", 1) == "another seed: 1"
    known = {name for name in sensitivity_chart.WORDS if not name.startswith("protocol: ")}
    assert known <= set(parameters()), "a parameter that is no more"
    for name in (*sensitivity.SCORING, *sensitivity.FLOW, *sensitivity.AUTOENCODER):
        assert name in sensitivity_chart.WORDS, f"{name} has no words"


def test_each_term_by_itself_over_all_clips_and_within_each(stored):
    found, clips = sensitivity.alone(stored, CONFIG, PAPER), sensitivity.by_clip(stored, CONFIG)
    assert found["with R"] == stored.auc(CONFIG, PAPER) and clips["clip"].tolist() == ["0", "1", "2", "3"]
    app, own = stored.scores(CONFIG).nll["nll_app"], slice(40, 80)
    assert found["app"] == pytest.approx(frame_auc(app, stored.labels, stored.ids("test"), PAPER))
    normal, abnormal = app[own][~stored.labels[own]], app[own][stored.labels[own]]
    brute = np.mean((abnormal[:, None] > normal) + 0.5 * (abnormal[:, None] == normal))
    assert clips["app"][1] == pytest.approx(brute)
    stored.labels[:40] = True  # a clip of one kind has none
    assert sensitivity.by_clip(stored, CONFIG)["clip"].tolist() == ["1", "2", "3"]


def test_the_chart_is_ordered_by_effect_and_shows_every_choice(stored, tmp_path):
    base = stored.auc(CONFIG, PAPER)
    found = sensitivity.table(sensitivity.rescored(stored, CONFIG, PAPER), base)
    assert found["change"].abs().is_monotonic_decreasing and np.allclose(found["auc"] - base, found["change"])
    figure = sensitivity_chart.chart(found, base, "A caption.")
    points = figure.axes[0].collections[-1]
    assert points.get_offsets()[:, 0].tolist() == pytest.approx(found["change"].tolist())
    assert style.save(figure, found, tmp_path, "chart") == ["chart.svg", "chart.png", "chart.csv"]


@pytest.mark.parametrize(("size", "width"), [("paper", style.PAGE), ("column", style.COLUMN)])
def test_the_chart_is_drawn_as_it_is_asked_for(size, width, stored, tmp_path):
    base = stored.auc(CONFIG, PAPER)
    found = sensitivity.table(sensitivity.rescored(stored, CONFIG, PAPER), base)
    found = found.assign(low=found["change"] - 0.01, high=found["change"] + 0.01)
    with matplotlib.style.context(paths.STYLE):
        captioned = sensitivity_chart.chart(found, base, "A caption.", Figure(size=size))
        bare = sensitivity_chart.chart(found, base, "A caption.", Figure(size=size, caption=False))
        assert bare.get_figwidth() == width and bare.get_figheight() < captioned.get_figheight()
        written = [[text.get_text() for text in figure.findobj(Text)] for figure in (captioned, bare)]
        assert "A caption." in written[0] and "A caption." not in written[1]
        for row in found.itertuples():
            assert sensitivity_chart.in_words(row.choice, row.value) in written[1]
        renderer = FigureCanvasAgg(bare).get_renderer()
        axis, page = bare.axes[0], bare.bbox.padded(1)
        ticks = [
            t.label1
            for t in axis.xaxis.get_major_ticks()
            if axis.get_xlim()[0] <= t.get_loc() <= axis.get_xlim()[1]
        ]
        for text in (*bare.texts, *axis.texts, *axis.get_yticklabels(), *bare.legends[0].get_texts(), *ticks):
            box = text.get_window_extent(renderer)
            assert page.x0 <= box.x0 and box.x1 <= page.x1, text.get_text()
    how = {"size": size, "formats": ("png", "pdf"), "palette": "grey"}
    assert style.save(bare, found, tmp_path, "chart", **how) == ["chart.png", "chart.pdf", "chart.csv"]
    assert np.ptp(imread(tmp_path / "chart.png")[..., :3], axis=-1).max() < 0.02
