"""Every reading of Eq. 7 with plain loops, for the tests: an error map at a time, a patch at a time, in
float64."""

import itertools
import math

import numpy as np


def log(e, clamp):
    """-log10(1 - e) of one number."""
    return -math.log10(max(1 - e, clamp))


def log_map(e, clamp):
    return np.array([log(x, clamp) for x in e.ravel()]).reshape(e.shape)


def reduced(x, how, *, side, firsts):
    """One number of a map (C, H, W): `side` and `firsts` are the sides and the first rows and columns of the
    patches."""
    patches = [x[:, r : r + side[0], c : c + side[1]] for r in firsts[0] for c in firsts[1]]
    return {
        "mean": x.mean,
        "largest_pixel": x.max,
        "largest_patch_mean": lambda: max(p.mean() for p in patches),
        "mean_patch_maximum": lambda: np.mean([p.max() for p in patches]),
    }[how]()


def readings(errors, *, clamp, side, firsts):
    """All readings of one frame: `errors` are its error maps (C, H, W) in [0, 1], one for each window that
    holds it."""
    errors, found = [np.asarray(e, np.float64) for e in errors], {}
    grid = {"side": side, "firsts": firsts}
    colours_of = {"each": lambda e: e, "averaged": lambda e: e.mean(0, keepdims=True)}
    for order, (name, colours), error, log_of, how in itertools.product(
        ("reduce_first", "average_first"),
        list(colours_of.items())[: 1 if len(errors[0]) == 1 else 2],
        ("absolute", "square"),
        ("pixel", "mean"),
        ("mean", "largest_patch_mean", "mean_patch_maximum", "largest_pixel"),
    ):
        maps = [colours(e) if error == "absolute" else colours(e) ** 2 for e in errors]
        maps = [log_map(e, clamp) for e in maps] if log_of == "pixel" else maps
        if order == "average_first":
            maps = [np.mean(maps, axis=0)]
        values = [reduced(e, how, **grid) for e in maps]
        values = values if log_of == "pixel" else [log(value, clamp) for value in values]
        found[f"{error}/{name}/{log_of}/{how}/{order}"] = np.mean(values)
    return found
