"""Eq. 3, Eq. 4 and multi-scale SSIM against hand-computed values, definitions written out, and
pytorch-msssim."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from lib import losses
from lib.kernels import ms_ssim as similarity

pytorch_msssim = pytest.importorskip("pytorch_msssim")


def frames(B=1, C=1, T=2, H=96, W=112, *, seed=0, dtype=torch.float32):
    """Smooth images in [-1, 1] and a disturbed copy."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(B * C * T, 1, H // 8, W // 8, generator=generator, dtype=dtype)
    x = torch.nn.functional.interpolate(coarse, size=(H, W), mode="bilinear") * 2 - 1
    x = x + 0.1 * torch.randn(x.shape, generator=generator, dtype=dtype)
    y = 0.8 * x + 0.2 * torch.randn(x.shape, generator=generator, dtype=dtype)
    return x.clamp(-1, 1).reshape(B, C, T, H, W), y.clamp(-1, 1).reshape(B, C, T, H, W)


def test_mean_square_by_hand():
    I = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 2, 2)
    I_hat = torch.tensor([1.0, 0.0, 0.0, 4.0]).reshape(1, 1, 1, 2, 2)
    assert losses.l2_loss(I, I_hat, l2="mean_square").item() == pytest.approx((4 + 9) / 4)


def test_norm_is_per_frame_over_channels_then_averaged_over_frames():
    difference = torch.zeros(1, 2, 2, 1, 2)  # two channels, two frames of 1x2 pixels
    difference[0, 0, 0, 0, 0], difference[0, 1, 0, 0, 1] = 3.0, 4.0  # frame 0: norm 5, across both channels
    difference[0, 0, 1, 0, 1] = -1.0  # frame 1: norm 1
    I = torch.full_like(difference, 0.5)
    assert losses.l2_loss(I, I - difference, l2="frame_norm").item() == pytest.approx((5 + 1) / 2)


@pytest.mark.parametrize("l2", ["window_norm", "frame_norm", "mean_square"])
def test_a_perfect_reconstruction_has_a_gradient_of_zero(l2):
    I = torch.ones(1, 1, 2, 3, 3)
    I_hat = I.clone().requires_grad_()
    losses.l2_loss(I, I_hat, l2=l2).backward()
    assert torch.equal(I_hat.grad, torch.zeros_like(I))


def test_the_norm_of_a_window_and_of_its_frames_by_hand():
    difference = torch.zeros(2, 1, 2, 1, 2)
    # a window with frames of norm 3 and 4, and one of norm 0
    difference[0, 0, :, 0, 0] = torch.tensor([3.0, 4.0])
    I = torch.full_like(difference, 0.5)
    assert losses.l2_loss(I, I - difference, l2="window_norm").item() == pytest.approx((5 + 0) / 2)
    assert losses.l2_loss(I, I - difference, l2="frame_norm").item() == pytest.approx((3 + 4 + 0 + 0) / 4)


def test_unknown_l2_is_refused():
    with pytest.raises(losses.LossError, match="'window_norm', 'frame_norm' or 'mean_square'"):
        losses.l2_loss(torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 2), l2="sum")


def test_gradient_loss_by_hand():
    I = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 0.0]]).reshape(1, 1, 1, 2, 3)
    I_hat = torch.tensor([[0.0, -1.0, 0.0], [1.0, 1.0, 1.0]]).reshape(1, 1, 1, 2, 3)
    # |dx I|: 1 2 / 0 2, |dx I^|: 1 1 / 0 0 -> differences 0 1 0 2; |dy I|: 2 1 3, |dy I^|: 1 2 1 -> 1 1 2
    assert losses.gradient_loss(I, I_hat).item() == pytest.approx(3 / 4 + 4 / 3)


def test_gradient_loss_ignores_brightness_and_the_sign_of_edges():
    I, _ = frames()
    assert losses.gradient_loss(I, 0.3 - I).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.gradient_loss(I, 0.5 * I).item() > 0.01


