"""--on: what Snakemake is told, what a plan hands down to a node, what is told meanwhile."""

import json
import os
import subprocess
import sys

import made_records as made
import pytest
import yaml

from lib import paths
from lib.commands import cli, elsewhere
from lib.errors import ConfigError
from lib.pipeline import execution, planning, plans, records
from lib.pipeline.steps import Job

EXAMPLE = paths.ROOT / "cluster" / "slurm.example" / "config.yaml"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CLUSTER", tmp_path / "cluster")

    def write(name, text):
        (tmp_path / "cluster" / name).mkdir(parents=True)
        (tmp_path / "cluster" / name / "config.yaml").write_text(text)
        return str(tmp_path / "cluster" / name)

    return write


@pytest.fixture
def reports(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    return tmp_path / "reports"


# -- what Snakemake is told ------------------------------------------------------------------------


def test_without_a_profile_file_the_defaults_hold(cluster):
    told = elsewhere.arguments("slurm")
    assert told[:2] == ["--executor", "slurm"] and "--profile" not in told
    assert told[told.index("--retries") + 1] == "2" and "--keep-going" in told


def test_what_a_profile_file_says_is_not_said_again(cluster):
    folder = cluster("slurm", "jobs: 7\nkeep-going: false\n")
    told = elsewhere.arguments("slurm")
    assert told[:4] == ["--executor", "slurm", "--profile", folder]
    assert "--jobs" not in told and "--keep-going" not in told and "--retries" in told


def test_a_folder_may_have_any_name_and_say_which_executor_it_is(cluster):
    cluster("big_partition", "executor: slurm\n")
    assert elsewhere.arguments("big_partition")[:2] == ["--executor", "slurm"]


def test_an_executor_that_is_not_there(cluster):
    with pytest.raises(ConfigError, match="no executor 'slrum' here.*Did you mean slurm"):
        elsewhere.arguments("slrum")
    cluster("lab", "executor: kubernetes_\n")
    with pytest.raises(ConfigError, match="pip install snakemake-executor-plugin-kubernetes_"):
        elsewhere.arguments("lab")


@pytest.mark.parametrize(
    "text, sentence", [("jobs: [1", "is not YAML"), ("- jobs\n", "has to consist of lines such as")]
)
def test_a_profile_file_that_cannot_be_read(cluster, text, sentence):
    cluster("slurm", text)
    with pytest.raises(ConfigError, match=sentence):
        elsewhere.arguments("slurm")


def test_the_example_is_a_profile_of_known_steps_and_options(cluster):
    given = yaml.safe_load(EXAMPLE.read_text())
    assert given["executor"] == "slurm"
    assert set(given["set-resources"]) <= set(planning.STEPS)
    shown = subprocess.run(
        [sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True, timeout=300
    ).stdout
    for option in given:
        assert f"--{option}" in shown


def test_cores_are_for_this_machine(reports, capsys):
    assert cli.main(["start", "--on", "slurm", "--cores", "3"]) == 2
    assert "--cores is for this machine" in capsys.readouterr().err


# -- what a plan hands down ------------------------------------------------------------------------


def make_plan(*targets):
    grid = planning.Grid("quick", ("synthetic",), (0,))
    return planning.make(grid, planning.decide(grid, grid.jobs(targets)), plans.state("quick") / "call")


def test_a_node_takes_the_kits_variables_from_the_plan(reports, monkeypatch):
    monkeypatch.setenv("KIT_DATA_ROOT", "/shared/raw")
    monkeypatch.setenv("HOME", "/people/somebody")
    plan = plans.read(make_plan("start").file)
    monkeypatch.setenv("KIT_DATA_ROOT", "/local/raw")
    monkeypatch.setenv("KIT_REPORTS", "/local/reports")
    monkeypatch.setenv("KIT_PROGRESS", "/local/progress")
    monkeypatch.setenv("HOME", "/nobody")
    plans.take_environment(plan)
    try:
        assert paths.data_root() == paths.Path("/shared/raw")
        assert paths.report("quick") == reports / "quick"
        assert "KIT_PROGRESS" not in os.environ
        assert paths.given("~/videos") == paths.Path("/people/somebody/videos")
        assert paths.shown(paths.Path("/people/somebody/videos")) == "~/videos"
    finally:
        os.environ.pop("KIT_HOME")


def test_resources_of_a_step_reach_snakemake(reports, monkeypatch):
    """As Snakemake itself shows them, with what stands after -- on top."""
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT), "SNAKEMAKE_PROFILE": "/nowhere"}
    command = [sys.executable, "-m", "lib.commands.cli", "start", "--on", "slurm", "--dry-run", "--"]
    command += ["--set-resources", "start:mem_mb=777", "--verbose"]
    shown = subprocess.run(
        command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, timeout=500
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "mem_mb=777" in shown.stdout + shown.stderr


def test_a_step_that_another_node_completed_for_the_same_plan_is_not_run_again(reports, monkeypatch, capsys):
    plan = make_plan("start")
    line, job = plan.lines["all/start"], Job("quick", "all", "start")
    made.record(job)
    made.change(job, lambda record: record.update(plan=plan.id))
    monkeypatch.setattr(execution, "_execute", lambda *_: pytest.fail("it ran again"))
    execution.execute(plan, line)
    assert "complete already" in capsys.readouterr().err
    assert (plan.folder / line.marker).exists()
    made.change(job, lambda record: record.update(plan="of another call"))
    with pytest.raises(pytest.fail.Exception):
        execution.execute(plan, line)


# -- what is told ----------------------------------------------------------------------------------


def test_steps_elsewhere_are_followed_by_their_files(reports, capsys):
    plan = make_plan("start", "fig2")
    follower, start, figure = (
        elsewhere.Follower(plan),
        *(Job("quick", "all", *n) for n in (("start",), ("figure", "fig2"))),
    )
    assert follower.look() == "0 of 2 steps done, 0 running"
    made.record(start)
    made.change(start, lambda record: record.update(plan=plan.id, status="was interrupted"))
    (start.folder / "progress").write_text(json.dumps([3, 9, "windows"]) + "\n")
    assert follower.look() == "0 of 2 steps done, 1 running: all/start 3 of 9"
    made.change(start, lambda record: record.update(status="failed", started="once"))
    assert follower.look() == follower.look() == "0 of 2 steps done, 0 running"
    assert capsys.readouterr().err.count("failed") == 1
    made.change(start, lambda record: record.update(status="complete", seconds=70.2, metrics={"auc": 0.75}))
    made.record(figure)  # of an earlier call: only its marker says that it stays as it is
    assert follower.look() == "1 of 2 steps done, 0 running"
    assert "done in 70 s, AUC 0.750" in capsys.readouterr().err
    (plan.folder / plan.lines["all/figure/fig2"].marker).touch()
    assert follower.look() == "2 of 2 steps done, 0 running"
    assert "unchanged" in capsys.readouterr().err


def test_records_decide_and_not_what_a_queue_says(reports, monkeypatch, capsys):
    """An engine that claims that all went well, with markers and exit status 0, but ran nothing."""

    def pretends(plan, where, passed_on, lock=None):
        for line in plan.to_run():
            (plan.folder / line.marker).touch()
        return 0, False

    monkeypatch.setattr(cli, "run_engine", pretends)
    assert cli.main(["start", "--on", "slurm"]) == 4
    assert "all/start" in capsys.readouterr().err
    assert records.read(Job("quick", "all", "start").folder) is None
