"""Between Snakemake and the notebooks: what has to run, and how one notebook is run.

    python -m lib.pipeline.execution run --grid '{...}' ped2/autoencoder/two_path/seed0

Snakemake decides by files. It sees one empty marker a job, below `reports/<profile>/.state/`, and nothing else; `plan`
sets the markers to agree with the records whenever the Snakefile is read. So what has to run follows from parameters,
code and results, and never from the times of files.
"""
from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import json
import os
import re
import shlex
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lib import paths
from lib.pipeline import records
from lib.config import ConfigError, resolve
from lib.pipeline.steps import STEPS, TARGETS, Job, from_name, jobs_of, upstream

EXIT_USAGE, EXIT_DATA, EXIT_NOTEBOOK, EXIT_DISK, EXIT_INTERRUPTED = 2, 3, 4, 5, 130
EXITS = {EXIT_USAGE: "a wrong name, value or option", EXIT_DATA: "data missing or damaged", EXIT_NOTEBOOK: "a notebook failed",
         EXIT_DISK: "no space left on the disk", EXIT_INTERRUPTED: "interrupted"}
USER_ERRORS = {"DataError": EXIT_DATA, "ConfigError": EXIT_USAGE, "RunError": EXIT_NOTEBOOK, "ModelError": EXIT_USAGE,
               "LossError": EXIT_USAGE, "GlowError": EXIT_USAGE, "SyntheticError": EXIT_USAGE, "RecordError": EXIT_NOTEBOOK,
               "TrainingError": EXIT_NOTEBOOK, "FeatureError": EXIT_NOTEBOOK,
               "EvaluationError": EXIT_NOTEBOOK, "ResultError": EXIT_NOTEBOOK, "ScoreError": EXIT_NOTEBOOK, "AssertionError": EXIT_NOTEBOOK}


@dataclass(frozen=True)
class Grid:
    """What one call of run_all.sh covers: a profile, data sets, seeds, and settings that differ from the profile's."""

    profile: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[tuple[str, object], ...] = ()
    again: tuple[str, ...] = ()  # names of jobs, or of steps, to run though their records hold

    @staticmethod
    def from_json(text: str) -> "Grid":
        raw = json.loads(text)
        return Grid(raw["profile"], tuple(raw["datasets"]), tuple(map(int, raw["seeds"])),
                    tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in raw["settings"]), tuple(raw["again"]))

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
        return job.dataset == "all" or job.dataset in self.datasets and (job.seed is None or job.seed in self.seeds)

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
    before = [job for job, _ in records.find(grid.profile)
              if job.step in ("score", "reference") and (grid.runs(job) or records.stands(job))]
    asked = [job for step in ("score", "reference") for job in jobs_of(grid.profile, grid.datasets, grid.seeds, step)]
    return tuple(dict.fromkeys([*asked, *before]))


def jobs_for(grid: Grid, target: str) -> list[Job]:
    """The jobs of one target: a step, a group of steps, or one variant by its own name (fig4, two_path)."""
    if target in TARGETS:
        return [job for step in TARGETS[target] for job in jobs_for(grid, step)]
    if target in STEPS:
        return jobs_of(grid.profile, grid.datasets, grid.seeds, target)
    return [job for step, kind in STEPS.items() if target in kind.variants
            for job in jobs_of(grid.profile, grid.datasets, grid.seeds, step, (target,))]


def target_names() -> tuple[str, ...]:
    """Everything that can be asked for."""
    variants = [v for step in STEPS.values() for v in step.variants if v]
    return tuple(dict.fromkeys([*TARGETS, *STEPS, *variants]))


def plan(grid: Grid, jobs) -> dict[Job, str]:
    """The jobs that have to run, in order, each with the reason. A job whose input runs again may turn out unchanged."""
    reasons: dict[Job, str] = {}
    for job in jobs:
        again = job.name in grid.again or job.step in grid.again
        reason = "asked to run again" if again else records.why_stale(job, grid.config(job), grid.scored())
        waiting = next((needed for needed in upstream(job, grid.scored()) if needed in reasons), None)
        if reason or waiting:
            reasons[job] = reason if reason and reason != "its inputs are missing" else f"{waiting.name} runs first"
    return reasons


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


# -- one job -----------------------------------------------------------------------------------------------------

class Failed(Exception):
    """A run that did not complete: what a person should read, and the exit code."""

    def __init__(self, text: str, code: int):
        super().__init__(text)
        self.code = code


@contextlib.contextmanager
def alone(path: Path, what: str):
    """Holds a lock while something runs that must not run twice. The system lets go of it however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"{what} is being run by another process. Wait for it, or stop it, and run this again.",
                         EXIT_USAGE) from None
        yield


def execute(grid: Grid, job: Job) -> None:
    """Runs a job's notebook and writes its record. Raises Failed."""
    with alone(marker(job).with_name(job.name.replace("/", ".") + ".lock"), job.name):
        _execute(grid, job)


