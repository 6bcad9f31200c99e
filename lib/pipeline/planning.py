"""What one call of run_all.sh covers, which of its jobs have to run, and why.

Snakemake decides by files. It sees one empty marker per job, below `reports/<profile>/.state/`, and nothing else; the
markers are set to agree with the records before it looks. So what has to run follows from parameters, code and results,
and never from the times of files.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from lib import paths
from lib.config import Config, resolve, values
from lib.datasets import contents, layouts, own_video
from lib.errors import DataError
from lib.pipeline import records
from lib.pipeline.steps import STEPS, TARGETS, Job, jobs_of, upstream


@dataclass(frozen=True)
class Grid:
    """What one call of run_all.sh covers: a profile, data sets, seeds, and settings that differ from the profile's."""

    profile: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[tuple[str, object], ...] = ()
    again: tuple[str, ...] = ()  # names of jobs, or of steps, to run though their records hold

    @staticmethod
    def from_json(text: str) -> Grid:
        raw = json.loads(text)
        return Grid(
            raw["profile"],
            tuple(raw["datasets"]),
            tuple(map(int, raw["seeds"])),
            tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in raw["settings"]),
            tuple(raw["again"]),
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def config(self, job: Job):
        """The configuration of a job. What covers all data sets reads no parameter that differs between them."""
        return _config(self.profile, self.datasets[0] if job.dataset == "all" else job.dataset, self.settings)

    def scored(self) -> tuple[Job, ...]:
        """The score jobs that tables and figures cover: those of this grid, and those that were run before."""
        return _scored(self)

    def runs(self, job: Job) -> bool:
        """Whether a job is one of this grid's. The results of other data sets and seeds, which tables cover too, are taken
        as they are: they were made with settings of their own, and may have taken a night."""
        return (
            job.dataset == "all"
            or job.dataset in self.datasets
            and (job.seed is None or job.seed in self.seeds)
        )

    def inputs(self, job: Job) -> list[Job]:
        """The jobs of this grid that a job reads."""
        return [needed for needed in upstream(job, self.scored()) if self.runs(needed)]

    def jobs(self, targets) -> tuple[Job, ...]:
        """The jobs that targets name, and all of this grid's that these read, inputs first."""
        wanted = [job for target in targets for job in jobs_for(self, target)]
        order: dict[Job, None] = {}

        def visit(job: Job):
            if job not in order:
                for needed in self.inputs(job):
                    visit(needed)
                order[job] = None

        for job in wanted:
            visit(job)
        return tuple(order)


@functools.cache
def _config(profile, dataset, settings):
    return resolve(profile, dataset, dict(settings))


@functools.cache
def _scored(grid: Grid) -> tuple[Job, ...]:
    before = [
        job
        for job, _ in records.find(grid.profile)
        if job.step in ("score", "reference") and (grid.runs(job) or stands(job))
    ]
    asked = [
        job
        for step in ("score", "reference")
        for job in jobs_of(grid.profile, grid.datasets, grid.seeds, step)
    ]
    return tuple(dict.fromkeys([*asked, *before]))


def jobs_for(grid: Grid, target: str) -> list[Job]:
    """The jobs of one target: a step, a group of steps, or one variant by its own name (fig4, two_path)."""
    if target in TARGETS:
        return [job for step in TARGETS[target] for job in jobs_for(grid, step)]
    if target in STEPS:
        return jobs_of(grid.profile, grid.datasets, grid.seeds, target)
    return [
        job
        for step, kind in STEPS.items()
        if target in kind.variants
        for job in jobs_of(grid.profile, grid.datasets, grid.seeds, step, (target,))
    ]


def target_names() -> tuple[str, ...]:
    """Everything that can be asked for."""
    variants = [v for step in STEPS.values() for v in step.variants if v]
    return tuple(dict.fromkeys([*TARGETS, *STEPS, *variants]))


# -- what has to run ---------------------------------------------------------------------------------------------


def plan(grid: Grid, jobs) -> dict[Job, str]:
    """The jobs that have to run, in order, each with the reason. A job whose input runs again may turn out unchanged."""
    reasons: dict[Job, str] = {}
    for job in jobs:
        again = job.name in grid.again or job.step in grid.again
        reason = "asked to run again" if again else why_stale(job, grid.config(job), grid.scored())
        waiting = next((needed for needed in upstream(job, grid.scored()) if needed in reasons), None)
        if reason or waiting:
            reasons[job] = (
                reason if reason and reason != "its inputs are missing" else f"{waiting.name} runs first"
            )
    return reasons


