"""The open choices: where the method can be read in more than one way, listed from `config` for notebook
00."""

from __future__ import annotations

import typing
from typing import Any, Literal

from lib.config import parameters, type_of
from lib.settings.profiles import PAPER


def open_choices(dataset: str = "") -> list[dict[str, Any]]:
    """One dict per open choice, with name, help, options, default, literal and why.

    `options` are the possible values, () for a number. `literal` is the value that the paper's words give, ""
    if they give none. For one of the paper's data sets, default and literal are what the paper says for that
    set, if it does.
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
