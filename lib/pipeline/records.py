"""The record of a run, `run.json`: what was run, on what, with what, and the results.

A record is written last and atomically, by the process that ran the notebook. A run has succeeded only if its
record says so; the notebook is no evidence (a killed kernel leaves a notebook whose cells all seem to have
run).

**Code version.** A run depends on the code cells of its notebook and on the library modules that they import,
directly or indirectly. What is compared is a hash of their syntax trees without comments and docstrings, so
that rewording a docstring does not repeat a night of training. It covers whole modules, and the tables of the
kit that they read (TABLES). Modules that only pass values and files around (PLUMBING) are left out: what they
pass, parameters and inputs, is compared by value.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from lib import paths
from lib.config import Config, flat
from lib.errors import RecordError
from lib.pipeline.steps import MODELS, STEPS, Job
from lib.pipeline.surroundings import cores
from lib.settings.values import DATASETS

FORMAT = 1
PREVIOUS = "run.previous.json"  # the record of a run that was replaced
PLUMBING = ("config", "paths", "settings", "pipeline", "commands")  # modules of the door, and rooms
# shown in notebooks beside results; no result depends on these or their imports
DECORATION = ("figures.you_are_here", "figures.how_to_read")
# Tables that code reads in addition to runs, by their names in `paths`.
TABLES = {
    "PAPER_RESULTS": paths.PAPER_RESULTS,
    "AVENUE_INTERVALS": paths.AVENUE_INTERVALS,
    "EVER_SCORED": paths.EVER_SCORED,
    "FLOW_STEP": paths.FLOW_STEP,
}
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "opencv-python-headless",
    "matplotlib",
    "seaborn",
    "papermill",
    "snakemake",
    "ipykernel",
)


# -- code version --------------------------------------------------------------------------------------------


def code_of_source(source: str) -> ast.Module:
    """The syntax tree of some code without its docstrings and without its imports from lib.

    A syntax tree has no comments or layout. Where a module's file is does not change what it does: the
    imported modules are compared themselves.
    """
    tree = _WithoutImportsOfLib().visit(ast.parse(source))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


class _WithoutImportsOfLib(ast.NodeTransformer):
    """Removes `from lib... import ...`, and leaves `pass` in a body that would be empty."""

    def visit_ImportFrom(self, node: ast.ImportFrom):
        return None if _room_of(node) is not None else node

    def generic_visit(self, node):
        before = getattr(node, "body", None)
        super().generic_visit(node)
        if before and not node.body:
            node.body = [ast.Pass()]
        return node


def _room_of(node: ast.ImportFrom) -> str | None:
    """The module from which an import takes names, without "lib."; "" for lib itself, None for other
    packages."""
    module = node.module or ""
    if module == "lib":
        return ""
    return module.removeprefix("lib.") if module.startswith("lib.") else None


def hash_of(source: str) -> str:
    """A hash of some code that comments, docstrings and layout do not change."""
    return hashlib.sha256(ast.dump(code_of_source(source)).encode()).hexdigest()[:16]


def imports_of(source: str) -> set[str]:
    """The modules of lib that some code imports, such as `scoring` or `training.stage1`. The kit never uses
    `import lib...`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        room = _room_of(node) if isinstance(node, ast.ImportFrom) else None
        if room is None:
            continue
        if room and (paths.LIB / f"{room.replace('.', '/')}.py").exists():
            found.add(room)
        else:  # modules of the top level or of a room
            found |= {f"{room}.{alias.name}".removeprefix(".") for alias in node.names}
    return found


