"""Scored runs with all runs that they depend on, and which of them can share a cell of a table.

The record of a score run says little about how its networks were trained; that is in the records of the runs
beneath it. A `Result` holds both, so that two seeds trained for different numbers of steps are recognised as
different although they were scored in the same way.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib import paths
from lib.errors import ResultError
from lib.evaluation import protocols
from lib.evaluation.protocols import PROTOCOLS, Interval, Protocol
from lib.pipeline import records
from lib.pipeline.steps import Job, from_name

# The tables apply one protocol to all runs, whatever theirs was; and device, layout and threads affect
# results only by rounding.
NOT_COMPARED = ("evaluate.", "machine.device", "machine.layout", "machine.threads")


@dataclass(frozen=True, eq=False)
class Result:
    """One scored run (step score or reference), its record, and the records of all runs beneath it, by name.

    `changed` names those beneath it that no longer exist, or whose result has changed since it was read.
    """

    job: Job
    record: dict
    folder: Path
    beneath: dict[str, dict]
    changed: tuple[str, ...] = ()

    @property
    def subset(self) -> bool:
        return bool(self.record["metrics"].get("subset"))

    @property
    def commit(self) -> str:
        """The commit, shortened, with a + if the tree had other changes."""
        git = self.record.get("git") or {}
        return f"{git['commit'][:7]}{'+' if git.get('dirty') else ''}" if git.get("commit") else "no commit"

    @functools.cached_property
    def conditions(self) -> dict[tuple[str, str], frozenset[str]]:
        """Everything that must be equal for runs of one cell, by (step, name): profile, data, parameters,
        code."""
        found: dict[tuple[str, str], set[str]] = {
            ("", "profile"): {self.job.profile},
            ("", "subset"): {str(self.subset).lower()},
        }
        data = self.record.get("inputs", {}).get(self.job.other("prepare").name)
        if data:
            found["", "the prepared data"] = {data}
        for step, record in [(self.job.step, self.record)] + [(r["step"], r) for r in self.beneath.values()]:
            for name, value in record["parameters"].items():
                if not name.startswith(NOT_COMPARED):
                    found.setdefault((step, name), set()).add(json.dumps(value))
            for name, code in record.get("code", {}).items():
                found.setdefault((step, name if "/" in name else f"module {name}"), set()).add(code)
        return {key: frozenset(values) for key, values in found.items()}

    def parameters(self) -> dict:
        """The values of all parameters of the run and those beneath it; if steps differ, that of the
        first."""
        merged = {}
        for record in (self.record, *self.beneath.values()):
            merged = record["parameters"] | merged
        return merged

    @functools.cached_property
    def trouble(self) -> str:
        """Why the stored scores cannot be used; empty if they are those that the record describes."""
        file = self.record["outputs"][0]
        path = self.folder / file["file"]
        if not path.exists():
            return f"{file['file']} of {self.job.name} is missing"
        return (
            ""
            if paths.sha256_of(path) == file["sha256"]
            else (f"{file['file']} of {self.job.name} is not the file that its record describes")
        )

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """The stored scores, one row per test frame. Raises ResultError if they are missing or not those of
        the record."""
        if self.trouble:
            raise ResultError(f"{self.trouble}. Run it again: {self.record.get('command', 'its notebook')}")
        # Avenue's clips are named 01 to 21
        return pd.read_csv(self.folder / self.record["outputs"][0]["file"], dtype={"clip": str})

    @property
    def rounding(self) -> float:
        """How far an AUC computed from the stored scores may be from the recorded one.

        An AUC computed by sorting differs slightly from one computed by counting pairs, and curated scores
        are rounded.
        """
        return 1e-4 if self.record["outputs"][0].get("digits") else 1e-6

    @property
    def labelled(self) -> bool:
        return self.record["metrics"].get("auc") is not None

    @property
    def why_no_auc(self) -> str:
        """Why there is no AUC, in words; empty if there is one."""
        return "" if self.labelled else self.record["metrics"].get("why_no_auc") or "no labels"

    @property
    def labels(self) -> np.ndarray:
        return self.scores["label"].to_numpy()

    @functools.cached_property
    def clips(self) -> np.ndarray:
        """The index of the clip of each frame, in the order of the test set."""
        return pd.factorize(self.scores["clip"])[0]

    @property
    def terms(self) -> list[tuple[float, np.ndarray]]:
        """The weights and terms of Eq. 9 under the paper's protocol."""
        return self.terms_for(PROTOCOLS["paper"])

    def terms_for(self, protocol: Protocol) -> list[tuple[float, np.ndarray]]:
        """The weights and terms of Eq. 9, which each protocol normalises in its own way.

        The lambdas of L have the scope that belongs to the protocol.
        """
        terms = [(1.0, self.scores["R"].to_numpy())]
        if "L" in self.scores:
            column = protocols.column_of_likelihood(protocol)
            column = column if column in self.scores else "L"  # a single flow has no lambdas
            terms.append((self.record["parameters"]["score.lambda_L"], self.scores[column].to_numpy()))
        return terms

    @property
    def train_stats(self) -> list | None:
        """The extremes of each term on the training frames; None if there are none."""
        return self.record["metrics"].get("train_extremes")

    def auc(self, protocol: Protocol) -> float:
        """The recorded AUC or, if that protocol is not recorded, one from the stored scores."""
        if protocol == PROTOCOLS["paper"]:
            return self.record["metrics"]["auc"]
        recorded = self.record["metrics"]["protocols"].get(protocol.name)
        if recorded and PROTOCOLS.get(protocol.name) == protocol:
            return recorded["auc"]
        terms = self.terms_for(protocol)
        return protocols.frame_auc(terms, self.labels, self.clips, protocol, self.train_stats)


