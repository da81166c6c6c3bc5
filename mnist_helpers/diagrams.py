"""Drawn diagrams for notebooks 01 to 05: boxes and arrows in the house style."""

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mnist_helpers.plots import BLACK, BLUE, GREY, ORANGE, house_axes
from torch import Tensor

LIGHT, SAND = "#DCEAF4", "#F8E3D6"


def _canvas(width: float, height: float, title: str = "") -> tuple[Figure, Axes]:
    """An empty drawing sheet on which one unit is one inch."""
    figure, ax = house_axes(width, height)
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal", title=title)
    ax.axis("off")
    return figure, ax


def _box(
    ax: Axes, x: float, y: float, width: float, height: float, text: str = "", fill: str = LIGHT
) -> None:
    """A box with its lower left corner at `x, y`, and a text in its middle."""
    ax.add_patch(Rectangle((x, y), width, height, facecolor=fill, edgecolor=BLUE))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    """An arrow; the text stands above its middle."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": BLACK})
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.06
    ax.text(*middle, text, ha="center", va="bottom", fontsize=9)


def _stack(
    ax: Axes, x: float, y: float, size: float, count: int, fill: str, steps: int = 0
) -> None:
    """Square maps one behind the other, at most four of them; `steps`: lines of a grid."""
    for index in reversed(range(min(count, 4))):
        left, low = x + 0.12 * index, y + 0.12 * index
        _box(ax, left, low, size, size, fill=fill)
        for line in range(1, steps if index == 0 else 0):
            ax.plot([x + size * line / steps] * 2, [y, y + size], "-", color=BLUE, lw=0.8)
            ax.plot([x, x + size], [y + size * line / steps] * 2, "-", color=BLUE, lw=0.8)


def flow(steps: Sequence[str], title: str = "", loop: bool = False) -> Figure:
    """Boxes from left to right with arrows between them; with `loop` an arrow leads back."""
    gap, height = 0.35, 1.0
    width = (10 - gap * (len(steps) + 1)) / len(steps)
    figure, ax = _canvas(10, 2.1 if loop else 1.3, title)
    lefts = [gap + index * (width + gap) for index in range(len(steps))]
    base = 0.95 if loop else 0.15
    for left, text in zip(lefts, steps, strict=True):
        _box(ax, left, base, width, height, text)
    for left, right in pairwise(lefts):
        _arrow(ax, (left + width, base + height / 2), (right, base + height / 2))
    if loop:
        first, last, low = lefts[0] + width / 2, lefts[-1] + width / 2, 0.35
        ax.plot([last, last, first], [base, low, low], "-", color=BLACK, lw=1)
        _arrow(ax, (first, low), (first, base))
        ax.text(5, low + 0.06, "next batch", ha="center", va="bottom", fontsize=9)
    return figure


def file_bytes(content: bytes) -> Figure:
    """The 16 bytes of an IDX header of images, what they mean, and the first pixels after them."""
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in (4, 8, 12)]
    parts = [(0, 2, "always 0"), (2, 1, "type:\nbytes"), (3, 1, f"{content[3]}\naxes")]
    names = ("images", "rows", "columns")
    meanings = [f"{size:,} {name}" for size, name in zip(sizes, names, strict=True)]
    parts += [(at, 4, text) for at, text in zip((4, 8, 12), meanings, strict=True)]
    parts.append((16, 3, "pixels ..."))
    figure, ax = _canvas(10, 1.9, "The header of a file of images, byte by byte")
    side = 10 / 19.4
    for at in range(19):
        fill = LIGHT if at < 16 else "white"
        _box(ax, 0.1 + at * side, 0.9, side, side, f"{content[at]:02x}", fill)
        ax.text(0.1 + (at + 0.5) * side, 1.5, str(at), ha="center", fontsize=8, color=GREY)
    for at, count, text in parts:
        left, right = 0.15 + at * side, 0.05 + (at + count) * side
        ax.plot([left, left, right, right], [0.85, 0.75, 0.75, 0.85], "-", color=ORANGE, lw=1.2)
        ax.text((left + right) / 2, 0.68, text, ha="center", va="top", fontsize=9)
    return figure


def three_sets(sizes: dict[str, int]) -> Figure:
    """The sizes of training, validation and test set, and what each is for."""
    uses = (
        "the network learns from these",
        "we choose with these",
        "we report on these, no choice",
    )
    figure, ax = _canvas(10, 1.2, "Three sets, three purposes (not to scale)")
    left, widths, fills = 0.1, (4.6, 2.4, 2.8), (LIGHT, "white", SAND)
    for (name, size), use, width, fill in zip(sizes.items(), uses, widths, fills, strict=True):
        _box(ax, left, 0.2, width, 0.8, f"{name}: {size:,}\n\n{use}", fill)
        left += width
    return figure


def convolution_over_channels(inputs: int = 32, filters: int = 64) -> Figure:
    """One filter as deep as its input makes one map; many filters make many maps."""
    figure, ax = _canvas(10, 2.9, f"Conv2d({inputs}, {filters}): each filter is {inputs} deep")
    _stack(ax, 0.3, 0.8, 1.2, inputs, LIGHT)
    ax.add_patch(Rectangle((0.45, 1.35), 0.4, 0.4, fill=False, edgecolor=ORANGE, lw=2))
    ax.text(1.1, 0.5, f"{inputs} maps come in", ha="center", fontsize=9)
    _arrow(ax, (2.2, 1.6), (3.0, 1.6))
    _stack(ax, 3.2, 1.2, 0.7, inputs, SAND, steps=3)
    ax.text(3.75, 0.34, f"one filter:\n{inputs} x 3 x 3 weights, one bias", ha="center", fontsize=9)
    _arrow(ax, (4.5, 1.6), (6.0, 1.6), "multiply, add\neverything up")
    _stack(ax, 6.2, 1.1, 1.0, 1, LIGHT)
    ax.text(6.7, 0.34, "one number a place:\none map goes out", ha="center", fontsize=9)
    _arrow(ax, (7.3, 1.6), (8.3, 1.6), f"{filters} filters")
    _stack(ax, 8.4, 0.95, 1.0, filters, LIGHT)
    ax.text(9.1, 0.5, f"{filters} maps go out", ha="center", fontsize=9)
    return figure


def network_shapes(steps: Sequence[tuple[str, Sequence[int]]]) -> Figure:
    """The layers of a network with the shape `[C, H, W]` or `[N]` that each makes.

    A map is as high as it has rows, and as wide as it has channels (on a log scale).
    """
    figure, ax = _canvas(11, 3.2, "From 784 pixels to ten numbers: the shape after each layer")
    left, room = 0.1, 10.8 / len(steps)
    for name, shape in steps:
        rows = shape[1] if len(shape) == 3 else 1
        height = 0.1 + 1.6 * rows / 28
        width = room * (0.15 + 0.06 * shape[0].bit_length())
        _box(ax, left + (room - width) / 2, 1.6 - height / 2, width, height)
        ax.text(left + room / 2, 2.6, name, ha="center", fontsize=8, rotation=30)
        text = " x ".join(map(str, shape))
        ax.text(left + room / 2, 0.35, text, ha="center", fontsize=8)
        left += room
    return figure


def training_loop() -> Figure:
    """One step of training, and that it is taken again and again."""
    steps = (
        "a batch of\nimages and labels",
        "forward:\nten logits each",
        "loss: how wrong,\none number",
        "backward: gradients\nof all weights",
        "step: each weight a\nlittle against it",
    )
    return flow(steps, "One step of training, again and again", loop=True)


def row_and_column(confusion: Tensor, digit: int) -> Figure:
    """A confusion matrix `[10, 10]` with one digit's row (recall) and column (precision) framed."""
    figure, ax = house_axes(6.4, 5)
    ax.set(xlim=(-0.6, 9.6), ylim=(9.6, -0.6), aspect="equal", xticks=range(10), yticks=range(10))
    for row, counts in enumerate(confusion.tolist()):
        for column, count in enumerate(counts):
            inside = digit in (row, column)
            bold = "bold" if row == column == digit else "normal"
            colour = BLACK if inside else GREY
            place = {"ha": "center", "va": "center", "fontsize": 9}
            ax.text(column, row, count, color=colour, fontweight=bold, **place)
    ax.add_patch(Rectangle((-0.5, digit - 0.5), 10, 1, fill=False, lw=2, ec=BLUE))
    ax.add_patch(Rectangle((digit - 0.5, -0.5), 1, 10, fill=False, lw=2, ec=ORANGE, ls="--"))
    ax.set(xlabel="predicted digit", ylabel="true digit")
    ax.set_title(
        f"Row (blue): all true {digit}s, for recall.\n"
        f"Column (orange, dashed): all that were called {digit}, for precision.",
        fontsize=10,
    )
    return figure
