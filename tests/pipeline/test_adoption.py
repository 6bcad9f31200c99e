"""Adopting a selection: from a run's record to the values that other runs take."""

import json

import pytest
from conftest import ADOPTED

from lib import paths
from lib.commands import cli
from lib.config import flat, groups, resolve
from lib.errors import ConfigError, RunError
from lib.pipeline import adoption, notebook_run, records
from lib.pipeline.planning import Grid
from lib.pipeline.steps import TARGETS, Job

ROW = {
    "criterion": "R",
    "auc_literal": 0.8,
    "best_option": "frame_norm",
    "auc_best_option": 0.9,
    "noise": 0.01,
    "trials": ["t"],
}
CHOICES = [
    {"parameter": "loss.l2", "literal": "window_norm", "value": "frame_norm"} | ROW,
    {"parameter": "model.activation", "literal": "relu", "value": "relu"} | ROW,
    {"parameter": "flow.K", "literal": 8, "value": 4} | ROW,
]


@pytest.mark.parametrize("path", sorted(ADOPTED.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_adopted_here_was_measured_against_the_literal_readings(path):
    written = json.loads(path.read_text())
    literal = flat(resolve(written["profile"], written["dataset"], literal=True), groups())
    for name, choice in written["choices"].items():
        assert literal[name] == choice["literal"], name
        assert choice["record"] == written["record"] and choice["trials"]
        taken = resolve(written["profile"], written["dataset"], {name: choice["value"]}, literal=True)
        if choice["value"] == choice["literal"]:
            assert flat(taken, groups()) == literal
        else:
            assert choice["value"] == choice["best_option"]
            assert choice["auc_best_option"] - choice["auc_literal"] > choice["noise"], name


@pytest.fixture
def adopted(monkeypatch, tmp_path):
    """The selection of ped2 at `small`, run and adopted."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setattr(paths, "SELECTION", tmp_path / "selection")
    job = Job("small", "ped2", "selection")
    record = {
        "format": records.FORMAT,
        "job": job.name,
        "status": "complete",
        "ended": "today",
        "git": {"commit": "abc"},
        "metrics": {"choices": CHOICES},
        "outputs": [],
    }
    paths.write_json(job.folder / "run.json", record)
    said = adoption.adopt("small", "ped2")
    return record, said, json.loads((tmp_path / "selection" / "ped2.json").read_text())


def test_there_must_be_a_finished_selection(monkeypatch, tmp_path):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path))
    with pytest.raises(
        RunError, match="no finished selection of ped2 at profile small.*selection --dataset ped2"
    ):
        adoption.adopt("small", "ped2")


def test_each_line_has_its_value_and_the_record_behind_it(adopted):
    record, said, written = adopted
    assert written["record"] == records.result_digest(record) and written["commit"] == "abc"
    assert written["choices"]["loss.l2"]["value"] == "frame_norm"
    assert {line["record"] for line in written["choices"].values()} == {written["record"]}
    assert "3 choices, 2 of them not the literal" in said and "Commit it before" in said


def test_runs_take_what_was_chosen_where_they_had_what_it_was_measured_against(adopted):
    assert resolve("small", "ped2").loss.l2 == resolve("paper", "ped2").loss.l2 == "frame_norm"
    assert resolve("small", "ped2").flow.K == resolve("long", "ped2").flow.K == 4
    assert resolve("paper", "ped2").flow.K == 32 and resolve("quick", "ped2").flow.K == 4, (
        "theirs was not tried"
    )
    assert resolve("small", "avenue").loss.l2 == "window_norm", "another data set"
    assert resolve("small", "ped2", {"loss.l2": "mean_square"}).loss.l2 == "mean_square", (
        "the user's own wins"
    )
    assert resolve("small", "ped2", literal=True).loss.l2 == "window_norm"


def test_a_selection_starts_from_the_literal_readings_and_so_is_not_stale_by_being_adopted(adopted):
    grid = Grid("small", ("ped2",), (0,))
    assert grid.config(Job("small", "ped2", "selection")).loss.l2 == "window_norm"
    assert grid.config(Job("small", "ped2", "autoencoder", "two_path", 0)).loss.l2 == "frame_norm"
    assert "selection" not in TARGETS["all"], "it is made once, and asked for by name"


def test_literal_readings_can_be_asked_for(adopted):
    def understood(*words):
        return cli.understand(cli.parser().parse_args([*words, "--profile", "small", "--literal"]))[0]

    grid = understood("scores", "--dataset", "ped2")
    config = grid.config(Job("small", "ped2", "score", "two_path", 0))
    assert config == resolve("small", "ped2", literal=True) != resolve("small", "ped2")
    assert dict(grid.settings) == {"flow.K": 8, "loss.l2": "window_norm"}, "they stand in the records"
    own = understood("scores", "--dataset", "ped2", "--set", "flow.K=2")
    assert dict(own.settings) == {"flow.K": 2, "loss.l2": "window_norm"}, "the user's own wins"
    assert not understood("scores", "--dataset", "avenue").settings
    written = adopted[2]
    written["choices"]["score.reduce"] = {"literal": "largest_patch_mean", "value": "largest_pixel"}
    paths.write_json(paths.SELECTION / "ped2.json", written)
    with pytest.raises(ConfigError, match="score.reduce has different values for ped2, avenue. Run one"):
        understood("scores", "--dataset", "ped2", "avenue")


def test_a_table_of_settings_says_what_was_chosen_by_selection(adopted, monkeypatch):
    written, config = adopted[2], resolve("small", "ped2")
    job = Job("small", "ped2", "autoencoder", "two_path", 0)
    monkeypatch.setattr(notebook_run, "_begun", notebook_run.Run(job, config, paths.ROOT, False, "", {}))
    table = notebook_run.settings_table(config, "loss", "flow").data
    assert table.count(f"chosen by selection, record {written['record']}") == 2, "loss.l2 and flow.K"
    assert "chosen by selection" not in notebook_run.settings_table(config, "error").data
    monkeypatch.setattr(notebook_run, "_begun", None)
    assert "value from" not in notebook_run.settings_table(config, "loss").data


def test_a_file_that_names_what_there_is_not_is_refused(adopted):
    path = paths.SELECTION / "ped2.json"
    path.write_text(path.read_text().replace('"loss.l2"', '"loss.l3"'))
    with pytest.raises(ValueError, match="no parameter 'loss.l3'"):
        resolve("small", "ped2")
