"""Two sets of runs side by side: before a change and now, two profiles, here and what was curated."""

import made_records as made
import numpy as np
import pandas as pd
import pytest

from lib import paths
from lib.commands import cli, compare
from lib.errors import ConfigError
from lib.evaluation import protocols
from lib.evidence import comparison, scored_runs
from lib.pipeline import execution, records
from lib.pipeline.steps import Job

PAPER = protocols.PROTOCOLS["paper"]


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """No reports, no curated results, few resamples."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    values = scored_runs.Result.parameters
    few = {"evaluate.resamples": 50}
    monkeypatch.setattr(scored_runs.Result, "parameters", lambda result: values(result) | few)


def replace(variant="two_path", **options):
    """Runs a model again, as the pipeline does: what is replaced is set aside first."""
    for job, _ in records.find("quick"):
        if job.step != "prepare":
            execution.set_aside(job)
    return made.scored("ped2", variant, **options)


def test_before_against_now(tmp_path):
    job = made.scored("ped2", "two_path", 0)
    before = pd.read_csv(job.folder / "scores.csv")
    replace(shift=1.5, settings={"autoencoder.steps": 7})
    now = pd.read_csv(job.folder / "scores.csv")
    said = compare.compare("quick", ["before", "now"])
    table = pd.read_csv(paths.report("quick") / "compare/before-now/comparison.csv")
    (row,) = table.itertuples()
    labels, clips = before["label"].to_numpy(), pd.factorize(before["clip"])[0]
    sides = [scores["R"].to_numpy() for scores in (now, before)]
    expected = protocols.bootstrap_difference(*([side] for side in sides), labels, clips, PAPER, resamples=50)
    assert row.difference == pytest.approx(expected.estimate) and row.difference > 0.05
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert row.first == pytest.approx(protocols.frame_auc(sides[1], labels, clips, PAPER))
    assert "autoencoder.steps is" in said and "against 7" in said
    assert "What differs in code" not in said and f"{row.difference:+.3f}" in said


def test_the_curves_of_a_clip_stand_one_above_the_other():
    made.scored("ped2", "two_path", 0)
    replace(shift=1.5)
    compare.compare("quick", ["before", "now"])
    folder = paths.report("quick") / "compare/before-now"
    (stem,) = {path.stem for path in folder.glob("scores-*")}
    assert {path.suffix for path in folder.glob("scores-*")} == {".svg", ".png", ".csv"}
    table = pd.read_csv(folder / f"{stem}.csv")
    clip = stem.removeprefix("scores-ped2-")
    job = Job("quick", "ped2", "score", "two_path", 0)
    sides = ((records.previous(job.folder), "first"), (job.folder, "second"))
    for where, column in sides:
        scores = pd.read_csv(where / "scores.csv")
        own = scores.loc[scores["clip"] == clip, "R"].to_numpy()
        assert np.allclose(table[column], (own - own.min()) / (own.max() - own.min()))
    aucs = records.read(records.previous(job.folder), records.PREVIOUS)["metrics"]["by_clip"]
    assert aucs[clip] == sorted(aucs.values())[(len(aucs) - 1) // 2]


def test_two_profiles_and_the_curated_results(tmp_path):
    made.scored("ped2", "two_path", 0)
    made.scored("ped2", "two_path", 0, profile="small", shift=1.5)
    said = compare.compare("quick", ["quick", "small"])
    assert "profile is quick against small" in said and "contains 0" not in said
    (tmp_path / "reports/small").rename(tmp_path / "small")
    (tmp_path / "reference").mkdir()
    (tmp_path / "small").rename(tmp_path / "reference/small")
    assert compare.compare("quick", ["now", "reference/small"]).count("+0.") >= 1
    assert cli.main(["compare", "now", "reference"]) == 2  # the same profile was not curated
    with pytest.raises(ConfigError, match="no results at profile quick; it has reference/small"):
        compare.compare("quick", ["now", "reference"])
    made.scored("ped2", "two_path", 0, profile="small")
    said = compare.compare("quick", ["reference", "small"])  # of the profile that the other side names
    assert said.startswith("**small against reference**") and "profile is" not in said
    assert "profile is quick against small" in compare.compare("quick", ["now", "small"])


def test_what_cannot_be_compared_is_said():
    made.scored("ped2", "two_path", 0)
    for names, sentence in (
        (["now"], "compare takes two sides"),
        (["now", "refrence"], "Did you mean reference"),
        (["before", "now"], "no scored run was replaced yet"),
        (["now", "small"], "small has no scored run"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            compare.compare("quick", names)
    made.scored("avenue", "one_path", 0, profile="small")
    with pytest.raises(ConfigError, match="no labelled score of one model in common"):
        compare.compare("quick", ["now", "small"])


def test_other_seeds_and_other_frames_have_no_interval():
    made.scored("ped2", "two_path", 0)
    made.scored("ped2", "one_path", 0)
    made.scored("ped2", "two_path", 1, profile="small")
    made.scored("ped2", "one_path", 0, profile="small", clips=9)
    first, second = (comparison.Side(name, scored_runs.of_profile(name)) for name in ("quick", "small"))
    table = comparison.cells(first, second, protocol=PAPER, resamples=50).set_index("model")
    assert "no seed is common" in table.loc["two_path", "note"] and pd.isna(table.loc["two_path", "low"])
    assert "the test frames" in table.loc["one_path", "note"]


def test_of_a_score_all_is_kept_and_of_a_step_between_its_record():
    job = made.scored("ped2", "two_path", 0)
    features = Job("quick", "ped2", "features", "two_path", 0)
    (features.folder / "large.npy").write_text("x")
    digest = records.read(job.folder)
    execution.set_aside(job)
    execution.set_aside(features)
    assert not job.folder.exists() and (features.folder / "large.npy").exists()
    kept = records.previous(job.folder)
    assert records.read(kept, records.PREVIOUS) == digest and (kept / "scores.csv").exists()
    assert [path.name for path in records.previous(features.folder).iterdir()] == [records.PREVIOUS]
    assert all(job.step != "score" for job, _ in records.find("quick"))  # not taken for a run
