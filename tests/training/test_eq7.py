"""Eq. 7 in all its readings on hand-computed arrays and against plain loops, the mean over windows, and
bounded memory."""

import math
import time

import numpy as np
import pytest
import slow_eq7
import torch
from scipy.ndimage import maximum_filter, uniform_filter

from lib import scoring
from lib.training import eq7

EQ7 = dict(clamp=1e-3, patch=32, patch_stride=8)


# Eq. 7


def all_readings(error, *, clamp=1e-3, patch=32, patch_stride=8):
    """Both orders of Eq. 7 of frames that lie in one window each: errors (n, C, H, W) -> name of the reading
    -> (n,)."""
    error = torch.as_tensor(error)
    how = {"clamp": clamp, "patch": patch, "patch_stride": patch_stride}
    first = eq7.readings_of_windows(error, **how)
    values = torch.cat((first, eq7.readings_of_means(eq7.eq7_maps(error, clamp=clamp), **how)), dim=-1)
    return dict(zip(scoring.readings(error.shape[1]), values.T.numpy(), strict=True))


def test_absolute_error_is_scaled_and_keeps_its_colours():
    I = torch.zeros(3, 2, 1, 2)  # (C, T, H, W) in [-1, 1]
    I_hat = I.clone()
    I_hat[:, 0, 0, 0] = torch.tensor([1.0, -0.5, 0.0])
    I_hat[:, 1, 0, 1] = -1.0
    error = eq7.absolute_error(I, I_hat, value_range=2.0)
    assert error.dtype == torch.float32 and error.shape == (2, 3, 1, 2)
    np.testing.assert_allclose(error[0, :, 0, 0], [0.5, 0.25, 0])
    np.testing.assert_allclose(error[1, :, 0], [[0, 0.5]] * 3)
    np.testing.assert_allclose(eq7.absolute_error(I, I_hat, value_range=1.0)[0, :, 0, 0], [1, 0.5, 0])
    batch = eq7.absolute_error(torch.stack((I, I)), torch.stack((I_hat, I)), value_range=2.0)
    assert batch.shape == (2, 2, 3, 1, 2) and batch[1].max() == 0
    np.testing.assert_allclose(batch[0], error)


def test_absolute_error_beyond_the_range_counts_as_one():
    I = torch.ones(1, 1, 1, 1)
    assert eq7.absolute_error(I, -3 * I, value_range=2.0).item() == 1.0


def test_eq7_of_pixels_and_of_the_mean_by_hand():
    error = np.array([[[[0.9, 0.0], [0.0, 0.0]]], [[[0.5, 0.5], [0.5, 0.5]]]])
    got = all_readings(error, patch=240, patch_stride=240)
    for order in scoring.ORDERS:
        np.testing.assert_allclose(
            got[f"absolute/each/pixel/mean/{order}"], [1 / 4, math.log10(2)]
        )  # 1 in 1 of 4 pixels
        np.testing.assert_allclose(
            got[f"absolute/each/mean/mean/{order}"], [-math.log10(1 - 0.225), math.log10(2)]
        )
        np.testing.assert_allclose(
            got[f"square/each/mean/mean/{order}"], [-math.log10(1 - 0.2025), -math.log10(0.75)]
        )
        np.testing.assert_allclose(got[f"absolute/each/pixel/largest_pixel/{order}"], [1, math.log10(2)])


def test_colours_by_hand():
    error = np.zeros((1, 3, 1, 1))
    error[0, 0] = 0.9  # one colour of one pixel
    got = all_readings(error, patch=1, patch_stride=1)
    assert got["absolute/each/pixel/mean/reduce_first"] == pytest.approx(1 / 3)
    assert got["absolute/averaged/pixel/mean/reduce_first"] == pytest.approx(-math.log10(0.7))
    assert got["absolute/each/pixel/largest_pixel/reduce_first"] == pytest.approx(1)
    assert got["square/each/mean/mean/reduce_first"] == pytest.approx(-math.log10(1 - 0.27))
    assert got["square/averaged/mean/mean/reduce_first"] == pytest.approx(-math.log10(1 - 0.09))


def test_eq7_is_clamped():
    error = np.array([[[[1.0]]], [[[0.99]]]])
    got = all_readings(error, clamp=1e-2, patch=1, patch_stride=1)
    for name, values in got.items():
        assert values[0] == pytest.approx(2.0) and values[1] <= 2.0 + 1e-9, name
        assert name.startswith("square") or values[1] == pytest.approx(2.0), name
    assert all_readings(error, patch=1, patch_stride=1)["absolute/each/pixel/mean/reduce_first"][
        0
    ] == pytest.approx(3.0)


