"""Adopting a finished selection: writing the file from which runs take its choices.

A selection (notebook 16) is a run like any other, and its record has its choices. Adopting it writes them
into data/selection/<data set>.json, where `config.resolve` reads them. The file is small and is committed
before a test score is made with it, so that the history shows that no test score influenced the choice.
"""

from __future__ import annotations

from lib import paths
from lib.errors import RunError
from lib.pipeline import records
from lib.pipeline.steps import Job


def adopt(profile: str, dataset: str) -> str:
    """Write the choices of a profile's finished selection. Returns what was written and what to do next, in
    words.

    Raises RunError if there is no finished selection.
    """
    job = Job(profile, dataset, "selection")
    record = records.read(job.folder)
    if not record or record["status"] != "complete":
        raise RunError(
            f"There is no finished selection of {dataset} at profile {profile}, so nothing can be adopted. "
            f"Make one: ./run_all.sh selection --dataset {dataset} --profile {profile}"
        )
    digest = records.result_digest(record)
    choices = {
        row["parameter"]: {name: row[name] for name in row if name != "parameter"} | {"record": digest}
        for row in record["metrics"]["choices"]
    }
    path = paths.SELECTION / f"{dataset}.json"
    git = record.get("git") or {}
    paths.write_json(
        path,
        {
            "dataset": dataset,
            "profile": profile,
            "run": job.name,
            "record": digest,
            "commit": git.get("commit"),
            "ended": record["ended"],
            "choices": choices,
        },
    )
    changed = [
        f"{name}={line['value']}" for name, line in choices.items() if line["value"] != line["literal"]
    ]
    return (
        f"{paths.shown(path)}: {len(choices)} choices, {len(changed)} of them not the literal reading"
        f"{': ' if changed else ''}{', '.join(changed)}.\nCommit it before you score a test clip with it."
    )
