"""The clip player of the page: what a model sees, frame by frame, with the curves of Eq. 7, 8 and 9 below.

Its files are written beside `index.html`, so that the page works from a disk without a server:

    browser/browser.js             the player itself, a copy of the template
    browser/<data set>.js          clips, labels and the stored scores of every model; a script, because a
                                   page opened from a disk cannot read other files
    browser/<data set>/<clip>/*    sheets of frames: input, reconstructions, error maps

Scores are stored as float64, so that the page computes Eq. 9 and the AUC from the same numbers as the record.
Pictures are reduced for the screen (at most WIDTH pixels wide, lossy WebP), and nothing is computed from
them. On the generated set every clip has pictures; on other sets those at the median and the quartiles of the
AUC (of the length, if nothing is labelled), unless all are asked for. Pictures that are up to date are kept.
"""

from __future__ import annotations

import base64
import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np

from lib import paths
from lib.datasets import prepared
from lib.errors import DataError, ResultError
from lib.evidence import figure_data, names, tables
from lib.evidence.scored_runs import Result
from lib.figures import style
from lib.pipeline import records
from lib.pipeline.steps import MODELS, Job
from lib.report import notebook_pages

FORMAT = 1  # of the sheets; another number makes them again
WIDTH = 240  # pixels of a frame on a sheet, at most
COLUMNS, ROWS = 10, 10  # frames of a full sheet
QUALITY = 80  # of WebP
CHOSEN = 3  # clips with pictures of other data sets
WHOLE = ("synthetic",)  # data sets of which every clip has pictures
OPEN = ("synthetic",)  # data sets whose frames may be in the repository; others belong to their owners
ERROR_QUANTILE = 0.999  # of the errors of a data set, for the end of the colour scale


def write(
    profile: str, scored, known: dict[Job, dict], old: dict[Job, str], *, kept: bool, all_clips: bool
) -> list[dict]:
    """Write the files of the player. Returns the data sets that it shows, with their scripts and
    descriptions.

    None if nothing was scored. Arguments as in `index_page.write`.
    """
    folder = paths.report(profile) / "browser"
    shown = []
    for dataset in tables.order_of(scored):
        results = [r for r in scored if (r.job.step, r.job.dataset) == ("score", dataset) and not r.trouble]
        if results:
            found = _data_set(folder, dataset, results, known, old, kept=kept, all_clips=all_clips)
            paths.write_text(folder / f"{dataset}.js", _script(found))
            shown.append(
                {"script": f"browser/{dataset}.js", "name": found["title"], "pictures": found["said"]}
            )
    if shown:
        text = (paths.TEMPLATES / "browser.js").read_text(encoding="utf-8")
        paths.write_text(folder / "browser.js", text)
    return shown


def _script(found: dict) -> str:
    return f"addDataSet({json.dumps(found, separators=(',', ':'), ensure_ascii=False)});\n"


# -- scores --------------------------------------------------------------------------------------------------


def _data_set(
    folder: Path, dataset: str, results: list[Result], known, old, *, kept: bool, all_clips: bool
) -> dict:
    """The data of one data set for the player."""
    results = sorted(results, key=lambda r: (list(MODELS).index(r.job.variant), r.job.seed))
    first = results[0].scores
    alike = [r for r in results if r.scores["clip"].equals(first["clip"])]
    columns = _Columns()
    models = [_model(result, columns, old, seeds={r.job.seed for r in alike}) for result in alike]
    labelled = "label" in first
    still = nothing_happens(results[0].record)
    clips, start = [], 0
    for name, own in first.groupby("clip", sort=False):
        clips.append({"name": name, "title": name, "start": start, "length": len(own)})
        if name in still:
            clips[-1] |= {"title": f"{name}, nothing happens ({still[name]})", "nothing_happens": still[name]}
        start += len(own)
    found = {
        "name": dataset,
        "title": names.DATASETS[dataset],
        "subset": results[0].subset,
        "clips": clips,
        "labels": _packed(first["label"].to_numpy(np.uint8)) if labelled else None,
        "models": models,
        "columns": columns.packed,
        "pictures": {},
    }
    return found | _pictures(folder, dataset, alike, known, clips, kept=kept, all_clips=all_clips)


def nothing_happens(record: dict) -> dict[str, str]:
    """The clips in which nothing happens, according to a scored run, with the reasons."""
    return (record.get("notes") or {}).get("nothing_happens") or {}


