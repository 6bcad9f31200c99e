"""Executed notebooks as self-contained HTML pages beside them: pictures are embedded, equations drawn.

Equations are typeset by matplotlib's TeX parser and embedded as outlines in the colour of the text, so that
they need no network. What that parser does not support stays as TeX.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from lib import paths
from lib.pipeline.steps import STEPS, Job

SIZE = 10  # units per em of an equation
# variants that are linked, among runs that share a notebook
FIRST = ("two_path", "app_intensity", "app_intensity_mot", "fig5")
SAME = {
    r"\lVert": r"\Vert",
    r"\rVert": r"\Vert",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\bigl": "",
    r"\bigr": "",
    r"\operatorname": r"\mathrm",
    r"\text": r"\mathrm",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
}


def templates() -> jinja2.Environment:
    """The templates of the kit's pages."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def commit_of(record: dict) -> str:
    """The commit of a run, shortened, with a + if the tree had other changes."""
    git = record.get("git") or {}
    return f"{git['commit'][:7]}{'+' if git.get('dirty') else ''}" if git.get("commit") else "none"


def run_id(name: str) -> str:
    """The anchor of a run on the page of its profile."""
    return "run-" + re.sub(r"[^\w]+", "-", name)


def write_all(profile: str, known: dict[Job, dict]) -> dict[Job, Path]:
    """Convert executed notebooks to pages if they are newer than these; returns the page of each run with
    one.

    Links to other notebooks lead to their pages, if they have one.
    """
    found, exporter = {}, None
    for job, record in known.items():
        notebook = job.folder / f"{STEPS[job.step].notebook}.ipynb"
        page = notebook.with_suffix(".html")
        if not notebook.exists():
            continue
        if not page.exists() or page.stat().st_mtime < notebook.stat().st_mtime:
            if exporter is None:
                # takes two seconds, and is needed only if a notebook has changed
                from nbconvert import HTMLExporter

                exporter = HTMLExporter(template_name="basic")
            paths.write_text(page, _page(exporter, profile, job, record, notebook))
        found[job] = page
    for job, page in found.items():
        text = page.read_text(encoding="utf-8")
        linked = with_links(text, job, found)
        if linked != text:
            paths.write_text(page, linked)
    return found


def with_links(text: str, job: Job, pages: dict[Job, Path]) -> str:
    """The page of a job, with links to notebooks leading to their pages, preferably of the same data set.

    A link without a page is kept without an address, until a later call has the page.
    """

    def link(found: re.Match) -> str:
        name = found[1] or found[2]
        there = [other for other in pages if STEPS[other.step].notebook == name]
        if not there:
            return f'<a data-notebook="{name}">'
        other = min(there, key=lambda o: (o.dataset != job.dataset, o.variant not in FIRST, o.name))
        address = os.path.relpath(pages[other], pages[job].parent)
        return f'<a data-notebook="{name}" href="{address}">'

    return re.sub(r'<a (?:data-notebook="(\d\d_\w+)"|href="(\d\d_\w+)\.ipynb")[^>]*>', link, text)


def _page(exporter, profile: str, job: Job, record: dict, notebook: Path) -> str:
    from pygments.formatters import HtmlFormatter

    body, _ = exporter.from_filename(str(notebook))
    light, dark = (
        HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("xcode", "github-dark")
    )
    dark = f"@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
    highlighting = f"{light}\n{dark}\n.highlight {{ background: none !important; }}"
    home = os.path.relpath(paths.report(profile) / "index.html", notebook.parent)
    return (
        templates()
        .get_template("notebook.html")
        .render(
            title=job.name,
            highlighting=Markup(highlighting),
            body=Markup(with_equations(body)),
            profile=f"profile {profile}",
            run=job.name,
            status=record["status"],
            commit=commit_of(record),
            home=home,
        )
    )


# -- equations -----------------------------------------------------------------------------------------------


def with_equations(page: str) -> str:
    """A page with $...$ and $$...$$ drawn, except in code, in output and inside tags."""
    whole = "|".join(rf"<{tag}.*?</{tag}>" for tag in ("pre", "code", "style", "script", "svg"))
    kept = re.split(rf"({whole}|<[^>]*>)", page, flags=re.S)
    text = "".join(part if i % 2 == 0 else f"\0{i}\0" for i, part in enumerate(kept))
    text = re.sub(r"\$\$([^\0$]+?)\$\$", lambda m: _drawn(m[1], block=True) or m[0], text)
    text = re.sub(r"\$([^\0$\n]+?)\$", lambda m: _drawn(m[1], block=False) or m[0], text)
    return re.sub(r"\0(\d+)\0", lambda m: kept[int(m[1])], text)


def _drawn(escaped: str, *, block: bool) -> str | None:
    """An equation as an SVG outline; None if it cannot be parsed."""
    from matplotlib.textpath import TextPath

    tex = " ".join(html.unescape(escaped).split())
    source = re.sub(r"\\tag\{(.+?)\}", r"\\qquad\\mathrm{(\1)}", tex)
    for name, same in (SAME | ({r"\frac": r"\dfrac"} if block else {})).items():
        source = re.sub(re.escape(name) + r"(?![A-Za-z])", lambda _: same, source)
    try:
        path = TextPath((0, 0), f"${source}$", size=SIZE, prop={"math_fontfamily": "cm"})
    except (ValueError, RuntimeError):
        return None
    if not len(path.vertices):
        return None
    outline = _outline(path)
    (x0, y0), (x1, y1) = path.vertices.min(axis=0) - 0.3, path.vertices.max(axis=0) + 0.3
    box = f"{x0:.2f} {-y1:.2f} {x1 - x0:.2f} {y1 - y0:.2f}"
    # Sizes in em, shifted so that the equation's baseline is that of the text.
    scale = 1.15 / SIZE
    look = (
        f"width:{(x1 - x0) * scale:.3f}em;height:{(y1 - y0) * scale:.3f}em;vertical-align:{y0 * scale:.3f}em"
    )
    svg = (
        f'<svg class="equation" role="img" viewBox="{box}" style="{look}"><title>{html.escape(tex)}</title>'
        f'<path d="{outline}" fill="currentColor" transform="scale(1,-1)"/></svg>'
    )
    return f'<span class="display">{svg}</span>' if block else svg


def _outline(path) -> str:
    """A matplotlib path as an SVG path."""
    words, at = [], 0
    names = {1: ("M", 1), 2: ("L", 1), 3: ("Q", 2), 4: ("C", 3), 79: ("Z", 1)}
    codes = path.codes
    while at < len(codes):
        name, count = names[int(codes[at])]
        points = [] if name == "Z" else np.asarray(path.vertices[at : at + count]).ravel()
        words.append(name + " ".join(f"{value:.2f}" for value in points))
        at += count
    return "".join(words)
