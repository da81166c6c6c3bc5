"""Pages as people write and photograph them, by kind, with what stands on them.

    from pages import KINDS, make_page

Half of the pages are written with the strokes of `mnist_helpers.handwriting`, the others with
test digits of MNIST (with two pens, all with strokes). Paper, light, table, hand and camera are
made; no photograph comes with this project.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import matplotlib
import mnist_helpers as mh
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

WIDTH, HEIGHT = 960, 720
FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"
WORDS = ("total", "name", "tel", "Marks", "sum", "Room", "from", "week", "Euro", "part")
# Pages from here on have other words, in other fonts. They were measured after all rules stood;
# earlier rules were measured on the fifty pages from 4,000 (then with other words), from 5,000 and
# 6,000 (with two other fonts) and from 7,000.
FRESH = 8_000
FRESH_FONTS = (
    *("DejaVuSerif", "DejaVuSansMono-Bold", "DejaVuSerif-BoldItalic"),
    *("cmr10", "cmti10"),
)
FRESH_WORDS = (
    *("floor", "Bus", "degrees", "Page", "score"),
    *("Anna", "metres", "Lane", "hours", "tickets"),
)


class Page(NamedTuple):
    """A picture of a page, and the digits in its rows, top down, as they are read."""

    picture: np.ndarray  # uint8 [H, W] or [H, W, 3]
    rows: list[str]


@dataclass
class Sheet:
    """Ink on a sheet: what was written so far, and how the next digits are made."""

    rng: Generator
    digits: mh.DigitSet | None  # None: drawn from strokes
    fresh: bool = False
    ink: np.ndarray = field(default_factory=lambda: np.zeros((HEIGHT, WIDTH), np.float32))
    pen: float = 1.0  # how strong
    thickness: float = 0.09  # of a drawn digit's height

    def write(
        self,
        text: str,
        left: float,
        top: float,
        height: float,
        gap: tuple[float, float] = (0.2, 0.45),
    ) -> float:
        """A row of text: digits, `-`, `.`, `/`, `+`, `=` and spaces; returns where it ends.

        Args:
            gap: between two glyphs, at least and at most, as parts of the height.
        """
        x = left
        for sign in text:
            if sign == " ":
                x += 0.8 * height
                continue
            glyph, down = self._glyph(sign, height)
            y = top + down * height + self.rng.uniform(-0.04, 0.04) * height
            self.put(glyph, x, y)
            x += glyph.shape[1] + self.rng.uniform(*gap) * height
        return x

    def put(self, glyph: np.ndarray, left: float, top: float) -> None:
        """Ink `[h, w]`, 0 to 1, at its place; what lies outside is lost."""
        y, x = max(0, round(top)), max(0, round(left))
        part = self.ink[y : y + glyph.shape[0], x : x + glyph.shape[1]]
        np.maximum(part, self.pen * glyph[: part.shape[0], : part.shape[1]], out=part)

    def words(self, text: str, left: float, top: float, height: float) -> float:
        """Printed words."""
        name = self.rng.choice(FRESH_FONTS) if self.fresh else "DejaVuSans-Oblique"
        font = ImageFont.truetype(FONTS / f"{name}.ttf", round(1.2 * height))
        width = round(font.getlength(text)) + 4
        image = Image.new("L", (width, round(1.6 * height)))
        ImageDraw.Draw(image).text((2, 0), text, font=font, fill=255)
        self.put(np.asarray(image, np.float32) / 255, left, top - 0.3 * height)
        return left + width

    def _glyph(self, sign: str, height: float) -> tuple[np.ndarray, float]:
        """Its ink, cut close, and how far under the top of the row it begins."""
        size, thick = round(height / 0.84), self.thickness * height
        if sign.isdigit() and self.digits is not None:
            chosen = self.rng.choice(np.flatnonzero(self.digits.labels.numpy() == int(sign)))
            image = Image.fromarray(self.digits.images[chosen, 0].numpy()[4:24, 4:24])
            side = round(height)
            ink = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
            return _close(ink), 0.0
        strokes = {
            "-": [[(0.3, 0.5), (0.7, 0.5)]],
            ".": [[(0.5, 0.9), (0.5, 0.9)]],
            "/": [[(0.72, -0.15), (0.28, 1.15)]],
            "+": [[(0.25, 0.5), (0.75, 0.5)], [(0.5, 0.25), (0.5, 0.75)]],
            "=": [[(0.25, 0.4), (0.75, 0.4)], [(0.25, 0.62), (0.75, 0.62)]],
        }.get(sign) or mh.handwriting.digit_strokes(int(sign), self.rng)
        margin = 0 if sign.isdigit() else 0.25  # a slash is taller than its row
        strokes = [(np.array(stroke) + margin) / (1 + 2 * margin) for stroke in strokes]
        size = round(size * (1 + 2 * margin))
        ink = mh.handwriting.draw_strokes(strokes, size, thick).astype(np.float32) / 255
        top = np.flatnonzero(ink.max(axis=1) > 0.2)[0]
        return _close(ink), 0.0 if sign.isdigit() else (top - margin * height / 0.84) / height


def _close(ink: np.ndarray) -> np.ndarray:
    """The ink without empty rows and columns around it."""
    y, x = (np.flatnonzero(ink.max(axis=axis) > 0.2) for axis in (1, 0))
    return ink[y[0] : y[-1] + 1, x[0] : x[-1] + 1]


def _number(rng: Generator, count: int) -> str:
    return "".join(map(str, rng.integers(0, 10, count)))


def _photo(sheet: Sheet, turned: float = 0.0) -> np.ndarray:
    """The sheet, turned by degrees, under light that fades and with a camera's noise."""
    ink = sheet.ink
    if turned:
        ink = np.asarray(Image.fromarray(ink).rotate(turned, Image.Resampling.BICUBIC)).clip(0, 1)
    rng = sheet.rng
    return mh.handwriting.photographed(
        ink, rng, gradient=rng.uniform(0.1, 0.4), noise=rng.uniform(0.01, 0.03),
        texture=rng.uniform(0.01, 0.04),
    )  # fmt: skip


