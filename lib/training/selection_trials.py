"""The trainings behind the selection: held-out clips with pasted anomalies, and one folder for each trial.

    prepare_clips    the training clips that are not held out, as a prepared data set whose "test" clips are
                     copies of the held-out clips with pasted anomalies
    Trials           measures configurations: trains what they need, side by side, and scores the copies

A trial is one configuration and one seed. Its folder holds `trial.json`, written last: what was trained, for
how long, and its AUC on the pasted copies. A finished trial is not run again, so an interrupted selection
continues and ends with the same result. The name of the folder ends in a hash of everything that determines
the trial: parameters, seed, data, code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib import paths
from lib.config import Config, changed, flat
from lib.datasets.prepared import Prepared, open_prepared
from lib.evaluation.pasted_anomalies import held_out, pasted_copies
from lib.evaluation.protocols import PROTOCOLS, frame_auc
from lib.evaluation.selection import Line, Settled, label_of, with_changes
from lib.evaluation.sensitivity import Stored, alone
from lib.scoring import clip_ids, reading_of
from lib.training import extraction, flow_windows, loop, stage1, stage2

FLOWS = {"app": "app_intensity", "mot": "mot"}  # of the full model
STRIDE = 5  # frames between scored windows; not a multiple of tau, a third of the time of stride 1
READS = {  # the groups of parameters that a trial depends on
    "autoencoder": ("data", "model", "loss", "autoencoder", "error", "score", "machine"),
    "flow": ("data", "model", "loss", "autoencoder", "error", "score", "machine", "features", "flow"),
}
# The modules that a trial depends on, for its hash.
CODE = (
    "itae",
    "losses",
    "features",
    "glow",
    "density",
    "scoring",
    "coupling_convolutions",
    "background",
    "prepared",
    "pasted_anomalies",
    "protocols",
    "sensitivity",
    "eq7",
    "extraction",
    "loop",
    "stage1",
    "stage2",
    "selection_trials",
)


# -- the clips -----------------------------------------------------------------------------------------------


def prepare_clips(data: Prepared, config: Config, *, seed: int, out: Path) -> Prepared:
    """Write a prepared data set for the selection into the folder `out`, from the training clips of another.

    Its training clips are those that are not held out; its test clips are copies of the held-out clips with
    pasted anomalies, with labels and masks. The test clips of `data` are not opened. Raises EvaluationError
    if there are too few clips.
    """
    out.mkdir(parents=True, exist_ok=True)
    frames, clips = data.frames("train"), data.clips("train")
    arrays = [frames[clip.start : clip.start + clip.length] for clip in clips]
    spared = set(held_out(len(clips)))
    kept = [
        (clip.name, array)
        for number, (clip, array) in enumerate(zip(clips, arrays, strict=True))
        if number not in spared
    ]
    copies = list(pasted_copies(arrays, seed=seed, how=config.selection))
    names = {
        split: _listed([(name, len(array)) for name, array in found])
        for split, found in (("train", kept), ("test", [(copy.name, copy.frames) for copy in copies]))
    }
    _write(out / "train_frames.npy", [array for _, array in kept])
    _write(out / "test_frames.npy", [copy.frames for copy in copies])
    np.save(out / "test_labels.npy", np.concatenate([copy.labels for copy in copies]))
    np.save(out / "test_masks.npy", np.concatenate([copy.masks for copy in copies]))
    manifest = data.manifest | {"clips": names, "held_out": [clips[number].name for number in sorted(spared)]}
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return open_prepared(out)


def _listed(clips: list[tuple[str, int]]) -> list[dict]:
    starts = np.cumsum([0, *(length for _, length in clips)])
    return [
        {"name": name, "start": int(start), "length": length} for (name, length), start in zip(clips, starts)
    ]


def _write(path: Path, arrays: list[np.ndarray]) -> None:
    """Write clips one after another into one array on the disk, with one clip in memory at a time."""
    shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
    file, at = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape), 0
    for array in arrays:
        file[at : at + len(array)] = array
        at += len(array)
    file.flush()


# -- one trial -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """One configuration and seed of a stage, "autoencoder" or "flow", and the folders that it reads and
    writes."""

    stage: str
    config: Config
    changes: dict
    seed: int
    data: Path
    folder: Path
    features: Path | None = None  # for a flow: the folders of `Trials.features`, by `features.time`

    def run(self, tick: Callable) -> dict:
        """The trial's record: read if the trial has finished, otherwise made by running it."""
        kept = self.folder / "trial.json"
        if not kept.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            started = time.time()
            measured = {"autoencoder": self._autoencoder, "flow": self._flow}[self.stage](tick)
            record = {
                "stage": self.stage,
                "trial": self.folder.name,
                "changes": self.changes,
                "seed": self.seed,
                "parameters": flat(self.config, READS[self.stage]),
                "seconds": round(time.time() - started, 1),
            } | measured
            paths.write_json(kept, record)
            for left in self.folder.glob("checkpoint-*.pt"):
                left.unlink()
        return json.loads(kept.read_text(encoding="utf-8"))

    def _autoencoder(self, tick: Callable) -> dict:
        """Train the autoencoder on the clips that are not held out, and score the pasted copies by R
        alone."""
        data, how = open_prepared(self.data), {"identity": self.folder.name[-12:], "say": lambda line: None}
        model, history = stage1.train_autoencoder(
            self.config, data, two_path=True, seed=self.seed, folder=self.folder, tick=tick, **how
        )
        extraction.extract(model.eval(), OnlyTest(data), self.config, folder=self.folder, tick=tick, **how)
        errors = dict(np.load(self.folder / "test_errors.npz"))
        for left in (*self.folder.glob("test_*.npy"), self.folder / "snapshots.pt"):
            left.unlink()
        R = errors[reading_of(self.config.score, channels=self.config.data.channels)]
        steps = int(history[-1]["step"])
        return {
            "windows_seen": steps * self.config.autoencoder.batch_size,
            "terms": {
                name: value
                for name, value in history[-1].items()
                if name in ("loss", "l2", "gradient", "ms_ssim")
            },
            "auc": {"R": frame_auc(R, data.labels, clip_ids(data.clips("test")), PROTOCOLS["paper"])},
        }

    def _flow(self, tick: Callable) -> dict:
        """Train both flows on stored features, and score the pasted copies by L and by S."""
        data, nll, device = open_prepared(self.data), {}, loop.device_of(self.config)
        for part, variant in FLOWS.items():
            folder = self.folder / part
            folder.mkdir(exist_ok=True)
            inputs = {
                split: flow_windows.flow_input(self.features, split, variant) for split in ("train", "test")
            }
            density, _ = stage2.train_flow(
                self.config,
                inputs["train"],
                seed=self.seed,
                folder=folder,
                identity=self.folder.name[-12:],
                tick=tick,
                say=lambda line: None,
            )
            for split in inputs:
                terms = stage2.likelihoods(density.eval(), inputs[split], device, tick=tick)
                np.savez(folder / f"nll_{split}.npz", **terms)
                nll[part, split] = terms["nll"] / float(terms["dims"])
            for left in (folder / "snapshots.pt", folder / "history.csv", *folder.glob("checkpoint-*.pt")):
                left.unlink()
        stored = self.stored()
        normal = normal_windows(data, stored.windows["test"], T=self.config.model.T)
        aucs = alone(stored, self.config, PROTOCOLS["paper"])
        return {
            "auc": {"app": aucs["app"], "mot": aucs["mot"], "L": aucs["both"], "S": aucs["with R"]},
            "nll_per_dimension": {
                part: {
                    "train": float(nll[part, "train"].mean()),
                    "held out": float(nll[part, "test"][normal].mean()),
                }
                for part in FLOWS
            },
        }

    def r_on_test(self, data: Prepared, tick: Callable) -> float:
        """AUC of R on the test clips of a data set, from the network of a finished trial of the
        autoencoder."""
        kept, folder = self.folder / "on_test.json", self.folder / "on_test"
        if not kept.exists():
            model = stage1.load_autoencoder(self.folder / "autoencoder.pt", self.config, two_path=True)
            folder.mkdir(exist_ok=True)
            how = {"folder": folder, "identity": "on-test", "tick": tick, "say": lambda line: None}
            extraction.extract(model, OnlyTest(data), self.config, **how)
            R = np.load(folder / "test_errors.npz")[
                reading_of(self.config.score, channels=self.config.data.channels)
            ]
            shutil.rmtree(folder)
            paths.write_json(
                kept, {"R": frame_auc(R, data.labels, clip_ids(data.clips("test")), PROTOCOLS["paper"])}
            )
        return json.loads(kept.read_text(encoding="utf-8"))["R"]

    def stored_on_test(self, data: Prepared, features: Path, tick: Callable) -> Stored:
        """The result of `stored` for the test clips of a data set instead of the pasted copies. `features` is
        the folder of the chosen autoencoder's pass over these clips."""
        pasted, nll, device = self.stored(), {}, loop.device_of(self.config)
        for part, variant in FLOWS.items():
            kept = self.folder / part / "nll_on_test.npz"
            if not kept.exists():
                density = stage2.load_flow(self.folder / part / "flow.pt", self.config)
                inputs = flow_windows.flow_input(features, "test", variant)
                np.savez(kept, **stage2.likelihoods(density, inputs, device, tick=tick))
            nll[part] = dict(np.load(kept))
        ranges = {part: np.load(features / f"test_{part}_range.npy") for part in FLOWS}
        return dataclasses.replace(
            pasted,
            errors=pasted.errors | {"test": dict(np.load(features / "test_errors.npz"))},
            windows=pasted.windows | {"test": np.load(features / "test_windows.npy")},
            nll=pasted.nll | {"test": nll},
            ranges=pasted.ranges | {"test": ranges},
            clips=pasted.clips | {"test": data.clips("test")},
            labels=data.labels,
        )

    def stored(self) -> Stored:
        """The stored errors and likelihoods of a finished trial of flows, to be scored with other choices."""
        flows = {part: self.folder / part for part in FLOWS}
        return Stored.read(open_prepared(self.data), self.features, flows, self.config.model.T)


