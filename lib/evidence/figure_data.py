"""The data of figures, and the rules by which their clips and frames are chosen.

A figure shows what a rule chooses, so that nothing is picked for its looks:

    clip    the clip of median AUC among those with normal and abnormal frames; for two clips, those at the
            lower and upper quartile; on the generated set, among the clips with the paper's kind of event;
            without labels, the clip of median length
    frame   the abnormal frame of median score in its clip; for several frames, abnormal frames evenly spread

The AUC of a clip and the score of a frame are those of the full model (if it was not run, of the next model
in RANKING). For an even number, the lower median is used. Figures of one run show the lowest seed; figures of
several average only seeds run under the same conditions.

A user can ask for another clip, frame or model (`figure.clip` etc.); the figure then says that it was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lib.config import Figure
from lib.errors import ConfigError
from lib.evidence import names
from lib.evidence.scored_runs import Result, apart, differences, open_results
from lib.pipeline import records
from lib.pipeline.steps import MODELS, Job, from_name
from lib.settings.values import check_name, listed

RANKING = ("app_intensity_mot", "two_path", "app_intensity", "mot", "app_error", "app_none", "one_path")
# the paper's events: a jumping child, a thrown bag or paper
MOTION_KINDS, BOTH_KINDS = (("running", "jumping"), ("bag",))


# Numbers of clips, and of frames of each, in figures of single clips; "fig3" has one frame per clip.
CLIPS_AND_FRAMES = {"fig1": (1, 1), "fig3": (2, 1), "fig4": (2, 0), "fig5": (1, 3)}


@dataclass(frozen=True)
class Results:
    """What was run on one data set. `runs` are the folders of the runs; arrays are read when needed."""

    dataset: str
    data: object  # datasets.Prepared
    runs: dict[Job, Path]
    wanted: Figure = Figure()  # what the user asked for instead of the rules

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({job.seed for job in self.runs if job.seed is not None}))

    def folder(self, step: str, variant: str, seed: int | None = None) -> Path | None:
        """The folder of a run, with the lowest seed unless one is given; None if it was not run."""
        seed = self.seeds[0] if seed is None and self.seeds else seed
        return next(
            (
                folder
                for job, folder in self.runs.items()
                if (job.step, job.variant, job.seed) == (step, variant, seed)
            ),
            None,
        )

    def record(self, step: str, variant: str, seed: int | None = None) -> dict | None:
        """The record of a run; None if it was not run."""
        folder = self.folder(step, variant, seed)
        return None if folder is None else records.read(folder)

    def scores(self, model: str) -> pd.DataFrame | None:
        """The scores of the lowest seed, one row per test frame in the order of the arrays; None if it was
        not run."""
        return next(
            (
                result.scores
                for result in self.scored
                if (result.job.variant, result.job.seed) == (model, self.seeds[0])
            ),
            None,
        )

    def array(self, step: str, variant: str, name: str) -> np.ndarray | None:
        """A stored array, memory-mapped; None if the run does not exist."""
        folder = self.folder(step, variant)
        return None if folder is None else np.load(folder / name, mmap_mode="r")

    @cached_property
    def scored(self) -> tuple[Result, ...]:
        """The scored runs, all models and seeds."""
        return open_results(dict(sorted(self.runs.items(), key=lambda item: item[0].seed or 0)))

    def alike(self, model: str) -> list[Result]:
        """The runs of a model that may be averaged: those with the same conditions as its lowest seed."""
        groups = apart(result for result in self.scored if result.job.variant == model)
        return groups[0] if groups else []

    @cached_property
    def ranking(self) -> str | None:
        """The model whose scores choose clips and frames; None if nothing was scored."""
        return self.wanted.model or next((model for model in RANKING if self.folder("score", model)), None)

    @property
    def model(self) -> str:
        """The model whose scores are shown: the full one, unless another was chosen."""
        return self.wanted.model or RANKING[0]

    def small_print(self, caption: str) -> str:
        """The caption for the small print under the figure; empty if none is wanted."""
        return caption if self.wanted.caption else ""

    def marked(self, text: str) -> str:
        """A text in a figure, with "chosen" added if its clip or frame was chosen by the user."""
        return f"{text}, chosen" if self.wanted.clip or self.wanted.frames else text

    @cached_property
    def clip_auc(self) -> dict[str, float]:
        """AUC of each test clip with frames of both kinds, by the ranking model."""
        record = self.record("score", self.ranking)
        aucs = {} if record is None else record["metrics"]["by_clip"]
        return {name: auc for name, auc in aucs.items() if auc is not None}

    def rows(self, clip) -> slice:
        """The rows of a clip in the arrays of the test split."""
        return slice(clip.start, clip.start + clip.length)

    def labels(self, clip) -> np.ndarray:
        """(length,) bool, True for abnormal frames; all False for a set without labels."""
        labels = self.data.labels
        return np.zeros(clip.length, bool) if labels is None else np.asarray(labels[self.rows(clip)], bool)

    def mask(self, clip, frame: int) -> np.ndarray | None:
        """(H, W) bool, or None for a set without pixel masks."""
        return None if self.data.masks is None else self.data.masks[clip.start + frame]

    def kinds(self, name: str) -> tuple[str, ...]:
        """The kinds of anomaly in a clip of the generated set; empty for other sets."""
        tracks = self.data.tracks
        return () if tracks is None else tuple(dict.fromkeys(tracks.loc[tracks["clip"] == name, "kind"]))

    def title(self, clip) -> str:
        """The name of a clip, and its kinds of anomaly if known."""
        kinds = ", ".join(self.kinds(clip.name)).replace("_", " ")
        return self.marked(f"{clip.name} ({kinds})" if kinds else clip.name)

    @property
    def source(self) -> str:
        """Data set, profile and seeds for the small print, with a warning about runs that differ or are out
        of date."""
        profile = next(iter(self.runs)).profile
        subset = ", incomplete (subset)" if self.data.subset else ""
        seeds = ""
        if self.seeds:
            word = "seeds" if len(self.seeds) > 1 else "seed"
            seeds = f", {word}\u00a0{', '.join(map(str, self.seeds))}"
        said = [f"{names.DATASETS.get(self.dataset, self.dataset)}{subset}, profile {profile}{seeds}."]
        if self.wanted.model:
            said.append(f"The model was chosen: {self.wanted.model}.")
        groups = apart(self.scored)
        if len(groups) > 1:
            found = differences(groups[0][0], groups[1][0])
            more = f"; and {len(found) - 2} more" if len(found) > 2 else ""
            said.append(f"Not all runs have the same conditions: {'; '.join(found[:2])}{more}.")
        said += [
            f"{result.job.name} depends on earlier results of {', '.join(result.changed)}."
            for result in self.scored
            if result.changed
        ]
        return " ".join(said)


def read(profile: str, inputs: dict[str, Path], open_data) -> list[Results]:
    """The runs that a figure reads (`Run.inputs`), by data set; `open_data(job)` opens the prepared data of a
    job.

    Raises RecordError if nothing was run.
    """
    if not inputs:
        raise records.RecordError(
            "This figure is drawn from the results of other runs, and there are none yet with "
            f"profile {profile}. Make them first: ./run_all.sh scores --profile {profile}"
        )
    jobs = {from_name(profile, name): folder for name, folder in inputs.items()}
    found = []
    order = [*names.DATASETS, *sorted({job.dataset for job in jobs})]
    for dataset in sorted({job.dataset for job in jobs}, key=order.index):
        runs = {job: folder for job, folder in jobs.items() if job.dataset == dataset}
        found.append(Results(dataset, open_data(next(iter(runs))), runs))
    return found


# -- what the user asked for ---------------------------------------------------------------------------------


def ask(found: list[Results], figure: str, wanted: Figure) -> list[Results]:
    """The results of the data sets that have what the user asked for (`figure.*`), checked.

    Settings that a figure does not use, such as the clip of the ROC curves, are ignored. Raises ConfigError
    for something that does not exist.
    """
    if wanted.dataset:
        there = [results.dataset for results in found]
        if wanted.dataset not in there:
            raise ConfigError(
                f"figure.dataset is {wanted.dataset}, of which nothing was run; there are {', '.join(there)}."
            )
        found = [results for results in found if results.dataset == wanted.dataset]
    if figure not in CLIPS_AND_FRAMES:
        wanted = replace(wanted, clip="", frames=(), model="")
    elif not CLIPS_AND_FRAMES[figure][1]:
        wanted = replace(wanted, frames=())
    if wanted.model:
        check_name("model", wanted.model, MODELS)
        found = _with_model(found, wanted.model)
    if wanted.clip:
        found = _with_clips(found, figure, listed(wanted.clip))
    asked = [replace(results, wanted=wanted) for results in found]
    if wanted.frames:
        for results in asked:
            _check_frames(results, figure)
    return asked


def asked_name(figure: str, wanted: Figure) -> str:
    """The part of a figure's file name after its data set: all settings that differ from the default."""
    parts = []
    if figure in CLIPS_AND_FRAMES:
        _, frames_of_each = CLIPS_AND_FRAMES[figure]
        parts += listed(wanted.clip)
        if frames_of_each:
            parts += [str(frame) for frame in wanted.frames]
        parts.append(wanted.model)
    if wanted.size != Figure.size:
        parts.append(wanted.size)
    if wanted.palette != Figure.palette:
        parts.append(wanted.palette)
    if not wanted.caption:
        parts.append("bare")
    if set(listed(wanted.formats)) != set(listed(Figure.formats)) or wanted.dataset:
        parts.append("asked")
    return "".join(f"-{part}" for part in parts if part)


