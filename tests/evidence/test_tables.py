"""Tables and verdict on hand-made records: what changes what, what is never mixed, that writings agree."""

import json
import re
import shutil
import subprocess
import sys

import made_records as made
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lib import paths
from lib.config import resolve
from lib.evaluation import protocols
from lib.evaluation.protocols import PROTOCOLS
from lib.evidence import names, scored_runs, tables, typesetting, verdict
from lib.pipeline import records
from lib.pipeline.steps import Job

PAPER = PROTOCOLS["paper"]
STEPS = resolve("quick", "ped2").autoencoder.steps
HOW = {"protocol": PAPER, "resamples": 200}
TEXT = paths.ROOT.parent / "shared" / "paper" / "paper.txt"


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """Complete records of one data set with one seed, which a test may change."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    shutil.copytree(made.complete(), tmp_path / "reports")
    return tmp_path / "reports"


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path))
    return tmp_path


def table(name="table3", protocol=PAPER, profile="quick"):
    return tables.MAKERS[name](
        scored_runs.of_profile(profile), tables.paper_results(), protocol=protocol, resamples=200
    )


def cell(found, variant, dataset="ped2"):
    rows = found.cells[(found.cells["variant"] == variant) & (found.cells["dataset"] == dataset)]
    assert len(rows) == 1
    return rows.iloc[0]


def job(variant, seed=0, dataset="ped2"):
    return Job("quick", dataset, "score", variant, seed)


def truth(scores):
    """Labels and clips of stored scores."""
    return scores["label"].to_numpy(), pd.factorize(scores["clip"])[0]


def set_auc(record, value):
    record["metrics"]["auc"] = record["metrics"]["protocols"]["paper"]["auc"] = value


def changed_cells(before, after):
    """(row or scorer, dataset, column) of every number that differs; marks and notes are not numbers."""
    numbers = before.cells.columns.difference(["marks", "notes"])
    assert len(before.cells) == len(after.cells)
    return {
        (before.cells["variant"][i] or before.cells["row"][i], column)
        for column in numbers
        for i in before.cells.index
        if before.cells[column][i] != after.cells[column][i]
        and not (pd.isna(before.cells[column][i]) and pd.isna(after.cells[column][i]))
    }


# -- the paper's numbers


def test_the_papers_numbers_are_complete():
    rows = tables.paper_results()
    count = {n: sum(row["value"] is not None for row in rows if row["table"] == n) for n in ("2", "3", "4")}
    assert count == {"2": 44, "3": 15, "4": 9}
    sums = {
        (n, d): round(sum(r["value"] or 0 for r in rows if (r["table"], r["dataset"]) == (n, d)), 3)
        for n in ("2", "3", "4")
        for d in names.PAPER_SETS
    }  # added up from the printed tables
    assert sums == {
        ("2", "ped2"): 17.862,
        ("2", "avenue"): 10.796,
        ("2", "shanghaitech"): 7.664,
        ("3", "ped2"): 4.847,
        ("3", "avenue"): 4.253,
        ("3", "shanghaitech"): 3.612,
        ("4", "ped2"): 2.920,
        ("4", "avenue"): 2.580,
        ("4", "shanghaitech"): 2.176,
    }
    assert len({(r["group"], r["row"]) for r in rows if r["table"] == "2"}) == 20


def test_the_papers_tables_agree_with_each_other():
    rows = tables.paper_results()
    for dataset in names.PAPER_SETS:

        def value(number, variant, dataset=dataset):
            return tables.paper_value(rows, number, variant, dataset)

        assert value(3, "app_intensity") == value(4, "app_intensity")
        assert all(value(2, variant) == value(3, variant) for variant in ("two_path", "app_intensity_mot"))
        assert {r["value"] for r in rows if r["row"] == "HybridAE" and r["dataset"] == dataset} == {
            r["value"] for r in rows if r["row"] == "StackRNN" and r["dataset"] == dataset
        }
    assert all(row["note"] for row in rows if row["row"] == "HybridAE")


@pytest.mark.skipif(not TEXT.exists(), reason="the paper's text is not here")
def test_the_papers_numbers_are_those_it_prints():
    text, rows = TEXT.read_text(), tables.paper_results()
    table2 = text.split("Table 2: Comp")[1].split("each appearance")[0]
    table2 = [line.split("\t") for line in table2.splitlines()]
    printed = [
        (cells[1].strip(), cells[2:]) for cells in table2 if len(cells) == 5 and re.match(r"[\d-]", cells[2])
    ]
    ours = {}
    for row in (r for r in rows if r["table"] == "2"):
        name = f"{row['row']} ({'ours' if row['cited'] == 'the paper' else row['cited']})"
        ours.setdefault((row["group"], name), []).append(
            "-" if row["value"] is None else f"{row['value']:.3f}"
        )
    assert [(name, values) for (_, name), values in ours.items()] == printed
    aucs = next(line for line in text.splitlines() if line.startswith("AUG")).split()[2:]
    table3 = [row for d in names.PAPER_SETS for row in rows if row["table"] == "3" and row["dataset"] == d]
    assert [f"{row['value']:.3f}" for row in table3] == aucs


# -- what changes what


def test_a_changed_metric_changes_only_the_cells_that_show_it(reports):
    before = {name: table(name) for name in tables.MAKERS}
    made.change(job("mot"), lambda record: set_auc(record, 0.123456))
    after = {name: table(name) for name in tables.MAKERS}
    assert changed_cells(before["table3"], after["table3"]) == {("mot", "auc"), ("mot", "difference")}
    assert not changed_cells(before["table2"], after["table2"]) and not changed_cells(
        before["table4"], after["table4"]
    )
    assert cell(after["table3"], "mot").auc == 0.123456
    assert cell(after["table3"], "mot").difference == pytest.approx(
        0.123456 - cell(before["table3"], "two_path").auc
    )
    assert "not that of the stored scores" in cell(after["table3"], "mot").notes


def test_a_changed_baseline_changes_the_differences_against_it(reports):
    before = table()
    made.change(job("two_path"), lambda record: set_auc(record, 0.5))
    flows = {(v, "difference") for v in ("app_intensity", "mot", "app_intensity_mot")}
    assert changed_cells(before, table()) == {("two_path", "auc"), ("two_path", "difference")} | flows


def test_changed_scores_change_only_the_intervals_over_them(reports):
    before = table()
    path = job("mot").folder / "scores.csv"
    scores = pd.read_csv(path)
    scores["nll_mot"] *= -1
    scores["L"] *= -1
    scores.to_csv(path, index=False)
    assert changed_cells(before, table()) == {
        ("mot", c) for c in ("low", "high", "difference_low", "difference_high")
    }
    assert (
        pd.isna(cell(table(), "mot").low)
        and "not the file that its record describes" in cell(table(), "mot").notes
    )
    made.change(job("mot"), lambda r: r["outputs"][0].update(sha256=paths.sha256_of(path)))
    found = changed_cells(before, table())
    assert found == {("mot", c) for c in ("low", "high", "difference_low", "difference_high")}
    assert cell(table(), "mot").low > 0


def test_a_deleted_record_is_not_run_in_every_writing(reports):
    (job("app_error").folder / "run.json").unlink()
    found = table("table4")
    assert cell(found, "app_error").status == "not run" and pd.isna(cell(found, "app_error").auc)
    assert re.search(r"\| Error map \| \*0\.973\* \| not run \| – \| – \|", typesetting.markdown(found))
    assert r"Error map & \textit{0.973} & not run & -- & --" in typesetting.latex(found)
    (job("two_path").folder / "run.json").unlink()
    assert pd.isna(cell(table(), "mot").difference) and "it was not run" in cell(table(), "mot").notes
    assert not pd.isna(cell(table(), "mot").auc)


def test_nothing_run_gives_the_paper_and_not_run(empty):
    for name in tables.MAKERS:
        found = table(name)
        ours = found.cells[found.cells["group"] == "this kit"]
        assert found.cells["auc"].isna().all() and (ours["status"] == "not run").all()
        assert "Not run: UCSD Ped2, CUHK Avenue, ShanghaiTech." in found.under
        assert typesetting.references_face(found) is None and typesetting.words(found) == []


# -- numbers


def test_mean_deviation_and_differences_over_seeds(empty):
    aucs = {"one_path": (0.60, 0.70, 0.65), "two_path": (0.80, 0.72, 0.82)}
    for variant, values in aucs.items():
        for seed, value in enumerate(values):
            made.change(
                made.scored("ped2", variant, seed), lambda record, value=value: set_auc(record, value)
            )
    row = cell(table(), "two_path")
    assert (row.auc, row.n) == (pytest.approx(0.78), 3)
    assert row.sd == pytest.approx(np.sqrt(((0.02) ** 2 + 0.06**2 + 0.04**2) / 2))
    assert row.difference == pytest.approx((0.20 + 0.02 + 0.17) / 3)
    (job("one_path", 1).folder / "run.json").unlink()
    row = cell(table(), "two_path")
    assert (
        row.difference == pytest.approx((0.20 + 0.17) / 2) and "over seeds 0, 2, which both have" in row.notes
    )


@pytest.mark.parametrize("name, rows", [("table3", tables.TABLE3), ("table4", tables.TABLE4)])
def test_each_row_is_compared_with_the_row_that_the_table_says(name, rows, reports):
    """Flows with two paths, two paths with one; in Table 4 all with the flow that is given nothing."""
    assert tables.TABLE4 == {"app_none": "", "app_intensity": "app_none", "app_error": "app_none"}
    assert [rows.get(model) for model in ("two_path", "app_intensity", "mot", "app_intensity_mot")] == (
        ["one_path", "two_path", "two_path", "two_path"]
        if name == "table3"
        else [None, "app_none", None, None]
    )
    found = table(name)
    aucs = {model: records.read(job(model).folder)["metrics"]["auc"] for model in rows}
    for model, against in rows.items():
        if against:
            assert cell(found, model).difference == pytest.approx(aucs[model] - aucs[against])


def test_intervals_are_those_of_the_evaluation(reports):
    runs = {v: pd.read_csv(job(v).folder / "scores.csv") for v in ("two_path", "app_intensity_mot")}
    labels, clips = runs["two_path"]["label"].to_numpy(), pd.factorize(runs["two_path"]["clip"])[0]
    whole = runs["app_intensity_mot"]
    terms = [(1.0, whole["R"].to_numpy()), (1.0, whole["L"].to_numpy())]
    baseline = runs["two_path"]["R"].to_numpy()
    expected = protocols.bootstrap_difference([terms], [baseline], labels, clips, PAPER, resamples=200)
    row = cell(table(), "app_intensity_mot")
    shown = (row.difference, row.difference_low, row.difference_high)
    assert shown == pytest.approx((expected.estimate, expected.low, expected.high))
    alone = protocols.bootstrap_auc([terms], labels, clips, PAPER, resamples=200)
    assert (row.auc, row.low, row.high) == pytest.approx((alone.estimate, alone.low, alone.high))


def test_lambda_L_of_the_record_weighs_the_terms(reports):
    def doubled(record):
        record["parameters"]["score.lambda_L"] = 2.0

    made.change(job("mot"), doubled)
    scores = pd.read_csv(job("mot").folder / "scores.csv")
    terms = [(1.0, scores["R"].to_numpy()), (2.0, scores["L"].to_numpy())]
    expected = protocols.bootstrap_auc([terms], *truth(scores), PAPER, resamples=200)
    assert cell(table(), "mot").low == pytest.approx(expected.low)


def test_other_protocols_give_other_numbers_and_say_so(reports):
    raw = scored_runs.protocol_of(normalise="none", smoothing=0.0)
    smooth = scored_runs.protocol_of(normalise="clip", smoothing=3.0)
    assert (
        scored_runs.protocol_of(normalise="clip", smoothing=0.0) is PAPER
        and raw is PROTOCOLS["micro, raw scores"]
    )
    recorded = records.read(job("mot").folder)["metrics"]["protocols"]["micro, raw scores"]["auc"]
    assert cell(table(protocol=raw), "mot").auc == recorded
    scores = pd.read_csv(job("two_path").folder / "scores.csv")
    expected = protocols.frame_auc(scores["R"].to_numpy(), *truth(scores), smooth)
    found = table(protocol=smooth)
    assert cell(found, "two_path").auc == pytest.approx(expected)
    assert "Gaussian smoothing of 3 frames" in found.under[0]
    assert (found.cells["protocol"].dropna() == str(smooth)).all()


def test_each_protocol_takes_the_likelihoods_of_its_scope(reports):
    """Where clips are not normalised by themselves, L has lambdas of one scope, if there are any."""
    full = next(r for r in scored_runs.of_profile("quick") if r.job == job("app_intensity_mot"))
    full.__dict__["scores"] = full.scores.assign(L_test=full.scores["R"] * 2, L_train=full.scores["R"] * 3)
    for named, column in (
        ("paper", "L"),
        ("macro", "L"),
        ("micro, raw scores", "L_test"),
        ("micro, set-wide", "L_test"),
        ("micro, training extremes", "L_train"),
    ):
        (_, R), (_, L) = full.terms_for(PROTOCOLS[named])
        np.testing.assert_array_equal(L, full.scores[column], err_msg=named)
    one_flow = next(r for r in scored_runs.of_profile("quick") if r.job == job("mot"))
    (_, R), (_, L) = one_flow.terms_for(PROTOCOLS["micro, set-wide"])
    np.testing.assert_array_equal(L, one_flow.scores["L"])


def test_no_interval_below_eight_clips(empty):
    made.scored("ped2", "one_path", clips=7)
    row = cell(table(), "one_path")
    assert row.auc > 0 and pd.isna(row.low) and "7 test clips" in row.notes


def test_without_labels_there_is_no_number(reports):
    made.change(job("mot"), lambda r: r["metrics"].update(auc=None, protocols={}))
    assert cell(table(), "mot").status == "no labels" and "no labels" in typesetting.markdown(table())


def test_your_own_video_without_labels_has_no_number(empty):
    made.change(
        made.scored("own", "app_intensity_mot"), lambda r: r["metrics"].update(auc=None, protocols={})
    )
    assert cell(table(), "app_intensity_mot", "own").status == "no labels"
    assert "Your own video" in typesetting.markdown(table())
    assert typesetting.absent(table()) == "Not run: UCSD Ped2, CUHK Avenue, ShanghaiTech."
    (found,), summary = judged("C5", "own")
    assert (found.verdict, found.because) == ("not tested", "no labels") and set(summary.values()) == {
        "not tested"
    }


def test_reference_scorers_stand_beside(reports):
    found = table()
    row = found.cells[found.cells["row"] == "frame position"].iloc[0]
    scores = pd.read_csv(Job("quick", "ped2", "reference", "", 0).folder / "reference.csv")[
        "frame position"
    ].to_numpy()
    labels = pd.read_csv(job("one_path").folder / "scores.csv")
    expected = protocols.bootstrap_auc([scores], *truth(labels), PAPER, resamples=200)
    assert (row.auc, row.low, row.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    assert "frame position" in typesetting.markdown(found) and "frame position" in typesetting.latex(found)


def test_where_models_look_stands_below_table_3(reports, tmp_path):
    """From records alone: one changed value changes its row, a run without labelled pixels has none."""
    assert typesetting.regions_face(table("table3")) is None
    for variant, rbdc in (("one_path", 0.2), ("two_path", 0.3)):
        made.change(
            Job("quick", "ped2", "score", variant, 0),
            lambda found, rbdc=rbdc: found["metrics"].update(regions={"rbdc": rbdc, "tbdc": None}),
        )
    made.change(
        Job("quick", "ped2", "reference", "", 0),
        lambda found: found["metrics"].update(regions={"frame difference": {"rbdc": 0.1, "tbdc": 0.4}}),
    )
    made_table = table("table3")
    places = typesetting.regions_face(made_table)
    assert places.rows == [
        ["One path (appearance)", "0.200", "–", "1"],
        ["Two paths (+ motion)", "0.300", "–", "1"],
        ["frame difference", "0.100", "0.400", "1"],
    ]
    assert places.blocks == ["UCSD Ped2"] * 3
    assert "regions.csv" in typesetting.write(
        made_table, tmp_path
    ) and typesetting.REGIONS in typesetting.markdown(made_table)
    assert typesetting.regions_face(table("table4")) is None


def test_the_generated_set_has_a_dash_for_the_paper(empty):
    made.scored("synthetic", "one_path")
    found = table()
    assert cell(found, "one_path", "synthetic").paper is None or pd.isna(
        cell(found, "one_path", "synthetic").paper
    )
    assert found.cells.iloc[0]["dataset"] == "synthetic" and typesetting.face(found).rows[0][1] == "–"


# -- what is never mixed


def rows_of(found, variant):
    return found.cells[(found.cells["variant"] == variant) & (found.cells["dataset"] == "ped2")]


def test_seeds_trained_otherwise_are_not_averaged(empty):
    for seed, settings in ((0, None), (1, {"autoencoder.steps": 7}), (2, None)):
        made.scored("ped2", "two_path", seed, settings=settings)
        made.scored("ped2", "one_path", seed)
    rows = rows_of(table(), "two_path")
    assert list(rows["n"]) == [2, 1] and list(rows["seeds"]) == ["0 2", "1"]
    assert f"autoencoder.steps is {STEPS} against 7" in rows.iloc[1]["notes"]
    assert list(rows["row"]) == ["Two paths (+ motion)"] * 2
    assert list(rows["separate"]) == ["seeds 0, 2", "seed 1"]
    assert re.search(r"\| Two paths \(\+ motion\) \(seed 1\) \|", typesetting.markdown(table()))
    whole = dict(typesetting.words(table()))["UCSD Ped2"]
    assert whole[1].startswith("Two paths (seed 1): ") and "cannot be compared" in whole[1]
    two = typesetting.face(table("table2"))
    row = next(row for row in two.rows if row[0] == "ITAE" and row[-1] == "this kit")
    assert "n = 2 (seeds 0, 2) [" in row[1] and "; " in row[1] and "n = 1 (seed 1) [" in row[1]
    # one path of seed 1 was trained as seeds 0 and 2 of two paths were, and not as its own seed of two paths
    assert pd.isna(rows.iloc[1]["difference"]) and "not compared" in rows.iloc[1]["notes"]
    assert f"autoencoder.steps is {STEPS} against 7" in typesetting.markdown(table())


def test_code_versions_and_subsets_are_not_mixed(empty):
    made.scored("ped2", "one_path", 0)
    made.scored("ped2", "one_path", 1, code="2")
    made.scored("ped2", "one_path", 2, subset=True)
    rows = rows_of(table(), "one_path")
    assert list(rows["n"]) == [1, 1, 1] and list(rows["subset"]) == [False, False, True]
    assert "module made_score of score is of two versions" in rows.iloc[1]["notes"]
    assert "subset is false against true" in rows.iloc[2]["notes"] and pd.isna(rows.iloc[2]["low"])
    assert typesetting.markdown(table()).count("(subset)") == 1


def test_a_module_that_only_one_of_two_seeds_stands_on_is_a_difference(empty):
    """After a module was added or taken away, seeds from before and after are not averaged."""
    for seed in (0, 1):
        made.scored("ped2", "one_path", seed)
    path = Job("quick", "ped2", "score", "one_path", 1).folder / "run.json"
    record = json.loads(path.read_text())
    record["code"] |= {"density": "abc"}
    path.write_text(json.dumps(record))
    rows = rows_of(table(), "one_path")
    assert list(rows["n"]) == [1, 1] and "module density is under one score only" in rows.iloc[1]["notes"]


def test_profiles_are_not_mixed(empty):
    for profile in ("quick", "small"):
        made.scored("ped2", "one_path", 0, profile=profile)
    both = scored_runs.of_profile("quick") + scored_runs.of_profile("small")
    first, other = both
    assert any(
        said.startswith("profile is quick against small") for said in scored_runs.differences(first, other)
    )
    assert len(scored_runs.apart(both)) == 2
    rows = tables.table3(both, tables.paper_results(), **HOW).cells.query(
        "variant == 'one_path' and dataset == 'ped2'"
    )
    assert list(rows["profile"]) == ["quick", "small"]


def test_how_it_was_computed_is_no_difference(empty):
    made.scored("ped2", "one_path", 0)
    made.scored("ped2", "one_path", 1, settings={"machine.threads": 2}, commit="deadbee")
    row = cell(table(), "one_path")
    assert row.n == 2 and row.commits == "c0ffee0 deadbee"


def test_another_precision_is_a_difference(empty):
    for seed, precision in enumerate(("float32", "bfloat16")):
        made.scored("ped2", "one_path", seed, settings={"machine.precision": precision})
    rows = rows_of(table(), "one_path")
    assert list(rows["n"]) == [1, 1]
    assert "machine.precision is float32 against bfloat16" in rows.iloc[1]["notes"]


def test_other_data_is_a_difference(empty):
    made.scored("ped2", "one_path", 0)
    made.change(made.scored("ped2", "one_path", 1), lambda r: r["inputs"].update({"ped2/prepare": "another"}))
    rows = rows_of(table(), "one_path")
    assert len(rows) == 2 and "the prepared data is of two versions" in rows.iloc[1]["notes"]


def test_runs_beneath_that_changed_are_named(reports):
    made.change(Job("quick", "ped2", "flow", "mot", 0), lambda r: r["metrics"].update(loss=1.0))
    found = table()
    assert "no longer exist: ped2/flow/mot/seed0" in cell(found, "mot").notes
    assert not cell(found, "two_path").notes


# -- writings


def numbers_in(text):
    return re.findall(r"[+-]?\d\.\d{3}(?!\d)", text.replace("−", "-").replace("$-$", "-"))


@pytest.mark.parametrize("name", tables.MAKERS)
def test_csv_markdown_and_latex_say_the_same(name, reports, tmp_path):
    made.scored("ped2", "one_path", 1)
    made.scored("ped2", "two_path", 1)
    found = table(name)
    assert typesetting.write(found, tmp_path / "out") == [f"{name}.csv", f"{name}.md", f"{name}.tex"]
    written = pd.read_csv(tmp_path / "out" / f"{name}.csv")
    markdown, latex = ((tmp_path / "out" / f"{name}.{kind}").read_text() for kind in ("md", "tex"))
    page = "".join(
        typesetting.html_table(f) for f in (typesetting.face(found), typesetting.references_face(found))
    )
    styled = typesetting.styled(typesetting.face(found)).to_html()
    assert numbers_in(markdown) == numbers_in(latex) == numbers_in(page) and len(numbers_in(markdown)) > 20
    assert numbers_in(styled) == numbers_in(page)[: len(numbers_in(styled))]
    plain = ["paper", "auc", "sd", "low", "high"]
    expected = [f"{v:.3f}" for column in plain for v in written[column].dropna()]
    if (
        name == "table2"
    ):  # the paper's numbers of our two models have rows of their own, so they are not printed twice
        expected = [
            f"{v:.3f}"
            for column in plain
            for v in written.loc[written["cited"].notna() | (column != "paper"), column].dropna()
        ]
    else:
        expected += [
            f"{v:+.3f}"
            for column in ("difference", "difference_low", "difference_high", "paper_difference")
            for v in written[column].dropna()
        ]
    assert sorted(numbers_in(markdown)) == sorted(expected)
    assert written.loc[written["auc"].notna(), "runs"].notna().all()
    for run in written["runs"].dropna().str.split().explode():
        assert (paths.report("quick") / "runs" / run / "run.json").exists() and run in markdown
    for text in (markdown, latex):
        assert "min-max per clip" in text and "c0ffee0" in text and "profile quick" in text


def test_latex_is_balanced_and_escaped(reports):
    text = typesetting.latex(table("table2"))
    assert text.count(r"\begin{") == text.count(r"\end{") == 3
    body = re.sub(r"\\[%&_#${}]", "", text.partition("\n")[2])
    assert "_" not in re.sub(r"\$.*?\$", "", body) and "%" not in body and body.count("{") == body.count("}")
    rows = body.split(r"\toprule")[1].split(r"\bottomrule")[0].splitlines()
    widths = {line.count(" & ") for line in rows if line.endswith(r"\\")}
    assert len(widths) == 1


def test_the_odd_row_of_the_paper_has_a_footnote(empty):
    found = table("table2")
    assert re.search(r"\| HybridAE ᵃ \|", typesetting.markdown(found)) and "StackRNN row" in found.notes[0]
    assert "<sup>a</sup>" in typesetting.html_table(typesetting.face(found))


def test_words_follow_from_the_cells(reports):
    ((_, said),) = typesetting.words(table())
    assert said[0].startswith("Two paths: ") and "does not contain 0" in said[0] + said[1]
    assert "less than the best row" in said[-1]
    made.change(job("app_intensity"), lambda r: set_auc(r, cell(table(), "two_path").auc - 0.1))
    ((_, said),) = typesetting.words(table())
    assert "0.100 below two paths" in said[1]


def test_letters_of_footnotes():
    assert [tables.mark(i) for i in (0, 25, 26, 27, 51, 52)] == ["a", "z", "aa", "ab", "az", "ba"]


# -- verdict


@pytest.mark.parametrize(
    "ours, low, high, sign, expected",
    [
        (0.02, 0.01, 0.03, 1, "replicated"),
        (0.02, -0.01, 0.03, 1, "not established"),
        (0.02, None, None, 1, "not established"),
        (-0.02, -0.04, 0.01, 1, "not replicated"),
        (0.0, -0.01, 0.01, 1, "not replicated"),
        (-0.02, -0.03, -0.01, -1, "replicated"),
        (-0.02, -0.03, 0.0, -1, "not established"),
        (0.02, 0.01, 0.03, -1, "not replicated"),
    ],
)
def test_the_rule_for_differences(ours, low, high, sign, expected):
    assert verdict.judge_difference(ours, low, high, sign)[0] == expected


@pytest.mark.parametrize(
    "ours, low, high, expected",
    [
        (0.98, 0.97, 0.99, "replicated"),
        (0.9631, 0.95, 0.97, "replicated"),
        (0.964, 0.95, 0.97, "replicated"),
        (0.962, 0.95, 0.97, "not replicated"),
        (0.955, None, None, "not replicated"),
        (0.95, 0.92, 0.98, "not established"),
        (0.90, 0.85, 0.95, "not replicated"),
        (0.90, None, None, "not replicated"),
    ],
)
def test_the_rule_for_an_auc(ours, low, high, expected):
    assert verdict.judge_auc(ours, low, high, 0.973)[0] == expected


@pytest.mark.parametrize(
    "parts, expected",
    [
        (["replicated", "not replicated", "not established"], "not replicated"),
        (["replicated", "not established", "not tested"], "not established"),
        (["replicated", "replicated"], "replicated"),
        (["not tested", "replicated"], "replicated where tested"),
        (["not tested"], "not tested"),
    ],
)
def test_a_claim_is_worth_its_worst_part(parts, expected):
    """Whatever the order of its parts; what is found on a set without numbers of the paper does not count."""
    for order in (parts, parts[::-1]):
        found = [verdict.Finding("C1", "", "avenue", verdict=part) for part in order]
        found.append(verdict.Finding("C1", "", "synthetic", verdict="not replicated"))
        assert verdict.overall(found)["C1"] == expected


def test_the_rule_for_the_largest():
    def finding(ours, low):
        return verdict.Finding("C1", "", "", ours=ours, low=low, verdict=verdict.REPLICATED)

    small = {"ped2": finding(0.01, 0.0), "shanghaitech": finding(0.02, 0.01)}
    assert verdict.judge_largest(small | {"avenue": finding(0.05, 0.03)}, "avenue")[0] == "replicated"
    assert verdict.judge_largest(small | {"avenue": finding(0.05, 0.015)}, "avenue")[0] == "not established"
    assert verdict.judge_largest(small | {"avenue": finding(0.015, 0.01)}, "avenue")[0] == "not replicated"
    assert verdict.judge_largest(small, "avenue")[0] == "not tested"


def findings():
    runs = scored_runs.of_profile("quick")
    made_tables = {name: table(name) for name in tables.MAKERS}
    return verdict.findings(runs, tables.paper_results(), made_tables, **HOW)


def judged(claim, dataset="ped2"):
    found = findings()
    return [f for f in found if (f.claim, f.dataset) == (claim, dataset)], verdict.overall(found)


def test_claims_are_judged_by_the_cells(reports):
    (first,), summary = judged("C1")
    row = cell(table(), "two_path")
    assert (first.ours, first.low, first.high) == (row.difference, row.difference_low, row.difference_high)
    assert first.verdict == "replicated" and summary["C1"] == "replicated where tested"
    assert {f.verdict for f in judged("C1", "avenue")[0]} == {"not tested"}
    intensity, error = judged("C4")[0]
    assert (
        intensity.verdict != "not tested"
        and error.verdict == "not tested"
        and "no such difference" in error.because
    )
    made.change(job("two_path"), lambda r: set_auc(r, 0.1))
    assert judged("C1")[0][0].verdict == "not replicated" and judged("C1")[1]["C1"] == "not replicated"


def test_subsets_and_the_generated_set_test_nothing(empty):
    for variant in ("one_path", "two_path"):
        made.scored("ped2", variant, subset=True)
        made.scored("synthetic", variant)
    for dataset, why in (("ped2", "subset"), ("synthetic", "no number for this set")):
        (found,), summary = judged("C1", dataset)
        assert found.verdict == "not tested" and why in found.because and found.ours is not None
    assert set(summary.values()) == {"not tested"}


def test_motion_anomalies_are_judged_by_their_frames(empty, tmp_path, monkeypatch):
    run = made.scored("synthetic", "app_intensity_mot")
    scores = pd.read_csv(run.folder / "scores.csv")
    moving = scores["clip"].isin([f"Test{i:03d}" for i in (1, 2, 3, 4)]) & (scores["label"] == 1)
    scores["nll_mot"] = np.where(moving, 10.0, 0.0) + scores["frame"] / 100
    scores["nll_app"] = np.where(moving, 0.0, 10.0 * scores["label"]) - scores["frame"] / 100
    scores.to_csv(run.folder / "scores.csv", index=False)
    made.change(run, lambda r: r["outputs"][0].update(sha256=paths.sha256_of(run.folder / "scores.csv")))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "prepared").mkdir()
    tracks = scores.loc[scores["label"] == 1, ["clip", "frame"]].assign(
        kind=lambda t: np.where(t["clip"].isin([f"Test{i:03d}" for i in (1, 2, 3, 4)]), "running", "cart")
    )
    tracks.to_csv(tmp_path / "prepared" / "tracks.csv", index=False)
    made.change(Job("quick", "synthetic", "prepare"), lambda r: r.update(notes={"prepared": "prepared"}))
    (found,), _ = judged("C3", "synthetic")
    frames = scores[moving | (scores["label"] == 0)]
    aucs = []
    for column in (
        "nll_mot",
        "nll_app",
    ):  # normalised within each whole clip, then normal frames and those of motion
        spread = scores.groupby("clip")[column].transform(lambda v: (v - v.min()) / (v.max() - v.min()))[
            frames.index
        ]
        normal, abnormal = spread[frames["label"] == 0].to_numpy(), spread[frames["label"] == 1].to_numpy()
        aucs.append(np.mean((abnormal[:, None] > normal) + (abnormal[:, None] == normal) / 2))
    assert found.ours == pytest.approx(aucs[0] - aucs[1]) and found.ours > 0 and found.verdict == "not tested"


def test_deviations_are_named(empty):
    made.scored("ped2", "two_path", settings={"loss.l2_weight": 0.25})
    found = verdict.deviations(scored_runs.of_profile("quick"), "ped2").set_index("parameter")
    assert list(found.loc["loss.l2_weight"]) == ["0.25", "1.0", "the paper"]
    assert "kit" in found.loc["autoencoder.steps", "stated by"] and "model.tau" not in found.index
    assert "machine.threads" not in found.index


def test_readings_are_literal_selected_or_neither(empty, monkeypatch):
    chosen = {
        "loss.l2": {"value": "mean_square", "literal": "window_norm", "record": "data/selection/ped2.csv:3"},
        "autoencoder.steps": {"value": 7, "literal": STEPS, "record": "data/selection/ped2.csv:9"},
    }
    monkeypatch.setattr(verdict, "selected", lambda dataset: chosen if dataset == "ped2" else {})
    settings = {"loss.l2": "mean_square", "features.time": "mean"}
    made.scored("ped2", "app_intensity_mot", settings=settings)
    runs = scored_runs.of_profile("quick")
    found = verdict.choices(runs, "ped2").set_index("choice")
    assert list(found.loc["loss.l2"]) == [
        "mean_square",
        "window_norm",
        "selected",
        "data/selection/ped2.csv:3",
    ]
    assert list(found.loc["features.time"])[2:] == ["neither", ""]
    assert (
        found.loc["score.error", "kind"] == "literal" and found.loc["score.lambda_scope", "kind"] == "literal"
    )
    assert found.loc["score.reduce", "kind"] == "literal", "patches are what the paper states on UCSD"
    assert "machine.device" not in found.index and "autoencoder.weights" not in found.index
    assert found.loc["autoencoder.steps", "kind"] == "literal"  # selected, but the runs have the other value
    said = verdict.told_choices(verdict.choices(runs, "ped2"))
    assert "selected: `loss.l2` mean_square (literal: window_norm)" in said
    assert "neither: `features.time` mean (literal: stack)" in said and "`score.error`" in said
    assert said in verdict.markdown([verdict.Finding("C1", "", "ped2", n=1)], runs, "")
    assert verdict.choices(runs, "avenue").empty


def test_where_it_is_won_and_lost(empty):
    """Within each clip, a mean over seeds; a clip of one kind has no AUC of its own and weighs on all."""
    jobs = [made.scored("avenue", "one_path", seed, call="{:02d}") for seed in (0, 1)]
    for job in jobs:
        table = pd.read_csv(job.folder / "scores.csv", dtype={"clip": str})
        table.loc[table["clip"] == "03", "label"] = 1
        table.to_csv(job.folder / "scores.csv", index=False)
        digest = paths.sha256_of(job.folder / "scores.csv")
        made.change(
            job,
            lambda r, digest=digest: (
                r["outputs"][0].update(sha256=digest),
                r["metrics"]["by_clip"].update({"03": None}),
            ),
        )
    found = verdict.clip_by_clip(scored_runs.of_profile("quick"), "avenue", HOW["protocol"]).set_index("clip")
    assert list(found.columns) == ["abnormal", "one_path"] and list(found.index[:3]) == ["01", "02", "03"]
    aucs, together = [], []
    for seed in (0, 1):
        table = made.scores("one_path", seed, call="{:02d}")
        own = table[table["clip"] == "02"]
        aucs.append(roc_auc_score(own["label"], own["R"]))
        spread = table.groupby("clip")["R"].transform(lambda v: (v - v.min()) / (v.max() - v.min()))[
            table["clip"] != "03"
        ]
        together.append(roc_auc_score(table.loc[spread.index, "label"], spread))
    assert found.loc["02", "one_path"] == pytest.approx(np.mean(aucs))
    assert np.isnan(found.loc["03", "one_path"]) and found.loc["03", "abnormal"] == 1
    assert found.loc["02", "abnormal"] == made.scores("one_path", 0)["label"].mean()
    assert found.loc[verdict.BOTH_KINDS, "one_path"] == pytest.approx(np.mean(together))
    assert found.loc[verdict.ALL, "one_path"] == pytest.approx(
        np.mean([records.read(j.folder)["metrics"]["auc"] for j in jobs])
    )
    assert verdict.clip_by_clip(scored_runs.of_profile("quick"), "ped2", HOW["protocol"]).empty


def test_the_verdict_is_written(reports, tmp_path):
    runs = scored_runs.of_profile("quick")
    found = findings()
    assert verdict.write(found, runs, "the protocol", tmp_path / "out", HOW["protocol"]) == [
        "verdict.csv",
        "verdict.md",
        "clips.csv",
    ]
    text = (tmp_path / "out" / "verdict.md").read_text()
    assert all(f"**{claim}: " in text for claim in verdict.CLAIMS)
    assert "the protocol" in text and f"`autoencoder.steps` {STEPS}" in text
    assert len(pd.read_csv(tmp_path / "out" / "verdict.csv")) == len(found)


# -- notebooks


@pytest.mark.parametrize("notebook", ["09_table2", "10_table3", "11_table4", "13_verdict"])
def test_the_notebooks_run_by_hand_and_leave_the_pipelines_tables_alone(notebook, reports, capsys):
    cells = json.loads((paths.NOTEBOOKS / f"{notebook}.ipynb").read_text())["cells"]
    space = {}
    for source in ("".join(c["source"]) for c in cells if c["cell_type"] == "code"):
        exec(compile(source, notebook, "exec"), space)
    said = capsys.readouterr().out
    assert "✓" in said and "✗" not in said and "by hand" in said
    assert not paths.tables("quick").exists()
    assert list(paths.report("quick").glob("by_hand/all/*/*.md"))


def test_tables_need_no_torch():
    code = (
        "import sys; from lib.evidence import scored_runs, stored_tables, tables, typesetting, verdict; "
        "from lib.pipeline import notebook_run; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT).returncode == 0
