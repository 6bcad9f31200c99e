# The pipeline: one rule a step, each job one notebook executed by papermill. What the steps are and what each reads is in
# lib/pipeline/steps.py; when a job has to run again is decided in lib/pipeline/records.py, by its record and not by the times of files.
#
# ./run_all.sh calls this with plain words. By hand, and with everything that Snakemake can do (clusters, drawing):
#     snakemake --cores 2 --rerun-triggers mtime --config 'grid={"profile":"quick","datasets":["synthetic"],"seeds":[0],"settings":[],"again":[]}'
import json
import shlex
import sys

sys.path.insert(0, workflow.basedir)
from lib.pipeline import planning, steps

GIVEN = config.get("grid", {"profile": "quick", "datasets": ["synthetic"], "seeds": [0]})
GRID = planning.Grid.from_json(GIVEN if isinstance(GIVEN, str) else json.dumps({"settings": [], "again": []} | GIVEN))
WANTED = GRID.jobs(config.get("targets", "all").split(","))
WHY = planning.plan(GRID, WANTED)
if workflow.is_main_process:
    planning.set_markers(WANTED, WHY)
MARKER = str(planning.marker(steps.Job(GRID.profile, "DATASET", "STEP")).parent)


def job(step, wildcards):
    return steps.from_name(GRID.profile, f"{wildcards.dataset}/{step}{wildcards.rest.replace('.', '/')}")


rule all:
    input: [str(planning.marker(j)) for j in WANTED]
    default_target: True


for STEP in steps.STEPS:
    rule:
        name: STEP
        input: lambda wildcards, step=STEP: [str(planning.marker(j)) for j in GRID.inputs(job(step, wildcards))]
        output: f"{MARKER}/{{dataset}}.{STEP}{{rest,(\\.\\w+)*}}"
        params:
            grid=shlex.quote(GRID.to_json()),
            job=lambda wildcards, step=STEP: job(step, wildcards).name,
            why=lambda wildcards, step=STEP: WHY.get(job(step, wildcards), "")
        message: "{params.job}: {params.why}"
        threads: lambda wildcards, step=STEP: GRID.config(job(step, wildcards)).machine.threads if steps.STEPS[step].trains else 1
        resources: gpu=1 if steps.STEPS[STEP].trains else 0
        shell: f"{shlex.quote(sys.executable)} -m lib.pipeline.execution run --grid {{params.grid}} {{params.job}}"
