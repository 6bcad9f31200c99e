"""Running one job: its notebook through papermill, its record, its progress.

    python -m lib.pipeline.execution --plan reports/quick/.state/call/plan.json ped2/flow/mot/seed0

is the command that Snakemake calls for each job. The plan says whether the job has to run.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends it silently

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path

from lib import errors, paths
from lib.datasets import locks
from lib.errors import EXIT_DISK, EXIT_INTERRUPTED, EXIT_NOTEBOOK, ConfigError, JobError, RecordError
from lib.pipeline import plans, records, surroundings
from lib.pipeline.planning import Grid, command_for, ran, unchanged
from lib.pipeline.plans import Line, Plan, state
from lib.pipeline.steps import STEPS, Job, from_name
from lib.pipeline.terminal import duration, headline, say, show_progress, tell

KERNEL_LOG = "kernel.log"  # beside a notebook that is being executed


def execute(plan: Plan, line: Line) -> None:
    """Run a job's notebook and write its record, according to the plan. Raises JobError."""
    job = from_name(plan.profile, line.job)
    with locks.alone(state(plan.profile) / "locks" / line.marker, job.name, waiting=tell):
        if not plan.by_hand and ran(plan, line) and records.read(job.folder)["status"] == "complete":
            # The cluster gave this job to a second node after losing contact with the first, which finished
            # it.
            say(job, "complete already")
        elif not line.certain and unchanged(plan, line):
            say(job, "unchanged: its inputs are the same as before")
        else:
            _execute(plan, line, job)
    (plan.folder / line.marker).touch()


