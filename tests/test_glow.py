"""The flow against independent oracles: autograd's Jacobian, numerical integration, entropy, normflows, hand
values."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from lib import glow as glow_module
from lib.errors import GlowError
from lib.glow import (
    ActNorm,
    ActNormConv,
    AffineCoupling,
    FlowStep,
    Glow,
    InvertibleConv,
    Level,
    Split,
    Squeeze,
    ZeroConv,
    bits_per_dimension,
    standard_normal_log_prob,
)
from lib.kernels.coupling_convolutions import ThreeConvs


@pytest.fixture(autouse=True)
def float64():
    """Exactness is tested in float64; parameters and random numbers take the default dtype."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def prepared(layer, x, amount=0.03):
    """The layer after its first batch, every parameter moved, so that nothing is zero or one by
    initialisation."""
    layer.train()
    layer(x)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(amount * torch.randn_like(p))
    return layer.eval()


def data(*shape):
    """Random maps whose channels differ in mean and scale."""
    channel = torch.arange(1.0, shape[1] + 1)[:, None, None]
    return torch.randn(*shape) * (0.5 + 0.3 * channel) + 0.2 * channel


def small_glow(x, *, L=1, K=2, hidden=6, permutation="lu", recompute=False):
    return prepared(
        Glow(channels=x.shape[1], K=K, L=L, hidden=hidden, permutation=permutation, recompute=recompute), x
    )


def latents(z):
    """The output of a layer, or of the whole flow, as one vector a sample."""
    return torch.cat([part.flatten(1) for part in (z if isinstance(z, list) else [z])], dim=1)


LAYERS = {
    "actnorm": lambda: ActNorm(channels=4),
    "conv_lu": lambda: InvertibleConv(channels=4, permutation="lu"),
    "conv_dense": lambda: InvertibleConv(channels=4, permutation="dense"),
    "coupling": lambda: AffineCoupling(channels=4, hidden=6, recompute=False),
    "split": lambda: Split(channels=4),
    "step_lu": lambda: FlowStep(channels=4, hidden=6, permutation="lu", recompute=False),
    "step_dense": lambda: FlowStep(channels=4, hidden=6, permutation="dense", recompute=False),
    "level": lambda: Level(channels=4, K=2, hidden=6, permutation="lu", recompute=False),
    "level_recompute": lambda: Level(channels=4, K=2, hidden=6, permutation="dense", recompute=True),
    "glow_1": lambda: Glow(channels=4, K=2, L=1, hidden=6, permutation="lu", recompute=False),
    "glow_2": lambda: Glow(channels=4, K=2, L=2, hidden=6, permutation="dense", recompute=False),
}


# Exactness


@pytest.mark.parametrize("name", LAYERS)
def test_log_det_is_that_of_the_jacobian_for_each_sample(name):
    layer = prepared(LAYERS[name](), data(8, 4, 4, 4))
    x = data(2, 4, 4, 4)
    _, log_det = layer(x)
    assert log_det.shape == (2,)
    assert (log_det.abs() > 0.1).all()  # zero would prove nothing
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda a: latents(layer(a)[0])[0], x[i : i + 1])
        expected = torch.linalg.slogdet(jacobian.reshape(64, 64)).logabsdet
        assert abs(log_det[i] - expected) < 1e-9


def test_log_det_of_three_levels_is_that_of_the_jacobian():
    x = data(6, 1, 8, 8)
    flow = small_glow(x, L=3, K=1)
    _, log_det = flow(x[:1])
    jacobian = torch.autograd.functional.jacobian(lambda a: latents(flow(a)[0])[0], x[:1])
    assert abs(log_det[0] - torch.linalg.slogdet(jacobian.reshape(64, 64)).logabsdet) < 1e-9


@pytest.mark.parametrize("name", LAYERS)
def test_inverse_undoes_the_layer(name):
    layer = prepared(LAYERS[name](), data(8, 4, 4, 4))
    x = data(3, 4, 4, 4)
    z, _ = layer(x)
    assert (latents(z) - latents(x)).abs().max() > 0.1
    assert (layer.inverse(z) - x).abs().max() < 1e-11


