"""The curated results on real data, `reports/reference/`, and the numbers in README.

    ./run_all.sh --curate --profile small --dataset ped2

keeps the parts of complete runs that people look at: records, histories, scores with five significant digits,
the data of figures of several seeds, and the weights of the full model of the lowest seed in half precision,
as far as there is room. Each figure is kept as one file; executed notebooks are not kept. Results of other
seeds and data sets that were curated before stay, so that seeds can be added one by one; tables, verdict and
figures of several seeds are made again from all records. `scored.csv` gets a line for each configuration that
was scored. Finally, the blocks of numbers in README are written.

The folders below `reports/reference/`, one per profile, have the same structure as those below `reports/`, so
all code that reads records can read them, and `stage1.load_autoencoder` and `stage2.load_flow` read the
weights.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lib import paths
from lib.errors import CurateError
from lib.evidence.scored_runs import NOT_COMPARED
from lib.pipeline import records, terminal
from lib.pipeline.steps import FULL, STEPS, STUDIES, Job
from lib.settings.values import as_typed

KEPT = ("run.json", "history.csv", "test_windows.npy", "selection.csv", "choices.csv")  # copied unchanged
SCORES = ("scores.csv", "reference.csv")  # rounded
ALONG_TRAINING = ("test_errors_over_training.npz", "nll_over_training.npz")  # in half precision
DIGITS = 5
WEIGHTS = {
    ("autoencoder", "two_path"): "autoencoder.pt",
    ("flow", "app_intensity"): "flow.pt",
    ("flow", "mot"): "flow.pt",
}
REAL = ("ped1", "ped2", "avenue", "shanghaitech")
LARGEST_MB = 12  # limit for everything below reports/reference
LARGEST_SVG_KB, LARGEST_WIDTH = 100, 1400  # a larger drawing is kept as a png of this width
README = paths.ROOT / "README.md"
RESULTS = paths.REFERENCE / "README.md"  # all results and their costs
# the data set, and profiles, of which the first that was run is shown
HEADLINE = ("ped2", ("paper", "long", "small"))


@contextlib.contextmanager
def reading(folder: Path | None = None):
    """Within this context, records are read from below `folder` (by default the reference) instead of
    reports/."""
    before = os.environ.get("KIT_REPORTS")
    os.environ["KIT_REPORTS"] = str(folder or paths.REFERENCE)
    try:
        yield
    finally:
        os.environ.pop("KIT_REPORTS")
        if before is not None:
            os.environ["KIT_REPORTS"] = before


def curate(profile: str, datasets) -> list[Path]:
    """Keep the complete runs of a profile on some data sets, and make tables and figures of everything that
    is kept.

    Returns the files. Raises CurateError if nothing was scored, if a run cannot be repeated (uncommitted
    code, weights of the reference), if runs have different settings, or if the result is too large.
    """
    found = to_curate(profile, datasets)
    with reading():
        before = records.find(profile)
    target, source, top = paths.REFERENCE / profile, paths.report(profile), paths.REFERENCE / ".partial"
    partial = top / profile
    shutil.rmtree(top, ignore_errors=True)
    for job, record in found:
        keep_run(job.folder, partial / job.folder.relative_to(source), record)
    earlier = keep_earlier(target / "runs", partial / "runs")
    with reading(top):
        _tables(profile, partial / "tables")
        _figures(profile, source / "figures", target / "figures", partial / "figures", earlier)
        kept = records.find(profile)
    others = size_of(paths.REFERENCE) - size_of(target) - size_of(top)
    _keep_weights(found, source, partial, room=LARGEST_MB * 1e6 - others - size_of(partial))
    size = (others + size_of(partial)) / 1e6
    if size > LARGEST_MB:
        shutil.rmtree(top)
        raise CurateError(
            f"The curated results would be {size:.0f} MB; the limit is {LARGEST_MB} MB."
            f" Remove a profile that is not needed from {paths.shown(paths.REFERENCE)}, or curate fewer sets."
        )
    note_scored(before + kept)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    top.rmdir()
    return sorted(path for path in target.rglob("*") if path.is_file())


def to_curate(profile: str, datasets) -> list[tuple[Job, dict]]:
    """The complete runs of a profile on some data sets. Raises CurateError if they cannot be curated."""
    found = [(job, record) for job, record in records.find(profile) if job.dataset in datasets]
    if not any(job.step == "score" for job, _ in found):
        with reading():
            earlier = any(job.step == "score" for job, _ in records.find(profile))
        found = [(job, record) for job, record in found if job.step in STUDIES and earlier]
    if not found:
        raise CurateError(
            f"There is no scored run of {', '.join(datasets)} at profile {profile}. Run it first: "
            f"./run_all.sh --profile {profile} --dataset {' '.join(datasets)}"
        )
    for job, record in found:
        if record["git"]["dirty"] is not False:
            raise CurateError(
                f"{job.name} was run with uncommitted changes, so nobody could repeat it. Commit, and run it "
                "again."
            )
        if record["parameters"].get(f"{job.step}.weights") == "reference":
            raise CurateError(
                f"{job.name} took its weights from the reference (--pretrained), so there is nothing new to "
                f"keep. Train it, or delete {paths.shown(paths.report(profile))} and run what is to be kept."
            )
    _refuse_mixed(found)
    return found


def _refuse_mixed(found) -> None:
    """Raise CurateError if a parameter has two values among the runs of one data set.

    Parameters of how something is computed may differ. Steps that try settings (sensitivity, selection) or
    may train for longer (growth) are ignored.
    """
    first: dict[tuple[str, str], tuple[Job, object]] = {}
    for job, record in found:
        for name, value in record["parameters"].items():
            if name.startswith(NOT_COMPARED) or job.step in ("sensitivity", *STUDIES):
                continue
            other, seen = first.setdefault((job.dataset, name), (job, value))
            if seen != value:
                raise CurateError(
                    f"The runs of {job.dataset} have different settings: {name} is {seen} in {other.name} "
                    f"and {value} in {job.name}. Run everything with one setting before curating it."
                )


def preview(profile: str, datasets) -> str:
    """What `curate` would do, in words; writes nothing. Raises CurateError as `curate` does."""
    found = to_curate(profile, datasets)
    with reading():
        before = {job.name: record for job, record in records.find(profile)}
    lines = [f"To {paths.shown(paths.REFERENCE / profile)}:"]
    for dataset in dict.fromkeys(job.dataset for job, _ in found):
        own = [(job, record) for job, record in found if job.dataset == dataset]
        seeds = sorted({job.seed for job, _ in own if job.seed is not None})
        new = [job.name for job, _ in own if job.name not in before]
        changed = [
            job.name
            for job, record in own
            if job.name in before and before[job.name]["ended"] != record["ended"]
        ]
        listed = ", ".join(map(str, seeds)) or "none"
        lines.append(
            f"  {dataset}: {len(own)} runs, seeds {listed}; {len(new)} are new, "
            f"{len(changed)} replace a run that was curated before"
        )
        settings = own[-1][1]["settings"]
        if settings:
            lines.append("    settings: " + ", ".join(f"{name}={value}" for name, value in settings.items()))
        for job, record in own:
            if job.step == "score" and record["metrics"].get("auc") is not None:
                was = before.get(job.name, {}).get("metrics", {}).get("auc")
                then = "" if was is None else f" (curated before: {was:.3f})"
                lines.append(f"    {job.name:<46} AUC {record['metrics']['auc']:.3f}{then}")
    stays = [name for name in before if name not in {job.name for job, _ in found}]
    lines.append(f"  {len(stays)} runs that were curated before stay.")
    lines.append(
        "Tables, verdict and figures of this profile, scored.csv and README's numbers are written again."
    )
    return "\n".join(lines)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; 0 if it does not exist."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def keep_run(folder: Path, to: Path, record: dict) -> None:
    """Copy a run's record and small results. The record says which files were rounded, with their new
    hash."""
    to.mkdir(parents=True)
    for name in KEPT:
        if (folder / name).exists():
            shutil.copyfile(folder / name, to / name)
    for name in SCORES:
        if (folder / name).exists():
            scores = pd.read_csv(folder / name, dtype={"clip": str})
            scores.to_csv(to / name, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
    for name in ALONG_TRAINING:
        if (folder / name).exists():
            with np.load(folder / name) as arrays:
                halves = {key: _to_half(arrays[key]) for key in arrays.files}
            np.savez_compressed(to / name, **halves)
    outputs = [_rounded(to / o["file"]) if o["file"] in SCORES else o for o in record["outputs"]]
    paths.write_json(to / "run.json", record | {"outputs": outputs})


def _rounded(path: Path) -> dict:
    """The entry of a rounded file among the outputs of its record."""
    size, sha = path.stat().st_size, paths.sha256_of(path)
    return {"file": path.name, "bytes": size, "sha256": sha, "digits": DIGITS}


def _to_half(array: np.ndarray) -> np.ndarray:
    """Floats in half precision if they fit into it; otherwise unchanged."""
    if array.dtype.kind != "f" or (array.size and np.abs(array).max() > np.finfo(np.float16).max):
        return array
    return array.astype(np.float16)


def _keep_weights(found, source: Path, partial: Path, room: float) -> None:
    """Keep the weights of the full model of each data set's lowest seed, the smallest first, while there is
    room."""
    waiting = []
    for (step, variant), name in WEIGHTS.items():
        own = [job for job, _ in found if (job.step, job.variant) == (step, variant)]
        lowest = _lowest_seeds(job for job in own if (job.folder / name).exists())
        for dataset, seed in lowest.items():
            job = next(job for job in own if (job.dataset, job.seed) == (dataset, seed))
            to = partial / job.folder.relative_to(source)
            if not any(other.parent != to for other in to.parent.glob(f"*/{name}")):
                keep_weights(job.folder / name, to / name)
                waiting.append(to / name)
    for path in sorted(waiting, key=lambda path: path.stat().st_size):
        room -= path.stat().st_size
        if room < 0:
            path.unlink()


def _lowest_seeds(jobs) -> dict[str, int]:
    """The lowest seed of each data set among some jobs, without data sets that have no seeds."""
    found: dict[str, int] = {}
    for job in jobs:
        if job.seed is not None:
            found[job.dataset] = min(job.seed, found.get(job.dataset, job.seed))
    return found


def keep_earlier(before: Path, now: Path) -> set[Path]:
    """Copy the runs that were curated before and are not curated now. Returns their folders."""
    kept = set()
    for record in before.rglob("run.json"):
        folder = now / record.parent.relative_to(before)
        if not (folder / "run.json").exists():
            shutil.copytree(
                record.parent, folder, ignore=lambda at, names: [n for n in names if (Path(at) / n).is_dir()]
            )
            kept.add(folder)
    return kept


def _tables(profile: str, folder: Path) -> None:
    """Tables and verdict from all records below the current reports folder."""
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
    """The figures of the runs, one file each.

    If some runs of a data set were curated earlier, figures of one run stay those of the lowest seed, and
    figures of several seeds are drawn again if the prepared frames exist.
    """
    runs = {job: job.folder for job, _ in records.find(profile)}
    old = {job for job, folder in runs.items() if folder in earlier}
    lowest_old, lowest_new = _lowest_seeds(old), _lowest_seeds(set(runs) - old)
    stays = {
        dataset
        for dataset, seed in lowest_old.items()
        if dataset not in lowest_new or seed < lowest_new[dataset]
    }
    to.mkdir(parents=True)
    datasets = sorted({job.dataset for job in runs if job.dataset != "all"})
    for folder in (before, drawn):
        for stem in sorted({path.stem for path in folder.glob("*.*") if path.suffix in (".svg", ".png")}):
            figure, _, dataset = stem.partition("-")
            # one network for all data sets
            wanted = datasets[:1] if figure == "fig2" else datasets
            is_kept = any(to.glob(f"{stem}.*"))
            if (not dataset or dataset in wanted) and not (is_kept and dataset in stays):
                keep_figure(folder, stem, to)
    for dataset in sorted(set(lowest_old) & set(lowest_new)):
        own = {job: folder for job, folder in runs.items() if job.dataset == dataset}
        _draw_several(dataset, own, to)


def keep_figure(folder: Path, stem: str, to: Path) -> None:
    """Keep one file of a figure: the drawing if it is small, otherwise a picture of screen size."""
    from PIL import Image

    for path in to.glob(f"{stem}.*"):
        path.unlink()
    drawing, picture = folder / f"{stem}.svg", folder / f"{stem}.png"
    if drawing.exists() and (drawing.stat().st_size <= LARGEST_SVG_KB * 1000 or not picture.exists()):
        shutil.copyfile(drawing, to / drawing.name)
        return
    with Image.open(picture) as image:
        width, height = image.size
        if width <= LARGEST_WIDTH:
            shutil.copyfile(picture, to / picture.name)
            return
        smaller = LARGEST_WIDTH / width  # in pixels, not in inches
        how = {"dpi": tuple(dots * smaller for dots in image.info["dpi"])} if "dpi" in image.info else {}
        image = image.convert("RGB").resize((LARGEST_WIDTH, round(height * smaller)), Image.Resampling.BOX)
        image.save(to / picture.name, optimize=True, **how)


def _draw_several(dataset: str, runs: dict[Job, Path], to: Path) -> None:
    """Draw the figures of several seeds, if the prepared frames exist."""
    import matplotlib.style

    from lib.datasets import prepared
    from lib.evidence import figure_data
    from lib.figures import further_figures, paper_figures, style

    folders = [records.prepared_of(records.read(f)) for job, f in runs.items() if job.step == "prepare"]
    if not folders or not folders[0] or not (folders[0] / "manifest.json").exists():
        return
    matplotlib.style.use(paths.STYLE)
    found = figure_data.Results(dataset, prepared.open_prepared(folders[0]), runs)
    drawings = {
        "roc": paper_figures.roc,
        "protocols": further_figures.protocols,
        "clips": further_figures.clips,
        "training": further_figures.training,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, draw in drawings.items():
            picture, stem = draw(found), f"{name}-{dataset}"
            if picture.figure is not None and style.save(picture.figure, picture.table, Path(folder), stem):
                keep_figure(Path(folder), stem, to)


def note_scored(found) -> None:
    """Add the scores on test clips of real data sets to the list of everything that was ever scored.

    One line per score, including those of the sensitivity study, of adopted selections and along a growth
    run. Lines that are in the list stay.
    """
    lines = [line for job, record in found if job.dataset in REAL for line in _scores_of(job, record)]
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


def _scores_of(job: Job, record: dict) -> list[dict]:
    """The lines of scored.csv for one run."""
    settings = " ".join(f"{name}={as_typed(value)}" for name, value in record["settings"].items())
    metrics = record["metrics"]

    def line(auc: float, note: str = "", model: str = job.variant or FULL, seed=job.seed) -> dict:
        return {
            "dataset": job.dataset,
            "profile": job.profile,
            "model": model,
            "seed": seed,
            "settings": f"{settings} {note}".strip(),
            "auc": auc,
            "commit": (record["git"]["commit"] or "")[:7],
            "ended": record["ended"],
        }

    lines = []
    if job.step == "score" and metrics.get("auc") is not None:
        lines.append(line(metrics["auc"], "subset" if metrics["subset"] else ""))
    if job.step == "sensitivity":
        for choice, change in metrics.get("changes", {}).items():
            lines.append(line(metrics["base"] + change, f"sensitivity: {choice}"))
    if job.step == "selection":  # after adoption, all trials are scored too
        for tried in record["notes"].get("scored_on_test", []):
            model = "two_path" if tried["stage"] == "autoencoder" else FULL
            note = f"selection: {tried['stage']} {tried['option']}"
            lines.append(line(tried["test AUC"], note, model, tried["seed"]))
    if job.step == "growth":
        for point in metrics["points"]:
            if point["clips"] == "test":
                note = f"growth: {point['windows']} windows"
                lines += [line(point["R"], note, "two_path"), line(point["S"], note, FULL)]
    return lines


def keep_weights(path: Path, to: Path) -> None:
    """Copy trained weights in half precision."""
    from lib.training import loop  # imported here, so that README's blocks can be written without PyTorch

    loop.save(to, {"model": loop.half(loop.load(path)["model"])})


def profiles() -> list[str]:
    """The profiles in the reference."""
    return sorted(path.name for path in paths.REFERENCE.glob("*") if (path / "runs").is_dir())


def headline_block() -> str:
    """README's table: the paper's and our numbers on UCSD Ped2, at the largest profile that was run."""
    from lib.evaluation import protocols
    from lib.evidence import names, scored_runs, stored_tables, typesetting

    dataset, wanted = HEADLINE
    profile = next((name for name in wanted if name in profiles()), None)
    if profile is None:
        return "Nothing has been run on real data yet.\n"
    protocol = protocols.PROTOCOLS["paper"]
    with reading():
        found = scored_runs.of_profile(profile)
        resamples = next(r.parameters()["evaluate.resamples"] for r in found)
        how = {"protocol": protocol, "resamples": resamples, "folder": paths.tables(profile)}
        cells = stored_tables.table("table3", found, keep=False, **how).cells
    own = cells[(cells["dataset"] == dataset) & cells["auc"].notna() & (cells["group"] == "this kit")]
    lines = [
        f"Frame-level AUC on {names.DATASETS[dataset]}, profile `{profile}` ({protocol}; intervals by "
        "resampling test clips):",
        "",
        "| | paper | this kit | 95 % interval |",
        "|---|---|---|---|",
    ]
    for cell in own.itertuples():
        paper, interval = typesetting.number(cell.paper), typesetting.interval(cell.low, cell.high)
        lines.append(f"| {cell.row} | {paper} | {typesetting.measured(cell)} | {interval} |")
    return "\n".join(lines) + "\n"


def results_block() -> str:
    """The results from the reference records: Table 3 as measured, for each profile and data set."""
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
            subset = ", subset" if any(r.subset for r in of_it) else ""
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
            lines += [_row(cell, commands) for cell in own.itertuples()]
            whole = [
                r
                for r in found
                if (r.job.dataset, r.job.step, r.job.variant) == (dataset, "score", "app_intensity_mot")
                and r.labelled
            ]
            for group in scored_runs.apart(whole)[:1]:
                by_protocol = [r.record["metrics"]["protocols"] for r in group]
                means = {
                    name: sum(aucs[name]["auc"] for aucs in by_protocol) / len(group)
                    for name in by_protocol[0]
                    if name != protocol.name
                }
                said = [f"{name} {auc:.3f}" for name, auc in means.items()]
                lines += [
                    "",
                    f"The same scores of both flows together under other protocols: {'; '.join(said)}.",
                ]
            if len(scorers):
                said = [f"{cell.row} {typesetting.measured(cell)}" for cell in scorers.itertuples()]
                command = _command(commands, scorers.iloc[0].runs.split())
                lines += ["", f"Reference scorers ({command}): {'; '.join(said)}."]
            commits = ", ".join(sorted({r.commit for r in of_it}))
            lines += [
                "",
                f"Frame-level AUC; protocol: {protocol}. n: seeds. Intervals: by resampling test clips, "
                "paired for changes (the second row against the first, the rows with flows against the "
                f"second). Scored at commit {commits}; records: [`{profile}/`]({profile}/), [as a "
                f"page]({profile}/index.html).",
                "",
            ]
    return "\n".join(lines)


def _row(cell, commands: dict[str, str]) -> str:
    """A row of the table of results."""
    from lib.evidence import typesetting

    texts = [
        typesetting.row_name(cell),
        typesetting.number(cell.paper),
        f"{typesetting.measured(cell)} (n = {cell.n:.0f})",
        typesetting.interval(cell.low, cell.high),
        typesetting.change(cell.difference),
        typesetting.interval_of_change(cell.difference_low, cell.difference_high),
        _command(commands, cell.runs.split()),
    ]
    return f"| {' | '.join(texts)} |"


def _command(commands: dict[str, str], names: list[str]) -> str:
    """The command for some runs of one kind: that of the first, with the seeds of all."""
    seeds = " ".join(name.split("/")[-1].removeprefix("seed") for name in names)
    return f"`{re.sub(r'--seeds [0-9]+', f'--seeds {seeds}', commands[names[0]])}`"


def costs_block() -> str:
    """Time and memory of each step, from the reference records."""
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
                    # a selection that was continued counts its trials, one after the other
                    times = [max(r["seconds"], r["notes"].get("trial_seconds", 0)) for r in runs]
                    shortest, longest = terminal.duration(min(times)), terminal.duration(max(times))
                    span = shortest if shortest == longest else f"{shortest} to {longest}"
                    machine, gpu = runs[0]["hardware"], runs[0].get("notes", {}).get("gpu")
                    where = gpu or f"{machine['cores']} cores, {machine['processor']}"
                    lines.append(
                        f"| `{profile}` | {dataset} | {step} | {len(runs)} | {span} | "
                        f"{max(r['peak_memory_gib'] for r in runs):.1f} GiB | {where} |"
                    )
                    total[dataset] = total.get(dataset, 0) + sum(times)
            lines.append(
                f"| `{profile}` | {dataset} | **all** | | **{terminal.duration(total[dataset])}** | | |"
            )
    return "\n".join(lines) + "\n"


def blocks() -> dict[Path, dict[str, str]]:
    """The blocks between markers, by file and name."""
    return {
        README: {"headline": headline_block()},
        RESULTS: {"results": results_block(), "costs": costs_block()},
    }


def update_readme() -> None:
    """Write the blocks of numbers between their markers."""
    for path, found in blocks().items():
        text = path.read_text(encoding="utf-8")
        for name, block in found.items():
            text = re.sub(
                rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)",
                lambda m, block=block: m[1] + block + m[2],
                text,
                flags=re.S,
            )
        paths.write_text(path, text)
