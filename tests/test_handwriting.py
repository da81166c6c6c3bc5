"""handwriting.py: from any image to digits as MNIST was made; what is no digit is refused."""

import contextlib
import io
import itertools
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

import mnist_helpers as mh
from mnist_helpers.handwriting import digit_from_image, digits_from_image
from mnist_helpers.marks import DigitNotFound
from mnist_helpers.mnist_files import DataError
from mnist_helpers.paper import digit_strokes, draw_strokes, page, pasted, photographed

TOUCHING = np.ones((3, 3))


def rng(seed=0):
    return np.random.default_rng(seed)


def blank(height=300, width=400, level=255):
    return np.full((height, width), level, np.uint8)


def written(digit=5, size=200, thickness=16, height=300, width=400, top=50, left=100):
    """A drawn digit, dark on white."""
    picture = blank(height, width)
    picture[top : top + size, left : left + size] -= draw_strokes(
        digit_strokes(digit), size, thickness
    )
    return picture


def with_bar(height, width, picture=(300, 400)):
    """A black rectangle 70 pixels from the left and 50 from the top."""
    image = blank(*picture)
    image[50 : 50 + height, 70 : 70 + width] = 0
    return image


def ink_boxes(picture, least=20):
    """The boxes around the connected dark pixels, from left to right: the oracle."""
    labels, _ = ndimage.label(picture < 128, TOUCHING)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    return sorted(box for box in boxes if box[3] - box[1] > least)


def boxes_of(image):
    return [found.box for found in digits_from_image(image)]


def difference(first, second):
    """The mean absolute difference of two 28x28 images, in grey levels."""
    return (first.image.float() - second.image.float()).abs().mean().item()


def same(image, expected=None, tolerance=0.5):
    """Whether an image gives the digit of `written()`, up to a mean difference."""
    expected = digit_from_image(written()) if expected is None else expected
    return difference(digit_from_image(image), expected) <= tolerance


def check_like_mnist(found):
    image = found.image
    assert image.shape == (1, 28, 28)
    assert image.dtype == torch.uint8
    assert image.max() == 255
    middle = np.array(ndimage.center_of_mass(image[0].numpy()))
    assert np.abs(middle - 14).max() <= 0.51, middle
    rows, columns = np.nonzero(image[0].numpy() > 100)
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 20) <= 1


# As MNIST was made


@pytest.mark.parametrize(
    ("height", "width"), [(60, 100), (100, 60), (200, 40), (40, 200), (30, 30), (150, 151)]
)
def test_a_bar_gives_its_box_and_keeps_its_aspect(height, width):
    found = digit_from_image(with_bar(height, width))
    assert found.box == (70, 50, 70 + width, 50 + height)
    check_like_mnist(found)
    rows, columns = np.nonzero(found.image[0].numpy() > 127)
    scale = 20 / max(height, width)
    assert np.ptp(rows) + 1 == pytest.approx(height * scale, abs=1)
    assert np.ptp(columns) + 1 == pytest.approx(width * scale, abs=1)


@pytest.mark.parametrize("digit", range(10))
def test_a_drawn_digit_is_centred_anti_aliased_and_on_black(digit):
    found = digit_from_image(written(digit))
    check_like_mnist(found)
    image = found.image[0]
    assert ((image > 20) & (image < 235)).sum() > 20
    if digit not in (7, 9):  # their centre of mass lies so high that they reach the lower edge
        assert not image[[0, -1]].any()
    assert not image[:, [0, -1]].any()
    (box,) = ink_boxes(written(digit))
    assert np.abs(np.array(found.box) - box).max() <= 1


