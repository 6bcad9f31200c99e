"""Which of the paper's claims these runs replicate, each by a rule stated before the numbers.

A claim is *tested* on a data set if all its runs exist, were made under the same conditions and on the whole
set, and the paper has a number for it. Then:

* a claim that something is larger (C1 to C4) is **replicated** if the paired 95 % interval of the difference
  lies on the claimed side of 0; **not established** if the difference has the claimed sign but its interval
  contains 0, or there is no interval; **not replicated** if the sign is another;
* a claim that something is largest on one data set is replicated if its interval there lies above the
  differences on other sets; not established if only the difference itself does; otherwise not replicated;
* an AUC (C5) is replicated if ours is no more than MARGIN below the paper's; not established if it is lower,
  but our interval contains the paper's value; otherwise not replicated.

A verdict is about these runs in their configuration: `deviations` lists the differences from the paper's.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib import paths
from lib.config import flat, groups, parameters, resolve, selected
from lib.evaluation import protocols
from lib.evaluation.protocols import Protocol
from lib.evidence import names
from lib.evidence.names import PAPER_SETS
from lib.evidence.scored_runs import Result, apart
from lib.evidence.tables import TABLE3, Table, order_of, paper_value
from lib.evidence.typesetting import Face, change, interval, interval_of_change, markdown_table, number
from lib.pipeline import records
from lib.settings.profiles import PAPER

REPLICATED, NOT_REPLICATED, OPEN, NOT_TESTED = "replicated", "not replicated", "not established", "not tested"
MARGIN = 0.01  # one point of AUC, twice the gain of half a point that the paper claims
MOTION = ("running", "jumping", "wrong_way")  # kinds of the generated set whose people look like all others
CLAIMS = {
    "C1": "Two paths are better than one, most of all on CUHK Avenue (Table 3).",
    "C2": "The flows add to the two-path autoencoder, most of all on ShanghaiTech; on CUHK Avenue the motion "
    "flow costs (Table 3).",
    "C3": "The motion flow tells anomalies of motion apart where the appearance flow cannot (Fig. 4).",
    "C4": "Additional information, intensity or error map, helps the appearance flow (Table 4).",
    "C5": "The whole method reaches the AUC that the paper reports (Table 2).",
}
# Parameters of how something is computed or reported, not of what.
NO_DEVIATION = (
    "machine.device",
    "machine.layout",
    "machine.threads",
    "flow.recompute",
    "autoencoder.epoch_steps",
    "flow.epoch_steps",
    "evaluate.resamples",
)


READINGS = ("model", "loss", "autoencoder", "features", "error", "score")  # groups with open readings
LITERAL, SELECTED, NEITHER = "literal", "selected", "neither"


@dataclass(frozen=True)
class Finding:
    """One part of a claim on one data set."""

    claim: str
    quantity: str
    dataset: str
    paper: float | None = None
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    verdict: str = NOT_TESTED
    because: str = ""
    runs: str = ""


# -- rules ---------------------------------------------------------------------------------------------------


def judge_difference(ours: float, low: float | None, high: float | None, sign: int) -> tuple[str, str]:
    """The verdict on a claimed sign, and why."""
    if ours * sign <= 0:
        return NOT_REPLICATED, "the sign is not the claimed one" if ours else "there is no difference"
    if low is None:
        return OPEN, "the sign is the claimed one, but there is no interval"
    if low * sign > 0 and high * sign > 0:
        return REPLICATED, "the interval lies on the claimed side of 0"
    return OPEN, "the sign is the claimed one, but the interval contains 0"


def judge_auc(ours: float, low: float | None, high: float | None, paper: float) -> tuple[str, str]:
    """The verdict on an AUC, and why."""
    if ours >= paper - MARGIN:
        return REPLICATED, f"no more than {MARGIN} below the paper's"
    if high is not None and high >= paper:
        return OPEN, f"{number(paper - ours)} below the paper's, which our interval contains"
    outside = "" if high is None else " and outside our interval"
    return NOT_REPLICATED, f"{number(paper - ours)} below the paper's{outside}"


def judge_largest(findings: dict[str, Finding], where: str) -> tuple[str, str]:
    """The verdict on a claim that a difference is largest on one data set, and why."""
    absent = [names.DATASETS[d] for d in PAPER_SETS if d not in findings or findings[d].verdict == NOT_TESTED]
    if absent:
        return NOT_TESTED, f"it needs all three data sets; not tested: {', '.join(absent)}"
    here, others = findings[where], max(f.ours for d, f in findings.items() if d != where)
    if here.ours <= others:
        return NOT_REPLICATED, "it is larger on another data set"
    if here.low is not None and here.low > others:
        return REPLICATED, "its interval lies above the differences on the other data sets"
    return OPEN, "it is the largest, but its interval reaches down to another"


# -- findings ------------------------------------------------------------------------------------------------


def _cells(table: Table, dataset: str, variant: str):
    """The measured cells of a row: one per group of seeds run under the same conditions."""
    cells = table.cells
    own = cells[
        (cells["group"] == "this kit") & (cells["dataset"] == dataset) & (cells["variant"] == variant)
    ]
    return own.itertuples()


def _value(number: float) -> float | None:
    return None if pd.isna(number) else float(number)


def _difference(claim, quantity, cell, said: float | None, sign: int) -> Finding:
    """The finding on a claimed difference, from its cell; `said` is the paper's difference."""
    ours, low, high = map(_value, (cell.difference, cell.difference_low, cell.difference_high))
    base = Finding(claim, quantity, cell.dataset, paper=said, n=int(_value(cell.n) or 0), runs=cell.runs)
    if cell.status or ours is None:
        return dataclasses.replace(base, because=cell.status or cell.notes)
    base = dataclasses.replace(base, ours=ours, low=low, high=high)
    verdict, why = judge_difference(ours, low, high, sign)
    if said is None:
        verdict, why = NOT_TESTED, f"the paper has no number for this set; {why}"
    elif said * sign <= 0:
        verdict, why = NOT_TESTED, f"the paper itself reports no such difference here; {why}"
    elif cell.subset:
        verdict, why = NOT_TESTED, f"a subset of the data cannot test it; {why}"
    return dataclasses.replace(base, verdict=verdict, because=why)


