"""The generated data set: same bytes, UCSD's layout, labels that agree, anomalies that are what they are
called, and no easy points for scorers that learn nothing."""

import csv
import hashlib
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.datasets import synthetic
from lib.datasets.synthetic import KINDS, LANES, RUN, WALK, body_height, generate
from lib.errors import SyntheticError
from lib.evaluation import protocols

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"seed": 3, "train_clips": 2, "test_clips": 3, "clip_frames": 24, "height": 32, "width": 48}
TIMES, ASPECT = np.arange(400), 1.5


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def images(folder: Path) -> np.ndarray:
    return np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(folder.iterdir())])


def tracks(folder: Path) -> list[dict]:
    with (folder / "Test" / "tracks.csv").open(newline="") as file:
        return [
            {name: value if name in ("clip", "kind") else int(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def labels_of(folder: Path, frames: int) -> list[np.ndarray]:
    """The label file, read without the kit's reader."""
    labels, file = [], next((folder / "Test").glob("*.m"))
    for text in re.findall(r"TestVideoFile\{end\+1\}\.gt_frame = \[(.*)\];", file.read_text()):
        labels.append(np.zeros(frames, bool))
        for first, last in re.findall(r"(\d+):(\d+)", text):
            labels[-1][int(first) - 1 : int(last)] = True
    return labels


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("small") / "synthetic", **SMALL)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The default test clips, with fewer training clips, for three seeds."""
    folder = tmp_path_factory.mktemp("full")
    size = {"clip_frames": 120, "height": 64, "width": 96}
    return [
        generate(folder / f"seed{seed}", seed=seed, train_clips=4 if seed == 0 else 1, test_clips=12, **size)
        for seed in range(3)
    ]


# -- files


def test_same_parameters_give_the_same_bytes_and_another_seed_does_not(small, tmp_path):
    again = generate(tmp_path / "synthetic", **SMALL)
    assert contents(again) == contents(small)
    other = contents(generate(tmp_path / "other" / "synthetic", **SMALL | {"seed": 4}))
    assert set(other) == set(contents(small))
    assert not {
        name for name, digest in contents(small).items() if other[name] == digest and name.endswith(".tif")
    }


def test_the_seed_decides_who_walks_and_not_only_where(monkeypatch, tmp_path):
    background = synthetic.background
    monkeypatch.setattr(
        synthetic, "background", lambda rng, **size: background(np.random.default_rng(0), **size)
    )
    one, other = (
        contents(generate(tmp_path / f"{seed}" / "synthetic", **SMALL | {"seed": seed})) for seed in (3, 4)
    )
    assert not {name for name, digest in one.items() if other[name] == digest and name.endswith(".tif")}


def test_frames_carry_no_time(small):
    date_time = (306).to_bytes(2, "little") + (2).to_bytes(2, "little")  # the tag, of type text
    assert not [path for path in small.rglob("*.tif") if date_time in path.read_bytes()]


def test_the_layout_is_ucsds(small):
    assert sorted(path.name for path in small.iterdir()) == ["Test", "Train", "generator.json"]
    assert sorted(path.name for path in (small / "Train").iterdir()) == ["Train001", "Train002"]
    assert sorted(path.name for path in (small / "Test").iterdir()) == [
        "Test001",
        "Test001_gt",
        "Test002",
        "Test002_gt",
        "Test003",
        "Test003_gt",
        "synthetic.m",
        "tracks.csv",
    ]
    for clip, suffix in (("Train/Train001", "tif"), ("Test/Test003", "tif"), ("Test/Test003_gt", "bmp")):
        assert sorted(path.name for path in (small / clip).iterdir()) == [
            f"{n:03d}.{suffix}" for n in range(1, 25)
        ]
        assert images(small / clip).shape == (24, 32, 48) and images(small / clip).dtype == np.uint8
    assert set(np.unique(images(small / "Test" / "Test001_gt"))) <= {0, 255}


def test_the_kits_reader_accepts_it(small):
    from lib.datasets import layouts

    raw = layouts.read(
        dataset="synthetic", raw=small, avenue_labels="masks", subset=False, memory={}, progress=print
    )
    assert [clip.name for clip in raw.clips] == ["Train001", "Train002", "Test001", "Test002", "Test003"]
    for clip, labels in zip(raw.split("test"), labels_of(small, 24)):
        assert np.array_equal(clip.labels, labels)
    assert raw.tracks == small / "Test" / "tracks.csv"


@pytest.mark.parametrize("size", [(64, 96), (96, 144)])
def test_the_size_changes_the_picture_and_not_what_happens(small, tmp_path, size):
    height, width = size
    larger = generate(tmp_path / "synthetic", **SMALL | {"height": height, "width": width})
    assert (larger / "Test" / "synthetic.m").read_text() == (small / "Test" / "synthetic.m").read_text()
    assert images(larger / "Train" / "Train001").shape == (24, height, width)
    # the same share of the picture is masked, but for the pixels at edges
    share, expected = (images(folder / "Test" / "Test001_gt").mean() / 255 for folder in (larger, small))
    assert share == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("size", [(128, 192), (240, 360)])
def test_larger_frames_can_be_made(tmp_path, size):
    few = {"train_clips": 1, "clip_frames": 3}
    folder = generate(tmp_path / "s", **SMALL | few | {"height": size[0], "width": size[1]})
    assert images(folder / "Train" / "Train001").shape == (3, *size)


# -- labels


def test_labels_masks_and_tracks_say_the_same(full):
    folder = full[0]
    rows, labels = tracks(folder), labels_of(folder, 120)
    assert len(labels) == 12
    for number, truth in enumerate(labels, start=1):
        clip = f"Test{number:03d}"
        masks = images(folder / "Test" / f"{clip}_gt") > 0
        own = [row for row in rows if row["clip"] == clip]
        assert np.array_equal(masks.any((1, 2)), truth)
        assert {row["frame"] for row in own} == set(np.flatnonzero(truth))
        assert {row["kind"] for row in own} <= {KINDS[number - 1]}
        for frame in np.flatnonzero(truth):
            y, x = np.nonzero(masks[frame])
            boxes = np.array(
                [[row[name] for name in ("x0", "y0", "x1", "y1")] for row in own if row["frame"] == frame]
            )
            assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (
                *boxes[:, :2].min(0),
                *boxes[:, 2:].max(0),
            )
            middle = (boxes[:, 0] + boxes[:, 2]) / 2
            assert ((middle >= 0) & (middle <= 96)).all()


def test_each_clip_has_normal_and_abnormal_frames_but_for_the_normal_one(full):
    for folder in full:
        labels = labels_of(folder, 120)
        assert [0 < truth.mean() < 1 for truth in labels] == [kind != "normal" for kind in KINDS]
        assert 0.35 <= np.concatenate(labels).mean() <= 0.50


def test_training_clips_are_made_of_normal_walkers_alone(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(synthetic, "anomaly", lambda rng, kind, **more: made.append(kind) or [])
    generate(tmp_path / "s", **SMALL | {"train_clips": 4, "test_clips": 2, "clip_frames": 2})
    assert made == list(KINDS[:2])


# -- what moves, and how


def crowd(seed: int):
    return synthetic.crowd(np.random.default_rng(seed), times=TIMES, aspect=ASPECT, free=None)


def anomaly(kind: str, lane: float, seed: int = 0):
    """The abnormal actors, each with the frames in which it is one and is in the picture."""
    actors = synthetic.anomaly(
        np.random.default_rng(seed), kind, times=TIMES, aspect=ASPECT, lane=lane, phase=0.3
    )
    for actor in actors:
        if actor.abnormal is not None:
            during = np.flatnonzero(actor.abnormal & (actor.x >= 0) & (actor.x < ASPECT))
            if len(during) > 10:
                yield actor, during


def pace(actor, frames) -> np.ndarray:
    """Signed, in body heights a frame, between neighbouring frames of `frames`."""
    return np.diff(actor.x[frames]) / body_height(actor.feet)


def lift(actor) -> np.ndarray:
    """(T,) how high the lowest point of an actor is above the ground, in body heights."""
    lowest = np.max([shape.points[..., 1].max(-1) + shape.radius for shape in actor.shapes], axis=0)
    return (actor.feet - lowest) / body_height(actor.feet)


@pytest.mark.parametrize("seed", range(3))
def test_normal_people_walk_in_the_direction_of_their_lane(seed):
    for actor in crowd(seed):
        lane = min(LANES, key=lambda lane: abs(lane - actor.feet))
        speed = pace(actor, TIMES) * synthetic.way(lane)
        assert actor.kind == "walking" and actor.abnormal is None
        assert WALK[0] * 0.92 - 1e-9 <= speed.min() and speed.max() <= WALK[1] * 1.08 + 1e-9
        assert abs(lift(actor)).max() < 0.15


def test_lanes_lead_both_ways():
    assert [synthetic.way(lane) for lane in LANES] == [-1, -1, 1, 1, 1]


@pytest.mark.parametrize("lane", LANES[1:])
def test_anomalies_differ_as_they_are_called(lane):
    way = synthetic.way(lane)
    for kind in ("cart", "bicycle", "jumping"):
        for actor, during in anomaly(kind, lane):
            assert np.all(
                (pace(actor, during) * way >= WALK[0]) & (pace(actor, during) * way <= WALK[1] + 1e-9)
            )
    for actor, during in anomaly("wrong_way", lane):
        assert np.all(
            (-pace(actor, during) * way >= WALK[0]) & (-pace(actor, during) * way <= WALK[1] + 1e-9)
        )
    for actor, during in anomaly("running", lane):
        assert np.all(
            (pace(actor, during) * way >= RUN[0] - 1e-9) & (pace(actor, during) * way <= RUN[1] + 1e-9)
        )
        before = np.flatnonzero(during[0] > TIMES)
        if during[0] > 0 and actor.abnormal[during[0]] and not actor.abnormal[during[0] - 1]:
            assert np.all(pace(actor, before) * way <= WALK[1] + 1e-9)
    jumpers = list(anomaly("jumping", lane))
    assert jumpers
    for actor, during in jumpers:
        assert lift(actor)[during].max() > 0.35 and lift(actor)[~actor.abnormal].max() < 0.15
    flights = [lift(actor)[during] for actor, during in anomaly("bag", lane)]
    assert flights and all(flight.min() > 0.3 and np.ptp(flight) > 0.35 for flight in flights)


def test_a_runners_stride_is_longer_and_quicker_than_a_walkers():
    """Measured on the drawing: how often, and how far apart, the feet part."""
    track = synthetic.Track(0.8, body_height(0.8), 1, ASPECT)
    found = []
    for speed, run in ((np.mean(WALK), 0.0), (np.mean(RUN), 1.0)):
        walker = track.walker(np.random.default_rng(0), track.h * speed * TIMES, run=run)
        limbs = [shape.points[:, -1, 0] for shape in walker.shapes if shape.points.shape[1] == 3]
        legs = limbs[1:3]  # drawn between the far and the near arm
        apart = (legs[0] - legs[1]) / track.h
        found.append((np.count_nonzero(np.diff(np.sign(apart))), np.abs(apart).max()))
    assert found[1][0] > 1.2 * found[0][0] and found[1][1] > 1.1 * found[0][1]


def test_anomalies_have_no_tones_of_their_own():
    usual = [shape.tone for actor in crowd(0) for shape in actor.shapes]
    for kind in set(KINDS) - {"normal"}:
        tones = [shape.tone for actor, _ in anomaly(kind, LANES[3]) for shape in actor.shapes]
        assert tones and min(usual) <= min(tones) and max(tones) <= max(usual) + 12


def test_a_wrong_way_walker_in_the_files_goes_against_the_lane(full):
    for folder in full:
        rows = [row for row in tracks(folder) if row["kind"] == "wrong_way"]
        for track in {row["track"] for row in rows}:
            own = [row for row in rows if row["track"] == track]
            if len(own) > 20:
                middle = [(row["x0"] + row["x1"]) / 2 for row in own]
                lane_leads = -1 if np.mean([row["y1"] for row in own]) / 64 < synthetic.DIVIDE else 1
                assert np.sign(middle[-1] - middle[0]) == -lane_leads


# -- difficulty (benchmarks/synthetic_difficulty.py has the full table)


def test_scorers_that_learn_nothing_fail(full):
    found, paper = {}, protocols.PROTOCOLS["paper"]
    for seed, folder in enumerate(full):
        frames = np.concatenate([images(folder / "Test" / f"Test{number:03d}") for number in range(1, 13)])
        clip_ids, labels = np.repeat(np.arange(12), 120), np.concatenate(labels_of(folder, 120))
        scorers = protocols.trivial_scorers(frames[..., None], clip_ids, np.random.default_rng(seed))
        for name, scores in scorers.items():
            found.setdefault(name, []).append(protocols.frame_auc(scores, labels, clip_ids, paper))
    means = {name: np.mean(values) for name, values in found.items()}
    assert all(means[name] <= 0.60 for name in ("frame position", "mean intensity", "random")), means
    assert all(means[name] <= 0.70 for name in ("largest frame difference", "mean frame difference")), means


def test_a_scorer_that_learns_does_not(full, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import synthetic_difficulty

    train, test, labels = synthetic_difficulty.load(full[0])
    chosen = [KINDS.index(kind) for kind in ("cart", "running", "bag", "wrong_way")]
    scores = synthetic_difficulty.principal_components(train, [test[i] for i in chosen])
    for kind, own, i in zip(("cart", "running", "bag", "wrong_way"), scores, chosen):
        assert synthetic_difficulty.auc([own], [labels[i]]) > 0.75, kind
    sys.modules.pop("synthetic_difficulty")


# -- the folder


def test_a_folder_with_the_same_parameters_is_left_alone(small, monkeypatch):
    monkeypatch.setattr(synthetic, "write", lambda *a, **k: pytest.fail("it was written again"))
    assert generate(small, **SMALL) == small


def test_a_folder_with_other_parameters_is_replaced(tmp_path):
    folder = generate(tmp_path / "s", **SMALL)
    generate(folder, **SMALL | {"train_clips": 1})
    assert [path.name for path in (folder / "Train").iterdir()] == ["Train001"]
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["s"]


def test_a_folder_of_other_code_is_replaced(tmp_path, monkeypatch):
    folder = generate(tmp_path / "s", **SMALL)
    note = folder / "generator.json"
    now = note.read_text()
    note.write_text(re.sub(r'"code": "\w+"', '"code": "0"', now))
    generate(folder, **SMALL)
    assert note.read_text() == now


def test_a_folder_that_was_not_generated_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SyntheticError, match="not generated"):
        generate(tmp_path, **SMALL)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_interrupted_generation_leaves_no_data_set(tmp_path, monkeypatch):
    real, calls = synthetic.save, []

    def fail(folder, film, suffix):
        calls.append(folder)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(folder, film, suffix)

    monkeypatch.setattr(synthetic, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "s", **SMALL)
    assert not (tmp_path / "s").exists()
    monkeypatch.setattr(synthetic, "save", real)
    assert (generate(tmp_path / "s", **SMALL) / "Test" / "s.m").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["s"]


@pytest.mark.parametrize(
    "name, value",
    [("seed", -1), ("train_clips", 0), ("test_clips", 1000), ("clip_frames", 1), ("height", 16)],
)
def test_parameters_out_of_range_are_named(tmp_path, name, value):
    with pytest.raises(SyntheticError, match=f"{name} is {value}"):
        generate(tmp_path / "s", **SMALL | {name: value})
    assert not (tmp_path / "s").exists()
