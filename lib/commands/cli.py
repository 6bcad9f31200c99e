"""The command line of run_all.sh: options are checked, Snakemake runs the plan, and a summary is printed."""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends it silently

import argparse
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib import errors, paths
from lib.commands import elsewhere
from lib.config import parameters, resolve, selected, value_of, values
from lib.errors import ConfigError
from lib.pipeline import adoption, engine, execution, planning, plans, records, surroundings, terminal
from lib.pipeline.steps import STEPS, TARGETS
from lib.settings.profiles import PROFILES
from lib.settings.values import DATASETS, as_typed, check_name, nearest

WIDTH = 46  # width of the column of job names
ENGINE_LOG = "engine.log"  # Snakemake's messages, beside the plan
EXAMPLES = """examples
  ./run_all.sh                                            everything, on the generated data set, in minutes
  ./run_all.sh table3 --dataset ped2 --profile small      one table on a real data set
  ./run_all.sh score --set score.lambda_L=0.5             one parameter changed: only what depends on it runs
  ./run_all.sh app_intensity_mot --dataset ped2 --profile small --pretrained      scores without training
  ./run_all.sh --fetch avenue                             download a benchmark from its owner
  ./run_all.sh own_video --dataset own --train-videos A --score-videos B          your own video, no labels
  ./run_all.sh selection --dataset ped2 --profile small   open choices, without a test label
  ./run_all.sh why table3:ped2:two_path                   the provenance of a cell, a figure or a number
  ./run_all.sh compare before now                         the effect of the last change; or two profiles
  ./run_all.sh lab                                        JupyterLab with the notebooks
  ./run_all.sh tables --on slurm --profile paper --dataset ped2      each step as a job of a SLURM cluster
  ./run_all.sh --dry-run -- --dag                         everything after -- goes to Snakemake
"""


def parser() -> argparse.ArgumentParser:
    exits = "\n".join(
        f"  {code:>3}  {text}"
        for code, text in {0: "done", **errors.EXITS, 6: "the environment could not be made"}.items()
    )
    p = Parser(
        prog="./run_all.sh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        description="Runs the pipeline, or the part of it that TARGET names, and whatever that needs. Only "
        "what is missing or stale runs.",
        epilog=f"{EXAMPLES}\nexit codes\n{exits}\n",
    )
    p.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="a step, a table, a figure (see --list), or lab, why, compare; nothing means everything",
    )
    p.add_argument(
        "--profile",
        default="quick",
        metavar="NAME",
        help=f"how much is computed: {', '.join(PROFILES)} (quick)",
    )
    p.add_argument(
        "--dataset",
        nargs="+",
        action="extend",
        metavar="NAME",
        help=f"one or several of {', '.join(DATASETS)} (synthetic)",
    )
    p.add_argument("--seeds", nargs="+", action="extend", metavar="N", help="seeds of the networks (0)")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter, e.g. flow.K=8; see --list",
    )
    p.add_argument(
        "--pretrained", action="store_true", help="use the weights in reports/reference/ instead of training"
    )
    p.add_argument(
        "--literal",
        action="store_true",
        help="use the literal readings, even if data/selection/ has a selection",
    )
    p.add_argument("--data-root", metavar="FOLDER", help="folder of the raw data sets (data/raw)")
    p.add_argument(
        "--fetch",
        metavar="NAME",
        help="download, check and unpack a benchmark: ped1, ped2, avenue or shanghaitech",
    )
    p.add_argument(
        "--train-videos",
        metavar="FOLDER",
        help="with --dataset own: videos in which nothing is abnormal, to learn from",
    )
    p.add_argument("--score-videos", metavar="FOLDER", help="with --dataset own: videos to score")
    p.add_argument(
        "--labels",
        metavar="FILE",
        help="with --dataset own: a table clip,first,last or clip,frame,label (none)",
    )
    p.add_argument("--cores", type=int, metavar="N", help="processor cores to use (all)")
    p.add_argument(
        "--on",
        metavar="NAME",
        help="run the steps elsewhere: slurm, another executor of Snakemake, or a profile in cluster/NAME "
        "(docs/cluster.md)",
    )
    p.add_argument(
        "--again", nargs="+", default=[], metavar="STEP", help="run these steps even if nothing has changed"
    )
    p.add_argument("--dry-run", action="store_true", help="show what would run, and why")
    p.add_argument(
        "--plan",
        action="store_true",
        help="write a plan of what would run, for calling Snakemake by hand (see Snakefile)",
    )
    p.add_argument(
        "--all-clips",
        action="store_true",
        help="pictures of every test clip in the page's clip player (default on real data: of three)",
    )
    p.add_argument("--list", action="store_true", help="targets, profiles and parameters")
    p.add_argument(
        "--why",
        metavar="WHAT",
        help="the runs, parameters, commits and commands behind a cell (table3:ped2:two_path), a figure "
        "(fig4:ped2) or a number (0.870); ./run_all.sh why WHAT is the same, and without WHAT lists the "
        "cells",
    )
    p.add_argument(
        "--curate",
        action="store_true",
        help="put complete runs into reports/reference/ and their numbers into README.md; shows what it "
        "would do and asks",
    )
    p.add_argument("--yes", action="store_true", help="with --curate: do not ask")
    p.add_argument(
        "--publish",
        metavar="FOLDER",
        help="write the report, with all notebooks as pages, into a folder for a web server or GitHub Pages",
    )
    p.add_argument(
        "--costs",
        action="store_true",
        help="the cost of running everything, from the reference records; also written into docs/cluster.md",
    )
    p.add_argument(
        "--adopt",
        action="store_true",
        help="write the choices of the selection of --dataset into data/selection/, where runs read them",
    )
    p.add_argument(
        "--doctor",
        action="store_true",
        help="check the environment, the machine and the data, and suggest settings",
    )
    p.add_argument(
        "--use-this-environment",
        action="store_true",
        help="take the python3 on PATH as it is; recorded as off the pins",
    )
    return p