def _auc(cell, said: float | None) -> Finding:
    """The finding on C5 from a cell of Table 2."""
    ours, low, high = map(_value, (cell.auc, cell.low, cell.high))
    if cell.status:
        verdict, why = NOT_TESTED, cell.status
    elif said is None:
        verdict, why = NOT_TESTED, "the paper has no number for this set"
    elif cell.subset:
        verdict, why = NOT_TESTED, "a subset of the data cannot test it"
    else:
        verdict, why = judge_auc(ours, low, high, said)
    quantity, n = "AUC, two paths with both flows", int(_value(cell.n) or 0)
    return Finding("C5", quantity, cell.dataset, said, ours, low, high, n, verdict, why, cell.runs)


def kinds_of(result: Result) -> pd.DataFrame | None:
    """Clip, frame and kind of each anomaly, for a data set with tracks; otherwise None."""
    prepared = records.prepared_of(result.beneath.get(result.job.other("prepare").name, {}))
    path = prepared and prepared / "tracks.csv"
    return pd.read_csv(path) if path and path.exists() else None


def _motion(results, dataset, *, protocol: Protocol, resamples) -> Finding:
    """C3: the AUC of F_mot's likelihood alone minus F_app's, for anomalies of motion against normal frames.

    Both are normalised by the protocol on all frames; then frames with other anomalies are left out.
    """
    quantity = "AUC of F_mot − AUC of F_app, likelihood alone, motion anomalies"
    base = Finding("C3", quantity, dataset)
    wanted = ("score", dataset, "app_intensity_mot")
    models = [r for r in results if (r.job.step, r.job.dataset, r.job.variant) == wanted and not r.trouble]
    group = next(iter(apart(r for r in models if r.labelled)), [])
    if not group:
        return dataclasses.replace(base, because=models[0].why_no_auc if models else "not run")
    first, kinds = group[0], kinds_of(group[0])
    base = dataclasses.replace(base, n=len(group), runs=" ".join(r.job.name for r in group))
    if kinds is None:
        both = [
            _mean(protocols.frame_auc(r.scores[c].to_numpy(), r.labels, r.clips, protocol) for r in group)
            for c in ("nll_mot", "nll_app")
        ]
        return dataclasses.replace(
            base,
            because="the data set does not say which anomalies are of motion; over all of "
            f"F_mot alone reaches {number(both[0])} and F_app alone {number(both[1])}",
        )
    frames = pd.MultiIndex.from_frame(first.scores[["clip", "frame"]])
    moving = frames.isin(pd.MultiIndex.from_frame(kinds.loc[kinds["kind"].isin(MOTION), ["clip", "frame"]]))
    kept = moving | (first.labels == 0)
    plain = dataclasses.replace(protocol, name="normalised", normalise="none", smoothing=0.0)
    sides = [
        [protocols.protocol_scores(r.scores[column].to_numpy(), r.clips, protocol)[kept] for r in group]
        for column in ("nll_mot", "nll_app")
    ]
    rest = (first.labels[kept], first.clips[kept])
    if not moving.any():
        return dataclasses.replace(base, because="the data set has no anomaly of motion alone")
    aucs = [_mean(protocols.frame_auc(side, *rest, plain) for side in runs) for runs in sides]
    found = protocols.bootstrap_difference(*sides, *rest, plain, resamples=resamples)
    low, high = (found.low, found.high) if found else (None, None)
    _, why = judge_difference(aucs[0] - aucs[1], low, high, 1)
    return dataclasses.replace(
        base,
        ours=aucs[0] - aucs[1],
        low=low,
        high=high,
        because=f"the paper shows a clip and no number; here F_mot {number(aucs[0])}, F_app "
        f"{number(aucs[1])}: {why}",
    )


