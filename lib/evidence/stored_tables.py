"""Each table, and the verdict, is computed once per set of runs and stored; all other code reads it here.

    table = stored_tables.table("table3", runs, protocol=protocol, resamples=1000, folder=folder)

`table3.csv` has the cells in full precision, `table3.json` the rest and a key: a hash of the records of the
runs and of all beneath them, of the stored scores, the protocol, the number of resamples, and the code of the
table. If the stored key differs, the table is computed and stored, with Markdown and LaTeX versions. The
findings of the verdict are stored in the same way, as `verdict.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pandas as pd

from lib import paths
from lib.datasets.locks import alone
from lib.evaluation.protocols import Protocol
from lib.evidence import tables, typesetting, verdict
from lib.pipeline import records
from lib.pipeline.steps import STEPS


def table(
    name: str, results, *, protocol: Protocol, resamples: int, folder: Path, keep: bool = True
) -> tables.Table:
    """Table 2, 3 or 4 of some scored runs: read from `folder` if it is stored there, otherwise computed.

    A computed table is stored in `folder` unless `keep` is False. Only runs that the table shows are used.
    """
    shown = [r for r in results if r.job.step == "reference" or r.job.variant in tables.ROWS[name]]
    how = {"protocol": protocol, "resamples": resamples}
    key = key_of(name, shown, **how)
    with _alone(folder, name) if keep else contextlib.nullcontext():
        found = read(folder, name, key)
        if found is None:
            found = tables.MAKERS[name](shown, tables.paper_results(), **how)
            if keep:
                write(found, folder, key)
    return found


def findings(
    results, *, protocol: Protocol, resamples: int, folder: Path, keep: bool = True
) -> list[verdict.Finding]:
    """The findings of the verdict on some scored runs: read from `folder` if stored there, otherwise
    computed.

    They are computed from the three tables, which are read or computed in the same way.
    """
    how = {"protocol": protocol, "resamples": resamples}
    key, path = key_of("verdict", results, **how), folder / "verdict.json"
    stored = _load(path)
    if stored.get("key") == key:
        return [verdict.Finding(**found) for found in stored["findings"]]
    made = {name: table(name, results, folder=folder, keep=keep, **how) for name in tables.MAKERS}
    found = verdict.findings(results, tables.paper_results(), made, **how)
    if keep:
        paths.write_json(path, {"key": key, "findings": [dataclasses.asdict(f) for f in found]})
    return found


def key_of(name: str, results, *, protocol: Protocol, resamples: int) -> str:
    """A hash of everything that determines a table."""
    runs = [
        [r.job.profile, r.job.name, r.record, r.beneath, r.changed, r.trouble]
        for r in sorted(results, key=lambda r: (r.job.profile, r.job.name))
    ]
    code = records.code_version(STEPS[name].notebook)
    return records.digest([name, dataclasses.asdict(protocol), resamples, runs, code])


def write(found: tables.Table, folder: Path, key: str) -> list[str]:
    """Store a table: csv and json for reading it back, Markdown and LaTeX for people. Returns the names of
    the files."""
    written = typesetting.write(found, folder)
    regions = None if found.regions is None else found.regions.to_dict("list")
    stored = {
        "key": key,
        "csv": paths.sha256_of(folder / f"{found.name}.csv"),
        "notes": found.notes,
        "under": found.under,
        "regions": regions,
    }
    paths.write_json(folder / f"{found.name}.json", stored)
    return [*written, f"{found.name}.json"]


def read(folder: Path, name: str, key: str = "") -> tables.Table | None:
    """The stored table; None if there is none with this key, or if its csv has changed since it was stored.

    Without a key, the table is read whatever its key.
    """
    stored, path = _load(folder / f"{name}.json"), folder / f"{name}.csv"
    if (
        not stored
        or key not in ("", stored["key"])
        or not path.exists()
        or paths.sha256_of(path) != stored["csv"]
    ):
        return None
    text = [field for field in tables.FIELDS if field not in (*tables.NUMBERS, "subset")]
    cells = pd.read_csv(
        path,
        dtype=dict.fromkeys(text, str) | dict.fromkeys(tables.NUMBERS, float),
        keep_default_na=False,
        na_values={number: [""] for number in tables.NUMBERS},
        float_precision="round_trip",
    )
    regions = None if stored["regions"] is None else pd.DataFrame(stored["regions"])
    return tables.Table(name, cells, tuple(stored["notes"]), tuple(stored["under"]), regions)


def _load(path: Path) -> dict:
    """The content of a stored file; empty if there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _alone(folder: Path, name: str):
    """A lock, so that notebooks running side by side wait here instead of computing the same table twice."""
    return alone(
        folder.parent / ".state" / f"{name}.lock", f"{name} in {paths.shown(folder)}", lambda _: None
    )
