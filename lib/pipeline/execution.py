"""How one job is run: its notebook through papermill, its record, its progress.

    python -m lib.pipeline.execution run --grid '{...}' ped2/autoencoder/two_path/seed0

is what Snakemake calls for each job.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from lib import errors, paths
from lib.errors import (
    EXIT_DISK,
    EXIT_INTERRUPTED,
    EXIT_NOTEBOOK,
    EXIT_USAGE,
    ConfigError,
    JobError,
    RecordError,
)
from lib.pipeline import records
from lib.pipeline.planning import Grid, command_for, marker, raw_listing, set_markers, why_stale
from lib.pipeline.steps import STEPS, Job, from_name, upstream
from lib.pipeline.terminal import duration, headline, say, show_progress, tell


@contextlib.contextmanager
def alone(path: Path, what: str):
    """Holds a lock while something runs that must not run twice. The system lets go of it however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobError(
                f"{what} is being run by another process. Wait for it, or stop it, and run this again.",
                EXIT_USAGE,
            ) from None
        yield


def execute(grid: Grid, job: Job) -> None:
    """Runs a job's notebook and writes its record. Raises JobError."""
    with alone(marker(job).with_name(job.name.replace("/", ".") + ".lock"), job.name):
        _execute(grid, job)


def _execute(grid: Grid, job: Job) -> None:
    config = grid.config(job)
    if (
        job.name not in grid.again
        and job.step not in grid.again
        and not why_stale(job, config, grid.scored())
    ):
        say(job, "unchanged: its inputs came out as before")
        return
    inputs = {}
    for needed in upstream(job, grid.scored()):
        record = records.read(needed.folder)
        if record is None or record["status"] != "complete":
            raise JobError(f"{job.name} reads {needed.name}, which is not complete.", EXIT_NOTEBOOK)
        inputs[needed.name] = records.input_digest(job, record)
    folder, identity = job.folder, records.identity(job, config, inputs)
    if job.step in ("autoencoder", "flow"):
        set_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)
    record = {
        "format": records.FORMAT,
        "job": job.name,
        "profile": job.profile,
        "dataset": job.dataset,
        "step": job.step,
        "variant": job.variant,
        "seed": job.seed,
        "status": "was interrupted",
        "identity": identity,
        "command": command_for(grid, job),
        "settings": dict(grid.settings),
        "parameters": records.parameters_of(job, config),
        "inputs": inputs,
        "code": records.code_version(STEPS[job.step].notebook),
        "git": records.git_state(),
        "versions": records.versions(),
        "off_pins": os.environ.get("KIT_OFF_PINS", "").split(),
        "hardware": records.hardware(),
        "started": records.now(),
        "metrics": {},
        "outputs": [],
    }
    if job.step == "prepare":
        record["raw"] = raw_listing(job.dataset, config)
    records.write_json(folder / "run.json", record)
    notebook = paths.NOTEBOOKS / f"{STEPS[job.step].notebook}.ipynb"
    given = {
        "profile": job.profile,
        "dataset": job.dataset,
        "variant": job.variant,
        "seed": job.seed,
        "settings": dict(grid.settings),
    }
    known = notebook_parameters(notebook)
    started, watch = time.time(), Watch(job, folder)
    order = {"folder": str(folder), "inputs": list(inputs), "identity": identity}
    try:
        with watch:
            run_notebook(
                notebook, folder / notebook.name, {k: v for k, v in given.items() if k in known}, order, watch
            )
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except JobError as problem:
        records.write_json(
            folder / "run.json",
            record
            | {
                "status": "was interrupted" if problem.exit_code == EXIT_INTERRUPTED else "failed",
                "error": str(problem),
            },
        )
        raise
    except FileNotFoundError:
        raise JobError(
            f"{paths.shown(notebook)} ended without calling run.finish, so it has no result.", EXIT_NOTEBOOK
        ) from None
    seconds = time.time() - started
    records.write_json(
        folder / "run.json",
        record
        | result
        | {
            "status": "complete",
            "ended": records.now(),
            "seconds": round(seconds, 2),
            "peak_memory_gib": round(watch.peak / 2**30, 3),
        },
    )
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


