"""The figures of notebook 11."""

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from mnist_helpers.plots import BLACK, GREY, house_axes
from torch import Tensor


def maps_of_digits(images: Tensor, maps: dict[str, Tensor], names: Sequence[str]) -> Figure:
    """A row a digit: the digit, and each map over its faint outline, on a scale of its own that is
    symmetric about zero: red speaks for the digit, blue against it.

    Args:
        images: `[N, 1, 28, 28]`. maps: each `[N, 1, 28, 28]`, by name. names: one a digit.
    """
    rows, columns = len(images), 1 + len(maps)
    figure, grid = house_axes(1.75 * columns, 1.75 * rows + 0.3, rows, columns, squeeze=False)
    for ax in grid.flat:
        ax.set(xticks=[], yticks=[])
    pixels = images.squeeze(1).numpy()
    for row, image, name in zip(grid, pixels, names, strict=True):
        row[0].imshow(image, cmap="gray")
        row[0].set_ylabel(name)
    for column, (title, values) in enumerate(maps.items(), start=1):
        grid[0, column].set_title(title, fontsize=10)
        for ax, image, one in zip(
            grid[:, column], images.squeeze(1), values.squeeze(1), strict=True
        ):
            most = float(abs(one).max()) or 1.0
            ax.imshow(one, cmap="RdBu_r", vmin=-most, vmax=most)
            ax.contour(image, levels=[float(image.max()) / 2], colors=GREY, linewidths=0.6)
    grid[0, 0].set_title("digit", fontsize=10)
    return figure


def embedding_map(places: np.ndarray, labels: Tensor, wrong: Tensor) -> Figure:
    """A point a digit, coloured and named by its label; mistakes are black crosses.

    Args:
        places: `[N, 2]`. labels: int64 `[N]`. wrong: bool `[N]`.
    """
    figure, ax = house_axes(7, 5.6)
    ax.scatter(*places.T, c=labels.numpy(), cmap="tab10", s=5, alpha=0.7)
    ax.scatter(*places[wrong.numpy()].T, color=BLACK, marker="x", s=36, label="mistake")
    around = [patheffects.withStroke(linewidth=3, foreground="white")]
    for digit in labels.unique().tolist():
        middle = np.median(places[(labels == digit).numpy()], axis=0)
        ax.text(*middle, str(digit), fontsize=18, weight="bold", path_effects=around)
    ax.set(title="What the last layer sees, in two dimensions", xticks=[], yticks=[])
    ax.legend(loc="upper right")
    return figure