def test_gradient_loss_sees_space_and_not_time():
    I, _ = frames(T=3)
    flat = torch.full_like(I, 0.1)
    flat[:, :, 1] = 0.9  # a flash: change in time only
    assert losses.gradient_loss(flat, torch.zeros_like(I)).item() == 0.0


@pytest.mark.parametrize(
    ("shape", "window"),
    [((2, 1, 3, 96, 112), 5), ((1, 3, 2, 176, 192), 11), ((1, 1, 2, 81, 99), 5), ((1, 2, 1, 113, 98), 7)],
)
def test_ms_ssim_agrees_with_pytorch_msssim_in_value_and_gradient(shape, window):
    I, I_hat = frames(*shape)
    B, C, T, H, W = shape

    def package(x, y):
        flat = [v.transpose(1, 2).reshape(B * T, C, H, W) for v in (x, y)]
        return pytorch_msssim.ms_ssim(*flat, data_range=2.0, win_size=window)

    ours_in, theirs_in = I_hat.clone().requires_grad_(), I_hat.clone().requires_grad_()
    ours = losses.ms_ssim(I, ours_in, ms_ssim_window=window, data_range=2.0)
    theirs = package(I, theirs_in)
    assert ours.shape == (B, C, T)
    assert ours.mean().item() == pytest.approx(theirs.item(), abs=1e-5)
    ours.mean().backward()
    theirs.backward()
    error = (ours_in.grad - theirs_in.grad).norm() / theirs_in.grad.norm()
    assert error.item() < 1e-5


def test_ms_ssim_from_its_definition():
    """The formula written out with scipy in float64, one frame, sides that stay even."""
    I, I_hat = frames(T=1, H=96, W=128, dtype=torch.float64)
    x, y = I.numpy()[0, 0, 0], I_hat.numpy()[0, 0, 0]
    window, L = 5, 2.0
    g = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.5**2))
    g /= g.sum()

    def blur(v):
        return correlate1d(correlate1d(v, g, axis=0), g, axis=1)[2:-2, 2:-2]

    value = 1.0
    for scale, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        similarity = (2 * cov + (0.03 * L) ** 2) / (vx + vy + (0.03 * L) ** 2)
        if scale == 4:
            similarity = similarity * (2 * mx * my + (0.01 * L) ** 2) / (mx**2 + my**2 + (0.01 * L) ** 2)
        value *= similarity.mean() ** exponent
        x, y = ((v[::2, ::2] + v[1::2, ::2] + v[::2, 1::2] + v[1::2, 1::2]) / 4 for v in (x, y))
    ours = losses.ms_ssim(I, I_hat, ms_ssim_window=window, data_range=L)
    assert ours.item() == pytest.approx(value, abs=1e-12)


def test_ms_ssim_gradient_by_finite_differences():
    I, I_hat = frames(T=1, H=36, W=40, dtype=torch.float64)
    I_hat.requires_grad_()
    (gradient,) = torch.autograd.grad(losses.ms_ssim(I, I_hat, ms_ssim_window=3, data_range=2.0).sum(), I_hat)
    with torch.no_grad():
        for row, column in ((0, 0), (17, 20), (35, 39)):
            step = torch.zeros_like(I_hat)
            step[..., row, column] = 1e-6
            up = losses.ms_ssim(I, I_hat + step, ms_ssim_window=3, data_range=2.0).item()
            down = losses.ms_ssim(I, I_hat - step, ms_ssim_window=3, data_range=2.0).item()
            assert gradient[..., row, column].item() == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-10)


def test_ms_ssim_counts_every_frame_alone():
    I, I_hat = frames(B=2, C=2, T=3)
    values = losses.ms_ssim(I, I_hat, ms_ssim_window=5, data_range=2.0)
    for b in range(2):
        for c in range(2):
            for t in range(3):
                alone = losses.ms_ssim(
                    I[b : b + 1, c : c + 1, t : t + 1],
                    I_hat[b : b + 1, c : c + 1, t : t + 1],
                    ms_ssim_window=5,
                    data_range=2.0,
                )
                assert values[b, c, t].item() == pytest.approx(alone.item(), abs=1e-6)


