"""Metrics against scikit-learn and brute force, known numbers of Ped2's labels, intervals, references and
regions."""

import csv
import math
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lib import scoring
from lib.errors import ScoreError
from lib.evaluation import protocols
from lib.evaluation.protocols import PROTOCOLS, Protocol

PAPER = PROTOCOLS["paper"]
PED2_LENGTHS = (180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180)
PED2_ABNORMAL = (
    (61, 180),
    (95, 180),
    (1, 146),
    (31, 180),
    (1, 129),
    (1, 159),
    (46, 180),
    (1, 180),
    (1, 120),
    (1, 150),
    (1, 180),
    (88, 180),
)  # UCSDped2.m, 1-based and inclusive
AVENUE_LENGTHS = (
    1439,
    1211,
    923,
    947,
    1007,
    1283,
    605,
    36,
    1175,
    841,
    472,
    1271,
    549,
    507,
    1001,
    740,
    426,
    294,
    248,
    273,
    76,
)


def protocol(**changes):
    return Protocol(
        **{
            **dict(name="own", normalise="clip", average="micro", single_class="skip", smoothing=0.0),
            **changes,
        }
    )


def ped2():
    labels = np.concatenate(
        [
            (np.arange(1, n + 1) >= first) & (np.arange(1, n + 1) <= last)
            for n, (first, last) in zip(PED2_LENGTHS, PED2_ABNORMAL)
        ]
    )
    clips = np.repeat([f"Test{k:03d}" for k in range(1, 13)], PED2_LENGTHS)
    return labels, clips


def random_set(clips=10, length=30, *, seed=0, levels=12):
    """Scores with many ties, labels of every kind of clip."""
    generator = np.random.default_rng(seed)
    labels = generator.random((clips, length)) < 0.4
    labels[0], labels[1] = True, False
    scores = (
        generator.integers(0, levels, size=(clips, length))
        + 3.0 * labels
        + generator.integers(0, 9, (clips, 1))
    )
    return scores.ravel().astype(float), labels.ravel(), np.repeat(np.arange(clips), length)


# Protocols and metrics


def test_the_papers_protocol_is_the_first():
    assert next(iter(PROTOCOLS)) == "paper"
    assert str(PAPER) == "micro; min-max per clip; no smoothing"
    assert "clips of one class padded" in str(PROTOCOLS["macro, padded"])
    assert len({str(named) for named in PROTOCOLS.values()}) == len(PROTOCOLS)


def test_a_protocol_that_does_not_exist_is_refused():
    for changes in (
        {"normalise": "video"},
        {"average": "mean"},
        {"single_class": "drop"},
        {"smoothing": -1.0},
        {"smoothing": math.nan},
    ):
        with pytest.raises(protocols.EvaluationError, match="of a protocol is"):
            protocol(**changes)


def test_position_in_clip_on_ped2_gives_the_known_number():
    labels, clips = ped2()
    assert len(labels) == 2010 and labels.sum() == 1648
    position = np.concatenate([np.arange(n, dtype=float) for n in PED2_LENGTHS])
    assert protocols.frame_auc(position, labels, clips, PAPER) == pytest.approx(0.7495, abs=5e-5)
    assert protocols.frame_auc(np.zeros(2010), labels, clips, PAPER) == 0.5


def test_position_in_clip_on_avenue_gives_the_known_number():
    """With the interval labels, which are in this repository; the official masks give 0.6065."""
    labels = [np.zeros(n, dtype=bool) for n in AVENUE_LENGTHS]
    with (Path(__file__).resolve().parents[2] / "data" / "avenue_intervals.csv").open() as file:
        for row in csv.DictReader(file):
            labels[int(row["clip"]) - 1][int(row["first"]) - 1 : int(row["last"])] = True
    clips = np.repeat(np.arange(21), AVENUE_LENGTHS)
    position = np.concatenate([np.linspace(0, 1, n) for n in AVENUE_LENGTHS])
    assert sum(clip.sum() for clip in labels) == 3867
    assert protocols.frame_auc(position, np.concatenate(labels), clips, PAPER) == pytest.approx(
        0.6117, abs=5e-5
    )