class Parser(argparse.ArgumentParser):
    """argparse with error messages that name the nearest option."""

    def error(self, message):
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            options = [o for action in self._actions for o in action.option_strings]
            message = f"There is no option {word}. {nearest(word, options)}"
        print(f"{message}\n(./run_all.sh --help lists the options)", file=sys.stderr)
        sys.exit(errors.EXIT_USAGE)


def main(arguments: list[str]) -> int:
    own, passed_on = arguments, []
    if "--" in arguments:
        own, passed_on = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    options = parser().parse_args(own)
    try:
        surroundings.settle()
        for word in own:
            if not paths.is_utf8(word):
                raise ConfigError(f"{ascii(word)} is not UTF-8. Rename that file or folder.")
        if options.data_root:
            if not typed(options.data_root).is_dir():
                raise ConfigError(f"--data-root {options.data_root} is not a folder.")
            os.environ["KIT_DATA_ROOT"] = str(typed(options.data_root).resolve())
        if options.list:
            return show_list()
        if options.fetch:
            return get(options.fetch, options.data_root)
        check_name("profile", options.profile, PROFILES)
        if options.doctor:
            from lib.commands.doctor import examine

            return examine(options.profile)
        if options.costs:
            from lib.report import costs

            costs.update_page()
            print(costs.table(), end="")
            return 0
        if options.targets == ["lab"]:
            return open_lab(passed_on)
        if options.targets[:1] == ["compare"]:
            from lib.commands import compare

            print(compare.compare(options.profile, options.targets[1:]))
            return 0
        if options.why or options.targets[:1] == ["why"]:
            from lib.commands import why

            print(why.answer(options.profile, options.why or " ".join(options.targets[1:])))
            return 0
        if options.publish:
            from lib.report import publishing

            folder = typed(options.publish)
            files = publishing.publish(options.profile, folder)
            size = sum(path.stat().st_size for path in files) / 1e6
            print(f"{len(files)} files, {size:.0f} MB. See {paths.shown(folder / 'index.html')}")
            return 0
        grid, targets = understand(options)
        if options.adopt:
            for dataset in grid.datasets:
                print(adoption.adopt(grid.profile, dataset))
            return 0
        if options.curate:
            from lib.report import costs, reference

            print(reference.preview(grid.profile, grid.datasets))
            if not options.yes and not agreed():
                return errors.EXIT_USAGE
            files = reference.curate(grid.profile, grid.datasets)
            reference.update_readme()
            costs.update_page()
            from lib.report import index_page

            index_page.write_kept(grid.profile)
            print(
                f"{len(files)} files in {paths.shown(paths.REFERENCE / grid.profile)}; README.md has the "
                "numbers."
            )
            return 0
        if options.dry_run:
            return run(grid, targets, options, passed_on)
        with plans.hold(grid.profile) as lock:
            if options.plan:
                lines = planning.decide(grid, grid.jobs(targets))
                plan = planning.make(grid, lines, plans.by_hand(grid.profile).parent, by_hand=True)
                print(
                    f"{len(plan.to_run())} of {len(plan.lines)} steps have to run. {paths.shown(plan.file)}"
                )
                return 0
            return run(grid, targets, options, passed_on, lock)
    except errors.KitError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except OSError as problem:
        if problem.errno not in surroundings.DISK:
            raise
        print(surroundings.disk_sentence(problem), file=sys.stderr)
        return errors.EXIT_DISK
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return errors.EXIT_INTERRUPTED


