"""What a notebook's checks allow for rounding, and which work of a run stands however its figure is drawn."""

import shutil

import made_records as made
import numpy as np
import torch

from lib.pipeline.notebook_run import adds_up, begin


def test_a_sum_whose_terms_cancel_may_be_off_by_their_rounding_and_by_no_more():
    """A likelihood that crosses zero: a tolerance relative to it would fail, one from its terms does not."""
    generator = torch.Generator().manual_seed(0)
    log_p_z = -3e4 + 100 * torch.randn(200, 3, generator=generator)
    log_det = -log_p_z + 0.01 * torch.randn(200, 3, generator=generator)
    total = log_p_z.sum(1) + log_det.sum(1)
    exact = log_p_z.double().sum(1) + log_det.double().sum(1)
    assert not np.allclose(total.double(), exact, rtol=1e-4, atol=0)
    assert adds_up(total, log_p_z, log_det)
    assert adds_up(total.numpy().astype(np.float64), log_p_z.numpy(), log_det.numpy())
    for wrong in (total + 1.0, -total, total[torch.randperm(200, generator=generator)] * 3 + 1):
        assert not adds_up(wrong, log_p_z, log_det)
    assert not adds_up(total, log_p_z)
    assert not adds_up(torch.where(torch.arange(200) == 77, total + 1.0, total), log_p_z, log_det)


def test_small_sums_are_held_to_small_tolerances():
    terms = np.array([[1.0, 2.0], [1e-3, -1e-3]])
    assert adds_up([3.0, 0.0], terms) and adds_up([3.0 + 3e-7, 1e-10], terms)
    assert not adds_up([3.0, 1e-8], terms) and not adds_up([3.00001, 0.0], terms)
    assert not adds_up([np.nan, 0.0], terms)


def test_trainings_stand_whatever_the_chart_looks_like(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_REPORTS", str(tmp_path / "reports"))
    shutil.copytree(made.complete(), tmp_path / "reports")

    def run(**settings):
        return begin("sensitivity", profile="quick", dataset="ped2", seed=0, settings=settings)

    plain, wide = run(), run(**{"figure.size": "column", "figure.palette": "grey"})
    assert plain.identity != wide.identity
    assert plain.identity_without("figure") == wide.identity_without("figure") == plain.identity
    assert run(**{"flow.K": 3}).identity_without("figure") != plain.identity
    assert run(**{"figure.clip": "Test001"}).identity == plain.identity  # the chart shows no clip
