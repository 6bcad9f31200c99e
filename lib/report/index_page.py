"""`reports/<profile>/index.html`: all results of a profile's runs on one page, made from records.

The page needs only the files below its folder, so it can be opened from a disk, copied and printed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from lib import paths
from lib.config import flat, resolve
from lib.evidence import names, scored_runs, stored_tables, tables, typesetting, verdict
from lib.pipeline import planning, records
from lib.pipeline.steps import CHARTS, FIGURES, STEPS, Job, from_chart, from_name, jobs_of
from lib.pipeline.terminal import duration
from lib.report import clip_player, notebook_pages, reference

FULL = "app_intensity_mot"
WIDE = 430  # CSS pixels; a wider figure gets a row of its own
FIGURE_TITLES = {
    "fig1": "Figure 1. Input, errors and likelihoods of one clip",
    "fig2": "Figure 2. The network",
    "fig3": "Figure 3. Errors of one path and of two",
    "fig4": "Figure 4. Likelihoods of normal and abnormal frames",
    "fig5": "Figure 5. Scores within a clip",
    "roc": "ROC curves",
    "likelihood_terms": "Likelihood by scale, and in its two terms",
    "complexity": "Likelihood against image complexity",
    "training": "Training curves",
    "protocols": "AUC by protocol",
    "clips": "AUC by clip",
    "kinds": "AUC by kind of anomaly",
}


def write(profile: str, *, kept: bool = False, all_clips: bool = False) -> Path:
    """Write the page of a profile, the pages of its notebooks and the files of its clip player; returns the
    page's path.

    `kept`: the records are those of the curated reference. They belong to their commit and are not compared
    with the current code; their executed notebooks have no pictures and are linked as they are. `all_clips`:
    the clip player has pictures of every clip, not of a choice (see `clip_player`).
    """
    known = all_records(profile)
    scored = scored_runs.of_profile(profile)
    old = {} if kept else outdated(known)
    evaluate = evaluation_of(profile, known)
    protocol = scored_runs.protocol_of(
        normalise=evaluate["evaluate.normalise"], smoothing=evaluate["evaluate.smoothing"]
    )
    how = {"protocol": protocol, "resamples": evaluate["evaluate.resamples"]}
    paper = tables.paper_results()
    how["folder"] = paths.tables(profile)
    made = {name: stored_tables.table(name, scored, **how) for name in tables.MAKERS}
    found = stored_tables.findings(scored, **how)
    executed = kept_notebooks(known) if kept else notebook_pages.write_all(profile, known)
    drawn = figures(profile, known, old)
    states = Counter(record["status"] for record in known.values())
    counts = [f"{states['complete']} complete runs"]
    counts += [f"{n} {status}" for status, n in states.items() if status != "complete"]
    page = (
        notebook_pages.templates()
        .get_template("index.html")
        .render(
            profile=profile,
            protocol=protocol,
            counts=", ".join(counts),
            kept=kept,
            changes=changes(profile, known),
            old=[
                {"name": job.name, "id": notebook_pages.run_id(job.name), "why": why}
                for job, why in old.items()
            ],
            headline=headline(made["table3"], paper, profile, old),
            absent=typesetting.absent(made["table3"]),
            ticks=ticks(made["table3"]),
            player=clip_player.write(profile, scored, known, old, kept=kept, all_clips=all_clips),
            claims=claims(found),
            deviations=deviations(scored),
            tables=[show(profile, t, old) for t in made.values()],
            figures=[f for f in drawn if f["image"] and f["run"]],
            others=[f for f in drawn if f["image"] and not f["run"]],
            undrawn=[f["title"] for f in drawn if not f["image"]],
            groups=groups(profile, known, executed, old),
            ids={notebook_pages.run_id(job.name) for job in known},
            start=next((_address(profile, executed[job]) for job in executed if job.step == "start"), ""),
            provenance=provenance(known),
        )
    )
    path = paths.report(profile) / "index.html"
    paths.write_text(path, page)
    return path


def write_kept(profile: str) -> Path:
    """Write the page of a profile's curated records, below `reports/reference/`; returns its path."""
    with reference.reading():
        return write(profile, kept=True)


