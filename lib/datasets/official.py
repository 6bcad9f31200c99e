"""Whether the pixels of UCSD Ped2 are those of its owners, or were encoded again on the way.

`data/ped2_digests.json` has a sha256 for each of its 28 clips: frames in order, 8-bit grey, row by row.
Another file format without loss has the same pixels; a copy as jpg or as video has not, and its numbers are
not those of the benchmark.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np

from lib import paths

KNOWN = ("ped2",)


def digest_of_pixels(frames: Iterable[np.ndarray]) -> str:
    """sha256 of frames (H, W) uint8, or of three equal channels; of anything else, which is never official,
    too."""
    sha = hashlib.sha256()
    for frame in frames:
        update(sha, frame)
    return sha.hexdigest()


def update(sha, frame: np.ndarray) -> None:
    """Adds a frame to a digest. Grey that was saved as colour counts as grey."""
    if frame.ndim == 3 and (frame == frame[..., :1]).all():
        frame = frame[..., 0]
    sha.update(np.ascontiguousarray(frame).data)


def verdict(found: dict[str, str]) -> str:
    """One sentence on the clips of a Ped2 that is at hand: name -> sha256 of its pixels. Test001 and 01 are
    one clip only where the official names are used; under other names the pixels themselves are looked
    for."""
    official = set(json.loads(paths.PED2_DIGESTS.read_text(encoding="utf-8")).values())
    others = [name for name, sha in found.items() if sha not in official]
    if not found:
        return "no clip was looked at"
    if not others:
        return f"the pixels of all {len(found)} clips are the official ones"
    if len(others) == len(found):
        return (
            f"the pixels of all {len(found)} clips differ from the official ones: "
            "re-encoded, resized, or another set"
        )
    return (
        f"the pixels of {len(others)} of {len(found)} clips differ from the official ones "
        f"({', '.join(others[:6])}): "
        "re-encoded or changed"
    )
