"""ITAE against Table 1: shapes, kernels, the cost counted by hand, and which frames can reach the output."""

import math
import time

import pytest
import torch
from torch import nn

from lib import itae
from lib.config import resolve, values
from lib.errors import ModelError
from lib.itae import ITAE
from lib.training.table1 import layer_table

TABLE1 = [  # path, layer, kernel, stride, output (channels, time, height, width) at 3x16x256x256
    ("appearance", "Conv1", (1, 3, 3), (1, 2, 2), (96, 4, 128, 128)),
    ("motion", "Conv1", (5, 3, 3), (1, 2, 2), (12, 16, 128, 128)),
    ("appearance", "Conv2", (1, 3, 3), (1, 2, 2), (128, 4, 64, 64)),
    ("motion", "Conv2", (3, 3, 3), (1, 2, 2), (16, 16, 64, 64)),
    ("appearance", "Conv3", (3, 3, 3), (1, 2, 2), (256, 4, 32, 32)),
    ("motion", "Conv3", (3, 3, 3), (1, 2, 2), (32, 16, 32, 32)),
    ("appearance", "Conv4", (3, 3, 3), (1, 1, 1), (256, 4, 32, 32)),
    ("motion", "Conv4", (3, 3, 3), (1, 1, 1), (32, 16, 32, 32)),
    ("decoder", "DeConv1", (3, 3, 3), (1, 1, 1), (256, 4, 32, 32)),
    ("decoder", "DeConv2", (3, 3, 3), (2, 2, 2), (128, 8, 64, 64)),
    ("decoder", "DeConv3", (3, 3, 3), (2, 2, 2), (96, 16, 128, 128)),
    ("decoder", "DeConv4", (3, 3, 3), (1, 2, 2), (3, 16, 256, 256)),
]


def paper_network(dataset, **changes):
    """The paper's network without its memory: on the meta device, which knows shapes alone."""
    config = resolve("paper", dataset, changes)
    settings = {k: v for k, v in values(config.model).items() if k != "input_range"}
    return ITAE(channels=config.data.channels, two_path=True, **settings).to("meta")


TINY = dict(
    channels=1,
    two_path=True,
    T=8,
    tau=4,
    app_channels=(8, 8, 8, 8),
    mot_channels=(4, 4, 4, 4),
    spatial_strides=(2, 2, 1, 1),
    decoder_strides=(1, 1, 2, 2),
    normalisation="batch",
    activation="leaky_relu",
    output="linear",
    one_path_frames="T/tau",
)


def tiny(*, seed=0, **changes):
    torch.manual_seed(seed)
    return ITAE(**(TINY | changes))


def lively(**changes):
    """In evaluation mode, with larger weights than at the start: batch norm has seen nothing that it could
    scale up."""
    model = tiny(**changes).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(2.5)
    return model