def _mean(values) -> float:
    return float(np.mean(list(values)))


def findings(
    results, paper: list[dict], made: dict[str, Table], *, protocol: Protocol, resamples: int
) -> list[Finding]:
    """Every part of every claim, on every data set of the paper and on those that were run.

    `made` are Tables 2, 3 and 4 of the same runs; everything but C3 is read from their cells.
    """
    found: list[Finding] = []

    def differences(claim, table, variant, against, quantity, sign=1, datasets=None) -> dict[str, Finding]:
        first = {}
        for dataset in datasets or order_of(results):
            values = [paper_value(paper, int(table[-1]), model, dataset) for model in (variant, against)]
            said = None if None in values else round(values[0] - values[1], 6)
            for cell in _cells(made[table], dataset, variant):
                found.append(_difference(claim, quantity, cell, said, sign))
                first.setdefault(dataset, found[-1])
        return {dataset: finding for dataset, finding in first.items() if dataset in PAPER_SETS}

    def largest(claim, parts, where, quantity):
        verdict, why = judge_largest(parts, where)
        mine = parts.get(where, Finding(claim, quantity, where))
        found.append(dataclasses.replace(mine, quantity=quantity, verdict=verdict, because=why))

    parts = differences("C1", "table3", "two_path", "one_path", "two paths − one path")
    largest("C1", parts, "avenue", "two paths − one path is largest here")
    parts = differences("C2", "table3", "app_intensity_mot", "two_path", "both flows − two paths")
    largest("C2", parts, "shanghaitech", "both flows − two paths is largest here")
    quantity = "F_mot − two paths, below 0"
    differences("C2", "table3", "mot", "two_path", quantity, sign=-1, datasets=["avenue"])
    found += [_motion(results, d, protocol=protocol, resamples=resamples) for d in order_of(results)]
    differences("C4", "table4", "app_intensity", "app_none", "intensity − none")
    differences("C4", "table4", "app_error", "app_none", "error map − none")
    for dataset in order_of(results):
        said = paper_value(paper, 2, "app_intensity_mot", dataset)
        found += [_auc(cell, said) for cell in _cells(made["table2"], dataset, "app_intensity_mot")]
    return found


def overall(found: list[Finding]) -> dict[str, str]:
    """One verdict per claim: the worst of its tested parts, and whether all parts were tested."""
    summary = {}
    for claim in CLAIMS:
        parts = [f.verdict for f in found if f.claim == claim and f.dataset in PAPER_SETS]
        tested = [verdict for verdict in parts if verdict != NOT_TESTED]
        worst = next((v for v in (NOT_REPLICATED, OPEN, REPLICATED) if v in tested), NOT_TESTED)
        summary[claim] = worst + (" where tested" if worst == REPLICATED and len(tested) < len(parts) else "")
    return summary


