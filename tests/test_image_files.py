"""image_files.py: any image as upright pixels; what cannot be read is refused in one line."""

import gc
import io
import os
import random
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mnist_helpers.image_files import MAX_PIXELS, WORKING_PIXELS, open_image, read_picture
from mnist_helpers.mnist_files import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 31), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8)


def as_levels(picture):
    return picture.pixels * 255


def saved(image, path, **more):
    image.save(path, **more)
    return read_picture(path)


# Modes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "I", "F", "P", "RGBA", "I;16", "I;16B"])
def test_grey_comes_back_exactly_in_every_mode(mode):
    """White is among the values, so 16 bits are seen to be 8."""
    values = np.where(GREY > 128, 255, 0).astype(np.uint8) if mode == "1" else GREY
    image = Image.fromarray(values)
    if mode == "La":
        image = image.convert("LA")
    picture = read_picture(image.convert(mode))
    assert picture.pixels.dtype == np.float32
    assert picture.pixels.shape == (20, 31)
    np.testing.assert_allclose(as_levels(picture), values, atol=1e-4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "P", "PA"])
def test_colour_is_what_pillow_makes_of_it(mode):
    image = Image.fromarray(COLOUR)
    if mode == "RGBa":
        image = image.convert("RGBA")
    image = image.quantize(200).convert(mode) if mode in ("P", "PA") else image.convert(mode)
    expected = image.convert("RGBA").convert("RGB") if mode == "RGBa" else image.convert("RGB")
    picture = read_picture(image)
    assert picture.pixels.shape == (20, 31, 3)
    np.testing.assert_allclose(as_levels(picture), np.asarray(expected), atol=1e-4)


def test_lab_becomes_colour():
    """Full lightness is white, none is black; a and b are signed, and 0 is without colour."""
    lab = np.zeros((4, 6, 3), np.uint8)
    lab[:, :3, 0] = 255
    picture = read_picture(Image.frombytes("LAB", (6, 4), lab.tobytes()))
    assert picture.pixels[:, :3].min() > 0.95
    assert picture.pixels[:, 3:].max() < 0.05


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm", "gif"])
def test_files_come_back_exactly(tmp_path, suffix):
    more = {"lossless": True} if suffix == "webp" else {}
    grey = saved(Image.fromarray(GREY), tmp_path / f"grey.{suffix}", **more)
    np.testing.assert_allclose(as_levels(grey), GREY, atol=1e-4)
    assert grey.size == (31, 20)
    assert grey.scale == 1
    if suffix != "gif":
        colour = saved(Image.fromarray(COLOUR), tmp_path / f"colour.{suffix}", **more)
        np.testing.assert_allclose(as_levels(colour), COLOUR, atol=1e-4)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_what_pillow_makes_of_it(tmp_path, mode):
    path = tmp_path / "picture.jpg"
    Image.fromarray(COLOUR).convert(mode).save(path)
    with Image.open(path) as file:
        expected = np.asarray(file if mode == "L" else file.convert("RGB"))
    np.testing.assert_allclose(as_levels(read_picture(path)), expected, atol=1e-4)


def test_a_grey_jpeg_in_three_channels_is_grey(tmp_path):
    assert saved(Image.fromarray(GREY).convert("RGB"), tmp_path / "grey.jpg").pixels.ndim == 2


@pytest.mark.parametrize("as_text", [str, Path])
def test_a_path_is_text_or_a_path(tmp_path, as_text):
    Image.fromarray(GREY).save(tmp_path / "Zähler 7.png")
    assert read_picture(as_text(tmp_path / "Zähler 7.png")).size == (31, 20)


