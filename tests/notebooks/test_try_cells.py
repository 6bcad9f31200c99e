"""The cell under "Try" of each notebook does what its folded answer says. It is run after the imports alone,
with small things in the place of what the cells between would have made."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALLEST

from lib import glow, scoring
from lib.config import resolve
from lib.datasets.prepared import Clip
from lib.density import Density
from lib.evaluation import protocols, selection, sensitivity
from lib.evaluation.open_choices import open_choices
from lib.evidence.verdict import Finding
from lib.figures.paper_figures import Picture
from lib.pipeline.steps import Job
from lib.training import stage1, stage2

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
CLIPS = (Clip("a", "test", 0, 30), Clip("b", "test", 30, 30))
LABELS = np.tile(np.arange(30) > 14, 2)
CONFIG = resolve("quick", "synthetic", SMALLEST)


@pytest.fixture
def tried(monkeypatch, capsys):
    """Runs the Try cell of a notebook by hand; returns what it prints. `given`: what earlier cells bind."""

    def tried(number: int, *, run_folder=None, inputs=None, **given) -> str:
        cells = json.loads(NOTEBOOKS[number].read_text(encoding="utf-8"))["cells"]
        imports, *between, last = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        bound = {
            node.id if isinstance(node, ast.Name) else node.name
            for node in ast.walk(ast.parse("\n".join(between)))
            if isinstance(node, ast.FunctionDef)
            or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        }
        assert set(given) <= bound, "given here, and never made there"
        run = SimpleNamespace(by_hand=True, config=CONFIG, folder=run_folder, tick=lambda *_: None)
        run.inputs_of, run.record = lambda _: inputs, lambda job: inputs[job]
        space = {"run": run, "profile": "quick", "dataset": "synthetic", "settings": {}, "seed": 0} | given
        monkeypatch.chdir(NOTEBOOKS[0].parent)
        exec(imports, space)
        capsys.readouterr()
        exec(last, space)
        return capsys.readouterr().out

    return tried


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"(?<![\w.])-?\d+\.\d+", text)]


def test_the_scores_are_left_open_most_often(tried):
    assert tried(0, choices={choice["name"] for choice in open_choices()}).split()[0] == "score"


def test_scorers_that_look_at_nothing_do_not_mind_the_size(tried):
    frames = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    lines = tried(1, frames=frames, labels=LABELS, clips=CLIPS).splitlines()
    before, after = (ast.literal_eval(line[line.index("{") :]) for line in lines)
    for name in before:
        same = name in ("frame position", "constant", "random")
        assert same == (before[name] == after[name]), name


def test_a_slower_appearance_path_costs_less_and_the_motion_path_the_same(tried):
    costs = [ast.literal_eval(line[line.index("{") :]) for line in tried(2).splitlines()]
    appearance, motion, decoder = (
        [cost[path] for cost in costs] for path in ("appearance", "motion", "decoder")
    )
    assert appearance[0] == pytest.approx(8 * appearance[3], rel=0.1) and len(set(motion)) == 1
    assert decoder == sorted(decoder, reverse=True)


def test_the_gradient_loss_tells_noise_from_blur(tried):
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    squares = ((rows // 4 + columns // 4) % 2 * 2.0 - 1).expand(1, 1, 8, 16, 16)
    (blurred, blur_costs), (noisy, noise_costs) = (numbers(line) for line in tried(3, I=squares).splitlines())
    assert blurred == pytest.approx(noisy, rel=1e-3) and 0 < blur_costs < noise_costs


def test_both_paths_notice_that_time_runs_backwards(tried, tmp_path):
    np.save(tmp_path / "test_windows.npy", [(0, 0), (0, 4)])
    frames = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), dtype=np.uint8)
    model = stage1.build_autoencoder(CONFIG, two_path=True, seed=0).eval()
    data = SimpleNamespace(frames=lambda _: frames)
    changes = numbers(tried(4, run_folder=tmp_path, variant="two_path", data=data, model=model))
    assert len(changes) == 2 and min(changes) > 0.01


def test_samples_at_a_low_temperature_are_the_likelier_ones(tried):
    toy = Density(
        glow.Glow(channels=1, K=2, L=2, hidden=4, permutation="dense", recompute=False),
        torch.zeros(1, 1, 1),
        torch.ones(1, 1, 1),
    )
    toy.nll(torch.randn(64, 1, 8, 8))  # from which actnorm takes its start
    said = tried(5, toy=toy.eval(), generator=torch.Generator().manual_seed(0))
    bits = [numbers(line)[1] for line in said.splitlines()]
    assert len(bits) == 3 and bits == sorted(bits)


def test_an_untrained_flow_is_near_a_gaussian(tried):
    x = np.random.default_rng(0).normal(size=(40, 4, 4, 4)).astype(np.float32)
    density = stage2.build_flow(CONFIG, 4, torch.zeros(4, 1, 1), torch.ones(4, 1, 1), seed=1)
    density.nll(torch.from_numpy(x))
    said = tried(6, test=x, density=density.eval(), dims=64, device=torch.device("cpu")).splitlines()
    assert len(said) == 2 and numbers(said[0])[0] == pytest.approx(1.42, abs=0.1)


def test_lambda_leads_from_the_errors_to_the_likelihoods(tried):
    generator = np.random.default_rng(0)
    R, L = (generator.normal(size=60) + shift * LABELS for shift in (0.5, 1.0))
    ids = scoring.clip_ids(CLIPS)
    found, table = SimpleNamespace(R=R, L=L), pd.DataFrame({"L": L})
    given = dict(flows=("mot",), why_no_auc="", found=found, table=table, clip_ids=ids, labels=LABELS)
    aucs = [numbers(line)[-1] for line in tried(7, **given).splitlines()]
    alone = [protocols.frame_auc(x, LABELS, ids, protocols.PROTOCOLS["paper"]) for x in (R, L)]
    assert [aucs[0], aucs[-1]] == pytest.approx(alone, abs=1e-4)


def test_fewer_neighbours_are_tried(tried, tmp_path):
    generator = np.random.default_rng(0)
    windows = np.array(
        [(clip, start) for clip, first in ((0, 0), (1, 30)) for start in range(first, first + 23)]
    )
    for split, n in (("train", 40), ("test", len(windows))):
        np.save(tmp_path / f"{split}_mot.npy", generator.normal(size=(n, 4, 8, 8)).astype(np.float32))
    np.save(tmp_path / "train_windows.npy", [(0, i) for i in range(40)])
    given = dict(
        folder=tmp_path, windows=windows, clips=CLIPS, clip_ids=scoring.clip_ids(CLIPS), labels=LABELS
    )
    said = tried(8, paper=protocols.PROTOCOLS["paper"], **given)
    assert len(said.splitlines()) == 4 and "every 8. training window" in said


@pytest.mark.parametrize("number", [9, 10, 11])
def test_each_model_is_shown_under_each_protocol(tried, number):
    protocols_of = {"paper": {"auc": 0.81234}, "macro": {"auc": 0.7}}
    jobs = [Job("quick", "synthetic", "score", variant, 0) for variant in ("one_path", "two_path")]
    said = tried(number, inputs={job: {"metrics": {"protocols": protocols_of}} for job in jobs})
    assert said.count("'paper': 0.812") == 2 and jobs[0].name in said


def test_the_numbers_behind_a_figure_are_described(tried):
    table = pd.DataFrame({"frame": [0, 1], "R": [0.25, 0.75]})
    said = tried(12, pictures={"synthetic": Picture(None, table, "The clip of median AUC.")})
    assert "The clip of median AUC." in said and "0.75" in said


def test_a_coarser_rule_claims_more(tried):
    def of(claim, ours, low, quantity="two paths − one path"):
        return Finding(claim, quantity, "synthetic", ours=ours, low=low, high=0.5)

    largest = of("C1", 0.2, 0.1, "two paths − one path is largest here")
    found = [of("C1", 0.1, 0.05), of("C2", 0.02, -0.1), of("C4", -0.1, -0.2), of("C5", 0.9, 0.8), largest]
    said = tried(13, found=[*found, Finding("C1", "not run", "ped2")])
    assert re.findall(r"(\d+) (?:changes|are|with)", said) == ["3", "2", "1"]


def test_the_largest_total_score_is_alike_in_all_clips(tried):
    scores = pd.DataFrame(
        {"clip": np.repeat(["a", "b"], 3), "S": [0, 0.5, 1.2, 0, 0.4, 1.1], "R": [1, 2, 3, 1, 50, 90]}
    )
    said = tried(14, scored=Job("quick", "synthetic", "score", "mot", 0), scores=scores)
    assert [line.split()[2] for line in said.splitlines() if line[0] in "ab"] == ["1.2", "1.1"]


@pytest.mark.parametrize("seed, said", [([0.02, -0.15], "1 of 2"), ([], "0 of 2")])
def test_choices_are_held_against_another_seed(tried, seed, said):
    found = pd.DataFrame(
        {"choice": ["a", "b", *[sensitivity.ANOTHER_SEED] * len(seed)], "change": [0.1, 0.2, *seed]}
    )
    assert said in tried(15, found=found, labelled=True)


def test_the_best_option_stands_beside_the_one_that_the_rule_takes(tried):
    base = selection.Line("flow", {}, {0: 0.7, 1: 0.8}, {})
    led = selection.Line("flow", {"flow.K": 8}, {0: 0.79, 1: 0.78}, {})
    said = tried(16, stages=[selection.Settled("flow", CONFIG, base, (base, led))])
    assert re.search(r"by the rule: base +best mean: flow\.K=8 \(0\.785\)", said)


def test_the_end_of_a_training_is_held_against_its_middle(tried):
    points = pd.DataFrame(
        {"clips": "test", "windows": [10, 50, 100], "R": [0.5, 0.6, 0.7], "L": 0.8, "S": 0.9}
    )
    assert tried(17, points=points) == "test {'R': 0.1, 'L': 0.0, 'S': 0.0}\n"
