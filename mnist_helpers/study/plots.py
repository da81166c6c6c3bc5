"""The figures of notebooks 06 and 07: studies of many runs.

An argument `study` has the rows of `read_study`, a `table` those of `check_claims`.
"""

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from mnist_helpers.evaluation import mean_interval
from mnist_helpers.plots import BLACK, BLUE, GREY, ORANGE, house_axes
from mnist_helpers.study.claims import within


def _short_log_scale(axis: Axis, numbers: str) -> None:
    """Numbers at 1, 2, 5, 10 and so on, in this format."""
    axis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=numbers, minor_formatter="")


def study_curves(study: pd.DataFrame) -> Figure:
    """Loss and accuracy by epoch, a column a model: a thin line a run, a thick one the mean."""
    names = list(study["model"].unique())
    # The training accuracy of a first epoch is far lower, and would flatten all the rest.
    lowest = study["validation_accuracy"].explode().astype(float).min() - 0.002
    figure, grid = house_axes(
        2.5 * len(names) + 0.8, 5, 2, len(names), "both", squeeze=False, sharey="row", sharex="col"
    )
    for name, column in zip(names, grid.T, strict=True):
        runs = study[study["model"] == name]
        for ax, what in zip(column, ("loss", "accuracy"), strict=True):
            for part, colour, style in (("train", BLUE, "-"), ("validation", ORANGE, "--")):
                shortest = runs["epochs"].min()
                curves = np.array([curve[:shortest] for curve in runs[f"{part}_{what}"]])
                epochs = np.arange(curves.shape[1]) + 1
                ax.plot(epochs, curves.T, style, color=colour, alpha=0.5, lw=0.9)
                ax.plot(epochs, curves.mean(axis=0), style, color=colour, lw=2, label=part)
        column[0].set(title=name, yscale="log")
        column[1].set(xlabel="epoch")
        column[1].xaxis.get_major_locator().set_params(integer=True)
    grid[0, 0].set_ylabel("loss (nats, log scale)")
    _short_log_scale(grid[0, 0].yaxis, "{x:g}")
    grid[1, 0].set(ylabel="accuracy", ylim=(lowest, None))
    grid[1, 0].yaxis.set_major_formatter("{x:.0%}")
    grid[0, 0].legend()
    return figure


def accuracy_by_size(table: pd.DataFrame, size: str = "parameters") -> Figure:
    """Mean test accuracy and its 95 % interval against `parameters` or `multiply_adds`.

    Of each model, the row with the most epochs is drawn.
    """
    figure, ax = house_axes(7.5, 4, grid="both")
    rows = table.sort_values("epochs").groupby("model", sort=False).tail(1).sort_values(size)
    below, above = rows["mean"] - rows["low"], rows["high"] - rows["mean"]
    ax.errorbar(
        rows[size], rows["mean"], yerr=[below, above], fmt="o", color=BLUE, capsize=4,
        label="mean over seeds, 95 % interval",
    )  # fmt: skip
    for row in rows.itertuples():
        place = (getattr(row, size), row.mean)
        ax.annotate(row.model, place, (-7, 0), textcoords="offset points", ha="right")
    what = size.replace("_", "-")
    ax.set(xscale="log", xlabel=f"{what} (log scale)", ylabel="test accuracy")
    ax.set_title(f"Accuracy against {what}")
    ax.margins(x=0.2, y=0.1)
    ax.yaxis.set_major_formatter("{x:.1%}")
    ax.legend(loc="lower right")
    return figure


def seed_spread(study: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Test accuracy of every run, a row a model, with the interval of the mean and the claim."""
    figure, ax = house_axes(8, 0.7 * len(table) + 1.3, grid="x")
    places = np.arange(len(table))
    for place, row in zip(places, table.itertuples(), strict=True):
        runs = study[study["model"] == row.model]
        same = runs[runs["epochs"] == row.epochs]
        values = (same if len(same) else within(runs, row.epochs))["test_accuracy"]
        ax.plot(values, np.full(len(values), place), "o", color=BLUE, mfc="none", label="one run")
    half = table["high"] - table["mean"]
    ax.errorbar(
        table["mean"], places + 0.22, xerr=half, fmt="|", ms=10, color=BLACK, capsize=4,
        label="mean, 95 % interval",
    )  # fmt: skip
    ax.plot(table["claimed"], places - 0.22, "v", color=ORANGE, label="claim")
    ax.set(title="Every seed gives another score", xlabel="test accuracy")
    ax.set_yticks(places, [f"{row.model}, {row.epochs} epochs" for row in table.itertuples()])
    ax.xaxis.set_major_formatter("{x:.1%}")
    ax.invert_yaxis()
    handles, names = ax.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    ax.legend(unique.values(), unique.keys(), loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def changes(study: pd.DataFrame) -> Figure:
    """Test accuracy and the gap between training and validation, a row for each change.

    A circle is a run, a bar the mean with its 95 % interval. The first model is what the others
    are compared with.
    """
    groups = dict(list(study.groupby("model", sort=False)))
    figure, columns = house_axes(9.5, 0.33 * len(groups) + 1.2, columns=2, grid="x", sharey=True)
    titles = ("test accuracy", "training less validation accuracy, in points")
    for ax, title in zip(columns, titles, strict=True):
        for place, runs in enumerate(groups.values()):
            values = runs["test_accuracy"]
            if ax is columns[1]:
                last = [runs[f"{part}_accuracy"].str[-1] for part in ("train", "validation")]
                values = 100 * (last[0] - last[1])
            low, high = mean_interval(list(values))
            if place == 0:
                ax.axvspan(low, high, color=GREY, alpha=0.25, lw=0)
            ax.plot(values, np.full(len(values), place), "o", color=BLUE, mfc="none", ms=5)
            ax.errorbar(
                values.mean(), place, xerr=values.mean() - low, fmt="|", ms=13,
                color=BLACK, capsize=3,
            )  # fmt: skip
        ax.set(xlabel=title)
    columns[0].set_yticks(range(len(groups)), groups)
    columns[0].xaxis.set_major_formatter("{x:.1%}")
    columns[1].axvline(0, color=BLACK, lw=0.8)
    columns[0].invert_yaxis()
    figure.suptitle("One change at a time")
    return figure


def error_by_size(runs: pd.DataFrame) -> Figure:
    """Test error against the number of training digits, a line for each change, both logarithmic.

    `runs` has a row a run with the columns `change`, `size` and `error` (a fraction).
    """
    marks = "os^vD*Px<>"
    figure, ax = house_axes(8, 4.2, grid="both")
    names = list(runs["change"].unique())
    for number, name in enumerate(names):
        groups = runs[runs["change"] == name].groupby("size")["error"]
        means = groups.mean()
        half = means - groups.apply(lambda values: mean_interval(list(values))[0])
        nudged = means.index * 1.05 ** (number - len(names) / 2)
        ax.errorbar(
            nudged, means, yerr=half, marker=marks[number], capsize=3, label=name,
            **({"mfc": "white"} if number >= 4 else {}),
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="training digits", ylabel="test error")
    ax.set_title("What helps with few digits: mean over seeds, 95 % interval")
    _short_log_scale(ax.yaxis, "{x:.0%}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