def test_one_pixel_is_a_picture(tmp_path):
    assert saved(Image.new("L", (1, 1), 51), tmp_path / "dot.png").pixels == pytest.approx(0.2)


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1_023), (12, 4_095), (16, 65_535)])
@pytest.mark.parametrize("form", ["I;16", "I;16B", "I", "png", "tif", "array", "colours"])
def test_deep_pixels_are_divided_by_the_white_of_their_bits(tmp_path, bits, white, form):
    values = RNG.integers(0, white + 1, (9, 7)).astype(np.uint16)
    values[0, 0] = white
    expected = values / white
    if form == "array":
        image = values
    elif form == "colours":
        image, expected = np.stack([values, values[::-1], values], -1), None
    elif form == "I;16B":
        image = Image.frombytes("I;16B", (7, 9), values.astype(">u2").tobytes())
    elif form == "I":
        image = Image.fromarray(values.astype(np.int32))
    else:
        image = Image.fromarray(values)
    if form in ("png", "tif"):
        image.save(tmp_path / f"deep.{form}")
        image = tmp_path / f"deep.{form}"
    pixels = read_picture(image).pixels
    if expected is None:
        assert pixels.shape == (9, 7, 3)
        pixels, expected = pixels[..., 1], values[::-1] / white
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


@pytest.mark.parametrize("largest", [1, 255])
def test_a_float_image_may_go_to_1_or_to_255(tmp_path, largest):
    values = (GREY / 255 * largest).astype(np.float32)
    picture = saved(Image.fromarray(values), tmp_path / "floats.tif")
    np.testing.assert_allclose(as_levels(picture), GREY, atol=1e-3)


@pytest.mark.parametrize("value", [-1.0, 300.0, np.nan, np.inf])
def test_a_float_image_of_other_values_is_refused(value):
    values = np.full((5, 5), 0.5, np.float32)
    values[2, 2] = value
    with pytest.raises(DataError, match=r"Pillow image has values from .* give 0 to 255"):
        read_picture(Image.fromarray(values))


# EXIF