@pytest.mark.parametrize("digit", [0, 3, 4, 8])
def test_it_is_the_cut_out_reduced_by_area(digit):
    """Slow: each of the 20 pixels is the mean of what it covers; then moved by whole pixels."""
    found = digit_from_image(written(digit, thickness=20))
    left, top, right, bottom = found.box
    cut = 255 - written(digit, thickness=20)[top:bottom, left:right].astype(float)
    scale = max(cut.shape) / 20
    fine = np.repeat(np.repeat(cut, 20, 0), 20, 1)
    fine = np.pad(fine, [(0, -side % max(cut.shape)) for side in fine.shape])
    step = round(20 * scale)
    rows, columns = (side // step for side in fine.shape)
    small = fine.reshape(rows, step, columns, step).mean(axis=(1, 3))
    best = min(
        np.abs(np.pad(small, ((y, 28 - rows - y), (x, 28 - columns - x))) - found.image[0].numpy())
        .mean()
        .item()
        for y, x in itertools.product(range(29 - rows), range(29 - columns))
    )
    assert best < 13


@pytest.mark.parametrize("lean", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_heavy_end_draws_the_centre_to_itself_and_no_ink_is_lost(lean):
    """A lollipop: a disk at one end of a thin line."""
    image = Image.new("L", (400, 400), 255)
    draw = ImageDraw.Draw(image)
    draw.line((200, 60, 200, 340), fill=0, width=14)
    draw.ellipse((150, 60, 250, 160), fill=0)
    picture = np.asarray(image)
    picture = picture.T if lean[0] else picture
    picture = picture[::-1, ::-1] if lean[1] else picture
    found = digit_from_image(np.ascontiguousarray(picture))
    inked = found.image[0].numpy() > 60
    assert ndimage.label(inked, TOUCHING)[1] == 1
    assert abs(max(np.ptp(axis) for axis in np.nonzero(inked)) + 1 - 20) <= 1


# Digits of MNIST, through it


@pytest.fixture(scope="module")
def clean(sample):
    """200 test digits of the sample, all ten equally often, and their labels."""
    chosen = torch.arange(0, len(sample.test.labels), len(sample.test.labels) // 200)[:200]
    return sample.test.images[chosen], sample.test.labels[chosen]


@pytest.fixture(scope="module")
def correct(sample, clean, tmp_path_factory):
    """How many of those a model gets right, when it sees other images of them."""
    model = mh.load_or_train("fast_994", sample, tmp_path_factory.mktemp("run"))

    def count(images):
        return int((mh.predict(model, torch.stack(images)).argmax(dim=1) == clean[1]).sum())

    return count


def found_in(pictures):
    return [digit_from_image(picture).image for picture in pictures]


def mean_difference(images, others):
    others = torch.stack(list(others)).float()
    return (torch.stack(images).float() - others).abs().mean().item()


def test_digits_of_mnist_come_back_nearly_the_same(clean, correct):
    """In a photograph's size, so that nothing is enlarged."""
    images, _ = clean
    again = found_in(np.pad(image[0], 60) for image in images)
    assert mean_difference(again, images) < 2
    assert abs(correct(again) - correct(list(images))) <= 2


@pytest.mark.parametrize("times", [1, 3, 10])
def test_digits_of_mnist_may_be_bare_and_enlarged(clean, correct, times):
    images, _ = clean
    side = (28 * times, 28 * times)
    pictures = [Image.fromarray(image[0].numpy()).resize(side, 3) for image in images]
    again = found_in(pictures)
    assert mean_difference(again, images) < 9
    assert correct(again) >= correct(list(images)) - 2


def test_digits_of_mnist_on_photographed_paper_are_read_as_well(clean, correct):
    images, _ = clean
    hand = rng(1)
    pictures = [
        photographed(pasted(image[0].numpy(), hand), hand, bool(hand.random() < 0.5))
        for image in images
    ]
    assert correct(found_in(pictures)) >= 0.95 * correct(list(images))


# The same digit in other forms


def test_arrays_of_every_kind_are_the_same():
    picture = written()
    for image in (
        picture / 255,
        np.float32(picture / 255),
        picture.astype(np.uint16) * 257,
        picture.astype(">u2") * 257,
        picture.astype(np.int64),
        np.repeat(picture[..., None], 3, axis=2),
        torch.from_numpy(picture),
        torch.from_numpy(picture)[None],
        torch.from_numpy(picture / np.float32(255)).expand(3, -1, -1),
        np.asfortranarray(picture),
        np.ascontiguousarray(picture[::-1, ::-1])[::-1, ::-1],
    ):
        assert same(image, tolerance=0.02)
        assert boxes_of(image) == boxes_of(picture)
    assert same(picture > 127, tolerance=1)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "I", "F", "CMYK", "I;16"])
def test_pillow_images_of_every_mode_are_the_same(mode):
    image = Image.fromarray(written())
    if mode == "I;16":
        assert same(Image.fromarray(written().astype(np.uint16) * 257), tolerance=0.02)
    elif mode == "CMYK":
        assert same(image.convert("RGB").convert(mode), tolerance=0.02)
    else:
        assert same(image.convert(mode), tolerance=0.02)


@pytest.mark.parametrize("pen", [(0, 0, 0), (20, 20, 90), (200, 30, 30), (255, 255, 255)])
def test_ink_on_a_transparent_ground_is_seen(pen):
    ink = 255 - written()
    pixels = np.dstack([np.full_like(ink, level) for level in pen] + [ink])
    assert same(Image.fromarray(pixels))
    assert same(pixels)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [("png", 0.02), ("bmp", 0.02), ("tif", 0.02), ("jpg", 0.5)]
)
def test_files_are_the_same(tmp_path, suffix, tolerance):
    path = tmp_path / f"five.{suffix}"
    Image.fromarray(written()).save(path)
    assert same(path, tolerance=tolerance)
    assert same(str(path), tolerance=tolerance)


@pytest.mark.parametrize("quality", [50, 25, 10])
def test_artefacts_of_jpeg_do_little(tmp_path, quality):
    Image.fromarray(written()).save(tmp_path / "five.jpg", quality=quality)
    assert same(tmp_path / "five.jpg", tolerance=1.5)
    assert len(boxes_of(tmp_path / "five.jpg")) == 1


