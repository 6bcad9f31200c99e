"""The pipeline as a user meets it: what runs, what does not run again, what happens when something goes
wrong."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import Checkout, hold_trainings

from lib import paths
from lib.errors import EXIT_DATA, EXIT_DISK, EXIT_INTERRUPTED, EXIT_NOTEBOOK, EXIT_USAGE
from lib.pipeline import steps
from lib.report import reference

RUNS = "reports/quick/runs"


def record(checkout: Checkout, job: str) -> dict:
    return json.loads((checkout.folder / RUNS / job / "run.json").read_text())


def cell(checkout: Checkout, notebook: str, kind: str, number: int = -1) -> tuple[dict, dict]:
    path = checkout.folder / "notebooks" / f"{notebook}.ipynb"
    content = json.loads(path.read_text())
    return content, [c for c in content["cells"] if c["cell_type"] == kind][number]


class Edited:
    """A file that is changed within a `with`, and put back."""

    def __init__(self, checkout: Checkout, name: str, change):
        self.path, self.change = checkout.folder / name, change

    def __enter__(self):
        self.before = self.path.read_text()
        self.path.write_text(self.change(self.before))

    def __exit__(self, *_):
        self.path.write_text(self.before)


# -- all of it -----------------------------------------------------------------------------------------------


def test_everything_ran(finished):
    for name in steps.TARGETS["all"]:
        step = steps.STEPS[name]
        where = {"all": "all", "dataset": "synthetic", "seed": "synthetic"}[step.per]
        for variant in step.variants:
            job = "/".join(p for p in (where, name, variant, "seed0" if step.per == "seed" else "") if p)
            assert record(finished, job)["status"] == "complete", job
    for name in (
        "tables/table2.md",
        "tables/table3.csv",
        "tables/table4.tex",
        "figures/fig5.png",
        "index.html",
    ):
        found = list((finished.folder / "reports/quick").glob(name.replace(".", "*.")))
        assert found and found[0].stat().st_size > 200, name


def test_the_notebooks_that_show_the_runs_show_all_of_them(finished):
    """Of a finished call the first notebook lists every run, and the one on Glow shows a trained flow."""
    runs = finished.folder / RUNS
    jobs = [path for path in runs.rglob("run.json") if path.parent.name != "start"]
    start = json.loads((runs / "all/start/00_start_here.ipynb").read_text())
    outputs = ["".join(o["data"].get("text/html", "")) for o in outputs_of(start) if "data" in o]
    (costs,) = [html for html in outputs if "peak_GiB" in html]
    counts = [int(n) for n in re.findall(r'class="data row\d+ col3" >(\d+)<', costs)]
    assert sum(counts) == len(jobs)
    assert not any("not run here" in html for html in outputs)
    glow = json.loads((runs / "all/explain_glow/05_glow.ipynb").read_text())
    assert not any("No flow has been trained" in "".join(o.get("text", "")) for o in outputs_of(glow))


def test_each_executed_notebook_shows_where_in_figure_2_it_is(finished):
    for path in (finished.folder / RUNS).rglob("[01]*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        (shown,) = [c["outputs"] for c in cells if "".join(c["source"]).startswith("you_are_here(")]
        assert "image/png" in shown[0]["data"], path.name


def outputs_of(notebook: dict) -> list[dict]:
    return [o for c in notebook["cells"] for o in c.get("outputs", [])]


def test_the_summary_says_what_a_person_wants_to_know(finished):
    out = finished.first.stdout
    assert "Frame-level AUC by the paper's protocol" in out and "synthetic/score/two_path/seed0" in out
    assert "reports/quick/index.html" in out
    lines = finished.first.stderr.splitlines()
    assert len(lines) < 90, "a wall of lines"
    assert not any("WARNING" in line or "Traceback" in line for line in lines), finished.first.stderr


def test_a_record_tells_the_whole_story(finished):
    r = record(finished, "synthetic/flow/mot/seed0")
    assert (
        r["parameters"]["flow.K"] == 1 and r["parameters"]["flow.permutation"] == "lu"
    )  # set by us, and by default
    assert not any(
        name.startswith(("score.", "data.")) for name in r["parameters"]
    )  # what does not matter to it
    assert r["seed"] == 0 and r["seconds"] > 0 and r["peak_memory_gib"] > 0.05
    assert r["versions"]["torch"] and r["hardware"]["cores"] and set(r["git"]) == {"commit", "dirty"}
    assert list(r["inputs"]) == ["synthetic/features/two_path/seed0"]
    assert {o["file"] for o in r["outputs"]} == {
        "flow.pt",
        "snapshots.pt",
        "nll_train.npz",
        "nll_test.npz",
        "nll_over_training.npz",
    }
    assert (
        "./run_all.sh flow --profile quick --dataset synthetic" in r["command"]
        and "--set flow.K=1" in r["command"]
    )
    text = json.dumps(r)
    import getpass
    import socket

    assert socket.gethostname() not in text and str(finished.folder) not in text
    assert getpass.getuser() == "root" or getpass.getuser() not in text


def test_nothing_runs_twice_and_it_says_so_quickly(finished):
    started = time.time()
    done = finished.tiny()
    assert done.returncode == 0 and "Nothing to do" in done.stdout
    assert time.time() - started < 15


# -- what is stale -------------------------------------------------------------------------------------------


def test_words_and_times_make_nothing_stale(finished):
    for path in [
        *finished.folder.rglob("lib/**/*.py"),
        *finished.folder.glob("notebooks/*.ipynb"),
        *(finished.folder / RUNS).rglob("run.json"),
    ]:
        os.utime(path)
    content, prose = cell(finished, "06_train_flow", "markdown")
    prose["source"] = "Other words."
    with (
        Edited(finished, "lib/glow.py", lambda s: s.replace("# ", "#  ").replace('"""', '"""Also: ', 1)),
        Edited(finished, "notebooks/06_train_flow.ipynb", lambda s: json.dumps(content)),
    ):
        assert finished.stale() == {}


def test_a_module_makes_stale_what_stands_on_it(finished):
    with Edited(finished, "lib/glow.py", lambda s: s + "\nNEW = 1\n"):
        stale = finished.stale()
    first = {job for job, reason in stale.items() if reason == "the code of glow changed"}
    assert {j for j in first if "/flow/" in j} == {f"synthetic/flow/{v}/seed0" for v in steps.FLOWS}
    assert not any("/autoencoder/" in j or "/prepare" in j or "/features/" in j for j in stale)
    assert stale["synthetic/score/mot/seed0"] == "synthetic/flow/mot/seed0 runs first"
    assert "synthetic/score/one_path/seed0" not in stale and "synthetic/score/two_path/seed0" not in stale
    assert "all/table3" in stale and "all/figure/fig2" not in stale


def test_a_notebook_makes_stale_its_own_step(finished):
    content, code = cell(finished, "07_score", "code")
    code["source"] = "x = 1"
    with Edited(finished, "notebooks/07_score.ipynb", lambda s: json.dumps(content)):
        stale = finished.stale()
    assert {j for j, reason in stale.items() if "changed" in reason} == {
        f"synthetic/score/{v}/seed0" for v in steps.MODELS
    }
    assert not any("/flow/" in j or "/features/" in j for j in stale)


@pytest.mark.parametrize(
    "setting, first, untouched",
    [
        ("score.lambda_L=0.5", "synthetic/score/app_intensity/seed0", "/flow/"),
        ("flow.lr=0.001", "synthetic/flow/app_none/seed0", "/features/"),
        ("features.standardise=none", "synthetic/features/one_path/seed0", "/autoencoder/"),
        ("autoencoder.lr=0.003", "synthetic/autoencoder/one_path/seed0", "/prepare"),
    ],
)
def test_a_parameter_makes_stale_what_reads_it(finished, setting, first, untouched):
    stale = finished.stale("--set", setting)
    assert next(iter(stale)) == first and stale[first].startswith(setting.split("=")[0] + " is ")
    assert not any(untouched in job for job in stale)


def test_a_deleted_record_and_a_lost_file_run_again(finished):
    folder = finished.folder / RUNS / "synthetic/flow/mot/seed0"
    (folder / "flow.pt").rename(folder / "away")
    assert finished.stale()["synthetic/flow/mot/seed0"] == "flow.pt is missing"
    (folder / "away").rename(folder / "flow.pt")
    (folder / "run.json").rename(folder / "away")
    assert finished.stale()["synthetic/flow/mot/seed0"] == "not run yet"
    (folder / "away").rename(folder / "run.json")
    assert finished.stale() == {}


def test_the_decision_survives_a_move(finished, tmp_path):
    """Records decide, not file times and not what Snakemake remembers: a copied folder is as finished as the
    original."""
    shutil.copytree(
        finished.folder,
        tmp_path / "moved",
        ignore=shutil.ignore_patterns(".snakemake"),
        copy_function=shutil.copy,
    )
    assert Checkout(tmp_path / "moved").stale() == {}


def test_only_what_is_stale_runs_and_an_equal_result_stops_there(finished, tmp_path):
    """A change that alters code but not the result re-runs that step; what reads the result is left alone."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    copy = Checkout(tmp_path / "copy")
    path = copy.folder / "lib/training/stage2.py"
    path.write_text(path.read_text() + "\nNEW = 1\n")
    done = copy.tiny("flows", "score")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stderr.splitlines() if line.startswith("  synthetic/")}
    assert "done in" in lines["synthetic/flow/mot/seed0"]
    assert "unchanged" in lines["synthetic/score/mot/seed0"]
    assert "synthetic/features/two_path/seed0" not in lines


