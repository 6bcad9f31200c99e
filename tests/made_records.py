"""Small hand-made records and scores, as the pipeline would leave them, for the tests of what is built from
records."""

import atexit
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lib import paths
from lib.config import resolve
from lib.evaluation import protocols
from lib.pipeline import records
from lib.pipeline.steps import MODELS, STEPS, Job, from_name

CLIPS, FRAMES = 10, 20
SHIFT = {
    "one_path": 0.4,
    "two_path": 0.9,
    "app_intensity": 1.3,
    "mot": 1.1,
    "app_intensity_mot": 1.5,
    "app_none": 1.0,
    "app_error": 1.2,
}


def scores(variant, seed, *, clips=CLIPS, shift=None, call="Test{:03d}"):
    """Frame scores of a model: noise, higher by `shift` where frames are abnormal."""
    generator = np.random.default_rng((seed, len(variant)))
    table = pd.DataFrame(
        {
            "clip": np.repeat([call.format(i + 1) for i in range(clips)], FRAMES),
            "frame": np.tile(np.arange(FRAMES), clips),
        }
    )
    table["label"] = ((table["frame"] >= 6) & (table["frame"] < 15)).astype(int)
    signal = (SHIFT[variant] if shift is None else shift) * table["label"]
    table["R"] = generator.normal(size=len(table)) + signal
    for flow in MODELS[variant][1]:
        table["nll_mot" if flow == "mot" else "nll_app"] = generator.normal(size=len(table)) + signal
    if MODELS[variant][1]:
        table["L"] = table.filter(like="nll_").mean(axis=1)
    return table


def record(
    job, *, inputs=(), metrics=None, settings=None, subset=False, code="1", commit="c0ffee0", notes=None
):
    """Writes the record of a job, with the parameters it would have; returns it."""
    config = resolve(job.profile, job.dataset if job.dataset != "all" else "synthetic", settings)
    read = {name: records.result_digest(records.read(from_name(job.profile, name).folder)) for name in inputs}
    found = {
        "format": 1,
        "job": job.name,
        "profile": job.profile,
        "dataset": job.dataset,
        "step": job.step,
        "variant": job.variant,
        "seed": job.seed,
        "status": "complete",
        "identity": "x",
        "command": f"./run_all.sh {job.step}",
        "settings": settings or {},
        "parameters": records.parameters_of(job, config),
        "inputs": read,
        "code": {f"made_{job.step}": code},
        "git": {"commit": commit + "0" * 33, "dirty": False},
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "off_pins": [],
        "hardware": {"processor": "a processor", "cores": 2, "memory_gib": 8.0},
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:01:00+00:00",
        "seconds": 60.0,
        "peak_memory_gib": 0.5,
        "metrics": {"subset": subset} | (metrics or {}),
        "notes": notes or {},
        "outputs": [
            {"file": path.name, "bytes": path.stat().st_size, "sha256": paths.sha256_of(path)}
            for path in sorted(job.folder.glob("*.csv"))
        ],
    }
    paths.write_json(job.folder / "run.json", found)
    return found


def prepare(dataset="ped2", profile="quick", **options):
    job = Job(profile, dataset, "prepare")
    record(job, metrics={"content": dataset}, **options)
    return job


def trained(dataset, autoencoder, flows, seed, profile="quick", **options):
    """The runs beneath a score run; returns their names."""
    if records.read(Job(profile, dataset, "prepare").folder) is None:
        prepare(dataset, profile)
    first = Job(profile, dataset, "autoencoder", autoencoder, seed)
    record(first, inputs=[f"{dataset}/prepare"], **options)
    features = Job(profile, dataset, "features", autoencoder, seed)
    record(features, inputs=[f"{dataset}/prepare", first.name], **options)
    names = [f"{dataset}/prepare", features.name]
    for flow in flows:
        job = Job(profile, dataset, "flow", flow, seed)
        record(job, inputs=[features.name], **options)
        names.append(job.name)
    return names


def scored(
    dataset,
    variant,
    seed=0,
    *,
    profile="quick",
    clips=CLIPS,
    shift=None,
    subset=False,
    code="1",
    commit="c0ffee0",
    call="Test{:03d}",
    **options,
):
    """A score run with all beneath it; `options` (settings) are those of the training beneath. Returns the
    job."""
    job = Job(profile, dataset, "score", variant, seed)
    inputs = trained(dataset, *MODELS[variant], seed, profile, **options)
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    table = scores(variant, seed, clips=clips, shift=shift, call=call)
    table.to_csv(job.folder / "scores.csv", index=False)
    terms = [(1.0, table["R"].to_numpy())] + ([(1.0, table["L"].to_numpy())] if "L" in table else [])
    ids = pd.factorize(table["clip"])[0]
    by_protocol = {
        name: protocols.frame_metrics(terms, table["label"].to_numpy(), ids, protocol)
        for name, protocol in protocols.PROTOCOLS.items()
        if protocol.normalise != "train"
    }
    record(
        job,
        inputs=inputs,
        subset=subset,
        code=code,
        commit=commit,
        metrics={
            "auc": by_protocol["paper"]["auc"],
            "interval": None,
            "protocols": by_protocol,
            "by_clip": {
                name: protocols.frame_auc(
                    clip["R"].to_numpy(),
                    clip["label"].to_numpy(),
                    np.zeros(len(clip), int),
                    protocols.PROTOCOLS["micro, raw scores"],
                )
                for name, clip in table.groupby("clip")
            },
        },
    )
    return job


def reference(dataset, seed=0, *, profile="quick", clips=CLIPS):
    """A run of the reference scorers: position in the clip, and a constant. Returns the job."""
    job = Job(profile, dataset, "reference", "", seed)
    job.folder.mkdir(parents=True, exist_ok=True)
    base = scores("one_path", seed, clips=clips)
    values = {"frame position": base["frame"] / (FRAMES - 1), "constant": np.zeros(len(base))}
    pd.DataFrame(values).to_csv(job.folder / "reference.csv", index=False)
    ids = pd.factorize(base["clip"])[0]
    labels, paper = base["label"].to_numpy(), protocols.PROTOCOLS["paper"]
    aucs = {name: protocols.frame_auc(np.asarray(v, float), labels, ids, paper) for name, v in values.items()}
    record(job, inputs=[f"{dataset}/prepare"], metrics={"aucs": aucs})
    return job


def everything(dataset="ped2", seeds=(0,), **options):
    """All score runs of Tables 2, 3 and 4 and the reference scorers of a data set."""
    jobs = [scored(dataset, variant, seed, **options) for seed in seeds for variant in MODELS]
    return jobs + [reference(dataset, seed, profile=options.get("profile", "quick")) for seed in seeds]


@functools.cache
def complete():
    """A folder of reports with everything on one data set and one seed, made once for all tests, which copy
    it."""
    folder = Path(tempfile.mkdtemp(prefix="made-records-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    before = os.environ.get("KIT_REPORTS")
    os.environ["KIT_REPORTS"] = str(folder)
    everything("ped2")
    os.environ.pop("KIT_REPORTS")
    if before is not None:
        os.environ["KIT_REPORTS"] = before
    return folder


def change(job, edit):
    """Rewrites a record after `edit` has changed it in place."""
    path = job.folder / "run.json"
    found = json.loads(path.read_text())
    edit(found)
    path.write_text(json.dumps(found))


assert set(SHIFT) == set(STEPS["score"].variants)
