"""paper.py: drawn digits, and pages and photographs that a script makes."""

import numpy as np
import pytest
from mnist_helpers.handwriting.paper import digit_strokes, draw_strokes, page, pasted, photographed
from scipy import ndimage

TOUCHING = np.ones((3, 3))


def rng(seed=0):
    return np.random.default_rng(seed)


def boxes_in(ink):
    """The slices (down, across) of the connected pieces, from left to right."""
    boxes = ndimage.find_objects(ndimage.label(ink > 0.5, TOUCHING)[0])
    return sorted(boxes, key=lambda box: box[1].start)


# Strokes


def test_a_dot_is_a_disk_with_a_soft_edge():
    ink = draw_strokes([[(0.25, 0.75)]], size=100, thickness=20)
    assert ink.dtype == np.uint8
    assert ink.shape == (100, 100)
    assert ink.sum() / 255 == pytest.approx(np.pi * 10**2, rel=0.05)
    assert ndimage.center_of_mass(ink) == pytest.approx((74.5, 24.5), abs=0.3)
    assert ink.max() == 255
    assert len(np.unique(ink)) > 8


@pytest.mark.parametrize(("size", "thickness"), [(60, 4), (200, 9), (200, 20.5)])
def test_a_line_is_as_long_and_thick_as_asked_for(size, thickness):
    ink = draw_strokes([[(0.3, 0.5), (0.7, 0.5)]], size, thickness) / 255
    assert ink[:, size // 2].sum() == pytest.approx(thickness, abs=0.6)
    assert ink.max(axis=0).sum() == pytest.approx(0.4 * size + thickness, abs=1)
    expected = 0.4 * size * thickness + np.pi * thickness**2 / 4
    assert ink.sum() == pytest.approx(expected, rel=0.15)


def test_strokes_do_not_join_and_may_lie_outside():
    ink = draw_strokes([[(0.2, 0.2), (0.2, 0.8)], [(0.8, 0.2), (0.8, 0.8)], [(5, 5)]], 100, 10)
    assert len(boxes_in(ink / 255)) == 2
    for nothing in ([[(5, 5), (6, 6)]], [], [[]]):
        assert draw_strokes(nothing).shape == (280, 280)
        assert not draw_strokes(nothing).any()


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_is_one_connected_drawing_with_its_holes(digit):
    """The strokes meet, and they leave a margin for the pen."""
    strokes = digit_strokes(digit)
    assert all(stroke.shape == (30, 2) for stroke in strokes)
    assert 0.04 < np.concatenate(strokes).min() < np.concatenate(strokes).max() < 0.96
    drawn = draw_strokes(strokes, 280, 12)
    assert len(boxes_in(drawn / 255)) == 1
    if digit != 2:  # its two strokes enclose a dot of paper
        assert ndimage.label(drawn < 128)[1] == 1 + {0: 1, 6: 1, 8: 2, 9: 1}.get(digit, 0)


def test_a_hand_is_unsteady_but_little_and_repeatable():
    steady, first, again, other = (
        np.concatenate(digit_strokes(3, hand)) for hand in (None, rng(), rng(), rng(1))
    )
    assert (first == again).all()
    assert (first != other).any()
    assert 0 < np.abs(first - steady).max() < 0.2


# Photographs


@pytest.mark.parametrize("dark", [True, False])
def test_in_a_photograph_ink_is_darker_or_brighter_than_paper(dark):
    ink = np.zeros((60, 80))
    ink[20:40, 30:50] = 1
    seen, again, other = (photographed(ink, rng(seed), dark, 0.2) for seed in (0, 0, 1))
    assert seen.dtype == np.uint8
    assert seen.shape == (60, 80)
    assert (seen == again).all()
    assert (seen != other).any()
    darker = np.median(seen[ink == 0]) - np.median(seen[ink == 1])
    assert (darker > 40) if dark else (darker < -40)


def test_noise_is_as_strong_as_asked_for():
    """Grey chalk, so that nothing is cut off at black or white; then more noise than fits."""
    ink = np.full((100, 100), 0.5)
    for noise in (0, 0.02, 0.1):
        seen = photographed(ink, rng(), gradient=0, noise=noise, texture=0) / 255
        assert seen.std() == pytest.approx(noise, rel=0.05)
    seen = photographed(ink, rng(), gradient=0, noise=0, texture=0.1) / 255
    assert seen.std() / seen.mean() == pytest.approx(0.1, rel=0.1)
    seen = photographed(ink, rng(), noise=2.0)
    assert (seen.min(), seen.max()) == (0, 255)


@pytest.mark.parametrize("seed", range(3))
def test_light_fades_to_one_side_and_a_shadow_has_a_sharp_edge(seed):
    even, faded, shaded = (
        photographed(np.zeros((200, 280)), rng(seed), noise=0, texture=0, **light) / 255
        for light in ({"gradient": 0}, {"gradient": 0.6}, {"gradient": 0, "shadow": 0.5})
    )
    assert faded.min() / faded.max() == pytest.approx(0.4, abs=0.03)
    assert faded.max() == pytest.approx(even.max(), abs=0.012)
    bright, dark = shaded / even > 0.95, shaded / even < 0.55
    assert bright.mean() + dark.mean() > 0.7
    assert min(bright.mean(), dark.mean()) > 0.1


# Places


def test_a_pasted_digit_is_8_to_10_times_as_large_and_all_inside():
    sides, places = set(), set()
    for seed in range(30):
        ink = pasted(np.full((28, 28), 255, np.uint8), rng(seed), width=300, height=290)
        assert ink.shape == (290, 300)
        assert set(np.unique(ink)) == {0, 1}
        [(down, across)] = boxes_in(ink)
        assert down.stop - down.start == across.stop - across.start == ink.sum() ** 0.5
        sides.add(down.stop - down.start)
        places.add((down.start, across.start))
    assert 224 <= min(sides) < 235
    assert 270 < max(sides) <= 280
    assert len(places) > 25


def test_a_pasted_digit_keeps_its_shape():
    image = draw_strokes(digit_strokes(3), 28, 3)
    ink = pasted(image, rng())
    assert ink.shape == (480, 640)
    assert (ink == pasted(image, rng())).all()
    large, small = (np.ptp(np.nonzero(part), axis=1) for part in (ink > 0.5, image > 127))
    assert (7.5 * small < large).all()
    assert (large < 11 * small).all()


def test_a_page_has_its_digits_in_a_row():
    ink = page([3, 1, 4], rng())
    assert ink.dtype == np.float32
    assert ink.shape == (720, 960)
    boxes = boxes_in(ink)
    assert len(boxes) == 3
    assert np.diff([across.start for _, across in boxes]).min() > 150
    for down, across in boxes:
        assert 0.6 * 144 < max(down.stop - down.start, across.stop - across.start) < 1.2 * 144
    assert (ink == page([3, 1, 4], rng())).all()
    small, smaller_pen = (page([8], rng(), "plain", 0, 400, 300, 0.5, pen) for pen in (0.1, 0.05))
    assert small.shape == (300, 400)
    assert smaller_pen.sum() < 0.7 * small.sum()


@pytest.mark.parametrize("ruling", ["plain", "ruled", "squared"])
def test_rulings_are_paler_than_the_pen(ruling):
    ink = page([], rng(), ruling)
    rows, columns = (ink > 0.3).all(axis=1).sum(), (ink > 0.3).all(axis=0).sum()
    assert (rows > 5) == (ruling != "plain")
    assert (columns > 5) == (ruling == "squared")
    assert ink.max() == pytest.approx(0 if ruling == "plain" else 0.4)
    assert page([5], rng(), ruling).max() == 1


def test_a_page_turns_anticlockwise():
    """The row of digits then rises to the right."""
    rises = {}
    for turned in (0, 20, -20):
        boxes = boxes_in(page([1, 0, 1], rng(), turned=turned))
        rises[turned] = boxes[0][0].start - boxes[-1][0].start
    assert rises[20] > rises[0] + 80
    assert rises[-20] < rises[0] - 80