def test_lines_of_jobs_side_by_side_do_not_mix():
    """Three processes that write to one pipe."""
    code = (
        "from lib.pipeline.terminal import say; from lib.pipeline.steps import Job\n"
        "for i in range(3000): say(Job('quick', 'synthetic', 'flow', 'mot', 0), f'line {i}')"
    )
    reading, writing = os.pipe()
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=paths.ROOT, stderr=writing) for _ in range(3)
    ]
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        lines = pipe.read().splitlines()
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(lines) == 9000 and all(
        line.startswith("  synthetic/flow/mot/seed0 ") and line.count("line") == 1 for line in lines
    )


def test_targets_by_their_names(fresh):
    for target, jobs in {
        "fig2": {"all/figure/fig2"},
        "prepare": {"synthetic/prepare"},
        "one_path": {
            "synthetic/prepare",
            "synthetic/autoencoder/one_path/seed0",
            "synthetic/features/one_path/seed0",
            "synthetic/score/one_path/seed0",
        },
    }.items():
        assert set(fresh.stale(target)) == jobs
    assert {"synthetic/score/one_path/seed3", "synthetic/autoencoder/two_path/seed4"} <= set(
        fresh.stale("table3", "--seeds", "3,4")
    )
    two = fresh.stale("table3", "--dataset", "synthetic", "ped2")
    assert (
        "ped2/score/mot/seed0" in two
        and "synthetic/score/mot/seed0" in two
        and "ped2/score/app_none/seed0" not in two
    )