STORED = {  # how a camera that is held in each way stores an upright picture
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def turned(upright, orientation):
    """The image to save, and the EXIF tag that says how to turn it."""
    exif = Image.Exif()
    exif[274] = orientation
    return Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))), exif


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "mpo"])
def test_a_turned_picture_comes_back_upright(tmp_path, orientation, suffix):
    upright = np.full((16, 48, 3), 255, np.uint8)  # whole blocks of a JPEG, so that it is exact
    upright[:8, :8], upright[:8, 8:16] = 0, 128
    image, exif = turned(upright, orientation)
    more = {"lossless": True} if suffix == "webp" else {}
    picture = saved(image, tmp_path / f"turned.{suffix}", exif=exif, **more)
    assert picture.size == (48, 16)
    assert picture.scale == 1
    np.testing.assert_allclose(as_levels(picture), upright[..., 0], atol=2)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_large_turned_picture_comes_back_upright(tmp_path, suffix):
    upright = np.zeros((1_500, 4_000), np.uint8)
    upright[:750, :1_000] = 255
    image, exif = turned(upright, 6)
    picture = saved(image, tmp_path / f"turned.{suffix}", exif=exif)
    assert picture.size == (4_000, 1_500)
    height, width = picture.pixels.shape
    assert picture.scale == pytest.approx(4_000 / width)
    expected = np.zeros((height, width))
    expected[: height // 2, : width // 4] = 1
    assert np.abs(picture.pixels - expected).mean() < 0.005


def test_a_damaged_tag_is_as_none(tmp_path):
    about = PngInfo()
    about.add_text("Raw profile type exif", "\nexif\n4\nno hexadecimal number")
    picture = saved(Image.fromarray(GREY), tmp_path / "damaged.png", pnginfo=about)
    np.testing.assert_allclose(as_levels(picture), GREY, atol=1e-4)


# Transparency


def ink_on_nothing(colour):
    """A bar of ink; all else cannot be seen, whatever colour lies there."""
    rgba = np.zeros((12, 10, 4), np.uint8)
    rgba[..., :3] = np.array(colour)  # hidden under alpha 0 as well
    rgba[2:10, 4:6, 3] = 255
    return rgba


@pytest.mark.parametrize(
    ("colour", "paper"),
    [((0, 0, 0), 1), ((255, 255, 255), 0), ((0, 0, 160), 1), ((250, 240, 0), 0)],
)
@pytest.mark.parametrize("form", ["png", "webp", "array", "floats", "tensor", "RGBa"])
def test_ink_on_nothing_stays_visible(tmp_path, colour, paper, form):
    rgba = ink_on_nothing(colour)
    image = {
        "array": rgba,
        "floats": rgba / 255,
        "tensor": torch.from_numpy(rgba).permute(2, 0, 1),
    }.get(form, Image.fromarray(rgba))
    if form in ("png", "webp"):
        picture = saved(
            image, tmp_path / f"ink.{form}", **({"lossless": True} if form == "webp" else {})
        )
    else:
        picture = read_picture(image.convert("RGBa") if form == "RGBa" else image)
    expected = np.full((12, 10, 3), float(paper))
    expected[2:10, 4:6] = np.array(colour) / 255
    pixels = picture.pixels
    pixels = pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, axis=2)
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB"])
def test_a_transparent_value_is_paper(tmp_path, ink, mode):
    """A palette, grey or a colour may name one value that is transparent."""
    values = np.full((12, 10), 255 - ink, np.uint8)
    values[2:10, 4:6] = ink
    image = Image.fromarray(values)
    more = {"transparency": 255 - ink}
    if mode == "1":
        image, more = image.convert("1"), {"transparency": (255 - ink) // 255}
    if mode == "P":
        image = Image.fromarray((values == ink).astype(np.uint8)).convert("P")
        image.putpalette([77] * 3 + [ink] * 3)
        more = {"transparency": 0}
    if mode == "RGB":
        image, more = image.convert("RGB"), {"transparency": (255 - ink,) * 3}
    if mode == "LA":
        image, more = Image.merge("LA", (image, image.point(lambda v: 255 * (v == ink)))), {}
    picture = saved(image, tmp_path / "ink.png", **more)
    np.testing.assert_array_equal(as_levels(picture), values)


def test_a_palette_may_be_half_transparent(tmp_path):
    """Black at alpha 0, 102 and 255 on white."""
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0] * 3)
    picture = saved(image, tmp_path / "veil.png", transparency=bytes([0, 102, 255]))
    np.testing.assert_allclose(picture.pixels, [[1, 0.6, 0]], atol=1e-6)


@pytest.mark.parametrize("image", [np.zeros((5, 6, 4), np.uint8), np.zeros((5, 6, 4))])
def test_nothing_to_see_is_one_colour(tmp_path, image):
    picture = read_picture(image)
    assert picture.pixels.shape == (5, 6)
    assert np.ptp(picture.pixels) == 0


def test_a_large_transparent_picture_does_not_mix_in_what_is_hidden(tmp_path):
    """Black stripes, and white between them that cannot be seen: black on white when smaller."""
    rgba = np.zeros((2_400, 2_400, 4), np.uint8)
    rgba[..., :3] = 255
    rgba[:, 1_200:] = (0, 0, 0, 255)
    for image in (Image.fromarray(rgba), rgba, rgba / np.float32(255)):
        pixels = read_picture(image).pixels
        edge = pixels.shape[1] // 2
        assert (pixels[:, : edge - 2] == 1).all()
        assert (pixels[:, edge + 2 :] == 0).all()


# Arrays and tensors


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("shape", [(20, 31), (1, 20, 31), (20, 31, 1)])
def test_grey_arrays(make, shape):
    picture = read_picture(make(GREY.reshape(shape)))
    np.testing.assert_allclose(as_levels(picture), GREY, atol=1e-4)
    assert picture.size == (31, 20)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int16", "int64", "uint16", ">u2"]
)
def test_arrays_of_numbers(dtype):
    values = GREY / 255 if dtype.startswith("float") else GREY
    given = values.astype(dtype)
    picture = read_picture(given)
    np.testing.assert_allclose(as_levels(picture), GREY, atol=0.2 if dtype == "float16" else 1e-4)
    assert not np.shares_memory(picture.pixels, given)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int64, torch.uint16])
