"""What a job asks of a cluster."""

import pytest

from lib.config import resolve
from lib.pipeline import resources
from lib.pipeline.steps import STEPS, Job
from lib.settings.profiles import PROFILES


@pytest.mark.parametrize("profile", PROFILES)
def test_every_step_of_every_profile_asks_for_something(profile):
    for step, kind in STEPS.items():
        job = Job(profile, "all" if kind.per == "all" else "ped2", step)
        memory, minutes = resources.need(job)
        assert memory >= 1000 and 30 <= minutes <= 7 * 24 * 60


def test_more_frames_ask_for_more():
    small, large = (resources.need(Job("small", dataset, "features")) for dataset in ("ped2", "shanghaitech"))
    assert (resources.frames("ped2"), resources.frames("shanghaitech")) == (4560, 315_306)
    # 5 and 316 thousands: 10 MB and 2 minutes for each.
    assert (large[0] - small[0], large[1] - small[1]) == (311 * 10, 311 * 2)
    assert resources.need(Job("small", "own", "features"))[1] == 30 + 20 * 2


def test_gpus_are_for_trainings_of_the_profile_that_is_made_for_them_or_by_setting():
    def gpus(profile, step, **settings):
        config = resolve(profile, "ped2", {"machine.device": settings.get("device", "auto")})
        return resources.gpus(Job(profile, "ped2", step), config)

    assert gpus("paper", "autoencoder") == 1
    assert gpus("paper", "score") == 0
    assert gpus("long", "autoencoder") == 0
    assert gpus("long", "flow", device="cuda") == 1
    assert gpus("long", "prepare", device="cuda") == 0
    assert gpus("paper", "autoencoder", device="cpu") == 0
