"""The curated results on real data, `reports/reference/`, and what README says of them.

    ./run_all.sh --curate --profile small --dataset ped2

copies records, histories, stored scores and figures of complete runs, the executed notebooks without their pictures (which show
many frames of the data), and the weights of the full model of the lowest seed. What was curated before of other seeds and data sets
stays, so that seeds may come one after the other; the tables, the verdict and the figures that show several seeds are made anew from
the records of all. `scored.csv` grows by a line for each configuration that was scored. Last, the blocks of README that hold numbers
are written.

Below `reports/reference/` lie folders of the same form as below `reports/`, one a profile, so everything that reads records reads these
too, and `stage1.load_autoencoder` and `stage2.load_flow` read the weights.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
from pathlib import Path

from lib import paths
from lib.errors import CurateError
from lib.pipeline import records, terminal
from lib.pipeline.steps import STEPS

KEPT = (
    "run.json",
    "history.csv",
    "scores.csv",
    "reference.csv",
    "test_windows.npy",
    "test_errors_over_training.npz",
    "nll_over_training.npz",
)  # what tables and the figures of several seeds are made from
WEIGHTS = {
    ("autoencoder", "two_path"): "autoencoder.pt",
    ("flow", "app_intensity"): "flow.pt",
    ("flow", "mot"): "flow.pt",
}
REAL = ("ped1", "ped2", "avenue", "shanghaitech")
LARGEST_MB = 24  # of the whole folder
LARGEST_WEIGHTS_MB = 5  # of one network; larger ones (flows of three levels) are left out
README = paths.ROOT / "README.md"


@contextlib.contextmanager
def reading(folder: Path | None = None):
    """Within, records are read from below `folder` (the reference) instead of reports/."""
    before = os.environ.get("KIT_REPORTS")
    os.environ["KIT_REPORTS"] = str(folder or paths.REFERENCE)
    try:
        yield
    finally:
        os.environ.pop("KIT_REPORTS")
        if before is not None:
            os.environ["KIT_REPORTS"] = before


def curate(profile: str, datasets) -> list[Path]:
    """Keeps the complete runs of a profile on some data sets, and makes tables and figures of all that is kept. Returns the files.

    Raises CurateError if none was scored, if a run was made from uncommitted code or with weights of the reference, or if it
    is too much to keep.
    """
    found = [(job, record) for job, record in records.find(profile) if job.dataset in datasets]
    if not any(job.step == "score" for job, _ in found):
        raise CurateError(
            f"There is no scored run of {', '.join(datasets)} at profile {profile}. Run it first: "
            f"./run_all.sh --profile {profile} --dataset {' '.join(datasets)}"
        )
    dirty = [job.name for job, record in found if record["git"]["dirty"] is not False]
    if dirty:
        raise CurateError(
            f"{dirty[0]} was run with uncommitted changes, so nobody could run it again. Commit, and run it once more."
        )
    taken = [
        job.name for job, record in found if record["parameters"].get(f"{job.step}.weights") == "reference"
    ]
    if taken:
        raise CurateError(
            f"{taken[0]} took its weights from the reference (--pretrained), so there is nothing new to keep. Train it, "
            f"or delete {paths.shown(paths.report(profile))} and run what you want to keep."
        )
    with reading(paths.REFERENCE):
        before = records.find(profile)
    target, source, top = paths.REFERENCE / profile, paths.report(profile), paths.REFERENCE / ".partial"
    partial = top / profile
    shutil.rmtree(top, ignore_errors=True)
    for job, record in found:
        to = partial / job.folder.relative_to(source)
        to.mkdir(parents=True)
        for name in KEPT:
            if (job.folder / name).exists():
                shutil.copyfile(job.folder / name, to / name)
        keep_notebook(job.folder / f"{STEPS[job.step].notebook}.ipynb", to)
    earlier = keep_earlier(target / "runs", partial / "runs")
    for (step, variant), name in WEIGHTS.items():
        trained = [
            job
            for job, _ in found
            if (job.step, job.variant) == (step, variant) and (job.folder / name).exists()
        ]
        for job in [
            job for job in trained if job.seed == min(j.seed for j in trained if j.dataset == job.dataset)
        ]:
            to = partial / job.folder.relative_to(source)
            if not any(other.parent != to for other in to.parent.glob(f"*/{name}")):
                keep_weights(job.folder / name, to / name)
                if (to / name).stat().st_size > LARGEST_WEIGHTS_MB * 1e6:
                    (to / name).unlink()
    with reading(top):
        _tables(profile, partial / "tables")
        _figures(profile, source / "figures", target / "figures", partial / "figures", earlier)
        kept = records.find(profile)
    files = [path for path in partial.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    if size > LARGEST_MB:
        shutil.rmtree(top)
        raise CurateError(
            f"The curated result would be {size:.0f} MB; at most {LARGEST_MB} MB belong into the repository."
        )
    note_scored(before + kept)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    top.rmdir()
    return sorted(path for path in target.rglob("*") if path.is_file())


def keep_earlier(before: Path, now: Path) -> set[Path]:
    """Copies the runs that were curated before and are not among those curated now. Returns their folders."""
    kept = set()
    for record in before.rglob("run.json"):
        folder = now / record.parent.relative_to(before)
        if not (folder / "run.json").exists():
            shutil.copytree(
                record.parent, folder, ignore=lambda at, names: [n for n in names if (Path(at) / n).is_dir()]
            )
            kept.add(folder)
    return kept


def keep_notebook(path: Path, to: Path) -> None:
    """A copy of an executed notebook with its words and tables, without pictures, and without where it was run."""
    if not path.exists():
        return
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        cell["metadata"] = {name: value for name, value in cell["metadata"].items() if name == "tags"}
        if cell["cell_type"] == "code":
            for output in cell["outputs"]:
                if "data" in output:
                    output["data"] = {
                        kind: value for kind, value in output["data"].items() if not kind.startswith("image/")
                    }
            cell["outputs"] = [o for o in cell["outputs"] if o["output_type"] == "stream" or o.get("data")]
    paths.write_json(to / path.name, notebook)


def _tables(profile: str, folder: Path) -> None:
    """Tables and verdict of all records that are read at the moment."""
    from lib.evaluation import protocols
    from lib.evidence import scored_runs, stored_tables, tables, verdict

    scored = scored_runs.of_profile(profile)
    how = {
        "protocol": protocols.PROTOCOLS["paper"],
        "resamples": scored[0].parameters()["evaluate.resamples"],
    }
    for name in tables.MAKERS:
        stored_tables.table(name, scored, folder=folder, **how)
    found = stored_tables.findings(scored, folder=folder, **how)
    shutil.rmtree(folder.parent / ".state")  # the locks
    under = f"Frame-level ROC AUC, {how['protocol']}; {how['resamples']} resamples; profile {profile}."
    verdict.write(found, scored, under, folder, how["protocol"])


def _figures(profile: str, drawn: Path, before: Path, to: Path, earlier: set[Path]) -> None:
    """The figures of the runs. Where some runs of a data set are from earlier, figures of one run stay with the lowest seed's, and
    those of several seeds are drawn anew if the prepared frames are there."""
    import matplotlib.style

    from lib.datasets import prepared
    from lib.evidence import figure_data
    from lib.figures import further_figures, paper_figures, style

    runs = {job: job.folder for job, _ in records.find(profile)}
    seeds = {
        old: {
            name: min(
                (
                    job.seed
                    for job, folder in runs.items()
                    if job.dataset == name and job.seed is not None and (folder in earlier) == old
                ),
                default=None,
            )
            for name in {job.dataset for job in runs}
        }
        for old in (True, False)
    }
    stays = {
        name
        for name, seed in seeds[True].items()
        if seed is not None and (seeds[False][name] is None or seed < seeds[False][name])
    }
    to.mkdir(parents=True)
    for folder in (before, drawn):
        for path in sorted(folder.glob("*.*")) if folder.exists() else ():
            dataset = path.stem.split("-")[1] if "-" in path.stem else ""
            if path.suffix in (".svg", ".png", ".csv") and not (
                (to / path.name).exists() and dataset in stays
            ):
                shutil.copyfile(path, to / path.name)
    mixed = (
        {job.dataset for job, folder in runs.items() if (folder in earlier) == old and job.seed is not None}
        for old in (True, False)
    )
    for dataset in set.intersection(*mixed):
        own = {job: folder for job, folder in runs.items() if job.dataset == dataset}
        ready = [
            records.prepared_of(records.read(folder))
            for job, folder in own.items()
            if job.step == "prepare"
        ]
        if ready and (ready[0] / "manifest.json").exists():
            matplotlib.style.use(paths.STYLE)
            found = figure_data.Results(dataset, prepared.open_prepared(ready[0]), own)
            for name, draw in (
                ("roc", paper_figures.roc),
                ("protocols", further_figures.protocols),
                ("clips", further_figures.clips),
                ("training", further_figures.training),
            ):
                picture = draw(found)
                if picture.figure is not None:
                    style.save(picture.figure, picture.table, to, f"{name}-{dataset}")


def note_scored(found) -> None:
    """Adds what was scored on the test clips of real data sets to the list of everything that ever was: a line a score,
    those of the sensitivity study and of adopted selections included. What stands in the list stays."""
    lines = []
    for job, record in found:
        line = {
            "dataset": job.dataset,
            "profile": job.profile,
            "model": job.variant or "app_intensity_mot",
            "seed": job.seed,
            "settings": " ".join(
                f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}"
                for k, v in record["settings"].items()
            ),
            "auc": record["metrics"].get("auc"),
            "commit": (record["git"]["commit"] or "")[:7],
            "ended": record["ended"],
        }
        if job.dataset in REAL and job.step == "score" and line["auc"] is not None:
            lines.append(
                line
                | {
                    "settings": " ".join(
                        filter(None, [line["settings"], "subset" * record["metrics"]["subset"]])
                    )
                }
            )
        if job.dataset in REAL and job.step == "sensitivity":
            lines += [
                line
                | {
                    "settings": f"{line['settings']} sensitivity: {choice}".strip(),
                    "auc": record["metrics"]["base"] + change,
                }
                for choice, change in record["metrics"].get("changes", {}).items()
            ]
        if job.dataset in REAL and job.step == "selection":  # once adopted, what was tried is scored too
            lines += [
                line
                | {
                    "model": "two_path" if tried["stage"] == "autoencoder" else "app_intensity_mot",
                    "seed": tried["seed"],
                    "settings": f"{line['settings']} selection: {tried['stage']} {tried['option']}".strip(),
                    "auc": tried["test AUC"],
                }
                for tried in record["notes"].get("scored_on_test", [])
            ]
    before = []
    if paths.EVER_SCORED.exists():
        with open(paths.EVER_SCORED, encoding="utf-8", newline="") as file:
            before = list(csv.DictReader(file))
    lines = [{name: "" if value is None else str(value) for name, value in line.items()} for line in lines]
    everything = before + [line for line in lines if line not in before]
    if everything:
        with open(paths.EVER_SCORED, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(everything[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(everything, key=lambda line: line["ended"]))


def keep_weights(path: Path, to: Path) -> None:
    """A copy of trained weights in half precision."""
    from lib.training import loop  # here, so that README's blocks can be written without PyTorch

    loop.save(to, {"model": loop.half(loop.load(path)["model"])})


def profiles() -> list[str]:
    """The profiles that the reference holds."""
    return sorted(path.name for path in paths.REFERENCE.glob("*") if (path / "runs").is_dir())


def results_block() -> str:
    """README's results: for each profile and data set Table 3 as measured, from the reference records alone."""
    from lib.evaluation import protocols
    from lib.evidence import names, scored_runs, stored_tables, typesetting

    if not profiles():
        return "Nothing has been run on real data yet.\n"
    lines, protocol = [], protocols.PROTOCOLS["paper"]
    for profile in profiles():
        with reading():
            found = scored_runs.of_profile(profile)
            config = records.find(profile)[0][1]["parameters"]
            resamples = next(
                (r.parameters()["evaluate.resamples"] for r in found), config.get("evaluate.resamples", 1000)
            )
            how = {"protocol": protocol, "resamples": resamples, "folder": paths.tables(profile)}
            cells = stored_tables.table("table3", found, keep=False, **how).cells
            commands = {r.job.name: r.record["command"] for r in found}
        for dataset in dict.fromkeys(r.job.dataset for r in found):
            own = cells[(cells["dataset"] == dataset) & cells["auc"].notna()]
            own, scorers = own[own["group"] == "this kit"], own[own["group"] != "this kit"]
            of_it = [r for r in found if r.job.dataset == dataset]
            subset = ", subset" * any(r.subset for r in of_it)
            if own.empty:
                why = next((r.why_no_auc for r in of_it if r.job.step == "score"), "not scored")
                lines += [f"**{names.DATASETS[dataset]}{subset}, profile `{profile}`**: no AUC ({why}).", ""]
                continue
            lines += [
                f"**{names.DATASETS[dataset]}{subset}, profile `{profile}`**",
                "",
                "| | paper | this kit | 95 % interval | change | interval of the change | command |",
                "|---|---|---|---|---|---|---|",
            ]
            for cell in own.itertuples():
                jobs = cell.runs.split()
                lines.append(
                    f"| {typesetting.row_name(cell)} | {typesetting.number(cell.paper)} | {typesetting.measured(cell)} (n = {int(cell.n)}) | "
                    f"{typesetting.interval(cell.low, cell.high)} | {typesetting.change(cell.difference)} | "
                    f"{typesetting.interval_of_change(cell.difference_low, cell.difference_high)} | {_command(commands, jobs)} |"
                )
            whole = [
                r
                for r in found
                if (r.job.dataset, r.job.step, r.job.variant) == (dataset, "score", "app_intensity_mot")
                and r.labelled
            ]
            for group in scored_runs.apart(whole)[:1]:
                said = [
                    f"{name} {sum(r.record['metrics']['protocols'][name]['auc'] for r in group) / len(group):.3f}"
                    for name in group[0].record["metrics"]["protocols"]
                    if name != protocol.name
                ]
                lines += [
                    "",
                    f"The same scores of both flows together under other protocols: {'; '.join(said)}.",
                ]
            if len(scorers):
                said = [f"{cell.row} {typesetting.measured(cell)}" for cell in scorers.itertuples()]
                lines += [
                    "",
                    f"Reference scorers ({_command(commands, scorers.iloc[0].runs.split())}): {'; '.join(said)}.",
                ]
            commits = ", ".join(sorted({r.commit for r in of_it}))
            lines += [
                "",
                f"Frame-level AUC; protocol: {protocol}. n: seeds. Intervals: by resampling test clips, paired for "
                f"changes (the second row against the first, the rows with flows against the second). Scored at commit {commits}; "
                f"records: [`reports/reference/{profile}`](reports/reference/{profile}/).",
                "",
            ]
    return "\n".join(lines)