STORED = {  # how a picture lies in the file that is to be turned upright by its EXIF tag
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda upright: np.rot90(upright, 2).T,
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_photograph_gives_upright_digits_and_boxes(tmp_path, orientation):
    upright = np.hstack([written(2), written(7)])
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    stored.save(tmp_path / "turned.png", exif=exif)
    found = digits_from_image(tmp_path / "turned.png")
    assert [digit.box for digit in found] == boxes_of(upright)
    assert same(upright, max(found, key=lambda digit: np.prod(digit.steps["cut out"].shape)))


# What should not matter


@pytest.mark.parametrize("digit", range(10))
def test_paper_may_be_darker_than_ink(digit):
    picture = written(digit)
    assert same(255 - picture, digit_from_image(picture), 0.1)


@pytest.mark.parametrize("levels", [(0, 60), (200, 255), (120, 150), (40, 200)])
def test_contrast_does_not_matter(levels):
    low, high = levels
    for picture in (written(), 255 - written()):
        faint = low + (high - low) * (picture / 255)
        assert same(faint.round().astype(np.uint8), tolerance=2)


@pytest.mark.parametrize("lost", [0.2, 0.5, 0.7])
def test_light_from_one_side_does_not_matter(lost):
    light = 1 - lost * np.linspace(0, 1, 400)
    assert same((written() * light).astype(np.uint8), tolerance=0.3)
    chalk = 50 + (255 - written()) * 0.8
    assert same((chalk * light).astype(np.uint8), tolerance=2)
    assert same((written() / 2 + 127 * (1 - light)).astype(np.uint8), tolerance=2)


@pytest.mark.parametrize("times", [0.5, 2, 3, 7])
def test_the_size_of_the_picture_does_not_matter(times):
    width, height = round(400 * times), round(300 * times)
    large = Image.fromarray(written()).resize((width, height), Image.Resampling.HAMMING)
    found = digit_from_image(large)
    assert difference(found, digit_from_image(written())) < 4
    expected = np.array(digit_from_image(written()).box) * times
    assert np.abs(np.array(found.box) - expected).max() <= max(2, times)


@pytest.mark.parametrize("place", [(0, 0), (7, 193), (100, 50), (93, 200)])
def test_the_place_in_the_picture_does_not_matter(place):
    top, left = place
    picture = written(top=top, left=left)
    found = digit_from_image(picture)
    assert difference(found, digit_from_image(written())) < 0.02
    assert found.box == tuple(ink_boxes(picture)[0])


@pytest.mark.parametrize(("margin", "tolerance"), [(1, 0.02), (30, 0.02), (200, 0.02), (800, 3)])
def test_more_paper_around_does_not_matter(margin, tolerance):
    padded = np.pad(written(), margin, constant_values=255)
    assert same(padded, tolerance=tolerance)
    expected = np.array(ink_boxes(padded)[0])
    assert np.abs(np.array(digit_from_image(padded).box) - expected).max() <= 2


COLOURS = {
    "red on white": ((220, 20, 20), (255, 255, 255)),
    "yellow on white": ((250, 240, 40), (255, 255, 255)),
    "pale yellow on white": ((255, 255, 150), (255, 255, 255)),
    "blue on white": ((30, 60, 200), (255, 255, 255)),
    "pink on white": ((255, 180, 200), (255, 255, 255)),
    "white on red": ((255, 255, 255), (200, 20, 20)),
    "blue on black": ((0, 0, 255), (0, 0, 0)),
    "yellow on blue": ((250, 240, 40), (20, 20, 160)),
    "red on green, as bright": ((200, 40, 40), (40, 122, 40)),
    "orange on blue, as bright": ((200, 100, 0), (60, 122, 255)),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_told_apart(name):
    pen, paper = (np.array(colour, float) for colour in COLOURS[name])
    ink = 1 - written()[..., None] / 255
    even = ink * pen + (1 - ink) * paper
    assert same(even.round().astype(np.uint8), tolerance=0.3)
    light = 1 - 0.3 * np.linspace(0, 1, 400)[:, None]
    seen = even * light + rng().normal(0, 5, even.shape)
    assert same(seen.clip(0, 255).astype(np.uint8), tolerance=3)


def test_luminances_in_the_colours_are_equal():
    """Else the test above would not be what it says."""
    for name, (pen, paper) in COLOURS.items():
        if name.endswith("as bright"):
            grey = Image.fromarray(np.array([[pen, paper]], np.uint8)).convert("L")
            assert abs(int(grey.getpixel((0, 0))) - int(grey.getpixel((1, 0)))) <= 3


# Paper and pens


@pytest.mark.parametrize("ruling", ["plain", "ruled", "squared"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"thickness": 0.03},
        {"size": 0.07},
        {"turned": 3},
        {"turned": -8},
        {"width": 640, "height": 480},
        {"width": 400, "height": 300},
    ],
)
@pytest.mark.parametrize("dark", [True, False])
def test_digits_on_a_page_are_counted(ruling, change, dark):
    for seed in range(2):
        ink = page([3, 5, 4], rng(seed), ruling, **change)
        boxes = boxes_of(photographed(ink, rng(seed), dark))
        assert len(boxes) == 3
        assert boxes == sorted(boxes)
        labels, _ = ndimage.label(ink > 0.6, TOUCHING)
        if not change:
            truth = sorted(ink_boxes(np.where(labels, 0, 255)))
            assert np.abs(np.array(boxes) - truth).max() <= 6


@pytest.mark.parametrize("ruling", ["plain", "ruled", "squared"])
def test_twelve_digits_in_a_row_keep_their_order(ruling):
    digits = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5, 7]
    ink = page(digits, rng(), ruling, size=0.08)
    boxes = boxes_of(photographed(ink, rng()))
    assert len(boxes) == 12
    middles = np.array([(left + right) / 2 for left, _, right, _ in boxes])
    assert np.abs(middles - 960 / 13 * np.arange(1, 13)).max() < 25


