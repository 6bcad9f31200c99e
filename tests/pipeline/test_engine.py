"""How Snakemake is started and stopped, with a stand-in for Snakemake that starts one job."""

import signal
import subprocess
import sys
import time

import pytest

from lib import paths

CALL = "import sys; from lib.pipeline import engine; print(*engine.call(sys.argv[2:], sys.argv[1]))"
SNAKEMAKE = """
import subprocess, sys

def main(words):
    print("snakemake speaks", file=sys.stderr)
    folder, = words
    job = subprocess.Popen([sys.executable, folder + "/job.py", folder, "lib.pipeline.execution"])
    try:
        job.wait()
    except KeyboardInterrupt:
        job.wait()
        print("cancelled", file=sys.stderr)
    sys.exit(3)
"""
JOB = """
import signal, sys, time
from pathlib import Path

folder, told = Path(sys.argv[1]), []
signal.signal(signal.SIGTERM, lambda *_: told.append("SIGTERM"))
signal.signal(signal.SIGINT, lambda *_: told.append("SIGINT"))
print("the job speaks", file=sys.stderr, flush=True)
(folder / "started").touch()
until = time.time() + 60
while time.time() < until and not told:
    time.sleep(0.05)
time.sleep(1.5)
(folder / "told").write_text(" ".join(told))
"""


@pytest.mark.parametrize(
    "how, ignored",
    [
        ([signal.SIGINT], False),
        ([signal.SIGTERM], False),
        ([signal.SIGHUP], False),
        ([signal.SIGINT, signal.SIGINT], False),  # an impatient person
        ([signal.SIGTERM], True),  # in the background of a script, where Ctrl-C is ignored
        ([signal.SIGINT, signal.SIGTERM], True),
    ],
)
def test_a_signal_stops_snakemake_and_its_jobs_once(tmp_path, how, ignored):
    def begin():  # the tests themselves may run below nohup, or in the background
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)

    (tmp_path / "snakemake").mkdir()
    (tmp_path / "snakemake/__init__.py").touch()
    (tmp_path / "snakemake/cli.py").write_text(SNAKEMAKE)
    (tmp_path / "job.py").write_text(JOB)
    call = subprocess.Popen(
        [sys.executable, "-c", CALL, str(tmp_path / "log"), str(tmp_path)],
        cwd=paths.ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=begin,
    )
    until = time.time() + 300
    while not (tmp_path / "started").exists():
        assert time.time() < until and call.poll() is None
        time.sleep(0.05)
    for number in how:
        call.send_signal(number)
        time.sleep(0.5)
    out, err = call.communicate(timeout=300)
    assert out.endswith(" True\n")
    assert err == "the job speaks\n\nStopping the running steps; this takes a few seconds.\n"
    assert (tmp_path / "told").read_text() == "SIGTERM"
    assert (tmp_path / "log").read_text() == "snakemake speaks\ncancelled\n"