def test_micro_auc_by_hand():
    labels, clips = [0, 1, 0, 1], ["a", "a", "b", "b"]
    scores = np.array([10.0, 20.0, 3.0, 1.0])  # per clip: 0, 1 and 1, 0
    assert protocols.frame_auc(scores, labels, clips, PAPER) == 0.5  # 3 pairs tie or lose, by halves: 2 of 4
    assert protocols.frame_auc(scores, labels, clips, protocol(normalise="none")) == 0.5
    assert protocols.frame_auc(scores, labels, clips, PROTOCOLS["macro"]) == 0.5
    scores = np.array([10.0, 20.0, 1.0, 3.0])
    assert protocols.frame_auc(scores, labels, clips, PAPER) == 1.0
    assert protocols.frame_auc(scores, labels, clips, protocol(normalise="none")) == 0.75
    assert protocols.frame_auc(-scores, labels, clips, PAPER) == 0.0  # larger is more abnormal


def test_macro_skips_or_pads_clips_of_one_class():
    labels = np.array([0, 1, 1, 1, 1])
    clips = np.array([0, 0, 0, 1, 1])
    scores = np.array([1.0, 0.0, 0.5, 0.0, 1.0])
    assert protocols.frame_auc(scores, labels, clips, PROTOCOLS["macro"]) == 0.0  # clip 1 does not count
    # clip 0 gets a normal frame below 0 and an abnormal one above 1: of its six pairs the normal 1 loses to
    # the highest alone, and the frame below 0 loses to all three. Clip 1 gets the same: its new normal frame
    # loses to all three.
    assert protocols.frame_auc(scores, labels, clips, PROTOCOLS["macro, padded"]) == pytest.approx(
        ((1 + 3) / 6 + 3 / 3) / 2
    )


@pytest.mark.parametrize("named", PROTOCOLS)
def test_frame_auc_agrees_with_scikit_learn(named):
    scores, labels, clips = random_set()
    values = protocols.protocol_scores(scores, clips, PROTOCOLS[named], train_stats=(0.0, 9.0))
    got = protocols.frame_auc(scores, labels, clips, PROTOCOLS[named], train_stats=(0.0, 9.0))
    if PROTOCOLS[named].average == "micro":
        assert got == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    elif PROTOCOLS[named].single_class == "skip":
        assert got == pytest.approx(
            np.mean([roc_auc_score(labels[clips == c], values[clips == c]) for c in range(2, 10)]), abs=1e-12
        )
    metrics = protocols.frame_metrics(scores, labels, clips, PROTOCOLS[named], train_stats=(0.0, 9.0))
    assert metrics["auc"] == got and 0 <= metrics["eer"] <= 1


def test_set_and_training_extremes_matter_for_a_sum_and_not_for_one_score():
    R, labels, clips = random_set()
    L = np.random.default_rng(5).normal(size=len(R)) * 100
    raw = protocols.frame_auc(R, labels, clips, protocol(normalise="none"))
    for normalise in ("set", "train"):
        assert (
            protocols.frame_auc(R, labels, clips, protocol(normalise=normalise), train_stats=(2.0, 5.0))
            == raw
        )
    terms = [(1.0, R), (0.5, L)]
    stats = [(0.0, 10.0), (-50.0, 50.0)]
    got = protocols.protocol_scores(terms, clips, protocol(normalise="train"), train_stats=stats)
    np.testing.assert_allclose(got, R / 10 + 0.5 * (L + 50) / 100)
    got = protocols.protocol_scores(terms, clips, protocol(normalise="set"))
    np.testing.assert_allclose(got, (R - R.min()) / np.ptp(R) + 0.5 * (L - L.min()) / np.ptp(L))
    with pytest.raises(ScoreError, match="needs the extremes"):
        protocols.frame_auc(R, labels, clips, protocol(normalise="train"))


def test_terms_under_the_papers_protocol_are_eq9():
    R, _, clips = random_set()
    L = np.random.default_rng(5).normal(size=len(R))
    np.testing.assert_allclose(
        protocols.protocol_scores([(1.0, R), (0.7, L)], clips, PAPER),
        scoring.total_score([(1.0, R), (0.7, L)], clips),
    )


