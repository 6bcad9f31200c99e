"""The training loop: what it draws, what it survives, what it refuses; and both stages on stubs of data."""

import csv
import errno
import itertools
import math
import os
import time
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from lib.config import resolve
from lib.datasets.prepared import Clip
from lib.errors import GlowError, TrainingError
from lib.training import loop, stage1, stage2

# -- rate and draw -------------------------------------------------------------------------------------------


def test_cosine_by_hand():
    rates = [loop.cosine(k, steps=6, lr=0.4, cycles=1) for k in range(6)]
    root = 0.1 * math.sqrt(3)
    np.testing.assert_allclose(rates, [0.4, 0.2 + root, 0.3, 0.2, 0.1, 0.2 - root], atol=1e-15)


@pytest.mark.parametrize("count, batch_size", [(12, 4), (10, 4), (7, 3), (3, 8)])
def test_a_pass_covers_every_window_once(count, batch_size):
    steps = count * 2  # as many draws as 2 * batch_size passes
    drawn = np.concatenate([loop.draw(count, batch_size=batch_size, seed=5, step=k) for k in range(steps)])
    passes = drawn.reshape(-1, count)
    assert len(passes) == 2 * batch_size
    assert all(sorted(p) == list(range(count)) for p in passes)
    assert len({tuple(p) for p in passes}) > 1  # each in another order


def test_draw_needs_no_memory_and_follows_the_seed():
    alone = loop.draw(50, batch_size=4, seed=1, step=17)
    for step in range(17):
        loop.draw(50, batch_size=4, seed=1, step=step)
    np.random.default_rng().random()
    assert np.array_equal(alone, loop.draw(50, batch_size=4, seed=1, step=17))
    first = {
        seed: tuple(np.concatenate([loop.draw(50, batch_size=4, seed=seed, step=k) for k in range(12)]))
        for seed in range(4)
    }
    assert len(set(first.values())) == 4


# -- windows -------------------------------------------------------------------------------------------------


def test_range_of_the_frames():
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8)
    np.testing.assert_allclose(stage1.to_range(frames, input_range="-1..1").numpy(), [-1, -0.6, 1], rtol=1e-6)
    np.testing.assert_allclose(stage1.to_range(frames, input_range="0..1").numpy(), [0, 0.2, 1], rtol=1e-6)
    assert stage1.data_range("-1..1") == 2 and stage1.data_range("0..1") == 1


def test_a_window_is_consecutive_rows_with_colours_first():
    n, y, x, c = np.meshgrid(range(9), range(2), range(4), range(3), indexing="ij")
    frames = (24 * n + 12 * y + 3 * x + c).astype(np.uint8)  # every value says where it is from
    got = (stage1.load_windows(frames, [6, 1], T=3, input_range="0..1") * 255).round().to(int)
    assert got.shape == (2, 3, 3, 2, 4)  # (n, C, T, H, W)
    for window, start in enumerate((6, 1)):
        for channel, t, row, column in itertools.product(range(3), range(3), range(2), range(4)):
            assert got[window, channel, t, row, column] == 24 * (start + t) + 12 * row + 3 * column + channel


def test_a_clip_first_and_then_a_start():
    clips = np.array([3] * 2 + [5] * 30 + [8] * 4)
    drawn = np.concatenate([loop.draw_clip_first(clips, batch_size=30, seed=1, step=k) for k in range(100)])
    counts = np.bincount(drawn, minlength=36)
    assert (
        np.abs(np.array([counts[:2].sum(), counts[2:32].sum(), counts[32:].sum()]) / 1000 - 1) < 0.12
    ).all()
    # the windows of short clips more often
    assert (counts > 0).all() and counts[:2].min() > 5 * counts[2:32].max()
    again = loop.draw_clip_first(clips, batch_size=30, seed=1, step=7)
    assert np.array_equal(again, drawn[210:240])  # a step needs no memory
    assert not np.array_equal(again, loop.draw_clip_first(clips, batch_size=30, seed=2, step=7))


# -- the loop ------------------------------------------------------------------------------------------------


class Killed(Exception):
    """What stands for the end of the process."""


X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3


