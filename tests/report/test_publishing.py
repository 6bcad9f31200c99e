"""A report as a folder for a web server: complete in itself, and nobody's frames but the generated set's."""

import made_records as made
import pytest
from test_index_page import Page, notebook

from lib.commands import cli
from lib.errors import EXIT_NOTEBOOK, EXIT_USAGE
from lib.pipeline.steps import Job

START, FLOW = Job("quick", "all", "start"), Job("quick", "synthetic", "flow", "mot", 0)


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """A report on the generated set: executed notebooks, arrays, a run by hand and one that was replaced."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    made.everything("synthetic")
    made.record(START)
    notebook(START, "Then [the flows](06_train_flow.ipynb).")
    notebook(FLOW, "The flows.")
    (START.folder / "maps.npy").write_bytes(b"many numbers")
    made.change(START, lambda r: r["outputs"].append({"file": "maps.npy", "sha256": "0"}))
    for other in ("by_hand/all/start/mine.html", "runs/synthetic/flow/mot/seed0.previous/old.html"):
        path = tmp_path / "reports/quick" / other
        path.parent.mkdir(parents=True)
        path.write_text("old")
    return tmp_path / "reports"


def test_what_is_published_can_be_read_anywhere(reports, tmp_path, capsys):
    site = tmp_path / "site"
    assert cli.main(["--publish", str(site)]) == 0
    assert "site/index.html" in capsys.readouterr().out
    kept = Page(reports / "quick/index.html")
    page, start = Page(site / "index.html"), Page(site / "runs/all/start/00_start_here.html")
    maps = "runs/all/start/maps.npy"
    assert maps in kept.links and maps not in page.links and "maps.npy" in page.text
    assert "runs/synthetic/score/mot/seed0/scores.csv" in page.links
    assert not page.broken() and "../../synthetic/flow/mot/seed0/06_train_flow.html" in start.links
    names = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert not any(
        "by_hand" in name or "previous" in name or name.endswith((".npy", ".ipynb")) for name in names
    )
    assert ".nojekyll" in names
    made.change(FLOW, lambda r: r.update(command="./run_all.sh another"))
    assert cli.main(["--publish", str(site)]) == 0  # it may be published again
    assert "./run_all.sh another" in Page(site / "index.html").text


def test_a_folder_with_something_else_is_left_alone(reports, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("mine")
    for folder in (tmp_path / "home", tmp_path / "home/letter.txt", reports / "quick/site"):
        assert cli.main(["--publish", str(folder)]) == EXIT_USAGE
        assert "has other content" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]


def test_frames_that_belong_to_their_owners_are_not_published(reports, tmp_path, capsys):
    made.prepare("ped2")
    assert cli.main(["--publish", str(tmp_path / "site")]) == EXIT_NOTEBOOK
    assert "shows frames of ped2" in capsys.readouterr().err and not (tmp_path / "site").exists()
    assert cli.main(["--publish", str(tmp_path / "site"), "--profile", "long"]) == EXIT_NOTEBOOK
    assert "Nothing was run at profile long" in capsys.readouterr().err
