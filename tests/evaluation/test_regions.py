"""Region and track metrics against values worked out by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from lib.datasets.prepared import Clip
from lib.errors import EvaluationError
from lib.evaluation import regions
from lib.scoring import readings
from lib.training.eq7 import readings_of_windows


def test_regions_are_boxes_around_connected_parts():
    mask = np.zeros((8, 10), dtype=bool)
    mask[1:3, 2:5] = True
    mask[3, 5] = True  # touches by a corner: the same region
    mask[6, 8] = True
    assert sorted(regions.regions(mask).tolist()) == [[2, 1, 6, 4], [8, 6, 9, 7]]
    assert regions.regions(mask, min_area=2).tolist() == [[2, 1, 6, 4]]
    assert regions.regions(np.zeros((4, 4), dtype=bool)).shape == (0, 4)


def test_detections_at_falling_levels_grow():
    error = np.zeros((6, 6))
    error[1:5, 1:5], error[2:4, 2:4] = 0.5, 0.9
    high, low, none = regions.detect(error, np.array([0.7, 0.3, 0.95]), min_area=1)
    assert high.tolist() == [[2, 2, 4, 4]] and low.tolist() == [[1, 1, 5, 5]] and len(none) == 0


def test_a_smoothed_error_map_is_reflected_at_its_border():
    error = np.zeros((240, 360))  # where a patch of 3 pixels is 3 pixels
    error[1, 1] = 9.0
    # Around the corner lie rows and columns 1, 0, 1: the one pixel is there four times, and twice beside an
    # edge.
    np.testing.assert_allclose(regions.smooth(error, patch=3)[:3, :3], [[4, 2, 2], [2, 1, 1], [2, 1, 1]])


def test_overlap_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]])
    np.testing.assert_allclose(regions.overlap(boxes[:1], boxes), [[1, 1 / 7, 0]])
    assert regions.overlap(np.empty((0, 4)), boxes).shape == (0, 3)


def box(x, y, side=10):
    return [x, y, x + side, y + side]


def test_rates_by_hand():
    """Two frames with a track of an object, one frame without; two levels."""
    none = np.empty((0, 4))
    frames = [
        ([np.array([box(0, 0)]), np.array([box(0, 0), box(50, 50)])], np.array([box(0, 0)]), ["a"]),
        ([none, np.array([box(3, 3), box(80, 80)])], np.array([box(0, 0), box(30, 30)]), ["a", "b"]),
        ([none, np.array([box(0, 0)])], none, []),
    ]
    rates = regions.region_rates(iter(frames))
    # box(3, 3) overlaps by 49 / 151, no false alarm
    np.testing.assert_allclose(rates.false_positives, [0, 3 / 3])
    np.testing.assert_allclose(rates.regions_found, [1 / 3, 2 / 3])
    np.testing.assert_allclose(rates.tracks_found, [1 / 2, 1 / 2])
    assert rates.rbdc == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert rates.tbdc == pytest.approx(1 / 2)
    strict = regions.region_rates(iter(frames), alpha=0.6, beta=0.5)
    np.testing.assert_allclose(strict.regions_found, [1 / 3, 1 / 3])
    np.testing.assert_allclose(strict.false_positives, [0, 4 / 3])
    np.testing.assert_allclose(strict.tracks_found, [0, 0])  # one of two regions is less than 0.6
    np.testing.assert_allclose(regions.region_rates(iter(frames), alpha=0.5).tracks_found, [0.5, 0.5])


def test_one_detection_may_find_several_regions_and_thresholds_are_inclusive():
    wide = np.array([[0, 0, 20, 10]])
    rates = regions.region_rates([([wide], np.array([box(0, 0), box(10, 0)]), None)], beta=0.5)
    assert rates.regions_found.tolist() == [1.0] and rates.false_positives.tolist() == [0.0]
    assert rates.tracks_found is None and rates.tbdc is None


def test_a_perfect_map_scores_one_and_noise_far_less():
    generator = np.random.default_rng(0)
    masks = np.zeros((30, 48, 64), dtype=bool)
    for t in range(30):
        masks[t, 10:20, t : t + 12] = True
    levels = np.array([0.2, 0.5, 0.8])

    def rates(maps):
        return regions.region_rates(
            (regions.detect(error, levels, min_area=4), regions.regions(mask), [0])
            for error, mask in zip(maps, masks)
        )

    perfect, noise = rates(masks * 1.0), rates(generator.random(masks.shape))
    assert perfect.rbdc == perfect.tbdc == 1.0
    assert noise.rbdc < 0.2
    with pytest.raises(EvaluationError, match="no true region"):
        regions.region_rates([([np.empty((0, 4))], np.empty((0, 4)), None)])


@pytest.mark.parametrize(
    ("false_positives", "rate", "area"),
    [
        ([0.0], [1.0], 1.0),
        ([0.5], [1.0], 0.75),  # a line from the origin, then level
        ([2.0], [1.0], 0.25),  # cut at one: half way up the line
        ([0.0, 1.0], [0.2, 0.6], 0.4),
        ([0.2, 0.6, 0.4], [0.5, 0.4, 0.5], 0.05 + 0.4),  # a later fall of the rate does not count
        # of two with equally many the better counts
        ([1.0, 1.0], [0.6, 0.2], 0.3),
        ([0.5, 0.5], [0.2, 0.6], 0.15 + 0.3),
        ([3.0, 0.0], [0.9, 0.3], (0.3 + 0.5) / 2),
    ],
)
def test_area_up_to_one_false_positive_a_frame(false_positives, rate, area):
    assert regions.area_to_one(np.array(false_positives), np.array(rate)) == pytest.approx(area)


# From maps to numbers


def moving_square(n=30):
    masks = np.zeros((n, 48, 72), dtype=bool)
    for t in range(n):
        masks[t, 10:22, t : t + 16] = True
    return masks


def test_maps_are_averaged_over_the_patch_of_the_score():
    error = np.zeros((48, 72))
    error[24, 36] = 1.0
    # 5x5 pixels of a frame of a fifth of 240x360
    smoothed = regions.smooth(error, patch=25)
    assert smoothed[22:27, 34:39] == pytest.approx(1 / 25) and smoothed.sum() == pytest.approx(1.0)
    noise = np.random.default_rng(0).random((1, 48, 72))
    largest = regions.smooth(noise[0], patch=25)[2:-2, 2:-2].max()  # patches that lie within the frame
    values = readings_of_windows(torch.from_numpy(noise[None]), clamp=1e-6, patch=25, patch_stride=5)
    reading = values[:, readings(1).index("absolute/each/mean/largest_patch_mean/reduce_first")]
    assert -np.log10(1 - largest) == pytest.approx(reading.item(), rel=1e-5)


def test_a_map_that_follows_the_object_finds_it_and_one_that_looks_elsewhere_does_not():
    masks = moving_square()
    truth = masks.astype(np.float32)
    assert regions.localise(truth, masks, patch=20).rbdc > 0.95
    # the lower half of the frame
    assert regions.localise(truth[:, ::-1], masks, patch=20).rbdc == 0.0
    assert regions.localise(truth, masks, patch=20).tbdc is None


def test_thresholds_reach_from_everything_to_a_few_of_the_frames():
    maps = np.random.default_rng(1).random((40, 24, 36)).astype(np.float32)
    levels = regions.thresholds(maps, patch=20)
    assert (np.diff(levels) > 0).all() and len(levels) == regions.LEVELS
    peaks = np.array([regions.smooth(m, patch=20).max() for m in maps])
    assert levels[0] == 0 and min(peaks) in levels and 1 <= np.count_nonzero(peaks > levels[-1]) <= 3


def test_tracks_are_those_of_the_table_and_count_over_the_set():
    clips = (Clip("01", "test", 0, 2), Clip("02", "test", 2, 2))
    table = pd.DataFrame(
        {
            "clip": ["01", "01", "02"],
            "frame": [0, 1, 1],
            "track": [0, 0, 0],
            "kind": "bag",
            "x0": [10, 12, 40],
            "y0": [10, 10, 20],
            "x1": [26, 28, 56],
            "y1": [22, 22, 32],
        }
    )
    found = regions.tracks_of(table, clips)
    assert found[2] is None and found[3][0].tolist() == [[40, 20, 56, 32]] and found[3][1] == [("02", 0)]
    masks = np.zeros((4, 48, 72), dtype=bool)
    for row, own in enumerate(found):
        for x0, y0, x1, y1 in [] if own is None else own[0]:
            masks[row, y0:y1, x0:x1] = True
    maps = masks.astype(np.float32)
    maps[3] = 0  # the second clip's track is missed
    rates = regions.localise(maps, masks, patch=20, tracks=found)
    assert rates.tracks_found.max() == 0.5 and rates.regions_found.max() == pytest.approx(2 / 3)


def test_frame_differences_start_anew_in_each_clip():
    frames = np.zeros((4, 6, 8, 1), np.uint8)
    frames[1], frames[2], frames[3] = 10, 100, 103
    maps = regions.FrameDifferences(frames, np.array([0, 0, 1, 1]))
    assert [m.mean() for m in maps] == [10, 10, 3, 3] and maps[0].shape == (6, 8)
    assert [m.mean() for m in regions.FrameDifferences(frames[:1], np.array([0]))] == [0]
