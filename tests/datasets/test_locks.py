"""One process at a time."""

import os
import signal
import subprocess
import sys

import pytest

from lib import paths
from lib.datasets import locks
from lib.errors import EXIT_USAGE, BusyError

HOLD = (
    "import sys, time; from pathlib import Path; from lib.datasets.locks import Lock\n"
    "lock = Lock(Path(sys.argv[1]), 'It'); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        cwd=paths.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_process_that_holds_a_lock_is_named(tmp_path, other):
    with pytest.raises(
        BusyError, match=rf"It is being run by another process \(process {other.pid}\)"
    ) as problem:
        locks.Lock(tmp_path / "lock", "It")
    assert problem.value.exit_code == EXIT_USAGE


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with locks.alone(tmp_path / "lock", "It"):
        assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()} ")
    with locks.alone(tmp_path / "lock", "It"):  # and is free again
        pass


def test_one_can_wait_for_a_lock(tmp_path, other):
    said = []

    def waiting(line):
        said.append(line)
        other.stdin.close()  # the other process ends

    with locks.alone(tmp_path / "lock", "It", waiting):
        assert other.wait() == 0
    assert said == [f"It is being made by another process (process {other.pid}); waiting for it."]


def test_a_child_can_hold_on_to_the_lock_of_a_process_that_is_gone(tmp_path):
    """As Snakemake does when the call that started it is killed: nobody else may begin before it ends too."""
    hold = (
        "import subprocess, sys; from pathlib import Path; from lib.datasets.locks import Lock\n"
        "lock = Lock(Path(sys.argv[1]), 'It')\n"
        "child = subprocess.Popen(['sleep', '60'], pass_fds=[lock.descriptor], stdout=subprocess.DEVNULL)\n"
        "lock.add_holder(child.pid); print(child.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", hold, str(tmp_path / "lock")],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(done.stdout)
    try:
        with pytest.raises(BusyError, match=f"process {child}"):
            locks.Lock(tmp_path / "lock", "It")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(locks.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with locks.alone(tmp_path / "lock", "Profile quick"):
        pass
    assert "has no locks: make sure yourself that nothing else runs Profile quick" in capsys.readouterr().err
