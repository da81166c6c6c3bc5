"""image_files.py: any image as upright pixels; what cannot be read is refused in one line."""

import gc
import io
import os
import random
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mnist_helpers.handwriting.image_files import MAX_PIXELS, WORKING_PIXELS, read_picture
from mnist_helpers.mnist_files import DataError
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 31), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 31, 3), dtype=np.uint8)


def as_levels(picture):
    return picture.pixels * 255


def saved(image, path):
    """The picture in a file that keeps the image exactly, if its kind can."""
    more = {"lossless": True} if path.suffix == ".webp" else {}
    image.save(path, exif=image.getexif(), **more)
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
    np.testing.assert_allclose(as_levels(read_picture(image)), np.asarray(expected), atol=1e-4)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm", "gif"])
def test_files_come_back_exactly(tmp_path, suffix):
    grey = saved(Image.fromarray(GREY), tmp_path / f"Zähler 7.{suffix}")
    np.testing.assert_allclose(as_levels(grey), GREY, atol=1e-4)
    assert (grey.size, grey.scale) == ((31, 20), 1)
    assert (read_picture(str(tmp_path / f"Zähler 7.{suffix}")).pixels == grey.pixels).all()
    assert saved(Image.new("L", (1, 1), 51), tmp_path / f"dot.{suffix}").pixels == pytest.approx(
        0.2
    )
    equal = saved(Image.fromarray(GREY).convert("RGB"), tmp_path / f"equal.{suffix}")
    assert equal.pixels.shape == (20, 31)  # three channels that are equal become one
    if suffix != "gif":
        colour = saved(Image.fromarray(COLOUR), tmp_path / f"colour.{suffix}")
        np.testing.assert_allclose(as_levels(colour), COLOUR, atol=1e-4)


@pytest.mark.parametrize("kind", ["L", "RGB", "CMYK", "three pictures"])
def test_a_jpeg_is_what_pillow_makes_of_it(tmp_path, kind):
    """What a phone writes may hold several pictures: the first counts, as in any viewer."""
    path = tmp_path / "picture.jpg"
    if kind == "three pictures":
        path.write_bytes(pages("MPO"))
    else:
        Image.fromarray(COLOUR).convert(kind).save(path)
    with Image.open(path) as file:
        assert getattr(file, "n_frames", 1) == (3 if kind == "three pictures" else 1)
        expected = np.asarray(file if file.mode == "L" else file.convert("RGB"))
    np.testing.assert_allclose(as_levels(read_picture(path)), expected, atol=1e-4)


@pytest.mark.parametrize("white", [255, 1_023, 4_095, 65_535])
def test_deep_pixels_are_divided_by_the_white_of_their_bits(tmp_path, white):
    values = RNG.integers(0, white + 1, (9, 7)).astype(np.uint16)
    values[0, 0] = white
    image = Image.fromarray(values)
    pictures = [saved(image, tmp_path / f"deep.{suffix}") for suffix in ("png", "tif")]
    swapped = Image.frombytes("I;16B", (7, 9), values.astype(">u2").tobytes())
    wide = Image.fromarray(values.astype(np.int32))
    for picture in [*pictures, *map(read_picture, (image, swapped, wide, values))]:
        np.testing.assert_allclose(picture.pixels, values / white, atol=1e-6)
    colours = np.stack([values, values[::-1], values], -1)
    np.testing.assert_allclose(read_picture(colours).pixels, colours / white, atol=1e-6)


def test_a_float_image_may_go_to_1_or_to_255(tmp_path):
    for largest in (1, 255):
        values = (GREY / 255 * largest).astype(np.float32)
        picture = saved(Image.fromarray(values), tmp_path / "floats.tif")
        np.testing.assert_allclose(as_levels(picture), GREY, atol=1e-3)
    for value in (-1.0, 300.0, np.nan, np.inf):
        with pytest.raises(DataError, match=r"Pillow image has values from .* give 0 to 255"):
            read_picture(Image.fromarray(np.array([[0.5, value]], np.float32)))