# -- records -------------------------------------------------------------------------------------------------


def all_records(profile: str) -> dict[Job, dict]:
    """The records of a profile, complete or not, by job."""
    found = {}
    for path in sorted((paths.report(profile) / "runs").glob("*/**/run.json")):
        record = records.read(path.parent)
        if record:
            found[from_name(profile, record["job"])] = record
    return found


def evaluation_of(profile: str, known: dict[Job, dict]) -> dict:
    """The values of `evaluate` with which the tables were last made; if there are no tables, as among curated
    records, those of a scored run, otherwise the profile's."""
    made = [known.get(Job(profile, "all", step)) for step in ("table3", "table2", "table4", "verdict")]
    scored = [record for job, record in known.items() if job.step == "score"]
    for record in (*made, *scored):
        if record and record["status"] == "complete":
            return record["parameters"]
    return flat(resolve(profile, "synthetic"), ["evaluate"])


def outdated(known: dict[Job, dict]) -> dict[Job, str]:
    """The complete runs that would run again now, with the reasons, including runs that depend on such
    runs."""
    complete = {job: record for job, record in known.items() if record["status"] == "complete"}
    scored = tuple(job for job in complete if job.step in ("score", "reference"))
    found: dict[Job, str] = {}
    for job, record in complete.items():
        why = _why_stale(job, record, scored)
        if why:
            found[job] = why
    stale = {job.name for job in found}
    grown = True
    while grown:
        grown = False
        for job, record in complete.items():
            under = next((name for name in record["inputs"] if name in stale), "")
            if under and job not in found:
                found[job] = f"{under} would run again"
                stale.add(job.name)
                grown = True
    return found


def _why_stale(job: Job, record: dict, scored: tuple[Job, ...]) -> str:
    """Why a complete run would run again now; empty if it would not."""
    try:
        config = resolve(
            job.profile,
            job.dataset if job.dataset != "all" else "synthetic",
            {name: tuple(v) if isinstance(v, list) else v for name, v in record["settings"].items()},
        )
        return planning.why_stale(job, config, scored)
    except (records.RecordError, ValueError) as problem:
        return str(problem)


def changes(profile: str, known: dict[Job, dict]) -> list[dict]:
    """The parameters of complete runs that differ from their profile: name, value, the profile's value, and
    the runs."""
    found: dict[tuple[str, str, str], list[Job]] = {}
    for job, record in known.items():
        if record["status"] != "complete":
            continue
        profiles = flat(resolve(profile, job.dataset if job.dataset != "all" else "synthetic"))
        for name, value in record["parameters"].items():
            # The paths of your own videos are in no profile.
            if name in profiles and not name.startswith("own.") and _plain(value) != _plain(profiles[name]):
                found.setdefault((name, _plain(value), _plain(profiles[name])), []).append(job)
    return [
        {
            "name": name,
            "value": value,
            "profile": usual,
            "runs": [(job.name, notebook_pages.run_id(job.name)) for job in jobs],
        }
        for (name, value, usual), jobs in sorted(found.items(), key=lambda item: item[0])
    ]


def kept_notebooks(known: dict[Job, dict]) -> dict[Job, Path]:
    """The executed notebook of each run that has one."""
    found = {job: job.folder / f"{STEPS[job.step].notebook}.ipynb" for job in known}
    return {job: path for job, path in found.items() if path.exists()}


# -- numbers -------------------------------------------------------------------------------------------------


