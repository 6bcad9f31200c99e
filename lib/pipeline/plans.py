"""The plan of one call: its jobs, which of them have to run, and why.

A plan is made once, by `planning.make`, and written into a folder of its own below
`reports/<profile>/.state/`. It is read there by the Snakefile, for the dependencies, and by the process of
each job, for its line. So whether a job runs is decided once, however many processes or cluster nodes take
part. They communicate through files only.

The same folder has the markers, one empty file per finished job, which are all that Snakemake looks at.

This module imports only the standard library, because Snakemake reads the Snakefile in many processes.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from lib import paths
from lib.datasets import locks
from lib.errors import RecordError

FORMAT = 2
HANDED_DOWN = ("KIT_DATA_ROOT", "KIT_REPORTS", "KIT_OFF_PINS", "KIT_HOME")


@dataclass(frozen=True)
class Line:
    """One job of a plan. Jobs are identified by their names, such as ped2/autoencoder/two_path/seed0."""

    job: str
    step: str
    why: str  # why it runs; empty if its record is up to date
    certain: bool  # False: it runs only if a result of the jobs that it waits for changes
    waits_for: tuple[str, ...]  # the jobs of this plan that it reads
    reads: tuple[str, ...]  # all jobs that it reads, including those of earlier calls
    threads: int
    trains: bool
    memory: int  # MB that it requests from a cluster
    minutes: int  # of run time that it requests
    gpus: int
    raw: str | None = None  # for step prepare: a hash of the raw files when the plan was made

    @property
    def marker(self) -> str:
        """The name of the file that marks the job as finished."""
        return self.job.replace("/", ".")


@dataclass(frozen=True)
class Plan:
    """Everything that one call covers. Lines are in an order in which jobs can run."""

    id: str  # of the call; recorded by each job that it ran
    profile: str
    grid: dict  # see planning.Grid
    environment: dict  # variables of the call that its jobs need, wherever they run
    by_hand: bool  # for Snakemake by hand: no call holds the profile's lock or reports the outcome
    lines: dict[str, Line]
    folder: Path  # of the plan and the markers

    @property
    def file(self) -> Path:
        return self.folder / "plan.json"

    def to_run(self) -> list[Line]:
        return [line for line in self.lines.values() if line.why]

    def write(self) -> None:
        """Write the plan and the markers of finished jobs. All have the same time, so that none looks
        newer."""
        paths.write_json(
            self.file,
            {
                "format": FORMAT,
                "id": self.id,
                "profile": self.profile,
                "grid": self.grid,
                "environment": self.environment,
                "by_hand": self.by_hand,
                "lines": [asdict(line) for line in self.lines.values()],
            },
        )
        for line in self.lines.values():
            if not line.why:
                (self.folder / line.marker).touch()
                os.utime(self.folder / line.marker, (0, 0))


def read(file: Path) -> Plan:
    """A stored plan. Raises RecordError if there is none, or if another version of the kit wrote it."""
    file = Path(os.path.abspath(file))
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RecordError(
            f"The plan {paths.shown(file)} cannot be read ({problem}). Make a new one: ./run_all.sh --plan"
        ) from None
    if raw.get("format") != FORMAT:
        raise RecordError(
            f"The plan {paths.shown(file)} was written by another version of this code. Make a new one: "
            "./run_all.sh --plan"
        )
    lines = [
        Line(**line | {"waits_for": tuple(line["waits_for"]), "reads": tuple(line["reads"])})
        for line in raw["lines"]
    ]
    return Plan(
        raw["id"],
        raw["profile"],
        raw["grid"],
        raw["environment"],
        raw["by_hand"],
        {line.job: line for line in lines},
        file.parent,
    )


def take_environment(plan: Plan) -> None:
    """Set this process's variables of the kit to those of the plan, and remove all others of a node."""
    for name in [name for name in os.environ if name.startswith("KIT_")]:
        del os.environ[name]
    os.environ.update(plan.environment)


def state(profile: str) -> Path:
    """The folder of a profile's plans and locks."""
    return paths.report(profile) / ".state"


def by_hand(profile: str) -> Path:
    """The plan for running Snakemake by hand."""
    return state(profile) / "by_hand" / "plan.json"


def hold(profile: str):
    """Hold the lock of a profile. Raises BusyError if another call is running it."""
    return locks.alone(state(profile) / "lock", f"Profile {profile}")