def test_tensors_of_numbers(dtype):
    values = torch.from_numpy(np.where(GREY > 128, 255, 0).astype(np.int64))
    tensor = (values / 255).to(dtype) if dtype.is_floating_point else values.to(dtype)
    np.testing.assert_array_equal(as_levels(read_picture(tensor)), values)


def test_a_tensor_in_training_can_be_read():
    assert read_picture(torch.rand(1, 28, 28, requires_grad=True)).size == (28, 28)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_bits_are_black_and_white(make):
    np.testing.assert_array_equal(read_picture(make(GREY > 128)).pixels, GREY > 128)


def test_colour_arrays():
    tensor = torch.from_numpy(COLOUR)
    floats = COLOUR / 255
    for image in (COLOUR, tensor, tensor.permute(2, 0, 1), floats, COLOUR[::1, :, ::-1][..., ::-1]):
        picture = read_picture(image)
        assert picture.size == (31, 20)
        np.testing.assert_allclose(as_levels(picture), COLOUR, atol=1e-4)


def test_a_tensor_of_three_rows_and_columns_has_its_channels_first():
    tensor = torch.arange(9 * 3, dtype=torch.uint8).reshape(3, 3, 3)
    expected = tensor.permute(1, 2, 0)
    np.testing.assert_allclose(as_levels(read_picture(tensor)), expected, atol=1e-4)


def test_float_pixels_are_not_rounded():
    values = RNG.random((20, 31)).astype(np.float32)
    np.testing.assert_array_equal(read_picture(values).pixels, values)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4), 16.0), r"float pixels must lie in \[0, 1\]: divide by 255, or give uint8"),
        (np.full((4, 4), -0.1), "float pixels must lie"),
        (np.full((4, 4), np.nan), "float pixels must lie"),
        (torch.full((4, 4), torch.nan), "float pixels must lie"),
        (torch.full((3, 4, 4), 255.0), "float pixels must lie"),
        (np.full((4, 4), -1), "values from -1 to -1: give 0 to 255"),
        (np.full((4, 4), 70_000), "to 70000"),
        (np.zeros(4), r"\[4\]: give one image, \[H, W\] or \[H, W, 3\]"),
        (np.zeros((2, 5, 5)), r"\[2, 5, 5\]"),
        (np.zeros((4, 4, 2)), r"\[4, 4, 2\]"),
        (np.zeros((3, 4, 5), np.uint8), r"\[3, 4, 5\]"),  # only a tensor has its channels first
        (torch.zeros(8, 1, 28, 28), r"\[8, 1, 28, 28\]"),
        (np.zeros(()), r"\[\]"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.full((4, 4), "7"), "<U1"),
        (np.full((4, 4), None), "object"),
        (np.zeros((0, 5)), "5x0, without a pixel"),
        (np.zeros((5, 0), np.uint8), "0x5, without a pixel"),
        (torch.zeros(3, 0, 0), "0x0, without a pixel"),
        (Image.new("L", (0, 5)), "0x5, without a pixel"),
        (np.broadcast_to(np.uint8(0), (8_001, 8_000)), "too large.*8000x8001.*make it smaller"),
        ([[0, 1], [1, 0]], "list is no image: give a path"),
        (None, "NoneType is no image"),
        (7, "int is no image"),
        (b"digit.png", "bytes is no image"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(DataError, match=message) as caught:
        read_picture(image)
    assert "\n" not in str(caught.value)


def test_a_closed_pillow_image_is_refused(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    with Image.open(tmp_path / "grey.png") as image:
        pass
    with pytest.raises(DataError, match="the Pillow image is not a readable image"):
        read_picture(image)


def test_the_given_pillow_image_is_left_as_it_was(tmp_path):
    image, exif = turned(COLOUR, 6)
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        size, mode = image.size, image.mode
        assert read_picture(image).size == (31, 20)
        assert (image.size, image.mode, image.getexif()[274]) == (size, mode, 6)


# Size


@pytest.mark.parametrize(
    "size",
    [
        (1_280, 960),
        (1_281, 960),
        (960, 1_281),
        (3_000, 2_001),
        (20_000, 200),
        (3_000_000, 1),
        (1, 3_000_000),
    ],
)
@pytest.mark.parametrize("form", ["png", "jpg", "array", "floats"])
def test_large_images_become_smaller(tmp_path, size, form):
    if form == "jpg" and max(size) > 65_000:
        pytest.skip("no JPEG is so long")
    width, height = size
    values = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width))
    image = {"array": values, "floats": values / np.float32(255)}.get(form)
    if image is None:
        image = tmp_path / f"large.{form}"
        Image.fromarray(values).save(image)
    picture = read_picture(image)
    rows, columns = picture.pixels.shape
    assert picture.size == size
    assert picture.scale == width / columns >= 1
    assert rows * columns <= WORKING_PIXELS
    if width * height <= WORKING_PIXELS:
        assert (columns, rows) == size
    elif min(size) > 1:
        assert rows * columns > 0.98 * WORKING_PIXELS
        assert columns / rows == pytest.approx(width / height, rel=0.01)
    if width > 1:
        ramp = picture.pixels.mean(axis=0)
        np.testing.assert_allclose(ramp, np.linspace(0, 1, columns), atol=0.02)


