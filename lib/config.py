"""Every parameter of the kit: its type, its default, and where the default comes from.

A value that the paper gives (Table 1, "Implementations") names its place in the paper. What the paper leaves
open is a parameter too, with the reason for its default. No default is written anywhere else.

A configuration is resolved in this order; later values win:

    defaults  ->  PAPER[dataset]  ->  PROFILES[profile]["all"], then [dataset]  ->
              data/selection/<dataset>.json  ->  the user's

The selection (notebook 16) chooses on normal video. A choice replaces only the value that it was measured
against. Profiles are only values: no code asks which profile it runs under.
"""
from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from lib import paths
from lib.settings.profiles import PAPER, PROFILES
from lib.settings.values import DATASETS, cast, check, check_name


def parameter(default, help: str, *, paper: str = "", reason: str = "", literal=None):
    """One parameter: `paper` is the place that states its value, `reason` the reason for a value left open.

    Where the method can be read in more than one way, `literal` is the value that the paper's words give, or
    "" if they give none; elsewhere it is None.
    """
    assert bool(paper) != bool(reason), "a parameter has either a place in the paper or a reason"
    return field(default=default,
                 metadata={"help": help, "paper": paper, "reason": reason, "literal": literal})


@dataclass(frozen=True)
class Data:
    """Size and colours of the prepared frames, and which labels and clips are used."""

    height: int = parameter(256, "frame height H in pixels", paper="Implementations")
    width: int = parameter(256, "frame width W in pixels", paper="Implementations")
    channels: int = parameter(3, "1: grey, 3: RGB", paper="Table 1, output of DeConv4")
    avenue_labels: Literal["masks", "intervals"] = parameter(
        "masks", "which Avenue labels: the official masks, or the intervals of Hasan et al. 2016",
        reason="the masks are what the owners of the data set publish", literal="")
    subset: bool = parameter(
        False, "accept an incomplete data set; every number made from it then says 'subset'",
        reason="a number from part of the clips must be asked for explicitly")


@dataclass(frozen=True)
class Synthetic:
    """The generated data set; read only for that data set."""

    seed: int = parameter(0, "seed of the generator", reason="any; the same seed gives the same bytes")
    train_clips: int = parameter(10, "training clips", reason="enough for small networks within minutes")
    test_clips: int = parameter(12, "test clips, two of each kind of anomaly", reason="as many as Ped2 has")
    clip_frames: int = parameter(120, "frames in a clip", reason="as short as Ped2's shortest clip")


@dataclass(frozen=True)
class Own:
    """Your own video; read only for data set "own". Paths are recorded as typed, except that those below the
    checkout become relative to it and the home folder becomes ~, so that no user name is recorded."""

    train_videos: str = parameter(
        "", "folder of videos to learn from (--train-videos)", reason="only you know where they are")
    score_videos: str = parameter(
        "", "folder of videos to score (--score-videos)", reason="only you know where they are")
    labels: str = parameter(
        "", "table of labels, clip,first,last or clip,frame,label (--labels); none: scores, but no AUC",
        reason="most people who try a video have no labels")


@dataclass(frozen=True)
class Model:
    """ITAE, Table 1."""

    T: int = parameter(16, "frames per window, T", paper="Implementations")
    tau: int = parameter(4, "sampling rate of the appearance path, tau", paper="Two-path encoder")
    app_channels: tuple[int, ...] = parameter(
        (96, 128, 256, 256), "appearance channels, Conv1-4", paper="Table 1")
    mot_channels: tuple[int, ...] = parameter((12, 16, 32, 32), "motion channels, Conv1-4", paper="Table 1")
    spatial_strides: tuple[int, ...] = parameter((2, 2, 2, 1), "spatial strides, Conv1-4", paper="Table 1")
    decoder_strides: tuple[int, ...] = parameter((1, 2, 2, 2), "spatial strides, DeConv1-4", paper="Table 1")
    normalisation: Literal["batch", "group", "none"] = parameter(
        "batch", "normalisation after each convolution but the last",
        reason="SlowFast, whose structure the paper takes, uses batch normalisation", literal="")
    activation: Literal["relu", "leaky_relu"] = parameter(
        "relu", "activation after each convolution but the last", reason="as in SlowFast", literal="")
    output: Literal["linear", "tanh", "sigmoid"] = parameter(
        "tanh", "activation of the last layer",
        reason="bounded like its target; the usual choice on [-1, 1]", literal="")
    input_range: Literal["-1..1", "0..1"] = parameter(
        "-1..1", "range to which the 8-bit frames are mapped",
        reason="as in Liu et al. 2018, from which the paper takes its gradient loss", literal="")
    one_path_frames: Literal["T/tau", "T"] = parameter(
        "T/tau", "what the appearance path of the one-path autoencoder sees",
        reason="'consisting of only appearance encoder' (Fig. 3): that encoder sees T/tau frames",
        literal="T/tau")


