"""The paper's values for each data set, and the changes of each profile, by full names of parameters
(`config`)."""

from __future__ import annotations

from typing import Any

_UCSD = {
    "data.channels": 1,
    # "reduced to 1/4": one stride of 2 becomes 1. Taken to be the third, so that Conv1 and Conv2 are the same
    # as on the other sets.
    "model.spatial_strides": (2, 2, 1, 1),
    "model.decoder_strides": (1, 1, 2, 2),
    "loss.ms_ssim_weight": 1.0,
    "autoencoder.batch_size": 2,
    "autoencoder.lr": 1e-3,
    "flow.L": 1,
    "flow.batch_size": 20,
    "flow.lr": 5e-4,
    "score.reduce": "largest_patch_mean",
}
# The paper's values for each data set ("Implementations"); for the generated set, values that suit its size.
PAPER: dict[str, dict[str, Any]] = {
    "synthetic": {
        "data.height": 64,
        "data.width": 96,
        "data.channels": 1,
        # small objects, as on UCSD
        "model.spatial_strides": (2, 2, 1, 1),
        "model.decoder_strides": (1, 1, 2, 2),
        "flow.L": 1,
        "score.reduce": "largest_patch_mean",
        "error.patch": 60,
        "error.patch_stride": 15,  # 16 and 4 pixels of a 64x96 frame
    },
    # Not in the paper. Its frames are 158x238; 160x240 is the nearest size that the network and one squeeze
    # can halve.
    "ped1": _UCSD | {"data.height": 160, "data.width": 240, "loss.ms_ssim_window": 9},
    "ped2": _UCSD | {"data.height": 240, "data.width": 360},
    "avenue": {"autoencoder.batch_size": 4, "autoencoder.lr": 1e-3, "flow.batch_size": 32, "flow.lr": 5e-4},
    "shanghaitech": {
        "autoencoder.batch_size": 8,
        "autoencoder.lr": 2e-4,
        "flow.batch_size": 16,
        "flow.lr": 1e-4,
        # "following (Abati et al. 2019)", who blacken the background in the network's input and target
        "error.background": "input",
    },
    "own": {},
}
_EIGHTH = {"model.app_channels": (12, 16, 32, 32), "model.mot_channels": (4, 4, 8, 8)}
_QUARTER = {"model.app_channels": (24, 32, 64, 64), "model.mot_channels": (4, 4, 8, 8)}
_HALF_SIZE = {
    "ped1": {"data.height": 112, "data.width": 168, "loss.ms_ssim_window": 7},
    "ped2": {"data.height": 128, "data.width": 192, "loss.ms_ssim_window": 7},
    "avenue": {"data.height": 128, "data.width": 128},
    "shanghaitech": {"data.height": 128, "data.width": 128},
    "own": {"data.height": 128, "data.width": 128},
}
_SMALL = _QUARTER | {
    "autoencoder.batch_size": 2,
    "autoencoder.steps": 2000,
    "autoencoder.epoch_steps": 100,
    "features.train_stride": 2,
    "features.test_stride": 3,
    "flow.K": 8,
    "flow.hidden": 64,
    "flow.batch_size": 32,
    "flow.steps": 300,
    "flow.epoch_steps": 25,
    "selection.autoencoder_steps": 500,
    "selection.larger_flows": False,
    "machine.threads": 1,
}
# Profiles are only values, smaller or faster than the paper's. "all" applies to every data set. On a CPU a
# training gets one thread: measured on two cores at `small`, two autoencoders side by side process 25 windows
# per second, one after another 17. A step has two windows, the paper's batch on UCSD. The stride of test
# windows is never a multiple of tau: the appearance path sees every tau-th frame and reconstructs it better,
# so the errors of successive frames would zigzag.
PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        "all": _EIGHTH
        | {
            "autoencoder.batch_size": 2,
            "autoencoder.lr": 2e-3,
            "autoencoder.steps": 500,
            "autoencoder.epoch_steps": 50,
            "features.train_stride": 4,
            "features.test_stride": 3,
            "flow.K": 4,
            "flow.hidden": 32,
            "flow.batch_size": 16,
            "flow.steps": 120,
            "flow.epoch_steps": 40,
            "selection.autoencoder_steps": 150,
            "machine.threads": 1,
        },
        **_HALF_SIZE,
    },
    "small": {"all": _SMALL, **_HALF_SIZE},
    # The networks of `small` with eleven times as many windows, 44,000 each, and all test windows, as in the
    # paper.
    "long": {
        "all": _SMALL
        | {
            "autoencoder.steps": 22_000,
            "autoencoder.epoch_steps": 500,
            "features.test_stride": 1,
            "machine.precision": "bfloat16",
        },
        **_HALF_SIZE,
    },
    "paper": {"all": {"machine.precision": "bfloat16", "flow.recompute": True}},
}