def deviations(results, dataset: str) -> pd.DataFrame:
    """The parameters in which the runs on a data set differ from the paper's configuration.

    Columns are parameter, these runs, profile paper, stated by.
    """
    specs, paper = parameters(), flat(resolve("paper", dataset, literal=True))
    values = [r.parameters() for r in results if r.job.dataset == dataset and r.job.step == "score"]
    rows = []
    for name in specs:
        seen = list(dict.fromkeys(str(v[name]) for v in values if name in v))
        if name in NO_DEVIATION or name.startswith(("synthetic.", "own.")):
            continue
        if not seen or seen == [str(paper[name])]:
            continue
        stated = dataset in PAPER_SETS and (specs[name].metadata["paper"] or name in PAPER[dataset])
        rows.append(
            {
                "parameter": name,
                "these runs": " | ".join(seen),
                "profile paper": str(paper[name]),
                "stated by": "the paper" if stated else "this kit (the paper leaves it open)",
            }
        )
    return pd.DataFrame(rows, columns=["parameter", "these runs", "profile paper", "stated by"])


def choices(results, dataset: str) -> pd.DataFrame:
    """How the runs on a data set read what the paper leaves open: choice, these runs, literal, kind, record.

    The kind is "literal" if the value is the one that the kit considers literal, "selected" if it was chosen
    on normal video alone (`record` says by which run), and "neither" otherwise. Empty if nothing was scored.
    """
    chosen, values = selected(dataset), [r.parameters() for r in results if r.job.dataset == dataset]
    rows = []
    for name, spec in parameters().items():
        if name not in chosen and not _is_reading(name):
            continue
        printed = PAPER.get(dataset, {}).get(name, spec.default)  # for this data set, such as UCSD's patches
        literal = str(chosen[name]["literal"] if name in chosen else printed)
        seen = list(dict.fromkeys(str(v[name]) for v in values if name in v))
        if not seen:
            continue
        kind, record = NEITHER, ""
        if seen == [literal]:
            kind = LITERAL
        elif name in chosen and seen == [str(chosen[name]["value"])]:
            kind, record = SELECTED, str(chosen[name].get("record", ""))
        rows.append([name, " | ".join(seen), literal, kind, record])
    return pd.DataFrame(rows, columns=["choice", "these runs", "literal", "kind", "record"])


def _is_reading(name: str) -> bool:
    """Whether a parameter selects one of several readings of the paper."""
    group, short = name.split(".")
    kind = typing.get_type_hints(groups()[group])[short]
    return group in READINGS and short != "weights" and typing.get_origin(kind) is typing.Literal


def told_choices(table: pd.DataFrame) -> str:
    """The choices as text, the literal ones by name alone."""
    said = []
    for kind in (LITERAL, SELECTED, NEITHER):
        own = table[table["kind"] == kind]
        if kind == LITERAL:
            lines = [f"`{row.choice}`" for row in own.itertuples()]
        else:
            lines = [f"`{row.choice}` {row[2]} (literal: {row.literal})" for row in own.itertuples()]
        said.append(f"{kind}: {', '.join(lines) or 'none'}")
    return "; ".join(said) + "."


BOTH_KINDS, ALL = "clips with frames of both kinds", "all clips"


def clip_by_clip(results, dataset: str, protocol: Protocol) -> pd.DataFrame:
    """AUC by clip: clip, the share of its frames that is abnormal, and for each model of Table 3 the AUC
    within the clip.

    AUCs are means over seeds; a clip with frames of one kind has none. The last rows are the AUC, by the
    protocol, of all clips with frames of both kinds, and of all clips. Empty if no model has an AUC.
    """
    models, share = {}, None
    for variant in TABLE3:
        own = [
            r
            for r in results
            if (r.job.dataset, r.job.step, r.job.variant) == (dataset, "score", variant)
            and r.labelled
            and not r.trouble
        ]
        if own:
            share = _share_by_clip(own[0])
            models[variant] = pd.DataFrame([_auc_by_clip(r, protocol) for r in apart(own)[0]]).mean()
    if not models:
        return pd.DataFrame(columns=["clip", "abnormal"])
    found = pd.DataFrame(models).reindex([*share.index, BOTH_KINDS, ALL])
    found.insert(0, "abnormal", share)
    return found.rename_axis("clip").reset_index()