def agreed() -> bool:
    """Ask whether to continue; without a terminal, say how to do without the question."""
    if not sys.stdin.isatty():
        print("Nothing was written: --curate asks first. Add --yes if nobody can answer.", file=sys.stderr)
        return False
    return input("Curate this? [y/N] ").strip().lower() in ("y", "yes")


def understand(options) -> tuple[planning.Grid, list[str]]:
    """The options as a grid and targets. Raises ConfigError for anything that does not exist."""
    targets = options.targets or ["all"]
    for target in targets:
        check_name("target", target, [*planning.target_names(), "lab"])
    datasets = tuple(dict.fromkeys(options.dataset or ["synthetic"]))
    for dataset in datasets:
        check_name("data set", dataset, DATASETS)
    words = [word for part in options.seeds or ["0"] for word in part.split(",")]
    try:
        seeds = tuple(dict.fromkeys(int(word) for word in words))
    except ValueError:
        raise ConfigError(f"--seeds takes whole numbers; '{' '.join(options.seeds)}' is not.") from None
    if min(seeds) < 0:
        raise ConfigError("--seeds takes numbers from 0 up.")
    settings = {"autoencoder.weights": "reference", "flow.weights": "reference"} if options.pretrained else {}
    if options.literal:
        settings |= literal_values(options.profile, datasets)
    for item in options.set:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--set takes NAME=VALUE; '{item}' has no '='.")
        check_name("parameter", name, parameters())
        settings[name] = value
    for option in ("train_videos", "score_videos", "labels"):
        if getattr(options, option):
            if "own" not in datasets:
                raise ConfigError(f"--{option.replace('_', '-')} goes with --dataset own.")
            settings[f"own.{option}"] = paths.shown(typed(getattr(options, option)))
    if "own" in datasets:
        from lib.datasets.contents import Digests
        from lib.datasets.own_video import own_videos, state

        config = resolve(options.profile, "own", settings)
        # raises DataError for problems that can be found at once
        state(own_videos(**values(config.own), T=config.model.T), Digests(paths.DIGESTS))
    for step in options.again:
        check_name("step", step, STEPS)
    for dataset in datasets:
        config = resolve(options.profile, dataset, settings)
        for name in settings:
            settings[name] = value_of(config, name)
    again = tuple(options.again)
    return planning.Grid(options.profile, datasets, seeds, tuple(sorted(settings.items())), again), targets


def literal_values(profile: str, datasets: tuple[str, ...]) -> dict[str, object]:
    """The literal values of all parameters that the adopted selections of some data sets have changed.

    Raises ConfigError if such a value differs between the data sets.
    """
    chosen = {
        name
        for dataset in datasets
        for name, choice in selected(dataset).items()
        if choice["value"] != choice["literal"]
    }
    literal = [resolve(profile, dataset, literal=True) for dataset in datasets]
    found = {}
    for name in sorted(chosen):
        of_sets = {value_of(config, name) for config in literal}
        if len(of_sets) > 1:
            raise ConfigError(
                f"--literal: {name} has different values for {', '.join(datasets)}. Run one data set at a "
                "time."
            )
        found[name] = of_sets.pop()
    return found


