"""`reports/<profile>/index.html`: everything that the runs of a profile gave, on one page, from records alone.

The page needs nothing but itself and the files below its folder, so it can be opened from a disk, copied and printed. The
executed notebooks are turned into pages beside them when they are newer than their page; their equations are set by
MathJax where there is a network, and are TeX otherwise.
"""
from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from lib import paths, records, results, tables, typeset, verdict
from lib.config import flat, resolve
from lib.pipeline import duration
from lib.steps import FIGURES, STEPS, Job, from_name, jobs_of

TEMPLATES = paths.LIB / "templates"
FULL = "app_intensity_mot"
FIGURE_TITLES = {"fig1": "Figure 1. Input, errors and likelihoods of one clip", "fig2": "Figure 2. The network",
                 "fig3": "Figure 3. Errors of one path and of two", "fig4": "Figure 4. Likelihoods of normal and abnormal frames",
                 "fig5": "Figure 5. Scores within a clip", "roc": "ROC curves"}


def write(profile: str) -> Path:
    """Writes the page of a profile and the pages of its notebooks; returns the page's path."""
    known = all_records(profile)
    scored = results.of_profile(profile)
    evaluate = evaluation_of(profile, known)
    protocol = results.protocol_of(normalise=evaluate["evaluate.normalise"], smoothing=evaluate["evaluate.smoothing"])
    how = {"protocol": protocol, "resamples": evaluate["evaluate.resamples"]}
    paper = tables.paper_results()
    made = {name: maker(scored, paper, **how) for name, maker in tables.MAKERS.items()}
    found = verdict.findings(scored, paper, **how)
    pages = write_pages(profile, known)
    states = Counter(record["status"] for record in known.values())
    page = _templates().get_template("index.html").render(
        profile=profile, protocol=protocol, counts=f"{states['complete']} complete runs" + "".join(
            f", {n} {status}" for status, n in states.items() if status != "complete"),
        cards=cards(made["table3"], paper), absent=_absent(made["table3"]), chart=chart(made["table3"]),
        claims=claims(found), deviations=deviations(scored), tables=[show(profile, t) for t in made.values()],
        figures=figures(profile), groups=groups(profile, known, pages), makings=makings(known))
    path = paths.report(profile) / "index.html"
    _write(path, page)
    return path


def _templates() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=jinja2.select_autoescape(["html"]),
                              trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


# -- records -------------------------------------------------------------------------------------------------------

def all_records(profile: str) -> dict[Job, dict]:
    """The records of a profile, complete or not, by job."""
    found = {}
    for path in sorted((paths.report(profile) / "runs").glob("*/**/run.json")):
        record = records.read(path.parent)
        if record:
            found[from_name(profile, record["job"])] = record
    return found


def evaluation_of(profile: str, known: dict[Job, dict]) -> dict:
    """The values of `evaluate` that the tables were last made with; the profile's if there are no tables."""
    for step in ("table3", "table2", "table4", "verdict"):
        record = known.get(Job(profile, "all", step))
        if record and record["status"] == "complete":
            return record["parameters"]
    return flat(resolve(profile, "synthetic"), ["evaluate"])


def _id(name: str) -> str:
    return "run-" + re.sub(r"[^\w]+", "-", name)


# -- numbers -------------------------------------------------------------------------------------------------------

def cards(table: tables.Table, paper: list[dict]) -> list[dict]:
    """The headline of each data set that was run: the whole method, the paper, and the best reference scorer."""
    found = []
    for dataset, own in table.cells.groupby("dataset", sort=False):
        if own["auc"].isna().all():
            continue
        for cell in own[own["variant"] == FULL].itertuples():
            scorers = own[own["group"] == "reference scorer"]
            best = scorers.loc[scorers["auc"].idxmax()] if scorers["auc"].notna().any() else None
            found.append({
                "name": tables.NAMES[dataset], "number": typeset.measured(cell) if not cell.status else "", "status": cell.status,
                "interval": typeset.interval(cell.low, cell.high), "n": cell.seeds if not cell.status else typeset.DASH,
                "paper": typeset.number(tables.paper_value(paper, 2, FULL, dataset) or math.nan),
                "reference": f"{typeset.number(best.auc)} ({best.row})" if best is not None else typeset.NOT_RUN})
    return found


def _absent(table: tables.Table) -> str:
    return next((line for line in table.under if line.startswith("Not run:")), "")


