"""Values of parameters typed by the user: their types, their limits, and the nearest name for an unknown
one."""

from __future__ import annotations

import difflib
import math
import typing
from typing import Any, Literal

from lib.errors import ConfigError

DATASETS = ("synthetic", "ped1", "ped2", "avenue", "shanghaitech", "own")


def nearest(word: str, known) -> str:
    """ "Did you mean X?" if a known word is similar to `word`, otherwise a list of all known words."""
    by_lower = {name.lower(): name for name in known}
    similar = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    candidates = [by_lower[match] for match in similar]
    candidates += [name for name in by_lower.values() if name.endswith("." + word)]
    return f"Did you mean {candidates[0]}?" if candidates else f"Known: {', '.join(by_lower.values())}."


def check_name(kind: str, word: str, known) -> str:
    """`word` if it is known. Otherwise raises ConfigError with the nearest known word."""
    if word not in known:
        raise ConfigError(f"There is no {kind} '{word}'. {nearest(word, known)}")
    return word


def as_typed(value: Any) -> str:
    """A value as it is typed on a command line, which `cast` reads."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def cast(name: str, value: Any, wanted: Any) -> Any:
    """`value` converted to the type `wanted` of parameter `name`.

    Text is read as typed on a command line; JSON numbers and lists are accepted too. Raises ConfigError for
    another type.
    """
    if typing.get_origin(wanted) is Literal:
        choices = typing.get_args(wanted)
        if value not in choices:
            raise ConfigError(f"{name} is one of {', '.join(map(str, choices))}; '{value}' is not.")
        return value
    problem = ConfigError(f"{name} takes {_in_words(wanted)}; '{value}' is not.")
    if typing.get_origin(wanted) is tuple:
        if isinstance(value, str):
            value = [part for part in value.strip("()[] ").split(",") if part.strip()]
        try:
            return tuple(_whole(v) for v in value)
        except (TypeError, ValueError):
            raise problem from None
    if wanted is str:
        if not isinstance(value, str):
            raise problem
        return value
    try:
        if wanted is bool:
            return {"true": True, "false": False}[str(value).lower()]
        number = _whole(value) if wanted is int else float(value)
    except (KeyError, TypeError, ValueError):
        raise problem from None
    if isinstance(value, bool) or (isinstance(number, float) and not math.isfinite(number)):
        raise problem
    return number


def _whole(value: Any) -> int:
    if isinstance(value, (bool, float)) and not (isinstance(value, float) and value.is_integer()):
        raise ValueError
    return int(value)


def _in_words(wanted: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return words.get(wanted, "whole numbers separated by commas")


FORMATS = ("svg", "png", "pdf")  # of figures
_AT_LEAST_ONE = (
    "steps",
    "cycles",
    "epoch_steps",
    "batch_size",
    "train_stride",
    "test_stride",
    "K",
    "L",
    "hidden",
    "T",
    "tau",
    "height",
    "width",
    "threads",
    "patch",
    "patch_stride",
    "resamples",
    "train_clips",
    "test_clips",
    "clip_frames",
    "autoencoder_steps",
    "workers",
    "event",
    "region",
    "object",
)


def check(name: str, value: Any) -> None:
    """Raise ConfigError if a value of the right type is outside the limits of parameter `name`."""
    short = name.split(".")[1]
    if short in _AT_LEAST_ONE and value < 1:
        raise ConfigError(f"{name} must be at least 1; it is {value}.")
    if name == "data.channels" and value not in (1, 3):
        raise ConfigError(f"data.channels is 1 (grey) or 3 (RGB); it is {value}.")
    if short == "lr" and value <= 0:
        raise ConfigError(f"{name} must be positive; it is {value}.")
    if short == "snapshots" and value < 0:
        raise ConfigError(f"{name} must be at least 0; it is {value}.")
    if name == "figure.dataset" and value:
        check_name("data set", value, DATASETS)
    if name == "figure.formats":
        unknown = [word for word in listed(value) if word not in FORMATS]
        if unknown or not listed(value):
            raise ConfigError(
                f"figure.formats are of {', '.join(FORMATS)}, separated by commas; "
                f"'{(*unknown, value)[0]}' is not."
            )
    if name == "error.clamp" and not 0 < value < 1:
        raise ConfigError(f"error.clamp lies between 0 and 1; it is {value}.")


def listed(text: str) -> tuple[str, ...]:
    """The words of a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
