"""Your own video as a data set: a folder of videos to learn from, one of videos to score, and optional
labels.

Each video is a clip, named after its file without the ending. Labels are a table in one of two forms, with
frames counted from 0:

    clip,first,last      a range of abnormal frames, both ends included; a clip without a row is normal.
                         A fourth column, label, may mark a range as normal (0) or abnormal (1).
    clip,frame,label     every frame of every clip to be scored, with label 0 or 1
"""

from __future__ import annotations

import csv
import re
import unicodedata
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
REMARKS = {"note", "notes", "comment", "comments", "remark"}
FORMS = {"ranges": ("clip", "first", "last"), "frames": ("clip", "frame", "label")}


@dataclass(frozen=True)
class Videos:
    """The folders of your own video, and the smallest number of frames of a clip."""

    train: Path
    score: Path
    labels: Path | None
    least: int

    @property
    def folders(self) -> tuple[Path, Path]:
        return self.train, self.score


def own_videos(*, train_videos: str, score_videos: str, labels: str, T: int) -> Videos:
    """The folders and the table that the parameters name. No clip may be shorter than a window of T frames.

    Raises DataError that says which of them is missing.
    """
    for option, text in (("--train-videos", train_videos), ("--score-videos", score_videos)):
        if not text:
            raise DataError(
                "Data set 'own' needs two folders of videos: --train-videos FOLDER with normal video to "
                f"learn from, and --score-videos FOLDER with video to score. {option} is not given."
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
    """The videos in a folder in natural order. Raises DataError if there are none, or if two would have the
    same clip name."""
    found = video_files(folder)
    if not found:
        below = next((path for path in entries(folder) if path.is_dir()), None)
        hint = (
            f"Videos in folders below it, such as {below.name}, do not count: name that folder, or move "
            "them up."
            if below
            else "Put some there, or name another folder."
        )
        raise DataError(f"{folder} holds no videos (avi, mp4, mkv and what else FFmpeg decodes). {hint}")
    odd = next((path.name for path in found if not paths.is_utf8(path.name)), None)
    if odd:
        raise DataError(f"{folder} holds {ascii(odd)}, whose name is not UTF-8. Rename it.")
    names = [unicodedata.normalize("NFC", path.stem) for path in found]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        both = " and ".join(path.name for path, name in zip(found, names, strict=True) if name == double)
        raise DataError(
            f"{folder} holds {both}; a clip is called by its name without the ending. Rename one of them."
        )
    return found


def state(videos: Videos, digests: Digests) -> list:
    """Plain data that change if a video is added, removed, renamed or changed, or if the labels change."""
    found = [[[path.name, digests.of(path)] for path in videos_in(folder)] for folder in videos.folders]
    found.append(digests.of(videos.labels) if videos.labels else None)
    digests.save()
    return found


def read_videos(
    videos: Videos, memory: dict, progress: Callable[[str], None], digests: Digests | None = None
) -> Raw:
    """Inspect your own video as `layouts.read` inspects a benchmark, with its `memory`, `progress` and
    `digests`.

    Raises DataError, with the file's name, for a video that cannot be decoded, is shorter than a window or
    differs in size from the first one, and for labels that do not fit.
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
                    f"{path} has {clip.length} frames, fewer than a window (T = {videos.least}). Take it out "
                    "of the folder, or ask for shorter windows: --set model.T=8 --set model.tau=2"
                )
            if size is not None and this != size:
                raise DataError(
                    f"{path} is {shape_text(this)}, but {first} is {shape_text(size)}. All videos must be of "
                    "one size, and should be from one camera: convert this one, or take it out of the folder."
                )
            size, first = size or this, first or path
            clips.append(clip)
    same_in_both(clips, look.digests)
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
        passed_over=passed_over(videos),
    )


def same_in_both(clips: list[Source], digests: Digests) -> None:
    """Raise DataError if a video to learn from is, byte for byte, also one to score."""
    learned = {digests.of(clip.video): clip.video for clip in clips if clip.split == "train"}
    for clip in clips:
        if clip.split == "test" and (other := learned.get(digests.of(clip.video))):
            raise DataError(
                f"{other} and {clip.video} are the same video. What a network was trained on says nothing "
                "about it: take it out of one of the folders."
            )


def passed_over(videos: Videos) -> tuple[str, ...]:
    """The files in the folders that are not used, as sentences."""
    found = []
    for folder in videos.folders:
        taken = set(videos_in(folder)) | {videos.labels}
        others = [path.name + "/" * path.is_dir() for path in entries(folder) if path not in taken]
        if others:
            found.append(
                f"{folder.name}/: {listing(others)} {'is' if len(others) == 1 else 'are'} not taken: no "
                "videos"
            )
    return tuple(found)


# -- labels --------------------------------------------------------------------------------------------------


def label(clips: list[Source], path: Path) -> list[Source]:
    """The clips with the labels of a table. Raises DataError that names the line that does not fit.

    A range without a column `label` is abnormal. Overlapping ranges with different labels are an error.
    """
    form, rows = read_table(path)
    flags = {clip.name: np.full(clip.length, -1, np.int8) for clip in clips}
    for line, row in rows:
        here = f"{path}, line {line}:"
        name = named(row["clip"], clips, here)
        first = whole_number(row, FORMS[form][1], here)
        last = whole_number(row, "last", here) if form == "ranges" else first
        value = whole_number(row, "label", here) if "label" in row else 1
        length = len(flags[name])
        if not 0 <= first <= last < length:
            where = f"range {first} to {last}" if form == "ranges" else f"frame {first}"
            raise DataError(
                f"{here} {name} has frames 0 to {length - 1}, so it has no {where}. "
                "Correct the line; frames are counted from 0."
            )
        if value not in (0, 1):
            raise DataError(f"{here} a label is 0 (normal) or 1 (abnormal); {value} is neither.")
        before = flags[name][first : last + 1]
        if form == "frames" and before[0] >= 0:
            raise DataError(f"{here} frame {first} of {name} is labelled twice.")
        if (before == 1 - value).any():
            frame = first + int(np.argmax(before == 1 - value))
            raise DataError(f"{here} frame {frame} of {name} is normal in one line and abnormal in another.")
        flags[name][first : last + 1] = value
    for name, values in flags.items():
        if form == "frames" and (values < 0).any():
            raise DataError(
                f"{path}: frame {int(np.argmax(values < 0))} of {name} has no label. With columns "
                "clip,frame,label every frame of every video to score needs one."
            )
    together = np.concatenate(list(flags.values())) == 1
    if together.all() or not together.any():
        raise DataError(
            f"{path} calls every frame {'abnormal' if together.all() else 'normal'}; an AUC needs frames of "
            "both kinds. Leave --labels away to score without labels."
        )
    return [replace(clip, labels=flags[clip.name] == 1) for clip in clips]


def named(cell: str, clips: list[Source], here: str) -> str:
    """The clip that a cell names: by the name of its file, with or without the ending, with or without
    folders.

    Unicode is normalised, because file systems and spreadsheets differ in composed and decomposed letters.
    """
    wanted = unicodedata.normalize("NFC", cell.replace("\\", "/"))
    found = [clip.name for clip in clips if wanted in ways_to_name(clip)]
    if len(found) > 1:
        raise DataError(
            f"{here} '{cell}' can be {' or '.join(found)}. Write the file's whole name, with its ending."
        )
    if not found:
        raise DataError(
            f"{here} there is no video '{cell}' to score; there are {listing(clip.name for clip in clips)}."
        )
    return found[0]


def ways_to_name(clip: Source) -> set[str]:
    """All names by which a table may refer to a clip."""
    if clip.video is None:
        return {unicodedata.normalize("NFC", clip.name)}
    parts = clip.video.absolute().parts
    files = {"/".join(parts[start:]).replace("//", "/") for start in range(len(parts))}
    ways = {clip.name} | files | {file.removesuffix(clip.video.suffix) for file in files}
    return {unicodedata.normalize("NFC", way) for way in ways}


def whole_number(row: dict, column: str, here: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", row[column]):
        raise DataError(f"{here} {column} must be a whole number; '{row[column][:40]}' is none.")
    return int(row[column])


def read_table(path: Path) -> tuple[str, list[tuple[int, dict]]]:
    """The form of a table of labels, and its rows with their line numbers. Separators: commas, semicolons or
    tabs.

    It is read strictly and line by line, so that an unclosed quote cannot swallow the following lines.
    Unknown columns are refused, because they could mark a range as normal; columns such as `note` and
    `comment` are ignored.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is not a text file in UTF-8, so it cannot be read as a table of labels."
        ) from None
    lines = re.split(r"\r\n|\r|\n", text)
    separators = [mark for mark in ",;\t" if mark in lines[0]]
    if len(separators) > 1:
        raise DataError(f"{path}, line 1: the columns are separated by different marks. Use commas alone.")
    separator = separators[0] if separators else ","
    columns = [cell.lower() for cell in cells_of(lines[0], separator, f"{path}, line 1:")]
    while columns and not columns[-1]:
        columns.pop()  # empty columns from a spreadsheet
    double = next((column for column in columns if columns.count(column) > 1), None)
    if double is not None:
        raise DataError(f"{path}, line 1: the column '{double}' is there twice.")
    forms = [form for form, wanted in FORMS.items() if set(wanted) <= set(columns)]
    if len(forms) != 1:
        both = "both forms" if forms else "a table of labels has clip,first,last or clip,frame,label"
        raise DataError(
            f"{path} has the columns {', '.join(columns) or '(none)'}; {both} in its first line"
            f"{', of which it may have one' if forms else ''}."
        )
    form = forms[0]
    meant = [*FORMS[form], *(["label"] if form == "ranges" and "label" in columns else [])]
    unknown = [column for column in columns if column not in meant and column not in REMARKS]
    if unknown:
        raise DataError(
            f"{path}, line 1: the kit does not know the column '{unknown[0]}', which may change what the "
            f"lines mean. Take it out, or call it note if it is a remark. Columns: {', '.join(meant)}."
        )
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        here = f"{path}, line {number}:"
        cells = cells_of(line, separator, here)
        if not any(cells):
            continue
        if (
            any(cells[len(columns) :])
            or len(cells) < len(columns)
            and separator in line
            and REMARKS.isdisjoint(columns)
        ):
            raise DataError(f"{here} it has {len(cells)} cells, but there are {len(columns)} columns.")
        row = dict(zip(columns, cells, strict=False))
        rows.append((number, {column: row.get(column, "") for column in meant}))
    return form, rows


def cells_of(line: str, separator: str, here: str) -> list[str]:
    """The cells of one line, without surrounding spaces. Raises DataError for a quote that is not closed."""
    try:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise DataError(
            f"{here} it cannot be read as a line of a table ({error}): a quote is not closed, or a cell is "
            "too long. Correct the line."
        ) from None
    return [cell.strip() for cell in cells]