def test_a_row_is_read_in_its_order(sample):
    """Digits of the sample, one beside the other, come back each in its place."""
    images = sample.test.images[:100:9, 0].numpy()
    strip = np.zeros((200, 12 * 84), np.uint8)
    for place, image in enumerate(images):
        strip[70:126, 84 * place : 84 * place + 56] = np.kron(image, np.ones((2, 2), np.uint8))
    found = digits_from_image(strip)
    assert len(found) == 12
    for digit, image in zip(found, images, strict=True):
        apart = [np.abs(digit.image[0].numpy() - other.astype(int)).mean() for other in images]
        assert apart[np.argmin(apart)] == np.abs(digit.image[0].numpy() - image.astype(int)).mean()


@pytest.mark.parametrize("wide", [1, 2, 4])
@pytest.mark.parametrize("squared", [False, True])
def test_dark_lines_are_no_ink(wide, squared):
    for seed in range(2):
        ink = page([3, 5, 7], rng(seed)).copy()
        for line in range(wide):
            ink[20 + line :: 60] = np.maximum(ink[20 + line :: 60], 0.9)
            if squared:
                ink[:, 20 + line :: 60] = np.maximum(ink[:, 20 + line :: 60], 0.9)
        assert len(boxes_of(photographed(ink, rng(seed)))) == 3
        assert len(boxes_of((255 - 255 * ink).astype(np.uint8))) == 3


@pytest.mark.parametrize("ruling", ["plain", "squared"])
def test_a_dark_table_around_the_page_is_no_ink(ruling):
    seen = photographed(page([3, 5, 7], rng(), ruling), rng())
    table = rng(1).normal(50, 6, seen.shape).clip(0, 255).astype(np.uint8)
    table[80:-80, 80:-80] = seen[80:-80, 80:-80]
    boxes = boxes_of(table)
    assert len(boxes) == 3
    assert min(box[0] for box in boxes) > 90


@pytest.mark.parametrize("seed", range(4))
def test_a_shadow_across_the_page_is_no_ink(seed):
    ink = page([3, 5, 4], rng(seed))
    assert len(boxes_of(photographed(ink, rng(seed), shadow=0.5))) == 3


def test_boxes_are_in_pixels_of_a_large_image_as_given(tmp_path):
    large = np.hstack(
        [
            written(digit, 600, 50, 2_000, 1_500, top, left)
            for digit, top, left in ((2, 300, 400), (7, 1_000, 500))
        ]
    )
    truth = np.array(ink_boxes(large))
    Image.fromarray(large).save(tmp_path / "large.jpg")
    for image in (large, tmp_path / "large.jpg", Image.fromarray(large)):
        assert np.abs(np.array(boxes_of(image)) - truth).max() <= 4


def test_boxes_of_many_sizes_lie_around_the_ink():
    """Up to a pixel of the picture that is searched, which has at most 1.2 million."""
    hand = rng(2)
    for _ in range(20):
        width, height = (int(side) for side in hand.integers(120, 2_500, 2))
        across, down = int(0.4 * width), int(0.4 * height)
        left, top = int(hand.integers(1, width / 2)), int(hand.integers(1, height / 2))
        picture, pen = blank(height, width), max(2, min(across, down) // 5)
        picture[top : top + down, left : left + across] = 0
        picture[top + pen : top + down - pen, left + pen : left + across - pen] = 255
        searched = max(1.0, (width * height / 1_228_800) ** 0.5)
        apart = np.array(digit_from_image(picture).box) - [left, top, left + across, top + down]
        assert np.abs(apart).max() <= 1.5 * searched


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.1, 0.15])
def test_two_strokes_of_a_five_are_one_digit(gap):
    bar, *body = digit_strokes(5)
    five = draw_strokes(
        [(bar - [0, gap]) * 0.8 + 0.1] + [stroke * 0.8 + 0.1 for stroke in body], 200, 12
    )
    ink = np.zeros((400, 900))
    for place in range(3):
        ink[100:300, 300 * place + 50 : 300 * place + 250] = five / 255
    pieces = ndimage.label(ink > 0.5, TOUCHING)[1]
    assert pieces == (6 if gap > 0.07 else 3)
    assert len(boxes_of((255 * (1 - ink)).astype(np.uint8))) == 3
    assert len(boxes_of(photographed(ink, rng()))) == 3


