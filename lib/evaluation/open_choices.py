"""What of the method can be read in more than one way: the list that notebook 00 shows, from `config`
alone."""

from __future__ import annotations

import typing
from typing import Any, Literal

from lib.config import parameters, type_of
from lib.settings.profiles import PAPER


def open_choices(dataset: str = "") -> list[dict[str, Any]]:
    """A dict for each open choice, with name, help, options, default, literal and why.

    `options` are the values that it can take, () where it is a number. `literal` is what the paper's words
    say, "" where they say nothing. For a data set of the paper both are its own where the paper speaks of
    that set.
    """
    stated = PAPER[dataset] if dataset in ("ped1", "ped2", "avenue", "shanghaitech") else {}
    found = []
    for name, spec in parameters().items():
        literal = spec.metadata["literal"]
        if literal is None:
            continue
        kind = type_of(name)
        found.append(
            {
                "name": name,
                "help": spec.metadata["help"],
                "options": typing.get_args(kind) if typing.get_origin(kind) is Literal else (),
                "default": stated.get(name, spec.default),
                "literal": stated.get(name, literal),
                "why": spec.metadata["reason"] or f"paper: {spec.metadata['paper']}",
            }
        )
    return found
