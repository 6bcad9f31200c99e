"""Figure 2 with a part lit, and the drawings of the notebook on Glow."""

import pytest
from matplotlib.patches import Rectangle

from lib.config import resolve
from lib.figures import framework, glow_drawings, style
from lib.figures.you_are_here import PARTS, you_are_here


def veils(figure) -> list[Rectangle]:
    return [p for p in figure.axes[0].patches if isinstance(p, Rectangle) and p.get_alpha() == 0.82]


def test_the_parts_of_figure_2_tile_it():
    rectangles = [r for part in PARTS.values() for r in part]
    covered = sum(width * height for _, _, width, height in rectangles)
    assert covered == pytest.approx(style.PAGE * framework.HEIGHT, rel=1e-6)


def test_everything_is_faded_but_the_part_that_is_named():
    config = resolve("quick", "synthetic")
    count = sum(len(part) for part in PARTS.values())
    assert len(veils(you_are_here(config))) == 0
    assert len(veils(you_are_here(config, "pooling"))) == count - 2
    assert len(veils(you_are_here(config, "F_app", "F_mot"))) == count - 2
    with pytest.raises(KeyError):
        you_are_here(config, "the flows")


def test_settings_that_describe_no_network_are_said_and_refused_elsewhere():
    """Preparing frames does not need a network."""
    figure = you_are_here(resolve("quick", "synthetic", {"model.tau": 3}), "frames")
    assert "no network" in figure.axes[0].texts[-1].get_text() and not veils(figure)


def test_the_levels_that_are_drawn_are_those_asked_for():
    texts = [text.get_text() for text in glow_drawings.levels(3, 32).axes[0].texts]
    assert sum("32 steps" in text for text in texts) == 3 and "$z_3$: all that is left" in texts


def test_the_squeeze_that_is_drawn_is_glows():
    """The numbers in the four small maps are those that the layer puts there."""
    import torch

    from lib.glow import Squeeze

    squeezed = Squeeze()(torch.arange(1.0, 17.0).reshape(1, 1, 4, 4))[0][0].flatten().int().tolist()
    numbers = [
        int(t.get_text()) for t in glow_drawings.squeeze_and_split().axes[0].texts if t.get_text().isdigit()
    ]
    assert sorted(numbers[:16]) == list(range(1, 17)) and numbers[16:] == squeezed
