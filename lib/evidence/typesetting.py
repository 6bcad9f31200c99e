"""Tables for people: Markdown, LaTeX, HTML, notebook tables, and a few sentences, all from a table's cells.

A table is first converted to a `Face`: text in rows and columns, with what is known about each cell; LaTeX,
HTML and notebook tables are made from it with pandas' Styler. The paper's numbers are in italics everywhere,
ours upright. Numbers are rounded here only, to three digits.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from lib import paths
from lib.evidence import names
from lib.evidence.tables import Table, mark

DASH, NOT_RUN = "–", "not run"
SUPERSCRIPTS = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖqʳˢᵗᵘᵛʷˣʸᶻ")
ITALICS = "Italics: the paper's numbers. Upright: measured by this kit."
REGIONS = (
    "Where in the frame: area under the share of labelled regions (RBDC) and tracks (TBDC) that error maps "
    "find, up to one false region per frame. The paper has no such numbers; no interval is given."
)
GROUPS = {
    "non-reconstruction": "Non-reconstruction",
    "reconstruction": "Reconstruction",
    "this kit": "Measured by this kit",
}


@dataclass
class Face:
    """Text in rows and columns, and what the output formats need to know about it.

    blocks    the block to which each row belongs, shown instead of a first column; empty if there are none
    corner    heading of the column of blocks
    paper     (row, column) of the paper's numbers
    marks     (row, column) -> letters of footnotes
    parts     (row, column) -> [(value, its interval or "")], the parts that make the text of a cell
    runs      (row, column) -> for each part of a cell, the names of its runs
    """

    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    corner: str = ""
    paper: set[tuple[int, int]] = field(default_factory=set)
    marks: dict[tuple[int, int], str] = field(default_factory=dict)
    parts: dict[tuple[int, int], list[tuple[str, str]]] = field(default_factory=dict)
    runs: dict[tuple[int, int], list[list[str]]] = field(default_factory=dict)

    def add(self, texts: list[str | list[tuple[str, str]]], block: str | None = None) -> int:
        """Add a row, in which a cell may be given by its parts; returns its index."""
        i = len(self.rows)
        row = []
        for j, given in enumerate(texts):
            if isinstance(given, str):
                row.append(given)
            else:
                self.parts[i, j] = given
                row.append("; ".join(f"{value} [{span}]" if span else value for value, span in given))
        self.rows.append(row)
        if block is not None:
            self.blocks.append(block)
        return i


# -- numbers as text -----------------------------------------------------------------------------------------


def number(value) -> str:
    """0.973, or a dash for NaN."""
    return DASH if pd.isna(value) else f"{value:.3f}".replace("-", "−")


def change(value) -> str:
    """+0.009"""
    return DASH if pd.isna(value) else f"{value:+.3f}".replace("-", "−")


def interval(low, high) -> str:
    """0.903 to 0.981"""
    return DASH if pd.isna(low) else f"{number(low)} to {number(high)}"


def interval_of_change(low, high) -> str:
    """−0.020 to +0.031, contains 0"""
    if pd.isna(low):
        return DASH
    contains = ", contains 0" if low <= 0 <= high else ""
    return f"{change(low)} to {change(high)}{contains}"


def measured(cell) -> str:
    """0.973 ± 0.004, or the reason why there is no number."""
    if cell.status:
        return cell.status
    spread = "" if pd.isna(cell.sd) else f" ± {cell.sd:.3f}"
    return f"{number(cell.auc)}{spread}{' (subset)' if cell.subset else ''}"


def row_name(cell) -> str:
    """The name of a row, with its seeds if seeds were run under different conditions."""
    return f"{cell.row} ({cell.separate})" if cell.separate else cell.row


# -- faces ---------------------------------------------------------------------------------------------------


def face(table: Table) -> Face:
    """The table without its reference scorers."""
    return _comparison(table) if table.name == "table2" else _ablation(table)


def _ablation(table: Table) -> Face:
    found = Face(
        [
            "Additional information" if table.name == "table4" else "Model",
            "Paper",
            "This kit",
            "n",
            "95 % interval",
            "Change",
            "95 % interval of the change",
            "Paper's change",
        ],
        corner="Data set",
    )
    for cell in table.cells[table.cells["group"] == "this kit"].itertuples():
        changes = ["", "", ""]
        if cell.against:
            changes = [
                change(cell.difference),
                interval_of_change(cell.difference_low, cell.difference_high),
                change(cell.paper_difference),
            ]
        texts = [
            row_name(cell),
            number(cell.paper),
            measured(cell),
            DASH if pd.isna(cell.n) else f"{cell.n:.0f}",
            interval(cell.low, cell.high),
            *changes,
        ]
        i = found.add(texts, block=names.DATASETS[cell.dataset])
        found.paper |= {(i, 1), (i, 7)}
        found.runs |= {(i, 2): _runs([cell]), (i, 5): _runs([cell])}
        if cell.marks:
            found.marks[i, 2] = cell.marks
    return found


def _comparison(table: Table) -> Face:
    cells = table.cells[table.cells["group"] != "reference scorer"]
    shown = [d for d in names.DATASETS if d in set(cells["dataset"])]
    found = Face(["Method", *(names.DATASETS[d] for d in shown), "Source"])
    sources = cells["cited"].replace("", "this kit")
    for (group, method, cited), own in cells.groupby(["group", "row", sources], sort=False):
        i, texts = len(found.rows), []
        for j, dataset in enumerate(shown, start=1):
            here = list(own[own["dataset"] == dataset].itertuples())
            if group == "this kit":
                texts.append([_result(cell) for cell in here] or NOT_RUN)
                found.runs[i, j] = _runs(here)
            else:
                texts.append(number(here[0].paper) if here else DASH)
                found.paper.add((i, j))
            marks = _marks_of(here)
            if marks:
                found.marks[i, j if group == "this kit" else 0] = marks
        found.add([method, *texts, cited], block=GROUPS[group])
    return found


def _result(cell) -> tuple[str, str]:
    """A measured number with its seeds, and its interval."""
    if cell.status:
        return cell.status, ""
    seeds = f" ({cell.separate})" if cell.separate else ""
    return f"{measured(cell)}, n = {cell.n:.0f}{seeds}", _interval_or_nothing(cell)


def _runs(cells) -> list[list[str]]:
    """The names of the runs of each cell; empty if it was not run."""
    return [cell.runs.split() if isinstance(cell.runs, str) else [] for cell in cells]


def _interval_or_nothing(cell) -> str:
    return "" if pd.isna(cell.low) else interval(cell.low, cell.high)


def _marks_of(cells) -> str:
    """The footnote letters of some cells, without repetition."""
    return " ".join(dict.fromkeys(letters for cell in cells for letters in cell.marks.split()))


def references_face(table: Table) -> Face | None:
    """The reference scorers, a column per data set; None if none were run."""
    cells = table.cells[table.cells["group"] == "reference scorer"]
    if cells.empty:
        return None
    shown = list(dict.fromkeys(cells["dataset"]))
    found = Face(["Reference scorer", *(names.DATASETS[d] for d in shown)])
    for scorer, own in cells.groupby("row", sort=False):
        i, texts = len(found.rows), []
        for j, dataset in enumerate(shown, start=1):
            here = list(own[own["dataset"] == dataset].itertuples())
            texts.append([(measured(cell), _interval_or_nothing(cell)) for cell in here] or NOT_RUN)
            found.runs[i, j] = _runs(here)
            marks = _marks_of(here)
            if marks:
                found.marks[i, j] = marks
        found.add([scorer, *texts])
    return found


def regions_face(table: Table) -> Face | None:
    """The localisation results; None if no run has labelled pixels."""
    if table.regions is None or table.regions.empty:
        return None
    found = Face(["Error map of", "RBDC", "TBDC", "n"], corner="Data set")
    for row in table.regions.itertuples():
        texts = [
            number(value) + ("" if pd.isna(sd) else f" ± {sd:.3f}")
            for value, sd in ((row.rbdc, row.rbdc_sd), (row.tbdc, row.tbdc_sd))
        ]
        if row.subset:
            texts[0] += " (subset)"
        i = found.add([row_name(row), *texts, str(row.n)], block=names.DATASETS[row.dataset])
        found.runs |= {(i, 1): _runs([row]), (i, 2): _runs([row])}
    return found


# -- writings ------------------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """The table with its notes, reference scorers and provenance, as Markdown."""
    parts = [f"**{table.title}**", markdown_table(face(table))]
    if table.notes:
        parts.append(
            "  \n".join(f"{letters} {text}." for letters, text in zip(_letters(table, True), table.notes))
        )
    scorers = references_face(table)
    if scorers:
        parts += [
            "Reference scorers, by the same protocol, on the same frames. What a method must beat:",
            markdown_table(scorers),
        ]
    places = regions_face(table)
    if places:
        parts += [REGIONS, markdown_table(places)]
    parts.append("  \n".join([ITALICS, *table.under]))
    return "\n\n".join(parts) + "\n"


def markdown_table(found: Face) -> str:
    """A face as a table of Markdown."""
    corner = [found.corner] if found.blocks else []
    lines = ["| " + " | ".join([*corner, *found.head]) + " |"]
    lines.append("|" + " --- |" * len([*corner, *found.head]))
    for i, row in enumerate(found.rows):
        cells = []
        if found.blocks:
            cells.append(found.blocks[i] if _begins_block(found, i) else "")
        for j, text in enumerate(row):
            shown = f"*{text}*" if _is_papers(found, i, j) else text
            cells.append(shown + _superscript(found.marks.get((i, j), "")))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _begins_block(found: Face, i: int) -> bool:
    return i == 0 or found.blocks[i] != found.blocks[i - 1]


def _is_papers(found: Face, i: int, j: int) -> bool:
    """Whether a cell shows a number of the paper's."""
    return (i, j) in found.paper and found.rows[i][j] not in ("", DASH)