def notebook_source(path: Path) -> str:
    """The code cells of a notebook except the one with its parameters, which are compared by value."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join(
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", [])
    )


@functools.cache
def module(name: str) -> tuple[str, frozenset[str], frozenset[str]]:
    """Hash and imports of a module of lib, and the tables that it reads."""
    source = (paths.LIB / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
    return hash_of(source), frozenset(imports_of(source)), tables_of(source)


def tables_of(source: str) -> frozenset[str]:
    """The names of the tables that some code reads."""
    return frozenset(name for name in TABLES if name in source)


@functools.cache
def code_version(notebook: str) -> dict[str, str]:
    """Hashes of a notebook's code and of every module that it depends on, by module name.

    The name is that of the module without its room, so moving a file to another room runs nothing again
    (names are unique in lib). Raises RecordError if the notebook or a module is not valid Python, or is
    missing.
    """
    try:
        source = notebook_source(paths.NOTEBOOKS / f"{notebook}.ipynb")
        hashes = {f"notebooks/{notebook}.ipynb": hash_of(source)}
        tables = tables_of(source)
        todo, seen = imports_of(source), set(DECORATION)
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            own_hash, imported, read = module(name)
            todo |= imported
            room, _, _ = name.partition(".")
            if room not in PLUMBING:
                hashes[name.rpartition(".")[2]] = own_hash
                tables |= read
        for table in tables:
            if TABLES[table].exists():
                hashes[paths.shown(getattr(paths, table))] = paths.sha256_of(TABLES[table])[:16]
    except SyntaxError as problem:
        raise RecordError(f"The code under notebook {notebook} is not valid Python: {problem}.") from None
    except FileNotFoundError as problem:
        raise RecordError(
            f"{paths.shown(Path(problem.filename))} is missing, and notebook {notebook} needs it."
        ) from None
    return dict(sorted(hashes.items()))


# -- what a run is made of -----------------------------------------------------------------------------------


# Parameters of Eq. 8 and of the last term of Eq. 9, which a model without flows does not have.
OF_LIKELIHOODS = (
    "score.likelihood_frames",
    "score.likelihood_scale",
    "score.likelihood_unit",
    "score.lambda_of",
    "score.lambda_scope",
    "score.lambda_L",
)


def parameters_of(job: Job, config: Config) -> dict:
    """The values of all parameters that can affect a job."""
    groups = [g for g in STEPS[job.step].reads if g not in DATASETS or g == job.dataset]
    without = cannot_matter(job, config)
    return {name: value for name, value in flat(config, groups).items() if name not in without}


def cannot_matter(job: Job, config: Config) -> set[str]:
    """Parameters of groups that a job reads whose value makes no difference to this job."""
    without = set()
    if not STEPS[job.step].sees_labels or job.dataset != "avenue":
        without.add("data.avenue_labels")
    if job.step == "score" and not MODELS[job.variant][1]:
        without.update(OF_LIKELIHOODS)
    if config.loss.ms_ssim_weight == 0:
        without.add("loss.ms_ssim_window")
    if job.step == "score":
        network = MODELS[job.variant][0]
    elif job.step in ("autoencoder", "features"):
        network = job.variant
    else:
        network = ""  # explains or shows both
    if network == "two_path":
        without.add("model.one_path_frames")
    elif network == "one_path":
        without.add("model.mot_channels")
    return without


def digest(value) -> str:
    """A short hash of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def identity(job: Job, config: Config, inputs: dict[str, str]) -> str:
    """One hash of everything that determines a job's result: its name, parameters, code and inputs."""
    return digest([job.name, parameters_of(job, config), code_version(STEPS[job.step].notebook), inputs])


def result_digest(record: dict) -> str:
    """A hash of a run's metrics and files that does not depend on how long it took."""
    return digest([record["metrics"], {o["file"]: o["sha256"] for o in record["outputs"]}])


def input_digest(reader: Job, record: dict) -> str:
    """A hash of what a job reads of another's result. For prepared data, if it sees no labels, of the frames
    only."""
    # only in records of prepared data; older ones have one digest of frames and labels
    frames = record["metrics"].get("frames")
    return frames if frames and not STEPS[reader.step].sees_labels else result_digest(record)


# -- reading and writing -------------------------------------------------------------------------------------


def previous(folder: Path) -> Path:
    """The folder of the run that a run replaced, beside it; its record there is PREVIOUS."""
    return folder.with_name(folder.name + ".previous")


def read(folder: Path, name: str = "run.json") -> dict | None:
    """The record in a run's folder, or None if there is none that can be read."""
    try:
        record = json.loads((folder / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def prepared_of(record: dict) -> Path | None:
    """The folder of the arrays of a run of step prepare, None if it made none. Only this function looks it
    up."""
    # older records have it among their notes
    told = record.get("prepared") or record.get("notes", {}).get("prepared")
    return paths.given(told) if told else None


def prepared_stands(record: dict) -> bool:
    """Whether the arrays of a run of step prepare still exist."""
    folder = prepared_of(record)
    return folder is not None and (folder / "manifest.json").exists()


def find(profile: str) -> list[tuple[Job, dict]]:
    """All complete records of a profile, with their jobs."""
    from lib.pipeline.steps import from_name

    found = []
    for path in sorted((paths.report(profile) / "runs").glob("*/**/run.json")):
        record = read(path.parent)
        if record and record["status"] == "complete":
            found.append((from_name(profile, record["job"]), record))
    return found


# -- circumstances -------------------------------------------------------------------------------------------


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_state() -> dict:
    """The commit, and whether tracked files differ from it. Both are None if this checkout has no git of its
    own."""
    if why_no_commit():
        return {"commit": None, "dirty": None}
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def why_no_commit() -> str:
    """Why no commit can be recorded, as a sentence; empty if one can."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None:
        reason = (
            "git is not installed" if shutil.which("git") is None else "this folder is not a git checkout"
        )
    elif not os.path.samefile(top, paths.ROOT):
        reason = (
            f"this folder is not a git checkout of its own, but is inside another, {paths.shown(Path(top))}"
        )
    elif _git("rev-parse", "--verify", "HEAD") is None:
        reason = "this git checkout has no commit yet"
    else:
        return ""
    return f"Records will name no commit: {reason}."


def _git(*arguments: str) -> str | None:
    """The output of a git command on the checkout, None if it fails.

    Variables that point git at another repository are removed. A checkout that belongs to another user is
    accepted, since its code is being run anyway.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={paths.ROOT}", "-c", "core.fsmonitor=false", *arguments],
            cwd=paths.ROOT,
            env=environment,
            capture_output=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout).removesuffix("\n") if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can affect numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware() -> dict:
    """Processor, cores and memory; the GPU is noted by the notebook that uses it. No names of hosts or
    users."""
    import psutil

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
