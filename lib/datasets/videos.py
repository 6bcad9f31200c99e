"""Videos: the frames in a file, and whether any are missing.

PyAV, the FFmpeg libraries for Python, decodes them: it gives the lengths that a container declares, the time
stamp and position of every packet, and the errors of the decoder. It decodes whatever OpenCV decodes, to the
same pixels.

`count_frames` reads a video once and compares three things: what is declared, the time stamps, and what was
decoded. So a gap in a file, or a missing end, is found before anything is trained. The length is judged by
time stamps alone: for a variable frame rate, declared rate times duration is not the number of frames. Not
detectable are a few flipped bits that still decode (to a wrong picture in the right place).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.logging
import numpy as np

from lib.datasets.files import AGAIN
from lib.errors import DataError

# Makes FFmpeg report what it otherwise ignores: wrong checksums, lengths beyond the end, impossible values.
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
BROKEN = (av.FFmpegError, IndexError, ValueError, OSError)  # errors from damaged containers
STRAY = 256  # bytes between two packets; a container's own data take fewer


@dataclass
class Seen:
    """The results of one pass over a video."""

    frames: int = 0
    starts: list[float] = field(default_factory=list)  # seconds, of the packets of the video
    ends: list[float] = field(default_factory=list)  # seconds, of the packets of all streams
    # start of a packet -> bytes between the previous packet and it
    strays: dict[float, int] = field(default_factory=dict)
    problem: str = ""  # the first error of a decoder, in words


def open_video(path: Path):
    """A container and its video stream. Raises DataError if there is no stream that can be decoded."""
    try:
        container = av.open(str(path), metadata_errors="replace")
    except BROKEN as error:
        raise cannot_open(path) from error
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        container.close()
        raise cannot_open(path)
    return container, stream


def cannot_open(path: Path) -> DataError:
    return DataError(
        f"{path} cannot be opened as a video: it is cut off, or of a kind that cannot be decoded. {AGAIN}"
    )


def count_frames(path: Path) -> int:
    """The number of frames of a video. Raises DataError if it is truncated, has a gap, or a frame cannot be
    decoded."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as messages:
            container, stream = open_video(path)
            with container:
                seen = go_through(container, stream)
                reason = seen.problem or cut_off(container, stream, seen) or hole(seen)
    finally:
        av.logging.set_level(before)
    if not reason and messages:
        first = " ".join(messages[0][2].split("\n")[0].split())
        reason = f"it cannot be read without errors ({first})"
    if seen.frames == 0:
        raise DataError(f"{path} opens as a video, but not one frame of it can be decoded. {AGAIN}")
    if reason:
        raise DataError(
            f"{path} is damaged: {reason}. {seen.frames} frames can be decoded, but which ones they are is "
            f"not certain. {AGAIN}"
        )
    return seen.frames


def go_through(container, stream) -> Seen:
    """Decode every frame once, strictly, and record times and positions of the packets."""
    stream.codec_context.options = STRICT
    stream.codec_context.thread_count = 1  # several threads would mix their messages
    seen, after = Seen(), None
    try:
        for packet in container.demux():
            start = packet.pts if packet.pts is not None else packet.dts
            if packet.size and start is not None:
                time = float(start * packet.time_base)
                seen.ends.append(time + float((packet.duration or 0) * packet.time_base))
                if packet.pos is not None and packet.pos >= 0:
                    if packet.stream_index == stream.index:
                        seen.strays[time] = packet.pos - after if after is not None else 0
                    after = packet.pos + packet.size
                if packet.stream_index == stream.index:
                    seen.starts.append(time)
            if packet.stream_index == stream.index:
                if packet.is_corrupt:
                    seen.problem = seen.problem or f"a part of frame {seen.frames + 1} is lost"
                decode(packet, seen)
    except BROKEN as error:
        seen.problem = seen.problem or f"after frame {seen.frames} it cannot be read ({describe(error)})"
    return seen


def decode(packet, seen: Seen) -> None:
    """Count the frames of a packet, and keep the first problem."""
    try:
        frames = packet.decode()
    except av.EOFError:
        return
    except BROKEN as error:
        seen.problem = seen.problem or f"frame {seen.frames + 1} cannot be decoded ({describe(error)})"
        return
    for frame in frames:
        if frame.is_corrupt:
            seen.problem = seen.problem or f"a part of frame {seen.frames + 1} is lost"
        seen.frames += 1


def describe(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def cut_off(container, stream, seen: Seen) -> str:
    """Why a video is truncated, if its packets end before the declared end; otherwise ""."""
    if not seen.starts:
        return ""
    step = usual_step(seen.starts)
    last = max(max(seen.starts) + step, max(seen.ends))
    lengths = []
    if container.duration:
        lengths.append(container.duration / av.time_base)
    if stream.duration:
        start = max(0, stream.start_time or 0)
        lengths.append(float((start + stream.duration) * stream.time_base))
    several = len(container.streams) > 1  # sound is padded to whole blocks
    slack = max(0.5 * step, 0.1 if several else 0.002)
    declared = max(lengths, default=0.0)
    if last < declared - slack:
        return f"it declares {declared:.2f} s, but ends after {last:.2f} s; it is cut off"
    if container.format.name == "mpegts" and not any(
        container.size % block == 0 for block in (188, 192, 204)
    ):
        return "its last block is incomplete; it is cut off"  # this format declares no length
    if container.format.name == "avi" and lengths and last > declared + 1.5 * step:
        return f"it declares {declared:.2f} s, but goes on to {last:.2f} s"
    return ""


def hole(seen: Seen) -> str:
    """Why a video has a gap, if time and bytes are missing at the same place; otherwise "".

    A camera that pauses, or a variable rate, leaves a step in time but no bytes outside packets.
    """
    starts, step = sorted(seen.starts), usual_step(seen.starts)
    for index, (before, after) in enumerate(zip(starts, starts[1:], strict=False)):
        stray = seen.strays.get(after, 0)
        if after - before > 1.5 * step and stray > STRAY:
            return (
                f"between frames {index + 1} and {index + 2} are {after - before - step:.2f} s and {stray} "
                "bytes without a frame"
            )
    return ""


def usual_step(starts: list[float]) -> float:
    """The median time between two frames, in seconds; 0 for a single frame."""
    return float(np.median(np.diff(sorted(starts)))) if len(starts) > 1 else 0.0


def read_video(path: Path, length: int) -> Iterator[np.ndarray]:
    """The frames of a video, as many as `count_frames` found: (H, W, 3) BGR uint8, rotated as the file
    specifies."""
    container, stream = open_video(path)
    stream.thread_type = "AUTO"
    count = 0
    with container:
        try:
            for frame in container.decode(stream):
                if count == length:
                    break
                yield np.rot90(frame.to_ndarray(format="bgr24"), frame.rotation // 90)
                count += 1
        except BROKEN as error:
            raise DataError(f"{path}: frame {count + 1} cannot be decoded. {AGAIN}") from error
    if count < length:
        raise DataError(f"{path}: decoding stopped after {count} of {length} frames. {AGAIN}")
