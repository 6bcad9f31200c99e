"""Tables 2, 3 and 4: the paper's numbers, ours from records and stored scores, and the differences.

A table is made in two steps: `cells`, one row per number with everything known about it (the csv), and from
these the table for people (Markdown, LaTeX, notebook, report), rounded to the paper's three digits. Every
number shown is in a cell. Rules:

* Only seeds run under the same conditions are averaged (`scored_runs.apart`); others get a row of their own,
  with a note that says what differs.
* A change is computed between runs with the same seeds and conditions; otherwise a note says why there is
  none.
* What was not run is marked as such.
"""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib import paths
from lib.evaluation import protocols
from lib.evaluation.protocols import MIN_CLIPS, Protocol
from lib.evidence import names
from lib.evidence.names import PAPER_SETS
from lib.evidence.scored_runs import Result, apart, differences, interval, interval_of_difference

TITLES = {
    "table2": "Table 2. Comparison with other methods, frame-level AUC",
    "table3": "Table 3. What the motion path and the two flows add, frame-level AUC",
    "table4": "Table 4. Additional information for the appearance flow, frame-level AUC",
}
# Each row and the row that it is compared with.
TABLE3 = {
    "one_path": "",
    "two_path": "one_path",
    "app_intensity": "two_path",
    "mot": "two_path",
    "app_intensity_mot": "two_path",
}
TABLE4 = {"app_none": "", "app_intensity": "app_none", "app_error": "app_none"}
ROWS = {"table2": tuple(names.TABLE2), "table3": tuple(TABLE3), "table4": tuple(TABLE4)}
CHANGES = {
    "table3": "The change of the second row is against the first (the motion path); of the rows with flows, "
    "against the second.",
    "table4": "Changes are against the row without additional information.",
}
FIELDS = (
    "table",
    "dataset",
    "group",
    "row",
    "separate",
    "variant",
    "paper",
    "auc",
    "sd",
    "n",
    "low",
    "high",
    "against",
    "difference",
    "difference_low",
    "difference_high",
    "paper_difference",
    "status",
    "subset",
    "marks",
    "notes",
    "cited",
    "profile",
    "protocol",
    "seeds",
    "commits",
    "runs",
)
NUMBERS = (
    "paper",
    "auc",
    "sd",
    "n",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "paper_difference",
)


@dataclass(frozen=True)
class Table:
    """`cells` has one row per number and columns FIELDS: NUMBERS are floats, "subset" is bool, the rest text.

    `notes` are the footnotes a, b, c...; `under` the lines beneath; `regions`, only in Table 3, the
    localisation results of `regions_of`.
    """

    name: str
    cells: pd.DataFrame
    notes: tuple[str, ...]
    under: tuple[str, ...]
    regions: pd.DataFrame | None = None

    @property
    def title(self) -> str:
        return TITLES[self.name]


# -- the paper's numbers -------------------------------------------------------------------------------------


def paper_results(path: Path = paths.PAPER_RESULTS) -> list[dict]:
    """The rows of data/paper_results.csv; value is a number, or None if the paper prints a dash."""
    with open(path, encoding="utf-8", newline="") as file:
        return [
            row | {"value": float(row["value"]) if row["value"] else None} for row in csv.DictReader(file)
        ]


def paper_value(paper: list[dict], table: int, variant: str, dataset: str) -> float | None:
    """The number of one of our models in a table of the paper; None if there is none."""
    return next(
        (
            row["value"]
            for row in paper
            if row["table"] == str(table) and row["variant"] == variant and row["dataset"] == dataset
        ),
        None,
    )


# -- cells ---------------------------------------------------------------------------------------------------


def _mean(values) -> float:
    return float(np.mean(list(values)))


def seeds_of(group) -> str:
    """The seeds of a group as text: "seed 0" or "seeds 0, 1"."""
    seeds = list(dict.fromkeys(r.job.seed for r in group))
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _why_no_interval(group: tuple[Result, ...]) -> str:
    trouble = next((r.trouble for r in group if r.trouble), "")
    if trouble or any(r.subset for r in group):
        return f"no interval: {trouble}" if trouble else ""
    clips = len(set(group[0].clips))
    return f"no interval: there are {clips} test clips, and resampling fewer than {MIN_CLIPS} is meaningless"


def _describe(group: list[Result]) -> dict:
    """The fields of a cell that describe its runs."""
    return {
        "n": len(group),
        "subset": any(r.subset for r in group),
        "profile": group[0].job.profile,
        "seeds": " ".join(str(r.job.seed) for r in group),
        "commits": " ".join(dict.fromkeys(r.commit for r in group)),
        "runs": " ".join(r.job.name for r in group),
    }


