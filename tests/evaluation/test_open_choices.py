"""The list of open choices, and what the paper's words say of each."""

from lib.evaluation.open_choices import open_choices


def test_open_choices_have_the_literal_reading_among_their_options():
    found = {choice["name"]: choice for choice in open_choices()}
    for name, choice in found.items():
        assert choice["why"] and choice["help"], name
        if choice["options"] and choice["literal"] != "":
            assert choice["literal"] in choice["options"] and choice["default"] in choice["options"], name
            assert choice["default"] == choice["literal"], (
                f"{name}: where the paper's words say something, that is the default"
            )
    assert {
        "loss.l2",
        "autoencoder.windows",
        "autoencoder.cycles",
        "flow.cycles",
        "error.background",
        "score.order",
        "score.lambda_of",
        "model.activation",
        "features.time",
    } <= set(found)
    assert not {
        "data.height",
        "machine.threads",
        "autoencoder.snapshots",
        "synthetic.seed",
        "data.subset",
    } & set(found)
    assert found["loss.l2"]["literal"] == "window_norm" and found["score.order"]["literal"] == ""


def test_open_choices_of_a_data_set_are_as_the_paper_has_them_there():
    def literal(dataset, name):
        return next(choice for choice in open_choices(dataset) if choice["name"] == name)["literal"]

    assert literal("ped2", "score.reduce") == "largest_patch_mean" and literal("avenue", "score.reduce") == ""
    assert (
        literal("shanghaitech", "error.background") == "input"
        and literal("ped2", "error.background") == "none"
    )