def _with_model(found: list[Results], model: str) -> list[Results]:
    having = [results for results in found if results.folder("score", model)]
    if not having:
        run = sorted({job.variant for results in found for job in results.runs if job.step == "score"})
        raise ConfigError(
            f"figure.model is {model}, which has no scores for this figure; there are {', '.join(run)}. "
            f"Run it first: ./run_all.sh {model}"
        )
    return having


def _with_clips(found: list[Results], figure: str, wanted: tuple[str, ...]) -> list[Results]:
    most = CLIPS_AND_FRAMES[figure][0]
    if len(wanted) > most:
        raise ConfigError(f"{figure} shows {_count(most, 'clip')}; figure.clip names {len(wanted)}.")
    known = {results.dataset: [clip.name for clip in results.data.clips("test")] for results in found}
    for name in wanted:
        if not any(name in clips for clips in known.values()):
            there = "; ".join(
                f"those of {dataset} are {', '.join(clips)}" for dataset, clips in known.items()
            )
            raise ConfigError(f"There is no test clip '{name}': {there}.")
    return [results for results in found if set(wanted) <= set(known[results.dataset])]


def _check_frames(results: Results, figure: str) -> None:
    clips, each = CLIPS_AND_FRAMES[figure]
    frames = results.wanted.frames
    most = (len(listed(results.wanted.clip)) or clips) * each
    if len(frames) > most or (figure != "fig5" and len(frames) < most):
        raise ConfigError(f"{figure} shows {_count(most, 'frame')}; figure.frames names {len(frames)}.")
    lengths = {clip.name: clip.length for clip in results.data.clips("test")}
    shown = choose_clips(results, *[()] * clips)
    for frame, clip in zip(frames, shown if each == 1 else shown * len(frames)):
        if not 0 <= frame < lengths[clip.name]:
            raise ConfigError(
                f"{clip.name} has the frames 0 to {lengths[clip.name] - 1}; figure.frames names {frame}."
            )


