"""Homes, users, cores, variables and checkouts as containers, clusters and other systems have them."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from lib import paths
from lib.errors import EXIT_DISK, EXIT_INTERRUPTED, ConfigError
from lib.pipeline import records, surroundings

SETTLED = (
    "import getpass, json, os, sys; from lib.pipeline import surroundings; surroundings.settle(); "
    "print(json.dumps([os.environ['HOME'], getpass.getuser(), sorted(os.environ)]))"
)


def settled(*before: str, **environment: str) -> tuple[str, str, list[str]]:
    """HOME, user and variables as they are afterwards; variables that are given as "" are not there
    before."""
    env = {name: value for name, value in (os.environ | environment).items() if value}
    done = subprocess.run(
        [*before, sys.executable, "-c", SETTLED], cwd=paths.ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("home", ["", "/dev/null/none", "relative", "/dev/null"])
def test_a_home_that_is_none(home):
    found, user, _ = settled(HOME=home)
    assert os.path.isabs(found) and os.access(found, os.W_OK) and user


def test_a_home_that_is_one_stays(tmp_path):
    assert settled(HOME=str(tmp_path))[0] == str(tmp_path)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user"
)
def test_a_user_without_an_account(tmp_path):
    """As `docker run -u 12345` makes one, with HOME=/ that it may not write to."""
    as_nobody = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=+dac_read_search"]
    copy = tmp_path / "kit"
    shutil.copytree(paths.LIB, copy / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
    shutil.chown(copy, 12345, 12345)
    env = {k: v for k, v in os.environ.items() if k not in ("USER", "LOGNAME", "LNAME", "USERNAME")} | {
        "HOME": "/"
    }
    done = subprocess.run(
        [*as_nobody, "--ambient-caps=+dac_read_search", sys.executable, "-B", "-c", SETTLED],
        cwd=copy,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    home, user, _ = json.loads(done.stdout)
    assert home == str(copy / ".jupyter/home") and user == "uid12345"


def test_variables_that_steer_snakemake_or_python_are_left_behind(tmp_path):
    names = settled(
        SNAKEMAKE_PROFILE="slurm",
        SNAKEMAKE_OUTPUT_CACHE="/x",
        PYTHONSTARTUP="/x",
        XDG_CACHE_HOME="/dev/null/none",
        XDG_DATA_HOME=str(tmp_path),
    )[2]
    assert not {"SNAKEMAKE_PROFILE", "SNAKEMAKE_OUTPUT_CACHE", "PYTHONSTARTUP", "XDG_CACHE_HOME"} & set(names)
    assert "XDG_DATA_HOME" in names


def test_a_checkout_whose_name_is_not_utf8_is_refused(monkeypatch):
    monkeypatch.setattr(paths, "ROOT", paths.Path(os.fsdecode(b"/kit\xff")))
    with pytest.raises(ConfigError, match=r"/kit\\udcff', whose name is not UTF-8"):
        surroundings.settle()


KERNEL = (
    "import os; from lib.pipeline import execution\n"
    "import papermill\n"
    "from jupyter_client.kernelspec import get_kernel_spec\n"
    "papermill.execute_notebook = lambda *_, **__: print(get_kernel_spec('python3').argv)\n"
    "class Watch: channel = ''\n"
    "execution.run_notebook(execution.paths.Path('n'), execution.paths.Path('o'), {}, {}, Watch)"
)


def test_the_kits_own_kernel_is_taken_whatever_the_folder_is_called(tmp_path):
    """Not that of the environment, which is talkative, nor one of the person's."""
    copy = tmp_path / "a:b {connection_file} it's"
    shutil.copytree(paths.LIB, copy / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    foreign = tmp_path / "foreign/kernels/python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["another"], "display_name": "x", "language": "python"}')
    env = os.environ | {"JUPYTER_PATH": str(foreign.parents[1])}
    done = subprocess.run(
        [sys.executable, "-B", "-c", KERNEL], cwd=copy, env=env, capture_output=True, text=True
    )
    assert "--log-level=50" in done.stdout and "another" not in done.stdout, done.stderr


RAISES = """
import subprocess, sys
import papermill
from lib.errors import JobError
from lib.pipeline import execution

def ends(*_, **__):
    global kernel
    kernel = subprocess.Popen(["sleep", "60"], start_new_session=True)
    raise {problem}

papermill.execute_notebook = ends
class Watch: channel = ""
try:
    execution.run_notebook(execution.paths.Path("n"), execution.paths.Path("o"), {{}}, {{}}, Watch)
except JobError as problem:
    print(kernel.wait(), problem.exit_code, problem)
"""


@pytest.mark.parametrize(
    "problem, said",
    [
        ("KeyboardInterrupt", f"-9 {EXIT_INTERRUPTED} n was interrupted."),
        (
            "papermill.PapermillExecutionError(0, 0, '', 'OSError', "
            "\"[Errno 28] No space left on device: '/d/x'\", [])",
            f"-9 {EXIT_DISK} The disk is full: /d/x could not be written.",
        ),
        (
            "papermill.PapermillExecutionError(0, 0, '', 'PermissionError', "
            "\"[Errno 13] Permission denied: '/d/x'\", [])",
            f"-9 {EXIT_DISK} /d/x cannot be read or written: this user has no right to.",
        ),
    ],
)
def test_no_kernel_outlives_its_job_however_that_ends(tmp_path, problem, said):
    shutil.copytree(paths.LIB, tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-B", "-c", RAISES.format(problem=problem)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(said), done.stdout + done.stderr


# -- the disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, number, file",
    [
        ("[Errno 28] No space left on device: '/d/x'", errno.ENOSPC, "/d/x"),
        ("[Errno 30] Read-only file system: 'x'", errno.EROFS, "x"),
        ("[Errno 28] No space left on device", errno.ENOSPC, None),
    ],
)
def test_an_error_of_the_disk_is_known_by_its_text(text, number, file):
    problem = surroundings.told_of_disk(text)
    assert problem.errno == number and problem.filename == file
    assert surroundings.told_of_disk("[Errno 2] No such file or directory: 'x'") is None
    assert surroundings.told_of_disk("nothing") is None


def test_what_a_disk_looks_like(tmp_path, monkeypatch):
    assert surroundings.seen_of_disk(tmp_path) is None
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert surroundings.seen_of_disk(tmp_path).errno == errno.ENOSPC


def test_a_disk_that_is_read_only(tmp_path, monkeypatch):
    flags = type("Flags", (), {"f_flag": os.ST_RDONLY})
    monkeypatch.setattr(surroundings.os, "statvfs", lambda _: flags)
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    assert surroundings.seen_of_disk(tmp_path).errno == errno.EROFS


# -- cores ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own, files, quota",
    [
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {}, None),
        (
            "0::/a/b\n",
            {"cpu.max": "max 100000", "a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"},
            4.0,
        ),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/../../elsewhere\n", {"cpu.max": "200000 100000"}, 2.0),  # of a container, seen from within
        (
            "4:memory:/x\n3:cpu,cpuacct:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "300000", "cpu/x/cpu.cfs_period_us": "100000"},
            3.0,
        ),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("0::/\n", {"cpu.max": "not what it was"}, None),
    ],
)
def test_the_quota_of_a_container(tmp_path, own, files, quota):
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    assert surroundings.cpu_quota(tmp_path / "groups", tmp_path / "own") == quota