def chart(table: tables.Table) -> dict | None:
    """Positions in percent for the rows of Table 3 as dots and intervals, one block a data set; None without a number."""
    cells = table.cells[table.cells["dataset"].isin(table.cells.loc[table.cells["auc"].notna(), "dataset"])]
    if cells.empty:
        return None
    shown = cells[["paper", "auc", "low"]].stack()
    low, high = math.floor(shown.min() * 10) / 10, 1.0

    def at(value):
        return None if value != value or value is None else round(100 * (value - low) / (high - low), 2)
    blocks = []
    for dataset, own in cells.groupby("dataset", sort=False):
        rows = [{"label": c.row, "at": at(c.auc), "low": at(c.low), "width": None if c.low != c.low else at(c.high - c.low + low),
                 "paper": at(c.paper), "value": typeset.number(c.auc) if not c.status else c.status}
                for c in own[own["group"] == "this kit"].itertuples()]
        blocks.append({"name": tables.NAMES[dataset], "rows": rows,
                       "reference": at(own.loc[own["group"] == "reference scorer", "auc"].max())})
    ticks = [low + i / 10 for i in range(round((high - low) * 10) + 1)]
    return {"blocks": blocks, "ticks": [{"at": at(t), "text": f"{t:.1f}"} for t in ticks]}


def claims(found: list[verdict.Finding]) -> list[dict]:
    """The claims, each with its verdict and its findings as a table."""
    summary = verdict.overall(found)
    return [{"name": name, "statement": statement, "verdict": summary[name], "table": Markup(typeset.html_table(verdict.face(found, name))),
             "kind": summary[name].removesuffix(" where tested").replace(" ", "-")} for name, statement in verdict.CLAIMS.items()]


def deviations(scored) -> list[dict]:
    """For each data set that was run, where its configuration is not the paper's."""
    found = []
    for dataset in dict.fromkeys(r.job.dataset for r in scored):
        table = verdict.deviations(scored, dataset)
        face = typeset.Face(list(table.columns), table.values.tolist())
        found.append({"name": tables.NAMES[dataset], "count": len(table), "table": Markup(typeset.html_table(face))})
    return found


def show(profile: str, table: tables.Table) -> dict:
    """A table as the page shows it."""
    scorers = typeset.references_face(table)
    files = [f"{table.name}.{kind}" for kind in ("csv", "md", "tex")]
    return {"name": table.name, "title": table.title, "face": Markup(typeset.html_table(typeset.face(table))),
            "scorers": Markup(typeset.html_table(scorers)) if scorers else "", "under": table.under,
            "notes": [(tables.mark(i), text) for i, text in enumerate(table.notes)],
            "sentences": [Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(line)))) for line in typeset.sentences(table)],
            "files": [name for name in files if (paths.tables(profile) / name).exists()]}


def figures(profile: str) -> list[dict]:
    """The figures that were drawn, the paper's first and in its order, and those of them that are missing."""
    folder = paths.figures(profile)
    stems = sorted({path.stem for path in folder.glob("*.*") if path.suffix in (".svg", ".png")} if folder.exists() else ())
    found = []
    for figure in FIGURES:
        mine = [stem for stem in stems if re.match(rf"{figure}(?![0-9a-z])", stem)]
        found += [_figure(folder, stem, FIGURE_TITLES.get(figure, figure)) for stem in mine]
        found += [] if mine else [{"name": figure, "title": FIGURE_TITLES.get(figure, figure), "image": ""}]
    drawn = {figure["name"] for figure in found}
    return found + [_figure(folder, stem, stem.replace("_", " ").replace("-", " ").capitalize()) for stem in stems if stem not in drawn]


def _figure(folder: Path, stem: str, title: str) -> dict:
    dataset = next((name for key, name in tables.NAMES.items() if re.search(rf"(?<![a-z]){key}(?![a-z])", stem)), "")
    files = [f"{stem}.{kind}" for kind in ("svg", "png", "csv") if (folder / f"{stem}.{kind}").exists()]
    return {"name": stem, "title": title + (f", {dataset}" if dataset and dataset not in title else ""), "image": f"figures/{files[0]}",
            "files": files}


# -- runs ----------------------------------------------------------------------------------------------------------

def groups(profile: str, known: dict[Job, dict], pages: dict[Job, Path]) -> list[dict]:
    """All runs that the data sets and seeds on record call for, by data set: those there are, and those not run."""
    scored = tuple(job for job in known if job.step in ("score", "reference") and known[job]["status"] == "complete")
    found = []
    for dataset in [d for d in tables.NAMES if any(job.dataset == d for job in known)] + ["all"]:
        mine = [job for job in known if job.dataset == dataset]
        seeds = sorted({job.seed for job in mine if job.seed is not None}) or [0]
        called = [job for step, kind in STEPS.items() if (kind.per == "all") == (dataset == "all")
                  for job in jobs_of(profile, [dataset], seeds, step)]
        jobs = called + [job for job in mine if job not in called]
        runs = [_run(profile, job, known.get(job), scored, pages.get(job)) for job in jobs]
        spent = sum(known[job].get("seconds", 0) for job in mine)
        found.append({"name": tables.NAMES.get(dataset, "Over all data sets"), "runs": runs,
                      "counts": f"{sum(r['record'] is not None for r in runs)} of {len(runs)}, {duration(spent)}"})
    return found