def _command(commands: dict[str, str], names: list[str]) -> str:
    """The command that makes some runs of one kind: that of the first, with the seeds of all."""
    seeds = " ".join(name.split("/")[-1].removeprefix("seed") for name in names)
    return f"`{re.sub(r'--seeds [0-9]+', f'--seeds {seeds}', commands[names[0]])}`"


def costs_block() -> str:
    """README's costs: time and memory of each step, from the reference records alone."""
    if not profiles():
        return "Nothing has been measured yet.\n"
    lines = [
        "| profile | data set | step | runs | time of one | peak memory | hardware |",
        "|---|---|---|---|---|---|---|",
    ]
    for profile in profiles():
        with reading():
            found = records.find(profile)
        total: dict[str, float] = {}
        for dataset in dict.fromkeys(job.dataset for job, _ in found if job.dataset != "all"):
            for step in STEPS:
                runs = [r for job, r in found if (job.dataset, job.step) == (dataset, step)]
                if runs:
                    times = sorted(r["seconds"] for r in runs)
                    span = (
                        terminal.duration(times[0])
                        if len(times) == 1 or terminal.duration(times[0]) == terminal.duration(times[-1])
                        else f"{terminal.duration(times[0])} to {terminal.duration(times[-1])}"
                    )
                    machine = runs[0]["hardware"]
                    where = (
                        runs[0].get("notes", {}).get("gpu")
                        or f"{machine['cores']} cores, {machine['processor']}"
                    )
                    lines.append(
                        f"| `{profile}` | {dataset} | {step} | {len(runs)} | {span} | "
                        f"{max(r['peak_memory_gib'] for r in runs):.1f} GiB | {where} |"
                    )
                    total[dataset] = total.get(dataset, 0) + sum(times)
            lines.append(
                f"| `{profile}` | {dataset} | **all** | | **{terminal.duration(total[dataset])}** | | |"
            )
    return "\n".join(lines) + "\n"


def update_readme(path: Path = README) -> None:
    """Writes the two blocks between their markers."""
    text = path.read_text(encoding="utf-8")
    for name, block in (("results", results_block()), ("costs", costs_block())):
        text = re.sub(
            rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)",
            lambda m: m[1] + block + m[2],
            text,
            flags=re.S,
        )
    paths.write_text(path, text)