def run_notebook(notebook: Path, output: Path, given: dict, order: dict, watch: Watch) -> None:
    """Executes a notebook with papermill in the kernel of this environment. Raises JobError."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    environment = {"KIT_RUN": json.dumps(order), "KIT_PROGRESS": str(watch.channel)}
    os.environ.update(
        environment,
        JUPYTER_PATH=str(install_kernel()),
        PYDEVD_DISABLE_FILE_VALIDATION="1",
        JUPYTER_PLATFORM_DIRS="1",
    )
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    where = f"the executed copy is {paths.shown(output)}"
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=given,
            kernel_name="python3",
            cwd=str(paths.ROOT),
            progress_bar=False,
            log_output=False,
            start_timeout=120,
        )
    except papermill.PapermillExecutionError as problem:
        name, text = problem.ename, problem.evalue
        if name == "KeyboardInterrupt":
            raise JobError(f"{paths.shown(notebook)} was interrupted.", EXIT_INTERRUPTED) from None
        full = "No space left on device" in text
        kind = errors.by_name(name)
        code = EXIT_DISK if full else kind.exit_code if kind else EXIT_NOTEBOOK
        what = text if kind else f"{name}: {text}"
        raise JobError(
            f'{paths.shown(notebook)}, section "{section_of(output)}":\n    {what}\n    ({where})', code
        ) from None
    except (DeadKernelError, RuntimeError) as problem:
        raise JobError(
            f"The kernel of {paths.shown(notebook)} died ({problem}); most often the machine ran out of memory or the "
            f"process was killed. {where[0].upper() + where[1:]}.",
            EXIT_NOTEBOOK,
        ) from None
    except KeyboardInterrupt:
        raise JobError(f"{paths.shown(notebook)} was interrupted.", EXIT_INTERRUPTED) from None
    except OSError as problem:
        if problem.errno == 28:
            raise JobError(
                f"The disk is full: {paths.shown(output)} could not be written. Make room and run again.",
                EXIT_DISK,
            ) from None
        raise


def install_kernel() -> Path:
    """A kernel specification for the Python that runs this, in the checkout, with lib importable."""
    folder = paths.KERNELS / "kernels" / "python3"
    # A kernel that is told to stop while it answers now and then logs a socket error of its own; no run suffers from it.
    quiet = "__import__('logging').getLogger('tornado.general').setLevel('CRITICAL')"
    spec = {
        "argv": [
            sys.executable,
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
            "--log-level=50",
            f"--IPKernelApp.exec_lines={quiet}",
        ],
        "display_name": "Python 3",
        "language": "python",
        "env": {"PYTHONPATH": str(paths.ROOT), "PYTHONHASHSEED": "0"},
    }
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


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.pipeline.execution", description="Run one job of the pipeline."
    )
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("--grid", required=True, help="the grid as JSON, as the Snakefile has it")
    parser.add_argument("job", help="such as ped2/autoencoder/two_path/seed0")
    options = parser.parse_args(arguments)
    grid = Grid.from_json(options.grid)
    job = from_name(grid.profile, options.job)
    try:
        execute(grid, job)
    except JobError as problem:
        show_progress(None)
        tell(f"\n✗ {job.name}: {problem}\n")
        (paths.report(grid.profile) / ".state").mkdir(parents=True, exist_ok=True)
        records.write_json(
            paths.report(grid.profile) / ".state" / "failed.json",
            {"job": job.name, "exit": problem.exit_code},
        )
        return problem.exit_code
    except (ConfigError, RecordError) as problem:
        tell(f"\n✗ {job.name}: {problem}\n")
        return EXIT_USAGE
    set_markers([job], ())
    os.utime(marker(job))  # Snakemake expects the output of a job to be newer than the job
    return 0


if __name__ == "__main__":
    sys.exit(main())