def regression(*, seed=0):
    """A linear network and its loss at a step."""
    torch.manual_seed(seed)
    model = nn.Linear(3, 1)

    def loss_of(step):
        rows = loop.draw(40, batch_size=4, seed=seed, step=step)
        error = (model(X[rows]) - Y[rows]).square().mean()
        return error, {"square": error}

    return model, loss_of


def fit(
    model,
    loss_of,
    folder,
    *,
    identity="a" * 40,
    steps=20,
    epoch_steps=4,
    lr=0.05,
    grad_clip=math.inf,
    snapshots=3,
    cycles=1,
    say=None,
):
    said, ticks = [] if say is None else say, []
    history = loop.fit(
        model,
        loss_of=loss_of,
        steps=steps,
        epoch_steps=epoch_steps,
        lr=lr,
        grad_clip=grad_clip,
        batch_size=4,
        snapshots=snapshots,
        cycles=cycles,
        folder=folder,
        identity=identity,
        tick=lambda *a: ticks.append(a),
        say=said.append,
    )
    return history, ticks


def without_time(history):
    return [{k: v for k, v in row.items() if k != "windows_per_second"} for row in history]


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def interrupted(loss_of, *, at):
    def until(step):
        if step == at:
            raise Killed
        return loss_of(step)

    return until


def killed_after(calls, function):
    """The function, which ends the process when it is called once more than so often."""
    count = itertools.count()

    def until(*arguments, **more):
        if next(count) == calls:
            raise Killed
        return function(*arguments, **more)

    return until


@pytest.mark.parametrize("at", [2, 4, 9, 19])
def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path, at):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, loss_of = regression()
    wanted, _ = fit(whole, loss_of, tmp_path / "whole")
    model, loss_of = regression()
    with pytest.raises(Killed):
        fit(model, interrupted(loss_of, at=at), tmp_path / "parts")
    model, loss_of = regression()
    said = []
    got, ticks = fit(model, loss_of, tmp_path / "parts", say=said)
    first = at // 4 * 4  # the last whole epoch is kept
    assert ticks[0][:2] == (first + 1, 20) and len(ticks) == 20 - first
    assert (f"continuing from step {first} of 20" in said) == (first > 0)
    assert same(model, whole) and without_time(got) == without_time(wanted)
    assert (tmp_path / "parts" / "snapshots.pt").read_bytes() == (
        tmp_path / "whole" / "snapshots.pt"
    ).read_bytes()


@pytest.mark.parametrize(
    "snapshots, kept",
    [(0, []), (1, [20]), (2, [12, 20]), (3, [8, 16, 20]), (5, [4, 8, 12, 16, 20]), (9, [4, 8, 12, 16, 20])],
)
def test_weights_along_the_way_are_kept_as_they_were(tmp_path, snapshots, kept):
    model, loss_of = regression()
    along = {}

    def noting(step):
        along[step] = {name: value.clone() for name, value in model.state_dict().items()}
        return loss_of(step)

    fit(model, noting, tmp_path, snapshots=snapshots)
    along[20] = model.state_dict()
    got = loop.load(tmp_path / "snapshots.pt")
    assert list(got) == kept
    for step, state in got.items():
        assert all(
            value.dtype == torch.float16 and torch.equal(value, along[step][name].half())
            for name, value in state.items()
        )


def test_weights_along_the_way_end_with_the_last_though_the_last_epoch_is_shorter(tmp_path):
    model, loss_of = regression()
    history, _ = fit(model, loss_of, tmp_path, steps=10, snapshots=1)  # epochs of 4, 4 and 2 steps
    assert [row["step"] for row in history] == [4, 8, 10]
    assert list(loop.load(tmp_path / "snapshots.pt")) == [10]


def test_kept_weights_share_no_memory_with_the_network():
    model = nn.BatchNorm1d(3)
    kept = loop.half(model.state_dict())
    model(torch.randn(8, 3))
    assert (
        kept["num_batches_tracked"] == 0
        and kept["running_mean"].dtype == torch.float16
        and not kept["running_mean"].any()
    )


def test_a_finished_run_is_not_run_again(tmp_path):
    model, loss_of = regression()
    first, _ = fit(model, loss_of, tmp_path)
    again, other_loss = regression()
    history, ticks = fit(again, other_loss, tmp_path)
    assert not ticks and same(model, again) and history == first


