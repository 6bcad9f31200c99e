"""Whether the pixels of UCSD Ped2 are the official ones or were encoded again.

`data/ped2_digests.json` has a sha256 for each of its 28 clips: frames in order, 8-bit grey, row by row.
Another lossless file format has the same pixels; a copy as jpg or video does not, and numbers made from it
are not those of the benchmark.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np

from lib import paths

KNOWN = ("ped2",)


def digest_of_pixels(frames: Iterable[np.ndarray]) -> str:
    """The sha256 of frames (H, W) uint8. Frames with three equal channels count as grey."""
    sha = hashlib.sha256()
    for frame in frames:
        update(sha, frame)
    return sha.hexdigest()


def update(sha, frame: np.ndarray) -> None:
    """Add a frame to a digest. Grey saved as colour counts as grey."""
    if frame.ndim == 3 and (frame == frame[..., :1]).all():
        frame = frame[..., 0]
    sha.update(np.ascontiguousarray(frame).data)


def verdict(found: dict[str, str]) -> str:
    """One sentence on the clips of a copy of Ped2: name -> sha256 of its pixels.

    Clips are compared by their pixels alone, so their names do not matter.
    """
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
        f"({', '.join(others[:6])}): re-encoded or changed"
    )