def _share_by_clip(result: Result) -> pd.Series:
    return result.scores.groupby("clip", sort=False)["label"].mean()


def _auc_by_clip(result: Result, protocol: Protocol) -> dict[str, float]:
    mixed = _share_by_clip(result).between(0, 1, inclusive="neither")
    found = {clip: auc for clip, auc in result.record["metrics"]["by_clip"].items() if auc is not None}
    if mixed.any():
        frames = result.scores["clip"].map(mixed).to_numpy()
        terms = [(weight, values[frames]) for weight, values in result.terms_for(protocol)]
        found[BOTH_KINDS] = protocols.frame_auc(
            terms, result.labels[frames], result.clips[frames], protocol, result.train_stats
        )
    return found | {ALL: result.auc(protocol)}


def ever_scored() -> pd.DataFrame:
    """Every configuration that was scored on the test clips of a real data set and curated, in order of time.

    One row per score: dataset, profile, model, seed, settings, auc (the paper's protocol), commit, ended.
    Empty if there is none. The first rows are from an exploration outside the kit that looked at test AUCs;
    their settings say so.
    """
    columns = ["dataset", "profile", "model", "seed", "settings", "auc", "commit", "ended"]
    found = (
        pd.read_csv(paths.EVER_SCORED, keep_default_na=False)
        if paths.EVER_SCORED.exists()
        else pd.DataFrame(columns=columns)
    )
    return found[columns]


# -- output --------------------------------------------------------------------------------------------------


def face(found: list[Finding], claim: str) -> Face:
    """The parts of one claim as a table."""
    shown = Face(
        ["Data set", "What is compared", "Paper", "This kit", "95 % interval", "n", "Verdict", "Why"]
    )
    for f in (f for f in found if f.claim == claim):
        plain = claim == "C5"
        value, span = (number, interval) if plain else (change, interval_of_change)
        i = shown.add(
            [
                names.DATASETS[f.dataset],
                f.quantity,
                value(f.paper),
                value(f.ours),
                span(f.low, f.high),
                str(f.n or "–"),
                f.verdict,
                f.because,
            ]
        )
        shown.paper.add((i, 2))
    return shown


def frame(found: list[Finding]) -> pd.DataFrame:
    """All findings in full precision, for the csv."""
    return pd.DataFrame([dataclasses.asdict(f) for f in found])


def markdown(found: list[Finding], results, under: str) -> str:
    """The verdict as Markdown: the claims, their parts, and the deviations."""
    summary = overall(found)
    parts = ["**Verdict, claim by claim**"]
    for claim, statement in CLAIMS.items():
        parts += [f"**{claim}: {summary[claim]}.** {statement}", markdown_table(face(found, claim))]
    for dataset in [d for d in order_of(results) if any(f.n for f in found if f.dataset == d)]:
        rows = deviations(results, dataset).itertuples()
        differing = [f"`{row.parameter}` {row[2]} (there {row[3]})" for row in rows]
        said = "; ".join(differing) or "none"
        parts.append(f"Deviations from the profile `paper`, {names.DATASETS[dataset]}: {said}.")
        parts.append(
            f"How {names.DATASETS[dataset]}'s runs read what the paper leaves open: "
            + told_choices(choices(results, dataset))
        )
    return "\n\n".join([*parts, under]) + "\n"


def write(found: list[Finding], results, under: str, folder: Path, protocol: Protocol) -> list[str]:
    """Write verdict.csv, verdict.md and clips.csv; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = [
        clip_by_clip(results, dataset, protocol).assign(dataset=dataset) for dataset in order_of(results)
    ]
    pd.concat(clips).set_index("dataset").to_csv(folder / "clips.csv", lineterminator="\n")
    frame(found).to_csv(folder / "verdict.csv", index=False, lineterminator="\n")
    paths.write_text(folder / "verdict.md", markdown(found, results, under))
    return ["verdict.csv", "verdict.md", "clips.csv"]
