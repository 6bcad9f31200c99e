"""Your own video as a data set: a folder of videos to learn from, one of videos to score, and labels if there are any.

Each video is a clip and is called by its file's name without the ending. Labels are a table in one of two forms, frames
counted from 0:

    clip,first,last      a range of abnormal frames, both ends included; a clip without a row is normal
    clip,frame,label     every frame of every clip to be scored, label 0 or 1
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib import paths
from lib.datasets.contents import Digests
from lib.datasets.decoding import read_frames
from lib.datasets.files import AGAIN, Source, entries, listing, read_bytes, video_files
from lib.datasets.layouts import Looker, Raw, shape_text
from lib.errors import DataError

MEND = "Copy it again from where it came from, convert it, or take it out of the folder."
FORMS = {"ranges": ("clip", "first", "last"), "frames": ("clip", "frame", "label")}


@dataclass(frozen=True)
class Videos:
    """Where your own video lies, and how many frames a clip must have at least."""

    train: Path
    score: Path
    labels: Path | None
    least: int

    @property
    def folders(self) -> tuple[Path, Path]:
        return self.train, self.score


def own_videos(*, train_videos: str, score_videos: str, labels: str, T: int) -> Videos:
    """The folders and the table that the parameters name. T frames are a window, so no clip may be shorter.

    Raises DataError that says which of them is missing.
    """
    for option, text in (("--train-videos", train_videos), ("--score-videos", score_videos)):
        if not text:
            raise DataError(
                f"Data set 'own' needs two folders of videos: --train-videos FOLDER with normal video to learn "
                f"from, and --score-videos FOLDER with video to score. {option} is not given."
            )
        if not paths.given(text).is_dir():
            raise DataError(
                f"{option} {text}: this is a file; name the folder it lies in."
                if paths.given(text).is_file()
                else f"{option} {text}: there is no such folder."
            )
    if labels and not paths.given(labels).is_file():
        raise DataError(f"--labels {labels}: there is no such file. Without labels, leave the option away.")
    videos = Videos(
        paths.given(train_videos), paths.given(score_videos), paths.given(labels) if labels else None, T
    )
    if videos.train.resolve() == videos.score.resolve():
        raise DataError(
            f"{train_videos} is both the folder to learn from and the folder to score. What a network was "
            "trained on says nothing about it: keep some video for scoring."
        )
    return videos


def videos_in(folder: Path) -> tuple[Path, ...]:
    """The videos in a folder in natural order. DataError if there are none, or two that would have one name."""
    found = video_files(folder)
    if not found:
        below = next((path for path in entries(folder) if path.is_dir()), None)
        hint = (
            f"Videos in folders below it, such as {below.name}, do not count: name that folder, or move them up."
            if below
            else "Put some there, or name another folder."
        )
        raise DataError(f"{folder} holds no videos (avi, mp4, mkv and what else FFmpeg decodes). {hint}")
    odd = next((path.name for path in found if not paths.is_utf8(path.name)), None)
    if odd:
        raise DataError(f"{folder} holds {ascii(odd)}, whose name is not UTF-8. Rename it.")
    names = [path.stem for path in found]
    double = next((path for path in found if names.count(path.stem) > 1), None)
    if double:
        both = " and ".join(path.name for path in found if path.stem == double.stem)
        raise DataError(
            f"{folder} holds {both}; a clip is called by its name without the ending. Rename one of them."
        )
    return found


def state(videos: Videos, digests: Digests) -> list:
    """Plain data that change when a video is added, removed, renamed or changed, or when the labels change."""
    found = [[[path.name, digests.of(path)] for path in videos_in(folder)] for folder in videos.folders]
    found.append(digests.of(videos.labels) if videos.labels else None)
    digests.save()
    return found


def read_videos(
    videos: Videos, memory: dict, progress: Callable[[str], None], digests: Digests | None = None
) -> Raw:
    """Looks at your own video as `layouts.read` looks at a benchmark; `memory`, `progress` and `digests` as there.

    Raises DataError, with the file's name, for a video that cannot be decoded, that is shorter than a window or of
    another size than the first one, and for labels that do not fit.
    """
    look, clips, size, first = Looker(memory, progress, digests), [], None, None
    for split, folder in zip(("train", "test"), videos.folders):
        for path in videos_in(folder):
            try:
                clip = Source(name=path.stem, split=split, length=look.frames(path), video=path)
                this = next(read_frames(clip)).shape[:2]
            except DataError as problem:
                raise DataError(str(problem).replace(AGAIN, MEND)) from problem
            if clip.length < videos.least:
                raise DataError(
                    f"{path} has {clip.length} frames, fewer than a window (T = {videos.least}). Take it out of "
                    "the folder, or ask for shorter windows: --set model.T=8 --set model.tau=2"
                )
            if size is not None and this != size:
                raise DataError(
                    f"{path} is {shape_text(this)}, but {first} is {shape_text(size)}. All videos must be of one "
                    "size, and should be from one camera: convert this one, or take it out of the folder."
                )
            size, first = size or this, first or path
            clips.append(clip)
    if videos.labels:
        test = label([clip for clip in clips if clip.split == "test"], videos.labels)
        clips = [clip for clip in clips if clip.split == "train"] + test
    return Raw(
        dataset="own",
        folder=videos.score,
        layout="own video",
        clips=tuple(clips),
        size=size,
        label_files=(videos.labels,) if videos.labels else (),
    )


# -- labels ------------------------------------------------------------------------------------------------------


def label(clips: list[Source], path: Path) -> list[Source]:
    """The clips with the labels of a table. Raises DataError that names the line that does not fit."""
    form, rows = read_table(path)
    flags = {clip.name: np.full(clip.length, -1 if form == "frames" else 0, np.int8) for clip in clips}
    for line, row in rows:
        name = row["clip"] if row["clip"] in flags else Path(row["clip"]).stem
        if name not in flags:
            raise DataError(
                f"{path}, line {line}: there is no video '{row['clip']}' to score; there are {listing(flags)}."
            )
        try:
            first, second = (int(row[column]) for column in FORMS[form][1:])
        except ValueError:
            raise DataError(
                f"{path}, line {line}: {' and '.join(FORMS[form][1:])} must be whole numbers."
            ) from None
        last, value = (second, 1) if form == "ranges" else (first, second)
        length = len(flags[name])
        if not 0 <= first <= last < length:
            where = f"range {first} to {last}" if form == "ranges" else f"frame {first}"
            raise DataError(
                f"{path}, line {line}: {name} has frames 0 to {length - 1}, so it has no {where}. "
                "Correct the line; frames are counted from 0."
            )
        if value not in (0, 1):
            raise DataError(
                f"{path}, line {line}: a label is 0 (normal) or 1 (abnormal); {value} is neither."
            )
        if form == "frames" and flags[name][first] >= 0:
            raise DataError(f"{path}, line {line}: frame {first} of {name} is labelled twice.")
        flags[name][first : last + 1] = value
    for name, values in flags.items():
        if (values < 0).any():
            raise DataError(
                f"{path}: frame {int(np.argmax(values < 0))} of {name} has no label. With columns "
                "clip,frame,label every frame of every video to score needs one."
            )
    together = np.concatenate(list(flags.values()))
    if together.all() or not together.any():
        raise DataError(
            f"{path} calls every frame {'abnormal' if together.all() else 'normal'}; an AUC needs frames of both "
            "kinds. Leave --labels away to score without labels."
        )
    return [replace(clip, labels=flags[clip.name].astype(bool)) for clip in clips]


def read_table(path: Path) -> tuple[str, list[tuple[int, dict]]]:
    """Which form a table of labels has, and its rows with the number of their line. Commas or semicolons."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is not a text file in UTF-8, so it cannot be read as a table of labels."
        ) from None
    head = text.split("\n", 1)[0]
    reader = csv.reader(
        io.StringIO(text), delimiter=";" if ";" in head and "," not in head else ",", skipinitialspace=True
    )
    columns = [column.strip().lower() for column in next(reader, [])]
    form = next((form for form, wanted in FORMS.items() if set(wanted) <= set(columns)), None)
    if form is None:
        raise DataError(
            f"{path} has the columns {', '.join(columns) or '(none)'}; a table of labels has clip,first,last or "
            "clip,frame,label in its first line."
        )
    rows = []
    for cells in reader:
        if any(cell.strip() for cell in cells):
            row = dict(zip(columns, (cell.strip() for cell in cells)))
            rows.append((reader.line_num, {column: row.get(column, "") for column in FORMS[form]}))
    return form, rows
