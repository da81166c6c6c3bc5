"""reading.py and cuts.py: pages as text, digits that touch, what is no digit."""

import dataclasses
from itertools import combinations

import mnist_helpers as mh
import numpy as np
import pytest
import torch
from mnist_helpers.handwriting.cuts import likeliest, pieces
from mnist_helpers.handwriting.reading import PageReading, Reading, read_digits, read_found


@pytest.fixture(scope="module")
def reader(sample):
    """A model that learned from the sample, and how sure it is."""
    train, validation = sample.train.split(1 / 8, seed=0)
    model = mh.ZOO["fast_994"].build(seed=0)
    recipe = mh.Recipe(
        **{**vars(mh.ZOO["fast_994"].recipe), "epochs": 6, "epoch_size": None, "batch_size": 128}
    )
    mh.fit(model, train, validation, recipe, verbose=False)
    return model, mh.fit_certainty(model, validation, train=train)


def side_by_side(images, overlap):
    """Digits `[28, 28]` on white, eight times as large, whose ink overlaps by so many pixels."""
    ink = [image[:, np.flatnonzero(image.max(axis=0) > 100)] for image in images]
    width = sum(part.shape[1] - overlap for part in ink) + overlap
    row, left = np.zeros((28, width), np.uint8), 0
    for part in ink:
        np.maximum(row[:, left : left + part.shape[1]], part, out=row[:, left:][:, : part.shape[1]])
        left += part.shape[1] - overlap
    return 255 - np.kron(np.pad(row, 20), np.ones((8, 8), np.uint8))


@pytest.mark.slow
def test_digits_that_touch_are_cut_apart_and_single_ones_are_not(reader, sample):
    model, certainty = reader
    images, labels = sample.test.images[:, 0].numpy(), sample.test.labels.tolist()
    pairs = [(first, first + 1) for first in range(0, 120, 2)]
    right = without = 0
    for pair in pairs:
        picture = side_by_side(images[list(pair)], overlap=1)
        expected = [labels[index] for index in pair]
        page = read_digits(model, picture, certainty)
        right += [one.digit for one in page] == expected
        plain = mh.Certainty(certainty.temperature, certainty.threshold)
        whole = read_digits(model, picture, plain)
        without += [one.digit for one in whole] == expected
        assert len(page) <= len(whole) or not any(one.sure for one in page)
    assert right > without + 0.2 * len(pairs)
    assert right > 0.6 * len(pairs)
    alone = [read_digits(model, side_by_side(images[[i]], 0), certainty) for i in range(100)]
    assert sum(len(page) + len(page.left_out) > 1 for page in alone) <= 1


def test_pieces_lie_where_the_ink_is_thin_and_cover_it():
    """Two blocks of ink and a thin bridge between them: the cut goes through the bridge."""
    ink = np.zeros((80, 140), np.float32)
    ink[:, :60] = ink[:, 80:] = 1
    ink[38:42, 60:80] = 1
    parts, places = pieces(ink)
    middle = [number for number, place in enumerate(places) if 60 / 140 <= place <= 80 / 140]
    assert middle
    assert np.all(np.diff(places) > 0)
    left, right = (
        [part.sum() for bounds, part in parts if bounds == span]
        for span in ((0, middle[0]), (middle[0], len(places) - 1))
    )
    assert left == sorted(set(left))  # with more and more of the other
    assert right == sorted(set(right))
    common = left[0] + right[0] - ink.sum() / 4  # half as large
    assert 0 < common <= 2 * 40  # a stroke that crosses belongs to both


def test_the_likeliest_way_is_the_best_of_all_ways():
    rng = np.random.default_rng(0)
    for _ in range(20):
        spans = [span for span in combinations(range(7), 2) if rng.random() < 0.6]
        energies = {span: float(rng.random()) for span in spans}
        ways = []
        for count in range(6):
            for inner in combinations(range(1, 6), count):
                way = list(zip((0, *inner), (*inner, 6), strict=True))
                if all(span in energies for span in way):
                    ways.append((sum(energies[span] for span in way), way))
        energy, way = likeliest(energies, 6)
        assert (energy, way) == min(ways, default=(np.inf, []), key=lambda one: one[0])