# EXIF


def turned(stored, orientation):
    """The image with the EXIF tag that says how to turn it."""
    image = Image.fromarray(stored)
    image.getexif()[274] = orientation
    return image


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "mpo"])
def test_a_turned_picture_comes_back_upright(tmp_path, suffix):
    stored = np.full((16, 48, 3), 255, np.uint8)  # whole blocks of a JPEG, so that it is exact
    stored[:8, :8], stored[:8, 8:16] = 0, 128
    for orientation in range(1, 9):
        image = turned(stored, orientation)
        upright = ImageOps.exif_transpose(image)
        picture = saved(image, tmp_path / f"turned.{suffix}")
        assert (picture.size, picture.scale) == (upright.size, 1)
        np.testing.assert_allclose(as_levels(picture), upright.convert("L"), atol=2)
        with Image.open(tmp_path / f"turned.{suffix}") as opened:
            assert np.array_equal(read_picture(opened).pixels, picture.pixels)


def test_a_damaged_tag_is_as_none(tmp_path):
    about = PngInfo()
    about.add_text("Raw profile type exif", "\nexif\n4\nno hexadecimal number")
    Image.fromarray(GREY).save(tmp_path / "damaged.png", pnginfo=about)
    picture = read_picture(tmp_path / "damaged.png")
    np.testing.assert_allclose(as_levels(picture), GREY, atol=1e-4)


# Transparency


@pytest.mark.parametrize(
    ("colour", "paper"),
    [((0, 0, 0), 1), ((255, 255, 255), 0), ((0, 0, 160), 1), ((250, 240, 0), 0)],
)
def test_ink_on_nothing_stays_visible(tmp_path, colour, paper):
    """A bar of ink; all else cannot be seen, and the same colour lies there."""
    rgba = np.zeros((12, 10, 4), np.uint8)
    rgba[..., :3] = colour
    rgba[2:10, 4:6, 3] = 255
    expected = np.full((12, 10, 3), float(paper))
    expected[2:10, 4:6] = np.array(colour) / 255
    image = Image.fromarray(rgba)
    for picture in (
        saved(image, tmp_path / "ink.png"),
        saved(image, tmp_path / "ink.webp"),
        *map(read_picture, (image.convert("RGBa"), rgba, rgba / 255)),
        read_picture(torch.from_numpy(rgba).permute(2, 0, 1)),
    ):
        pixels = np.atleast_3d(picture.pixels)  # of one channel, if it is grey
        np.testing.assert_allclose(pixels + np.zeros(3), expected, atol=1e-6)


@pytest.mark.parametrize("ink", [0, 255])
def test_a_transparent_value_is_paper(tmp_path, ink):
    """Grey, a colour or a palette may name one value that is transparent."""
    hidden = 255 - ink
    values = np.full((12, 10), hidden, np.uint8)
    values[2:10, 4:6] = ink
    grey = Image.fromarray(values)
    palette = Image.fromarray((values == ink).astype(np.uint8)).convert("P")
    palette.putpalette([77] * 3 + [ink] * 3)
    veiled = Image.merge("LA", (grey, grey.point(lambda value: 255 * (value == ink))))
    for image, transparent in [
        (grey.convert("1"), hidden // 255),
        (grey, hidden),
        (grey.convert("RGB"), (hidden,) * 3),
        (palette, 0),
        (veiled, None),
    ]:
        image.save(tmp_path / "ink.png", transparency=transparent)
        picture = read_picture(tmp_path / "ink.png")
        np.testing.assert_array_equal(as_levels(picture), values, image.mode)


def test_what_is_seen_in_part_or_not_at_all(tmp_path):
    """Black at alpha 0, 102 and 255 on white; and nothing, which is of one colour."""
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0] * 3)
    image.save(tmp_path / "veil.png", transparency=bytes([0, 102, 255]))
    np.testing.assert_allclose(read_picture(tmp_path / "veil.png").pixels, [[1, 0.6, 0]], atol=1e-6)
    for image in (np.zeros((5, 6, 4), np.uint8), np.zeros((5, 6, 4))):
        assert np.ptp(read_picture(image).pixels) == 0