def test_specks_and_commas_are_no_digits():
    picture = np.hstack([written(3), written(6)])
    expected = boxes_of(picture)
    draw = ImageDraw.Draw(image := Image.fromarray(picture))
    draw.line((400, 230, 392, 262), fill=0, width=9)
    for x, y in ((20, 30), (390, 20), (700, 280), (60, 150)):
        draw.ellipse((x, y, x + 5, y + 5), fill=0)
    assert boxes_of(image) == expected


def test_the_largest_of_several_is_the_digit():
    picture = np.hstack([written(3, 90, 9), written(6), written(4, 120, 10)])
    found = digits_from_image(picture)
    assert len(found) == 3
    digit = digit_from_image(picture)
    assert digit.box == found[1].box
    assert same(picture, found[1])


# What people draw


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize("width", [1, 2, 5])
def test_lines_of_a_pixel_are_thick_enough_to_be_seen(digit, width):
    image = Image.new("L", (400, 400), 255)
    for stroke in digit_strokes(digit):
        ImageDraw.Draw(image).line([tuple(100 + 200 * point) for point in stroke], 0, width)
    (found,) = digits_from_image(image)
    check_like_mnist(found)
    assert found.box == ink_boxes(np.asarray(image))[0]
    strong = found.image[0].numpy() > 100
    assert strong.sum() > 25
    assert ndimage.label(strong, TOUCHING)[1] == 1


@pytest.mark.parametrize("size", [9, 12, 20, 28, 60, 111, 112, 300, 1_200])
@pytest.mark.parametrize("bright", [True, False])
def test_cut_outs_of_every_size_are_digits(size, bright):
    for digit in range(10):
        ink = draw_strokes(digit_strokes(digit), size, max(1.2, 0.08 * size))
        (found,) = digits_from_image(ink if bright else 255 - ink)
        if size > 20:
            check_like_mnist(found)


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_may_fill_the_photograph(digit):
    ink = np.zeros((480, 640))
    ink[:, 80:560] = draw_strokes(digit_strokes(digit), 480, 60) / 255
    (found,) = digits_from_image(photographed(ink, rng(digit)))
    check_like_mnist(found)


def test_a_digit_may_be_cut_off_at_its_borders():
    ink = draw_strokes(digit_strokes(3), 300, 24)
    rows, columns = ink.any(axis=1), ink.any(axis=0)
    tight = 255 - ink[rows][:, columns]
    (found,) = digits_from_image(tight)
    assert np.abs(np.array(found.box) - [0, 0, columns.sum(), rows.sum()]).max() <= 1
    assert same(tight, digit_from_image(255 - ink), 3)


@pytest.mark.parametrize("inset", [0, 20, 40])
@pytest.mark.parametrize("wide", [1, 2, 8])
def test_a_frame_around_is_left_out(inset, wide):
    picture = written(height=400, top=100)
    expected = boxes_of(picture)
    image = Image.fromarray(picture)
    corners = (inset, inset, 399 - inset, 399 - inset)
    ImageDraw.Draw(image).rectangle(corners, outline=0, width=wide)
    assert np.abs(np.array(boxes_of(image)) - expected).max() <= 2


def test_digits_of_8x8_are_found():
    from sklearn.datasets import load_digits

    for image in load_digits().images[:200] / 16:
        (found,) = digits_from_image(image)
        assert found.image.max() == 255
        left, top, right, bottom = found.box
        rows, columns = np.nonzero(image > 0.55)
        assert left <= columns.min() <= columns.max() < right
        assert top <= rows.min() <= rows.max() < bottom


def test_digits_that_touch_count_as_one():
    """A known limit: a wider gap is what tells them apart."""
    three, eight = written(3), written(8)
    counts = {}
    for apart in (180, 100):
        both = np.minimum(np.roll(three, -90, 1), np.roll(eight, apart - 90, 1))
        counts[apart] = len(boxes_of(both))
    assert counts == {180: 2, 100: 1}


# No digit