def typed(path: str) -> Path:
    """A typed path, relative to the folder in which run_all.sh was called; links are not resolved."""
    return Path(os.path.abspath(Path(os.environ.get("KIT_CALLED_FROM", "."), os.path.expanduser(path))))


def get(dataset: str, data_root: str | None) -> int:
    """Download a benchmark. Raises DataError, which says what to do by hand, if that does not work."""
    from lib.datasets import fetch

    check_name("data set to fetch", dataset, [name for name in DATASETS if name in fetch.ARCHIVES])
    try:
        folder = fetch.fetch(
            dataset, paths.data_root(), lambda line: print(f"  {line}", file=sys.stderr, flush=True)
        )
    except KeyboardInterrupt:
        print(
            "\nInterrupted. The downloaded part is kept: the same command continues from there.",
            file=sys.stderr,
        )
        return errors.EXIT_INTERRUPTED
    where = f" --data-root {shlex.quote(data_root)}" if data_root else ""
    print(
        f"{dataset} is in {paths.shown(folder)}. Next, prepare it, which counts its frames and labels: "
        f"./run_all.sh prepare --dataset {dataset}{where}"
    )
    return 0


def run(grid: planning.Grid, targets: list[str], options, passed_on: list[str], lock=None) -> int:
    """Make a plan, let Snakemake run it, and report the results. Returns the exit code."""
    jobs = grid.jobs(targets)
    lines = planning.decide(grid, jobs)
    stale = [line for line in lines.values() if line.why]
    if not stale and not passed_on:
        print(f"Nothing to do: all {len(jobs)} steps are up to date.")
        return show_results(grid, targets, changed=False, all_clips=options.all_clips)
    cores = records.hardware()["cores"] if options.cores is None else options.cores
    if cores < 1:
        raise ConfigError("--cores must be at least 1.")
    if options.on and options.cores:
        raise ConfigError("--cores is for this machine. The number of parallel steps of --on: -- --jobs N")
    where = ["--cores", str(cores), "--resources", f"training={gpus()}"]
    if options.on:
        where = elsewhere.arguments(options.on)
    if options.dry_run and not passed_on:
        for line in stale:
            print(f"  {line.job:<{WIDTH}} {line.why}")
        print(f"{len(stale)} of {len(jobs)} steps would run.")
        return 0
    if stale:
        print(
            f"{len(stale)} of {len(jobs)} steps to run on {options.on or f'{cores} cores'}, profile "
            f"{grid.profile}: {', '.join(grid.datasets)}; seeds {', '.join(map(str, grid.seeds))}.",
            file=sys.stderr,
        )
    if options.dry_run:
        folder = plans.state(grid.profile)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="look-") as look:
            plan = planning.make(grid, lines, Path(look))
            return run_engine(plan, where, ["--dry-run", *passed_on])[0]
    if without := records.why_no_commit():
        print(without, file=sys.stderr)
    plan = planning.make(grid, lines, plans.state(grid.profile) / "call")
    started, before = time.time(), aucs(jobs)
    with elsewhere.Follower(plan) if options.on else contextlib.nullcontext():
        code, interrupted = run_engine(plan, where, passed_on, lock)
    if passed_on and not any(planning.ran(plan, line) for line in stale):
        return code  # Snakemake was only asked to show something
    problems = planning.incomplete(plan)
    if problems:
        return tell_problems(plan, problems, interrupted)
    print(f"\n{len(stale)} steps in {terminal.duration(time.time() - started)}.")
    return show_results(grid, targets, changed=True, before=before, all_clips=options.all_clips)


def run_engine(plan: plans.Plan, where: list[str], passed_on: list[str], lock=None) -> tuple[int, bool]:
    """Let Snakemake run a plan; see `engine.call`."""
    arguments = [
        "--snakefile",
        str(paths.ROOT / "Snakefile"),
        *where,
        "--rerun-triggers",
        "mtime",
        "--nolock",
        "--config",
        f"plan={plan.file}",
    ]
    if not any(word.startswith("--workflow-profile") for word in passed_on):
        # otherwise Snakemake would use a folder profiles/default
        arguments += ["--workflow-profile", "none"]
    return engine.call(arguments + passed_on, "-" if passed_on else str(plan.folder / ENGINE_LOG), lock)