def _count(number: int, what: str) -> str:
    words = {0: "no", 1: "one", 2: "two", 3: "three"}
    return f"{words[number]} {what}{'' if number == 1 else 's'}"


# -- the rules -----------------------------------------------------------------------------------------------


def at_quantiles(items, count: int) -> list:
    """`count` of some ordered items, at the middles of that many equal parts; of two candidates the lower.

    For 1 this is the median, for 2 the quartiles.
    """
    return [items[math.ceil((i + 0.5) / count * len(items)) - 1] for i in range(count)]


def choose_clips(results: Results, *kinds: tuple[str, ...]) -> list:
    """One test clip for each tuple of kinds of anomaly, by the rule above. An empty tuple stands for any
    kind.

    If no clip has such a kind (it is unknown on real sets), clips at the quantiles of AUC are used.
    """
    clips = {clip.name: clip for clip in results.data.clips("test")}
    if results.wanted.clip:
        return [clips[name] for name in listed(results.wanted.clip)]
    ranked = sorted(results.clip_auc, key=lambda name: (results.clip_auc[name], name))
    if not ranked:
        return at_quantiles(sorted(clips.values(), key=lambda clip: (clip.length, clip.start)), len(kinds))
    chosen = []
    for wanted, otherwise in zip(kinds, at_quantiles(ranked, len(kinds))):
        fitting = [name for name in ranked if set(results.kinds(name)) & set(wanted)]
        chosen.append(clips[at_quantiles(fitting, 1)[0] if fitting else otherwise])
    return chosen