def headline(table: tables.Table, paper: list[dict], profile: str, old: dict[Job, str]) -> list[dict]:
    """For each data set that was run: the full method, the paper, the best reference scorer, and Table 3 as a
    chart."""
    found, position = [], _scale(table)
    for dataset, own in table.cells.groupby("dataset", sort=False):
        if own["auc"].isna().all():
            continue
        ours, scorers = own[own["group"] == "this kit"], own[own["group"] == "reference scorer"]
        said = tables.paper_value(paper, 2, FULL, dataset)
        whole = next(ours[ours["variant"] == FULL].itertuples())
        number, runs, seeds = "", [], typesetting.DASH
        if not whole.status:
            number = typesetting.number(whole.auc)
            runs = [_place(profile, old, name) for name in whole.runs.split()]
            word = "seeds" if whole.n > 1 else "seed"
            seeds = f"{whole.n:.0f} ({word} {whole.seeds.replace(' ', ', ')})"
        reference_scorer, free = typesetting.NOT_RUN, None
        if scorers["auc"].notna().any():
            best = scorers.loc[scorers["auc"].idxmax()]
            reference_scorer, free = f"{typesetting.number(best.auc)}, {best.row}", position(best.auc)
        found.append(
            {
                "name": names.DATASETS[dataset],
                "number": number,
                "status": whole.status,
                "runs": runs,
                "subset": whole.subset,
                "interval": typesetting.interval(whole.low, whole.high),
                "seeds": seeds,
                "paper": typesetting.DASH if said is None else typesetting.number(said),
                "reference": reference_scorer,
                "free": free,
                "rows": [
                    {
                        "label": typesetting.row_name(c),
                        "value": c.status or typesetting.number(c.auc),
                        "at": position(c.auc),
                        "paper": position(c.paper),
                        "low": position(c.low),
                        "high": position(c.high),
                    }
                    for c in ours.itertuples()
                ],
            }
        )
    return found


def _scale(table: tables.Table):
    """Maps an AUC to percent of the chart's width, None to None; the chart ends at 1."""
    low = _lowest(table)
    return lambda auc: None if auc is None or auc != auc else round(100 * (auc - low) / (1 - low), 2)


def _lowest(table: tables.Table) -> float:
    """The tenth at or below the lowest number of a chart."""
    cells = table.cells[table.cells["auc"].notna()]
    shown = cells.loc[cells["group"] == "this kit", ["auc", "low", "paper"]].min().to_list()
    shown += cells[cells["group"] == "reference scorer"].groupby("dataset")["auc"].max().to_list()
    return math.floor(min([0.9, *(value for value in shown if value == value)]) * 10) / 10


def ticks(table: tables.Table) -> list[dict]:
    """The tick labels below the chart, at tenths."""
    low, position = _lowest(table), _scale(table)
    return [
        {"at": position(low + i / 10), "text": f"{low + i / 10:.1f}"}
        for i in range(round((1 - low) * 10) + 1)
    ]


def claims(found: list[verdict.Finding]) -> list[dict]:
    """The claims, each with its verdict and its findings as a table."""
    summary = verdict.overall(found)
    shown = []
    for name, statement in verdict.CLAIMS.items():
        value, interval = typesetting.change, typesetting.interval_of_change
        if name == "C5":  # an AUC, not a difference
            value, interval = typesetting.number, typesetting.interval
        lines = []
        for f in found:
            if f.claim == name and f.ours is not None and "largest" not in f.quantity:
                span = "no interval" if f.low is None else interval(f.low, f.high)
                where = names.DATASETS[f.dataset]
                lines.append(f"{where}: {f.quantity} {value(f.ours)} ({span}), {f.verdict}")
        shown.append(
            {
                "name": name,
                "statement": statement,
                "verdict": summary[name],
                "lines": lines,
                "table": Markup(typesetting.html_table(verdict.face(found, name))),
                "kind": summary[name].removesuffix(" where tested").replace(" ", "-"),
            }
        )
    return shown


def deviations(scored) -> list[dict]:
    """For each data set that was run, the differences of its configuration from the paper's."""
    found = []
    for dataset in [d for d in tables.order_of(scored) if any(r.job.dataset == d for r in scored)]:
        table = verdict.deviations(scored, dataset)
        face = typesetting.Face(list(table.columns), table.values.tolist())
        found.append(
            {
                "name": names.DATASETS[dataset],
                "count": len(table),
                "table": Markup(typesetting.html_table(face)),
            }
        )
    return found


def _place(profile: str, old: dict[Job, str], name: str) -> tuple[str, str]:
    """The link to a run on the page, and why it is out of date."""
    return f"#{notebook_pages.run_id(name)}", old.get(from_name(profile, name), "")


