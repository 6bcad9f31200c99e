"""What several tests share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from local_server import server  # noqa: F401  a fixture

from lib import paths

ROOT = Path(__file__).resolve().parent.parent
# What a selection has chosen on real data must not change what tests compute.
ADOPTED = paths.SELECTION
paths.SELECTION = ROOT / "data" / "no selection"

# The whole pipeline in its smallest form: every step and notebook, hardly any training.
TINY = {
    "synthetic.train_clips": 2,
    "synthetic.test_clips": 3,
    "synthetic.clip_frames": 36,
    "autoencoder.steps": 6,
    "autoencoder.epoch_steps": 2,
    "flow.steps": 4,
    "flow.epoch_steps": 2,
    "flow.K": 1,
    "flow.hidden": 8,
    "features.train_stride": 10,
    "features.test_stride": 10,
    "evaluate.resamples": 20,
}

# The parameters of the smallest networks and frames, for tests that train or score in this process.
SMALLEST = {
    "data.height": 16,
    "data.width": 16,
    "model.T": 8,
    "model.app_channels": (4, 4, 4, 4),
    "model.mot_channels": (4, 4, 4, 4),
    "flow.K": 1,
    "flow.hidden": 4,
    "machine.device": "cpu",
}

# Each kernel of a checkout runs this at its start. After a checkpoint, training waits while `hold` is there.
HOLD = """
import os, sys, time

def hold(*_):
    loop = sys.modules.get("lib.training.loop")
    if loop and not hasattr(loop, "save_at_once"):
        loop.save_at_once = loop.save
        def save(path, state):
            loop.save_at_once(path, state)
            while path.name.startswith("checkpoint") and os.path.exists("hold"):
                open("held", "w").close()
                time.sleep(0.05)
        loop.save = save

get_ipython().events.register("pre_run_cell", hold)
"""


class Checkout:
    """A copy of the checkout, in which a test may change files and run commands."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *arguments, **more) -> subprocess.CompletedProcess:
        """`./run_all.sh ...` without the shell part, which looks for an environment."""
        return subprocess.run(
            [sys.executable, "-m", "lib.commands.cli", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=1400,
            **more,
        )

    def tiny(self, *arguments, **more) -> subprocess.CompletedProcess:
        return self.run(*self.settings(), *arguments, **more)

    @staticmethod
    def settings() -> list[str]:
        return [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]

    def environment(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("KIT_", "JUPYTER"))}
        return keep | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def stale(self, *arguments) -> dict[str, str]:
        """What a dry run says would run, with the reasons."""
        done = self.tiny("--dry-run", *arguments)
        assert done.returncode == 0, done.stderr
        if "Nothing to do" in done.stdout:
            return {}
        lines = [
            line.split(None, 1)
            for line in done.stdout.splitlines()
            if line.startswith("  ") and "/" in line.split()[0]
        ]
        return dict(lines)


def copy_checkout(folder: Path) -> Checkout:
    """The files that git tracks or would track, as they are now."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in names:
        if name and (ROOT / name).is_file() and not name.startswith(("reports/reference", "tests/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return Checkout(folder)


def hold_trainings(checkout: Checkout) -> None:
    """Has a checkout's trainings wait after their next checkpoint, until the file `hold` in it is removed."""
    startup = checkout.folder / ".jupyter/ipython/profile_default/startup/hold.py"
    startup.parent.mkdir(parents=True, exist_ok=True)
    startup.write_text(HOLD)
    (checkout.folder / "hold").touch()


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Checkout:
    """A checkout in which the whole tiny pipeline has run once. Tests leave it as they found it."""
    checkout = copy_checkout(tmp_path_factory.mktemp("checkout"))
    done = checkout.tiny()
    assert done.returncode == 0, done.stdout + done.stderr
    checkout.first = done
    return checkout


@pytest.fixture
def fresh(tmp_path) -> Checkout:
    """A checkout in which nothing has run."""
    return copy_checkout(tmp_path)
