"""The curated result of the last full run on real data, `reports/reference/`, and what README says of it.

    ./run_all.sh --curate --profile small --dataset ped2

copies records, histories, stored scores, tables and figures of complete runs, and the weights of the full model of the lowest
seed, but no features and no executed notebooks (which show many frames of the data), and writes the blocks of README that hold
numbers. Below `reports/reference/` lie folders of the same form as below `reports/`, one a profile, so everything that reads
records reads these too, and `stage1.load_autoencoder` and `stage2.load_flow` read the weights.
"""
from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from lib import paths, pipeline, records
from lib.steps import STEPS

KEPT = ("run.json", "history.csv", "scores.csv", "reference.csv")
WEIGHTS = {("autoencoder", "two_path"): "autoencoder.pt", ("flow", "app_intensity"): "flow.pt", ("flow", "mot"): "flow.pt"}
LARGEST_MB = 16  # of the whole folder
README = paths.ROOT / "README.md"


class CurateError(ValueError):
    """There is nothing to curate, or it is too much. The text says which."""


@contextlib.contextmanager
def reading(folder: Path = paths.REFERENCE):
    """Within, records are read from below `folder` instead of reports/."""
    before = os.environ.get("KIT_REPORTS")
    os.environ["KIT_REPORTS"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("KIT_REPORTS")
        if before is not None:
            os.environ["KIT_REPORTS"] = before


def curate(profile: str, datasets) -> list[Path]:
    """Copies the complete runs of a profile on some data sets, the tables and the figures. Returns the files.

    Raises CurateError if a run of them is not complete, was made from uncommitted code, or if it is too much to keep.
    """
    found = [(job, record) for job, record in records.find(profile) if job.dataset in datasets]
    if not any(job.step == "score" for job, _ in found):
        raise CurateError(f"There is no scored run of {', '.join(datasets)} at profile {profile}. Run it first: "
                          f"./run_all.sh --profile {profile} --dataset {' '.join(datasets)}")
    dirty = [job.name for job, record in found if record["git"]["dirty"] is not False]
    if dirty:
        raise CurateError(f"{dirty[0]} was run with uncommitted changes, so nobody could run it again. Commit, and run it once more.")
    target, source = paths.REFERENCE / profile, paths.report(profile)
    partial = target.with_name(f".{profile}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for job, _ in found:
        to = partial / job.folder.relative_to(source)
        to.mkdir(parents=True)
        for name in KEPT:
            if (job.folder / name).exists():
                shutil.copyfile(job.folder / name, to / name)
    for (step, variant), name in WEIGHTS.items():
        trained = [job for job, _ in found if (job.step, job.variant) == (step, variant) and (job.folder / name).exists()]
        for job in [job for job in trained if job.seed == min(j.seed for j in trained if j.dataset == job.dataset)]:
            keep_weights(job.folder / name, partial / job.folder.relative_to(source) / name)
    for name in ("tables", "figures"):
        if (source / name).exists():
            shutil.copytree(source / name, partial / name, ignore=shutil.ignore_patterns(".*", "*.part"))
    files = [path for path in partial.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    if size > LARGEST_MB:
        raise CurateError(f"The curated result would be {size:.0f} MB; at most {LARGEST_MB} MB belong into the repository.")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return sorted(target.rglob("*"))


def keep_weights(path: Path, to: Path) -> None:
    """A copy of trained weights in half precision."""
    from lib import training  # here, so that README's blocks can be written without PyTorch
    training.save(to, {"model": training.half(training.load(path)["model"])})


def profiles() -> list[str]:
    """The profiles that the reference holds."""
    return sorted(path.name for path in paths.REFERENCE.glob("*") if (path / "runs").is_dir())


def results_block() -> str:
    """README's results: for each profile and data set Table 3 as measured, from the reference records alone."""
    from lib import evaluation, results, tables, typeset
    if not profiles():
        return "Nothing has been run on real data yet.\n"
    lines, protocol = [], evaluation.PROTOCOLS["paper"]
    for profile in profiles():
        with reading():
            found = results.of_profile(profile)
            config = records.find(profile)[0][1]["parameters"]
            resamples = next((r.parameters()["evaluate.resamples"] for r in found), config.get("evaluate.resamples", 1000))
            cells = tables.table3(found, tables.paper_results(), protocol=protocol, resamples=resamples).cells
            commands = {r.job.name: r.record["command"] for r in found}
        for dataset in dict.fromkeys(r.job.dataset for r in found):
            own = cells[cells["dataset"] == dataset]
            lines += [f"**{tables.NAMES[dataset]}, profile `{profile}`**", "",
                      "| | paper | this kit | 95 % interval | change | interval of the change | command |", "|---|---|---|---|---|---|---|"]
            for cell in own.itertuples():
                names = [name for name in str(cell.runs).split() if name in commands]
                command = f"`{commands[names[0]]}`" if names else ""
                n = f" (n = {int(cell.n)})" if cell.n == cell.n and cell.n else ""
                lines.append(f"| {cell.row} | {typeset.number(cell.paper)} | {typeset.measured(cell)}{n} | "
                             f"{typeset.interval(cell.low, cell.high)} | {typeset.change(cell.difference)} | "
                             f"{typeset.interval_of_change(cell.difference_low, cell.difference_high)} | {command} |")
            commits = ", ".join(sorted({r.commit for r in found if r.job.dataset == dataset}))
            lines += ["", f"Frame-level AUC; protocol: {protocol}. n: seeds. Intervals: by resampling test clips, paired for "
                      f"changes (the second row against the first, the rows with flows against the second). Scored at commit {commits}; "
                      f"records: [`reports/reference/{profile}`](reports/reference/{profile}/).", ""]
    return "\n".join(lines)


def costs_block() -> str:
    """README's costs: time and memory of each step, from the reference records alone."""
    if not profiles():
        return "Nothing has been measured yet.\n"
    lines = ["| profile | data set | step | runs | time of one | peak memory | hardware |", "|---|---|---|---|---|---|---|"]
    for profile in profiles():
        with reading():
            found = records.find(profile)
        total: dict[str, float] = {}
        for dataset in dict.fromkeys(job.dataset for job, _ in found if job.dataset != "all"):
            for step in STEPS:
                runs = [r for job, r in found if (job.dataset, job.step) == (dataset, step)]
                if runs:
                    times = sorted(r["seconds"] for r in runs)
                    span = pipeline.duration(times[0]) if len(times) == 1 or pipeline.duration(times[0]) == pipeline.duration(times[-1]) \
                        else f"{pipeline.duration(times[0])} to {pipeline.duration(times[-1])}"
                    machine = runs[0]["hardware"]
                    where = runs[0].get("notes", {}).get("gpu") or f"{machine['cores']} cores, {machine['processor']}"
                    lines.append(f"| `{profile}` | {dataset} | {step} | {len(runs)} | {span} | "
                                 f"{max(r['peak_memory_gib'] for r in runs):.1f} GiB | {where} |")
                    total[dataset] = total.get(dataset, 0) + sum(times)
            lines.append(f"| `{profile}` | {dataset} | **all** | | **{pipeline.duration(total[dataset])}** | | |")
    return "\n".join(lines) + "\n"


def update_readme(path: Path = README) -> None:
    """Writes the two blocks between their markers."""
    text = path.read_text(encoding="utf-8")
    for name, block in (("results", results_block()), ("costs", costs_block())):
        text = re.sub(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)", lambda m: m[1] + block + m[2], text, flags=re.S)
    path.write_text(text, encoding="utf-8")
