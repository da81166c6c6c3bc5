"""How well are digits read that do not look like MNIST's: enlarged ones on made paper, those of
scikit-learn, whole pages of many kinds; how often letters, scribbles and blank paper are flagged;
and how long it takes. Rows go to mnist_helpers/results/handwriting.csv.

    python benchmarks/handwriting.py [qualities] [pens] [nonsense] [pages] [fresh] [numbers]
        [evidence] [times]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mnist_helpers as mh
import numpy as np
import tables
import torch
from mnist_helpers.handwriting.reading import LOW, among_others, read_each, read_found
from pages import FRESH, KINDS, ONLY_SURE, make_page, right
from PIL import Image, ImageDraw, ImageFont
from scipy.interpolate import make_interp_spline
from sklearn.datasets import load_digits
from tables import fitted, one_line_errors, one_of, where

Rows = Iterator[dict[str, Any]]
MODEL, SEEDS, COUNT = "fast_994", 5, 1_000
PAGES, FEWER = 200, 50  # of each kind, for whole pages and for single digits
CERTAINTY = "mnist_helpers.certainty"
WAYS = {  # the part that the probability flags, centres of a digit, directions that count less
    "probability": (1.0, 100, 64),
    "distance": (0.001, 100, 64),
    "half each": (0.5, 100, 64),
    "30 % probability": (0.3, 100, 64),
    "30 % probability, 40 centres": (0.3, 40, 64),
    "30 % probability, all directions alike": (0.3, 100, 0),
}
FARS = (0.8, 1.0, 1.2, 1.4)  # distances from the training digits, in limits
FONTS = tuple(
    f"DejaVu{name}" for name in ("Sans", "Sans-Bold", "Sans-Oblique", "Serif", "SansMono")
)
OTHER_FONTS = ("STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "cmss10", "cmtt10", "cmmi10")
LETTERS = "ACEFHKLMNPRTUVWXYacdefhkmnprtuvwxy"  # those that look like digits are left out


def photos(digits: mh.DigitSet) -> list[np.ndarray]:
    """Each digit 8 to 10 times as large, somewhere on 640x480 of paper, dark or bright."""
    rng = np.random.default_rng(0)
    images = digits.images[:, 0].numpy()
    return [
        mh.handwriting.photographed(
            mh.handwriting.pasted(image, rng), rng, dark_on_bright=bool(rng.integers(2))
        )
        for image in images
    ]


def naively(picture: np.ndarray) -> torch.Tensor:
    """What most scripts do: bright on black, and smaller."""
    if np.median(picture) > 127:
        picture = 255 - picture
    small = Image.fromarray(picture).resize((28, 28), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small))[None]


def found(pictures: Iterable[np.ndarray]) -> torch.Tensor:
    """The digit in each picture; nothing but zeros where there is none."""
    images = []
    for picture in pictures:
        try:
            images.append(mh.handwriting.digit_from_image(picture).image)
        except mh.handwriting.DigitNotFound:
            images.append(torch.zeros(1, 28, 28, dtype=torch.uint8))
    return torch.stack(images)


def coarse(digits: mh.DigitSet) -> np.ndarray:
    """The 20x20 pixels around each middle, averaged to 8x8: float32 `[N, 8, 8]`, 0 to 1."""
    inner = digits.images[:, :, 4:24, 4:24].float() / 255
    return torch.nn.functional.interpolate(inner, (8, 8), mode="area").squeeze(1).numpy()


def letters(fonts: Iterable[str] = FONTS) -> list[np.ndarray]:
    """Printed letters, dark on bright, 280x280."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pictures = []
    for name in fonts:
        font = ImageFont.truetype(folder / f"{name}.ttf", 200)
        for letter in LETTERS:
            image = Image.new("L", (280, 280), 255)
            ImageDraw.Draw(image).text((140, 140), letter, font=font, fill=0, anchor="mm")
            pictures.append(np.array(image))
    return pictures


