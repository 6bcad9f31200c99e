"""The rule by which an option of each open choice is selected, by AUC on pasted anomalies alone.

The base is the literal reading of every choice. Each option changes one choice of the base and is measured
with one seed; the base is measured with two. An option above both is measured with the second seed too, and
wins if its mean exceeds the base's by more than the noise: the larger of the differences between the two
seeds of either. Winners are combined one by one, the largest gain first, and each is kept if the mean rises
again by more than the noise. Ties, and gains that could be chance, are decided for the literal reading.

There are three stages, each on the result of the previous one: the autoencoder's choices by the AUC of R (Eq.
7), the flows' by that of L (Eq. 8), the score's by that of S (Eq. 9). What the paper states, such as the
patches on UCSD, is not a choice. The likelihood of held-out normal windows is not a criterion either: a flow
that fits them better can detect worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import spearmanr

from lib.config import Config, changed, parameters, value_of

CRITERIA = {"autoencoder": "R", "flow": "L", "score": "S"}
SEEDS = (0, 1)

# The options of each open choice, including the literal one. For a number in FACTORS, the options are
# fractions of its value and, with `selection.larger_flows`, multiples.
OPTIONS = {
    "autoencoder": {
        "loss.l2": ("window_norm", "frame_norm", "mean_square"),
        "autoencoder.windows": ("pass", "clip_first"),
        "autoencoder.cycles": (1, 4),
        "model.activation": ("relu", "leaky_relu"),
        "model.output": ("tanh", "linear"),
        "model.normalisation": ("batch", "group"),
        "model.input_range": ("-1..1", "0..1"),
    },
    "flow": {
        "features.time": ("stack", "mean"),
        "features.standardise": ("channel", "element", "none"),
        "score.likelihood_scale": ("all", "last"),
    },
    "score": {
        "score.colours": ("each", "averaged"),
        "score.log_of": ("pixel", "mean"),
        "score.order": ("reduce_first", "average_first"),
        "score.likelihood_frames": ("all", "centre"),
        "score.likelihood_unit": ("nats", "per_dimension"),
        "score.lambda_of": ("features", "likelihoods"),
        "score.lambda_scope": ("clip", "test", "train"),
        "score.lambda_L": (1.0, 0.2, 0.5, 2.0, 5.0),
    },
}
FACTORS = {"flow.steps": (1 / 3, 2), "flow.K": (1 / 2, 2), "flow.hidden": (1 / 2, 2)}


def open_choices(config: Config, stage: str) -> dict[str, tuple]:
    """The open choices of a stage: name -> the options that differ from the configuration's own value.

    Left out are choices that the paper states and the configuration follows, and those that make no
    difference (colours of grey frames, the last level of a flow with one level).
    """
    found = {
        name: tuple(v for v in options if v != value_of(config, name))
        for name, options in OPTIONS[stage].items()
    }
    if stage == "flow":
        for name, factors in FACTORS.items():
            value = value_of(config, name)
            stated = parameters()[name].metadata["paper"] and value == parameters()[name].default
            if not stated:
                tried = [factor for factor in factors if factor < 1 or config.selection.larger_flows]
                found[name] = tuple(dict.fromkeys(max(1, round(value * factor)) for factor in tried))
    if config.data.channels == 1:
        found.pop("score.colours", None)
    if config.flow.L == 1:
        found.pop("score.likelihood_scale", None)
    return {name: options for name, options in found.items() if options}


@dataclass(frozen=True)
class Line:
    """One configuration of a stage: what it changes in the base, its AUC by seed, and the verdict on it."""

    stage: str
    changes: dict[str, object]  # empty for the base
    aucs: dict[int, float]
    trials: dict[int, str]  # seed -> name of the trial
    verdict: str = ""

    @property
    def label(self) -> str:
        return label_of(self.changes)

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.aucs.values())))

    @property
    def spread(self) -> float:
        """The difference between the two seeds; 0 for one seed."""
        return max(self.aucs.values()) - min(self.aucs.values())


def label_of(changes: dict[str, object]) -> str:
    """`loss.l2=frame_norm+autoencoder.cycles=4`, or `base`."""
    return "+".join(f"{name}={value}" for name, value in changes.items()) or "base"


def noise(a: Line, b: Line) -> float:
    """The difference of two configurations that is attributed to chance: the larger difference between their
    own seeds."""
    return max(a.spread, b.spread)


def clearly_better(a: Line, b: Line) -> bool:
    """Whether a's mean exceeds b's by more than the noise; both need two seeds."""
    return len(a.aucs) == len(b.aucs) == len(SEEDS) and a.mean - b.mean > noise(a, b)


@dataclass(frozen=True)
class Settled:
    """The result of a stage: the configuration, the line that measured it, and all lines."""

    stage: str
    config: Config
    line: Line
    lines: tuple[Line, ...] = field(default=())


# Takes trials, each (configuration, changes, seed), and returns for each (name of the trial, AUC).
Measure = Callable[[Sequence[tuple[Config, dict, int]]], list[tuple[str, float]]]


def settle(stage: str, config: Config, measure: Measure) -> Settled:
    """One stage: measure the base and every option, and settle each choice by the rule above.

    Each call of `measure` gets all trials that may run side by side.
    """

    def lines_of(wanted: list[tuple[dict, tuple[int, ...]]]) -> list[Line]:
        trials = [
            (with_changes(config, changes), changes, seed) for changes, seeds in wanted for seed in seeds
        ]
        measured = iter(measure(trials))
        found = []
        for changes, seeds in wanted:
            results = {seed: next(measured) for seed in seeds}
            aucs, names = ({seed: r[i] for seed, r in results.items()} for i in (1, 0))
            found.append(Line(stage, changes, aucs, names))
        return found

    options = [{name: value} for name, values in open_choices(config, stage).items() for value in values]
    base, *tried = lines_of([({}, SEEDS), *((option, SEEDS[:1]) for option in options)])
    above = [line for line in tried if line.mean > max(base.aucs.values())]
    again = lines_of([(line.changes, SEEDS[1:]) for line in above])
    seconds = {line.label: line for line in again}
    for number, line in enumerate(tried):
        second = seconds.get(line.label)
        if second:
            line = dataclasses.replace(line, aucs=line.aucs | second.aucs, trials=line.trials | second.trials)
        verdict = "within the noise" if line.mean > base.mean else "not better"
        tried[number] = dataclasses.replace(line, verdict=verdict)

    winners: dict[str, int] = {}  # choice -> number of its best option
    for number, line in enumerate(tried):
        (name,) = line.changes
        if clearly_better(line, base) and (name not in winners or line.mean > tried[winners[name]].mean):
            if name in winners:
                tried[winners[name]] = dataclasses.replace(tried[winners[name]], verdict="another is better")
            winners[name] = number
        elif clearly_better(line, base):
            tried[number] = dataclasses.replace(line, verdict="another is better")

    current, together = base, []
    for number in sorted(winners.values(), key=lambda number: -tried[number].mean):
        changes = current.changes | tried[number].changes
        candidate = tried[number] if current is base else lines_of([(changes, SEEDS)])[0]
        taken = clearly_better(candidate, current)
        tried[number] = dataclasses.replace(
            tried[number], verdict="taken" if taken else "adds nothing to those taken"
        )
        if current is not base:
            together.append(
                dataclasses.replace(candidate, verdict="together: better" if taken else "together: no better")
            )
        current = candidate if taken else current
    base = dataclasses.replace(base, verdict="the literal reading" + ("" if winners else ", kept"))
    return Settled(stage, with_changes(config, current.changes), current, (base, *tried, *together))


def with_changes(config: Config, changes: dict[str, object]) -> Config:
    """A configuration with some parameters changed."""
    for name, value in changes.items():
        config = changed(config, name, value)
    return config


def choices(literal: Config, stages: Sequence[Settled]) -> list[dict]:
    """The result of the selection, one row per choice: parameter, literal and chosen value, both AUCs, noise,
    trials.

    The AUC is that of the best option of this choice, tried alone; `trials` are the names of what was
    measured.
    """
    rows = []
    for settled in stages:
        base = settled.lines[0]
        for name in open_choices(literal, settled.stage):
            own = [line for line in settled.lines if list(line.changes) == [name]]
            value = settled.line.changes.get(name, value_of(literal, name))
            best = next(
                (line for line in own if line.changes[name] == value), max(own, key=lambda line: line.mean)
            )
            rows.append(
                {
                    "parameter": name,
                    "literal": value_of(literal, name),
                    "value": value,
                    "criterion": CRITERIA[settled.stage],
                    "auc_literal": base.mean,
                    "best_option": best.changes[name],
                    "auc_best_option": best.mean,
                    "noise": noise(base, best),
                    "trials": sorted(
                        {*base.trials.values(), *(t for line in own for t in line.trials.values())}
                    ),
                }
            )
    return rows


# -- afterwards: do pasted anomalies and the test set agree? -------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of selection AUC and test AUC over n configurations, and its 95 %
    interval."""

    rho: float
    low: float
    high: float
    n: int


def agreement(pairs: Sequence[tuple[float, float]], *, resamples: int = 2000) -> Agreement | None:
    """The rank correlation of pairs (selection AUC, test AUC), with percentiles over resampled pairs; None
    for fewer than five pairs."""
    values = np.asarray(pairs, float).reshape(-1, 2)
    if len(values) < 5:
        return None
    generator = np.random.default_rng(len(values))
    draws = []
    for _ in range(resamples):
        x, y = values[generator.integers(len(values), size=len(values))].T
        if np.ptp(x) and np.ptp(y):
            draws.append(spearmanr(x, y).statistic)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Agreement(float(spearmanr(*values.T).statistic), float(low), float(high), len(values))
