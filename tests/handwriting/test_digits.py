"""handwriting.py: from any image to digits as MNIST was made; what is no digit is refused."""

from collections import Counter
from contextlib import suppress
from itertools import pairwise, product

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers.handwriting.digits import digit_from_image, digits_from_image
from mnist_helpers.handwriting.marks import DigitNotFound
from mnist_helpers.handwriting.paper import digit_strokes, draw_strokes, page, pasted, photographed
from mnist_helpers.mnist_files import DataError
from pages import KINDS, make_page
from PIL import Image, ImageDraw
from scipy import ndimage

TOUCHING = np.ones((3, 3))


def rng(seed=0):
    return np.random.default_rng(seed)


def blank(height=300, width=400, level=255):
    return np.full((height, width), level, np.uint8)


def drawn(digit, size, thickness):
    """A square cut-out with a drawn digit, dark on white."""
    return 255 - draw_strokes(digit_strokes(digit), size, thickness)


def written(digit=5, size=200, thickness=16, height=300, width=400, top=50, left=100):
    """A page with a drawn digit, dark on white."""
    picture = blank(height, width)
    picture[top : top + size, left : left + size] = drawn(digit, size, thickness)
    return picture


def ink_boxes(picture):
    """The boxes around the connected dark pixels, from left to right: the oracle."""
    labels, _ = ndimage.label(picture < 128, TOUCHING)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    return sorted(box for box in boxes if box[3] - box[1] > 20)


def boxes_of(image):
    return [found.box for found in digits_from_image(image)]


def close(boxes, expected, pixels):
    """Whether the boxes are as many as expected, and each edge within so many pixels."""
    return np.allclose(boxes, expected, rtol=0, atol=pixels) if len(boxes) == len(expected) else 0


def difference(first, second):
    """The mean absolute difference of two images, in grey levels."""
    return (first.float() - second.float()).abs().mean().item()


def same(image, expected=None, tolerance=0.5):
    """Whether an image gives the digit of `written()`, up to a mean difference."""
    expected = digit_from_image(written()) if expected is None else expected
    return difference(digit_from_image(image).image, expected.image) <= tolerance


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


def test_a_bar_gives_its_box_and_keeps_its_aspect():
    for height, width in [(60, 100), (200, 40), (40, 200), (30, 30)]:
        image = blank()
        image[50 : 50 + height, 70 : 70 + width] = 0
        found = digit_from_image(image)
        assert found.box == (70, 50, 70 + width, 50 + height)
        check_like_mnist(found)
        rows, columns = np.nonzero(found.image[0].numpy() > 127)
        scale = 20 / max(height, width)
        assert np.ptp(rows) + 1 == pytest.approx(height * scale, abs=1)
        assert np.ptp(columns) + 1 == pytest.approx(width * scale, abs=1)


@pytest.mark.parametrize("digit", range(10))
def test_a_drawn_digit_is_centred_anti_aliased_and_on_black(digit):
    picture = written(digit)
    found = digit_from_image(picture)
    check_like_mnist(found)
    image = found.image[0]
    assert ((image > 20) & (image < 235)).sum() > 20
    if digit not in (7, 9):  # their centre of mass lies so high that they reach the lower edge
        assert not image[[0, -1]].any()
    assert not image[:, [0, -1]].any()
    assert close([found.box], ink_boxes(picture), 1)
    assert same(255 - picture, found, 0.1)  # paper may be darker than ink


def test_a_heavy_end_draws_the_centre_to_itself_and_no_ink_is_lost():
    """A lollipop: a disk at one end of a thin line."""
    image = Image.new("L", (400, 400), 255)
    draw = ImageDraw.Draw(image)
    draw.line((200, 60, 200, 340), fill=0, width=14)
    draw.ellipse((150, 60, 250, 160), fill=0)
    for turns in range(4):
        found = digit_from_image(np.rot90(np.asarray(image), turns))
        inked = found.image[0].numpy() > 60
        assert ndimage.label(inked, TOUCHING)[1] == 1
        assert abs(max(np.ptp(axis) for axis in np.nonzero(inked)) + 1 - 20) <= 1