def scribbles(count: int) -> list[np.ndarray]:
    """Smooth lines through eight random points, dark on bright, 280x280."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        points = make_interp_spline(range(8), rng.uniform(0.1, 0.9, (8, 2)))(np.linspace(0, 7, 99))
        pictures.append(
            255 - mh.handwriting.draw_strokes([points.clip(0.05, 0.95)], 280, rng.uniform(10, 30))
        )
    return pictures


def blank(count: int) -> list[np.ndarray]:
    """Paper with light, texture, noise, half of it with a shadow, and nothing on it."""
    rng = np.random.default_rng(0)
    empty = np.zeros((480, 640), dtype=np.float32)
    return [
        mh.handwriting.photographed(
            empty, rng, bool(i % 2), *rng.uniform(0, [0.6, 0.06, 0.06, i % 4 // 2 / 2])
        )
        for i in range(count)
    ]


def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The part of right answers, in per cent."""
    return 100 * (mh.predict(model, images).argmax(dim=1) == labels).float().mean().item()


def flagged(
    model: torch.nn.Module, certainty: mh.Certainty, pictures: Iterable[np.ndarray]
) -> float:
    """The part, in per cent, that is not read, or not with certainty."""
    sure = []
    for picture in pictures:
        try:
            page = mh.handwriting.read_digits(model, picture, certainty)
            sure.append(any(one.sure for one in page))
        except mh.handwriting.DigitNotFound:
            sure.append(False)
    return 100 * (1 - statistics.mean(sure))


def read_all(model: torch.nn.Module, paths: Iterable[Path]) -> None:
    """Read files one after the other, and keep nothing."""
    for path in paths:
        mh.handwriting.read_digits(model, path)


def milliseconds(name: str, work: Callable[[], object], count: int) -> Rows:
    """Three rounds, for each of `count`."""
    for number in range(3):
        start = time.perf_counter()
        work()
        value = round(1_000 * (time.perf_counter() - start) / count, 2)
        yield {"name": name, "seed": number, "value": value, "unit": "ms"}


def trained(digits: mh.Mnist, name: str = MODEL) -> Iterator[tuple[torch.nn.Module, mh.Certainty]]:
    """The model with each seed, and how sure it is."""
    train, validation = digits.train.split(1 / 12, seed=0)
    for seed in range(SEEDS):
        entry = mh.ZOO[name]
        model = entry.build(seed=seed)
        fitted(model, train, validation, replace(entry.recipe, seed=seed))
        yield model, mh.fit_certainty(model, validation, train=train)


def pages(digits: mh.Mnist, _: list[np.ndarray], first: int = 0) -> Rows:
    """Whole pages right, by kind, in per cent: a row for each seed of the model."""
    models = list(trained(digits))
    for kind in KINDS:
        made = [make_page(kind, first + number, digits.test) for number in range(PAGES)]
        found = [every(page.picture) for page in made]
        for seed, model in enumerate(models):
            read = [written(*model, one, kind in ONLY_SURE) if one else [] for one in found]
            good = [right(*pair) for pair in zip(read, made, strict=True)]
            value = 100 * statistics.mean(good)
            yield {"name": kind, "seed": seed, "value": round(value, 1), "unit": "%"}


def every(picture: np.ndarray) -> list[mh.handwriting.FoundDigit]:
    """All digits in the picture; none where none is found."""
    try:
        return mh.handwriting.digits_from_image(picture)
    except mh.handwriting.DigitNotFound:
        return []


def written(
    model: torch.nn.Module,
    certainty: mh.Certainty,
    found: list[mh.handwriting.FoundDigit],
    only_sure: bool,
) -> list[str]:
    """What is read, a string a row."""
    rows = [
        "".join(str(one.digit) for one in row if one.sure or not only_sure)
        for row in read_found(model, found, certainty).rows
    ]
    return [row for row in rows if row]


def not_sure(digits: mh.Mnist, _: list[np.ndarray]) -> Rows:
    """Digits of fresh pages with numbers alone: how many are not sure, how many sure and wrong."""
    kinds = [kind for kind in KINDS if kind not in ("touching digits", *ONLY_SURE)]
    numbers = range(FRESH, FRESH + FEWER)
    made = [make_page(kind, n, digits.test) for kind in kinds for n in numbers]
    found = [every(page.picture) for page in made]
    for seed, (model, certainty) in enumerate(trained(digits)):
        for name, way in (("together", among_others), ("one by one", lambda each, _: each)):
            sure, wrong = [], []
            for page, marks in zip(made, found, strict=True):
                with patch("mnist_helpers.handwriting.reading.among_others", way):
                    read = read_found(model, marks, certainty) if marks else []
                expected = "".join(page.rows)
                sure += [bool(one.sure) for one in read]
                if len(read) == len(expected):
                    pairs = zip(read, expected, strict=True)
                    wrong += [str(one.digit) != digit for one, digit in pairs if one.sure]
            for what, value in (
                ("not sure", 1 - statistics.mean(sure)),
                ("sure, but wrong", statistics.mean(wrong)),
            ):
                told = {"name": f"{what}: digits on pages, {name}", "seed": seed, "unit": "%"}
                yield told | {"value": round(100 * value, 2)}