@dataclass(frozen=True)
class Loss:
    """Reconstruction loss, Eq. 3 and 4."""

    l2: Literal["window_norm", "frame_norm", "mean_square"] = parameter(
        "window_norm", "Eq. 3 as the Euclidean norm of a whole window's difference, the norm per frame, "
                       "or the mean of squares",
        reason="as printed: the norm of I - I^, I being 'the input sequence of frames'",
        literal="window_norm")
    l2_weight: float = parameter(1.0, "weight of Eq. 3", paper="Eq. 4")
    gradient_weight: float = parameter(1.0, "weight of the gradient loss", paper="Eq. 4")
    ms_ssim_weight: float = parameter(0.0, "weight of 1 - MS-SSIM (UCSD only)", paper="Implementations")
    ms_ssim_window: int = parameter(
        11, "side of the Gaussian window of MS-SSIM, odd; five scales need (window - 1) * 16 < min(H, W)",
        reason="11 with sigma 1.5 is the original's (Wang et al. 2003)", literal="")


@dataclass(frozen=True)
class Weights:
    """What both stages share: the learning rate's cycles, where weights come from, and which are kept."""

    cycles: int = parameter(
        1, "cosine cycles of the learning rate, all of the same length; 1: no restart",
        reason="'Cosine annealing scheduler'; the cited work's restarts are not mentioned", literal=1)
    snapshots: int = parameter(
        8, "evenly spaced epochs whose weights are kept to show how the AUC developed; 0: none",
        reason="enough to see whether longer training would help; never used to choose an epoch")
    weights: Literal["trained", "reference", "synthetic",
                     "ped1", "ped2", "avenue", "shanghaitech"] = parameter(
        "trained", "where weights come from: 'trained' here; 'reference': those in reports/reference/ for "
                   "this profile (--pretrained); the name of a data set: those trained on it",
        reason="a training here is recorded from its first step")


@dataclass(frozen=True)
class Autoencoder(Weights):
    """Stage 1: training ITAE."""

    batch_size: int = parameter(4, "windows per step", paper="Implementations")
    windows: Literal["pass", "clip_first"] = parameter(
        "pass", "windows that a step sees: passes over all windows in random order, "
                "or a random clip and then a random start in it",
        reason="each window is seen equally often, whatever the length of its clip", literal="pass")
    lr: float = parameter(
        1e-3, "learning rate of Adam at the start; cosine annealing to 0", paper="Implementations")
    steps: int = parameter(
        60_000, "training steps",
        reason="the paper gives no length; comparable autoencoders see 100,000 windows and more", literal="")
    epoch_steps: int = parameter(
        500, "steps per epoch: one line of history.csv, one line of output, one checkpoint",
        reason="windows are drawn at random, so an epoch is only a unit of reporting")


@dataclass(frozen=True)
class Features:
    """From ITAE's last maps to the inputs of the flows, 'Learning normality distribution'."""

    time: Literal["stack", "mean"] = parameter(
        "stack", "the time axis of the pooled maps: stacked as channels, or averaged",
        reason="averaging would blur the order of frames, which is what the motion path is for", literal="")
    standardise: Literal["channel", "element", "none"] = parameter(
        "channel", "statistics of the training features: per channel, per element, or no standardisation",
        reason="a density's ranking depends on the scale of its input; per channel keeps the map translation "
               "invariant", literal="")
    train_stride: int = parameter(
        1, "frames between the starts of two training windows",
        reason="every window, as 'randomly segment' implies")
    test_stride: int = parameter(
        1, "frames between the starts of two test windows; at a multiple of tau the error of frames zigzags",
        paper="Test method: 'all segments in which it appears'")


