"""What --curate keeps: on hand-made records, one seed after the other."""

import csv
import io
import json
import math
import re
from pathlib import Path

import cv2
import made_records as made
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lib import paths
from lib.commands import cli
from lib.datasets import prepared
from lib.evidence import scored_runs
from lib.figures import further_figures, paper_figures, style
from lib.pipeline import records
from lib.pipeline.steps import Job
from lib.report import costs, reference


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Reports and a reference of their own, and few resamples."""
    values = scored_runs.Result.parameters
    few = {"evaluate.resamples": 20}
    monkeypatch.setattr(scored_runs.Result, "parameters", lambda result: values(result) | few)
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(paths, "EVER_SCORED", tmp_path / "reference/scored.csv")
    return tmp_path


def run(seed, **options):
    """Everything of one seed, with weights."""
    jobs = made.everything("ped2", (seed,), **options)
    for (step, variant), name in reference.WEIGHTS.items():
        folder = Job("quick", "ped2", step, variant, seed).folder
        torch.save({"model": {"w": torch.full((2,), 1.0 + seed)}}, folder / name)
    made.change(
        Job("quick", "ped2", "prepare"), lambda r: r["notes"].update(prepared="data/prepared/of nobody")
    )
    return jobs


def forget(places):
    """The reports are gone, as in a fresh clone; the reference is there."""
    (places / "reports").rename(places / f"reports-{len(list(places.iterdir()))}")


def table(places, name="table3"):
    with open(places / f"reference/quick/tables/{name}.csv", newline="") as file:
        return {
            row["variant"]: row for row in csv.DictReader(file) if row["dataset"] == "ped2" and row["variant"]
        }


def test_what_is_kept(places):
    run(0)
    drawn = paths.figures("quick")
    drawn.mkdir(parents=True)
    (drawn / "fig4-ped2.svg").write_text("<svg/>")
    files = {
        str(path.relative_to(places / "reference/quick")) for path in reference.curate("quick", ["ped2"])
    }
    assert {
        "runs/ped2/score/mot/seed0/run.json",
        "runs/ped2/score/mot/seed0/scores.csv",
        "runs/ped2/autoencoder/two_path/seed0/autoencoder.pt",
        "tables/table3.md",
        "tables/table4.tex",
        "tables/verdict.csv",
        "figures/fig4-ped2.svg",
    } <= files
    assert not (places / "reference/.partial").exists()
    weights = torch.load(places / "reference/quick/runs/ped2/flow/mot/seed0/flow.pt", weights_only=True)[
        "model"
    ]["w"]
    assert weights.dtype == torch.float16
    assert {Path(name).suffix for name in files} <= {".json", ".csv", ".pt", ".md", ".tex", ".svg", ".png"}


def test_scores_are_kept_with_five_digits_and_the_tables_say_nothing_of_it(places):
    run(0)
    reference.curate("quick", ["ped2"])
    job = Job("quick", "ped2", "score", "mot", 0)
    kept = places / "reference/quick/runs/ped2/score/mot/seed0"
    exact, rounded = (pd.read_csv(folder / "scores.csv") for folder in (job.folder, kept))
    assert np.allclose(exact["R"], rounded["R"], rtol=5.1e-5, atol=0) and not exact.equals(rounded)
    assert list(exact["frame"]) == list(rounded["frame"]) and list(exact["clip"]) == list(rounded["clip"])
    assert (kept / "scores.csv").stat().st_size < 0.7 * (job.folder / "scores.csv").stat().st_size
    record = json.loads((kept / "run.json").read_text())
    assert record["outputs"][0]["sha256"] == paths.sha256_of(kept / "scores.csv")
    assert record["metrics"] == records.read(job.folder)["metrics"]
    text = (places / "reference/quick/tables/table3.md").read_text()
    assert "not that of the stored scores" not in text and "not the file" not in text
    assert not math.isnan(float(table(places)["mot"]["low"]))


def test_of_each_figure_one_file_is_kept(places):
    run(0)
    drawn = paths.figures("quick")
    drawn.mkdir(parents=True)
    for stem in ("fig2-ped2", "fig2-own", "fig4-own", "fig3-ped2", "fig1-ped2"):
        (drawn / f"{stem}.svg").write_text("<svg/>")
        cv2.imwrite(str(drawn / f"{stem}.png"), np.zeros((50, 2800, 3), np.uint8))
        (drawn / f"{stem}.csv").write_text("a\n")
    Image.new("L", (2800, 50)).save(drawn / "fig3-ped2.png", dpi=(300, 300))
    (drawn / "fig3-ped2.svg").write_text("x" * (1000 * reference.LARGEST_SVG_KB + 1))
    reference.curate("quick", ["ped2"])
    folder = places / "reference/quick/figures"
    assert {path.name for path in folder.iterdir()} == {"fig1-ped2.svg", "fig2-ped2.svg", "fig3-ped2.png"}
    with Image.open(folder / "fig3-ped2.png") as kept:
        assert kept.size == (reference.LARGEST_WIDTH, 25)
        assert kept.info["dpi"][0] == pytest.approx(150, abs=0.1)  # as wide in inches as it was


def test_weights_are_kept_while_there_is_room(places, monkeypatch):
    run(0)
    folder = Job("quick", "ped2", "flow", "mot", 0).folder
    torch.save({"model": {"w": torch.rand(400_000)}}, folder / "flow.pt")
    monkeypatch.setattr(reference, "LARGEST_MB", 0.6)
    reference.curate("quick", ["ped2"])
    kept = {path.parent.parent.name for path in (places / "reference").rglob("*.pt")}
    assert kept == {"two_path", "app_intensity"}


def test_mixed_settings_are_refused(places):
    run(0)
    flow = Job("quick", "ped2", "score", "mot", 0)
    made.change(flow, lambda record: record["parameters"].update({"score.lambda_L": 0.5}))
    with pytest.raises(reference.CurateError, match="different settings: score.lambda_L is 1.0 in"):
        reference.curate("quick", ["ped2"])
    made.change(
        flow, lambda record: record["parameters"].update({"score.lambda_L": 1.0, "machine.threads": 7})
    )
    reference.to_curate("quick", ["ped2"])


def test_what_would_be_done_is_said_and_nothing_is_written(places):
    run(0)
    said = reference.preview("quick", ["ped2"])
    assert "ped2: " in said and "seeds 0" in said and "0 replace a run" in said
    auc = records.read(Job("quick", "ped2", "score", "mot", 0).folder)["metrics"]["auc"]
    assert re.search(rf"ped2/score/mot/seed0 +AUC {auc:.3f}\n", said)
    assert not (places / "reference").exists()
    reference.curate("quick", ["ped2"])
    made.change(Job("quick", "ped2", "score", "mot", 0), lambda record: record.update(ended="2027"))
    said = reference.preview("quick", ["ped2"])
    assert "0 are new, 1 replace" in said and f"(curated before: {auc:.3f})" in said
    with pytest.raises(reference.CurateError, match="There is no scored run"):
        reference.preview("quick", ["avenue"])


def test_curate_asks_first_and_writes_nothing_where_nobody_answers(places, monkeypatch, capsys):
    run(0)
    monkeypatch.setattr(reference, "update_readme", lambda: None)
    monkeypatch.setattr(reference, "curate", lambda *_: [])
    monkeypatch.setattr(costs, "update_page", lambda: None)
    asked = ["--curate", "--dataset", "ped2"]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert cli.main(asked) == 2 and "Add --yes" in capsys.readouterr().err
    assert cli.main([*asked, "--yes"]) == 0 and "0 files" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for answer, code in (("y", 0), ("", 2)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert cli.main(asked) == code


def test_seeds_come_one_after_the_other(places):
    run(0)
    reference.curate("quick", ["ped2"])
    first = {name: float(row["auc"]) for name, row in table(places).items()}
    forget(places)
    run(1)
    second = {
        job.variant: records.read(job.folder)["metrics"].get("auc") for job in made.everything("ped2", (1,))
    }
    (paths.figures("quick")).mkdir(parents=True)
    (paths.figures("quick") / "fig4-ped2.svg").write_text("of seed 1")
    (places / "reference/quick/figures/fig4-ped2.svg").write_text("of seed 0")
    reference.curate("quick", ["ped2"])
    for name, row in table(places).items():
        assert row["n"] == "2" and row["seeds"] == "0 1"
        assert float(row["auc"]) == pytest.approx(np.mean([first[name], second[name]]))
    runs = places / "reference/quick/runs/ped2"
    assert (runs / "flow/mot/seed0/flow.pt").exists() and not (runs / "flow/mot/seed1/flow.pt").exists()
    assert (places / "reference/quick/figures/fig4-ped2.svg").read_text() == "of seed 0"  # the lowest seed's


def test_figures_of_several_seeds_are_drawn_anew_and_only_those(places, monkeypatch):
    drawn = []
    picture = paper_figures.Picture(None, None, "")
    for module, name in (
        (paper_figures, "roc"),
        (further_figures, "protocols"),
        (further_figures, "clips"),
        (further_figures, "training"),
    ):
        monkeypatch.setattr(
            module,
            name,
            lambda results, name=name: drawn.append((name, results.dataset, results.seeds)) or picture,
        )
    monkeypatch.setattr(style, "save", lambda *_, **__: [])
    monkeypatch.setattr(prepared, "open_prepared", lambda folder: None)
    (places / "prepared").mkdir()
    (places / "prepared/manifest.json").touch()
    for dataset, seed in (("ped2", 0), ("avenue", 0), ("ped2", 1)):
        made.everything(dataset, (seed,))
        made.change(
            Job("quick", dataset, "prepare"), lambda r: r["notes"].update(prepared=str(places / "prepared"))
        )
        reference.curate("quick", [dataset])
        assert drawn == (
            []
            if seed == 0
            else [(name, "ped2", (0, 1)) for name in ("roc", "protocols", "clips", "training")]
        )
        forget(places)


def test_other_conditions_are_kept_apart(places):
    run(0)
    reference.curate("quick", ["ped2"])
    forget(places)
    run(1, code="2")
    reference.curate("quick", ["ped2"])
    text = (places / "reference/quick/tables/table3.md").read_text()
    assert "not averaged with seed 0" in text and table(places)["mot"]["n"] == "1"


def test_the_list_of_everything_scored_only_grows(places):
    run(0)
    reference.curate("quick", ["ped2"])
    reference.curate("quick", ["ped2"])  # says nothing twice
    job = Job("quick", "ped2", "sensitivity", "", 0)
    job.folder.mkdir(parents=True)
    made.record(job, metrics={"base": 0.7, "changes": {"score.reduce=mean": -0.1}})
    chosen = Job("quick", "ped2", "selection")
    chosen.folder.mkdir(parents=True)
    tried = {"stage": "autoencoder", "option": "loss.l2=frame_norm", "seed": 1, "test AUC": 0.77}
    made.record(chosen, metrics={}, notes={"scored_on_test": [tried]})
    made.change(
        Job("quick", "ped2", "score", "mot", 0),
        lambda r: (r["metrics"].update(auc=0.123), r.update(settings={"flow.K": 4})),
    )
    reference.curate("quick", ["ped2"])
    with open(paths.EVER_SCORED, newline="") as file:
        lines = list(csv.DictReader(file))
    mot = [line for line in lines if line["model"] == "mot"]
    (places / "reference/scored.csv").unlink()  # what stands in the reference is noted before it is replaced
    made.change(Job("quick", "ped2", "score", "mot", 0), lambda r: r["metrics"].update(auc=0.321))
    reference.curate("quick", ["ped2"])
    with open(paths.EVER_SCORED, newline="") as file:
        assert {line["auc"] for line in csv.DictReader(file) if line["model"] == "mot"} == {"0.123", "0.321"}
    assert len(lines) == 7 + 3 and len(mot) == 2 and {line["settings"] for line in mot} == {"", "flow.K=4"}
    (found,) = (line for line in lines if "selection" in line["settings"])
    assert (found["model"], found["seed"], found["auc"]) == ("two_path", "1", "0.77")
    (found,) = (line for line in lines if "sensitivity" in line["settings"])
    assert float(found["auc"]) == pytest.approx(0.6) and found["settings"] == "sensitivity: score.reduce=mean"
    assert {line["commit"] for line in lines} == {"c0ffee0"}


def test_a_study_joins_the_scored_runs_that_were_curated_before(places):
    def study():
        job = Job("quick", "ped2", "selection")
        made.prepare()
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "choices.csv").write_text("parameter,value\nflow.K,4\n")
        notes = {"scored_on_test": [], "trial_seconds": 9000}
        made.record(job, metrics={}, notes=notes, commit="5e1ec7e")

    study()
    with pytest.raises(reference.CurateError, match="There is no scored run of ped2"):
        reference.curate("quick", ["ped2"])
    run(0)
    reference.curate("quick", ["ped2"])
    forget(places)
    study()
    before = (places / "reference/quick/runs/ped2/prepare/run.json").read_text()
    reference.curate("quick", ["ped2"])
    runs = places / "reference/quick/runs/ped2"
    assert (
        "5e1ec7e" in (runs / "selection/run.json").read_text() and (runs / "selection/choices.csv").exists()
    )
    assert (runs / "prepare/run.json").read_text() == before, "the scored runs keep what they stand on"
    assert "| selection | 1 | 2 h 30 min |" in reference.costs_block(), "with its trials"
    assert len(list(runs.glob("score/*/seed0/run.json"))) == 7 and "app_intensity" in table(places)


@pytest.mark.parametrize("dirty", [True, None])
def test_what_nobody_could_run_again_is_not_kept(places, dirty):
    run(0)
    made.change(Job("quick", "ped2", "flow", "mot", 0), lambda r: r["git"].update(dirty=dirty))
    with pytest.raises(reference.CurateError, match="ped2/flow/mot/seed0 was run with uncommitted changes"):
        reference.curate("quick", ["ped2"])
    assert not (places / "reference/quick").exists()


def test_what_was_taken_from_the_reference_is_not_put_back(places):
    run(0)
    made.change(
        Job("quick", "ped2", "autoencoder", "two_path", 0),
        lambda r: r["parameters"].update({"autoencoder.weights": "reference"}),
    )
    with pytest.raises(
        reference.CurateError, match="ped2/autoencoder/two_path/seed0 took its weights from the reference"
    ):
        reference.curate("quick", ["ped2"])


def test_too_much_and_nothing_are_refused(places, monkeypatch):
    with pytest.raises(reference.CurateError, match="There is no scored run of avenue at profile quick"):
        reference.curate("quick", ["avenue"])
    run(0)
    monkeypatch.setattr(reference, "LARGEST_MB", 0.001)
    with pytest.raises(reference.CurateError, match="the limit is 0.001 MB"):
        reference.curate("quick", ["ped2"])
    assert not list((places / "reference").glob("*"))