def evidence(digits: mh.Mnist, _: list[np.ndarray]) -> Rows:
    """Of the digits and the letters on other pages: how many are how far, in limits, or low."""
    kinds, numbers = ("printed words", "one row", "a phone number"), range(1_000, 1_000 + FEWER)
    others = digits.train.split(1 / 12, seed=0)[1]
    made = [make_page(kind, number, others) for kind in kinds for number in numbers]
    pairs = [(page, marks) for page in made if (marks := every(page.picture))]
    for seed, (model, certainty) in enumerate(trained(digits)):
        told: dict[str, list[str]] = {"digits": [], "letters": []}
        for page, marks in pairs:
            rows = groupby(read_each(model, marks, certainty), lambda one: one.found.row)
            for text, (_, row) in zip(page.rows, rows, strict=False):  # a word, then digits
                seen = list(row)
                highest = max(one.found.box[3] - one.found.box[1] for one in seen)
                for number, one in enumerate(seen):
                    of = told["letters" if number < len(seen) - len(text) else "digits"]
                    within = [far for far in FARS if one.distance <= far * certainty.farthest]
                    far = f"up to {within[0]}" if within else f"over {FARS[-1]}"
                    of.append("read as 1" if one.digit == 1 else far)
                    if one.found.box[3] - one.found.box[1] < LOW * highest:
                        of.append("low")
        names = [f"up to {far}" for far in FARS]
        for what, those in told.items():
            count = len(those) - those.count("low")
            for state in (*names, f"over {FARS[-1]}", "read as 1", "low"):
                value = round(100 * those.count(state) / count, 2)
                name = f"{what} of other pages: {state}"
                yield {"name": name, "seed": seed, "value": value, "unit": "%"}


def qualities(digits: mh.Mnist, pictures: list[np.ndarray]) -> Rows:
    """Parts of right answers and of doubts, a row for each seed of the model."""
    test, some = digits.test, digits.test.select(torch.arange(COUNT))
    through = found(test.images[:, 0].numpy())
    photographed, naive = found(pictures), torch.stack([naively(one) for one in pictures])
    others = load_digits()
    scans = (others.images / 16).astype(np.float32)
    foreign, targets = found(scans), torch.from_numpy(others.target).long()
    shrunk = found(coarse(some))
    strange = {"letters": letters(), "scribbles": scribbles(200), "blank paper": blank(200)}
    strange = {"test digits on paper": pictures, "scikit-learn's digits": list(scans), **strange}
    for seed, (model, certainty) in enumerate(trained(digits)):
        plain = accuracy(model, test.images, test.labels)
        moved = accuracy(model, through, test.labels)
        values = {
            "10,000 test digits as they are": plain,
            "the same, through digit_from_image": moved,
            "the difference": moved - plain,
            f"{COUNT:,} on paper, through digit_from_image": accuracy(
                model, photographed, some.labels
            ),
            f"{COUNT:,} on paper, resized naively": accuracy(model, naive, some.labels),
            f"the same {COUNT:,} as they are": accuracy(model, some.images, some.labels),
            "scikit-learn's 1,797 digits of 8x8": accuracy(model, foreign, targets),
            f"{COUNT:,} test digits averaged to 8x8": accuracy(model, shrunk, some.labels),
            **{f"not sure: {n}": flagged(model, certainty, p) for n, p in strange.items()},
        }
        for name, value in values.items():
            unit = "points" if "difference" in name else "%"
            yield {"name": name, "seed": seed, "value": round(value, 2), "unit": unit}


