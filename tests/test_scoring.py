"""Eq. 8 and 9 on hand-computed arrays, and windows to frames against brute force."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from lib import scoring
from lib.config import Score, resolve
from lib.datasets.prepared import Clip
from lib.glow import Glow

# The names of the readings of Eq. 7


def test_the_name_of_a_reading():
    score = Score(
        error="square", colours="averaged", log_of="mean", reduce="largest_pixel", order="average_first"
    )
    assert scoring.reading_of(score, channels=3) == "square/averaged/mean/largest_pixel/average_first"
    assert scoring.reading_of(score, channels=1) == "square/each/mean/largest_pixel/average_first"
    for channels in (1, 3):
        assert scoring.reading_of(Score(), channels=channels) in scoring.readings(channels)
        assert len(set(scoring.readings(channels))) == 32 * (1 if channels == 1 else 2)
        assert {name for name in scoring.readings(channels)} == {
            scoring.reading_of(Score(*choices), channels=channels)
            for choices in itertools.product(
                scoring.ERRORS, scoring.COLOURS, scoring.LOGS, scoring.REDUCTIONS, scoring.ORDERS
            )
        }


# Windows


def window_starts(length, T, stride):
    starts = list(range(0, length - T + 1, stride))
    return starts if starts[-1] == length - T else [*starts, length - T]


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("length", range(5, 23))
def test_windows_to_frames_against_brute_force(length, stride):
    T, generator = 5, np.random.default_rng(length)
    starts = window_starts(length, T, stride)
    constant = generator.normal(size=len(starts))
    frames = scoring.windows_to_frames(constant, starts, T=T, length=length, likelihood_frames="all")
    expected = [np.mean([v for v, s in zip(constant, starts) if s <= f < s + T]) for f in range(length)]
    np.testing.assert_allclose(frames, expected, rtol=1e-12, atol=1e-14)
    frames = scoring.windows_to_frames(constant, starts, T=T, length=length, likelihood_frames="centre")
    expected = [constant[np.argmin([abs(f - (s + 2)) for s in starts])] for f in range(length)]
    np.testing.assert_array_equal(frames, expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_are_refused_wherever_they_enter(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.windows_to_frames([bad], [0], T=4, length=4, likelihood_frames="all")
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.normalise([0.0, bad])
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.likelihood_score(np.array([0, 0, bad, 0]), None)
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.span(np.array([bad, 0]), np.zeros(2), np.zeros(2), np.zeros(3), lambda_scope="test")
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.total_score([(1.0, np.zeros(4)), (1.0, np.array([0, bad, 0, 0]))], np.zeros(4))


def test_values_of_windows_are_spread_clip_by_clip():
    clips = (Clip("a", "test", 0, 4), Clip("b", "test", 4, 3))
    windows = np.array([[0, 0], [0, 2], [1, 4], [1, 5]])
    frames = scoring.spread(np.array([1.0, 3.0, 10.0, 20.0]), windows, clips, T=2, likelihood_frames="all")
    np.testing.assert_array_equal(frames, [1.0, 1.0, 3.0, 3.0, 10.0, 15.0, 20.0])


def test_windows_to_frames_by_hand():
    frames = scoring.windows_to_frames([1.0, 2.0, 4.0], [0, 1, 2], T=2, length=4, likelihood_frames="all")
    np.testing.assert_array_equal(frames, [1.0, 1.5, 3.0, 4.0])
    frames = scoring.windows_to_frames([1.0, 2.0, 4.0], [0, 1, 2], T=2, length=4, likelihood_frames="centre")
    np.testing.assert_array_equal(frames, [1.0, 1.0, 2.0, 4.0])  # centres are frames 1, 2, 3


def test_windows_that_leave_a_frame_out_or_come_out_of_order_are_refused():
    for starts in ([0, 5], [1, 4], [0, 4]):
        with pytest.raises(scoring.ScoreError, match="in no window"):
            scoring.windows_to_frames([0.0, 0.0], starts, T=4, length=9, likelihood_frames="all")
    with pytest.raises(scoring.ScoreError, match="in order"):
        scoring.windows_to_frames([0.0, 0.0], [4, 0], T=4, length=8, likelihood_frames="all")
    for starts in ([-1, 3], [0, 4]):
        with pytest.raises(scoring.ScoreError, match="do not lie in a clip of 7"):
            scoring.windows_to_frames([0.0, 0.0], starts, T=4, length=7, likelihood_frames="centre")
    with pytest.raises(scoring.ScoreError, match="'all' or 'centre'"):
        scoring.windows_to_frames([0.0], [0], T=4, length=4, likelihood_frames="last")


# Eq. 8 and 9


def test_by_clip_keeps_the_order_of_clips_and_frames():
    groups = scoring.by_clip(np.array(["b", "b", "a", "b", "c", "a"]))
    assert [group.tolist() for group in groups] == [[0, 1, 3], [2, 5], [4]]


def test_normalise_by_hand_and_constant_values():
    np.testing.assert_allclose(scoring.normalise([2.0, 4.0, 3.0]), [0, 1, 0.5])
    np.testing.assert_array_equal(scoring.normalise(np.full(4, -7.5)), np.zeros(4))
    np.testing.assert_array_equal(scoring.normalise([0.3, 0.1 + 0.2]), [0, 0])  # equal up to rounding
    np.testing.assert_allclose(scoring.normalise([1.0, 1.0 + 1e-9]), [0, 1])  # small, but no rounding
    # of numbers of this size it is
    np.testing.assert_array_equal(scoring.normalise([1e6, 1e6 + 1e-7]), [0, 0])


# ranges: 2 in clip 0, 4 in clip 1, 13 in all
APP = np.array([1.0, 3.0, 2.0, 10.0, 14.0])
# ranges: 6 in clip 0, 1 in clip 1, 10 in all
MOT = np.array([5.0, 5.0, 11.0, 1.0, 2.0])
IDS = np.array([0, 0, 0, 1, 1])


CLIPS = (Clip("a", "test", 0, 3), Clip("b", "test", 3, 2))
# of one frame each, so that windows are frames
WINDOWS = np.array([[0, 0], [0, 1], [0, 2], [1, 3], [1, 4]])
# Least and largest feature of each window. Appearance: 4 in clip 0, 1 in clip 1, 8 in all; motion: 3, 0.5, 3.
RANGES = {
    "app": np.array([[0, 2], [1, 4], [2, 3], [7, 7.5], [7.5, 8]]),
    "mot": np.array([[1, 2], [0, 1], [2, 3], [1, 1.5], [1, 1.5]]),
}


def eq8(parts=("app", "mot"), *, train=None, **score):
    nll = {"app": APP, "mot": MOT}
    flows = {part: scoring.FlowWindows(nll[part], RANGES[part]) for part in parts}
    return scoring.eq8(flows, WINDOWS, CLIPS, Score(**score), T=1, train=train)


def test_eq8_by_hand_with_ranges_of_features_as_printed():
    found = eq8()
    assert list(found) == ["nll_app", "nll_mot", "L"]
    np.testing.assert_array_equal(found["nll_app"], APP)
    np.testing.assert_array_equal(found["nll_mot"], MOT)
    np.testing.assert_allclose(
        found["L"], [*(4 * APP[:3] + 3 * MOT[:3]) / 7, *(1 * APP[3:] + 0.5 * MOT[3:]) / 1.5]
    )
    np.testing.assert_allclose(eq8(lambda_scope="test")["L"], (8 * APP + 3 * MOT) / 11)
    train = {
        "app": scoring.FlowWindows(np.array([9.0]), np.array([[-1, 1]])),
        "mot": scoring.FlowWindows(np.array([9.0, 8.0]), np.array([[0, 3], [2, 6]])),
    }
    np.testing.assert_allclose(eq8(lambda_scope="train", train=train)["L"], (2 * APP + 6 * MOT) / 8)


def test_eq8_by_hand_with_ranges_of_likelihoods():
    of = {"lambda_of": "likelihoods"}
    np.testing.assert_allclose(
        eq8(**of)["L"],
        [
            (2 * 1 + 6 * 5) / 8,
            (2 * 3 + 6 * 5) / 8,
            (2 * 2 + 6 * 11) / 8,
            (4 * 10 + 1 * 1) / 5,
            (4 * 14 + 1 * 2) / 5,
        ],
    )
    np.testing.assert_allclose(eq8(lambda_scope="test", **of)["L"], (13 * APP + 10 * MOT) / 23)
    train = {
        "app": scoring.FlowWindows(np.array([0.0, 1.0]), None),
        "mot": scoring.FlowWindows(np.array([4.0, 7.0]), None),
    }
    np.testing.assert_allclose(eq8(lambda_scope="train", train=train, **of)["L"], (1 * APP + 3 * MOT) / 4)


def test_likelihoods_range_over_frames_and_features_over_windows():
    """Two windows of two frames in a clip of three: the middle frame has the mean, and the range of frames is
    that of windows only at the ends."""
    clips, windows = (Clip("a", "test", 0, 3),), np.array([[0, 0], [0, 1]])
    flows = {
        "app": scoring.FlowWindows(np.array([0.0, 4.0]), np.array([[0, 1], [0, 2]])),
        "mot": scoring.FlowWindows(np.array([1.0, 1.0]), np.array([[0, 6], [1, 2]])),
    }
    L = scoring.eq8(flows, windows, clips, Score(), T=2)["L"]
    np.testing.assert_allclose(L, (2 * np.array([0, 2, 4]) + 6 * 1) / 8)


def test_eq8_where_both_ranges_are_zero_is_the_plain_mean():
    L = scoring.likelihood_score(
        np.array([2.0, 2.0]), np.array([6.0, 6.0]), lambda_1=np.zeros(2), lambda_2=np.array([0.0, 3.0])
    )
    np.testing.assert_array_equal(L, [4.0, 6.0])  # lambda_1 = 0 alone leaves F_mot


def test_eq8_with_one_flow_is_its_likelihood_and_errors_are_sentences():
    for part, nll in (("app", APP), ("mot", MOT)):
        found = eq8([part], lambda_scope="train")
        assert list(found) == [f"nll_{part}", "L"] and np.array_equal(found["L"], nll)
    with pytest.raises(scoring.ScoreError, match="at least one flow"):
        scoring.likelihood_score(None, None)
    with pytest.raises(scoring.ScoreError, match="training windows"):
        eq8(lambda_scope="train")
    with pytest.raises(scoring.ScoreError, match="'clip', 'test' or 'train'"):
        eq8(lambda_scope="set")
    with pytest.raises(scoring.ScoreError, match="'features' or 'likelihoods'"):
        eq8(lambda_of="frames")
    with pytest.raises(scoring.ScoreError, match="different lengths"):
        scoring.likelihood_score(APP, MOT[:3], lambda_1=APP, lambda_2=APP)
    with pytest.raises(scoring.ScoreError, match="clip_ids 4, values 5"):
        scoring.total_score([(1.0, APP)], IDS[:4])


def test_the_likelihood_of_a_window_by_scale_and_unit():
    log_p_z, log_det = (
        np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]]),
        np.array([[0.5, 0.5, 1.0], [1.0, 0.0, 0.0]]),
    )
    terms = {"nll": -(log_p_z + log_det).sum(1), "log_p_z": log_p_z, "log_det": log_det, "dims": np.array(40)}
    values = {
        (scale, unit): scoring.window_nll(terms, likelihood_scale=scale, likelihood_unit=unit).tolist()
        for scale in ("all", "last")
        for unit in ("nats", "per_dimension")
    }
    assert values == {
        ("all", "nats"): [-9, -9],
        ("all", "per_dimension"): [-9 / 40, -9 / 40],
        # a quarter is left at the third
        ("last", "nats"): [-5, -8],
        ("last", "per_dimension"): [-5 / 10, -8 / 10],
    }


def test_what_is_left_at_the_last_level_of_a_flow():
    """The dimensions by which the last level's likelihood is divided are those of its latent variable."""
    glow = Glow(channels=4, K=1, L=3, hidden=4, permutation="lu", recompute=False)
    assert math.prod(glow.latent_shapes((4, 16, 24))[-1]) == 4 * 16 * 24 / 4


