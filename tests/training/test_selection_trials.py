"""The selection's trainings: which clips they see, and that an interrupted selection ends as a whole one."""

import json

import numpy as np
import pytest
from conftest import SMALLEST

from lib.config import resolve
from lib.datasets.prepared import Prepared
from lib.evaluation import selection
from lib.training import selection_trials, stage1, stage2

CONFIG = resolve(
    "quick",
    "synthetic",
    SMALLEST
    | {
        "flow.steps": 3,
        "flow.batch_size": 4,
        "features.train_stride": 8,
        "selection.autoencoder_steps": 2,
        "selection.workers": 1,
        "selection.event": 12,
        "selection.region": 200,
        "selection.object": 120,
    },
    literal=True,
)
LENGTHS = (36, 30, 40, 36, 32)


def moving(generator, length: int, number: int, jumps=()) -> np.ndarray:
    """A clip in which two boxes move, (length, 16, 16, 1) uint8; in the frames `jumps` one of them jumps."""
    frames = np.full((length, 16, 16, 1), 150, np.uint8)
    for t in range(length):
        frames[t, 3:7, (number + t + np.arange(3)) % 16] = 40
        frames[t, 10:13, (2 * number - (5 * t if t in jumps else t) + np.arange(2)) % 16] = 60
    return frames + generator.integers(0, 3, frames.shape, dtype=np.uint8)


@pytest.fixture
def data(tmp_path):
    """Five prepared training clips in which boxes move. There is no test split: nothing may read one."""
    generator, clips, start = np.random.default_rng(0), [], 0
    for number, length in enumerate(LENGTHS):
        clips.append({"name": f"c{number}", "start": start, "length": length})
        start += length
    frames = [moving(generator, length, number) for number, length in enumerate(LENGTHS)]
    folder = tmp_path / "prepared"
    folder.mkdir()
    np.save(folder / "train_frames.npy", np.concatenate(frames))
    return Prepared(folder, {"format": 1, "dataset": "synthetic", "subset": False, "clips": {"train": clips}})


@pytest.fixture
def clips(data, tmp_path):
    return selection_trials.prepare_clips(data, CONFIG, seed=0, out=tmp_path / "clips")


def trials_of(clips, folder, said=None):
    return selection_trials.Trials(
        CONFIG, clips, folder=folder, code={"itae": "x"}, tick=lambda *_: None, say=(said or []).append
    )


def test_held_out_clips_are_scored_and_never_learned_from(data, clips):
    assert [clip.name for clip in clips.clips("train")] == ["c0", "c1", "c2", "c4"]
    assert clips.manifest["held_out"] == ["c3"]
    assert [clip.name for clip in clips.clips("test")] == ["fast-of-004", "foreign-of-004", "both-of-004"]
    expected = np.concatenate([data.frames("train")[:106], data.frames("train")[142:]])
    assert np.array_equal(clips.frames("train"), expected)
    normal = ~clips.labels
    assert normal.any() and clips.labels.any()
    held = np.tile(data.frames("train")[106:142], (3, 1, 1, 1))
    change = np.abs(clips.frames("test").astype(int) - held).max(-1)
    assert np.array_equal(clips.masks, change > 10), "the copies are of the held-out clip"


def test_a_budget_is_the_same_for_every_option():
    other = selection_trials.budgeted(selection_trials.changed(CONFIG, "autoencoder.steps", 9999))
    assert other.autoencoder == selection_trials.budgeted(CONFIG).autoencoder
    assert (other.autoencoder.steps, other.features.test_stride) == (2, selection_trials.STRIDE)