@dataclass(frozen=True)
class Flow(Weights):
    """Stage 2: Glow, F_app and F_mot."""

    K: int = parameter(32, "flow steps per level, K", paper="Implementations")
    L: int = parameter(3, "levels, L", paper="Implementations")
    hidden: int = parameter(
        512, "hidden width of the coupling networks", reason="Glow's own default", literal="")
    permutation: Literal["lu", "dense"] = parameter(
        "lu", "the invertible 1x1 convolution as an LU product or as a dense matrix",
        reason="the same function class; the LU form makes its determinant a sum", literal="")
    batch_size: int = parameter(32, "windows per step", paper="Implementations")
    lr: float = parameter(
        5e-4, "learning rate of Adam at the start; cosine annealing to 0", paper="Implementations")
    steps: int = parameter(10_000, "training steps", reason="the paper gives no length", literal="")
    epoch_steps: int = parameter(
        100, "steps per epoch: one line of history.csv, one line of output, one checkpoint",
        reason="windows are drawn at random, so an epoch is only a unit of reporting")
    grad_clip: float = parameter(
        100.0, "largest gradient norm; larger ones are scaled down to it",
        reason="a guard against the rare exploding step of deep flows, far above the usual norm")
    recompute: bool = parameter(
        False, "recompute the activations of each flow step in the backward pass: less memory, more time",
        reason="the networks of the CPU profiles fit in memory without it")


@dataclass(frozen=True)
class Error:
    """From a window and its reconstruction to error values, Eq. 7."""

    clamp: float = parameter(
        1e-3, "least value of 1 - |I - I^| in the logarithm of Eq. 7; errors are scaled to [0, 1]",
        reason="the logarithm diverges where black is reconstructed as white", literal="")
    patch: int = parameter(
        32, "side of a patch in pixels of a 240x360 frame; scaled with the frame", paper="Implementations")
    patch_stride: int = parameter(
        8, "stride of the patches, in pixels of a 240x360 frame",
        reason="fine enough that some patch contains each object", literal="")
    background: Literal["none", "error", "input"] = parameter(
        "none", "how the background is removed (ShanghaiTech): from the error only, "
                "or blacked out in the network's input and target",
        paper="Implementations", literal="none")


@dataclass(frozen=True)
class Score:
    """From error values and likelihoods to one score per frame, Eq. 7, 8 and 9."""

    error: Literal["absolute", "square"] = parameter(
        "absolute", "e of Eq. 7: |I - I^| as printed, or its square, a variant that is not the paper's",
        paper="Eq. 7", literal="absolute")
    colours: Literal["each", "averaged"] = parameter(
        "each", "Eq. 7 of each colour by itself, or of the error averaged over the colours",
        reason="Eq. 7 is written for frames, so it is taken element by element; grey frames have one colour",
        literal="each")
    log_of: Literal["pixel", "mean"] = parameter(
        "pixel", "Eq. 7's logarithm of each pixel's error, or of the frame's reduced error",
        reason="Eq. 7 is written for frames, so its logarithm is taken element by element", literal="pixel")
    reduce: Literal["mean", "largest_patch_mean", "mean_patch_maximum", "largest_pixel"] = parameter(
        "mean", "a frame's score: the mean over its pixels; the largest mean of a patch, or the maximum "
                "within each patch, averaged over patches (UCSD: 'max of error values within the patch'); "
                "or the largest of all its pixels",
        reason="Eq. 7 names no reduction; the mean is what the patches of UCSD depart from", literal="")
    order: Literal["reduce_first", "average_first"] = parameter(
        "reduce_first", "reduce a frame in each window, then average over windows; or the other way round",
        reason="'the mean of error values in all segments': one value of the frame per segment", literal="")
    likelihood_frames: Literal["all", "centre"] = parameter(
        "all", "frames to which a window's likelihood belongs: all T of them, or the centre one",
        reason="the same rule as for the reconstruction error: the mean over all windows with the frame",
        literal="")
    likelihood_scale: Literal["all", "last"] = parameter(
        "all", "levels of the flow whose terms count: all, which is the likelihood, or the coarsest alone",
        paper="Eq. 2", literal="all")
    likelihood_unit: Literal["nats", "per_dimension"] = parameter(
        "nats", "unit of the two NLLs that Eq. 8 adds: nats, or nats per dimension; "
                "its lambdas do not undo the difference",
        paper="Eq. 6", literal="nats")
    lambda_of: Literal["features", "likelihoods"] = parameter(
        "features", "lambda_1 and lambda_2 are the range of the features x^a and x^m, or of likelihoods",
        paper="Eq. 8", literal="features")
    lambda_scope: Literal["clip", "test", "train"] = parameter(
        "clip", "where lambda_1 and lambda_2 of Eq. 8 take their maxima and minima",
        reason="the other normalisations of the paper are within a clip", literal="")
    lambda_L: float = parameter(
        1.0, "weight of the likelihood in Eq. 9, lambda_L",
        reason="no value is given; 1 weighs both terms alike", literal="")