def test_a_large_transparent_picture_does_not_mix_in_what_is_hidden():
    """A black half, and a white one that cannot be seen: black on white when smaller."""
    rgba = np.zeros((2_400, 1_200, 4), np.uint8)
    rgba[..., :3] = 255
    rgba[:, 600:] = (0, 0, 0, 255)
    for image in (Image.fromarray(rgba), rgba / np.float32(255)):
        pixels = read_picture(image).pixels
        edge = pixels.shape[1] // 2
        assert (pixels[:, : edge - 2] == 1).all()
        assert (pixels[:, edge + 2 :] == 0).all()


# Arrays and tensors


BITS = np.where(GREY > 128, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_arrays_and_tensors_of_every_shape_and_type(make):
    for given, values in [
        *((GREY.reshape(shape), GREY) for shape in [(20, 31), (1, 20, 31), (20, 31, 1)]),
        *(((GREY / 255).astype(kind), GREY) for kind in ("float32", "float64")),
        *((GREY.astype(kind), GREY) for kind in ("int16", "int64", "uint16")),
        *(((BITS / 255).astype(kind), BITS) for kind in ("float16", "bool")),
        (COLOUR, COLOUR),
        (COLOUR / 255, COLOUR),
    ]:
        image = make(given)
        picture = read_picture(image)
        np.testing.assert_allclose(as_levels(picture), values, atol=1e-4)
        assert picture.size == (31, 20)
        assert not np.shares_memory(picture.pixels, image)


def test_arrays_and_tensors_of_odd_kinds():
    for array in (GREY.astype(">u2"), GREY[::-1].copy()[::-1]):
        np.testing.assert_allclose(as_levels(read_picture(array)), GREY, atol=1e-4)
    ones = torch.ones(1, 28, 28, dtype=torch.bfloat16, requires_grad=True)
    assert (read_picture(ones).pixels == 1).all()
    floats = RNG.random((20, 31)).astype(np.float32)
    np.testing.assert_array_equal(read_picture(floats).pixels, floats)  # not rounded
    channels = torch.from_numpy(COLOUR).permute(2, 0, 1)
    for tensor in (channels, channels[:, :3, :3]):  # in doubt, channels come first
        expected = tensor.permute(1, 2, 0)
        np.testing.assert_allclose(as_levels(read_picture(tensor)), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4), 16.0), r"float pixels must lie in \[0, 1\]: divide by 255, or give uint8"),
        (np.full((4, 4), np.nan), "float pixels must lie"),
        (np.full((4, 4), -1), "values from -1 to -1: give 0 to 255"),
        (np.full((4, 4), 70_000), "to 70000"),
        (np.zeros(4), r"\[4\]: give one image, \[H, W\] or \[H, W, 3\]"),
        (np.zeros((4, 4, 2)), r"\[4, 4, 2\]"),
        (np.zeros((3, 4, 5), np.uint8), r"\[3, 4, 5\]"),  # only a tensor has its channels first
        (torch.zeros(8, 1, 28, 28), r"\[8, 1, 28, 28\]"),
        (np.zeros(()), r"\[\]"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.zeros((0, 5)), "5x0, without a pixel"),
        (Image.new("L", (0, 5)), "0x5, without a pixel"),
        (np.broadcast_to(np.uint8(0), (8_001, 8_000)), "too large.*8000x8001.*make it smaller"),
        ([[0, 1], [1, 0]], "list is no image: give a path"),
        (b"digit.png", "bytes is no image"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(DataError, match=message) as caught:
        read_picture(image)
    assert "\n" not in str(caught.value)


def test_a_pillow_image_is_left_as_it_was_and_refused_when_it_is_closed(tmp_path):
    image = turned(COLOUR, 6)
    image.save(tmp_path / "turned.png", exif=image.getexif())
    with Image.open(tmp_path / "turned.png") as image:
        size, mode = image.size, image.mode
        assert read_picture(image).size == (20, 31)
        assert (image.size, image.mode, image.getexif()[274]) == (size, mode, 6)
    with Image.open(tmp_path / "turned.png") as image:
        pass
    with pytest.raises(DataError, match="the Pillow image is not a readable image"):
        read_picture(image)


# Size


@pytest.mark.parametrize(
    "size", [(1_280, 960), (960, 1_281), (3_000, 2_001), (60_000, 60), (3_000_000, 1)]
)
def test_large_images_become_smaller(tmp_path, size):
    width, height = size
    values = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width))
    pictures = [saved(Image.fromarray(values), tmp_path / "large.png")]
    pictures += [read_picture(values / np.float32(255)), read_picture(values.T / 255.0)]
    if width < 65_000:  # no JPEG is longer
        pictures.append(saved(Image.fromarray(values), tmp_path / "large.jpg"))
    for number, picture in enumerate(pictures):
        upright = picture.pixels.T if number == 2 else picture.pixels
        rows, columns = upright.shape
        assert picture.size == (size[::-1] if number == 2 else size)
        assert picture.scale == picture.size[0] / picture.pixels.shape[1] >= 1
        assert rows * columns <= WORKING_PIXELS
        if width * height <= WORKING_PIXELS:
            assert (columns, rows) == size
        elif min(size) > 1:
            assert rows * columns > 0.97 * WORKING_PIXELS
            assert columns / rows == pytest.approx(width / height, rel=0.03)
        ramp = np.linspace(0, 1, columns)
        np.testing.assert_allclose(upright.mean(axis=0), ramp, atol=0.02)