def _row(sheet: Sheet, height: float = 0.0, count: int = 0) -> list[str]:
    """One row of digits somewhere on the sheet."""
    rng = sheet.rng
    count, height = count or int(rng.integers(3, 7)), height or rng.uniform(70, 120)
    text = _number(rng, count)
    sheet.write(text, rng.uniform(60, 160), rng.uniform(100, HEIGHT - 200), height)
    return [text]


def _one_row(sheet: Sheet) -> Page:
    rows = _row(sheet)
    return Page(_photo(sheet), rows)


def _rows(sheet: Sheet) -> Page:
    rng, rows = sheet.rng, []
    height, count = rng.uniform(50, 90), int(rng.integers(2, 5))
    step = height * rng.uniform(1.5, 1.9)
    for number in range(count):
        rows.append(_number(rng, int(rng.integers(2, 6))))
        sheet.write(rows[-1], rng.uniform(60, 200), 60 + number * step, height)
    return Page(_photo(sheet), rows)


def _date(sheet: Sheet) -> Page:
    rng = sheet.rng
    parts = f"{rng.integers(1, 29):02}", f"{rng.integers(1, 13):02}", f"{rng.integers(1950, 2030)}"
    height = rng.uniform(50, 75) if sheet.fresh else rng.uniform(60, 90)  # wide ones go beyond
    sheet.write(rng.choice(list("-./")).join(parts), 60, rng.uniform(100, 500), height)
    return Page(_photo(sheet), ["".join(parts)])


def _phone(sheet: Sheet) -> Page:
    rng = sheet.rng
    parts = [_number(rng, int(count)) for count in rng.integers(2, 5, 3)]
    sheet.write(" ".join(parts), 40, rng.uniform(100, 500), rng.uniform(45, 60))
    return Page(_photo(sheet), ["".join(parts)])


