"""Pasted anomalies: seeded, in held-out clips, with masks and labels that agree with what was changed."""

import numpy as np
import pytest

from lib.config import Selection
from lib.errors import EvaluationError
from lib.evaluation import pasted_anomalies

HOW = Selection(event=12, region=120, object=80)


def walkers(n: int, seed: int, *, size: int = 48, channels: int = 1) -> np.ndarray:
    """A grey scene with three dark boxes that move one pixel a frame, and a little noise."""
    generator = np.random.default_rng(seed)
    frames = np.full((n, size, size, channels), 150, np.int16)
    for row in (6, 20, 34):
        start = int(generator.integers(size))
        for t in range(n):
            frames[t, row : row + 8, (start + t + np.arange(4)) % size] = 40
    return np.clip(frames + generator.integers(-2, 3, frames.shape), 0, 255).astype(np.uint8)


CLIPS = [walkers(60, seed) for seed in range(5)]


def test_every_fourth_clip_is_held_out_and_of_few_clips_the_last():
    assert pasted_anomalies.held_out(16) == (3, 7, 11, 15)
    assert pasted_anomalies.held_out(3) == (2,)
    with pytest.raises(EvaluationError, match="at least two"):
        pasted_anomalies.held_out(1)


def test_copies_follow_from_the_seed_and_do_not_touch_the_clips():
    before = [clip.copy() for clip in CLIPS]
    once, again, other = (list(pasted_anomalies.pasted_copies(CLIPS, seed=s, how=HOW)) for s in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(before, CLIPS, strict=True))
    assert [copy.kind for copy in once] == list(pasted_anomalies.KINDS) and {
        copy.source for copy in once
    } == {3}
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(once, again, strict=True))
    assert not all(np.array_equal(a.frames, b.frames) for a, b in zip(once, other, strict=True))


@pytest.mark.parametrize("kind", range(3), ids=pasted_anomalies.KINDS)
def test_masks_and_labels_are_where_the_copy_was_changed_visibly(kind):
    copy = list(pasted_anomalies.pasted_copies(CLIPS, seed=0, how=HOW))[kind]
    change = np.abs(copy.frames.astype(int) - CLIPS[3]).max(-1)
    assert np.array_equal(copy.masks, change > pasted_anomalies.VISIBLE)
    seen = np.flatnonzero(copy.masks.any((1, 2)))
    assert copy.labels[seen[0] : seen[-1] + 1].all() and copy.labels.sum() == seen[-1] + 1 - seen[0]
    assert 3 <= copy.labels.sum() <= HOW.event
    assert copy.masks[copy.labels].mean() < 0.35, "a small part of the frame"
    assert not change[~copy.labels].max() > pasted_anomalies.VISIBLE


def test_a_fast_region_shows_frames_from_later_on_at_its_speed_and_fades_at_its_edge():
    place = pasted_anomalies.Place(rows=(10, 40), columns=(10, 40), first=5, count=10, speed=3)
    frames = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None, None], (60, 48, 48, 1))
    copy = pasted_anomalies.replay(np.array(frames), frames, place)
    assert copy[9, 25, 25, 0] == 5 + 4 * 3, "frame 9 is the 4th of the replay, which is whole by then"
    assert copy[9, 0, 0, 0] == 9 and 9 < copy[9, 10, 25, 0] < 17, "outside unchanged, at the edge in between"
    assert copy[5, 25, 25, 0] == 5 and copy[15, 25, 25, 0] == 15


def test_a_region_is_put_where_something_moves():
    still = np.full((60, 96, 96, 1), 128, np.uint8)
    still[:, :48, :48] = walkers(60, 0)
    how = Selection(event=12, region=60)
    for seed in range(5):
        place = pasted_anomalies.fast_region(still, np.random.default_rng(seed), how)
        assert place.rows[0] < 48 and place.columns[0] < 48


def test_an_object_is_cut_from_another_clip_wider_than_high_and_moves_at_its_speed():
    donor = walkers(40, 9)
    patch, outline = pasted_anomalies.cut_object([donor], (48, 48), np.random.default_rng(0), HOW)
    assert patch.shape[:2] == outline.shape and patch.shape[1] > patch.shape[0]
    assert patch.min() < 100, "a dark box, as those that walk there"
    copy = next(c for c in pasted_anomalies.pasted_copies(CLIPS, seed=0, how=HOW) if c.kind == "foreign")
    columns = [np.flatnonzero(mask.any(0)).mean() for mask in copy.masks if mask.any()]
    steps = np.abs(np.diff(columns))
    expected = pasted_anomalies.CROSSING * 48 / 360
    assert 0.5 * expected < steps.mean() < 2 * expected


def test_where_nothing_moves_a_piece_of_the_scene_is_taken():
    still = np.tile(np.random.default_rng(0).integers(0, 255, (1, 48, 48, 1), dtype=np.uint8), (40, 1, 1, 1))
    patch, outline = pasted_anomalies.cut_object([still], (48, 48), np.random.default_rng(0), HOW)
    assert np.isfinite(patch).all() and 0 < outline.max() <= 1


def test_colours_and_many_or_long_clips():
    clips = [walkers(250, seed, channels=3) for seed in range(2)]
    copies = list(pasted_anomalies.pasted_copies(clips, seed=0, how=HOW))
    assert all(copy.frames.shape == (pasted_anomalies.FRAMES, 48, 48, 3) for copy in copies)
    many = [walkers(40, seed) for seed in range(4)] * 10
    copies = list(pasted_anomalies.pasted_copies(many, seed=0, how=HOW))
    assert len({copy.source for copy in copies}) == pasted_anomalies.CLIPS
    assert {copy.source for copy in copies} <= set(pasted_anomalies.held_out(40))


@pytest.mark.parametrize("wrong", [{"opacity": 0.0}, {"opacity": 1.5}, {"fastest": 1}])
def test_what_cannot_be_pasted_is_refused(wrong):
    with pytest.raises(EvaluationError, match="selection.opacity"):
        list(pasted_anomalies.pasted_copies(CLIPS, seed=0, how=Selection(**wrong)))


def test_a_clip_that_is_too_short_is_refused():
    with pytest.raises(EvaluationError, match="too short"):
        list(pasted_anomalies.pasted_copies([walkers(8, 0), walkers(8, 1)], seed=0, how=HOW))