def _run(profile: str, job: Job, record: dict | None, scored, page: Path | None) -> dict:
    """One line of the list of runs."""
    name = job.name.removeprefix(f"{job.dataset}/")
    if record is None:
        return {"name": name, "record": None}
    status, kind = record["status"], ""
    if status != "complete":
        kind = "failed"
    else:
        old = _outdated(job, record, scored)
        status, kind = (f"out of date: {old}", "old") if old else (status, kind)
    auc = record["metrics"].get("auc")
    memory = record.get("peak_memory_gib")
    ended = record.get("ended") or record.get("started")
    return {"name": name, "record": record, "id": _id(job.name), "status": status, "kind": kind, "error": record.get("error", ""),
            "auc": "" if auc is None else typeset.number(auc) + (" (subset)" if record["metrics"].get("subset") else ""),
            "time": duration(record["seconds"]) if "seconds" in record else typeset.DASH,
            "memory": f"{memory:.2f} GiB" if memory is not None else typeset.DASH, "commit": commit_of(record),
            "when": datetime.fromisoformat(ended).strftime("%-d %B %Y, %H:%M UTC") if ended else "",
            "page": page.relative_to(paths.report(profile)).as_posix() if page else "",
            "inputs": [(name, _id(name)) for name in record["inputs"]],
            "parameters": [(name, _plain(value)) for name, value in sorted(record["parameters"].items())]}


def _outdated(job: Job, record: dict, scored) -> str:
    """Why a complete run would run again now, in words; empty if it would not."""
    try:
        config = resolve(job.profile, job.dataset if job.dataset != "all" else "synthetic",
                         {name: tuple(v) if isinstance(v, list) else v for name, v in record["settings"].items()})
        return records.why_stale(job, config, scored)
    except (records.RecordError, ValueError) as problem:
        return str(problem)


def commit_of(record: dict) -> str:
    git = record.get("git") or {}
    return f"{git['commit'][:7]}{'+' if git.get('dirty') else ''}" if git.get("commit") else "none"


def _plain(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def makings(known: dict[Job, dict]) -> list[dict]:
    """Hardware and versions, once for all runs that share them."""
    shared: dict[str, list[Job]] = {}
    for job, record in known.items():
        key = json.dumps([record["hardware"], record.get("notes", {}).get("gpu"), record["versions"]], sort_keys=True)
        shared.setdefault(key, []).append(job)
    found = []
    for key, jobs in sorted(shared.items(), key=lambda item: -len(item[1])):
        hardware, gpu, versions = json.loads(key)
        found.append({"hardware": f"{hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gib']} GiB"
                      + (f"; {gpu}" if gpu else ""), "versions": list(versions.items()),
                      "runs": f"{len(jobs)} runs" if len(jobs) > 3 else ", ".join(job.name for job in jobs)})
    return found


# -- notebooks as pages --------------------------------------------------------------------------------------------

def write_pages(profile: str, known: dict[Job, dict]) -> dict[Job, Path]:
    """Turns executed notebooks into pages beside them where they are newer; returns the page of each run that has one."""
    found, exporter = {}, None
    for job, record in known.items():
        notebook = job.folder / f"{STEPS[job.step].notebook}.ipynb"
        page = notebook.with_suffix(".html")
        if not notebook.exists():
            continue
        if not page.exists() or page.stat().st_mtime < notebook.stat().st_mtime:
            exporter = exporter or _exporter()
            _write(page, _page(exporter, profile, job, record, notebook))
        found[job] = page
    return found


def _exporter():
    from nbconvert import HTMLExporter  # two seconds, and only where a notebook has changed
    return HTMLExporter(template_name="basic")


def _page(exporter, profile: str, job: Job, record: dict, notebook: Path) -> str:
    from pygments.formatters import HtmlFormatter
    body, _ = exporter.from_filename(str(notebook))
    highlighting = HtmlFormatter(style="xcode").get_style_defs(".highlight") + "\n@media (prefers-color-scheme: dark) {\n" + (
        HtmlFormatter(style="github-dark").get_style_defs(".highlight")) + "\n}\n.highlight { background: none !important; }"
    return _templates().get_template("notebook.html").render(
        title=f"{job.name}", highlighting=Markup(highlighting), body=Markup(body), profile=f"profile {profile}", run=job.name,
        status=record["status"], commit=commit_of(record), home=os.path.relpath(paths.report(profile) / "index.html", notebook.parent),
        mathjax=exporter.mathjax_url if "$" in body else "")