def test_a_page_reads_as_it_is_written():
    def one(digit, left, row=0, sure=True, distance=0.5):
        found = mh.handwriting.FoundDigit(
            None, (left, 100 * row, left + 30, 100 * row + 50), row, {}
        )
        return Reading(digit, 0.9, sure, torch.ones(10) / 10, distance, found)

    marks = [
        one(1, 0),
        one(2, 40),
        one(3, 120, sure=False),
        one(4, 0, row=2),
        one(7, 0, 1, False, 2),
    ]
    page = PageReading(marks, mh.Certainty(1.0, 0.5, no_digit=1.0))
    assert str(page) == "12 3  not sure: 3\n4"
    assert page.lines("a.png")[-1] == "a.png  left out, unlike any digit: 1"
    entries = page.entries("a.png")
    assert [entry["digit"] for entry in entries] == [1, 2, 3, 4, None]
    assert [entry["column"] for entry in entries] == [0, 1, 2, 0, None]
    assert page.left_out == marks[-1:]


# A mark by a letter: the digit that is read, its probability, how far it is from any, its height;
# the limits of probability and distance are 0.95 and 1.
MARKS = {
    **{"#": (3, 0.99, 0.5, 50), "p": (3, 0.85, 0.5, 50), "u": (3, 0.7, 0.5, 50)},
    **{"d": (3, 0.99, 1.3, 50), "x": (3, 0.99, 1.6, 50)},
    **{"l": (1, 0.99, 0.5, 50), "i": (1, 0.99, 1.3, 50), "a": (3, 0.99, 0.5, 30)},
}


@pytest.mark.parametrize(
    ("marks", "sure"),
    [
        *(("#", "#"), ("p", " "), ("x", " "), ("l", "l"), ("a ##", "a ##")),
        *(("pp", "pp"), ("#u", "# "), ("#d", "#d"), ("dd", "  "), ("#x", "  "), ("##x", "##x")),
        *(("###xx", "     "), ("####xx", "####xx"), ("ii#", "   "), ("i#", "i#")),
        *(("ll", "ll"), ("lx", "  "), ("l#d", "l#d"), ("lld", "   ")),
        *(("aa", "aa"), ("##d", "##d"), ("aad", "   "), ("aal", "aal"), ("aadl #", "     #")),
        *(("xx #p", "   #p"), ("xx/##p", "  /##p"), ("#x### u", "#x###  ")),
    ],
)
def test_in_a_word_nothing_is_sure_and_in_a_number_more_is(monkeypatch, marks, sure):
    """A space parts words, a slash rows. By hand: 0.7, and 1.6 for what is near.

    An `l` is nothing, `d` and `i` -2.1, `x` -3, the least; an `a` beside higher marks 0.1.
    """
    limits = mh.Certainty(1.0, 0.95, torch.zeros(1, 2).half(), farthest=1.0, no_digit=2.0)
    each = []
    for row, line in enumerate(marks.split("/")):
        for place, mark in enumerate(line):
            if mark != " ":
                digit, chance, far, height = MARKS[mark]
                box = (40 * place, 50 - height, 40 * place + 30, 50)
                cut = {"cut out": np.ones((50, 30))}
                found = mh.handwriting.FoundDigit(None, box, row, cut)
                each.append(Reading(digit, chance, mark in "#la", torch.ones(10), far, found))
    monkeypatch.setattr("mnist_helpers.handwriting.reading.read_each", lambda *_: each)
    expected = [one != " " for one in sure.replace("/", "")]
    expected = [
        known for known, mark in zip(expected, marks.replace("/", ""), strict=True) if mark != " "
    ]
    assert [one.sure for one in read_found(None, [], limits)] == expected


def test_a_wide_mark_in_a_number_is_cut_by_what_it_is_alone(monkeypatch):
    limits = mh.Certainty(1.0, 0.95, torch.zeros(1, 2).half(), farthest=1.0, no_digit=2.0)
    boxes = [(0, 0, 30, 50), (40, 0, 95, 50), (105, 0, 135, 50)]
    each = [
        Reading(
            *(3, 0.9, number != 1, torch.ones(10), 0.5),
            mh.handwriting.FoundDigit(None, box, 0, {"cut out": np.ones((50, box[2] - box[0]))}),
        )
        for number, box in enumerate(boxes)
    ]
    offered = []
    reading = "mnist_helpers.handwriting.reading"
    monkeypatch.setattr(f"{reading}.read_each", lambda *_: each)
    monkeypatch.setattr(f"{reading}._cut_apart", lambda _, one, __: offered.append(one) or [one])
    assert [one.sure for one in read_found(None, [], limits)] == [True] * 3
    assert [one.found.box for one in offered] == boxes[1:2]


