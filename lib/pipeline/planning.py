"""Which jobs one call of run_all.sh covers, which of them have to run and why, and afterwards which are not
complete.

Both follow from records (parameters, code and results), never from file times or from how Snakemake ended.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from lib import paths
from lib.config import Config, resolve, values
from lib.datasets import contents, layouts, own_video
from lib.errors import EXIT_DISK, EXIT_NOTEBOOK, DataError
from lib.pipeline import plans, records, resources, surroundings
from lib.pipeline.plans import Line, Plan
from lib.pipeline.steps import SHOWN_AFTER, STEPS, TARGETS, Job, from_name, jobs_of, upstream
from lib.settings.values import as_typed

MISSING_INPUTS = "its inputs are missing"


@dataclass(frozen=True)
class Grid:
    """The profile, data sets, seeds and changed settings of one call of run_all.sh."""

    profile: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[tuple[str, object], ...] = ()
    again: tuple[str, ...] = ()  # names of jobs, or of steps, to run even if up to date

    @staticmethod
    def from_dict(raw: dict) -> Grid:
        return Grid(
            raw["profile"],
            tuple(raw["datasets"]),
            tuple(map(int, raw["seeds"])),
            tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in raw["settings"]),
            tuple(raw["again"]),
        )

    def to_dict(self) -> dict:
        """As plain data, for the plan."""
        return json.loads(json.dumps(asdict(self)))

    def config(self, job: Job):
        """The configuration of a job. Jobs over all data sets read no parameter that differs between them."""
        dataset = self.datasets[0] if job.dataset == "all" else job.dataset
        return _config(self.profile, dataset, self.settings, STEPS[job.step].literal)

    def scored(self) -> tuple[Job, ...]:
        """The score jobs that tables and figures cover: those of this grid and those run before."""
        return _scored(self)

    def runs(self, job: Job) -> bool:
        """Whether a job belongs to this grid.

        Results of other data sets and seeds, which tables cover too, are not run again: they were made with
        settings of their own, and may have taken a night.
        """
        if job.dataset == "all":
            return True
        return job.dataset in self.datasets and (job.seed is None or job.seed in self.seeds)

    def inputs(self, job: Job) -> list[Job]:
        """The jobs of this grid that a job reads."""
        model = self.config(job).figure.model
        return [needed for needed in upstream(job, self.scored(), model) if self.runs(needed)]

    def jobs(self, targets) -> tuple[Job, ...]:
        """The jobs of the targets and all jobs of this grid that they read: inputs first, and last the jobs
        that show what ran."""
        wanted = [job for target in targets for job in jobs_for(self, target)]
        order: dict[Job, None] = {}

        def visit(job: Job):
            if job not in order:
                for needed in self.inputs(job):
                    visit(needed)
                order[job] = None

        for job in wanted:
            visit(job)
        return tuple(sorted(order, key=lambda job: len(SHOWN_AFTER.get(job.step, ()))))


@functools.cache
def _config(profile, dataset, settings, literal):
    return resolve(profile, dataset, dict(settings), literal=literal)


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
    """All names that can be asked for."""
    variants = [v for step in STEPS.values() for v in step.variants if v]
    return tuple(dict.fromkeys([*TARGETS, *STEPS, *variants]))


def threads_of(job: Job, config: Config) -> int:
    """Threads that a job uses: those of one training, times the parallel trainings of a selection."""
    if not STEPS[job.step].trains:
        return 1
    return config.machine.threads * (config.selection.workers if job.step == "selection" else 1)


# -- what has to run -----------------------------------------------------------------------------------------


def make(grid: Grid, lines: dict[str, Line], folder: Path, by_hand: bool = False) -> Plan:
    """Write a plan with these lines into a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    environment = {name: os.environ[name] for name in plans.HANDED_DOWN if os.environ.get(name)}
    environment["KIT_HOME"] = paths.home()  # the meaning of ~, also on nodes with another HOME
    plan = Plan(secrets.token_hex(8), grid.profile, grid.to_dict(), environment, by_hand, lines, folder)
    plan.write()
    return plan


def decide(grid: Grid, jobs) -> dict[str, Line]:
    """The lines of a plan: which jobs have to run, and why."""
    lines: dict[str, Line] = {}
    for job in jobs:
        config = grid.config(job)
        reads = upstream(job, grid.scored(), config.figure.model)
        again = job.name in grid.again or job.step in grid.again
        own = "asked to run again" if again else why_stale_itself(job, config)
        shown = [name for name, line in lines.items() if line.step in SHOWN_AFTER.get(job.step, ())]
        own = own or next((f"{name} runs first" for name in shown if lines[name].why), "")
        first = next(
            (needed.name for needed in reads if needed.name in lines and lines[needed.name].why), None
        )
        changed = "" if own else why_inputs_changed(job, reads)
        if first and changed in ("", MISSING_INPUTS):
            changed = f"{first} runs first"
        memory, minutes = resources.need(job)
        lines[job.name] = Line(
            job=job.name,
            step=job.step,
            why=own or changed,
            certain=bool(own),
            waits_for=(*(needed.name for needed in reads if grid.runs(needed)), *shown),
            reads=tuple(needed.name for needed in reads),
            threads=threads_of(job, config),
            trains=STEPS[job.step].trains,
            memory=memory,
            minutes=minutes,
            gpus=resources.gpus(job, config),
            raw=raw_listing(job.dataset, config) if job.step == "prepare" and (own or changed) else None,
        )
    return lines


