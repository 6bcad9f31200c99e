"""Configuration: order of precedence, types, and the sentence that each mistake gets."""

import dataclasses

import pytest

from lib import config
from lib.config import resolve
from lib.errors import ConfigError
from lib.settings import profiles


def test_order_of_precedence():
    assert config.Autoencoder().batch_size == 4
    assert resolve("paper", "ped2").autoencoder.batch_size == 2  # the data set over the default
    assert resolve("small", "shanghaitech").autoencoder.batch_size == 2  # the profile over the data set
    # the user over all
    assert resolve("small", "ped2", {"autoencoder.batch_size": 3}).autoencoder.batch_size == 3


@pytest.mark.parametrize(
    "dataset, batch, lr, flow_batch, flow_lr, L",
    [
        ("ped2", 2, 1e-3, 20, 5e-4, 1),
        ("avenue", 4, 1e-3, 32, 5e-4, 3),
        ("shanghaitech", 8, 2e-4, 16, 1e-4, 3),
    ],
)
def test_the_papers_values(dataset, batch, lr, flow_batch, flow_lr, L):
    """'Implementations', data set by data set."""
    c = resolve("paper", dataset)
    assert (c.autoencoder.batch_size, c.autoencoder.lr) == (batch, lr)
    assert (c.flow.batch_size, c.flow.lr, c.flow.K, c.flow.L) == (flow_batch, flow_lr, 32, L)
    assert (c.model.T, c.model.tau) == (16, 4)
    assert (c.data.height, c.data.width, c.data.channels) == (
        (240, 360, 1) if dataset == "ped2" else (256, 256, 3)
    )
    assert (c.loss.ms_ssim_weight > 0) == (dataset == "ped2")
    assert c.score.reduce == ("largest_patch_mean" if dataset == "ped2" else "mean")
    assert c.error.background == ("input" if dataset == "shanghaitech" else "none")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"lr": 1}, "There is no parameter 'lr'. Did you mean autoencoder.lr?"),
        ({"flow.kay": 1}, "Did you mean flow.K?"),
        ({"flow.K": "eight"}, "flow.K takes a whole number; 'eight' is not."),
        ({"flow.K": 2.5}, "flow.K takes a whole number; '2.5' is not."),
        ({"flow.K": True}, "flow.K takes a whole number; 'True' is not."),
        ({"flow.K": 0}, "flow.K must be at least 1; it is 0."),
        ({"autoencoder.lr": "nan"}, "autoencoder.lr takes a number; 'nan' is not."),
        ({"autoencoder.lr": -1}, "autoencoder.lr must be positive; it is -1.0."),
        ({"data.subset": "maybe"}, "data.subset takes true or false; 'maybe' is not."),
        ({"data.channels": 2}, "data.channels is 1 (grey) or 3 (RGB); it is 2."),
        (
            {"model.app_channels": "8,x"},
            "model.app_channels takes whole numbers separated by commas; '8,x' is not.",
        ),
        (
            {"score.reduce": "max"},
            "score.reduce is one of mean, largest_patch_mean, mean_patch_maximum, largest_pixel; 'max'",
        ),
    ],
)
def test_a_mistake_gets_a_sentence(settings, sentence):
    with pytest.raises(ConfigError) as caught:
        resolve("quick", "synthetic", settings)
    assert sentence in str(caught.value)


def test_unknown_profile_and_data_set_name_the_nearest():
    with pytest.raises(ConfigError, match="There is no profile 'quik'. Did you mean quick?"):
        resolve("quik", "ped2")
    with pytest.raises(ConfigError, match="There is no data set 'ped'. Did you mean ped2?"):
        resolve("quick", "ped")


def test_text_and_values_mean_the_same():
    """A value typed on the command line and one given as JSON make the same configuration, hence the same
    record."""
    typed = resolve(
        "quick",
        "synthetic",
        {"flow.K": "8", "autoencoder.lr": "1e-4", "model.app_channels": "8, 8,16,16", "data.subset": "true"},
    )
    given = resolve(
        "quick",
        "synthetic",
        {"flow.K": 8, "autoencoder.lr": 1e-4, "model.app_channels": [8, 8, 16, 16], "data.subset": True},
    )
    assert typed == given and config.flat(typed) == config.flat(given)


def test_every_parameter_says_where_its_default_comes_from():
    for name, spec in config.parameters().items():
        assert spec.metadata["help"], name
        assert bool(spec.metadata["paper"]) != bool(spec.metadata["reason"]), name


def test_the_profiles_on_ped2():
    """Windows that a network sees, and strides: one that is a multiple of tau lets errors zigzag."""
    small, long = resolve("small", "ped2"), resolve("long", "ped2")
    assert list(profiles.PROFILES) == ["quick", "small", "long", "paper"]
    assert small.autoencoder.steps * small.autoencoder.batch_size == 4000
    assert long.autoencoder.steps * long.autoencoder.batch_size == 44_000
    assert (
        small.model == long.model
        and small.machine.precision == "float32"
        and long.machine.precision == "bfloat16"
    )
    assert long.features.test_stride == 1
    for profile in profiles.PROFILES:
        resolved = resolve(profile, "ped2")
        assert resolved.autoencoder.batch_size == 2 and resolved.features.test_stride % resolved.model.tau


def test_single_parameters_beside_whole_groups():
    found = config.flat(resolve("quick", "synthetic"), ("loss", "error.background"))
    assert found["error.background"] == "none" and "loss.l2" in found and "error.clamp" not in found


def test_a_group_from_a_record():
    c = resolve("quick", "ped2", {"score.order": "average_first", "score.lambda_L": 0.3})
    assert config.recorded(config.flat(c), "score") == c.score
    assert config.recorded({"score.order": "average_first"}, "score") == config.Score(order="average_first")


def test_all_profiles_and_data_sets_resolve():
    for profile in profiles.PROFILES:
        for dataset in config.DATASETS:
            for group in dataclasses.fields(resolve(profile, dataset)):
                assert group.name in config.groups()