def test_snakemake_gets_what_follows_two_dashes(finished):
    done = finished.tiny("--dry-run", "--", "--rulegraph")
    assert done.returncode == 0 and "digraph" in done.stdout and "autoencoder" in done.stdout


def test_kept_weights_score_without_training(finished, tmp_path):
    """--pretrained takes the reference's weights; what they do not cover is refused; other weights make it
    run again."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    copy, kept = Checkout(tmp_path / "copy"), tmp_path / "copy/reports/reference/quick/runs"
    for (step, variant), name in reference.WEIGHTS.items():
        job = f"synthetic/{step}/{variant}/seed0"
        (kept / job).mkdir(parents=True)
        reference.keep_weights(copy.folder / RUNS / job / name, kept / job / name)
        shutil.copyfile(copy.folder / RUNS / job / "history.csv", kept / job / "history.csv")
    done = copy.tiny("app_intensity_mot", "--pretrained")
    assert done.returncode == 0, done.stderr
    for job in ("synthetic/features/two_path/seed0", "synthetic/flow/mot/seed0"):
        (name, trained), (_, taken) = (list(record(of, job)["metrics"].items())[0] for of in (finished, copy))
        assert taken != trained and abs(taken - trained) < 0.01 * abs(trained), (
            name
        )  # but for the digits that are not kept
    taken = record(copy, "synthetic/autoencoder/two_path/seed0")
    assert (
        taken["notes"]["weights"]["file"]
        == "reports/reference/quick/runs/synthetic/autoencoder/two_path/seed0/autoencoder.pt"
    )
    assert (
        taken["metrics"] == record(finished, "synthetic/autoencoder/two_path/seed0")["metrics"]
    )  # from the kept history
    assert copy.stale("app_intensity_mot", "--pretrained") == {}
    done = copy.tiny("one_path", "--pretrained")
    assert (
        done.returncode == EXIT_NOTEBOOK
        and "has no weights of synthetic/autoencoder/one_path/seed0" in done.stderr
    )
    shutil.copyfile(
        copy.folder / RUNS / "synthetic/flow/mot/seed0/flow.pt", kept / "synthetic/flow/mot/seed0/flow.pt"
    )
    assert (
        copy.stale("mot", "--pretrained")["synthetic/flow/mot/seed0"]
        == "the weights that it took from the reference changed"
    )


# -- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["tabel3"], "There is no target 'tabel3'. Did you mean table3?"),
        (["--profile", "smal"], "There is no profile 'smal'. Did you mean small?"),
        (["--dataset", "avenu"], "There is no data set 'avenu'. Did you mean avenue?"),
        (["--set", "flow.k=8"], "There is no parameter 'flow.k'. Did you mean flow.K?"),
        (["--set", "flow.K=many"], "flow.K takes a whole number; 'many' is not."),
        (["--set", "flow.K"], "--set takes NAME=VALUE; 'flow.K' has no '='."),
        (["--seeds", "one"], "--seeds takes whole numbers; 'one' is not."),
        (["--profil=quick"], "There is no option --profil=quick. Did you mean --profile?"),
        (["--cores", "0"], "--cores must be at least 1."),
        (["--data-root", "nowhere"], "--data-root nowhere is not a folder."),
        (["--again", "flows"], "There is no step 'flows'. Did you mean flow?"),
    ],
)
def test_a_mistake_on_the_command_line(fresh, arguments, sentence):
    done = fresh.run(*arguments)
    assert done.returncode == EXIT_USAGE and sentence in done.stderr and "Traceback" not in done.stderr


def test_help_lists_the_exit_codes(fresh):
    out = fresh.run("--help").stdout
    for code in (EXIT_USAGE, EXIT_DATA, EXIT_NOTEBOOK, EXIT_DISK, EXIT_INTERRUPTED):
        assert f"  {code:>3}  " in out


def test_missing_data_says_where_to_get_it(fresh, tmp_path):
    (tmp_path / "raw").mkdir()
    done = fresh.run("prepare", "--dataset", "ped2", "--data-root", str(tmp_path / "raw"))
    assert done.returncode == EXIT_DATA
    assert (
        "ped2 was not found" in done.stderr
        and "--fetch ped2" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert "01_data.ipynb" in done.stderr and "to continue: ./run_all.sh" in done.stderr


def test_too_few_frames_for_a_window(fresh):
    done = fresh.tiny("one_path", "--set", "synthetic.clip_frames=12")
    assert done.returncode == EXIT_DATA and "fewer than a window (T = 16)" in done.stderr


def test_an_impossible_network_is_refused_in_words(fresh):
    done = fresh.tiny("autoencoder", "--set", "model.tau=3")
    assert done.returncode == EXIT_USAGE
    assert (
        "T = 16 is not a multiple of tau = 3" in done.stderr and "03_train_autoencoder.ipynb" in done.stderr
    )


def test_divergence_stops_with_step_rate_norm_and_term(fresh):
    done = fresh.tiny("one_path", "--set", "autoencoder.lr=1e30")
    assert done.returncode == EXIT_NOTEBOOK
    for word in ("Training diverged at step", "learning rate", "gradient norm", "section", "executed copy"):
        assert word in done.stderr
    assert record(fresh, "synthetic/autoencoder/one_path/seed0")["status"] == "failed"


def test_a_checkpoint_of_another_configuration(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "copy")
    copy = Checkout(tmp_path / "copy")
    other = copy.folder / RUNS / "synthetic/autoencoder/one_path/seed0/autoencoder.pt"
    shutil.copyfile(other, copy.folder / RUNS / "synthetic/autoencoder/two_path/seed0/autoencoder.pt")
    done = copy.tiny("features", "--again", "features")
    assert (
        done.returncode == EXIT_NOTEBOOK and "was made by a network of another configuration" in done.stderr
    )


# -- interruptions -------------------------------------------------------------------------------------------


def wait_for(condition, seconds: float = 600) -> None:
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not come to that"
        time.sleep(0.05)


def running_in(checkout: Checkout) -> list[psutil.Process]:
    """The processes that run in a checkout: Snakemake, jobs, kernels."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(checkout.folder):
                found.append(process)
    return found