def tell_problems(plan: plans.Plan, problems: dict[str, planning.Problem], interrupted: bool) -> int:
    """Print why each planned job is not complete. Returns the exit code."""
    # Jobs that were stopped, or wait for one that failed, are named below the failed ones.
    first = {name: problem for name, problem in problems.items() if not problem.waits_for}
    failed = {n: p for n, p in first.items() if p.exit_code != errors.EXIT_INTERRUPTED and not p.not_started}
    for name, problem in failed.items():
        print(f"\n✗ {name}: {problem.text}", file=sys.stderr)
    stopped = [name for name in first if name not in failed and not first[name].not_started]
    left = [name for name in problems if name not in failed and name not in stopped]
    if stopped:
        print(f"\nInterrupted: {names(stopped)}.", file=sys.stderr)
    if left and not failed and not stopped and not interrupted:
        if disk := surroundings.seen_of_disk(plan.folder):  # so full that no record could be written
            print(f"\n✗ {surroundings.disk_sentence(disk)}", file=sys.stderr)
            return errors.EXIT_DISK
        said = engine_says(plan.folder / ENGINE_LOG)
        print(f"\n✗ The workflow engine (Snakemake) stopped before it was done{said}", file=sys.stderr)
    if left:
        print(f"\nNot started: {names(left)}.", file=sys.stderr)
    logs = plan.folder / ".snakemake" / "slurm_logs"
    if failed and logs.exists():
        print(f"\nLogs of the nodes for failed steps: {paths.shown(logs)}", file=sys.stderr)
    again = f"./run_all.sh {shlex.join(sys.argv[1:])}"
    if interrupted or (stopped and not failed):
        print(f"\n{'' if stopped else 'Interrupted. '}Nothing is lost: {again} continues.", file=sys.stderr)
        return errors.EXIT_INTERRUPTED
    print(f"\nStopped. What was finished before is kept; to continue: {again}", file=sys.stderr)
    return next(iter(failed.values())).exit_code if failed else errors.EXIT_NOTEBOOK


def names(jobs: list[str], most: int = 12) -> str:
    """Names of jobs in one line."""
    return ", ".join(jobs[:most]) + (f" and {len(jobs) - most} more" if len(jobs) > most else "")