# Digits of MNIST, through it


def found_in(pictures):
    return torch.stack([digit_from_image(picture).image for picture in pictures])


def padded(images):
    """In a photograph's size, so that nothing is enlarged."""
    return [np.pad(image[0], 60) for image in images]


def enlarged(images, times):
    side = (28 * times, 28 * times)
    return [Image.fromarray(image[0].numpy()).resize(side, 3) for image in images]


def test_digits_of_mnist_come_back_nearly_the_same(sample):
    images = sample.test.images[::10]
    assert difference(found_in(padded(images)), images) < 2
    for times in (1, 3):  # bare, as they are and enlarged
        assert difference(found_in(enlarged(images[::5], times)), images[::5]) < 9


@pytest.mark.slow
def test_digits_of_mnist_are_read_as_well_as_before(sample, tmp_path):
    model, digits = mh.load_or_train("fast_994", sample, tmp_path), sample.test
    digits, hand = digits.select(torch.arange(0, len(digits), len(digits) // 200)), rng(1)

    def correct(images):
        return int((mh.predict(model, images).argmax(dim=1) == digits.labels).sum())

    before = correct(digits.images)
    assert abs(correct(found_in(padded(digits.images))) - before) <= 2
    for times in (1, 3, 10):
        assert correct(found_in(enlarged(digits.images, times))) >= before - 2
    pages = (pasted(image[0].numpy(), hand) for image in digits.images)
    photographs = (photographed(ink, hand, bool(hand.random() < 0.5)) for ink in pages)
    assert correct(found_in(photographs)) >= 0.95 * before


def test_a_row_of_digits_of_mnist_comes_back_in_its_order(sample):
    images = sample.test.images[:100:9]
    strip = np.zeros((200, 12 * 84), np.uint8)
    for place, image in enumerate(images):
        strip[70:126, 84 * place : 84 * place + 56] = np.kron(image[0], blank(2, 2, 1))
    found = digits_from_image(strip)
    assert len(found) == 12
    for place, digit in enumerate(found):
        assert np.argmin([difference(digit.image, image) for image in images]) == place


# What should not matter


def test_every_kind_of_image_gives_the_same_digits_with_boxes_in_pixels_as_given(tmp_path):
    """Also of a large photograph that its EXIF tag turns upright, on the way to fewer pixels."""
    upright = np.hstack([written(2, 600, 50, 2_000, 1_500, 300, 400),
                         written(7, 600, 60, 2_000, 1_500, 1_000, 500)])  # fmt: skip
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    stored.getexif()[274] = 6
    stored.save(tmp_path / "large.jpg", exif=stored.getexif())
    expected = digit_from_image(written(7, thickness=20))
    for image in (upright, Image.fromarray(upright), tmp_path / "large.jpg"):
        assert close(boxes_of(image), ink_boxes(upright), 4)
        assert same(image, expected, 4)


def test_neither_contrast_nor_artefacts_of_jpeg_matter(tmp_path):
    for low, high in [(0, 60), (200, 255), (120, 150), (40, 200)]:
        for picture in (written(), 255 - written()):
            faint = low + (high - low) * (picture / 255)
            assert same(faint.round().astype(np.uint8), tolerance=2)
    assert same(written() > 127, tolerance=1)
    Image.fromarray(written()).save(tmp_path / "five.jpg", quality=10)
    assert same(tmp_path / "five.jpg", tolerance=1.5)
    assert len(boxes_of(tmp_path / "five.jpg")) == 1


def test_light_from_one_side_does_not_matter():
    for lost in (0.2, 0.7):
        light = 1 - lost * np.linspace(0, 1, 400)
        assert same((written() * light).astype(np.uint8), tolerance=0.3)
        chalk = 50 + (255 - written()) * 0.8
        assert same((chalk * light).astype(np.uint8), tolerance=2)
        assert same((written() / 2 + 127 * (1 - light)).astype(np.uint8), tolerance=2)


def test_neither_size_nor_place_nor_more_paper_matter():
    for times in (0.5, 2, 7):
        size = round(400 * times), round(300 * times)
        large = Image.fromarray(written()).resize(size, Image.Resampling.HAMMING)
        assert same(large, tolerance=4)
        expected = np.array(boxes_of(written())) * times
        assert close(boxes_of(large), expected, max(2, times))
    for top, left in [(0, 0), (7, 193), (93, 200)]:
        moved = written(top=top, left=left)
        assert same(moved, tolerance=0.02)
        assert boxes_of(moved) == ink_boxes(moved)
    for margin, tolerance in [(1, 0.02), (200, 0.02), (800, 3)]:
        more = np.pad(written(), margin, constant_values=255)
        assert same(more, tolerance=tolerance)
        assert close(boxes_of(more), ink_boxes(more), 2)


COLOURS = {
    "yellow on white": ((250, 240, 40), (255, 255, 255)),
    "pale yellow on white": ((255, 255, 150), (255, 255, 255)),
    "white on red": ((255, 255, 255), (200, 20, 20)),
    "blue on black": ((0, 0, 255), (0, 0, 0)),
    "red on green, as bright": ((200, 40, 40), (40, 122, 40)),
    "orange on blue, as bright": ((200, 100, 0), (60, 122, 255)),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_told_apart(name):
    pen, paper = COLOURS[name]
    ink = 1 - written()[..., None] / 255
    even = ink * pen + (1 - ink) * paper
    assert same(even.round().astype(np.uint8), tolerance=0.3)
    light = 1 - 0.3 * np.linspace(0, 1, 400)[:, None]
    seen = even * light + rng().normal(0, 5, even.shape)
    assert same(seen.clip(0, 255).astype(np.uint8), tolerance=3)


# Paper and pens

CHANGES = [{}, {"thickness": 0.03}, {"size": 0.07}, {"turned": 3}, {"turned": -8}]
CHANGES += [{"width": 640, "height": 480}, {"width": 400, "height": 300}]
MORE = [pytest.param(ruling, marks=pytest.mark.slow) for ruling in ("plain", "ruled")]


@pytest.mark.parametrize("ruling", ["squared", *MORE])
@pytest.mark.parametrize("change", CHANGES)
def test_digits_on_a_page_are_found(ruling, change):
    for seed, dark in enumerate((True, False)):
        ink = page([3, 5, 4], rng(seed), ruling, **change)
        boxes = boxes_of(photographed(ink, rng(seed), dark))
        assert len(boxes) == 3
        assert boxes == sorted(boxes)
        if not change:
            assert close(boxes, ink_boxes(255 * (ink <= 0.6)), 6)


@pytest.mark.parametrize(("wide", "squared"), [(1, False), (2, True), (4, False), (4, True)])
def test_dark_lines_are_no_ink(wide, squared):
    ink = page([3, 5, 7], rng()).copy()
    for line in range(wide):
        ink[20 + line :: 60] = np.maximum(ink[20 + line :: 60], 0.9)
        if squared:
            ink[:, 20 + line :: 60] = np.maximum(ink[:, 20 + line :: 60], 0.9)
    assert len(boxes_of(photographed(ink, rng()))) == 3
    assert len(boxes_of((255 - 255 * ink).astype(np.uint8))) == 3


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 5), marks=pytest.mark.slow)])
def test_neither_a_dark_table_around_the_page_nor_a_shadow_across_it_is_ink(seeds):
    for seed, (ruling, level) in product(seeds, [("plain", 20), ("plain", 80), ("squared", 50)]):
        seen = photographed(page([3, 5, 7], rng(seed), ruling), rng(seed))
        table = rng(seed).normal(level, 6, seen.shape).clip(0, 255).astype(np.uint8)
        table[80:-80, 80:-80] = seen[80:-80, 80:-80]
        boxes = boxes_of(table)
        assert len(boxes) == 3
        assert min(box[0] for box in boxes) > 90
    for seed in seeds:
        ink = page([3, 5, 4], rng(seed))
        assert len(boxes_of(photographed(ink, rng(seed), shadow=0.5))) == 3


