"""The AUC along a training: what is measured at a point, and that an interrupted run ends as a whole one."""

import json

import numpy as np
import pytest
from test_selection_trials import CONFIG, LENGTHS, moving

from lib.config import changed
from lib.datasets.prepared import open_prepared
from lib.errors import TrainingError
from lib.evaluation.protocols import PROTOCOLS, frame_auc
from lib.scoring import clip_ids, reading_of
from lib.training import extraction, growth, loop, selection_trials, stage1

GROWS = changed(changed(CONFIG, "autoencoder.steps", 4), "autoencoder.epoch_steps", 2)
GROWS = changed(GROWS, "autoencoder.snapshots", 2)
QUIET = {"tick": lambda *_: None, "say": lambda line: None}


@pytest.fixture
def data(tmp_path):
    """Five training clips in which boxes move, and two test clips in which one jumps."""
    generator, folder, jumps = np.random.default_rng(0), tmp_path / "prepared", range(10, 20)
    folder.mkdir()
    clips = {
        "train": [moving(generator, length, number) for number, length in enumerate(LENGTHS)],
        "test": [moving(generator, 30, 7, jumps), moving(generator, 26, 3, jumps)],
    }
    names = {}
    for split, arrays in clips.items():
        np.save(folder / f"{split}_frames.npy", np.concatenate(arrays))
        starts = np.cumsum([0, *map(len, arrays)])
        names[split] = [
            {"name": f"{split}{n}", "start": int(starts[n]), "length": len(a)} for n, a in enumerate(arrays)
        ]
    labels = np.concatenate([np.isin(np.arange(len(a)), jumps) for a in clips["test"]])
    np.save(folder / "test_labels.npy", labels)
    manifest = {"format": 1, "dataset": "synthetic", "subset": False, "clips": names}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_prepared(folder)


@pytest.fixture
def clips(data, tmp_path):
    return selection_trials.prepare_clips(data, GROWS, seed=0, out=tmp_path / "clips")


def run(data, clips, folder):
    weights = growth.train(GROWS, clips, seed=3, folder=folder, identity="x" * 64, **QUIET)
    how = {"seed": 3, "folder": folder, "identity": "x" * 64, "tick": QUIET["tick"]}
    return [growth.measure(GROWS, clips, data, own, step=step, **how) for step, own in weights.items()]


def test_each_point_scores_both_sets_of_clips_by_the_weights_of_its_step(data, clips, tmp_path, monkeypatch):
    first, last = run(data, clips, tmp_path / "growth")
    assert [(row["step"], row["windows"], row["clips"]) for row in first + last] == [
        (2, 4, "held out"),
        (2, 4, "test"),
        (4, 8, "held out"),
        (4, 8, "test"),
    ]
    # The last point's R, from the weights of a training that is done here by hand.
    model, _ = stage1.train_autoencoder(
        GROWS, clips, two_path=True, seed=3, folder=tmp_path, identity="y" * 64, **QUIET
    )
    model.load_state_dict(loop.half(model.state_dict()))
    strided = changed(GROWS, "features.test_stride", selection_trials.STRIDE)
    for own, row in zip((clips, data), last, strict=True):
        folder = tmp_path / row["clips"]
        folder.mkdir()
        extraction.extract(model.eval(), own, strided, folder=folder, identity="z" * 64, **QUIET)
        R = np.load(folder / "test_errors.npz")[reading_of(GROWS.score, channels=1)]
        expected = frame_auc(R, own.labels, clip_ids(own.clips("test")), PROTOCOLS["paper"])
        assert row["R"] == pytest.approx(expected, abs=1e-9)
    assert first[0]["R"] != last[0]["R"], "the weights of each step are used"
    for row in first + last:
        assert all(0 <= row[score] <= 1 for score in ("F_app", "F_mot", "L", "S"))

    # Interrupted before its last point, it goes on with that and ends the same.
    (tmp_path / "growth" / f"point-4-{'x' * 12}.json").unlink()
    monkeypatch.setattr(stage1, "train_autoencoder", lambda *_, **__: pytest.fail("it was trained again"))
    begun, real = [], extraction.extract
    monkeypatch.setattr(
        extraction, "extract", lambda *args, **how: (begun.append(how["folder"].name), real(*args, **how))
    )
    assert run(data, clips, tmp_path / "growth") == [first, last]
    assert begun == ["features-held-out-4", "features-test-4"]


def test_without_labels_of_both_kinds_only_held_out_clips_are_scored(data, clips, tmp_path):
    np.save(data.folder / "test_labels.npy", np.zeros(56, bool))
    weights = growth.train(GROWS, clips, seed=3, folder=tmp_path, identity="x" * 64, **QUIET)
    how = {"step": 2, "seed": 3, "folder": tmp_path, "identity": "x" * 64, "tick": QUIET["tick"]}
    rows = growth.measure(GROWS, clips, open_prepared(data.folder), weights[2], **how)
    assert [row["clips"] for row in rows] == ["held out"]


def test_points_are_needed(clips, tmp_path):
    with pytest.raises(TrainingError, match="autoencoder.snapshots is 0"):
        growth.train(
            changed(GROWS, "autoencoder.snapshots", 0),
            clips,
            seed=0,
            folder=tmp_path,
            identity="x" * 64,
            **QUIET,
        )
