"""Fetching, against a local HTTP server that breaks off, lies and refuses."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from local_server import NOISE, PED2, tar, zipped

from lib.datasets import fetch as fetching
from lib.datasets.fetch import fetch, unpack
from lib.errors import DataError


def test_fetch_downloads_checks_and_unpacks(server, tmp_path):
    lines = []
    folder = fetch("ped2", tmp_path / "raw", lines.append)
    assert folder == tmp_path / "raw" / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2"
    assert (folder / "Train" / "Train001" / "001.tif").read_bytes() == NOISE
    assert not list(folder.rglob("._*")) and not list(folder.rglob(".DS_Store"))
    assert any("100%" in line for line in lines)
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [
        "UCSD_Anomaly_Dataset.tar.gz",
        "UCSD_Anomaly_Dataset.v1p2",
    ]
    fetch("ped2", tmp_path / "raw", lines.append)
    assert len(server.requests) == 1  # what is there is not downloaded again


def test_an_interrupted_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.break_after = [100_000, 50_000]
    lines = []
    folder = fetch("ped2", tmp_path, lines.append)
    assert (folder / "Train" / "Train001" / "001.tif").read_bytes() == NOISE
    starts = [request.get("Range") for request in server.requests]
    assert starts[0] is None and len(starts) == 3
    first, second = (int(start[6:-1]) for start in starts[1:])
    assert 0 < first <= 100_000 and first < second <= first + 50_000
    assert sum("interrupted" in line for line in lines) == 2


def test_a_later_command_goes_on_too(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    server.break_after = [100_000, 0]
    with pytest.raises(DataError, match=r"0\.1 MB, is kept"):
        fetch("ped2", tmp_path, print)
    size = (tmp_path / "UCSD_Anomaly_Dataset.tar.gz.part").stat().st_size
    fetch("ped2", tmp_path, print)
    assert server.requests[-1]["Range"] == f"bytes={size}-" and size > 50_000


def test_two_versions_are_never_joined(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    server.break_after = [100_000, 0]
    with pytest.raises(
        DataError, match="broke off 1 times in a row.*is kept: the same command goes on from there"
    ):
        fetch("ped2", tmp_path, print)
    part = tmp_path / "UCSD_Anomaly_Dataset.tar.gz.part"
    assert 0 < part.stat().st_size <= 100_000
    server.tag = '"two"'  # the owner has changed the file meanwhile
    part.write_bytes(b"of another version")
    folder = fetch("ped2", tmp_path, print)
    assert server.requests[-1]["If-Range"] == '"one"'
    assert (folder / "Train" / "Train001" / "001.tif").read_bytes() == NOISE
    assert not part.exists() and not (tmp_path / "UCSD_Anomaly_Dataset.tar.gz.part.tag").exists()


def test_a_complete_part_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "UCSD_Anomaly_Dataset.tar.gz.part").write_bytes(server.content)
    (tmp_path / "UCSD_Anomaly_Dataset.tar.gz.part.tag").write_text(server.tag)
    fetch("ped2", tmp_path, print)
    assert len(server.requests) == 1


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges, server.break_after = False, [100_000]
    folder = fetch("ped2", tmp_path, print)
    assert (folder / "Train" / "Train001" / "001.tif").read_bytes() == NOISE and len(server.requests) == 2


def test_wrong_checksum(server, tmp_path):
    server.content = server.content[:-9] + b"123456789"
    with pytest.raises(
        DataError, match="wrong checksum .* By hand: get UCSD_Anomaly_Dataset.tar.gz from http"
    ):
        fetch("ped2", tmp_path, print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "status, sentence",
    [
        (
            404,
            "is not to be had: the host says 404 Not Found. By hand: .*svcl.ucsd.edu.* run the same command "
            "again",
        ),
        (403, "the host says 403 Forbidden"),
        (503, "the host does not answer, or the transfer broke off 5 times"),
    ],
)
def test_a_host_that_refuses(server, tmp_path, status, sentence):
    server.status = status
    with pytest.raises(DataError, match=sentence):
        fetch("ped2", tmp_path, print)
    assert len(server.requests) == (5 if status == 503 else 1)


def test_a_host_that_is_gone(server, tmp_path, monkeypatch):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="the host does not answer.*By hand"):
        fetch("ped2", tmp_path, print)


def test_an_archive_or_a_folder_put_there_by_hand_is_taken(server, tmp_path):
    lines = []
    (tmp_path / "UCSD_Anomaly_Dataset.tar.gz").write_bytes(tar(PED2, mode="w"))  # packed anew: another sum
    folder = fetch("ped2", tmp_path, lines.append)
    assert (folder / "Test" / "Test001" / "001.tif").read_bytes() == b"frame"
    assert any("sha256 is not that of the official archive" in line for line in lines)
    (tmp_path / "UCSD_Anomaly_Dataset.tar.gz").unlink()
    assert fetch("ped2", tmp_path, lines.append) == folder
    (tmp_path / "mine").mkdir()
    folder.rename(
        tmp_path / "mine" / "ped2"
    )  # the set without its archive's folder, under the community's name
    (tmp_path / "UCSD_Anomaly_Dataset.v1p2").rmdir()
    assert fetch("ped2", tmp_path, lines.append) == tmp_path / "mine" / "ped2"
    assert server.requests == []


def test_a_web_page_in_place_of_an_archive(server, tmp_path):
    (tmp_path / "UCSD_Anomaly_Dataset.tar.gz").write_text("<html>Please log in</html>")
    with pytest.raises(DataError, match="neither a tar nor a zip archive; perhaps it is a web page"):
        fetch("ped2", tmp_path, print)


def test_nothing_to_fetch(tmp_path):
    with pytest.raises(DataError, match="nothing to fetch for 'synthetic'.*ped2"):
        fetch("synthetic", tmp_path, print)


def link(name: str, target: str, kind=tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        info = zipfile.ZipInfo("set/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    return buffer.getvalue()


OUTSIDE = "would be written outside the folder"
EVIL = {
    "tar, parent": (tar({"set/a": b"1", "../evil": b"2"}), OUTSIDE),
    "tar, parent within": (tar({"set/../../evil": b"2"}), OUTSIDE),
    "tar, absolute": (tar({"/evil": b"2"}), OUTSIDE),
    "tar, symbolic link": (tar({"set/l": link("set/l", "../..")}), r"is a link to \.\./\.\."),
    "tar, hard link": (
        tar({"set/l": link("set/l", "/etc/passwd", tarfile.LNKTYPE)}),
        "is a link to /etc/passwd",
    ),
    "tar, device": (tar({"set/d": link("set/d", "", tarfile.CHRTYPE)}), "is neither a file nor a folder"),
    "zip, parent": (zipped({"set/a": b"1", "../evil": b"2"}), OUTSIDE),
    "zip, backslashes": (zipped({"..\\evil": b"2"}), OUTSIDE),
    "zip, absolute": (zipped({"/evil": b"2"}), OUTSIDE),
    "zip, drive": (zipped({"C:\\evil": b"2"}), OUTSIDE),
    "zip, link": (zip_link(), "is a link"),
}


@pytest.mark.parametrize("content, sentence", EVIL.values(), ids=EVIL)
def test_members_that_leave_the_folder_are_refused_and_nothing_is_left(tmp_path, content, sentence):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "archive").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        unpack(raw / "archive", raw / "set", print)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["raw", "raw/archive"]


DAMAGED = {
    "tar, cut": tar(PED2)[:-200_000],
    "zip, cut": zipped(PED2)[:-3000],
    "zip, other bytes": zipped(PED2).replace(NOISE[:9], b"x" * 9),
    "tar, a file twice": tar({"set/a": b"1"}, mode="w")[:1024] + tar({"set/a": b"2"}, mode="w"),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_archive(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(DataError, match="archive is damaged|neither a tar nor a zip|holds set/a twice"):
        unpack(tmp_path / "archive", tmp_path / "set", print)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_an_archive_without_its_own_top_folder_gets_one(tmp_path):
    (tmp_path / "archive").write_bytes(zipped({"training_videos/01.avi": b"1", "__MACOSX/x": b"junk"}))
    unpack(tmp_path / "archive", tmp_path / "Avenue Dataset", print)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "Avenue Dataset",
        "Avenue Dataset/training_videos",
        "Avenue Dataset/training_videos/01.avi",
        "archive",
    ]


def test_a_full_disk_is_told_before_the_transfer(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(
        DataError, match=r"The disk of .* is too small: 0\.3 MB are to come, 0\.0 MB are free\. Make"
    ):
        fetch("ped2", tmp_path, print)
    assert not Path(tmp_path / "UCSD_Anomaly_Dataset.tar.gz.part").exists()
