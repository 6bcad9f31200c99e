"""Eq. 7, 8 and 9 on hand-computed arrays, the mean over windows against brute force, and bounded memory."""
import math
import time
import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, uniform_filter

from lib import scoring
from lib.datasets.prepared import Clip

EQ7 = dict(clamp=1e-3, patch=32, patch_stride=8)


# Eq. 7

def test_absolute_error_is_scaled_and_averaged_over_channels_only():
    I = np.zeros((3, 2, 1, 2), dtype=np.float32)                   # (C, T, H, W) in [-1, 1]
    I_hat = I.copy()
    I_hat[:, 0, 0, 0] = 1.0, -0.5, 0.0
    I_hat[:, 1, 0, 1] = -1.0, -1.0, -1.0
    error = scoring.absolute_error(I, I_hat, value_range=2.0)
    assert error.dtype == np.float32
    np.testing.assert_allclose(error, [[[0.25, 0.0]], [[0.0, 0.5]]])
    np.testing.assert_allclose(scoring.absolute_error(I, I_hat, value_range=1.0)[0, 0, 0], 0.5)
    batch = scoring.absolute_error(np.stack((I, I)), np.stack((I_hat, I)), value_range=2.0)
    assert batch.shape == (2, 2, 1, 2) and batch[1].max() == 0
    np.testing.assert_allclose(batch[0], error)


def test_absolute_error_beyond_the_range_counts_as_one():
    I = np.ones((1, 1, 1, 1), dtype=np.float32)
    assert scoring.absolute_error(I, -3 * I, value_range=2.0).item() == 1.0


