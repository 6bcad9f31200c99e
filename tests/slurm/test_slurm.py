"""`./run_all.sh --on slurm` against a real SLURM: two nodes on this machine, a killed job, a lost node.

KIT_SLURM=1 ./run_tests.sh tests/slurm                    Table 3 of `quick` for two seeds, tiny networks
KIT_SLURM="start fig2" ./run_tests.sh tests/slurm         or something else that run_all.sh takes
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import local_cluster
import pytest
from conftest import copy_checkout

ASKED = os.environ.get("KIT_SLURM", "")
ARGUMENTS = shlex.split("table3 --seeds 0 1" if ASKED == "1" else ASKED)
pytestmark = [
    pytest.mark.skipif(not ASKED, reason="set KIT_SLURM=1 to try a SLURM cluster on this machine (an hour)"),
    pytest.mark.skipif(
        bool(local_cluster.missing()),
        reason=f"SLURM is not installed ({', '.join(local_cluster.missing())}): apt install slurm-wlm munge",
    ),
    pytest.mark.timeout(0),
]
PROFILE = """
executor: slurm
jobs: 4
retries: 4
latency-wait: 30
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 3
seconds-between-status-checks: 3
default-resources:
  slurm_partition: cpu
"""
HOUR = 3600


def run_records(checkout) -> dict[str, dict]:
    """The records of a checkout's runs, by the name of the job."""
    found = {}
    for path in sorted((checkout.folder / "reports/quick/runs").glob("**/run.json")):
        record = json.loads(path.read_text())
        found[record["job"]] = record
    return found


class Queue:
    """What SLURM says of its jobs."""

    def __init__(self, cluster):
        self.cluster = cluster

    def jobs(self) -> list[dict]:
        lines = self.cluster.command(
            "squeue", "--states=all", "--noheader", "--format=%i|%T|%k|%N"
        ).splitlines()
        return [dict(zip(("id", "state", "comment", "node"), line.split("|"))) for line in lines]

    def running(self, but: tuple[str, ...] = ()) -> list[dict]:
        return [job for job in self.jobs() if job["state"] == "RUNNING" and job["id"] not in but]

    def state_of(self, number: str) -> str:
        return next(job["state"] for job in self.jobs() if job["id"] == number)

    def restarts_of(self, number: str) -> int:
        words = self.cluster.command("scontrol", "show", "job", number).split()
        return int(next(word for word in words if word.startswith("Restarts=")).removeprefix("Restarts="))


def begun(checkout) -> set[str]:
    """The jobs whose notebooks have begun."""
    return {name for name, record in run_records(checkout).items() if record["status"] == "was interrupted"}


def test_a_grid_on_slurm_survives_a_killed_job_and_a_killed_node(tmp_path):
    there, here = copy_checkout(tmp_path / "there"), copy_checkout(tmp_path / "here")
    (there.folder / "cluster/slurm").mkdir(parents=True)
    (there.folder / "cluster/slurm/config.yaml").write_text(PROFILE)
    with local_cluster.folder() as folder, local_cluster.LocalCluster(folder) as cluster:
        queue, log = Queue(cluster), tmp_path / "run.log"
        with open(log, "w") as output:
            call = subprocess.Popen(
                [sys.executable, "-m", "lib.commands.cli", *there.settings(), *ARGUMENTS, "--on", "slurm"],
                cwd=there.folder,
                # A variable of the engine, which must not matter.
                env=there.environment() | cluster.environment | {"SNAKEMAKE_PROFILE": "/nowhere"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:

            def goes_on_until(holds, what):
                local_cluster.wait_for(lambda: call.poll() is not None or holds(), 3 * HOUR, what)
                assert call.poll() is None, log.read_text()

            goes_on_until(lambda: queue.running() and begun(there), "a step runs as a job")
            victim = queue.running()[0]
            cluster.command("scancel", victim["id"])
            goes_on_until(lambda: queue.state_of(victim["id"]) == "CANCELLED", "it is cancelled")
            goes_on_until(lambda: queue.running((victim["id"],)), "another runs")
            second = queue.running((victim["id"],))[-1]
            cluster.kill_node(second["node"])
            goes_on_until(lambda: "DOWN" in cluster.state_of(second["node"]), "its node is given up")
            goes_on_until(
                lambda: queue.restarts_of(second["id"]) or queue.state_of(second["id"]).endswith("FAIL"),
                "its job is lost",
            )
            cluster.start_node(second["node"])
            local_cluster.wait_for(lambda: call.poll() is not None, 6 * HOUR, "all is done")
        finally:
            if call.poll() is None:
                os.killpg(call.pid, signal.SIGTERM)  # Snakemake too
                call.wait()
        assert call.returncode == 0, log.read_text()
    local_cluster.wait_for(lambda: not cluster.processes(), 20, "no process of the cluster is left")
    assert "Trying to restart job" in (there.folder / "reports/quick/.state/call/engine.log").read_text()

    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lib.commands.cli", *here.settings(), *ARGUMENTS],
        cwd=here.folder,
        env=here.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{log.read_text()}\nthe same here took {time.monotonic() - started:.0f} s")
    ours, theirs = run_records(here), run_records(there)
    assert ours.keys() == theirs.keys()
    for name, record in ours.items():
        assert theirs[name]["status"] == record["status"] == "complete"
        assert theirs[name]["metrics"] == record["metrics"], name
        same = [
            [(o["file"], o["sha256"]) for o in r["outputs"] if o["file"].endswith(("csv", "npy"))]
            for r in (record, theirs[name])
        ]
        assert same[0] == same[1], name
    for table in (here.folder / "reports/quick/tables").glob("*"):
        assert (there.folder / "reports/quick/tables" / table.name).read_bytes() == table.read_bytes()
    assert (there.folder / "reports/quick/index.html").exists()
    assert there.stale(*ARGUMENTS) == {}
