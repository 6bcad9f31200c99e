"""Whether pixels are the official ones, and clips in which nothing happens."""

import json

import numpy as np
import pytest

from lib import paths
from lib.datasets import official
from lib.datasets.prepared import nothing_happens


@pytest.fixture
def known(tmp_path, monkeypatch):
    frames = {
        name: [np.full((4, 6), level + i, np.uint8) for i in range(3)]
        for name, level in (("a", 10), ("b", 90))
    }
    digests = {name: official.digest_of_pixels(content) for name, content in frames.items()}
    (tmp_path / "digests.json").write_text(json.dumps(digests))
    monkeypatch.setattr(paths, "PED2_DIGESTS", tmp_path / "digests.json")
    return frames


def test_pixels_without_loss_are_official_in_whatever_file(known):
    as_colour = [np.repeat(frame[..., None], 3, axis=2) for frame in known["b"]]
    found = {"a": official.digest_of_pixels(known["a"]), "b": official.digest_of_pixels(as_colour)}
    assert official.verdict(found) == "the pixels of all 2 clips are the official ones"


def test_one_level_in_one_pixel_is_another_picture(known):
    known["b"][2][0, 0] += 1
    found = {name: official.digest_of_pixels(content) for name, content in known.items()}
    assert official.verdict(found) == (
        "the pixels of 1 of 2 clips differ from the official ones (b): re-encoded or changed"
    )
    backwards = {name: official.digest_of_pixels(content[::-1]) for name, content in known.items()}
    assert official.verdict(backwards).startswith(
        "the pixels of all 2 clips differ from the official ones: re-encoded"
    )


def test_the_table_has_every_clip_of_ped2():
    digests = json.loads(paths.PED2_DIGESTS.read_text())
    assert sorted(digests) == [f"Test{i:03d}" for i in range(1, 13)] + [f"Train{i:03d}" for i in range(1, 17)]
    assert all(len(sha) == 64 for sha in digests.values()) and len(set(digests.values())) == 28


def scene(n=30, walker=True) -> np.ndarray:
    rng = np.random.default_rng(0)
    frames = np.repeat(
        rng.integers(40, 200, (8, 12)).astype(np.uint8).repeat(8, 0).repeat(8, 1)[None], n, 0
    ).copy()
    for i in range(n if walker else 0):
        frames[i, 30:38, 2 * i : 2 * i + 4] = 250  # small, far away
    return frames[..., None]


def test_a_clip_in_which_nothing_happens():
    noise = np.random.default_rng(1).normal(0, 4, (30, 64, 96, 1))
    assert nothing_happens(scene()) == ""
    assert nothing_happens(scene(walker=False)) == "frozen"
    assert nothing_happens(np.zeros((30, 64, 96, 3), np.uint8)) == "black"
    assert nothing_happens(np.clip(3 + noise, 0, 255).astype(np.uint8)) == "black"
    assert nothing_happens((90 + noise).astype(np.uint8)) == "without contrast, as with a covered lens"
    late = scene(walker=False)
    late[20:] = scene()[20:]
    assert nothing_happens(late) == ""
    assert nothing_happens(scene(1)) == ""