def pens(digits: mh.Mnist, _: list[np.ndarray]) -> Rows:
    """The recipe for other pens, a row for each seed."""
    others = load_digits()
    foreign = found((others.images / 16).astype(np.float32))
    targets = torch.from_numpy(others.target).long()
    for seed, (model, certainty) in enumerate(trained(digits, "pen")):
        embedded, logits = mh.evaluation.embeddings(model, foreign)
        rows = (logits / certainty.temperature).softmax(dim=1)
        sure = certainty.is_sure(rows, certainty.distances(embedded)).float().mean()
        for name, value in {
            "`pen`: 10,000 test digits as they are": mh.evaluate(model, digits.test).accuracy,
            "`pen`: scikit-learn's 1,797 digits of 8x8": accuracy(model, foreign, targets) / 100,
            "`pen`: not sure: scikit-learn's digits": 1 - sure.item(),
        }.items():
            yield {"name": name, "seed": seed, "value": round(100 * value, 2), "unit": "%"}


def nonsense(digits: mh.DigitSet, count: int) -> torch.Tensor:
    """Things made of digits: turned by a quarter, mirrored, two over each other, two halves."""
    rng = np.random.default_rng(0)
    images = []
    for first, second in digits.images[rng.integers(len(digits), size=(count, 2)), 0].numpy():
        half = np.concatenate([first[:14], second[14:]])
        over = np.maximum(first, np.roll(second, rng.integers(-4, 5, 2), (0, 1)))
        images.append([np.rot90(first), first[::-1], over, half][rng.integers(4)].copy())
    return found(images)


def nonsense_flagged(digits: mh.Mnist, _: list[np.ndarray]) -> Rows:
    """By probability, by distance and by both, in per cent; validation digits are flagged at 5 %.

    Also how many of the wrong answers on validation digits are flagged, and of letters in other
    fonts than those of `qualities`.
    """
    train, validation = digits.train.split(1 / 12, seed=0)
    made, others = nonsense(validation, 2 * COUNT), found(letters(OTHER_FONTS))
    for seed, (model, certainty) in enumerate(trained(digits)):
        wrong = mh.predict(model, validation.images).argmax(dim=1) != validation.labels
        for name, (part, centres, directions) in WAYS.items():
            changed: dict[str, Any] = {
                "BY_PROBABILITY": part,
                "CENTRES": centres,
                "DIRECTIONS": directions,
            }
            with patch.multiple(CERTAINTY, **changed):
                certainty = mh.fit_certainty(model, validation, train=train if part < 1 else None)
            mistakes = validation.images[wrong]
            for kind, images in (("nonsense", made), ("mistakes", mistakes), ("letters", others)):
                embedded, logits = mh.evaluation.embeddings(model, images)
                rows = (logits / certainty.temperature).softmax(dim=1)
                sure = certainty.is_sure(rows, certainty.distances(embedded)).float().mean()
                value = round(100 * (1 - sure.item()), 2)
                yield {"name": f"{kind}: {name}", "seed": seed, "value": value, "unit": "%"}


def times(digits: mh.Mnist, pictures: list[np.ndarray]) -> Rows:
    """Of one image in memory, and of many files with their prediction; one thread."""
    model = mh.ZOO[MODEL].build()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index:04}.png" for index in range(COUNT)]
        for path, picture in zip(paths, pictures, strict=True):
            Image.fromarray(picture).save(path)
        yield from milliseconds("one 640x480 image", lambda: found(pictures[:200]), 200)
        yield from milliseconds(
            "one such PNG file, read and predicted", lambda: read_all(model, paths), COUNT
        )


PARTS: dict[str, Callable[[mh.Mnist, list[np.ndarray]], Rows]] = {
    "qualities": qualities,
    "pens": pens,
    "nonsense": nonsense_flagged,
    "pages": pages,
    "fresh": partial(pages, first=FRESH),
    "numbers": not_sure,
    "evidence": evidence,
    "times": times,
}


@one_line_errors()
def main() -> None:
    """Measure the parts that are asked for again, write their rows, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", type=one_of(PARTS), metavar="PART", default=list(PARTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    digits = mh.load_mnist(source="mnist")
    pictures = photos(digits.test.select(torch.arange(COUNT)))
    for part in options.parts:
        rows = [{"part": part, **row, **where()} for row in PARTS[part](digits, pictures)]
        mh.results.add_rows(mh.results.HANDWRITING, rows, replacing={"part": part})
    print(tables.handwriting(), tables.nonsense(), tables.pages_by_kind(), sep="\n\n")


if __name__ == "__main__":
    main()