def show(profile: str, table: tables.Table, old: dict[Job, str]) -> dict:
    """A table for the page, with each number a link to its run."""

    def html(face):
        return Markup(typesetting.html_table(face, lambda name: _place(profile, old, name))) if face else ""

    scorers, places = typesetting.references_face(table), typesetting.regions_face(table)
    run, absent = table, None
    # in Table 2 data sets are columns; in the others they are blocks, of which those not run are folded
    if table.name != "table2":
        without = table.cells.groupby("dataset")["status"].transform(lambda own: (own == "not run").all())
        run, absent = (dataclasses.replace(table, cells=table.cells[rows]) for rows in (~without, without))
    files = [f"{table.name}.{kind}" for kind in ("csv", "md", "tex")] + (["regions.csv"] if places else [])
    return {
        "name": table.name,
        "title": table.title,
        "face": html(typesetting.face(run)) if len(run.cells) else "",
        "folded": html(typesetting.face(absent)) if absent is not None and len(absent.cells) else "",
        "scorers": html(scorers),
        "places": html(places),
        "told": typesetting.REGIONS,
        "under": table.under,
        "notes": [(tables.mark(i), text) for i, text in enumerate(table.notes)],
        "words": typesetting.words(table),
        "absent": typesetting.absent(table),
        "files": [name for name in files if (paths.tables(profile) / name).exists()],
    }


def figures(profile: str, known: dict[Job, dict], old: dict[Job, str]) -> list[dict]:
    """The drawn figures, the paper's first and in its order, and which of them are missing."""
    folder = paths.figures(profile)
    files = folder.glob("*.*") if folder.exists() else ()
    stems = sorted({path.stem for path in files if path.suffix in (".svg", ".png")})
    found = []
    for figure in FIGURES:
        mine = [stem for stem in stems if re.match(rf"{figure}(?![0-9a-z])", stem)]
        job = Job(profile, "all", "figure", figure)
        title = FIGURE_TITLES.get(figure, figure)
        found += [_figure(folder, stem, title, known, old.get(job, "")) for stem in mine]
        found += [] if mine else [{"name": figure, "title": title, "image": ""}]
    drawn = {figure["name"] for figure in found}
    for stem in (stem for stem in stems if stem not in drawn):
        job = from_chart(profile, stem)
        title = CHARTS[job.step] if job else stem.replace("_", " ").replace("-", " ").capitalize()
        found.append(_figure(folder, stem, title, known, old.get(job, "")))
    return found


def _figure(folder: Path, stem: str, title: str, known: dict[Job, dict], old: str) -> dict:
    key = next((key for key in names.DATASETS if re.search(rf"(?<![a-z]){key}(?![a-z])", stem)), "")
    dataset = names.DATASETS.get(key, "")
    found = [path for kind in ("svg", "png", "csv", "pdf") if (path := folder / f"{stem}.{kind}").exists()]
    title += f", {dataset}" if dataset and dataset not in title else ""
    width, height = _size_of(found[0])
    return {
        "name": stem,
        "title": title,
        "image": f"figures/{found[0].name}",
        "width": width,
        "height": height,
        "wide": width > WIDE,
        "run": not key or any(job.dataset == key for job in known),  # Figure 2 is drawn for every data set
        "old": old,
        "files": [(path.name, path.suffix[1:], size_in_words(path.stat().st_size)) for path in found],
    }


