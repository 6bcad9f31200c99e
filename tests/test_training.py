"""The training loop: its schedule, its windows, what it survives, and what it says when it cannot go on."""
import csv
import errno
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lib import stage1, stage2, training
from lib.config import resolve
from lib.datasets import Clip
from lib.training import TrainingError


def quiet(*_):
    pass


# -- schedule and windows --------------------------------------------------------------------------------------------

def test_cosine_by_hand():
    assert training.cosine(0, steps=100, lr=0.4) == 0.4
    assert training.cosine(25, steps=100, lr=0.4) == pytest.approx(0.2 * (1 + math.sqrt(0.5)))
    assert training.cosine(50, steps=100, lr=0.4) == pytest.approx(0.2)
    assert training.cosine(100, steps=100, lr=0.4) == pytest.approx(0)


@pytest.mark.parametrize("count, batch_size", [(10, 5), (10, 4), (7, 3), (3, 8)])
def test_a_pass_has_every_window_once(count, batch_size):
    steps = -(-5 * count // batch_size)
    drawn = np.concatenate([training.draw(count, batch_size=batch_size, seed=1, step=k) for k in range(steps)])
    for n in range(5):
        assert sorted(drawn[n * count:(n + 1) * count]) == list(range(count))
    assert len({tuple(drawn[n * count:(n + 1) * count]) for n in range(5)}) > 1  # each pass in another order


def test_a_step_needs_no_memory_of_the_steps_before():
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    a = training.draw(50, batch_size=4, seed=3, step=17)
    training.draw(50, batch_size=4, seed=3, step=2)
    assert (a == training.draw(50, batch_size=4, seed=3, step=17)).all()
    assert (before[0] == np.random.get_state()[1]).all() and torch.equal(before[1], torch.get_rng_state())
    assert not (a == training.draw(50, batch_size=4, seed=4, step=17)).all()


# -- the loop --------------------------------------------------------------------------------------------------------

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


def fit(model, folder, *, steps=10, epoch_steps=3, lr=0.1, grad_clip=math.inf, identity="a" * 16, loss_of=None, tick=quiet,
        say=quiet):
    def squares(step):
        x = X[training.draw(len(X), batch_size=4, seed=0, step=step)]
        loss = (model(x)[:, 0] - x.sum(1)).square().mean()
        return loss, {"l2": loss}
    return training.fit(model, loss_of=loss_of or squares, steps=steps, epoch_steps=epoch_steps, lr=lr, grad_clip=grad_clip,
                        batch_size=4, folder=folder, identity=identity, tick=tick, say=say)


def without_rates(history):
    return [{name: value for name, value in row.items() if name != "windows_per_second"} for row in history]


def same_weights(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_history_has_a_row_an_epoch_with_means(tmp_path):
    seen, ticks, lines = [], [], []
    model = network()

    def loss_of(step):
        loss = (model(X).mean() - step).square()
        seen.append(loss.item())
        return 2 * loss, {"l2": loss}

    history = fit(model, tmp_path, loss_of=loss_of, tick=lambda *a: ticks.append(a), say=lines.append)
    assert [row["step"] for row in history] == [3, 6, 9, 10]  # the last one is shorter
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[1]["l2"] == pytest.approx(np.mean(seen[3:6])) and history[1]["loss"] == pytest.approx(2 * np.mean(seen[3:6]))
    assert history[3]["l2"] == pytest.approx(seen[9])
    assert [row["lr"] for row in history] == [training.cosine(k, steps=10, lr=0.1) for k in (2, 5, 8, 9)]
    assert [a[:2] for a in ticks] == [(k, 10) for k in range(1, 11)] and len(lines) == 4
    with open(tmp_path / "history.csv", newline="") as file:
        stored = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in stored] == [row["loss"] for row in history]  # in full precision


def test_the_model_trains_in_training_mode_and_learns(tmp_path):
    model = network().eval()
    history = fit(model, tmp_path, steps=60, epoch_steps=20)
    assert model.training and model[1].num_batches_tracked == 60
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_the_first_step_moves_weights_by_the_learning_rate(tmp_path):
    """Adam's first update is the learning rate times the gradient's sign; the next rate is lower by the cosine."""
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    fit(model, tmp_path, steps=1, loss_of=lambda step: (3 * model.weight.sum(), {}))
    assert before - model.weight.item() == pytest.approx(0.1, rel=1e-4)
    before = model.weight.item()
    fit(model, tmp_path, steps=2, identity="b" * 16, loss_of=lambda step: (3 * model.weight.sum(), {}))
    assert before - model.weight.item() == pytest.approx(0.1 + 0.05, rel=1e-4)


def test_gradients_are_clipped_to_their_largest_norm(tmp_path):
    model = nn.Linear(2, 1, bias=False)
    history = fit(model, tmp_path, steps=1, grad_clip=0.5, loss_of=lambda step: ((model.weight * torch.tensor([[3.0, 4.0]])).sum(), {}))
    assert history[0]["grad_norm"] == pytest.approx(5)  # as it was
    assert model.weight.grad.tolist()[0] == pytest.approx([0.3, 0.4], rel=1e-4)


@pytest.mark.parametrize("at", [1, 3, 7, 9])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, at):
    straight, broken, resumed = network(), network(), network(seed=1)
    (tmp_path / "straight").mkdir()
    expected = fit(straight, tmp_path / "straight")

    def stop(done, total, text):
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(broken, tmp_path, tick=stop)
    # The new process builds its network anew; here it even starts from other weights, which the checkpoint replaces.
    lines = []
    if at < 3:  # no checkpoint yet: start again
        resumed.load_state_dict(network().state_dict())
    history = fit(resumed, tmp_path, say=lines.append)
    assert same_weights(straight, resumed)
    assert without_rates(history) == without_rates(expected)
    assert (lines[0] == f"continuing from step {at // 3 * 3} of 10") == (at >= 3)
    for name, model in (("a.pt", straight), ("b.pt", resumed)):
        training.save_weights(model, tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_another_identity_does_not_resume(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(network(), tmp_path, identity="a" * 16, tick=lambda done, *_: exec("raise KeyboardInterrupt") if done == 7 else None)
    kept = sorted(tmp_path.glob("checkpoint-*.pt"))
    other, lines = network(), []
    fit(other, tmp_path, identity="b" * 16, say=lines.append)
    (tmp_path / "straight").mkdir()
    straight = network()
    fit(straight, tmp_path / "straight")
    assert same_weights(other, straight) and not [line for line in lines if "continuing" in line]
    assert kept[0].exists() and len(list(tmp_path.glob("checkpoint-*.pt"))) == 2  # and the first one's is left alone


def test_a_finished_run_is_not_trained_further(tmp_path):
    model = network()
    history = fit(model, tmp_path)
    again = network(seed=1)
    assert without_rates(fit(again, tmp_path)) == without_rates(history) and same_weights(model, again)


# -- what it says ----------------------------------------------------------------------------------------------------

def test_a_loss_that_is_not_finite_stops_and_names_the_term(tmp_path):
    model = network()

    def loss_of(step):
        l2, gradient = model(X).square().mean(), torch.tensor(math.nan if step == 2 else 0.5)
        return l2 + gradient, {"l2": l2, "gradient": gradient}

    with pytest.raises(TrainingError) as problem:
        fit(model, tmp_path, loss_of=loss_of)
    text = str(problem.value)
    assert "at step 2" in text and "the term gradient is not finite" in text
    assert f"learning rate {training.cosine(2, steps=10, lr=0.1):.3g}" in text and "gradient norm not yet computed" in text
    assert "l2 0." in text and "gradient nan" in text


def test_an_infinite_loss_of_finite_terms_stops(tmp_path):
    model = network()
    with pytest.raises(TrainingError, match="at step 0: the loss is not finite"):
        fit(model, tmp_path, loss_of=lambda step: (model(X).sum() + math.inf, {"l2": torch.tensor(1.0)}))


def test_a_gradient_that_is_not_finite_stops_before_it_is_applied(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    with pytest.raises(TrainingError, match=r"at step 0: the gradient is not finite \(l2 0; .*gradient norm (inf|nan)"):
        fit(model, tmp_path, loss_of=lambda step: ((loss := model.weight.abs().sqrt().sum()), {"l2": loss}))
    assert model.weight.item() == 0


@pytest.mark.parametrize("damage", [lambda b: b[:len(b) // 2], lambda b: b"", lambda b: b"PK" + bytes(500)])
def test_a_damaged_checkpoint_is_a_sentence(tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    training.save(path, {"model": network().state_dict()})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"checkpoint.pt cannot be read as a checkpoint \(.*Delete it and run again"):
        training.load(path)


def test_a_missing_checkpoint_is_a_sentence(tmp_path):
    with pytest.raises(TrainingError, match="flow.pt is not there"):
        training.load(tmp_path / "flow.pt")


@pytest.mark.parametrize("where", ["replace", "fsync"])
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch, where):
    path = tmp_path / "checkpoint.pt"
    training.save(path, {"step": 3})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training.os, where, full)
    with pytest.raises(TrainingError, match="No space left on device.*continues from the last checkpoint"):
        training.save(path, {"step": 6})
    monkeypatch.undo()
    assert training.load(path) == {"step": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]  # nothing half-written lies about


def test_a_run_on_a_disk_that_was_full_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    (tmp_path / "straight").mkdir()
    straight, resumed = network(), network(seed=1)
    fit(straight, tmp_path / "straight")
    written, real = [], training.os.replace

    def full_after_two(a, b):
        written.append(b)
        if len(written) > 2:  # the first epoch's checkpoint and history
            raise OSError(errno.ENOSPC, "No space left on device")
        real(a, b)

    monkeypatch.setattr(training.os, "replace", full_after_two)
    with pytest.raises(TrainingError, match="could not be written"):
        fit(network(), tmp_path)
    monkeypatch.undo()
    fit(resumed, tmp_path)
    assert same_weights(straight, resumed)


@pytest.mark.parametrize("other, first", [
    (nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1)), "0.weight"),
    (nn.Sequential(nn.Linear(3, 4)), "1.bias"),
])
def test_weights_of_another_network_are_named(tmp_path, other, first):
    training.save_weights(other, tmp_path / "autoencoder.pt")
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(TrainingError, match=rf"autoencoder.pt was made by .*they differ in {first} and \d+ more"):
        training.load_weights(model, tmp_path / "autoencoder.pt")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_a_sentence():
    with pytest.raises(TrainingError, match="machine.device is cuda, but PyTorch sees no GPU"):
        training.device_of(resolve("quick", "synthetic", {"machine.device": "cuda"}))
    assert training.device_of(resolve("quick", "synthetic")).type == "cpu"


# -- stage 1 ---------------------------------------------------------------------------------------------------------

TINY = {"data.height": 16, "data.width": 16, "model.T": 4, "model.tau": 2, "model.app_channels": (4, 4, 4, 4),
        "model.mot_channels": (4, 4, 4, 4), "autoencoder.steps": 5, "autoencoder.epoch_steps": 2, "autoencoder.batch_size": 2,
        "flow.K": 1, "flow.hidden": 4, "flow.steps": 5, "flow.epoch_steps": 2, "flow.batch_size": 4, "machine.device": "cpu"}


@pytest.fixture
def config():
    return resolve("quick", "synthetic", TINY)


@pytest.fixture
def data():
    """Two training clips of 6 and 5 frames. Whoever asks for test frames fails."""
    frames = np.random.default_rng(0).integers(0, 256, (11, 16, 16, 1), dtype=np.uint8)
    clips = (Clip(name="a", split="train", start=0, length=6), Clip(name="b", split="train", start=6, length=5))
    return SimpleNamespace(frames={"train": frames}.__getitem__, clips={"train": clips}.__getitem__, manifest={"dataset": "made"})


def stage_1(config, data, folder, *, seed=0, tick=quiet):
    folder.mkdir(exist_ok=True)
    stage1.train_autoencoder(config, data, two_path=True, seed=seed, folder=folder, identity="c" * 16, tick=tick, say=quiet)
    return (folder / "autoencoder.pt").read_bytes()


def test_frames_are_mapped_to_the_range():
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert stage1.to_range(frames, input_range="-1..1").tolist() == pytest.approx([-1, -0.6, 1])
    assert stage1.to_range(frames, input_range="0..1").tolist() == pytest.approx([0, 0.2, 1])
    assert stage1.data_range("-1..1") == 2 and stage1.data_range("0..1") == 1


def test_windows_are_loaded_channels_first_in_order_of_time():
    frames = np.arange(6 * 1 * 2 * 3, dtype=np.uint8).reshape(6, 1, 2, 3)  # (N, H, W, C)
    batch = stage1.load_windows(frames, [3, 0], T=2, input_range="0..1")
    assert batch.shape == (2, 3, 2, 1, 2)
    assert batch[0, 1, 0, 0, 1].item() * 255 == pytest.approx(frames[3, 0, 1, 1])
    assert batch[1, 2, 1, 0, 0].item() * 255 == pytest.approx(frames[1, 0, 0, 2])


def test_windows_never_cross_from_one_clip_into_the_next(config, data, tmp_path, monkeypatch):
    seen, real = set(), stage1.load_windows
    monkeypatch.setattr(stage1, "load_windows", lambda frames, starts, **k: (seen.update(map(int, starts)), real(frames, starts, **k))[1])
    stage_1(resolve("quick", "synthetic", TINY | {"autoencoder.steps": 10}), data, tmp_path)
    assert seen == {0, 1, 2, 6, 7}  # of T = 4 frames in frames 0-5 and 6-10


def test_equal_runs_make_equal_files(config, data, tmp_path):
    first = stage_1(config, data, tmp_path / "a")
    assert stage_1(config, data, tmp_path / "b") == first
    assert stage_1(config, data, tmp_path / "c", seed=1) != first


def test_an_interrupted_stage_1_ends_with_the_same_file(config, data, tmp_path):
    def stop(done, total, text):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage_1(config, data, tmp_path / "a", tick=stop)
    assert not (tmp_path / "a" / "autoencoder.pt").exists()
    assert stage_1(config, data, tmp_path / "a") == stage_1(config, data, tmp_path / "b")


def test_building_a_network_leaves_the_random_state_alone(config):
    before = torch.get_rng_state()
    a, b = (stage1.build_autoencoder(config, two_path=True, seed=5) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state()) and same_weights(a, b)
    assert not same_weights(a, stage1.build_autoencoder(config, two_path=True, seed=6))


def test_a_trained_autoencoder_is_read_back_for_use(config, data, tmp_path):
    stage_1(config, data, tmp_path)
    model = stage1.load_autoencoder(tmp_path / "autoencoder.pt", config, two_path=True)
    assert not model.training and int(model.app[0][1].num_batches_tracked) == 5
    with pytest.raises(TrainingError, match="another configuration: they differ in"):
        stage1.load_autoencoder(tmp_path / "autoencoder.pt", config, two_path=False)


def test_no_training_clips_is_a_sentence(config, tmp_path):
    nothing = SimpleNamespace(frames=lambda split: np.zeros((0, 16, 16, 1), np.uint8), clips=lambda split: (),
                              manifest={"dataset": "made"})
    with pytest.raises(TrainingError, match="made has no training clips here"):
        stage_1(config, nothing, tmp_path)


# -- stage 2 ---------------------------------------------------------------------------------------------------------

def stage_2(config, maps, folder, *, tick=quiet):
    folder.mkdir(exist_ok=True)
    stage2.train_flow(config, maps, seed=0, folder=folder, identity="d" * 16, tick=tick, say=quiet)
    return (folder / "flow.pt").read_bytes()


def test_an_interrupted_stage_2_ends_with_the_same_file(config, tmp_path):
    maps = 50 + 3 * np.random.default_rng(0).standard_normal((20, 2, 4, 4)).astype(np.float32)

    def stop(done, total, text):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage_2(config, maps, tmp_path / "a", tick=stop)
    assert stage_2(config, maps, tmp_path / "a") == stage_2(config, maps, tmp_path / "b")


def test_a_flow_is_read_back_with_its_statistics(config, tmp_path):
    maps = 50 + 3 * np.random.default_rng(0).standard_normal((20, 2, 4, 4)).astype(np.float32)
    stage_2(config, maps, tmp_path)
    density = stage2.load_flow(tmp_path / "flow.pt", config)
    assert density.mean.flatten().tolist() == pytest.approx(maps.mean((0, 2, 3)).tolist(), rel=1e-5)
    assert density.std.flatten().tolist() == pytest.approx(maps.std((0, 2, 3)).tolist(), rel=1e-4)
    assert not density.training and torch.isfinite(density.nll(torch.from_numpy(maps))).all()