def _conditions(group: list[Result]) -> list[str]:
    """Notes on a group of runs."""
    said = [
        f"{r.job.name} was made from results that no longer exist: {', '.join(r.changed)}"
        for r in group
        if r.changed
    ]
    if any(r.subset for r in group):
        said.append("subset: made from a part of the data set, so not comparable with the paper")
    if any(r.record.get("by_hand") for r in group):
        said.append("run by hand, so without a record of how the runs beneath it were made")
    return said


def measured(
    results,
    dataset: str,
    variant: str,
    *,
    protocol: Protocol,
    resamples: int,
    against: str = "",
    label: str = "",
) -> list[dict]:
    """The cells of one of our models on one data set: one for each group of seeds run under the same
    conditions.

    Without runs there is one cell whose status says so. `against` is the variant whose AUC is subtracted;
    `label` is the name of the row, if not that of Table 3. With several groups, `separate` names the seeds of
    each.
    """

    def runs(name):
        return [
            r for r in results if r.job.step == "score" and r.job.dataset == dataset and r.job.variant == name
        ]

    row = {
        "dataset": dataset,
        "group": "this kit",
        "row": label or names.MODELS[variant].row,
        "separate": "",
        "variant": variant,
        "against": against,
        "protocol": str(protocol),
        "status": "",
        "said": [],
    }
    everything = runs(variant)
    groups = apart(r for r in everything if r.labelled)
    if not groups:
        return [row | {"status": everything[0].why_no_auc if everything else "not run"}]
    cells = []
    for group in groups:
        cell = row | _describe(group) | {"said": _conditions(group)}
        if len(groups) > 1:
            cell["separate"] = seeds_of(group)
        aucs = {r.job.seed: r.auc(protocol) for r in group}
        spread = float(np.std(list(aucs.values()), ddof=1)) if len(aucs) > 1 else None
        cell |= {"auc": _mean(aucs.values()), "sd": spread}
        found = interval(tuple(group), protocol, resamples)
        if found:
            cell |= {"low": found.low, "high": found.high}
            if abs(found.estimate - cell["auc"]) > max(r.rounding for r in group):
                cell["said"].append(
                    f"the AUC on record is not that of the stored scores, {found.estimate:.3f}"
                )
        elif said := _why_no_interval(tuple(group)):
            cell["said"].append(said)
        if group is not groups[0]:
            cell["said"].append(
                f"not averaged with {seeds_of(groups[0])}: " + "; ".join(differences(groups[0][0], group[0]))
            )
        if against:
            cell |= _difference(
                cell, group, apart(r for r in runs(against) if r.labelled), protocol, resamples
            )
        cells.append(cell)
    return cells


def _difference(cell: dict, group: list[Result], baselines: list[list[Result]], protocol, resamples) -> dict:
    """The fields of a cell that compare it, paired by seed, with the baseline run under the same
    conditions."""
    said, name = list(cell["said"]), names.MODELS[cell["against"]].row
    equal = [b for b in baselines if not differences(b[0], group[0])]
    if not equal:
        why = "; ".join(differences(baselines[0][0], group[0])) if baselines else "it was not run"
        return {"said": said + [f'not compared with "{name}": {why}']}
    pairs = [(a, b) for a in group for b in equal[0] if a.job.seed == b.job.seed]
    if not pairs:
        return {"said": said + [f'not compared with "{name}": no seed is common to both']}
    if len(pairs) < max(len(group), len(equal[0])):
        said.append(f'compared with "{name}" over {seeds_of([a for a, _ in pairs])}, which both have')
    mine, theirs = (tuple(side) for side in zip(*pairs))
    found = interval_of_difference(mine, theirs, protocol, resamples)
    return {
        "said": said,
        "difference": _mean(a.auc(protocol) - b.auc(protocol) for a, b in pairs),
        "difference_low": found.low if found else None,
        "difference_high": found.high if found else None,
    }