def test_squeeze_moves_each_block_of_pixels_into_channels():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    z, log_det = Squeeze()(x)
    assert z[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert z[0, :, 1, 1].tolist() == [10, 11, 14, 15]
    assert log_det.tolist() == [0]
    assert torch.equal(Squeeze().inverse(z), x)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_log_prob_is_the_change_of_variables(L):
    x = data(6, 2, 8, 8)
    flow = small_glow(x, L=L, permutation="dense", recompute=False)
    zs, log_det = flow(x)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(latents(zs)).sum(1) + log_det
    assert torch.allclose(flow.log_prob(x), expected, rtol=1e-12)


def test_terms_are_those_of_each_scale():
    x = data(6, 2, 8, 8)
    flow = small_glow(x, L=2)
    terms = flow.terms(x)
    assert terms.log_p_z.shape == terms.log_det.shape == (6, 2)
    assert torch.allclose(terms.log_p_z.sum(1) + terms.log_det.sum(1), flow.log_prob(x), rtol=1e-12)

    h, first_log_det = flow.levels[0](x)
    goes_on, leaves = h.chunk(2, dim=1)
    mean, log_std = flow.splits[0].prior(goes_on).chunk(2, dim=1)
    learned_prior = torch.distributions.Normal(mean, log_std.exp()).log_prob(leaves).flatten(1).sum(1)
    top, second_log_det = flow.levels[1](goes_on)
    assert (mean.abs().mean() > 0.01) and (log_std.abs().mean() > 0.01)
    assert torch.allclose(terms.log_p_z[:, 0], learned_prior, rtol=1e-12)
    assert torch.allclose(terms.log_p_z[:, 1], standard_normal_log_prob(top), rtol=1e-12)
    assert torch.allclose(terms.log_det, torch.stack([first_log_det, second_log_det], 1), rtol=1e-12)


def test_a_sample_does_not_depend_on_its_batch():
    x = data(5, 2, 8, 8)
    flow = small_glow(x, L=2)
    together = flow.log_prob(x)
    alone = torch.cat([flow.log_prob(x[i : i + 1]) for i in range(5)])
    assert together.std() > 0.1
    assert torch.allclose(together, alone, rtol=1e-12)


def test_two_dimensional_density_integrates_to_one():
    layers = [FlowStep(channels=2, hidden=8, permutation=p, recompute=False) for p in ("lu", "dense", "lu")]
    layers.append(Split(channels=2))
    x = data(64, 2, 1, 1)
    for layer in layers:
        x, _ = prepared(layer, x, amount=0.03)(x)
    side = torch.linspace(-10, 10, 401)
    z, total = torch.cartesian_prod(side, side)[:, :, None, None], 0
    with torch.no_grad():
        for layer in layers:
            z, log_det = layer(z)
            total = total + log_det
    log_density = (standard_normal_log_prob(z) + total).reshape(401, 401)
    integral = log_density.exp().sum() * (side[1] - side[0]) ** 2
    assert abs(integral - 1) < 1e-3
    # It is no Gaussian, whose log-density has the same second difference everywhere along a line.
    assert log_density[150:250:10, 200].diff(n=2).std() > 0.01


def test_whole_flow_integrates_to_one():
    """E_q[p(x) / q(x)] = 1 for x from a wider Gaussian q, in the four dimensions of a 1x2x2 map."""
    flow = small_glow(torch.randn(256, 1, 2, 2), K=3)
    wide = torch.distributions.Normal(0.0, 1.5)
    x = wide.sample((100_000, 1, 2, 2))
    with torch.no_grad():
        ratio = (flow.log_prob(x) - wide.log_prob(x).flatten(1).sum(1)).exp()
    error = ratio.std() / len(ratio) ** 0.5
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 4 * error


def test_flow_fitted_to_a_gaussian_reaches_its_entropy():
    mix = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.5, 0, 0], [-0.5, 0.3, 0.7, 0], [0.2, -0.6, 0.4, 0.3]])
    target = torch.distributions.MultivariateNormal(torch.tensor([1.0, -2.0, 0.5, 3.0]), scale_tril=mix)
    flow = Glow(channels=1, K=1, L=1, hidden=8, permutation="lu", recompute=False)
    steps = 150
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (-flow.log_prob(target.sample((256,)).reshape(-1, 1, 2, 2)).mean()).backward()
        optimizer.step()
        schedule.step()
    flow.eval()
    x = target.sample((20_000,))
    with torch.no_grad():
        nll = -flow.log_prob(x.reshape(-1, 1, 2, 2))
    divergence = (
        nll + target.log_prob(x)
    ).mean()  # Kullback-Leibler, at least 0 up to the noise of the sample
    assert -0.01 < divergence < 0.02
    assert abs(nll.mean() - target.entropy()) < 0.06


# Against normflows