@dataclass(frozen=True)
class Evaluate:
    """From frame scores to AUC and its interval."""

    normalise: Literal["clip", "set", "train", "none"] = parameter(
        "clip", "min-max of scores before the ROC curve: per clip, over the test set, by the training set",
        paper="Eq. 9")
    smoothing: float = parameter(
        0.0, "standard deviation in frames of a Gaussian filter over the scores; 0: none",
        reason="none is stated", literal="")
    resamples: int = parameter(
        40_000, "bootstrap resamples of the test clips for a 95 % interval",
        reason="on Ped2 its ends then vary between draws by 0.0013 or less, one standard deviation; "
               "with 1,000 by 0.007 (benchmarks/interval_stability.csv)")


@dataclass(frozen=True)
class Sensitivity:
    """How much the sensitivity study trains again."""

    retrain: Literal["nothing", "flows", "autoencoder"] = parameter(
        "flows", "what is retrained to measure its open choices: nothing, flows, or the autoencoder as well",
        reason="with the autoencoder it takes as long as nine or ten trainings of the whole method")


@dataclass(frozen=True)
class Selection:
    """How open choices are made on normal video: each option's training, and the pasted anomalies."""

    autoencoder_steps: int = parameter(
        5000, "training steps of an option's autoencoder",
        reason="options then differ by more than two seeds do")
    larger_flows: bool = parameter(
        True, "also try flows with more steps, deeper and wider ones", reason="only a CPU is too slow")
    workers: int = parameter(
        2, "options trained side by side", reason="as many cores as the smallest machine has")
    event: int = parameter(
        36, "frames that a pasted anomaly lasts", reason="a quarter of a Ped2 clip: both classes occur")
    fastest: int = parameter(
        4, "largest speed-up of a region that is replayed too fast",
        reason="about a bicycle among pedestrians")
    region: int = parameter(
        80, "side of the replayed region, in pixels of a 240x360 frame", reason="holds a few people")
    object: int = parameter(
        24, "height of a foreign object, in pixels of a 240x360 frame", reason="less than a person's")
    opacity: float = parameter(
        0.75, "opacity of a foreign object, above 0, at most 1",
        reason="faint, so that not every option finds it")


@dataclass(frozen=True)
class Figure:
    """What a figure shows and how it is drawn; by default a rule chooses what it shows (notebook 12)."""

    dataset: str = parameter(
        "", "data set that is drawn; empty: every one that was run", reason="all that was run is shown")
    clip: str = parameter(
        "", "test clip of figures that show one, or two, separated by a comma; empty: chosen by the rule",
        reason="a rule chooses, so that no clip is picked for its looks")
    frames: tuple[int, ...] = parameter(
        (), "frames of the clip that are shown, counted from 0; empty: chosen by the rule",
        reason="as for the clip")
    model: str = parameter(
        "", "scored model whose scores choose and are shown; empty: the full one",
        reason="the paper shows its full model")
    size: Literal["paper", "column", "page", "screen", "slide"] = parameter(
        "paper", "as wide as the paper prints it, a column or a page wide, the same enlarged for a screen, "
                 "or for a slide",
        reason="most figures are looked at in the report and printed in a paper")
    formats: str = parameter(
        "svg,png", "file formats, of svg, png and pdf, separated by commas",
        reason="svg for print, png for screens")
    caption: bool = parameter(
        True, "small print under the figure", reason="a figure says how its clip was chosen")
    palette: Literal["colour", "grey"] = parameter(
        "colour", "colours, or greys for a print in grey", reason="screens have colours")


@dataclass(frozen=True)
class Machine:
    """Device, precision and threads. Recorded with each run, and kept when it is resumed."""

    device: Literal["auto", "cpu", "cuda"] = parameter(
        "auto", "where the networks run", reason="a GPU is used if there is one")
    precision: Literal["float32", "bfloat16"] = parameter(
        "float32", "autocast precision of the autoencoder; flows are always float32",
        reason="likelihoods need the digits; the autoencoder does not")
    layout: Literal["contiguous", "channels_last_3d"] = parameter(
        "channels_last_3d", "memory layout of the autoencoder",
        reason="up to twice as fast in 3-D convolutions")
    threads: int = parameter(
        2, "threads of one training step", reason="measured; ./run_all.sh --doctor compares")


