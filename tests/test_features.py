"""Pooling, extra information, statistics and the standardised density, by hand-computed values."""
import math

import pytest
import torch
from torch import nn

from lib import features, stage2
from lib.glow import Glow


class StandardNormal(nn.Module):
    """A flow that changes nothing: log p of independent standard normals."""

    def log_prob(self, x):
        return (-0.5 * x.square() - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


def maps():
    """Two channels, two frames of 1x2 pixels: (1, 2, 2, 1, 2)."""
    return torch.tensor([[[[[1.0, 2.0]], [[3.0, -4.0]]], [[[5.0, -2.0]], [[0.0, 8.0]]]]])


# -- pooling ---------------------------------------------------------------------------------------------------------

def test_maxima_of_each_frame_then_means():
    pooled = features.pool(maps(), time="stack")
    assert pooled.shape == (1, 4, 1, 2)
    assert pooled[0, :, 0].tolist() == [[5, 2], [3, 8], [3, 0], [1.5, 2]]  # max t0, max t1, mean t0, mean t1


def test_pooling_that_averages_over_time():
    pooled = features.pool(maps(), time="mean")
    assert pooled.shape == (1, 2, 1, 2)
    assert pooled[0, :, 0].tolist() == [[4, 5], [2.25, 1]]


def test_pooling_is_along_channels_only():
    """Pooled maps of the paper's sizes: 2 T/tau and 2 T channels on the map's own grid."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, 4, 5, 6, generator=generator)
    pooled = features.pool(x, time="stack")
    assert pooled.shape == (3, 8, 5, 6)
    assert pooled[2, 1, 4, 3] == max(x[2, c, 1, 4, 3] for c in range(7))
    assert pooled[1, 6, 0, 5] == pytest.approx(sum(x[1, c, 2, 0, 5].item() for c in range(7)) / 7, rel=1e-5)


# -- extra information -----------------------------------------------------------------------------------------------

def video():
    """Two colours, four frames of 2x4 pixels; the value says colour, frame and place: 100 c + 10 t + column."""
    c, t, _, x = torch.meshgrid(torch.arange(2.0), torch.arange(4.0), torch.arange(2.0), torch.arange(4.0), indexing="ij")
    return (100 * c + 10 * t + x)[None]


def test_intensity_is_of_the_frames_that_the_appearance_path_sees():
    small = features.intensity(video(), tau=2, size=(1, 2))
    assert small.shape == (1, 2, 1, 2)
    assert small[0, :, 0].tolist() == [[50.5, 52.5], [70.5, 72.5]]  # frames 0 and 2; mean of colours and of 2x2 pixels


def test_error_map_is_the_absolute_difference_of_the_same_frames():
    I, I_hat = video(), video()
    I_hat[:, 0, 2, :, :2] += 4  # one colour of frame 2, left half
    I_hat[:, 1, 2, :, 2:] -= 2  # the other colour, right half
    I_hat[:, :, 1] += 100       # a frame that the appearance path does not see
    error = features.error_map(I, I_hat, tau=2, size=(1, 2))
    assert error[0, :, 0].tolist() == [[0, 0], [2, 1]]


def test_errors_of_opposite_sign_do_not_cancel():
    I = torch.zeros(1, 1, 1, 1, 2)
    I_hat = torch.tensor([1.0, -1.0]).reshape(1, 1, 1, 1, 2)
    assert features.error_map(I, I_hat, tau=1, size=(1, 1)).item() == 1


def test_extra_channels_come_after_the_pooled_ones():
    pooled, extra = torch.ones(2, 3, 4, 5), torch.zeros(2, 1, 4, 5)
    joined = features.app_input(pooled, extra)
    assert joined.shape == (2, 4, 4, 5) and joined[:, :3].all() and not joined[:, 3].any()
    assert features.app_input(pooled, None) is pooled


@pytest.mark.parametrize("shape", [(2, 1, 4, 6), (1, 1, 4, 5)])
def test_extra_information_of_another_size_is_refused(shape):
    with pytest.raises(features.FeatureError, match="does not lie on the map"):
        features.app_input(torch.ones(2, 3, 4, 5), torch.zeros(shape))


# -- statistics ------------------------------------------------------------------------------------------------------

def test_statistics_by_channel_over_uneven_batches():
    """Channel 0 holds 1, 3, 5, 7, 9, 11; channel 1 ten times that."""
    x = torch.tensor([1.0, 3, 5, 7, 9, 11]).reshape(3, 1, 1, 2) * torch.tensor([1.0, 10]).reshape(1, 2, 1, 1)
    mean, std = features.statistics([x[:2], x[2:]], standardise="channel")
    assert mean.shape == std.shape == (2, 1, 1) and mean.dtype == std.dtype == torch.float32
    assert mean.flatten().tolist() == [6, 60]
    variance = (25 + 9 + 1) * 2 / 6  # population variance
    assert std.flatten().tolist() == pytest.approx([variance ** 0.5, 10 * variance ** 0.5])


def test_statistics_by_element():
    x = torch.tensor([[1.0, 10.0], [3.0, 10.0], [8.0, 40.0]]).reshape(3, 1, 1, 2)
    mean, std = features.statistics([x[:1], x[1:]], standardise="element")
    assert mean.shape == std.shape == (1, 1, 2)
    assert mean.flatten().tolist() == [4, 20]
    assert std.flatten().tolist() == pytest.approx([(26 / 3) ** 0.5, 200 ** 0.5])


def test_no_standardisation():
    mean, std = features.statistics([torch.randn(2, 3, 4, 4)], standardise="none")
    assert mean.tolist() == [[[0.0]]] * 3 and std.tolist() == [[[1.0]]] * 3


def test_statistics_of_a_large_offset_keep_their_digits():
    """In float32 the difference of the two sums would have lost them."""
    x = 3000 + torch.randn(200, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    mean, std = features.statistics(x.split(32), standardise="channel")
    assert mean.item() == pytest.approx(x.double().mean().item(), rel=1e-7)
    assert std.item() == pytest.approx(x.double().std(correction=0).item(), rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 20.7, 3000.1])
@pytest.mark.parametrize("standardise", ["channel", "element"])
def test_a_feature_that_is_constant_in_training_is_only_centred(value, standardise):
    """Whatever its size; dividing by rounding errors would blow it up as soon as it varies."""
    x = torch.full((96, 2, 12, 12), value)
    x[:, 1] = torch.randn(96, 12, 12, generator=torch.Generator().manual_seed(0))
    mean, std = features.statistics(x.split(7), standardise=standardise)
    assert (std[0] == 1).all() and (std[1] != 1).all()
    torch.testing.assert_close(mean[0], torch.full_like(mean[0], value))


def test_no_features_at_all_are_refused():
    with pytest.raises(features.FeatureError, match="no training features"):
        features.statistics([], standardise="channel")


# -- density ---------------------------------------------------------------------------------------------------------

def test_nll_is_that_of_the_standardised_features():
    density = stage2.Density(StandardNormal(), torch.tensor([10.0, 0.0]).reshape(2, 1, 1), torch.tensor([2.0, 1.0]).reshape(2, 1, 1))
    x = torch.tensor([[14.0, 3.0], [10.0, 0.0]]).reshape(2, 2, 1, 1)  # 2 and 3 standard deviations off; then none
    floor = math.log(2 * math.pi)
    assert density.nll(x).tolist() == pytest.approx([0.5 * (4 + 9) + floor, floor])


def test_standardised_training_features_have_mean_0_and_variance_1():
    x = 5 + 3 * torch.randn(50, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    density = stage2.Density(StandardNormal(), *features.statistics([x], standardise="channel"))
    z = density.standardise(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(4), atol=1e-5, rtol=0)


def test_statistics_travel_with_the_state():
    """A density that is loaded says the same of features that it has never seen, and not by what it happens to see first."""
    def build(mean, std):
        return stage2.Density(Glow(channels=2, K=2, L=1, hidden=4, permutation="lu", recompute=False), mean, std)

    generator = torch.Generator().manual_seed(0)
    train = 100 + 7 * torch.randn(30, 2, 4, 4, generator=generator)
    mean, std = features.statistics([train], standardise="channel")
    density = build(mean, std)
    density.nll(train)  # the first batch sets actnorm
    loaded = build(torch.zeros_like(mean), torch.ones_like(std))
    loaded.load_state_dict(density.state_dict())
    assert torch.equal(loaded.mean, mean) and torch.equal(loaded.std, std)
    other = 90 + 20 * torch.randn(5, 2, 4, 4, generator=generator)
    assert torch.equal(loaded.train().nll(other), density.eval().nll(other))
    assert not [name for name, _ in density.named_parameters() if name in ("mean", "std")]  # nothing that learns