def test_smoothing_stays_within_a_clip_and_reflects_at_its_ends():
    clips = np.repeat([0, 1], 50)
    step = np.repeat([0.0, 1.0], 50)
    smooth = protocol(normalise="none", smoothing=5.0)
    np.testing.assert_allclose(protocols.protocol_scores(step, clips, smooth), step, atol=1e-12)
    spike = np.zeros(100)
    spike[10] = 1.0
    got = protocols.protocol_scores(spike, clips, protocol(normalise="none", smoothing=2.0))
    offsets = np.arange(-8, 9)  # scipy cuts at four standard deviations
    kernel = np.exp(-(offsets**2) / 8)
    np.testing.assert_allclose(got[2:19], kernel / kernel.sum())
    assert got[50:].max() == 0 and got.sum() == pytest.approx(1.0)
    spike = np.zeros(100)
    spike[0] = 1.0
    got = protocols.protocol_scores(spike, clips, protocol(normalise="none", smoothing=2.0))
    assert got[0] == pytest.approx((kernel[8] + kernel[9]) / kernel.sum())  # frame -1 mirrors frame 0


def test_smoothing_before_and_after_normalisation_by_hand():
    """A clip with a spike: before it, the spike is as high as its filtered self and then 1; after it, no
    value reaches 1."""
    clips, spike = np.repeat([0, 1], 50), np.zeros(100)
    spike[[10, 70]] = 3.0, 8.0
    got = {
        smooth: protocols.protocol_scores(spike, clips, protocol(smoothing=2.0, smooth=smooth))
        for smooth in ("before", "after")
    }
    assert got["before"][10] == 1 and got["before"][70] == 1
    assert 0.15 < got["after"][10] < 0.25 and got["after"][10] == pytest.approx(got["after"][70])
    offsets = np.arange(-8, 9)
    np.testing.assert_allclose(got["before"][2:19], np.exp(-(offsets**2) / 8), atol=1e-12)
    two_terms = protocols.protocol_scores(
        [(1.0, spike), (0.5, -spike)], clips, protocol(smoothing=2.0, smooth="before")
    )
    np.testing.assert_allclose(
        two_terms[:50], got["before"][:50] + 0.5 * (1 - got["before"][:50]), atol=1e-12
    )
    assert str(PROTOCOLS["micro, smoothed before min-max"]).endswith(
        "Gaussian smoothing of 20 frames before it"
    )
    assert str(PROTOCOLS["micro, smoothed after min-max"]).endswith(
        "Gaussian smoothing of 20 frames after it"
    )


def test_another_draw_is_another_set_of_resamples():
    scores, labels, clips = random_set()
    one, again, other = (
        protocols.bootstrap_auc([scores], labels, clips, PAPER, resamples=100, draw=draw)
        for draw in (0, 0, 1)
    )
    assert one == again and one.estimate == other.estimate and one.low != other.low


def test_equal_error_rate_and_average_precision_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    scores = np.array(
        [1.0, 2.0, 3.0, 6.0, 4.0, 5.0, 7.0, 8.0]
    )  # from 4 up: 1 of 4 false alarms, none missed;
    metrics = protocols.frame_metrics(scores, labels, np.zeros(8), PAPER)  # from 7 up: none, 2 of 4 missed
    assert metrics["eer"] == pytest.approx(0.25)  # from 5 up: 1 of 4 and 1 of 4
    assert metrics["average_precision"] == pytest.approx((1 + 1 + 3 / 4 + 4 / 5) / 4)
    assert metrics["auc"] == pytest.approx(14 / 16)
    assert protocols.equal_error_rate(np.array([0, 1]), np.array([0.0, 0.0])) == pytest.approx(0.5)


def test_roc_curve_ends_in_the_corners():
    scores, labels, clips = random_set()
    fpr, tpr, thresholds = protocols.frame_roc(scores, labels, clips, PAPER)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(protocols.frame_auc(scores, labels, clips, PAPER))
    assert len(thresholds) == len(fpr)


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(protocols.EvaluationError, match="no AUC"):
        protocols.frame_auc(np.arange(4.0), np.ones(4), np.zeros(4), PAPER)
    with pytest.raises(protocols.EvaluationError, match="no AUC"):
        protocols.frame_auc(np.arange(4.0), [0, 0, 1, 1], [0, 0, 1, 1], PROTOCOLS["macro"])
    with pytest.raises(protocols.EvaluationError, match="no ROC curve"):
        protocols.frame_roc(np.arange(4.0), np.ones(4), np.zeros(4), PAPER)
    with pytest.raises(ScoreError, match="NaN or infinity"):
        protocols.frame_auc(np.array([0, math.nan]), [0, 1], [0, 0], PAPER)
    with pytest.raises(ScoreError, match="clip_ids 4, values 3"):
        protocols.frame_auc(np.zeros(3), [0, 1, 1, 1], np.zeros(4), PAPER)
    with pytest.raises(protocols.EvaluationError, match="Labels must be 0 or 1"):
        protocols.frame_auc(np.zeros(4), [0, 1, 2, 1], np.zeros(4), PAPER)