def _superscript(marks: str) -> str:
    return " " + " ".join(marks.split()).translate(SUPERSCRIPTS) if marks else ""


def _letters(table: Table, superscript: bool) -> list[str]:
    found = [mark(i) for i in range(len(table.notes))]
    return [m.translate(SUPERSCRIPTS) for m in found] if superscript else found


TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "<": r"$<$",
    ">": r"$>$",
    "λ": r"$\lambda$",
}


def tex(text: str) -> str:
    """Text with all characters escaped that have a meaning in LaTeX."""
    escaped = "".join(TEX.get(letter, letter) for letter in text)
    return escaped.replace("F\\_app", r"$F_{app}$").replace("F\\_mot", r"$F_{mot}$")


def latex(table: Table) -> str:
    """The table as LaTeX (package booktabs), with the same parts."""
    lines = [
        f"% {table.name}, written from records; needs \\usepackage{{booktabs}}",
        r"\begin{table*}",
        r"\centering",
        r"\small",
        rf"\caption{{{tex(table.title.partition('. ')[2])}.}}",
        rf"\label{{tab:{table.name}}}",
        *_tabular(face(table)),
    ]
    scorers = references_face(table)
    if scorers:
        lines += [r"\par\medskip", *_tabular(scorers)]
    places = regions_face(table)
    if places:
        lines += [r"\par\medskip", *_tabular(places)]
    said = [rf"\textsuperscript{{{m}}} {tex(t)}." for m, t in zip(_letters(table, False), table.notes)]
    said += [ITALICS, *map(tex, table.under)]
    lines += [r"\par\medskip\raggedright\footnotesize", *(rf"{line}\par" for line in said), r"\end{table*}"]
    return "\n".join(lines) + "\n"


