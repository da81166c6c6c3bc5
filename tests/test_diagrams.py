"""The drawn diagrams show the values that they were given, and nothing leaves the sheet."""

import pytest
import torch
from mnist_helpers import diagrams

CONFUSION = torch.arange(100).reshape(10, 10)
HEADER = bytes([0, 0, 8, 3]) + (1_234).to_bytes(4, "big") + bytes([0, 0, 0, 28] * 2 + [0, 1, 255])
DIAGRAMS = {
    "bytes": (diagrams.file_bytes(HEADER), ["08", "ff", "1,234 images", "28 rows", "28 columns"]),
    "sets": (diagrams.three_sets({"a": 10, "b": 2, "c": 3}), ["a: 10", "b: 2", "c: 3"]),
    "channels": (diagrams.convolution_over_channels(5, 7), ["5 maps", "7 maps", "5 x 3 x 3"]),
    "shapes": (diagrams.network_shapes([("Conv2d", [8, 26, 26])]), ["Conv2d", "8 x 26 x 26"]),
    "loop": (diagrams.training_loop(), ["a batch of", "loss", "next batch"]),
    "flow": (diagrams.flow(["one", "two"], "A way"), ["one", "two"]),
    "row": (diagrams.row_and_column(CONFUSION, 4), ["44", "99"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_says_what_it_was_given(name):
    figure, expected = DIAGRAMS[name]
    figure.canvas.draw()
    [ax] = figure.axes
    text = "\n".join(text.get_text() for text in ax.texts)
    for words in expected:
        assert words in text
    for shown in ax.texts:
        box = shown.get_window_extent()
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, shown.get_text()


def test_the_framed_row_and_column_are_those_of_the_digit():
    [ax] = diagrams.row_and_column(CONFUSION, 4).axes
    row, column = [patch for patch in ax.patches if not patch.get_fill()]
    assert (row.get_xy(), row.get_width(), row.get_height()) == ((-0.5, 3.5), 10, 1)
    assert (column.get_xy(), column.get_width(), column.get_height()) == ((3.5, -0.5), 1, 10)