@pytest.mark.parametrize("quota, bound, cores", [(None, 8, 8), (2.5, 8, 2), (0.5, 8, 1), (16.0, 4, 4)])
def test_cores_are_those_that_may_be_used(monkeypatch, quota, bound, cores):
    monkeypatch.setattr(surroundings, "cpu_quota", lambda: quota)
    monkeypatch.setattr(surroundings.os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    assert surroundings.cores() == records.hardware()["cores"] == cores


# -- the commit ----------------------------------------------------------------------------------------------


def git(folder, *arguments):
    settings = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return subprocess.run(
        ["git", *settings, *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository that is taken for the kit's."""
    folder = tmp_path / "outer" / "the kit"
    folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "ROOT", folder)
    return folder


def commit_in(folder) -> str:
    git(folder, "init", "-q")
    (folder / "file").write_text("x")
    git(folder, "add", "file")
    git(folder, "commit", "-qm", "one")
    return git(folder, "rev-parse", "HEAD")


def test_the_commit_is_the_checkouts(checkout, monkeypatch):
    commit = commit_in(checkout)
    assert records.git_state() == {"commit": commit, "dirty": False} and records.why_no_commit() == ""
    (checkout / "file").write_text("y")
    assert records.git_state() == {"commit": commit, "dirty": True}
    other = checkout.parent / "other"
    other.mkdir()
    commit_in(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as within a hook of that repository
    assert records.git_state()["commit"] == commit


def test_another_repositorys_commit_is_never_taken(checkout):
    assert records.git_state() == {"commit": None, "dirty": None}
    assert records.why_no_commit() == "Records will name no commit: this folder is not a git checkout."
    commit_in(checkout.parent)
    assert records.git_state() == {"commit": None, "dirty": None}
    assert "is inside another" in records.why_no_commit()
    git(checkout, "init", "-q")
    assert (
        records.git_state() == {"commit": None, "dirty": None} and "no commit yet" in records.why_no_commit()
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_checkout_of_another_user(checkout):
    commit = commit_in(checkout)
    for path in [checkout, *checkout.rglob("*")]:
        os.chown(path, 12345, 12345)
    assert records.git_state() == {"commit": commit, "dirty": False}


# -- scripts -------------------------------------------------------------------------------------------------


def test_scripts_keep_their_line_ends_in_every_checkout():
    """Git for Windows makes CRLF of what has no attribute, and bash reads no such script."""
    names = [
        "run_all.sh",
        "run_tests.sh",
        "environment.sh",
        "Snakefile",
        "lib/paths.py",
        "data/paper_results.csv",
    ]
    done = git(paths.ROOT, "check-attr", "eol", "--", *names, "notebooks/01_data.ipynb", "README.md")
    assert [line.rsplit(" ", 1)[1] for line in done.splitlines()] == ["lf"] * 8
    stored = git(paths.ROOT, "ls-files", "--eol").splitlines()
    assert [line for line in stored if line.startswith(("i/crlf", "i/mixed"))] == []


@pytest.fixture
def installed(tmp_path):
    """The scripts of a checkout whose Python only tells how it was called."""
    folder = tmp_path / 'it\'s a "kit" {x}'
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("run_all.sh", "environment.sh", "requirements.txt"):
        shutil.copy(paths.ROOT / name, folder / name)
    python = folder / ".venv/bin/python"
    python.write_text(
        '#!/bin/sh\npwd\necho "${PYTHONSAFEPATH-unset}" "$KIT_CALLED_FROM"\nprintf "%s\\n" "$@"\n'
    )
    python.chmod(0o755)
    (folder / ".venv/complete").write_text(paths.sha256_of(folder / "requirements.txt"))
    return folder


def called(script, cwd, **environment) -> list[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "CONDA_PREFIX")} | environment
    done = subprocess.run([script, "--list"], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_called_through_links_and_under_other_settings(installed, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "absolute").symlink_to(installed / "run_all.sh")
    (links / "relative").symlink_to(os.path.relpath(installed / "run_all.sh", links))
    (links / "of a link").symlink_to("relative")
    environment = {"PYTHONSAFEPATH": "1", "CDPATH": str(tmp_path)}
    for script in (
        installed / "run_all.sh",
        *(links / name for name in ("absolute", "relative", "of a link")),
    ):
        said = called(script, links, **environment)
        assert said == [str(installed), f"unset {links}", "-m", "lib.commands.cli", "--list"], script
    assert called("./run_all.sh", installed)[0] == str(installed)


def test_a_colon_in_the_folders_name_is_said(tmp_path):
    folder = tmp_path / "a:b"
    folder.mkdir()
    for name in ("run_all.sh", "environment.sh", "requirements.txt"):
        shutil.copy(paths.ROOT / name, folder / name)
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    done = subprocess.run(["./run_all.sh"], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 6 and "no colon in the name of its folder" in done.stderr