@pytest.mark.parametrize(("channels", "size"), [(1, (48, 72)), (3, (30, 45))])
def test_all_readings_against_plain_loops_over_windows(channels, size):
    """A frame that lies in three windows: every reading of Eq. 7 in both orders."""
    errors = (np.random.default_rng(1).random((3, channels, *size)) ** 4).astype(np.float32)
    sides, *firsts = scoring.patch_grid(*size, patch=32, patch_stride=8)
    expected = slow_eq7.readings(errors, clamp=1e-3, side=sides, firsts=firsts)
    assert list(expected) and set(expected) == set(scoring.readings(channels))
    how = {"clamp": 1e-3, "patch": 32, "patch_stride": 8}
    windows = torch.from_numpy(errors)
    first = eq7.readings_of_windows(windows, **how).mean(0)
    then = eq7.readings_of_means(eq7.eq7_maps(windows, clamp=1e-3).double().mean(0), **how)
    got = dict(zip(scoring.readings(channels), [*first.tolist(), *then.tolist()], strict=True))
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=2e-6), name
    assert len({round(value, 5) for value in got.values()}) > 0.75 * len(got)  # the choices do differ


def test_readings_on_a_ucsd_frame_against_plain_loops():
    error = (np.random.default_rng(1).random((1, 240, 360)) ** 4).astype(np.float32)
    starts = [*range(0, 208, 8), 208], [*range(0, 328, 8), 328]
    expected, got = (
        slow_eq7.readings([error], clamp=1e-3, side=(32, 32), firsts=starts),
        all_readings(error[None]),
    )
    for name, value in expected.items():
        assert got[name].item() == pytest.approx(value, rel=2e-6), name


def test_patch_mean_with_stride_one_is_a_box_filter():
    error = np.random.default_rng(2).random((240, 360))
    got = all_readings(error[None, None], patch=9, patch_stride=1)
    box = uniform_filter(error, 9)[4:-4, 4:-4].max()
    assert got["absolute/each/mean/largest_patch_mean/reduce_first"].item() == pytest.approx(
        -math.log10(1 - box), rel=1e-10
    )
    highest = maximum_filter(error, 9)[4:-4, 4:-4].mean()
    assert got["absolute/each/mean/mean_patch_maximum/average_first"].item() == pytest.approx(
        -math.log10(1 - highest), rel=1e-10
    )


def test_patches_are_scaled_to_the_frame_and_reach_every_border():
    sides, rows, columns = scoring.patch_grid(128, 192, patch=32, patch_stride=8)
    assert sides == (17, 17) and np.diff(rows)[0] == 4 and rows[0] == 0
    assert rows[-1] + 17 == 128 and columns[-1] + 17 == 192
    sides, rows, columns = scoring.patch_grid(256, 256, patch=32, patch_stride=8)
    assert sides == (34, 23) and rows[1] == 9 and columns[1] == 6
    assert rows[-1] + 34 == 256 and columns[-1] + 23 == 256
    assert scoring.patch_grid(6, 8, patch=32, patch_stride=8)[0] == (1, 1)
    assert scoring.patch_grid(2400, 3600, patch=32, patch_stride=8)[0] == (320, 320)  # of 240x360 exactly
    corner = np.zeros((1, 1, 128, 192))
    corner[..., -1, -1] = 0.5
    got = all_readings(corner)
    assert all(value.item() > 0 for name, value in got.items())


