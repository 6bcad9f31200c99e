"""`./run_all.sh --on slurm` against a real SLURM: two nodes on this machine, a killed job, a lost node.

KIT_SLURM=1 ./run_tests.sh tests/slurm -s     Table 3 of `quick`, two seeds, tiny networks; -s shows the time
"""

import csv
import json
import os
import subprocess
import sys
import time

import local_cluster
import pytest
from conftest import copy_checkout, hold_trainings

from lib.pipeline import records

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("KIT_SLURM"),
        reason="KIT_SLURM=1 tries a SLURM cluster on this machine (ten minutes)",
    ),
    pytest.mark.skipif(
        bool(local_cluster.missing()),
        reason=f"SLURM is not installed ({', '.join(local_cluster.missing())}): apt install slurm-wlm munge",
    ),
    pytest.mark.timeout(0),
]
PROFILE = """
executor: slurm
jobs: 4
retries: 3
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

    def running(self, step: str, rest: str) -> dict:
        """The job that runs a step of the grid."""
        comment = f"rule_{step}_wildcards_synthetic_.{rest.replace('/', '.')}"
        return next(job for job in self.jobs() if job["state"] == "RUNNING" and job["comment"] == comment)

    def state_of(self, number: str) -> str:
        return next(job["state"] for job in self.jobs() if job["id"] == number)

    def restarts_of(self, number: str) -> int:
        words = self.cluster.command("scontrol", "show", "job", number).split()
        return int(next(word for word in words if word.startswith("Restarts=")).removeprefix("Restarts="))


def held(checkout) -> list[str]:
    """The autoencoders of seed 0 that are being trained and have come to their first checkpoint."""
    folder = checkout.folder / "reports/quick/runs/synthetic/autoencoder"
    return [path.parent.parent.name for path in sorted(folder.glob("*/seed0/checkpoint-*.pt"))]


def test_a_grid_on_slurm_survives_a_killed_job_and_a_killed_node(tmp_path):
    there, here = copy_checkout(tmp_path / "there"), copy_checkout(tmp_path / "here")
    grid, started = ["table3", "--seeds", "0", "1"], time.monotonic()
    (there.folder / "cluster/slurm").mkdir(parents=True)
    (there.folder / "cluster/slurm/config.yaml").write_text(PROFILE)
    hold_trainings(there)
    with local_cluster.folder() as folder, local_cluster.LocalCluster(folder) as cluster:
        queue, log = Queue(cluster), tmp_path / "run.log"
        with open(log, "w") as output:
            call = subprocess.Popen(
                [sys.executable, "-m", "lib.commands.cli", *there.settings(), *grid, "--on", "slurm"],
                cwd=there.folder,
                # A variable of the engine, which must not matter.
                env=there.environment() | cluster.environment | {"SNAKEMAKE_PROFILE": "/nowhere"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:

            def goes_on_until(holds, what):
                local_cluster.wait_for(lambda: call.poll() is not None or holds(), 3 * HOUR, what)
                assert call.poll() is None, log.read_text()

            goes_on_until(lambda: len(held(there)) == 2, "two trainings have come to a checkpoint")
            one, two = (queue.running("autoencoder", f"{variant}/seed0") for variant in held(there))
            cluster.command("scancel", one["id"])
            goes_on_until(lambda: queue.state_of(one["id"]) == "CANCELLED", "a job is cancelled")
            cluster.kill_node(two["node"])
            goes_on_until(
                lambda: queue.restarts_of(two["id"]) or queue.state_of(two["id"]).endswith("FAIL"),
                "the job of a lost node is lost",
            )
            cluster.start_node(two["node"])
            (there.folder / "hold").unlink()
            local_cluster.wait_for(lambda: call.poll() is not None, 6 * HOUR, "all is done")
        finally:
            if call.poll() is None:
                call.terminate()  # Snakemake too
                call.wait()
        assert call.returncode == 0, log.read_text()
    local_cluster.wait_for(lambda: not cluster.processes(), 20, "no process of the cluster is left")
    print(f"{log.read_text()}\non the cluster: {time.monotonic() - started:.0f} s")
    assert "Trying to restart job" in (there.folder / "reports/quick/.state/call/engine.log").read_text()
    for variant in ("one_path", "two_path"):
        folder = there.folder / f"reports/quick/runs/synthetic/autoencoder/{variant}/seed0"
        assert "continuing from step 2 of 6" in (folder / "03_train_autoencoder.ipynb").read_text()
    assert there.stale(*grid) == {} and (there.folder / "reports/quick/index.html").exists()
    with open(there.folder / "reports/quick/tables/table3.csv", newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if (r["dataset"], r["group"]) == ("synthetic", "this kit")]
    assert len(rows) == 5 and {row["seeds"] for row in rows} == {"0 1"}

    started = time.monotonic()
    done = here.tiny("table3")  # seed 0, whose trainings were broken off, down to its scores
    print(f"seed 0 here: {time.monotonic() - started:.0f} s")
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = run_records(here), run_records(there)
    compared = [name for name in ours if not name.startswith("all/")]
    assert len(compared) == 13
    for name in compared:
        assert theirs[name]["status"] == ours[name]["status"] == "complete"
        assert theirs[name]["metrics"] == ours[name]["metrics"], name
        assert records.result_digest(theirs[name]) == records.result_digest(ours[name]), name
