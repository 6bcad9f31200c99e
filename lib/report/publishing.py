"""A report as a folder for any web server: `./run_all.sh --publish FOLDER`.

It has the page, its tables, figures and clip player, and each executed notebook as a page, so that everything
can be read without an installation. Weights and arrays are left out, and links to them become text.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from lib import paths
from lib.errors import ConfigError, CurateError
from lib.report import clip_player, index_page

KINDS = (".html", ".js", ".webp", ".svg", ".png", ".pdf", ".csv", ".md", ".tex", ".json")
LEFT_OUT = ("by_hand", ".state")  # folders of a report that are not published
MARK = ".nojekyll"  # tells GitHub Pages to serve files unchanged; marks folders that we published


def publish(profile: str, folder: Path) -> list[Path]:
    """Write the report of a profile into a folder; returns the files there.

    Raises CurateError if there is no report or if it shows frames that belong to their owners, and
    ConfigError if the folder has other content or is inside the report.
    """
    known = index_page.all_records(profile)
    if not known:
        raise CurateError(f"Nothing was run at profile {profile}: ./run_all.sh --profile {profile}")
    owned = sorted({job.dataset for job in known} - {"all", *clip_player.OPEN})
    if owned:
        raise CurateError(
            f"The report of profile {profile} shows frames of {', '.join(owned)}, which belong to their "
            "owners. Only a report on the generated set can be published."
        )
    within = folder.resolve().is_relative_to(paths.report(profile).resolve())
    if within or folder.exists() and not _ours_or_empty(folder):
        raise ConfigError(f"{paths.shown(folder)} has other content. Name a new folder, or an empty one.")
    page = index_page.write(profile)
    written = []
    for source in sorted(page.parent.rglob("*")):
        name = source.relative_to(page.parent)
        if source.suffix in KINDS and not _left_out(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
            written.append(folder / name)
    (folder / MARK).touch()
    text = page.read_text(encoding="utf-8")
    paths.write_text(folder / page.name, _without_links_to_nothing(text, folder))
    return written


def _ours_or_empty(folder: Path) -> bool:
    """Whether a folder may be written into: it was published before, or is empty."""
    return folder.is_dir() and ((folder / MARK).exists() or not any(folder.iterdir()))


def _left_out(name: Path) -> bool:
    """Whether a file of a report is not published: it is hidden, or belongs to a run by hand or a replaced
    run."""
    return name.parts[0] in LEFT_OUT or any(
        part.startswith(".") or part.endswith(".previous") for part in name.parts
    )


def _without_links_to_nothing(page: str, folder: Path) -> str:
    """A page in which links to files that are not in its folder are plain text."""

    def link_or_text(found: re.Match) -> str:
        return found[0] if (folder / found[1]).exists() else found[2]

    return re.sub(r'<a href="([^"#:]+)">(.*?)</a>', link_or_text, page, flags=re.S)