def _size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture in CSS pixels, of which an inch has 96; (0, 0) if they cannot be read."""
    if path.suffix == ".svg":
        head = path.read_text(encoding="utf-8")[:3000]
        sides = [re.search(rf'\b{side}="([\d.]+)pt"', head) for side in ("width", "height")]
        return tuple(round(float(side[1]) * 96 / 72) for side in sides) if all(sides) else (0, 0)
    try:
        with Image.open(path) as image:
            return tuple(round(side * 96 / image.info.get("dpi", (96, 96))[0]) for side in image.size)
    except OSError:
        return (0, 0)


def size_in_words(size: int) -> str:
    """12 kB; 1.4 MB"""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"


# -- runs ----------------------------------------------------------------------------------------------------


def groups(
    profile: str, known: dict[Job, dict], executed: dict[Job, Path], old: dict[Job, str]
) -> list[dict]:
    """All runs for the recorded data sets and seeds, by data set: those that exist, and those not run."""
    found = []
    for dataset in [d for d in names.DATASETS if any(job.dataset == d for job in known)] + ["all"]:
        mine = [job for job in known if job.dataset == dataset]
        seeds = sorted({job.seed for job in mine if job.seed is not None}) or [0]
        called = [
            job
            for step, kind in STEPS.items()
            if (kind.per == "all") == (dataset == "all")
            for job in jobs_of(profile, [dataset], seeds, step)
        ]
        jobs = [job for job in called if job in known] + [job for job in mine if job not in called]
        spent = sum(known[job].get("seconds", 0) for job in mine)
        found.append(
            {
                "name": names.DATASETS.get(dataset, "Over all data sets"),
                "runs": [_run(profile, job, known[job], executed.get(job), old.get(job, "")) for job in jobs],
                "absent": [_short(job) for job in called if job not in known],
                "counts": f"{len(jobs)} of {len(set(called + jobs))}, {duration(spent)}",
            }
        )
    return found


def _short(job: Job) -> str:
    return job.name.removeprefix(f"{job.dataset}/")


def _run(profile: str, job: Job, record: dict, page: Path | None, old: str) -> dict:
    """One line of the list of runs, with its details."""
    status, kind = record["status"], ""
    if status != "complete":
        kind = "failed"
    elif old:
        status, kind = "out of date", "old"
    metrics = record.get("metrics") or {}
    auc, memory = metrics.get("auc"), record.get("peak_memory_gib")
    ended = record.get("ended") or record.get("started")
    top = paths.report(profile)
    files = [job.folder / "run.json", *(job.folder / o["file"] for o in record.get("outputs") or ())]
    return {
        "name": _short(job),
        "record": record,
        "id": notebook_pages.run_id(job.name),
        "status": status,
        "kind": kind,
        "old": old,
        "error": record.get("error", ""),
        "auc": ""
        if auc is None
        else typesetting.number(auc) + (" (subset)" if metrics.get("subset") else ""),
        "time": duration(record["seconds"]) if "seconds" in record else typesetting.DASH,
        "memory": f"{memory:.2f} GiB" if memory is not None else typesetting.DASH,
        "commit": notebook_pages.commit_of(record),
        "when": datetime.fromisoformat(ended).strftime("%-d %B %Y, %H:%M UTC") if ended else "",
        "page": _address(profile, page) if page else "",
        "inputs": [(name, notebook_pages.run_id(name)) for name in record["inputs"]],
        "files": [
            (path.relative_to(top).as_posix(), path.name, size_in_words(path.stat().st_size))
            for path in files
            if path.exists()
        ],
        "protocols": [
            (name, *(typesetting.number(values.get(key)) for key in ("auc", "eer", "average_precision")))
            for name, values in (metrics.get("protocols") or {}).items()
        ],
        "terms": [(name, typesetting.number(value)) for name, value in (metrics.get("terms") or {}).items()],
        "clips": [
            (name, typesetting.number(value)) for name, value in (metrics.get("by_clip") or {}).items()
        ],
        "still": list(clip_player.nothing_happens(record).items()),
        "parameters": [(name, _plain(value)) for name, value in sorted(record["parameters"].items())],
    }


def _address(profile: str, path: Path) -> str:
    """The address of a report's file in links of its page."""
    return path.relative_to(paths.report(profile)).as_posix()


def _plain(value) -> str:
    """A value as text, equal for a list from a record and a tuple of the configuration."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def provenance(known: dict[Job, dict]) -> list[dict]:
    """Hardware and versions, once for all runs that share them."""
    shared: dict[str, list[Job]] = {}
    for job, record in known.items():
        key = json.dumps(
            [record["hardware"], record.get("notes", {}).get("gpu"), record["versions"]], sort_keys=True
        )
        shared.setdefault(key, []).append(job)
    found = []
    for key, jobs in sorted(shared.items(), key=lambda item: -len(item[1])):
        hardware, gpu, versions = json.loads(key)
        machine = f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB"
        if gpu:
            machine += f"; {gpu}"
        runs = ", ".join(job.name for job in jobs) if len(jobs) <= 3 else f"{len(jobs)} runs"
        found.append({"hardware": machine, "versions": list(versions.items()), "runs": runs})
    return found