def open_results(folders: dict[Job, Path]) -> tuple[Result, ...]:
    """The complete scored runs, with the runs that they depend on; others are left out."""
    found = []
    for job, folder in folders.items():
        record = records.read(folder)
        if job.step in ("score", "reference") and record and record["status"] == "complete":
            found.append(Result(job, record, folder, *_beneath(job.profile, record)))
    return tuple(found)


def of_profile(profile: str) -> tuple[Result, ...]:
    """All complete scored runs of a profile."""
    return open_results({job: job.folder for job, _ in records.find(profile)})


def before(profile: str) -> tuple[Result, ...]:
    """The scored runs of a profile before the last change.

    Runs that were replaced are given as they were, with what they were made from; the others as they are.
    """
    found = []
    for result in of_profile(profile):
        folder = records.previous(result.folder)
        record = records.read(folder, records.PREVIOUS)
        if record:
            result = Result(result.job, record, folder, *_beneath(profile, record, replaced=True))
        found.append(result)
    return tuple(found)


def _beneath(
    profile: str, record: dict, *, replaced: bool = False
) -> tuple[dict[str, dict], tuple[str, ...]]:
    """The records beneath a run by name, and the names of those that are no longer the ones it read.

    With `replaced`, records that were replaced since are searched too.
    """
    found, changed, todo = {}, {}, [record]
    while todo:
        above = todo.pop(0)
        reader = from_name(profile, above["job"])
        for name, digest in above.get("inputs", {}).items():
            folder = from_name(profile, name).folder
            candidates = [found[name]] if name in found else [records.read(folder)]
            if replaced and name not in found:
                candidates.insert(0, records.read(records.previous(folder), records.PREVIOUS))
            complete = [under for under in candidates if under is not None and under["status"] == "complete"]
            fitting = [under for under in complete if records.input_digest(reader, under) == digest]
            if not fitting:
                changed[name] = None
            if complete and name not in found:
                found[name] = [*fitting, *complete][0]
                todo.append(found[name])
    return found, tuple(changed)


def differences(a: Result, b: Result) -> tuple[str, ...]:
    """What differs between the conditions of two results; if nothing, they may be compared.

    Examples: `autoencoder.steps is 240 against 2500`, `module glow of flow is of two versions`,
    `module loop is under one autoencoder only`. Only steps beneath both are compared: a model without flows
    and one with them share an autoencoder. Within such a step, something that only one side has is a
    difference, except for parameters that another kind of model does not use.
    """
    one, other = a.conditions, b.conditions
    shared = {step for step, _ in one} & {step for step, _ in other}
    found = []
    for step, name in dict.fromkeys([*one, *other]):
        if step not in shared:
            continue
        values, others = one.get((step, name)), other.get((step, name))
        if values == others:
            continue
        if values is None or others is None:
            if name.startswith("module ") or "/" in name or a.job.variant == b.job.variant:
                found.append(f"{name} is under one {step or 'run'} only")
            continue
        if "/" in name or name.startswith("module ") or not step and name.startswith("the"):
            found.append(f"{name}{f' of {step}' if step else ''} is of two versions")
        else:
            said = [" or ".join(sorted(v.strip('"') for v in side)) for side in (values, others)]
            found.append(f"{name} is {said[0]} against {said[1]}")
    return tuple(dict.fromkeys(found))


def apart(results: Iterable[Result]) -> list[list[Result]]:
    """Results in groups without differences, in their order. Only results of one group may be averaged."""
    groups: list[list[Result]] = []
    for result in results:
        home = next(
            (group for group in groups if not any(differences(result, member) for member in group)), None
        )
        if home is None:
            groups.append([result])
        else:
            home.append(result)
    return groups


def protocol_of(*, normalise: str, smoothing: float) -> Protocol:
    """The micro-averaged protocol with these values, under its own name if it has one."""
    own = Protocol("as set", normalise=normalise, average="micro", single_class="skip", smoothing=smoothing)
    return next((p for p in PROTOCOLS.values() if dataclasses.replace(p, name=own.name) == own), own)


@functools.lru_cache(maxsize=1000)
def interval(group: tuple[Result, ...], protocol: Protocol, resamples: int) -> Interval | None:
    """The 95 % interval of the mean AUC of a group of seeds.

    None for fewer than eight clips, for a subset, or without usable scores.
    """
    if any(r.subset or r.trouble for r in group):
        return None
    first = group[0]
    return protocols.bootstrap_auc(
        [r.terms_for(protocol) for r in group],
        first.labels,
        first.clips,
        protocol,
        resamples=resamples,
        train_stats=[r.train_stats for r in group],
    )


@functools.lru_cache(maxsize=1000)
def interval_of_difference(
    group: tuple[Result, ...], baseline: tuple[Result, ...], protocol: Protocol, resamples: int
) -> Interval | None:
    """The 95 % interval of the difference between the mean AUC of two groups with the same seeds, paired.

    None as for `interval`.
    """
    if any(r.subset or r.trouble for r in group + baseline):
        return None
    first = group[0]
    return protocols.bootstrap_difference(
        [r.terms_for(protocol) for r in group],
        [r.terms_for(protocol) for r in baseline],
        first.labels,
        first.clips,
        protocol,
        resamples=resamples,
        train_stats=[r.train_stats for r in group],
        train_stats_of_baseline=[r.train_stats for r in baseline],
    )
