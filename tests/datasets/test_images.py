"""Images of every kind that people have: read as they were meant, or refused with the true reason; nothing
printed."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.datasets.images import read_image, read_mask
from lib.errors import DataError

GREY = np.random.default_rng(0).integers(50, 200, (24, 36)).astype(np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (24, 36, 3)).astype(np.uint8)


def saved(path, pixels, mode=None, **options):
    Image.fromarray(pixels, mode).save(path, **options)
    return path


# -- as meant ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tif", "png", "bmp"])
def test_eight_bits(tmp_path, kind):
    assert np.array_equal(read_image(saved(tmp_path / f"g.{kind}", GREY)), GREY)
    assert np.array_equal(read_image(saved(tmp_path / f"c.{kind}", RGB)), RGB[..., ::-1])


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tif_however_compressed(tmp_path, compression):
    assert np.array_equal(read_image(saved(tmp_path / "g.tif", GREY, compression=compression)), GREY)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpg_has_the_pixels_of_other_readers(tmp_path, progressive):
    for pixels in (GREY, RGB):
        path = saved(tmp_path / "a.jpg", pixels, quality=90, progressive=progressive)
        assert np.array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_ANYCOLOR))


@pytest.mark.parametrize("kind", ["tif", "png"])
def test_sixteen_bits_with_the_values_of_eight(tmp_path, kind):
    """As MATLAB, ImageJ and many cameras write them."""
    cv2.imwrite(str(tmp_path / f"a.{kind}"), GREY.astype(np.uint16))
    assert np.array_equal(read_image(tmp_path / f"a.{kind}"), GREY)


def test_palette_alpha_that_hides_nothing_and_one_bit(tmp_path):
    few = (RGB // 64) * 64
    palette = Image.fromarray(few).quantize(256)
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB"))[..., ::-1])
    opaque = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    assert np.array_equal(read_image(saved(tmp_path / "a.png", opaque)), RGB[..., ::-1])
    Image.fromarray(GREY > 100).save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png"), np.where(GREY > 100, 255, 0))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_upright(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert np.array_equal(read_image(tmp_path / "a.jpg"), cv2.imread(str(tmp_path / "a.jpg")))


@pytest.mark.parametrize("kind, value", [(np.uint8, 1), (np.uint8, 255), (np.uint16, 1), (np.uint16, 65535)])
def test_masks_of_any_depth(tmp_path, kind, value):
    mask = np.zeros((24, 36), kind)
    mask[3, 4] = value
    for name in ("m.png", "m.tif"):
        cv2.imwrite(str(tmp_path / name), mask)
        assert np.argwhere(read_mask(tmp_path / name)).tolist() == [[3, 4]]


def test_a_mask_of_fractions(tmp_path):
    mask = np.zeros((24, 36), np.float32)
    mask[3, 4] = 0.25
    assert np.argwhere(read_mask(saved(tmp_path / "m.tif", mask))).tolist() == [[3, 4]]
    mask[0, 0] = np.nan
    with pytest.raises(DataError, match="m.tif holds values that are no numbers"):
        read_mask(saved(tmp_path / "m.tif", mask))


# -- refused -------------------------------------------------------------------------------------------------


def png_with_16_bit_colours(path):
    cv2.imwrite(str(path), RGB.astype(np.uint16) * 257)


def transparent(path):
    saved(path, np.dstack([RGB, GREY]))


def print_colours(path):
    Image.fromarray(RGB).convert("CMYK").save(path)


def two_pages(path):
    page = Image.fromarray(GREY)
    page.save(path, save_all=True, append_images=[page])


def twelve_bits(path):
    cv2.imwrite(str(path), GREY.astype(np.uint16) * 16)


def fractions(path):
    Image.fromarray(GREY.astype(np.float32) / 255).save(path)


REFUSED = {
    (
        "a.png",
        png_with_16_bit_colours,
    ): "a.png has 16 bits a colour. Save the frames with 8 bits, grey or RGB",
    ("a.tif", png_with_16_bit_colours): "a.tif (has 16 bits a colour|.* cannot be decoded)",
    ("b.png", transparent): "b.png is transparent in places, and what would be seen behind it is unknown",
    ("c.jpg", print_colours): r"c.jpg has the four colours of print \(CMYK\)",
    ("c.tif", print_colours): r"c.tif has colours of another kind than grey or RGB \(CMYK\)",
    ("d.tif", two_pages): "d.tif holds 2 pages; a file of a frame holds one image",
    (
        "e.png",
        twelve_bits,
    ): "e.png has more than 8 bits a pixel, and values from 800 to 3184. Which of them are black",
    ("e.tif", twelve_bits): "e.tif has more than 8 bits a pixel",
    (
        "f.tif",
        fractions,
    ): "f.tif holds floating-point numbers; which are black and white is not written in it",
}


@pytest.mark.parametrize("name, make", REFUSED, ids=lambda value: getattr(value, "__name__", value))
def test_what_has_no_one_meaning_is_refused(tmp_path, name, make, capfd):
    make(tmp_path / name)
    with pytest.raises(DataError, match=REFUSED[name, make]):
        read_image(tmp_path / name)
    assert capfd.readouterr().err == ""


# -- damaged -------------------------------------------------------------------------------------------------


def broken_strip(data: bytearray) -> None:
    """The coded data of a tif, overwritten in the middle, as in one file of the official Ped1 archive."""
    middle = len(data) // 2
    data[middle : middle + 40] = b"\xff" * 40


def zeros(data: bytearray) -> None:
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)


def lost_bytes(data: bytearray) -> None:
    del data[len(data) // 2 : len(data) // 2 + 200]


def half(data: bytearray) -> None:
    del data[len(data) // 2 :]


def one_bit(data: bytearray) -> None:
    data[len(data) // 2] ^= 4


def huge(data: bytearray) -> None:
    data[16:24] = struct.pack(">II", 60000, 60000)


@pytest.mark.parametrize(
    "name, damage",
    [
        *(("a.tif", damage) for damage in (broken_strip, half, lost_bytes)),
        *(("a.png", damage) for damage in (zeros, half, lost_bytes, one_bit, huge)),
        *(("a.jpg", damage) for damage in (zeros, half, lost_bytes)),
        ("a.bmp", half),
    ],
)
def test_damage_is_an_error_and_no_line_of_a_c_library(tmp_path, name, damage, capfd):
    noise = np.random.default_rng(2).integers(0, 256, (96, 128)).astype(np.uint8)
    path = saved(tmp_path / name, noise, **({"compression": "tiff_lzw"} if name == "a.tif" else {}))
    assert read_image(path).shape == (96, 128)
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=rf"{name} \(\d+ bytes\) cannot be decoded: it is damaged"):
            read(path)
    assert capfd.readouterr() == ("", "")