def test_another_identity_begins_anew_and_leaves_the_first_alone(tmp_path):
    model, loss_of = regression()
    with pytest.raises(Killed):
        fit(model, interrupted(loss_of, at=9), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.glob("checkpoint-*")}
    other, loss_of = regression()
    said = []
    _, ticks = fit(other, loss_of, tmp_path, identity="b" * 40, say=said)
    assert len(ticks) == 20 and not any("continuing" in line for line in said)
    assert len(before) == 1 and all(
        (tmp_path / name).read_bytes() == content for name, content in before.items()
    )


def test_it_learns_and_history_says_so(tmp_path):
    model, loss_of = regression()
    history, _ = fit(model, loss_of, tmp_path, steps=18, lr=0.2)  # the last epoch is half as long
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [int(row["step"]) for row in rows] == [4, 8, 12, 16, 18]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    assert list(rows[0]) == ["epoch", "step", "lr", "loss", "square", "grad_norm", "windows_per_second"]
    for row, kept in zip(rows, history, strict=True):
        assert {k: float(v) for k, v in row.items()} == pytest.approx(kept)
        assert float(row["lr"]) == pytest.approx(
            loop.cosine(int(row["step"]) - 1, steps=18, lr=0.2, cycles=1)
        )
    assert history[-1]["loss"] < history[0]["loss"] / 3


def test_an_epochs_row_is_the_mean_over_its_steps(tmp_path):
    model, loss_of = regression()
    seen = []

    def noting(step):
        loss, terms = loss_of(step)
        seen.append(loss.item())
        return loss, terms

    history, _ = fit(model, noting, tmp_path, steps=10)
    means = [np.mean(seen[:4]), np.mean(seen[4:8]), np.mean(seen[8:])]
    np.testing.assert_allclose([row["loss"] for row in history], means)


