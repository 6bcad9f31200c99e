"""What the terminal says when a call is done: the numbers that were asked for, what they were, and where on
the page they are."""

import shutil

import made_records as made
import pytest

from lib import paths
from lib.commands import cli
from lib.pipeline import planning, records
from lib.pipeline.steps import Job
from lib.report import index_page

WHOLE = Job("quick", "ped2", "score", "app_intensity_mot", 0)
GRID = planning.Grid("quick", ("ped2",), (0,))


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """Finished runs, and the calls of `index_page.write`."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    shutil.copytree(made.complete(), tmp_path / "reports")
    written = []
    monkeypatch.setattr(index_page, "write", lambda profile, all_clips: written.append((profile, all_clips)))
    return written


def show(capsys, *targets, **options):
    assert cli.show_results(GRID, list(targets), **({"changed": True, "all_clips": False} | options)) == 0
    return capsys.readouterr().out


def test_a_number_stands_beside_what_it_was_and_where_it_is(reports, capsys):
    before = cli.aucs(GRID.jobs(["scores"]))
    assert before[WHOLE.name] == records.read(WHOLE.folder)["metrics"]["auc"]
    made.change(WHOLE, lambda r: r["metrics"].update(auc=0.7612, interval=[0.63, 0.853]))
    out = show(capsys, "app_intensity_mot", before=before | {WHOLE.name: 0.7501})
    assert "AUC 0.761 (was 0.750)   95 % interval 0.630 to 0.853" in out
    assert out.endswith("quick/index.html#run-ped2-score-app_intensity_mot-seed0\n") and reports == [
        ("quick", False)
    ]


def test_what_did_not_change_is_not_told_twice(reports, capsys):
    out = show(capsys, "app_intensity_mot", before=cli.aucs([WHOLE]))
    assert "(was" not in out and "no interval" in out


def test_a_run_without_an_auc_says_why(reports, capsys):
    made.change(WHOLE, lambda r: r["metrics"].update(auc=None, why_no_auc="no labels"))
    out = show(capsys, "app_intensity_mot", before={WHOLE.name: 0.75})
    assert "no labels, so no AUC; the scores are in" in out and WHOLE.name not in cli.aucs([WHOLE])


def test_each_target_has_its_place_on_the_page(reports):
    folder = paths.figures("quick")
    folder.mkdir(parents=True)
    for name in ("fig5-ped2", "fig5-synthetic", "roc-synthetic"):
        (folder / f"{name}.svg").write_text("<svg/>")
    for targets, places in (
        (["all"], [""]),
        (["table3", "fig5"], ["#table3", "#fig5-ped2"]),
        (["figures"], ["#figures"]),
        (["fig1"], ["#figures"]),
        (["roc"], ["#roc-synthetic"]),
        (["mot"], ["#run-ped2-flow-mot-seed0", "#run-ped2-score-mot-seed0"]),
        (["score"], [""]),
    ):
        assert cli.places_on_page(GRID, targets) == places, targets


def test_a_figure_that_was_asked_for_otherwise_is_named_by_its_file(reports, capsys):
    asked = paths.figures("quick") / "asked"
    asked.mkdir(parents=True)
    job = Job("quick", "all", "figure", "fig5")
    job.folder.mkdir(parents=True)
    for name in ("fig5-ped2-column.pdf", "fig5-ped2-column.csv"):
        (asked / name).write_text("x")
    made.record(job)
    made.change(job, lambda r: r.update(outputs=[{"file": path.name} for path in asked.iterdir()]))
    out = show(capsys, "fig5", "table3")
    assert "figures/asked/fig5-ped2-column.pdf" in out and ".csv" not in out and "#fig" not in out
    assert out.endswith("index.html#table3\n")
    made.change(job, lambda r: r.update(outputs=[{"file": "fig5-ped2.svg"}]))  # drawn by the rule again
    assert show(capsys, "fig5").endswith("index.html#figures\n")


def test_the_page_is_made_anew_where_something_ran_or_all_clips_are_asked_for(reports, capsys):
    index = paths.report("quick") / "index.html"
    index.write_text("here")
    show(capsys, "table3", changed=False)
    assert reports == []
    show(capsys, "table3", changed=False, all_clips=True)
    assert reports == [("quick", True)]
