"""Paths of the kit, and how a file is written and hashed. No other module builds such a path, and every file
that must never be incomplete is written by the functions here."""
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
LIB = ROOT / "lib"
STYLE = LIB / "figures" / "kit.mplstyle"
TEMPLATES = LIB / "report" / "templates"
PAPER_RESULTS = ROOT / "data" / "paper_results.csv"
AVENUE_INTERVALS = ROOT / "data" / "avenue_intervals.csv"
SELECTION = ROOT / "data" / "selection"  # adopted choices, one file per data set, in git
DIGESTS = ROOT / "data" / "prepared" / "digests.json"  # sha256 of raw files, with their sizes and times
PED2_DIGESTS = ROOT / "data" / "ped2_digests.json"  # sha256 of the official pixels of each clip
REFERENCE = ROOT / "reports" / "reference"
# every configuration that was scored on the test clips of a real data set and curated
EVER_SCORED = REFERENCE / "scored.csv"
FLOW_STEP = ROOT / "benchmarks" / "flow_step.csv"
CLUSTER = ROOT / "cluster"  # Snakemake profiles for `./run_all.sh --on`
KERNELS = ROOT / ".jupyter"  # the kernel specification that papermill and JupyterLab use


def data_root() -> Path:
    """The folder of the raw data sets: data/raw, or what `./run_all.sh --data-root` says."""
    return Path(os.environ.get("KIT_DATA_ROOT") or ROOT / "data" / "raw")


def generated(key: str) -> Path:
    """The folder of a generated data set's files; `key` is a hash of its parameters."""
    return ROOT / "data" / "generated" / key


def prepared(dataset: str, key: str) -> Path:
    """The folder of the arrays prepared from a data set; `key` is a hash of the parameters."""
    return ROOT / "data" / "prepared" / f"{dataset}-{key}"


def report(profile: str) -> Path:
    """The folder of everything that the runs of a profile produce, below reports/ or KIT_REPORTS."""
    return Path(os.environ.get("KIT_REPORTS") or ROOT / "reports") / profile


def run(profile: str, dataset: str, step: str, variant: str, seed: int | None, by_hand: bool = False) -> Path:
    """The folder of one run; runs by hand in JupyterLab are kept apart from the pipeline's."""
    folder = report(profile) / ("by_hand" if by_hand else "runs") / dataset / step
    folder = folder / variant if variant else folder
    return folder if seed is None else folder / f"seed{seed}"


def tables(profile: str) -> Path:
    return report(profile) / "tables"


def figures(profile: str, *, asked: bool = False) -> Path:
    """The figures of a profile together; `asked`: those drawn as a user asked (`figure.size` etc.)."""
    return report(profile) / "figures" / ("asked" if asked else "")


def home() -> str:
    """What ~ stands for: the home folder where the command was typed, on the nodes of a cluster too."""
    return os.environ.get("KIT_HOME") or os.path.expanduser("~")


def shown(path: Path) -> str:
    """A path as text for people and records: relative to the checkout if it is below it, else with ~ for the
    home folder if it is below that."""
    path = Path(path)
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return f"~/{path.relative_to(home())}" if path.is_relative_to(home()) and home() != "/" else str(path)


def given(text: str) -> Path:
    """The path behind a text from `shown` or from a person: ~ is the home folder, and relative paths are
    relative to the checkout."""
    if text == "~" or text.startswith("~/"):
        text = home() + text[1:]
    return ROOT / os.path.expanduser(text)


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8. File names from other systems sometimes cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically, and create its folder if necessary: until all of it is on the disk, the old
    file stays in place. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value) -> None:
    """Write plain data as indented JSON, atomically. File names that are not UTF-8 are written as escapes."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    write_text(path, (text if is_utf8(text) else json.dumps(value, indent=1)) + "\n")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
