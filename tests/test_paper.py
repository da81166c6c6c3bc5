"""paper.py: drawn digits, and pages and photographs that a script makes."""

import numpy as np
import pytest
from scipy import ndimage

from mnist_helpers.paper import digit_strokes, draw_strokes, page, pasted, photographed


def rng(seed=0):
    return np.random.default_rng(seed)


def area(ink):
    """How many pixels are covered, the grey ones in part."""
    return ink.sum() / 255


# Strokes


def test_a_dot_is_a_disk():
    ink = draw_strokes([[(0.25, 0.75)]], size=100, thickness=20)
    assert ink.dtype == np.uint8
    assert ink.shape == (100, 100)
    assert area(ink) == pytest.approx(np.pi * 10**2, rel=0.05)
    assert ndimage.center_of_mass(ink) == pytest.approx((74.5, 24.5), abs=0.3)
    assert ink.max() == 255


@pytest.mark.parametrize("thickness", [4, 9, 20.5])
@pytest.mark.parametrize("size", [60, 200])
def test_a_line_is_as_long_and_thick_as_asked_for(size, thickness):
    ink = draw_strokes([[(0.3, 0.5), (0.7, 0.5)]], size, thickness)
    assert (ink[:, size // 2] / 255).sum() == pytest.approx(thickness, abs=0.6)
    assert (ink / 255).max(axis=0).sum() == pytest.approx(0.4 * size + thickness, abs=1)
    expected = 0.4 * size * thickness + np.pi * thickness**2 / 4
    assert area(ink) == pytest.approx(expected, rel=0.15)


def test_strokes_do_not_join_and_may_lie_outside():
    ink = draw_strokes([[(0.2, 0.2), (0.2, 0.8)], [(0.8, 0.2), (0.8, 0.8)], [(5, 5)]], 100, 10)
    assert ndimage.label(ink > 127)[1] == 2
    assert not draw_strokes([[(5, 5), (6, 6)]]).any()


def test_no_strokes_are_empty_paper():
    assert draw_strokes([]).shape == (280, 280)
    assert not draw_strokes([]).any()
    assert not draw_strokes([[]]).any()


def test_drawn_lines_have_soft_edges():
    ink = draw_strokes([[(0.2, 0.2), (0.8, 0.7)]], 100, 10)
    assert len(np.unique(ink)) > 8


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_is_one_connected_drawing(digit):
    """The strokes meet, and they leave a margin for the pen."""
    strokes = digit_strokes(digit)
    assert all(stroke.shape == (30, 2) for stroke in strokes)
    assert min(stroke.min() for stroke in strokes) > 0.04
    assert max(stroke.max() for stroke in strokes) < 0.96
    drawn = draw_strokes(strokes, 200, 12)
    assert ndimage.label(drawn > 127, np.ones((3, 3)))[1] == 1
    again = digit_strokes(digit)
    assert all((one == other).all() for one, other in zip(strokes, again, strict=True))


@pytest.mark.parametrize(("digit", "holes"), [(0, 1), (4, 0), (6, 1), (8, 2), (9, 1), (7, 0)])
def test_digits_have_their_holes(digit, holes):
    paper = draw_strokes(digit_strokes(digit), 280, 12) < 128
    assert ndimage.label(paper)[1] == 1 + holes


def test_a_hand_is_unsteady_but_little_and_repeatable():
    steady, first, again, other = (
        np.concatenate(digit_strokes(3, hand)) for hand in (None, rng(), rng(), rng(1))
    )
    assert (first == again).all()
    assert (first != other).any()
    assert 0 < np.abs(first - steady).max() < 0.2


# Photographs


def test_a_photograph_is_of_bytes_and_repeatable():
    ink = np.zeros((60, 80))
    ink[20:40, 30:50] = 1
    seen = photographed(ink, rng())
    assert seen.dtype == np.uint8
    assert seen.shape == (60, 80)
    assert (seen == photographed(ink, rng())).all()
    assert (seen != photographed(ink, rng(1))).any()


@pytest.mark.parametrize("seed", range(5))
def test_ink_is_darker_or_brighter_than_paper(seed):
    ink = np.zeros((60, 80))
    ink[20:40, 30:50] = 1
    for dark in (True, False):
        seen = photographed(ink, rng(seed), dark_on_bright=dark, gradient=0.2).astype(int)
        written, around = np.median(seen[ink == 1]), np.median(seen[ink == 0])
        assert (written < around - 40) if dark else (written > around + 40)


def test_noise_is_as_strong_as_asked_for():
    """Grey chalk, so that nothing is cut off at black or white."""
    ink = np.full((100, 100), 0.5)
    for noise in (0.02, 0.1):
        seen = photographed(ink, rng(), gradient=0, noise=noise, texture=0) / 255
        assert seen.std() == pytest.approx(noise, rel=0.05)
    seen = photographed(ink, rng(), gradient=0, noise=0, texture=0)
    assert (seen == seen[0, 0]).all()
    seen = photographed(ink, rng(), gradient=0, noise=0, texture=0.1) / 255
    assert seen.std() / seen.mean() == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_a_gradient_takes_light_from_one_side_to_the_other(seed):
    blank = np.zeros((100, 140))
    seen = photographed(blank, rng(seed), gradient=0.6, noise=0, texture=0)
    assert seen.min() / seen.max() == pytest.approx(0.4, abs=0.03)
    even = photographed(blank, rng(seed), gradient=0, noise=0, texture=0)
    assert seen.max() == pytest.approx(even.max(), abs=3)


@pytest.mark.parametrize("seed", range(5))
def test_a_shadow_darkens_one_side_with_a_sharp_edge(seed):
    blank = np.zeros((200, 280))
    lit, shaded = (
        photographed(blank, rng(seed), gradient=0, noise=0, texture=0, shadow=shadow) / 255
        for shadow in (0, 0.5)
    )
    part = shaded / lit
    bright, dark = part > 0.95, part < 0.55
    assert bright.mean() + dark.mean() > 0.7
    assert min(bright.mean(), dark.mean()) > 0.1


def test_values_stay_in_range():
    seen = photographed(np.eye(50), rng(), noise=2.0)
    assert seen.min() == 0
    assert seen.max() == 255


# Places


def filled(value=255):
    return np.full((28, 28), value, np.uint8)


def test_a_pasted_digit_is_8_to_10_times_as_large_and_all_inside():
    sides, places = set(), set()
    for seed in range(30):
        ink = pasted(filled(), rng(seed))
        assert ink.shape == (480, 640)
        assert set(np.unique(ink)) == {0, 1}
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        assert np.ptp(rows) == np.ptp(columns) == len(rows) - 1
        assert len(rows) * len(columns) == ink.sum()
        sides.add(len(rows))
        places.add((rows[0], columns[0]))
    assert 224 <= min(sides) < 235
    assert 270 < max(sides) <= 280
    assert len(places) > 25


def test_a_pasted_digit_keeps_its_shape():
    image = draw_strokes(digit_strokes(3), 28, 3)
    ink = pasted(image, rng(), width=300, height=290)
    assert ink.shape == (290, 300)
    assert (ink == pasted(image, rng(), width=300, height=290)).all()
    rows, columns = np.nonzero(ink > 0.5)
    small_rows, small_columns = np.nonzero(image > 127)
    enlarged = np.ptp(rows) / np.ptp(small_rows)
    assert 7.5 < enlarged < 11
    assert np.ptp(columns) / np.ptp(small_columns) == pytest.approx(enlarged, rel=0.15)


def test_a_page_has_its_digits_in_a_row():
    ink = page([3, 1, 4], rng())
    assert ink.dtype == np.float32
    assert ink.shape == (720, 960)
    labels, count = ndimage.label(ink > 0.5, np.ones((3, 3)))
    assert count == 3
    boxes = ndimage.find_objects(labels)
    lefts = sorted(across.start for _, across in boxes)
    assert np.diff(lefts).min() > 150
    for down, across in boxes:
        assert 0.6 * 144 < max(down.stop - down.start, across.stop - across.start) < 1.2 * 144
    assert (ink == page([3, 1, 4], rng())).all()


def test_a_page_may_be_of_any_size_with_a_thin_pen():
    small, thin, thick = (
        page([8], rng(), width=400, height=300, size=0.5, thickness=pen)
        for pen in (0.05, 0.03, 0.1)
    )
    assert small.shape == (300, 400)
    assert thin.sum() < small.sum() < thick.sum()


@pytest.mark.parametrize("ruling", ["plain", "ruled", "squared"])
def test_rulings_are_paler_than_the_pen(ruling):
    ink = page([], rng(), ruling)
    rows, columns = (ink > 0.3).all(axis=1).sum(), (ink > 0.3).all(axis=0).sum()
    assert (rows > 5) == (ruling != "plain")
    assert (columns > 5) == (ruling == "squared")
    assert ink.max() == pytest.approx(0 if ruling == "plain" else 0.4)
    written = page([5], rng(), ruling)
    assert written.max() == 1


def test_a_page_turns_anticlockwise():
    """The row of digits then rises to the right."""
    heights = {}
    for turned in (0, 20, -20):
        labels, _ = ndimage.label(page([1, 0, 1], rng(), turned=turned) > 0.5, np.ones((3, 3)))
        boxes = sorted(ndimage.find_objects(labels), key=lambda box: box[1].start)
        heights[turned] = boxes[-1][0].start - boxes[0][0].start
    assert heights[20] < heights[0] - 80
    assert heights[-20] > heights[0] + 80