def test_ms_ssim_of_equal_frames_is_one_and_of_opposite_frames_zero():
    I, _ = frames()
    assert torch.allclose(
        losses.ms_ssim(I, I, ms_ssim_window=5, data_range=2.0), torch.ones(1, 1, 2), atol=1e-5
    )
    opposite = (-I).requires_grad_()
    value = losses.ms_ssim(I, opposite, ms_ssim_window=5, data_range=2.0)
    assert torch.equal(value, torch.zeros(1, 1, 2))
    value.sum().backward()
    assert torch.isfinite(opposite.grad).all()


def test_ms_ssim_depends_on_the_data_range_only_through_the_scale():
    I, I_hat = frames()
    first = losses.ms_ssim(I, I_hat, ms_ssim_window=5, data_range=2.0)
    scaled = losses.ms_ssim(10 * I, 10 * I_hat, ms_ssim_window=5, data_range=20.0)
    assert torch.allclose(first, scaled, atol=1e-5)


def test_ms_ssim_does_not_depend_on_how_many_frames_are_worked_on_at_once(monkeypatch):
    I, I_hat = frames(T=5)
    results = []
    for pixels in (1, 2 * 96 * 112, 10**9):
        monkeypatch.setattr(similarity, "CACHED_PIXELS", pixels)
        leaf = I_hat.clone().requires_grad_()
        value = losses.ms_ssim(I, leaf, ms_ssim_window=5, data_range=2.0)
        results.append((value, *torch.autograd.grad(value[0, 0] @ torch.arange(1.0, 6.0), leaf)))
    for value, gradient in results[1:]:
        assert torch.allclose(value, results[0][0], atol=1e-6)
        assert torch.allclose(gradient, results[0][1], atol=1e-9, rtol=1e-5)


def test_ms_ssim_refuses_a_gradient_that_it_does_not_have():
    I, I_hat = frames()
    with pytest.raises(losses.LossError, match="to the reconstruction only"):
        losses.ms_ssim(I_hat.requires_grad_(), I, ms_ssim_window=5, data_range=2.0)


def test_ms_ssim_takes_any_memory_layout():
    I, I_hat = frames(B=2, C=3)
    plain = losses.ms_ssim(I, I_hat, ms_ssim_window=5, data_range=2.0)
    last = [v.to(memory_format=torch.channels_last_3d) for v in (I, I_hat)]
    assert torch.equal(losses.ms_ssim(*last, ms_ssim_window=5, data_range=2.0), plain)


