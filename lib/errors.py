"""Every error that a user can cause, and the exit code with which it ends a command.

The text of each error is a sentence that says what is wrong and what to do. A notebook runs in a process of
its own, which reports an error by the name of its class; `by_name` finds the class again.
"""
from __future__ import annotations

EXIT_USAGE, EXIT_DATA, EXIT_NOTEBOOK, EXIT_DISK, EXIT_INTERRUPTED = 2, 3, 4, 5, 130
EXITS = {EXIT_USAGE: "a wrong name, value or option", EXIT_DATA: "data missing or damaged",
         EXIT_NOTEBOOK: "a notebook failed", EXIT_DISK: "the disk is full or cannot be written",
         EXIT_INTERRUPTED: "interrupted"}


class KitError(ValueError):
    """An error whose text is written for the user at the terminal."""

    exit_code = EXIT_NOTEBOOK


class ConfigError(KitError):
    """A parameter, data set or profile that does not exist, or a value of the wrong type."""

    exit_code = EXIT_USAGE


class ModelError(KitError):
    """Settings that do not describe a network, or an input that does not fit the network."""

    exit_code = EXIT_USAGE


class LossError(KitError):
    """Frames and parameters of a loss that do not fit each other."""

    exit_code = EXIT_USAGE


class GlowError(KitError):
    """An input that a flow cannot take, or a flow that is not ready."""

    exit_code = EXIT_USAGE


class SyntheticError(KitError):
    """Parameters from which no data set can be generated, or a folder that must not be replaced."""

    exit_code = EXIT_USAGE


class DataError(KitError):
    """The data on the disk are missing, damaged or not as expected."""

    exit_code = EXIT_DATA


class TrainingError(KitError):
    """Training cannot go on, or a checkpoint does not fit."""


class FeatureError(KitError):
    """Features that do not fit each other."""


class ScoreError(KitError):
    """Values or parameters from which no score can be made."""


class EvaluationError(KitError):
    """Scores, labels or a protocol from which no number can be made."""


class RecordError(KitError):
    """A record that is missing or cannot be used."""


class RunError(KitError):
    """A run that cannot start."""


class CheckError(KitError, AssertionError):
    """A check in a notebook that does not hold."""


class ResultError(KitError):
    """Stored scores that cannot be used."""


class CurateError(KitError):
    """Results that cannot be curated: there are none, or their files are too large."""


class BusyError(KitError):
    """Another process is working on the same thing."""

    exit_code = EXIT_USAGE


class JobError(KitError):
    """A job that did not complete; its exit code is that of the cause."""

    def __init__(self, text: str, exit_code: int):
        super().__init__(text)
        self.exit_code = exit_code


def by_name(name: str) -> type[KitError] | None:
    """The error class of that name, or None if the kit has no such class."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, KitError) else None
