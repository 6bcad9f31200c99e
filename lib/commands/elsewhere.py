"""Running the steps elsewhere: `./run_all.sh --on NAME`, with any executor plugin of Snakemake.

NAME is an executor (slurm, kubernetes, ...), or a folder `cluster/NAME/` with a Snakemake profile,
`config.yaml`, which may name its executor. Options that are not in the profile have the values of DEFAULTS.
Everything else is as on one machine: the same plan, the same process for each step, the same records. The
steps and this process communicate through files only, so checkout and data must be on a file system that all
nodes share.
"""

from __future__ import annotations

import pkgutil
import sys
import threading
import time

from lib import paths
from lib.errors import ConfigError
from lib.pipeline import plans, records
from lib.pipeline.execution import last_line
from lib.pipeline.steps import from_name
from lib.pipeline.terminal import duration, headline, say, show_progress, tell
from lib.settings.values import nearest

PLUGIN = "snakemake_executor_plugin_"
# Parallel steps; retries of a failed step; seconds until a file is visible on other nodes.
DEFAULTS = {"jobs": 100, "retries": 2, "latency-wait": 60, "keep-going": True}


def executors() -> list[str]:
    """The executors that are installed in this environment."""
    found = {
        m.name.removeprefix(PLUGIN).replace("_", "-")
        for m in pkgutil.iter_modules()
        if m.name.startswith(PLUGIN)
    }
    return sorted({"local", *found} - {"slurm-jobstep"})


def arguments(name: str) -> list[str]:
    """The arguments for Snakemake. Raises ConfigError for an executor or a profile that cannot be used."""
    import yaml

    file, given = paths.CLUSTER / name / "config.yaml", {}
    if file.exists():
        try:
            given = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as problem:
            raise ConfigError(f"{paths.shown(file)} is not YAML: {' '.join(str(problem).split())}") from None
        if not isinstance(given, dict):
            raise ConfigError(f"{paths.shown(file)} has to consist of lines such as 'jobs: 20'.")
    executor = given.get("executor", name)
    if executor not in executors():
        raise ConfigError(
            f"There is no executor '{executor}' here, and {paths.shown(file)} names no other. "
            f"{nearest(executor, executors())} For another: pip install snakemake-executor-plugin-{executor}"
        )
    told = ["--executor", executor]
    told += ["--profile", str(file.parent)] if file.exists() else []
    for option, value in DEFAULTS.items():
        if option not in given:
            told += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return told


class Follower:
    """Reports, from files, which of the steps elsewhere are done or have failed, and the progress of the
    others."""

    def __init__(self, plan: plans.Plan):
        self.plan, self.left = plan, {line.job: line for line in plan.to_run()}
        self.total, self.failures = len(self.left), set()
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._follow, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.look()
        show_progress(None)

    def _follow(self):
        printed, before = time.time(), ""
        while not self._stop.wait(2):
            status = self.look()
            show_progress(status)
            if time.time() - printed > 30 and status != before:
                printed, before = time.time(), status
                tell_a_log(status)

    def look(self) -> str:
        """Report what is new; returns the state in one line."""
        running = []
        for name, line in list(self.left.items()):
            job = from_name(self.plan.profile, name)
            record = records.read(job.folder) or {}
            own = record.get("plan") == self.plan.id
            if own and record["status"] == "complete":
                say(job, f"done in {duration(record['seconds'])}{headline(record['metrics'])}")
                del self.left[name]
            elif (self.plan.folder / line.marker).exists():
                say(job, "unchanged: its inputs are the same as before")
                del self.left[name]
            elif own and record["status"] == "failed":
                if (name, record["started"]) not in self.failures:
                    self.failures.add((name, record["started"]))
                    say(job, "failed")
            elif own:
                progress = last_line(job.folder / "progress")
                running.append(f"{name} {progress[0]} of {progress[1]}" if progress else name)
        done = self.total - len(self.left)
        status = f"{done} of {self.total} steps done, {len(running)} running"
        return f"{status}: {', '.join(running)}" if running else status


def tell_a_log(status: str) -> None:
    """Print a line to a log; a terminal shows it already."""
    if not sys.stderr.isatty():
        tell(f"  {status}")
