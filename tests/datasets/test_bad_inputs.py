"""Bad inputs as people make them, and the one sentence that each gets: tables of labels, label files, folders
of video."""

import os
import unicodedata

import numpy as np
import pytest
import scipy.io
from made_videos import SIZE, save_video

from lib.datasets import layouts, own_video
from lib.datasets.decoding import mask_volume, read_mat
from lib.datasets.files import Source
from lib.datasets.own_video import own_videos, read_videos
from lib.errors import DataError

# -- tables of labels: right ---------------------------------------------------------------------------------


def clips(*names: str, length: int = 60) -> list[Source]:
    """Clips that lie in one folder; a name has its ending."""
    found = []
    for name in names:
        video = layouts.Path("/videos/new") / name
        found.append(Source(name=video.stem, split="test", length=length, video=video))
    return found


def abnormal(tmp_path, text: str | bytes, *names: str) -> dict[str, list[int]]:
    """What a table makes of clips: the abnormal frames of each."""
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    labelled = own_video.label(clips(*(names or ("a.mp4", "b.mp4"))), path)
    return {clip.name: np.flatnonzero(clip.labels).tolist() for clip in labelled}


FIVE = {"a": [5, 6], "b": []}
RIGHT = {
    "a label column, 0 is normal": "clip,first,last,label\na,0,4,0\na,5,6,1\na,7,59,0\nb,20,30,0\n",
    "the label column first": "label,last,first,clip\n0,4,0,a\n1,6,5,a\n",
    "a note with a comma": 'clip,first,last,note\na,5,6,"falls, gets up"\n',
    "a note that is left out": "clip,first,last,note\na,5,6\n",
    "CR line ends": "clip,first,last\ra,5,6\r",
    "CRLF line ends": "clip,first,last\r\na,5,6\r\n",
    "tabs": "clip\tfirst\tlast\na\t5\t6\n",
    "empty columns of a spreadsheet": "clip,first,last,,\na,5,6,,\n,,,,\n",
    "the file's name": "clip,first,last\na.mp4,5,6\n",
    "its folder": "clip,first,last\nnew/a.mp4,5,6\n",
    "its folder, as Windows writes it": "clip,first,last\nnew\\a.mp4,5,6\n",
    "its whole path": "clip,first,last\n/videos/new/a.mp4,5,6\n",
    "the same range twice": "clip,first,last\na,5,6\na,6,6\n",
    "a plus": "clip,first,last\na,+5,6\n",
}


@pytest.mark.parametrize("kind", RIGHT)
def test_a_table_that_is_read_as_it_was_meant(tmp_path, kind):
    assert abnormal(tmp_path, RIGHT[kind]) == FIVE


def test_letters_are_the_same_composed_and_decomposed(tmp_path):
    decomposed = unicodedata.normalize("NFD", "tür")
    assert abnormal(tmp_path, "clip,first,last\ntür,5,6\n", f"{decomposed}.mp4", "b.mp4")[decomposed] == [
        5,
        6,
    ]
    assert abnormal(tmp_path, f"clip,first,last\n{decomposed},5,6\n", "tür.mp4", "b.mp4")["tür"] == [5, 6]


# -- tables of labels: a sentence with file and line ---------------------------------------------------------