def engine_says(log: Path) -> str:
    """The last error message of Snakemake, as the end of a sentence."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "."
    found = [i for i, line in enumerate(lines) if re.match(r"(\w+\.)*\w*(Error|Exception)\b.*:|error:", line)]
    if not found:
        return f"; its messages are in {paths.shown(log)}."
    said = " ".join(line for line in lines[found[-1] : found[-1] + 3] if line)
    return f": {said[:400]}\n    (the whole log is {paths.shown(log)})"


def gpus() -> int:
    """GPUs of this machine, the number of parallel trainings; without GPUs, a number that does not limit
    them."""
    if shutil.which("nvidia-smi"):
        found = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
        count = len([line for line in found.stdout.splitlines() if line.startswith("GPU")])
        if count:
            return count
    return 1000


def aucs(jobs) -> dict[str, float]:
    """The recorded AUC of each scored job that has one, by name."""
    found = {}
    for job in jobs:
        record = records.read(job.folder) if job.step == "score" else None
        auc = record["metrics"].get("auc") if record and record.get("metrics") else None
        if auc is not None:
            found[job.name] = auc
    return found


def show_results(
    grid: planning.Grid, targets: list[str], *, changed: bool, before: dict | None = None, all_clips: bool
) -> int:
    """Print the main numbers of the targets, with those of `before`, and their places on the page.

    The page is written again if anything ran.
    """
    rows = [(job, records.read(job.folder)) for job in grid.jobs(targets) if job.step == "score"]
    if rows:
        print("\nFrame-level AUC by the paper's protocol:")
        for job, record in rows:
            print(f"  {job.name:<{WIDTH}} {result_in_words(job, record, (before or {}).get(job.name))}")
    index = paths.report(grid.profile) / "index.html"
    if changed or all_clips or not index.exists():
        from lib.report import index_page

        index_page.write(grid.profile, all_clips=all_clips)
    print()
    asked = {target: drawn_as_asked(grid, target) for target in targets}
    for drawn in asked.values():
        print("".join(f"Look at {paths.shown(path)}\n" for path in drawn), end="")
    for place in places_on_page(
        grid, [target for target in targets if target in TARGETS or not asked[target]]
    ):
        print(f"Look at {paths.shown(index)}{place}")
    return 0


def drawn_as_asked(grid: planning.Grid, target: str) -> list[Path]:
    """The files of a target's figures drawn with settings of the user (`figure.size` etc.), which are not on
    the page; their folder if there are many."""
    folder, found = paths.figures(grid.profile, asked=True), []
    for job in planning.jobs_for(grid, target):
        record = records.read(job.folder) if job.step in ("figure", "sensitivity") else None
        names = [output["file"] for output in record["outputs"]] if record else []
        found += [folder / name for name in names if not name.endswith(".csv") and (folder / name).exists()]
    return found if len(found) <= 6 else [folder]


def result_in_words(job, record: dict, before: float | None) -> str:
    """AUC 0.761 (was 0.750)   95 % interval 0.630 to 0.853; or why there is none."""
    metrics = record["metrics"]
    if metrics["auc"] is None:
        scores = paths.shown(job.folder / "scores.csv")
        return f"{metrics.get('why_no_auc') or 'no labels'}, so no AUC; the scores are in {scores}"
    said = f"AUC {metrics['auc']:.3f}"
    if before is not None and f"{before:.3f}" != f"{metrics['auc']:.3f}":
        said += f" (was {before:.3f})"
    interval = metrics["interval"]
    said += "   " + ("95 % interval {:.3f} to {:.3f}".format(*interval) if interval else "no interval")
    return said + ("  (subset)" if metrics["subset"] else "")


def places_on_page(grid: planning.Grid, targets: list[str]) -> list[str]:
    """The anchors of the targets on the page; "" for the whole page."""
    from lib.report import notebook_pages

    found = []
    for target in targets:
        if target in ("tables", "table2", "table3", "table4", "verdict"):
            found.append(f"#{target}")
        elif target in ("figures", "figure"):
            found.append("#figures")
        elif target in STEPS["figure"].variants:
            drawn = sorted(path.stem for path in paths.figures(grid.profile).glob(f"{target}[-_]*.svg"))
            mine = [stem for stem in drawn if any(stem.endswith(dataset) for dataset in grid.datasets)]
            found += [f"#{stem}" for stem in mine or drawn] or ["#figures"]
        else:
            jobs = [] if target in TARGETS else planning.jobs_for(grid, target)
            if 0 < len(jobs) < 4:
                found += [f"#{notebook_pages.run_id(job.name)}" for job in jobs]
            else:
                found.append("")
    return list(dict.fromkeys(found))


def show_list() -> int:
    """Targets, profiles, data sets and parameters."""
    print("Targets: steps, in order")
    for name, step in STEPS.items():
        variants = f" ({', '.join(step.variants)})" if step.variants != ("",) else ""
        print(f"  {name:<20} {step.help}{variants}")
    print("and groups of them:", ", ".join(name for name in TARGETS))
    print(
        "\nProfiles:",
        ", ".join(PROFILES),
        "\nData sets:",
        ", ".join(DATASETS),
        "\n\nParameters, with their defaults",
    )
    for name, spec in parameters().items():
        print(f"  {name:<26} {as_typed(spec.default):<16} {spec.metadata['help']}")
    return 0


def open_lab(passed_on: list[str]):
    """Replace this process by JupyterLab with the notebooks, with lib importable; `passed_on` goes to
    JupyterLab."""
    os.environ["JUPYTER_PATH"] = str(execution.install_kernel())
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={paths.ROOT}",
        "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb",
        # only reachable from this machine, whatever the user's configuration
        "--ServerApp.ip=127.0.0.1",
        "--LabApp.news_url=None",  # no question about news
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if os.geteuid() == 0:
        command.append("--allow-root")  # root is refused only because a server could be reached from outside
    os.chdir(paths.ROOT)
    os.execv(sys.executable, [*command, *passed_on])  # JupyterLab handles Ctrl-C itself


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it silently
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored by nohup, or in a background shell
            signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
