"""The pipeline as data: which steps there are, what each reads, and which notebook is which.

    prepare -> autoencoder (one_path | two_path) -> features -> flow (app_none | app_intensity | app_error | mot)
            -> score (a row or column of Tables 2-4) -> tables, figures, sensitivity, verdict -> index
            -> selection (of open choices, on normal video alone)

A job is one run of one step: profile x data set x variant x seed. Work that several cells of a table share is one job:
one autoencoder stands under five columns of Table 3.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib import paths

FLOWS = ("app_none", "app_intensity", "app_error", "mot")

# The scored models: which autoencoder, which flows. Table 3's "+ F_app" is Table 4's "Intensity" (its numbers agree).
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
FIGURES = ("fig1", "fig2", "fig3", "fig4", "fig5", "roc", "likelihood_terms", "complexity", "training", "protocols",
           "kinds")


@dataclass(frozen=True)
class Step:
    """One kind of job. `reads`: the groups of parameters that matter to it, or single parameters by their full names;
    `per`: a run of the grid, of a data set, or one for all."""

    notebook: str
    reads: tuple[str, ...]
    per: str  # "seed", "dataset" or "all"
    help: str
    variants: tuple[str, ...] = ("",)
    trains: bool = False
    sees_labels: bool = True  # where not, other labels leave it as it is
    literal: bool = False  # starts from the literal readings, whatever a selection has chosen


NETWORK = ("data", "synthetic", "model", "loss", "autoencoder", "error.background", "machine")
STEPS = {
    "start": Step("00_start_here", (), "all", "what this kit is and how to read it"),
    "prepare": Step("01_data", ("data", "synthetic", "own"), "dataset", "frames and labels as arrays"),
    "explain_autoencoder": Step("02_two_path_autoencoder", ("data", "model", "loss"), "dataset", "ITAE, explained"),
    "autoencoder": Step("03_train_autoencoder", NETWORK, "seed", "stage 1: ITAE", ("one_path", "two_path"), trains=True,
                        sees_labels=False),
    "features": Step("04_features", ("data", "synthetic", "model", "features", "error", "machine"), "seed",
                     "errors and features of every window", ("one_path", "two_path"), trains=True),
    "explain_glow": Step("05_glow", (), "all", "Glow, explained"),
    "flow": Step("06_train_flow", ("features", "flow", "machine"), "seed", "stage 2: F_app, F_mot", FLOWS, trains=True),
    "score": Step("07_score", ("score", "error", "evaluate", "model"), "seed", "scores of each frame", tuple(MODELS)),
    "reference": Step("08_reference_scorers", ("features", "error", "evaluate", "model", "data", "synthetic"), "seed",
                      "scorers that any method must beat"),
    "table2": Step("09_table2", ("evaluate",), "all", "Table 2"),
    "table3": Step("10_table3", ("evaluate",), "all", "Table 3"),
    "table4": Step("11_table4", ("evaluate",), "all", "Table 4"),
    "figure": Step("12_figures", (), "all", "the paper's figures", FIGURES),
    "verdict": Step("13_verdict", ("evaluate",), "all", "claim by claim"),
    "sensitivity": Step("15_sensitivity", (*NETWORK, "features", "flow", "error", "score", "evaluate", "sensitivity"),
                        "seed", "what each open choice does to the AUC", trains=True),
    "selection": Step("16_selection", (*NETWORK, "features", "flow", "error", "score", "selection"), "dataset",
                      "open choices, made on normal video with pasted anomalies", trains=True, sees_labels=False, literal=True),
    "own_video": Step("14_your_own_video", (), "all", "your own video, and what its scores say"),
}

# What a user can ask for, beside the names of steps. A selection is made once and adopted, so it has to be asked for by name.
TARGETS = {
    "all": tuple(step for step in STEPS if step != "selection"), "learn": ("start", "explain_autoencoder", "explain_glow"),
    "flows": ("flow",), "scores": ("score", "reference"), "tables": ("table2", "table3", "table4"), "figures": ("figure",),
}


@dataclass(frozen=True)
class Job:
    """One run of one step."""

    profile: str
    dataset: str  # "all" for what covers every data set
    step: str
    variant: str = ""
    seed: int | None = None

    @property
    def folder(self) -> Path:
        return paths.run(self.profile, self.dataset, self.step, self.variant, self.seed)

    @property
    def name(self) -> str:
        """As people and records call it, e.g. ped2/autoencoder/two_path/seed0."""
        parts = [self.dataset, self.step, self.variant, None if self.seed is None else f"seed{self.seed}"]
        return "/".join(part for part in parts if part)

    def other(self, step: str, variant: str = "") -> "Job":
        """The job of another step for the same data set and seed."""
        return Job(self.profile, self.dataset, step, variant, self.seed if STEPS[step].per == "seed" else None)


def from_name(profile: str, name: str) -> Job:
    """The job that is called so."""
    parts = name.split("/")
    seed = int(parts.pop()[4:]) if parts[-1].startswith("seed") else None
    return Job(profile, parts[0], parts[1], parts[2] if len(parts) > 2 else "", seed)


def upstream(job: Job, scored: tuple[Job, ...]) -> tuple[Job, ...]:
    """The jobs whose results a job reads. `scored` are the score jobs that tables and figures are to cover."""
    match job.step:
        case "start" | "prepare" | "explain_glow":
            return ()
        case "explain_autoencoder" | "autoencoder" | "selection":
            return (job.other("prepare"),)
        case "features":
            return (job.other("prepare"), job.other("autoencoder", job.variant))
        case "flow":
            return (job.other("features", "two_path"),)
        case "score":
            autoencoder, flows = MODELS[job.variant]
            return (job.other("prepare"), job.other("features", autoencoder), *(job.other("flow", f) for f in flows))
        case "reference":
            return (job.other("prepare"), job.other("features", "two_path"))
        case "sensitivity":
            full = job.other("score", "app_intensity_mot")
            return (*upstream(full, ()), full)
        case "figure" if job.variant == "fig2":
            return ()
        case "figure":
            full = "app_intensity_mot"
            of_one_run = {"fig1": ("one_path", "two_path", full), "fig3": ("one_path", "two_path"), "fig4": (full,),
                          "fig5": ("two_path", full), "likelihood_terms": tuple(MODELS), "complexity": (full,)}
            shown = [j for j in scored if j.variant in of_one_run.get(job.variant, MODELS)]
            if job.variant in of_one_run:  # which is that of the lowest seed
                shown = [j for j in shown if j.seed == min(other.seed for other in shown if other.dataset == j.dataset)]
            below = {j.other("prepare") for j in shown}
            for j in shown:
                autoencoder, flows = MODELS[j.variant]
                if job.variant in ("fig1", "fig3", "fig5", "likelihood_terms"):
                    below.add(j.other("features", autoencoder))
                if job.variant in ("likelihood_terms", "complexity", "training"):
                    below |= {j.other("flow", flow) for flow in flows}
                if job.variant == "training":
                    below |= {j.other("autoencoder", autoencoder), j.other("features", autoencoder)}
            return (*sorted(below, key=lambda j: j.name), *shown)
        case "own_video":  # one scored run: of your own video if there is one, of the full model if there is one
            models = [j for j in scored if j.step == "score" and MODELS[j.variant][0] == "two_path"]
            models.sort(key=lambda j: (j.dataset != "own", j.dataset != "synthetic", j.variant != "app_intensity_mot", j.seed))
            return tuple(under for j in models[:1] for under in (j.other("prepare"), j.other("features", "two_path"), j))
        case "table3":
            return tuple(j for j in scored if j.variant in TABLE3 or j.step == "reference")
        case "table4":
            return tuple(j for j in scored if j.variant in TABLE4 or j.step == "reference")
        case "table2":
            return tuple(j for j in scored if j.variant in ("two_path", "app_intensity_mot") or j.step == "reference")
        case _:
            return scored


def jobs_of(profile: str, datasets, seeds, step: str, variants=None) -> list[Job]:
    """All jobs of a step over a grid of data sets and seeds."""
    kind = STEPS[step]
    chosen = variants or kind.variants
    if kind.per == "all":
        return [Job(profile, "all", step, variant) for variant in chosen]
    return [Job(profile, dataset, step, variant, seed) for dataset in datasets
            for seed in (seeds if kind.per == "seed" else (None,)) for variant in chosen]
