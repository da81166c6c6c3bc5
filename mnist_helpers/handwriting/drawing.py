"""A pad to draw a digit on, in a notebook (09_handwriting.ipynb)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from mnist_helpers.certainty import Certainty
from mnist_helpers.handwriting.digits import DigitNotFound, digit_from_image
from mnist_helpers.handwriting.paper import Stroke, draw_strokes
from mnist_helpers.handwriting.reading import Reading, read_each
from torch import Tensor, nn

try:
    import anywidget
except ModuleNotFoundError:
    raise ImportError("the drawing pad needs anywidget: run `pip install anywidget`") from None

SIZE = 280  # width and height of the paper in pixels
THICKNESS = 4, 60  # the thinnest and the thickest pen, in pixels
MAX_POINTS = 3_000  # enough for a dozen digits, and drawn in under a tenth of a second
EMPTY = "Draw a digit."
FULL = "The paper is full: clear it, and draw a digit."


class DrawingPad(anywidget.AnyWidget):
    """A paper that a model reads while one draws on it; show it as the last line of a cell.

    Attributes:
        strokes: each a list of points `[x, y]`, 0 to 1 from the left and from the top; set it to
            draw from Python. Points that are no numbers are left out, those beside the paper go
            to its edge, those after `MAX_POINTS` are dropped.
        thickness: of the pen, 4 to 60 pixels.
        drawing: the paper as uint8 `[280, 280]`: ink 255 on 0.
        image: what the model saw, uint8 `[1, 28, 28]`; None without a digit.
        probabilities: ten numbers that sum to 1; empty without a digit.
        message: the answer, such as `7, 98 %`, or why there is none.
        seen: the 784 pixels of `image` row by row, for the page; empty without a digit.
    """

    _esm = Path(__file__).with_name("pad.js")
    # The types are quoted for Colab: its older traitlets cannot evaluate them.
    strokes: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    thickness = traitlets.Int(22).tag(sync=True)
    seen: "traitlets.List[int]" = traitlets.List().tag(sync=True)
    probabilities: "traitlets.List[float]" = traitlets.List().tag(sync=True)
    message = traitlets.Unicode(EMPTY).tag(sync=True)

    def __init__(
        self,
        model: nn.Module,
        certainty: Certainty | None = None,
        strokes: Sequence[Stroke] = (),
        thickness: int = 22,
    ) -> None:
        """A pad with these strokes on it.

        Args:
            model: gives logits `[N, 10]` of images `[N, 1, 28, 28]`.
            certainty: its temperature, and its limits of what is sure and what a digit; None: as
                the model says, always sure.

        Raises:
            traitlets.TraitError: strokes of another shape; also when they are set later.
        """
        self._model, self._certainty = model, certainty or Certainty(1.0, 0.0)
        self.drawing = np.zeros((SIZE, SIZE), np.uint8)
        self.image: Tensor | None = None
        super().__init__(strokes=list(strokes), thickness=thickness)

    def __repr__(self) -> str:
        """One line, for notebooks that cannot show the pad."""
        return f"Drawing pad: {self.message} (To draw, run this cell in JupyterLab or Colab.)"

    @traitlets.validate("strokes")
    def _clean(self, proposal: Any) -> list[list[list[float]]]:
        """Points that can be drawn, in plain lists and floats, which JSON can hold."""
        clean, room = [], MAX_POINTS
        for stroke in proposal["value"]:
            try:
                points = np.array([(x, y) for x, y in stroke], dtype=float).reshape(-1, 2)
            except (TypeError, ValueError) as error:
                raise traitlets.TraitError(
                    f"a stroke is {str(stroke)[:40]}; it must be a list of points (x, y)"
                ) from error
            points = points[np.isfinite(points).all(axis=1)][:room].clip(0, 1)
            room -= len(points)
            if len(points):
                clean.append(points.tolist())
        return clean

    @traitlets.validate("thickness")
    def _in_range(self, proposal: Any) -> int:
        return min(max(proposal["value"], THICKNESS[0]), THICKNESS[1])

    @traitlets.observe("strokes", "thickness")
    def _read(self, _change: Any) -> None:
        """Draw, find the digit and predict; all that changed goes to the page in one message."""
        self.drawing = draw_strokes(self.strokes, size=SIZE, thickness=self.thickness)
        image, probabilities = None, []
        if not self.strokes:
            message = EMPTY
        elif sum(map(len, self.strokes)) == MAX_POINTS:
            message = FULL
        else:
            try:
                paper = np.pad(255 - self.drawing, 30, constant_values=255)
                found = digit_from_image(paper)  # no stroke reaches its edge
            except DigitNotFound as reason:
                message = str(reason)
            else:
                image = found.image
                (reading,) = read_each(self._model, [found], self._certainty)
                probabilities = reading.probabilities.tolist()
                message = self._answer(reading)
        self.image = image
        with self.hold_sync():
            self.seen = [] if image is None else image.flatten().tolist()
            self.probabilities, self.message = probabilities, message

    def _answer(self, reading: Reading) -> str:
        """The digit and its probability; two digits where the model is not sure."""
        ranked = reading.probabilities.argsort(descending=True, stable=True)
        first, second = ranked[:2].tolist()
        digits = f"{first}" if reading.sure else f"not sure: {first} or {second}"
        strange = ", unlike any digit" if reading.distance > self._certainty.no_digit else ""
        return f"{digits}, {100 * reading.probability:.0f} %{strange}"
