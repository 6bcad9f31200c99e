"""The rule of the selection: the literal reading keeps ties and what chance could have done."""

import pytest

from lib.config import resolve
from lib.evaluation import selection

CONFIG = resolve("quick", "synthetic", literal=True)


def measured(aucs: dict[str, tuple[float, float]], other=(0.5, 0.5)):
    """A measure that knows the AUC of some labels for both seeds, and what it was asked."""
    asked = []

    def measure(trials):
        found = []
        for config, changes, seed in trials:
            assert all(selection.value_of(config, name) == value for name, value in changes.items())
            label = selection.label_of(changes)
            asked.append((label, seed))
            found.append((f"{label}-{seed}", aucs.get(label, other)[seed]))
        return found

    return measure, asked


def verdicts(settled):
    return {line.label: line.verdict for line in settled.lines}


def test_nothing_better_keeps_the_literal_reading_and_trains_no_second_seed_for_it():
    measure, asked = measured({"base": (0.80, 0.81)})
    settled = selection.settle("autoencoder", CONFIG, measure)
    assert settled.config == CONFIG and settled.line.label == "base"
    assert asked[:2] == [("base", 0), ("base", 1)] and not [a for a in asked[2:] if a[1] == 1]
    assert len(asked) == 2 + sum(map(len, selection.open_choices(CONFIG, "autoencoder").values()))


def test_a_tie_goes_to_the_literal_reading():
    measure, _ = measured({}, other=(0.8, 0.8))
    assert selection.settle("autoencoder", CONFIG, measure).config == CONFIG


@pytest.mark.parametrize(
    "option, taken",
    [((0.90, 0.91), True), ((0.82, 0.81), False), ((0.95, 0.70), False), ((0.90, 0.60), False)],
    ids=["clear", "within the base's noise", "within its own noise", "better by one seed alone"],
)
def test_an_option_wins_only_by_more_than_two_seeds_differ(option, taken):
    label = "loss.l2=frame_norm"
    measure, asked = measured({"base": (0.78, 0.81), label: option})
    settled = selection.settle("autoencoder", CONFIG, measure)
    assert (label, 1) in asked, "it led, so it is tried with the second seed"
    assert (settled.config.loss.l2 == "frame_norm") == taken
    assert verdicts(settled)[label] == (
        "taken" if taken else "within the noise" if sum(option) > 1.59 else "not better"
    )


def test_of_two_options_of_one_choice_the_better_is_taken():
    measure, _ = measured(
        {"base": (0.8, 0.8), "loss.l2=frame_norm": (0.9, 0.9), "loss.l2=mean_square": (0.85, 0.85)}
    )
    settled = selection.settle("autoencoder", CONFIG, measure)
    assert settled.config.loss.l2 == "frame_norm"
    assert verdicts(settled)["loss.l2=mean_square"] == "another is better"


@pytest.mark.parametrize("together, both", [((0.95, 0.95), True), ((0.9, 0.9), False), ((0.7, 0.7), False)])
def test_winners_are_put_together_one_by_one_and_stay_only_if_it_gets_better(together, both):
    first, second = "loss.l2=frame_norm", "model.activation=leaky_relu"
    measure, _ = measured(
        {"base": (0.8, 0.8), first: (0.9, 0.9), second: (0.85, 0.85), f"{first}+{second}": together}
    )
    settled = selection.settle("autoencoder", CONFIG, measure)
    assert settled.config.loss.l2 == "frame_norm"
    assert (settled.config.model.activation == "leaky_relu") == both
    assert settled.line.aucs == dict(enumerate(together if both else (0.9, 0.9)))
    assert verdicts(settled)[second] == ("taken" if both else "adds nothing to those taken")


def test_what_the_paper_states_and_what_makes_no_difference_is_no_choice():
    ped2 = resolve("small", "ped2", literal=True)
    names = [name for stage in selection.OPTIONS for name in selection.open_choices(ped2, stage)]
    assert not {"score.reduce", "score.error", "loss.gradient_weight", "score.colours"} & set(names)
    assert "score.likelihood_scale" not in names and selection.open_choices(ped2, "flow")["flow.K"] == (4,)
    larger = resolve("small", "ped2", {"selection.larger_flows": True}, literal=True)
    assert selection.open_choices(larger, "flow")["flow.K"] == (4, 16)
    assert "score.colours" in selection.open_choices(resolve("small", "avenue"), "score")
    assert "flow.K" not in selection.open_choices(resolve("paper", "ped2", literal=True), "flow"), (
        "K = 32 is stated"
    )


def test_every_option_is_one_that_the_configuration_takes():
    for stage in selection.OPTIONS:
        for dataset in ("synthetic", "ped2", "avenue"):
            literal = resolve("small", dataset, literal=True)
            for name, options in selection.open_choices(literal, stage).items():
                for value in options:
                    changed = resolve("small", dataset, {name: value}, literal=True)
                    assert selection.value_of(changed, name) == value != selection.value_of(literal, name)


def test_the_literal_reading_is_what_the_configuration_has_without_a_selection():
    literal = resolve("paper", "ped2", literal=True)
    for options in selection.OPTIONS.values():
        for name, values in options.items():
            assert selection.value_of(literal, name) == values[0], f"{name}: the literal reading comes first"


def test_choices_carry_both_aucs_the_noise_and_the_trials():
    label = "loss.l2=frame_norm"
    measure, _ = measured({"base": (0.78, 0.81), label: (0.90, 0.91)})
    settled = selection.settle("autoencoder", CONFIG, measure)
    rows = {row["parameter"]: row for row in selection.choices(CONFIG, [settled])}
    row = rows["loss.l2"]
    assert (row["literal"], row["value"], row["criterion"]) == ("window_norm", "frame_norm", "R")
    assert row["auc_literal"] == pytest.approx(0.795) and row["auc_best_option"] == pytest.approx(0.905)
    assert row["noise"] == pytest.approx(0.03)
    assert {"base-0", "base-1", f"{label}-0", f"{label}-1", "loss.l2=mean_square-0"} == set(row["trials"])
    kept = rows["model.activation"]
    assert kept["value"] == kept["literal"] == "relu" and kept["best_option"] == "leaky_relu"


def test_agreement_is_a_rank_correlation_with_an_interval():
    rising = [(x / 10, x**2) for x in range(8)]
    found = selection.agreement(rising)
    assert (found.rho, found.n) == (pytest.approx(1), 8) and found.low == pytest.approx(1)
    mixed = selection.agreement([(1, 3), (2, 1), (3, 2), (4, 6), (5, 4), (6, 5)])
    assert mixed.rho == pytest.approx(0.6571, abs=1e-4) and mixed.low < mixed.rho < mixed.high
    assert selection.agreement(rising[:4]) is None