def test_two_strokes_of_a_five_are_one_digit():
    bar, *body = digit_strokes(5)
    for gap, pen, pieces in [(0, 12, 3), (0.05, 12, 3), (0.1, 12, 6), (0.15, 12, 6), (0.1, 7, 6)]:
        strokes = [(bar - [0, gap]) * 0.8 + 0.1, *(stroke * 0.8 + 0.1 for stroke in body)]
        five = np.pad(draw_strokes(strokes, 200, pen) / 255, ((100, 100), (50, 50)))
        ink = np.hstack([five] * 3)
        assert ndimage.label(ink > 0.5, TOUCHING)[1] == pieces
        top, *_, bottom = np.flatnonzero((ink > 0.5).any(axis=1))
        for picture in ((255 * (1 - ink)).astype(np.uint8), photographed(ink, rng())):
            boxes = np.array(boxes_of(picture))
            assert len(boxes) == 3  # and the bar, which looks like a line, is in each
            assert np.abs(boxes[:, [1, 3]] - [top, bottom + 1]).max() <= 4


def test_a_short_line_under_a_digit_is_no_part_of_it():
    picture = np.hstack([written(3), written(8)])
    draw = ImageDraw.Draw(image := Image.fromarray(picture))
    for left in (140, 540):
        draw.line((left, 262, left + 120, 262), fill=0, width=5)
    assert close(boxes_of(image), boxes_of(picture), 3)


