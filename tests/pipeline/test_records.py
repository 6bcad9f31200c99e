"""Code versions, records, and when a job is stale."""

import json
import os

import pytest

from lib import paths
from lib.config import resolve
from lib.pipeline import planning, records
from lib.pipeline.steps import STEPS, Job, from_name, upstream
from lib.training import stage1

CODE = '''"""A module."""
import math  # for pi


def area(r):
    """Of a circle."""
    return math.pi * r ** 2
'''


@pytest.mark.parametrize(
    "edited",
    [
        CODE.replace("A module.", "The module of circles."),
        CODE.replace("# for pi", "# the number"),
        CODE.replace("    return", "\n    # the formula\n    return"),
        CODE.replace('    """Of a circle."""\n', ""),
        CODE.replace("r ** 2", "(r ** 2)"),
    ],
)
def test_words_do_not_change_the_code_version(edited):
    assert records.hash_of(edited) == records.hash_of(CODE)


@pytest.mark.parametrize(
    "edited",
    [
        CODE.replace("** 2", "** 3"),
        CODE.replace("area", "surface"),
        CODE.replace("math.pi", "3.14"),
        CODE + "\nx = 1\n",
    ],
)
def test_code_changes_the_code_version(edited):
    assert records.hash_of(edited) != records.hash_of(CODE)


def test_imports_are_followed_through_modules():
    """The score notebook names scoring, and stands on it; a training names training and stands on no flow."""
    score, autoencoder = (set(records.code_version(STEPS[s].notebook)) for s in ("score", "autoencoder"))
    assert {"scoring", "protocols", "notebooks/07_score.ipynb"} <= score
    assert {"itae", "losses", "loop", "prepared"} <= autoencoder
    assert not {"glow", "stage2", "protocols", "paper_figures", "layouts"} & autoencoder
    assert "glow" in records.code_version(STEPS["flow"].notebook)


def test_a_table_that_a_module_reads_is_part_of_its_code(tmp_path, monkeypatch):
    """A corrected number of the paper makes the tables again, and nothing that was trained."""
    tables, flow = STEPS["table3"].notebook, STEPS["flow"].notebook
    before = records.code_version(tables), records.code_version(flow)
    copy = tmp_path / "paper_results.csv"
    copy.write_bytes(paths.PAPER_RESULTS.read_bytes() + b"\n")
    monkeypatch.setitem(records.TABLES, "PAPER_RESULTS", copy)
    records.code_version.cache_clear()
    after = records.code_version(tables), records.code_version(flow)
    records.code_version.cache_clear()
    assert {name for name in before[0] if before[0][name] != after[0][name]} == {"data/paper_results.csv"}
    assert before[1] == after[1] and "data/avenue_intervals.csv" in records.code_version(
        STEPS["prepare"].notebook
    )
    assert "benchmarks/flow_step.csv" in records.code_version(
        STEPS["explain_glow"].notebook
    )  # which reads it itself


