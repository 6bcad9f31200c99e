"""`./run_all.sh why`: the provenance of a cell, a figure or a number.

    ./run_all.sh why                          the cells of Tables 2, 3 and 4 with their numbers
    ./run_all.sh why table3:ped2              those of one table, or of a data set in it
    ./run_all.sh why table3:ped2:two_path     runs, parameters, commits and commands behind a cell
    ./run_all.sh why fig4:ped2                the runs that a figure is drawn from
    ./run_all.sh why 0.870                    where a number stands, and the runs that have it
    ./run_all.sh why ped2/score/mot/seed0     one run, by its name

What was not run here is looked up in the curated results, and the answer says so.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pandas as pd

from lib import paths
from lib.errors import ConfigError
from lib.evaluation.protocols import PROTOCOLS
from lib.evidence import scored_runs, stored_tables, tables
from lib.evidence.scored_runs import Result
from lib.pipeline import records
from lib.pipeline.steps import FIGURES, Job, from_chart, from_name, upstream
from lib.report.reference import profiles, reading
from lib.settings.values import DATASETS, check_name

NUMBER = re.compile(r"[+−-]?\d*\.\d+")
RESAMPLES = 1000  # if no run has a value


def answer(profile: str, asked: str = "") -> str:
    """The output of `./run_all.sh why`. Raises ConfigError for something that does not exist."""
    if NUMBER.fullmatch(asked):
        return find_number(profile, asked)
    if "/" in asked:
        return explain_run(profile, asked)
    if job := from_chart(profile, asked):
        return explain_run(profile, job.name)
    name, *rest = re.split(r"[:-]", asked)
    if name in FIGURES:
        return explain_figure(profile, asked)
    if asked:
        check_name("table or figure", name, [*tables.ROWS, *FIGURES])
        if rest[:1] and rest[0]:
            check_name("data set", rest[0], DATASETS)
    return explain_cell(profile, asked) if len(rest) > 1 else list_cells(profile, ":".join([name, *rest]))


@contextlib.contextmanager
def nearest(profile: str, has: Callable[[str], object]) -> Iterator[tuple[str, str]]:
    """The first place where `has(profile)` holds: here, or in the curated results, with the same profile
    first.

    Within this context, records are read from that place. Yields its profile and a sentence on it, "" for
    here.
    """
    if not has(profile):
        for other in sorted(profiles(), key=lambda name: name != profile):
            with reading():
                if has(other):
                    where = paths.shown(paths.REFERENCE / other)
                    yield other, f"Not run here at profile {profile}; from the curated results, {where}."
                    return
    yield profile, ""


def evaluation(profile: str, results) -> dict:
    """The protocol and the number of resamples with which the tables of a profile are made."""
    record = records.read(Job(profile, "all", "table3").folder)
    if record and record["status"] == "complete":
        values = record["parameters"]
    else:
        values = results[0].parameters() if results else {}
    protocol = PROTOCOLS["paper"]
    if record and record["status"] == "complete":
        protocol = scored_runs.protocol_of(
            normalise=values["evaluate.normalise"], smoothing=values["evaluate.smoothing"]
        )
    return {"protocol": protocol, "resamples": values.get("evaluate.resamples", RESAMPLES)}


def _cells(profile: str, curated: bool) -> pd.DataFrame:
    """The measured cells of the three tables: as curated, or the stored ones, or else computed."""
    folder, results = paths.tables(profile), scored_runs.of_profile(profile)
    how = evaluation(profile, results) | {"folder": folder, "keep": False}
    found = []
    for name in tables.ROWS:
        table = stored_tables.read(folder, name) if curated else None
        found.append((table or stored_tables.table(name, results, **how)).cells)
    cells = pd.concat(found)
    return cells[cells["group"] == "this kit"]


def _name(cell) -> str:
    return f"{cell.table}:{cell.dataset}:{cell.variant}"


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}"


# -- all cells -----------------------------------------------------------------------------------------------


def list_cells(profile: str, start: str = "") -> str:
    """Every cell with a number, by the name that `why` takes; with `start`, only those of a table or of a
    data set in it."""
    of = start.partition(":")[2]

    def runs_of(place: str) -> list[Result]:
        return [result for result in scored_runs.of_profile(place) if of in ("", result.job.dataset)]

    with nearest(profile, runs_of) as (place, said):
        cells = _cells(place, curated=bool(said))
        cells = cells[cells["auc"].notna()]
        shown = [cell for cell in cells.itertuples() if f"{_name(cell)}:".startswith(start and f"{start}:")]
        lines = [said] if said else []
        lines.append(
            f"Cells of profile {place}, with this kit's AUC and the paper's; name one for its provenance."
        )
        if not shown:
            how = f"--profile {place}" + (f" --dataset {of}" if of else "")
            lines.append(
                f"  none: nothing {'of it ' if start else ''}is scored. Make them: ./run_all.sh tables {how}"
            )
        for cell in shown:
            seeds = f"  {cell.separate}" if cell.separate else ""
            lines.append(
                f"  {_name(cell):<42} {_number(cell.auc)}  paper {_number(cell.paper)}  "
                f"n = {cell.n:.0f}{seeds}"
            )
        return "\n".join(lines)


# -- one cell ------------------------------------------------------------------------------------------------


def explain_cell(profile: str, asked: str) -> str:
    """The runs, parameters, commits and commands behind a cell, named as in table3:ped2:two_path.

    Raises ConfigError for a table, data set or row that does not exist.
    """
    table, dataset, variant = (asked.split(":") + ["", ""])[:3]
    check_name("table", table, tables.ROWS)
    check_name("data set", dataset, DATASETS)
    check_name("row", variant, tables.ROWS[table])

    def runs_of(place: str) -> list[Result]:
        wanted = ("score", dataset, variant)
        found = scored_runs.of_profile(place)
        return [r for r in found if (r.job.step, r.job.dataset, r.job.variant) == wanted]

    said = tables.paper_value(tables.paper_results(), int(table[-1]), variant, dataset)
    with nearest(profile, runs_of) as (place, where):
        lines = [where] if where else []
        lines.append(f"{asked}, profile {place}")
        lines.append(f"  the paper: {'no number' if said is None else f'{said:.3f}'}")
        runs = runs_of(place)
        if not runs:
            return "\n".join([*lines, "  this kit: not run"])
        for result in runs:
            lines += _about(result)
        return "\n".join([*lines, *_parameters(runs)])


def _about(result: Result) -> list[str]:
    """One run and those beneath it."""
    record = result.record
    number = result.why_no_auc or repr(record["metrics"]["auc"])
    with_changes = " (+: with other changes)" if result.commit.endswith("+") else ""
    lines = [
        f"  {result.job.name}: {number}{', subset' if result.subset else ''}",
        f"    record   {paths.shown(result.folder / 'run.json')}, ended {record.get('ended', '?')}",
        f"    commit   {result.commit}{with_changes}",
        f"    command  {record.get('command', 'by hand')}",
    ]
    lines += [f"    changed since: {name}" for name in result.changed]
    lines.append("    depends on")
    return lines + [f"      {_line(name, under)}" for name, under in result.beneath.items()]


# -- one run -------------------------------------------------------------------------------------------------


def explain_run(profile: str, asked: str) -> str:
    """One run by its name, its numbers, and the runs that it reads. Raises ConfigError if it was not run."""

    def record_of(place: str) -> dict | None:
        return next((record for job, record in records.find(place) if job.name == asked), None)

    with nearest(profile, record_of) as (place, where):
        record = record_of(place)
        if record is None:
            raise ConfigError(
                f"There is no complete run {asked}, here at profile {profile} or in the curated results."
            )
        lines = [where] if where else []
        lines += [f"{asked}, profile {place}", f"  {_line('', record).strip()}"]
        lines.append(f"  record   {paths.shown(from_name(place, asked).folder / 'run.json')}")
        lines += [f"  {path:<42} {value!r}" for path, value in _leaves(record["metrics"])]
        lines.append("  reads")
        for name in record["inputs"]:
            under = records.read(from_name(place, name).folder)
            lines.append(f"    {_line(name, under) if under else f'{name:<42} no longer there'}")
        lines.append("  parameters")
        lines += [f"    {name:<28} {value}" for name, value in sorted(record["parameters"].items())]
        return "\n".join(lines)


def _line(name: str, record: dict) -> str:
    return f"{name:<42} {record['git']['commit'] or '':.7}  {record['command']}"


def _parameters(runs: list[Result]) -> list[str]:
    values = [result.parameters() for result in runs]
    lines = ["  parameters"]
    for name in sorted(set().union(*values)):
        seen = dict.fromkeys(str(v[name]) for v in values if name in v)
        lines.append(f"    {name:<28} {' | '.join(seen)}")
    return lines


# -- figures -------------------------------------------------------------------------------------------------


def explain_figure(profile: str, asked: str) -> str:
    """The runs that a figure is drawn from: fig4, or fig4:ped2 for one data set."""
    figure, _, dataset = asked.replace("-", ":").partition(":")
    if dataset:
        check_name("data set", dataset, DATASETS)

    def drawn(place: str) -> list:
        return sorted(paths.figures(place).glob(f"{figure}-{dataset or '*'}.*"))

    with nearest(profile, drawn) as (place, where):
        job = Job(place, "all", "figure", figure)
        record, files = records.read(job.folder), drawn(place)
        lines = [where] if where else []
        lines.append(f"{asked}, profile {place}")
        if not files:
            made = f"./run_all.sh {figure} --profile {place}" + (f" --dataset {dataset}" if dataset else "")
            return "\n".join([*lines, f"  not drawn. To draw it: {made}"])
        lines += [f"  {paths.shown(path)}" for path in files]
        if record:
            lines.append(f"  command  {record['command']}, commit {record['git']['commit'] or '':.7}")
            names = list(record["inputs"])
        else:
            scored = tuple(j for j, _ in records.find(place) if j.step in ("score", "reference"))
            names = [needed.name for needed in upstream(job, scored)]
        lines.append("  drawn from")
        for name in names:
            under = records.read(from_name(place, name).folder)
            if not dataset or name.startswith(f"{dataset}/"):
                lines.append(f"    {_line(name, under) if under else f'{name:<42} no longer there'}")
        return "\n".join(lines)


# -- a number ------------------------------------------------------------------------------------------------


def find_number(profile: str, asked: str) -> str:
    """The cells and runs whose value, rounded to the given decimals, is this number.

    Raises ConfigError if there are none.
    """
    wanted = asked.replace("−", "-").lstrip("+")
    decimals = len(wanted.partition(".")[2])
    text = f"{float(wanted):.{decimals}f}"

    def block(where: str, numbers) -> list[str]:
        found = [f"  {what:<60} {value!r}" for what, value in numbers if f"{value:.{decimals}f}" == text]
        return [f"{asked} {where}:", *found] if found else []

    lines = block("in the paper", _numbers_of_cells(profile, False, ("paper", "paper_difference")))
    measured = [field for field in tables.NUMBERS if field != "n" and not field.startswith("paper")]
    for place, curated in [(profile, False), *((other, True) for other in profiles())]:
        with reading() if curated else contextlib.nullcontext():
            numbers = [*_numbers_of_cells(place, curated, measured), *_numbers_of_runs(place)]
        where = paths.shown(paths.REFERENCE / place) if curated else "run here"
        lines += block(f"at profile {place}, {where}", numbers)
    if not lines:
        raise ConfigError(
            f"{asked} is in no cell and no run, here at profile {profile} or in the curated results. "
            "./run_all.sh why lists the cells."
        )
    return "\n".join(lines)


def _numbers_of_cells(profile: str, curated: bool, fields) -> Iterator[tuple[str, float]]:
    for cell in _cells(profile, curated).itertuples():
        for field in fields:
            value = getattr(cell, field)
            if not pd.isna(value):
                yield f"{_name(cell)} {field.replace('_', ' ')}", float(value)


def _numbers_of_runs(profile: str) -> Iterator[tuple[str, float]]:
    """The numbers in the metrics of all recorded runs, by their path."""
    for job, record in records.find(profile):
        yield from ((f"{job.name} {path}", value) for path, value in _leaves(record["metrics"]))


def _leaves(value, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, dict):
        for name, inside in value.items():
            yield from _leaves(inside, f"{path} {name}".strip())
    elif isinstance(value, list) and len(value) <= 10:
        for number, inside in enumerate(value):
            yield from _leaves(inside, f"{path} {number}")