@pytest.mark.parametrize("form", ["L", "1", "P", "I;16", "RGB", "RGBA", "LA", "floats", "jpg"])
@pytest.mark.parametrize("side", [2_000, 2_800])  # averaged by whole pixels only where it can be
def test_scaling_down_is_anti_aliased(tmp_path, form, side):
    """A fine chequerboard becomes grey; nearest neighbours would stay black and white."""
    board = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = Image.fromarray(board)
    if form == "floats":
        pixels = read_picture(board / np.float32(255)).pixels
    elif form == "jpg":
        pixels = saved(image, tmp_path / "board.jpg", quality=95).pixels
    elif form == "I;16":
        pixels = read_picture(Image.fromarray(board.astype(np.uint16) * 257)).pixels
    else:
        pixels = read_picture(image.convert(form)).pixels
    assert np.abs(pixels[2:-2, 2:-2] - 0.5).max() < 0.1


def test_a_stroke_keeps_its_place(tmp_path):
    """Its middle, found in the small picture, times the scale is its middle in the large one."""
    values = np.zeros((2_000, 3_001), np.uint8)
    values[490:511, 2_190:2_211] = 255
    for image in (Image.fromarray(values), Image.fromarray(values).convert("P")):
        picture = saved(image, tmp_path / "stroke.png")
        rows, columns = np.indices(picture.pixels.shape)
        for axis, middle in ((rows, 500.5), (columns, 2_200.5)):
            found = (picture.pixels * (axis + 0.5)).sum() / picture.pixels.sum()
            assert found * picture.scale == pytest.approx(middle, abs=1.5)


# Files that are none


def png_of(width, height, depth=8, colour=0, data=b""):
    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def encoded(image, form, **more):
    file = io.BytesIO()
    image.save(file, form, **more)
    return file.getvalue()


def pages(form, count=3):
    images = [Image.fromarray(np.roll(GREY, step)) for step in range(count)]
    return encoded(images[0], form, save_all=True, append_images=images[1:])


