"""What changes in raw files is noticed by content, at the same size and with the same time stamp; and
cheaply."""

import hashlib
import os
import time

import pytest

from lib.datasets import contents
from lib.datasets.contents import Digests, files_below, state
from lib.errors import DataError

LONG_AGO = 1_700_000_000


@pytest.fixture
def read(monkeypatch) -> list:
    """The names of the files whose content is read from now on."""
    names, take = [], contents.digest
    monkeypatch.setattr(contents, "digest", lambda paths: names.extend(p.name for p in paths) or take(paths))
    return names


def later(monkeypatch, seconds: float) -> None:
    """The clock of the machine goes on."""
    now = time.time_ns()
    monkeypatch.setattr(contents.time, "time_ns", lambda: now + int(seconds * 1e9))


def test_a_file_is_read_once_until_it_changes(tmp_path, read, monkeypatch):
    path, kept = tmp_path / "01.npy", tmp_path / "kept" / contents.NAME
    path.write_bytes(b"0011")
    later(monkeypatch, 10)
    digests = Digests(kept)
    first = digests.of(path)
    digests.save()
    assert Digests(kept).of(path) == first and read == ["01.npy"]
    path.write_bytes(b"1100")  # as long as before
    os.utime(path, (LONG_AGO, LONG_AGO))
    other = Digests(kept).of(path)
    assert other != first and len(read) == 2
    path.write_bytes(b"0011")
    os.utime(path, (LONG_AGO, LONG_AGO))  # and with the same time stamp as before
    assert Digests(kept).of(path) == first


def test_a_file_that_has_just_changed_is_read_again(tmp_path, read):
    """On a disk with coarse time stamps a second change within their grain leaves the times as they are."""
    path, kept = tmp_path / "01.npy", tmp_path / contents.NAME
    path.write_bytes(b"0011")
    for _ in range(2):
        digests = Digests(kept)
        digests.of(path)
        digests.save()
    assert read == ["01.npy", "01.npy"]


def test_what_was_copied_or_touched_is_the_same_set(tmp_path):
    for top in ("a", "b"):
        (tmp_path / top / "clip").mkdir(parents=True)
        (tmp_path / top / "clip" / "001.tif").write_bytes(b"frame")
    os.utime(tmp_path / "b" / "clip" / "001.tif", (LONG_AGO, LONG_AGO))
    first = state([tmp_path / "a"], [], Digests())
    assert state([tmp_path / "b"], [], Digests()) == first
    (tmp_path / "b" / "clip" / "001.tif").rename(tmp_path / "b" / "clip" / "002.tif")
    assert state([tmp_path / "b"], [], Digests()) != first


def test_a_labels_file_beside_the_folder_counts(tmp_path):
    (tmp_path / "ped2").mkdir()
    (tmp_path / "ped2.mat").write_bytes(b"1")
    first = state([tmp_path / "ped2"], [tmp_path / "ped2.mat"], Digests())
    (tmp_path / "ped2.mat").write_bytes(b"2")
    assert state([tmp_path / "ped2"], [tmp_path / "ped2.mat"], Digests()) != first


def test_junk_and_circles_are_passed_over(tmp_path):
    (tmp_path / "clip" / "@eaDir").mkdir(parents=True)
    (tmp_path / "clip" / "@eaDir" / "001.tif").write_bytes(b"thumbnail")
    (tmp_path / "clip" / ".DS_Store").write_bytes(b"")
    (tmp_path / "clip" / "001.tif").write_bytes(b"frame")
    (tmp_path / "clip" / "back").symlink_to(tmp_path)
    assert files_below(tmp_path) == [tmp_path / "clip" / "001.tif"]


def test_a_kept_file_that_is_cut_off_or_cannot_be_written_does_no_harm(tmp_path):
    path, kept = tmp_path / "01.npy", tmp_path / contents.NAME
    path.write_bytes(b"0011")
    os.utime(path, (LONG_AGO, LONG_AGO))
    kept.write_text('{"a": [1, 2')
    whole = Digests(kept).of(path)
    assert whole == hashlib.sha256(b"0011").hexdigest()
    no_folder = Digests(path / "below a file" / contents.NAME)
    no_folder.known, no_folder.new = {str(path): [0, 0, 0, ""]}, True
    no_folder.save()
    assert no_folder.of(path) == whole


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(DataError, match="gone.npy cannot be read: No such file"):
        Digests().of(tmp_path / "gone.npy")
    (tmp_path / "dead.npy").symlink_to(tmp_path / "gone.npy")
    assert state([tmp_path], [], Digests()) == [["0/dead.npy", "cannot be read"]]