def test_gradients_are_clipped_but_reported_as_they_were(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    gradients = []

    def steep(step):
        if step:
            gradients.append(model.weight.grad.norm().item())
        loss = 1000 * model.weight.sum()
        return loss, {"steep": loss}

    history, _ = fit(model, steep, tmp_path, steps=3, grad_clip=2.0)
    assert gradients == pytest.approx([2.0, 2.0], rel=1e-4) and history[0]["grad_norm"] == pytest.approx(1000)


def test_the_cosine_restarts(tmp_path):
    rates = [loop.cosine(k, steps=12, lr=0.4, cycles=3) for k in range(12)]
    assert rates == pytest.approx(3 * [loop.cosine(k, steps=4, lr=0.4, cycles=1) for k in range(4)])
    uneven = [loop.cosine(k, steps=10, lr=0.4, cycles=3) for k in range(10)]  # cycles of 3 1/3 steps
    assert (
        [k for k in range(1, 10) if uneven[k] > uneven[k - 1]] == [4, 7]
        and uneven[0] == 0.4
        and min(uneven) > 0
    )
    history, _ = fit(*regression(), tmp_path, steps=20, epoch_steps=5, cycles=2, lr=0.1)
    assert [row["lr"] for row in history] == pytest.approx(
        [loop.cosine(k % 10, steps=10, lr=0.1, cycles=1) for k in (4, 9, 14, 19)]
    )


def test_a_processor_that_is_slow_in_bfloat16_is_told_of(monkeypatch):
    config = resolve("quick", "synthetic", {"machine.precision": "bfloat16", "machine.device": "cpu"})
    seconds = {torch.float32: 0.01, torch.bfloat16: 0.03}
    monkeypatch.setattr(loop, "_convolution_seconds", seconds.__getitem__)
    loop.check_precision(config)
    seconds[torch.bfloat16] = 0.25
    with pytest.raises(TrainingError, match="25 times as long .* --set machine.precision=float32"):
        loop.check_precision(config)
    loop.check_precision(resolve("quick", "synthetic", {"machine.precision": "float32"}))


def test_the_probe_of_the_precision_takes_a_moment_and_leaves_no_trace():
    before, started = torch.get_rng_state(), time.perf_counter()
    assert 0 < loop._convolution_seconds(torch.float32) < 5 and loop._convolution_seconds(torch.bfloat16) > 0
    assert time.perf_counter() - started < 30 and torch.equal(before, torch.get_rng_state())


def test_adam_moves_by_the_rate_of_the_cosine(tmp_path):
    """Against a gradient that stays the same, each step of Adam is as long as its learning rate."""
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    fit(model, lambda step: (3 * model.weight.sum(), {}), tmp_path, steps=3, lr=0.1)
    assert before - model.weight.item() == pytest.approx(0.1 + 0.075 + 0.025, rel=1e-4)


# -- divergence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_training_with_its_cause(tmp_path, value):
    model, loss_of = regression()

    def bad(step):
        loss, terms = loss_of(step)
        wrong = loss * value if step == 10 else loss
        return loss + wrong, terms | {"gradient": wrong}

    with pytest.raises(TrainingError) as problem:
        fit(model, bad, tmp_path)
    text = str(problem.value)
    assert "step 10:" in text and "the term gradient is not finite" in text and "square" in text
    # half way down the cosine
    assert "learning rate 0.025" in text and "gradient norm not yet computed" in text
    # the checkpoint is that of step 8, and sound
    kept, _ = regression()
    state = loop.load(next(tmp_path.glob("checkpoint-*")))
    kept.load_state_dict(state["model"])
    assert state["step"] == 8 and all(p.isfinite().all() for p in kept.parameters())


def test_a_gradient_that_is_not_finite_ends_training_before_it_reaches_the_weights(tmp_path):
    model, _ = regression()

    # sqrt(0) is finite, its derivative is not
    def infinite(step):
        loss = (model(X[:4]) * (0 if step == 3 else 1)).abs().sqrt().mean()
        return loss, {"root": loss}

    with pytest.raises(
        TrainingError, match=r"step 3: the gradient is not finite \(root 0; .*gradient norm (nan|inf)"
    ):
        fit(model, infinite, tmp_path)
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_sum_that_is_not_finite_ends_training_though_its_terms_are(tmp_path):
    model, loss_of = regression()
    with pytest.raises(TrainingError, match=r"step 0: the loss is not finite \(square \d"):
        fit(model, lambda step: (loss_of(step)[0] + math.inf, loss_of(step)[1]), tmp_path)


def test_no_gpu_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = resolve("quick", "synthetic", {"machine.device": "cuda"})
    with pytest.raises(TrainingError, match="machine.device=cpu"):
        loop.device_of(config)
    assert loop.device_of(resolve("quick", "synthetic")).type == "cpu"


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path, keep):
    model, loss_of = regression()
    with pytest.raises(Killed):
        fit(model, interrupted(loss_of, at=9), tmp_path)
    path = next(tmp_path.glob("checkpoint-*"))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(
        TrainingError, match=f"{path.name} cannot be read as a checkpoint.*Delete it and run again"
    ):
        fit(*regression(), tmp_path)
    path.unlink()
    fit(*regression(), tmp_path)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(TrainingError, match="flow.pt is not there: the step that makes it has not finished"):
        loop.load(tmp_path / "flow.pt")


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "history.csv"
    loop.write_bytes(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match="history.csv could not be written .*No space left.*Make room"):
        loop.write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["history.csv"]


def test_a_run_whose_disk_was_full_ends_as_one_whose_disk_was_not(tmp_path, monkeypatch):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, loss_of = regression()
    fit(whole, loss_of, tmp_path / "whole")
    written, replace = [], os.replace

    def full(a, b):
        written.append(b)
        if len(written) == 4:  # the history of the second epoch
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(a, b)

    with monkeypatch.context() as m:
        m.setattr(os, "replace", full)
        with pytest.raises(TrainingError, match="history.csv could not be written .*No space left"):
            fit(*regression(), tmp_path / "parts")
    model, loss_of = regression()
    history, ticks = fit(model, loss_of, tmp_path / "parts")
    assert ticks[0][0] == 9 and len(history) == 5 and same(model, whole)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    path = tmp_path / "net.pt"
    loop.save_weights(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), path)
    alike = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    loop.load_weights(alike, path)
    stored = torch.load(path)["model"]
    assert all(torch.equal(stored[name], value) for name, value in alike.state_dict().items())
    with pytest.raises(
        TrainingError, match=r"net.pt was made by .* another configuration: they differ in 1\.weight"
    ):
        loop.load_weights(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5)), path)
    with pytest.raises(TrainingError, match=r"they differ in 1\.bias and 1 more"):
        loop.load_weights(nn.Sequential(nn.Linear(3, 4)), path)


