"""The environment of the kit's processes, made usable: home folder, user, cores, variables.

On containers and clusters the user id may have no account, the home folder may be missing or read-only, and
variables may configure Snakemake or Python. None of this may decide what is run or whether it succeeds.
"""

from __future__ import annotations

import errno
import math
import os
import pwd
import re
import shutil
import sys
from pathlib import Path

from lib import paths
from lib.errors import ConfigError

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def settle() -> None:
    """Prepare this process and all that it starts. Raises ConfigError if that is not possible."""
    for stream in (sys.stdout, sys.stderr):  # show names that are not UTF-8 with escapes
        stream.reconfigure(errors="backslashreplace")
    if not paths.is_utf8(str(paths.ROOT)):
        raise ConfigError(
            f"This checkout is in {ascii(str(paths.ROOT))}, whose name is not UTF-8. Rename that folder."
        )
    for name in list(os.environ):
        # Snakemake's settings, and variables that keep Python from finding lib in the current folder
        if name.startswith("SNAKEMAKE_") or name in ("PYTHONSAFEPATH", "PYTHONSTARTUP", "PYTHONINSPECT"):
            del os.environ[name]
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        if name in os.environ and not _usable(os.environ[name]):
            del os.environ[name]  # the default is a folder below HOME
    account = _account()
    if account is None:  # getpass.getuser() looks here first
        os.environ.setdefault("USER", f"uid{os.getuid()}")
    if not _usable(os.environ.get("HOME", "")):
        home = account.pw_dir if account is not None and _usable(account.pw_dir) else _own_home()
        os.environ["HOME"] = str(home)


def _account():
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return None


def _usable(folder: str) -> bool:
    return os.path.isabs(folder) and os.path.isdir(folder) and os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _own_home() -> Path:
    """A home folder in the checkout, for files of Jupyter, Snakemake and matplotlib."""
    home = paths.KERNELS / "home"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(
            f"HOME is not a folder that can be written to, and neither is {paths.KERNELS} "
            f"({problem.strerror}). Set HOME to a folder of yours."
        ) from None
    return home


def cores() -> int:
    """Processor cores that this process may use: those it is bound to, or fewer if a container has a
    quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return bound if quota is None else max(1, min(bound, math.floor(quota)))


def cpu_quota(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> float | None:
    """The number of cores that control groups (version 2 or 1) give to this process; None without a limit.

    Limits of all parent groups count too. A container often sees only the groups from its own on.
    """
    found = []
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = cgroups if not controllers else cgroups / "cpu"
        below = top / group.lstrip("/")
        for folder in [below, *(p for p in below.parents if p.is_relative_to(top)), top]:
            found += _quota_of(folder)
    return min(found, default=None)


def _quota_of(folder: Path) -> list[float]:
    """The quota of one control group, as a list of one; empty if it has none."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return [] if quota in ("max", "-1") else [int(quota) / int(period)]
    except (OSError, ValueError):
        return []


# -- the disk ------------------------------------------------------------------------------------------------

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def disk_sentence(problem: OSError) -> str:
    """An error of the operating system about the disk, as a sentence."""
    where = problem.filename or "A file"
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {where} could not be written. "
            "Make room and run this again; what is finished is kept."
        )
    if problem.errno == errno.EROFS:
        return (
            f"{where} cannot be written: the disk is read-only. Run this in a folder that you can write to."
        )
    return f"{where} cannot be read or written: this user has no right to. Change its rights or its owner."


LITTLE = 2**20  # bytes; a disk with less free space counts as full


def told_of_disk(text: str) -> OSError | None:
    """The disk error in the text of an exception ("[Errno 28] No space left on device: '/x'"); None without
    one."""
    found = re.search(r"\[Errno (\d+)\] [^:']+(?:: '([^']*)')?", text)
    number = int(found[1]) if found else 0
    return OSError(number, os.strerror(number), found[2]) if number in DISK else None


def seen_of_disk(*folders: Path) -> OSError | None:
    """Why files cannot be written into some folders, for errors that do not say it; None if they can."""
    for folder in folders:
        if os.statvfs(folder).f_flag & os.ST_RDONLY:  # checked first: it often has no free space either
            return OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
        if shutil.disk_usage(folder).free < LITTLE:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    return None