# Intervals


@pytest.mark.parametrize("named", ["paper", "micro, raw scores", "macro", "macro, padded"])
def test_bootstrap_agrees_with_resampling_by_hand(named):
    scores, labels, clips = random_set(clips=9, length=15)
    values = protocols._resampled(
        protocols.protocol_scores(scores, clips, PROTOCOLS[named]), labels, clips, PROTOCOLS[named], 40
    )
    weights = np.random.default_rng((9, 40, 0)).multinomial(9, np.full(9, 1 / 9), size=40)
    assert values[0] == pytest.approx(protocols.frame_auc(scores, labels, clips, PROTOCOLS[named]), abs=1e-12)
    for weight, value in zip(weights, values[1:]):
        taken = np.repeat(np.arange(9), weight)  # clip of each copy
        rows = np.concatenate([np.flatnonzero(clips == clip) for clip in taken])
        copies = np.repeat(np.arange(9), 15)  # copies of one clip stay clips of their own
        expected = protocols.frame_auc(scores[rows], labels[rows], copies, PROTOCOLS[named])
        assert value == pytest.approx(expected, abs=1e-12)


def test_bootstrap_interval_is_the_percentiles_of_the_mean_over_runs():
    _, labels, clips = random_set()
    runs = [np.random.default_rng(seed).random(len(labels)) + labels for seed in range(3)]
    got = protocols.bootstrap_auc(runs, labels, clips, PAPER, resamples=200)
    draws = np.mean(
        [
            protocols._resampled(protocols.protocol_scores(run, clips, PAPER), labels, clips, PAPER, 200)
            for run in runs
        ],
        axis=0,
    )
    assert got.estimate == pytest.approx(
        np.mean([protocols.frame_auc(run, labels, clips, PAPER) for run in runs])
    )
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(draws[1:], (0.025, 0.975))))
    assert (got.resamples, got.clips) == (200, 10) and got.low < got.estimate < got.high
    assert got == protocols.bootstrap_auc(runs, labels, clips, PAPER, resamples=200)  # the same every time


def test_difference_is_paired_and_far_narrower_than_its_parts():
    labels, clips = ped2()
    generator = np.random.default_rng(0)
    hard = generator.normal(size=12)[np.unique(clips, return_inverse=True)[1]]  # some clips are hard for both
    common = generator.normal(size=len(labels)) + labels * (1 + hard)
    better, worse = common + 0.3 * labels, common
    difference = protocols.bootstrap_difference([better], [worse], labels, clips, PAPER, resamples=500)
    alone = protocols.bootstrap_auc([better], labels, clips, PAPER, resamples=500)
    assert 0 < difference.low < difference.estimate < difference.high and not difference.contains_zero
    assert difference.high - difference.low < 0.7 * (alone.high - alone.low)
    same = protocols.bootstrap_difference([worse], [worse], labels, clips, PAPER, resamples=500)
    assert (same.low, same.estimate, same.high) == (0, 0, 0) and same.contains_zero


def test_the_interval_of_a_change_is_that_of_a_difference_and_takes_two_protocols():
    rng = np.random.default_rng(0)
    clips = np.repeat(np.arange(10), 20)
    labels = np.tile(np.arange(20) < 8, 10)
    better, worse = rng.normal(size=200) + 2 * labels, rng.normal(size=200)
    plain, macro = PROTOCOLS["micro, raw scores"], PROTOCOLS["macro"]
    change = protocols.bootstrap_change(better, plain, worse, plain, labels, clips, resamples=200)
    assert change == protocols.bootstrap_difference([better], [worse], labels, clips, plain, resamples=200)
    other = protocols.bootstrap_change(better, macro, better, plain, labels, clips, resamples=200)
    raw_macro = Protocol("", normalise="none", average="macro", single_class="skip", smoothing=0.0)
    aucs = [protocols.frame_auc(better, labels, clips, of) for of in (raw_macro, plain)]
    assert other.estimate == pytest.approx(aucs[0] - aucs[1]) and other.low < other.estimate < other.high
    assert protocols.bootstrap_change(better, plain, better, plain, labels, clips, resamples=200).high == 0


