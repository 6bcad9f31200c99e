"""Getting the benchmarks: download from their owners with resume, progress and checksum, and safe unpacking.

pooch checks a download and moves it into place; the transfer itself is done by `Resuming`, because pooch
starts over after an interruption, and these archives are large. An archive that the user put into the folder
is used as well.

The sha256 sums are those that the anomalib library publishes for the same addresses; for Ped2 and Avenue a
second project lists the same sums and the sizes. Completeness is checked again, frame by frame, when the data
set is prepared (`layouts.compare_with_official`).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pooch
import requests

from lib import paths
from lib.datasets.files import JUNK
from lib.datasets.layouts import OWNERS, find_raw
from lib.errors import DataError

ATTEMPTS = 5  # consecutive attempts without a new byte
PAUSE = 2.0  # seconds before the second attempt; doubled before each one after it
TIMEOUT = (15, 60)  # seconds to connect, and to wait for the next bytes
BLOCK = 1 << 18  # bytes read at a time
REPORT = 0.05  # share of an archive between two lines of progress


@dataclass(frozen=True)
class Archive:
    """A file to fetch, and the folder that must exist after unpacking."""

    url: str
    sha256: str
    folder: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


UCSD = Archive(
    url="http://www.svcl.ucsd.edu/projects/anomaly/UCSD_Anomaly_Dataset.tar.gz",
    sha256="2329af326951f5097fdd114c50e853957d3e569493a49d22fc082a9fd791915b",
    folder="UCSD_Anomaly_Dataset.v1p2",
)
ARCHIVES = {
    "ped1": (UCSD,),
    "ped2": (UCSD,),
    "avenue": (
        Archive(
            url="http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal/Avenue_Dataset.zip",
            sha256="fc9cb8432a11ca79c18aa180c72524011411b69d3b0ff27c8816e41c0de61531",
            folder="Avenue Dataset",
        ),
        Archive(
            url="http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal/ground_truth_demo.zip",
            sha256="60fec1728ec8f73a58aad3aeb5729d70a805a47e0b8eb4bf91ab67ef06386d77",
            folder="ground_truth_demo",
        ),
    ),
    "shanghaitech": (
        Archive(
            url="http://101.32.75.151:8181/dataset/shanghaitech.tar.gz",
            sha256="c13a827043b259ccf8493c9d9130486872992153a9d714fe229e523cd4c94116",
            folder="shanghaitech",
        ),
    ),
}


def fetch(dataset: str, data_root: Path, progress: Callable[[str], None]) -> Path:
    """Download what is missing of a data set into `data_root`, unpack it there, and return the set's folder.

    What is there already, as a folder or as an archive, is not downloaded. Raises DataError, which says what
    to do by hand, if a host does not respond, a checksum is wrong, or an archive is damaged or would write
    outside its folder.
    """
    data_root = Path(data_root)
    if dataset not in ARCHIVES:
        raise DataError(
            f"There is nothing to fetch for '{dataset}'. Data sets that can be fetched: "
            f"{', '.join(ARCHIVES)}."
        )
    data_root.mkdir(parents=True, exist_ok=True)
    for archive in ARCHIVES[dataset]:
        if is_there(dataset, archive, data_root):
            progress(f"{archive.folder}: is there already")
            continue
        path = data_root / archive.name
        if path.is_file():
            progress(f"{archive.name}: is there already")
            if paths.sha256_of(path) != archive.sha256:
                progress(
                    f"{archive.name}: its sha256 is not that of the official archive; it is unpacked all the "
                    "same, and its content is checked when it is prepared"
                )
        else:
            download(dataset, archive, data_root, progress)
        unpack(path, data_root / archive.folder, progress)
        progress(f"{archive.name}: unpacked; the archive itself is no longer needed")
    return find_raw(dataset, data_root)


def is_there(dataset: str, archive: Archive, data_root: Path) -> bool:
    """Whether an archive is unpacked: under its own name or, for a set's first archive, wherever the set is
    found."""
    if (data_root / archive.folder).is_dir():
        return True
    try:
        found = find_raw(dataset, data_root)
    except DataError:
        return False
    return archive == ARCHIVES[dataset][0] or any(
        (place / archive.folder).is_dir() for place in (found, found.parent)
    )


# -- download ------------------------------------------------------------------------------------------------


def download(dataset: str, archive: Archive, data_root: Path, progress: Callable[[str], None]) -> None:
    """Download one archive into `data_root`, resuming an interrupted download, and check its sha256."""
    by_hand = (
        f"By hand: get {archive.name} from {archive.url} or from the owner's page, {OWNERS[dataset]}, put it "
        f"into {data_root}, and run the same command again."
    )
    try:
        pooch.get_logger().setLevel("WARNING")
        progress(f"{archive.name}: fetching from {archive.url}")
        pooch.retrieve(
            archive.url,
            known_hash=f"sha256:{archive.sha256}",
            fname=archive.name,
            path=data_root,
            downloader=Resuming(data_root / f"{archive.name}.part", progress),
        )
    except Refused as error:
        raise DataError(f"{archive.url} is not to be had: {error}. {by_hand}") from error
    except requests.exceptions.RequestException as error:
        part = data_root / f"{archive.name}.part"
        kept = (
            f" What has come, {megabytes(part.stat().st_size)}, is kept: the same command goes on from there."
            if part.exists()
            else ""
        )
        raise DataError(
            f"{archive.url}: the host does not answer, or the transfer broke off {ATTEMPTS} times in a row "
            f"({type(error).__name__}).{kept} {by_hand}"
        ) from error
    except ValueError as error:  # from pooch: another checksum
        raise DataError(
            f"{archive.name} came with a wrong checksum (expected sha256 {archive.sha256}): it was damaged "
            "on its way, or its owner has changed it. It was deleted; run the same command again. If that "
            f"does not help: {by_hand}"
        ) from error
    except OSError as error:
        raise disk_error(error, data_root) from error


class Refused(Exception):
    """The host answered and refused the file."""


class Resuming:
    """A downloader for pooch that continues where an earlier transfer stopped.

    The bytes received are in `part`; `part`.tag has the version of the file on the server to which they
    belong, so that two versions are never joined.
    """

    def __init__(self, part: Path, progress: Callable[[str], None]):
        self.part, self.tag, self.progress = part, part.with_name(part.name + ".tag"), progress
        self.told = -1.0

    def __call__(self, url: str, output_file: str, _pooch) -> None:
        failures = 0
        while True:
            before = self.here()
            try:
                self.transfer(url)
                break
            except requests.exceptions.RequestException:
                failures = 0 if self.here() > before else failures + 1
                if failures == ATTEMPTS:
                    raise
                self.progress(f"{self.part.stem}: interrupted at {megabytes(self.here())}, trying again")
                time.sleep(PAUSE * 2 ** max(failures - 1, 0))
        os.replace(self.part, output_file)
        self.tag.unlink(missing_ok=True)

    def here(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def transfer(self, url: str) -> None:
        """One connection. Returns when the file is complete; raises RequestException if the transfer is
        interrupted."""
        headers = {"Accept-Encoding": "identity"}
        if self.here() and self.tag.exists():
            headers |= {"Range": f"bytes={self.here()}-", "If-Range": self.tag.read_text(encoding="utf-8")}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # no bytes after ours: complete, or another file
                total = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
                if total and int(total[1]) == self.here():
                    return
                self.part.unlink()
                raise requests.exceptions.ConnectionError("what has come does not fit the file on the server")
            if answer.status_code >= 500 or answer.status_code == 429:
                raise requests.exceptions.ConnectionError(
                    f"the host says {answer.status_code} {answer.reason}"
                )
            if answer.status_code not in (200, 206):
                raise Refused(f"the host says {answer.status_code} {answer.reason}")
            start = self.here() if answer.status_code == 206 else 0
            if start and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                self.part.unlink()
                raise requests.exceptions.ConnectionError("the host sent another part than was asked for")
            total = (
                start + int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
            )
            self.check_space(start, total)
            # Only a strong tag may be used for resuming (RFC 9110, 13.1.5).
            tag = answer.headers.get("ETag", "W/")
            tag = answer.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
            if tag:
                self.tag.write_text(tag, encoding="utf-8")
            else:
                self.tag.unlink(missing_ok=True)
            with open(self.part, "ab" if start else "wb") as file:
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    self.tell(file.tell(), total)
            if total is not None and self.here() < total:
                raise requests.exceptions.ConnectionError(f"{total - self.here()} bytes are missing")

    def check_space(self, start: int, total: int | None) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - start > free:
            raise OSError(errno.ENOSPC, f"{megabytes(total - start)} are to come, {megabytes(free)} are free")

    def tell(self, size: int, total: int | None) -> None:
        """Report progress every twentieth of the file, or every 50 MB if its size is not known."""
        share = size / total if total else size / (20 * 50e6)
        if share >= self.told + REPORT or size == total:
            self.told = share
            of = f" of {megabytes(total)} ({share:.0%})" if total else ""
            self.progress(f"{self.part.stem}: {megabytes(size)}{of}")


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def disk_error(error: OSError, folder: Path) -> DataError:
    """An error of the operating system as DataError."""
    if error.errno == errno.ENOSPC:
        return DataError(
            f"The disk of {folder} is too small: {error.strerror}. Make room, or name another folder with "
            "--data-root, and run the same command again."
        )
    return DataError(f"{error.filename or folder} cannot be written: {error.strerror}.")


# -- unpack --------------------------------------------------------------------------------------------------


def unpack(archive: Path, folder: Path, progress: Callable[[str], None]) -> None:
    """Unpack a tar or zip archive; its content becomes `folder` in one step, after everything is unpacked.

    Raises DataError, and leaves nothing behind, if the archive is damaged, encrypted, or has a member that is
    a link or device or that is outside the archive's own folder.
    """
    beside = folder.with_name(f".unpacking-{folder.name}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    progress(f"{archive.name}: unpacking")
    try:
        for name, content in members(archive):
            target = beside.joinpath(*safe_parts(name, archive))
            if any(JUNK.match(part) for part in target.relative_to(beside).parts):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:
                shutil.copyfileobj(content, file, BLOCK)
        tops = list(beside.iterdir())
        if not tops:
            raise DataError(f"{archive} is empty. Delete it, and run the same command again.")
        os.replace(tops[0] if [top.name for top in tops] == [folder.name] else beside, folder)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise DataError(
            f"{archive} is damaged or cannot be unpacked ({error}). Delete it, and run the same command "
            "again."
        ) from error
    except FileExistsError as error:
        raise DataError(
            f"{archive} holds {Path(error.filename).relative_to(beside)} twice. Delete it, and run the "
            "same command again."
        ) from error
    except OSError as error:
        raise disk_error(error, folder.parent) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def members(archive: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Name and content of each regular file. Raises DataError for links, devices and encrypted members."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise refusal(archive, member.filename, "is a link")
                if member.flag_bits & 1:
                    raise refusal(archive, member.filename, "is encrypted")
                safe_parts(member.filename, archive)
                if not member.is_dir():
                    with file.open(member) as content:
                        yield member.filename, content
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive, "r|*") as file:
            for member in file:
                if member.issym() or member.islnk():
                    raise refusal(archive, member.name, f"is a link to {member.linkname}")
                safe_parts(member.name, archive)
                if not member.isfile() and not member.isdir():
                    raise refusal(archive, member.name, "is neither a file nor a folder")
                if member.isfile():
                    yield member.name, file.extractfile(member)
    else:
        raise DataError(
            f"{archive} is neither a tar nor a zip archive; perhaps it is a web page that was saved in its "
            "place. Delete it, and run the same command again."
        )


def safe_parts(name: str, archive: Path) -> tuple[str, ...]:
    """The parts of a member's path. Raises DataError if the path leaves the folder to which it is
    unpacked."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts and name in (".", "./"):
        return ()
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name:
        raise refusal(archive, name, "would be written outside the folder")
    return parts


def refusal(archive: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{archive} is not unpacked, because its member '{name}' {why}. Do not trust this file; get it "
        "again from its owner."
    )