def test_the_parameters_cell_is_not_code(tmp_path):
    """A student who saves another default in JupyterLab does not make the pipeline's runs stale."""

    def notebook(parameters, code):
        cells = [
            {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": parameters},
            {"cell_type": "code", "metadata": {}, "source": code},
            {"cell_type": "markdown", "metadata": {}, "source": "words"},
        ]
        path = tmp_path / "n.ipynb"
        path.write_text(json.dumps({"cells": cells}))
        return records.hash_of(records.notebook_source(path))

    assert notebook("seed: int = 0", "x = 1") == notebook("seed: int = 7", "x = 1  # one")
    assert notebook("seed: int = 0", "x = 1") != notebook("seed: int = 0", "x = 2")


JOB = Job("quick", "synthetic", "flow", "mot", 0)
FEATURES = JOB.other("features", "two_path")


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """A folder of reports with a complete flow run and the features run that it read."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path))
    config = resolve("quick", "synthetic")
    features = {
        "format": records.FORMAT,
        "job": FEATURES.name,
        "status": "complete",
        "metrics": {"mean_error_test": 0.1},
        "outputs": [],
        "parameters": records.parameters_of(FEATURES, config),
        "inputs": {},
        "code": records.code_version(STEPS["features"].notebook),
    }
    paths.write_json(FEATURES.folder / "run.json", features)
    (JOB.folder).mkdir(parents=True)
    (JOB.folder / "flow.pt").write_bytes(b"weights")
    flow = {
        "format": records.FORMAT,
        "job": JOB.name,
        "status": "complete",
        "metrics": {},
        "outputs": [{"file": "flow.pt", "bytes": 7, "sha256": "x"}],
        "parameters": records.parameters_of(JOB, config),
        "inputs": {FEATURES.name: records.result_digest(features)},
        "code": records.code_version(STEPS["flow"].notebook),
    }
    paths.write_json(JOB.folder / "run.json", flow)
    return tmp_path


def change(job, **changes):
    paths.write_json(job.folder / "run.json", records.read(job.folder) | changes)


def why(**settings):
    return planning.why_stale(
        JOB, resolve("quick", "synthetic", {k.replace("__", "."): v for k, v in settings.items()}), ()
    )


def test_a_record_that_holds(reports):
    assert why() == ""
    assert why(autoencoder__lr=0.5) == ""  # another step's parameter


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda: (JOB.folder / "run.json").unlink(), "not run yet"),
        (lambda: (JOB.folder / "run.json").write_text('{"format": 1, "sta'), "not run yet"),
        (lambda: change(JOB, status="was interrupted"), "the last run was interrupted"),
        (lambda: (JOB.folder / "flow.pt").unlink(), "flow.pt is missing"),
        (
            lambda: change(FEATURES, metrics={"mean_error_test": 0.2}),
            f"the result of {FEATURES.name} changed",
        ),
        (lambda: (FEATURES.folder / "run.json").unlink(), "its inputs are missing"),
        (
            lambda: change(JOB, code=records.read(JOB.folder)["code"] | {"glow": "old"}),
            "the code of glow changed",
        ),
    ],
)
def test_why_a_record_does_not_hold(reports, spoil, reason):
    spoil()
    assert why() == reason


def test_a_changed_parameter_is_named(reports):
    assert why(flow__K=9) == "flow.K is 9, was 4"


def test_timing_is_no_result(reports):
    """A run that came out the same leaves what stands on it as it is, however long it took."""
    change(FEATURES, seconds=99.0, started="another day", notes={"rate": 3})
    assert why() == ""


def test_other_labels_train_nothing_anew():
    """They are evaluated against; who learns from frames alone is told nothing of them."""
    prepare, autoencoder, score = (
        Job("quick", "avenue", *rest)
        for rest in (("prepare",), ("autoencoder", "one_path", 0), ("score", "one_path", 0))
    )
    one, other = (
        {"metrics": {"frames": "f", "labels": labels}, "outputs": []} for labels in ("masks", "intervals")
    )
    assert records.input_digest(autoencoder, one) == records.input_digest(autoencoder, other) == "f"
    assert records.input_digest(score, one) != records.input_digest(score, other)
    moved = {"metrics": {"frames": "g", "labels": "masks"}, "outputs": []}
    assert records.input_digest(autoencoder, moved) != records.input_digest(autoencoder, one)
    configs = [
        resolve("quick", "avenue", {"data.avenue_labels": labels}) for labels in ("masks", "intervals")
    ]
    for job, same in ((prepare, False), (autoencoder, True), (score.other("features", "one_path"), False)):
        a, b = (records.parameters_of(job, config) for config in configs)
        assert (a == b) == same and "data.height" in a


def test_names_of_jobs_go_both_ways():
    for name in (
        "all/table3",
        "synthetic/prepare",
        "ped2/autoencoder/one_path/seed12",
        "all/figure/fig4",
        "ped2/reference/seed0",
    ):
        assert from_name("quick", name).name == name


def test_upstream_of_each_kind_of_model():
    def names(variant):
        return [j.name for j in upstream(Job("quick", "ped2", "score", variant, 1), ())]

    assert names("one_path") == ["ped2/prepare", "ped2/features/one_path/seed1"]
    assert names("app_intensity_mot") == [
        "ped2/prepare",
        "ped2/features/two_path/seed1",
        "ped2/flow/app_intensity/seed1",
        "ped2/flow/mot/seed1",
    ]


def test_json_is_written_in_one_piece(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    paths.write_json(path, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError):
        paths.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_paths_are_shown_relative_to_the_checkout():
    assert paths.shown(paths.ROOT / "reports" / "quick") == "reports/quick"


def test_a_module_that_moves_keeps_its_code_version(tmp_path, monkeypatch):
    """Its file in another room, and the import lines that follow it, change nothing; other code does."""
    lib, notebooks = tmp_path / "lib", tmp_path / "notebooks"
    (lib / "kernels").mkdir(parents=True)
    (lib / "training").mkdir()
    notebooks.mkdir()
    monkeypatch.setattr(paths, "LIB", lib)
    monkeypatch.setattr(paths, "NOTEBOOKS", notebooks)

    def version(room: str, body: str = "def double(a):\n    return 2 * a\n") -> dict[str, str]:
        for file in lib.rglob("*.py"):
            file.unlink()
        (lib / room / "twice.py").write_text(body)
        (lib / "loss.py").write_text(f"from lib.{room}.twice import double\n\nVALUE = double(3)\n")
        cell = {"cell_type": "code", "metadata": {}, "source": ["from lib import loss\n", "loss.VALUE"]}
        (notebooks / "n.ipynb").write_text(json.dumps({"cells": [cell]}))
        records.module.cache_clear()
        records.code_version.cache_clear()
        return records.code_version("n")

    before = version("kernels")
    assert set(before) == {"notebooks/n.ipynb", "loss", "twice"}
    assert version("training") == before
    changed = version("training", "def double(a):\n    return a + a\n")
    assert {name for name in before if before[name] != changed[name]} == {"twice"}
    records.module.cache_clear()
    records.code_version.cache_clear()


def names(step: str, variant: str, dataset: str = "ped2", **settings) -> set[str]:
    """The parameters that matter to a job."""
    config = resolve("quick", dataset, {name.replace("__", "."): value for name, value in settings.items()})
    return set(records.parameters_of(Job("quick", dataset, step, variant, 0), config))


def test_what_cannot_matter_to_a_model_runs_nothing_again():
    """lambda_L weighs the flows' term; what only one of the two autoencoders has; the window of a loss that
    weighs nothing."""
    likelihoods = {"score.lambda_L", "score.lambda_of", "score.lambda_scope", "score.likelihood_unit"}
    for model in ("one_path", "two_path"):
        assert not likelihoods & names("score", model) and "score.reduce" in names("score", model)
    for model in ("app_none", "app_intensity", "app_error", "mot", "app_intensity_mot"):
        assert likelihoods <= names("score", model)
    one, two = names("autoencoder", "one_path"), names("autoencoder", "two_path")
    assert one ^ two == {"model.one_path_frames", "model.mot_channels"} and "model.mot_channels" in two
    assert "data.avenue_labels" not in names("prepare", "") and "data.avenue_labels" in names(
        "prepare", "", "avenue"
    )
    settings = {"loss__ms_ssim_weight": 0.0}, {"loss__ms_ssim_weight": 0.5}
    assert ["loss.ms_ssim_window" in names("autoencoder", "one_path", **s) for s in settings] == [False, True]


@pytest.mark.parametrize(
    "setting, width", [("model.mot_channels", (8, 8, 8, 8)), ("model.one_path_frames", "T")]
)
def test_that_it_cannot_matter_is_true_of_the_networks(setting, width):
    """The same weights, name by name, for the autoencoder that is said not to depend on a parameter; others
    for the other."""
    shapes = {}
    for value in (None, width):
        config = resolve("quick", "ped2", {} if value is None else {setting: value})
        for two_path in (False, True):
            network = stage1.build_autoencoder(config, two_path=two_path, seed=0)
            shapes[value, two_path] = (
                network.tau,
                {k: tuple(v.shape) for k, v in network.state_dict().items()},
            )
    independent = setting == "model.one_path_frames"  # the two-path autoencoder has no use for this one
    assert shapes[None, independent] == shapes[width, independent]
    assert shapes[None, not independent] != shapes[width, not independent]


def test_a_record_with_a_parameter_that_does_not_matter_holds(reports):
    change(JOB, parameters=records.read(JOB.folder)["parameters"] | {"flow.of_an_older_version": 3})
    assert why() == ""


def test_names_that_are_not_utf8_come_back(tmp_path):
    name = os.fsdecode(b"cam\xff.avi")
    paths.write_json(tmp_path / "x.json", {"clip": name, "street": "Hauptstraße"})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"clip": name, "street": "Hauptstraße"}
    paths.write_json(tmp_path / "y.json", {"street": "Hauptstraße"})
    assert "Hauptstraße" in (tmp_path / "y.json").read_text(encoding="utf-8")