BROKEN = {
    "empty": (b"", r"not a readable image \(it is empty\): give a PNG or JPEG file"),
    "text": (b"seven\nor nine", r"not a readable image \(of no known kind\)"),
    "PDF": (b"%PDF-1.7\n1 0 obj\n", "not a readable image"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "of no known kind"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "give a PNG or JPEG file"),
    "half PNG": (encoded(Image.fromarray(COLOUR), "PNG")[:900], "not a readable image"),
    "half JPEG": (encoded(Image.fromarray(COLOUR), "JPEG")[:800], "not a readable image"),
    "PNG without data": (png_of(20, 20), "not a readable image"),
    "PNG of 0x0": (png_of(0, 0), "not a readable image|without a pixel"),
    "PNG of 0x9": (png_of(0, 9), "not a readable image|without a pixel"),
    "PPM of 0x0": (b"P5 0 0 255\n", "not a readable image|without a pixel"),
    "just too large": (png_of(8_001, 8_000), r"is too large \(8001x8000, over 64,000,000 pixels\)"),
    "bomb that Pillow warns of": (png_of(10_000, 10_000), "100,000,000 pixels.*make it smaller"),
    "bomb that Pillow refuses": (png_of(40_000, 40_000), "1,600,000,000 pixels.*make it smaller"),
    "GIF": (pages("GIF"), "is an animation of 3 pictures: save one of them"),
    "APNG": (pages("PNG"), "is an animation of 3 pictures: save one of them"),
    "WebP": (pages("WEBP"), "is an animation of 3 pictures: save one of them"),
    "TIFF": (pages("TIFF"), "is an animation of several pictures: save one of them"),
}


