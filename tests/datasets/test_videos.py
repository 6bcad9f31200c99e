"""Videos that lost frames are found out, in every container; whole ones, of a variable rate too, raise no
alarm."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from lib.datasets.videos import count_frames, read_video
from lib.errors import DataError

SIZE, LENGTH = (64, 96), 60
KINDS = [
    ("mjpeg", "avi"),
    ("mpeg4", "avi"),
    ("libx264", "avi"),
    ("mjpeg", "mkv"),
    ("libx264", "mkv"),
    ("libvpx", "webm"),
    ("libx264", "mp4"),
    ("mpeg4", "mp4"),
    ("libx264", "mov"),
    ("mpeg2video", "mpg"),
    ("libx264", "ts"),
    ("wmv2", "wmv"),
    ("flv", "flv"),
]


def picture(index: int) -> np.ndarray:
    """Noise of its own, in BGR: what a decoder makes of another frame is another picture."""
    return np.random.default_rng(index).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def film(path, codec: str, times=None, length: int = LENGTH):
    """A video of 25 frames a second, or with a time in milliseconds for each frame."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "12"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(length):
            frame = av.VideoFrame.from_ndarray(picture(index), format="bgr24")
            if times is not None:
                frame.pts, frame.time_base = int(times[index]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One whole video of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    return {kind: film(folder / f"{kind[0]}.{kind[1]}", kind[0]) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=".".join)
def test_a_whole_video_has_the_frames_and_pixels_that_opencv_finds(whole, kind):
    assert count_frames(whole[kind]) == LENGTH
    frames = list(read_video(whole[kind], LENGTH))
    capture = cv2.VideoCapture(str(whole[kind]))
    for frame in frames:
        assert np.array_equal(frame, capture.read()[1])
    assert len(frames) == LENGTH and not capture.read()[0]


def hole(data: bytes) -> bytes:
    third, tenth = len(data) // 3, len(data) // 10
    return data[:third] + bytes(tenth) + data[third + tenth :]


def sector(data: bytes) -> bytes:
    at = len(data) // 2 // 512 * 512
    return data[:at] + bytes(4096) + data[at + 4096 :]


def half(data: bytes) -> bytes:
    """Half a file. A transport stream that ends between two blocks of 188 bytes is whole by its own rules."""
    end = len(data) // 2
    return data[: end - 1 if end % 188 == 0 else end]


def nine_tenths(data: bytes) -> bytes:
    return data[: len(data) * 9 // 10]


def lost_bytes(data: bytes) -> bytes:
    return data[: len(data) // 3] + data[len(data) // 3 + len(data) // 10 :]


@pytest.mark.parametrize(
    "damage", [hole, sector, half, nine_tenths, lost_bytes], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("kind", KINDS, ids=".".join)
def test_lost_frames_are_found_out(whole, kind, damage, tmp_path, capfd):
    path = tmp_path / f"b.{kind[1]}"
    path.write_bytes(damage(whole[kind].read_bytes()))
    with pytest.raises(
        DataError, match=rf"b\.{kind[1]} (is damaged|cannot be opened as a video|opens as a video, but)"
    ):
        count_frames(path)
    assert capfd.readouterr() == ("", "")


RATES = {
    "random": np.cumsum(np.random.default_rng(0).integers(10, 200, LENGTH)),
    "a pause": np.r_[np.arange(30) * 40, 5000 + np.arange(30) * 40],
    "two rates": np.r_[np.arange(50) * 40, 2000 + np.arange(10) * 1000],
    "frames left out": np.delete(np.arange(80) * 40, 1 + 3 * np.arange(20)),
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", [("libx264", "mkv"), ("libx264", "mp4"), ("libvpx", "webm")], ids=".".join)
def test_a_variable_rate_is_no_damage(tmp_path, kind, rate):
    assert count_frames(film(tmp_path / f"v.{kind[1]}", kind[0], RATES[rate])) == LENGTH


def test_a_long_film_with_a_hole_in_the_middle_has_lost_what_lay_there(tmp_path):
    """Its ends are as declared, and a reader that looks for the next frame finds one."""
    path = film(tmp_path / "long.mkv", "mjpeg", length=400)
    data = path.read_bytes()
    path.write_bytes(
        data[: len(data) // 2] + bytes(len(data) // 20) + data[len(data) // 2 + len(data) // 20 :]
    )
    with pytest.raises(DataError, match="long.mkv is damaged"):
        count_frames(path)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="a.mkv cannot be opened as a video"):
        count_frames(tmp_path / "a.mkv")
