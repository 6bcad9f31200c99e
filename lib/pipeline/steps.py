"""The pipeline as data: its steps, what each of them reads, and its notebook.

    prepare -> autoencoder (one_path | two_path) -> features
            -> flow (app_none | app_intensity | app_error | mot)
            -> score (a row or column of Tables 2-4) -> tables, figures, sensitivity, verdict -> index
            -> selection (of open choices, on normal video alone), growth (of the AUC with training)

A job is one run of one step: profile x data set x variant x seed. Work that several cells of a table share is
one job: five columns of Table 3 use the same autoencoder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lib import paths

FLOWS = ("app_none", "app_intensity", "app_error", "mot")

# The scored models: autoencoder and flows. Table 3's "+ F_app" is Table 4's "Intensity" (the numbers agree).
MODELS = {
    "one_path": ("one_path", ()),
    "two_path": ("two_path", ()),
    "app_intensity": ("two_path", ("app_intensity",)),
    "mot": ("two_path", ("mot",)),
    "app_intensity_mot": ("two_path", ("app_intensity", "mot")),
    "app_none": ("two_path", ("app_none",)),
    "app_error": ("two_path", ("app_error",)),
}
TABLE3 = ("one_path", "two_path", "app_intensity", "mot", "app_intensity_mot")
TABLE4 = ("app_none", "app_intensity", "app_error")


class Shown(NamedTuple):
    """What a figure reads: the scores of some models, and the results of some steps under them."""

    models: tuple[str, ...] = tuple(MODELS)
    beside: tuple[str, ...] = ()
    one_run: bool = False  # only the run with the lowest seed
    chosen: bool = False  # and the model that `figure.model` names


FULL = "app_intensity_mot"
SHOWN = {
    "fig1": Shown(("one_path", "two_path", FULL), ("features",), one_run=True, chosen=True),
    "fig2": Shown(()),
    "fig3": Shown(("one_path", "two_path"), ("features",), one_run=True, chosen=True),
    "fig4": Shown((FULL,), one_run=True, chosen=True),
    "fig5": Shown(("two_path", FULL), ("features",), one_run=True, chosen=True),
    "roc": Shown(),
    "likelihood_terms": Shown(beside=("features", "flow"), one_run=True),
    "complexity": Shown((FULL,), ("flow",), one_run=True),
    "training": Shown(beside=("autoencoder", "features", "flow")),
    "protocols": Shown(),
    "clips": Shown(),
    "kinds": Shown(),
}
FIGURES = tuple(SHOWN)


@dataclass(frozen=True)
class Step:
    """One kind of job.

    `reads`: the groups of parameters that affect it, or single parameters by their full names; `per`: whether
    there is one run per seed, per data set, or one for all.
    """

    notebook: str
    reads: tuple[str, ...]
    per: str  # "seed", "dataset" or "all"
    help: str
    variants: tuple[str, ...] = ("",)
    trains: bool = False
    sees_labels: bool = True  # if not, other labels do not affect it
    literal: bool = False  # uses the literal readings, even if a selection was adopted


NETWORK = ("data", "synthetic", "model", "loss", "autoencoder", "error.background", "machine")
# How a figure is drawn, whatever it shows.
LOOK = ("figure.size", "figure.formats", "figure.caption", "figure.palette")
STEPS = {
    "start": Step("00_start_here", (), "all", "what this kit is and how to read it"),
    "prepare": Step("01_data", ("data", "synthetic", "own"), "dataset", "frames and labels as arrays"),
    "explain_autoencoder": Step(
        "02_two_path_autoencoder", ("data", "model", "loss"), "dataset", "ITAE, explained"
    ),
    "autoencoder": Step(
        "03_train_autoencoder",
        NETWORK,
        "seed",
        "stage 1: ITAE",
        ("one_path", "two_path"),
        trains=True,
        sees_labels=False,
    ),
    "features": Step(
        "04_features",
        ("data", "synthetic", "model", "features", "error", "machine"),
        "seed",
        "errors and features of every window",
        ("one_path", "two_path"),
        trains=True,
    ),
    "explain_glow": Step("05_glow", (), "all", "Glow, explained"),
    "flow": Step(
        "06_train_flow", ("features", "flow", "machine"), "seed", "stage 2: F_app, F_mot", FLOWS, trains=True
    ),
    "score": Step(
        "07_score", ("score", "error", "evaluate", "model"), "seed", "scores of each frame", tuple(MODELS)
    ),
    "reference": Step(
        "08_reference_scorers",
        ("features", "error", "evaluate", "model", "data", "synthetic"),
        "seed",
        "scorers that any method must beat",
    ),
    "table2": Step("09_table2", ("evaluate",), "all", "Table 2"),
    "table3": Step("10_table3", ("evaluate",), "all", "Table 3"),
    "table4": Step("11_table4", ("evaluate",), "all", "Table 4"),
    "figure": Step("12_figures", ("figure",), "all", "the paper's figures", FIGURES),
    "verdict": Step("13_verdict", ("evaluate",), "all", "claim by claim"),
    "sensitivity": Step(
        "15_sensitivity",
        (*NETWORK, "features", "flow", "error", "score", "evaluate", "sensitivity", *LOOK),
        "seed",
        "what each open choice does to the AUC",
        trains=True,
    ),
    "selection": Step(
        "16_selection",
        (*NETWORK, "features", "flow", "error", "score", "selection"),
        "dataset",
        "open choices, made on normal video with pasted anomalies",
        trains=True,
        sees_labels=False,
        literal=True,
    ),
    "growth": Step(
        "17_growth",
        (*NETWORK, "features", "flow", "error", "score", "selection"),
        "seed",
        "how the AUC grows with training",
        trains=True,
    ),
    "own_video": Step("14_your_own_video", (), "all", "your own video, and what its scores say"),
}

# Notebooks that show existing runs without reading their results -> steps of the same call after which they
# run. They run again if one of these has run, so that they show the finished call.
SHOWN_AFTER = {"explain_glow": ("flow",), "start": tuple(step for step in STEPS if step != "start")}

# A selection is made once and adopted, and growth trains for hours, so these have to be asked for by name.
# Both can be curated beside scored runs of an earlier call.
STUDIES = ("selection", "growth")
# Steps that draw a chart of their own, and its title.
CHARTS = {
    "sensitivity": "What each open choice does to the AUC",
    "growth": "The AUC while the networks are trained",
}

# What a user can ask for, beside the names of steps.
TARGETS = {
    "all": tuple(step for step in STEPS if step not in STUDIES),
    "learn": ("start", "explain_autoencoder", "explain_glow"),
    "flows": ("flow",),
    "scores": ("score", "reference"),
    "tables": ("table2", "table3", "table4"),
    "figures": ("figure",),
}


@dataclass(frozen=True)
class Job:
    """One run of one step."""

    profile: str
    dataset: str  # "all" for jobs that cover every data set
    step: str
    variant: str = ""
    seed: int | None = None

    @property
    def folder(self) -> Path:
        return paths.run(self.profile, self.dataset, self.step, self.variant, self.seed)

    @property
    def name(self) -> str:
        """Its name in records and messages, e.g. ped2/autoencoder/two_path/seed0."""
        parts = [self.dataset, self.step, self.variant, None if self.seed is None else f"seed{self.seed}"]
        return "/".join(part for part in parts if part)

    def other(self, step: str, variant: str = "") -> Job:
        """The job of another step for the same data set and seed."""
        return Job(
            self.profile, self.dataset, step, variant, self.seed if STEPS[step].per == "seed" else None
        )


def from_name(profile: str, name: str) -> Job:
    """The job with this name."""
    parts = name.split("/")
    seed = int(parts.pop()[4:]) if parts[-1].startswith("seed") else None
    return Job(profile, parts[0], parts[1], parts[2] if len(parts) > 2 else "", seed)


def from_chart(profile: str, name: str) -> Job | None:
    """The job that draws a chart, by the chart's name: <step>-<data set>, and -seed<n> for a seed that is not
    0; with a colon for the first hyphen too. None for other names."""
    found = re.fullmatch(rf"({'|'.join(CHARTS)})[:-](\w+?)(?:-seed(\d+))?", name)
    return Job(profile, found[2], found[1], "", int(found[3] or 0)) if found else None


def upstream(job: Job, scored: tuple[Job, ...], model: str = "") -> tuple[Job, ...]:
    """The jobs whose results a job reads.

    `scored` are the score jobs that tables and figures cover; `model` is the model that a figure shows
    instead of the full one (`figure.model`).
    """
    match job.step:
        case "start" | "prepare" | "explain_glow":
            return ()
        case "explain_autoencoder" | "autoencoder" | "selection" | "growth":
            return (job.other("prepare"),)
        case "features":
            return (job.other("prepare"), job.other("autoencoder", job.variant))
        case "flow":
            return (job.other("features", "two_path"),)
        case "score":
            autoencoder, flows = MODELS[job.variant]
            return (
                job.other("prepare"),
                job.other("features", autoencoder),
                *(job.other("flow", f) for f in flows),
            )
        case "reference":
            return (job.other("prepare"), job.other("features", "two_path"))
        case "sensitivity":
            full = job.other("score", "app_intensity_mot")
            return (*upstream(full, ()), full)
        case "figure":
            return _upstream_of_figure(job, scored, model)
        case "own_video":
            return _upstream_of_own_video(scored)
        case "table3":
            return tuple(j for j in scored if j.variant in TABLE3 or j.step == "reference")
        case "table4":
            return tuple(j for j in scored if j.variant in TABLE4 or j.step == "reference")
        case "table2":
            return tuple(
                j for j in scored if j.variant in ("two_path", "app_intensity_mot") or j.step == "reference"
            )
        case _:
            return scored


def _upstream_of_own_video(scored: tuple[Job, ...]) -> tuple[Job, ...]:
    """One scored run, of your own video and of the full model if possible, and the steps under it."""

    def rank(job: Job) -> tuple:
        return job.dataset != "own", job.dataset != "synthetic", job.variant != FULL, job.seed

    models = [job for job in scored if job.step == "score" and MODELS[job.variant][0] == "two_path"]
    if not models:
        return ()
    chosen = min(models, key=rank)
    return chosen.other("prepare"), chosen.other("features", "two_path"), chosen


def _upstream_of_figure(job: Job, scored: tuple[Job, ...], model: str) -> tuple[Job, ...]:
    """The scored runs that a figure shows, and the steps under them that it reads."""
    what = SHOWN[job.variant]
    models = (*what.models, model) if model and what.chosen else what.models
    shown = [j for j in scored if j.variant in models]
    if what.one_run:
        lowest = {
            dataset: min(j.seed for j in shown if j.dataset == dataset)
            for dataset in {j.dataset for j in shown}
        }
        shown = [j for j in shown if j.seed == lowest[j.dataset]]
    below = {j.other("prepare") for j in shown}
    for j in shown:
        autoencoder, flows = MODELS[j.variant]
        variants = {"autoencoder": (autoencoder,), "features": (autoencoder,), "flow": flows}
        below |= {j.other(step, variant) for step in what.beside for variant in variants[step]}
    return (*sorted(below, key=lambda j: j.name), *shown)


def jobs_of(profile: str, datasets, seeds, step: str, variants=None) -> list[Job]:
    """All jobs of a step over a grid of data sets and seeds."""
    kind = STEPS[step]
    chosen = variants or kind.variants
    if kind.per == "all":
        return [Job(profile, "all", step, variant) for variant in chosen]
    return [
        Job(profile, dataset, step, variant, seed)
        for dataset in datasets
        for seed in (seeds if kind.per == "seed" else (None,))
        for variant in chosen
    ]