@pytest.mark.parametrize("permutation", ["lu", "dense"])
def test_a_step_agrees_with_normflows(permutation):
    nf = pytest.importorskip("normflows")
    step = prepared(
        FlowStep(channels=6, hidden=10, permutation=permutation, recompute=False), data(8, 6, 5, 4)
    )
    block = nf.flows.GlowBlock(6, 10, scale_map="sigmoid", use_lu=False)
    coupling, conv, actnorm = block.flows
    first, _, second, _, last = coupling.flows[1].param_map.net
    ours = step.coupling
    with torch.no_grad():
        actnorm.s.copy_(-step.actnorm.log_scale[:, None, None])
        actnorm.t.copy_(-step.actnorm.bias[:, None, None])
        actnorm.data_dep_init_done.fill_(1)
        conv.W.copy_(step.conv.matrix()[0])
        for theirs, mine in ((first, ours.conv1), (second, ours.conv2)):
            scale = mine.norm.log_scale.exp()
            theirs.weight.copy_(mine.weight * scale[:, None, None, None])
            theirs.bias.copy_(mine.norm.bias * scale)
        scale = (3 * ours.conv3.log_scale).exp()
        weight, bias = ours.conv3.weight * scale[:, None, None, None], ours.conv3.bias * scale
        # Theirs interleaves shift and scale, and subtracts the shift.
        last.weight[0::2], last.weight[1::2] = -weight[:3], weight[3:]
        last.bias[0::2], last.bias[1::2] = -bias[:3], bias[3:]
    x = data(3, 6, 5, 4)
    z, log_det = step(x)
    z_theirs, log_det_theirs = block.inverse(x)
    assert (z - z_theirs).abs().max() < 1e-12
    assert (log_det - log_det_theirs).abs().max() < 1e-11


# Actnorm


def test_actnorm_normalises_its_first_batch_with_the_biased_deviation():
    x = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2)  # mean 2, biased deviation 1
    layer = ActNorm(channels=1)
    z, log_det = layer(x)
    assert z.flatten().tolist() == pytest.approx([-1, 1], abs=2e-6)
    assert log_det.item() == pytest.approx(0, abs=4e-6)
    z, log_det = layer(5 * x)  # the second batch changes nothing
    assert z.flatten().tolist() == pytest.approx([3, 13], abs=2e-5)
    assert layer(x.expand(1, 1, 3, 2))[1].item() == pytest.approx(3 * log_det.item())