@dataclass(frozen=True)
class Config:
    """All parameters of a run, grouped by the step that reads them first."""

    data: Data = Data()
    synthetic: Synthetic = Synthetic()
    own: Own = Own()
    model: Model = Model()
    loss: Loss = Loss()
    autoencoder: Autoencoder = Autoencoder()
    features: Features = Features()
    flow: Flow = Flow()
    error: Error = Error()
    score: Score = Score()
    evaluate: Evaluate = Evaluate()
    sensitivity: Sensitivity = Sensitivity()
    selection: Selection = Selection()
    figure: Figure = Figure()
    machine: Machine = Machine()


def groups() -> dict[str, type]:
    """The groups of parameters by name, in order."""
    return {f.name: type(getattr(Config(), f.name)) for f in dataclasses.fields(Config)}


def parameters() -> dict[str, dataclasses.Field]:
    """Every parameter by its full name, `group.name`, in order."""
    return {f"{group}.{f.name}": f for group, cls in groups().items() for f in dataclasses.fields(cls)}


def type_of(name: str) -> Any:
    group, short = name.split(".")
    return typing.get_type_hints(groups()[group])[short]


def selected(dataset: str) -> dict[str, dict[str, Any]]:
    """The selection adopted for a data set: parameter -> its `value`, the `literal` value that it replaces,
    and the `record` of the run behind it."""
    path = paths.SELECTION / f"{dataset}.json"
    return json.loads(path.read_text(encoding="utf-8"))["choices"] if path.exists() else {}


def resolve(profile: str, dataset: str, settings: dict[str, Any] | None = None, *,
            literal: bool = False) -> Config:
    """The configuration of a run: defaults, then the paper's values for the data set, the profile's, the
    selection's (left out if `literal`, as for the base of a selection), and the user's settings.

    `settings` maps full names (`autoencoder.lr`) to values, or to text as typed on a command line. Raises
    ConfigError for an unknown profile, data set or parameter (naming the nearest) and for a value of the
    wrong type.
    """
    check_name("profile", profile, PROFILES)
    check_name("data set", dataset, DATASETS)
    values: dict[str, Any] = dict(PAPER[dataset])
    values |= PROFILES[profile]["all"] | PROFILES[profile].get(dataset, {})
    known = parameters()
    for name, choice in ({} if literal else selected(dataset)).items():
        default = known[check_name("parameter", name, known)].default
        if values.get(name, default) == choice["literal"]:
            values[name] = choice["value"]
    values |= settings or {}
    config = Config()
    for name, value in values.items():
        check_name("parameter", name, known)
        value = cast(name, value, type_of(name))
        check(name, value)
        config = changed(config, name, value)
    return config


def changed(config: Config, name: str, value) -> Config:
    """A configuration with one parameter changed, by its full name."""
    group, short = name.split(".")
    return dataclasses.replace(
        config, **{group: dataclasses.replace(getattr(config, group), **{short: value})})


def value_of(config: Config, name: str):
    """The value of a parameter, by its full name."""
    group, short = name.split(".")
    return getattr(getattr(config, group), short)


def recorded(parameters: dict[str, Any], group: str):
    """A group of parameters from a record's, which go by full name; defaults for those it lacks."""
    known = {f.name for f in dataclasses.fields(groups()[group])}
    return groups()[group](**{name: parameters[f"{group}.{name}"] for name in known
                              if f"{group}.{name}" in parameters})


def values(group) -> dict[str, Any]:
    """A group as keyword arguments: `ITAE(channels=1, two_path=True, **values(config.model))`."""
    return {f.name: getattr(group, f.name) for f in dataclasses.fields(group)}


def flat(config: Config, groups_used=None) -> dict[str, Any]:
    """All parameters of a configuration by full name, or only those of the given groups or full names. Tuples
    become lists, as in JSON."""
    chosen = {name: value_of(config, name) for name in parameters()
              if groups_used is None or name in groups_used or name.split(".")[0] in groups_used}
    return json.loads(json.dumps(chosen))