def _execute(grid: Grid, job: Job) -> None:
    config = grid.config(job)
    if job.name not in grid.again and job.step not in grid.again and not records.why_stale(job, config, grid.scored()):
        say(job, "unchanged: its inputs came out as before")
        return
    inputs = {}
    for needed in upstream(job, grid.scored()):
        record = records.read(needed.folder)
        if record is None or record["status"] != "complete":
            raise Failed(f"{job.name} reads {needed.name}, which is not complete.", EXIT_NOTEBOOK)
        inputs[needed.name] = records.input_digest(job, record)
    folder, identity = job.folder, records.identity(job, config, inputs)
    if job.step in ("autoencoder", "flow"):
        set_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)
    record = {"format": records.FORMAT, "job": job.name, "profile": job.profile, "dataset": job.dataset, "step": job.step,
              "variant": job.variant, "seed": job.seed, "status": "was interrupted", "identity": identity,
              "command": command_for(grid, job), "settings": dict(grid.settings),
              "parameters": records.parameters_of(job, config), "inputs": inputs,
              "code": records.code_version(STEPS[job.step].notebook), "git": records.git_state(),
              "versions": records.versions(), "off_pins": os.environ.get("KIT_OFF_PINS", "").split(),
              "hardware": records.hardware(), "started": records.now(), "metrics": {}, "outputs": []}
    if job.step == "prepare":
        record["raw"] = records.raw_listing(job.dataset, config)
    records.write_json(folder / "run.json", record)
    notebook = paths.NOTEBOOKS / f"{STEPS[job.step].notebook}.ipynb"
    given = {"profile": job.profile, "dataset": job.dataset, "variant": job.variant, "seed": job.seed,
             "settings": dict(grid.settings)}
    known = notebook_parameters(notebook)
    started, watch = time.time(), Watch(job, folder)
    order = {"folder": str(folder), "inputs": list(inputs), "identity": identity}
    try:
        with watch:
            run_notebook(notebook, folder / notebook.name, {k: v for k, v in given.items() if k in known}, order, watch)
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except Failed as problem:
        records.write_json(folder / "run.json", record | {
            "status": "was interrupted" if problem.code == EXIT_INTERRUPTED else "failed", "error": str(problem)})
        raise
    except FileNotFoundError:
        raise Failed(f"{paths.shown(notebook)} ended without calling run.finish, so it has no result.", EXIT_NOTEBOOK) from None
    seconds = time.time() - started
    records.write_json(folder / "run.json", record | result | {
        "status": "complete", "ended": records.now(), "seconds": round(seconds, 2), "peak_memory_gib": round(watch.peak / 2**30, 3)})
    (folder / "result.json").unlink()
    for left in [*folder.glob("checkpoint-*.pt"), folder / "progress"]:
        left.unlink(missing_ok=True)
    say(job, f"done in {duration(seconds)}{headline(result['metrics'])}")


def set_aside(folder: Path) -> None:
    """Keeps a finished training that is about to be replaced, beside it, until the next one is replaced."""
    record = records.read(folder)
    if record and record["status"] == "complete":
        previous = folder.with_name(folder.name + ".previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
        (previous / "run.json").rename(previous / "run.previous.json")


def notebook_parameters(notebook: Path) -> set[str]:
    """The names in a notebook's parameters cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
    return set(re.findall(r"^(\w+)\s*(?::[^=]+)?=", source, flags=re.MULTILINE))


def run_notebook(notebook: Path, output: Path, given: dict, order: dict, watch: "Watch") -> None:
    """Executes a notebook with papermill in the kernel of this environment. Raises Failed."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    environment = {"KIT_RUN": json.dumps(order), "KIT_PROGRESS": str(watch.channel)}
    os.environ.update(environment, JUPYTER_PATH=str(install_kernel()), PYDEVD_DISABLE_FILE_VALIDATION="1",
                      JUPYTER_PLATFORM_DIRS="1")
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    where = f"the executed copy is {paths.shown(output)}"
    try:
        papermill.execute_notebook(str(notebook), str(output), parameters=given, kernel_name="python3", cwd=str(paths.ROOT),
                                   progress_bar=False, log_output=False, start_timeout=120)
    except papermill.PapermillExecutionError as problem:
        name, text = problem.ename, problem.evalue
        if name == "KeyboardInterrupt":
            raise Failed(f"{paths.shown(notebook)} was interrupted.", EXIT_INTERRUPTED) from None
        full = "No space left on device" in text
        code = EXIT_DISK if full else USER_ERRORS.get(name, EXIT_NOTEBOOK)
        what = text if name in USER_ERRORS else f"{name}: {text}"
        raise Failed(f"{paths.shown(notebook)}, section \"{section_of(output)}\":\n    {what}\n    ({where})", code) from None
    except (DeadKernelError, RuntimeError) as problem:
        raise Failed(f"The kernel of {paths.shown(notebook)} died ({problem}); most often the machine ran out of memory or the "
                     f"process was killed. {where[0].upper() + where[1:]}.", EXIT_NOTEBOOK) from None
    except KeyboardInterrupt:
        raise Failed(f"{paths.shown(notebook)} was interrupted.", EXIT_INTERRUPTED) from None
    except OSError as problem:
        if problem.errno == 28:
            raise Failed(f"The disk is full: {paths.shown(output)} could not be written. Make room and run again.", EXIT_DISK) from None
        raise


def install_kernel() -> Path:
    """A kernel specification for the Python that runs this, in the checkout, with lib importable."""
    folder = paths.KERNELS / "kernels" / "python3"
    # A kernel that is told to stop while it answers now and then logs a socket error of its own; no run suffers from it.
    quiet = "__import__('logging').getLogger('tornado.general').setLevel('CRITICAL')"
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50",
                     f"--IPKernelApp.exec_lines={quiet}"],
            "display_name": "Python 3", "language": "python", "env": {"PYTHONPATH": str(paths.ROOT), "PYTHONHASHSEED": "0"}}
    path = folder / "kernel.json"
    if not path.exists() or json.loads(path.read_text()) != spec:
        records.write_json(path, spec)
    return paths.KERNELS