@pytest.mark.parametrize("form", ["L", "1", "P", "I;16", "RGB", "RGBA", "LA", "floats", "jpg"])
@pytest.mark.parametrize("side", [2_000, 2_800])  # averaged by whole pixels only where it can be
def test_scaling_down_is_anti_aliased(tmp_path, form, side):
    """A fine chequerboard becomes grey; nearest neighbours would stay black and white."""
    board = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)
    if form == "floats":
        picture = read_picture(board / np.float32(255))
    elif form == "jpg":
        picture = saved(Image.fromarray(board), tmp_path / "board.jpg")
    elif form == "I;16":
        picture = read_picture(Image.fromarray(board.astype(np.uint16) * 257))
    else:
        picture = read_picture(Image.fromarray(board).convert(form))
    assert np.abs(picture.pixels[2:-2, 2:-2] - 0.5).max() < 0.1


# Files that are none


def png_of(width, height, data=b""):
    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
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
    "empty": (b"", r"not a readable image \(it is empty\): give a PNG or a JPEG"),
    "text": (b"seven\nor nine", r"not a readable image \(of no known kind\)"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "of no known kind"),
    "half PNG": (encoded(Image.fromarray(COLOUR), "PNG")[:900], "not a readable image"),
    "half JPEG": (encoded(Image.fromarray(COLOUR), "JPEG")[:800], "not a readable image"),
    "PNG of 0x9": (png_of(0, 9), "not a readable image|without a pixel"),
    "just too large": (png_of(8_001, 8_000), r"is too large \(8001x8000, over 64,000,000 pixels\)"),
    "bomb that Pillow warns of": (png_of(10_000, 10_000), "100,000,000 pixels.*make it smaller"),
    "bomb that Pillow refuses": (png_of(40_000, 40_000), "1,600,000,000 pixels.*make it smaller"),
    "GIF": (pages("GIF"), "is an animation of 3 pictures: save one of them"),
    "APNG": (pages("PNG"), "is an animation of 3 pictures: save one of them"),
    "TIFF": (pages("TIFF"), "is an animation of several pictures: save one of them"),
}


def refusal(path):
    """The one line that refuses the path, without a warning."""
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

    monkeypatch.setattr("mnist_helpers.handwriting.image_files.open", refuse, raising=False)
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