NOTHING = {
    "white": blank(),
    "black": blank(level=0),
    "grey": blank(level=128),
    "a small black one": blank(28, 28, 0),
    "1x1": blank(1, 1),
    "3x3": blank(3, 3, 0),
    "a long thin one": blank(6, 3_000),
    "floats": np.full((50, 60), 0.5),
    "a tiny speck": with_bar(3, 3),
    "a tiny speck on 28x28": np.pad(blank(2, 2, 0), 13, constant_values=255),
}
for count in (5, 50):
    dark, (rows, columns) = blank(level=0), rng(count).integers(0, [[295], [395]], (2, count))
    for row, column in zip(rows, columns, strict=True):
        dark[row : row + 3, column : column + 3] = 255
    NOTHING[f"all ink but {count} specks"] = dark


@pytest.mark.parametrize("name", NOTHING)
def test_an_image_without_a_digit_is_refused_with_the_reason(tmp_path, name):
    reasons = {"1x1": "only 1x1 pixels", "3x3": "only 3x3", "a long thin one": "only 3000x6"}
    reason = reasons.get(name, "nothing but|too small|only")
    for read in (digit_from_image, digits_from_image):
        with pytest.raises(DigitNotFound, match=f"^no digit in the image: .*({reason})") as caught:
            read(NOTHING[name])
        assert "\n" not in str(caught.value)
    if NOTHING[name].dtype == np.uint8:
        path = tmp_path / "nothing at all.png"
        Image.fromarray(NOTHING[name]).save(path)
        with pytest.raises(DigitNotFound) as caught:
            digit_from_image(path)
        assert str(caught.value).startswith(f"no digit in {path}: ")


def test_no_digit_is_an_error_of_data():
    assert issubclass(DigitNotFound, DataError)
    assert issubclass(DigitNotFound, ValueError)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"noise": 0.1},
        {"texture": 0.1},
        {"gradient": 0.8},
        {"noise": 0, "texture": 0},
        {"shadow": 0.3, "gradient": 0},
    ],
)
@pytest.mark.parametrize("dark", [True, False])
def test_blank_paper_has_no_digit(change, dark):
    for seed in range(6):
        paper = photographed(np.zeros((480, 640), np.float32), rng(seed), dark, **change)
        with pytest.raises(DigitNotFound, match="nothing but paper"):
            digits_from_image(paper)


# Hostile files


def png_of(width, height):
    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def encoded(image, form, **more):
    file = io.BytesIO()
    image.save(file, form, **more)
    return file.getvalue()


