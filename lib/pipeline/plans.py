"""The plan of one call: its jobs, which of them have to run, and why.

A plan is made once, by `planning.make`, and written into a folder of its own below
`reports/<profile>/.state/`. Everybody else reads it there: the Snakefile for what depends on what, each job's
process for its line. So whether a job runs is decided in one place and at one time, however many processes,
or nodes of a cluster, take part. Files alone connect them.

In the same folder lie the markers, one empty file per job that is done, which are all that Snakemake looks
at.

This module needs the standard library alone, because Snakemake reads the Snakefile in many processes.
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
    """What a plan says of one job. Jobs are called by their names, such as
    ped2/autoencoder/two_path/seed0."""

    job: str
    step: str
    why: str  # why it runs; empty if its record holds
    certain: (
        bool  # False: it reads jobs that run, and is left as it is if their results come out as they were
    )
    waits_for: tuple[str, ...]  # the jobs of this plan that it reads
    reads: tuple[str, ...]  # all jobs that it reads, those of earlier calls included
    threads: int
    trains: bool
    memory: int  # MB, and
    minutes: int  # of run time, that it asks of a cluster
    gpus: int
    raw: str | None = None  # of a job that prepares data: a hash of the raw files when the plan was made

    @property
    def marker(self) -> str:
        """The name of the file that says it is done."""
        return self.job.replace("/", ".")


@dataclass(frozen=True)
class Plan:
    """What one call covers. Lines are in the order in which jobs can run."""

    id: str  # of the call; in the record of each job that it ran
    profile: str
    grid: dict  # see planning.Grid
    environment: dict  # variables of the call that its jobs need, wherever they run
    by_hand: bool  # made for Snakemake by hand: no call holds the profile's lock, or tells what came of it
    lines: dict[str, Line]
    folder: Path  # where the plan and the markers lie

    @property
    def file(self) -> Path:
        return self.folder / "plan.json"

    def to_run(self) -> list[Line]:
        return [line for line in self.lines.values() if line.why]

    def write(self) -> None:
        """Writes the plan and the markers of what is done already. They carry one time, so that none looks
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
    """A plan that was written. Raises RecordError if there is none, or another version of the kit wrote
    it."""
    file = Path(os.path.abspath(file))
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RecordError(
            f"The plan {paths.shown(file)} cannot be read ({problem}). Make it anew: ./run_all.sh --plan"
        ) from None
    if raw.get("format") != FORMAT:
        raise RecordError(
            f"The plan {paths.shown(file)} was written by another version of this code. Make it anew: "
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
    """Gives this process the plan's variables of the kit and no others: those of a node say nothing."""
    for name in [name for name in os.environ if name.startswith("KIT_")]:
        del os.environ[name]
    os.environ.update(plan.environment)


def state(profile: str) -> Path:
    """Where a profile's plans and locks lie."""
    return paths.report(profile) / ".state"


def by_hand(profile: str) -> Path:
    """The plan for Snakemake by hand."""
    return state(profile) / "by_hand" / "plan.json"


def hold(profile: str):
    """Holds the lock of a profile. Raises BusyError if another call runs it."""
    return locks.alone(state(profile) / "lock", f"Profile {profile}")