def _model(result: Result, columns: _Columns, old: dict[Job, str], seeds: set[int]) -> dict:
    """One model and seed: its terms as columns, and recorded values."""
    scores, metrics = result.scores, result.record["metrics"]
    label = names.MODELS[result.job.variant].row
    if result.job.variant in ("app_none", "app_error"):
        label = f"+ F_app ({label.lower()})"
    paper = (metrics.get("protocols") or {}).get("paper") or {}
    return {
        "id": f"{result.job.variant}/seed{result.job.seed}",
        "title": label + (f", seed {result.job.seed}" if len(seeds) > 1 else ""),
        "autoencoder": MODELS[result.job.variant][0],
        "seed": result.job.seed,
        "R": columns.add(scores["R"]),
        "L": columns.add(scores["L"]) if "L" in scores else None,
        "lambda_L": result.record["parameters"]["score.lambda_L"] if "L" in scores else 0,
        "auc": metrics.get("auc"),
        "eer": paper.get("eer"),
        "why_no_auc": result.why_no_auc,
        "run": f"#{notebook_pages.run_id(result.job.name)}",
        "job": result.job.name,
        "old": old.get(result.job, ""),
    }


class _Columns:
    """Columns of numbers, each stored once, because several models share an R."""

    def __init__(self):
        self.packed: list[str] = []

    def add(self, values) -> int:
        packed = _packed(np.asarray(values, "<f8"))
        if packed not in self.packed:
            self.packed.append(packed)
        return self.packed.index(packed)


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


# -- pictures ------------------------------------------------------------------------------------------------


def _pictures(
    folder: Path, dataset: str, results: list[Result], known, clips, *, kept: bool, all_clips: bool
) -> dict:
    """Sheets of frames, and the fields of the data set that describe them."""
    where = folder / dataset
    data = _frames_of(results, known, clips)
    if data is None or (kept and dataset not in OPEN):
        shutil.rmtree(where, ignore_errors=True)
        owned = kept and dataset not in OPEN
        why = "belong to their owners and are not kept here" if owned else "are not available"
        return {"said": f"The frames {why}; only the curves are shown."}
    kinds = {} if data.tracks is None else data.tracks.groupby("clip")["kind"].unique().to_dict()
    for clip in clips:
        if clip["name"] in kinds:
            clip["title"] += f" ({', '.join(kinds[clip['name']]).replace('_', ' ')})"
    ranked = _ranked(results, data)
    every = all_clips or dataset in WHOLE
    chosen = {c["name"] for c in clips} if every else set(figure_data.at_quantiles(ranked, CHOSEN))
    sources = _sources(results)
    scale = _error_scale(sources)
    state = records.digest(
        [FORMAT, data.manifest["key"], {key: records.result_digest(r) for key, (_, r) in sources.items()}]
    )
    pictures = {}
    for clip in data.clips("test"):
        sheets = _sheets_of_clip(
            where / clip.name, clip, data, sources, scale, state, make=clip.name in chosen
        )
        if sheets:
            pictures[clip.name] = {"sheets": sheets, "outlines": _outlines(data, clip)}
    _, height, width, _ = data.frames("test").shape
    tile = _tile(data.frames("test")[0]).shape
    return {
        "first": next(
            name for name in figure_data.at_quantiles(ranked, 1) + list(pictures) if name in pictures
        ),
        "size": {"width": width, "height": height},
        "tile": {"width": tile[1], "height": tile[0], "across": COLUMNS, "per_sheet": COLUMNS * ROWS},
        "error_scale": scale,
        "masks": data.masks is not None,
        "pictures": pictures,
        "said": _said(data, pictures),
    }


def _frames_of(results: list[Result], known, clips) -> prepared.Prepared | None:
    """The prepared data to which the scores belong; None if they no longer exist or have changed."""
    record = known.get(results[0].job.other("prepare"))
    folder = None if record is None else records.prepared_of(record)
    if folder is None:
        return None
    try:
        data = prepared.open_prepared(folder)
    except DataError:
        return None
    there = [(clip.name, clip.length) for clip in data.clips("test")]
    return data if there == [(clip["name"], clip["length"]) for clip in clips] else None


def _sources(results: list[Result]) -> dict[str, tuple[Path, dict]]:
    """The runs whose arrays are shown, by autoencoder and seed: "two_path/seed0" -> folder and record."""
    found = {}
    for result in results:
        job = result.job.other("features", MODELS[result.job.variant][0])
        record = result.beneath.get(job.name)
        if record and job.name not in result.changed and (job.folder / "test_error_maps.npy").exists():
            found[f"{job.variant}/seed{job.seed}"] = (job.folder, record)
    return found


def _ranked(results: list[Result], data) -> list[str]:
    """The names of the clips with an AUC, ordered by that of the ranking model of the figures; if none has
    one, all by length."""
    ranking = next(r for name in figure_data.RANKING for r in results if r.job.variant == name)
    aucs = {n: a for n, a in (ranking.record["metrics"].get("by_clip") or {}).items() if a is not None}
    clips = sorted(data.clips("test"), key=lambda clip: (clip.length, clip.start))
    names = [clip.name for clip in clips]
    known = sorted((name for name in names if name in aucs), key=lambda name: (aucs[name], name))
    return known or names