def test_bootstrap_interval_covers_the_truth():
    """Of many sets drawn alike the interval holds the true AUC in about 95 %; with few clips in a little
    less."""
    covered, sets, truth = 0, 100, 0.76024994  # P(normal + 1 > normal) = Phi(1 / sqrt 2)
    for seed in range(sets):
        generator = np.random.default_rng(seed)
        labels = generator.random(40 * 30) < 0.5
        scores = generator.normal(size=40 * 30) + labels
        got = protocols.bootstrap_auc(
            [scores], labels, np.repeat(np.arange(40), 30), protocol(normalise="none"), resamples=300
        )
        covered += got.low <= truth <= got.high
    assert 0.85 * sets <= covered <= 0.99 * sets


def test_no_interval_below_eight_clips():
    for clips, given in ((7, False), (8, True)):
        scores, labels, ids = random_set(clips=clips)
        got = protocols.bootstrap_auc([scores], labels, ids, PAPER, resamples=50)
        assert (got is not None) == given
        pair = protocols.bootstrap_difference([scores], [-scores], labels, ids, PAPER, resamples=50)
        assert (pair is not None) == given


def test_resamples_of_one_class_are_left_out():
    """One clip in ten holds all normal frames: it is missing from (9/10)^10 = 35 % of the resamples."""
    labels = np.ones((10, 5), dtype=bool)
    labels[3] = False
    scores, clips = np.random.default_rng(0).random(50), np.repeat(np.arange(10), 5)
    got = protocols.bootstrap_auc([scores], labels.ravel(), clips, PAPER, resamples=1000)
    assert got.resamples == pytest.approx(651, abs=60)
    assert math.isfinite(got.low) and math.isfinite(got.high)
    macro = protocols.bootstrap_auc([scores], labels.ravel(), clips, PROTOCOLS["macro"], resamples=100)
    assert macro is None  # no clip has both classes in any resample


def test_runs_must_be_a_list_of_runs():
    scores, labels, clips = random_set()
    with pytest.raises(protocols.EvaluationError, match="must be a list"):
        protocols.bootstrap_auc(scores, labels, clips, PAPER, resamples=10)
    with pytest.raises(protocols.EvaluationError, match="must be a list"):
        protocols.bootstrap_auc([], labels, clips, PAPER, resamples=10)


def test_a_thousand_resamples_of_ten_methods_take_about_a_second():
    labels, clips = ped2()
    start = time.perf_counter()
    for seed in range(10):
        scores = np.random.default_rng(seed).random(len(labels))
        protocols.bootstrap_auc([scores], labels, clips, PAPER, resamples=1000)
    assert time.perf_counter() - start < 2


# Reference scorers


def test_trivial_scorers_by_hand():
    frames = np.zeros((5, 2, 2, 1), dtype=np.uint8)
    frames[1] = 10
    frames[2, 0, 0] = 200  # clip 0: 0, 10, one pixel of 200
    frames[3:] = 7
    got = protocols.trivial_scorers(frames, np.array([0, 0, 0, 1, 1]), np.random.default_rng(3))
    np.testing.assert_allclose(got["frame position"], [0, 0.5, 1, 0, 1])
    np.testing.assert_allclose(got["mean intensity"], [0, 10, 50, 7, 7])
    np.testing.assert_allclose(got["largest frame difference"], [10, 10, 190, 0, 0])
    np.testing.assert_allclose(got["mean frame difference"], [10, 10, (190 + 30) / 4, 0, 0])
    np.testing.assert_array_equal(got["constant"], np.zeros(5))
    np.testing.assert_array_equal(got["random"], np.random.default_rng(3).random(5))


def test_trivial_scorers_stream_from_disk(tmp_path):
    generator = np.random.default_rng(0)

    def peak(n):
        frames = np.lib.format.open_memmap(
            tmp_path / f"{n}.npy", mode="w+", dtype=np.uint8, shape=(n, 64, 96, 3)
        )
        frames[:] = 1
        tracemalloc.start()
        protocols.trivial_scorers(frames, np.zeros(n), generator)
        value = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return value - 6 * 8 * n  # less the six scores themselves

    assert peak(400) < 1.1 * peak(40) + 20_000