def test_what_is_left_out_is_never_sure_and_without_centres_nothing_is_judged(monkeypatch):
    """A far mark after three sure ones: in a number, unless it is further than any digit."""
    shape = {"cut out": np.ones((50, 30))}
    boxes = [(40 * place, 0, 40 * place + 30, 50) for place in range(4)]
    found = [mh.handwriting.FoundDigit(None, box, 0, shape) for box in boxes]
    each = [Reading(3, 0.9, n < 3, torch.ones(10), 1.15 * (n == 3), found[n]) for n in range(4)]
    monkeypatch.setattr("mnist_helpers.handwriting.reading.read_each", lambda *_: each)
    centres = torch.zeros(1, 2).half()
    for no_digit, all_sure in ((2.0, True), (1.1, False)):
        page = read_found(None, [], mh.Certainty(1.0, 0.95, centres, 1.0, no_digit))
        assert all(one.sure for one in [*page, *page.left_out]) == all_sure
        assert [one.sure for one in page.left_out] == ([] if all_sure else [False])
    assert list(read_found(None, [], mh.Certainty(1.0, 0.95))) == each


def test_a_blot_spoils_no_number_and_makes_nothing_low(monkeypatch):
    """Further than any digit, and twice as high: two sure digits stay a number."""
    boxes = [(0, 50, 30, 100), (40, 50, 70, 100), (80, 0, 110, 100)]
    shape = {"cut out": np.ones((50, 30))}
    found = [mh.handwriting.FoundDigit(None, box, 0, shape) for box in boxes]
    each = [Reading(3, 0.9, n < 2, torch.ones(10), 0.5 + 5 * (n == 2), found[n]) for n in range(3)]
    monkeypatch.setattr("mnist_helpers.handwriting.reading.read_each", lambda *_: each)
    page = read_found(None, [], mh.Certainty(1.0, 0.95, torch.zeros(1, 2).half(), 1.0, 2.0))
    assert ([one.sure for one in page], len(page.left_out)) == ([True, True], 1)
    assert PageReading([each[0]._replace(distance=np.nan)], mh.Certainty(1.0, 0.5)).left_out


def test_small_letters_make_no_gap_wide():
    """By hand: the 7 and the 3 are 60 high and 36 apart; the letters, 40 high, are 30 apart."""
    boxes = [(0, 20, 20, 60), (50, 20, 70, 60), (100, 20, 120, 60), (170, 0, 200, 60)]
    boxes += [(236, 0, 266, 60)]
    found = [mh.handwriting.FoundDigit(None, box, 0, {}) for box in boxes]
    page = PageReading([Reading(3, 0.9, None, torch.ones(10), 0.0, one) for one in found], None)
    assert str(page) == "3 3 3 33"


@pytest.mark.slow
def test_what_is_no_digit_is_left_out_or_not_sure(reader):
    """Scribbles; those further away than any digit are left out."""
    model, certainty = reader
    rng, sure, left_out = np.random.default_rng(0), 0, 0
    for _ in range(120):
        drawn = mh.handwriting.draw_strokes([rng.uniform(0.15, 0.85, (9, 2))], 280, 12)
        page = read_digits(model, 255 - drawn, certainty)
        sure += any(one.sure for one in page)
        left_out += len(page.left_out)
    assert sure <= 36
    assert left_out >= 1  # 2 to 38 for other seeds and numbers of threads


@pytest.mark.slow
def test_the_pad_says_what_is_unlike_any_digit(reader):
    drawing = pytest.importorskip("mnist_helpers.handwriting.drawing")
    model, certainty = reader
    near = dataclasses.replace(certainty, no_digit=0.0)
    strokes = mh.handwriting.digit_strokes(5)
    assert drawing.DrawingPad(model, near, strokes).message.endswith(" %, unlike any digit")
    assert drawing.DrawingPad(model, certainty, strokes).message.startswith("5, ")