def refusal(path):
    """The one line that refuses the path."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as caught:
            read_picture(path)
    message = str(caught.value)
    assert message.isprintable()
    assert " at 0x" not in message
    return message


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path, kind):
    content, expected = BROKEN[kind]
    path = tmp_path / "digit.png"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path} is ")
    assert len(message) < len(str(path)) + 150
    with pytest.raises(DataError, match=expected):
        read_picture(path)


def test_paths_that_are_no_file_are_refused(tmp_path):
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    (tmp_path / "file").write_text("seven")
    assert refusal(tmp_path) == f"{tmp_path} is a folder: name the image files in it"
    for path in (tmp_path / "none.png", tmp_path / "file" / "digit.png"):
        assert refusal(path) == f"{path} is not there: check its name"
    assert refusal(loop).startswith(f"{loop} is not a readable image (")
    assert refusal("").startswith("'' is not there")
    assert "not a readable image" in refusal(f"{tmp_path}/a\0b.png")
    assert "not there" in refusal(f"{tmp_path}/a\nb.png")
    assert "not there" in refusal(f"{tmp_path}/\udcff.png")
    assert len(refusal("x" * 10_000)) < 600


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "digit.png"
    Image.fromarray(GREY).save(path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mnist_helpers.image_files.open", refuse, raising=False)
    assert refusal(path).startswith(f"{path} cannot be opened: permission denied; ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    messages = []
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        thread = threading.Thread(target=lambda p=path: messages.append(refusal(p)), daemon=True)
        thread.start()
        thread.join(10)
    assert len(messages) == 2
    assert all("is a pipe or a device: name an image file" in message for message in messages)


@pytest.mark.filterwarnings("ignore")  # of an older Pillow, about the file that it wrote
def test_what_a_phone_writes_is_read(tmp_path):
    """Several pictures in a .jpg: the first counts, as in any viewer."""
    path = tmp_path / "phone.jpg"
    path.write_bytes(pages("MPO"))
    with Image.open(path) as file:
        if file.format != "MPO":
            pytest.skip("this version of Pillow writes no such file")
        expected = np.asarray(file)
    np.testing.assert_allclose(as_levels(read_picture(path)), expected, atol=1e-4)


def test_pillows_limit_is_kept_and_may_be_lower(tmp_path, monkeypatch):
    limit = Image.MAX_IMAGE_PIXELS
    read_picture(GREY)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert limit > MAX_PIXELS  # so that our message, which has the width, comes first
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert "is too large (620 pixels): make it smaller" in refusal(tmp_path / "grey.png")


def test_an_error_of_pillow_inside_open_image_is_refused_too(tmp_path):
    (tmp_path / "half.png").write_bytes(BROKEN["half PNG"][0])
    with (
        pytest.raises(DataError, match=r"half\.png is not a readable image"),
        open_image(tmp_path / "half.png") as file,
    ):
        file.convert("L")


@pytest.mark.filterwarnings("error")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="cannot count open files here")
def test_no_file_stays_open(tmp_path):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    contents = [content for content, _ in BROKEN.values()]
    contents += [encoded(Image.fromarray(GREY), form) for form in ("PNG", "JPEG", "TIFF", "GIF")]
    kept = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        try:
            kept.append(read_picture(path))
        except DataError as error:
            kept.append(error)  # with its trace, which may hold the file
    assert len(os.listdir("/proc/self/fd")) == before
    gc.collect()


FUZZED = {
    "PNG": encoded(Image.fromarray(COLOUR), "PNG"),
    "palette": encoded(Image.fromarray(COLOUR).quantize(16), "PNG", transparency=3),
    "JPEG": encoded(Image.fromarray(COLOUR), "JPEG"),
    "MPO": pages("MPO"),
    "GIF": encoded(Image.fromarray(GREY), "GIF"),
    "animated GIF": pages("GIF"),
    "TIFF": encoded(turned(COLOUR, 6)[0], "TIFF", exif=turned(COLOUR, 6)[1]),
    "TIFF of pages": pages("TIFF"),
    "WebP": encoded(Image.fromarray(COLOUR), "WEBP"),
    "BMP": encoded(Image.fromarray(COLOUR), "BMP"),
    "PPM": encoded(Image.fromarray(COLOUR), "PPM"),
}


@pytest.mark.parametrize("kind", FUZZED)
def test_damaged_bytes_give_a_picture_or_a_refusal(tmp_path, kind):
    draw, content, messages = random.Random(kind), FUZZED[kind], []
    path = tmp_path / "damaged.png"
    for _ in range(60):
        damaged = bytearray(
            content[: draw.randint(1, len(content))] if draw.random() < 0.3 else content
        )
        reach = len(damaged) if draw.random() < 0.5 else min(len(damaged), 100)  # the header
        for _ in range(draw.choice([0, 1, 2, 8])):
            damaged[draw.randrange(reach)] = draw.choice([0, 1, 127, 255, draw.randrange(256)])
        path.unlink(missing_ok=True)
        path.write_bytes(damaged)
        start = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True) as leaked:
                pixels = read_picture(path).pixels
        except DataError as error:
            messages.append(str(error))
        else:
            assert pixels.dtype == np.float32
            assert pixels.min() >= 0
            assert pixels.max() <= 1
        assert not leaked
        assert time.perf_counter() - start < 5
    assert messages
    assert not any("\n" in message for message in messages)


# Memory

PROGRAM = """
import resource, sys
from PIL import Image
from mnist_helpers.image_files import read_picture
grey, large, bomb = sys.argv[1:]
read_picture(grey)  # imports what it needs
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 200 * 2**20,) * 2)
print(read_picture(large).size)
try:
    Image.open(large).convert("RGBA")
except MemoryError:
    print("the whole in colour would not fit")
try:
    read_picture(bomb)
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="cannot limit memory here")
def test_memory_is_bounded(tmp_path):
    """What the decoded file takes, and little more: it is never converted as a whole."""
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    large = Image.new("P", (10_000, 6_000))  # 60 MB; 240 MB in colour, 720 MB as floats
    large.putpalette([255, 0, 0])
    large.save(tmp_path / "large.png", compress_level=1, transparency=0)
    (tmp_path / "bomb.png").write_bytes(png_of(40_000, 40_000, data=bytes(1_000)))
    names = [str(tmp_path / f"{name}.png") for name in ("grey", "large", "bomb")]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    size, control, refused = ran.stdout.splitlines()
    assert size == "(10000, 6000)"
    assert control == "the whole in colour would not fit"
    assert "is too large" in refused
