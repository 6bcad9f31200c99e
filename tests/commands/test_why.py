"""What `why` finds behind cells, figures and numbers; here, and in the curated results of a fresh clone."""

import shutil

import made_records as made
import pytest

from lib import paths
from lib.commands import why
from lib.errors import ConfigError
from lib.pipeline import records
from lib.pipeline.steps import Job


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """Complete records of one data set with one seed at profile quick; no curated results."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(why, "RESAMPLES", 20)
    shutil.copytree(made.complete(), tmp_path / "reports")
    monkeypatch.setattr(why, "evaluation", lambda *_: {"protocol": why.PROTOCOLS["paper"], "resamples": 20})
    return tmp_path / "reports"


def draw(profile="quick"):
    paths.figures(profile).mkdir(parents=True)
    (paths.figures(profile) / "fig4-ped2.svg").write_text("<svg/>")


def test_a_cell_names_its_runs_parameters_commits_and_commands(reports):
    said = why.answer("quick", "table3:ped2:mot")
    for words in (
        "the paper: 0.973",
        "ped2/score/mot/seed0",
        "./run_all.sh score",
        "ped2/flow/mot/seed0",
        "c0ffee0",
        "flow.K",
        "run.json",
    ):
        assert words in said
    assert "curated" not in said
    assert "this kit: not run" in why.answer("quick", "table4:avenue:app_error")


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ("table3:ped2:twopath", "Did you mean two_path"),
        ("table9:ped2:mot", "table or figure"),
        ("table3:pet2", "Did you mean ped2"),
        ("fig4:pet2", "Did you mean ped2"),
        ("ped2/score/mot/seed7", "no complete run ped2/score/mot/seed7"),
        ("sensitivity-ped2", "no complete run ped2/sensitivity/seed0"),
        ("0.123456", "is in no cell and no run"),
    ],
)
def test_what_does_not_exist_is_said(asked, sentence, reports):
    with pytest.raises(ConfigError, match=sentence):
        why.answer("quick", asked)


def test_a_number_is_found_in_cells_and_runs(reports):
    record = records.read(Job("quick", "ped2", "score", "mot", 0).folder)
    said = why.answer("quick", f"{record['metrics']['auc']:.3f}")
    assert "table3:ped2:mot auc" in said and "ped2/score/mot/seed0 auc" in said and "run here" in said
    with_sign = why.answer("quick", "+0.009")  # a change of the paper's
    assert (
        with_sign.startswith("+0.009 in the paper:") and "table3:ped2:two_path paper difference" in with_sign
    )
    assert "run here" not in with_sign, "the paper's number was not run here"


def test_a_figure_names_the_runs_that_it_is_drawn_from(reports):
    assert "not drawn. To draw it: ./run_all.sh fig4 --profile quick" in why.answer("quick", "fig4")
    draw()
    said = why.answer("quick", "fig4:ped2")
    assert "fig4-ped2.svg" in said and "ped2/score/app_intensity_mot/seed0" in said and "c0ffee0" in said


def test_without_a_name_all_cells_are_listed(reports):
    said = why.answer("quick").splitlines()
    auc = records.read(Job("quick", "ped2", "score", "two_path", 0).folder)["metrics"]["auc"]
    (line,) = (line for line in said if "table3:ped2:two_path" in line)
    assert f"{auc:.3f}" in line and "paper 0.968" in line and "n = 1" in line
    assert not any("avenue" in line for line in said)


def test_a_table_or_a_data_set_in_it_lists_its_cells(reports):
    of_table = why.answer("quick", "table4").splitlines()[1:]
    assert [line.split()[0] for line in of_table] == [
        f"table4:ped2:{variant}" for variant in ("app_none", "app_intensity", "app_error")
    ]
    assert why.answer("quick", "table4:ped2").splitlines()[1:] == of_table
    said = why.answer("quick", "table4:avenue")
    assert (
        "nothing of it is scored" in said and "./run_all.sh tables --profile quick --dataset avenue" in said
    )


def test_a_run_is_explained_by_its_name(reports):
    record = records.read(Job("quick", "ped2", "score", "mot", 0).folder)
    said = why.answer("quick", "ped2/score/mot/seed0")
    for words in ("./run_all.sh score", "c0ffee0", repr(record["metrics"]["auc"]), "ped2/flow/mot/seed0"):
        assert words in said, words
    made.record(Job("quick", "ped2", "sensitivity", "", 1), inputs=["ped2/prepare"], metrics={"base": 0.75})
    said = why.answer("quick", "sensitivity-ped2-seed1")
    assert said.startswith("ped2/sensitivity/seed1, profile quick") and "0.75" in said
    assert "figure.size" in said


def test_a_fresh_clone_answers_from_the_curated_results_and_says_so(reports):
    auc = records.read(Job("quick", "ped2", "score", "mot", 0).folder)["metrics"]["auc"]
    (reports / "quick").rename(reports / "small")
    draw("small")
    for path in (reports / "small").rglob("run.json"):
        path.write_text(path.read_text().replace('"profile": "quick"', '"profile": "small"'))
    reports.rename(paths.REFERENCE)
    for asked, words in (
        ("table3:ped2:mot", "ped2/score/mot/seed0"),
        ("", "table3:ped2:two_path"),
        ("fig4:ped2", "drawn from"),
    ):
        said = why.answer("quick", asked)
        assert said.startswith("Not run here at profile quick; from the curated results") and words in said
        assert "profile small" in said
    assert "reference/small:" in why.answer("quick", f"{auc:.3f}")
    assert "none: nothing is scored" not in why.answer("small")
