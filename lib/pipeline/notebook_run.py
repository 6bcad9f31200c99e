"""What a notebook needs to take part in the pipeline, and to be run by hand.

    run = begin("autoencoder", profile=profile, dataset=dataset, variant=variant, seed=seed,
                settings=settings)
    ...  run.config, run.input("prepare"), run.folder, run.tick, run.say  ...
    run.finish(metrics={...}, outputs=["autoencoder.pt"])

In the pipeline the run's folder is given by the process that runs the notebook; that process writes the
record when the notebook has succeeded. By hand the folder is below `reports/<profile>/by_hand/`, nothing of
the pipeline is changed, and inputs are taken from runs by hand if there are any, otherwise from the pipeline.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import numpy as np
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats

from lib import paths
from lib.config import Config, parameters, resolve, selected, value_of
from lib.errors import CheckError, RunError
from lib.pipeline import records
from lib.pipeline.steps import STEPS, Job, from_name, upstream
from lib.settings.values import check_name

_begun: Run | None = None  # by this process's notebook


@dataclass
class Run:
    """One run of a notebook: its configuration, its inputs, and the folder of its results."""

    job: Job
    config: Config
    folder: Path
    by_hand: bool
    identity: str
    inputs: dict[str, Path]  # folders of the runs it reads, by name of the job
    started: float = field(default_factory=time.perf_counter)
    taken: dict | None = None  # file of the kept weights, if they were not trained here
    _ticked: float = 0.0
    _bar: object = None  # of tqdm, while something long runs by hand

    def input(self, step: str, variant: str = "") -> Path:
        """The folder of the one run of a step that this run reads."""
        return self.inputs[self.job.other(step, variant).name]

    def identity_without(self, group: str) -> str:
        """The identity of a part of the run that does not read a group of parameters, whatever their
        values."""
        config = dataclasses.replace(self.config, **{group: type(getattr(self.config, group))()})
        return records.identity(self.job, config, digests_of(self.job, self.inputs))

    def inputs_of(self, step: str) -> dict[Job, Path]:
        """All runs of a step that this run reads."""
        jobs = {from_name(self.job.profile, name): folder for name, folder in self.inputs.items()}
        return {job: folder for job, folder in jobs.items() if job.step == step}

    def record(self, job: Job) -> dict:
        """The record of a run that this run reads."""
        return records.read(self.inputs[job.name])

    def kept(self, name: str, weights: str) -> Path:
        """A file of kept weights instead of a training. Raises RunError if there is none.

        With `weights` "reference", the file of this run in `reports/reference/`; with the name of a data set,
        the file of the same run on that set, from here or else from the reference.
        """
        top = paths.REFERENCE / self.job.profile / "runs"
        job = self.job if weights == "reference" else dataclasses.replace(self.job, dataset=weights)
        path = top / job.folder.relative_to(paths.report(job.profile) / "runs") / name
        if weights != "reference" and (records.read(job.folder) or {}).get("status") == "complete":
            path = job.folder / name
        if not path.exists():
            there = sorted(str(p.parent.relative_to(top)) for p in top.glob("**/*.pt"))
            raise RunError(
                f"The reference has no weights of {job.name} at profile {job.profile}; it has "
                f"{', '.join(there) or 'none at this profile'}. Ask for something that uses these, or train: "
                "leave out --pretrained, or run that data set first."
            )
        self.taken = {"file": paths.shown(path), "sha256": paths.sha256_of(path)}
        return path

    def tick(self, done: int, total: int, text: str = "") -> None:
        """Report progress: to the terminal at most twice a second, by hand as a bar in the notebook."""
        if self.by_hand:
            self._show_bar(done, total, text)
        channel, clock = os.environ.get("KIT_PROGRESS"), time.perf_counter()
        if channel and (clock - self._ticked > 0.5 or done == total):
            self._ticked = clock
            with open(channel, "a", encoding="utf-8") as file:
                file.write(json.dumps([done, total, text]) + "\n")

    def _show_bar(self, done: int, total: int, text: str) -> None:
        from tqdm.auto import tqdm

        if self._bar is None or self._bar.total != total or done < self._bar.n:
            self._bar = tqdm(total=total, leave=False)
        self._bar.set_description_str(text, refresh=False)
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()
            self._bar = None

    def say(self, line: str) -> None:
        """A line of output in the notebook."""
        print(line, flush=True)

    def finish(
        self, *, metrics: dict, outputs=(), notes: dict | None = None, prepared: Path | None = None
    ) -> None:
        """Declare the results.

        `metrics`: numbers in full precision; `outputs`: files in the folder that later steps read; `notes`:
        what is recorded but is no result, such as a rate; `prepared`: the folder of the arrays of step
        prepare.
        """
        notes = dict(notes or {}) | {"notebook_seconds": time.perf_counter() - self.started}
        notes |= {"weights": self.taken} if self.taken else {}
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
            notes["gpu"] = torch.cuda.get_device_name()
            notes["gpu_peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        result = {
            "metrics": metrics,
            "notes": notes,
            "outputs": [
                {
                    "file": name,
                    "bytes": (self.folder / name).stat().st_size,
                    "sha256": paths.sha256_of(self.folder / name),
                }
                for name in outputs
            ],
        }
        if prepared:
            result["prepared"] = paths.shown(prepared)
        if self.by_hand:
            record = records.read(self.folder) or {}
            record |= {
                "format": records.FORMAT,
                "job": self.job.name,
                "status": "complete",
                "ended": records.now(),
                "by_hand": True,
                "parameters": records.parameters_of(self.job, self.config),
                **result,
            }
            paths.write_json(self.folder / "run.json", record)
            print(f"Done by hand; results are in {paths.shown(self.folder)}.")
            self._show_beside_the_pipeline(metrics)
        else:
            paths.write_json(self.folder / "result.json", result)
            print("Done. The record is run.json beside this notebook.")

    def keep_figures(self, names: list[str], *, asked: bool = False) -> list[Path]:
        """Copy files of this run to the figures of its profile; `asked` as in `paths.figures`. Returns the
        copies: none in a run by hand."""
        together, copies = paths.figures(self.job.profile, asked=asked), []
        for name in [] if self.by_hand else names:
            together.mkdir(parents=True, exist_ok=True)
            copies.append(shutil.copyfile(self.folder / name, together / name))
        return copies

    def _show_beside_the_pipeline(self, metrics: dict) -> None:
        """Print the numbers of a run by hand beside those of the pipeline's run of the same name, if there is
        one."""
        record = records.read(self.job.folder)
        if not record or record["status"] != "complete":
            print("The pipeline has no run of this name to compare with.")
            return
        changed = [
            f"{name} = {value}"
            for name, value in records.parameters_of(self.job, self.config).items()
            if record["parameters"].get(name) != json.loads(json.dumps(value))
        ]
        how = f"with other parameters ({', '.join(changed)} here)" if changed else "with the same parameters"
        print(f"Beside it the pipeline's run of {self.job.name}, {how}:")
        for name, value in metrics.items():
            before = record["metrics"].get(name)
            if isinstance(value, float) and isinstance(before, float):
                print(f"  {name:<28} here {value:<12.6g} pipeline {before:.6g}")


def begin(
    step: str,
    *,
    profile: str,
    dataset: str = "all",
    variant: str = "",
    seed: int | None = None,
    settings: dict | None = None,
) -> Run:
    """Resolve the configuration of a run, find its inputs and make its folder.

    Raises ConfigError for unknown names, RunError if an input has not been made yet.
    """
    kind = STEPS[step]
    if kind.variants != ("",):
        check_name("variant", variant, kind.variants)
    config = resolve(profile, dataset if dataset != "all" else "synthetic", settings, literal=kind.literal)
    job = Job(profile, dataset, step, variant, seed if kind.per == "seed" else None)
    given = os.environ.get("KIT_RUN")
    if given:  # set by the pipeline: the inputs and the folder of the results
        order = json.loads(given)
        folder = Path(order["folder"])
        inputs = {name: from_name(profile, name).folder for name in order["inputs"]}
        identity = order["identity"]
    else:
        folder = paths.run(profile, dataset, step, variant, job.seed, by_hand=True)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = inputs_by_hand(job, config.figure.model)
        identity = records.identity(job, config, digests_of(job, inputs))
    _use_style()
    _show_figures()
    if config.machine.threads and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(config.machine.threads)
    global _begun
    _begun = Run(job, config, folder, not given, identity, inputs)
    return _begun


def digests_of(job: Job, inputs: dict[str, Path]) -> dict[str, str]:
    """What a job reads of its inputs, as hashes by their names."""
    return {name: records.input_digest(job, records.read(folder)) for name, folder in inputs.items()}


def inputs_by_hand(job: Job, model: str = "") -> dict[str, Path]:
    """The inputs of a run by hand: from runs by hand if possible, otherwise from the pipeline. `model` as in
    `upstream`."""
    scored = tuple(j for j, _ in records.find(job.profile) if j.step in ("score", "reference"))
    found = {}
    for needed in upstream(job, scored, model):
        by_hand = paths.run(
            needed.profile, needed.dataset, needed.step, needed.variant, needed.seed, by_hand=True
        )
        for folder in (by_hand, needed.folder):
            record = records.read(folder)
            if record and record["status"] == "complete":
                found[needed.name] = folder
                if folder == by_hand:
                    print(f"Using {needed.name} from your run by hand.")
                break
        else:
            raise RunError(
                f"This notebook reads the result of {needed.name}, which is not there yet. Run its notebook "
                f"first ({STEPS[needed.step].notebook}), or in a terminal: ./run_all.sh {needed.step} "
                f"--profile {job.profile} --dataset {needed.dataset}"
            )
    return found


def settings_table(config: Config, *groups: str):
    """The parameters of some groups, folded: value, description, default and its origin.

    If a selection was adopted for the data set of the run that this notebook has begun, a column names its
    record.
    """
    import pandas as pd
    from IPython.display import HTML

    rows, chosen = [], selected(_begun.job.dataset) if _begun else {}
    for name, spec in parameters().items():
        if name.split(".")[0] in groups:
            value = value_of(config, name)
            source = spec.metadata["paper"] and f"paper: {spec.metadata['paper']}"
            rows.append(
                {
                    "parameter": name,
                    "value": str(value),
                    "what it is": spec.metadata["help"],
                    "default": str(spec.default),
                    "default from": source or f"our choice: {spec.metadata['reason']}",
                }
                | ({"value from": chosen_by(chosen.get(name), value)} if chosen else {})
            )
    table = (
        pd.DataFrame(rows)
        .set_index("parameter")
        .style.set_properties(**{"text-align": "left"})
        .set_table_styles([{"selector": "th", "props": "text-align: left"}])
    )
    changed = sum(row["value"] != row["default"] for row in rows)
    title = f"{len(rows)} parameters, {changed} with another value than their default"
    return HTML(f"<details><summary>{title}</summary>{table.to_html()}</details>")


def chosen_by(line: dict | None, value) -> str:
    """The origin of a value that the selection has chosen; empty for another value or without a selection."""
    return f"chosen by selection, record {line['record']}" if line and line["value"] == value else ""


def show_source(*functions):
    """The source of library functions, for display in a notebook."""
    import inspect

    from IPython.display import Markdown

    blocks = [
        f"`{f.__module__.replace('.', '/')}.py`\n```python\n{dedent(inspect.getsource(f)).rstrip()}\n```"
        for f in functions
    ]
    return Markdown("\n\n".join(blocks))


def check(claim: str, holds: bool) -> None:
    """Print a check as ✓ or ✗. Raises CheckError if it does not hold."""
    print(("✓ " if holds else "✗ ") + claim)
    if not holds:
        raise CheckError(claim)


def adds_up(total, *terms) -> bool:
    """Whether `total` (n,) is the sum of the terms, (n, ...) each, up to the rounding of float32.

    The sum of k numbers can be off by k times the rounding of their magnitudes, which is the tolerance. A
    tolerance relative to the total would fail for terms that nearly cancel, as those of a likelihood do.
    """
    parts = np.concatenate([np.asarray(term, np.float64).reshape(len(total), -1) for term in terms], axis=1)
    tolerance = parts.shape[1] * np.finfo(np.float32).eps * np.abs(parts).sum(1)
    return bool((np.abs(np.asarray(total, np.float64) - parts.sum(1)) <= tolerance).all())


def _use_style() -> None:
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib and paths.STYLE.exists():
        import matplotlib.style

        matplotlib.style.use(paths.STYLE)


def _show_figures() -> None:
    """Show a figure that is the value of a cell as a picture.

    pyplot sets this up only with its own first figure, and a notebook shows Figure 2 before that.
    """
    shell = get_ipython()
    if shell and "matplotlib" in sys.modules:
        select_figure_formats(shell, ["png"], bbox_inches="tight")


def open_data(run: Run, of: Job | None = None):
    """The prepared data set (`datasets.prepared.Prepared`) that a run reads, or from which its input `of` was
    made."""
    from lib.datasets.prepared import open_prepared

    return open_prepared(records.prepared_of(run.record((of or run.job).other("prepare"))))