def half(form):
    content = encoded(Image.fromarray(written()), form)
    return content[: len(content) // 2]


HOSTILE = {
    "empty": (b"", "is empty"),
    "text": (b"seven", "not a readable image"),
    "PDF": (b"%PDF-1.7\n1 0 obj\n", "not a readable image"),
    "bomb": (png_of(40_000, 40_000), "too large"),
    "half PNG": (half("PNG"), "not a readable image"),
    "half JPEG": (half("JPEG"), "not a readable image"),
    "PNG of 0x0": (png_of(0, 0), "not a readable image|without a pixel"),
    "PNG of 1x1": (encoded(Image.new("L", (1, 1)), "PNG"), "only 1x1 pixels"),
    "animation": (
        encoded(
            Image.new("L", (40, 40)),
            "GIF",
            save_all=True,
            append_images=[Image.new("L", (40, 40), 255)],
        ),
        "animation of 2 pictures",
    ),
}


def refusal(image):
    """The one line that refuses an image, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as caught:
            digit_from_image(image)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, name):
    content, expected = HOSTILE[name]
    path = tmp_path / "digit.png"
    path.write_bytes(content)
    message = refusal(path)
    assert str(path) in message
    with pytest.raises(DataError, match=expected):
        digits_from_image(path)


def test_a_folder_a_missing_file_and_other_things_are_refused(tmp_path):
    assert "is a folder" in refusal(tmp_path)
    assert "is not there" in refusal(tmp_path / "none.png")
    assert "is no image" in refusal(None)
    assert "is no image" in refusal([[0, 1], [1, 0]])
    assert "[0, 1]" in refusal(np.full((50, 60), np.nan))
    assert "[0, 1]" in refusal(written().astype(float))
    assert "give one image" in refusal(np.zeros((4, 28, 28, 1), np.uint8))


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "digit.png"
    Image.fromarray(written()).save(path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mnist_helpers.image_files.open", refuse, raising=False)
    assert "permission denied" in refusal(path)


def test_a_panorama_is_searched(tmp_path):
    """20,000 pixels wide; digits that are not tiny beside it are found in their places."""
    wide = blank(2_000, 20_000)
    for digit, left in ((2, 1_000), (3, 9_000), (4, 17_000)):
        wide[200:1_800, left : left + 1_600] -= draw_strokes(digit_strokes(digit), 1_600, 130)
    Image.fromarray(wide).save(tmp_path / "wide.png", compress_level=1)
    found = boxes_of(tmp_path / "wide.png")
    assert len(found) == 3
    assert np.abs(np.array(found) - ink_boxes(wide)).max() <= 2 * 20_000 * 2_000 / 1_228_800 / 4


# Steps, and what is promised of every image


def test_the_steps_lead_from_the_image_to_the_digit():
    seen = photographed(page([3, 5], rng()), rng())
    found = digits_from_image(seen)
    for digit in found:
        steps = digit.steps
        assert list(steps) == ["grey", "paper", "ink", "marks", "cut out", "28 x 28"]
        for name in ("grey", "paper", "ink"):
            assert steps[name].dtype == np.float32
            assert steps[name].shape == seen.shape
        assert steps["marks"].dtype == bool
        assert steps["marks"].shape == seen.shape
        assert steps["cut out"].dtype == np.float32
        assert steps["cut out"].ndim == 2
        assert 0 <= steps["cut out"].min() <= steps["cut out"].max() <= 1
        assert (steps["28 x 28"] == digit.image[0].numpy()).all()
        left, top, right, bottom = digit.box
        assert steps["marks"][top:bottom, left:right].any()
    np.testing.assert_allclose(found[0].steps["grey"], seen / 255, atol=1e-5)
    truth = page([3, 5], rng()) > 0.5
    paper = found[0].steps["paper"]
    assert np.abs(paper - seen / 255)[~truth].mean() < 0.06
    assert found[0].steps["ink"][truth].mean() > 5 * np.abs(found[0].steps["ink"][~truth]).mean()
    outside = ~ndimage.binary_dilation(truth, iterations=4)
    assert not (found[0].steps["marks"] & outside).any()


def test_the_image_is_left_alone_and_the_result_is_the_same_again(tmp_path):
    seen = photographed(page([3, 5], rng()), rng())
    for image in (seen, seen / 255, np.dstack([seen] * 3), 255 - seen[:100, :100]):
        before = image.copy()
        image.flags.writeable = False
        try:
            first, second = digits_from_image(image), digits_from_image(image)
        except DigitNotFound:
            first = second = []
        assert (image == before).all()
        assert [digit.box for digit in first] == [digit.box for digit in second]
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one.image, other.image)
            assert all((one.steps[name] == other.steps[name]).all() for name in one.steps)


def test_results_do_not_share_memory():
    first, second = digits_from_image(np.hstack([written(3), written(6)]))
    kept = second.image.clone()
    first.image.zero_()
    assert torch.equal(second.image, kept)


def random_image(hand, number):
    """Noise, blobs, dots or one level, of an odd shape and a dtype of chance."""
    height, width = (int(side) for side in np.exp(hand.uniform(0, np.log(300), 2)))
    shape = (height, width, int(hand.choice([3, 4]))) if number % 5 == 0 else (height, width)
    blobs = ndimage.gaussian_filter(
        hand.standard_normal(shape), [hand.uniform(0, 9)] * 2 + [0] * (len(shape) - 2)
    )
    blobs = (blobs - blobs.min()) / max(float(np.ptp(blobs)), 1e-9)
    return [
        lambda: hand.integers(0, 256, shape, dtype=np.uint8),
        lambda: (255 * (hand.random(shape) < 0.1 * hand.random())).astype(np.uint8),
        lambda: hand.random(shape) ** hand.uniform(0.1, 9),
        lambda: hand.random(shape[:2]) < hand.random(),
        lambda: hand.integers(0, 65_536, shape, dtype=np.uint16),
        lambda: np.full(shape, hand.integers(256), np.uint8),
        lambda: blobs,
        lambda: (blobs > hand.random()).astype(np.float32),
    ][number % 8]()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(4))
def test_random_images_give_digits_or_a_refusal(seed):
    hand, digits, messages = rng(seed), 0, []
    for number in range(100):
        image = random_image(hand, number)
        try:
            found = digits_from_image(image)
        except DataError as error:
            messages.append(str(error))
            continue
        digits += len(found)
        for digit in found:
            assert digit.image.shape == (1, 28, 28)
            assert digit.image.max() == 255
            left, top, right, bottom = digit.box
            assert 0 <= left < right <= image.shape[1]
            assert 0 <= top < bottom <= image.shape[0]
    assert digits > 5
    assert not any("\n" in message for message in messages)


@pytest.mark.filterwarnings("error")
def test_no_warnings():
    assert len(digits_from_image(photographed(page([3, 5], rng()), rng()))) == 2
    for image in (blank(), blank(28, 28), np.zeros((50, 60)), blank()[..., None] / 255):
        with pytest.raises(DigitNotFound, match="nothing but paper"):
            digits_from_image(image)


# Cases that failed once


def white(height, width, value=255):
    return np.full((height, width), value, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(6_000, 7), (400, 20_000)])
def test_a_long_line_takes_little_memory(shape):
    picture = white(*shape)
    picture[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 0
    found = digit_from_image(picture)
    assert max(found.steps["cut out"].shape) < 2_000
    assert found.image.max() == 255


@pytest.mark.parametrize("margin", [5, 20, 30, 40, 43, 60])
def test_a_small_digit_is_found_whatever_the_margin(margin):
    drawn = np.pad(255 - draw_strokes(digit_strokes(3), 28, 3), margin, constant_values=255)
    [found] = digits_from_image(drawn)
    left, top, right, bottom = found.box
    assert margin <= left < right <= margin + 28
    assert margin <= top < bottom <= margin + 28


def test_forty_digits_in_a_strip():
    drawn = [255 - draw_strokes(digit_strokes(index % 10), 50, 5) for index in range(40)]
    assert (
        len(digits_from_image(np.pad(np.concatenate(drawn, axis=1), 5, constant_values=255))) == 40
    )


@pytest.mark.parametrize("kind", ["many lines", "one line", "half black", "ruled paper"])
def test_lines_from_edge_to_edge_are_no_digits(kind):
    picture = white(300, 400)
    if kind == "many lines":
        picture[::20] = 0
    if kind == "one line":
        picture[:, 200:203] = 0
    if kind == "half black":
        picture[:, 200:] = 0
    if kind == "ruled paper":
        picture = photographed(page([], rng(0), "ruled"), rng(0))
    with pytest.raises(DigitNotFound, match="nothing but paper"):
        digits_from_image(picture)


def test_a_plain_upright_line_is_a_digit():
    drawn = 255 - draw_strokes([[(0.5, 0.15), (0.5, 0.85)]], 280, 3)
    assert len(digits_from_image(drawn)) == 1


@pytest.mark.parametrize(("desktop", "pen"), [(200, 10), (215, 6), (180, 20)])
def test_a_white_canvas_on_a_grey_desktop(desktop, pen):
    screen = white(600, 800, desktop)
    screen[60:540, 100:700] = 255
    screen[200:400, 300:500] = 255 - draw_strokes(digit_strokes(4), 200, pen)
    left, top, right, bottom = digit_from_image(screen).box
    assert (left, top, right, bottom) == pytest.approx((339, 211, 465, 391), abs=8)


@pytest.mark.parametrize("level", [20, 40, 80])
def test_a_page_on_a_dark_table_of_many_kinds(level):
    for seed in range(5):
        photo = photographed(page([3, 5, 7], rng(seed)), rng(seed)).astype(float)
        table = np.ones(photo.shape, dtype=bool)
        table[80:-80, 80:-80] = False
        photo[table] = level + rng(seed).normal(0, 6, table.sum())
        assert len(digits_from_image(photo.clip(0, 255).astype(np.uint8))) == 3


def test_the_name_in_a_message_has_one_line(tmp_path):
    path = tmp_path / "a\nb.png"
    try:
        Image.fromarray(white(100, 100)).save(path)
    except OSError:
        pytest.skip("no such names here")
    with pytest.raises(DigitNotFound) as caught:
        digit_from_image(path)
    assert "\n" not in str(caught.value)


def test_a_digit_of_a_twelfth_of_the_photo_is_found():
    ink = np.zeros((1_500, 2_000), dtype=np.float32)
    drawn = draw_strokes(digit_strokes(5), 140, 11)
    ink[700:840, 900:1040] = drawn / 255
    [found] = digits_from_image(photographed(ink, rng(0)))
    assert found.box == pytest.approx((940, 709, 1008, 832), abs=12)


@pytest.mark.parametrize("edge", ["left", "top", "right", "bottom"])
def test_a_digit_that_reaches_one_edge_is_found(edge):
    picture = white(480, 640)
    drawn = 255 - draw_strokes(digit_strokes(7), 200, 24)
    rows, columns = np.nonzero(drawn < 128)
    drawn = drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = drawn.shape
    left = {"left": 0, "right": 640 - width}.get(edge, 250)
    top = {"top": 0, "bottom": 480 - height}.get(edge, 150)
    picture[top : top + height, left : left + width] = drawn
    [found] = digits_from_image(photographed((255 - picture) / 255, rng(0)))
    assert found.box == pytest.approx((left, top, left + width, top + height), abs=4)


def test_digits_averaged_to_eight_by_eight_are_found(sample):
    images = sample.test.images[:100, :, 4:24, 4:24].float() / 255
    coarse = torch.nn.functional.interpolate(images, (8, 8), mode="area")
    found = 0
    for image in coarse:
        with contextlib.suppress(DigitNotFound):
            found += len(digits_from_image(image)) > 0
    assert found >= 90


def test_the_largest_digit_is_taken_however_thin_its_pen():
    picture = white(480, 720)
    picture[20:420, 20:420] = 255 - draw_strokes(digit_strokes(2), 400, 4)
    picture[100:360, 440:700] = 255 - draw_strokes(digit_strokes(8), 260, 30)
    boxes = [digit.box for digit in digits_from_image(picture)]
    assert len(boxes) == 2
    assert digit_from_image(picture).box == boxes[0]
