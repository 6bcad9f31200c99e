"""What moves in a clip, and what is left of it as background."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from lib.datasets import background as module
from lib.errors import ScoreError


def moving_square(length=60, channels=3):
    generator = np.random.default_rng(0)
    background = generator.integers(60, 100, size=(48, 64, channels))
    frames = np.empty((length, 48, 64, channels), dtype=np.uint8)
    for t in range(length):
        noise = generator.integers(-2, 3, size=background.shape)
        frames[t] = background + noise
        if t >= 10:  # the first frames show the background alone
            frames[t, 20:28, t : t + 6] = 220
    return background, frames


@pytest.mark.parametrize("channels", [1, 3])
def test_foreground_is_what_moves_dilated_by_five(channels):
    background, frames = moving_square(channels=channels)
    estimate = module.mog_background(iter(frames))
    assert estimate.shape == background.shape
    still = np.s_[:15]  # rows that the square never reaches
    assert np.abs(estimate[still].astype(int) - background[still]).max() <= 6
    mask = module.foreground(frames, estimate)
    assert mask.shape == (60, 48, 64) and mask.dtype == bool
    assert mask[30, 20:28, 30:36].all() and mask[30, 24, 25:41].all() and not mask[30, 24, :20].any()
    assert not mask[30, :14].any()
    difference = np.abs(frames.astype(int) - estimate).sum(-1) * (3 / channels)
    expected = [binary_dilation(moving > 128, iterations=5) for moving in difference]
    np.testing.assert_array_equal(mask, expected)


def test_the_threshold_is_128_over_the_sum_of_three_channels():
    background = np.full((21, 21, 3), 100, dtype=np.uint8)
    frames = np.repeat(background[None], 2, axis=0)
    frames[0, 10, 10] = 143, 143, 58  # 43 + 43 + 42 = 128: not above
    frames[1, 10, 10] = 143, 143, 57  # 129
    mask = module.foreground(frames, background)
    assert not mask[0].any()
    rows, columns = np.indices((21, 21))
    np.testing.assert_array_equal(mask[1], abs(rows - 10) + abs(columns - 10) <= 5)


def test_a_clip_without_frames_has_no_background():
    with pytest.raises(ScoreError, match="no frames"):
        module.mog_background(iter([]))
