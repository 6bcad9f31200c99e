"""The growth of the AUC with training: R, L and S at the snapshots of one autoencoder, on two sets of clips.

The autoencoder is trained on the training clips that the selection does not hold out. At each of its
snapshots, flows are trained from scratch on its features, and two sets of clips are scored: copies of the
held-out clips with pasted anomalies, and the test clips. Nothing is chosen by the results.

Each finished point is stored in a file of its own, so that an interrupted run continues with the next one and
ends with the same result.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from lib import paths
from lib.config import Config, changed
from lib.datasets.prepared import Prepared
from lib.errors import TrainingError
from lib.evaluation.protocols import PROTOCOLS, frame_auc
from lib.evaluation.sensitivity import Stored, alone
from lib.training import extraction, loop, stage1
from lib.training.selection_trials import STRIDE, OnlyTest, Trial

HELD_OUT, TEST = "held out", "test"


def train(
    config: Config, clips: Prepared, *, seed: int, folder: Path, identity: str, tick: Callable, say: Callable
) -> dict[int, dict]:
    """Train the two-path autoencoder on the training clips of `clips` and return its snapshots: step ->
    weights.

    A finished training is read instead. Raises TrainingError if the configuration keeps no snapshots, and the
    errors of `stage1.train_autoencoder`.
    """
    if not config.autoencoder.snapshots:
        raise TrainingError(
            "autoencoder.snapshots is 0, so there is no point at which to measure. Set it to the number of "
            "points."
        )
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"trained-{identity[:12]}"
    if not done.exists():
        stage1.train_autoencoder(
            config, clips, two_path=True, seed=seed, folder=folder, identity=identity, tick=tick, say=say
        )
        done.touch()
    return loop.load(folder / "snapshots.pt")


def measure(
    config: Config,
    clips: Prepared,
    data: Prepared,
    weights: dict,
    *,
    step: int,
    seed: int,
    folder: Path,
    identity: str,
    tick: Callable,
) -> list[dict]:
    """One point: a row per set of clips with `step`, `windows` seen, `clips`, and AUCs by the paper's
    protocol.

    The AUCs are those of R, F_app, F_mot, L and S. A finished point is read instead. `clips` is the result of
    `selection_trials.prepare_clips`, `data` the whole data set; if its test clips do not have labels of both
    kinds, there is no row for them. Scored windows start `STRIDE` frames apart.
    """
    kept = folder / f"point-{step}-{identity[:12]}.json"
    if not kept.exists():
        config = changed(config, "features.test_stride", STRIDE)
        model = stage1.build_autoencoder(config, two_path=True, seed=seed)
        model.load_state_dict(weights)
        labels = data.labels
        of_clips = {HELD_OUT: clips}
        if labels is not None and 0 < labels.mean() < 1:
            of_clips[TEST] = OnlyTest(data)
        features = {name: folder / f"features-{name.replace(' ', '-')}-{step}" for name in of_clips}
        for name, own in of_clips.items():
            features[name].mkdir(exist_ok=True)
            if not (features[name] / identity[:12]).exists():
                how = {"identity": identity, "tick": tick, "say": lambda line: None}
                extraction.extract(model.eval(), own, config, folder=features[name], **how)
                (features[name] / identity[:12]).touch()
        trial = Trial(
            "flow",
            config,
            {"step": step},
            seed,
            clips.folder,
            folder / f"flows-{step}-{identity[:12]}",
            features[HELD_OUT],
        )
        trial.run(tick)
        stored = {HELD_OUT: trial.stored()}
        if TEST in of_clips:
            stored[TEST] = trial.stored_on_test(data, features[TEST], tick)
        seen = step * config.autoencoder.batch_size
        rows = [
            {"step": step, "windows": seen, "clips": name} | _aucs(own, config)
            for name, own in stored.items()
        ]
        paths.write_json(kept, rows)
        for made in (*features.values(), trial.folder):
            shutil.rmtree(made)
    return json.loads(kept.read_text(encoding="utf-8"))


def _aucs(stored: Stored, config: Config) -> dict[str, float]:
    protocol = PROTOCOLS["paper"]
    found = alone(stored, config, protocol)
    R = frame_auc(stored.scores(config).R, stored.labels, stored.ids("test"), protocol)
    return {"R": R, "F_app": found["app"], "F_mot": found["mot"], "L": found["both"], "S": found["with R"]}
