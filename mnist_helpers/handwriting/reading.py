"""What a model reads in a photo, a scan or a drawing (09_handwriting.ipynb)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mnist_helpers.certainty import Certainty
from mnist_helpers.evaluation import embeddings
from mnist_helpers.handwriting.cuts import likeliest, pieces
from mnist_helpers.handwriting.digits import FoundDigit, as_mnist, digits_from_image
from mnist_helpers.handwriting.image_files import file_name
from mnist_helpers.prediction import predict
from torch import Tensor, nn

NARROWEST, SURELY_ONE = 0.65, 1.3  # width by height: of what may be cut; of one digit, if sure
# Prices: of a piece further than NEAR limits of distance, of each digit, of cutting at all; what a
# digit may cost on average, with all that. Chosen on other pages than those of the table.
STRANGE, NEAR, EACH, CUTTING, MOST_EACH = 16.0, 0.3, 1.0, 3.0, 14.0
WIDTHS, SPREAD = (0.42, 0.82), 0.2  # by height, of MNIST's ones and of the others: mean, deviation
SPACE = 0.65  # of the height of the higher neighbour: a wider gap is a space
# Evidence that marks which stand together are a number, not a word, like the natural logarithm of
# how much more often digits than letters look so: AT_FIRST before any mark is looked at; of a mark
# MOST, or less if it is far, by STEEP for each limit of distance, but LEAST at least. LOWER less if
# it isn't LOW as high as the highest of its row. Chosen on other pages (benchmarks/README.md).
AT_FIRST, MOST, STEEP, LEAST, LOW, LOWER = 0.7, 1.6, 7.0, -3.0, 0.8, 1.5
IN_A_NUMBER = 0.8  # there an answer of this probability is sure


class Reading(NamedTuple):
    """A digit that a model reads in an image.

    Attributes:
        digit: 0 to 9.
        probability: of this digit, 0 to 1.
        sure: whether probability and distance are within the limits, which are wider in what must
            be a number; never if several marks must be a word, or if it was cut out of one.
            None if there are no limits.
        probabilities: float32 `[10]`.
        distance: from the training digits; see `Certainty.distances`.
        found: the digit as MNIST would have it, its box and the steps.
    """

    digit: int
    probability: float
    sure: bool | None
    probabilities: Tensor
    distance: float
    found: FoundDigit

    def __str__(self) -> str:
        doubt = "" if self.sure or self.sure is None else "  not sure"
        return f"{self.digit}  {self.probability:.4f}{doubt}"


class PageReading(list[Reading]):
    """The digits on a page, row by row, from left to right; as text, a line for each row.

    Attributes:
        left_out: marks that are further from the training digits than `Certainty.no_digit`.
    """

    def __init__(self, readings: Sequence[Reading], certainty: Certainty | None) -> None:
        limit = certainty.no_digit if certainty else np.inf
        super().__init__(one for one in readings if one.distance <= limit)
        self.left_out = [one for one in readings if not one.distance <= limit]  # NaN, too

    @property
    def rows(self) -> list[list[Reading]]:
        """The digits of each row that has any."""
        numbers = sorted({one.found.row for one in self})
        return [[one for one in self if one.found.row == number] for number in numbers]

    def __str__(self) -> str:
        return "\n".join(_line(row) for row in self.rows)

    def lines(self, path: Path, each: bool = False) -> list[str]:
        """What `predict` prints: a line a row, or a line a digit; then what was left out."""
        lines = [str(one) for one in self] if each else str(self).splitlines()
        if self.left_out:
            lines.append(f"left out, unlike any digit: {len(self.left_out)}")
        return [f"{file_name(path)}  {line}" for line in lines]

    def entries(self, path: str) -> list[dict[str, Any]]:
        """What `predict --json` says of each digit, then of what was left out (no digit)."""
        places = [(one, column) for row in self.rows for column, one in enumerate(row)]
        return [
            {
                "path": path,
                "digit": None if column is None else one.digit,
                "probability": None if column is None else round(one.probability, 4),
                "sure": one.sure,
                "row": one.found.row,
                "column": column,
                "box": list(one.found.box),
            }
            for one, column in [*places, *((one, None) for one in self.left_out)]
        ]


def _line(row: Sequence[Reading]) -> str:
    """The digits of a row, with spaces where the gaps are wide, and which of them are not sure."""
    text = str(row[0].digit)
    for one, gap in zip(row[1:], _spaces(row), strict=True):
        text += f"{' ' if gap else ''}{one.digit}"
    doubts = [str(one.digit) for one in row if one.sure is False]
    return f"{text}  not sure: {', '.join(doubts)}" if doubts else text


def _spaces(row: Sequence[Reading]) -> np.ndarray:
    """Between which neighbours in a row the gap is wide: bool `[N - 1]`."""
    boxes = np.array([one.found.box for one in row])
    heights = boxes[:, 3] - boxes[:, 1]
    return boxes[1:, 0] - boxes[:-1, 2] > SPACE * np.maximum(heights[1:], heights[:-1])


def read_digits(model: nn.Module, image: Any, certainty: Certainty | None = None) -> PageReading:
    """What a model reads in a photo, a scan or a drawing: each digit, row by row.

    Args:
        model: gives logits.
        image: a path, a Pillow image or an array; see `digit_from_image`.
        certainty: from `fit_certainty`, or that of a saved run. If it knows the training digits,
            marks that stand together are judged as a number or a word, digits that touch are cut
            apart, and what is no digit is left out.

    Raises:
        DigitNotFound: there is no mark that may be a digit.
        DataError: it is no readable image.
    """
    return read_found(model, digits_from_image(image), certainty)


def read_found(
    model: nn.Module, found: Sequence[FoundDigit], certainty: Certainty | None = None
) -> PageReading:
    """The same for digits as `digits_from_image` gives them, at least one."""
    each, readings = read_each(model, found, certainty), []
    if certainty is None or certainty.centres is None:
        return PageReading(each, certainty)
    for one, among in zip(each, among_others(each, certainty), strict=True):
        height, width = one.found.steps["cut out"].shape
        narrow = width < (SURELY_ONE if one.sure else NARROWEST) * height
        readings.extend([among] if narrow else _cut_apart(model, among, certainty))
    return PageReading(readings, certainty)


def among_others(readings: Sequence[Reading], certainty: Certainty) -> list[Reading]:
    """The readings: in a word none is sure, in a number more of them are than each by itself.

    Several that stand together in a row are the one or the other, whichever they speak for.
    """
    kept: list[Reading] = []
    for _, row in groupby(readings, key=lambda one: one.found.row):
        marks = list(row)
        for together in np.split(np.arange(len(marks)), np.flatnonzero(_spaces(marks)) + 1):
            number = AT_FIRST + _evidence(marks, certainty)[together].sum() > 0
            for one in (marks[index] for index in together):
                good = one.probability >= IN_A_NUMBER and one.distance <= certainty.no_digit
                sure = one.sure if len(together) == 1 else number and (one.sure or good)
                kept.append(one._replace(sure=bool(sure)))
    return kept


def _evidence(row: Sequence[Reading], certainty: Certainty) -> np.ndarray:
    """What each mark of a row says for a number, `[N]`; a 1, which may be an l, never does."""
    heights = np.array([one.found.box[3] - one.found.box[1] for one in row])
    far = np.array([one.distance for one in row])
    most = np.array([0 if one.digit == 1 else MOST for one in row])
    low = heights < LOW * heights[far <= certainty.no_digit].max(initial=0)
    return np.clip(STEEP * (1 - far / certainty.farthest), LEAST, most) - LOWER * low


def read_each(
    model: nn.Module, found: Sequence[FoundDigit], certainty: Certainty | None
) -> list[Reading]:
    """A reading for each, as it is: nothing is cut apart or left out."""
    images = torch.stack([digit.image for digit in found])
    distances, sure = torch.zeros(len(found)), [None] * len(found)
    probabilities = predict(model, images, certainty.temperature if certainty else 1.0)
    if certainty is not None:
        if certainty.centres is not None:
            distances = certainty.distances(embeddings(model, images)[0])
        sure = certainty.is_sure(probabilities, distances).tolist()
    best, digits = probabilities.max(dim=1)
    rows = zip(
        digits.tolist(), best.tolist(), sure, probabilities, distances.tolist(), found, strict=True
    )
    return [Reading(*row) for row in rows]


def _cut_apart(model: nn.Module, whole: Reading, certainty: Certainty) -> list[Reading]:
    """Several digits, if the model believes in them more than in one, and enough; else the one.

    Where a cut goes is a guess, so none of the several is sure. A box goes from cut to cut.
    """
    parts, places = pieces(whole.found.steps["cut out"])
    if not parts:
        return [whole]
    found = []
    left, _, right, _ = whole.found.box
    for (first, last), ink in parts:
        small = as_mnist(ink)
        start, end = (round(left + place * (right - left)) for place in places[[first, last]])
        box = (start, whole.found.box[1], end, whole.found.box[3])
        steps = {**whole.found.steps, "cut out": ink, "28 x 28": small}
        image = torch.from_numpy(small)[None]
        found.append(replace(whole.found, image=image, box=box, steps=steps))
    tried = zip((span for span, _ in parts), read_each(model, found, certainty), strict=True)
    readings = dict(sorted(tried, key=lambda pair: -_energy(pair[1], certainty)))  # the last stays
    energies = {span: _energy(one, certainty) + EACH for span, one in readings.items()}
    energy, spans = likeliest(energies, len(places) - 1)
    if energy + CUTTING >= min(_energy(whole, certainty) + EACH, MOST_EACH * len(spans)):
        return [whole]
    return [readings[span]._replace(sure=False) for span in spans]


def _energy(one: Reading, certainty: Certainty) -> float:
    """How little the model believes in a reading: 0 for what is certain, near and narrow; inf for
    what would be left out.

    It grows with the distance beyond `NEAR` limits, and with the width beyond that of such digits.
    """
    height, width = one.found.steps["cut out"].shape
    far = one.distance if one.distance <= certainty.no_digit else np.inf
    strange = max(0.0, far / certainty.farthest - NEAR)
    wide = max(0.0, (width / height - WIDTHS[one.digit != 1]) / SPREAD)
    return float(-np.log(one.probability) + STRANGE * strange**2 + wide**2)
