"""A table as people read it: Markdown, LaTeX, HTML, a notebook's table, and a few sentences; all from its cells.

Italics are the paper's numbers and upright ones ours, everywhere. Numbers are rounded here, once, to three digits.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lib import paths
from lib.evidence.tables import NAMES, Table, mark

DASH, NOT_RUN = "–", "not run"
SUPERSCRIPTS = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖqʳˢᵗᵘᵛʷˣʸᶻ")
PHRASES = {
    "one_path": "one path",
    "two_path": "two paths",
    "app_intensity": "two paths with F_app",
    "mot": "two paths with F_mot",
    "app_intensity_mot": "two paths with both flows",
}
WITH = {
    "app_none": "F_app with nothing added",
    "app_intensity": "F_app with intensity",
    "app_error": "F_app with the error map",
}
ITALICS = "Italics: the paper's numbers. Upright: measured by this kit."
REGIONS = (
    "Where in the frame: area under the share of labelled regions (RBDC) and tracks (TBDC) that error maps find, up to "
    "one false region a frame. The paper has no such numbers; no interval is given."
)
GROUPS = {
    "non-reconstruction": "Non-reconstruction",
    "reconstruction": "Reconstruction",
    "this kit": "Measured by this kit",
}


@dataclass
class Face:
    """Text in rows and columns. `paper`: (row, column) of the paper's numbers; `starts`: rows that begin a block;
    `marks`: (row, column) -> letters of footnotes."""

    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    paper: set[tuple[int, int]] = field(default_factory=set)
    starts: set[int] = field(default_factory=set)
    marks: dict[tuple[int, int], str] = field(default_factory=dict)


# -- numbers as text -----------------------------------------------------------------------------------------------


def number(value) -> str:
    """0.973, or a dash where there is none."""
    return DASH if pd.isna(value) else f"{value:.3f}".replace("-", "−")


def change(value) -> str:
    """+0.009"""
    return DASH if pd.isna(value) else f"{value:+.3f}".replace("-", "−")


def interval(low, high) -> str:
    """0.903 to 0.981"""
    return DASH if pd.isna(low) else f"{number(low)} to {number(high)}"


def interval_of_change(low, high) -> str:
    """−0.020 to +0.031, contains 0"""
    return (
        DASH
        if pd.isna(low)
        else f"{change(low)} to {change(high)}{', contains 0' if low <= 0 <= high else ''}"
    )


def measured(cell) -> str:
    """0.973 ± 0.004, or why there is no number."""
    if cell.status:
        return cell.status
    return (
        number(cell.auc)
        + ("" if pd.isna(cell.sd) else f" ± {cell.sd:.3f}")
        + (" (subset)" if cell.subset else "")
    )


# -- faces ---------------------------------------------------------------------------------------------------------


def face(table: Table) -> Face:
    """The table without its reference scorers."""
    return _comparison(table) if table.name == "table2" else _ablation(table)


def _ablation(table: Table) -> Face:
    found = Face(
        [
            "Data set",
            "Additional information" if table.name == "table4" else "Model",
            "Paper",
            "This kit",
            "n",
            "95 % interval",
            "Change",
            "95 % interval of the change",
            "Paper's change",
        ]
    )
    before = None
    for cell in table.cells[table.cells["group"] == "this kit"].itertuples():
        i = len(found.rows)
        if cell.dataset != before:
            found.starts.add(i)
        compared = bool(cell.against)
        found.rows.append(
            [
                NAMES[cell.dataset] if cell.dataset != before else "",
                cell.row,
                number(cell.paper),
                measured(cell),
                DASH if pd.isna(cell.n) else f"{cell.n:.0f}",
                interval(cell.low, cell.high),
                change(cell.difference) if compared else "",
                interval_of_change(cell.difference_low, cell.difference_high) if compared else "",
                change(cell.paper_difference) if compared else "",
            ]
        )
        found.paper |= {(i, 2), (i, 8)}
        if cell.marks:
            found.marks[i, 3] = cell.marks
        before = cell.dataset
    return found


def _comparison(table: Table) -> Face:
    cells = table.cells[table.cells["group"] != "reference scorer"]
    shown = [d for d in NAMES if d in set(cells["dataset"])]
    found = Face(["", "Method", *(NAMES[d] for d in shown), "Source"])
    before = None
    methods = cells["row"].str.partition(" (seed")[
        0
    ]  # seeds run under different conditions share a cell here
    for (group, method, cited), own in cells.groupby(
        ["group", methods, cells["cited"].fillna("this kit")], sort=False
    ):
        i = len(found.rows)
        if group != before:
            found.starts.add(i)
        texts = []
        for j, dataset in enumerate(shown, start=2):
            here = list(own[own["dataset"] == dataset].itertuples())
            if group == "this kit":
                texts.append("; ".join(_one_cell(cell) for cell in here) or NOT_RUN)
            else:
                texts.append(number(here[0].paper) if here else DASH)
                found.paper.add((i, j))
            marks = " ".join(dict.fromkeys(m for cell in here for m in cell.marks.split()))
            if marks:
                found.marks[i, j if group == "this kit" else 1] = marks
        found.rows.append([GROUPS[group] if group != before else "", method, *texts, cited])
        before = group
    return found


def _one_cell(cell) -> str:
    if cell.status:
        return cell.status
    seeds = "".join(cell.row.partition(" (seed")[1:])
    return f"{measured(cell)}, n = {cell.n:.0f}{seeds}{_bracket(cell)}"


def _bracket(cell) -> str:
    return "" if pd.isna(cell.low) else f" [{interval(cell.low, cell.high)}]"


def references_face(table: Table) -> Face | None:
    """The reference scorers, a column a data set; None if none were run."""
    cells = table.cells[table.cells["group"] == "reference scorer"]
    if cells.empty:
        return None
    shown = list(dict.fromkeys(cells["dataset"]))
    found = Face(["Reference scorer", *(NAMES[d] for d in shown)])
    for scorer, own in cells.groupby("row", sort=False):
        i, texts = len(found.rows), []
        for j, dataset in enumerate(shown, start=1):
            here = list(own[own["dataset"] == dataset].itertuples())
            texts.append("; ".join(measured(c) + _bracket(c) for c in here) or NOT_RUN)
            marks = " ".join(dict.fromkeys(m for c in here for m in c.marks.split()))
            if marks:
                found.marks[i, j] = marks
        found.rows.append([scorer, *texts])
    return found


def regions_face(table: Table) -> Face | None:
    """Where in the frame the models look; None if no run has labelled pixels."""
    if table.regions is None or table.regions.empty:
        return None
    found, before = Face(["Data set", "Error map of", "RBDC", "TBDC", "n"]), None
    for row in table.regions.itertuples():
        if row.dataset != before:
            found.starts.add(len(found.rows))
        texts = [
            number(value) + ("" if pd.isna(sd) else f" ± {sd:.3f}")
            for value, sd in ((row.rbdc, row.rbdc_sd), (row.tbdc, row.tbdc_sd))
        ]
        found.rows.append(
            [
                NAMES[row.dataset] if row.dataset != before else "",
                row.row,
                texts[0] + (" (subset)" if row.subset else ""),
                texts[1],
                str(row.n),
            ]
        )
        before = row.dataset
    return found


# -- writings ------------------------------------------------------------------------------------------------------


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
    lines = ["| " + " | ".join(found.head) + " |", "|" + " --- |" * len(found.head)]
    for i, row in enumerate(found.rows):
        cells = [
            (f"*{text}*" if (i, j) in found.paper and text and text != DASH else text)
            + _superscript(found.marks.get((i, j), ""))
            for j, text in enumerate(row)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
    """Text with everything escaped that LaTeX reads as a command."""
    escaped = "".join(TEX.get(letter, letter) for letter in text)
    return escaped.replace("F\\_app", r"$F_{app}$").replace("F\\_mot", r"$F_{mot}$")


def latex(table: Table) -> str:
    """The same as a LaTeX table (package booktabs)."""
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


def _tabular(found: Face) -> list[str]:
    first = next((j for j, name in enumerate(found.head) if name in ("Paper", *NAMES.values())), 1)
    columns = "".join("l" if j < first or name == "Source" else "r" for j, name in enumerate(found.head))
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(tex, found.head)) + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(found.rows):
        if i in found.starts and i:
            lines.append(r"\midrule")
        cells = [
            (rf"\textit{{{tex(text)}}}" if (i, j) in found.paper and text and text != DASH else tex(text))
            + (rf" \textsuperscript{{{found.marks[i, j]}}}" if (i, j) in found.marks else "")
            for j, text in enumerate(row)
        ]
        lines.append(" & ".join(cells) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def html_table(found: Face) -> str:
    """A face as an HTML table, without any style; classes say what a cell is.

    Where blocks have a name in the first column, it becomes a line of its own above the block.
    """
    first = 1 if found.starts else 0
    lines = ["<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in found.head[first:]) + "</tr>"]
    for i, row in enumerate(found.rows):
        if i in found.starts:
            lines.append(f'<tr class="block"><th colspan="{len(row) - 1}">{html.escape(row[0])}</th></tr>')
        cells = []
        for j, text in list(enumerate(row))[first:]:
            kinds = [
                name
                for name, holds in (
                    ("paper", (i, j) in found.paper),
                    ("absent", text in (DASH, NOT_RUN)),
                    ("number", text[:1] in "0123456789+−–"),
                )
                if holds and text
            ]
            # The interval of a number goes below it.
            shown = re.sub(
                r" \[([^][]* to [^][]*)\](; )?",
                lambda m: f"<br><small>{m[1]}</small>{'<br>' if m[2] else ''}",
                html.escape(text),
            )
            marks = f"<sup>{found.marks[i, j]}</sup>" if (i, j) in found.marks else ""
            cells.append(
                f'<td class="{" ".join(kinds)}">{shown}{marks}</td>' if kinds else f"<td>{shown}{marks}</td>"
            )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead>{lines[0]}</thead><tbody>{''.join(lines[1:])}</tbody></table>"


def styled(found: Face):
    """A face as a notebook shows it."""
    texts = [
        [text + _superscript(found.marks.get((i, j), "")) for j, text in enumerate(row)]
        for i, row in enumerate(found.rows)
    ]
    frame = pd.DataFrame(texts, columns=found.head)
    looks = pd.DataFrame("", index=frame.index, columns=frame.columns)
    for i, row in enumerate(found.rows):
        for j, text in enumerate(row):
            looks.iat[i, j] = (
                ("font-style: italic;" if (i, j) in found.paper else "")
                + ("color: #888;" if text in (DASH, NOT_RUN) else "")
                + ("border-top: 1px solid #999;" if i in found.starts and i else "")
                + ("white-space: nowrap;" if len(text) < 40 else "")
            )
    shown = frame.style.apply(lambda _: looks, axis=None).hide(axis="index")
    return shown.set_properties(**{"text-align": "left"}).set_table_styles(
        [{"selector": "th", "props": "text-align: left"}]
    )


def words(table: Table) -> list[tuple[str, list[str]]]:
    """What a table shows on each data set that was run, in sentences that follow from its cells."""
    said = []
    for dataset, own in table.cells[table.cells["auc"].notna()].groupby("dataset", sort=False):
        ours = [cell for cell in own.itertuples() if cell.group == "this kit"]
        if not ours:
            continue
        parts = [_effect(cell) for cell in ours if cell.against]
        if table.name == "table2":
            parts = [f"{cell.row} reaches {number(cell.auc)}{_beside_the_paper(cell)}." for cell in ours]
        scorers = [cell for cell in own.itertuples() if cell.group == "reference scorer"]
        if scorers:
            best, model = max(scorers, key=lambda c: c.auc), max(ours, key=lambda c: c.auc)
            parts.append(
                f"The best reference scorer, {best.row}, reaches {number(best.auc)}: "
                f"{'less' if best.auc < model.auc else 'no less'} than the best row of the table, "
                f"{number(model.auc)}."
            )
        said.append((NAMES[dataset], parts))
    return said


def absent(table: Table) -> str:
    """Which data sets were not run, in a sentence; empty if all were."""
    ours = table.cells[table.cells["group"] == "this kit"]
    names = [NAMES[d] for d, own in ours.groupby("dataset", sort=False) if (own["status"] == "not run").all()]
    return f"Not run: {', '.join(names)}." if names else ""


def sentences(table: Table) -> str:
    """The same as Markdown, for a notebook."""
    blocks = [f"**{name}**\n\n" + "\n".join(f"- {part}" for part in parts) for name, parts in words(table)]
    return "\n\n".join([*blocks, absent(table)])


def _effect(cell) -> str:
    """How a row differs from the one it is compared with."""
    name, other = ((WITH if cell.table == "table4" else PHRASES)[v] for v in (cell.variant, cell.against))
    seeds = cell.row.partition(" (seed")  # where seeds were run under different conditions, rows name them
    told = f"{name[0].upper()}{name[1:]}{''.join(seeds[1:])}: {number(cell.auc)}"
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
    where = (
        ""
        if pd.isna(cell.low)
        else (
            ", above our interval"
            if cell.paper > cell.high
            else ", below our interval"
            if cell.paper < cell.low
            else ", inside our interval"
        )
    )
    return f"; the paper reports {number(cell.paper)}{where}"


def notes(table: Table) -> str:
    """The footnotes and the lines beneath a table, for a notebook."""
    return "\n\n".join(
        [f"{m} {text}." for m, text in zip(_letters(table, True), table.notes)] + list(table.under)
    )


def write(table: Table, folder: Path) -> list[str]:
    """Writes the csv (cells, in full precision), Markdown and LaTeX, with Table 3 regions.csv; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    table.cells.astype({"n": "Int64"}).to_csv(folder / f"{table.name}.csv", index=False, lineterminator="\n")
    paths.write_text(folder / f"{table.name}.md", markdown(table))
    paths.write_text(folder / f"{table.name}.tex", latex(table))
    names = [f"{table.name}.{kind}" for kind in ("csv", "md", "tex")]
    if table.regions is not None and not table.regions.empty:
        table.regions.to_csv(folder / "regions.csv", index=False, lineterminator="\n")
        names.append("regions.csv")
    return names