def test_eq7_of_pixels_and_of_the_mean_by_hand():
    error = np.array([[[0.9, 0.0], [0.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
    got = scoring.frame_reductions(error, clamp=1e-3, patch=240, patch_stride=240)
    np.testing.assert_allclose(got["pixel/mean"], [1 / 4, math.log10(2)])          # -log10(0.1) = 1 in 1 of 4 pixels
    np.testing.assert_allclose(got["mean/mean"], [-math.log10(1 - 0.225), math.log10(2)])


def test_eq7_is_clamped():
    error = np.array([[[1.0]], [[0.99]]])
    got = scoring.frame_reductions(error, clamp=1e-2, patch=1, patch_stride=1)
    for values in got.values():
        np.testing.assert_allclose(values, [2.0, 2.0])
    assert scoring.frame_reductions(error, clamp=1e-3, patch=1, patch_stride=1)["pixel/mean"][0] == pytest.approx(3.0)


@pytest.mark.parametrize(("log_of", "reduce"), [("pixel", "mean"), ("pixel", "patch_max"), ("mean", "mean"),
                                                ("mean", "patch_max")])
def test_eq7_against_brute_force_on_a_ucsd_frame(log_of, reduce):
    error = np.random.default_rng(1).random((2, 240, 360)) ** 4
    values = -np.log10(np.maximum(1 - error, 1e-3)) if log_of == "pixel" else error
    if reduce == "mean":
        expected = values.mean(axis=(1, 2))
    else:
        starts_r, starts_c = [*range(0, 208, 8), 208], [*range(0, 328, 8), 328]
        expected = np.array([max(frame[r:r + 32, c:c + 32].mean() for r in starts_r for c in starts_c)
                             for frame in values])
    if log_of == "mean":
        expected = -np.log10(1 - expected)
    got = scoring.reconstruction_score(error, log_of=log_of, reduce=reduce, **EQ7)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_patch_maximum_with_stride_one_is_a_box_filter():
    error = np.random.default_rng(2).random((240, 360))
    got = scoring.reconstruction_score(error, log_of="mean", reduce="patch_max", clamp=1e-3, patch=9, patch_stride=1)
    box = uniform_filter(error, 9)[4:-4, 4:-4].max()
    assert got == pytest.approx(-math.log10(1 - box), rel=1e-10)


def test_patches_are_scaled_to_the_frame_and_reach_every_border():
    sides, rows, columns = scoring.patch_grid(128, 192, patch=32, patch_stride=8)
    assert sides == (17, 17) and np.diff(rows)[0] == 4 and rows[0] == 0
    assert rows[-1] + 17 == 128 and columns[-1] + 17 == 192
    sides, rows, columns = scoring.patch_grid(256, 256, patch=32, patch_stride=8)
    assert sides == (34, 23) and rows[1] == 9 and columns[1] == 6
    assert rows[-1] + 34 == 256 and columns[-1] + 23 == 256
    assert scoring.patch_grid(6, 8, patch=32, patch_stride=8)[0] == (1, 1)
    assert scoring.patch_grid(2400, 3600, patch=32, patch_stride=8)[0] == (320, 320)      # of 240x360 exactly
    corner = np.zeros((1, 128, 192))
    corner[0, -1, -1] = 0.5
    assert scoring.frame_reductions(corner, **EQ7)["mean/patch_max"].item() > 0


def test_the_background_is_set_to_no_error_and_stays_in_the_mean():
    error = np.full((1, 2, 2), 0.5)
    mask = np.array([[[True, False], [False, False]]])
    got = scoring.frame_reductions(error, clamp=1e-3, patch=240, patch_stride=240, mask=mask)
    np.testing.assert_allclose(got["pixel/mean"], math.log10(2) / 4)
    np.testing.assert_allclose(got["mean/mean"], -math.log10(1 - 0.125))


def test_small_errors_keep_their_digits():
    """Float32 sums over 86,400 pixels would lose the difference."""
    error = np.full((2, 240, 360), 0.1, dtype=np.float32)
    error[1, 0, 0] += np.float32(1e-4)
    low, high = scoring.frame_reductions(error, **EQ7)["mean/mean"]
    expected = (float(error[1, 0, 0]) - float(error[0, 0, 0])) / 86400 / (0.9 * math.log(10))
    assert high - low == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_are_refused_wherever_they_enter(bad):
    values = np.zeros((1, 4, 4, 4))
    broken = values.copy()
    broken[0, 1, 2, 3] = bad
    ids = np.zeros(4)
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.absolute_error(values, broken, value_range=2.0)
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.frame_reductions(broken, **EQ7)
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.WindowMean(T=4, length=4).add(0, broken[0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.windows_to_frames([bad], [0], T=4, length=4, likelihood_frames="all")
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.normalise([0.0, bad])
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.likelihood_score(np.array([0, 0, bad, 0]), None, ids, lambda_scope="clip")
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.likelihood_score(np.zeros(4), np.zeros(4), ids, lambda_scope="train", train_nll_app=np.array([bad]),
                                 train_nll_mot=np.zeros(1))
    with pytest.raises(ValueError, match="NaN or infinity"):
        scoring.total_score(np.zeros(4), np.array([0, bad, 0, 0]), ids, lambda_L=1.0)


def test_what_does_not_fit_is_refused_with_a_sentence():
    zeros = np.zeros((1, 4, 4))
    with pytest.raises(scoring.ScoreError, match="must be equal"):
        scoring.absolute_error(np.zeros((1, 2, 4, 4)), np.zeros((1, 3, 4, 4)), value_range=2.0)
    with pytest.raises(scoring.ScoreError, match="clamp is 0"):
        scoring.frame_reductions(zeros, clamp=0, patch=32, patch_stride=8)
    with pytest.raises(scoring.ScoreError, match="needs \\[0, 1\\]"):
        scoring.frame_reductions(zeros - 0.5, **EQ7)
    with pytest.raises(scoring.ScoreError, match="patch_stride"):
        scoring.frame_reductions(zeros, clamp=1e-3, patch=8, patch_stride=9)
    with pytest.raises(scoring.ScoreError, match="is not one of pixel/mean"):
        scoring.reconstruction_score(zeros, log_of="pixel", reduce="median", **EQ7)


# Windows

def window_starts(length, T, stride):
    starts = list(range(0, length - T + 1, stride))
    return starts if starts[-1] == length - T else [*starts, length - T]


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("length", range(5, 23))
def test_window_mean_and_windows_to_frames_against_brute_force(length, stride):
    T, generator = 5, np.random.default_rng(length)
    starts = window_starts(length, T, stride)
    values = generator.normal(size=(len(starts), T, 2))
    constant = generator.normal(size=len(starts))
    expected = np.array([np.mean([values[w, f - s] for w, s in enumerate(starts) if s <= f < s + T], axis=0)
                         for f in range(length)])
    mean, out = scoring.WindowMean(T=T, length=length), []
    for start, window in zip(starts, values):
        out.append(mean.add(start, window))
        assert sum(map(len, out)) == start                      # all that is before the window is out, nothing more
    out.append(mean.finish())
    np.testing.assert_allclose(np.concatenate(out), expected, rtol=1e-12, atol=1e-14)

    frames = scoring.windows_to_frames(constant, starts, T=T, length=length, likelihood_frames="all")
    expected = [np.mean([v for v, s in zip(constant, starts) if s <= f < s + T]) for f in range(length)]
    np.testing.assert_allclose(frames, expected, rtol=1e-12, atol=1e-14)
    frames = scoring.windows_to_frames(constant, starts, T=T, length=length, likelihood_frames="centre")
    expected = [constant[np.argmin([abs(f - (s + 2)) for s in starts])] for f in range(length)]
    np.testing.assert_array_equal(frames, expected)


def test_values_of_windows_are_spread_clip_by_clip():
    clips = (Clip("a", "test", 0, 4), Clip("b", "test", 4, 3))
    windows = np.array([[0, 0], [0, 2], [1, 4], [1, 5]])
    frames = scoring.spread(np.array([1.0, 3.0, 10.0, 20.0]), windows, clips, T=2, likelihood_frames="all")
    np.testing.assert_array_equal(frames, [1.0, 1.0, 3.0, 3.0, 10.0, 15.0, 20.0])


def test_first_and_last_frames_by_hand():
    mean = scoring.WindowMean(T=2, length=4)
    out = [mean.add(0, [1.0, 2.0]), mean.add(1, [4.0, 8.0]), mean.add(2, [16.0, 32.0]), mean.finish()]
    np.testing.assert_array_equal(np.concatenate(out), [1.0, 3.0, 12.0, 32.0])
    frames = scoring.windows_to_frames([1.0, 2.0, 4.0], [0, 1, 2], T=2, length=4, likelihood_frames="all")
    np.testing.assert_array_equal(frames, [1.0, 1.5, 3.0, 4.0])
    frames = scoring.windows_to_frames([1.0, 2.0, 4.0], [0, 1, 2], T=2, length=4, likelihood_frames="centre")
    np.testing.assert_array_equal(frames, [1.0, 1.0, 2.0, 4.0])    # centres are frames 1, 2, 3


def test_windows_that_leave_a_frame_out_or_come_out_of_order_are_refused():
    with pytest.raises(scoring.ScoreError, match="at least as many"):
        scoring.WindowMean(T=4, length=3)
    mean = scoring.WindowMean(T=4, length=20)
    with pytest.raises(scoring.ScoreError, match="Frame 0 .* in no window"):
        mean.add(1, np.zeros(4))
    mean = scoring.WindowMean(T=4, length=20)
    mean.add(0, np.zeros(4))
    with pytest.raises(scoring.ScoreError, match="in order, each once"):
        mean.add(0, np.zeros(4))
    with pytest.raises(scoring.ScoreError, match="Frame 4 .* in no window"):
        mean.add(5, np.zeros(4))
    mean = scoring.WindowMean(T=4, length=20)
    mean.add(0, np.zeros(4))
    with pytest.raises(scoring.ScoreError, match="inside the clip"):
        mean.add(17, np.zeros(4))
    with pytest.raises(scoring.ScoreError, match="does not reach the end"):
        mean.finish()
    with pytest.raises(scoring.ScoreError, match="A window of 3 values"):
        mean.add(1, np.zeros(3))
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


def score_clip(length, T=8, size=(48, 72)):
    """A clip's scores as a pipeline makes them: reconstruct a window, score it, add it."""
    generator = np.random.default_rng(0)
    mean, out = scoring.WindowMean(T=T, length=length), []
    for start in window_starts(length, T, 2):
        I = generator.random((1, T, *size), dtype=np.float32)
        I_hat = generator.random((1, T, *size), dtype=np.float32)
        error = scoring.absolute_error(I, I_hat, value_range=1.0)
        readings = scoring.frame_reductions(error, **EQ7)
        out.append(mean.add(start, np.stack(list(readings.values()), axis=1)))
    return np.concatenate([*out, mean.finish()])


def test_scoring_streams():
    """Peak memory of a ten times longer clip at most 10 % higher, time in proportion."""
    score_clip(16)

    def measure(length):
        tracemalloc.start()
        scores = score_clip(length)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            score_clip(length)
            seconds.append(time.perf_counter() - start)
        assert scores.shape == (length, 4)
        return peak, min(seconds)

    (peak, seconds), (peak_long, seconds_long) = measure(60), measure(600)
    assert peak_long < 1.1 * peak
    assert seconds_long < 20 * seconds


# Background

def moving_square(length=60, channels=3):
    generator = np.random.default_rng(0)
    background = generator.integers(60, 100, size=(48, 64, channels))
    frames = np.empty((length, 48, 64, channels), dtype=np.uint8)
    for t in range(length):
        noise = generator.integers(-2, 3, size=background.shape)
        frames[t] = background + noise
        if t >= 10:                                                # the first frames show the background alone
            frames[t, 20:28, t:t + 6] = 220
    return background, frames


@pytest.mark.parametrize("channels", [1, 3])
def test_foreground_is_what_moves_dilated_by_five(channels):
    background, frames = moving_square(channels=channels)
    estimate = scoring.mog_background(iter(frames))
    assert estimate.shape == background.shape
    still = np.s_[:15]                                             # rows that the square never reaches
    assert np.abs(estimate[still].astype(int) - background[still]).max() <= 6
    mask = scoring.foreground(frames, estimate)
    assert mask.shape == (60, 48, 64) and mask.dtype == bool
    assert mask[30, 20:28, 30:36].all() and mask[30, 24, 25:41].all() and not mask[30, 24, :20].any()
    assert not mask[30, :14].any()
    difference = np.abs(frames.astype(int) - estimate).sum(-1) * (3 / channels)
    expected = [binary_dilation(moving > 128, iterations=5) for moving in difference]
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(mask, list(scoring.mog_foreground(frames)))


def test_the_threshold_is_128_over_the_sum_of_three_channels():
    background = np.full((21, 21, 3), 100, dtype=np.uint8)
    frames = np.repeat(background[None], 2, axis=0)
    frames[0, 10, 10] = 143, 143, 58                               # 43 + 43 + 42 = 128: not above
    frames[1, 10, 10] = 143, 143, 57                               # 129
    mask = scoring.foreground(frames, background)
    assert not mask[0].any()
    rows, columns = np.indices((21, 21))
    np.testing.assert_array_equal(mask[1], abs(rows - 10) + abs(columns - 10) <= 5)


def test_a_clip_without_frames_has_no_background():
    with pytest.raises(scoring.ScoreError, match="no frames"):
        scoring.mog_background(iter([]))


# Eq. 8 and 9

def test_by_clip_keeps_the_order_of_clips_and_frames():
    groups = scoring.by_clip(np.array(["b", "b", "a", "b", "c", "a"]))
    assert [group.tolist() for group in groups] == [[0, 1, 3], [2, 5], [4]]


def test_normalise_by_hand_and_constant_values():
    np.testing.assert_allclose(scoring.normalise([2.0, 4.0, 3.0]), [0, 1, 0.5])
    np.testing.assert_array_equal(scoring.normalise(np.full(4, -7.5)), np.zeros(4))
    np.testing.assert_array_equal(scoring.normalise([0.3, 0.1 + 0.2]), [0, 0])     # equal up to rounding
    np.testing.assert_allclose(scoring.normalise([1.0, 1.0 + 1e-9]), [0, 1])       # small, but no rounding
    np.testing.assert_array_equal(scoring.normalise([1e6, 1e6 + 1e-7]), [0, 0])    # of numbers of this size it is
    np.testing.assert_allclose(scoring.normalise_clips([1, 2, 30, 10, 5], ["a", "a", "b", "b", "c"]), [0, 1, 1, 0, 0])


APP = np.array([1.0, 3.0, 2.0, 10.0, 14.0])                        # ranges: 2 in clip 0, 4 in clip 1, 13 in all
MOT = np.array([5.0, 5.0, 11.0, 1.0, 2.0])                         # ranges: 6 in clip 0, 1 in clip 1, 10 in all
IDS = np.array([0, 0, 0, 1, 1])


def test_eq8_by_hand_in_each_scope():
    np.testing.assert_allclose(scoring.likelihood_score(APP, MOT, IDS, lambda_scope="clip"),
                               [(2 * 1 + 6 * 5) / 8, (2 * 3 + 6 * 5) / 8, (2 * 2 + 6 * 11) / 8,
                                (4 * 10 + 1 * 1) / 5, (4 * 14 + 1 * 2) / 5])
    np.testing.assert_allclose(scoring.likelihood_score(APP, MOT, IDS, lambda_scope="test"), (13 * APP + 10 * MOT) / 23)
    train = dict(train_nll_app=np.array([0.0, 1.0]), train_nll_mot=np.array([4.0, 7.0]))
    np.testing.assert_allclose(scoring.likelihood_score(APP, MOT, IDS, lambda_scope="train", **train),
                               (1 * APP + 3 * MOT) / 4)


def test_eq8_where_both_ranges_are_zero_is_the_plain_mean():
    L = scoring.likelihood_score(np.array([2.0, 2.0]), np.array([6.0, 6.0]), [0, 0], lambda_scope="clip")
    np.testing.assert_array_equal(L, [4.0, 4.0])
    L = scoring.likelihood_score(np.array([2.0, 2.0]), np.array([6.0, 8.0]), [0, 0], lambda_scope="clip")
    np.testing.assert_array_equal(L, [6.0, 8.0])                   # lambda_1 = 0 alone leaves F_mot


def test_eq8_with_one_flow_is_its_likelihood_and_errors_are_sentences():
    np.testing.assert_array_equal(scoring.likelihood_score(APP, None, IDS, lambda_scope="clip"), APP)
    np.testing.assert_array_equal(scoring.likelihood_score(None, MOT, IDS, lambda_scope="train"), MOT)
    with pytest.raises(scoring.ScoreError, match="at least one flow"):
        scoring.likelihood_score(None, None, IDS, lambda_scope="clip")
    for train in ({}, {"train_nll_app": APP}, {"train_nll_mot": MOT}):
        with pytest.raises(scoring.ScoreError, match="training windows"):
            scoring.likelihood_score(APP, MOT, IDS, lambda_scope="train", **train)
    with pytest.raises(scoring.ScoreError, match="'clip', 'test' or 'train'"):
        scoring.likelihood_score(APP, MOT, IDS, lambda_scope="set")
    with pytest.raises(scoring.ScoreError, match="different lengths"):
        scoring.likelihood_score(APP, MOT[:3], IDS, lambda_scope="clip")
    with pytest.raises(scoring.ScoreError, match="values 5, clip_ids 4"):
        scoring.normalise_clips(APP, IDS[:4])


def test_eq9_by_hand():
    R = np.array([0.0, 1.0, 4.0, 2.0, 2.0])
    L = np.array([5.0, 3.0, 4.0, -1.0, 0.0])
    np.testing.assert_allclose(scoring.total_score(R, L, IDS, lambda_L=0.5), [0.5, 0.25, 1.25, 0.0, 0.5])
    np.testing.assert_allclose(scoring.total_score(R, None, IDS, lambda_L=0.5), [0, 0.25, 1, 0, 0])
    np.testing.assert_allclose(scoring.total_score(None, L, IDS, lambda_L=0.5), [1, 0, 0.5, 0, 1])
    with pytest.raises(scoring.ScoreError, match="R or L"):
        scoring.total_score(None, None, IDS, lambda_L=1.0)