def why_stale(job: Job, config: Config, scored: tuple[Job, ...]) -> str:
    """Why a job has to run, in words; empty if its record holds. The inputs' own state is not looked at here."""
    record = records.read(job.folder)
    if record is None:
        return "not run yet"
    if record["status"] != "complete":
        return f"the last run {record['status']}"
    now, then = records.parameters_of(job, config), record["parameters"]
    for name in sorted({*now, *then}):
        if now.get(name) != then.get(name):
            return f"{name} is {now.get(name)}, was {then.get(name)}"
    code = records.code_version(STEPS[job.step].notebook)
    changed = [
        name for name in sorted({*code, *record["code"]}) if code.get(name) != record["code"].get(name)
    ]
    if changed:
        return f"the code of {', '.join(changed)} changed"
    for name in (o["file"] for o in record["outputs"]):
        if not (job.folder / name).exists():
            return f"{name} is missing"
    if job.step == "prepare":
        if not (paths.ROOT / record["notes"]["prepared"] / "manifest.json").exists():
            return "the prepared arrays are missing"
        if record["raw"] != raw_listing(job.dataset, config) is not None:
            return "the raw files changed"
    weights = record.get("notes", {}).get("weights")
    if weights and (
        not (kept := paths.given(weights["file"])).exists() or records.sha256_of(kept) != weights["sha256"]
    ):
        return "the weights that it took from the reference changed"
    results = {
        j.name: records.input_digest(job, r) for j in upstream(job, scored) if (r := records.read(j.folder))
    }
    if set(results) != set(record["inputs"]):
        return (
            "it covers other runs than asked for"
            if STEPS[job.step].per == "all"
            else "its inputs are missing"
        )
    changed = [name for name in results if results[name] != record["inputs"][name]]
    return f"the result of {changed[0]} changed" if changed else ""


def stands(job: Job) -> bool:
    """Whether a job is complete and its result, and all that it was made from, is still there."""
    record = records.read(job.folder)
    if (
        not record
        or record["status"] != "complete"
        or not all((job.folder / o["file"]).exists() for o in record["outputs"])
    ):
        return False
    if job.step == "prepare" and not (paths.ROOT / record["notes"]["prepared"] / "manifest.json").exists():
        return False
    return all(stands(needed) for needed in upstream(job, ()))


def raw_listing(dataset: str, config: Config) -> str | None:
    """A hash of the names and contents of a raw data set's files, None where there is none to look at.

    The generated set has none: it follows from its parameters. A file is read again only when its size or times
    changed.
    """
    if dataset == "synthetic":
        return None
    digests = contents.Digests(paths.digests())
    try:
        if dataset == "own":
            videos = own_video.own_videos(**values(config.own), T=config.model.T)
            return records.digest(own_video.state(videos, digests))
        folder = layouts.find_raw(dataset, paths.data_root())
        return records.digest(layouts.raw_state(dataset, folder, digests))
    except DataError:
        return None


# -- markers -----------------------------------------------------------------------------------------------------


def marker(job: Job) -> Path:
    """The empty file by which Snakemake sees that a job is done."""
    return paths.report(job.profile) / ".state" / job.name.replace("/", ".")


def set_markers(jobs, stale) -> None:
    """Makes the markers agree with the records. All carry the same time, so that none looks newer than another."""
    for job in jobs:
        path = marker(job)
        if job in stale:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (0, 0))


def command_for(grid: Grid, job: Job) -> str:
    """The command that makes a job's result."""
    parts = [
        "./run_all.sh",
        job.variant if job.variant and job.step != "features" else job.step,
        f"--profile {job.profile}",
    ]
    parts[1] = job.step if job.step in ("autoencoder", "flow", "features") else parts[1]
    if job.dataset != "all":
        parts.append(f"--dataset {job.dataset}")
    if job.seed is not None:
        parts.append(f"--seeds {job.seed}")
    parts += [
        "--set " + shlex.quote(f"{name}={','.join(map(str, v)) if isinstance(v, (list, tuple)) else v}")
        for name, v in grid.settings
    ]
    return " ".join(parts)