def references(results, dataset: str, *, protocol: Protocol, resamples: int) -> list[dict]:
    """The cells of the reference scorers on one data set. Labels come from a score run on the same frames."""
    cells, shown = [], protocol
    # for a single score it only changes the scale, and not the AUC over pooled frames
    if protocol.normalise == "train":
        protocol = dataclasses.replace(protocol, normalise="none")
    for group in apart(r for r in results if r.job.step == "reference" and r.job.dataset == dataset):
        partner = _with_labels_of(results, group[0])
        usable = partner is not None and not any(r.trouble for r in group)
        for scorer in group[0].record["metrics"]["aucs"]:
            cell = {
                "dataset": dataset,
                "group": "reference scorer",
                "row": scorer,
                "variant": "",
                "status": "",
                "protocol": str(shown),
                "said": _conditions(group),
            } | _describe(group)
            if protocol == protocols.PROTOCOLS["paper"]:
                aucs = [r.record["metrics"]["aucs"][scorer] for r in group]
            elif usable:
                aucs = [
                    protocols.frame_auc(r.scores[scorer].to_numpy(), partner.labels, partner.clips, protocol)
                    for r in group
                ]
            else:
                cells.append(cell | {"status": "no stored scores"})
                continue
            cell |= {"auc": _mean(aucs), "sd": float(np.std(aucs, ddof=1)) if len(aucs) > 1 else None}
            if usable and not cell["subset"]:
                scores = [r.scores[scorer].to_numpy() for r in group]
                found = protocols.bootstrap_auc(
                    scores, partner.labels, partner.clips, protocol, resamples=resamples
                )
                if found:
                    cell |= {"low": found.low, "high": found.high}
            cells.append(cell)
    return cells


def _with_labels_of(results, reference: Result) -> Result | None:
    """A labelled score run on the same frames as a reference run; None if there is none."""
    key = ("", "the prepared data")
    for result in results:
        if result.job.step != "score" or result.job.dataset != reference.job.dataset:
            continue
        same_frames = result.conditions.get(key) == reference.conditions.get(key)
        if same_frames and result.labelled and not result.trouble:
            return result
    return None


def regions_of(results) -> pd.DataFrame:
    """RBDC and TBDC of models without flows and of the frame difference, one row each.

    Columns are dataset, row, separate, rbdc, rbdc_sd, tbdc, tbdc_sd, n, subset, runs. Only runs with labelled
    pixels count; runs under other conditions have rows of their own, with their seeds in `separate`.
    """
    rows = []
    for dataset in order_of(results):
        for variant, label in (
            ("one_path", names.MODELS["one_path"].row),
            ("two_path", names.MODELS["two_path"].row),
            ("", "frame difference"),
        ):
            step = "score" if variant else "reference"
            found = [
                r
                for r in results
                if (r.job.step, r.job.dataset, r.job.variant) == (step, dataset, variant)
                and r.record["metrics"].get("regions")
            ]
            groups = apart(found)
            for group in groups:
                values = [r.record["metrics"]["regions"] for r in group]
                values = values if variant else [v[label] for v in values]
                row = {
                    "dataset": dataset,
                    "row": label,
                    "separate": seeds_of(group) if len(groups) > 1 else "",
                }
                for name in ("rbdc", "tbdc"):
                    numbers = [v[name] for v in values if v[name] is not None]
                    row |= {
                        name: _mean(numbers) if numbers else None,
                        f"{name}_sd": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
                    }
                rows.append(
                    row
                    | {
                        "n": len(group),
                        "subset": any(r.subset for r in group),
                        "runs": " ".join(r.job.name for r in group),
                    }
                )
    return pd.DataFrame(
        rows,
        columns=("dataset", "row", "separate", "rbdc", "rbdc_sd", "tbdc", "tbdc_sd", "n", "subset", "runs"),
    )