def _squared(sheet: Sheet) -> Page:
    rows, rng = _row(sheet), sheet.rng
    step, wide, pale = int(rng.integers(30, 50)), int(rng.integers(1, 3)), rng.uniform(0.2, 0.4)
    for offset in range(wide):
        for lines in (sheet.ink[offset::step], sheet.ink[:, offset::step]):
            np.maximum(lines, pale, out=lines)
    return Page(_photo(sheet), rows)


def _turned(sheet: Sheet) -> Page:
    rng = sheet.rng
    height, rows = rng.uniform(60, 80), []
    for number in range(int(rng.integers(1, 3))):
        rows.append(_number(rng, int(rng.integers(3, 6))))
        sheet.write(rows[-1], 200, 220 + number * 1.8 * height, height)
    return Page(_photo(sheet, rng.uniform(-20, 20)), rows)


def _two_pens(sheet: Sheet) -> Page:
    rng, rows = sheet.rng, []
    sheet.digits = None  # MNIST's pens are bold
    for number, bold in enumerate(rng.permutation([True, False])):
        sheet.thickness, sheet.pen = (0.14, 1.0) if bold else (0.04, rng.uniform(0.6, 0.8))
        rows.append(_number(rng, int(rng.integers(3, 6))))
        sheet.write(rows[-1], rng.uniform(60, 160), 120 + 250 * number, rng.uniform(80, 110))
    return Page(_photo(sheet), rows)


def _touching(sheet: Sheet) -> Page:
    rng = sheet.rng
    text = _number(rng, int(rng.integers(2, 5)))
    sheet.write(text, 150, rng.uniform(150, 400), rng.uniform(90, 130), (-0.12, -0.04))
    return Page(_photo(sheet), [text])


def _small_row(sheet: Sheet) -> Page:
    rows = _row(sheet, sheet.rng.uniform(26, 34))
    return Page(_photo(sheet), rows)


def _glare(sheet: Sheet) -> Page:
    """A whiteboard: smooth, and a lamp shines back from it."""
    rows, rng = _row(sheet), sheet.rng
    seen = mh.handwriting.photographed(sheet.ink, rng, gradient=0.2, noise=0.01, texture=0.0)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    lamp = np.zeros((HEIGHT, WIDTH))
    for _ in range(int(rng.integers(1, 3))):
        centre, wide = rng.uniform((0, 0), (HEIGHT, WIDTH)), rng.uniform(40, 120)
        away = np.hypot(y - centre[0], (x - centre[1]) * rng.uniform(0.5, 1)) / wide
        lamp = np.maximum(lamp, 1 / (1 + np.exp(6 * (away - 1))))
    dimmed = 0.75 * seen / 255
    return Page(
        ((dimmed + 0.9 * (1 - dimmed) * lamp * 0.6).clip(0, 1) * 255).astype(np.uint8), rows
    )


def _table(sheet: Sheet) -> Page:
    """The page lies turned on a darker table, which is seen on all sides."""
    rows, rng = _row(sheet, count=int(sheet.rng.integers(2, 5))), sheet.rng
    paper = _photo(sheet)
    angle, scale = rng.uniform(-8, 8), rng.uniform(0.65, 0.8)
    small = Image.fromarray(paper).resize((round(scale * WIDTH), round(scale * HEIGHT)))
    mask = Image.new("L", small.size, 255).rotate(angle, expand=True)
    small = small.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    grain = gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), (1, 12))
    table = rng.uniform(0.15, 0.45) * (1 + 0.15 * grain / grain.std())
    picture = Image.fromarray((table.clip(0, 1) * 255).astype(np.uint8))
    place = (WIDTH - small.width) // 2, (HEIGHT - small.height) // 2
    picture.paste(small, place, mask)
    return Page(np.asarray(picture), rows)


