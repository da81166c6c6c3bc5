"""The figures of notebook 08."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mnist_helpers.plots import house_axes


def errors_by_corruption(tables: dict[str, pd.DataFrame]) -> Figure:
    """Error for each corruption, with 95 % intervals: a mark for each model, at most four.

    `tables` gives for each model's name what `corruption_errors` returns.
    """
    first = next(iter(tables.values()))
    figure, ax = house_axes(8, 0.3 * len(first) + 1.2, grid="both")
    places = np.arange(len(first))
    for number, (name, table) in enumerate(tables.items()):
        ends = [table["error"] - table["low"], table["high"] - table["error"]]
        ax.errorbar(
            table["error"], places + 0.22 * (number - (len(tables) - 1) / 2), xerr=ends,
            marker="osv^"[number], linestyle="none", capsize=3, label=name,
        )  # fmt: skip
    ax.set(title="Error for each corruption, 95 % interval", xlabel="error", xlim=(0, None))
    ax.set_yticks(places, first["corruption"])
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.invert_yaxis()
    ax.legend()
    return figure


def accuracy_against(
    curves: dict[str, dict[float, float]], xlabel: str, title: str = "", ax: Axes | None = None
) -> Axes:
    """Accuracy (fractions) against a strength, a line for each name, at most four."""
    ax = ax or house_axes(5.5, 3.6, grid="both")[1]
    for (name, curve), mark in zip(curves.items(), "osv^", strict=False):
        ax.plot(list(curve), list(curve.values()), marker=mark, label=name)
    ax.set(xlabel=xlabel, ylabel="accuracy", title=title, ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter("{x:.0%}")
    if len(curves) > 1:
        ax.legend()
    return ax