def mark(index: int) -> str:
    """The letters of a footnote: a to z, then aa, ab..."""
    return (mark(index // 26 - 1) if index >= 26 else "") + chr(ord("a") + index % 26)


def order_of(results) -> list[str]:
    """Data sets in the order of a table: those that were run first, then the paper's others."""
    run = {r.job.dataset for r in results if r.job.step == "score"}
    return [d for d in names.DATASETS if d in run] + [d for d in PAPER_SETS if d not in run]


def _table(name: str, results, cells: list[dict], protocol: Protocol, resamples: int) -> Table:
    """A table from its cells: numbers the notes and writes the lines beneath."""
    notes = list(dict.fromkeys(said for cell in cells for said in cell["said"]))
    rows = [
        cell
        | {
            "table": name,
            "notes": "; ".join(cell["said"]),
            "marks": " ".join(mark(notes.index(said)) for said in cell["said"]),
        }
        for cell in cells
    ]
    frame = pd.DataFrame(rows).reindex(columns=FIELDS).astype(dict.fromkeys(NUMBERS, float))
    text = frame.columns.difference([*NUMBERS, "subset"])
    frame[text] = frame[text].fillna("").astype(str)
    frame["subset"] = frame["subset"].eq(True)
    under = [
        f"Frame-level ROC AUC, {protocol}.",
        "± is the standard deviation over n seeds of the networks; brackets are 95 % intervals from "
        f"{resamples} resamples of the test clips, the same for all rows and seeds. An interval of a change "
        "is that of paired values; where it contains 0, the change may be chance.",
    ]
    if name in CHANGES:
        under.append(CHANGES[name])
    absent, without = [], []
    for dataset in order_of(results):
        cells_of = frame[frame["dataset"] == dataset]
        numbers = cells_of[cells_of["auc"].notna()]
        if not numbers.empty:
            under.append(_provenance(numbers, results, dataset))
            continue
        why = next((status for status in cells_of["status"] if status not in ("", "not run")), "")
        if why:
            without.append(f"{names.DATASETS[dataset]} ({why})")
        else:
            absent.append(names.DATASETS[dataset])
    if absent:
        under.append(f"Not run: {', '.join(absent)}.")
    if without:
        under.append(f"No AUC: {', '.join(without)}.")
    return Table(name, frame, tuple(notes), tuple(under))


def _provenance(cells: pd.DataFrame, results, dataset: str) -> str:
    """The provenance of a data set's numbers, in one line."""
    jobs = list(dict.fromkeys(run for runs in cells["runs"] for run in runs.split()))
    mine = [r for r in results if r.job.name in jobs]
    said = [f"profile {', '.join(dict.fromkeys(r.job.profile for r in mine))}"]
    whole = next((r for r in mine if r.job.step == "score" and not r.trouble), None)
    if whole:
        said.append(
            f"{whole.clips.max() + 1} test clips, {len(whole.labels):,} frames, "
            f"{int(whole.labels.sum()):,} of them abnormal"
        )
        if dataset == "avenue" and "data.avenue_labels" in whole.parameters():
            said.append(f"labels: {whole.parameters()['data.avenue_labels']}")
    if any(r.subset for r in mine):
        said.append("subset")
    said.append(seeds_of(mine))
    commits = list(dict.fromkeys(r.commit for r in mine))
    said.append(f"commit {', '.join(commits)}{_about_commit(*commits)}")
    return f"{names.DATASETS[dataset]}: {'; '.join(said)}. Runs: {', '.join(jobs)}."


def _about_commit(*commits: str) -> str:
    """The meaning of the + after a commit, if there is one."""
    return " (+: with other changes)" if any(commit.endswith("+") for commit in commits) else ""


def table2(results, paper: list[dict], *, protocol: Protocol, resamples: int) -> Table:
    """The paper's rows as printed, our two models as measured, and the reference scorers."""
    cells = [
        {
            "dataset": row["dataset"],
            "group": row["group"],
            "row": row["row"],
            "variant": "",
            "paper": row["value"],
            "status": "",
            "cited": row["cited"],
            "said": [row["note"].rstrip(".")] if row["note"] else [],
        }
        for row in paper
        if row["table"] == "2"
    ]
    for dataset in order_of(results):
        for variant, label in names.TABLE2.items():
            cells += [
                cell | {"paper": paper_value(paper, 2, variant, dataset)}
                for cell in measured(
                    results, dataset, variant, protocol=protocol, resamples=resamples, label=label
                )
            ]
        cells += references(results, dataset, protocol=protocol, resamples=resamples)
    return _table("table2", results, cells, protocol, resamples)


def table3(results, paper: list[dict], *, protocol: Protocol, resamples: int) -> Table:
    """One path, two paths, and the flows; and the localisation results of the models without flows."""
    table = _ablation("table3", TABLE3, results, paper, protocol, resamples)
    return dataclasses.replace(table, regions=regions_of(results))


def table4(results, paper: list[dict], *, protocol: Protocol, resamples: int) -> Table:
    """Additional information for the appearance flow."""
    return _ablation("table4", TABLE4, results, paper, protocol, resamples)


def _ablation(name: str, rows: dict[str, str], results, paper, protocol, resamples) -> Table:
    number, cells = int(name[-1]), []
    for dataset in order_of(results):
        for variant, against in rows.items():
            said = paper_value(paper, number, variant, dataset)
            base = paper_value(paper, number, against, dataset) if against else None
            label = names.in_table(name, variant).row
            change = None if base is None else round(said - base, 6)
            cells += [
                cell | {"paper": said, "paper_difference": change}
                for cell in measured(
                    results,
                    dataset,
                    variant,
                    protocol=protocol,
                    resamples=resamples,
                    against=against,
                    label=label,
                )
            ]
        cells += references(results, dataset, protocol=protocol, resamples=resamples)
    return _table(name, results, cells, protocol, resamples)


MAKERS = {"table2": table2, "table3": table3, "table4": table4}
