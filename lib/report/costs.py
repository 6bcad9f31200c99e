"""The cost of running everything: jobs, hours and disk by profile and data set, from the reference records.

Measured values are used as they are. The rest is extrapolated from the work of a job, which follows from its
configuration:

    autoencoder   multiply-adds of its convolutions (`table1.layer_table`) for all windows that it sees
    features      the same, forward only, for the windows of both splits
    flow          multiply-adds of Glow's convolutions and permutations for all windows seen and scored
    sensitivity   the flows that it trains again
    prepare, score, reference   pixels of the frames that the job reads

Seconds per unit of work come from the records of the same step, of the same profile if there are any,
otherwise of all. Steps over all data sets (tables, figures, verdict) take seconds and count as jobs only.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lib import paths, scoring
from lib.config import Config, changed, resolve, values
from lib.datasets.layouts import KNOWN
from lib.evaluation.sensitivity import retrainings
from lib.glow import Glow
from lib.itae import ITAE
from lib.pipeline import records
from lib.pipeline.steps import STEPS, TARGETS, Job, jobs_of
from lib.report.reference import profiles, reading
from lib.settings.profiles import PROFILES
from lib.training.table1 import layer_table

PAGE = paths.ROOT / "docs" / "cluster.md"
DATASETS = ("ped2", "avenue", "shanghaitech")  # of Table 3
SEEDS = (0, 1, 2)
GPU_TFLOPS = 10  # assumed for these networks until there is a record from a GPU
# The parameters that determine the work of a job.
SIZES = [
    *(
        "data.channels",
        "data.height",
        "data.width",
        "model.T",
        "model.tau",
        "model.app_channels",
        "model.mot_channels",
    ),
    *(
        "model.spatial_strides",
        "model.decoder_strides",
        "features.time",
        "features.train_stride",
        "features.test_stride",
    ),
    *(
        "autoencoder.batch_size",
        "autoencoder.steps",
        "autoencoder.snapshots",
        "flow.batch_size",
        "flow.steps",
    ),
    *(
        "flow.K",
        "flow.L",
        "flow.hidden",
        "flow.snapshots",
        "flow.recompute",
        "sensitivity.retrain",
        "model.one_path_frames",
    ),
]
# each waits for the one before it
CHAIN = ("prepare", "autoencoder", "features", "flow", "score", "sensitivity")
TRAINED = ("autoencoder", "flow", "sensitivity", "features")  # the steps in which a network runs


# -- the size of things --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frames:
    """Frames and clips of both splits of a data set."""

    train: int
    train_clips: int
    test: int
    test_clips: int

    @staticmethod
    def official(dataset: str) -> Frames:
        known = KNOWN[dataset]
        if "train_frames" in known:
            return Frames(
                known["train_frames"], known["train_clips"], known["test_frames"], known["test_clips"]
            )
        return Frames(sum(known["train"]), len(known["train"]), sum(known["test"]), len(known["test"]))

    def windows(self, split: str, T: int, stride: int) -> float:
        """Windows of T frames at a stride, without the additional last window of each clip."""
        frames, clips = getattr(self, split), getattr(self, f"{split}_clips")
        return max(0, frames - clips * (T - 1)) / min(stride, T)


@dataclass(frozen=True)
class Network:
    """ITAE: multiply-adds of one window, parameters, and the last maps of each path, (C, T', h, w)."""

    multiply_adds: int
    parameters: int
    app: tuple[int, ...]
    mot: tuple[int, ...] | None


def network(config: Config, two_path: bool) -> Network:
    """The autoencoder of a configuration."""
    size = (config.data.channels, config.data.height, config.data.width)
    return _network(config.model, *size, two_path)


@functools.cache
def _network(model, channels: int, height: int, width: int, two_path: bool) -> Network:
    settings = {k: v for k, v in values(model).items() if k != "input_range"}
    side = 16  # a small window suffices: multiply-adds are proportional to its pixels
    rows = layer_table(ITAE(channels=channels, two_path=two_path, **settings), side, side)
    last = {}
    for row in rows:
        if row["layer"] == "Conv4":
            C, T, h, w = row["output"]
            last[row["path"]] = (C, T, height * h // side, width * w // side)
    return Network(
        sum(row["multiply_adds"] for row in rows) * height * width // side**2,
        sum(row["parameters"] for row in rows),
        last["appearance"],
        last.get("motion"),
    )


def flow_channels(config: Config, variant: str) -> int:
    """Channels of a flow's input: maximum and mean of each time step, and the extra information of F_app."""
    itae = network(config, two_path=True)
    steps = itae.mot[1] if variant == "mot" else itae.app[1]
    pooled = 2 * (1 if config.features.time == "mean" else steps)
    return pooled + (config.model.T // config.model.tau if variant in ("app_intensity", "app_error") else 0)


def flow_size(config: Config, variant: str) -> tuple[int, int]:
    """Multiply-adds of one window through a flow, and the flow's parameters."""
    height, width = network(config, two_path=True).app[2:]
    f = config.flow
    return _flow_size(flow_channels(config, variant), height, width, f.K, f.L, f.hidden, f.permutation)


@functools.cache
def _flow_size(channels, height, width, K, L, hidden, permutation) -> tuple[int, int]:
    one = Glow(channels=channels, K=1, L=L, hidden=hidden, permutation=permutation, recompute=False)
    work = parameters = 0
    for i, level in enumerate(one.levels):
        positions = (height >> (i + 1)) * (width >> (i + 1))
        wide = 4 * channels * 2**i  # channels within the level, after the squeeze
        work += K * positions * (wide**2 + sum(p.numel() for p in level.parameters() if p.ndim == 4))
        parameters += K * sum(p.numel() for p in level.parameters())
    return work, parameters


# -- work ----------------------------------------------------------------------------------------------------


def work(config: Config, job: Job, frames: Frames) -> float:
    """The work of a job: operations if a network runs, otherwise pixels of the frames that it reads.

    A multiply-add is two operations, and a training step three forward passes.
    """
    T = config.model.T
    train, test = (
        frames.windows(split, T, stride)
        for split, stride in (("train", config.features.train_stride), ("test", config.features.test_stride))
    )
    match job.step:
        case "autoencoder":
            a = config.autoencoder
            return 6 * network(config, job.variant == "two_path").multiply_adds * a.batch_size * a.steps
        case "features":
            over_training = config.autoencoder.snapshots * frames.test / T
            return (
                2 * network(config, job.variant == "two_path").multiply_adds * (train + test + over_training)
            )
        case "flow":
            f = config.flow
            seen = (8 if f.recompute else 6) * f.batch_size * f.steps
            return flow_size(config, job.variant)[0] * (seen + 2 * (train + test))
        case "sensitivity":
            total = 0.0
            for _, name, value in retrainings(config, job.seed or 0):
                other = changed(config, name, value) if "." in name else config
                flows = [Job(job.profile, job.dataset, "flow", v, 0) for v in ("app_intensity", "mot")]
                total += sum(work(other, flow, frames) for flow in flows)
            return total
        case "prepare":
            return (frames.train + frames.test) * config.data.height * config.data.width
        case "score" | "reference":
            return frames.test * config.data.height * config.data.width
    return 0.0


def disk(config: Config, job: Job, frames: Frames) -> float:
    """Bytes of a job's files: prepared frames, features of windows, error maps, weights and snapshots."""
    T, pixels = config.model.T, config.data.height * config.data.width
    match job.step:
        case "prepare":
            return (frames.train + frames.test) * pixels * config.data.channels
        case "autoencoder":
            return network(config, job.variant == "two_path").parameters * (
                4 + 2 * config.autoencoder.snapshots
            )
        case "features":
            maps = (2 + config.data.channels) * frames.test * pixels  # errors, reconstructions
            readings = 8 * len(scoring.readings(config.data.channels))  # of Eq. 7, for each frame
            maps += readings * (frames.train + frames.test * (1 + config.autoencoder.snapshots))
            if job.variant == "one_path":
                return maps
            height, width = network(config, two_path=True).app[2:]
            extras = 2 * (T // config.model.tau)
            channels = flow_channels(config, "app_none") + flow_channels(config, "mot") + extras
            windows = frames.windows("train", T, config.features.train_stride) + frames.windows(
                "test", T, config.features.test_stride
            )
            return maps + 4 * windows * channels * height * width
        case "flow":
            return flow_size(config, job.variant)[1] * (4 + 2 * config.flow.snapshots)
    return 0.0


# -- time ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A complete reference record and its amount of work."""

    job: Job
    seconds: float
    work: float
    whole: bool  # the whole data set, so the time is that of the job in the table
    gpu: bool


def measured() -> list[Measured]:
    """Every reference record of a job that was computed in full: without kept weights or trainings of an
    earlier call."""
    found = []
    for profile in profiles():
        with reading():
            kept = records.find(profile)
        for dataset in {job.dataset for job, _ in kept} & set(KNOWN):
            own = {job: record for job, record in kept if job.dataset == dataset}
            prepared = own.get(Job(profile, dataset, "prepare"))
            if prepared:
                config, frames = as_recorded(dataset, own.values()), frames_of(dataset, prepared["metrics"])
                for job, record in own.items():
                    notes, amount = record.get("notes", {}), work(config, job, frames)
                    if amount and not notes.get("weights") and not notes.get("trained_before"):
                        whole = not prepared["metrics"].get("subset")
                        found.append(Measured(job, record["seconds"], amount, whole, bool(notes.get("gpu"))))
    return found


def as_recorded(dataset: str, kept) -> Config:
    """The configuration of some records, which may differ from today's profile of that name."""
    settings = {
        name: value for record in kept for name, value in record["parameters"].items() if name in SIZES
    }
    return resolve("paper", dataset, settings)


def frames_of(dataset: str, counts: dict) -> Frames:
    """The frames of a prepared data set. A subset is assumed to have clips in proportion to its frames."""
    whole = Frames.official(dataset)
    clips = [
        max(1, round(number * counts[f"{split}_frames"] / of))
        for split, number, of in (
            ("train", whole.train_clips, whole.train),
            ("test", whole.test_clips, whole.test),
        )
    ]
    return Frames(counts["train_frames"], clips[0], counts["test_frames"], clips[1])


def seconds(job: Job, amount: float, known: list[Measured]) -> tuple[float, bool]:
    """Seconds of a job on a CPU, and whether they were measured."""
    cpu = [m for m in known if not m.gpu]
    own = [
        m.seconds
        for m in cpu
        if m.whole
        and (m.job.profile, m.job.dataset, m.job.step, m.job.variant)
        == (job.profile, job.dataset, job.step, job.variant)
        # the profile may have changed since it was measured
        and abs(m.work / amount - 1) < 0.01
    ]
    if own:
        return sum(own) / len(own), True
    step = "flow" if job.step == "sensitivity" else job.step
    of_step = [m for m in cpu if m.job.step == step]
    nearest = [m for m in of_step if m.job.profile == job.profile] or of_step
    return amount * sum(m.seconds for m in nearest) / sum(m.work for m in nearest), False


@dataclass
class Cost:
    """All jobs of one profile and data set, for SEEDS."""

    jobs: int = 0
    trainings: int = 0
    hours: float = 0.0  # of CPU
    measured: float = 0.0  # part of these hours
    chain: float = 0.0  # hours of jobs that can only run one after another
    operations: float = 0.0  # where a network runs
    chain_operations: float = 0.0
    bytes: float = 0.0

    def and_also(self, other: Cost) -> Cost:
        """The sum of both; their chains run in parallel."""
        joined = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(Cost)}
        for name in ("chain", "chain_operations"):
            joined[name] = max(getattr(self, name), getattr(other, name))
        return Cost(**joined)


def cost(profile: str, dataset: str, known: list[Measured]) -> Cost:
    """The cost of a profile on a whole data set: every step of it, for SEEDS."""
    config, frames, total = resolve(profile, dataset), Frames.official(dataset), Cost()
    hours, operations = defaultdict(float), defaultdict(float)  # the longest of each step
    for step in TARGETS["all"]:
        if STEPS[step].per == "all":
            continue
        for job in jobs_of(profile, [dataset], SEEDS, step):
            total.jobs += 1
            amount = work(config, job, frames)
            total.bytes += disk(config, job, frames)
            if step in ("autoencoder", "flow"):
                total.trainings += 1
            if step == "sensitivity":
                total.trainings += 2 * len(retrainings(config, job.seed))
            if amount:
                time, was_measured = seconds(job, amount, known)
                total.hours += time / 3600
                total.measured += time / 3600 * was_measured
                hours[step] = max(hours[step], time / 3600)
                if step in TRAINED:
                    total.operations += amount
                    operations[step] = max(operations[step], amount)
    total.chain = sum(hours[step] for step in CHAIN)
    total.chain_operations = sum(operations[step] for step in CHAIN)
    return total


def gpu_rate(known: list[Measured]) -> tuple[float, bool]:
    """Operations per second on a GPU, and whether that was measured."""
    on_gpu = [m for m in known if m.gpu and m.job.step in TRAINED]
    if on_gpu:
        return sum(m.work for m in on_gpu) / sum(m.seconds for m in on_gpu), True
    return GPU_TFLOPS * 1e12, False


# -- the page ------------------------------------------------------------------------------------------------


def table() -> str:
    """The costs as Markdown, one row per profile and data set."""
    known = measured()
    if not known:
        return "Nothing has been measured yet.\n"
    rate, rate_measured = gpu_rate(known)
    columns = [
        "profile",
        "data set",
        "jobs",
        "trainings",
        "CPU hours",
        "measured",
        "longest chain",
        "operations",
    ]
    columns += ["GPU hours", "longest chain", "disk"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for profile in (name for name in PROFILES if name != "quick"):
        together = Cost()
        for dataset in DATASETS:
            one = cost(profile, dataset, known)
            together = together.and_also(one)
            lines.append(_row(f"`{profile}`", dataset, one, rate))
        lines.append(_row(f"`{profile}`", "**all three**", together, rate))
    shared = sum(len(STEPS[step].variants) for step in TARGETS["all"] if STEPS[step].per == "all")
    by_gpu = (
        "at the rate of the records that were made on a GPU"
        if rate_measured
        else f"at {GPU_TFLOPS} TFLOP/s, which is an assumption: no record was made on a GPU. "
        "`./run_all.sh --doctor --profile paper` shows the rate of yours"
    )
    lines += [
        "",
        f"For seeds {', '.join(map(str, SEEDS))}: every row of Tables 3 and 4, reference scorers, and "
        f"the sensitivity study with the profile's own `sensitivity.retrain`. {shared} more jobs (tables, "
        "figures, verdict, explaining notebooks) cover all data sets; they take seconds to a minute each and "
        "are not in the hours.",
        "",
        f"*CPU hours*: on {_machines()}. *Measured*: the share from records of the same "
        "amount of work; the rest is extrapolated with the seconds per unit of work of the records of the "
        "same step, of the same profile if there are any. *Longest chain*: hours of the jobs that depend on "
        "one another, which more nodes do not shorten. *Operations*: of the networks, counted. *GPU hours*: "
        f"the time of these operations {by_gpu}. *Disk*: prepared frames, features, error maps and weights.",
    ]
    return "\n".join(lines) + "\n"


def _row(profile: str, dataset: str, c: Cost, rate: float) -> str:
    gpu = rate * 3600  # operations in an hour
    cells = [profile, dataset, str(c.jobs), str(c.trainings), _hours(c.hours), f"{c.measured / c.hours:.0%}"]
    cells += [_hours(c.chain), f"{c.operations / 1e15:,.1f} PFLOP", _hours(c.operations / gpu)]
    cells += [_hours(c.chain_operations / gpu), f"{c.bytes / 1e9:,.1f} GB"]
    return "| " + " | ".join(cells) + " |"


def _hours(value: float) -> str:
    """Hours with about two digits: 0.35, 4.1, 120."""
    if value >= 20:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _machines() -> str:
    """The machines of the reference records, in words."""
    found = set()
    for profile in profiles():
        with reading():
            for _, record in records.find(profile):
                machine = record["hardware"]
                found.add(f"{machine['processor']}, {machine['cores']} cores")
    return "; ".join(sorted(found))


def update_page(path: Path = PAGE) -> None:
    """Write the table between its markers."""
    text = path.read_text(encoding="utf-8")
    block = re.sub(
        r"(<!-- costs: [^\n]*-->\n).*?(<!-- end of costs -->)",
        lambda m: m[1] + table() + m[2],
        text,
        flags=re.S,
    )
    path.write_text(block, encoding="utf-8")
