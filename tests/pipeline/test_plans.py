"""What is stale is decided once a call and handed down in a plan; what came of it is asked of the records."""

import errno
import json
import os
import subprocess
import sys

import pytest

from lib import paths
from lib.commands import cli
from lib.errors import (
    EXIT_DATA,
    EXIT_DISK,
    EXIT_INTERRUPTED,
    EXIT_NOTEBOOK,
    EXIT_USAGE,
    BusyError,
    RecordError,
)
from lib.pipeline import planning, plans, records, surroundings
from lib.pipeline.planning import Grid
from lib.pipeline.steps import STEPS, Job, from_name, upstream

GRID = Grid("quick", ("synthetic",), (0,))


@pytest.fixture(autouse=True)
def reports(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    planning._scored.cache_clear()
    yield tmp_path / "reports"
    planning._scored.cache_clear()


def write(job: Job, **changes) -> dict:
    """A record of a job, complete and as the code and the profile are now, but for the changes."""
    config = GRID.config(job)
    record = {
        "format": records.FORMAT,
        "job": job.name,
        "status": "complete",
        "metrics": {"of": job.name},
        "outputs": [],
        "notes": {},
        "parameters": records.parameters_of(job, config),
        "inputs": {
            needed.name: records.input_digest(job, records.read(needed.folder))
            for needed in upstream(job, ())
            if records.read(needed.folder)
        },
        "code": records.code_version(STEPS[job.step].notebook),
    }
    if job.step == "prepare":
        paths.write_json(job.folder / "arrays" / "manifest.json", {})
        record |= {"prepared": str(job.folder / "arrays"), "raw": None}
    paths.write_json(job.folder / "run.json", record | changes)
    return record


@pytest.fixture
def jobs() -> tuple[Job, ...]:
    """The jobs behind one score, all complete."""
    jobs = GRID.jobs(["two_path"])
    jobs = tuple(job for job in jobs if job.step != "features" or job.variant == "two_path")
    for job in jobs:
        write(job)
    return jobs


def plan_of(jobs, folder) -> plans.Plan:
    return planning.make(GRID, planning.decide(GRID, jobs), folder)


def reasons(plan: plans.Plan) -> dict[str, tuple[str, bool]]:
    return {line.job: (line.why, line.certain) for line in plan.to_run()}


def test_nothing_to_do(jobs, tmp_path):
    plan = plan_of(jobs, tmp_path / "plan")
    assert plan.to_run() == [] and planning.incomplete(plan) == {}
    markers = {path.name: path.stat().st_mtime for path in plan.folder.iterdir() if path.name != "plan.json"}
    assert markers == {job.name.replace("/", "."): 0 for job in jobs}


def test_a_plan_says_which_jobs_run_why_and_whether_that_is_certain(jobs, tmp_path):
    prepare, autoencoder, features, score = jobs
    write(autoencoder, parameters=records.read(autoencoder.folder)["parameters"] | {"autoencoder.lr": 7})
    plan = plan_of(jobs, tmp_path / "plan")
    lr = GRID.config(autoencoder).autoencoder.lr
    assert reasons(plan) == {
        autoencoder.name: (f"autoencoder.lr is {lr}, was 7", True),
        features.name: (f"{autoencoder.name} runs first", False),
        score.name: (f"{features.name} runs first", False),
    }
    assert plan.lines[score.name].waits_for == plan.lines[score.name].reads == (prepare.name, features.name)
    assert plan.lines[autoencoder.name].trains and not plan.lines[score.name].trains
    assert not (plan.folder / plan.lines[score.name].marker).exists()


def test_what_shows_the_runs_comes_last_and_again_after_each_change(tmp_path):
    """Notebook 0 lists what was run and notebook 5 shows a trained flow; neither reads a run."""
    jobs = GRID.jobs(["learn", "table3"])
    glow, start = Job("quick", "all", "explain_glow"), Job("quick", "all", "start")
    assert jobs[-2:] == (glow, start)
    plan = plan_of(jobs, tmp_path / "plan")
    flows = [job.name for job in jobs if job.step == "flow"]
    assert flows and list(plan.lines[glow.name].waits_for) == flows and not plan.lines[glow.name].reads
    assert list(plan.lines[start.name].waits_for) == [job.name for job in jobs[:-1]]
    for job in jobs:
        write(
            job,
            inputs=plan.lines[job.name].reads
            and {
                name: records.input_digest(job, records.read(from_name("quick", name).folder))
                for name in plan.lines[job.name].reads
            },
        )
    assert reasons(plan_of(jobs, tmp_path / "plan")) == {}
    table = Job("quick", "all", "table3")
    write(table, parameters={})
    assert reasons(plan_of(jobs, tmp_path / "plan"))[start.name] == (f"{table.name} runs first", True)
    assert glow.name not in reasons(plan_of(jobs, tmp_path / "plan"))
    assert planning.decide(GRID, [start])[start.name].waits_for == ()  # alone it waits for nothing


def test_a_plan_comes_back_as_it_was_written(jobs, tmp_path):
    write(jobs[-1], status="failed")
    plan = plan_of(jobs, tmp_path / 'a {folder}: it\'s "odd"\nthis one')
    assert plans.read(plan.file) == plan
    assert Grid.from_dict(plans.read(plan.file).grid) == GRID


def test_a_plan_that_cannot_be_read_says_what_to_do(tmp_path):
    (tmp_path / "plan.json").write_text('{"format": 0}')
    for file, words in (
        (tmp_path / "plan.json", "another version"),
        (tmp_path / "none.json", "cannot be read"),
    ):
        with pytest.raises(RecordError, match=rf"{words}(.|\n)*--plan"):
            plans.read(file)


def test_a_new_plan_leaves_nothing_of_the_old_one(jobs, tmp_path):
    """Neither markers nor what Snakemake remembers: a call that was killed cannot mislead the next."""
    (tmp_path / "plan" / ".snakemake" / "incomplete").mkdir(parents=True)
    (tmp_path / "plan" / "all.table3").touch()
    plan = plan_of(jobs[:1], tmp_path / "plan")
    assert sorted(p.name for p in plan.folder.iterdir()) == ["plan.json", "synthetic.prepare"]


def test_reading_a_plan_needs_nothing_heavy():
    code = (
        "import sys; from lib.pipeline import plans; "
        "print([m for m in ('numpy', 'torch', 'pandas', 'cv2', 'lib.config', 'lib.pipeline.records') if m "
        "in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    imports = [
        line for line in (paths.ROOT / "Snakefile").read_text().splitlines() if line.startswith("from lib")
    ]
    assert imports == ["from lib.pipeline import plans"]


# -- what came of it -----------------------------------------------------------------------------------------


def test_a_complete_record_of_an_earlier_call_is_no_success(jobs, tmp_path):
    """Snakemake may end with 0 without having run anything; the record is complete, but it is not what was
    asked for."""
    write(jobs[1], parameters={})
    plan = plan_of(jobs, tmp_path / "plan")
    problems = planning.incomplete(plan)
    assert list(problems) == [job.name for job in jobs[1:]]
    assert problems[jobs[1].name].not_started and problems[jobs[1].name].text == "it was not started"
    assert problems[jobs[2].name].waits_for == jobs[1].name
    write(jobs[1], plan=plan.id)  # it ran, and came out as before: what reads it is left as it is
    assert planning.incomplete(plan) == {}
    write(jobs[1], plan=plan.id, metrics={"of": "another result"})
    assert list(planning.incomplete(plan)) == [jobs[2].name, jobs[3].name]


def test_a_failed_job_is_told_with_its_own_reason(jobs, tmp_path, monkeypatch):
    write(jobs[1], parameters={})
    plan = plan_of(jobs, tmp_path / "plan")
    write(jobs[1], plan=plan.id, status="failed", error="The disk is full.", exit_code=EXIT_DATA)
    problems = planning.incomplete(plan)
    assert problems[jobs[1].name] == planning.Problem("The disk is full.", EXIT_DATA)
    write(jobs[1], plan=plan.id, status="was interrupted")  # killed: nobody wrote why
    assert planning.incomplete(plan)[jobs[1].name].text.startswith("it ended without a message")
    full = OSError(errno.ENOSPC, "No space left on device", str(jobs[1].folder))
    monkeypatch.setattr(surroundings, "seen_of_disk", lambda *_: full)  # or there was no room to write it
    problem = planning.incomplete(plan)[jobs[1].name]
    assert problem.text.startswith("The disk is full") and problem.exit_code == EXIT_DISK


def test_unchanged_means_that_all_inputs_came_out_as_they_were(jobs, tmp_path):
    write(jobs[2], parameters={})
    plan = plan_of(jobs, tmp_path / "plan")
    assert planning.unchanged(plan, plan.lines[jobs[3].name])
    assert not planning.unchanged(plan, plan.lines[jobs[2].name])  # it has a reason of its own
    write(jobs[2], metrics={"of": "another result"})
    assert not planning.unchanged(plan, plan.lines[jobs[3].name])
    write(jobs[2], status="was interrupted")
    write(jobs[3], status="was interrupted")
    assert not planning.unchanged(plan, plan.lines[jobs[3].name])


# -- the call ------------------------------------------------------------------------------------------------


def call(monkeypatch, engine, *arguments) -> int:
    """A call of run_all.sh with another engine in Snakemake's place: a function of the plan."""
    monkeypatch.setattr(cli, "run_engine", lambda plan, *_: engine(plan))
    monkeypatch.setattr(sys, "argv", ["run_all.sh", *arguments])
    return cli.main(list(arguments))


def test_an_engine_that_ran_nothing_and_says_that_all_is_well(monkeypatch, capsys):
    assert call(monkeypatch, lambda plan: (0, False), "two_path") == EXIT_NOTEBOOK
    said = capsys.readouterr().err
    assert "The workflow engine (Snakemake) stopped before it was done" in said
    assert "Not started: synthetic/prepare, synthetic/autoencoder/two_path/seed0" in said
    assert "to continue: ./run_all.sh two_path" in said


def test_an_engine_that_ran_everything_and_says_that_it_failed(monkeypatch, capsys):
    def engine(plan):
        for line in plan.to_run():
            metrics = {"auc": 0.75, "interval": None, "subset": False}
            write(from_name("quick", line.job), plan=plan.id, metrics=metrics)
        return 1, False

    monkeypatch.setattr(cli, "show_results", lambda *_, **__: 0)
    assert call(monkeypatch, engine, "two_path") == 0
    assert "4 steps in 0 s." in capsys.readouterr().out


def test_every_job_is_told_by_name_and_the_failed_one_with_its_reason(monkeypatch, capsys):
    def engine(plan):
        write(from_name("quick", "synthetic/prepare"), plan=plan.id)
        change = {"status": "failed", "error": "No such luck.", "exit_code": EXIT_DATA}
        write(from_name("quick", "synthetic/autoencoder/two_path/seed0"), plan=plan.id, **change)
        return 0, False

    assert call(monkeypatch, engine, "two_path") == EXIT_DATA
    said = capsys.readouterr().err
    assert "✗ synthetic/autoencoder/two_path/seed0: No such luck." in said
    assert "Not started: synthetic/features/two_path/seed0, synthetic/score/two_path/seed0." in said
    assert "workflow engine" not in said


def test_an_interrupted_call(monkeypatch, capsys):
    def engine(plan):
        change = {"status": "was interrupted", "error": "x was interrupted.", "exit_code": EXIT_INTERRUPTED}
        write(from_name("quick", "synthetic/prepare"), plan=plan.id, **change)
        return 1, True

    assert call(monkeypatch, engine, "two_path") == EXIT_INTERRUPTED
    said = capsys.readouterr().err
    assert (
        "Interrupted: synthetic/prepare." in said
        and "Nothing is lost: ./run_all.sh two_path continues." in said
    )


def test_ctrl_c_before_and_after_the_engine(monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "decide", stop)
    assert call(monkeypatch, None, "fig2") == EXIT_INTERRUPTED
    assert capsys.readouterr().err == "\nInterrupted.\n"


def test_a_disk_that_is_too_full_for_a_record(monkeypatch, capsys):
    """The job has said so on the terminal; the engine is not to blame."""
    full = OSError(errno.ENOSPC, "No space left on device", "/r")
    monkeypatch.setattr(surroundings, "seen_of_disk", lambda *_: full)
    assert call(monkeypatch, lambda plan: (1, False), "fig2") == EXIT_DISK
    said = capsys.readouterr().err
    assert "The disk is full: /r could not be written" in said and "engine" not in said


def test_the_engines_own_words_are_handed_on(monkeypatch, capsys):
    def engine(plan):
        log = (
            "Building DAG of jobs...\n"
            "Traceback (most recent call last):\n"
            "PermissionError: [Errno 13] '/.cache'\n"
        )
        (plan.folder / cli.ENGINE_LOG).write_text(log)
        return 1, False

    assert call(monkeypatch, engine, "fig2") == EXIT_NOTEBOOK
    said = capsys.readouterr().err
    assert (
        "stopped before it was done: PermissionError: [Errno 13] '/.cache'" in said and "engine.log" in said
    )


def test_two_calls_at_once_are_refused(monkeypatch, capsys):
    with plans.hold("quick"):
        assert call(monkeypatch, lambda plan: (0, False), "fig2") == EXIT_USAGE
        assert (
            f"Profile quick is being run by another process (process {os.getpid()})"
            in capsys.readouterr().err
        )
        with pytest.raises(BusyError), plans.hold("quick"):
            pass
        with plans.hold("small"):  # another profile shares nothing with it
            pass
        assert cli.main(["fig2", "--dry-run"]) == 0  # looking writes nothing and waits for nobody


def test_a_plan_for_snakemake_by_hand(reports, capsys):
    assert cli.main(["two_path", "--plan"]) == 0
    plan = plans.read(reports / "quick/.state/by_hand/plan.json")
    assert plan.by_hand and len(plan.to_run()) == 4 and str(plan.file) in capsys.readouterr().out
    assert json.loads(plan.file.read_text())["lines"][0]["why"] == "not run yet"


# -- what stands around the engine ---------------------------------------------------------------------------


def command_of(monkeypatch, *passed_on) -> list[str]:
    """The arguments with which Snakemake is called."""
    seen = []
    monkeypatch.setattr(cli.engine, "call", lambda arguments, *_: seen.extend(arguments) or (0, False))
    plan = plans.Plan("id", "quick", GRID.to_dict(), {}, False, {}, paths.Path("/x y/plan"))
    assert cli.run_engine(plan, ["--cores", "2"], list(passed_on)) == (0, False)
    return seen


def test_snakemake_takes_no_profile_that_nobody_asked_for(monkeypatch):
    command = command_of(monkeypatch)
    assert command[command.index("--workflow-profile") + 1] == "none" and "--profile" not in command
    assert "plan=/x y/plan/plan.json" in command and "--nolock" in command
    command = command_of(monkeypatch, "--workflow-profile", "mine")
    assert command[-2:] == ["--workflow-profile", "mine"] and command.count("--workflow-profile") == 1


def test_what_the_call_was_told_reaches_jobs_through_the_plan(jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_DATA_ROOT", "/data of mine")
    monkeypatch.setenv("KIT_OFF_PINS", "")
    plan = plans.read(plan_of(jobs, tmp_path / "plan").file)
    assert plan.environment == {
        "KIT_DATA_ROOT": "/data of mine",
        "KIT_REPORTS": str(tmp_path / "reports"),
        "KIT_HOME": os.path.expanduser("~"),
    }


@pytest.mark.parametrize(
    "problem, sentence",
    [
        (
            OSError(errno.ENOSPC, "No space left", "/r/plan.json"),
            "The disk is full: /r/plan.json could not be written",
        ),
        (
            OSError(errno.EROFS, "Read-only", "/r/plan.json"),
            "/r/plan.json cannot be written: the disk is read-only",
        ),
        (
            PermissionError(errno.EACCES, "no", "/r/lock"),
            "/r/lock cannot be read or written: this user has no right to",
        ),
    ],
)
def test_a_disk_that_takes_nothing(monkeypatch, capsys, problem, sentence):
    def fail(*_, **__):
        raise problem

    monkeypatch.setattr(planning, "make", fail)
    assert call(monkeypatch, None, "fig2") == EXIT_DISK
    assert sentence in capsys.readouterr().err


def test_lab_hands_on_its_arguments_and_runs_as_root_on_this_machine_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(cli.os, "execv", lambda _, command: seen.append(command))
    for user in (0, 1000):
        monkeypatch.setattr(cli.os, "geteuid", lambda user=user: user)
        cli.main(["lab", "--", "--no-browser", "--port=9999"])
    root, other = seen
    assert root[-2:] == other[-2:] == ["--no-browser", "--port=9999"]
    assert "--allow-root" in root and "--allow-root" not in other
    for option in ("--ServerApp.ip=127.0.0.1", "--LabApp.news_url=None"):
        assert option in root and option in other
