"""What the notebooks that train and score compute: their cells, run in this process on inputs made by
hand."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lib import scoring
from lib.config import resolve
from lib.datasets.prepared import Clip
from lib.evaluation import protocols
from lib.pipeline import notebook_run as run_module
from lib.pipeline.notebook_run import Run
from lib.pipeline.steps import MODELS, Job
from lib.training import stage2

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
T, LENGTHS = 8, (20, 12, 15)
TRAIN_STARTS = [(0, 0), (0, 4), (0, 8), (1, 16), (1, 18), (1, 22)]  # clips of 16 and 14 frames
STARTS = [(0, 0), (0, 4), (0, 8), (0, 12), (1, 20), (1, 24), (2, 32), (2, 36), (2, 39)]  # clip, first row
READINGS = scoring.readings(1)
SMALL = {
    "data.height": 8,
    "data.width": 8,
    "model.T": T,
    "model.app_channels": (4, 4, 4, 4),
    "model.mot_channels": (4, 4, 4, 4),
    "autoencoder.steps": 2,
    "autoencoder.epoch_steps": 2,
    "flow.K": 1,
    "flow.hidden": 4,
    "flow.steps": 4,
    "flow.epoch_steps": 2,
    "flow.batch_size": 4,
    "machine.device": "cpu",
}


class OnlyTraining:
    """A prepared data set that has no test split. It notes what is read."""

    manifest = {"dataset": "made"}

    def __init__(self):
        self.read = set()

    def clips(self, split):
        self.read.add(split)
        return {"train": (Clip("a", "train", 0, 12), Clip("b", "train", 12, 14))}[split]

    def frames(self, split):
        self.read.add(split)
        return {"train": np.random.default_rng(0).integers(0, 256, (26, 8, 8, 1), dtype=np.uint8)}[split]


class Tested:
    """A prepared test split of three clips with labels, and none for training."""

    subset, masks, tracks = False, None, None
    nothing_happens = {}  # noqa: RUF012
    labels = np.random.default_rng(7).random(sum(LENGTHS)) < 0.4

    def clips(self, split):
        if split == "train":
            return ()
        ends = np.cumsum(LENGTHS)
        return tuple(Clip(f"c{i}", "test", int(end - n), n) for i, (n, end) in enumerate(zip(LENGTHS, ends)))

    def frames(self, split):
        assert split == "test"
        return np.random.default_rng(8).integers(0, 256, (sum(LENGTHS), 8, 8, 1), dtype=np.uint8)


@pytest.fixture
def execute(monkeypatch, tmp_path):
    """Runs the code cells of a notebook as a step of the pipeline; its inputs lie in tmp_path /
    "<step>-<variant>"."""
    matplotlib.use("Agg")

    def execute(name, step, *, data, variant="", settings=None, inputs=()):
        job = Job("quick", "synthetic", step, variant, 0)
        config = resolve("quick", "synthetic", SMALL | (settings or {}))
        folders = {job.other(s, v).name: tmp_path / f"{s}-{v}" for s, v in inputs}
        (tmp_path / "out").mkdir(exist_ok=True)
        run = Run(job, config, tmp_path / "out", by_hand=False, identity="i" * 40, inputs=folders)
        monkeypatch.setattr(run_module, "begin", lambda *_, **__: run)
        monkeypatch.setattr(run_module, "open_data", lambda _: data)
        monkeypatch.setattr(run_module, "show_source", lambda *_: None)
        monkeypatch.chdir(NOTEBOOKS)
        space = {}
        for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), space)
                if "parameters" in cell["metadata"].get("tags", []):
                    space |= {"dataset": "synthetic", "variant": variant, "seed": 0}
        matplotlib.pyplot.close("all")
        return run, json.loads((tmp_path / "out" / "result.json").read_text())["metrics"]

    return execute


# -- training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["one_path", "two_path"])
def test_stage_1_is_trained_on_the_training_split_and_has_the_paths_of_its_name(execute, variant):
    data = OnlyTraining()
    run, metrics = execute("03_train_autoencoder", "autoencoder", data=data, variant=variant)
    loss = run.config.loss
    assert data.read == {"train"} and metrics["loss"] == pytest.approx(
        loss.l2_weight * metrics["l2"] + loss.gradient_weight * metrics["gradient"], rel=1e-5
    )
    state = torch.load(run.folder / "autoencoder.pt", weights_only=True)["model"]
    assert any(name.startswith("mot.") for name in state) == (variant == "two_path")


@pytest.fixture
def features(tmp_path):
    """Features of a few windows of both splits, far from one another."""
    folder = tmp_path / "features-two_path"
    folder.mkdir()
    generator, made = np.random.default_rng(1), {}
    for split, n, away in (("train", 40, 0), ("test", len(STARTS), 50)):
        for name, channels in (("app", 4), ("mot", 6), ("intensity", 2), ("error", 2)):
            centre = 3 * np.arange(channels)[:, None, None] + away
            made[split, name] = (generator.normal(size=(n, channels, 4, 4)) + centre).astype(np.float32)
            np.save(folder / f"{split}_{name}.npy", made[split, name])
    np.save(folder / "test_windows.npy", STARTS)
    np.save(folder / "train_windows.npy", [(0, i) for i in range(40)])
    return made


@pytest.mark.parametrize(
    "variant, parts",
    [
        ("app_none", ["app"]),
        ("app_intensity", ["app", "intensity"]),
        ("app_error", ["app", "error"]),
        ("mot", ["mot"]),
    ],
)
def test_stage_2_is_trained_and_standardised_on_the_training_split(
    execute, features, monkeypatch, variant, parts
):
    seen, train_flow = [], stage2.train_flow

    def noting(config, x, **more):
        seen.append(x[:])
        return train_flow(config, x, **more)

    monkeypatch.setattr(stage2, "train_flow", noting)
    run, metrics = execute(
        "06_train_flow", "flow", data=None, variant=variant, inputs=[("features", "two_path")]
    )
    train, test = (
        np.concatenate([features[split, part] for part in parts], axis=1) for split in ("train", "test")
    )
    assert len(seen) == 1 and np.array_equal(seen[0], train)
    density = stage2.load_flow(run.folder / "flow.pt", run.config)
    np.testing.assert_allclose(density.mean.flatten().numpy(), train.mean(axis=(0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(density.std.flatten().numpy(), train.std(axis=(0, 2, 3)), rtol=1e-4)
    for split, x in (("train", train), ("test", test)):
        stored = np.load(run.folder / f"nll_{split}.npz")
        with torch.no_grad():
            one_by_one = [density.nll(torch.from_numpy(x[i : i + 1])).item() for i in range(len(x))]
        np.testing.assert_allclose(stored["nll"], one_by_one, rtol=1e-4)
        bits = np.mean(one_by_one) / x[0].size / np.log(2)
        assert metrics[f"bits_per_dimension_{split}"] == pytest.approx(bits, rel=1e-4)


# -- scores --------------------------------------------------------------------------------------------------


def of_frames(values):
    """The mean over all windows that hold a frame, by brute force."""
    return np.array(
        [
            np.mean([v for v, (_, start) in zip(values, STARTS) if start <= row < start + T])
            for row in range(sum(LENGTHS))
        ]
    )


def by_clip(values, function):
    return np.concatenate([function(part) for part in np.split(values, np.cumsum(LENGTHS)[:-1])])


def norm(x):
    return (x - x.min()) / np.ptp(x)


@pytest.fixture
def scored(tmp_path):
    """What the step before has left behind: error readings, and the likelihoods of every flow."""
    generator, made = np.random.default_rng(2), {}
    for variant in ("one_path", "two_path"):
        folder = tmp_path / f"features-{variant}"
        folder.mkdir()
        made[variant] = {name: generator.random(sum(LENGTHS)) for name in READINGS}
        np.savez(folder / "test_errors.npz", **made[variant])
        np.savez(folder / "train_errors.npz", **{name: generator.random(30) for name in READINGS})
        for split, windows in (("train", TRAIN_STARTS), ("test", STARTS)):
            np.save(folder / f"{split}_windows.npy", windows)
            for part in ("app", "mot"):
                made[variant, split, part] = np.sort(generator.normal(size=(len(windows), 2)))
                np.save(folder / f"{split}_{part}_range.npy", made[variant, split, part])
    for flow in ("app_none", "app_intensity", "app_error", "mot"):
        folder = tmp_path / f"flow-{flow}"
        folder.mkdir()
        made[flow] = {
            "test": 20 * generator.normal(size=len(STARTS)) - 100,
            "train": 7 * generator.normal(size=len(TRAIN_STARTS)),
        }
        for split, nll in made[flow].items():
            terms = {"log_p_z": -nll[:, None] - 3, "log_det": 0 * nll[:, None] + 3, "dims": np.array(64)}
            np.savez(folder / f"nll_{split}.npz", nll=nll, **terms)
    return made


@pytest.mark.parametrize("variant", MODELS)
@pytest.mark.parametrize(
    "settings",
    [
        {"score.lambda_L": 0.3},
        {
            "score.reduce": "mean",
            "score.log_of": "mean",
            "score.lambda_scope": "train",
            "score.order": "average_first",
        },
        {"score.lambda_of": "likelihoods", "score.likelihood_unit": "per_dimension"},
        {"score.lambda_of": "likelihoods", "score.lambda_scope": "train"},
    ],
    ids=["", "train", "likelihoods", "train likelihoods"],
)
def test_scores_follow_from_errors_and_likelihoods(execute, scored, variant, settings):
    autoencoder, flows = MODELS[variant]
    run, metrics = execute(
        "07_score",
        "score",
        data=Tested(),
        variant=variant,
        settings=settings,
        inputs=[("prepare", ""), ("features", autoencoder), *(("flow", flow) for flow in flows)],
    )
    table = pd.read_csv(run.folder / "scores.csv")
    score = run.config.score
    R = scored[autoencoder][f"absolute/each/{score.log_of}/{score.reduce}/{score.order}"]
    S = by_clip(R, norm)
    columns = ["clip", "frame", "label", "R"]
    if flows:
        unit = 64 if score.likelihood_unit == "per_dimension" else 1
        nll = {flow: of_frames(scored[flow]["test"]) / unit for flow in flows}
        lambdas = {}
        for flow, x in nll.items():
            ranges = {
                split: scored["two_path", split, "mot" if flow == "mot" else "app"]
                for split in ("train", "test")
            }
            if score.lambda_of == "features":
                of_clip = [
                    np.array([ranges["test"][row] for row, (c, _) in enumerate(STARTS) if c == clip])
                    for clip in range(3)
                ]
                lambdas[flow] = np.repeat([own[:, 1].max() - own[:, 0].min() for own in of_clip], LENGTHS)
            else:
                lambdas[flow] = by_clip(x, lambda part: np.full(len(part), np.ptp(part)))
            if score.lambda_scope == "train":
                train = {"features": ranges["train"], "likelihoods": scored[flow]["train"] / unit}[
                    score.lambda_of
                ]
                lambdas[flow] = np.full(sum(LENGTHS), train.max() - train.min())
        L = (
            nll[flows[0]]
            if len(flows) == 1
            else sum(lambdas[f] * nll[f] for f in flows) / sum(lambdas.values())
        )
        S = S + score.lambda_L * by_clip(L, norm)
        for flow in flows:
            columns.append("nll_mot" if flow == "mot" else "nll_app")
            np.testing.assert_allclose(table[columns[-1]], nll[flow], rtol=1e-9)
        columns.append("L")
        np.testing.assert_allclose(table["L"], L, rtol=1e-9)
        if len(flows) == 2:  # what protocols take that do not normalise within a clip
            columns += ["L_test", "L_train"]
            of = {
                "likelihoods": {flow: np.ptp(x) for flow, x in nll.items()},
                "features": {
                    flow: np.ptp(scored["two_path", "test", "mot" if flow == "mot" else "app"])
                    for flow in flows
                },
            }
            spans = of[score.lambda_of]
            expected = sum(spans[f] * nll[f] for f in flows) / sum(spans.values())
            np.testing.assert_allclose(table["L_test"], expected, rtol=1e-9)
            raw = roc_auc_score(Tested.labels, R + score.lambda_L * expected)
            assert metrics["protocols"]["micro, raw scores"]["auc"] == pytest.approx(raw, abs=1e-12)
    assert list(table) == [*columns, "S"]
    assert table["clip"].tolist() == [f"c{i}" for i, n in enumerate(LENGTHS) for _ in range(n)]
    assert table["frame"].tolist() == [t for n in LENGTHS for t in range(n)]
    np.testing.assert_array_equal(table["label"], Tested.labels)
    np.testing.assert_allclose(table["R"], R, rtol=1e-12)
    np.testing.assert_allclose(table["S"], S, rtol=1e-9, atol=1e-12)
    assert metrics["auc"] == pytest.approx(roc_auc_score(Tested.labels, S), abs=1e-12)
    assert metrics["terms"]["R"] == pytest.approx(roc_auc_score(Tested.labels, by_clip(R, norm)), abs=1e-12)
    own = slice(*np.cumsum(LENGTHS)[1:])
    assert metrics["by_clip"]["c2"] == pytest.approx(roc_auc_score(Tested.labels[own], S[own]), abs=1e-12)
    assert metrics["interval"] is None and metrics["subset"] is False  # three clips are too few


def test_networks_of_another_data_set_get_no_auc(execute, scored):
    run, metrics = execute(
        "07_score",
        "score",
        data=Tested(),
        variant="two_path",
        settings={"autoencoder.weights": "avenue"},
        inputs=[("prepare", ""), ("features", "two_path")],
    )
    assert (
        metrics["auc"] is None
        and metrics["why_no_auc"] == "networks of another data set"
        and metrics["protocols"] == {}
    )
    assert np.isfinite(pd.read_csv(run.folder / "scores.csv")["S"]).all()


def test_reference_scorers_learn_from_the_training_split(execute, features):
    run, metrics = execute(
        "08_reference_scorers", "reference", data=Tested(), inputs=[("features", "two_path")]
    )
    table = pd.read_csv(run.folder / "reference.csv")
    joined = {"appearance": ["app", "intensity"], "motion": ["mot"]}
    for name, parts in joined.items():
        train, test = (
            np.concatenate([features[split, part] for part in parts], axis=1) for split in ("train", "test")
        )
        for scorer, values in protocols.feature_scorers(train, test).items():
            np.testing.assert_allclose(table[f"{scorer}, {name}"], of_frames(values), rtol=1e-9)
            auc = roc_auc_score(Tested.labels, by_clip(of_frames(values), norm))
            assert metrics["aucs"][f"{scorer}, {name}"] == pytest.approx(auc, abs=1e-12)