def styler(found: Face, write: Callable[[Face, int, int], str], escape: Callable[[str], str]) -> Styler:
    """A face as pandas' Styler. `write` gives the text of a cell, `escape` that of headings."""
    cells = [[write(found, i, j) for j in range(len(row))] for i, row in enumerate(found.rows)]
    frame = pd.DataFrame(cells, columns=[escape(name) for name in found.head])
    if not found.blocks:
        return Styler(frame, uuid="", cell_ids=False).hide(axis="index")
    # pandas needs unique names
    numbers = [len(set(found.blocks[: i + 1])) for i in range(len(found.rows))]
    blocks = [escape(name) for name in found.blocks]
    frame.index = pd.MultiIndex.from_arrays([blocks, numbers, range(len(blocks))])
    frame.columns.name = escape(found.corner) or None
    shown = Styler(frame, uuid="", cell_ids=False)
    return shown.hide(axis="index", level=[1, 2])


def _tabular(found: Face) -> list[str]:
    """A face as the lines of a LaTeX tabular."""
    words = {"Method", "Model", "Additional information", "Error map of", "Reference scorer", "Source"}
    columns = "l" if found.blocks else ""
    columns += "".join("l" if name in words else "r" for name in found.head)
    shown = styler(found, _latex_cell, tex)
    italics = pd.DataFrame("", index=shown.index, columns=shown.columns)
    for i, j in found.paper:
        italics.iat[i, j] = "textit: --rwrap;" if _is_papers(found, i, j) else ""
    shown = shown.apply(lambda _: italics, axis=None)
    line = rf"\cline{{1-{len(columns)}}}"
    clines = "skip-last;data" if found.blocks else None
    text = shown.to_latex(hrules=True, column_format=columns, multirow_align="naive", clines=clines)
    return text.replace(f"{line}\n\\bottomrule", r"\bottomrule").replace(line, r"\midrule").splitlines()


