"""The command line of run_all.sh: plain words in, Snakemake out, and a summary that a person can read."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from lib import errors, paths
from lib.config import DATASETS, PROFILES, check_name, nearest, parameters, resolve, values
from lib.errors import ConfigError
from lib.pipeline import execution, planning, records, terminal
from lib.pipeline.steps import STEPS, TARGETS

WIDTH = 46  # of the column of job names


def parser() -> argparse.ArgumentParser:
    exits = "\n".join(
        f"  {code:>3}  {text}"
        for code, text in {0: "done", **errors.EXITS, 6: "the environment could not be made"}.items()
    )
    p = Parser(
        prog="./run_all.sh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        description="Runs the pipeline, or the part of it that TARGET names, and whatever that needs. Only what is missing or "
        "stale runs.",
        epilog="examples\n"
        "  ./run_all.sh                                       everything, on the generated data set, in minutes\n"
        "  ./run_all.sh table3 --dataset ped2 --profile small one table on a real data set\n"
        "  ./run_all.sh score --set score.lambda_L=0.5        one parameter changed; only what depends on it runs\n"
        "  ./run_all.sh app_intensity_mot --dataset ped2 --profile small --pretrained   scores without training\n"
        "  ./run_all.sh --fetch avenue                        download a benchmark from its owner\n"
        "  ./run_all.sh own_video --dataset own --train-videos A --score-videos B   your own video, without labels\n"
        "  ./run_all.sh lab                                   JupyterLab on the notebooks\n"
        "  ./run_all.sh --dry-run -- --dag                    everything after -- goes to Snakemake\n\n"
        f"exit codes\n{exits}\n",
    )
    p.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="a step, a table, a figure (see --list), or lab; nothing means everything",
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
        "--pretrained",
        action="store_true",
        help="take the weights that reports/reference/ keeps instead of training",
    )
    p.add_argument("--data-root", metavar="FOLDER", help="where the raw data sets lie (data/raw)")
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
        "--again", nargs="+", default=[], metavar="STEP", help="run these steps though nothing has changed"
    )
    p.add_argument("--dry-run", action="store_true", help="show what would run, and why")
    p.add_argument("--list", action="store_true", help="targets, profiles and parameters")
    p.add_argument(
        "--why",
        metavar="TABLE:DATA:ROW",
        help="the runs, parameters, commits and commands behind a cell, e.g. table3:ped2:two_path",
    )
    p.add_argument(
        "--curate",
        action="store_true",
        help="put complete runs into reports/reference/ and their numbers into README.md",
    )
    p.add_argument(
        "--doctor", action="store_true", help="look at the environment, the machine and the data, and advise"
    )
    p.add_argument(
        "--use-this-environment",
        action="store_true",
        help="take the python3 on PATH as it is; recorded as off the pins",
    )
    return p


class Parser(argparse.ArgumentParser):
    """argparse whose errors name the nearest option."""

    def error(self, message):
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            options = [o for action in self._actions for o in action.option_strings]
            message = f"There is no option {word}. {nearest(word, options)}"
        print(f"{message}\n(./run_all.sh --help shows what there is)", file=sys.stderr)
        sys.exit(errors.EXIT_USAGE)


def main(arguments: list[str]) -> int:
    own, passed_on = arguments, []
    if "--" in arguments:
        own, passed_on = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    options = parser().parse_args(own)
    try:
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
        if options.targets == ["lab"]:
            return open_lab()
        if options.why:
            from lib.evidence import tables

            print(tables.why(options.profile, options.why))
            return 0
        grid, targets = understand(options)
        if options.curate:
            from lib.report import reference

            files = reference.curate(grid.profile, grid.datasets)
            reference.update_readme()
            print(
                f"{len(files)} files in {paths.shown(paths.REFERENCE / grid.profile)}; README.md has the numbers."
            )
            return 0
        if options.dry_run:
            return run(grid, targets, options, passed_on)
        with execution.alone(paths.report(grid.profile) / ".state" / "lock", f"Profile {grid.profile}"):
            return run(grid, targets, options, passed_on)
    except errors.KitError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code


def understand(options) -> tuple[planning.Grid, list[str]]:
    """Options as a grid and targets. Raises ConfigError for anything that does not exist."""
    targets = options.targets or ["all"]
    for target in targets:
        check_name("target", target, [*planning.target_names(), "lab"])
    datasets = tuple(dict.fromkeys(options.dataset or ["synthetic"]))
    for dataset in datasets:
        check_name("data set", dataset, DATASETS)
    try:
        seeds = tuple(dict.fromkeys(int(s) for part in options.seeds or ["0"] for s in part.split(",")))
    except ValueError:
        raise ConfigError(f"--seeds takes whole numbers; '{' '.join(options.seeds)}' is not.") from None
    if min(seeds) < 0:
        raise ConfigError("--seeds takes numbers from 0 up.")
    settings = {"autoencoder.weights": "reference", "flow.weights": "reference"} if options.pretrained else {}
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
        from lib.datasets.own_video import own_videos, state

        config = resolve(options.profile, "own", settings)
        state(
            own_videos(**values(config.own), T=config.model.T)
        )  # raises DataError for what can be seen at once
    for step in options.again:
        check_name("step", step, STEPS)
    for dataset in datasets:
        config = resolve(options.profile, dataset, settings)
        settings = {
            name: getattr(getattr(config, name.split(".")[0]), name.split(".")[1]) for name in settings
        }
    return planning.Grid(
        options.profile, datasets, seeds, tuple(sorted(settings.items())), tuple(options.again)
    ), targets


def typed(path: str) -> Path:
    """A path as it was typed, which is relative to the folder in which run_all.sh was called; links are kept."""
    return Path(os.path.abspath(Path(os.environ.get("KIT_CALLED_FROM", "."), os.path.expanduser(path))))


def get(dataset: str, data_root: str | None) -> int:
    """Downloads a benchmark. Raises DataError, which says what to do by hand, if that does not work."""
    from lib.datasets import fetch

    check_name("data set to fetch", dataset, [name for name in DATASETS if name in fetch.ARCHIVES])
    try:
        folder = fetch.fetch(
            dataset, paths.data_root(), lambda line: print(f"  {line}", file=sys.stderr, flush=True)
        )
    except KeyboardInterrupt:
        print("\nInterrupted. What has come is kept: the same command goes on from there.", file=sys.stderr)
        return errors.EXIT_INTERRUPTED
    where = f" --data-root {shlex.quote(data_root)}" if data_root else ""
    print(
        f"{dataset} lies in {paths.shown(folder)}. Next, prepare it, which counts its frames and labels: "
        f"./run_all.sh prepare --dataset {dataset}{where}"
    )
    return 0


def run(grid: planning.Grid, targets: list[str], options, passed_on: list[str]) -> int:
    """Plans, lets Snakemake run what has to, and says what came of it."""
    jobs = grid.jobs(targets)
    reasons = planning.plan(grid, jobs)
    if not reasons and not passed_on:
        print(f"Nothing to do: all {len(jobs)} steps are up to date.")
        return show_results(grid, jobs, changed=False)
    cores = records.hardware()["cores"] if options.cores is None else options.cores
    if cores < 1:
        raise ConfigError("--cores must be at least 1.")
    if options.dry_run and not passed_on:
        for job, reason in reasons.items():
            print(f"  {job.name:<{WIDTH}} {reason}")
        print(f"{len(reasons)} of {len(jobs)} steps would run.")
        return 0
    if reasons:
        print(
            f"{len(reasons)} of {len(jobs)} steps to run on {cores} cores, profile {grid.profile}: "
            f"{', '.join(grid.datasets)}; seeds {', '.join(map(str, grid.seeds))}.",
            file=sys.stderr,
        )
    failure = paths.report(grid.profile) / ".state" / "failed.json"
    failure.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(paths.ROOT / "Snakefile"),
        "--directory",
        str(paths.ROOT),
        "--cores",
        str(cores),
        "--resources",
        f"gpu={gpus()}",
        "--rerun-triggers",
        "mtime",
        "--nolock",
        "--config",
        f"targets={','.join(targets)}",
        f"grid={grid.to_json()}",
    ]
    command += ["--dry-run"] if options.dry_run else []
    command += passed_on if passed_on else ["--quiet", "all"]
    started = time.time()
    # Ctrl-C reaches Snakemake and the notebooks directly; this process waits until they have put their things in order.
    process = subprocess.Popen(command, cwd=paths.ROOT, env=os.environ | {"PYTHONPATH": str(paths.ROOT)})
    interrupted = False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
    if passed_on or options.dry_run:
        return code
    if interrupted or code in (-signal.SIGINT, 130):
        print(
            f"\nInterrupted. Nothing is lost: ./run_all.sh {shlex.join(sys.argv[1:])} continues.",
            file=sys.stderr,
        )
        return errors.EXIT_INTERRUPTED
    if code:
        failed = json.loads(failure.read_text()) if failure.exists() else {"exit": errors.EXIT_NOTEBOOK}
        print(
            f"Stopped. What was finished before is kept; to continue: ./run_all.sh {shlex.join(sys.argv[1:])}",
            file=sys.stderr,
        )
        return failed["exit"]
    print(f"\n{len(reasons)} steps in {terminal.duration(time.time() - started)}.")
    return show_results(grid, jobs, changed=True)


def gpus() -> int:
    """GPUs of this machine: as many trainings may run at once, or any number where there are none."""
    if shutil.which("nvidia-smi"):
        found = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
        count = len([line for line in found.stdout.splitlines() if line.startswith("GPU")])
        if count:
            return count
    return 1000


def show_results(grid: planning.Grid, jobs, changed: bool) -> int:
    """The headline numbers of what was asked for, and where to look; the report page is made anew if anything ran."""
    rows = [(job, records.read(job.folder)) for job in jobs if job.step == "score"]
    if rows:
        print("\nFrame-level AUC by the paper's protocol:")
        for job, record in rows:
            metrics = record["metrics"]
            if metrics["auc"] is not None:
                interval = (
                    "95 % interval {:.3f} to {:.3f}".format(*metrics["interval"])
                    if metrics["interval"]
                    else "no interval"
                )
                subset = "  (subset)" if metrics["subset"] else ""
                print(f"  {job.name:<{WIDTH}} {metrics['auc']:.3f}   {interval}{subset}")
            else:
                print(
                    f"  {job.name:<{WIDTH}} {metrics.get('why_no_auc') or 'no labels'}, so no AUC; the scores are in {paths.shown(job.folder / 'scores.csv')}"
                )
    index = paths.report(grid.profile) / "index.html"
    if changed or not index.exists():
        from lib.report import index_page

        index_page.write(grid.profile)
    print(f"\nLook at {paths.shown(index)}")
    return 0


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
        "\n\nParameters, with the paper's or our default",
    )
    for name, spec in parameters().items():
        default = ",".join(map(str, spec.default)) if isinstance(spec.default, tuple) else spec.default
        print(f"  {name:<26} {default!s:<16} {spec.metadata['help']}")
    return 0


def open_lab() -> int:
    """JupyterLab on the notebooks, with lib importable."""
    os.environ["JUPYTER_PATH"] = str(execution.install_kernel())
    os.environ["PYTHONPATH"] = str(paths.ROOT)
    return subprocess.call(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            "--notebook-dir",
            str(paths.ROOT),
            "--LabApp.default_url",
            "/lab/tree/notebooks/00_start_here.ipynb",
        ]
    )


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
    sys.exit(main(sys.argv[1:]))