def _hand(sheet: Sheet) -> Page:
    """A finger holds the page at an edge."""
    rng = sheet.rng
    text = _number(rng, int(rng.integers(3, 6)))
    sheet.write(text, 260, rng.uniform(120, 450), rng.uniform(70, 100))
    seen = _photo(sheet)
    place, inward = [((0, 0.5), (1, 0.2)), ((1, 0.5), (-1, 0.2)), ((0.5, 1), (0, -1))][
        int(rng.integers(3))
    ]
    begin = np.array(place) * (WIDTH, HEIGHT) + rng.uniform(-60, 60, 2)
    end, wide = begin + rng.uniform(40, 130) * np.array(inward), int(rng.uniform(60, 100))
    finger = Image.new("L", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(finger)
    draw.line([*(begin - 300 * np.array(inward)), *end], fill=255, width=wide)
    draw.ellipse([*(end - wide / 2), *(end + wide / 2)], fill=255)
    mask = gaussian_filter(np.asarray(finger, np.float32) / 255, 2)
    shade = gaussian_filter(mask, 12)
    light = seen * (1 - 0.3 * shade)
    return Page((light * (1 - mask) + rng.uniform(120, 170) * mask).astype(np.uint8), [text])


def _boxes(sheet: Sheet) -> Page:
    """A form: a box for each digit."""
    rng = sheet.rng
    text, height = _number(rng, int(rng.integers(3, 7))), rng.uniform(55, 80)
    side, top, left = round(1.6 * height), int(rng.uniform(100, 450)), int(rng.uniform(40, 120))
    for number, sign in enumerate(text):
        glyph, _ = sheet._glyph(sign, height)
        x = left + number * side
        sheet.put(glyph, x + (side - glyph.shape[1]) / 2, top + (side - glyph.shape[0]) / 2)
        frame = Image.new("L", (WIDTH, HEIGHT))
        ImageDraw.Draw(frame).rectangle((x, top, x + side, top + side), outline=255, width=2)
        sheet.ink = np.maximum(sheet.ink, np.asarray(frame, np.float32) / 255 * 0.7)
    return Page(_photo(sheet), [text])


def _words(sheet: Sheet) -> Page:
    rng, height = sheet.rng, sheet.rng.uniform(60, 90)
    top, rows = rng.uniform(80, 200), []
    for number in range(2):
        text = _number(rng, int(rng.integers(2, 4)))
        word = str(rng.choice(FRESH_WORDS if sheet.fresh else WORDS))
        x = sheet.words(word, 60, top + 250 * number, height)
        sheet.write(text, x + 0.8 * height, top + 250 * number, height)
        rows.append(text)
    return Page(_photo(sheet), rows)


def _sum(sheet: Sheet) -> Page:
    rng = sheet.rng
    one, other = rng.integers(10, 100, 2)
    sheet.write(f"{one}+{other}={one + other}", 60, rng.uniform(100, 450), rng.uniform(60, 90))
    return Page(_photo(sheet), [f"{one}{other}{one + other}"])


KINDS: dict[str, Callable[[Sheet], Page]] = {
    "one row": _one_row, "several rows": _rows, "a date": _date, "a phone number": _phone,
    "squared paper": _squared, "turned by up to 20 degrees": _turned, "two pens": _two_pens,
    "touching digits": _touching, "small digits": _small_row, "glare": _glare,
    "a table around": _table, "a finger": _hand, "form boxes": _boxes,
    "printed words": _words, "a sum": _sum,
}  # fmt: skip

# Here something else is written, too: what is read without being sure of it doesn't count.
ONLY_SURE = ("printed words", "a sum")


def make_page(kind: str, number: int, test: mh.DigitSet) -> Page:
    """Page `number` of a kind: even ones with drawn digits, most odd ones with test digits."""
    rng = np.random.default_rng([list(KINDS).index(kind), number])
    return KINDS[kind](Sheet(rng, test if number % 2 else None, number >= FRESH))


def right(read: Sequence[str], page: Page) -> bool:
    """Whether all the digits were read, and nothing else, in the order of reading."""
    return list(read) == page.rows