def test_a_trial_that_is_there_is_not_run_again_and_one_of_other_code_is(clips, tmp_path, monkeypatch):
    trials, said = trials_of(clips, tmp_path / "trials"), []
    wanted = [
        (CONFIG, {}, 0),
        (selection_trials.changed(CONFIG, "loss.l2", "mean_square"), {"loss.l2": "mean_square"}, 0),
    ]
    first = trials.autoencoders(wanted)
    assert len({name for name, _ in first}) == 2 and all(0 <= auc <= 1 for _, auc in first)
    for name, auc in first:
        record = json.loads((tmp_path / "trials" / name / "trial.json").read_text())
        assert record["auc"] == {"R": auc} and record["windows_seen"] == 2 * CONFIG.autoencoder.batch_size
        assert record["parameters"]["loss.l2"] == ("mean_square" if record["changes"] else "window_norm")
        assert not list((tmp_path / "trials" / name).glob("checkpoint*"))

    monkeypatch.setattr(stage1, "train_autoencoder", lambda *_, **__: pytest.fail("it was trained again"))
    assert trials_of(clips, tmp_path / "trials", said).autoencoders(wanted) == first and not said
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        other = selection_trials.Trials(
            CONFIG, clips, folder=tmp_path / "trials", code={"itae": "y"}, tick=print, say=print
        )
        other.autoencoders(wanted)


def test_all_three_stages_and_again_after_an_interruption_with_the_same_result(clips, tmp_path, monkeypatch):
    for stage in selection.OPTIONS:  # one choice of each stage, to be quick
        kept = {"autoencoder": "loss.l2", "flow": "features.time", "score": "score.lambda_L"}[stage]
        monkeypatch.setitem(selection.OPTIONS, stage, {kept: selection.OPTIONS[stage][kept]})
    monkeypatch.setattr(selection, "FACTORS", {})

    def select(folder, tidy=False):
        trials = trials_of(clips, folder)
        network = selection.settle("autoencoder", CONFIG, trials.autoencoders)
        trials.choose_autoencoder(network.config, network.line.changes)
        flows = selection.settle("flow", network.config, trials.flows)
        trials.choose_flows(flows.config, flows.line.changes, selection.SEEDS)
        score = selection.settle("score", flows.config, trials.scores)
        if tidy:
            trials.tidy()
        return trials, (network, flows, score)

    trials, whole = select(tmp_path / "whole")
    record = next(r for r in trials.records.values() if r["stage"] == "flow")
    assert set(record["auc"]) == {"app", "mot", "L", "S"}
    assert all(np.isfinite(nll["held out"]) for nll in record["nll_per_dimension"].values())

    original, count = stage1.train_autoencoder, []

    def interrupted(*arguments, **options):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(stage1, "train_autoencoder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        select(tmp_path / "parts")
    monkeypatch.setattr(stage1, "train_autoencoder", original)
    _, parts = select(tmp_path / "parts", tidy=True)
    assert parts == whole
    assert selection.choices(CONFIG, parts) == selection.choices(CONFIG, whole)
    assert not list((tmp_path / "parts").glob("features-*/*_mot.npy")), "large arrays are gone"
    assert len(list((tmp_path / "parts").glob("*/trial.json"))) == len(trials.records)

    monkeypatch.setattr(stage1, "train_autoencoder", lambda *_, **__: pytest.fail("it was trained again"))
    monkeypatch.setattr(stage2, "train_flow", lambda *_, **__: pytest.fail("it was trained again"))
    later, again = select(tmp_path / "parts")
    assert again == whole, "what is left of it is enough to come to the same result"

    # Test clips that are the pasted copies themselves: there, both AUCs have to be the same.
    rows = later.on_test(clips, again)
    assert len(rows) == sum(len(line.aucs) for settled in again for line in settled.lines)
    assert {row["stage"] for row in rows} == set(selection.OPTIONS)
    for row in rows:
        assert row["test AUC"] == pytest.approx(row["selection AUC"], abs=1e-6), row


def test_windows_without_an_abnormal_frame_are_normal(clips):
    windows = np.array([[0, start] for start in range(0, 28)])
    normal = selection_trials.normal_windows(clips, windows, T=8)
    assert [not clips.labels[start : start + 8].any() for start in range(28)] == list(normal)
    assert normal.any() and not normal.all()