def test_actnorm_takes_statistics_over_batch_and_pixels_a_channel():
    x = data(4, 3, 5, 2)
    z, log_det = ActNorm(channels=3)(x)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-12)
    assert torch.allclose(z.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    assert torch.allclose(log_det, -10 * x.std((0, 2, 3), correction=0).log().sum(), atol=1e-3)


def test_hidden_actnorm_is_a_convolution_then_an_actnorm():
    x = data(4, 3, 6, 5)
    layer = ActNormConv(inputs=3, outputs=7, kernel=3)
    layer.initialise_once(x)
    with torch.no_grad():
        layer.norm.bias.add_(0.3)
    weight, bias = layer.folded()
    plain = nn.functional.conv2d(x, layer.weight, padding=1)
    assert torch.allclose(nn.functional.conv2d(x, weight, bias, padding=1), layer.norm(plain)[0], atol=1e-12)


def test_hidden_layers_are_normalised_by_the_first_batch():
    x = data(16, 4, 8, 8)
    coupling = AffineCoupling(channels=4, hidden=5, recompute=False)
    coupling(x)
    h = x[:, :2]
    for layer in (coupling.conv1, coupling.conv2):
        h = nn.functional.conv2d(h, *layer.folded(), padding=layer.weight.shape[-1] // 2)
        assert torch.allclose(h.mean((0, 2, 3)), torch.zeros(5), atol=1e-9)
        assert torch.allclose(h.std((0, 2, 3), correction=0), torch.ones(5), atol=1e-4)
        h = h.relu()


@pytest.mark.parametrize("recompute", [False, True])
def test_the_coupling_network_has_autograds_gradients(recompute):
    conv = nn.functional.conv2d
    inputs = [
        torch.randn(*shape, requires_grad=True)
        for shape in ((3, 2, 5, 4), (6, 2, 3, 3), (6,), (6, 6, 1, 1), (6,), (4, 6, 3, 3), (4,))
    ]
    x, w1, b1, w2, b2, w3, b3 = inputs
    expected = conv(conv(conv(x, w1, b1, padding=1).relu(), w2, b2).relu(), w3, b3, padding=1)
    value = ThreeConvs.apply(recompute, *inputs)
    assert torch.allclose(value, expected, atol=1e-12)
    upstream = torch.randn_like(value)
    kept = upstream.clone()
    for a, b in zip(
        torch.autograd.grad(value, inputs, upstream), torch.autograd.grad(expected, inputs, upstream)
    ):
        assert torch.allclose(a, b, atol=1e-11)
    assert torch.equal(upstream, kept)


def test_an_uninitialised_flow_is_refused_and_stays_untouched():
    x = data(4, 2, 4, 4)
    flow = Glow(channels=2, K=1, L=1, hidden=4, permutation="lu", recompute=False)
    before = copy.deepcopy(flow.state_dict())
    with pytest.raises(GlowError, match="first batch in training mode"):
        flow.eval().log_prob(x)
    for mode in (True, False):
        with pytest.raises(GlowError, match="first batch in training mode"):
            flow.train(mode).sample(2, (2, 4, 4), 1.0, torch.Generator().manual_seed(0))
    with pytest.raises(GlowError, match="NaN"):
        flow.train().log_prob(torch.full_like(x, math.nan))
    assert all(torch.equal(before[key], value) for key, value in flow.state_dict().items())


@pytest.mark.parametrize("recompute", [False, True])
def test_a_loaded_flow_gives_the_same_likelihoods_on_another_batch(recompute):
    flow = small_glow(data(8, 2, 8, 8), L=2, recompute=recompute)
    file = io.BytesIO()
    torch.save(flow.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    loaded = Glow(channels=2, K=2, L=2, hidden=6, permutation="lu", recompute=not recompute)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    other = 4 * data(3, 2, 8, 8) - 1
    expected = flow.log_prob(other)
    assert torch.equal(loaded.train().log_prob(other), expected)  # training mode must not set actnorm anew
    assert torch.equal(loaded.eval().log_prob(other), expected)


@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_a_constant_channel_is_finite_and_costs_nothing(noise):
    x = data(8, 2, 4, 4)
    x[:, 1] = 0.7 + noise * torch.randn(8, 4, 4)
    z, log_det = ActNorm(channels=2)(x)
    z_alone, log_det_alone = ActNorm(channels=1)(x[:, :1])
    assert z.isfinite().all() and z[:, 1].abs().max() < 1e-5
    assert torch.allclose(log_det, log_det_alone) and torch.equal(z[:, :1], z_alone)

    flow = Glow(channels=2, K=4, L=2, hidden=8, permutation="lu", recompute=False)
    terms = flow.terms(x)
    (-flow.log_prob(x).mean()).backward()
    assert terms.log_det.isfinite().all() and terms.log_det.abs().max() / 32 < 3  # nats a dimension
    assert all(p.grad.isfinite().all() for p in flow.parameters() if p.grad is not None)


def test_all_channels_constant_is_finite():
    flow = Glow(channels=2, K=2, L=1, hidden=4, permutation="dense", recompute=False)
    assert flow.log_prob(torch.full((4, 2, 4, 4), 3.0)).isfinite().all()


# 1x1 convolution and coupling


@pytest.mark.parametrize("permutation", ["lu", "dense"])
def test_the_invertible_convolution_starts_as_a_rotation_and_learns(permutation):
    layer = InvertibleConv(channels=5, permutation=permutation)
    weight, log_det = layer.matrix()
    assert torch.allclose(weight @ weight.T, torch.eye(5), atol=1e-12)
    assert abs(log_det) < 1e-12
    assert not torch.allclose(weight.abs(), torch.eye(5), atol=0.1)

    x = data(2, 5, 3, 3)
    prepared(layer, x, amount=0.1)
    weight, log_det = layer.matrix()
    assert abs(log_det - torch.linalg.slogdet(weight).logabsdet) < 1e-12
    assert torch.allclose(layer(x)[0][1, :, 2, 0], weight @ x[1, :, 2, 0])


def test_the_determinant_of_a_float32_matrix_is_taken_in_float64():
    for permutation in ("lu", "dense"):
        assert InvertibleConv(channels=8, permutation=permutation).float().matrix()[1].dtype == torch.float64


def test_every_step_of_every_level_takes_the_permutation_asked_for():
    for permutation in ("lu", "dense"):
        flow = Glow(channels=2, K=3, L=3, hidden=4, permutation=permutation, recompute=False)
        convs = [m for m in flow.modules() if isinstance(m, InvertibleConv)]
        assert [m.permutation for m in convs] == 9 * [permutation]


def test_the_coupling_starts_as_a_fixed_scale():
    x = data(3, 4, 5, 5)
    z, log_det = AffineCoupling(channels=4, hidden=6, recompute=False)(x)
    scale = 1 / (1 + math.exp(-2))
    assert torch.equal(z[:, :2], x[:, :2])
    assert torch.allclose(z[:, 2:], scale * x[:, 2:])
    assert torch.allclose(log_det, torch.full((3,), 50 * math.log(scale)))


def test_the_coupling_is_shift_then_scale():
    """(x2 + shift) * sigmoid(h + 2) with shift and h set by hand through the last layer's bias."""
    x = torch.tensor([5.0, 1.0]).reshape(1, 2, 1, 1)
    coupling = AffineCoupling(channels=2, hidden=3, recompute=False)
    coupling(data(8, 2, 4, 4))
    with torch.no_grad():
        coupling.conv3.bias.copy_(torch.tensor([0.5, -2.0]))  # shift, h
        coupling.conv3.log_scale.copy_(torch.tensor([math.log(2) / 3, 0]))
    z, log_det = coupling(x)
    assert z.flatten().tolist() == pytest.approx([5, (1 + 2 * 0.5) * 0.5])
    assert log_det.item() == pytest.approx(math.log(0.5))


def test_the_zero_convolution_scales_its_output():
    layer = ZeroConv(inputs=2, outputs=3)
    x = data(2, 2, 4, 4)
    assert torch.equal(layer(x), torch.zeros(2, 3, 4, 4))
    prepared(layer, x, amount=0.3)
    plain = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)
    assert torch.allclose(layer(x), plain * (3 * layer.log_scale).exp()[:, None, None], atol=1e-12)


def test_a_step_is_its_three_layers_in_turn():
    x = data(4, 4, 3, 5)
    step = prepared(FlowStep(channels=4, hidden=6, permutation="lu", recompute=False), x)
    z, total = x, 0
    for layer in (step.actnorm, step.conv, step.coupling):
        z, log_det = layer(z)
        total = total + log_det
    folded, log_det = step(x)
    assert torch.allclose(folded, z, atol=1e-12)
    assert torch.allclose(log_det, total, atol=1e-12)


# The whole flow


def test_every_parameter_learns():
    x = data(8, 2, 8, 8)
    flow = small_glow(x, L=2).train()
    (-flow.log_prob(x).mean()).backward()
    idle = [name for name, p in flow.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert idle == []


@pytest.mark.parametrize("L", [1, 2])
def test_recomputing_gives_the_same_gradients(L):
    x = data(8, 2, 8, 8).requires_grad_()
    torch.manual_seed(1)
    plain = Glow(channels=2, K=4, L=L, hidden=8, permutation="lu", recompute=False)
    saving = Glow(channels=2, K=4, L=L, hidden=8, permutation="lu", recompute=True)
    saving.load_state_dict(plain.state_dict())
    for _ in range(2):  # the first batch, and one of moved parameters
        gradients = []
        for flow in (plain, saving):
            nll = -flow.log_prob(x).mean()
            gradients.append([nll, *torch.autograd.grad(nll, [x, *flow.parameters()])])
        for a, b in zip(*gradients):
            assert (a - b).norm() <= 1e-8 * a.norm()
        prepared(plain, x.detach())
        plain.train(), saving.load_state_dict(plain.state_dict())


def test_recomputing_keeps_a_small_part_of_the_activations():
    x = data(8, 2, 32, 32)
    kept = {}
    for recompute in (False, True):
        flow = Glow(channels=2, K=4, L=1, hidden=128, permutation="lu", recompute=recompute)
        flow(x)
        own = {p.untyped_storage().data_ptr() for p in flow.parameters()}
        storages = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = (
                    storage.nbytes(),
                    tensor,
                )  # kept alive, so that addresses differ
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            flow.log_prob(x)
        kept[recompute] = sum(size for size, _ in storages.values())
    assert kept[True] < 0.25 * kept[False]


def test_float32_likelihoods_agree_with_float64():
    x = data(8, 4, 16, 16)
    flow = small_glow(x, L=2, K=8, hidden=16)
    exact = flow.log_prob(x)
    single = flow.float().log_prob(x.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), exact, rtol=1e-5)


def test_samples_come_from_the_generator_alone():
    flow = small_glow(data(16, 2, 8, 8), L=2)

    def draw(seed, temperature=1.0):
        return flow.sample(3, (2, 8, 8), temperature, torch.Generator().manual_seed(seed))

    first = draw(5)
    torch.manual_seed(99)
    assert first.shape == (3, 2, 8, 8)
    assert torch.equal(first, draw(5))
    assert not torch.allclose(first, draw(6))
    assert not torch.allclose(first[0], first[1])
    cold = draw(5, temperature=0.0)
    assert torch.equal(cold[0], cold[1])
    assert latents(flow.encode(draw(5, temperature=0.5))).allclose(
        0.5 * latents(flow.encode(first)), atol=1e-9
    )


def test_latents_of_samples_are_standard_normal():
    flow = small_glow(data(16, 1, 8, 8), L=2)
    z = latents(flow.encode(flow.sample(200, (1, 8, 8), 1.0, torch.Generator().manual_seed(0))))
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03


def test_features_are_interpolated_through_their_latents():
    x = data(2, 2, 8, 8)
    flow = small_glow(data(16, 2, 8, 8), L=3)
    zs = flow.encode(x)
    assert (
        [tuple(z.shape[1:]) for z in zs]
        == flow.latent_shapes((2, 8, 8))
        == [(4, 4, 4), (8, 2, 2), (32, 1, 1)]
    )
    halfway = flow.decode([z.mean(0, keepdim=True) for z in zs])
    assert (flow.decode(zs) - x).abs().max() < 1e-10
    assert halfway.shape == (1, 2, 8, 8)
    assert not torch.allclose(halfway, x.mean(0, keepdim=True), atol=1e-3)


def test_one_level_is_one_squeeze_and_no_split():
    x = data(4, 2, 30, 46)  # halves once only, as UCSD's latents
    flow = Glow(channels=2, K=1, L=1, hidden=4, permutation="lu", recompute=False)
    zs, _ = flow(x)
    assert [tuple(z.shape) for z in zs] == [(4, 8, 15, 23)]
    assert len(flow.splits) == 0


@pytest.mark.parametrize(
    "shape, L, reason",
    [
        ((1, 2, 60, 90), 3, "60x90 cannot be halved 3 times.*divisible by 8"),
        ((1, 2, 60, 90), 2, "60x90 cannot be halved 2 times.*divisible by 4"),
        ((1, 2, 7, 8), 1, "7x8 cannot be halved 1 times.*divisible by 2"),
        ((1, 3, 8, 8), 1, r"takes maps of shape \(2, H, W\); got \(3, 8, 8\)"),
        ((2, 8, 8), 1, r"takes maps of shape \(2, H, W\); got \(8, 8\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_reason(shape, L, reason):
    flow = Glow(channels=2, K=1, L=L, hidden=4, permutation="lu", recompute=False)
    with pytest.raises(GlowError, match=reason):
        flow.log_prob(torch.randn(*shape))
    if len(shape) == 4:
        with pytest.raises(GlowError, match=reason):
            flow.sample(1, shape[1:], 1.0, torch.Generator())


def test_senseless_parameters_are_refused():
    with pytest.raises(GlowError, match="'lu' or 'dense', not 'shuffle'"):
        Glow(channels=2, K=1, L=1, hidden=4, permutation="shuffle", recompute=False)
    with pytest.raises(GlowError, match="at least 1"):
        Glow(channels=2, K=0, L=1, hidden=4, permutation="lu", recompute=False)
    with pytest.raises(GlowError, match="3 is odd"):
        AffineCoupling(channels=3, hidden=4, recompute=False)


def test_bits_per_dimension_by_hand():
    assert bits_per_dimension(12 * math.log(2), 4) == pytest.approx(3)
    assert bits_per_dimension(torch.tensor([0.0, -math.log(2)]), 1).tolist() == [0, -1]
    # A standard normal has log2(sqrt(2 pi e)) = 2.047 bits per dimension.
    z = torch.randn(1000, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert bits_per_dimension(-standard_normal_log_prob(z).mean(), 128).item() == pytest.approx(
        2.047, abs=0.01
    )


def test_standard_normal_by_hand():
    z = torch.tensor([[0.0, 1.0], [2.0, 0.0]]).reshape(2, 2, 1, 1)
    constant = -math.log(2 * math.pi)
    assert standard_normal_log_prob(z).tolist() == pytest.approx([constant - 0.5, constant - 2])


def test_the_module_touches_no_files_and_no_configuration():
    assert not {"config", "paths", "open"} & set(vars(glow_module))