def test_ms_ssim_keeps_its_digits_under_autocast():
    I, I_hat = frames()
    plain = losses.ms_ssim(I, I_hat, ms_ssim_window=5, data_range=2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = losses.ms_ssim(I, I_hat, ms_ssim_window=5, data_range=2.0)
    assert torch.equal(plain, under)
    assert losses.ms_ssim(I, I_hat.bfloat16(), ms_ssim_window=5, data_range=2.0).dtype == torch.float32


@pytest.mark.parametrize(
    ("height", "width", "largest"),
    [(128, 192, 7), (240, 360, 15), (256, 256, 15), (160, 240, 9), (97, 400, 7), (96, 400, 5)],
)
def test_a_window_too_large_is_refused_with_the_largest_that_fits(height, width, largest):
    losses.check_window(largest, height=height, width=width)
    with pytest.raises(losses.LossError, match=f"set ms_ssim_window to {largest},"):
        losses.check_window(largest + 2, height=height, width=width)
    I = torch.rand(1, 1, 1, height, width)
    value = losses.ms_ssim(I, I, ms_ssim_window=largest, data_range=1.0)
    assert value.item() == pytest.approx(1.0, abs=1e-4)


def test_windows_that_are_even_or_on_tiny_frames_are_refused():
    with pytest.raises(losses.LossError, match="must be odd"):
        losses.check_window(8, height=256, width=256)
    with pytest.raises(losses.LossError, match="too small for the five scales"):
        losses.check_window(3, height=32, width=64)


def test_reconstruction_loss_weighs_the_terms_and_names_them():
    I, I_hat = frames()
    settings = dict(l2="mean_square", ms_ssim_window=5, input_range="0..1")
    total, terms = losses.reconstruction_loss(
        I, I_hat, l2_weight=2.0, gradient_weight=0.5, ms_ssim_weight=0.1, **settings
    )
    assert list(terms) == ["l2", "gradient", "ms_ssim"]
    expected = (
        2.0 * (I - I_hat).square().mean()
        + 0.5 * losses.gradient_loss(I, I_hat)
        + 0.1 * (1 - losses.ms_ssim(I, I_hat, ms_ssim_window=5, data_range=1.0).mean())
    )
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert terms["l2"].item() == pytest.approx((I - I_hat).square().mean().item())
    total, terms = losses.reconstruction_loss(
        I, I_hat, l2_weight=1.0, gradient_weight=0.0, ms_ssim_weight=0.0, **settings
    )
    assert list(terms) == ["l2"] and total.item() == terms["l2"].item()


def test_ms_ssim_is_of_intensities_whatever_the_range_of_the_network():
    """A signed and an unsigned network get the same value, and the same gradient but for the scale of their
    outputs."""
    dark, dark_hat = (0.5 * (x + 1) for x in frames())  # in [0, 1]
    dark_hat = (dark_hat - 0.05).clamp(min=0)
    got = {}
    for input_range, scale, shift in (("0..1", 1, 0), ("-1..1", 2, -1)):
        I, I_hat = scale * dark + shift, (scale * dark_hat + shift).requires_grad_()
        loss, terms = losses.reconstruction_loss(
            I,
            I_hat,
            l2="mean_square",
            l2_weight=0.0,
            gradient_weight=0.0,
            ms_ssim_weight=1.0,
            ms_ssim_window=5,
            input_range=input_range,
        )
        loss.backward()
        got[input_range] = terms["ms_ssim"].item(), scale * I_hat.grad
    assert got["-1..1"][0] == pytest.approx(got["0..1"][0], abs=1e-6)
    assert got["0..1"][0] == pytest.approx(
        1 - losses.ms_ssim(dark, dark_hat, ms_ssim_window=5, data_range=1.0).mean().item()
    )
    assert torch.allclose(got["-1..1"][1], got["0..1"][1], rtol=1e-3, atol=1e-8)


def test_reconstruction_loss_of_a_perfect_reconstruction_is_zero():
    I, _ = frames()
    total, _ = losses.reconstruction_loss(
        I,
        I,
        l2="window_norm",
        l2_weight=1.0,
        gradient_weight=1.0,
        ms_ssim_weight=1.0,
        ms_ssim_window=5,
        input_range="-1..1",
    )
    assert total.item() == pytest.approx(0.0, abs=1e-5)


def test_reconstruction_loss_passes_nan_on_and_refuses_what_does_not_fit():
    I, I_hat = frames()
    settings = dict(
        l2="mean_square", gradient_weight=1.0, ms_ssim_weight=1.0, ms_ssim_window=5, input_range="-1..1"
    )
    broken = I_hat.clone()
    broken[0, 0, 1, 3, 3] = math.nan
    total, terms = losses.reconstruction_loss(I, broken, l2_weight=1.0, **settings)
    assert math.isnan(total.item()) and all(math.isnan(term.item()) for term in terms.values())
    with pytest.raises(losses.LossError, match="must be equal"):
        losses.reconstruction_loss(I, I_hat[:, :, :1], l2_weight=1.0, **settings)
    with pytest.raises(losses.LossError, match="none may be negative"):
        losses.reconstruction_loss(I, I_hat, l2_weight=-1.0, **settings)