def test_specks_and_commas_are_no_digits():
    picture = np.hstack([written(3), written(6)])
    expected = boxes_of(picture)
    draw = ImageDraw.Draw(image := Image.fromarray(picture))
    draw.line((400, 230, 392, 262), fill=0, width=9)
    for x, y in ((20, 30), (390, 20), (700, 280), (60, 150)):
        draw.ellipse((x, y, x + 5, y + 5), fill=0)
    assert boxes_of(image) == expected


def test_the_largest_of_several_is_the_digit_however_thin_its_pen():
    picture = blank(480, 1_000)
    picture[150:350, 20:220] = drawn(3, 200, 22)
    picture[20:420, 240:640] = drawn(2, 400, 4)
    picture[100:360, 680:940] = drawn(8, 260, 30)
    boxes = boxes_of(picture)
    assert len(boxes) == 3
    assert digit_from_image(picture).box == boxes[1]


# What people draw


@pytest.mark.parametrize("width", [1, 2, 5])
def test_lines_of_a_pixel_are_thick_enough_to_be_seen(width):
    for digit in range(10):
        image = Image.new("L", (400, 400), 255)
        for stroke in digit_strokes(digit):
            ImageDraw.Draw(image).line([tuple(100 + 200 * point) for point in stroke], 0, width)
        (found,) = digits_from_image(image)
        check_like_mnist(found)
        assert found.box == ink_boxes(np.asarray(image))[0]
        strong = found.image[0].numpy() > 100
        assert strong.sum() > 25
        assert ndimage.label(strong, TOUCHING)[1] == 1
    one = 255 - draw_strokes([[(0.5, 0.15), (0.5, 0.85)]], 280, 2 + width)
    assert len(boxes_of(one)) == 1


@pytest.mark.parametrize("size", [9, 12, 20, 28, 111, 112, 300])
def test_cut_outs_of_every_size_are_digits(size):
    for digit in range(10):
        ink = draw_strokes(digit_strokes(digit), size, max(1.2, 0.08 * size))
        for picture in (ink, 255 - ink):
            (found,) = digits_from_image(picture)
            if size > 20:
                check_like_mnist(found)


