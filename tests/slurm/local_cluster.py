"""A SLURM of one's own on one machine: munged, slurmctld and two node daemons, all on the loopback address.

    with LocalCluster(folder) as cluster:
        subprocess.run(["sbatch", ...], env=os.environ | cluster.environment)

Everything that it writes lies below the folder; nothing of /etc is read or changed. On leaving, every process
that it started and every step that SLURM started has ended. Needs Debian's packages slurm-wlm and munge; runs
as root or as an ordinary user.

By hand: `python tests/slurm/local_cluster.py FOLDER` starts one and waits for Ctrl-C.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
NODES = ("node1", "node2")
CONFIGURATION = """
ClusterName=kit
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=300
SlurmctldTimeout=300
MessageTimeout=60
KillWait=5
MinJobAge=300
SchedulerParameters=sched_interval=2,bf_interval=2
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory={memory}
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory={memory}
PartitionName=cpu Nodes=node1,node2 Default=YES MaxTime=UNLIMITED State=UP
"""


def missing() -> list[str]:
    """The programs that a cluster needs and that are not on this machine."""
    return [name for name in PROGRAMS if not _program(name)]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextlib.contextmanager
def folder():
    """A folder for a cluster, which all may enter, as munge wants it; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="kit-slurm-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


class LocalCluster:
    """`environment`: what SLURM's commands have to find in theirs."""

    def __init__(self, folder: Path):
        self.folder = Path(folder).resolve()
        self.environment = {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin",
        }
        self._daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir(exist_ok=True)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        # Snakemake's plugin clears SLURM's variables before it calls srun: the place of slurm.conf too.
        (self.folder / "bin").mkdir(exist_ok=True)
        srun = self.folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF="{self.folder}/slurm.conf" exec {_program("srun")} "$@"\n')
        srun.chmod(0o755)
        text = CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname(),
            user=getpass.getuser(),
            ports=free_ports(3),
            memory=_memory_mib(),
        )
        (self.folder / "slurm.conf").write_text(text)
        try:
            self._start(
                "munged",
                "--foreground",
                f"--socket={self.folder}/munge.socket",
                f"--key-file={key}",
                f"--log-file={self.folder}/munged.log",
                f"--pid-file={self.folder}/munged.pid",
                f"--seed-file={self.folder}/munged.seed",
                "--num-threads=2",
            )
            wait_for(lambda: (self.folder / "munge.socket").exists(), 60, "munged opens its socket")
            self._start("slurmctld", "-D", "-f", self.environment["SLURM_CONF"])
            for node in NODES:
                self.start_node(node)
            idle = lambda: all(self.state_of(node).startswith("IDLE") for node in NODES)
            wait_for(idle, 120, "both nodes are idle")
        except BaseException as problem:
            self.__exit__()
            words = "\n".join(path.read_text()[-1000:] for path in self.folder.glob("*.out"))
            problem.add_note(f"The daemons say:\n{words}")
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.command("scancel", "--state=PENDING,RUNNING", f"--user={getpass.getuser()}")
        for node in NODES:
            self.end_steps(node)
        for name in reversed(list(self._daemons)):
            self._daemons[name].terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def command(self, *words: str) -> str:
        """The output of one of SLURM's commands."""
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def state_of(self, node: str) -> str:
        """IDLE, MIXED, DOWN* ... as SLURM says it."""
        return self.command("sinfo", "--noheader", "--nodes", node, "--format=%T").strip().upper()

    def start_node(self, node: str) -> None:
        (self.folder / node).mkdir(exist_ok=True)
        self._start("slurmd", "-D", "-N", node, "-f", self.environment["SLURM_CONF"], name=node)

    def kill_node(self, node: str) -> None:
        """A node loses its power: its daemon and all that it had started end without a word.

        SLURM, which would notice after SlurmdTimeout, is told.
        """
        self._daemons[node].kill()
        self._daemons.pop(node).wait()
        self.end_steps(node)
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=power")

    def processes(self, node: str = "") -> list:
        """All that runs with this cluster's configuration, or what it had started on one node."""
        import psutil

        found = []
        for process in psutil.process_iter(["environ"]):
            environment = process.info["environ"] or {}
            own = environment.get("SLURM_CONF") == self.environment["SLURM_CONF"]
            if own and (not node or environment.get("SLURMD_NODENAME") == node):
                found.append(process)
        return found

    def end_steps(self, node: str) -> None:
        """Ends all that SLURM had started on a node; first their parents, who would tell."""
        import psutil

        found = self.processes(node)
        with contextlib.suppress(psutil.Error):
            parents = [process.parent() for process in found]
            found = [p for p in parents if p and p.name().startswith("slurmstepd")] + found
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _start(self, program: str, *arguments: str, name: str = "") -> None:
        log = open(self.folder / f"{name or program}.out", "ab")  # noqa: SIM115  it is the daemon's
        self._daemons[name or program] = subprocess.Popen(
            [_program(program), *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | self.environment,
            start_new_session=True,
        )
        log.close()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def wait_for(holds, seconds: float, what: str) -> None:
    """Looks twice a second until something holds. Raises AssertionError if it does not in time."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"waited {seconds} s in vain until {what}"
        time.sleep(0.5)


def _memory_mib() -> int:
    """What each of the two nodes may say it has: half of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**21


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # ends as Ctrl-C does, with everything taken down
    with LocalCluster(Path(sys.argv[1])) as cluster:
        for name, value in cluster.environment.items():
            print(f"export {name}={value}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
