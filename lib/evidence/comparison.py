"""Two sets of scored runs compared: their numbers, the interval of each difference, and what differs beneath
them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.evaluation import protocols
from lib.evaluation.protocols import Protocol
from lib.evidence import names
from lib.evidence.scored_runs import Result, apart, differences, interval_of_difference
from lib.evidence.typesetting import Face, change, interval_of_change, number

COLUMNS = ("dataset", "model", "first", "n_first", "second", "n_second", "difference", "low", "high", "note")


@dataclass(frozen=True)
class Side:
    """One of the two sets: its name and its scored runs."""

    name: str
    results: tuple[Result, ...]

    def runs(self, dataset: str, model: str) -> list[Result]:
        """The labelled runs of a model that have the same conditions as its lowest seed."""
        own = [
            r for r in self.results if (r.job.step, r.job.dataset, r.job.variant) == ("score", dataset, model)
        ]
        groups = apart(sorted((r for r in own if r.labelled), key=lambda r: r.job.seed))
        return groups[0] if groups else []


def cells(first: Side, second: Side, *, protocol: Protocol, resamples: int) -> pd.DataFrame:
    """One row per data set and model of both sides, with columns COLUMNS; the difference is second − first.

    If both have the same seeds on the same test frames, the difference is paired and has an interval.
    """
    rows = []
    for dataset in names.DATASETS:
        for model in names.MODELS:
            mine, theirs = first.runs(dataset, model), second.runs(dataset, model)
            if mine and theirs:
                row = {"dataset": dataset, "model": model}
                rows.append(row | _compared(mine, theirs, protocol, resamples))
    return pd.DataFrame(rows, columns=COLUMNS)


def _compared(mine: list[Result], theirs: list[Result], protocol: Protocol, resamples: int) -> dict:
    row = {
        "first": _mean(mine, protocol),
        "n_first": len(mine),
        "second": _mean(theirs, protocol),
        "n_second": len(theirs),
        "note": "",
    }
    pairs = [(a, b) for a in mine for b in theirs if a.job.seed == b.job.seed]
    trouble = next((r.trouble for r in (*mine, *theirs) if r.trouble), "")
    if trouble:
        note = f"no interval: {trouble}"
    elif not pairs:
        note = "no interval: no seed is common to both"
    elif not _same_frames(*pairs[0]):
        note = "no interval: the test frames or their labels differ"
    elif all(a.record == b.record for a, b in pairs):
        return row | {"difference": 0.0, "note": "the same runs"}
    else:
        a, b = (tuple(side) for side in zip(*pairs, strict=True))
        found = interval_of_difference(b, a, protocol, resamples)
        row["difference"] = _mean(b, protocol) - _mean(a, protocol)
        if found:
            return row | {"low": found.low, "high": found.high}
        return row | {"note": "no interval: too few test clips, or a subset"}
    return row | {"difference": row["second"] - row["first"], "note": note}


def _mean(runs, protocol: Protocol) -> float:
    return float(np.mean([r.auc(protocol) for r in runs]))


def _same_frames(a: Result, b: Result) -> bool:
    columns = ["clip", "frame", "label"]
    return a.scores[columns].equals(b.scores[columns])


def what_differs(first: Side, second: Side) -> dict[str, list[str]]:
    """What differs beneath the two sides, in words, under "parameters", "code" and "data"."""
    found: dict[str, dict[str, None]] = {"parameters": {}, "code": {}, "data": {}}
    for dataset in names.DATASETS:
        for model in names.MODELS:
            mine, theirs = first.runs(dataset, model), second.runs(dataset, model)
            for said in differences(mine[0], theirs[0]) if mine and theirs else ():
                kind = "parameters"
                if "module " in said or "notebooks/" in said:
                    kind = "code"
                if said.startswith(("the prepared data", "subset is")):
                    kind = "data"
                found[kind][said] = None
    return {kind: list(lines) for kind, lines in found.items()}


def face(table: pd.DataFrame, first: Side, second: Side) -> Face:
    """The comparison as a table for people."""
    head = ["Model", first.name, "n", second.name, "n", "Change", "95 % interval of the change", "Note"]
    found = Face(head, corner="Data set")
    for row in table.itertuples():
        texts = [names.MODELS[row.model].row, number(row.first), str(row.n_first)]
        texts += [number(row.second), str(row.n_second), change(row.difference)]
        texts += [interval_of_change(row.low, row.high), row.note]
        found.add(texts, block=names.DATASETS[row.dataset])
    return found


@dataclass(frozen=True)
class Curves:
    """One clip as both sides score it.

    `labels` (n,) bool; `scores`, two arrays (n,) normalised by the protocol; `aucs` within the clip, None if
    all its frames have the same label.
    """

    dataset: str
    model: str
    clip: str
    labels: np.ndarray
    scores: tuple[np.ndarray, np.ndarray]
    aucs: tuple[float | None, float | None]


def curves(first: Side, second: Side, table: pd.DataFrame, protocol: Protocol) -> Curves | None:
    """The clip of median AUC (the first side's) for the last model in the table that both scored on the same
    frames.

    For an even number of clips, the lower median. None if there is no such clip.
    """
    for row in table[::-1].itertuples():
        a, b = (side.runs(row.dataset, row.model)[0] for side in (first, second))
        if a.trouble or b.trouble or not _same_frames(a, b):
            continue
        mixed = {name: auc for name, auc in a.record["metrics"]["by_clip"].items() if auc is not None}
        if not mixed:
            continue
        clip = sorted(mixed, key=lambda name: (mixed[name], name))[(len(mixed) - 1) // 2]
        frames = (a.scores["clip"] == clip).to_numpy()
        shown = [
            protocols.protocol_scores(r.terms_for(protocol), r.clips, protocol, r.train_stats)[frames]
            for r in (a, b)
        ]
        aucs = tuple(r.record["metrics"]["by_clip"].get(clip) for r in (a, b))
        labels = a.labels[frames].astype(bool)
        return Curves(row.dataset, row.model, clip, labels, (shown[0], shown[1]), aucs)
    return None
