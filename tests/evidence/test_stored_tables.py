"""Each table is computed once per set of runs: what makes it anew, and that all who show it read it."""

import os
import shutil
import threading

import made_records as made
import pandas as pd
import pytest

from lib import paths
from lib.config import resolve
from lib.evaluation.protocols import PROTOCOLS
from lib.evidence import scored_runs, stored_tables, tables, verdict
from lib.pipeline import records
from lib.pipeline.steps import Job
from lib.report import index_page, notebook_pages, reference

RESAMPLES = resolve("quick", "ped2").evaluate.resamples
HOW = {"protocol": PROTOCOLS["paper"], "resamples": RESAMPLES}


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """Complete records of one data set with one seed, which a test may change."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    shutil.copytree(made.complete(), tmp_path / "reports")
    return tmp_path / "reports"


@pytest.fixture
def computed(monkeypatch):
    """The names of what is computed, in order."""
    log = []
    for name, make in tables.MAKERS.items():
        monkeypatch.setitem(
            tables.MAKERS, name, lambda *a, n=name, m=make, **how: (log.append(n), m(*a, **how))[1]
        )
    judge = verdict.findings
    monkeypatch.setattr(verdict, "findings", lambda *a, **how: (log.append("verdict"), judge(*a, **how))[1])
    return log


def get(name="table3", **how):
    how = HOW | {"folder": paths.tables("quick")} | how
    return stored_tables.table(name, scored_runs.of_profile("quick"), **how)


@pytest.mark.parametrize("name", tables.MAKERS)
def test_a_table_that_is_read_is_the_table_that_was_computed(name, reports, computed):
    for variant, rbdc in (("one_path", 0.2), ("two_path", 1 / 3)):
        made.change(
            Job("quick", "ped2", "score", variant, 0),
            lambda record, rbdc=rbdc: record["metrics"].update(regions={"rbdc": rbdc, "tbdc": None}),
        )
    made.scored("ped2", "one_path", 1, settings={"autoencoder.steps": 7})
    first, second = get(name), get(name)
    assert computed == [name]
    pd.testing.assert_frame_equal(first.cells, second.cells, check_exact=True)
    assert (first.notes, first.under, first.title) == (second.notes, second.under, second.title)
    if name == "table3":
        assert len(first.regions) == 2
        pd.testing.assert_frame_equal(first.regions, second.regions, check_exact=True)
    files = {path.name for path in paths.tables("quick").iterdir()}
    assert files >= {f"{name}.{kind}" for kind in ("csv", "json", "md", "tex")}


def test_what_makes_a_table_anew(reports, computed, monkeypatch):
    get()
    made.change(Job("quick", "ped2", "score", "app_error", 0), lambda record: record.update(seconds=1.0))
    get()  # no row of Table 3
    assert computed == ["table3"]
    changes = [
        lambda: made.change(Job("quick", "ped2", "score", "mot", 0), lambda r: r["metrics"].update(auc=0.5)),
        lambda: made.change(Job("quick", "ped2", "flow", "mot", 0), lambda r: r["metrics"].update(loss=1.0)),
        lambda: (paths.tables("quick") / "table3.csv").write_text("another"),
        lambda: (paths.tables("quick") / "table3.json").write_text("{"),
        lambda: (Job("quick", "ped2", "score", "mot", 0).folder / "scores.csv").unlink(),
        lambda: monkeypatch.setattr(records, "code_version", lambda notebook: {"another": "version"}),
    ]
    for number, change in enumerate(changes, start=2):
        change()
        get()
        get()
        assert computed == ["table3"] * number
    get(protocol=PROTOCOLS["micro, raw scores"])
    get(protocol=PROTOCOLS["micro, raw scores"], resamples=50)
    assert computed == ["table3"] * (len(changes) + 3)


def test_what_is_not_kept_leaves_nothing(reports, computed):
    get(keep=False)
    assert not paths.tables("quick").exists()
    get()
    get(keep=False)
    assert computed == ["table3"] * 2


def test_findings_are_read_too(reports, computed):
    runs = scored_runs.of_profile("quick")
    first = stored_tables.findings(runs, folder=paths.tables("quick"), **HOW)
    assert computed == ["table2", "table3", "table4", "verdict"]
    assert stored_tables.findings(runs, folder=paths.tables("quick"), **HOW) == first
    get("table4")
    assert len(computed) == 4 and any(found.low is not None for found in first)


def test_the_page_reads_what_the_notebooks_stored_and_the_other_way_round(reports, computed, monkeypatch):
    monkeypatch.setattr(notebook_pages, "write_all", lambda *_: {})  # slow, and no part of this
    index_page.write("quick")
    assert sorted(computed) == ["table2", "table3", "table4", "verdict"]
    for name in tables.MAKERS:
        get(name)
    index_page.write("quick")
    assert len(computed) == 4


def test_readmes_block_reads_the_curated_table(reports, tmp_path, computed, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(paths, "EVER_SCORED", tmp_path / "reference/scored.csv")
    made.change(Job("quick", "ped2", "prepare"), lambda r: r["notes"].update(prepared="nowhere"))
    reference.curate("quick", ["ped2"])
    assert len(computed) == 4 and not (tmp_path / "reference/quick/.state").exists()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "reference").rglob("*")}
    assert "UCSD Ped2" in reference.results_block() and len(computed) == 4
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "reference").rglob("*")}


def test_who_comes_second_waits_and_reads(reports, computed):
    threads = [threading.Thread(target=get) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == ["table3"] and "KIT_REPORTS" in os.environ
