"""Your own video: folders of tiny videos, right and broken, and the sentence that each mistake gets."""

import os
from pathlib import Path

import numpy as np
import pytest
from made_videos import SIZE, frame, save_video

from lib.datasets import own_video
from lib.datasets.contents import Digests
from lib.datasets.own_video import own_videos, read_videos, state
from lib.datasets.preparation import prepare
from lib.datasets.prepared import Clip
from lib.errors import DataError

T = 4


TRAIN, SCORE = {"b 10.avi": (0, 5), "b 2.avi": (20, 4)}, {"cam.avi": (40, 6), "tür.avi": (60, 5)}


@pytest.fixture
def folders(tmp_path) -> Path:
    for folder, content in (("normal", TRAIN), ("new", SCORE)):
        for name, (level, length) in content.items():
            save_video(tmp_path / folder / name, level, length)
    (tmp_path / "normal" / "._b 2.avi").write_bytes(b"junk")
    (tmp_path / "new" / "notes.txt").write_text("not a video")
    return tmp_path


def own(root: Path, labels: str | None = None, least: int = T) -> own_video.Videos:
    return own_videos(
        train_videos=str(root / "normal"),
        score_videos=str(root / "new"),
        labels=str(root / labels) if labels else "",
        T=least,
    )


def prepared(root: Path, labels: str | None = None, lines=None):
    return prepare(
        dataset="own",
        raw=own(root, labels),
        out=root / "prepared",
        height=SIZE[0],
        width=SIZE[1],
        channels=1,
        avenue_labels="masks",
        subset=False,
        workers=2,
        progress=(lines if lines is not None else []).append,
    )


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return path.name


# -- right ---------------------------------------------------------------------------------------------------


def test_two_folders_without_labels(folders):
    before = sorted(
        (path, path.stat().st_mtime_ns, path.stat().st_size)
        for path in folders.rglob("*.*")
        if path.parent.name in ("normal", "new")
    )
    data = prepared(folders)
    assert data.clips("train") == (Clip("b 2", "train", 0, 4), Clip("b 10", "train", 4, 5))  # natural order
    assert data.clips("test") == (Clip("cam", "test", 0, 6), Clip("tür", "test", 6, 5))
    assert (
        data.labels is None and data.masks is None and not data.subset and data.manifest["official"] is None
    )
    expected = [
        frame(level, index)
        for level, length in (SCORE["cam.avi"], SCORE["tür.avi"])
        for index in range(length)
    ]
    assert (
        np.abs(data.frames("test")[..., 0].astype(int) - np.array(expected)).mean() < 1.5
    )  # videos are JPEGs
    after = sorted(
        (path, path.stat().st_mtime_ns, path.stat().st_size)
        for path in folders.rglob("*.*")
        if path.parent.name in ("normal", "new")
    )
    assert after == before


@pytest.mark.parametrize(
    "table",
    [
        "clip,first,last\ncam,2,3\ncam,5,5\n",
        "clip, first, last\ncam.avi, 2, 3\n\ncam.avi, 5, 5\n",  # with the ending, spaces, an empty line
        "\ufefffirst;Last;clip\r\n2;3;cam\r\n5;5;cam\r\n",  # as a spreadsheet saves it
        "clip,frame,label\n"
        + "".join(
            f"{name},{i},{int(name == 'cam' and i in (2, 3, 5))}\n"
            for name, n in (("tür", 5), ("cam", 6))
            for i in range(n)
        ),
    ],
)
def test_labels_in_each_form(folders, table):
    labels = prepared(folders, write(folders / "labels.csv", table)).labels
    assert labels.tolist() == [False, False, True, True, False, True] + 5 * [False]


def test_what_changes_is_noticed(folders):
    """State decides whether preparing runs again, and preparing itself looks at the same contents."""
    first, labels = (
        state(own(folders), Digests()),
        write(folders / "labels.csv", "clip,first,last\ncam,2,3\n"),
    )
    prepared(folders)
    lines = []
    prepared(folders, lines=lines)
    assert "own: prepared already" in lines
    (folders / "new" / "notes.txt").write_text("other notes")
    assert state(own(folders), Digests()) == first
    with_labels = state(own(folders, labels), Digests())
    assert with_labels != first
    write(folders / "labels.csv", "clip,first,last\ncam,2,4\n")  # of the same size
    assert state(own(folders, labels), Digests()) != with_labels
    save_video(folders / "new" / "more.avi", 80, 7)
    assert state(own(folders), Digests()) != first
    assert [clip.name for clip in prepared(folders).clips("test")] == ["cam", "more", "tür"]


def test_looking_twice_decodes_once(folders):
    memory, lines = {}, []
    read_videos(own(folders), memory, lines.append)
    assert (
        len(lines) == 4 and read_videos(own(folders), memory, lines.append).size == SIZE and len(lines) == 4
    )


# -- wrong, and the sentence for it --------------------------------------------------------------------------


def empty(root):
    for path in (root / "new").glob("*.avi"):
        path.unlink()


def only_below(root):
    (root / "new" / "monday").mkdir()
    for path in (root / "new").glob("*.avi"):
        path.rename(root / "new" / "monday" / path.name)


def no_video(root):
    (root / "new" / "cam.avi").write_text("<html>not found</html>")


