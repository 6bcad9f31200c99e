"""Snakemake as a process of its own: how it is started, and how it is stopped.

    python -m lib.pipeline.engine LOG ARGUMENTS...

is that process. Its own words, with every warning and traceback, go to LOG ("-" leaves them on the terminal).
The jobs inherit the descriptor of the standard error, which stays the terminal.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

from lib import paths
from lib.pipeline.terminal import tell

STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a terminal that was closed
JOB = "lib.pipeline.execution"  # the module that a job's process runs


def call(arguments: list[str], log: str, lock=None) -> tuple[int, bool]:
    """Runs Snakemake until it ends. Returns its exit code, which says nothing of the jobs, and whether it was
    stopped by a signal to this process.

    `lock`: the profile's, which has to be held for as long as Snakemake lives, even if this process is
    killed.
    """
    if log != "-":
        open(log, "w").close()  # a disk that takes nothing is told here
    signals = []
    before = {number: signal.getsignal(number) for number in STOPPED_BY}
    try:
        for number in STOPPED_BY:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: signals.append(number))
            elif number == signal.SIGINT:  # called in the background; Snakemake has to listen all the same
                signal.signal(number, lambda *_: None)
        # Blocked until `main` has sent Snakemake's words to the log; a signal that comes before that waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        process = subprocess.Popen(
            [sys.executable, "-m", "lib.pipeline.engine", log, *arguments],
            cwd=paths.ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[lock.descriptor] if lock else [],
            process_group=0,  # Ctrl-C reaches this process alone, and each other process is told once
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        if lock:
            lock.add_holder(process.pid)
        told, answered = set(), 0
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.3)
            if not signals:
                continue
            if not answered:
                with contextlib.suppress(OSError):  # of a terminal that was closed
                    tell("\nStopping what runs; this takes some seconds.")
            jobs = stop_jobs(process.pid, told)
            # Snakemake starts no more jobs after the first, cancels those on a cluster, and waits. While it
            # waits for jobs that are ending here, another Ctrl-C changes nothing.
            if not answered or (len(signals) > answered and not jobs):
                process.send_signal(signal.SIGINT)
            answered = len(signals)
        return process.returncode, bool(signals)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_jobs(engine: int, told: set) -> int:
    """Asks the jobs that run here, below the process `engine`, to end, each once. Returns how many there
    are."""
    import psutil

    with contextlib.suppress(psutil.Error):
        jobs = []
        for process in psutil.Process(engine).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if JOB in " ".join(process.cmdline()):
                    jobs.append(process)
                    if process not in told:
                        told.add(process)
                        process.terminate()
        return len(jobs)
    return 0


def main(arguments: list[str]) -> None:
    """Is the process of Snakemake. Never returns; what came of the jobs is in their records."""
    log, *words = arguments
    if log != "-":
        sys.stderr = open(log, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  until the end
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    from snakemake import cli

    cli.main(words)


if __name__ == "__main__":
    main(sys.argv[1:])