class OnlyTest:
    """A prepared data set without its training clips, for R, which does not need their errors."""

    def __init__(self, data: Prepared):
        self.data = data

    def clips(self, split: str):
        return self.data.clips(split) if split == "test" else ()

    def frames(self, split: str):
        return self.data.frames(split)


def normal_windows(data: Prepared, windows: np.ndarray, *, T: int) -> np.ndarray:
    """Which windows of the test clips contain no abnormal frame: (n,) bool."""
    labels = data.labels
    return np.array([not labels[start : start + T].any() for start in windows[:, 1]])


# -- many trials ---------------------------------------------------------------------------------------------


class Trials:
    """Measures configurations for `selection.settle`, each in a folder of its own, with as many running side
    by side as there are workers."""

    def __init__(
        self,
        config: Config,
        data: Prepared,
        *,
        folder: Path,
        code: dict[str, str],
        tick: Callable,
        say: Callable,
    ):
        """`config` is the literal configuration, `data` the result of `prepare_clips`, `code` hashes of
        modules by name."""
        self.data, self.folder, self.tick, self.say = data, folder, tick, say
        self.workers = min(config.selection.workers, os.cpu_count() or 1)
        self.code = {name: value for name, value in code.items() if name in CODE}
        self.key = _digest(
            [
                paths.sha256_of(data.folder / f"{name}.npy")
                for name in ("train_frames", "test_frames", "test_labels")
            ]
        )
        self.records: dict[str, dict] = {}  # of all requested trials, by name
        self.made: dict[str, Trial] = {}  # the trials themselves
        self.chosen: dict[str, Trial] = {}  # trials of the settled stages, one for each seed

    # The three measures

    def autoencoders(self, wanted: Sequence[tuple[Config, dict, int]]) -> list[tuple[str, float]]:
        """AUC of R for each (configuration, changes, seed)."""
        trials = [
            self._trial("autoencoder", budgeted(config), changes, seed) for config, changes, seed in wanted
        ]
        return [(record["trial"], record["auc"]["R"]) for record in self._all(trials)]

    def flows(self, wanted: Sequence[tuple[Config, dict, int]]) -> list[tuple[str, float]]:
        """AUC of L for each (configuration, changes, seed), on the features of the chosen autoencoder."""
        trials = [self._flow_trial(*one) for one in wanted]
        return [(record["trial"], record["auc"]["L"]) for record in self._all(trials)]

    def scores(self, wanted: Sequence[tuple[Config, dict, int]]) -> list[tuple[str, float]]:
        """AUC of S for each (configuration, changes, seed), from the chosen flows, without any training."""
        found = []
        for config, _, seed in wanted:
            trial = self.chosen[f"flow{seed}"]
            found.append((trial.folder.name, trial.stored().auc(config, PROTOCOLS["paper"])))
        return found

    # Between stages

    def choose_autoencoder(self, config: Config, changes: dict) -> None:
        """Use the features of this autoencoder, with the first seed, for all flows from now on."""
        self.chosen["autoencoder"] = self._trial("autoencoder", budgeted(config), changes, 0)

    def choose_flows(self, config: Config, changes: dict, seeds: Sequence[int]) -> None:
        """Use these flows for all scores from now on."""
        for seed in seeds:
            self.chosen[f"flow{seed}"] = self._flow_trial(config, changes, seed)

    def _flow_trial(self, config: Config, changes: dict, seed: int) -> Trial:
        folder = self._features_folder(config)
        trial = self._trial("flow", budgeted(config), changes, seed, folder.name)
        if not (trial.folder / "trial.json").exists() or not folder.exists():
            self.features(config, self.data, folder)
        return dataclasses.replace(trial, features=folder)

    def _features_folder(self, config: Config) -> Path:
        network = self.chosen["autoencoder"].folder.name[-12:]
        return self.folder / f"features-{config.features.time}-{network}"

    def features(self, config: Config, data, folder: Path) -> Path:
        """The chosen autoencoder's errors and features of some clips, with the configuration's
        `features.time`, computed into a folder unless they are there."""
        if not (folder / "complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            config, network = budgeted(config), self.chosen["autoencoder"]
            self.say(f"features of the chosen autoencoder, time axis: {config.features.time}")
            model = stage1.load_autoencoder(network.folder / "autoencoder.pt", config, two_path=True)
            how = {"folder": folder, "identity": "features", "tick": self.tick, "say": lambda line: None}
            extraction.extract(model, data, config, **how)
            (folder / "complete").touch()
        return folder

    def tidy(self) -> None:
        """Delete the large arrays that only trainings read. Records, networks and likelihoods stay."""
        for folder in self.folder.glob("features-*"):
            for name in ("app", "mot", "intensity", "error", "error_maps", "reconstructions"):
                for array in folder.glob(f"t*_{name}.npy"):
                    array.unlink()
            (folder / "complete").unlink(missing_ok=True)

    # Afterwards

    def on_test(self, data: Prepared, stages: Sequence[Settled]) -> list[dict]:
        """Score everything that was tried on the test clips of a data set, which a selection must not look at
        before it is adopted.

        Returns one row per configuration and seed: stage, option, seed, AUC of the selection, AUC of the
        test.
        """
        rows = []
        for settled in stages:
            for line in settled.lines:
                for seed, auc in line.aucs.items():
                    found = self._on_test(data, settled.stage, line, seed)
                    rows.append(
                        {"stage": settled.stage, "option": line.label, "seed": seed, "selection AUC": auc}
                        | {"test AUC": found}
                    )
        return rows

    def _on_test(self, data: Prepared, stage: str, line: Line, seed: int) -> float:
        if stage == "autoencoder":
            return self.made[line.trials[seed]].r_on_test(data, self.tick)
        trial = self.made[line.trials[seed]]
        folder = self._features_folder(trial.config)
        folder = self.features(trial.config, OnlyTest(data), folder.with_name(f"{folder.name}-on-test"))
        stored = trial.stored_on_test(data, folder, self.tick)
        if stage == "flow":
            return alone(stored, trial.config, PROTOCOLS["paper"])["both"]
        return stored.auc(with_changes(trial.config, line.changes), PROTOCOLS["paper"])

    def _trial(self, stage: str, config: Config, changes: dict, seed: int, *more) -> Trial:
        determines = [flat(config, READS[stage]), seed, self.key, self.code, *more]
        name = f"{stage}-{label_of(changes).replace('/', '_')[:80]}-seed{seed}-{_digest(determines)}"
        return Trial(stage, config, changes, seed, self.data.folder, self.folder / name)

    def _all(self, trials: list[Trial]) -> list[dict]:
        """Run the unfinished trials, side by side, and return all records in order."""
        todo = [trial for trial in trials if not (trial.folder / "trial.json").exists()]
        if self.workers == 1 or len(todo) < 2:
            for trial in todo:
                self._said(
                    trial.run(
                        lambda done, total, text, trial=trial: self.tick(
                            done, total, f"{trial.folder.name}: {text}"
                        )
                    )
                )
        else:
            threads = torch.get_num_threads()
            # Processes have their own threads and random generators, so a trial's result does not depend on
            # the trials beside it.
            with ProcessPoolExecutor(
                min(self.workers, len(todo)),
                multiprocessing.get_context("spawn"),
                _begin_worker,
                (os.getpid(), threads),
            ) as pool:
                running = [pool.submit(_run, trial) for trial in todo]
                for count, done in enumerate(as_completed(running)):
                    self._said(done.result())
                    self.tick(count + 1, len(todo), f"{todo[0].stage} trials")
        self.made |= {trial.folder.name: trial for trial in trials}
        found = [trial.run(self.tick) for trial in trials]
        self.records |= {record["trial"]: record for record in found}
        return found

    def _said(self, record: dict) -> None:
        aucs = "  ".join(f"{name} {auc:.3f}" for name, auc in record["auc"].items())
        what = f"{record['stage']:<12} {label_of(record['changes'])}, seed {record['seed']}"
        self.say(f"{what}: {aucs}  ({record['seconds']:.0f} s)")


def budgeted(config: Config) -> Config:
    """A configuration with the selection's budget: steps of the autoencoder, scored windows, and no
    snapshots."""
    steps = config.selection.autoencoder_steps
    for name, value in {
        "autoencoder.steps": steps,
        "autoencoder.epoch_steps": min(steps, config.autoencoder.epoch_steps),
        "autoencoder.snapshots": 0,
        "autoencoder.weights": "trained",
        "flow.snapshots": 0,
        "flow.weights": "trained",
        "features.test_stride": STRIDE,
    }.items():
        config = changed(config, name, value)
    return config


def _run(trial: Trial) -> dict:
    return trial.run(lambda done, total, text: None)


def _begin_worker(parent: int, threads: int) -> None:
    """Set a worker's number of threads, and end the worker when its parent ends, even if that is killed."""
    torch.set_num_threads(threads)

    def watch():
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