OPEN = 'clip,first,last,note\na,5,10,"person falls\na,40,50,bike\nb,20,30,cart\n'
TABLES = {
    "a quote that is never closed": (
        OPEN,
        "line 2: it cannot be read as a line of a table .* a quote is not closed",
    ),
    "a quote closed lines later": (OPEN.replace("bike", 'bike"'), "line 2: it cannot be read as a line"),
    "letters after a quote": ('clip,first,last,note\na,5,6,"b"ike\n', "line 2: it cannot be read as a line"),
    "a huge cell": ("clip,first,last,note\na,5,10," + "x" * 200_000, "line 2: .* or a cell is too long"),
    "an unknown column": (
        "clip,first,last,normal\na,5,6,1\n",
        "line 1: the kit does not know the column 'normal', which may change what the lines mean",
    ),
    "a column twice": ("clip,first,last,first\na,5,6,7\n", "line 1: the column 'first' is there twice"),
    "both forms": (
        "clip,first,last,frame,label\na,5,6,7,1\n",
        "both forms in its first line, of which it may have one",
    ),
    "no header": (
        "a,5,6\n",
        "has the columns a, 5, 6; a table of labels has clip,first,last or clip,frame,label",
    ),
    "empty": ("", r"has the columns \(none\)"),
    "two marks": ("clip;first,last\na;5,6\n", "line 1: the columns are separated by different marks"),
    "a folder that is another": (
        "clip,first,last\nmon/a.mp4,5,10\ntue/a.mp4,20,30\n",
        "line 2: there is no video 'mon/a.mp4' to score; there are a, b",
    ),
    "another ending": ("clip,first,last\na.avi,5,10\n", "line 2: there is no video 'a.avi' to score"),
    "a name with a dot": ("clip,first,last\na.2,5,10\n", "line 2: there is no video 'a.2' to score"),
    "another case": ("clip,first,last\nA,5,10\n", "line 2: there is no video 'A' to score"),
    "no name": ("clip,first,last\n,5,10\n", "line 2: there is no video '' to score"),
    "too few cells": ("clip,first,last\na,5\n", "line 2: it has 2 cells, but there are 3 columns"),
    "too many cells": ("clip,first,last\na,5,6,7\n", "line 2: it has 4 cells, but there are 3 columns"),
    "words for numbers": (
        "clip,first,last\na,five,6\n",
        "line 2: first must be a whole number; 'five' is none",
    ),
    "fractions": ("clip,first,last\na,5.0,6\n", "line 2: first must be a whole number; '5.0' is none"),
    "grouped digits": ("clip,first,last\na,5,1_0\n", "line 2: last must be a whole number; '1_0' is none"),
    "digits of another script": ("clip,first,last\na,٥,6\n", "line 2: first must be a whole number"),
    "a date of a spreadsheet": ("clip,first,last\na,05.06.2024,6\n", "line 2: first must be a whole number"),
    "a label in words": (
        "clip,first,last,label\na,5,6,yes\n",
        "line 2: label must be a whole number; 'yes' is none",
    ),
    "another label": (
        "clip,first,last,label\na,5,6,2\n",
        "line 2: a label is 0 .normal. or 1 .abnormal.; 2 is neither",
    ),
    "no label": ("clip,first,last,label\na,5,6,\n", "line 2: label must be a whole number; '' is none"),
    "both normal and abnormal": (
        "clip,first,last,label\na,5,10,1\na,8,20,0\n",
        "line 3: frame 8 of a is normal in one line and abnormal in another",
    ),
    "backwards": ("clip,first,last\na,6,5\n", "line 2: a has frames 0 to 59, so it has no range 6 to 5"),
    "before the start": (
        "clip,first,last\na,-1,5\n",
        "line 2: a has frames 0 to 59, so it has no range -1 to 5",
    ),
    "after the end": (
        "clip,first,last\n\na,5,60\n",
        "line 3: a has frames 0 to 59, so it has no range 5 to 60",
    ),
    "a frame twice": ("clip,frame,label\na,0,1\na,0,1\n", "line 3: frame 0 of a is labelled twice"),
    "frames without a label": ("clip,frame,label\na,0,1\n", "frame 1 of a has no label"),
    "all normal": ("clip,first,last\n", "calls every frame normal; an AUC needs frames of both kinds"),
    "all abnormal": ("clip,first,last\na,0,59\nb,0,59\n", "calls every frame abnormal"),
    "UTF-16": ("clip,first,last\na,5,6\n".encode("utf-16"), "is not a text file in UTF-8"),
    "Latin-1": ("clip,first,last,note\na,5,6,tür\n".encode("latin-1"), "is not a text file in UTF-8"),
    "a spreadsheet's own format": (b"PK\x03\x04\xff\xfe" + bytes(40), "is not a text file in UTF-8"),
    "a byte of zero": (b"clip,first,last\na,5\x00,6\n", "line 2: "),
    "a web page": ("<html>\n<body>not found</body>", "has the columns <html>"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_that_does_not_fit(tmp_path, kind):
    text, sentence = TABLES[kind]
    with pytest.raises(DataError, match=rf"labels\.csv.*{sentence}") as caught:
        abnormal(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_name_that_can_be_two_clips(tmp_path):
    with pytest.raises(DataError, match="line 2: 'a.mp4' can be a or a.mp4. Write the file's whole name"):
        abnormal(tmp_path, "clip,first,last\na.mp4,5,6\n", "a.mp4", "a.mp4.avi")


# -- label files of benchmarks -------------------------------------------------------------------------------

ARRAYS = {
    "scores": (np.linspace(0, 0.9, 60), "holds other values than 0 and 1, such as 0.015"),
    "nan": (np.full(60, np.nan), "holds other values than 0 and 1, such as nan"),
    "255": (np.full(60, 255, np.uint8), "holds other values than 0 and 1, such as 255"),
    "minus one": (np.full(60, -1), "holds other values than 0 and 1, such as -1"),
    "text": (np.full(60, "1"), "holds other values than 0 and 1. These are not the labels"),
    "masks": (
        np.zeros((60, 4, 4), np.uint8),
        r"is of shape \(60, 4, 4\); labels are one 0 or 1 for each frame",
    ),
    "too few": (np.zeros(59), "labels 59 frames, but"),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("flat", [True, False], ids=["one file", "a file a clip"])
def test_arrays_that_are_no_labels(tmp_path, kind, flat):
    array, sentence = ARRAYS[kind]
    np.save(tmp_path / "01.npy", array)
    test = [Source(name="01", split="test", length=60)]
    with pytest.raises(DataError, match=sentence):
        layouts.label_by_flat_array(test, tmp_path / "01.npy") if flat else layouts.label_by_arrays(
            test, tmp_path
        )


@pytest.mark.parametrize("shape", [(60,), (1, 60), (60, 1)])
@pytest.mark.parametrize("kind", [bool, np.uint8, np.float64])
def test_arrays_that_are_labels(tmp_path, shape, kind):
    expected = np.arange(60) % 7 == 0
    np.save(tmp_path / "01.npy", expected.reshape(shape).astype(kind))
    test = [Source(name="01", split="test", length=60)]
    assert np.array_equal(layouts.label_by_flat_array(test, tmp_path / "01.npy")[0].labels, expected)


def save_gt(path, *entries) -> None:
    cells = np.empty((1, len(entries)), object)
    for index, entry in enumerate(entries):
        cells[0, index] = np.array(entry)
    scipy.io.savemat(path, {"gt": cells})


RANGES = {
    "transposed, two ranges": (
        [[3, 10], [20, 30]],
        "from frame 3 to 20 and from 10 to 30, which overlap or go backwards",
    ),
    "transposed, three ranges": (
        [[3, 10], [20, 30], [40, 50]],
        r"labels of shape \(3, 2\), expected \(2, ranges\)",
    ),
    "nan": ([[np.nan, 4.0], [5.0, 6.0]], "labels that are no whole numbers"),
    "fractions": ([[1.5, 4.0], [2.5, 6.0]], "labels that are no whole numbers"),
    "out of order": ([[20, 3], [30, 10]], "overlap or go backwards"),
}


@pytest.mark.parametrize("kind", RANGES)
def test_ranges_that_cannot_be(tmp_path, kind):
    entry, sentence = RANGES[kind]
    save_gt(tmp_path / "ped2.mat", [[1], [2]], entry)
    with pytest.raises(DataError, match=f"ped2.mat: clip 2 .*{sentence}"):
        layouts.read_gt_mat(tmp_path / "ped2.mat")
    save_gt(tmp_path / "ped2.mat", [[3, 20], [10, 30]], [3, 10])
    assert layouts.read_gt_mat(tmp_path / "ped2.mat") == [[(3, 10), (20, 30)], [(3, 10)]]


def test_two_clips_do_not_take_one_entry(tmp_path):
    test = [Source(name=name, split="test", length=60) for name in ("1", "01")]
    with pytest.raises(
        DataError, match="Test clips 1 and 01 both have number 1, so both would take entry 1 of .*p.mat"
    ):
        layouts.label_by_ranges(test, [[(1, 2)]], tmp_path / "p.mat")


def test_a_mat_file_of_version_7_3(tmp_path):
    path = tmp_path / "ped2.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(400))
    with pytest.raises(
        DataError, match=r"ped2.mat is a MATLAB file of version 7.3.*save\('ped2.mat', 'gt', '-v7'\)"
    ):
        read_mat(path, "gt")


def test_masks_that_are_no_numbers(tmp_path):
    np.save(tmp_path / "m.npy", np.full((2, 4, 4), np.nan))
    with pytest.raises(DataError, match="m.npy holds masks with values that are no numbers"):
        list(mask_volume(tmp_path / "m.npy"))


def test_entries_of_an_m_file_out_of_order(tmp_path):
    (tmp_path / "p.m").write_text("TestVideoFile{2}.gt_frame = [1:2];\nTestVideoFile{1}.gt_frame = [5:6];\n")
    with pytest.raises(DataError, match="p.m: entry 1 calls itself 2. The entries must be in order"):
        layouts.read_m_file(tmp_path / "p.m")


# -- folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    save_video(tmp_path / "normal" / "n.avi", 0, 5)
    save_video(tmp_path / "new" / "a.avi", 40, 6)
    return tmp_path


def look(folders):
    given = own_videos(
        train_videos=str(folders / "normal"), score_videos=str(folders / "new"), labels="", T=4
    )
    return read_videos(given, {}, lambda line: None)


def test_the_same_video_in_both_folders(folders):
    (folders / "new" / "copy.avi").write_bytes((folders / "normal" / "n.avi").read_bytes())
    with pytest.raises(DataError, match=r"normal/n\.avi and .*new/copy\.avi are the same video"):
        look(folders)


def test_two_names_that_differ_in_how_a_letter_is_written(folders):
    for form in ("NFC", "NFD"):
        save_video(folders / "new" / unicodedata.normalize(form, "tür.avi"), 60, 5)
    with pytest.raises(
        DataError, match="a clip is called by its name without the ending. Rename one of them"
    ):
        look(folders)


def test_what_is_passed_over_is_named(folders):
    (folders / "new" / "notes.txt").write_text("no video")
    (folders / "new" / "@eaDir").mkdir()
    (folders / "new" / "tuesday").mkdir()
    found = look(folders)
    assert found.passed_over == ("new/: notes.txt, tuesday/ are not taken: no videos",) and found.size == SIZE


@pytest.mark.parametrize("ending", ["mp4v", "MKV", "wmv", "ts", "3gp", "flv", "mts"])
def test_endings_of_video_are_known(folders, ending):
    content = (folders / "new" / "a.avi").read_bytes()
    (folders / "new" / f"z.{ending}").write_bytes(content)
    assert ("z" in [clip.name for clip in look(folders).clips]) == (ending != "mp4v")


def test_a_name_that_is_not_utf_8(folders):
    os.rename(folders / "new" / "a.avi", os.fsencode(folders / "new") + b"/\xff.avi")
    with pytest.raises(DataError, match="whose name is not UTF-8. Rename it"):
        look(folders)


def test_two_copies_of_a_data_set(tmp_path):
    for place in ("UCSDped2", "copy/UCSDped2"):
        (tmp_path / place / "Train" / "Train001").mkdir(parents=True)
        (tmp_path / place / "Test").mkdir()
    with pytest.raises(
        DataError, match="ped2 is there more than once: .*UCSDped2, .*copy/UCSDped2. Take all but one away"
    ):
        layouts.find_raw("ped2", tmp_path)
