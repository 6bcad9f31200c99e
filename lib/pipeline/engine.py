"""Snakemake as a separate process: how it is started and stopped.

    python -m lib.pipeline.engine LOG ARGUMENTS...

is that process. Its messages, warnings and tracebacks go to LOG ("-" leaves them on the terminal). The jobs
inherit the descriptor of the standard error, which stays the terminal.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

from lib import paths
from lib.pipeline.terminal import tell

STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a closed terminal
JOB = "lib.pipeline.execution"  # the module that a job's process runs


def call(arguments: list[str], log: str, lock=None) -> tuple[int, bool]:
    """Run Snakemake until it ends.

    Returns its exit code, which says nothing about the jobs, and whether this process received a signal to
    stop. `lock` is the profile's lock, which is held while Snakemake is running, even if this process is
    killed.
    """
    if log != "-":
        open(log, "w").close()  # raises OSError if the disk cannot be written
    signals = []
    before = {number: signal.getsignal(number) for number in STOPPED_BY}
    try:
        for number in STOPPED_BY:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: signals.append(number))
            elif number == signal.SIGINT:  # started in the background; Snakemake must still receive it
                signal.signal(number, lambda *_: None)
        # Blocked until `main` writes Snakemake's messages to the log; an earlier signal waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        process = subprocess.Popen(
            [sys.executable, "-m", "lib.pipeline.engine", log, *arguments],
            cwd=paths.ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[lock.descriptor] if lock else [],
            process_group=0,  # Ctrl-C reaches only this process, which signals each other one once
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
                with contextlib.suppress(OSError):  # the terminal may be closed
                    tell("\nStopping the running steps; this takes a few seconds.")
            jobs = stop_jobs(process.pid, told)
            # After the first signal Snakemake starts no more jobs, cancels those on a cluster, and waits.
            # While local jobs are ending, another Ctrl-C has no effect.
            if not answered or (len(signals) > answered and not jobs):
                process.send_signal(signal.SIGINT)
            answered = len(signals)
        return process.returncode, bool(signals)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_jobs(engine: int, told: set) -> int:
    """Ask the local jobs below the process `engine` to end, each once. Returns the number of jobs."""
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
    """The process of Snakemake. Never returns; the outcome of the jobs is in their records."""
    log, *words = arguments
    if log != "-":
        sys.stderr = open(log, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  until the end
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    from snakemake import cli

    cli.main(words)


if __name__ == "__main__":
    main(sys.argv[1:])