def test_a_small_digit_is_found_whatever_the_margin():
    for margin in (5, 20, 30, 40, 43, 60):
        (box,) = boxes_of(np.pad(drawn(3, 28, 3), margin, constant_values=255))
        assert margin <= min(box)
        assert max(box) <= margin + 28


def test_digits_of_eight_by_eight_pixels_are_found():
    from sklearn.datasets import load_digits

    for image in load_digits().images[:60] / 16:
        (found,) = digits_from_image(image)
        left, top, right, bottom = found.box
        rows, columns = np.nonzero(image > 0.55)
        assert left <= columns.min() <= columns.max() < right
        assert top <= rows.min() <= rows.max() < bottom


def test_a_digit_may_fill_the_photograph_or_a_twelfth_of_it():
    for digit in (0, 4, 7):
        ink = np.zeros((480, 640))
        ink[:, 80:560] = draw_strokes(digit_strokes(digit), 480, 60) / 255
        (found,) = digits_from_image(photographed(ink, rng(digit)))
        check_like_mnist(found)
    ink = np.zeros((1_500, 2_000), dtype=np.float32)
    ink[700:840, 900:1040] = draw_strokes(digit_strokes(5), 140, 11) / 255
    assert close(boxes_of(photographed(ink, rng())), [(940, 709, 1008, 832)], 12)


def test_a_digit_may_reach_the_edges():
    left, top, right, bottom = ink_boxes(drawn(3, 200, 20))[0]
    tight = drawn(3, 200, 20)[top:bottom, left:right]
    height, width = tight.shape
    assert close(boxes_of(tight), [(0, 0, width, height)], 1)
    assert same(tight, digit_from_image(drawn(3, 200, 20)), 5)
    for x, y in [(0, 150), (250, 0), (640 - width, 150), (250, 480 - height)]:
        picture = blank(480, 640)
        picture[y : y + height, x : x + width] = tight
        seen = photographed((255 - picture) / 255, rng())
        assert close(boxes_of(seen), [(x, y, x + width, y + height)], 4)


def test_a_frame_around_is_left_out():
    picture = written(height=400, top=100)
    for inset, wide in [(0, 1), (0, 8), (20, 2), (40, 1), (40, 8)]:
        image = Image.fromarray(picture)
        corners = (inset, inset, 399 - inset, 399 - inset)
        ImageDraw.Draw(image).rectangle(corners, outline=0, width=wide)
        assert close(boxes_of(image), boxes_of(picture), 2)


@pytest.mark.parametrize(("desktop", "pen"), [(200, 10), (215, 6), (180, 20)])
def test_a_white_canvas_on_a_grey_desktop(desktop, pen):
    screen = blank(600, 800, desktop)
    screen[60:540, 100:700] = 255
    screen[200:400, 300:500] = drawn(4, 200, pen)
    assert close([digit_from_image(screen).box], [(339, 211, 465, 391)], 8)