def _latex_cell(found: Face, i: int, j: int) -> str:
    marks = found.marks.get((i, j))
    return tex(found.rows[i][j]) + (rf" \textsuperscript{{{marks}}}" if marks else "")


Place = Callable[[str], tuple[str, str]]  # name of a run -> its address, and why it is out of date or ""


def _html_cell(found: Face, i: int, j: int, place: Place | None = None) -> str:
    """The HTML of a cell, each interval in small print below its number; with links if `place` is given."""
    lines = []
    parts = found.parts.get((i, j), [(found.rows[i][j], "")])
    runs = found.runs.get((i, j)) or [[] for _ in parts]
    for (value, span), own in zip(parts, runs, strict=True):
        linked = place is not None and own and value not in ("", DASH, NOT_RUN)
        lines.append(_linked(html.escape(value), own, place) if linked else html.escape(value))
        if span:
            lines.append(f"<small>{html.escape(span)}</small>")
    marks = found.marks.get((i, j))
    return "<br>".join(lines) + (f"<sup>{marks}</sup>" if marks else "")


def _kinds(found: Face, i: int, j: int) -> list[str]:
    """The CSS classes of a cell."""
    text, kinds = found.rows[i][j], []
    if (i, j) in found.paper:
        kinds.append("paper")
    if text in (DASH, NOT_RUN):
        kinds.append("absent")
    if text[:1] in "0123456789+−–":
        kinds.append("number")
    return kinds if text else []


def _classes(found: Face, shown: Styler) -> pd.DataFrame:
    kinds = [[" ".join(_kinds(found, i, j)) for j in range(len(row))] for i, row in enumerate(found.rows)]
    return pd.DataFrame(kinds, index=shown.index, columns=shown.columns)


def _linked(value: str, own: list[str], place: Place) -> str:
    """A number as a link to its first run; for a mean, links to the other runs follow."""
    places = [place(name) for name in own]
    linked = f'<a href="{places[0][0]}" title="{html.escape(own[0])}">{value}</a>'
    for name, (address, _) in list(zip(own, places))[1:]:
        seed = name.rpartition("/")[2].removeprefix("seed")
        linked += f' <a class="seed" href="{address}" title="{html.escape(name)}">seed {seed}</a>'
    old = next((why for _, why in places if why), "")
    return linked + (f' <span class="old" title="{html.escape(old)}">out of date</span>' if old else "")


def html_table(found: Face, place: Place | None = None) -> str:
    """A face as an HTML table without styles; CSS classes say what a cell is.

    With `place` each number is a link to its run, marked if that is out of date.
    """
    shown = styler(found, functools.partial(_html_cell, place=place), html.escape)
    text = shown.set_td_classes(_classes(found, shown)).to_html()
    # an empty heading becomes a plain cell, because screen readers would read it as "blank"
    text = re.sub(r"<th class=\"blank[^>]*>&nbsp;</th>", "<td></td>", text)
    return "<table>" + text[text.index("<table") :].partition(">")[2]  # without pandas' style and random id


LOOKS = {"paper": "font-style: italic;", "absent": "color: #888;", "number": "white-space: nowrap;"}


