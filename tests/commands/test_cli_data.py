"""run_all.sh and data: fetching a benchmark, and folders of your own video through the pipeline."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from local_server import NOISE
from made_videos import save_video

from lib import paths
from lib.commands import cli
from lib.datasets import fetch
from lib.errors import EXIT_DATA, EXIT_INTERRUPTED, EXIT_USAGE, ConfigError, DataError
from lib.pipeline import planning, records
from lib.pipeline.planning import Grid
from lib.pipeline.steps import Job, upstream


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Nothing of the checkout is touched; what main sets for its children is taken back."""
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("KIT_DATA_ROOT", str(tmp_path / "raw"))
    monkeypatch.setenv("KIT_CALLED_FROM", str(tmp_path))
    (tmp_path / "raw").mkdir()


# -- fetching ------------------------------------------------------------------------------------------------


def test_fetch_from_the_command_line(server, tmp_path, capsys):
    assert cli.main(["--fetch", "ped2", "--data-root", "raw"]) == 0
    folder = tmp_path / "raw" / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2"
    assert (folder / "Train" / "Train001" / "001.tif").read_bytes() == NOISE
    out, err = capsys.readouterr()
    assert (
        f"ped2 is in {paths.shown(folder)}" in out
        and "./run_all.sh prepare --dataset ped2 --data-root raw" in out
    )
    assert "UCSD_Anomaly_Dataset.tar.gz: fetching from http://127.0.0.1" in err and "100%" in err


def test_a_host_that_has_it_not_says_what_to_do_by_hand(server, tmp_path, capsys):
    server.status = 404
    assert cli.main(["--fetch", "ped2"]) == EXIT_DATA
    err = capsys.readouterr().err
    assert (
        "the host says 404" in err
        and "By hand: get UCSD_Anomaly_Dataset.tar.gz" in err
        and "Traceback" not in err
    )
    assert not any((tmp_path / "raw").iterdir())


def test_ctrl_c_keeps_what_has_come(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "fetch", interrupted)
    assert cli.main(["--fetch", "avenue"]) == EXIT_INTERRUPTED
    assert "the same command continues from there" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("shanghai", "Did you mean shanghaitech?"),
        ("synthetic", "Known: ped1, ped2, avenue, shanghaitech."),
        ("own", "There is no data set to fetch 'own'."),
    ],
)
def test_only_benchmarks_can_be_fetched(name, sentence, capsys):
    assert cli.main(["--fetch", name]) == EXIT_USAGE
    assert sentence in capsys.readouterr().err


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    out = capsys.readouterr().out
    for option in ("--fetch", "--train-videos", "--score-videos", "--labels"):
        assert option in out


# -- your own video: options ---------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path) -> Path:
    for folder, name, level in (("normal", "a", 0), ("normal", "b", 20), ("new one's", "cam", 40)):
        save_video(tmp_path / folder / f"{name}.avi", level, 30, (64, 96))
    return tmp_path


OWN = ["--dataset", "own", "--train-videos", "normal", "--score-videos", "new one's"]


def understood(*arguments) -> Grid:
    return cli.understand(cli.parser().parse_args(list(arguments)))[0]


def test_folders_become_parameters_without_the_users_name(folders, monkeypatch):
    """Relative to where the command was typed; recorded relative to the checkout, or with ~."""
    settings = dict(understood(*OWN).settings)
    assert settings == {
        "own.train_videos": str(folders / "normal"),
        "own.score_videos": str(folders / "new one's"),
    }
    monkeypatch.setenv("HOME", str(folders))
    grid = understood(*OWN)
    assert dict(grid.settings) == {"own.train_videos": "~/normal", "own.score_videos": "~/new one's"}
    job = Job("quick", "own", "prepare")
    command = planning.command_for(grid, job)
    assert command == (
        "./run_all.sh prepare --profile quick --dataset own --set 'own.score_videos=~/new one'\"'\"'s' "
        "--set 'own.train_videos=~/normal'"
    )
    again = understood(
        "--dataset", "own", "--set", "own.score_videos=~/new one's", "--set", "own.train_videos=~/normal"
    )
    assert again == grid and Grid.from_dict(grid.to_dict()) == grid


def test_only_preparing_knows_the_folders(folders):
    """What is read later is known by its content: moved videos train nothing anew."""
    grid = understood(*OWN)
    with_own = {
        job.step
        for job in grid.jobs(["all"])
        if any(name.startswith("own.") for name in records.parameters_of(job, grid.config(job)))
    }
    assert with_own == {"prepare"}
    benchmark = Job("quick", "ped2", "prepare")
    assert not any(
        name.startswith("own.") for name in records.parameters_of(benchmark, grid.config(benchmark))
    )


@pytest.mark.parametrize(
    "arguments, problem, sentence",
    [
        (["--dataset", "own"], DataError, "--train-videos is not given"),
        (OWN[:4], DataError, "--score-videos is not given"),
        (OWN[2:], ConfigError, "--train-videos goes with --dataset own."),
        (["--labels", "x.csv"], ConfigError, "--labels goes with --dataset own."),
        ([*OWN, "--labels", "x.csv"], DataError, "x.csv: there is no such file"),
        (
            ["--dataset", "own", "--train-videos", "normal", "--score-videos", "reports"],
            DataError,
            "reports: there is no such folder",
        ),
        (
            ["--dataset", "own", "--train-videos", "normal", "--score-videos", "raw"],
            DataError,
            "raw holds no videos",
        ),
    ],
)
def test_mistakes(folders, arguments, problem, sentence, capsys):
    with pytest.raises(problem, match=sentence):
        understood(*arguments)
    assert cli.main(arguments) == (EXIT_USAGE if problem is ConfigError else EXIT_DATA)
    assert "Traceback" not in capsys.readouterr().err