def test_a_panorama_is_searched_and_takes_little_memory():
    """Digits that are not tiny beside it are found in their places; so are long bars."""
    wide = blank(1_000, 10_000)
    for digit, left in ((2, 500), (3, 4_500), (4, 8_500)):
        wide[100:900, left : left + 800] = drawn(digit, 800, 65)
    assert close(boxes_of(wide), ink_boxes(wide), 5)
    for height, width in [(6_000, 7), (400, 20_000)]:
        long = blank(height, width)
        long[height // 4 : height // 2, width // 4 : width // 2] = 0
        found = digit_from_image(long)
        assert max(found.steps["cut out"].shape) < 2_000
        assert found.image.max() == 255


# No digit


ROWS, COLUMNS = np.mgrid[0:300, 0:400]
NOTHING = {
    "white": (blank(), "nothing but paper"),
    "grey, of one channel": (blank(level=128)[..., None], "nothing but paper"),
    "black and small": (blank(28, 28, 0), "nothing but paper"),
    "floats": (np.full((50, 60), 0.5), "nothing but paper"),
    "1x1": (blank(1, 1), "a digit does not fit into 1x1 pixels"),
    "long and thin": (blank(6, 3_000), "a digit does not fit into 3000x6 pixels"),
    "a speck": (np.pad(blank(3, 3, 0), 99, constant_values=255), "too small"),
    "a speck, enlarged": (np.pad(blank(2, 2, 0), 13, constant_values=255), "only 2 pixels long"),
    "few white specks": (
        255 * ndimage.binary_dilation(rng().random((300, 400)) < 4e-5),
        "too small",
    ),
    "white specks": (255 * ndimage.binary_dilation(rng().random((300, 400)) < 4e-4), "nothing but"),
    "many lines": (255 * (ROWS % 20 > 0), "nothing but paper"),
    "one line": (255 * (abs(COLUMNS - 201) > 1), "nothing but paper"),
    "half black": (255 * (COLUMNS < 200), "nothing but paper"),
    "ruled paper": (photographed(page([], rng(), "ruled"), rng()), "nothing but paper"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NOTHING)
def test_an_image_without_a_digit_is_refused_with_the_reason(name):
    image, reason = NOTHING[name]
    for read in (digit_from_image, digits_from_image):
        with pytest.raises(DigitNotFound, match=f"^no digit in the image: .*{reason}.*$"):
            read(image)


def test_a_refusal_is_an_error_of_data_and_names_the_file_on_one_line(tmp_path):
    path = tmp_path / "nothing\u2028at all.png"
    Image.fromarray(blank()).save(path)
    with pytest.raises(DigitNotFound, match=r"^no digit in .*nothing\\u2028at all.*: nothing but"):
        digit_from_image(path)
    path.write_bytes(b"seven")
    with pytest.raises(DataError, match="not a readable image"):
        digits_from_image(path)
    assert issubclass(DigitNotFound, DataError)


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 6), marks=pytest.mark.slow)])
def test_blank_paper_has_no_digit(seeds):
    changes = [{}, {"noise": 0.1}, {"texture": 0.1}, {"gradient": 0.8}]
    changes += [{"noise": 0, "texture": 0}, {"shadow": 0.3, "gradient": 0}]
    for change, dark, seed in product(changes, (True, False), seeds):
        paper = photographed(np.zeros((480, 640), np.float32), rng(seed), dark, **change)
        with pytest.raises(DigitNotFound, match="nothing but paper"):
            digits_from_image(paper)


# Steps, and what is promised of every image


@pytest.mark.filterwarnings("error")
def test_the_steps_lead_from_the_image_to_the_digit():
    ink = page([3, 5], rng())
    seen = photographed(ink, rng())
    found = digits_from_image(seen)
    for digit in found:
        steps = digit.steps
        assert list(steps) == ["grey", "paper", "ink", "marks", "cut out", "28 x 28"]
        types = [step.dtype for step in steps.values()]
        assert types == [np.float32] * 3 + [bool, np.float32, np.uint8]
        assert [step.shape == seen.shape for step in steps.values()] == [True] * 4 + [False] * 2
        assert 0 <= steps["cut out"].min() <= steps["cut out"].max() <= 1
        assert (steps["28 x 28"] == digit.image[0].numpy()).all()
        left, top, right, bottom = digit.box
        assert steps["marks"][top:bottom, left:right].any()
    steps, truth = found[0].steps, ink > 0.5
    np.testing.assert_allclose(steps["grey"], seen / 255, atol=1e-5)
    assert np.abs(steps["paper"] - seen / 255)[~truth].mean() < 0.06
    assert steps["ink"][truth].mean() > 5 * np.abs(steps["ink"][~truth]).mean()
    assert not (steps["marks"] & ~ndimage.binary_dilation(truth, iterations=4)).any()


