"""The figures of notebook 10."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mnist_helpers.plots import HATCHES, house_axes


def ladder(runs: pd.DataFrame) -> Figure:
    """Mean seconds of each entry on a log scale, with its mean accuracy and spread beside it.

    `runs` has a row a run with the columns `name`, `seconds` and `accuracy`; names keep their
    order, the first on top.
    """
    groups = runs.groupby("name", sort=False)
    seconds, accuracy = groups["seconds"].mean(), groups["accuracy"].agg(["mean", "std"])
    figure, ax = house_axes(8, 0.4 * len(groups) + 1.1, grid="x")
    ax.barh(seconds.index, seconds, height=0.6)
    for place, (value, (mean, spread)) in enumerate(zip(seconds, accuracy.values, strict=True)):
        text = f" {value:.2f} s, {mean:.2%} ± {100 * spread:.2f}"
        ax.annotate(text, (value, place), va="center")
    ax.set(xscale="log", xlabel="seconds, mean (log scale)")
    ax.set_xlim(min(seconds) / 2, max(seconds) * 40)
    ax.set_title("Time, and accuracy with its standard deviation in points")
    ax.invert_yaxis()
    return figure


def time_shares(parts: dict[str, dict[str, float]]) -> Figure:
    """Where the time goes: a bar for each program, its parts side by side, in milliseconds.

    `parts` gives for each program the milliseconds of the same parts, four at most.
    """
    figure, ax = house_axes(8, 0.8 * len(parts) + 1.2, grid="x")
    left = np.zeros(len(parts))
    names = next(iter(parts.values()))
    for name, hatch in zip(names, HATCHES[: len(names)], strict=True):
        width = np.array([program[name] for program in parts.values()])
        bars = {"label": name, "hatch": hatch, "edgecolor": "white"}
        ax.barh(list(parts), width, 0.6, left, **bars)
        left += width
    ax.set(xlabel="milliseconds for 1,000 images", title="Where the time goes")
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