def choose_frame(results: Results, clip, place: int = 0) -> int:
    """The abnormal frame of median total score in a clip, counted from 0; among all frames if none is
    abnormal.

    If frames were asked for, the one at `place`.
    """
    if results.wanted.frames:
        return results.wanted.frames[place]
    score = results.scores(results.ranking)["S"].to_numpy()[results.rows(clip)]
    frames = abnormal_frames(results, clip)
    return int(at_quantiles(frames[np.argsort(score[frames], kind="stable")], 1)[0])


def spread_frames(results: Results, clip, count: int) -> list[int]:
    """Evenly spread abnormal frames of a clip (among all frames if none is abnormal), or the frames that were
    asked for."""
    if results.wanted.frames:
        return list(results.wanted.frames)
    return [int(frame) for frame in at_quantiles(abnormal_frames(results, clip), count)]


def abnormal_frames(results: Results, clip) -> np.ndarray:
    """The abnormal frames of a clip, counted from its first; all frames if none is abnormal."""
    labels = results.labels(clip)
    return np.flatnonzero(labels if labels.any() else ~labels)


def rule_for_clips(results: Results, *kinds: tuple[str, ...]) -> str:
    """The rule by which `choose_clips` chose, in words."""
    clips = "Clip" if len(kinds) == 1 else "Clips"
    if results.wanted.clip:
        return f"{'Clips' if ',' in results.wanted.clip else 'Clip'} chosen by hand, not by the rule."
    if not results.clip_auc:
        where = "of median length" if len(kinds) == 1 else "at the quartiles of length"
        return f"{clips} {where}; none has normal and abnormal frames."
    known = {kind for name in results.clip_auc for kind in results.kinds(name)}
    where = "of median AUC" if len(kinds) == 1 else "at the quartiles of AUC"
    if any(kinds) and all(set(wanted) & known for wanted in kinds):
        where = "of median AUC among " + " and ".join(f"those with {' or '.join(wanted)}" for wanted in kinds)
    model = names.MODELS[results.ranking].sentence
    return f"{clips} {where}, by {model}, of clips with normal and abnormal frames."


def rule_for_frames(results: Results, *clips, spread: bool = False) -> str:
    """The rule by which `choose_frame` or `spread_frames` chose in some clips, in words."""
    if results.wanted.frames:
        return f"{'Frames' if len(results.wanted.frames) > 1 else 'Frame'} chosen by hand."
    labelled = all(results.labels(clip).any() for clip in clips)
    among = "the abnormal ones" if labelled else "all (none is labelled abnormal)"
    if spread:
        return f"Frames evenly spread over {among}."
    if len(clips) > 1:
        return f"Frames of median score among {among} of their clip."
    return f"Frame of median score among {among}."