def test_the_image_is_left_alone_and_results_are_repeatable_and_share_no_memory():
    seen = photographed(page([3, 5], rng()), rng())
    for image in (seen, seen / 255, np.dstack([seen] * 3), 255 - seen[:, :480]):
        before = image.copy()
        image.flags.writeable = False
        first, second = digits_from_image(image), digits_from_image(image)
        assert (image == before).all()
        for one, other in zip(first, second, strict=True):
            assert one.box == other.box
            assert torch.equal(one.image, other.image)
            assert all((one.steps[name] == other.steps[name]).all() for name in one.steps)
        first[0].image.zero_()
        assert all(digit.image.any() for digit in [*first[1:], *second])


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_random_images_of_odd_shapes_give_digits_or_a_refusal():
    hand, digits, messages = rng(), 0, []
    for number in range(400):
        noise = hand.random([int(side) for side in np.exp(hand.uniform(0, np.log(300), 2))])
        blobs = ndimage.gaussian_filter(noise, hand.uniform(0, 9))
        image = [
            (65_536 * noise).astype(np.uint16),
            (255 * (noise < 0.1 * hand.random())).astype(np.uint8),
            noise ** hand.uniform(0.1, 9),
            (blobs - blobs.min()) / max(float(np.ptp(blobs)), 1e-9),
            blobs > hand.uniform(0.3, 0.7),
        ][number % 5]
        image = np.stack([image, image[::-1], image], axis=-1) if number % 4 == 0 else image
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
    assert digits > 20
    assert not any("\n" in message for message in messages)


# Pages


SOLVED = [kind for kind in KINDS if kind not in ("touching digits", "printed words")]


@pytest.mark.parametrize("kind", SOLVED)
def test_pages_as_people_write_them_are_found_in_the_order_of_reading(kind):
    right = 0
    for number in (0, 2, 4, 6):
        picture, rows = make_page(kind, number, None)
        found = digits_from_image(picture)
        assert [digit.row for digit in found] == sorted(digit.row for digit in found)
        for one, other in pairwise(found):
            assert one.row < other.row or one.box[0] < other.box[0]
        right += list(Counter(digit.row for digit in found).values()) == list(map(len, rows))
    assert right >= 3


def test_digits_of_a_turned_page_are_set_upright():
    ink = page([2, 3, 5, 4, 7], rng(), width=960, height=720, size=0.12)
    level = digits_from_image(photographed(ink, rng(), gradient=0.0))
    for degrees in (-15, 15):
        turn = np.asarray(Image.fromarray(ink).rotate(degrees, Image.Resampling.BICUBIC)).clip(0, 1)
        turned = digits_from_image(photographed(turn, rng(), gradient=0.0))
        assert len(turned) == 5
        for one, other in zip(level, turned, strict=True):
            assert difference(one.image, other.image) < 8


def test_a_one_between_dashes_is_a_digit():
    picture = blank(480, 640, 230)
    picture[140:160, 150:190] = picture[140:160, 350:390] = picture[80:220, 268:275] = 20
    assert close(boxes_of(picture), [(268, 80, 275, 220)], 2)


def test_a_four_is_no_plus(sample):
    fours = sample.train.images[sample.train.labels == 4, 0][:60].numpy()
    for four in fours:
        large = 255 - np.kron(four, np.ones((6, 6), np.uint8))
        page = np.pad(np.hstack([large, drawn(3, 168, 18)]), 20, constant_values=255)
        assert len(digits_from_image(page)) == 2


def test_a_large_digit_is_neither_squared_paper_nor_a_page():
    seven = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(seven).line((45, 50, 235, 50), fill=0, width=30)
    ImageDraw.Draw(seven).line((235, 50, 100, 240), fill=0, width=9)
    assert close(boxes_of(seven), ink_boxes(np.asarray(seven)), 2)
    bar = Image.new("L", (280, 280))
    ImageDraw.Draw(bar).rectangle((105, 30, 175, 250), fill=255)
    assert close(boxes_of(bar), [(105, 30, 176, 251)], 2)