def test_equal_states_make_equal_files(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        torch.manual_seed(seed)
        loop.save_weights(nn.Linear(3, 4), tmp_path / name)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two and one != three


# -- stage 1 -------------------------------------------------------------------------------------------------


class OnlyTraining:
    """A prepared data set whose test split must not be looked at; it counts what is read."""

    manifest = {"dataset": "synthetic", "clips": {}}

    def __init__(self):
        self.array = np.random.default_rng(0).integers(0, 256, (26, 8, 8, 1), dtype=np.uint8)
        self.read = Counter()

    def _train(self, split):
        self.read[split] += 1
        if split != "train":
            raise AssertionError("training looked at the test split")

    def clips(self, split):
        self._train(split)
        return Clip("a", "train", 0, 12), Clip("b", "train", 12, 14)

    def frames(self, split):
        self._train(split)
        return self.array

    @property
    def labels(self):
        raise AssertionError("training looked at the labels")

    masks = tracks = labels


SMALL = {
    "data.height": 8,
    "data.width": 8,
    "model.T": 8,
    "model.app_channels": (4, 4, 4, 4),
    "model.mot_channels": (2, 2, 2, 2),
    "autoencoder.steps": 4,
    "autoencoder.epoch_steps": 2,
    "flow.K": 1,
    "flow.hidden": 4,
    "flow.steps": 4,
    "flow.epoch_steps": 2,
    "flow.batch_size": 4,
    "machine.device": "cpu",
}


def train(folder, *, seed=0, data=None, identity="x" * 40, **changes):
    folder.mkdir(exist_ok=True)
    config = resolve("quick", "synthetic", SMALL | changes)
    return stage1.train_autoencoder(
        config,
        data or OnlyTraining(),
        two_path=True,
        seed=seed,
        folder=folder,
        identity=identity,
        tick=lambda *_: None,
        say=lambda _: None,
    )


def test_stage_1_never_looks_at_the_test_split(tmp_path):
    data = OnlyTraining()
    model, history = train(tmp_path, data=data)
    assert set(data.read) == {"train"} and len(history) == 2 and {"l2", "gradient"} <= set(history[0])
    loaded = stage1.load_autoencoder(
        tmp_path / "autoencoder.pt", resolve("quick", "synthetic", SMALL), two_path=True
    )
    assert not loaded.training and same(loaded, model)
    with pytest.raises(TrainingError, match="another configuration"):
        stage1.load_autoencoder(
            tmp_path / "autoencoder.pt", resolve("quick", "synthetic", SMALL), two_path=False
        )


def test_stage_1_windows_stay_within_clips(tmp_path, monkeypatch):
    seen, load = set(), stage1.load_windows
    monkeypatch.setattr(
        stage1,
        "load_windows",
        lambda frames, starts, **k: (seen.update(starts.tolist()), load(frames, starts, **k))[1],
    )
    train(tmp_path, **{"autoencoder.steps": 6})
    assert seen == {*range(0, 5), *range(12, 19)}  # 12 windows, 6 steps of 2: each once


def test_stage_1_draws_clips_first_if_told_to(tmp_path, monkeypatch):
    seen, load = [], stage1.load_windows
    monkeypatch.setattr(
        stage1,
        "load_windows",
        lambda frames, starts, **k: (seen.extend(starts), load(frames, starts, **k))[1],
    )
    train(tmp_path, **{"autoencoder.steps": 6, "autoencoder.windows": "clip_first"})
    # windows 0 to 4 of one clip, 12 to 18 of the other
    clips = np.repeat([0, 1], [5, 7])
    starts = np.array([*range(0, 5), *range(12, 19)])
    expected = [loop.draw_clip_first(clips, batch_size=2, seed=0, step=k) for k in range(6)]
    assert seen == starts[np.concatenate(expected)].tolist()


def test_stage_1_sees_no_background_if_told_so(tmp_path, monkeypatch):
    """Input and target are one tensor, in which everything but what moves is black; each clip has its own
    background."""
    data, seen, load = OnlyTraining(), [], stage1.load_windows
    data.array[:12], data.array[12:] = 90, 160
    data.array[6, 2:4, 2:4] = data.array[20, 5:7, 5:7] = 250
    monkeypatch.setattr(
        stage1,
        "load_windows",
        lambda frames, starts, **k: (seen.append(starts), load(frames, starts, **k))[1],
    )
    loss = stage1.reconstruction_loss
    monkeypatch.setattr(
        stage1, "reconstruction_loss", lambda I, I_hat, **k: (seen.append(I), loss(I, I_hat, **k))[1]
    )
    train(tmp_path, data=data, **{"autoencoder.steps": 6, "error.background": "input"})
    assert len(seen) == 12
    for starts, I in zip(seen[::2], seen[1::2]):
        for start, window in zip(starts, I):
            at = {6: 90, 20: 160}
            for t in range(8):
                # a moving square and five steps around it
                if start + t in at:
                    assert window[0, t].max() > 0.9 and (window[0, t] > -1).sum() >= 4
                else:
                    assert (window[0, t] == -1).all()


def test_seeds_decide_and_nothing_else_does(tmp_path):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    a, _ = train(tmp_path / "a", seed=0)
    assert torch.equal(before, torch.get_rng_state())  # the caller's generator is left alone
    torch.manual_seed(99)
    b, _ = train(tmp_path / "b", seed=0)
    c, _ = train(tmp_path / "c", seed=1)
    assert same(a, b) and not same(a, c)
    assert (tmp_path / "a/autoencoder.pt").read_bytes() == (tmp_path / "b/autoencoder.pt").read_bytes()


def test_seeds_decide_the_first_weights():
    config, (mean, std) = resolve("quick", "synthetic", SMALL), torch.zeros(2, 4, 1, 1)
    for build in (
        lambda seed: stage1.build_autoencoder(config, two_path=True, seed=seed),
        lambda seed: stage2.build_flow(config, 4, mean, std + 1, seed=seed),
    ):
        assert same(build(0), build(0)) and not same(build(0), build(1))


def test_stage_1_resumes_with_batch_statistics_and_all(tmp_path, monkeypatch):
    whole, _ = train(tmp_path / "whole")
    with monkeypatch.context() as m:
        load = stage1.load_windows
        m.setattr(stage1, "load_windows", killed_after(3, load))
        with pytest.raises(Killed):
            train(tmp_path / "parts")
    assert not (tmp_path / "parts/autoencoder.pt").exists()
    parts, _ = train(tmp_path / "parts")
    assert same(whole, parts)


def test_stage_1_hands_the_loss_and_the_loop_their_parameters(tmp_path, monkeypatch):
    loss, original, seen = stage1.reconstruction_loss, stage1.fit, []
    monkeypatch.setattr(
        stage1, "reconstruction_loss", lambda I, I_hat, **k: (seen.append((I, k)), loss(I, I_hat, **k))[1]
    )
    monkeypatch.setattr(stage1, "fit", lambda model, **k: (seen.append(k), original(model, **k))[1])
    for input_range, low, span in (("-1..1", -1, 2), ("0..1", 0, 1)):
        seen.clear()
        train(
            tmp_path / input_range,
            **{
                "model.input_range": input_range,
                "loss.l2": "frame_norm",
                "loss.l2_weight": 0.7,
                "loss.gradient_weight": 0.3,
                "autoencoder.lr": 0.01,
                "autoencoder.batch_size": 3,
            },
        )
        k = seen[0]
        assert (k["steps"], k["epoch_steps"], k["lr"], k["batch_size"], k["grad_clip"]) == (
            4,
            2,
            0.01,
            3,
            math.inf,
        )
        I, k = seen[1]
        assert I.shape == (3, 1, 8, 8, 8) and low <= I.min() < low + 0.1 * span and I.max() > low + 0.9 * span
        assert (k["l2"], k["l2_weight"], k["gradient_weight"], k["ms_ssim_weight"]) == (
            "frame_norm",
            0.7,
            0.3,
            0.0,
        )
        assert k["input_range"] == input_range


def test_no_training_clips_is_said(tmp_path):
    data = OnlyTraining()
    data.clips = lambda split: ()
    with pytest.raises(TrainingError, match="synthetic has no training clips here"):
        train(tmp_path, data=data)


# -- stage 2 -------------------------------------------------------------------------------------------------


def train_flow(folder, features, *, seed=0, **changes):
    folder.mkdir(exist_ok=True)
    return stage2.train_flow(
        resolve("quick", "synthetic", SMALL | changes),
        features,
        seed=seed,
        folder=folder,
        identity="y" * 40,
        tick=lambda *_: None,
        say=lambda _: None,
    )


def some_features(n=12):
    return (np.random.default_rng(2).normal(size=(n, 2, 4, 4)) * [[[3]], [[0.1]]] + [[[5]], [[-1]]]).astype(
        np.float32
    )


def test_stage_2_standardises_by_the_features_that_it_is_trained_on(tmp_path):
    x = some_features(300)  # more than are read at once
    density, history = train_flow(tmp_path, x)
    np.testing.assert_allclose(
        density.mean.flatten().numpy(), x.mean(axis=(0, 2, 3), dtype=np.float64), rtol=1e-5
    )
    np.testing.assert_allclose(
        density.std.flatten().numpy(), x.std(axis=(0, 2, 3), dtype=np.float64), rtol=1e-5
    )
    assert len(history) == 2 and math.isfinite(history[-1]["nll"])
    loaded = stage2.load_flow(tmp_path / "flow.pt", resolve("quick", "synthetic", SMALL))
    assert not loaded.training and same(loaded, density)
    with torch.no_grad():
        assert torch.equal(loaded.nll(torch.from_numpy(x[:5])), density.eval().nll(torch.from_numpy(x[:5])))
    with pytest.raises(TrainingError, match="another configuration"):
        stage2.load_flow(tmp_path / "flow.pt", resolve("quick", "synthetic", SMALL | {"flow.hidden": 8}))


def test_the_flow_learns_and_its_loss_is_in_nats_a_dimension(tmp_path, monkeypatch):
    original, seen = stage2.fit, []
    monkeypatch.setattr(stage2, "fit", lambda model, **k: (seen.append(k), original(model, **k))[1])
    x = some_features(64)
    x[:, 1] = x[:, 0] / 30 + 0.1 * x[:, 1]  # one channel tells much of the other
    density, history = train_flow(
        tmp_path,
        x,
        **{
            "flow.steps": 60,
            "flow.epoch_steps": 20,
            "flow.lr": 0.02,
            "flow.batch_size": 16,
            "flow.grad_clip": 7.0,
            "flow.K": 2,
        },
    )
    k = seen[0]
    assert (k["steps"], k["epoch_steps"], k["lr"], k["batch_size"], k["grad_clip"]) == (60, 20, 0.02, 16, 7.0)
    independent = 0.5 * math.log(2 * math.pi * math.e)
    with torch.no_grad():
        end = density.eval().nll(torch.from_numpy(x)).mean().item() / 32
    assert end < history[-1]["nll"] + 0.2 and history[-1]["nll"] < history[0]["nll"] - 0.1
    # better than two Gaussians that ignore each other
    assert end < independent - 0.3


def test_seeds_decide_the_flow(tmp_path):
    x = some_features()
    a, _ = train_flow(tmp_path / "a", x)
    torch.manual_seed(99)
    b, _ = train_flow(tmp_path / "b", x)
    c, _ = train_flow(tmp_path / "c", x, seed=1)
    assert same(a, b) and not same(a, c)


def test_stage_2_resumes(tmp_path, monkeypatch):
    x = some_features()
    whole, _ = train_flow(tmp_path / "whole", x)
    with monkeypatch.context() as m:
        m.setattr(stage2, "draw", killed_after(3, loop.draw))
        with pytest.raises(Killed):
            train_flow(tmp_path / "parts", x)
    parts, _ = train_flow(tmp_path / "parts", x)
    assert same(whole, parts)
    assert (tmp_path / "whole/flow.pt").read_bytes() == (tmp_path / "parts/flow.pt").read_bytes()


def test_features_that_are_not_finite_are_not_learned(tmp_path):
    x = some_features()
    x[3, 0, 1, 2] = math.nan
    with pytest.raises((TrainingError, GlowError), match="finite"):
        train_flow(tmp_path, x)
    assert not (tmp_path / "flow.pt").exists()
