"""What it costs to run everything: the counts of work and disk against records and networks, and the page."""

import math
import re

import pytest
from conftest import ADOPTED
from torch import nn

from lib import paths
from lib.config import resolve
from lib.glow import Glow
from lib.pipeline import records
from lib.pipeline.steps import Job
from lib.report import costs
from lib.report.reference import profiles, reading
from lib.training.stage1 import build_autoencoder
from lib.training.table1 import layer_table

PED2 = costs.Frames.official("ped2")


def test_a_network_is_that_of_its_whole_size():
    config = resolve("quick", "ped2")
    for two_path in (False, True):
        rows = layer_table(build_autoencoder(config, two_path=two_path, seed=0), 128, 192)
        found = costs.network(config, two_path)
        assert found.multiply_adds == sum(row["multiply_adds"] for row in rows)
        last = [row["output"] for row in rows if row["layer"] == "Conv4" and row["path"] == "appearance"]
        assert [found.app] == last


def test_a_flow_is_that_of_its_layers():
    """Convolutions are counted where they run; a permutation is a matrix on the channels of each place."""
    config = resolve("quick", "ped2", {"flow.K": 2, "flow.L": 2, "flow.hidden": 8})
    channels = costs.flow_channels(config, "app_intensity")
    assert channels == 2 * 4 + 4  # maximum and mean of four time steps, and four frames
    glow = Glow(channels=channels, K=2, L=2, hidden=8, permutation="lu", recompute=False)
    h, w = costs.network(config, two_path=True).app[2:]
    expected = 0
    for wide, side in ((4 * channels, 2), (8 * channels, 4)):
        positions = (h // side) * (w // side)
        convolutions = wide // 2 * 8 * 9 + 8 * 8 + 8 * wide * 9
        expected += 2 * positions * (wide**2 + convolutions)
    work, parameters = costs.flow_size(config, "app_intensity")
    assert work == expected
    levels = nn.ModuleList(glow.levels)
    assert parameters == sum(p.numel() for p in levels.parameters())


def test_work_grows_with_what_is_done():
    job, twice = Job("small", "ped2", "autoencoder", "two_path", 0), resolve("small", "ped2")
    steps = twice.autoencoder.steps
    doubled = resolve("small", "ped2", {"autoencoder.steps": 2 * steps})
    assert costs.work(doubled, job, PED2) == 2 * costs.work(twice, job, PED2)
    nothing = resolve("small", "ped2", {"sensitivity.retrain": "nothing"})
    assert costs.work(nothing, Job("small", "ped2", "sensitivity", "", 0), PED2) == 0


@pytest.mark.skipif(not profiles(), reason="the reference is empty")
def test_disk_is_what_records_say():
    """Features, by far the largest, to two per cent; records of other settings are counted with theirs."""
    checked = 0
    for profile in profiles():
        with reading():
            kept = [(job, record) for job, record in records.find(profile) if job.dataset == "ped2"]
        config = costs.as_recorded("ped2", [record for _, record in kept]) if kept else None
        for job, record in kept:
            if job.step == "features":
                sizes = {o["file"]: o["bytes"] for o in record["outputs"]}
                pictures = PED2.test * config.data.height * config.data.width * config.data.channels
                sizes.setdefault("test_reconstructions.npy", pictures)  # older records have none
                assert costs.disk(config, job, PED2) == pytest.approx(sum(sizes.values()), rel=0.02)
                checked += 1
    assert checked


def known(job, seconds, work, **more):
    return costs.Measured(job, seconds, work, **({"whole": True, "gpu": False} | more))


def test_measured_is_taken_as_it_is_and_the_rest_by_its_work():
    job = Job("small", "ped2", "autoencoder", "two_path", 0)
    other = Job("small", "avenue", "autoencoder", "two_path", 0)
    assert costs.seconds(job, 100.0, [known(job, 7.0, 100.0), known(other, 50.0, 100.0)]) == (7.0, True)
    # Another amount of work under the same name, a part of the data, another data set: by the rate of both.
    for one in (known(job, 7.0, 50.0), known(job, 7.0, 100.0, whole=False)):
        time, was_measured = costs.seconds(job, 100.0, [one, known(other, 50.0, 100.0)])
        assert not was_measured and time == pytest.approx(100 * 57 / (one.work + 100))
    # Records on a GPU say nothing of CPU hours, and give the rate of GPU hours.
    fast = known(job, 1.0, 2e13, gpu=True)
    assert costs.seconds(job, 100.0, [fast, known(other, 50.0, 100.0)]) == (50.0, False)
    assert costs.gpu_rate([fast, known(other, 50.0, 100.0)]) == (2e13, True)
    assert costs.gpu_rate([known(other, 50.0, 100.0)]) == (costs.GPU_TFLOPS * 1e12, False)


def test_all_data_sets_together_are_the_sum_and_the_longest_chain():
    a = costs.Cost(2, 1, 5.0, 1.0, 3.0, 10.0, 6.0, 8.0)
    b = costs.Cost(3, 1, 1.0, 0.0, 4.0, 20.0, 5.0, 2.0)
    assert a.and_also(b) == costs.Cost(5, 2, 6.0, 1.0, 4.0, 30.0, 6.0, 10.0)


def test_the_page_has_the_table_of_today(monkeypatch):
    monkeypatch.setattr(paths, "SELECTION", ADOPTED)
    text = costs.PAGE.read_text(encoding="utf-8")
    shown = re.search(r"<!-- costs: [^\n]*-->\n(.*?)<!-- end of costs -->", text, flags=re.S)[1]
    assert shown == costs.table(), "make it anew: ./run_all.sh --costs"


def test_a_page_is_made_anew_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- costs: made -->\nold\n<!-- end of costs -->\nafter\n")
    costs.update_page(page)
    text = page.read_text()
    assert text.startswith("before\n<!-- costs: made -->\n| profile |") and text.endswith(
        "<!-- end of costs -->\nafter\n"
    )
    assert "old" not in text


def test_hours_are_shown_with_their_figures():
    assert [costs._hours(h) for h in (0.034, 3.14159, 149.6, 17191.2)] == ["0.03", "3.1", "150", "17,191"]
    assert not math.isnan(costs.GPU_TFLOPS)
