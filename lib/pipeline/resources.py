"""What a job requests from a cluster: memory, run time and GPUs, by profile and step.

The values are chosen from the reference records with a margin: no run at half the paper's size has needed 2
GiB, and times are several times those measured on two CPU cores. A retried job requests more memory, but not
more time, which a partition might not allow: trainings and features continue where they stopped.

A lab can override them for a step in its Snakemake profile (`set-resources: {autoencoder: {runtime: 2880}}`)
or after `--` on the command line (`-- --set-resources autoencoder:mem_mb=16000`). On one machine they limit
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.config import Config
from lib.datasets.layouts import KNOWN
from lib.pipeline.steps import STEPS, Job


@dataclass(frozen=True)
class Need:
    """`memory` in MB, `minutes` of run time, and the additions per thousand frames of the data set."""

    memory: int
    minutes: int
    memory_per_1000: int = 0
    minutes_per_1000: int = 0


# Tables, figures, verdict and the explaining notebooks read records, or train for a minute.
DRAWS = Need(3000, 60)
SMALL = {
    "prepare": Need(4000, 30, memory_per_1000=10, minutes_per_1000=1),
    "autoencoder": Need(4000, 240),
    "features": Need(4000, 30, memory_per_1000=10, minutes_per_1000=2),
    "flow": Need(4000, 60, memory_per_1000=10, minutes_per_1000=1),
    "score": Need(3000, 30, memory_per_1000=10, minutes_per_1000=1),
    "reference": Need(4000, 30, memory_per_1000=50, minutes_per_1000=2),
    "sensitivity": Need(4000, 600, memory_per_1000=50, minutes_per_1000=5),
    "selection": Need(4000, 2880, memory_per_1000=50, minutes_per_1000=5),
    "growth": Need(4000, 2880, memory_per_1000=50, minutes_per_1000=5),
}
NEEDS = {
    "quick": SMALL
    | {"autoencoder": Need(3000, 60), "sensitivity": Need(4000, 120)}
    | {"selection": Need(4000, 240), "growth": Need(4000, 240)},
    "small": SMALL,
    "long": SMALL | {"autoencoder": Need(4000, 1440)},
    # With a GPU. There is no record yet: the values of `small`, scaled by the pixels of a frame.
    "paper": SMALL
    | {
        "autoencoder": Need(16000, 2880),
        "features": Need(16000, 120, memory_per_1000=10, minutes_per_1000=4),
        "flow": Need(16000, 1440, memory_per_1000=10, minutes_per_1000=4),
        "sensitivity": Need(16000, 2880, memory_per_1000=50, minutes_per_1000=5),
        "selection": Need(16000, 5760, memory_per_1000=50, minutes_per_1000=5),
        "growth": Need(16000, 5760, memory_per_1000=50, minutes_per_1000=5),
    },
}
ON_GPU = ("paper",)  # profiles whose trainings ask for a GPU; the others are made for CPUs
UNKNOWN_FRAMES = 20_000  # assumed for your own video before it was inspected


def need(job: Job) -> tuple[int, int]:
    """Memory in MB and minutes of run time that a job requests at its first attempt."""
    own = NEEDS[job.profile].get(job.step, DRAWS)
    thousands = -(-frames(job.dataset) // 1000)
    return own.memory + own.memory_per_1000 * thousands, own.minutes + own.minutes_per_1000 * thousands


def gpus(job: Job, config: Config) -> int:
    """GPUs that a job requests: one for trainings of a profile made for GPUs, or by `machine.device`."""
    wanted = config.machine.device == "cuda" or (config.machine.device == "auto" and job.profile in ON_GPU)
    return int(STEPS[job.step].trains and wanted)


def frames(dataset: str) -> int:
    """Frames of a data set, as far as known before anything runs."""
    if dataset in ("all", "synthetic"):
        return 1000
    known = KNOWN.get(dataset)
    if known is None:
        return UNKNOWN_FRAMES
    return sum(known.get(f"{split}_frames") or sum(known[split]) for split in ("train", "test"))