def cut_off_mp4(root):
    (root / "new" / "cam.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(4000))
    (root / "new" / "cam.avi").unlink()


def nothing_in_it(root):
    save_video(root / "new" / "cam.avi", 0, 0)


def too_short(root):
    save_video(root / "normal" / "b 2.avi", 0, 3)


def other_size(root):
    save_video(root / "new" / "tür.avi", 0, 5, (48, 64))


def same_name(root):
    (root / "new" / "cam.mkv").write_bytes((root / "new" / "cam.avi").read_bytes())


def broken_link(root):
    (root / "new" / "z.avi").symlink_to(root / "gone.avi")


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (empty, r"new holds no videos \(avi, .*\)\. Put some there, or name another folder\.$"),
        (
            only_below,
            "holds no videos .* Videos in folders below it, such as monday, do not count: name that folder",
        ),
        (no_video, r"cam\.avi cannot be opened as a video: .* convert it, or take it out of the folder\.$"),
        (cut_off_mp4, r"cam\.mp4 cannot be opened as a video: "),
        (
            nothing_in_it,
            r"cam\.avi (cannot be opened as a video|opens as a video, but not one frame).* convert it",
        ),
        (too_short, r"b 2\.avi has 3 frames, fewer than a window \(T = 4\)\. Take it out of the folder"),
        (
            other_size,
            r"tür\.avi is 48x64 pixels \(height x width\), but .*b 2\.avi is 32x48 pixels .*of one size",
        ),
        (
            same_name,
            r"holds cam\.avi and cam\.mkv; a clip is called by its name without the ending\. "
            r"Rename one of them\.",
        ),
        (broken_link, r"z\.avi is a symbolic link to .*gone\.avi, which does not exist"),
    ],
)
def test_a_broken_folder(folders, spoil, sentence, capfd):
    spoil(folders)
    with pytest.raises(DataError, match=sentence) as caught:
        prepared(folders)
    assert capfd.readouterr().err == ""  # of what ffmpeg has to say as well
    assert "archive" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "table, sentence",
    [
        ("clip,first,last\ncat,2,3\n", "line 2: there is no video 'cat' to score; there are cam, tür"),
        ("clip,first,last\nb 2,2,3\n", "there is no video 'b 2' to score"),  # a training clip
        (
            "clip,first,last\ncam,2,6\n",
            "line 2: cam has frames 0 to 5, so it has no range 2 to 6. Correct the line; frames are counted "
            "from 0",
        ),
        ("clip,first,last\ncam,3,2\n", "cam has frames 0 to 5, so it has no range 3 to 2"),
        ("clip,first,last\ncam,-1,2\n", "it has no range -1 to 2"),
        ("clip,first,last\ncam,two,3\n", "line 2: first must be a whole number; 'two' is none"),
        ("clip,first,last\ncam,2\n", "line 2: it has 2 cells, but there are 3 columns"),
        ("clip,frame,label\ncam,0,2\n", r"line 2: a label is 0 \(normal\) or 1 \(abnormal\); 2 is neither"),
        ("clip,frame,label\ncam,0,1\ncam,0,1\n", "line 3: frame 0 of cam is labelled twice"),
        ("clip,frame,label\ncam,6,1\n", "cam has frames 0 to 5, so it has no frame 6"),
        ("clip,frame,label\ncam,0,1\n", "frame 1 of cam has no label"),
        ("clip,first,last\n", "calls every frame normal; an AUC needs frames of both kinds"),
        ("clip,first,last\ncam,0,5\ntür,0,4\n", "calls every frame abnormal"),
        ("cam,2,3\n", "has the columns cam, 2, 3; a table of labels has clip,first,last or clip,frame,label"),
        ("", r"has the columns \(none\)"),
    ],
)
def test_labels_that_do_not_fit(folders, table, sentence):
    with pytest.raises(DataError, match=sentence):
        prepared(folders, write(folders / "labels.csv", table))


def test_labels_that_are_no_text(folders):
    (folders / "labels.csv").write_bytes(b"\xff\xfe\x00c")
    with pytest.raises(DataError, match="labels.csv is not a text file in UTF-8"):
        prepared(folders, "labels.csv")


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"train_videos": ""}, "--train-videos FOLDER with normal video .* --train-videos is not given"),
        ({"score_videos": ""}, "--score-videos is not given"),
        ({"score_videos": "nowhere"}, "--score-videos nowhere: there is no such folder"),
        ({"train_videos": "{root}/new/cam.avi"}, "cam.avi: this is a file; name the folder it lies in"),
        (
            {"labels": "nowhere.csv"},
            "--labels nowhere.csv: there is no such file. Without labels, leave the option away",
        ),
        (
            {"score_videos": "{root}/new/../normal"},
            "is both the folder to learn from and the folder to score",
        ),
    ],
)
def test_what_is_named_wrongly(folders, change, sentence):
    given = {"train_videos": f"{folders}/normal", "score_videos": f"{folders}/new", "labels": "", "T": T}
    with pytest.raises(DataError, match=sentence):
        own_videos(**given | {name: text.format(root=folders) for name, text in change.items()})


def test_nothing_is_prepared_inside_the_folders(folders):
    for folder in ("normal", "new"):
        with pytest.raises(DataError, match="which is never written to"):
            prepare(
                dataset="own",
                raw=own(folders),
                out=folders / folder / "out",
                height=32,
                width=48,
                channels=1,
                avenue_labels="masks",
                subset=False,
                workers=1,
                progress=print,
            )
        assert not (folders / folder / "out").exists()


def test_home_and_the_checkout_stand_for_themselves(folders, monkeypatch):
    """A path that is recorded names no user, and is found again."""
    from lib import paths

    monkeypatch.setenv("HOME", str(folders))
    assert paths.shown(folders / "new") == "~/new" and paths.given("~/new") == folders / "new"
    assert paths.shown(paths.ROOT / "data" / "x") == os.path.join("data", "x")
    assert paths.given(os.path.join("data", "x")) == paths.ROOT / "data" / "x"
    assert own_videos(train_videos="~/normal", score_videos="~/new", labels="", T=T) == own(folders)
