"""Reading one image file as an array, or refusing it with the reason.

Pillow reads tif, png and bmp. simplejpeg (libjpeg-turbo) reads jpg, because it reports damage inside a file
for which other readers fill in grey. Both give the same pixels as OpenCV, and neither writes to the terminal.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import warnings
from pathlib import Path

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageOps

from lib.datasets.files import AGAIN, read_bytes
from lib.errors import DataError

BITS_PER_SAMPLE, ORIENTATION = 258, 0x0112  # tags of TIFF and of EXIF
LARGEST = 1 << 27  # pixels; a damaged header can ask for any number
SAVE = "Save the frames with 8 bits, grey or RGB."
# Errors with which Pillow ends on damaged files.
BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    MemoryError,
)


def _silence() -> None:
    """Switch off libtiff's own messages: it writes to the terminal before Pillow raises the error."""
    here = Path(PIL.__file__).parent
    for library in [*here.parent.glob("pillow.libs/libtiff*"), *here.glob(".dylibs/libtiff*")]:
        with contextlib.suppress(OSError, AttributeError):
            for handler in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                getattr(ctypes.CDLL(str(library)), handler)(None)


_silence()
warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd tags; damaged pixels are errors


def read_image(path: Path) -> np.ndarray:
    """One image file -> (H, W) grey or (H, W, 3) BGR, uint8. Raises DataError if it is damaged, or if its
    values cannot be read as a frame unambiguously."""
    data = read_bytes(path)
    if data[:2] == b"\xff\xd8":
        return _jpeg(path, data)
    image = _open(path, data)
    pixels = _whole_numbers(path, image)
    if pixels is not None:
        if pixels.size and not 0 <= pixels.min() <= pixels.max() <= 255:
            raise DataError(
                f"{path} has more than 8 bits a pixel, and values from {pixels.min()} to {pixels.max()}. "
                f"Which of them are black and white is not written in it. {SAVE}"
            )
        return pixels.astype(np.uint8)
    if image.mode == "F":
        raise DataError(
            f"{path} holds floating-point numbers; which are black and white is not written in it. {SAVE}"
        )
    if _bits(image, data) > 8:
        raise DataError(f"{path} has {_bits(image, data)} bits a colour. {SAVE}")
    return _eight_bits(path, image)


def read_mask(path: Path) -> np.ndarray:
    """One mask file of any depth -> (H, W) bool, True if any channel is not 0. Raises DataError if it is
    damaged."""
    data = read_bytes(path)
    if data[:2] == b"\xff\xd8":
        pixels = _jpeg(path, data)
    else:
        image = _open(path, data)
        pixels = _whole_numbers(path, image)
        if pixels is None and image.mode == "F":
            pixels = np.asarray(image)
            if not np.isfinite(pixels).all():
                raise DataError(f"{path} holds values that are no numbers (NaN or infinite). {AGAIN}")
        if pixels is None and _bits(image, data) > 8:
            raise DataError(
                f"{path} has {_bits(image, data)} bits a colour. Save the masks with 8 bits, grey."
            )
        pixels = _eight_bits(path, image) if pixels is None else pixels
    return (pixels if pixels.ndim == 2 else pixels.max(axis=2)) != 0


def _jpeg(path: Path, data: bytes) -> np.ndarray:
    """Grey or BGR. Strict: the decoder's warnings are errors."""
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours in ("CMYK", "YCCK"):
            raise DataError(f"{path} has the four colours of print (CMYK). {SAVE}")
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if colours.upper() == "GRAY" else "BGR", strict=True)
    except BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise _broken(path, data) from error
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    turn = _orientation(data)
    return pixels if turn == 1 else np.ascontiguousarray(_upright(pixels, turn))


def _orientation(data: bytes) -> int:
    """The orientation of the camera (EXIF), 1 if it is not given."""
    if b"Exif\0\0" not in data[:65536]:
        return 1
    try:
        return Image.open(io.BytesIO(data)).getexif().get(ORIENTATION, 1)
    except BROKEN:
        return 1


def _upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Pixels rotated and mirrored according to EXIF's orientation; unchanged if it is undefined."""
    if turn in (2, 3, 4):
        return {2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}[turn]
    if turn in (5, 6, 7, 8):
        sideways = np.swapaxes(pixels, 0, 1)
        return {5: sideways, 6: sideways[:, ::-1], 7: sideways[::-1, ::-1], 8: sideways[::-1]}[turn]
    return pixels


def _open(path: Path, data: bytes) -> Image.Image:
    """The decoded image. Raises DataError if it is damaged or has several pages."""
    try:
        image = Image.open(io.BytesIO(data))
        if image.size[0] * image.size[1] > LARGEST:
            raise ValueError("too many pixels")
        if image.format == "PNG":  # loading alone does not check its checksums
            Image.open(io.BytesIO(data)).verify()
        pages = getattr(image, "n_frames", 1)
        image.load()
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise _broken(path, data) from error
    if pages > 1:
        raise DataError(
            f"{path} holds {pages} pages; a file of a frame holds one image. Save each as a file of its own."
        )
    return image


def _broken(path: Path, data: bytes) -> DataError:
    return DataError(
        f"{path} ({len(data)} bytes) cannot be decoded: it is damaged, cut off, or not an image. {AGAIN}"
    )


def _whole_numbers(path: Path, image: Image.Image) -> np.ndarray | None:
    """The values of an image with 16 or 32 bits per pixel, None for other images."""
    return np.asarray(image).astype(np.int64) if image.mode == "I" or image.mode.startswith("I;") else None


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per colour. With several colours, Pillow would silently reduce them to 8."""
    if image.format == "PNG":
        return data[24]
    if image.format == "TIFF":
        bits = image.tag_v2.get(BITS_PER_SAMPLE, 1)
        return max(bits) if isinstance(bits, tuple) else bits
    return 8


def _eight_bits(path: Path, image: Image.Image) -> np.ndarray:
    """(H, W) grey or (H, W, 3) BGR from an image with at most 8 bits per colour."""
    image = ImageOps.exif_transpose(image) if image.format == "PNG" else image
    if "A" in image.mode or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise DataError(
                f"{path} is transparent in places, and what would be seen behind it is unknown. {SAVE}"
            )
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode in ("1", "L"):
        pixels = np.array(image)
        return pixels * np.uint8(255) if pixels.dtype == bool else pixels
    if image.mode not in ("RGB", "P", "RGBX", "YCbCr"):
        raise DataError(f"{path} has colours of another kind than grey or RGB ({image.mode}). {SAVE}")
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