def test_eq9_by_hand():
    R = np.array([0.0, 1.0, 4.0, 2.0, 2.0])
    L = np.array([5.0, 3.0, 4.0, -1.0, 0.0])
    np.testing.assert_allclose(scoring.total_score([(1.0, R), (0.5, L)], IDS), [0.5, 0.25, 1.25, 0.0, 0.5])
    np.testing.assert_allclose(scoring.total_score([(1.0, R)], IDS), [0, 0.25, 1, 0, 0])
    np.testing.assert_allclose(
        scoring.total_score([(1.0, R), (0.5, L)], IDS, normalise_over="none"), R + 0.5 * L
    )
    with pytest.raises(scoring.ScoreError, match="R or L"):
        scoring.total_score([], IDS)
    with pytest.raises(scoring.ScoreError, match="'clip', 'set', 'train' or 'none'"):
        scoring.total_score([(1.0, R)], IDS, normalise_over="video")


def test_frame_scores_are_eq_7_8_and_9_together():
    """R is the reading that is asked for, L that of Eq. 8, S that of Eq. 9, with the weight of the
    configuration."""
    clips = (Clip("a", "test", 0, 4), Clip("b", "test", 4, 3))
    windows = np.array([[0, 0], [0, 2], [1, 4], [1, 5]])
    flows = {
        part: scoring.FlowWindows(np.array(nll), np.array([[0.0, top]] * 4))
        for part, nll, top in (("app", [1.0, 3.0, 10.0, 20.0], 3.0), ("mot", [4.0, 2.0, 0.0, 6.0], 1.0))
    }
    score = dataclasses.replace(resolve("quick", "ped2").score, lambda_L=0.5)
    names = scoring.readings(1)
    errors = {name: np.arange(7.0) * (index + 1) for index, name in enumerate(names)}
    found = scoring.frame_scores(errors, flows, windows, clips, score, channels=1, T=2)
    reading = scoring.reading_of(score, channels=1)
    np.testing.assert_array_equal(found.R, errors[reading])
    expected = scoring.eq8(flows, windows, clips, score, T=2)
    np.testing.assert_array_equal(found.L, expected["L"])
    np.testing.assert_allclose(found.L, (3 * expected["nll_app"] + expected["nll_mot"]) / 4)
    ids = np.array([0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(scoring.clip_ids(clips), ids)
    np.testing.assert_allclose(found.S, scoring.total_score([(1.0, found.R), (0.5, found.L)], ids))
    alone = scoring.frame_scores(errors, {}, windows, clips, score, channels=1, T=2)
    assert alone.L is None and alone.nll == {} and len(alone.terms) == 1
    np.testing.assert_allclose(alone.S, scoring.total_score([(1.0, found.R)], ids))