def test_names_that_are_not_utf8_are_refused_at_once(folders, capsys):
    odd = os.fsdecode(b"cam\xff.avi")
    os.rename(folders / "normal/a.avi", folders / "normal" / odd)
    assert cli.main(OWN) == EXIT_DATA
    assert "holds 'cam\\udcff.avi', whose name is not UTF-8. Rename it." in capsys.readouterr().err
    assert cli.main(["--dataset", "own", "--train-videos", os.fsdecode(b"\xe4")]) == EXIT_USAGE
    assert "'\\udce4' is not UTF-8" in capsys.readouterr().err


# -- your own video: the pipeline ----------------------------------------------------------------------------


def test_from_videos_to_scores(folders, fresh):
    """Preparing, training, scoring; without labels there is no AUC and it is said. A new video is noticed."""
    done = fresh.tiny("two_path", *OWN[:2], *at(folders))
    assert done.returncode == 0, done.stderr
    assert "own/score/two_path/seed0" in done.stdout and "no labels, so no AUC" in done.stdout
    folder = fresh.folder / "reports/quick/runs/own"
    scores = (folder / "score/two_path/seed0/scores.csv").read_text().splitlines()
    assert scores[0] == "clip,frame,R,S" and len(scores) == 31 and scores[1].startswith("cam,0,")
    record = json.loads((folder / "prepare/run.json").read_text())
    assert (
        record["parameters"]["own.train_videos"] == "normal" and not record["metrics"]["subset"]
    )  # it lies in this checkout
    executed = (folder / "score/two_path/seed0/07_score.ipynb").read_text()
    assert "No labels, so no AUC" in executed
    assert not fresh.stale("two_path", *OWN[:2], *at(folders))
    (folders / "labels.csv").write_text("clip,first,last\ncam,5,9\n")
    labelled = [*OWN[:2], *at(folders), "--labels", str(folders / "labels.csv")]
    done = fresh.tiny("two_path", *labelled)
    assert done.returncode == 0, done.stderr
    assert re.search(
        "own/autoencoder/two_path/seed0 +unchanged: its inputs are the same as before", done.stderr
    ), done.stderr
    assert "auc" in json.loads((folder / "score/two_path/seed0/run.json").read_text())["metrics"]
    again = json.loads((folder / "autoencoder/two_path/seed0/run.json").read_text())
    assert (
        again["ended"] < json.loads((folder / "prepare/run.json").read_text())["started"]
    )  # labels train nothing anew
    save_video(folders / "new one's" / "more.avi", 60, 30, (64, 96))
    stale = fresh.stale("two_path", *labelled)
    assert stale.pop("own/prepare") == "the raw files changed" and all(
        why.endswith("runs first") for why in stale.values()
    )


def at(folders: Path) -> list[str]:
    return ["--train-videos", str(folders / "normal"), "--score-videos", str(folders / "new one's")]


# -- what was run before -------------------------------------------------------------------------------------


def pretend(job: Job) -> None:
    """A complete record of a job and of all that it reads."""
    for needed in upstream(job, ()):
        pretend(needed)
    prepared = os.path.relpath(job.folder, paths.ROOT)
    paths.write_json(job.folder / "manifest.json", {})
    paths.write_json(
        job.folder / "run.json",
        {
            "format": records.FORMAT,
            "job": job.name,
            "status": "complete",
            "outputs": [],
            "metrics": {},
            "notes": {"prepared": prepared},
        },
    )


def test_other_data_sets_are_covered_and_never_run_again():
    """Tables show what was run before; but its settings were its own, so a later call takes it as it is."""
    before, older = Job("quick", "own", "score", "two_path", 0), Job("quick", "synthetic", "score", "mot", 7)
    for job in (before, older):
        pretend(job)
    grid = understood("table3", "--set", "flow.K=2")
    assert {before, older} <= set(grid.scored())
    table = Job("quick", "all", "table3")
    assert {before, older} <= set(upstream(table, grid.scored()))
    assert {(job.dataset, job.seed) for job in grid.jobs(["table3", "figures"])} == {
        ("synthetic", None),
        ("synthetic", 0),
        ("all", None),
    }
    paths.write_json(
        before.other("features", "two_path").folder / "run.json",
        {"format": records.FORMAT, "status": "failed"},
    )
    planning._scored.cache_clear()
    assert before not in grid.scored() and older in grid.scored()  # half gone: no longer covered


def test_what_the_machine_can_do(capsys):
    """--doctor: environment, data sets, and the rate of training beside that of a matrix product."""
    threads = torch.get_num_threads()
    try:
        assert cli.main(["--doctor", "--profile", "quick"]) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "synthetic: generated when it is needed" in said and "ped2 was not found" in said
    slow = "bfloat16  has no fast instructions on this processor" in said
    rates = re.findall(r"[\d.]+ windows/s, \d+% of the matrix product", said)
    assert len(rates) == 2 * len(re.findall(r"\d+ GFLOP/s", said)) == (2 if slow else 4)