def _said(data, pictures: dict) -> str:
    """A sentence on which clips have pictures."""
    count = len(data.clips("test"))
    if len(pictures) == count:
        return f"Pictures of all {count} test clips."
    return (
        f"Pictures of {len(pictures)} of {count} test clips ({', '.join(pictures)}): those at the median and "
        "the quartiles of the AUC (of the length, if nothing is labelled). --all-clips makes them for all "
        "clips. Every clip has curves."
    )


def _error_scale(sources) -> float:
    """The error at the end of the colour scale, the same for all autoencoders of a data set, for
    comparison."""
    if not sources:
        return 1.0
    found = []
    for folder, _ in sources.values():
        maps = np.load(folder / "test_error_maps.npy", mmap_mode="r")
        some = np.linspace(0, len(maps) - 1, min(len(maps), 200)).astype(int)
        found.append(
            np.quantile(np.concatenate([np.ravel(maps[i]) for i in some]).astype(np.float32), ERROR_QUANTILE)
        )
    return float(f"{max(found):.2g}") or 1.0


def _sheets_of_clip(
    folder: Path, clip, data, sources, scale: float, state: str, *, make: bool
) -> dict[str, list[str]]:
    """The addresses of a clip's sheets by kind: existing ones if up to date, or new ones if `make`."""
    note = folder / "made.json"
    made = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if made.get("state") != state:
        shutil.rmtree(folder, ignore_errors=True)
        if not make:
            return {}
        folder.mkdir(parents=True)
        made = {"state": state, "sheets": _write_clip(folder, clip, data, sources, scale)}
        paths.write_json(note, made)
    top = f"browser/{folder.parent.name}/{folder.name}"
    return {kind: [f"{top}/{name}" for name in names] for kind, names in made["sheets"].items()}


def _write_clip(folder: Path, clip, data, sources, scale: float) -> dict[str, list[str]]:
    """Write the sheets of one clip; returns their names by kind."""
    rows = slice(clip.start, clip.start + clip.length)
    sheets = {"input": _sheets(folder, "input", data.frames("test")[rows])}
    for key, (run, _) in sources.items():
        stem = key.replace("/", "-")
        maps = np.load(run / "test_error_maps.npy", mmap_mode="r")[rows]
        sheets[f"error/{key}"] = _sheets(folder, f"error-{stem}", maps, colour=lambda e: _coloured(e, scale))
        if (run / "test_reconstructions.npy").exists():
            frames = np.load(run / "test_reconstructions.npy", mmap_mode="r")[rows]
            sheets[f"reconstruction/{key}"] = _sheets(folder, f"reconstruction-{stem}", frames)
    return sheets


def _coloured(error: np.ndarray, scale: float) -> np.ndarray:
    """An error map in the colours of the figures: (H, W) -> (H, W, 3) uint8, RGB."""
    return style.ERROR(np.clip(np.asarray(error, np.float32) / scale, 0, 1), bytes=True)[..., :3]


def _sheets(folder: Path, stem: str, frames: np.ndarray, colour=None) -> list[str]:
    """Frames (n, H, W[, C]) as WebP files of COLUMNS x ROWS frames each, row by row; returns their names."""
    names, whole = [], COLUMNS * ROWS
    for number in range(math.ceil(len(frames) / whole)):
        tiles = [
            _tile(frame if colour is None else colour(frame))
            for frame in frames[number * whole : (number + 1) * whole]
        ]
        height, width, _ = tiles[0].shape
        down = math.ceil(len(tiles) / COLUMNS)
        sheet = np.zeros((down * height, COLUMNS * width, 3), np.uint8)
        for i, tile in enumerate(tiles):
            y, x = i // COLUMNS * height, i % COLUMNS * width
            sheet[y : y + height, x : x + width] = tile
        name = f"{stem}-{number + 1}.webp"
        good, coded = cv2.imencode(".webp", sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
        if not good:
            raise ResultError(f"{folder / name} could not be written: this OpenCV was built without WebP.")
        (folder / name).write_bytes(coded.tobytes())
        names.append(name)
    return names


def _tile(frame: np.ndarray) -> np.ndarray:
    """One frame for a sheet: (H, W[, C]) uint8 -> (h, w, 3)."""
    frame = np.asarray(frame)
    frame = frame if frame.ndim == 3 else frame[..., None]
    frame = np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame
    height, width = frame.shape[:2]
    if width > WIDTH:
        frame = cv2.resize(frame, (WIDTH, round(height * WIDTH / width)), interpolation=cv2.INTER_AREA)
    return frame


def _outlines(data, clip) -> list[list[list[int]]]:
    """The outlines of the labelled regions of each frame, as polygons x, y, x, y... in pixels of the prepared
    frames."""
    if data.masks is None:
        return []
    found = []
    for mask in data.masks[clip.start : clip.start + clip.length]:
        outlines, _ = cv2.findContours(np.asarray(mask, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        found.append([outline.ravel().tolist() for outline in outlines])
    return found