@pytest.mark.parametrize("pen", [4, 22])
def test_a_large_zero_is_no_page_on_a_table(pen):
    along = np.linspace(0, 2 * np.pi, 60)
    for wide, high in ((0.75, 0.9), (0.9, 0.9)):
        oval = np.stack([0.5 + wide / 2 * np.cos(along), 0.5 + high / 2 * np.sin(along)], axis=1)
        picture = 255 - draw_strokes([oval], 280, pen)
        assert close(boxes_of(picture), ink_boxes(picture), 2)


def test_a_large_digit_in_a_fine_pen_is_no_frame():
    """Strokes that skip leave other marks beside it."""
    kept = []
    for number in range(60):
        strokes = digit_strokes(number % 10, rng(number))
        dot = np.array([[0.02, 0.02], [0.03, 0.03]])
        picture = 255 - np.pad(draw_strokes([*strokes, dot], 280, 4 + number % 5), 30)
        boxes = np.array(boxes_of(picture))
        kept.append((boxes[:, 2:] - boxes[:, :2]).max() > 0.6 * 280)
    assert np.mean(kept) > 0.95


def test_a_digit_cut_out_to_its_ink_is_no_hand_at_the_edge(sample):
    """Beside it a speck, which is away from the edge."""
    whole = 0
    for image in sample.test.images[:40, 0].numpy():
        y, x = np.nonzero(image > 60)
        tight = image[y.min() : y.max() + 1, x.min() : x.max() + 1]
        cut = 255 - np.kron(tight, np.ones((8, 8), np.uint8))
        with suppress(DigitNotFound):
            left, top, right, bottom = digit_from_image(cut).box
            whole += (right - left) * (bottom - top) > 0.8 * cut.size
    assert whole > 28


def test_a_line_along_the_edge_makes_no_digit_a_speck():
    """As of a scan: three digits of 30 pixels beside it are found."""
    picture = blank(400, 470)
    for place, digit in enumerate((2, 5, 7)):
        picture[180:218, 150 + 60 * place :][:, :38] = drawn(digit, 38, 3)
    expected = boxes_of(picture)
    picture[:, :5] = 0
    assert len(expected) == 3
    assert boxes_of(picture) == expected


def test_boxes_of_a_long_page_lie_where_the_ink_is():
    long = blank(20_000, 200)
    tops = [22, 10_002, 19_862]
    for top in tops:
        long[top : top + 116, 90:110] = 0
    assert close(boxes_of(long), [(90, top, 110, top + 116) for top in tops], 4)
    for shape in ((8, 1_000_000), (1_000_000, 8)):
        with pytest.raises(DigitNotFound, match="does not fit"):
            digits_from_image(np.full(shape, 255, np.uint8))


def test_thousands_of_marks_are_refused():
    picture = blank(120, 6_000, 230)
    for y in range(10, 110, 10):
        for x in range(10, 5_990, 10):
            picture[y : y + 8, x : x + 8] = 20
    with pytest.raises(DigitNotFound, match="more than 1,000 marks"):
        digits_from_image(picture)


def test_three_digits_of_an_uneven_hand_are_seldom_turned():
    """By luck three heights can lie on a slope: the digits must come out as they do alone."""
    turned = 0
    for seed in range(40):
        picture, hand = blank(240, 640), rng(seed)
        for place in range(3):
            top = round(60 + 12 * hand.standard_normal())
            picture[top : top + 120, 60 + 200 * place : 180 + 200 * place] = drawn(7, 120, 10)
        alone = digit_from_image(drawn(7, 120, 10))
        turned += difference(digits_from_image(picture)[1].image, alone.image) > 4
    assert turned <= 4