def styled(found: Face) -> Styler:
    """A face as a notebook shows it."""
    shown = styler(found, _html_cell, html.escape)
    looks = _classes(found, shown).map(lambda kinds: "".join(LOOKS[kind] for kind in kinds.split()))
    left = [
        {"selector": "th, td", "props": "text-align: left"},
        {"selector": "tbody th", "props": "vertical-align: top; border-top: 1px solid #999"},
    ]
    return shown.apply(lambda _: looks, axis=None).set_table_styles(left)


def words(table: Table) -> list[tuple[str, list[str]]]:
    """The results on each data set that was run, in sentences made from the table's cells."""
    said = []
    for dataset, own in table.cells[table.cells["auc"].notna()].groupby("dataset", sort=False):
        ours = [cell for cell in own.itertuples() if cell.group == "this kit"]
        if not ours:
            continue
        parts = [_effect(cell) for cell in ours if cell.against]
        if table.name == "table2":
            parts = [
                f"{row_name(cell)} reaches {number(cell.auc)}{_beside_the_paper(cell)}." for cell in ours
            ]
        scorers = [cell for cell in own.itertuples() if cell.group == "reference scorer"]
        if scorers:
            best, model = max(scorers, key=lambda c: c.auc), max(ours, key=lambda c: c.auc)
            parts.append(
                f"The best reference scorer, {best.row}, reaches {number(best.auc)}: "
                f"{'less' if best.auc < model.auc else 'no less'} than the best row of the table, "
                f"{number(model.auc)}."
            )
        said.append((names.DATASETS[dataset], parts))
    return said


def absent(table: Table) -> str:
    """A sentence on the data sets that were not run; empty if all were."""
    ours = table.cells[table.cells["group"] == "this kit"]
    missing = [
        names.DATASETS[dataset]
        for dataset, own in ours.groupby("dataset", sort=False)
        if (own["status"] == "not run").all()
    ]
    return f"Not run: {', '.join(missing)}." if missing else ""


def sentences(table: Table) -> str:
    """The sentences of `words` and `absent` as Markdown, for a notebook."""
    blocks = [f"**{name}**\n\n" + "\n".join(f"- {part}" for part in parts) for name, parts in words(table)]
    return "\n\n".join([*blocks, absent(table)])


def _effect(cell) -> str:
    """A sentence on the difference between a row and its baseline."""
    name, other = (names.in_table(cell.table, model).sentence for model in (cell.variant, cell.against))
    seeds = f" ({cell.separate})" if cell.separate else ""
    told = f"{name[0].upper()}{name[1:]}{seeds}: {number(cell.auc)}"
    if pd.isna(cell.difference):
        return f"{told}, which cannot be compared with {other}."
    told += f", {number(abs(cell.difference))} {'above' if cell.difference >= 0 else 'below'} {other}"
    if pd.isna(cell.difference_low):
        return f"{told}; no interval of that change can be given."
    contains = cell.difference_low <= 0 <= cell.difference_high
    what = "contains 0, so it may be chance" if contains else "does not contain 0"
    return f"{told}; the interval of that change {what}."


def _beside_the_paper(cell) -> str:
    if pd.isna(cell.paper):
        return ""
    where = ""
    if not pd.isna(cell.low):
        where = ", inside our interval"
        if cell.paper > cell.high:
            where = ", above our interval"
        if cell.paper < cell.low:
            where = ", below our interval"
    return f"; the paper reports {number(cell.paper)}{where}"


def notes(table: Table) -> str:
    """The footnotes and the lines beneath a table, for a notebook."""
    return "\n\n".join(
        [f"{m} {text}." for m, text in zip(_letters(table, True), table.notes)] + list(table.under)
    )


def write(table: Table, folder: Path) -> list[str]:
    """Write the csv (cells in full precision), Markdown, LaTeX and, for Table 3, regions.csv. Returns the
    names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    table.cells.astype({"n": "Int64"}).to_csv(folder / f"{table.name}.csv", index=False, lineterminator="\n")
    paths.write_text(folder / f"{table.name}.md", markdown(table))
    paths.write_text(folder / f"{table.name}.tex", latex(table))
    written = [f"{table.name}.{kind}" for kind in ("csv", "md", "tex")]
    if table.regions is not None and not table.regions.empty:
        table.regions.to_csv(folder / "regions.csv", index=False, lineterminator="\n")
        written.append("regions.csv")
    return written