def killed_kernel(checkout: Checkout) -> None:
    kernels = [p for p in running_in(checkout) if "ipykernel_launcher" in p.cmdline()]
    assert len(kernels) == 1
    kernels[0].kill()


class Started:
    """A call of run_all.sh that has come to a checkpoint of its training, and waits there."""

    def __init__(self, checkout: Checkout, *arguments: str):
        self.checkout = checkout
        hold_trainings(checkout)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lib.commands.cli", *checkout.settings(), *arguments],
            cwd=checkout.folder,
            env=checkout.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # as from a terminal: a test run in the background hands its children a deaf ear for Ctrl-C
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait_for(lambda: (checkout.folder / "held").exists() or self.process.poll() is not None)

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said; nothing of it runs any more."""
        _, said = self.process.communicate(timeout=600)
        assert "Traceback" not in said and running_in(self.checkout) == []
        for name in ("hold", "held"):
            (self.checkout.folder / name).unlink()
        return self.process.returncode, said


def test_an_interrupted_training_goes_on_and_ends_the_same(finished, tmp_path):
    """After Ctrl-C, after `kill` of the command alone, and after a kernel that died."""
    broken = Checkout(tmp_path / "broken")
    shutil.copytree(finished.folder, broken.folder)
    job = "synthetic/autoencoder/one_path/seed0"
    folder = broken.folder / RUNS / job

    call = Started(broken, "one_path", "--again", "autoencoder")
    os.killpg(call.process.pid, signal.SIGINT)  # what a terminal does
    code, said = call.ended()
    assert code == EXIT_INTERRUPTED and "Nothing is lost" in said and f"Interrupted: {job}." in said, said
    assert record(broken, job)["status"] == "was interrupted"

    call = Started(broken, "one_path")
    os.kill(call.process.pid, signal.SIGTERM)
    code, said = call.ended()
    assert code == EXIT_INTERRUPTED and "Nothing is lost" in said, said
    assert "continuing from step 2 of 6" in (folder / "03_train_autoencoder.ipynb").read_text()

    call = Started(broken, "one_path")
    killed_kernel(broken)
    code, said = call.ended()
    assert code == EXIT_NOTEBOOK and "The kernel of" in said and "died" in said, said
    assert record(broken, job)["status"] == "failed"

    done = broken.tiny("one_path")
    assert done.returncode == 0 and "unchanged: its inputs are the same as before" in done.stderr, done.stderr
    assert "continuing from step 6 of 6" in (folder / "03_train_autoencoder.ipynb").read_text()
    for name in ("autoencoder.pt", "snapshots.pt"):
        assert (folder / name).read_bytes() == (finished.folder / RUNS / job / name).read_bytes()


def test_a_full_disk_leaves_the_last_checkpoint(fresh):
    """A file size limit stands in for a full disk: the kernel may write no file above it."""
    limit = (
        "import resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)); "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from lib.commands import cli; "
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    assert fresh.tiny("prepare").returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", limit, "one_path", *Checkout.settings()],
        cwd=fresh.folder,
        env=fresh.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (EXIT_DISK, EXIT_NOTEBOOK) and "Make room on the disk" in done.stderr, (
        done.stderr
    )
    assert record(fresh, "synthetic/autoencoder/one_path/seed0")["status"] != "complete"
    assert fresh.tiny("autoencoder").returncode == 0


# -- Snakemake by hand ---------------------------------------------------------------------------------------


def test_snakemake_by_hand(fresh):
    """From a plan, or without one; in a checkout whose name holds what a shell and Snakemake would read
    otherwise."""
    odd = Checkout(fresh.folder.with_name('it\'s {odd} "so" $x'))
    fresh.folder.rename(odd.folder)

    def snakemake(*arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-triggers", "mtime", *arguments],
            cwd=odd.folder,
            env=odd.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )

    assert odd.run("--plan", "fig2").returncode == 0
    plan = "reports/quick/.state/by_hand/plan.json"
    done = snakemake("--config", f"plan={plan}")
    assert done.returncode == 0, done.stderr
    assert record(odd, "all/figure/fig2")["why"] == "not run yet"
    assert "Nothing to be done" in snakemake("--config", f"plan={plan}").stderr
    everything = snakemake("--dry-run", "--quiet", "rules")
    assert everything.returncode == 0 and re.search(r"total +\d\d", everything.stdout + everything.stderr)
    jobs = json.loads((odd.folder / plan).read_text())["lines"]
    assert {line["job"] for line in jobs if not line["why"]} == {"all/figure/fig2"} and len(jobs) > 30
