"""The figures of notebook 10."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mnist_helpers.plots import BLUE, HATCHES, house_axes


def ladder(runs: pd.DataFrame) -> Figure:
    """Seconds of each run on a log scale, a row an entry, with accuracy, spread and n beside it.

    `runs` has a row a run with the columns `name`, `seconds` and `accuracy`; names keep their
    order, the first on top.
    """
    groups = dict(list(runs.groupby("name", sort=False)))
    figure, ax = house_axes(8, 0.4 * len(groups) + 1.1, grid="x")
    for place, rows in enumerate(groups.values()):
        seconds, accuracy = rows["seconds"], 100 * rows["accuracy"]
        ax.plot(seconds, np.full(len(rows), place), "o", color=BLUE, mfc="none")
        sd = f" ± {accuracy.std():.2f}" if len(rows) > 1 else ""
        text = f"{seconds.mean():.2f} s, {accuracy.mean():.2f}{sd} (n {len(rows)})"
        ax.annotate(text, (seconds.max(), place), (8, 0), textcoords="offset points", va="center")
    ax.set(xscale="log", xlabel="seconds (log scale), a circle a run")
    ax.set_xlim(min(runs["seconds"]) / 2, max(runs["seconds"]) * 60)
    ax.set_yticks(range(len(groups)), groups)
    ax.set_title("Mean time, and accuracy with its standard deviation in points")
    ax.invert_yaxis()
    return figure


def time_shares(parts: dict[str, dict[str, float]]) -> Figure:
    """Where the time goes: a bar for each program, its parts side by side, in milliseconds.

    `parts` gives for each program the milliseconds of the same parts, four at most.
    """
    figure, ax = house_axes(8, 0.8 * len(parts) + 1.2, grid="x")
    widths = pd.DataFrame(parts).T
    left = widths.cumsum(axis=1) - widths
    for name, hatch in zip(widths, HATCHES[: widths.shape[1]], strict=True):
        bars = {"label": name, "hatch": hatch, "edgecolor": "white"}
        ax.barh(list(parts), widths[name], 0.6, left[name], **bars)
    ax.set(xlabel="milliseconds for 1,000 images", title="Where the time goes")
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