def why_stale(job: Job, config: Config, scored: tuple[Job, ...]) -> str:
    """Why a job has to run; empty if its record is up to date. Does not check whether its inputs are up to
    date."""
    return why_stale_itself(job, config) or why_inputs_changed(
        job, upstream(job, scored, config.figure.model)
    )


def why_stale_itself(job: Job, config: Config) -> str:
    """Why a job has to run whatever its inputs are; empty if only its inputs can be a reason."""
    record = records.read(job.folder)
    if record is None:
        return "not run yet"
    if record["status"] != "complete":
        return f"the last run {record['status']}"
    now, then = records.parameters_of(job, config), record["parameters"]
    # other recorded parameters do not affect the job, or no longer exist
    for name in sorted(now):
        if now[name] != then.get(name):
            return f"{name} is {now[name]}, was {then.get(name)}"
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
        if not records.prepared_stands(record):
            return "the prepared arrays are missing"
        raw = raw_listing(job.dataset, config)
        if raw is not None and raw != record["raw"]:
            return "the raw files changed"
    weights = record.get("notes", {}).get("weights")
    if weights:
        kept = paths.given(weights["file"])
        if not kept.exists() or paths.sha256_of(kept) != weights["sha256"]:
            return "the weights that it took from the reference changed"
    return ""


def why_inputs_changed(job: Job, reads) -> str:
    """How the results that a job reads differ from those in its record; empty if they do not."""
    before, results = records.read(job.folder)["inputs"], {}
    for needed in reads:
        record = records.read(needed.folder)
        if record:
            results[needed.name] = records.input_digest(job, record)
    if set(results) != set(before):
        over_all = STEPS[job.step].per == "all"
        return "it was made from other runs than those asked for" if over_all else MISSING_INPUTS
    changed = [name for name in results if results[name] != before[name]]
    return f"the result of {changed[0]} changed" if changed else ""


# -- afterwards ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Why a planned job is not complete."""

    text: str
    exit_code: int
    waits_for: str = ""  # the job without which it could not start
    not_started: bool = False


def incomplete(plan: Plan) -> dict[str, Problem]:
    """The jobs of a plan that had to run and are not complete, with the reasons. Uses records only."""
    found: dict[str, Problem] = {}
    for line in plan.to_run():
        job = from_name(plan.profile, line.job)
        record = records.read(job.folder) or {}
        waits_for = next((name for name in line.waits_for if name in found), "")
        if ran(plan, line) and record["status"] != "complete":
            if "error" in record:
                found[line.job] = Problem(record["error"], record.get("exit_code", EXIT_NOTEBOOK))
            elif disk := surroundings.seen_of_disk(job.folder):
                found[line.job] = Problem(surroundings.disk_sentence(disk), EXIT_DISK)
            else:
                text = "it ended without a message (it was killed, or the machine ran out of memory)"
                found[line.job] = Problem(text, EXIT_NOTEBOOK)
        elif waits_for:
            text = f"{waits_for}, which it reads, is not complete"
            found[line.job] = Problem(text, EXIT_NOTEBOOK, waits_for=waits_for)
        elif not ran(plan, line) and not unchanged(plan, line):
            found[line.job] = Problem("it was not started", EXIT_NOTEBOOK, not_started=True)
    return found


def ran(plan: Plan, line: Line) -> bool:
    """Whether a job was run for this plan, whatever the outcome."""
    record = records.read(from_name(plan.profile, line.job).folder)
    return bool(record) and record.get("plan") == plan.id


def unchanged(plan: Plan, line: Line) -> bool:
    """Whether a job that had to wait for its inputs can stay as it is, because they did not change."""
    job = from_name(plan.profile, line.job)
    record = records.read(job.folder)
    if line.certain or record is None or record["status"] != "complete":
        return False
    return not why_inputs_changed(job, [from_name(plan.profile, name) for name in line.reads])


def stands(job: Job) -> bool:
    """Whether a job is complete, and its result and everything it was made from still exists."""
    record = records.read(job.folder)
    if not record or record["status"] != "complete":
        return False
    if not all((job.folder / output["file"]).exists() for output in record["outputs"]):
        return False
    if job.step == "prepare" and not records.prepared_stands(record):
        return False
    return all(stands(needed) for needed in upstream(job, ()))


def raw_listing(dataset: str, config: Config) -> str | None:
    """A hash of the names and contents of a raw data set's files, None if there are none.

    The generated set has none: it follows from its parameters. A file is read again only if its size or times
    changed.
    """
    if dataset == "synthetic":
        return None
    digests = contents.Digests(paths.DIGESTS)
    try:
        if dataset == "own":
            videos = own_video.own_videos(**values(config.own), T=config.model.T)
            return records.digest(own_video.state(videos, digests))
        folder = layouts.find_raw(dataset, paths.data_root())
        return records.digest(layouts.raw_state(dataset, folder, digests))
    except DataError:
        return None


def command_for(grid: Grid, job: Job) -> str:
    """The command that makes a job's result."""
    by_variant = job.variant and job.step not in ("autoencoder", "features", "flow")
    target = job.variant if by_variant else job.step
    parts = ["./run_all.sh", target, f"--profile {job.profile}"]
    if job.dataset != "all":
        parts.append(f"--dataset {job.dataset}")
    if job.seed is not None:
        parts.append(f"--seeds {job.seed}")
    for name, value in grid.settings:
        parts.append("--set " + shlex.quote(f"{name}={as_typed(value)}"))
    return " ".join(parts)