def section_of(output: Path) -> str:
    """The heading above the cell that failed."""
    heading = "?"
    for cell in json.loads(output.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown" and "papermill" not in "".join(cell["metadata"].get("tags", [])):
            titles = re.findall(r"^#+\s+(.*)", "".join(cell["source"]), flags=re.MULTILINE)
            heading = titles[-1] if titles else heading
        if any(o.get("output_type") == "error" for o in cell.get("outputs", [])):
            break
    return heading


class Watch:
    """While a notebook runs: its progress on the terminal, and the largest memory of its kernel (`peak`, in bytes)."""

    def __init__(self, job: Job, folder: Path):
        self.job, self.channel, self.peak = job, folder / "progress", 0
        self.channel.unlink(missing_ok=True)
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        show_progress(None)

    def _look(self):
        import psutil
        me, started, printed = psutil.Process(), time.time(), time.time()
        while not self._stop.wait(0.5):
            try:
                self.peak = max(self.peak, sum(p.memory_info().rss for p in me.children(recursive=True)))
            except psutil.Error:
                continue  # a child ended between the list and the look
            line = last_line(self.channel)
            if line:
                done, total, text = line
                left = (time.time() - started) * (total - done) / max(done, 1)
                status = f"{self.job.name}  {done} of {total}  {text}  {duration(left)} left"
                # A terminal is written over; a log gets a line every half minute.
                if sys.stderr.isatty():
                    show_progress(status)
                elif time.time() - printed > 30:
                    printed = time.time()
                    tell(f"  {status}")


def last_line(channel: Path):
    """The newest report of progress, or None."""
    try:
        with open(channel, "rb") as file:
            file.seek(max(0, os.path.getsize(channel) - 300))
            return json.loads(file.read().splitlines()[-1])
    except (OSError, IndexError, json.JSONDecodeError):
        return None


def show_progress(text: str | None) -> None:
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r\033[K" + (text or "")[:width], end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in the way people say them."""
    seconds = int(round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def headline(metrics: dict) -> str:
    """The one number of a run that is worth a place on its line."""
    return f", AUC {metrics['auc']:.3f}" if isinstance(metrics.get("auc"), float) else ""


def say(job: Job, text: str) -> None:
    show_progress(None)
    tell(f"  {job.name:<46} {text}")


def tell(text: str) -> None:
    """A line, written in one piece: print writes the end of a line apart, and those of jobs that run side by side would mix."""
    sys.stderr.write(text + "\n")


def command_for(grid: Grid, job: Job) -> str:
    """The command that makes a job's result."""
    parts = ["./run_all.sh", job.variant if job.variant and job.step != "features" else job.step, f"--profile {job.profile}"]
    parts[1] = job.step if job.step in ("autoencoder", "flow", "features") else parts[1]
    if job.dataset != "all":
        parts.append(f"--dataset {job.dataset}")
    if job.seed is not None:
        parts.append(f"--seeds {job.seed}")
    parts += ["--set " + shlex.quote(f"{name}={','.join(map(str, v)) if isinstance(v, (list, tuple)) else v}")
              for name, v in grid.settings]
    return " ".join(parts)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.pipeline.execution", description="Run one job of the pipeline.")
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("--grid", required=True, help="the grid as JSON, as the Snakefile has it")
    parser.add_argument("job", help="such as ped2/autoencoder/two_path/seed0")
    options = parser.parse_args(arguments)
    grid = Grid.from_json(options.grid)
    job = from_name(grid.profile, options.job)
    try:
        execute(grid, job)
    except Failed as problem:
        show_progress(None)
        tell(f"\n✗ {job.name}: {problem}\n")
        (paths.report(grid.profile) / ".state").mkdir(parents=True, exist_ok=True)
        records.write_json(paths.report(grid.profile) / ".state" / "failed.json", {"job": job.name, "exit": problem.code})
        return problem.code
    except (ConfigError, records.RecordError) as problem:
        tell(f"\n✗ {job.name}: {problem}\n")
        return EXIT_USAGE
    set_markers([job], ())
    os.utime(marker(job))  # Snakemake expects the output of a job to be newer than the job
    return 0


if __name__ == "__main__":
    sys.exit(main())
