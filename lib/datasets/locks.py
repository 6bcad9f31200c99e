"""File locks for profiles, jobs and prepared data, so that only one process works on each at a time.

A lock is a file locked with flock. The system releases it however its process ends, so no lock is ever stale;
that the file still exists means nothing. On a shared file system flock works between machines if the system
supports it (NFS since version 3 with its lock service, NFS 4, GPFS, Lustre mounted with `flock`); if it does
not, a warning is printed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from lib import paths
from lib.errors import BusyError

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Lock:
    """A lock that this process holds until `release`, or until it ends."""

    def __init__(self, path: Path, what: str, waiting: Callable[[str], None] | None = None):
        """Acquire a lock. If another process holds it, raise BusyError, or call `waiting` with a message and
        wait."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  open while the lock is held
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._file)
            if waiting is None:
                self._file.close()
                raise BusyError(
                    f"{what} is being run by another process ({holder}). Wait for it, or stop it, and run "
                    "this again."
                ) from None
            waiting(f"{what} is being made by another process ({holder}); waiting for it.")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as problem:
            if problem.errno not in WITHOUT_LOCKS:
                raise
            print(
                f"The file system of {paths.shown(path.parent)} has no locks: make sure yourself that "
                f"nothing else runs {what} at the same time.",
                file=sys.stderr,
            )
        self._file.truncate(0)
        self.add_holder(os.getpid())

    def add_holder(self, process: int) -> None:
        """Record a process that holds the lock: this one, or a child that was given the descriptor."""
        self._file.write(f"{process} {socket.gethostname()}\n")
        self._file.flush()

    @property
    def descriptor(self) -> int:
        """The file descriptor, for a child that has to hold the lock even if this process is killed."""
        return self._file.fileno()

    def release(self) -> None:
        self._file.close()


def _holder(file) -> str:
    """The process that holds a lock, if it was recorded."""
    file.seek(0)
    lines = [line.split() for line in file.read().splitlines()]
    told = [(int(line[0]), line[1]) for line in lines if len(line) == 2 and line[0].isdigit()]
    here = socket.gethostname()
    alive = [(process, host) for process, host in told if host != here or _lives(process)]
    if not alive:
        return "its number is not known"
    process, host = alive[0]
    return f"process {process}" if host == here else f"process {process} on {host}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def alone(path: Path, what: str, waiting: Callable[[str], None] | None = None):
    """Hold a lock while the body runs. Raises BusyError, or calls `waiting` with a message and waits."""
    lock = Lock(path, what, waiting)
    try:
        yield lock
    finally:
        lock.release()
