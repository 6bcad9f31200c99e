# The pipeline: one rule a step, each job one notebook executed by papermill. What the steps are and what each reads is in
# lib/pipeline/steps.py. Which jobs have to run is decided before, by records and not by the times of files, and written
# down: this file reads the plan (lib/pipeline/plans.py) and decides nothing.
#
# ./run_all.sh calls this with plain words. By hand, and with everything that Snakemake can do (clusters, drawing):
#     ./run_all.sh --plan table3 --dataset ped2 --profile long    a plan of what would run; it prints where it lies
#     snakemake --cores 2 --rerun-triggers mtime --config plan=reports/long/.state/by_hand/plan.json
# Without a plan, one is made of everything on the generated data set at profile quick.
import shlex
import subprocess
import sys

if sys.path[0] != workflow.basedir:
    sys.path.insert(0, workflow.basedir)
from lib.pipeline import plans


def shell_word(text):
    """A word for the shell, in which Snakemake finds nothing to fill in."""
    return shlex.quote(str(text)).replace("{", "{{").replace("}", "}}")


FILE = config.get("plan")
if not FILE:
    FILE = plans.by_hand("quick")
    if workflow.is_main_process:
        subprocess.run([sys.executable, "-m", "lib.commands.cli", "--plan"], cwd=workflow.basedir, check=True, stdout=sys.stderr)
PLAN = plans.read(FILE)
if PLAN.by_hand and workflow.is_main_process:
    LOCK = plans.hold(PLAN.profile)
    LOCK.__enter__()  # until Snakemake ends
STEPS = {line.step: line for line in PLAN.lines.values()}
ROOT = shell_word(workflow.basedir)
# `exec`: a signal to the shell, which Snakemake starts, is one to the job.
RUN = f"cd {ROOT} && exec {shell_word(sys.executable)} -m lib.pipeline.execution --plan {shell_word(PLAN.file)}"


def line_of(step, wildcards):
    return PLAN.lines[f"{wildcards.dataset}/{step}{wildcards.rest.replace('.', '/')}"]


workdir: str(PLAN.folder)


rule all:
    input: [line.marker for line in PLAN.lines.values()]
    default_target: True


for STEP in STEPS:
    rule:
        name: STEP
        input: lambda wildcards, step=STEP: [PLAN.lines[name].marker for name in line_of(step, wildcards).waits_for]
        output: f"{{dataset}}.{STEP}{{rest,(\\.\\w+)*}}"
        params:
            job=lambda wildcards, step=STEP: line_of(step, wildcards).job,
            why=lambda wildcards, step=STEP: line_of(step, wildcards).why
        message: "{params.job}: {params.why}"
        threads: lambda wildcards, step=STEP: line_of(step, wildcards).threads
        resources:
            training=int(STEPS[STEP].trains),  # on one machine as many run at once as it has GPUs
            mem_mb=lambda wildcards, attempt, step=STEP: line_of(step, wildcards).memory * attempt,
            runtime=lambda wildcards, step=STEP: line_of(step, wildcards).minutes,
            gpu=lambda wildcards, step=STEP: line_of(step, wildcards).gpus
        shell: f"{RUN} {{params.job}}"