def video(*, channels=1, T=8, size=(8, 12), B=1, seed=0):
    return torch.rand(B, channels, T, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# -- Table 1 -------------------------------------------------------------------------------------------------


def test_layers_are_those_of_table_1():
    rows = layer_table(paper_network("avenue"), 256, 256)
    got = [tuple(row[k] for k in ("path", "layer", "kernel", "stride", "output")) for row in rows]
    assert sorted(r for r in got if r[0] != "lateral") == sorted(TABLE1)
    # A lateral connection brings 16 frames of the motion path to the appearance path's 4, and doubles the
    # channels.
    laterals = [r for r in got if r[0] == "lateral"]
    assert laterals == [
        ("lateral", f"Conv{i + 1}", (5, 1, 1), (4, 1, 1), (2 * c, 4, s, s))
        for i, (c, s) in enumerate(((12, 128), (16, 64), (32, 32), (32, 32)))
    ]


def test_cost_of_the_papers_network():
    rows = layer_table(paper_network("avenue"), 256, 256)
    assert sum(row["multiply_adds"] for row in rows) == 43_282_071_552
    assert sum(row["parameters"] for row in rows) == 6_970_463
    assert sum(row["parameters"] for row in rows) == sum(
        p.numel() for p in paper_network("avenue").parameters()
    )
    one = {(row["path"], row["layer"]): row for row in rows}
    assert (
        one["appearance", "Conv1"]["multiply_adds"] == 4 * 128 * 128 * 96 * 3 * 9
    )  # an output gathers 3 x 9
    assert (
        one["appearance", "Conv2"]["parameters"] == 128 * (96 + 2 * 12) * 9 + 2 * 128
    )  # weights, batch norm
    assert (
        one["decoder", "DeConv2"]["multiply_adds"] == 4 * 32 * 32 * 256 * 128 * 27
    )  # an input spreads to 128 x 27
    assert one["decoder", "DeConv4"]["parameters"] == 96 * 3 * 27 + 3  # a bias, no norm, at the end


def test_ucsd_keeps_a_quarter_of_its_size():
    rows = layer_table(paper_network("ped2"), 240, 360)
    size = {(row["path"], row["layer"]): row["output"] for row in rows}
    assert size["appearance", "Conv1"] == (96, 4, 120, 180)
    assert size["appearance", "Conv4"] == (256, 4, 60, 90) and size["motion", "Conv4"] == (32, 16, 60, 90)
    assert size["decoder", "DeConv2"] == (128, 8, 60, 90) and size["decoder", "DeConv3"] == (96, 16, 120, 180)
    assert size["decoder", "DeConv4"] == (1, 16, 240, 360)


def test_layer_table_leaves_the_network_as_it_was():
    model = tiny().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    layer_table(model, 8, 12)
    assert model.training and not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("mot_channels", [(4, 4, 4, 4), (2, 4, 6, 8)])
def test_laterals_are_those_of_slowfast(mot_channels):
    model = tiny(mot_channels=mot_channels)
    assert len(model.lateral) == 4
    for i, (lateral, C) in enumerate(zip(model.lateral, mot_channels)):
        conv, norm, _ = lateral
        assert (conv.in_channels, conv.out_channels) == (C, 2 * C)
        assert (conv.kernel_size, conv.stride, conv.padding) == ((5, 1, 1), (4, 1, 1), (2, 0, 0))
        assert conv.bias is None and isinstance(norm, nn.BatchNorm3d)
        after = model.app[i + 1][0] if i < 3 else model.decoder[0][0]
        assert after.in_channels == 8 + 2 * C
    assert itae.APP_KERNELS == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert itae.MOT_KERNELS == ((5, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))


# -- what reaches what ---------------------------------------------------------------------------------------


def test_both_paths_and_all_laterals_receive_gradient():
    model, I = tiny(), video(B=2)
    (model(I).reconstruction - I).square().mean().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


def test_a_frame_that_only_the_motion_path_sees_moves_output_and_appearance_map():
    model, I = lively(), video()
    other = I.clone()
    other[:, :, 2] += 0.5  # 2 % tau != 0
    with torch.no_grad():
        a, b = model(I), model(other)
        first = model.app[0](I[:, :, ::4]), model.app[0](other[:, :, ::4])
    assert torch.equal(*first)  # the path itself does not see it,
    assert (a.x_app - b.x_app).abs().max() > 1e-4  # but is told by the laterals
    assert (a.x_mot - b.x_mot).abs().max() > 1e-4
    assert (a.reconstruction - b.reconstruction).abs().max() > 1e-4
    for lateral in model.lateral:  # silenced laterals: no other way leads there
        nn.init.zeros_(lateral[0].weight)
    with torch.no_grad():
        a, b = model(I), model(other)
    assert torch.equal(a.x_app, b.x_app) and torch.equal(a.reconstruction, b.reconstruction)


def test_the_one_path_network_does_not_see_the_frames_between():
    model, I = lively(two_path=False), video()
    assert not model.mot and not model.lateral
    other = I.clone()
    other[:, :, [1, 2, 3, 5, 6, 7]] += 0.5
    with torch.no_grad():
        a, b = model(I), model(other)
        seen = model(torch.cat((I[:, :, :4], I[:, :, 4:5] + 0.5, I[:, :, 5:]), dim=2))
    assert (
        a.x_mot is None and torch.equal(a.x_app, b.x_app) and torch.equal(a.reconstruction, b.reconstruction)
    )
    assert (a.reconstruction - seen.reconstruction).abs().max() > 1e-4


def test_one_path_that_is_shown_all_frames():
    model, I = lively(two_path=False, one_path_frames="T"), video()
    other = I.clone()
    other[:, :, 2] += 0.5
    with torch.no_grad():
        a, b = model(I), model(other)
    assert a.x_app.shape == (1, 8, 8, 2, 3) and a.reconstruction.shape == I.shape
    assert (a.reconstruction - b.reconstruction).abs().max() > 1e-4
    assert all(layer[0].stride[0] == 1 for layer in model.decoder)
    two = tiny(one_path_frames="T").eval()  # says nothing about two paths
    assert two(I).x_app.shape == (1, 8, 2, 2, 3)


def test_nothing_but_the_joint_of_the_last_maps_reaches_the_decoder():
    model, I = tiny().eval(), video(B=2)
    with torch.no_grad():
        out = model(I)
        x_app, x_mot, joined = model.encode(I)
        decoded = model.output(model.decoder[3](model.decoder[2](model.decoder[1](model.decoder[0](joined)))))
        assert torch.equal(joined, torch.cat((x_app, model.lateral[3](x_mot)), dim=1))
    assert torch.equal(decoded, out.reconstruction)
    assert torch.equal(x_app, out.x_app) and torch.equal(x_mot, out.x_mot)


def test_with_the_latents_zeroed_nothing_of_the_input_is_left():
    model = tiny().eval()
    model.decoder[0].register_forward_pre_hook(lambda _, inputs: (torch.zeros_like(inputs[0]),))
    I = video().requires_grad_()
    out = model(I).reconstruction
    assert torch.equal(out, model(video(seed=1)).reconstruction)
    assert torch.autograd.grad(out.square().sum(), I, allow_unused=True) == (None,)


def test_one_path_computes_what_two_paths_do_without_motion():
    """The same weights, and laterals that say nothing."""
    two, one = lively(), lively(two_path=False, seed=1)
    for lateral in two.lateral:
        lateral.register_forward_hook(lambda _, inputs, out: torch.zeros_like(out))
    weights, state = two.state_dict(), {}
    for name, own in one.state_dict().items():  # the channels of the appearance path come first
        axis = 0 if name.startswith("decoder") else 1
        same = weights[name].shape == own.shape
        state[name] = weights[name] if same else weights[name].narrow(axis, 0, own.shape[axis])
    one.load_state_dict(state)
    with torch.no_grad():
        a, b = one(video()), two(video())
    torch.testing.assert_close(a.x_app, b.x_app)
    torch.testing.assert_close(a.reconstruction, b.reconstruction)


@pytest.mark.parametrize("tau", [2, 4])
def test_a_lateral_frame_gathers_five_around_the_one_that_the_appearance_path_sees(tau):
    conv = tiny(tau=tau).lateral[0][0]
    mot = torch.randn(1, 4, 8, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = conv(mot)
    assert out.shape[2] == 8 // tau
    for k in range(8 // tau):
        (grad,) = torch.autograd.grad(out[:, :, k].sum(), mot, retain_graph=True)
        frames = grad.abs().sum((0, 1, 3, 4)).nonzero().flatten().tolist()
        assert frames == [t for t in range(tau * k - 2, tau * k + 3) if 0 <= t < 8]


def test_overfits_one_clip():
    model, start = tiny(seed=1), time.perf_counter()
    t, y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), torch.arange(12.0), indexing="ij")
    I = (
        torch.exp(-((x - 1 - 1.3 * t).square() + (y - 4).square()) / 6)[None, None] * 2 - 1
    )  # a blob that crosses
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(120):
        loss = (model(I).reconstruction - I).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if losses[-1] < losses[0] / 20:
            break
    assert losses[-1] < losses[0] / 10, losses[::20]
    assert losses[-1] < I.var().item() / 4  # better than the clip's mean
    print(f"{len(losses)} steps, {time.perf_counter() - start:.1f} s")


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "T, tau, strides",
    [
        (8, 2, (1, 2, 1, 1)),
        (16, 8, (2, 2, 2, 1)),
        (4, 1, (1, 1, 1, 1)),
        (16, 4, (1, 2, 2, 1)),
        (12, 4, (1, 2, 2, 1)),
    ],
)
def test_combinations_of_T_and_tau(T, tau, strides):
    assert itae.temporal_strides(tau) == strides and math.prod(strides) == tau
    for two_path in (True, False):
        out = tiny(T=T, tau=tau, two_path=two_path)(video(T=T, B=2))
        assert out.reconstruction.shape == (2, 1, T, 8, 12) and out.x_app.shape == (2, 8, T // tau, 2, 3)
    assert tiny(T=T, tau=tau)(video(T=T, B=2)).x_mot.shape == (2, 4, T, 2, 3)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (dict(tau=3, T=9), "tau = 3.*must be 1, 2, 4 or 8"),
        (dict(tau=16, T=16), "tau = 16.*must be 1, 2, 4 or 8"),
        (dict(T=10), "T = 10 is not a multiple of tau = 4"),
        (
            dict(decoder_strides=(1, 2, 2, 2)),
            r"product of \(2, 2, 1, 1\).*\(1, 2, 2, 2\): the two must be equal",
        ),
        (dict(app_channels=(8, 8, 8)), "app_channels has 3 entries"),
        (dict(decoder_strides=(2, 2)), "decoder_strides has 2 entries"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, sentence):
    with pytest.raises(ModelError, match=sentence):
        tiny(**changes)


@pytest.mark.parametrize(
    "shape, sentence",
    [
        ((1, 1, 8, 10, 12), "10x12.*multiples of 4"),
        ((1, 1, 8, 8, 14), "8x14.*multiples of 4"),
        ((1, 1, 4, 8, 12), "windows of 8 frames of 1 channel.*4 frames of 1"),
        ((1, 3, 8, 8, 12), "8 frames of 3"),
    ],
)
def test_windows_that_do_not_fit_are_refused(shape, sentence):
    with pytest.raises(ModelError, match=sentence):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize(
    "normalisation, kind", [("batch", nn.BatchNorm3d), ("group", nn.GroupNorm), ("none", None)]
)
def test_normalisation_after_each_layer_but_the_last(normalisation, kind):
    model = tiny(normalisation=normalisation)
    blocks = [*model.app, *model.mot, *model.lateral, *model.decoder]
    assert len(blocks) == 16 and len(blocks[-1]) == 1 and blocks[-1][0].bias is not None
    for block in blocks[:-1]:
        assert len(block) == (2 if kind is None else 3) and isinstance(block[-1], nn.LeakyReLU)
        assert kind is None or isinstance(block[1], kind)
        assert (block[0].bias is None) == (kind is not None)  # a normalisation would take a bias away again


@pytest.mark.parametrize("output, low, high", [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_output_is_bounded(output, low, high):
    model = tiny(output=output)
    nn.init.normal_(model.decoder[3][0].weight, std=20)
    I_hat = model(video(B=2)).reconstruction
    assert low <= I_hat.min() < low + 0.05 and high - 0.05 < I_hat.max() <= high


def test_channels_last_changes_nothing():
    model, I = tiny().eval(), video(B=2)
    with torch.no_grad():
        a = model(I).reconstruction
        layout = torch.channels_last_3d
        b = model.to(memory_format=layout)(I.contiguous(memory_format=layout)).reconstruction
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_outputs_are_float32_whatever_the_autocast():
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        out = tiny().eval()(video())
    assert {value.dtype for value in out} == {torch.float32}