def test_pillows_limit_is_kept_and_may_be_lower(tmp_path, monkeypatch):
    limit = Image.MAX_IMAGE_PIXELS
    read_picture(GREY)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert limit > MAX_PIXELS  # so that our message, which has the width, comes first
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert "is too large (620 pixels): make it smaller" in refusal(tmp_path / "grey.png")


@pytest.mark.filterwarnings("error")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="cannot count open files here")
def test_no_file_stays_open(tmp_path):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    good = (encoded(Image.fromarray(GREY), form) for form in ("PNG", "JPEG", "TIFF", "GIF"))
    kept = []
    for number, content in enumerate([*good, *(content for content, _ in BROKEN.values())]):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        try:
            kept.append(read_picture(path))
        except DataError as error:
            kept.append(error)  # with its trace, which may hold the file
    assert len(os.listdir("/proc/self/fd")) == before
    gc.collect()


FUZZED = {
    **{form: encoded(Image.fromarray(COLOUR), form) for form in ("JPEG", "WEBP", "BMP", "PPM")},
    "palette": encoded(Image.fromarray(COLOUR).quantize(16), "PNG", transparency=3),
    "TIFF": encoded(turned(COLOUR, 6), "TIFF", exif=turned(COLOUR, 6).getexif()),
    **{f"{form} of pages": pages(form) for form in ("GIF", "TIFF", "MPO")},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FUZZED)
def test_damaged_bytes_give_a_picture_or_a_refusal(tmp_path, kind):
    draw, content, messages = random.Random(kind), FUZZED[kind], []
    path = tmp_path / "damaged.png"
    for _ in range(60):
        cut = draw.randint(1, len(content)) if draw.random() < 0.3 else len(content)
        damaged = bytearray(content[:cut])
        reach = len(damaged) if draw.random() < 0.5 else min(len(damaged), 100)  # the header
        for _ in range(draw.choice([0, 1, 2, 8])):
            damaged[draw.randrange(reach)] = draw.choice([0, 1, 127, 255, draw.randrange(256)])
        path.unlink(missing_ok=True)
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings(record=True) as leaked:
                pixels = read_picture(path).pixels
        except DataError as error:
            messages.append(str(error))
        else:
            assert pixels.dtype == np.float32
            assert 0 <= pixels.min() <= pixels.max() <= 1
        assert not leaked
    assert messages
    assert not any("\n" in message for message in messages)


# Memory

PROGRAM = """
import resource, sys
from mnist_helpers.handwriting.image_files import read_picture
read_picture(sys.argv[1])  # imports what it needs
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[3]) * 2**20,) * 2)
print(read_picture(sys.argv[2]).size)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="cannot limit memory here")
def test_memory_is_bounded(tmp_path):
    """What the decoded file takes, and little more: it is never converted as a whole."""
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    large = Image.new("P", (10_000, 6_000))  # 60 MB; 240 MB in colour, 720 MB as floats
    large.putpalette([255, 0, 0])
    large.save(tmp_path / "large.png", compress_level=1, transparency=0)
    command = [sys.executable, "-c", PROGRAM, tmp_path / "grey.png", tmp_path / "large.png"]
    enough, too_little = (
        subprocess.run([*command, megabytes], capture_output=True, text=True, timeout=60)
        for megabytes in ("200", "40")
    )
    assert enough.stdout == "(10000, 6000)\n", enough.stderr
    assert "MemoryError" in too_little.stderr  # so the limit holds


def test_photos_of_phones_are_read_where_pillow_heif_is(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    path = tmp_path / "photo.HEIC"
    large = np.kron(COLOUR, np.ones((8, 8, 1), np.uint8))
    path.write_bytes(encoded(Image.fromarray(large), "HEIF", quality=95))
    picture = read_picture(path)
    assert picture.pixels.shape == large.shape
    assert abs(picture.pixels - large / 255).mean() < 0.02
    path.write_bytes(path.read_bytes()[:400])
    assert "not a readable image" in refusal(path)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert refusal(path).endswith("is a HEIC photo: pip install pillow-heif, or save it as JPEG")