def test_small_errors_keep_their_digits():
    """Float32 sums over 86,400 pixels would lose the difference, and 1 - e in float32 most of a small e."""
    error = np.full((2, 1, 240, 360), 0.1, dtype=np.float32)
    error[1, 0, 0, 0] += np.float32(1e-4)
    low, high = all_readings(error)["absolute/each/mean/mean/reduce_first"]
    expected = (float(error[1, 0, 0, 0]) - float(error[0, 0, 0, 0])) / 86400 / (0.9 * math.log(10))
    assert high - low == pytest.approx(expected, rel=1e-3)
    faint = all_readings(np.full((1, 1, 4, 4), 1e-4, dtype=np.float32))["square/each/pixel/mean/reduce_first"]
    assert faint.item() == pytest.approx(1e-8 / math.log(10), rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_are_refused_wherever_they_enter(bad):
    values = torch.zeros(1, 4, 4, 4)
    broken = values.clone()
    broken[0, 1, 2, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        eq7.absolute_error(values, broken, value_range=2.0)
    with pytest.raises(ValueError, match="NaN or infinity"):
        all_readings(broken)
    with pytest.raises(ValueError, match="NaN or infinity"):
        eq7.WindowMean(T=4, length=4).add(0, broken[0])


def test_what_does_not_fit_is_refused_with_a_sentence():
    zeros = torch.zeros(1, 1, 4, 4)
    with pytest.raises(scoring.ScoreError, match="must be equal"):
        eq7.absolute_error(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4), value_range=2.0)
    with pytest.raises(scoring.ScoreError, match="clamp is 0"):
        all_readings(zeros, clamp=0)
    with pytest.raises(scoring.ScoreError, match="needs \\[0, 1\\]"):
        all_readings(zeros - 0.5)
    with pytest.raises(scoring.ScoreError, match="patch_stride"):
        all_readings(zeros, patch=8, patch_stride=9)


# Windows


def window_starts(length, T, stride):
    starts = list(range(0, length - T + 1, stride))
    return starts if starts[-1] == length - T else [*starts, length - T]


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("length", range(5, 23))
def test_the_mean_over_windows_against_brute_force(length, stride):
    T, generator = 5, np.random.default_rng(length)
    starts = window_starts(length, T, stride)
    values = generator.normal(size=(len(starts), T, 2))
    expected = np.array(
        [
            np.mean([values[w, f - s] for w, s in enumerate(starts) if s <= f < s + T], axis=0)
            for f in range(length)
        ]
    )
    mean, out = eq7.WindowMean(T=T, length=length), []
    for start, window in zip(starts, values):
        out.append(mean.add(start, torch.from_numpy(window)))
        assert sum(map(len, out)) == start  # all that is before the window is out, nothing more
    out.append(mean.finish())
    np.testing.assert_allclose(np.concatenate(out), expected, rtol=1e-12, atol=1e-14)


def test_first_and_last_frames_by_hand():
    mean = eq7.WindowMean(T=2, length=4)
    out = [
        *(mean.add(start, torch.tensor(v)) for start, v in enumerate(([1.0, 2.0], [4.0, 8.0], [16.0, 32.0]))),
        mean.finish(),
    ]
    np.testing.assert_array_equal(np.concatenate(out), [1.0, 3.0, 12.0, 32.0])


def test_windows_that_leave_a_frame_out_or_come_out_of_order_are_refused():
    with pytest.raises(scoring.ScoreError, match="at least as many"):
        eq7.WindowMean(T=4, length=3)
    mean = eq7.WindowMean(T=4, length=20)
    with pytest.raises(scoring.ScoreError, match="Frame 0 .* in no window"):
        mean.add(1, torch.zeros(4))
    mean = eq7.WindowMean(T=4, length=20)
    mean.add(0, torch.zeros(4))
    with pytest.raises(scoring.ScoreError, match="in order, each once"):
        mean.add(0, torch.zeros(4))
    with pytest.raises(scoring.ScoreError, match="Frame 4 .* in no window"):
        mean.add(5, torch.zeros(4))
    mean = eq7.WindowMean(T=4, length=20)
    mean.add(0, torch.zeros(4))
    with pytest.raises(scoring.ScoreError, match="inside the clip"):
        mean.add(17, torch.zeros(4))
    with pytest.raises(scoring.ScoreError, match="does not reach the end"):
        mean.finish()
    with pytest.raises(scoring.ScoreError, match="A window of 3 values"):
        mean.add(1, torch.zeros(3))


def test_scoring_streams():
    """A mean over windows holds the frames of one window, however long the clip; time grows in proportion.

    That of the whole pass, with its networks and files, is in test_extraction.
    """

    def measure(length, T=8):
        generator, held, out = torch.Generator().manual_seed(0), set(), []
        mean, started = eq7.WindowMean(T=T, length=length), time.process_time()
        for start in window_starts(length, T, 2):
            maps = torch.rand(T, 4, 48, 72, generator=generator)
            out.append(len(mean.add(start, maps)))
            held.add((mean.sums.shape, mean.sums.untyped_storage().nbytes()))
        out.append(len(mean.finish()))
        assert sum(out) == length
        return held, time.process_time() - started

    measure(16)
    (short, seconds), (long, seconds_long) = measure(60), measure(600)
    assert short == long == {((8, 4, 48, 72), 8 * 4 * 48 * 72 * 8)}
    assert seconds_long < 20 * seconds