def test_mahalanobis_is_the_distance_under_a_shrunk_covariance():
    """In two dimensions with much data shrinkage is slight: the true distance, rotation and scale and all."""
    generator = np.random.default_rng(0)
    transform = np.array([[3.0, 0.0], [2.0, 0.5]])
    train = generator.normal(size=(5000, 2)) @ transform.T + 7
    test = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [3.0, -4.0]]) @ transform.T + 7
    got = protocols.feature_scorers(train[..., None, None], test[..., None, None])
    np.testing.assert_allclose(got["Mahalanobis distance"], [1, 2, 0, 5], atol=0.15)


def test_nearest_neighbours_by_hand():
    train = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 30.0])[:, None, None, None]
    got = protocols.feature_scorers(train, np.array([1.0, 20.0])[:, None, None, None])
    np.testing.assert_allclose(
        got["nearest neighbours"], [(1 + 0 + 1 + 9 + 10) / 5, (9 + 10 + 10 + 18 + 19) / 5]
    )


@pytest.mark.parametrize(("scorer", "height"), [("Mahalanobis distance", 1.5), ("nearest neighbours", 20.0)])
def test_feature_scorers_find_a_blob_in_correlated_maps(scorer, height):
    """Only the Mahalanobis distance knows which directions vary in training, so it sees the fainter blob."""
    generator = np.random.default_rng(0)
    basis = generator.normal(size=(6, 4, 12, 18))

    def maps(n):
        return (
            np.einsum("nk,kchw->nchw", generator.normal(size=(n, 6)), basis)
            + 0.1 * generator.normal(size=(n, 4, 12, 18))
        ).astype(np.float32)

    train, test = maps(200), maps(60)
    test[30:, 1, 3:9, 4:10] += height
    got = protocols.feature_scorers(train, test)[scorer]
    assert roc_auc_score(np.arange(60) >= 30, got) > 0.95
    np.testing.assert_allclose(got, protocols.feature_scorers(train, test)[scorer])  # no randomness


def test_cells_are_means_over_the_map_whatever_its_size():
    features = np.random.default_rng(0).random((3, 2, 16, 24)).astype(np.float32)
    got = protocols._cells(features, np.array([0, 2])).reshape(2, 2, 8, 8)
    np.testing.assert_allclose(got[1, 1, 2, 5], features[2, 1, 4:6, 15:18].mean(), rtol=1e-6)
    assert protocols._cells(features[..., :5, :3], np.arange(3)).shape == (3, 2 * 5 * 3)
    odd = protocols._cells(np.ones((1, 1, 45, 30)), np.arange(1))
    np.testing.assert_allclose(odd, np.ones((1, 64)))


def test_test_windows_do_not_influence_each_other():
    generator = np.random.default_rng(0)
    train, test = generator.normal(size=(50, 2, 8, 8)), generator.normal(size=(6, 2, 8, 8))
    together = protocols.feature_scorers(train, test)
    alone = protocols.feature_scorers(train, test[2:3])
    for name in together:
        np.testing.assert_allclose(together[name][2:3], alone[name], rtol=1e-9)


def test_feature_scorers_refuse_what_they_cannot_use():
    maps = np.zeros((4, 2, 4, 4))
    with pytest.raises(protocols.EvaluationError, match="two training windows"):
        protocols.feature_scorers(maps[:1], maps)
    with pytest.raises(protocols.EvaluationError, match="a window and test features"):
        protocols.feature_scorers(maps, maps[:, :1])
    with pytest.raises(protocols.EvaluationError, match="NaN or infinity"):
        protocols.feature_scorers(maps, np.full((4, 2, 4, 4), math.nan))


# Real sets, where they are at hand


def test_trivial_scorers_on_the_real_ped2():
    root = os.environ.get("KIT_REAL_DATA")
    if not root:
        pytest.skip("KIT_REAL_DATA does not name a folder of unpacked data sets")
    folder = next(Path(root).rglob("UCSDped2/Test"), None)
    if folder is None:
        pytest.skip("UCSD Ped2 is not in KIT_REAL_DATA")
    import cv2

    labels, clips = ped2()
    files = [path for k in range(1, 13) for path in sorted((folder / f"Test{k:03d}").glob("[0-9]*.tif"))]
    frames = np.stack([cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (90, 60)) for path in files])[
        ..., None
    ]
    scores = protocols.trivial_scorers(frames, clips, np.random.default_rng(0))
    assert protocols.frame_auc(scores["frame position"], labels, clips, PAPER) == pytest.approx(
        0.7495, abs=5e-5
    )
    assert protocols.frame_auc(scores["random"], labels, clips, PAPER) == pytest.approx(0.5, abs=0.05)
