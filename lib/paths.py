"""Where things lie, and how a file is written and hashed. No other module builds a path of the kit, or writes
in another way what must never be half there."""
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
SELECTION = ROOT / "data" / "selection"  # what was chosen on pasted anomalies, a file a data set, committed
DIGESTS = ROOT / "data" / "prepared" / "digests.json"  # sha256 of raw files, with their sizes and times
PED2_DIGESTS = ROOT / "data" / "ped2_digests.json"  # sha256 of the official pixels of each clip
REFERENCE = ROOT / "reports" / "reference"
# every configuration that was scored on the test clips of a real data set and curated
EVER_SCORED = REFERENCE / "scored.csv"
FLOW_STEP = ROOT / "benchmarks" / "flow_step.csv"
CLUSTER = ROOT / "cluster"  # Snakemake profiles for `./run_all.sh --on`
KERNELS = ROOT / ".jupyter"  # the kernel specification that papermill and JupyterLab use


def data_root() -> Path:
    """Where the raw data sets lie: data/raw, or what `./run_all.sh --data-root` says."""
    return Path(os.environ.get("KIT_DATA_ROOT") or ROOT / "data" / "raw")


def generated(key: str) -> Path:
    """The raw form of the generated data set with certain parameters."""
    return ROOT / "data" / "generated" / key


def prepared(dataset: str, key: str) -> Path:
    """The arrays prepared from a data set with certain parameters."""
    return ROOT / "data" / "prepared" / f"{dataset}-{key}"


def report(profile: str) -> Path:
    """All that the runs of a profile produce. KIT_REPORTS names another folder than reports/, for trying
    things out."""
    return Path(os.environ.get("KIT_REPORTS") or ROOT / "reports") / profile


def run(profile: str, dataset: str, step: str, variant: str, seed: int | None, by_hand: bool = False) -> Path:
    """The folder of one run; runs by hand in JupyterLab are kept apart from the pipeline's."""
    folder = report(profile) / ("by_hand" if by_hand else "runs") / dataset / step
    folder = folder / variant if variant else folder
    return folder if seed is None else folder / f"seed{seed}"


def tables(profile: str) -> Path:
    return report(profile) / "tables"


def figures(profile: str) -> Path:
    return report(profile) / "figures"


def home() -> str:
    """What ~ stands for: the home folder where the command was typed, on the nodes of a cluster too."""
    return os.environ.get("KIT_HOME") or os.path.expanduser("~")


def shown(path: Path) -> str:
    """A path as a person reads it: relative to the checkout where it lies below it, with ~ for the home
    folder."""
    path = Path(path)
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return f"~/{path.relative_to(home())}" if path.is_relative_to(home()) and home() != "/" else str(path)


def given(text: str) -> Path:
    """The path that `shown` turned into text, or that a person wrote: ~ is the home folder, and what is
    relative is relative to the checkout."""
    if text == "~" or text.startswith("~/"):
        text = home() + text[1:]
    return ROOT / os.path.expanduser(text)


def is_utf8(text: str) -> bool:
    """Whether a text, which may be the name of a file, can be written as UTF-8; names of other systems may
    not."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file in one piece, and its folder where that is missing. Until all of it is on the disk, what
    was there before stays. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
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
    """Plain data, indented, so that a person can read it. File names that are not UTF-8 are kept as
    escapes."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    write_text(path, (text if is_utf8(text) else json.dumps(value, indent=1)) + "\n")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
