"""The figures of notebook 08."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mnist_helpers.plots import BLUE, house_axes


def errors_by_corruption(table: pd.DataFrame) -> Figure:
    """Error for each row of `corruption_errors`, with its 95 % interval, the worst below."""
    table = table.sort_values("error")
    figure, ax = house_axes(8, 0.3 * len(table) + 1.2, grid="both")
    ends = [table["error"] - table["low"], table["high"] - table["error"]]
    ax.errorbar(table["error"], table["corruption"], xerr=ends, fmt="o", color=BLUE, capsize=3)
    ax.set(title="Error for each corruption, 95 % interval", xlabel="error", xlim=(0, None))
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.invert_yaxis()
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