def _execute(plan: Plan, line: Line, job: Job) -> None:
    grid = Grid.from_dict(plan.grid)
    config = grid.config(job)
    inputs = {}
    for needed in (from_name(plan.profile, name) for name in line.reads):
        record = records.read(needed.folder)
        if record is None or record["status"] != "complete":
            raise JobError(f"{job.name} reads {needed.name}, which is not complete.", EXIT_NOTEBOOK)
        inputs[needed.name] = records.input_digest(job, record)
    folder, identity = job.folder, records.identity(job, config, inputs)
    set_aside(job)
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
        "plan": plan.id,
        "why": line.why,
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
        record["raw"] = line.raw
    paths.write_json(folder / "run.json", record)
    notebook = paths.NOTEBOOKS / f"{STEPS[job.step].notebook}.ipynb"
    given = {
        "profile": job.profile,
        "dataset": job.dataset,
        "variant": job.variant,
        "seed": job.seed,
        "settings": dict(grid.settings),
    }
    known = notebook_parameters(notebook)
    given = {name: value for name, value in given.items() if name in known}
    started, watch = time.time(), Watch(job, folder)
    order = {"folder": str(folder), "inputs": list(inputs), "identity": identity}
    try:
        with watch:
            run_notebook(notebook, folder / notebook.name, given, order, watch)
        if not (folder / "result.json").exists():
            raise JobError(
                f"{paths.shown(notebook)} ended without calling run.finish, so it has no result.",
                EXIT_NOTEBOOK,
            )
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (Exception, KeyboardInterrupt) as problem:
        told = as_job_error(problem)
        interrupted = told.exit_code == EXIT_INTERRUPTED
        ended = {
            "status": "was interrupted" if interrupted else "failed",
            "error": str(told),
            "exit_code": told.exit_code,
        }
        with contextlib.suppress(OSError):  # the disk may be full
            paths.write_json(folder / "run.json", record | ended)
        raise told from problem
    seconds = time.time() - started
    paths.write_json(
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
    for left in [*folder.glob("checkpoint-*.pt"), folder / "progress", folder / KERNEL_LOG]:
        left.unlink(missing_ok=True)
    say(job, f"done in {duration(seconds)}{headline(result['metrics'])}")


def as_job_error(problem: BaseException) -> JobError:
    """Whatever ended a job, as a sentence and an exit code for its record."""
    if isinstance(problem, JobError):
        return problem
    if isinstance(problem, errors.KitError):
        return JobError(str(problem), problem.exit_code)
    if isinstance(problem, KeyboardInterrupt):
        return JobError("It was interrupted.", EXIT_INTERRUPTED)
    if isinstance(problem, OSError) and problem.errno in surroundings.DISK:
        return JobError(surroundings.disk_sentence(problem), EXIT_DISK)
    return JobError(f"{type(problem).__name__}: {problem}", EXIT_NOTEBOOK)


def set_aside(job: Job) -> None:
    """Keep a finished run that is about to be replaced, beside it, until the next one is replaced.

    Trainings and scores are kept whole; of the other steps only the record, which says how they were made
    (`./run_all.sh compare before now` reads it).
    """
    folder, record = job.folder, records.read(job.folder)
    if not record or record["status"] != "complete" or STEPS[job.step].per == "all":
        return
    previous = records.previous(folder)
    shutil.rmtree(previous, ignore_errors=True)
    if job.step in ("autoencoder", "flow", "score", "reference"):
        folder.rename(previous)
        (previous / "run.json").rename(previous / records.PREVIOUS)
    else:
        previous.mkdir(parents=True)
        shutil.copyfile(folder / "run.json", previous / records.PREVIOUS)


def notebook_parameters(notebook: Path) -> set[str]:
    """The names in a notebook's parameters cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
    return set(re.findall(r"^(\w+)\s*(?::[^=]+)?=", source, flags=re.MULTILINE))


def run_notebook(notebook: Path, output: Path, given: dict, order: dict, watch: Watch) -> None:
    """Execute a notebook with papermill in the kernel of this environment. Raises JobError."""
    # jsonschema, which papermill imports, would take two seconds to compile a grammar for a format that no
    # notebook uses.
    sys.modules.setdefault("rfc3987_syntax", None)
    import papermill
    from nbclient.exceptions import DeadKernelError

    environment = {"KIT_RUN": json.dumps(order), "KIT_PROGRESS": str(watch.channel)}
    os.environ.update(
        environment,
        # Use this folder before the environment's; unlike JUPYTER_PATH, this variable is not split at colons.
        JUPYTER_DATA_DIR=str(install_kernel()),
        JUPYTER_PREFER_ENV_PATH="0",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
        JUPYTER_PLATFORM_DIRS="1",
    )
    os.environ.pop("JUPYTER_PATH", None)
    logging.disable()  # of papermill, nbclient and asyncio: errors are reported below
    where = f"the executed copy is {paths.shown(output)}"
    log = output.with_name(KERNEL_LOG)
    try:
        papermill.execute_notebook(
            as_template(notebook),
            as_template(output),
            parameters=given,
            kernel_name="python3",
            cwd=str(paths.ROOT),
            progress_bar=False,
            log_output=False,
            start_timeout=600,  # a node may read its packages over a network
            kernel_manager_class=kernel_writing_to(log),
        )
    except papermill.PapermillExecutionError as problem:
        name, text = problem.ename, problem.evalue
        if name == "KeyboardInterrupt":
            raise JobError(f"{paths.shown(notebook)} was interrupted.", EXIT_INTERRUPTED) from None
        kind = errors.by_name(name)
        disk = surroundings.told_of_disk(text) or (name == "OSError" and seen_of_disk(output)) or None
        if disk and not kind:
            raise JobError(f"{surroundings.disk_sentence(disk)}\n    ({where})", EXIT_DISK) from None
        code = kind.exit_code if kind else EXIT_NOTEBOOK
        if disk or "No space left on device" in text:
            code = EXIT_DISK
        what = text if kind else f"{name}: {text}"
        raise JobError(
            f'{paths.shown(notebook)}, section "{section_of(output)}":\n    {what}\n    ({where})', code
        ) from None
    except (DeadKernelError, RuntimeError) as problem:
        if disk := seen_of_disk(output):  # a full disk ends a kernel that writes to a memory map
            raise JobError(surroundings.disk_sentence(disk), EXIT_DISK) from None
        raise JobError(
            f"The kernel of {paths.shown(notebook)} died ({problem}); most often the machine ran out of "
            f"memory or the process was killed. {where[0].upper() + where[1:]}; the kernel's own messages "
            f"are in {paths.shown(log)}.",
            EXIT_NOTEBOOK,
        ) from None
    except KeyboardInterrupt:
        raise JobError(f"{paths.shown(notebook)} was interrupted.", EXIT_INTERRUPTED) from None
    finally:
        end_children()


def kernel_writing_to(log: Path) -> type:
    """A kernel manager whose kernels write their own messages, and those of C libraries, to a file.

    The notebook shows these too, unless the kernel cannot start or crashes.
    """
    from jupyter_client.manager import AsyncKernelManager

    class Kernels(AsyncKernelManager):
        async def start_kernel(self, **more):
            with open(log, "wb") as file:
                await super().start_kernel(stdout=file, stderr=file, **more)

    return Kernels


def seen_of_disk(output: Path) -> OSError | None:
    """The error that keeps a notebook from writing its results or the prepared data; None if it can write."""
    return surroundings.seen_of_disk(output.parent, paths.ROOT / "data")


def end_children() -> None:
    """Kill the kernel and its children if they still run: papermill leaves a kernel interrupted during its
    start."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()


def interrupt(*_):
    """End this process as Ctrl-C does, so that the record says so, and ignore further signals."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def as_template(path: Path) -> str:
    """A path in which papermill finds no {parameters} to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def install_kernel() -> Path:
    """Write a kernel specification for this Python into the checkout, with lib importable. Returns its
    folder."""
    folder = paths.KERNELS / "kernels" / "python3"
    # A kernel that is stopped while it answers sometimes logs a harmless socket error.
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
        "env": {
            "PYTHONPATH": str(paths.ROOT),
            "PYTHONHASHSEED": "0",
            # Keep IPython startup files and matplotlib styles of the home folder out of runs.
            "IPYTHONDIR": str(paths.KERNELS / "ipython"),
            "MPLCONFIGDIR": str(paths.KERNELS / "matplotlib"),
        },
    }
    # No history: it is a database, and many nodes would share it on a file system that may not support that.
    settings = paths.KERNELS / "ipython" / "profile_default" / "ipython_kernel_config.json"
    if not settings.exists():
        paths.write_json(settings, {"HistoryManager": {"hist_file": ":memory:"}})
    path = folder / "kernel.json"
    if not path.exists() or json.loads(path.read_text()) != spec:
        paths.write_json(path, spec)
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
    """Shows progress on the terminal while a notebook runs, and measures the peak memory of its kernel
    (`peak`, bytes)."""

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
                continue  # a child ended in the meantime
            line = last_line(self.channel)
            if line:
                done, total, text = line
                left = (time.time() - started) * (total - done) / max(done, 1)
                status = f"{self.job.name}  {done} of {total}  {text}  {duration(left)} left"
                # A terminal line is overwritten; a log gets a line every half minute.
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
        prog="python -m lib.pipeline.execution", description="Run one job of a plan."
    )
    parser.add_argument("--plan", required=True, type=Path, help="the plan's file")
    parser.add_argument("job", help="such as ped2/autoencoder/two_path/seed0")
    options = parser.parse_args(arguments)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        surroundings.settle()
        plan = plans.read(options.plan)
        plans.take_environment(plan)
        line = plan.lines[options.job]
    except (ConfigError, RecordError) as problem:
        tell(f"\n✗ {options.job}: {problem}\n")
        return problem.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    try:
        execute(plan, line)
    except KeyboardInterrupt:  # before or after the notebook
        return EXIT_INTERRUPTED
    except OSError as problem:
        if problem.errno not in surroundings.DISK:
            raise
        # perhaps no record could be written
        tell(f"\n✗ {line.job}: {surroundings.disk_sentence(problem)}\n")
        return EXIT_DISK
    except errors.KitError as problem:
        show_progress(None)
        # The call that made the plan reports the reasons, from the records, after all jobs have ended.
        what = "was interrupted" if problem.exit_code == EXIT_INTERRUPTED else "failed"
        tell(f"\n✗ {line.job}: {problem}\n" if plan.by_hand else f"  {line.job:<46} {what}")
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
