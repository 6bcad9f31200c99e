"""The content of a raw data set's files, known from stored sha256 sums without reading the files again.

A file's sha256 is computed once and stored with the file's size and times; while these are unchanged, the
file is not read again. So a label file that was corrected in place is noticed even if its size is the same,
and a data set that was only copied or touched counts as unchanged.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from lib import paths
from lib.datasets.files import JUNK, digest
from lib.errors import DataError

NAME = "digests.json"  # beside the prepared sets
COARSE = 2_000_000_000  # nanoseconds; the coarsest time stamps in use, those of FAT, have steps of 2 s


class Digests:
    """The sha256 of files, stored between calls in one JSON file, or not stored if that is None.

    An entry is valid while size, modification time and status time are unchanged. No entry is stored for a
    file that had changed within two seconds before it was read: another change could have the same time
    stamp.
    """

    def __init__(self, kept_in: Path | None = None):
        self.kept_in, self.known, self.new = kept_in, {}, False
        if kept_in is not None:
            with contextlib.suppress(OSError, ValueError):  # missing or truncated: the files are read again
                self.known = json.loads(kept_in.read_text(encoding="utf-8"))

    def of(self, path: Path) -> str:
        """The sha256 of a file's content. Raises DataError if it cannot be read."""
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        seen = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        name = os.path.abspath(path)
        entry = self.known.get(name)
        if entry is None or entry[:3] != seen:
            begun = time.time_ns()
            entry = [*seen, digest([path])[1]]
            if max(seen[1:]) < begun - COARSE:
                self.known[name] = entry
                self.new = True
        return entry[3]

    def save(self) -> None:
        """Write new entries. If that is not possible, the files are read again next time."""
        if self.kept_in is None or not self.new:
            return
        kept = {name: entry for name, entry in self.known.items() if os.path.exists(name)}
        with contextlib.suppress(OSError):
            paths.write_text(self.kept_in, json.dumps(kept))
        self.new = False


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted, following links, without the files that operating systems leave
    there."""
    found, seen = [], set()
    for at, folders, names in os.walk(folder, followlinks=True):
        here = os.path.realpath(at)
        if here in seen:  # a link to a folder already visited
            folders.clear()
            continue
        seen.add(here)
        folders[:] = [name for name in folders if not JUNK.match(name)]
        found += [Path(at) / name for name in names if not JUNK.match(name)]
    return sorted(found)


def state(folders: list[Path], files: list[Path], digests: Digests) -> list[list[str]]:
    """Plain data that change when a file below the folders, or one of `files`, is added, removed, renamed or
    changed."""
    found = [
        [f"{number}/{path.relative_to(folder)}", _digest_or_reason(path, digests)]
        for number, folder in enumerate(folders)
        for path in files_below(folder)
    ]
    found += [[path.name, _digest_or_reason(path, digests)] for path in files]
    digests.save()
    return found


def _digest_or_reason(path: Path, digests: Digests) -> str:
    try:
        return digests.of(path)
    except DataError:
        return "cannot be read"  # reported by the reader if the file is needed
