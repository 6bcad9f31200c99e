"""Pooling, extra information and statistics by hand and by numpy; the flow's density with them inside."""

import math

import numpy as np
import pytest
import torch

from lib import features
from lib.density import Density
from lib.errors import FeatureError
from lib.glow import Glow
from lib.training.flow_windows import flow_input
from lib.training.stage2 import likelihoods

# -- pooling -------------------------------------------------------------------------------------------------


def test_maxima_of_all_times_come_first_then_means():
    x = torch.tensor([[1.0, 10.0], [3.0, -4.0]]).reshape(1, 2, 2, 1, 1)  # (B, C, T', h, w): C, then T'
    assert features.pool(x, time="stack").flatten().tolist() == [
        3,
        10,
        2,
        3,
    ]  # max t0, max t1, mean t0, mean t1
    assert features.pool(x, time="mean").flatten().tolist() == [6.5, 2.5]  # mean of the maxima, of the means


def test_pooling_is_place_by_place():
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 4, 6)).astype(np.float32)
    stacked = features.pool(torch.from_numpy(x), time="stack").numpy()
    assert stacked.shape == (2, 6, 4, 6)
    np.testing.assert_allclose(stacked[:, :3], x.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(stacked[:, 3:], x.mean(axis=1), rtol=1e-5, atol=1e-7)
    averaged = features.pool(torch.from_numpy(x), time="mean").numpy()
    np.testing.assert_allclose(averaged[:, 0], x.max(axis=1).mean(axis=1), rtol=1e-5, atol=1e-7)


# -- extra information ---------------------------------------------------------------------------------------


def clip(T=4):
    """(1, 2, T, 2, 4): colour c, frame t, row y, column x hold 100 c + 10 t + 4 y + x."""
    c, t, y, x = np.meshgrid(range(2), range(T), range(2), range(4), indexing="ij")
    return torch.from_numpy((100 * c + 10 * t + 4 * y + x).astype(np.float32))[None]


def test_intensity_is_grey_and_averaged_over_the_frames_that_the_appearance_path_saw():
    got = features.intensity(clip(), tau=2, size=(1, 2))
    # Frames 0 and 2; grey adds 50. Left half: columns 0, 1 of rows 0, 1: (0 + 1 + 4 + 5) / 4 = 2.5; right
    # half: 4.5.
    assert got.tolist() == [[[[52.5, 54.5]], [[72.5, 74.5]]]]


def test_error_map_is_the_mean_of_absolute_errors_not_the_error_of_means():
    I = torch.zeros(1, 2, 4, 2, 4)
    I_hat = I.clone()
    I_hat[0, 0, 0, 0, 0], I_hat[0, 1, 0, 0, 1] = 0.8, -0.4  # they would partly cancel
    I_hat[0, :, 1] = 9  # a frame between, which is not looked at
    I_hat[0, :, 2, :, 2:] = -1
    got = features.error_map(I, I_hat, tau=2, size=(1, 2))
    np.testing.assert_allclose(got.numpy(), [[[[(0.8 + 0.4) / 2 / 4, 0]], [[0, 1]]]], rtol=1e-6)


def test_extra_information_lies_below_the_pooled_map():
    pooled, extra = torch.rand(2, 8, 3, 5), torch.rand(2, 4, 3, 5)
    joined = features.app_input(pooled, extra)
    assert torch.equal(joined[:, :8], pooled) and torch.equal(joined[:, 8:], extra)
    assert features.app_input(pooled, None) is pooled
    for wrong in (torch.rand(2, 4, 5, 3), torch.rand(1, 4, 3, 5)):
        with pytest.raises(FeatureError, match=r"does not lie on the map \(2, 8, 3, 5\)"):
            features.app_input(pooled, wrong)


# -- statistics ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample():
    """Features far from zero, where squares in single precision would lose the spread."""
    return (
        np.random.default_rng(1).normal(size=(11, 3, 4, 6)) * [[[[1.0]], [[0.01]], [[30.0]]]]
        + [[[[0.0]], [[40.0]], [[-500.0]]]]
    ).astype(np.float32)


@pytest.mark.parametrize("standardise, axes", [("channel", (0, 2, 3)), ("element", (0,))])
@pytest.mark.parametrize("batch", [1, 4, 11])
def test_statistics_equal_numpys(sample, standardise, axes, batch):
    mean, std = features.statistics(
        (torch.from_numpy(sample[i : i + batch]) for i in range(0, 11, batch)), standardise=standardise
    )
    whole = sample.astype(np.float64)
    shape = (3, 1, 1) if standardise == "channel" else (3, 4, 6)
    assert mean.shape == std.shape == shape and mean.dtype == std.dtype == torch.float32
    np.testing.assert_allclose(mean.numpy(), whole.mean(axis=axes).reshape(shape), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std.numpy(), whole.std(axis=axes).reshape(shape), rtol=1e-4)


def test_no_standardisation_and_no_features(sample):
    mean, std = features.statistics([torch.from_numpy(sample)], standardise="none")
    assert mean.shape == std.shape == (3, 1, 1) and not mean.any() and (std == 1).all()
    for standardise in ("channel", "element"):
        with pytest.raises(FeatureError, match="no training features"):
            features.statistics([], standardise=standardise)


def test_a_feature_that_is_constant_in_training_is_only_centred(sample):
    x = torch.from_numpy(sample).clone()
    x[:, 1] = 7.25
    mean, std = features.statistics([x[:5], x[5:]], standardise="channel")
    assert mean[1].item() == 7.25 and std[1].item() == 1 and (std[[0, 2]] != 1).all()
    x[:, 0, 2, 3] = -0.5
    _, std = features.statistics([x], standardise="element")
    assert std[0, 2, 3] == 1 and (std[1] == 1).all() and (std != 1).sum() == 3 * 24 - 24 - 1


@pytest.mark.parametrize("value", [0.1, 20.7, 3000.1])
@pytest.mark.parametrize("standardise", ["channel", "element"])
def test_a_constant_is_seen_as_one_whatever_its_size(value, standardise):
    """Rounding in the sums is no spread; dividing by it would blow the feature up as soon as it varies."""
    mean, std = features.statistics(torch.full((50, 1, 8, 8), value).split(7), standardise=standardise)
    assert (std == 1).all()
    torch.testing.assert_close(mean, torch.full_like(mean, value))


# -- the density ---------------------------------------------------------------------------------------------


def density(mean=(1.0, -2.0), std=(2.0, 0.5), seed=0):
    torch.manual_seed(seed)
    glow = Glow(channels=2, K=2, L=1, hidden=8, permutation="lu", recompute=False)
    made = Density(glow, torch.tensor(mean).reshape(2, 1, 1), torch.tensor(std).reshape(2, 1, 1))
    return made


def data(n=16, seed=0):
    z = torch.randn(n, 2, 4, 6, generator=torch.Generator().manual_seed(seed))
    return z * torch.tensor([2.0, 0.5])[:, None, None] + torch.tensor([1.0, -2.0])[:, None, None]


def test_density_standardises_and_does_not_count_that_as_part_of_the_flow():
    flow, x = density(), data()
    np.testing.assert_allclose(
        flow.standardise(x).numpy(), (x.numpy() - [[[1]], [[-2]]]) / [[[2]], [[0.5]]], rtol=1e-5, atol=1e-6
    )
    flow.nll(x)  # sets the activation normalisation
    flow.eval()
    with torch.no_grad():
        torch.testing.assert_close(flow.nll(x), -flow.glow.log_prob((x - flow.mean) / flow.std))
        shifted = flow.nll(x + 3)
    # Twelve times as unlikely is no accident: the shift is 1.5 and 6 standard deviations of the two channels.
    assert shifted.shape == (16,) and (shifted - flow.nll(x)).min() > 24 * (1.5**2 + 6**2) / 2 * 0.3


def test_statistics_travel_with_the_weights(tmp_path):
    flow, x = density(), data()
    flow.nll(x)
    assert torch.equal(flow.state_dict()["mean"].flatten(), torch.tensor([1.0, -2.0]))
    assert torch.equal(flow.state_dict()["std"].flatten(), torch.tensor([2.0, 0.5]))
    torch.save(flow.state_dict(), tmp_path / "flow.pt")
    other = density(mean=(0.0, 0.0), std=(1.0, 1.0), seed=5)
    other.load_state_dict(torch.load(tmp_path / "flow.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(other.eval().nll(x), flow.eval().nll(x))


def test_likelihoods_are_those_of_the_density_term_by_term(tmp_path):
    flow, x = density(), data(n=35)  # more than one batch
    flow.nll(x)
    np.save(tmp_path / "test_mot.npy", x.numpy())
    ticks = []
    got = likelihoods(
        flow.eval(),
        flow_input(tmp_path, "test", "mot"),
        torch.device("cpu"),
        tick=lambda *a: ticks.append(a[:2]),
    )
    with torch.no_grad():
        np.testing.assert_allclose(got["nll"], flow.nll(x).numpy(), rtol=1e-5)
    np.testing.assert_allclose(got["nll"], -(got["log_p_z"] + got["log_det"]).sum(axis=1), rtol=1e-5)
    assert got["log_p_z"].shape == (35, 1) and got["dims"] == 2 * 4 * 6 and ticks == [(32, 35), (35, 35)]


# -- what a flow is given ------------------------------------------------------------------------------------


def test_flow_input_of_the_four_variants(tmp_path):
    generator = np.random.default_rng(3)
    made = {
        name: generator.normal(size=(5, channels, 2, 3)).astype(np.float32)
        for name, channels in (("app", 4), ("mot", 6), ("intensity", 2), ("error", 3))
    }
    for name, array in made.items():
        np.save(tmp_path / f"train_{name}.npy", array)
    wanted = {
        "app_none": made["app"],
        "mot": made["mot"],
        "app_intensity": np.concatenate((made["app"], made["intensity"]), axis=1),
        "app_error": np.concatenate((made["app"], made["error"]), axis=1),
    }
    for variant, whole in wanted.items():
        got = flow_input(tmp_path, "train", variant)
        assert len(got) == 5 and got.shape == whole.shape, variant
        for rows in (slice(1, 4), np.array([4, 0, 0]), slice(None)):
            np.testing.assert_array_equal(got[rows], whole[rows], err_msg=variant)
        assert got[:1].dtype == np.float32 and math.isfinite(got[:].sum())
    with pytest.raises(FileNotFoundError):
        flow_input(tmp_path, "test", "mot")
